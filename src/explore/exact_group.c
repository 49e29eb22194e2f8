/* Memory access groups: their partitions are the connected components of their operators, among which the
 * channels are split. */
#include <math.h>

#include "explore/exact.h"

typedef struct splitting {
    exact_solver *solver;
    int count;
    uint32_t ops[TN_OPERATORS];
    exact_channels channels[TN_OPERATORS];
    exact_list lists[TN_OPERATORS];
    uint32_t at[TN_OPERATORS], best_at[TN_OPERATORS];
    exact_channels best_channels[TN_OPERATORS];
    double best;
} splitting;

static uint32_t component(const exact_solver *s, uint32_t ops, uint32_t seed) {
    for (uint32_t set = seed, grown;; set = grown) {
        grown = set;
        for (uint32_t rest = set; rest; rest &= rest - 1) {
            int op = tn__lowest(rest);
            grown |= (s->after[op] | s->workload->before[op]) & ops;
        }
        if (grown == set) return set;
    }
}

static const exact_sequence *sequence(const splitting *g, int i, uint32_t k) {
    return &g->solver->sequences.data[g->lists[i].first + k];
}

/* The best choice of one sequence for each partition: from the shortest ones on, the longest of them is
 * replaced by its next longer, cheaper one. */
static void balance(splitting *g, double extra) {
    for (int i = 0; i < g->count; i++) g->at[i] = 0;
    for (;;) {
        double span = 0, add = extra;
        for (int i = 0; i < g->count; i++) {
            span = TN_MAX(span, sequence(g, i, g->at[i])->span);
            add += sequence(g, i, g->at[i])->add;
        }
        /* All others may take as long as the longest. */
        int next = -1;
        double end = INFINITY;
        for (int i = 0; i < g->count; i++) {
            while (g->at[i] + 1 < g->lists[i].count && sequence(g, i, g->at[i] + 1)->span <= span) {
                add += sequence(g, i, g->at[i] + 1)->add - sequence(g, i, g->at[i])->add;
                g->at[i]++;
            }
            if (g->at[i] + 1 < g->lists[i].count && sequence(g, i, g->at[i] + 1)->span < end) {
                end = sequence(g, i, g->at[i] + 1)->span;
                next = i;
            }
        }
        if (add + span < g->best) {
            g->best = add + span;
            memcpy(g->best_at, g->at, sizeof g->at);
            memcpy(g->best_channels, g->channels, sizeof g->channels);
        }
        if (next < 0) return;
        g->at[next]++;
    }
}

static bool allowed(const splitting *g, exact_channels c) {
    if (!c.nmp && !c.normal) return false;
    return g->solver->space != TN_COMPUTE_CENTRIC || !c.nmp || !c.normal;
}

static void split(splitting *g, int i, int nmp, bool normal);

static void give(splitting *g, int i, int nmp, bool normal, exact_channels c) {
    if (!allowed(g, c)) return;
    g->channels[i] = c;
    g->lists[i] = tn__exact_sequences(g->solver, g->ops[i], c);
    if (g->lists[i].count) split(g, i + 1, nmp - c.nmp, normal && !c.normal);
}

/* Gives the `nmp` channels that are left, and the normal ones, to the partitions from `i` on. */
static void split(splitting *g, int i, int nmp, bool normal) {
    exact_solver *s = g->solver;
    if (i == g->count) {
        const exact_event *event = &s->costs->group[s->costs->channels - nmp];
        balance(g, event->latency * s->step + event->energy * s->generate * s->weights.energy);
        return;
    }
    bool last = i + 1 == g->count, all = s->space != TN_UNION;
    for (int n = last && all ? nmp : 0; n <= nmp; n++) {
        if (!last || !all || !normal) give(g, i, nmp, normal, (exact_channels){n, false});
        if (normal) give(g, i, nmp, normal, (exact_channels){n, true});
    }
}

/* The channels that a partition alone in its group may have. */
static void take_alone(splitting *g) {
    exact_solver *s = g->solver;
    int all = s->costs->channels, from = all;
    bool normal = s->costs->normal > 0;
    if (s->space == TN_COMPUTE_CENTRIC) {
        from = 1;
        if (normal) {
            g->channels[0] = (exact_channels){0, true};
            g->lists[0] = tn__exact_sequences(s, g->ops[0], g->channels[0]);
            if (g->lists[0].count) balance(g, 0);
        }
        normal = false;
    }
    for (int n = from; n <= all; n++) {
        g->channels[0] = (exact_channels){n, normal};
        if (!allowed(g, g->channels[0])) continue;
        g->lists[0] = tn__exact_sequences(s, g->ops[0], g->channels[0]);
        if (g->lists[0].count) balance(g, 0);
    }
}

exact_group tn__exact_group(exact_solver *s, uint32_t ops) {
    uint32_t at;
    if (tn_map_get(&s->groups, &ops, sizeof ops, &at)) return s->group_list.data[at];
    splitting g = {.solver = s, .best = INFINITY};
    for (uint32_t rest = ops; rest; rest &= ~g.ops[g.count - 1])
        g.ops[g.count++] = component(s, ops, rest & -rest);
    if (g.count == 1)
        take_alone(&g);
    else
        split(&g, 0, s->costs->channels, s->costs->normal > 0);
    exact_group group = {.value = g.best, .parts = s->parts.len, .count = g.count};
    for (int i = 0; i < g.count && g.best < INFINITY; i++)
        tn_vec_push(s->arena, &s->parts,
                    (exact_part){g.ops[i], g.best_channels[i],
                                 tn__exact_sequences(s, g.ops[i], g.best_channels[i]).first +
                                     g.best_at[i]});
    tn_map_put(&s->groups, &ops, sizeof ops, s->group_list.len);
    tn_vec_push(s->arena, &s->group_list, group);
    return group;
}
