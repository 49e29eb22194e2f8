/* Tenon's side of the training in bench_wide.py: N members of a perceptron 64-128-64, each with a learning rate of
 * its own, as one step, or one step after another.
 *
 *     wide_train FOLDER THREADS wide|loop sgd|adam
 *
 * FOLDER has start.bin, the parameters member by member, and batch.bin, x and target, which all members have. Answers
 * as wide_steps does; "members N" takes FIRST_STEPS steps, and the results are the parameters after them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/population.h>

#include "steady.h"

enum { ROWS = 32, IN = 64, HIDDEN = 128, OUT = 64, FIRST_STEPS = 50, LEAST_RUNS = 3, MOST = 1000 };
enum { PARAMETERS = 4, ELEMENTS = HIDDEN * IN + HIDDEN + OUT * HIDDEN + OUT };
#define WARM_UP_SECONDS 0.1
#define EPSILON         1e-6 /* of Adam; see wide_train_peers.py */

static const struct {
    const char *name;
    int rank;
    int64_t dim[2];
} parameters[PARAMETERS] = {
    {"fc1.weight", 2, {HIDDEN, IN}},
    {"fc1.bias", 1, {HIDDEN}},
    {"fc2.weight", 2, {OUT, HIDDEN}},
    {"fc2.bias", 1, {OUT}},
};

typedef struct bench {
    const char *folder, *mode;
    bool together, adam;
    int count;
    float *start, *numbers; /* [count][ELEMENTS]; read and written */
    float x[ROWS * IN], target[ROWS * OUT];
    tn_buffer batch[2];
    tn_context *context;
    tn_population *population;
    tn_population_step *step;
    tn_module *module[MOST];
    tn_train_step *each[MOST];
    tn_train_metrics metrics[MOST];
} bench;

static tn_tensor *loss(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *y = tn_linear(m, "fc2", tn_relu(tn_linear(m, "fc1", batch[0], HIDDEN)), OUT);
    return tn_scope_return(scope, tn_mse_loss(y, batch[1]));
}

/* Learning rates of the members, from low to high in equal factors. */
static double rate_of(const bench *b, int i, int count) {
    double low = b->adam ? 1e-4 : 1e-3, factor = 100;
    return low * pow(factor, count > 1 ? (double)i / (count - 1) : 0);
}

static tn_train_options options_of(bench *b) {
    tn_train_options o = TN_TRAIN_OPTIONS_INIT;
    tn_optimizer_options sgd = TN_SGD_INIT, adam = TN_ADAM_INIT;
    adam.epsilon = EPSILON;
    o.loss = loss;
    o.batch = b->batch;
    o.batch_count = 2;
    o.optimizer = b->adam ? adam : sgd;
    return o;
}

/* ---- parameters ------------------------------------------------------------------------------- */

static int64_t elements_of(int p) {
    return parameters[p].dim[0] * (parameters[p].rank == 2 ? parameters[p].dim[1] : 1);
}

/* Members' numbers of parameter p, which begin at `offset` of each, side by side; or back. */
static void gather(bench *b, float *all, float *side, int64_t offset, int p, bool back) {
    size_t size = sizeof(float) * (size_t)elements_of(p);
    for (int i = 0; i < b->count; i++) {
        float *member = all + i * (int64_t)ELEMENTS + offset, *own = side + i * elements_of(p);
        memcpy(back ? member : own, back ? own : member, size);
    }
}

static tn_status move_population(bench *b, bool back, tn_error *err) {
    int64_t offset = 0;
    for (int p = 0; p < PARAMETERS; offset += elements_of(p++)) {
        tn_tensor *x = tn_population_tensor(b->population, parameters[p].name);
        int64_t dim[3] = {b->count, parameters[p].dim[0], parameters[p].dim[1]};
        size_t size = sizeof(float) * (size_t)(b->count * elements_of(p));
        if (back) TN_TRY(err, tn_read(x, b->numbers, size, err), "of %s", parameters[p].name);
        gather(b, b->start, b->numbers, offset, p, back);
        if (back) continue;
        tn_tensor *from =
            tn_tensor_from(b->context, TN_f32, parameters[p].rank + 1, dim, b->numbers);
        tn_assign(x, from);
        tn_release(from);
    }
    return TN_OK;
}

static tn_status move_module(bench *b, int i, bool back, tn_error *err) {
    float *at = b->start + i * (int64_t)ELEMENTS;
    for (int p = 0; p < PARAMETERS; at += elements_of(p++)) {
        tn_tensor *x = tn_module_find(b->module[i], parameters[p].name);
        size_t size = sizeof(float) * (size_t)elements_of(p);
        if (back) {
            TN_TRY(err, tn_read(x, at, size, err), "of %s", parameters[p].name);
            continue;
        }
        tn_tensor *from =
            tn_tensor_from(b->context, TN_f32, parameters[p].rank, parameters[p].dim, at);
        tn_assign(x, from);
        tn_release(from);
    }
    return TN_OK;
}

/* ---- members -------------------------------------------------------------------------------- */

static void close_members(bench *b) {
    tn_population_step_release(b->step);
    tn_population_release(b->population);
    b->step = NULL;
    b->population = NULL;
    for (int i = 0; i < MOST; i++) {
        tn_train_step_release(b->each[i]);
        tn_module_release(b->module[i]);
        b->each[i] = NULL;
        b->module[i] = NULL;
    }
}

static tn_status open_wide(bench *b, tn_error *err) {
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    tn_population_train_options t = TN_POPULATION_TRAIN_OPTIONS_INIT;
    o.members = b->count;
    TN_TRY(err, tn_population_create(b->context, &o, &b->population, err), "while opening");
    t.population = b->population;
    t.train = options_of(b);
    TN_TRY(err, tn_population_step_compile(&t, &b->step, err), "while opening");
    for (int i = 0; i < b->count; i++)
        TN_TRY(err,
               tn_population_step_set(b->step, TN_SETTING_RATE, i, rate_of(b, i, b->count), err),
               "of member %d", i);
    return move_population(b, false, err);
}

static tn_status open_loop(bench *b, tn_error *err) {
    for (int i = 0; i < b->count; i++) {
        tn_train_options o = options_of(b);
        TN_TRY(err, tn_module_create(b->context, NULL, &b->module[i], err), "of member %d", i);
        o.module = b->module[i];
        TN_TRY(err, tn_train_step_compile(&o, &b->each[i], err), "of member %d", i);
        TN_TRY(err, move_module(b, i, false, err), "of member %d", i);
    }
    return TN_OK;
}

static tn_status step(void *context, tn_error *err) {
    bench *b = context;
    if (b->together) return tn_population_step_run(b->step, b->batch, 1, b->metrics, err);
    for (int i = 0; i < b->count; i++)
        TN_TRY(
            err,
            tn_train_step_run(b->each[i], b->batch, rate_of(b, i, b->count), &b->metrics[i], err),
            "of member %d", i);
    return TN_OK;
}

/* ---- answers -------------------------------------------------------------------------------- */

static tn_status read_file(const bench *b, const char *name, void *out, size_t size,
                           tn_error *err) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", b->folder, name);
    FILE *f = fopen(path, "rb");
    bool good = f && fread(out, size, 1, f) == 1;
    if (f) fclose(f);
    return good ? TN_OK : tn_error_set(err, TN_IO, "%s: has no %zu bytes", path, size);
}

static tn_status save_results(bench *b, tn_error *err) {
    char path[600];
    if (b->together) TN_TRY(err, move_population(b, true, err), "after the first steps");
    for (int i = 0; !b->together && i < b->count; i++)
        TN_TRY(err, move_module(b, i, true, err), "of member %d", i);
    snprintf(path, sizeof path, "%s/y-%s.bin", b->folder, b->mode);
    FILE *f = fopen(path, "wb");
    bool good =
        f && fwrite(b->start, sizeof(float) * ELEMENTS, (size_t)b->count, f) == (size_t)b->count;
    if (f) good = fclose(f) == 0 && good;
    return good ? TN_OK : tn_error_set(err, TN_IO, "%s: cannot be written", path);
}

static tn_status open_members(bench *b, int count, tn_error *err) {
    size_t size = sizeof(float) * ELEMENTS * (size_t)count;
    close_members(b);
    b->count = count;
    b->start = realloc(b->start, size);
    b->numbers = realloc(b->numbers, size);
    if (!b->start || !b->numbers) return tn_error_set(err, TN_OUT_OF_MEMORY, "%zu bytes", size);
    TN_TRY(err, read_file(b, "start.bin", b->start, size, err), "while opening");
    double begin = steady_seconds();
    TN_TRY(err, b->together ? open_wide(b, err) : open_loop(b, err), "in %s", b->folder);
    for (int i = 0; i < FIRST_STEPS; i++) TN_TRY(err, step(b, err), "in step %d", i);
    printf("{\"compile_s\": %.3f, \"how\": \"\"}\n", steady_seconds() - begin);
    return save_results(b, err);
}

static tn_status answer(bench *b, const char *line, tn_error *err) {
    int count;
    if (sscanf(line, "members %d", &count) == 1) {
        if (count < 1 || count > MOST)
            return tn_error_set(err, TN_INVALID, "members: 1 to %d", MOST);
        return open_members(b, count, err);
    }
    steady_options how = {.warm_up = WARM_UP_SECONDS, .length = atof(line), .least = LEAST_RUNS};
    printf("{");
    TN_TRY(err, steady_latency(step, b, how, err), "with %s", b->mode);
    printf("}\n");
    return TN_OK;
}

static tn_status work(bench *b, int threads, tn_error *err) {
    char line[64];
    float both[ROWS * (IN + OUT)];
    tn_context_options options = TN_CONTEXT_OPTIONS_INIT;
    options.compile.threads = threads;
    b->batch[0] = (tn_buffer){.dtype = TN_f32, .rank = 2, .dim = {ROWS, IN}, .data = b->x};
    b->batch[1] = (tn_buffer){.dtype = TN_f32, .rank = 2, .dim = {ROWS, OUT}, .data = b->target};
    TN_TRY(err, read_file(b, "batch.bin", both, sizeof both, err), "while beginning");
    memcpy(b->x, both, sizeof b->x);
    memcpy(b->target, both + ROWS * IN, sizeof b->target);
    TN_TRY(err, tn_context_create(&options, &b->context, err), "while beginning");
    while (fgets(line, sizeof line, stdin)) {
        TN_TRY(err, answer(b, line, err), "while training");
        fflush(stdout);
    }
    return TN_OK;
}

int main(int argc, char **argv) {
    static bench b;
    tn_error err = TN_ERROR_INIT;
    bool wide = argc == 5 && strcmp(argv[3], "wide") == 0;
    bool adam = argc == 5 && strcmp(argv[4], "adam") == 0;
    if (argc != 5 || (!wide && strcmp(argv[3], "loop") != 0) ||
        (!adam && strcmp(argv[4], "sgd") != 0)) {
        fprintf(stderr, "usage: wide_train FOLDER THREADS wide|loop sgd|adam\n");
        return 2;
    }
    b.folder = argv[1], b.mode = argv[3], b.together = wide, b.adam = adam;
    tn_status status = work(&b, atoi(argv[2]), &err);
    close_members(&b);
    tn_context_release(b.context);
    free(b.start);
    free(b.numbers);
    return status == TN_OK ? EXIT_SUCCESS : steady_fail(&err);
}
