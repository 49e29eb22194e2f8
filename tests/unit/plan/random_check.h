/* Random graphs, each made from a number, against the reference in every way there is (check_plan.h): alone
 * or many in one compile. A number fails in a process of its own, so that crashes are failures too, and
 * is told with the smallest graph that still fails. */
#ifndef TENON_TESTS_RANDOM_CHECK_H
#define TENON_TESTS_RANDOM_CHECK_H

#include "unit/plan/random_graph.h"
#include "unit/plan/shrink_graph.h"

/* What is counted while graphs are checked, by any process. */
typedef struct random_counts {
    uint64_t refused;        /* sizes that do not fit under the bindings */
    uint64_t interpreted;    /* equal to the reference */
    uint64_t users, quick;   /* and their compiled kernels, too, with these flags */
    uint64_t empty, kernels; /* nothing to compile is left of the graph; kernels of the others */
    uint64_t elements, undefined;
} random_counts;

typedef struct random_check {
    bool wild;    /* random_wild_graph(), compared by rounding_slack() */
    bool compile; /* and not only interpret */
    bool best;    /* only for this machine's best target */
    bool quick;   /* with few of the compiler's passes */
    bool one;     /* number `which` of the bindings and of the ways beside the fused one, not all */
    uint64_t which;
    random_counts *counts; /* or NULL */
} random_check;

enum { RANDOM_BINDINGS = 3 };

/* Of the symbols in the order of their table, which is that of their first use. */
static inline const int64_t *random_bindings(const random_check *k, uint64_t which) {
    static const int64_t smooth[][RANDOM_SYMBOLS] = {{9, 21}, {2, 3}, {5, 16}};
    static const int64_t wild[][RANDOM_SYMBOLS] = {{9, 21}, {1, 2}, {5, 16}};
    return k->wild ? wild[which % RANDOM_BINDINGS] : smooth[which % RANDOM_BINDINGS];
}

static inline random_maker *random_made(const random_check *k, tn_arena *arena, uint64_t seed) {
    return k->wild ? random_wild_graph(arena, seed) : random_graph(arena, seed);
}

/* Whether there are inputs and results; a window that does not fit its axis gives neither. */
static inline bool random_case(const random_check *k, plan_case *c, const tn_graph *g,
                               const double *bound, const int64_t *symbols, const char *label) {
    *c = (plan_case){.arena = g->arena, .graph = g, .label = label, .symbols = symbols};
    if (!plan_case_init(c, true)) return false;
    if (bound && !k->wild) {
        double *bounds = TN_NEW_N(g->arena, double, g->outputs.len);
        for (uint32_t i = 0; i < g->outputs.len; i++) bounds[i] = bound[g->outputs.data[i].value];
        c->bound = bounds;
        return true;
    }
    c->slack = rounding_slack(g, c->inputs, c->want, symbols, g->arena);
    return c->slack || plan_fails(c, "the reference cannot be evaluated again");
}

/* A refusal is no failure: sizes that do not fit under these bindings. */
static inline bool random_is_refused(const plan_case *c) {
    return strstr(c->why, "a size is -") != NULL;
}

static inline bool random_compile(const random_check *k, plan_case **cases, uint32_t count,
                                  tn_arena *arena, const char **why) {
    if (!k->best) return plan_compile(cases, count, arena, why);
    plan_batch b = {.cases = cases,
                    .count = count,
                    .target = tn_target_native(),
                    .quick = k->quick,
                    .arena = arena};
    bool ok = plan_batch_check(&b);
    for (uint32_t i = 0; ok && k->counts && i < count; i++) {
        uint32_t kernels = b.programs[i].kernels.len;
        k->counts->kernels += kernels;
        *(!kernels ? &k->counts->empty : k->quick ? &k->counts->quick : &k->counts->users) += 1;
    }
    if (!ok) *why = b.why;
    return ok;
}

static inline void random_count(random_counts *counts, const plan_case *c) {
    counts->interpreted++;
    for (uint32_t i = 0; i < c->graph->outputs.len; i++) {
        int64_t count = tn_array_count(&c->want[i]);
        counts->elements += (uint64_t)count;
        for (int64_t e = 0; c->slack && e < count; e++)
            counts->undefined += isnan(c->slack[i][e]) ? 1 : 0;
    }
}

/* Interpreted in the ways asked for. */
static inline bool random_interpret(const random_check *k, plan_case *c, uint64_t which) {
    if (k->one) c->ways = 1u << PLAN_FUSED | 1u << (which / RANDOM_BINDINGS % PLAN_VARIANTS);
    if (!plan_interpret(c)) return false;
    if (k->counts) random_count(k->counts, c);
    return true;
}

/* One graph under the bindings asked for. */
static inline bool random_check_graph(const random_check *k, const tn_graph *g, const double *bound,
                                      const char *label, const char **why) {
    uint32_t count = g->dims->symbols.len ? RANDOM_BINDINGS : 1;
    if (k->one) count = 1;
    for (uint32_t i = 0; i < count; i++) {
        plan_case *c = TN_NEW(g->arena, plan_case);
        bool ok = random_case(k, c, g, bound, random_bindings(k, k->which + i), label);
        if (!ok && random_is_refused(c)) continue;
        ok = ok && random_interpret(k, c, k->which);
        if (ok && k->compile) {
            plan_case *ways[] = {c, c, c, c, c, c}; /* each place has a way of its own */
            ok = random_compile(k, ways, TN_COUNT(ways), g->arena, (const char **)&c->why);
        }
        *why = c->why;
        if (!ok) return false;
    }
    return true;
}

/* The graphs of `count` seeds, each under one of the bindings: interpreted, if that is asked for, and then all
 * in one compile. */
static inline bool random_check_batch(const random_check *k, uint64_t first, uint32_t count,
                                      bool interpret, tn_arena *arena, const char **why) {
    plan_case **cases = TN_NEW_N(arena, plan_case *, count);
    uint32_t n = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        random_maker *m = random_made(k, arena, seed);
        plan_case *c = cases[n] = TN_NEW(arena, plan_case);
        const char *label = tn_arena_printf(arena, "seed %llu", (unsigned long long)seed);
        bool ok = random_case(k, c, m->g, m->bound, random_bindings(k, seed), label);
        n += ok;
        if (ok && interpret) ok = random_interpret(k, c, seed);
        if (ok) continue;
        *why = c->why;
        if (!random_is_refused(c)) return false;
        if (k->counts) k->counts->refused++;
    }
    return !k->compile || random_compile(k, cases, n, arena, why);
}

/* ---- failures ------------------------------------------------------------------------------- */

typedef struct random_failing {
    const random_check *check;
    bool quiet;
} random_failing;

static inline bool random_fails(void *context, const tn_graph *g, const double *bound) {
    random_failing *f = context;
    const char *why = NULL;
    bool ok = random_check_graph(f->check, g, bound, "graph", &why);
    if (!ok && !f->quiet) fprintf(stderr, "%s\n", why);
    return !ok;
}

static inline void random_report(random_failing *f, uint64_t seed, const random_maker *m,
                                 tn_arena *arena) {
    shrink_graph s = {.arena = arena,
                      .graph = m->g,
                      .bound = m->bound,
                      .kind = m->edge ? FILL_EDGE : NULL,
                      .fails = random_fails,
                      .context = f};
    tn_str text;
    f->quiet = true;
    if (!freopen("/dev/null", "w", stdout)) return; /* a child's messages */
    shrink(&s);
    f->quiet = false;
    tn_str_init(&text);
    tn_graph_print(s.graph, true, &text);
    fprintf(stderr, "%s seed %llu%s:\n%s", f->check->wild ? "wild" : "smooth",
            (unsigned long long)seed, f->check->compile ? " compiled" : "", tn_str_text(&text));
    shrink_fails(&s, s.graph, s.bound);
    tn_str_deinit(&text);
}

/* Checks one seed in a process of its own; reports it when it fails. */
static inline bool random_check_seed(const random_check *check, uint64_t seed) {
    random_check own = *check, *k = &own;
    tn_arena arena;
    own.which = seed;
    tn_arena_init(&arena, tn_allocator_system());
    random_maker *m = random_made(k, &arena, seed);
    random_failing f = {.check = k};
    shrink_graph s = {.fails = random_fails, .context = &f};
    bool failed = shrink_fails(&s, m->g, m->bound);
    if (failed) random_report(&f, seed, m, &arena);
    tn_arena_deinit(&arena);
    return !failed;
}

#endif
