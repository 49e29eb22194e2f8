/* Loop. What is known while importing is decided here: a short loop is unrolled. With a condition that always
 * holds it is a scan of as many steps as the trip count, a size that the run may bind. Else it is a while; or, if
 * it stacks results, a scan of as many steps as there are iterations at most: those behind the last do nothing,
 * and how many there were is a size that the run binds. */
#include "import/onnx/body.h"
#include "import/onnx/dynamic.h"
#include "import/onnx/ops.h"

typedef struct loop {
    const tn_onnx_graph *source;
    bool bounded; /* there is a trip count */
    bool count_known, flag_known;
    int64_t count, flag;
    bool limited; /* its iterations are at most `most`; `number` is the trip count */
    tn_dim most;
    tn_onnx_number number;
    uint32_t carried, scans;
    bool structured; /* carries a sequence or an optional: it can only be unrolled */
} loop;

/* Whether the trip count is a size, or has a bound by which memory can be planned. */
static void find_limit(tn_o *o, loop *l) {
    tn_known k;
    tn_onnx_number *at;
    int64_t count;
    if (!l->bounded) return;
    bool known = tn_o_known(o, 0, &k);
    if (known && k.count != 1) tn_o_fail(o, TN_INVALID, "its trip count is not a scalar");
    if (known && tn_o_ok(o)) l->number = (tn_onnx_number){k.at[0], TN_NO_VALUE};
    if (!known && (o->b->graph->parent || tn_o_rank(o, 0) > 1)) return;
    if (!known && (!tn_o_numbers(o, 0, "trip count", &count, &at) || count != 1)) return;
    if (!known) l->number = *at;
    tn_onnx_limits limits = {.has_hi = true, .hi = l->number.size};
    if (l->number.value != TN_NO_VALUE) limits = tn_onnx_value_limits(o->b->graph, l->number.value);
    l->limited = tn_o_ok(o) && limits.has_hi;
    if (l->limited) l->most = tn_onnx_larger(o->dims, limits.hi, 0);
}

/* The trip count as a size. */
static tn_dim exact_count(tn_o *o, const loop *l) {
    if (l->number.value == TN_NO_VALUE) return l->most;
    tn_value least = tn_b_scalar_int(o->b, TN_i64, 0);
    tn_value count = tn_b_max(o->b, l->number.value, least);
    return tn_o_bind_size(o, count, l->number.value, "turns", l->most);
}

static bool read_loop(tn_o *o, loop *l) {
    *l = (loop){.source = tn_o_graph(o, "body"), .flag = 1, .flag_known = true};
    if (!l->source) return false;
    uint32_t inputs = o->node->inputs.len;
    l->carried = inputs > 2 ? inputs - 2 : 0;
    l->bounded = tn_o_has(o, 0);
    l->count_known = l->bounded && tn_onnx_known_number(o, tn_o_item(o, 0), &l->count);
    if (tn_o_has(o, 1)) l->flag_known = tn_onnx_known_number(o, tn_o_item(o, 1), &l->flag);
    if (l->source->inputs.len != l->carried + 2 || l->source->outputs.len < l->carried + 1)
        tn_o_refuse(o, TN_INVALID,
                    "its body has %u inputs and %u outputs; expected %u and at least %u",
                    l->source->inputs.len, l->source->outputs.len, l->carried + 2, l->carried + 1);
    else
        l->scans = l->source->outputs.len - l->carried - 1;
    for (uint32_t i = 0; i < l->carried && tn_o_ok(o); i++) {
        const char *name =
            o->node->inputs.data[i + 2]; /* one that is left out is an absent optional */
        l->structured |= !name[0] || tn_o_item(o, (int)i + 2)->kind != TN_ITEM_TENSOR;
    }
    if (tn_o_ok(o)) find_limit(o, l);
    return tn_o_ok(o);
}

/* Results of each iteration, stacked along a new first axis. */
static void give_stacked(tn_o *o, int output, tn_onnx_item *const *parts, uint32_t stride,
                         int64_t count) {
    tn_value *in = TN_NEW_N(o->scratch, tn_value, count);
    if (!tn_o_wants(o, output)) return;
    for (int64_t i = 0; i < count; i++)
        in[i] = tn_b_unsqueeze(o->b, tn_o_item_value(o, parts[i * stride]), 0);
    tn_o_out(o, output, tn_b_concat(o->b, in, (int)count, 0));
}

static tn_onnx_item *carried_item(tn_o *o, uint32_t i) {
    if (o->node->inputs.data[i + 2][0]) return tn_o_item(o, (int)i + 2);
    tn_onnx_item *none = tn_o_item_of(o, TN_NO_VALUE);
    none->kind = TN_ITEM_NONE;
    return none;
}

/* What a body knows of its iteration: the number, and that the condition held. */
static void define_iteration(tn_o *o, tn_onnx_body *b, tn_onnx_item *number) {
    tn_onnx_body_repeat(b, number);
    tn_onnx_body_define(o, b, 0, number);
    tn_onnx_body_define(o, b, 1, tn_onnx_number_item(o, &b->scope, TN_bool, 1));
}

/* One iteration as part of the graph around; `now` are the carried values. */
static bool inline_iteration(tn_o *o, const loop *l, tn_onnx_body *b, int64_t number,
                             tn_onnx_item *const *now) {
    if (!tn_onnx_body_enter(o, b, l->source, true)) return false;
    define_iteration(o, b, tn_onnx_number_item(o, &b->scope, TN_i64, number));
    for (uint32_t i = 0; i < l->carried; i++) tn_onnx_body_define(o, b, i + 2, now[i]);
    return tn_onnx_body_import(o, b);
}

/* The type of stacked result i as the body declares it: sizes that it leaves open are 0. */
static bool declared_type(const loop *l, uint32_t i, tn_type *type) {
    const tn_onnx_port *p = &l->source->outputs.data[l->carried + 1 + i];
    tn_error ignored = TN_ERROR_INIT;
    if (p->is_compound || p->other || !p->has_shape || p->dims.len >= TN_MAX_RANK ||
        tn_onnx_dtype(p->type, &type->dtype, &ignored) != TN_OK)
        return false;
    type->shape = (tn_shape){.rank = (int)p->dims.len};
    for (uint32_t d = 0; d < p->dims.len; d++)
        type->shape.dim[d] =
            p->dims.data[d].has_value && p->dims.data[d].value > 0 ? p->dims.data[d].value : 0;
    return true;
}

static bool is_empty_sequence(const tn_onnx_item *item) {
    return item->kind == TN_ITEM_SEQUENCE && item->count == 0;
}

/* Whether an iteration might look into a sequence that has nothing in it. */
static bool sees_empty_sequence(const tn_o *o, const loop *l, tn_onnx_item *const *now) {
    for (uint32_t i = 0; i < l->carried; i++)
        if (is_empty_sequence(now[i])) return true;
    for (const tn_onnx_scope *s = o->scope; s; s = s->parent)
        for (uint32_t i = 0; i < s->items.len; i++)
            if (is_empty_sequence(s->items.data[i])) return true;
    return false;
}

static void give_empty(tn_o *o, const loop *l, uint32_t i, tn_type type) {
    memmove(type.shape.dim + 1, type.shape.dim, sizeof(tn_dim) * (size_t)type.shape.rank++);
    type.shape.dim[0] = 0;
    tn_o_out(o, (int)(l->carried + i), tn_b_full(o->b, type.dtype, &type.shape, 0));
}

/* Without an iteration, stacks are empty: an iteration that nothing depends on tells their types, or the body
 * does where no iteration is possible. */
static void give_empty_stacks(tn_o *o, const loop *l, tn_onnx_item *const *now) {
    tn_onnx_body b;
    tn_type type;
    bool wanted = false, declared = sees_empty_sequence(o, l, now);
    for (uint32_t i = 0; i < l->scans; i++) {
        wanted |= tn_o_wants(o, (int)(l->carried + i));
        declared = declared && declared_type(l, i, &type);
    }
    if (!wanted || (!declared && !inline_iteration(o, l, &b, 0, now))) return;
    for (uint32_t i = 0; i < l->scans; i++) {
        tn_onnx_item *item = declared ? NULL : tn_onnx_body_output(o, &b, l->carried + 1 + i);
        if (item) type = tn_b_type(o->b, tn_o_item_value(o, item));
        if (declared) declared_type(l, i, &type);
        if (tn_o_ok(o) && (item || declared)) give_empty(o, l, i, type);
    }
}

static void give_unrolled(tn_o *o, const loop *l, tn_onnx_item *const *now,
                          tn_onnx_item *const *stacked, int64_t count) {
    for (uint32_t i = 0; i < l->carried; i++) tn_o_out_item(o, (int)i, now[i]);
    if (count == 0) give_empty_stacks(o, l, now);
    for (uint32_t i = 0; i < l->scans && count; i++)
        give_stacked(o, (int)(l->carried + i), stacked + i, l->scans, count);
}

/* True when all iterations were imported; false when a condition is not known while importing. */
static bool unroll(tn_o *o, const loop *l) {
    tn_onnx_item **now = TN_NEW_N(o->scratch, tn_onnx_item *, l->carried);
    TN_VEC(tn_onnx_item *) stacked = {0};
    int64_t done = 0, flag = l->flag, most = l->structured ? TN_COMPOUND_MOST : TN_ONNX_UNROLLED;
    for (uint32_t i = 0; i < l->carried; i++) now[i] = carried_item(o, i);
    while (flag && (!l->bounded || done < l->count) && tn_o_ok(o)) {
        tn_onnx_body b;
        if (done == most || !inline_iteration(o, l, &b, done, now)) return false;
        tn_onnx_item *next = tn_onnx_body_output(o, &b, 0);
        if (!next || !tn_onnx_known_number(o, next, &flag)) return false;
        for (uint32_t i = 0; i < l->carried; i++) now[i] = tn_onnx_body_output(o, &b, i + 1);
        for (uint32_t i = 0; i < l->scans; i++)
            tn_vec_push(o->scratch, &stacked, tn_onnx_body_output(o, &b, l->carried + 1 + i));
        done++;
    }
    if (!tn_o_ok(o)) return false;
    give_unrolled(o, l, now, stacked.data, done);
    return tn_o_ok(o);
}

/* The carried sequences have some length after each iteration: how many there are must be known. */
static void unroll_structured(tn_o *o, const loop *l) {
    if (l->bounded && !l->count_known)
        tn_onnx_ask_value(o, tn_o_item(o, 0), "number of iterations");
    else if (!l->flag_known)
        tn_onnx_ask_value(o, tn_o_item(o, 1), "condition");
    if (!tn_o_ok(o) || unroll(o, l) || !tn_o_ok(o)) return;
    tn_o_fail(
        o, TN_UNSUPPORTED,
        "a loop that carries a sequence or an optional and whose number of iterations depends "
        "on data, or is more than %d",
        TN_COMPOUND_MOST);
}

/* As many iterations as the trip count: scan over the iteration's number. */
static bool loop_as_scan(tn_o *o, const loop *l) {
    tn_onnx_body b;
    tn_type iteration = {.dtype = TN_i64};
    uint32_t total, results = l->carried + l->scans;
    int64_t flag = 0;
    tn_value *first = TN_NEW_N(o->scratch, tn_value, l->carried + 1);
    for (uint32_t i = 0; i < l->carried; i++) first[i] = tn_o_in(o, (int)i + 2);
    if (!tn_onnx_body_enter(o, &b, l->source, false)) return false;
    for (uint32_t i = 0; i < l->carried; i++) {
        tn_type type = tn_b_type(o->b, first[i]);
        tn_onnx_body_define(o, &b, i + 2, tn_onnx_body_add_input(&b, i + 2, &type));
    }
    define_iteration(o, &b, tn_onnx_body_add_input(&b, 0, &iteration));
    if (!tn_onnx_body_import(o, &b)) return false;
    tn_onnx_item *next = tn_onnx_body_output(o, &b, 0);
    if (!next || !tn_onnx_known_number(o, next, &flag) || !flag) return false;
    for (uint32_t i = 0; i < results; i++) tn_onnx_body_give(o, &b, i + 1);
    tn_dim count = exact_count(o, l);
    tn_shape steps = {.rank = 1, .dim = {count}};
    first[l->carried] = tn_b_iota(o->b, TN_i64, &steps, 0);
    tn_attrs_scan attrs = {.carries = l->carried, .slices = 1, .length = count, .body = b.graph};
    tn_value *in = tn_onnx_body_operands(o, &b, first, l->carried + 1, &total);
    tn_onnx_give_results(o, tn_b_node(o->b, TN_OP_scan, in, total, &attrs), 0, results);
    return tn_o_ok(o);
}

/* ---- iterations that stop ------------------------------------------------------------------------ */

/* What an iteration gives that is not to be: no further one, the carried values as they are, zeros to stack.
 * Inputs as those of `then`: iteration, carried…, captured…. */
static tn_graph *idle_iteration(tn_o *o, const loop *l, const tn_graph *then) {
    tn_graph *g = tn_graph_new_sub(o->b->graph);
    tn_builder idle = tn_builder_of(g, o->b->err);
    tn_value *in = TN_NEW_N(o->scratch, tn_value, then->inputs.len);
    for (uint32_t i = 0; i < then->inputs.len; i++) {
        const tn_type *type = tn_graph_type(then, then->inputs.data[i]);
        in[i] = tn_b_input(&idle, NULL, type->dtype, &type->shape);
    }
    tn_graph_add_output(g, tn_b_scalar(&idle, TN_bool, 0), NULL);
    for (uint32_t i = 0; i < l->carried; i++) tn_graph_add_output(g, in[1 + i], NULL);
    for (uint32_t i = 0; i < l->scans; i++) {
        const tn_type *type = tn_graph_type(then, then->outputs.data[1 + l->carried + i].value);
        tn_graph_add_output(g, tn_b_full(&idle, type->dtype, &type->shape, 0), NULL);
    }
    if (tn_o_ok(o)) o->b->status = idle.status;
    return g;
}

/* The body as a sub-graph: iteration, carried…, captured… → whether to go on, carried…, stacked…. */
static bool import_iteration(tn_o *o, const loop *l, const tn_value *carried, tn_onnx_body *b) {
    tn_type number = {.dtype = TN_i64};
    if (!tn_onnx_body_enter(o, b, l->source, false)) return false;
    define_iteration(o, b, tn_onnx_body_add_input(b, 0, &number));
    for (uint32_t i = 0; i < l->carried; i++) {
        tn_type type = tn_b_type(o->b, carried[i]);
        tn_onnx_body_define(o, b, i + 2, tn_onnx_body_add_input(b, i + 2, &type));
    }
    if (!tn_onnx_body_import(o, b)) return false;
    tn_onnx_item *flag = tn_onnx_body_output(o, b, 0);
    if (!flag) return false;
    tn_builder *in = &b->scope.level->builder;
    tn_value on = tn_b_reshape_to(in, tn_onnx_item_build(&b->scope, flag), 0, NULL);
    o->b->status = in->status;
    if (tn_o_ok(o)) tn_graph_add_output(b->graph, on, NULL);
    for (uint32_t i = 0; i < l->carried + l->scans; i++) tn_onnx_body_give(o, b, i + 1);
    return tn_o_ok(o);
}

/* A step of the scan: turns, flag, carried…, iteration, captured… → turns, flag, carried…, stacked…. */
static bool make_step(tn_o *o, const loop *l, const tn_type *types, tn_onnx_body *b) {
    uint32_t states = l->carried + 2, n = 0;
    tn_value *in = TN_NEW_N(o->scratch, tn_value, states + 1);
    tn_type number = {.dtype = TN_i64};
    for (uint32_t i = 0; i <= states; i++) {
        tn_type type = i < states ? types[i] : number;
        in[i] = tn_b_input(o->b, NULL, type.dtype, &type.shape);
    }
    if (!import_iteration(o, l, in + 2, b)) return false;
    tn_attrs_if attrs = {.then_graph = b->graph, .else_graph = idle_iteration(o, l, b->graph)};
    tn_value *operand = TN_NEW_N(o->scratch, tn_value, b->graph->inputs.len + 1);
    operand[n++] = in[1];
    operand[n++] = in[states];
    for (uint32_t i = 0; i < l->carried; i++) operand[n++] = in[2 + i];
    for (uint32_t i = n - 1; i < b->graph->inputs.len; i++) {
        const tn_type *type = tn_graph_type(b->graph, b->graph->inputs.data[i]);
        operand[n++] = tn_b_input(o->b, NULL, type->dtype, &type->shape);
    }
    tn_value y = tn_b_node(o->b, TN_OP_if, operand, n, &attrs);
    tn_value turns = tn_b_add(o->b, in[0], tn_b_cast(o->b, in[1], TN_i64));
    if (!tn_o_ok(o)) return false;
    tn_graph_add_output(o->b->graph, turns, NULL);
    for (uint32_t i = 0; i < 1 + l->carried + l->scans; i++)
        tn_graph_add_output(o->b->graph, y + i, NULL);
    return true;
}

/* Memory for stacks is planned by the number of iterations at most. */
static bool check_stacks(tn_o *o, const loop *l) {
    enum { MOST = 1 << 20 };
    int64_t most;
    bool huge = l->limited && tn_dim_const_value(o->dims, l->most, &most) && most > MOST;
    if (l->limited && !huge && !o->b->graph->parent) return true;
    if (l->bounded && !l->limited)
        tn_onnx_ask_value(o, tn_o_item(o, 0), "number of iterations");
    else if (!l->flag_known)
        tn_onnx_ask_value(o, tn_o_item(o, 1), "condition");
    tn_o_fail(o, TN_UNSUPPORTED,
              "stacked results of a loop whose number of iterations depends on data%s",
              o->b->graph->parent ? ", inside of a sub-graph"
              : huge ? ": its trip count allows for too many to plan memory; a smaller one helps"
                     : ": it has no trip count to plan memory by; one (input 0) helps");
    return false;
}

/* With stacked results: a scan of as many steps as there are iterations at most, which does nothing behind the
 * last. So each result is stored once; a state of a while would be copied in every iteration. */
static void loop_as_guarded_scan(tn_o *o, const loop *l) {
    tn_onnx_body b;
    uint32_t states = l->carried + 2, total;
    tn_value *first = TN_NEW_N(o->scratch, tn_value, states + 1);
    tn_type *types = TN_NEW_N(o->scratch, tn_type, states);
    if (!check_stacks(o, l)) return;
    tn_dim most = exact_count(o, l);
    tn_shape steps = {.rank = 1, .dim = {most}};
    first[0] = tn_b_scalar_int(o->b, TN_i64, 0);
    first[1] = tn_o_has(o, 1) ? tn_onnx_scalar(o, tn_o_in(o, 1)) : tn_b_scalar(o->b, TN_bool, 1);
    for (uint32_t i = 0; i < l->carried; i++) first[i + 2] = tn_o_in(o, (int)i + 2);
    first[states] = tn_b_iota(o->b, TN_i64, &steps, 0);
    for (uint32_t i = 0; i < states; i++) types[i] = tn_b_type(o->b, first[i]);
    if (!tn_o_ok(o)) return;
    tn_builder step = tn_builder_of(tn_graph_new_sub(o->b->graph), o->b->err);
    step.name = o->b->name;
    tn_o inner = *o;
    inner.b = &step;
    if (!make_step(&inner, l, types, &b)) {
        o->b->status = step.status;
        return;
    }
    tn_attrs_scan attrs = {.carries = states, .slices = 1, .length = most, .body = step.graph};
    tn_value *in = tn_onnx_body_operands(o, &b, first, states + 1, &total);
    tn_value y = tn_b_node(o->b, TN_OP_scan, in, total, &attrs);
    tn_onnx_give_results(o, y, 2, l->carried);
    tn_dim count = tn_o_bind_size(o, y, y, "turns", most);
    for (uint32_t i = 0; i < l->scans && tn_o_ok(o); i++)
        tn_o_out(o, (int)(l->carried + i), tn_b_prefix(o->b, y + states + i, 0, count));
}

/* ---- while ---------------------------------------------------------------------------------------- */

/* iteration < count and flag; inputs as the body's */
static tn_graph *while_condition(tn_o *o, const tn_onnx_body *b, bool bounded, uint32_t count_at) {
    tn_graph *g = tn_graph_new_sub(o->b->graph);
    tn_builder cond = tn_builder_of(g, o->b->err);
    tn_value *in = TN_NEW_N(o->scratch, tn_value, b->graph->inputs.len);
    for (uint32_t i = 0; i < b->graph->inputs.len; i++) {
        const tn_type *type = tn_graph_type(b->graph, b->graph->inputs.data[i]);
        in[i] = tn_b_input(&cond, NULL, type->dtype, &type->shape);
    }
    tn_value flag = in[1];
    if (bounded) flag = tn_b_and(&cond, flag, tn_b_lt(&cond, in[0], in[count_at]));
    if (!tn_b_ok(&cond)) o->b->status = cond.status;
    if (tn_o_ok(o)) tn_graph_add_output(g, flag, NULL);
    return g;
}

/* The number of iterations depends on data: while(iteration, flag, carried…; count, captured…). */
static void loop_as_while(tn_o *o, const loop *l) {
    tn_onnx_body b;
    uint32_t states = l->carried + 2, total, given = states + l->bounded;
    tn_value *first = TN_NEW_N(o->scratch, tn_value, given);
    first[0] = tn_b_scalar_int(o->b, TN_i64, 0);
    first[1] = tn_o_has(o, 1) ? tn_onnx_scalar(o, tn_o_in(o, 1)) : tn_b_scalar(o->b, TN_bool, 1);
    for (uint32_t i = 0; i < l->carried; i++) first[i + 2] = tn_o_in(o, (int)i + 2);
    if (l->bounded) first[states] = tn_onnx_scalar(o, tn_o_in(o, 0));
    if (!tn_onnx_body_enter(o, &b, l->source, false)) return;
    for (uint32_t i = 0; i < given; i++) {
        tn_type type = tn_b_type(o->b, first[i]);
        tn_onnx_item *item = tn_onnx_body_add_input(&b, i, &type);
        if (i == 0) tn_onnx_body_repeat(&b, item);
        if (i < states) tn_onnx_body_define(o, &b, i, item);
    }
    if (!tn_onnx_body_import(o, &b)) return;
    tn_builder *in_body = &b.scope.level->builder;
    tn_value step = tn_b_add_scalar(in_body, b.graph->inputs.data[0], 1);
    tn_graph_add_output(b.graph, step, NULL);
    for (uint32_t i = 0; i <= l->carried; i++) tn_onnx_body_give(o, &b, i);
    tn_attrs_while attrs = {.states = states, .body = b.graph};
    attrs.cond = while_condition(o, &b, l->bounded, states);
    tn_value *in = tn_onnx_body_operands(o, &b, first, given, &total);
    tn_onnx_give_results(o, tn_b_node(o->b, TN_OP_while, in, total, &attrs), 2, l->carried);
}

/* A body that cannot be a sub-graph may be unrolled, once what decides the iterations is bound. */
static void ask_instead(tn_o *o, const loop *l) {
    tn_onnx_importer *im = o->scope->im;
    bool count = l->bounded && !l->count_known;
    if (tn_o_ok(o) || im->needs || im->again || im->refused || (!count && l->flag_known)) return;
    if (o->b->status != TN_INVALID && o->b->status != TN_UNSUPPORTED) return;
    tn_status status = o->b->status;
    tn_error error = o->b->err ? *o->b->err : (tn_error)TN_ERROR_INIT;
    o->b->status = TN_OK; /* so that inputs can be looked at */
    tn_onnx_ask_value(o, tn_o_item(o, count ? 0 : 1), count ? "number of iterations" : "condition");
    if (im->needs) return;
    o->b->status = status;
    if (o->b->err) *o->b->err = error;
}

static void import_loop(tn_o *o) {
    loop l;
    if (!read_loop(o, &l)) return;
    if (l.structured) {
        unroll_structured(o, &l);
        return;
    }
    bool short_enough = l.count_known ? l.count <= TN_ONNX_UNROLLED : !l.bounded;
    short_enough |= !l.flag; /* no iteration */
    if (l.flag_known && short_enough && unroll(o, &l)) return;
    if (!tn_o_ok(o)) return;
    if (l.flag_known && l.flag && l.limited && loop_as_scan(o, &l)) return;
    if (tn_o_ok(o) && l.scans)
        loop_as_guarded_scan(o, &l);
    else if (tn_o_ok(o))
        loop_as_while(o, &l);
    ask_instead(o, &l);
}

static const tn_onnx_op rows[] = {
    {"Loop", 1, TN_ONNX_LATEST, import_loop},
};
TN_ONNX_TABLE(loop, "")
