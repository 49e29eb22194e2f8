/* if, while, scan and call: operations with sub-graphs, run by the executor.
 *
 * Sub-graphs see only their inputs, and share the table of sizes with the graph they are in; so the
 * types of operands and of sub-graph inputs are compared as they are. */
#include "ops/control.h"
#include "ops/eval.h"

/* ---- infer ---------------------------------------------------------------------------------- */

static tn_status refuse_type(const tn_infer *i, const char *sub, const char *what, uint32_t at,
                             const tn_type *have, const tn_type *expected, tn_error *err) {
    return tn_infer_refuse_attr(i, err, "%s %u of sub-graph '%s' is %s; expected %s", what, at, sub,
                                tn_type_text(i->graph->dims, have).at,
                                tn_type_text(i->graph->dims, expected).at);
}

static bool same_type(const tn_type *a, const tn_type *b) {
    return a->dtype == b->dtype && tn_shape_equal(&a->shape, &b->shape);
}

static tn_status check_inputs(const tn_infer *i, const char *sub, const tn_graph *body,
                              const tn_type *const *expected, uint32_t count, tn_error *err) {
    if (body->inputs.len != count)
        return tn_infer_refuse_attr(i, err, "sub-graph '%s' takes %u inputs; expected %u", sub,
                                    body->inputs.len, count);
    for (uint32_t p = 0; p < count; p++) {
        const tn_type *have = tn_graph_type(body, body->inputs.data[p]);
        if (!same_type(have, expected[p]))
            return refuse_type(i, sub, "input", p, have, expected[p], err);
    }
    return TN_OK;
}

static const tn_type *output_type(const tn_graph *body, uint32_t at) {
    return tn_graph_type(body, body->outputs.data[at].value);
}

/* The first `count` outputs must have the types `expected`; there may be more only with `more`. */
static tn_status check_outputs(const tn_infer *i, const char *sub, const tn_graph *body,
                               const tn_type *const *expected, uint32_t count, bool more,
                               tn_error *err) {
    if (body->outputs.len < count || (body->outputs.len > count && !more))
        return tn_infer_refuse_attr(i, err, "sub-graph '%s' gives %u results; expected %s%u", sub,
                                    body->outputs.len, more ? "at least " : "", count);
    for (uint32_t p = 0; p < count; p++)
        if (!same_type(output_type(body, p), expected[p]))
            return refuse_type(i, sub, "result", p, output_type(body, p), expected[p], err);
    return TN_OK;
}

static tn_status give_results(tn_infer *i, uint32_t count, tn_error *err) {
    if (count > i->out_max)
        return tn_infer_refuse_attr(i, err, "%u results; at most %u are possible", count,
                                    i->out_max);
    *i->out_count = count;
    return TN_OK;
}

static bool is_flag(const tn_type *type) {
    return type->dtype == TN_bool && type->shape.rank == 0;
}

static tn_status if_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_if *a = i->attrs;
    if (!is_flag(i->in[0])) return tn_infer_refuse(i, 0, err, "expected a bool scalar, the flag");
    TN_CHECK(check_inputs(i, "then_graph", a->then_graph, i->in + 1, i->in_count - 1, err));
    TN_CHECK(check_inputs(i, "else_graph", a->else_graph, i->in + 1, i->in_count - 1, err));
    uint32_t count = a->then_graph->outputs.len;
    TN_CHECK(give_results(i, count, err));
    const tn_type **types = TN_NEW_N(i->graph->arena, const tn_type *, count);
    for (uint32_t p = 0; p < count; p++) {
        types[p] = output_type(a->then_graph, p);
        i->out[p] = *types[p];
    }
    return check_outputs(i, "else_graph", a->else_graph, types, count, false, err);
}

static tn_status while_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_while *a = i->attrs;
    if (a->states < 0 || a->states > i->in_count)
        return tn_infer_refuse_attr(i, err, "states = %lld of %u operands", (long long)a->states,
                                    i->in_count);
    uint32_t states = (uint32_t)a->states;
    TN_CHECK(check_inputs(i, "cond", a->cond, i->in, i->in_count, err));
    TN_CHECK(check_inputs(i, "body", a->body, i->in, i->in_count, err));
    if (a->cond->outputs.len != 1 || !is_flag(output_type(a->cond, 0)))
        return tn_infer_refuse_attr(i, err, "sub-graph 'cond' must give one bool scalar");
    TN_CHECK(check_outputs(i, "body", a->body, i->in, states, false, err));
    TN_CHECK(give_results(i, states, err));
    for (uint32_t p = 0; p < states; p++) i->out[p] = *i->in[p];
    return TN_OK;
}

/* The type of one step of x: without axis 0, which must have the scan's length. */
static tn_status step_type(const tn_infer *i, uint32_t which, tn_dim length, tn_type *out,
                           tn_error *err) {
    *out = *i->in[which];
    if (out->shape.rank == 0 || out->shape.dim[0] != length)
        return tn_infer_refuse(i, which, err, "expected %s steps along axis 0",
                               tn_dim_text(i->graph->dims, length).at);
    memmove(out->shape.dim, out->shape.dim + 1, sizeof(tn_dim) * (size_t)--out->shape.rank);
    return TN_OK;
}

static tn_status scan_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_scan *a = i->attrs;
    if (a->carries < 0 || a->slices < 0 || a->carries > i->in_count ||
        a->slices > i->in_count - a->carries)
        return tn_infer_refuse_attr(i, err, "carries = %lld and slices = %lld of %u operands",
                                    (long long)a->carries, (long long)a->slices, i->in_count);
    uint32_t carries = (uint32_t)a->carries, slices = (uint32_t)a->slices;
    tn_type *step = TN_NEW_N(i->graph->arena, tn_type, slices);
    const tn_type **types = TN_NEW_N(i->graph->arena, const tn_type *, i->in_count);
    for (uint32_t p = 0; p < i->in_count; p++) {
        types[p] = i->in[p];
        if (p < carries || p >= carries + slices) continue;
        TN_CHECK(step_type(i, p, a->length, &step[p - carries], err));
        types[p] = &step[p - carries];
    }
    TN_CHECK(check_inputs(i, "body", a->body, types, i->in_count, err));
    TN_CHECK(check_outputs(i, "body", a->body, i->in, carries, true, err));
    TN_CHECK(give_results(i, a->body->outputs.len, err));
    for (uint32_t p = 0; p < *i->out_count; p++) {
        const tn_type *y = output_type(a->body, p);
        i->out[p] = *y;
        if (p < carries) continue;
        if (y->shape.rank == TN_MAX_RANK)
            return tn_infer_refuse_attr(i, err, "result %u of the body cannot take one more axis",
                                        p);
        i->out[p].shape = tn_shape_with_front(&y->shape, a->length);
    }
    return TN_OK;
}

static tn_status call_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_call *a = i->attrs;
    TN_CHECK(check_inputs(i, "body", a->body, i->in, i->in_count, err));
    TN_CHECK(give_results(i, a->body->outputs.len, err));
    for (uint32_t p = 0; p < *i->out_count; p++) i->out[p] = *output_type(a->body, p);
    return TN_OK;
}

/* The inputs of a custom node's vjp: operands, results, cotangents. */
static tn_status custom_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_custom *a = i->attrs;
    uint32_t results = a->body->outputs.len, count = i->in_count, wanted = 0;
    TN_CHECK(check_inputs(i, "body", a->body, i->in, count, err));
    TN_CHECK(give_results(i, results, err));
    if (a->differentiable < 0 || a->differentiable > count || a->saved < 0 || a->saved > results)
        return tn_infer_refuse_attr(i, err,
                                    "differentiable = %lld of %u operands, saved = %lld of %u "
                                    "results",
                                    (long long)a->differentiable, count, (long long)a->saved,
                                    results);
    const tn_type **types = TN_NEW_N(i->graph->arena, const tn_type *, count + 2 * results);
    memcpy(types, i->in, sizeof *types * count);
    for (uint32_t p = 0; p < results; p++) types[count++] = output_type(a->body, p);
    for (uint32_t p = 0; p < results; p++) {
        i->out[p] = *output_type(a->body, p);
        if (p < results - a->saved && tn_dtype_is_float(i->out[p].dtype))
            types[count++] = output_type(a->body, p);
    }
    TN_CHECK(check_inputs(i, "vjp", a->vjp, types, count, err));
    for (uint32_t p = 0; p < a->differentiable; p++)
        if (tn_dtype_is_float(i->in[p]->dtype)) types[wanted++] = i->in[p];
    return check_outputs(i, "vjp", a->vjp, types, wanted, false, err);
}

/* ---- eval ----------------------------------------------------------------------------------- */

static tn_status eval_if(tn_eval_call *e, tn_error *err) {
    const tn_attrs_if *a = e->node->attrs;
    const tn_graph *taken = tn_array_get(&e->in[0], 0).u ? a->then_graph : a->else_graph;
    return tn_eval_graph(taken, e->in + 1, e->bindings, e->out, e->arena, err);
}

static tn_status eval_while(tn_eval_call *e, tn_error *err) {
    const tn_attrs_while *a = e->node->attrs;
    uint32_t states = (uint32_t)a->states, count = e->node->in_count;
    tn_array *now = TN_NEW_N(e->arena, tn_array, count), flag;
    memcpy(now, e->in, sizeof(tn_array) * count);
    for (;;) {
        TN_CHECK(tn_eval_graph(a->cond, now, e->bindings, &flag, e->arena, err));
        if (!tn_array_get(&flag, 0).u) break;
        tn_array *next = TN_NEW_N(e->arena, tn_array, states);
        TN_CHECK(tn_eval_graph(a->body, now, e->bindings, next, e->arena, err));
        memcpy(now, next, sizeof(tn_array) * states);
    }
    memcpy(e->out, now, sizeof(tn_array) * states);
    return TN_OK;
}

/* Element `at` along axis 0, as a view. */
static tn_array step_of(const tn_array *a, int64_t at) {
    tn_array step = *a;
    memmove(step.dim, step.dim + 1, sizeof(int64_t) * (size_t)--step.rank);
    step.data = (char *)a->data + (size_t)at * tn_array_bytes(&step);
    return step;
}

static tn_status eval_scan(tn_eval_call *e, tn_error *err) {
    const tn_attrs_scan *a = e->node->attrs;
    uint32_t carries = (uint32_t)a->carries, slices = (uint32_t)a->slices;
    uint32_t in_count = e->node->in_count, out_count = e->node->out_count;
    tn_array *now = TN_NEW_N(e->arena, tn_array, in_count);
    memcpy(now, e->in, sizeof(tn_array) * in_count);
    int64_t length = tn_dim_is_const(a->length)
                         ? a->length
                         : tn_dim_eval(e->graph->dims, a->length, e->bindings);
    for (int64_t done = 0; done < length; done++) {
        int64_t at = a->reverse ? length - 1 - done : done;
        for (uint32_t p = 0; p < slices; p++) now[carries + p] = step_of(&e->in[carries + p], at);
        tn_array *next = TN_NEW_N(e->arena, tn_array, out_count);
        TN_CHECK(tn_eval_graph(a->body, now, e->bindings, next, e->arena, err));
        memcpy(now, next, sizeof(tn_array) * carries);
        for (uint32_t p = carries; p < out_count; p++) {
            tn_array to = step_of(&e->out[p], at);
            memcpy(to.data, next[p].data, tn_array_bytes(&to));
        }
    }
    memcpy(e->out, now, sizeof(tn_array) * carries);
    return TN_OK;
}

static tn_status eval_call(tn_eval_call *e, tn_error *err) {
    const tn_attrs_call *a = e->node->attrs;
    return tn_eval_graph(a->body, e->in, e->bindings, e->out, e->arena, err);
}

static tn_status eval_custom(tn_eval_call *e, tn_error *err) {
    const tn_attrs_custom *a = e->node->attrs;
    return tn_eval_graph(a->body, e->in, e->bindings, e->out, e->arena, err);
}

/* ---- cost ----------------------------------------------------------------------------------- */

static tn_cost body_cost(const tn_graph *body, const int64_t *bindings, double times) {
    tn_cost sum = {0};
    for (uint32_t p = 0; p < body->nodes.len; p++) {
        const tn_node_info *n = tn_graph_node(body, p);
        tn_cost c = {0};
        tn_op_rules_of(n->op)->cost(body, n, bindings, &c);
        sum.flops += times * c.flops;
        sum.bytes_read += times * c.bytes_read;
        sum.bytes_written += times * c.bytes_written;
    }
    return sum;
}

/* The dearer branch. */
static void if_cost(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                    tn_cost *out) {
    (void)g;
    const tn_attrs_if *a = n->attrs;
    tn_cost yes = body_cost(a->then_graph, bindings, 1), no = body_cost(a->else_graph, bindings, 1);
    *out = yes.flops + yes.bytes_read >= no.flops + no.bytes_read ? yes : no;
}

/* One iteration: how many there are is not known. */
static void while_cost(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                       tn_cost *out) {
    (void)g;
    const tn_attrs_while *a = n->attrs;
    tn_cost cond = body_cost(a->cond, bindings, 1), body = body_cost(a->body, bindings, 1);
    *out = (tn_cost){cond.flops + body.flops, cond.bytes_read + body.bytes_read,
                     cond.bytes_written + body.bytes_written};
}

static void scan_cost(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                      tn_cost *out) {
    const tn_attrs_scan *a = n->attrs;
    *out = body_cost(a->body, bindings, (double)tn_dim_eval(g->dims, a->length, bindings));
}

static void call_cost(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                      tn_cost *out) {
    (void)g;
    *out = body_cost(((const tn_attrs_call *)n->attrs)->body, bindings, 1);
}

static void custom_cost(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                        tn_cost *out) {
    (void)g;
    *out = body_cost(((const tn_attrs_custom *)n->attrs)->body, bindings, 1);
}

/* ---- invariants ----------------------------------------------------------------------------- */

uint32_t tn__first_invariant(const tn_node_info *n) {
    switch (n->op) {
    case TN_OP_if:
        return 1;
    case TN_OP_while:
        return (uint32_t)((const tn_attrs_while *)n->attrs)->states;
    case TN_OP_scan: {
        const tn_attrs_scan *a = n->attrs;
        return (uint32_t)(a->carries + a->slices);
    }
    default:
        return n->in_count;
    }
}

uint32_t tn__steady_inputs(const tn_graph *g, const tn_node_info *n) {
    enum { LEAST_ITERATIONS = 4 }; /* a copy made anew stays in the nearest cache */
    int64_t times;
    if (n->op != TN_OP_while && n->op != TN_OP_scan) return TN_NO_INVARIANTS;
    if (n->op == TN_OP_scan &&
        tn_dim_const_value(g->dims, ((const tn_attrs_scan *)n->attrs)->length, &times) &&
        times < LEAST_ITERATIONS)
        return TN_NO_INVARIANTS;
    return tn__first_invariant(n);
}

/* ---- bodies in place ------------------------------------------------------------------------ */

void tn__body_copy_node(tn_builder *b, const tn_graph *body, tn_node p, tn_value *map) {
    if (tn_b_ok(b)) b->status = tn_graph_copy_node(b->graph, body, p, map, NULL, b->err);
}

tn_value *tn__body_map(tn_builder *b, const tn_graph *body, const tn_value *in) {
    tn_value *map = TN_NEW_N(b->graph->arena, tn_value, body->values.len);
    for (uint32_t p = 0; p < body->inputs.len; p++) map[body->inputs.data[p]] = in[p];
    return map;
}

#define SHARD_REASON "placements are not followed through sub-graphs"

const tn_op_rules tn_rules_if = {
    .infer = if_infer,
    .eval = eval_if,
    .cost = if_cost,
    .lower = {.kind = TN_LOWER_CONTROL},
    .vjp = TN_RULE(tn__if_vjp),
    .batch = TN_RULE(tn__if_batch),
    .shard = TN_REFUSE(SHARD_REASON),
};

const tn_op_rules tn_rules_while = {
    .infer = while_infer,
    .eval = eval_while,
    .cost = while_cost,
    .lower = {.kind = TN_LOWER_CONTROL},
    .vjp = TN_RULE(tn__while_vjp),
    .batch = TN_RULE(tn__while_batch),
    .shard = TN_REFUSE(SHARD_REASON),
};

const tn_op_rules tn_rules_scan = {
    .infer = scan_infer,
    .eval = eval_scan,
    .cost = scan_cost,
    .lower = {.kind = TN_LOWER_CONTROL},
    .vjp = TN_RULE(tn__scan_vjp),
    .batch = TN_RULE(tn__scan_batch),
    .shard = TN_REFUSE(SHARD_REASON),
};

const tn_op_rules tn_rules_call = {
    .infer = call_infer,
    .eval = eval_call,
    .cost = call_cost,
    .lower = {.kind = TN_LOWER_CONTROL},
    .vjp = TN_RULE(tn__call_vjp),
    .batch = TN_RULE(tn__call_batch),
    .shard = TN_REFUSE(SHARD_REASON),
};

const tn_op_rules tn_rules_custom = {
    .infer = custom_infer,
    .eval = eval_custom,
    .cost = custom_cost,
    .lower = {.kind = TN_LOWER_CONTROL},
    .vjp = TN_RULE(tn__custom_vjp),
    .batch = TN_RULE(tn__custom_batch),
    .shard = TN_REFUSE(SHARD_REASON),
};
