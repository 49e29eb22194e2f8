/* Rewrites of dot: it takes its operands' axes in any order, so permutes of them vanish. */
#include "transform/match.h"

static bool is_free(int64_t axis, const tn_ints *batch, const tn_ints *contract) {
    return !tn__ints_have(batch, axis) && !tn__ints_have(contract, axis);
}

static tn_ints mapped(const tn_ints *axes, const tn_ints *perm) {
    tn_ints out = {.count = axes->count};
    for (int i = 0; i < axes->count; i++) out.at[i] = perm->at[axes->at[i]];
    return out;
}

/* The order of the operand's free axes in the old result, in terms of those in the new one. */
static tn_ints free_order(const tn_ints *perm, const tn_ints *batch, const tn_ints *contract) {
    tn_ints order = {0};
    for (int i = 0; i < perm->count; i++) {
        int64_t axis = perm->at[i], place = 0;
        if (!is_free(i, batch, contract)) continue;
        for (int k = 0; k < perm->count; k++)
            if (is_free(k, batch, contract) && perm->at[k] < axis) place++;
        order.at[order.count++] = place;
    }
    return order;
}

/* dot(permute(x), y) with the axes of x, and a permute of the result if free axes change order */
static bool absorb(tn_rewriter *r, const tn_node_info *n, int side, tn_value *out) {
    const tn_node_info *inner = tn__made_by(r->g, n->in[side], TN_OP_permute);
    if (!inner) return false;
    const tn_ints *perm = &((const tn_attrs_permute *)inner->attrs)->perm;
    tn_attrs_dot a = *(const tn_attrs_dot *)n->attrs;
    tn_ints *batch = side ? &a.rhs_batch : &a.lhs_batch;
    tn_ints *contract = side ? &a.rhs_contract : &a.lhs_contract;
    tn_ints order = free_order(perm, batch, contract);
    *batch = mapped(batch, perm);
    *contract = mapped(contract, perm);
    tn_value in[] = {n->in[0], n->in[1]};
    in[side] = inner->in[0];
    tn_value y = tn_b_node(&r->b, TN_OP_dot, in, 2, &a);
    int rank = tn__shape_of(r->g, n->out)->rank;
    int begin = side ? rank - order.count : a.lhs_batch.count;
    tn_ints whole = {.count = rank};
    for (int i = 0; i < rank; i++)
        whole.at[i] = i >= begin && i < begin + order.count ? begin + order.at[i - begin] : i;
    return tn__becomes(tn__permuted(&r->b, y, &whole), out);
}

static bool dot_permute_lhs(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    return absorb(r, n, 0, out);
}

static bool dot_permute_rhs(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    return absorb(r, n, 1, out);
}

static const tn_rewrite rows[] = {
    {"dot_permute_lhs", TN_OP_dot, dot_permute_lhs, false},
    {"dot_permute_rhs", TN_OP_dot, dot_permute_rhs, false},
};
const tn_rewrite_table tn__rewrites_contract = {rows, TN_COUNT(rows)};
