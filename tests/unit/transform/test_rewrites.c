/* Every row of the rewrite tables, alone: section NAME of tests/golden/rewrites.txt holds a graph
 * and what the row NAME makes of it. The results must be equal; of float_unsafe rows, close. */
#include "../test.h"

#include "../graph_test.h"
#include "transform/rewrite.h"

static golden cases;

static const tn_rewrite_table *const tables[] = {
    &tn__rewrites_arithmetic, &tn__rewrites_select, &tn__rewrites_view,
    &tn__rewrites_slice,      &tn__rewrites_reduce, &tn__rewrites_contract,
    &tn__rewrites_control,    &tn__rewrites_sink,   &tn__rewrites_reshape,
};

static const tn_rewrite *find_row(const char *name) {
    for (size_t t = 0; t < TN_COUNT(tables); t++)
        for (size_t i = 0; i < tables[t]->count; i++)
            if (strcmp(tables[t]->rows[i].name, name) == 0) return &tables[t]->rows[i];
    return NULL;
}

/* Sub-graphs are copied. */
static tn_status leave(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                       tn_error *err) {
    (void)options;
    return tn_graph_copy(out, in, NULL, err);
}

static tn_graph *rewrite(graph_test *t, const tn_graph *in, const tn_rewrite *row, bool unsafe) {
    const tn_rewrite_table table = {row, 1};
    const tn_transform_options options = {.float_unsafe = unsafe};
    tn_graph *out = tn_graph_new_like(in);
    must(t, tn__rewrite(in, out, &table, 1, 8, leave, &options, &t->err));
    must(t, tn_graph_verify(out, NULL, &t->err));
    return out;
}

static void test_rewrite__gives_the_golden_graph(void **state) {
    golden_section *s = *state;
    graph_test t;
    graph_test_init(&t);
    const tn_rewrite *row = find_row(s->name);
    if (!row) fail_msg("there is no row '%s'", s->name);
    const tn_graph *in = graph_of_n(&t, s->part[0], s->len[0]);
    const tn_graph *out = rewrite(&t, in, row, row->float_unsafe);
    golden_check(&cases, s, text_of(&t, out, false));
    double tolerance = row->float_unsafe ? 1e-6 : 0;
    if (strcmp(row->name, "pow_small") == 0) tolerance = 2.4e-7; /* 2 ULP, as pow itself */
    if (strcmp(row->name, "half_tanh_gate") == 0) tolerance = 1e-6;
    assert_same_results(&t, in, out, tolerance);
    assert_string_not_equal(text_of(&t, in, false), text_of(&t, out, false));
    graph_test_deinit(&t);
}

static bool touches_floats(const tn_graph *g, const tn_rewrite *row) {
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *node = tn_graph_node(g, n);
        if (node->op == row->op && !tn_dtype_is_float(tn_graph_type(g, node->out)->dtype))
            return false;
    }
    return true;
}

static void test_unsafe_rewrite__needs_the_option(void **state) {
    (void)state;
    for (int i = 0; i < cases.count; i++) {
        const golden_section *s = &cases.section[i];
        const tn_rewrite *row = find_row(s->name);
        graph_test t;
        if (!row || !row->float_unsafe) continue;
        graph_test_init(&t);
        const tn_graph *in = graph_of_n(&t, s->part[0], s->len[0]);
        const tn_graph *out = rewrite(&t, in, row, false);
        if (touches_floats(in, row))
            assert_string_equal(text_of(&t, in, false), text_of(&t, out, false));
        assert_same_results(&t, in, out, 0);
        graph_test_deinit(&t);
    }
}

static void test_rewrites__all_have_a_section(void **state) {
    (void)state;
    for (size_t t = 0; t < TN_COUNT(tables); t++)
        for (size_t i = 0; i < tables[t]->count; i++) {
            const char *name = tables[t]->rows[i].name;
            bool found = false;
            for (int k = 0; k < cases.count; k++)
                found = found || strcmp(cases.section[k].name, name) == 0;
            if (!found) fail_msg("no section '%s' in %s", name, cases.path);
        }
}

int main(int argc, char **argv) {
    golden_open(&cases, "tests/golden/rewrites.txt", argc, argv);
    struct CMUnitTest tests[GOLDEN_SECTIONS + 2] = {
        cmocka_unit_test(test_rewrites__all_have_a_section),
        cmocka_unit_test(test_unsafe_rewrite__needs_the_option),
    };
    for (int i = 0; i < cases.count; i++)
        tests[i + 2] =
            (struct CMUnitTest){cases.section[i].name, test_rewrite__gives_the_golden_graph, NULL,
                                NULL, &cases.section[i]};
    size_t count = (size_t)cases.count + 2;
    int failed = _cmocka_run_group_tests("rewrites", tests, count, NULL, NULL);
    return golden_finish(&cases, failed);
}
