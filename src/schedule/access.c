/* Evaluating values at indices through inlined producers. See access.h. */
#include "schedule/access.h"

#include "schedule/group.h"

static tn_lx access_operand(tn_emit *e, const tn_node_info *n, uint32_t which, const tn_lx *index) {
    return tn_access_value((tn_access *)e, n->in[which], index);
}

/* For throw-away kernels; makers of real ones set their own. */
static tn_kernel_error access_error(tn_emit *e, const tn_node_info *n) {
    (void)e;
    (void)n;
    return 1;
}

void tn_access_init(tn_access *a, tn_loop *k, const tn_grouping *grouping, tn_arena *arena) {
    *a = (tn_access){.emit = {.k = k,
                              .graph = grouping->graph,
                              .operand = access_operand,
                              .error = access_error},
                     .grouping = grouping,
                     .arena = arena};
}

static const tn_access_memo *memo_find(const tn_access *a, tn_value v, int rank,
                                       const tn_lx *index) {
    for (uint32_t i = a->memo.len; i-- > 0;) {
        const tn_access_memo *m = &a->memo.data[i];
        if (m->value != v || (m->guard != TN_LX_NONE && m->guard != a->emit.guard)) continue;
        if (!rank || !memcmp(m->index, index, (size_t)rank * sizeof *index)) return m;
    }
    return NULL;
}

static void memo_add(tn_access *a, tn_value v, const tn_lx *index, tn_lx guard, tn_lx result) {
    int rank = tn_graph_type(a->emit.graph, v)->shape.rank;
    const tn_lx *kept = tn_arena_dup(a->arena, index, (size_t)rank * sizeof *index);
    tn_vec_push(a->arena, &a->memo, (tn_access_memo){v, guard, result, kept});
}

void tn_access_define(tn_access *a, tn_value v, const tn_lx *index, tn_lx result) {
    memo_add(a, v, index, TN_LX_NONE, result);
}

/* A one-element constant is a number in the text of the kernel. */
static bool access_immediate(tn_access *a, tn_value v, tn_lx *out) {
    tn_array array;
    if (!tn_graph_constant(a->emit.graph, v, &array) || tn_array_count(&array) != 1) return false;
    *out = tn_l_const(a->emit.k, array.dtype, tn_array_get(&array, 0));
    return true;
}

tn_lx tn_access_value(tn_access *a, tn_value v, const tn_lx *index) {
    const tn_graph *g = a->emit.graph;
    const tn_value_info *info = tn_graph_value(g, v);
    int rank = info->type.shape.rank;
    tn_lx at[TN_MAX_RANK];
    for (int i = 0; i < rank; i++) /* a size-1 axis has one index */
        at[i] = info->type.shape.dim[i] == 1 ? tn_l_int(a->emit.k, 0) : index[i];
    const tn_access_memo *known = memo_find(a, v, rank, at);
    if (known) return known->result;
    tn_lx result;
    if (access_immediate(a, v, &result)) return result;
    const tn_node_info *n = tn_graph_node(g, info->node);
    if (a->grouping->inlined[info->node])
        result = tn_op_rules_of(n->op)->lower.expression(&a->emit, n, info->result, at);
    else
        result = a->leaf(a, v, at);
    memo_add(a, v, at, a->emit.guard, result);
    return result;
}
