/* Indexing of lazy tensors. See tenon/tensor_ops.h. */
#include <inttypes.h>

#include "nn/tensor_inner.h"

static tn_value positions(tn_builder *b, tn_value index, tn_dim size) {
    tn_dtype dtype = tn_b_type(b, index).dtype;
    if (tn_b_ok(b) && !tn_dtype_is_integer(dtype))
        return tn_b_fail(b, TN_INVALID, "the index is of type %s; expected an integer",
                         tn_dtype_name(dtype));
    tn_dtype work = dtype == TN_i32 ? TN_i32 : TN_i64;
    return tn_b_wrap_index(b, tn_b_cast(b, index, work), size);
}

static tn_value build_take(tn_builder *b, const tn_value *in, const void *args) {
    int axis = tn__axis(b, "take", *(const int *)args, tn_b_rank(b, in[0]));
    tn_value index = positions(b, in[1], tn_b_dim(b, in[0], axis));
    return tn_b_gather_axis(b, in[0], index, axis, TN_INDEX_error);
}

tn_tensor *tn_take_at(const char *place, const tn_tensor *x, const tn_tensor *index, int axis) {
    return tn__call2(place, x, index, build_take, &axis);
}

static tn_value build_take_along_axis(tn_builder *b, const tn_value *in, const void *args) {
    int axis = tn__axis(b, "take_along_axis", *(const int *)args, tn_b_rank(b, in[0]));
    tn_value index = positions(b, in[1], tn_b_dim(b, in[0], axis));
    return tn_b_gather_elements(b, in[0], index, axis, TN_INDEX_error);
}

tn_tensor *tn_take_along_axis_at(const char *place, const tn_tensor *x, const tn_tensor *index,
                                 int axis) {
    return tn__call2(place, x, index, build_take_along_axis, &axis);
}

static tn_value build_add_along_axis(tn_builder *b, const tn_value *in, const void *args) {
    int axis = tn__axis(b, "add_along_axis", *(const int *)args, tn_b_rank(b, in[0]));
    tn_value x = in[0], updates = in[2];
    tn__promote_pair(b, &x, &updates);
    tn_value index = positions(b, in[1], tn_b_dim(b, x, axis));
    return tn_b_scatter_elements(b, x, index, updates, axis, TN_INDEX_error, TN_COMBINE_add);
}

tn_tensor *tn_add_along_axis_at(const char *place, const tn_tensor *x, const tn_tensor *index,
                                const tn_tensor *updates, int axis) {
    return tn__call3(place, x, index, updates, build_add_along_axis, &axis);
}

typedef struct one_hot_args {
    int64_t depth;
    tn_dtype dtype;
} one_hot_args;

static tn_value build_one_hot(tn_builder *b, const tn_value *in, const void *args) {
    const one_hot_args *a = args;
    if (a->depth < 0) return tn_b_fail(b, TN_INVALID, "one_hot: depth %" PRId64, a->depth);
    tn_value index = positions(b, in[0], a->depth);
    return tn_b_one_hot(b, index, a->depth, -1, tn_b_scalar(b, a->dtype, 1),
                        tn_b_scalar(b, a->dtype, 0));
}

tn_tensor *tn_one_hot_at(const char *place, const tn_tensor *index, int64_t depth, tn_dtype dtype) {
    return tn__call1(place, index, build_one_hot, &(one_hot_args){depth, dtype});
}

static tn_value build_tril(tn_builder *b, const tn_value *in, const void *args) {
    if (tn_b_ok(b) && tn_b_rank(b, in[0]) < 2)
        return tn_b_fail(b, TN_INVALID, "tril: %d axes, expected at least 2", tn_b_rank(b, in[0]));
    return tn_b_triangle(b, in[0], true, tn_b_scalar_int(b, TN_i64, *(const int64_t *)args));
}

tn_tensor *tn_tril_at(const char *place, const tn_tensor *x, int64_t k) {
    return tn__call1(place, x, build_tril, &k);
}
