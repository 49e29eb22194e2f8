/* Which tiles of a matrix of scores a mask hides altogether, by index arithmetic alone: causal masks
 * and windows.
 *
 * A score that is `select(c, x, -inf)`, or a sum with such a term, is hidden where any one of the
 * comparisons that c joins by `and` is false. A comparison of indices that are linear in row and
 * column is false on a whole tile when it is false at the corner where it is nearest to being true.
 */
#ifndef TENON_CODEGEN_MASK_RANGE_H
#define TENON_CODEGEN_MASK_RANGE_H

#include "loop/loop.h"

enum { TN_MOST_CONDITIONS = 8 };

/* The comparisons of integers without which the score `e` is -inf; returns their number. */
int tn_mask_conditions(const tn_loop *k, tn_lx e, tn_lx *out);

typedef struct tn_mask_corner {
    bool high_row, high_column; /* it is nearest to being true at the high end of each */
    bool ends;                  /* each row shows its columns up to a last one: see tn_mask_room */
} tn_mask_corner;

/* Whether a comparison is linear in both variables; then where it is nearest to being true. */
bool tn_mask_find_corner(tn_loop *k, tn_lx condition, tn_lx row, tn_lx column, tn_mask_corner *out);

/* Of a condition that ends rows, emitted at some row and column: how many columns the row shows from
 * this one on; negative by the number of hidden ones before it. */
tn_lx tn_mask_room(tn_loop *k, tn_lx condition);

#endif
