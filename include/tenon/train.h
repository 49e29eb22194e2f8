/* Steps of training: loss, gradients, clipping and update as one program.
 *
 *   static tn_tensor *loss(void *context, tn_module *m, tn_tensor *const *batch) {
 *       return tn_cross_entropy(mlp(m, batch[0]), batch[1]);
 *   }
 *   tn_train_options o = TN_TRAIN_OPTIONS_INIT;
 *   o.module = m, o.loss = loss, o.batch = types, o.batch_count = 2;
 *   tn_train_step_compile(&o, &step, &err);
 *   for (…) tn_train_step_run(step, batch, tn_rate_at(&rate, i), &metrics, &err);
 *
 * Parameters, state of the optimizer and buffers of the module are updated in place, and stay tensors
 * like others between the steps: they can be read, saved (tenon/checkpoint.h) and assigned. The same
 * seed and batches give the same bits, for any number of threads. */
#ifndef TENON_TRAIN_H
#define TENON_TRAIN_H

#include <tenon/nn.h>
#include <tenon/optim.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Records the loss of a batch, a scalar of a float type; what it makes is released by a scope. It is
 * called once for each combination of types of a batch, and what it recorded is done again for the
 * batches of those types: so it should only record, and what it decides in C (a branch, a number given as
 * double) stays decided. What varies are elements: of the batch, of the module's parameters and buffers, of
 * other tensors that it reads and that live on, which may be assigned between the steps. It is called again
 * when modules change (a mode, a new parameter), and at every step where it made tensors from memory or
 * from the context's random numbers; for anything else there is tn_train_step_reset. */
typedef tn_tensor *tn_loss_function(void *context, tn_module *m, tn_tensor *const *batch);

/* What the backward pass keeps of the forward pass; the rest is computed again there, in the same arithmetic. */
typedef enum tn_recompute_mode {
    TN_RECOMPUTE_NONE, /* left to the planner, which recomputes what is quicker than reading it */
    TN_RECOMPUTE_FULL, /* the ends of blocks (tn_block_end) and what follows the last one */
    TN_RECOMPUTE_SELECTIVE, /* by `every` or `keep` */
    TN_RECOMPUTE_BUDGET,    /* at most `budget` bytes, in the least time */
} tn_recompute_mode;

typedef struct tn_recompute_options {
    tn_recompute_mode mode;
    int every; /* the first of so many blocks is recomputed, all else is kept; 0: by `keep` */
    const char *keep; /* results of these operations are kept: names of primitives, as "dot conv" */
    int64_t budget;   /* inputs, parameters and results of the step do not count */
} tn_recompute_options;

typedef struct tn_train_options {
    size_t size; /* sizeof(tn_train_options) */
    tn_module *module;
    tn_loss_function *loss;
    void *context; /* for `loss` */
    /* Types of what makes a batch; `data` is not looked at. */
    const tn_buffer *batch;
    int batch_count;
    tn_optimizer_options optimizer;
    /* Mixed precision: what the layers' products compute in, TN_bf16 or TN_f16 (tn_module_set_compute);
     * parameters, gradients and state stay as they are. TN_f64, as at first: in the type of x. */
    tn_dtype compute;
    double clip_norm; /* the gradients' 2-norm is at most this; 0: it is not clipped */
    /* Batches whose gradients are averaged for one update; 0: 1 */
    int accumulate;
    const tn_loss_scale_options
        *loss_scale; /* NULL: as usual where f16 is computed in, else none */
    double average;  /* decay of an average of the parameters; 0: none */
    tn_recompute_options recompute;
} tn_train_options;
#define TN_TRAIN_OPTIONS_INIT                                                                      \
    { .size = sizeof(tn_train_options), .optimizer = TN_ADAMW_INIT }

typedef struct tn_train_step tn_train_step;

/* Calls `loss` once with a batch that has no elements, so that the parameters exist, and makes the
 * optimizer for those that are trainable then. The module must outlive the step. Settings of recomputation
 * that this loss cannot keep (no blocks, a budget below the least that can be kept) are errors here. */
TN_API tn_status tn_train_step_compile(const tn_train_options *options, tn_train_step **out,
                                       tn_error *err) TN_MUST_USE;
TN_API void tn_train_step_release(tn_train_step *step);

typedef struct tn_train_metrics {
    double loss;      /* of this batch */
    double grad_norm; /* before clipping, of the whole update; NaN where nothing needs it */
    bool updated;     /* false: more batches make the update, or a scaled loss overflowed */
    uint64_t updates; /* since the compile, this one included */
} tn_train_metrics;

/* One batch, whose arrays are borrowed for the call, at this learning rate. With a loss or gradient norm
 * that is not finite, parameters, buffers and state stay as they are (sums of gradients begin anew, the
 * scale of a scaled loss is lowered), and unless the loss is scaled that is the error TN_INVALID. */
TN_API tn_status tn_train_step_run(tn_train_step *step, const tn_buffer *batch, double rate,
                                   tn_train_metrics *out, tn_error *err) TN_MUST_USE;

/* Forgets what was recorded: the next run calls the loss again. To be called when the loss would record
 * something else than before, as another coefficient, or fewer layers. Programs stay compiled. */
TN_API void tn_train_step_reset(tn_train_step *step);

/* All state beside the module's own: of the optimizer, of the scale, sums of gradients, averages, with
 * the names they have there. As tn_optimizer_state. */
TN_API int tn_train_step_state(tn_train_step *step, tn_named_tensor *out, int room);

#ifdef __cplusplus
}
#endif
#endif
