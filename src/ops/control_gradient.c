/* Gradients of if, call, while and custom; that of scan is in scan_gradient.c.
 *
 * A branch's gradient is a branch: it computes its forward values again, so that nothing has to be
 * kept of the branch that was not taken. A while has a gradient when constants bound the number of its
 * iterations; it is that of the scan with as many steps, which are branches where they may not be
 * taken. */
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

/* One step of a while that may have ended: the body where the condition holds, else the states. */
static tn_graph *step_if_going(tn_builder *b, const tn_attrs_while *a) {
    tn_graph *step = tn_graph_new_sub(b->graph);
    tn_builder inner = tn_builder_of(step, b->err);
    uint32_t count = a->body->inputs.len, states = (uint32_t)a->states;
    tn_value *in = TN_NEW_N(step->arena, tn_value, count + 1);
    for (uint32_t p = 0; p < count; p++) {
        const tn_type *type = tn_graph_type(a->body, a->body->inputs.data[p]);
        in[1 + p] = tn_b_input(&inner, NULL, type->dtype, &type->shape);
    }
    tn_value *map = tn__body_map(&inner, a->cond, in + 1);
    copy_nodes(&inner, a->cond, map);
    in[0] = map[a->cond->outputs.data[0].value];
    tn_attrs_if branch = {.then_graph = tn_graph_new_sub(step),
                          .else_graph = tn_graph_new_sub(step)};
    if (tn_b_ok(&inner)) inner.status = tn_graph_copy(branch.then_graph, a->body, NULL, b->err);
    tn_builder stay = tn_builder_of(branch.else_graph, b->err);
    for (uint32_t p = 0; p < count && tn_b_ok(&stay); p++) {
        const tn_type *type = tn_graph_type(a->body, a->body->inputs.data[p]);
        tn_value v = tn_b_input(&stay, NULL, type->dtype, &type->shape);
        if (p < states && tn_b_ok(&stay)) tn_graph_add_output(branch.else_graph, v, NULL);
    }
    if (tn_b_ok(&inner)) inner.status = stay.status;
    tn_value first = tn_b_node(&inner, TN_OP_if, in, count + 1, &branch);
    for (uint32_t p = 0; p < states && tn_b_ok(&inner); p++)
        tn_graph_add_output(step, first + p, NULL);
    if (tn_b_ok(b)) b->status = inner.status;
    return step;
}

/* The scan that computes what the while does. */
static bool scan_of_while(tn_builder *b, const tn_attrs_while *a, const tn_value *in,
                          tn_attrs_scan *scan) {
    int64_t steps;
    *scan = (tn_attrs_scan){.carries = a->states};
    if (tn__while_trips(b->graph, a, in, &steps)) {
        scan->body = tn_graph_new_sub(b->graph);
        if (tn_b_ok(b)) b->status = tn_graph_copy(scan->body, a->body, NULL, b->err);
    } else if (tn__while_bound(b->graph, a, in, &steps)) {
        scan->body = step_if_going(b, a);
    } else {
        return false;
    }
    scan->length = tn_dim_const(b->graph->dims, steps);
    return true;
}

void tn__while_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                   const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    (void)g, (void)out;
    tn_attrs_scan scan;
    if (!scan_of_while(b, n->attrs, in, &scan)) {
        tn_b_fail(b, TN_UNSUPPORTED,
                  "the gradient of a while needs to know how often it runs at most: its condition "
                  "has to be, or to be joined by `and` with, the comparison of a constant with a "
                  "counter that starts at a constant and is changed by a constant");
        return;
    }
    tn_value first = tn_b_node(b, TN_OP_scan, in, n->in_count, &scan);
    if (!tn_b_ok(b)) return;
    tn_value *results = TN_NEW_N(b->graph->arena, tn_value, n->out_count);
    for (uint32_t p = 0; p < n->out_count; p++) results[p] = first + p;
    tn_node_info node = *tn_graph_producer(b->graph, first);
    tn__scan_vjp(b, b->graph, &node, in, results, cotangents, grads);
}
