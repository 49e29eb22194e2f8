/* Outputs in place of inputs: with memory of their own and with that of the inputs, in every way there is to
 * run a graph. How many kernels and copies there are, and what changes memory at once. */
#include "unit/plan/check_plan.h"

#include "unit/graph_test.h"

typedef struct taking_graph {
    const char *name, *graph;
    uint32_t kernels, copies; /* fused */
    int64_t symbols[2];
} taking_graph;

static taking_graph graphs[] = {
    {"test_in_place__an_update",
     "graph {\n"
     "  %0 \"w\" = input : f32[37]\n"
     "  %1 \"g\" = input : f32[37]\n"
     "  %2 = constant {data=all 0.5} : f32[37]\n"
     "  %3 = mul %1 %2\n"
     "  %4 = sub %0 %3\n"
     "  output %4 \"y\" in place of %0\n"
     "}\n",
     1,
     0,
     {0}},
    /* Each of three is read by the kernel of all, after others are stored. */
    {"test_in_place__states_that_others_are_made_of",
     "graph (N in [2,64]) {\n"
     "  %0 \"w\" = input : f32[N,3]\n"
     "  %1 \"m\" = input : f32[N,3]\n"
     "  %2 \"v\" = input : f32[N,3]\n"
     "  %3 \"g\" = input : f32[N,3]\n"
     "  %4 = add %1 %3\n"
     "  %5 = mul %3 %3\n"
     "  %6 = add %2 %5\n"
     "  %7 = mul %4 %6\n"
     "  %8 = sub %0 %7\n"
     "  %9 = sub %8 %1\n"
     "  output %4 \"m1\" in place of %1\n"
     "  output %6 \"v1\" in place of %2\n"
     "  output %9 \"w1\" in place of %0\n"
     "}\n",
     1,
     0,
     {21}},
    {"test_in_place__the_memory_of_another",
     "graph {\n"
     "  %0 \"a\" = input : f32[9]\n"
     "  %1 \"b\" = input : f32[9]\n"
     "  %2 = add %0 %1\n"
     "  %3 = mul %0 %1\n"
     "  output %2 \"y\" in place of %1\n"
     "  output %3 \"z\" in place of %0\n"
     "}\n",
     1,
     0,
     {0}},
    /* dx reads w, dw is where w is updated. */
    {"test_in_place__readers_of_a_weight_come_first",
     "graph {\n"
     "  %0 \"x\" = input : f32[19,21]\n"
     "  %1 \"w\" = input : f32[21,37]\n"
     "  %2 \"dy\" = input : f32[19,37]\n"
     "  %3 = dot %0 %2 {lhs_contract=[0] rhs_contract=[0] acc=f32}\n"
     "  %4 = sub %1 %3\n"
     "  %5 = dot %2 %1 {lhs_contract=[1] rhs_contract=[1] acc=f32}\n"
     "  output %4 \"w1\" in place of %1\n"
     "  output %5 \"dx\"\n"
     "}\n",
     2,
     0,
     {0}},
    /* The sum over the batch is cut into pieces; two states are stored in the epilogue. */
    {"test_in_place__behind_pieces_of_a_product",
     "graph {\n"
     "  %0 \"x\" = input : f32[700,12]\n"
     "  %1 \"w\" = input : f32[12,20]\n"
     "  %2 \"dy\" = input : f32[700,20]\n"
     "  %3 \"m\" = input : f32[12,20]\n"
     "  %4 = dot %0 %2 {lhs_contract=[0] rhs_contract=[0] acc=f32}\n"
     "  %5 = add %3 %4\n"
     "  %6 = sub %1 %5\n"
     "  output %5 \"m1\" in place of %3\n"
     "  output %6 \"w1\" in place of %1\n"
     "}\n",
     1,
     0,
     {0}},
    /* w1 * w needs both, so the new one is made elsewhere. */
    {"test_in_place__the_old_value_is_read_with_the_new_one",
     "graph {\n"
     "  %0 \"w\" = input : f32[6,6]\n"
     "  %1 = exp %0\n"
     "  %2 = permute %1 {perm=[1,0]}\n"
     "  %3 = dot %2 %0 {lhs_contract=[1] rhs_contract=[0] acc=f32}\n"
     "  output %1 \"w1\" in place of %0\n"
     "  output %3 \"y\"\n"
     "}\n",
     2,
     1,
     {0}},
    {"test_in_place__reads_other_elements",
     "graph {\n"
     "  %0 \"x\" = input : f32[4,9]\n"
     "  %1 = slice %0 {start=[3,0] shape=[4,9] step=[-1,1]}\n"
     "  %2 = add %0 %1\n"
     "  output %2 \"y\" in place of %0\n"
     "}\n",
     1,
     1,
     {0}},
    {"test_in_place__permuted",
     "graph {\n"
     "  %0 \"x\" = input : f32[33,33]\n"
     "  %1 = permute %0 {perm=[1,0]}\n"
     "  output %1 \"y\" in place of %0\n"
     "}\n",
     1,
     1,
     {0}},
    {"test_in_place__its_own_sum",
     "graph {\n"
     "  %0 \"x\" = input : f32[5,40]\n"
     "  %1 = reduce %0 {kind=sum axes=[1] acc=f32}\n"
     "  %2 = broadcast %1 {axes=[0]} : f32[5,40]\n"
     "  %3 = div %0 %2\n"
     "  output %3 \"y\" in place of %0\n"
     "}\n",
     1,
     1,
     {0}},
    {"test_in_place__a_square_of_matrices",
     "graph {\n"
     "  %0 \"x\" = input : f32[20,20]\n"
     "  %1 = dot %0 %0 {lhs_contract=[1] rhs_contract=[0] acc=f32}\n"
     "  %2 = add %1 %0\n"
     "  output %2 \"y\" in place of %0\n"
     "}\n",
     1,
     1,
     {0}},
    {"test_in_place__with_a_sum_of_the_new_value",
     "graph {\n"
     "  %0 \"x\" = input : f32[6,40]\n"
     "  %1 = mul %0 %0\n"
     "  %2 = reduce %1 {kind=sum axes=[1] acc=f32}\n"
     "  output %1 \"y\" in place of %0\n"
     "  output %2 \"s\"\n"
     "}\n",
     1,
     0,
     {0}},
    /* Nothing but copies, which would overwrite what the others read. */
    {"test_in_place__two_change_places",
     "graph {\n"
     "  %0 \"a\" = input : f32[5]\n"
     "  %1 \"b\" = input : f32[5]\n"
     "  output %1 \"a1\" in place of %0\n"
     "  output %0 \"b1\" in place of %1\n"
     "}\n",
     0,
     3,
     {0}},
    {"test_in_place__four_in_a_circle_and_one_beside",
     "graph {\n"
     "  %0 \"a\" = input : f32[5]\n"
     "  %1 \"b\" = input : f32[5]\n"
     "  %2 \"c\" = input : f32[5]\n"
     "  %3 \"d\" = input : f32[5]\n"
     "  %4 = neg %0\n"
     "  output %1 \"a1\" in place of %0\n"
     "  output %2 \"b1\" in place of %1\n"
     "  output %3 \"c1\" in place of %2\n"
     "  output %0 \"d1\" in place of %3\n"
     "  output %4 \"e\"\n"
     "  output %2 \"c2\"\n"
     "}\n",
     1,
     6,
     {0}},
    {"test_in_place__a_chain",
     "graph {\n"
     "  %0 \"a\" = input : f32[5]\n"
     "  %1 \"b\" = input : f32[5]\n"
     "  %2 \"c\" = input : f32[5]\n"
     "  output %2 \"b1\" in place of %1\n"
     "  output %1 \"a1\" in place of %0\n"
     "}\n",
     0,
     2,
     {0}},
    {"test_in_place__nothing_to_do",
     "graph {\n"
     "  %0 \"a\" = input : f32[5]\n"
     "  %1 \"b\" = input : f32[0,3]\n"
     "  output %0 \"a1\" in place of %0\n"
     "  output %1 \"b1\" in place of %1\n"
     "}\n",
     0,
     0,
     {0}},
    /* A reshape of the old value is a result, too. */
    {"test_in_place__the_old_value_is_a_result",
     "graph {\n"
     "  %0 \"a\" = input : f32[6]\n"
     "  %1 = reshape %0 {shape=[2,3]}\n"
     "  %2 = exp %0\n"
     "  output %2 \"a1\" in place of %0\n"
     "  output %1 \"old\"\n"
     "}\n",
     1,
     2,
     {0}},
    {"test_in_place__one_value_twice",
     "graph {\n"
     "  %0 \"a\" = input : f32[6]\n"
     "  %1 \"b\" = input : f32[2,3]\n"
     "  %2 = exp %0\n"
     "  %3 = reshape %2 {shape=[3,2]}\n"
     "  output %3 \"b1\" in place of %1\n"
     "  output %2 \"a1\" in place of %0\n"
     "}\n",
     1,
     1,
     {0}},
    {"test_in_place__a_constant",
     "graph {\n"
     "  %0 \"a\" = input : f32[3]\n"
     "  %1 = constant {data=[1,2,3]} : f32[3]\n"
     "  %2 = exp %0\n"
     "  output %1 \"a1\" in place of %0\n"
     "  output %2 \"y\"\n"
     "}\n",
     1,
     1,
     {0}},
    {"test_in_place__narrow_types",
     "graph {\n"
     "  %0 \"a\" = input : bf16[70]\n"
     "  %1 \"f\" = input : bool[70]\n"
     "  %2 = cast %0 {dtype=f32}\n"
     "  %3 = add %2 %2\n"
     "  %4 = cast %3 {dtype=bf16}\n"
     "  %5 = not %1\n"
     "  %6 = select %5 %4 %0\n"
     "  output %6 \"a1\" in place of %0\n"
     "  output %5 \"f1\" in place of %1\n"
     "}\n",
     2,
     0,
     {0}},
    /* All tasks read the old count, one stores the new one: not where the old one is. */
    {"test_in_place__a_count_that_all_tasks_read",
     "graph {\n"
     "  %0 \"w\" = input : f32[60000]\n"
     "  %1 \"t\" = input : i64[]\n"
     "  %2 \"apply\" = input : bool[]\n"
     "  %3 = constant {data=[1]} : i64[]\n"
     "  %4 = add %1 %3\n"
     "  %5 = select %2 %4 %1\n"
     "  %6 = cast %4 {dtype=f32}\n"
     "  %7 = sin %6\n"
     "  %8 = broadcast %7 {shape=[60000]}\n"
     "  %9 = broadcast %6 {shape=[60000]}\n"
     "  %10 = mul %0 %8\n"
     "  %11 = sub %10 %9\n"
     "  output %11 \"w1\" in place of %0\n"
     "  output %5 \"t1\" in place of %1\n"
     "}\n",
     1,
     1,
     {0}},
    /* Each of two kernels would make the scalar anew. */
    {"test_in_place__a_count_that_several_kernels_read",
     "graph {\n"
     "  %0 \"w\" = input : f32[70]\n"
     "  %1 \"v\" = input : f32[9]\n"
     "  %2 \"t\" = input : i64[]\n"
     "  %3 = constant {data=[1]} : i64[]\n"
     "  %4 = add %2 %3\n"
     "  %5 = cast %4 {dtype=f32}\n"
     "  %6 = sin %5\n"
     "  %7 = broadcast %6 {shape=[70]}\n"
     "  %8 = broadcast %6 {shape=[9]}\n"
     "  %9 = mul %0 %7\n"
     "  %10 = mul %1 %8\n"
     "  output %9 \"w1\" in place of %0\n"
     "  output %10 \"v1\" in place of %1\n"
     "  output %4 \"t1\" in place of %2\n"
     "}\n",
     3,
     0,
     {0}},
    /* Without elements no task would store the count. */
    {"test_in_place__a_count_beside_nothing",
     "graph (N in [0,64]) {\n"
     "  %0 \"w\" = input : f32[N]\n"
     "  %1 \"t\" = input : i64[]\n"
     "  %2 = constant {data=[1]} : i64[]\n"
     "  %3 = add %1 %2\n"
     "  %4 = cast %3 {dtype=f32}\n"
     "  %5 = broadcast %4 {shape=[N]}\n"
     "  %6 = mul %0 %5\n"
     "  output %6 \"w1\" in place of %0\n"
     "  output %3 \"t1\" in place of %1\n"
     "}\n",
     2,
     0,
     {0}},
    /* A running sum goes over its line more than once. */
    {"test_in_place__loops_of_their_own",
     "graph {\n"
     "  %0 \"x\" = input : f32[3,70]\n"
     "  %1 \"t\" = input : f32[8,4]\n"
     "  %2 \"i\" = input : i64[5,1]\n"
     "  %3 \"u\" = input : f32[5,4]\n"
     "  %4 = cumulative %0 {kind=sum axis=1}\n"
     "  %5 = scatter %1 %2 %3 {axes=[0] mode=clamp combine=add}\n"
     "  output %4 \"x1\" in place of %0\n"
     "  output %5 \"t1\" in place of %1\n"
     "}\n",
     2,
     2,
     {0}},
    {"test_in_place__a_loop_reads_it",
     "graph {\n"
     "  %0 \"s\" = input : f32[3]\n"
     "  %1 \"w\" = input : f32[3]\n"
     "  %2 \"xs\" = input : f32[4,3]\n"
     "  %3, %4 = scan %0 %2 %1 {carries=1 slices=1 length=4 body=graph {\n"
     "    %0 = input : f32[3]\n"
     "    %1 = input : f32[3]\n"
     "    %2 = input : f32[3]\n"
     "    %3 = mul %0 %2\n"
     "    %4 = add %3 %1\n"
     "    %5 = add %4 %2\n"
     "    output %4\n"
     "    output %5\n"
     "  }}\n"
     "  %5 = exp %1\n"
     "  output %3 \"s1\" in place of %0\n"
     "  output %4 \"xs1\" in place of %2\n"
     "  output %5 \"w1\" in place of %1\n"
     "}\n",
     1,
     2,
     {0}},
    {"test_in_place__a_branch_writes_it",
     "graph {\n"
     "  %0 \"f\" = input : bool[]\n"
     "  %1 \"a\" = input : f32[7]\n"
     "  %2 \"b\" = input : f32[7]\n"
     "  %3 = if %0 %1 %2 {then_graph=graph {\n"
     "    %0 = input : f32[7]\n"
     "    %1 = input : f32[7]\n"
     "    %2 = sub %1 %0\n"
     "    output %2\n"
     "  } else_graph=graph {\n"
     "    %0 = input : f32[7]\n"
     "    %1 = input : f32[7]\n"
     "    output %0\n"
     "  }}\n"
     "  output %3 \"a1\" in place of %2\n"
     "}\n",
     0,
     1,
     {0}},
    /* What a branch hands on is not where it must end up yet: the branch does not know that. */
    {"test_in_place__a_branch_returns_it",
     "graph {\n"
     "  %0 \"f\" = input : bool[]\n"
     "  %1 \"a\" = input : f32[7,1]\n"
     "  %2 = if %0 %1 {then_graph=graph {\n"
     "    %0 = input : f32[7,1]\n"
     "    output %0\n"
     "  } else_graph=graph {\n"
     "    %0 = input : f32[7,1]\n"
     "    %1 = exp %0\n"
     "    output %1\n"
     "  }}\n"
     "  %3 = permute %2 {perm=[1,0]}\n"
     "  output %3 \"a1\" in place of %1\n"
     "}\n",
     0,
     1,
     {0}},
    {"test_in_place__branches_change_two",
     "graph {\n"
     "  %0 \"f\" = input : bool[]\n"
     "  %1 \"a\" = input : f32[7]\n"
     "  %2 \"b\" = input : f32[7]\n"
     "  %3, %4 = if %0 %1 %2 {then_graph=graph {\n"
     "    %0 = input : f32[7]\n"
     "    %1 = input : f32[7]\n"
     "    output %1\n"
     "    output %0\n"
     "  } else_graph=graph {\n"
     "    %0 = input : f32[7]\n"
     "    %1 = input : f32[7]\n"
     "    %2 = add %0 %1\n"
     "    output %2\n"
     "    output %1\n"
     "  }}\n"
     "  output %3 \"a1\" in place of %1\n"
     "  output %4 \"b1\" in place of %2\n"
     "}\n",
     0,
     2,
     {0}},
    /* Unless it is expanded, steps of its body are among those of the graph. */
    {"test_in_place__a_call_makes_it",
     "graph {\n"
     "  %0 \"a\" = input : f32[7]\n"
     "  %1 \"b\" = input : f32[7]\n"
     "  %2 = abs %1\n"
     "  %3, %4 = call %0 %1 {body=graph {\n"
     "    %0 = input : f32[7]\n"
     "    %1 = input : f32[7]\n"
     "    %2 = slice %1 {start=[6] shape=[7] step=[-1]}\n"
     "    %3 = add %0 %2\n"
     "    output %0\n"
     "    output %3\n"
     "  }}\n"
     "  output %2 \"y\"\n"
     "  output %4 \"b1\" in place of %1\n"
     "  output %3 \"a1\" in place of %0\n"
     "}\n",
     1,
     1,
     {0}},
};

static plan_case *case_of(graph_test *t, const taking_graph *g) {
    plan_case *c = TN_NEW(&t->arena, plan_case);
    *c = (plan_case){.arena = &t->arena, .label = g->name, .symbols = g->symbols};
    c->graph = graph_of(t, g->graph);
    if (!plan_case_init(c, true)) fail_msg("%s", c->why);
    return c;
}

static uint32_t count(const tn_program *p, tn_step_kind kind) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->blocks.data[0].steps.len; i++)
        n += p->blocks.data[0].steps.data[i].kind == kind;
    return n;
}

static void check_taking(void **state) {
    const taking_graph *g = *state;
    graph_test t;
    tn_program p;
    graph_test_init(&t);
    plan_case *c = case_of(&t, g);
    if (!plan_interpret(c) || !plan_program_of(c, PLAN_FUSED, tn_target_native(), &p))
        fail_msg("%s", c->why);
    if (count(&p, TN_STEP_KERNEL) != g->kernels || count(&p, TN_STEP_COPY) != g->copies)
        fail_msg("%u kernels and %u copies, expected %u and %u", count(&p, TN_STEP_KERNEL),
                 count(&p, TN_STEP_COPY), g->kernels, g->copies);
    graph_test_deinit(&t);
}

static void test_in_place__compiled(void **state) {
    (void)state;
    if (!plan_has_compiler()) skip();
    graph_test t;
    const char *why = NULL;
    plan_case *cases[TN_COUNT(graphs)];
    graph_test_init(&t);
    for (size_t i = 0; i < TN_COUNT(graphs); i++) cases[i] = case_of(&t, &graphs[i]);
    if (!plan_compile(cases, TN_COUNT(cases), &t.arena, &why)) fail_msg("%s", why);
    graph_test_deinit(&t);
}

int main(void) {
    struct CMUnitTest tests[TN_COUNT(graphs) + 1] = {
        cmocka_unit_test(test_in_place__compiled),
    };
    for (size_t i = 0; i < TN_COUNT(graphs); i++)
        tests[i + 1] = (struct CMUnitTest){graphs[i].name, check_taking, NULL, NULL, &graphs[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
