#include "unit/ops/op_test.h"

static tn_ints ints(int count, const int64_t *at) {
    tn_ints list = {.count = count};
    for (int i = 0; i < count; i++) list.at[i] = at[i];
    return list;
}
#define INTS(...) ints((int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__})

static tn_value dot_of(op_test *t, tn_value x, tn_value y, const tn_attrs_dot *a) {
    return tn_b_node(&t->b, TN_OP_dot, (tn_value[]){x, y}, 2, a);
}

static tn_value conv_of(op_test *t, tn_value x, tn_value w, const tn_attrs_conv *a) {
    return tn_b_node(&t->b, TN_OP_conv, (tn_value[]){x, w}, 2, a);
}

static void small_inputs(op_test *t, tn_array *in) {
    for (uint32_t i = 0; i < t->g->inputs.len; i++)
        in[i] = op_small(t, tn_graph_type(t->g, t->g->inputs.data[i]));
}

/* Lowering and batching on exact numbers, gradients where x is f64. */
static void check_all(op_test *t, tn_value y) {
    tn_array in[OP_TEST_VALUES];
    op_test_ok(t, t->b.status);
    small_inputs(t, in);
    op_check_lowering(t, y, in);
    op_check_batch(t, y);
    if (in[0].dtype == TN_f64) op_check_vjp(t, y, in);
}

static void test_dot__multiplies_matrices(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2, 3)), y = op_input(t, TN_f32, SHAPE_OF(3, 2));
    tn_attrs_dot a = {.lhs_contract = INTS(1), .rhs_contract = INTS(0), .acc = TN_f32};
    tn_value z = dot_of(t, x, y, &a);
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4, 5, 6}),
                     op_numbers(t, tn_graph_type(t->g, y), (double[]){7, 8, 9, 10, 11, 12})};
    tn_array out = op_eval(t, z, in);
    EXPECT_NUMBERS(&out, 58, 64, 139, 154);
}

static void test_dot__finds_axes_anywhere(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(3, 2, 4, 2)),
             y = op_input(t, TN_f64, SHAPE_OF(4, 5, 2, 2));
    tn_attrs_dot a = {.lhs_batch = INTS(3),
                      .rhs_batch = INTS(2),
                      .lhs_contract = INTS(2, 1),
                      .rhs_contract = INTS(0, 3),
                      .acc = TN_f64};
    check_all(t, dot_of(t, x, y, &a));
}

static void test_dot__accumulates_narrow_types(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_u8, SHAPE_OF(2, 3)), y = op_input(t, TN_i8, SHAPE_OF(3, 1));
    tn_attrs_dot a = {.lhs_contract = INTS(1), .rhs_contract = INTS(0), .acc = TN_i32};
    tn_value z = dot_of(t, x, y, &a);
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, x), (double[]){255, 255, 255, 1, 2, 3}),
                     op_numbers(t, tn_graph_type(t->g, y), (double[]){-128, 127, -1})};
    tn_array out = op_eval(t, z, in);
    EXPECT_NUMBERS(&out, -510, 123);
    op_check_lowering(t, z, in);
}

static void test_dot__keeps_sizes_open(void **state) {
    op_test *t = *state;
    tn_dim n = op_test_symbol(t, "N", 3), k = op_test_symbol(t, "K", 5);
    tn_value x = op_input(t, TN_f32, SHAPE_OF(n, k)), y = op_input(t, TN_f32, SHAPE_OF(k, 2));
    tn_attrs_dot a = {.lhs_contract = INTS(1), .rhs_contract = INTS(0), .acc = TN_f32};
    tn_value z = dot_of(t, x, y, &a);
    assert_int_equal(tn_graph_type(t->g, z)->shape.dim[0], n);
    check_all(t, z);
}

static void test_dot__refuses_what_does_not_fit(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2, 3)), y = op_input(t, TN_f32, SHAPE_OF(4, 2));
    tn_value h = op_input(t, TN_i32, SHAPE_OF(3, 2));
    tn_attrs_dot a = {.lhs_contract = INTS(1), .rhs_contract = INTS(0), .acc = TN_f32};
    dot_of(t, x, y, &a);
    op_test_refused(t, TN_INVALID, "expected size 3 on contracting axis 0");
    dot_of(t, x, h, &a);
    op_test_refused(t, TN_INVALID, "acc = f32");
    a.lhs_batch = INTS(1);
    a.rhs_batch = INTS(1);
    dot_of(t, x, y, &a);
    op_test_refused(t, TN_INVALID, "both in lhs_batch and lhs_contract");
    a.lhs_batch.count = 0;
    dot_of(t, x, y, &a);
    op_test_refused(t, TN_INVALID, "expected pairs");
    a = (tn_attrs_dot){.lhs_contract = INTS(2), .rhs_contract = INTS(0), .acc = TN_f32};
    dot_of(t, x, y, &a);
    op_test_refused(t, TN_INVALID, "lhs_contract");
}

static void test_dot__shards(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2, 4, 6)), y = op_input(t, TN_f32, SHAPE_OF(2, 6, 8));
    tn_attrs_dot a = {.lhs_batch = INTS(0),
                      .rhs_batch = INTS(0),
                      .lhs_contract = INTS(2),
                      .rhs_contract = INTS(1),
                      .acc = TN_f32};
    const tn_node_info *n = tn_graph_producer(t->g, dot_of(t, x, y, &a));
    static const int cases[][4] = {/* lhs, rhs, legal, result */
                                   {0, 0, 1, 0},    {1, -1, 1, 1},   {-1, 2, 1, 2},  {2, 1, 1, -2},
                                   {-1, -1, 1, -1}, {-2, -1, 1, -2}, {-2, -2, 0, 0}, {1, 2, 0, 0},
                                   {0, -1, 0, 0},   {2, -1, 0, 0}};
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        int out = 7;
        tn_shard s = {.in = cases[i], .out = &out};
        assert_int_equal(tn_rules_dot.shard.rule(t->g, n, &s), cases[i][2]);
        if (cases[i][2]) assert_int_equal(out, cases[i][3]);
    }
}

static void test_ragged_dot__uses_the_matrix_of_each_group(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(5, 2)), w = op_input(t, TN_f32, SHAPE_OF(3, 2, 2));
    tn_value sizes = op_input(t, TN_i64, SHAPE_OF(3));
    tn_attrs_ragged_dot a = {.acc = TN_f32};
    tn_value y = tn_b_node(&t->b, TN_OP_ragged_dot, (tn_value[]){x, w, sizes}, 3, &a);
    tn_array in[3];
    op_test_ok(t, t->b.status);
    in[0] = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
    in[1] = op_numbers(t, tn_graph_type(t->g, w), (double[]){1, 0, 0, 1, 9, 9, 9, 9, 2, 0, 0, 2});
    in[2] = op_numbers(t, tn_graph_type(t->g, sizes), (double[]){1, 0, 3});
    tn_array out = op_eval(t, y, in);
    EXPECT_NUMBERS(&out, 1, 2, 6, 8, 10, 12, 14, 16, 0, 0);
    op_check_lowering(t, y, in);
    op_check_batch(t, y); /* sizes below 0 and beyond the rows, too */
}

static void test_ragged_dot__sums_over_the_rows_of_each_group(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(5, 2)), z = op_input(t, TN_f32, SHAPE_OF(5, 3));
    tn_value sizes = op_input(t, TN_i64, SHAPE_OF(3));
    tn_attrs_ragged_dot a = {.acc = TN_f32, .rows = true};
    tn_value y = tn_b_node(&t->b, TN_OP_ragged_dot, (tn_value[]){x, z, sizes}, 3, &a);
    tn_array in[3];
    op_test_ok(t, t->b.status);
    in[0] = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
    in[1] = op_numbers(t, tn_graph_type(t->g, z),
                       (double[]){1, 0, 0, 0, 1, 0, 1, 1, 0, 2, 0, 1, 9, 9, 9});
    in[2] = op_numbers(t, tn_graph_type(t->g, sizes), (double[]){1, -2, 3});
    tn_array out = op_eval(t, y, in);
    EXPECT_NUMBERS(&out, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 19, 8, 7, 22, 10, 8);
    op_check_lowering(t, y, in);
    in[2] = op_numbers(t, tn_graph_type(t->g, sizes), (double[]){2, 9, 9});
    op_check_lowering(t, y, in);
    op_check_batch(t, y);
}

/* Rows, depth and columns that fill no tile and no vector, and borders of groups inside tiles. */
static void test_ragged_dot__of_odd_sizes(void **state) {
    op_test *t = *state;
    static const int64_t sizes[][3] = {{4, 8, 1}, {3, 0, 10}, {0, 0, 0}, {-2, 99, 5}, {6, 6, 0}};
    for (int rows = 0; rows < 2; rows++) {
        tn_value x = op_input(t, TN_f32, SHAPE_OF(13, 6));
        tn_value w = op_input(t, TN_f32, rows ? SHAPE_OF(13, 21) : SHAPE_OF(3, 6, 21));
        tn_value groups = op_input(t, TN_i64, SHAPE_OF(3));
        tn_attrs_ragged_dot a = {.acc = TN_f32, .rows = rows};
        tn_value y = tn_b_node(&t->b, TN_OP_ragged_dot, (tn_value[]){x, w, groups}, 3, &a);
        tn_array in[] = {op_small(t, tn_graph_type(t->g, x)), op_small(t, tn_graph_type(t->g, w)),
                         op_small(t, tn_graph_type(t->g, groups))};
        for (size_t i = 0; i < TN_COUNT(sizes); i++) {
            memcpy(in[2].data, sizes[i], sizeof sizes[i]);
            op_check_lowering(t, y, in);
        }
    }
}

/* ---- conv ----------------------------------------------------------------------------------- */

static tn_attrs_conv conv_attrs(int batch, int64_t stride, int64_t dilation, int64_t base,
                                int64_t lo, int64_t hi) {
    return (tn_attrs_conv){.batch = batch,
                           .stride = INTS(stride, 1),
                           .window_dilation = INTS(1, dilation),
                           .base_dilation = INTS(base, 1),
                           .pad_lo = INTS(lo, 1),
                           .pad_hi = INTS(hi, 0),
                           .acc = TN_f64};
}

static void test_conv__sums_windows(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(1, 4, 1)), w = op_input(t, TN_f32, SHAPE_OF(3, 1, 1));
    tn_attrs_conv a = {.stride = INTS(1),
                       .window_dilation = INTS(1),
                       .base_dilation = INTS(1),
                       .pad_lo = INTS(1),
                       .pad_hi = INTS(0),
                       .acc = TN_f32};
    tn_value y = conv_of(t, x, w, &a);
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4}),
                     op_numbers(t, tn_graph_type(t->g, w), (double[]){1, 10, 100})};
    tn_array out = op_eval(t, y, in);
    EXPECT_NUMBERS(&out, 210, 321, 432);
}

static void test_conv__agrees_for_all_geometries(void **state) {
    (void)state;
    static const int64_t cases[][6] = {/* batch, stride, dilation, base, lo, hi */
                                       {0, 1, 1, 1, 0, 0},  {0, 2, 1, 1, 1, 1},
                                       {1, 2, 2, 1, 2, 1},  {0, 1, 1, 3, 2, 1},
                                       {1, 3, 2, 2, -1, 2}, {0, 2, 1, 1, -1, -1}};
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        const int64_t *c = cases[i];
        op_test t;
        op_test_init(&t);
        tn_shape x = SHAPE_OF(2, 2, 7, 6, 2), w = SHAPE_OF(2, 3, 2, 2, 3);
        if (c[0] == 0) {
            x = SHAPE_OF(2, 7, 6, 2);
            w = SHAPE_OF(3, 2, 2, 3);
        }
        tn_value p = op_input(&t, TN_f64, x), q = op_input(&t, TN_f64, w);
        tn_attrs_conv a = conv_attrs((int)c[0], c[1], c[2], c[3], c[4], c[5]);
        check_all(&t, conv_of(&t, p, q, &a));
        op_test_deinit(&t);
    }
}

static void test_conv__keeps_sizes_open(void **state) {
    op_test *t = *state;
    tn_dim h = op_test_symbol(t, "H", 6);
    tn_value x = op_input(t, TN_f64, SHAPE_OF(2, h, 4, 2)),
             w = op_input(t, TN_f64, SHAPE_OF(3, 3, 2, 2));
    tn_attrs_conv a = conv_attrs(0, 1, 1, 1, 1, 1);
    tn_value y = conv_of(t, x, w, &a);
    op_test_ok(t, t->b.status);
    assert_int_equal(tn_graph_type(t->g, y)->shape.dim[1], h);
    check_all(t, y);
}

static void test_conv__refuses_what_does_not_fit(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(1, 2, 2, 3)),
             w = op_input(t, TN_f64, SHAPE_OF(5, 1, 3, 2));
    tn_value v = op_input(t, TN_f64, SHAPE_OF(1, 1, 4, 2));
    tn_attrs_conv a = conv_attrs(0, 1, 1, 1, 0, 0);
    conv_of(t, x, w, &a);
    op_test_refused(t, TN_INVALID, "a window of 5");
    conv_of(t, x, v, &a);
    op_test_refused(t, TN_INVALID, "expected 3 input channels");
    a.batch = INT64_C(1) << 32;
    conv_of(t, x, w, &a);
    op_test_refused(t, TN_INVALID, "batch axes");
    a.batch = 0;
    a.pad_lo.at[0] = INT64_MAX;
    conv_of(t, x, w, &a);
    op_test_refused(t, TN_INVALID, "padding is limited");
    a.pad_lo.at[0] = 0;
    a.stride.at[0] = 0;
    conv_of(t, x, w, &a);
    op_test_refused(t, TN_INVALID, "strides and dilations");
    a.stride.count = 1;
    conv_of(t, x, w, &a);
    op_test_refused(t, TN_INVALID, "stride");
}

/* ---- window_reduce -------------------------------------------------------------------------- */

static tn_value window_of(op_test *t, tn_value x, tn_reduce_kind kind, tn_dtype acc) {
    tn_attrs_window_reduce a = {.kind = kind,
                                .window = INTS(1, 3, 2),
                                .stride = INTS(1, 2, 1),
                                .dilation = INTS(1, 1, 2),
                                .pad_lo = INTS(0, 1, 1),
                                .pad_hi = INTS(0, 2, 0),
                                .acc = acc};
    return tn_b_node(&t->b, TN_OP_window_reduce, &x, 1, &a);
}

static void test_window_reduce__agrees_for_all_kinds(void **state) {
    (void)state;
    for (int kind = TN_REDUCE_sum; kind <= TN_REDUCE_argmin; kind++) {
        op_test t;
        op_test_init(&t);
        bool logic = kind == TN_REDUCE_and || kind == TN_REDUCE_or;
        tn_dtype dtype = logic ? TN_i32 : TN_f64;
        tn_value x = op_input(&t, dtype, SHAPE_OF(2, 5, 4));
        tn_value y = window_of(&t, x, (tn_reduce_kind)kind, dtype);
        tn_array in = op_small(&t, tn_graph_type(t.g, x));
        op_test_ok(&t, t.b.status);
        op_check_lowering(&t, y, &in);
        op_check_batch(&t, y);
        if (kind == TN_REDUCE_sum || kind == TN_REDUCE_max || kind == TN_REDUCE_min) {
            in = op_uniform(&t, tn_graph_type(t.g, x), -1, 1);
            op_check_vjp(&t, y, &in);
        }
        op_test_deinit(&t);
    }
}

static void test_window_reduce__finds_the_first_best(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(6));
    tn_attrs_window_reduce a = {.kind = TN_REDUCE_argmax,
                                .window = INTS(2),
                                .stride = INTS(2),
                                .dilation = INTS(1),
                                .pad_lo = INTS(2),
                                .pad_hi = INTS(0),
                                .acc = TN_f32};
    tn_value y = tn_b_node(&t->b, TN_OP_window_reduce, &x, 1, &a);
    tn_array in =
        op_numbers(t, tn_graph_type(t->g, x), (double[]){-INFINITY, -INFINITY, 3, 3, 1, NAN});
    tn_array out = op_eval(t, y, &in);
    EXPECT_NUMBERS(&out, -1, 0, 2, 5);
    op_check_lowering(t, y, &in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_dot__multiplies_matrices),
        OP_TEST(test_dot__finds_axes_anywhere),
        OP_TEST(test_dot__accumulates_narrow_types),
        OP_TEST(test_dot__keeps_sizes_open),
        OP_TEST(test_dot__refuses_what_does_not_fit),
        OP_TEST(test_dot__shards),
        OP_TEST(test_ragged_dot__uses_the_matrix_of_each_group),
        OP_TEST(test_ragged_dot__of_odd_sizes),
        OP_TEST(test_ragged_dot__sums_over_the_rows_of_each_group),
        OP_TEST(test_conv__sums_windows),
        OP_TEST(test_conv__agrees_for_all_geometries),
        OP_TEST(test_conv__keeps_sizes_open),
        OP_TEST(test_conv__refuses_what_does_not_fit),
        OP_TEST(test_window_reduce__agrees_for_all_kinds),
        OP_TEST(test_window_reduce__finds_the_first_best),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
