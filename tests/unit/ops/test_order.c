#include "unit/ops/op_test.h"

static tn_value sort_of(op_test *t, const tn_value *in, uint32_t count, int axis, bool descending) {
    tn_attrs_sort a = {.axis = axis, .descending = descending};
    return tn_b_node(&t->b, TN_OP_sort, in, count, &a);
}

static tn_value top_k_of(op_test *t, tn_value x, int axis, tn_dim k, bool smallest) {
    tn_attrs_top_k a = {.axis = axis, .k = k, .smallest = smallest};
    return tn_b_node(&t->b, TN_OP_top_k, &x, 1, &a);
}

static void test_sort__is_stable_and_puts_nan_last(void **state) {
    op_test *t = *state;
    tn_value in[] = {op_input(t, TN_f32, SHAPE_OF(6)), op_input(t, TN_i8, SHAPE_OF(6))};
    tn_array values[] = {
        op_numbers(t, tn_graph_type(t->g, in[0]), (double[]){2, NAN, 1, 2, -INFINITY, 1}),
        op_numbers(t, tn_graph_type(t->g, in[1]), (double[]){0, 1, 2, 3, 4, 5})};
    for (int descending = 0; descending < 2; descending++) {
        tn_value y = sort_of(t, in, 2, 0, descending);
        tn_array out[2];
        op_eval_node(t, y, values, out);
        if (descending)
            EXPECT_NUMBERS(&out[1], 0, 3, 2, 5, 4, 1);
        else
            EXPECT_NUMBERS(&out[1], 4, 2, 5, 0, 3, 1);
        op_check_lowering(t, y, values);
    }
}

static void test_sort__agrees_for_all_lengths_and_types(void **state) {
    (void)state;
    static const tn_dtype dtypes[] = {TN_f32, TN_i32, TN_u8, TN_bf16, TN_i64};
    for (int64_t n = 1; n <= 19; n += n < 5 ? 1 : 7)
        for (size_t d = 0; d < TN_COUNT(dtypes); d++) {
            op_test t;
            op_test_init(&t);
            tn_dim open = op_test_symbol(&t, "N", n);
            if (d == 0) tn_dims_set_bounds(&t.dims, 0, 1, 100, 1);
            tn_value x = op_input(&t, dtypes[d], SHAPE_OF(2, d % 2 ? n : open, 3));
            tn_value y = sort_of(&t, &x, 1, 1, d % 2);
            op_test_ok(&t, t.b.status);
            tn_array in = op_any(&t, tn_graph_type(t.g, x));
            op_check_lowering(&t, y, &in);
            in = op_small(&t, tn_graph_type(t.g, x));
            op_check_lowering(&t, y, &in);
            if (d % 2) op_check_batch(&t, y);
            op_test_deinit(&t);
        }
}

/* By ranks, by radix, with one bound and with several cuts. */
static void test_order__agrees_in_long_rows(void **state) {
    (void)state;
    static const tn_dtype dtypes[] = {TN_f32, TN_u8, TN_f64, TN_i32, TN_f16};
    static const int64_t lengths[] = {63, 64, 100, 129, 700};
    for (size_t i = 0; i < TN_COUNT(lengths) * TN_COUNT(dtypes); i++) {
        int64_t n = lengths[i / TN_COUNT(dtypes)];
        op_test t;
        op_test_init(&t);
        tn_value x = op_input(&t, dtypes[i % TN_COUNT(dtypes)], SHAPE_OF(2, n));
        tn_value y = sort_of(&t, &x, 1, 1, i % 2);
        tn_value best[] = {top_k_of(&t, x, 1, 3, i % 2), top_k_of(&t, x, 1, n / 5, !(i % 2))};
        op_test_ok(&t, t.b.status);
        for (int small = 0; small < 2; small++) {
            const tn_type *type = tn_graph_type(t.g, x);
            tn_array in = small ? op_small(&t, type) : op_any(&t, type);
            op_check_lowering(&t, y, &in);
            op_check_lowering(&t, best[0], &in);
            op_check_lowering(&t, best[1], &in);
        }
        op_test_deinit(&t);
    }
}

static void test_top_k__agrees_by_bound_and_by_sort(void **state) {
    (void)state;
    static const int64_t sizes[] = {0, 1, 4, 32, 33, 40};
    for (size_t i = 0; i < TN_COUNT(sizes); i++)
        for (int smallest = 0; smallest < 2; smallest++) {
            op_test t;
            op_test_init(&t);
            tn_value x = op_input(&t, TN_f32, SHAPE_OF(3, 40, 2));
            tn_value y = top_k_of(&t, x, 1, sizes[i], smallest);
            op_test_ok(&t, t.b.status);
            tn_array in = op_small(&t, tn_graph_type(t.g, x));
            tn_array_set(&in, 7, (tn_cell){.f = NAN});
            op_check_lowering(&t, y, &in);
            if (sizes[i]) op_check_batch(&t, y);
            op_test_deinit(&t);
        }
}

static void test_top_k__prefers_the_first_of_equals(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_i32, SHAPE_OF(5));
    tn_value y = top_k_of(t, x, 0, 3, false);
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 5, 5, 7, 5}), out[2];
    op_eval_node(t, y, &in, out);
    EXPECT_NUMBERS(&out[0], 7, 5, 5);
    EXPECT_NUMBERS(&out[1], 3, 1, 2);
    top_k_of(t, x, 0, 6, false);
    op_test_refused(t, TN_INVALID, "k = 6; axis 0 has 5 elements");
    top_k_of(t, x, 1, 1, false);
    op_test_refused(t, TN_INVALID, "axis");
}

static void check_gradient(bool top_k) {
    op_test t;
    op_test_init(&t);
    tn_value x = op_input(&t, TN_f64, SHAPE_OF(2, 5, 2));
    tn_value y = top_k ? top_k_of(&t, x, 1, 2, false) : sort_of(&t, &x, 1, 1, true);
    tn_array in = op_uniform(&t, tn_graph_type(t.g, x), -1, 1);
    op_check_vjp(&t, y, &in);
    op_test_deinit(&t);
}

static void test_order__gradients_go_back_to_their_places(void **state) {
    (void)state;
    check_gradient(false);
    check_gradient(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_sort__is_stable_and_puts_nan_last),
        OP_TEST(test_sort__agrees_for_all_lengths_and_types),
        OP_TEST(test_order__agrees_in_long_rows),
        OP_TEST(test_top_k__agrees_by_bound_and_by_sort),
        OP_TEST(test_top_k__prefers_the_first_of_equals),
        OP_TEST(test_order__gradients_go_back_to_their_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
