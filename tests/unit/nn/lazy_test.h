/* Contexts and reading, for tests of what is built on lazy tensors. */
#ifndef TENON_LAZY_TEST_H
#define TENON_LAZY_TEST_H

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

#endif
