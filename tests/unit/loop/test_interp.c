#include "loop_test.h"

#include <stdlib.h>

typedef struct run {
    void *buffer[4];
    size_t elements[4];
    int64_t scalars[4];
    int32_t error, counters[2];
} run;

static tn_status interpret(const fixture *f, run *r, tn_error *err) {
    void *scratch = aligned_alloc(64, tn_loop_scratch_bytes(&f->k, r->scalars) + 64);
    tn_loop_args args = {r->buffer, r->elements, r->scalars, scratch, &r->error, r->counters};
    int64_t tasks = tn_loop_task_count(&f->k, r->scalars);
    tn_status status = tn_loop_verify(&f->k, err);
    if (status == TN_OK) status = tn_loop_interpret(&f->k, &args, 0, tasks, err);
    free(scratch);
    return status;
}

static void test_interpret__sums_rows(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    tn_loop *k = &f.k;
    tn_error err = TN_ERROR_INIT;
    tn_lx n = size(&f, 1, 100);
    uint32_t x = tn_l_buffer(k, TN_LBUF_INPUT, TN_f32, "x");
    uint32_t y = tn_l_buffer(k, TN_LBUF_OUTPUT, TN_f32, "y");
    uint32_t acc = tn_l_register(k, TN_f32, 1, "acc");
    k->tasks = num(&f, 2);
    tn_l_set(k, acc, num(&f, 0), tn_l_number(k, TN_f32, 0));
    tn_lx i = loop_to(&f, n, "i");
    tn_lx v = tn_l_load(k, x, tn_l_add(k, tn_l_mul(k, tn_l_task(k), n), i), 0, 0);
    tn_l_set(k, acc, num(&f, 0), tn_l_op2(k, TN_S_add, tn_l_get(k, acc, num(&f, 0)), v));
    tn_l_end(k);
    tn_l_store(k, y, tn_l_task(k), tn_l_get(k, acc, num(&f, 0)));
    float in[6] = {1, 2, 3, 10, 20, 30}, out[2] = {0};
    run r = {{in, out}, {6, 2}, {3}, 0, {0}};
    assert_int_equal(interpret(&f, &r, &err), TN_OK);
    assert_true(out[0] == 6 && out[1] == 60);
    fixture_deinit(&f);
}

static void test_interpret__finds_what_is_out_of_bounds(void **state) {
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        fixture f;
        fixture_init(&f);
        tn_loop *k = &f.k;
        tn_error err = TN_ERROR_INIT;
        tn_lx n = size(&f, 1, 100);
        uint32_t x = tn_l_buffer(k, TN_LBUF_INPUT, TN_i32, "x");
        uint32_t y = tn_l_buffer(k, TN_LBUF_OUTPUT, TN_i32, "y");
        uint32_t tmp = tn_l_scratch(k, TN_i32, num(&f, 4), "tmp");
        uint32_t reg = tn_l_register(k, TN_i32, 4, "reg");
        tn_lx i = loop_to(&f, n, "i"), one = tn_l_number(k, TN_i32, 1);
        if (kind == 0) tn_l_store(k, y, num(&f, 0), tn_l_load(k, x, i, 0, 0));
        if (kind == 1) tn_l_store(k, y, i, one);
        if (kind == 2) tn_l_store(k, tmp, i, one);
        if (kind == 3) tn_l_set(k, reg, i, one);
        tn_l_end(k);
        int32_t in[4] = {0}, out[4] = {0};
        run r = {{in, out}, {4, 4}, {5}, 0, {0}};
        assert_int_equal(interpret(&f, &r, &err), TN_RUNTIME);
        assert_non_null(strstr(err.message, kind == 0   ? "'x' at 4"
                                            : kind == 1 ? "'y' at 4"
                                            : kind == 2 ? "'tmp' at 4"
                                                        : "'reg' at 4"));
        r = (run){{in, out}, {4, 4}, {4}, 0, {0}};
        assert_int_equal(interpret(&f, &r, &err), TN_OK);
        fixture_deinit(&f);
    }
}

static void test_interpret__finds_tasks_that_meet(void **state) {
    (void)state;
    for (int apart = 0; apart < 2; apart++) {
        fixture f;
        fixture_init(&f);
        tn_loop *k = &f.k;
        tn_error err = TN_ERROR_INIT;
        k->tasks = num(&f, 3);
        uint32_t y = tn_l_buffer(k, TN_LBUF_OUTPUT, TN_i32, "y");
        tn_lx first = tn_l_mul(k, tn_l_task(k), num(&f, 3 + apart)),
              i = loop_to(&f, num(&f, 4), "i");
        tn_l_store(k, y, tn_l_add(k, first, i), tn_l_number(k, TN_i32, 1));
        tn_l_end(k);
        int32_t out[12] = {0};
        run r = {{out}, {12}, {0}, 0, {0}};
        assert_int_equal(interpret(&f, &r, &err), apart ? TN_OK : TN_RUNTIME);
        if (!apart)
            assert_non_null(strstr(err.message, "tasks 0 and 1 both store element 3 of 'y'"));
        fixture_deinit(&f);
    }
}

static void test_interpret__guards_loads(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    tn_loop *k = &f.k;
    tn_error err = TN_ERROR_INIT;
    uint32_t x = tn_l_buffer(k, TN_LBUF_INPUT, TN_i8, "x");
    uint32_t y = tn_l_buffer(k, TN_LBUF_OUTPUT, TN_i8, "y");
    tn_lx i = loop_to(&f, num(&f, 5), "i");
    tn_lx v = tn_l_load(k, x, i, tn_l_lt(k, i, num(&f, 3)), tn_l_number(k, TN_i8, 7));
    tn_l_store(k, y, i, v);
    tn_l_end(k);
    int8_t in[3] = {-1, -2, -3}, out[5] = {0}, want[5] = {-1, -2, -3, 7, 7};
    run r = {{in, out}, {3, 5}, {0}, 0, {0}};
    assert_int_equal(interpret(&f, &r, &err), TN_OK);
    assert_memory_equal(out, want, 5);
    fixture_deinit(&f);
}

/* A value is read anew in each iteration, and a fold combines halves. */
static void test_interpret__lets_folds_tickets_errors(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    tn_loop *k = &f.k;
    tn_error err = TN_ERROR_INIT;
    uint32_t y = tn_l_buffer(k, TN_LBUF_OUTPUT, TN_i64, "y");
    uint32_t reg = tn_l_register(k, TN_i64, 4, "reg");
    k->counters = 1;
    k->tasks = num(&f, 2);
    tn_lx i = loop_to(&f, num(&f, 4), "i");
    tn_l_set(k, reg, i, tn_l_mul(k, i, i));
    tn_l_end(k);
    i = loop_to(&f, num(&f, 3), "again");
    tn_lx was = tn_l_get(k, reg, num(&f, 0));
    tn_l_set(k, reg, num(&f, 0), tn_l_sub(k, was, num(&f, 1)));
    tn_l_end(k);
    tn_lx all = tn_l_fold(k, TN_S_sub, reg); /* (r0 - r2) - (r1 - r3) */
    tn_l_store(k, y, tn_l_task(k), all);
    tn_l_if(k, tn_l_op2(k, TN_S_eq, tn_l_ticket(k, num(&f, 0)), num(&f, 1)));
    tn_l_error(k, 41);
    tn_l_error(k, 42);
    tn_l_end(k);
    int64_t out[2] = {0};
    run r = {{out}, {2}, {0}, 0, {0}};
    assert_int_equal(interpret(&f, &r, &err), TN_OK);
    assert_int_equal(out[0], (-3 - 4) - (1 - 9));
    assert_int_equal(out[1], out[0]);
    assert_int_equal(r.counters[0], 2);
    assert_int_equal(r.error, 41);
    fixture_deinit(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interpret__sums_rows),
        cmocka_unit_test(test_interpret__finds_what_is_out_of_bounds),
        cmocka_unit_test(test_interpret__finds_tasks_that_meet),
        cmocka_unit_test(test_interpret__guards_loads),
        cmocka_unit_test(test_interpret__lets_folds_tickets_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
