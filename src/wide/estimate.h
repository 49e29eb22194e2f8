/* What a group would take: its wide program is planned, over stacks without elements. */
#ifndef TENON_WIDE_ESTIMATE_H
#define TENON_WIDE_ESTIMATE_H

#include "wide/compare.h"
#include "wide/wide.h"

/* Bytes; INFINITY where they cannot be counted. */
typedef struct tn__wide_memory {
    double weights;   /* as runs read them: packed, filters transformed */
    double preparing; /* beside them while they are packed */
    double
        activations; /* temporaries, inputs and outputs, work areas; open sizes are at their least */
} tn__wide_memory;

/* Of these members as one group; `files` has imported their models. */
typedef struct tn__wide_estimating {
    const tn_wide *w;
    const tn_wide_member *members; /* all */
    const int *numbers;            /* of the group's */
    int count;
    tn__wide_files *files;
    const tn__wide_shares *shares; /* of all members of the group */
} tn__wide_estimating;
tn_status tn__wide_estimate(const tn__wide_estimating *e, tn__wide_memory *out, tn_error *err);

/* Bytes of weights that runs of a program read. */
double tn__wide_weight_bytes(const tn_program *p);
/* Each symbol at its least. */
int64_t *tn__wide_least_sizes(const tn_dims *dims, tn_arena *arena);

#endif
