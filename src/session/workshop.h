/* Where programs are made: how to compile, the caller's options, the threads that run. What the
 * artifacts of one model, or of one context of lazy tensors, have in common. */
#ifndef TENON_SESSION_WORKSHOP_H
#define TENON_SESSION_WORKSHOP_H

#include "runtime/pool.h"
#include "session/kernels.h"

typedef struct tn_workshop {
    tn_arena arena; /* texts of the options */
    tn_compiler compiler;
    tn_model_options options;
    tn_pool *pool;
} tn_workshop;

/* `options` may be NULL, or of a caller that was compiled against an older header. After a failure
 * nothing is left to release. */
tn_status tn_workshop_init(tn_workshop *w, const tn_model_options *options, tn_error *err);
void tn_workshop_deinit(tn_workshop *w);

#endif
