/* Making the graph of a group. See merge.h.
 *
 *   import the first member → compare weights → stack those that differ → merge_graph.c            */
#include "wide/merge_inner.h"

/* ---- weights -------------------------------------------------------------------------------- */

/* Weights that are equal stay in the model's file, or are those of the first member's file of weights. */
static void take_shared(tn__merging *m) {
    const tn__wide_values *first = &m->reader.first;
    const tn__structure *s = &first->file->structure;
    for (uint32_t k = 0; k < s->weights.len; k++) {
        const tn_array *x = &first->file->import.weights.data[s->weights.data[k]].array;
        if (m->shares.weight[k] || !first->member->weights) continue;
        m->stacked[k] = tn_arena_alloc(&m->a->arena, tn_array_bytes(x));
        tn__wide_values_copy(first, s->weights.data[k], 0, tn_array_bytes(x), m->stacked[k]);
    }
}

static tn_status stack_all(tn__merging *m, tn_error *err) {
    const tn__structure *s = &m->structure;
    m->stacked = TN_NEW_N(&m->a->arena, void *, s->weights.len + s->settings.len);
    if (!m->r->sketch) take_shared(m);
    tn__wide_read_done(&m->reader.first);
    TN_CHECK(tn__wide_stacker_start(m->stacker, &m->reader, &m->shares, m->r->sketch, m->a, err));
    for (uint32_t k = 0; k < m->stacker->count; k++)
        if (m->stacker->stacks[k].data) m->stacked[k] = m->stacker->stacks[k].data;
    return TN_OK;
}

/* ---- sources -------------------------------------------------------------------------------- */

/* A program in the cache is for these files as they are. */
static void add_source(tn_graph *g, tn_map *seen, const char *path, const tn_file_map *f) {
    uint32_t number;
    if (tn_map_get_str(seen, path, &number)) return;
    tn_map_put_str(seen, path, g->sources.len);
    tn_graph_source source = {tn_arena_strdup(g->arena, path), f->device, f->inode, f->size,
                              f->mtime_ns};
    tn_vec_push(g->arena, &g->sources, source);
}

static tn_status add_weights(tn_graph *g, tn_map *seen, const char *path, tn_error *err) {
    tn_file_map f;
    uint32_t number;
    if (!path || tn_map_get_str(seen, path, &number)) return TN_OK;
    TN_CHECK(tn_file_map_open(&f, path, err));
    const tn_file_map identity = f;
    tn_file_map_close(&f);
    add_source(g, seen, path, &identity);
    return TN_OK;
}

static tn_status add_sources(const tn__merging *m, tn_error *err) {
    tn_graph *g = m->a->import.graph;
    tn_map seen;
    tn_map_init(&seen, g->arena);
    for (uint32_t i = 0; i < g->sources.len; i++) tn_map_put_str(&seen, g->sources.data[i].path, i);
    for (const tn__wide_file *f = m->stacker->files->first; f; f = f->next)
        for (uint32_t i = 0; i < f->import.maps.len; i++)
            add_source(g, &seen, f->import.paths.data[i], &f->import.maps.data[i]);
    for (int i = 0; i < m->r->count; i++)
        TN_CHECK(add_weights(g, &seen, m->r->members[i].weights, err));
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
    if (m->r->sketch) {
        m->shares = *m->r->sketch;
        return TN_OK;
    }
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
    with.weights = with.specialize = true;
    with.stream = ((const tn__wide_recipe *)context)->stream;
    tn__merging m = {.r = context, .options = &with, .a = a};
    bool ready = m.r->files && options->value_count == 0;
    m.stacker = tn__wide_stacker_new(ready ? m.r->files : NULL, &with);
    if (!m.stacker) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    m.reader =
        (tn__wide_reader){.files = m.stacker->files, .members = m.r->members, .count = m.r->count};
    tn_status status = tn_guard(merge_guarded, &m, err);
    tn__wide_read_done(&m.reader.first);
    tn__wide_read_done(&m.reader.other);
    if (!a->filler.context) tn__wide_stacker_free(m.stacker);
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
