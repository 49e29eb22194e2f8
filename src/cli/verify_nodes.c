/* Every node's value, compiled against the reference evaluation. See verify.h.
 *
 * The graph is copied with every node's results as outputs, compiled, and run; the evaluator then
 * walks the same graph and each of its values is compared with what the kernels gave. */
#include <math.h>
#include <stdio.h>

#include "cli/values.h"
#include "cli/verify.h"
#include "ops/eval.h"

typedef struct tap {
    const cli_tolerance *tolerance;
    tn_arena arena;
    tn_graph *graph;
    uint32_t *output_of; /* per value: its output, or UINT32_MAX */
    tn_buffer *outputs;
    tn_model *model;
    tn_session *session;
    const tn_graph *from;
    const tn_model_options *options;
    const tn_buffer *inputs;
    int input_count;
} tap;

static bool is_source(tn_op op) {
    return op == TN_OP_input || op == TN_OP_constant;
}

/* Constants of a file become plain bytes: the file is open already, and the tapped model, which has
 * no file, need not know it. The graph is a copy of our own. */
static void forget_files(const tn_graph *g) {
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        if (info->op == TN_OP_constant)
            ((tn_attrs_constant *)(uintptr_t)info->attrs)->data.source = 0;
        const tn_field *field = tn_op_info_of(info->op)->fields;
        for (; field->kind != TN_FIELD_END; field++) {
            const tn_graph *sub;
            if (field->kind != TN_FIELD_GRAPH) continue;
            memcpy(&sub, (const char *)info->attrs + field->offset, sizeof sub);
            if (sub) forget_files(sub);
        }
    }
}

static tn_status tap_graph(tap *t, tn_error *err) {
    const tn_graph *from = t->from;
    tn_graph *g = tn_graph_new_like(from);
    tn_value *map = TN_NEW_N(&t->arena, tn_value, from->values.len);
    for (tn_node n = 0; n < from->nodes.len; n++)
        TN_CHECK(tn_graph_copy_node(g, from, n, map, NULL, err));
    forget_files(g);
    g->sources.len = 0;
    t->output_of = TN_NEW_N(&t->arena, uint32_t, g->values.len);
    memset(t->output_of, 0xff, g->values.len * sizeof *t->output_of);
    for (tn_value v = 0; v < g->values.len; v++) {
        if (is_source(tn_graph_producer(g, v)->op)) continue;
        t->output_of[v] = g->outputs.len;
        tn_graph_add_output(g, v, tn_arena_printf(g->arena, "value %u", v));
    }
    t->graph = g;
    return TN_OK;
}

/* Sums that cancel leave differences of the size of their terms, so the absolute tolerance is at
 * least 1e-5 of the value's largest magnitude. */
static cli_tolerance tolerance_for(const tap *t, const tn_array *expected) {
    cli_tolerance tolerance = *t->tolerance;
    double most = 0;
    if (!tn_dtype_is_float(expected->dtype)) return tolerance;
    int64_t count = tn_array_count(expected);
    for (int64_t i = 0; i < count; i++) {
        double x = fabs(tn_array_get(expected, i).f);
        if (isfinite(x)) most = fmax(most, x);
    }
    tolerance.atol = fmax(tolerance.atol, 1e-5 * most);
    return tolerance;
}

static tn_status depart(const tn_graph *g, tn_node n, uint32_t result, const tn_array *expected,
                        const cli_difference *d, tn_error *err) {
    const tn_node_info *info = tn_graph_node(g, n);
    char text[512];
    tn_str types;
    tn_str_init(&types);
    for (uint32_t i = 0; i < info->in_count; i++) {
        if (i) tn_str_append(&types, ", ");
        tn_type_print(g->dims, tn_node_type(g, info, i), &types);
    }
    cli_difference_text(expected, d, text, sizeof text);
    tn_error_set(err, TN_RUNTIME, "node %u '%s' (%s of %s), result %u, departs first: %s", n,
                 info->name ? info->name : "", tn_op_info_of(info->op)->name, tn_str_text(&types),
                 result, text);
    tn_str_deinit(&types);
    return TN_RUNTIME;
}

static tn_status watch(void *context, const tn_graph *g, tn_node n, const tn_array *out,
                       tn_error *err) {
    tap *t = context;
    const tn_node_info *info = tn_graph_node(g, n);
    for (uint32_t r = 0; r < info->out_count; r++) {
        uint32_t output = t->output_of[info->out + r];
        if (output == UINT32_MAX) continue;
        tn_array actual = cli_array_of(&t->outputs[output]);
        cli_tolerance tolerance = tolerance_for(t, &out[r]);
        cli_difference d;
        cli_compare(&out[r], &actual, &tolerance, &d);
        if (!d.equal) return depart(g, n, r, &out[r], &d, err);
    }
    return TN_OK;
}

static tn_status run_tapped(tap *t, tn_error *err) {
    int count = (int)t->graph->outputs.len;
    t->outputs = TN_NEW_N(&t->arena, tn_buffer, count);
    TN_CHECK(tn_model_from_graph(t->graph, t->options, &t->model, err));
    TN_CHECK(tn_session_create(t->model, &t->session, err));
    return tn_session_run(t->session, t->inputs, t->input_count, t->outputs, count, err);
}

static tn_status nodes_guarded(void *argument, tn_error *err) {
    tap *t = argument;
    TN_CHECK(tap_graph(t, err));
    TN_TRY(err, run_tapped(t, err), "with every node's value as an output");
    tn_array *inputs = TN_NEW_N(&t->arena, tn_array, t->input_count);
    tn_array *outputs = TN_NEW_N(&t->arena, tn_array, t->graph->outputs.len);
    for (int i = 0; i < t->input_count; i++) inputs[i] = cli_array_of(&t->inputs[i]);
    tn_eval_watch eye = {watch, t};
    return tn_eval_graph_watched(t->graph, inputs, tn_session_symbols(t->session), outputs,
                                 &t->arena, &eye, err);
}

tn_status cli_verify_nodes(const tn_graph *g, const tn_model_options *options,
                           const tn_buffer *inputs, int input_count, const cli_tolerance *tolerance,
                           tn_error *err) {
    tap t = {.tolerance = tolerance,
             .from = g,
             .options = options,
             .inputs = inputs,
             .input_count = input_count};
    tn_arena_init(&t.arena, tn_allocator_system());
    tn_status status = tn_guard(nodes_guarded, &t, err);
    tn_session_release(t.session);
    tn_model_release(t.model);
    tn_arena_deinit(&t.arena);
    return status;
}
