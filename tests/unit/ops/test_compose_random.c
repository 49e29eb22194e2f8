#include "unit/ops/op_test.h"

#include "ops/compose.h"

enum { SAMPLES = 20000 };

typedef struct moments {
    double mean, variance, lo, hi;
} moments;

static moments moments_of(op_test *t, tn_value v, const tn_array *in) {
    tn_array a = op_eval(t, v, in);
    int64_t n = tn_array_count(&a);
    moments m = {.lo = INFINITY, .hi = -INFINITY};
    for (int64_t i = 0; i < n; i++) m.mean += op_number(&a, i) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        double x = op_number(&a, i);
        m.variance += (x - m.mean) * (x - m.mean) / (double)n;
        m.lo = fmin(m.lo, x);
        m.hi = fmax(m.hi, x);
    }
    return m;
}

/* The standard error of a mean of n samples is deviation / √n: five of these are allowed. */
static void expect_near(double have, double want, double deviation) {
    if (!(fabs(have - want) <= 5 * deviation / sqrt(SAMPLES)))
        fail_msg("%g, expected about %g", have, want);
}

static void test_distributions__have_their_moments(void **state) {
    op_test *t = *state;
    tn_shape shape = SHAPE_OF(SAMPLES);
    for (int wide = 0; wide < 2; wide++) {
        tn_dtype dtype = wide ? TN_f64 : TN_f32;
        moments m = moments_of(
            t, tn_b_random_uniform(&t->b, dtype, &shape, tn_b_scalar_int(&t->b, TN_u64, 1), -1, 3),
            NULL);
        expect_near(m.mean, 1, 4 / sqrt(12));
        assert_true(m.lo >= -1 && m.hi < 3);
        m = moments_of(
            t, tn_b_random_normal(&t->b, dtype, &shape, tn_b_scalar_int(&t->b, TN_u64, 2), 5, 2),
            NULL);
        expect_near(m.mean, 5, 2);
        expect_near(m.variance, 4, 4 * sqrt(2));
    }
}

static void test_bernoulli__follows_probabilities(void **state) {
    op_test *t = *state;
    tn_shape shape = SHAPE_OF(SAMPLES);
    tn_value p = tn_b_full(&t->b, TN_f32, &shape, 0.25);
    moments m =
        moments_of(t, tn_b_bernoulli(&t->b, p, TN_i32, tn_b_scalar_int(&t->b, TN_u64, 3)), NULL);
    expect_near(m.mean, 0.25, sqrt(0.25 * 0.75));
    assert_true(m.lo == 0 && m.hi == 1);
}

static void test_multinomial__follows_softmax(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(1, 3));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){log(1), log(2), log(5)});
    tn_array a = op_eval(
        t, tn_b_multinomial(&t->b, x, SAMPLES, TN_i64, tn_b_scalar_int(&t->b, TN_u64, 4)), &in);
    double share[3] = {0}, want[] = {0.125, 0.25, 0.625};
    for (int64_t i = 0; i < SAMPLES; i++) share[tn_array_get(&a, i).i] += 1.0 / SAMPLES;
    for (int i = 0; i < 3; i++) expect_near(share[i], want[i], sqrt(want[i] * (1 - want[i])));
}

static void test_keys__decide(void **state) {
    op_test *t = *state;
    tn_shape shape = SHAPE_OF(8);
    tn_array a = op_eval(
        t, tn_b_random_uniform(&t->b, TN_f32, &shape, tn_b_scalar_int(&t->b, TN_u64, 7), 0, 1),
        NULL);
    tn_array b = op_eval(
        t, tn_b_random_uniform(&t->b, TN_f32, &shape, tn_b_scalar_int(&t->b, TN_u64, 7), 0, 1),
        NULL);
    tn_array c = op_eval(
        t, tn_b_random_uniform(&t->b, TN_f32, &shape, tn_b_scalar_int(&t->b, TN_u64, 8), 0, 1),
        NULL);
    op_expect_equal(&a, &b, "the same key");
    assert_memory_not_equal(a.data, c.data, tn_array_bytes(&a));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_distributions__have_their_moments),
        OP_TEST(test_bernoulli__follows_probabilities),
        OP_TEST(test_multinomial__follows_softmax),
        OP_TEST(test_keys__decide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
