/* Random graphs against the reference, in every way there is (check_plan.h).
 *
 * TENON_RANDOM=FIRST[-LAST] checks these seeds instead of the usual ones, each graph in a process of
 * its own, and prints a shrunk graph for each that fails. TENON_RANDOM_COMPILE=0 only interprets. */
#include "unit/plan/random_graph.h"
#include "unit/plan/shrink_graph.h"

enum { QUICK_SEEDS = 220, COMPILED_SEEDS = 24, COMPILED_FIRST = 5000, LONG_BATCH = 20 };

static const int64_t bindings[][RANDOM_SYMBOLS] = {{9, 21}, {2, 3}, {5, 16}};

/* The order of symbols in the table is that of their first use; both are made in order. */
static plan_case *case_of(tn_arena *arena, const tn_graph *g, const double *bound,
                          const int64_t *symbols, const char *label) {
    plan_case *c = TN_NEW(arena, plan_case);
    double *bounds = TN_NEW_N(arena, double, g->outputs.len);
    for (uint32_t i = 0; i < g->outputs.len; i++) bounds[i] = bound[g->outputs.data[i].value];
    *c = (plan_case){
        .arena = arena, .graph = g, .label = label, .symbols = symbols, .bound = bounds};
    return c;
}

typedef struct checker {
    bool compile;
    bool quiet;
} checker;

static bool check(const checker *k, tn_arena *arena, const tn_graph *g, const double *bound,
                  const char *label, const char **why) {
    uint32_t count = g->dims->symbols.len ? TN_COUNT(bindings) : 1;
    for (uint32_t i = 0; i < count; i++) {
        plan_case *c = case_of(arena, g, bound, bindings[i], label);
        bool ok = plan_case_init(c, true);
        if (!ok && strstr(c->why, "a size is -")) continue; /* a window that does not fit */
        ok = ok && plan_interpret(c);
        if (ok && k->compile) {
            plan_case *ways[] = {c, c, c, c, c}; /* each place has a way of its own */
            ok = plan_compile(ways, TN_COUNT(ways), arena, (const char **)&c->why);
        }
        *why = c->why;
        if (!ok) return false;
    }
    return true;
}

static bool fails(void *context, const tn_graph *g, const double *bound) {
    checker *k = context;
    tn_arena arena;
    const char *why = NULL;
    tn_arena_init(&arena, tn_allocator_system());
    bool ok = check(k, &arena, g, bound, "shrunk", &why);
    if (!ok && !k->quiet) fprintf(stderr, "%s\n", why);
    tn_arena_deinit(&arena);
    return !ok;
}

static void report(uint64_t seed, const random_maker *m, checker *k, tn_arena *arena) {
    shrink_graph s = {
        .arena = arena, .graph = m->g, .bound = m->bound, .fails = fails, .context = k};
    k->quiet = true;
    if (!freopen("/dev/null", "w", stdout)) return; /* a child's messages */
    shrink(&s);
    k->quiet = false;
    tn_str text;
    tn_str_init(&text);
    tn_graph_print(s.graph, true, &text);
    fprintf(stderr, "seed %llu%s:\n%s", (unsigned long long)seed, k->compile ? " compiled" : "",
            tn_str_text(&text));
    shrink_fails(&s, s.graph, s.bound);
    tn_str_deinit(&text);
}

/* Checks one seed in a child process; reports it when it fails. */
static bool check_seed(uint64_t seed, bool compile) {
    tn_arena arena;
    tn_arena_init(&arena, tn_allocator_system());
    random_maker *m = random_graph(&arena, seed);
    checker k = {.compile = compile};
    shrink_graph s = {.fails = fails, .context = &k};
    bool failed = shrink_fails(&s, m->g, m->bound);
    if (failed) report(seed, m, &k, &arena);
    tn_arena_deinit(&arena);
    return !failed;
}

/* ---- the quick part ------------------------------------------------------------------------- */

static void test_random_plans__interpreted(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < QUICK_SEEDS; seed++)
        if (!check_seed(seed, false)) fail_msg("seed %llu", (unsigned long long)seed);
}

static bool compile_batch(uint64_t first, uint32_t count, tn_arena *arena, const char **why) {
    plan_case **cases = TN_NEW_N(arena, plan_case *, count * TN_COUNT(bindings));
    uint32_t n = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        random_maker *m = random_graph(arena, seed);
        const char *label = tn_arena_printf(arena, "seed %llu", (unsigned long long)seed);
        const int64_t *symbols = bindings[seed % TN_COUNT(bindings)];
        cases[n] = case_of(arena, m->g, m->bound, symbols, label);
        if (plan_case_init(cases[n], true)) {
            n++;
        } else if (!strstr(cases[n]->why, "a size is -")) {
            *why = cases[n]->why;
            return false;
        }
    }
    return plan_compile(cases, n, arena, why);
}

static void test_random_plans__compiled(void **state) {
    (void)state;
    if (!plan_has_compiler()) skip();
    tn_arena arena;
    const char *why = NULL;
    tn_arena_init(&arena, tn_allocator_system());
    if (!compile_batch(COMPILED_FIRST, COMPILED_SEEDS, &arena, &why)) fail_msg("%s", why);
    tn_arena_deinit(&arena);
}

/* ---- the long part -------------------------------------------------------------------------- */

typedef struct long_batch {
    uint64_t first;
    uint32_t count;
} long_batch;

static bool batch_fails(void *context, const tn_graph *g, const double *bound) {
    const long_batch *b = context;
    tn_arena arena;
    const char *why = NULL;
    (void)g;
    (void)bound;
    tn_arena_init(&arena, tn_allocator_system());
    bool ok = compile_batch(b->first, b->count, &arena, &why);
    if (!ok) fprintf(stderr, "%s\n", why);
    tn_arena_deinit(&arena);
    return !ok;
}

static int long_run(const char *range) {
    const char *option = getenv("TENON_RANDOM_COMPILE"), *to = strchr(range, '-');
    bool compile = !option || strcmp(option, "0") != 0;
    uint64_t first = strtoull(range, NULL, 10), last = to ? strtoull(to + 1, NULL, 10) : first;
    int failed = 0;
    for (uint64_t seed = first; seed <= last; seed++) {
        failed += !check_seed(seed, false);
        if (!compile || ((seed - first) % LONG_BATCH != LONG_BATCH - 1 && seed != last)) continue;
        long_batch b = {seed - (seed - first) % LONG_BATCH,
                        (uint32_t)((seed - first) % LONG_BATCH) + 1};
        shrink_graph s = {.fails = batch_fails, .context = &b};
        if (!shrink_fails(&s, NULL, NULL)) continue;
        for (uint64_t i = b.first; i < b.first + b.count; i++) failed += !check_seed(i, true);
    }
    fprintf(stderr, "%d of %llu graphs failed\n", failed, (unsigned long long)(last - first + 1));
    return failed != 0;
}

int main(void) {
    const char *range = getenv("TENON_RANDOM");
    if (range) return long_run(range);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_plans__interpreted),
        cmocka_unit_test(test_random_plans__compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
