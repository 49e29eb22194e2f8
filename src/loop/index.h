/* Inside src/loop: interning and the simplification of i64 expressions. */
#ifndef TENON_LOOP_INDEX_H
#define TENON_LOOP_INDEX_H

#include "loop/loop.h"

tn_lx tn__l_intern(tn_loop *k, tn_lexpr e);
/* The operation as it is, with constants folded only. */
tn_lx tn__l_op(tn_loop *k, tn_scalar_op op, tn_lx a, tn_lx b, tn_lx c);
/* Bounds of an i64 expression from those of its operands. */
void tn__l_range(const tn_loop *k, const tn_lexpr *e, int64_t *lo, int64_t *hi);
/* The bit of a variable in tn_lfacts.vars. */
uint32_t tn__l_var_bit(const tn_loop *k, uint32_t var);
/* What an integer was before conversions that changed no value of it. */
tn_lx tn__l_before_cast(const tn_loop *k, tn_lx e);
/* a - b of floats that stand for small integers, as the same difference of integers, which more units
 * of a processor can do; NONE: they do not. */
tn_lx tn__l_integer_sub(tn_loop *k, tn_lx a, tn_lx b);
/* eq or ne where bounds decide. */
bool tn__l_fold_equal(tn_loop *k, tn_scalar_op op, tn_lx a, tn_lx b, tn_lx *out);

#endif
