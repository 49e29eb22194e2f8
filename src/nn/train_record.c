/* What a step of training records. See train_record.h, tenon/train.h.
 *
 * Everything is recorded with the functions that a user would call. What makes it one program is that
 * nothing is read in between: at the end the loss, the parameters and all state are evaluated together,
 * when the scope with all that lies between is closed. */
#include "nn/train_record.h"

#include <stdio.h>
#include <stdlib.h>

#include "nn/module.h"
#include "nn/optim_inner.h"
#include "nn/train_recompute.h"

void tn__train_results_release(tn__train_results *r) {
    tn_release(r->loss);
    tn_release(r->applied);
    tn_release(r->norm);
    *r = (tn__train_results){0};
}

/* ---- recording ------------------------------------------------------------------------------ */

/* What a tensor was before something was recorded. */
typedef struct kept {
    tn_tensor *x, *old;
} kept;

static tn_status record_failed(const tn__train *t, tn_error *err) {
    tn_status status = tn_context_error(t->context, err);
    if (status != TN_OK) return status;
    return tn_error_set(err, TN_POISONED, "a tensor failed whose error was cleared");
}

static tn_status call_loss(const tn__train *t, tn_tensor *const *batch, tn_tensor **out,
                           tn_error *err) {
    tn_module *m = t->options.module;
    tn_dtype before = tn__module_compute_all(m, t->options.compute);
    tn_tensor *loss = t->options.loss(t->options.context, m, batch);
    tn__module_compute_all(m, before);
    tn_status status = tn_context_error(t->context, err);
    if (status != TN_OK) return status;
    if (!loss) return tn_error_set(err, TN_INVALID, "the loss function gave no tensor");
    if (!tn_tensor_ok(loss)) return record_failed(t, err);
    if (tn_tensor_rank(loss) != 0 || !tn_dtype_is_float(tn_tensor_dtype(loss)))
        return tn_error_set(err, TN_INVALID,
                            "the loss is of type %s with %d axes; expected a float without axes, "
                            "such as a mean over all axes",
                            tn_dtype_name(tn_tensor_dtype(loss)), tn_tensor_rank(loss));
    *out = loss;
    return TN_OK;
}

static kept keep(tn_tensor *x) {
    return (kept){x, tn__again(x)};
}

/* Random streams that members have in common go on in any case. */
static int keep_buffers(const tn__train *t, kept *out) {
    const tn__train_member *m = &t->member;
    tn_module_item item;
    int n = 0;
    for (int i = 0; tn_module_entry(t->options.module, i, &item); i++)
        if (item.buffer && !(m->shares && m->shares(m->owner, i))) out[n++] = keep(item.tensor);
    return n;
}

/* Those that changed keep their old value where `flag` is false; no later gradient goes through them. */
static void guard(const kept *k, int count, const tn_tensor *flag) {
    for (int i = 0; i < count; i++)
        if (tn__tensor_is_pending(k[i].x))
            tn_assign(k[i].x, tn_stop_gradient(tn_where(flag, k[i].x, k[i].old)));
}

static void also(tn__train_results *r, const tn_tensor *flag) {
    r->applied = tn_logical_and(r->applied, flag);
}

/* The loss and its gradients; whether the loss is finite, and the step is to be made. */
static tn_status record_gradients(tn__train *t, tn_tensor *const *batch, tn__train_results *r,
                                  tn_error *err) {
    int items = tn_module_count(t->options.module);
    tn_tensor *loss = NULL;
    kept *k = calloc((size_t)items + 1, sizeof *k);
    if (!k) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    int buffers = keep_buffers(t, k);
    tn_status status = call_loss(t, batch, &loss, err);
    if (status == TN_OK) {
        r->loss = tn_retain(loss);
        r->applied = tn_gradients_finite(&loss, 1);
        if (t->member.active) also(r, t->member.active);
        guard(k, buffers, r->applied);
        tn_tensor *target = t->scale ? tn_loss_scale_apply(t->scale, loss) : loss;
        tn_grad(target, NULL, t->x, t->count, t->gradient);
    }
    free(k);
    return status;
}

static tn_tensor *clip(const tn__train *t, tn_tensor **g) {
    const tn_tensor *limit = t->member.clip_norm;
    return limit ? tn__clip_gradients_norm(TN_HERE, g, t->count, limit, g)
                 : tn_clip_gradients_norm(g, t->count, t->options.clip_norm, g);
}

static void record_update(tn__train *t, const tn_tensor *rate, tn__train_results *r) {
    tn_tensor **g = t->gradient;
    if (t->scale) {
        const tn_tensor *finite = tn_loss_scale_unscale(t->scale, g, t->count, g);
        also(r, finite);
        tn_loss_scale_update(t->scale, finite);
    }
    if (t->options.clip_norm > 0) {
        r->norm = clip(t, g);
        also(r, tn_gradients_finite(&r->norm, 1));
    }
    tn_optimizer_step(t->optimizer, rate, g, r->applied);
    if (t->average) tn_ema_update(t->average);
}

/* A member whose loss was not finite in one batch of an update does not make it: there is nobody to tell,
 * as the others go on. */
static void record_whole(tn__train *t, bool updates, tn__train_results *r) {
    also(r, t->whole);
    tn_tensor *next = updates ? tn_full(t->context, TN_bool, 0, NULL, 1) : r->applied;
    tn_assign(t->whole, next);
}

static void record_state(tn__train *t, const tn_tensor *rate, bool updates, tn__train_results *r) {
    int all = TN_MAX(1, t->options.accumulate);
    if (t->whole) record_whole(t, updates, r);
    if (t->accumulator) tn_accumulator_add(t->accumulator, t->gradient, 1.0 / all);
    if (t->accumulator && updates) tn_accumulator_take(t->accumulator, t->gradient);
    if (updates) record_update(t, rate, r);
    if (!updates) r->applied = NULL;
}

/* In a scope, whose end leaves what is kept in `out` and the state. */
tn_status tn__train_record(tn__train *t, tn_tensor *const *batch, const tn_tensor *rate,
                           bool updates, tn__train_results *out, tn_error *err) {
    int first = t->optimizer_states, averages = t->state_count - t->averages;
    kept *k = calloc((size_t)t->state_count + 1, sizeof *k);
    if (!k) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_status status = record_gradients(t, batch, out, err);
    if (status != TN_OK) {
        free(k);
        return status;
    }
    for (int i = first; i < t->state_count; i++) k[i] = keep(t->state[i].tensor);
    record_state(t, rate, updates, out);
    if (t->member.active) guard(k + first, averages - first, t->member.active);
    guard(k + averages, t->averages, out->applied);
    free(k);
    out->applied = tn_retain(out->applied);
    out->norm = tn_retain(out->norm);
    return TN_OK;
}

tn_status tn__train_evaluate(const tn__train *t, const tn__train_results *r, tn_tensor *const *x,
                             int count, tn__replay *replay, tn_error *err) {
    int n = 0;
    tn_tensor **all = calloc((size_t)count + 3, sizeof *all);
    if (!all) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    if (r && r->loss) all[n++] = r->loss;
    if (r && r->applied) all[n++] = r->applied;
    if (r && r->norm) all[n++] = r->norm;
    for (int i = 0; i < count; i++) all[n++] = x[i];
    tn__recompute how = t->recompute;
    how.loss = r ? r->loss : NULL;
    tn__eval_options o = {.how = t->options.recompute.mode ? &how : NULL, .replay = replay};
    tn_status status = tn__eval(all, n, &o, err);
    free(all);
    return status;
}

/* ---- beginning ------------------------------------------------------------------------------ */

static tn_status find_parameters(tn__train *t, tn_error *err) {
    tn_module_item item;
    size_t room = (size_t)tn_module_count(t->options.module) + 1;
    t->parameter = calloc(room, sizeof *t->parameter);
    t->x = calloc(room, sizeof *t->x);
    t->gradient = calloc(room, sizeof *t->gradient);
    if (!t->parameter || !t->x || !t->gradient)
        return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; tn_module_entry(t->options.module, i, &item); i++) {
        if (!item.trainable) continue;
        t->parameter[t->count] = (tn_named_tensor){item.name, item.tensor};
        t->x[t->count++] = item.tensor;
    }
    if (t->count) return TN_OK;
    return tn_error_set(err, TN_INVALID,
                        "the module has no trainable parameter once the loss is "
                        "recorded; layers make them through their module");
}

/* Calls the loss with a batch without elements, and undoes what it did to buffers. */
static tn_status rehearse(tn__train *t, tn_error *err) {
    const tn_train_options *o = &t->options;
    tn_tensor **x = calloc((size_t)o->batch_count + 1, sizeof *x), *loss;
    if (!x) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_status status = TN_OK;
    for (int i = 0; status == TN_OK && i < o->batch_count; i++) {
        char what[48];
        snprintf(what, sizeof what, "tensor %d of the batch", i);
        status = tn__tensor_abstract(t->context, &o->batch[i], what, &x[i], err);
    }
    if (status == TN_OK) status = call_loss(t, x, &loss, err);
    if (status == TN_OK) status = find_parameters(t, err);
    if (status == TN_OK && o->recompute.mode) {
        tn_recompute rule = t->recompute.rule;
        rule.budget /= TN_MAX(1, t->members);
        status = tn__recompute_check(&rule, loss, t->x, t->count, err);
    }
    tn_module_item item;
    for (int i = 0; tn_module_entry(o->module, i, &item); i++) tn__tensor_restore(item.tensor);
    free(x);
    return status;
}

/* Appends a list to the first `n` of `out`. */
#define APPEND(list, object)                                                                       \
    if (object) n += list(object, n < room ? out + n : NULL, TN_MAX(0, room - n))

static int list_whole(tn_tensor *whole, tn_named_tensor *out, int room) {
    if (room > 0) out[0] = (tn_named_tensor){"gradients_whole", whole};
    return 1;
}

/* That of the optimizer first, averages last. */
static int list_state(tn__train *t, tn_named_tensor *out, int room) {
    int n = 0;
    APPEND(tn_optimizer_state, t->optimizer);
    t->optimizer_states = n;
    APPEND(tn_accumulator_state, t->accumulator);
    APPEND(list_whole, t->whole);
    APPEND(tn_loss_scale_state, t->scale);
    t->averages = -n;
    APPEND(tn_ema_state, t->average);
    t->averages += n;
    return n;
}

static tn_status make_state(tn__train *t, tn_error *err) {
    const tn_train_options *o = &t->options;
    TN_CHECK(tn_optimizer_create(&o->optimizer, t->parameter, t->count, &t->optimizer, err));
    if (o->accumulate > 1)
        TN_CHECK(tn_accumulator_create(t->parameter, t->count, &t->accumulator, err));
    if (o->loss_scale || o->compute == TN_f16)
        TN_CHECK(tn_loss_scale_create(t->context, o->loss_scale, &t->scale, err));
    if (o->average > 0)
        TN_CHECK(tn_ema_create(t->parameter, t->count, o->average, &t->average, err));
    if (t->members && t->accumulator && !t->scale)
        t->whole = tn_keep(tn_tensor_scalar(t->context, TN_bool, 1));
    t->state_count = list_state(t, NULL, 0);
    t->state = calloc((size_t)t->state_count + 1, sizeof *t->state);
    if (!t->state) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    list_state(t, t->state, t->state_count);
    return tn_context_error(t->context, err);
}

static tn_status check_compute(tn_dtype dtype, tn_error *err) {
    if (dtype == TN_f64 || dtype == TN_f32 || dtype == TN_bf16 || dtype == TN_f16) return TN_OK;
    return tn_error_set(err, TN_INVALID, "a step computes in f32, bf16 or f16, not in %s",
                        dtype < TN_DTYPE_COUNT ? tn_dtype_name(dtype) : "?");
}

static tn_status check_options(const tn_train_options *o, tn_error *err) {
    if (!o->module || !o->loss)
        return tn_error_set(err, TN_INVALID, "a step needs a module and a loss function");
    if (o->batch_count < 1 || !o->batch)
        return tn_error_set(err, TN_INVALID, "a step needs the types of what makes a batch");
    if (o->accumulate < 0 || !(o->clip_norm >= 0) || !(o->average >= 0 && o->average < 1))
        return tn_error_set(err, TN_INVALID,
                            "accumulate %d, clip_norm %g, average %g: the first two are at least "
                            "0, an average's decay lies in [0, 1)",
                            o->accumulate, o->clip_norm, o->average);
    return check_compute(o->compute, err);
}

static tn_status prepare(tn__train *t, tn_error *err) {
    TN_CHECK(check_options(&t->options, err));
    t->context = tn_module_context(t->options.module);
    TN_CHECK(tn_context_error(t->context, err));
    TN_CHECK(tn__recompute_rule(&t->options.recompute, &t->recompute.rule, err));
    tn__rehearsal_begin(t->context);
    tn_scope *scope = tn_scope_open(t->context);
    tn_status status =
        scope ? rehearse(t, err) : tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_scope_close(scope);
    tn__rehearsal_end(t->context);
    TN_TRY(err, status, "while recording the loss");
    return make_state(t, err);
}

tn_status tn__train_init(tn__train *t, const tn_train_options *options, int members,
                         tn_error *err) {
    *t = (tn__train){.options = TN_TRAIN_OPTIONS_INIT, .members = members};
    memcpy(&t->options, options, TN_MIN(options->size, sizeof t->options));
    tn_status status = prepare(t, err);
    if (status != TN_OK) tn__train_deinit(t);
    return status;
}

void tn__train_deinit(tn__train *t) {
    tn_optimizer_release(t->optimizer);
    tn_accumulator_release(t->accumulator);
    tn_loss_scale_release(t->scale);
    tn_ema_release(t->average);
    tn_release(t->whole);
    free(t->parameter);
    free(t->x);
    free(t->gradient);
    free(t->state);
    *t = (tn__train){0};
}
