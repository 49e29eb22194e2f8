/* Arrays from and to files, as the command line names them. */
#ifndef TENON_CLI_VALUES_H
#define TENON_CLI_VALUES_H

#include <tenon/session.h>

#include "base/array.h"
#include "cli/cli.h"
#include "import/import.h"

/* The arrays of an .npy, .npz or ONNX TensorProto .pb file, in the arena; "" for no name. */
tn_status cli_values_read(tn_arena *arena, const char *path, tn_import_entries *out, tn_error *err);

/* The type that stands for `dtype` in files of NumPy, which lacks some: bf16 → f32, i4 → i8 … */
tn_dtype cli_wide_dtype(tn_dtype dtype);
/* Element by element; rounds or wraps. */
tn_array cli_values_cast(tn_arena *arena, const tn_array *a, tn_dtype dtype);

/* Writes an array as .npy, widened where NumPy lacks the type; nothing half-written. */
tn_status cli_npy_write(const char *path, const tn_array *a, tn_error *err);

/* Normal floats, integers 0 or 1, flags: the same for the same seed and stream. */
void cli_values_random(tn_array *a, uint64_t seed, uint64_t stream);

static inline tn_array cli_array_of(const tn_buffer *b) {
    tn_array a = {.dtype = b->dtype, .rank = b->rank, .data = b->data};
    memcpy(a.dim, b->dim, sizeof a.dim);
    return a;
}
static inline tn_buffer cli_buffer_of(const tn_array *a) {
    tn_buffer b = {.dtype = a->dtype, .rank = a->rank, .data = a->data};
    memcpy(b.dim, a->dim, sizeof b.dim);
    return b;
}

#endif
