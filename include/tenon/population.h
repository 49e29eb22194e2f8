/* Populations: N members of one module, with weights, settings and random numbers of their own, run
 * and trained as one program.
 *
 *   tn_population_options o = TN_POPULATION_OPTIONS_INIT;
 *   o.members = 32;
 *   tn_population_create(context, &o, &p, &err);
 *   tn_population_train_options t = TN_POPULATION_TRAIN_OPTIONS_INIT;
 *   t.population = p, t.loss = loss, t.batch = types, t.batch_count = 2;    the loss of one member
 *   tn_population_step_compile(&t, &step, &err);
 *   for (int i = 0; i < 32; i++) tn_population_step_set(step, TN_SETTING_RATE, i, 1e-4 * pow(1.2, i), &err);
 *   for (…) tn_population_step_run(step, batch, 1, metrics, &err);
 *
 * A function of a member is written as that of any module (tenon/nn.h): it is called once, on a module
 * whose parameters and buffers stand for those of one member, and the batching rules of the operations
 * (tn_vmap) make of it what all members do. Member i behaves as a module that was created with seed i
 * of the options and trained alone, dropout included. A member whose numbers become NaN changes nothing of
 * another one's. */
#ifndef TENON_POPULATION_H
#define TENON_POPULATION_H

#include <tenon/train.h>
#include <tenon/wide_strategy.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- members -------------------------------------------------------------------------------- */

typedef struct tn_population tn_population;

typedef struct tn_population_options {
    size_t size; /* sizeof(tn_population_options) */
    int members;
    const uint64_t *seeds; /* of each; NULL: seed, seed + 1, … */
    uint64_t seed;
    tn_dtype dtype; /* of parameters that layers make */
    bool
        shared_parameters; /* one model: parameters and buffers are one for all members, only the random
                               numbers are each member's (Monte Carlo dropout; Gal, Ghahramani 2016) */
    bool same_randoms; /* random numbers are the same for all members: those of the first seed */
} tn_population_options;
#define TN_POPULATION_OPTIONS_INIT                                                                 \
    { .size = sizeof(tn_population_options), .dtype = TN_f32 }

TN_API tn_status tn_population_create(tn_context *context, const tn_population_options *options,
                                      tn_population **out, tn_error *err) TN_MUST_USE;
/* Of modules (roots of one context) with parameters and buffers of equal names and types, which are
 * copied. The first difference is an error that names member and parameter. `options` may be NULL; members
 * and seeds are not looked at. With shared_parameters there is one module, and `members` of it, whose
 * random numbers are those of the seeds. Modes and what is trainable are those of the first module. */
TN_API tn_status tn_population_from(tn_module *const *modules, int count,
                                    const tn_population_options *options, tn_population **out,
                                    tn_error *err) TN_MUST_USE;
/* Before its context. NULL: nothing. */
TN_API void tn_population_release(tn_population *p);
TN_API int tn_population_count(const tn_population *p);

/* The module that functions of a member are called on, for modes and for what is trainable: in it
 * tn_module_set_training, tn_module_match_trainable and the like hold for all members. Its tensors stand
 * for a member's and cannot be read. Borrowed. */
TN_API tn_module *tn_population_module(tn_population *p);
/* Parameter or buffer of all members, [N, …] (shared ones without the axis), by its name in the module;
 * NULL: there is none. Borrowed; may be read and assigned. A buffer that is made in tn_population_module, such
 * as a probability for tn_dropout_by, is a setting that each member has for itself. */
TN_API tn_tensor *tn_population_tensor(const tn_population *p, const char *full_name);

/* fn for every member: y[i] are its results along a new axis 0, or failed. Inputs have the members along
 * axis 0, but those that shared[i] says all of them read; shared NULL: none. Parameters and buffers that fn
 * assigns (running statistics, random streams) are assigned for all members; what they share must not
 * differ then. Random numbers of the context are each member's own too, unless same_randoms. fn records
 * operations, tn_grad, tn_vmap and tn_scan included; nothing in it can be read. What does not depend on the
 * member is computed once. Errors stick to the context. */
typedef void tn_member_function(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y);
typedef struct tn_population_call {
    size_t size; /* sizeof(tn_population_call) */
    tn_member_function *fn;
    void *context;
    tn_tensor *const *x;
    const bool *shared;
    int x_count, y_count;
} tn_population_call;
#define TN_POPULATION_CALL_INIT                                                                    \
    { .size = sizeof(tn_population_call) }
#define tn_population_apply(...) tn_population_apply_at(TN_HERE, __VA_ARGS__)
TN_API void tn_population_apply_at(const char *place, tn_population *p,
                                   const tn_population_call *call, tn_tensor **y);

/* How the operations of the last such function are done for all members: products, convolutions, folds and
 * loops, in the order of their calls. Borrowed until the next call. It is known before anything is
 * evaluated, so it never tells TN_WIDE_LOOP. */
TN_API int tn_population_node_count(const tn_population *p);
TN_API tn_status tn_population_node(const tn_population *p, int i, tn_wide_node_info *out);

/* Copies member i into a root module with parameters and buffers of these names and types, or into an empty
 * one, which gets them; and back. Bit for bit. So a member becomes an ordinary file: that of the module
 * (tenon/checkpoint.h), or of a module that an ONNX file was opened on (tenon/onnx.h). What all members
 * share is not set; with shared_parameters nothing can be. */
TN_API tn_status tn_population_get(tn_population *p, int member, tn_module *out,
                                   tn_error *err) TN_MUST_USE;
TN_API tn_status tn_population_set(tn_population *p, int member, const tn_module *from,
                                   tn_error *err) TN_MUST_USE;
/* Members behind `at` move up; at = count appends. Steps that were compiled for the population have to be
 * compiled again: they refuse to run. On failure nothing has changed. */
TN_API tn_status tn_population_insert(tn_population *p, int at, const tn_module *from,
                                      tn_error *err) TN_MUST_USE;
TN_API tn_status tn_population_remove(tn_population *p, int member, tn_error *err) TN_MUST_USE;

/* ---- training ------------------------------------------------------------------------------- */

typedef struct tn_population_train_options {
    size_t size; /* sizeof(tn_population_train_options) */
    tn_population *population;
    /* As for one module (tenon/train.h): loss of one member, of the module and a batch of it. What the
     * options have is what members have at first; `train.module` is not looked at. */
    tn_train_options train;
    const bool
        *shared; /* per tensor of the batch: all members read it; else they are along axis 0 of it.
                           NULL: all are shared. train.batch has the types of what is handed over. */
} tn_population_train_options;
#define TN_POPULATION_TRAIN_OPTIONS_INIT                                                           \
    { .size = sizeof(tn_population_train_options), .train = TN_TRAIN_OPTIONS_INIT }

typedef struct tn_population_step tn_population_step;
TN_API tn_status tn_population_step_compile(const tn_population_train_options *options,
                                            tn_population_step **out, tn_error *err) TN_MUST_USE;
TN_API void tn_population_step_release(tn_population_step *step);

/* Numbers of a member, which may change between steps; nothing is compiled again. What the options do not
 * have (a momentum of 0) the step has no place for: setting it is an error. */
typedef enum tn_member_setting {
    TN_SETTING_RATE,         /* factor of the step's learning rate; 1 at first */
    TN_SETTING_WEIGHT_DECAY, /* of parameters whose decay is the optimizer's; that is not 0 there */
    TN_SETTING_MOMENTUM,     /* of SGD, where train.optimizer.momentum is not 0 */
    TN_SETTING_CLIP_NORM, /* infinity: not clipped; to be used, train.clip_norm is not 0 at the compile */
    TN_SETTING_LOSS_SCALE, /* the present one; train.loss_scale must be there at the compile */
    TN_SETTING_COUNT
} tn_member_setting;
TN_API tn_status tn_population_step_set(tn_population_step *step, tn_member_setting setting,
                                        int member, double value, tn_error *err) TN_MUST_USE;
TN_API tn_status tn_population_step_setting(const tn_population_step *step,
                                            tn_member_setting setting, int member, double *out);
/* Whether steps change this member; at first all are. One that is not keeps parameters, buffers, state
 * and random streams. */
TN_API tn_status tn_population_step_set_active(tn_population_step *step, int member, bool active,
                                               tn_error *err) TN_MUST_USE;

/* One batch at this learning rate, times each member's factor. metrics: one for each member, or NULL. A
 * member whose loss is not finite, or whose gradients are not where they are clipped or scaled, is left as it
 * is, and its metrics tell; that is no error. Over several batches of an update, one such loss leaves
 * the update out. A member that is not active has its loss, and no update. */
TN_API tn_status tn_population_step_run(tn_population_step *step, const tn_buffer *batch,
                                        double rate, tn_train_metrics *metrics,
                                        tn_error *err) TN_MUST_USE;
/* As tn_population_node, of the step as it was last recorded, with its gradients and its update; none before the
 * first run. Where the program has loops over the members, the operations in them have TN_WIDE_LOOP. */
TN_API int tn_population_step_node_count(const tn_population_step *step);
TN_API tn_status tn_population_step_node(const tn_population_step *step, int i,
                                         tn_wide_node_info *out);
/* Settings of members, optimizer and all other state, [N, …] each; as tn_train_step_state. */
TN_API int tn_population_step_state(tn_population_step *step, tn_named_tensor *out, int room);

/* Member `to` becomes what `from` is: parameters, buffers, state, settings; its random streams stay its
 * own. The step of population-based training (Jaderberg et al. 2017). from[i] is the member that i is to
 * become (i: it stays). Whether it is active stays, too. */
TN_API tn_status tn_population_step_copy(tn_population_step *step, const int *from,
                                         tn_error *err) TN_MUST_USE;
/* Keeps parameters and buffers (but no random streams) of each member whose score is the highest it had so far;
 * restore puts the best back and tells their scores (may be NULL; NaN: nothing was kept, it stays as it is).
 * Scores that are NaN are not kept. kept[i] (may be NULL) says what was. Inserting or removing members
 * forgets what was kept. */
TN_API tn_status tn_population_keep_best(tn_population *p, const double *scores, bool *kept,
                                         tn_error *err) TN_MUST_USE;
TN_API tn_status tn_population_restore_best(tn_population *p, double *scores,
                                            tn_error *err) TN_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
