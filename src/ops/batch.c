/* The batch engine. See batch.h. */
#include "ops/batch.h"

#include "ops/ops_common.h"

tn_batching tn_batching_of(tn_dim size, bool independent) {
    return (tn_batching){.size = size, .independent = independent, .live = TN_NO_VALUE};
}

/* Whether bits are drawn in it, or in one of its sub-graphs. */
static bool draws(const tn_node_info *n) {
    if (n->op == TN_OP_random_bits) return true;
    for (const tn_field *f = tn_op_info_of(n->op)->fields; f->kind != TN_FIELD_END; f++) {
        if (f->kind != TN_FIELD_GRAPH) continue;
        const tn_graph *sub = *(tn_graph *const *)((const char *)n->attrs + f->offset);
        for (tn_node p = 0; p < sub->nodes.len; p++)
            if (draws(tn_graph_node(sub, p))) return true;
    }
    return false;
}

/* Whether the node may differ between the members. */
static bool differs(const tn_node_info *n, const tn_batching *how, const bool *carries) {
    for (uint32_t o = 0; o < n->in_count; o++)
        if (carries[n->in[o]]) return true;
    return how->independent && draws(n);
}

bool *tn_batch_carries(tn_builder *b, const tn_graph *g, const tn_batching *how,
                       const bool *flags) {
    bool *carries = TN_NEW_N(b->graph->arena, bool, g->values.len);
    for (uint32_t i = 0; i < g->inputs.len; i++) carries[g->inputs.data[i]] = flags[i];
    for (tn_node p = 0; p < g->nodes.len; p++) {
        const tn_node_info *n = tn_graph_node(g, p);
        if (n->op == TN_OP_input) continue;
        bool any = differs(n, how, carries);
        for (uint32_t o = 0; o < n->out_count; o++) carries[n->out + o] = any;
    }
    return carries;
}

static void apply_rule(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                       const tn_batching *how, tn_value *map, bool *carries) {
    const tn_op_rules *rules = tn_op_rules_of(n->op);
    tn_value *in = TN_NEW_N(b->graph->arena, tn_value, n->in_count);
    tn_value *out = TN_NEW_N(b->graph->arena, tn_value, n->out_count);
    bool *batched = TN_NEW_N(b->graph->arena, bool, n->in_count);
    for (uint32_t o = 0; o < n->in_count; o++) {
        in[o] = map[n->in[o]];
        batched[o] = carries[n->in[o]];
    }
    if (rules->batch.rule)
        rules->batch.rule(b, g, n, how, in, batched, out);
    else
        tn_b_fail(b, TN_UNSUPPORTED, "%s", rules->batch.refusal);
    for (uint32_t o = 0; o < n->out_count && tn_b_ok(b); o++) {
        int rank = tn_graph_type(g, n->out + o)->shape.rank;
        map[n->out + o] = out[o];
        carries[n->out + o] = tn_b_rank(b, out[o]) > rank;
    }
}

void tn_b_batch_node(tn_builder *b, const tn_graph *g, tn_node p, const tn_batching *how,
                     tn_value *map, bool *carries) {
    const tn_node_info n = *tn_graph_node(g, p); /* a copy: g may be b's and grow under the rule */
    if (n.op == TN_OP_input || !tn_b_ok(b)) return;
    if (!differs(&n, how, carries)) {
        for (uint32_t o = 0; o < n.out_count; o++) carries[n.out + o] = false;
        if (g != b->graph) b->status = tn_graph_copy_node(b->graph, g, p, map, NULL, b->err);
        return;
    }
    const char *outer = b->name;
    if (n.name) b->name = n.name;
    apply_rule(b, g, &n, how, map, carries);
    b->name = outer;
    if (!tn_b_ok(b)) tn_error_push(b->err, "%s for all members", tn_op_info_of(n.op)->name);
}

void tn_b_batch_nodes(tn_builder *b, const tn_graph *g, const tn_batching *how, tn_value *map,
                      bool *carries) {
    for (tn_node p = 0; p < g->nodes.len; p++) tn_b_batch_node(b, g, p, how, map, carries);
}

bool *tn_batch_nodes_behind(const tn_graph *g, const tn_value *y, int count) {
    bool *behind = TN_NEW_N(g->arena, bool, g->nodes.len);
    for (int i = 0; i < count; i++) behind[g->values.data[y[i]].node] = true;
    for (tn_node p = g->nodes.len; p-- > 0;) {
        const tn_node_info *n = tn_graph_node(g, p);
        for (uint32_t i = 0; behind[p] && i < n->in_count; i++)
            behind[g->values.data[n->in[i]].node] = true;
    }
    return behind;
}

void tn_b_batch(tn_builder *b, const tn_batch_inputs *x, const tn_value *y, int count,
                tn_value *out) {
    const tn_graph *g = b->graph;
    const tn_batching how = tn_batching_of(x->size, x->independent);
    uint32_t nodes = g->nodes.len, values = g->values.len;
    tn_value *map = TN_NEW_N(g->arena, tn_value, values);
    bool *carries = TN_NEW_N(g->arena, bool, values);
    bool *behind = tn_batch_nodes_behind(g, y, count);
    for (uint32_t v = 0; v < values; v++) map[v] = v;
    if (x->found) *x->found = carries;
    for (tn_node p = 0; p < nodes; p++) {
        bool given = false;
        for (int i = 0; i < x->count; i++) given = given || g->values.data[x->member[i]].node == p;
        for (int i = 0; given && i < x->count; i++) {
            map[x->member[i]] = x->all[i];
            carries[x->member[i]] = true;
        }
        if (behind[p] && !given) tn_b_batch_node(b, g, p, &how, map, carries);
    }
    for (int i = 0; i < count && tn_b_ok(b); i++) {
        bool once = x->carries && !carries[y[i]];
        out[i] = once ? map[y[i]] : tn_batch_operand(b, map[y[i]], carries[y[i]], x->size);
        if (x->carries) x->carries[i] = !once;
    }
}
