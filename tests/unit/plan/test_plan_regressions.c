/* Graphs that were once planned, lowered or computed wrongly: tests/golden/differential.txt has them as text,
 * each as small as it could be made, with the values of its symbols where it has some. */
#include "unit/plan/random_check.h"

#include "unit/graph_test.h"

enum { MOST_SYMBOLS = 4 };

static golden graphs;
static const random_check check = {.wild = true};

static plan_case *case_of(graph_test *t, const golden_section *s) {
    plan_case *c = TN_NEW(&t->arena, plan_case);
    int64_t *symbols = TN_NEW_N(&t->arena, int64_t, MOST_SYMBOLS);
    const char *at =
        s->parts > 1 ? tn_arena_printf(&t->arena, "%.*s", (int)s->len[1], s->part[1]) : "";
    for (int i = 0; i < MOST_SYMBOLS; i++) {
        char *end;
        symbols[i] = strtoll(at, &end, 10);
        at = end;
    }
    const tn_graph *g = graph_of_n(t, s->part[0], s->len[0]);
    if (!random_case(&check, c, g, NULL, symbols, s->name)) fail_msg("%s", c->why);
    return c;
}

static void run_regression(void **state) {
    graph_test t;
    graph_test_init(&t);
    plan_case *c = case_of(&t, *state);
    if (!plan_interpret(c)) fail_msg("%s", c->why);
    graph_test_deinit(&t);
}

static void test_regressions__compiled(void **state) {
    (void)state;
    if (!plan_has_compiler()) skip();
    graph_test t;
    const char *why = NULL;
    plan_case *cases[GOLDEN_SECTIONS];
    graph_test_init(&t);
    for (int i = 0; i < graphs.count; i++) cases[i] = case_of(&t, &graphs.section[i]);
    if (!plan_compile(cases, (uint32_t)graphs.count, &t.arena, &why)) fail_msg("%s", why);
    graph_test_deinit(&t);
}

int main(void) {
    struct CMUnitTest tests[GOLDEN_SECTIONS + 1] = {
        cmocka_unit_test(test_regressions__compiled),
    };
    golden_open(&graphs, "tests/golden/differential.txt", 0, NULL);
    for (int i = 0; i < graphs.count; i++)
        tests[i + 1] = (struct CMUnitTest){graphs.section[i].name, run_regression, NULL, NULL,
                                           &graphs.section[i]};
    int failed =
        _cmocka_run_group_tests("regressions", tests, (size_t)graphs.count + 1, NULL, NULL);
    return golden_finish(&graphs, failed);
}
