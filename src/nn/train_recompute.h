/* What a step of training keeps for its backward pass, from options to a rule of the transform. */
#ifndef TENON_NN_TRAIN_RECOMPUTE_H
#define TENON_NN_TRAIN_RECOMPUTE_H

#include <tenon/train.h>

#include "transform/recompute.h"

/* Errors name what is wrong with the options. Of mode NONE nothing is set. */
tn_status tn__recompute_rule(const tn_recompute_options *o, tn_recompute *out, tn_error *err);
/* Whether the rule can be kept by the gradients of a recorded loss for `x`; nothing is evaluated. In a
 * scope. */
tn_status tn__recompute_check(const tn_recompute *rule, tn_tensor *loss, tn_tensor *const *x,
                              int count, tn_error *err);

#endif
