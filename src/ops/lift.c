/* Lifting sub-graphs out of a graph. See lift.h. */
#include "ops/lift.h"

static void add_once(const tn_graph *g, tn_value v, tn_value_list *list) {
    for (uint32_t i = 0; i < list->len; i++)
        if (list->data[i] == v) return;
    tn_vec_push(g->arena, list, v);
}

/* Values that depend on in[…], these included. */
static bool *dependent(const tn_graph *g, const tn_value *in, uint32_t n) {
    bool *on = TN_NEW_N(g->arena, bool, g->values.len);
    for (uint32_t i = 0; i < n; i++) on[in[i]] = true;
    for (tn_node p = 0; p < g->nodes.len; p++) {
        const tn_node_info *node = tn_graph_node(g, p);
        bool any = false;
        for (uint32_t i = 0; i < node->in_count; i++) any = any || on[node->in[i]];
        for (uint32_t o = 0; any && o < node->out_count; o++) on[node->out + o] = true;
    }
    return on;
}

/* Values that results need, down to those in `stop`. */
static bool *needed(const tn_graph *g, const bool *stop, const tn_value *result, uint32_t results) {
    bool *need = TN_NEW_N(g->arena, bool, g->values.len);
    for (uint32_t i = 0; i < results; i++) need[result[i]] = true;
    for (tn_node p = g->nodes.len; p-- > 0;) {
        const tn_node_info *node = tn_graph_node(g, p);
        bool any = false;
        for (uint32_t o = 0; o < node->out_count; o++)
            any = any || (need[node->out + o] && !stop[node->out + o]);
        for (uint32_t i = 0; any && i < node->in_count; i++) need[node->in[i]] = true;
    }
    return need;
}

void tn_b_captured(tn_builder *b, const tn_value *in, uint32_t n, const tn_value *result,
                   uint32_t results, tn_value_list *out) {
    const tn_graph *g = b->graph;
    bool *on = dependent(g, in, n), *stop = TN_NEW_N(g->arena, bool, g->values.len);
    for (uint32_t v = 0; v < g->values.len; v++) stop[v] = !on[v];
    for (uint32_t i = 0; i < n; i++) stop[in[i]] = true;
    bool *need = needed(g, stop, result, results);
    for (uint32_t v = 0; v < g->values.len; v++)
        if (need[v] && !on[v]) add_once(g, v, out);
}

tn_graph *tn_b_lift(tn_builder *b, const tn_value *in, uint32_t n, const tn_value *result,
                    uint32_t results) {
    const tn_graph *g = b->graph;
    tn_graph *sub = tn_graph_new_sub(b->graph);
    tn_builder inner = tn_builder_of(sub, b->err);
    tn_value *map = TN_NEW_N(g->arena, tn_value, g->values.len);
    bool *stop = TN_NEW_N(g->arena, bool, g->values.len);
    for (uint32_t i = 0; i < n; i++) {
        const tn_type *type = tn_graph_type(g, in[i]);
        map[in[i]] = tn_b_input(&inner, NULL, type->dtype, &type->shape);
        stop[in[i]] = true;
    }
    bool *need = needed(g, stop, result, results);
    for (tn_node p = 0; p < g->nodes.len && tn_b_ok(&inner); p++) {
        const tn_node_info *node = tn_graph_node(g, p);
        bool any = false;
        for (uint32_t o = 0; o < node->out_count; o++)
            any = any || (need[node->out + o] && !stop[node->out + o]);
        if (any) inner.status = tn_graph_copy_node(sub, g, p, map, NULL, b->err);
    }
    for (uint32_t i = 0; i < results && tn_b_ok(&inner); i++)
        tn_graph_add_output(sub, map[result[i]], NULL);
    if (tn_b_ok(b)) b->status = inner.status;
    return sub;
}
