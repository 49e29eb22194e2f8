/* Permuting narrow values. See narrow_permute.h. */
#include "transform/narrow_permute.h"

#include "transform/match.h"

/* Of each value: how many nodes and outputs read it; whether it is made of a product by pointwise work and
 * views. What is not is seldom in memory before the permute. */
typedef struct facts {
    uint32_t *nodes, *outputs;
    bool *product;
} facts;

static bool passes_on(tn_op op) {
    return tn__is_elementwise(op) || op == TN_OP_permute || op == TN_OP_reshape;
}

static facts find_facts(const tn_graph *g) {
    facts r = {TN_NEW_N(g->arena, uint32_t, g->values.len),
               TN_NEW_N(g->arena, uint32_t, g->values.len),
               TN_NEW_N(g->arena, bool, g->values.len)};
    for (tn_node k = 0; k < g->nodes.len; k++) {
        const tn_node_info *n = tn_graph_node(g, k);
        bool product = n->op == TN_OP_conv || n->op == TN_OP_dot;
        for (uint32_t i = 0; i < n->in_count; i++) {
            r.nodes[n->in[i]]++;
            product |= passes_on(n->op) && r.product[n->in[i]];
        }
        if (n->out_count == 1) r.product[n->out] = product;
    }
    for (uint32_t i = 0; i < g->outputs.len; i++) r.outputs[g->outputs.data[i].value]++;
    return r;
}

static int bits_of(const tn_graph *g, tn_value v) {
    return tn_dtype_bits(tn_graph_type(g, v)->dtype);
}

/* The narrowest value that `v` is made of element by element by nothing else's work, the last such; `v`
 * itself where none is narrower. */
static tn_value narrowest(const tn_graph *g, const facts *r, tn_value v) {
    tn_value best = v;
    for (;;) {
        if (r->nodes[v] != 1 || r->outputs[v]) return best;
        v = tn__only_operand(g, tn_graph_producer(g, v));
        if (v == TN_NO_VALUE) return best;
        if (bits_of(g, v) < bits_of(g, best)) best = v;
    }
}

/* `v` made anew of permute(barrier(`from`)), which is stored. */
static tn_value permuted_from(tn_builder *b, const tn_graph *in, const tn_value *map, tn_value v,
                              tn_value from, const tn_ints *perm) {
    const tn_node_info *n = tn_graph_producer(in, v);
    if (tn__is_layout_free(in, v)) return tn__permuted(b, map[v], perm);
    if (v == from) return tn__permuted(b, tn_b_node(b, TN_OP_barrier, &map[v], 1, NULL), perm);
    tn_value *operand = TN_NEW_N(in->arena, tn_value, n->in_count);
    for (uint32_t i = 0; i < n->in_count; i++)
        operand[i] = permuted_from(b, in, map, n->in[i], from, perm);
    return tn_b_node(b, n->op, operand, n->in_count, n->attrs);
}

/* A permute of a wide value to another last axis, which only outputs read; *from: what to permute. */
static bool find(const tn_graph *g, const facts *r, const tn_node_info *n, tn_value *from) {
    if (n->op != TN_OP_permute || r->nodes[n->out] || !r->outputs[n->out]) return false;
    const tn_ints *perm = &((const tn_attrs_permute *)n->attrs)->perm;
    if (perm->at[perm->count - 1] == perm->count - 1) return false;
    *from = narrowest(g, r, n->in[0]);
    return *from != n->in[0] && r->product[*from];
}

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err) {
    tn_value *map = TN_NEW_N(in->arena, tn_value, in->values.len), from;
    facts r = find_facts(in);
    for (tn_node node = 0; node < in->nodes.len; node++) {
        const tn_node_info *n = tn_graph_node(in, node);
        if (!find(in, &r, n, &from)) {
            TN_CHECK(tn__pass_copy_node(in, out, node, map, run, options, err));
            continue;
        }
        tn_builder b = tn_builder_of(out, err);
        b.name = n->name;
        map[n->out] =
            permuted_from(&b, in, map, n->in[0], from, &((const tn_attrs_permute *)n->attrs)->perm);
        TN_CHECK(tn_b_finish(&b));
        tn__pass_keep_name(in, n->out, out, map[n->out]);
    }
    tn__pass_copy_outputs(in, out, map);
    return TN_OK;
}

const tn_pass tn_pass_narrow_permute = {"narrow_permute", run};
