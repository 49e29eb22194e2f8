/* Members through nodes, over the batch rules (ir/rules.h): one node for all members in place of one for
 * each. For whole graphs see transform/batch.h. */
#ifndef TENON_OPS_BATCH_H
#define TENON_OPS_BATCH_H

#include "ir/rules.h"

/* Members that all are wanted, and that share random bits unless `independent`. */
tn_batching tn_batching_of(tn_dim size, bool independent);

/* What the key of member i's random bits is xored with where members that share one are independent. */
uint64_t tn_batch_stream(uint64_t member);

/* Adds node `p` of `g` for all members to `b`, where its operands are map[…] and carries[…] says which
 * of them have the members along a new first axis; notes its results in both. A node that is the same
 * for all stays as it is; inputs are left to the caller. Errors name the node. */
void tn_b_batch_node(tn_builder *b, const tn_graph *g, tn_node p, const tn_batching *how,
                     tn_value *map, bool *carries);
/* All nodes of `g`. */
void tn_b_batch_nodes(tn_builder *b, const tn_graph *g, const tn_batching *how, tn_value *map,
                      bool *carries);

/* carries[v] of everything that may differ between the members when inputs i with flags[i] do. It never
 * is less than what batching finds. In the builder's arena. */
bool *tn_batch_carries(tn_builder *b, const tn_graph *g, const tn_batching *how, const bool *flags);

/* Nodes that the values `y` of g are computed by; in its arena. */
bool *tn_batch_nodes_behind(const tn_graph *g, const tn_value *y, int count);

/* out[i] is y[i] of all members along a new first axis, when member[k], of which the y are computed,
 * is for each member its part of all[k] along the first axis. All are values of b->graph. What a
 * member does not change is repeated. An operation without a batch rule is an error that names it. */
typedef struct tn_batch_inputs {
    const tn_value *member, *all;
    int count;
    tn_dim size;
    bool independent; /* random bits of a key that carries nothing: each member has its own */
    bool *
        carries; /* may be NULL; else becomes whether y[i] differs between the members, and where it
                      does not out[i] is that of all, once */
    /* May be NULL; else what was found for each value that b->graph had, of nodes that the y need and are no
     * member[k]: whether it differs between the members. In the graph's arena. */
    const bool **found;
} tn_batch_inputs;
void tn_b_batch(tn_builder *b, const tn_batch_inputs *x, const tn_value *y, int count,
                tn_value *out);

#endif
