/* Attention as one group: softmax(f(q·kᵀ))·v, where f is any pointwise work (scaling, masks, biases,
 * soft caps) on the scores.
 *
 * It is recognised by structure, from the second product backwards: division by a sum of
 * exp(x - max of x) over the axis that the product contracts, x made from one dot by pointwise work
 * and views, and nothing outside reading what lies between. That the folds and both products speak
 * of the same rows and columns is checked like all fusion: the index arithmetic is emitted on a
 * throw-away kernel and compared. See codegen/lower_attention.c for the kernel. */
#ifndef TENON_SCHEDULE_ATTENTION_H
#define TENON_SCHEDULE_ATTENTION_H

#include "schedule/access.h"

typedef struct tn_attention_parts {
    tn_node product, score; /* the second product, which is the group's anchor, and the first */
    tn_value scores;        /* what the softmax is of */
    tn_value weights;       /* exp(scores - max) */
    tn_node largest, sum;   /* the folds of the two */
    bool zero_nan;          /* a quotient that is NaN counts as zero */
    TN_VEC(tn_node) inner;  /* what lies between, without views, in order */
    struct tn_attention_gradient *gradient; /* a group of its own; NULL: there is none */
} tn_attention_parts;

/* Finds the attention whose second product is `n`, and marks what is inside it as not inlined; NULL
 * when `n` is none. */
const tn_attention_parts *tn_attention_find(tn_grouping *p, tn_node n);

/* Products of q and k with constants become part of the scores, so that they are not stored. */
void tn_attention_inline_factors(tn_grouping *p, const tn_attention_parts *x);

/* Masks and biases that only attention reads become part of its scores when they are cheap, so that
 * nothing of the size of the scores is stored. */
void tn_attention_inline_masks(tn_grouping *p);

/* Where the parts are at row (b, m) and column `kv` of the second product's left operand. */
typedef struct tn_attention_point {
    tn_lx weights[TN_MAX_RANK], scores[TN_MAX_RANK], score[TN_MAX_RANK];
    tn_lx largest[TN_MAX_RANK], sum[TN_MAX_RANK];
} tn_attention_point;

/* False when a part is reached at two indices, or under a condition. */
bool tn_attention_locate(const tn_grouping *p, const tn_attention_parts *x, tn_loop *k,
                         const tn_lx *b, const tn_lx *m, tn_lx kv, tn_attention_point *out);

#endif
