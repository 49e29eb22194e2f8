/* view(f(conv(x), y)) = f(view(conv(x)), view(y)). See raise.h. */
#include "transform/raise.h"

#include "transform/match.h"

enum { MAX_WALKS = 8, MAX_DEPTH = 16 };

/* Whether `v` is a grouped convolution's result behind pointwise work and views of its own. */
static bool leads_to_grouped(const tn_rewriter *r, tn_value v, int depth) {
    const tn_node_info *n = tn_graph_producer(r->g, v);
    if (n->op == TN_OP_conv) return ((const tn_attrs_conv *)n->attrs)->batch > 0;
    bool passes = tn__is_elementwise(n->op) || n->op == TN_OP_permute || n->op == TN_OP_reshape;
    if (!passes || depth > MAX_DEPTH || r->uses.data[v] != 1) return false;
    for (uint32_t i = 0; i < n->in_count; i++)
        if (leads_to_grouped(r, n->in[i], depth + 1)) return true;
    return false;
}

static bool raise_view(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    tn_value y = n->in[0];
    const tn_node_info f = *tn_graph_producer(r->g, y);
    if (!tn__is_elementwise(f.op) || r->uses.data[y] != 1) return false;
    if (!leads_to_grouped(r, y, 0)) return false;
    tn_value in[3];
    for (uint32_t i = 0; i < f.in_count; i++)
        in[i] = n->op == TN_OP_permute
                    ? tn__permuted(&r->b, f.in[i], &((const tn_attrs_permute *)n->attrs)->perm)
                    : tn_b_reshape(&r->b, f.in[i], &((const tn_attrs_reshape *)n->attrs)->shape);
    *out = tn_b_node(&r->b, f.op, in, f.in_count, f.attrs);
    return tn_b_ok(&r->b);
}

static const tn_rewrite rows[] = {
    {"raise_permute", TN_OP_permute, raise_view, false},
    {"raise_reshape", TN_OP_reshape, raise_view, false},
};
const tn_rewrite_table tn__rewrites_raise = {rows, TN_COUNT(rows)};

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err) {
    return tn__rewrite(in, out, &tn__rewrites_raise, 1, MAX_WALKS, run, options, err);
}

const tn_pass tn_pass_raise = {"raise", run};
