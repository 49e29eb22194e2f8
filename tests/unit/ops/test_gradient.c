/* Reverse mode over whole graphs, against central differences in f64. */
#include "ops/gradient.h"

#include "unit/ops/op_test.h"

#include "ops/compose.h"

enum { MAX_XS = 4 };

static double sum_of(op_test *t, tn_value y, const tn_array *in) {
    tn_array out = op_eval(t, y, in);
    double sum = 0;
    for (int64_t i = 0; i < tn_array_count(&out); i++) sum += op_number(&out, i);
    return sum;
}

/* The gradient of the sum of y with respect to the graph's inputs x[0 … n). */
static void check_gradient(op_test *t, tn_value y, const tn_value *x, int n) {
    tn_value grads[MAX_XS];
    tn_array in[MAX_XS];
    for (int i = 0; i < n; i++) in[i] = op_uniform(t, tn_graph_type(t->g, x[i]), 0.2, 1.2);
    tn_b_gradient(&t->b, y, TN_NO_VALUE, x, n, grads);
    op_test_ok(t, t->b.status);
    for (int i = 0; i < n; i++) {
        tn_array have = op_eval(t, grads[i], in);
        assert_int_equal(tn_array_count(&have), tn_array_count(&in[i]));
        for (int64_t k = 0; k < tn_array_count(&in[i]); k++) {
            double *at = (double *)in[i].data + k, kept = *at, h = 1e-5;
            *at = kept + h;
            double up = sum_of(t, y, in);
            *at = kept - h;
            double down = sum_of(t, y, in);
            *at = kept;
            double want = (up - down) / (2 * h);
            if (!(fabs(op_number(&have, k) - want) <= 1e-6 * fmax(1, fabs(want))))
                fail_msg("x%d[%lld]: %.9g, expected %.9g", i, (long long)k, op_number(&have, k),
                         want);
        }
    }
}

/* A value with several uses gets the sum of what they give. */
static void test_gradient__adds_up_over_uses(void **state) {
    (void)state;
    op_test t;
    op_test_init(&t);
    tn_value x[2] = {op_input(&t, TN_f64, SHAPE_OF(3)), op_input(&t, TN_f64, SHAPE_OF(3))};
    tn_value s = tn_b_add(&t.b, x[0], x[1]);
    tn_value y = tn_b_mul(&t.b, tn_b_mul(&t.b, s, s), tn_b_sin(&t.b, tn_b_mul(&t.b, s, x[0])));
    check_gradient(&t, y, x, 2);
    op_test_deinit(&t);
}

static void test_gradient__of_a_layer(void **state) {
    (void)state;
    op_test t;
    op_test_init(&t);
    tn_value x[4] = {op_input(&t, TN_f64, SHAPE_OF(2, 3)), op_input(&t, TN_f64, SHAPE_OF(4, 3)),
                     op_input(&t, TN_f64, SHAPE_OF(4)), op_input(&t, TN_f64, SHAPE_OF(4))};
    tn_value h = tn_b_gelu(&t.b, tn_b_linear(&t.b, x[0], x[1], x[2]));
    tn_value y = tn_b_mul(&t.b, tn_b_softmax(&t.b, h, -1), x[3]);
    check_gradient(&t, tn_b_layer_norm(&t.b, y, 1, x[3], x[2], 1e-3, NULL), x, 4);
    op_test_deinit(&t);
}

/* The walk builds plain nodes, so that it can go over them again: (x³)'' = 6x. */
static void test_gradient__can_be_differentiated_again(void **state) {
    (void)state;
    op_test t;
    op_test_init(&t);
    tn_value x = op_input(&t, TN_f64, SCALAR_SHAPE), first, second;
    tn_value y = tn_b_mul(&t.b, tn_b_mul(&t.b, x, x), x);
    tn_b_gradient(&t.b, y, TN_NO_VALUE, &x, 1, &first);
    tn_b_gradient(&t.b, first, TN_NO_VALUE, &x, 1, &second);
    tn_array in = op_numbers(&t, tn_graph_type(t.g, x), (double[]){5}), have;
    have = op_eval(&t, second, &in);
    EXPECT_NUMBERS(&have, 30);
    op_test_deinit(&t);
}

/* y = a², a = 3x: with a and x held apart, dy/da = 2a and dy/dx = 0. */
static void test_gradient__stops_at_what_it_is_taken_by(void **state) {
    (void)state;
    op_test t;
    op_test_init(&t);
    tn_value x = op_input(&t, TN_f64, SHAPE_OF(2)), grads[2];
    tn_value a = tn_b_mul_scalar(&t.b, x, 3), y = tn_b_mul(&t.b, a, a);
    tn_b_gradient(&t.b, y, TN_NO_VALUE, (tn_value[]){a, x}, 2, grads);
    tn_array in = op_numbers(&t, tn_graph_type(t.g, x), (double[]){1, 2}), have;
    have = op_eval(&t, grads[0], &in);
    EXPECT_NUMBERS(&have, 6, 12);
    have = op_eval(&t, grads[1], &in);
    EXPECT_NUMBERS(&have, 0, 0);
    tn_b_gradient(&t.b, a, a, &a, 1, grads);
    have = op_eval(&t, grads[0], &in);
    EXPECT_NUMBERS(&have, 3, 6);
    op_test_deinit(&t);
}

/* What is split and used in parts gets the parts' cotangents side by side, zeros where none is. */
static void test_gradient__of_parts_is_a_concat(void **state) {
    (void)state;
    op_test t;
    op_test_init(&t);
    tn_value x = op_input(&t, TN_f64, SHAPE_OF(2, 6)), grad;
    tn_value a = tn_b_slice_axis(&t.b, x, 1, 3, 2, 1), c = tn_b_slice_axis(&t.b, x, 1, 1, 2, 1);
    tn_value y = tn_b_mul(&t.b, tn_b_exp(&t.b, a), tn_b_sin(&t.b, c));
    tn_b_gradient(&t.b, y, TN_NO_VALUE, &x, 1, &grad);
    op_test_ok(&t, t.b.status);
    assert_int_equal(tn_graph_producer(t.g, grad)->op, TN_OP_concat);
    assert_int_equal(tn_graph_producer(t.g, grad)->in_count, 4);
    check_gradient(&t, y, &x, 1);
    a = tn_b_slice_axis(&t.b, x, 1, 2, 2, 1); /* now they overlap */
    y = tn_b_mul(&t.b, tn_b_exp(&t.b, a), tn_b_sin(&t.b, c));
    tn_b_gradient(&t.b, y, TN_NO_VALUE, &x, 1, &grad);
    assert_int_equal(tn_graph_producer(t.g, grad)->op, TN_OP_add);
    check_gradient(&t, y, &x, 1);
    op_test_deinit(&t);
}

/* The bits of a float have no derivative: an error where x leads through them, none where it does
 * not. */
static void test_gradient__refuses_with_a_reason(void **state) {
    (void)state;
    op_test t;
    op_test_init(&t);
    tn_value x = op_input(&t, TN_f32, SHAPE_OF(4)), scale = op_input(&t, TN_f32, SHAPE_OF(4));
    tn_value sizes = op_input(&t, TN_i64, SHAPE_OF(1)), grad;
    tn_attrs_bitcast same = {.dtype = TN_f32};
    tn_value bits = tn_b_node(&t.b, TN_OP_bitcast, &x, 1, &same);
    tn_value y = tn_b_mul(&t.b, bits, scale);
    tn_b_gradient(&t.b, y, TN_NO_VALUE, &scale, 1, &grad);
    op_test_ok(&t, t.b.status);
    tn_b_gradient(&t.b, y, TN_NO_VALUE, &x, 1, &grad);
    assert_int_equal(grad, TN_NO_VALUE);
    op_test_refused(&t, TN_UNSUPPORTED, "bitcast of a float has no derivative; use cast");
    tn_b_gradient(&t.b, y, TN_NO_VALUE, &sizes, 1, &grad);
    op_test_refused(&t, TN_INVALID, "x is of type i64; only floats have derivatives");
    tn_b_gradient(&t.b, y, sizes, &x, 1, &grad);
    op_test_refused(&t, TN_INVALID, "the cotangent is not of the type of y");
    op_test_deinit(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradient__adds_up_over_uses),
        cmocka_unit_test(test_gradient__of_a_layer),
        cmocka_unit_test(test_gradient__can_be_differentiated_again),
        cmocka_unit_test(test_gradient__stops_at_what_it_is_taken_by),
        cmocka_unit_test(test_gradient__of_parts_is_a_concat),
        cmocka_unit_test(test_gradient__refuses_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
