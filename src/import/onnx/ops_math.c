/* Element-wise operators: arithmetic, comparison, logic, casts, activations. */
#include "import/onnx/ops.h"

#include <math.h>

/* ---- as the builder has them ----------------------------------------------------------------- */

#define UNARY(name)                                                                                \
    static void import_##name(tn_o *o) {                                                           \
        tn_o_out(o, 0, tn_b_##name(o->b, tn_o_in(o, 0)));                                          \
    }
UNARY(abs)
UNARY(acos)
UNARY(acosh)
UNARY(asin)
UNARY(asinh)
UNARY(atan)
UNARY(atanh)
UNARY(ceil)
UNARY(cos)
UNARY(cosh)
UNARY(erf)
UNARY(exp)
UNARY(floor)
UNARY(hard_swish)
UNARY(is_nan)
UNARY(log)
UNARY(mish)
UNARY(neg)
UNARY(not )
UNARY(reciprocal)
UNARY(relu)
UNARY(round)
UNARY(sigmoid)
UNARY(sign)
UNARY(sin)
UNARY(sinh)
UNARY(softplus)
UNARY(softsign)
UNARY(sqrt)
UNARY(tan)
UNARY(tanh)

#define BINARY(name)                                                                               \
    static void import_##name(tn_o *o) {                                                           \
        tn_value x = tn_o_in(o, 0), y = tn_o_in(o, 1);                                             \
        tn_o_out(o, 0, tn_b_##name(o->b, x, y));                                                   \
    }
BINARY(add)
BINARY(sub)
BINARY(mul)
BINARY(div)
BINARY(and)
BINARY(or)
BINARY(xor)
BINARY(eq)
BINARY(lt)
BINARY(le)
BINARY(gt)
BINARY(ge)

typedef tn_value binary_fn(tn_builder *b, tn_value x, tn_value y);

static tn_value fold_inputs(tn_o *o, binary_fn *fn) {
    tn_value all = tn_o_in(o, 0);
    for (int i = 1; i < tn_o_in_count(o); i++) all = fn(o->b, all, tn_o_in(o, i));
    return all;
}
static void import_max(tn_o *o) {
    tn_o_out(o, 0, fold_inputs(o, tn_b_max));
}
static void import_min(tn_o *o) {
    tn_o_out(o, 0, fold_inputs(o, tn_b_min));
}
static void import_sum(tn_o *o) {
    tn_o_out(o, 0, fold_inputs(o, tn_b_add));
}
static void import_mean(tn_o *o) {
    int n = TN_MAX(tn_o_in_count(o), 1);
    tn_o_out(o, 0, tn_b_mul_scalar(o->b, fold_inputs(o, tn_b_add), 1.0 / n));
}

/* ---- with attributes -------------------------------------------------------------------------- */

/* float→int conversions and comparisons of the power follow the base's type. */
static void import_pow(tn_o *o) {
    tn_value x = tn_o_in(o, 0), y = tn_o_in(o, 1);
    tn_dtype base = tn_b_type(o->b, x).dtype, exponent = tn_b_type(o->b, y).dtype;
    tn_known k;
    int64_t n = 0;
    bool plain = tn_dtype_is_float(base) && tn_o_known(o, 1, &k) && k.count == 1 && k.rank == 0 &&
                 tn_dim_const_value(o->dims, k.at[0], &n);
    if (plain && (n == 2 || n == 3)) {
        tn_value square = tn_b_mul(o->b, x, x);
        tn_o_out(o, 0, n == 2 ? square : tn_b_mul(o->b, square, x));
        return;
    }
    bool through_float = !tn_dtype_is_float(base) && tn_dtype_is_float(exponent);
    tn_dtype dtype = through_float ? TN_f64 : base;
    tn_value power = tn_b_pow(o->b, tn_b_cast(o->b, x, dtype), tn_b_cast(o->b, y, dtype));
    tn_o_out(o, 0, tn_b_cast(o->b, power, base));
}

static void import_mod(tn_o *o) {
    tn_value x = tn_o_in(o, 0), y = tn_o_in(o, 1);
    bool truncating = tn_o_int(o, "fmod", 0) != 0;
    if (tn_o_ok(o) && !truncating && tn_dtype_is_float(tn_b_type(o->b, x).dtype))
        tn_o_fail(o, TN_INVALID, "floats need attribute fmod = 1");
    tn_o_out(o, 0, truncating ? tn_b_rem(o->b, x, y) : tn_b_floor_mod(o->b, x, y));
}

static void import_bit_shift(tn_o *o) {
    static const char *const directions[] = {"LEFT", "RIGHT", NULL};
    tn_value x = tn_o_in(o, 0), y = tn_o_in(o, 1);
    bool right = tn_o_choice(o, "direction", "", directions) == 1;
    tn_o_out(o, 0, right ? tn_b_shr(o->b, x, y) : tn_b_shl(o->b, x, y));
}

static void import_is_inf(tn_o *o) {
    tn_value x = tn_o_in(o, 0), zero = tn_b_scalar(o->b, tn_b_type(o->b, x).dtype, 0);
    bool negative = tn_o_int(o, "detect_negative", 1) != 0;
    bool positive = tn_o_int(o, "detect_positive", 1) != 0;
    tn_value inf = tn_b_is_inf(o->b, x), none = tn_b_ne(o->b, x, x);
    if (!negative && !positive) {
        tn_o_out(o, 0, tn_b_and(o->b, none, tn_b_not(o->b, none)));
        return;
    }
    if (!negative) inf = tn_b_and(o->b, inf, tn_b_gt(o->b, x, zero));
    if (!positive) inf = tn_b_and(o->b, inf, tn_b_lt(o->b, x, zero));
    tn_o_out(o, 0, inf);
}

static void import_clip(tn_o *o) {
    tn_value x = tn_o_in(o, 0), lo = TN_NO_VALUE, hi = TN_NO_VALUE;
    tn_dtype dtype = tn_b_type(o->b, x).dtype;
    if (o->version >= 11) {
        lo = tn_o_in_or_none(o, 1);
        hi = tn_o_in_or_none(o, 2);
    } else {
        if (tn_o_has_attr(o, "min")) lo = tn_b_scalar(o->b, dtype, tn_o_float(o, "min", 0));
        if (tn_o_has_attr(o, "max")) hi = tn_b_scalar(o->b, dtype, tn_o_float(o, "max", 0));
    }
    tn_o_out(o, 0, tn_b_clip(o->b, x, lo, hi));
}

/* A float becomes an integer smaller than a byte by the way of i32, which wraps. */
static tn_value cast(tn_o *o, tn_value x, tn_dtype to) {
    tn_dtype from = tn_b_type(o->b, x).dtype;
    if (!tn_o_ok(o) || from == to) return x;
    bool tiny = tn_dtype_is_integer(to) && tn_dtype_bits(to) < 8;
    if (tiny && tn_dtype_is_float(from)) x = tn_b_cast(o->b, x, TN_i32);
    tn_attrs_cast attrs = {.dtype = to, .saturate = tn_o_int(o, "saturate", 1) != 0};
    return tn_b_node(o->b, TN_OP_cast, &x, 1, &attrs);
}
static void import_cast(tn_o *o) {
    tn_o_need_int(o, "to");
    tn_o_out(o, 0, cast(o, tn_o_in(o, 0), tn_o_dtype(o, "to", TN_f32)));
}
static void import_cast_like(tn_o *o) {
    tn_o_out(o, 0, cast(o, tn_o_in(o, 0), tn_o_type(o, 1).dtype));
}
static void import_bit_cast(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    tn_attrs_bitcast attrs = {.dtype = tn_o_dtype(o, "to", TN_f32)};
    bool flags = tn_b_type(o->b, x).dtype == TN_bool; /* a byte each, 0 or 1 */
    if (flags) x = tn_b_cast(o->b, x, TN_u8);
    if (flags && attrs.dtype == TN_u8) {
        tn_o_out(o, 0, x);
        return;
    }
    tn_o_out(o, 0, tn_b_node(o->b, TN_OP_bitcast, &x, 1, &attrs));
}

static void import_where(tn_o *o) {
    tn_value flag = tn_o_in(o, 0), x = tn_o_in(o, 1), y = tn_o_in(o, 2);
    tn_o_out(o, 0, tn_b_where(o->b, flag, x, y));
}

static void import_prelu(tn_o *o) {
    tn_value x = tn_o_in(o, 0), slope = tn_o_in(o, 1);
    if (tn_b_rank(o->b, slope) > tn_b_rank(o->b, x))
        tn_o_fail(o, TN_INVALID, "its slope has %d axes, its input %d", tn_b_rank(o->b, slope),
                  tn_b_rank(o->b, x));
    tn_o_out(o, 0, tn_b_prelu(o->b, x, slope));
}

#define ALPHA(name, other)                                                                         \
    static void import_##name(tn_o *o) {                                                           \
        tn_o_out(o, 0, tn_b_##name(o->b, tn_o_in(o, 0), tn_o_float(o, "alpha", other)));           \
    }
ALPHA(elu, 1.0)
ALPHA(celu, 1.0)
ALPHA(leaky_relu, (double)0.01f)
ALPHA(thresholded_relu, 1.0)
ALPHA(swish, 1.0)

static void import_selu(tn_o *o) {
    double alpha = tn_o_float(o, "alpha", (double)1.67326319217681884765625f);
    double gamma = tn_o_float(o, "gamma", (double)1.05070102214813232421875f);
    tn_o_out(o, 0, tn_b_selu(o->b, tn_o_in(o, 0), alpha, gamma));
}

static void import_hard_sigmoid(tn_o *o) {
    double alpha = tn_o_float(o, "alpha", (double)0.2f), beta = tn_o_float(o, "beta", 0.5);
    tn_o_out(o, 0, tn_b_hard_sigmoid(o->b, tn_o_in(o, 0), alpha, beta));
}

static void import_shrink(tn_o *o) {
    double bias = tn_o_float(o, "bias", 0), lambda = tn_o_float(o, "lambd", 0.5);
    tn_value x = tn_o_in(o, 0); /* of whole numbers by floats, cut off at the end */
    bool whole = tn_dtype_is_integer(tn_b_type(o->b, x).dtype);
    tn_value y = tn_b_shrink(o->b, whole ? tn_b_cast(o->b, x, TN_f64) : x, bias, lambda);
    tn_o_out(o, 0, tn_o_like(o, y, x));
}

static void import_gelu(tn_o *o) {
    static const char *const kinds[] = {"none", "tanh", NULL};
    tn_value x = tn_o_in(o, 0);
    bool by_tanh = tn_o_choice(o, "approximate", "none", kinds) == 1;
    tn_o_out(o, 0, by_tanh ? tn_b_gelu_tanh(o->b, x) : tn_b_gelu(o->b, x));
}

static const tn_onnx_op rows[] = {
    {"Abs", 1, TN_ONNX_LATEST, import_abs},
    {"Acos", 7, TN_ONNX_LATEST, import_acos},
    {"Acosh", 9, TN_ONNX_LATEST, import_acosh},
    {"Add", 7, TN_ONNX_LATEST, import_add},
    {"And", 7, TN_ONNX_LATEST, import_and},
    {"Asin", 7, TN_ONNX_LATEST, import_asin},
    {"Asinh", 9, TN_ONNX_LATEST, import_asinh},
    {"Atan", 7, TN_ONNX_LATEST, import_atan},
    {"Atanh", 9, TN_ONNX_LATEST, import_atanh},
    {"BitCast", 25, TN_ONNX_LATEST, import_bit_cast},
    {"BitShift", 11, TN_ONNX_LATEST, import_bit_shift},
    {"BitwiseAnd", 18, TN_ONNX_LATEST, import_and},
    {"BitwiseNot", 18, TN_ONNX_LATEST, import_not},
    {"BitwiseOr", 18, TN_ONNX_LATEST, import_or},
    {"BitwiseXor", 18, TN_ONNX_LATEST, import_xor},
    {"Cast", 6, TN_ONNX_LATEST, import_cast},
    {"CastLike", 15, TN_ONNX_LATEST, import_cast_like},
    {"Ceil", 1, TN_ONNX_LATEST, import_ceil},
    {"Celu", 12, TN_ONNX_LATEST, import_celu},
    {"Clip", 1, TN_ONNX_LATEST, import_clip},
    {"Cos", 7, TN_ONNX_LATEST, import_cos},
    {"Cosh", 9, TN_ONNX_LATEST, import_cosh},
    {"Div", 7, TN_ONNX_LATEST, import_div},
    {"Elu", 1, TN_ONNX_LATEST, import_elu},
    {"Equal", 7, TN_ONNX_LATEST, import_eq},
    {"Erf", 9, TN_ONNX_LATEST, import_erf},
    {"Exp", 1, TN_ONNX_LATEST, import_exp},
    {"Floor", 1, TN_ONNX_LATEST, import_floor},
    {"Gelu", 20, TN_ONNX_LATEST, import_gelu},
    {"Greater", 7, TN_ONNX_LATEST, import_gt},
    {"GreaterOrEqual", 12, TN_ONNX_LATEST, import_ge},
    {"HardSigmoid", 1, TN_ONNX_LATEST, import_hard_sigmoid},
    {"HardSwish", 14, TN_ONNX_LATEST, import_hard_swish},
    {"IsInf", 10, TN_ONNX_LATEST, import_is_inf},
    {"IsNaN", 9, TN_ONNX_LATEST, import_is_nan},
    {"LeakyRelu", 1, TN_ONNX_LATEST, import_leaky_relu},
    {"Less", 7, TN_ONNX_LATEST, import_lt},
    {"LessOrEqual", 12, TN_ONNX_LATEST, import_le},
    {"Log", 1, TN_ONNX_LATEST, import_log},
    {"Max", 1, TN_ONNX_LATEST, import_max},
    {"Mean", 1, TN_ONNX_LATEST, import_mean},
    {"Min", 1, TN_ONNX_LATEST, import_min},
    {"Mish", 18, TN_ONNX_LATEST, import_mish},
    {"Mod", 10, TN_ONNX_LATEST, import_mod},
    {"Mul", 7, TN_ONNX_LATEST, import_mul},
    {"Neg", 1, TN_ONNX_LATEST, import_neg},
    {"Not", 1, TN_ONNX_LATEST, import_not},
    {"Or", 7, TN_ONNX_LATEST, import_or},
    {"Pow", 7, TN_ONNX_LATEST, import_pow},
    {"PRelu", 7, TN_ONNX_LATEST, import_prelu},
    {"Reciprocal", 1, TN_ONNX_LATEST, import_reciprocal},
    {"Relu", 1, TN_ONNX_LATEST, import_relu},
    {"Round", 11, TN_ONNX_LATEST, import_round},
    {"Selu", 6, TN_ONNX_LATEST, import_selu},
    {"Shrink", 9, TN_ONNX_LATEST, import_shrink},
    {"Sigmoid", 1, TN_ONNX_LATEST, import_sigmoid},
    {"Sign", 9, TN_ONNX_LATEST, import_sign},
    {"Sin", 7, TN_ONNX_LATEST, import_sin},
    {"Sinh", 9, TN_ONNX_LATEST, import_sinh},
    {"Softplus", 1, TN_ONNX_LATEST, import_softplus},
    {"Softsign", 1, TN_ONNX_LATEST, import_softsign},
    {"Sqrt", 1, TN_ONNX_LATEST, import_sqrt},
    {"Sub", 7, TN_ONNX_LATEST, import_sub},
    {"Sum", 1, TN_ONNX_LATEST, import_sum},
    {"Swish", 24, TN_ONNX_LATEST, import_swish},
    {"Tan", 7, TN_ONNX_LATEST, import_tan},
    {"Tanh", 1, TN_ONNX_LATEST, import_tanh},
    {"ThresholdedRelu", 10, TN_ONNX_LATEST, import_thresholded_relu},
    {"Where", 9, TN_ONNX_LATEST, import_where},
    {"Xor", 7, TN_ONNX_LATEST, import_xor},
};
TN_ONNX_TABLE(math, "")
