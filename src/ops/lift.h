/* A part of a graph as a sub-graph of its own. */
#ifndef TENON_OPS_LIFT_H
#define TENON_OPS_LIFT_H

#include "ir/builder.h"

typedef TN_VEC(tn_value) tn_value_list;

/* Adds to `out` the values, each once, that do not depend on in[0 … n) but that out[…] need besides
 * them: operands of nodes that do, and results that do not. All are values of b->graph. */
void tn_b_captured(tn_builder *b, const tn_value *in, uint32_t n, const tn_value *result,
                   uint32_t results, tn_value_list *out);
/* A sub-graph of b->graph that computes result[…] from inputs in the place of in[…]; every way to
 * the results must begin at one of these. */
tn_graph *tn_b_lift(tn_builder *b, const tn_value *in, uint32_t n, const tn_value *result,
                    uint32_t results);

#endif
