/* Rewrites of control operations: a sub-graph that surely runs once becomes part of the graph. */
#include "transform/match.h"

/* Copies the nodes of `sub` with its inputs replaced; false after an error. */
static bool inline_graph(tn_rewriter *r, const tn_graph *sub, const tn_value *in, tn_value *out) {
    tn_value *map = TN_NEW_N(r->g->arena, tn_value, sub->values.len);
    for (uint32_t i = 0; i < sub->inputs.len; i++) map[sub->inputs.data[i]] = in[i];
    for (tn_node n = 0; n < sub->nodes.len && tn_b_ok(&r->b); n++)
        if (tn_graph_node(sub, n)->op != TN_OP_input)
            r->b.status = tn_graph_copy_node(r->g, sub, n, map, NULL, r->b.err);
    for (uint32_t i = 0; i < sub->outputs.len; i++) out[i] = map[sub->outputs.data[i].value];
    return tn_b_ok(&r->b);
}

/* if with a constant flag = the branch taken */
static bool if_constant(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_attrs_if *a = n->attrs;
    tn_cell flag;
    if (!tn__splat(r->g, n->in[0], &flag)) return false;
    return inline_graph(r, flag.u ? a->then_graph : a->else_graph, n->in + 1, out);
}

static bool call_inline(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    return inline_graph(r, ((const tn_attrs_call *)n->attrs)->body, n->in, out);
}

/* custom = its body: gradients are nodes by now */
static bool custom_inline(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    return inline_graph(r, ((const tn_attrs_custom *)n->attrs)->body, n->in, out);
}

static const tn_rewrite rows[] = {
    {"if_constant", TN_OP_if, if_constant, false},
    {"call_inline", TN_OP_call, call_inline, false},
    {"custom_inline", TN_OP_custom, custom_inline, false},
};
const tn_rewrite_table tn__rewrites_control = {rows, TN_COUNT(rows)};
