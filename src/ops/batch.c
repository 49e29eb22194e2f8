/* The batch engine. See batch.h. */
#include "ops/batch.h"

#include "ops/ops_common.h"

void tn_b_batch_node(tn_builder *b, const tn_graph *g, tn_node p, tn_dim size, tn_value *map,
                     bool *carries) {
    const tn_node_info n = *tn_graph_node(g, p); /* a copy: g may be b's and grow under the rule */
    if (n.op == TN_OP_input || !tn_b_ok(b)) return;
    tn_value *in = TN_NEW_N(b->graph->arena, tn_value, n.in_count);
    tn_value *out = TN_NEW_N(b->graph->arena, tn_value, n.out_count);
    bool *batched = TN_NEW_N(b->graph->arena, bool, n.in_count), any = false;
    for (uint32_t o = 0; o < n.in_count; o++) {
        in[o] = map[n.in[o]];
        batched[o] = carries[n.in[o]];
        any = any || batched[o];
    }
    const tn_op_rules *rules = tn_op_rules_of(n.op);
    for (uint32_t o = 0; o < n.out_count; o++) carries[n.out + o] = any;
    if (!any) {
        if (g != b->graph) b->status = tn_graph_copy_node(b->graph, g, p, map, NULL, b->err);
        return;
    }
    if (rules->batch.rule)
        rules->batch.rule(b, g, &n, size, in, batched, out);
    else
        tn_b_fail(b, TN_UNSUPPORTED, "%s cannot be batched: %s", tn_op_info_of(n.op)->name,
                  rules->batch.refusal);
    for (uint32_t o = 0; o < n.out_count && tn_b_ok(b); o++) map[n.out + o] = out[o];
}

/* The nodes that the results are computed by. */
static bool *nodes_behind(const tn_graph *g, const tn_value *y, int count) {
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
    uint32_t nodes = g->nodes.len, values = g->values.len;
    tn_value *map = TN_NEW_N(g->arena, tn_value, values);
    bool *carries = TN_NEW_N(g->arena, bool, values), *behind = nodes_behind(g, y, count);
    for (uint32_t v = 0; v < values; v++) map[v] = v;
    for (tn_node p = 0; p < nodes; p++) {
        bool given = false;
        for (int i = 0; i < x->count; i++) given = given || g->values.data[x->member[i]].node == p;
        for (int i = 0; given && i < x->count; i++) {
            map[x->member[i]] = x->all[i];
            carries[x->member[i]] = true;
        }
        if (behind[p] && !given) tn_b_batch_node(b, g, p, x->size, map, carries);
    }
    for (int i = 0; i < count && tn_b_ok(b); i++) {
        bool once = x->carries && !carries[y[i]];
        out[i] = once ? y[i] : tn_batch_operand(b, map[y[i]], carries[y[i]], x->size);
        if (x->carries) x->carries[i] = !once;
    }
}
