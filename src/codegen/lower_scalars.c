/* Scalars that a group over more elements stores (tn_group.scalars): by the task with number 0, behind its
 * share of the elements, in whatever way these were lowered.
 *
 * All tasks may read what a scalar is made from, so it takes over the memory of an input only if nothing
 * but its own block reads that (tn_may_take_over). */
#include "codegen/lower.h"

static tn_lx scalar_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    tn_kernel_maker *m = a->context;
    tn_node node = tn_graph_value(m->graph, v)->node;
    if (m->grouping->group_of[node] != m->group_id) return tn_maker_load(m, v, index);
    const tn_node_info *n = tn_graph_node(m->graph, node);
    return tn_op_rules_of(n->op)->lower.expression(&a->emit, n, 0, index);
}

void tn_lower_scalars(const tn_lower_context *c, uint32_t group, tn_lowered *out) {
    const tn_group *g = &c->grouping->groups.data[group];
    tn_kernel_maker m;
    if (g->scalars.len == 0) return;
    tn_maker_init_behind(&m, c, group, out->kernel);
    m.access.leaf = scalar_leaf;
    m.access.context = &m;
    tn_lx index[TN_MAX_RANK];
    for (int i = 0; i < TN_MAX_RANK; i++) index[i] = tn_l_int(m.k, 0);
    tn_l_if(m.k, tn_l_lt(m.k, tn_l_task(m.k), tn_l_int(m.k, 1)));
    for (uint32_t i = 0; i < g->scalars.len; i++) {
        tn_value v = g->scalars.data[i];
        tn_maker_store(&m, v, index, tn_access_value(&m.access, v, index));
    }
    tn_l_end(m.k);
}
