/* Times of kernels: which ran, how often, in what order. */
#include "lazy_test.h"

enum { ROOM = 16 };

/* The sum of x² in a scan over x's rows, and of 2x outside. */
static void add_square(tn_tensor *const *carry, tn_tensor *const *x, tn_tensor **next,
                       tn_tensor **y, void *user) {
    (void)y, (void)user;
    next[0] = tn_add(carry[0], tn_mul(x[0], x[0]));
}

static double run(tn_context *c) {
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = vector(c, 6, (const float[]){1, 2, 3, 4, 5, 6}), *result[1];
    tn_tensor *rows = tn_reshape(x, TN_SHAPE(3, 2));
    tn_tensor *zero = tn_tensor_from(c, TN_f32, TN_SHAPE(2), NULL);
    tn_scan_loop loop = TN_SCAN_LOOP_INIT;
    loop.step = add_square;
    loop.carry = &zero;
    loop.x = &rows;
    loop.carry_count = loop.x_count = 1;
    tn_scan(&loop, result);
    double sum = item(tn_sum(result[0], TN_ALL_AXES, false));
    tn_scope_close(scope);
    return sum;
}

static uint64_t launches(const tn_kernel_time *t, int count) {
    uint64_t n = 0;
    for (int i = 0; i < count; i++) n += t[i].runs;
    return n;
}

static void test_profile__counts_while_it_is_on(void **state) {
    (void)state;
    tn_kernel_time t[ROOM];
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    assert_int_equal(tn_context_kernel_times(c, t, ROOM), 0);
    run(c);
    assert_int_equal(tn_context_kernel_times(c, t, ROOM), 0);
    tn_context_profile(c, true);
    for (int i = 0; i < 2; i++) expect_near(run(c), 91, 1e-4);
    int count = tn_context_kernel_times(c, t, ROOM);
    assert_in_range(count, 2, ROOM); /* the body's, and the sum behind the loop */
    uint64_t once = launches(t, count) / 2;
    assert_true(once >= 4); /* three turns and the sum */
    for (int i = 0; i < count; i++) {
        assert_true(t[i].seconds > 0 && t[i].bytes > 0 && t[i].name[0]);
        assert_true(i == 0 || t[i - 1].seconds >= t[i].seconds);
        assert_int_equal(t[i].runs % 2, 0);
    }
    tn_context_profile(c, false);
    run(c);
    assert_int_equal(launches(t, tn_context_kernel_times(c, t, ROOM)), 2 * once);
    tn_context_profile(c, true); /* begins anew */
    assert_int_equal(tn_context_kernel_times(c, NULL, 0), 0);
    run(c);
    assert_int_equal(launches(t, tn_context_kernel_times(c, t, ROOM)), once);
    tn_context_release(c);
}

static void test_profile__gives_the_slowest_where_room_is_short(void **state) {
    (void)state;
    tn_kernel_time all[ROOM], first[2];
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_context_profile(c, true); /* before there is a program */
    run(c);
    int count = tn_context_kernel_times(c, all, ROOM);
    assert_int_equal(tn_context_kernel_times(c, NULL, 0), count);
    assert_int_equal(tn_context_kernel_times(c, first, 1), count);
    assert_string_equal(first[0].name, all[0].name);
    assert_true(first[0].seconds == all[0].seconds);
    tn_context_release(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profile__counts_while_it_is_on),
        cmocka_unit_test(test_profile__gives_the_slowest_where_room_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
