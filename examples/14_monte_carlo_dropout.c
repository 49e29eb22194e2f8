/* One network that says how sure it is: Monte Carlo dropout (Gal, Ghahramani 2016).
 *
 *   $ build/examples/14_monte_carlo_dropout [FOLDER]     FOLDER holds all_images.npy and all_labels.npy
 *
 * A network that was trained with dropout keeps it when it is used, and answers 50 times, each time with other
 * masks. These are the members of a population that shares one module's parameters: what lies before the
 * first mask is computed once, behind it the members are further rows of the same products. Where the
 * answers differ the network does not know, and may ask somebody else. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <tenon/population.h>

#include "digits.h"

enum { MASKS = 50, BATCH = 32, EPOCHS = 4 };

/* ---- the network ---------------------------------------------------------------------------- */

static tn_tensor *network(tn_module *m, tn_tensor *x) {
    x = tn_reshape(x, TN_SHAPE(-1, 1, SIDE, SIDE));
    x = tn_conv2d(m, "conv", x, 16, .kernel = 3, .padding = 1, .no_bias = true);
    x = tn_max_pool(tn_relu(tn_batch_norm(m, "norm", x)), .kernel = 2);
    x = tn_reshape(x, TN_SHAPE(-1, 16 * 4 * 4));
    x = tn_relu(tn_linear(m, "hidden", tn_dropout(m, "dropout1", x, 0.25), 64));
    return tn_linear(m, "out", tn_dropout(m, "dropout2", x, 0.5), CLASSES);
}

static tn_tensor *loss(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    return tn_cross_entropy(network(m, batch[0]), batch[1]);
}

static void probabilities(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)context;
    y[0] = tn_softmax(network(m, x[0]), -1);
}

static tn_status train(tn_module *m, digits *d, tn_error *err) {
    tn_buffer batch[] = {{.dtype = TN_f32, .rank = 2, .dim = {BATCH, PIXELS}},
                         {.dtype = TN_i32, .rank = 1, .dim = {BATCH}}};
    tn_train_options o = TN_TRAIN_OPTIONS_INIT;
    tn_train_step *step;
    o.module = m, o.loss = loss, o.batch = batch, o.batch_count = 2;
    TN_CHECK(tn_train_step_compile(&o, &step, err));
    tn_status status = TN_OK;
    for (int i = 0; i < EPOCHS * TRAINED / BATCH && status == TN_OK; i++) {
        int first = i % (TRAINED / BATCH) * BATCH;
        batch[0].data = d->image[first], batch[1].data = &d->label[first];
        status = tn_train_step_run(step, batch, 3e-3, NULL, err);
    }
    tn_train_step_release(step);
    return status;
}

/* ---- asking --------------------------------------------------------------------------------- */

typedef struct answer {
    int64_t class;
    float doubt; /* what the masks disagree about, in bits */
    bool right;
} answer;

static tn_tensor *entropy(tn_tensor *p) {
    tn_tensor *bits = tn_mul_scalar(tn_log(tn_maximum_scalar(p, 1e-30)), -1.4426950408889634);
    return tn_sum(tn_mul(p, bits), TN_AXES(-1), false);
}

/* The mean of all answers; the doubt is its entropy less the mean entropy of an answer. */
static tn_status ask(tn_population *p, float (*image)[PIXELS], const int32_t *label, answer *out,
                     tn_error *err) {
    tn_context *c = tn_module_context(tn_population_module(p));
    int64_t class[HELD_OUT];
    float doubt[HELD_OUT];
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_tensor_from(c, TN_f32, TN_SHAPE(HELD_OUT, PIXELS), image), *each;
    tn_population_call call = TN_POPULATION_CALL_INIT;
    call.fn = probabilities;
    call.x = &x, call.shared = (bool[]){true}, call.x_count = 1, call.y_count = 1;
    tn_population_apply(p, &call, &each); /* [MASKS, HELD_OUT, CLASSES] */
    tn_tensor *mean = tn_mean(each, TN_AXES(0), false);
    tn_tensor *between = tn_sub(entropy(mean), tn_mean(entropy(each), TN_AXES(0), false));
    tn_tensor *best = tn_argmax(mean, -1, false);
    tn_status status = tn_read(best, class, sizeof class, err);
    if (status == TN_OK) status = tn_read(between, doubt, sizeof doubt, err);
    tn_scope_close(scope);
    for (int i = 0; i < HELD_OUT && status == TN_OK; i++)
        out[i] = (answer){class[i], doubt[i], class[i] == label[i]};
    return status;
}

static int by_doubt(const void *a, const void *b) {
    const answer *x = a, *y = b;
    return (x->doubt > y->doubt) - (x->doubt < y->doubt);
}

static double mean_doubt(const answer *a) {
    double sum = 0;
    for (int i = 0; i < HELD_OUT; i++) sum += (double)a[i].doubt;
    return sum / HELD_OUT;
}

/* Digits that it hands to somebody else, and how it reads the rest. */
static void print_refusals(answer *a) {
    static const int percent[] = {0, 5, 10, 20, 30};
    qsort(a, HELD_OUT, sizeof *a, by_doubt);
    printf("most doubtful digits left out   read wrongly, of the others\n");
    for (int i = 0; i < 5; i++) {
        int kept = HELD_OUT - HELD_OUT * percent[i] / 100, wrong = 0;
        for (int k = 0; k < kept; k++) wrong += !a[k].right;
        printf("%26d %% %9d of %d\n", percent[i], wrong, kept);
    }
}

static tn_status show(tn_population *p, digits *d, tn_error *err) {
    static float noise[HELD_OUT][PIXELS];
    static answer known[HELD_OUT], none[HELD_OUT];
    for (int i = 0; i < HELD_OUT; i++)
        for (int k = 0; k < PIXELS; k++) noise[i][k] = (float)rand() / (float)RAND_MAX;
    TN_CHECK(ask(p, d->image + TRAINED, d->label + TRAINED, known, err));
    TN_CHECK(ask(p, noise, d->label + TRAINED, none, err));
    print_refusals(known);
    printf("\n%d answers differ by %.3f bits on digits, by %.3f on noise\n", MASKS,
           mean_doubt(known), mean_doubt(none));
    return TN_OK;
}

static tn_status ask_module(tn_module *m, digits *d, tn_error *err) {
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    tn_population *p;
    o.members = MASKS, o.shared_parameters = true;
    TN_CHECK(tn_population_from(&m, 1, &o, &p, err));
    /* Batch norm is as in evaluation, dropout as in training. */
    tn_module_set_training(tn_module_child(tn_population_module(p), "norm"), false);
    tn_status status = show(p, d, err);
    tn_population_release(p);
    return status;
}

static tn_status run(tn_context *c, digits *d, tn_error *err) {
    tn_module *m;
    TN_CHECK(tn_module_create(c, NULL, &m, err));
    tn_status status = train(m, d, err);
    if (status == TN_OK) status = ask_module(m, d, err);
    tn_module_release(m);
    return status;
}

int main(int count, char **arguments) {
    static digits d;
    tn_error err = TN_ERROR_INIT;
    tn_context *c = NULL;
    tn_status status = digits_load(count > 1 ? arguments[1] : "examples/digits", false, &d, &err);
    if (status == TN_OK) status = tn_context_create(NULL, &c, &err);
    if (status == TN_OK) status = run(c, &d, &err);
    if (c) tn_context_release(c);
    if (status == TN_OK) return EXIT_SUCCESS;
    char text[4096];
    tn_error_format(&err, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    return EXIT_FAILURE;
}
