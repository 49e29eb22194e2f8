/* The genetic search's parts: an individual is a machine of the family and a dataflow for each part of the
 * study. An individual follows from (seed, generation, its number) and the parents, so threads share nothing
 * but a counter.
 *
 *   breed    new individuals: at random, by the artifact's operators 0–4 and crossover   genetic_breed.c
 *   refine   small changes of one dataflow, which the artifact does not have             genetic_refine.c
 *   memo     what cost models have answered                                           genetic_memo.c
 *   select   generations, threads, parents                                               genetic.c */
#ifndef TENON_EXPLORE_GENETIC_H
#define TENON_EXPLORE_GENETIC_H

#include "explore/sample.h"

typedef struct genetic_part {
    tn_dataflow flow;
    tn_evaluation evaluation;
    double over; /* bytes that its channels have no room for */
    bool known;  /* `evaluation` and `over` are */
} genetic_part;

typedef struct genetic_individual {
    int64_t machine;
    double over, value, energy, latency; /* sums over the parts, weighted but for `over` */
    genetic_part *parts;
} genetic_individual;

typedef struct genetic_family {
    const tn_study *study;
    const tn_machine *machine; /* the only one; NULL: those of the study's space */
    const tn_search_options *options;
    int64_t *machines; /* that are small enough */
    int machine_count;
    double mutate_ratio;
} genetic_family;

/* One child in the making. `problem` is of the part at hand. */
typedef struct genetic_child {
    const genetic_family *family;
    const genetic_individual *parents;
    int parent_count;
    sample_stream random;
    genetic_individual *out;
    tn_problem problem;
} genetic_child;

tn_problem tn__genetic_problem(const genetic_family *f, int64_t machine, int part);

/* Makes `c->out` without evaluating it, at random where there are no parents; false: some part has no dataflow on
 * the machine that was drawn. */
bool tn__genetic_breed(genetic_child *c);
/* Bytes beyond the room of the machine. */
double tn__genetic_over(const tn_problem *p, const tn_dataflow *d);

/* The place behind the run from `from` on of one group (level 0), partition (1) or tier (2). */
int tn__genetic_run_end(const tn_dataflow *d, int from, int level);
uint32_t tn__genetic_ops(const tn_dataflow *d, int from, int to);
sample_channels tn__genetic_channels(const tn_dataflow *d, int from, int to);

/* `to` becomes a neighbour of `from`; false: what was drawn is not legal. */
bool tn__genetic_redraw_window(const sampler *s, const tn_dataflow *from, tn_dataflow *to);
bool tn__genetic_edit(const sampler *s, const tn_dataflow *from, tn_dataflow *to);
/* `from`, of another machine, on that of the sampler. */
bool tn__genetic_move(const sampler *s, const tn_dataflow *from, tn_dataflow *to);

#endif
