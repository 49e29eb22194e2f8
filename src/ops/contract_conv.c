/* conv: y[b…, i, p…, o] = sum over window positions q… and channels c of
 *     x̂[b…, i, p·stride + q·window_dilation − pad_lo, c] · w[b…, q…, c, o]
 * where x̂ is x with base_dilation − 1 holes between elements, and zero outside.
 *
 * x [batch…, N, spatial…, C], w [batch…, window…, C, O]. Holes and padding add nothing; a kernel
 * may multiply them as zeros, which differs for infinite and NaN weights only. Both gradients are
 * convolutions. */
#include "ops/parts.h"

typedef struct conv_view {
    const tn_attrs_conv *attrs;
    int batch, spatial;   /* numbers of axes */
    int x_at, w_at, rank; /* first spatial axis of x and y, first window axis of w; rank of x */
    const tn_shape *x, *w;
} conv_view;

static conv_view conv_view_of(const tn_attrs_conv *a, const tn_shape *x, const tn_shape *w) {
    int batch = (int)a->batch;
    return (conv_view){a, batch, x->rank - batch - 2, batch + 1, batch, x->rank, x, w};
}

static conv_view conv_view_of_node(const tn_graph *g, const tn_node_info *n) {
    return conv_view_of(n->attrs, &tn_node_type(g, n, 0)->shape, &tn_node_type(g, n, 1)->shape);
}

static tn_window conv_window(const tn_attrs_conv *a, int s) {
    return (tn_window){a->stride.at[s], a->window_dilation.at[s], a->base_dilation.at[s],
                       a->pad_lo.at[s], a->pad_hi.at[s]};
}

/* ---- infer ---------------------------------------------------------------------------------- */

static tn_status conv_check_shapes(const tn_infer *i, const conv_view *v, tn_error *err) {
    if (v->attrs->batch < 0 || v->attrs->batch > v->rank - 2)
        return tn_infer_refuse(i, 0, err, "expected %lld batch axes, N, spatial axes, C",
                               (long long)v->attrs->batch);
    if (v->w->rank != v->rank)
        return tn_infer_refuse(i, 1, err, "expected %d axes as x has: %d batch, %d window, C, O",
                               v->rank, v->batch, v->spatial);
    for (int s = 0; s < v->batch; s++)
        if (v->x->dim[s] != v->w->dim[s])
            return tn_infer_refuse(i, 1, err, "expected size %s on batch axis %d, as x",
                                   tn_dim_text(i->graph->dims, v->x->dim[s]).at, s);
    if (v->x->dim[v->rank - 1] != v->w->dim[v->rank - 2])
        return tn_infer_refuse(i, 1, err, "expected %s input channels on axis %d, as x %s",
                               tn_dim_text(i->graph->dims, v->x->dim[v->rank - 1]).at, v->rank - 2,
                               tn_type_text(i->graph->dims, i->in[0]).at);
    return TN_OK;
}

static tn_status conv_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_conv *a = i->attrs;
    conv_view v = conv_view_of(a, &i->in[0]->shape, &i->in[1]->shape);
    TN_CHECK(tn_infer_accumulator(i, 0, a->acc, err));
    TN_CHECK(tn_infer_accumulator(i, 1, a->acc, err));
    TN_CHECK(conv_check_shapes(i, &v, err));
    TN_CHECK(tn_infer_count(i, "stride", a->stride.count, v.spatial, err));
    TN_CHECK(tn_infer_count(i, "window_dilation", a->window_dilation.count, v.spatial, err));
    TN_CHECK(tn_infer_count(i, "base_dilation", a->base_dilation.count, v.spatial, err));
    TN_CHECK(tn_infer_count(i, "pad_lo", a->pad_lo.count, v.spatial, err));
    TN_CHECK(tn_infer_count(i, "pad_hi", a->pad_hi.count, v.spatial, err));
    tn_type *out = &i->out[0];
    *out = (tn_type){a->acc, *v.x};
    for (int s = 0; s < v.spatial; s++)
        TN_CHECK(tn_infer_window(i, v.x_at + s, v.x->dim[v.x_at + s], v.w->dim[v.w_at + s],
                                 conv_window(a, s), &out->shape.dim[v.x_at + s], err));
    out->shape.dim[v.rank - 1] = v.w->dim[v.rank - 1];
    return TN_OK;
}

/* ---- eval, cost ----------------------------------------------------------------------------- */

/* The index of x under window position `at` of output position `to`; false in a hole or outside. */
static bool conv_source(const conv_view *v, const int64_t *dim, const int64_t *to,
                        const int64_t *at, int64_t *x) {
    for (int s = 0; s < v->spatial; s++) {
        tn_window w = conv_window(v->attrs, s);
        int64_t position = to[v->x_at + s] * w.stride + at[s] * w.dilation - w.lo;
        if (position < 0 || position % w.base != 0) return false;
        x[v->x_at + s] = position / w.base;
        if (x[v->x_at + s] >= dim[v->x_at + s]) return false;
    }
    return true;
}

/* The sum over channels under one window position, added to `sum`. */
static void conv_add(tn_dtype acc, const tn_cell *x, const tn_cell *w, int64_t channels,
                     int64_t w_step, tn_cell *sum) {
    if (tn_dtype_is_float(acc))
        for (int64_t c = 0; c < channels; c++) sum->f += x[c].f * w[c * w_step].f;
    else
        for (int64_t c = 0; c < channels; c++) sum->u += x[c].u * w[c * w_step].u;
}

static tn_status conv_eval(tn_eval_call *e, tn_error *err) {
    (void)err;
    conv_view v = conv_view_of_node(e->graph, e->node);
    tn_dtype acc = v.attrs->acc;
    const tn_array *x = &e->in[0], *w = &e->in[1], *y = &e->out[0];
    const tn_cell *xs = tn_eval_cells(e, 0, acc), *ws = tn_eval_cells(e, 1, acc);
    int64_t channels = x->dim[v.rank - 1], to[TN_MAX_RANK] = {0}, element = 0;
    if (tn_array_count(y) == 0) return TN_OK;
    do {
        int64_t x_at[TN_MAX_RANK] = {0}, w_at[TN_MAX_RANK] = {0};
        memcpy(x_at, to, sizeof(int64_t) * (size_t)(v.batch + 1));
        memcpy(w_at, to, sizeof(int64_t) * (size_t)v.batch);
        w_at[v.rank - 1] = to[v.rank - 1];
        tn_cell sum = {0};
        if (tn_array_count(w) > 0) do {
                if (conv_source(&v, x->dim, to, w_at + v.w_at, x_at))
                    conv_add(acc, xs + tn_index_offset(x_at, x->rank, x->dim),
                             ws + tn_index_offset(w_at, w->rank, w->dim), channels,
                             w->dim[v.rank - 1], &sum);
            } while (tn_index_next(w_at + v.w_at, v.spatial, w->dim + v.w_at));
        tn_array_set(&e->out[0], element++, tn_cell_round(acc, sum));
    } while (tn_index_next(to, y->rank, y->dim));
    return TN_OK;
}

static void conv_cost(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                      tn_cost *out) {
    conv_view v = conv_view_of_node(g, n);
    double depth = 1;
    for (int s = v.w_at; s < v.rank - 1; s++)
        depth *= (double)tn_dim_eval(g->dims, v.w->dim[s], bindings);
    tn_cost_per_element(g, n, bindings, 2 * depth, out);
}

/* ---- lower ---------------------------------------------------------------------------------- */

static void conv_describe(const tn_graph *g, const tn_node_info *n, tn_contraction *out) {
    conv_view v = conv_view_of_node(g, n);
    const tn_shape *y = &tn_graph_type(g, n->out)->shape;
    *out = (tn_contraction){
        .b = v.batch, .m = v.spatial + 1, .n = 1, .k = v.spatial + 1, .acc = v.attrs->acc};
    for (int i = 0; i < v.batch; i++) out->b_extent[i] = y->dim[i];
    for (int i = 0; i <= v.spatial; i++) out->m_extent[i] = y->dim[v.batch + i];
    for (int i = 0; i <= v.spatial; i++) out->k_extent[i] = v.w->dim[v.w_at + i];
    out->n_extent[0] = y->dim[v.rank - 1];
}

static void conv_lhs(tn_emit *e, const tn_node_info *n, const tn_lx *b, const tn_lx *m,
                     const tn_lx *k, tn_lx *index, tn_lx *guard) {
    conv_view v = conv_view_of_node(e->graph, n);
    *guard = TN_LX_NONE;
    for (int i = 0; i < v.batch; i++) index[i] = b[i];
    index[v.batch] = m[0];
    for (int s = 0; s < v.spatial; s++)
        index[v.x_at + s] =
            tn_emit_window(e, conv_window(v.attrs, s), v.x->dim[v.x_at + s], m[1 + s], k[s], guard);
    index[v.rank - 1] = k[v.spatial];
}

static void conv_rhs(tn_emit *e, const tn_node_info *n, const tn_lx *b, const tn_lx *k,
                     const tn_lx *x, tn_lx *index, tn_lx *guard) {
    conv_view v = conv_view_of_node(e->graph, n);
    *guard = TN_LX_NONE;
    for (int i = 0; i < v.batch; i++) index[i] = b[i];
    for (int s = 0; s <= v.spatial; s++) index[v.w_at + s] = k[s];
    index[v.rank - 1] = x[0];
}

static const tn_contraction_rules conv_contraction = {conv_describe, conv_lhs, conv_rhs};

static void conv_fold_describe(const tn_graph *g, const tn_node_info *n, tn_fold *out) {
    tn_contraction c;
    conv_describe(g, n, &c);
    tn_contraction_fold(&c, out);
}

static void conv_step(tn_emit *e, const tn_node_info *n, const tn_lx *index, const tn_lx *at,
                      const tn_lx *acc, tn_lx *next) {
    tn_contraction_step(e, n, &conv_contraction, index, at, acc, next);
}

static const tn_fold_rules conv_fold = {conv_fold_describe, conv_step, tn_fold_add, tn_fold_first};

/* ---- vjp ------------------------------------------------------------------------------------ */

/* Sizes of one spatial axis after dilation. */
typedef struct conv_spans {
    tn_dim x, w, y;
} conv_spans;

static tn_dim span(tn_dims *t, tn_dim size, int64_t dilation) {
    return tn_dim_add(t, tn_dim_mul(t, tn_dim_sub(t, size, 1), dilation), 1);
}

static conv_spans conv_spans_of(tn_dims *t, const conv_view *v, const tn_shape *y, int s) {
    tn_window w = conv_window(v->attrs, s);
    return (conv_spans){span(t, v->x->dim[v->x_at + s], w.base),
                        span(t, v->w->dim[v->w_at + s], w.dilation),
                        span(t, y->dim[v->x_at + s], w.stride)};
}

/* Stores a padding computed from sizes; it must come out constant. */
static void set_pad(tn_builder *b, tn_ints *list, tn_dim d) {
    int64_t value = 0;
    if (tn_b_ok(b) && !tn_dim_const_value(b->graph->dims, d, &value))
        tn_b_fail(b, TN_UNSUPPORTED,
                  "the gradient of a strided convolution needs padding %s, which must be constant; "
                  "bind the spatial sizes",
                  tn_dim_text(b->graph->dims, d).at);
    tn_ints_push(list, value);
}

/* w with window axes reversed and C, O exchanged. */
static tn_value conv_flip(tn_builder *b, tn_value w, const conv_view *v) {
    tn_attrs_slice flip = {.shape = *v->w};
    for (int i = 0; i < v->rank; i++) {
        bool window = i >= v->w_at && i < v->w_at + v->spatial;
        flip.start.at[i] = window ? tn_dim_sub(b->graph->dims, v->w->dim[i], 1) : 0;
        flip.step.at[i] = window ? -1 : 1;
    }
    flip.start.count = flip.step.count = v->rank;
    w = tn_b_node(b, TN_OP_slice, &w, 1, &flip);
    return tn_b_swap(b, w, v->rank - 2, v->rank - 1);
}

/* dx: the cotangent, dilated by the stride, convolved with the flipped kernel. */
static tn_value conv_grad_x(tn_builder *b, const conv_view *v, tn_value cotangent, tn_value w) {
    tn_dims *t = b->graph->dims;
    tn_type dy = tn_b_type(b, cotangent);
    tn_attrs_conv d = {.batch = v->attrs->batch,
                       .stride = v->attrs->base_dilation,
                       .window_dilation = v->attrs->window_dilation,
                       .base_dilation = v->attrs->stride,
                       .acc = v->attrs->acc};
    for (int s = 0; s < v->spatial; s++) {
        conv_spans c = conv_spans_of(t, v, &dy.shape, s);
        tn_dim lo = tn_dim_const(t, v->attrs->pad_lo.at[s]);
        set_pad(b, &d.pad_lo, tn_dim_sub(t, tn_dim_sub(t, c.w, 1), lo));
        set_pad(b, &d.pad_hi, tn_dim_add(t, tn_dim_sub(t, c.x, c.y), lo));
    }
    return tn_b_node(b, TN_OP_conv, (tn_value[]){cotangent, conv_flip(b, w, v)}, 2, &d);
}

/* Exchanges two neighbouring groups of axes: axis `from` moves behind the spatial axes or back. */
static tn_value conv_lead(tn_builder *b, tn_value x, const conv_view *v, int from, int to) {
    return tn_b_move(b, x, v->batch + from, v->batch + to);
}

/* dw: x with C as images and N as one more spatial axis, convolved with the cotangent as kernel; strides and
 * window dilations change places. N as channels would be the same sum, but with N innermost, along which
 * neither operand lies in memory. */
static tn_value conv_grad_w(tn_builder *b, const conv_view *v, tn_value cotangent, tn_value x) {
    tn_dims *t = b->graph->dims;
    tn_type dy = tn_b_type(b, cotangent);
    tn_attrs_conv d = {.batch = v->attrs->batch, .acc = v->attrs->acc};
    for (int s = -1; s < v->spatial; s++) {
        tn_window w = s < 0 ? (tn_window){1, 1, 1, 0, 0} : conv_window(v->attrs, s);
        tn_ints_push(&d.stride, w.dilation);
        tn_ints_push(&d.window_dilation, w.stride);
        tn_ints_push(&d.base_dilation, w.base);
        tn_ints_push(&d.pad_lo, w.lo);
        if (s < 0) {
            tn_ints_push(&d.pad_hi, 0);
            continue;
        }
        conv_spans c = conv_spans_of(t, v, &dy.shape, s);
        tn_dim room = tn_dim_sub(t, tn_dim_add(t, c.w, c.y), tn_dim_add(t, c.x, 1));
        set_pad(b, &d.pad_hi, tn_dim_sub(t, room, tn_dim_const(t, w.lo)));
    }
    int images = v->batch, last = v->spatial + 1;
    x = tn_b_unsqueeze(b, conv_lead(b, x, v, last, 0), v->rank); /* C, N, spatial…, 1 */
    cotangent = tn_b_unsqueeze(b, cotangent, images + last);     /* N, spatial…, 1, O */
    tn_value dw = tn_b_node(b, TN_OP_conv, (tn_value[]){x, cotangent}, 2, &d);
    return conv_lead(b, tn_b_squeeze(b, dw, images + 1), v, 0, last - 1); /* C, 1, window…, O */
}

/* x with its spatial axes (from axis v->x_at on) reversed. */
static tn_value reversed(tn_builder *b, tn_value x, const conv_view *v) {
    tn_shape shape = tn_b_type(b, x).shape;
    tn_attrs_slice turn = {.shape = shape};
    for (int i = 0; i < v->rank; i++) {
        bool spatial = i >= v->x_at && i < v->x_at + v->spatial;
        turn.start.at[i] = spatial ? tn_dim_sub(b->graph->dims, shape.dim[i], 1) : 0;
        turn.step.at[i] = spatial ? -1 : 1;
    }
    turn.start.count = turn.step.count = v->rank;
    return tn_b_node(b, TN_OP_slice, &x, 1, &turn);
}

/* dw of a convolution without strides and holes, with the operands' parts exchanged: the cotangent slides over
 * x, both reversed, with O as images. The result is [O, window…, C], of which a weight stored as [O, C, window…]
 * has neighbours side by side, where columns of O would be a whole filter apart. */
static tn_value conv_grad_w_turned(tn_builder *b, const conv_view *v, tn_value cotangent,
                                   tn_value x) {
    tn_dims *t = b->graph->dims;
    tn_type dy = tn_b_type(b, cotangent);
    tn_attrs_conv d = {.batch = v->attrs->batch, .acc = v->attrs->acc};
    for (int s = -1; s < v->spatial; s++) {
        tn_window w = s < 0 ? (tn_window){1, 1, 1, 0, 0} : conv_window(v->attrs, s);
        tn_ints_push(&d.stride, w.dilation);
        tn_ints_push(&d.window_dilation, 1);
        tn_ints_push(&d.base_dilation, 1);
        if (s < 0) {
            tn_ints_push(&d.pad_lo, 0);
            tn_ints_push(&d.pad_hi, 0);
            continue;
        }
        conv_spans c = conv_spans_of(t, v, &dy.shape, s);
        tn_dim room = tn_dim_sub(t, tn_dim_add(t, c.x, c.w), tn_dim_add(t, c.y, 1));
        tn_dim lo = tn_dim_add(t, tn_dim_sub(t, c.x, c.y), tn_dim_const(t, w.lo));
        set_pad(b, &d.pad_lo, lo);
        set_pad(b, &d.pad_hi, tn_dim_sub(t, room, lo));
    }
    int images = v->batch, last = v->spatial + 1;
    cotangent = conv_lead(b, reversed(b, cotangent, v), v, last, 0);
    cotangent = tn_b_unsqueeze(b, cotangent, v->rank);       /* O, N, spatial…, 1 */
    x = tn_b_unsqueeze(b, reversed(b, x, v), images + last); /* N, spatial…, 1, C */
    tn_value dw = tn_b_node(b, TN_OP_conv, (tn_value[]){cotangent, x}, 2, &d);
    dw = tn_b_squeeze(b, dw, images + 1); /* O, window…, C */
    return conv_lead(b, dw, v, 0, last);  /* window…, C, O */
}

/* Without strides and holes, and with columns of C that fill vectors. */
static bool may_turn(const tn_graph *g, const conv_view *v) {
    enum { LEAST_CHANNELS = 16 };
    return tn_ints_are(&v->attrs->stride, 1) && tn_ints_are(&v->attrs->base_dilation, 1) &&
           tn_dim_lo(g->dims, v->w->dim[v->rank - 2]) >= LEAST_CHANNELS;
}

static void conv_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                     const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    (void)out;
    const tn_type *x = tn_node_type(g, n, 0), *w = tn_node_type(g, n, 1);
    if (cotangents[0] == TN_NO_VALUE || !tn_dtype_is_float(x->dtype)) return;
    conv_view v = conv_view_of_node(g, n);
    grads[0] = tn_b_cast(b, conv_grad_x(b, &v, cotangents[0], in[1]), x->dtype);
    tn_value dw = may_turn(g, &v) ? conv_grad_w_turned(b, &v, cotangents[0], in[0])
                                  : conv_grad_w(b, &v, cotangents[0], in[0]);
    grads[1] = tn_b_cast(b, dw, w->dtype);
}

/* ---- batch ---------------------------------------------------------------------------------- */

/* Carried by both operands the new axis is one more batch axis. Carried by x alone it joins N,
 * carried by w alone it joins O: the result has it there and it is split off again. */
static void conv_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                       const tn_batching *how, const tn_value *in, const bool *batched,
                       tn_value *out) {
    tn_attrs_conv a = *(const tn_attrs_conv *)n->attrs;
    conv_view v = conv_view_of_node(g, n);
    tn_value x = in[0], w = in[1];
    if (batched[0] && batched[1]) {
        a.batch++;
        out[0] = tn_b_node(b, TN_OP_conv, in, 2, &a);
        return;
    }
    int joint = batched[0] ? v.batch : v.rank - 1;
    tn_dim own = batched[0] ? v.x->dim[joint] : v.w->dim[joint];
    tn_dim merged = tn_dim_mul(b->graph->dims, how->size, own);
    tn_value *carrier = batched[0] ? &x : &w;
    *carrier = tn_b_move(b, *carrier, 0, joint);
    *carrier = tn_b_regroup(b, *carrier, joint, 2, 1, &merged);
    tn_value y = tn_b_node(b, TN_OP_conv, (tn_value[]){x, w}, 2, &a);
    y = tn_b_regroup(b, y, joint, 1, 2, (tn_dim[]){how->size, own});
    out[0] = tn_b_move(b, y, joint, 0);
}

/* ---- shard ---------------------------------------------------------------------------------- */

static bool conv_shard(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    conv_view v = conv_view_of_node(g, n);
    int x = s->in[0], w = s->in[1], last = v.rank - 1;
    if (x < 0 && w < 0) { /* linear in each operand */
        s->out[0] = x == TN_PLACE_REPLICATED ? w : x;
        return x == TN_PLACE_REPLICATED || w == TN_PLACE_REPLICATED;
    }
    if (x >= 0 && w >= 0) {
        s->out[0] = x < v.batch ? x : TN_PLACE_PARTIAL;
        return (x < v.batch && w == x) || (x == last && w == last - 1);
    }
    s->out[0] = x >= 0 ? x : w;
    return x >= 0 ? x == v.batch && w == TN_PLACE_REPLICATED
                  : w == last && x == TN_PLACE_REPLICATED;
}

const tn_op_rules tn_rules_conv = {
    .infer = conv_infer,
    .eval = conv_eval,
    .cost = conv_cost,
    .lower = {.kind = TN_LOWER_CONTRACTION, .fold = &conv_fold, .contraction = &conv_contraction},
    .vjp = TN_RULE(conv_vjp),
    .batch = TN_RULE(conv_batch),
    .shard = TN_RULE(conv_shard),
};
