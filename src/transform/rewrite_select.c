/* Rewrites of select and cast. */
#include "transform/match.h"

/* f ? x : x = x */
static bool select_same(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    (void)r;
    return n->in[1] == n->in[2] && tn__becomes(n->in[1], out);
}

/* true ? x : y = x; false ? x : y = y */
static bool select_constant(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    tn_cell flag;
    return tn__splat(r->g, n->in[0], &flag) && tn__becomes(flag.u ? n->in[1] : n->in[2], out);
}

/* not f ? x : y = f ? y : x */
static bool select_not(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], TN_OP_not);
    if (!inner) return false;
    tn_value in[] = {inner->in[0], n->in[2], n->in[1]};
    return tn__becomes(tn_b_node(&r->b, TN_OP_select, in, 3, NULL), out);
}

/* cast to the type it has */
static bool cast_same(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_attrs_cast *a = n->attrs;
    return tn_node_type(r->g, n, 0)->dtype == a->dtype && tn__becomes(n->in[0], out);
}

/* Significand bits, the hidden one included, of types that hold the integers up to 2^bits. */
static int exact_integer_bits(tn_dtype dtype) {
    switch (dtype) {
    case TN_f64:
        return 53;
    case TN_f32:
        return 24;
    case TN_f16:
        return 11;
    case TN_bf16:
        return 8;
    default:
        return 0;
    }
}

/* Whether every value of float type `from` is one of float type `to`. */
static bool float_fits(tn_dtype from, tn_dtype to) {
    switch (to) {
    case TN_f64:
        return true;
    case TN_f32:
        return from != TN_f64;
    case TN_bf16:
        return tn_dtype_bits(from) <= 8;
    case TN_f16:
        return tn_dtype_bits(from) <= 8 && from != TN_f8e8m0;
    default:
        return false;
    }
}

/* Whether every value of `from` is one of `to`. */
static bool type_fits(tn_dtype from, tn_dtype to) {
    if (from == to) return true;
    if (tn_dtype_is_float(from)) return tn_dtype_is_float(to) && float_fits(from, to);
    int bits = tn_dtype_bits(from) - (tn_dtype_is_signed(from) ? 1 : 0);
    if (tn_dtype_is_float(to)) return bits <= exact_integer_bits(to);
    if (to == TN_bool) return false;
    if (tn_dtype_is_unsigned(to)) return !tn_dtype_is_signed(from) && bits <= tn_dtype_bits(to);
    return bits <= tn_dtype_bits(to) - 1;
}

/* c(b(x)) = c(x) when type b holds every value of x. Floats saturate where integers wrap, so an
 * integer that passes through a float must fit the last type too. */
static bool cast_cast(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], TN_OP_cast);
    if (!inner) return false;
    tn_value x = inner->in[0];
    tn_dtype from = tn_graph_type(r->g, x)->dtype, between = tn_graph_type(r->g, n->in[0])->dtype;
    tn_dtype to = tn_graph_type(r->g, n->out)->dtype;
    if (!type_fits(from, between)) return false;
    bool saturates = tn_dtype_is_float(between) && tn_dtype_is_integer(to);
    if (saturates && !tn_dtype_is_float(from) && !type_fits(from, to)) return false;
    return tn__becomes(tn_b_node(&r->b, TN_OP_cast, &x, 1, n->attrs), out);
}

static const tn_rewrite rows[] = {
    {"select_same", TN_OP_select, select_same, false},
    {"select_constant", TN_OP_select, select_constant, false},
    {"select_not", TN_OP_select, select_not, false},
    {"cast_same", TN_OP_cast, cast_same, false},
    {"cast_cast", TN_OP_cast, cast_cast, false},
};
const tn_rewrite_table tn__rewrites_select = {rows, TN_COUNT(rows)};
