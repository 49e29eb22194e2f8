/* Taking the graph of an evaluation out of the recording. See lazy.h.
 *
 * Two live nodes are connected when one uses the other's result; inputs do not connect, or
 * everything that shares a weight would be one program. All live tensors of a connected part become
 * results of its program. */
#include <stdlib.h>

#include "nn/lazy.h"

typedef struct cut {
    tn_context *c;
    tn_tensor *const *x;
    int count;
    const tn_graph *g;
    tn_arena *arena; /* the recording's */
    bool *live;      /* nodes that some pending tensor needs */
    uint32_t *part;  /* union-find over nodes */
    bool *wanted;    /* nodes of the program */
    bool *varies;    /* nodes behind a variable */
    TN_VEC(tn_value) outputs;
    tn_value *in_place; /* per output: the leaf whose memory it is to take over, or NO_VALUE */
    tn_value *dense;    /* number of a value in the program */
    const tn__recompute *how; /* may be NULL */
    tn__replay *replay;       /* may be NULL */
    tn__run *run;
} cut;

static bool is_leaf(const tn_graph *g, tn_node n) {
    return tn_graph_node(g, n)->op == TN_OP_input;
}

static tn_node node_of(const cut *k, tn_value v) {
    return k->g->values.data[v].node;
}

/* ---- connected parts ------------------------------------------------------------------------ */

static uint32_t find(uint32_t *part, uint32_t n) {
    while (part[n] != n) n = part[n] = part[part[n]];
    return n;
}

static void mark_needed(const cut *k, bool *needed) {
    for (tn_node n = k->g->nodes.len; n-- > 0;) {
        if (!needed[n]) continue;
        const tn_node_info *node = tn_graph_node(k->g, n);
        for (uint32_t i = 0; i < node->in_count; i++) needed[node_of(k, node->in[i])] = true;
    }
}

static bool is_pending(const tn_tensor *x) {
    return x && !x->storage && !x->failed;
}

static void find_parts(cut *k) {
    uint32_t count = k->g->nodes.len;
    k->live = TN_NEW_N(k->arena, bool, count);
    k->part = TN_NEW_N(k->arena, uint32_t, count);
    for (const tn_tensor *x = k->c->first; x; x = x->next)
        if (is_pending(x)) k->live[node_of(k, x->value)] = true;
    mark_needed(k, k->live);
    for (uint32_t n = 0; n < count; n++) k->part[n] = n;
    for (tn_node n = 0; n < count; n++) {
        const tn_node_info *node = tn_graph_node(k->g, n);
        for (uint32_t i = 0; k->live[n] && i < node->in_count; i++) {
            tn_node from = node_of(k, node->in[i]);
            if (!is_leaf(k->g, from)) k->part[find(k->part, from)] = find(k->part, n);
        }
    }
}

static int ascending(const void *a, const void *b) {
    tn_value x = *(const tn_value *)a, y = *(const tn_value *)b;
    return x < y ? -1 : x > y;
}

/* The values of all live tensors in the parts that were asked for, each once. */
static void find_outputs(cut *k) {
    bool *asked = TN_NEW_N(k->arena, bool, k->g->nodes.len);
    for (int i = 0; i < k->count; i++)
        if (is_pending(k->x[i])) asked[find(k->part, node_of(k, k->x[i]->value))] = true;
    for (const tn_tensor *x = k->c->first; x; x = x->next)
        if (is_pending(x) && asked[find(k->part, node_of(k, x->value))])
            tn_vec_push(k->arena, &k->outputs, x->value);
    if (k->outputs.len == 0) return;
    qsort(k->outputs.data, k->outputs.len, sizeof *k->outputs.data, ascending);
    uint32_t kept = 1;
    for (uint32_t i = 1; i < k->outputs.len; i++)
        if (k->outputs.data[i] != k->outputs.data[kept - 1])
            k->outputs.data[kept++] = k->outputs.data[i];
    k->outputs.len = kept;
    k->wanted = TN_NEW_N(k->arena, bool, k->g->nodes.len);
    for (uint32_t i = 0; i < kept; i++) k->wanted[node_of(k, k->outputs.data[i])] = true;
    mark_needed(k, k->wanted);
}

/* ---- what takes over memory ----------------------------------------------------------------- */

/* The place of `v` among the outputs; NULL: it is none. */
static const tn_value *find_output(const cut *k, tn_value v) {
    return bsearch(&v, k->outputs.data, k->outputs.len, sizeof v, ascending);
}

/* The output that tensor `x` is to be, if its donor is an input of the program; else false. */
static bool takes_over(const cut *k, const tn_tensor *x, uint32_t *output) {
    if (!is_pending(x) || !x->donor || x->donor->generation != k->c->recording->generation)
        return false;
    const tn_value *at = find_output(k, x->value);
    if (!at || !k->wanted[node_of(k, x->donor->leaf)]) return false;
    *output = (uint32_t)(at - k->outputs.data);
    return true;
}

/* Each output takes over one input at most, the first of those it may, and each input is taken once. */
static void find_in_place(cut *k) {
    uint32_t output;
    bool *taken = TN_NEW_N(k->arena, bool, k->g->values.len);
    k->in_place = TN_NEW_N(k->arena, tn_value, k->outputs.len);
    memset(k->in_place, 0xff, k->outputs.len * sizeof *k->in_place);
    for (const tn_tensor *x = k->c->first; x; x = x->next)
        if (takes_over(k, x, &output))
            k->in_place[output] = TN_MIN(k->in_place[output], x->donor->leaf);
    for (uint32_t i = 0; i < k->outputs.len; i++) {
        if (k->in_place[i] == TN_NO_VALUE) continue;
        if (taken[k->in_place[i]])
            k->in_place[i] = TN_NO_VALUE;
        else
            taken[k->in_place[i]] = true;
    }
}

/* ---- the program's key ---------------------------------------------------------------------- */

/* Values are numbered in the order of the program, so that equal steps have equal keys. */
static void number_values(cut *k) {
    tn_value next = 0;
    k->dense = TN_NEW_N(k->arena, tn_value, k->g->values.len);
    for (tn_node n = 0; n < k->g->nodes.len; n++) {
        const tn_node_info *node = tn_graph_node(k->g, n);
        for (uint32_t r = 0; k->wanted[n] && r < node->out_count; r++)
            k->dense[node->out + r] = next++;
    }
}

/* A node by what it computes; a constant by its bytes, because memory is used again. */
static void append_node(const cut *k, const tn_node_info *n, tn_str *key) {
    tn_value *in = TN_NEW_N(k->arena, tn_value, n->in_count);
    for (uint32_t i = 0; i < n->in_count; i++) in[i] = k->dense[n->in[i]];
    size_t size;
    tn_array constant;
    if (tn_graph_constant(k->g, n->out, &constant)) {
        tn_hash128 bytes = tn_hash128_of(constant.data, tn_array_bytes(&constant));
        tn_str_append_n(key, (const char *)&bytes, sizeof bytes);
        tn_str_append_n(key, (const char *)&constant.dtype, sizeof constant.dtype);
        tn_str_append_n(key, (const char *)&constant.rank, sizeof constant.rank);
        tn_str_append_n(key, (const char *)constant.dim, (size_t)constant.rank * sizeof(int64_t));
        return;
    }
    const void *bytes = tn_graph_node_key(k->g, n, in, &size);
    tn_str_append_n(key, (const char *)&size, sizeof size);
    tn_str_append_n(key, bytes, size);
}

void tn__recompute_append(const tn_recompute *r, tn_str *key) {
    tn_str_append_n(key, (const char *)&r->rule, sizeof r->rule);
    tn_str_append_n(key, (const char *)&r->loss, sizeof r->loss);
    tn_str_append_n(key, (const char *)&r->every, sizeof r->every);
    tn_str_append_n(key, (const char *)&r->budget, sizeof r->budget);
    tn_str_append_n(key, (const char *)r->keep, sizeof r->keep);
}

static tn_hash128 program_key(cut *k) {
    tn_str key;
    tn_str_init_with(&key, tn_arena_allocator(k->arena));
    for (tn_node n = 0; n < k->g->nodes.len; n++)
        if (k->wanted[n]) append_node(k, tn_graph_node(k->g, n), &key);
    for (uint32_t i = 0; i < k->outputs.len; i++) {
        tn_value v = k->dense[k->outputs.data[i]];
        tn_value in = k->in_place[i] == TN_NO_VALUE ? TN_NO_VALUE : k->dense[k->in_place[i]];
        tn_str_append_n(&key, (const char *)&v, sizeof v);
        tn_str_append_n(&key, (const char *)&in, sizeof in);
    }
    if (k->how) {
        tn_recompute rule = k->how->rule;
        rule.loss = k->dense[k->how->loss->value];
        tn__recompute_append(&rule, &key);
    }
    return tn_hash128_of(key.data, key.len);
}

/* ---- the program's graph -------------------------------------------------------------------- */

static tn_status copy_graph(const cut *k, tn__program *p, tn_error *err) {
    tn_artifact *a = p->artifact;
    tn_dims *dims = TN_NEW(&a->arena, tn_dims);
    tn_dims_init(dims, &a->arena);
    tn_graph *to = tn_graph_new(&a->arena, dims);
    tn_value *map = TN_NEW_N(k->arena, tn_value, k->g->values.len);
    tn_builder b = tn_builder_of(to, err);
    for (tn_node n = 0; n < k->g->nodes.len; n++) {
        if (!k->wanted[n]) continue;
        tn_value v = tn_graph_node(k->g, n)->out;
        const tn_type *t = tn_graph_type(k->g, v);
        if (is_leaf(k->g, n))
            map[v] = tn_b_input(&b, tn_arena_printf(&a->arena, "x%u", to->inputs.len), t->dtype,
                                &t->shape);
        else
            TN_CHECK(tn_graph_copy_node(to, k->g, n, map, NULL, err));
    }
    for (uint32_t i = 0; i < k->outputs.len; i++) {
        tn_graph_add_output(to, map[k->outputs.data[i]], tn_arena_printf(&a->arena, "y%u", i));
        if (k->run->in_place[i]) tn_graph_output_in_place(to, k->run->in_place[i] - 1);
    }
    p->graph = to;
    p->recomputes = k->how != NULL;
    if (k->how) p->rule = k->how->rule;
    if (k->how) p->rule.loss = map[k->how->loss->value];
    return tn_b_finish(&b);
}

static tn_status find_program(cut *k, tn_error *err) {
    tn_hash128 key = program_key(k);
    tn__program *p = tn__program_find(k->c, key);
    k->run->program = p ? p : tn__program_new(key);
    if (p) return TN_OK;
    p = k->run->program;
    if (!p) tn_out_of_memory();
    TN_CHECK(copy_graph(k, p, err));
    tn__program_keep(k->c, p);
    return TN_OK;
}

/* ---- what runs ------------------------------------------------------------------------------ */

static void find_varying(cut *k) {
    k->varies = TN_NEW_N(k->arena, bool, k->g->nodes.len);
    for (const tn_tensor *x = k->c->first; x; x = x->next)
        if (x->variable && !x->failed && x->storage &&
            x->storage->generation == k->c->recording->generation)
            k->varies[node_of(k, x->storage->leaf)] = true;
    for (tn_node n = 0; n < k->g->nodes.len; n++) {
        const tn_node_info *node = tn_graph_node(k->g, n);
        const tn__storage *leaf = is_leaf(k->g, n) ? tn__leaf_storage(k->c, node->out) : NULL;
        if (leaf) k->varies[n] |= leaf->varies;
        if (node->op == TN_OP_barrier) {
            const tn_attrs_barrier *barrier = node->attrs;
            if (barrier->stop) continue;
        }
        for (uint32_t i = 0; i < node->in_count; i++)
            k->varies[n] |= k->varies[node_of(k, node->in[i])];
    }
}

static tn_status check_leaves(const cut *k, tn_error *err) {
    for (uint32_t i = 0; i < k->c->recording->leaves.len; i++) {
        const tn__leaf *leaf = &k->c->recording->leaves.data[i];
        if (leaf->storage && leaf->storage->abstract && k->wanted[node_of(k, leaf->value)])
            return tn__refuse_abstract(leaf->storage, err);
    }
    return TN_OK;
}

/* One in place of an input gets its memory when the run begins. */
static tn__storage *new_output(const cut *k, uint32_t i) {
    tn_value v = k->outputs.data[i];
    const tn_type *t = tn_graph_type(k->g, v);
    tn__storage *s = k->in_place[i] != TN_NO_VALUE
                         ? tn__storage_empty(t->dtype, t->shape.rank, t->shape.dim)
                         : tn__storage_new(k->c, t->dtype, t->shape.rank, t->shape.dim);
    if (!s) tn_out_of_memory();
    s->varies = k->varies[node_of(k, v)];
    s->cut = k->c->cuts;
    return s;
}

static void make_run(cut *k) {
    tn__run *run = k->run;
    uint32_t leaves = k->c->recording->leaves.len;
    uint32_t *number = TN_NEW_N(k->arena, uint32_t, k->g->values.len); /* 1 + of the input */
    run->inputs = calloc(leaves + 1, sizeof *run->inputs);
    run->outputs = calloc(k->outputs.len + 1, sizeof *run->outputs);
    run->in_place = calloc(k->outputs.len + 1, sizeof *run->in_place);
    if (!run->inputs || !run->outputs || !run->in_place) tn_out_of_memory();
    for (uint32_t i = 0; i < leaves; i++) {
        const tn__leaf *leaf = &k->c->recording->leaves.data[i];
        if (!k->wanted[node_of(k, leaf->value)]) continue;
        run->inputs[run->input_count++] = tn__storage_retain(leaf->storage);
        number[leaf->value] = run->input_count;
    }
    for (; run->output_count < k->outputs.len; run->output_count++) {
        uint32_t i = run->output_count;
        run->outputs[i] = new_output(k, i);
        if (k->in_place[i] != TN_NO_VALUE) run->in_place[i] = number[k->in_place[i]];
    }
}

/* The nodes that are needed when the program's are gone. */
static bool *find_rest(const cut *k) {
    bool *needed = TN_NEW_N(k->arena, bool, k->g->nodes.len);
    for (const tn_tensor *x = k->c->first; x; x = x->next)
        if (is_pending(x) && !find_output(k, x->value)) needed[node_of(k, x->value)] = true;
    mark_needed(k, needed);
    return needed;
}

/* From here on nothing can fail. */
static void hand_over(const cut *k, const bool *needed) {
    for (tn_tensor *x = k->c->first; x; x = x->next) {
        const tn_value *at = is_pending(x) ? find_output(k, x->value) : NULL;
        if (at) tn__tensor_set_storage(x, k->run->outputs[at - k->outputs.data]);
    }
    for (uint32_t i = 0; i < k->outputs.len; i++)
        if (k->in_place[i] != TN_NO_VALUE && !needed[node_of(k, k->in_place[i])])
            tn__leaf_give_up(k->c, k->in_place[i]);
}

static tn_status cut_guarded(void *argument, tn_error *err) {
    cut *k = argument;
    find_parts(k);
    find_outputs(k);
    if (k->outputs.len == 0) return TN_OK;
    TN_CHECK(check_leaves(k, err));
    k->run = calloc(1, sizeof *k->run);
    if (!k->run) tn_out_of_memory();
    find_varying(k);
    find_in_place(k);
    number_values(k);
    make_run(k);
    const bool *needed = find_rest(k);
    TN_CHECK(find_program(k, err));
    if (k->replay) tn__replay_capture(k->replay, k->run, k->outputs.data, k->wanted);
    hand_over(k, needed);
    return TN_OK;
}

/* Without a pending loss nothing is behind one. */
static bool has_loss(const tn__recompute *how) {
    return how && is_pending(how->loss);
}

tn_status tn__cut(tn_context *c, tn_tensor *const *x, int count, const tn__eval_options *o,
                  tn__run **out, tn_error *err) {
    *out = NULL;
    bool any = false;
    for (int i = 0; i < count; i++) any = any || is_pending(x[i]);
    if (!any) return TN_OK;
    TN_CHECK(tn__trace_refuse(c, "read", err));
    c->cuts++;
    tn__recording *r = c->recording;
    cut k = {.c = c, .x = x, .count = count, .g = r->graph, .arena = &r->arena};
    k.how = o && has_loss(o->how) ? o->how : NULL;
    k.replay = o ? o->replay : NULL;
    tn_status status = tn_guard(cut_guarded, &k, err);
    if (status != TN_OK) {
        if (k.run) tn__run_release(c, k.run);
        return status;
    }
    *out = k.run;
    tn__recording_shrink(c);
    return TN_OK;
}

void tn__run_release(tn_context *c, tn__run *run) {
    for (uint32_t i = 0; i < run->input_count; i++) tn__storage_release(c, run->inputs[i]);
    for (uint32_t i = 0; i < run->output_count; i++) tn__storage_release(c, run->outputs[i]);
    if (run->program) tn__program_release(run->program);
    free(run->inputs);
    free(run->outputs);
    free(run->in_place);
    free(run);
}
