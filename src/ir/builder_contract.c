/* Builder functions that combine elements: reductions, means, matrix products. */
#include "ir/builder.h"

#include "ir/text.h"

/* Sums and products of narrow floats are accumulated in f32. */
static tn_dtype accumulator(tn_reduce_kind kind, tn_dtype dtype) {
    bool grows = kind == TN_REDUCE_sum || kind == TN_REDUCE_prod;
    return grows && tn_dtype_is_float(dtype) && tn_dtype_bits(dtype) < 32 ? TN_f32 : dtype;
}

/* Marks the axes; false after an error. */
static bool mark_axes(tn_builder *b, const int *axes, int n, int rank, bool *marked) {
    for (int i = 0; i < rank; i++) marked[i] = false;
    for (int i = 0; i < n && tn_b_ok(b); i++) {
        int axis = axes[i] < 0 ? axes[i] + rank : axes[i];
        if (axis < 0 || axis >= rank)
            tn_b_fail(b, TN_INVALID, "reduce: axis %d is out of range for rank %d", axes[i], rank);
        else if (marked[axis])
            tn_b_fail(b, TN_INVALID, "reduce: axis %d is named twice", axis);
        else
            marked[axis] = true;
    }
    return tn_b_ok(b);
}

tn_value tn_b_reduce(tn_builder *b, tn_reduce_kind kind, tn_value x, const int *axes, int n,
                     bool keep) {
    tn_type t = tn_b_type(b, x);
    bool marked[TN_MAX_RANK];
    if (!mark_axes(b, axes, n, t.shape.rank, marked)) return TN_NO_VALUE;
    bool finds = kind == TN_REDUCE_argmax || kind == TN_REDUCE_argmin;
    if (n == 0 && !finds) return x;
    tn_attrs_reduce attrs = {.kind = kind, .acc = accumulator(kind, t.dtype)};
    for (int i = 0; i < t.shape.rank; i++)
        if (marked[i]) attrs.axes.at[attrs.axes.count++] = i;
    tn_value y = tn_b_node(b, TN_OP_reduce, &x, 1, &attrs);
    if (!finds) y = tn_b_cast(b, y, t.dtype);
    if (!keep) return y;
    for (int i = 0; i < t.shape.rank; i++)
        if (marked[i]) t.shape.dim[i] = 1;
    return tn_b_reshape(b, y, &t.shape);
}

tn_value tn_b_sum(tn_builder *b, tn_value x, const int *axes, int n, bool keep) {
    return tn_b_reduce(b, TN_REDUCE_sum, x, axes, n, keep);
}

tn_value tn_b_mean(tn_builder *b, tn_value x, const int *axes, int n, bool keep) {
    tn_type t = tn_b_type(b, x);
    bool marked[TN_MAX_RANK];
    if (!mark_axes(b, axes, n, t.shape.rank, marked)) return TN_NO_VALUE;
    tn_dim count = 1;
    for (int i = 0; i < t.shape.rank; i++)
        if (marked[i]) count = tn_dim_mul(b->graph->dims, count, t.shape.dim[i]);
    /* Divided before rounding back, so that the sum of narrow floats cannot overflow. */
    tn_dtype wide = accumulator(TN_REDUCE_sum, t.dtype);
    tn_value sum = tn_b_sum(b, tn_b_cast(b, x, wide), axes, n, keep);
    return tn_b_cast(b, tn_b_div(b, sum, tn_b_dim_value(b, count, wide)), t.dtype);
}

/* An open size d is element d of 0, 1, … d: an expression, so it costs nothing inside a kernel. */
tn_value tn_b_dim_value(tn_builder *b, tn_dim d, tn_dtype dtype) {
    int64_t value;
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (tn_dim_const_value(b->graph->dims, d, &value)) return tn_b_scalar_int(b, dtype, value);
    tn_shape shape = {.rank = 1, .dim = {tn_dim_add(b->graph->dims, d, 1)}};
    tn_value count = tn_b_iota(b, TN_i64, &shape, 0);
    tn_value last = tn_b_slice_axis(b, count, 0, d, 1, 1);
    return tn_b_cast(b, tn_b_squeeze(b, last, 0), dtype);
}

/* ---- matrix products ------------------------------------------------------------------------ */

static tn_value dot(tn_builder *b, tn_value x, tn_value y, int batch, tn_dtype acc) {
    tn_attrs_dot attrs = {.acc = acc};
    for (int i = 0; i < batch; i++) attrs.lhs_batch.at[i] = attrs.rhs_batch.at[i] = i;
    attrs.lhs_batch.count = attrs.rhs_batch.count = batch;
    attrs.lhs_contract = (tn_ints){.count = 1, .at = {tn_b_rank(b, x) - 1}};
    attrs.rhs_contract =
        (tn_ints){.count = 1, .at = {tn_b_rank(b, y) - (tn_b_rank(b, y) > 1 ? 2 : 1)}};
    tn_value in[] = {x, y};
    return tn_b_node(b, TN_OP_dot, in, 2, &attrs);
}

/* x with its leading axes (all but the last two) broadcast to `batch`. */
static tn_value expand_batch(tn_builder *b, tn_value x, const tn_shape *batch) {
    tn_shape shape = *batch;
    shape.dim[shape.rank++] = tn_b_dim(b, x, -2);
    shape.dim[shape.rank++] = tn_b_dim(b, x, -1);
    return tn_b_expand(b, x, &shape);
}

static tn_shape leading(const tn_builder *b, tn_value x) {
    tn_shape s = tn_b_type(b, x).shape;
    s.rank = TN_MAX(s.rank - 2, 0);
    return s;
}

static tn_value batched_matmul(tn_builder *b, tn_value x, tn_value y, tn_dtype acc) {
    tn_shape p = leading(b, x), q = leading(b, y), batch;
    if (!tn_b_broadcast_shape(b, &p, &q, &batch)) {
        tn_error_push(b->err, "matmul batch axes");
        return TN_NO_VALUE;
    }
    if (batch.rank + 2 > TN_MAX_RANK)
        return tn_b_fail(b, TN_UNSUPPORTED, "matmul: more than %d axes", TN_MAX_RANK);
    return dot(b, expand_batch(b, x, &batch), expand_batch(b, y, &batch), batch.rank, acc);
}

/* One matrix for all of y's: (x y)ₘᵦₙ with m moved behind the batch axes. */
static tn_value shared_lhs_matmul(tn_builder *b, tn_value x, tn_value y, tn_dtype acc) {
    tn_value product = dot(b, x, y, 0, acc);
    int rank = tn_b_rank(b, product), perm[TN_MAX_RANK];
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    for (int i = 0; i < rank - 2; i++) perm[i] = i + 1;
    perm[rank - 2] = 0;
    perm[rank - 1] = rank - 1;
    return tn_b_permute(b, product, perm);
}

tn_value tn_b_matmul(tn_builder *b, tn_value x, tn_value y, tn_dtype acc) {
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    int p = tn_b_rank(b, x), q = tn_b_rank(b, y);
    if (p == 0 || q == 0)
        return tn_b_fail(b, TN_INVALID, "matmul: a scalar operand; at least one axis is needed");
    if (q <= 2) return dot(b, x, y, 0, acc);
    if (p == 1) {
        tn_value product = shared_lhs_matmul(b, tn_b_unsqueeze(b, x, 0), y, acc);
        return tn_b_squeeze(b, product, -2);
    }
    return p == 2 ? shared_lhs_matmul(b, x, y, acc) : batched_matmul(b, x, y, acc);
}
