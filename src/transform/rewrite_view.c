/* Rewrites of reshape, permute and broadcast, and of element-wise operations on broadcasts. */
#include "transform/match.h"

/* ---- reshape -------------------------------------------------------------------------------- */

/* reshape to the shape it has */
static bool reshape_same(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    return tn_shape_equal(tn__shape_of(r->g, n->in[0]), tn__shape_of(r->g, n->out)) &&
           tn__becomes(n->in[0], out);
}

/* reshape(reshape(x)) = reshape(x) */
static bool reshape_reshape(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], TN_OP_reshape);
    if (!inner) return false;
    tn_shape shape = *tn__shape_of(r->g, n->out);
    return tn__becomes(tn_b_reshape(&r->b, inner->in[0], &shape), out);
}

/* Pairs the axes of two shapes that are not 1, in order: to[i] is where axis i of `a` is in `b`, or
 * -1 for axes of size 1. False when the shapes differ in more than such axes. */
static bool match_unit_axes(const tn_shape *a, const tn_shape *b, int to[TN_MAX_RANK]) {
    int k = 0;
    for (int i = 0; i < a->rank; i++) {
        to[i] = -1;
        if (a->dim[i] == 1) continue;
        while (k < b->rank && b->dim[k] == 1) k++;
        if (k == b->rank || b->dim[k] != a->dim[i]) return false;
        to[i] = k++;
    }
    while (k < b->rank && b->dim[k] == 1) k++;
    return k == b->rank;
}

/* reshape(broadcast(x)) = broadcast(reshape(x)) when only axes of size 1 come or go */
static bool reshape_broadcast(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], TN_OP_broadcast);
    if (!inner) return false;
    const tn_attrs_broadcast *a = inner->attrs;
    tn_shape shape = *tn__shape_of(r->g, n->out), kept = {0};
    tn_value x = inner->in[0];
    tn_ints axes = {0};
    int to[TN_MAX_RANK];
    if (!match_unit_axes(&a->shape, &shape, to)) return false;
    for (int i = 0; i < a->axes.count; i++) {
        int place = to[a->axes.at[i]];
        if (place < 0) continue;
        axes.at[axes.count++] = place;
        kept.dim[kept.rank++] = tn__shape_of(r->g, x)->dim[i];
    }
    return tn__becomes(tn__broadcast(&r->b, tn_b_reshape(&r->b, x, &kept), &shape, &axes), out);
}

/* ---- permute -------------------------------------------------------------------------------- */

/* A permute that moves only axes of size 1 is a reshape. */
static bool permute_unit(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_attrs_permute *a = n->attrs;
    const tn_shape *from = tn__shape_of(r->g, n->in[0]);
    int64_t last = -1;
    for (int i = 0; i < a->perm.count; i++) {
        if (from->dim[a->perm.at[i]] == 1) continue;
        if (a->perm.at[i] < last) return false;
        last = a->perm.at[i];
    }
    tn_shape shape = *tn__shape_of(r->g, n->out);
    return tn__becomes(tn_b_reshape(&r->b, n->in[0], &shape), out);
}

/* ---- broadcast ------------------------------------------------------------------------------ */

/* broadcast to the shape it has */
static bool broadcast_same(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    return tn_shape_equal(tn__shape_of(r->g, n->in[0]), tn__shape_of(r->g, n->out)) &&
           tn__becomes(n->in[0], out);
}

/* broadcast(broadcast(x)) = broadcast(x) */
static bool broadcast_broadcast(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], TN_OP_broadcast);
    if (!inner) return false;
    const tn_attrs_broadcast *a = inner->attrs, *outer = n->attrs;
    tn_ints axes = {.count = a->axes.count};
    for (int i = 0; i < axes.count; i++) axes.at[i] = outer->axes.at[a->axes.at[i]];
    return tn__becomes(tn__broadcast(&r->b, inner->in[0], &outer->shape, &axes), out);
}

/* broadcast(reshape(x)) = broadcast(x) when the reshape adds axes of size 1 only */
static bool broadcast_reshape(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], TN_OP_reshape);
    if (!inner) return false;
    const tn_attrs_broadcast *a = n->attrs;
    tn_value x = inner->in[0];
    const tn_shape *from = tn__shape_of(r->g, x), *to = tn__shape_of(r->g, n->in[0]);
    if (from->rank >= to->rank) return false;
    tn_ints axes = {.count = from->rank};
    int k = 0;
    for (int i = 0; i < to->rank; i++) {
        if (k < from->rank && from->dim[k] == to->dim[i])
            axes.at[k++] = a->axes.at[i];
        else if (to->dim[i] != 1)
            return false;
    }
    if (k != from->rank) return false;
    return tn__becomes(tn__broadcast(&r->b, x, &a->shape, &axes), out);
}

/* ---- element-wise operations on broadcasts -------------------------------------------------- */

/* The broadcast that decides: all operands are broadcasts of one shape along the same axes, or
 * constants that all elements share. NULL when it is not so. */
static const tn_node_info *common_broadcast(const tn_rewriter *r, const tn_node_info *n) {
    const tn_node_info *first = NULL;
    for (uint32_t i = 0; i < n->in_count; i++) {
        tn_cell cell;
        if (tn__splat(r->g, n->in[i], &cell)) continue;
        const tn_node_info *made = tn__made_by(r->g, n->in[i], TN_OP_broadcast);
        if (!made) return NULL;
        if (!first) first = made;
        const tn_attrs_broadcast *a = first->attrs, *b = made->attrs;
        if (a->axes.count != b->axes.count ||
            memcmp(a->axes.at, b->axes.at, sizeof(a->axes.at[0]) * (size_t)a->axes.count) != 0 ||
            !tn_shape_equal(tn__shape_of(r->g, first->in[0]), tn__shape_of(r->g, made->in[0])))
            return NULL;
    }
    return first;
}

/* f(broadcast(x), broadcast(y), s) = broadcast(f(x, y, s)): computed once per element of x */
static bool elementwise_broadcast(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    if (!tn__is_elementwise(n->op)) return false;
    const tn_node_info *common = common_broadcast(r, n);
    if (!common) return false;
    tn_node_info first = *common;
    const tn_attrs_broadcast *a = first.attrs;
    tn_value in[3];
    for (uint32_t i = 0; i < n->in_count; i++) {
        tn_type small = {tn_node_type(r->g, n, i)->dtype, *tn__shape_of(r->g, first.in[0])};
        tn_cell cell;
        if (tn__splat(r->g, n->in[i], &cell))
            in[i] = tn__full(&r->b, &small, cell);
        else
            in[i] = tn_graph_producer(r->g, n->in[i])->in[0];
    }
    tn_value once = tn_b_node(&r->b, n->op, in, n->in_count, n->attrs);
    return tn__becomes(tn__broadcast(&r->b, once, &a->shape, &a->axes), out);
}

/* Gradients are built by now, and what is recomputed is decided. */
static bool barrier_stop(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_attrs_barrier *a = n->attrs;
    (void)r;
    return (a->stop || a->block) && tn__becomes(n->in[0], out);
}

static const tn_rewrite rows[] = {
    {"barrier_stop", TN_OP_barrier, barrier_stop, false},
    {"reshape_same", TN_OP_reshape, reshape_same, false},
    {"reshape_reshape", TN_OP_reshape, reshape_reshape, false},
    {"reshape_broadcast", TN_OP_reshape, reshape_broadcast, false},
    {"permute_merge", TN_OP_permute, tn__permute_merge, false},
    {"permute_unit", TN_OP_permute, permute_unit, false},
    {"broadcast_same", TN_OP_broadcast, broadcast_same, false},
    {"broadcast_broadcast", TN_OP_broadcast, broadcast_broadcast, false},
    {"broadcast_reshape", TN_OP_broadcast, broadcast_reshape, false},
    {"elementwise_broadcast", TN_OP_COUNT, elementwise_broadcast, false},
};
const tn_rewrite_table tn__rewrites_view = {rows, TN_COUNT(rows)};
