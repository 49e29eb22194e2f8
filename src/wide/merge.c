/* Making the graph of a group. See merge.h.
 *
 *   import the first member → compare weights → stack those that differ → merge_graph.c            */
#include "wide/merge_inner.h"

enum { BLOCK = 1 << 16 }; /* bytes; stacked weights from here on have pages of their own */

/* ---- weights -------------------------------------------------------------------------------- */

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
        if (m->shares.weight[k])
            tn__wide_values_copy(v, w, (char *)m->stacked[k] + (size_t)member * bytes);
    }
    for (uint32_t k = 0; k < s->settings.len; k++) {
        tn_array x;
        void *to = m->stacked[s->weights.len + k];
        tn__wide_setting(v->file, k, &x);
        size_t bytes = tn_array_bytes(&x);
        if (to && bytes) memcpy((char *)to + (size_t)member * bytes, x.data, bytes);
    }
}

static tn_status stack_all(tn__merging *m, tn_error *err) {
    const tn__wide_values *first = &m->reader.first;
    const tn__structure *s = &first->file->structure;
    int count = m->r->count;
    m->stacked = TN_NEW_N(&m->a->arena, void *, s->weights.len + s->settings.len);
    for (uint32_t k = 0; k < s->weights.len; k++) {
        const tn_array *x = &first->file->import.weights.data[s->weights.data[k]].array;
        bool own = m->shares.weight[k], copied = !own && first->member->weights;
        if (own || copied) m->stacked[k] = stack_new(m, x, copied ? 1 : count);
        if (copied) tn__wide_values_copy(first, s->weights.data[k], m->stacked[k]);
    }
    for (uint32_t k = 0; k < s->settings.len; k++) {
        tn_array x;
        tn__wide_setting(first->file, k, &x);
        if (m->shares.setting[k]) m->stacked[s->weights.len + k] = stack_new(m, &x, count);
    }
    tn__wide_read_done(&m->reader.first);
    for (int i = 0; i < count; i++) {
        TN_CHECK(tn__wide_read(&m->reader, i, &m->reader.other, err));
        stack_member(m, &m->reader.other, i);
        tn__wide_read_done(&m->reader.other);
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
        add_source(g, path, &f); /* its identity */
        tn_file_map_close(&f);
    }
    return TN_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

tn_status tn__merge_compare(tn__merging *m, tn_error *err) {
    tn_artifact *a = m->a;
    tn_status status =
        tn_import_onnx(m->r->members[0].model, m->options, &a->arena, &a->import, err);
    TN_CHECK(tn__wide_in_member(status, 0, &m->r->members[0], err));
    if (!a->import.graph) return TN_OK;
    tn__structure_of(&a->import, &a->arena, &m->structure);
    m->reader.structure = &m->structure;
    return tn__wide_compare(&m->reader, &a->arena, &m->shares, err);
}

static tn_status merge_guarded(void *argument, tn_error *err) {
    tn__merging *m = argument;
    TN_CHECK(tn__merge_compare(m, err));
    if (!m->a->import.graph) return tn__merge_ports(m, err);
    TN_CHECK(stack_all(m, err));
    TN_CHECK(tn__merge_graph(m, err));
    return add_sources(m, err);
}

static tn_status merge(void *context, const tn_import_options *options, tn_artifact *a,
                       tn_error *err) {
    tn_import_options with = *options;
    with.weights = true;
    with.stream = ((const tn__wide_recipe *)context)->stream;
    tn__merging m = {.r = context, .options = &with, .a = a};
    bool ready = m.r->files && options->value_count == 0;
    m.reader = (tn__wide_reader){.files = &m.files, .members = m.r->members, .count = m.r->count};
    m.files = ready ? *m.r->files : (tn__wide_files){.options = &with};
    tn_status status = tn_guard(merge_guarded, &m, err);
    tn__wide_read_done(&m.reader.first);
    tn__wide_read_done(&m.reader.other);
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
