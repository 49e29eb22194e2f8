/* Adding up a graph. See cost.h. */
#include "cli/cost.h"

#include "ir/rules.h"

bool cli_is_weight(const tn_graph *g, const tn_node_info *n) {
    const tn_type *t = tn_graph_type(g, n->out);
    if (n->op != TN_OP_constant || t->dtype == TN_i64 || t->dtype == TN_bool) return false;
    return tn_shape_is_const(&t->shape) && tn_shape_const_count(&t->shape) > 1;
}

static void add_graph(const tn_graph *g, const int64_t *bindings, double trips,
                      cli_graph_cost *out);

static void add_sub_graphs(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                           double trips, cli_graph_cost *out) {
    if (n->op == TN_OP_scan) {
        tn_dim length = ((const tn_attrs_scan *)n->attrs)->length;
        trips *=
            (double)(tn_dim_is_const(length) ? length : tn_dim_eval(g->dims, length, bindings));
    }
    const tn_field *field = tn_op_info_of(n->op)->fields;
    for (; field->kind != TN_FIELD_END; field++) {
        if (field->kind != TN_FIELD_GRAPH) continue;
        const tn_graph *sub;
        memcpy(&sub, (const char *)n->attrs + field->offset, sizeof sub);
        if (sub) add_graph(sub, bindings, trips, out);
    }
}

static void add_weight(const tn_graph *g, const tn_node_info *n, cli_graph_cost *out) {
    const tn_type *t = tn_graph_type(g, n->out);
    uint64_t count = (uint64_t)tn_shape_const_count(&t->shape);
    out->tensors++;
    out->parameters += count;
    out->parameter_bytes += count * tn_dtype_size(t->dtype);
}

static void add_graph(const tn_graph *g, const int64_t *bindings, double trips,
                      cli_graph_cost *out) {
    for (tn_node i = 0; i < g->nodes.len; i++) {
        const tn_node_info *n = tn_graph_node(g, i);
        const tn_op_rules *rules = tn_op_rules_of(n->op);
        if (cli_is_weight(g, n)) add_weight(g, n, out);
        if (rules->lower.kind == TN_LOWER_SOURCE) continue;
        out->nodes++;
        if (rules->lower.kind == TN_LOWER_CONTROL) {
            add_sub_graphs(g, n, bindings, trips, out);
            continue;
        }
        tn_cost cost = {0};
        rules->cost(g, n, bindings, &cost);
        out->flops += trips * cost.flops;
        out->bytes_read += trips * cost.bytes_read;
        out->bytes_written += trips * cost.bytes_written;
    }
}

void cli_graph_cost_of(const tn_graph *g, const int64_t *bindings, cli_graph_cost *out) {
    *out = (cli_graph_cost){0};
    add_graph(g, bindings, 1, out);
}

int64_t *cli_graph_bindings(tn_arena *arena, const tn_graph *g, const tn_session *s) {
    const tn_dims *from = tn_session_artifact(s)->program->dims;
    int64_t *bindings = TN_NEW_N(arena, int64_t, g->dims->symbols.len + 1);
    for (uint32_t i = 0; i < g->dims->symbols.len; i++) {
        const tn_dim_symbol *symbol = &g->dims->symbols.data[i];
        uint32_t known;
        bindings[i] = tn_dims_find_symbol(from, symbol->name, &known) ? tn_session_symbols(s)[known]
                                                                      : symbol->lo;
    }
    return bindings;
}
