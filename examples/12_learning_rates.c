/* Looks for a learning rate: 32 of them in one run, which is one program.
 *
 *   $ build/examples/12_learning_rates [FOLDER [PICTURE.svg]]
 *
 * FOLDER holds all_images.npy and all_labels.npy. All members begin with the same weights (their seeds are
 * equal) and see the same batches, so the rate alone tells them apart. A rate that is too high makes
 * numbers of that member infinite; it is left as it is then, and the others do not notice. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <tenon/population.h>

#include "digits.h"

enum { MEMBERS = 32, BATCH = 64, EPOCHS = 12 };
static const double LOWEST = 3e-3, HIGHEST = 10;

static tn_tensor *loss(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    tn_tensor *x = tn_relu(tn_linear(m, "hidden", batch[0], 64));
    return tn_cross_entropy(tn_linear(m, "out", x, CLASSES), batch[1]);
}

static void held_out_loss(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    y[0] = loss(context, m, x);
}

/* The loss of each member on digits that none was trained on. */
static tn_status evaluate(tn_context *c, tn_population *p, const digits *d, float out[MEMBERS],
                          tn_error *err) {
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *all,
        *x[] = {tn_tensor_from(c, TN_f32, TN_SHAPE(HELD_OUT, PIXELS), d->image[TRAINED]),
                tn_tensor_from(c, TN_i32, TN_SHAPE(HELD_OUT), &d->label[TRAINED])};
    tn_population_call call = TN_POPULATION_CALL_INIT;
    call.fn = held_out_loss, call.x = x, call.x_count = 2, call.y_count = 1;
    call.shared = (bool[]){true, true};
    tn_population_apply(p, &call, &all);
    tn_status status = tn_read(all, out, MEMBERS * sizeof *out, err);
    tn_scope_close(scope);
    return status;
}

static double height_of(double loss) {
    const double low = 0.25, high = 4; /* the picture's, on a logarithmic scale */
    return log(fmin(fmax(loss, low), high) / low) / log(high / low);
}

/* Curves of the loss, of low rates in blue, of high ones in red. */
static tn_status draw(const char *path, float curve[EPOCHS][MEMBERS], tn_error *err) {
    enum { WIDTH = 640, HEIGHT = 400, EDGE = 40 };
    static const double marks[] = {0.25, 0.5, 1, 2, 4};
    FILE *f = fopen(path, "w");
    if (!f) return tn_error_set(err, TN_IO, "%s: cannot be written", path);
    fprintf(f, "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' font-size='12'>\n",
            WIDTH + 2 * EDGE, HEIGHT + 2 * EDGE);
    fprintf(f, "<text x='%d' y='20'>loss on held-out digits, rates %g (blue) to %g (red)</text>\n",
            EDGE, LOWEST, HIGHEST);
    for (int i = 0; i < 5; i++)
        fprintf(f, "<text x='8' y='%.0f'>%g</text>\n", EDGE + HEIGHT * (1 - height_of(marks[i])),
                marks[i]);
    for (int m = 0; m < MEMBERS; m++) {
        fprintf(f, "<polyline fill='none' stroke='hsl(%d 80%% 50%%)' points='",
                240 - 240 * m / (MEMBERS - 1));
        for (int e = 0; e < EPOCHS && isfinite(curve[e][m]); e++)
            fprintf(f, "%d,%.1f ", EDGE + WIDTH * e / (EPOCHS - 1),
                    EDGE + HEIGHT * (1 - height_of((double)curve[e][m])));
        fprintf(f, "'/>\n");
    }
    fprintf(f, "</svg>\n");
    return fclose(f) == 0 ? TN_OK : tn_error_set(err, TN_IO, "%s: cannot be written", path);
}

static double rate_of(int m) {
    return LOWEST * pow(HIGHEST / LOWEST, (double)m / (MEMBERS - 1));
}

static tn_status train(tn_context *c, tn_population *p, digits *d, float curve[EPOCHS][MEMBERS],
                       tn_error *err) {
    tn_buffer batch[2] = {{.dtype = TN_f32, .rank = 2, .dim = {BATCH, PIXELS}},
                          {.dtype = TN_i32, .rank = 1, .dim = {BATCH}}};
    tn_population_train_options o = TN_POPULATION_TRAIN_OPTIONS_INIT;
    tn_population_step *step;
    o.population = p, o.train.loss = loss, o.train.batch = batch, o.train.batch_count = 2;
    o.train.optimizer = (tn_optimizer_options)TN_SGD_INIT;
    TN_CHECK(tn_population_step_compile(&o, &step, err));
    tn_status status = TN_OK;
    for (int m = 0; m < MEMBERS && status == TN_OK; m++)
        status = tn_population_step_set(step, TN_SETTING_RATE, m, rate_of(m), err);
    for (int e = 0; e < EPOCHS && status == TN_OK; e++) {
        for (int i = 0; i + BATCH <= TRAINED && status == TN_OK; i += BATCH) {
            batch[0].data = d->image[i], batch[1].data = &d->label[i];
            status = tn_population_step_run(step, batch, 1, NULL, err);
        }
        if (status == TN_OK) status = evaluate(c, p, d, curve[e], err);
    }
    tn_population_step_release(step);
    return status;
}

static tn_status search(const char *folder, const char *picture, tn_error *err) {
    static digits d;
    static float curve[EPOCHS][MEMBERS];
    static const uint64_t seeds[MEMBERS]; /* all the same */
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    tn_context *c;
    tn_population *p = NULL;
    TN_CHECK(digits_load(folder, false, &d, err));
    TN_CHECK(tn_context_create(NULL, &c, err));
    o.members = MEMBERS, o.seeds = seeds;
    tn_status status = tn_population_create(c, &o, &p, err);
    if (status == TN_OK) status = train(c, p, &d, curve, err);
    if (status == TN_OK && picture) status = draw(picture, curve, err);
    tn_population_release(p);
    tn_context_release(c);
    int best = 0;
    for (int m = 0; m < MEMBERS && status == TN_OK; m++) {
        float last = curve[EPOCHS - 1][m];
        if (m % 4 == 0) printf("rate %-8.2g loss %.3f\n", rate_of(m), last);
        if (last < curve[EPOCHS - 1][best] || isnan(curve[EPOCHS - 1][best])) best = m;
    }
    if (status == TN_OK)
        printf("the best of %d rates is %.2g: loss %.3f after %d epochs\n", MEMBERS, rate_of(best),
               curve[EPOCHS - 1][best], EPOCHS);
    return status;
}

int main(int count, char **arguments) {
    tn_error err = TN_ERROR_INIT;
    const char *folder = count > 1 ? arguments[1] : "examples/digits";
    if (search(folder, count > 2 ? arguments[2] : NULL, &err) == TN_OK) return EXIT_SUCCESS;
    char text[4096];
    tn_error_format(&err, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    return EXIT_FAILURE;
}
