/* The measured profile of a machine: a JSON file with an id. Measuring writes it, others read it. */
#ifndef TENON_MACHINE_PROFILE_H
#define TENON_MACHINE_PROFILE_H

#include <jansson.h>

#include "machine/detect.h"
#include "machine/measure.h"

#define TN_PROFILE_FILE "machine.json" /* in the cache folder */

typedef struct tn_profile {
    char id[17]; /* of what was measured on what */
    char cpu[TN_HOST_TEXT];
    char target[32];
    tn_roofs roofs;
} tn_profile;

/* Gives `p` its id and writes it to `path`; nothing half-written. */
tn_status tn_profile_write(tn_profile *p, const char *path, tn_error *err);
/* False when there is no profile, it cannot be read, or it is of another processor than `cpu` (NULL: any).
 */
bool tn_profile_read(tn_profile *p, const char *path, const char *cpu);
/* {"threads", "gflops_1", "gflops", "read_gbs_1", …, "scaling": [{"threads", "gflops",
 * "read_gbs"}]}; the caller's reference. */
json_t *tn_roofs_json(const tn_roofs *r);

#endif
