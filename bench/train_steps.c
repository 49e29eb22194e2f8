/* Steps of training for bench_train.py:
 *
 *     train_steps MODEL FILE THREADS
 *
 * FILE becomes the parameters, the buffers and the batch ("batch.x", "batch.target") that all steps have,
 * for the peers to begin from. Prints the first losses as a line of JSON, then one line for every line that it
 * reads: SECONDS gives milliseconds of a step, "profile SECONDS" the kernels of a step. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/checkpoint.h>

#include "steady.h"
#include "train_models.h"

enum { FIRST_STEPS = 5, LEAST_RUNS = 3 };
enum { MAX_TENSORS = 1024, MAX_KERNELS = 4096, SEED = 7 };
#define WARM_UP_SECONDS 0.3

typedef struct training {
    const train_case *what;
    tn_model_config config;
    tn_context *context;
    tn_module *module;
    tn_train_step *step;
    tn_buffer batch[2];
} training;

/* ---- the batch -------------------------------------------------------------------------------- */

/* xorshift64* (Vigna 2016) */
static uint64_t next(uint64_t *state) {
    *state ^= *state >> 12, *state ^= *state << 25, *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

static double uniform(uint64_t *state) {
    return ((double)(next(state) >> 11) + 0.5) * 0x1p-53;
}

static bool fill(tn_buffer *b, int64_t below, uint64_t *state) {
    size_t count = 1;
    for (int a = 0; a < b->rank; a++) count *= (size_t)b->dim[a];
    b->data = malloc(b->size = 4 * count);
    for (size_t i = 0; b->data && i < count; i++) {
        if (below)
            ((int32_t *)b->data)[i] = (int32_t)(next(state) >> 33) % (int32_t)below;
        else
            ((float *)b->data)[i] =
                (float)(sqrt(-2 * log(uniform(state))) * cos(2 * M_PI * uniform(state)));
    }
    return b->data != NULL;
}

static bool make_batch(training *t) {
    const train_case *w = t->what;
    uint64_t state = SEED;
    tn_buffer *x = &t->batch[0], *target = &t->batch[1];
    *x = (tn_buffer){.dtype = w->tokens ? TN_i32 : TN_f32, .rank = 1, .dim = {w->rows}};
    for (int a = 0; a < 3 && w->x[a]; a++) x->dim[x->rank++] = w->x[a];
    *target =
        (tn_buffer){.dtype = TN_i32, .rank = w->target_each ? 2 : 1, .dim = {w->rows, w->x[0]}};
    return fill(x, w->tokens, &state) && fill(target, w->classes, &state);
}

/* ---- the start -------------------------------------------------------------------------------- */

static tn_status save_start(const training *t, const char *path, tn_error *err) {
    static tn_named_tensor list[MAX_TENSORS];
    int count = 0;
    tn_module_item item;
    tn_scope *scope = tn_scope_open(t->context);
    for (int i = 0; i < MAX_TENSORS - 2 && tn_module_entry(t->module, i, &item); i++)
        list[count++] = (tn_named_tensor){item.name, item.tensor};
    for (int i = 0; i < 2; i++) {
        const tn_buffer *b = &t->batch[i];
        tn_tensor *x = tn_tensor_from(t->context, b->dtype, b->rank, b->dim, b->data);
        list[count++] = (tn_named_tensor){i ? "batch.target" : "batch.x", x};
    }
    tn_status status = tn_tensors_save(path, list, count, err);
    tn_scope_close(scope);
    return status;
}

static tn_status start(training *t, int threads, tn_error *err) {
    tn_context_options options = TN_CONTEXT_OPTIONS_INIT;
    tn_train_options o = TN_TRAIN_OPTIONS_INIT;
    options.compile.threads = threads;
    o.loss = t->what->loss;
    if (t->what->config) {
        TN_TRY(err, tn_model_config_find(t->what->config, &t->config, err), "while looking it up");
        o.loss = tn_model_loss;
        o.context = &t->config;
    }
    if (!make_batch(t)) return TN_OUT_OF_MEMORY;
    TN_TRY(err, tn_context_create(&options, &t->context, err), "while making the context");
    TN_TRY(err, tn_module_create(t->context, NULL, &t->module, err), "while making the module");
    o.module = t->module;
    o.batch = t->batch;
    o.batch_count = 2;
    o.optimizer = t->what->optimizer;
    o.clip_norm = t->what->clip_norm;
    return tn_train_step_compile(&o, &t->step, err);
}

/* ---- steps ------------------------------------------------------------------------------------ */

static tn_status step(const training *t, double *loss, tn_error *err) {
    tn_train_metrics metrics;
    TN_TRY(err, tn_train_step_run(t->step, t->batch, t->what->rate, &metrics, err), "in a step");
    *loss = metrics.loss;
    return TN_OK;
}

static tn_status first_steps(const training *t, tn_error *err) {
    double loss[FIRST_STEPS];
    for (int i = 0; i < FIRST_STEPS; i++) TN_TRY(err, step(t, &loss[i], err), "at the beginning");
    printf("{\"parameters\": %" PRId64 ", \"losses\": [", tn_module_parameter_elements(t->module));
    for (int i = 0; i < FIRST_STEPS; i++) printf("%s%.9g", i ? ", " : "", loss[i]);
    printf("]}\n");
    fflush(stdout);
    return TN_OK;
}

typedef struct measured {
    const training *training;
    double loss;
} measured;

static tn_status measured_step(void *context, tn_error *err) {
    measured *m = context;
    return step(m->training, &m->loss, err);
}

static tn_status measure(const training *t, double length, tn_error *err) {
    measured m = {.training = t};
    steady_options how = {.warm_up = WARM_UP_SECONDS, .length = length, .least = LEAST_RUNS};
    printf("{");
    TN_TRY(err, steady_latency(measured_step, &m, how, err), "in steps");
    printf(", \"loss\": %.9g}\n", m.loss);
    fflush(stdout);
    return TN_OK;
}

static tn_context_stats statistics(const training *t) {
    tn_context_stats s;
    tn_context_statistics(t->context, &s);
    return s;
}

static void print_kernels(const training *t, double steps) {
    static tn_kernel_time k[MAX_KERNELS];
    int count = tn_context_kernel_times(t->context, k, MAX_KERNELS);
    printf("{\"kernels\": [");
    for (int i = 0; i < count && i < MAX_KERNELS; i++)
        printf("%s{\"name\": \"%s\", \"runs\": %g, \"ms\": %.6g, \"flops\": %.6g, "
               "\"bytes\": %.6g, \"parallel\": %s}",
               i ? ", " : "", k[i].name, (double)k[i].runs / steps, k[i].seconds * 1e3 / steps,
               k[i].flops, k[i].bytes, k[i].parallel ? "true" : "false");
    printf("], \"bytes\": %" PRIu64 ", \"temporary_bytes\": %" PRIu64 "}\n",
           statistics(t).peak_bytes, statistics(t).temporary_bytes);
    fflush(stdout);
}

static tn_status profile(const training *t, double length, tn_error *err) {
    double loss, end = steady_seconds() + length;
    int steps = 0;
    TN_TRY(err, step(t, &loss, err), "while warming up");
    tn_context_profile(t->context, true);
    for (; steps < LEAST_RUNS || steady_seconds() < end; steps++)
        TN_TRY(err, step(t, &loss, err), "while measuring");
    tn_context_profile(t->context, false);
    print_kernels(t, steps);
    return TN_OK;
}

static tn_status answer(const training *t, const char *line, tn_error *err) {
    double length;
    if (sscanf(line, "profile %lf", &length) == 1) return profile(t, length, err);
    return measure(t, atof(line), err);
}

static tn_status work(training *t, const char *path, int threads, tn_error *err) {
    char line[64];
    TN_TRY(err, start(t, threads, err), "while making the step");
    TN_TRY(err, save_start(t, path, err), "while saving the start");
    TN_TRY(err, first_steps(t, err), "while training");
    while (fgets(line, sizeof line, stdin)) TN_TRY(err, answer(t, line, err), "while training");
    return TN_OK;
}

int main(int argc, char **argv) {
    tn_error err = TN_ERROR_INIT;
    training t = {0};
    for (int i = 0; argc == 4 && i < train_case_count; i++)
        if (strcmp(argv[1], train_cases[i].name) == 0) t.what = &train_cases[i];
    if (!t.what) {
        fprintf(stderr, "usage: train_steps MODEL FILE THREADS, where MODEL is one of:\n");
        for (int i = 0; i < train_case_count; i++) fprintf(stderr, "    %s\n", train_cases[i].name);
        return 2;
    }
    tn_status status = work(&t, argv[2], atoi(argv[3]), &err);
    tn_train_step_release(t.step);
    tn_module_release(t.module);
    tn_context_release(t.context);
    free(t.batch[0].data);
    free(t.batch[1].data);
    return status == TN_OK ? EXIT_SUCCESS : steady_fail(&err);
}
