/* Pooling over regions of interest: RoI align and RoI max pooling. See compose.h. */
#include <math.h>

#include "ops/compose.h"
#include "ops/parts.h"

/* Column `at` of a matrix. */
static tn_value column(tn_builder *b, tn_value m, int at) {
    return tn_b_squeeze(b, tn_b_slice_axis(b, m, 1, at, 1, 1), 1);
}

static tn_value scalar_like(tn_builder *b, tn_value x, double value) {
    return tn_b_scalar(b, tn_b_type(b, x).dtype, value);
}

static bool region_check(tn_builder *b, tn_value x, tn_value regions, int columns,
                         const tn_roi *o) {
    if (tn_b_ok(b) && (tn_b_rank(b, x) != 4 || tn_b_rank(b, regions) != 2 ||
                       tn_b_dim(b, regions, 1) != columns || o->height < 1 || o->width < 1))
        tn_b_fail(b, TN_INVALID,
                  "pooling over regions: expected x [N, C, H, W], regions [R, %d] and a positive "
                  "size of the result",
                  columns);
    return tn_b_ok(b);
}

/* ---- RoI align ------------------------------------------------------------------------------ */

/* Samples along one axis: two neighbours each, [R, count, 2], and their weights. */
typedef struct line {
    tn_value place, weight;
} line;

/* Of `bins` bins between start and end [R], `samples` samples each at the middles of equal parts. A
 * sample more than one element outside counts as 0, one closer takes the border. */
static line sample_line(tn_builder *b, tn_value start, tn_value end, tn_dim size, int64_t bins,
                        const tn_roi *o) {
    tn_dtype dtype = tn_b_type(b, start).dtype;
    tn_value length = tn_b_sub(b, end, start);
    if (!o->half_pixel) length = tn_b_max(b, length, tn_b_scalar(b, dtype, 1));
    tn_value step = tn_b_mul_scalar(b, length, 1.0 / (double)(bins * o->samples));
    tn_shape shape = {.rank = 1, .dim = {bins * o->samples}};
    tn_value middle = tn_b_add_scalar(b, tn_b_iota(b, dtype, &shape, 0), 0.5);
    tn_value at = tn_b_mul(b, tn_b_unsqueeze(b, step, 1), middle);
    at = tn_b_unsqueeze(b, tn_b_add(b, tn_b_unsqueeze(b, start, 1), at), 2);
    tn_value zero = tn_b_scalar(b, dtype, 0), limit = tn_b_dim_value(b, size, dtype);
    tn_value last = tn_b_add_scalar(b, limit, -1);
    tn_value inside = tn_b_and(b, tn_b_ge(b, at, tn_b_scalar(b, dtype, -1)), tn_b_le(b, at, limit));
    at = tn_b_min(b, tn_b_max(b, at, zero), last);
    shape = (tn_shape){.rank = 1, .dim = {2}};
    tn_value place = tn_b_add(b, tn_b_floor(b, at), tn_b_iota(b, dtype, &shape, 0));
    tn_value distance = tn_b_abs(b, tn_b_sub(b, at, place));
    tn_value weight = tn_b_sub(b, tn_b_scalar(b, dtype, 1), distance);
    return (line){tn_b_cast(b, tn_b_min(b, place, last), TN_i64),
                  tn_b_where(b, inside, weight, zero)};
}

/* The places of all samples: [R, Y, 2, X, 2, 3] for batch, row and column. */
static tn_value region_index(tn_builder *b, tn_value batch, tn_value rows, tn_value columns) {
    tn_dim r = tn_b_dim(b, batch, 0), y = tn_b_dim(b, rows, 1), x = tn_b_dim(b, columns, 1);
    tn_shape shape = {.rank = 6, .dim = {r, y, 2, x, 2, 1}};
    tn_value part[] = {
        tn_b_expand(b, tn_b_reshape_to(b, batch, 6, (tn_dim[]){r, 1, 1, 1, 1, 1}), &shape),
        tn_b_expand(b, tn_b_reshape_to(b, rows, 6, (tn_dim[]){r, y, 2, 1, 1, 1}), &shape),
        tn_b_expand(b, tn_b_reshape_to(b, columns, 6, (tn_dim[]){r, 1, 1, x, 2, 1}), &shape)};
    return tn_b_concat(b, part, 3, 5);
}

tn_value tn_b_roi_align(tn_builder *b, tn_value x, tn_value regions, tn_value batch,
                        const tn_roi *o) {
    if (!region_check(b, x, regions, 4, o)) return TN_NO_VALUE;
    if (o->samples < 1)
        return tn_b_fail(b, TN_UNSUPPORTED,
                         "roi_align with as many samples as each region is large; give a number of "
                         "samples per bin");
    tn_dtype dtype = tn_b_type(b, x).dtype, work = tn_b_accumulator(dtype);
    tn_value edge[4];
    for (int i = 0; i < 4; i++) {
        tn_value scaled = tn_b_mul_scalar(b, tn_b_cast(b, column(b, regions, i), work), o->scale);
        edge[i] = o->half_pixel ? tn_b_add_scalar(b, scaled, -0.5) : scaled;
    }
    line rows = sample_line(b, edge[1], edge[3], tn_b_dim(b, x, 2), o->height, o);
    line columns = sample_line(b, edge[0], edge[2], tn_b_dim(b, x, 3), o->width, o);
    tn_attrs_gather a = {.axes = {3, {0, 2, 3}}, .mode = TN_INDEX_error};
    tn_value in[] = {x, region_index(b, tn_b_cast(b, batch, TN_i64), rows.place, columns.place)};
    tn_value y = tn_b_cast(b, tn_b_node(b, TN_OP_gather, in, 2, &a), work);
    tn_dim r = tn_b_dim(b, regions, 0), s = o->samples;
    tn_value tall =
        tn_b_reshape_to(b, rows.weight, 6, (tn_dim[]){r, tn_b_dim(b, rows.weight, 1), 2, 1, 1, 1});
    tn_value wide = tn_b_reshape_to(b, columns.weight, 6,
                                    (tn_dim[]){r, 1, 1, tn_b_dim(b, columns.weight, 1), 2, 1});
    y = tn_b_mul(b, y, tn_b_mul(b, tall, wide));
    y = tn_b_reshape_to(b, y, 8, (tn_dim[]){r, o->height, s, 2, o->width, s, 2, tn_b_dim(b, x, 1)});
    y = tn_b_reduce(b, o->max ? TN_REDUCE_max : TN_REDUCE_sum, y, (int[]){2, 3, 5, 6}, 4, false);
    if (!o->max) y = tn_b_mul_scalar(b, y, 1.0 / (double)(o->samples * o->samples));
    return tn_b_cast(b, tn_b_permute(b, y, (int[]){0, 3, 1, 2}), dtype);
}

/* ---- RoI max pooling ------------------------------------------------------------------------ */

/* Which of the `size` places belong to each of `bins` bins from start to end: bool [R, bins, size].
 * Bins are rounded outwards, so neighbours share places. */
static tn_value bin_members(tn_builder *b, tn_value start, tn_value end, tn_dim size,
                            int64_t bins) {
    tn_dtype dtype = tn_b_type(b, start).dtype;
    tn_value one = tn_b_scalar(b, dtype, 1);
    tn_value length = tn_b_max(b, tn_b_add(b, tn_b_sub(b, end, start), one), one);
    tn_value step = tn_b_unsqueeze(b, tn_b_div(b, length, scalar_like(b, length, (double)bins)), 1);
    tn_shape shape = {.rank = 1, .dim = {bins}};
    tn_value bin = tn_b_iota(b, dtype, &shape, 0);
    start = tn_b_unsqueeze(b, start, 1);
    tn_value lo = tn_b_add(b, tn_b_floor(b, tn_b_mul(b, bin, step)), start);
    tn_value hi = tn_b_add(b, tn_b_ceil(b, tn_b_mul(b, tn_b_add(b, bin, one), step)), start);
    shape.dim[0] = size;
    tn_value place = tn_b_iota(b, dtype, &shape, 0);
    tn_value above = tn_b_ge(b, place, tn_b_unsqueeze(b, lo, 2));
    return tn_b_and(b, above, tn_b_lt(b, place, tn_b_unsqueeze(b, hi, 2)));
}

static tn_value largest_member(tn_builder *b, tn_value x, tn_value members, int axis) {
    tn_value least = scalar_like(b, x, -INFINITY);
    return tn_b_reduce(b, TN_REDUCE_max, tn_b_where(b, members, x, least), &axis, 1, false);
}

tn_value tn_b_roi_max_pool(tn_builder *b, tn_value x, tn_value regions, const tn_roi *o) {
    if (!region_check(b, x, regions, 5, o)) return TN_NO_VALUE;
    tn_value edge[5];
    for (int i = 1; i < 5; i++) {
        tn_value scaled = tn_b_mul_scalar(b, column(b, regions, i), o->scale);
        edge[i] = tn_b_floor(b, tn_b_add_scalar(b, scaled, 0.5));
    }
    tn_value rows = bin_members(b, edge[2], edge[4], tn_b_dim(b, x, 2), o->height);
    tn_value columns = bin_members(b, edge[1], edge[3], tn_b_dim(b, x, 3), o->width);
    tn_value batch = tn_b_cast(b, column(b, regions, 0), TN_i64);
    x = tn_b_gather_axis(b, x, batch, 0, TN_INDEX_error); /* [R, C, H, W] */
    columns = tn_b_unsqueeze(b, tn_b_unsqueeze(b, columns, 1), 1);
    x = largest_member(b, tn_b_unsqueeze(b, x, 3), columns, 4); /* [R, C, H, width] */
    rows = tn_b_unsqueeze(b, tn_b_unsqueeze(b, rows, 1), 4);
    x = largest_member(b, tn_b_unsqueeze(b, x, 2), rows, 3);
    /* A bin without places gives 0. */
    tn_value empty = tn_b_eq(b, x, scalar_like(b, x, -INFINITY));
    return tn_b_where(b, empty, scalar_like(b, x, 0), x);
}
