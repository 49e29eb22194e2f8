/* What sizes must fulfil beyond the bounds of their symbols. See program.h.
 *
 * Inference proves that slices stay inside of their input, and refuses a top_k that no size fits.
 * Where some sizes have as many elements as it takes and others do not, the program asks: of the
 * main graph before it runs, of a body when it is entered. */
#include "plan/assemble_inner.h"

static void demand(tn__assembler *a, const tn_graph *g, const tn_node_info *n, tn_prog_demand d) {
    if (tn_dim_lo(g->dims, d.room) >= 0 || tn_dim_hi(g->dims, d.size) <= 0) return;
    const char *op = tn_op_info_of(n->op)->name;
    d.node = tn_arena_printf(a->arena, "%s '%s'", op, n->name ? n->name : "");
    tn_vec_push(a->arena, &a->p->demands, d);
}

void tn__assemble_demands(tn__assembler *a, const tn_graph *g, uint32_t block) {
    for (tn_node i = 0; i < g->nodes.len; i++) {
        const tn_node_info *n = tn_graph_node(g, i);
        if (n->op != TN_OP_top_k) continue;
        const tn_attrs_top_k *k = n->attrs;
        tn_dim size = tn_graph_type(g, n->in[0])->shape.dim[k->axis];
        tn_dim room = tn_dim_sub(g->dims, size, k->k);
        demand(a, g, n, (tn_prog_demand){.block = block, .size = k->k, .room = room});
    }
}
