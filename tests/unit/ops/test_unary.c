#include "unit/ops/op_test.h"

static const tn_op unary_ops[] = {
#define R(name) TN_OP_##name,
    TN_B_UNARY(R)
#undef R
};

static tn_scalar_op scalar_of(tn_op op) {
    tn_scalar_op scalar;
    assert_true(tn_scalar_parse(tn_op_info_of(op)->name, &scalar));
    return scalar;
}

static void test_unary__refuses_types_outside_its_domain(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_i32, SHAPE_OF(2, 3));
    tn_b_exp(&t->b, x);
    op_test_refused(t, TN_INVALID, "operand 0 is i32[2,3]: expected a float type");
    tn_b_neg(&t->b, op_input(t, TN_bool, SCALAR_SHAPE));
    op_test_refused(t, TN_INVALID, "expected a float or integer type");
    tn_b_popcount(&t->b, op_input(t, TN_f32, SCALAR_SHAPE));
    op_test_refused(t, TN_INVALID, "expected an integer type");
}

static void test_unary__evaluates_known_values(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(4));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){-2.5, 0.5, 1.5, NAN}), y;
    y = op_eval(t, tn_b_round(&t->b, x), &in);
    EXPECT_NUMBERS(&y, -2, 0, 2, NAN);
    y = op_eval(t, tn_b_sign(&t->b, x), &in);
    EXPECT_NUMBERS(&y, -1, 1, 1, NAN);
    y = op_eval(t, tn_b_is_nan(&t->b, x), &in);
    assert_int_equal(y.dtype, TN_bool);
    EXPECT_NUMBERS(&y, 0, 0, 0, 1);
}

static void test_unary__lowering_agrees_with_eval(void **state) {
    op_test *t = *state;
    for (size_t i = 0; i < TN_COUNT(unary_ops); i++) {
        for (int dtype = 0; dtype < TN_DTYPE_COUNT; dtype++) {
            if (!tn_scalar_accepts(scalar_of(unary_ops[i]), (tn_dtype)dtype)) continue;
            tn_value x = op_input(t, (tn_dtype)dtype, SHAPE_OF(3, 7));
            tn_array in = op_any(t, tn_graph_type(t->g, x));
            op_check_lowering(t, tn_b_node(&t->b, unary_ops[i], &x, 1, NULL), &in);
        }
    }
}

/* Where each smooth operation is defined and smooth. */
static const struct {
    tn_op op;
    double lo, hi;
} smooth[] = {
    {TN_OP_neg, -2, 2},      {TN_OP_abs, 0.1, 2},      {TN_OP_abs, -2, -0.1},
    {TN_OP_exp, -2, 2},      {TN_OP_expm1, -2, 2},     {TN_OP_log, 0.5, 4},
    {TN_OP_log1p, -0.5, 4},  {TN_OP_sqrt, 0.5, 4},     {TN_OP_rsqrt, 0.5, 4},
    {TN_OP_sin, -4, 4},      {TN_OP_cos, -4, 4},       {TN_OP_tan, -1, 1},
    {TN_OP_asin, -0.8, 0.8}, {TN_OP_acos, -0.8, 0.8},  {TN_OP_atan, -3, 3},
    {TN_OP_sinh, -2, 2},     {TN_OP_cosh, -2, 2},      {TN_OP_asinh, -3, 3},
    {TN_OP_acosh, 1.3, 4},   {TN_OP_atanh, -0.8, 0.8}, {TN_OP_tanh, -2, 2},
    {TN_OP_erf, -2, 2},
};

static void test_unary__gradients_agree_with_differences(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(smooth); i++) {
        op_test t;
        op_test_init(&t);
        tn_value x = op_input(&t, TN_f64, SHAPE_OF(3, 4));
        tn_array in = op_uniform(&t, tn_graph_type(t.g, x), smooth[i].lo, smooth[i].hi);
        op_check_vjp(&t, tn_b_node(&t.b, smooth[i].op, &x, 1, NULL), &in);
        op_test_deinit(&t);
    }
}

static void test_unary__flat_operations_have_no_gradient(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(2)), y = tn_b_floor(&t->b, x), grad = 0;
    tn_node_info n = *tn_graph_producer(t->g, y);
    tn_op_rules_of(TN_OP_floor)->vjp.rule(&t->b, t->g, &n, &x, &y, &x, &grad);
    assert_int_equal(grad, TN_NO_VALUE);
}

static void test_unary__batches(void **state) {
    op_test *t = *state;
    op_check_batch(t, tn_b_exp(&t->b, op_input(t, TN_f32, SHAPE_OF(2, 5))));
    op_check_batch(t, tn_b_not(&t->b, op_input(t, TN_i8, SCALAR_SHAPE)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_unary__refuses_types_outside_its_domain),
        OP_TEST(test_unary__evaluates_known_values),
        OP_TEST(test_unary__lowering_agrees_with_eval),
        OP_TEST(test_unary__gradients_agree_with_differences),
        OP_TEST(test_unary__flat_operations_have_no_gradient),
        OP_TEST(test_unary__batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
