/* Dequantised operands of dot and conv. See integer_products.h. */
#include "transform/integer_products.h"

#include <math.h>

#include "transform/match.h"

enum { MOST_VIEWS = 6, HALF = 128, MOST_DEPTH = 1 << 16 /* 2^16 · 255 · 128 < 2^31 */ };

/* views(scale · (q − zero)) */
typedef struct numbers {
    tn_value q;
    tn_value scale; /* f32, shaped as q */
    double zero;
    uint32_t views; /* of them, the last one first */
    tn_node_info view[MOST_VIEWS];
} numbers;

/* The axes of a product's right operand. */
typedef struct sides {
    tn_ints batch, contract, free;
    bool is_conv;
} sides;

/* ---- what operands are ---------------------------------------------------------------------- */

static bool is_byte(tn_dtype dtype) {
    return dtype == TN_u8 || dtype == TN_i8;
}

/* Whether all elements of `v` are one number, maybe converted from a byte. */
static bool find_zero(const tn_graph *g, tn_value v, double *zero) {
    tn_cell cell;
    const tn_node_info *n = tn_graph_producer(g, v);
    while (n->op == TN_OP_broadcast || n->op == TN_OP_reshape || n->op == TN_OP_permute)
        n = tn_graph_producer(g, n->in[0]);
    bool narrow = n->op == TN_OP_cast && is_byte(tn_node_type(g, n, 0)->dtype);
    if (!tn__splat(g, narrow ? n->in[0] : n->out, &cell)) return false;
    *zero = narrow ? (double)cell.i : cell.f;
    return true;
}

/* v = cast(q) − zero, or cast(q) */
static bool find_difference(const tn_graph *g, tn_value v, numbers *x) {
    const tn_node_info *n = tn_graph_producer(g, v);
    x->zero = 0;
    if (n->op == TN_OP_sub) {
        if (!find_zero(g, n->in[1], &x->zero)) return false;
        n = tn_graph_producer(g, n->in[0]);
    }
    if (n->op != TN_OP_cast || !is_byte(tn_node_type(g, n, 0)->dtype)) return false;
    x->q = n->in[0];
    double lowest = tn_node_type(g, n, 0)->dtype == TN_u8 ? 0 : -HALF;
    return x->zero >= lowest && x->zero < lowest + 2 * HALF && x->zero == floor(x->zero);
}

static bool find_numbers(const tn_graph *g, tn_value v, numbers *x) {
    *x = (numbers){0};
    const tn_node_info *n = tn_graph_producer(g, v);
    while (n->op == TN_OP_permute || n->op == TN_OP_reshape) {
        if (x->views == MOST_VIEWS) return false;
        x->view[x->views++] = *n;
        n = tn_graph_producer(g, n->in[0]);
    }
    if (n->op != TN_OP_mul || tn_graph_type(g, n->out)->dtype != TN_f32) return false;
    for (int side = 0; side < 2; side++) {
        x->scale = n->in[!side];
        if (find_difference(g, n->in[side], x)) return true;
    }
    return false;
}

static sides sides_of(const tn_graph *g, const tn_node_info *n) {
    sides s = {.is_conv = n->op == TN_OP_conv};
    int rank = tn__shape_of(g, n->in[1])->rank;
    if (!s.is_conv) {
        const tn_attrs_dot *a = n->attrs;
        s.batch = a->rhs_batch;
        s.contract = a->rhs_contract;
        for (int i = 0; i < rank; i++)
            if (!tn__ints_have(&s.batch, i) && !tn__ints_have(&s.contract, i))
                s.free.at[s.free.count++] = i;
        return s;
    }
    int batch = (int)((const tn_attrs_conv *)n->attrs)->batch;
    for (int i = 0; i < rank; i++) {
        tn_ints *list = i < batch ? &s.batch : i < rank - 1 ? &s.contract : &s.free;
        list->at[list->count++] = i;
    }
    return s;
}

/* Marks the result's axes along which a reshaped value varies: the sizes of runs of axes agree. */
static void reshape_varies(const tn_shape *from, const tn_shape *to, bool *varies) {
    bool out[TN_MAX_RANK] = {false};
    int i = 0, j = 0;
    while (i < from->rank || j < to->rank) {
        int first = j;
        int64_t a = 1, b = 1;
        bool any = false;
        do {
            if (i < from->rank && (a <= b || j == to->rank)) {
                any |= varies[i];
                a *= from->dim[i++];
            } else {
                b *= to->dim[j++];
            }
        } while (a != b && (i < from->rank || j < to->rank));
        for (int k = first; k < j; k++) out[k] = any && to->dim[k] != 1;
    }
    memcpy(varies, out, sizeof out);
}

/* Whether the scale of constant numbers is a constant that does not vary along these axes. */
static bool is_scaled_apart(const tn_graph *g, const numbers *w, const tn_ints *axes) {
    bool varies[TN_MAX_RANK] = {false};
    const tn_node_info *n = tn_graph_producer(g, w->scale);
    const tn_shape *s = tn__shape_of(g, w->scale);
    if (!tn__is_constant(g, w->scale)) return false;
    if (n->op == TN_OP_broadcast) {
        const tn_attrs_broadcast *a = n->attrs;
        for (int i = 0; i < a->axes.count; i++)
            varies[a->axes.at[i]] = tn__shape_of(g, n->in[0])->dim[i] != 1;
    } else {
        for (int i = 0; i < s->rank; i++) varies[i] = s->dim[i] != 1;
    }
    for (uint32_t i = w->views; i-- > 0;) {
        const tn_node_info *view = &w->view[i];
        if (view->op == TN_OP_reshape) {
            reshape_varies(tn__shape_of(g, view->in[0]), tn__shape_of(g, view->out), varies);
            continue;
        }
        const tn_ints *perm = &((const tn_attrs_permute *)view->attrs)->perm;
        bool before[TN_MAX_RANK];
        memcpy(before, varies, sizeof before);
        for (int k = 0; k < perm->count; k++) varies[k] = before[perm->at[k]];
    }
    for (int i = 0; i < axes->count; i++)
        if (varies[axes->at[i]]) return false;
    return true;
}

/* ---- the product ---------------------------------------------------------------------------- */

/* `v`, shaped as the numbers before their views, seen through these. */
static tn_value through_views(tn_builder *b, const numbers *x, tn_value v) {
    for (uint32_t i = x->views; i-- > 0;) v = tn_b_node(b, x->view[i].op, &v, 1, x->view[i].attrs);
    return v;
}

/* The numbers in `dtype`: the other one is half a range away, and so is its zero. */
static tn_value bytes_of(tn_builder *b, const numbers *x, tn_dtype dtype, double *zero) {
    tn_dtype stored = tn_b_type(b, x->q).dtype;
    tn_value q = x->q;
    *zero = x->zero;
    if (stored != dtype) {
        q = tn_b_xor(b, q, tn_b_scalar(b, stored, stored == TN_u8 ? HALF : -HALF));
        q = tn_b_node(b, TN_OP_bitcast, &q, 1, &(tn_attrs_bitcast){.dtype = dtype});
        *zero += dtype == TN_u8 ? HALF : -HALF;
    }
    return through_views(b, x, q);
}

/* A value of the right operand's rank, of size 1 along what is summed, as one of the result's shape. */
static tn_value along_result(tn_builder *b, tn_value v, const sides *s, const tn_shape *result) {
    tn_ints order = {0}, axes = {0};
    tn_shape kept = {0}, shape = tn_b_type(b, v).shape;
    for (int i = 0; i < s->batch.count; i++) {
        order.at[order.count++] = s->batch.at[i];
        axes.at[axes.count++] = i;
    }
    for (int i = 0; i < s->free.count; i++) {
        order.at[order.count++] = s->free.at[i];
        axes.at[axes.count++] = result->rank - s->free.count + i;
    }
    for (int i = 0; i < order.count; i++) kept.dim[kept.rank++] = shape.dim[order.at[i]];
    for (int i = 0; i < s->contract.count; i++) order.at[order.count++] = s->contract.at[i];
    v = tn_b_reshape(b, tn__permuted(b, v, &order), &kept);
    return tn__broadcast(b, v, result, &axes);
}

/* Its convolution pads with zeros, where x's stand for another number. */
static tn_value padded(tn_builder *b, tn_value x, tn_attrs_conv *a, double zero) {
    tn_value fill = tn_b_scalar(b, TN_u8, zero);
    for (int i = 0; i < a->stride.count; i++) {
        tn_dim lo = tn_dim_const(b->graph->dims, a->pad_lo.at[i]);
        tn_dim hi = tn_dim_const(b->graph->dims, a->pad_hi.at[i]);
        if (lo != 0 || hi != 0) x = tn_b_pad_axis(b, x, (int)a->batch + 1 + i, lo, hi, fill);
        a->pad_lo.at[i] = a->pad_hi.at[i] = 0;
    }
    return x;
}

static tn_value sums_of(tn_builder *b, const tn_node_info *n, tn_value x, double zero, tn_value w) {
    tn_value in[] = {x, w};
    if (n->op == TN_OP_dot) {
        tn_attrs_dot a = *(const tn_attrs_dot *)n->attrs;
        a.acc = TN_i32;
        return tn_b_node(b, n->op, in, 2, &a);
    }
    tn_attrs_conv a = *(const tn_attrs_conv *)n->attrs;
    a.acc = TN_i32;
    if (zero != 0) in[0] = padded(b, x, &a, zero);
    return tn_b_node(b, n->op, in, 2, &a);
}

static tn_value integer_product(tn_builder *b, const tn_node_info *n, const numbers *x,
                                const numbers *w, const sides *s, tn_cell scale) {
    tn_shape result = tn_b_type(b, n->out).shape;
    int axes[TN_MAX_RANK];
    double x_zero, w_zero;
    tn_value narrow = bytes_of(b, w, TN_i8, &w_zero), bytes = bytes_of(b, x, TN_u8, &x_zero);
    tn_value y = sums_of(b, n, bytes, x_zero, narrow);
    tn_value factor = through_views(b, w, w->scale);
    for (int i = 0; i < s->contract.count; i++) {
        axes[i] = (int)s->contract.at[i];
        factor = tn_b_slice_axis(b, factor, axes[i], 0, 1, 1);
    }
    if (x_zero != 0) {
        tn_value wide = tn_b_cast(b, narrow, TN_i32);
        tn_value sums = tn_b_reduce(b, TN_REDUCE_sum, wide, axes, s->contract.count, true);
        sums = tn_b_mul(b, sums, tn_b_scalar(b, TN_i32, x_zero));
        y = tn_b_sub(b, y, along_result(b, sums, s, &result));
    }
    factor = tn_b_mul(b, factor, tn_b_scalar(b, TN_f32, scale.f));
    return tn_b_mul(b, tn_b_cast(b, y, TN_f32), along_result(b, factor, s, &result));
}

/* All of the numbers that one element of the result sums. */
static bool has_depth(const tn_graph *g, const tn_node_info *n, const sides *s) {
    const tn_shape *w = tn__shape_of(g, n->in[1]);
    int64_t depth = 1, size;
    for (int i = 0; i < w->rank; i++)
        if (!tn_dim_is_const(w->dim[i])) return false;
    for (int i = 0; i < s->contract.count; i++)
        if (!tn_dim_const_value(g->dims, w->dim[s->contract.at[i]], &size) ||
            __builtin_mul_overflow(depth, size, &depth))
            return false;
    return depth > 0 && depth <= MOST_DEPTH;
}

static bool has_plain_padding(const tn_node_info *n) {
    return n->op == TN_OP_dot || tn_ints_are(&((const tn_attrs_conv *)n->attrs)->base_dilation, 1);
}

static bool rewrite_product(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    numbers x, w;
    tn_cell scale;
    if (tn_graph_type(r->g, n->out)->dtype != TN_f32) return false;
    sides s = sides_of(r->g, n);
    if (!has_plain_padding(n) || !has_depth(r->g, n, &s)) return false;
    if (!find_numbers(r->g, n->in[0], &x) || !find_numbers(r->g, n->in[1], &w)) return false;
    bool symmetric = w.zero == (tn_graph_type(r->g, w.q)->dtype == TN_u8 ? HALF : 0);
    if (!symmetric || !tn__is_constant(r->g, w.q) || !tn__splat(r->g, x.scale, &scale) ||
        !isfinite(scale.f) || !is_scaled_apart(r->g, &w, &s.contract))
        return false;
    tn_node_info node = *n;
    return tn__becomes(integer_product(&r->b, &node, &x, &w, &s, scale), out);
}

/* permute(f(conv)) = f(permute(conv)), f what stands behind a product above: the kernel of a grouped
 * convolution stores through the permute that follows it at once. */
static bool rewrite_permute(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_graph *g = r->g;
    const tn_ints perm = ((const tn_attrs_permute *)n->attrs)->perm;
    const tn_node_info *scaled = tn__made_by(g, n->in[0], TN_OP_mul);
    const tn_node_info *wide = scaled ? tn__made_by(g, scaled->in[0], TN_OP_cast) : NULL;
    if (!wide || !tn__is_layout_free(g, scaled->in[1])) return false;
    const tn_node_info *less = tn__made_by(g, wide->in[0], TN_OP_sub);
    tn_value sums = less ? less->in[0] : wide->in[0], factor = scaled->in[1];
    tn_value zeros = less ? less->in[1] : TN_NO_VALUE;
    if (!tn__is_grouped_conv(g, sums) || tn_graph_type(g, sums)->dtype != TN_i32 ||
        (less && !tn__is_layout_free(g, zeros)))
        return false;
    tn_value y = tn__permuted(&r->b, sums, &perm);
    if (less) y = tn_b_sub(&r->b, y, tn__permuted(&r->b, zeros, &perm));
    y = tn_b_mul(&r->b, tn_b_cast(&r->b, y, TN_f32), tn__permuted(&r->b, factor, &perm));
    return tn__becomes(y, out);
}

static const tn_rewrite rows[] = {
    {"permute of an integer conv", TN_OP_permute, rewrite_permute, false},
    {"integer dot", TN_OP_dot, rewrite_product, false},
    {"integer conv", TN_OP_conv, rewrite_product, false},
};
static const tn_rewrite_table table = {rows, TN_COUNT(rows)};

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err) {
    return tn__rewrite(in, out, &table, 1, 1, run, options, err);
}

const tn_pass tn_pass_integer_products = {"integer_products", run};
