/* Gradients of window_reduce: sums go to all elements of a window, extremes to the first best one,
 * products by the elements side by side. */
#include "ops/compose.h"
#include "ops/gradient.h"
#include "ops/parts.h"

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

/* v with each element as often as windows are apart, along all axes at once, so that one view says it. */
static tn_value repeated(tn_builder *b, const tn_attrs_window_reduce *a, tn_value v) {
    tn_shape old = tn_b_type(b, v).shape, merged = old;
    tn_attrs_broadcast wide = {.axes.count = old.rank};
    int strided = 0;
    for (int s = 0; s < old.rank; s++) strided += a->stride.at[s] > 1;
    if (strided == 0 || !tn_b_ok(b)) return v;
    for (int s = 0; s < old.rank; s++) {
        wide.axes.at[s] = wide.shape.rank;
        wide.shape.dim[wide.shape.rank++] = old.dim[s];
        if (a->stride.at[s] == 1) continue;
        tn_dim stride = tn_dim_const(b->graph->dims, a->stride.at[s]);
        wide.shape.dim[wide.shape.rank++] = stride;
        merged.dim[s] = tn_dim_mul(b->graph->dims, old.dim[s], stride);
    }
    return tn_b_reshape(b, tn_b_node(b, TN_OP_broadcast, &v, 1, &wide), &merged);
}

/* Of each element of x the value v of a window around it, the `at`-th from the last one that begins before
 * it; `fill` where there is none. */
static tn_value window_around(tn_builder *b, const tn_attrs_window_reduce *a, const tn_shape *x,
                              tn_value v, const int64_t *at, tn_value fill) {
    tn_dims *t = b->graph->dims;
    v = repeated(b, a, v);
    for (int s = 0; s < x->rank && tn_b_ok(b); s++) {
        tn_dim first = tn_dim_const(t, at[s] * a->stride.at[s] - a->pad_lo.at[s]);
        tn_dim behind = tn_dim_sub(t, x->dim[s], tn_dim_add(t, tn_b_dim(b, v, s), first));
        v = tn_b_pad_axis(b, v, s, first, behind, fill);
    }
    return v;
}

/* x with its padding, made of `fill`. */
static tn_value window_padded(tn_builder *b, const tn_attrs_window_reduce *a, tn_value x,
                              double fill) {
    int rank = a->window.count;
    tn_attrs_pad pad = {.lo.count = rank, .hi.count = rank, .interior.count = rank};
    bool any = false;
    for (int k = 0; k < rank; k++) {
        pad.lo.at[k] = tn_dim_const(b->graph->dims, a->pad_lo.at[k]);
        pad.hi.at[k] = tn_dim_const(b->graph->dims, a->pad_hi.at[k]);
        any |= a->pad_lo.at[k] != 0 || a->pad_hi.at[k] != 0;
    }
    tn_value with = tn_b_scalar(b, tn_b_type(b, x).dtype, fill);
    return any ? tn_b_node(b, TN_OP_pad, (tn_value[]){x, with}, 2, &pad) : x;
}

/* What element `at` of each window is. `whole`: x with its padding. */
static tn_value window_element(tn_builder *b, const tn_attrs_window_reduce *a, tn_value whole,
                               const tn_shape *y, const int64_t *at) {
    tn_attrs_slice s = {.shape = *y};
    for (int k = 0; k < y->rank; k++) {
        tn_ints_push(&s.step, a->stride.at[k]);
        s.start.at[s.start.count++] = at[k] * a->dilation.at[k];
    }
    return tn_b_node(b, TN_OP_slice, &whole, 1, &s);
}

/* ---- which element won ---------------------------------------------------------------------- */

/* Elements of a window are numbered by their distance from its begin, Σ distance · pitch, so that numbers
 * do not depend on how x lies in memory, as positions in x would: permutes pass this work. */
typedef struct numbers {
    const tn_attrs_window_reduce *a;
    int64_t pitch[TN_MAX_RANK], around[TN_MAX_RANK];
    int64_t terms, taps, all; /* windows around an element; elements of a window; numbers */
    int rank;                 /* of x, with a further axis for each stride */
} numbers;

static numbers numbers_of(const tn_attrs_window_reduce *a) {
    enum { MANY = 1 << 20 };
    numbers n = {.a = a, .terms = 1, .taps = 1, .all = 1};
    for (int s = a->window.count - 1; s >= 0; s--) {
        n.around[s] = windows_around(a, s);
        n.pitch[s] = n.all;
        n.rank += a->stride.at[s] > 1 ? 2 : 1;
        n.terms = TN_MIN(n.terms * TN_MIN(n.around[s], MANY), MANY);
        n.taps = TN_MIN(n.taps * TN_MIN(a->window.at[s], MANY), MANY);
        n.all = TN_MIN(n.all * TN_MIN(n.around[s] * TN_MIN(a->stride.at[s], MANY), MANY), MANY);
    }
    return n;
}

/* Few enough that work per window and per element pays, and that numbers are small. */
static bool are_few(const numbers *n) {
    enum { MOST_TERMS = 9, MOST_TAPS = 16, MOST = 1 << 16 };
    return n->terms <= MOST_TERMS && n->taps <= MOST_TAPS && n->all <= MOST &&
           n->rank <= TN_MAX_RANK;
}

/* 0, 1, … along `axis` of a shape of this size, which is broadcast along the others. */
static tn_value count_along(tn_builder *b, int rank, int axis, tn_dim size) {
    tn_shape shape = {.rank = rank};
    for (int s = 0; s < rank; s++) shape.dim[s] = s == axis ? size : 1;
    return tn_b_iota(b, TN_i32, &shape, axis);
}

static tn_value i32(tn_builder *b, int64_t value) {
    return tn_b_scalar_int(b, TN_i32, value);
}

/* Whether tap `at` of a window lies in x and not in its padding; TN_NO_VALUE: all do. */
static tn_value is_real(tn_builder *b, const tn_attrs_window_reduce *a, const tn_shape *x,
                        const tn_shape *y, const int64_t *at) {
    tn_value real = TN_NO_VALUE;
    for (int s = 0; s < x->rank; s++) {
        int64_t first = at[s] * a->dilation.at[s] - a->pad_lo.at[s];
        int64_t room = first + (tn_dim_hi(b->graph->dims, y->dim[s]) - 1) * a->stride.at[s];
        bool inside = tn_dim_is_const(x->dim[s]) ? room < x->dim[s] : a->pad_hi.at[s] <= 0;
        if (first >= 0 && inside) continue;
        tn_value p = tn_b_mul(b, count_along(b, x->rank, s, y->dim[s]), i32(b, a->stride.at[s]));
        p = tn_b_add(b, p, i32(b, first));
        tn_value in = tn_b_and(b, tn_b_ge(b, p, i32(b, 0)),
                               tn_b_lt(b, p, tn_b_dim_value(b, x->dim[s], TN_i32)));
        real = real == TN_NO_VALUE ? in : tn_b_and(b, real, in);
    }
    return real;
}

/* The number of the first best element of each window; -1 where there is padding only. It is found from x
 * alone, not by comparing with the extreme: that may have been made by another kernel, with other rounding. */
static tn_value window_first_best(tn_builder *b, const numbers *n, tn_value x, const tn_shape *y) {
    const tn_attrs_window_reduce *a = n->a;
    tn_type type = tn_b_type(b, x);
    tn_value whole = window_padded(b, a, x, tn_reduce_identity(a->kind, type.dtype).f);
    tn_value none = tn_b_expand(b, i32(b, -1), y), best = TN_NO_VALUE, number = none;
    int64_t at[TN_MAX_RANK] = {0};
    bool padded = false; /* the first tap may be */
    for (int64_t i = 0; i < n->taps && tn_b_ok(b); i++) {
        int64_t own = 0;
        for (int s = 0; s < y->rank; s++) own += at[s] * a->dilation.at[s] * n->pitch[s];
        tn_value e = window_element(b, a, whole, y, at), real = is_real(b, a, &type.shape, y, at);
        tn_value wins = real;
        if (i > 0) {
            tn_value worse = a->kind == TN_REDUCE_max ? tn_b_le(b, e, best) : tn_b_ge(b, e, best);
            wins = tn_b_and(b, tn_b_not(b, worse), tn_b_not(b, tn_b_is_nan(b, best)));
        }
        if (i > 0 && padded) { /* the first in x wins in any case */
            tn_value first = tn_b_lt(b, number, i32(b, 0));
            wins = tn_b_or(b, wins, real == TN_NO_VALUE ? first : tn_b_and(b, first, real));
        }
        padded = i == 0 ? real != TN_NO_VALUE : padded;
        tn_value mine = tn_b_expand(b, i32(b, own), y);
        number = wins == TN_NO_VALUE ? mine : tn_b_where(b, wins, mine, number);
        best = i == 0 ? e : tn_b_where(b, wins, e, best);
        tn_index_next(at, y->rank, a->window.at);
    }
    return number;
}

/* Of each element of x the number that it has in the last window that begins before it. */
static tn_value own_number(tn_builder *b, const numbers *n, const tn_shape *x) {
    tn_value sum = i32(b, 0);
    for (int s = 0; s < x->rank; s++) {
        if (n->a->stride.at[s] == 1) continue;
        tn_value at = count_along(b, x->rank, s, x->dim[s]);
        at = tn_b_rem(b, tn_b_add(b, at, i32(b, n->a->pad_lo.at[s])), i32(b, n->a->stride.at[s]));
        sum = tn_b_add(b, sum, tn_b_mul(b, at, i32(b, n->pitch[s])));
    }
    return sum;
}

/* Each element takes the cotangents of the windows around it that it has won: pointwise work, so that it
 * is fused with what is around. */
static tn_value window_grad_won(tn_builder *b, const numbers *n, tn_value x, tn_value cotangent) {
    tn_type type = tn_b_type(b, x), y = tn_b_type(b, cotangent);
    const tn_shape *shape = &type.shape;
    tn_value best = window_first_best(b, n, x, &y.shape), own = own_number(b, n, shape);
    tn_value none = i32(b, -1), zero = tn_b_scalar(b, type.dtype, 0), sum = zero;
    int64_t at[TN_MAX_RANK] = {0};
    for (int64_t i = 0; i < n->terms && tn_b_ok(b); i++) {
        int64_t later = 0;
        for (int s = 0; s < shape->rank; s++) later += at[s] * n->a->stride.at[s] * n->pitch[s];
        tn_value mine = tn_b_expand(b, tn_b_add(b, own, i32(b, later)), shape);
        tn_value won = tn_b_eq(b, window_around(b, n->a, shape, best, at, none), mine);
        tn_value part = window_around(b, n->a, shape, cotangent, at, zero);
        part = tn_b_select(b, won, part, tn_b_expand(b, zero, shape));
        sum = i ? tn_b_add(b, sum, part) : part;
        tn_index_next(at, shape->rank, n->around);
    }
    return sum;
}

/* The cotangent goes to the element that won. */
static tn_value window_grad_best(tn_builder *b, const tn_attrs_window_reduce *a, tn_value x,
                                 tn_value cotangent) {
    tn_dims *t = b->graph->dims;
    tn_type type = tn_b_type(b, x), y = tn_b_type(b, cotangent);
    numbers n = numbers_of(a);
    if (are_few(&n)) return window_grad_won(b, &n, x, cotangent);
    tn_attrs_window_reduce find = *a;
    find.kind = a->kind == TN_REDUCE_max ? TN_REDUCE_argmax : TN_REDUCE_argmin;
    tn_value position = tn_b_node(b, TN_OP_window_reduce, &x, 1, &find);
    tn_dim count = tn_shape_count(t, &y.shape), all = tn_shape_count(t, &type.shape);
    position = tn_b_reshape_to(b, position, 2, (tn_dim[]){count, 1});
    cotangent = tn_b_reshape_to(b, cotangent, 1, &count);
    tn_type flat = {type.dtype, {.rank = 1, .dim = {all}}};
    tn_value zeros = tn_b_full(b, flat.dtype, &flat.shape, 0);
    tn_attrs_scatter add = {.axes = {1, {0}}, .mode = TN_INDEX_fill, .combine = TN_COMBINE_add};
    tn_value dx = tn_b_node(b, TN_OP_scatter, (tn_value[]){zeros, position, cotangent}, 3, &add);
    return tn_b_reshape(b, dx, &type.shape);
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
    tn_value whole = window_padded(b, a, tn_b_cast(b, x, a->acc), 1);
    tn_value *part = TN_NEW_N(b->graph->arena, tn_value, count);
    for (int64_t i = 0; i < count && tn_b_ok(b); i++) {
        part[i] = tn_b_unsqueeze(b, window_element(b, a, whole, &y, at), y.rank);
        tn_index_next(at, y.rank, a->window.at);
    }
    tn_value side = tn_b_concat(b, part, (int)count, y.rank);
    tn_value folded = tn_b_reduce(b, TN_REDUCE_prod, side, (int[]){y.rank}, 1, false);
    tn_b_gradient(b, folded, cotangent, &x, 1, dx);
}

void tn__window_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                    const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    (void)out;
    const tn_attrs_window_reduce *a = n->attrs;
    const tn_type *x = tn_node_type(g, n, 0);
    if (cotangents[0] == TN_NO_VALUE || !tn_dtype_is_float(x->dtype) ||
        a->kind == TN_REDUCE_argmax || a->kind == TN_REDUCE_argmin)
        return;
    if (a->kind == TN_REDUCE_sum)
        grads[0] = tn_b_cast(b, window_grad_sum(b, a, &x->shape, cotangents[0]), x->dtype);
    else if (a->kind == TN_REDUCE_prod)
        window_grad_prod(b, a, in[0], cotangents[0], grads);
    else
        grads[0] = window_grad_best(b, a, in[0], cotangents[0]);
}
