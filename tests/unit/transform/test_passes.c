/* Whole passes: section "PASS: what" of tests/golden/passes.txt holds a graph and what PASS makes
 * of it. The results stay equal. Also: what tn_transform_run does between passes, and binding
 * sizes. */
#include "../test.h"

#include "../graph_test.h"
#include "transform/channels_last.h"
#include "transform/column_parts.h"
#include "transform/cse.h"
#include "transform/dce.h"
#include "transform/loops.h"
#include "transform/exchange.h"
#include "transform/fold.h"
#include "transform/narrow_permute.h"
#include "transform/raise_permute.h"
#include "transform/shapes.h"
#include "transform/simplify.h"
#include "transform/sink.h"

static golden cases;

static const tn_pass *const known[] = {
    &tn_pass_loops,          &tn_pass_dce,           &tn_pass_cse,
    &tn_pass_fold,           &tn_pass_simplify,      &tn_pass_sink,
    &tn_pass_exchange,       &tn_pass_channels_last, &tn_pass_column_parts,
    &tn_pass_narrow_permute, &tn_pass_raise_permute};

static const tn_graph *transform(graph_test *t, const tn_graph *in, const char *section) {
    const tn_transform_options options = {.verify = true};
    const tn_graph *out = NULL;
    size_t len = strcspn(section, ":");
    for (size_t i = 0; i < TN_COUNT(known); i++)
        if (strncmp(known[i]->name, section, len) == 0 && known[i]->name[len] == 0)
            must(t, tn_transform_run(in, &known[i], 1, &options, &out, &t->err));
    if (strncmp("standard", section, len) == 0)
        must(t, tn_transform_standard(in, &options, &out, &t->err));
    if (!out) fail_msg("section '%s' does not begin with a pass", section);
    return out;
}

static bool can_run(const tn_graph *g) {
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_attrs_gather *a = tn_graph_node(g, n)->attrs;
        if (tn_graph_node(g, n)->op == TN_OP_gather && a->mode == TN_INDEX_error) return false;
    }
    return true;
}

static void test_pass__gives_the_golden_graph(void **state) {
    golden_section *s = *state;
    graph_test t;
    graph_test_init(&t);
    const tn_graph *in = graph_of_n(&t, s->part[0], s->len[0]), *out = transform(&t, in, s->name);
    golden_check(&cases, s, text_of(&t, out, false));
    if (can_run(out)) assert_same_results(&t, in, out, 0);
    graph_test_deinit(&t);
}

/* ---- tn_transform_run ----------------------------------------------------------------------- */

static void note_pass(void *context, const char *pass, const tn_graph *g) {
    tn_str *notes = context;
    tn_str_appendf(notes, "%s %u\n", pass, g->nodes.len);
}

static void test_run__dumps_after_every_pass(void **state) {
    (void)state;
    graph_test t;
    graph_test_init(&t);
    tn_str notes;
    tn_str_init(&notes);
    const tn_transform_options options = {.verify = true, .dump = note_pass, .context = &notes};
    const tn_graph *in = graph_of(&t, "graph { %0 = input : f32[2]\n %1 = neg %0\n %2 = neg %1\n"
                                      " %3 = exp %0\n output %2 }");
    const tn_graph *out;
    const tn_pass *const passes[] = {&tn_pass_dce, &tn_pass_simplify};
    must(&t, tn_transform_run(in, passes, 2, &options, &out, &t.err));
    assert_string_equal(tn_str_text(&notes), "dce 3\nsimplify 1\n");
    tn_str_deinit(&notes);
    graph_test_deinit(&t);
}

static tn_status run_wrongly(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                             tn_error *err) {
    TN_CHECK(tn_pass_dce.run(in, out, options, err));
    out->values.data[0].type.dtype = TN_f16;
    return TN_OK;
}

static void test_run__catches_a_wrong_pass(void **state) {
    (void)state;
    graph_test t;
    char text[2048];
    graph_test_init(&t);
    const tn_pass wrong = {"wrong", run_wrongly}, *const passes[] = {&wrong};
    const tn_transform_options options = {.verify = true};
    const tn_graph *in = graph_of(&t, "graph { %0 = input : f32[2]\n output %0 }"), *out;
    assert_int_not_equal(tn_transform_run(in, passes, 1, &options, &out, &t.err), TN_OK);
    tn_error_format(&t.err, text, sizeof text);
    assert_non_null(strstr(text, "pass 'wrong' made a wrong graph"));
    assert_non_null(strstr(text, "%0 should be f32[2]"));
    graph_test_deinit(&t);
}

/* ---- binding -------------------------------------------------------------------------------- */

static const char *const open_graph = "graph (N in [1,8], S in [16,*] div 16, M) {\n"
                                      "  %0 \"x\" = input : f32[N,S,M]\n"
                                      "  %1 = iota : i64[N+1]\n"
                                      "  %2 = slice %1 {start=[N] step=[1]} : i64[1]\n"
                                      "  %3 = reduce %0 {kind=max axes=[1] acc=f32} : f32[N,M]\n"
                                      "  output %2 \"n\"\n"
                                      "  output %3 \"y\"\n"
                                      "}\n";

static void test_bind__specialises_some_sizes(void **state) {
    (void)state;
    graph_test t;
    graph_test_init(&t);
    tn_graph *out;
    const tn_binding bindings[] = {{"N", 3}, {"S", 32}};
    must(&t, tn_transform_bind(graph_of(&t, open_graph), bindings, 2, &out, &t.err));
    must(&t, tn_graph_verify(out, NULL, &t.err));
    assert_string_equal(text_of(&t, out, false),
                        "graph (M) {\n"
                        "  %0 \"x\" = input : f32[3,32,M]\n"
                        "  %1 = iota : i64[4]\n"
                        "  %2 = slice %1 {start=[3] step=[1]} : i64[1]\n"
                        "  %3 = reduce %0 {kind=max axes=[1] acc=f32} : f32[3,M]\n"
                        "  output %2 \"n\"\n"
                        "  output %3 \"y\"\n"
                        "}\n");
    graph_test_deinit(&t);
}

static void assert_bind_fails(graph_test *t, const char *graph, const char *symbol, int64_t value,
                              const char *message) {
    char text[2048];
    tn_graph *out;
    const tn_binding binding = {symbol, value};
    assert_int_not_equal(tn_transform_bind(graph_of(t, graph), &binding, 1, &out, &t->err), TN_OK);
    tn_error_format(&t->err, text, sizeof text);
    if (!strstr(text, message)) fail_msg("expected \"%s\" in \"%s\"", message, text);
}

static void test_bind__refuses_values_that_do_not_fit(void **state) {
    (void)state;
    graph_test t;
    graph_test_init(&t);
    assert_bind_fails(&t, open_graph, "N", 9, "size 'N' = 9: must lie in 1 … 8");
    assert_bind_fails(&t, open_graph, "S", 15, "size 'S' = 15: must lie in 16 … no upper bound");
    assert_bind_fails(&t, open_graph, "S", 24, "size 'S' = 24: must be a multiple of 16");
    assert_bind_fails(&t, open_graph, "K", 2, "the graph has no size 'K' (open sizes: N, S, M)");
    graph_test_deinit(&t);
}

/* ---- chains --------------------------------------------------------------------------------- */

/* Large results of small constants stay, until something small is made of the last one. */
static void test_fold__follows_a_long_chain(void **state) {
    enum { LENGTH = 5000, WIDTH = 300 };
    (void)state;
    graph_test t;
    graph_test_init(&t);
    tn_dims dims;
    tn_dims_init(&dims, &t.arena);
    tn_graph *g = tn_graph_new(&t.arena, &dims);
    tn_builder b = tn_builder_of(g, &t.err);
    int axis = 0;
    tn_value x = tn_b_expand(&b, tn_b_scalar(&b, TN_f32, 0.5), &(tn_shape){1, {WIDTH}});
    for (int i = 0; i < LENGTH; i++) x = tn_b_neg(&b, x);
    tn_graph_add_output(g, tn_b_sum(&b, x, &axis, 1, false), "y");
    must(&t, tn_b_finish(&b));
    const tn_pass *fold = &tn_pass_fold;
    const tn_transform_options options = {.verify = true};
    const tn_graph *out;
    tn_array y;
    must(&t, tn_transform_run(g, &fold, 1, &options, &out, &t.err));
    assert_true(tn_graph_constant(out, out->outputs.data[0].value, &y));
    assert_true(*(const float *)y.data == 0.5F * WIDTH);
    graph_test_deinit(&t);
}

/* ---- property: random graphs keep their results --------------------------------------------- */

static void add_random_node(tn_builder *b, uint64_t *seed) {
    tn_value x = (tn_value)(test_random(seed) % b->graph->values.len);
    tn_value y = (tn_value)(test_random(seed) % b->graph->values.len);
    tn_type type = tn_b_type(b, x), other = tn_b_type(b, y);
    int rank = type.shape.rank, axis = rank ? (int)(test_random(seed) % (uint64_t)rank) : 0;
    tn_value c = tn_b_scalar(b, type.dtype, (double)(test_random(seed) % 3));
    if (type.dtype != TN_f32) return;
    switch (test_random(seed) % 12) {
    case 0:
        tn_b_mul(b, x, c);
        break;
    case 1:
        tn_b_add(b, c, x);
        break;
    case 2:
        tn_b_neg(b, x);
        break;
    case 3:
        tn_b_max(b, x, tn_shape_equal(&type.shape, &other.shape) ? y : c);
        break;
    case 4:
        tn_b_sub(b, x, tn_shape_equal(&type.shape, &other.shape) ? y : x);
        break;
    case 5:
        if (rank > 1) tn_b_swap(b, x, 0, axis);
        break;
    case 6:
        if (rank < 5) tn_b_unsqueeze(b, x, axis);
        break;
    case 7:
        if (rank) tn_b_concat(b, (tn_value[]){x, x}, 2, axis);
        break;
    case 8:
        if (rank) tn_b_slice_axis(b, x, axis, 0, 1, 1);
        break;
    case 9:
        if (rank) tn_b_sum(b, x, &axis, 1, test_random(seed) % 2);
        break;
    case 10:
        if (rank) tn_b_pad_axis(b, x, axis, 1, 0, c);
        break;
    default:
        if (rank > 2) tn_b_permute(b, x, rank == 3 ? (int[]){2, 0, 1} : (int[]){0, 3, 1, 2, 4});
        break;
    }
}

static void test_standard__keeps_the_results_of_random_graphs(void **state) {
    (void)state;
    for (uint64_t round = 0; round < 60; round++) {
        graph_test t;
        graph_test_init(&t);
        uint64_t seed = round;
        tn_dims dims;
        tn_dims_init(&dims, &t.arena);
        tn_graph *g = tn_graph_new(&t.arena, &dims);
        tn_builder b = tn_builder_of(g, &t.err);
        tn_shape shape = {3, {2, tn_dim_of_symbol(&dims, "N"), 4}};
        tn_b_input(&b, "x", TN_f32, &shape);
        tn_b_input(&b, "y", TN_f32, &shape);
        for (int i = 0; i < 30; i++) add_random_node(&b, &seed);
        must(&t, tn_b_finish(&b));
        for (tn_value v = g->values.len - 4; v < g->values.len; v++)
            if (tn_shape_equal(&tn_graph_type(g, v)->shape, &shape) || v % 2)
                tn_graph_add_output(g, v, NULL);
        const tn_transform_options options = {.verify = true};
        const tn_graph *out;
        must(&t, tn_transform_standard(g, &options, &out, &t.err));
        assert_same_results(&t, g, out, 0);
        graph_test_deinit(&t);
    }
}

int main(int argc, char **argv) {
    golden_open(&cases, "tests/golden/passes.txt", argc, argv);
    enum { FIXED = 6 };
    struct CMUnitTest tests[GOLDEN_SECTIONS + FIXED] = {
        cmocka_unit_test(test_run__dumps_after_every_pass),
        cmocka_unit_test(test_run__catches_a_wrong_pass),
        cmocka_unit_test(test_bind__specialises_some_sizes),
        cmocka_unit_test(test_bind__refuses_values_that_do_not_fit),
        cmocka_unit_test(test_fold__follows_a_long_chain),
        cmocka_unit_test(test_standard__keeps_the_results_of_random_graphs),
    };
    for (int i = 0; i < cases.count; i++)
        tests[i + FIXED] =
            (struct CMUnitTest){cases.section[i].name, test_pass__gives_the_golden_graph, NULL,
                                NULL, &cases.section[i]};
    int failed = _cmocka_run_group_tests("passes", tests, (size_t)cases.count + FIXED, NULL, NULL);
    return golden_finish(&cases, failed);
}
