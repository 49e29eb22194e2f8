/* The exact solver's parts. Costs are scalars here: what adds up over a whole dataflow (`add`: prefill, energy,
 * a price of bytes near memory, each by its weight) and decode latency (`span`), of which partitions that run
 * side by side keep the longest.
 *
 *   tier       Pareto set (add, span) of a set of operators on so many channels      exact_tier.c
 *   partition  Pareto set over sequences of tiers of a connected set of operators    exact_partition.c
 *   group      the best split of the channels among its partitions                   exact_group.c
 *   dataflow   the best chain of ideals of the operator graph                        exact.c */
#ifndef TENON_EXPLORE_EXACT_H
#define TENON_EXPLORE_EXACT_H

#include "explore/exact_costs.h"

/* Prices of one second of latency, one joule, and one byte on the side that is short of room. */
typedef struct exact_weights {
    double latency, energy, bytes;
} exact_weights;

enum { EXACT_BYTES = 768 << 20 }; /* of an arena, which may then still double its largest list */

/* Where room is short. */
typedef enum exact_side { EXACT_NEAR_MEMORY, EXACT_NORMAL } exact_side;

/* Channels of a tier or partition. The union's need not all be used. */
typedef struct exact_channels {
    int nmp;
    bool normal;
} exact_channels;

/* Alternatives of one placement with the same `add`: points[first, first + count), with near_memory ascending
 * and processor descending. */
typedef struct exact_option {
    double add;
    int nmp;
    bool normal;
    uint32_t first, count;
} exact_option;

typedef struct exact_point {
    double near_memory, processor;
    uint32_t choice; /* of the shape */
} exact_point;

typedef struct exact_options {
    TN_VEC(exact_option) list; /* nmp ascending */
    TN_VEC(exact_point) points;
} exact_options;

typedef struct exact_pick {
    uint8_t op;
    uint32_t choice;
} exact_pick;

typedef struct exact_tier {
    double add, span, bytes; /* bytes: on the side that is short */
    uint32_t picks;          /* as many as the tier has operators */
    uint32_t ops;            /* bit: operator */
} exact_tier;

/* A sequence of tiers: one after another sequence. */
typedef struct exact_sequence {
    double add, span, bytes;
    int32_t before; /* -1: none */
    uint32_t tier;
} exact_sequence;

/* A part of one of the pools: span ascending, add descending unless bytes are tracked. */
typedef struct exact_list {
    uint32_t first, count;
    bool known;
} exact_list;

typedef struct exact_part {
    uint32_t ops;
    exact_channels channels;
    uint32_t sequence;
} exact_part;

typedef struct exact_group {
    double value;
    uint32_t parts;
    int count;
} exact_group;

/* A set of operators that can be done first, and the cheapest way to have done it. */
typedef struct exact_ideal {
    uint32_t ops, from;
    double best;
} exact_ideal;

/* When a search ends without having finished. Both clocks count, so that a machine with other work to do does
 * not change what is found. */
typedef struct exact_limit {
    double wall,
        thread; /* s, as tn__exact_seconds and the thread's own clock have them; 0: never */
} exact_limit;

typedef struct exact_solver {
    tn_arena *arena;
    const tn_problem *problem;
    const tn_workload *workload;
    const exact_costs *costs;
    tn_dataflow_space space;
    exact_side side;
    bool
        balanced; /* an operator is on all channels near memory or on none, so that they hold equal parts */
    bool track; /* Pareto sets are of bytes, too, which then have no price */
    exact_weights weights;
    double generate, step; /* step: price of one second of a decode step */
    uint32_t after[TN_OPERATORS];
    exact_options options[TN_OPERATORS];           /* by shape */
    tn_map tier_sets, partitions, groups;          /* ops → index of … */
    TN_VEC(exact_list) tier_lists, sequence_lists; /* … as many as there are channels: index_of */
    TN_VEC(exact_group) group_list;
    TN_VEC(exact_tier) tiers;
    TN_VEC(exact_pick) picks;
    TN_VEC(exact_sequence) sequences;
    TN_VEC(exact_part) parts;
    TN_VEC(exact_ideal) ideals; /* smaller ones first */
    exact_limit limit;
    uint32_t looks;
    bool late; /* past its limit: what was made since is not complete */
} exact_solver;

/* A dataflow whose channels near memory are counted but not chosen. */
typedef struct exact_plan {
    tn_dataflow flow;
    int nmp[TN_OPERATORS]; /* by place */
} exact_plan;

/* `costs` stay the caller's. TN_UNSUPPORTED: the graph has too many ideals. */
tn_status tn__exact_init(exact_solver *s, tn_arena *arena, const tn_problem *p,
                         const exact_costs *costs, tn_dataflow_space space, tn_error *err);
/* A solver of the same problem, with sets of its own. */
exact_solver *tn__exact_twin(const exact_solver *s);
/* The solver ends after `seconds` from now, or with EXACT_BYTES in its arena. */
void tn__exact_limit(exact_solver *s, double seconds);
/* Whether the limit has passed; tn__exact_look asks the clocks now and then. */
bool tn__exact_is_late(exact_solver *s);
bool tn__exact_look(exact_solver *s);
double tn__exact_seconds(void);
/* Forgets all sets. */
void tn__exact_reset(exact_solver *s, exact_weights weights);
/* The least price of a dataflow, wherever its bytes lie; infinite where the space has none, or late. */
double tn__exact_solve(exact_solver *s, exact_weights weights);
/* The dataflow that was found last. */
void tn__exact_write(const exact_solver *s, exact_plan *out);
/* The sequence, an index of the pool, as a partition at `place`. */
void tn__exact_write_partition(const exact_solver *s, uint32_t sequence, tn_placement place,
                               exact_plan *out);
/* Chooses channels so that bytes spread evenly. */
void tn__exact_place(const exact_solver *s, exact_plan *plan);
/* The best dataflow that fits, by any objective. *late: the limit came before all was tried; there may be a
 * bound alone, or 0 for none. */
tn_status tn__exact_search(exact_solver *s, const tn_search_options *options, tn_solution *out,
                           bool *late, tn_error *err);

void tn__exact_options(exact_solver *s);
/* Tiers of exactly `ops`, side by side. */
exact_list tn__exact_tiers(exact_solver *s, uint32_t ops, exact_channels channels);
/* Sequences of tiers over `ops`, an interval of the graph. */
exact_list tn__exact_sequences(exact_solver *s, uint32_t ops, exact_channels channels);
/* The best group of `ops`, an interval; value infinite where there is none. */
exact_group tn__exact_group(exact_solver *s, uint32_t ops);

/* One way to give the partitions of a group their channels. */
typedef struct exact_split {
    int count;
    int nmp; /* channels near memory that it uses */
    uint32_t ops[TN_OPERATORS];
    exact_channels channels[TN_OPERATORS];
    exact_list lists[TN_OPERATORS]; /* their sequences; none is empty */
} exact_split;
typedef void exact_visit(void *context, const exact_split *split);
/* Calls `visit` for each split that the space allows for the group of `ops`. */
void tn__exact_splits(exact_solver *s, uint32_t ops, exact_visit *visit, void *context);
/* What meeting at the end of the group costs. */
double tn__exact_meeting(const exact_solver *s, const exact_split *split);
/* Operators of `ops` that no other of them reads. */
uint32_t tn__exact_sinks(const exact_solver *s, uint32_t ops);
/* Operators of `ops` that are connected with those of `seed` by operators of `ops`. */
uint32_t tn__exact_component(const exact_solver *s, uint32_t ops, uint32_t seed);
/* A partition on all channels is alone in its group, so that both of its costs simply add up. */
bool tn__exact_alone(const exact_solver *s, exact_channels c);

static inline double tn__exact_bytes(const exact_solver *s, const exact_shape *shape,
                                     const exact_choice *c) {
    return shape->bytes * (s->side == EXACT_NEAR_MEMORY ? c->ratio : 1 - c->ratio);
}

static inline int tn__lowest(uint32_t set) {
    return __builtin_ctz(set);
}
static inline uint32_t tn__exact_index(const exact_solver *s, exact_channels c) {
    (void)s;
    return (uint32_t)c.nmp * 2 + c.normal;
}
static inline uint32_t tn__exact_lists(const exact_solver *s) {
    return 2 * ((uint32_t)s->costs->channels + 1);
}

#endif
