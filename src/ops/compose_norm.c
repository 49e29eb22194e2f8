/* Softmax and normalisation layers. See compose.h. */
#include "ops/compose.h"

/* Statistics of narrow floats are computed in f32. */
static tn_dtype wide_type(tn_dtype dtype) {
    return tn_dtype_is_float(dtype) && tn_dtype_bits(dtype) < 32 ? TN_f32 : dtype;
}

static tn_value widen(tn_builder *b, tn_value x) {
    if (x == TN_NO_VALUE) return x;
    return tn_b_cast(b, x, wide_type(tn_b_type(b, x).dtype));
}

/* x / √(mean of squares + ε) part of the norms: 1/√(v + ε) */
static tn_value inverse_deviation(tn_builder *b, tn_value variance, double epsilon) {
    return tn_b_rsqrt(b, tn_b_add_scalar(b, variance, epsilon));
}

typedef struct moments {
    tn_value mean, variance, centred;
} moments;

/* Two passes over x: the mean, then the mean of squared differences, which cannot cancel. */
static moments moments_of(tn_builder *b, tn_value x, const int *axes, int n) {
    moments m;
    m.mean = tn_b_mean(b, x, axes, n, true);
    m.centred = tn_b_sub(b, x, m.mean);
    m.variance = tn_b_mean(b, tn_b_square(b, m.centred), axes, n, true);
    return m;
}

static tn_value scale_and_shift(tn_builder *b, tn_value x, tn_value scale, tn_value bias) {
    if (scale != TN_NO_VALUE) x = tn_b_mul(b, x, scale);
    if (bias != TN_NO_VALUE) x = tn_b_add(b, x, bias);
    return x;
}

/* ---- softmax -------------------------------------------------------------------------------- */

/* x minus its maximum; a row of −∞ alone would give NaN, as the definition does. What is made of it
 * does not depend on the maximum, so no gradient needs to go through it. */
static tn_value below_maximum(tn_builder *b, tn_value x, int axis) {
    tn_value top = tn_b_reduce(b, TN_REDUCE_max, x, &axis, 1, true);
    top = tn_b_node(b, TN_OP_barrier, &top, 1, &(tn_attrs_barrier){.stop = true});
    return tn_b_sub(b, x, top);
}

tn_value tn_b_softmax(tn_builder *b, tn_value x, int axis) {
    tn_dtype dtype = tn_b_type(b, x).dtype;
    tn_value e = tn_b_exp(b, below_maximum(b, widen(b, x), axis));
    /* one division a row: e * (1 / sum) is within 1.5 ULP of e / sum */
    tn_value sum = tn_b_sum(b, e, &axis, 1, true);
    tn_value scale = tn_b_div(b, tn_b_scalar(b, tn_b_type(b, sum).dtype, 1), sum);
    return tn_b_cast(b, tn_b_mul(b, e, scale), dtype);
}

tn_value tn_b_log_softmax(tn_builder *b, tn_value x, int axis) {
    tn_dtype dtype = tn_b_type(b, x).dtype;
    tn_value low = below_maximum(b, widen(b, x), axis);
    tn_value sum = tn_b_sum(b, tn_b_exp(b, low), &axis, 1, true);
    return tn_b_cast(b, tn_b_sub(b, low, tn_b_log(b, sum)), dtype);
}

tn_value tn_b_log_sum_exp(tn_builder *b, tn_value x, const int *axes, int n, bool keep) {
    tn_dtype dtype = tn_b_type(b, x).dtype;
    x = widen(b, x);
    tn_value top = tn_b_reduce(b, TN_REDUCE_max, x, axes, n, true);
    tn_value sum = tn_b_sum(b, tn_b_exp(b, tn_b_sub(b, x, top)), axes, n, true);
    tn_value y = tn_b_add(b, tn_b_log(b, sum), top);
    /* An infinite maximum is the result: ∞ − ∞ above would make it NaN. */
    y = tn_b_select(b, tn_b_is_inf(b, top), top, y);
    if (!keep) y = tn_b_sum(b, y, axes, n, false); /* axes of size 1 */
    return tn_b_cast(b, y, dtype);
}

/* ---- layer norm, RMS norm ------------------------------------------------------------------- */

/* The axes from `axis` on; false when it does not exist. */
static bool axes_from(tn_builder *b, tn_value x, int axis, int *axes, int *n) {
    int rank = tn_b_rank(b, x), first = axis < 0 ? axis + rank : axis;
    if (tn_b_ok(b) && (first < 0 || first >= rank))
        tn_b_fail(b, TN_INVALID, "a norm from axis %d on; x has %d axes", axis, rank);
    *n = 0;
    for (int i = first; i < rank && tn_b_ok(b); i++) axes[(*n)++] = i;
    return tn_b_ok(b);
}

tn_value tn_b_layer_norm(tn_builder *b, tn_value x, int axis, tn_value scale, tn_value bias,
                         double epsilon, tn_value stats[2]) {
    int axes[TN_MAX_RANK], n;
    if (stats) stats[0] = stats[1] = TN_NO_VALUE;
    if (!axes_from(b, x, axis, axes, &n)) return TN_NO_VALUE;
    tn_dtype dtype = tn_b_type(b, x).dtype;
    moments m = moments_of(b, widen(b, x), axes, n);
    tn_value inverse = inverse_deviation(b, m.variance, epsilon);
    if (stats) {
        stats[0] = m.mean;
        stats[1] = inverse;
    }
    tn_value y = tn_b_mul(b, m.centred, inverse);
    return tn_b_cast(b, scale_and_shift(b, y, widen(b, scale), widen(b, bias)), dtype);
}

tn_value tn_b_rms_norm(tn_builder *b, tn_value x, int axis, tn_value scale, double epsilon) {
    int axes[TN_MAX_RANK], n;
    if (!axes_from(b, x, axis, axes, &n)) return TN_NO_VALUE;
    tn_dtype dtype = tn_b_type(b, x).dtype;
    x = widen(b, x);
    tn_value inverse =
        inverse_deviation(b, tn_b_mean(b, tn_b_square(b, x), axes, n, true), epsilon);
    tn_value y = tn_b_mul(b, x, inverse);
    return tn_b_cast(b, scale_and_shift(b, y, widen(b, scale), TN_NO_VALUE), dtype);
}

/* ---- norms with channels along axis 1 ------------------------------------------------------- */

static int spatial_axes(int rank, int *axes) {
    for (int i = 2; i < rank; i++) axes[i - 2] = i;
    return rank - 2;
}

static bool has_channels(tn_builder *b, tn_value x) {
    if (tn_b_ok(b) && tn_b_rank(b, x) < 2)
        tn_b_fail(b, TN_INVALID, "a norm over channels needs x [N, C, …]; x has %d axes",
                  tn_b_rank(b, x));
    return tn_b_ok(b);
}

static tn_value channels(tn_builder *b, tn_value vector, int rank) {
    return vector == TN_NO_VALUE ? vector : tn_b_channel_vector(b, widen(b, vector), rank);
}

tn_value tn_b_group_norm(tn_builder *b, tn_value x, int64_t groups, tn_value scale, tn_value bias,
                         double epsilon) {
    if (!has_channels(b, x)) return TN_NO_VALUE;
    tn_type type = tn_b_type(b, x);
    tn_dim each;
    if (groups < 1 || !tn_dim_divides(b->graph->dims, type.shape.dim[1], groups, &each))
        return tn_b_fail(b, TN_INVALID, "group_norm: the channels do not split into %lld groups",
                         (long long)groups);
    tn_dim all = each;
    for (int i = 2; i < type.shape.rank; i++)
        all = tn_dim_mul(b->graph->dims, all, type.shape.dim[i]);
    tn_value grouped =
        tn_b_reshape_to(b, widen(b, x), 3, (tn_dim[]){type.shape.dim[0], groups, all});
    moments m = moments_of(b, grouped, (int[]){2}, 1);
    tn_value y = tn_b_mul(b, m.centred, inverse_deviation(b, m.variance, epsilon));
    y = tn_b_reshape(b, y, &type.shape);
    y = scale_and_shift(b, y, channels(b, scale, type.shape.rank),
                        channels(b, bias, type.shape.rank));
    return tn_b_cast(b, y, type.dtype);
}

tn_value tn_b_instance_norm(tn_builder *b, tn_value x, tn_value scale, tn_value bias,
                            double epsilon) {
    int axes[TN_MAX_RANK];
    if (!has_channels(b, x)) return TN_NO_VALUE;
    int rank = tn_b_rank(b, x), n = spatial_axes(rank, axes);
    tn_dtype dtype = tn_b_type(b, x).dtype;
    moments m = moments_of(b, widen(b, x), axes, n);
    tn_value y = tn_b_mul(b, m.centred, inverse_deviation(b, m.variance, epsilon));
    y = scale_and_shift(b, y, channels(b, scale, rank), channels(b, bias, rank));
    return tn_b_cast(b, y, dtype);
}

/* Per channel x · factor + offset with factor = scale / √(var + ε): two operations an element, and
 * for constant parameters the rest folds. */
static tn_value normalise_channels(tn_builder *b, tn_value x, tn_value mean, tn_value var,
                                   const tn_batch_norm *o) {
    int rank = tn_b_rank(b, x);
    tn_dtype dtype = tn_b_type(b, x).dtype;
    tn_value factor = inverse_deviation(b, widen(b, var), o->epsilon);
    factor = tn_b_mul(b, widen(b, o->scale), factor);
    tn_value offset = tn_b_sub(b, widen(b, o->bias), tn_b_mul(b, widen(b, mean), factor));
    tn_dtype work = tn_b_type(b, factor).dtype;
    tn_value y = tn_b_mul(b, tn_b_cast(b, x, work), tn_b_channel_vector(b, factor, rank));
    y = tn_b_add(b, y, tn_b_channel_vector(b, tn_b_cast(b, offset, work), rank));
    return tn_b_cast(b, y, dtype);
}

tn_value tn_b_batch_norm(tn_builder *b, tn_value x, const tn_batch_norm *o) {
    if (!has_channels(b, x)) return TN_NO_VALUE;
    return normalise_channels(b, x, o->mean, o->var, o);
}

static tn_value moved(tn_builder *b, tn_value running, tn_value batch, double momentum) {
    tn_dtype dtype = tn_b_type(b, running).dtype;
    tn_value old = tn_b_mul_scalar(b, widen(b, running), momentum);
    tn_value new = tn_b_mul_scalar(b, tn_b_cast(b, batch, tn_b_type(b, old).dtype), 1 - momentum);
    return tn_b_cast(b, tn_b_add(b, old, new), dtype);
}

/* variance · count / (count − 1) over the axes */
static tn_value unbiased(tn_builder *b, tn_value x, tn_value variance, const int *axes, int n) {
    tn_dims *t = b->graph->dims;
    tn_dim count = 1;
    for (int i = 0; i < n; i++) count = tn_dim_mul(t, count, tn_b_dim(b, x, axes[i]));
    if (tn_b_ok(b) && count == 1)
        return tn_b_fail(b, TN_INVALID,
                         "batch norm in training: one value per channel has no "
                         "variance; use a larger batch, or the running statistics");
    tn_dtype dtype = tn_b_type(b, variance).dtype;
    tn_value all = tn_b_dim_value(b, count, dtype);
    tn_value free = tn_b_dim_value(b, tn_dim_sub(t, count, 1), dtype);
    return tn_b_mul(b, variance, tn_b_div(b, all, free));
}

tn_value tn_b_batch_norm_training(tn_builder *b, tn_value x, const tn_batch_norm *o,
                                  tn_value running[2]) {
    int axes[TN_MAX_RANK];
    running[0] = running[1] = TN_NO_VALUE;
    if (!has_channels(b, x)) return TN_NO_VALUE;
    int n = spatial_axes(tn_b_rank(b, x), axes);
    axes[n++] = 0;
    moments m = moments_of(b, widen(b, x), axes, n);
    tn_dim channel_count = tn_b_dim(b, x, 1);
    tn_value mean = tn_b_reshape_to(b, m.mean, 1, &channel_count);
    tn_value variance = tn_b_reshape_to(b, m.variance, 1, &channel_count);
    running[0] = moved(b, o->mean, mean, o->momentum);
    tn_value spread = o->unbiased ? unbiased(b, x, variance, axes, n) : variance;
    running[1] = moved(b, o->var, spread, o->momentum);
    return normalise_channels(b, x, mean, variance, o);
}

/* ---- others --------------------------------------------------------------------------------- */

/* Channels c − floor((size−1)/2) … c + ceil((size−1)/2), as ONNX has it. */
tn_value tn_b_lrn(tn_builder *b, tn_value x, int64_t size, double alpha, double beta, double bias) {
    tn_type type = tn_b_type(b, x);
    if (!has_channels(b, x)) return TN_NO_VALUE;
    if (size < 1)
        return tn_b_fail(b, TN_INVALID, "size %lld; channels are summed over at least 1",
                         (long long)size);
    tn_attrs_window_reduce a = {.kind = TN_REDUCE_sum, .acc = wide_type(type.dtype)};
    int rank = a.window.count = a.stride.count = a.dilation.count = type.shape.rank;
    a.pad_lo.count = a.pad_hi.count = rank;
    for (int i = 0; i < rank; i++) a.window.at[i] = a.stride.at[i] = a.dilation.at[i] = 1;
    a.window.at[1] = size;
    a.pad_lo.at[1] = (size - 1) / 2;
    a.pad_hi.at[1] = size - 1 - (size - 1) / 2;
    x = widen(b, x);
    tn_value squares = tn_b_square(b, x);
    tn_value sum = tn_b_node(b, TN_OP_window_reduce, &squares, 1, &a);
    tn_value base = tn_b_add_scalar(b, tn_b_mul_scalar(b, sum, alpha / (double)size), bias);
    tn_value power = tn_b_pow(b, base, tn_b_scalar(b, tn_b_type(b, x).dtype, beta));
    return tn_b_cast(b, tn_b_div(b, x, power), type.dtype);
}

tn_value tn_b_lp_norm(tn_builder *b, tn_value x, int axis, int p) {
    tn_dtype dtype = tn_b_type(b, x).dtype;
    if (p != 1 && p != 2)
        return tn_b_fail(b, TN_UNSUPPORTED, "lp_norm: p = %d; expected 1 or 2", p);
    x = widen(b, x);
    tn_value size = tn_b_sum(b, p == 1 ? tn_b_abs(b, x) : tn_b_square(b, x), &axis, 1, true);
    if (p == 2) size = tn_b_sqrt(b, size);
    tn_value zero = tn_b_scalar(b, tn_b_type(b, x).dtype, 0);
    tn_value y = tn_b_where(b, tn_b_eq(b, size, zero), zero, tn_b_div(b, x, size));
    return tn_b_cast(b, y, dtype);
}

tn_value tn_b_mean_variance_norm(tn_builder *b, tn_value x, const int *axes, int n,
                                 double epsilon) {
    tn_dtype dtype = tn_b_type(b, x).dtype;
    moments m = moments_of(b, widen(b, x), axes, n);
    tn_value deviation = tn_b_add_scalar(b, tn_b_sqrt(b, m.variance), epsilon);
    return tn_b_cast(b, tn_b_div(b, m.centred, deviation), dtype);
}
