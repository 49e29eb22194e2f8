/* The transforms of minimal filtering F(m×m, 3×3): m×m outputs of a 3×3 correlation from n×n inputs,
 * n = m + 2, by n×n products instead of 9·m×m.
 *
 *   Y = Aᵀ [ (G g Gᵀ) ∘ (Bᵀ d B) ] A
 *
 * after Winograd (1980) and Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR
 * 2016). The matrices are those of polynomial multiplication at the points 0, ±p for each p of
 * `pair`, and infinity, in this order; pairs of points of opposite sign share most of their work. */
#ifndef TENON_CODEGEN_WINOGRAD_H
#define TENON_CODEGEN_WINOGRAD_H

#include "loop/loop.h"

enum { TN_WINOGRAD_PAIRS = 2, TN_WINOGRAD_SIDE = 2 * TN_WINOGRAD_PAIRS + 2 };

typedef struct tn_winograd {
    uint32_t m, n; /* outputs and points along one axis */
    uint32_t pairs;
    double pair[TN_WINOGRAD_PAIRS];
} tn_winograd;

/* m is 2 or 4. */
tn_winograd tn_winograd_of(uint32_t m);

/* Along both axes, rows × columns, last fastest; values of one dtype, inside any loop. Intermediate
 * values are LETs. */
void tn_winograd_input(tn_loop *k, const tn_winograd *w, const tn_lx *d,
                       tn_lx *out); /* n×n → n×n */
void tn_winograd_kernel(tn_loop *k, const tn_winograd *w, const tn_lx *g,
                        tn_lx *out); /* 3×3 → n×n */
void tn_winograd_output(tn_loop *k, const tn_winograd *w, const tn_lx *x,
                        tn_lx *out); /* n×n → m×m */

#endif
