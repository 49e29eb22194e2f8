/* tenon train: a model, data, an optimizer; steps, evaluation, checkpoints. */
#include <math.h>
#include <stdlib.h>
#include <tenon/train.h>

#include "base/io.h"
#include "cli/report.h"
#include "cli/output.h"
#include "cli/stop.h"
#include "cli/train_checkpoint.h"
#include "cli/train_data.h"
#include "cli/train_log.h"
#include "cli/train_report.h"
#include "cli/train_samples.h"

typedef struct trainer {
    cli *c;
    train_settings s;
    train_data data;
    cli_dump dump; /* unused: there is no --dump-after */
    tn_context *context;
    tn_module *module;
    tn_train_step *step;
    train_log log;
    train_report *report; /* NULL: none is asked for */
    int64_t at;           /* steps done */
    int64_t saved;        /* the last checkpoint's; -1: there is none */
    double flops, peak;   /* of a step; of the machine in a second, 0: not measured */
} trainer;

/* ---- setting up ----------------------------------------------------------------------------- */

static tn_status make_model(trainer *t, tn_error *err) {
    tn_context_options context = TN_CONTEXT_OPTIONS_INIT;
    tn_module_options module = TN_MODULE_OPTIONS_INIT;
    TN_CHECK(cli_model_options(t->c, &context.compile, &t->dump, err));
    context.seed = module.seed = (uint64_t)t->s.seed;
    TN_CHECK(tn_context_create(&context, &t->context, err));
    t->peak = cli_roofs_flops(t->c->options.threads);
    if (t->peak <= 0)
        tn_log_write(TN_LOG_INFO,
                     "the machine's peak is not known; tenon doctor --measure finds it");
    TN_CHECK(tn_module_create(t->context, &module, &t->module, err));
    if (!t->s.onnx.path) return TN_OK;
    return cli_train_onnx_open(t->c, &t->s.onnx, t->module, t->s.model_frozen, err);
}

static tn_status make_step(trainer *t, tn_error *err) {
    static const tn_dtype compute[] = {TN_f64, TN_bf16, TN_f16}; /* as train.precision */
    tn_train_options o = TN_TRAIN_OPTIONS_INIT;
    o.compute = compute[t->s.precision];
    o.module = t->module;
    o.loss = cli_train_loss;
    o.context = &t->s;
    o.batch = t->data.types;
    o.batch_count = 2;
    o.optimizer = t->s.optimizer;
    o.clip_norm = isnan(t->s.clip_norm) ? INFINITY : t->s.clip_norm; /* so that it is reported */
    o.accumulate = (int)t->s.accumulate;
    return tn_train_step_compile(&o, &t->step, err);
}

static tn_status open_log(trainer *t, tn_error *err) {
    const train_settings *s = &t->s;
    double rows = (double)(s->data_batch * TN_MAX(1, s->accumulate));
    t->log.c = t->c;
    t->log.steps = s->steps;
    t->log.every = TN_MAX(1, s->log_every);
    t->log.items = s->tokens ? rows * (double)s->data_sequence : rows;
    t->log.unit = s->tokens ? "tokens" : "images";
    int64_t at = s->checkpoint_resume ? t->at : -1;
    return cli_train_log_open(&t->log, s->log_file, at, s->tensorboard, err);
}

/* ---- checkpoints ---------------------------------------------------------------------------- */

/* All parameters and buffers, and the state of the step; in the arena. */
static void list_parts(trainer *t, tn_checkpoint_part part[2]) {
    int items = tn_module_count(t->module), states = tn_train_step_state(t->step, NULL, 0);
    tn_named_tensor *model = TN_NEW_N(&t->c->arena, tn_named_tensor, items);
    tn_named_tensor *state = TN_NEW_N(&t->c->arena, tn_named_tensor, states);
    tn_module_item item;
    for (int i = 0; tn_module_entry(t->module, i, &item); i++)
        model[i] = (tn_named_tensor){item.name, item.tensor};
    tn_train_step_state(t->step, state, states);
    part[0] = (tn_checkpoint_part){"model", model, items};
    part[1] = (tn_checkpoint_part){"optimizer", state, states};
}

static tn_status save(trainer *t, tn_error *err) {
    uint8_t position[TN_LOADER_STATE_BYTES];
    tn_checkpoint_part parts[2];
    tn_named_blob blob = {"loader", position, sizeof position};
    tn_checkpoint_content content = {parts, 2, &blob, 1};
    tn_checkpoint_options o = TN_CHECKPOINT_OPTIONS_INIT;
    if (!t->s.checkpoint_folder || t->saved == t->at) return TN_OK;
    o.keep = (int)TN_MIN(t->s.checkpoint_keep, 1 << 30);
    TN_CHECK(cli_train_log_sync(&t->log, err));
    list_parts(t, parts);
    tn_loader_save(t->data.train, position);
    TN_CHECK(tn_checkpoint_save(t->s.checkpoint_folder, t->at, &content, &o, err));
    t->saved = t->at;
    return TN_OK;
}

static tn_status load(void *context, const tn_checkpoint *k, tn_error *err) {
    trainer *t = context;
    tn_checkpoint_part parts[2];
    const void *position;
    size_t size;
    list_parts(t, parts);
    TN_CHECK(tn_checkpoint_load(k, parts, 2, 0, err));
    TN_CHECK(tn_checkpoint_blob(k, "loader", &position, &size, err));
    TN_CHECK(tn_loader_restore(t->data.train, position, size, err));
    t->at = t->saved = tn_checkpoint_step(k);
    return TN_OK;
}

/* ---- evaluation ----------------------------------------------------------------------------- */

/* Adds a batch's losses and right answers. */
static tn_status evaluate_batch(trainer *t, const tn_data_batch *b, double *loss, double *right,
                                tn_error *err) {
    double mean = 0, hits = 0;
    tn_scope *scope = tn_scope_open(t->context);
    tn_tensor *x[2];
    for (int i = 0; i < 2; i++)
        x[i] = tn_tensor_from(t->context, b->buffers[i].dtype, b->buffers[i].rank,
                              b->buffers[i].dim, b->buffers[i].data);
    tn_tensor *logits = cli_train_logits(&t->s, t->module, x[0]), *target = x[1];
    if (t->s.tokens) {
        logits = tn_reshape(logits, TN_SHAPE(-1, tn_tensor_dim(logits, -1)));
        target = tn_reshape(target, TN_SHAPE(-1));
    }
    tn_tensor *is = tn_equal(tn_argmax(logits, -1, false), tn_cast(target, TN_i64));
    tn_tensor *both[2] = {tn_cross_entropy(logits, target),
                          tn_mean(tn_cast(is, TN_f32), TN_ALL_AXES, false)};
    tn_status status = tn_eval(both, 2, err);
    if (status == TN_OK) status = tn_item(both[0], &mean, err);
    if (status == TN_OK) status = tn_item(both[1], &hits, err);
    tn_scope_close(scope);
    *loss += mean * (double)b->samples;
    *right += hits * (double)b->samples;
    return status;
}

static tn_status evaluate_all(trainer *t, train_record *r, tn_error *err) {
    int64_t most = t->s.eval_batches ? t->s.eval_batches : INT64_MAX;
    double loss = 0, right = 0, samples = 0;
    tn_data_batch b = {0};
    TN_CHECK(tn_loader_seek(t->data.held_out, 0, 0, err));
    for (int64_t i = 0; i < most && !b.last; i++) {
        TN_CHECK(tn_loader_next(t->data.held_out, &b, err));
        TN_CHECK(evaluate_batch(t, &b, &loss, &right, err));
        samples += (double)b.samples;
    }
    r->evaluated = true;
    r->eval_loss = loss / samples;
    r->accuracy = right / samples;
    return TN_OK;
}

static tn_status evaluate(trainer *t, train_record *r, tn_error *err) {
    int64_t every = t->s.eval_every;
    bool due = t->at == t->s.steps || (every && t->at % every == 0);
    if (!t->data.held_out || !due) return TN_OK;
    tn_module_set_training(t->module, false);
    tn_status status = evaluate_all(t, r, err);
    tn_module_set_training(t->module, true);
    TN_TRY(err, status, "while evaluating after step %lld", (long long)t->at);
    return TN_OK;
}

/* ---- the loop ------------------------------------------------------------------------------- */

/* FLOPs of the kernels that ran while they were timed. */
static double measured_flops(tn_context *c) {
    int count = tn_context_kernel_times(c, NULL, 0);
    tn_kernel_time *k = calloc((size_t)count + 1, sizeof *k);
    double sum = 0;
    if (k) count = TN_MIN(count, tn_context_kernel_times(c, k, count));
    for (int i = 0; k && i < count; i++) sum += k[i].flops * (double)k[i].runs;
    free(k);
    return sum;
}

/* The batches of one update. */
static tn_status run_batches(trainer *t, train_record *r, tn_error *err) {
    int64_t batches = TN_MAX(1, t->s.accumulate);
    for (int64_t i = 0; i < batches; i++) {
        tn_train_metrics m;
        tn_data_batch b;
        TN_CHECK(tn_loader_next(t->data.train, &b, err));
        TN_CHECK(tn_train_step_run(t->step, b.buffers, r->lr, &m, err));
        r->wait_ms += b.wait_seconds * 1e3;
        r->loss += m.loss / (double)batches;
        r->grad_norm = m.grad_norm;
    }
    return TN_OK;
}

/* The first one's kernels are looked at: all others run the same. */
static tn_status update(trainer *t, train_record *r, tn_error *err) {
    double begin = tn_seconds();
    bool first = t->flops == 0;
    *r = (train_record){.step = t->at + 1, .lr = tn_rate_at(&t->s.rate, t->at)};
    if (first) tn_context_profile(t->context, true);
    tn_status status = run_batches(t, r, err);
    if (first) t->flops = measured_flops(t->context);
    if (first) tn_context_profile(t->context, false);
    r->step_ms = (tn_seconds() - begin) * 1e3;
    r->flops = t->flops;
    r->of_peak = t->peak > 0 ? r->flops / (r->step_ms * 1e-3) / t->peak : NAN;
    return status;
}

static tn_status one_step(trainer *t, tn_error *err) {
    train_record r;
    TN_TRY(err, update(t, &r, err), "step %lld", (long long)(t->at + 1));
    t->at++;
    TN_CHECK(evaluate(t, &r, err));
    r.skipped = cli_train_data_skipped(&t->data);
    TN_CHECK(cli_train_log_step(&t->log, &r, err));
    if (t->report) cli_train_report_add(t->report, &r);
    int64_t every = t->s.checkpoint_every;
    return every && t->at % every == 0 ? save(t, err) : TN_OK;
}

/* What there is to go on from, behind the message of an error. */
static void tell_checkpoint(const trainer *t, tn_error *err) {
    size_t used = strlen(err->message);
    if (t->saved < 0) return;
    snprintf(err->message + used, sizeof err->message - used,
             "; the last checkpoint is %s/step-%lld, --resume goes on from it",
             t->s.checkpoint_folder, (long long)t->saved);
}

static tn_status run_steps(trainer *t, tn_error *err) {
    tn_status status = TN_OK;
    cli_catch_signals();
    while (status == TN_OK && t->at < t->s.steps && !cli_stopped()) status = one_step(t, err);
    if (status == TN_OK) status = save(t, err);
    if (status != TN_OK) tell_checkpoint(t, err);
    return status;
}

static tn_status write_report(const trainer *t, json_t *samples, tn_error *err) {
    if (!t->report) return TN_OK;
    TN_TRY(err,
           cli_train_report_write(t->report, t->s.model_config, samples, t->c->options.report, err),
           "--report");
    return TN_OK;
}

/* A page without points at first: one that cannot be written is told now, not at the end of the run. */
static tn_status open_report(trainer *t, tn_error *err) {
    if (t->c->options.report) t->report = TN_NEW(&t->c->arena, train_report);
    return write_report(t, NULL, err);
}

/* Who stops a run does not wait for samples. */
static tn_status close_report(const trainer *t, tn_error *err) {
    json_t *samples = NULL;
    if (t->report && !cli_stopped())
        TN_CHECK(cli_train_samples(&t->s, t->module, &t->data, &samples, err));
    return write_report(t, samples, err);
}

static tn_status loop(trainer *t, tn_error *err) {
    TN_CHECK(run_steps(t, err));
    if (t->c->options.out_file)
        TN_TRY(err, tn_onnx_save(t->s.onnx.model, t->c->options.out_file, err), "--output");
    TN_CHECK(close_report(t, err));
    unsigned long long skipped = cli_train_data_skipped(&t->data);
    if (skipped)
        cli_train_log_note(&t->log, "%llu corrupt image%s skipped, named above", skipped,
                           skipped > 1 ? "s were" : " was");
    if (cli_stopped() && t->saved == t->at)
        cli_train_log_note(&t->log, "stopped after step %lld, saved in %s; --resume goes on",
                           (long long)t->at, t->s.checkpoint_folder);
    else if (cli_stopped())
        cli_train_log_note(&t->log,
                           "stopped after step %lld; nothing is saved without "
                           "--checkpoint.folder DIR",
                           (long long)t->at);
    return TN_OK;
}

static tn_status train(trainer *t, tn_error *err) {
    TN_CHECK(cli_train_settings(t->c, &t->s, err));
    TN_CHECK(cli_train_data_open(t->c, &t->s, &t->data, err));
    TN_CHECK(make_model(t, err));
    TN_TRY(err, make_step(t, err), "%s", t->s.model_config);
    t->saved = -1;
    TN_CHECK(cli_train_resume(t->c, &t->s, load, t, err));
    TN_CHECK(open_log(t, err));
    TN_CHECK(open_report(t, err));
    return loop(t, err);
}

/* Memory that runs out unwinds to here. */
static tn_status guarded(void *t, tn_error *err) {
    return train(t, err);
}

tn_status cmd_train(cli *c, tn_error *err) {
    trainer t = {.c = c, .saved = -1};
    tn_status status = tn_guard(guarded, &t, err);
    cli_train_log_close(&t.log);
    cli_train_data_close(&t.data);
    tn_train_step_release(t.step);
    tn_onnx_release(t.s.onnx.model);
    tn_module_release(t.module);
    tn_context_release(t.context);
    return status;
}
