/* Exact search against trying every dataflow that tn_dataflow_check allows, on small graphs whose costs are
 * arbitrary. */
#include <time.h>

#include "unit/explore/rows.h"

#include "explore/dataflow.h"
#include "machine/cost_model.h"

/* ---- a cost model without rules ------------------------------------------------------------- */

static uint64_t seed;
static bool free_processor; /* takes no energy */

static double random_of(const tn_cost_query *q, uint64_t salt) {
    const int64_t key[] = {(int64_t)(seed + salt), q->unit,         q->event,
                           q->product.batch,       q->product.m,    q->product.n,
                           q->product.k,           q->nmp_channels, q->normal_channels};
    return (double)(tn_hash64(key, sizeof key) >> 11) * 0x1p-53;
}

/* Work over channels, by a factor of up to three: neither more channels nor less work need be faster. Meeting
 * costs no less with more channels. */
static tn_status arbitrary(void *state, const tn_cost_query *q, tn_cost *out, tn_error *err) {
    (void)state, (void)err;
    if (q->event != TN_COST_PRODUCT) {
        out->latency = 0.2 + 0.1 * q->nmp_channels + (q->event == TN_COST_SYNC ? 0.3 : 0);
        out->energy = 0.1 * q->nmp_channels;
        return TN_OK;
    }
    double work = (double)(q->product.batch * q->product.m * q->product.n * q->product.k);
    int channels = q->nmp_channels + q->normal_channels;
    double power = q->unit == TN_UNIT_PROCESSOR ? channels : 2.0 * q->nmp_channels;
    out->latency = work / power * (0.5 + random_of(q, 1)) / 40;
    out->energy = work * (0.5 + random_of(q, 2)) * (q->unit == TN_UNIT_PROCESSOR ? 2 : 1) / 40;
    if (free_processor && q->unit == TN_UNIT_PROCESSOR) out->energy = 0;
    return TN_OK;
}

static tn_cost_model model = {.name = "arbitrary", .separable = true, .cost = arbitrary};

/* ---- trying everything ---------------------------------------------------------------------- */

enum { MOST = 4, MOST_PLACES = 128 };

typedef struct trial {
    tn_problem problem;
    tn_search_options options;
    int count, place_count[MOST];
    tn_placement places[MOST][MOST_PLACES]; /* by operator: channels and ratios */
    tn_placement at[MOST];                  /* by operator */
    double best;
    int64_t tried, allowed;
} trial;

static double objective(const trial *t, const tn_evaluation *e) {
    if (t->options.objective == TN_ENERGY) return e->energy;
    return t->options.objective == TN_EDP ? e->energy * e->total : e->total;
}

static bool earlier(const tn_placement *a, const tn_placement *b) {
    if (a->group != b->group) return a->group < b->group;
    if (a->partition != b->partition) return a->partition < b->partition;
    return a->tier != b->tier ? a->tier < b->tier : a->op < b->op;
}

static void try_dataflow(trial *t) {
    tn_error err = TN_ERROR_INIT;
    tn_evaluation e;
    tn_dataflow d = {.count = t->count};
    memcpy(d.at, t->at, sizeof t->at);
    for (int i = 1; i < t->count; i++) {
        tn_placement a = d.at[i];
        int k = i;
        for (; k && earlier(&a, &d.at[k - 1]); k--) d.at[k] = d.at[k - 1];
        d.at[k] = a;
    }
    t->tried++;
    if (tn_dataflow_check(&t->problem, t->options.space, &d, &err)) return;
    t->allowed++;
    assert_ok(tn_dataflow_evaluate(&t->problem, &d, &e, &err), &err);
    if (e.fits) t->best = fmin(t->best, objective(t, &e));
}

/* Channels may not serve two operators of a tier, or two partitions of a group: others need not be tried. */
static bool clash(const trial *t, int op) {
    for (int i = 0; i < op; i++) {
        const tn_placement *a = &t->at[i], *b = &t->at[op];
        if (a->group != b->group) continue;
        if (a->partition != b->partition ? (a->nmp & b->nmp) || (a->normal && b->normal)
                                         : a->tier == b->tier && (a->nmp & b->nmp))
            return true;
    }
    return false;
}

static void try_places(trial *t, int op) {
    if (op == t->count) {
        try_dataflow(t);
        return;
    }
    tn_placement order = t->at[op];
    for (int i = 0; i < t->place_count[op]; i++) {
        t->at[op] = t->places[op][i];
        t->at[op].group = order.group;
        t->at[op].partition = order.partition;
        t->at[op].tier = order.tier;
        if (!clash(t, op)) try_places(t, op + 1);
    }
    t->at[op] = order;
}

static bool is_ordered(const trial *t) {
    for (int i = 0; i < t->count; i++) {
        for (int k = 0; k < t->count; k++) {
            const tn_placement *a = &t->at[k], *b = &t->at[i];
            if (!(t->problem.workload->before[i] >> k & 1)) continue;
            if (a->group > b->group ||
                (a->group == b->group && (a->partition != b->partition || a->tier >= b->tier)))
                return false;
        }
    }
    return true;
}

/* Numbers of groups, partitions and tiers are used from 0 on, partitions in the order of their operators. */
static bool is_canonical(const trial *t) {
    for (int i = 0; i < t->count; i++) {
        const tn_placement *b = &t->at[i];
        bool group = !b->group, partition = !b->partition, tier = !b->tier;
        for (int k = 0; k < t->count; k++) {
            const tn_placement *a = &t->at[k];
            group |= a->group + 1 == b->group;
            if (a->group != b->group) continue;
            partition |=
                k < i && (a->partition + 1 == b->partition || a->partition == b->partition);
            tier |= a->partition == b->partition && a->tier + 1 == b->tier;
        }
        if (!group || !partition || !tier) return false;
    }
    return true;
}

static void try_orders(trial *t, int op) {
    if (op == t->count) {
        if (is_canonical(t) && is_ordered(t)) try_places(t, 0);
        return;
    }
    for (int g = 0; g < t->count; g++)
        for (int p = 0; p <= op && p < t->count; p++)
            for (int r = 0; r < t->count; r++) {
                t->at[op] = (tn_placement){.op = (uint8_t)op,
                                           .group = (uint8_t)g,
                                           .partition = (uint8_t)p,
                                           .tier = (uint8_t)r};
                try_orders(t, op + 1);
            }
}

static void add_place(trial *t, int op, uint64_t nmp, bool normal, double ratio) {
    assert_true(t->place_count[op] < MOST_PLACES);
    t->places[op][t->place_count[op]++] =
        (tn_placement){.op = (uint8_t)op, .nmp = nmp, .normal = normal, .ratio = ratio};
}

static void list_places(trial *t, int op) {
    const tn_scenario *s = &t->problem.scenario;
    tn_product whole = tn_workload_product(t->problem.workload, op, s, tn_phase_decode(s));
    int64_t units = tn__fission_units(&whole);
    bool normal = tn__normal_channels(&t->problem.machine) > 0;
    if (normal) add_place(t, op, 0, true, 0);
    for (uint64_t set = 1; set <= tn__nmp_channels(&t->problem.machine); set++) {
        double ratios[TN_FISSION_RATIOS];
        int count = tn__fission_ratios(&t->problem, op, tn__channel_count(set), ratios);
        add_place(t, op, set, false, 1);
        if (!normal || t->options.space == TN_COMPUTE_CENTRIC) continue;
        for (int i = 0; i < count; i++) add_place(t, op, set, true, ratios[i]);
        for (int64_t i = 1; i < units && t->options.space == TN_UNION; i++)
            add_place(t, op, set, true, tn__fission_share(i, units));
    }
}

/* ---- small problems ------------------------------------------------------------------------- */

static void add_weights(tn_workload *w, int64_t n, int64_t k, uint32_t before) {
    tn_operator *o = &w->operators[w->count];
    snprintf(o->name, sizeof o->name, "w%d", w->count);
    o->n = n;
    o->k = k;
    w->before[w->count++] = before;
}

static void small_graph(int shape, tn_workload *w) {
    *w = (tn_workload){.name = "small", .layers = 1};
    switch (shape) {
    case 0: /* two that join */
        add_weights(w, 4, 3, 0);
        add_weights(w, 3, 5, 0);
        add_weights(w, 4, 4, 3);
        return;
    case 1: /* a chain beside one alone */
        add_weights(w, 3, 4, 0);
        add_weights(w, 4, 2, 1);
        add_weights(w, 4, 6, 0);
        return;
    default: /* a diamond */
        add_weights(w, 3, 4, 0);
        add_weights(w, 3, 2, 1);
        add_weights(w, 2, 6, 1);
        add_weights(w, 3, 3, 6);
    }
}

static tn_machine small_machine(int channels, int nmp) {
    tn_machine m = rows_machine(nmp, 8, 600, 6.4);
    m.memory.channels = channels;
    m.memory.banks = 1;
    return m;
}

static void run_trial(trial *t, tn_solution *s) {
    tn_error err = TN_ERROR_INIT;
    t->problem.processor = t->problem.near_memory = &model;
    t->count = t->problem.workload->count;
    t->best = INFINITY;
    for (int op = 0; op < t->count; op++) list_places(t, op);
    try_orders(t, 0);
    assert_true(t->allowed > 0);
    tn_status status = tn_search_dataflow(&t->problem, &t->options, s, &err);
    if (t->best == INFINITY) {
        assert_int_equal(status, TN_NOT_FOUND);
        return;
    }
    assert_ok(status, &err);
    assert_ok(tn_dataflow_check(&t->problem, t->options.space, &s->dataflow, &err), &err);
    assert_true(s->evaluation.fits);
    double value = objective(t, &s->evaluation);
    if (s->optimal)
        rows_near(value, t->best, 1e-11, "optimum");
    else
        assert_true(s->lower_bound <= t->best * (1 + 1e-11) && t->best <= value * (1 + 1e-11));
}

static trial small_trial(const tn_workload *w, int space, int channels, int nmp) {
    return (trial){.problem = {.workload = w,
                               .scenario = {2, 3, 4, 16, 2},
                               .machine = small_machine(channels, nmp)},
                   .options = {.size = sizeof(tn_search_options),
                               .space = (tn_dataflow_space)space,
                               .seconds = 20}};
}

static void test_exact_search__equals_trying_everything(void **state) {
    (void)state;
    static const int channels[][3] = {{3, 2, 0}, {3, 2, 1}, {2, 2, 1}, {2, 1, 2}, {2, 0, 1}};
    tn_workload w;
    for (size_t i = 0; i < TN_COUNT(channels); i++) {
        for (int space = TN_COMPUTE_CENTRIC; space <= TN_UNION; space++) {
            small_graph(channels[i][2], &w);
            for (int round = 0; round < 2; round++) {
                tn_solution s;
                trial t = small_trial(&w, space, channels[i][0], channels[i][1]);
                seed++;
                model.events = round == 1;
                run_trial(&t, &s);
                assert_true(s.optimal);
            }
        }
    }
}

static void test_exact_search__takes_any_objective(void **state) {
    (void)state;
    tn_workload w;
    model.events = true;
    for (int space = TN_COMPUTE_CENTRIC; space <= TN_UNION; space++) {
        for (int goal = TN_ENERGY; goal <= TN_EDP; goal++) {
            tn_solution s;
            small_graph(0, &w);
            trial t = small_trial(&w, space, 3, 2);
            t.options.objective = (tn_objective)goal;
            seed++;
            run_trial(&t, &s);
            assert_true(s.optimal || (space == TN_UNION && goal == TN_EDP));
        }
    }
}

static void test_exact_search__bounds_what_fits(void **state) {
    (void)state;
    int proven = 0, count = 0;
    tn_workload w;
    model.events = false;
    for (int space = TN_COMPUTE_CENTRIC; space <= TN_UNION; space++) {
        for (int room = 0; room < 4; room++) {
            tn_solution s = {0};
            small_graph(room % 2 ? 1 : 0, &w);
            trial t = small_trial(&w, space, 3, 2);
            double bytes = 0;
            for (int op = 0; op < w.count; op++)
                bytes += tn_workload_bytes(&w, op, &t.problem.scenario);
            t.problem.machine.memory.bank_bytes = bytes / 3 * (1.05 + 0.1 * room);
            seed++;
            run_trial(&t, &s);
            assert_true(s.optimal || space == TN_UNION || t.best == INFINITY);
            proven += s.optimal;
            count += t.best < INFINITY;
        }
    }
    assert_true(count >= 10 && proven * 3 >= count * 2);
}

/* What costs least costs nothing, and does not fit. */
static void test_exact_search__prices_bytes_where_nothing_else_costs(void **state) {
    (void)state;
    tn_workload w;
    free_processor = true;
    for (int space = TN_COMPUTE_CENTRIC; space <= TN_DATA_CENTRIC; space++) {
        tn_solution s = {0};
        small_graph(1, &w);
        trial t = small_trial(&w, space, 3, 2);
        t.options.objective = TN_ENERGY;
        t.problem.machine.memory.bank_bytes = 0;
        for (int op = 0; op < w.count; op++)
            t.problem.machine.memory.bank_bytes +=
                0.4 * tn_workload_bytes(&w, op, &t.problem.scenario);
        run_trial(&t, &s);
        assert_true(s.evaluation.fits && s.evaluation.energy > 0);
    }
    free_processor = false;
}

/* Places 0 and 2 of small_graph(1) depend on nothing of each other. */
static void test_check__wants_connected_partitions_and_whole_units(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_workload w;
    small_graph(1, &w);
    trial t = small_trial(&w, TN_UNION, 3, 2);
    tn_dataflow d = {3,
                     {{.op = 0, .nmp = 1, .ratio = 1},
                      {.op = 2, .tier = 1, .nmp = 1, .ratio = 1},
                      {.op = 1, .group = 1, .nmp = 3, .normal = true, .ratio = 0.25}}};
    assert_int_equal(tn_dataflow_check(&t.problem, TN_UNION, &d, &err), TN_INVALID);
    assert_non_null(
        strstr(err.message, "operator w2 is in one partition with w0, but not connected"));
    d.at[1].partition = 1;
    d.at[1].tier = 0;
    d.at[1].nmp = 2;
    assert_ok(tn_dataflow_check(&t.problem, TN_UNION, &d, &err), &err);
    d.at[2].ratio = 0.3;
    assert_int_equal(tn_dataflow_check(&t.problem, TN_UNION, &d, &err), TN_INVALID);
    assert_non_null(
        strstr(err.message, "operator w1: 0.29999999999999999 of it is no whole number"));
}

static void test_exact_search__needs_separable_models(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_solution s;
    tn_workload w;
    small_graph(0, &w);
    trial t = small_trial(&w, TN_UNION, 3, 2);
    tn_cost_model chained = model;
    chained.separable = false;
    t.problem.processor = &model;
    t.problem.near_memory = &chained;
    assert_int_equal(tn_search_dataflow(&t.problem, &t.options, &s, &err), TN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "cost model arbitrary is not separable"));
}

static void test_exact_search__refuses_graphs_with_too_many_ideals(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_solution s;
    tn_workload w = {.name = "wide", .layers = 1};
    for (int i = 0; i < 12; i++) add_weights(&w, 3, 3, 0);
    trial t = small_trial(&w, TN_DATA_CENTRIC, 3, 2);
    t.problem.processor = t.problem.near_memory = &model;
    assert_int_equal(tn_search_dataflow(&t.problem, &t.options, &s, &err), TN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "wide has more than 1024 ideals"));
}

/* Sets that take far longer than there is time for: what a short genetic search finds, and no proof. */
static void test_exact_search__ends_in_time(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_solution s;
    tn_workload w = {.name = "wide", .layers = 1};
    for (int i = 0; i < 9; i++) add_weights(&w, 3 + i, 3, 0);
    trial t = small_trial(&w, TN_DATA_CENTRIC, 64, 60);
    t.problem.processor = t.problem.near_memory = &model;
    t.options.seconds = 0.25;
    clock_t start = clock();
    assert_ok(tn_search_dataflow(&t.problem, &t.options, &s, &err), &err);
    assert_true((double)(clock() - start) < 5.0 * CLOCKS_PER_SEC);
    assert_true(s.evaluation.fits && !s.optimal && s.lower_bound <= s.evaluation.total);
    assert_ok(tn_dataflow_check(&t.problem, TN_DATA_CENTRIC, &s.dataflow, &err), &err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_search__ends_in_time),
        cmocka_unit_test(test_exact_search__equals_trying_everything),
        cmocka_unit_test(test_exact_search__takes_any_objective),
        cmocka_unit_test(test_exact_search__bounds_what_fits),
        cmocka_unit_test(test_exact_search__prices_bytes_where_nothing_else_costs),
        cmocka_unit_test(test_check__wants_connected_partitions_and_whole_units),
        cmocka_unit_test(test_exact_search__needs_separable_models),
        cmocka_unit_test(test_exact_search__refuses_graphs_with_too_many_ideals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
