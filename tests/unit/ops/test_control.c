#include "unit/ops/op_test.h"

/* A sub-graph under construction. */
static tn_builder sub_graph(op_test *t) {
    return tn_builder_of(tn_graph_new_sub(t->g), &t->err);
}

static tn_value sub_input(tn_builder *b, tn_dtype dtype, tn_shape shape) {
    return tn_b_input(b, NULL, dtype, &shape);
}

static void sub_output(op_test *t, tn_builder *b, tn_value v) {
    op_test_ok(t, b->status);
    tn_graph_add_output(b->graph, v, NULL);
}

/* f(x, y) = x * y + exp(x) */
static tn_graph *product_body(op_test *t, tn_dtype dtype, tn_shape shape) {
    tn_builder b = sub_graph(t);
    tn_value x = sub_input(&b, dtype, shape), y = sub_input(&b, dtype, shape);
    sub_output(t, &b, tn_b_add(&b, tn_b_mul(&b, x, y), tn_b_exp(&b, x)));
    return b.graph;
}

static void test_call__evaluates_its_body(void **state) {
    op_test *t = *state;
    tn_attrs_call a = {.body = product_body(t, TN_f64, SHAPE_OF(3))};
    tn_value in[] = {op_input(t, TN_f64, SHAPE_OF(3)), op_input(t, TN_f64, SHAPE_OF(3))};
    tn_value y = tn_b_node(&t->b, TN_OP_call, in, 2, &a);
    op_test_ok(t, t->b.status);
    tn_array values[] = {op_small(t, tn_graph_type(t->g, in[0])),
                         op_small(t, tn_graph_type(t->g, in[1]))};
    tn_array out = op_eval(t, y, values);
    for (int i = 0; i < 3; i++) {
        double x = op_number(&values[0], i);
        assert_true(op_number(&out, i) == x * op_number(&values[1], i) + exp(x));
    }
    op_check_batch(t, y);
    op_check_vjp(t, y, values);
}

static void test_call__refuses_other_operands(void **state) {
    op_test *t = *state;
    tn_attrs_call a = {.body = product_body(t, TN_f64, SHAPE_OF(3))};
    tn_value in[] = {op_input(t, TN_f64, SHAPE_OF(3)), op_input(t, TN_f32, SHAPE_OF(3))};
    tn_b_node(&t->b, TN_OP_call, in, 2, &a);
    op_test_refused(t, TN_INVALID, "input 1 of sub-graph 'body' is f64[3]; expected f32[3]");
    tn_b_node(&t->b, TN_OP_call, in, 1, &a);
    op_test_refused(t, TN_INVALID, "takes 2 inputs; expected 1");
}

static void test_if__takes_one_branch(void **state) {
    op_test *t = *state;
    tn_builder yes = sub_graph(t), no = sub_graph(t);
    sub_output(t, &yes, tn_b_neg(&yes, sub_input(&yes, TN_i32, SCALAR_SHAPE)));
    sub_output(t, &no, sub_input(&no, TN_i32, SCALAR_SHAPE));
    tn_attrs_if a = {.then_graph = yes.graph, .else_graph = no.graph};
    tn_value in[] = {op_input(t, TN_bool, SCALAR_SHAPE), op_input(t, TN_i32, SCALAR_SHAPE)};
    tn_value y = tn_b_node(&t->b, TN_OP_if, in, 2, &a);
    for (int flag = 0; flag < 2; flag++) {
        tn_array values[] = {op_numbers(t, tn_graph_type(t->g, in[0]), (double[]){flag}),
                             op_numbers(t, tn_graph_type(t->g, in[1]), (double[]){7})};
        tn_array out = op_eval(t, y, values);
        EXPECT_NUMBERS(&out, flag ? -7 : 7);
    }
    op_check_batch(t, y);
    tn_b_node(&t->b, TN_OP_if, (tn_value[]){in[1], in[1]}, 2, &a);
    op_test_refused(t, TN_INVALID, "expected a bool scalar");
}

/* while (i < n) { i += 1; sum += i } */
static void test_while__runs_until_its_condition_fails(void **state) {
    op_test *t = *state;
    tn_builder cond = sub_graph(t), body = sub_graph(t);
    tn_value i = sub_input(&cond, TN_i64, SCALAR_SHAPE);
    sub_input(&cond, TN_i64, SCALAR_SHAPE);
    sub_output(t, &cond, tn_b_lt(&cond, i, sub_input(&cond, TN_i64, SCALAR_SHAPE)));
    i = sub_input(&body, TN_i64, SCALAR_SHAPE);
    tn_value sum = sub_input(&body, TN_i64, SCALAR_SHAPE);
    sub_input(&body, TN_i64, SCALAR_SHAPE);
    i = tn_b_add_scalar(&body, i, 1);
    sub_output(t, &body, i);
    sub_output(t, &body, tn_b_add(&body, sum, i));
    tn_attrs_while a = {.states = 2, .cond = cond.graph, .body = body.graph};
    tn_value in[3];
    for (int p = 0; p < 3; p++) in[p] = op_input(t, TN_i64, SCALAR_SHAPE);
    tn_value y = tn_b_node(&t->b, TN_OP_while, in, 3, &a);
    op_test_ok(t, t->b.status);
    tn_array values[3];
    for (int p = 0; p < 3; p++)
        values[p] = op_numbers(t, tn_graph_type(t->g, in[p]), (double[]){p == 2 ? 10 : 0});
    tn_array out = op_eval(t, y + 1, values);
    EXPECT_NUMBERS(&out, 55);
}

/* carry' = carry + w * x, y = carry' */
static tn_value scan_of(op_test *t, tn_dim length, bool reverse, const tn_value *in) {
    tn_builder b = sub_graph(t);
    tn_value carry = sub_input(&b, TN_f32, SCALAR_SHAPE), x = sub_input(&b, TN_f32, SCALAR_SHAPE);
    tn_value w = sub_input(&b, TN_f32, SCALAR_SHAPE);
    carry = tn_b_add(&b, carry, tn_b_mul(&b, w, x));
    sub_output(t, &b, carry);
    sub_output(t, &b, carry);
    tn_attrs_scan a = {
        .carries = 1, .slices = 1, .length = length, .reverse = reverse, .body = b.graph};
    return tn_b_node(&t->b, TN_OP_scan, in, 3, &a);
}

static void test_scan__carries_and_stacks(void **state) {
    op_test *t = *state;
    tn_dim n = op_test_symbol(t, "N", 3);
    tn_value in[] = {op_input(t, TN_f32, SCALAR_SHAPE), op_input(t, TN_f32, SHAPE_OF(n)),
                     op_input(t, TN_f32, SCALAR_SHAPE)};
    tn_array values[] = {op_numbers(t, tn_graph_type(t->g, in[0]), (double[]){1}),
                         op_numbers(t, tn_graph_type(t->g, in[1]), (double[]){1, 2, 4}),
                         op_numbers(t, tn_graph_type(t->g, in[2]), (double[]){10})};
    for (int reverse = 0; reverse < 2; reverse++) {
        tn_value y = scan_of(t, n, reverse, in);
        op_test_ok(t, t->b.status);
        tn_array last = op_eval(t, y, values), all = op_eval(t, y + 1, values);
        EXPECT_NUMBERS(&last, 71);
        if (reverse)
            EXPECT_NUMBERS(&all, 71, 61, 41);
        else
            EXPECT_NUMBERS(&all, 11, 31, 71);
    }
    op_check_batch(t, scan_of(t, n, true, in));
    scan_of(t, 3, false, in);
    op_test_refused(t, TN_INVALID, "expected 3 steps along axis 0");
}

static void test_collectives__are_identities_on_one_rank(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(4, 6));
    tn_attrs_all_reduce reduce = {.kind = TN_REDUCE_sum, .ranks = 1};
    tn_attrs_all_gather gather = {.axis = 1, .ranks = 1};
    tn_attrs_reduce_scatter scatter = {.kind = TN_REDUCE_max, .axis = 0, .ranks = 1};
    tn_attrs_all_to_all all = {.split_axis = 0, .concat_axis = 1, .ranks = 1};
    tn_attrs_collective_permute permute = {.target = {1, {0}}, .ranks = 1};
    tn_value y[] = {tn_b_node(&t->b, TN_OP_all_reduce, &x, 1, &reduce),
                    tn_b_node(&t->b, TN_OP_all_gather, &x, 1, &gather),
                    tn_b_node(&t->b, TN_OP_reduce_scatter, &x, 1, &scatter),
                    tn_b_node(&t->b, TN_OP_all_to_all, &x, 1, &all),
                    tn_b_node(&t->b, TN_OP_collective_permute, &x, 1, &permute),
                    tn_b_node(&t->b, TN_OP_collective_wait, &x, 1, NULL)};
    op_test_ok(t, t->b.status);
    tn_array in = op_small(t, tn_graph_type(t->g, x));
    for (size_t i = 0; i < TN_COUNT(y); i++) {
        tn_array out = op_eval(t, y[i], &in);
        op_expect_equal(&out, &in, "a collective on one rank");
        op_check_lowering(t, y[i], &in);
        op_check_batch(t, y[i]);
    }
}

static void test_collectives__infer_sizes_over_ranks(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(4, 6));
    tn_attrs_all_to_all a = {.split_axis = 1, .concat_axis = 0, .ranks = 2};
    tn_shape y = tn_b_type(&t->b, tn_b_node(&t->b, TN_OP_all_to_all, &x, 1, &a)).shape;
    assert_int_equal(y.dim[0], 8);
    assert_int_equal(y.dim[1], 3);
    a.ranks = 4;
    tn_b_node(&t->b, TN_OP_all_to_all, &x, 1, &a);
    op_test_refused(t, TN_INVALID, "axis 1 of size 6 does not split among 4 ranks");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_call__evaluates_its_body),
        OP_TEST(test_call__refuses_other_operands),
        OP_TEST(test_if__takes_one_branch),
        OP_TEST(test_while__runs_until_its_condition_fails),
        OP_TEST(test_scan__carries_and_stacks),
        OP_TEST(test_collectives__are_identities_on_one_rank),
        OP_TEST(test_collectives__infer_sizes_over_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
