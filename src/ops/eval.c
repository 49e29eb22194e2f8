/* Evaluating nodes and graphs. See eval.h. */
#include "ops/eval.h"

#include "ir/rules.h"

#include <stdio.h>

static tn_status bound_size(const tn_graph *g, tn_dim d, const int64_t *bindings, int64_t *out,
                            tn_error *err) {
    *out = tn_dim_is_const(d) ? d : tn_dim_eval(g->dims, d, bindings);
    if (*out >= 0) return TN_OK;
    return tn_error_set(err, TN_INVALID, "a size is %lld for these symbol values", (long long)*out);
}

static tn_status new_result(const tn_graph *g, tn_value v, const int64_t *bindings, tn_arena *arena,
                            tn_array *out, tn_error *err) {
    const tn_type *type = tn_graph_type(g, v);
    int64_t dim[TN_MAX_RANK];
    for (int i = 0; i < type->shape.rank; i++)
        TN_CHECK(bound_size(g, type->shape.dim[i], bindings, &dim[i], err));
    *out = tn_array_new(arena, type->dtype, type->shape.rank, dim);
    return TN_OK;
}

static void push_frame(const tn_node_info *n, tn_error *err) {
    const char *op = tn_op_info_of(n->op)->name;
    if (n->name)
        tn_error_push(err, "while evaluating %s '%s'", op, n->name);
    else
        tn_error_push(err, "while evaluating %s", op);
}

tn_status tn_eval_node(const tn_graph *g, tn_node node, const tn_array *in, tn_array *out,
                       const int64_t *bindings, tn_arena *arena, tn_error *err) {
    const tn_node_info *n = tn_graph_node(g, node);
    if (n->op == TN_OP_constant && tn_graph_constant(g, n->out, out)) return TN_OK;
    tn_eval_call e = {
        .graph = g, .node = n, .bindings = bindings, .arena = arena, .in = in, .out = out};
    tn_status status = TN_OK;
    for (uint32_t i = 0; i < n->out_count && status == TN_OK; i++)
        status = new_result(g, n->out + i, bindings, arena, &out[i], err);
    if (status == TN_OK) status = tn_op_rules_of(n->op)->eval(&e, err);
    if (status != TN_OK) push_frame(n, err);
    return status;
}

tn_status tn_eval_check_array(const tn_graph *g, const tn_array *a, const tn_type *type,
                              const int64_t *bindings, const char *what, tn_error *err) {
    if (a->dtype != type->dtype)
        return tn_error_set(err, TN_INVALID, "%s has type %s; expected %s", what,
                            tn_dtype_name(a->dtype), tn_dtype_name(type->dtype));
    if (a->rank != type->shape.rank)
        return tn_error_set(err, TN_INVALID, "%s has %d axes; expected %d", what, a->rank,
                            type->shape.rank);
    for (int i = 0; i < a->rank; i++) {
        int64_t expected;
        TN_CHECK(bound_size(g, type->shape.dim[i], bindings, &expected, err));
        if (a->dim[i] != expected)
            return tn_error_set(err, TN_INVALID, "axis %d of %s has size %lld; expected %lld", i,
                                what, (long long)a->dim[i], (long long)expected);
    }
    return TN_OK;
}

static tn_status take_input(const tn_graph *g, tn_value v, const tn_array *inputs, uint32_t at,
                            const int64_t *bindings, tn_array *out, tn_error *err) {
    const tn_value_info *info = tn_graph_value(g, v);
    char what[120];
    if (info->name)
        snprintf(what, sizeof what, "input %u ('%s')", at, info->name);
    else
        snprintf(what, sizeof what, "input %u", at);
    TN_CHECK(tn_eval_check_array(g, &inputs[at], &info->type, bindings, what, err));
    *out = inputs[at];
    return TN_OK;
}

/* Bindings that nodes of the graph may add to; `bindings` itself where none does. */
static int64_t *own_bindings(const tn_graph *g, const int64_t *bindings, tn_arena *arena) {
    bool binds = false;
    for (tn_node i = 0; i < g->nodes.len && !binds; i++)
        binds = tn_graph_node(g, i)->op == TN_OP_bind_size;
    if (!binds) return NULL;
    int64_t *own = TN_NEW_N(arena, int64_t, g->dims->symbols.len);
    if (bindings) memcpy(own, bindings, g->dims->symbols.len * sizeof *own);
    return own;
}

static void bind_size(const tn_graph *g, const tn_node_info *n, const tn_array *result,
                      int64_t *bindings) {
    const tn_attrs_bind_size *a = n->attrs;
    uint32_t symbol;
    if (n->op == TN_OP_bind_size && tn_dim_is_symbol(g->dims, a->size, &symbol))
        bindings[symbol] = tn_array_get(result, 0).i;
}

tn_status tn_eval_graph_watched(const tn_graph *g, const tn_array *inputs, const int64_t *bindings,
                                tn_array *outputs, tn_arena *arena, const tn_eval_watch *watch,
                                tn_error *err) {
    tn_array *value = TN_NEW_N(arena, tn_array, g->values.len);
    uint32_t next_input = 0, most = 0;
    int64_t *own = own_bindings(g, bindings, arena);
    if (own) bindings = own;
    for (tn_node i = 0; i < g->nodes.len; i++) most = TN_MAX(most, tn_graph_node(g, i)->in_count);
    tn_array *in = TN_NEW_N(arena, tn_array, most);
    for (tn_node i = 0; i < g->nodes.len; i++) {
        const tn_node_info *n = tn_graph_node(g, i);
        tn_array *out = &value[n->out];
        if (n->op == TN_OP_input) {
            TN_CHECK(take_input(g, n->out, inputs, next_input++, bindings, out, err));
        } else {
            for (uint32_t k = 0; k < n->in_count; k++) in[k] = value[n->in[k]];
            TN_CHECK(tn_eval_node(g, i, in, out, bindings, arena, err));
            if (own) bind_size(g, n, out, own);
        }
        if (watch) TN_CHECK(watch->node(watch->context, g, i, out, err));
    }
    for (uint32_t i = 0; i < g->outputs.len; i++) outputs[i] = value[g->outputs.data[i].value];
    return TN_OK;
}

tn_status tn_eval_graph(const tn_graph *g, const tn_array *inputs, const int64_t *bindings,
                        tn_array *outputs, tn_arena *arena, tn_error *err) {
    return tn_eval_graph_watched(g, inputs, bindings, outputs, arena, NULL, err);
}
