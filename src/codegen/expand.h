/* A kernel before its rendering: UNROLL loops are repeated text, VECTOR loops have the width of the
 * target's vectors.
 *
 * All VECTOR loops of one width share one lane variable in [0, width), so that an expression of it
 * is the same in all of them and can be shared; an element of a longer loop is lane + a constant.
 * Loads inside an IF whose condition differs between lanes carry that condition as their guard. */
#ifndef TENON_CODEGEN_EXPAND_H
#define TENON_CODEGEN_EXPAND_H

#include "codegen/target.h"
#include "loop/loop.h"

/* The result lives in `arena`; it is for the renderer only (the verifier would refuse lanes). */
tn_loop *tn__expand(const tn_loop *k, const tn_target *target, tn_arena *arena);
/* The lane variable of loops of `width` lanes, in an expanded kernel. */
uint32_t tn__expand_lane(tn_loop *k, uint32_t width);

#endif
