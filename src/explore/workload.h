/* Workloads inside the room. Sets of operators are bits of 32. */
#ifndef TENON_EXPLORE_WORKLOAD_H
#define TENON_EXPLORE_WORKLOAD_H

#include <jansson.h>
#include <tenon/explore.h>

uint32_t tn__workload_all(const tn_workload *w);
int tn__workload_find(const tn_workload *w, const char *name); /* −1: none */

/* Appends the published operator `name` (q k v qk sv o f1 f2 f3) with the sizes of w's numbers; NULL: there is
 * none, or no room. */
tn_operator *tn__workload_add(tn_workload *w, const char *name);
/* The layer of one of the types of shape.json: opt, llama, palm. */
tn_status tn__workload_layer(const char *type, tn_workload *w, tn_error *err);
/* Whether two layers have the same operators by name, size and what they read; the order may differ. */
bool tn__workload_same(const tn_workload *a, const tn_workload *b);
/* Puts the operators into a topological order that keeps the given one where it can; TN_INVALID names the
 * operators of a cycle. */
tn_status tn__workload_sort(tn_workload *w, tn_error *err);
/* {"node", "edge"} as published, and "operator": sizes of each, which the published names do not need. The
 * caller's reference; NULL without memory. */
json_t *tn__workload_graph_json(const tn_workload *w);
json_t *tn__workload_shape_json(const tn_workload *w, const char *type);

#endif
