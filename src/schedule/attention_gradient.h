/* The gradient of attention as one group: all products of what its scores become with their gradient,
 * which are as large, and none of them in memory.
 *
 * Around the softmax of attention (attention.h) everything that depends on its scores is collected:
 * pointwise work, views, folds over the columns. What meets these element by element and is a product
 * itself (dO·vᵀ) is one more *source*. Each product that reads such a value and contracts its columns
 * (dS·k) or its rows (dSᵀ·q, Pᵀ·dO) is a result. Nothing else may read what lies between, so the kernel
 * makes it anew for some rows at a time and forgets it; the forward product is a group of its own, which
 * makes the scores for itself. That all speak of the same rows and columns is checked by index arithmetic,
 * as in attention.h, so masks, biases and softmax may be written in any way.
 * See codegen/lower_attention_gradient.c for the kernel. */
#ifndef TENON_SCHEDULE_ATTENTION_GRADIENT_H
#define TENON_SCHEDULE_ATTENTION_GRADIENT_H

#include "schedule/attention.h"

/* An operation between the sources and the results, views aside. */
typedef struct tn_score_node {
    tn_node node;
    enum { TN_SCORE_POINTWISE, TN_SCORE_FOLD, TN_SCORE_SOURCE } kind;
    bool row;       /* one element for each row, else one for each row and column */
    bool turned;    /* SOURCE: its rows are columns of the scores */
    bool forward;   /* the forward group makes it, too */
    bool needed;    /* by the gradient */
    uint32_t level; /* folds that it waits for, one after another */
} tn_score_node;

typedef struct tn_score_product {
    tn_node node;
    uint32_t which;        /* of its operands is made of the scores */
    bool over_rows;        /* contracts these, else columns */
    tn_value domain_value; /* the result seen through the views that follow it */
} tn_score_product;

typedef struct tn_attention_gradient {
    const tn_attention_parts *x;
    TN_VEC(tn_score_node) inner; /* in order */
    TN_VEC(tn_score_product) products;
    uint32_t *place;     /* per node: 1 + its place in `inner`; 0: elsewhere */
    uint32_t levels;     /* 1 + the greatest */
    tn_node first, last; /* the products that come first and last */
} tn_attention_gradient;

/* Collects the gradient around `x`, whose pattern is matched; NULL: there is none, or something else reads
 * what lies between. */
tn_attention_gradient *tn_attention_gradient_find(const tn_grouping *p,
                                                  const tn_attention_parts *x);
/* Whether its parts agree about rows and columns, once nothing in `inner` is inlined. */
bool tn_attention_gradient_fits(const tn_grouping *p, tn_attention_gradient *y);

typedef struct tn_score_place {
    bool seen;
    tn_lx at[TN_MAX_RANK];
} tn_score_place;

/* Where each of `inner` is at batch point b, row m and column `kv`, as the forward product numbers them;
 * false when one is reached at two indices, or under a condition. */
bool tn_attention_gradient_locate(const tn_grouping *p, const tn_attention_gradient *y, tn_loop *k,
                                  const tn_lx *b, const tn_lx *m, tn_lx kv, tn_score_place *out);

#endif
