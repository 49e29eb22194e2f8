/* ONNX's random operators as imported: what reference and compiled kernels draw is the same, of the shape, type
 * and distribution asked for, and draws of different seeds have nothing to do with one another. Seeds are fixed,
 * and bounds are those that one sound generator in a thousand or fewer would miss. */
#include "unit/test.h"

#include <math.h>
#include <stdlib.h>

#include "base/array.h"
#include "ops/eval.h"
#include "session/session.h"
#include "unit/import/onnx_wire.h"

enum { OPSET = 22, MANY = 100000, SOME = 4000, CLASSES = 5, RATES = 5, MOST_OUTPUTS = 24 };
enum { W_FLOAT16 = 10, W_DOUBLE = 11, W_BFLOAT16 = 16 };

/* ---- a model and its results ------------------------------------------------------------------ */

typedef struct lab {
    wire graph;
    imported i;
    tn_array result[MOST_OUTPUTS];
} lab;

/* `type` 0: the attribute is left out; size 0: the shape is. NaN: no seed. The node's result is an output. */
static void add_draw(lab *l, const char *text, int type, int64_t size, float seed) {
    wire node = wire_node(text), shape = {.len = 0};
    const char *name = strrchr(text, ' ') + 1;
    wire_text(&shape, 1, "shape");
    wire_int(&shape, 8, size);
    wire_int(&shape, 20, 7);
    if (size) wire_put(&node, 5, &shape);
    if (type) wire_attr_int(&node, "dtype", type);
    if (!isnan(seed)) wire_attr_float(&node, "seed", seed);
    if (strstr(text, "Multinomial")) wire_attr_int(&node, "sample_size", SOME);
    if (strstr(text, "RandomUniform"))
        wire_attr_float(&node, "low", -1), wire_attr_float(&node, "high", 3);
    if (strstr(text, "RandomNormal"))
        wire_attr_float(&node, "mean", 5), wire_attr_float(&node, "scale", 2);
    wire_put(&l->graph, 1, &node);
    wire_output(&l->graph, name, type ? type : W_FLOAT, "*");
}

static void must(tn_status status, const tn_error *err) {
    char text[2048];
    tn_error_format(err, text, sizeof text);
    if (status != TN_OK) fail_msg("%s", text);
}

static tn_buffer buffer_of(const tn_array *a) {
    tn_buffer b = {.dtype = a->dtype, .rank = a->rank, .data = a->data};
    memcpy(b.dim, a->dim, sizeof b.dim);
    return b;
}

static double number(const tn_array *a, int64_t i) {
    return tn_cell_cast(a->dtype, TN_f64, tn_array_get(a, i)).f;
}

/* Of one number, relative to it. */
static double rounding(tn_dtype dtype) {
    return dtype == TN_bf16 ? 0x1p-8 : dtype == TN_f16 ? 0x1p-11 : 0;
}

/* `close`: but for the rounding of logarithms and cosines. */
static void expect_same(uint32_t k, const tn_array *have, const tn_array *want, bool close) {
    double largest = 0, most = 0;
    if (memcmp(have->data, want->data, tn_array_bytes(want)) == 0) return;
    if (!close) fail_msg("output %u of the kernels is not that of eval", k);
    for (int64_t i = 0; i < tn_array_count(want); i++) {
        largest = fmax(largest, fabs(number(want, i)));
        most = fmax(most, fabs(number(have, i) - number(want, i)));
    }
    if (!(most <= fmax(1e-5, 2 * rounding(want->dtype)) * largest))
        fail_msg("output %u of the kernels is %g off", k, most);
}

/* Evaluates, compiles and runs twice: equal bits, or close. */
static void lab_run(lab *l, tn_array *inputs, bool close) {
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    tn_model *model;
    tn_session *session;
    tn_buffer in[4], out[MOST_OUTPUTS];
    import_model_at(&l->i, &l->graph, OPSET);
    if (l->i.status != TN_OK) fail_msg("%s", l->i.text);
    const tn_graph *g = l->i.import.graph;
    must(tn_eval_graph(g, inputs, NULL, l->result, &l->i.arena, &err), &err);
    for (uint32_t k = 0; k < g->inputs.len; k++) in[k] = buffer_of(&inputs[k]);
    must(tn_model_from_graph(g, &o, &model, &err), &err);
    must(tn_session_create(model, &session, &err), &err);
    for (int times = 0; times < 2; times++) {
        memset(out, 0, sizeof out);
        must(tn_session_run(session, in, (int)g->inputs.len, out, (int)g->outputs.len, &err), &err);
        for (uint32_t k = 0; k < g->outputs.len; k++) {
            const tn_array *want = &l->result[k];
            assert_int_equal(out[k].dtype, want->dtype);
            assert_int_equal(out[k].rank, want->rank);
            assert_memory_equal(out[k].dim, want->dim, sizeof(int64_t) * (size_t)want->rank);
            tn_array have = *want;
            have.data = out[k].data;
            expect_same(k, &have, want, close);
        }
    }
    tn_session_release(session);
    tn_model_release(model);
}

static double *numbers(const tn_array *a) {
    int64_t n = tn_array_count(a);
    double *x = malloc(sizeof *x * (size_t)n);
    for (int64_t i = 0; i < n; i++) x[i] = number(a, i);
    return x;
}

/* ---- statistics ------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double uniform(double x) {
    return fmin(fmax((x + 1) / 4, 0), 1);
}

static double normal(double x) {
    return 0.5 * erfc(-(x - 5) / 2 / sqrt(2));
}

/* The distance of Kolmogorov and Smirnov. A rounded number stands for those up to halfway to the next. */
static double distance(double *x, int64_t n, double (*distribution)(double)) {
    double most = 0;
    qsort(x, (size_t)n, sizeof *x, by_size);
    for (int64_t i = 0; i + 1 < n; i++)
        if (x[i] < x[i + 1])
            most =
                fmax(most, fabs((double)(i + 1) / (double)n - distribution((x[i] + x[i + 1]) / 2)));
    return most;
}

static double correlation(const double *x, const double *y, int64_t n) {
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
    for (int64_t i = 0; i < n; i++) mx += x[i] / (double)n, my += y[i] / (double)n;
    for (int64_t i = 0; i < n; i++) {
        double a = x[i] - mx, b = y[i] - my;
        xx += a * a, yy += b * b, xy += a * b;
    }
    return xy / sqrt(xx * yy);
}

static void expect_distribution(const char *what, const tn_array *a, tn_dtype dtype, int64_t count,
                                double (*distribution)(double), double mean, double variance,
                                double fourth) {
    int64_t n = tn_array_count(a);
    double *x = numbers(a), m = 0, v = 0, root = sqrt((double)n);
    assert_int_equal(a->dtype, dtype);
    assert_int_equal(n, count);
    for (int64_t i = 0; i < n; i++) m += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++) v += (x[i] - m) * (x[i] - m) / (double)n;
    double lag = correlation(x, x + 1, n - 1);
    double d = distance(x, n, distribution);
    if (!(fabs(m - mean) <= 4 * sqrt(variance) / root)) fail_msg("%s: mean %g", what, m);
    if (!(fabs(v - variance) <=
          4 * sqrt(fourth - variance * variance) / root + 8 * rounding(dtype)))
        fail_msg("%s: variance %g, expected about %g", what, v, variance);
    if (!(fabs(lag) <= 4 / root)) fail_msg("%s: neighbours correlate by %g", what, lag);
    if (!(d <= 1.95 / root)) fail_msg("%s: distance %g of %g", what, d, 1.95 / root);
    free(x);
}

/* ---- tests ------------------------------------------------------------------------------------ */

static const struct {
    int type;
    tn_dtype dtype;
} FLOATS[] = {{0, TN_f32}, {W_DOUBLE, TN_f64}, {W_FLOAT16, TN_f16}, {W_BFLOAT16, TN_bf16}};

static void test_uniform_and_normal__follow_their_distribution(void **state) {
    lab *l = calloc(1, sizeof *l);
    static float x[SOME];
    tn_array in = {.dtype = TN_f32, .rank = 2, .dim = {100, SOME / 100}, .data = x};
    char text[64];
    (void)state;
    wire_input(&l->graph, "x", W_FLOAT, "100,40");
    for (int k = 0; k < 4; k++) {
        int64_t n = k ? SOME : MANY;
        snprintf(text, sizeof text, "RandomUniform > u%d", k);
        add_draw(l, text, FLOATS[k].type, n, 1);
        snprintf(text, sizeof text, "RandomNormal > n%d", k);
        add_draw(l, text, FLOATS[k].type, n, (float)k - 1.5f);
        snprintf(text, sizeof text, "RandomUniformLike x > v%d", k);
        add_draw(l, text, FLOATS[k].type, 0, NAN);
        snprintf(text, sizeof text, "RandomNormalLike x > w%d", k);
        add_draw(l, text, FLOATS[k].type, 0, 7);
    }
    lab_run(l, &in, true);
    for (int k = 0; k < 16; k++) {
        tn_dtype dtype = FLOATS[k / 4].dtype;
        int64_t n = k < 2 ? MANY : SOME;
        snprintf(text, sizeof text, "draw %d of %s", k, tn_dtype_name(dtype));
        /* the fourth moments: of a uniform number over 4 it is 4⁴ / 80, of a normal one 3 σ⁴ */
        if (k % 2)
            expect_distribution(text, &l->result[k], dtype, n, normal, 5, 4, 48);
        else
            expect_distribution(text, &l->result[k], dtype, n, uniform, 1, 4. / 3, 256. / 80);
        assert_int_equal(l->result[k].rank, k % 4 < 2 ? 1 : 2);
    }
    import_done(&l->i);
    free(l);
}

static void test_draws__are_independent(void **state) {
    lab *l = calloc(1, sizeof *l);
    double *x[9];
    char text[64];
    (void)state;
    for (int k = 0; k < 6; k++) {
        snprintf(text, sizeof text, "RandomNormal > s%d", k);
        add_draw(l, text, 0, SOME, (float)k);
    }
    add_draw(l, "RandomNormal > a", 0, SOME, NAN);
    add_draw(l, "RandomNormal > b", 0, SOME, NAN);
    add_draw(l, "RandomUniform > c", 0, SOME, NAN);
    add_draw(l, "RandomNormal > again", 0, SOME, 3);
    lab_run(l, NULL, true);
    for (int k = 0; k < 9; k++) x[k] = numbers(&l->result[k]);
    for (int j = 0; j < 9; j++)
        for (int k = 0; k < j; k++) {
            double r = correlation(x[j], x[k], SOME);
            if (!(fabs(r) <= 4 / sqrt(SOME))) fail_msg("%d and %d correlate by %g", j, k, r);
        }
    assert_memory_equal(l->result[9].data, l->result[3].data, SOME * sizeof(float));
    for (int k = 0; k < 9; k++) free(x[k]);
    import_done(&l->i);
    free(l);
}

static void test_bernoulli__follows_each_probability(void **state) {
    static const float rates[RATES] = {0, 0.1f, 0.5f, 0.9f, 1};
    lab *l = calloc(1, sizeof *l);
    static float p[RATES * SOME];
    tn_array in = {.dtype = TN_f32, .rank = 2, .dim = {RATES, SOME}, .data = p};
    wire cast = wire_node("Cast p > half");
    (void)state;
    for (int i = 0; i < RATES * SOME; i++) p[i] = rates[i / SOME];
    wire_input(&l->graph, "p", W_FLOAT, "5,4000");
    wire_attr_int(&cast, "to", W_FLOAT16);
    wire_put(&l->graph, 1, &cast);
    add_draw(l, "Bernoulli p > a", 0, 0, 1);
    add_draw(l, "Bernoulli p > b", W_BOOL, 0, NAN);
    add_draw(l, "Bernoulli half > c", W_DOUBLE, 0, 2);
    lab_run(l, &in, false);
    for (int k = 0; k < 3; k++)
        for (int r = 0; r < RATES; r++) {
            double ones = 0, want = (double)rates[r] * SOME;
            for (int i = 0; i < SOME; i++) {
                double x = number(&l->result[k], r * SOME + i);
                assert_true(x == 0 || x == 1);
                ones += x;
            }
            if (!(fabs(ones - want) <= 4 * sqrt(want * (1 - (double)rates[r])) + 0.5))
                fail_msg("output %d: %g ones; expected about %g", k, ones, want);
        }
    import_done(&l->i);
    free(l);
}

/* Unnormalized log probabilities: two rows, and a class that never comes. */
static void test_multinomial__follows_softmax(void **state) {
    lab *l = calloc(1, sizeof *l);
    static float logits[2 * CLASSES] = {0, 1, 2, -3, -INFINITY, 10, 9, -INFINITY, 10, 7};
    tn_array in = {.dtype = TN_f32, .rank = 2, .dim = {2, CLASSES}, .data = logits};
    wire wide = wire_node("Cast x > wide"), half = wire_node("Cast x > half");
    (void)state;
    wire_input(&l->graph, "x", W_FLOAT, "2,5");
    wire_attr_int(&wide, "to", W_DOUBLE);
    wire_attr_int(&half, "to", W_FLOAT16);
    wire_put(&l->graph, 1, &wide);
    wire_put(&l->graph, 1, &half);
    add_draw(l, "Multinomial x > a", W_INT32, 0, 1);
    add_draw(l, "Multinomial wide > b", W_INT64, 0, NAN);
    add_draw(l, "Multinomial half > c", W_INT32, 0, 2);
    lab_run(l, &in, false);
    for (int k = 0; k < 6; k++) {
        const float *row = logits + k % 2 * CLASSES;
        double count[CLASSES] = {0}, sum = 0, chi = 0;
        for (int i = 0; i < SOME; i++) {
            double c = number(&l->result[k / 2], k % 2 * SOME + i);
            assert_true(c >= 0 && c < CLASSES);
            count[(int)c]++;
        }
        for (int c = 0; c < CLASSES; c++) sum += exp((double)row[c]);
        for (int c = 0; c < CLASSES; c++) {
            double want = exp((double)row[c]) / sum * SOME;
            if (want == 0) assert_true(count[c] == 0);
            if (want > 0) chi += (count[c] - want) * (count[c] - want) / want;
        }
        if (!(chi <= 16.3)) fail_msg("draw %d: chi-square %g; 3 degrees of freedom", k, chi);
    }
    import_done(&l->i);
    free(l);
}

static void test_dropout__keeps_and_scales(void **state) {
    lab *l = calloc(1, sizeof *l);
    static float x[SOME];
    tn_array in = {.dtype = TN_f32, .rank = 1, .dim = {SOME}, .data = x};
    wire yes = wire_tensor("train", W_BOOL, 0, NULL, "\1", 1);
    wire ratio = wire_tensor("ratio", W_FLOAT, 0, NULL, &(float){0.25f}, 4);
    (void)state;
    for (int i = 0; i < SOME; i++) x[i] = (float)(1 + i % 3);
    wire_input(&l->graph, "x", W_FLOAT, "4000");
    wire_put(&l->graph, 5, &yes);
    wire_put(&l->graph, 5, &ratio);
    for (int k = 0; k < 4; k++) {
        char from[24], text[64], kept[16], mask[16];
        snprintf(from, sizeof from, "Cast x > x%d", k);
        snprintf(kept, sizeof kept, "y%d", k);
        snprintf(mask, sizeof mask, "m%d", k);
        snprintf(text, sizeof text, "Dropout x%d ratio train > %s %s", k, kept, mask);
        wire cast = wire_node(from), node = wire_node(text);
        wire_attr_int(&cast, "to", k ? FLOATS[k].type : W_FLOAT);
        if (k % 2) wire_attr_int(&node, "seed", k);
        wire_put(&l->graph, 1, &cast);
        wire_put(&l->graph, 1, &node);
        wire_output(&l->graph, kept, k ? FLOATS[k].type : W_FLOAT, "*");
        wire_output(&l->graph, mask, W_BOOL, "*");
    }
    lab_run(l, &in, false);
    for (int k = 0; k < 4; k++) {
        const tn_array *y = &l->result[2 * k], *mask = &l->result[2 * k + 1];
        double kept = 0, step = FLOATS[k].dtype == TN_bf16 ? 0x1p-7 : 0x1p-10;
        assert_int_equal(y->dtype, FLOATS[k].dtype);
        assert_int_equal(mask->dtype, TN_bool);
        for (int i = 0; i < SOME; i++) {
            double keeps = number(mask, i), want = keeps * (double)x[i] / 0.75;
            if (!(fabs(number(y, i) - want) <= step * want))
                fail_msg("%g, not %g", number(y, i), want);
            kept += keeps;
        }
        if (!(fabs(kept - 0.75 * SOME) <= 4 * sqrt(0.75 * 0.25 * SOME)))
            fail_msg("dropout of %s keeps %g", tn_dtype_name(y->dtype), kept);
    }
    import_done(&l->i);
    free(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uniform_and_normal__follow_their_distribution),
        cmocka_unit_test(test_draws__are_independent),
        cmocka_unit_test(test_bernoulli__follows_each_probability),
        cmocka_unit_test(test_multinomial__follows_softmax),
        cmocka_unit_test(test_dropout__keeps_and_scales),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
