/* From an operator graph to groups of partitions with channels. The split into groups is the artifact's: sizes
 * are drawn, and ready operators one by one. */
#include "explore/sample.h"

#include "base/base.h"
#include "base/random.h"
#include "explore/dataflow.h"
#include "explore/workload.h"

/* ---- random numbers ------------------------------------------------------------------------- */

sample_stream tn__sample_stream(uint64_t seed, uint32_t generation, uint32_t individual) {
    uint32_t x[4];
    tn_philox(seed, (uint64_t)generation << 32 | individual, x);
    return (sample_stream){.key = (uint64_t)x[1] << 32 | x[0]};
}

static uint32_t bits(sample_stream *s) {
    if (!s->left) {
        tn_philox(s->key, s->block++, s->bits);
        s->left = 4;
    }
    return s->bits[--s->left];
}

int tn__sample_below(sample_stream *s, int count) {
    return (int)((uint64_t)bits(s) * (uint64_t)count >> 32);
}

double tn__sample_unit(sample_stream *s) {
    return bits(s) * 0x1p-32;
}

int tn__sample_bit(sample_stream *s, uint64_t set) {
    for (int skip = tn__sample_below(s, tn__channel_count(set)); skip; skip--) set &= set - 1;
    return __builtin_ctzll(set);
}

/* ---- sets of operators ---------------------------------------------------------------------- */

/* Those of `ops` that read none of `ops`. */
static uint32_t ready(const tn_workload *w, uint32_t ops) {
    uint32_t set = 0;
    for (uint32_t rest = ops; rest; rest &= rest - 1) {
        int op = __builtin_ctz(rest);
        if (!(w->before[op] & ops)) set |= 1u << op;
    }
    return set;
}

/* The weakly connected component of `ops` that has its first operator. */
static uint32_t component(const tn_workload *w, uint32_t ops) {
    uint32_t reached = ops & -ops;
    for (uint32_t before = 0; before != reached;) {
        before = reached;
        for (uint32_t rest = ops; rest; rest &= rest - 1) {
            int op = __builtin_ctz(rest);
            uint32_t own = 1u << op, reads = w->before[op];
            if (reached & own) reached |= reads & ops;
            if (reached & reads) reached |= own;
        }
    }
    return reached;
}

/* The components in random order. */
static int components(const sampler *s, uint32_t ops, uint32_t out[TN_OPERATORS]) {
    int count = 0;
    while (ops) {
        uint32_t next = component(s->problem->workload, ops);
        int at = tn__sample_below(s->random, ++count);
        out[count - 1] = out[at];
        out[at] = next;
        ops &= ~next;
    }
    return count;
}

/* ---- channels of partitions ----------------------------------------------------------------- */

static int channel_kinds(const sampler *s) {
    const tn_machine *m = &s->problem->machine;
    return m->near_memory.channels + (tn__normal_channels(m) > 0);
}

/* Gives each of `count` partitions one of the channels, the rest to anyone. */
static void deal(const sampler *s, uint64_t nmp, bool normal, int count, sample_channels *out) {
    int dealt = 0;
    for (int i = 0; i < count; i++) out[i] = (sample_channels){0};
    /* Who gets the normal channels is as likely to be served last as any other. */
    for (int left = tn__channel_count(nmp) + normal; left; left--, dealt++) {
        sample_channels *to = &out[dealt < count ? dealt : tn__sample_below(s->random, count)];
        if (normal && tn__sample_below(s->random, left) == 0) {
            to->normal = true;
            normal = false;
        } else {
            int c = tn__sample_bit(s->random, nmp);
            to->nmp |= UINT64_C(1) << c;
            nmp &= ~(UINT64_C(1) << c);
        }
    }
}

static uint64_t some_of(const sampler *s, uint64_t set) {
    uint64_t out = 0;
    for (int count = 1 + tn__sample_below(s->random, tn__channel_count(set)); count; count--)
        out |= UINT64_C(1) << tn__sample_bit(s->random, set & ~out);
    return out;
}

/* One partition: some channels near memory, or the normal ones. Several: one has the normal channels, the others
 * all near memory. */
static void deal_by_kind(const sampler *s, int count, sample_channels *out) {
    const tn_machine *m = &s->problem->machine;
    bool normal = tn__normal_channels(m) > 0;
    uint64_t all = tn__nmp_channels(m);
    if (count > 1) {
        deal(s, all, false, count - normal, out + normal);
        if (normal) out[0] = (sample_channels){.normal = true};
    } else if (normal && (!all || tn__sample_below(s->random, 2))) {
        out[0] = (sample_channels){.normal = true};
    } else {
        out[0] = (sample_channels){.nmp = some_of(s, all)};
    }
}

static void deal_channels(const sampler *s, int count, sample_channels *out) {
    const tn_machine *m = &s->problem->machine;
    uint64_t all = tn__nmp_channels(m);
    int way = s->space == TN_UNION ? tn__sample_below(s->random, 4) : 0;
    if (s->space == TN_COMPUTE_CENTRIC || way == 1) {
        deal_by_kind(s, count, out);
        return;
    }
    deal(s, all, tn__normal_channels(m) > 0, count, out);
    if (way != 2) return;
    for (int i = 0; i < count; i++)
        if (tn__channel_count(out[i].nmp) > 1) out[i].nmp = some_of(s, out[i].nmp);
}

/* ---- groups --------------------------------------------------------------------------------- */

static bool sample_partitions(const sampler *s, const uint32_t *parts, int count,
                              tn_placement *place, tn_dataflow *d) {
    sample_channels channels[TN_OPERATORS];
    deal_channels(s, count, channels);
    for (int i = 0; i < count; i++) {
        place->partition = (uint8_t)i;
        if (!tn__sample_partition(s, parts[i], channels[i], *place, d)) return false;
    }
    place->group++;
    return true;
}

bool tn__sample_group(const sampler *s, uint32_t ops, bool cut, tn_placement *place,
                      tn_dataflow *d) {
    uint32_t parts[TN_OPERATORS];
    int count = components(s, ops, parts), kinds = channel_kinds(s), most = TN_MIN(count, kinds);
    if (!most) return false;
    bool whole = count <= kinds && (!cut || count == 1 || tn__sample_below(s->random, 2));
    for (int from = 0, size; from < count; from += size) {
        size = whole ? count : 1 + tn__sample_below(s->random, most);
        size = TN_MIN(size, count - from);
        if (!sample_partitions(s, parts + from, size, place, d)) return false;
    }
    return true;
}

bool tn__sample_interval(const sampler *s, uint32_t ops, tn_placement *place, tn_dataflow *d) {
    while (ops) {
        uint32_t group = 0;
        for (int size = 1 + tn__sample_below(s->random, tn__channel_count(ops)); size; size--) {
            uint32_t next = 1u << tn__sample_bit(s->random, ready(s->problem->workload, ops));
            group |= next;
            ops &= ~next;
        }
        if (!tn__sample_group(s, group, true, place, d)) return false;
    }
    return true;
}

/* ---- tiers ---------------------------------------------------------------------------------- */

bool tn__sample_partition(const sampler *s, uint32_t ops, sample_channels channels,
                          tn_placement place, tn_dataflow *d) {
    place.tier = 0;
    while (ops) {
        uint32_t free = ready(s->problem->workload, ops), tier = 0;
        int most = tn__channel_count(free);
        if (!channels.normal) most = TN_MIN(most, tn__channel_count(channels.nmp));
        if (!most) return false;
        for (int size = 1 + tn__sample_below(s->random, most); size; size--)
            tier |= 1u << tn__sample_bit(s->random, free & ~tier);
        if (!tn__sample_tier(s, tier, channels, place, d)) return false;
        ops &= ~tier;
        place.tier++;
    }
    return true;
}

bool tn__sample_dataflow(const sampler *s, tn_dataflow *out) {
    enum { TRIES = 64 };
    for (int i = 0; i < TRIES; i++) {
        tn_placement place = {0};
        *out = (tn_dataflow){0};
        if (tn__sample_interval(s, tn__workload_all(s->problem->workload), &place, out))
            return true;
    }
    return false;
}
