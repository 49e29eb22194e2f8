/* The graph behind tensors, copied out of the recording. See lazy.h. */
#include "nn/lazy.h"

typedef struct copy {
    tn_context *c;
    tn_tensor *const *x;
    int count;
    tn_arena *arena;
    tn_graph *to;
} copy;

static tn_value copy_leaf(tn_builder *b, const copy *k, tn_value v) {
    const tn__storage *s = tn__leaf_storage(k->c, v);
    const tn_type *t = tn_graph_type(k->c->recording->graph, v);
    const char *name = s->abstract ? tn_arena_strdup(k->arena, s->abstract)
                                   : tn_arena_printf(k->arena, "x%u", k->to->inputs.len);
    return tn_b_input(b, name, t->dtype, &t->shape);
}

static tn_status copy_needed(void *argument, tn_error *err) {
    copy *k = argument;
    const tn_graph *g = k->c->recording->graph;
    tn_value *result = TN_NEW_N(k->arena, tn_value, k->count);
    for (int i = 0; i < k->count; i++) result[i] = tn__recorded(k->c, k->x[i]);
    bool *needed = TN_NEW_N(k->arena, bool, g->nodes.len);
    tn_value *map = TN_NEW_N(k->arena, tn_value, g->values.len);
    for (int i = 0; i < k->count; i++) needed[g->values.data[result[i]].node] = true;
    for (tn_node n = g->nodes.len; n-- > 0;) {
        const tn_node_info *node = tn_graph_node(g, n);
        for (uint32_t i = 0; needed[n] && i < node->in_count; i++)
            needed[g->values.data[node->in[i]].node] = true;
    }
    tn_dims *dims = TN_NEW(k->arena, tn_dims);
    tn_dims_init(dims, k->arena);
    k->to = tn_graph_new(k->arena, dims);
    tn_builder b = tn_builder_of(k->to, err);
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *node = tn_graph_node(g, n);
        if (!needed[n]) continue;
        if (node->op == TN_OP_input)
            map[node->out] = copy_leaf(&b, k, node->out);
        else
            TN_CHECK(tn_graph_copy_node(k->to, g, n, map, NULL, err));
    }
    for (int i = 0; i < k->count; i++)
        tn_graph_add_output(k->to, map[result[i]], tn_arena_printf(k->arena, "y%d", i));
    return tn_b_finish(&b);
}

tn_status tn__graph_of(tn_tensor *const *x, int count, tn_arena *arena, tn_graph **out,
                       tn_error *err) {
    *out = NULL;
    copy k = {.c = tn_tensor_context(x[0]), .x = x, .count = count, .arena = arena};
    if (!k.c) return tn_error_set(err, TN_INVALID, "the tensor is NULL: an earlier call failed");
    pthread_mutex_lock(&k.c->lock);
    tn_status status = k.c->error.status;
    if (status != TN_OK && err) *err = k.c->error;
    for (int i = 0; i < count && status == TN_OK; i++)
        if (!tn__tensor_is_ok(x[i]) || x[i]->context != k.c)
            status = tn_error_set(err, TN_INVALID, "tensor %d failed, or is of another context", i);
    if (status == TN_OK) status = tn_guard(copy_needed, &k, err);
    pthread_mutex_unlock(&k.c->lock);
    if (status == TN_OK) *out = k.to;
    return status;
}
