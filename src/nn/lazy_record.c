/* Recording operations. See lazy.h. */
#include <stdlib.h>

#include "nn/lazy.h"

enum {
    SHRINK_FROM = 512, /* recorded nodes before a second look at what is live */
    MOST_ROOM = 1 << 16,
};

/* ---- the recording -------------------------------------------------------------------------- */

/* With room for what the last one held, since steps are alike. */
static tn_status begin(void *argument, tn_error *err) {
    tn__recording *r = argument;
    (void)err;
    tn_dims_init(&r->dims, &r->arena);
    r->graph = tn_graph_new(&r->arena, &r->dims);
    tn_vec_grow(&r->arena, &r->graph->nodes, r->room);
    tn_vec_grow(&r->arena, &r->graph->values, r->room);
    return TN_OK;
}

/* NULL when memory runs out. */
static tn__recording *recording_new(tn_context *c) {
    tn__recording *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->generation = ++c->generations;
    if (c->recording) r->room = TN_MIN(c->recording->graph->values.len, MOST_ROOM);
    tn_arena_init(&r->arena, tn_allocator_system());
    if (tn_guard(begin, r, NULL) == TN_OK) return r;
    tn_arena_deinit(&r->arena);
    free(r);
    return NULL;
}

static void recording_drop(tn_context *c, tn__recording *r) {
    for (uint32_t i = 0; i < r->leaves.len; i++) tn__storage_release(c, r->leaves.data[i].storage);
    tn_arena_deinit(&r->arena);
    free(r);
}

tn_status tn__recording_begin(tn_context *c, tn_error *err) {
    c->recording = recording_new(c);
    return c->recording ? TN_OK : tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
}

void tn__recording_end(tn_context *c) {
    recording_drop(c, c->recording);
    c->recording = NULL;
}

/* ---- leaves --------------------------------------------------------------------------------- */

static tn__leaf *find_leaf(const tn_context *c, tn_value v) {
    tn__leaf *leaves = c->recording->leaves.data;
    uint32_t lo = 0, hi = c->recording->leaves.len;
    while (lo < hi) {
        uint32_t middle = lo + (hi - lo) / 2;
        if (leaves[middle].value < v)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo < c->recording->leaves.len && leaves[lo].value == v ? &leaves[lo] : NULL;
}

tn__storage *tn__leaf_storage(const tn_context *c, tn_value v) {
    const tn__leaf *leaf = find_leaf(c, v);
    return leaf ? leaf->storage : NULL;
}

void tn__leaf_give_up(tn_context *c, tn_value v) {
    tn__leaf *leaf = find_leaf(c, v);
    if (!leaf || !leaf->storage) return;
    leaf->storage->generation = 0;
    tn__storage_release(c, leaf->storage);
    leaf->storage = NULL;
}

static tn_value leaf_of(tn__recording *r, tn__storage *s) {
    if (s->generation == r->generation) return s->leaf;
    tn_shape shape = {.rank = s->rank};
    for (int a = 0; a < s->rank; a++) shape.dim[a] = s->dim[a];
    tn_attrs_input attrs = {.dtype = s->dtype, .shape = shape};
    tn_vec_grow(&r->arena, &r->leaves, r->leaves.len + 1);
    tn_value v;
    if (tn_graph_add(r->graph, TN_OP_input, NULL, 0, &attrs, NULL, &v, NULL) != TN_OK)
        TN_BUG("an input cannot be wrong");
    r->leaves.data[r->leaves.len++] = (tn__leaf){v, tn__storage_retain(s)};
    s->generation = r->generation;
    s->leaf = v;
    return v;
}

tn_value tn__recorded(tn_context *c, const tn_tensor *x) {
    return x->storage ? leaf_of(c->recording, x->storage) : x->value;
}

/* ---- making it anew ------------------------------------------------------------------------- */

/* Marks the nodes that pending tensors need. */
static uint32_t mark_live(const tn_context *c, bool *live) {
    const tn_graph *g = c->recording->graph;
    uint32_t count = 0;
    for (const tn_tensor *x = c->first; x; x = x->next)
        if (!x->storage && !x->failed) live[g->values.data[x->value].node] = true;
    for (tn_node n = g->nodes.len; n-- > 0;) {
        if (!live[n]) continue;
        const tn_node_info *node = tn_graph_node(g, n);
        for (uint32_t i = 0; i < node->in_count; i++) live[g->values.data[node->in[i]].node] = true;
        count++;
    }
    return count;
}

typedef struct shrink_args {
    tn_context *c;
    tn__recording *to;
    tn_value *map; /* of the old recording's arena */
    bool *live;
    uint32_t live_count;
} shrink_args;

static tn_status find_live(void *argument, tn_error *err) {
    shrink_args *x = argument;
    tn__recording *r = x->c->recording;
    (void)err;
    x->live = TN_NEW_N(&r->arena, bool, r->graph->nodes.len);
    x->map = TN_NEW_N(&r->arena, tn_value, r->graph->values.len);
    x->live_count = mark_live(x->c, x->live);
    return TN_OK;
}

static tn_status copy_live(void *argument, tn_error *err) {
    shrink_args *x = argument;
    const tn_graph *g = x->c->recording->graph;
    for (tn_node n = 0; n < g->nodes.len; n++) {
        if (!x->live[n]) continue;
        tn_value v = tn_graph_node(g, n)->out;
        tn__storage *leaf = tn__leaf_storage(x->c, v);
        if (leaf)
            x->map[v] = leaf_of(x->to, leaf);
        else
            TN_CHECK(tn_graph_copy_node(x->to->graph, g, n, x->map, NULL, err));
    }
    return TN_OK;
}

/* Nothing is lost when memory runs out: the old recording stays. */
static void make_anew(shrink_args *x) {
    tn_context *c = x->c;
    tn__recording *to = x->to = recording_new(c);
    if (!to) return;
    if (tn_guard(copy_live, x, NULL) != TN_OK) {
        recording_drop(c, to);
        for (uint32_t i = 0; i < c->recording->leaves.len; i++) {
            tn__leaf *leaf = &c->recording->leaves.data[i];
            if (!leaf->storage) continue;
            leaf->storage->generation = c->recording->generation;
            leaf->storage->leaf = leaf->value;
        }
        return;
    }
    for (tn_tensor *t = c->first; t; t = t->next)
        if (!t->storage && !t->failed) t->value = x->map[t->value];
    recording_drop(c, c->recording);
    to->kept = to->graph->nodes.len;
    c->recording = to;
}

void tn__recording_shrink(tn_context *c) {
    shrink_args x = {.c = c};
    if (tn_guard(find_live, &x, NULL) != TN_OK) return;
    uint32_t count = c->recording->graph->nodes.len;
    if (x.live_count == 0 || count - x.live_count > x.live_count)
        make_anew(&x);
    else
        c->recording->kept = count;
}

/* ---- calls ---------------------------------------------------------------------------------- */

typedef struct record_args {
    const tn__call *call;
    tn_context *c;
    tn_value *out;
} record_args;

static tn_status record(void *argument, tn_error *err) {
    record_args *x = argument;
    tn_arena *arena = &x->c->recording->arena;
    tn_value *in = TN_NEW_N(arena, tn_value, x->call->in_count);
    x->out = TN_NEW_N(arena, tn_value, x->call->results);
    for (int i = 0; i < x->call->in_count; i++) in[i] = tn__recorded(x->c, x->call->in[i]);
    tn_builder b = tn_builder_of(x->c->recording->graph, err);
    b.name = x->call->place;
    x->call->build(&b, in, x->call->args, x->out);
    return tn_b_finish(&b);
}

static tn_status check_operands(const tn__call *call, const tn_context *c, tn_error *err) {
    for (int i = 0; i < call->in_count; i++)
        if (call->in[i]->context != c)
            return tn_error_set(err, TN_INVALID, "operand %d is a tensor of another context", i);
    return TN_OK;
}

static bool any_failed(const tn__call *call) {
    for (int i = 0; i < call->in_count; i++)
        if (!call->in[i] || call->in[i]->failed) return true;
    return false;
}

static tn_context *context_of(const tn__call *call) {
    if (call->context) return call->context;
    for (int i = 0; i < call->in_count; i++)
        if (call->in[i]) return call->in[i]->context;
    return NULL;
}

/* The values in out become tensors; failed ones where something is wrong. */
static void give_results(tn_context *c, const tn__call *call, bool ok, const tn_value *value,
                         tn_tensor **out) {
    for (int i = 0; i < call->results; i++)
        out[i] = ok ? tn__tensor_of_value(c, value[i]) : tn__tensor_failed(c);
}

void tn__record(const tn__call *call, tn_tensor **out) {
    tn_context *c = context_of(call);
    for (int i = 0; i < call->results; i++) out[i] = NULL;
    if (!c) return;
    tn_error err;
    tn__error_init(&err);
    record_args x = {call, c, NULL};
    pthread_mutex_lock(&c->lock);
    bool ok = !any_failed(call) && !c->closed;
    if (ok) ok = check_operands(call, c, &err) == TN_OK && tn_guard(record, &x, &err) == TN_OK;
    if (err.status != TN_OK) tn__context_fail(c, call->place, &err);
    give_results(c, call, ok, x.out, out);
    if (c->recording && c->recording->graph->nodes.len > 2 * c->recording->kept + SHRINK_FROM)
        tn__recording_shrink(c);
    pthread_mutex_unlock(&c->lock);
}
