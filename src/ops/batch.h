/* A new axis through a graph, over the batch rules (ir/rules.h): one graph for all members in place of
 * one run for each. */
#ifndef TENON_OPS_BATCH_H
#define TENON_OPS_BATCH_H

#include "ir/builder.h"

/* Adds node `p` of `g` for all members to `b`, where its operands are map[…] and carries[…] says which
 * of them have the members along a new first axis of `size`; notes its results in both. A node
 * without such operands stays as it is; inputs are left to the caller. */
void tn_b_batch_node(tn_builder *b, const tn_graph *g, tn_node p, tn_dim size, tn_value *map,
                     bool *carries);

/* out[i] is y[i] of all members along a new first axis, when member[k], of which the y are computed,
 * is for each member its part of all[k] along the first axis. All are values of b->graph. What a
 * member does not change is repeated. An operation without a batch rule is an error that names it. */
typedef struct tn_batch_inputs {
    const tn_value *member, *all;
    int count;
    tn_dim size;
    bool *
        carries; /* not NULL: becomes whether y[i] depends on the member; else out[i] is y[i], once */
} tn_batch_inputs;
void tn_b_batch(tn_builder *b, const tn_batch_inputs *x, const tn_value *y, int count,
                tn_value *out);

#endif
