/* N members of one graph as one graph, by the batch rules of the operations (ir/rules.h).
 *
 * batch_axis.h and batch_loop.h are something else: they cut the batch that a graph has already
 * into pieces. Two batchings nest; which is done first does not matter to the values but of independent
 * random bits. Gradients may be taken before or after. */
#ifndef TENON_TRANSFORM_BATCH_H
#define TENON_TRANSFORM_BATCH_H

#include "ir/graph.h"

/* Where the members of an input or output lie. */
typedef struct tn_batch_port {
    int axis; /* of the new tensor; -1: all members have the same */
    bool
        joined; /* side by side along an axis that a member's tensor has: size · members there, member
                    by member. Else the axis is a new one. */
} tn_batch_port;

typedef struct tn_batch_spec {
    tn_dim members;              /* a size of the graph's table, at least 1; may be open */
    const tn_batch_port *inputs; /* one for each; NULL: all along a new axis 0 */
    /* NULL: the same. An output that depends on no member is repeated for each, with axis -1 it is left
     * as it is; one that depends on them with axis -1 is an error. */
    const tn_batch_port *outputs;
    /* Outputs that depend on no member are left as they are, wherever they were to lie. */
    bool keep_common;
    /* Random bits of a key that all members share are the same for all. Else each member has its own:
     * the first one those of the graph alone, all others streams of keys made from the shared one. */
    bool same_randoms;
} tn_batch_spec;

typedef struct tn_batched {
    /* Inputs and outputs in order and with names of the original; in-place requests stay where the sizes
     * allow. In its arena, with its sizes and sources. Its `members` are those of the last batching. Nodes that no output needs are left out. */
    tn_graph *graph;
    const tn_node
        *origin; /* for each node of `graph` the original node that it was made for; that of the
                              input or output where it only moves members */
    const bool
        *carries; /* for each value of the original: members differ in it. So operand i of node n
                              carried the axis when carries[n->in[i]] */
} tn_batched;

/* Fills `out`, whose memory is that of the arena of `g`. Errors name the input, output or node: an axis
 * that is out of range, an operation without a rule, a tensor that has no room for one more axis.
 * Unwinds when memory runs out (tn_guard). */
tn_status tn_batch(const tn_graph *g, const tn_batch_spec *spec, tn_batched *out,
                   tn_error *err) TN_MUST_USE;

#endif
