/* Gradients of lazy tensors. See tenon/tensor.h. */
#include <stdlib.h>

#include "nn/tensor_inner.h"
#include "ops/gradient.h"

typedef struct grad_args {
    tn_context *c;
    int count;
    bool has_cotangent;
} grad_args;

/* What y is computed from; the way does not go on behind `ends`. */
static void mark_behind(const tn_graph *g, tn_value y, const bool *ends, bool *behind) {
    behind[g->values.data[y].node] = true;
    for (tn_node p = g->values.data[y].node + 1; p-- > 0;) {
        const tn_node_info *node = tn_graph_node(g, p);
        const tn_attrs_barrier *barrier = node->attrs;
        bool end = ends[p] || (node->op == TN_OP_barrier && barrier->stop);
        for (uint32_t i = 0; behind[p] && !end && i < node->in_count; i++)
            behind[g->values.data[node->in[i]].node] = true;
    }
}

/* A tensor behind y was computed from variables, but its graph is gone: the gradient would silently
 * lack that way. */
static void check_ways(tn_builder *b, const tn_context *c, tn_value y, const tn_value *xs, int n) {
    const tn_graph *g = b->graph;
    bool *behind = TN_NEW_N(g->arena, bool, g->nodes.len);
    bool *ends = TN_NEW_N(g->arena, bool, g->nodes.len);
    for (int i = 0; i < n; i++) ends[g->values.data[xs[i]].node] = true;
    for (const tn_tensor *x = c->first; x; x = x->next)
        if (x->variable && x->storage && x->storage->generation == c->recording->generation)
            ends[g->values.data[x->storage->leaf].node] = true;
    mark_behind(g, y, ends, behind);
    for (uint32_t i = 0; i < c->recording->leaves.len; i++) {
        const tn__leaf *leaf = &c->recording->leaves.data[i];
        tn_node node = g->values.data[leaf->value].node;
        if (leaf->storage && leaf->storage->varies && behind[node] && !ends[node])
            tn_b_fail(b, TN_INVALID,
                      "gradient: a tensor on the way to the variables was evaluated before, so its "
                      "graph is gone; take the gradient first, or use tn_stop_gradient on it");
    }
}

static void build_grad(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    const grad_args *a = args;
    const tn_value *xs = in + 1 + a->has_cotangent;
    check_ways(b, a->c, in[0], xs, a->count);
    tn_b_gradient(b, in[0], a->has_cotangent ? in[1] : TN_NO_VALUE, xs, a->count, out);
}

void tn_grad_at(const char *place, tn_tensor *y, tn_tensor *cotangent, tn_tensor *const *xs,
                int count, tn_tensor **grads) {
    const tn_tensor **in = calloc((size_t)count + 2, sizeof *in);
    int n = 0;
    for (int i = 0; i < count; i++) grads[i] = NULL;
    if (!in) return;
    in[n++] = y;
    if (cotangent) in[n++] = cotangent;
    for (int i = 0; i < count; i++) in[n++] = xs[i];
    grad_args a = {y ? y->context : NULL, count, cotangent != NULL};
    tn__call call = {place, NULL, in, n, count, build_grad, &a};
    tn__record(&call, grads);
    free(in);
}

static tn_value build_stop(tn_builder *b, const tn_value *in, const void *args) {
    (void)args;
    return tn__stopped(b, in[0]);
}

tn_tensor *tn_stop_gradient_at(const char *place, tn_tensor *x) {
    return tn__call1(place, x, build_stop, NULL);
}

static tn_value build_block_end(tn_builder *b, const tn_value *in, const void *args) {
    (void)args;
    return tn_b_node(b, TN_OP_barrier, in, 1, &(tn_attrs_barrier){.block = true});
}

tn_tensor *tn_block_end_at(const char *place, tn_tensor *x) {
    return tn__call1(place, x, build_block_end, NULL);
}
