/* An ONNX file → a graph: the whole import in order. See import/import.h.
 *
 *   map the file → read it (read.c) → inputs → initializers → nodes (nodes.c, ops_*.c) → outputs  */
#include "import/onnx/onnx.h"

#include <stdio.h>

#include "import/onnx/files.h"
#include "import/onnx/ops.h"
#include "import/onnx/scope.h"

enum { MAX_NODES = 1 << 20, MAX_BOUNDS = 16 };
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

/* ---- inputs --------------------------------------------------------------------------------- */

static const tn_import_value *bound_value(const tn_onnx_importer *im, const char *name) {
    for (uint32_t i = 0; i < im->options->value_count; i++)
        if (!strcmp(im->options->values[i].name, name)) return &im->options->values[i];
    return NULL;
}

static bool bound_dim(const tn_onnx_importer *im, const char *name, int64_t *value) {
    for (uint32_t i = 0; i < im->options->dim_count; i++)
        if (!strcmp(im->options->dims[i].name, name)) {
            *value = im->options->dims[i].value;
            return true;
        }
    return false;
}

/* The symbol of a size as the model spells it, or a name for one it does not name. */
static const char *symbol_name(const tn_onnx_importer *im, const tn_onnx_port *p, uint32_t axis) {
    const tn_onnx_dim *d = &p->dims.data[axis];
    return d->symbol[0] ? d->symbol : tn_arena_printf(im->scratch, "%s.%u", p->name, axis);
}

/* What bound values say about symbols. */
static void imply_dims(tn_onnx_importer *im) {
    const tn_onnx_graph *g = im->model->graph;
    tn_map_init(&im->implied, im->scratch);
    if (!im->options->value_count) return;
    for (uint32_t i = 0; i < g->inputs.len; i++) {
        const tn_onnx_port *p = &g->inputs.data[i];
        const tn_import_value *v = bound_value(im, p->name);
        if (!v || !p->has_shape || (uint32_t)v->array.rank != p->dims.len) continue;
        for (uint32_t d = 0; d < p->dims.len; d++)
            if (v->array.dim[d] <= UINT32_MAX)
                tn_map_put_str(&im->implied, p->dims.data[d].symbol, (uint32_t)v->array.dim[d]);
    }
}

static tn_dim import_dim(const tn_onnx_importer *im, tn_dims *dims, const tn_onnx_port *p,
                         uint32_t axis) {
    const tn_onnx_dim *d = &p->dims.data[axis];
    int64_t value;
    uint32_t implied;
    if (d->has_value && d->value >= 0) return d->value;
    const char *name = symbol_name(im, p, axis);
    if (bound_dim(im, name, &value) && value >= 0) return value;
    if (d->symbol[0] && tn_map_get_str(&im->implied, name, &implied)) return implied;
    tn_dim open = tn_dim_of_symbol(dims, tn_arena_strdup(im->arena, name));
    int64_t hi = TN_DIM_UNBOUNDED; /* a size may be 0 */
    for (uint32_t i = 0; i < im->bounds->len; i++)
        if (!strcmp(im->bounds->data[i].symbol, name)) hi = im->bounds->data[i].hi;
    tn_dims_set_bounds(dims, tn_dims_symbol(dims, name), 0, hi, 1);
    return open;
}

static tn_status port_type(const tn_onnx_importer *im, const tn_onnx_port *p, tn_import_port *out,
                           tn_error *err) {
    *out = (tn_import_port){.name = tn_arena_strdup(im->arena, p->name), .typed = p->has_shape};
    if (p->other)
        return tn_error_set(err, TN_UNSUPPORTED, "'%s' is %s; only tensors can go in and out",
                            p->name, p->other);
    tn_status status = tn_onnx_dtype(p->type, &out->type.dtype, err);
    if (status != TN_OK) {
        tn_error_push(err, "'%s'", p->name);
        return status;
    }
    if (p->dims.len > TN_MAX_RANK)
        return tn_error_set(err, TN_UNSUPPORTED, "'%s' has %u axes; at most %d", p->name,
                            p->dims.len, TN_MAX_RANK);
    out->type.shape.rank = (int)p->dims.len;
    for (uint32_t i = 0; i < p->dims.len; i++)
        out->type.shape.dim[i] = import_dim(im, im->result->dims, p, i);
    return TN_OK;
}

/* A bound value settles the input's type. */
static tn_status settle_type(const tn_import_value *v, tn_import_port *port, tn_error *err) {
    bool fits = v->array.dtype == port->type.dtype &&
                (!port->typed || v->array.rank == port->type.shape.rank);
    for (int i = 0; fits && port->typed && i < v->array.rank; i++) {
        tn_dim d = port->type.shape.dim[i];
        fits = !tn_dim_is_const(d) || d == v->array.dim[i];
    }
    if (!fits)
        return tn_error_set(err, TN_INVALID,
                            "the value given for input '%s' does not have the input's type",
                            port->name);
    port->typed = true;
    port->type.shape.rank = v->array.rank;
    for (int i = 0; i < v->array.rank; i++) port->type.shape.dim[i] = v->array.dim[i];
    return TN_OK;
}

static bool is_initializer(const tn_onnx_scope *s, const char *name) {
    uint32_t index;
    return tn_map_get_str(&s->names, name, &index) && s->items.data[index]->initializer;
}

static void add_input(tn_onnx_scope *s, const tn_onnx_port *p, tn_error *err) {
    tn_onnx_importer *im = s->im;
    tn_builder *b = &s->level->builder;
    tn_import_port port;
    const tn_import_value *v = bound_value(im, p->name);
    b->status = port_type(im, p, &port, err);
    if (tn_b_ok(b) && v) b->status = settle_type(v, &port, err);
    if (!tn_b_ok(b)) {
        tn_error_push(err, "input");
        return;
    }
    tn_vec_push(im->arena, &im->result->inputs, port);
    if (!port.typed) {
        im->needs = true;
        tn_vec_push(im->arena, &im->result->need_values, port.name);
        im->result->need_reason = tn_arena_printf(
            im->arena, "input '%s': the file does not tell its number of axes", p->name);
        return;
    }
    tn_value value = tn_b_input(b, port.name, port.type.dtype, &port.type.shape);
    tn_onnx_define(s, port.name, tn_onnx_item_new(s, value, port.name));
    if (!v || !tn_b_ok(b)) return;
    while (s->level->fold.len < value) { /* inputs come first */
        tn_vec_push(im->scratch, &s->level->fold, TN_FOLD_OPEN);
        tn_vec_push(im->scratch, &s->level->arrays, (tn_array){0});
    }
    tn_vec_push(im->scratch, &s->level->fold, TN_FOLD_DONE);
    tn_vec_push(im->scratch, &s->level->arrays, v->array);
}

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

static tn_status check_options(const tn_onnx_importer *im, tn_error *err) {
    const tn_onnx_graph *g = im->model->graph;
    for (uint32_t k = 0; k < im->options->dim_count; k++) {
        const char *name = im->options->dims[k].name;
        bool found = false;
        for (uint32_t i = 0; i < g->inputs.len; i++)
            for (uint32_t d = 0; d < g->inputs.data[i].dims.len; d++)
                found |= !strcmp(symbol_name(im, &g->inputs.data[i], d), name);
        if (!found)
            return tn_error_set(err, TN_NOT_FOUND, "the model has no size named '%s'", name);
        if (im->options->dims[k].value < 0)
            return tn_error_set(err, TN_INVALID, "size '%s' cannot be %lld", name,
                                (long long)im->options->dims[k].value);
    }
    return TN_OK;
}

/* ---- outputs -------------------------------------------------------------------------------- */

/* `listed`: the names of the outputs so far. */
static void add_output(tn_onnx_scope *s, const tn_onnx_port *p, tn_map *listed) {
    tn_builder *b = &s->level->builder;
    tn_onnx_item *item = tn_onnx_lookup(s, p->name);
    tn_dtype declared;
    if (!item) {
        tn_b_fail(b, TN_INVALID, "output '%s' is not computed by any node", p->name);
        return;
    }
    if (item->kind != TN_ITEM_TENSOR) {
        tn_b_fail(b, TN_UNSUPPORTED, "output '%s' is not a tensor; only tensors can go out",
                  p->name);
        return;
    }
    uint32_t taken;
    if (tn_map_get_str(listed, p->name, &taken))
        tn_b_fail(b, TN_INVALID, "output '%s' is listed twice", p->name);
    tn_map_put_str(listed, p->name, 1);
    tn_value v = tn_onnx_item_build(s, item);
    if (!tn_b_ok(b)) return;
    tn_type type = tn_b_type(b, v);
    tn_error ignored = TN_ERROR_INIT;
    if (!p->other && p->type && tn_onnx_dtype(p->type, &declared, &ignored) == TN_OK &&
        declared != type.dtype) {
        tn_b_fail(b, TN_INVALID, "output '%s' is declared as %s but computed as %s", p->name,
                  tn_dtype_name(declared), tn_dtype_name(type.dtype));
        return;
    }
    char *name = tn_arena_strdup(s->im->arena, p->name);
    tn_graph_add_output(b->graph, v, name);
    tn_import_port port = {.name = name, .type = type, .typed = true};
    tn_vec_push(s->im->arena, &s->im->result->outputs, port);
}

/* As far as the file tells, when there is no graph. */
static tn_status declare_outputs(tn_onnx_importer *im, tn_error *err) {
    const tn_onnx_graph *g = im->model->graph;
    im->result->outputs.len = 0;
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        const tn_onnx_port *p = &g->outputs.data[i];
        tn_import_port port = {.name = tn_arena_strdup(im->arena, p->name)};
        bool typeless = !p->type && !p->other;
        if (!typeless) TN_TRY(err, port_type(im, p, &port, err), "output");
        tn_vec_push(im->arena, &im->result->outputs, port);
    }
    return TN_OK;
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
    r->dims = TN_NEW(im->arena, tn_dims);
    tn_dims_init(r->dims, im->arena);
    im->work = work_budget;
    im->nodes = MAX_NODES;
    im->again = im->described = false;
    im->data_sizes.len = im->selections.len = 0;
    TN_CHECK(check_options(im, err));
    r->graph = tn_graph_new(im->arena, r->dims);
    tn_onnx_level *level = tn_onnx_level_new(im, r->graph, NULL, err);
    tn_onnx_scope_init(&s, im, NULL, level);
    s.opsets = &im->model->opsets;
    tn_onnx_import_initializers(&s, g);
    for (uint32_t i = 0; i < g->inputs.len && tn_b_ok(&level->builder); i++)
        if (!is_initializer(&s, g->inputs.data[i].name)) add_input(&s, &g->inputs.data[i], err);
    if (im->options->weights) tn_onnx_find_weights(&s, g);
    add_weights(&s);
    tn_map listed;
    tn_map_init(&listed, im->scratch);
    if (!im->needs) tn_onnx_import_nodes(&s, g->nodes.data, g->nodes.len);
    for (uint32_t i = 0; i < g->outputs.len && tn_b_ok(&level->builder) && !im->needs; i++)
        add_output(&s, &g->outputs.data[i], &listed);
    if (im->needs) {
        r->graph = NULL;
        return declare_outputs(im, err);
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
    imply_dims(&im);
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
