/* Layouts: the rows that move permutes from operands to results. See sink.h.
 *
 * Each row takes apart a permute p of an operand (result axis i is operand axis p[i]), adds the
 * node over the operand's axes and permutes the result by p. */
#include "transform/sink.h"

#include "transform/match.h"

enum { MAX_WALKS = 2 };

/* Whether `v` is the result of a depthwise convolution that reads along its columns, seen through
 * views. */
static bool of_planes(const tn_graph *g, tn_value v) {
    const tn_node_info *n = tn_graph_producer(g, v);
    while (n->op == TN_OP_permute || n->op == TN_OP_reshape) n = tn_graph_producer(g, n->in[0]);
    return n->op == TN_OP_conv && tn__planes_of(g, n) != TN__PLANES_NONE;
}

/* The permutation when `v` is a permute. One that brings the groups of a convolution's result to its
 * channels stays: the kernel stores through it. */
static const tn_ints *permutation_of(const tn_graph *g, tn_value v) {
    const tn_node_info *n = tn__made_by(g, v, TN_OP_permute);
    if (!n || tn__merges_groups(g, n) || of_planes(g, n->in[0])) return NULL;
    return &((const tn_attrs_permute *)n->attrs)->perm;
}

static bool ints_equal(const tn_ints *a, const tn_ints *b) {
    return a->count == b->count && memcmp(a->at, b->at, sizeof(a->at[0]) * (size_t)a->count) == 0;
}

/* The permutation that all operands agree on, those without a layout of their own aside. */
static const tn_ints *common_permutation(const tn_graph *g, const tn_value *in, uint32_t count) {
    const tn_ints *common = NULL;
    for (uint32_t i = 0; i < count; i++) {
        const tn_ints *perm = permutation_of(g, in[i]);
        if (perm && common && !ints_equal(perm, common)) return NULL;
        if (!perm && !tn__is_layout_free(g, in[i])) return NULL;
        if (perm) common = perm;
    }
    return common;
}

/* The operand before its permute, or seen through the inverse one. */
static tn_value unpermuted(tn_rewriter *r, tn_value v, const tn_ints *perm) {
    tn_ints inverse = tn__inverse(perm);
    return tn__permuted(&r->b, v, &inverse);
}

/* ---- any number of operands, axes alike ----------------------------------------------------- */

/* Adds the node over unpermuted operands with these attributes; its results permuted are *out. */
static bool sink_all(tn_rewriter *r, const tn_node_info *n, const tn_ints *perm, const void *attrs,
                     tn_value *out) {
    tn_ints kept = *perm;
    tn_value *in = TN_NEW_N(r->g->arena, tn_value, n->in_count);
    for (uint32_t i = 0; i < n->in_count; i++) in[i] = unpermuted(r, n->in[i], &kept);
    tn_value first = tn_b_node(&r->b, n->op, in, n->in_count, attrs);
    for (uint32_t i = 0; i < n->out_count && first != TN_NO_VALUE; i++)
        out[i] = tn__permuted(&r->b, first + i, &kept);
    return tn_b_ok(&r->b);
}

/* f(permute(x), permute(y), broadcast(z)) = permute(f(x, y, broadcast(z))) */
static bool sink_elementwise(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    if (!tn__is_elementwise(n->op)) return false;
    const tn_ints *perm = common_permutation(r->g, n->in, n->in_count);
    return perm && sink_all(r, n, perm, n->attrs, out);
}

static bool sink_concat(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_ints *perm = common_permutation(r->g, n->in, n->in_count);
    if (!perm) return false;
    tn_attrs_concat a = *(const tn_attrs_concat *)n->attrs;
    a.axis = perm->at[a.axis];
    return sink_all(r, n, perm, &a, out);
}

static bool sink_sort(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_ints *perm = common_permutation(r->g, n->in, n->in_count);
    if (!perm) return false;
    tn_attrs_sort a = *(const tn_attrs_sort *)n->attrs;
    a.axis = perm->at[a.axis];
    return sink_all(r, n, perm, &a, out);
}

static bool sink_top_k(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_ints *perm = permutation_of(r->g, n->in[0]);
    if (!perm) return false;
    tn_attrs_top_k a = *(const tn_attrs_top_k *)n->attrs;
    a.axis = perm->at[a.axis];
    return sink_all(r, n, perm, &a, out);
}

static bool sink_cumulative(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_ints *perm = permutation_of(r->g, n->in[0]);
    if (!perm) return false;
    tn_attrs_cumulative a = *(const tn_attrs_cumulative *)n->attrs;
    a.axis = perm->at[a.axis];
    return sink_all(r, n, perm, &a, out);
}

/* ---- attributes per axis -------------------------------------------------------------------- */

static tn_dim_list permute_dims(const tn_dim_list *list, const tn_ints *perm) {
    tn_dim_list out = {.count = perm->count};
    for (int i = 0; i < perm->count; i++) out.at[i] = list->at[perm->at[i]];
    return out;
}

static tn_shape permute_shape(const tn_shape *s, const tn_ints *perm) {
    tn_shape out = {.rank = s->rank};
    for (int i = 0; i < s->rank; i++) out.dim[i] = s->dim[perm->at[i]];
    return out;
}

static bool sink_slice(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_ints *perm = permutation_of(r->g, n->in[0]);
    if (!perm) return false;
    const tn_attrs_slice *a = n->attrs;
    tn_ints inverse = tn__inverse(perm);
    tn_attrs_slice moved = {.start = permute_dims(&a->start, &inverse),
                            .shape = permute_shape(&a->shape, &inverse),
                            .step = tn__permute_ints(&a->step, &inverse)};
    return sink_all(r, n, perm, &moved, out);
}

/* Whether `v` is an input whose channels a permute has brought to the end: no permute meets it there,
 * and what pads it wants it so. */
static bool is_turned_input(const tn_graph *g, tn_value v) {
    enum { LEAST_CHANNELS = 16 };
    const tn_node_info *n = tn__made_by(g, v, TN_OP_permute);
    const tn_shape *s = tn__shape_of(g, v);
    int last = s->rank - 1;
    return n && last >= 0 && tn__made_by(g, n->in[0], TN_OP_input) &&
           ((const tn_attrs_permute *)n->attrs)->perm.at[last] != last &&
           tn_dim_is_const(s->dim[last]) && s->dim[last] >= LEAST_CHANNELS;
}

/* The fill value is a scalar and stays. */
static bool sink_pad(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_ints *perm = permutation_of(r->g, n->in[0]);
    if (!perm || is_turned_input(r->g, n->in[0])) return false;
    const tn_attrs_pad *a = n->attrs;
    tn_ints inverse = tn__inverse(perm), kept = *perm;
    tn_attrs_pad moved = {.lo = permute_dims(&a->lo, &inverse),
                          .hi = permute_dims(&a->hi, &inverse),
                          .interior = tn__permute_ints(&a->interior, &inverse)};
    tn_value in[] = {unpermuted(r, n->in[0], &kept), n->in[1]};
    return tn__becomes(tn__permuted(&r->b, tn_b_node(&r->b, TN_OP_pad, in, 2, &moved), &kept), out);
}

/* Whether the axes along which the window is wider than 1 stay in order: else sums of floats would
 * be taken in another order. */
static bool window_keeps_order(const tn_attrs_window_reduce *a, const tn_ints *perm) {
    int64_t last = -1;
    for (int i = 0; i < perm->count; i++) {
        if (a->window.at[i] == 1) continue;
        if (perm->at[i] < last) return false;
        last = perm->at[i];
    }
    return true;
}

/* argmax and argmin give positions in the operand as it lies, so they stay. */
static bool sink_window_reduce(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_ints *perm = permutation_of(r->g, n->in[0]);
    const tn_attrs_window_reduce *a = n->attrs;
    if (!perm || a->kind == TN_REDUCE_argmax || a->kind == TN_REDUCE_argmin) return false;
    bool exact = a->kind == TN_REDUCE_max || a->kind == TN_REDUCE_min ||
                 !tn_dtype_is_float(a->acc) || r->float_unsafe;
    if (!exact && !window_keeps_order(a, perm)) return false;
    tn_ints inverse = tn__inverse(perm);
    tn_attrs_window_reduce moved = {.kind = a->kind,
                                    .window = tn__permute_ints(&a->window, &inverse),
                                    .stride = tn__permute_ints(&a->stride, &inverse),
                                    .dilation = tn__permute_ints(&a->dilation, &inverse),
                                    .pad_lo = tn__permute_ints(&a->pad_lo, &inverse),
                                    .pad_hi = tn__permute_ints(&a->pad_hi, &inverse),
                                    .acc = a->acc};
    return sink_all(r, n, perm, &moved, out);
}

/* reshape(permute(x)) = permute(reshape(x)) when the reshape only splits axes and adds axes of size
 * 1: each axis of x goes to a run of result axes. */
static bool sink_reshape(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_ints *perm = permutation_of(r->g, n->in[0]);
    if (!perm) return false;
    tn_dims *dims = r->g->dims;
    const tn_shape *from = tn__shape_of(r->g, n->in[0]), *to = tn__shape_of(r->g, n->out);
    int first[TN_MAX_RANK + 1], at = 0; /* result axes of operand axis i: first[i] … first[i+1]-1 */
    for (int i = 0; i < from->rank; i++) {
        tn_dim product = 1;
        first[i] = at;
        while (at < to->rank && (product != from->dim[i] || to->dim[at] == 1))
            product = tn_dim_mul(dims, product, to->dim[at++]);
        if (product != from->dim[i]) return false;
    }
    first[from->rank] = at;
    if (at != to->rank) return false;
    tn_ints inverse = tn__inverse(perm), order = {.count = to->rank};
    tn_shape split = {.rank = to->rank};
    int place = 0;
    for (int x = 0; x < from->rank; x++) { /* axes of x in their own order */
        int64_t axis = inverse.at[x];
        for (int j = first[axis]; j < first[axis + 1]; j++) {
            split.dim[place] = to->dim[j];
            order.at[j] = place++;
        }
    }
    tn_value x = tn__made_by(r->g, n->in[0], TN_OP_permute)->in[0];
    *out = tn__permuted(&r->b, tn_b_reshape(&r->b, x, &split), &order);
    return tn_b_ok(&r->b);
}

/* Whether each axis of `to` is one or two of `from`, what `a` broadcasts to, of which the second is new; they
 * begin at first[i]. */
static bool merges_new_axes(tn_dims *dims, const tn_attrs_broadcast *a, const tn_shape *to,
                            int *first) {
    const tn_shape *from = &a->shape;
    if (a->axes.count != to->rank) return false;
    first[to->rank] = from->rank;
    for (int i = 0; i < to->rank; i++) first[i] = (int)a->axes.at[i];
    for (int i = 0; i < to->rank; i++) {
        int count = first[i + 1] - first[i];
        if (count < 1 || count > 2) return false;
        tn_dim d = from->dim[first[i]];
        if (count == 2) d = tn_dim_mul(dims, d, from->dim[first[i] + 1]);
        if (to->dim[i] != d) return false;
    }
    return first[0] == 0;
}

/* Elements repeated along axes, reshape(broadcast(permute(x))), are permute(reshape(broadcast(x))). */
static bool sink_repeat(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *wide = tn__made_by(r->g, n->in[0], TN_OP_broadcast);
    const tn_ints *perm = wide ? permutation_of(r->g, wide->in[0]) : NULL;
    const tn_shape *to = tn__shape_of(r->g, n->out);
    int first[TN_MAX_RANK + 1];
    if (!perm || !merges_new_axes(r->g->dims, wide->attrs, to, first)) return false;
    const tn_shape *from = tn__shape_of(r->g, n->in[0]);
    tn_attrs_broadcast repeat = {.axes.count = to->rank};
    tn_ints order = *perm, inverse = tn__inverse(perm);
    tn_shape merged = permute_shape(to, &inverse);
    for (int x = 0; x < to->rank; x++) { /* axes of x in their own order */
        int64_t axis = inverse.at[x];
        repeat.axes.at[x] = repeat.shape.rank;
        for (int j = first[axis]; j < first[axis + 1]; j++)
            repeat.shape.dim[repeat.shape.rank++] = from->dim[j];
    }
    tn_value x = tn__made_by(r->g, wide->in[0], TN_OP_permute)->in[0];
    x = tn_b_reshape(&r->b, tn_b_node(&r->b, TN_OP_broadcast, &x, 1, &repeat), &merged);
    *out = tn__permuted(&r->b, x, &order);
    return tn_b_ok(&r->b);
}

static const tn_rewrite rows[] = {
    {"permute_merge", TN_OP_permute, tn__permute_merge, false},
    {"sink_elementwise", TN_OP_COUNT, sink_elementwise, false},
    {"sink_concat", TN_OP_concat, sink_concat, false},
    {"sink_sort", TN_OP_sort, sink_sort, false},
    {"sink_top_k", TN_OP_top_k, sink_top_k, false},
    {"sink_cumulative", TN_OP_cumulative, sink_cumulative, false},
    {"sink_reshape", TN_OP_reshape, sink_reshape, false},
    {"sink_repeat", TN_OP_reshape, sink_repeat, false},
    {"sink_slice", TN_OP_slice, sink_slice, false},
    {"sink_pad", TN_OP_pad, sink_pad, false},
    {"sink_window_reduce", TN_OP_window_reduce, sink_window_reduce, false},
};
const tn_rewrite_table tn__rewrites_sink = {rows, TN_COUNT(rows)};

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err) {
    const tn_rewrite_table tables[] = {tn__rewrites_sink, tn__rewrites_reduce,
                                       tn__rewrites_contract, tn__rewrites_reshape};
    return tn__rewrite(in, out, tables, TN_COUNT(tables), MAX_WALKS, run, options, err);
}

const tn_pass tn_pass_sink = {"sink", run};
