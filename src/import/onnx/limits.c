/* Limits of whole numbers, from how they are computed. See dynamic.h.
 *
 * Interval arithmetic backwards through the graph, within a budget of nodes. What it finds sizes memory;
 * a value beyond it ends the run with an error (bind_size), so rounded floats and wrapped integers of 32 bits
 * and more need no care here. Narrower ones wrap at numbers that are common. */
#include "import/onnx/dynamic.h"

#include <math.h>

enum { MOST_NODES = 256, MOST_DEPTH = 48, MOST_ELEMENTS = 4096 };

typedef tn_onnx_limits limits;

typedef struct search {
    tn_dims *dims;
    const tn_graph *g;
    int nodes, depth;
} search;

static const limits nothing = {.lo = INT64_MIN};
static const int64_t tame = (int64_t)1 << 40; /* beyond it a number is no limit */

static limits from_to(tn_dims *t, int64_t lo, tn_dim hi) {
    limits l = {.lo = lo < -tame || lo > tame ? INT64_MIN : lo, .has_hi = true, .hi = hi};
    int64_t value;
    if (tn_dim_const_value(t, hi, &value) && (value > tame || value < -tame)) l.has_hi = false;
    return l;
}

static limits find(search *s, tn_value v);

static limits of_operand(search *s, const tn_node_info *n, uint32_t i) {
    return find(s, n->in[i]);
}

tn_dim tn_onnx_smaller(tn_dims *t, tn_dim a, tn_dim b) {
    if (tn_dim_proves_le(t, a, b)) return a;
    return tn_dim_proves_le(t, b, a) ? b : tn_dim_min(t, a, b);
}

tn_dim tn_onnx_larger(tn_dims *t, tn_dim a, tn_dim b) {
    if (tn_dim_proves_le(t, a, b)) return b;
    return tn_dim_proves_le(t, b, a) ? a : tn_dim_max(t, a, b);
}

static limits either(search *s, limits a, limits b) {
    limits l = {.lo = TN_MIN(a.lo, b.lo), .has_hi = a.has_hi && b.has_hi};
    if (l.has_hi) l.hi = tn_onnx_larger(s->dims, a.hi, b.hi);
    return l;
}

/* ---- sources ---------------------------------------------------------------------------------- */

static limits of_constant(search *s, tn_value v) {
    tn_array a;
    int64_t lo = INT64_MAX, hi = INT64_MIN;
    if (!tn_graph_constant(s->g, v, &a)) return nothing;
    int64_t count = tn_array_count(&a);
    if (count < 1 || count > MOST_ELEMENTS) return nothing;
    for (int64_t i = 0; i < count; i++) {
        tn_cell c = tn_array_get(&a, i);
        bool real = tn_dtype_is_float(a.dtype);
        if (real && !(fabs(c.f) <= (double)tame)) return nothing;
        lo = TN_MIN(lo, real ? (int64_t)floor(c.f) : c.i);
        hi = TN_MAX(hi, real ? (int64_t)ceil(c.f) : c.i);
    }
    if (tn_dtype_is_unsigned(a.dtype) && lo < 0) return nothing;
    return from_to(s->dims, lo, tn_dim_const(s->dims, hi));
}

/* A size as a value is the last of 0, 1, … size. */
static limits of_slice(search *s, const tn_node_info *n) {
    const tn_attrs_slice *a = n->attrs;
    const tn_node_info *from = tn_graph_producer(s->g, n->in[0]);
    if (from->op == TN_OP_iota && a->shape.rank == 1 && a->shape.dim[0] == 1)
        return from_to(s->dims, tn_dim_lo(s->dims, a->start.at[0]), a->start.at[0]);
    return of_operand(s, n, 0);
}

static limits of_positions(search *s, tn_dim size) {
    return from_to(s->dims, 0, tn_dim_sub(s->dims, size, 1));
}

/* ---- arithmetic ------------------------------------------------------------------------------- */

static limits sum_of(search *s, limits a, limits b) {
    limits l = {.lo = INT64_MIN};
    if (a.lo != INT64_MIN && b.lo != INT64_MIN) l.lo = a.lo + b.lo;
    if (!a.has_hi || !b.has_hi) return l;
    return from_to(s->dims, l.lo, tn_dim_add(s->dims, a.hi, b.hi));
}

static limits negative(search *s, limits a) {
    int64_t hi = a.has_hi ? tn_dim_hi(s->dims, a.hi) : INT64_MAX;
    limits l = {.lo = hi <= tame && hi >= -tame ? -hi : INT64_MIN};
    if (a.lo == INT64_MIN) return l;
    return from_to(s->dims, l.lo, tn_dim_const(s->dims, -a.lo));
}

static limits difference(search *s, limits a, limits b) {
    return sum_of(s, a, negative(s, b));
}

static limits product(search *s, limits a, limits b) {
    if (a.lo < 0 || b.lo < 0) return nothing;
    if (!a.has_hi || !b.has_hi) return (limits){.lo = 0};
    return from_to(s->dims, 0, tn_dim_mul(s->dims, a.hi, b.hi));
}

static limits quotient(search *s, limits a, limits b) {
    if (a.lo < 0 || b.lo < 1) return nothing;
    if (!a.has_hi) return (limits){.lo = 0};
    return from_to(s->dims, 0, tn_dim_ceildiv(s->dims, a.hi, tn_dim_const(s->dims, b.lo)));
}

/* It has the sign of a. */
static limits remainder_of(search *s, limits a, limits b) {
    if (a.lo < 0) return nothing;
    if (b.lo < 0 || !b.has_hi) return a;
    return from_to(s->dims, 0, a.has_hi ? tn_onnx_smaller(s->dims, a.hi, b.hi) : b.hi);
}

static limits least_of(search *s, limits a, limits b) {
    limits l = {.lo = TN_MIN(a.lo, b.lo), .has_hi = a.has_hi || b.has_hi};
    if (a.has_hi && b.has_hi)
        l.hi = tn_onnx_smaller(s->dims, a.hi, b.hi);
    else
        l.hi = a.has_hi ? a.hi : b.hi;
    return l;
}

static limits most_of(search *s, limits a, limits b) {
    limits l = {.lo = TN_MAX(a.lo, b.lo), .has_hi = a.has_hi && b.has_hi};
    if (l.has_hi) l.hi = tn_onnx_larger(s->dims, a.hi, b.hi);
    return l;
}

static limits magnitude(search *s, limits a) {
    limits away = negative(s, a);
    if (a.lo >= 0) return a;
    if (!a.has_hi || !away.has_hi) return (limits){.lo = 0};
    return from_to(s->dims, 0, tn_onnx_larger(s->dims, a.hi, away.hi));
}

/* `count` of them added up. */
static limits times(search *s, limits a, tn_dim count) {
    if (a.lo < 0) return nothing;
    if (!a.has_hi) return (limits){.lo = 0};
    return from_to(s->dims, 0, tn_dim_mul(s->dims, a.hi, count));
}

static limits of_reduce(search *s, const tn_node_info *n) {
    const tn_attrs_reduce *a = n->attrs;
    const tn_shape *shape = &tn_graph_type(s->g, n->in[0])->shape;
    tn_dim count = 1;
    for (int i = 0; i < a->axes.count; i++)
        count = tn_dim_mul(s->dims, count, shape->dim[a->axes.at[i]]);
    switch (a->kind) {
    case TN_REDUCE_sum:
        return times(s, of_operand(s, n, 0), count);
    case TN_REDUCE_max:
    case TN_REDUCE_min:
        return of_operand(s, n, 0);
    case TN_REDUCE_argmax:
    case TN_REDUCE_argmin:
        return of_positions(s, count);
    default:
        return nothing;
    }
}

static limits of_cumulative(search *s, const tn_node_info *n) {
    const tn_attrs_cumulative *a = n->attrs;
    if (a->kind == TN_REDUCE_prod) return nothing;
    limits l = of_operand(s, n, 0);
    if (a->kind != TN_REDUCE_sum) return a->exclusive ? nothing : l;
    return times(s, l, tn_graph_type(s->g, n->in[0])->shape.dim[a->axis]);
}

static limits of_bind(search *s, const tn_node_info *n) {
    const tn_attrs_bind_size *a = n->attrs;
    return from_to(s->dims, 0, a->size);
}

static limits of_top_k(search *s, const tn_node_info *n, tn_value v) {
    const tn_attrs_top_k *a = n->attrs;
    if (v == n->out) return of_operand(s, n, 0);
    return of_positions(s, tn_graph_type(s->g, n->in[0])->shape.dim[a->axis]);
}

static limits of_concat(search *s, const tn_node_info *n) {
    limits l = of_operand(s, n, 0);
    for (uint32_t i = 1; i < n->in_count; i++) l = either(s, l, of_operand(s, n, i));
    return l;
}

/* ---- one node --------------------------------------------------------------------------------- */

static limits of_binary(search *s, const tn_node_info *n) {
    limits a = of_operand(s, n, 0), b = of_operand(s, n, 1);
    switch (n->op) {
    case TN_OP_add:
        return sum_of(s, a, b);
    case TN_OP_sub:
        return difference(s, a, b);
    case TN_OP_mul:
        return product(s, a, b);
    case TN_OP_div:
        return quotient(s, a, b);
    case TN_OP_rem:
        return remainder_of(s, a, b);
    case TN_OP_min:
        return least_of(s, a, b);
    default:
        return most_of(s, a, b);
    }
}

static limits of_node(search *s, const tn_node_info *n, tn_value v) {
    switch (n->op) {
    case TN_OP_constant:
        return of_constant(s, v);
    case TN_OP_iota: {
        const tn_attrs_iota *a = n->attrs;
        return of_positions(s, a->shape.dim[a->axis]);
    }
    case TN_OP_slice:
        return of_slice(s, n);
    case TN_OP_cast:
    case TN_OP_floor:
    case TN_OP_ceil:
    case TN_OP_round:
    case TN_OP_reshape:
    case TN_OP_permute:
    case TN_OP_broadcast:
    case TN_OP_dynamic_slice:
    case TN_OP_barrier:
        return of_operand(s, n, 0);
    case TN_OP_gather: {
        limits l = of_operand(s, n, 0);
        bool zero = ((const tn_attrs_gather *)n->attrs)->mode == TN_INDEX_fill;
        return zero ? either(s, l, from_to(s->dims, 0, 0)) : l;
    }
    case TN_OP_sort:
        return of_operand(s, n, v - n->out);
    case TN_OP_top_k:
        return of_top_k(s, n, v);
    case TN_OP_concat:
        return of_concat(s, n);
    case TN_OP_select:
        return either(s, of_operand(s, n, 1), of_operand(s, n, 2));
    case TN_OP_neg:
        return negative(s, of_operand(s, n, 0));
    case TN_OP_abs:
        return magnitude(s, of_operand(s, n, 0));
    case TN_OP_add:
    case TN_OP_sub:
    case TN_OP_mul:
    case TN_OP_div:
    case TN_OP_rem:
    case TN_OP_min:
    case TN_OP_max:
        return of_binary(s, n);
    case TN_OP_reduce:
        return of_reduce(s, n);
    case TN_OP_cumulative:
        return of_cumulative(s, n);
    case TN_OP_bind_size:
        return of_bind(s, n);
    default:
        return nothing;
    }
}

/* What may not fit a narrow type may be any of its numbers. */
static limits fit(search *s, limits l, tn_dtype dtype) {
    int bits = tn_dtype_bits(dtype);
    if (!tn_dtype_is_integer(dtype) || bits >= 32) return l;
    bool sign = !tn_dtype_is_unsigned(dtype);
    int64_t lo = sign ? -((int64_t)1 << (bits - 1)) : 0, hi = lo + ((int64_t)1 << bits) - 1;
    if (l.lo >= lo && l.has_hi && tn_dim_hi(s->dims, l.hi) <= hi) return l;
    return from_to(s->dims, lo, tn_dim_const(s->dims, hi));
}

static limits find(search *s, tn_value v) {
    tn_dtype dtype = tn_graph_type(s->g, v)->dtype;
    if (dtype == TN_bool) return from_to(s->dims, 0, 1);
    if (s->depth == MOST_DEPTH || --s->nodes < 0) return nothing;
    s->depth++;
    limits l = of_node(s, tn_graph_producer(s->g, v), v);
    s->depth--;
    l = fit(s, l, dtype);
    if (tn_dtype_is_unsigned(dtype) && l.lo < 0) l = (limits){.lo = 0};
    return l;
}

tn_onnx_limits tn_onnx_value_limits(const tn_graph *g, tn_value v) {
    search s = {.dims = g->dims, .g = g, .nodes = MOST_NODES};
    return find(&s, v);
}
