/* window_reduce: y[o…] = kind over window positions q… of x[o·stride + q·dilation − pad_lo].
 *
 * Padding is the identity of the kind. argmax and argmin give the row-major position in x of the
 * first best element (NaN is best), -1 when a window holds padding only; their result is i64, that
 * of the others `acc`. */
#include <math.h>

#include "ops/gradient.h"
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

/* ---- vjp ------------------------------------------------------------------------------------ */

/* The cotangent with stride - 1 zeros between its elements. */
static tn_value window_spread(tn_builder *b, const tn_attrs_window_reduce *a, tn_value cotangent) {
    tn_attrs_pad pad = {0};
    bool spread = false;
    for (int s = 0; s < a->window.count; s++) {
        pad.interior.at[s] = a->stride.at[s] - 1;
        spread = spread || pad.interior.at[s] > 0;
    }
    pad.lo.count = pad.hi.count = pad.interior.count = a->window.count;
    tn_value zero = tn_b_scalar(b, tn_b_type(b, cotangent).dtype, 0);
    if (!spread) return cotangent;
    return tn_b_node(b, TN_OP_pad, (tn_value[]){cotangent, zero}, 2, &pad);
}

/* Each element of x belongs to the windows that a window of the same size, laid over the spread
 * cotangent, meets. */
static tn_value window_grad_sum(tn_builder *b, const tn_attrs_window_reduce *a, const tn_shape *x,
                                tn_value cotangent) {
    tn_dims *t = b->graph->dims;
    tn_attrs_window_reduce d = {
        .kind = TN_REDUCE_sum, .window = a->window, .dilation = a->dilation, .acc = a->acc};
    cotangent = window_spread(b, a, cotangent);
    for (int s = 0; s < x->rank && tn_b_ok(b); s++) {
        int64_t hi = 0;
        tn_dim behind = tn_dim_sub(t, x->dim[s], tn_b_dim(b, cotangent, s));
        behind = tn_dim_add(t, behind, tn_dim_const(t, a->pad_lo.at[s]));
        if (!tn_dim_const_value(t, behind, &hi))
            return tn_b_fail(b, TN_UNSUPPORTED,
                             "the gradient of a strided window over axis %d of "
                             "size %s: bind the size",
                             s, tn_dim_text(t, x->dim[s]).at);
        tn_ints_push(&d.stride, 1);
        tn_ints_push(&d.pad_lo, (a->window.at[s] - 1) * a->dilation.at[s] - a->pad_lo.at[s]);
        tn_ints_push(&d.pad_hi, hi);
    }
    return tn_b_node(b, TN_OP_window_reduce, &cotangent, 1, &d);
}

/* Windows that an element may lie in, along one axis. */
static int64_t windows_around(const tn_attrs_window_reduce *a, int axis) {
    int64_t reach = (a->window.at[axis] - 1) * a->dilation.at[axis] + 1;
    return (reach + a->stride.at[axis] - 1) / a->stride.at[axis];
}

/* Of each element of x the value v of a window around it, the `at`-th from the last one that begins before
 * it; `fill` where there is none. */
static tn_value window_around(tn_builder *b, const tn_attrs_window_reduce *a, const tn_shape *x,
                              tn_value v, const int64_t *at, tn_value fill) {
    tn_dims *t = b->graph->dims;
    for (int s = 0; s < x->rank; s++) {
        int64_t stride = a->stride.at[s], lo = at[s] * stride - a->pad_lo.at[s];
        if (stride > 1) { /* each as often as windows are apart */
            tn_shape wide = tn_b_type(b, v).shape;
            tn_dim repeated = tn_dim_mul(t, wide.dim[s], tn_dim_const(t, stride));
            v = tn_b_unsqueeze(b, v, s + 1);
            tn_shape apart = tn_b_type(b, v).shape;
            apart.dim[s + 1] = tn_dim_const(t, stride);
            wide.dim[s] = repeated;
            v = tn_b_reshape(b, tn_b_expand(b, v, &apart), &wide);
        }
        tn_dim first = tn_dim_const(t, lo);
        tn_dim behind = tn_dim_sub(t, x->dim[s], tn_dim_add(t, tn_b_dim(b, v, s), first));
        v = tn_b_pad_axis(b, v, s, first, behind, fill);
    }
    return v;
}

/* Each element takes the cotangents of the windows around it that it has won: pointwise work, so that it
 * is fused with what is around, where an element has few windows. */
static tn_value window_grad_won(tn_builder *b, const tn_attrs_window_reduce *a, const tn_type *x,
                                tn_value position, tn_value cotangent) {
    tn_dims *t = b->graph->dims;
    int64_t at[TN_MAX_RANK] = {0}, around[TN_MAX_RANK], terms = 1;
    for (int s = 0; s < x->shape.rank; s++) terms *= around[s] = windows_around(a, s);
    tn_dim all = tn_shape_count(t, &x->shape);
    tn_shape flat = {.rank = 1, .dim = {all}};
    tn_dtype index = tn_b_type(b, position).dtype;
    tn_value own = tn_b_reshape(b, tn_b_iota(b, index, &flat, 0), &x->shape);
    tn_value none = tn_b_scalar_int(b, index, -1), zero = tn_b_scalar(b, x->dtype, 0), sum = zero;
    for (int64_t i = 0; i < terms && tn_b_ok(b); i++) {
        tn_value won = tn_b_eq(b, window_around(b, a, &x->shape, position, at, none), own);
        tn_value part = window_around(b, a, &x->shape, cotangent, at, zero);
        part = tn_b_select(b, won, part, tn_b_expand(b, zero, &x->shape));
        sum = i ? tn_b_add(b, sum, part) : part;
        tn_index_next(at, x->shape.rank, around);
    }
    return sum;
}

static bool few_windows_around(const tn_attrs_window_reduce *a) {
    enum { MOST_TERMS = 9 };
    int64_t terms = 1;
    for (int s = 0; s < a->window.count && terms <= MOST_TERMS; s++) terms *= windows_around(a, s);
    return terms <= MOST_TERMS;
}

/* The cotangent goes to the element that won. */
static tn_value window_grad_best(tn_builder *b, const tn_attrs_window_reduce *a, tn_value x,
                                 tn_value cotangent) {
    tn_dims *t = b->graph->dims;
    tn_type type = tn_b_type(b, x), y = tn_b_type(b, cotangent);
    tn_attrs_window_reduce find = *a;
    find.kind = a->kind == TN_REDUCE_max ? TN_REDUCE_argmax : TN_REDUCE_argmin;
    tn_value position = tn_b_node(b, TN_OP_window_reduce, &x, 1, &find);
    tn_dim count = tn_shape_count(t, &y.shape), all = tn_shape_count(t, &type.shape);
    if (few_windows_around(a) && y.shape.rank < TN_MAX_RANK) {
        if (tn_dim_hi(t, all) <= INT32_MAX) position = tn_b_cast(b, position, TN_i32);
        return window_grad_won(b, a, &type, position, cotangent);
    }
    position = tn_b_reshape_to(b, position, 2, (tn_dim[]){count, 1});
    cotangent = tn_b_reshape_to(b, cotangent, 1, &count);
    tn_type flat = {type.dtype, {.rank = 1, .dim = {all}}};
    tn_value zeros = tn_b_full(b, flat.dtype, &flat.shape, 0);
    tn_attrs_scatter add = {.axes = {1, {0}}, .mode = TN_INDEX_fill, .combine = TN_COMBINE_add};
    tn_value dx = tn_b_node(b, TN_OP_scatter, (tn_value[]){zeros, position, cotangent}, 3, &add);
    return tn_b_reshape(b, dx, &type.shape);
}

/* What element `at` of each window is; padding is 1. `whole`: x with its padding. */
static tn_value window_element(tn_builder *b, const tn_attrs_window_reduce *a, tn_value whole,
                               const tn_shape *y, const int64_t *at) {
    tn_attrs_slice s = {.shape = *y};
    for (int k = 0; k < y->rank; k++) {
        tn_ints_push(&s.step, a->stride.at[k]);
        s.start.at[s.start.count++] = at[k] * a->dilation.at[k];
    }
    return tn_b_unsqueeze(b, tn_b_node(b, TN_OP_slice, &whole, 1, &s), y->rank);
}

/* The windows side by side along a last axis, folded by `reduce`: its gradient is known. */
static void window_grad_prod(tn_builder *b, const tn_attrs_window_reduce *a, tn_value x,
                             tn_value cotangent, tn_value *dx) {
    tn_shape y = tn_b_type(b, cotangent).shape;
    int64_t at[TN_MAX_RANK] = {0}, count = 1;
    if (y.rank == TN_MAX_RANK) {
        tn_b_fail(b, TN_UNSUPPORTED, "the gradient of a product over windows of %d axes", y.rank);
        return;
    }
    for (int k = 0; k < y.rank; k++) count *= a->window.at[k];
    tn_attrs_pad pad = {.lo.count = y.rank, .hi.count = y.rank, .interior.count = y.rank};
    for (int k = 0; k < y.rank; k++) {
        pad.lo.at[k] = tn_dim_const(b->graph->dims, a->pad_lo.at[k]);
        pad.hi.at[k] = tn_dim_const(b->graph->dims, a->pad_hi.at[k]);
    }
    tn_value wide = tn_b_cast(b, x, a->acc), one = tn_b_scalar(b, a->acc, 1);
    tn_value whole = tn_b_node(b, TN_OP_pad, (tn_value[]){wide, one}, 2, &pad);
    tn_value *part = TN_NEW_N(b->graph->arena, tn_value, count);
    for (int64_t i = 0; i < count && tn_b_ok(b); i++) {
        part[i] = window_element(b, a, whole, &y, at);
        tn_index_next(at, y.rank, a->window.at);
    }
    tn_value side = tn_b_concat(b, part, (int)count, y.rank);
    tn_value folded = tn_b_reduce(b, TN_REDUCE_prod, side, (int[]){y.rank}, 1, false);
    tn_b_gradient(b, folded, cotangent, &x, 1, dx);
}

static void window_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                       const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    (void)out;
    const tn_attrs_window_reduce *a = n->attrs;
    const tn_type *x = tn_node_type(g, n, 0);
    if (cotangents[0] == TN_NO_VALUE || !tn_dtype_is_float(x->dtype) || kind_finds(a->kind)) return;
    if (a->kind == TN_REDUCE_sum)
        grads[0] = tn_b_cast(b, window_grad_sum(b, a, &x->shape, cotangents[0]), x->dtype);
    else if (a->kind == TN_REDUCE_prod)
        window_grad_prod(b, a, in[0], cotangents[0], grads);
    else
        grads[0] = window_grad_best(b, a, in[0], cotangents[0]);
}

/* ---- batch, shard --------------------------------------------------------------------------- */

static void list_front(tn_ints *list, int64_t value) {
    memmove(list->at + 1, list->at, sizeof(int64_t) * (size_t)list->count++);
    list->at[0] = value;
}

/* The new axis has windows of one element; positions then count from each member's start. */
static void window_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n, tn_dim size,
                         const tn_value *in, const bool *batched, tn_value *out) {
    (void)size, (void)batched;
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
    .vjp = TN_RULE(window_vjp),
    .batch = TN_RULE(window_batch),
    .shard = TN_RULE(window_shard),
};
