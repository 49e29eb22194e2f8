#include "unit/ops/op_test.h"

static tn_value constant_of(op_test *t, tn_dtype dtype, tn_shape shape, size_t bytes) {
    tn_attrs_constant a = {.dtype = dtype, .shape = shape, .data = {.size = bytes}};
    a.data.bytes = tn_arena_alloc(&t->arena, bytes);
    return tn_b_node(&t->b, TN_OP_constant, NULL, 0, &a);
}

static tn_value iota_of(op_test *t, tn_dtype dtype, tn_shape shape, int axis) {
    return tn_b_iota(&t->b, dtype, &shape, axis);
}

static void test_source__refuses_wrong_attributes(void **state) {
    op_test *t = *state;
    tn_dim open = op_test_symbol(t, "N", 2), negative = tn_dim_const(&t->dims, -1);
    tn_shape too_many = {.rank = TN_MAX_RANK + 1};
    op_input(t, TN_f32, SHAPE_OF(2, negative));
    op_test_refused(t, TN_INVALID, "axis 1 of shape has the negative size -1");
    op_input(t, TN_f32, SHAPE_OF(tn_dim_sub(&t->dims, open, 3)));
    op_test_refused(t, TN_UNSUPPORTED, "may be negative; that depends on sizes that are open");
    op_input(t, TN_f32, too_many);
    op_test_refused(t, TN_INVALID, "shape has 13 axes; expected 0 to 12");
    constant_of(t, TN_f32, SHAPE_OF(2, 3), 20);
    op_test_refused(t, TN_INVALID, "20 bytes of data do not fill f32[2,3]");
    constant_of(t, TN_f32, SHAPE_OF(1ll << 40, 1ll << 40), 20);
    op_test_refused(t, TN_INVALID, "do not fill");
    constant_of(t, TN_f32, SHAPE_OF(open), 8);
    op_test_refused(t, TN_INVALID, "shape [N] has open sizes");
    iota_of(t, TN_i32, SHAPE_OF(2, 3), 2);
    op_test_refused(t, TN_INVALID, "axis is 2; expected 0 to 1");
    iota_of(t, TN_bool, SHAPE_OF(2), 0);
    op_test_refused(t, TN_INVALID, "dtype is bool");
    tn_b_node(&t->b, TN_OP_axis_index, NULL, 0, &(tn_attrs_axis_index){.mesh_axis = -1});
    op_test_refused(t, TN_INVALID, "mesh_axis is -1");
}

static void test_source__iota_counts_along_its_axis(void **state) {
    op_test *t = *state;
    tn_dim n = op_test_symbol(t, "N", 2);
    for (int dtype = 0; dtype < TN_DTYPE_COUNT; dtype++) {
        if (dtype == TN_bool || dtype == TN_f8e8m0) continue;
        op_check_lowering(t, iota_of(t, (tn_dtype)dtype, SHAPE_OF(n, 3), 1), NULL);
    }
    tn_array y = op_eval(t, iota_of(t, TN_f32, SHAPE_OF(n, 3), 0), NULL);
    EXPECT_NUMBERS(&y, 0, 0, 0, 1, 1, 1);
}

static tn_value random_of(op_test *t, tn_dtype dtype, tn_shape shape, tn_shape streams) {
    tn_value in[] = {op_input(t, TN_u64, streams), op_input(t, TN_u64, streams)};
    tn_attrs_random_bits a = {.dtype = dtype, .shape = shape};
    return tn_b_node(&t->b, TN_OP_random_bits, in, 2, &a);
}

static tn_array word(op_test *t, uint64_t value) {
    tn_array a = op_array(t, &(tn_type){.dtype = TN_u64});
    tn_array_set(&a, 0, (tn_cell){.u = value});
    return a;
}

/* Known answer of the authors' Random123 for philox4x32-10 with key and counter 0. */
static void test_source__random_bits_are_philox(void **state) {
    static const uint64_t known[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    op_test *t = *state;
    tn_value y = random_of(t, TN_u32, SHAPE_OF(4), SCALAR_SHAPE);
    tn_array in[] = {word(t, 0), word(t, 0)}, bits;
    op_eval_node(t, y, in, &bits);
    for (int i = 0; i < 4; i++) assert_int_equal(tn_array_get(&bits, i).u, known[i]);
    op_eval_node(t, random_of(t, TN_u64, SHAPE_OF(2), SCALAR_SHAPE), in, &bits);
    for (int i = 0; i < 2; i++)
        assert_int_equal(tn_array_get(&bits, i).u, known[2 * i] | known[2 * i + 1] << 32);
}

static void test_source__random_bits_continue_with_the_counter(void **state) {
    op_test *t = *state;
    tn_value y = random_of(t, TN_u32, SHAPE_OF(3, 7), SCALAR_SHAPE);
    tn_array first[] = {word(t, 77), word(t, 5)}, next[] = {word(t, 77), word(t, 6)}, a, b;
    op_eval_node(t, y, first, &a);
    op_eval_node(t, y, next, &b);
    for (int i = 0; i + 4 < 21; i++)
        assert_int_equal(tn_array_get(&a, i + 4).u, tn_array_get(&b, i).u);
}

static void test_source__random_bits_lowering_agrees_with_eval(void **state) {
    op_test *t = *state;
    tn_dim n = op_test_symbol(t, "N", 3);
    tn_array in[] = {word(t, test_random(&t->seed)), word(t, UINT64_MAX - 1)};
    op_check_lowering(t, random_of(t, TN_u32, SHAPE_OF(n, 5), SCALAR_SHAPE), in);
    op_check_lowering(t, random_of(t, TN_u64, SHAPE_OF(n, 5), SCALAR_SHAPE), in);
    tn_array many[] = {op_any(t, &(tn_type){TN_u64, SHAPE_OF(2, 3)}),
                       op_any(t, &(tn_type){TN_u64, SHAPE_OF(2, 3)})};
    op_check_lowering(t, random_of(t, TN_u32, SHAPE_OF(2, 3, 7), SHAPE_OF(2, 3)), many);
}

static void test_source__random_bits_have_a_stream_per_member(void **state) {
    op_test *t = *state;
    op_check_batch(t, random_of(t, TN_u32, SHAPE_OF(2, 3), SCALAR_SHAPE));
    op_check_batch(t, random_of(t, TN_u64, SHAPE_OF(2, 3), SHAPE_OF(2)));
}

static void test_source__random_bits_refuse_other_shapes(void **state) {
    op_test *t = *state;
    random_of(t, TN_u32, SHAPE_OF(2, 3), SHAPE_OF(3));
    op_test_refused(t, TN_INVALID, "expected a scalar, or the first axes of the result [2,3]");
    random_of(t, TN_i32, SHAPE_OF(2, 3), SCALAR_SHAPE);
    op_test_refused(t, TN_INVALID, "dtype is not u32 or u64");
}

static void test_source__values_without_operands_repeat_in_a_batch(void **state) {
    op_test *t = *state;
    tn_value y = iota_of(t, TN_i32, SHAPE_OF(3), 0), wide;
    tn_node_info n = *tn_graph_producer(t->g, y);
    const tn_batching how = tn_batching_of(2, false);
    tn_op_rules_of(TN_OP_iota)->batch.rule(&t->b, t->g, &n, &how, NULL, NULL, &wide);
    tn_array a = op_eval(t, wide, NULL);
    EXPECT_NUMBERS(&a, 0, 1, 2, 0, 1, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_source__refuses_wrong_attributes),
        OP_TEST(test_source__iota_counts_along_its_axis),
        OP_TEST(test_source__random_bits_are_philox),
        OP_TEST(test_source__random_bits_continue_with_the_counter),
        OP_TEST(test_source__random_bits_lowering_agrees_with_eval),
        OP_TEST(test_source__random_bits_have_a_stream_per_member),
        OP_TEST(test_source__random_bits_refuse_other_shapes),
        OP_TEST(test_source__values_without_operands_repeat_in_a_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
