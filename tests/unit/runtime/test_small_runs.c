/* When small runs have the pool. */
#include "unit/test.h"

#include "runtime/small_runs.h"

/* `runs` runs, `pause` seconds apart, that take so long alone and together; the number of those together. */
static int together(tn__small_runs *s, double *now, int runs, double pause, double alone,
                    double shared, bool *awake) {
    int count = 0;
    for (int i = 0; i < runs; i++) {
        *now += pause;
        double began = *now;
        bool shares = tn__small_run_begins(s, began);
        *now += shares ? shared : alone;
        bool stay = tn__small_run_ends(s, began, *now);
        if (shares) *awake = stay;
        count += shares;
    }
    return count;
}

static void test_small_runs__apart_are_alone(void **state) {
    (void)state;
    tn__small_runs s = {0};
    double now = 1;
    bool awake = false;
    assert_int_equal(together(&s, &now, 10000, 1e-3, 5e-6, 3e-6, &awake), 0);
    assert_int_equal(together(&s, &now, 8, 1e-6, 5e-6, 3e-6, &awake), 0);
    assert_false(awake);
}

static void test_small_runs__share_where_it_is_sooner(void **state) {
    (void)state;
    tn__small_runs s = {0};
    double now = 1;
    bool awake = false;
    assert_in_range(together(&s, &now, 10000, 1e-6, 5e-6, 3e-6, &awake), 9500, 9999);
    assert_true(awake);
}

static void test_small_runs__let_workers_sleep_where_it_is_not(void **state) {
    (void)state;
    tn__small_runs s = {0};
    double now = 1;
    bool awake = true;
    assert_in_range(together(&s, &now, 10000, 1e-6, 5e-6, 6e-6, &awake), 1, 100);
    assert_false(awake);
}

/* Stretches that are much shorter than a period. */
static void test_small_runs__remember_over_pauses(void **state) {
    (void)state;
    tn__small_runs s = {0};
    double now = 1;
    bool awake = false;
    for (int i = 0; i < 4; i++) {
        now += 1;
        (void)together(&s, &now, 50, 1e-6, 5e-6, 3e-6, &awake);
    }
    now += 1;
    assert_int_equal(together(&s, &now, 50, 1e-6, 5e-6, 3e-6, &awake), 42);
    assert_true(awake);
}

/* One that lost its core while it was timed. */
static void test_small_runs__outliers_do_not_count(void **state) {
    (void)state;
    tn__small_runs s = {0};
    double now = 1;
    bool awake = false;
    (void)together(&s, &now, 30, 1e-6, 5e-6, 3e-6, &awake);
    (void)together(&s, &now, 1, 1e-6, 5e-6, 4e-3, &awake);
    assert_in_range(together(&s, &now, 1000, 1e-6, 5e-6, 3e-6, &awake), 990, 1000);
}

static void test_small_runs__notice_a_change(void **state) {
    (void)state;
    tn__small_runs s = {0};
    double now = 1;
    bool awake = false;
    (void)together(&s, &now, 10000, 1e-6, 5e-6, 6e-6, &awake);
    assert_in_range(together(&s, &now, 10000, 1e-6, 5e-6, 4e-6, &awake), 5000, 9999);
    assert_in_range(together(&s, &now, 10000, 1e-6, 5e-6, 9e-6, &awake), 1, 5000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_runs__apart_are_alone),
        cmocka_unit_test(test_small_runs__share_where_it_is_sooner),
        cmocka_unit_test(test_small_runs__let_workers_sleep_where_it_is_not),
        cmocka_unit_test(test_small_runs__remember_over_pauses),
        cmocka_unit_test(test_small_runs__outliers_do_not_count),
        cmocka_unit_test(test_small_runs__notice_a_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
