/* Exact search ends cleanly whichever allocation fails. */
#include "unit/explore/rows.h"
#include "unit/failing_allocations.h"

typedef tn_status attempt(const tn_study *study, const tn_search_options *options, tn_error *err);

static tn_status search(const tn_study *study, const tn_search_options *options, tn_error *err) {
    tn_solution s;
    tn_problem p = {.workload = &study->parts[0].workload,
                    .scenario = study->parts[0].scenario,
                    .processor = study->processor,
                    .near_memory = study->near_memory};
    tn_machine_space_at(study->space, 0, &p.machine);
    return tn_search_dataflow(&p, options, &s, err);
}

static tn_status explore(const tn_study *study, const tn_search_options *options, tn_error *err) {
    tn_finding *f;
    tn_status status = tn_explore(study, options, &f, err);
    tn_finding_release(f);
    return status;
}

static void try_all(attempt *run, int batch, tn_dataflow_space space) {
    tn_cost_model *npu, *nmp;
    tn_error err = TN_ERROR_INIT;
    assert_ok(tn_cost_model_open("npu_roofline", &npu, &err), &err);
    assert_ok(tn_cost_model_open("nmp_roofline", &nmp, &err), &err);
    tn_machine_space machines = {.base = rows_machine(6, 8, 600, 25.6)};
    tn_study_part part = {.scenario = rows_scenario("he", batch), .weight = 1};
    rows_workload("opt", &part.workload);
    tn_study study = {&part, 1, &machines, npu, nmp};
    tn_search_options options = TN_SEARCH_OPTIONS_INIT;
    options.space = space;
    options.threads = 1;
    tn_status status = TN_OUT_OF_MEMORY;
    long n = 0;
    for (; status; n++) {
        atomic_store(&failing_after, n);
        status = run(&study, &options, &err);
        atomic_store(&failing_after, -1);
        if (status) assert_int_equal(status, TN_OUT_OF_MEMORY);
    }
    assert_true(n > 3);
    tn_cost_model_release(npu);
    tn_cost_model_release(nmp);
}

static void test_search__out_of_memory(void **state) {
    (void)state;
    try_all(search, 1, TN_DATA_CENTRIC);
    try_all(search, 16, TN_DATA_CENTRIC); /* memory is short */
}

static void test_explore__out_of_memory(void **state) {
    (void)state;
    try_all(explore, 1, TN_COMPUTE_CENTRIC);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search__out_of_memory),
        cmocka_unit_test(test_explore__out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
