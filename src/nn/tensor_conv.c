/* Linear maps, convolution, pooling and resizing of lazy tensors. See tenon/tensor_layers.h. */
#include <inttypes.h>

#include "nn/tensor_inner.h"
#include "ops/ops_common.h"

static tn_value build_linear(tn_builder *b, const tn_value *in, const void *args) {
    (void)args;
    tn_value x = tn__float_operand(b, "linear", in[0]), w = tn__cast_like(b, in[1], x);
    if (tn_b_ok(b) && (tn_b_rank(b, x) < 1 || tn_b_rank(b, w) != 2))
        return tn_b_fail(b, TN_INVALID,
                         "linear: x has %d axes and the weight %d; expected 1 or "
                         "more, and 2",
                         tn_b_rank(b, x), tn_b_rank(b, w));
    tn_dims *t = b->graph->dims;
    if (tn_b_ok(b) && tn_b_dim(b, x, -1) != tn_b_dim(b, w, 1))
        return tn_b_fail(b, TN_INVALID, "linear: x has %s features, the weight [out, in] takes %s",
                         tn_dim_text(t, tn_b_dim(b, x, -1)).at,
                         tn_dim_text(t, tn_b_dim(b, w, 1)).at);
    return tn_b_linear(b, x, w, tn__cast_like(b, in[2], x));
}

tn_tensor *tn_linear_with_at(const char *place, const tn_tensor *x, const tn_tensor *weight,
                             const tn_tensor *bias) {
    return tn__call_some(place, (const tn_tensor *[]){x, weight, bias}, 3, 2, build_linear, NULL);
}

/* ---- windows -------------------------------------------------------------------------------- */

/* The list where one of its numbers is not 0, else the number for all axes; 0 becomes `otherwise`. */
static void spread(int64_t number, const int64_t *list, int64_t otherwise, int64_t *out) {
    bool listed = false;
    for (int s = 0; s < TN_SPATIAL_AXES; s++) listed = listed || list[s] != 0;
    for (int s = 0; s < TN_SPATIAL_AXES; s++) {
        out[s] = listed ? list[s] : number;
        if (out[s] == 0) out[s] = otherwise;
    }
}

typedef struct window_args {
    const char *what;
    int64_t kernel[TN_SPATIAL_AXES], stride[TN_SPATIAL_AXES], padding[TN_SPATIAL_AXES];
    int64_t dilation[TN_SPATIAL_AXES], output_padding[TN_SPATIAL_AXES];
    int64_t groups;
    bool ceil_mode, exclude_padding;
} window_args;

static window_args window_of(const char *what, const tn_window_options *o, bool pool) {
    window_args a = {.what = what,
                     .groups = o->groups ? o->groups : 1,
                     .ceil_mode = o->ceil_mode,
                     .exclude_padding = o->exclude_padding};
    spread(o->kernel, o->kernels, 0, a.kernel);
    spread(o->stride, o->strides, 0, a.stride);
    for (int s = 0; s < TN_SPATIAL_AXES; s++)
        if (a.stride[s] == 0) a.stride[s] = pool ? a.kernel[s] : 1;
    spread(o->padding, o->paddings, 0, a.padding);
    spread(o->dilation, o->dilations, 1, a.dilation);
    spread(o->output_padding, o->output_paddings, 0, a.output_padding);
    return a;
}

/* Sizes far beyond any tensor's would overflow in what follows. */
enum { MAX_EXTENT = 1 << 30 };

static bool in_range(tn_builder *b, const char *what, const char *name, const int64_t *list, int n,
                     int64_t least) {
    for (int s = 0; s < n && tn_b_ok(b); s++)
        if (list[s] < least || list[s] > MAX_EXTENT)
            tn_b_fail(b, TN_INVALID,
                      "%s: the %s of spatial axis %d is %" PRId64 "; expected at least %" PRId64,
                      what, name, s, list[s], least);
    return tn_b_ok(b);
}

static bool check_windows(tn_builder *b, const window_args *a, tn_value x) {
    tn__float_operand(b, a->what, x);
    int spatial = tn_b_rank(b, x) - 2;
    if (tn_b_ok(b) && (spatial < 1 || spatial > TN_SPATIAL_AXES))
        tn_b_fail(b, TN_INVALID, "%s: x has %d axes; expected N, C and 1 to %d spatial axes",
                  a->what, spatial + 2, TN_SPATIAL_AXES);
    return tn_b_ok(b) && in_range(b, a->what, "stride", a->stride, spatial, 1) &&
           in_range(b, a->what, "dilation", a->dilation, spatial, 1) &&
           in_range(b, a->what, "padding", a->padding, spatial, 0) &&
           in_range(b, a->what, "output padding", a->output_padding, spatial, 0) &&
           in_range(b, a->what, "number of groups", &a->groups, 1, 1);
}

/* ---- convolution ---------------------------------------------------------------------------- */

static tn_conv_options conv_options(const window_args *a) {
    tn_conv_options o = {.groups = a->groups};
    memcpy(o.stride, a->stride, sizeof o.stride);
    memcpy(o.dilation, a->dilation, sizeof o.dilation);
    memcpy(o.pad_lo, a->padding, sizeof o.pad_lo);
    memcpy(o.pad_hi, a->padding, sizeof o.pad_hi);
    memcpy(o.output_pad, a->output_padding, sizeof o.output_pad);
    return o;
}

static tn_value build_conv(tn_builder *b, const tn_value *in, const void *args) {
    const window_args *a = args;
    if (!check_windows(b, a, in[0])) return TN_NO_VALUE;
    tn_conv_options o = conv_options(a);
    return tn_b_conv(b, in[0], tn__cast_like(b, in[1], in[0]), tn__cast_like(b, in[2], in[0]), &o);
}

static tn_value build_conv_transpose(tn_builder *b, const tn_value *in, const void *args) {
    const window_args *a = args;
    if (!check_windows(b, a, in[0])) return TN_NO_VALUE;
    tn_dims *t = b->graph->dims;
    if (tn_b_rank(b, in[1]) >= 1 && tn_b_dim(b, in[1], 0) != tn_b_dim(b, in[0], 1))
        return tn_b_fail(b, TN_INVALID,
                         "conv_transpose: x has %s channels, the weight [in, out / "
                         "groups, …] takes %s",
                         tn_dim_text(t, tn_b_dim(b, in[0], 1)).at,
                         tn_dim_text(t, tn_b_dim(b, in[1], 0)).at);
    tn_conv_options o = conv_options(a);
    return tn_b_conv_transpose(b, in[0], tn__cast_like(b, in[1], in[0]),
                               tn__cast_like(b, in[2], in[0]), &o);
}

static tn_tensor *convolve(const char *place, const char *what, const tn_tensor *const x[3],
                           const tn_window_options *options, tn__build *build) {
    tn_window_options o;
    tn_context *c = tn_tensor_context(x[0]);
    if (!tn__options(c, place, options, &o, sizeof o)) return c ? tn__failed(c) : NULL;
    window_args a = window_of(what, &o, false);
    return tn__call_some(place, x, 3, 2, build, &a);
}

tn_tensor *tn_conv_with_at(const char *place, const tn_tensor *x, const tn_tensor *weight,
                           const tn_tensor *bias, const tn_window_options *options) {
    return convolve(place, "conv", (const tn_tensor *[]){x, weight, bias}, options, build_conv);
}

tn_tensor *tn_conv_transpose_with_at(const char *place, const tn_tensor *x, const tn_tensor *weight,
                                     const tn_tensor *bias, const tn_window_options *options) {
    return convolve(place, "conv_transpose", (const tn_tensor *[]){x, weight, bias}, options,
                    build_conv_transpose);
}

/* ---- pooling -------------------------------------------------------------------------------- */

static bool pool_options(tn_builder *b, const window_args *a, tn_value x, tn_pool_options *o) {
    *o = (tn_pool_options){.ceil_mode = a->ceil_mode, .count_include_pad = !a->exclude_padding};
    if (!in_range(b, a->what, "kernel", a->kernel, tn_b_rank(b, x) - 2, 1) ||
        !check_windows(b, a, x))
        return false;
    for (int s = 0; s < tn_b_rank(b, x) - 2; s++)
        if (2 * a->padding[s] > a->kernel[s]) {
            tn_b_fail(b, TN_INVALID,
                      "%s: a padding of %" PRId64 " is more than half of the kernel "
                      "of %" PRId64 ": a window would hold padding alone",
                      a->what, a->padding[s], a->kernel[s]);
            return false;
        }
    memcpy(o->window, a->kernel, sizeof o->window);
    memcpy(o->stride, a->stride, sizeof o->stride);
    memcpy(o->dilation, a->dilation, sizeof o->dilation);
    memcpy(o->pad_lo, a->padding, sizeof o->pad_lo);
    memcpy(o->pad_hi, a->padding, sizeof o->pad_hi);
    return true;
}

static tn_value build_max_pool(tn_builder *b, const tn_value *in, const void *args) {
    tn_pool_options o;
    return pool_options(b, args, in[0], &o) ? tn_b_max_pool(b, in[0], &o, NULL) : TN_NO_VALUE;
}

static tn_value build_average_pool(tn_builder *b, const tn_value *in, const void *args) {
    tn_pool_options o;
    return pool_options(b, args, in[0], &o) ? tn_b_average_pool(b, in[0], &o) : TN_NO_VALUE;
}

static tn_tensor *pool(const char *place, const char *what, const tn_tensor *x,
                       const tn_window_options *options, tn__build *build) {
    tn_window_options o;
    tn_context *c = tn_tensor_context(x);
    if (!tn__options(c, place, options, &o, sizeof o)) return c ? tn__failed(c) : NULL;
    window_args a = window_of(what, &o, true);
    return tn__call1(place, x, build, &a);
}

tn_tensor *tn_max_pool_at(const char *place, const tn_tensor *x, const tn_window_options *options) {
    return pool(place, "max_pool", x, options, build_max_pool);
}

tn_tensor *tn_average_pool_at(const char *place, const tn_tensor *x,
                              const tn_window_options *options) {
    return pool(place, "average_pool", x, options, build_average_pool);
}

static tn_value build_global_average(tn_builder *b, const tn_value *in, const void *args) {
    (void)args;
    return tn_b_global_average_pool(b, tn__float_operand(b, "global_average_pool", in[0]));
}

tn_tensor *tn_global_average_pool_at(const char *place, const tn_tensor *x) {
    return tn__call1(place, x, build_global_average, NULL);
}

static tn_value build_global_max(tn_builder *b, const tn_value *in, const void *args) {
    (void)args;
    return tn_b_global_max_pool(b, in[0]);
}

tn_tensor *tn_global_max_pool_at(const char *place, const tn_tensor *x) {
    return tn__call1(place, x, build_global_max, NULL);
}

/* ---- resizing ------------------------------------------------------------------------------- */

typedef struct resize_args {
    int spatial;
    const int64_t *dim;
    tn_resize_by by;
} resize_args;

static tn_value build_resize(tn_builder *b, const tn_value *in, const void *args) {
    const resize_args *a = args;
    tn_value x = tn__float_operand(b, "resize", in[0]);
    if (tn_b_ok(b) && (a->spatial < 1 || tn_b_rank(b, x) != a->spatial + 2))
        return tn_b_fail(b, TN_INVALID,
                         "resize: %d sizes for x with %d axes; expected N, C and as "
                         "many spatial axes",
                         a->spatial, tn_b_rank(b, x));
    tn_resize_options o = {.mode = (tn_resize_mode)a->by, .grid = TN_GRID_HALF_PIXEL};
    if (a->by == TN_RESIZE_BY_NEAREST) o.grid = TN_GRID_ASYMMETRIC, o.round = TN_ROUND_FLOOR;
    if (!in_range(b, "resize", "size", a->dim, a->spatial, 1)) return TN_NO_VALUE;
    for (int s = 0; s < a->spatial; s++) x = tn_b_resize_axis(b, x, 2 + s, a->dim[s], 0, NULL, &o);
    return x;
}

tn_tensor *tn_resize_at(const char *place, const tn_tensor *x, int spatial, const int64_t *dim,
                        tn_resize_by by) {
    return tn__call1(place, x, build_resize, &(resize_args){spatial, dim, by});
}
