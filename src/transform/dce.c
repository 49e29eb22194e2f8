/* Dead code elimination. See dce.h. */
#include "transform/dce.h"

/* What is live keeps the nodes that bind its sizes. Users come after these. */
static void keep_sizes(const tn_graph *in, const tn_node_info *n, const uint32_t *bound, bool *used,
                       bool *live) {
    tn_graph_mark_symbols(in, n, used);
    for (uint32_t s = 0; s < in->dims->symbols.len; s++)
        if (used[s] && bound[s]) live[bound[s] - 1] = true;
}

static bool *find_live(const tn_graph *in) {
    bool *live = TN_NEW_N(in->arena, bool, in->nodes.len);
    const uint32_t *bound = tn_graph_bound_sizes(in, in->arena);
    bool *used = TN_NEW_N(in->arena, bool, in->dims->symbols.len);
    for (uint32_t i = 0; i < in->outputs.len; i++)
        live[tn_graph_value(in, in->outputs.data[i].value)->node] = true;
    for (tn_node n = in->nodes.len; n-- > 0;) {
        const tn_node_info *node = tn_graph_node(in, n);
        if (node->op == TN_OP_input) live[n] = true;
        for (uint32_t i = 0; live[n] && i < node->in_count; i++)
            live[tn_graph_value(in, node->in[i])->node] = true;
        if (live[n] && bound) keep_sizes(in, node, bound, used, live);
    }
    return live;
}

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err) {
    const bool *live = find_live(in);
    tn_value *map = TN_NEW_N(in->arena, tn_value, in->values.len);
    for (tn_node n = 0; n < in->nodes.len; n++)
        if (live[n]) TN_CHECK(tn__pass_copy_node(in, out, n, map, run, options, err));
    tn__pass_copy_outputs(in, out, map);
    return TN_OK;
}

const tn_pass tn_pass_dce = {"dce", run};
