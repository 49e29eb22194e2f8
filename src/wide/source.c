/* Reading the weights of members. See source.h. */
#include "wide/source.h"

#include <stdio.h>
#include <stdlib.h>

#include "import/safetensors.h"
#include "ops/ops_common.h"

/* ---- model files ---------------------------------------------------------------------------- */

static void file_release(tn__wide_file *f) {
    tn_import_close(&f->import);
    tn_arena_deinit(&f->arena);
    free(f->path);
    free(f);
}

void tn__wide_files_deinit(tn__wide_files *f) {
    while (f->first) {
        tn__wide_file *file = f->first;
        f->first = file->next;
        file_release(file);
    }
    tn_arena_deinit(&f->arena);
    *f = (tn__wide_files){.options = f->options};
}

typedef struct importing {
    tn__wide_file *file;
    const tn_import_options *options;
} importing;

static tn_status import_guarded(void *argument, tn_error *err) {
    const importing *x = argument;
    tn__wide_file *f = x->file;
    TN_CHECK(tn_import_onnx(f->path, x->options, &f->arena, &f->import, err));
    if (f->import.graph) tn__structure_of(&f->import, &f->arena, &f->structure);
    return TN_OK;
}

static tn__wide_file *find_file(const tn__wide_files *f, const char *path) {
    uint32_t number;
    if (f->recent && strcmp(f->recent->path, path) == 0) return f->recent;
    return f->at.len && tn_map_get_str(&f->numbers, path, &number) ? f->at.data[number] : NULL;
}

typedef struct adding {
    tn__wide_files *files;
    tn__wide_file *file;
} adding;

static tn_status add_guarded(void *argument, tn_error *err) {
    adding *x = argument;
    tn__wide_files *f = x->files;
    (void)err;
    if (!f->arena.allocator.resize) {
        tn_arena_init(&f->arena, tn_allocator_system());
        tn_map_init(&f->numbers, &f->arena);
    }
    tn_vec_push(&f->arena, &f->at, x->file);
    tn_map_put_str(&f->numbers, x->file->path, f->at.len - 1);
    return TN_OK;
}

static tn_status import_file(tn__wide_files *f, const char *path, tn__wide_file **out,
                             tn_error *err) {
    tn__wide_file *file = calloc(1, sizeof *file);
    if (file) file->path = strdup(path);
    if (!file || !file->path) {
        free(file);
        return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    }
    tn_arena_init(&file->arena, tn_allocator_system());
    tn_status status = tn_guard(import_guarded, &(importing){file, f->options}, err);
    if (status == TN_OK) status = tn_guard(add_guarded, &(adding){f, file}, err);
    if (status != TN_OK) {
        file_release(file);
        return status;
    }
    file->next = f->first;
    f->first = file;
    *out = file;
    return TN_OK;
}

tn_status tn__wide_files_get(tn__wide_files *f, const char *path, tn__wide_file **out,
                             tn_error *err) {
    *out = find_file(f, path);
    if (!*out) TN_CHECK(import_file(f, path, out, err));
    f->recent = *out;
    return TN_OK;
}

/* ---- files of weights ----------------------------------------------------------------------- */

static uint32_t weight_named(const tn_import *i, const char *name) {
    for (uint32_t k = 0; k < i->weights.len; k++)
        if (strcmp(i->weights.data[k].name, name) == 0) return k;
    return UINT32_MAX;
}

static tn_type type_of(const tn_array *a) {
    tn_type t = {.dtype = a->dtype, .shape = {.rank = a->rank}};
    for (int i = 0; i < a->rank; i++) t.shape.dim[i] = a->dim[i];
    return t;
}

static tn_status unknown_array(const tn__wide_values *v, const char *name, tn_error *err) {
    const tn_import *i = &v->file->import;
    char there[256] = "it has none";
    uint32_t more = i->weights.len ? i->weights.len - 1 : 0;
    if (i->weights.len)
        snprintf(there, sizeof there,
                 more ? "its weights are '%s' and %u more" : "its weight is '%s'",
                 i->weights.data[0].name, more);
    return tn_error_set(err, TN_INVALID, "%s: the model has no weight '%s'; %s", v->member->weights,
                        name, there);
}

/* Takes an array of the file for the weight of its name. */
static tn_status take_array(tn__wide_values *v, const char *name, const tn_array *a,
                            tn_error *err) {
    const tn_import *i = &v->file->import;
    uint32_t k = weight_named(i, name);
    if (k == UINT32_MAX) return unknown_array(v, name, err);
    const tn_array *want = &i->weights.data[k].array;
    tn_type have = type_of(a), expected = type_of(want);
    bool same = a->dtype == want->dtype && a->rank == want->rank;
    for (int d = 0; same && d < a->rank; d++) same = a->dim[d] == want->dim[d];
    if (!same)
        return tn_error_set(err, TN_INVALID, "%s: weight '%s' is %s; the model's is %s",
                            v->member->weights, name, tn_type_text(i->dims, &have).at,
                            tn_type_text(i->dims, &expected).at);
    if (v->data[k])
        return tn_error_set(err, TN_INVALID, "%s: weight '%s' is there twice", v->member->weights,
                            name);
    v->data[k] = a->data;
    return TN_OK;
}

static tn_status take_safetensors(tn__wide_values *v, tn_error *err) {
    tn_safetensors s;
    TN_CHECK(tn_safetensors_open(v->member->weights, &v->arena, &s, err));
    v->map = s.map;
    for (uint32_t i = 0; i < s.tensors.len; i++) {
        const tn_safetensor *t = &s.tensors.data[i];
        tn_array a = {.dtype = t->dtype, .rank = t->rank, .data = (void *)(uintptr_t)t->data};
        memcpy(a.dim, t->dim, sizeof a.dim);
        TN_CHECK(take_array(v, t->name, &a, err));
    }
    return TN_OK;
}

static tn_status take_npz(tn__wide_values *v, tn_error *err) {
    tn_import_entries entries = {0};
    TN_CHECK(tn_import_npz(v->member->weights, &v->arena, &entries, err));
    for (uint32_t i = 0; i < entries.len; i++)
        TN_CHECK(take_array(v, entries.data[i].name, &entries.data[i].array, err));
    return TN_OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), k = strlen(end);
    return n >= k && strcmp(text + n - k, end) == 0;
}

bool tn__wide_is_archive(const char *weights) {
    return ends_with(weights, ".npz");
}

static tn_status read_guarded(void *argument, tn_error *err) {
    tn__wide_values *v = argument;
    const tn_import *i = &v->file->import;
    const char *path = v->member->weights;
    if (!path) return TN_OK;
    v->data = TN_NEW_N(&v->arena, const void *, i->weights.len);
    if (tn__wide_is_archive(path))
        TN_CHECK(take_npz(v, err));
    else if (ends_with(path, ".safetensors"))
        TN_CHECK(take_safetensors(v, err));
    else
        return tn_error_set(err, TN_INVALID,
                            "%s: weights are read from .safetensors and .npz files", path);
    for (uint32_t k = 0; k < i->weights.len; k++)
        if (!v->data[k])
            return tn_error_set(
                err, TN_INVALID, "%s: weight '%s' (%s) of the model is missing", path,
                i->weights.data[k].name,
                tn_type_text(i->dims, &(tn_type){type_of(&i->weights.data[k].array).dtype,
                                                 type_of(&i->weights.data[k].array).shape})
                    .at);
    return TN_OK;
}

tn_status tn__wide_values_open(tn__wide_values *v, const tn__wide_file *file,
                               const tn_wide_member *member, tn_error *err) {
    *v = (tn__wide_values){.file = file, .member = member};
    tn_arena_init(&v->arena, tn_allocator_system());
    tn_status status = tn_guard(read_guarded, v, err);
    if (status != TN_OK) tn__wide_values_close(v);
    return status;
}

void tn__wide_values_close(tn__wide_values *v) {
    if (v->map.data) tn_file_map_close(&v->map);
    tn_arena_deinit(&v->arena);
    *v = (tn__wide_values){0};
}

/* ---- elements ------------------------------------------------------------------------------- */

static const void *data_of(const tn__wide_values *v, uint32_t weight) {
    return v->data ? v->data[weight] : v->file->import.weights.data[weight].array.data;
}

void tn__wide_values_copy(const tn__wide_values *v, uint32_t weight, size_t begin, size_t end,
                          void *out) {
    const tn_import_weight *w = &v->file->import.weights.data[weight];
    if (begin >= end) return;
    memcpy(out, (const char *)data_of(v, weight) + begin, end - begin);
    if (!v->member->perturbed) return;
    size_t element = tn_dtype_size(w->array.dtype);
    tn_array x = {.dtype = w->array.dtype, .rank = 1, .data = out};
    x.dim[0] = (int64_t)((end - begin) / element);
    tn__wide_perturb(w->name, v->member->seed, (int64_t)(begin / element), &x);
}

bool tn__wide_values_equal(const tn__wide_values *a, uint32_t weight, const tn__wide_values *b,
                           uint32_t other) {
    size_t bytes = tn_array_bytes(&a->file->import.weights.data[weight].array);
    const void *x = data_of(a, weight), *y = data_of(b, other);
    if (a->member->perturbed || b->member->perturbed) return false;
    return x == y || bytes == 0 || memcmp(x, y, bytes) == 0;
}

/* Whether a message begins with the path. */
static bool tells(const tn_error *err, const char *path) {
    if (!err) return false;
    const char *first = err->frame_count ? err->frames[err->frame_count - 1] : err->message;
    return strncmp(first, path, strlen(path)) == 0;
}

tn_status tn__wide_in_member(tn_status status, int number, const tn_wide_member *member,
                             tn_error *err) {
    if (status == TN_OK) return TN_OK;
    if (tells(err, member->model))
        tn_error_push(err, "member %d", number);
    else
        tn_error_push(err, "member %d (%s)", number, member->model);
    return status;
}
