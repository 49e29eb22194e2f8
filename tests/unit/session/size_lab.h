/* A model and a session of it whose results have sizes that a run binds: every run is compared with the
 * reference, and nothing is compiled twice. Include after "../test.h". */
#ifndef TENON_TEST_SIZE_LAB_H
#define TENON_TEST_SIZE_LAB_H

#include <math.h>
#include <stdlib.h>

#include "ops/eval.h"
#include "session/session.h"
#include "unit/import/onnx_wire.h"

enum { OPSET = 17, MOST_OUTPUTS = 4 };

typedef struct lab {
    imported i;
    tn_model *model;
    tn_session *session;
    const tn_artifact *compiled; /* of the first run */
} lab;

static inline void check(tn_status status, const tn_error *err) {
    char text[2048];
    tn_error_format(err, text, sizeof text);
    if (status != TN_OK) print_error("%s\n", text);
    assert_int_equal(status, TN_OK);
}

/* Of what was imported into l->i. */
static inline void lab_compile(lab *l) {
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    l->compiled = NULL;
    if (l->i.status != TN_OK) fail_msg("%s", l->i.text);
    if (!l->i.import.graph) fail_msg("%s", l->i.import.need_reason);
    check(tn_model_from_graph(l->i.import.graph, &o, &l->model, &err), &err);
    check(tn_session_create(l->model, &l->session, &err), &err);
}

static inline void lab_open(lab *l, const wire *graph) {
    import_model_at(&l->i, graph, OPSET);
    lab_compile(l);
}

static inline void lab_close(lab *l) {
    tn_session_release(l->session);
    tn_model_release(l->model);
    import_done(&l->i);
}

/* Symbols are the sizes of inputs as they are. */
static inline int64_t *bindings_of(const tn_graph *g, const tn_buffer *in, tn_arena *arena) {
    int64_t *value = TN_NEW_N(arena, int64_t, g->dims->symbols.len);
    for (uint32_t i = 0; i < g->inputs.len; i++)
        for (int a = 0; a < in[i].rank; a++) {
            uint32_t symbol;
            tn_dim d = tn_graph_type(g, g->inputs.data[i])->shape.dim[a];
            if (tn_dim_is_symbol(g->dims, d, &symbol)) value[symbol] = in[i].dim[a];
        }
    return value;
}

static inline void compare_with_reference(const lab *l, const tn_buffer *in, const tn_buffer *out) {
    const tn_graph *g = l->i.import.graph;
    tn_arena arena;
    tn_error err = TN_ERROR_INIT;
    tn_array array[4] = {0}, expected[MOST_OUTPUTS];
    tn_arena_init(&arena, tn_allocator_system());
    for (uint32_t i = 0; i < g->inputs.len; i++) {
        array[i] = (tn_array){.dtype = in[i].dtype, .rank = in[i].rank, .data = in[i].data};
        memcpy(array[i].dim, in[i].dim, sizeof array[i].dim);
    }
    check(tn_eval_graph(g, array, bindings_of(g, in, &arena), expected, &arena, &err), &err);
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        assert_int_equal(out[i].rank, expected[i].rank);
        assert_memory_equal(out[i].dim, expected[i].dim, sizeof(int64_t) * (size_t)out[i].rank);
        assert_memory_equal(out[i].data, expected[i].data, tn_array_bytes(&expected[i]));
    }
    tn_arena_deinit(&arena);
}

static inline void lab_run(lab *l, const tn_buffer *in, tn_buffer *out) {
    tn_error err = TN_ERROR_INIT;
    const tn_graph *g = l->i.import.graph;
    memset(out, 0, MOST_OUTPUTS * sizeof *out);
    check(tn_session_run(l->session, in, (int)g->inputs.len, out, (int)g->outputs.len, &err), &err);
    compare_with_reference(l, in, out);
    if (!l->compiled) l->compiled = tn_session_artifact(l->session);
    assert_ptr_equal(l->compiled, tn_session_artifact(l->session)); /* never compiled again */
}

static inline tn_buffer vector(tn_dtype dtype, int64_t count, void *data) {
    return (tn_buffer){.dtype = dtype, .rank = 1, .dim = {count}, .data = data};
}

static inline void expect_ints(const tn_buffer *b, int64_t count, const int64_t *values) {
    int64_t have = 1;
    for (int a = 0; a < b->rank; a++) have *= b->dim[a];
    assert_int_equal(b->dtype, TN_i64);
    assert_int_equal(have, count);
    for (int64_t i = 0; i < count; i++) assert_int_equal(((int64_t *)b->data)[i], values[i]);
}
#define EXPECT(b, ...)                                                                             \
    expect_ints(&(b), (int64_t)TN_COUNT(((int64_t[]){__VA_ARGS__})), (int64_t[]){__VA_ARGS__})

#endif
