/* Modules: names, modes, initial values, errors of layers. */
#include "unit/nn/lazy_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/nn.h>

#include "base/base.h"

/* ---- helpers -------------------------------------------------------------------------------- */

static tn_module *module_with(tn_context *c, uint64_t seed, bool abstract) {
    tn_module_options o = TN_MODULE_OPTIONS_INIT;
    tn_module *m;
    tn_error err = TN_ERROR_INIT;
    o.seed = seed;
    o.abstract = abstract;
    must(tn_module_create(c, &o, &m, &err), &err);
    return m;
}

static double item_of(tn_tensor *x) {
    double value;
    tn_error err = TN_ERROR_INIT;
    must(tn_item(x, &value, &err), &err);
    return value;
}

static float *read_f32(tn_tensor *x) {
    size_t bytes = (size_t)tn_tensor_count(x) * sizeof(float);
    float *out = malloc(bytes + 1);
    tn_error err = TN_ERROR_INIT;
    must(tn_read(x, out, bytes, &err), &err);
    return out;
}

static tn_tensor *zeros(tn_context *c, int rank, const int64_t *dim) {
    return tn_tensor_from(c, TN_f32, rank, dim, NULL);
}

static void assert_has(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("'%s' is not in: %s", part, text);
}

/* Evaluating y gives an error with both parts; afterwards the context is as good as new. */
static void expect_error(tn_context *c, tn_tensor *y, const char *part, const char *other) {
    char text[4096];
    tn_error err = TN_ERROR_INIT;
    assert_false(tn_tensor_ok(y));
    if (tn_eval(&y, 1, &err) == TN_OK) fail_msg("no error; expected '%s'", part);
    tn_error_format(&err, text, sizeof text);
    assert_has(text, part);
    assert_has(text, other);
    assert_has(text, "test_modules.c");
    tn_context_clear_error(c);
}

/* ---- names and modes ------------------------------------------------------------------------ */

static void test_module__names_are_pytorchs(void **state) {
    (void)state;
    static const char *const names[] = {
        "layers.0.wq.weight", "layers.0.wq.bias", "layers.1.wq.weight", "layers.1.wq.bias",
        "norm.weight",        "norm.bias",        "norm.running_mean",  "norm.running_var"};
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = module_with(c, 1, false);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = zeros(c, TN_SHAPE(2, 4));
    for (int twice = 0; twice < 2; twice++) {
        for (int i = 0; i < 2; i++) tn_linear(tn_module_child(m, "layers.%d", i), "wq", x, 3);
        tn_batch_norm(m, "norm", x);
    }
    tn_scope_close(scope);
    assert_int_equal(tn_module_count(m), TN_COUNT(names));
    for (int i = 0; i < (int)TN_COUNT(names); i++) {
        tn_module_item item;
        assert_true(tn_module_entry(m, i, &item));
        assert_string_equal(item.name, names[i]);
        assert_ptr_equal(item.tensor, tn_module_find(m, names[i]));
        assert_int_equal(item.buffer, i >= 6);
        assert_int_equal(item.trainable, i < 6);
    }
    tn_module_item none;
    assert_false(tn_module_entry(m, (int)TN_COUNT(names), &none));
    assert_false(tn_module_entry(m, -1, &none));
    assert_null(tn_module_find(m, "layers.2.wq.weight"));
    assert_int_equal(tn_module_parameter_elements(m), 2 * (12 + 3) + 4 + 4);
    tn_module_release(m);
    tn_context_release(c);
}

static void test_module__modes_hold_below(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = module_with(c, 1, false), *a = tn_module_child(m, "a");
    tn_module *ab = tn_module_child(a, "b"), *other = tn_module_child(m, "ab");
    assert_ptr_equal(tn_module_child(m, "a.b"), ab);
    assert_true(tn_module_training(ab));
    tn_module_set_training(a, false);
    assert_true(tn_module_training(m));
    assert_true(tn_module_training(other));
    assert_false(tn_module_training(ab));
    assert_false(tn_module_training(tn_module_child(a, "later")));
    tn_tensor *x = zeros(c, TN_SHAPE(1, 2));
    tn_release(tn_linear(ab, "l", x, 2));
    tn_release(tn_linear(other, "l", x, 2));
    tn_module_set_trainable(a, false);
    tn_module_item item;
    for (int i = 0; i < 4; i++) {
        assert_true(tn_module_entry(m, i, &item));
        assert_int_equal(item.trainable, i >= 2);
    }
    tn_release(x);
    tn_module_release(m);
    tn_context_release(c);
}

static void test_module__another_type_is_an_error(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = module_with(c, 1, false);
    tn_scope *scope = tn_scope_open(c);
    tn_linear(m, "fc", zeros(c, TN_SHAPE(2, 4)), 3);
    expect_error(c, tn_linear(m, "fc", zeros(c, TN_SHAPE(2, 5)), 3), "'fc.weight' is f32[3, 4]",
                 "f32[3, 5]");
    expect_error(c, tn_module_parameter(m, "fc.bias", TN_f64, TN_SHAPE(3), tn_init_zeros()),
                 "parameter 'fc.bias' is f32[3]", "f64[3]");
    expect_error(c, tn_module_buffer(m, "fc.bias", TN_f32, TN_SHAPE(3), tn_init_zeros()),
                 "parameter 'fc.bias'", "a buffer f32[3]");
    expect_error(c, tn_module_parameter(m, "", TN_f32, TN_SHAPE(3), tn_init_zeros()), "empty",
                 "name");
    expect_error(c, tn_module_parameter(m, "w", TN_f32, TN_SHAPE(-3), tn_init_zeros()), "'w'",
                 "size -3");
    expect_error(c, tn_module_parameter(m, "w", TN_i32, TN_SHAPE(3), tn_init_normal(0, 1)), "i32",
                 "expected a float");
    expect_error(c, tn_module_parameter(m, "w", TN_f32, TN_SHAPE(3), tn_init_xavier_normal(1)),
                 "fan", "1 axes");
    expect_error(
        c, tn_module_parameter(m, "w", TN_f32, TN_SHAPE(3), tn_init_truncated_normal(0, 1, 2, -2)),
        "truncated", "2");
    assert_int_equal(tn_module_count(m), 2);
    tn_scope_close(scope);
    char name[2000];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    assert_null(tn_module_child(m, "%s", name));
    assert_int_equal(tn_context_error(c, NULL), TN_INVALID);
    assert_null(tn_linear(NULL, "fc", NULL, 3));
    tn_module_release(m);
    tn_context_release(c);
}

/* ---- initial values ------------------------------------------------------------------------- */

static tn_tensor *parameter(tn_module *m, const char *name, int64_t count, tn_init init) {
    return tn_module_parameter(m, name, TN_f32, TN_SHAPE(count), init);
}

static void test_init__depends_on_seed_and_name_alone(void **state) {
    (void)state;
    enum { COUNT = 65 };
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m[3] = {module_with(c, 5, false), module_with(c, 5, false),
                       module_with(c, 6, false)};
    tn_init normal = tn_init_normal(0, 1);
    parameter(m[1], "before", 3, normal);
    float *a = read_f32(parameter(m[0], "w", COUNT, normal));
    float *same = read_f32(parameter(m[1], "w", COUNT, normal));
    float *seed = read_f32(parameter(m[2], "w", COUNT, normal));
    float *name = read_f32(parameter(m[0], "v", COUNT, normal));
    float *child = read_f32(parameter(tn_module_child(m[1], "x"), "w", COUNT, normal));
    assert_memory_equal(a, same, COUNT * sizeof *a);
    int equal = 0;
    for (int i = 0; i < COUNT; i++)
        equal += (a[i] == seed[i]) + (a[i] == name[i]) + (a[i] == child[i]);
    assert_int_equal(equal, 0);
    free(a), free(same), free(seed), free(name), free(child);
    for (int i = 0; i < 3; i++) tn_module_release(m[i]);
    tn_context_release(c);
}

static double normal_area(double x) {
    return erfc(-x / sqrt(2)) / 2;
}

typedef struct distribution {
    const char *name;
    tn_init init;
    bool normal;
    double lo, hi; /* uniform; bounds of normal ones in deviations */
    double mean, deviation;
} distribution;

static double area(const distribution *d, double x) {
    if (!d->normal) return fmin(fmax((x - d->lo) / (d->hi - d->lo), 0), 1);
    double all = normal_area(d->hi) - normal_area(d->lo);
    return (normal_area((x - d->mean) / d->deviation) - normal_area(d->lo)) / all;
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* Kolmogorov and Smirnov: the largest distance from the distribution function is above 1.95/√n with
 * probability 0.001; the seed is fixed. */
static void check_distribution(tn_module *m, const distribution *d) {
    enum { OUT = 40, IN = 25, WINDOW = 5, COUNT = OUT * IN * WINDOW };
    float *x =
        read_f32(tn_module_parameter(m, d->name, TN_f32, TN_SHAPE(OUT, IN, WINDOW), d->init));
    qsort(x, COUNT, sizeof *x, ascending);
    double worst = 0;
    for (int i = 0; i < COUNT; i++) {
        double a = area(d, (double)x[i]);
        worst = fmax(worst, fmax(fabs(a - i / (double)COUNT), fabs(a - (i + 1) / (double)COUNT)));
    }
    if (worst > 1.95 / sqrt(COUNT)) fail_msg("%s: %g from the distribution", d->name, worst);
    double lo = d->normal ? d->mean + d->lo * d->deviation : d->lo;
    double hi = d->normal ? d->mean + d->hi * d->deviation : d->hi;
    if ((double)x[0] < lo - 1e-6 || (double)x[COUNT - 1] > hi + 1e-6)
        fail_msg("%s: %g … %g", d->name, (double)x[0], (double)x[COUNT - 1]);
    free(x);
}

static void test_init__distributions(void **state) {
    (void)state;
    const double IN = 25 * 5, OUT = 40 * 5, WIDE = 40;
    double kaiming = sqrt(2 / IN), xavier = 0.5 * sqrt(2 / (IN + OUT)), third = sqrt(3);
    const distribution rows[] = {
        {"uniform", tn_init_uniform(-2, 3), false, -2, 3, 0, 0},
        {"normal", tn_init_normal(1, 0.02), true, -WIDE, WIDE, 1, 0.02},
        {"truncated", tn_init_truncated_normal(0.5, 2, -1, 1.5), true, -1, 1.5, 0.5, 2},
        {"truncated_wide", tn_init_truncated_normal(0, 1, -3, 3), true, -3, 3, 0, 1},
        {"kaiming_uniform", tn_init_kaiming_uniform(0, TN_FAN_IN), false, -third * kaiming,
         third * kaiming, 0, 0},
        {"kaiming_default", tn_init_kaiming_uniform(sqrt(5), TN_FAN_IN), false, -1 / sqrt(IN),
         1 / sqrt(IN), 0, 0},
        {"kaiming_normal", tn_init_kaiming_normal(0, TN_FAN_OUT), true, -WIDE, WIDE, 0,
         sqrt(2 / OUT)},
        {"xavier_uniform", tn_init_xavier_uniform(0.5), false, -third * xavier, third * xavier, 0,
         0},
        {"xavier_normal", tn_init_xavier_normal(0.5), true, -WIDE, WIDE, 0, xavier},
    };
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = module_with(c, 11, false);
    for (size_t i = 0; i < TN_COUNT(rows); i++) check_distribution(m, &rows[i]);
    tn_module_release(m);
    tn_context_release(c);
}

static void test_init__constants_and_other_types(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = module_with(c, 1, false);
    float *x = read_f32(parameter(m, "ones", 3, tn_init_ones()));
    for (int i = 0; i < 3; i++) assert_true(x[i] == 1);
    free(x);
    tn_tensor *wide =
        tn_module_parameter(m, "wide", TN_f64, TN_SCALAR_SHAPE, tn_init_constant(0.1));
    assert_true(item_of(wide) == 0.1);
    tn_tensor *narrow =
        tn_module_parameter(m, "narrow", TN_bf16, TN_SCALAR_SHAPE, tn_init_constant(3));
    assert_true(item_of(narrow) == 3);
    tn_tensor *whole = tn_module_buffer(m, "whole", TN_i64, TN_SCALAR_SHAPE, tn_init_constant(7));
    assert_true(item_of(whole) == 7);
    tn_module_parameter(m, "none", TN_f32, TN_SHAPE(0, 3), tn_init_normal(0, 1));
    assert_int_equal(tn_context_error(c, NULL), TN_OK);
    tn_module_release(m);
    tn_context_release(c);
}

/* ---- layers --------------------------------------------------------------------------------- */

static void test_module__narrows_for_layers_of_ones_own(void **state) {
    static const tn_dtype types[] = {TN_f32, TN_f16, TN_f64, TN_i32};
    static const tn_dtype computed[] = {TN_bf16, TN_f16, TN_bf16, TN_i32};
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = module_with(c, 1, false);
    tn_scope *scope = tn_scope_open(c);
    for (int narrow = 0; narrow < 2; narrow++) {
        tn_module_set_compute(m, narrow ? TN_bf16 : TN_f64);
        for (size_t i = 0; i < TN_COUNT(types); i++) {
            tn_tensor *x = tn_tensor_from(c, types[i], TN_SHAPE(2), NULL);
            tn_tensor *y = tn_module_narrow(tn_module_child(m, "a"), x);
            assert_int_equal(tn_tensor_dtype(y), narrow ? computed[i] : types[i]);
        }
    }
    tn_scope_close(scope);
    tn_module_release(m);
    tn_context_release(c);
}

static void test_layer__wrong_calls(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = module_with(c, 1, false);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *image = zeros(c, TN_SHAPE(2, 3, 5, 5)), *row = zeros(c, TN_SHAPE(2, 6));
    tn_tensor *index = tn_tensor_from(c, TN_i32, TN_SHAPE(2), NULL);
    expect_error(c, tn_linear(m, "a", row, 0), "'a'", "0 features");
    expect_error(c, tn_linear(m, "a", zeros(c, TN_SCALAR_SHAPE), 3), "'a'", "no axis");
    expect_error(c, tn_linear(m, "a", index, 3), "linear", "i32");
    expect_error(c, tn_embedding(m, "b", row, 4, 3), "index", "f32");
    expect_error(c, tn_embedding(m, "b", index, 0, 3), "'b'", "0 rows");
    expect_error(c, tn_conv2d(m, "c", row, 4, .kernel = 3), "'c'", "expected 4: N, C and 2");
    expect_error(c, tn_conv2d(m, "c", image, 4), "'c'", "kernel of size 0");
    expect_error(c, tn_conv2d(m, "c", image, 4, .kernel = 3, .groups = 2), "3 channels",
                 "2 groups");
    expect_error(c, tn_conv2d(m, "c", image, 4, .kernel = 7), "conv", "7");
    expect_error(c, tn_conv2d(m, "d", image, 4, .kernel = 3, .stride = -1), "conv: the stride",
                 "-1");
    expect_error(c, tn_conv2d(m, "e", image, 4, .kernel = 3, .padding = INT64_MAX), "padding",
                 "conv");
    expect_error(c, tn_max_pool(image, .stride = 2), "max_pool: the kernel", "0");
    expect_error(c, tn_max_pool(image, .kernel = 7), "window", "7");
    expect_error(c, tn_average_pool(image, .kernel = 2, .padding = 2), "half", "average_pool");
    expect_error(c, tn_group_norm(m, "g", image, 2), "'g'", "2 groups");
    expect_error(c, tn_layer_norm(m, "h", row, .axes = 3), "'h'", "last 3");
    expect_error(c, tn_batch_norm(m, "i", zeros(c, TN_SHAPE(1, 4))), "one value per channel",
                 "batch");
    tn_tensor *text = zeros(c, TN_SHAPE(2, 5, 12)), *q = zeros(c, TN_SHAPE(1, 6, 5, 4));
    tn_tensor *k = zeros(c, TN_SHAPE(1, 4, 5, 4));
    expect_error(c, tn_attention(q, k, k, NULL), "4 key heads", "6 query heads");
    expect_error(c, tn_attention(q, q, q, index), "mask is of type i32", "bool");
    expect_error(c, tn_attention(q, q, row, NULL), "attention", "4 each");
    expect_error(c, tn_multi_head_attention(m, "n", text, 5), "'n'", "do not split into 5");
    expect_error(c, tn_multi_head_attention(m, "n", text, 4, .kv_heads = 3), "3 key heads",
                 "4 query heads");
    expect_error(c, tn_multi_head_attention(m, "n", row, 2), "'n'", "expected N, length");
    expect_error(c, tn_multi_head_attention(m, "n", text, 4, .rotary = {.theta = 10}), "rotary",
                 "even");
    expect_error(c, tn_lstm(m, "o", row, 4), "'o'", "expected steps, N, features");
    expect_error(c, tn_gru(m, "o", text, 0), "'o'", "state of 0");
    expect_error(c, tn_gru(m, "o", text, 4, .c = row), "'o'", "no state c");
    expect_error(c, tn_lstm(m, "o", text, 4, .h = text), "[1, 5, 4]", "state h");
    expect_error(c, tn_moe(m, "p", text, 4, .hidden = 3, .top_k = 5), "'p'", "5 of 4 experts");
    expect_error(c, tn_moe(m, "p", text, 4), "'p'", "hidden");
    expect_error(c, tn_dropout(m, "j", row, 1.5), "dropout", "1.5");
    expect_error(c, tn_cross_entropy(row, row), "target", "f32");
    expect_error(c, tn_cross_entropy(row, image), "target", "f32");
    expect_error(c, tn_conv2d_at("test_modules.c:1", m, "k", image, &(tn_conv_layer){.kernel = 1}),
                 "size", "not set");
    tn_scope_close(scope);
    tn_module_release(m);
    tn_context_release(c);
}

/* The operation's own weights, where no layer has made them. */
static void test_layer__wrong_channels(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = zeros(c, TN_SHAPE(2, 3, 5, 5)), *w = zeros(c, TN_SHAPE(4, 2, 3, 3));
    expect_error(c, tn_conv_with(x, w, NULL), "weight has 2 input channels", "input has 3");
    expect_error(c, tn_conv_transpose_with(x, w, NULL), "x has 3 channels", "takes 4");
    expect_error(c, tn_linear_with(x, zeros(c, TN_SHAPE(4, 6)), NULL), "5 features", "6");
    expect_error(c, tn_layer_norm_with(x, zeros(c, TN_SHAPE(4)), NULL, 1, 0), "scale", "f32[4]");
    tn_scope_close(scope);
    tn_context_release(c);
}

static void test_dropout__draws_anew_and_is_resumed(void **state) {
    (void)state;
    enum { COUNT = 4000 };
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = module_with(c, 3, false);
    float *ones = malloc(COUNT * sizeof *ones), *y[3];
    for (int i = 0; i < COUNT; i++) ones[i] = 1;
    tn_tensor *x = tn_tensor_from(c, TN_f32, TN_SHAPE(COUNT), ones);
    for (int i = 0; i < 3; i++) {
        if (i == 2) { /* back to the state before the second draw */
            tn_tensor *random = tn_module_find(m, "drop.random");
            uint64_t number;
            tn_error err = TN_ERROR_INIT;
            must(tn_read(random, &number, sizeof number, &err), &err);
            number--;
            tn_tensor *old = tn_tensor_from(c, TN_u64, TN_SCALAR_SHAPE, &number);
            tn_assign(random, old);
            tn_release(old);
        }
        tn_tensor *dropped = tn_dropout(m, "drop", x, 0.25);
        y[i] = read_f32(dropped);
        tn_release(dropped);
    }
    int kept[2] = {0, 0};
    for (int i = 0; i < COUNT; i++) {
        for (int k = 0; k < 2; k++) {
            assert_true(y[k][i] == 0 || fabsf(y[k][i] - 4.0f / 3) < 1e-6f);
            kept[k] += y[k][i] != 0;
        }
    }
    for (int k = 0; k < 2; k++) assert_in_range(kept[k], 2900, 3100); /* 3000 ± 3.6 σ */
    assert_memory_not_equal(y[0], y[1], COUNT * sizeof *ones);
    assert_memory_equal(y[1], y[2], COUNT * sizeof *ones);
    tn_context_stats stats;
    tn_context_statistics(c, &stats);
    assert_int_equal(stats.compiles, 1);
    tn_module_set_training(m, false);
    tn_tensor *same = tn_dropout(m, "drop", x, 0.25);
    float *plain = read_f32(same);
    assert_memory_equal(plain, ones, COUNT * sizeof *ones);
    tn_release(same);
    for (int i = 0; i < 3; i++) free(y[i]);
    free(plain), free(ones);
    tn_release(x);
    tn_module_release(m);
    tn_context_release(c);
}

/* Statistics that a step in training left do not stand in the way of gradients in evaluation. */
static void test_batch_norm__gradients_after_training(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = module_with(c, 3, false);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_random_normal(c, TN_SHAPE(4, 3)), *grad;
    tn_error err = TN_ERROR_INIT;
    for (int i = 0; i < 3; i++) {
        tn_module_set_training(m, i < 2);
        tn_tensor *y = tn_batch_norm(m, "norm", tn_linear(m, "fc", x, 3));
        tn_tensor *w = tn_module_find(m, "fc.weight");
        tn_grad(y, NULL, &w, 1, &grad);
        must(tn_eval(&grad, 1, &err), &err);
    }
    tn_scope_close(scope);
    tn_module_release(m);
    tn_context_release(c);
}

/* Dropout between recurrent layers; none behind the last. */
static void test_lstm__drops_between_layers(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = module_with(c, 3, false);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_random_normal(c, TN_SHAPE(4, 2, 3));
    tn_tensor *y = tn_lstm(m, "l", x, 5, .layers = 3, .dropout = 0.5);
    float *numbers = read_f32(y);
    for (int i = 0; i < 4 * 2 * 5; i++) assert_true(numbers[i] != 0);
    free(numbers);
    assert_non_null(tn_module_find(m, "l.dropout_l1.random"));
    assert_null(tn_module_find(m, "l.dropout_l2.random"));
    tn_scope_close(scope);
    tn_module_release(m);
    tn_context_release(c);
}

/* Activations of another type than the parameters'. */
static void test_layer__computes_in_the_type_of_x(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = module_with(c, 3, false);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_full(c, TN_bf16, TN_SHAPE(2, 4, 3), 1);
    tn_tensor *y = tn_conv1d(m, "c", x, 4, .kernel = 1);
    y = tn_batch_norm(m, "b", y);
    y = tn_layer_norm(m, "n", tn_linear(m, "l", y, 6));
    assert_int_equal(tn_tensor_dtype(y), TN_bf16);
    tn_tensor *w = tn_module_find(m, "l.weight"), *grad;
    assert_int_equal(tn_tensor_dtype(w), TN_f32);
    tn_grad(y, NULL, &w, 1, &grad);
    assert_int_equal(tn_tensor_dtype(grad), TN_f32);
    assert_int_equal(tn_tensor_dtype(tn_module_find(m, "b.running_var")), TN_f32);
    tn_error err = TN_ERROR_INIT;
    must(tn_eval(&grad, 1, &err), &err);
    tn_scope_close(scope);
    tn_module_release(m);
    tn_context_release(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_module__names_are_pytorchs),
        cmocka_unit_test(test_module__modes_hold_below),
        cmocka_unit_test(test_module__another_type_is_an_error),
        cmocka_unit_test(test_init__depends_on_seed_and_name_alone),
        cmocka_unit_test(test_init__distributions),
        cmocka_unit_test(test_init__constants_and_other_types),
        cmocka_unit_test(test_module__narrows_for_layers_of_ones_own),
        cmocka_unit_test(test_layer__wrong_calls),
        cmocka_unit_test(test_layer__wrong_channels),
        cmocka_unit_test(test_dropout__draws_anew_and_is_resumed),
        cmocka_unit_test(test_batch_norm__gradients_after_training),
        cmocka_unit_test(test_lstm__drops_between_layers),
        cmocka_unit_test(test_layer__computes_in_the_type_of_x),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
