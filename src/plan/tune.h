/* Searching schedule records by measuring. The caller measures; this decides what is tried.
 *
 * A tuner is filled while the first program is compiled (it is the record source of that compile). In
 * a round every kernel that matters tries one record; the caller compiles the program with these, runs
 * it and the first one alternately, and tells the times. */
#ifndef TENON_PLAN_TUNE_H
#define TENON_PLAN_TUNE_H

#include "plan/records.h"
#include "schedule/candidates.h"

/* A distinct kernel of the first program. */
typedef struct tn_tune_site {
    char key[65];
    const char *name;
    tn_lower_context context;
    uint32_t group;
    tn_group_kind kind;
    tn_schedule chosen, start, best, trial; /* start: of the first program */
    int64_t tasks;                          /* by the chosen record */
    double ratio;                           /* the best's time over the first program's */
    double before, after;                   /* seconds of one run, when it won */
    double weight, credit;                  /* a trial costs a credit; a round earns the weight */
    bool trying, won;
    tn_schedule_list waiting; /* the last one is next */
    TN_VEC(tn_hash128) seen;  /* kernels that were measured */
} tn_tune_site;

typedef struct tn_tuner {
    tn_arena *arena;
    const tn_record_source *known; /* of the first program; may be NULL */
    bool collecting;               /* the first program is being compiled */
    TN_VEC(tn_tune_site) sites;
    TN_VEC(uint32_t) site_of; /* by position: 1 + its site, or 0 */
    tn_map by_key;
    uint32_t rounds, tried; /* of what was measured */
} tn_tuner;

/* Seconds of one run in all steps of each site: of the first program, and of the one that is compiled
 * with `source` (NULL: the first alone). A failure ends the round, not the search. */
typedef tn_status tn_tune_measure(void *context, const tn_record_source *source, double *first,
                                  double *trial, tn_error *err);

void tn_tuner_init(tn_tuner *t, const tn_record_source *known, tn_arena *arena);
/* The record source of every compile: the first program's, then the trials'. */
tn_record_source tn_tuner_source(tn_tuner *t);
/* Searches for about `seconds` (at least one round); afterwards `won` tells the sites whose `best` is
 * faster than `start`. What the sites point to must still be there. */
tn_status tn_tune(tn_tuner *t, double seconds, tn_tune_measure *measure, void *context,
                  tn_error *err);

#endif
