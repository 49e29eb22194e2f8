/* Runs of some microseconds: on the calling thread, or with the pool, whichever is sooner done.
 *
 * Waking workers takes longer than such a run, so they take part only where runs follow each other at once
 * and they can stay awake in between. Whether sharing then gains depends on how far apart the cores are,
 * which on a virtual machine changes while it runs: a launch costs a tenth of 64×64×64 products, or half.
 * So now and then a few runs are timed each way, and their best
 * compared: others are those that lost their core, or woke a worker. Who computes a task never changes its result. */
#ifndef TENON_RUNTIME_SMALL_RUNS_H
#define TENON_RUNTIME_SMALL_RUNS_H

#include "base/base.h"

typedef struct tn__small_runs {
    double ended;      /* the last run, in seconds */
    uint32_t close;    /* runs so far that each began when the one before had ended */
    uint32_t count;    /* runs behind the first of their stretch */
    double seconds[2]; /* the best of the runs that are timed: alone, together */
    bool together;     /* was sooner when they were last timed */
} tn__small_runs;

/* Whether the run that begins now shall have the pool. */
bool tn__small_run_begins(tn__small_runs *s, double now);
/* It took from `began` to `now`; whether the workers shall stay awake for the next. */
bool tn__small_run_ends(tn__small_runs *s, double began, double now);

#endif
