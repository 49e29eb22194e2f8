/* compose_linalg.c, compose_optimizer.c, compose_spectrum.c, compose_ngram.c and
 * compose_linear_attention.c */
#include "unit/ops/op_test.h"

#include "ops/compose.h"

static void expect_close(double have, double want) {
    if (!(fabs(have - want) <= 1e-12 * fmax(1, fabs(want))))
        fail_msg("%.17g, expected %.17g", have, want);
}

static void test_det__of_stacks(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(3, 3, 3));
    double m[] = {0, 2, 1, 1, 0, 0, 3, 4, 5, 2, 0, 0, 0, 3, 0, 0, 0, 4, 1, 2, 3, 2, 4, 6, 7, 8, 9};
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), m);
    tn_array y = op_eval(t, tn_b_det(&t->b, x), &in);
    assert_int_equal(y.rank, 1);
    expect_close(op_number(&y, 0), -6); /* needs a row exchange */
    expect_close(op_number(&y, 1), 24);
    expect_close(op_number(&y, 2), 0); /* singular */
    tn_b_det(&t->b, op_input(t, TN_f64, SHAPE_OF(2, 3)));
    op_test_refused(t, TN_INVALID, "square");
    tn_b_det(&t->b, op_input(t, TN_f64, SHAPE_OF(99, 99)));
    op_test_refused(t, TN_UNSUPPORTED, "up to 32");
}

static void test_optimizers__first_steps(void **state) {
    op_test *t = *state;
    tn_builder *b = &t->b;
    tn_value x = tn_b_scalar(b, TN_f64, 1), g = tn_b_scalar(b, TN_f64, 0.5);
    tn_value m = tn_b_scalar(b, TN_f64, 0.25), s = tn_b_scalar(b, TN_f64, 0.75);
    tn_update o = {.rate = tn_b_scalar(b, TN_f64, 0.1),
                   .step = tn_b_scalar_int(b, TN_i64, 2),
                   .alpha = 0.9,
                   .momentum = {.number = 0.9},
                   .beta = 0.99,
                   .decay = 0.5,
                   .epsilon = 1e-3};
    tn_value square = s;
    tn_array y = op_eval(t, tn_b_adagrad(b, x, g, &square, &o), NULL);
    expect_close(op_number(&y, 0), 1 - 0.1 / 2 * 0.5 / (sqrt(1.0) + 1e-3));
    tn_value momentum = m;
    square = s;
    y = op_eval(t, tn_b_adam_efficient(b, x, g, &momentum, &square, &o), NULL);
    double first = 0.9 * 0.25 + 0.1 * 0.5, second = 0.99 * 0.75 + 0.01 * 0.25;
    double rate = 0.1 * sqrt(1 - 0.99 * 0.99) / (1 - 0.9 * 0.9);
    expect_close(op_number(&y, 0), 1 - rate * first / (sqrt(second) + 1e-3));
    y = op_eval(t, square, NULL);
    expect_close(op_number(&y, 0), second);
    for (int nesterov = 0; nesterov < 2; nesterov++) {
        momentum = m;
        y = op_eval(t, tn_b_momentum(b, x, g, &momentum, nesterov, &o), NULL);
        double v = 0.9 * 0.25 + 0.99 * 0.5;
        expect_close(op_number(&y, 0), 1 - 0.1 * (nesterov ? 0.5 + 0.9 * v : v));
    }
}

static void test_inverse_real_dft__undoes_half_a_spectrum(void **state) {
    op_test *t = *state;
    for (int64_t n = 5; n <= 8; n++) {
        t->g = tn_graph_new(&t->arena, &t->dims);
        t->b = tn_builder_of(t->g, &t->err);
        tn_value x = op_input(t, TN_f64, SHAPE_OF(2, n, 1));
        tn_array in = op_uniform(t, tn_graph_type(t->g, x), -1, 1);
        tn_value half = tn_b_dft(&t->b, x, &(tn_dft){.axis = 1, .onesided = true});
        tn_array y = op_eval(t, tn_b_inverse_real_dft(&t->b, half, 1, n), &in);
        for (int64_t i = 0; i < 2 * n; i++) expect_close(op_number(&y, i), op_number(&in, i));
    }
}

static void test_stft__frames_overlap(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(1, 6, 1));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4, 5, 6});
    tn_array y = op_eval(t, tn_b_stft(&t->b, x, TN_NO_VALUE, 2, 4, true), &in);
    assert_int_equal(tn_array_count(&y), 2 * 3 * 2);
    expect_close(op_number(&y, 0), 10); /* sums of the frames */
    expect_close(op_number(&y, 6), 18);
}

static void test_mel_weights__rise_and_fall(void **state) {
    op_test *t = *state;
    tn_mel m = {.bins = 8, .dft_length = 16, .sample_rate = 8192, .upper_hertz = 4096};
    tn_array y = op_eval(t, tn_b_mel_weights(&t->b, &m, TN_f32), NULL);
    assert_int_equal(y.dim[0], 9);
    for (int64_t i = 0; i < tn_array_count(&y); i++)
        assert_true(op_number(&y, i) >= 0 && op_number(&y, i) <= 1);
    m.sample_rate = 0;
    tn_b_mel_weights(&t->b, &m, TN_f32);
    op_test_refused(t, TN_INVALID, "mel_weights");
}

static void test_ngrams__with_skips(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_i64, SHAPE_OF(1, 6)), grams = op_input(t, TN_i64, SHAPE_OF(2, 2));
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 1, 2, 3, 2}),
                     op_numbers(t, tn_graph_type(t->g, grams), (double[]){1, 2, 2, 2})};
    tn_array y = op_eval(t, tn_b_count_ngrams(&t->b, x, grams, 0), in);
    EXPECT_NUMBERS(&y, 2, 0);
    y = op_eval(t, tn_b_count_ngrams(&t->b, x, grams, 2), in);
    EXPECT_NUMBERS(&y, 4, 2); /* 1 _ _ 2 twice; 2 _ 2 twice */
}

static void test_linear_attention__sums_outer_products(void **state) {
    op_test *t = *state;
    tn_linear_attention a = {.q = op_input(t, TN_f64, SHAPE_OF(1, 2, 2, 1)),
                             .k = op_input(t, TN_f64, SHAPE_OF(1, 1, 2, 1)),
                             .v = op_input(t, TN_f64, SHAPE_OF(1, 1, 2, 1)),
                             .decay = op_input(t, TN_f64, SHAPE_OF(1, 1, 2, 1)),
                             .beta = op_input(t, TN_f64, SHAPE_OF(1, 1, 2, 1)),
                             .state = TN_NO_VALUE,
                             .scale = 1};
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, a.q), (double[]){1, 1, 10, 10}),
                     op_numbers(t, tn_graph_type(t->g, a.k), (double[]){2, 3}),
                     op_numbers(t, tn_graph_type(t->g, a.v), (double[]){5, 7}),
                     op_numbers(t, tn_graph_type(t->g, a.decay), (double[]){0, log(0.5)}),
                     op_numbers(t, tn_graph_type(t->g, a.beta), (double[]){1, 0.5})};
    tn_value state_out;
    tn_array y = op_eval(t, tn_b_linear_attention(&t->b, &a, &state_out), in);
    double s1 = 2 * 5, s2 = 0.5 * s1 + 3 * 0.5 * (7 - 3 * 0.5 * s1);
    double want[] = {s1, s2, 10 * s1, 10 * s2};
    for (int i = 0; i < 4; i++) expect_close(op_number(&y, i), want[i]);
    y = op_eval(t, state_out, in);
    expect_close(op_number(&y, 0), s2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_det__of_stacks),
        OP_TEST(test_optimizers__first_steps),
        OP_TEST(test_inverse_real_dft__undoes_half_a_spectrum),
        OP_TEST(test_stft__frames_overlap),
        OP_TEST(test_mel_weights__rise_and_fall),
        OP_TEST(test_ngrams__with_skips),
        OP_TEST(test_linear_attention__sums_outer_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
