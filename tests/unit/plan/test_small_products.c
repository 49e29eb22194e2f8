/* Products of small matrices: tiles that end in narrower vectors, rows in equal parts, loops over k that are
 * unrolled; with a transposed right operand, integers, doubles, work and folds on top. */
#include "unit/plan/check_plan.h"

#include "unit/graph_test.h"

static const char *const forms[] = {
    "graph {\n"
    "  %%0 \"a\" = input : f32[%1$d,%2$d,%4$d]\n"
    "  %%1 \"b\" = input : f32[%1$d,%4$d,%3$d]\n"
    "  %%2 = dot %%0 %%1 {lhs_batch=[0] rhs_batch=[0] lhs_contract=[2] rhs_contract=[1] acc=f32}\n"
    "  output %%2 \"y\"\n"
    "}\n",
    "graph {\n"
    "  %%0 \"a\" = input : f32[%1$d,%2$d,%4$d]\n"
    "  %%1 \"b\" = input : f32[%1$d,%3$d,%4$d]\n"
    "  %%2 = dot %%0 %%1 {lhs_batch=[0] rhs_batch=[0] lhs_contract=[2] rhs_contract=[2] acc=f32}\n"
    "  %%3 = tanh %%2\n"
    "  output %%3 \"y\"\n"
    "}\n",
    "graph {\n"
    "  %%0 \"a\" = input : f64[%2$d,%1$d,%4$d]\n"
    "  %%1 \"b\" = input : f64[%1$d,%4$d,%3$d]\n"
    "  %%2 = dot %%0 %%1 {lhs_batch=[1] rhs_batch=[0] lhs_contract=[2] rhs_contract=[1] acc=f64}\n"
    "  output %%2 \"y\"\n"
    "}\n",
    "graph {\n"
    "  %%0 \"a\" = input : i32[%1$d,%2$d,%4$d]\n"
    "  %%1 \"b\" = input : i32[%1$d,%4$d,%3$d]\n"
    "  %%2 = dot %%0 %%1 {lhs_batch=[0] rhs_batch=[0] lhs_contract=[2] rhs_contract=[1] acc=i32}\n"
    "  %%3 = reduce %%2 {kind=max axes=[2] acc=i32}\n"
    "  output %%2 \"y\"\n"
    "  output %%3 \"z\"\n"
    "}\n",
};

/* batch, M, N, K */
static const int shapes[][4] = {{3, 4, 4, 4},    {2, 8, 8, 8},   {2, 5, 24, 24}, {2, 33, 17, 5},
                                {1, 31, 20, 9},  {2, 1, 1, 3},   {3, 6, 6, 64},  {1, 64, 4, 64},
                                {1, 32, 64, 33}, {2, 13, 70, 2}, {0, 4, 4, 4},   {2, 0, 5, 3},
                                {2, 3, 0, 4},    {2, 3, 5, 0}};

static plan_case *case_of(graph_test *t, const char *form, const int *shape) {
    plan_case *c = TN_NEW(&t->arena, plan_case);
    char text[1000];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof text, form, shape[0], shape[1], shape[2], shape[3]);
#pragma GCC diagnostic pop
    *c = (plan_case){.arena = &t->arena};
    c->label = tn_arena_printf(&t->arena, "%dx%dx%dx%d", shape[0], shape[1], shape[2], shape[3]);
    c->graph = graph_of(t, text);
    if (!plan_case_init(c, true)) fail_msg("%s", c->why);
    return c;
}

static void test_small_products__interpreted(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(shapes) * TN_COUNT(forms); i++) {
        graph_test t;
        graph_test_init(&t);
        plan_case *c = case_of(&t, forms[i % TN_COUNT(forms)], shapes[i / TN_COUNT(forms)]);
        if (!plan_interpret(c)) fail_msg("%s", c->why);
        graph_test_deinit(&t);
    }
}

static void test_small_products__compiled(void **state) {
    (void)state;
    if (!plan_has_compiler()) skip();
    graph_test t;
    const char *why = NULL;
    plan_case *cases[TN_COUNT(shapes) * TN_COUNT(forms)];
    graph_test_init(&t);
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        cases[i] = case_of(&t, forms[i % TN_COUNT(forms)], shapes[i / TN_COUNT(forms)]);
    if (!plan_compile(cases, TN_COUNT(cases), &t.arena, &why)) fail_msg("%s", why);
    graph_test_deinit(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_products__interpreted),
        cmocka_unit_test(test_small_products__compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
