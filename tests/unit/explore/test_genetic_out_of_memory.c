/* Each allocation of a genetic search fails once: a clean error, nothing leaked. */
#include "unit/explore/rows.h"
#include "unit/failing_allocations.h"

static tn_study_part part;
static tn_machine_space space;
static tn_search_options options = TN_SEARCH_OPTIONS_INIT;
static tn_cost_model *npu, *nmp;

static int open_all(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    rows_workload("palm", &part.workload);
    part.scenario = rows_scenario("he", 4);
    part.weight = 1;
    space = (tn_machine_space){
        .base = rows_machine(6, 8, 600, 25.6), .channels = {2, 6, 8}, .channel_count = 3};
    options.method = TN_GENETIC;
    options.population = 20;
    options.generations = 2;
    options.threads = 1;
    assert_ok(tn_cost_model_open("npu_roofline", &npu, &err), &err);
    assert_ok(tn_cost_model_open("nmp_roofline", &nmp, &err), &err);
    return 0;
}

static int release_all(void **state) {
    (void)state;
    tn_cost_model_release(npu);
    tn_cost_model_release(nmp);
    return 0;
}

static tn_status search(tn_error *err) {
    tn_problem p = {&part.workload, part.scenario, space.base, npu, nmp};
    tn_solution s;
    return tn_search_dataflow(&p, &options, &s, err);
}

static tn_status explore(tn_error *err) {
    tn_study study = {&part, 1, &space, npu, nmp};
    tn_finding *f = NULL;
    tn_status status = tn_explore(&study, &options, &f, err);
    assert_int_equal(f != NULL, !status);
    tn_finding_release(f);
    return status;
}

/* Fails the n-th allocation for n = 0, 1, … until all succeed; returns how many there were. */
static int fail_each(tn_status (*run)(tn_error *err)) {
    for (int n = 0;; n++) {
        tn_error err = TN_ERROR_INIT;
        atomic_store(&failing_after, n);
        tn_status status = run(&err);
        bool all = atomic_load(&failing_after) >= 0;
        atomic_store(&failing_after, -1);
        if (all) {
            assert_ok(status, &err);
            return n;
        }
        assert_int_equal(status, TN_OUT_OF_MEMORY);
        assert_non_null(strstr(err.message, "no memory"));
    }
}

static void test_search__out_of_memory(void **state) {
    (void)state;
    assert_true(fail_each(search) >= 11);
}

static void test_explore__out_of_memory(void **state) {
    (void)state;
    assert_true(fail_each(explore) >= 14);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search__out_of_memory),
        cmocka_unit_test(test_explore__out_of_memory),
    };
    return cmocka_run_group_tests(tests, open_all, release_all);
}
