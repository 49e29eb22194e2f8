/* For the files of tenon/optim.h. */
#ifndef TENON_NN_OPTIM_INNER_H
#define TENON_NN_OPTIM_INNER_H

#include <tenon/optim.h>

#include "nn/tensor_inner.h"

/* The types that updates compute in: f64, else f32. */
tn_dtype tn__wide_float(tn_dtype dtype);

/* Parameters by name, and a tensor of state for each. */
typedef struct tn__slots {
    tn_context *context;
    int count;
    tn_named_tensor *parameter; /* names and references of our own */
    tn_named_tensor *state;
} tn__slots;

/* Names differ, types are floats, contexts equal; `who` begins messages. State has no tensors yet; its
 * names are those of the parameters with `suffix`. */
tn_status tn__slots_init(tn__slots *s, const char *who, const tn_named_tensor *parameters,
                         int count, const char *suffix, tn_error *err);
/* Whether all tensors of state could be made. */
tn_status tn__slots_check(const tn__slots *s, const char *who, tn_error *err);
void tn__slots_deinit(tn__slots *s);
/* Puts the first `room` into `out`; returns the count. */
int tn__slots_list(const tn__slots *s, tn_named_tensor *out, int room);

char *tn__name_with(const char *name, const char *suffix); /* NULL: no memory */
tn_status tn__check_parameters(const char *who, const tn_named_tensor *parameters, int count,
                               tn_error *err);
/* Zeros of the parameter's shape, in the type that updates compute in; no scope's. */
tn_tensor *tn__zeros_like(const tn_tensor *x);
/* Whether it has a type and no elements. */
bool tn__is_abstract(const tn_tensor *x);
/* Another handle of x's value, as it is now. */
tn_tensor *tn__again(const tn_tensor *x);

/* Scalars that steps read in place of the numbers of the options; NULL: those. The weight decay is that of the
 * parameters that have the optimizer's, where that is not 0; a momentum of 0 stays that. Borrowed. */
typedef struct tn__optimizer_scalars {
    const tn_tensor *weight_decay, *momentum;
} tn__optimizer_scalars;
void tn__optimizer_scalars_set(tn_optimizer *o, const tn__optimizer_scalars *scalars);
/* tn_clip_gradients_norm whose limit is a scalar, which may be infinite. */
tn_tensor *tn__clip_gradients_norm(const char *place, tn_tensor *const *gradients, int count,
                                   const tn_tensor *max_norm, tn_tensor **clipped);

/* Assigns each of `from` to the one in `to`, and releases it. */
void tn__assign_all(const char *place, tn_tensor *const *to, tn_tensor **from, int count);

/* The tensors that are not NULL: count of them, and where each was. */
typedef struct tn__given {
    const tn_tensor **tensor;
    int *index;
    int count;
} tn__given;
/* `extra` (may be NULL) comes first. False when memory runs out; to be freed in any case. */
bool tn__given_init(tn__given *g, const tn_tensor *extra, tn_tensor *const *list, int count);
void tn__given_deinit(tn__given *g);
/* Whether all of the values are finite; TN_NO_VALUE for none. */
tn_value tn__all_finite(tn_builder *b, const tn_value *x, int count);

#endif
