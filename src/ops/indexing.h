/* What the files about gather and scatter share. */
#ifndef TENON_OPS_INDEXING_H
#define TENON_OPS_INDEXING_H

#include "ops/parts.h"

typedef struct index_view {
    int batch;
    const tn_ints *axes;
    tn_index_mode mode;
    int index_rank; /* axes of index before its last */
    tn_ints rest;   /* axes of x that are copied whole */
    const tn_shape *x;
} index_view;

/* Of a gather or scatter. */
index_view tn__index_view(const tn_graph *g, const tn_node_info *n);
tn_scalar_op tn__combine_op(tn_combine combine);
/* The index into x for place `to` of the result. Positions are clamped so that the address is legal; *inside
 * is what must hold for the place to be meant (NONE: always). */
void tn__index_emit(tn_emit *e, const tn_node_info *n, const index_view *v, const tn_lx *to,
                    tn_lx *at, tn_lx *inside);
/* Reports the node's error where a position is outside; an element that is not needed is no error. */
void tn__index_report(tn_emit *e, const tn_node_info *n, const index_view *v, tn_lx inside);

/* scatter_lower.c */
extern const tn_nest_rules tn__scatter_nest;

#endif
