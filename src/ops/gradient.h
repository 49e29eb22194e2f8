/* Reverse-mode differentiation over the vjp rules (ir/rules.h).
 *
 * The engine walks a graph's nodes backwards from where cotangents are given, and adds up at each
 * value what its uses give (Griewank, Walther: Evaluating Derivatives, §3.2). What it builds are
 * ordinary nodes, so a gradient can be differentiated again. */
#ifndef TENON_OPS_GRADIENT_H
#define TENON_OPS_GRADIENT_H

#include "ir/builder.h"

/* grads[i] = Σ cotangent · ∂y/∂xs[i], of the type of xs[i]; zeros where y does not depend on it.
 * The cotangent has y's type; TN_NO_VALUE stands for ones. xs count as independent of each other:
 * the derivative with respect to one holds the others fixed, even where one computes another. y and
 * xs are values of b->graph, floats. An operation without a vjp rule on the way is an error that
 * names it; grads are TN_NO_VALUE after an error. */
void tn_b_gradient(tn_builder *b, tn_value y, tn_value cotangent, const tn_value *xs, int n,
                   tn_value *grads);

/* What a value is to the walk: cotangents are not wanted for it; are added up and passed on; are
 * added up and kept. */
typedef enum tn_grad_role { TN_GRAD_CONSTANT, TN_GRAD_VARIABLE, TN_GRAD_LEAF } tn_grad_role;

/* Of each value: xs are leaves, what depends on them varies, the rest is constant. */
tn_grad_role *tn_grad_roles(const tn_graph *g, const tn_value *xs, int n, tn_arena *arena);

/* The walk itself, over all nodes of `g` from the last one: cotangent[v] of each value is
 * TN_NO_VALUE (zero) or a value of b->graph, and is added to in place. `map`: the values of `g` in
 * b->graph; NULL: g is b->graph. `role` of each value; NULL: all are variables. Nodes that are
 * added to `g` during the walk have no part in it. */
void tn_b_backward(tn_builder *b, const tn_graph *g, const tn_value *map, const tn_grad_role *role,
                   tn_value *cotangent);

#endif
