/* Activations and other pointwise layers. See compose.h for the formulas. */
#include "ops/compose.h"

static tn_value scalar_like(tn_builder *b, tn_value x, double value) {
    return tn_b_scalar(b, tn_b_type(b, x).dtype, value);
}

static tn_value is_negative(tn_builder *b, tn_value x) {
    return tn_b_lt(b, x, scalar_like(b, x, 0));
}

tn_value tn_b_where(tn_builder *b, tn_value flag, tn_value x, tn_value y) {
    tn_type f = tn_b_type(b, flag), p = tn_b_type(b, x), q = tn_b_type(b, y);
    tn_shape shape, all;
    if (!tn_b_ok(b) || !tn_b_broadcast_shape(b, &p.shape, &q.shape, &shape) ||
        !tn_b_broadcast_shape(b, &f.shape, &shape, &all))
        return TN_NO_VALUE;
    return tn_b_select(b, tn_b_expand(b, flag, &all), tn_b_expand(b, x, &all),
                       tn_b_expand(b, y, &all));
}

tn_value tn_b_relu(tn_builder *b, tn_value x) {
    return tn_b_max(b, x, scalar_like(b, x, 0));
}

tn_value tn_b_leaky_relu(tn_builder *b, tn_value x, double alpha) {
    return tn_b_where(b, is_negative(b, x), tn_b_mul_scalar(b, x, alpha), x);
}

tn_value tn_b_prelu(tn_builder *b, tn_value x, tn_value slope) {
    return tn_b_where(b, is_negative(b, x), tn_b_mul(b, x, slope), x);
}

tn_value tn_b_thresholded_relu(tn_builder *b, tn_value x, double alpha) {
    tn_value above = tn_b_gt(b, x, scalar_like(b, x, alpha));
    return tn_b_where(b, above, x, scalar_like(b, x, 0));
}

tn_value tn_b_elu(tn_builder *b, tn_value x, double alpha) {
    tn_value below = tn_b_mul_scalar(b, tn_b_expm1(b, x), alpha);
    return tn_b_where(b, is_negative(b, x), below, x);
}

tn_value tn_b_selu(tn_builder *b, tn_value x, double alpha, double gamma) {
    return tn_b_mul_scalar(b, tn_b_elu(b, x, alpha), gamma);
}

tn_value tn_b_celu(tn_builder *b, tn_value x, double alpha) {
    tn_value zero = scalar_like(b, x, 0);
    tn_value below = tn_b_expm1(b, tn_b_div(b, x, scalar_like(b, x, alpha)));
    below = tn_b_min(b, zero, tn_b_mul_scalar(b, below, alpha));
    return tn_b_add(b, tn_b_max(b, zero, x), below);
}

/* e^−x may overflow to infinity; the quotient is 0 then, as it should be. */
tn_value tn_b_sigmoid(tn_builder *b, tn_value x) {
    tn_value one = scalar_like(b, x, 1);
    return tn_b_div(b, one, tn_b_add(b, one, tn_b_exp(b, tn_b_neg(b, x))));
}

static tn_value clamp(tn_builder *b, tn_value x, double lo, double hi) {
    return tn_b_min(b, tn_b_max(b, x, scalar_like(b, x, lo)), scalar_like(b, x, hi));
}

tn_value tn_b_hard_sigmoid(tn_builder *b, tn_value x, double alpha, double beta) {
    return clamp(b, tn_b_add_scalar(b, tn_b_mul_scalar(b, x, alpha), beta), 0, 1);
}

tn_value tn_b_hard_swish(tn_builder *b, tn_value x) {
    return tn_b_mul(b, x, tn_b_hard_sigmoid(b, x, 1.0 / 6, 0.5));
}

tn_value tn_b_silu(tn_builder *b, tn_value x) {
    return tn_b_mul(b, x, tn_b_sigmoid(b, x));
}

tn_value tn_b_swish(tn_builder *b, tn_value x, double beta) {
    return tn_b_mul(b, x, tn_b_sigmoid(b, tn_b_mul_scalar(b, x, beta)));
}

tn_value tn_b_quick_gelu(tn_builder *b, tn_value x, double alpha) {
    return tn_b_swish(b, x, alpha);
}

tn_value tn_b_softplus(tn_builder *b, tn_value x) {
    tn_value tail = tn_b_log1p(b, tn_b_exp(b, tn_b_neg(b, tn_b_abs(b, x))));
    return tn_b_add(b, tn_b_relu(b, x), tail);
}

tn_value tn_b_mish(tn_builder *b, tn_value x) {
    return tn_b_mul(b, x, tn_b_tanh(b, tn_b_softplus(b, x)));
}

tn_value tn_b_softsign(tn_builder *b, tn_value x) {
    return tn_b_div(b, x, tn_b_add_scalar(b, tn_b_abs(b, x), 1));
}

/* x/2 · (1 + inner) */
static tn_value half_gate(tn_builder *b, tn_value x, tn_value inner) {
    return tn_b_mul(b, tn_b_mul_scalar(b, x, 0.5), tn_b_add_scalar(b, inner, 1));
}

tn_value tn_b_gelu(tn_builder *b, tn_value x) {
    static const double SQRT_HALF = 0.70710678118654752440;
    return half_gate(b, x, tn_b_erf(b, tn_b_mul_scalar(b, x, SQRT_HALF)));
}

tn_value tn_b_gelu_tanh(tn_builder *b, tn_value x) {
    static const double SQRT_2_OVER_PI = 0.79788456080286535588;
    tn_value cubic = tn_b_mul_scalar(b, tn_b_mul(b, x, tn_b_square(b, x)), 0.044715);
    tn_value inner = tn_b_mul_scalar(b, tn_b_add(b, x, cubic), SQRT_2_OVER_PI);
    return half_gate(b, x, tn_b_tanh(b, inner));
}

tn_value tn_b_shrink(tn_builder *b, tn_value x, double bias, double lambda) {
    tn_value low = tn_b_lt(b, x, scalar_like(b, x, -lambda));
    tn_value high = tn_b_gt(b, x, scalar_like(b, x, lambda));
    tn_value middle = tn_b_where(b, high, tn_b_add_scalar(b, x, -bias), scalar_like(b, x, 0));
    return tn_b_where(b, low, tn_b_add_scalar(b, x, bias), middle);
}

tn_value tn_b_clip(tn_builder *b, tn_value x, tn_value lo, tn_value hi) {
    if (lo != TN_NO_VALUE) x = tn_b_max(b, x, lo);
    if (hi != TN_NO_VALUE) x = tn_b_min(b, x, hi);
    return x;
}

tn_value tn_b_square(tn_builder *b, tn_value x) {
    return tn_b_mul(b, x, x);
}

tn_value tn_b_reciprocal(tn_builder *b, tn_value x) {
    return tn_b_div(b, scalar_like(b, x, 1), x);
}

/* rem has the dividend's sign: add the divisor where the signs differ. */
tn_value tn_b_floor_mod(tn_builder *b, tn_value x, tn_value y) {
    tn_value rest = tn_b_rem(b, x, y);
    tn_dtype dtype = tn_b_type(b, x).dtype;
    if (tn_dtype_is_unsigned(dtype)) return rest;
    tn_value zero = scalar_like(b, x, 0);
    tn_value differ = tn_b_xor(b, tn_b_lt(b, rest, zero), tn_b_lt(b, y, zero));
    tn_value wrong = tn_b_and(b, tn_b_ne(b, rest, zero), differ);
    return tn_b_where(b, wrong, tn_b_add(b, rest, y), rest);
}

tn_value tn_b_one_hot(tn_builder *b, tn_value index, tn_dim depth, int axis, tn_value on,
                      tn_value off) {
    tn_type type = tn_b_type(b, index);
    int rank = type.shape.rank + 1;
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank || rank > TN_MAX_RANK)
        return tn_b_fail(b, TN_INVALID, "one_hot: axis %d does not exist in a result of rank %d",
                         axis, rank);
    tn_value size = tn_b_cast(b, tn_b_dim_value(b, depth, TN_i64), type.dtype);
    if (!tn_dtype_is_unsigned(type.dtype))
        index = tn_b_where(b, is_negative(b, index), tn_b_add(b, index, size), index);
    tn_shape classes = {.rank = rank - axis, .dim = {depth}};
    for (int i = 1; i < classes.rank; i++) classes.dim[i] = 1;
    tn_value class = tn_b_cast(b, tn_b_iota(b, TN_i64, &classes, 0), type.dtype);
    return tn_b_where(b, tn_b_eq(b, tn_b_unsqueeze(b, index, axis), class), on, off);
}

tn_value tn_b_channel_vector(tn_builder *b, tn_value vector, int rank) {
    tn_dim dim[TN_MAX_RANK];
    for (int i = 0; i < rank; i++) dim[i] = i == 1 ? tn_b_dim(b, vector, 0) : 1;
    return rank < 2 ? vector : tn_b_reshape_to(b, vector, rank, dim);
}
