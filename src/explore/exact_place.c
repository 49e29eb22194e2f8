/* Which channels near memory serve whom: counts are all that costs depend on, identities decide where bytes
 * lie. */
#include <math.h>

#include "explore/dataflow.h"
#include "explore/exact.h"

typedef struct placing {
    const exact_solver *solver;
    exact_plan *plan;
    double load[TN_MACHINE_CHANNELS];
} placing;

static double bytes_of(const placing *p, int i) {
    const exact_costs *c = p->solver->costs;
    const tn_placement *a = &p->plan->flow.at[i];
    return p->plan->nmp[i] ? c->shapes[c->shape_of[a->op]].bytes * a->ratio : 0;
}

/* The `count` least loaded channels of `from`. */
static uint64_t least_loaded(const placing *p, uint64_t from, int count) {
    uint64_t set = 0;
    while (count-- > 0) {
        int best = -1;
        for (uint64_t rest = from & ~set; rest; rest &= rest - 1) {
            int c = __builtin_ctzll(rest);
            if (best < 0 || p->load[c] < p->load[best]) best = c;
        }
        set |= UINT64_C(1) << best;
    }
    return set;
}

/* The places [from, to) are one tier on `channels`: those with most bytes on a channel choose first. */
static void place_tier(placing *p, int from, int to, uint64_t channels) {
    for (;;) {
        int next = -1;
        double most = -1;
        for (int i = from; i < to; i++) {
            if (!p->plan->nmp[i] || p->plan->flow.at[i].nmp) continue;
            double bytes = bytes_of(p, i) / p->plan->nmp[i];
            if (bytes > most) {
                most = bytes;
                next = i;
            }
        }
        if (next < 0) return;
        uint64_t set = least_loaded(p, channels, p->plan->nmp[next]);
        p->plan->flow.at[next].nmp = set;
        channels &= ~set;
        for (uint64_t rest = set; rest; rest &= rest - 1) p->load[__builtin_ctzll(rest)] += most;
    }
}

typedef struct extent {
    int from, to, channels;
    double bytes; /* on a channel, on average */
} extent;

static bool same_group(const tn_placement *a, const tn_placement *b) {
    return a->group == b->group;
}
static bool same_partition(const tn_placement *a, const tn_placement *b) {
    return same_group(a, b) && a->partition == b->partition;
}
static bool same_tier(const tn_placement *a, const tn_placement *b) {
    return same_partition(a, b) && a->tier == b->tier;
}

static int run_end(const tn_dataflow *d, int from,
                   bool (*same)(const tn_placement *a, const tn_placement *b)) {
    int to = from + 1;
    while (to < d->count && same(&d->at[from], &d->at[to])) to++;
    return to;
}

static void place_partition(placing *p, const extent *e, uint64_t channels) {
    for (int from = e->from, to; from < e->to; from = to) {
        to = run_end(&p->plan->flow, from, same_tier);
        place_tier(p, from, to, channels);
    }
}

static extent measure(const placing *p, int from) {
    extent e = {.from = from, .to = run_end(&p->plan->flow, from, same_partition)};
    for (int i = from, to; i < e.to; i = to) {
        int used = 0;
        to = run_end(&p->plan->flow, i, same_tier);
        for (int k = i; k < to; k++) {
            used += p->plan->nmp[k];
            e.bytes += bytes_of(p, k);
        }
        e.channels = TN_MAX(e.channels, used);
    }
    e.bytes /= TN_MAX(1, e.channels);
    return e;
}

static void place_group(placing *p, int from, int to) {
    extent parts[TN_OPERATORS];
    int count = 0;
    uint64_t channels = tn__nmp_channels(&p->solver->problem->machine);
    for (int i = from; i < to; i = parts[count - 1].to) parts[count++] = measure(p, i);
    while (count) {
        int next = 0;
        for (int i = 1; i < count; i++)
            if (parts[i].bytes > parts[next].bytes) next = i;
        uint64_t set = least_loaded(p, channels, parts[next].channels);
        channels &= ~set;
        place_partition(p, &parts[next], set);
        parts[next] = parts[--count];
    }
}

/* Takes the places [from, to) off their channels. */
static void unplace(placing *p, int from, int to) {
    for (int i = from; i < to; i++) {
        uint64_t set = p->plan->flow.at[i].nmp;
        for (uint64_t rest = set; rest; rest &= rest - 1)
            p->load[__builtin_ctzll(rest)] -= bytes_of(p, i) / p->plan->nmp[i];
        p->plan->flow.at[i].nmp = 0;
    }
}

static double heaviest(const placing *p) {
    double most = 0;
    for (int c = 0; c < p->solver->costs->channels; c++) most = TN_MAX(most, p->load[c]);
    return most;
}

enum { ROUNDS = 8 };

/* Group by group in order, then each again beside all others until no channel's load falls. */
void tn__exact_place(const exact_solver *s, exact_plan *plan) {
    placing p = {.solver = s, .plan = plan};
    tn_dataflow best = plan->flow;
    double least = INFINITY;
    for (int round = 0; round < ROUNDS; round++) {
        for (int from = 0, to; from < plan->flow.count; from = to) {
            to = run_end(&plan->flow, from, same_group);
            unplace(&p, from, to);
            place_group(&p, from, to);
        }
        if (heaviest(&p) >= least) break;
        least = heaviest(&p);
        best = plan->flow;
        if (least <= s->costs->channel_bytes) break;
    }
    plan->flow = best;
}
