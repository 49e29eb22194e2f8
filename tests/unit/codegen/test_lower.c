/* Kernels of small graphs for a target with 32-byte vectors, as text (tests/golden/lower.txt). */
#include "unit/test.h"

#include "codegen/lower.h"
#include "unit/graph_test.h"

static golden cases;

static void lower_all(graph_test *t, const tn_graph *g, tn_str *text) {
    tn_costs costs = tn_costs_default();
    tn_grouping *p = tn_group_graph(g, true, &costs, &t->arena);
    tn_lower_context context = {
        .grouping = p, .target = tn_target_of(TN_ISA_AVX2), .arena = &t->arena, .error_base = 1};
    for (uint32_t i = 0; i < p->order.len; i++) {
        tn_lowered l;
        must(t, tn_lower_group(&context, p->order.data[i], &l, &t->err));
        for (uint32_t j = 0; j < l.pack_count; j++) tn_loop_print(l.packs[j].kernel, false, text);
        tn_loop_print(l.kernel, false, text);
    }
}

static void test_lower__gives_the_golden_kernels(void **state) {
    golden_section *s = *state;
    graph_test t;
    tn_str text;
    graph_test_init(&t);
    tn_str_init(&text);
    lower_all(&t, graph_of_n(&t, s->part[0], s->len[0]), &text);
    golden_check(&cases, s, tn_str_text(&text));
    tn_str_deinit(&text);
    graph_test_deinit(&t);
}

int main(int argc, char **argv) {
    golden_open(&cases, "tests/golden/lower.txt", argc, argv);
    struct CMUnitTest tests[GOLDEN_SECTIONS];
    for (int i = 0; i < cases.count; i++)
        tests[i] = (struct CMUnitTest){cases.section[i].name, test_lower__gives_the_golden_kernels,
                                       NULL, NULL, &cases.section[i]};
    int failed = _cmocka_run_group_tests("lower", tests, (size_t)cases.count, NULL, NULL);
    return golden_finish(&cases, failed);
}
