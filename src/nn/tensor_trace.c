/* Recording a function of the user's, and tn_vmap. See tensor_trace.h and tenon/tensor.h.
 *
 * The function gets tensors that stand for one member each; what it records is ordinary graph, so
 * its results are then computed for all members by the batch rules. */
#include "nn/tensor_trace.h"

#include <stdlib.h>

#include "ops/batch.h"

/* ---- tracing -------------------------------------------------------------------------------- */

static _Thread_local tn__trace *tracing;

void tn__trace_begin(tn__trace *t, tn_context *c, const char *what) {
    *t = (tn__trace){.outer = tracing, .context = c, .what = what};
    pthread_mutex_lock(&c->lock);
    t->cuts = c->cuts;
    pthread_mutex_unlock(&c->lock);
    t->scope = tn_scope_open(c);
    tracing = t;
}

void tn__trace_end(tn__trace *t) {
    tracing = t->outer;
    tn_scope_close(t->scope);
}

tn_status tn__trace_refuse(const tn_context *c, const char *deed, tn_error *err) {
    for (const tn__trace *t = tracing; t; t = t->outer)
        if (t->context == c)
            return tn_error_set(err, TN_INVALID,
                                "inside a function given to %s nothing can be %s: its tensors "
                                "stand for values that are not there yet",
                                t->what, deed);
    return TN_OK;
}

tn_status tn__trace_check_assign(const tn_tensor *x, tn_error *err) {
    const tn__trace *t = tracing;
    if (!x->stands_in) return tn__trace_refuse(x->context, "assigned", err);
    if (t && t->context == x->context && t->assigns) return TN_OK;
    if (t && t->context == x->context) return tn__trace_refuse(x->context, "assigned", err);
    return tn_error_set(err, TN_INVALID,
                        "this tensor stands for one of each member of a population and can be "
                        "assigned by a member's function alone; tn_population_tensor gives that "
                        "of all members");
}

/* Zeros behind a barrier: not a constant, and equal to nothing else. */
static tn_value build_place(tn_builder *b, const tn_value *in, const void *args) {
    (void)args;
    tn_type type = tn_b_type(b, in[0]);
    tn_value zeros = tn_b_full(b, type.dtype, &type.shape, 0);
    return tn_b_node(b, TN_OP_barrier, &zeros, 1, NULL);
}

tn_tensor *tn__trace_place(const char *place, const tn_tensor *x) {
    return tn__call1(place, x, build_place, NULL);
}

bool tn__trace_check(const tn__trace *t, const char *place, tn_tensor *const *x, int count) {
    for (int i = 0; i < count; i++) {
        if (x[i]) continue;
        tn__refuse(t->context, place, "%s: the function left result %d empty", t->what, i);
        return false;
    }
    return true;
}

void tn__trace_check_values(tn_builder *b, const tn_context *c, uint64_t cuts, const tn_value *v,
                            int count) {
    const tn_graph *g = b->graph;
    bool *behind = TN_NEW_N(g->arena, bool, g->nodes.len);
    for (int i = 0; i < count; i++) behind[g->values.data[v[i]].node] = true;
    for (tn_node p = g->nodes.len; p-- > 0;) {
        const tn_node_info *n = tn_graph_node(g, p);
        for (uint32_t i = 0; behind[p] && i < n->in_count; i++)
            behind[g->values.data[n->in[i]].node] = true;
    }
    for (uint32_t i = 0; i < c->recording->leaves.len; i++) {
        const tn__leaf *leaf = &c->recording->leaves.data[i];
        if (behind[g->values.data[leaf->value].node] && leaf->storage && leaf->storage->cut > cuts)
            tn_b_fail(b, TN_INVALID,
                      "another thread evaluated what the function was recording; evaluate before "
                      "or afterwards");
    }
}

/* ---- tn_vmap -------------------------------------------------------------------------------- */

/* in: x[i], x[0]. A place for one member of x[i]. */
static tn_value build_member(tn_builder *b, const tn_value *in, const void *args) {
    tn_type type = tn_b_type(b, in[0]), first = tn_b_type(b, in[1]);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (type.shape.rank == 0 || first.shape.rank == 0)
        return tn_b_fail(b, TN_INVALID,
                         "tn_vmap: input %d is a scalar; expected members along a "
                         "first axis",
                         *(const int *)args);
    if (type.shape.dim[0] != first.shape.dim[0])
        return tn_b_fail(b, TN_INVALID, "tn_vmap: input %d has %lld members, input 0 has %lld",
                         *(const int *)args, (long long)type.shape.dim[0],
                         (long long)first.shape.dim[0]);
    memmove(type.shape.dim, type.shape.dim + 1, sizeof(tn_dim) * (size_t)--type.shape.rank);
    tn_value zeros = tn_b_full(b, type.dtype, &type.shape, 0);
    return tn_b_node(b, TN_OP_barrier, &zeros, 1, NULL);
}

typedef struct vmap_call {
    tn_vmap_fn *fn;
    void *user;
    tn_tensor *const *x;
    int x_count, y_count;
} vmap_call;

typedef struct vmap_args {
    const tn_context *c;
    uint64_t cuts;
    int x_count, y_count;
} vmap_args;

/* in: x…, members…, y of a member… */
static void build_vmap(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    const vmap_args *a = args;
    tn_batch_inputs x = {
        .member = in + a->x_count, .all = in, .count = a->x_count, .size = tn_b_dim(b, in[0], 0)};
    tn__trace_check_values(b, a->c, a->cuts, in + 2 * a->x_count, a->y_count);
    if (tn_b_ok(b)) tn_b_batch(b, &x, in + 2 * a->x_count, a->y_count, out);
}

/* Calls the function on members, which are retained, and so are its results. */
static void call_member(const char *place, tn__trace *t, const vmap_call *v, tn_tensor **member,
                        tn_tensor **y) {
    bool ok = true;
    for (int i = 0; i < v->x_count; i++) {
        member[i] = tn__call2(place, v->x[i], v->x[0], build_member, &i);
        ok = ok && tn__tensor_is_ok(member[i]);
    }
    if (ok) v->fn(member, y, v->user);
    if (ok) tn__trace_check(t, place, y, v->y_count);
    for (int i = 0; i < v->x_count; i++) tn_retain(member[i]);
    for (int i = 0; i < v->y_count; i++) tn_retain(y[i]);
}

static void vmap(const char *place, tn_context *c, const vmap_call *v, tn_tensor **in,
                 tn_tensor **y) {
    tn__trace t;
    int n = v->x_count, total = 2 * n + v->y_count;
    for (int i = 0; i < n; i++) in[i] = v->x[i];
    tn__trace_begin(&t, c, "tn_vmap");
    call_member(place, &t, v, in + n, in + 2 * n);
    tn__trace_end(&t);
    vmap_args a = {c, t.cuts, n, v->y_count};
    tn__call call = {place, c, (const tn_tensor *const *)in, total, v->y_count, build_vmap, &a};
    tn__record(&call, y);
    for (int i = n; i < total; i++) tn_release(in[i]);
}

void tn_vmap_at(const char *place, tn_vmap_fn *fn, void *user, tn_tensor *const *x, int x_count,
                tn_tensor **y, int y_count) {
    for (int i = 0; i < y_count; i++) y[i] = NULL;
    tn_context *c = x_count > 0 && x[0] ? x[0]->context : NULL;
    tn_tensor **in = c ? calloc((size_t)(2 * x_count + y_count), sizeof(tn_tensor *)) : NULL;
    vmap_call v = {fn, user, x, x_count, y_count};
    if (in) vmap(place, c, &v, in, y);
    free(in);
}
