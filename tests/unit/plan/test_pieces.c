/* Products whose sums are made in pieces of k (contraction_pieces.c), and, by other records, in blocks: operands
 * in place, turned, evaluated on the way in, packed; k of one axis or two; work and folds on top. */
#include "unit/plan/plan_list.h"

#include "unit/graph_test.h"

#define HEAD(dtype, a, b)                                                                          \
    "graph {\n  %%0 \"a\" = input : " dtype "[" a "]\n  %%1 \"b\" = input : " dtype "[" b "]\n"
#define DOT(x, y, kx, ky, acc)                                                                     \
    " = dot " x " " y " {lhs_contract=[" kx "] rhs_contract=[" ky "] acc=" acc "}\n"

/* In terms of M, N, K and the outer of two axes of k. */
static const char *const forms[] = {
    HEAD("f32", "%1$d,%3$d", "%3$d,%2$d") "  %%2" DOT("%%0", "%%1", "1", "0", "f32") /* in place */
    "  output %%2 \"y\"\n}\n",
    HEAD("f32", "%3$d,%1$d", "%2$d,%3$d") "  %%2" DOT("%%0", "%%1", "0", "1", "f32") /* turned */
    "  %%3 = tanh %%2\n  output %%3 \"y\"\n  output %%2 \"z\"\n}\n",
    HEAD("f32", "%4$d,%3$d,%1$d", "%4$d,%3$d,%2$d") /* a weight's gradient */
    "  %%2 = tanh %%0\n  %%3 = tanh %%1\n  %%4" DOT(
        "%%2", "%%3", "0,1", "0,1",
        "f32") "  %%5 = reduce %%4 {kind=sum axes=[1] acc=f32}\n"
               "  %%6 = reduce %%4 {kind=max axes=[0] acc=f32}\n"
               "  %%7 = mul %%4 %%4\n  %%8 = reduce %%7 {kind=sum axes=[0,1] acc=f32}\n"
               "  output %%4 \"y\"\n  output %%5 \"r\"\n  output %%6 \"c\"\n  output %%8 "
               "\"s\"\n}\n",
    HEAD("f32", "%1$d,%3$d", "%2$d,%3$d") /* rows evaluated along k */
    "  %%2 = tanh %%0\n  %%3" DOT("%%2", "%%1", "1", "1", "f32") "  output %%3 \"y\"\n}\n",
    HEAD("f64", "%4$d,%3$d,%1$d", "%4$d,%3$d,%2$d") "  %%2" DOT("%%0", "%%1", "0,1", "0,1",
                                                                "f64") "  output %%2 \"y\"\n}\n",
    HEAD("i32", "%1$d,%3$d", "%3$d,%2$d") "  %%2" DOT("%%0", "%%1", "1", "0",
                                                      "i32") "  output %%2 \"y\"\n}\n",
};

typedef struct product {
    int form, m, n, k, outer;
    const char *note;
} product;

static const product products[] = {
    {0, 9, 15, 1031, 1, "k_pieces=2"},
    {1, 9, 15, 1031, 1, "k_pieces=2"},
    {2, 9, 15, 345, 3, "k_pieces=2"},
    {3, 33, 5, 1024, 1, "k_pieces=2"},
    {4, 9, 15, 515, 2, "k_pieces=2"},
    {5, 2, 40, 2100, 1, "k_pieces=2"},
    {0, 41, 1, 3300, 1, "k_pieces=2"},
    {1, 41, 1, 3300, 1, "k_pieces=2"},
    {2, 41, 1, 1650, 2, "k_pieces=2"},
    {3, 41, 1, 3300, 1, "k_pieces=2"},
    {0, 1, 1100, 300, 1, "k_pieces=2"},
    {0, 3, 0, 1024, 1, NULL},
    {2, 3, 5, 0, 2, NULL},
    {0, 34, 1030, 132, 1, "rhs=packed"},  /* the next panel is fetched ahead */
    {1, 30, 70, 300, 1, "lhs=staged"},    /* columns of A are put in order: all of k */
    {1, 130, 128, 1100, 1, "lhs=staged"}, /* or a block of it for all panels of the task */
};

static plan_case *case_of(graph_test *t, size_t i) {
    const product *p = &products[i];
    plan_case *c = TN_NEW(&t->arena, plan_case);
    char text[1000];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof text, forms[p->form], p->m, p->n, p->k, p->outer);
#pragma GCC diagnostic pop
    *c = (plan_case){.arena = &t->arena};
    c->label =
        tn_arena_printf(&t->arena, "form %d of %dx%dx%dx%d", p->form, p->m, p->n, p->outer, p->k);
    c->graph = graph_of(t, text);
    if (!plan_case_init(c, true)) fail_msg("%s", c->why);
    return c;
}

static void test_pieces__interpreted(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(products); i += 2) {
        graph_test t;
        graph_test_init(&t);
        plan_case *c = case_of(&t, i);
        if (!plan_interpret(c)) fail_msg("%s", c->why);
        graph_test_deinit(&t);
    }
}

static void test_pieces__compiled(void **state) {
    (void)state;
    if (!plan_has_compiler()) skip();
    graph_test t;
    const char *why = NULL;
    plan_case *cases[TN_COUNT(products)];
    graph_test_init(&t);
    for (size_t i = 0; i < TN_COUNT(products); i++) {
        cases[i] = case_of(&t, i);
        const char *note = products[i].note;
        if (note && !plan_has_note(cases[i], note)) fail_msg("%s: no %s", cases[i]->label, note);
    }
    if (!plan_compile(cases, TN_COUNT(products), &t.arena, &why)) fail_msg("%s", why);
    graph_test_deinit(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces__interpreted),
        cmocka_unit_test(test_pieces__compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
