/* Builder functions that move elements: reshape, permute, broadcast, slice, pad, concat, gather. */
#include "ir/builder.h"

#include "ir/text.h"

/* The axis counted from the front; an error names the operation. */
static int checked_axis(tn_builder *b, const char *what, int axis, int rank) {
    int positive = axis < 0 ? axis + rank : axis;
    if (tn_b_ok(b) && (positive < 0 || positive >= rank)) {
        tn_b_fail(b, TN_INVALID, "%s: axis %d is out of range for rank %d", what, axis, rank);
        return 0;
    }
    return positive;
}

tn_value tn_b_reshape(tn_builder *b, tn_value x, const tn_shape *shape) {
    tn_type t = tn_b_type(b, x);
    if (!tn_b_ok(b) || tn_shape_equal(&t.shape, shape)) return x;
    tn_attrs_reshape attrs = {.shape = *shape};
    return tn_b_node(b, TN_OP_reshape, &x, 1, &attrs);
}

tn_value tn_b_reshape_to(tn_builder *b, tn_value x, int rank, const tn_dim *dim) {
    if (rank < 0 || rank > TN_MAX_RANK)
        return tn_b_fail(b, TN_UNSUPPORTED, "reshape: rank %d; at most %d axes", rank, TN_MAX_RANK);
    tn_shape shape = {.rank = rank};
    for (int i = 0; i < rank; i++) shape.dim[i] = dim[i];
    return tn_b_reshape(b, x, &shape);
}

tn_value tn_b_permute(tn_builder *b, tn_value x, const int *perm) {
    int rank = tn_b_rank(b, x);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_attrs_permute attrs = {.perm = {.count = rank}};
    bool identity = true;
    for (int i = 0; i < rank; i++) {
        attrs.perm.at[i] = perm[i];
        identity = identity && perm[i] == i;
    }
    return identity ? x : tn_b_node(b, TN_OP_permute, &x, 1, &attrs);
}

tn_value tn_b_swap(tn_builder *b, tn_value x, int axis, int other) {
    int rank = tn_b_rank(b, x), perm[TN_MAX_RANK];
    axis = checked_axis(b, "swap", axis, rank);
    other = checked_axis(b, "swap", other, rank);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    for (int i = 0; i < rank; i++) perm[i] = i;
    perm[axis] = other;
    perm[other] = axis;
    return tn_b_permute(b, x, perm);
}

static tn_value fail_expand(tn_builder *b, const tn_type *from, const tn_shape *to) {
    tn_str text;
    tn__str_init_in(&text, b->graph->arena);
    tn_shape_print(b->graph->dims, &from->shape, &text);
    tn_str_append(&text, " to ");
    tn_shape_print(b->graph->dims, to, &text);
    tn_b_fail(b, TN_INVALID,
              "cannot broadcast %s: trailing axes must be equal, or 1 in the operand",
              tn_str_text(&text));
    return TN_NO_VALUE;
}

tn_value tn_b_expand(tn_builder *b, tn_value x, const tn_shape *shape) {
    tn_type t = tn_b_type(b, x);
    if (!tn_b_ok(b) || tn_shape_equal(&t.shape, shape)) return x;
    int lead = shape->rank - t.shape.rank;
    bool fits = lead >= 0;
    tn_attrs_broadcast attrs = {.shape = *shape, .axes = {.count = t.shape.rank}};
    for (int i = 0; fits && i < t.shape.rank; i++) {
        fits = t.shape.dim[i] == 1 || t.shape.dim[i] == shape->dim[lead + i];
        attrs.axes.at[i] = lead + i;
    }
    return fits ? tn_b_node(b, TN_OP_broadcast, &x, 1, &attrs) : fail_expand(b, &t, shape);
}

tn_value tn_b_unsqueeze(tn_builder *b, tn_value x, int axis) {
    tn_type t = tn_b_type(b, x);
    axis = checked_axis(b, "unsqueeze", axis, t.shape.rank + 1);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (t.shape.rank == TN_MAX_RANK)
        return tn_b_fail(b, TN_UNSUPPORTED, "unsqueeze: more than %d axes", TN_MAX_RANK);
    tn_shape shape = {.rank = t.shape.rank + 1};
    for (int i = 0; i < shape.rank; i++)
        shape.dim[i] = i < axis ? t.shape.dim[i] : i == axis ? 1 : t.shape.dim[i - 1];
    return tn_b_reshape(b, x, &shape);
}

tn_value tn_b_squeeze(tn_builder *b, tn_value x, int axis) {
    tn_type t = tn_b_type(b, x);
    axis = checked_axis(b, "squeeze", axis, t.shape.rank);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (t.shape.dim[axis] != 1) {
        tn_str text;
        tn__str_init_in(&text, b->graph->arena);
        tn_shape_print(b->graph->dims, &t.shape, &text);
        tn_b_fail(b, TN_INVALID, "squeeze: axis %d of %s is not of size 1", axis,
                  tn_str_text(&text));
        return TN_NO_VALUE;
    }
    tn_shape shape = {.rank = t.shape.rank - 1};
    for (int i = 0; i < shape.rank; i++) shape.dim[i] = t.shape.dim[i < axis ? i : i + 1];
    return tn_b_reshape(b, x, &shape);
}

tn_value tn_b_slice_axis(tn_builder *b, tn_value x, int axis, tn_dim start, tn_dim size,
                         int64_t step) {
    tn_type t = tn_b_type(b, x);
    int rank = t.shape.rank;
    axis = checked_axis(b, "slice", axis, rank);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (start == 0 && step == 1 && size == t.shape.dim[axis]) return x;
    tn_attrs_slice attrs = {.start = {.count = rank}, .shape = t.shape, .step = {.count = rank}};
    for (int i = 0; i < rank; i++) attrs.step.at[i] = 1;
    attrs.start.at[axis] = start;
    attrs.step.at[axis] = step;
    attrs.shape.dim[axis] = size;
    return tn_b_node(b, TN_OP_slice, &x, 1, &attrs);
}

tn_value tn_b_pad_axis(tn_builder *b, tn_value x, int axis, tn_dim lo, tn_dim hi, tn_value fill) {
    int rank = tn_b_rank(b, x);
    axis = checked_axis(b, "pad", axis, rank);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (lo == 0 && hi == 0) return x;
    tn_attrs_pad attrs = {
        .lo = {.count = rank}, .hi = {.count = rank}, .interior = {.count = rank}};
    attrs.lo.at[axis] = lo;
    attrs.hi.at[axis] = hi;
    tn_value in[] = {x, fill};
    return tn_b_node(b, TN_OP_pad, in, 2, &attrs);
}

tn_value tn_b_concat(tn_builder *b, const tn_value *in, int n, int axis) {
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (n <= 0) return tn_b_fail(b, TN_INVALID, "concat: no operands");
    axis = checked_axis(b, "concat", axis, tn_b_rank(b, in[0]));
    if (n == 1) return tn_b_ok(b) ? in[0] : TN_NO_VALUE;
    tn_attrs_concat attrs = {.axis = axis};
    return tn_b_node(b, TN_OP_concat, in, (uint32_t)n, &attrs);
}

/* gather puts the index's axes first; NumPy's take wants them in the place of `axis`. */
tn_value tn_b_gather_axis(tn_builder *b, tn_value x, tn_value index, int axis, tn_index_mode mode) {
    int rank = tn_b_rank(b, x), index_rank = tn_b_rank(b, index), perm[TN_MAX_RANK];
    axis = checked_axis(b, "gather", axis, rank);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (rank - 1 + index_rank > TN_MAX_RANK)
        return tn_b_fail(b, TN_UNSUPPORTED, "gather: the result has %d axes; at most %d",
                         rank - 1 + index_rank, TN_MAX_RANK);
    tn_attrs_gather attrs = {.axes = {.count = 1, .at = {axis}}, .mode = mode};
    tn_value in[] = {x, tn_b_unsqueeze(b, index, -1)};
    tn_value picked = tn_b_node(b, TN_OP_gather, in, 2, &attrs);
    for (int i = 0; i < rank - 1 + index_rank; i++) {
        if (i < axis)
            perm[i] = index_rank + i;
        else if (i < axis + index_rank)
            perm[i] = i - axis;
        else
            perm[i] = i;
    }
    return tn_b_permute(b, picked, perm);
}

/* ---- sizes that are bound while the program runs ------------------------------------------------ */

static tn_dim new_symbol(tn_dims *t, tn_arena *arena, const char *name) {
    const char *free_name = name;
    uint32_t known;
    for (uint32_t i = t->symbols.len; tn_dims_find_symbol(t, free_name, &known); i++)
        free_name = tn_arena_printf(arena, "%s_%u", name, i);
    return tn_dim_of_symbol(t, free_name);
}

/* Where the bound is open, the size says itself that it is no greater. */
tn_dim tn_b_bind_size(tn_builder *b, tn_value length, const char *name, tn_dim bound) {
    tn_dims *t = b->graph->dims;
    uint32_t symbol = 0;
    if (!tn_b_ok(b)) return 0;
    if (b->graph->parent) {
        tn_b_fail(b, TN_UNSUPPORTED,
                  "a size that depends on data is bound in the outermost graph only, not in a loop "
                  "or a branch");
        return 0;
    }
    tn_dim size = new_symbol(t, b->graph->arena, name);
    tn_dim_is_symbol(t, size, &symbol);
    tn_dims_set_bounds(t, symbol, 0, TN_MAX(0, tn_dim_hi(t, bound)), 1);
    tn_attrs_bind_size a = {.size = size, .bound = bound};
    tn_b_node(b, TN_OP_bind_size, &length, 1, &a);
    return tn_dim_proves_le(t, size, bound) ? size : tn_dim_min(t, size, bound);
}

tn_value tn_b_prefix(tn_builder *b, tn_value x, int axis, tn_dim size) {
    return tn_b_slice_axis(b, x, axis, 0, size, 1);
}
