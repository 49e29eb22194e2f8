/* Where the time of a training step goes.
 *
 * A step is one program of a few kernels, each of several operations. tn_context_profile times them, and
 * tn_context_kernel_times lists them, slowest first, with the arithmetic that they do and the memory that
 * they move: what is far from both of the machine's limits (tenon doctor --measure) is worth a look.
 *
 *   10_profiling [THREADS]  (all cores without) */
#include <stdio.h>
#include <stdlib.h>
#include <tenon/train.h>
#include <time.h>

enum { BATCH = 32, SIZE = 32, CHANNELS = 3, CLASSES = 10, STEPS = 20, KERNELS = 256, SHOWN = 12 };

/* ---- something to measure ------------------------------------------------------------------- */

static tn_tensor *stage(tn_module *m, tn_tensor *x, int64_t channels, int stride) {
    x = tn_conv2d(m, "conv", x, channels, .kernel = 3, .stride = stride, .padding = 1,
                  .no_bias = true);
    return tn_relu(tn_batch_norm(m, "norm", x));
}

static tn_tensor *loss(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *x = batch[0];
    for (int i = 0; i < 3; i++)
        x = stage(tn_module_child(m, "stage%d", i), x, 16 << i, 1 + (i > 0));
    x = tn_linear(m, "out", tn_mean(x, TN_AXES(2, 3), false), CLASSES);
    return tn_scope_return(scope, tn_cross_entropy(x, batch[1]));
}

/* ---- measuring ------------------------------------------------------------------------------ */

static double now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static tn_status run_steps(tn_train_step *step, const tn_buffer *batch, int count, double *seconds,
                           tn_error *err) {
    double begin = now();
    for (int i = 0; i < count; i++)
        TN_TRY(err, tn_train_step_run(step, batch, 1e-3, NULL, err), "step %d", i);
    *seconds = (now() - begin) / count;
    return TN_OK;
}

/* Times are of all launches together, FLOPs and bytes of one. */
static void print_kernel(const tn_kernel_time *k) {
    double runs = (double)k->runs, ms = k->seconds * 1e3 / STEPS;
    printf("%8.3f ms %8.1f GFLOP/s %7.1f GB/s  %s%s\n", ms, k->flops * runs / k->seconds * 1e-9,
           k->bytes * runs / k->seconds * 1e-9, k->name, k->parallel ? "" : "  (one thread)");
}

static tn_status measure(tn_context *c, tn_train_step *step, const tn_buffer *batch,
                         tn_error *err) {
    static tn_kernel_time kernel[KERNELS];
    tn_context_stats stats;
    double first, each, inside = 0, flops = 0;
    TN_TRY(err, run_steps(step, batch, 1, &first, err), "while compiling");
    TN_TRY(err, run_steps(step, batch, 3, &each, err), "while warming up");
    tn_context_profile(c, true); /* from here on */
    TN_TRY(err, run_steps(step, batch, STEPS, &each, err), "while measuring");
    int count = tn_context_kernel_times(c, kernel, KERNELS);
    tn_context_profile(c, false);
    if (count > KERNELS) count = KERNELS;
    for (int i = 0; i < count; i++) {
        inside += kernel[i].seconds / STEPS;
        flops += kernel[i].flops * (double)kernel[i].runs / STEPS;
    }
    printf("first step, with the compile: %.1f ms; then %.3f ms a step, of which %.3f ms in %d "
           "kernels\n",
           first * 1e3, each * 1e3, inside * 1e3, count);
    for (int i = 0; i < count && i < SHOWN; i++) print_kernel(&kernel[i]);
    if (count > SHOWN) printf("         … and %d more\n", count - SHOWN);
    tn_context_statistics(c, &stats);
    printf("%.1f MFLOP a step, %.1f GFLOP/s; %.1f MB of parameters, state and data at most, %.1f "
           "MB of "
           "activations\n",
           flops * 1e-6, flops / each * 1e-9, (double)stats.peak_bytes * 1e-6,
           (double)stats.temporary_bytes * 1e-6);
    return TN_OK;
}

/* ---- all together --------------------------------------------------------------------------- */

static tn_status profile(tn_context *c, tn_error *err) {
    static float image[BATCH * CHANNELS * SIZE * SIZE];
    static int32_t label[BATCH];
    tn_train_options o = TN_TRAIN_OPTIONS_INIT;
    tn_train_step *step;
    tn_module *m;
    for (size_t i = 0; i < sizeof image / sizeof *image; i++)
        image[i] = (float)(i * 37 % 101) / 101;
    for (int i = 0; i < BATCH; i++) label[i] = i % CLASSES;
    tn_buffer batch[2] = {
        {.dtype = TN_f32, .rank = 4, .dim = {BATCH, CHANNELS, SIZE, SIZE}, .data = image},
        {.dtype = TN_i32, .rank = 1, .dim = {BATCH}, .data = label}};
    TN_TRY(err, tn_module_create(c, NULL, &m, err), "while making the network");
    o.module = m;
    o.loss = loss;
    o.batch = batch;
    o.batch_count = 2;
    tn_status status = tn_train_step_compile(&o, &step, err);
    if (status == TN_OK) status = measure(c, step, batch, err);
    tn_train_step_release(step);
    tn_module_release(m);
    return status;
}

int main(int count, char **arguments) {
    tn_error err = TN_ERROR_INIT;
    tn_context_options o = TN_CONTEXT_OPTIONS_INIT;
    tn_context *c = NULL;
    o.compile.threads = count > 1 ? atoi(arguments[1]) : 0;
    tn_status status = tn_context_create(&o, &c, &err);
    if (status == TN_OK) status = profile(c, &err);
    tn_context_release(c);
    if (status == TN_OK) return EXIT_SUCCESS;
    char text[4096];
    tn_error_format(&err, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    return EXIT_FAILURE;
}
