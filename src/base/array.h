/* A dense row-major array on the host: what eval, constant folding and the edges exchange. */
#ifndef TENON_BASE_ARRAY_H
#define TENON_BASE_ARRAY_H

#include "base/base.h"
#include "base/dim.h"
#include "base/scalar.h"

typedef struct tn_array {
    tn_dtype dtype;
    int rank;
    int64_t dim[TN_MAX_RANK];
    void *data; /* owner is whoever allocated it; usually an arena */
} tn_array;

#define TN_MOST_ELEMENTS (INT64_MAX / 16)

/* The number of elements of these sizes, of what is not trusted yet. False where one is negative, or where
 * the product of those above 0 is beyond TN_MOST_ELEMENTS: then strides and bytes overflow, even of nothing. */
bool tn_sizes_count(int rank, const int64_t *dim, int64_t *count);

int64_t tn_array_count(const tn_array *a); /* elements */
size_t tn_array_bytes(const tn_array *a);
/* Zeroed storage in the arena for the given type; unwinds when memory runs out. */
tn_array tn_array_new(tn_arena *arena, tn_dtype dtype, int rank, const int64_t *dim);
tn_cell tn_array_get(const tn_array *a, int64_t element);
void tn_array_set(tn_array *a, int64_t element, tn_cell value);
/* Steps `index` to the next element in row-major order; false after the last. */
bool tn_index_next(int64_t *index, int rank, const int64_t *dim);
int64_t tn_index_offset(const int64_t *index, int rank, const int64_t *dim);

#endif
