/* Every node's value, compiled against the reference evaluation. See verify.h.
 *
 * Values that are fused away are never stored, so that programs with other outputs are compared: one with
 * all values (there is less fusion between nodes), and, where only the program as it is departs, programs
 * that end at one value: bisection finds the first of them that departs. */
#include <math.h>
#include <stdio.h>

#include "cli/values.h"
#include "cli/verify.h"
#include "ops/eval.h"

typedef struct checker {
    const tn_import *import;
    const tn_model_options *options;
    const tn_buffer *inputs;
    int input_count;
    const cli_tolerance *tolerance;
    tn_arena arena;
    TN_VEC(tn_import_result) results; /* each value once */
    const tn_array *expected;         /* per value of the graph; without data: not seen */
} checker;

/* A result that departs; NULL: none does. */
typedef struct departure {
    const tn_import_result *result;
    tn_array actual; /* its type; the elements are gone */
    bool same_type;  /* only then the difference is known */
    cli_difference difference;
} departure;

/* ---- a program with these outputs ----------------------------------------------------------- */

typedef struct probe {
    tn_model *model;
    tn_session *session;
    tn_buffer *outputs;
} probe;

static void probe_release(probe *p) {
    tn_session_release(p->session);
    tn_model_release(p->model);
}

/* Constants of a file become plain bytes: the file is open already, and the probing model, which has
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

/* The model's graph with the values of results[0 … count) as outputs; it keeps all of the inputs. */
static tn_status graph_of(checker *k, const tn_import_result *results, uint32_t count,
                          tn_graph **out, tn_error *err) {
    const tn_graph *from = k->import->graph;
    tn_graph *g = tn_graph_new_like(from);
    tn_value *map = TN_NEW_N(&k->arena, tn_value, from->values.len);
    for (tn_node n = 0; n < from->nodes.len; n++)
        TN_CHECK(tn_graph_copy_node(g, from, n, map, NULL, err));
    forget_files(g);
    g->sources.len = 0;
    for (uint32_t i = 0; i < count; i++)
        tn_graph_add_output(g, map[results[i].value],
                            tn_arena_printf(g->arena, "%u %s", i, results[i].name));
    *out = g;
    return TN_OK;
}

static tn_status probe_run(checker *k, const tn_import_result *results, uint32_t count, bool no_opt,
                           probe *p, tn_error *err) {
    tn_graph *g;
    tn_model_options options = *k->options;
    options.no_opt |= no_opt;
    options.dump = NULL;
    *p = (probe){.outputs = TN_NEW_N(&k->arena, tn_buffer, count)};
    TN_CHECK(graph_of(k, results, count, &g, err));
    TN_CHECK(tn_model_from_graph(g, &options, &p->model, err));
    TN_CHECK(tn_session_create(p->model, &p->session, err));
    return tn_session_run(p->session, k->inputs, k->input_count, p->outputs, (int)count, err);
}

/* ---- comparing ------------------------------------------------------------------------------ */

/* Sums that cancel leave differences of the size of their terms, so the absolute tolerance is at
 * least 1e-5 of the value's largest magnitude. */
static cli_tolerance tolerance_for(const checker *k, const tn_array *expected) {
    cli_tolerance tolerance = *k->tolerance;
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

static bool same_type(const tn_array *a, const tn_array *b) {
    return a->dtype == b->dtype && a->rank == b->rank &&
           memcmp(a->dim, b->dim, sizeof a->dim[0] * (size_t)a->rank) == 0;
}

/* The first of the outputs that departs. */
static void find_first(const checker *k, const tn_import_result *results, uint32_t count,
                       const tn_buffer *outputs, departure *out) {
    *out = (departure){0};
    for (uint32_t i = 0; i < count && !out->result; i++) {
        const tn_array *expected = &k->expected[results[i].value];
        tn_array actual = cli_array_of(&outputs[i]);
        cli_tolerance tolerance = tolerance_for(k, expected);
        out->same_type = same_type(expected, &actual);
        if (out->same_type) cli_compare(expected, &actual, &tolerance, &out->difference);
        if (out->same_type && out->difference.equal) continue;
        out->result = &results[i];
        out->actual = actual;
    }
}

static tn_status probe_first(checker *k, const tn_import_result *results, uint32_t count,
                             bool no_opt, departure *out, tn_error *err) {
    probe p;
    tn_status status = probe_run(k, results, count, no_opt, &p, err);
    if (status == TN_OK) find_first(k, results, count, p.outputs, out);
    probe_release(&p);
    return status;
}

/* ---- the reference -------------------------------------------------------------------------- */

static tn_status keep_values(void *context, const tn_graph *g, tn_node n, const tn_array *out,
                             tn_error *err) {
    tn_array *kept = context;
    const tn_node_info *info = tn_graph_node(g, n);
    (void)err;
    for (uint32_t r = 0; r < info->out_count; r++) kept[info->out + r] = out[r];
    return TN_OK;
}

/* `symbols` are the graph's. */
static tn_status evaluate(checker *k, const int64_t *symbols, tn_error *err) {
    const tn_graph *g = k->import->graph;
    tn_array *inputs = TN_NEW_N(&k->arena, tn_array, k->input_count);
    tn_array *outputs = TN_NEW_N(&k->arena, tn_array, g->outputs.len);
    tn_array *kept = TN_NEW_N(&k->arena, tn_array, g->values.len);
    for (int i = 0; i < k->input_count; i++) inputs[i] = cli_array_of(&k->inputs[i]);
    tn_eval_watch eye = {keep_values, kept};
    k->expected = kept;
    return tn_eval_graph_watched(g, inputs, symbols, outputs, &k->arena, &eye, err);
}

/* What inputs and constants are cannot depart; a value under several names is the first's. */
static void list_results(checker *k) {
    const tn_graph *g = k->import->graph;
    bool *seen = TN_NEW_N(&k->arena, bool, g->values.len);
    for (uint32_t i = 0; i < k->import->results.len; i++) {
        const tn_import_result *r = &k->import->results.data[i];
        tn_op op = tn_graph_producer(g, r->value)->op;
        if (seen[r->value] || op == TN_OP_input || op == TN_OP_constant) continue;
        seen[r->value] = true;
        tn_vec_push(&k->arena, &k->results, *r);
    }
}

/* ---- finding -------------------------------------------------------------------------------- */

/* The results that are outputs of the model: what the program as it is stores. */
static tn_import_result *outputs_of(checker *k, uint32_t *count) {
    const tn_graph *g = k->import->graph;
    tn_import_result *out = TN_NEW_N(&k->arena, tn_import_result, k->results.len);
    *count = 0;
    for (uint32_t i = 0; i < k->results.len; i++)
        for (uint32_t o = 0; o < g->outputs.len; o++) {
            if (g->outputs.data[o].value != k->results.data[i].value) continue;
            out[(*count)++] = k->results.data[i];
            break;
        }
    return out;
}

/* `last` departs when it is the only output. The first result before it of which the same is true, given
 * that a departure goes on to what follows from it. */
static tn_status bisect(checker *k, uint32_t last, departure *out, tn_error *err) {
    uint32_t low = 0, high = last; /* low: those before it agree */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        departure found;
        TN_CHECK(probe_first(k, &k->results.data[middle], 1, false, &found, err));
        if (found.result) *out = found;
        if (found.result)
            high = middle;
        else
            low = middle + 1;
    }
    return TN_OK;
}

static tn_status bisect_from(checker *k, departure *out, tn_error *err) {
    uint32_t last = 0;
    while (k->results.data[last].value != out->result->value) last++;
    departure alone;
    TN_CHECK(probe_first(k, &k->results.data[last], 1, false, &alone, err));
    return alone.result ? bisect(k, last, out, err) : TN_OK;
}

static void append_type(tn_str *out, const tn_array *a) {
    tn_str_appendf(out, "%s[", tn_dtype_name(a->dtype));
    for (int i = 0; i < a->rank; i++)
        tn_str_appendf(out, i ? ",%lld" : "%lld", (long long)a->dim[i]);
    tn_str_append(out, "]");
}

static void describe(const checker *k, const departure *d, tn_str *out) {
    const tn_array *expected = &k->expected[d->result->value];
    tn_str_appendf(out, "node '%s' (%s), output '%s' (", d->result->node, d->result->op,
                   d->result->name);
    append_type(out, expected);
    tn_str_append(out, "), departs first: ");
    if (!d->same_type) {
        tn_str_append(out, "it is ");
        append_type(out, &d->actual);
        return;
    }
    char text[512];
    cli_difference_text(expected, &d->difference, text, sizeof text);
    tn_str_appendf(out, "%s, largest error %.6g", text, d->difference.max_error);
}

/* What depart: the program as it is, that with all values, and that with passes off. */
static tn_status report(checker *k, const departure *whole, const departure *each,
                        const departure *plain, tn_error *err) {
    const departure *first = each->result ? each : plain->result ? plain : whole;
    if (!first->result) return TN_OK;
    tn_str text;
    tn_str_init(&text);
    describe(k, first, &text);
    if (first == whole)
        tn_str_append(&text, "; only where other nodes' values are fused away");
    else if (first == plain && !k->options->no_opt)
        tn_str_append(&text, "; only with passes off");
    else if (!plain->result)
        tn_str_append(&text, "; with passes off no node departs");
    else if (plain->result->value != first->result->value)
        tn_str_appendf(&text, "; with passes off node '%s' (%s) departs first", plain->result->node,
                       plain->result->op);
    else if (!k->options->no_opt)
        tn_str_append(&text, "; with passes off, too");
    tn_error_set(err, TN_RUNTIME, "%s", tn_str_text(&text));
    tn_str_deinit(&text);
    return TN_RUNTIME;
}

static tn_status check(checker *k, tn_error *err) {
    departure whole, each, plain;
    uint32_t output_count;
    list_results(k);
    tn_import_result *outputs = outputs_of(k, &output_count);
    const tn_import_result *all = k->results.data;
    probe p;
    tn_status status = probe_run(k, outputs, output_count, false, &p, err);
    if (status == TN_OK) status = evaluate(k, tn_session_symbols(p.session), err);
    if (status == TN_OK) find_first(k, outputs, output_count, p.outputs, &whole);
    probe_release(&p);
    TN_CHECK(status);
    TN_TRY(err, probe_first(k, all, k->results.len, false, &each, err),
           "with every node's value as an output");
    plain = each;
    if (!k->options->no_opt)
        TN_TRY(err, probe_first(k, all, k->results.len, true, &plain, err),
               "with every node's value as an output and passes off");
    if (whole.result && !each.result) TN_CHECK(bisect_from(k, &whole, err));
    return report(k, &whole, &each, &plain, err);
}

static tn_status check_guarded(void *argument, tn_error *err) {
    return check(argument, err);
}

tn_status cli_verify_nodes(const tn_import *import, const tn_model_options *options,
                           const tn_buffer *inputs, int input_count, const cli_tolerance *tolerance,
                           tn_error *err) {
    checker k = {.import = import,
                 .options = options,
                 .inputs = inputs,
                 .input_count = input_count,
                 .tolerance = tolerance};
    tn_arena_init(&k.arena, tn_allocator_system());
    tn_status status = tn_guard(check_guarded, &k, err);
    tn_arena_deinit(&k.arena);
    return status;
}
