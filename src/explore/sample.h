/* Random legal dataflows, from one stream of random bits. Each level can be drawn anew while those above it
 * stay: groups (connected sets of operators that run one after the other), channels of partitions, tiers,
 * channels and ratios of operators. What is drawn passes tn_dataflow_check; whether it fits is not looked at. */
#ifndef TENON_EXPLORE_SAMPLE_H
#define TENON_EXPLORE_SAMPLE_H

#include <tenon/explore.h>

/* Random numbers of one individual: the blocks of a key made of (seed, generation, individual). */
typedef struct sample_stream {
    uint64_t key, block;
    uint32_t bits[4];
    int left;
} sample_stream;

sample_stream tn__sample_stream(uint64_t seed, uint32_t generation, uint32_t individual);
/* Uniform over 0 … count − 1; count >= 1. */
int tn__sample_below(sample_stream *s, int count);
double tn__sample_unit(sample_stream *s); /* [0, 1) */
/* A random element of a set that is not empty, as its index. */
int tn__sample_bit(sample_stream *s, uint64_t set);

typedef struct sampler {
    const tn_problem *problem;
    tn_dataflow_space space;
    sample_stream *random;
} sampler;

/* A partition's or operator's channels. */
typedef struct sample_channels {
    uint64_t nmp;
    bool normal;
} sample_channels;

/* All below append to `d` and answer false where the draw came to nothing legal: then try again. `place` tells
 * where. */

/* Groups for `ops`, an interval of the operator graph, and all that is in them; advances place->group. */
bool tn__sample_interval(const sampler *s, uint32_t ops, tn_placement *place, tn_dataflow *d);
/* The same with `ops` as one group, which only is cut where it has more partitions than channels, or at random if
 * `cut`. */
bool tn__sample_group(const sampler *s, uint32_t ops, bool cut, tn_placement *place,
                      tn_dataflow *d);
/* Tiers for a partition. */
bool tn__sample_partition(const sampler *s, uint32_t ops, sample_channels channels,
                          tn_placement place, tn_dataflow *d);
/* Channels and ratios of one tier. */
bool tn__sample_tier(const sampler *s, uint32_t ops, sample_channels channels, tn_placement place,
                     tn_dataflow *d);
/* Some ratio for operator `op`, which is on channels of both kinds; false: it cannot be divided. */
bool tn__sample_ratio(const sampler *s, int op, int nmp, double *ratio);

/* A whole dataflow; false after many tries: the space has none for this machine. */
bool tn__sample_dataflow(const sampler *s, tn_dataflow *out);

#endif
