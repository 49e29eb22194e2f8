/* Index helpers and rearrangement. See compose.h. */
#include "ops/compose.h"
#include "ops/parts.h"

static int plain_axis(tn_builder *b, tn_value x, int axis, const char *what) {
    int rank = tn_b_rank(b, x), plain = axis < 0 ? axis + rank : axis;
    if (tn_b_ok(b) && (plain < 0 || plain >= rank))
        tn_b_fail(b, TN_INVALID, "%s: axis %d does not exist in x of rank %d", what, axis, rank);
    return tn_b_ok(b) ? plain : 0;
}

/* ---- gather and scatter --------------------------------------------------------------------- */

tn_value tn_b_wrap_index(tn_builder *b, tn_value index, tn_dim size) {
    tn_dtype dtype = tn_b_type(b, index).dtype;
    tn_value zero = tn_b_scalar_int(b, dtype, 0);
    tn_value from_end = tn_b_add(b, index, tn_b_dim_value(b, size, dtype));
    return tn_b_where(b, tn_b_lt(b, index, zero), from_end, index);
}

/* x cut to the sizes of `like` on all axes but `axis`: gather_elements may leave elements out. */
static tn_value cut_to(tn_builder *b, tn_value x, tn_value like, int axis) {
    for (int i = 0; i < tn_b_rank(b, x) && tn_b_ok(b); i++) {
        tn_dim size = tn_b_dim(b, like, i);
        if (i != axis && size != tn_b_dim(b, x, i)) x = tn_b_slice_axis(b, x, i, 0, size, 1);
    }
    return x;
}

tn_value tn_b_gather_elements(tn_builder *b, tn_value x, tn_value index, int axis,
                              tn_index_mode mode) {
    axis = plain_axis(b, x, axis, "gather_elements");
    int rank = tn_b_rank(b, x), last = rank - 1;
    if (tn_b_ok(b) && tn_b_rank(b, index) != rank)
        return tn_b_fail(b, TN_INVALID, "gather_elements: the index has %d axes, x has %d",
                         tn_b_rank(b, index), rank);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    x = tn_b_move(b, cut_to(b, x, index, axis), axis, last);
    index = tn_b_unsqueeze(b, tn_b_move(b, index, axis, last), rank);
    tn_attrs_gather a = {.batch = last, .axes = {1, {last}}, .mode = mode};
    tn_value y = tn_b_node(b, TN_OP_gather, (tn_value[]){x, index}, 2, &a);
    return tn_b_move(b, y, last, axis);
}

/* The position of every element of `index` on all axes of x: its own place, but index along `axis`.
 */
static tn_value full_positions(tn_builder *b, tn_value index, int axis) {
    tn_type type = tn_b_type(b, index);
    tn_value part[TN_MAX_RANK];
    for (int i = 0; i < type.shape.rank; i++) {
        tn_value at = i == axis ? index : tn_b_iota(b, type.dtype, &type.shape, i);
        part[i] = tn_b_unsqueeze(b, at, type.shape.rank);
    }
    return tn_b_concat(b, part, type.shape.rank, type.shape.rank);
}

tn_value tn_b_scatter_elements(tn_builder *b, tn_value x, tn_value index, tn_value updates,
                               int axis, tn_index_mode mode, tn_combine combine) {
    axis = plain_axis(b, x, axis, "scatter_elements");
    int rank = tn_b_rank(b, x), last = rank - 1;
    if (tn_b_ok(b) && tn_b_rank(b, index) != rank)
        return tn_b_fail(b, TN_INVALID, "scatter_elements: the index has %d axes, x has %d",
                         tn_b_rank(b, index), rank);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_attrs_scatter a = {.mode = mode, .combine = combine};
    bool whole = true;
    for (int i = 0; i < rank; i++)
        whole = whole && (i == axis || tn_b_dim(b, x, i) == tn_b_dim(b, index, i));
    if (!whole) {
        a.axes = tn_ints_range(0, rank);
        index = full_positions(b, index, axis);
        return tn_b_node(b, TN_OP_scatter, (tn_value[]){x, index, updates}, 3, &a);
    }
    a.batch = last;
    a.axes = (tn_ints){1, {last}};
    tn_value in[] = {tn_b_move(b, x, axis, last),
                     tn_b_unsqueeze(b, tn_b_move(b, index, axis, last), rank),
                     tn_b_move(b, updates, axis, last)};
    return tn_b_move(b, tn_b_node(b, TN_OP_scatter, in, 3, &a), last, axis);
}

/* The axes of x that the last axis of index names: as many as it has entries, from `batch` on. */
static tn_ints leading_axes(tn_builder *b, tn_value x, tn_value index, int batch) {
    int64_t count = 0;
    if (!tn_b_ok(b)) return (tn_ints){0};
    if (tn_b_rank(b, index) == 0 ||
        !tn_dim_const_value(b->graph->dims, tn_b_dim(b, index, -1), &count))
        tn_b_fail(b, TN_INVALID, "the last axis of the index must have a constant size");
    else if (count < 0 || count > tn_b_rank(b, x) - batch)
        tn_b_fail(b, TN_INVALID, "the index has %lld positions; x has %d axes after the batch axes",
                  (long long)count, tn_b_rank(b, x) - batch);
    return tn_b_ok(b) ? tn_ints_range(batch, batch + (int)count) : (tn_ints){0};
}

tn_value tn_b_gather_nd(tn_builder *b, tn_value x, tn_value index, int batch, tn_index_mode mode) {
    tn_attrs_gather a = {.batch = batch, .axes = leading_axes(b, x, index, batch), .mode = mode};
    return tn_b_node(b, TN_OP_gather, (tn_value[]){x, index}, 2, &a);
}

tn_value tn_b_scatter_nd(tn_builder *b, tn_value x, tn_value index, tn_value updates,
                         tn_index_mode mode, tn_combine combine) {
    tn_attrs_scatter a = {.axes = leading_axes(b, x, index, 0), .mode = mode, .combine = combine};
    return tn_b_node(b, TN_OP_scatter, (tn_value[]){x, index, updates}, 3, &a);
}

/* ---- one primitive each --------------------------------------------------------------------- */

tn_value tn_b_cumulative(tn_builder *b, tn_reduce_kind kind, tn_value x, int axis, bool exclusive,
                         bool reverse) {
    tn_attrs_cumulative a = {.kind = kind,
                             .axis = plain_axis(b, x, axis, "cumulative"),
                             .exclusive = exclusive,
                             .reverse = reverse};
    return tn_b_node(b, TN_OP_cumulative, &x, 1, &a);
}

void tn_b_top_k(tn_builder *b, tn_value x, int axis, tn_dim k, bool smallest, tn_value results[2]) {
    tn_attrs_top_k a = {.axis = plain_axis(b, x, axis, "top_k"), .k = k, .smallest = smallest};
    results[0] = tn_b_node(b, TN_OP_top_k, &x, 1, &a);
    results[1] = tn_b_ok(b) ? results[0] + 1 : TN_NO_VALUE;
}

void tn_b_sort(tn_builder *b, tn_value x, int axis, bool descending, tn_value results[2]) {
    tn_type type = tn_b_type(b, x);
    tn_attrs_sort a = {.axis = plain_axis(b, x, axis, "sort"), .descending = descending};
    results[0] = results[1] = TN_NO_VALUE;
    if (!tn_b_ok(b)) return;
    tn_value in[] = {x, tn_b_iota(b, TN_i64, &type.shape, (int)a.axis)};
    results[0] = tn_b_node(b, TN_OP_sort, in, 2, &a);
    if (tn_b_ok(b)) results[1] = results[0] + 1;
}

tn_value tn_b_reverse(tn_builder *b, tn_value x, int axis) {
    axis = plain_axis(b, x, axis, "reverse");
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_dim size = tn_b_dim(b, x, axis);
    return tn_b_slice_axis(b, x, axis, tn_dim_sub(b->graph->dims, size, 1), size, -1);
}

/* ---- blocks --------------------------------------------------------------------------------- */

static bool is_image(tn_builder *b, tn_value x, int64_t block, const char *what) {
    if (tn_b_ok(b) && (tn_b_rank(b, x) != 4 || block < 1 || block > INT16_MAX))
        tn_b_fail(b, TN_INVALID,
                  "%s: x has %d axes and the block size is %lld; expected [N, C, H, "
                  "W] and a positive size",
                  what, tn_b_rank(b, x), (long long)block);
    return tn_b_ok(b);
}

tn_value tn_b_depth_to_space(tn_builder *b, tn_value x, int64_t block, bool crd) {
    if (!is_image(b, x, block, "depth_to_space")) return TN_NO_VALUE;
    tn_dims *t = b->graph->dims;
    tn_dim n = tn_b_dim(b, x, 0), h = tn_b_dim(b, x, 2), w = tn_b_dim(b, x, 3), c;
    if (!tn_dim_divides(t, tn_b_dim(b, x, 1), block * block, &c))
        return tn_b_fail(b, TN_INVALID,
                         "depth_to_space: %s channels do not split into blocks of "
                         "%lld",
                         tn_dim_text(t, tn_b_dim(b, x, 1)).at, (long long)(block * block));
    if (crd) {
        x = tn_b_reshape_to(b, x, 6, (tn_dim[]){n, c, block, block, h, w});
        x = tn_b_permute(b, x, (int[]){0, 1, 4, 2, 5, 3});
    } else {
        x = tn_b_reshape_to(b, x, 6, (tn_dim[]){n, block, block, c, h, w});
        x = tn_b_permute(b, x, (int[]){0, 3, 4, 1, 5, 2});
    }
    return tn_b_reshape_to(b, x, 4,
                           (tn_dim[]){n, c, tn_dim_mul(t, h, block), tn_dim_mul(t, w, block)});
}

tn_value tn_b_space_to_depth(tn_builder *b, tn_value x, int64_t block) {
    if (!is_image(b, x, block, "space_to_depth")) return TN_NO_VALUE;
    tn_dims *t = b->graph->dims;
    tn_dim n = tn_b_dim(b, x, 0), c = tn_b_dim(b, x, 1), h, w;
    if (!tn_dim_divides(t, tn_b_dim(b, x, 2), block, &h) ||
        !tn_dim_divides(t, tn_b_dim(b, x, 3), block, &w))
        return tn_b_fail(b, TN_INVALID, "space_to_depth: height or width is no multiple of %lld",
                         (long long)block);
    x = tn_b_reshape_to(b, x, 6, (tn_dim[]){n, c, h, block, w, block});
    x = tn_b_permute(b, x, (int[]){0, 3, 5, 1, 2, 4});
    return tn_b_reshape_to(b, x, 4, (tn_dim[]){n, tn_dim_mul(t, c, block * block), h, w});
}

/* ---- diagonals ------------------------------------------------------------------------------ */

/* column − row of a [rows, columns] matrix. */
static tn_value diagonal_number(tn_builder *b, tn_dim rows, tn_dim columns) {
    tn_shape shape = {.rank = 2, .dim = {rows, columns}};
    return tn_b_sub(b, tn_b_iota(b, TN_i64, &shape, 1), tn_b_iota(b, TN_i64, &shape, 0));
}

tn_value tn_b_triangle(tn_builder *b, tn_value x, bool lower, tn_value k) {
    if (tn_b_ok(b) && tn_b_rank(b, x) < 2)
        return tn_b_fail(b, TN_INVALID, "a triangle of x with %d axes; expected at least 2",
                         tn_b_rank(b, x));
    tn_value number = diagonal_number(b, tn_b_dim(b, x, -2), tn_b_dim(b, x, -1));
    tn_value inside = lower ? tn_b_le(b, number, k) : tn_b_ge(b, number, k);
    return tn_b_where(b, inside, x, tn_b_scalar(b, tn_b_type(b, x).dtype, 0));
}

tn_value tn_b_eye(tn_builder *b, tn_dtype dtype, tn_dim rows, tn_dim columns, int64_t k) {
    tn_value number = diagonal_number(b, rows, columns);
    return tn_b_cast(b, tn_b_eq(b, number, tn_b_scalar_int(b, TN_i64, k)), dtype);
}
