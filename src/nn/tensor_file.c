/* Tensors from safetensors files. See tenon/checkpoint.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/json.h"
#include "nn/checkpoint_inner.h"

struct tn_tensor_file {
    const char *path; /* for messages */
    tn_arena arena;
    TN_VEC(tn_safetensors) shards;
    TN_VEC(const tn_safetensor *) tensors;
    tn_map by_name;
};

/* ---- opening -------------------------------------------------------------------------------- */

typedef struct open_args {
    tn_tensor_file *file;
    const char *folder;
    const char *const *names;
    int count;
} open_args;

static tn_safetensors *new_shard(tn_tensor_file *f) {
    tn_vec_push(&f->arena, &f->shards, (tn_safetensors){0});
    return &f->shards.data[f->shards.len - 1];
}

/* A file that another one names. */
static tn_status add_shard(tn_tensor_file *f, const char *name, tn_error *err) {
    tn_safetensors *shard = new_shard(f);
    const char *path = tn_arena_printf(&f->arena, "%s/%s", f->path, name);
    TN_CHECK(tn_file_map_beneath(&shard->map, f->path, name, TN_BENEATH_HUB, err));
    return tn_safetensors_of_map(shard->map, path, &f->arena, shard, err);
}

static tn_status index_tensors(tn_tensor_file *f, tn_error *err) {
    tn_map_init(&f->by_name, &f->arena);
    for (uint32_t s = 0; s < f->shards.len; s++)
        for (uint32_t i = 0; i < f->shards.data[s].tensors.len; i++) {
            const tn_safetensor *t = &f->shards.data[s].tensors.data[i];
            uint32_t other;
            if (tn_map_get_str(&f->by_name, t->name, &other))
                return tn_error_set(err, TN_INVALID, "%s: tensor '%.200s' is in two files", f->path,
                                    t->name);
            tn_map_put_str(&f->by_name, t->name, f->tensors.len);
            tn_vec_push(&f->arena, &f->tensors, t);
        }
    return TN_OK;
}

static tn_status open_all(void *argument, tn_error *err) {
    const open_args *a = argument;
    tn_tensor_file *f = a->file;
    f->path = tn_arena_strdup(&f->arena, a->folder);
    for (int i = 0; i < a->count; i++) TN_CHECK(add_shard(f, a->names[i], err));
    return index_tensors(f, err);
}

static tn_status open_one(void *argument, tn_error *err) {
    const open_args *a = argument;
    tn_tensor_file *f = a->file;
    f->path = tn_arena_strdup(&f->arena, a->folder);
    TN_CHECK(tn_safetensors_open(f->path, &f->arena, new_shard(f), err));
    return index_tensors(f, err);
}

static tn_status open_with(tn_guarded *body, open_args *a, tn_tensor_file **out, tn_error *err) {
    a->file = calloc(1, sizeof *a->file);
    if (!a->file) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_arena_init(&a->file->arena, tn_allocator_system());
    tn_status status = tn_guard(body, a, err);
    if (status == TN_OK)
        *out = a->file;
    else
        tn_tensor_file_release(a->file);
    return status;
}

tn_status tn__tensor_file_open(const char *folder, const char *const *names, int count,
                               tn_tensor_file **out, tn_error *err) {
    *out = NULL;
    return open_with(open_all, &(open_args){NULL, folder, names, count}, out, err);
}

void tn_tensor_file_release(tn_tensor_file *f) {
    if (!f) return;
    for (uint32_t i = 0; i < f->shards.len; i++) tn_safetensors_close(&f->shards.data[i]);
    tn_arena_deinit(&f->arena);
    free(f);
}

/* ---- an index of several files -------------------------------------------------------------- */

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The files that the index names, each once, in `names`; borrowed from `map`. */
static tn_status list_shards(const char *path, const json_t *map, const char **names, int *count,
                             tn_error *err) {
    const char *tensor;
    const json_t *value;
    int n = 0;
    json_object_foreach((json_t *)(uintptr_t)map, tensor, value) {
        const char *name = json_string_value(value);
        if (!name || !name[0] || strchr(name, '/'))
            return tn_error_set(err, TN_INVALID,
                                "%s: the file of tensor '%.200s' is not the name of a file beside "
                                "the index",
                                path, tensor);
        names[n++] = name;
    }
    qsort(names, (size_t)n, sizeof *names, by_text);
    *count = 0;
    for (int i = 0; i < n; i++)
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0) names[(*count)++] = names[i];
    return TN_OK;
}

static tn_status check_index(const char *path, const json_t *map, const tn_tensor_file *f,
                             tn_error *err) {
    const char *tensor;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, tensor, value) {
        uint32_t i;
        if (!tn_map_get_str(&f->by_name, tensor, &i))
            return tn_error_set(err, TN_INVALID, "%s: tensor '%.200s' is not in %s", path, tensor,
                                json_string_value(value));
    }
    return TN_OK;
}

static tn_status open_shards(const char *path, const json_t *map, tn_tensor_file **out,
                             tn_error *err) {
    char folder[TN__PATH];
    const char *end = strrchr(path, '/');
    int count = 0;
    if (!json_is_object(map))
        return tn_error_set(err, TN_INVALID, "%s: the index has no weight_map", path);
    snprintf(folder, sizeof folder, "%.*s", end ? (int)(end - path) : 1, end ? path : ".");
    if (end == path) strcpy(folder, "/");
    const char **names = calloc(json_object_size(map) + 1, sizeof *names);
    if (!names) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_status status = list_shards(path, map, names, &count, err);
    if (status == TN_OK) status = tn__tensor_file_open(folder, names, count, out, err);
    free(names);
    if (status == TN_OK) status = check_index(path, map, *out, err);
    return status;
}

static tn_status open_index(const char *path, tn_tensor_file **out, tn_error *err) {
    tn_file_map m;
    json_error_t why;
    TN_CHECK(tn_file_map_open(&m, path, err));
    json_t *root = tn_json_parse(m.data, m.size, 0, JSON_REJECT_DUPLICATES, &why);
    tn_status status;
    if (root)
        status = open_shards(path, json_object_get(root, "weight_map"), out, err);
    else
        status = tn_error_set(err, TN_INVALID, "%s: line %d: %s", path, why.line, why.text);
    json_decref(root);
    tn_file_map_close(&m);
    if (status == TN_OK) return TN_OK;
    tn_tensor_file_release(*out);
    *out = NULL;
    return status;
}

static bool exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

tn_status tn_tensor_file_open(const char *path, tn_tensor_file **out, tn_error *err) {
    struct stat st;
    char inside[TN__PATH];
    *out = NULL;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        TN_CHECK(tn__path(inside, path, "model.safetensors.index.json", err));
        if (!exists(inside)) TN_CHECK(tn__path(inside, path, "model.safetensors", err));
        path = inside;
    }
    if (ends_with(path, ".json")) return open_index(path, out, err);
    return open_with(open_one, &(open_args){NULL, path, NULL, 0}, out, err);
}

/* ---- what is in it -------------------------------------------------------------------------- */

int tn_tensor_file_count(const tn_tensor_file *f) {
    return (int)f->tensors.len;
}

tn_status tn_tensor_file_info(const tn_tensor_file *f, int i, tn_tensor_info *out) {
    *out = (tn_tensor_info){0};
    if (i < 0 || (uint32_t)i >= f->tensors.len) return TN_NOT_FOUND;
    const tn_safetensor *t = f->tensors.data[i];
    *out = (tn_tensor_info){.name = t->name, .dtype = t->dtype, .rank = t->rank};
    for (int a = 0; a < t->rank; a++) out->dim[a] = t->dim[a];
    return TN_OK;
}

static tn_status find(const tn_tensor_file *f, const char *name, const tn_safetensor **out,
                      tn_error *err) {
    uint32_t i;
    if (!tn_map_get_str(&f->by_name, name, &i))
        return tn_error_set(err, TN_NOT_FOUND, "%s: there is no tensor '%.200s' among its %u",
                            f->path, name, f->tensors.len);
    *out = f->tensors.data[i];
    return TN_OK;
}

/* A concrete tensor of no scope. */
static tn_status copy_tensor(tn_context *c, const tn_safetensor *t, tn_tensor **out,
                             tn_error *err) {
    pthread_mutex_lock(&c->lock);
    tn__storage *s = tn__storage_new(c, t->dtype, t->rank, t->dim);
    pthread_mutex_unlock(&c->lock);
    if (s) {
        tn_safetensor_copy(t, s->data);
        s->ready = true;
        pthread_mutex_lock(&c->lock);
        *out = tn__tensor_of_storage(c, s);
        pthread_mutex_unlock(&c->lock);
    }
    if (s && *out) return TN_OK;
    return tn_error_set(err, TN_OUT_OF_MEMORY, "tensor '%.200s': no memory for %zu bytes", t->name,
                        t->size);
}

tn_status tn_tensor_file_get(const tn_tensor_file *f, tn_context *context, const char *name,
                             tn_tensor **out, tn_error *err) {
    const tn_safetensor *t = NULL;
    *out = NULL;
    TN_CHECK(find(f, name, &t, err));
    return copy_tensor(context, t, out, err);
}

/* ---- loading -------------------------------------------------------------------------------- */

static void shape_text(int rank, const int64_t *dim, char *out, size_t size) {
    size_t at = (size_t)snprintf(out, size, "[");
    for (int a = 0; a < rank && at < size; a++)
        at += (size_t)snprintf(out + at, size - at, "%s%lld", a ? "," : "", (long long)dim[a]);
    if (at < size) snprintf(out + at, size - at, "]");
}

static tn_status check_type(const tn_tensor_file *f, const tn_safetensor *t, const tn_tensor *x,
                            tn_error *err) {
    char want[256], have[256];
    bool same = t->dtype == x->dtype && t->rank == x->rank;
    for (int a = 0; same && a < t->rank; a++) same = t->dim[a] == x->dim[a];
    if (same) return TN_OK;
    shape_text(x->rank, x->dim, want, sizeof want);
    shape_text(t->rank, t->dim, have, sizeof have);
    return tn_error_set(err, TN_INVALID, "%s: tensor '%.200s' is %s%s in the file; expected %s%s",
                        f->path, t->name, tn_dtype_name(t->dtype), have, tn_dtype_name(x->dtype),
                        want);
}

static bool make_room(tn__loading *l, int count) {
    int room = l->count + count;
    tn_tensor **to = realloc(l->to, ((size_t)room + 1) * sizeof *to);
    if (to) l->to = to;
    tn_tensor **from = realloc(l->from, ((size_t)room + 1) * sizeof *from);
    if (from) l->from = from;
    return to && from;
}

static tn_status add_one(tn__loading *l, const tn_tensor_file *f, const tn_named_tensor *x,
                         int flags, bool *used, tn_error *err) {
    const tn_safetensor *t = NULL;
    uint32_t i;
    if (!x->name || !x->tensor)
        return tn_error_set(err, TN_INVALID, "%s: a tensor to load, '%.200s', is NULL", f->path,
                            x->name ? x->name : "");
    if (!tn_map_get_str(&f->by_name, x->name, &i) && flags & TN_LOAD_ALLOW_MISSING) return TN_OK;
    TN_CHECK(find(f, x->name, &t, err));
    used[i] = true;
    TN_CHECK(check_type(f, t, x->tensor, err));
    l->to[l->count] = x->tensor;
    TN_CHECK(copy_tensor(x->tensor->context, t, &l->from[l->count], err));
    (void)tn_keep(l->from[l->count++]);
    return TN_OK;
}

tn_status tn__loading_add(tn__loading *l, const tn_tensor_file *f, const tn_named_tensor *tensors,
                          int count, int flags, tn_error *err) {
    bool *used = calloc(f->tensors.len + 1, sizeof *used);
    tn_status status = TN_OK;
    if (!used || !make_room(l, count))
        status = tn_error_set(err, TN_OUT_OF_MEMORY, "%s: out of memory", f->path);
    for (int i = 0; i < count && status == TN_OK; i++)
        status = add_one(l, f, &tensors[i], flags, used, err);
    for (uint32_t i = 0; i < f->tensors.len && status == TN_OK; i++)
        if (!used[i] && !(flags & TN_LOAD_ALLOW_UNUSED))
            status = tn_error_set(err, TN_INVALID,
                                  "%s: tensor '%.200s' of the file is not asked for "
                                  "(TN_LOAD_ALLOW_UNUSED leaves it out)",
                                  f->path, f->tensors.data[i]->name);
    free(used);
    return status;
}

void tn__loading_end(tn__loading *l, tn_status status) {
    for (int i = 0; i < l->count; i++) {
        if (status == TN_OK) tn_assign_at("loading", l->to[i], l->from[i]);
        tn_release(l->from[i]);
    }
    free(l->to);
    free(l->from);
    *l = (tn__loading){0};
}

tn_status tn_tensor_file_load(const tn_tensor_file *f, const tn_named_tensor *tensors, int count,
                              int flags, tn_error *err) {
    tn__loading l = {0};
    tn_status status = tn__loading_add(&l, f, tensors, count, flags, err);
    tn__loading_end(&l, status);
    return status;
}
