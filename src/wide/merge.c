/* Making the graph of a group. See merge.h.
 *
 *   import the first member → compare weights → stack those that differ → batch node by node       */
#include "wide/merge.h"

#include "ops/batch.h"
#include "ops/ops_common.h"

enum { BLOCK = 1 << 16 }; /* bytes; stacked weights from here on have pages of their own */

typedef struct merging {
    tn__wide_recipe *r;
    const tn_import_options *options;
    tn_artifact *a;
    tn__wide_files files;
    tn__wide_values values[2]; /* of the first member, and of another one */
    tn__structure structure;
    bool *own;         /* per weight that is read: members differ in it */
    bool *own_setting; /* per setting */
    void **stacked;    /* per weight that is read, then per setting; NULL: not own */
} merging;

/* ---- ports ---------------------------------------------------------------------------------- */

bool tn__wide_is_shared(const tn_wide_options *o, const tn_import *i, const char *input) {
    if (o->share_all) return true;
    for (int k = 0; k < o->shared_count; k++)
        if (strcmp(o->shared[k], input) == 0) return true;
    for (uint32_t k = 0; k < i->need_values.len; k++)
        if (strcmp(i->need_values.data[k], input) == 0) return true;
    return false;
}

tn_status tn__wide_widen(tn_wide_layout layout, int count, tn_dims *dims,
                         const tn_import_port *port, tn_shape *out, tn_error *err) {
    const tn_shape shape = port->type.shape, *one = &shape; /* which *out may be */
    *out = shape;
    if (one->rank >= TN_MAX_RANK)
        return tn_error_set(err, TN_UNSUPPORTED,
                            "'%s' has %d axes already; there is none left for the members",
                            port->name, one->rank);
    if (layout == TN_WIDE_STACKED) {
        *out = tn_shape_with_front(one, count);
        return TN_OK;
    }
    if (one->rank < 2)
        return tn_error_set(err, TN_INVALID,
                            "'%s' is %s; members lie side by side along axis 1, which it lacks; "
                            "use the stacked layout, or share it",
                            port->name, tn_shape_text(dims, one).at);
    out->dim[1] = tn_dim_mul(dims, one->dim[1], tn_dim_const(dims, count));
    return TN_OK;
}

static tn_status widen(const merging *m, tn_import_port *port, tn_error *err) {
    return tn__wide_widen(m->r->options.layout, m->r->count, m->a->import.dims, port,
                          &port->type.shape, err);
}

static bool is_bound(const merging *m, const char *input) {
    for (uint32_t i = 0; i < m->options->value_count; i++)
        if (strcmp(m->options->values[i].name, input) == 0) return true;
    return false;
}

static bool is_shared(const merging *m, const char *input) {
    return is_bound(m, input) || tn__wide_is_shared(&m->r->options, &m->a->import, input);
}

/* Of a model that needs values first. */
static tn_status widen_ports(merging *m, tn_error *err) {
    tn_import *i = &m->a->import;
    for (uint32_t k = 0; k < i->inputs.len; k++) {
        tn_import_port *p = &i->inputs.data[k];
        if (p->typed && !is_shared(m, p->name)) TN_CHECK(widen(m, p, err));
    }
    for (uint32_t k = 0; k < i->outputs.len; k++) {
        tn_import_port *p = &i->outputs.data[k];
        if (p->typed) TN_CHECK(widen(m, p, err));
    }
    return TN_OK;
}

/* ---- weights -------------------------------------------------------------------------------- */

static tn_status check_structure(const merging *m, const tn__wide_file *file, tn_error *err) {
    tn_str text;
    if (!file->import.graph)
        return tn_error_set(err, TN_INVALID, "needs values that the first member does not need: %s",
                            file->import.need_reason ? file->import.need_reason : "");
    tn_str_init_with(&text, tn_arena_allocator(&m->a->arena));
    if (!tn__structure_difference(&m->structure, &file->structure, &text)) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%s in member 0 (%s), for these inputs",
                        tn_str_text(&text), m->r->members[0].model);
}

static tn_status open_values(merging *m, int member, tn__wide_values *out, tn_error *err) {
    tn__wide_file *file;
    const tn_wide_member *x = &m->r->members[member];
    tn_status status = tn__wide_files_get(&m->files, x->model, &file, err);
    if (status == TN_OK) status = check_structure(m, file, err);
    if (status == TN_OK) status = tn__wide_values_open(out, file, x, err);
    return tn__wide_in_member(status, member, x, err);
}

static void close_values(tn__wide_values *v) {
    if (!v->file) return;
    for (uint32_t i = 0; i < v->file->import.maps.len; i++)
        tn_file_map_drop(&v->file->import.maps.data[i]);
    tn__wide_values_close(v);
}

static void setting_of(const tn__wide_file *file, uint32_t k, tn_array *out) {
    tn_graph_constant(file->import.graph, file->structure.settings.data[k], out);
}

/* Notes what of the second values differs from the first. */
static bool compare(merging *m) {
    const tn__wide_values *p = &m->values[0], *q = &m->values[1];
    const tn__structure *s = &p->file->structure, *t = &q->file->structure;
    bool all = true;
    for (uint32_t k = 0; k < s->weights.len; k++) {
        if (!m->own[k])
            m->own[k] = !tn__wide_values_equal(p, s->weights.data[k], q, t->weights.data[k]);
        all = all && m->own[k];
    }
    for (uint32_t k = 0; k < s->settings.len; k++) {
        tn_array x, y;
        setting_of(p->file, k, &x);
        setting_of(q->file, k, &y);
        size_t bytes = tn_array_bytes(&x);
        if (!m->own_setting[k]) m->own_setting[k] = bytes && memcmp(x.data, y.data, bytes) != 0;
    }
    return all && s->settings.len == 0;
}

static tn_status find_own(merging *m, tn_error *err) {
    m->own = TN_NEW_N(&m->a->arena, bool, m->structure.weights.len);
    m->own_setting = TN_NEW_N(&m->a->arena, bool, m->structure.settings.len);
    TN_CHECK(open_values(m, 0, &m->values[0], err));
    for (uint32_t k = 0; k < m->structure.weights.len; k++) m->own[k] = m->r->members[0].perturbed;
    for (int i = 1; i < m->r->count; i++) {
        TN_CHECK(open_values(m, i, &m->values[1], err));
        compare(m);
        close_values(&m->values[1]);
    }
    return TN_OK;
}

/* Room for all members' elements. */
static void *stack_new(merging *m, const tn_array *one) {
    size_t bytes;
    if (!tn_size_mul(tn_array_bytes(one), (size_t)m->r->count, &bytes)) tn_out_of_memory();
    void *data =
        bytes < BLOCK ? tn_arena_alloc(&m->a->arena, bytes) : tn_artifact_block_new(m->a, bytes);
    if (!data) tn_out_of_memory();
    return data;
}

static void stack_member(const merging *m, const tn__wide_values *v, int member) {
    const tn__structure *s = &v->file->structure;
    for (uint32_t k = 0; k < s->weights.len; k++) {
        uint32_t w = s->weights.data[k];
        size_t bytes = tn_array_bytes(&v->file->import.weights.data[w].array);
        if (m->stacked[k])
            tn__wide_values_copy(v, w, (char *)m->stacked[k] + (size_t)member * bytes);
    }
    for (uint32_t k = 0; k < s->settings.len; k++) {
        tn_array x;
        void *to = m->stacked[s->weights.len + k];
        setting_of(v->file, k, &x);
        size_t bytes = tn_array_bytes(&x);
        if (to && bytes) memcpy((char *)to + (size_t)member * bytes, x.data, bytes);
    }
}

static tn_status stack_all(merging *m, tn_error *err) {
    const tn__structure *s = &m->values[0].file->structure;
    m->stacked = TN_NEW_N(&m->a->arena, void *, s->weights.len + s->settings.len);
    m->r->own_weights = m->r->shared_weights = 0;
    for (uint32_t k = 0; k < s->weights.len; k++) {
        const tn_array *x = &m->values[0].file->import.weights.data[s->weights.data[k]].array;
        *(m->own[k] ? &m->r->own_weights : &m->r->shared_weights) += tn_array_count(x);
        if (m->own[k]) m->stacked[k] = stack_new(m, x);
    }
    for (uint32_t k = 0; k < s->settings.len; k++) {
        tn_array x;
        setting_of(m->values[0].file, k, &x);
        if (m->own_setting[k]) m->stacked[s->weights.len + k] = stack_new(m, &x);
    }
    close_values(&m->values[0]);
    for (int i = 0; i < m->r->count; i++) {
        TN_CHECK(open_values(m, i, &m->values[1], err));
        stack_member(m, &m->values[1], i);
        close_values(&m->values[1]);
    }
    return TN_OK;
}

/* ---- the graph ------------------------------------------------------------------------------ */

typedef struct batching {
    merging *m;
    tn_builder b;
    const tn_graph *from;
    tn_value *map;
    bool *carries;
} batching;

static void add_constant(batching *x, tn_value v, void *stacked, const tn_data *one) {
    const tn_type *t = tn_graph_type(x->from, v);
    tn_attrs_constant attrs = {.dtype = t->dtype, .shape = t->shape, .data = *one};
    if (stacked) {
        attrs.shape = tn_shape_with_front(&t->shape, x->m->r->count);
        attrs.data = (tn_data){.bytes = stacked, .size = one->size * (size_t)x->m->r->count};
    }
    tn_value made = tn_b_node(&x->b, TN_OP_constant, NULL, 0, &attrs);
    if (!tn_b_ok(&x->b)) return;
    x->b.graph->values.data[made].name = tn_graph_value(x->from, v)->name;
    x->map[v] = made;
    x->carries[v] = stacked != NULL;
}

/* Where the bytes lie in a file, so that a program in the cache refers to it. */
static tn_data find_source(const tn_import *i, const void *bytes, size_t size) {
    tn_data data = {.bytes = bytes, .size = size};
    for (uint32_t k = 0; k < i->maps.len; k++) {
        const tn_file_map *f = &i->maps.data[k];
        const uint8_t *at = bytes;
        if (!f->data || at < f->data || at >= f->data + f->size) continue;
        data.source = k + 1;
        data.offset = (uint64_t)(at - f->data);
    }
    return data;
}

/* The elements that all members have, of a file of weights copied. */
static const void *shared_elements(const merging *m, uint32_t weight, size_t size) {
    if (!m->r->members[0].weights) return m->a->import.weights.data[weight].array.data;
    const void *at = m->values[0].data[weight];
    return tn_arena_dup(&m->a->arena, at, size);
}

static void add_weights(batching *x) {
    const merging *m = x->m;
    const tn_import *i = &m->a->import;
    for (uint32_t k = 0; k < m->structure.weights.len; k++) {
        uint32_t w = m->structure.weights.data[k];
        size_t size = tn_array_bytes(&i->weights.data[w].array);
        tn_data one = {.size = size};
        if (!m->stacked[k]) one = find_source(i, shared_elements(m, w, size), size);
        add_constant(x, x->from->inputs.data[i->inputs.len + w], m->stacked[k], &one);
    }
    for (uint32_t k = 0; k < m->structure.settings.len; k++) {
        tn_value v = m->structure.settings.data[k];
        void *stacked = m->stacked[m->structure.weights.len + k];
        const tn_attrs_constant *c = tn_graph_producer(x->from, v)->attrs;
        if (stacked) add_constant(x, v, stacked, &c->data);
    }
}

/* [B, N·F, …] ↔ [N, B, F, …] */
static tn_value unpack(tn_builder *b, tn_value v, const tn_shape *one, tn_dim n) {
    tn_dim dim[TN_MAX_RANK];
    int perm[TN_MAX_RANK];
    for (int a = 0; a < one->rank; a++) dim[a + (a > 0)] = one->dim[a];
    dim[1] = n;
    for (int a = 0; a <= one->rank; a++) perm[a] = a;
    perm[0] = 1;
    perm[1] = 0;
    return tn_b_permute(b, tn_b_reshape_to(b, v, one->rank + 1, dim), perm);
}

static tn_value pack(tn_builder *b, tn_value v, const tn_shape *packed) {
    return tn_b_reshape(b, tn_b_swap(b, v, 0, 1), packed);
}

static tn_status add_inputs(batching *x, tn_error *err) {
    const merging *m = x->m;
    tn_import *i = &m->a->import;
    for (uint32_t k = 0; k < i->inputs.len; k++) {
        tn_value v = x->from->inputs.data[k];
        tn_import_port *port = &i->inputs.data[k];
        const tn_shape one = port->type.shape;
        bool shared = is_shared(m, port->name);
        if (!shared) TN_CHECK(widen(m, port, err));
        tn_value in = tn_b_input(&x->b, port->name, port->type.dtype, &port->type.shape);
        bool packed = !shared && m->r->options.layout == TN_WIDE_PACKED;
        x->map[v] = packed ? unpack(&x->b, in, &one, m->r->count) : in;
        x->carries[v] = !shared;
    }
    return tn_b_finish(&x->b);
}

static tn_status add_outputs(batching *x, tn_error *err) {
    const merging *m = x->m;
    tn_import *i = &m->a->import;
    for (uint32_t k = 0; k < x->from->outputs.len; k++) {
        const tn_graph_output *o = &x->from->outputs.data[k];
        tn_import_port *port = &i->outputs.data[k];
        tn_value v = tn_batch_operand(&x->b, x->map[o->value], x->carries[o->value], m->r->count);
        TN_CHECK(tn_b_finish(&x->b));
        TN_CHECK(widen(m, port, err));
        if (m->r->options.layout == TN_WIDE_PACKED) v = pack(&x->b, v, &port->type.shape);
        TN_CHECK(tn_b_finish(&x->b));
        tn_graph_add_output(x->b.graph, v, o->name);
    }
    return TN_OK;
}

static tn_status batch(merging *m, tn_error *err) {
    tn_import *i = &m->a->import;
    const tn_graph *g = i->graph;
    batching x = {.m = m, .from = g, .b = tn_builder_of(tn_graph_new_like(g), err)};
    x.map = TN_NEW_N(g->arena, tn_value, g->values.len);
    x.carries = TN_NEW_N(g->arena, bool, g->values.len);
    for (tn_value v = 0; v < g->values.len; v++) x.map[v] = TN_NO_VALUE;
    bool *needed = TN_NEW_N(g->arena, bool, g->nodes.len);
    for (uint32_t k = 0; k < m->structure.order.len; k++) needed[m->structure.order.data[k]] = true;
    TN_CHECK(add_inputs(&x, err));
    add_weights(&x);
    for (tn_node n = 0; n < g->nodes.len && tn_b_ok(&x.b); n++) {
        const tn_node_info *node = tn_graph_node(g, n);
        if (!needed[n] || x.map[node->out] != TN_NO_VALUE) continue;
        x.b.name = node->name;
        tn_b_batch_node(&x.b, g, n, m->r->count, x.map, x.carries);
    }
    x.b.name = NULL;
    TN_CHECK(tn_b_finish(&x.b));
    TN_CHECK(add_outputs(&x, err));
    i->graph = x.b.graph;
    return TN_OK;
}

/* ---- sources -------------------------------------------------------------------------------- */

/* A program in the cache is for these files as they are. */
static void add_source(tn_graph *g, const char *path, const tn_file_map *f) {
    for (uint32_t i = 0; i < g->sources.len; i++)
        if (strcmp(g->sources.data[i].path, path) == 0) return;
    tn_graph_source source = {tn_arena_strdup(g->arena, path), f->device, f->inode, f->size,
                              f->mtime_ns};
    tn_vec_push(g->arena, &g->sources, source);
}

static tn_status add_sources(const merging *m, tn_error *err) {
    tn_graph *g = m->a->import.graph;
    for (const tn__wide_file *f = m->files.first; f; f = f->next)
        for (uint32_t i = 0; i < f->import.maps.len; i++)
            add_source(g, f->import.paths.data[i], &f->import.maps.data[i]);
    for (int i = 0; i < m->r->count; i++) {
        tn_file_map f;
        const char *path = m->r->members[i].weights;
        if (!path) continue;
        TN_CHECK(tn_file_map_open(&f, path, err));
        tn_file_map_close(&f); /* its identity stays */
        add_source(g, path, &f);
    }
    return TN_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static tn_status merge_guarded(void *argument, tn_error *err) {
    merging *m = argument;
    tn_artifact *a = m->a;
    tn_status status =
        tn_import_onnx(m->r->members[0].model, m->options, &a->arena, &a->import, err);
    TN_CHECK(tn__wide_in_member(status, 0, &m->r->members[0], err));
    if (!a->import.graph) return widen_ports(m, err);
    tn__structure_of(&a->import, &a->arena, &m->structure);
    TN_CHECK(find_own(m, err));
    TN_CHECK(stack_all(m, err));
    TN_CHECK(open_values(m, 0, &m->values[0], err));
    TN_CHECK(batch(m, err));
    return add_sources(m, err);
}

static tn_status merge(void *context, const tn_import_options *options, tn_artifact *a,
                       tn_error *err) {
    tn_import_options with = *options;
    with.weights = true;
    merging m = {.r = context, .options = &with, .a = a};
    bool ready = m.r->files && options->value_count == 0;
    m.files = ready ? *m.r->files : (tn__wide_files){.options = &with};
    tn_status status = tn_guard(merge_guarded, &m, err);
    close_values(&m.values[0]);
    close_values(&m.values[1]);
    if (ready)
        *m.r->files = m.files;
    else
        tn__wide_files_deinit(&m.files);
    return status;
}

static void release(void *context) {
    tn__wide_recipe_free(context);
}

tn_model_maker tn__wide_maker(tn__wide_recipe *r) {
    return (tn_model_maker){.context = r,
                            .name = r->members[0].model,
                            .identify = tn__wide_recipe_identify,
                            .import = merge,
                            .release = release};
}
