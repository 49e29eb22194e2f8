/* Dataflows inside the room: what is legal, and the shares into which fission may cut an operator. */
#ifndef TENON_EXPLORE_DATAFLOW_H
#define TENON_EXPLORE_DATAFLOW_H

#include <jansson.h>
#include <tenon/explore.h>

static inline int tn__normal_channels(const tn_machine *m) {
    return m->memory.channels - m->near_memory.channels;
}

/* All channels near memory. */
static inline uint64_t tn__nmp_channels(const tn_machine *m) {
    int count = m->near_memory.channels;
    return count >= 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

static inline int tn__channel_count(uint64_t set) {
    return __builtin_popcountll(set);
}

/* What fission divides: the products of a batch, or the columns of a single one. */
static inline int64_t tn__fission_units(const tn_product *p) {
    return p->batch > 1 ? p->batch : p->n;
}
/* The two parts of `p` when units near memory hold `ratio` of it. Rounds down towards them. */
void tn__fission(const tn_product *p, double ratio, tn_product *near_memory, tn_product *processor);
/* The share of which tn__fission gives `part` of `units` to the units near memory: part / units but for rounding. */
double tn__fission_share(int64_t part, int64_t units);

enum { TN_FISSION_RATIOS = 4, TN_FISSION_RATES = 2 };
/* The artifact's ratios for operator `op` on `nmp` channels beside the normal ones: by bandwidth and by compute,
 * each with two rates of a normal channel, snapped to multiples of a head, sequence or column. Ascending,
 * distinct; returns how many (0: the operator cannot be divided). */
int tn__fission_ratios(const tn_problem *p, int op, int nmp, double ratios[TN_FISSION_RATIOS]);
/* Those with the first `rate_count` rates only: one is that of the artifact's samplers. */
int tn__fission_ratios_at(const tn_problem *p, int op, int nmp, int rate_count,
                          double ratios[TN_FISSION_RATIOS]);

/* The artifact's form: groups of partitions of tiers of {"op", "nmp": [channel …], "normal": [[channel …]],
 * "nmp_ratio", "exec"}. Operators are those of `w` by name; channels 0 … nmp − 1 are near memory, the others
 * normal. Errors name the place: "mags[0][1][0][2]: …". */
tn_status tn__dataflow_read(const json_t *groups, const tn_workload *w, const tn_machine *m,
                            tn_dataflow *out, tn_error *err);
/* The caller's reference; NULL without memory. */
json_t *tn__dataflow_json(const tn_dataflow *d, const tn_workload *w, const tn_machine *m);
/* The same in short: an operator is [name, channels near memory, uses normal ones, ratio]. */
json_t *tn__dataflow_plan_json(const tn_dataflow *d, const tn_workload *w);

#endif
