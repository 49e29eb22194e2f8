/* Reductions, cumulative operations and order of lazy tensors. See tenon/tensor_ops.h. */
#include "nn/tensor_inner.h"

typedef struct reduce_args {
    tn_reduce_kind kind;
    int count;
    const int *axes;
    bool keep;
    int correction;
} reduce_args;

/* The axes, all of them where none is named. */
static int resolve(tn_builder *b, const reduce_args *a, tn_value x, int out[TN_MAX_RANK]) {
    int rank = tn_b_rank(b, x);
    bool seen[TN_MAX_RANK] = {false};
    if (!a->axes) {
        for (int i = 0; i < rank; i++) out[i] = i;
        return rank;
    }
    for (int i = 0; i < a->count; i++) {
        int axis = tn__axis(b, "reduction", a->axes[i], rank);
        if (!tn_b_ok(b)) return 0;
        if (seen[axis]) {
            tn_b_fail(b, TN_INVALID, "reduction: axis %d is named twice", axis);
            return 0;
        }
        seen[axis] = true;
        out[i] = axis;
    }
    return a->count;
}

/* NumPy's: sums and products of integers are as wide as they come. */
static tn_dtype sum_type(tn_dtype dtype) {
    if (tn_dtype_is_float(dtype)) return dtype;
    return tn_dtype_is_unsigned(dtype) ? TN_u64 : TN_i64;
}

static tn_value build_reduce(tn_builder *b, const tn_value *in, const void *args) {
    const reduce_args *a = args;
    tn_value x = in[0];
    int axes[TN_MAX_RANK], n = resolve(b, a, x, axes);
    tn_dtype dtype = tn_b_type(b, x).dtype;
    if (a->kind == TN_REDUCE_sum || a->kind == TN_REDUCE_prod) x = tn_b_cast(b, x, sum_type(dtype));
    if (a->kind == TN_REDUCE_and || a->kind == TN_REDUCE_or) x = tn__truth(b, x);
    return tn_b_reduce(b, a->kind, x, axes, n, a->keep);
}

static tn_value build_mean(tn_builder *b, const tn_value *in, const void *args) {
    const reduce_args *a = args;
    int axes[TN_MAX_RANK], n = resolve(b, a, in[0], axes);
    tn_dtype dtype = tn_b_type(b, in[0]).dtype;
    tn_value x = tn_b_cast(b, in[0], tn_dtype_is_float(dtype) ? dtype : TN_f64);
    return tn_b_mean(b, x, axes, n, a->keep);
}

static tn_value build_var(tn_builder *b, const tn_value *in, const void *args) {
    const reduce_args *a = args;
    int axes[TN_MAX_RANK], n = resolve(b, a, in[0], axes);
    tn_dtype dtype = tn_b_type(b, in[0]).dtype;
    tn_value x = tn_b_cast(b, in[0], tn_dtype_is_float(dtype) ? dtype : TN_f64);
    tn_value centred = tn_b_sub(b, x, tn_b_mean(b, x, axes, n, true));
    tn_value sum = tn_b_sum(b, tn_b_square(b, centred), axes, n, a->keep);
    double count = 1;
    for (int i = 0; i < n; i++) count *= (double)tn_b_dim(b, x, axes[i]);
    double divisor = count - a->correction;
    return tn_b_div(b, sum, tn_b_scalar(b, tn_b_type(b, sum).dtype, divisor > 0 ? divisor : 0));
}

#define REDUCTION(op, build, reduce_kind)                                                          \
    tn_tensor *tn_##op##_at(const char *place, const tn_tensor *x, int axis_count,                 \
                            const int *axes, bool keep) {                                          \
        reduce_args a = {reduce_kind, axis_count, axes, keep, 0};                                  \
        return tn__call1(place, x, build, &a);                                                     \
    }
REDUCTION(sum, build_reduce, TN_REDUCE_sum)
REDUCTION(prod, build_reduce, TN_REDUCE_prod)
REDUCTION(max, build_reduce, TN_REDUCE_max)
REDUCTION(min, build_reduce, TN_REDUCE_min)
REDUCTION(any, build_reduce, TN_REDUCE_or)
REDUCTION(all, build_reduce, TN_REDUCE_and)
REDUCTION(mean, build_mean, TN_REDUCE_sum)

tn_tensor *tn_var_at(const char *place, const tn_tensor *x, int axis_count, const int *axes,
                     int correction, bool keep) {
    reduce_args a = {TN_REDUCE_sum, axis_count, axes, keep, correction};
    return tn__call1(place, x, build_var, &a);
}

tn_tensor *tn_argmax_at(const char *place, const tn_tensor *x, int axis, bool keep) {
    reduce_args a = {TN_REDUCE_argmax, 1, &axis, keep, 0};
    return tn__call1(place, x, build_reduce, &a);
}
tn_tensor *tn_argmin_at(const char *place, const tn_tensor *x, int axis, bool keep) {
    reduce_args a = {TN_REDUCE_argmin, 1, &axis, keep, 0};
    return tn__call1(place, x, build_reduce, &a);
}

/* ---- cumulative ----------------------------------------------------------------------------- */

static tn_value build_cumulative(tn_builder *b, const tn_value *in, const void *args) {
    const reduce_args *a = args;
    tn_value x = tn_b_cast(b, in[0], sum_type(tn_b_type(b, in[0]).dtype));
    int axis = tn__axis(b, "cumulative", a->axes[0], tn_b_rank(b, x));
    return tn_b_cumulative(b, a->kind, x, axis, false, false);
}

tn_tensor *tn_cumsum_at(const char *place, const tn_tensor *x, int axis) {
    return tn__call1(place, x, build_cumulative, &(reduce_args){TN_REDUCE_sum, 1, &axis, 0, 0});
}
tn_tensor *tn_cumprod_at(const char *place, const tn_tensor *x, int axis) {
    return tn__call1(place, x, build_cumulative, &(reduce_args){TN_REDUCE_prod, 1, &axis, 0, 0});
}

/* ---- order ---------------------------------------------------------------------------------- */

typedef struct order_args {
    int axis;
    bool descending;
    int64_t k;
    int which;
} order_args;

static tn_value build_sort(tn_builder *b, const tn_value *in, const void *args) {
    const order_args *a = args;
    tn_value results[2] = {TN_NO_VALUE, TN_NO_VALUE};
    int axis = tn__axis(b, "sort", a->axis, tn_b_rank(b, in[0]));
    tn_b_sort(b, in[0], axis, a->descending, results);
    return results[a->which];
}

tn_tensor *tn_sort_at(const char *place, const tn_tensor *x, int axis, bool descending) {
    return tn__call1(place, x, build_sort, &(order_args){axis, descending, 0, 0});
}
tn_tensor *tn_argsort_at(const char *place, const tn_tensor *x, int axis, bool descending) {
    return tn__call1(place, x, build_sort, &(order_args){axis, descending, 0, 1});
}

static void build_top_k(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    const order_args *a = args;
    int axis = tn__axis(b, "top_k", a->axis, tn_b_rank(b, in[0]));
    if (tn_b_ok(b) && (a->k < 0 || a->k > tn_b_dim(b, in[0], axis)))
        tn_b_fail(b, TN_INVALID, "top_k: %lld of %lld elements", (long long)a->k,
                  (long long)tn_b_dim(b, in[0], axis));
    tn_b_top_k(b, in[0], axis, a->k, false, out);
}

void tn_top_k_at(const char *place, const tn_tensor *x, int64_t k, int axis, tn_tensor *result[2]) {
    tn__call_pair(place, x, build_top_k, &(order_args){axis, true, k, 0}, result);
}
