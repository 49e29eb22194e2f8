#include "unit/test.h"

#include "ir/builder.h"
#include "session/session.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

typedef struct fixture {
    tn_arena arena;
    tn_dims dims;
    tn_graph *g;
    tn_error err;
} fixture;

/* y[N,3] = max(x[N,4] * W[4,3] + b[3], 0), s[N] = sum of y over its last axis */
static void make_graph(fixture *f) {
    *f = (fixture){.err = TN_ERROR_INIT};
    tn_arena_init(&f->arena, tn_allocator_system());
    tn_dims_init(&f->dims, &f->arena);
    f->g = tn_graph_new(&f->arena, &f->dims);
    tn_builder b = tn_builder_of(f->g, &f->err);
    tn_shape shape = {.rank = 2, .dim = {tn_dim_of_symbol(&f->dims, "N"), 4}};
    tn_value x = tn_b_input(&b, "x", TN_f32, &shape);
    tn_array w = tn_array_new(&f->arena, TN_f32, 2, (int64_t[]){4, 3});
    tn_array bias = tn_array_new(&f->arena, TN_f32, 1, (int64_t[]){3});
    for (int i = 0; i < 12; i++) tn_array_set(&w, i, tn_cell_of(TN_f32, i - 6));
    for (int i = 0; i < 3; i++) tn_array_set(&bias, i, tn_cell_of(TN_f32, i));
    tn_value y = tn_b_matmul(&b, x, tn_b_constant(&b, &w), TN_f32);
    y = tn_b_add(&b, y, tn_b_constant(&b, &bias));
    y = tn_b_max(&b, y, tn_b_scalar(&b, TN_f32, 0));
    tn_value s = tn_b_sum(&b, y, (int[]){1}, 1, false);
    if (tn_b_finish(&b) != TN_OK) print_error("%s\n", f->err.message);
    assert_int_equal(tn_b_finish(&b), TN_OK);
    tn_graph_add_output(f->g, y, "y");
    tn_graph_add_output(f->g, s, "s");
    tn_graph_add_output(f->g, x, "same");
}

static void free_graph(fixture *f) {
    tn_arena_deinit(&f->arena);
}

static tn_buffer matrix(float *data, int64_t rows) {
    return (tn_buffer){.dtype = TN_f32, .rank = 2, .dim = {rows, 4}, .data = data};
}

static void expect(const float *x, int64_t rows, const tn_buffer *out) {
    const float *y = out[0].data, *s = out[1].data;
    assert_int_equal(out[0].dim[0], rows);
    assert_int_equal(out[0].dim[1], 3);
    assert_int_equal(out[1].rank, 1);
    for (int64_t r = 0; r < rows; r++) {
        float sum = 0;
        for (int c = 0; c < 3; c++) {
            float dot = (float)c;
            for (int k = 0; k < 4; k++) dot += x[r * 4 + k] * (float)(k * 3 + c - 6);
            if (dot < 0) dot = 0;
            assert_float_equal(y[r * 3 + c], dot, 1e-4);
            sum += dot;
        }
        assert_float_equal(s[r], sum, 1e-4);
    }
    assert_memory_equal(out[2].data, x, (size_t)rows * 16);
}

static void check(tn_status status, const tn_error *err) {
    char text[2048];
    tn_error_format(err, text, sizeof text);
    if (status != TN_OK) print_error("%s\n", text);
    assert_int_equal(status, TN_OK);
}

static void run_rows(tn_session *s, int64_t rows) {
    tn_error err = TN_ERROR_INIT;
    float *x = calloc((size_t)rows * 4, sizeof *x);
    for (int64_t i = 0; i < rows * 4; i++) x[i] = (float)((i * 7) % 11) - 5;
    tn_buffer in = matrix(x, rows), out[3] = {0};
    check(tn_session_run(s, &in, 1, out, 3, &err), &err);
    expect(x, rows, out);
    free(x);
}

static void run_modes(tn_compile_mode mode, bool no_opt) {
    fixture f;
    tn_model *m;
    tn_session *s;
    make_graph(&f);
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    o.mode = mode;
    o.no_opt = no_opt;
    o.threads = 2;
    check(tn_model_from_graph(f.g, &o, &m, &f.err), &f.err);
    check(tn_session_create(m, &s, &f.err), &f.err);
    for (int64_t rows = 1; rows < 40; rows += 6) run_rows(s, rows);
    assert_int_equal(tn_session_artifact(s)->stats.interpreted, mode == TN_COMPILE_INTERPRET);
    tn_session_release(s);
    tn_model_release(m);
    free_graph(&f);
}

static void test_run__compiled(void **state) {
    (void)state;
    run_modes(TN_COMPILE_CC, false);
}

static void test_run__without_optimizations(void **state) {
    (void)state;
    run_modes(TN_COMPILE_CC, true);
}

static void test_run__interpreted(void **state) {
    (void)state;
    run_modes(TN_COMPILE_INTERPRET, false);
}

/* x[N,2] with N >= 0: 2x, its sum and maximum over N, and the product xT x. */
static void make_empty_graph(fixture *f) {
    *f = (fixture){.err = TN_ERROR_INIT};
    tn_arena_init(&f->arena, tn_allocator_system());
    tn_dims_init(&f->dims, &f->arena);
    f->g = tn_graph_new(&f->arena, &f->dims);
    tn_builder b = tn_builder_of(f->g, &f->err);
    tn_shape shape = {.rank = 2, .dim = {tn_dim_of_symbol(&f->dims, "N"), 2}};
    tn_dims_set_bounds(&f->dims, tn_dims_symbol(&f->dims, "N"), 0, TN_DIM_UNBOUNDED, 1);
    tn_value x = tn_b_input(&b, "x", TN_f32, &shape), y = tn_b_mul_scalar(&b, x, 2);
    tn_graph_add_output(f->g, y, "y");
    tn_graph_add_output(f->g, tn_b_sum(&b, y, (int[]){0}, 1, false), "sum");
    tn_graph_add_output(f->g, tn_b_reduce(&b, TN_REDUCE_max, y, (int[]){0}, 1, false), "max");
    tn_graph_add_output(f->g, tn_b_matmul(&b, tn_b_swap(&b, x, 0, 1), x, TN_f32), "product");
    check(tn_b_finish(&b), &f->err);
}

static void run_empty(tn_compile_mode mode, bool no_opt) {
    fixture f;
    tn_model *m;
    tn_session *s;
    float data[] = {1, 2, 3, 4};
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    o.mode = mode;
    o.no_opt = no_opt;
    make_empty_graph(&f);
    check(tn_model_from_graph(f.g, &o, &m, &f.err), &f.err);
    check(tn_session_create(m, &s, &f.err), &f.err);
    for (int64_t rows = 2; rows >= 0; rows -= 2) {
        tn_buffer in = {.dtype = TN_f32, .rank = 2, .dim = {rows, 2}, .data = data}, out[4] = {0};
        check(tn_session_run(s, &in, 1, out, 4, &f.err), &f.err);
        const float *sum = out[1].data, *max = out[2].data, *product = out[3].data;
        assert_int_equal(out[0].dim[0], rows);
        assert_true(sum[0] == (rows ? 8 : 0) && sum[1] == (rows ? 12 : 0));
        assert_true(rows ? max[0] == 6 && max[1] == 8 : max[0] < -3e38f && max[1] < -3e38f);
        assert_true(product[0] == (rows ? 10 : 0) && product[3] == (rows ? 20 : 0));
    }
    tn_session_release(s);
    tn_model_release(m);
    free_graph(&f);
}

static void test_run__with_nothing_to_do(void **state) {
    (void)state;
    run_empty(TN_COMPILE_CC, false);
    run_empty(TN_COMPILE_CC, true);
    run_empty(TN_COMPILE_INTERPRET, false);
}

static void test_ports__are_described(void **state) {
    (void)state;
    fixture f;
    tn_model *m;
    tn_port_info info;
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    o.mode = TN_COMPILE_INTERPRET;
    make_graph(&f);
    check(tn_model_from_graph(f.g, &o, &m, &f.err), &f.err);
    assert_int_equal(tn_model_input_count(m), 1);
    assert_int_equal(tn_model_output_count(m), 3);
    assert_int_equal(tn_model_input(m, 0, &info), TN_OK);
    assert_string_equal(info.name, "x");
    assert_int_equal(info.dim[0], -1);
    assert_string_equal(info.symbol[0], "N");
    assert_int_equal(info.dim[1], 4);
    assert_null(info.symbol[1]);
    assert_int_equal(tn_model_output(m, 7, &info), TN_NOT_FOUND);
    tn_model_release(m);
    free_graph(&f);
}

static void refused(tn_session *s, tn_buffer in, int count, const char *text) {
    tn_error err = TN_ERROR_INIT;
    tn_buffer out[3] = {0};
    assert_int_equal(tn_session_run(s, &in, count, out, 3, &err), TN_INVALID);
    if (!strstr(err.message, text)) print_error("%s\n", err.message);
    assert_non_null(strstr(err.message, text));
}

static void test_run__refuses_wrong_inputs(void **state) {
    (void)state;
    fixture f;
    tn_model *m;
    tn_session *s;
    float x[20] = {0};
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    o.mode = TN_COMPILE_INTERPRET;
    make_graph(&f);
    check(tn_model_from_graph(f.g, &o, &m, &f.err), &f.err);
    check(tn_session_create(m, &s, &f.err), &f.err);
    tn_buffer in = matrix(x, 5);
    refused(s, in, 2, "2 inputs given, the model has 1");
    in.dtype = TN_f64;
    refused(s, in, 1, "input 'x': wrong data type (got f64[5,4], expected f32[N,4])");
    in = matrix(x, 5);
    in.rank = 1;
    refused(s, in, 1, "input 'x': wrong number of axes");
    in = matrix(x, 5);
    in.dim[1] = 3;
    refused(s, in, 1, "axis 1 has size 3, expected 4");
    in = matrix(NULL, 5);
    refused(s, in, 1, "no data");
    in = matrix(x, 0);
    refused(s, in, 1, "make N = 0");
    in = matrix(x, 5);
    float small[3];
    tn_buffer out[3] = {{.data = small, .size = sizeof small}};
    assert_int_equal(tn_session_run(s, &in, 1, out, 3, &f.err), TN_INVALID);
    assert_non_null(strstr(f.err.message, "output 'y' takes 60 bytes, the memory given has 12"));
    run_rows(s, 5);
    tn_session_release(s);
    tn_model_release(m);
    free_graph(&f);
}

static void test_run__writes_where_the_caller_says(void **state) {
    (void)state;
    fixture f;
    tn_model *m;
    tn_session *s;
    float x[20], y[15], same[20];
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    make_graph(&f);
    check(tn_model_from_graph(f.g, &o, &m, &f.err), &f.err);
    check(tn_session_create(m, &s, &f.err), &f.err);
    tn_model_release(m); /* the session holds it */
    for (int i = 0; i < 20; i++) x[i] = (float)i;
    tn_buffer in = matrix(x, 5);
    tn_buffer out[3] = {
        {.data = y, .size = sizeof y}, {.data = NULL}, {.data = same, .size = sizeof same}};
    for (int round = 0; round < 2; round++) {
        check(tn_session_run(s, &in, 1, out, 3, &f.err), &f.err);
        assert_ptr_equal(out[0].data, y);
        assert_ptr_equal(out[2].data, same);
        expect(x, 5, out);
    }
    tn_session_release(s);
    free_graph(&f);
}

static void test_run__steady_runs_allocate_nothing(void **state) {
    (void)state;
    fixture f;
    tn_model *m;
    tn_session *s;
    float x[400] = {0};
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    o.mode = TN_COMPILE_CC;
    make_graph(&f);
    check(tn_model_from_graph(f.g, &o, &m, &f.err), &f.err);
    check(tn_session_create(m, &s, &f.err), &f.err);
    tn_buffer in = matrix(x, 100), out[3] = {0};
    check(tn_session_run(s, &in, 1, out, 3, &f.err), &f.err);
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < 10; i++) check(tn_session_run(s, &in, 1, out, 3, &f.err), &f.err);
    assert_int_equal(mallinfo2().uordblks, before);
    tn_session_release(s);
    tn_model_release(m);
    free_graph(&f);
}

static void *run_session(void *argument) {
    tn_session *s;
    tn_error err = TN_ERROR_INIT;
    check(tn_session_create(argument, &s, &err), &err);
    for (int64_t rows = 1; rows < 200; rows += 17) run_rows(s, rows);
    tn_session_release(s);
    return NULL;
}

static void test_model__is_shared_by_eight_threads(void **state) {
    (void)state;
    fixture f;
    tn_model *m;
    pthread_t threads[8];
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    o.threads = 3;
    make_graph(&f);
    check(tn_model_from_graph(f.g, &o, &m, &f.err), &f.err);
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, run_session, m);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    tn_model_release(m);
    free_graph(&f);
}

/* The threads stay for the second model when the first is gone. */
static void test_model__takes_the_threads_of_another(void **state) {
    (void)state;
    fixture f;
    tn_model *first, *m;
    tn_session *s, *t;
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    o.threads = 3;
    make_graph(&f);
    check(tn_model_from_graph(f.g, &o, &first, &f.err), &f.err);
    o.threads = 1;
    o.threads_of = first;
    check(tn_model_from_graph(f.g, &o, &m, &f.err), &f.err);
    assert_int_equal(tn_model_threads(m), 3);
    check(tn_session_create(first, &s, &f.err), &f.err);
    check(tn_session_create(m, &t, &f.err), &f.err);
    for (int64_t rows = 1; rows < 40; rows += 6) {
        run_rows(s, rows);
        run_rows(t, rows);
    }
    tn_session_release(s);
    tn_model_release(first);
    run_rows(t, 20);
    tn_session_release(t);
    tn_model_release(m);
    free_graph(&f);
}

static void test_open__says_what_is_wrong(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_model *m = (tn_model *)1;
    assert_int_equal(tn_model_open("/nowhere/model.onnx", NULL, &m, &err), TN_NOT_FOUND);
    assert_null(m);
    assert_non_null(strstr(err.message, "/nowhere/model.onnx"));
    tn_model_options o = {0};
    assert_int_equal(tn_model_open("tests/CMakeLists.txt", &o, &m, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "TN_MODEL_OPTIONS_INIT"));
}

#define DIGITS "examples/digits/digits.onnx"

static void run_digits(tn_model *m, float result[10]) {
    float image[64];
    tn_error err = TN_ERROR_INIT;
    tn_session *session;
    for (int i = 0; i < 64; i++) image[i] = (float)(i * 7 % 17);
    tn_buffer in = {.dtype = TN_f32, .rank = 4, .dim = {1, 1, 8, 8}, .data = image};
    tn_buffer out = {.data = result, .size = 10 * sizeof *result};
    assert_int_equal(tn_session_create(m, &session, &err), TN_OK);
    assert_int_equal(tn_session_run(session, &in, 1, &out, 1, &err), TN_OK);
    tn_session_release(session);
}

static void test_open_bytes__is_the_model_of_the_file(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_file_map map;
    tn_model *m;
    float expected[10], got[10] = {0};
    assert_int_equal(tn_model_open(DIGITS, NULL, &m, &err), TN_OK);
    run_digits(m, expected);
    tn_model_release(m);
    assert_int_equal(tn_file_map_open(&map, DIGITS, &err), TN_OK);
    tn_status status = tn_model_open_bytes(map.data, map.size, NULL, &m, &err);
    tn_file_map_close(&map); /* they are copied */
    assert_int_equal(status, TN_OK);
    run_digits(m, got);
    tn_model_release(m);
    assert_memory_equal(got, expected, sizeof got);
}

static void test_open_bytes__refuses_what_is_no_model(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_model *m = (tn_model *)1;
    assert_int_equal(tn_model_open_bytes("junk", 4, NULL, &m, &err), TN_INVALID);
    assert_null(m);
    assert_non_null(strstr(err.message, "ONNX"));
    assert_int_equal(tn_model_open_bytes(NULL, 0, NULL, &m, &err), TN_INVALID);
    assert_null(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run__compiled),
        cmocka_unit_test(test_run__without_optimizations),
        cmocka_unit_test(test_run__interpreted),
        cmocka_unit_test(test_run__with_nothing_to_do),
        cmocka_unit_test(test_ports__are_described),
        cmocka_unit_test(test_run__refuses_wrong_inputs),
        cmocka_unit_test(test_run__writes_where_the_caller_says),
        cmocka_unit_test(test_run__steady_runs_allocate_nothing),
        cmocka_unit_test(test_model__is_shared_by_eight_threads),
        cmocka_unit_test(test_model__takes_the_threads_of_another),
        cmocka_unit_test(test_open__says_what_is_wrong),
        cmocka_unit_test(test_open_bytes__is_the_model_of_the_file),
        cmocka_unit_test(test_open_bytes__refuses_what_is_no_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
