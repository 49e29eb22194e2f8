/* The gradient of scan is a scan in the other direction.
 *
 * Its carries are the cotangents of the carries, its slices what each step needs: x, cotangents of
 * y, and forward values. Of these carries and the results of contractions, folds, nests and slow
 * functions are kept by a second forward scan that gives them as ys (the pass `loops` makes one of
 * the two); what else element-wise operations and views make of them is computed again. The
 * cotangent of an invariant is a sum over all steps. Where it is made of products, as that of a
 * recurrent weight, their factors are ys, and one product after the loop sums over steps as well;
 * else a carry adds it up. */
#include "ops/control.h"

typedef struct reverse {
    tn_builder *b;
    const tn_attrs_scan *a;
    const tn_value *in, *out, *cotangents;
    uint32_t carries, slices, inputs, outputs;
    bool *given; /* results of the body that get a cotangent */
    tn__reverse_body body;
    const tn_graph *j; /* body.graph; the arrays below are over its values */
    bool *varies;      /* from step to step */
    bool *stacked;     /* wanted for all steps after the loop */
    bool *needed;      /* by the reverse step */
    bool *saved;       /* by the forward scan */
    tn_value *all;     /* the value of all steps, outside; TN_NO_VALUE: not known outside */
    tn_value *inner;   /* in the body of the reverse scan */
    bool *later;       /* of each input: its cotangent is summed after the loop */
} reverse;

static tn_value input_of(const reverse *r, uint32_t p) {
    return r->j->inputs.data[p];
}

/* ---- the reverse step ----------------------------------------------------------------------- */

/* A carry has a cotangent when one comes from behind or from the next step. */
static void build_step(reverse *r) {
    for (bool more = true; more && tn_b_ok(r->b);) {
        more = false;
        tn__reverse_body_build(r->b, r->a->body, r->given, &r->body);
        for (uint32_t p = 0; p < r->carries && tn_b_ok(r->b); p++) {
            if (r->body.grads[p] == TN_NO_VALUE || r->given[p]) continue;
            r->given[p] = more = true;
        }
    }
    r->j = r->body.graph;
}

static void find_varying(reverse *r) {
    for (uint32_t p = 0; p < r->j->inputs.len; p++)
        r->varies[input_of(r, p)] = p < r->carries + r->slices || p >= r->inputs;
    for (tn_node i = 0; i < r->j->nodes.len; i++) {
        const tn_node_info *n = tn_graph_node(r->j, i);
        for (uint32_t k = 0; k < n->in_count; k++)
            for (uint32_t o = 0; r->varies[n->in[k]] && o < n->out_count; o++)
                r->varies[n->out + o] = true;
    }
}

/* ---- sums over steps ------------------------------------------------------------------------ */

static bool can_stack(const reverse *r, tn_value v) {
    return r->varies[v] && tn_graph_type(r->j, v)->shape.rank < TN_MAX_RANK;
}

static bool is_product_sum(const reverse *r, tn_value v, bool folds);

static bool are_product_sums(const reverse *r, const tn_node_info *n, bool folds) {
    for (uint32_t i = 0; i < n->in_count; i++)
        if (!is_product_sum(r, n->in[i], folds)) return false;
    return true;
}

/* Views, sums and concats (of slices' cotangents) of products, whose factors become stacked; and of folds
 * of what is stacked anyway. */
static bool is_product_sum(const reverse *r, tn_value v, bool folds) {
    const tn_node_info *n = tn_graph_producer(r->j, v);
    if (v < r->body.forward) return false;
    switch (n->op) {
    case TN_OP_add:
    case TN_OP_concat:
    case TN_OP_permute:
    case TN_OP_reshape:
    case TN_OP_cast:
        return are_product_sums(r, n, folds);
    case TN_OP_dot:
        return can_stack(r, n->in[0]) && can_stack(r, n->in[1]) &&
               ((const tn_attrs_dot *)n->attrs)->lhs_contract.count < TN_MAX_RANK;
    case TN_OP_reduce:
        return folds && ((const tn_attrs_reduce *)n->attrs)->kind == TN_REDUCE_sum &&
               r->stacked[n->in[0]];
    default:
        return false;
    }
}

static void stack_factors(reverse *r, tn_value v) {
    const tn_node_info *n = tn_graph_producer(r->j, v);
    bool factors = n->op == TN_OP_dot || n->op == TN_OP_reduce;
    for (uint32_t i = 0; i < n->in_count; i++)
        if (factors)
            r->stacked[n->in[i]] = true;
        else
            stack_factors(r, n->in[i]);
}

static void choose_later(reverse *r) {
    for (int folds = 0; folds < 2; folds++)
        for (uint32_t p = r->carries + r->slices; p < r->inputs; p++) {
            tn_value v = r->body.grads[p];
            if (v == TN_NO_VALUE || r->later[p] || !is_product_sum(r, v, folds)) continue;
            r->later[p] = true;
            stack_factors(r, v);
        }
}

/* The sum of `v` over all steps, from what is stacked. */
static tn_value sum_of_steps(reverse *r, tn_value v) {
    tn_builder *b = r->b;
    const tn_node_info *n = tn_graph_producer(r->j, v);
    tn_value x = TN_NO_VALUE;
    if (n->op == TN_OP_dot) {
        tn_attrs_dot a = *(const tn_attrs_dot *)n->attrs;
        a.lhs_batch = tn_ints_shifted(&a.lhs_batch, 1);
        a.rhs_batch = tn_ints_shifted(&a.rhs_batch, 1);
        a.lhs_contract = tn_ints_shifted(&a.lhs_contract, 1);
        a.rhs_contract = tn_ints_shifted(&a.rhs_contract, 1);
        tn_ints_push(&a.lhs_contract, 0);
        tn_ints_push(&a.rhs_contract, 0);
        tn_value factor[] = {r->all[n->in[0]], r->all[n->in[1]]};
        return tn_b_node(b, TN_OP_dot, factor, 2, &a);
    }
    if (n->op == TN_OP_reduce) {
        tn_attrs_reduce a = *(const tn_attrs_reduce *)n->attrs;
        tn_ints shifted = tn_ints_shifted(&a.axes, 1);
        a.axes = tn_ints_range(0, 1);
        for (int k = 0; k < shifted.count; k++) tn_ints_push(&a.axes, shifted.at[k]);
        x = r->all[n->in[0]];
        return tn_b_node(b, TN_OP_reduce, &x, 1, &a);
    }
    tn_value *sums = TN_NEW_N(b->graph->arena, tn_value, n->in_count);
    for (uint32_t i = 0; i < n->in_count; i++) sums[i] = sum_of_steps(r, n->in[i]);
    return tn_b_node(b, n->op, sums, n->in_count, n->attrs);
}

/* ---- what the reverse step needs ------------------------------------------------------------ */

/* Functions that take as long as some ten products. */
static bool is_slow_function(tn_op op) {
    switch (op) {
    case TN_OP_sqrt:
    case TN_OP_rsqrt:
        return false;
    case TN_OP_pow:
    case TN_OP_atan2:
        return true;
    default:
        return op >= TN_OP_exp && op <= TN_OP_erf; /* in the order of ops.def */
    }
}

/* Forward values that are computed again rather than kept. */
static bool is_cheap(const reverse *r, const tn_node_info *n) {
    bool slow = tn_op_rules_of(n->op)->lower.kind != TN_LOWER_EXPRESSION || is_slow_function(n->op);
    return !slow || n->in_count == 0 || tn_graph_type(r->j, n->out)->shape.rank == TN_MAX_RANK;
}

/* A wanted stack that is there already: of a slice, a cotangent, or something to be kept. */
static bool is_outside(const reverse *r, tn_value v) {
    const tn_node_info *n = tn_graph_producer(r->j, v);
    return n->op == TN_OP_input || (v < r->body.forward && !is_cheap(r, n));
}

static void mark_roots(reverse *r) {
    for (uint32_t p = 0; p < r->inputs; p++) {
        bool wanted = p >= r->carries || r->given[p];
        if (wanted && !r->later[p] && r->body.grads[p] != TN_NO_VALUE)
            r->needed[r->body.grads[p]] = true;
    }
    for (tn_value v = 0; v < r->j->values.len; v++) {
        if (!r->stacked[v]) continue;
        if (!is_outside(r, v))
            r->needed[v] = true;
        else if (tn_graph_producer(r->j, v)->op != TN_OP_input)
            r->saved[v] = true;
    }
    for (uint32_t p = 0; p < r->carries; p++)
        if (r->stacked[input_of(r, p)]) r->saved[input_of(r, p)] = true;
}

static void find_needed(reverse *r) {
    mark_roots(r);
    for (tn_node i = r->j->nodes.len; i-- > 0;) {
        const tn_node_info *n = tn_graph_node(r->j, i);
        bool any = false;
        for (uint32_t o = 0; o < n->out_count; o++) any = any || r->needed[n->out + o];
        if (!any || n->op == TN_OP_input) continue;
        bool keep = n->out < r->body.forward && !is_cheap(r, n) && r->varies[n->out];
        for (uint32_t o = 0; keep && o < n->out_count; o++)
            r->saved[n->out + o] = r->saved[n->out + o] || r->needed[n->out + o];
        for (uint32_t k = 0; !keep && k < n->in_count; k++) r->needed[n->in[k]] = true;
    }
    for (uint32_t p = 0; p < r->carries; p++) {
        tn_value v = input_of(r, p);
        r->saved[v] = r->saved[v] || r->needed[v];
        if (r->saved[v] && tn_graph_type(r->j, v)->shape.rank == TN_MAX_RANK)
            tn_b_fail(r->b, TN_UNSUPPORTED,
                      "the gradient of a scan keeps carry %u of all steps, which would have more "
                      "than %d axes",
                      p, TN_MAX_RANK);
    }
}

/* ---- the forward scan that keeps ------------------------------------------------------------ */

/* A result of the scan that is the value already. */
static tn_value stacked_result(const reverse *r, tn_value in_body) {
    for (uint32_t p = r->carries; p < r->outputs; p++)
        if (r->a->body->outputs.data[p].value == in_body) return r->out[p];
    return TN_NO_VALUE;
}

static void run_forward(reverse *r) {
    const tn_graph *body = r->a->body;
    tn_builder *b = r->b;
    tn_attrs_scan a = *r->a;
    uint32_t extra = 0;
    a.body = tn_graph_new_sub(b->graph);
    tn_value *map = TN_NEW_N(b->graph->arena, tn_value, body->values.len);
    tn_builder inner = tn_builder_of(a.body, b->err);
    for (tn_node i = 0; i < body->nodes.len; i++) tn__body_copy_node(&inner, body, i, map);
    if (tn_b_ok(b)) b->status = inner.status;
    if (!tn_b_ok(b)) return;
    for (uint32_t p = 0; p < r->outputs; p++)
        tn_graph_add_output(a.body, map[body->outputs.data[p].value], NULL);
    for (tn_value v = 0; v < body->values.len; v++) {
        tn_value kept = r->body.map[v];
        if (!r->saved[kept]) continue;
        r->all[kept] = stacked_result(r, v);
        if (r->all[kept] != TN_NO_VALUE) continue;
        tn_graph_add_output(a.body, map[v], NULL);
        extra++;
    }
    if (extra == 0) return;
    tn_value first = tn_b_node(b, TN_OP_scan, r->in, r->inputs, &a), at = first + r->outputs;
    for (tn_value v = 0; v < body->values.len && tn_b_ok(b); v++) {
        tn_value kept = r->body.map[v];
        if (r->saved[kept] && r->all[kept] == TN_NO_VALUE) r->all[kept] = at++;
    }
}

/* ---- the reverse scan ----------------------------------------------------------------------- */

/* Its operands and the inputs of its body, side by side. */
typedef struct operands {
    tn_value *at;
    uint32_t count;
    tn_builder inner;
} operands;

static tn_value add_operand(operands *o, tn_value outside, tn_type inside) {
    o->at[o->count++] = outside;
    return tn_b_input(&o->inner, NULL, inside.dtype, &inside.shape);
}

/* Short floats are added up in f32. */
static tn_type sum_type(const reverse *r, uint32_t p) {
    tn_type type = *tn_graph_type(r->j, input_of(r, p));
    if (tn_dtype_bits(type.dtype) < 32) type.dtype = TN_f32;
    return type;
}

static bool is_summed(const reverse *r, uint32_t p) {
    return p >= r->carries + r->slices && !r->later[p] && r->body.grads[p] != TN_NO_VALUE;
}

static void carry_operands(reverse *r, operands *o, tn_value *sum) {
    for (uint32_t p = 0; p < r->carries; p++) {
        if (!r->given[p]) continue;
        tn_type type = *tn_graph_type(r->j, input_of(r, p));
        tn_value d = r->cotangents[p];
        if (d == TN_NO_VALUE) d = tn_b_full(r->b, type.dtype, &type.shape, 0);
        r->inner[r->body.cotangent[p]] = add_operand(o, d, type);
    }
    for (uint32_t p = 0; p < r->inputs; p++) {
        tn_type type = sum_type(r, p);
        if (is_summed(r, p))
            sum[p] = add_operand(o, tn_b_full(r->b, type.dtype, &type.shape, 0), type);
    }
}

/* Slices, cotangents of ys and kept values that are needed; returns how many. */
static uint32_t slice_operands(reverse *r, operands *o) {
    uint32_t before = o->count;
    for (uint32_t p = r->carries; p < r->carries + r->slices; p++)
        r->all[input_of(r, p)] = r->in[p];
    for (uint32_t p = r->carries; p < r->outputs; p++)
        if (r->given[p]) r->all[r->body.cotangent[p]] = r->cotangents[p];
    for (tn_value v = 0; v < r->j->values.len; v++)
        if (r->all[v] != TN_NO_VALUE && r->needed[v])
            r->inner[v] = add_operand(o, r->all[v], *tn_graph_type(r->j, v));
    return o->count - before;
}

static void invariant_operands(reverse *r, operands *o) {
    for (uint32_t p = r->carries + r->slices; p < r->inputs; p++)
        if (r->needed[input_of(r, p)])
            r->inner[input_of(r, p)] =
                add_operand(o, r->in[p], *tn_graph_type(r->j, input_of(r, p)));
}

static void copy_step(reverse *r, tn_builder *inner) {
    for (tn_node i = 0; i < r->j->nodes.len && tn_b_ok(inner); i++) {
        const tn_node_info *n = tn_graph_node(r->j, i);
        bool wanted = false;
        for (uint32_t o = 0; o < n->out_count; o++)
            wanted = wanted || (r->needed[n->out + o] && r->inner[n->out + o] == TN_NO_VALUE);
        if (wanted && n->op != TN_OP_input) tn__body_copy_node(inner, r->j, i, r->inner);
    }
}

static void step_output(tn_builder *inner, tn_value v) {
    if (tn_b_ok(inner)) tn_graph_add_output(inner->graph, v, NULL);
}

static void step_outputs(reverse *r, tn_builder *inner, const tn_value *sum) {
    for (uint32_t p = 0; p < r->carries; p++) {
        tn_value d = r->body.grads[p];
        tn_type type = *tn_graph_type(r->j, input_of(r, p));
        if (r->given[p])
            step_output(inner, d != TN_NO_VALUE ? r->inner[d]
                                                : tn_b_full(inner, type.dtype, &type.shape, 0));
    }
    for (uint32_t p = 0; p < r->inputs; p++)
        if (is_summed(r, p)) {
            tn_value d = tn_b_cast(inner, r->inner[r->body.grads[p]], sum_type(r, p).dtype);
            step_output(inner, tn_b_add(inner, sum[p], d));
        }
    for (uint32_t p = r->carries; p < r->carries + r->slices; p++)
        if (r->body.grads[p] != TN_NO_VALUE) step_output(inner, r->inner[r->body.grads[p]]);
    for (tn_value v = 0; v < r->j->values.len; v++)
        if (r->stacked[v] && r->all[v] == TN_NO_VALUE) step_output(inner, r->inner[v]);
}

/* Hands out the results in the order of step_outputs. */
static void take_results(reverse *r, tn_value at, tn_value *grads) {
    for (uint32_t p = 0; p < r->carries; p++)
        if (r->given[p]) grads[p] = at++;
    for (uint32_t p = 0; p < r->inputs; p++)
        if (is_summed(r, p))
            grads[p] = tn_b_cast(r->b, at++, tn_graph_type(r->j, input_of(r, p))->dtype);
    for (uint32_t p = r->carries; p < r->carries + r->slices; p++)
        if (r->body.grads[p] != TN_NO_VALUE) grads[p] = at++;
    for (tn_value v = 0; v < r->j->values.len; v++)
        if (r->stacked[v] && r->all[v] == TN_NO_VALUE) r->all[v] = at++;
    for (uint32_t p = r->carries + r->slices; p < r->inputs && tn_b_ok(r->b); p++)
        if (r->later[p]) grads[p] = sum_of_steps(r, r->body.grads[p]);
}

static void run_reverse(reverse *r, tn_value *grads) {
    tn_arena *arena = r->b->graph->arena;
    tn_graph *body = tn_graph_new_sub(r->b->graph);
    operands o = {.at = TN_NEW_N(arena, tn_value, 2 * r->inputs + r->j->values.len),
                  .inner = tn_builder_of(body, r->b->err)};
    tn_value *sum = TN_NEW_N(arena, tn_value, r->inputs);
    tn_attrs_scan a = {.length = r->a->length, .reverse = !r->a->reverse, .body = body};
    carry_operands(r, &o, sum);
    a.carries = o.count;
    a.slices = slice_operands(r, &o);
    invariant_operands(r, &o);
    copy_step(r, &o.inner);
    step_outputs(r, &o.inner, sum);
    if (tn_b_ok(r->b)) r->b->status = o.inner.status;
    tn_value first = TN_NO_VALUE;
    if (body->outputs.len > 0) first = tn_b_node(r->b, TN_OP_scan, o.at, o.count, &a);
    if (tn_b_ok(r->b)) take_results(r, first, grads);
}

static void init_values(reverse *r) {
    tn_arena *arena = r->b->graph->arena;
    uint32_t count = r->j->values.len;
    r->varies = TN_NEW_N(arena, bool, count);
    r->stacked = TN_NEW_N(arena, bool, count);
    r->needed = TN_NEW_N(arena, bool, count);
    r->saved = TN_NEW_N(arena, bool, count);
    r->all = TN_NEW_N(arena, tn_value, count);
    r->inner = TN_NEW_N(arena, tn_value, count);
    for (uint32_t v = 0; v < count; v++) r->all[v] = r->inner[v] = TN_NO_VALUE;
}

void tn__scan_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                  const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    (void)g;
    const tn_attrs_scan *a = n->attrs;
    tn_arena *arena = b->graph->arena;
    reverse r = {.b = b, .a = a, .in = in, .out = out, .cotangents = cotangents};
    r.carries = (uint32_t)a->carries;
    r.slices = (uint32_t)a->slices;
    r.inputs = n->in_count;
    r.outputs = n->out_count;
    r.given = TN_NEW_N(arena, bool, r.outputs);
    r.later = TN_NEW_N(arena, bool, r.inputs);
    for (uint32_t p = 0; p < r.outputs; p++) r.given[p] = cotangents[p] != TN_NO_VALUE;
    build_step(&r);
    if (!tn_b_ok(b)) return;
    init_values(&r);
    find_varying(&r);
    choose_later(&r);
    find_needed(&r);
    run_forward(&r);
    if (tn_b_ok(b)) run_reverse(&r, grads);
}
