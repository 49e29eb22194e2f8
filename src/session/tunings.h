/* What tuning found, in the cache: one entry a kernel, and an id of all there is for a target. */
#ifndef TENON_SESSION_TUNINGS_H
#define TENON_SESSION_TUNINGS_H

#include "machine/detect.h"
#include "plan/tune.h"
#include "session/kernels.h"

enum { TN_TUNING_ID = 65 };

typedef struct tn_tunings {
    const tn_compiler *compiler;
    char cpu[TN_MACHINE_TEXT];
} tn_tunings;

/* The id changes with every tn_tunings_put; part of what a compiled program depends on. False, with
 * `id` unchanged, when nothing was ever tuned. */
bool tn_tunings_id(const tn_compiler *c, char id[TN_TUNING_ID]);
/* False when nothing was ever tuned: there is no use in asking. */
bool tn_tunings_open(tn_tunings *t, const tn_compiler *c);
/* Damaged entries are as none. `t` must outlive what it gives. */
tn_record_source tn_tunings_source(tn_tunings *t);

/* Keeps the best record of each site that won; their number that could be written. */
int tn_tunings_put(const tn_compiler *c, const tn_tuner *tuner);

#endif
