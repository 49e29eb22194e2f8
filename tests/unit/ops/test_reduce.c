#include "unit/ops/op_test.h"

static tn_value reduce_of(op_test *t, tn_value x, tn_reduce_kind kind, tn_ints axes, tn_dtype acc) {
    tn_attrs_reduce a = {.kind = kind, .axes = axes, .acc = acc};
    return tn_b_node(&t->b, TN_OP_reduce, &x, 1, &a);
}

static tn_value cumulative_of(op_test *t, tn_value x, tn_attrs_cumulative a) {
    return tn_b_node(&t->b, TN_OP_cumulative, &x, 1, &a);
}

static bool is_order(tn_reduce_kind kind) {
    return kind != TN_REDUCE_sum && kind != TN_REDUCE_prod;
}

/* ---- reduce --------------------------------------------------------------------------------- */

static void test_reduce__refuses_wrong_attributes(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2, 3, 0)), f = op_input(t, TN_bool, SHAPE_OF(2));
    reduce_of(t, x, TN_REDUCE_sum, (tn_ints){1, {3}}, TN_f32);
    op_test_refused(t, TN_INVALID, "axes is 3; expected 0 to 2");
    reduce_of(t, x, TN_REDUCE_sum, (tn_ints){2, {1, 0}}, TN_f32);
    op_test_refused(t, TN_INVALID, "axes do not ascend; sort them");
    reduce_of(t, x, TN_REDUCE_sum, (tn_ints){1, {0}}, TN_f16);
    op_test_refused(t, TN_INVALID, "operand 0 is f32[2,3,0]: acc is f16, which cannot hold");
    reduce_of(t, x, TN_REDUCE_and, (tn_ints){1, {0}}, TN_f32);
    op_test_refused(t, TN_INVALID, "expected an integer type or bool");
    reduce_of(t, f, TN_REDUCE_sum, (tn_ints){1, {0}}, TN_bool);
    op_test_refused(t, TN_INVALID, "expected a float or integer type");
    reduce_of(t, x, TN_REDUCE_argmax, (tn_ints){1, {2}}, TN_f32);
    op_test_refused(t, TN_INVALID, "axis 2 has no elements");
    tn_value e = op_input(t, TN_f8e8m0, SHAPE_OF(2));
    reduce_of(t, e, TN_REDUCE_sum, (tn_ints){1, {0}}, TN_f8e8m0);
    op_test_refused(t, TN_INVALID, "no zero to start a sum from");
    reduce_of(t, x, (tn_reduce_kind)99, (tn_ints){0}, TN_f32);
    op_test_refused(t, TN_INVALID, "kind is 99");
}

static void test_reduce__evaluates_known_values(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2, 3));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 5, 5, -1, NAN, NAN}), y;
    tn_ints last = {1, {1}}, all = {2, {0, 1}};
    y = op_eval(t, reduce_of(t, x, TN_REDUCE_sum, (tn_ints){1, {0}}, TN_f32), &in);
    EXPECT_NUMBERS(&y, 0, NAN, NAN);
    y = op_eval(t, reduce_of(t, x, TN_REDUCE_max, last, TN_f32), &in);
    EXPECT_NUMBERS(&y, 5, NAN);
    y = op_eval(t, reduce_of(t, x, TN_REDUCE_argmax, last, TN_f32), &in);
    assert_int_equal(y.dtype, TN_i64);
    EXPECT_NUMBERS(&y, 1, 1);
    y = op_eval(t, reduce_of(t, x, TN_REDUCE_argmin, last, TN_f32), &in);
    EXPECT_NUMBERS(&y, 0, 1);
    y = op_eval(t, reduce_of(t, x, TN_REDUCE_argmin, all, TN_f32), &in);
    EXPECT_NUMBERS(&y, 4);
}

static void test_reduce__empty_folds_give_the_identity(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_i8, SHAPE_OF(1, 0));
    tn_array in = op_array(t, tn_graph_type(t->g, x));
    const double want[] = {0, 1, -128, 127, -1, 0};
    for (int kind = 0; kind <= TN_REDUCE_or; kind++) {
        tn_value y = reduce_of(t, x, (tn_reduce_kind)kind, (tn_ints){1, {1}}, TN_i8);
        tn_array a = op_eval(t, y, &in);
        EXPECT_NUMBERS(&a, want[kind]);
        op_check_lowering(t, y, &in);
    }
}

/* Sums over a wide accumulator are exact for these values, so bits must agree. */
static void check_lowering_of(op_test *t, tn_reduce_kind kind, tn_dtype dtype) {
    tn_scalar_op add = TN_S_add, and = TN_S_and;
    bool numbers = kind == TN_REDUCE_sum || kind == TN_REDUCE_prod;
    bool bits = kind == TN_REDUCE_and || kind == TN_REDUCE_or;
    if (numbers && !tn_scalar_accepts(add, dtype)) return;
    if (bits && !tn_scalar_accepts(and, dtype)) return;
    bool narrow = tn_dtype_is_float(dtype) && tn_dtype_bits(dtype) < 32;
    tn_dtype acc = numbers && narrow ? TN_f32 : dtype;
    const tn_ints axes[] = {{1, {0}}, {1, {1}}, {2, {0, 2}}, {3, {0, 1, 2}}, {0}};
    tn_dim n = op_test_symbol(t, "N", 3);
    tn_value x = op_input(t, dtype, SHAPE_OF(n, 2, 3));
    for (size_t i = 0; i < TN_COUNT(axes); i++) {
        const tn_type *type = tn_graph_type(t->g, x);
        tn_array in = is_order(kind) ? op_any(t, type) : op_small(t, type);
        op_check_lowering(t, reduce_of(t, x, kind, axes[i], acc), &in);
        in = op_small(t, type); /* with ties */
        op_check_lowering(t, reduce_of(t, x, kind, axes[i], acc), &in);
    }
}

static void test_reduce__lowering_agrees_with_eval(void **state) {
    op_test *t = *state;
    for (int kind = 0; kind <= TN_REDUCE_argmin; kind++)
        for (int dtype = 0; dtype < TN_DTYPE_COUNT; dtype++)
            check_lowering_of(t, (tn_reduce_kind)kind, (tn_dtype)dtype);
}

/* Combines partial results in the wrong order: the position decides ties, not the order. */
static void test_reduce__argmax_combines_in_any_order(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(4));
    tn_value y = reduce_of(t, x, TN_REDUCE_argmax, (tn_ints){1, {0}}, TN_f32);
    const tn_node_info *n = tn_graph_producer(t->g, y);
    tn_loop k;
    tn_loop_init(&k, &t->arena, &t->dims, "combine");
    const double value[][2] = {{2, 2}, {(double)NAN, (double)NAN}, {3, (double)NAN}, {2, 3}};
    const int64_t want[] = {1, 1, 1, 1};
    for (size_t i = 0; i < TN_COUNT(want); i++) {
        tn_lx late[] = {tn_l_number(&k, TN_f32, value[i][0]), tn_l_int(&k, 5)};
        tn_lx early[] = {tn_l_number(&k, TN_f32, value[i][1]), tn_l_int(&k, 1)}, out[2];
        int64_t position;
        tn_op_rules_of(TN_OP_reduce)->lower.fold->combine(&k, t->g, n, late, early, out);
        assert_true(tn_l_is_const_int(&k, out[1], &position));
        assert_int_equal(position, want[i]);
    }
}

static void check_gradient(tn_reduce_kind kind, tn_shape shape, tn_ints axes, bool zeros) {
    op_test t;
    op_test_init(&t);
    tn_value x = op_input(&t, TN_f64, shape);
    tn_array in = op_uniform(&t, tn_graph_type(t.g, x), -2, 2);
    for (int64_t i = 0; zeros && i < tn_array_count(&in); i += 4)
        tn_array_set(&in, i, (tn_cell){.f = 0});
    op_check_vjp(&t, reduce_of(&t, x, kind, axes, TN_f64), &in);
    op_test_deinit(&t);
}

static void test_reduce__gradients_agree_with_differences(void **state) {
    const tn_reduce_kind kinds[] = {TN_REDUCE_sum, TN_REDUCE_prod, TN_REDUCE_max, TN_REDUCE_min};
    (void)state;
    for (size_t i = 0; i < TN_COUNT(kinds); i++) {
        check_gradient(kinds[i], SHAPE_OF(2, 3, 4), (tn_ints){1, {1}}, false);
        check_gradient(kinds[i], SHAPE_OF(2, 3, 4), (tn_ints){2, {0, 2}}, false);
        check_gradient(kinds[i], SHAPE_OF(5), (tn_ints){1, {0}}, false);
        check_gradient(kinds[i], SHAPE_OF(2, 2), (tn_ints){0}, false);
    }
    check_gradient(TN_REDUCE_prod, SHAPE_OF(3, 5), (tn_ints){1, {1}}, true);
}

static void test_reduce__ties_share_the_gradient(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(4)), grad;
    tn_value y = reduce_of(t, x, TN_REDUCE_max, (tn_ints){1, {0}}, TN_f32);
    tn_value d = tn_b_scalar(&t->b, TN_f32, 3);
    tn_node_info n = *tn_graph_producer(t->g, y);
    tn_op_rules_of(TN_OP_reduce)->vjp.rule(&t->b, t->g, &n, &x, &y, &d, &grad);
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 7, 7, 7});
    tn_array a = op_eval(t, grad, &in);
    EXPECT_NUMBERS(&a, 0, 1, 1, 1);
}

static void test_reduce__batches(void **state) {
    op_test *t = *state;
    for (int kind = 0; kind <= TN_REDUCE_argmin; kind++) {
        tn_value x = op_input(t, TN_i32, SHAPE_OF(2, 3, 2));
        op_check_batch(t, reduce_of(t, x, (tn_reduce_kind)kind, (tn_ints){2, {0, 2}}, TN_i32));
    }
}

static void test_reduce__sum_of_a_split_axis_is_partial(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2, 3, 4));
    tn_value sum = reduce_of(t, x, TN_REDUCE_sum, (tn_ints){1, {1}}, TN_f32);
    tn_value max = reduce_of(t, x, TN_REDUCE_max, (tn_ints){1, {1}}, TN_f32);
    int in = 1, out;
    tn_shard s = {&in, &out};
    const tn_op_rules *rules = tn_op_rules_of(TN_OP_reduce);
    assert_true(rules->shard.rule(t->g, tn_graph_producer(t->g, sum), &s));
    assert_int_equal(out, TN_PLACE_PARTIAL);
    assert_false(rules->shard.rule(t->g, tn_graph_producer(t->g, max), &s));
    in = 2;
    assert_true(rules->shard.rule(t->g, tn_graph_producer(t->g, max), &s));
    assert_int_equal(out, 1);
}

/* ---- cumulative ----------------------------------------------------------------------------- */

static void test_cumulative__refuses_wrong_attributes(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_bool, SHAPE_OF(2));
    cumulative_of(t, x, (tn_attrs_cumulative){.kind = TN_REDUCE_sum});
    op_test_refused(t, TN_INVALID, "expected a float or integer type");
    cumulative_of(t, x, (tn_attrs_cumulative){.kind = TN_REDUCE_argmax});
    op_test_refused(t, TN_INVALID, "kind is none of sum, prod, max, min");
    cumulative_of(t, x, (tn_attrs_cumulative){.kind = TN_REDUCE_max, .axis = 1});
    op_test_refused(t, TN_INVALID, "axis is 1; expected 0 to 0");
}

static void test_cumulative__evaluates_known_values(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_i32, SHAPE_OF(3));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){3, 1, 2}), y;
    tn_attrs_cumulative a = {.kind = TN_REDUCE_sum};
    y = op_eval(t, cumulative_of(t, x, a), &in);
    EXPECT_NUMBERS(&y, 3, 4, 6);
    a.exclusive = true;
    y = op_eval(t, cumulative_of(t, x, a), &in);
    EXPECT_NUMBERS(&y, 0, 3, 4);
    a.reverse = true;
    y = op_eval(t, cumulative_of(t, x, a), &in);
    EXPECT_NUMBERS(&y, 3, 2, 0);
    y = op_eval(t, cumulative_of(t, x, (tn_attrs_cumulative){.kind = TN_REDUCE_max}), &in);
    EXPECT_NUMBERS(&y, 3, 3, 3);
}

static tn_attrs_cumulative variant(int i, int axis) {
    return (tn_attrs_cumulative){
        .kind = (tn_reduce_kind)(i >> 2), .axis = axis, .exclusive = i & 1, .reverse = i >> 1 & 1};
}
enum { VARIANTS = 16 }; /* kinds, exclusive, reverse */

static void test_cumulative__lowering_agrees_with_eval(void **state) {
    op_test *t = *state;
    tn_dim n = op_test_symbol(t, "N", 3);
    for (int i = 0; i < VARIANTS; i++) {
        for (int dtype = 0; dtype < TN_DTYPE_COUNT; dtype++) {
            tn_attrs_cumulative a = variant(i, i % 3);
            if (!is_order(a.kind) && dtype == TN_bool) continue;
            tn_value x = op_input(t, (tn_dtype)dtype, SHAPE_OF(2, n, 3));
            const tn_type *type = tn_graph_type(t->g, x);
            tn_array in = is_order(a.kind) ? op_any(t, type) : op_small(t, type);
            op_check_lowering(t, cumulative_of(t, x, a), &in);
        }
    }
}

static void test_cumulative__gradients_agree_with_differences(void **state) {
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        op_test t;
        op_test_init(&t);
        tn_value x = op_input(&t, TN_f64, SHAPE_OF(2, 5, 3));
        tn_array in = op_uniform(&t, tn_graph_type(t.g, x), -2, 2);
        tn_attrs_cumulative a = variant(i, i % 3);
        for (int64_t k = 0; a.kind == TN_REDUCE_prod && k < tn_array_count(&in); k += 4)
            tn_array_set(&in, k, (tn_cell){.f = 0});
        op_check_vjp(&t, cumulative_of(&t, x, a), &in);
        op_test_deinit(&t);
    }
}

static void test_cumulative__batches(void **state) {
    op_test *t = *state;
    for (int i = 0; i < VARIANTS; i++)
        op_check_batch(t, cumulative_of(t, op_input(t, TN_f32, SHAPE_OF(2, 3)), variant(i, 1)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_reduce__refuses_wrong_attributes),
        OP_TEST(test_reduce__evaluates_known_values),
        OP_TEST(test_reduce__empty_folds_give_the_identity),
        OP_TEST(test_reduce__lowering_agrees_with_eval),
        OP_TEST(test_reduce__argmax_combines_in_any_order),
        OP_TEST(test_reduce__gradients_agree_with_differences),
        OP_TEST(test_reduce__ties_share_the_gradient),
        OP_TEST(test_reduce__batches),
        OP_TEST(test_reduce__sum_of_a_split_axis_is_partial),
        OP_TEST(test_cumulative__refuses_wrong_attributes),
        OP_TEST(test_cumulative__evaluates_known_values),
        OP_TEST(test_cumulative__lowering_agrees_with_eval),
        OP_TEST(test_cumulative__gradients_agree_with_differences),
        OP_TEST(test_cumulative__batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
