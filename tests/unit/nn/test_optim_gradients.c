/* Clipping, accumulation, loss scaling and averages of parameters. */
#include "unit/nn/lazy_test.h"

#include <math.h>

#include <tenon/optim.h>

static tn_context *c;
static tn_scope *scope;

static int open_context(void **state) {
    (void)state;
    c = lazy_context(TN_COMPILE_INTERPRET, 1);
    scope = tn_scope_open(c);
    return 0;
}

static int close_context(void **state) {
    (void)state;
    tn_scope_close(scope);
    assert_int_equal(statistics(c).tensors, 0);
    tn_context_release(c);
    return 0;
}

static void expect_error(const char *words) {
    tn_error err = TN_ERROR_INIT;
    must_fail(tn_context_error(c, &err), TN_INVALID, &err, words);
    tn_context_clear_error(c);
}

/* ---- clipping ------------------------------------------------------------------------------- */

static void test_clip__by_the_norm_of_all(void **state) {
    (void)state;
    tn_tensor *g[3] = {vector(c, 2, (float[]){3, 0}), NULL, tn_tensor_scalar(c, TN_f64, 4)};
    tn_tensor *clipped[3];
    tn_tensor *norm = tn_clip_gradients_norm(g, 3, 2.5, clipped);
    assert_int_equal(tn_tensor_dtype(norm), TN_f64);
    expect_near(item(norm), 5, 1e-12);
    double scale = 2.5 / (5 + 1e-6);
    expect_f32(clipped[0], (float[]){(float)(3 * scale), 0}, 2, 1e-6);
    assert_null(clipped[1]);
    assert_int_equal(tn_tensor_dtype(clipped[2]), TN_f64);
    expect_near(item(clipped[2]), 4 * scale, 1e-12);
    norm = tn_clip_gradients_norm(g, 3, 10, g); /* in place, and nothing to clip */
    expect_f32(g[0], (float[]){3, 0}, 2, 0);
    assert_null(g[1]);
    norm = tn_clip_gradients_norm(g, 1, INFINITY, g);
    expect_near(item(norm), 3, 1e-6);
    expect_f32(g[0], (float[]){3, 0}, 2, 0);
    norm = tn_clip_gradients_norm(g, 3, 1, NULL);
    expect_near(item(norm), 5, 1e-6);
}

static void test_clip__is_as_pytorchs_where_numbers_are_not(void **state) {
    (void)state;
    tn_tensor *g = vector(c, 3, (float[]){1, INFINITY, -1}), *clipped;
    float x[3];
    assert_true(isinf(item(tn_clip_gradients_norm(&g, 1, 1, &clipped))));
    read_into(clipped, x, sizeof x); /* the scale is 0 */
    assert_true(x[0] == 0 && isnan(x[1]) && x[2] == 0);
    g = vector(c, 3, (float[]){1, NAN, -1});
    assert_true(isnan(item(tn_clip_gradients_norm(&g, 1, 1, &clipped))));
    read_into(clipped, x, sizeof x);
    assert_true(isnan(x[0]));
    tn_clip_gradients_value(&g, 1, 0.5, &clipped);
    read_into(clipped, x, sizeof x);
    assert_true(x[0] == 0.5f && isnan(x[1]) && x[2] == -0.5f);
}

static void test_clip__keeps_narrow_types(void **state) {
    (void)state;
    tn_tensor *g = tn_cast(vector(c, 2, (float[]){30000, 40000}), TN_f16), *clipped;
    tn_tensor *norm = tn_clip_gradients_norm(&g, 1, 5, &clipped); /* squares overflow in f16 */
    expect_near(item(norm), 50000, 20);
    assert_int_equal(tn_tensor_dtype(clipped), TN_f16);
    expect_f32(tn_cast(clipped, TN_f32), (float[]){3, 4}, 2, 1e-2);
}

static void test_clip__tells_mistakes(void **state) {
    (void)state;
    tn_tensor *g = vector(c, 2, (float[]){3, 4}), *clipped, *none = NULL;
    tn_tensor *norm = tn_clip_gradients_norm(&g, 1, -1, &clipped);
    assert_false(tn_tensor_ok(norm) || tn_tensor_ok(clipped));
    expect_error("max_norm is -1");
    tn_clip_gradients_value(&g, 1, NAN, &clipped);
    assert_false(tn_tensor_ok(clipped));
    expect_error("the limit is nan");
    assert_null(tn_clip_gradients_norm(&none, 1, 1, &clipped));
    assert_null(tn_gradients_finite(&none, 1));
    assert_null(clipped);
    assert_true(item(tn_gradients_finite(&g, 1)) == 1);
}

/* ---- sums of gradients ---------------------------------------------------------------------- */

static void test_accumulator__sums_and_begins_anew(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_accumulator *a;
    tn_named_tensor p[2] = {{"w", tn_cast(vector(c, 2, (float[]){0, 0}), TN_bf16)},
                            {"b", tn_tensor_scalar(c, TN_f64, 0)}};
    tn_named_tensor s[2];
    must(tn_accumulator_create(p, 2, &a, &err), &err);
    assert_int_equal(tn_accumulator_state(a, s, 2), 2);
    assert_string_equal(s[1].name, "b.gradient");
    tn_tensor *g[2] = {tn_cast(vector(c, 2, (float[]){1, 2}), TN_bf16),
                       tn_tensor_scalar(c, TN_f32, 4)};
    for (int round = 0; round < 2; round++) {
        tn_tensor *sum[2];
        tn_accumulator_add(a, g, 0.5);
        tn_accumulator_add(a, (tn_tensor *[2]){g[0], NULL}, 0.5);
        tn_accumulator_take(a, sum);
        assert_int_equal(tn_tensor_dtype(sum[0]), TN_f32);
        assert_int_equal(tn_tensor_dtype(sum[1]), TN_f64);
        expect_f32(sum[0], (float[]){1, 2}, 2, 0);
        expect_near(item(sum[1]), 2, 0);
    }
    g[1] = vector(c, 1, (float[]){1});
    tn_accumulator_add(a, g, 1);
    expect_error("'b.gradient' is f64[], what is added f32[1]");
    tn_accumulator_release(a);
}

/* ---- loss scaling --------------------------------------------------------------------------- */

static void test_loss_scale__follows_what_is_finite(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_loss_scale *s;
    tn_named_tensor named[2];
    tn_loss_scale_options options = TN_LOSS_SCALE_OPTIONS_INIT;
    options.initial = 1024;
    options.interval = 2;
    must(tn_loss_scale_create(c, &options, &s, &err), &err);
    assert_int_equal(tn_loss_scale_state(s, named, 2), 2);
    assert_string_equal(named[0].name, "loss_scale");
    static const struct {
        float g;
        double scale, good;
    } steps[] = {{1, 1024, 1},  {1, 2048, 0}, {INFINITY, 1024, 0}, {1, 1024, 1},
                 {NAN, 512, 0}, {1, 512, 1},  {1, 1024, 0}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        tn_tensor *g = tn_cast(vector(c, 1, &steps[i].g), TN_f16), *out;
        double before = item(named[0].tensor);
        tn_tensor *finite = tn_loss_scale_unscale(s, &g, 1, &out);
        assert_int_equal(tn_tensor_dtype(out), TN_f32);
        tn_loss_scale_update(s, finite);
        assert_true(item(finite) == isfinite(steps[i].g));
        if (isfinite(steps[i].g)) expect_near(item(out) * before, 1, 0);
        expect_near(item(named[0].tensor), steps[i].scale, 0);
        expect_near(item(named[1].tensor), steps[i].good, 0);
    }
    tn_loss_scale_release(s);
}

/* A loop with everything: gradients of f16 that would be 0 without a scale. */
static void test_loss_scale__trains_in_f16(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_loss_scale *s;
    tn_optimizer *o;
    tn_optimizer_options options = TN_SGD_INIT;
    tn_tensor *w = tn_variable(tn_tensor_scalar(c, TN_f32, 1));
    must(tn_loss_scale_create(c, NULL, &s, &err), &err);
    must(tn_optimizer_create(&options, &(tn_named_tensor){"w", w}, 1, &o, &err), &err);
    tn_tensor *rate = tn_tensor_scalar(c, TN_f32, 1e7);
    for (int i = 0; i < 4; i++) {
        tn_tensor *g, *half = tn_cast(w, TN_f16); /* loss = 2⁻²⁶ · w, 0 in f16 */
        tn_tensor *loss = tn_mul_scalar(tn_cast(tn_mul_scalar(half, 0x1p-13), TN_f32), 0x1p-13);
        tn_grad(tn_loss_scale_apply(s, loss), NULL, &w, 1, &g);
        tn_tensor *finite = tn_loss_scale_unscale(s, &g, 1, &g);
        tn_optimizer_step(o, rate, &g, finite);
        tn_loss_scale_update(s, finite);
        assert_true(item(finite) == 1);
    }
    expect_near(item(w), 1 - 4 * 1e7 * 0x1p-26, 1e-4);
    tn_optimizer_release(o);
    tn_loss_scale_release(s);
}

static void test_loss_scale__refuses_wrong_options(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_loss_scale *s;
    tn_loss_scale_options o = TN_LOSS_SCALE_OPTIONS_INIT;
    o.backoff = 0;
    must_fail(tn_loss_scale_create(c, &o, &s, &err), TN_INVALID, &err, "backoff 0");
    o.size = 0;
    must_fail(tn_loss_scale_create(c, &o, &s, &err), TN_INVALID, &err, "size is not set");
    assert_null(s);
}

/* A loop that reads nothing but the loss: state is evaluated with it, and nothing piles up. */
static void test_training__does_not_grow(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_loss_scale *s;
    tn_optimizer *o;
    tn_ema *e;
    tn_optimizer_options options = TN_ADAMW_INIT;
    tn_context_stats early = {0};
    tn_tensor *w = tn_variable(vector(c, 3, (float[]){1, 2, 3}));
    tn_named_tensor p = {"w", w};
    must(tn_loss_scale_create(c, NULL, &s, &err), &err);
    must(tn_optimizer_create(&options, &p, 1, &o, &err), &err);
    must(tn_ema_create(&p, 1, 0.9, &e, &err), &err);
    for (int i = 0; i < 400; i++) {
        tn_scope *step = tn_scope_open(c);
        tn_tensor *g, *loss = tn_sum(tn_square(w), TN_ALL_AXES, false);
        tn_grad(tn_loss_scale_apply(s, loss), NULL, &w, 1, &g);
        tn_tensor *finite = tn_loss_scale_unscale(s, &g, 1, &g);
        (void)tn_clip_gradients_norm(&g, 1, 1, &g);
        tn_optimizer_step(o, tn_tensor_scalar(c, TN_f32, 0.01), &g, finite);
        tn_loss_scale_update(s, finite);
        tn_ema_update(e);
        assert_true(item(loss) < 14.1);
        tn_scope_close(step);
        if (i == 50) early = statistics(c);
    }
    tn_context_stats late = statistics(c);
    assert_int_equal(late.compiles, early.compiles);
    assert_int_equal(late.tensors, early.tensors);
    assert_true(late.pending < 2000 && late.bytes < early.bytes + 65536);
    tn_ema_release(e);
    tn_optimizer_release(o);
    tn_loss_scale_release(s);
}

/* ---- averages ------------------------------------------------------------------------------- */

static void test_ema__follows_the_parameters(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_ema *e;
    tn_named_tensor s;
    tn_tensor *w = tn_variable(vector(c, 2, (float[]){1, 2})), *gradient;
    must(tn_ema_create(&(tn_named_tensor){"w", w}, 1, 0.75, &e, &err), &err);
    assert_int_equal(tn_ema_state(e, &s, 1), 1);
    assert_string_equal(s.name, "w.average");
    /* a gradient of both is that of w alone */
    tn_grad(tn_sum(tn_mul(w, s.tensor), TN_ALL_AXES, false), NULL, &w, 1, &gradient);
    expect_f32(gradient, (float[]){1, 2}, 2, 0);
    tn_assign(w, vector(c, 2, (float[]){5, -2}));
    tn_ema_update(e);
    expect_f32(s.tensor, (float[]){2, 1}, 2, 1e-6);
    tn_grad(tn_sum(tn_mul(w, s.tensor), TN_ALL_AXES, false), NULL, &w, 1, &gradient);
    expect_f32(gradient, (float[]){2, 1}, 2, 1e-6);
    tn_ema_release(e);
    must_fail(tn_ema_create(&(tn_named_tensor){"w", w}, 1, 1.5, &e, &err), TN_INVALID, &err,
              "decay is 1.5");
}

/* Updates that nothing reads do not pile up. */
static void test_ema__does_not_grow(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_ema *e;
    tn_tensor *w = vector(c, 2, (float[]){1, 2});
    must(tn_ema_create(&(tn_named_tensor){"w", w}, 1, 0.5, &e, &err), &err);
    for (int i = 0; i < 600; i++) tn_ema_update(e);
    assert_true(statistics(c).pending < 600);
    assert_true(statistics(c).compiles <= 3);
    tn_ema_release(e);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_context, close_context)
    const struct CMUnitTest tests[] = {
        TEST(test_clip__by_the_norm_of_all),
        TEST(test_clip__is_as_pytorchs_where_numbers_are_not),
        TEST(test_clip__keeps_narrow_types),
        TEST(test_clip__tells_mistakes),
        TEST(test_accumulator__sums_and_begins_anew),
        TEST(test_loss_scale__follows_what_is_finite),
        TEST(test_loss_scale__trains_in_f16),
        TEST(test_loss_scale__refuses_wrong_options),
        TEST(test_training__does_not_grow),
        TEST(test_ema__follows_the_parameters),
        TEST(test_ema__does_not_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
