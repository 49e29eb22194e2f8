/* Whether a wide model fits into memory: told before anything large is allocated. */
#ifndef TENON_WIDE_BUDGET_H
#define TENON_WIDE_BUDGET_H

#include "wide/wide.h"

/* Groups that are to be made. */
typedef struct tn__wide_budget {
    const tn_wide *w;
    const tn_wide_member *members; /* all of them */
    int count;
    const tn__wide_group **groups;
    int group_count;
    tn__wide_files *files;
    tn_arena *arena;
} tn__wide_budget;

/* An error tells how many of the members fit. What surely fits is told by a bound; else the groups' own programs
 * are planned (estimate.h), for all members and on the way to the number that fits. */
tn_status tn__wide_budget_check(const tn__wide_budget *b, tn_error *err);

/* The same for the activations of inputs whose sizes are known now. */
tn_status tn__wide_budget_run(const tn_wide *w, const tn__wide_group *g, const tn_buffer *inputs,
                              int count, tn_error *err);
/* Bytes of weights and activations that a group has at present. */
int64_t tn__wide_group_bytes(const tn__wide_group *g);

#endif
