/* Dense host arrays. See array.h. */
#include "base/array.h"

enum { LINE = 64 };

bool tn_sizes_count(int rank, const int64_t *dim, int64_t *count) {
    int64_t positive = 1;
    bool empty = false;
    for (int i = 0; i < rank; i++) {
        empty |= dim[i] == 0;
        if (dim[i] < 0 || __builtin_mul_overflow(positive, TN_MAX(dim[i], 1), &positive))
            return false;
    }
    *count = empty ? 0 : positive;
    return positive <= TN_MOST_ELEMENTS;
}

int64_t tn_array_count(const tn_array *a) {
    int64_t count = 1;
    for (int i = 0; i < a->rank; i++) count *= a->dim[i];
    return count;
}

size_t tn_array_bytes(const tn_array *a) {
    return (size_t)tn_array_count(a) * tn_dtype_size(a->dtype);
}

tn_array tn_array_new(tn_arena *arena, tn_dtype dtype, int rank, const int64_t *dim) {
    tn_array a = {.dtype = dtype, .rank = rank};
    size_t bytes = tn_dtype_size(dtype);
    for (int i = 0; i < rank; i++) {
        a.dim[i] = dim[i];
        if (!tn_size_mul(bytes, (size_t)dim[i], &bytes)) tn_out_of_memory();
    }
    /* On a cache line: vectors of data that straddle two lines take twice as long. */
    size_t room;
    if (!tn_size_add(bytes, LINE - 1, &room)) tn_out_of_memory();
    uintptr_t at = (uintptr_t)tn_arena_alloc(arena, room);
    a.data = (void *)((at + LINE - 1) & ~(uintptr_t)(LINE - 1));
    return a;
}

tn_cell tn_array_get(const tn_array *a, int64_t element) {
    return tn_cell_load(a->dtype,
                        (const char *)a->data + (size_t)element * tn_dtype_size(a->dtype));
}

void tn_array_set(tn_array *a, int64_t element, tn_cell value) {
    tn_cell_store(a->dtype, (char *)a->data + (size_t)element * tn_dtype_size(a->dtype), value);
}

bool tn_index_next(int64_t *index, int rank, const int64_t *dim) {
    for (int i = rank - 1; i >= 0; i--) {
        if (++index[i] < dim[i]) return true;
        index[i] = 0;
    }
    return false;
}

int64_t tn_index_offset(const int64_t *index, int rank, const int64_t *dim) {
    int64_t offset = 0;
    for (int i = 0; i < rank; i++) offset = offset * dim[i] + index[i];
    return offset;
}
