/* How an index follows one variable, as a layout (base/layout.h).
 *
 * x / c and x % c are layouts themselves, so an index that splits a variable into digits is their
 * composition; e.g. (v % 2)·96 + v / 2 over 16 values is (2,8):(96,1). */
#ifndef TENON_LOOP_INDEX_LAYOUT_H
#define TENON_LOOP_INDEX_LAYOUT_H

#include "base/layout.h"
#include "loop/loop.h"

/* e = out(v) + *rest for every v in [0, extent) that variable `var` takes, with a rest that does not
 * depend on it. False when it is not so, or not found to be: a stride that is no number, sizes that
 * do not divide. `out` is coalesced and lives in `arena`. */
bool tn_l_layout(tn_loop *k, tn_lx e, uint32_t var, int64_t extent, tn_arena *arena, tn_layout *out,
                 tn_lx *rest);

#endif
