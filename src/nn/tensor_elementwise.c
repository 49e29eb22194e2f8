/* Element-wise operations on lazy tensors. See tenon/tensor_ops.h. */
#include <math.h>

#include "nn/tensor_inner.h"

/* ---- of one tensor -------------------------------------------------------------------------- */

/* clang-format off */
/* Functions of floats: integers become floats first. */
#define TN__FLOAT_FUNCTIONS(R) \
    R(exp, tn_b_exp) R(expm1, tn_b_expm1) R(log, tn_b_log) R(log1p, tn_b_log1p) \
    R(sqrt, tn_b_sqrt) R(rsqrt, tn_b_rsqrt) R(reciprocal, tn_b_reciprocal) R(sin, tn_b_sin) \
    R(cos, tn_b_cos) R(tan, tn_b_tan) R(asin, tn_b_asin) R(acos, tn_b_acos) R(atan, tn_b_atan) \
    R(sinh, tn_b_sinh) R(cosh, tn_b_cosh) R(tanh, tn_b_tanh) R(asinh, tn_b_asinh) \
    R(acosh, tn_b_acosh) R(atanh, tn_b_atanh) R(erf, tn_b_erf) R(isnan, tn_b_is_nan) \
    R(isinf, tn_b_is_inf) R(sigmoid, tn_b_sigmoid) R(silu, tn_b_silu) R(gelu, tn_b_gelu) \
    R(gelu_tanh, tn_b_gelu_tanh) R(softplus, tn_b_softplus) R(mish, tn_b_mish) \
    R(softsign, tn_b_softsign)
/* Functions that keep integers. */
#define TN__PLAIN_FUNCTIONS(R) \
    R(neg, tn_b_neg) R(abs, tn_b_abs) R(sign, tn_b_sign) R(square, tn_b_square) \
    R(relu, tn_b_relu)
/* Functions that leave integers as they are. */
#define TN__ROUNDINGS(R) R(floor, tn_b_floor) R(ceil, tn_b_ceil) R(round, tn_b_round)
/* clang-format on */

#define R(op, function)                                                                            \
    static tn_value build_##op(tn_builder *b, const tn_value *in, const void *args) {              \
        (void)args;                                                                                \
        return function(b, tn_b_cast(b, in[0], tn__float_for(tn_b_type(b, in[0]).dtype)));         \
    }
TN__FLOAT_FUNCTIONS(R)
#undef R
#define R(op, function)                                                                            \
    static tn_value build_##op(tn_builder *b, const tn_value *in, const void *args) {              \
        (void)args;                                                                                \
        return function(b, in[0]);                                                                 \
    }
TN__PLAIN_FUNCTIONS(R)
#undef R
#define R(op, function)                                                                            \
    static tn_value build_##op(tn_builder *b, const tn_value *in, const void *args) {              \
        (void)args;                                                                                \
        return tn_dtype_is_float(tn_b_type(b, in[0]).dtype) ? function(b, in[0]) : in[0];          \
    }
TN__ROUNDINGS(R)
#undef R

static tn_value build_logical_not(tn_builder *b, const tn_value *in, const void *args) {
    (void)args;
    return tn_b_not(b, tn__truth(b, in[0]));
}

#define R(op)                                                                                      \
    tn_tensor *tn_##op##_at(const char *place, const tn_tensor *x) {                               \
        return tn__call1(place, x, build_##op, NULL);                                              \
    }
TN_TENSOR_UNARY(R)
#undef R

/* ---- of two --------------------------------------------------------------------------------- */

typedef tn_value binary(tn_builder *b, tn_value x, tn_value y);

static tn_value divide(tn_builder *b, tn_value x, tn_value y) {
    bool whole = !tn_dtype_is_float(tn_b_type(b, x).dtype);
    return tn_b_div(b, whole ? tn_b_cast(b, x, TN_f64) : x, whole ? tn_b_cast(b, y, TN_f64) : y);
}

static tn_value floor_divide(tn_builder *b, tn_value x, tn_value y) {
    if (tn_dtype_is_float(tn_b_type(b, x).dtype)) return tn_b_floor(b, tn_b_div(b, x, y));
    return tn_b_div(b, tn_b_sub(b, x, tn_b_floor_mod(b, x, y)), y);
}

/* clang-format off */
#define TN__BINARIES(R) \
    R(add, tn_b_add) R(sub, tn_b_sub) R(mul, tn_b_mul) R(div, divide) \
    R(floor_div, floor_divide) R(mod, tn_b_floor_mod) R(pow, tn_b_pow) R(atan2, tn_b_atan2) \
    R(maximum, tn_b_max) R(minimum, tn_b_min) R(bit_and, tn_b_and) R(bit_or, tn_b_or) \
    R(bit_xor, tn_b_xor) R(shift_left, tn_b_shl) R(shift_right, tn_b_shr) R(equal, tn_b_eq) \
    R(not_equal, tn_b_ne) R(less, tn_b_lt) R(less_equal, tn_b_le) R(greater, tn_b_gt) \
    R(greater_equal, tn_b_ge)
#define TN__LOGICALS(R) \
    R(logical_and, tn_b_and) R(logical_or, tn_b_or) R(logical_xor, tn_b_xor)
/* clang-format on */

static tn_value promoted(tn_builder *b, const tn_value *in, binary *function) {
    tn_value x = in[0], y = in[1];
    tn__promote_pair(b, &x, &y);
    return function(b, x, y);
}

#define R(op, function)                                                                            \
    static tn_value build_##op(tn_builder *b, const tn_value *in, const void *args) {              \
        (void)args;                                                                                \
        return promoted(b, in, function);                                                          \
    }
TN__BINARIES(R)
#undef R
#define R(op, function)                                                                            \
    static tn_value build_##op(tn_builder *b, const tn_value *in, const void *args) {              \
        (void)args;                                                                                \
        return function(b, tn__truth(b, in[0]), tn__truth(b, in[1]));                              \
    }
TN__LOGICALS(R)
#undef R

#define R(op)                                                                                      \
    tn_tensor *tn_##op##_at(const char *place, const tn_tensor *x, const tn_tensor *y) {           \
        return tn__call2(place, x, y, build_##op, NULL);                                           \
    }
TN_TENSOR_BINARY(R)
TN_TENSOR_COMPARE(R)
#undef R

/* ---- with a number -------------------------------------------------------------------------- */

typedef struct scalar_args {
    binary *function;
    double y;
} scalar_args;

/* The type in which x meets a plain number. */
static tn_dtype meeting_type(tn_dtype x, double y) {
    if (tn_dtype_is_float(x)) return x;
    bool whole = y == floor(y) && fabs(y) < 0x1p53;
    return !whole ? TN_f64 : x == TN_bool ? TN_i64 : x;
}

static tn_value build_scalar(tn_builder *b, const tn_value *in, const void *args) {
    const scalar_args *a = args;
    tn_dtype dtype = meeting_type(tn_b_type(b, in[0]).dtype, a->y);
    return a->function(b, tn_b_cast(b, in[0], dtype), tn_b_scalar(b, dtype, a->y));
}

#define R(op, fn)                                                                                  \
    tn_tensor *tn_##op##_scalar_at(const char *place, const tn_tensor *x, double y) {              \
        return tn__call1(place, x, build_scalar, &(scalar_args){fn, y});                           \
    }
R(add, tn_b_add)
R(sub, tn_b_sub)
R(mul, tn_b_mul)
R(div, divide)
R(pow, tn_b_pow)
R(maximum, tn_b_max)
R(minimum, tn_b_min)
#undef R

/* ---- others --------------------------------------------------------------------------------- */

static tn_value build_where(tn_builder *b, const tn_value *in, const void *args) {
    tn_value x = in[1], y = in[2];
    (void)args;
    tn__promote_pair(b, &x, &y);
    return tn_b_where(b, tn__truth(b, in[0]), x, y);
}

tn_tensor *tn_where_at(const char *place, const tn_tensor *flag, const tn_tensor *x,
                       const tn_tensor *y) {
    return tn__call3(place, flag, x, y, build_where, NULL);
}

typedef struct clip_args {
    double lo, hi;
} clip_args;

static tn_value build_clip(tn_builder *b, const tn_value *in, const void *args) {
    const clip_args *a = args;
    tn_dtype dtype = meeting_type(tn_b_type(b, in[0]).dtype, a->lo);
    dtype = tn_promote(dtype, meeting_type(dtype, a->hi));
    return tn_b_clip(b, tn_b_cast(b, in[0], dtype), tn_b_scalar(b, dtype, a->lo),
                     tn_b_scalar(b, dtype, a->hi));
}

tn_tensor *tn_clip_at(const char *place, const tn_tensor *x, double lo, double hi) {
    return tn__call1(place, x, build_clip, &(clip_args){lo, hi});
}

static tn_value build_cast(tn_builder *b, const tn_value *in, const void *args) {
    return tn_b_cast(b, in[0], *(const tn_dtype *)args);
}

tn_tensor *tn_cast_at(const char *place, const tn_tensor *x, tn_dtype dtype) {
    return tn__call1(place, x, build_cast, &dtype);
}
