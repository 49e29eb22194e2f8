/* Random dataflows are legal: on all built-in workloads, machines with any number of channels near memory, and
 * random graphs. */
#include "explore/sample.h"

#include "unit/explore/models.h"

/* What the draws of one problem were like. */
typedef struct seen {
    int groups, side_by_side, tiers, fissions, near_memory, normal;
} seen;

static void look(const tn_dataflow *d, seen *s) {
    for (int i = 0; i < d->count; i++) {
        const tn_placement *a = &d->at[i];
        s->groups += a->group > 0;
        s->side_by_side += a->partition > 0;
        s->tiers += a->tier > 0;
        *(a->nmp && a->normal ? &s->fissions : a->nmp ? &s->near_memory : &s->normal) += 1;
    }
}

static seen sample_many(const tn_problem *p, tn_dataflow_space space, int count) {
    seen s = {0};
    for (int i = 0; i < count; i++) {
        tn_error err = TN_ERROR_INIT;
        tn_dataflow d;
        sample_stream random = tn__sample_stream(7, 0, (uint32_t)i);
        sampler sampling = {p, space, &random};
        assert_true(tn__sample_dataflow(&sampling, &d));
        assert_ok(tn_dataflow_check(p, space, &d, &err), &err);
        look(&d, &s);
    }
    return s;
}

static tn_problem problem_of(const tn_workload *w, int channels, int batch) {
    return (tn_problem){.workload = w,
                        .scenario = rows_scenario("sg", batch),
                        .machine = rows_machine(channels, 8, 600, 25.6),
                        .processor = npu,
                        .near_memory = nmp};
}

static void test_samples__are_legal_on_every_machine(void **state) {
    (void)state;
    static const char *const models[] = {"opt", "llama", "palm"};
    for (int model = 0; model < 3; model++) {
        tn_workload w;
        rows_workload(models[model], &w);
        for (int channels = 0; channels <= 8; channels++) {
            for (int space = TN_COMPUTE_CENTRIC; space <= TN_UNION; space++) {
                tn_problem p = problem_of(&w, channels, 1 + 3 * (channels % 2));
                seen s = sample_many(&p, (tn_dataflow_space)space, 200);
                bool both = channels > 0 && channels < 8;
                assert_true(s.groups && s.tiers);
                assert_true(!channels || s.side_by_side);
                assert_int_equal(s.near_memory > 0, channels > 0);
                assert_int_equal(s.normal > 0, channels < 8);
                assert_int_equal(s.fissions > 0, both && space != TN_COMPUTE_CENTRIC);
            }
        }
    }
}

/* Products of random sizes, each of which reads some of those before it. */
static void random_workload(sample_stream *r, tn_workload *w) {
    *w = (tn_workload){.name = "random", .layers = 1, .count = 1 + tn__sample_below(r, 20)};
    for (int i = 0; i < w->count; i++) {
        tn_operator *o = &w->operators[i];
        snprintf(o->name, sizeof o->name, "op%d", i);
        o->n = 2 + tn__sample_below(r, 100);
        o->k = 1 + tn__sample_below(r, 100);
        if (tn__sample_below(r, 4) == 0) {
            o->kind = TN_OPERATOR_SCORES;
            o->heads = 1 + tn__sample_below(r, 5);
            o->group = 1 + tn__sample_below(r, 3);
        }
        for (int j = 0; j < i; j++)
            if (tn__sample_below(r, 4) == 0) w->before[i] |= 1u << j;
    }
}

static void test_samples__are_legal_on_random_graphs(void **state) {
    (void)state;
    sample_stream r = tn__sample_stream(1, 2, 3);
    for (int i = 0; i < 400; i++) {
        tn_workload w;
        random_workload(&r, &w);
        tn_problem p = problem_of(&w, tn__sample_below(&r, 65), 1 + tn__sample_below(&r, 4));
        p.machine.memory.channels = p.machine.near_memory.channels +
                                    tn__sample_below(&r, 65 - p.machine.near_memory.channels);
        if (!p.machine.memory.channels) p.machine.memory.channels = 1;
        for (int space = TN_COMPUTE_CENTRIC; space <= TN_UNION; space++)
            sample_many(&p, (tn_dataflow_space)space, 10);
    }
}

static void test_stream__depends_on_its_key_alone(void **state) {
    (void)state;
    sample_stream a = tn__sample_stream(5, 1, 2), b = tn__sample_stream(5, 1, 2);
    sample_stream others[] = {tn__sample_stream(6, 1, 2), tn__sample_stream(5, 2, 2),
                              tn__sample_stream(5, 1, 3), tn__sample_stream(5, 2, 1)};
    int equal[4] = {0}, counts[10] = {0};
    for (int i = 0; i < 10000; i++) {
        int x = tn__sample_below(&a, 10);
        assert_int_equal(x, tn__sample_below(&b, 10));
        for (int k = 0; k < 4; k++) equal[k] += x == tn__sample_below(&others[k], 10);
        counts[x]++;
    }
    for (int k = 0; k < 4; k++) assert_in_range(equal[k], 800, 1200);
    for (int k = 0; k < 10; k++) assert_in_range(counts[k], 850, 1150);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples__are_legal_on_every_machine),
        cmocka_unit_test(test_samples__are_legal_on_random_graphs),
        cmocka_unit_test(test_stream__depends_on_its_key_alone),
    };
    return cmocka_run_group_tests(tests, open_models, release_models);
}
