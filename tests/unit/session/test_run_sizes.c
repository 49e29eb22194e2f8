/* Sizes that a run binds: reference, compiled and interpreted kernels, program files. */
#include "unit/test_folder.h"

#include "ir/builder.h"
#include "ops/eval.h"
#include "ops/gradient.h"
#include "session/session.h"

enum { MOST_ROWS = 70, INPUTS = 3, OUTPUTS = 7 };

typedef struct fixture {
    tn_arena arena;
    tn_dims dims;
    tn_graph *g;
    tn_error err;
} fixture;

/* x[N,4] cut to its first n rows p, these to k columns of their transpose q; products, folds, a
 * broadcast that reads no element of x, and the gradient of a sum over p. */
static void make_graph(fixture *f) {
    *f = (fixture){.err = TN_ERROR_INIT};
    tn_arena_init(&f->arena, tn_allocator_system());
    tn_dims_init(&f->dims, &f->arena);
    f->g = tn_graph_new(&f->arena, &f->dims);
    tn_builder b = tn_builder_of(f->g, &f->err);
    tn_dim rows = tn_dim_of_symbol(&f->dims, "N");
    tn_shape shape = {.rank = 2, .dim = {rows, 4}}, scalar = {0};
    tn_value x = tn_b_input(&b, "x", TN_f32, &shape), grad;
    tn_value first = tn_b_input(&b, "n", TN_i64, &scalar);
    tn_value second = tn_b_input(&b, "k", TN_i64, &scalar);
    tn_array w = tn_array_new(&f->arena, TN_f32, 2, (int64_t[]){4, 3});
    for (int i = 0; i < 12; i++) tn_array_set(&w, i, tn_cell_of(TN_f32, i - 6));
    tn_dim n = tn_b_bind_size(&b, first, "rows", rows);
    tn_dim k = tn_b_bind_size(&b, second, "rows", n);
    tn_value p = tn_b_prefix(&b, x, 0, n), q = tn_b_prefix(&b, p, 0, k);
    tn_value y = tn_b_matmul(&b, p, tn_b_constant(&b, &w), TN_f32);
    tn_graph_add_output(f->g, y, "y");
    tn_graph_add_output(f->g, tn_b_sum(&b, y, (int[]){0}, 1, false), "sum");
    tn_graph_add_output(f->g, tn_b_matmul(&b, q, tn_b_swap(&b, p, 0, 1), TN_f32), "table");
    tn_shape count = {.rank = 1, .dim = {tn_dim_mul(&f->dims, n, 2)}};
    tn_graph_add_output(f->g, tn_b_iota(&b, TN_i64, &count, 0), "count");
    tn_value rest =
        tn_b_pad_axis(&b, q, 0, 0, tn_dim_sub(&f->dims, n, k), tn_b_scalar(&b, TN_f32, 1));
    tn_graph_add_output(f->g, tn_b_add(&b, rest, p), "rest");
    tn_graph_add_output(f->g, tn_b_dim_value(&b, k, TN_f32), "k");
    tn_value square = tn_b_sum(&b, tn_b_mul(&b, p, p), (int[]){0, 1}, 2, false);
    tn_b_gradient(&b, square, TN_NO_VALUE, &x, 1, &grad);
    tn_graph_add_output(f->g, grad, "grad");
    check(tn_b_finish(&b), &f->err);
    check(tn_graph_verify(f->g, NULL, &f->err), &f->err);
}

typedef struct feed {
    float x[MOST_ROWS * 4];
    int64_t n, k;
    tn_buffer in[INPUTS];
} feed;

static void feed_set(feed *f, int64_t rows, int64_t n, int64_t k) {
    for (int64_t i = 0; i < rows * 4; i++) f->x[i] = (float)((i * 7) % 11) - 5;
    f->n = n;
    f->k = k;
    f->in[0] = (tn_buffer){.dtype = TN_f32, .rank = 2, .dim = {rows, 4}, .data = f->x};
    f->in[1] = (tn_buffer){.dtype = TN_i64, .data = &f->n};
    f->in[2] = (tn_buffer){.dtype = TN_i64, .data = &f->k};
}

static void reference(const fixture *f, const feed *in, tn_arena *arena, tn_array *out) {
    tn_error err = TN_ERROR_INIT;
    tn_array arrays[INPUTS];
    int64_t *bindings = TN_NEW_N(arena, int64_t, f->dims.symbols.len);
    for (int i = 0; i < INPUTS; i++) {
        arrays[i] = (tn_array){.dtype = in->in[i].dtype, .rank = in->in[i].rank};
        arrays[i].data = in->in[i].data;
        memcpy(arrays[i].dim, in->in[i].dim, sizeof arrays[i].dim);
    }
    bindings[tn_dims_symbol((tn_dims *)(uintptr_t)&f->dims, "N")] = in->in[0].dim[0];
    check(tn_eval_graph(f->g, arrays, bindings, out, arena, &err), &err);
}

static void expect(const fixture *f, const feed *in, const tn_buffer *out) {
    tn_array expected[OUTPUTS];
    tn_arena arena;
    tn_arena_init(&arena, tn_allocator_system());
    reference(f, in, &arena, expected);
    for (int i = 0; i < OUTPUTS; i++) {
        assert_int_equal(out[i].rank, expected[i].rank);
        assert_memory_equal(out[i].dim, expected[i].dim, sizeof(int64_t) * (size_t)out[i].rank);
        assert_memory_equal(out[i].data, expected[i].data, tn_array_bytes(&expected[i]));
    }
    tn_arena_deinit(&arena);
}

static void run(const fixture *f, tn_session *s, int64_t rows, int64_t n, int64_t k) {
    tn_error err = TN_ERROR_INIT;
    feed in;
    tn_buffer out[OUTPUTS] = {0};
    feed_set(&in, rows, n, k);
    check(tn_session_run(s, in.in, INPUTS, out, OUTPUTS, &err), &err);
    expect(f, &in, out);
}

static void refused(tn_session *s, int64_t n, int64_t k, const char *text) {
    tn_error err = TN_ERROR_INIT;
    feed in;
    tn_buffer out[OUTPUTS] = {0};
    feed_set(&in, 5, n, k);
    assert_int_equal(tn_session_run(s, in.in, INPUTS, out, OUTPUTS, &err), TN_RUNTIME);
    if (!strstr(err.message, text)) print_error("%s\n", err.message);
    assert_non_null(strstr(err.message, text));
}

/* Sizes grow and shrink from run to run of one session; a run that fails leaves nothing behind. */
static void run_all(const fixture *f, tn_session *s) {
    static const int64_t sizes[][3] = {{5, 5, 5}, {5, 2, 1}, {5, 0, 0},    {5, 4, 0},
                                       {5, 5, 2}, {1, 1, 1}, {70, 70, 33}, {70, 3, 3}};
    for (size_t i = 0; i < TN_COUNT(sizes); i++) {
        run(f, s, sizes[i][0], sizes[i][1], sizes[i][2]);
        if (i % 2) continue;
        refused(s, 6, 0, "size rows is 6, but must be in [0, 5]");
        refused(s, -1, 0, "size rows is -1");
        refused(s, 3, 4, "size rows_2 is 4, but must be in [0, 3]");
    }
}

static tn_session *open_session(tn_model *m) {
    tn_error err = TN_ERROR_INIT;
    tn_session *s;
    check(tn_session_create(m, &s, &err), &err);
    return s;
}

static void run_modes(tn_compile_mode mode, bool no_opt) {
    fixture f;
    tn_model *m, *again;
    char path[300];
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    make_graph(&f);
    o.mode = mode;
    o.no_opt = no_opt;
    o.threads = 2;
    check(tn_model_from_graph(f.g, &o, &m, &f.err), &f.err);
    tn_session *s = open_session(m);
    run_all(&f, s);
    tn_session_release(s);
    snprintf(path, sizeof path, "%s/p.tn", folder);
    check(tn_model_save(m, path, &f.err), &f.err);
    check(tn_model_open(path, &o, &again, &f.err), &f.err);
    s = open_session(again);
    run_all(&f, s);
    tn_session_release(s);
    tn_model_release(again);
    tn_model_release(m);
    tn_arena_deinit(&f.arena);
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

/* Memory that the caller gives has room for the greatest size; the shape is the run's. */
static void test_outputs__have_a_bound_and_a_length(void **state) {
    (void)state;
    fixture f;
    tn_model *m;
    feed in;
    float y[5 * 3];
    tn_port_info info;
    tn_buffer out[OUTPUTS] = {{.data = y, .size = sizeof y - 1}};
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    o.mode = TN_COMPILE_INTERPRET;
    make_graph(&f);
    check(tn_model_from_graph(f.g, &o, &m, &f.err), &f.err);
    assert_int_equal(tn_model_output(m, 0, &info), TN_OK);
    assert_int_equal(info.dim[0], -1);
    tn_session *s = open_session(m);
    feed_set(&in, 5, 2, 1);
    assert_int_equal(tn_session_run(s, in.in, INPUTS, out, OUTPUTS, &f.err), TN_INVALID);
    assert_non_null(strstr(f.err.message, "output 'y' takes 60 bytes"));
    out[0].size = sizeof y;
    check(tn_session_run(s, in.in, INPUTS, out, OUTPUTS, &f.err), &f.err);
    assert_ptr_equal(out[0].data, y);
    assert_int_equal(out[0].dim[0], 2);
    out[0].size = 0;
    tn_session_release(s);
    tn_model_release(m);
    tn_arena_deinit(&f.arena);
}

static void expect_fault(tn_graph *g, const char *text) {
    tn_error err = TN_ERROR_INIT;
    assert_int_equal(tn_graph_verify(g, NULL, &err), TN_INVALID);
    if (!strstr(err.message, text)) print_error("%s\n", err.message);
    assert_non_null(strstr(err.message, text));
}

static void test_graph__binds_sizes_before_their_use(void **state) {
    (void)state;
    fixture f = {.err = TN_ERROR_INIT};
    tn_arena_init(&f.arena, tn_allocator_system());
    tn_dims_init(&f.dims, &f.arena);
    f.g = tn_graph_new(&f.arena, &f.dims);
    tn_builder b = tn_builder_of(f.g, &f.err);
    tn_shape scalar = {0}, row = {.rank = 1, .dim = {tn_dim_of_symbol(&f.dims, "n")}};
    tn_value n = tn_b_input(&b, "n", TN_i64, &scalar);
    tn_value early = tn_b_iota(&b, TN_i64, &row, 0);
    tn_attrs_bind_size a = {.size = row.dim[0], .bound = 8};
    tn_b_node(&b, TN_OP_bind_size, &n, 1, &a);
    tn_graph_add_output(f.g, early, "y");
    check(tn_b_finish(&b), &f.err);
    expect_fault(f.g, "size n is used before it is bound");
    f.g = tn_graph_new(&f.arena, &f.dims);
    b = tn_builder_of(f.g, &f.err);
    n = tn_b_input(&b, "n", TN_i64, &scalar);
    for (int i = 0; i < 2; i++) tn_b_node(&b, TN_OP_bind_size, &n, 1, &a);
    tn_graph_add_output(f.g, n, "y");
    check(tn_b_finish(&b), &f.err);
    expect_fault(f.g, "size n is bound twice");
    tn_graph *sub = tn_graph_new_sub(f.g);
    b = tn_builder_of(sub, &f.err);
    n = tn_b_input(&b, "n", TN_i64, &scalar);
    tn_b_bind_size(&b, n, "m", 4);
    assert_int_equal(tn_b_finish(&b), TN_UNSUPPORTED);
    tn_arena_deinit(&f.arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run__compiled),
        cmocka_unit_test(test_run__without_optimizations),
        cmocka_unit_test(test_run__interpreted),
        cmocka_unit_test(test_outputs__have_a_bound_and_a_length),
        cmocka_unit_test(test_graph__binds_sizes_before_their_use),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
