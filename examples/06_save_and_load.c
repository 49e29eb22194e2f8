/* A training run that saves checkpoints, and one that goes on from the last: the numbers are the same,
 * bit for bit, as without the interruption.
 *
 *   $ build/examples/06_save_and_load [FOLDER]        default: a folder that is removed again
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/checkpoint.h>
#include <tenon/optim.h>

enum { STEPS = 60, EVERY = 20, POINTS = 128 };

/* What a run consists of: a line through points, and the optimizer's state. */
typedef struct training {
    tn_context *context;
    tn_tensor *x, *y;
    tn_named_tensor parameter[2], state[8];
    int state_count;
    tn_optimizer *optimizer;
} training;

static tn_status start(training *t, tn_error *err) {
    float x[POINTS], y[POINTS];
    tn_optimizer_options options = TN_ADAMW_INIT;
    TN_CHECK(tn_context_create(NULL, &t->context, err));
    for (int i = 0; i < POINTS; i++) {
        x[i] = (float)i / POINTS;
        y[i] = 3 * x[i] - 1 + 0.1f * sinf((float)(7 * i));
    }
    t->x = tn_tensor_from(t->context, TN_f32, TN_SHAPE(POINTS), x);
    t->y = tn_tensor_from(t->context, TN_f32, TN_SHAPE(POINTS), y);
    t->parameter[0] = (tn_named_tensor){"slope", tn_tensor_scalar(t->context, TN_f32, 0)};
    t->parameter[1] = (tn_named_tensor){"offset", tn_tensor_scalar(t->context, TN_f32, 0)};
    TN_CHECK(tn_optimizer_create(&options, t->parameter, 2, &t->optimizer, err));
    t->state_count = tn_optimizer_state(t->optimizer, t->state, 8);
    return TN_OK;
}

static void stop(training *t) {
    tn_optimizer_release(t->optimizer);
    for (int i = 0; i < 2; i++) tn_release(t->parameter[i].tensor);
    tn_release(t->x);
    tn_release(t->y);
    tn_context_release(t->context);
}

/* The rate is a function of the step: it needs no state of its own. */
static tn_status train(training *t, int step, double *loss, tn_error *err) {
    tn_rate_schedule schedule = TN_RATE_SCHEDULE_INIT;
    schedule.kind = TN_RATE_COSINE;
    schedule.rate = 0.2;
    schedule.period = STEPS;
    schedule.warmup = 5;
    tn_scope *scope = tn_scope_open(t->context);
    tn_tensor *w[2] = {tn_variable(t->parameter[0].tensor), tn_variable(t->parameter[1].tensor)};
    tn_tensor *error = tn_sub(tn_add(tn_mul(t->x, w[0]), w[1]), t->y), *grads[2];
    tn_tensor *mean = tn_mean(tn_square(error), TN_ALL_AXES, false);
    tn_grad(mean, NULL, w, 2, grads);
    (void)tn_clip_gradients_norm(grads, 2, 1.0, grads);
    tn_tensor *rate = tn_tensor_scalar(t->context, TN_f32, tn_rate_at(&schedule, step));
    tn_optimizer_step(t->optimizer, rate, grads, NULL);
    tn_status status = tn_item(mean, loss, err);
    tn_scope_close(scope);
    return status;
}

/* Parameters, state and the step; a loader's position would be one more blob. */
static tn_status save(training *t, const char *folder, int step, tn_error *err) {
    tn_checkpoint_part parts[] = {{"model", t->parameter, 2},
                                  {"optimizer", t->state, t->state_count}};
    tn_named_blob blob = {"step", &step, sizeof step};
    tn_checkpoint_content content = {parts, 2, &blob, 1};
    tn_checkpoint_options options = TN_CHECKPOINT_OPTIONS_INIT;
    options.keep = 2;
    return tn_checkpoint_save(folder, step, &content, &options, err);
}

static tn_status load(training *t, const char *folder, int *step, tn_error *err) {
    tn_checkpoint *c;
    tn_checkpoint_part parts[] = {{"model", t->parameter, 2},
                                  {"optimizer", t->state, t->state_count}};
    TN_CHECK(tn_checkpoint_open(folder, TN_CHECKPOINT_NEWEST, &c, err));
    *step = (int)tn_checkpoint_step(c);
    tn_status status = tn_checkpoint_load(c, parts, 2, 0, err);
    tn_checkpoint_release(c);
    return status;
}

/* From the start, or from the newest checkpoint, up to step `to`; saves where there is a folder. */
static tn_status run(const char *folder, bool resume, int to, double *loss, tn_error *err) {
    training t = {0};
    int step = 0;
    tn_status status = start(&t, err);
    if (status == TN_OK && resume) status = load(&t, folder, &step, err);
    printf("from step %d to %d\n", step, to);
    while (status == TN_OK && step < to) {
        status = train(&t, step++, loss, err);
        if (status == TN_OK && folder && step % EVERY == 0) status = save(&t, folder, step, err);
    }
    stop(&t);
    return status;
}

int main(int argc, char **argv) {
    char folder[] = "/tmp/tenon-example-XXXXXX", command[64] = "", text[4096];
    tn_error err = TN_ERROR_INIT;
    double whole = 0, resumed = 0;
    const char *path = argc > 1 ? argv[1] : mkdtemp(folder);
    if (path == folder) snprintf(command, sizeof command, "rm -r %s", folder);
    tn_status status = path ? run(NULL, false, STEPS, &whole, &err) : TN_IO;
    if (status == TN_OK) status = run(path, false, STEPS - 7, &resumed, &err); /* stops between */
    if (status == TN_OK) status = run(path, true, STEPS, &resumed, &err);
    if (command[0] && system(command) != 0) fprintf(stderr, "%s stays\n", folder);
    tn_error_format(&err, text, sizeof text);
    if (status != TN_OK) fprintf(stderr, "%s\n", text);
    if (status != TN_OK) return EXIT_FAILURE;
    printf("loss %.9g; with an interruption %.9g\n", whole, resumed);
    return whole == resumed ? EXIT_SUCCESS : EXIT_FAILURE;
}
