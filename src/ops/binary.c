/* Binary element-wise operations: z[i] = op(x[i], y[i]) with the meaning of scalar.def.
 *
 * Operands have one shape and type (the builder broadcasts). A row gives the operation and the two
 * cotangents from x, y, z and d, the cotangent of z; that of a constant operand is not built. */
#include "ops/ops_common.h"

static tn_scalar_op scalar_of(tn_op op) {
    switch (op) {
#define R(name)                                                                                    \
    case TN_OP_##name:                                                                             \
        return TN_S_##name;
        TN_B_BINARY(R)
#undef R
    default:
        TN_BUG("'%s' is no binary operation", tn_op_info_of(op)->name);
    }
}

static tn_status infer_binary(tn_infer *i, tn_error *err) {
    tn_scalar_op op = scalar_of(i->op);
    for (uint32_t k = 0; k < 2; k++)
        if (!tn_scalar_accepts(op, i->in[k]->dtype))
            return tn_infer_refuse(i, k, err, "expected %s", tn_scalar_domain(op));
    TN_CHECK(tn_infer_same_type(i, 1, 0, err));
    tn_infer_out(i, 0, tn_scalar_gives_flag(op) ? TN_bool : i->in[0]->dtype, i->in[0]->shape);
    return TN_OK;
}

static tn_status eval_binary(tn_eval_call *e, tn_error *err) {
    const tn_array *x = &e->in[0], *y = &e->in[1];
    tn_scalar_op op = scalar_of(e->node->op);
    int64_t count = tn_array_count(x);
    (void)err;
    for (int64_t i = 0; i < count; i++) {
        tn_cell z =
            tn_scalar_apply(op, x->dtype, tn_array_get(x, i), tn_array_get(y, i), (tn_cell){0});
        tn_array_set(&e->out[0], i, z);
    }
    return TN_OK;
}

static tn_lx lower_binary(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index) {
    (void)result;
    tn_lx x = e->operand(e, n, 0, index);
    return tn_l_op2(e->k, scalar_of(n->op), x, e->operand(e, n, 1, index));
}

/* x·y and x/y are linear in x alone: x may be a partial sum where y is replicated. */
static bool shard_mul(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    bool first = s->in[0] == TN_PLACE_PARTIAL && s->in[1] == TN_PLACE_REPLICATED;
    bool second = s->in[1] == TN_PLACE_PARTIAL && s->in[0] == TN_PLACE_REPLICATED;
    if (!first && !(second && n->op == TN_OP_mul)) return tn_shard_elementwise(g, n, s);
    s->out[0] = TN_PLACE_PARTIAL;
    return true;
}

#define RULES(name, vjp_rule, shard_rule)                                                          \
    const tn_op_rules tn_rules_##name = {                                                          \
        .infer = infer_binary,                                                                     \
        .eval = eval_binary,                                                                       \
        .cost = tn_cost_elementwise,                                                               \
        .lower = TN_LOWER_BY(lower_binary),                                                        \
        .vjp = TN_RULE(vjp_rule),                                                                  \
        .batch = TN_RULE(tn_batch_elementwise),                                                    \
        .shard = TN_RULE(shard_rule),                                                              \
    };

/* ---- smooth operations ---------------------------------------------------------------------- */

static bool is_constant(const tn_builder *b, tn_value v) {
    if (!tn_b_ok(b)) return true;
    const tn_node_info *n = tn_graph_producer(b->graph, v);
    if (n->op == TN_OP_broadcast) n = tn_graph_producer(b->graph, n->in[0]);
    return n->op == TN_OP_constant;
}

static tn_value where(tn_builder *b, tn_value flag, tn_value value) {
    return tn_b_select(b, flag, value, tn_b_full_like(b, value, 0));
}

/* x rem y = x - y·trunc(x / y) */
static tn_value rem_slope(tn_builder *b, tn_value x, tn_value y) {
    tn_value q = tn_b_div(b, x, y);
    tn_value whole = tn_b_floor(b, tn_b_abs(b, q));
    return tn_b_mul(b, tn_b_sign(b, q), whole);
}

/* y·x^(y-1), 0 where y is 0 whatever x is */
static tn_value pow_base_slope(tn_builder *b, tn_value x, tn_value y) {
    tn_value slope = tn_b_mul(b, y, tn_b_pow(b, x, tn_b_add_scalar(b, y, -1)));
    return where(b, tn_b_ne(b, y, tn_b_full_like(b, y, 0)), slope);
}

/* x^y·log(x), 0 where x is 0: there 0^y is flat for y > 0 */
static tn_value pow_exponent_slope(tn_builder *b, tn_value x, tn_value y, tn_value z) {
    tn_value none = tn_b_full_like(b, x, 0), zero = tn_b_eq(b, x, none);
    zero = tn_b_and(b, zero, tn_b_ge(b, y, none));
    tn_value base = tn_b_select(b, zero, tn_b_full_like(b, x, 1), x);
    return tn_b_mul(b, z, tn_b_log(b, base));
}

/* v / (x² + y²) */
static tn_value over_squares(tn_builder *b, tn_value v, tn_value x, tn_value y) {
    tn_value xx = tn_b_mul(b, x, x);
    return tn_b_div(b, v, tn_b_add(b, xx, tn_b_mul(b, y, y)));
}

/* d where `wins` (a comparison of x and y) holds, half of it where both are the extreme value. */
static tn_value extreme_share(tn_builder *b, tn_value wins, tn_value x, tn_value y, tn_value d) {
    tn_value ties = tn_b_eq(b, x, y);
    tn_value half = where(b, ties, tn_b_mul_scalar(b, d, 0.5));
    return tn_b_select(b, wins, d, half);
}

#define SMOOTH(name, shard_rule, cotangent_x, cotangent_y)                                         \
    static void vjp_##name(tn_builder *b, const tn_graph *g, const tn_node_info *n,                \
                           const tn_value *in, const tn_value *out, const tn_value *cotangents,    \
                           tn_value *grads) {                                                      \
        tn_value x = in[0], y = in[1], z = out[0], d = cotangents[0];                              \
        (void)g, (void)n, (void)z;                                                                 \
        grads[0] = grads[1] = TN_NO_VALUE;                                                         \
        if (d == TN_NO_VALUE) return;                                                              \
        if (!is_constant(b, x)) grads[0] = (cotangent_x);                                          \
        if (!is_constant(b, y)) grads[1] = (cotangent_y);                                          \
    }                                                                                              \
    RULES(name, vjp_##name, shard_rule)

#define S tn_shard_elementwise
/* clang-format off */
SMOOTH(add, tn_shard_linear, d, d)
SMOOTH(sub, tn_shard_linear, d, tn_b_neg(b, d))
SMOOTH(mul, shard_mul, tn_b_mul(b, d, y), tn_b_mul(b, d, x))
SMOOTH(div, shard_mul, tn_b_div(b, d, y), tn_b_neg(b, tn_b_mul(b, d, tn_b_div(b, z, y))))
SMOOTH(rem, S, d, tn_b_neg(b, tn_b_mul(b, d, rem_slope(b, x, y))))
SMOOTH(pow, S, tn_b_mul(b, d, pow_base_slope(b, x, y)), tn_b_mul(b, d, pow_exponent_slope(b, x, y, z)))
SMOOTH(atan2, S, over_squares(b, tn_b_mul(b, d, y), x, y),
       tn_b_neg(b, over_squares(b, tn_b_mul(b, d, x), x, y)))
SMOOTH(max, S, extreme_share(b, tn_b_gt(b, x, y), x, y, d), extreme_share(b, tn_b_gt(b, y, x), x, y, d))
SMOOTH(min, S, extreme_share(b, tn_b_lt(b, x, y), x, y, d), extreme_share(b, tn_b_lt(b, y, x), x, y, d))

/* ---- bits and comparisons ------------------------------------------------------------------- */

RULES(and, tn_vjp_none, S)
RULES(or,  tn_vjp_none, S)
RULES(xor, tn_vjp_none, S)
RULES(shl, tn_vjp_none, S)
RULES(shr, tn_vjp_none, S)
RULES(eq,  tn_vjp_none, S)
RULES(ne,  tn_vjp_none, S)
RULES(lt,  tn_vjp_none, S)
RULES(le,  tn_vjp_none, S)
RULES(gt,  tn_vjp_none, S)
RULES(ge,  tn_vjp_none, S)
/* clang-format on */
