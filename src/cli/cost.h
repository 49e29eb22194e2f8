/* What a graph costs by its operations' rules, and what it holds. */
#ifndef TENON_CLI_COST_H
#define TENON_CLI_COST_H

#include "ir/graph.h"
#include "session/session.h"

typedef struct cli_graph_cost {
    double flops, bytes_read, bytes_written;
    uint32_t nodes;      /* without sources */
    uint64_t parameters; /* elements of weights */
    uint32_t tensors;    /* weights */
    uint64_t parameter_bytes;
} cli_graph_cost;

/* For the sizes at `bindings` (by the graph's table). Sub-graphs count once per trip where the trip
 * count is known, else once. Weights are the constants of a network: tensors of more than one
 * element that are floats or quantised integers, not shapes and positions (i64) or masks. */
void cli_graph_cost_of(const tn_graph *g, const int64_t *bindings, cli_graph_cost *out);
bool cli_is_weight(const tn_graph *g, const tn_node_info *n);

/* The values of `g`'s symbols in the session's binding: the same names, else the least legal value.
 * In the arena. */
int64_t *cli_graph_bindings(tn_arena *arena, const tn_graph *g, const tn_session *s);

#endif
