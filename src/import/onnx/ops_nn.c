/* Layers: products, convolution, pooling, normalisation. */
#include <math.h>

#include "import/onnx/ops.h"
#include "ops/parts.h"

/* ---- products --------------------------------------------------------------------------------- */

static void import_matmul(tn_o *o) {
    tn_value x = tn_o_in(o, 0), y = tn_o_in(o, 1);
    tn_dtype dtype = tn_b_type(o->b, x).dtype;
    tn_o_out(o, 0, tn_b_cast(o->b, tn_b_product(o->b, x, y), dtype));
}

tn_value tn_o_gemm(tn_o *o) {
    tn_value x = tn_o_in(o, 0), y = tn_o_in(o, 1), c = tn_o_in_or_none(o, 2);
    double alpha = tn_o_float(o, "alpha", 1), beta = tn_o_float(o, "beta", 1);
    if (tn_o_ok(o) && (tn_b_rank(o->b, x) != 2 || tn_b_rank(o->b, y) != 2))
        tn_o_fail(o, TN_INVALID, "its factors have %d and %d axes; expected matrices",
                  tn_b_rank(o->b, x), tn_b_rank(o->b, y));
    if (tn_o_int(o, "transA", 0)) x = tn_b_swap(o->b, x, 0, 1);
    if (tn_o_int(o, "transB", 0)) y = tn_b_swap(o->b, y, 0, 1);
    tn_value z = tn_b_product(o->b, x, y);
    z = tn_o_like(o, z, x);
    if (alpha != 1) z = tn_b_mul_scalar(o->b, z, alpha);
    if (c != TN_NO_VALUE && beta != 0)
        z = tn_b_add(o->b, z, beta == 1 ? c : tn_b_mul_scalar(o->b, c, beta));
    return z;
}

static void import_gemm(tn_o *o) {
    tn_o_out(o, 0, tn_o_gemm(o));
}

/* Whole numbers wrap in their own type. */
static void import_einsum(tn_o *o) {
    int n = tn_o_in_count(o);
    tn_value *in = TN_NEW_N(o->scratch, tn_value, n);
    const char *equation = tn_o_need_text(o, "equation");
    for (int i = 0; i < n; i++) in[i] = tn_o_in(o, i);
    tn_value y = tn_b_einsum(o->b, equation, in, n);
    tn_o_out(o, 0, n > 0 ? tn_o_like(o, y, in[0]) : y);
}

/* ---- windows ---------------------------------------------------------------------------------- */

/* Attributes that convolution and pooling share, per spatial axis. */
typedef struct window {
    int spatial;
    int64_t kernel[TN_MAX_SPATIAL], stride[TN_MAX_SPATIAL], dilation[TN_MAX_SPATIAL];
    int64_t pad_lo[TN_MAX_SPATIAL], pad_hi[TN_MAX_SPATIAL];
    int auto_pad;
} window;
enum { PAD_GIVEN, PAD_SAME_UPPER, PAD_SAME_LOWER, PAD_VALID };

static void read_list(tn_o *o, const char *name, int expected, int64_t other, int64_t *out) {
    int count;
    const int64_t *at;
    bool given = tn_o_ints(o, name, &count, &at);
    if (given && count != expected)
        tn_o_fail(o, TN_INVALID, "attribute '%s' has %d entries; expected %d", name, count,
                  expected);
    if (!tn_o_ok(o)) given = false;
    for (int i = 0; i < expected; i++) out[i] = given ? at[i] : other;
}

static void check_positive(tn_o *o, const char *name, int n, const int64_t *at) {
    for (int i = 0; i < n; i++)
        if (tn_o_ok(o) && (at[i] < 1 || at[i] > INT32_MAX))
            tn_o_fail(o, TN_INVALID, "attribute '%s' holds %lld", name, (long long)at[i]);
}

/* Where sizes are sums of these. */
static void check_pads(tn_o *o, int n, const int64_t *at) {
    for (int i = 0; i < n; i++)
        if (tn_o_ok(o) && (at[i] < -INT32_MAX || at[i] > INT32_MAX))
            tn_o_fail(o, TN_INVALID, "attribute 'pads' holds %lld; expected %d to %d",
                      (long long)at[i], -INT32_MAX, INT32_MAX);
}

static bool read_window(tn_o *o, int rank, window *w) {
    static const char *const pads[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", NULL};
    int64_t both[2 * TN_MAX_SPATIAL];
    *w = (window){.spatial = rank - 2};
    if (tn_o_ok(o) && (rank < 3 || w->spatial > TN_MAX_SPATIAL))
        tn_o_fail(o, TN_UNSUPPORTED, "its input has %d axes; expected 3 to %d", rank,
                  TN_MAX_SPATIAL + 2);
    if (!tn_o_ok(o)) return false;
    read_list(o, "strides", w->spatial, 1, w->stride);
    read_list(o, "dilations", w->spatial, 1, w->dilation);
    read_list(o, "pads", 2 * w->spatial, 0, both);
    check_positive(o, "strides", w->spatial, w->stride);
    check_positive(o, "dilations", w->spatial, w->dilation);
    check_pads(o, 2 * w->spatial, both);
    for (int i = 0; i < w->spatial; i++) {
        w->pad_lo[i] = both[i];
        w->pad_hi[i] = both[w->spatial + i];
    }
    w->auto_pad = tn_o_choice(o, "auto_pad", "NOTSET", pads);
    if (w->auto_pad != PAD_GIVEN)
        for (int i = 0; i < w->spatial; i++) w->pad_lo[i] = w->pad_hi[i] = 0;
    return tn_o_ok(o);
}

static bool read_kernel(tn_o *o, window *w, tn_value weight) {
    if (tn_o_has_attr(o, "kernel_shape") || weight == TN_NO_VALUE) {
        read_list(o, "kernel_shape", w->spatial, 0, w->kernel);
    } else {
        for (int i = 0; i < w->spatial; i++)
            w->kernel[i] = tn_o_const_dim(o, tn_b_dim(o->b, weight, 2 + i), "the kernel's size");
    }
    check_positive(o, "kernel_shape", w->spatial, w->kernel);
    return tn_o_ok(o);
}

/* The attributes 'kernel_shape' and 'group' beside the weight. */
static void check_kernel(tn_o *o, const window *w, tn_value weight) {
    int64_t group = tn_o_int(o, "group", 1);
    if (tn_o_ok(o) && (group < 1 || group > INT32_MAX))
        tn_o_fail(o, TN_INVALID, "attribute 'group' is %lld", (long long)group);
    for (int i = 0; i < w->spatial && tn_b_rank(o->b, weight) == w->spatial + 2; i++) {
        tn_dim have = tn_b_dim(o->b, weight, 2 + i);
        if (tn_o_ok(o) && have != w->kernel[i])
            tn_o_fail(o, TN_INVALID,
                      "attribute 'kernel_shape' holds %lld for spatial axis %d, the weight differs",
                      (long long)w->kernel[i], i);
    }
}

/* Padding for a result of ceil(size / stride). */
static void pad_same(tn_o *o, window *w, tn_value x) {
    if (w->auto_pad != PAD_SAME_UPPER && w->auto_pad != PAD_SAME_LOWER) return;
    for (int i = 0; i < w->spatial; i++) {
        int64_t reach = (w->kernel[i] - 1) * w->dilation[i] + 1, total;
        if (w->stride[i] == 1) {
            total = reach - 1;
        } else {
            int64_t size = tn_o_const_dim(o, tn_b_dim(o->b, x, 2 + i), "a size under SAME padding");
            int64_t out = size / w->stride[i] + (size % w->stride[i] > 0);
            total = TN_MAX((out - 1) * w->stride[i] + reach - size, 0);
        }
        int64_t half = w->auto_pad == PAD_SAME_UPPER ? total / 2 : (total + 1) / 2;
        w->pad_lo[i] = half;
        w->pad_hi[i] = total - half;
    }
}

static tn_conv_options conv_options(tn_o *o, const window *w) {
    tn_conv_options c = {.groups = tn_o_int(o, "group", 1)};
    for (int i = 0; i < w->spatial; i++) {
        c.stride[i] = w->stride[i];
        c.dilation[i] = w->dilation[i];
        c.pad_lo[i] = w->pad_lo[i];
        c.pad_hi[i] = w->pad_hi[i];
    }
    return c;
}

bool tn_o_conv_options(tn_o *o, tn_value x, tn_value weight, tn_conv_options *out) {
    window w;
    *out = (tn_conv_options){.groups = 1};
    if (!read_window(o, tn_b_rank(o->b, x), &w) || !read_kernel(o, &w, weight)) return false;
    check_kernel(o, &w, weight);
    pad_same(o, &w, x);
    *out = conv_options(o, &w);
    return tn_o_ok(o);
}

static void import_conv(tn_o *o) {
    tn_value x = tn_o_in(o, 0), weight = tn_o_in(o, 1), bias = tn_o_in_or_none(o, 2);
    tn_conv_options c;
    if (!tn_o_conv_options(o, x, weight, &c)) return;
    tn_o_expect(o, 2, "bias", 1, (tn_dim[]){tn_b_dim(o->b, weight, 0)});
    tn_o_out(o, 0, tn_b_conv(o->b, x, weight, bias, &c));
}

/* Padding for a given size of the result, or for stride · size. */
static void pad_transposed(tn_o *o, window *w, tn_value x, int64_t *output_pad) {
    int64_t wanted[TN_MAX_SPATIAL];
    bool given = tn_o_has_attr(o, "output_shape");
    if (given) {
        read_list(o, "output_shape", w->spatial, 0, wanted);
        check_positive(o, "output_shape", w->spatial, wanted);
    }
    if (!given && w->auto_pad != PAD_SAME_UPPER && w->auto_pad != PAD_SAME_LOWER) return;
    for (int i = 0; i < w->spatial && tn_o_ok(o); i++) {
        int64_t size = 0, reach = (w->kernel[i] - 1) * w->dilation[i] + 1;
        if (given) size = tn_o_const_dim(o, tn_b_dim(o->b, x, 2 + i), "a size under output_shape");
        if (tn_o_ok(o) && size > INT32_MAX)
            tn_o_fail(o, TN_UNSUPPORTED, "spatial axis %d has size %lld under output_shape", i,
                      (long long)size);
        if (!tn_o_ok(o)) return;
        int64_t out = given ? wanted[i] - w->stride[i] * (size - 1) : w->stride[i];
        int64_t total = output_pad[i] + reach - out;
        if (total < 0) output_pad[i] -= total;
        total = TN_MAX(total, 0);
        int64_t half = total / 2;
        if (w->auto_pad == PAD_SAME_UPPER) {
            w->pad_lo[i] = half;
            w->pad_hi[i] = total - half;
        } else {
            w->pad_hi[i] = half;
            w->pad_lo[i] = total - half;
        }
    }
}

static void import_conv_transpose(tn_o *o) {
    tn_value x = tn_o_in(o, 0), weight = tn_o_in(o, 1), bias = tn_o_in_or_none(o, 2);
    window w;
    int64_t output_pad[TN_MAX_SPATIAL];
    if (!read_window(o, tn_b_rank(o->b, x), &w) || !read_kernel(o, &w, weight)) return;
    check_kernel(o, &w, weight);
    read_list(o, "output_padding", w.spatial, 0, output_pad);
    for (int i = 0; i < w.spatial && tn_o_ok(o); i++)
        if (output_pad[i] < 0 || output_pad[i] >= TN_MAX(w.stride[i], w.dilation[i]))
            tn_o_fail(o, TN_INVALID,
                      "attribute 'output_padding' holds %lld; expected less than the stride or the "
                      "dilation",
                      (long long)output_pad[i]);
    pad_transposed(o, &w, x, output_pad);
    tn_conv_options c = conv_options(o, &w);
    for (int i = 0; i < w.spatial; i++) c.output_pad[i] = output_pad[i];
    tn_o_out(o, 0, tn_b_conv_transpose(o->b, x, weight, bias, &c));
}

bool tn_o_pool_options(tn_o *o, tn_value x, tn_pool_options *p) {
    window w;
    *p = (tn_pool_options){0};
    if (!read_window(o, tn_b_rank(o->b, x), &w) || !read_kernel(o, &w, TN_NO_VALUE)) return false;
    pad_same(o, &w, x);
    for (int i = 0; i < w.spatial; i++) {
        p->window[i] = w.kernel[i];
        p->stride[i] = w.stride[i];
        p->dilation[i] = w.dilation[i];
        p->pad_lo[i] = w.pad_lo[i];
        p->pad_hi[i] = w.pad_hi[i];
    }
    p->ceil_mode = tn_o_int(o, "ceil_mode", 0) != 0;
    p->count_include_pad = tn_o_int(o, "count_include_pad", 0) != 0;
    return tn_o_ok(o);
}

tn_value tn_o_channels_first(tn_o *o, tn_value x) {
    if (tn_o_ok(o) && tn_b_rank(o->b, x) < 3)
        return tn_o_fail(o, TN_INVALID, "its input has %d axes; expected a batch, sizes, channels",
                         tn_b_rank(o->b, x));
    return tn_b_move(o->b, x, tn_b_rank(o->b, x) - 1, 1);
}

tn_value tn_o_channels_last(tn_o *o, tn_value x) {
    return tn_b_move(o->b, x, 1, tn_b_rank(o->b, x) - 1);
}

/* Row-major positions in the tensor, or with the last two axes swapped (storage_order 1). */
static tn_value stored_positions(tn_o *o, tn_value at, tn_value x) {
    if (!tn_o_int(o, "storage_order", 0) || !tn_o_ok(o)) return at;
    int rank = tn_b_rank(o->b, x);
    if (rank < 4) return at;
    tn_value h = tn_b_dim_value(o->b, tn_b_dim(o->b, x, rank - 2), TN_i64);
    tn_value w = tn_b_dim_value(o->b, tn_b_dim(o->b, x, rank - 1), TN_i64);
    tn_value plane = tn_b_mul(o->b, h, w);
    tn_value inside = tn_b_rem(o->b, at, plane), before = tn_b_sub(o->b, at, inside);
    tn_value row = tn_b_div(o->b, inside, w), column = tn_b_rem(o->b, inside, w);
    return tn_b_add(o->b, before, tn_b_add(o->b, tn_b_mul(o->b, column, h), row));
}

static void import_max_pool(tn_o *o) {
    tn_value x = tn_o_in(o, 0), at = TN_NO_VALUE;
    tn_pool_options p;
    if (!tn_o_pool_options(o, x, &p)) return;
    tn_o_out(o, 0, tn_b_max_pool(o->b, x, &p, tn_o_wants(o, 1) ? &at : NULL));
    if (tn_o_wants(o, 1)) tn_o_out(o, 1, stored_positions(o, at, x));
}

static void import_average_pool(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    tn_pool_options p;
    if (tn_o_pool_options(o, x, &p)) tn_o_out(o, 0, tn_b_average_pool(o->b, x, &p));
}

/* Of pooling a float in version 1. */
static int norm_order(tn_o *o, bool real) {
    double p = real ? tn_o_float(o, "p", 2) : (double)tn_o_int(o, "p", 2);
    if (p >= 1 && p <= INT32_MAX && p == floor(p)) return (int)p;
    tn_o_fail(o, TN_INVALID, "attribute 'p' is %.17g; expected a whole number from 1 to %d", p,
              INT32_MAX);
    return 1;
}

static void import_lp_pool(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    tn_pool_options p;
    if (tn_o_pool_options(o, x, &p))
        tn_o_out(o, 0, tn_b_lp_pool(o->b, x, &p, norm_order(o, o->version < 2)));
}

static void import_global_average_pool(tn_o *o) {
    tn_o_out(o, 0, tn_b_global_average_pool(o->b, tn_o_in(o, 0)));
}
static void import_global_max_pool(tn_o *o) {
    tn_o_out(o, 0, tn_b_global_max_pool(o->b, tn_o_in(o, 0)));
}
static void import_global_lp_pool(tn_o *o) {
    tn_o_out(o, 0, tn_b_global_lp_pool(o->b, tn_o_in(o, 0), norm_order(o, o->version < 2)));
}

/* ---- normalisation ------------------------------------------------------------------------------ */

/* Inputs 1 to `last` have a number per channel. */
static void expect_channels(tn_o *o, int last) {
    tn_shape x = tn_o_type(o, 0).shape;
    if (tn_o_ok(o) && x.rank < 2)
        tn_o_fail(o, TN_INVALID, "its input has %d axes; expected [N, C, …]", x.rank);
    for (int i = 1; i <= last && tn_o_ok(o); i++)
        tn_o_expect(o, i,
                    i == 1   ? "scale"
                    : i == 2 ? "bias"
                    : i == 3 ? "mean"
                             : "variance",
                    1, &x.dim[1]);
}

/* x and the four vectors at inputs 1 to 4; where only some are f64, all become it. */
static tn_value same_width(tn_o *o, tn_value vector[4]) {
    tn_value x = tn_o_in(o, 0);
    bool wide = tn_b_type(o->b, x).dtype == TN_f64;
    for (int i = 0; i < 4; i++) {
        vector[i] = tn_o_in(o, 1 + i);
        wide |= tn_b_type(o->b, vector[i]).dtype == TN_f64;
    }
    for (int i = 0; i < 4 && wide; i++) vector[i] = tn_b_cast(o->b, vector[i], TN_f64);
    return wide ? tn_b_cast(o->b, x, TN_f64) : x;
}

static void import_batch_norm(tn_o *o) {
    tn_value v[4], x = same_width(o, v), running[2] = {TN_NO_VALUE, TN_NO_VALUE};
    tn_dtype dtype = tn_o_type(o, 0).dtype, kept = tn_o_type(o, 3).dtype;
    tn_batch_norm n = {
        .scale = v[0],
        .bias = v[1],
        .mean = v[2],
        .var = v[3],
        .epsilon = tn_o_float(o, "epsilon", (double)1e-5f),
        .momentum = tn_o_float(o, "momentum", (double)0.9f),
    };
    expect_channels(o, 4);
    if (!tn_o_int(o, "training_mode", 0)) {
        tn_o_out(o, 0, tn_b_cast(o->b, tn_b_batch_norm(o->b, x, &n), dtype));
        return;
    }
    tn_value y = tn_b_batch_norm_training(o->b, x, &n, running);
    tn_o_out(o, 0, tn_b_cast(o->b, y, dtype));
    tn_o_out(o, 1, tn_b_cast(o->b, running[0], kept));
    tn_o_out(o, 2, tn_b_cast(o->b, running[1], kept));
}

static void import_layer_norm(tn_o *o) {
    tn_value x = tn_o_in(o, 0), scale = tn_o_in(o, 1), bias = tn_o_in_or_none(o, 2), stats[2];
    int axis = tn_o_axis(o, tn_o_int(o, "axis", -1), tn_b_rank(o->b, x));
    double epsilon = tn_o_float(o, "epsilon", (double)1e-5f);
    bool more = tn_o_wants(o, 1) || tn_o_wants(o, 2);
    tn_value y = tn_b_layer_norm(o->b, x, axis, scale, bias, epsilon, more ? stats : NULL);
    tn_o_out(o, 0, tn_o_like(o, y, scale));
    if (!more) return;
    tn_o_out(o, 1, stats[0]);
    tn_o_out(o, 2, stats[1]);
}

static void import_rms_norm(tn_o *o) {
    tn_value x = tn_o_in(o, 0), scale = tn_o_in(o, 1);
    int axis = tn_o_axis(o, tn_o_int(o, "axis", -1), tn_b_rank(o->b, x));
    double epsilon = tn_o_float(o, "epsilon", (double)1e-5f);
    bool wide = tn_b_type(o->b, x).dtype == TN_f64 || tn_b_type(o->b, scale).dtype == TN_f64;
    tn_value factor = wide ? tn_b_cast(o->b, scale, TN_f64) : scale;
    if (wide) x = tn_b_cast(o->b, x, TN_f64);
    tn_o_out(o, 0, tn_o_like(o, tn_b_rms_norm(o->b, x, axis, factor, epsilon), scale));
}

static void import_instance_norm(tn_o *o) {
    tn_value x = tn_o_in(o, 0), scale = tn_o_in(o, 1), bias = tn_o_in(o, 2);
    double epsilon = tn_o_float(o, "epsilon", (double)1e-5f);
    expect_channels(o, 2);
    tn_o_out(o, 0, tn_b_instance_norm(o->b, x, scale, bias, epsilon));
}

/* Before version 21 scale and bias are per group. */
static void import_group_norm(tn_o *o) {
    tn_value x = tn_o_in(o, 0), p[2] = {tn_o_in(o, 1), tn_o_in(o, 2)};
    int64_t groups = tn_o_need_int(o, "num_groups");
    if (tn_o_ok(o) && groups < 1) tn_o_fail(o, TN_INVALID, "num_groups is %lld", (long long)groups);
    if (o->version >= 21) expect_channels(o, 2);
    for (int i = 1; i < 3 && o->version < 21; i++)
        tn_o_expect(o, i, i == 1 ? "scale" : "bias", 1, (tn_dim[]){groups});
    if (!tn_o_ok(o)) return;
    tn_dim channels = tn_b_dim(o->b, x, 1);
    for (int i = 0; i < 2 && o->version < 21; i++) {
        tn_shape wide = {.rank = 2, .dim = {groups, tn_dim_floordiv(o->dims, channels, groups)}};
        p[i] = tn_b_expand(o->b, tn_b_unsqueeze(o->b, p[i], 1), &wide);
        p[i] = tn_b_reshape_to(o->b, p[i], 1, &channels);
    }
    double epsilon = tn_o_float(o, "epsilon", (double)1e-5f);
    tn_o_out(o, 0, tn_b_group_norm(o->b, x, groups, p[0], p[1], epsilon));
}

static void import_lrn(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    int64_t size = tn_o_need_int(o, "size");
    double alpha = tn_o_float(o, "alpha", (double)1e-4f);
    double beta = tn_o_float(o, "beta", 0.75), bias = tn_o_float(o, "bias", 1);
    tn_o_out(o, 0, tn_b_lrn(o->b, x, size, alpha, beta, bias));
}

static void import_lp_norm(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    int axis = tn_o_axis(o, tn_o_int(o, "axis", -1), tn_b_rank(o->b, x));
    tn_o_out(o, 0, tn_b_lp_norm(o->b, x, axis, norm_order(o, false)));
}

static void import_mean_variance_norm(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    int count, axes[TN_MAX_RANK] = {0, 2, 3}, n = 3;
    const int64_t *at;
    if (tn_o_ints(o, "axes", &count, &at))
        n = tn_o_axes(o, "axes", TN_ONNX_LATEST, 1, tn_b_rank(o->b, x), axes);
    tn_o_out(o, 0, tn_b_mean_variance_norm(o->b, x, axes, n, 1e-9));
}

static const tn_onnx_op rows[] = {
    {"AveragePool", 1, TN_ONNX_LATEST, import_average_pool},
    {"BatchNormalization", 14, TN_ONNX_LATEST, import_batch_norm},
    {"Conv", 1, TN_ONNX_LATEST, import_conv},
    {"ConvTranspose", 1, TN_ONNX_LATEST, import_conv_transpose},
    {"Einsum", 12, TN_ONNX_LATEST, import_einsum},
    {"Gemm", 1, TN_ONNX_LATEST, import_gemm},
    {"GlobalAveragePool", 1, TN_ONNX_LATEST, import_global_average_pool},
    {"GlobalLpPool", 1, TN_ONNX_LATEST, import_global_lp_pool},
    {"GlobalMaxPool", 1, TN_ONNX_LATEST, import_global_max_pool},
    {"GroupNormalization", 18, TN_ONNX_LATEST, import_group_norm},
    {"InstanceNormalization", 1, TN_ONNX_LATEST, import_instance_norm},
    {"LRN", 1, TN_ONNX_LATEST, import_lrn},
    {"LayerNormalization", 1, TN_ONNX_LATEST, import_layer_norm},
    {"LpNormalization", 1, TN_ONNX_LATEST, import_lp_norm},
    {"LpPool", 1, TN_ONNX_LATEST, import_lp_pool},
    {"MatMul", 1, TN_ONNX_LATEST, import_matmul},
    {"MaxPool", 1, TN_ONNX_LATEST, import_max_pool},
    {"MeanVarianceNormalization", 9, TN_ONNX_LATEST, import_mean_variance_norm},
    {"RMSNormalization", 23, TN_ONNX_LATEST, import_rms_norm},
};
TN_ONNX_TABLE(nn, "")
