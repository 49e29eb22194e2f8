/* Sampling images at computed positions: grid_sample, deformable convolution, affine grids. Pooling
 * over regions is in compose_region.c. See compose.h.
 *
 * All of it is one gather of the elements around each position, times their weights, summed. */
#include "ops/compose.h"
#include "ops/parts.h"

enum { TAPS_MOST = 4 };

static tn_dtype float_type(tn_dtype dtype) {
    return dtype == TN_f64 ? TN_f64 : TN_f32;
}

static tn_value scalar_like(tn_builder *b, tn_value x, double value) {
    return tn_b_scalar(b, tn_b_type(b, x).dtype, value);
}

/* The sizes of the `n` axes of x from `first` on, as a vector. */
static tn_value size_vector(tn_builder *b, tn_value x, int first, int n, tn_dtype dtype) {
    tn_value size[TN_MAX_RANK];
    for (int i = 0; i < n; i++) {
        tn_value one = tn_b_dim_value(b, tn_b_dim(b, x, first + i), dtype);
        size[i] = tn_b_unsqueeze(b, one, 0);
    }
    return tn_b_concat(b, size, n, 0);
}

static tn_value clamp(tn_builder *b, tn_value v, tn_value lo, tn_value hi) {
    return tn_b_min(b, tn_b_max(b, v, lo), hi);
}

/* ---- borders -------------------------------------------------------------------------------- */

typedef struct frame {
    const tn_grid_sample *o;
    tn_value size;   /* [n], as floats */
    tn_value lo, hi; /* positions beyond these are outside */
} frame;

static frame frame_of(tn_builder *b, tn_value x, int n, tn_dtype dtype, const tn_grid_sample *o) {
    frame f = {.o = o, .size = size_vector(b, x, 2, n, dtype)};
    double edge = o->align_corners ? 0 : -0.5;
    f.lo = tn_b_scalar(b, dtype, edge);
    f.hi = tn_b_add_scalar(b, f.size, -1 - edge);
    return f;
}

/* v mirrored at lo and hi until it lies between them: with t = |v − lo| = k·range + r it is r above
 * lo for even k and r below hi for odd k. */
static tn_value reflect(tn_builder *b, tn_value v, const frame *f) {
    tn_value range = tn_b_sub(b, f->hi, f->lo), t = tn_b_abs(b, tn_b_sub(b, v, f->lo));
    tn_value k = tn_b_floor(b, tn_b_div(b, t, range));
    tn_value r = tn_b_sub(b, t, tn_b_mul(b, k, range));
    tn_value half = tn_b_mul_scalar(b, k, 0.5);
    tn_value even = tn_b_eq(b, half, tn_b_floor(b, half));
    tn_value y = tn_b_where(b, even, tn_b_add(b, f->lo, r), tn_b_sub(b, f->hi, r));
    return tn_b_where(b, tn_b_eq(b, range, scalar_like(b, range, 0)), f->lo, y);
}

/* Positions outside are brought inside as the padding says; the others stay as they are. */
static tn_value bring_inside(tn_builder *b, tn_value v, const frame *f) {
    if (f->o->padding == TN_PADDING_ZEROS) return v;
    tn_value outside = tn_b_or(b, tn_b_lt(b, v, f->lo), tn_b_gt(b, v, f->hi));
    tn_value last = tn_b_add_scalar(b, f->size, -1);
    tn_value y = f->o->padding == TN_PADDING_REFLECTION ? reflect(b, v, f)
                                                        : clamp(b, v, scalar_like(b, v, 0), last);
    return tn_b_where(b, outside, y, v);
}

/* ---- taps ----------------------------------------------------------------------------------- */

/* The interpolation kernel at distance d (Keys 1981, a = −3/4, for cubic). */
static tn_value kernel(tn_builder *b, tn_value d, tn_resize_mode mode) {
    const double a = -0.75;
    d = tn_b_abs(b, d);
    if (mode == TN_RESIZE_LINEAR) return tn_b_sub(b, scalar_like(b, d, 1), d);
    tn_value square = tn_b_square(b, d);
    tn_value near = tn_b_add_scalar(b, tn_b_mul_scalar(b, d, a + 2), -(a + 3));
    near = tn_b_add_scalar(b, tn_b_mul(b, near, square), 1);
    tn_value far = tn_b_mul(b, tn_b_add_scalar(b, d, -5), d);
    far = tn_b_add_scalar(b, tn_b_mul(b, tn_b_add_scalar(b, far, 8), d), -4);
    tn_value is_near = tn_b_le(b, d, scalar_like(b, d, 1));
    return tn_b_where(b, is_near, near, tn_b_mul_scalar(b, far, a));
}

/* The places of the taps from floor(position) on, for all combinations over n axes: [taps, n]. */
static tn_value tap_offsets(tn_builder *b, tn_resize_mode mode, int n, tn_dtype dtype) {
    int each = mode == TN_RESIZE_CUBIC ? TAPS_MOST : mode == TN_RESIZE_LINEAR ? 2 : 1;
    int64_t count = 1, index[TN_MAX_SPATIAL] = {0}, per_axis[TN_MAX_SPATIAL];
    for (int i = 0; i < n; i++) {
        per_axis[i] = each;
        count *= each;
    }
    tn_array a = tn_array_new(b->graph->arena, dtype, 2, (int64_t[]){count, n});
    for (int64_t tap = 0; tap < count; tap++, tn_index_next(index, n, per_axis))
        for (int i = 0; i < n; i++) {
            double offset = (double)(index[i] - (mode == TN_RESIZE_CUBIC));
            tn_array_set(&a, tap * n + i, (tn_cell){.f = offset});
        }
    return tn_b_constant(b, &a);
}

/* x [N, C, sizes…] at positions [N, P…, n] → [N, C, P…] */
static tn_value sample(tn_builder *b, tn_value x, tn_value at, const tn_grid_sample *o) {
    tn_dtype dtype = tn_b_type(b, x).dtype, work = float_type(dtype);
    int n = tn_b_rank(b, x) - 2, rank = tn_b_rank(b, at);
    frame f = frame_of(b, x, n, tn_b_type(b, at).dtype, o);
    if (o->mode == TN_RESIZE_NEAREST) at = tn_b_round(b, at);
    /* A cubic's position stays outside, only its taps are clamped, as PyTorch has it. */
    bool cubic_border = o->mode == TN_RESIZE_CUBIC && o->padding == TN_PADDING_BORDER;
    if (!cubic_border) at = bring_inside(b, at, &f);
    at = tn_b_unsqueeze(b, at, rank - 1);
    tn_value offsets = tap_offsets(b, o->mode, n, tn_b_type(b, at).dtype);
    tn_value tap = tn_b_add(b, tn_b_floor(b, at), offsets); /* [N, P…, taps, n] */
    tn_attrs_gather a = {.batch = 1, .axes = tn_ints_range(2, 2 + n), .mode = TN_INDEX_clamp};
    if (o->padding == TN_PADDING_ZEROS) a.mode = TN_INDEX_fill;
    tn_value index = tn_b_cast(b, tn_b_round(b, bring_inside(b, tap, &f)), TN_i64);
    tn_value y = tn_b_node(b, TN_OP_gather, (tn_value[]){x, index}, 2, &a); /* [N, P…, taps, C] */
    if (o->mode == TN_RESIZE_NEAREST)
        return tn_b_move(b, tn_b_squeeze(b, y, rank - 1), rank - 1, 1);
    tn_value weight = kernel(b, tn_b_sub(b, at, tap), o->mode);
    weight = tn_b_reduce(b, TN_REDUCE_prod, weight, (int[]){rank}, 1, true);
    y = tn_b_mul(b, tn_b_cast(b, y, work), tn_b_cast(b, weight, work));
    y = tn_b_cast(b, tn_b_sum(b, y, (int[]){rank - 1}, 1, false), dtype);
    return tn_b_move(b, y, rank - 1, 1);
}

/* ---- grid_sample, affine_grid --------------------------------------------------------------- */

tn_value tn_b_grid_sample(tn_builder *b, tn_value x, tn_value grid, const tn_grid_sample *o) {
    int rank = tn_b_rank(b, x), n = rank - 2;
    if (tn_b_ok(b) &&
        (n < 1 || n > TN_MAX_SPATIAL || tn_b_rank(b, grid) != rank || tn_b_dim(b, grid, -1) != n))
        return tn_b_fail(
            b, TN_INVALID,
            "grid_sample: x has %d axes, the grid %d; expected x [N, C, sizes…] with 1 "
            "to %d spatial axes and a grid [N, …, their number]",
            rank, tn_b_rank(b, grid), TN_MAX_SPATIAL);
    tn_dtype dtype = float_type(tn_b_type(b, grid).dtype);
    tn_value at = tn_b_add_scalar(b, tn_b_reverse(b, tn_b_cast(b, grid, dtype), -1), 1);
    tn_value size = size_vector(b, x, 2, n, dtype);
    if (o->align_corners)
        at = tn_b_mul(b, tn_b_mul_scalar(b, at, 0.5), tn_b_add_scalar(b, size, -1));
    else
        at = tn_b_mul_scalar(b, tn_b_add_scalar(b, tn_b_mul(b, at, size), -1), 0.5);
    return sample(b, x, at, o);
}

/* −1 … 1 over `size` places: of the corners, or of the middles of cells. */
static tn_value even_places(tn_builder *b, tn_dim size, bool corners, tn_dtype dtype) {
    tn_shape shape = {.rank = 1, .dim = {size}};
    tn_value place = tn_b_iota(b, dtype, &shape, 0), count = tn_b_dim_value(b, size, dtype);
    tn_value one = tn_b_scalar(b, dtype, 1);
    if (corners)
        count = tn_b_max(b, tn_b_sub(b, count, one), one);
    else
        place = tn_b_add_scalar(b, place, 0.5);
    return tn_b_add_scalar(b, tn_b_div(b, tn_b_mul_scalar(b, place, 2), count), -1);
}

tn_value tn_b_affine_grid(tn_builder *b, tn_value theta, int n, const tn_dim *size,
                          bool align_corners) {
    tn_dtype dtype = tn_b_type(b, theta).dtype, work = float_type(dtype);
    if (tn_b_ok(b) &&
        (tn_b_rank(b, theta) != 3 || tn_b_dim(b, theta, 1) != n || tn_b_dim(b, theta, 2) != n + 1))
        return tn_b_fail(b, TN_INVALID, "affine_grid: theta must be [N, %d, %d] for %d sizes", n,
                         n + 1, n);
    tn_shape shape = {.rank = n + 1};
    for (int s = 0; s < n; s++) shape.dim[s] = size[s];
    shape.dim[n] = 1;
    tn_value part[TN_MAX_SPATIAL + 1];
    for (int s = 0; s < n; s++) { /* the last axis comes first, as in the grid */
        tn_dim dim[TN_MAX_SPATIAL + 1];
        for (int i = 0; i <= n; i++) dim[i] = i == s ? size[s] : 1;
        tn_value place = even_places(b, size[s], align_corners, work);
        part[n - 1 - s] = tn_b_expand(b, tn_b_reshape_to(b, place, n + 1, dim), &shape);
    }
    part[n] = tn_b_full(b, work, &shape, 1);
    tn_value base = tn_b_concat(b, part, n + 1, n);
    tn_attrs_dot a = {.lhs_contract = {1, {2}}, .rhs_contract = {1, {n}}, .acc = work};
    tn_value in[] = {tn_b_cast(b, theta, work), base};
    return tn_b_cast(b, tn_b_move(b, tn_b_node(b, TN_OP_dot, in, 2, &a), 1, n + 1), dtype);
}

/* ---- deformable convolution ----------------------------------------------------------------- */

/* Where the windows' elements lie without the offset: [K, oh, ow, 2], in the order of the window.
 */
static tn_value window_places(tn_builder *b, const tn_conv_options *c, const int64_t window[2],
                              const tn_dim out[2], tn_dtype dtype) {
    tn_shape shape = {.rank = 5, .dim = {window[0], window[1], out[0], out[1], 1}};
    tn_value part[2];
    for (int s = 0; s < 2; s++) {
        tn_value in_window =
            tn_b_mul_scalar(b, tn_b_iota(b, dtype, &shape, s), (double)TN_MAX(c->dilation[s], 1));
        tn_value start =
            tn_b_mul_scalar(b, tn_b_iota(b, dtype, &shape, 2 + s), (double)TN_MAX(c->stride[s], 1));
        tn_value place = tn_b_add(b, in_window, start);
        part[s] = tn_b_add_scalar(b, place, -(double)c->pad_lo[s]);
    }
    tn_dim count = window[0] * window[1];
    return tn_b_regroup(b, tn_b_concat(b, part, 2, 4), 0, 2, 1, &count);
}

static bool deform_check(tn_builder *b, const tn_deform_conv *o, int64_t window[2]) {
    tn_dims *t = b->graph->dims;
    if (!tn_b_ok(b)) return false;
    if (tn_b_rank(b, o->x) != 4 || tn_b_rank(b, o->w) != 4 || tn_b_rank(b, o->offset) != 4)
        tn_b_fail(b, TN_UNSUPPORTED,
                  "deform_conv: x, weight and offset have %d, %d, %d axes; "
                  "only two spatial axes are supported",
                  tn_b_rank(b, o->x), tn_b_rank(b, o->w), tn_b_rank(b, o->offset));
    for (int s = 0; s < 2 && tn_b_ok(b); s++)
        if (!tn_dim_const_value(t, tn_b_dim(b, o->w, 2 + s), &window[s]))
            tn_b_fail(b, TN_UNSUPPORTED, "deform_conv: the window's size must be constant");
    return tn_b_ok(b);
}

tn_value tn_b_deform_conv(tn_builder *b, const tn_deform_conv *o) {
    int64_t window[2], each = TN_MAX(o->offset_groups, 1);
    if (!deform_check(b, o, window)) return TN_NO_VALUE;
    tn_dims *t = b->graph->dims;
    tn_dim n = tn_b_dim(b, o->x, 0), groups = tn_dim_mul(t, n, each), channels;
    tn_dim out[] = {tn_b_dim(b, o->offset, 2), tn_b_dim(b, o->offset, 3)};
    if (!tn_dim_divides(t, tn_b_dim(b, o->x, 1), each, &channels))
        return tn_b_fail(b, TN_INVALID, "deform_conv: the channels do not split into %lld groups",
                         (long long)each);
    tn_dim k = window[0] * window[1];
    tn_value x = tn_b_reshape_to(
        b, o->x, 4, (tn_dim[]){groups, channels, tn_b_dim(b, o->x, 2), tn_b_dim(b, o->x, 3)});
    tn_dtype dtype = tn_b_type(b, x).dtype, work = float_type(dtype);
    tn_value offset = tn_b_cast(b, o->offset, work);
    offset = tn_b_reshape_to(b, offset, 5, (tn_dim[]){groups, k, 2, out[0], out[1]});
    tn_value at =
        tn_b_add(b, tn_b_move(b, offset, 2, 4), window_places(b, &o->conv, window, out, work));
    const tn_grid_sample linear = {.mode = TN_RESIZE_LINEAR, .padding = TN_PADDING_ZEROS};
    tn_value y = sample(b, x, at, &linear); /* [groups, channels, K, oh, ow] */
    if (o->mask != TN_NO_VALUE)
        y = tn_b_mul(b, y,
                     tn_b_reshape_to(b, o->mask, 5, (tn_dim[]){groups, 1, k, out[0], out[1]}));
    tn_dim all = tn_dim_mul(t, tn_b_dim(b, o->x, 1), k);
    y = tn_b_reshape_to(b, y, 4, (tn_dim[]){n, all, out[0], out[1]});
    tn_dim taps = tn_dim_mul(t, tn_b_dim(b, o->w, 1), k);
    tn_value w = tn_b_reshape_to(b, o->w, 4, (tn_dim[]){tn_b_dim(b, o->w, 0), taps, 1, 1});
    return tn_b_conv(b, y, w, o->bias, &(tn_conv_options){.groups = o->conv.groups});
}
