/* Arrays in memory as a dataset: a sample is a row of each. See tenon/data.h. */
#include <inttypes.h>

#include "nn/data/data.h"

typedef struct arrays {
    tn_dataset base;
    const uint8_t *data[TN__OUTPUTS];
    size_t row_bytes[TN__OUTPUTS];
} arrays;

static tn_status load_rows(const tn_dataset *base, tn__worker *w, const tn__sample_key *key,
                           void *const *out, bool *corrupt, tn_error *err) {
    const arrays *d = (const arrays *)base;
    (void)w, (void)corrupt, (void)err;
    for (int i = 0; i < base->output_count; i++)
        memcpy(out[i], d->data[i] + (size_t)key->index * d->row_bytes[i], d->row_bytes[i]);
    return TN_OK;
}

static const tn__dataset_kind arrays_kind = {.name = "arrays", .load = load_rows};

typedef struct opening {
    arrays *d;
    const tn_buffer *arrays;
    int count;
} opening;

static tn_status add_array(arrays *d, const tn_buffer *a, tn_error *err) {
    int i = d->base.output_count;
    size_t bytes;
    if ((unsigned)a->dtype >= TN_DTYPE_COUNT || a->rank < 1 || a->rank >= TN_MAX_RANK || !a->data)
        return tn_error_set(err, TN_INVALID, "array %d has no data, no type or %d axes", i,
                            a->rank);
    if (a->dim[0] < 1 || (i && a->dim[0] != d->base.count))
        return tn_error_set(err, TN_INVALID, "array %d has %" PRId64 " rows, array 0 has %" PRId64,
                            i, a->dim[0], i ? d->base.count : a->dim[0]);
    bytes = tn_dtype_size(a->dtype);
    for (int axis = 1; axis < a->rank; axis++)
        if (a->dim[axis] < 0 || !tn_size_mul(bytes, (size_t)a->dim[axis], &bytes))
            return tn_error_set(err, TN_INVALID, "array %d: size %" PRId64 " of axis %d", i,
                                a->dim[axis], axis);
    d->data[i] = a->data;
    d->row_bytes[i] = bytes;
    d->base.count = a->dim[0];
    tn__dataset_output(&d->base, a->dtype, a->rank - 1, a->dim + 1);
    return TN_OK;
}

static tn_status open_arrays(void *argument, tn_error *err) {
    opening *o = argument;
    for (int i = 0; i < o->count; i++) TN_CHECK(add_array(o->d, &o->arrays[i], err));
    return TN_OK;
}

tn_status tn_dataset_arrays(const tn_buffer *buffers, int count, tn_dataset **out, tn_error *err) {
    *out = NULL;
    if (count < 1 || count > TN__OUTPUTS)
        return tn_error_set(err, TN_INVALID, "a dataset of %d arrays; expected 1 to %d", count,
                            TN__OUTPUTS);
    opening o = {tn__dataset_new(&arrays_kind, sizeof *o.d), buffers, count};
    return tn__dataset_finish((tn_dataset *)o.d, open_arrays, &o, out, err);
}
