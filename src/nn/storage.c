/* Memory of evaluated tensors. A step of a loop needs the sizes of the one before, so blocks that
 * are given back serve again. See lazy.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "nn/lazy.h"

#define SPARE_BYTES ((size_t)1 << 30) /* more than this is given back to the system */

static void *take_block(tn_context *c, size_t bytes) {
    for (int i = c->block_count; i-- > 0;) {
        if (c->blocks[i].bytes != bytes) continue;
        void *data = c->blocks[i].data;
        c->blocks[i] = c->blocks[--c->block_count];
        c->block_bytes -= bytes;
        return data;
    }
    return tn_driver_cpu.allocate(bytes);
}

static void give_block(tn_context *c, void *data, size_t bytes) {
    if (c->block_count == TN__BLOCKS || c->block_bytes + bytes > SPARE_BYTES) {
        tn_driver_cpu.release(data);
        return;
    }
    c->blocks[c->block_count++] = (tn__block){data, bytes};
    c->block_bytes += bytes;
}

void tn__storage_trim(tn_context *c) {
    for (int i = 0; i < c->block_count; i++) tn_driver_cpu.release(c->blocks[i].data);
    c->block_count = 0;
    c->block_bytes = 0;
}

static bool storage_bytes(tn_dtype dtype, int rank, const int64_t *dim, size_t *out) {
    *out = tn_dtype_size(dtype);
    for (int a = 0; a < rank; a++)
        if (!tn_size_mul(*out, (size_t)dim[a], out)) return false;
    return *out <= INT64_MAX / 2;
}

tn_status tn__storage_check(const char *what, tn_dtype dtype, int rank, const int64_t *dim,
                            tn_error *err) {
    char text[TN_MAX_RANK * 24] = "";
    size_t bytes, length = 0;
    if (storage_bytes(dtype, rank, dim, &bytes)) return TN_OK;
    for (int a = 0; a < rank; a++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%" PRId64,
                                   a ? " × " : "", dim[a]);
    return tn_error_set(err, TN_INVALID,
                        "%s would have %s elements of %s, more than memory can be addressed for; "
                        "is a size wrong?",
                        what, text, tn_dtype_name(dtype));
}

tn__storage *tn__storage_empty(tn_dtype dtype, int rank, const int64_t *dim) {
    tn__storage *s = calloc(1, sizeof *s);
    size_t bytes;
    if (!s || !storage_bytes(dtype, rank, dim, &bytes)) {
        free(s);
        return NULL;
    }
    *s = (tn__storage){.refs = 1, .dtype = dtype, .rank = rank, .bytes = bytes};
    for (int a = 0; a < rank; a++) s->dim[a] = dim[a];
    return s;
}

tn__storage *tn__storage_abstract(tn_dtype dtype, int rank, const int64_t *dim, const char *what) {
    tn__storage *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    *s = (tn__storage){.refs = 1, .dtype = dtype, .rank = rank, .ready = true};
    for (int a = 0; a < rank; a++) s->dim[a] = dim[a];
    s->abstract = strdup(what);
    if (s->abstract) return s;
    free(s);
    return NULL;
}

tn_status tn__refuse_abstract(const tn__storage *s, tn_error *err) {
    return tn_error_set(
        err, TN_INVALID,
        "%s has a type and no elements; what depends on it can be recorded, but not "
        "evaluated",
        s->abstract);
}

static bool fill(tn_context *c, tn__storage *s) {
    s->data = take_block(c, s->bytes ? s->bytes : 1);
    if (!s->data) return false;
    c->stats.bytes += s->bytes;
    c->stats.peak_bytes = TN_MAX(c->stats.peak_bytes, c->stats.bytes);
    return true;
}

tn__storage *tn__storage_new(tn_context *c, tn_dtype dtype, int rank, const int64_t *dim) {
    tn__storage *s = tn__storage_empty(dtype, rank, dim);
    if (!s || fill(c, s)) return s;
    free(s);
    return NULL;
}

bool tn__storage_take_over(tn_context *c, tn__storage *s, tn__storage *donor) {
    if (donor->refs > 1 || donor->borrowed) return fill(c, s);
    s->data = donor->data;
    donor->data = NULL;
    return true;
}

tn__storage *tn__storage_borrowed(tn_dtype dtype, int rank, const int64_t *dim, void *data) {
    tn__storage *s = tn__storage_empty(dtype, rank, dim);
    if (!s) return NULL;
    s->data = data;
    s->ready = s->borrowed = true;
    return s;
}

tn__storage *tn__storage_retain(tn__storage *s) {
    s->refs++;
    return s;
}

void tn__storage_release(tn_context *c, tn__storage *s) {
    if (!s || --s->refs > 0) return;
    if (s->data && !s->borrowed) {
        c->stats.bytes -= s->bytes;
        give_block(c, s->data, s->bytes ? s->bytes : 1);
    }
    free(s->abstract);
    free(s);
}
