/* Making the graph of a group. See merge.h.
 *
 *   import the first member → compare weights → stack those that differ → merge_graph.c            */
#include "wide/merge_inner.h"

enum { BLOCK = 1 << 16 }; /* bytes; stacked weights from here on have pages of their own */

/* ---- weights -------------------------------------------------------------------------------- */

static tn_status check_structure(const tn__merging *m, const tn__wide_file *file, tn_error *err) {
    tn_str text;
    if (!file->import.graph)
        return tn_error_set(err, TN_INVALID, "needs values that the first member does not need: %s",
                            file->import.need_reason ? file->import.need_reason : "");
    tn_str_init_with(&text, tn_arena_allocator(&m->a->arena));
    if (!tn__structure_difference(&m->structure, &file->structure, &text)) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%s in member 0 (%s), for these inputs",
                        tn_str_text(&text), m->r->members[0].model);
}

static tn_status open_values(tn__merging *m, int member, tn__wide_values *out, tn_error *err) {
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
static bool compare(tn__merging *m) {
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

static tn_status find_own(tn__merging *m, tn_error *err) {
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

/* Room for so many members' elements. */
static void *stack_new(tn__merging *m, const tn_array *one, int count) {
    size_t bytes;
    if (!tn_size_mul(tn_array_bytes(one), (size_t)count, &bytes)) tn_out_of_memory();
    void *data =
        bytes < BLOCK ? tn_arena_alloc(&m->a->arena, bytes) : tn_artifact_block_new(m->a, bytes);
    if (!data) tn_out_of_memory();
    return data;
}

static void stack_member(const tn__merging *m, const tn__wide_values *v, int member) {
    const tn__structure *s = &v->file->structure;
    for (uint32_t k = 0; k < s->weights.len; k++) {
        uint32_t w = s->weights.data[k];
        size_t bytes = tn_array_bytes(&v->file->import.weights.data[w].array);
        if (m->own[k]) tn__wide_values_copy(v, w, (char *)m->stacked[k] + (size_t)member * bytes);
    }
    for (uint32_t k = 0; k < s->settings.len; k++) {
        tn_array x;
        void *to = m->stacked[s->weights.len + k];
        setting_of(v->file, k, &x);
        size_t bytes = tn_array_bytes(&x);
        if (to && bytes) memcpy((char *)to + (size_t)member * bytes, x.data, bytes);
    }
}

static tn_status stack_all(tn__merging *m, tn_error *err) {
    const tn__structure *s = &m->values[0].file->structure;
    m->stacked = TN_NEW_N(&m->a->arena, void *, s->weights.len + s->settings.len);
    m->r->own_weights = m->r->shared_weights = 0;
    for (uint32_t k = 0; k < s->weights.len; k++) {
        const tn_array *x = &m->values[0].file->import.weights.data[s->weights.data[k]].array;
        *(m->own[k] ? &m->r->own_weights : &m->r->shared_weights) += tn_array_count(x);
        bool copied = !m->own[k] && m->r->members[0].weights;
        if (m->own[k] || copied) m->stacked[k] = stack_new(m, x, copied ? 1 : m->r->count);
        if (copied) tn__wide_values_copy(&m->values[0], s->weights.data[k], m->stacked[k]);
    }
    for (uint32_t k = 0; k < s->settings.len; k++) {
        tn_array x;
        setting_of(m->values[0].file, k, &x);
        if (m->own_setting[k]) m->stacked[s->weights.len + k] = stack_new(m, &x, m->r->count);
    }
    close_values(&m->values[0]);
    for (int i = 0; i < m->r->count; i++) {
        TN_CHECK(open_values(m, i, &m->values[1], err));
        stack_member(m, &m->values[1], i);
        close_values(&m->values[1]);
    }
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

static tn_status add_sources(const tn__merging *m, tn_error *err) {
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
    tn__merging *m = argument;
    tn_artifact *a = m->a;
    tn_status status =
        tn_import_onnx(m->r->members[0].model, m->options, &a->arena, &a->import, err);
    TN_CHECK(tn__wide_in_member(status, 0, &m->r->members[0], err));
    if (!a->import.graph) return tn__merge_ports(m, err);
    tn__structure_of(&a->import, &a->arena, &m->structure);
    TN_CHECK(find_own(m, err));
    TN_CHECK(stack_all(m, err));
    TN_CHECK(tn__merge_graph(m, err));
    return add_sources(m, err);
}

static tn_status merge(void *context, const tn_import_options *options, tn_artifact *a,
                       tn_error *err) {
    tn_import_options with = *options;
    with.weights = true;
    tn__merging m = {.r = context, .options = &with, .a = a};
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
