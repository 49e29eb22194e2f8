/* Operators for images: resizing, sampling, cropping, pooling over regions. */
#include <math.h>

#include "import/onnx/ops.h"

/* ---- Resize, Upsample ----------------------------------------------------------------------- */

static const char *const resize_modes[] = {"nearest", "linear", "cubic", NULL};
static const char *const aspect_policies[] = {"stretch", "not_larger", "not_smaller", NULL};
enum { ASPECT_STRETCH, ASPECT_NOT_LARGER, ASPECT_NOT_SMALLER };

/* What Resize does with each axis of its input. */
typedef struct resize {
    int rank;
    bool named[TN_MAX_RANK]; /* the axes meant */
    int axis[TN_MAX_RANK];   /* of entry i of scales, sizes, roi */
    int entries;
    bool has_scales, has_sizes;
    double scale[TN_MAX_RANK];
    int64_t size[TN_MAX_RANK];
    double crop[TN_MAX_RANK][2];
} resize;

static void read_resize_axes(tn_o *o, resize *r) {
    int count;
    const int64_t *at;
    bool given = o->version >= 18 && tn_o_ints(o, "axes", &count, &at);
    r->entries = given ? count : r->rank;
    if (r->entries > TN_MAX_RANK) tn_o_fail(o, TN_INVALID, "it names %d axes", r->entries);
    for (int i = 0; i < r->entries && tn_o_ok(o); i++) {
        r->axis[i] = given ? tn_o_axis(o, at[i], r->rank) : i;
        r->named[r->axis[i]] = true;
    }
}

static bool check_entries(tn_o *o, const char *what, int count, int expected) {
    if (tn_o_ok(o) && count != expected)
        tn_o_fail(o, TN_INVALID, "its %s has %d entries; expected %d", what, count, expected);
    return tn_o_ok(o);
}

static void take_scales(tn_o *o, resize *r, int count, const double *at) {
    if (!check_entries(o, "scales", count, r->entries)) return;
    for (int i = 0; i < count; i++) {
        if (!(at[i] > 0) || at[i] > INT32_MAX) tn_o_fail(o, TN_INVALID, "a scale is %g", at[i]);
        r->scale[r->axis[i]] = at[i];
    }
    r->has_scales = true;
}

/* An empty input stands for an absent one. */
static void read_scales(tn_o *o, resize *r, int input) {
    int count;
    const double *at;
    if (!tn_o_has(o, input) || !tn_o_need_floats(o, input, "scales", &count, &at)) return;
    if (count) take_scales(o, r, count, at);
}

static void read_sizes(tn_o *o, resize *r, int input) {
    int count;
    const int64_t *at;
    if (!tn_o_has(o, input) || !tn_o_need_ints(o, input, "sizes", &count, &at) || !count) return;
    if (!check_entries(o, "sizes", count, r->entries)) return;
    for (int i = 0; i < count; i++) {
        if (at[i] < 0)
            tn_o_fail(o, TN_INVALID, "axis %d resized to %lld elements", r->axis[i],
                      (long long)at[i]);
        r->size[r->axis[i]] = at[i];
    }
    r->has_sizes = true;
}

/* Starts, then ends. */
static void read_crop(tn_o *o, resize *r, int input) {
    int count;
    const double *at;
    for (int a = 0; a < r->rank; a++) r->crop[a][1] = 1;
    if (!tn_o_need_floats(o, input, "roi", &count, &at)) return;
    if (!check_entries(o, "roi", count, 2 * r->entries)) return;
    for (int i = 0; i < count; i++)
        if (!isfinite(at[i])) tn_o_fail(o, TN_INVALID, "its roi holds %g", at[i]);
    for (int i = 0; i < r->entries; i++) {
        r->crop[r->axis[i]][0] = at[i];
        r->crop[r->axis[i]][1] = at[r->entries + i];
    }
}

/* Sizes that keep the ratio of the axes: all get the smallest (or largest) of their scales. */
static void keep_aspect(resize *r, int policy, const int64_t *have) {
    double common = 0;
    for (int a = 0; a < r->rank; a++) {
        if (!r->named[a]) continue;
        double scale = (double)r->size[a] / (double)TN_MAX(have[a], 1);
        bool better = policy == ASPECT_NOT_LARGER ? scale < common : scale > common;
        if (common == 0 || better) common = scale;
    }
    for (int a = 0; a < r->rank; a++) {
        if (!r->named[a]) continue;
        r->scale[a] = common;
        r->size[a] = (int64_t)fmin(floor(common * (double)have[a] + 0.5), 1e18);
    }
}

/* Whether axis `a` changes at all; an open size may stay open when it does not. */
static bool stays(const resize *r, int a) {
    bool whole = r->crop[a][0] == 0 && (r->crop[a][1] == 1 || r->crop[a][1] == 0);
    return r->has_scales && r->scale[a] == 1 && whole;
}

/* The size and the scale of every named axis; sizes of x must be numbers there. */
static bool settle_sizes(tn_o *o, resize *r, tn_value x, int policy) {
    int64_t have[TN_MAX_RANK] = {0};
    if (tn_o_ok(o) && r->has_scales == r->has_sizes)
        tn_o_fail(o, TN_INVALID, "exactly one of scales and sizes must be given");
    for (int a = 0; a < r->rank && tn_o_ok(o); a++) {
        r->named[a] = r->named[a] && !stays(r, a);
        if (r->named[a])
            have[a] = tn_o_const_dim(o, tn_b_dim(o->b, x, a), "a size that is resized");
    }
    if (tn_o_ok(o) && r->has_sizes && policy != ASPECT_STRETCH) keep_aspect(r, policy, have);
    for (int a = 0; a < r->rank && tn_o_ok(o); a++) {
        if (!r->named[a]) continue;
        if (r->has_scales)
            r->size[a] = (int64_t)fmin(floor(r->scale[a] * (double)have[a]), 1e18);
        else if (policy == ASPECT_STRETCH)
            r->scale[a] = (double)r->size[a] / (double)TN_MAX(have[a], 1);
    }
    return tn_o_ok(o);
}

/* Axes that shrink come first, since they leave less to do for the others; of those that grow the last one
 * does, because what is looked up element by element is then least. Returns their number. */
static int resize_order(const resize *r, int *order) {
    int count = 0;
    for (int a = 0; a < r->rank; a++)
        if (r->named[a] && r->scale[a] <= 1) order[count++] = a;
    for (int a = r->rank - 1; a >= 0; a--)
        if (r->named[a] && !(r->scale[a] <= 1)) order[count++] = a;
    return count;
}

static void resize_axes(tn_o *o, const resize *r, tn_value x, const tn_resize_options *options) {
    int order[TN_MAX_RANK], count = resize_order(r, order);
    tn_dtype dtype = tn_b_type(o->b, x).dtype;
    /* Intermediate axes are not rounded to a narrow type. */
    bool blends = options->mode != TN_RESIZE_NEAREST;
    tn_value y = blends && dtype != TN_f64 ? tn_b_cast(o->b, x, TN_f32) : x;
    for (int i = 0; i < count && tn_o_ok(o); i++) {
        int a = order[i];
        bool cropped = options->grid == TN_GRID_CROP;
        if (!cropped && r->scale[a] == 1 && tn_b_dim(o->b, x, a) == r->size[a]) continue;
        tn_resize_options along = *options;
        if (o->version < 11) along.round = r->scale[a] < 1 ? TN_ROUND_CEIL : TN_ROUND_FLOOR;
        y = tn_b_resize_axis(o->b, y, a, r->size[a], r->scale[a], cropped ? r->crop[a] : NULL,
                             &along);
    }
    if (!blends || tn_dtype_is_float(dtype)) {
        tn_o_out(o, 0, tn_b_cast(o->b, y, dtype));
        return;
    }
    double lo = tn_dtype_is_unsigned(dtype) ? 0 : -ldexp(1, tn_dtype_bits(dtype) - 1);
    double hi = ldexp(1, tn_dtype_bits(dtype) - !tn_dtype_is_unsigned(dtype)) - 1;
    y = tn_b_clip(o->b, tn_b_round(o->b, y), tn_b_scalar(o->b, TN_f32, lo),
                  tn_b_scalar(o->b, TN_f32, hi));
    tn_o_out(o, 0, tn_b_cast(o->b, y, dtype));
}

static tn_resize_options resize_options(tn_o *o) {
    static const char *const grids[] = {
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",   "align_corners",
        "asymmetric", "tf_crop_and_resize",   "tf_half_pixel_for_nn", NULL};
    static const char *const rounds[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil",
                                         NULL};
    tn_resize_options r = {.mode = (tn_resize_mode)tn_o_choice(o, "mode", "nearest", resize_modes)};
    int grid = tn_o_choice(o, "coordinate_transformation_mode", "half_pixel", grids);
    if (tn_o_ok(o) && grid > TN_GRID_CROP && o->version >= 13)
        tn_o_fail(o, TN_UNSUPPORTED,
                  "coordinate_transformation_mode tf_half_pixel_for_nn, which opset 13 withdrew");
    r.grid = (tn_resize_grid)grid;
    r.round = (tn_resize_round)tn_o_choice(o, "nearest_mode", "round_prefer_floor", rounds);
    r.cubic = tn_o_float(o, "cubic_coeff_a", -0.75);
    r.exclude_outside = tn_o_int(o, "exclude_outside", 0) != 0;
    r.extrapolation = tn_o_float(o, "extrapolation_value", 0);
    r.antialias = o->version >= 18 && tn_o_int(o, "antialias", 0) != 0;
    return r;
}

static void import_resize(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    resize r = {.rank = tn_b_rank(o->b, x)};
    tn_resize_options options = resize_options(o);
    int policy = o->version >= 18
                     ? tn_o_choice(o, "keep_aspect_ratio_policy", "stretch", aspect_policies)
                     : ASPECT_STRETCH;
    read_resize_axes(o, &r);
    if (options.grid == TN_GRID_CROP) read_crop(o, &r, 1);
    read_scales(o, &r, 2);
    read_sizes(o, &r, 3);
    if (settle_sizes(o, &r, x, policy)) resize_axes(o, &r, x, &options);
}

/* Upsample, and Resize of opset 10: positions are divided by the scale; the nearest element is the one
 * before, where an axis shrinks the one behind. */
static void import_upsample(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    static const char *const modes[] = {"nearest", "linear", "bilinear", NULL};
    resize r = {.rank = tn_b_rank(o->b, x)};
    tn_resize_options options = {.grid = TN_GRID_ASYMMETRIC, .round = TN_ROUND_FLOOR};
    options.mode = tn_o_choice(o, "mode", "nearest", modes) ? TN_RESIZE_LINEAR : TN_RESIZE_NEAREST;
    read_resize_axes(o, &r);
    if (o->version < 7) {
        double at[4] = {1, 1, tn_o_float(o, "height_scale", 0), tn_o_float(o, "width_scale", 0)};
        take_scales(o, &r, 4, at);
    } else if (o->version < 9) {
        int count;
        const double *at;
        if (!tn_o_floats(o, "scales", &count, &at))
            tn_o_fail(o, TN_INVALID, "its attribute 'scales' is missing");
        else
            take_scales(o, &r, count, at);
    } else {
        read_scales(o, &r, 1);
    }
    if (settle_sizes(o, &r, x, ASPECT_STRETCH)) resize_axes(o, &r, x, &options);
}

/* ---- sampling ------------------------------------------------------------------------------- */

static void import_grid_sample(tn_o *o) {
    static const char *const old_modes[] = {"nearest", "bilinear", "bicubic", NULL};
    static const char *const paddings[] = {"zeros", "border", "reflection", NULL};
    bool old = o->version < 20;
    tn_grid_sample g = {0};
    g.mode = (tn_resize_mode)tn_o_choice(o, "mode", old ? "bilinear" : "linear",
                                         old ? old_modes : resize_modes);
    g.padding = (tn_sample_padding)tn_o_choice(o, "padding_mode", "zeros", paddings);
    g.align_corners = tn_o_int(o, "align_corners", 0) != 0;
    tn_value x = tn_o_in(o, 0), grid = tn_o_in(o, 1);
    tn_o_out(o, 0, tn_b_grid_sample(o->b, x, grid, &g));
}

static void import_affine_grid(tn_o *o) {
    tn_known size;
    if (!tn_o_need_known(o, 1, "size", &size)) return;
    if (size.count < 4 || size.count > 5) {
        tn_o_fail(o, TN_INVALID, "its size has %lld entries; expected N, C and 2 or 3 sizes",
                  (long long)size.count);
        return;
    }
    bool corners = tn_o_int(o, "align_corners", 0) != 0;
    int n = (int)size.count - 2;
    tn_o_out(o, 0, tn_b_affine_grid(o->b, tn_o_in(o, 0), n, size.at + 2, corners));
}

static void import_deform_conv(tn_o *o) {
    tn_deform_conv d = {.x = tn_o_in(o, 0), .w = tn_o_in(o, 1), .offset = tn_o_in(o, 2)};
    d.bias = tn_o_in_or_none(o, 3);
    d.mask = tn_o_in_or_none(o, 4);
    d.offset_groups = tn_o_int(o, "offset_group", 1);
    if (!tn_o_conv_options(o, d.x, d.w, &d.conv)) return;
    tn_o_out(o, 0, tn_b_deform_conv(o->b, &d));
}

/* ---- rearrangement -------------------------------------------------------------------------- */

static void import_center_crop_pad(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    int rank = tn_b_rank(o->b, x), count, axes;
    const int64_t *size, *axis;
    bool given = tn_o_ints(o, "axes", &axes, &axis);
    if (!tn_o_need_ints(o, 1, "shape", &count, &size)) return;
    if (count != (given ? axes : rank))
        tn_o_fail(o, TN_INVALID, "its shape has %d entries for %d axes", count,
                  given ? axes : rank);
    for (int i = 0; i < count && tn_o_ok(o); i++) {
        int a = given ? tn_o_axis(o, axis[i], rank) : i;
        tn_o_const_dim(o, tn_b_dim(o->b, x, a), "a size that is cropped or padded");
        if (tn_o_ok(o)) x = tn_b_center_crop_pad(o->b, x, a, size[i]);
    }
    tn_o_out(o, 0, x);
}

static void read_list(tn_o *o, const char *name, int expected, int64_t other, int64_t *out) {
    int count;
    const int64_t *at;
    bool given = tn_o_ints(o, name, &count, &at);
    if (given && count != expected) {
        tn_o_fail(o, TN_INVALID, "attribute '%s' has %d entries; expected %d", name, count,
                  expected);
        given = false;
    }
    for (int i = 0; i < expected; i++) out[i] = given ? at[i] : other;
}

static void import_col2im(tn_o *o) {
    int n, m;
    const int64_t *image, *block;
    int64_t pads[2 * TN_MAX_SPATIAL];
    tn_col2im c = {0};
    if (!tn_o_need_ints(o, 1, "image_shape", &n, &image)) return;
    if (!tn_o_need_ints(o, 2, "block_shape", &m, &block)) return;
    if (n != m || n < 1 || n > TN_MAX_SPATIAL) {
        tn_o_fail(o, TN_UNSUPPORTED, "image_shape has %d entries, block_shape %d; expected 1 to %d",
                  n, m, TN_MAX_SPATIAL);
        return;
    }
    c.spatial = n;
    read_list(o, "strides", n, 1, c.stride);
    read_list(o, "dilations", n, 1, c.dilation);
    read_list(o, "pads", 2 * n, 0, pads);
    for (int s = 0; s < n; s++) {
        c.image[s] = image[s];
        c.block[s] = block[s];
        c.pad_lo[s] = pads[s];
        c.pad_hi[s] = pads[n + s];
        int64_t values[] = {image[s], block[s], c.stride[s], c.dilation[s], pads[s], pads[n + s]};
        for (size_t i = 0; i < TN_COUNT(values); i++)
            if (values[i] < 0 || values[i] > INT32_MAX)
                tn_o_fail(o, TN_INVALID, "a size, stride, dilation or padding is %lld",
                          (long long)values[i]);
    }
    tn_o_out(o, 0, tn_b_col2im(o->b, tn_o_in(o, 0), &c));
}

/* Where the windows of MaxPool lie without padding: the shape that its positions are counted in. */
static bool unpool_shape(tn_o *o, tn_value x, tn_shape *shape) {
    int n = tn_b_rank(o->b, x) - 2;
    int64_t kernel[TN_MAX_SPATIAL], stride[TN_MAX_SPATIAL], pads[2 * TN_MAX_SPATIAL];
    if (tn_o_ok(o) && (n < 1 || n > TN_MAX_SPATIAL))
        tn_o_fail(o, TN_UNSUPPORTED, "its input has %d axes; expected 3 to %d", n + 2,
                  TN_MAX_SPATIAL + 2);
    if (!tn_o_ok(o)) return false;
    read_list(o, "kernel_shape", n, 0, kernel);
    read_list(o, "strides", n, 1, stride);
    read_list(o, "pads", 2 * n, 0, pads);
    *shape = tn_b_type(o->b, x).shape;
    for (int s = 0; s < n && tn_o_ok(o); s++) {
        if (kernel[s] < 1 || kernel[s] > INT32_MAX || stride[s] < 1 || stride[s] > INT32_MAX ||
            pads[s] < 0 || pads[s] > INT32_MAX || pads[n + s] < 0 || pads[n + s] > INT32_MAX)
            tn_o_fail(o, TN_INVALID, "a window of %lld with stride %lld", (long long)kernel[s],
                      (long long)stride[s]);
        tn_dim last = tn_dim_mul(o->dims, tn_dim_sub(o->dims, shape->dim[2 + s], 1), stride[s]);
        tn_dim rest = tn_dim_const(o->dims, kernel[s] - pads[s] - pads[n + s]);
        shape->dim[2 + s] = tn_dim_add(o->dims, last, rest);
    }
    return tn_o_ok(o);
}

static void import_max_unpool(tn_o *o) {
    tn_value x = tn_o_in(o, 0), positions = tn_o_in(o, 1);
    tn_shape shape;
    tn_known wanted;
    if (!unpool_shape(o, x, &shape)) return;
    tn_value y = tn_b_max_unpool(o->b, x, positions, &shape);
    if (tn_o_has(o, 2)) { /* more room behind */
        if (!tn_o_need_known(o, 2, "output_shape", &wanted)) return;
        if (wanted.count != shape.rank)
            tn_o_fail(o, TN_INVALID, "output_shape has %lld entries; expected %d",
                      (long long)wanted.count, shape.rank);
        tn_value zero = tn_b_scalar(o->b, tn_b_type(o->b, y).dtype, 0);
        for (int a = 0; a < shape.rank && tn_o_ok(o); a++) {
            tn_dim more = tn_dim_sub(o->dims, wanted.at[a], shape.dim[a]);
            y = tn_b_pad_axis(o->b, y, a, 0, more, zero);
        }
    }
    tn_o_out(o, 0, y);
}

/* ---- regions -------------------------------------------------------------------------------- */

static void check_region_size(tn_o *o, const tn_roi *r) {
    enum { LARGEST = 4096, MOST_SAMPLES = 1024 };
    bool fits = r->height > 0 && r->height <= LARGEST && r->width > 0 && r->width <= LARGEST &&
                r->samples >= 0 && r->samples <= MOST_SAMPLES;
    if (tn_o_ok(o) && !fits)
        tn_o_fail(o, TN_INVALID, "a result of %lld by %lld with sampling_ratio %lld",
                  (long long)r->height, (long long)r->width, (long long)r->samples);
}

static void import_roi_align(tn_o *o) {
    static const char *const modes[] = {"avg", "max", NULL};
    static const char *const grids[] = {"half_pixel", "output_half_pixel", NULL};
    tn_roi r = {.height = tn_o_int(o, "output_height", 1),
                .width = tn_o_int(o, "output_width", 1),
                .samples = tn_o_int(o, "sampling_ratio", 0),
                .scale = tn_o_float(o, "spatial_scale", 1)};
    r.max = tn_o_choice(o, "mode", "avg", modes);
    /* Without the attribute, opset 10 has no shift by half a pixel. */
    r.half_pixel = o->version >= 16 &&
                   tn_o_choice(o, "coordinate_transformation_mode", "half_pixel", grids) == 0;
    if (tn_o_ok(o) && r.samples == 0)
        tn_o_fail(o, TN_UNSUPPORTED,
                  "sampling_ratio is 0: the number of samples would depend on the regions, which "
                  "are not known before a run; set sampling_ratio");
    check_region_size(o, &r);
    tn_value x = tn_o_in(o, 0), regions = tn_o_in(o, 1), batch = tn_o_in(o, 2);
    if (tn_b_rank(o->b, regions) == 2)
        tn_o_expect(o, 2, "batch indices", 1, (tn_dim[]){tn_b_dim(o->b, regions, 0)});
    tn_o_out(o, 0, tn_b_roi_align(o->b, x, regions, batch, &r));
}

static void import_max_roi_pool(tn_o *o) {
    int count;
    const int64_t *size;
    if (!tn_o_ints(o, "pooled_shape", &count, &size) || count != 2) {
        tn_o_fail(o, TN_INVALID, "its attribute 'pooled_shape' must have two entries");
        return;
    }
    tn_roi r = {.height = size[0], .width = size[1], .scale = tn_o_float(o, "spatial_scale", 1)};
    check_region_size(o, &r);
    tn_value x = tn_o_in(o, 0), regions = tn_o_in(o, 1);
    tn_o_out(o, 0, tn_b_roi_max_pool(o->b, x, regions, &r));
}

static void import_image_decoder(tn_o *o) {
    tn_o_fail(o, TN_UNSUPPORTED,
              "decoding compressed images is not part of a compiled model; decode them before");
}

static const tn_onnx_op rows[] = {
    {"AffineGrid", 20, TN_ONNX_LATEST, import_affine_grid},
    {"CenterCropPad", 18, TN_ONNX_LATEST, import_center_crop_pad},
    {"Col2Im", 18, TN_ONNX_LATEST, import_col2im},
    {"DeformConv", 19, TN_ONNX_LATEST, import_deform_conv},
    {"GridSample", 16, TN_ONNX_LATEST, import_grid_sample},
    {"ImageDecoder", 20, TN_ONNX_LATEST, import_image_decoder},
    {"MaxRoiPool", 1, TN_ONNX_LATEST, import_max_roi_pool},
    {"MaxUnpool", 9, TN_ONNX_LATEST, import_max_unpool},
    {"Resize", 10, 10, import_upsample},
    {"Resize", 11, TN_ONNX_LATEST, import_resize},
    {"RoiAlign", 10, TN_ONNX_LATEST, import_roi_align},
    {"Upsample", 1, 9, import_upsample},
};
TN_ONNX_TABLE(image, "")
