/* Operators that run side by side: which channels of their partition each is on, and how much of it. */
#include "base/base.h"
#include "explore/dataflow.h"
#include "explore/sample.h"

/* Half of the draws are the artifact's ratios, which are near where both sides take equally long. */
bool tn__sample_ratio(const sampler *s, int op, int nmp, double *ratio) {
    const tn_problem *p = s->problem;
    double ratios[TN_FISSION_RATIOS];
    int count = tn__fission_ratios(p, op, nmp, ratios);
    if (s->space == TN_UNION && (!count || tn__sample_below(s->random, 2))) {
        tn_product whole =
            tn_workload_product(p->workload, op, &p->scenario, tn_phase_decode(&p->scenario));
        int64_t units = tn__fission_units(&whole);
        if (units < 2) return false;
        int64_t part = (int64_t)(tn__sample_unit(s->random) * (double)(units - 1));
        *ratio = tn__fission_share(1 + part, units);
        return true;
    }
    if (!count) return false;
    *ratio = ratios[tn__sample_below(s->random, count)];
    return true;
}

/* Deals the channels near memory: with `each`, every operator gets one at least. `places` has one for each. */
static void deal(const sampler *s, uint64_t nmp, bool each, tn_placement *places, int count) {
    int dealt = 0, first = tn__sample_below(s->random, count);
    for (; nmp; dealt++) {
        int c = tn__sample_bit(s->random, nmp), to = each && dealt < count
                                                         ? (first + dealt) % count
                                                         : tn__sample_below(s->random, count);
        places[to].nmp |= UINT64_C(1) << c;
        nmp &= ~(UINT64_C(1) << c);
    }
}

/* Of what operators have more than one of, some is given back: the union's tiers need not use everything. */
static void give_back(const sampler *s, tn_placement *places, int count) {
    for (int i = 0; i < count; i++)
        while (tn__channel_count(places[i].nmp) > 1 && tn__sample_below(s->random, 4) == 0)
            places[i].nmp &= ~(UINT64_C(1) << tn__sample_bit(s->random, places[i].nmp));
}

/* Who is on no channel near memory is on the normal ones, and others may be, at least one in all. */
static void choose_normal(const sampler *s, tn_placement *places, int count) {
    bool any = false, must = s->space != TN_UNION;
    for (int i = 0; i < count; i++) {
        places[i].normal = !places[i].nmp || tn__sample_below(s->random, 2);
        any |= places[i].normal;
    }
    if (!any && must) places[tn__sample_below(s->random, count)].normal = true;
}

bool tn__sample_tier(const sampler *s, uint32_t ops, sample_channels channels, tn_placement place,
                     tn_dataflow *d) {
    tn_placement *places = d->at + d->count;
    int count = 0;
    place.nmp = 0;
    place.normal = false;
    for (; ops; ops &= ops - 1) {
        place.op = (uint8_t)__builtin_ctz(ops);
        places[count++] = place;
    }
    if (!channels.normal && tn__channel_count(channels.nmp) < count) return false;
    deal(s, channels.nmp, !channels.normal, places, count);
    if (s->space == TN_UNION) give_back(s, places, count);
    if (channels.normal) choose_normal(s, places, count);
    for (int i = 0; i < count; i++) {
        tn_placement *a = &places[i];
        a->ratio = a->nmp ? 1 : 0;
        if (a->nmp && a->normal &&
            !tn__sample_ratio(s, a->op, tn__channel_count(a->nmp), &a->ratio))
            return false;
    }
    d->count += count;
    return true;
}
