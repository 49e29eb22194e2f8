/* Rewrites of unary and binary arithmetic. Each is stated above its function; s is a constant that
 * all elements share, c any constant. */
#include "transform/match.h"

#include <math.h>

static tn_dtype dtype_of(const tn_rewriter *r, const tn_node_info *n) {
    return tn_graph_type(r->g, n->in[0])->dtype;
}

static bool is_float(const tn_rewriter *r, const tn_node_info *n) {
    return tn_dtype_is_float(dtype_of(r, n));
}

static tn_value add_unary(tn_rewriter *r, tn_op op, tn_value x) {
    return tn_b_node(&r->b, op, &x, 1, NULL);
}

static tn_value add_binary(tn_rewriter *r, tn_op op, tn_value x, tn_value y) {
    return tn_b_node(&r->b, op, (tn_value[]){x, y}, 2, NULL);
}

static bool becomes_full(tn_rewriter *r, const tn_node_info *n, double value, tn_value *out) {
    tn_type type = *tn_graph_type(r->g, n->out);
    return tn__becomes(tn__full(&r->b, &type, tn_cell_of(type.dtype, value)), out);
}

/* ---- neutral and absorbing elements --------------------------------------------------------- */

/* x + 0 = x; of floats only x + (−0), since −0 + 0 = 0 */
static bool add_zero(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    return tn__splat_is(r->g, n->in[1], is_float(r, n) ? -0.0 : 0) && tn__becomes(n->in[0], out);
}

/* x + 0 = x, up to the sign of zero */
static bool add_positive_zero(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    return tn__splat_is(r->g, n->in[1], 0) && tn__becomes(n->in[0], out);
}

/* x − 0 = x */
static bool sub_zero(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    return tn__splat_is(r->g, n->in[1], 0) && tn__becomes(n->in[0], out);
}

/* x − x = 0, unless x is infinite or NaN */
static bool sub_self(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    return n->in[0] == n->in[1] && becomes_full(r, n, 0, out);
}

/* x · 1 = x / 1 = x */
static bool right_one(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    return tn__splat_is(r->g, n->in[1], 1) && tn__becomes(n->in[0], out);
}

/* x · 0 = 0, unless x is infinite, NaN or negative */
static bool mul_zero(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    return tn__splat_is(r->g, n->in[1], 0) && becomes_full(r, n, 0, out);
}

/* x · −1 = −x */
static bool mul_minus_one(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    if (tn_dtype_is_unsigned(dtype_of(r, n)) || !tn__splat_is(r->g, n->in[1], -1)) return false;
    return tn__becomes(add_unary(r, TN_OP_neg, n->in[0]), out);
}

/* max(x, x) = min(x, x) = x and x = x or x = x */
static bool same_operands(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    (void)r;
    return n->in[0] == n->in[1] && tn__becomes(n->in[0], out);
}

/* ---- inverses ------------------------------------------------------------------------------- */

/* −(−x) = x, not not x = x */
static bool involution(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], n->op);
    return inner && tn__becomes(inner->in[0], out);
}

/* | |x| | = |x| */
static bool abs_abs(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    return tn__made_by(r->g, n->in[0], TN_OP_abs) && tn__becomes(n->in[0], out);
}

/* |−x| = |x|, where −x is not taken modulo a power of two */
static bool abs_neg(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    if (tn_dtype_is_unsigned(tn_graph_type(r->g, n->out)->dtype)) return false;
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], TN_OP_neg);
    return inner && tn__becomes(add_unary(r, TN_OP_abs, inner->in[0]), out);
}

/* x + (−y) = x − y; (−x) + y = y − x */
static bool add_neg(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    for (int side = 1; side >= 0; side--) {
        const tn_node_info *inner = tn__made_by(r->g, n->in[side], TN_OP_neg);
        if (inner) return tn__becomes(add_binary(r, TN_OP_sub, n->in[1 - side], inner->in[0]), out);
    }
    return false;
}

/* x − (−y) = x + y */
static bool sub_neg(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[1], TN_OP_neg);
    return inner && tn__becomes(add_binary(r, TN_OP_add, n->in[0], inner->in[0]), out);
}

/* exp(log x) = x for x ≥ 0, rounded twice less */
static bool exp_log(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], TN_OP_log);
    return inner && tn__becomes(inner->in[0], out);
}

/* log(exp x) = x where eˣ does not overflow */
static bool log_exp(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], TN_OP_exp);
    return inner && tn__becomes(inner->in[0], out);
}

static bool is_used_once(const tn_rewriter *r, tn_value v) {
    return v < r->uses.len && r->uses.data[v] == 1;
}

/* Whether u = x + s·x³, as in GELU. */
static bool is_cubic(const tn_rewriter *r, tn_value u, tn_value *x, tn_cell *s) {
    const tn_node_info *sum = tn__made_by(r->g, u, TN_OP_add);
    for (int side = 0; sum && side < 2; side++) {
        const tn_node_info *scaled = tn__made_by(r->g, sum->in[1 - side], TN_OP_mul);
        if (!scaled || !tn__splat(r->g, scaled->in[1], s)) continue;
        *x = sum->in[side];
        const tn_node_info *cube = tn__made_by(r->g, scaled->in[0], TN_OP_mul);
        for (int i = 0; cube && i < 2; i++) {
            const tn_node_info *square = tn__made_by(r->g, cube->in[i], TN_OP_mul);
            if (square && cube->in[1 - i] == *x && square->in[0] == *x && square->in[1] == *x)
                return true;
        }
    }
    return false;
}

/* −2u: a constant factor of u takes the 2, and s·(x + c·x³) becomes x·(s + (s·c)·x²), which takes an
 * operation less. */
static tn_value minus_twice(tn_rewriter *r, tn_value u) {
    tn_type type = *tn_graph_type(r->g, u);
    const tn_node_info *product = tn__made_by(r->g, u, TN_OP_mul);
    tn_cell factor = {.f = 1}, third;
    tn_value x;
    if (product && tn__splat(r->g, product->in[1], &factor)) u = product->in[0];
    tn_value scale = tn__full(&r->b, &type, (tn_cell){.f = -2 * factor.f});
    if (!is_cubic(r, u, &x, &third)) return add_binary(r, TN_OP_mul, u, scale);
    tn_value cubic = tn__full(&r->b, &type, (tn_cell){.f = -2 * factor.f * third.f});
    tn_value square = add_binary(r, TN_OP_mul, x, x);
    tn_value sum = add_binary(r, TN_OP_add, add_binary(r, TN_OP_mul, square, cubic), scale);
    return add_binary(r, TN_OP_mul, x, sum);
}

/* (x·½)·(1 + tanh u) = x / (1 + e^(−2u)) and (1 + tanh u)·½ = 1 / (1 + e^(−2u)), where nothing else reads
 * the tanh: fewer instructions, and no digits cancel where tanh u is near −1 */
static bool half_tanh_gate(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    for (int side = 0; side < 2 && dtype_of(r, n) == TN_f32; side++) {
        tn_value one, x = n->in[1 - side];
        const tn_node_info *sum = tn__made_by(r->g, n->in[side], TN_OP_add);
        const tn_node_info *tanh = sum ? tn__made_by(r->g, sum->in[0], TN_OP_tanh) : NULL;
        const tn_node_info *half = tn__made_by(r->g, x, TN_OP_mul);
        bool alone = tn__splat_is(r->g, x, 0.5);
        if (!tanh || !tn__splat_is(r->g, sum->in[1], 1)) continue;
        if (!is_used_once(r, tanh->out) || !is_used_once(r, sum->out)) continue;
        if (!alone && (!half || !tn__splat_is(r->g, half->in[1], 0.5))) continue;
        if (!becomes_full(r, n, 1, &one)) continue;
        tn_value power = add_unary(r, TN_OP_exp, minus_twice(r, tanh->in[0]));
        tn_value divisor = add_binary(r, TN_OP_add, power, one);
        return tn__becomes(add_binary(r, TN_OP_div, alone ? one : half->in[0], divisor), out);
    }
    return false;
}

/* ---- powers --------------------------------------------------------------------------------- */

/* x⁰ = 1 (of NaN too), x¹ = x, x² = x·x, x³ = x·x·x, x⁻¹ = 1/x: within the 2 ULP that pow itself is
 * allowed */
static bool pow_small(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    tn_value x = n->in[0];
    if (tn__splat_is(r->g, n->in[1], 0)) return becomes_full(r, n, 1, out);
    if (tn__splat_is(r->g, n->in[1], 1)) return tn__becomes(x, out);
    if (tn__splat_is(r->g, n->in[1], 2)) return tn__becomes(add_binary(r, TN_OP_mul, x, x), out);
    if (tn__splat_is(r->g, n->in[1], 3))
        return tn__becomes(add_binary(r, TN_OP_mul, add_binary(r, TN_OP_mul, x, x), x), out);
    if (!is_float(r, n) || !tn__splat_is(r->g, n->in[1], -1)) return false;
    tn_value one;
    return becomes_full(r, n, 1, &one) && tn__becomes(add_binary(r, TN_OP_div, one, x), out);
}

/* √x for x^½: differs at −0 and −∞ */
static bool pow_half(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    return tn__splat_is(r->g, n->in[1], 0.5) &&
           tn__becomes(add_unary(r, TN_OP_sqrt, n->in[0]), out);
}

/* ---- quotients ------------------------------------------------------------------------------ */

static bool reciprocal(const tn_rewriter *r, const tn_node_info *n, tn_cell *out) {
    tn_dtype dtype = dtype_of(r, n);
    if (!tn_dtype_is_float(dtype) || !tn__splat(r->g, n->in[1], out)) return false;
    *out = tn_cell_round(dtype, (tn_cell){.f = 1 / out->f});
    return isfinite(out->f) && out->f != 0;
}

/* x / s = x · (1/s) exactly, when s is a power of two and 1/s a number of the type */
static bool div_power_of_two(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    tn_cell s, inverse;
    int exponent;
    if (!reciprocal(r, n, &inverse) || !tn__splat(r->g, n->in[1], &s)) return false;
    if (fabs(frexp(s.f, &exponent)) != 0.5 || s.f * inverse.f != 1) return false;
    tn_type type = *tn_graph_type(r->g, n->out);
    return tn__becomes(add_binary(r, TN_OP_mul, n->in[0], tn__full(&r->b, &type, inverse)), out);
}

/* x / s ≈ x · (1/s) */
static bool div_constant(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    tn_cell inverse;
    if (!reciprocal(r, n, &inverse)) return false;
    tn_type type = *tn_graph_type(r->g, n->out);
    return tn__becomes(add_binary(r, TN_OP_mul, n->in[0], tn__full(&r->b, &type, inverse)), out);
}

/* x / √y ≈ x · rsqrt(y) */
static bool div_sqrt(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *root = tn__made_by(r->g, n->in[1], TN_OP_sqrt);
    if (!root) return false;
    tn_value inverse = add_unary(r, TN_OP_rsqrt, root->in[0]);
    return tn__becomes(add_binary(r, TN_OP_mul, n->in[0], inverse), out);
}

/* ---- order of operands ---------------------------------------------------------------------- */

/* c ∘ x = x ∘ c for commutative ∘: rows look for constants on the right */
static bool constant_right(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    if (!tn__is_constant(r->g, n->in[0]) || tn__is_constant(r->g, n->in[1])) return false;
    return tn__becomes(add_binary(r, n->op, n->in[1], n->in[0]), out);
}

static tn_value combine_constants(tn_rewriter *r, const tn_node_info *n, tn_value a, tn_value b) {
    tn_cell p, q;
    tn_scalar_op scalar;
    bool named = tn_scalar_parse(tn_op_info_of(n->op)->name, &scalar);
    if (!named || !tn__splat(r->g, a, &p) || !tn__splat(r->g, b, &q))
        return add_binary(r, n->op, a, b);
    tn_type type = *tn_graph_type(r->g, n->out);
    return tn__full(&r->b, &type, tn_scalar_apply(scalar, type.dtype, p, q, (tn_cell){.u = 0}));
}

/* (x ∘ c) ∘ d = x ∘ (c ∘ d) for associative ∘ */
static bool reassociate(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], n->op);
    if (!inner || !tn__is_constant(r->g, n->in[1]) || !tn__is_constant(r->g, inner->in[1]) ||
        tn__is_constant(r->g, inner->in[0]))
        return false;
    tn_value x = inner->in[0];
    tn_value c = combine_constants(r, n, inner->in[1], n->in[1]);
    return tn__becomes(add_binary(r, n->op, x, c), out);
}

static const tn_rewrite rows[] = {
    {"add_constant_right", TN_OP_add, constant_right, false},
    {"mul_constant_right", TN_OP_mul, constant_right, false},
    {"max_constant_right", TN_OP_max, constant_right, false},
    {"min_constant_right", TN_OP_min, constant_right, false},
    {"and_constant_right", TN_OP_and, constant_right, false},
    {"or_constant_right", TN_OP_or, constant_right, false},
    {"xor_constant_right", TN_OP_xor, constant_right, false},
    {"add_zero", TN_OP_add, add_zero, false},
    {"add_positive_zero", TN_OP_add, add_positive_zero, true},
    {"sub_zero", TN_OP_sub, sub_zero, false},
    {"sub_self", TN_OP_sub, sub_self, true},
    {"mul_one", TN_OP_mul, right_one, false},
    {"div_one", TN_OP_div, right_one, false},
    {"mul_zero", TN_OP_mul, mul_zero, true},
    {"mul_minus_one", TN_OP_mul, mul_minus_one, false},
    {"max_self", TN_OP_max, same_operands, false},
    {"min_self", TN_OP_min, same_operands, false},
    {"and_self", TN_OP_and, same_operands, false},
    {"or_self", TN_OP_or, same_operands, false},
    {"neg_neg", TN_OP_neg, involution, false},
    {"not_not", TN_OP_not, involution, false},
    {"abs_abs", TN_OP_abs, abs_abs, false},
    {"abs_neg", TN_OP_abs, abs_neg, false},
    {"add_neg", TN_OP_add, add_neg, false},
    {"sub_neg", TN_OP_sub, sub_neg, false},
    {"exp_log", TN_OP_exp, exp_log, true},
    {"log_exp", TN_OP_log, log_exp, true},
    {"half_tanh_gate", TN_OP_mul, half_tanh_gate, false},
    {"pow_small", TN_OP_pow, pow_small, false},
    {"pow_half", TN_OP_pow, pow_half, true},
    {"div_power_of_two", TN_OP_div, div_power_of_two, false},
    {"div_constant", TN_OP_div, div_constant, true},
    {"div_sqrt", TN_OP_div, div_sqrt, true},
    {"add_reassociate", TN_OP_add, reassociate, true},
    {"mul_reassociate", TN_OP_mul, reassociate, true},
    {"max_reassociate", TN_OP_max, reassociate, false},
    {"min_reassociate", TN_OP_min, reassociate, false},
    {"and_reassociate", TN_OP_and, reassociate, false},
    {"or_reassociate", TN_OP_or, reassociate, false},
    {"xor_reassociate", TN_OP_xor, reassociate, false},
};
const tn_rewrite_table tn__rewrites_arithmetic = {rows, TN_COUNT(rows)};
