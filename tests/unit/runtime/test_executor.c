#include "unit/program_lab.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

/* y = (x + w) * x with w prepared as 2 * v */
typedef struct sample {
    lab l;
    float v[100];
    uint8_t *prepared;
} sample;

static void make_sample(sample *s) {
    lab *l = &s->l;
    lab_init(l);
    for (int i = 0; i < 100; i++) s->v[i] = (float)i;
    uint32_t v = lab_weight(l, s->v, 100), w = lab_prepared(l, 100);
    uint32_t x = lab_input(l, "x", TN_f32, 100), y = lab_output(l, "y", 100);
    uint32_t add = lab_kernel(l, "add", TN_S_add), mul = lab_kernel(l, "mul", TN_S_mul);
    lab_step(l, 1, add, v, v, w, 100);
    uint32_t t = lab_temp(l, TN_f32, 100, 1, 2);
    lab_step(l, 0, add, x, w, t, 100);
    lab_step(l, 0, mul, t, x, y, 100);
    tn_error err = TN_ERROR_INIT;
    lab_assert_ok(tn_program_verify(&l->p, &err), &err);
    s->prepared = aligned_alloc(64, 1024);
}

static void free_sample(sample *s) {
    free(s->prepared);
    lab_deinit(&s->l);
}

static void prepare(lab_run *r) {
    tn_error err = TN_ERROR_INIT;
    lab_assert_ok(tn_instance_bind(r->i, NULL, &err), &err);
    lab_assert_ok(tn_instance_run(r->i, 1, &err), &err);
}

static void run_sample(lab_run *r, const float *x) {
    tn_error err = TN_ERROR_INIT;
    int64_t symbols[] = {1};
    lab_assert_ok(tn_instance_bind(r->i, symbols, &err), &err);
    tn_instance_set_input(r->i, 0, x);
    lab_assert_ok(tn_instance_run(r->i, 0, &err), &err);
}

static void test_run__prepares_and_computes(void **state) {
    (void)state;
    sample s;
    lab_run r;
    float x[100];
    make_sample(&s);
    lab_start(&r, &s.l.p, s.prepared, NULL);
    prepare(&r);
    for (int i = 0; i < 100; i++) x[i] = (float)(i % 7);
    run_sample(&r, x);
    const float *y = tn_instance_output(r.i, 0);
    for (int i = 0; i < 100; i++) assert_float_equal(y[i], (x[i] + 2 * s.v[i]) * x[i], 0);
    lab_stop(&r);
    free_sample(&s);
}

static void test_run__writes_to_memory_of_the_caller(void **state) {
    (void)state;
    sample s;
    lab_run r;
    float x[100] = {1}, y[100];
    make_sample(&s);
    lab_start(&r, &s.l.p, s.prepared, NULL);
    prepare(&r);
    tn_error err = TN_ERROR_INIT;
    int64_t symbols[] = {1};
    lab_assert_ok(tn_instance_bind(r.i, symbols, &err), &err);
    tn_instance_set_input(r.i, 0, x);
    tn_instance_set_output(r.i, 0, y);
    lab_assert_ok(tn_instance_run(r.i, 0, &err), &err);
    assert_ptr_equal(tn_instance_output(r.i, 0), y);
    assert_float_equal(y[0], 1, 0);
    lab_stop(&r);
    free_sample(&s);
}

/* y = x + x in the memory of x: the caller's choice, run by run. */
static void test_run__puts_outputs_in_place_of_inputs(void **state) {
    (void)state;
    lab l;
    lab_run r;
    tn_error err = TN_ERROR_INIT;
    int64_t symbols[] = {1};
    float a[8], b[8];
    lab_init(&l);
    uint32_t x = lab_input(&l, "x", TN_f32, 8), y = lab_output(&l, "y", 8);
    lab_step(&l, 0, lab_kernel(&l, "add", TN_S_add), x, x, y, 8);
    l.p.buffers.data[y].in_place_of = x;
    lab_start(&r, &l.p, NULL, NULL);
    lab_assert_ok(tn_instance_bind(r.i, symbols, &err), &err);
    for (int i = 0; i < 8; i++) a[i] = (float)i;
    tn_instance_set_input(r.i, 0, a);
    for (int run = 0; run < 5; run++) {
        float *to[] = {NULL, b, b, a, a};
        tn_instance_set_output(r.i, 0, to[run]);
        lab_assert_ok(tn_instance_run(r.i, 0, &err), &err);
        const float *got = tn_instance_output(r.i, 0);
        if (to[run]) assert_ptr_equal(got, to[run]);
        for (int i = 0; i < 8; i++) {
            assert_float_equal(got[i], (run == 4 ? 4 : 2) * (float)i, 0);
            if (run < 3) assert_float_equal(a[i], (float)i, 0);
        }
    }
    lab_stop(&r);
    lab_deinit(&l);
}

/* A kernel as a function: what a compiled one looks like. */
static void add_function(void *const *buffers, const int64_t *scalars, const tn_kernel_context *c,
                         int64_t begin, int64_t end) {
    (void)c;
    const float *a = buffers[0], *b = buffers[1];
    float *out = buffers[2];
    for (int64_t i = begin * 64; i < TN_MIN(end * 64, scalars[0]); i++) out[i] = a[i] + b[i];
}

static void mul_function(void *const *buffers, const int64_t *scalars, const tn_kernel_context *c,
                         int64_t begin, int64_t end) {
    (void)c;
    const float *a = buffers[0], *b = buffers[1];
    float *out = buffers[2];
    for (int64_t i = begin * 64; i < TN_MIN(end * 64, scalars[0]); i++) out[i] = a[i] * b[i];
}

static tn_kernel_fn *const functions[] = {add_function, mul_function};

static void test_run__steady_runs_allocate_nothing(void **state) {
    (void)state;
    sample s;
    lab_run r;
    float x[100] = {1};
    make_sample(&s);
    lab_start(&r, &s.l.p, s.prepared, NULL);
    r.x.functions = functions;
    prepare(&r);
    run_sample(&r, x);
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < 10; i++) run_sample(&r, x);
    assert_int_equal(mallinfo2().uordblks, before);
    lab_stop(&r);
    free_sample(&s);
}

/* ---- threads -------------------------------------------------------------------------------- */

enum { BIG = 100000 };

/* out = (a + a) * a of size N on the pool. */
static void make_big(lab *l) {
    lab_init(l);
    uint32_t a = lab_input(l, "a", TN_f32, l->n), y = lab_output(l, "y", l->n);
    uint32_t add = lab_kernel(l, "add", TN_S_add), mul = lab_kernel(l, "mul", TN_S_mul);
    uint32_t t = lab_temp(l, TN_f32, l->n, 0, 1);
    lab_step(l, 0, add, a, a, t, l->n);
    lab_step(l, 0, mul, t, a, y, l->n);
}

typedef struct runner {
    const lab *l;
    tn_pool *pool;
    float *a;
    bool ok;
} runner;

static void *run_many(void *argument) {
    runner *x = argument;
    lab_run r;
    tn_error err = TN_ERROR_INIT;
    lab_start(&r, &x->l->p, NULL, x->pool);
    r.x.functions = functions;
    x->ok = true;
    for (int round = 0; round < 20; round++) {
        int64_t symbols[] = {BIG - round % 2};
        x->ok &= tn_instance_bind(r.i, symbols, &err) == TN_OK;
        tn_instance_set_input(r.i, 0, x->a);
        x->ok &= tn_instance_run(r.i, 0, &err) == TN_OK;
        const float *y = tn_instance_output(r.i, 0);
        for (int64_t i = 0; i < symbols[0]; i++) x->ok &= y[i] == 2 * x->a[i] * x->a[i];
    }
    lab_stop(&r);
    return NULL;
}

static void test_run__eight_threads_share_a_program_and_its_pool(void **state) {
    (void)state;
    lab l;
    pthread_t threads[8];
    runner runners[8];
    make_big(&l);
    tn_pool *pool = tn_pool_create(4);
    float *a = calloc(BIG, sizeof *a);
    for (int i = 0; i < BIG; i++) a[i] = (float)(i % 1000);
    for (int i = 0; i < 8; i++) {
        runners[i] = (runner){&l, pool, a, false};
        assert_int_equal(pthread_create(&threads[i], NULL, run_many, &runners[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_true(runners[i].ok);
    }
    free(a);
    tn_pool_release(pool);
    lab_deinit(&l);
}

static void test_bind__refuses_sizes_out_of_bounds(void **state) {
    (void)state;
    lab l;
    lab_run r;
    tn_error err = TN_ERROR_INIT;
    int64_t symbols[] = {0};
    make_big(&l);
    lab_start(&r, &l.p, NULL, NULL);
    assert_int_equal(tn_instance_bind(r.i, symbols, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "size N is 0"));
    lab_stop(&r);
    lab_deinit(&l);
}

static void test_profile__counts_every_step(void **state) {
    (void)state;
    lab l;
    lab_run r;
    tn_error err = TN_ERROR_INIT;
    int64_t symbols[] = {1000};
    float a[1000] = {0};
    make_big(&l);
    lab_start(&r, &l.p, NULL, NULL);
    lab_assert_ok(tn_instance_bind(r.i, symbols, &err), &err);
    tn_instance_set_input(r.i, 0, a);
    tn_instance_profile(r.i, true);
    for (int i = 0; i < 3; i++) lab_assert_ok(tn_instance_run(r.i, 0, &err), &err);
    uint32_t count;
    const tn_step_time *times = tn_instance_times(r.i, &count);
    assert_int_equal(count, 2);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(times[i].runs, 3);
        assert_true(times[i].seconds > 0);
        assert_float_equal(times[i].flops, 1000, 0);
    }
    lab_stop(&r);
    lab_deinit(&l);
}

/* ---- errors --------------------------------------------------------------------------------- */

static void test_run__an_error_names_the_node_and_poisons(void **state) {
    (void)state;
    lab l;
    lab_run r;
    tn_error err = TN_ERROR_INIT;
    float bad[] = {1, -1, 2}, good[] = {1, 2, 3};
    int64_t symbols[] = {1};
    lab_init(&l);
    uint32_t x = lab_input(&l, "x", TN_f32, 3), y = lab_output(&l, "y", 3);
    uint32_t kernel = lab_checking_kernel(&l);
    tn_prog_step s = {.kind = TN_STEP_KERNEL, .kernel = kernel, .buffer_count = 2};
    s.buffers = LAB_IDS(&l, x, y);
    s.scalar_count = l.p.kernels.data[kernel]->scalars.len;
    s.scalars = TN_NEW_N(&l.arena, tn_dim, 1);
    s.scalars[0] = 3;
    lab_add(&l, 0, s);
    tn_vec_push(&l.arena, &l.p.errors, "node 'check': negative element");
    lab_assert_ok(tn_program_verify(&l.p, &err), &err);
    lab_start(&r, &l.p, NULL, NULL);
    lab_assert_ok(tn_instance_bind(r.i, symbols, &err), &err);
    tn_instance_set_input(r.i, 0, bad);
    assert_int_equal(tn_instance_run(r.i, 0, &err), TN_RUNTIME);
    assert_non_null(strstr(err.message, "node 'check': negative element"));
    tn_instance_set_input(r.i, 0, good);
    assert_int_equal(tn_instance_run(r.i, 0, &err), TN_POISONED);
    tn_instance_reset(r.i);
    lab_assert_ok(tn_instance_run(r.i, 0, &err), &err);
    lab_stop(&r);
    lab_deinit(&l);
}

/* ---- control flow --------------------------------------------------------------------------- */

static void test_if__runs_one_branch(void **state) {
    (void)state;
    lab l;
    lab_run r;
    tn_error err = TN_ERROR_INIT;
    int64_t symbols[] = {1};
    float x[] = {3};
    lab_init(&l);
    uint32_t flag = lab_input(&l, "flag", TN_bool, 1), a = lab_input(&l, "x", TN_f32, 1);
    uint32_t y = lab_output(&l, "y", 1);
    uint32_t add = lab_kernel(&l, "add", TN_S_add), mul = lab_kernel(&l, "mul", TN_S_mul);
    uint32_t then = lab_block(&l), other = lab_block(&l);
    tn_prog_step s = {.kind = TN_STEP_IF, .buffers = LAB_IDS(&l, flag), .buffer_count = 1};
    s.blocks[0] = then;
    s.blocks[1] = other;
    lab_add(&l, 0, s);
    lab_step(&l, then, add, a, a, y, 1);
    lab_step(&l, other, mul, a, a, y, 1);
    lab_assert_ok(tn_program_verify(&l.p, &err), &err);
    lab_start(&r, &l.p, NULL, NULL);
    lab_assert_ok(tn_instance_bind(r.i, symbols, &err), &err);
    for (uint8_t on = 0; on < 2; on++) {
        tn_instance_set_input(r.i, 0, &on);
        tn_instance_set_input(r.i, 1, x);
        lab_assert_ok(tn_instance_run(r.i, 0, &err), &err);
        assert_float_equal(*(const float *)tn_instance_output(r.i, 0), (on ? 6 : 9), 0);
    }
    lab_stop(&r);
    lab_deinit(&l);
}

static tn_prog_loop *loop_of_one(lab *l, uint32_t initial, uint32_t result, tn_dim size,
                                 uint32_t first, uint32_t last) {
    tn_prog_loop *x = TN_NEW(&l->arena, tn_prog_loop);
    x->states = 1;
    x->initial = LAB_IDS(l, initial);
    x->in = LAB_IDS(l, lab_alias(l, size));
    x->out = LAB_IDS(l, lab_alias(l, size));
    x->result = LAB_IDS(l, result);
    x->spare =
        LAB_IDS(l, lab_temp(l, TN_f32, size, first, last), lab_temp(l, TN_f32, size, first, last));
    return x;
}

/* Doubles while below the limit. */
static void test_while__runs_until_its_flag_is_off(void **state) {
    (void)state;
    lab l;
    lab_run r;
    tn_error err = TN_ERROR_INIT;
    int64_t symbols[] = {1};
    const float starts[] = {1, 3, 200}, limit = 100, expected[] = {128, 192, 200};
    lab_init(&l);
    uint32_t x = lab_input(&l, "x", TN_f32, 1), top = lab_input(&l, "limit", TN_f32, 1);
    uint32_t y = lab_output(&l, "y", 1);
    uint32_t add = lab_kernel(&l, "add", TN_S_add), less = lab_kernel(&l, "less", TN_S_lt);
    uint32_t cond = lab_block(&l), body = lab_block(&l);
    tn_prog_loop *loop = loop_of_one(&l, x, y, 1, 0, 2);
    loop->flag = lab_temp(&l, TN_bool, 1, 1, 1);
    tn_prog_step s = {.kind = TN_STEP_WHILE, .loop = loop};
    s.blocks[0] = cond;
    s.blocks[1] = body;
    lab_add(&l, 0, s);
    lab_step(&l, cond, less, loop->in[0], top, loop->flag, 1);
    lab_step(&l, body, add, loop->in[0], loop->in[0], loop->out[0], 1);
    lab_assert_ok(tn_program_verify(&l.p, &err), &err);
    lab_start(&r, &l.p, NULL, NULL);
    lab_assert_ok(tn_instance_bind(r.i, symbols, &err), &err);
    for (int i = 0; i < 3; i++) {
        tn_instance_set_input(r.i, 0, &starts[i]);
        tn_instance_set_input(r.i, 1, &limit);
        lab_assert_ok(tn_instance_run(r.i, 0, &err), &err);
        assert_float_equal(*(const float *)tn_instance_output(r.i, 0), expected[i], 0);
    }
    lab_stop(&r);
    lab_deinit(&l);
}

/* carry' = carry + xs[t]; ys[t] = carry * xs[t], over N steps of 2 elements. */
static void scan_case(bool reverse, int64_t n, const float *carry, const float *ys) {
    lab l;
    lab_run r;
    tn_error err = TN_ERROR_INIT;
    const float start[] = {1, 10}, xs[] = {1, 2, 3, 4, 5, 6};
    lab_init(&l);
    tn_dim whole = tn_dim_mul(&l.dims, l.n, 2);
    uint32_t c = lab_input(&l, "c", TN_f32, 2), x = lab_input(&l, "xs", TN_f32, whole);
    uint32_t result = lab_output(&l, "carry", 2), y = lab_output(&l, "ys", whole);
    uint32_t add = lab_kernel(&l, "add", TN_S_add), mul = lab_kernel(&l, "mul", TN_S_mul);
    uint32_t body = lab_block(&l);
    tn_prog_loop *loop = loop_of_one(&l, c, result, 2, 0, 2);
    loop->xs_count = loop->ys_count = 1;
    loop->xs = LAB_IDS(&l, x);
    loop->ys = LAB_IDS(&l, y);
    loop->slice_in = LAB_IDS(&l, lab_alias(&l, 2));
    loop->slice_out = LAB_IDS(&l, lab_alias(&l, 2));
    loop->length = l.n;
    loop->reverse = reverse;
    tn_prog_step s = {.kind = TN_STEP_SCAN, .loop = loop};
    s.blocks[0] = body;
    lab_add(&l, 0, s);
    lab_step(&l, body, mul, loop->in[0], loop->slice_in[0], loop->slice_out[0], 2);
    lab_step(&l, body, add, loop->in[0], loop->slice_in[0], loop->out[0], 2);
    lab_assert_ok(tn_program_verify(&l.p, &err), &err);
    lab_start(&r, &l.p, NULL, NULL);
    lab_assert_ok(tn_instance_bind(r.i, &n, &err), &err);
    tn_instance_set_input(r.i, 0, start);
    tn_instance_set_input(r.i, 1, xs);
    lab_assert_ok(tn_instance_run(r.i, 0, &err), &err);
    const float *got = tn_instance_output(r.i, 0), *slices = tn_instance_output(r.i, 1);
    for (int i = 0; i < 2; i++) assert_float_equal(got[i], carry[i], 0);
    for (int i = 0; i < 2 * n; i++) assert_float_equal(slices[i], ys[i], 0);
    lab_stop(&r);
    lab_deinit(&l);
}

/* carry' = carry + xs[t]; ys[t] = carry': a state that is collected has no copies of its own. */
static void collected_case(bool reverse, int64_t n) {
    lab l;
    lab_run r;
    tn_error err = TN_ERROR_INIT;
    const float start[] = {1, 10}, xs[] = {1, 2, 3, 4, 5, 6};
    lab_init(&l);
    tn_dim whole = tn_dim_mul(&l.dims, l.n, 2);
    uint32_t c = lab_input(&l, "c", TN_f32, 2), x = lab_input(&l, "xs", TN_f32, whole);
    uint32_t result = lab_output(&l, "carry", 2), y = lab_output(&l, "ys", whole);
    uint32_t add = lab_kernel(&l, "add", TN_S_add), body = lab_block(&l);
    tn_prog_loop *loop = loop_of_one(&l, c, result, 2, 0, 1);
    loop->xs_count = loop->ys_count = 1;
    loop->xs = LAB_IDS(&l, x);
    loop->ys = LAB_IDS(&l, y);
    loop->slice_in = LAB_IDS(&l, lab_alias(&l, 2));
    loop->slice_out = LAB_IDS(&l, lab_alias(&l, 2));
    loop->spare[0] = loop->spare[1] = loop->slice_out[0];
    loop->length = l.n;
    loop->reverse = reverse;
    tn_prog_step s = {.kind = TN_STEP_SCAN, .loop = loop};
    s.blocks[0] = body;
    lab_add(&l, 0, s);
    lab_step(&l, body, add, loop->in[0], loop->slice_in[0], loop->slice_out[0], 2);
    lab_assert_ok(tn_program_verify(&l.p, &err), &err);
    lab_start(&r, &l.p, NULL, NULL);
    lab_assert_ok(tn_instance_bind(r.i, &n, &err), &err);
    tn_instance_set_input(r.i, 0, start);
    tn_instance_set_input(r.i, 1, xs);
    lab_assert_ok(tn_instance_run(r.i, 0, &err), &err);
    const float *got = tn_instance_output(r.i, 0), *slices = tn_instance_output(r.i, 1);
    float carry[] = {start[0], start[1]};
    for (int64_t t = 0; t < n; t++) {
        int64_t at = reverse ? n - 1 - t : t;
        for (int i = 0; i < 2; i++) {
            carry[i] += xs[2 * at + i];
            assert_float_equal(slices[2 * at + i], carry[i], 0);
        }
    }
    for (int i = 0; i < 2; i++) assert_float_equal(got[i], carry[i], 0);
    lab_stop(&r);
    lab_deinit(&l);
}

static void test_scan__carries_and_slices(void **state) {
    (void)state;
    const float carry[] = {10, 22}, ys[] = {1, 20, 6, 48, 25, 96};
    scan_case(false, 3, carry, ys);
}

static void test_scan__runs_backwards(void **state) {
    (void)state;
    const float carry[] = {10, 22}, ys[] = {9, 40, 18, 64, 5, 60};
    scan_case(true, 3, carry, ys);
}

static void test_scan__reads_a_state_where_it_is_collected(void **state) {
    (void)state;
    for (int64_t n = 1; n <= 3; n++)
        for (int reverse = 0; reverse < 2; reverse++) collected_case(reverse, n);
}

static void test_scan__of_one_step(void **state) {
    (void)state;
    const float carry[] = {2, 12}, ys[] = {1, 20};
    scan_case(false, 1, carry, ys);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run__prepares_and_computes),
        cmocka_unit_test(test_run__writes_to_memory_of_the_caller),
        cmocka_unit_test(test_run__puts_outputs_in_place_of_inputs),
        cmocka_unit_test(test_run__steady_runs_allocate_nothing),
        cmocka_unit_test(test_run__eight_threads_share_a_program_and_its_pool),
        cmocka_unit_test(test_bind__refuses_sizes_out_of_bounds),
        cmocka_unit_test(test_profile__counts_every_step),
        cmocka_unit_test(test_run__an_error_names_the_node_and_poisons),
        cmocka_unit_test(test_if__runs_one_branch),
        cmocka_unit_test(test_while__runs_until_its_flag_is_off),
        cmocka_unit_test(test_scan__carries_and_slices),
        cmocka_unit_test(test_scan__runs_backwards),
        cmocka_unit_test(test_scan__reads_a_state_where_it_is_collected),
        cmocka_unit_test(test_scan__of_one_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
