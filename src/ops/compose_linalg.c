/* Linear algebra on small matrices. See compose.h. */
#include "ops/compose.h"
#include "ops/parts.h"

enum { LARGEST = 32 };

/* One step of elimination on [N, m, m]: the pivot (the largest of column 0, with the sign of the row
 * exchange) comes out; what is left is [N, m − 1, m − 1]. */
static tn_value eliminate(tn_builder *b, tn_value *matrix, int64_t m) {
    tn_value a = *matrix;
    tn_dtype dtype = tn_b_type(b, a).dtype;
    tn_value column = tn_b_slice_axis(b, a, 2, 0, 1, 1); /* [N, m, 1] */
    tn_value at = tn_b_reduce(b, TN_REDUCE_argmax, tn_b_abs(b, column), (int[]){1, 2}, 2, false);
    tn_attrs_gather pick = {.batch = 1, .axes = {1, {1}}, .mode = TN_INDEX_clamp};
    tn_value in[] = {a, tn_b_unsqueeze(b, at, 1)};
    tn_value row = tn_b_unsqueeze(b, tn_b_node(b, TN_OP_gather, in, 2, &pick), 1); /* [N, 1, m] */
    tn_value pivot = tn_b_slice_axis(b, row, 2, 0, 1, 1), zero = tn_b_scalar(b, dtype, 0);
    tn_value moved = tn_b_gt(b, at, tn_b_scalar_int(b, TN_i64, 0));
    tn_value sign =
        tn_b_where(b, moved, tn_b_scalar(b, dtype, -1), tn_b_scalar(b, dtype, 1)); /* [N] */
    if (m > 1) {
        tn_shape rows = {.rank = 3, .dim = {1, m, 1}};
        tn_value here = tn_b_eq(b, tn_b_iota(b, TN_i64, &rows, 1),
                                tn_b_unsqueeze(b, tn_b_unsqueeze(b, at, 1), 1));
        a = tn_b_where(b, here, tn_b_slice_axis(b, a, 1, 0, 1, 1), a);
        a = tn_b_slice_axis(b, a, 1, 1, m - 1, 1);
        tn_value factor = tn_b_div(b, tn_b_slice_axis(b, a, 2, 0, 1, 1), pivot);
        factor = tn_b_where(b, tn_b_eq(b, pivot, zero), zero, factor);
        tn_value rest = tn_b_slice_axis(b, row, 2, 1, m - 1, 1);
        *matrix = tn_b_sub(b, tn_b_slice_axis(b, a, 2, 1, m - 1, 1), tn_b_mul(b, factor, rest));
    }
    return tn_b_mul(b, sign, tn_b_squeeze(b, tn_b_squeeze(b, pivot, 2), 1));
}

/* x as [N, m, m] in a type to compute in; *shape: what it was. */
static tn_value square_matrices(tn_builder *b, const char *what, tn_value x, tn_shape *shape,
                                int64_t *size) {
    tn_type type = tn_b_type(b, x);
    int rank = type.shape.rank;
    *size = 0;
    *shape = type.shape;
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (rank < 2 || type.shape.dim[rank - 2] != type.shape.dim[rank - 1])
        return tn_b_fail(b, TN_INVALID, "%s: expected square matrices, got %s", what,
                         tn_type_text(b->graph->dims, &type).at);
    if (!tn_dim_const_value(b->graph->dims, type.shape.dim[rank - 1], size) || *size > LARGEST)
        return tn_b_fail(b, TN_UNSUPPORTED, "%s: matrices of constant size up to %d", what,
                         LARGEST);
    tn_shape many = type.shape;
    many.rank = rank - 2;
    tn_dim count = tn_shape_count(b->graph->dims, &many);
    tn_value wide = tn_b_cast(b, x, tn_b_accumulator(type.dtype));
    return tn_b_reshape_to(b, wide, 3, (tn_dim[]){count, *size, *size});
}

tn_value tn_b_det(tn_builder *b, tn_value x) {
    tn_shape shape;
    int64_t size;
    tn_dtype dtype = tn_b_type(b, x).dtype;
    x = square_matrices(b, "det", x, &shape, &size);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_shape each = {.rank = 1, .dim = {tn_b_dim(b, x, 0)}};
    tn_value det = tn_b_full(b, tn_b_type(b, x).dtype, &each, 1);
    for (int64_t m = size; m > 0 && tn_b_ok(b); m--) det = tn_b_mul(b, det, eliminate(b, &x, m));
    shape.rank -= 2;
    return tn_b_reshape(b, tn_b_cast(b, det, dtype), &shape);
}

/* Step i of Gauss and Jordan on [N, m, 2m]: column i becomes that of the identity. */
static tn_value clear_column(tn_builder *b, tn_value a, int64_t m, int64_t i) {
    tn_dtype dtype = tn_b_type(b, a).dtype;
    tn_shape shape = {.rank = 3, .dim = {1, m, 1}};
    tn_value rows = tn_b_iota(b, TN_i64, &shape, 1), own = tn_b_scalar_int(b, TN_i64, i);
    tn_value size = tn_b_abs(b, tn_b_slice_axis(b, a, 2, i, 1, 1));
    size = tn_b_where(b, tn_b_ge(b, rows, own), size, tn_b_scalar(b, dtype, -1));
    tn_value at = tn_b_reduce(b, TN_REDUCE_argmax, size, (int[]){1, 2}, 2, false);
    tn_attrs_gather pick = {.batch = 1, .axes = {1, {1}}, .mode = TN_INDEX_clamp};
    tn_value in[] = {a, tn_b_unsqueeze(b, at, 1)};
    tn_value row = tn_b_unsqueeze(b, tn_b_node(b, TN_OP_gather, in, 2, &pick), 1);
    tn_value here = tn_b_eq(b, rows, tn_b_unsqueeze(b, tn_b_unsqueeze(b, at, 1), 1));
    a = tn_b_where(b, here, tn_b_slice_axis(b, a, 1, i, 1, 1), a);
    row = tn_b_div(b, row, tn_b_slice_axis(b, row, 2, i, 1, 1));
    tn_value rest = tn_b_sub(b, a, tn_b_mul(b, tn_b_slice_axis(b, a, 2, i, 1, 1), row));
    return tn_b_where(b, tn_b_eq(b, rows, own), row, rest);
}

tn_value tn_b_inverse(tn_builder *b, tn_value x) {
    tn_shape shape;
    int64_t size;
    tn_dtype dtype = tn_b_type(b, x).dtype;
    x = square_matrices(b, "inverse", x, &shape, &size);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_shape all = tn_b_type(b, x).shape;
    tn_value one = tn_b_eye(b, tn_b_type(b, x).dtype, size, size, 0);
    tn_value a = tn_b_concat(b, (tn_value[]){x, tn_b_expand(b, one, &all)}, 2, 2);
    for (int64_t i = 0; i < size && tn_b_ok(b); i++) a = clear_column(b, a, size, i);
    a = tn_b_slice_axis(b, a, 2, size, size, 1);
    return tn_b_reshape(b, tn_b_cast(b, a, dtype), &shape);
}
