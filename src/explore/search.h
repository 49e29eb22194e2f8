/* Search for dataflows inside the room: the two methods behind tn_search_dataflow. Both answer with a dataflow
 * that tn_dataflow_check allows and that fits, evaluated by tn_dataflow_evaluate. */
#ifndef TENON_EXPLORE_SEARCH_H
#define TENON_EXPLORE_SEARCH_H

#include <tenon/explore.h>

#include "base/base.h"

/* The objective's value of an evaluation. */
double tn__objective(tn_objective objective, const tn_evaluation *e);

/* A problem with its tables of costs. `p` is copied, what it points to is not. TN_UNSUPPORTED: the cost models
 * are not separable. */
typedef struct tn__exact_problem tn__exact_problem;
tn_status tn__exact_prepare(const tn_problem *p, const tn_search_options *options,
                            tn__exact_problem **out, tn_error *err);
void tn__exact_release(tn__exact_problem *p); /* NULL: nothing */
/* Problems of one workload with equal hashes have equal solutions. */
tn_hash128 tn__exact_hash(const tn__exact_problem *p);
/* TN_UNSUPPORTED: the graph has too many ideals. */
tn_status tn__exact_run(tn__exact_problem *p, const tn_search_options *options, tn_solution *out,
                        tn_error *err);

/* The genetic search for one machine (with the errors of tn_search_dataflow), and for machine and dataflows at
 * once: the finding has the machines that the search has come by, each with the best dataflows seen. */
tn_status tn__genetic_search(const tn_problem *p, const tn_search_options *options,
                             tn_solution *out, tn_error *err);
tn_status tn__genetic_explore(const tn_study *study, const tn_search_options *options,
                              tn_finding **out, tn_error *err);

#endif
