/* Trains 20 networks that read handwritten digits as one program, and asks them how sure they are.
 *
 *   $ build/examples/11_ensemble [FOLDER]     FOLDER holds all_images.npy and all_labels.npy
 *
 * Each network has weights of its own and sees samples of its own (bagging; Breiman 1996). The mean of their
 * answers is better than most of them, and where they disagree the ensemble does not know: on digits that
 * are pushed aside, and on noise, which nobody trained them on. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <tenon/population.h>

#include "digits.h"

enum { MEMBERS = 20, BATCH = 32, STEPS = 400 };

/* ---- one member ----------------------------------------------------------------------------- */

static tn_tensor *network(tn_module *m, tn_tensor *x) {
    x = tn_dropout(m, "dropout", tn_relu(tn_linear(m, "hidden", x, 32)), 0.1);
    return tn_linear(m, "out", x, CLASSES);
}

static tn_tensor *loss(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    return tn_cross_entropy(network(m, batch[0]), batch[1]);
}

static void probabilities(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)context;
    y[0] = tn_softmax(network(m, x[0]), -1);
}

/* ---- training ------------------------------------------------------------------------------- */

/* Every member draws samples of its own. */
static void draw(const digits *d, float image[MEMBERS][BATCH][PIXELS],
                 int32_t label[MEMBERS][BATCH]) {
    for (int m = 0; m < MEMBERS; m++)
        for (int i = 0; i < BATCH; i++) {
            int k = rand() % TRAINED;
            for (int p = 0; p < PIXELS; p++) image[m][i][p] = d->image[k][p];
            label[m][i] = d->label[k];
        }
}

static tn_status train(tn_population *p, const digits *d, tn_error *err) {
    static float image[MEMBERS][BATCH][PIXELS];
    static int32_t label[MEMBERS][BATCH];
    tn_buffer batch[] = {
        {.dtype = TN_f32, .rank = 3, .dim = {MEMBERS, BATCH, PIXELS}, .data = image},
        {.dtype = TN_i32, .rank = 2, .dim = {MEMBERS, BATCH}, .data = label}};
    bool shared[] = {false, false};
    tn_population_train_options o = TN_POPULATION_TRAIN_OPTIONS_INIT;
    tn_population_step *step;
    o.population = p, o.shared = shared;
    o.train.loss = loss, o.train.batch = batch, o.train.batch_count = 2;
    TN_CHECK(tn_population_step_compile(&o, &step, err));
    tn_status status = TN_OK;
    for (int i = 0; i < STEPS && status == TN_OK; i++) {
        draw(d, image, label);
        status = tn_population_step_run(step, batch, 5e-3, NULL, err);
    }
    tn_population_step_release(step);
    return status;
}

/* ---- asking --------------------------------------------------------------------------------- */

/* What the ensemble says of an image: the class, its entropy in bits, and of that what comes from the
 * members' disagreement: the entropy of their mean less the mean of their entropies. */
typedef struct answers {
    int64_t class[HELD_OUT], vote[MEMBERS][HELD_OUT];
    float entropy[HELD_OUT], disagreement[HELD_OUT];
} answers;

static tn_tensor *entropy(tn_tensor *p) {
    tn_tensor *bits = tn_mul_scalar(tn_log(tn_maximum_scalar(p, 1e-30)), -1.4426950408889634);
    return tn_sum(tn_mul(p, bits), TN_AXES(-1), false);
}

static tn_status ask(tn_population *p, float image[HELD_OUT][PIXELS], answers *out, tn_error *err) {
    tn_context *c = tn_module_context(tn_population_module(p));
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_tensor_from(c, TN_f32, TN_SHAPE(HELD_OUT, PIXELS), image), *each;
    tn_population_call call = TN_POPULATION_CALL_INIT;
    call.fn = probabilities;
    call.x = &x, call.shared = (bool[]){true}, call.x_count = 1, call.y_count = 1;
    tn_population_apply(p, &call, &each); /* [MEMBERS, HELD_OUT, CLASSES] */
    tn_tensor *mean = tn_mean(each, TN_AXES(0), false), *bits = entropy(mean);
    tn_tensor *between = tn_sub(bits, tn_mean(entropy(each), TN_AXES(0), false));
    tn_tensor *class = tn_argmax(mean, -1, false), *vote = tn_argmax(each, -1, false);
    tn_status status = tn_read(class, out->class, sizeof out->class, err);
    if (status == TN_OK) status = tn_read(vote, out->vote, sizeof out->vote, err);
    if (status == TN_OK) status = tn_read(bits, out->entropy, sizeof out->entropy, err);
    if (status == TN_OK)
        status = tn_read(between, out->disagreement, sizeof out->disagreement, err);
    tn_scope_close(scope);
    return status;
}

/* ---- showing -------------------------------------------------------------------------------- */

static void print_accuracy(const answers *a, const int32_t *label) {
    int all = 0, least = HELD_OUT, most = 0, sum = 0;
    for (int i = 0; i < HELD_OUT; i++) all += a->class[i] == label[i];
    for (int m = 0; m < MEMBERS; m++) {
        int right = 0;
        for (int i = 0; i < HELD_OUT; i++) right += a->vote[m][i] == label[i];
        sum += right;
        if (right < least) least = right;
        if (right > most) most = right;
    }
    printf("of %d digits read rightly: %d by the worst member, %.1f on average, %d by the best, "
           "%d by all together\n",
           HELD_OUT, least, (double)sum / MEMBERS, most, all);
}

static void print_uncertainty(const char *what, const answers *a) {
    double bits = 0, between = 0;
    for (int i = 0; i < HELD_OUT; i++) bits += a->entropy[i], between += a->disagreement[i];
    printf("%-24s %10.3f %14.3f\n", what, bits / HELD_OUT, between / HELD_OUT);
}

static void print_digit(const char *what, const float *image, const answers *a, int i) {
    int votes[CLASSES] = {0};
    for (int m = 0; m < MEMBERS; m++) votes[a->vote[m][i]]++;
    printf("\n%s: %.2f bits, %.2f of them disagreement; votes", what, (double)a->entropy[i],
           (double)a->disagreement[i]);
    for (int k = 0; k < CLASSES; k++)
        if (votes[k]) printf("  %d: %d", k, votes[k]);
    for (int y = 0; y < SIDE; y++) {
        printf("\n    ");
        for (int x = 0; x < SIDE; x++) {
            char ink = " .:-=+*#%@"[(int)(image[y * SIDE + x] * 9)];
            printf("%c%c", ink, ink);
        }
    }
    printf("\n");
}

static int most_uncertain(const answers *a) {
    int best = 0;
    for (int i = 1; i < HELD_OUT; i++)
        if (a->disagreement[i] > a->disagreement[best]) best = i;
    return best;
}

static tn_status show(tn_population *p, digits *d, tn_error *err) {
    static float aside[HELD_OUT][PIXELS], noise[HELD_OUT][PIXELS];
    static answers known, moved, none;
    float(*image)[PIXELS] = d->image + TRAINED;
    for (int i = 0; i < HELD_OUT; i++)
        for (int k = 0; k < PIXELS; k++) {
            aside[i][k] = k % SIDE < 3 ? 0 : image[i][k - 3];
            noise[i][k] = (float)rand() / (float)RAND_MAX;
        }
    tn_module_set_training(tn_population_module(p), false);
    TN_CHECK(ask(p, image, &known, err));
    TN_CHECK(ask(p, aside, &moved, err));
    TN_CHECK(ask(p, noise, &none, err));
    print_accuracy(&known, d->label + TRAINED);
    printf("\nbits of uncertainty         entropy   disagreement\n");
    print_uncertainty("digits it has not seen", &known);
    print_uncertainty("digits pushed aside", &moved);
    print_uncertainty("noise", &none);
    int hard = most_uncertain(&known);
    print_digit("an easy digit", image[0], &known, 0);
    print_digit("the hardest one", image[hard], &known, hard);
    print_digit("one pushed aside", aside[0], &moved, 0);
    return TN_OK;
}

static tn_status run(tn_context *c, digits *d, tn_error *err) {
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    tn_population *p;
    o.members = MEMBERS, o.seed = 1;
    TN_CHECK(tn_population_create(c, &o, &p, err));
    tn_status status = train(p, d, err);
    if (status == TN_OK) status = show(p, d, err);
    tn_population_release(p);
    return status;
}

int main(int count, char **arguments) {
    static digits d;
    tn_error err = TN_ERROR_INIT;
    tn_context *c = NULL;
    tn_status status = digits_load(count > 1 ? arguments[1] : "examples/digits", true, &d, &err);
    if (status == TN_OK) status = tn_context_create(NULL, &c, &err);
    if (status == TN_OK) status = run(c, &d, &err);
    if (c) tn_context_release(c);
    if (status == TN_OK) return EXIT_SUCCESS;
    char text[4096];
    tn_error_format(&err, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    return EXIT_FAILURE;
}
