/* Operations, conversions and constants as C text. See render.h. */
#include "codegen/render.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- types ---------------------------------------------------------------------------------- */

static bool is_narrow_float(tn_dtype dtype) {
    return tn_dtype_is_float(dtype) && tn_dtype_bits(dtype) <= 16;
}

/* Integers of fewer bits than their byte. */
static bool is_sub_byte(tn_dtype dtype) {
    return tn_dtype_is_integer(dtype) && tn_dtype_bits(dtype) < 8;
}

const char *tn__compute_name(tn_dtype dtype) {
    if (dtype == TN_bool) return "bool";
    return is_narrow_float(dtype) ? "f32" : tn_prelude_lane(dtype);
}

const char *tn__storage_type(tn_dtype dtype) {
    return dtype == TN_bool ? "u8" : tn_prelude_lane(dtype);
}

const char *tn__c_type(render *r, tn_dtype dtype, uint32_t lanes) {
    const char *name = dtype == TN_bool ? "i32" : tn__compute_name(dtype);
    if (!lanes) return name;
    tn__require(r, lanes, "type_%s", name);
    return tn__text(r, "%sx%" PRIu32, name, lanes);
}

void tn__require(render *r, uint32_t lanes, const char *format, ...) {
    char name[64];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    if (r->status == TN_OK)
        r->status = tn_prelude_require(r->prelude, name, lanes ? (int)lanes : SCALAR_LANES, r->err);
}

/* ---- constants ------------------------------------------------------------------------------ */

static const char *float_constant(render *r, double x, bool single) {
    const char *suffix = single ? "f" : "";
    if (isnan(x)) return single ? "__builtin_nanf(\"\")" : "__builtin_nan(\"\")";
    if (isinf(x))
        return tn__text(r, "%s__builtin_inf%s()%s", x < 0 ? "(-" : "", suffix, x < 0 ? ")" : "");
    char text[64];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (single ? strtof(text, NULL) == (float)x : strtod(text, NULL) == x) break;
    }
    const char *point = strpbrk(text, ".e") ? "" : ".0";
    return tn__text(r, signbit(x) ? "(%s%s%s)" : "%s%s%s", text, point, suffix);
}

const char *tn__constant(render *r, tn_dtype dtype, tn_cell value) {
    if (tn_dtype_is_float(dtype)) return float_constant(r, value.f, dtype != TN_f64);
    if (!tn_dtype_is_signed(dtype)) {
        const char *suffix = dtype == TN_u64 ? "ul" : dtype == TN_u32 ? "u" : "";
        return tn__text(r, "%" PRIu64 "%s", value.u, suffix);
    }
    if (value.i == INT64_MIN) return "(-9223372036854775807l - 1)";
    if (value.i == INT32_MIN && dtype == TN_i32) return "(-2147483647 - 1)";
    const char *suffix = value.i > INT32_MAX || value.i < -INT32_MAX ? "l" : "";
    return tn__text(r, value.i < 0 ? "(%" PRId64 "%s)" : "%" PRId64 "%s", value.i, suffix);
}

/* ---- calls ---------------------------------------------------------------------------------- */

/* tn_<op>_<type> on up to three operands. A scalar is lane 0 of a short vector, so that it gets the
 * same bits as a vector's lane. */
static const char *call(render *r, const char *function, const char *type, uint32_t lanes,
                        const char *const *operand, int count) {
    const char *arg[3] = {"", "", ""};
    for (int i = 0; i < count; i++) {
        arg[i] = tn__bare(r, operand[i]);
        if (lanes) continue;
        tn__require(r, SCALAR_LANES, "splat_%s", type);
        arg[i] = tn__text(r, "tn_splat_%sx%d(%s)", type, SCALAR_LANES, arg[i]);
    }
    return tn__text(r, "tn_%sx%" PRIu32 "(%s%s%s%s%s)%s", function, lanes ? lanes : SCALAR_LANES,
                    arg[0], count > 1 ? ", " : "", arg[1], count > 2 ? ", " : "", arg[2],
                    lanes ? "" : "[0]");
}

/* Of one operand of compute type `type`. */
static const char *call1(render *r, const char *function, const char *type, uint32_t lanes,
                         const char *a) {
    tn__require(r, lanes, "%s", function);
    return call(r, function, type, lanes, &a, 1);
}

/* ---- rounding and wrapping after an operation ----------------------------------------------- */

static const char *wrap_scalar(render *r, tn_dtype dtype, const char *text) {
    int unused = 32 - tn_dtype_bits(dtype);
    if (tn_dtype_is_unsigned(dtype))
        return tn__text(r, "((u8)%s & %d)", text, (1 << tn_dtype_bits(dtype)) - 1);
    return tn__text(r, "((int)%s << %d >> %d)", text, unused, unused);
}

static const char *round_to(render *r, tn_dtype dtype, uint32_t lanes, const char *text) {
    if (is_narrow_float(dtype))
        return call1(r, tn__text(r, "round_%s", tn_dtype_name(dtype)), "f32", lanes, text);
    if (!is_sub_byte(dtype)) return text;
    if (!lanes) return wrap_scalar(r, dtype, text);
    return call1(r, tn__text(r, "wrap_%s", tn_dtype_name(dtype)), tn__compute_name(dtype), lanes,
                 text);
}

/* Operations whose result is a value of the narrow type already. */
static bool stays_exact(tn_scalar_op op, tn_dtype dtype) {
    switch (op) {
    case TN_S_max:
    case TN_S_min:
    case TN_S_and:
    case TN_S_or:
    case TN_S_xor:
    case TN_S_rem:
        return !tn_dtype_is_float(dtype) || op != TN_S_rem;
    case TN_S_neg:
    case TN_S_abs:
    case TN_S_sign:
        return tn_dtype_is_float(dtype) && dtype != TN_f8e8m0 && dtype != TN_f8e4m3fnuz &&
               dtype != TN_f8e5m2fnuz;
    case TN_S_shr:
        return true;
    default:
        return false;
    }
}

/* ---- operations ----------------------------------------------------------------------------- */

static const char *arithmetic_sign(tn_scalar_op op, tn_dtype dtype) {
    bool flag = dtype == TN_bool, is_float = tn_dtype_is_float(dtype);
    switch (op) {
    case TN_S_add:
        return "+";
    case TN_S_sub:
        return "-";
    case TN_S_mul:
        return "*";
    case TN_S_div:
        return is_float ? "/" : NULL;
    case TN_S_and:
        return "&";
    case TN_S_or:
        return "|";
    case TN_S_xor:
        return "^";
    case TN_S_min:
        return flag ? "&" : NULL;
    case TN_S_max:
        return flag ? "|" : NULL;
    default:
        return NULL;
    }
}

static const char *comparison_sign(tn_scalar_op op) {
    switch (op) {
    case TN_S_eq:
        return "==";
    case TN_S_ne:
        return "!=";
    case TN_S_lt:
        return "<";
    case TN_S_le:
        return "<=";
    case TN_S_gt:
        return ">";
    case TN_S_ge:
        return ">=";
    default:
        return NULL;
    }
}

static const char *prefix_sign(tn_scalar_op op, tn_dtype dtype, uint32_t lanes) {
    if (op == TN_S_neg) return "-";
    if (op == TN_S_not) return dtype == TN_bool && !lanes ? "!" : "~";
    return NULL;
}

/* Integer arithmetic is done in int; the result is brought back to the width of its type. */
static const char *narrowed(render *r, tn_dtype dtype, uint32_t lanes, const char *text) {
    bool small = !tn_dtype_is_float(dtype) && dtype != TN_bool && tn_dtype_size(dtype) < 4;
    return small && !lanes ? tn__text(r, "((%s)%s)", tn__compute_name(dtype), text) : text;
}

static const char *scalar_integer_call(render *r, tn_scalar_op op, tn_dtype dtype, const char *a,
                                       const char *b) {
    const char *type = tn__compute_name(dtype);
    tn__require(r, 0, "s%s_%s", tn_scalar_name(op), type);
    return tn__text(r, b ? "tn_s%s_%s(%s, %s)" : "tn_s%s_%s(%s%s)", tn_scalar_name(op), type,
                    tn__bare(r, a), b ? tn__bare(r, b) : "");
}

static const char *op_call(render *r, tn_scalar_op op, tn_dtype dtype, uint32_t lanes,
                           const char *const *operand) {
    const char *type = tn__compute_name(dtype);
    const char *function = tn__text(r, "%s_%s", tn_scalar_name(op), type);
    tn__require(r, lanes, "%s", function);
    const char *name = tn__text(r, "%s", function);
    const char *text = call(r, name, type, lanes, operand, tn_scalar_arity(op));
    return tn_scalar_gives_flag(op) && !lanes ? tn__text(r, "(-%s)", text) : text;
}

static const char *raw_op(render *r, tn_scalar_op op, tn_dtype dtype, uint32_t lanes,
                          const char *const *operand) {
    const char *a = operand[0], *b = operand[1], *sign = arithmetic_sign(op, dtype);
    if (op == TN_S_popcount && is_sub_byte(dtype) && tn_dtype_is_signed(dtype)) {
        int mask = (1 << tn_dtype_bits(dtype)) - 1;
        const char *low[] = {tn__text(r, "(%s & %d)", a, mask), NULL, NULL};
        return lanes ? op_call(r, op, dtype, lanes, low)
                     : scalar_integer_call(r, op, dtype, low[0], NULL);
    }
    if (sign) return narrowed(r, dtype, lanes, tn__text(r, "(%s %s %s)", a, sign, b));
    sign = comparison_sign(op);
    bool mask_fits = tn_dtype_size(dtype) == 4 || is_narrow_float(dtype);
    if (sign && (!lanes || mask_fits)) return tn__text(r, "(%s %s %s)", a, sign, b);
    sign = prefix_sign(op, dtype, lanes);
    if (sign) return narrowed(r, dtype, lanes, tn__text(r, "(%s%s)", sign, a));
    if (op == TN_S_mad && !tn_dtype_is_float(dtype))
        return narrowed(r, dtype, lanes, tn__text(r, "(%s * %s + %s)", a, b, operand[2]));
    if (!lanes && !tn_dtype_is_float(dtype) && op != TN_S_dot4)
        return scalar_integer_call(r, op, dtype, a, b);
    return op_call(r, op, dtype, lanes, operand);
}

const char *tn__op(render *r, tn_scalar_op op, tn_dtype dtype, uint32_t lanes, const char *a,
                   const char *b, const char *c) {
    const char *const operand[] = {a, b, c};
    const char *text = raw_op(r, op, dtype, lanes, operand);
    if (tn_scalar_gives_flag(op) || stays_exact(op, dtype)) return text;
    return round_to(r, dtype, lanes, text);
}

const char *tn__select(render *r, tn_dtype dtype, uint32_t lanes, const char *mask, const char *yes,
                       const char *no) {
    if (!lanes) return tn__text(r, "(%s ? %s : %s)", mask, yes, no);
    const char *type = tn__compute_name(dtype);
    tn__require(r, lanes, "select_%s", type);
    return tn__text(r, "tn_select_%sx%" PRIu32 "(%s, %s, %s)", type, lanes, tn__bare(r, mask),
                    tn__bare(r, yes), tn__bare(r, no));
}

/* ---- conversions ---------------------------------------------------------------------------- */

/* The type that a value of `dtype` has in computation, as a source of conversions. */
static tn_dtype compute_type(tn_dtype dtype) {
    return is_narrow_float(dtype) ? TN_f32 : dtype;
}

/* Bits in memory → value. */
const char *tn__from_storage(render *r, tn_dtype dtype, uint32_t lanes, const char *bits) {
    if (!is_narrow_float(dtype)) return bits;
    return call1(r, tn__text(r, "cast_%s_f32", tn_dtype_name(dtype)), tn_prelude_lane(dtype), lanes,
                 bits);
}

static const char *narrow_bits(render *r, tn_dtype from, tn_dtype to, bool saturate, uint32_t lanes,
                               const char *text) {
    const char *function = tn__text(r, "%s_%s_%s", saturate ? "sat" : "cast",
                                    tn_dtype_name(compute_type(from)), tn_dtype_name(to));
    const char *type = from == TN_bool ? "i32" : tn__compute_name(from);
    if (from == TN_bool && !lanes) text = tn__text(r, "-%s", text);
    return call1(r, function, type, lanes, text);
}

static const char *scalar_cast(render *r, tn_dtype from, tn_dtype to, const char *text) {
    bool from_float = tn_dtype_is_float(from), to_float = tn_dtype_is_float(to);
    const char *type = tn__c_type(r, to, 0);
    if (to == TN_bool) return tn__text(r, "(%s != 0)", text);
    if (!from_float || to_float) {
        text = tn__text(r, "((%s)%s)", type, text);
        return is_sub_byte(to) ? wrap_scalar(r, to, text) : text;
    }
    const char *function =
        tn__text(r, "cast_%s_%s", tn_dtype_name(compute_type(from)), tn_dtype_name(to));
    return call1(r, function, tn__compute_name(from), 0, text);
}

static const char *cast(render *r, tn_dtype from, tn_dtype to, bool saturate, uint32_t lanes,
                        const char *text) {
    if (is_narrow_float(to))
        return tn__from_storage(r, to, lanes, narrow_bits(r, from, to, saturate, lanes, text));
    if (compute_type(from) == to) return text;
    if (!lanes) return scalar_cast(r, from, to, text);
    const char *function =
        tn__text(r, "cast_%s_%s", tn_dtype_name(compute_type(from)), tn_dtype_name(to));
    return call1(r, function, "", lanes, text);
}

/* A value as the bits that memory holds. */
static const char *to_storage(render *r, tn_dtype dtype, uint32_t lanes, const char *text) {
    if (dtype == TN_bool) return lanes ? call1(r, "cast_bool_u8", "i32", lanes, text) : text;
    return is_narrow_float(dtype) ? narrow_bits(r, TN_f32, dtype, false, lanes, text) : text;
}

static const char *bitcast(render *r, tn_dtype from, tn_dtype to, uint32_t lanes,
                           const char *text) {
    text = to_storage(r, from, lanes, text);
    const char *in = tn__storage_type(from), *out = tn__storage_type(to);
    if (strcmp(in, out) != 0) {
        if (lanes) {
            tn__require(r, lanes, "type_%s", out);
            text = tn__text(r, "((%sx%" PRIu32 ")%s)", out, lanes, text);
        } else {
            text = tn__text(r, "((union { %s from; %s to; }){%s}.to)", in, out, tn__bare(r, text));
        }
    }
    if (to == TN_bool) return cast(r, TN_u8, TN_bool, false, lanes, text);
    return round_to(r, is_narrow_float(to) ? TN_f32 : to, lanes,
                    tn__from_storage(r, to, lanes, text));
}

/* An index plus the lane as 32-bit numbers: so it is counted in them, as the low bits of a sum are those of
 * its terms'. */
static const char *ramp(render *r, const tn_lexpr *x, uint32_t lanes) {
    int64_t scale;
    tn_lx rest;
    if (!lanes || (x->dtype != TN_i32 && x->dtype != TN_u32) || tn_l_type(r->k, x->a) != TN_i64)
        return NULL;
    if (!tn__lane_affine(r, x->a, lanes, &scale, &rest) || scale != 1) return NULL;
    const char *name = tn_dtype_name(x->dtype), *type = tn__c_type(r, x->dtype, 0);
    tn__require(r, lanes, "ramp_%s", name);
    return tn__text(r, "tn_ramp_%sx%" PRIu32 "((%s)%s)", name, lanes, type, tn__value(r, rest));
}

/* ---- expressions ---------------------------------------------------------------------------- */

/* A condition such as base + lane < n: the mask of the first lanes, or of all but those. */
static const char *prefix_mask(render *r, tn_lx e, uint32_t lanes) {
    const tn_lexpr x = *tn_l_expr(r->k, e);
    if (x.op != TN_S_lt && x.op != TN_S_le) return NULL;
    tn_lx count = tn__prefix_count(r, e, lanes);
    const char *invert = "";
    if (!count) { /* n < base + lane is the opposite of base + lane <= n */
        tn_lx opposite = x.op == TN_S_lt ? tn_l_le(r->k, x.b, x.a) : tn_l_lt(r->k, x.b, x.a);
        count = tn__prefix_count(r, opposite, lanes);
        invert = "~";
    }
    if (!count) return NULL;
    tn__require(r, lanes, "first_n");
    return tn__text(r, "%stn_first_nx%" PRIu32 "((int)%s)", invert, lanes, tn__named(r, count));
}

static const char *raw_call(render *r, const char *name, tn_dtype dtype, uint32_t lanes,
                            const char *a, const char *b) {
    const char *type = tn__compute_name(dtype), *const operand[] = {a, b};
    tn__require(r, lanes, "%s_%s", name, type);
    return call(r, tn__text(r, "%s_%s", name, type), type, lanes, operand, 2);
}

/* max and min with a constant that is not NaN: the raw form gives the other operand where that is NaN,
 * and where both are equal; then a 0 added makes max(-0, 0) the 0 that it is. */
static const char *bounded(render *r, const tn_lexpr *x, uint32_t lanes, const char *const *text) {
    tn_dtype dtype = tn_l_type(r->k, x->a);
    const tn_lexpr *a = tn_l_expr(r->k, x->a), *b = tn_l_expr(r->k, x->b);
    if (!lanes || !tn_dtype_is_float(dtype) || (x->op != TN_S_max && x->op != TN_S_min))
        return NULL;
    bool second = b->kind == TN_LX_CONST;
    double bound = (second ? b : a)->value.f;
    if ((!second && a->kind != TN_LX_CONST) || isnan(bound)) return NULL;
    bool zero = bound == 0, minus = signbit(bound);
    if (x->op == TN_S_min && zero && minus) return NULL;
    const char *raw = raw_call(r, x->op == TN_S_max ? "rawmax" : "rawmin", dtype, lanes,
                               text[second], text[!second]);
    return x->op == TN_S_max && zero && !minus ? tn__text(r, "(%s + 0)", raw) : raw;
}

/* Whether select(a, b, c) is b > c ? b : c: the raw form. */
static bool is_larger(const render *r, const tn_lexpr *x) {
    const tn_lexpr *flag = tn_l_expr(r->k, x->a);
    return tn_dtype_is_float(x->dtype) && flag->kind == TN_LX_OP && flag->op == TN_S_gt &&
           flag->a == x->b && flag->b == x->c;
}

static const char *op_expression(render *r, tn_lx e, const tn_lexpr *x, uint32_t lanes,
                                 bool rounded) {
    tn_dtype dtype = tn_l_type(r->k, x->a);
    if (lanes && dtype == TN_i64) {
        const char *mask = prefix_mask(r, e, lanes);
        if (mask) return mask;
    }
    const tn_lx operand[] = {x->a, x->b, x->c};
    const char *text[3] = {NULL, NULL, NULL};
    for (int i = 0; i < 3; i++)
        if (operand[i]) text[i] = tn__value_as(r, operand[i], lanes);
    if (x->index == 1)
        return tn__text(r, "(%s %c %s)", text[0], x->op == TN_S_div ? '/' : '%', text[1]);
    const char *simple = bounded(r, x, lanes, text);
    if (simple) return simple;
    return rounded ? tn__op(r, x->op, dtype, lanes, text[0], text[1], text[2])
                   : raw_op(r, x->op, dtype, lanes, text);
}

const char *tn__expression(render *r, tn_lx e) {
    const tn_lexpr x = *tn_l_expr(r->k, e);
    uint32_t lanes = tn__lanes_of(r, e);
    const char *counted;
    switch (x.kind) {
    case TN_LX_OP:
        return op_expression(r, e, &x, lanes, true);
    case TN_LX_SELECT: {
        const char *yes = tn__value_as(r, x.b, lanes), *no = tn__value_as(r, x.c, lanes);
        if (lanes && is_larger(r, &x)) return raw_call(r, "rawmax", x.dtype, lanes, yes, no);
        const char *mask = tn__value_as(r, x.a, lanes && tn__lanes_of(r, x.a) ? lanes : 0);
        if (!tn__lanes_of(r, x.a)) return tn__text(r, "(%s ? %s : %s)", mask, yes, no);
        return tn__select(r, x.dtype, lanes, mask, yes, no);
    }
    case TN_LX_CAST:
        counted = ramp(r, &x, lanes);
        if (counted) return counted;
        return cast(r, tn_l_type(r->k, x.a), x.dtype, x.index, lanes, tn__value_as(r, x.a, lanes));
    case TN_LX_BITCAST:
        return bitcast(r, tn_l_type(r->k, x.a), x.dtype, lanes, tn__value_as(r, x.a, lanes));
    case TN_LX_LOAD:
        return tn__load(r, x.index, x.a, x.b, x.c, lanes);
    default:
        TN_BUG("an expression of kind %d has no text", (int)x.kind);
    }
}

/* Rounding to a narrow float and taking its bits is one conversion. */
const char *tn__storage_value(render *r, tn_lx e, uint32_t lanes) {
    const tn_lexpr x = *tn_l_expr(r->k, e);
    bool direct = is_narrow_float(x.dtype) && tn__info(r, e)->uses <= 1 && !tn__info(r, e)->name &&
                  tn__lanes_of(r, e) == lanes;
    if (direct && x.kind == TN_LX_CAST)
        return narrow_bits(r, tn_l_type(r->k, x.a), x.dtype, x.index, lanes,
                           tn__value_as(r, x.a, lanes));
    if (direct && x.kind == TN_LX_OP && !tn_scalar_gives_flag(x.op))
        return to_storage(r, x.dtype, lanes, op_expression(r, e, &x, lanes, false));
    return to_storage(r, x.dtype, lanes, tn__value_as(r, e, lanes));
}
