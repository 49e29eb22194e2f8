/* The exact solver: a dataflow is a chain of ideals of the operator graph, from the empty one to all operators;
 * what lies between two of them is a memory access group. */
#include "explore/exact.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "explore/dataflow.h"
#include "explore/search.h"
#include "explore/workload.h"

enum { MOST_IDEALS = 1024 };

/* Ideals: sets that hold with an operator all that it reads; smaller ones first. */
static tn_status find_ideals(exact_solver *s, tn_error *err) {
    const tn_workload *w = s->workload;
    tn_map seen;
    tn_map_init(&seen, s->arena);
    tn_vec_push(s->arena, &s->ideals, (exact_ideal){0});
    for (uint32_t i = 0; i < s->ideals.len; i++) {
        for (int op = 0; op < w->count; op++) {
            uint32_t set = s->ideals.data[i].ops, grown = set | 1u << op, at;
            if (grown == set || (w->before[op] & ~set)) continue;
            if (tn_map_get(&seen, &grown, sizeof grown, &at)) continue;
            if (s->ideals.len == MOST_IDEALS)
                return tn_error_set(
                    err, TN_UNSUPPORTED,
                    "%s has more than %d ideals (sets of operators that can be done "
                    "first), too many for exact search; genetic search takes it",
                    w->name, MOST_IDEALS);
            tn_map_put(&seen, &grown, sizeof grown, s->ideals.len);
            tn_vec_push(s->arena, &s->ideals, (exact_ideal){.ops = grown});
        }
    }
    return TN_OK;
}

tn_status tn__exact_init(exact_solver *s, tn_arena *arena, const tn_problem *p,
                         const exact_costs *costs, tn_dataflow_space space, tn_error *err) {
    const tn_workload *w = p->workload;
    *s = (exact_solver){.arena = arena,
                        .problem = p,
                        .workload = w,
                        .costs = costs,
                        .space = space,
                        .generate = (double)p->scenario.generate};
    for (int op = 0; op < w->count; op++)
        for (uint32_t rest = w->before[op]; rest; rest &= rest - 1)
            s->after[tn__lowest(rest)] |= 1u << op;
    return find_ideals(s, err);
}

/* ---- limits --------------------------------------------------------------------------------- */

static double clock_seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double tn__exact_seconds(void) {
    return clock_seconds(CLOCK_MONOTONIC);
}

void tn__exact_limit(exact_solver *s, double seconds) {
    s->limit = (exact_limit){.wall = tn__exact_seconds() + seconds,
                             .thread = clock_seconds(CLOCK_THREAD_CPUTIME_ID) + seconds};
}

bool tn__exact_is_late(exact_solver *s) {
    if (s->late) return true;
    s->late =
        s->arena->used > EXACT_BYTES || (s->limit.wall > 0 && tn__exact_seconds() > s->limit.wall &&
                                         clock_seconds(CLOCK_THREAD_CPUTIME_ID) > s->limit.thread);
    return s->late;
}

bool tn__exact_look(exact_solver *s) {
    enum { LOOKS = 256 };
    return s->late || (++s->looks % LOOKS == 0 && tn__exact_is_late(s));
}

/* ---- solving -------------------------------------------------------------------------------- */

exact_solver *tn__exact_twin(const exact_solver *s) {
    exact_solver *twin = TN_NEW(s->arena, exact_solver);
    twin->arena = s->arena;
    twin->problem = s->problem;
    twin->workload = s->workload;
    twin->costs = s->costs;
    twin->space = s->space;
    twin->side = s->side;
    twin->balanced = s->balanced;
    twin->generate = s->generate;
    twin->limit = s->limit;
    memcpy(twin->after, s->after, sizeof twin->after);
    twin->ideals.data =
        tn_arena_dup(s->arena, s->ideals.data, s->ideals.len * sizeof *s->ideals.data);
    twin->ideals.len = twin->ideals.cap = s->ideals.len;
    return twin;
}

void tn__exact_reset(exact_solver *s, exact_weights weights) {
    s->weights = weights;
    s->step = weights.latency * s->generate;
    tn_map_init(&s->tier_sets, s->arena);
    tn_map_init(&s->partitions, s->arena);
    tn_map_init(&s->groups, s->arena);
    s->tier_lists.len = s->sequence_lists.len = s->group_list.len = 0;
    s->tiers.len = s->picks.len = s->sequences.len = s->parts.len = 0;
    tn_vec_push(s->arena, &s->sequences, (exact_sequence){.before = -1});
    tn__exact_options(s);
}

double tn__exact_solve(exact_solver *s, exact_weights weights) {
    tn__exact_reset(s, weights);
    for (uint32_t i = 1; i < s->ideals.len; i++) {
        exact_ideal *to = &s->ideals.data[i];
        to->best = INFINITY;
        for (uint32_t j = i; j-- > 0;) {
            const exact_ideal *from = &s->ideals.data[j];
            if ((from->ops & ~to->ops) || from->best == INFINITY) continue;
            double value = from->best + tn__exact_group(s, to->ops & ~from->ops).value;
            if (value < to->best) {
                to->best = value;
                to->from = j;
            }
        }
    }
    return s->late ? INFINITY : s->ideals.data[s->ideals.len - 1].best;
}

/* ---- the dataflow that was found ------------------------------------------------------------ */

static void write_tier(const exact_solver *s, const exact_tier *t, tn_placement place,
                       exact_plan *out) {
    for (int i = 0; i < __builtin_popcount(t->ops); i++) {
        const exact_pick *pick = &s->picks.data[t->picks + (uint32_t)i];
        const exact_choice *c =
            &s->costs->shapes[s->costs->shape_of[pick->op]].choices.data[pick->choice];
        place.op = pick->op;
        place.normal = c->normal;
        place.ratio = c->ratio;
        out->nmp[out->flow.count] = c->nmp;
        out->flow.at[out->flow.count++] = place;
    }
}

void tn__exact_write_partition(const exact_solver *s, uint32_t sequence, tn_placement place,
                               exact_plan *out) {
    uint32_t tiers[TN_OPERATORS];
    int count = 0;
    for (int32_t q = (int32_t)sequence; s->sequences.data[q].before >= 0;
         q = s->sequences.data[q].before)
        tiers[count++] = s->sequences.data[q].tier;
    for (; count; place.tier++) write_tier(s, &s->tiers.data[tiers[--count]], place, out);
}

void tn__exact_write(const exact_solver *s, exact_plan *out) {
    uint32_t chain[TN_OPERATORS + 1];
    int count = 0;
    *out = (exact_plan){0};
    for (uint32_t i = s->ideals.len - 1; i; i = s->ideals.data[i].from) chain[count++] = i;
    tn_placement place = {0};
    for (; count; place.group++) {
        const exact_ideal *to = &s->ideals.data[chain[--count]];
        uint32_t ops = to->ops & ~s->ideals.data[to->from].ops, at = 0;
        (void)tn_map_get(&s->groups, &ops, sizeof ops, &at);
        const exact_group *group = &s->group_list.data[at];
        for (int i = 0; i < group->count; i++) {
            place.partition = (uint8_t)i;
            tn__exact_write_partition(s, s->parts.data[group->parts + (uint32_t)i].sequence, place,
                                      out);
        }
    }
}

/* ---- one problem ---------------------------------------------------------------------------- */

struct tn__exact_problem {
    tn_arena arena;
    tn_problem problem;
    exact_costs costs;
};

typedef struct call {
    tn__exact_problem *problem;
    const tn_search_options *options;
    tn_solution *out;
    bool *late;
} call;

static tn_status prepare(void *argument, tn_error *err) {
    const call *c = argument;
    tn__exact_problem *p = c->problem;
    return tn__exact_costs(&p->arena, &p->problem, c->options, &p->costs, err);
}

static tn_status solve(void *argument, tn_error *err) {
    const call *c = argument;
    tn__exact_problem *p = c->problem;
    exact_solver *s = TN_NEW(&p->arena, exact_solver);
    TN_CHECK(tn__exact_init(s, &p->arena, &p->problem, &p->costs, c->options->space, err));
    return tn__exact_search(s, c->options, c->out, c->late, err);
}

tn_status tn__exact_prepare(const tn_problem *p, const tn_search_options *options,
                            tn__exact_problem **out, tn_error *err) {
    *out = NULL;
    const tn_cost_model *bad = tn_cost_model_separable(p->processor) ? NULL : p->processor;
    if (!tn_cost_model_separable(p->near_memory)) bad = p->near_memory;
    if (bad)
        return tn_error_set(err, TN_UNSUPPORTED,
                            "cost model %s is not separable: exact search does not apply, genetic "
                            "search does",
                            tn_cost_model_name(bad));
    tn__exact_problem *made = calloc(1, sizeof *made);
    if (!made) return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for tables of costs");
    made->problem = *p;
    tn_arena_init(&made->arena, tn_allocator_system());
    tn_status status = tn_guard(prepare, &(call){made, options, NULL, NULL}, err);
    if (status)
        tn__exact_release(made);
    else
        *out = made;
    return status;
}

void tn__exact_release(tn__exact_problem *p) {
    if (!p) return;
    tn_arena_deinit(&p->arena);
    free(p);
}

tn_hash128 tn__exact_hash(const tn__exact_problem *p) {
    return tn__exact_costs_hash(&p->costs);
}

static void take_better(const tn_search_options *options, const tn_solution *found,
                        tn_solution *out) {
    if (out->evaluation.fits && tn__objective(options->objective, &found->evaluation) >=
                                    tn__objective(options->objective, &out->evaluation))
        return;
    out->dataflow = found->dataflow;
    out->evaluation = found->evaluation;
}

/* Dataflows of the other two spaces are the union's, too: where time ran out there, what is found in these may
 * be better. The bound stays the union's. */
static tn_status take_narrower(const tn__exact_problem *p, const tn_search_options *options,
                               tn_dataflow_space space, tn_solution *out, tn_error *err) {
    tn_search_options narrow = *options;
    tn__exact_problem *prepared;
    tn_solution found;
    narrow.space = space;
    TN_CHECK(tn__exact_prepare(&p->problem, &narrow, &prepared, err));
    tn_status status = tn__exact_run(prepared, &narrow, &found, err);
    tn__exact_release(prepared);
    if (status) return status == TN_NOT_FOUND ? TN_OK : status;
    take_better(options, &found, out);
    return TN_OK;
}

/* So may what a short genetic search comes by, which asks for no proof. */
static tn_status take_genetic(const tn__exact_problem *p, const tn_search_options *options,
                              tn_solution *out, tn_error *err) {
    tn_search_options genetic = *options;
    tn_solution found;
    genetic.population = 500;
    genetic.generations = 40;
    genetic.parents = 50;
    genetic.mutate_ratio = 0.8;
    genetic.threads = 1;
    genetic.progress = NULL;
    tn_status status = tn__genetic_search(&p->problem, &genetic, &found, err);
    if (status) return status == TN_NOT_FOUND ? TN_OK : status;
    take_better(options, &found, out);
    return TN_OK;
}

tn_status tn__exact_run(tn__exact_problem *p, const tn_search_options *options, tn_solution *out,
                        tn_error *err) {
    bool late = false;
    *out = (tn_solution){0};
    TN_CHECK(tn_guard(solve, &(call){p, options, out, &late}, err));
    bool wide = options->space == TN_UNION && !out->optimal;
    if (wide || (late && !out->evaluation.fits)) TN_CHECK(take_genetic(p, options, out, err));
    if (wide) TN_CHECK(take_narrower(p, options, TN_DATA_CENTRIC, out, err));
    if (wide) TN_CHECK(take_narrower(p, options, TN_COMPUTE_CENTRIC, out, err));
    if (out->evaluation.fits) return TN_OK;
    return tn_error_set(err, TN_NOT_FOUND, "no dataflow of %s was found that fits into %s",
                        p->problem.workload->name, p->problem.machine.name);
}
