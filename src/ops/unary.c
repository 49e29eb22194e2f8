/* Unary element-wise operations: y[i] = op(x[i]) with the meaning of scalar.def.
 *
 * A row gives the operation and its derivative rule: the cotangent of x from x, y and d, the
 * cotangent of y. Rows without one have integer or flag results, or are flat almost everywhere. */
#include "ops/ops_common.h"

static tn_scalar_op scalar_of(tn_op op) {
    switch (op) {
#define R(name)                                                                                    \
    case TN_OP_##name:                                                                             \
        return TN_S_##name;
        TN_B_UNARY(R)
#undef R
    default:
        TN_BUG("'%s' is no unary operation", tn_op_info_of(op)->name);
    }
}

static tn_status infer_unary(tn_infer *i, tn_error *err) {
    tn_scalar_op op = scalar_of(i->op);
    if (!tn_scalar_accepts(op, i->in[0]->dtype))
        return tn_infer_refuse(i, 0, err, "expected %s", tn_scalar_domain(op));
    tn_infer_out(i, 0, tn_scalar_gives_flag(op) ? TN_bool : i->in[0]->dtype, i->in[0]->shape);
    return TN_OK;
}

static tn_status eval_unary(tn_eval_call *e, tn_error *err) {
    const tn_array *x = &e->in[0];
    tn_scalar_op op = scalar_of(e->node->op);
    int64_t count = tn_array_count(x);
    tn_cell none = {0};
    (void)err;
    for (int64_t i = 0; i < count; i++)
        tn_array_set(&e->out[0], i, tn_scalar_apply(op, x->dtype, tn_array_get(x, i), none, none));
    return TN_OK;
}

static tn_lx lower_unary(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index) {
    (void)result;
    return tn_l_op1(e->k, scalar_of(n->op), e->operand(e, n, 0, index));
}

#define RULES(name, vjp_rule, shard_rule)                                                          \
    const tn_op_rules tn_rules_##name = {                                                          \
        .infer = infer_unary,                                                                      \
        .eval = eval_unary,                                                                        \
        .cost = tn_cost_elementwise,                                                               \
        .lower = TN_LOWER_BY(lower_unary),                                                         \
        .vjp = TN_RULE(vjp_rule),                                                                  \
        .batch = TN_RULE(tn_batch_elementwise),                                                    \
        .shard = TN_RULE(shard_rule),                                                              \
    };

/* ---- smooth operations ---------------------------------------------------------------------- */

/* C leaves the order of arguments open, and graphs must not depend on the compiler: of the
 * arguments of one call, at most one builds nodes. */

static tn_value square(tn_builder *b, tn_value x) {
    return tn_b_mul(b, x, x);
}
/* c + s * x */
static tn_value affine(tn_builder *b, tn_value x, double s, double c) {
    return tn_b_add_scalar(b, s == 1 ? x : s == -1 ? tn_b_neg(b, x) : tn_b_mul_scalar(b, x, s), c);
}
/* 1 - x² as (1 - x)(1 + x), which does not cancel near ±1 */
static tn_value one_minus_square(tn_builder *b, tn_value x) {
    tn_value low = affine(b, x, -1, 1);
    return tn_b_mul(b, low, affine(b, x, 1, 1));
}
static tn_value square_minus_one(tn_builder *b, tn_value x) {
    tn_value low = affine(b, x, 1, -1);
    return tn_b_mul(b, low, affine(b, x, 1, 1));
}
static tn_value one_plus_square(tn_builder *b, tn_value x) {
    return affine(b, square(b, x), 1, 1);
}

#define SMOOTH(name, shard_rule, cotangent)                                                        \
    static void vjp_##name(tn_builder *b, const tn_graph *g, const tn_node_info *n,                \
                           const tn_value *in, const tn_value *out, const tn_value *cotangents,    \
                           tn_value *grads) {                                                      \
        tn_value x = in[0], y = out[0], d = cotangents[0];                                         \
        (void)g, (void)n, (void)x, (void)y;                                                        \
        grads[0] = d == TN_NO_VALUE ? TN_NO_VALUE : (cotangent);                                   \
    }                                                                                              \
    RULES(name, vjp_##name, shard_rule)

#define S tn_shard_elementwise
/* clang-format off */
SMOOTH(neg,   tn_shard_linear, tn_b_neg(b, d))
SMOOTH(abs,   S, tn_b_mul(b, d, tn_b_sign(b, x)))
SMOOTH(exp,   S, tn_b_mul(b, d, y))
SMOOTH(expm1, S, tn_b_mul(b, d, affine(b, y, 1, 1)))
SMOOTH(log,   S, tn_b_div(b, d, x))
SMOOTH(log1p, S, tn_b_div(b, d, affine(b, x, 1, 1)))
SMOOTH(sqrt,  S, tn_b_div(b, tn_b_mul_scalar(b, d, 0.5), y))
SMOOTH(rsqrt, S, tn_b_mul_scalar(b, tn_b_mul(b, d, tn_b_div(b, y, x)), -0.5))
SMOOTH(sin,   S, tn_b_mul(b, d, tn_b_cos(b, x)))
SMOOTH(cos,   S, tn_b_neg(b, tn_b_mul(b, d, tn_b_sin(b, x))))
SMOOTH(tan,   S, tn_b_mul(b, d, one_plus_square(b, y)))
SMOOTH(asin,  S, tn_b_mul(b, d, tn_b_rsqrt(b, one_minus_square(b, x))))
SMOOTH(acos,  S, tn_b_neg(b, tn_b_mul(b, d, tn_b_rsqrt(b, one_minus_square(b, x)))))
SMOOTH(atan,  S, tn_b_div(b, d, one_plus_square(b, x)))
SMOOTH(sinh,  S, tn_b_mul(b, d, tn_b_cosh(b, x)))
SMOOTH(cosh,  S, tn_b_mul(b, d, tn_b_sinh(b, x)))
SMOOTH(asinh, S, tn_b_mul(b, d, tn_b_rsqrt(b, one_plus_square(b, x))))
SMOOTH(acosh, S, tn_b_mul(b, d, tn_b_rsqrt(b, square_minus_one(b, x))))
SMOOTH(atanh, S, tn_b_div(b, d, one_minus_square(b, x)))
SMOOTH(tanh,  S, tn_b_mul(b, d, one_minus_square(b, y)))
/* 2/√π · exp(-x²) */
SMOOTH(erf,   S, tn_b_mul_scalar(b, tn_b_mul(b, d, tn_b_exp(b, tn_b_neg(b, square(b, x)))),
                                 1.1283791670955126))

/* ---- the others ----------------------------------------------------------------------------- */

RULES(sign,     tn_vjp_none, S)
RULES(floor,    tn_vjp_none, S)
RULES(ceil,     tn_vjp_none, S)
RULES(round,    tn_vjp_none, S)
RULES(not,      tn_vjp_none, S)
RULES(is_nan,   tn_vjp_none, S)
RULES(is_inf,   tn_vjp_none, S)
RULES(popcount, tn_vjp_none, S)
/* clang-format on */
