/* Genetic search: near the exact optimum, the same bits for any number of threads, several uses at once, and cost
 * models that see what came before. */
#include <stdatomic.h>

#include "machine/cost_model.h"
#include "unit/explore/models.h"

static tn_search_options genetic(int population, int generations) {
    tn_search_options o = TN_SEARCH_OPTIONS_INIT;
    o.method = TN_GENETIC;
    o.population = population;
    o.generations = generations;
    o.mutate_ratio = 0.8;
    o.seed = 114514;
    return o;
}

static tn_problem point(tn_workload *w, const char *model, const char *dataset, int batch) {
    rows_workload(model, w);
    return (tn_problem){.workload = w,
                        .scenario = rows_scenario(dataset, batch),
                        .machine = rows_machine(6, 8, 600, 25.6),
                        .processor = npu,
                        .near_memory = nmp};
}

static tn_solution solve(const tn_problem *p, const tn_search_options *o) {
    tn_error err = TN_ERROR_INIT;
    tn_solution s;
    tn_evaluation e;
    assert_ok(tn_search_dataflow(p, o, &s, &err), &err);
    assert_ok(tn_dataflow_check(p, o->space, &s.dataflow, &err), &err);
    assert_ok(tn_dataflow_evaluate(p, &s.dataflow, &e, &err), &err);
    assert_memory_equal(&e, &s.evaluation, sizeof e);
    assert_true(e.fits && (s.optimal || o->method == TN_GENETIC));
    return s;
}

static void test_genetic__comes_near_the_optimum(void **state) {
    (void)state;
    static const struct {
        const char *model, *dataset;
        int batch;
        tn_dataflow_space spaces; /* up to this one */
    } points[] = {{"opt", "he", 1, TN_UNION},
                  {"llama", "lg", 4, TN_UNION},
                  {"palm", "lb", 4, TN_UNION},
                  {"opt", "lg", 16, TN_DATA_CENTRIC}}; /* hardly fits */
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        for (int space = TN_COMPUTE_CENTRIC; space <= (int)points[i].spaces; space++) {
            tn_workload w;
            tn_problem p = point(&w, points[i].model, points[i].dataset, points[i].batch);
            tn_search_options o = genetic(300, 20), exact = TN_SEARCH_OPTIONS_INIT;
            o.space = exact.space = (tn_dataflow_space)space;
            double best = solve(&p, &exact).evaluation.total,
                   found = solve(&p, &o).evaluation.total;
            assert_true(found >= best * (1 - 1e-12));
            assert_true(found <= best * 1.02);
        }
}

static void test_genetic__depends_on_the_seed_alone(void **state) {
    (void)state;
    tn_workload w;
    tn_problem p = point(&w, "llama", "sg", 16);
    tn_search_options o = genetic(60, 6);
    o.threads = 1;
    tn_solution one = solve(&p, &o), more;
    o.threads = 5;
    more = solve(&p, &o);
    assert_memory_equal(&one, &more, sizeof one);
    o.seed = 1;
    more = solve(&p, &o);
    assert_memory_not_equal(&one, &more, sizeof one);
}

/* Keeps the best value after each generation; ends the search at `limit`. */
typedef struct watch {
    double last, best, limit;
} watch;

static bool look(void *context, double done, double best) {
    watch *w = context;
    assert_true(done >= w->last && done <= 1 && best <= w->best);
    w->last = done;
    w->best = best;
    return done < w->limit;
}

static void test_genetic__never_loses_its_best(void **state) {
    (void)state;
    tn_workload w;
    tn_problem p = point(&w, "palm", "sg", 4);
    tn_search_options o = genetic(50, 12);
    watch whole = {0, INFINITY, 2}, half = {0, INFINITY, 0.5}, start = {0, INFINITY, 0};
    o.threads = 1;
    o.progress = look;
    o.context = &whole;
    tn_solution all = solve(&p, &o);
    assert_true(whole.last == 1 && all.evaluation.total <= whole.best);
    o.context = &half;
    tn_solution cut = solve(&p, &o);
    assert_true(half.last == 0.5 && cut.evaluation.total >= all.evaluation.total);
    o.context = &start;
    assert_true(solve(&p, &o).evaluation.total >= cut.evaluation.total);
}

/* 2, 4, 6 or 8 channels, three elements, and buffers that cost nothing. */
static tn_machine_space some_machines(void) {
    return (tn_machine_space){
        .base = rows_machine(6, 8, 600, 25.6),
        .channels = {2, 4, 6, 8},
        .channel_count = 4,
        .elements = {{8, 400e6, 6.4e9}, {8, 600e6, 25.6e9}, {8, 400e6, 51.2e9}},
        .element_count = 3,
        .input_buffers = {4096, 8192},
        .input_buffer_count = 2};
}

static tn_finding *explore(const tn_study_part *parts, int count, const tn_machine_space *space,
                           const tn_search_options *o) {
    tn_error err = TN_ERROR_INIT;
    tn_finding *f;
    tn_study study = {parts, count, space, npu, nmp};
    assert_ok(tn_explore(&study, o, &f, &err), &err);
    for (int64_t i = 0; i < f->count; i++) {
        const tn_finding_machine *m = &f->machines[i];
        double value = 0;
        for (int k = 0; k < count; k++) {
            tn_problem p = {.workload = &parts[k].workload,
                            .scenario = parts[k].scenario,
                            .processor = npu,
                            .near_memory = nmp};
            tn_machine_space_at(space, m->index, &p.machine);
            assert_ok(tn_dataflow_check(&p, o->space, &m->parts[k].dataflow, &err), &err);
            value += parts[k].weight * m->parts[k].evaluation.total;
        }
        assert_true(m->feasible && value == m->value && value == m->latency);
        assert_true(!i || m->value >= m[-1].value);
    }
    return f;
}

static void test_explore__weighs_uses_that_share_a_machine(void **state) {
    (void)state;
    tn_study_part parts[] = {{.scenario = rows_scenario("he", 1), .weight = 3},
                             {.scenario = rows_scenario("lg", 4), .weight = 0.5}};
    tn_machine_space space = some_machines();
    tn_search_options o = genetic(400, 20), exact = TN_SEARCH_OPTIONS_INIT;
    rows_workload("llama", &parts[0].workload);
    rows_workload("palm", &parts[1].workload);
    tn_finding *best = explore(parts, 2, &space, &exact), *found = explore(parts, 2, &space, &o);
    assert_true(found->count > 1 && found->count <= 24);
    assert_true(found->machines[0].value >= best->machines[0].value * (1 - 1e-12));
    assert_true(found->machines[0].value <= best->machines[0].value * 1.02);
    o.threads = 3;
    tn_finding *again = explore(parts, 2, &space, &o);
    assert_int_equal(again->count, found->count);
    for (int64_t i = 0; i < found->count; i++) {
        assert_int_equal(again->machines[i].index, found->machines[i].index);
        assert_memory_equal(again->machines[i].parts, found->machines[i].parts,
                            2 * sizeof(tn_solution));
    }
    tn_finding_release(again);
    tn_finding_release(found);
    tn_finding_release(best);
}

/* The roofline, where a product after one of another width takes ten times as long. */
static tn_status moody_cost(void *state, const tn_cost_query *q, tn_cost *out, tn_error *err) {
    (void)state;
    TN_CHECK(tn_cost_of(nmp, q, out, err));
    if (q->before && q->before->product.n != q->product.n) out->latency *= 10;
    out->energy = out->latency * 2;
    return TN_OK;
}

static void test_genetic__serves_models_that_see_what_came_before(void **state) {
    (void)state;
    tn_cost_model moody = {.name = "moody", .cost = moody_cost};
    tn_error err = TN_ERROR_INIT;
    tn_workload w;
    tn_problem p = point(&w, "opt", "sg", 1);
    tn_search_options o = genetic(200, 15), exact = TN_SEARCH_OPTIONS_INIT;
    tn_solution s;
    p.machine = rows_machine(8, 8, 600, 25.6); /* nothing can be on normal channels */
    double free_of_mood = solve(&p, &exact).evaluation.total;
    p.near_memory = &moody;
    assert_int_equal(tn_search_dataflow(&p, &exact, &s, &err), TN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "moody"));
    /* Groups forget what was before, so a group each is as fast as ever. */
    assert_true(solve(&p, &o).evaluation.total <= free_of_mood * 1.02);
    for (int objective = TN_ENERGY; objective <= TN_EDP; objective++) {
        o.objective = (tn_objective)objective;
        assert_true(solve(&p, &o).evaluation.energy > 0);
    }
}

/* The roofline, counting questions. */
static tn_status counting_cost(void *state, const tn_cost_query *q, tn_cost *out, tn_error *err) {
    atomic_fetch_add((atomic_int *)state, 1);
    return tn_cost_of(nmp, q, out, err);
}

static void test_genetic__asks_separable_models_once(void **state) {
    (void)state;
    atomic_int asked = 0;
    tn_cost_model counting = {.name = "counting", .cost = counting_cost, .state = &asked};
    tn_workload w;
    tn_problem p = point(&w, "llama", "sg", 4);
    tn_search_options o = genetic(100, 10);
    o.threads = 1;
    tn_solution plain = solve(&p, &o), memoised, every;
    p.near_memory = &counting;
    every = solve(&p, &o);
    assert_true(atomic_exchange(&asked, 0) > 5000);
    counting.separable = true;
    memoised = solve(&p, &o);
    assert_in_range(atomic_load(&asked), 50, 1000);
    assert_memory_equal(&every, &plain, sizeof plain);
    assert_memory_equal(&memoised, &plain, sizeof plain);
}

static tn_status broken_cost(void *state, const tn_cost_query *q, tn_cost *out, tn_error *err) {
    (void)state, (void)err;
    out->latency = q->product.m > 1 ? 1 : NAN;
    return TN_OK;
}

static void test_genetic__says_what_is_wrong(void **state) {
    (void)state;
    tn_cost_model broken = {.name = "broken", .cost = broken_cost};
    tn_error err = TN_ERROR_INIT;
    tn_workload w;
    tn_problem p = point(&w, "opt", "sg", 1);
    tn_search_options o = genetic(20, 2);
    tn_solution s;
    p.near_memory = &broken;
    o.threads = 3;
    assert_int_equal(tn_search_dataflow(&p, &o, &s, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "broken"));
    p = point(&w, "opt", "sg", 16);
    p.machine.memory.bank_bytes /= 4;
    assert_int_equal(tn_search_dataflow(&p, &o, &s, &err), TN_NOT_FOUND);
    assert_non_null(strstr(err.message, "no dataflow of opt-6.7b was found that fits"));
    tn_study_part part = {.workload = w, .scenario = p.scenario, .weight = 1};
    tn_machine_space space = {.base = p.machine};
    tn_finding *f = explore(&part, 1, &space, &o);
    assert_int_equal(f->count, 0);
    tn_finding_release(f);
    o.mutate_ratio = NAN;
    assert_int_equal(tn_search_dataflow(&p, &o, &s, &err), TN_INVALID);
    o.mutate_ratio = 1;
    o.population = 1 << 30;
    assert_int_equal(tn_search_dataflow(&p, &o, &s, &err), TN_UNSUPPORTED);
}

/* A memory that few placements fit into: the least excess is worked off. */
static void test_genetic__finds_what_hardly_fits(void **state) {
    (void)state;
    tn_workload w;
    tn_problem p = point(&w, "opt", "he", 16);
    tn_search_options o = genetic(200, 20);
    p.machine.memory.bank_bytes *= 0.89;
    for (int space = TN_COMPUTE_CENTRIC; space <= TN_UNION; space++) {
        o.space = (tn_dataflow_space)space;
        solve(&p, &o);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_genetic__comes_near_the_optimum),
        cmocka_unit_test(test_genetic__depends_on_the_seed_alone),
        cmocka_unit_test(test_genetic__never_loses_its_best),
        cmocka_unit_test(test_explore__weighs_uses_that_share_a_machine),
        cmocka_unit_test(test_genetic__serves_models_that_see_what_came_before),
        cmocka_unit_test(test_genetic__asks_separable_models_once),
        cmocka_unit_test(test_genetic__says_what_is_wrong),
        cmocka_unit_test(test_genetic__finds_what_hardly_fits),
    };
    return cmocka_run_group_tests(tests, open_models, release_models);
}
