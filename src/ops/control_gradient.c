/* Gradients of if, call, while and custom; that of scan is in scan_gradient.c.
 *
 * A branch's gradient is a branch: it computes its forward values again, so that nothing has to be
 * kept of the branch that was not taken. A while has a gradient when the number of its iterations
 * follows from constants; it is that of the scan with as many steps. */
#include "ops/control.h"
#include "ops/gradient.h"

void tn__add_cotangent(tn_builder *b, tn_value *sum, tn_value more) {
    if (more == TN_NO_VALUE) return;
    *sum = *sum == TN_NO_VALUE ? more : tn_b_add(b, *sum, more);
}

static bool is_float(const tn_graph *g, tn_value v) {
    return tn_dtype_is_float(tn_graph_type(g, v)->dtype);
}

/* What depends on inputs that are floats. */
static tn_grad_role *body_roles(const tn_graph *body, tn_arena *arena) {
    tn_value *xs = TN_NEW_N(arena, tn_value, body->inputs.len);
    int count = 0;
    for (uint32_t p = 0; p < body->inputs.len; p++)
        if (is_float(body, body->inputs.data[p])) xs[count++] = body->inputs.data[p];
    return tn_grad_roles(body, xs, count, arena);
}

/* The cotangents of a body's inputs from those of its results; map: the body's values in b. */
static void backward_through(tn_builder *b, const tn_graph *body, const tn_value *map,
                             const tn_value *cotangents, tn_value *grads) {
    tn_value *sum = TN_NEW_N(b->graph->arena, tn_value, body->values.len);
    for (uint32_t v = 0; v < body->values.len; v++) sum[v] = TN_NO_VALUE;
    for (uint32_t p = 0; p < body->outputs.len; p++)
        tn__add_cotangent(b, &sum[body->outputs.data[p].value], cotangents[p]);
    tn_b_backward(b, body, map, body_roles(body, b->graph->arena), sum);
    for (uint32_t p = 0; p < body->inputs.len; p++) {
        tn_value v = body->inputs.data[p];
        grads[p] = tn_b_ok(b) && is_float(body, v) ? sum[v] : TN_NO_VALUE;
    }
}

static void copy_nodes(tn_builder *b, const tn_graph *body, tn_value *map) {
    for (tn_node p = 0; p < body->nodes.len; p++)
        if (tn_graph_node(body, p)->op != TN_OP_input) tn__body_copy_node(b, body, p, map);
}

void tn__call_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                  const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    (void)g, (void)out;
    const tn_graph *body = ((const tn_attrs_call *)n->attrs)->body;
    tn_value *map = tn__body_map(b, body, in);
    copy_nodes(b, body, map);
    if (tn_b_ok(b)) backward_through(b, body, map, cotangents, grads);
}

/* ---- if ------------------------------------------------------------------------------------- */

void tn__reverse_body_build(tn_builder *b, const tn_graph *body, const bool *given,
                            tn__reverse_body *out) {
    tn_arena *arena = b->graph->arena;
    *out = (tn__reverse_body){.graph = tn_graph_new_sub(b->graph)};
    tn_builder inner = tn_builder_of(out->graph, b->err);
    tn_value *in = TN_NEW_N(arena, tn_value, body->inputs.len);
    out->cotangent = TN_NEW_N(arena, tn_value, body->outputs.len);
    out->grads = TN_NEW_N(arena, tn_value, body->inputs.len);
    for (uint32_t p = 0; p < body->inputs.len; p++) {
        const tn_type *type = tn_graph_type(body, body->inputs.data[p]);
        in[p] = tn_b_input(&inner, NULL, type->dtype, &type->shape);
    }
    for (uint32_t p = 0; p < body->outputs.len; p++) {
        const tn_type *type = tn_graph_type(body, body->outputs.data[p].value);
        out->cotangent[p] =
            given[p] ? tn_b_input(&inner, NULL, type->dtype, &type->shape) : TN_NO_VALUE;
    }
    out->map = tn__body_map(&inner, body, in);
    copy_nodes(&inner, body, out->map);
    out->forward = out->graph->values.len;
    if (tn_b_ok(&inner)) backward_through(&inner, body, out->map, out->cotangent, out->grads);
    if (tn_b_ok(b)) b->status = inner.status;
}

/* Results of the branch: the gradients in `reached`, zeros where it has none. */
static void branch_outputs(tn_builder *b, const tn_graph *body, tn__reverse_body *r,
                           const bool *reached) {
    tn_builder inner = tn_builder_of(r->graph, b->err);
    for (uint32_t p = 0; p < body->inputs.len && tn_b_ok(&inner); p++) {
        const tn_type *type = tn_graph_type(body, body->inputs.data[p]);
        if (!reached[p]) continue;
        tn_value v = r->grads[p];
        if (v == TN_NO_VALUE) v = tn_b_full(&inner, type->dtype, &type->shape, 0);
        if (tn_b_ok(&inner)) tn_graph_add_output(r->graph, v, NULL);
    }
    if (tn_b_ok(b)) b->status = inner.status;
}

void tn__if_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    (void)g, (void)out;
    const tn_attrs_if *a = n->attrs;
    tn_arena *arena = b->graph->arena;
    uint32_t count = n->in_count - 1, total = n->in_count, results = 0;
    bool *given = TN_NEW_N(arena, bool, n->out_count), *reached = TN_NEW_N(arena, bool, count);
    tn_value *all = TN_NEW_N(arena, tn_value, n->in_count + n->out_count);
    memcpy(all, in, sizeof *all * n->in_count);
    for (uint32_t p = 0; p < n->out_count; p++) {
        given[p] = cotangents[p] != TN_NO_VALUE;
        if (given[p]) all[total++] = cotangents[p];
    }
    tn__reverse_body yes, no;
    tn__reverse_body_build(b, a->then_graph, given, &yes);
    if (tn_b_ok(b)) tn__reverse_body_build(b, a->else_graph, given, &no);
    if (!tn_b_ok(b)) return;
    for (uint32_t p = 0; p < count; p++) {
        reached[p] = yes.grads[p] != TN_NO_VALUE || no.grads[p] != TN_NO_VALUE;
        results += reached[p];
    }
    if (results == 0) return;
    branch_outputs(b, a->then_graph, &yes, reached);
    branch_outputs(b, a->else_graph, &no, reached);
    tn_attrs_if back = {.then_graph = yes.graph, .else_graph = no.graph};
    tn_value first = tn_b_node(b, TN_OP_if, all, total, &back);
    for (uint32_t p = 0; p < count && tn_b_ok(b); p++)
        if (reached[p]) grads[1 + p] = first++;
}

/* ---- custom --------------------------------------------------------------------------------- */

/* By the vjp; zeros for results without a cotangent: it takes one for each. */
static void custom_cotangents(tn_builder *b, const tn_node_info *n, const tn_value *in,
                              const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    const tn_attrs_custom *a = n->attrs;
    tn_value *all = TN_NEW_N(b->graph->arena, tn_value, n->in_count + 2 * n->out_count);
    uint32_t total = 0, at = 0;
    bool any = false;
    for (uint32_t p = 0; p < n->in_count; p++) all[total++] = in[p];
    for (uint32_t p = 0; p < n->out_count; p++) all[total++] = out[p];
    for (uint32_t p = 0; p < n->out_count - (uint32_t)a->saved; p++) {
        bool given = cotangents[p] != TN_NO_VALUE;
        any = any || given;
        if (tn_dtype_is_float(tn_b_type(b, out[p]).dtype))
            all[total++] = given ? cotangents[p] : tn_b_full_like(b, out[p], 0);
    }
    if (!any) return;
    tn_attrs_call call = {.body = tn_graph_new_sub(b->graph)};
    if (tn_b_ok(b)) b->status = tn_graph_copy(call.body, a->vjp, NULL, b->err);
    tn_value first = tn_b_node(b, TN_OP_call, all, total, &call);
    for (uint32_t p = 0; p < (uint32_t)a->differentiable && tn_b_ok(b); p++)
        if (tn_dtype_is_float(tn_b_type(b, in[p]).dtype)) grads[p] = first + at++;
}

void tn__custom_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                    const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    (void)g;
    const tn_attrs_custom *a = n->attrs;
    uint32_t saved_from = n->out_count - (uint32_t)a->saved;
    bool any = false;
    custom_cotangents(b, n, in, out, cotangents, grads);
    tn_value *saved = TN_NEW_N(b->graph->arena, tn_value, n->out_count);
    tn_value *more = TN_NEW_N(b->graph->arena, tn_value, n->in_count);
    for (uint32_t p = 0; p < n->out_count; p++) {
        saved[p] = p < saved_from ? TN_NO_VALUE : cotangents[p];
        any = any || saved[p] != TN_NO_VALUE;
    }
    if (!any || !tn_b_ok(b)) return;
    tn_value *map = tn__body_map(b, a->body, in);
    copy_nodes(b, a->body, map);
    if (!tn_b_ok(b)) return;
    backward_through(b, a->body, map, saved, more);
    for (uint32_t p = 0; p < (uint32_t)a->differentiable; p++)
        tn__add_cotangent(b, &grads[p], more[p]);
}

/* ---- while ---------------------------------------------------------------------------------- */

/* A number that is the same in every iteration: a constant of the sub-graph, an invariant that is
 * a constant outside, or a state that starts as one and stays. */
static bool steady_number(const tn_graph *g, const tn_attrs_while *a, const tn_value *in,
                          const tn_graph *sub, tn_value v, tn_cell *out) {
    tn_array array;
    for (uint32_t p = 0; p < sub->inputs.len; p++) {
        if (sub->inputs.data[p] != v) continue;
        bool stays = p >= a->states || a->body->outputs.data[p].value == a->body->inputs.data[p];
        if (!stays || !tn_graph_constant(g, in[p], &array) || tn_array_count(&array) != 1)
            return false;
        *out = tn_array_get(&array, 0);
        return true;
    }
    if (!tn_graph_constant(sub, v, &array) || tn_array_count(&array) != 1) return false;
    *out = tn_array_get(&array, 0);
    return true;
}

/* The state that `v` of a sub-graph is; -1: none. */
static int64_t state_of(const tn_attrs_while *a, const tn_graph *sub, tn_value v) {
    for (uint32_t p = 0; p < a->states; p++)
        if (sub->inputs.data[p] == v) return p;
    return -1;
}

/* What an iteration adds to state `p`. */
static bool step_of_state(const tn_graph *g, const tn_attrs_while *a, const tn_value *in, int64_t p,
                          int64_t *step) {
    const tn_graph *body = a->body;
    const tn_node_info *n = tn_graph_producer(body, body->outputs.data[p].value);
    tn_cell by;
    if (n->op != TN_OP_add && n->op != TN_OP_sub) return false;
    bool left = state_of(a, body, n->in[0]) == p;
    if (!left && (n->op == TN_OP_sub || state_of(a, body, n->in[1]) != p)) return false;
    if (!steady_number(g, a, in, body, n->in[left], &by)) return false;
    if (by.i > INT32_MAX || by.i < -INT32_MAX) return false;
    *step = n->op == TN_OP_sub ? -by.i : by.i;
    return true;
}

/* The smallest t >= 0 for which `start + t·step  op  bound` fails. */
static bool first_failure(tn_op op, int64_t start, int64_t step, int64_t bound, int64_t *trips) {
    if (op == TN_OP_ne) {
        if (step == 0 || (bound - start) % step != 0) return false;
        *trips = (bound - start) / step;
        return *trips >= 0;
    }
    int64_t sign = op == TN_OP_lt || op == TN_OP_le ? 1 : -1;
    int64_t gap = sign * (bound - start) + (op == TN_OP_le || op == TN_OP_ge);
    step *= sign;
    *trips = gap <= 0 ? 0 : step > 0 ? (gap + step - 1) / step : -1;
    return *trips >= 0;
}

static tn_op mirrored(tn_op op) {
    switch (op) {
    case TN_OP_lt:
        return TN_OP_gt;
    case TN_OP_le:
        return TN_OP_ge;
    case TN_OP_gt:
        return TN_OP_lt;
    case TN_OP_ge:
        return TN_OP_le;
    default:
        return op;
    }
}

/* Iterations until the condition `v` fails. */
static bool trips_of(const tn_graph *g, const tn_attrs_while *a, const tn_value *in, tn_value v,
                     int64_t *trips) {
    const tn_node_info *n = tn_graph_producer(a->cond, v);
    tn_cell flag, bound, start;
    tn_array first;
    if (n->op == TN_OP_and) {
        if (steady_number(g, a, in, a->cond, n->in[0], &flag) && flag.u)
            return trips_of(g, a, in, n->in[1], trips);
        return steady_number(g, a, in, a->cond, n->in[1], &flag) && flag.u &&
               trips_of(g, a, in, n->in[0], trips);
    }
    if (n->op != TN_OP_ne && (n->op < TN_OP_lt || n->op > TN_OP_ge)) return false;
    int side = steady_number(g, a, in, a->cond, n->in[1], &bound) ? 0 : 1;
    if (side == 1 && !steady_number(g, a, in, a->cond, n->in[0], &bound)) return false;
    int64_t counter = state_of(a, a->cond, n->in[side]), step;
    if (counter < 0 || !tn_dtype_is_signed(tn_graph_type(g, in[counter])->dtype)) return false;
    if (!tn_graph_constant(g, in[counter], &first) || !step_of_state(g, a, in, counter, &step))
        return false;
    start = tn_array_get(&first, 0);
    if (start.i != (int32_t)start.i || bound.i != (int32_t)bound.i) return false;
    return first_failure(side ? mirrored(n->op) : n->op, start.i, step, bound.i, trips);
}

bool tn__while_trips(const tn_graph *g, const tn_attrs_while *a, const tn_value *in,
                     int64_t *trips) {
    return trips_of(g, a, in, a->cond->outputs.data[0].value, trips);
}

void tn__while_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                   const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    (void)g, (void)out;
    const tn_attrs_while *a = n->attrs;
    tn_attrs_scan scan = {.carries = a->states};
    if (!tn__while_trips(b->graph, a, in, &scan.length)) {
        tn_b_fail(b, TN_UNSUPPORTED,
                  "the gradient of a while needs to know how often it runs: a counter that starts "
                  "at a constant, is changed by a constant and compared with a constant; or use a "
                  "scan of the most steps, with a select that keeps the states once it is done");
        return;
    }
    scan.body = tn_graph_new_sub(b->graph);
    if (tn_b_ok(b)) b->status = tn_graph_copy(scan.body, a->body, NULL, b->err);
    tn_value first = tn_b_node(b, TN_OP_scan, in, n->in_count, &scan);
    if (!tn_b_ok(b)) return;
    tn_value *results = TN_NEW_N(b->graph->arena, tn_value, n->out_count);
    for (uint32_t p = 0; p < n->out_count; p++) results[p] = first + p;
    tn_node_info node = *tn_graph_producer(b->graph, first);
    tn__scan_vjp(b, b->graph, &node, in, results, cotangents, grads);
}
