/* What sizes must fulfil beyond the bounds of their symbols. See program.h.
 *
 * Inference proves that slices stay inside of their input, and refuses a top_k that no size fits; where some
 * sizes have as many elements as it takes and others do not, the program asks before it runs. Whatever a body does, its nodes count as those of the graph around it. */
#include "plan/assemble_inner.h"

static void demand(tn__assembler *a, const tn_graph *g, const tn_node_info *n, tn_dim size,
                   tn_dim room) {
    if (tn_dim_lo(g->dims, room) >= 0 || tn_dim_hi(g->dims, size) <= 0) return;
    for (uint32_t i = 0; i < a->p->demands.len; i++)
        if (a->p->demands.data[i].size == size && a->p->demands.data[i].room == room) return;
    const char *node =
        tn_arena_printf(a->arena, "%s '%s'", tn_op_info_of(n->op)->name, n->name ? n->name : "");
    tn_vec_push(a->arena, &a->p->demands, ((tn_prog_demand){size, room, node}));
}

static void demand_top_k(tn__assembler *a, const tn_graph *g, const tn_node_info *n) {
    const tn_attrs_top_k *k = n->attrs;
    tn_dim size = tn_graph_type(g, n->in[0])->shape.dim[k->axis];
    demand(a, g, n, k->k, tn_dim_sub(g->dims, size, k->k));
}

void tn__assemble_demands(tn__assembler *a, const tn_graph *g) {
    for (tn_node i = 0; i < g->nodes.len; i++) {
        const tn_node_info *n = tn_graph_node(g, i);
        if (n->op == TN_OP_top_k) demand_top_k(a, g, n);
        for (const tn_field *f = tn_op_info_of(n->op)->fields; f->kind != TN_FIELD_END; f++)
            if (f->kind == TN_FIELD_GRAPH)
                tn__assemble_demands(a, *(tn_graph *const *)((const char *)n->attrs + f->offset));
    }
}
