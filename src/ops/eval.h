/* Evaluating graphs by the rules' `eval`: slow and obvious; the oracle of tests, and constant
 * folding. bindings[s] is the value of symbol s of graph->dims (NULL when no size has symbols); those that
 * bind_size nodes bind are not looked at.
 *
 * Results live in the arena or borrow constants and inputs: treat them as read-only. When memory
 * runs out, evaluation unwinds to the nearest tn_guard. */
#ifndef TENON_OPS_EVAL_H
#define TENON_OPS_EVAL_H

#include "ir/graph.h"

/* One node that is not an input: in[i] is operand i, out has room for the node's results. */
tn_status tn_eval_node(const tn_graph *g, tn_node n, const tn_array *in, tn_array *out,
                       const int64_t *bindings, tn_arena *arena, tn_error *err);

/* All outputs of a graph, in order, from its inputs, in order. Sub-graphs are evaluated by the
 * rules of control operations, which call this. */
tn_status tn_eval_graph(const tn_graph *g, const tn_array *inputs, const int64_t *bindings,
                        tn_array *outputs, tn_arena *arena, tn_error *err);

/* Called after each node of the outermost graph with its results; a failure ends the evaluation. */
typedef struct tn_eval_watch {
    tn_status (*node)(void *context, const tn_graph *g, tn_node n, const tn_array *out,
                      tn_error *err);
    void *context;
} tn_eval_watch;
tn_status tn_eval_graph_watched(const tn_graph *g, const tn_array *inputs, const int64_t *bindings,
                                tn_array *outputs, tn_arena *arena, const tn_eval_watch *watch,
                                tn_error *err);

/* An array's type against a value's, under the bindings; `what` begins the message. */
tn_status tn_eval_check_array(const tn_graph *g, const tn_array *a, const tn_type *type,
                              const int64_t *bindings, const char *what, tn_error *err);

#endif
