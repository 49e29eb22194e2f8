/* Reshapes move towards the outputs, so that pointwise work runs on the shape its producer has and
 * joins its kernel: x·W + b of a flattened batch, and the residual added after it. */
#include "transform/match.h"

/* The reshape between two shapes touches axes [lead, rank - trail) only. */
typedef struct touched {
    const tn_shape *from, *to;
    int lead, trail;
} touched;

static touched touched_axes(const tn_shape *from, const tn_shape *to) {
    touched t = {from, to, 0, 0};
    int least = TN_MIN(from->rank, to->rank);
    while (t.lead < least && from->dim[t.lead] == to->dim[t.lead]) t.lead++;
    while (t.trail < least - t.lead &&
           from->dim[from->rank - 1 - t.trail] == to->dim[to->rank - 1 - t.trail])
        t.trail++;
    return t;
}

/* A reshape that merges a grouped convolution's result (behind a permute) stays: the kernel stores
 * through it. */
static const tn_node_info *movable_reshape(const tn_graph *g, tn_value v) {
    const tn_node_info *n = tn__made_by(g, v, TN_OP_reshape);
    const tn_node_info *inner = n ? tn__made_by(g, n->in[0], TN_OP_permute) : NULL;
    return inner && tn__merges_groups(g, inner) ? NULL : n;
}

/* The operand as it is before the reshape: its source, or a broadcast that runs only along axes
 * that the reshape leaves alone. NO_VALUE when there is none; nothing is built unless `build`. */
static tn_value before_reshape(tn_rewriter *r, tn_value v, const touched *t, bool build) {
    const tn_node_info *n = movable_reshape(r->g, v);
    if (n) return tn_shape_equal(tn__shape_of(r->g, n->in[0]), t->from) ? n->in[0] : TN_NO_VALUE;
    n = tn__made_by(r->g, v, TN_OP_broadcast);
    if (!n) return TN_NO_VALUE;
    tn_ints axes = ((const tn_attrs_broadcast *)n->attrs)->axes;
    tn_value x = n->in[0];
    for (int i = 0; i < axes.count; i++) {
        if (axes.at[i] < t->lead) continue;
        if (axes.at[i] < t->to->rank - t->trail) return TN_NO_VALUE;
        axes.at[i] += t->from->rank - t->to->rank;
    }
    return build ? tn__broadcast(&r->b, x, t->from, &axes) : x;
}

/* f(reshape(x), reshape(y), broadcast(z)) = reshape(f(x, y, broadcast(z))) */
static bool sink_elementwise(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    if (!tn__is_elementwise(n->op)) return false;
    tn_shape from = {0}, to = *tn__shape_of(r->g, n->out);
    bool found = false;
    for (uint32_t i = 0; i < n->in_count && !found; i++) {
        const tn_node_info *source = movable_reshape(r->g, n->in[i]);
        if (source) from = *tn__shape_of(r->g, source->in[0]);
        found = source != NULL;
    }
    if (!found) return false;
    touched t = touched_axes(&from, &to);
    tn_value in[3];
    for (uint32_t i = 0; i < n->in_count; i++)
        if (before_reshape(r, n->in[i], &t, false) == TN_NO_VALUE) return false;
    for (uint32_t i = 0; i < n->in_count; i++) in[i] = before_reshape(r, n->in[i], &t, true);
    *out = tn_b_reshape(&r->b, tn_b_node(&r->b, n->op, in, n->in_count, n->attrs), &to);
    return tn_b_ok(&r->b);
}

/* dot(reshape(x), w) = reshape(dot(x, w)) when the reshape only merges or splits leading free axes */
static bool sink_dot(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *source = tn__made_by(r->g, n->in[0], TN_OP_reshape);
    tn_attrs_dot a = *(const tn_attrs_dot *)n->attrs;
    if (!source || a.lhs_batch.count || a.lhs_contract.count != 1) return false;
    tn_shape from = *tn__shape_of(r->g, source->in[0]), to = *tn__shape_of(r->g, n->in[0]);
    tn_shape result = *tn__shape_of(r->g, n->out);
    touched t = touched_axes(&from, &to);
    if (from.rank <= to.rank || t.trail < 1 || a.lhs_contract.at[0] < to.rank - t.trail)
        return false;
    a.lhs_contract.at[0] += from.rank - to.rank;
    if (from.rank - 1 + result.rank - (to.rank - 1) > TN_MAX_RANK) return false;
    tn_value in[] = {source->in[0], n->in[1]};
    *out = tn_b_reshape(&r->b, tn_b_node(&r->b, TN_OP_dot, in, 2, &a), &result);
    return tn_b_ok(&r->b);
}

static const tn_rewrite rows[] = {
    {"reshape_sink_elementwise", TN_OP_COUNT, sink_elementwise, false},
    {"reshape_sink_dot", TN_OP_dot, sink_dot, false},
};
const tn_rewrite_table tn__rewrites_reshape = {rows, TN_COUNT(rows)};
