/* What the operators of a problem cost, as tables: the cost models are asked once for each shape of operator,
 * count of channels, kind of placement and ratio. Machines whose tables are equal have the same dataflows. */
#ifndef TENON_EXPLORE_EXACT_COSTS_H
#define TENON_EXPLORE_EXACT_COSTS_H

#include <tenon/explore.h>

#include "base/base.h"

/* One way to place an operator: on `nmp` channels near memory, the normal ones, or both. No padding: tables are
 * compared as bytes. */
typedef struct exact_choice {
    double ratio;
    double prefill, prefill_energy;
    double near_memory, processor, energy; /* of a decode step; the join of a fission included */
    int32_t nmp, normal;
} exact_choice;

/* Operators that no cost distinguishes. */
typedef struct exact_shape {
    tn_product prefill, decode;
    double bytes;
    int op;                       /* one of them */
    TN_VEC(exact_choice) choices; /* nmp, then normal, then ratio ascending */
} exact_shape;

typedef struct exact_event {
    double latency, energy;
} exact_event;

typedef struct exact_costs {
    int channels; /* near memory */
    int normal;   /* normal channels */
    double channel_bytes, bytes;
    int shape_count, shape_of[TN_OPERATORS];
    exact_shape shapes[TN_OPERATORS];
    /* By channels that take part: ends of tiers (mode change and synchronisation), and of groups. */
    exact_event tier[TN_MACHINE_CHANNELS + 1], group[TN_MACHINE_CHANNELS + 1];
} exact_costs;

/* Errors: of the cost models. Memory is the arena's; unwinds when that runs out. */
tn_status tn__exact_costs(tn_arena *arena, const tn_problem *p, const tn_search_options *options,
                          exact_costs *out, tn_error *err);
/* The union's with some dozen ratios for each count of channels, the data-centric ones among them. */
const exact_costs *tn__exact_costs_thin(tn_arena *arena, const tn_problem *p, const exact_costs *c);
tn_hash128 tn__exact_costs_hash(const exact_costs *c);

#endif
