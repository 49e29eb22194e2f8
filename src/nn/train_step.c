/* Steps of training. See tenon/train.h; what they record is train_record.h. */
#include <math.h>
#include <stdlib.h>

#include "nn/module.h"
#include "nn/train_record.h"

struct tn_train_step {
    tn__train train;
    tn__traces traces;
    tn_buffer *given; /* the batch and the rate */
    int batches;      /* in the sums of the update that is being made */
    uint64_t updates;
    double rate; /* of the step that runs */
};

/* ---- running -------------------------------------------------------------------------------- */

static tn_status record(void *owner, tn_tensor *const *given, bool updates, tn__train_results *out,
                        tn_error *err) {
    tn_train_step *s = owner;
    const tn_tensor *rate = given[s->train.options.batch_count];
    return tn__train_record(&s->train, given, rate, updates, out, err);
}

/* Everything that the recording changed, as one program. `r` may be NULL. */
static tn_status evaluate(void *owner, const tn__train_results *r, tn__replay *replay,
                          tn_error *err) {
    const tn__train *t = &((const tn_train_step *)owner)->train;
    tn_module_item item;
    int room = tn_module_count(t->options.module) + t->state_count, n = 0;
    tn_tensor **x = calloc((size_t)room + 1, sizeof *x);
    if (!x) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; tn_module_entry(t->options.module, i, &item); i++) x[n++] = item.tensor;
    for (int i = 0; i < t->state_count; i++) x[n++] = t->state[i].tensor;
    tn_status status = tn__train_evaluate(t, r, x, n, replay, err);
    free(x);
    return status;
}

static tn_status read_metrics(tn_train_step *s, const tn__train_results *r, tn_train_metrics *out,
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
    if (!s->train.accumulator || s->batches == 0) return TN_OK;
    tn_scope *scope = tn_scope_open(s->train.context);
    tn_accumulator_take(s->train.accumulator, s->train.gradient);
    tn_scope_close(scope);
    s->batches = 0;
    return evaluate(s, NULL, NULL, err);
}

static tn_status check_finite(tn_train_step *s, const tn__train_results *r,
                              const tn_train_metrics *m, tn_error *err) {
    bool finite = isfinite(m->loss) && (!r->norm || isfinite(m->grad_norm));
    if (s->train.scale || finite) return TN_OK;
    TN_CHECK(forget_sums(s, err));
    bool loss = !isfinite(m->loss);
    return tn_error_set(err, TN_INVALID,
                        "the %s of update %llu is %s: nothing was changed; a lower learning rate, "
                        "clipped gradients or other data may help",
                        loss ? "loss" : "gradients' norm", (unsigned long long)s->updates + 1,
                        isnan(loss ? m->loss : m->grad_norm) ? "NaN" : "infinite");
}

static tn_status run(tn_train_step *s, const tn_buffer *batch, bool updates,
                     const tn__train_results **out, tn_error *err) {
    int n = s->train.options.batch_count;
    for (int i = 0; i < n; i++) s->given[i] = batch[i];
    s->given[n] = (tn_buffer){.dtype = TN_f64, .data = &s->rate, .size = sizeof s->rate};
    tn__traces_call call = {.module = s->train.options.module,
                            .given = s->given,
                            .count = n + 1,
                            .updates = updates,
                            .owner = s,
                            .record = record,
                            .evaluate = evaluate};
    return tn__traces_run(&s->traces, &call, out, err);
}

tn_status tn_train_step_run(tn_train_step *s, const tn_buffer *batch, double rate,
                            tn_train_metrics *out, tn_error *err) {
    tn_train_metrics unused;
    if (!out) out = &unused;
    *out = (tn_train_metrics){.loss = NAN, .grad_norm = NAN, .updates = s->updates};
    bool updates = s->batches + 1 >= s->train.options.accumulate;
    const tn__train_results *r;
    s->rate = rate;
    TN_CHECK(run(s, batch, updates, &r, err));
    s->batches = updates ? 0 : s->batches + 1;
    TN_CHECK(read_metrics(s, r, out, err));
    return check_finite(s, r, out, err);
}

void tn_train_step_reset(tn_train_step *s) {
    tn__traces_reset(&s->traces);
}

/* ---- compiling ------------------------------------------------------------------------------ */

static tn_status fill(tn_train_step *s, const tn_train_options *options, tn_error *err) {
    TN_CHECK(tn__train_init(&s->train, options, 0, err));
    s->given = calloc((size_t)s->train.options.batch_count + 1, sizeof *s->given);
    if (!s->given) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    return evaluate(s, NULL, NULL, err); /* so that the first step is recorded as all others */
}

tn_status tn_train_step_compile(const tn_train_options *options, tn_train_step **out,
                                tn_error *err) {
    *out = NULL;
    tn_train_step *s = calloc(1, sizeof *s);
    if (!s) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_status status = fill(s, options, err);
    if (status == TN_OK)
        *out = s;
    else
        tn_train_step_release(s);
    return status;
}

void tn_train_step_release(tn_train_step *s) {
    if (!s) return;
    tn_train_step_reset(s);
    tn__train_deinit(&s->train);
    free(s->given);
    free(s);
}

int tn_train_step_state(tn_train_step *s, tn_named_tensor *out, int room) {
    for (int i = 0; i < s->train.state_count && i < room; i++) out[i] = s->train.state[i];
    return s->train.state_count;
}
