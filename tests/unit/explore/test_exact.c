/* Exact search against optima computed with the H²-LLM artifact's own space and cost model. */
#include "unit/explore/models.h"

/* Solves, and holds the solution against check and evaluation. */
static tn_solution solve(const tn_problem *p, const tn_search_options *options) {
    tn_error err = TN_ERROR_INIT;
    tn_solution s;
    tn_evaluation e;
    assert_ok(tn_search_dataflow(p, options, &s, &err), &err);
    assert_ok(tn_dataflow_check(p, options->space, &s.dataflow, &err), &err);
    assert_ok(tn_dataflow_evaluate(p, &s.dataflow, &e, &err), &err);
    assert_memory_equal(&e, &s.evaluation, sizeof e);
    return s;
}

static void test_exact__finds_known_optima(void **state) {
    (void)state;
    json_t *file = rows_load("exact_optimum"), *utilizations = rows_load("nmp_utilization"), *row;
    size_t i;
    json_array_foreach(json_object_get(file, "rows"), i, row) {
        const json_t *device = json_object_get(row, "device");
        bool data_centric = strcmp(rows_text(device, "mode"), "data-centric") == 0;
        int batch = (int)rows_integer(row, "batch");
        tn_workload w;
        rows_workload(rows_text(row, "model"), &w);
        tn_problem p = {.workload = &w,
                        .scenario = rows_scenario(rows_text(row, "dataset"), batch),
                        .machine = rows_machine(
                            (int)rows_integer(device, "nmp"), (int)rows_integer(device, "fpu"),
                            rows_number(device, "mhz"), rows_number(device, "pe_bw")),
                        .processor = npu,
                        .near_memory = nmp};
        p.machine.near_memory.utilization = rows_utilization(utilizations, &p.machine, batch);
        tn_search_options options = TN_SEARCH_OPTIONS_INIT;
        options.space = data_centric ? TN_DATA_CENTRIC : TN_COMPUTE_CENTRIC;
        /* The rows of PaLM are of runs without crossover. */
        options.sampled_ratios = strcmp(rows_text(row, "model"), "palm") == 0;
        tn_solution s = solve(&p, &options);
        double want = rows_number(row, "total");
        assert_true(s.optimal);
        if (strcmp(rows_text(row, "status"), "bounds") == 0) {
            /* Proven here, bounded there. */
            assert_true(s.evaluation.total >= rows_number(row, "lower_bound"));
            assert_true(s.evaluation.total < want);
        } else {
            rows_near(s.evaluation.total, want, 1e-9, "total");
        }
    }
    assert_true(i > 70);
    json_decref(utilizations);
    json_decref(file);
}

static tn_solution solve_point(const char *model, const char *dataset, int batch,
                               const tn_search_options *options) {
    tn_workload w;
    rows_workload(model, &w);
    tn_problem p = {.workload = &w,
                    .scenario = rows_scenario(dataset, batch),
                    .machine = rows_machine(6, 8, 600, 25.6),
                    .processor = npu,
                    .near_memory = nmp};
    return solve(&p, options);
}

static void test_union__is_never_worse_than_either(void **state) {
    (void)state;
    static const struct {
        const char *model, *dataset;
        int batch;
        double most; /* s */
    } points[] = {{"llama", "sg", 16, 0.15962},
                  {"llama", "he", 16, 0.04429},
                  {"llama", "lb", 16, 0.19264},
                  {"opt", "lg", 4, INFINITY},
                  {"palm", "sg", 1, INFINITY}};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        tn_search_options options = TN_SEARCH_OPTIONS_INIT;
        double best = points[i].most;
        for (int space = TN_COMPUTE_CENTRIC; space <= TN_UNION; space++) {
            options.space = (tn_dataflow_space)space;
            tn_solution s =
                solve_point(points[i].model, points[i].dataset, points[i].batch, &options);
            assert_true(s.optimal);
            if (space == TN_UNION)
                assert_true(s.evaluation.total <= best);
            else
                best = fmin(best, s.evaluation.total);
        }
    }
}

/* The artifact's space of 4 · 16 machines, whose buffers no roofline looks at. */
/* Where memory is short the union may run out of time; what it finds is still no worse. */
static void test_union__is_never_worse_without_time(void **state) {
    (void)state;
    tn_search_options options = TN_SEARCH_OPTIONS_INIT;
    options.seconds = 0.5;
    options.space = TN_UNION;
    tn_solution all = solve_point("opt", "lb", 16, &options);
    options.seconds = 0;
    options.space = TN_DATA_CENTRIC;
    tn_solution data = solve_point("opt", "lb", 16, &options);
    assert_true(data.optimal);
    assert_true(all.evaluation.total <= data.evaluation.total * 1.01);
    assert_true(all.lower_bound <= data.evaluation.total);
}

static void published_space(const json_t *utilizations, int buffers, tn_machine_space *out) {
    static const struct {
        int fpus;
        double mhz, gbs;
    } elements[] = {{8, 400, 6.4},  {8, 600, 6.4},  {8, 800, 6.4},  {8, 1000, 6.4},
                    {8, 400, 12.8}, {8, 600, 12.8}, {8, 800, 12.8}, {4, 1000, 12.8},
                    {8, 400, 25.6}, {8, 600, 25.6}, {4, 800, 25.6}, {4, 1000, 25.6},
                    {8, 400, 51.2}, {4, 600, 51.2}, {4, 800, 51.2}, {2, 1000, 51.2}};
    const json_t *row;
    size_t i;
    *out = (tn_machine_space){.base = rows_machine(8, 8, 600, 25.6),
                              .channels = {2, 4, 6, 8},
                              .channel_count = 4,
                              .element_count = 16};
    for (i = 0; i < 16; i++)
        out->elements[i] =
            (tn_element_choice){elements[i].fpus, elements[i].mhz * 1e6, elements[i].gbs * 1e9};
    json_array_foreach((json_t *)utilizations, i, row) {
        int at = out->technology.utilization_count++;
        out->technology.utilizations[at].fpus = (int)rows_number(row, "fpu");
        out->technology.utilizations[at].clock = rows_number(row, "mhz") * 1e6;
        out->technology.utilizations[at].bandwidth = rows_number(row, "pe_bw") * 1e9;
        out->technology.utilizations[at].batch = (int)rows_number(row, "batch");
        out->technology.utilizations[at].utilization = rows_number(row, "util");
    }
    for (int b = 0; b < buffers; b++)
        out->input_buffers[b] = out->weight_buffers[b] = out->output_buffers[b] = 4096 << b;
    out->input_buffer_count = out->weight_buffer_count = out->output_buffer_count = buffers;
}

static void assert_machine(const tn_machine_space *space, const tn_finding_machine *found,
                           const json_t *row) {
    tn_machine m;
    tn_machine_space_at(space, found->index, &m);
    assert_int_equal(m.near_memory.channels, rows_integer(row, "nmp"));
    assert_int_equal(m.near_memory.fpus, rows_integer(row, "fpu"));
    assert_true(m.near_memory.clock == rows_number(row, "mhz") * 1e6);
    assert_true(m.near_memory.bandwidth == rows_number(row, "bw") * 1e9);
    rows_near(found->value, rows_number(row, "total"), 1e-9, "total");
}

static tn_finding *explore(const tn_study_part *parts, int count, const tn_machine_space *space,
                           int threads) {
    tn_error err = TN_ERROR_INIT;
    tn_finding *f;
    tn_search_options options = TN_SEARCH_OPTIONS_INIT;
    options.threads = threads;
    tn_study study = {parts, count, space, npu, nmp};
    assert_ok(tn_explore(&study, &options, &f, &err), &err);
    return f;
}

static void test_explore__finds_the_known_best_machines(void **state) {
    (void)state;
    json_t *file = rows_load("arch_optimum"), *utilizations = rows_load("nmp_utilization"), *row;
    tn_machine_space space;
    size_t i;
    published_space(utilizations, 0, &space);
    space.channels[0] = 6; /* with fewer near memory most are short of room, which takes its time */
    space.channels[1] = 8;
    space.channel_count = 2;
    json_array_foreach(json_object_get(file, "rows"), i, row) {
        tn_study_part part = {
            .scenario = rows_scenario(rows_text(row, "dataset"), (int)rows_integer(row, "batch")),
            .weight = 1};
        rows_workload(rows_text(row, "model"), &part.workload);
        tn_finding *f = explore(&part, 1, &space, 1);
        assert_int_equal(f->count, 32);
        assert_machine(&space, &f->machines[0], row);
        assert_true(f->machines[0].pareto && f->machines[0].optimal);
        tn_finding_release(f);
    }
    assert_true(i > 15);
    json_decref(utilizations);
    json_decref(file);
}

/* Machines that differ in buffers alone are equals; threads change nothing. */
static void test_explore__ranks_machines_as_known(void **state) {
    (void)state;
    json_t *file = rows_load("toy_arch_optimum"), *utilizations = rows_load("nmp_utilization");
    json_t *rows = json_object_get(file, "rows");
    tn_machine_space space;
    published_space(utilizations, 2, &space);
    space.channels[0] = 8;
    space.channel_count = 1;
    tn_study_part part = {.scenario = {16, 1024, 128, 2048, 2.0}, .weight = 1};
    rows_workload("opt", &part.workload);
    tn_finding *one = explore(&part, 1, &space, 1), *many = explore(&part, 1, &space, 3);
    assert_int_equal(one->count, 16 * 8);
    assert_int_equal(many->count, one->count);
    int64_t row = -1;
    for (int64_t i = 0; i < one->count; i++) {
        if (i % 8 == 0)
            for (row++; rows_integer(json_array_get(rows, (size_t)row), "nmp") != 8;) row++;
        rows_near(one->machines[i].value, rows_number(json_array_get(rows, (size_t)row), "total"),
                  1e-9, "total");
        assert_int_equal(one->machines[i].index, many->machines[i].index);
        assert_memory_equal(one->machines[i].parts, many->machines[i].parts, sizeof(tn_solution));
        assert_true(one->machines[i].pareto == (i < 8)); /* no areas, no energy: the fastest */
    }
    assert_machine(&space, &one->machines[0], json_array_get(rows, 0));
    tn_finding_release(one);
    tn_finding_release(many);
    json_decref(utilizations);
    json_decref(file);
}

static void test_explore__weighs_parts_and_limits_area(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_machine_space space = {.base = rows_machine(8, 8, 600, 25.6),
                              .elements = {{8, 4e8, 51.2e9}, {8, 8e8, 12.8e9}},
                              .element_count = 2};
    tn_study_part parts[2] = {{.scenario = rows_scenario("he", 1), .weight = 2},
                              {.scenario = rows_scenario("sg", 4), .weight = 0.5}};
    rows_workload("opt", &parts[0].workload);
    rows_workload("llama", &parts[1].workload);
    tn_finding *f = explore(parts, 2, &space, 2);
    for (int64_t i = 0; i < f->count; i++) {
        const tn_finding_machine *m = &f->machines[i];
        assert_true(m->feasible && m->optimal && m->value == m->latency);
        rows_near(m->value, 2 * m->parts[0].evaluation.total + 0.5 * m->parts[1].evaluation.total,
                  1e-15, "weighted sum");
    }
    tn_finding_release(f);

    space.technology.clock_count = 1;
    space.technology.clocks[0].fpu_area = 0.4; /* of eight: 3.2 mm² */
    tn_search_options options = TN_SEARCH_OPTIONS_INIT;
    tn_study study = {parts, 2, &space, npu, nmp};
    options.area_limit = 3;
    assert_ok(tn_explore(&study, &options, &f, &err), &err);
    assert_int_equal(f->count, 2);
    assert_false(f->machines[0].feasible || f->machines[1].feasible || f->machines[0].pareto);
    tn_finding_release(f);

    parts[1].weight = -1;
    assert_int_equal(tn_explore(&study, &options, &f, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "part 1 (llama3-8b) has weight -1"));
    study.count = 0;
    assert_int_equal(tn_explore(&study, &options, &f, &err), TN_INVALID);
    assert_null(f);
}

static bool stop_at_once(void *context, double done, double best) {
    ++*(int *)context;
    return !(done > 0 && isfinite(best));
}

static void test_explore__ends_when_told(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_finding *f;
    int calls = 0;
    tn_machine_space space = {.base = rows_machine(8, 8, 600, 25.6),
                              .elements = {{8, 4e8, 51.2e9}, {8, 8e8, 12.8e9}, {8, 6e8, 12.8e9}},
                              .element_count = 3};
    tn_study_part part = {.scenario = rows_scenario("he", 1), .weight = 1};
    rows_workload("opt", &part.workload);
    tn_study study = {&part, 1, &space, npu, nmp};
    tn_search_options options = TN_SEARCH_OPTIONS_INIT;
    options.threads = 1;
    options.progress = stop_at_once;
    options.context = &calls;
    assert_ok(tn_explore(&study, &options, &f, &err), &err);
    assert_int_equal(calls, 1);
    assert_int_equal(f->count, 1);
    assert_true(f->machines[0].feasible);
    tn_finding_release(f);
}

static void test_exact__says_that_memory_is_too_small(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_solution s;
    tn_workload w;
    rows_workload("opt", &w);
    tn_problem p = {.workload = &w,
                    .scenario = rows_scenario("he", 64),
                    .machine = rows_machine(6, 8, 600, 25.6),
                    .processor = npu,
                    .near_memory = nmp};
    tn_search_options options = TN_SEARCH_OPTIONS_INIT;
    assert_int_equal(tn_search_dataflow(&p, &options, &s, &err), TN_NOT_FOUND);
    assert_non_null(strstr(err.message, "opt-6.7b keeps 77824 MB of weights, keys and values"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact__finds_known_optima),
        cmocka_unit_test(test_union__is_never_worse_than_either),
        cmocka_unit_test(test_union__is_never_worse_without_time),
        cmocka_unit_test(test_explore__finds_the_known_best_machines),
        cmocka_unit_test(test_explore__ranks_machines_as_known),
        cmocka_unit_test(test_explore__weighs_parts_and_limits_area),
        cmocka_unit_test(test_explore__ends_when_told),
        cmocka_unit_test(test_exact__says_that_memory_is_too_small),
    };
    return cmocka_run_group_tests(tests, open_models, release_models);
}
