/* The scalar operations: names, domains and the reference meaning. See scalar.def, scalar.h.
 *
 * Floats are computed in double and rounded to their type. For sums, products, quotients and square
 * roots of types up to f32 this rounds as if once (53 >= 2 * 24 + 2 bits); fma keeps a trace of
 * what the double cannot hold. Integers are computed in 64 bits and wrapped. */
#include "base/scalar.h"

#include <math.h>

static const struct {
    const char *name;
    uint8_t arity;
    char domain;
    bool flag;
} ops[] = {
#define SCALAR(name, arity, domain, result) {#name, arity, #domain[0], #result[0] == 'f'},
#include "base/scalar.def"
#undef SCALAR
};

const char *tn_scalar_name(tn_scalar_op op) {
    return ops[op].name;
}
int tn_scalar_arity(tn_scalar_op op) {
    return ops[op].arity;
}
bool tn_scalar_gives_flag(tn_scalar_op op) {
    return ops[op].flag;
}

bool tn_scalar_accepts(tn_scalar_op op, tn_dtype dtype) {
    bool is_float = tn_dtype_is_float(dtype), is_integer = tn_dtype_is_integer(dtype);
    switch (ops[op].domain) {
    case 'F':
        return is_float;
    case 'N':
        return is_float || is_integer;
    case 'I':
        return is_integer;
    case 'L':
        return is_integer || dtype == TN_bool;
    case 'W':
        return dtype == TN_i32;
    default:
        return true;
    }
}

const char *tn_scalar_domain(tn_scalar_op op) {
    switch (ops[op].domain) {
    case 'F':
        return "a float type";
    case 'N':
        return "a float or integer type";
    case 'I':
        return "an integer type";
    case 'L':
        return "an integer type or bool";
    case 'W':
        return "i32";
    default:
        return "any type";
    }
}

bool tn_scalar_parse(const char *name, tn_scalar_op *out) {
    for (int i = 0; i < TN_SCALAR_COUNT; i++) {
        if (strcmp(name, ops[i].name) != 0) continue;
        *out = (tn_scalar_op)i;
        return true;
    }
    return false;
}

/* ---- floats --------------------------------------------------------------------------------- */

/* a*b + c for types up to f32, whose products are exact in double. The sum is rounded to odd: where
 * it is not exact the last bit is set, so that rounding it again to the type is as rounding once.
 */
static double fma_odd(double a, double b, double c) {
    double product = a * b, sum = product + c;
    if (!isfinite(sum)) return sum;
    double part = sum - product; /* Knuth's TwoSum: sum + error is exact */
    double error = (product - (sum - part)) + (c - part);
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    if (error != 0 && (bits & 1) == 0) {
        if ((error > 0) == (sum > 0))
            bits++;
        else
            bits--;
        memcpy(&sum, &bits, sizeof bits);
    }
    return sum;
}

static double float_sign(double x) {
    return x > 0 ? 1 : x < 0 ? -1 : x; /* ±0 and NaN stay */
}

static double float_max(double a, double b) {
    return isnan(a) ? a : isnan(b) ? b : a > b ? a : b;
}
static double float_min(double a, double b) {
    return isnan(a) ? a : isnan(b) ? b : a < b ? a : b;
}

static double float_unary(tn_scalar_op op, double x) {
    switch (op) {
    case TN_S_neg:
        return -x;
    case TN_S_abs:
        return fabs(x);
    case TN_S_sign:
        return float_sign(x);
    case TN_S_exp:
        return exp(x);
    case TN_S_exp2:
        return exp2(x);
    case TN_S_expm1:
        return expm1(x);
    case TN_S_log:
        return log(x);
    case TN_S_log1p:
        return log1p(x);
    case TN_S_sqrt:
        return sqrt(x);
    case TN_S_rsqrt:
        return 1 / sqrt(x);
    case TN_S_sin:
        return sin(x);
    case TN_S_cos:
        return cos(x);
    case TN_S_tan:
        return tan(x);
    case TN_S_asin:
        return asin(x);
    case TN_S_acos:
        return acos(x);
    case TN_S_atan:
        return atan(x);
    case TN_S_sinh:
        return sinh(x);
    case TN_S_cosh:
        return cosh(x);
    case TN_S_asinh:
        return asinh(x);
    case TN_S_acosh:
        return acosh(x);
    case TN_S_atanh:
        return atanh(x);
    case TN_S_tanh:
        return tanh(x);
    case TN_S_erf:
        return erf(x);
    case TN_S_floor:
        return floor(x);
    case TN_S_ceil:
        return ceil(x);
    case TN_S_round:
        return nearbyint(x);
    default:
        TN_BUG("'%s' is no unary operation of floats", tn_scalar_name(op));
    }
}

static double float_binary(tn_scalar_op op, double a, double b) {
    switch (op) {
    case TN_S_add:
        return a + b;
    case TN_S_sub:
        return a - b;
    case TN_S_mul:
        return a * b;
    case TN_S_div:
        return a / b;
    case TN_S_rem:
        return fmod(a, b);
    case TN_S_pow:
        return pow(a, b);
    case TN_S_atan2:
        return atan2(a, b);
    case TN_S_max:
        return float_max(a, b);
    case TN_S_min:
        return float_min(a, b);
    default:
        TN_BUG("'%s' is no binary operation of floats", tn_scalar_name(op));
    }
}

static bool float_flag(tn_scalar_op op, double a, double b) {
    switch (op) {
    case TN_S_is_nan:
        return isnan(a);
    case TN_S_is_inf:
        return isinf(a);
    case TN_S_eq:
        return a == b;
    case TN_S_ne:
        return a != b;
    case TN_S_lt:
        return a < b;
    case TN_S_le:
        return a <= b;
    case TN_S_gt:
        return a > b;
    case TN_S_ge:
        return a >= b;
    default:
        TN_BUG("'%s' is no predicate of floats", tn_scalar_name(op));
    }
}

static tn_cell float_apply(tn_scalar_op op, tn_dtype dtype, double a, double b, double c) {
    double y;
    if (ops[op].flag) return (tn_cell){.u = float_flag(op, a, b)};
    if (ops[op].arity == 1)
        y = float_unary(op, a);
    else if (ops[op].arity == 2)
        y = float_binary(op, a, b);
    else
        y = dtype == TN_f64 ? fma(a, b, c) : fma_odd(a, b, c);
    return tn_cell_round(dtype, (tn_cell){.f = y});
}

/* ---- integers and bool ---------------------------------------------------------------------- */

/* Signed arithmetic of narrow types fits i64; of i64 itself it is done on the unsigned pattern. */

static uint64_t int_div(bool is_signed, tn_cell a, tn_cell b) {
    if (b.u == 0) return UINT64_MAX;
    if (!is_signed) return a.u / b.u;
    return b.i == -1 ? 0 - a.u : (uint64_t)(a.i / b.i);
}

static uint64_t int_rem(bool is_signed, tn_cell a, tn_cell b) {
    if (b.u == 0) return a.u;
    if (!is_signed) return a.u % b.u;
    return b.i == -1 ? 0 : (uint64_t)(a.i % b.i);
}

/* A negative exponent gives the quotient 1 / a^|b| truncated: 1 or -1 for a = ±1, else 0. */
static uint64_t int_pow(bool is_signed, tn_cell a, tn_cell b) {
    if (is_signed && b.i < 0) {
        if (a.i != 1 && a.i != -1) return 0;
        return b.u & 1 ? a.u : 1;
    }
    uint64_t result = 1;
    for (uint64_t base = a.u, n = b.u; n; n >>= 1, base *= base)
        if (n & 1) result *= base;
    return result;
}

static uint64_t int_shift(tn_scalar_op op, tn_dtype dtype, tn_cell a, tn_cell b) {
    bool is_signed = tn_dtype_is_signed(dtype);
    bool beyond = b.u >= (uint64_t)tn_dtype_bits(dtype); /* a negative count too */
    if (op == TN_S_shl) return beyond ? 0 : a.u << b.u;
    if (!is_signed) return beyond ? 0 : a.u >> b.u;
    return (uint64_t)(a.i >> (beyond ? 63 : b.i));
}

static uint64_t int_popcount(tn_dtype dtype, tn_cell a) {
    uint64_t mask = UINT64_MAX >> (64 - tn_dtype_bits(dtype));
    return (uint64_t)__builtin_popcountll(a.u & mask);
}

static uint64_t int_dot4(uint64_t a, uint64_t b, uint64_t c) {
    for (int i = 0; i < 32; i += 8) c += (uint64_t)((uint8_t)(a >> i) * (int8_t)(uint8_t)(b >> i));
    return c;
}

static bool int_flag(tn_scalar_op op, bool less, bool equal) {
    switch (op) {
    case TN_S_eq:
        return equal;
    case TN_S_ne:
        return !equal;
    case TN_S_lt:
        return less;
    case TN_S_le:
        return less || equal;
    case TN_S_gt:
        return !less && !equal;
    case TN_S_ge:
        return !less;
    default:
        TN_BUG("'%s' is no predicate of integers", tn_scalar_name(op));
    }
}

static uint64_t int_value(tn_scalar_op op, tn_dtype dtype, tn_cell a, tn_cell b, tn_cell c) {
    bool is_signed = tn_dtype_is_signed(dtype);
    bool less = is_signed ? a.i < b.i : a.u < b.u;
    switch (op) {
    case TN_S_neg:
        return 0 - a.u;
    case TN_S_abs:
        return is_signed && a.i < 0 ? 0 - a.u : a.u;
    case TN_S_sign:
        return is_signed && a.i < 0 ? UINT64_MAX : a.u != 0;
    case TN_S_not:
        return dtype == TN_bool ? !a.u : ~a.u;
    case TN_S_popcount:
        return int_popcount(dtype, a);
    case TN_S_add:
        return a.u + b.u;
    case TN_S_sub:
        return a.u - b.u;
    case TN_S_mul:
        return a.u * b.u;
    case TN_S_div:
        return int_div(is_signed, a, b);
    case TN_S_rem:
        return int_rem(is_signed, a, b);
    case TN_S_pow:
        return int_pow(is_signed, a, b);
    case TN_S_max:
        return less ? b.u : a.u;
    case TN_S_min:
        return less ? a.u : b.u;
    case TN_S_and:
        return a.u & b.u;
    case TN_S_or:
        return a.u | b.u;
    case TN_S_xor:
        return a.u ^ b.u;
    case TN_S_shl:
    case TN_S_shr:
        return int_shift(op, dtype, a, b);
    case TN_S_mad:
        return a.u * b.u + c.u;
    case TN_S_dot4:
        return int_dot4(a.u, b.u, c.u);
    default:
        TN_BUG("'%s' is no operation of integers", tn_scalar_name(op));
    }
}

tn_cell tn_scalar_apply(tn_scalar_op op, tn_dtype dtype, tn_cell a, tn_cell b, tn_cell c) {
    TN_ASSERT(tn_scalar_accepts(op, dtype));
    if (tn_dtype_is_float(dtype)) return float_apply(op, dtype, a.f, b.f, c.f);
    if (ops[op].flag) {
        bool less = tn_dtype_is_signed(dtype) ? a.i < b.i : a.u < b.u;
        return (tn_cell){.u = int_flag(op, less, a.u == b.u)};
    }
    return tn_cell_round(dtype, (tn_cell){.u = int_value(op, dtype, a, b, c)});
}
