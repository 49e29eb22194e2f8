/* An ONNX file → a graph: the whole import in order. See import/import.h.
 *
 *   map the file → read it (read.c) → initializers → inputs (ports.c) → nodes (nodes.c, ops_*.c)
 *   → outputs (ports.c)  */
#include "import/onnx/onnx.h"

#include <stdio.h>

#include "import/onnx/files.h"
#include "import/onnx/ops.h"
#include "import/onnx/scope.h"

enum { MAX_NODES = 1 << 18, MAX_BOUNDS = 16 };
static const double work_budget = 2e7;
static const size_t scratch_limit = (size_t)1 << 30;

typedef struct import_job {
    const char *path; /* NULL: from memory */
    const void *data;
    size_t size;
    const tn_import_options *options;
    tn_arena *arena;
    tn_import *out;
    tn_arena model_arena, scratch;
    tn_onnx_folder folder;
    tn_onnx_model model;
} import_job;

/* ---- weights -------------------------------------------------------------------------------- */

/* Behind the model's inputs, so that their numbers are those of the file. */
static void add_weights(tn_onnx_scope *s) {
    tn_builder *b = &s->level->builder;
    tn_import *r = s->im->result;
    for (uint32_t i = 0; i < r->weights.len && tn_b_ok(b); i++) {
        const tn_import_weight *w = &r->weights.data[i];
        tn_onnx_item *item = tn_onnx_lookup(s, w->name);
        tn_shape shape = {.rank = w->array.rank};
        for (int a = 0; a < w->array.rank; a++) shape.dim[a] = w->array.dim[a];
        item->weight = true;
        item->value = tn_b_input(b, w->name, w->array.dtype, &shape);
    }
}

/* Values that the graph has; what is known while importing only, such as a shape, is in none. */
static void list_results(tn_onnx_scope *s, const tn_onnx_node *n) {
    tn_arena *arena = s->im->arena;
    tn_import_result r = {tn_arena_strdup(arena, tn_onnx_node_name(n)), NULL, NULL, TN_NO_VALUE};
    r.op = tn_arena_strdup(arena, n->op);
    for (uint32_t i = 0; i < n->outputs.len; i++) {
        uint32_t index;
        if (!tn_map_get_str(&s->names, n->outputs.data[i], &index)) continue;
        const tn_onnx_item *item = s->items.data[index];
        if (item->kind != TN_ITEM_TENSOR || item->value == TN_NO_VALUE) continue;
        r.name = tn_arena_strdup(arena, n->outputs.data[i]);
        r.value = item->value;
        tn_vec_push(arena, &s->im->result->results, r);
    }
}

/* ---- the whole ------------------------------------------------------------------------------ */

static void add_sources(tn_import *r) {
    for (uint32_t i = 0; i < r->maps.len; i++) {
        const tn_file_map *m = &r->maps.data[i];
        tn_graph_source source = {r->paths.data[i], m->device, m->inode, m->size, m->mtime_ns};
        tn_vec_push(r->graph->arena, &r->graph->sources, source);
    }
}

static tn_status import_graph(tn_onnx_importer *im, tn_error *err) {
    const tn_onnx_graph *g = im->model->graph;
    tn_import *r = im->result;
    tn_onnx_scope s;
    r->inputs.len = r->outputs.len = r->weights.len = r->nodes.len = r->results.len = 0;
    r->input_compounds.len = r->output_compounds.len = 0;
    r->dims = TN_NEW(im->arena, tn_dims);
    tn_dims_init(r->dims, im->arena);
    im->work = work_budget;
    im->nodes = MAX_NODES;
    im->again = im->described = false;
    im->data_sizes.len = im->selections.len = 0;
    TN_CHECK(tn_onnx_check_options(im, err));
    r->graph = tn_graph_new(im->arena, r->dims);
    tn_onnx_level *level = tn_onnx_level_new(im, r->graph, NULL, err);
    tn_onnx_scope_init(&s, im, NULL, level);
    s.opsets = &im->model->opsets;
    tn_onnx_import_initializers(&s, g);
    tn_onnx_add_inputs(&s);
    if (im->options->weights) tn_onnx_find_weights(&s, g);
    add_weights(&s);
    if (!im->needs) tn_onnx_import_nodes(&s, g->nodes.data, g->nodes.len);
    if (!im->needs) tn_onnx_add_outputs(&s);
    if (im->needs) {
        r->graph = NULL;
        return tn_onnx_declare_outputs(im, err);
    }
    TN_CHECK(tn_b_finish(&level->builder));
    for (uint32_t i = 0; i < g->nodes.len; i++) list_results(&s, &g->nodes.data[i]);
    add_sources(r);
    return TN_OK;
}

static tn_status read_guarded(void *argument, tn_error *err) {
    import_job *job = argument;
    return tn_onnx_read_model(job->data, job->size, &job->model_arena, &job->model, err);
}

static tn_status read_model(import_job *job, tn_error *err) {
    size_t limit = tn_onnx_memory_limit(job->size);
    job->model_arena.limit = limit;
    tn_status status = tn_guard(read_guarded, job, err);
    if (status != TN_OUT_OF_MEMORY || job->model_arena.used + 4096 < limit / 2) return status;
    return tn_error_set(err, TN_INVALID,
                        "its structure would take more than %zu MiB of memory, far more than a "
                        "file of %zu bytes should",
                        limit >> 20, job->size);
}

static tn_status import_guarded(void *argument, tn_error *err) {
    import_job *job = argument;
    tn_import *r = job->out;
    if (job->path) {
        tn_vec_push(job->arena, &r->paths, tn_arena_strdup(job->arena, job->path));
        tn_vec_push(job->arena, &r->maps, (tn_file_map){0});
        TN_CHECK(tn_file_map_open(&r->maps.data[0], job->path, err));
        job->data = r->maps.data[0].data;
        job->size = r->maps.data[0].size;
    }
    TN_CHECK(read_model(job, err));
    tn_onnx_importer im = {.options = job->options, .result = r, .arena = job->arena};
    im.scratch = &job->scratch;
    im.model = &job->model;
    tn_onnx_imply_dims(&im);
    tn_onnx_index_functions(&im);
    im.files = (tn_onnx_files){.find = tn_onnx_folder_find,
                               .zeros = job->options->absent_data ? tn_onnx_folder_zeros : NULL,
                               .context = job->path ? &job->folder : NULL};
    tn_onnx_bounds bounds = {0};
    im.bounds = &bounds;
    tn_status status;
    uint32_t found;
    do {
        found = bounds.len;
        status = import_graph(&im, err);
    } while (im.again && bounds.len > found && bounds.len < MAX_BOUNDS);
    return status;
}

static tn_status import_model(import_job *job, tn_error *err) {
    static const tn_import_options none;
    if (!job->options) job->options = &none;
    *job->out = (tn_import){0};
    tn_arena_init(&job->model_arena, job->arena->allocator);
    tn_arena_init(&job->scratch, job->arena->allocator);
    job->scratch.limit = scratch_limit;
    tn_onnx_folder_init(&job->folder, job->out, job->arena, job->path);
    tn_status status = tn_guard(import_guarded, job, err);
    tn_arena_deinit(&job->scratch);
    tn_arena_deinit(&job->model_arena);
    if (status != TN_OK) tn_import_close(job->out);
    return status;
}

tn_status tn_import_onnx(const char *path, const tn_import_options *options, tn_arena *arena,
                         tn_import *out, tn_error *err) {
    import_job job = {.path = path, .options = options, .arena = arena, .out = out};
    tn_status status = import_model(&job, err);
    if (status == TN_OK || !err) return status;
    size_t len = strlen(path);
    if (strncmp(err->message, path, len) || err->frame_count) tn_error_push(err, "%s", path);
    return status;
}

tn_status tn_import_onnx_bytes(const void *data, size_t size, const tn_import_options *options,
                               tn_arena *arena, tn_import *out, tn_error *err) {
    import_job job = {.data = data, .size = size, .options = options, .arena = arena, .out = out};
    return import_model(&job, err);
}

void tn_import_close(tn_import *i) {
    for (uint32_t k = 0; k < i->maps.len; k++) tn_file_map_close(&i->maps.data[k]);
    i->maps.len = 0;
    tn_file_map_close(&i->zeros);
    i->zeros = (tn_file_map){0};
}
