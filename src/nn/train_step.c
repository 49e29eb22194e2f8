/* A step of training, recorded as one graph. See tenon/train.h.
 *
 * Everything is recorded with the functions that a user would call. What makes it one program is that
 * nothing is read in between: at the end the loss, the parameters and all state are evaluated together,
 * when the scope with all that lies between is closed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/train.h>

#include "nn/module.h"
#include "nn/optim_inner.h"
#include "nn/train_recompute.h"

/* What a batch gives: references of our own; the last two are NULL where no update is made, and the
 * norm where nothing needs it. */
typedef struct recorded {
    tn_tensor *loss, *applied, *norm;
} recorded;

/* A recorded step, for batches of these types. */
typedef struct trace {
    recorded r;
    tn_buffer *types;
    tn_tensor **given; /* the batch and the rate, on memory of others; references */
    bool updates;
    uint64_t version; /* of the module, once it was recorded */
    tn__replay *replay;
} trace;
enum { TRACES = 8 };

struct tn_train_step {
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
    int state_count;
    tn__recompute recompute;
    int batches; /* in the sums of the update that is being made */
    uint64_t updates;
    double rate;           /* of the step that runs */
    trace *traces[TRACES]; /* what was recorded and can be done again; a ring */
    int next_trace;
};

/* ---- recording ------------------------------------------------------------------------------ */

/* A value of the module's buffers before the loss was recorded. */
typedef struct kept {
    tn_tensor *buffer, *old;
} kept;

static tn_status record_failed(const tn_train_step *s, tn_error *err) {
    tn_status status = tn_context_error(s->context, err);
    if (status != TN_OK) return status;
    return tn_error_set(err, TN_POISONED, "a tensor failed whose error was cleared");
}

static tn_status call_loss(const tn_train_step *s, tn_tensor *const *batch, tn_tensor **out,
                           tn_error *err) {
    tn_module *m = s->options.module;
    tn_dtype before = tn__module_compute_all(m, s->options.compute);
    tn_tensor *loss = s->options.loss(s->options.context, m, batch);
    tn__module_compute_all(m, before);
    tn_status status = tn_context_error(s->context, err);
    if (status != TN_OK) return status;
    if (!loss) return tn_error_set(err, TN_INVALID, "the loss function gave no tensor");
    if (!tn_tensor_ok(loss)) return record_failed(s, err);
    if (tn_tensor_rank(loss) != 0 || !tn_dtype_is_float(tn_tensor_dtype(loss)))
        return tn_error_set(err, TN_INVALID,
                            "the loss is of type %s with %d axes; expected a float without axes, "
                            "such as a mean over all axes",
                            tn_dtype_name(tn_tensor_dtype(loss)), tn_tensor_rank(loss));
    *out = loss;
    return TN_OK;
}

static int keep_buffers(const tn_module *m, kept *out) {
    tn_module_item item;
    int n = 0;
    for (int i = 0; tn_module_entry(m, i, &item); i++)
        if (item.buffer) out[n++] = (kept){item.tensor, tn__again(item.tensor)};
    return n;
}

/* Those that changed keep their old value where the loss is not finite; no later gradient goes through them. */
static void guard_buffers(const kept *k, int count, const tn_tensor *applied) {
    for (int i = 0; i < count; i++)
        if (tn__tensor_is_pending(k[i].buffer))
            tn_assign(k[i].buffer, tn_stop_gradient(tn_where(applied, k[i].buffer, k[i].old)));
}

/* The loss and its gradients; whether the loss is finite. */
static tn_status record_gradients(tn_train_step *s, tn_tensor *const *batch, recorded *r,
                                  tn_error *err) {
    int items = tn_module_count(s->options.module);
    tn_tensor *loss = NULL;
    kept *k = calloc((size_t)items + 1, sizeof *k);
    if (!k) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    int buffers = keep_buffers(s->options.module, k);
    tn_status status = call_loss(s, batch, &loss, err);
    if (status == TN_OK) {
        r->loss = tn_retain(loss);
        r->applied = tn_gradients_finite(&loss, 1);
        guard_buffers(k, buffers, r->applied);
        tn_tensor *target = s->scale ? tn_loss_scale_apply(s->scale, loss) : loss;
        tn_grad(target, NULL, s->x, s->count, s->gradient);
    }
    free(k);
    return status;
}

static void also(recorded *r, const tn_tensor *finite) {
    r->applied = tn_logical_and(r->applied, finite);
}

static void record_update(tn_train_step *s, const tn_tensor *rate, recorded *r) {
    tn_tensor **g = s->gradient;
    if (s->scale) {
        const tn_tensor *finite = tn_loss_scale_unscale(s->scale, g, s->count, g);
        also(r, finite);
        tn_loss_scale_update(s->scale, finite);
    }
    if (s->options.clip_norm > 0) {
        r->norm = tn_clip_gradients_norm(g, s->count, s->options.clip_norm, g);
        also(r, tn_gradients_finite(&r->norm, 1));
    }
    tn_optimizer_step(s->optimizer, rate, g, r->applied);
    if (s->average) tn_ema_update(s->average);
    r->applied = tn_retain(r->applied);
    r->norm = tn_retain(r->norm);
}

/* In a scope, whose end leaves what is kept in `t` and the state. */
static tn_status record(tn_train_step *s, trace *t, tn_error *err) {
    int all = TN_MAX(1, s->options.accumulate);
    TN_CHECK(record_gradients(s, t->given, &t->r, err));
    if (s->accumulator) tn_accumulator_add(s->accumulator, s->gradient, 1.0 / all);
    if (!t->updates) {
        t->r.applied = NULL;
        return TN_OK;
    }
    if (s->accumulator) tn_accumulator_take(s->accumulator, s->gradient);
    record_update(s, t->given[s->options.batch_count], &t->r);
    return TN_OK;
}

/* ---- traces --------------------------------------------------------------------------------- */

static void trace_release(const tn_train_step *s, trace *t) {
    if (!t) return;
    for (int i = 0; t->given && i <= s->options.batch_count; i++) tn_release(t->given[i]);
    tn_release(t->r.loss);
    tn_release(t->r.applied);
    tn_release(t->r.norm);
    tn__replay_release(t->replay);
    free(t->given);
    free(t->types);
    free(t);
}

static tn_status trace_new(tn_train_step *s, const tn_buffer *batch, trace **out, tn_error *err) {
    int n = s->options.batch_count;
    tn_buffer rate = {.dtype = TN_f64, .data = &s->rate, .size = sizeof s->rate};
    trace *t = *out = calloc(1, sizeof *t);
    if (t) t->types = calloc((size_t)n, sizeof *t->types);
    if (t) t->given = calloc((size_t)n + 1, sizeof(tn_tensor *));
    if (t) t->replay = tn__replay_begin(s->context);
    if (!t || !t->types || !t->given || !t->replay)
        return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    memcpy(t->types, batch, (size_t)n * sizeof *batch);
    for (int i = 0; i <= n; i++) {
        TN_CHECK(tn__tensor_borrow(s->context, i < n ? &batch[i] : &rate, &t->given[i], err));
        tn_keep(t->given[i]);
    }
    return TN_OK;
}

static bool same_types(const tn_buffer *x, const tn_buffer *y, int count) {
    bool same = true;
    for (int i = 0; i < count && same; i++) {
        same = x[i].dtype == y[i].dtype && x[i].rank == y[i].rank;
        for (int a = 0; same && a < x[i].rank; a++) same = x[i].dim[a] == y[i].dim[a];
    }
    return same;
}

/* Where there is a trace for such a batch, or where the next one goes. */
static trace **find_trace(tn_train_step *s, const tn_buffer *batch, bool updates) {
    for (int i = 0; i < TRACES; i++) {
        const trace *t = s->traces[i];
        if (t && t->updates == updates && same_types(t->types, batch, s->options.batch_count))
            return &s->traces[i];
    }
    return &s->traces[s->next_trace];
}

/* One that cannot be done again goes. */
static void keep_trace(tn_train_step *s, trace **at, trace *t) {
    if (!tn__replay_ready(t->replay)) {
        trace_release(s, t);
        return;
    }
    if (at == &s->traces[s->next_trace]) s->next_trace = (s->next_trace + 1) % TRACES;
    trace_release(s, *at);
    *at = t;
}

void tn_train_step_reset(tn_train_step *s) {
    for (int i = 0; i < TRACES; i++) {
        trace_release(s, s->traces[i]);
        s->traces[i] = NULL;
    }
}

/* What was recorded, with this batch. */
static tn_status run_again(tn_train_step *s, const trace *t, const tn_buffer *batch, bool *ran,
                           tn_error *err) {
    for (int i = 0; i < s->options.batch_count; i++)
        if (!batch[i].data || !tn__tensor_point(t->given[i], batch[i].data)) return TN_OK;
    return tn__replay_run(t->replay, ran, err);
}

/* ---- running -------------------------------------------------------------------------------- */

/* Everything that the recording changed, as one program. `r` may be NULL. */
static tn_status evaluate(const tn_train_step *s, const recorded *r, tn__replay *replay,
                          tn_error *err) {
    tn_module_item item;
    int room = tn_module_count(s->options.module) + s->state_count + 3, n = 0;
    tn_tensor **x = calloc((size_t)room, sizeof *x);
    if (!x) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    if (r && r->loss) x[n++] = r->loss;
    if (r && r->applied) x[n++] = r->applied;
    if (r && r->norm) x[n++] = r->norm;
    for (int i = 0; tn_module_entry(s->options.module, i, &item); i++) x[n++] = item.tensor;
    for (int i = 0; i < s->state_count; i++) x[n++] = s->state[i].tensor;
    tn__recompute how = s->recompute;
    how.loss = r ? r->loss : NULL;
    tn__eval_options o = {.how = s->options.recompute.mode ? &how : NULL, .replay = replay};
    tn_status status = tn__eval(x, n, &o, err);
    free(x);
    return status;
}

static tn_status read_metrics(tn_train_step *s, const recorded *r, tn_train_metrics *out,
                              tn_error *err) {
    double applied = 0;
    TN_CHECK(tn_item(r->loss, &out->loss, err));
    if (r->applied) TN_CHECK(tn_item(r->applied, &applied, err));
    if (r->norm) TN_CHECK(tn_item(r->norm, &out->grad_norm, err));
    out->updated = applied != 0;
    out->updates = s->updates += out->updated;
    return TN_OK;
}

/* What was summed goes with an update that is not made. */
static tn_status forget_sums(tn_train_step *s, tn_error *err) {
    if (!s->accumulator || s->batches == 0) return TN_OK;
    tn_scope *scope = tn_scope_open(s->context);
    tn_accumulator_take(s->accumulator, s->gradient);
    tn_scope_close(scope);
    s->batches = 0;
    return evaluate(s, NULL, NULL, err);
}

static tn_status check_finite(tn_train_step *s, const recorded *r, const tn_train_metrics *m,
                              tn_error *err) {
    bool finite = isfinite(m->loss) && (!r->norm || isfinite(m->grad_norm));
    if (s->scale || finite) return TN_OK;
    TN_CHECK(forget_sums(s, err));
    bool loss = !isfinite(m->loss);
    return tn_error_set(err, TN_INVALID,
                        "the %s of update %llu is %s: nothing was changed; a lower learning rate, "
                        "clipped gradients or other data may help",
                        loss ? "loss" : "gradients' norm", (unsigned long long)s->updates + 1,
                        isnan(loss ? m->loss : m->grad_norm) ? "NaN" : "infinite");
}

static tn_status run_anew(tn_train_step *s, trace *t, tn_error *err) {
    tn_scope *scope = tn_scope_open(s->context);
    tn_status status = record(s, t, err);
    tn_scope_close(scope);
    t->version = tn__module_version(s->options.module);
    return status == TN_OK ? evaluate(s, &t->r, t->replay, err) : status;
}

static tn_status finish(tn_train_step *s, const trace *t, tn_train_metrics *out, tn_error *err) {
    s->batches = t->updates ? 0 : s->batches + 1;
    TN_CHECK(read_metrics(s, &t->r, out, err));
    return check_finite(s, &t->r, out, err);
}

tn_status tn_train_step_run(tn_train_step *s, const tn_buffer *batch, double rate,
                            tn_train_metrics *out, tn_error *err) {
    tn_train_metrics unused;
    if (!out) out = &unused;
    *out = (tn_train_metrics){.loss = NAN, .grad_norm = NAN, .updates = s->updates};
    bool ran = false, updates = s->batches + 1 >= s->options.accumulate;
    trace **at = find_trace(s, batch, updates), *t = *at;
    bool known = t && t->updates == updates &&
                 t->version == tn__module_version(s->options.module) &&
                 same_types(t->types, batch, s->options.batch_count);
    s->rate = rate;
    if (known) TN_CHECK(run_again(s, t, batch, &ran, err));
    if (ran) return finish(s, t, out, err);
    tn_status status = trace_new(s, batch, &t, err);
    if (t) t->updates = updates;
    if (status == TN_OK) status = run_anew(s, t, err);
    if (status == TN_OK) status = finish(s, t, out, err);
    if (t) keep_trace(s, at, t);
    return status;
}

/* ---- compiling ------------------------------------------------------------------------------ */

static tn_status find_parameters(tn_train_step *s, tn_error *err) {
    tn_module_item item;
    size_t room = (size_t)tn_module_count(s->options.module) + 1;
    s->parameter = calloc(room, sizeof *s->parameter);
    s->x = calloc(room, sizeof *s->x);
    s->gradient = calloc(room, sizeof *s->gradient);
    if (!s->parameter || !s->x || !s->gradient)
        return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; tn_module_entry(s->options.module, i, &item); i++) {
        if (!item.trainable) continue;
        s->parameter[s->count] = (tn_named_tensor){item.name, item.tensor};
        s->x[s->count++] = item.tensor;
    }
    if (s->count) return TN_OK;
    return tn_error_set(err, TN_INVALID,
                        "the module has no trainable parameter once the loss is "
                        "recorded; layers make them through their module");
}

/* Calls the loss with a batch without elements, and undoes what it did to buffers. */
static tn_status rehearse(tn_train_step *s, tn_error *err) {
    const tn_train_options *o = &s->options;
    tn_tensor **x = calloc((size_t)o->batch_count + 1, sizeof *x), *loss;
    if (!x) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_status status = TN_OK;
    for (int i = 0; status == TN_OK && i < o->batch_count; i++) {
        char what[48];
        snprintf(what, sizeof what, "tensor %d of the batch", i);
        status = tn__tensor_abstract(s->context, &o->batch[i], what, &x[i], err);
    }
    if (status == TN_OK) status = call_loss(s, x, &loss, err);
    if (status == TN_OK) status = find_parameters(s, err);
    if (status == TN_OK && o->recompute.mode)
        status = tn__recompute_check(&s->recompute.rule, loss, s->x, s->count, err);
    tn_module_item item;
    for (int i = 0; tn_module_entry(o->module, i, &item); i++) tn__tensor_restore(item.tensor);
    free(x);
    return status;
}

static tn_status make_state(tn_train_step *s, tn_error *err) {
    const tn_train_options *o = &s->options;
    TN_CHECK(tn_optimizer_create(&o->optimizer, s->parameter, s->count, &s->optimizer, err));
    if (o->accumulate > 1)
        TN_CHECK(tn_accumulator_create(s->parameter, s->count, &s->accumulator, err));
    if (o->loss_scale || o->compute == TN_f16)
        TN_CHECK(tn_loss_scale_create(s->context, o->loss_scale, &s->scale, err));
    if (o->average > 0)
        TN_CHECK(tn_ema_create(s->parameter, s->count, o->average, &s->average, err));
    s->state_count = tn_train_step_state(s, NULL, 0);
    s->state = calloc((size_t)s->state_count + 1, sizeof *s->state);
    if (!s->state) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_train_step_state(s, s->state, s->state_count);
    TN_CHECK(tn_context_error(s->context, err));
    return evaluate(s, NULL, NULL, err); /* so that the first step is recorded as all others */
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

static tn_status prepare(tn_train_step *s, tn_error *err) {
    TN_CHECK(tn_context_error(s->context, err));
    TN_CHECK(tn__recompute_rule(&s->options.recompute, &s->recompute.rule, err));
    tn__rehearsal_begin(s->context);
    tn_scope *scope = tn_scope_open(s->context);
    tn_status status = rehearse(s, err);
    tn_scope_close(scope);
    tn__rehearsal_end(s->context);
    TN_TRY(err, status, "while recording the loss");
    return make_state(s, err);
}

tn_status tn_train_step_compile(const tn_train_options *options, tn_train_step **out,
                                tn_error *err) {
    *out = NULL;
    tn_train_options o = TN_TRAIN_OPTIONS_INIT;
    memcpy(&o, options, TN_MIN(options->size, sizeof o));
    TN_CHECK(check_options(&o, err));
    tn_train_step *s = calloc(1, sizeof *s);
    if (!s) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    *s = (tn_train_step){.options = o, .context = tn_module_context(o.module)};
    tn_status status = prepare(s, err);
    if (status == TN_OK)
        *out = s;
    else
        tn_train_step_release(s);
    return status;
}

void tn_train_step_release(tn_train_step *s) {
    if (!s) return;
    tn_train_step_reset(s);
    tn_optimizer_release(s->optimizer);
    tn_accumulator_release(s->accumulator);
    tn_loss_scale_release(s->scale);
    tn_ema_release(s->average);
    free(s->parameter);
    free(s->x);
    free(s->gradient);
    free(s->state);
    free(s);
}

/* Appends a list to the first `n` of `out`. */
#define APPEND(list, object)                                                                       \
    if (object) n += list(object, n < room ? out + n : NULL, TN_MAX(0, room - n))

int tn_train_step_state(tn_train_step *s, tn_named_tensor *out, int room) {
    int n = 0;
    APPEND(tn_optimizer_state, s->optimizer);
    APPEND(tn_accumulator_state, s->accumulator);
    APPEND(tn_loss_scale_state, s->scale);
    APPEND(tn_ema_state, s->average);
    return n;
}
