/* Population-based training (Jaderberg et al. 2017): 16 networks learn side by side, the worse ones become
 * the better ones, and rate and momentum are disturbed on the way.
 *
 *   $ build/examples/13_population [FOLDER]     FOLDER holds all_images.npy and all_labels.npy
 *
 * What a run would have to guess, a schedule of the learning rate above all, the population finds while it
 * trains. Settings of members are data, and a member becomes another one by a copy: the program of the step
 * stays the same from the first step to the last. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <tenon/population.h>

#include "digits.h"

enum { MEMBERS = 16, BATCH = 64, ROUNDS = 10, EPOCHS = 2 /* of a round */ };

typedef struct run {
    digits data;
    tn_context *context;
    tn_population *population;
    tn_population_step *step;
    float loss[MEMBERS]; /* on digits that none was trained on */
    uint32_t draws;
} run;

static tn_tensor *loss(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    tn_tensor *x = tn_relu(tn_linear(m, "hidden", batch[0], 48));
    return tn_cross_entropy(tn_linear(m, "out", x, CLASSES), batch[1]);
}

static void held_out_loss(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    y[0] = loss(context, m, x);
}

static tn_status evaluate(run *r, tn_error *err) {
    const digits *d = &r->data;
    tn_scope *scope = tn_scope_open(r->context);
    tn_tensor *all,
        *x[] = {tn_tensor_from(r->context, TN_f32, TN_SHAPE(HELD_OUT, PIXELS), d->image[TRAINED]),
                tn_tensor_from(r->context, TN_i32, TN_SHAPE(HELD_OUT), &d->label[TRAINED])};
    tn_population_call call = TN_POPULATION_CALL_INIT;
    call.fn = held_out_loss, call.x = x, call.x_count = 2, call.y_count = 1;
    call.shared = (bool[]){true, true};
    tn_population_apply(r->population, &call, &all);
    tn_status status = tn_read(all, r->loss, sizeof r->loss, err);
    tn_scope_close(scope);
    return status;
}

/* ---- the population ------------------------------------------------------------------------- */

/* 0 … 1, the same in every run. */
static double draw(run *r) {
    r->draws = r->draws * 1664525u + 1013904223u;
    return (r->draws >> 8) * 0x1p-24;
}

static tn_status multiply(run *r, tn_member_setting what, int member, double by, double most,
                          tn_error *err) {
    double value;
    TN_CHECK(tn_population_step_setting(r->step, what, member, &value));
    return tn_population_step_set(r->step, what, member, fmin(value * by, most), err);
}

static const float *ranked;

static int by_loss(const void *a, const void *b) {
    float x = ranked[*(const int *)a], y = ranked[*(const int *)b];
    return isnan(x) - isnan(y) ? isnan(x) - isnan(y) : (x > y) - (x < y);
}

/* The worst quarter becomes the best one (exploit), with a rate and a momentum near theirs (explore). */
static tn_status select_members(run *r, tn_error *err) {
    int order[MEMBERS], from[MEMBERS];
    for (int m = 0; m < MEMBERS; m++) order[m] = from[m] = m;
    ranked = r->loss;
    qsort(order, MEMBERS, sizeof *order, by_loss);
    for (int i = 0; i < MEMBERS / 4; i++) from[order[MEMBERS - 1 - i]] = order[i];
    TN_CHECK(tn_population_step_copy(r->step, from, err));
    for (int m = 0; m < MEMBERS; m++) {
        if (from[m] == m) continue;
        TN_CHECK(multiply(r, TN_SETTING_RATE, m, draw(r) < 0.5 ? 0.6 : 1.6, 10, err));
        TN_CHECK(multiply(r, TN_SETTING_MOMENTUM, m, draw(r) < 0.5 ? 0.9 : 1.1, 0.95, err));
    }
    return TN_OK;
}

static tn_status train_epoch(run *r, tn_buffer batch[2], tn_error *err) {
    for (int i = 0; i + BATCH <= TRAINED; i += BATCH) {
        batch[0].data = r->data.image[i], batch[1].data = &r->data.label[i];
        TN_CHECK(tn_population_step_run(r->step, batch, 1, NULL, err));
    }
    return TN_OK;
}

static tn_status train(run *r, tn_buffer batch[2], tn_error *err) {
    for (int m = 0; m < MEMBERS; m++) { /* rates from 0.001 to 1 */
        double rate = pow(10, -3 * draw(r));
        TN_CHECK(tn_population_step_set(r->step, TN_SETTING_RATE, m, rate, err));
    }
    for (int round = 1; round <= ROUNDS; round++) {
        for (int e = 0; e < EPOCHS; e++) TN_CHECK(train_epoch(r, batch, err));
        TN_CHECK(evaluate(r, err));
        int best = 0;
        double rate, momentum;
        for (int m = 1; m < MEMBERS; m++)
            if (r->loss[m] < r->loss[best] || isnan(r->loss[best])) best = m;
        TN_CHECK(tn_population_step_setting(r->step, TN_SETTING_RATE, best, &rate));
        TN_CHECK(tn_population_step_setting(r->step, TN_SETTING_MOMENTUM, best, &momentum));
        printf("round %2d  best: member %2d, loss %.3f with rate %.3g and momentum %.2f\n", round,
               best, r->loss[best], rate, momentum);
        if (round < ROUNDS) TN_CHECK(select_members(r, err));
    }
    return TN_OK;
}

static tn_status prepare_and_train(run *r, tn_error *err) {
    tn_buffer batch[2] = {{.dtype = TN_f32, .rank = 2, .dim = {BATCH, PIXELS}},
                          {.dtype = TN_i32, .rank = 1, .dim = {BATCH}}};
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    tn_population_train_options t = TN_POPULATION_TRAIN_OPTIONS_INIT;
    TN_CHECK(tn_context_create(NULL, &r->context, err));
    o.members = MEMBERS;
    TN_CHECK(tn_population_create(r->context, &o, &r->population, err));
    t.population = r->population, t.train.loss = loss;
    t.train.batch = batch, t.train.batch_count = 2;
    t.train.optimizer = (tn_optimizer_options)TN_SGD_INIT;
    t.train.optimizer.momentum = 0.5;
    TN_CHECK(tn_population_step_compile(&t, &r->step, err));
    return train(r, batch, err);
}

int main(int count, char **arguments) {
    static run r;
    tn_error err = TN_ERROR_INIT;
    tn_status status =
        digits_load(count > 1 ? arguments[1] : "examples/digits", false, &r.data, &err);
    if (status == TN_OK) status = prepare_and_train(&r, &err);
    tn_population_step_release(r.step);
    tn_population_release(r.population);
    tn_context_release(r.context);
    if (status == TN_OK) return EXIT_SUCCESS;
    char text[4096];
    tn_error_format(&err, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    return EXIT_FAILURE;
}
