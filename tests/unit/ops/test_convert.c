#include "unit/ops/op_test.h"

static void test_convert__refuses_wrong_operands(void **state) {
    op_test *t = *state;
    tn_value f = op_input(t, TN_bool, SHAPE_OF(2)), x = op_input(t, TN_f32, SHAPE_OF(2));
    tn_value wide = op_input(t, TN_f32, SHAPE_OF(3)), half = op_input(t, TN_f16, SHAPE_OF(2));
    tn_b_node(&t->b, TN_OP_select, (tn_value[]){x, x, x}, 3, NULL);
    op_test_refused(t, TN_INVALID, "operand 0 is f32[2]: expected type bool");
    tn_b_node(&t->b, TN_OP_select, (tn_value[]){f, x, half}, 3, NULL);
    op_test_refused(t, TN_INVALID, "operand 2 is f16[2]: expected type f32 as in operand 1");
    tn_b_node(&t->b, TN_OP_select, (tn_value[]){f, wide, wide}, 3, NULL);
    op_test_refused(t, TN_INVALID, "operand 0 is bool[2]: expected shape [3] as in operand 1");
    tn_b_node(&t->b, TN_OP_bitcast, &x, 1, &(tn_attrs_bitcast){.dtype = TN_i64});
    op_test_refused(t, TN_INVALID, "its elements have 32 bits, those of i64 have 64");
    tn_b_node(&t->b, TN_OP_cast, &x, 1, &(tn_attrs_cast){.dtype = TN_DTYPE_COUNT});
    op_test_refused(t, TN_INVALID, "expected a data type");
}

static void test_convert__evaluates_known_values(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(4));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){-1.5, NAN, 300, 1e30}), y;
    y = op_eval(t, tn_b_cast(&t->b, x, TN_i8), &in);
    EXPECT_NUMBERS(&y, -1, 0, 127, 127);
    y = op_eval(t, tn_b_cast(&t->b, x, TN_bool), &in);
    EXPECT_NUMBERS(&y, 1, 1, 1, 1);
    tn_attrs_cast saturate = {.dtype = TN_f8e4m3fn, .saturate = true};
    y = op_eval(t, tn_b_node(&t->b, TN_OP_cast, &x, 1, &saturate), &in);
    EXPECT_NUMBERS(&y, -1.5, NAN, 288, 448);
    tn_attrs_bitcast bits = {.dtype = TN_u32};
    y = op_eval(t, tn_b_node(&t->b, TN_OP_bitcast, &x, 1, &bits), &in);
    assert_int_equal(tn_array_get(&y, 0).u, 0xbfc00000);
}

static void test_convert__lowering_of_casts_agrees_with_eval(void **state) {
    op_test *t = *state;
    for (int from = 0; from < TN_DTYPE_COUNT; from++) {
        tn_value x = op_input(t, (tn_dtype)from, SHAPE_OF(5, 5));
        for (int to = 0; to < TN_DTYPE_COUNT; to++) {
            for (int saturate = 0; saturate < 2; saturate++) {
                tn_attrs_cast a = {.dtype = (tn_dtype)to, .saturate = saturate};
                tn_array in = op_any(t, tn_graph_type(t->g, x));
                op_check_lowering(t, tn_b_node(&t->b, TN_OP_cast, &x, 1, &a), &in);
            }
        }
    }
}

static void test_convert__lowering_of_bitcasts_agrees_with_eval(void **state) {
    op_test *t = *state;
    for (int from = 0; from < TN_DTYPE_COUNT; from++) {
        tn_value x = op_input(t, (tn_dtype)from, SHAPE_OF(5, 5));
        for (int to = 0; to < TN_DTYPE_COUNT; to++) {
            if (tn_dtype_bits((tn_dtype)from) != tn_dtype_bits((tn_dtype)to)) continue;
            tn_attrs_bitcast a = {.dtype = (tn_dtype)to};
            tn_array in = op_any(t, tn_graph_type(t->g, x));
            op_check_lowering(t, tn_b_node(&t->b, TN_OP_bitcast, &x, 1, &a), &in);
        }
    }
}

static tn_value select_of(op_test *t, tn_dtype dtype, tn_shape shape) {
    tn_value in[] = {op_input(t, TN_bool, shape), op_input(t, dtype, shape),
                     op_input(t, dtype, shape)};
    return tn_b_node(&t->b, TN_OP_select, in, 3, NULL);
}

static void test_convert__lowering_of_select_agrees_with_eval(void **state) {
    op_test *t = *state;
    for (int dtype = 0; dtype < TN_DTYPE_COUNT; dtype++) {
        tn_value y = select_of(t, (tn_dtype)dtype, SHAPE_OF(3, 4));
        const tn_value *x = tn_graph_producer(t->g, y)->in;
        tn_array in[3];
        for (int i = 0; i < 3; i++) in[i] = op_any(t, tn_graph_type(t->g, x[i]));
        op_check_lowering(t, y, in);
    }
}

static void test_convert__gradient_of_select(void **state) {
    op_test *t = *state;
    tn_value y = select_of(t, TN_f64, SHAPE_OF(4, 4));
    const tn_type *type = tn_graph_type(t->g, y);
    tn_array in[] = {op_any(t, &(tn_type){TN_bool, type->shape}), op_uniform(t, type, -1, 1),
                     op_uniform(t, type, -1, 1)};
    op_check_vjp(t, y, in);
}

static tn_value cotangent(op_test *t, tn_value y) {
    tn_node_info n = *tn_graph_producer(t->g, y);
    tn_type type = tn_b_type(&t->b, y);
    tn_value d = tn_b_full(&t->b, type.dtype, &type.shape, 1), grad = TN_NO_VALUE;
    tn_op_rules_of(n.op)->vjp.rule(&t->b, t->g, &n, n.in, &y, &d, &grad);
    return grad;
}

static void test_convert__gradient_of_cast_is_a_cast_between_floats(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2));
    tn_value grad = cotangent(t, tn_b_cast(&t->b, x, TN_f16));
    assert_int_equal(tn_b_type(&t->b, grad).dtype, TN_f32);
    assert_int_equal(cotangent(t, tn_b_cast(&t->b, x, TN_i32)), TN_NO_VALUE);
    tn_value bits = tn_b_node(&t->b, TN_OP_bitcast, &x, 1, &(tn_attrs_bitcast){.dtype = TN_u32});
    cotangent(t, bits);
    op_test_refused(t, TN_UNSUPPORTED, "bitcast of a float has no derivative; use cast");
}

static void test_convert__batches(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2, 3));
    op_check_batch(t, select_of(t, TN_f32, SHAPE_OF(2, 3)));
    op_check_batch(t, tn_b_cast(&t->b, x, TN_i32));
    op_check_batch(t, tn_b_node(&t->b, TN_OP_bitcast, &x, 1, &(tn_attrs_bitcast){.dtype = TN_i32}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_convert__refuses_wrong_operands),
        OP_TEST(test_convert__evaluates_known_values),
        OP_TEST(test_convert__lowering_of_casts_agrees_with_eval),
        OP_TEST(test_convert__lowering_of_bitcasts_agrees_with_eval),
        OP_TEST(test_convert__lowering_of_select_agrees_with_eval),
        OP_TEST(test_convert__gradient_of_select),
        OP_TEST(test_convert__gradient_of_cast_is_a_cast_between_floats),
        OP_TEST(test_convert__batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
