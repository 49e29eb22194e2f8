#include "unit/ops/op_test.h"

static const tn_op binary_ops[] = {
#define R(name) TN_OP_##name,
    TN_B_BINARY(R)
#undef R
};

static void test_binary__refuses_operands_that_differ(void **state) {
    op_test *t = *state;
    tn_value in[] = {op_input(t, TN_f32, SHAPE_OF(2, 3)), op_input(t, TN_f32, SHAPE_OF(2, 4)),
                     op_input(t, TN_f16, SHAPE_OF(2, 3))};
    tn_b_node(&t->b, TN_OP_add, in, 2, NULL);
    op_test_refused(t, TN_INVALID,
                    "operand 1 is f32[2,4]: expected shape [2,3] as in operand 0; broadcast first");
    tn_b_node(&t->b, TN_OP_add, (tn_value[]){in[0], in[2]}, 2, NULL);
    op_test_refused(t, TN_INVALID, "expected type f32 as in operand 0; insert a cast");
    tn_b_node(&t->b, TN_OP_shl, in, 2, NULL);
    op_test_refused(t, TN_INVALID, "operand 0 is f32[2,3]: expected an integer type");
}

static void test_binary__compares_open_sizes_as_polynomials(void **state) {
    op_test *t = *state;
    tn_dim n = op_test_symbol(t, "N", 3);
    tn_dim twice = tn_dim_mul(&t->dims, n, 2), sum = tn_dim_add(&t->dims, n, n);
    tn_value x = op_input(t, TN_f32, op_shape(1, &twice)),
             y = op_input(t, TN_f32, op_shape(1, &sum));
    assert_int_not_equal(tn_b_add(&t->b, x, y), TN_NO_VALUE);
    tn_value in[] = {x, op_input(t, TN_f32, op_shape(1, &n))};
    tn_b_node(&t->b, TN_OP_add, in, 2, NULL);
    op_test_refused(t, TN_INVALID, "expected shape [2*N]");
}

static void test_binary__evaluates_known_values(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_i8, SHAPE_OF(3)), y = op_input(t, TN_i8, SHAPE_OF(3));
    const tn_type *type = tn_graph_type(t->g, x);
    tn_array in[] = {op_numbers(t, type, (double[]){-128, 7, 100}),
                     op_numbers(t, type, (double[]){-1, 0, 100})};
    tn_array z = op_eval(t, tn_b_div(&t->b, x, y), in);
    EXPECT_NUMBERS(&z, -128, -1, 1);
    z = op_eval(t, tn_b_add(&t->b, x, y), in);
    EXPECT_NUMBERS(&z, 127, 7, -56);
    z = op_eval(t, tn_b_le(&t->b, x, y), in);
    assert_int_equal(z.dtype, TN_bool);
    EXPECT_NUMBERS(&z, 1, 0, 1);
}

static void test_binary__lowering_agrees_with_eval(void **state) {
    op_test *t = *state;
    for (size_t i = 0; i < TN_COUNT(binary_ops); i++) {
        tn_scalar_op scalar;
        assert_true(tn_scalar_parse(tn_op_info_of(binary_ops[i])->name, &scalar));
        for (int dtype = 0; dtype < TN_DTYPE_COUNT; dtype++) {
            if (!tn_scalar_accepts(scalar, (tn_dtype)dtype)) continue;
            tn_value x[] = {op_input(t, (tn_dtype)dtype, SHAPE_OF(4, 5)),
                            op_input(t, (tn_dtype)dtype, SHAPE_OF(4, 5))};
            tn_array in[] = {op_any(t, tn_graph_type(t->g, x[0])),
                             op_any(t, tn_graph_type(t->g, x[1]))};
            op_check_lowering(t, tn_b_node(&t->b, binary_ops[i], x, 2, NULL), in);
        }
    }
}

static void check_gradients(tn_op op, double lo, double hi) {
    op_test t;
    op_test_init(&t);
    tn_value x[] = {op_input(&t, TN_f64, SHAPE_OF(3, 5)), op_input(&t, TN_f64, SHAPE_OF(3, 5))};
    tn_array in[] = {op_uniform(&t, tn_graph_type(t.g, x[0]), lo, hi),
                     op_uniform(&t, tn_graph_type(t.g, x[1]), lo, hi)};
    op_check_vjp(&t, tn_b_node(&t.b, op, x, 2, NULL), in);
    op_test_deinit(&t);
}

static void test_binary__gradients_agree_with_differences(void **state) {
    (void)state;
    check_gradients(TN_OP_add, -2, 2);
    check_gradients(TN_OP_sub, -2, 2);
    check_gradients(TN_OP_mul, -2, 2);
    check_gradients(TN_OP_div, 0.5, 2);
    check_gradients(TN_OP_rem, 0.5, 3);
    check_gradients(TN_OP_pow, 0.5, 2);
    check_gradients(TN_OP_atan2, 0.5, 2);
    check_gradients(TN_OP_atan2, -2, -0.5);
    check_gradients(TN_OP_max, -2, 2);
    check_gradients(TN_OP_min, -2, 2);
}

/* The cotangents of x and y, for d = 1. */
static void cotangents_at(tn_op op, double x, double y, double *dx, double *dy) {
    op_test t;
    op_test_init(&t);
    tn_value in[] = {op_input(&t, TN_f64, SCALAR_SHAPE), op_input(&t, TN_f64, SCALAR_SHAPE)};
    tn_value z = tn_b_node(&t.b, op, in, 2, NULL), d = tn_b_scalar(&t.b, TN_f64, 1), grads[2];
    tn_node_info n = *tn_graph_producer(t.g, z);
    tn_op_rules_of(op)->vjp.rule(&t.b, t.g, &n, in, &z, &d, grads);
    tn_array inputs[] = {op_numbers(&t, tn_graph_type(t.g, in[0]), &x),
                         op_numbers(&t, tn_graph_type(t.g, in[0]), &y)};
    tn_array gx = op_eval(&t, grads[0], inputs), gy = op_eval(&t, grads[1], inputs);
    *dx = op_number(&gx, 0);
    *dy = op_number(&gy, 0);
    op_test_deinit(&t);
}

static void test_binary__gradients_are_defined_at_the_edges(void **state) {
    double dx, dy;
    (void)state;
    cotangents_at(TN_OP_pow, 0, 0, &dx, &dy);
    assert_true(dx == 0 && dy == 0);
    cotangents_at(TN_OP_pow, 0, 2, &dx, &dy);
    assert_true(dx == 0 && dy == 0);
    cotangents_at(TN_OP_max, 3, 3, &dx, &dy);
    assert_true(dx == 0.5 && dy == 0.5);
}

static void test_binary__constants_get_no_gradient(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(2)), y = tn_b_mul_scalar(&t->b, x, 3), grads[2];
    tn_node_info n = *tn_graph_producer(t->g, y);
    tn_op_rules_of(TN_OP_mul)->vjp.rule(&t->b, t->g, &n, n.in, &y, &x, grads);
    assert_int_not_equal(grads[0], TN_NO_VALUE);
    assert_int_equal(grads[1], TN_NO_VALUE);
}

static void test_binary__batches(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2, 5)), y = op_input(t, TN_f32, SHAPE_OF(2, 5));
    op_check_batch(t, tn_b_sub(&t->b, x, y));
    op_check_batch(t, tn_b_lt(&t->b, x, y));
}

static void test_binary__partial_sums_pass_linear_operations(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2)), y = tn_b_mul(&t->b, x, x);
    const tn_node_info *n = tn_graph_producer(t->g, y);
    int in[] = {TN_PLACE_PARTIAL, TN_PLACE_REPLICATED}, out;
    tn_shard s = {in, &out};
    assert_true(tn_op_rules_of(TN_OP_mul)->shard.rule(t->g, n, &s));
    assert_int_equal(out, TN_PLACE_PARTIAL);
    assert_false(tn_op_rules_of(TN_OP_add)->shard.rule(t->g, n, &s));
    assert_false(tn_op_rules_of(TN_OP_max)->shard.rule(t->g, n, &s));
    in[1] = TN_PLACE_PARTIAL;
    assert_true(tn_op_rules_of(TN_OP_add)->shard.rule(t->g, n, &s));
    assert_false(tn_op_rules_of(TN_OP_mul)->shard.rule(t->g, n, &s));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_binary__refuses_operands_that_differ),
        OP_TEST(test_binary__compares_open_sizes_as_polynomials),
        OP_TEST(test_binary__evaluates_known_values),
        OP_TEST(test_binary__lowering_agrees_with_eval),
        OP_TEST(test_binary__gradients_agree_with_differences),
        OP_TEST(test_binary__gradients_are_defined_at_the_edges),
        OP_TEST(test_binary__constants_get_no_gradient),
        OP_TEST(test_binary__batches),
        OP_TEST(test_binary__partial_sums_pass_linear_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
