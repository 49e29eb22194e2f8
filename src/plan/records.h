/* Where a compile gets schedule records from, other than choosing them: what tuning remembered, or what
 * it tries. */
#ifndef TENON_PLAN_RECORDS_H
#define TENON_PLAN_RECORDS_H

#include "codegen/lower.h"

/* A kernel that could be lowered by another record. */
typedef struct tn_kernel_site {
    char key[65]; /* SHA-256 of its canonical loop IR as lowered by the chosen record */
    const char *name;
    const tn_lower_context *context;
    uint32_t group;
    const tn_lowered *lowered; /* by the chosen record */
    uint32_t position;         /* of its step */
} tn_kernel_site;

typedef struct tn_record_source {
    void *context;
    /* True: lower by *record, which is the chosen one on entry. What does not fit is not used. */
    bool (*find)(void *context, const tn_kernel_site *site, tn_schedule *record);
} tn_record_source;

#endif
