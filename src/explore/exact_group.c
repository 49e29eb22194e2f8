/* Memory access groups: their partitions are the connected components of their operators, among which the
 * channels are split. */
#include <math.h>

#include "explore/exact.h"

uint32_t tn__exact_component(const exact_solver *s, uint32_t ops, uint32_t seed) {
    for (uint32_t set = seed, grown;; set = grown) {
        grown = set;
        for (uint32_t rest = set; rest; rest &= rest - 1) {
            int op = tn__lowest(rest);
            grown |= (s->after[op] | s->workload->before[op]) & ops;
        }
        if (grown == set) return set;
    }
}

/* ---- splits --------------------------------------------------------------------------------- */

typedef struct splitting {
    exact_solver *solver;
    exact_visit *visit;
    void *context;
    exact_split split;
} splitting;

static bool allowed(const splitting *g, exact_channels c) {
    if (!c.nmp && !c.normal) return false;
    return g->solver->space != TN_COMPUTE_CENTRIC || !c.nmp || !c.normal;
}

/* Gives partition `i` channels; false: it cannot use them. */
static bool give(splitting *g, int i, exact_channels c) {
    if (!allowed(g, c)) return false;
    g->split.channels[i] = c;
    g->split.lists[i] = tn__exact_sequences(g->solver, g->split.ops[i], c);
    return g->split.lists[i].count > 0;
}

/* Gives the `nmp` channels that are left, and the normal ones, to the partitions from `i` on. */
static void share(splitting *g, int i, int nmp, bool normal) {
    exact_solver *s = g->solver;
    if (i == g->split.count) {
        g->split.nmp = s->costs->channels - nmp;
        g->visit(g->context, &g->split);
        return;
    }
    bool last = i + 1 == g->split.count, all = last && s->space != TN_UNION;
    for (int n = all ? nmp : 0; n <= nmp && !tn__exact_look(s); n++) {
        if (!(all && normal) && give(g, i, (exact_channels){n, false}))
            share(g, i + 1, nmp - n, normal);
        if (normal && give(g, i, (exact_channels){n, true})) share(g, i + 1, nmp - n, false);
    }
}

/* A partition alone in its group has all channels, or, compute-centric, some of one kind. */
static void take_alone(splitting *g) {
    const exact_costs *c = g->solver->costs;
    bool normal = c->normal > 0, one_kind = g->solver->space == TN_COMPUTE_CENTRIC;
    if (one_kind && normal && give(g, 0, (exact_channels){0, true}))
        g->visit(g->context, &g->split);
    for (int n = one_kind ? 1 : c->channels; n <= c->channels; n++)
        if (give(g, 0, (exact_channels){n, normal && !one_kind})) g->visit(g->context, &g->split);
}

void tn__exact_splits(exact_solver *s, uint32_t ops, exact_visit *visit, void *context) {
    splitting g = {.solver = s, .visit = visit, .context = context};
    for (uint32_t rest = ops; rest; rest &= ~g.split.ops[g.split.count - 1])
        g.split.ops[g.split.count++] = tn__exact_component(s, ops, rest & -rest);
    if (g.split.count == 1)
        take_alone(&g);
    else
        share(&g, 0, s->costs->channels, s->costs->normal > 0);
}

double tn__exact_meeting(const exact_solver *s, const exact_split *split) {
    const exact_event *event = &s->costs->group[split->nmp];
    if (split->count == 1) return 0;
    return event->latency * s->step + event->energy * s->generate * s->weights.energy;
}

/* ---- the best one --------------------------------------------------------------------------- */

typedef struct balancing {
    exact_solver *solver;
    exact_split best_split;
    uint32_t at[TN_OPERATORS], best_at[TN_OPERATORS];
    double best;
} balancing;

static const exact_sequence *sequence(const balancing *b, const exact_split *g, int i) {
    return &b->solver->sequences.data[g->lists[i].first + b->at[i]];
}

static bool has_next(const balancing *b, const exact_split *g, int i) {
    return b->at[i] + 1 < g->lists[i].count;
}

/* Lets each partition take as long as the longest; returns the one that can grow by least, -1: none. */
static int fill_up(balancing *b, const exact_split *g, double span) {
    int next = -1;
    double end = INFINITY;
    for (int i = 0; i < g->count; i++) {
        while (has_next(b, g, i) && sequence(b, g, i)[1].span <= span) b->at[i]++;
        if (has_next(b, g, i) && sequence(b, g, i)[1].span < end) {
            end = sequence(b, g, i)[1].span;
            next = i;
        }
    }
    return next;
}

/* One sequence for each partition: for each span that the longest may have, the cheapest of the others. */
static void balance(void *context, const exact_split *g) {
    balancing *b = context;
    double meeting = tn__exact_meeting(b->solver, g);
    memset(b->at, 0, sizeof b->at);
    for (int next = 0; next >= 0;) {
        double span = 0, add = meeting;
        for (int i = 0; i < g->count; i++) span = TN_MAX(span, sequence(b, g, i)->span);
        next = fill_up(b, g, span);
        for (int i = 0; i < g->count; i++) add += sequence(b, g, i)->add;
        if (add + span < b->best) {
            b->best = add + span;
            b->best_split = *g;
            memcpy(b->best_at, b->at, sizeof b->at);
        }
        if (next >= 0) b->at[next]++;
    }
}

exact_group tn__exact_group(exact_solver *s, uint32_t ops) {
    uint32_t at;
    if (tn_map_get(&s->groups, &ops, sizeof ops, &at)) return s->group_list.data[at];
    balancing b = {.solver = s, .best = INFINITY};
    tn__exact_splits(s, ops, balance, &b);
    exact_group group = {.value = b.best, .parts = s->parts.len, .count = b.best_split.count};
    for (int i = 0; i < group.count; i++)
        tn_vec_push(s->arena, &s->parts,
                    (exact_part){b.best_split.ops[i], b.best_split.channels[i],
                                 b.best_split.lists[i].first + b.best_at[i]});
    tn_map_put(&s->groups, &ops, sizeof ops, s->group_list.len);
    tn_vec_push(s->arena, &s->group_list, group);
    return group;
}
