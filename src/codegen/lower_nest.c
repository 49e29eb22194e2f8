/* Operations with loops of their own (sort, scatter, cumulative …): their rule writes the task's
 * body, operands come through the access engine, results go straight to memory. */
#include "codegen/lower.h"

static tn_lx nest_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    return tn_maker_load(a->context, v, index);
}

static void nest_store(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index,
                       tn_lx value) {
    tn_kernel_maker *m = (tn_kernel_maker *)e;
    tn_maker_store(m, n->out + result, index, value);
    m->access.memo.len = 0; /* nothing read before may be taken as still true */
}

static tn_lx nest_result(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index) {
    tn_kernel_maker *m = (tn_kernel_maker *)e;
    tn_value v = n->out + result;
    uint32_t buffer = tn_maker_buffer(m, v, TN_LBUF_OUTPUT);
    return tn_l_load(m->k, buffer, tn_maker_offset(m, v, index), TN_LX_NONE, TN_LX_NONE);
}

/* The rule opens and closes blocks as it likes, so nothing that was emitted in an inner block may
 * be remembered: operands are looked up afresh each time. */
static tn_lx nest_operand(tn_emit *e, const tn_node_info *n, uint32_t which, const tn_lx *index) {
    tn_access *a = (tn_access *)e;
    a->memo.len = 0;
    return tn_access_value(a, n->in[which], index);
}

void tn_lower_nest(const tn_lower_context *c, uint32_t group, tn_lowered *out) {
    tn_kernel_maker m;
    tn_maker_init(&m, c, group, "nest");
    tn_emit *e = &m.access.emit;
    e->vector_bytes = (uint32_t)c->target->vector_bytes;
    e->operand = nest_operand;
    e->store = nest_store;
    e->result = nest_result;
    m.access.leaf = nest_leaf;
    const tn_node_info *n = tn_graph_node(c->grouping->graph, m.group->anchor);
    const tn_nest_rules *rules = tn_op_rules_of(n->op)->lower.nest;
    out->schedule = (tn_schedule){.lanes = 1};
    m.k->tasks = rules->tasks(e, n);
    rules->body(e, n, tn_l_task(m.k));
    out->kernel = m.k;
}
