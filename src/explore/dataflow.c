/* Which dataflows are legal, and whether their weights fit into the channels. */
#include "explore/dataflow.h"

#include <math.h>

#include "base/base.h"
#include "explore/workload.h"

static double capacity_of_channel(const tn_memory *m) {
    return m->banks * m->bank_bytes;
}

bool tn_dataflow_fits(const tn_problem *p, const tn_dataflow *d, double *nmp, double *normal) {
    double on_channel[TN_MACHINE_CHANNELS] = {0}, on_normal = 0, all = 0;
    int channels = p->machine.near_memory.channels;
    double capacity = capacity_of_channel(&p->machine.memory);
    for (int i = 0; i < d->count; i++) {
        const tn_placement *a = &d->at[i];
        double bytes = tn_workload_bytes(p->workload, a->op, &p->scenario);
        all += bytes;
        on_normal += bytes * (1 - a->ratio);
        for (int c = 0; c < channels; c++)
            if (a->nmp >> c & 1) on_channel[c] += bytes * a->ratio / tn__channel_count(a->nmp);
    }
    bool fits = on_normal <= capacity * tn__normal_channels(&p->machine) &&
                all <= capacity * p->machine.memory.channels;
    for (int c = 0; c < channels; c++) fits &= on_channel[c] <= capacity;
    if (nmp) memcpy(nmp, on_channel, (size_t)channels * sizeof *nmp);
    if (normal) *normal = on_normal;
    return fits;
}

/* ---- legality ------------------------------------------------------------------------------- */

typedef struct check {
    const tn_problem *problem;
    const tn_dataflow *dataflow;
    tn_dataflow_space space;
    tn_error *err;
} check;

static const char *name_of(const check *c, int i) {
    return c->problem->workload->operators[c->dataflow->at[i].op].name;
}

static bool in_order(const tn_placement *a, const tn_placement *b) {
    if (a->group != b->group) return a->group < b->group;
    if (a->partition != b->partition) return a->partition < b->partition;
    return a->tier <= b->tier;
}

/* Every operator once, sorted, and after those that it reads. */
static tn_status check_order(const check *c) {
    const tn_workload *w = c->problem->workload;
    const tn_placement *at = c->dataflow->at;
    uint32_t placed = 0;
    int count = c->dataflow->count;
    if (count != w->count)
        return tn_error_set(c->err, TN_INVALID, "%d operators are placed, %s has %d", count,
                            w->name, w->count);
    for (int i = 0; i < count; i++) {
        if (at[i].op >= w->count || placed >> at[i].op & 1)
            return tn_error_set(c->err, TN_INVALID, "place %d: operator %d is %s", i, at[i].op,
                                at[i].op < w->count ? "placed twice" : "not in the workload");
        placed |= 1u << at[i].op;
        if (i && !in_order(&at[i - 1], &at[i]))
            return tn_error_set(c->err, TN_INVALID,
                                "operator %s: places are not sorted by group, partition and tier",
                                name_of(c, i));
    }
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < count; j++) {
            if (!(w->before[at[i].op] >> at[j].op & 1)) continue;
            bool earlier = at[j].group < at[i].group ||
                           (at[j].group == at[i].group && at[j].partition == at[i].partition &&
                            at[j].tier < at[i].tier);
            if (!earlier)
                return tn_error_set(c->err, TN_INVALID, "operator %s does not run after %s",
                                    name_of(c, i), name_of(c, j));
        }
    }
    return TN_OK;
}

/* Beside the data-centric ratios, the union has those that cut an operator between two of its units. */
static tn_status check_share(const check *c, int i) {
    const tn_problem *p = c->problem;
    const tn_placement *a = &c->dataflow->at[i];
    tn_product whole =
        tn_workload_product(p->workload, a->op, &p->scenario, tn_phase_decode(&p->scenario));
    int64_t units = tn__fission_units(&whole);
    double part = round(a->ratio * (double)units);
    if (part >= 1 && part < (double)units && fabs(a->ratio - part / (double)units) < 1e-12)
        return TN_OK;
    return tn_error_set(c->err, TN_INVALID,
                        "operator %s: %.17g of it is no whole number of its %lld parts",
                        name_of(c, i), a->ratio, (long long)units);
}

static tn_status check_placement(const check *c, int i) {
    const tn_placement *a = &c->dataflow->at[i];
    const tn_machine *m = &c->problem->machine;
    double ratios[TN_FISSION_RATIOS];
    bool mixed = a->nmp && a->normal;
    if ((a->nmp & ~tn__nmp_channels(m)) || (a->normal && !tn__normal_channels(m)) ||
        (!a->nmp && !a->normal))
        return tn_error_set(c->err, TN_INVALID, "operator %s is on no channel of the machine",
                            name_of(c, i));
    if (mixed ? !(a->ratio > 0 && a->ratio < 1) : a->ratio != (a->nmp ? 1 : 0))
        return tn_error_set(c->err, TN_INVALID,
                            "operator %s: a share of %g does not go with its channels",
                            name_of(c, i), a->ratio);
    if (!mixed) return TN_OK;
    if (c->space == TN_COMPUTE_CENTRIC)
        return tn_error_set(
            c->err, TN_INVALID,
            "operator %s is on both kinds of channels, which compute-centric dataflows "
            "do not allow",
            name_of(c, i));
    int count = tn__fission_ratios(c->problem, a->op, tn__channel_count(a->nmp), ratios);
    for (int r = 0; r < count; r++)
        if (ratios[r] == a->ratio) return TN_OK;
    if (c->space == TN_UNION) return check_share(c, i);
    return tn_error_set(c->err, TN_INVALID, "operator %s: %.17g is not among its %d ratios",
                        name_of(c, i), a->ratio, count);
}

/* What the places from one on use that are in its tier, partition or group. */
typedef struct channels {
    uint64_t nmp;
    bool normal, shared; /* shared: a channel near memory serves two */
} channels;

static bool same_tier(const tn_placement *a, const tn_placement *b) {
    return a->group == b->group && a->partition == b->partition && a->tier == b->tier;
}
static bool same_partition(const tn_placement *a, const tn_placement *b) {
    return a->group == b->group && a->partition == b->partition;
}
static bool same_group(const tn_placement *a, const tn_placement *b) {
    return a->group == b->group;
}

static channels collect(const tn_dataflow *d, int from,
                        bool (*same)(const tn_placement *a, const tn_placement *b)) {
    channels all = {0};
    for (int i = from; i < d->count && same(&d->at[from], &d->at[i]); i++) {
        all.shared |= (all.nmp & d->at[i].nmp) != 0;
        all.nmp |= d->at[i].nmp;
        all.normal |= d->at[i].normal;
    }
    return all;
}

/* Operators that depend on nothing of each other are partitions of their own. */
static tn_status check_connected(const check *c, int from) {
    const tn_dataflow *d = c->dataflow;
    const tn_workload *w = c->problem->workload;
    uint32_t all = 0, reached = 1u << d->at[from].op;
    int to = from;
    for (; to < d->count && same_partition(&d->at[from], &d->at[to]); to++)
        all |= 1u << d->at[to].op;
    for (uint32_t before = 0; before != reached;) {
        before = reached;
        for (int i = from; i < to; i++) {
            uint32_t own = 1u << d->at[i].op, reads = w->before[d->at[i].op];
            if (reached & own) reached |= reads & all;
            if (reached & reads) reached |= own;
        }
    }
    if (reached == all) return TN_OK;
    int apart = from;
    while (reached >> d->at[apart].op & 1) apart++;
    return tn_error_set(c->err, TN_INVALID,
                        "operator %s is in one partition with %s, but not connected with it by "
                        "operators of the partition",
                        name_of(c, apart), name_of(c, from));
}

/* Partitions of the group that begins at `from` use channels of their own. */
static tn_status check_group(const check *c, int from) {
    const tn_dataflow *d = c->dataflow;
    uint64_t nmp = 0;
    bool normal = false;
    int partitions = 0;
    for (int i = from; i < d->count && same_group(&d->at[from], &d->at[i]); i++) {
        if (i > from && same_partition(&d->at[i - 1], &d->at[i])) continue;
        channels p = collect(d, i, same_partition);
        TN_CHECK(check_connected(c, i));
        if ((p.nmp & nmp) || (p.normal && normal))
            return tn_error_set(
                c->err, TN_INVALID,
                "operator %s: its partition uses channels of another one of its group",
                name_of(c, i));
        if (c->space == TN_COMPUTE_CENTRIC && p.nmp && p.normal)
            return tn_error_set(c->err, TN_INVALID,
                                "operator %s: its partition has both kinds of channels, which "
                                "compute-centric dataflows do not allow",
                                name_of(c, i));
        nmp |= p.nmp;
        normal |= p.normal;
        partitions++;
    }
    bool all_normal = normal || !tn__normal_channels(&c->problem->machine);
    bool whole = nmp == tn__nmp_channels(&c->problem->machine) && all_normal;
    if (c->space == TN_DATA_CENTRIC ? !whole
                                    : c->space == TN_COMPUTE_CENTRIC && partitions > 1 && !whole)
        return tn_error_set(
            c->err, TN_INVALID,
            "operator %s: its group leaves channels unused, which this space does not allow",
            name_of(c, from));
    return TN_OK;
}

static tn_status check_tier(const check *c, int from) {
    const tn_dataflow *d = c->dataflow;
    channels tier = collect(d, from, same_tier);
    int first = from;
    while (first && same_partition(&d->at[first - 1], &d->at[from])) first--;
    channels partition = collect(d, first, same_partition);
    if (tier.shared)
        return tn_error_set(c->err, TN_INVALID,
                            "operator %s: two operators of its tier share a channel near memory",
                            name_of(c, from));
    if (c->space != TN_UNION && (tier.nmp != partition.nmp || tier.normal != partition.normal))
        return tn_error_set(
            c->err, TN_INVALID,
            "operator %s: its tier leaves channels of its partition unused, which this "
            "space does not allow",
            name_of(c, from));
    return TN_OK;
}

tn_status tn_dataflow_check(const tn_problem *p, tn_dataflow_space space, const tn_dataflow *d,
                            tn_error *err) {
    check c = {p, d, space, err};
    TN_CHECK(check_order(&c));
    for (int i = 0; i < d->count; i++) {
        TN_CHECK(check_placement(&c, i));
        if (!i || !same_group(&d->at[i - 1], &d->at[i])) TN_CHECK(check_group(&c, i));
        if (!i || !same_tier(&d->at[i - 1], &d->at[i])) TN_CHECK(check_tier(&c, i));
    }
    return TN_OK;
}
