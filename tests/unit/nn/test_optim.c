/* Optimizers: PyTorch's trajectories, state, settings, narrow parameters, mistakes, kernels. */
#include "unit/nn/lazy_test.h"

#include <math.h>

#include <tenon/optim.h>

enum { STEPS = 20, SIZE = 4 };

/* ---- trajectories (tools/golden_optimizers.py) -------------------------------------------------- */

static void start_of(double *x) {
    for (int i = 0; i < SIZE; i++) x[i] = (i * 5 % 11 - 5) / 4.0;
}

static void gradient_of(int step, double *g) {
    for (int i = 0; i < SIZE; i++) g[i] = ((step * 7 + i * 13 + 5) % 17 - 8) / 8.0;
}

static tn_tensor *tensor_of(tn_context *c, tn_dtype dtype, const double *x, int count) {
    tn_tensor *wide = tn_tensor_from(c, TN_f64, TN_SHAPE(count), x);
    tn_tensor *out = tn_cast(wide, dtype);
    tn_release(wide);
    return out;
}

typedef struct golden {
    const char *name;
    double rate, clip;
    tn_optimizer_options options;
} golden;

#define ROW(name, rate, ...)                                                                       \
    {                                                                                              \
        name, rate, 0, {                                                                           \
            .size = sizeof(tn_optimizer_options), __VA_ARGS__                                      \
        }                                                                                          \
    }
static golden goldens[] = {
    ROW("sgd", 0.1, .kind = TN_OPTIMIZER_SGD),
    ROW("sgd_decay", 0.1, .kind = TN_OPTIMIZER_SGD, .weight_decay = 0.05),
    ROW("sgd_momentum", 0.1, .kind = TN_OPTIMIZER_SGD, .momentum = 0.9, .weight_decay = 0.05),
    ROW("sgd_nesterov", 0.1, .kind = TN_OPTIMIZER_SGD, .momentum = 0.8, .nesterov = true),
    {"adam", 0.01, 0, TN_ADAM_INIT},
    ROW("adam_decay", 0.05, .kind = TN_OPTIMIZER_ADAM, .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3,
        .weight_decay = 0.1),
    {"adamw", 0.01, 0, TN_ADAMW_INIT},
    {"adamw_clipped",
     0.02,
     0.75,
     {.size = sizeof(tn_optimizer_options),
      .kind = TN_OPTIMIZER_ADAMW,
      .beta1 = 0.9,
      .beta2 = 0.95,
      .epsilon = 1e-8,
      .weight_decay = 0.1}},
    ROW("lion", 0.01, .kind = TN_OPTIMIZER_LION, .beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.1),
};
#undef ROW

static FILE *golden_open(const golden *g, tn_dtype dtype) {
    char line[256], want[128];
    FILE *f = fopen("tests/golden/optimizers.txt", "r");
    if (!f) fail_msg("tests/golden/optimizers.txt cannot be read");
    snprintf(want, sizeof want, "optimizer %s %s\n", g->name, tn_dtype_name(dtype));
    while (fgets(line, sizeof line, f) && strcmp(line, want) != 0) continue;
    return f;
}

static void one_step(tn_context *c, tn_optimizer *o, const golden *g, tn_dtype dtype, int step) {
    double number[SIZE];
    gradient_of(step, number);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *gradient = tensor_of(c, dtype, number, SIZE);
    if (g->clip != 0) (void)tn_clip_gradients_norm(&gradient, 1, g->clip, &gradient);
    tn_optimizer_step(o, tn_tensor_scalar(c, dtype, g->rate), &gradient, NULL);
    tn_scope_close(scope);
}

static void follow(const golden *g, tn_dtype dtype, double tolerance) {
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_error err = TN_ERROR_INIT;
    double number[SIZE];
    start_of(number);
    tn_tensor *x = tensor_of(c, dtype, number, SIZE);
    tn_optimizer *o;
    must(tn_optimizer_create(&g->options, &(tn_named_tensor){"x", x}, 1, &o, &err), &err);
    FILE *f = golden_open(g, dtype);
    for (int step = 0; step < STEPS; step++) {
        one_step(c, o, g, dtype, step);
        tn_tensor *wide = tn_cast(x, TN_f64);
        read_into(wide, number, sizeof number);
        tn_release(wide);
        for (int i = 0; i < SIZE; i++) {
            double want;
            if (fscanf(f, "%lf", &want) != 1) fail_msg("optimizer %s is not there", g->name);
            if (!(fabs(number[i] - want) <= tolerance))
                fail_msg("%s %s, step %d: %.17g, expected %.17g", g->name, tn_dtype_name(dtype),
                         step, number[i], want);
        }
    }
    fclose(f);
    assert_true(statistics(c).compiles <= 8); /* not one per step */
    tn_optimizer_release(o);
    tn_release(x);
    assert_int_equal(statistics(c).tensors, 0);
    tn_context_release(c);
}

static void test_optimizer__is_pytorchs_in_f32(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) follow(&goldens[i], TN_f32, 1e-6);
}

static void test_optimizer__is_pytorchs_in_f64(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++)
        follow(&goldens[i], TN_f64, 1e-12);
}

/* ---- helpers -------------------------------------------------------------------------------- */

typedef struct lab {
    tn_context *c;
    tn_scope *scope;
    tn_tensor *rate;
    tn_named_tensor parameter[2]; /* "w" [3], "b" [2] */
} lab;

static void lab_open(lab *l, tn_dtype dtype) {
    l->c = lazy_context(TN_COMPILE_INTERPRET, 1);
    l->scope = tn_scope_open(l->c);
    l->rate = tn_tensor_scalar(l->c, TN_f32, 0.5);
    l->parameter[0] = (tn_named_tensor){"w", tn_cast(vector(l->c, 3, (float[]){1, -2, 3}), dtype)};
    l->parameter[1] = (tn_named_tensor){"b", tn_cast(vector(l->c, 2, (float[]){4, 5}), dtype)};
}

static void lab_close(lab *l) {
    tn_scope_close(l->scope);
    assert_int_equal(statistics(l->c).tensors, 0);
    tn_context_release(l->c);
}

static tn_optimizer *optimizer(lab *l, tn_optimizer_options options) {
    tn_error err = TN_ERROR_INIT;
    tn_optimizer *o;
    must(tn_optimizer_create(&options, l->parameter, 2, &o, &err), &err);
    return o;
}

/* ---- state and settings --------------------------------------------------------------------- */

static void test_optimizer__names_its_state(void **state) {
    static const char *const want[] = {"w.exp_avg", "w.exp_avg_sq", "b.exp_avg", "b.exp_avg_sq",
                                       "step"};
    lab l;
    tn_named_tensor s[8];
    (void)state;
    lab_open(&l, TN_f32);
    tn_optimizer *o = optimizer(&l, (tn_optimizer_options)TN_ADAMW_INIT);
    assert_int_equal(tn_optimizer_state(o, NULL, 0), 5);
    assert_int_equal(tn_optimizer_state(o, s, 8), 5);
    for (int i = 0; i < 5; i++) assert_string_equal(s[i].name, want[i]);
    expect_f32(s[1].tensor, (float[]){0, 0, 0}, 3, 0);
    tn_tensor *g[2] = {vector(l.c, 3, (float[]){1, 2, 3}), vector(l.c, 2, (float[]){0, 1})};
    for (int i = 0; i < 3; i++) tn_optimizer_step(o, l.rate, g, NULL);
    assert_true(item(s[4].tensor) == 3);
    expect_f32(s[0].tensor, (float[]){0.271f, 0.542f, 0.813f}, 3, 1e-6); /* 1 − 0.9³ */
    tn_optimizer_release(o);
    o = optimizer(&l, (tn_optimizer_options)TN_SGD_INIT);
    assert_int_equal(tn_optimizer_state(o, s, 8), 0);
    tn_optimizer_release(o);
    lab_close(&l);
}

/* Biases are not decayed and learn twice as fast. */
static void settings(void *context, const char *name, const tn_tensor *x,
                     tn_parameter_settings *out) {
    assert_true(*(int *)context == 7 && out->rate == 1 && out->weight_decay == 0.5);
    assert_int_equal(tn_tensor_rank(x), 1);
    if (strcmp(name, "b") == 0) *out = (tn_parameter_settings){2, 0};
}

static void test_optimizer__has_settings_for_each_parameter(void **state) {
    lab l;
    int context = 7;
    (void)state;
    lab_open(&l, TN_f32);
    tn_optimizer_options options = TN_SGD_INIT;
    options.weight_decay = 0.5;
    options.settings = settings;
    options.settings_context = &context;
    tn_optimizer *o = optimizer(&l, options);
    tn_tensor *g[2] = {vector(l.c, 3, (float[]){1, 1, 1}), vector(l.c, 2, (float[]){1, 2})};
    tn_optimizer_step(o, l.rate, g, NULL);
    expect_f32(l.parameter[0].tensor, (float[]){0.25f, -2, 1.75f}, 3, 1e-6);
    expect_f32(l.parameter[1].tensor, (float[]){3, 3}, 2, 1e-6);
    tn_optimizer_release(o);
    lab_close(&l);
}

static void test_optimizer__skips_what_has_no_gradient(void **state) {
    lab l;
    (void)state;
    lab_open(&l, TN_f32);
    tn_optimizer *o = optimizer(&l, (tn_optimizer_options)TN_ADAMW_INIT);
    tn_tensor *g[2] = {NULL, vector(l.c, 2, (float[]){1, 1})};
    tn_optimizer_step(o, l.rate, g, NULL);
    expect_f32(l.parameter[0].tensor, (float[]){1, -2, 3}, 3, 0);
    expect_f32(l.parameter[1].tensor, (float[]){4 * 0.995f - 0.5f, 5 * 0.995f - 0.5f}, 2, 1e-6);
    tn_optimizer_release(o);
    lab_close(&l);
}

static void test_optimizer__keeps_everything_where_it_does_not_apply(void **state) {
    lab l;
    tn_named_tensor s[5];
    (void)state;
    lab_open(&l, TN_f32);
    tn_optimizer *o = optimizer(&l, (tn_optimizer_options)TN_ADAM_INIT);
    tn_tensor *good[2] = {vector(l.c, 3, (float[]){1, 1, 1}), vector(l.c, 2, (float[]){1, 2})};
    tn_tensor *bad[2] = {vector(l.c, 3, (float[]){1, NAN, 1}), good[1]};
    tn_optimizer_step(o, l.rate, good, tn_gradients_finite(good, 2));
    expect_f32(l.parameter[0].tensor, (float[]){0.5f, -2.5f, 2.5f}, 3, 1e-6);
    tn_optimizer_step(o, l.rate, bad, tn_gradients_finite(bad, 2));
    expect_f32(l.parameter[0].tensor, (float[]){0.5f, -2.5f, 2.5f}, 3, 1e-6);
    expect_f32(l.parameter[1].tensor, (float[]){3.5f, 4.5f}, 2, 1e-6);
    assert_int_equal(tn_optimizer_state(o, s, 5), 5);
    expect_f32(s[0].tensor, (float[]){0.1f, 0.1f, 0.1f}, 3, 1e-6);
    assert_true(item(s[4].tensor) == 1);
    tn_optimizer_step(o, l.rate, bad, NULL); /* NaN goes where it is, and nowhere else */
    float w[3];
    read_into(l.parameter[0].tensor, w, sizeof w);
    assert_true(isnan(w[1]) && !isnan(w[0]) && !isnan(w[2]));
    tn_optimizer_release(o);
    lab_close(&l);
}

static void test_optimizer__takes_empty_parameters(void **state) {
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_scope *scope = tn_scope_open(c);
    tn_error err = TN_ERROR_INIT;
    tn_optimizer_options options = TN_LION_INIT;
    tn_optimizer *o;
    (void)state;
    tn_named_tensor p[2] = {{"empty", tn_tensor_from(c, TN_f32, TN_SHAPE(0, 3), NULL)},
                            {"scalar", tn_tensor_scalar(c, TN_f32, 1)}};
    must(tn_optimizer_create(&options, p, 2, &o, &err), &err);
    tn_tensor *g[2] = {tn_tensor_from(c, TN_f32, TN_SHAPE(0, 3), NULL),
                       tn_tensor_scalar(c, TN_f32, 3)};
    tn_tensor *norm = tn_clip_gradients_norm(g, 2, 1, g);
    tn_optimizer_step(o, tn_tensor_scalar(c, TN_f64, 0.25), g, tn_gradients_finite(g, 2));
    expect_near(item(norm), 3, 1e-6);
    expect_near(item(p[1].tensor), 0.75, 1e-6);
    read_into(p[0].tensor, NULL, 0);
    tn_optimizer_release(o);
    tn_scope_close(scope);
    tn_context_release(c);
}

/* ---- narrow parameters ---------------------------------------------------------------------- */

/* 300 steps of 2⁻¹⁰ from 1: bf16 itself, with steps of 2⁻⁷ there, would stay at 1. */
static void test_optimizer__keeps_masters_of_narrow_parameters(void **state) {
    lab l;
    tn_named_tensor s[8];
    (void)state;
    for (int master = 0; master < 2; master++) {
        lab_open(&l, TN_bf16);
        tn_optimizer_options options = TN_SGD_INIT;
        options.master = master;
        tn_optimizer *o = optimizer(&l, options);
        tn_tensor *g[2] = {tn_cast(vector(l.c, 3, (float[]){-1, -1, -1}), TN_bf16), NULL};
        tn_tensor *rate = tn_tensor_scalar(l.c, TN_f32, 0x1p-10);
        for (int i = 0; i < 300; i++) {
            tn_error err = TN_ERROR_INIT;
            tn_optimizer_step(o, rate, g, NULL);
            must(tn_eval(&l.parameter[0].tensor, 1, &err), &err);
        }
        double want = master ? 1 + 300 * 0x1p-10 : 1;
        tn_tensor *x = tn_cast(l.parameter[0].tensor, TN_f32);
        expect_near(item(tn_slice(x, 0, 0, 1, 1)), want, 0x1p-8);
        assert_int_equal(tn_tensor_dtype(l.parameter[0].tensor), TN_bf16);
        assert_int_equal(tn_optimizer_state(o, s, 8), master ? 2 : 0);
        if (master) assert_string_equal(s[0].name, "w.master");
        if (master) expect_near(item(tn_slice(s[0].tensor, 0, 0, 1, 1)), want, 1e-6);
        tn_optimizer_release(o);
        lab_close(&l);
    }
}

/* ---- mistakes ------------------------------------------------------------------------------- */

static void expect_step_fails(lab *l, tn_tensor *rate, tn_tensor *g0, tn_tensor *apply,
                              const char *words) {
    tn_error err = TN_ERROR_INIT;
    tn_optimizer *o = optimizer(l, (tn_optimizer_options)TN_ADAM_INIT);
    tn_tensor *g[2] = {g0, NULL};
    tn_optimizer_step(o, rate, g, apply);
    must_fail(tn_eval(&l->parameter[0].tensor, 1, &err), TN_INVALID, &err, words);
    must_fail(tn_context_error(l->c, &err), TN_INVALID, &err, "test_optim.c:");
    tn_context_clear_error(l->c);
    tn_optimizer_release(o);
}

static void test_optimizer__tells_what_does_not_fit(void **state) {
    lab l;
    (void)state;
    const struct {
        int rate, size;
        bool apply, integers;
        const char *words;
    } rows[] = {
        {0, 4, false, false, "parameter 'w' is f32[3], its gradient f32[4]"},
        {0, 1, false, false, "parameter 'w' is f32[3], its gradient f32[1]"},
        {0, 3, false, true, "parameter 'w' is f32[3], its gradient i32[3]"},
        {1, 3, false, false, "the learning rate is f32[2]; expected a scalar"},
        {0, 3, true, false, "the flag of what to apply is f32[2]; expected a scalar"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        lab_open(&l, TN_f32);
        tn_tensor *two = vector(l.c, 2, (float[]){1, 2});
        tn_tensor *g = vector(l.c, rows[r].size, (float[]){1, 2, 3, 4});
        if (rows[r].integers) g = tn_cast(g, TN_i32);
        expect_step_fails(&l, rows[r].rate ? two : l.rate, g, rows[r].apply ? two : NULL,
                          rows[r].words);
        lab_close(&l);
    }
}

static void expect_refused(const tn_optimizer_options *options, const tn_named_tensor *p, int count,
                           const char *words) {
    tn_error err = TN_ERROR_INIT;
    tn_optimizer *o = (tn_optimizer *)&err;
    must_fail(tn_optimizer_create(options, p, count, &o, &err), TN_INVALID, &err, words);
    assert_null(o);
}

static void test_optimizer__refuses_wrong_options(void **state) {
    lab l;
    tn_optimizer_options o = TN_ADAM_INIT;
    (void)state;
    lab_open(&l, TN_f32);
    expect_refused(NULL, l.parameter, 2, "size is not set");
    expect_refused(&(tn_optimizer_options){0}, l.parameter, 2, "size is not set");
    expect_refused(&o, NULL, 0, "no parameters");
    o.beta2 = 1;
    expect_refused(&o, l.parameter, 2, "beta2 is 1");
    o = (tn_optimizer_options)TN_SGD_INIT;
    o.nesterov = true;
    expect_refused(&o, l.parameter, 2, "needs a momentum");
    o = (tn_optimizer_options)TN_SGD_INIT;
    o.weight_decay = NAN;
    expect_refused(&o, l.parameter, 2, "weight_decay is nan");
    o = (tn_optimizer_options)TN_LION_INIT;
    tn_named_tensor p[2] = {l.parameter[0], {"w", l.parameter[1].tensor}};
    expect_refused(&o, p, 2, "two parameters are named 'w'");
    p[1] = (tn_named_tensor){"whole", tn_cast(l.parameter[1].tensor, TN_i64)};
    expect_refused(&o, p, 2, "parameter 'whole' is i64");
    p[1] = (tn_named_tensor){"none", NULL};
    expect_refused(&o, p, 2, "parameter 'none' failed");
    lab_close(&l);
}

/* ---- kernels -------------------------------------------------------------------------------- */

/* One kernel per tensor, and one for the scalars of the step where several tensors read them. */
static uint64_t kernels_of(tn_optimizer_options options, int count) {
    tn_context *c = lazy_context(TN_COMPILE_AUTO, 2);
    tn_scope *scope = tn_scope_open(c);
    tn_error err = TN_ERROR_INIT;
    tn_named_tensor p[2];
    tn_tensor *g[2], *x[2];
    tn_optimizer *o;
    for (int i = 0; i < 2; i++) {
        int64_t dim[] = {64 + i, 1000};
        x[i] = tn_full(c, TN_f32, 2, dim, 1);
        g[i] = tn_full(c, TN_f32, 2, dim, 2);
        p[i] = (tn_named_tensor){i ? "b" : "a", x[i]};
    }
    must(tn_eval(g, 2, &err), &err);
    must(tn_eval(x, 2, &err), &err);
    must(tn_optimizer_create(&options, p, count, &o, &err), &err);
    tn_optimizer_step(o, tn_tensor_scalar(c, TN_f32, 0.1), g, NULL);
    must(tn_eval(x, 1, &err), &err);
    uint64_t kernels = statistics(c).kernels;
    tn_optimizer_release(o);
    tn_scope_close(scope);
    tn_context_release(c);
    return kernels;
}

static void test_optimizer__is_one_kernel_for_each_tensor(void **state) {
    (void)state;
    tn_optimizer_options momentum = TN_SGD_INIT;
    momentum.momentum = 0.9;
    assert_int_equal(kernels_of(momentum, 1), 1);
    assert_int_equal(kernels_of((tn_optimizer_options)TN_LION_INIT, 1), 1);
    for (int count = 1; count <= 2; count++)
        assert_int_equal(kernels_of((tn_optimizer_options)TN_ADAMW_INIT, count),
                         count == 1 ? 1 : count + 1);
}

static void test_optimizer__has_the_same_bits_for_any_threads(void **state) {
    enum { N = 5000 };
    float first[N], x[N];
    (void)state;
    for (int threads = 1; threads <= 2; threads++) {
        tn_context *c = lazy_context(TN_COMPILE_INTERPRET, threads);
        tn_scope *scope = tn_scope_open(c);
        tn_error err = TN_ERROR_INIT;
        tn_optimizer_options options = TN_ADAMW_INIT;
        tn_optimizer *o;
        tn_tensor *w = tn_sin(tn_arange(c, TN_f32, 0, N, 1)), *g = tn_cos(w);
        must(tn_optimizer_create(&options, &(tn_named_tensor){"w", w}, 1, &o, &err), &err);
        for (int i = 0; i < 3; i++) {
            tn_tensor *clipped = g;
            (void)tn_clip_gradients_norm(&g, 1, 0.5, &clipped);
            tn_optimizer_step(o, tn_tensor_scalar(c, TN_f32, 0.01), &clipped, NULL);
        }
        read_into(w, threads == 1 ? first : x, sizeof x);
        tn_optimizer_release(o);
        tn_scope_close(scope);
        tn_context_release(c);
    }
    assert_memory_equal(first, x, sizeof x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_optimizer__is_pytorchs_in_f32),
        cmocka_unit_test(test_optimizer__is_pytorchs_in_f64),
        cmocka_unit_test(test_optimizer__names_its_state),
        cmocka_unit_test(test_optimizer__has_settings_for_each_parameter),
        cmocka_unit_test(test_optimizer__skips_what_has_no_gradient),
        cmocka_unit_test(test_optimizer__keeps_everything_where_it_does_not_apply),
        cmocka_unit_test(test_optimizer__takes_empty_parameters),
        cmocka_unit_test(test_optimizer__keeps_masters_of_narrow_parameters),
        cmocka_unit_test(test_optimizer__tells_what_does_not_fit),
        cmocka_unit_test(test_optimizer__refuses_wrong_options),
        cmocka_unit_test(test_optimizer__is_one_kernel_for_each_tensor),
        cmocka_unit_test(test_optimizer__has_the_same_bits_for_any_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
