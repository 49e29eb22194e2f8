/* Workloads inside the room. Sets of operators are bits of 32. */
#ifndef TENON_EXPLORE_WORKLOAD_H
#define TENON_EXPLORE_WORKLOAD_H

#include <tenon/explore.h>

uint32_t tn__workload_all(const tn_workload *w);
int tn__workload_find(const tn_workload *w, const char *name); /* −1: none */

/* The types of shape.json: the layer of each, with the shape's numbers in place. */
tn_status tn__workload_layer(const char *type, tn_workload *w, tn_error *err);

#endif
