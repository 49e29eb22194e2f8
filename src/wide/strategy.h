/* How operations of one member are done for all: shared by the reports of wide models and of populations. */
#ifndef TENON_WIDE_STRATEGY_INNER_H
#define TENON_WIDE_STRATEGY_INNER_H

#include <tenon/wide_strategy.h>

#include "ir/graph.h"
#include "program/program.h"

/* How telling an operation is; 0: it is not reported. Of several that a node of a file became, the most telling
 * one stands for all. */
int tn__wide_weight(tn_op op);
/* But for loops over members: carries[v] says whether members differ in value v of the graph. */
tn_wide_strategy tn__wide_strategy_of(const tn_node_info *n, const bool *carries);

/* Members of a turn of the loop in which the program has an operation of this name, below `own_loops` loops of
 * the model itself; 0: it is in none. */
int64_t tn__wide_piece(const tn_program *p, const char *name, int members, int own_loops);
/* Loops of a member's graph that have this name: 0 or 1. */
int tn__wide_loops(const tn_graph *g, const char *name);

#endif
