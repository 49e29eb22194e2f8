/* Lazy tensors in tests: a context that interprets, numbers out of tensors, errors. */
#ifndef TENON_TENSOR_LAB_H
#define TENON_TENSOR_LAB_H

#include "unit/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/tensor.h>

static inline tn_context *nn_context(tn_compile_mode mode) {
    tn_context_options o = TN_CONTEXT_OPTIONS_INIT;
    tn_context *c;
    tn_error err = TN_ERROR_INIT;
    o.compile.threads = 1;
    o.compile.mode = mode;
    o.seed = 7;
    if (tn_context_create(&o, &c, &err) != TN_OK) fail_msg("%s", err.message);
    return c;
}

static inline void nn_must(tn_status status, const tn_error *err) {
    char text[2048];
    if (status == TN_OK) return;
    tn_error_format(err, text, sizeof text);
    fail_msg("%s: %s", tn_status_name(status), text);
}

/* The elements of x as doubles; x is f32 or f64. The caller frees them. */
static inline double *nn_numbers(tn_tensor *x) {
    tn_error err = TN_ERROR_INIT;
    int64_t count = tn_tensor_count(x);
    bool wide = tn_tensor_dtype(x) == TN_f64;
    double *out = malloc(sizeof(double) * (size_t)count + 1);
    float *narrow = malloc(sizeof(float) * (size_t)count + 1);
    size_t size = (size_t)count * (wide ? sizeof(double) : sizeof(float));
    nn_must(tn_read(x, wide ? (void *)out : (void *)narrow, size, &err), &err);
    for (int64_t i = 0; !wide && i < count; i++) out[i] = (double)narrow[i];
    free(narrow);
    return out;
}

static inline void nn_expect(tn_tensor *x, const double *want, int64_t count, double tolerance) {
    double *have = nn_numbers(x), most = 1;
    assert_int_equal(tn_tensor_count(x), count);
    for (int64_t i = 0; i < count; i++) most = fmax(most, fabs(want[i]));
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(have[i] - want[i]) <= tolerance * most))
            fail_msg("element %lld is %.9g, expected %.9g", (long long)i, have[i], want[i]);
    free(have);
}
#define NN_EXPECT(x, ...)                                                                          \
    nn_expect((x), (const double[]){__VA_ARGS__},                                                  \
              (int64_t)(sizeof((const double[]){__VA_ARGS__}) / sizeof(double)), 1e-6)

/* The context's error has `part` in it; it is cleared. */
static inline void nn_refused(tn_context *c, const char *part) {
    tn_error err = TN_ERROR_INIT;
    char text[2048] = "";
    if (tn_context_error(c, &err) != TN_OK) tn_error_format(&err, text, sizeof text);
    if (!strstr(text, part)) fail_msg("expected '%s' in '%s'", part, text);
    tn_context_clear_error(c);
}

/* Numbers in [-1, 1] that depend on the position alone. */
static inline tn_tensor *nn_some(tn_context *c, tn_dtype dtype, int rank, const int64_t *dim,
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
