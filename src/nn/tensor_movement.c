/* Movement of lazy tensors' elements. See tenon/tensor_ops.h. */
#include <inttypes.h>

#include "nn/tensor_inner.h"

/* ---- shapes --------------------------------------------------------------------------------- */

typedef struct shape_args {
    int rank;
    const int64_t *dim;
} shape_args;

static bool check_rank(tn_builder *b, const char *what, int rank) {
    if (rank >= 0 && rank <= TN_MAX_RANK) return true;
    tn_b_fail(b, TN_INVALID, "%s: %d axes; a tensor has 0 to %d", what, rank, TN_MAX_RANK);
    return false;
}

/* The size that −1 stands for. */
static int64_t what_is_left(tn_builder *b, tn_value x, const shape_args *a) {
    int64_t count = 1, given = 1;
    for (int i = 0, rank = tn_b_rank(b, x); i < rank; i++) count *= tn_b_dim(b, x, i);
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] >= 0 && __builtin_mul_overflow(given, a->dim[i], &given)) return -1;
    return given > 0 && count % given == 0 ? count / given : -1;
}

static tn_value build_reshape(tn_builder *b, const tn_value *in, const void *args) {
    const shape_args *a = args;
    tn_dim dim[TN_MAX_RANK];
    int open = 0;
    if (!check_rank(b, "reshape", a->rank)) return TN_NO_VALUE;
    for (int i = 0; i < a->rank; i++) {
        dim[i] = a->dim[i] == -1 ? what_is_left(b, in[0], a) : a->dim[i];
        open += a->dim[i] == -1;
        if (dim[i] < 0 || open > 1)
            return tn_b_fail(b, TN_INVALID,
                             "reshape: size %" PRId64 " of axis %d does not fit; sizes are 0 or "
                             "more, and one may be -1 where the others divide the elements",
                             a->dim[i], i);
    }
    return tn_b_reshape_to(b, in[0], a->rank, dim);
}

tn_tensor *tn_reshape_at(const char *place, const tn_tensor *x, int rank, const int64_t *dim) {
    return tn__call1(place, x, build_reshape, &(shape_args){rank, dim});
}

static tn_value build_broadcast_to(tn_builder *b, const tn_value *in, const void *args) {
    const shape_args *a = args;
    tn_shape shape = {.rank = a->rank};
    if (!check_rank(b, "broadcast_to", a->rank)) return TN_NO_VALUE;
    for (int i = 0; i < a->rank; i++) {
        if (a->dim[i] < 0)
            return tn_b_fail(b, TN_INVALID, "broadcast_to: size %" PRId64 " of axis %d", a->dim[i],
                             i);
        shape.dim[i] = a->dim[i];
    }
    return tn_b_expand(b, in[0], &shape);
}

tn_tensor *tn_broadcast_to_at(const char *place, const tn_tensor *x, int rank, const int64_t *dim) {
    return tn__call1(place, x, build_broadcast_to, &(shape_args){rank, dim});
}

/* ---- axes ----------------------------------------------------------------------------------- */

typedef struct axes_args {
    int count;
    const int *axes;
} axes_args;

static tn_value build_permute(tn_builder *b, const tn_value *in, const void *args) {
    const axes_args *a = args;
    int rank = tn_b_rank(b, in[0]), perm[TN_MAX_RANK];
    bool seen[TN_MAX_RANK] = {false};
    if (tn_b_ok(b) && a->count != rank)
        return tn_b_fail(b, TN_INVALID, "permute: %d axes named, the tensor has %d", a->count,
                         rank);
    for (int i = 0; i < rank; i++) {
        perm[i] = tn__axis(b, "permute", a->axes[i], rank);
        if (tn_b_ok(b) && seen[perm[i]])
            return tn_b_fail(b, TN_INVALID, "permute: axis %d is named twice", perm[i]);
        seen[perm[i]] = true;
    }
    return tn_b_permute(b, in[0], perm);
}

tn_tensor *tn_permute_at(const char *place, const tn_tensor *x, int axis_count, const int *axes) {
    return tn__call1(place, x, build_permute, &(axes_args){axis_count, axes});
}

static tn_value build_swap_axes(tn_builder *b, const tn_value *in, const void *args) {
    const axes_args *a = args;
    int rank = tn_b_rank(b, in[0]);
    int axis = tn__axis(b, "swap_axes", a->axes[0], rank);
    return tn_b_swap(b, in[0], axis, tn__axis(b, "swap_axes", a->axes[1], rank));
}

tn_tensor *tn_swap_axes_at(const char *place, const tn_tensor *x, int axis, int other) {
    return tn__call1(place, x, build_swap_axes, &(axes_args){2, (int[]){axis, other}});
}

static tn_value build_expand_dims(tn_builder *b, const tn_value *in, const void *args) {
    int rank = tn_b_rank(b, in[0]);
    return tn_b_unsqueeze(b, in[0], tn__axis(b, "expand_dims", *(const int *)args, rank + 1));
}

tn_tensor *tn_expand_dims_at(const char *place, const tn_tensor *x, int axis) {
    return tn__call1(place, x, build_expand_dims, &axis);
}

static tn_value build_squeeze(tn_builder *b, const tn_value *in, const void *args) {
    int axis = tn__axis(b, "squeeze", *(const int *)args, tn_b_rank(b, in[0]));
    if (tn_b_ok(b) && tn_b_dim(b, in[0], axis) != 1)
        return tn_b_fail(b, TN_INVALID, "squeeze: axis %d has size %lld, expected 1", axis,
                         (long long)tn_b_dim(b, in[0], axis));
    return tn_b_squeeze(b, in[0], axis);
}

tn_tensor *tn_squeeze_at(const char *place, const tn_tensor *x, int axis) {
    return tn__call1(place, x, build_squeeze, &axis);
}

/* ---- parts ---------------------------------------------------------------------------------- */

typedef struct slice_args {
    int axis;
    int64_t start, stop, step;
    double value;
} slice_args;

/* Python's rule (slice.indices): positions from the end become plain, those beyond are cut. */
static int64_t cut_position(int64_t at, int64_t size, int64_t lowest, int64_t highest) {
    if (at < 0) at = at < -size ? lowest : at + size;
    return TN_MAX(lowest, TN_MIN(highest, at));
}

static tn_value build_slice(tn_builder *b, const tn_value *in, const void *args) {
    const slice_args *a = args;
    int axis = tn__axis(b, "slice", a->axis, tn_b_rank(b, in[0]));
    if (a->step == 0) return tn_b_fail(b, TN_INVALID, "slice: the step is 0");
    int64_t size = tn_b_dim(b, in[0], axis), step = a->step;
    int64_t lowest = step < 0 ? -1 : 0, highest = step < 0 ? size - 1 : size;
    int64_t start = cut_position(a->start, size, lowest, highest);
    int64_t stop =
        a->stop == TN_END ? (step < 0 ? -1 : size) : cut_position(a->stop, size, lowest, highest);
    int64_t way = step < 0 ? start - stop : stop - start;
    uint64_t stride = step < 0 ? -(uint64_t)step : (uint64_t)step;
    int64_t count = way <= 0 ? 0 : 1 + (int64_t)((uint64_t)(way - 1) / stride);
    if (count == 0) start = 0;
    return tn_b_slice_axis(b, in[0], axis, start, count, count <= 1 ? 1 : step);
}

tn_tensor *tn_slice_at(const char *place, const tn_tensor *x, int axis, int64_t start, int64_t stop,
                       int64_t step) {
    return tn__call1(place, x, build_slice, &(slice_args){axis, start, stop, step, 0});
}

static tn_value build_select(tn_builder *b, const tn_value *in, const void *args) {
    const slice_args *a = args;
    int axis = tn__axis(b, "select", a->axis, tn_b_rank(b, in[0]));
    int64_t size = tn_b_dim(b, in[0], axis), at = a->start < 0 ? a->start + size : a->start;
    if (tn_b_ok(b) && (at < 0 || at >= size))
        return tn_b_fail(b, TN_INVALID, "select: position %" PRId64 " of an axis of size %" PRId64,
                         a->start, size);
    return tn_b_squeeze(b, tn_b_slice_axis(b, in[0], axis, at, 1, 1), axis);
}

tn_tensor *tn_select_at(const char *place, const tn_tensor *x, int axis, int64_t position) {
    return tn__call1(place, x, build_select, &(slice_args){axis, position, 0, 1, 0});
}

static tn_value build_flip(tn_builder *b, const tn_value *in, const void *args) {
    return tn_b_reverse(b, in[0], tn__axis(b, "flip", *(const int *)args, tn_b_rank(b, in[0])));
}

tn_tensor *tn_flip_at(const char *place, const tn_tensor *x, int axis) {
    return tn__call1(place, x, build_flip, &axis);
}

static tn_value build_pad(tn_builder *b, const tn_value *in, const void *args) {
    const slice_args *a = args;
    int axis = tn__axis(b, "pad", a->axis, tn_b_rank(b, in[0]));
    tn_value fill = tn_b_scalar(b, tn_b_type(b, in[0]).dtype, a->value);
    tn_dims *dims = b->graph->dims; /* a negative tn_dim would be an expression */
    return tn_b_pad_axis(b, in[0], axis, tn_dim_const(dims, a->start), tn_dim_const(dims, a->stop),
                         fill);
}

tn_tensor *tn_pad_at(const char *place, const tn_tensor *x, int axis, int64_t before, int64_t after,
                     double value) {
    return tn__call1(place, x, build_pad, &(slice_args){axis, before, after, 1, value});
}

static tn_value build_repeat(tn_builder *b, const tn_value *in, const void *args) {
    const slice_args *a = args;
    int axis = tn__axis(b, "repeat", a->axis, tn_b_rank(b, in[0]));
    if (a->start < 0) return tn_b_fail(b, TN_INVALID, "repeat: %" PRId64 " times", a->start);
    return tn_b_repeat(b, in[0], axis, a->start);
}

tn_tensor *tn_repeat_at(const char *place, const tn_tensor *x, int axis, int64_t times) {
    return tn__call1(place, x, build_repeat, &(slice_args){axis, times, 0, 1, 0});
}

/* ---- together ------------------------------------------------------------------------------- */

typedef struct concat_args {
    int count, axis;
} concat_args;

static tn_value build_concat(tn_builder *b, const tn_value *in, const void *args) {
    const concat_args *a = args;
    tn_value *x = tn__promote_all(b, in, a->count);
    return tn_b_concat(b, x, a->count, tn__axis(b, "concat", a->axis, tn_b_rank(b, in[0])));
}

tn_tensor *tn_concat_at(const char *place, tn_tensor *const *x, int count, int axis) {
    return tn__call_n(place, x, count, build_concat, &(concat_args){count, axis});
}

static tn_value build_stack(tn_builder *b, const tn_value *in, const void *args) {
    const concat_args *a = args;
    tn_value *x = tn__promote_all(b, in, a->count);
    int axis = tn__axis(b, "stack", a->axis, tn_b_rank(b, in[0]) + 1);
    for (int i = 0; i < a->count; i++) x[i] = tn_b_unsqueeze(b, x[i], axis);
    return tn_b_concat(b, x, a->count, axis);
}

tn_tensor *tn_stack_at(const char *place, tn_tensor *const *x, int count, int axis) {
    return tn__call_n(place, x, count, build_stack, &(concat_args){count, axis});
}
