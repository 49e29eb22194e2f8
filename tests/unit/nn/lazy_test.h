/* Contexts and reading, for tests of what is built on lazy tensors. */
#ifndef TENON_LAZY_TEST_H
#define TENON_LAZY_TEST_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/tensor.h>

#include "unit/test.h"

/* Values are the same with the interpreter, and nothing has to be compiled. */
static inline tn_context *lazy_context(tn_compile_mode mode, int threads) {
    tn_context_options o = TN_CONTEXT_OPTIONS_INIT;
    tn_context *c;
    tn_error err = TN_ERROR_INIT;
    o.compile.threads = threads;
    o.compile.mode = mode;
    if (tn_context_create(&o, &c, &err) != TN_OK) fail_msg("%s", err.message);
    return c;
}

static inline void must(tn_status status, const tn_error *err) {
    char text[2048];
    if (status == TN_OK) return;
    tn_error_format(err, text, sizeof text);
    fail_msg("%s: %s", tn_status_name(status), text);
}

static inline void must_fail(tn_status status, tn_status want, const tn_error *err,
                             const char *words) {
    char text[2048];
    tn_error_format(err, text, sizeof text);
    if (status != want || !strstr(text, words))
        fail_msg("status '%s', message: %s; expected '%s' in it", tn_status_name(status), text,
                 words);
}

static inline void read_into(tn_tensor *x, void *out, size_t size) {
    tn_error err = TN_ERROR_INIT;
    must(tn_read(x, out, size, &err), &err);
}

static inline double item(tn_tensor *x) {
    tn_error err = TN_ERROR_INIT;
    double value = 0;
    must(tn_item(x, &value, &err), &err);
    return value;
}

static inline void expect_near(double got, double want, double tolerance) {
    if (!(got - want <= tolerance && want - got <= tolerance))
        fail_msg("%.17g, expected %.17g", got, want);
}

/* Against f32 elements. */
static inline void expect_f32(tn_tensor *x, const float *want, int count, double tolerance) {
    float *got = malloc((size_t)count * sizeof *got);
    read_into(x, got, (size_t)count * sizeof *got);
    for (int i = 0; i < count; i++) expect_near((double)got[i], (double)want[i], tolerance);
    free(got);
}

static inline tn_tensor *vector(tn_context *c, int64_t n, const float *x) {
    return tn_tensor_from(c, TN_f32, 1, &n, x);
}

static inline tn_context_stats statistics(tn_context *c) {
    tn_context_stats s;
    tn_context_statistics(c, &s);
    return s;
}

/* The elements of x as doubles; x is f32 or f64. The caller frees them. */
static inline double *numbers_of(tn_tensor *x) {
    tn_error err = TN_ERROR_INIT;
    int64_t count = tn_tensor_count(x);
    bool wide = tn_tensor_dtype(x) == TN_f64;
    double *out = malloc(sizeof(double) * (size_t)count + 1);
    float *narrow = malloc(sizeof(float) * (size_t)count + 1);
    size_t size = (size_t)count * (wide ? sizeof(double) : sizeof(float));
    must(tn_read(x, wide ? (void *)out : (void *)narrow, size, &err), &err);
    for (int64_t i = 0; !wide && i < count; i++) out[i] = (double)narrow[i];
    free(narrow);
    return out;
}

static inline void expect_numbers(tn_tensor *x, const double *want, int64_t count,
                                  double tolerance) {
    double *have = numbers_of(x), most = 1;
    assert_int_equal(tn_tensor_count(x), count);
    for (int64_t i = 0; i < count; i++) most = fmax(most, fabs(want[i]));
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(have[i] - want[i]) <= tolerance * most))
            fail_msg("element %lld is %.9g, expected %.9g", (long long)i, have[i], want[i]);
    free(have);
}
#define EXPECT_NUMBERS(x, ...)                                                                     \
    expect_numbers((x), (const double[]){__VA_ARGS__},                                             \
                   (int64_t)(sizeof((const double[]){__VA_ARGS__}) / sizeof(double)), 1e-6)

/* The context's error has `part` in it; it is cleared. */
static inline void refused(tn_context *c, const char *part) {
    tn_error err = TN_ERROR_INIT;
    char text[2048] = "";
    if (tn_context_error(c, &err) != TN_OK) tn_error_format(&err, text, sizeof text);
    if (!strstr(text, part)) fail_msg("expected '%s' in '%s'", part, text);
    tn_context_clear_error(c);
}

/* Numbers in [-1, 1] that depend on the position alone. */
static inline tn_tensor *some_numbers(tn_context *c, tn_dtype dtype, int rank, const int64_t *dim,
                                      uint64_t seed) {
    int64_t count = 1;
    for (int i = 0; i < rank; i++) count *= dim[i];
    double *wide = malloc(sizeof(double) * (size_t)count + 1);
    float *narrow = malloc(sizeof(float) * (size_t)count + 1);
    for (int64_t i = 0; i < count; i++) {
        wide[i] = (double)(test_random(&seed) >> 11) * 0x1p-52 - 1;
        narrow[i] = (float)wide[i];
    }
    void *data = dtype == TN_f64 ? (void *)wide : (void *)narrow;
    tn_tensor *x = tn_tensor_from(c, dtype, rank, dim, data);
    free(wide);
    free(narrow);
    return x;
}

#endif
