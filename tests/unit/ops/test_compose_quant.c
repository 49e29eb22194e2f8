#include "unit/ops/op_test.h"

#include "ops/compose.h"

static tn_value vector(op_test *t, tn_dtype dtype, int64_t count, const double *value) {
    tn_array a = tn_array_new(&t->arena, dtype, 1, &count);
    for (int64_t i = 0; i < count; i++) tn_array_set(&a, i, tn_cell_of(dtype, value[i]));
    return tn_b_constant(&t->b, &a);
}
#define VECTOR(dtype, ...)                                                                         \
    vector(t, dtype, sizeof((double[]){__VA_ARGS__}) / sizeof(double), (double[]){__VA_ARGS__})

static void test_quantize__rounds_to_even_and_saturates(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(6));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 3, 5, -1e9, 1e9, -7});
    tn_quant q = {.scale = VECTOR(TN_f32, 2), .zero = VECTOR(TN_u8, 10)};
    tn_array y = op_eval(t, tn_b_quantize(&t->b, x, &q, TN_u8, TN_f32, true), &in);
    EXPECT_NUMBERS(&y, 10, 12, 12, 0, 255, 6);
    q.zero = TN_NO_VALUE;
    y = op_eval(t, tn_b_quantize(&t->b, x, &q, TN_i4, TN_f32, true), &in);
    EXPECT_NUMBERS(&y, 0, 2, 2, -8, 7, -4);
    tn_b_quantize(&t->b, x, &q, TN_i64, TN_f32, true);
    op_test_refused(t, TN_INVALID, "at most 16 bits");
}

static void test_dequantize__per_axis_and_in_blocks(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_i8, SHAPE_OF(2, 3));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4, 5, 6});
    tn_quant q = {.scale = VECTOR(TN_f32, 1, 10), .zero = VECTOR(TN_i8, 1, 2)};
    tn_array y = op_eval(t, tn_b_dequantize(&t->b, x, &q, TN_f32), &in);
    EXPECT_NUMBERS(&y, 0, 1, 2, 20, 30, 40);
    q = (tn_quant){.zero = TN_NO_VALUE, .axis = -1, .block = 2}; /* the last block is cut off */
    q.scale = tn_b_reshape_to(&t->b, VECTOR(TN_f32, 1, 10, 100, 1000), 2, (tn_dim[]){2, 2});
    y = op_eval(t, tn_b_dequantize(&t->b, x, &q, TN_f32), &in);
    EXPECT_NUMBERS(&y, 1, 2, 30, 400, 500, 6000);
}

static void test_dynamic_quantize__covers_zero(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(3)), scale, zero;
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){51, 102, 255});
    tn_value y = tn_b_dynamic_quantize(&t->b, x, &scale, &zero);
    tn_array a = op_eval(t, y, &in);
    EXPECT_NUMBERS(&a, 51, 102, 255);
    a = op_eval(t, scale, &in);
    EXPECT_NUMBERS(&a, 1);
    a = op_eval(t, zero, &in);
    EXPECT_NUMBERS(&a, 0);
}

static void test_products__subtract_zeros(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_u8, SHAPE_OF(2, 2)), y = op_input(t, TN_i8, SHAPE_OF(2, 2));
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, x), (double[]){255, 1, 2, 3}),
                     op_numbers(t, tn_graph_type(t->g, y), (double[]){-128, 1, 1, 2})};
    tn_value x_zero = VECTOR(TN_u8, 1, 2), y_zero = VECTOR(TN_i8, 1, 0); /* per row, per column */
    tn_value product = tn_b_integer_matmul(&t->b, x, y, x_zero, y_zero);
    tn_array a = op_eval(t, product, in);
    EXPECT_NUMBERS(&a, 254 * -129, 254 * 1, 0, 2);
    tn_quant qx = {.scale = VECTOR(TN_f32, 0.5), .zero = x_zero};
    tn_quant qy = {.scale = VECTOR(TN_f32, 2), .zero = y_zero};
    tn_quant to = {.scale = VECTOR(TN_f32, 100), .zero = VECTOR(TN_u8, 128)};
    a = op_eval(t, tn_b_quantized_matmul(&t->b, x, &qx, y, &qy, &to, TN_u8), in);
    EXPECT_NUMBERS(&a, 0, 131, 128, 128); /* −327.66 saturates; 2.54 rounds to 3 */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_quantize__rounds_to_even_and_saturates),
        OP_TEST(test_dequantize__per_axis_and_in_blocks),
        OP_TEST(test_dynamic_quantize__covers_zero),
        OP_TEST(test_products__subtract_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
