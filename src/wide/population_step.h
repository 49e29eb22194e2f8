/* The inside of steps of populations. See tenon/population.h.
 *
 * A step is recorded on stand-ins for one member by the code that records the step of a module
 * (nn/train_record.h), and batched as a whole by tn__population_record. What differs between members are
 * stacks: state and settings; so a number of a member is an operand, and changing it changes elements. */
#ifndef TENON_WIDE_POPULATION_STEP_H
#define TENON_WIDE_POPULATION_STEP_H

#include "nn/train_record.h"
#include "wide/population.h"

struct tn_population_step {
    tn_population *population;
    uint64_t version; /* of the population, when the step was compiled */
    int members;
    tn__train train; /* on stand-ins */
    tn__traces traces;
    tn__population_report report; /* of what was recorded last */
    tn_buffer *given;             /* the batch and the rate */
    bool *shared;                 /* of these */
    double rate;                  /* of the step that runs */
    int batches;                  /* in the sums of the update that is being made */
    uint64_t *updates;
    tn_train_metrics *metrics; /* where nobody asks for them */
    /* Settings of members, then whether they are active, then state as in `train`. */
    tn__stack *stacks;
    tn__stack **own; /* all of them */
    const char **names;
    int stack_count;
};
enum { TN__ACTIVE = TN_SETTING_LOSS_SCALE, TN__SETTINGS }; /* the scale of losses is state */

/* The stacks of settings, which hold what the options say. */
tn_status tn__population_settings_make(tn_population_step *s, tn_error *err);
/* Refuses a step whose population has other members now. */
tn_status tn__population_step_check(const tn_population_step *s, tn_error *err);

#endif
