/* New lazy tensors: fills, ranges, random numbers. See tenon/tensor_ops.h. */
#include <inttypes.h>
#include <math.h>

#include "nn/tensor_inner.h"

typedef struct new_args {
    tn_dtype dtype;
    int rank;
    const int64_t *dim;
    double value, step;
} new_args;

static bool shape_of(tn_builder *b, const char *what, const new_args *a, tn_shape *out) {
    *out = (tn_shape){.rank = a->rank};
    if (a->rank < 0 || a->rank > TN_MAX_RANK) {
        tn_b_fail(b, TN_INVALID, "%s: %d axes; a tensor has 0 to %d", what, a->rank, TN_MAX_RANK);
        return false;
    }
    for (int i = 0; i < a->rank; i++) {
        if (a->dim[i] < 0) {
            tn_b_fail(b, TN_INVALID, "%s: size %" PRId64 " of axis %d", what, a->dim[i], i);
            return false;
        }
        out->dim[i] = a->dim[i];
    }
    return true;
}

static tn_value build_full(tn_builder *b, const tn_value *in, const void *args) {
    const new_args *a = args;
    tn_shape shape;
    (void)in;
    return shape_of(b, "full", a, &shape) ? tn_b_full(b, a->dtype, &shape, a->value) : TN_NO_VALUE;
}

tn_tensor *tn_full_at(const char *place, tn_context *c, tn_dtype dtype, int rank,
                      const int64_t *dim, double value) {
    return tn__call0(place, c, build_full, &(new_args){dtype, rank, dim, value, 0});
}

/* start + step · i; whole numbers are counted in i64. */
static tn_value build_arange(tn_builder *b, const tn_value *in, const void *args) {
    const new_args *a = args;
    tn_shape shape = {.rank = 1, .dim = {a->dim[0]}};
    tn_dtype work = tn_dtype_is_float(a->dtype) ? TN_f64 : TN_i64;
    (void)in;
    tn_value i = tn_b_mul_scalar(b, tn_b_iota(b, work, &shape, 0), a->step);
    return tn_b_cast(b, tn_b_add_scalar(b, i, a->value), a->dtype);
}

tn_tensor *tn_arange_at(const char *place, tn_context *c, tn_dtype dtype, double start, double stop,
                        double step) {
    double count = step != 0 ? ceil((stop - start) / step) : -1;
    int64_t size = count >= 0 && count < 0x1p53 ? (int64_t)count : count < 0 && step != 0 ? 0 : -1;
    if (size < 0) return tn_full_at(place, c, dtype, 1, &size, 0); /* says what is wrong */
    return tn__call0(place, c, build_arange, &(new_args){dtype, 1, &size, start, step});
}

/* start + (stop − start) / (count − 1) · i */
static tn_value build_linspace(tn_builder *b, const tn_value *in, const void *args) {
    const new_args *a = args;
    tn_shape shape;
    (void)in;
    if (!shape_of(b, "linspace", a, &shape)) return TN_NO_VALUE;
    tn_value i = tn_b_mul_scalar(b, tn_b_iota(b, TN_f64, &shape, 0), a->step);
    return tn_b_cast(b, tn_b_add_scalar(b, i, a->value), a->dtype);
}

tn_tensor *tn_linspace_at(const char *place, tn_context *c, tn_dtype dtype, double start,
                          double stop, int64_t count) {
    double step = count > 1 ? (stop - start) / (double)(count - 1) : 0;
    return tn__call0(place, c, build_linspace, &(new_args){dtype, 1, &count, start, step});
}

static tn_value build_eye(tn_builder *b, const tn_value *in, const void *args) {
    const new_args *a = args;
    tn_shape shape;
    (void)in;
    if (!shape_of(b, "eye", a, &shape)) return TN_NO_VALUE;
    return tn_b_eye(b, a->dtype, a->dim[0], a->dim[1], 0);
}

tn_tensor *tn_eye_at(const char *place, tn_context *c, tn_dtype dtype, int64_t rows,
                     int64_t columns) {
    return tn__call0(place, c, build_eye, &(new_args){dtype, 2, (int64_t[]){rows, columns}, 0, 0});
}

/* ---- random numbers ------------------------------------------------------------------------- */

/* The key is data, so that each draw runs the same program. */
static tn_tensor *draw(const char *place, tn_context *c, int rank, const int64_t *dim,
                       tn__build *build) {
    pthread_mutex_lock(&c->lock);
    uint64_t name[] = {c->seed, c->draws++};
    pthread_mutex_unlock(&c->lock);
    uint64_t key = tn_hash64(name, sizeof name);
    tn_tensor *stream = tn_tensor_from_at(place, c, TN_u64, 0, NULL, &key);
    tn_tensor *x = tn__call1(place, stream, build, &(new_args){TN_f32, rank, dim, 0, 0});
    tn_release(stream);
    return x;
}

static tn_value build_uniform(tn_builder *b, const tn_value *in, const void *args) {
    tn_shape shape;
    if (!shape_of(b, "random_uniform", args, &shape)) return TN_NO_VALUE;
    return tn_b_random_uniform(b, TN_f32, &shape, in[0], 0, 1);
}

tn_tensor *tn_random_uniform_at(const char *place, tn_context *c, int rank, const int64_t *dim) {
    return draw(place, c, rank, dim, build_uniform);
}

static tn_value build_normal(tn_builder *b, const tn_value *in, const void *args) {
    tn_shape shape;
    if (!shape_of(b, "random_normal", args, &shape)) return TN_NO_VALUE;
    return tn_b_random_normal(b, TN_f32, &shape, in[0], 0, 1);
}

tn_tensor *tn_random_normal_at(const char *place, tn_context *c, int rank, const int64_t *dim) {
    return draw(place, c, rank, dim, build_normal);
}
