/* Finding and reading checkpoints. See tenon/checkpoint.h. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "nn/checkpoint_inner.h"

/* ---- steps ---------------------------------------------------------------------------------- */

tn_status tn__step_path(char out[TN__PATH], const char *folder, int64_t step, tn_error *err) {
    char name[32];
    snprintf(name, sizeof name, "step-%" PRId64, step);
    return tn__path(out, folder, name, err);
}

int64_t tn__step_of(const char *name) {
    static const char begin[] = "step-";
    int64_t step = 0;
    if (strncmp(name, begin, sizeof begin - 1) != 0) return -1;
    const char *at = name + sizeof begin - 1;
    if (!*at || (*at == '0' && at[1])) return -1;
    for (; *at; at++) {
        if (*at < '0' || *at > '9' || step > (INT64_MAX - (*at - '0')) / 10) return -1;
        step = step * 10 + (*at - '0');
    }
    return step;
}

static int descending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x > y ? -1 : x < y;
}

static bool add_step(int64_t **list, int *count, int *room, int64_t step) {
    if (*count == *room) {
        int64_t *more = realloc(*list, (2 * (size_t)*room + 16) * sizeof *more);
        if (!more) return false;
        *list = more;
        *room = 2 * *room + 16;
    }
    (*list)[(*count)++] = step;
    return true;
}

tn_status tn__steps_in(const char *folder, int64_t **out, int *count, tn_error *err) {
    int room = 0;
    bool ok = true;
    *out = NULL;
    *count = 0;
    DIR *dir = opendir(folder);
    if (!dir && errno == ENOENT) return TN_OK;
    if (!dir) return tn_error_set(err, TN_IO, "%s: cannot read: %s", folder, strerror(errno));
    for (struct dirent *e; ok && (e = readdir(dir));) {
        int64_t step = tn__step_of(e->d_name);
        if (step >= 0) ok = add_step(out, count, &room, step);
    }
    closedir(dir);
    if (*count) qsort(*out, (size_t)*count, sizeof **out, descending);
    if (ok) return TN_OK;
    free(*out);
    *out = NULL;
    return tn_error_set(err, TN_OUT_OF_MEMORY, "%s: out of memory", folder);
}

/* ---- opening -------------------------------------------------------------------------------- */

typedef struct part {
    const char *name; /* of the manifest */
    tn_tensor_file *tensors;
} part;

typedef struct blob {
    const char *name;
    tn_file_map map;
} blob;

struct tn_checkpoint {
    char path[TN__PATH];
    tn__manifest manifest;
    int part_count, blob_count;
    part *parts;
    blob *blobs;
};

static tn_status open_part(tn_checkpoint *c, const char *name, tn_error *err) {
    const char **files = calloc(c->manifest.files.len + 1, sizeof *files);
    if (!files) return tn_error_set(err, TN_OUT_OF_MEMORY, "%s: out of memory", c->path);
    int n = 0;
    for (uint32_t i = 0; i < c->manifest.files.len; i++) {
        const tn__manifest_file *f = &c->manifest.files.data[i];
        if (f->part && strcmp(f->part, name) == 0) files[n++] = f->name;
    }
    part *p = &c->parts[c->part_count++];
    p->name = name;
    tn_status status = tn__tensor_file_open(c->path, files, n, &p->tensors, err);
    free(files);
    return status;
}

static tn_status open_blob(tn_checkpoint *c, const tn__manifest_file *f, tn_error *err) {
    blob *b = &c->blobs[c->blob_count++];
    b->name = f->blob;
    return tn_file_map_beneath(&b->map, c->path, f->name, 0, err);
}

static const part *find_part(const tn_checkpoint *c, const char *name) {
    for (int i = 0; i < c->part_count; i++)
        if (strcmp(c->parts[i].name, name) == 0) return &c->parts[i];
    return NULL;
}

static tn_status open_files(tn_checkpoint *c, tn_error *err) {
    uint32_t n = c->manifest.files.len;
    c->parts = calloc(n + 1, sizeof *c->parts);
    c->blobs = calloc(n + 1, sizeof *c->blobs);
    if (!c->parts || !c->blobs)
        return tn_error_set(err, TN_OUT_OF_MEMORY, "%s: out of memory", c->path);
    for (uint32_t i = 0; i < n; i++) {
        const tn__manifest_file *f = &c->manifest.files.data[i];
        if (f->part && !find_part(c, f->part)) TN_CHECK(open_part(c, f->part, err));
        if (f->blob) TN_CHECK(open_blob(c, f, err));
    }
    return TN_OK;
}

static tn_status open_step(const char *folder, int64_t step, tn_checkpoint **out, tn_error *err) {
    tn_checkpoint *c = calloc(1, sizeof *c);
    if (!c) return tn_error_set(err, TN_OUT_OF_MEMORY, "%s: out of memory", folder);
    tn__manifest_init(&c->manifest, step);
    tn_status status = tn__step_path(c->path, folder, step, err);
    if (status == TN_OK) status = tn__manifest_read(&c->manifest, c->path, step, true, err);
    if (status == TN_OK) status = open_files(c, err);
    if (status == TN_OK)
        *out = c;
    else
        tn_checkpoint_release(c);
    return status;
}

static tn_status open_newest(const char *folder, tn_checkpoint **out, tn_error *err) {
    int64_t *steps;
    int count;
    TN_CHECK(tn__steps_in(folder, &steps, &count, err));
    tn_error first = TN_ERROR_INIT;
    tn_error_set(&first, TN_NOT_FOUND, "%s: there is no checkpoint (step-N)", folder);
    for (int i = 0; i < count && !*out; i++) {
        tn_error why = TN_ERROR_INIT;
        if (open_step(folder, steps[i], out, &why) == TN_OK) break;
        tn_log_write(TN_LOG_WARN, "%s/step-%" PRId64 " is passed over: %s", folder, steps[i],
                     why.message);
        if (i > 0) continue;
        first = why;
        if (why.status == TN_NOT_FOUND) first.status = TN_INVALID;
        tn_error_push(&first, "no checkpoint is complete; the newest");
    }
    free(steps);
    if (*out) return TN_OK;
    if (err) *err = first;
    return first.status;
}

tn_status tn_checkpoint_open(const char *folder, int64_t step, tn_checkpoint **out, tn_error *err) {
    *out = NULL;
    if (step == TN_CHECKPOINT_NEWEST) return open_newest(folder, out, err);
    if (step < 0)
        return tn_error_set(err, TN_INVALID, "%s: there is no step %" PRId64, folder, step);
    return open_step(folder, step, out, err);
}

void tn_checkpoint_release(tn_checkpoint *c) {
    if (!c) return;
    for (int i = 0; i < c->part_count; i++) tn_tensor_file_release(c->parts[i].tensors);
    for (int i = 0; i < c->blob_count; i++) tn_file_map_close(&c->blobs[i].map);
    tn__manifest_deinit(&c->manifest);
    free(c->parts);
    free(c->blobs);
    free(c);
}

/* ---- what is in it -------------------------------------------------------------------------- */

int64_t tn_checkpoint_step(const tn_checkpoint *c) {
    return c->manifest.step;
}

const tn_tensor_file *tn_checkpoint_tensors(const tn_checkpoint *c, const char *name) {
    const part *p = find_part(c, name);
    return p ? p->tensors : NULL;
}

tn_status tn_checkpoint_load(const tn_checkpoint *c, const tn_checkpoint_part *parts,
                             int part_count, int flags, tn_error *err) {
    tn__loading l = {0};
    tn_status status = TN_OK;
    for (int i = 0; i < part_count && status == TN_OK; i++) {
        const tn_tensor_file *f = tn_checkpoint_tensors(c, parts[i].name);
        if (!f)
            status = tn_error_set(err, TN_NOT_FOUND, "%s: there is no part '%s'", c->path,
                                  parts[i].name);
        else
            status = tn__loading_add(&l, f, parts[i].tensors, parts[i].count, flags, err);
    }
    tn__loading_end(&l, status);
    return status;
}

tn_status tn_checkpoint_blob(const tn_checkpoint *c, const char *name, const void **data,
                             size_t *size, tn_error *err) {
    *data = NULL;
    *size = 0;
    for (int i = 0; i < c->blob_count; i++) {
        if (strcmp(c->blobs[i].name, name) != 0) continue;
        *data = c->blobs[i].map.data;
        *size = c->blobs[i].map.size;
        return TN_OK;
    }
    return tn_error_set(err, TN_NOT_FOUND, "%s: there is no blob '%s'", c->path, name);
}
