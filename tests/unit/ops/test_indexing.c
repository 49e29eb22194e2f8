#include "unit/ops/op_test.h"

static tn_ints axes_of(int first, int count) {
    tn_ints list = {.count = count};
    for (int i = 0; i < count; i++) list.at[i] = first + i;
    return list;
}

static tn_value gather_of(op_test *t, tn_value x, tn_value index, const tn_attrs_gather *a) {
    return tn_b_node(&t->b, TN_OP_gather, (tn_value[]){x, index}, 2, a);
}

static tn_value scatter_of(op_test *t, const tn_value *in, const tn_attrs_scatter *a) {
    return tn_b_node(&t->b, TN_OP_scatter, in, 3, a);
}

/* Positions from -2 to size + 1, or inside when the mode reports errors. */
static tn_array positions(op_test *t, tn_value index, int64_t size, tn_index_mode mode) {
    tn_array a = op_array(t, tn_graph_type(t->g, index));
    for (int64_t i = 0; i < tn_array_count(&a); i++) {
        int64_t value = (int64_t)(test_random(&t->seed) % (uint64_t)(size + 4)) - 2;
        if (mode == TN_INDEX_error) value = (value + 2) % size;
        tn_array_set(&a, i, (tn_cell){.i = value});
    }
    return a;
}

static void test_gather__agrees_in_all_modes(void **state) {
    (void)state;
    for (int mode = TN_INDEX_clamp; mode <= TN_INDEX_error; mode++)
        for (int batch = 0; batch < 2; batch++) {
            op_test t;
            op_test_init(&t);
            tn_value x = op_input(&t, TN_f64, SHAPE_OF(2, 3, 4, 3));
            tn_value index = op_input(&t, TN_i64, SHAPE_OF(2, 5, 2));
            tn_attrs_gather a = {
                .batch = batch, .axes = axes_of(batch ? 2 : 1, 2), .mode = (tn_index_mode)mode};
            if (!batch) a.axes = (tn_ints){2, {3, 1}};
            tn_value y = gather_of(&t, x, index, &a);
            op_test_ok(&t, t.b.status);
            tn_array in[] = {op_small(&t, tn_graph_type(t.g, x)),
                             positions(&t, index, 3, (tn_index_mode)mode)};
            op_check_lowering(&t, y, in);
            op_check_vjp(&t, y, in);
            if (mode != TN_INDEX_error) op_check_batch(&t, y);
            op_test_deinit(&t);
        }
}

static void test_gather__reads_rows(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_i8, SHAPE_OF(3, 2)), index = op_input(t, TN_i32, SHAPE_OF(4, 1));
    tn_attrs_gather a = {.axes = axes_of(0, 1), .mode = TN_INDEX_fill};
    tn_value y = gather_of(t, x, index, &a);
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4, 5, 6}),
                     op_numbers(t, tn_graph_type(t->g, index), (double[]){2, -1, 0, 3})};
    tn_array out = op_eval(t, y, in);
    EXPECT_NUMBERS(&out, 5, 6, 0, 0, 1, 2, 0, 0);
}

static void test_gather__reports_errors(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(3)), index = op_input(t, TN_i64, SHAPE_OF(2, 1));
    tn_attrs_gather a = {.axes = axes_of(0, 1), .mode = TN_INDEX_error};
    tn_value y = gather_of(t, x, index, &a);
    tn_array in[] = {op_small(t, tn_graph_type(t->g, x)),
                     op_numbers(t, tn_graph_type(t->g, index), (double[]){2, 3})},
             out;
    tn_node n = tn_graph_value(t->g, y)->node;
    assert_int_equal(tn_eval_node(t->g, n, in, &out, NULL, &t->arena, &t->err), TN_RUNTIME);
    a.axes.count = 2;
    gather_of(t, x, index, &a);
    op_test_refused(t, TN_INVALID, "axes");
    a.axes = axes_of(0, 1);
    gather_of(t, x, x, &a);
    op_test_refused(t, TN_INVALID, "i32 or i64");
}

static void test_scatter__combines_in_order(void **state) {
    op_test *t = *state;
    tn_value in[] = {op_input(t, TN_f32, SHAPE_OF(3)), op_input(t, TN_i64, SHAPE_OF(4, 1)),
                     op_input(t, TN_f32, SHAPE_OF(4))};
    tn_array values[] = {op_numbers(t, tn_graph_type(t->g, in[0]), (double[]){1, 2, 3}),
                         op_numbers(t, tn_graph_type(t->g, in[1]), (double[]){0, 2, 0, 5}),
                         op_numbers(t, tn_graph_type(t->g, in[2]), (double[]){10, 20, 30, 40})};
    tn_attrs_scatter a = {.axes = axes_of(0, 1), .mode = TN_INDEX_fill};
    tn_array out = op_eval(t, scatter_of(t, in, &a), values);
    EXPECT_NUMBERS(&out, 30, 2, 20);
    a.combine = TN_COMBINE_add;
    out = op_eval(t, scatter_of(t, in, &a), values);
    EXPECT_NUMBERS(&out, 41, 2, 23);
    a.combine = TN_COMBINE_max;
    a.mode = TN_INDEX_clamp;
    out = op_eval(t, scatter_of(t, in, &a), values);
    EXPECT_NUMBERS(&out, 30, 2, 40);
}

static void test_scatter__agrees_for_all_combinations(void **state) {
    (void)state;
    for (int combine = TN_COMBINE_set; combine <= TN_COMBINE_max; combine++)
        for (int batch = 0; batch < 2; batch++) {
            op_test t;
            op_test_init(&t);
            tn_index_mode mode = combine % 2 ? TN_INDEX_clamp : TN_INDEX_fill;
            tn_value in[] = {op_input(&t, TN_f64, SHAPE_OF(2, 4, 3)),
                             op_input(&t, TN_i64, SHAPE_OF(2, 5, 1)), TN_NO_VALUE};
            in[2] = op_input(&t, TN_f64, batch ? SHAPE_OF(2, 5, 3) : SHAPE_OF(2, 5, 2, 3));
            tn_attrs_scatter a = {.batch = batch,
                                  .axes = axes_of(1, 1),
                                  .mode = mode,
                                  .combine = (tn_combine)combine};
            tn_value y = scatter_of(&t, in, &a);
            op_test_ok(&t, t.b.status);
            tn_array values[3];
            for (int i = 0; i < 3; i++) values[i] = op_small(&t, tn_graph_type(t.g, in[i]));
            values[1] = positions(&t, in[1], 4, mode);
            op_check_lowering(&t, y, values);
            op_check_batch(&t, y);
            if (combine <= TN_COMBINE_add) op_check_vjp(&t, y, values);
            op_test_deinit(&t);
        }
}

static tn_value dynamic_slice_of(op_test *t, tn_value x, tn_value start, tn_shape shape) {
    tn_attrs_dynamic_slice a = {.shape = shape};
    return tn_b_node(&t->b, TN_OP_dynamic_slice, (tn_value[]){x, start}, 2, &a);
}

static void test_dynamic_slice__clamps_its_start(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(4, 3)), start = op_input(t, TN_i64, SHAPE_OF(2));
    tn_value y = dynamic_slice_of(t, x, start, SHAPE_OF(2, 2));
    tn_array in[] = {
        op_numbers(t, tn_graph_type(t->g, x), (double[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}),
        op_numbers(t, tn_graph_type(t->g, start), (double[]){9, -3})};
    tn_array out = op_eval(t, y, in);
    EXPECT_NUMBERS(&out, 6, 7, 9, 10);
    op_check_lowering(t, y, in);
    op_check_batch(t, y);
    op_check_vjp(t, y, in);
}

static void test_dynamic_update__writes_a_block(void **state) {
    op_test *t = *state;
    tn_value in[] = {op_input(t, TN_f64, SHAPE_OF(3, 4)), op_input(t, TN_f64, SHAPE_OF(2, 4)),
                     op_input(t, TN_i64, SHAPE_OF(2))};
    tn_value y = tn_b_node(&t->b, TN_OP_dynamic_update, in, 3, NULL);
    tn_array values[] = {
        op_numbers(t, tn_graph_type(t->g, in[0]), (double[12]){1, 1, 1, 1}),
        op_numbers(t, tn_graph_type(t->g, in[1]), (double[]){1, 2, 3, 4, 5, 6, 7, 8}),
        op_numbers(t, tn_graph_type(t->g, in[2]), (double[]){1, 2})};
    tn_array out = op_eval(t, y, values);
    EXPECT_NUMBERS(&out, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8);
    op_check_lowering(t, y, values);
    op_check_batch(t, y);
    op_check_vjp(t, y, values);
}

static void test_dynamic_slice__refuses_what_does_not_fit(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(4, 3)), start = op_input(t, TN_i64, SHAPE_OF(3));
    tn_value two = op_input(t, TN_i64, SHAPE_OF(2));
    dynamic_slice_of(t, x, start, SHAPE_OF(2, 2));
    op_test_refused(t, TN_INVALID, "expected i64[2]");
    dynamic_slice_of(t, x, two, SHAPE_OF(2, 4));
    op_test_refused(t, TN_INVALID, "axis 1 cannot hold a block of size 4");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_gather__agrees_in_all_modes),
        OP_TEST(test_gather__reads_rows),
        OP_TEST(test_gather__reports_errors),
        OP_TEST(test_scatter__combines_in_order),
        OP_TEST(test_scatter__agrees_for_all_combinations),
        OP_TEST(test_dynamic_slice__clamps_its_start),
        OP_TEST(test_dynamic_update__writes_a_block),
        OP_TEST(test_dynamic_slice__refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
