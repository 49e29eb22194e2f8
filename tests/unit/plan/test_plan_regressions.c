/* Graphs that were once planned wrongly, as shrunk from random ones (test_random_plans.c). */
#include "unit/plan/check_plan.h"

#include "unit/graph_test.h"

typedef struct regression {
    const char *name, *graph;
    int64_t symbols[2];
} regression;

static regression regressions[] = {
    /* The k axes were merged by the left operand's addresses alone. */
    {"test_dot__contracts_axes_in_another_order",
     "graph {\n"
     "  %0 \"x0\" = input : f32[5,6,1]\n"
     "  %1 \"x1\" = input : f32[6,12,5]\n"
     "  %2 = dot %0 %1 {lhs_contract=[0,1] rhs_contract=[2,0] acc=f32}\n"
     "  output %2 \"y\"\n"
     "}\n",
     {0}},
    {"test_dot__contracts_open_axes_apart",
     "graph (N in [2,64]) {\n"
     "  %0 \"x0\" = input : f32[7,N]\n"
     "  %1 \"x1\" = input : f32[7,4,N,N]\n"
     "  %2 = dot %0 %1 {lhs_contract=[0,1] rhs_contract=[0,2] acc=f32}\n"
     "  output %2 \"y\"\n"
     "}\n",
     {5}},
    {"test_dot__contracts_batched_axes_in_another_order",
     "graph (N in [2,64], S in [2,64]) {\n"
     "  %0 \"x0\" = input : f32[2,S,2,N,N]\n"
     "  %1 \"x1\" = input : f32[2,N,S,2,2]\n"
     "  %2 = dot %0 %1 {lhs_batch=[0,1] rhs_batch=[3,2] lhs_contract=[2,3] rhs_contract=[4,1] "
     "acc=f32}\n"
     "  output %2 \"y\"\n"
     "}\n",
     {5, 4}},
    /* A product of constants, made in `prepare`, reads its right operand in place. */
    {"test_dot__of_constants_contracts_axes_apart",
     "graph {\n"
     "  %0 = constant {data=[1,2,3,4,5,6]} : f32[3,2]\n"
     "  %1 = constant {data=[1,2,3,4,5,6,7,8,9,8,7,6]} : f32[3,2,2]\n"
     "  %2 = permute %1 {perm=[0,2,1]}\n"
     "  %3 = barrier %2\n"
     "  %4 = dot %0 %3 {lhs_contract=[0,1] rhs_contract=[0,2] acc=f32}\n"
     "  output %4 \"y\"\n"
     "}\n",
     {0}},
    /* The bounds of a tile's rows do not show what those of the axes do: no row reads the padding. */
    {"test_conv__with_padding_that_no_window_reaches",
     "graph {\n"
     "  %0 \"x0\" = input : f32[4,2,6,1]\n"
     "  %1 \"x1\" = input : f32[4,2,4,6]\n"
     "  %2 = conv %1 %0 {batch=1 stride=[2] window_dilation=[1] base_dilation=[1] pad_lo=[0] "
     "pad_hi=[1] acc=f32}\n"
     "  output %2 \"y\"\n"
     "}\n",
     {0}},
    /* Merged axes have wider bounds, which bring back comparisons that the narrow ones decided. */
    {"test_pad__with_padding_alone_along_an_axis",
     "graph {\n"
     "  %0 \"x0\" = input : f32[7,4,17,1]\n"
     "  %1 \"x1\" = input : f32[]\n"
     "  %2 = pad %0 %1 {lo=[1,-2,0,2] hi=[0,-1,0,-1] interior=[0,0,0,0]}\n"
     "  output %2 \"y\"\n"
     "}\n",
     {0}},
    {"test_pad__permuted_with_padding_alone",
     "graph {\n"
     "  %0 \"x0\" = input : f32[2,1]\n"
     "  %1 \"x1\" = input : f32[]\n"
     "  %2 = pad %0 %1 {lo=[0,2] hi=[2,-1] interior=[0,0]}\n"
     "  %3 = permute %2 {perm=[1,0]}\n"
     "  output %3 \"y\"\n"
     "}\n",
     {0}},
    {"test_pad__of_a_slice_with_interior",
     "graph {\n"
     "  %0 \"x0\" = input : i16[2,17,9]\n"
     "  %1 \"x1\" = input : i64[3]\n"
     "  %2 = dynamic_slice %0 %1 : i16[2,8,2]\n"
     "  %3 = reshape %2 : i16[2,1,8,1,2]\n"
     "  %4 = permute %3 {perm=[3,4,2,0,1]}\n"
     "  %5 \"x5\" = input : i16[]\n"
     "  %6 = pad %4 %5 {lo=[0,0,-1,-1,0] hi=[2,0,-1,-1,0] interior=[0,0,0,2,0]}\n"
     "  output %6 \"y\"\n"
     "}\n",
     {0}},
    {"test_dot__seen_through_a_reshape_that_moves_an_axis_of_one",
     "graph (N in [2,64]) {\n"
     "  %0 \"x0\" = input : f64[N,16,8]\n"
     "  %1 \"x1\" = input : f64[N,1]\n"
     "  %2 = dot %0 %1 {lhs_contract=[0] rhs_contract=[0] acc=f64}\n"
     "  %3 = reshape %2 : f64[16,1,8]\n"
     "  output %3 \"y\"\n"
     "}\n",
     {5}},
    /* The place of what is read crosswise depends on data. */
    {"test_gather__of_a_transposed_operand",
     "graph (N in [2,64]) {\n"
     "  %0 \"x0\" = input : f32[N,3,40]\n"
     "  %1 = permute %0 {perm=[2,1,0]}\n"
     "  %2 \"x2\" = input : i32[1]\n"
     "  %3 = gather %1 %2 {axes=[2] mode=clamp}\n"
     "  output %3 \"y\"\n"
     "}\n",
     {9}},
    {"test_reduce__cut_into_pieces",
     "graph {\n"
     "  %0 \"x0\" = input : f32[150001]\n"
     "  %1 \"x1\" = input : f32[40001,4]\n"
     "  %2 = reduce %0 {kind=argmax axes=[0] acc=f32}\n"
     "  %3 = reduce %1 {kind=sum axes=[0] acc=f32}\n"
     "  output %2 \"y0\"\n"
     "  output %3 \"y1\"\n"
     "}\n",
     {0}},
    /* The memory of what a barrier keeps was made after its readers ran. */
    {"test_barrier__of_a_view",
     "graph {\n"
     "  %0 \"x0\" = input : f32[1]\n"
     "  %1 = broadcast %0 {axes=[0]} : f32[7]\n"
     "  %2 = barrier %1\n"
     "  %3 = window_reduce %2 {kind=sum window=[1] stride=[1] dilation=[1] pad_lo=[0] pad_hi=[0] "
     "acc=f32}\n"
     "  output %3 \"y\"\n"
     "}\n",
     {0}},
    {"test_barrier__of_a_scalar_that_is_broadcast",
     "graph {\n"
     "  %0 \"x0\" = input : f32[]\n"
     "  %1 = exp %0\n"
     "  %2 = barrier %1\n"
     "  %3 = broadcast %2 : f32[1,2,4,11,1]\n"
     "  output %3 \"y\"\n"
     "}\n",
     {0}},
    {"test_barrier__read_by_a_nest",
     "graph (S in [2,64]) {\n"
     "  %0 \"x0\" = input : f32[S,2,6,3]\n"
     "  %1 = slice %0 {start=[1,0,0,1] step=[1,1,3,1]} : f32[S-1,2,2,2]\n"
     "  %2 = barrier %1\n"
     "  %3 = cumulative %2 {kind=max}\n"
     "  output %3 \"y\"\n"
     "}\n",
     {5}},
    /* A constant that only inlined views of constants read was taken for a temporary of `prepare`. */
    {"test_prepare__keeps_what_inlined_views_read",
     "graph {\n"
     "  %0 \"x0\" = input : f32[9,12,2]\n"
     "  %1 = constant {data=[-1.75]} : f32[1]\n"
     "  %2 = add %1 %1\n"
     "  %3 = broadcast %2 {axes=[2]} : f32[9,12,2]\n"
     "  %4 = sub %0 %3\n"
     "  %5 \"x5\" = input : f32[1,7,1,7]\n"
     "  %6 = add %5 %5\n"
     "  output %4 \"y\"\n"
     "  output %6 \"z\"\n"
     "}\n",
     {0}},
    {"test_fold__of_a_product_without_elements_is_zero",
     "graph (S in [2,64]) {\n"
     "  %0 \"x0\" = input : f64[1,33,0]\n"
     "  %1 \"x1\" = input : f64[S,33,1]\n"
     "  %2 = dot %0 %1 {lhs_batch=[0] rhs_batch=[2] lhs_contract=[1] rhs_contract=[1] acc=f64}\n"
     "  %3 = reduce %2 {kind=sum axes=[0,1] acc=f64}\n"
     "  output %3 \"y\"\n"
     "}\n",
     {7}},
    {"test_prepare__keeps_what_a_sort_reads_through_views",
     "graph {\n"
     "  %0 = constant {data=[-2]} : f32[]\n"
     "  %1 = neg %0\n"
     "  %2 = broadcast %1 : f32[1,7,12,9]\n"
     "  %3 \"x3\" = input : f32[1,7,12,9]\n"
     "  %4, %5 = sort %2 %3 {axis=3 descending=true}\n"
     "  %6, %7 = top_k %4 {axis=0 k=1}\n"
     "  output %6 \"y\"\n"
     "}\n",
     {0}},
    /* half a register of what was looked up is stored at the end of memory */
    {"test_gather__of_four_numbers_stores_no_more",
     "graph {\n"
     "  %0 \"x\" = input \"x\" : f32[192]\n"
     "  %1 \"at\" = input \"at\" : i64[4,1]\n"
     "  %2 = gather %0 %1 {axes=[0] mode=clamp} : f32[4]\n"
     "  output %2 \"y\"\n"
     "}\n",
     {0}},
    {"test_weights__with_scales_along_one_of_two_axes_of_the_sum",
     "graph {\n"
     "  %0 \"x0\" = input : f32[4,3,2]\n"
     "  %1 = tanh %0 : f32[4,3,2]\n"
     "  %2 = constant {data=hex\"0102030405060708\"} : i8[2,4,1]\n"
     "  %3 = cast %2 : f32[2,4,1]\n"
     "  %4 = constant {data=hex\"0000003f0000c03f000000c00000803e\"} : f32[1,4,1]\n"
     "  %5 = broadcast %4 {axes=[0,1,2]} : f32[2,4,1]\n"
     "  %6 = mul %3 %5 : f32[2,4,1]\n"
     "  %7 = dot %1 %6 {lhs_contract=[2,0] rhs_contract=[0,1] acc=f32} : f32[3,1]\n"
     "  output %7 \"y\"\n"
     "}\n",
     {0}},
    /* States that are collected too, one of them twice; one is what came in, two change places. */
    {"test_scan__collects_its_states",
     "graph (N in [1,8]) {\n"
     "  %0 \"a\" = input : f32[3]\n"
     "  %1 \"b\" = input : f32[3]\n"
     "  %2 \"xs\" = input : f32[N,3]\n"
     "  %3, %4, %5, %6, %7, %8 = scan %0 %1 %0 %2 {carries=3 slices=1 length=N reverse=true "
     "body=graph {\n"
     "    %0 = input : f32[3]\n"
     "    %1 = input : f32[3]\n"
     "    %2 = input : f32[3]\n"
     "    %3 = input : f32[3]\n"
     "    %4 = mul %1 %3\n"
     "    %5 = add %0 %3\n"
     "    output %4\n"
     "    output %5\n"
     "    output %0\n"
     "    output %5\n"
     "    output %0\n"
     "    output %5\n"
     "  }}\n"
     "  output %3 \"a1\"\n"
     "  output %4 \"b1\"\n"
     "  output %5 \"c1\"\n"
     "  output %6 \"as\"\n"
     "  output %7 \"cs\"\n"
     "  output %8 \"bs\"\n"
     "}\n",
     {4}},
};

static void run_regression(void **state) {
    const regression *r = *state;
    graph_test t;
    graph_test_init(&t);
    plan_case c = {.arena = &t.arena, .label = r->name, .symbols = r->symbols};
    c.graph = graph_of(&t, r->graph);
    if (!plan_case_init(&c, true) || !plan_interpret(&c)) fail_msg("%s", c.why);
    graph_test_deinit(&t);
}

static void test_regressions__compiled(void **state) {
    (void)state;
    if (!plan_has_compiler()) skip();
    graph_test t;
    const char *why = NULL;
    plan_case *cases[TN_COUNT(regressions)];
    graph_test_init(&t);
    for (size_t i = 0; i < TN_COUNT(regressions); i++) {
        const regression *r = &regressions[i];
        cases[i] = TN_NEW(&t.arena, plan_case);
        *cases[i] = (plan_case){.arena = &t.arena, .label = r->name, .symbols = r->symbols};
        cases[i]->graph = graph_of(&t, r->graph);
        if (!plan_case_init(cases[i], true)) fail_msg("%s", cases[i]->why);
    }
    if (!plan_compile(cases, TN_COUNT(cases), &t.arena, &why)) fail_msg("%s", why);
    graph_test_deinit(&t);
}

int main(void) {
    struct CMUnitTest tests[TN_COUNT(regressions) + 1] = {
        cmocka_unit_test(test_regressions__compiled),
    };
    for (size_t i = 0; i < TN_COUNT(regressions); i++)
        tests[i + 1] =
            (struct CMUnitTest){regressions[i].name, run_regression, NULL, NULL, &regressions[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
