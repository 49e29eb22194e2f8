/* Layers that move whole elements: repeat, reversed sequences, caches, unpooling, col2im. See
 * compose.h. */
#include "ops/compose.h"
#include "ops/parts.h"

tn_value tn_b_repeat(tn_builder *b, tn_value x, int axis, int64_t times) {
    tn_type type = tn_b_type(b, x);
    if (axis < 0) axis += type.shape.rank;
    if (tn_b_ok(b) && (axis < 0 || axis >= type.shape.rank || times < 1))
        return tn_b_fail(b, TN_INVALID, "repeat: axis %d of x with %d axes, %lld times", axis,
                         type.shape.rank, (long long)times);
    if (!tn_b_ok(b) || times == 1) return x;
    tn_dim size = type.shape.dim[axis], all = tn_dim_mul(b->graph->dims, size, times);
    x = tn_b_unsqueeze(b, x, axis + 1);
    tn_type apart = tn_b_type(b, x);
    apart.shape.dim[axis + 1] = times;
    return tn_b_regroup(b, tn_b_expand(b, x, &apart.shape), axis, 2, 1, &all);
}

/* ---- sequences ------------------------------------------------------------------------------ */

tn_value tn_b_reverse_sequence(tn_builder *b, tn_value x, tn_value lengths, int batch_axis,
                               int time_axis) {
    if (tn_b_ok(b) && (batch_axis == time_axis || tn_b_rank(b, x) < 2))
        return tn_b_fail(b, TN_INVALID, "reverse_sequence: batch and time need an axis each");
    int time_then = time_axis < batch_axis ? time_axis + 1 : time_axis;
    x = tn_b_move(b, tn_b_move(b, x, batch_axis, 0), time_then, 1);
    tn_shape steps = {.rank = 2, .dim = {tn_b_dim(b, x, 0), tn_b_dim(b, x, 1)}};
    tn_value t = tn_b_iota(b, TN_i64, &steps, 1);
    tn_value length = tn_b_unsqueeze(b, tn_b_cast(b, lengths, TN_i64), 1);
    tn_value mirrored = tn_b_sub(b, tn_b_add_scalar(b, length, -1), t);
    tn_value from = tn_b_where(b, tn_b_lt(b, t, length), mirrored, t);
    tn_attrs_gather a = {.batch = 1, .axes = {1, {1}}, .mode = TN_INDEX_error};
    tn_value in[] = {x, tn_b_unsqueeze(b, from, 2)};
    x = tn_b_node(b, TN_OP_gather, in, 2, &a);
    return tn_b_move(b, tn_b_move(b, x, 1, time_then), 0, batch_axis);
}

tn_value tn_b_cache_update(tn_builder *b, tn_value cache, tn_value update, tn_value start, int axis,
                           bool circular) {
    int rank = tn_b_rank(b, cache);
    if (axis < 0) axis += rank;
    if (tn_b_ok(b) && (axis < 1 || axis >= rank || tn_b_rank(b, update) != rank))
        return tn_b_fail(b, TN_INVALID,
                         "cache_update: axis %d, a cache with %d axes and an update with %d; "
                         "expected the same number and an axis behind the batch",
                         axis, rank, tn_b_rank(b, update));
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_shape shape = {.rank = 2, .dim = {tn_b_dim(b, cache, 0), tn_b_dim(b, update, axis)}};
    tn_value at = tn_b_iota(b, TN_i64, &shape, 1);
    if (start != TN_NO_VALUE)
        at = tn_b_add(b, at, tn_b_unsqueeze(b, tn_b_cast(b, start, TN_i64), 1));
    if (circular) at = tn_b_floor_mod(b, at, tn_b_dim_value(b, tn_b_dim(b, cache, axis), TN_i64));
    tn_attrs_scatter a = {.batch = 1, .axes = {1, {axis}}, .mode = TN_INDEX_error};
    tn_value in[] = {cache, tn_b_unsqueeze(b, at, 2), tn_b_move(b, update, axis, 1)};
    return tn_b_node(b, TN_OP_scatter, in, 3, &a);
}

/* ---- images --------------------------------------------------------------------------------- */

tn_value tn_b_center_crop_pad(tn_builder *b, tn_value x, int axis, int64_t size) {
    int64_t have;
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (!tn_dim_const_value(b->graph->dims, tn_b_dim(b, x, axis), &have))
        return tn_b_fail(b, TN_UNSUPPORTED,
                         "center_crop_pad: the size of axis %d must be constant; bind it", axis);
    if (size < 0) return tn_b_fail(b, TN_INVALID, "center_crop_pad: size %lld", (long long)size);
    if (size <= have) return tn_b_slice_axis(b, x, axis, (have - size) / 2, size, 1);
    int64_t lo = (size - have) / 2;
    tn_value zero = tn_b_scalar(b, tn_b_type(b, x).dtype, 0);
    return tn_b_pad_axis(b, x, axis, lo, size - have - lo, zero);
}

tn_value tn_b_max_unpool(tn_builder *b, tn_value x, tn_value positions, const tn_shape *shape) {
    tn_dims *t = b->graph->dims;
    tn_type type = tn_b_type(b, x);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_dim count = tn_shape_count(t, &type.shape);
    tn_shape flat = {.rank = 1, .dim = {tn_shape_count(t, shape)}};
    tn_attrs_scatter a = {.axes = {1, {0}}, .mode = TN_INDEX_error};
    tn_value in[] = {tn_b_full(b, type.dtype, &flat, 0),
                     tn_b_reshape_to(b, positions, 2, (tn_dim[]){count, 1}),
                     tn_b_reshape_to(b, x, 1, &count)};
    return tn_b_reshape(b, tn_b_node(b, TN_OP_scatter, in, 3, &a), shape);
}

enum { COL2IM_LARGEST = 1024 }; /* positions of a block */

/* The part of the image that position `at` of the blocks contributes: x [N, C, blocks…] with its
 * elements `stride` apart, moved to where they belong. */
static tn_value col2im_part(tn_builder *b, tn_value x, const tn_col2im *o, const int64_t *at) {
    int rank = o->spatial + 2;
    tn_attrs_pad a = {.lo = {.count = rank}, .hi = {.count = rank}, .interior = {.count = rank}};
    for (int s = 0; s < o->spatial; s++) {
        int64_t blocks = tn_b_dim(b, x, 2 + s);
        int64_t reach = blocks ? (blocks - 1) * o->stride[s] + 1 : 0;
        int64_t lo = at[s] * o->dilation[s] - o->pad_lo[s];
        a.lo.at[2 + s] = tn_dim_const(b->graph->dims, lo);
        a.hi.at[2 + s] = tn_dim_const(b->graph->dims, o->image[s] - lo - reach);
        a.interior.at[2 + s] = o->stride[s] - 1;
    }
    tn_value in[] = {x, tn_b_scalar(b, tn_b_type(b, x).dtype, 0)};
    return tn_b_node(b, TN_OP_pad, in, 2, &a);
}

/* The shape [N, C, block positions, blocks…] of x; false after an error. */
static bool col2im_shape(tn_builder *b, tn_value x, const tn_col2im *o, tn_shape *shape) {
    int64_t positions = 1;
    *shape = (tn_shape){.rank = o->spatial + 3};
    for (int s = 0; s < o->spatial; s++) {
        int64_t window = (o->block[s] - 1) * o->dilation[s] + 1;
        int64_t room = o->image[s] + o->pad_lo[s] + o->pad_hi[s] - window;
        if (o->block[s] < 1 || o->stride[s] < 1 || o->dilation[s] < 1 || room < 0) {
            tn_b_fail(b, TN_INVALID, "col2im: a block of %lld does not fit the image's axis %d",
                      (long long)o->block[s], s);
            return false;
        }
        positions = TN_MIN(positions * o->block[s], COL2IM_LARGEST + 1);
        shape->dim[3 + s] = room / o->stride[s] + 1;
    }
    if (positions > COL2IM_LARGEST)
        tn_b_fail(b, TN_UNSUPPORTED, "col2im: blocks of more than %d elements", COL2IM_LARGEST);
    shape->dim[0] = tn_b_dim(b, x, 0);
    shape->dim[2] = positions;
    if (tn_b_ok(b) && !tn_dim_divides(b->graph->dims, tn_b_dim(b, x, 1), positions, &shape->dim[1]))
        tn_b_fail(b, TN_INVALID, "col2im: axis 1 (%s) does not split into blocks of %lld elements",
                  tn_dim_text(b->graph->dims, tn_b_dim(b, x, 1)).at, (long long)positions);
    return tn_b_ok(b);
}

tn_value tn_b_col2im(tn_builder *b, tn_value x, const tn_col2im *o) {
    tn_shape shape;
    int64_t at[TN_MAX_SPATIAL] = {0};
    if (tn_b_ok(b) && (tn_b_rank(b, x) != 3 || o->spatial < 1 || o->spatial > TN_MAX_SPATIAL))
        return tn_b_fail(b, TN_INVALID,
                         "col2im: x has %d axes and the image %d; expected [N, C · block, blocks] "
                         "and 1 to %d",
                         tn_b_rank(b, x), o->spatial, TN_MAX_SPATIAL);
    if (!tn_b_ok(b) || !col2im_shape(b, x, o, &shape)) return TN_NO_VALUE;
    x = tn_b_reshape(b, x, &shape);
    tn_value y = TN_NO_VALUE;
    for (int64_t p = 0; p < shape.dim[2] && tn_b_ok(b); p++) {
        tn_value part = tn_b_squeeze(b, tn_b_slice_axis(b, x, 2, p, 1, 1), 2);
        part = col2im_part(b, part, o, at);
        y = p == 0 ? part : tn_b_add(b, y, part);
        tn_index_next(at, o->spatial, o->block);
    }
    return y;
}

/* ---- padding -------------------------------------------------------------------------------- */

tn_value tn_b_pad_around(tn_builder *b, tn_value x, int axis, tn_dim lo, tn_dim hi,
                         tn_pad_mode mode) {
    if (axis < 0) axis += tn_b_rank(b, x);
    if (!tn_b_ok(b) || (lo == 0 && hi == 0)) return x;
    tn_dims *t = b->graph->dims;
    tn_dim size = tn_b_dim(b, x, axis);
    tn_shape shape = {.rank = 1, .dim = {tn_dim_add(t, tn_dim_add(t, size, lo), hi)}};
    tn_value at = tn_b_iota(b, TN_i64, &shape, 0), count = tn_b_dim_value(b, size, TN_i64);
    at = tn_b_sub(b, at, tn_b_dim_value(b, lo, TN_i64));
    if (mode == TN_PAD_WRAP) at = tn_b_floor_mod(b, at, count);
    if (mode == TN_PAD_REFLECT) { /* forth and back: the period is 2 (size − 1) */
        tn_value period = tn_b_mul_scalar(b, tn_b_add_scalar(b, count, -1), 2);
        at = tn_b_floor_mod(b, tn_b_abs(b, at), period);
        at = tn_b_min(b, at, tn_b_sub(b, period, at));
    }
    return tn_b_gather_axis(b, x, at, axis, TN_INDEX_clamp); /* edge: nothing but the clamp */
}
