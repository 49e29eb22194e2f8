/* Lazy tensors: values, types, errors, life, loops, threads. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lazy_test.h"

/* ---- helpers -------------------------------------------------------------------------------- */

static tn_context *context_with(tn_compile_mode mode, int programs) {
    tn_context_options o = TN_CONTEXT_OPTIONS_INIT;
    tn_context *c;
    tn_error err = TN_ERROR_INIT;
    o.compile.threads = 1;
    o.compile.mode = mode;
    o.programs = programs;
    o.seed = 7;
    if (tn_context_create(&o, &c, &err) != TN_OK) fail_msg("%s", err.message);
    return c;
}

/* Values and types are the same with the interpreter, and nothing has to be compiled. */
static tn_context *context_of(int programs) {
    return context_with(TN_COMPILE_INTERPRET, programs);
}

static void check_f32(tn_tensor *x, const float *want, int count) {
    float *got = malloc((size_t)count * sizeof *got);
    read_into(x, got, (size_t)count * sizeof *got);
    for (int i = 0; i < count; i++)
        if (!(fabsf(got[i] - want[i]) <= 1e-6f * (1 + fabsf(want[i]))))
            fail_msg("element %d is %g, expected %g", i, (double)got[i], (double)want[i]);
    free(got);
}

/* ---- values --------------------------------------------------------------------------------- */

static void test_tensor__broadcasts_and_computes(void **state) {
    (void)state;
    tn_context *c = context_with(TN_COMPILE_AUTO, 0);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_tensor_from(c, TN_f32, TN_SHAPE(2, 3), (float[]){1, 2, 3, 4, 5, 6});
    tn_tensor *row = vector(c, 3, (float[]){10, 20, 30});
    tn_tensor *y = tn_sum(tn_mul(tn_add(x, row), x), TN_AXES(-1), false);
    assert_int_equal(tn_tensor_rank(y), 1);
    check_f32(y, (float[]){11 + 44 + 99, 56 + 125 + 216}, 2);
    assert_int_equal(statistics(c).kernels, 1);
    check_f32(tn_matmul(x, tn_permute(x, TN_AXES(1, 0))), (float[]){14, 32, 32, 77}, 4);
    tn_scope_close(scope);
    assert_int_equal(statistics(c).tensors, 0);
    assert_int_equal(statistics(c).bytes, 0);
    tn_context_release(c);
}

static void test_tensor__slices_as_python_does(void **state) {
    (void)state;
    tn_context *c = context_of(0);
    tn_tensor *x = tn_arange(c, TN_i32, 0, 7, 1);
    /* start, stop, step; the elements of list(range(7))[start:stop:step], ended by -1 */
    static const struct {
        int64_t start, stop, step;
        int want[8];
    } rows[] = {
        {1, 5, 2, {1, 3, -1}},
        {0, TN_END, 3, {0, 3, 6, -1}},
        {-3, -1, 1, {4, 5, -1}},
        {-100, 100, 5, {0, 5, -1}},
        {5, 2, 1, {-1}},
        {-1, TN_END, -1, {6, 5, 4, 3, 2, 1, 0, -1}},
        {5, 1, -2, {5, 3, -1}},
        {100, -100, -4, {6, 2, -1}},
        {2, TN_END, INT64_MAX, {2, -1}},
        {6, 0, INT64_MIN, {6, -1}},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        tn_tensor *y = tn_slice(x, 0, rows[r].start, rows[r].stop, rows[r].step);
        int32_t got[8] = {0};
        int count = 0;
        while (rows[r].want[count] >= 0) count++;
        assert_int_equal(tn_tensor_dim(y, 0), count);
        read_into(y, got, (size_t)count * 4);
        for (int i = 0; i < count; i++) assert_int_equal(got[i], rows[r].want[i]);
        tn_release(y);
    }
    tn_release(x);
    tn_context_release(c);
}

static void test_tensor__promotes_as_numpy_does(void **state) {
    (void)state;
    static const struct {
        tn_dtype x, y, want;
    } rows[] = {
        {TN_i32, TN_f32, TN_f64}, {TN_i8, TN_f32, TN_f32},     {TN_i16, TN_f16, TN_f32},
        {TN_i8, TN_f16, TN_f16},  {TN_u8, TN_i8, TN_i16},      {TN_u32, TN_i32, TN_i64},
        {TN_u64, TN_i64, TN_f64}, {TN_u64, TN_i8, TN_f64},     {TN_u16, TN_i64, TN_i64},
        {TN_bool, TN_u8, TN_u8},  {TN_bool, TN_bool, TN_bool}, {TN_f16, TN_bf16, TN_f32},
        {TN_f16, TN_f32, TN_f32}, {TN_i64, TN_f16, TN_f64},    {TN_u16, TN_u8, TN_u16},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        assert_int_equal(tn_promote(rows[r].x, rows[r].y), rows[r].want);
        assert_int_equal(tn_promote(rows[r].y, rows[r].x), rows[r].want);
    }
    tn_context *c = context_of(0);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *i = tn_tensor_from(c, TN_i32, TN_SHAPE(3), (int32_t[]){7, -7, 2});
    tn_tensor *n = tn_tensor_from(c, TN_i8, TN_SHAPE(3), (int8_t[]){100, 100, 100});
    assert_int_equal(tn_tensor_dtype(tn_div(i, i)), TN_f64);
    assert_int_equal(tn_tensor_dtype(tn_sum(n, TN_ALL_AXES, false)), TN_i64);
    assert_int_equal((int)item(tn_sum(n, TN_ALL_AXES, false)), 300);
    assert_int_equal(tn_tensor_dtype(tn_mean(n, TN_ALL_AXES, false)), TN_f64);
    assert_int_equal(tn_tensor_dtype(tn_exp(n)), TN_f16);
    assert_int_equal(tn_tensor_dtype(tn_add_scalar(i, 2)), TN_i32);
    assert_int_equal(tn_tensor_dtype(tn_add_scalar(i, 2.5)), TN_f64);
    int32_t got[3];
    tn_tensor *three = tn_tensor_from(c, TN_i32, TN_SHAPE(1), (int32_t[]){3});
    read_into(tn_floor_div(i, three), got, sizeof got);
    assert_int_equal(got[0], 2);
    assert_int_equal(got[1], -3);
    assert_int_equal(got[2], 0);
    read_into(tn_mod(i, three), got, sizeof got);
    assert_int_equal(got[1], 2);
    tn_scope_close(scope);
    tn_context_release(c);
}

static void test_tensor__indexes_and_orders(void **state) {
    (void)state;
    tn_context *c = context_of(0);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_tensor_from(c, TN_f32, TN_SHAPE(2, 3), (float[]){1, 5, 3, 4, 2, 6});
    tn_tensor *at = tn_tensor_from(c, TN_i64, TN_SHAPE(2), (int64_t[]){-1, 0});
    tn_tensor *top[2];
    check_f32(tn_take(x, at, 1), (float[]){3, 1, 6, 4}, 4);
    check_f32(tn_sort(x, 1, true), (float[]){5, 3, 1, 6, 4, 2}, 6);
    tn_top_k(x, 2, -1, top);
    check_f32(top[0], (float[]){5, 3, 6, 4}, 4);
    int64_t where[4];
    read_into(top[1], where, sizeof where);
    assert_int_equal(where[0], 1);
    assert_int_equal(where[3], 0);
    check_f32(tn_concat(((tn_tensor *[]){x, tn_flip(x, 0)}), 2, 0),
              (float[]){1, 5, 3, 4, 2, 6, 4, 2, 6, 1, 5, 3}, 12);
    check_f32(tn_stack(((tn_tensor *[]){x, x}), 2, 2),
              (float[]){1, 1, 5, 5, 3, 3, 4, 4, 2, 2, 6, 6}, 12);
    check_f32(tn_cumsum(x, 1), (float[]){1, 6, 9, 4, 6, 12}, 6);
    check_f32(tn_pad(x, 1, 1, -2, 9), (float[]){9, 1, 9, 4}, 4);
    check_f32(tn_one_hot(at, 2, TN_f32), (float[]){0, 1, 1, 0}, 4);
    check_f32(tn_einsum("ij,kj->ik", ((tn_tensor *[]){x, x}), 2), (float[]){35, 32, 32, 56}, 4);
    check_f32(tn_var(x, TN_AXES(1), 1, false), (float[]){4, 4}, 2);
    tn_scope_close(scope);
    tn_context_release(c);
}

static void test_tensor__random_draws_follow_the_seed(void **state) {
    (void)state;
    float first[100], second[100], again[100];
    tn_context *c = context_of(0);
    for (int round = 0; round < 3; round++) {
        if (round == 2) { /* a new context draws the same numbers again */
            tn_context_release(c);
            c = context_of(0);
        }
        tn_tensor *x = tn_random_normal(c, TN_SHAPE(10, 10));
        read_into(x, round == 0 ? first : round == 1 ? second : again, sizeof first);
        tn_release(x);
        if (round == 1) assert_int_equal(statistics(c).compiles, 1);
    }
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, second, sizeof first);
    tn_context_release(c);
}

/* ---- errors --------------------------------------------------------------------------------- */

static void test_tensor__keeps_the_first_error_with_its_line(void **state) {
    (void)state;
    tn_context *c = context_of(0);
    tn_scope *scope = tn_scope_open(c);
    tn_error err = TN_ERROR_INIT;
    float out[6];
    char text[2048];
    tn_tensor *x = vector(c, 3, (float[]){1, 2, 3});
    tn_tensor *bad = tn_add(x, tn_reshape(x, TN_SHAPE(2, 2)));
    int line = __LINE__ - 1;
    tn_tensor *worse = tn_matmul(bad, bad);
    assert_false(tn_tensor_ok(worse));
    assert_int_equal(tn_read(worse, out, sizeof out, &err), TN_INVALID);
    tn_error_format(&err, text, sizeof text);
    char place[64];
    snprintf(place, sizeof place, "test_tensor.c:%d", line);
    assert_non_null(strstr(text, place));
    assert_non_null(strstr(text, "reshape"));
    assert_int_equal(tn_context_error(c, NULL), TN_INVALID);
    check_f32(x, (float[]){1, 2, 3}, 3); /* what did not fail can be read */
    tn_context_clear_error(c);
    assert_int_equal(tn_context_error(c, NULL), TN_OK);
    assert_int_equal(tn_read(worse, out, sizeof out, &err), TN_POISONED);
    assert_null(tn_add(NULL, NULL));
    assert_int_equal(tn_read(NULL, out, sizeof out, &err), TN_INVALID);
    assert_int_equal(tn_read(x, out, sizeof out, &err), TN_INVALID); /* not x's size */
    tn_scope_close(scope);
    tn_context_release(c);
}

static void test_tensor__tells_of_an_index_out_of_range(void **state) {
    (void)state;
    tn_context *c = context_of(0);
    tn_scope *scope = tn_scope_open(c);
    tn_error err = TN_ERROR_INIT;
    float out[1];
    tn_tensor *x = vector(c, 3, (float[]){1, 2, 3});
    tn_tensor *at = tn_tensor_from(c, TN_i64, TN_SHAPE(1), (int64_t[]){3});
    tn_tensor *y = tn_take(x, at, 0);
    assert_int_equal(tn_read(y, out, sizeof out, &err), TN_RUNTIME);
    assert_non_null(strstr(err.message, "test_tensor.c"));
    assert_false(tn_tensor_ok(y));
    tn_tensor *z = tn_neg(y);
    assert_true(tn_eval(&z, 1, NULL) != TN_OK);
    tn_context_clear_error(c);
    check_f32(tn_neg(x), (float[]){-1, -2, -3}, 3);
    tn_scope_close(scope);
    tn_context_release(c);
}

static void test_tensor__refuses_two_contexts(void **state) {
    (void)state;
    tn_context *c = context_of(0), *d = context_of(0);
    tn_tensor *x = vector(c, 1, (float[]){1}), *y = vector(d, 1, (float[]){1});
    tn_tensor *z = tn_add(x, y);
    assert_false(tn_tensor_ok(z));
    tn_release(x);
    tn_release(y);
    tn_release(z);
    tn_context_release(c);
    tn_context_release(d);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void test_tensor__outlives_its_context(void **state) {
    (void)state;
    tn_context *c = context_of(0);
    tn_error err = TN_ERROR_INIT;
    tn_tensor *x = vector(c, 2, (float[]){1, 2});
    tn_tensor *y = tn_neg(x), *pending = tn_exp(x);
    float out[2];
    read_into(y, out, sizeof out);
    tn_context_release(c);
    read_into(y, out, sizeof out);
    assert_true(out[1] == -2);
    tn_future *done;
    must(tn_eval_async(&y, 1, &done, &err), &err); /* there is nothing to do */
    assert_true(tn_future_done(done));
    tn_future_release(done);
    assert_int_equal(tn_eval(&pending, 1, &err), TN_INVALID);
    tn_tensor *z = tn_add(x, y);
    assert_false(tn_tensor_ok(z));
    tn_release(z);
    tn_release(y);
    tn_release(x);
    tn_release(pending);
}

static void test_scope__releases_what_is_not_kept(void **state) {
    (void)state;
    tn_context *c = context_of(0);
    tn_tensor *kept, *retained;
    tn_scope *outer = tn_scope_open(c);
    tn_tensor *x = vector(c, 2, (float[]){1, 2});
    tn_scope *inner = tn_scope_open(c);
    kept = tn_keep(tn_neg(x));
    retained = tn_retain(tn_add(x, kept));
    tn_release(tn_exp(x)); /* earlier than the scope would */
    tn_scope_close(inner);
    assert_int_equal(statistics(c).tensors, 3);
    tn_scope_close(outer);
    assert_int_equal(statistics(c).tensors, 2);
    check_f32(kept, (float[]){-1, -2}, 2);
    check_f32(retained, (float[]){0, 0}, 2);
    tn_release(kept);
    tn_release(retained);
    tn_context_release(c);
}

static void test_assign__leaves_what_was_built_before(void **state) {
    (void)state;
    tn_context *c = context_of(0);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = vector(c, 2, (float[]){1, 2});
    tn_tensor *before = tn_mul_scalar(x, 10);
    tn_assign(x, tn_add_scalar(x, 1));
    tn_tensor *after = tn_mul_scalar(x, 10);
    check_f32(after, (float[]){20, 30}, 2);
    check_f32(before, (float[]){10, 20}, 2);
    check_f32(x, (float[]){2, 3}, 2);
    tn_assign(x, vector(c, 3, (float[]){1, 2, 3}));
    assert_int_equal(tn_context_error(c, NULL), TN_INVALID);
    tn_scope_close(scope);
    tn_context_release(c);
}

/* ---- gradients ------------------------------------------------------------------------------ */

static void test_grad__of_higher_order(void **state) {
    (void)state;
    tn_context *c = context_of(0);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = vector(c, 3, (float[]){1, 2, -3}), *g1, *g2;
    tn_tensor *y = tn_sum(tn_pow_scalar(x, 3), TN_ALL_AXES, false);
    tn_grad(y, NULL, &x, 1, &g1);
    tn_grad(tn_sum(g1, TN_ALL_AXES, false), NULL, &x, 1, &g2);
    check_f32(g2, (float[]){6, 12, -18}, 3);
    check_f32(g1, (float[]){3, 12, 27}, 3);
    tn_scope_close(scope);
    tn_context_release(c);
}

static void test_grad__stops_where_it_is_told(void **state) {
    (void)state;
    tn_context *c = context_of(0);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_variable(vector(c, 2, (float[]){3, 4})), *g;
    tn_tensor *y = tn_mul(x, tn_stop_gradient(x));
    tn_grad(y, NULL, &x, 1, &g);
    check_f32(g, (float[]){3, 4}, 2);
    tn_tensor *cotangent = vector(c, 2, (float[]){10, 100});
    tn_grad(tn_mul(x, x), cotangent, &x, 1, &g);
    check_f32(g, (float[]){60, 800}, 2);
    tn_scope_close(scope);
    tn_context_release(c);
}

static void test_grad__notices_a_way_that_was_cut(void **state) {
    (void)state;
    tn_context *c = context_of(0);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *w = tn_variable(vector(c, 2, (float[]){3, 4})), *g;
    tn_tensor *h = tn_mul(w, w);
    check_f32(h, (float[]){9, 16}, 2); /* evaluates it */
    tn_grad(tn_add(h, w), NULL, &w, 1, &g);
    assert_false(tn_tensor_ok(g));
    tn_error err = TN_ERROR_INIT;
    assert_int_equal(tn_context_error(c, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "evaluated before"));
    tn_context_clear_error(c);
    tn_grad(tn_add(tn_stop_gradient(h), w), NULL, &w, 1, &g);
    check_f32(g, (float[]){1, 1}, 2);
    tn_scope_close(scope);
    tn_context_release(c);
}

/* ---- loops ---------------------------------------------------------------------------------- */

/* y = relu(x·w1 + b1)·w2 on random data, gradient descent with momentum; the scope of a step is
 * closed before the next. Returns the last loss. */
typedef struct mlp {
    tn_context *c;
    tn_tensor *x, *t, *p[3], *m[3], *rate;
} mlp;

static void mlp_init(mlp *m, tn_context *c) {
    static const int64_t dim[3][2] = {{8, 16}, {1, 16}, {16, 4}};
    m->c = c;
    m->x = tn_random_normal(c, TN_SHAPE(32, 8));
    m->t = tn_random_normal(c, TN_SHAPE(32, 4));
    m->rate = tn_tensor_scalar(c, TN_f32, 0.05);
    for (int i = 0; i < 3; i++) {
        m->p[i] = tn_variable(tn_random_normal(c, 2, dim[i]));
        m->m[i] = tn_tensor_from(c, TN_f32, 2, dim[i], NULL);
    }
}

static tn_tensor *mlp_step(mlp *m) {
    tn_tensor *h = tn_relu(tn_add(tn_matmul(m->x, m->p[0]), m->p[1]));
    tn_tensor *loss = tn_mean(tn_square(tn_sub(tn_matmul(h, m->p[2]), m->t)), TN_ALL_AXES, false);
    tn_tensor *g[3];
    tn_grad(loss, NULL, m->p, 3, g);
    for (int i = 0; i < 3; i++) {
        tn_assign(m->m[i], tn_add(tn_mul_scalar(m->m[i], 0.9), g[i]));
        tn_assign(m->p[i], tn_sub(m->p[i], tn_mul(m->m[i], m->rate)));
    }
    return loss;
}

static void mlp_deinit(mlp *m) {
    for (int i = 0; i < 3; i++) {
        tn_release(m->p[i]);
        tn_release(m->m[i]);
    }
    tn_release(m->x);
    tn_release(m->t);
    tn_release(m->rate);
}

static void test_loop__neither_grows_nor_recompiles(void **state) {
    (void)state;
    tn_context *c = context_with(TN_COMPILE_AUTO, 0);
    tn_context_stats early = {0}, late;
    double first = 0, last = 0;
    mlp m;
    mlp_init(&m, c);
    for (int step = 0; step < 10000; step++) {
        tn_scope *scope = tn_scope_open(c);
        last = item(mlp_step(&m));
        if (step == 0) first = last;
        tn_scope_close(scope);
        if (step == 10) early = statistics(c);
    }
    late = statistics(c);
    assert_true(last < 0.5 * first);
    assert_int_equal(late.compiles, early.compiles);
    assert_int_equal(late.bytes, early.bytes);
    assert_int_equal(late.peak_bytes, early.peak_bytes);
    assert_int_equal(late.tensors, early.tensors);
    assert_int_equal(late.pending, early.pending);
    assert_int_equal(late.runs - early.runs, 10000 - 11); /* a step is one program */
    mlp_deinit(&m);
    tn_context_release(c);
}

static void test_loop__may_discard_what_it_records(void **state) {
    (void)state;
    tn_context *c = context_of(0);
    tn_tensor *x = vector(c, 2, (float[]){1, 2}), *kept = tn_neg(x);
    for (int i = 0; i < 20000; i++) tn_release(tn_add(kept, x));
    assert_true(statistics(c).pending < 4096);
    check_f32(kept, (float[]){-1, -2}, 2);
    tn_release(kept);
    tn_release(x);
    tn_context_release(c);
}

static void test_programs__are_limited(void **state) {
    (void)state;
    tn_context *c = context_of(2);
    for (int round = 0; round < 2; round++)
        for (int n = 1; n <= 3; n++) {
            tn_tensor *x = tn_tensor_from(c, TN_f32, TN_SHAPE(n), NULL), *y = tn_exp(x);
            float out[3];
            read_into(y, out, (size_t)n * 4);
            tn_release(x);
            tn_release(y);
        }
    assert_int_equal(statistics(c).compiles, 6);
    tn_context_release(c);
}

/* ---- threads -------------------------------------------------------------------------------- */

static void test_async__goes_on_while_it_runs(void **state) {
    (void)state;
    tn_context *c = context_of(0);
    tn_tensor *x = vector(c, 2, (float[]){1, 2});
    tn_error err = TN_ERROR_INIT;
    for (int i = 0; i < 100; i++) {
        tn_tensor *y = tn_add_scalar(x, 1);
        tn_future *f;
        must(tn_eval_async(&y, 1, &f, &err), &err);
        tn_release(x);
        x = y;
        if (i % 3 == 0) must(tn_future_wait(f, &err), &err);
        tn_future_release(f);
    }
    check_f32(x, (float[]){101, 102}, 2);
    tn_release(x);
    tn_context_release(c);
}

typedef struct worker {
    pthread_t thread;
    tn_context *c;
    float result[12];
} worker;

static void *train(void *argument) {
    worker *w = argument;
    mlp m;
    w->c = w->c ? w->c : context_of(0);
    static const float x[32 * 8] = {0.5f, -1, 2}, t[32 * 4] = {1, -2};
    mlp_init(&m, w->c);
    tn_release(m.x);
    tn_release(m.t);
    m.x = tn_tensor_from(w->c, TN_f32, TN_SHAPE(32, 8), x);
    m.t = tn_tensor_from(w->c, TN_f32, TN_SHAPE(32, 4), t);
    for (int i = 0; i < 3; i++) {
        tn_release(m.p[i]);
        m.p[i] = tn_variable(tn_full(w->c, TN_f32,
                                     TN_SHAPE(i == 0   ? 8
                                              : i == 1 ? 1
                                                       : 16,
                                              i == 2 ? 4 : 16),
                                     0.1));
    }
    for (int step = 0; step < 300; step++) {
        tn_scope *scope = tn_scope_open(w->c);
        tn_tensor *loss = mlp_step(&m);
        if (step % 2) {
            tn_future *f = NULL;
            if (tn_eval_async(&loss, 1, &f, NULL) != TN_OK) return NULL;
            tn_future_release(f);
        } else if (tn_eval(&loss, 1, NULL) != TN_OK) {
            return NULL;
        }
        tn_scope_close(scope);
    }
    tn_tensor *row = tn_slice(m.p[2], 0, 0, 3, 1);
    tn_status status = tn_read(row, w->result, sizeof w->result, NULL);
    tn_release(row);
    mlp_deinit(&m);
    return status == TN_OK ? w : NULL;
}

static void test_threads__share_a_context(void **state) {
    (void)state;
    worker w[4] = {0};
    tn_context *c = context_with(TN_COMPILE_AUTO, 0);
    for (int i = 0; i < 4; i++) {
        w[i].c = c;
        assert_int_equal(pthread_create(&w[i].thread, NULL, train, &w[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *ok;
        pthread_join(w[i].thread, &ok);
        assert_non_null(ok);
        assert_memory_equal(w[i].result, w[0].result, sizeof w[0].result);
    }
    assert_int_equal(statistics(c).tensors, 0);
    tn_context_release(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensor__broadcasts_and_computes),
        cmocka_unit_test(test_tensor__slices_as_python_does),
        cmocka_unit_test(test_tensor__promotes_as_numpy_does),
        cmocka_unit_test(test_tensor__indexes_and_orders),
        cmocka_unit_test(test_tensor__random_draws_follow_the_seed),
        cmocka_unit_test(test_tensor__keeps_the_first_error_with_its_line),
        cmocka_unit_test(test_tensor__tells_of_an_index_out_of_range),
        cmocka_unit_test(test_tensor__refuses_two_contexts),
        cmocka_unit_test(test_tensor__outlives_its_context),
        cmocka_unit_test(test_scope__releases_what_is_not_kept),
        cmocka_unit_test(test_assign__leaves_what_was_built_before),
        cmocka_unit_test(test_grad__of_higher_order),
        cmocka_unit_test(test_grad__stops_where_it_is_told),
        cmocka_unit_test(test_grad__notices_a_way_that_was_cut),
        cmocka_unit_test(test_loop__neither_grows_nor_recompiles),
        cmocka_unit_test(test_loop__may_discard_what_it_records),
        cmocka_unit_test(test_programs__are_limited),
        cmocka_unit_test(test_async__goes_on_while_it_runs),
        cmocka_unit_test(test_threads__share_a_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
