/* Which sizes a node is made of, and which of them the graph itself binds. See graph.h. */
#include "ir/graph.h"

static void mark_all(const tn_dims *t, const tn_dim *dim, int count, bool *used) {
    for (int i = 0; i < count; i++) tn_dim_mark_symbols(t, dim[i], used);
}

static void mark_attrs(const tn_graph *g, const tn_node_info *n, bool *used) {
    for (const tn_field *f = tn_op_info_of(n->op)->fields; f->kind != TN_FIELD_END; f++) {
        const void *at = (const char *)n->attrs + f->offset;
        const tn_dim_list *list = at;
        const tn_shape *shape = at;
        if (f->kind == TN_FIELD_DIM) mark_all(g->dims, at, 1, used);
        if (f->kind == TN_FIELD_DIMS) mark_all(g->dims, list->at, list->count, used);
        if (f->kind == TN_FIELD_SHAPE) mark_all(g->dims, shape->dim, shape->rank, used);
        if (f->kind != TN_FIELD_GRAPH) continue;
        const tn_graph *sub = *(tn_graph *const *)at;
        for (tn_node i = 0; i < sub->nodes.len; i++)
            tn_graph_mark_symbols(sub, tn_graph_node(sub, i), used);
    }
}

void tn_graph_mark_symbols(const tn_graph *g, const tn_node_info *n, bool *used) {
    for (uint32_t i = 0; i < n->out_count; i++) {
        const tn_shape *shape = &tn_graph_type(g, n->out + i)->shape;
        mark_all(g->dims, shape->dim, shape->rank, used);
    }
    mark_attrs(g, n, used);
}

uint32_t *tn_graph_bound_sizes(const tn_graph *g, tn_arena *arena) {
    uint32_t *bound = NULL, symbol;
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *node = tn_graph_node(g, n);
        if (node->op != TN_OP_bind_size) continue;
        if (!bound) bound = TN_NEW_N(arena, uint32_t, g->dims->symbols.len);
        const tn_attrs_bind_size *a = node->attrs;
        if (tn_dim_is_symbol(g->dims, a->size, &symbol) && !bound[symbol]) bound[symbol] = n + 1;
    }
    return bound;
}
