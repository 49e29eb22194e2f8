/* Tuning a model for inputs of these sizes: measures ways to cut the batch, then schedule records, and
 * keeps the best in the cache, where every later compile finds them. */
#ifndef TENON_SESSION_TUNE_H
#define TENON_SESSION_TUNE_H

#include <tenon/session.h>

#include "plan/tune.h"
#include "session/tunings.h"

typedef struct tn_tune_options {
    double seconds; /* about */
    /* Called for each kernel that got faster, at the end; may be NULL. */
    void (*improved)(void *context, const tn_tune_site *site);
    void *context;
} tn_tune_options;

typedef struct tn_tune_result {
    uint32_t kernels, rounds, tried; /* distinct kernels; records that were measured */
    int kept;
    double before, after; /* seconds of one run in all kernels that were kept */
    uint32_t cuts;        /* other ways to cut the batch that were measured */
    tn_tuned_piece cut;   /* the best, 3 % faster than by cost, or that by cost */
} tn_tune_result;

/* The model itself stays as it is: what is opened afterwards is tuned. Other sessions of the model must
 * not run meanwhile. Refused without a compiler or a cache, and for program files, which keep no graph.
 */
tn_status tn_model_tune(tn_model *m, const tn_buffer *inputs, int count,
                        const tn_tune_options *options, tn_tune_result *result,
                        tn_error *err) TN_MUST_USE;

#endif
