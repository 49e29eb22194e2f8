/* What the files about control operations share: control.c (infer, eval), control_gradient.c
 * (if, call, while, custom), while_trips.c, scan_gradient.c and control_batch.c. */
#ifndef TENON_OPS_CONTROL_H
#define TENON_OPS_CONTROL_H

#include "ops/parts.h"

/* Copies node `p` of `body` to where b builds, operands by `map`, which gets its results. */
void tn__body_copy_node(tn_builder *b, const tn_graph *body, tn_node p, tn_value *map);
/* A map of the body's values with its inputs set to `in`. */
tn_value *tn__body_map(tn_builder *b, const tn_graph *body, const tn_value *in);

/* A body and its backward pass in one graph. Its inputs are the body's, then a cotangent for each
 * result in `given`; it has no outputs yet. */
typedef struct tn__reverse_body {
    tn_graph *graph;
    tn_value *map;       /* the body's values in it */
    tn_value *cotangent; /* of each result of the body; TN_NO_VALUE: not given */
    tn_value *grads;     /* of each input of the body; TN_NO_VALUE: zero */
    uint32_t forward;    /* values below are inputs or the body's own */
} tn__reverse_body;
void tn__reverse_body_build(tn_builder *b, const tn_graph *body, const bool *given,
                            tn__reverse_body *out);

/* The first operand that the bodies of an operation see unchanged whenever they run, an invariant; the
 * number of operands when it has none. */
uint32_t tn__first_invariant(const tn_node_info *n);

#define TN_NO_INVARIANTS UINT32_MAX
/* Inputs of a loop's bodies from this one on are worth putting in order before the loop: they are
 * invariants, and the loop is known to be short of no iterations. TN_NO_INVARIANTS: none are. */
uint32_t tn__steady_inputs(const tn_graph *g, const tn_node_info *n);

/* The cotangents `more` added to *sum, where there are any. */
void tn__add_cotangent(tn_builder *b, tn_value *sum, tn_value more);

/* How often a while runs when that follows from constants: a counter that starts at a constant, is
 * changed by a constant, and is compared with one; false otherwise. `in`: its operands in g. */
bool tn__while_trips(const tn_graph *g, const tn_attrs_while *a, const tn_value *in,
                     int64_t *trips);
/* How often it runs at most: one of the comparisons that its condition joins by `and` says so. */
bool tn__while_bound(const tn_graph *g, const tn_attrs_while *a, const tn_value *in,
                     int64_t *trips);

tn_vjp_fn tn__call_vjp, tn__custom_vjp, tn__if_vjp, tn__while_vjp, tn__scan_vjp;
tn_batch_fn tn__call_batch, tn__custom_batch, tn__if_batch, tn__while_batch, tn__scan_batch;

#endif
