/* Fusion groups of small graphs as they are formed, before any choice by cost, as text
 * (tests/golden/groups.txt), and what every grouping holds. */
#include "unit/test.h"

#include "unit/graph_test.h"
#include "unit/plan/check_program.h"

static golden cases;

static void test_group__gives_the_golden_groups(void **state) {
    golden_section *s = *state;
    graph_test t;
    tn_str text;
    graph_test_init(&t);
    tn_str_init(&text);
    tn_graph *g = graph_of_n(&t, s->part[0], s->len[0]);
    tn_costs costs = tn_costs_default();
    tn_grouping_print(tn__form_groups(g, NULL, true, NULL, &costs, &t.arena), &text);
    const char *wrong = grouping_check(g, &t.arena);
    if (wrong) fail_msg("%s", wrong);
    golden_check(&cases, s, tn_str_text(&text));
    tn_str_deinit(&text);
    graph_test_deinit(&t);
}

/* Without fusion every node that is no source is a group of its own. */
static void test_group__keeps_nodes_apart_without_fusion(void **state) {
    (void)state;
    for (int i = 0; i < cases.count; i++) {
        graph_test t;
        graph_test_init(&t);
        tn_graph *g = graph_of_n(&t, cases.section[i].part[0], cases.section[i].len[0]);
        tn_costs costs = tn_costs_default();
        tn_grouping *p = tn_group_graph(g, false, &costs, &t.arena);
        for (uint32_t id = 0; id < p->groups.len; id++)
            assert_int_equal(p->groups.data[id].members.len, 1);
        graph_test_deinit(&t);
    }
}

int main(int argc, char **argv) {
    golden_open(&cases, "tests/golden/groups.txt", argc, argv);
    struct CMUnitTest tests[GOLDEN_SECTIONS + 1] = {
        cmocka_unit_test(test_group__keeps_nodes_apart_without_fusion)};
    for (int i = 0; i < cases.count; i++)
        tests[i + 1] =
            (struct CMUnitTest){cases.section[i].name, test_group__gives_the_golden_groups, NULL,
                                NULL, &cases.section[i]};
    int failed = _cmocka_run_group_tests("group", tests, (size_t)cases.count + 1, NULL, NULL);
    return golden_finish(&cases, failed);
}
