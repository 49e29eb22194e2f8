/* Rewrites of reduce. */
#include "transform/match.h"

static bool finds_position(tn_reduce_kind kind) {
    return kind == TN_REDUCE_argmax || kind == TN_REDUCE_argmin;
}

/* Sums and products of floats are the reductions whose result depends on the order. */
static bool depends_on_order(const tn_attrs_reduce *a) {
    bool grows = a->kind == TN_REDUCE_sum || a->kind == TN_REDUCE_prod;
    return finds_position(a->kind) || (grows && tn_dtype_is_float(a->acc));
}

/* ---- axes of size 1 ------------------------------------------------------------------------- */

/* Reduced axes of size 1, or none at all, are a reshape (of one −0 the sum is then −0). */
static bool reduce_unit_axes(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_attrs_reduce *a = n->attrs;
    const tn_shape *from = tn__shape_of(r->g, n->in[0]);
    tn_attrs_reduce rest = {.kind = a->kind, .acc = a->acc};
    tn_shape shape = {0};
    for (int i = 0; i < from->rank; i++) {
        bool reduced = tn__ints_have(&a->axes, i);
        if (reduced && from->dim[i] == 1) continue;
        if (reduced) rest.axes.at[rest.axes.count++] = shape.rank;
        shape.dim[shape.rank++] = from->dim[i];
    }
    bool drops = shape.rank < from->rank, all = rest.axes.count == 0;
    if ((!drops && !all) || (all && finds_position(a->kind))) return false;
    tn_value x = tn_b_reshape(&r->b, n->in[0], &shape);
    return tn__becomes(all ? x : tn_b_node(&r->b, TN_OP_reduce, &x, 1, &rest), out);
}

/* ---- reduce of reduce ----------------------------------------------------------------------- */

/* The axes of x that two reductions take together. */
static tn_ints joined_axes(const tn_ints *inner, const tn_ints *outer, int rank) {
    tn_ints axes = {0};
    for (int i = 0, left = 0; i < rank; i++)
        if (tn__ints_have(inner, i) || tn__ints_have(outer, left++)) axes.at[axes.count++] = i;
    return axes;
}

static bool join_reduces(tn_rewriter *r, const tn_node_info *n, bool ordered, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], TN_OP_reduce);
    if (!inner) return false;
    const tn_attrs_reduce *a = inner->attrs, *outer = n->attrs;
    if (a->kind != outer->kind || a->acc != outer->acc || finds_position(a->kind)) return false;
    if (depends_on_order(a) != ordered) return false;
    if (inner->out >= r->uses.len || r->uses.data[inner->out] != 1) return false;
    tn_attrs_reduce both = *outer;
    both.axes = joined_axes(&a->axes, &outer->axes, tn__shape_of(r->g, inner->in[0])->rank);
    return tn__becomes(tn_b_node(&r->b, TN_OP_reduce, &inner->in[0], 1, &both), out);
}

/* max(max(x)) = max(x), and the like; only when nothing else needs the inner result */
static bool reduce_reduce(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    return join_reduces(r, n, false, out);
}

/* Σ(Σ(x)) = Σ(x): the order of a float sum changes */
static bool reduce_reduce_float(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    return join_reduces(r, n, true, out);
}

/* ---- reduce of permute ---------------------------------------------------------------------- */

static bool keeps_order(const tn_attrs_reduce *a, const tn_ints *perm) {
    for (int i = 1; i < a->axes.count; i++)
        if (perm->at[a->axes.at[i]] < perm->at[a->axes.at[i - 1]]) return false;
    return true;
}

/* reduce(permute(x)) = permute(reduce(x)): the axes are those of x, the permute is of the rest.
 * Refused when a result that depends on the order of elements would change. */
static bool reduce_permute(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], TN_OP_permute);
    if (!inner) return false;
    const tn_attrs_reduce *a = n->attrs;
    const tn_ints *perm = &((const tn_attrs_permute *)inner->attrs)->perm;
    if (!r->float_unsafe && depends_on_order(a) && !keeps_order(a, perm)) return false;
    if (finds_position(a->kind) && !keeps_order(a, perm)) return false;
    tn_attrs_reduce moved = {.kind = a->kind, .acc = a->acc};
    bool reduced[TN_MAX_RANK] = {false};
    int place[TN_MAX_RANK]; /* of x's axes in the new result */
    for (int i = 0; i < a->axes.count; i++) reduced[perm->at[a->axes.at[i]]] = true;
    for (int i = 0, left = 0; i < perm->count; i++) {
        place[i] = reduced[i] ? -1 : left++;
        if (reduced[i]) moved.axes.at[moved.axes.count++] = i;
    }
    tn_ints rest = {0};
    for (int i = 0; i < perm->count; i++)
        if (!reduced[perm->at[i]]) rest.at[rest.count++] = place[perm->at[i]];
    tn_value y = tn_b_node(&r->b, TN_OP_reduce, &inner->in[0], 1, &moved);
    return tn__becomes(tn__permuted(&r->b, y, &rest), out);
}

static const tn_rewrite rows[] = {
    {"reduce_unit_axes", TN_OP_reduce, reduce_unit_axes, false},
    {"reduce_reduce", TN_OP_reduce, reduce_reduce, false},
    {"reduce_reduce_float", TN_OP_reduce, reduce_reduce_float, true},
    {"reduce_permute", TN_OP_reduce, reduce_permute, false},
};
const tn_rewrite_table tn__rewrites_reduce = {rows, TN_COUNT(rows)};
