/* Exact search among dataflows of which one side (near memory, or the normal channels) holds at most `limit`
 * bytes: the same dynamic programme with bytes as a third quantity of every Pareto set. What cannot lie on a
 * dataflow better than `upper` is left out, judged by the relaxed problem in which bytes have a price. */
#ifndef TENON_EXPLORE_EXACT_BOUNDED_H
#define TENON_EXPLORE_EXACT_BOUNDED_H

#include "explore/exact.h"

/* Budgets of one set of operators, by channels: by how much a sequence, priced, may cost more than the cheapest
 * one of the set. Negative: none is needed. */
typedef struct bounded_node {
    uint32_t ops;
    double *budgets;
    exact_list *lists;
} bounded_node;

/* A group, or a chain of groups up to an ideal. */
typedef struct bounded_label {
    double value, bytes;
    uint32_t parts, count; /* of the (last) group */
    uint32_t before;       /* label of the chain that it follows */
} bounded_label;

typedef TN_VEC(bounded_label) bounded_labels;

typedef struct exact_bounded {
    exact_solver *relaxed; /* solved at price.bytes */
    exact_solver *tracking;
    double price, limit; /* of a byte; bytes */
    double upper;        /* better ones are wanted */
    bool alone;          /* only groups of one partition, a smaller space */
    double deadline;     /* s, as tn__exact_seconds counts them */
    bool late;
    double *forward, *backward; /* by ideal: least price before and after it */
    tn_map nodes;
    TN_VEC(bounded_node) node_list;
    TN_VEC(exact_part) parts;
    bounded_labels *chains; /* by ideal */
} exact_bounded;

/* Fills the chains; `b` has the members up to `deadline` and is else zero. False: the deadline or a solver's limit
 * has passed. */
bool tn__exact_bounded_solve(exact_bounded *b);
/* The complete dataflow of label `i` of the last chain. */
void tn__exact_bounded_write(const exact_bounded *b, uint32_t i, exact_plan *out);

#endif
