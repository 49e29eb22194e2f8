#include "unit/ops/op_test.h"

#include "ops/compose.h"

static void test_repeat__doubles_each_element(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2, 2));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4});
    tn_array y = op_eval(t, tn_b_repeat(&t->b, x, 1, 2), &in);
    EXPECT_NUMBERS(&y, 1, 1, 2, 2, 3, 3, 4, 4);
    y = op_eval(t, tn_b_repeat(&t->b, x, -2, 2), &in);
    EXPECT_NUMBERS(&y, 1, 2, 1, 2, 3, 4, 3, 4);
}

static void test_reverse_sequence__stops_at_the_length(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(3, 2)); /* time, batch */
    tn_value n = op_input(t, TN_i64, SHAPE_OF(2));
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4, 5, 6}),
                     op_numbers(t, tn_graph_type(t->g, n), (double[]){3, 2})};
    tn_array y = op_eval(t, tn_b_reverse_sequence(&t->b, x, n, 1, 0), in);
    EXPECT_NUMBERS(&y, 5, 4, 3, 2, 1, 6);
}

static void test_cache_update__goes_round(void **state) {
    op_test *t = *state;
    tn_value cache = op_input(t, TN_f32, SHAPE_OF(2, 3));
    tn_value update = op_input(t, TN_f32, SHAPE_OF(2, 2)), start = op_input(t, TN_i64, SHAPE_OF(2));
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, cache), (double[]){0, 0, 0, 0, 0, 0}),
                     op_numbers(t, tn_graph_type(t->g, update), (double[]){1, 2, 3, 4}),
                     op_numbers(t, tn_graph_type(t->g, start), (double[]){1, 2})};
    tn_array y = op_eval(t, tn_b_cache_update(&t->b, cache, update, start, -1, true), in);
    EXPECT_NUMBERS(&y, 0, 1, 2, 4, 0, 3);
}

static void test_center_crop_pad__puts_the_odd_one_last(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(4));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4});
    tn_array y = op_eval(t, tn_b_center_crop_pad(&t->b, x, 0, 1), &in);
    EXPECT_NUMBERS(&y, 2);
    y = op_eval(t, tn_b_center_crop_pad(&t->b, x, 0, 7), &in);
    EXPECT_NUMBERS(&y, 0, 1, 2, 3, 4, 0, 0);
    tn_value open = op_input(t, TN_f32, SHAPE_OF(op_test_symbol(t, "n", 4)));
    tn_b_center_crop_pad(&t->b, open, 0, 2);
    op_test_refused(t, TN_UNSUPPORTED, "must be constant");
}

static void test_pad_around__keeps_open_sizes(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(op_test_symbol(t, "n", 3)));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3});
    tn_array y = op_eval(t, tn_b_pad_around(&t->b, x, 0, 2, 1, TN_PAD_EDGE), &in);
    EXPECT_NUMBERS(&y, 1, 1, 1, 2, 3, 3);
    y = op_eval(t, tn_b_pad_around(&t->b, x, 0, 2, 3, TN_PAD_REFLECT), &in);
    EXPECT_NUMBERS(&y, 3, 2, 1, 2, 3, 2, 1, 2);
    y = op_eval(t, tn_b_pad_around(&t->b, x, 0, 1, 2, TN_PAD_WRAP), &in);
    EXPECT_NUMBERS(&y, 3, 1, 2, 3, 1, 2);
}

static void test_max_unpool__inverts_max_pool(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(1, 1, 2)),
             at = op_input(t, TN_i64, SHAPE_OF(1, 1, 2));
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, x), (double[]){7, 8}),
                     op_numbers(t, tn_graph_type(t->g, at), (double[]){1, 2})};
    tn_shape shape = SHAPE_OF(1, 1, 4);
    tn_array y = op_eval(t, tn_b_max_unpool(&t->b, x, at, &shape), in);
    EXPECT_NUMBERS(&y, 0, 7, 8, 0);
}

static void test_col2im__sums_overlaps(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(1, 2, 3)); /* blocks of 2, stride 1, in 4 */
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 10, 20, 30});
    tn_col2im c = {.spatial = 1, .image = {4}, .block = {2}, .stride = {1}, .dilation = {1}};
    tn_array y = op_eval(t, tn_b_col2im(&t->b, x, &c), &in);
    EXPECT_NUMBERS(&y, 1, 12, 23, 30);
    c.block[0] = 3;
    tn_b_col2im(&t->b, x, &c);
    op_test_refused(t, TN_INVALID, "does not split into blocks");
    c.block[0] = 5;
    tn_b_col2im(&t->b, x, &c);
    op_test_refused(t, TN_INVALID, "does not fit");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_repeat__doubles_each_element),
        OP_TEST(test_reverse_sequence__stops_at_the_length),
        OP_TEST(test_cache_update__goes_round),
        OP_TEST(test_center_crop_pad__puts_the_odd_one_last),
        OP_TEST(test_pad_around__keeps_open_sizes),
        OP_TEST(test_max_unpool__inverts_max_pool),
        OP_TEST(test_col2im__sums_overlaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
