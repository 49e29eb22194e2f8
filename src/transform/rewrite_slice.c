/* Rewrites of slice, concat and pad, and of gathers that are slices. */
#include "ops/compose.h"
#include "transform/match.h"

/* ---- slice ---------------------------------------------------------------------------------- */

/* slice of everything */
static bool slice_full(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_attrs_slice *a = n->attrs;
    for (int i = 0; i < a->start.count; i++)
        if (a->start.at[i] != 0 || a->step.at[i] != 1) return false;
    return tn_shape_equal(tn__shape_of(r->g, n->in[0]), &a->shape) && tn__becomes(n->in[0], out);
}

/* x[s + t·i][u + v·i] = x[s + t·u + t·v·i] */
static bool slice_slice(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], TN_OP_slice);
    if (!inner) return false;
    const tn_attrs_slice *a = inner->attrs;
    tn_attrs_slice both = *(const tn_attrs_slice *)n->attrs;
    tn_dims *t = r->g->dims;
    for (int i = 0; i < both.start.count; i++) {
        tn_dim skipped = tn_dim_mul(t, both.start.at[i], tn_dim_const(t, a->step.at[i]));
        both.start.at[i] = tn_dim_add(t, a->start.at[i], skipped);
        if (__builtin_mul_overflow(both.step.at[i], a->step.at[i], &both.step.at[i]) ||
            both.step.at[i] == INT64_MIN)
            return false;
    }
    return tn__becomes(tn_b_node(&r->b, TN_OP_slice, &inner->in[0], 1, &both), out);
}

/* Whether positions first … last (in either order) of the concatenation lie in [lo, hi). */
static bool lies_within(tn_dims *t, tn_dim first, tn_dim last, tn_dim lo, tn_dim hi) {
    return tn_dim_proves_le(t, lo, first) && tn_dim_proves_le(t, lo, last) &&
           tn_dim_proves_le(t, tn_dim_add(t, first, 1), hi) &&
           tn_dim_proves_le(t, tn_dim_add(t, last, 1), hi);
}

/* slice(concat(…, x, …)) = slice(x) when it needs no other operand */
static bool slice_concat(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], TN_OP_concat);
    if (!inner) return false;
    tn_node_info concat = *inner;
    tn_attrs_slice a = *(const tn_attrs_slice *)n->attrs;
    int axis = (int)((const tn_attrs_concat *)concat.attrs)->axis;
    tn_dims *t = r->g->dims;
    tn_dim span =
        tn_dim_mul(t, tn_dim_sub(t, a.shape.dim[axis], 1), tn_dim_const(t, a.step.at[axis]));
    tn_dim first = a.start.at[axis], last = tn_dim_add(t, first, span), lo = 0;
    if (!tn_dim_proves_le(t, 1, a.shape.dim[axis])) return false;
    for (uint32_t i = 0; i < concat.in_count; i++) {
        tn_dim hi = tn_dim_add(t, lo, tn_node_type(r->g, &concat, i)->shape.dim[axis]);
        if (lies_within(t, first, last, lo, hi)) {
            a.start.at[axis] = tn_dim_sub(t, first, lo);
            return tn__becomes(tn_b_node(&r->b, TN_OP_slice, &concat.in[i], 1, &a), out);
        }
        lo = hi;
    }
    return false;
}

/* ---- concat --------------------------------------------------------------------------------- */

static bool concat_one(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    (void)r;
    return n->in_count == 1 && tn__becomes(n->in[0], out);
}

/* concat without operands of size 0, and with those of an inner concat along the same axis */
static bool concat_flatten(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_attrs_concat *a = n->attrs;
    TN_VEC(tn_value) in = {0};
    for (uint32_t i = 0; i < n->in_count; i++) {
        const tn_node_info *inner = tn__made_by(r->g, n->in[i], TN_OP_concat);
        bool merge = inner && ((const tn_attrs_concat *)inner->attrs)->axis == a->axis;
        if (tn_node_type(r->g, n, i)->shape.dim[a->axis] == 0) continue;
        if (!merge) tn_vec_push(r->g->arena, &in, n->in[i]);
        for (uint32_t k = 0; merge && k < inner->in_count; k++)
            tn_vec_push(r->g->arena, &in, inner->in[k]);
    }
    bool same = in.len == n->in_count;
    for (uint32_t i = 0; same && i < in.len; i++) same = in.data[i] == n->in[i];
    if (same || in.len == 0) return false;
    return tn__becomes(tn_b_node(&r->b, TN_OP_concat, in.data, in.len, a), out);
}

/* ---- pad ------------------------------------------------------------------------------------ */

static bool pad_nothing(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    (void)r;
    const tn_attrs_pad *a = n->attrs;
    for (int i = 0; i < a->lo.count; i++)
        if (a->lo.at[i] != 0 || a->hi.at[i] != 0 || a->interior.at[i] != 0) return false;
    return tn__becomes(n->in[0], out);
}

static bool same_fill(const tn_graph *g, tn_value a, tn_value b) {
    tn_cell p, q;
    uint64_t x = 0, y = 0;
    if (a == b) return true;
    if (!tn__splat(g, a, &p) || !tn__splat(g, b, &q)) return false;
    tn_cell_store(tn_graph_type(g, a)->dtype, &x, p);
    tn_cell_store(tn_graph_type(g, b)->dtype, &y, q);
    return x == y;
}

/* pad(pad(x)) = pad(x) with the same fill value, when neither crops nor has interior padding */
static bool pad_pad(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], TN_OP_pad);
    if (!inner || !same_fill(r->g, inner->in[1], n->in[1])) return false;
    const tn_attrs_pad *a = inner->attrs;
    tn_attrs_pad both = *(const tn_attrs_pad *)n->attrs;
    tn_dims *t = r->g->dims;
    for (int i = 0; i < both.lo.count; i++) {
        if (a->interior.at[i] != 0 || both.interior.at[i] != 0) return false;
        if (!tn_dim_proves_le(t, 0, a->lo.at[i]) || !tn_dim_proves_le(t, 0, both.lo.at[i]) ||
            !tn_dim_proves_le(t, 0, a->hi.at[i]) || !tn_dim_proves_le(t, 0, both.hi.at[i]))
            return false;
        both.lo.at[i] = tn_dim_add(t, both.lo.at[i], a->lo.at[i]);
        both.hi.at[i] = tn_dim_add(t, both.hi.at[i], a->hi.at[i]);
    }
    tn_value in[] = {inner->in[0], n->in[1]};
    return tn__becomes(tn_b_node(&r->b, TN_OP_pad, in, 2, &both), out);
}

/* ---- gather --------------------------------------------------------------------------------- */

/* start, start + step, …, `count` of them, each `repeats` times. */
typedef struct progression {
    int64_t start, step, count, repeats;
} progression;

/* Whether the index is a constant progression within [0, size). */
static bool is_progression(const tn_graph *g, tn_value index, int64_t size, progression *p) {
    tn_array a;
    if (!tn_graph_constant(g, index, &a)) return false;
    int64_t all = tn_array_count(&a);
    *p = (progression){.step = 1, .repeats = 1};
    if (all < 1) return false;
    p->start = tn_array_get(&a, 0).i;
    while (p->repeats < all && tn_array_get(&a, p->repeats).i == p->start) p->repeats++;
    int64_t next = p->repeats < all ? tn_array_get(&a, p->repeats).i : size;
    if (all % p->repeats != 0 || p->start < 0 || p->start >= size || next < 0) return false;
    if (p->repeats < all) p->step = next - p->start;
    p->count = all / p->repeats;
    for (int64_t i = 0; i < all; i++) {
        int64_t at = tn_array_get(&a, i).i;
        if (at < 0 || at >= size || at != p->start + i / p->repeats * p->step) return false;
    }
    return true;
}

/* gather along one axis at start, start + step, … = slice, with that axis moved to the front; its elements
 * repeated where the index repeats */
static bool gather_progression(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_attrs_gather *a = n->attrs;
    const tn_type *x = tn_node_type(r->g, n, 0), *index = tn_node_type(r->g, n, 1);
    progression p;
    if (a->batch != 0 || a->axes.count != 1 || !tn_dtype_is_integer(index->dtype)) return false;
    int axis = (int)a->axes.at[0], perm[TN_MAX_RANK];
    if (!tn_dim_is_const(x->shape.dim[axis]) ||
        !is_progression(r->g, n->in[1], x->shape.dim[axis], &p) ||
        (p.repeats > 1 && x->shape.rank == TN_MAX_RANK))
        return false;
    tn_shape shape = *tn__shape_of(r->g, n->out); /* the index's last axis is of size 1 */
    for (int i = 0; i < x->shape.rank; i++) perm[i] = i == 0 ? axis : i <= axis ? i - 1 : i;
    tn_value part = tn_b_slice_axis(&r->b, n->in[0], axis, p.start, p.count, p.step);
    part = tn_b_permute(&r->b, tn_b_repeat(&r->b, part, axis, p.repeats), perm);
    return tn__becomes(tn_b_reshape(&r->b, part, &shape), out);
}

static const tn_rewrite rows[] = {
    {"slice_full", TN_OP_slice, slice_full, false},
    {"slice_slice", TN_OP_slice, slice_slice, false},
    {"slice_concat", TN_OP_slice, slice_concat, false},
    {"concat_one", TN_OP_concat, concat_one, false},
    {"concat_flatten", TN_OP_concat, concat_flatten, false},
    {"pad_nothing", TN_OP_pad, pad_nothing, false},
    {"pad_pad", TN_OP_pad, pad_pad, false},
    {"gather_progression", TN_OP_gather, gather_progression, false},
};
const tn_rewrite_table tn__rewrites_slice = {rows, TN_COUNT(rows)};
