/* Tensors into safetensors files. See tenon/checkpoint.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "nn/checkpoint_inner.h"

/* ---- snapshots ------------------------------------------------------------------------------ */

static tn_status check_given(const tn_named_tensor *tensors, int count, tn_error *err) {
    for (int i = 0; i < count; i++) {
        if (!tensors[i].name || !tensors[i].tensor)
            return tn_error_set(err, TN_INVALID, "tensor %d, '%.200s', of %d to save is NULL", i,
                                tensors[i].name ? tensors[i].name : "", count);
        if (tensors[i].tensor->context != tensors[0].tensor->context)
            return tn_error_set(err, TN_INVALID, "tensor '%.200s' is of another context",
                                tensors[i].name);
    }
    return TN_OK;
}

/* One evaluation for all. */
static tn_status evaluate(const tn_named_tensor *tensors, int count, tn_error *err) {
    tn_tensor **x = calloc((size_t)count + 1, sizeof *x);
    if (!x) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < count; i++) x[i] = tensors[i].tensor;
    tn_status status = tn_eval(x, count, err);
    free(x);
    return status;
}

/* Under the lock. */
static tn_status hold(tn__snapshot *s, const tn_named_tensor *t, tn_error *err) {
    tn__storage *storage = t->tensor->storage;
    if (!storage || !storage->ready)
        return tn_error_set(err, TN_INVALID, "tensor '%.200s' was assigned while it was saved",
                            t->name);
    tn_import_entry *e = &s->entry[s->count];
    *e = (tn_import_entry){t->name, {storage->dtype, storage->rank, {0}, storage->data}};
    for (int a = 0; a < storage->rank; a++) e->array.dim[a] = storage->dim[a];
    s->storage[s->count++] = tn__storage_retain(storage);
    return TN_OK;
}

tn_status tn__snapshot_take(tn__snapshot *s, const tn_named_tensor *tensors, int count,
                            tn_error *err) {
    *s = (tn__snapshot){0};
    TN_CHECK(check_given(tensors, count, err));
    TN_CHECK(evaluate(tensors, count, err));
    s->entry = calloc((size_t)count + 1, sizeof *s->entry);
    s->storage = calloc((size_t)count + 1, sizeof *s->storage);
    tn_status status = TN_OK;
    if (!s->entry || !s->storage) status = tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    if (count > 0 && status == TN_OK) {
        s->context = tensors[0].tensor->context;
        pthread_mutex_lock(&s->context->lock);
        for (int i = 0; i < count && status == TN_OK; i++) status = hold(s, &tensors[i], err);
        pthread_mutex_unlock(&s->context->lock);
    }
    if (status != TN_OK) tn__snapshot_release(s);
    return status;
}

void tn__snapshot_release(tn__snapshot *s) {
    if (s->count) {
        pthread_mutex_lock(&s->context->lock);
        for (int i = 0; i < s->count; i++) tn__storage_release(s->context, s->storage[i]);
        tn__context_unlock(s->context);
    }
    free(s->entry);
    free(s->storage);
    *s = (tn__snapshot){0};
}

tn_status tn__snapshot_write(const tn__snapshot *s, int first, int count, const char *path,
                             uint64_t *bytes, tn_hash128 *hash, tn_error *err) {
    static const tn_safetensors_text format = {"format", "pt"}; /* as other readers ask for */
    tn__out out;
    TN_CHECK(tn__out_open(&out, path, err));
    tn_status status = tn_safetensors_write(s->entry + first, (uint32_t)count, &format, 1,
                                            tn__out_write, &out, err);
    if (status != TN_OK && status != TN_IO) tn_error_push(err, "%s", path); /* else it is said */
    status = tn__out_close(&out, status, hash, err);
    if (bytes) *bytes = out.bytes;
    return status;
}

/* ---- one file ------------------------------------------------------------------------------- */

static tn_status replace(const char *from, const char *to, tn_error *err) {
    char folder[TN__PATH];
    if (rename(from, to) != 0)
        return tn_error_set(err, TN_IO, "%s: cannot replace: %s", to, strerror(errno));
    const char *end = strrchr(to, '/');
    snprintf(folder, sizeof folder, "%.*s", end ? (int)(end - to + 1) : 1, end ? to : ".");
    return tn__sync_folder(folder, err);
}

tn_status tn_tensors_save(const char *path, const tn_named_tensor *tensors, int count,
                          tn_error *err) {
    char temporary[TN__PATH];
    tn__snapshot s;
    int n = snprintf(temporary, sizeof temporary, "%s.tmp-%ld", path, (long)getpid());
    if (n < 0 || n >= TN__PATH)
        return tn_error_set(err, TN_INVALID, "%.200s…: the path is too long", path);
    TN_TRY(err, tn__snapshot_take(&s, tensors, count, err), "while saving %s", path);
    tn_status status = tn__snapshot_write(&s, 0, count, temporary, NULL, NULL, err);
    if (status == TN_OK) status = replace(temporary, path, err);
    if (status != TN_OK) (void)unlink(temporary);
    tn__snapshot_release(&s);
    return status;
}
