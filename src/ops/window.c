/* window_reduce: y[o…] = kind over window positions q… of x[o·stride + q·dilation − pad_lo].
 *
 * Padding is the identity of the kind. argmax and argmin give the row-major position in x of the
 * first best element (NaN is best), -1 when a window holds padding only; their result is i64, that
 * of the others `acc`. Gradients are in window_gradient.c. */
#include <math.h>

#include "ops/parts.h"

static tn_window window_of(const tn_attrs_window_reduce *a, int axis) {
    return (tn_window){a->stride.at[axis], a->dilation.at[axis], 1, a->pad_lo.at[axis],
                       a->pad_hi.at[axis]};
}

static bool kind_finds(tn_reduce_kind kind) {
    return kind == TN_REDUCE_argmax || kind == TN_REDUCE_argmin;
}

static bool kind_grows(tn_reduce_kind kind) {
    return kind == TN_REDUCE_sum || kind == TN_REDUCE_prod;
}

/* ---- infer ---------------------------------------------------------------------------------- */

static tn_status window_check_types(const tn_infer *i, tn_error *err) {
    const tn_attrs_window_reduce *a = i->attrs;
    tn_dtype dtype = i->in[0]->dtype;
    if (kind_grows(a->kind)) return tn_infer_accumulator(i, 0, a->acc, err);
    if (a->acc != dtype)
        return tn_infer_refuse(i, 0, err, "an accumulator of type %s; expected x's type",
                               tn_dtype_name(a->acc));
    if (!tn_scalar_accepts(tn_reduce_op(a->kind), dtype))
        return tn_infer_refuse(i, 0, err, "expected %s", tn_scalar_domain(tn_reduce_op(a->kind)));
    return TN_OK;
}

static tn_status window_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_window_reduce *a = i->attrs;
    const tn_shape *x = &i->in[0]->shape;
    TN_CHECK(window_check_types(i, err));
    TN_CHECK(tn_infer_count(i, "window", a->window.count, x->rank, err));
    TN_CHECK(tn_infer_count(i, "stride", a->stride.count, x->rank, err));
    TN_CHECK(tn_infer_count(i, "dilation", a->dilation.count, x->rank, err));
    TN_CHECK(tn_infer_count(i, "pad_lo", a->pad_lo.count, x->rank, err));
    TN_CHECK(tn_infer_count(i, "pad_hi", a->pad_hi.count, x->rank, err));
    tn_type *out = &i->out[0];
    *out = (tn_type){kind_finds(a->kind) ? TN_i64 : a->acc, {.rank = x->rank}};
    for (int s = 0; s < x->rank; s++) {
        if (a->window.at[s] < 1)
            return tn_infer_refuse_attr(i, err, "axis %d: window %lld must be at least 1", s,
                                        (long long)a->window.at[s]);
        TN_CHECK(tn_infer_window(i, s, x->dim[s], a->window.at[s], window_of(a, s),
                                 &out->shape.dim[s], err));
    }
    return TN_OK;
}

/* ---- eval, cost ----------------------------------------------------------------------------- */

/* What has been seen of one window. */
typedef struct window_state {
    tn_cell value;
    int64_t position; /* -1: nothing yet */
} window_state;

static bool is_better(tn_scalar_op better, tn_dtype dtype, tn_cell a, tn_cell b) {
    if (tn_dtype_is_float(dtype) && (isnan(a.f) || isnan(b.f))) return isnan(a.f) && !isnan(b.f);
    return tn_scalar_apply(better, dtype, a, b, (tn_cell){0}).u;
}

static void window_see(const tn_attrs_window_reduce *a, tn_cell x, int64_t position,
                       window_state *s) {
    tn_scalar_op op = tn_reduce_op(a->kind);
    if (kind_finds(a->kind)) {
        if (s->position >= 0 && !is_better(op, a->acc, x, s->value)) return;
        *s = (window_state){x, position};
    } else if (kind_grows(a->kind) && tn_dtype_is_float(a->acc)) {
        s->value.f = a->kind == TN_REDUCE_sum ? s->value.f + x.f : s->value.f * x.f;
    } else {
        s->value = tn_scalar_apply(op, a->acc, s->value, x, (tn_cell){0});
    }
}

/* The row-major position in x of element `at` of window `to`; -1 in padding. */
static int64_t window_position(const tn_attrs_window_reduce *a, const tn_array *x,
                               const int64_t *to, const int64_t *at) {
    int64_t position = 0;
    for (int s = 0; s < x->rank; s++) {
        tn_window w = window_of(a, s);
        int64_t p = to[s] * w.stride + at[s] * w.dilation - w.lo;
        if (p < 0 || p >= x->dim[s]) return -1;
        position = position * x->dim[s] + p;
    }
    return position;
}

static tn_status window_eval(tn_eval_call *e, tn_error *err) {
    (void)err;
    const tn_attrs_window_reduce *a = e->node->attrs;
    const tn_array *x = &e->in[0], *y = &e->out[0];
    const tn_cell *cells = tn_eval_cells(e, 0, a->acc);
    int64_t to[TN_MAX_RANK] = {0}, count = tn_array_count(y);
    for (int64_t element = 0; element < count; element++) {
        window_state s = {tn_reduce_identity(a->kind, a->acc), -1};
        int64_t at[TN_MAX_RANK] = {0};
        do {
            int64_t position = window_position(a, x, to, at);
            if (position >= 0) window_see(a, cells[position], position, &s);
        } while (tn_index_next(at, x->rank, a->window.at));
        tn_cell result = kind_finds(a->kind) ? (tn_cell){.i = s.position} : s.value;
        tn_array_set(&e->out[0], element, tn_cell_round(y->dtype, result));
        tn_index_next(to, y->rank, y->dim);
    }
    return TN_OK;
}

static void window_cost(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                        tn_cost *out) {
    const tn_attrs_window_reduce *a = n->attrs;
    double size = 1;
    for (int s = 0; s < a->window.count; s++) size *= (double)a->window.at[s];
    tn_cost_per_element(g, n, bindings, size, out);
}

/* ---- lower ---------------------------------------------------------------------------------- */

/* The fold space has the axes whose window is larger than 1. Registers: the value, and for argmax
 * and argmin its position. */
/* Sums of many elements are made in the type of totals at once: such windows are rare. */
static tn_dtype window_acc(const tn_attrs_window_reduce *a) {
    enum { MANY = 128 };
    int64_t taps = 1;
    for (int s = 0; s < a->window.count; s++)
        if (__builtin_mul_overflow(taps, a->window.at[s], &taps)) taps = INT64_MAX;
    return taps > MANY ? tn_sum_total(tn_reduce_op(a->kind), a->acc) : a->acc;
}

static void window_describe(const tn_graph *g, const tn_node_info *n, tn_fold *out) {
    (void)g;
    const tn_attrs_window_reduce *a = n->attrs;
    bool finds = kind_finds(a->kind);
    *out = (tn_fold){.registers = finds ? 2 : 1, .simple = !finds, .op = tn_reduce_op(a->kind)};
    out->dtype[0] = out->total = window_acc(a);
    out->init[0] = tn_reduce_identity(a->kind, out->dtype[0]);
    out->dtype[1] = TN_i64;
    out->init[1] = (tn_cell){.i = -1};
    for (int s = 0; s < a->window.count; s++)
        if (a->window.at[s] > 1) out->extent[out->axes++] = a->window.at[s];
}

/* Whether candidate b replaces a: a has no element, or b has one that is better, or as good and
 * earlier in x. */
static tn_lx window_replaces(tn_loop *k, const tn_attrs_window_reduce *attrs, const tn_lx *a,
                             const tn_lx *b) {
    tn_lx zero = tn_l_int(k, 0);
    tn_lx better = tn_l_op2(k, tn_reduce_op(attrs->kind), b[0], a[0]);
    tn_lx same = tn_l_op2(k, TN_S_eq, b[0], a[0]);
    if (tn_dtype_is_float(attrs->acc)) {
        tn_lx nan_a = tn_l_op1(k, TN_S_is_nan, a[0]), nan_b = tn_l_op1(k, TN_S_is_nan, b[0]);
        better = tn_l_op2(k, TN_S_or, better, tn_l_and(k, nan_b, tn_emit_not(k, nan_a)));
        same = tn_l_op2(k, TN_S_or, same, tn_l_and(k, nan_a, nan_b));
    }
    tn_lx earlier = tn_l_and(k, same, tn_l_op2(k, TN_S_lt, b[1], a[1]));
    tn_lx empty = tn_l_op2(k, TN_S_lt, a[1], zero);
    tn_lx wins = tn_l_op2(k, TN_S_or, empty, tn_l_op2(k, TN_S_or, better, earlier));
    return tn_l_and(k, tn_l_op2(k, TN_S_le, zero, b[1]), wins);
}

static void window_choose(tn_loop *k, const tn_attrs_window_reduce *attrs, const tn_lx *a,
                          const tn_lx *b, tn_lx *out) {
    tn_lx replaces = window_replaces(k, attrs, a, b);
    tn_lx value = tn_l_select(k, replaces, b[0], a[0]);
    out[1] = tn_l_select(k, replaces, b[1], a[1]);
    out[0] = value;
}

static tn_lx window_linear(tn_emit *e, const tn_shape *x, const tn_lx *position) {
    tn_lx linear = tn_l_int(e->k, 0);
    for (int s = 0; s < x->rank; s++)
        linear = tn_l_add(e->k, tn_l_mul(e->k, linear, tn_emit_dim(e, x->dim[s])), position[s]);
    return linear;
}

static void window_step(tn_emit *e, const tn_node_info *n, const tn_lx *index, const tn_lx *at,
                        const tn_lx *acc, tn_lx *next) {
    tn_loop *k = e->k;
    const tn_attrs_window_reduce *a = n->attrs;
    const tn_shape *x = &tn_node_type(e->graph, n, 0)->shape;
    tn_lx position[TN_MAX_RANK], guard = TN_LX_NONE;
    for (int s = 0, axis = 0; s < x->rank; s++) {
        tn_lx in_window = a->window.at[s] > 1 ? at[axis++] : tn_l_int(k, 0);
        position[s] = tn_emit_window(e, window_of(a, s), x->dim[s], index[s], in_window, &guard);
    }
    tn_dtype dtype = tn_node_type(e->graph, n, 0)->dtype;
    tn_lx other = tn_l_const(k, dtype, tn_reduce_identity(a->kind, dtype));
    tn_lx value = guard == TN_LX_NONE ? e->operand(e, n, 0, position)
                                      : tn_emit_guarded(e, n, 0, position, guard, other);
    value = tn_l_cast(k, value, tn_l_type(k, acc[0]), false);
    if (!kind_finds(a->kind)) {
        next[0] = tn_l_op2(k, tn_reduce_op(a->kind), acc[0], value);
        return;
    }
    tn_lx linear = window_linear(e, x, position);
    if (guard != TN_LX_NONE) linear = tn_l_select(k, guard, linear, tn_l_int(k, -1));
    window_choose(k, a, acc, (tn_lx[]){value, linear}, next);
}

static void window_combine(tn_loop *k, const tn_graph *g, const tn_node_info *n, const tn_lx *a,
                           const tn_lx *b, tn_lx *out) {
    (void)g;
    const tn_attrs_window_reduce *attrs = n->attrs;
    if (kind_finds(attrs->kind))
        window_choose(k, attrs, a, b, out);
    else
        out[0] = tn_l_op2(k, tn_reduce_op(attrs->kind), a[0], b[0]);
}

static tn_lx window_finish(tn_emit *e, const tn_node_info *n, const tn_lx *index,
                           const tn_lx *acc) {
    const tn_attrs_window_reduce *a = n->attrs;
    (void)index;
    return kind_finds(a->kind) ? acc[1] : tn_l_cast(e->k, acc[0], a->acc, false);
}

static const tn_fold_rules window_fold = {window_describe, window_step, window_combine,
                                          window_finish};

/* ---- batch, shard --------------------------------------------------------------------------- */

static void list_front(tn_ints *list, int64_t value) {
    memmove(list->at + 1, list->at, sizeof(int64_t) * (size_t)list->count++);
    list->at[0] = value;
}

/* The new axis has windows of one element; positions then count from each member's start. */
static void window_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                         const tn_batching *how, const tn_value *in, const bool *batched,
                         tn_value *out) {
    (void)how, (void)batched;
    tn_attrs_window_reduce a = *(const tn_attrs_window_reduce *)n->attrs;
    if (a.window.count == TN_MAX_RANK) {
        tn_b_fail(b, TN_UNSUPPORTED, "a tensor of %d axes cannot take one more", TN_MAX_RANK);
        return;
    }
    list_front(&a.window, 1);
    list_front(&a.stride, 1);
    list_front(&a.dilation, 1);
    list_front(&a.pad_lo, 0);
    list_front(&a.pad_hi, 0);
    out[0] = tn_b_node(b, TN_OP_window_reduce, in, 1, &a);
    if (!kind_finds(a.kind)) return;
    tn_dim member = tn_shape_count(b->graph->dims, &tn_node_type(g, n, 0)->shape);
    out[0] = tn_b_rem(b, out[0], tn_b_dim_value(b, member, TN_i64)); /* -1 stays */
}

static bool window_shard(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    (void)g;
    const tn_attrs_window_reduce *a = n->attrs;
    int x = s->out[0] = s->in[0];
    if (x == TN_PLACE_REPLICATED) return true;
    if (x == TN_PLACE_PARTIAL) return a->kind == TN_REDUCE_sum;
    return !kind_finds(a->kind) && a->window.at[x] == 1 && a->stride.at[x] == 1 &&
           a->pad_lo.at[x] == 0 && a->pad_hi.at[x] == 0;
}

const tn_op_rules tn_rules_window_reduce = {
    .infer = window_infer,
    .eval = window_eval,
    .cost = window_cost,
    .lower = {.kind = TN_LOWER_FOLD, .fold = &window_fold},
    .vjp = TN_RULE(tn__window_vjp),
    .batch = TN_RULE(window_batch),
    .shard = TN_RULE(window_shard),
};
