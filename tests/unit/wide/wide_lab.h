/* Members as small ONNX files, and the wide model beside each of them run alone.
 *
 * Include after "unit/test_folder.h". */
#ifndef TENON_TEST_WIDE_LAB_H
#define TENON_TEST_WIDE_LAB_H

#include <math.h>
#include <stdlib.h>
#include <tenon/wide.h>

#include "unit/import/onnx_wire.h"

enum { MOST_PORTS = 4 };

/* ---- files -------------------------------------------------------------------------------------- */

static inline void random_floats(float *out, int64_t count, uint64_t *state) {
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)((double)(test_random(state) >> 40) * 0x1p-23 - 1);
}

/* An initializer of random numbers in [-scale, scale). */
static inline void wire_weight(wire *graph, const char *name, int rank, const int64_t *dim,
                               float scale, uint64_t *state) {
    float values[1024];
    int64_t count = 1;
    for (int i = 0; i < rank; i++) count *= dim[i];
    assert_true(count <= 1024);
    random_floats(values, count, state);
    for (int64_t i = 0; i < count; i++) values[i] *= scale;
    wire t = wire_tensor(name, W_FLOAT, rank, dim, values, (size_t)count * sizeof *values);
    wire_put(graph, 5, &t);
}
#define DIMS(...)                                                                                  \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]) {                 \
        __VA_ARGS__                                                                                \
    }

static inline void write_model(const wire *graph, int64_t opset, const char *path) {
    tn_error err = TN_ERROR_INIT;
    wire model = wire_model(graph, opset);
    check(tn_file_write(path, model.at, model.len, false, &err), &err);
}

static inline const char *in_folder(const char *name) {
    static char path[64][512];
    static int next;
    char *p = path[next++ % 64];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

/* x → Gemm → activation → MatMul, [B,6] → [B,3], with weights of this seed; `shared`: the second layer's
 * weights are the same for all seeds. */
static inline const char *write_mlp(const char *name, const char *activation, uint64_t seed,
                                    bool shared) {
    wire g = {.len = 0};
    char node[64];
    uint64_t other = shared ? 1000 : seed + 1000;
    wire_input(&g, "x", W_FLOAT, "B,6");
    wire_weight(&g, "w1", DIMS(6, 10), 0.5f, &seed);
    wire_weight(&g, "b1", DIMS(10), 0.5f, &seed);
    wire_weight(&g, "w2", DIMS(10, 3), 0.5f, &other);
    wire fc = wire_node("Gemm x w1 b1 > h"), act, out = wire_node("MatMul a w2 > y");
    wire_text(&fc, 3, "fc1");
    wire_put(&g, 1, &fc);
    snprintf(node, sizeof node, "%s h > a", activation);
    act = wire_node(node);
    wire_text(&act, 3, "act1");
    wire_put(&g, 1, &act);
    wire_text(&out, 3, "fc2");
    wire_put(&g, 1, &out);
    wire_output(&g, "y", W_FLOAT, "B,3");
    const char *path = in_folder(name);
    write_model(&g, 20, path);
    return path;
}

/* ---- arrays ------------------------------------------------------------------------------------- */

static inline int64_t buffer_count(const tn_buffer *b) {
    int64_t n = 1;
    for (int i = 0; i < b->rank; i++) n *= b->dim[i];
    return n;
}

static inline tn_buffer floats_of(uint64_t *state, int rank, const int64_t *dim) {
    tn_buffer b = {.dtype = TN_f32, .rank = rank};
    for (int i = 0; i < rank; i++) b.dim[i] = dim[i];
    int64_t n = buffer_count(&b);
    b.data = malloc((size_t)n * sizeof(float) + 1);
    random_floats(b.data, n, state);
    return b;
}

/* Part `i` of an array along its first axis. */
static inline tn_buffer part_of(const tn_buffer *b, int i) {
    tn_buffer p = {.dtype = b->dtype, .rank = b->rank - 1};
    for (int a = 0; a < p.rank; a++) p.dim[a] = b->dim[a + 1];
    p.data = (char *)b->data + (size_t)(i * buffer_count(&p)) * tn_dtype_size(b->dtype);
    return p;
}

/* Largest difference over the largest magnitude. */
static inline void expect_close(const tn_buffer *got, const tn_buffer *want, double tolerance) {
    assert_int_equal(got->dtype, want->dtype);
    assert_int_equal(got->rank, want->rank);
    for (int a = 0; a < got->rank; a++) assert_int_equal(got->dim[a], want->dim[a]);
    int64_t n = buffer_count(want);
    if (got->dtype != TN_f32) {
        assert_memory_equal(got->data, want->data, (size_t)n * tn_dtype_size(got->dtype));
        return;
    }
    const float *x = got->data, *y = want->data;
    double largest = 1e-30, worst = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)y[i]));
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)x[i] - (double)y[i]);
        if (!(d <= worst)) worst = d;
    }
    if (!(worst <= tolerance * largest)) fail_msg("off by %g of %g", worst, largest);
}

/* ---- comparing ---------------------------------------------------------------------------------- */

static tn_compile_mode lab_mode; /* interpreting takes less than compiling small models */

static inline tn_wide_options lab_options(void) {
    tn_wide_options o = TN_WIDE_OPTIONS_INIT;
    o.compile.threads = 2;
    o.compile.mode = lab_mode;
    return o;
}

static inline tn_wide *open_wide(const tn_wide_member *members, int count,
                                 const tn_wide_options *options) {
    tn_error err = TN_ERROR_INIT;
    tn_wide *w;
    check(tn_wide_open(members, count, options, &w, &err), &err);
    return w;
}

/* The model alone. */
static inline void run_alone(const char *path, const tn_buffer *inputs, int input_count,
                             tn_buffer *outputs, int output_count, tn_session **keep) {
    tn_error err = TN_ERROR_INIT;
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    o.threads = 2;
    o.mode = lab_mode;
    tn_model *model;
    check(tn_model_open(path, &o, &model, &err), &err);
    check(tn_session_create(model, keep, &err), &err);
    check(tn_session_run(*keep, inputs, input_count, outputs, output_count, &err), &err);
    tn_model_release(model);
}

static inline void expect_error(tn_status status, const tn_error *err, const char *part) {
    char text[2048];
    tn_error_format(err, text, sizeof text);
    if (status == TN_OK || !strstr(text, part))
        fail_msg("%s; expected: %s", status == TN_OK ? "no error" : text, part);
}

/* Runs all members as one, stacked, and each alone from the file it is extracted to or came from. */
static inline void expect_as_alone(tn_wide *w, const char *const *paths, const tn_buffer *inputs,
                                   int input_count, const bool *shared, int output_count) {
    tn_error err = TN_ERROR_INIT;
    tn_buffer outputs[MOST_PORTS] = {0};
    check(tn_wide_run(w, inputs, input_count, outputs, output_count, &err), &err);
    for (int i = 0; i < tn_wide_count(w); i++) {
        tn_session *s;
        tn_buffer own[MOST_PORTS], alone[MOST_PORTS] = {0};
        for (int k = 0; k < input_count; k++)
            own[k] = shared && shared[k] ? inputs[k] : part_of(&inputs[k], i);
        run_alone(paths[i], own, input_count, alone, output_count, &s);
        for (int k = 0; k < output_count; k++) {
            tn_buffer part = part_of(&outputs[k], i);
            expect_close(&part, &alone[k], tn_wide_count(w) == 1 ? 0 : 1e-5);
        }
        tn_session_release(s);
    }
}

#endif
