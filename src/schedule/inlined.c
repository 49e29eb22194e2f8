/* What is inlined: recomputed inside whoever reads it, as views always are and pointwise work is for one
 * reader. */
#include "schedule/group_inner.h"

enum {
    MOST_TESTED = 32
}; /* operands of a concat whose reader tests for each element in which it lies */

/* Moves elements only. A barrier is one whose operand is not recomputed (see find_readers). */
static bool is_view(const tn_graph *g, tn_node n) {
    const tn_lower *l = tn__lower_of(g, n);
    return l->kind == TN_LOWER_EXPRESSION && (l->view || g->nodes.data[n].op == TN_OP_barrier);
}

typedef tn__reader reader;

/* Readers of every value, looking through views; from the last node to the first. */
static const reader *find_readers(const tn_grouping *p) {
    const tn_graph *g = p->graph;
    reader *r = TN_NEW_N(p->arena, reader, g->values.len);
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        reader *of = &r[g->outputs.data[i].value];
        of->count += 2; /* must be stored: never single-use */
        of->node = TN_NO_NODE;
    }
    for (tn_node n = g->nodes.len; n-- > 0;) {
        const tn_node_info *info = tn_graph_node(g, n);
        bool view = is_view(g, n), pointwise = tn__lower_of(g, n)->kind == TN_LOWER_EXPRESSION;
        const reader *out = &r[info->out];
        for (uint32_t i = 0; i < tn__operands_read(info); i++) {
            reader *in = &r[info->in[i]];
            bool product = tn__lower_of(g, n)->kind == TN_LOWER_CONTRACTION;
            in->weight |= product || (p->constant[n] && out->weight);
            in->mainloop |= product || (pointwise && out->mainloop);
            if (!view) {
                *in = (reader){in->count + 1,          n,          i,           false,
                               in->product || product, in->weight, in->mainloop};
                continue;
            }
            in->product |= out->product;
            bool wider = info->op == TN_OP_broadcast &&
                         tn_shape_count(g->dims, &tn_graph_type(g, info->out)->shape) !=
                             tn_shape_count(g->dims, &tn_node_type(g, info, 0)->shape);
            in->repeated = out->repeated || wider;
            in->count += out->count + (info->op == TN_OP_barrier ? 2 : 0);
            in->node = out->node;
            in->which = out->which;
        }
    }
    return r;
}

static bool inline_into(const tn_graph *g, const reader *r) {
    if (r->count != 1 || r->repeated) return false;
    const tn_node_info *user = tn_graph_node(g, r->node);
    switch (tn__lower_of(g, r->node)->kind) {
    case TN_LOWER_EXPRESSION:
        /* what is indexed by data may be read any number of times */
        return !(user->op == TN_OP_gather && r->which == 0);
    case TN_LOWER_FOLD:
        return user->op == TN_OP_reduce;
    default:
        return false;
    }
}

/* A gather that only another one reads, which then looks up both indices; or that is stored in another
 * order of its axes. */
static bool is_looked_through(const tn_graph *g, tn_node n, const reader *r) {
    const tn_node_info *info = tn_graph_node(g, n);
    if (info->op != TN_OP_gather || r->repeated) return false;
    if (r->node != TN_NO_NODE)
        return r->count == 1 && tn_graph_node(g, r->node)->op == TN_OP_gather && r->which == 0;
    for (uint32_t i = 0; i < g->outputs.len; i++)
        if (g->outputs.data[i].value == info->out) return false;
    return r->count == 2;
}

/* Padding by at most one before, of what is in memory as it is read. */
static bool is_thin_pad(const tn_grouping *p, tn_node n) {
    const tn_node_info *info = tn_graph_node(p->graph, n);
    if (info->op != TN_OP_pad || p->inlined[tn_graph_value(p->graph, info->in[0])->node])
        return false;
    const tn_attrs_pad *a = info->attrs;
    for (int i = 0; i < a->lo.count; i++) {
        int64_t lo, hi;
        if (!tn_dim_const_value(p->graph->dims, a->lo.at[i], &lo) || lo < 0 || lo > 1 ||
            !tn_dim_const_value(p->graph->dims, a->hi.at[i], &hi) || hi < 0 || a->interior.at[i])
            return false;
    }
    return true;
}

/* Whether `v` is in memory, perhaps under another shape. */
static bool is_in_memory(const tn_grouping *p, tn_value v) {
    const tn_node_info *n = tn_graph_producer(p->graph, v);
    while (n->op == TN_OP_reshape) {
        v = n->in[0];
        n = tn_graph_producer(p->graph, v);
    }
    return !p->inlined[tn_graph_value(p->graph, v)->node];
}

/* A permute of what is in memory, on its way into one product as the left operand. */
static bool is_turned(const tn_grouping *p, tn_node n, const reader *r) {
    const tn_node_info *info = tn_graph_node(p->graph, n);
    return info->op == TN_OP_permute && r->product && r->count == 1 && r->which == 0 &&
           is_in_memory(p, info->in[0]) && tn_schedule_turns_lhs(p, n, r->node);
}

/* Bytes in memory that `v` is made from. */
static double stored_bytes(const tn_grouping *p, tn_value v) {
    const tn_graph *g = p->graph;
    const tn_type *type = tn_graph_type(g, v);
    const tn_node_info *n = tn_graph_producer(g, v);
    double bytes = 0;
    if (!p->inlined[tn_graph_value(g, v)->node] || n->in_count == 0)
        return (double)tn_shape_const_count(&type->shape) * tn_dtype_bits(type->dtype) / 8;
    for (uint32_t i = 0; i < n->in_count; i++) bytes += stored_bytes(p, n->in[i]);
    return bytes;
}

/* Constants on their way into a product that take more memory converted than stored: the kernel reads
 * them as they are stored (codegen/contraction_weights.c). */
bool tn__is_stored_weight(const tn_grouping *p, tn_node n) {
    const tn_node_info *info = tn_graph_node(p->graph, n);
    double stored = 0;
    if (!p->constant[n] || !p->readers[info->out].weight || tn__lower_of(p->graph, n)->view)
        return false;
    for (uint32_t i = 0; i < info->in_count; i++) stored += stored_bytes(p, info->in[i]);
    const tn_type *type = tn_graph_type(p->graph, info->out);
    return (double)tn_shape_const_count(&type->shape) * tn_dtype_bits(type->dtype) / 8 >
           1.5 * stored;
}

/* A contraction reads its operands many times, in place: what would put a test on every element
 * (padding, concatenation) is made in memory first. A filter by tiles tests once per tile and row. */
static bool is_inlined(const tn_grouping *p, tn_node n, const reader *r) {
    const tn_graph *g = p->graph;
    tn_op op = g->nodes.data[n].op;
    if (tn__is_stored_weight(p, n)) return true;
    if (op == TN_OP_random_bits && r->mainloop) return false; /* a hundred operations an element */
    if (op == TN_OP_concat && tn_graph_node(g, n)->in_count > MOST_TESTED) return false;
    if (r->product && (op == TN_OP_pad || op == TN_OP_concat))
        return r->count == 1 && r->which == 0 && is_thin_pad(p, n) &&
               tn_graph_node(g, r->node)->in[0] == tn_graph_node(g, n)->out &&
               tn_schedule_winograd_side(p, r->node) != 0;
    if (is_turned(p, n, r)) return false;
    return is_view(g, n) || inline_into(g, r) || is_looked_through(g, n, r);
}

static void find_steady(tn_grouping *p) {
    const tn_graph *g = p->graph;
    for (uint32_t i = 0; p->loop && i < g->inputs.len; i++)
        p->steady[tn_graph_value(g, g->inputs.data[i])->node] = i >= p->loop->invariants;
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        bool steady = p->loop && p->inlined[n] && info->in_count > 0;
        for (uint32_t i = 0; i < info->in_count; i++)
            steady &= p->steady[tn_graph_value(g, info->in[i])->node];
        p->steady[n] |= steady || p->constant[n];
    }
}

static void find_prepared(tn_grouping *p) {
    const tn_graph *g = p->graph;
    for (uint32_t i = 0; p->loop && p->loop->slices && i < g->inputs.len; i++)
        p->prepared[tn_graph_value(g, g->inputs.data[i])->node] = p->loop->slices[i];
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        bool view = p->fuse && info->in_count == 1 && is_view(g, n) &&
                    tn_shape_is_const(&tn_graph_type(g, info->out)->shape);
        p->prepared[n] |=
            p->constant[n] || (view && p->prepared[tn_graph_value(g, info->in[0])->node]);
    }
}

void tn__find_inlined(tn_grouping *p) {
    const tn_graph *g = p->graph;
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        const tn_lower *l = tn__lower_of(g, n);
        bool constant =
            info->op == TN_OP_constant || (info->in_count > 0 && l->kind != TN_LOWER_CONTROL);
        for (uint32_t i = 0; i < info->in_count; i++)
            constant &= p->constant[g->values.data[info->in[i]].node];
        for (uint32_t i = 0; i < info->out_count; i++) /* `prepare` knows no sizes */
            constant &= tn_shape_is_const(&tn_graph_type(g, info->out + i)->shape);
        p->constant[n] = constant;
    }
    find_prepared(p);
    p->readers = find_readers(p);
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        const tn_lower *l = tn__lower_of(g, n);
        if (l->kind != TN_LOWER_EXPRESSION) continue;
        if (info->in_count == 0)
            p->inlined[n] = true; /* iota */
        else if (p->fuse)
            p->inlined[n] =
                tn__chosen(p, n, TN__RECOMPUTED) || is_inlined(p, n, &p->readers[info->out]);
    }
    find_steady(p);
}
