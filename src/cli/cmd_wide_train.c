/* tenon wide train: N members of a model, trained as one program on the same batches. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <tenon/population.h>
#include <unistd.h>

#include "cli/output.h"
#include "cli/report.h"
#include "cli/stop.h"
#include "cli/train_checkpoint.h"
#include "cli/train_data.h"
#include "cli/wide_train_log.h"

enum { MOST_SKIPPED = 10 }; /* updates in a row, at a loss scale of 1 or less */

typedef struct trainer {
    cli *c;
    train_settings s;
    train_data data;
    cli_dump dump; /* unused: there is no --dump-after */
    int n;
    double *factor; /* of each member's learning rate */
    bool *active;   /* it has not diverged */
    int *skipped;   /* updates in a row that its gradients did not allow */
    const char **names;
    tn_context *context;
    tn_population *population;
    tn_population_step *step;
    tn_train_metrics *metrics;
    train_log log;
    wide_report *report; /* NULL: none is asked for */
    wide_record last;
    bool told;         /* how the members are computed */
    int64_t at, saved; /* steps done; the last checkpoint's, -1: there is none */
} trainer;

/* ---- setting up ----------------------------------------------------------------------------- */

/* "member 3, optimizer.lr 0.001" */
static const char *name_of(const trainer *t, int i) {
    tn_str s;
    tn_str_init_with(&s, tn_arena_allocator(&t->c->arena));
    tn_str_appendf(&s, "member %d", i);
    for (int k = 0; k < TRAIN_LISTS; k++)
        if (t->s.lists[k].name)
            tn_str_appendf(&s, ", %s %.3g", strchr(t->s.lists[k].name, '.') + 1,
                           cli_train_list_value(&t->s.lists[k], i, t->n));
    return tn_str_text(&s);
}

static tn_status read_members(trainer *t, tn_error *err) {
    TN_CHECK(cli_train_members(t->c, &t->s, &t->n, err));
    t->factor = TN_NEW_N(&t->c->arena, double, t->n);
    t->active = TN_NEW_N(&t->c->arena, bool, t->n);
    t->skipped = TN_NEW_N(&t->c->arena, int, t->n);
    t->names = TN_NEW_N(&t->c->arena, const char *, t->n);
    t->metrics = TN_NEW_N(&t->c->arena, tn_train_metrics, t->n);
    t->last.of = TN_NEW_N(&t->c->arena, member_record, t->n);
    t->last.members = t->n;
    const train_list *rates = &t->s.lists[LIST_LR];
    for (int i = 0; i < t->n; i++) {
        bool own = rates->name && t->s.rate.rate > 0;
        t->factor[i] = own ? cli_train_list_value(rates, i, t->n) / t->s.rate.rate : 1;
        t->active[i] = true;
        t->names[i] = name_of(t, i);
    }
    if (!t->s.tensorboard) return TN_OK;
    return tn_error_set(err, TN_INVALID,
                        "train.tensorboard: wide train writes no event files; train.log has a line "
                        "a step, --report FILE all curves in one picture");
}

static tn_status make_model(trainer *t, tn_error *err) {
    tn_context_options context = TN_CONTEXT_OPTIONS_INIT;
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    TN_CHECK(cli_model_options(t->c, &context.compile, &t->dump, err));
    context.seed = o.seed = (uint64_t)t->s.seed;
    o.members = t->n;
    uint64_t *seeds = TN_NEW_N(&t->c->arena, uint64_t, t->n);
    for (int i = 0; i < t->n; i++) seeds[i] = o.seed;
    if (t->c->options.same_init) o.seeds = seeds;
    TN_CHECK(tn_context_create(&context, &t->context, err));
    TN_CHECK(tn_population_create(t->context, &o, &t->population, err));
    if (!t->s.onnx.path) return TN_OK;
    return cli_train_onnx_open(t->c, &t->s.onnx, tn_population_module(t->population),
                               t->s.model_frozen, err);
}

/* What has a list gets its values. */
static tn_status set_members(trainer *t, tn_error *err) {
    static const tn_member_setting settings[] = {
        [LIST_LR] = TN_SETTING_RATE,
        [LIST_WEIGHT_DECAY] = TN_SETTING_WEIGHT_DECAY,
        [LIST_MOMENTUM] = TN_SETTING_MOMENTUM,
        [LIST_CLIP_NORM] = TN_SETTING_CLIP_NORM,
    };
    for (int k = 0; k < TRAIN_LISTS; k++)
        for (int i = 0; t->s.lists[k].name && i < t->n; i++) {
            double value =
                k == LIST_LR ? t->factor[i] : cli_train_list_value(&t->s.lists[k], i, t->n);
            TN_TRY(err, tn_population_step_set(t->step, settings[k], i, value, err), "%s",
                   t->s.lists[k].name);
        }
    return TN_OK;
}

static tn_status make_step(trainer *t, tn_error *err) {
    static const tn_dtype compute[] = {TN_f64, TN_bf16, TN_f16}; /* as train.precision */
    tn_population_train_options o = TN_POPULATION_TRAIN_OPTIONS_INIT;
    o.population = t->population;
    o.train.compute = compute[t->s.precision];
    o.train.loss = cli_train_loss;
    o.train.context = &t->s;
    o.train.batch = t->data.types;
    o.train.batch_count = 2;
    o.train.optimizer = t->s.optimizer;
    o.train.clip_norm = isnan(t->s.clip_norm) ? INFINITY : t->s.clip_norm; /* so that it is told */
    o.train.accumulate = (int)t->s.accumulate;
    TN_CHECK(tn_population_step_compile(&o, &t->step, err));
    return set_members(t, err);
}

static tn_status open_log(trainer *t, tn_error *err) {
    const train_settings *s = &t->s;
    double rows = (double)(s->data_batch * TN_MAX(1, s->accumulate));
    t->log.c = t->c;
    t->log.steps = s->steps;
    t->log.every = TN_MAX(1, s->log_every);
    t->log.items = s->tokens ? rows * (double)s->data_sequence : rows;
    t->log.unit = s->tokens ? "tokens" : "images";
    TN_CHECK(
        cli_train_log_open(&t->log, s->log_file, s->checkpoint_resume ? t->at : -1, NULL, err));
    t->log.bar = false;
    return TN_OK;
}

/* ---- checkpoints ---------------------------------------------------------------------------- */

/* Everything of all members, in the arena. */
static void list_parts(trainer *t, tn_checkpoint_part part[2]) {
    tn_module *m = tn_population_module(t->population);
    int items = tn_module_count(m), states = tn_population_step_state(t->step, NULL, 0);
    tn_named_tensor *model = TN_NEW_N(&t->c->arena, tn_named_tensor, items);
    tn_named_tensor *state = TN_NEW_N(&t->c->arena, tn_named_tensor, states);
    tn_module_item item;
    for (int i = 0; tn_module_entry(m, i, &item); i++)
        model[i] = (tn_named_tensor){item.name, tn_population_tensor(t->population, item.name)};
    tn_population_step_state(t->step, state, states);
    part[0] = (tn_checkpoint_part){"model", model, items};
    part[1] = (tn_checkpoint_part){"optimizer", state, states};
}

static tn_status save(trainer *t, tn_error *err) {
    uint8_t position[TN_LOADER_STATE_BYTES];
    tn_checkpoint_part parts[2];
    tn_named_blob blob[] = {{"loader", position, sizeof position},
                            {"active", t->active, (size_t)t->n * sizeof *t->active}};
    tn_checkpoint_content content = {parts, 2, blob, 2};
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
    const void *position, *active;
    size_t size, bytes;
    list_parts(t, parts);
    TN_CHECK(tn_checkpoint_load(k, parts, 2, 0, err));
    TN_CHECK(tn_checkpoint_blob(k, "loader", &position, &size, err));
    TN_CHECK(tn_checkpoint_blob(k, "active", &active, &bytes, err));
    TN_CHECK(tn_loader_restore(t->data.train, position, size, err));
    for (int i = 0; i < t->n && (size_t)i < bytes; i++)
        t->active[i] = ((const uint8_t *)active)[i] != 0;
    t->at = t->saved = tn_checkpoint_step(k);
    return set_members(t, err); /* what this command line says */
}

/* ---- evaluation ----------------------------------------------------------------------------- */

static tn_tensor *part_right(const tn_tensor *scores, const tn_tensor *target) {
    tn_tensor *is = tn_equal(tn_argmax(scores, -1, false), tn_cast(target, TN_i64));
    return tn_mean(tn_cast(is, TN_f32), TN_ALL_AXES, false);
}

static void flatten(const trainer *t, tn_tensor **logits, tn_tensor **target) {
    if (!t->s.tokens) return;
    *logits = tn_reshape(*logits, TN_SHAPE(-1, tn_tensor_dim(*logits, -1)));
    *target = tn_reshape(*target, TN_SHAPE(-1));
}

/* Of a member: loss, part that is right, probabilities. */
static void judge(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    const trainer *t = context;
    tn_tensor *logits = cli_train_logits(&t->s, m, x[0]), *target = x[1];
    flatten(t, &logits, &target);
    y[0] = tn_cross_entropy(logits, target);
    y[1] = part_right(logits, target);
    y[2] = tn_softmax(logits, -1);
}

/* Probabilities of a member that diverged say nothing: where one is NaN, the member has no vote. */
static tn_tensor *ensemble_right(const trainer *t, tn_tensor *probabilities, tn_tensor *target) {
    tn_tensor *vote = tn_where(tn_equal(probabilities, probabilities), probabilities,
                               tn_tensor_scalar(t->context, TN_f32, 0));
    tn_tensor *unused = vote;
    flatten(t, &unused, &target);
    return part_right(tn_mean(vote, TN_AXES(0), false), target);
}

static tn_status read_all(trainer *t, tn_tensor *x, double weight, double *out, size_t stride,
                          tn_error *err) {
    tn_buffer all;
    TN_CHECK(tn_view(x, &all, err));
    const float *from = all.data;
    for (int i = 0; i < t->n; i++)
        *(double *)(void *)((char *)out + (size_t)i * stride) += weight * (double)from[i];
    return TN_OK;
}

/* Adds a batch's losses and right answers. */
static tn_status evaluate_batch(trainer *t, const tn_data_batch *b, tn_error *err) {
    enum { STRIDE = sizeof(member_record) };
    tn_scope *scope = tn_scope_open(t->context);
    tn_tensor *x[2], *y[3];
    for (int i = 0; i < 2; i++)
        x[i] = tn_tensor_from(t->context, b->buffers[i].dtype, b->buffers[i].rank,
                              b->buffers[i].dim, b->buffers[i].data);
    tn_population_call call = TN_POPULATION_CALL_INIT;
    call.fn = judge, call.context = t, call.x = x, call.x_count = 2, call.y_count = 3;
    call.shared = (const bool[]){true, true};
    tn_population_apply(t->population, &call, y);
    tn_tensor *results[] = {tn_cast(y[0], TN_f32), tn_cast(y[1], TN_f32),
                            ensemble_right(t, tn_cast(y[2], TN_f32), x[1])};
    double right = 0, samples = (double)b->samples;
    tn_status status = tn_eval(results, 3, err);
    member_record *of = t->last.of;
    if (status == TN_OK) status = read_all(t, results[0], samples, &of->eval_loss, STRIDE, err);
    if (status == TN_OK) status = read_all(t, results[1], samples, &of->accuracy, STRIDE, err);
    if (status == TN_OK) status = tn_item(results[2], &right, err);
    tn_scope_close(scope);
    t->last.ensemble += right * samples;
    return status;
}

static tn_status evaluate_all(trainer *t, tn_error *err) {
    int64_t most = t->s.eval_batches ? t->s.eval_batches : INT64_MAX;
    double samples = 0;
    tn_data_batch b = {0};
    wide_record *r = &t->last;
    r->ensemble = 0;
    for (int i = 0; i < t->n; i++) r->of[i].eval_loss = r->of[i].accuracy = 0;
    TN_CHECK(tn_loader_seek(t->data.held_out, 0, 0, err));
    for (int64_t i = 0; i < most && !b.last; i++) {
        TN_CHECK(tn_loader_next(t->data.held_out, &b, err));
        TN_CHECK(evaluate_batch(t, &b, err));
        samples += (double)b.samples;
    }
    r->evaluated = true;
    r->ensemble /= samples;
    for (int i = 0; i < t->n; i++) {
        r->of[i].eval_loss /= samples;
        r->of[i].accuracy /= samples;
    }
    return TN_OK;
}

static tn_status evaluate(trainer *t, tn_error *err) {
    int64_t every = t->s.eval_every;
    bool due = t->at == t->s.steps || (every && t->at % every == 0);
    if (!t->data.held_out || !due) return TN_OK;
    tn_module *m = tn_population_module(t->population);
    tn_module_set_training(m, false);
    tn_status status = evaluate_all(t, err);
    tn_module_set_training(m, true);
    TN_TRY(err, status, "while evaluating after step %lld", (long long)t->at);
    return TN_OK;
}

/* ---- the loop ------------------------------------------------------------------------------- */

/* The batches of one update. */
static tn_status run_batches(trainer *t, double rate, tn_error *err) {
    int64_t batches = TN_MAX(1, t->s.accumulate);
    for (int i = 0; i < t->n; i++)
        t->last.of[i] = (member_record){
            .lr = rate * t->factor[i], .eval_loss = NAN, .accuracy = NAN, .active = t->active[i]};
    for (int64_t k = 0; k < batches; k++) {
        tn_data_batch b;
        TN_CHECK(tn_loader_next(t->data.train, &b, err));
        TN_CHECK(tn_population_step_run(t->step, b.buffers, rate, t->metrics, err));
        t->last.wait_ms += b.wait_seconds * 1e3;
        for (int i = 0; i < t->n; i++) {
            member_record *m = &t->last.of[i];
            m->loss += t->metrics[i].loss / (double)batches;
            m->grad_norm = t->metrics[i].grad_norm;
            m->updated = t->metrics[i].updated;
        }
    }
    return TN_OK;
}

/* Loss scaling skips updates until the scale is small enough. Where even gradients that are not enlarged do
 * not fit, again and again, it does not help; without it a member's next gradients are no smaller. */
static bool overflows(trainer *t, int i) {
    const member_record *m = &t->last.of[i];
    double scale;
    t->skipped[i] = m->updated ? 0 : t->skipped[i] + 1;
    if (m->updated) return false;
    if (tn_population_step_setting(t->step, TN_SETTING_LOSS_SCALE, i, &scale) != TN_OK) return true;
    return scale <= 1 && t->skipped[i] > MOST_SKIPPED;
}

static tn_status stop_member(trainer *t, int i, const char *why, tn_error *err) {
    TN_CHECK(tn_population_step_set_active(t->step, i, false, err));
    t->last.of[i].active = t->active[i] = false;
    cli_train_log_note(&t->log, "%s %s at step %lld and is stopped", t->names[i], why,
                       (long long)t->last.step);
    return TN_OK;
}

/* A member whose loss or gradients are not finite never comes back: its weights stay what they were. */
static tn_status stop_diverged(trainer *t, tn_error *err) {
    int left = 0;
    for (int i = 0; i < t->n; i++) {
        if (t->active[i] && !isfinite(t->last.of[i].loss))
            TN_CHECK(stop_member(t, i, "diverged", err));
        else if (t->active[i] && overflows(t, i))
            TN_CHECK(stop_member(t, i, "has gradients that overflow", err));
        left += t->active[i];
    }
    if (left) return TN_OK;
    return tn_error_set(err, TN_INVALID,
                        "all %d members diverged; lower learning rates or clipped gradients may "
                        "help",
                        t->n);
}

static tn_status update(trainer *t, tn_error *err) {
    double begin = tn_seconds();
    t->last.step = t->at + 1;
    t->last.wait_ms = 0;
    t->last.evaluated = false;
    TN_CHECK(run_batches(t, tn_rate_at(&t->s.rate, t->at), err));
    t->last.step_ms = (tn_seconds() - begin) * 1e3;
    t->last.how = t->told ? NULL : t->step;
    t->told = true;
    return stop_diverged(t, err);
}

static tn_status one_step(trainer *t, tn_error *err) {
    TN_TRY(err, update(t, err), "step %lld", (long long)(t->at + 1));
    t->at++;
    TN_CHECK(evaluate(t, err));
    TN_CHECK(cli_wide_log_step(&t->log, &t->last, err));
    if (t->report) cli_wide_report_add(t->c, t->report, &t->last);
    int64_t every = t->s.checkpoint_every;
    return every && t->at % every == 0 ? save(t, err) : TN_OK;
}

/* ---- the end -------------------------------------------------------------------------------- */

/* DIR/member-3.safetensors, or of an ONNX model DIR/member-3.onnx. */
static tn_status save_member(trainer *t, tn_module *m, int i, tn_onnx *onnx, tn_error *err) {
    char path[4096];
    tn_module_item item;
    TN_CHECK(tn_population_get(t->population, i, m, err));
    snprintf(path, sizeof path, "%s/member-%d.%s", t->c->options.out_dir, i,
             onnx ? "onnx" : "safetensors");
    if (onnx) return tn_onnx_save(onnx, path, err);
    int count = tn_module_count(m);
    tn_named_tensor *all = TN_NEW_N(&t->c->arena, tn_named_tensor, count);
    for (int k = 0; tn_module_entry(m, k, &item); k++)
        all[k] = (tn_named_tensor){item.name, item.tensor};
    return tn_tensors_save(path, all, count, err);
}

static tn_status save_members(trainer *t, tn_module *m, train_onnx *onnx, tn_error *err) {
    if (onnx->path) TN_CHECK(cli_train_onnx_open(t->c, onnx, m, t->s.model_frozen, err));
    for (int i = 0; i < t->n; i++)
        TN_TRY(err, save_member(t, m, i, onnx->model, err), "member %d", i);
    return TN_OK;
}

/* Before anything is trained. */
static tn_status make_folder(const trainer *t, tn_error *err) {
    const char *folder = t->c->options.out_dir;
    struct stat s;
    if (!folder) return TN_OK;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return tn_error_set(err, TN_IO, "--output: cannot make %s: %s", folder, strerror(errno));
    if (stat(folder, &s) != 0 || !S_ISDIR(s.st_mode))
        return tn_error_set(err, TN_IO, "--output: %s is no folder", folder);
    if (access(folder, W_OK | X_OK) == 0) return TN_OK;
    return tn_error_set(err, TN_IO, "--output: cannot write to %s: %s", folder, strerror(errno));
}

static tn_status write_members(trainer *t, tn_error *err) {
    tn_module *m;
    if (!t->c->options.out_dir) return TN_OK;
    TN_CHECK(tn_module_create(t->context, NULL, &m, err));
    train_onnx onnx = t->s.onnx;
    onnx.model = NULL;
    tn_status status = save_members(t, m, &onnx, err);
    tn_onnx_release(onnx.model);
    tn_module_release(m);
    TN_TRY(err, status, "--output");
    return TN_OK;
}

static tn_status write_report(const trainer *t, tn_error *err) {
    if (!t->report) return TN_OK;
    TN_TRY(err,
           cli_wide_report_write(t->report, t->s.model_config, t->names, t->n, t->c->options.report,
                                 err),
           "--report");
    return TN_OK;
}

static void name_best(const trainer *t) {
    const wide_record *r = &t->last;
    int best = cli_wide_best(r);
    if (t->at == 0 || best < 0 || t->c->options.json || t->c->options.quiet) return;
    printf("best: %s, loss %.4f", t->names[best], r->of[best].loss);
    if (r->evaluated) printf(", held out %.4f", r->of[best].eval_loss);
    if (r->evaluated && isfinite(r->of[best].accuracy))
        printf(", %.2f %% right", 100 * r->of[best].accuracy);
    printf("\n");
}

static tn_status loop(trainer *t, tn_error *err) {
    tn_status status = TN_OK;
    cli_catch_signals();
    while (status == TN_OK && t->at < t->s.steps && !cli_stopped()) status = one_step(t, err);
    TN_CHECK(status);
    TN_CHECK(save(t, err));
    TN_CHECK(write_members(t, err));
    TN_CHECK(write_report(t, err));
    name_best(t);
    if (cli_stopped())
        cli_train_log_note(&t->log, "stopped after step %lld%s", (long long)t->at,
                           t->s.checkpoint_folder ? ", saved; --resume goes on"
                                                  : "; nothing is saved without "
                                                    "--checkpoint.folder DIR");
    return cli_flush(err);
}

static tn_status train(void *argument, tn_error *err) {
    trainer *t = argument;
    TN_CHECK(cli_train_settings(t->c, &t->s, err));
    TN_CHECK(read_members(t, err));
    TN_CHECK(make_folder(t, err));
    TN_CHECK(cli_train_data_open(t->c, &t->s, &t->data, err));
    TN_CHECK(make_model(t, err));
    TN_TRY(err, make_step(t, err), "%s", t->s.model_config);
    t->saved = -1;
    TN_CHECK(cli_train_resume(t->c, &t->s, load, t, err));
    TN_CHECK(open_log(t, err));
    if (t->c->options.report) t->report = TN_NEW(&t->c->arena, wide_report);
    TN_CHECK(write_report(t, err)); /* one that cannot be written is told now */
    return loop(t, err);
}

tn_status cmd_wide_train(cli *c, tn_error *err) {
    trainer t = {.c = c, .saved = -1};
    tn_status status = tn_guard(train, &t, err);
    cli_train_log_close(&t.log);
    cli_train_data_close(&t.data);
    tn_population_step_release(t.step);
    tn_onnx_release(t.s.onnx.model);
    tn_population_release(t.population);
    tn_context_release(t.context);
    return status;
}
