/* Common subexpression elimination by hash-consing. See cse.h. */
#include "transform/cse.h"

static bool is_unique(tn_op op) {
    return op == TN_OP_input || op == TN_OP_barrier;
}

/* An equal node made before, or false; either way the key is known afterwards. */
static bool find_or_note(const tn_graph *in, const tn_node_info *n, const tn_value *map,
                         tn_map *seen, tn_node *known, tn_node next) {
    tn_value *operands = TN_NEW_N(in->arena, tn_value, n->in_count);
    for (uint32_t i = 0; i < n->in_count; i++) operands[i] = map[n->in[i]];
    size_t size;
    const void *key = tn_graph_node_key(in, n, operands, &size);
    if (tn_map_get(seen, key, size, known)) return true;
    tn_map_put(seen, key, size, next);
    return false;
}

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err) {
    tn_map seen;
    tn_map_init(&seen, in->arena);
    tn_value *map = TN_NEW_N(in->arena, tn_value, in->values.len);
    for (tn_node i = 0; i < in->nodes.len; i++) {
        const tn_node_info *n = tn_graph_node(in, i);
        tn_node known;
        if (is_unique(n->op) || !find_or_note(in, n, map, &seen, &known, out->nodes.len)) {
            TN_CHECK(tn__pass_copy_node(in, out, i, map, run, options, err));
            continue;
        }
        for (uint32_t r = 0; r < n->out_count; r++) {
            map[n->out + r] = tn_graph_node(out, known)->out + r;
            tn__pass_keep_name(in, n->out + r, out, map[n->out + r]);
        }
    }
    tn__pass_copy_outputs(in, out, map);
    return TN_OK;
}

const tn_pass tn_pass_cse = {"cse", run};
