/* The n-th allocation fails, while populations are made, a function of a member is recorded, and
 * members are taken out, added and removed: nothing crashes, what failed says so and has changed nothing, and
 * what would be lost LeakSanitizer finds. */
#include "unit/failing_allocations.h"
#include "unit/wide/population_lab.h"

enum { STEP = 7 }; /* of next_allocation */

static void net(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)context;
    tn_tensor *h = tn_batch_norm(m, "bn", tn_linear(m, "fc", x[0], 3));
    y[0] = tn_dropout(tn_module_child(m, "last"), "drop", tn_mul(h, x[1]), 0.4);
}

static tn_tensor *apply(tn_population *p, tn_tensor *const *x) {
    tn_tensor *y;
    tn_population_call call = TN_POPULATION_CALL_INIT;
    call.fn = net, call.x = x, call.shared = (bool[]){false, true};
    call.x_count = 2, call.y_count = 1;
    tn_population_apply(p, &call, &y);
    return y;
}

/* Ends a run with a failing allocation; whether there was one. */
static bool failed_once(void) {
    return atomic_exchange(&failing_after, -1) < 0;
}

/* ---- recording ------------------------------------------------------------------------------ */

static tn_status make(tn_context *c, tn_module *const *from, tn_population **p, tn_error *err) {
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    o.members = LAB_MEMBERS, o.seed = LAB_SEED;
    if (from) return tn_population_from(from, LAB_MEMBERS, &o, p, err);
    return tn_population_create(c, &o, p, err);
}

static bool record(lab *l, tn_module *const *from, tn_tensor *const *x, long n) {
    tn_error err = TN_ERROR_INIT;
    tn_population *p = NULL;
    tn_tensor *y = NULL;
    tn_scope *scope = tn_scope_open(l->c);
    atomic_store(&failing_after, n);
    tn_status status = make(l->c, from, &p, &err);
    if (status == TN_OK) y = apply(p, x);
    bool reached = failed_once();
    if (status == TN_OK && !tn_tensor_ok(y))
        assert_int_not_equal(tn_context_error(l->c, &err), TN_OK);
    if (!reached) assert_true(tn_tensor_ok(y));
    tn_context_clear_error(l->c);
    /* What failed can be done again. */
    if (status == TN_OK) assert_true(tn_tensor_ok(apply(p, x)));
    tn_scope_close(scope);
    tn_population_release(p);
    return reached;
}

static void test_apply__survives_failing_allocations(void **state) {
    (void)state;
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_scope *scope = tn_scope_open(l.c);
    tn_error err = TN_ERROR_INIT;
    tn_tensor *x[] = {some_numbers(l.c, TN_f32, TN_SHAPE(LAB_MEMBERS, 4, 2), 1),
                      some_numbers(l.c, TN_f32, TN_SHAPE(4, 3), 2)},
              *y;
    long n = 0;
    while (record(&l, NULL, x, n)) n = next_allocation(n, STEP);
    assert_true(n > 50);
    print_message("about %ld allocations\n", n);
    for (int k = 0; k < LAB_MEMBERS; k++) {
        tn_tensor *one[] = {lab_row(x[0], k), x[1]};
        net(NULL, l.alone[k], one, &y);
        must(tn_eval(&y, 1, &err), &err);
    }
    for (n = 0; record(&l, l.alone, x, n);) n = next_allocation(n, STEP);
    assert_true(n > 50);
    print_message("about %ld allocations\n", n);
    tn_scope_close(scope);
    lab_close(&l);
}

/* ---- members -------------------------------------------------------------------------------- */

typedef tn_status deed(lab *l, tn_error *err);

static tn_status get_new(lab *l, tn_error *err) {
    tn_module *m;
    TN_CHECK(tn_module_create(l->c, NULL, &m, err));
    tn_status status = tn_population_get(l->p, 1, m, err);
    tn_module_release(m);
    return status;
}
static tn_status set(lab *l, tn_error *err) {
    return tn_population_set(l->p, 1, l->alone[1], err);
}
static tn_status insert(lab *l, tn_error *err) {
    return tn_population_insert(l->p, 1, l->alone[1], err);
}
static tn_status take(lab *l, tn_error *err) {
    return tn_population_remove(l->p, 1, err);
}

static void check_deed(lab *l, deed *fn) {
    bool reached = true;
    long n = 0;
    for (; reached; n = next_allocation(n, STEP)) {
        tn_error err = TN_ERROR_INIT;
        int before = tn_population_count(l->p);
        atomic_store(&failing_after, n);
        tn_status status = fn(l, &err);
        reached = failed_once();
        if (status != TN_OK) assert_int_equal(tn_population_count(l->p), before);
        if (!reached) assert_int_equal(status, TN_OK);
        tn_context_clear_error(l->c);
        while (tn_population_count(l->p) > LAB_MEMBERS)
            must(tn_population_remove(l->p, 1, &err), &err);
        while (tn_population_count(l->p) < LAB_MEMBERS)
            must(tn_population_insert(l->p, 1, l->alone[1], &err), &err);
        lab_compare_items(l, 1e-6);
    }
    print_message("about %ld allocations\n", n);
}

static void test_members__survive_failing_allocations(void **state) {
    (void)state;
    static deed *const deeds[] = {get_new, set, insert, take};
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_scope *scope = tn_scope_open(l.c);
    tn_tensor *x[] = {some_numbers(l.c, TN_f32, TN_SHAPE(LAB_MEMBERS, 4, 2), 1),
                      some_numbers(l.c, TN_f32, TN_SHAPE(4, 3), 2)};
    tn_population_call call = TN_POPULATION_CALL_INIT;
    call.fn = net, call.x = x, call.shared = (bool[]){false, true};
    call.x_count = 2, call.y_count = 1;
    lab_compare(&l, call, 1e-6);
    for (int i = 0; i < 4; i++) check_deed(&l, deeds[i]);
    tn_scope_close(scope);
    lab_close(&l);
}

/* ---- refusing ------------------------------------------------------------------------------- */

/* Both types are in the message, which is put together on the heap. */
static void test_difference__is_told_or_memory_is_short(void **state) {
    (void)state;
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_scope *scope = tn_scope_open(l.c);
    tn_module *other = lab_module(l.c, 7), *both[] = {l.alone[0], other};
    tn_linear(l.alone[0], "fc", some_numbers(l.c, TN_f32, TN_SHAPE(4, 2), 1), 3);
    tn_linear(other, "fc", some_numbers(l.c, TN_f32, TN_SHAPE(4, 5), 1), 3);
    long n = 0;
    for (bool reached = true; reached; n++) {
        tn_error err = TN_ERROR_INIT;
        tn_population *p;
        atomic_store(&failing_after, n);
        tn_status status = tn_population_from(both, 2, NULL, &p, &err);
        reached = failed_once();
        assert_null(p);
        if (status != TN_OUT_OF_MEMORY || !reached)
            must_fail(status, TN_INVALID, &err,
                      "'fc.weight' is f32[3, 5]; member 0 has the parameter f32[3, 2] there");
    }
    assert_true(n > 2);
    tn_scope_close(scope);
    tn_module_release(other);
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apply__survives_failing_allocations),
        cmocka_unit_test(test_members__survive_failing_allocations),
        cmocka_unit_test(test_difference__is_told_or_memory_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
