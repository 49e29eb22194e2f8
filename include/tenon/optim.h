/* Optimizers, what is done with gradients before them, and learning rates.
 *
 *   tn_optimizer_options options = TN_ADAMW_INIT;
 *   tn_optimizer_create(&options, parameters, count, &o, &err);
 *   …  tn_grad(loss, NULL, xs, count, grads);
 *      norm = tn_clip_gradients_norm(grads, count, 1.0, grads);
 *      tn_optimizer_step(o, rate, grads, NULL);
 *
 * A step is recorded like other operations: it runs when something is read, in one program with the
 * loss and the gradients, one kernel per parameter. State are tensors with names, so that
 * checkpoints (tenon/checkpoint.h) save and load them as they do parameters.
 *
 * Numbers that change from step to step are tensors: the rate, the count of steps, the scale of the
 * loss. Mistakes are told as those of operations are (tenon/tensor.h); a parameter whose update
 * failed is failed. Lists of gradients may hold NULL where a parameter has none. */
#ifndef TENON_OPTIM_H
#define TENON_OPTIM_H

#include <tenon/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- optimizers ----------------------------------------------------------------------------- */

typedef enum tn_optimizer_kind {
    TN_OPTIMIZER_SGD,
    TN_OPTIMIZER_ADAM,
    TN_OPTIMIZER_ADAMW,
    TN_OPTIMIZER_LION,
} tn_optimizer_kind;

/* Of one parameter. */
typedef struct tn_parameter_settings {
    double rate; /* multiplies the learning rate; 1 */
    double weight_decay;
} tn_parameter_settings;

/* With η the rate, g the gradient, λ the weight decay, t the count of steps from 1, all as in
 * PyTorch 2:
 *   SGD    g += λx; b = μb + g; g = nesterov ? g + μb : b; x −= ηg    (no b where μ = 0)
 *   Adam   g += λx; m = β₁m + (1−β₁)g; v = β₂v + (1−β₂)g²;
 *          x −= η/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε)                     (Kingma, Ba 2015)
 *   AdamW  x −= ηλx instead of g += λx                                (Loshchilov, Hutter 2019)
 *   Lion   x −= ηλx; x −= η sign(β₁m + (1−β₁)g); m = β₂m + (1−β₂)g    (Chen et al. 2023)
 * They compute in f64 for f64 parameters, else in f32, and so is their state. */
typedef struct tn_optimizer_options {
    size_t size; /* sizeof(tn_optimizer_options) */
    tn_optimizer_kind kind;
    double weight_decay; /* λ */
    double momentum;     /* μ, of SGD */
    bool nesterov;       /* of SGD; needs a momentum */
    double beta1, beta2; /* of the others */
    double epsilon;      /* ε, of Adam and AdamW */
    bool master;         /* keeps an f32 copy of narrower parameters, which is what is
                                    updated; the parameter is that copy rounded */
    void (*settings)(void *context, const char *name, const tn_tensor *x,
                     tn_parameter_settings *out); /* changes those of a parameter; may be NULL */
    void *settings_context;
} tn_optimizer_options;
/* PyTorch's defaults, of Lion the paper's. */
#define TN_SGD_INIT                                                                                \
    { .size = sizeof(tn_optimizer_options), .kind = TN_OPTIMIZER_SGD }
#define TN_ADAM_INIT                                                                               \
    {                                                                                              \
        .size = sizeof(tn_optimizer_options), .kind = TN_OPTIMIZER_ADAM, .beta1 = 0.9,             \
        .beta2 = 0.999, .epsilon = 1e-8                                                            \
    }
#define TN_ADAMW_INIT                                                                              \
    {                                                                                              \
        .size = sizeof(tn_optimizer_options), .kind = TN_OPTIMIZER_ADAMW, .weight_decay = 0.01,    \
        .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8                                              \
    }
#define TN_LION_INIT                                                                               \
    { .size = sizeof(tn_optimizer_options), .kind = TN_OPTIMIZER_LION, .beta1 = 0.9, .beta2 = 0.99 }

typedef struct tn_optimizer tn_optimizer;

/* For parameters of float types, of one context, with names that differ (copied). Keeps references
 * to the tensors. */
TN_API tn_status tn_optimizer_create(const tn_optimizer_options *options,
                                     const tn_named_tensor *parameters, int count,
                                     tn_optimizer **out, tn_error *err) TN_MUST_USE;
TN_API void tn_optimizer_release(tn_optimizer *optimizer);

/* Updates all parameters and the state. `rate` is a scalar of a float type. gradients[i] has the shape of
 * parameter i; NULL leaves it and its state alone. `apply`, a bool scalar, keeps everything as it
 * was where it is false; NULL: true. There is one count of steps, for all parameters. */
#define tn_optimizer_step(...) tn_optimizer_step_at(TN_HERE, __VA_ARGS__)
TN_API void tn_optimizer_step_at(const char *place, tn_optimizer *optimizer, const tn_tensor *rate,
                                 tn_tensor *const *gradients, const tn_tensor *apply);

/* How many tensors of state there are; the first `room` of them are put into `out`, borrowed. Names are
 * those of parameters with ".momentum_buffer", ".exp_avg", ".exp_avg_sq" or ".master", and "step".
 * Made as zeros by the first step or by this call. */
TN_API int tn_optimizer_state(tn_optimizer *optimizer, tn_named_tensor *out, int room);

/* ---- gradients ------------------------------------------------------------------------------ */

/* The 2-norm of all gradients together, f32 (f64 for f64). Each of clipped[i] is gradients[i] times
 * min(1, max_norm / (norm + 1e-6)); an infinite max_norm changes nothing. `clipped` may be
 * `gradients` where a scope releases those, or NULL for the norm alone. NULL when all are. */
#define tn_clip_gradients_norm(...) tn_clip_gradients_norm_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_clip_gradients_norm_at(const char *place, tn_tensor *const *gradients,
                                            int count, double max_norm, tn_tensor **clipped);
/* Each element is brought into [−limit, limit]; `clipped` as above. */
#define tn_clip_gradients_value(...) tn_clip_gradients_value_at(TN_HERE, __VA_ARGS__)
TN_API void tn_clip_gradients_value_at(const char *place, tn_tensor *const *gradients, int count,
                                       double limit, tn_tensor **clipped);
/* Bool scalar: no element is infinite or NaN. NULL when all gradients are. */
#define tn_gradients_finite(...) tn_gradients_finite_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_gradients_finite_at(const char *place, tn_tensor *const *gradients, int count);

/* Sums of gradients over several batches: buffers of the parameters' shapes, f32 (f64 for f64), named as
 * the parameters with ".gradient". */
typedef struct tn_accumulator tn_accumulator;
TN_API tn_status tn_accumulator_create(const tn_named_tensor *parameters, int count,
                                       tn_accumulator **out, tn_error *err) TN_MUST_USE;
TN_API void tn_accumulator_release(tn_accumulator *accumulator);
/* Adds gradients[i] · scale, such as 1 / batches; NULL adds nothing. */
#define tn_accumulator_add(...) tn_accumulator_add_at(TN_HERE, __VA_ARGS__)
TN_API void tn_accumulator_add_at(const char *place, tn_accumulator *accumulator,
                                  tn_tensor *const *gradients, double scale);
/* The sums, as new references in out[i]; the buffers become zeros. */
#define tn_accumulator_take(...) tn_accumulator_take_at(TN_HERE, __VA_ARGS__)
TN_API void tn_accumulator_take_at(const char *place, tn_accumulator *accumulator, tn_tensor **out);
/* As tn_optimizer_state. */
TN_API int tn_accumulator_state(tn_accumulator *accumulator, tn_named_tensor *out, int room);

/* ---- loss scaling (Micikevicius et al. 2018) -------------------------------------------------- */

/* Gradients of f16 underflow, so those of scale · loss are taken:
 *   tn_grad(tn_loss_scale_apply(s, loss), NULL, xs, count, grads);
 *   finite = tn_loss_scale_unscale(s, grads, count, grads);
 *   tn_optimizer_step(o, rate, grads, finite);
 *   tn_loss_scale_update(s, finite); */
typedef struct tn_loss_scale tn_loss_scale;
typedef struct tn_loss_scale_options {
    size_t size;    /* sizeof(tn_loss_scale_options) */
    double initial; /* 65536 */
    double growth;  /* the scale is multiplied by this after `interval` finite steps; 2 */
    double backoff; /* and by this after one that is not; 0.5 */
    int interval;   /* 2000 */
} tn_loss_scale_options;
#define TN_LOSS_SCALE_OPTIONS_INIT                                                                 \
    {                                                                                              \
        .size = sizeof(tn_loss_scale_options), .initial = 65536, .growth = 2, .backoff = 0.5,      \
        .interval = 2000                                                                           \
    }
/* `options` may be NULL. */
TN_API tn_status tn_loss_scale_create(tn_context *context, const tn_loss_scale_options *options,
                                      tn_loss_scale **out, tn_error *err) TN_MUST_USE;
TN_API void tn_loss_scale_release(tn_loss_scale *scale);
/* loss · scale, at least f32 */
#define tn_loss_scale_apply(...) tn_loss_scale_apply_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_loss_scale_apply_at(const char *place, tn_loss_scale *scale,
                                         const tn_tensor *loss);
/* out[i] = gradients[i] / scale, at least f32; `out` may be `gradients` where a scope releases those.
 * Returns whether all are finite, as tn_gradients_finite does. */
#define tn_loss_scale_unscale(...) tn_loss_scale_unscale_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_loss_scale_unscale_at(const char *place, tn_loss_scale *scale,
                                           tn_tensor *const *gradients, int count, tn_tensor **out);
#define tn_loss_scale_update(...) tn_loss_scale_update_at(TN_HERE, __VA_ARGS__)
TN_API void tn_loss_scale_update_at(const char *place, tn_loss_scale *scale,
                                    const tn_tensor *finite);
/* "loss_scale", f32, and "loss_scale.good_steps", i32; as tn_optimizer_state. */
TN_API int tn_loss_scale_state(tn_loss_scale *scale, tn_named_tensor *out, int room);

/* ---- averages of parameters ----------------------------------------------------------------- */

/* average = decay · average + (1 − decay) · x, from the parameters as they are at the creation; at
 * least f32, named as the parameters with ".average". No gradient goes through an average. */
typedef struct tn_ema tn_ema;
TN_API tn_status tn_ema_create(const tn_named_tensor *parameters, int count, double decay,
                               tn_ema **out, tn_error *err) TN_MUST_USE;
TN_API void tn_ema_release(tn_ema *ema);
#define tn_ema_update(...) tn_ema_update_at(TN_HERE, __VA_ARGS__)
TN_API void tn_ema_update_at(const char *place, tn_ema *ema);
/* As tn_optimizer_state; entry i belongs to parameter i. */
TN_API int tn_ema_state(tn_ema *ema, tn_named_tensor *out, int room);

/* ---- learning rates ------------------------------------------------------------------------- */

/* With s the step behind the warm-up, from 0: */
typedef enum tn_rate_kind {
    TN_RATE_CONSTANT,        /* rate */
    TN_RATE_STEP,            /* rate · gamma^⌊s / period⌋ */
    TN_RATE_MULTI_STEP,      /* rate · gamma^(milestones that s has reached) */
    TN_RATE_EXPONENTIAL,     /* rate · gamma^s */
    TN_RATE_COSINE,          /* half a cosine over `period` steps, then minimum */
    TN_RATE_COSINE_RESTARTS, /* half a cosine over `period` steps, then over `period_factor` times as
                                many, … (Loshchilov, Hutter 2017) */
    TN_RATE_STABLE_DECAY, /* rate, then down to minimum over the last decay_ratio of `total` steps;
                                one step more would reach it (torchtitan's) */
} tn_rate_kind;

typedef enum tn_decay_curve { TN_DECAY_LINEAR, TN_DECAY_COSINE, TN_DECAY_SQRT } tn_decay_curve;

typedef struct tn_rate_schedule {
    size_t size; /* sizeof(tn_rate_schedule) */
    tn_rate_kind kind;
    double rate;    /* the highest */
    double minimum; /* of the cosines and stable decay */
    int64_t warmup; /* steps before all kinds: rate · (step + 1) / warmup */
    int64_t period; /* steps */
    int64_t period_factor;
    double gamma;
    const int64_t *milestones; /* ascending, counted behind the warm-up; borrowed */
    int milestone_count;
    int64_t total; /* steps of the whole run */
    double decay_ratio;
    tn_decay_curve curve;
} tn_rate_schedule;
#define TN_RATE_SCHEDULE_INIT                                                                      \
    {                                                                                              \
        .size = sizeof(tn_rate_schedule), .rate = 1e-3, .period = 1, .period_factor = 1,           \
        .gamma = 0.1, .decay_ratio = 1                                                             \
    }

/* Says what is wrong with a schedule. */
TN_API tn_status tn_rate_check(const tn_rate_schedule *schedule, tn_error *err) TN_MUST_USE;
/* The rate of `step`, counted from 0, for a schedule that passes the check; depends on nothing else. */
TN_API double tn_rate_at(const tn_rate_schedule *schedule, int64_t step);

#ifdef __cplusplus
}
#endif
#endif
