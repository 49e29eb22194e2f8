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

/* Whether element i of integers is the first one + i * step. */
static bool is_progression(const tn_array *array, int64_t *step) {
    int64_t count = tn_array_count(array), first = tn_array_get(array, 0).i;
    if (__builtin_sub_overflow(tn_array_get(array, 1).i, first, step)) return false;
    if (first > INT32_MAX || first < INT32_MIN || *step > INT32_MAX || *step < INT32_MIN)
        return false;
    for (int64_t i = 2; i < count; i++)
        if (i > INT32_MAX || tn_array_get(array, i).i != first + i * *step) return false;
    return true;
}

/* A one-element constant is a number in the text of the kernel, a row of evenly spaced indices (what
 * exports make of Range) an expression of its index. */
static bool access_immediate(tn_access *a, tn_value v, const tn_lx *index, tn_lx *out) {
    tn_array array;
    tn_loop *k = a->emit.k;
    if (!tn_graph_constant(a->emit.graph, v, &array)) return false;
    int64_t count = tn_array_count(&array), step;
    int axis = 0;
    if (count == 1) {
        *out = tn_l_const(k, array.dtype, tn_array_get(&array, 0));
        return true;
    }
    while (axis < array.rank && array.dim[axis] == 1) axis++;
    if (array.dtype != TN_i64 || count == 0 || axis == array.rank || array.dim[axis] != count ||
        !is_progression(&array, &step))
        return false;
    *out = tn_l_add(k, tn_l_int(k, tn_array_get(&array, 0).i),
                    tn_l_mul(k, index[axis], tn_l_int(k, step)));
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
    if (access_immediate(a, v, at, &result)) return result;
    const tn_node_info *n = tn_graph_node(g, info->node);
    if (a->grouping->inlined[info->node])
        result = tn_op_rules_of(n->op)->lower.expression(&a->emit, n, info->result, at);
    else
        result = a->leaf(a, v, at);
    memo_add(a, v, at, a->emit.guard, result);
    return result;
}
