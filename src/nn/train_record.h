/* What a step of training records, of a model or of a member that stands for many. */
#ifndef TENON_NN_TRAIN_RECORD_H
#define TENON_NN_TRAIN_RECORD_H

#include <tenon/train.h>

#include "nn/lazy.h"

/* What a batch gives: references of our own; the last two are NULL where no update is made, and the
 * norm where nothing needs it. */
typedef struct tn__train_results {
    tn_tensor *loss, *applied, *norm;
} tn__train_results;
void tn__train_results_release(tn__train_results *r);

/* What a step of a member has beside the options; all NULL for a module that is none. */
typedef struct tn__train_member {
    const tn_tensor *clip_norm; /* scalar in place of the number */
    const tn_tensor *active;    /* bool scalar; false: the step changes nothing */
    bool (*shares)(const void *owner,
                   int item); /* whether all members have this buffer in common */
    const void *owner;
} tn__train_member;

typedef struct tn__train {
    tn_train_options options;
    tn_context *context;
    tn_named_tensor *parameter; /* the trainable ones; their names are the module's */
    tn_tensor **x, **gradient;
    int count;
    tn_optimizer *optimizer;
    tn_accumulator *accumulator; /* those below: NULL where they are not asked for */
    tn_loss_scale *scale;
    tn_ema *average;
    tn_named_tensor *state; /* of all of these */
    int state_count, optimizer_states,
        averages; /* the optimizer's are the first, averages the last */
    tn__recompute recompute;
    int members;
    tn__train_member member;
    tn_tensor *whole; /* state of members with sums: no batch of the update failed; else NULL */
} tn__train;

/* Calls the loss on a batch without elements, and makes the optimizer and what else has state, whose initial
 * values are left to be evaluated. The module stands for one of `members`; 0: for itself. */
tn_status tn__train_init(tn__train *t, const tn_train_options *options, int members, tn_error *err);
void tn__train_deinit(tn__train *t);
/* Records a batch; what it assigns is the module's tensors and the state. */
tn_status tn__train_record(tn__train *t, tn_tensor *const *batch, const tn_tensor *rate,
                           bool updates, tn__train_results *out, tn_error *err);
/* Evaluates the results (may be NULL) and x[0 … count) as one program. */
tn_status tn__train_evaluate(const tn__train *t, const tn__train_results *r, tn_tensor *const *x,
                             int count, tn__replay *replay, tn_error *err);

/* ---- train_trace.c --------------------------------------------------------------------------- */

/* Steps that were recorded and can be done again, by the types of what they were given; a ring. */
enum { TN__TRACES = 8 };
typedef struct tn__traces {
    struct tn__trace *at[TN__TRACES];
    int next, last; /* the one to be replaced; the one recorded last */
} tn__traces;

typedef struct tn__traces_call {
    tn_module *module;      /* what was recorded before it changed is not done again */
    const tn_buffer *given; /* arrays that the step reads, borrowed */
    int count;
    bool updates;
    void *owner;
    /* Records the step on tensors of the arrays; and evaluates all that this changed. */
    tn_status (*record)(void *owner, tn_tensor *const *given, bool updates, tn__train_results *out,
                        tn_error *err);
    tn_status (*evaluate)(void *owner, const tn__train_results *r, tn__replay *replay,
                          tn_error *err);
} tn__traces_call;

/* *out: until the next call. */
tn_status tn__traces_run(tn__traces *t, const tn__traces_call *call, const tn__train_results **out,
                         tn_error *err);
void tn__traces_reset(tn__traces *t);
/* Of the step that was recorded last; NULL: there is none, or it cannot be done again. */
const tn_program *tn__traces_program(const tn__traces *t);

#endif
