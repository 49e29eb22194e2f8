/* The pieces of exact search for one problem: what all objectives share, and room that is short. */
#ifndef TENON_EXPLORE_EXACT_SEARCH_H
#define TENON_EXPLORE_EXACT_SEARCH_H

#include "explore/exact_bounded.h"
#include "explore/search.h"

typedef struct exact_search {
    exact_solver *solver;
    const tn_search_options *options;
    tn_solution *out; /* the best that fits; evaluation.fits: there is one */
    exact_plan *plan;
    exact_weights weights;
    double deadline; /* s */
    tn_error *err;
} exact_search;

/* A dataflow that was found for some weights. */
typedef struct exact_found {
    double cost, bytes; /* without the price of bytes; on the short side */
    tn_evaluation evaluation;
} exact_found;

/* The cheapest dataflow by the weights, bytes at `price`; the plan holds it, and the search keeps it if it is the
 * best that fits. */
tn_status tn__exact_solve_at(exact_search *v, double price, exact_found *out);
/* Evaluates the plan, and keeps it if it is the best that fits. */
tn_status tn__exact_consider(exact_search *v, tn_evaluation *e);
/* By the weights, without the price of bytes. */
double tn__exact_cost(const exact_search *v, const tn_evaluation *e);
/* The best that fits, by the weights, where `first`, the plan's, does not. *bound: nothing that fits costs less. */
tn_status tn__exact_search_within(exact_search *v, exact_found first, double *bound);

#endif
