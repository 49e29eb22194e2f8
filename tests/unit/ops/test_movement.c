#include "unit/ops/op_test.h"

static tn_value permute_of(op_test *t, tn_value x, tn_ints perm) {
    tn_attrs_permute a = {.perm = perm};
    return tn_b_node(&t->b, TN_OP_permute, &x, 1, &a);
}

static tn_value broadcast_of(op_test *t, tn_value x, tn_shape shape, tn_ints axes) {
    tn_attrs_broadcast a = {.shape = shape, .axes = axes};
    return tn_b_node(&t->b, TN_OP_broadcast, &x, 1, &a);
}

static tn_value slice_of(op_test *t, tn_value x, tn_dim_list start, tn_shape shape, tn_ints step) {
    tn_attrs_slice a = {.start = start, .shape = shape, .step = step};
    return tn_b_node(&t->b, TN_OP_slice, &x, 1, &a);
}

static tn_value pad_of(op_test *t, tn_value x, tn_value fill, const tn_attrs_pad *a) {
    tn_value in[] = {x, fill};
    return tn_b_node(&t->b, TN_OP_pad, in, 2, a);
}

static tn_value concat_of(op_test *t, const tn_value *in, uint32_t count, int axis) {
    tn_attrs_concat a = {.axis = axis};
    return tn_b_node(&t->b, TN_OP_concat, in, count, &a);
}

static int64_t below(op_test *t, int64_t n) {
    return (int64_t)(test_random(&t->seed) % (uint64_t)n);
}

static tn_shape random_shape(op_test *t, int rank, int64_t least) {
    tn_shape shape = {.rank = rank};
    for (int i = 0; i < rank; i++) shape.dim[i] = least + below(t, 4);
    return shape;
}

/* Lowering for all types on this shape's node, gradient and batch once. */
static void check_all(op_test *t, tn_value y) {
    const tn_node_info *n = tn_graph_producer(t->g, y);
    tn_array in[OP_TEST_VALUES];
    for (uint32_t i = 0; i < n->in_count; i++) in[i] = op_any(t, tn_node_type(t->g, n, i));
    op_check_lowering(t, y, in);
    op_check_batch(t, y);
}

static void check_gradient(op_test *t, tn_value y) {
    const tn_node_info *n = tn_graph_producer(t->g, y);
    tn_array in[OP_TEST_VALUES];
    for (uint32_t i = 0; i < n->in_count; i++)
        in[i] = op_uniform(t, tn_node_type(t->g, n, i), -1, 1);
    op_check_vjp(t, y, in);
}

/* A fresh graph per case: gradients want the operands to be its inputs. */
static void with_graph(void (*check)(op_test *t), int times) {
    for (int i = 0; i < times; i++) {
        op_test t;
        op_test_init(&t);
        t.seed = (uint64_t)i;
        check(&t);
        op_test_deinit(&t);
    }
}

/* ---- permute -------------------------------------------------------------------------------- */

static void test_permute__refuses_what_is_no_permutation(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2, 3));
    permute_of(t, x, (tn_ints){1, {0}});
    op_test_refused(t, TN_INVALID, "perm has 1 entries; expected 2");
    permute_of(t, x, (tn_ints){2, {1, 1}});
    op_test_refused(t, TN_INVALID, "perm names axis 1 twice");
    permute_of(t, x, (tn_ints){2, {0, 2}});
    op_test_refused(t, TN_INVALID, "perm is 2; expected 0 to 1");
}

static void check_permute(op_test *t) {
    int rank = (int)below(t, 5);
    tn_value x = op_input(t, TN_f64, random_shape(t, rank, 1));
    tn_ints perm = {.count = rank};
    for (int i = 0; i < rank; i++) perm.at[i] = i;
    for (int i = rank - 1; i > 0; i--) {
        int64_t k = below(t, i + 1), kept = perm.at[i];
        perm.at[i] = perm.at[k];
        perm.at[k] = kept;
    }
    tn_value y = permute_of(t, x, perm);
    check_all(t, y);
    check_gradient(t, y);
}

static void test_permute__agrees(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2, 3));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4, 5, 6});
    tn_array y = op_eval(t, permute_of(t, x, (tn_ints){2, {1, 0}}), &in);
    EXPECT_NUMBERS(&y, 1, 4, 2, 5, 3, 6);
    with_graph(check_permute, 20);
}

/* ---- broadcast ------------------------------------------------------------------------------ */

static void test_broadcast__refuses_sizes_that_do_not_fit(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2, 3));
    broadcast_of(t, x, SHAPE_OF(2, 4), (tn_ints){2, {0, 1}});
    op_test_refused(t, TN_INVALID, "axis 1 must be 1 or equal axis 1 of the result [2,4]");
    broadcast_of(t, x, SHAPE_OF(3, 2), (tn_ints){2, {1, 0}});
    op_test_refused(t, TN_INVALID, "axes do not ascend; permute first");
    broadcast_of(t, x, SHAPE_OF(2, 3), (tn_ints){1, {0}});
    op_test_refused(t, TN_INVALID, "axes has 1 entries; expected 2");
}

static void check_broadcast(op_test *t) {
    tn_shape to = random_shape(t, 1 + (int)below(t, 4), 1), from = {0};
    tn_ints axes = {0};
    for (int i = 0; i < to.rank; i++) {
        if (below(t, 3) == 0) continue;
        axes.at[axes.count++] = i;
        from.dim[from.rank++] = below(t, 2) ? 1 : to.dim[i];
    }
    tn_value y = broadcast_of(t, op_input(t, TN_f64, from), to, axes);
    check_all(t, y);
    check_gradient(t, y);
}

static void test_broadcast__agrees(void **state) {
    (void)state;
    with_graph(check_broadcast, 30);
}

/* ---- reshape -------------------------------------------------------------------------------- */

static tn_value reshape_of(op_test *t, tn_value x, tn_shape shape) {
    tn_attrs_reshape a = {.shape = shape};
    return tn_b_node(&t->b, TN_OP_reshape, &x, 1, &a);
}

static void test_reshape__refuses_other_element_counts(void **state) {
    op_test *t = *state;
    tn_dim n = op_test_symbol(t, "N", 4), m = op_test_symbol(t, "M", 4);
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2, 3)), open = op_input(t, TN_f32, SHAPE_OF(n, 2));
    reshape_of(t, x, SHAPE_OF(4));
    op_test_refused(t, TN_INVALID, "its 6 elements do not fill the shape [4] of 4");
    reshape_of(t, open, SHAPE_OF(m, 2));
    op_test_refused(t, TN_UNSUPPORTED, "bind them");
    reshape_of(t, open, SHAPE_OF(tn_dim_mul(&t->dims, n, 3)));
    op_test_refused(t, TN_INVALID, "do not fill the shape");
}

/* Factors joined in two random ways, with 1s strewn in. */
static tn_shape joined(op_test *t, const int64_t *factor, int count) {
    tn_shape shape = {0};
    bool open = false;
    for (int i = 0; i < count; i++) {
        if (below(t, 4) == 0) {
            shape.dim[shape.rank++] = 1;
            open = false;
        }
        if (open && below(t, 2))
            shape.dim[shape.rank - 1] *= factor[i];
        else
            shape.dim[shape.rank++] = factor[i];
        open = true;
    }
    return shape;
}

static void check_reshape(op_test *t) {
    int64_t factor[5];
    int count = (int)below(t, 6);
    for (int i = 0; i < count; i++) factor[i] = 2 + below(t, 2);
    tn_shape from = joined(t, factor, count), to = joined(t, factor, count);
    tn_value y = reshape_of(t, op_input(t, TN_f64, from), to);
    check_all(t, y);
    check_gradient(t, y);
}

static void test_reshape__agrees(void **state) {
    (void)state;
    with_graph(check_reshape, 30);
}

static void check_reshape_pair(op_test *t, tn_shape from, tn_shape to) {
    tn_value y = reshape_of(t, op_input(t, TN_i16, from), to);
    check_all(t, y);
}

static void test_reshape__handles_open_and_empty_shapes(void **state) {
    op_test *t = *state;
    tn_dim n = op_test_symbol(t, "N", 3), s = op_test_symbol(t, "S", 4);
    tn_dim ns = tn_dim_mul(&t->dims, n, s), s2 = tn_dim_mul(&t->dims, s, 2);
    check_reshape_pair(t, SHAPE_OF(n, s, 6), SHAPE_OF(ns, 2, 3));
    check_reshape_pair(t, SHAPE_OF(ns, 6), SHAPE_OF(n, 1, s, 6));
    check_reshape_pair(t, SHAPE_OF(n, s, 2), SHAPE_OF(n, s2));
    check_reshape_pair(t, SHAPE_OF(n, 4), SHAPE_OF(4, n));
    check_reshape_pair(t, SHAPE_OF(0, 3), SHAPE_OF(5, 0, 2));
    check_reshape_pair(t, SCALAR_SHAPE, SHAPE_OF(1, 1));
}

/* Records the index that a reshape asks of its operand. */
typedef struct index_probe {
    tn_emit base;
    tn_lx index[TN_MAX_RANK];
} index_probe;

static tn_lx probe_operand(tn_emit *e, const tn_node_info *n, uint32_t which, const tn_lx *index) {
    const tn_type *x = tn_node_type(e->graph, n, which);
    memcpy(((index_probe *)e)->index, index, (size_t)x->shape.rank * sizeof *index);
    return tn_l_number(e->k, x->dtype, 0);
}

static void test_reshape__keeps_the_index_of_untouched_axes(void **state) {
    op_test *t = *state;
    tn_dim n = op_test_symbol(t, "N", 3);
    tn_value y = reshape_of(t, op_input(t, TN_f32, SHAPE_OF(n, 7, 6)), SHAPE_OF(n, 1, 7, 2, 3));
    tn_loop k;
    tn_loop_init(&k, &t->arena, &t->dims, "probe");
    index_probe p = {.base = {.k = &k, .graph = t->g, .operand = probe_operand}};
    tn_lx index[5];
    for (int i = 0; i < 5; i++)
        index[i] = tn_l_for(&k, TN_LOOP_SERIAL, tn_l_int(&k, 0), tn_l_int(&k, 2), "i");
    tn_op_rules_of(TN_OP_reshape)->lower.expression(&p.base, tn_graph_producer(t->g, y), 0, index);
    assert_int_equal(p.index[0], index[0]);
    assert_int_equal(p.index[1], index[2]);
}

static void test_reshape__keeps_placements_of_untouched_axes(void **state) {
    op_test *t = *state;
    tn_value y = reshape_of(t, op_input(t, TN_f32, SHAPE_OF(8, 6, 5)), SHAPE_OF(8, 1, 30));
    int in = 0, out;
    tn_shard s = {&in, &out};
    const tn_op_rules *rules = tn_op_rules_of(TN_OP_reshape);
    assert_true(rules->shard.rule(t->g, tn_graph_producer(t->g, y), &s));
    assert_int_equal(out, 0);
    in = 1;
    assert_false(rules->shard.rule(t->g, tn_graph_producer(t->g, y), &s));
}

/* ---- slice ---------------------------------------------------------------------------------- */

static void test_slice__refuses_positions_outside(void **state) {
    op_test *t = *state;
    tn_dim n = op_test_symbol(t, "N", 4);
    tn_value x = op_input(t, TN_f32, SHAPE_OF(5)), open = op_input(t, TN_f32, SHAPE_OF(n));
    slice_of(t, x, (tn_dim_list){1, {2}}, SHAPE_OF(4), (tn_ints){1, {1}});
    op_test_refused(t, TN_INVALID, "axis 0 has 5 elements; the slice takes positions 2 to 5");
    slice_of(t, x, (tn_dim_list){1, {2}}, SHAPE_OF(4), (tn_ints){1, {-1}});
    op_test_refused(t, TN_INVALID, "the slice takes positions 2 to -1");
    slice_of(t, x, (tn_dim_list){1, {2}}, SHAPE_OF(1), (tn_ints){1, {0}});
    op_test_refused(t, TN_INVALID, "axis 0 has step 0");
    slice_of(t, x, (tn_dim_list){1, {2}}, SHAPE_OF(1), (tn_ints){1, {INT64_MIN}});
    op_test_refused(t, TN_INVALID, "axis 0 has step -9223372036854775808");
    slice_of(t, open, (tn_dim_list){1, {0}}, SHAPE_OF(3), (tn_ints){1, {1}});
    op_test_refused(t, TN_UNSUPPORTED, "may lie outside of its N elements");
}

static void check_slice(op_test *t) {
    tn_shape from = random_shape(t, 1 + (int)below(t, 3), 3), to = {.rank = from.rank};
    tn_dim_list start = {.count = from.rank};
    tn_ints step = {.count = from.rank};
    for (int i = 0; i < from.rank; i++) {
        int64_t size = from.dim[i], stride = 1 + below(t, 3), first = below(t, size);
        bool forward = below(t, 2);
        int64_t room = forward ? size - first : first + 1;
        to.dim[i] = below(t, (room + stride - 1) / stride + 1);
        start.at[i] = first;
        step.at[i] = forward ? stride : -stride;
    }
    tn_value y = slice_of(t, op_input(t, TN_f64, from), start, to, step);
    check_all(t, y);
    check_gradient(t, y);
}

static void test_slice__agrees(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(5));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){0, 1, 2, 3, 4});
    tn_array y =
        op_eval(t, slice_of(t, x, (tn_dim_list){1, {4}}, SHAPE_OF(3), (tn_ints){1, {-2}}), &in);
    EXPECT_NUMBERS(&y, 4, 2, 0);
    with_graph(check_slice, 40);
}

static void test_slice__proves_open_sizes(void **state) {
    op_test *t = *state;
    tn_dims *d = &t->dims;
    tn_dim n = op_test_symbol(t, "N", 7), last = tn_dim_sub(d, n, 1);
    tn_value x = op_input(t, TN_f32, SHAPE_OF(n));
    tn_ints by1 = {1, {1}}, by2 = {1, {2}}, back = {1, {-1}};
    check_all(t, slice_of(t, x, (tn_dim_list){1, {1}}, SHAPE_OF(last), by1));
    check_all(t, slice_of(t, x, (tn_dim_list){1, {last}}, SHAPE_OF(n), back));
    check_all(t, slice_of(t, x, (tn_dim_list){1, {0}}, SHAPE_OF(tn_dim_min(d, n, 5)), by1));
    check_all(t, slice_of(t, x, (tn_dim_list){1, {0}}, SHAPE_OF(tn_dim_ceildiv(d, n, 2)), by2));
    check_all(t, slice_of(t, x, (tn_dim_list){1, {1}}, SHAPE_OF(tn_dim_floordiv(d, n, 2)), by2));
}

/* ---- pad ------------------------------------------------------------------------------------ */

static void test_pad__refuses_wrong_operands(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2)), wide = op_input(t, TN_f32, SHAPE_OF(1));
    tn_attrs_pad a = {.lo.count = 1, .hi.count = 1, .interior.count = 1};
    pad_of(t, x, op_input(t, TN_f64, SCALAR_SHAPE), &a);
    op_test_refused(t, TN_INVALID, "operand 1 is f64[]: expected type f32");
    pad_of(t, x, wide, &a);
    op_test_refused(t, TN_INVALID, "expected a scalar");
    a.interior.at[0] = -1;
    pad_of(t, x, tn_b_scalar(&t->b, TN_f32, 0), &a);
    op_test_refused(t, TN_INVALID, "interior padding -1 of axis 0");
    a = (tn_attrs_pad){.lo = {1, {tn_dim_const(&t->dims, -3)}}, .hi.count = 1, .interior.count = 1};
    pad_of(t, x, tn_b_scalar(&t->b, TN_f32, 0), &a);
    op_test_refused(t, TN_INVALID, "axis 0 of the padded shape has the negative size -1");
    a.lo.at[0] = tn_dim_const(&t->dims, 2 - INT64_MAX);
    a.hi.at[0] = INT64_MAX - 1;
    pad_of(t, x, tn_b_scalar(&t->b, TN_f32, 0), &a);
    op_test_refused(t, TN_INVALID, "axis 0 is padded by -9223372036854775805 elements");
}

static void check_pad(op_test *t) {
    tn_shape from = random_shape(t, 1 + (int)below(t, 3), 1);
    tn_attrs_pad a = {.lo.count = from.rank, .hi.count = from.rank, .interior.count = from.rank};
    for (int i = 0; i < from.rank; i++) {
        int64_t interior = below(t, 3), size = from.dim[i] + (from.dim[i] - 1) * interior;
        int64_t lo = below(t, size + 3) - size, hi = below(t, 4) - 1;
        if (size + lo + hi < 0) hi = 0;
        a.lo.at[i] = tn_dim_const(&t->dims, lo);
        a.hi.at[i] = tn_dim_const(&t->dims, hi);
        a.interior.at[i] = interior;
    }
    tn_value x = op_input(t, TN_f64, from), fill = op_input(t, TN_f64, SCALAR_SHAPE);
    tn_value y = pad_of(t, x, fill, &a);
    check_all(t, y);
    check_gradient(t, y);
}

static void test_pad__agrees(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(3)), fill = op_input(t, TN_f32, SCALAR_SHAPE);
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3}),
                     op_numbers(t, tn_graph_type(t->g, fill), (double[]){9})};
    tn_attrs_pad a = {
        .lo = {1, {tn_dim_const(&t->dims, -1)}}, .hi = {1, {2}}, .interior = {1, {1}}};
    tn_array y = op_eval(t, pad_of(t, x, fill, &a), in);
    EXPECT_NUMBERS(&y, 9, 2, 9, 3, 9, 9);
    with_graph(check_pad, 40);
}

static void test_pad__keeps_sizes_open(void **state) {
    op_test *t = *state;
    tn_dim n = op_test_symbol(t, "N", 4), m = op_test_symbol(t, "M", 2);
    tn_value x = op_input(t, TN_f32, SHAPE_OF(n)), fill = op_input(t, TN_f32, SCALAR_SHAPE);
    tn_attrs_pad a = {.lo = {1, {m}}, .hi = {1, {1}}, .interior = {1, {2}}};
    check_all(t, pad_of(t, x, fill, &a));
    a.lo.at[0] = tn_dim_const(&t->dims, -2);
    pad_of(t, x, fill, &(tn_attrs_pad){.lo = a.lo, .hi.count = 1, .interior.count = 1});
    op_test_refused(t, TN_UNSUPPORTED, "may be negative");
}

/* ---- concat --------------------------------------------------------------------------------- */

static void test_concat__refuses_other_sizes(void **state) {
    op_test *t = *state;
    tn_value in[] = {op_input(t, TN_f32, SHAPE_OF(2, 3)), op_input(t, TN_f32, SHAPE_OF(2, 4)),
                     op_input(t, TN_f32, SHAPE_OF(2)), op_input(t, TN_f64, SHAPE_OF(2, 3))};
    concat_of(t, in, 2, 0);
    op_test_refused(t, TN_INVALID, "operand 1 is f32[2,4]: axis 1 must be 3 as in operand 0");
    concat_of(t, in, 3, 1);
    op_test_refused(t, TN_INVALID, "operand 2 is f32[2]: it has 1 axes; expected 2");
    concat_of(t, (tn_value[]){in[0], in[3]}, 2, 1);
    op_test_refused(t, TN_INVALID, "expected type f32");
    concat_of(t, in, 1, 2);
    op_test_refused(t, TN_INVALID, "axis is 2; expected 0 to 1");
}

static void check_concat(op_test *t) {
    tn_shape shape = random_shape(t, 1 + (int)below(t, 3), 1);
    int axis = (int)below(t, shape.rank);
    uint32_t count = 1 + (uint32_t)below(t, 4);
    tn_value in[4];
    for (uint32_t i = 0; i < count; i++) {
        shape.dim[axis] = below(t, 4);
        in[i] = op_input(t, TN_f64, shape);
    }
    tn_value y = concat_of(t, in, count, axis);
    check_all(t, y);
    check_gradient(t, y);
}

static void test_concat__agrees(void **state) {
    op_test *t = *state;
    tn_dim n = op_test_symbol(t, "N", 3);
    tn_value in[] = {op_input(t, TN_f16, SHAPE_OF(n, 2)), op_input(t, TN_f16, SHAPE_OF(1, 2)),
                     op_input(t, TN_f16, SHAPE_OF(n, 2))};
    check_all(t, concat_of(t, in, 3, 0));
    with_graph(check_concat, 30);
}

static void test_movement__all_types(void **state) {
    op_test *t = *state;
    for (int dtype = 0; dtype < TN_DTYPE_COUNT; dtype++) {
        tn_value x = op_input(t, (tn_dtype)dtype, SHAPE_OF(2, 3));
        tn_value fill = op_input(t, (tn_dtype)dtype, SCALAR_SHAPE), two[] = {x, x};
        tn_array in[] = {op_any(t, tn_graph_type(t->g, x)), op_any(t, tn_graph_type(t->g, fill))};
        tn_array same[] = {in[0], in[0]};
        tn_attrs_pad a = {.lo = {2, {1, 0}}, .hi = {2, {0, 2}}, .interior.count = 2};
        op_check_lowering(t, reshape_of(t, x, SHAPE_OF(3, 2)), in);
        op_check_lowering(t, permute_of(t, x, (tn_ints){2, {1, 0}}), in);
        op_check_lowering(t, tn_b_slice_axis(&t->b, x, 1, 2, 3, -1), in);
        op_check_lowering(t, pad_of(t, x, fill, &a), in);
        op_check_lowering(t, concat_of(t, two, 2, 1), same);
        op_check_lowering(t, tn_b_node(&t->b, TN_OP_barrier, &x, 1, NULL), in);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_permute__refuses_what_is_no_permutation),
        OP_TEST(test_permute__agrees),
        OP_TEST(test_broadcast__refuses_sizes_that_do_not_fit),
        OP_TEST(test_broadcast__agrees),
        OP_TEST(test_reshape__refuses_other_element_counts),
        OP_TEST(test_reshape__agrees),
        OP_TEST(test_reshape__handles_open_and_empty_shapes),
        OP_TEST(test_reshape__keeps_the_index_of_untouched_axes),
        OP_TEST(test_reshape__keeps_placements_of_untouched_axes),
        OP_TEST(test_slice__refuses_positions_outside),
        OP_TEST(test_slice__agrees),
        OP_TEST(test_slice__proves_open_sizes),
        OP_TEST(test_pad__refuses_wrong_operands),
        OP_TEST(test_pad__agrees),
        OP_TEST(test_pad__keeps_sizes_open),
        OP_TEST(test_concat__refuses_other_sizes),
        OP_TEST(test_concat__agrees),
        OP_TEST(test_movement__all_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
