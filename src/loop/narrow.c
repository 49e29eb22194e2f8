/* What is known of small integers: which values an expression can have, so that conversions that lose
 * nothing fold into the next one, and which floats are such integers. */
#include "loop/index.h"

#include <math.h>

static bool is_integer(tn_dtype dtype) {
    return tn_dtype_is_integer(dtype) && tn_dtype_bits(dtype) < 64;
}

static bool is_within(int64_t lo, int64_t hi, tn_dtype dtype) {
    return lo >= tn_cell_lowest(dtype).i && hi <= tn_cell_highest(dtype).i;
}

static bool constant_of(const tn_loop *k, tn_lx e, int64_t *value) {
    const tn_lexpr *x = tn_l_expr(k, e);
    *value = x->value.i;
    return x->kind == TN_LX_CONST;
}

/* Bounds of an expression of a type that is_integer(). */
static void integer_range(const tn_loop *k, tn_lx e, int64_t *lo, int64_t *hi) {
    const tn_lexpr *x = tn_l_expr(k, e);
    int64_t c;
    *lo = tn_cell_lowest(x->dtype).i;
    *hi = tn_cell_highest(x->dtype).i;
    if (x->kind == TN_LX_CONST) {
        *lo = *hi = x->value.i;
    } else if (x->kind == TN_LX_CAST && is_integer(tn_l_type(k, x->a))) {
        int64_t from_lo, from_hi;
        integer_range(k, x->a, &from_lo, &from_hi);
        if (!is_within(from_lo, from_hi, x->dtype)) return;
        *lo = from_lo;
        *hi = from_hi;
    } else if (x->kind == TN_LX_OP && x->op == TN_S_and && constant_of(k, x->b, &c) && c >= 0) {
        *lo = 0;
        *hi = c;
    } else if (x->kind == TN_LX_OP && x->op == TN_S_shr && constant_of(k, x->b, &c) && c >= 0 &&
               c < tn_dtype_bits(x->dtype)) {
        integer_range(k, x->a, lo, hi);
        *lo >>= c;
        *hi >>= c;
    } else if (x->kind == TN_LX_OP && x->op == TN_S_sub && constant_of(k, x->b, &c)) {
        int64_t from_lo, from_hi;
        integer_range(k, x->a, &from_lo, &from_hi);
        if (!is_within(from_lo - c, from_hi - c, x->dtype)) return;
        *lo = from_lo - c;
        *hi = from_hi - c;
    }
}

tn_lx tn__l_before_cast(const tn_loop *k, tn_lx e) {
    for (;;) {
        const tn_lexpr *x = tn_l_expr(k, e);
        int64_t lo, hi;
        if (x->kind != TN_LX_CAST || !is_integer(x->dtype) || !is_integer(tn_l_type(k, x->a)))
            return e;
        integer_range(k, x->a, &lo, &hi);
        if (!is_within(lo, hi, x->dtype)) return e;
        e = x->a;
    }
}

/* A float that is an integer of at most 16 bits, as an i32; NONE: not known to be one. */
static tn_lx small_integer(tn_loop *k, tn_lx e) {
    const tn_lexpr x = *tn_l_expr(k, e);
    if (x.kind == TN_LX_CONST && fabs(x.value.f) <= UINT16_MAX && x.value.f == floor(x.value.f))
        return tn_l_number(k, TN_i32, x.value.f);
    if (x.kind != TN_LX_CAST || !is_integer(tn_l_type(k, x.a))) return TN_LX_NONE;
    int64_t lo, hi;
    integer_range(k, x.a, &lo, &hi);
    return lo >= INT16_MIN && hi <= UINT16_MAX ? tn_l_cast(k, x.a, TN_i32, false) : TN_LX_NONE;
}

tn_lx tn__l_integer_sub(tn_loop *k, tn_lx a, tn_lx b) {
    if (tn_l_expr(k, a)->kind != TN_LX_CAST) return TN_LX_NONE;
    tn_lx x = small_integer(k, a), y = x ? small_integer(k, b) : TN_LX_NONE;
    if (!y) return TN_LX_NONE;
    const tn_lexpr inner = *tn_l_expr(k, x);
    int64_t c;
    if (inner.kind == TN_LX_OP && inner.op == TN_S_sub && constant_of(k, inner.b, &c)) {
        x = inner.a; /* (x - c) - y, where y + c is often the same all through a loop */
        y = tn_l_op2(k, TN_S_add, y, inner.b);
    }
    return tn_l_cast(k, tn_l_op2(k, TN_S_sub, x, y), TN_f32, false);
}
