/* If, Loop and Scan. What is known while importing is decided here: a branch is inlined, a short loop
 * unrolled; the rest becomes if, while and scan with sub-graphs that get outer values as operands. */
#include "import/onnx/ops.h"
#include "import/onnx/scope.h"

enum { MAX_NESTING = 48, MAX_UNROLLED = 64 };

/* ---- bodies ------------------------------------------------------------------------------------ */

/* A sub-graph of the model being imported. */
typedef struct body {
    const tn_onnx_graph *source;
    tn_onnx_scope scope;
    tn_graph *graph; /* NULL: inlined */
} body;

static bool enter(tn_o *o, body *b, const tn_onnx_graph *source, bool inlined) {
    tn_onnx_importer *im = o->scope->im;
    *b = (body){.source = source};
    if (!tn_o_ok(o)) return false;
    if (im->depth == MAX_NESTING) {
        tn_o_refuse(o, TN_INVALID, "sub-graphs are nested more than %d deep", MAX_NESTING);
        return false;
    }
    tn_onnx_level *level = o->scope->level;
    if (!inlined) {
        b->graph = tn_graph_new_sub(o->b->graph);
        level = tn_onnx_level_new(im, b->graph, level, o->b->err);
        level->builder.name = o->b->name;
    }
    tn_onnx_scope_init(&b->scope, im, o->scope, level);
    return true;
}

static void define_input(tn_o *o, body *b, uint32_t i, tn_onnx_item *item) {
    if (!tn_o_ok(o)) return;
    if (i < b->source->inputs.len) tn_onnx_define(&b->scope, b->source->inputs.data[i].name, item);
}

static tn_onnx_item *add_input(body *b, uint32_t i, const tn_type *type) {
    const char *name = i < b->source->inputs.len ? b->source->inputs.data[i].name : "";
    tn_value v = tn_b_input(&b->scope.level->builder, name, type->dtype, &type->shape);
    return tn_onnx_item_new(&b->scope, v, name);
}

/* The nodes; then outputs are there by tn_onnx_lookup. */
static bool import_body(tn_o *o, body *b) {
    o->scope->im->depth++;
    tn_onnx_import_initializers(&b->scope, b->source);
    tn_onnx_import_nodes(&b->scope, b->source->nodes.data, b->source->nodes.len);
    o->scope->im->depth--;
    if (tn_o_ok(o)) o->b->status = b->scope.level->builder.status;
    return tn_o_ok(o);
}

static tn_onnx_item *body_output(tn_o *o, body *b, uint32_t i) {
    const char *name = i < b->source->outputs.len ? b->source->outputs.data[i].name : "";
    tn_onnx_item *item = tn_o_ok(o) ? tn_onnx_lookup(&b->scope, name) : NULL;
    if (!item && tn_o_ok(o))
        tn_o_refuse(o, TN_INVALID, "output %u ('%s') of its sub-graph is not computed", i, name);
    return item;
}

static void give_item(tn_o *o, body *b, tn_onnx_item *item) {
    tn_value v = tn_onnx_item_build(&b->scope, item);
    o->b->status = b->scope.level->builder.status;
    if (tn_o_ok(o)) tn_graph_add_output(b->graph, v, NULL);
}

/* Makes output i an output of the body's graph. */
static void give_output(tn_o *o, body *b, uint32_t i) {
    tn_onnx_item *item = body_output(o, b, i);
    if (item) give_item(o, b, item);
}

static bool known_number(tn_o *o, tn_onnx_item *item, int64_t *out) {
    tn_known k;
    return tn_onnx_item_get_known(o->scope, item, &k) && k.count == 1 &&
           tn_dim_const_value(o->dims, k.at[0], out);
}

static tn_onnx_item *number_item(tn_o *o, tn_onnx_scope *s, tn_dtype dtype, int64_t value) {
    tn_known k = {.dtype = dtype, .count = 1, .at = TN_NEW_N(o->scratch, tn_dim, 1)};
    k.at[0] = tn_dim_const(o->dims, value);
    return tn_onnx_item_known(s, &k, "");
}

static tn_value scalar(tn_o *o, tn_value v) {
    return tn_b_reshape_to(o->b, v, 0, NULL);
}

/* Operands: the given ones, then what the body captured. */
static tn_value *operands_of(tn_o *o, const body *b, const tn_value *first, uint32_t count,
                             uint32_t *total) {
    *total = count + b->scope.captures.len;
    tn_value *in = TN_NEW_N(o->scratch, tn_value, *total + 1);
    memcpy(in, first, sizeof *in * count);
    for (uint32_t i = 0; i < b->scope.captures.len; i++)
        in[count + i] = b->scope.captures.data[i].outer->value;
    return in;
}

/* A node with variable results: its first result. */
static void give_results(tn_o *o, tn_value first, uint32_t skip, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) tn_o_out(o, (int)i, first + skip + i);
}

tn_value tn_o_inline(tn_o *o, const tn_onnx_graph *g, tn_value x) {
    body b;
    if (!enter(o, &b, g, true)) return TN_NO_VALUE;
    define_input(o, &b, 0, tn_o_item_of(o, x));
    if (!import_body(o, &b)) return TN_NO_VALUE;
    tn_onnx_item *item = body_output(o, &b, 0);
    return item ? tn_o_item_value(o, item) : TN_NO_VALUE;
}

/* ---- If ----------------------------------------------------------------------------------------- */

static void inline_branch(tn_o *o, const tn_onnx_graph *g) {
    body b;
    if (!enter(o, &b, g, true) || !import_body(o, &b)) return;
    for (uint32_t i = 0; i < o->node->outputs.len; i++) {
        tn_onnx_item *item = body_output(o, &b, i);
        if (item) tn_o_out_item(o, (int)i, item);
    }
}

/* Tensors of equal types, or as many of these in sequences. */
static bool same_structure(const tn_onnx_item *x, const tn_onnx_item *y) {
    if (x->kind != y->kind || (x->kind == TN_ITEM_SEQUENCE && x->count != y->count)) return false;
    for (int i = 0; x->kind == TN_ITEM_SEQUENCE && i < x->count; i++)
        if (!same_structure(x->items[i], y->items[i])) return false;
    if (x->kind != TN_ITEM_TENSOR) return true;
    tn_type p = tn_onnx_item_type(x), q = tn_onnx_item_type(y);
    return p.dtype == q.dtype && tn_shape_equal(&p.shape, &q.shape);
}

/* Whether both branches give the same structure: what an if with sub-graphs needs. */
static bool same_results(tn_o *o, body *b, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        const tn_onnx_item *x = body_output(o, &b[0], i), *y = body_output(o, &b[1], i);
        if (!x || !y || !same_structure(x, y)) return false;
    }
    return true;
}

/* Each tensor in the structure becomes an output of the body's graph. */
static void give_tensors(tn_o *o, body *b, tn_onnx_item *item) {
    if (item->kind == TN_ITEM_TENSOR) give_item(o, b, item);
    for (int i = 0; item->kind == TN_ITEM_SEQUENCE && i < item->count; i++)
        give_tensors(o, b, item->items[i]);
}

/* The structure of `like` over the values from *next on. */
static tn_onnx_item *rebuild(tn_o *o, const tn_onnx_item *like, tn_value *next) {
    tn_onnx_item *item = tn_o_item_of(o, TN_NO_VALUE);
    item->kind = like->kind;
    item->count = like->kind == TN_ITEM_SEQUENCE ? like->count : 0;
    tn_onnx_item **items = TN_NEW_N(o->scratch, tn_onnx_item *, item->count);
    for (int i = 0; i < item->count; i++) items[i] = rebuild(o, like->items[i], next);
    item->items = items;
    if (like->kind == TN_ITEM_TENSOR) item->value = (*next)++;
    return item;
}

static void import_if(tn_o *o) {
    const tn_onnx_graph *yes = tn_o_graph(o, "then_branch"), *no = tn_o_graph(o, "else_branch");
    int64_t flag;
    if (!tn_o_ok(o)) return;
    if (known_number(o, tn_o_item(o, 0), &flag)) {
        inline_branch(o, flag ? yes : no);
        return;
    }
    body b[2];
    uint32_t total, count = o->node->outputs.len;
    tn_value condition = scalar(o, tn_o_in(o, 0));
    if (!enter(o, &b[0], yes, false) || !import_body(o, &b[0]) || !enter(o, &b[1], no, false))
        return;
    for (uint32_t i = 0; i < b[0].scope.captures.len; i++)
        tn_onnx_capture_item(&b[1].scope, b[0].scope.captures.data[i].outer);
    if (!import_body(o, &b[1])) return;
    for (uint32_t i = b[0].scope.captures.len; i < b[1].scope.captures.len; i++)
        tn_onnx_capture_item(&b[0].scope, b[1].scope.captures.data[i].outer);
    if (!same_results(o, b, count)) {
        tn_onnx_ask_value(o, tn_o_item(o, 0), "condition");
        return;
    }
    for (uint32_t k = 0; k < 2; k++)
        for (uint32_t i = 0; i < count && tn_o_ok(o); i++)
            give_tensors(o, &b[k], body_output(o, &b[k], i));
    tn_attrs_if attrs = {.then_graph = b[0].graph, .else_graph = b[1].graph};
    tn_value *in = operands_of(o, &b[1], &condition, 1, &total), next = TN_NO_VALUE;
    if (b[0].graph->outputs.len) next = tn_b_node(o->b, TN_OP_if, in, total, &attrs);
    for (uint32_t i = 0; i < count && tn_o_ok(o); i++)
        tn_o_out_item(o, (int)i, rebuild(o, body_output(o, &b[0], i), &next));
}

/* ---- Loop --------------------------------------------------------------------------------------- */

typedef struct loop {
    const tn_onnx_graph *source;
    bool bounded; /* there is a trip count */
    bool count_known, flag_known;
    int64_t count, flag;
    uint32_t carried, scans;
    bool structured; /* carries a sequence or an optional: it can only be unrolled */
} loop;

static bool read_loop(tn_o *o, loop *l) {
    *l = (loop){.source = tn_o_graph(o, "body"), .flag = 1, .flag_known = true};
    if (!l->source) return false;
    uint32_t inputs = o->node->inputs.len;
    l->carried = inputs > 2 ? inputs - 2 : 0;
    l->bounded = tn_o_has(o, 0);
    l->count_known = l->bounded && known_number(o, tn_o_item(o, 0), &l->count);
    if (tn_o_has(o, 1)) l->flag_known = known_number(o, tn_o_item(o, 1), &l->flag);
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

/* One iteration as part of the graph around; `now` are the carried values. */
static bool inline_iteration(tn_o *o, const loop *l, body *b, int64_t number,
                             tn_onnx_item *const *now) {
    if (!enter(o, b, l->source, true)) return false;
    define_input(o, b, 0, number_item(o, &b->scope, TN_i64, number));
    define_input(o, b, 1, number_item(o, &b->scope, TN_bool, 1));
    for (uint32_t i = 0; i < l->carried; i++) define_input(o, b, i + 2, now[i]);
    return import_body(o, b);
}

/* Without an iteration, stacks are empty: an iteration that nothing depends on tells their types. */
static void give_empty_stacks(tn_o *o, const loop *l, tn_onnx_item *const *now) {
    body b;
    bool wanted = false;
    for (uint32_t i = 0; i < l->scans; i++) wanted |= tn_o_wants(o, (int)(l->carried + i));
    if (!wanted || !inline_iteration(o, l, &b, 0, now)) return;
    for (uint32_t i = 0; i < l->scans; i++) {
        tn_onnx_item *item = body_output(o, &b, l->carried + 1 + i);
        if (!item) return;
        tn_value one = tn_b_unsqueeze(o->b, tn_o_item_value(o, item), 0);
        tn_o_out(o, (int)(l->carried + i), tn_b_slice_axis(o->b, one, 0, 0, 0, 1));
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
    int64_t done = 0, flag = l->flag, most = l->structured ? TN_COMPOUND_MOST : MAX_UNROLLED;
    for (uint32_t i = 0; i < l->carried; i++) now[i] = carried_item(o, i);
    while (flag && (!l->bounded || done < l->count) && tn_o_ok(o)) {
        body b;
        if (done == most || !inline_iteration(o, l, &b, done, now)) return false;
        tn_onnx_item *next = body_output(o, &b, 0);
        if (!next || !known_number(o, next, &flag)) return false;
        for (uint32_t i = 0; i < l->carried; i++) now[i] = body_output(o, &b, i + 1);
        for (uint32_t i = 0; i < l->scans; i++)
            tn_vec_push(o->scratch, &stacked, body_output(o, &b, l->carried + 1 + i));
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

/* A fixed number of iterations: scan over the iteration's number. */
static bool loop_as_scan(tn_o *o, const loop *l) {
    body b;
    tn_type iteration = {.dtype = TN_i64};
    uint32_t total, results = l->carried + l->scans;
    int64_t flag = 0;
    tn_value *first = TN_NEW_N(o->scratch, tn_value, l->carried + 1);
    for (uint32_t i = 0; i < l->carried; i++) first[i] = tn_o_in(o, (int)i + 2);
    if (!enter(o, &b, l->source, false)) return false;
    for (uint32_t i = 0; i < l->carried; i++) {
        tn_type type = tn_b_type(o->b, first[i]);
        define_input(o, &b, i + 2, add_input(&b, i + 2, &type));
    }
    define_input(o, &b, 0, add_input(&b, 0, &iteration));
    define_input(o, &b, 1, number_item(o, &b.scope, TN_bool, 1));
    if (!import_body(o, &b)) return false;
    tn_onnx_item *next = body_output(o, &b, 0);
    if (!next || !known_number(o, next, &flag) || !flag) return false;
    for (uint32_t i = 0; i < results; i++) give_output(o, &b, i + 1);
    tn_shape steps = {.rank = 1, .dim = {l->count}};
    first[l->carried] = tn_b_iota(o->b, TN_i64, &steps, 0);
    tn_attrs_scan attrs = {.carries = l->carried, .slices = 1, .length = l->count, .body = b.graph};
    tn_value *in = operands_of(o, &b, first, l->carried + 1, &total);
    give_results(o, tn_b_node(o->b, TN_OP_scan, in, total, &attrs), 0, results);
    return tn_o_ok(o);
}

/* iteration < count and flag; inputs as the body's */
static tn_graph *while_condition(tn_o *o, const body *b, bool bounded, uint32_t count_at) {
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
    body b;
    uint32_t states = l->carried + 2, total, given = states + l->bounded;
    if (l->scans) {
        if (l->bounded && !l->count_known)
            tn_onnx_ask_value(o, tn_o_item(o, 0), "number of iterations");
        else if (!l->flag_known)
            tn_onnx_ask_value(o, tn_o_item(o, 1), "condition");
        tn_o_fail(o, TN_UNSUPPORTED,
                  "stacked results of a loop whose number of iterations depends on data");
        return;
    }
    tn_value *first = TN_NEW_N(o->scratch, tn_value, given);
    first[0] = tn_b_scalar_int(o->b, TN_i64, 0);
    first[1] = tn_o_has(o, 1) ? scalar(o, tn_o_in(o, 1)) : tn_b_scalar(o->b, TN_bool, 1);
    for (uint32_t i = 0; i < l->carried; i++) first[i + 2] = tn_o_in(o, (int)i + 2);
    if (l->bounded) first[states] = scalar(o, tn_o_in(o, 0));
    if (!enter(o, &b, l->source, false)) return;
    for (uint32_t i = 0; i < given; i++) {
        tn_type type = tn_b_type(o->b, first[i]);
        tn_onnx_item *item = add_input(&b, i, &type);
        if (i < states) define_input(o, &b, i, item);
    }
    if (!import_body(o, &b)) return;
    tn_builder *in_body = &b.scope.level->builder;
    tn_value step = tn_b_add_scalar(in_body, b.graph->inputs.data[0], 1);
    tn_graph_add_output(b.graph, step, NULL);
    for (uint32_t i = 0; i <= l->carried; i++) give_output(o, &b, i);
    tn_attrs_while attrs = {.states = states, .body = b.graph};
    attrs.cond = while_condition(o, &b, l->bounded, states);
    tn_value *in = operands_of(o, &b, first, given, &total);
    give_results(o, tn_b_node(o->b, TN_OP_while, in, total, &attrs), 2, l->carried);
}

static void import_loop(tn_o *o) {
    loop l;
    if (!read_loop(o, &l)) return;
    if (l.structured) {
        unroll_structured(o, &l);
        return;
    }
    bool short_enough = l.count_known ? l.count <= MAX_UNROLLED : !l.bounded;
    if (l.flag_known && short_enough && unroll(o, &l)) return;
    if (!tn_o_ok(o)) return;
    if (l.flag_known && l.flag && l.count_known && loop_as_scan(o, &l)) return;
    loop_as_while(o, &l);
}

/* ---- Scan --------------------------------------------------------------------------------------- */

typedef struct scan {
    const tn_onnx_graph *source;
    uint32_t carries, slices, results;
    const int64_t *in_axes, *in_reversed, *out_axes, *out_reversed; /* NULL: zeros */
} scan;

static const int64_t *list_of(tn_o *o, const char *name, uint32_t expected) {
    int count;
    const int64_t *at;
    if (!tn_o_ints(o, name, &count, &at)) return NULL;
    if ((uint32_t)count == expected) return at;
    tn_o_fail(o, TN_INVALID, "attribute '%s' has %d entries; expected %u", name, count, expected);
    return NULL;
}

/* `skipped` inputs stand before the operands. */
static bool read_scan(tn_o *o, uint32_t skipped, scan *s) {
    *s = (scan){.source = tn_o_graph(o, "body")};
    int64_t slices = tn_o_need_int(o, "num_scan_inputs");
    uint32_t inputs = o->node->inputs.len;
    inputs -= TN_MIN(inputs, skipped);
    if (tn_o_ok(o) && (slices < 1 || slices > inputs))
        tn_o_fail(o, TN_INVALID, "num_scan_inputs is %lld of %u inputs", (long long)slices, inputs);
    if (!tn_o_ok(o)) return false;
    s->slices = (uint32_t)slices;
    s->carries = inputs - s->slices;
    s->results = s->source->outputs.len;
    if (s->source->inputs.len != inputs || s->results < s->carries) {
        tn_o_refuse(o, TN_INVALID,
                    "its body has %u inputs and %u outputs; expected %u and at least %u",
                    s->source->inputs.len, s->results, inputs, s->carries);
        return false;
    }
    s->in_axes = list_of(o, "scan_input_axes", s->slices);
    s->in_reversed = list_of(o, skipped ? "directions" : "scan_input_directions", s->slices);
    s->out_axes = list_of(o, "scan_output_axes", s->results - s->carries);
    s->out_reversed = list_of(o, "scan_output_directions", s->results - s->carries);
    return tn_o_ok(o);
}

/* Moves axis `from` to `to`, the others keep their order. */
static tn_value move_axis(tn_o *o, tn_value x, int from, int to) {
    int rank = tn_b_rank(o->b, x), perm[TN_MAX_RANK], n = 0;
    for (int i = 0; i < rank; i++) {
        if (i == from) continue;
        if (n == to) perm[n++] = from;
        perm[n++] = i;
    }
    if (n == to) perm[n] = from;
    return tn_b_permute(o->b, x, perm);
}

static tn_value scan_input(tn_o *o, const scan *s, uint32_t i) {
    tn_value x = tn_o_in(o, (int)(s->carries + i));
    int axis = tn_o_axis(o, s->in_axes ? s->in_axes[i] : 0, tn_b_rank(o->b, x));
    if (!tn_o_ok(o)) return TN_NO_VALUE;
    x = move_axis(o, x, axis, 0);
    return s->in_reversed && s->in_reversed[i] ? tn_b_reverse(o->b, x, 0) : x;
}

static void scan_output(tn_o *o, const scan *s, uint32_t i, tn_value y) {
    uint32_t k = i - s->carries;
    if (i >= s->carries && tn_o_ok(o)) {
        int axis = tn_o_axis(o, s->out_axes ? s->out_axes[k] : 0, tn_b_rank(o->b, y));
        if (s->out_reversed && s->out_reversed[k]) y = tn_b_reverse(o->b, y, 0);
        y = move_axis(o, y, 0, axis);
    }
    tn_o_out(o, (int)i, y);
}

/* One scan over operands with the steps in front; gives its first result. */
static tn_value run_scan(tn_o *o, const scan *s, const tn_value *first) {
    body b;
    uint32_t total, given = s->carries + s->slices;
    if (!enter(o, &b, s->source, false)) return TN_NO_VALUE;
    for (uint32_t i = 0; i < given; i++) {
        tn_type type = tn_b_type(o->b, first[i]);
        if (i >= s->carries && tn_o_ok(o) && type.shape.rank == 0)
            tn_o_fail(o, TN_INVALID, "scan input %u is a scalar", i - s->carries);
        if (!tn_o_ok(o)) return TN_NO_VALUE;
        if (i >= s->carries)
            memmove(type.shape.dim, type.shape.dim + 1, sizeof(tn_dim) * (size_t)--type.shape.rank);
        define_input(o, &b, i, add_input(&b, i, &type));
    }
    if (!import_body(o, &b)) return TN_NO_VALUE;
    for (uint32_t i = 0; i < s->results; i++) give_output(o, &b, i);
    tn_attrs_scan attrs = {.carries = s->carries,
                           .slices = s->slices,
                           .length = tn_b_dim(o->b, first[s->carries], 0),
                           .body = b.graph};
    tn_value *in = operands_of(o, &b, first, given, &total);
    return tn_b_node(o->b, TN_OP_scan, in, total, &attrs);
}

static void import_scan(tn_o *o) {
    scan s;
    if (!read_scan(o, 0, &s)) return;
    uint32_t given = s.carries + s.slices;
    tn_value *first = TN_NEW_N(o->scratch, tn_value, given);
    for (uint32_t i = 0; i < given; i++)
        first[i] = i < s.carries ? tn_o_in(o, (int)i) : scan_input(o, &s, i - s.carries);
    tn_value y = run_scan(o, &s, first);
    for (uint32_t i = 0; i < s.results && tn_o_ok(o); i++) scan_output(o, &s, i, y + i);
}

/* Version 8: lengths of the sequences first, then operands with a batch axis, each sample by itself.
 */
static void import_batched_scan(tn_o *o) {
    scan s;
    if (!read_scan(o, 1, &s)) return;
    uint32_t given = s.carries + s.slices;
    int64_t batch = tn_o_const_dim(o, tn_b_dim(o->b, tn_o_in(o, 1), 0), "the batch size");
    if (tn_o_ok(o) && (tn_o_has(o, 0) || batch < 1 || batch > MAX_UNROLLED))
        tn_o_fail(o, TN_UNSUPPORTED, "sequence lengths, or a batch of other than 1 to %d samples",
                  MAX_UNROLLED);
    if (!tn_o_ok(o)) return;
    tn_value *first = TN_NEW_N(o->scratch, tn_value, given);
    tn_value *parts = TN_NEW_N(o->scratch, tn_value, s.results * (uint32_t)batch);
    for (int64_t n = 0; n < batch && tn_o_ok(o); n++) {
        for (uint32_t i = 0; i < given; i++) {
            tn_value one = tn_b_slice_axis(o->b, tn_o_in(o, (int)i + 1), 0, n, 1, 1);
            first[i] = tn_b_squeeze(o->b, one, 0);
            if (i >= s.carries && s.in_reversed && s.in_reversed[i - s.carries])
                first[i] = tn_b_reverse(o->b, first[i], 0);
        }
        tn_value y = run_scan(o, &s, first);
        for (uint32_t i = 0; i < s.results && tn_o_ok(o); i++)
            parts[i * (uint32_t)batch + (uint32_t)n] = tn_b_unsqueeze(o->b, y + i, 0);
    }
    for (uint32_t i = 0; i < s.results; i++)
        tn_o_out(o, (int)i, tn_b_concat(o->b, parts + i * (uint32_t)batch, (int)batch, 0));
}

/* ---- SequenceMap ----------------------------------------------------------------------------------
 */

/* The body once for each element; tensors beside the sequences go to all. */
static void import_sequence_map(tn_o *o) {
    const tn_onnx_graph *source = tn_o_graph(o, "body");
    int count, inputs = tn_o_in_count(o), outputs = (int)o->node->outputs.len;
    tn_onnx_item *const *items;
    if (!tn_o_sequence(o, 0, &count, &items) || !source) return;
    tn_onnx_item **results = TN_NEW_N(o->scratch, tn_onnx_item *, (int64_t)outputs * count);
    for (int k = 0; k < count; k++) {
        body b;
        if (!enter(o, &b, source, true)) return;
        for (int i = 0; i < inputs; i++) {
            tn_onnx_item *item = tn_o_item(o, i);
            bool whole = item->kind != TN_ITEM_SEQUENCE;
            if (!whole && item->count != count) {
                tn_o_fail(o, TN_INVALID, "its sequences have %d and %d elements", count,
                          item->count);
                return;
            }
            define_input(o, &b, (uint32_t)i, whole ? item : item->items[k]);
        }
        if (!import_body(o, &b)) return;
        for (int i = 0; i < outputs; i++) results[i * count + k] = body_output(o, &b, (uint32_t)i);
    }
    for (int i = 0; i < outputs; i++)
        tn_o_out_sequence(o, i, count, results + (ptrdiff_t)i * count);
}

static const tn_onnx_op rows[] = {
    {"If", 1, TN_ONNX_LATEST, import_if},
    {"Loop", 1, TN_ONNX_LATEST, import_loop},
    {"Scan", 8, 8, import_batched_scan},
    {"Scan", 9, TN_ONNX_LATEST, import_scan},
    {"SequenceMap", 17, TN_ONNX_LATEST, import_sequence_map},
};
TN_ONNX_TABLE(control, "")
