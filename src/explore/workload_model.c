/* Workloads from models: ONNX files by their graph, Hugging Face folders by their config.json. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "explore/workload.h"
#include "explore/workload_graph.h"
#include "import/import.h"
#include "transform/pass.h"

typedef struct reading {
    const char *path;
    tn_workload *out;
    int capacity, *count;
    tn_arena arena;
    tn_import import;
} reading;

/* ---- kinds of layers ------------------------------------------------------------------------ */

/* The others of a kind are those of its last layer: what the first reads also makes masks and positions. */
static tn_status add_layer(reading *r, const tn_workload *w, tn_error *err) {
    for (int i = 0; i < *r->count; i++)
        if (r->out[i].hidden == w->hidden && tn__workload_same(&r->out[i], w)) {
            int layers = r->out[i].layers + 1;
            r->out[i] = *w;
            r->out[i].layers = layers;
            return TN_OK;
        }
    if (*r->count == r->capacity)
        return tn_error_set(err, TN_UNSUPPORTED, "more than %d kinds of layers", r->capacity);
    r->out[(*r->count)++] = *w;
    return TN_OK;
}

static void name_kinds(reading *r) {
    const char *slash = strrchr(r->path, '/'), *base = slash && slash[1] ? slash + 1 : r->path;
    int length = (int)strcspn(base, ".");
    if (length > TN_MACHINE_NAME - 8) length = TN_MACHINE_NAME - 8;
    for (int i = 0; i < *r->count; i++) {
        char *name = r->out[i].name;
        if (*r->count > 1)
            snprintf(name, sizeof r->out[i].name, "%.*s.%d", length, base, i + 1);
        else
            snprintf(name, sizeof r->out[i].name, "%.*s", length, base);
    }
}

/* ---- ONNX ----------------------------------------------------------------------------------- */

enum { MOST_TRIES = 8 };

/* The model's graph without the values of its weights. Sizes that have to be known get some. */
static tn_status import_model(reading *r, tn_error *err) {
    TN_VEC(tn_import_dim) dims = {0};
    for (int i = 0; i < MOST_TRIES; i++) {
        tn_import_options options = {
            .dims = dims.data, .dim_count = dims.len, .weights = true, .absent_data = true};
        TN_CHECK(tn_import_onnx(r->path, &options, &r->arena, &r->import, err));
        if (r->import.graph) return TN_OK;
        if (!r->import.need_dims.len) break;
        for (uint32_t d = 0; d < r->import.need_dims.len; d++)
            tn_vec_push(&r->arena, &dims,
                        (tn_import_dim){r->import.need_dims.data[d], 3 + (int64_t)dims.len});
        tn_import_close(&r->import);
    }
    const char *reason = r->import.need_reason;
    return tn_error_set(err, TN_UNSUPPORTED, "%s: its graph depends on values of its inputs: %s",
                        r->path, reason ? reason : "sizes stay unknown");
}

static tn_status read_graph(void *argument, tn_error *err) {
    reading *r = argument;
    const tn_graph *simple;
    tn_layers layers;
    tn_workload w;
    TN_CHECK(import_model(r, err));
    tn_transform_options options = tn_transform_defaults();
    TN_TRY(err, tn_transform_standard(r->import.graph, &options, &simple, err), "%s", r->path);
    tn__layers_find(simple, r->import.inputs.len, &layers);
    if (!layers.attentions.len)
        return tn_error_set(err, TN_UNSUPPORTED,
                            "%s: no attention: nowhere is a softmax between two products of "
                            "computed values",
                            r->path);
    for (uint32_t i = 0; i < layers.attentions.len; i++) {
        TN_TRY(err, tn__layers_workload(&layers, (int)i, &w, err), "%s: attention %u", r->path,
               i + 1);
        TN_TRY(err, add_layer(r, &w, err), "%s", r->path);
    }
    return TN_OK;
}

static tn_status from_onnx(reading *r, tn_error *err) {
    tn_arena_init(&r->arena, tn_allocator_system());
    tn_status status = tn_guard(read_graph, r, err);
    tn_import_close(&r->import);
    tn_arena_deinit(&r->arena);
    return status;
}

/* ---- what is it ----------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

static tn_status read_any(reading *r, tn_error *err) {
    struct stat st;
    char config[4096];
    if (stat(r->path, &st) != 0)
        return tn_error_set(err, errno == ENOENT ? TN_NOT_FOUND : TN_IO, "%s: %s", r->path,
                            strerror(errno));
    if (!S_ISDIR(st.st_mode) && !ends_with(r->path, ".json")) return from_onnx(r, err);
    const char *path = r->path;
    if (S_ISDIR(st.st_mode)) {
        int length = snprintf(config, sizeof config, "%s/config.json", r->path);
        if (length < 0 || length >= (int)sizeof config)
            return tn_error_set(err, TN_INVALID, "%.80s…: the path is too long", r->path);
        path = config;
    }
    return tn__workload_from_config(path, r->out, r->capacity, r->count, err);
}

tn_status tn_workload_from_model(const char *path, tn_workload *out, int capacity, int *count,
                                 tn_error *err) {
    reading r = {.path = path, .out = out, .capacity = capacity, .count = count};
    *count = 0;
    tn_status status = read_any(&r, err);
    if (status)
        *count = 0;
    else
        name_kinds(&r);
    return status;
}
