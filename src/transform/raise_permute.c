/* Moving permutes up to products. See raise_permute.h. */
#include "transform/raise_permute.h"

#include "ir/rules.h"
#include "transform/match.h"

/* Whether every reader of `v` needs it in memory as it is: `v` is an output, or read by control flow. */
static bool is_stored(const tn_graph *g, tn_value v) {
    uint32_t readers = 0;
    for (uint32_t i = 0; i < g->outputs.len; i++) readers += g->outputs.data[i].value == v;
    for (tn_node k = tn_graph_value(g, v)->node + 1; k < g->nodes.len; k++) {
        const tn_node_info *n = tn_graph_node(g, k);
        for (uint32_t i = 0; i < n->in_count; i++) {
            if (n->in[i] != v) continue;
            if (tn_op_rules_of(n->op)->lower.kind != TN_LOWER_CONTROL) return false;
            readers++;
        }
    }
    return readers > 0;
}

/* Whether `v` is a product of matrices whose columns are its last axis. */
static bool has_columns(const tn_graph *g, tn_value v) {
    const tn_node_info *n = tn__made_by(g, v, TN_OP_dot);
    if (!n) return false;
    const tn_attrs_dot *a = n->attrs;
    return tn_node_type(g, n, 1)->shape.rank > a->rhs_batch.count + a->rhs_contract.count;
}

/* The product that `v` is made of by pointwise work alone, of which nothing else is read; NO_VALUE: it is
 * not so. */
static tn_value product_of(const tn_graph *g, const uint32_t *uses, tn_value v) {
    while (v != TN_NO_VALUE && uses[v] == 1 && !has_columns(g, v))
        v = tn__only_operand(g, tn_graph_producer(g, v));
    return v != TN_NO_VALUE && uses[v] == 1 ? v : TN_NO_VALUE;
}

static bool find(const tn_graph *g, const uint32_t *uses, const tn_node_info *n,
                 tn_value *product) {
    if (n->op != TN_OP_permute) return false;
    const tn_ints *perm = &((const tn_attrs_permute *)n->attrs)->perm;
    if (perm->count == 0 || perm->at[perm->count - 1] != perm->count - 1) return false;
    *product = product_of(g, uses, n->in[0]);
    return *product != TN_NO_VALUE && *product != n->in[0] && is_stored(g, n->out);
}

/* `v` made anew of permute(`product`). */
static tn_value raised(tn_builder *b, const tn_graph *in, const tn_value *map, tn_value v,
                       tn_value product, const tn_ints *perm) {
    const tn_node_info *n = tn_graph_producer(in, v);
    if (v == product || tn__is_layout_free(in, v)) return tn__permuted(b, map[v], perm);
    tn_value *operand = TN_NEW_N(in->arena, tn_value, n->in_count);
    for (uint32_t i = 0; i < n->in_count; i++)
        operand[i] = raised(b, in, map, n->in[i], product, perm);
    b->name = n->name;
    return tn_b_node(b, n->op, operand, n->in_count, n->attrs);
}

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err) {
    tn_value *map = TN_NEW_N(in->arena, tn_value, in->values.len), product;
    const uint32_t *uses = tn_graph_use_counts(in, in->arena);
    for (tn_node node = 0; node < in->nodes.len; node++) {
        const tn_node_info *n = tn_graph_node(in, node);
        if (!find(in, uses, n, &product)) {
            TN_CHECK(tn__pass_copy_node(in, out, node, map, run, options, err));
            continue;
        }
        tn_builder b = tn_builder_of(out, err);
        const tn_ints *perm = &((const tn_attrs_permute *)n->attrs)->perm;
        map[n->out] = raised(&b, in, map, n->in[0], product, perm);
        TN_CHECK(tn_b_finish(&b));
        tn__pass_keep_name(in, n->out, out, map[n->out]);
    }
    tn__pass_copy_outputs(in, out, map);
    return TN_OK;
}

const tn_pass tn_pass_raise_permute = {"raise_permute", run};
