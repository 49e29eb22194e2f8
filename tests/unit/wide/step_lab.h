/* Training of a population beside that of modules of the same seeds, each with a step of its own. */
#ifndef TENON_STEP_LAB_H
#define TENON_STEP_LAB_H

#include "unit/wide/population_lab.h"

enum { ROWS = 8, WIDTH = 6, CLASSES = 3 };

typedef struct step_lab {
    lab l;
    tn_population_train_options options;
    tn_population_step *step;
    tn_train_step *alone[LAB_MEMBERS];
    bool shared[2];
    double factor[LAB_MEMBERS]; /* of each member's rate */
    tn_buffer types[2];
    float x[LAB_MEMBERS][ROWS][WIDTH];
    int32_t y[LAB_MEMBERS][ROWS];
    tn_train_metrics metrics[LAB_MEMBERS], alone_metrics[LAB_MEMBERS];
} step_lab;

/* Linear, batch norm, dropout: parameters, statistics and random streams. */
static inline tn_tensor *step_lab_loss(void *context, tn_module *m, tn_tensor *const *batch) {
    const double *dropout = context;
    tn_tensor *h = tn_batch_norm(m, "bn", tn_linear(m, "fc1", batch[0], 5));
    h = tn_relu(h);
    if (dropout) h = tn_dropout(m, "drop", h, *dropout);
    return tn_cross_entropy(tn_linear(m, "out", h, CLASSES), batch[1]);
}

/* Member i sees samples of its own, where they are not shared. */
static inline void step_lab_draw(step_lab *t, int step) {
    for (int m = 0; m < LAB_MEMBERS; m++)
        for (int i = 0; i < ROWS; i++) {
            t->y[m][i] = (m + i + step) % CLASSES;
            for (int j = 0; j < WIDTH; j++)
                t->x[m][i][j] = (float)sin(step * 0.7 + m + i * 1.7 + j * (t->y[m][i] + 1.0));
        }
}

static inline void step_lab_open(step_lab *t, tn_compile_mode mode, bool own_batches) {
    *t = (step_lab){.l = lab_open(mode), .options = TN_POPULATION_TRAIN_OPTIONS_INIT};
    int64_t n = LAB_MEMBERS;
    t->types[0] = (tn_buffer){.dtype = TN_f32, .rank = 2, .dim = {ROWS, WIDTH}};
    t->types[1] = (tn_buffer){.dtype = TN_i32, .rank = 1, .dim = {ROWS}};
    if (own_batches) {
        t->types[0] = (tn_buffer){.dtype = TN_f32, .rank = 3, .dim = {n, ROWS, WIDTH}};
        t->types[1] = (tn_buffer){.dtype = TN_i32, .rank = 2, .dim = {n, ROWS}};
    }
    t->types[0].data = t->x;
    t->types[1].data = t->y;
    t->shared[0] = t->shared[1] = !own_batches;
    t->options.population = t->l.p;
    t->options.shared = t->shared;
    t->options.train.loss = step_lab_loss;
    t->options.train.batch = t->types;
    t->options.train.batch_count = 2;
    for (int i = 0; i < LAB_MEMBERS; i++) t->factor[i] = 1;
    step_lab_draw(t, 0);
}

/* What member m sees. */
static inline void step_lab_batch(step_lab *t, int m, tn_buffer out[2]) {
    int row = t->shared[0] ? 0 : m;
    out[0] = (tn_buffer){.dtype = TN_f32, .rank = 2, .dim = {ROWS, WIDTH}, .data = t->x[row]};
    out[1] = (tn_buffer){.dtype = TN_i32, .rank = 1, .dim = {ROWS}, .data = t->y[row]};
}

static inline void step_lab_compile_alone(step_lab *t, int m, const tn_train_options *options) {
    tn_error err = TN_ERROR_INIT;
    tn_train_options o = *options;
    tn_buffer types[2];
    step_lab_batch(t, m, types);
    o.module = t->l.alone[m];
    o.batch = types;
    must(tn_train_step_compile(&o, &t->alone[m], &err), &err);
}

static inline void step_lab_compile(step_lab *t) {
    tn_error err = TN_ERROR_INIT;
    must(tn_population_step_compile(&t->options, &t->step, &err), &err);
    for (int m = 0; m < LAB_MEMBERS; m++) {
        must(tn_population_step_set(t->step, TN_SETTING_RATE, m, t->factor[m], &err), &err);
        if (!t->alone[m]) step_lab_compile_alone(t, m, &t->options.train);
    }
}

static inline void step_lab_close(step_lab *t) {
    tn_population_step_release(t->step);
    for (int m = 0; m < LAB_MEMBERS; m++) tn_train_step_release(t->alone[m]);
    lab_close(&t->l);
}

static inline void step_lab_run(step_lab *t, double rate) {
    tn_error err = TN_ERROR_INIT;
    must(tn_population_step_run(t->step, t->types, rate, t->metrics, &err), &err);
}

static inline tn_status step_lab_run_alone(step_lab *t, int m, double rate, tn_error *err) {
    tn_buffer batch[2];
    step_lab_batch(t, m, batch);
    return tn_train_step_run(t->alone[m], batch, rate * t->factor[m], &t->alone_metrics[m], err);
}

static inline void expect_metrics(const tn_train_metrics *have, const tn_train_metrics *want) {
    expect_near(have->loss, want->loss, 1e-5 * (1 + fabs(want->loss)));
    if (isnan(want->grad_norm))
        assert_true(isnan(have->grad_norm));
    else
        expect_near(have->grad_norm, want->grad_norm, 1e-5 * (1 + want->grad_norm));
    assert_int_equal(have->updated, want->updated);
    assert_int_equal(have->updates, want->updates);
}

/* Steps of both, from number `first` on, and what they gave. */
static inline void step_lab_train(step_lab *t, int first, int steps, double rate) {
    for (int i = first; i < first + steps; i++) {
        step_lab_draw(t, i);
        step_lab_run(t, rate);
        for (int m = 0; m < LAB_MEMBERS; m++) {
            tn_error err = TN_ERROR_INIT;
            must(step_lab_run_alone(t, m, rate, &err), &err);
            expect_metrics(&t->metrics[m], &t->alone_metrics[m]);
        }
    }
}

/* State of all members by its name. */
static inline tn_tensor *step_lab_state(step_lab *t, const char *name) {
    tn_named_tensor all[128];
    int n = tn_population_step_state(t->step, all, 128);
    assert_true(n <= 128);
    for (int i = 0; i < n; i++)
        if (strcmp(all[i].name, name) == 0) return all[i].tensor;
    return NULL;
}

/* State against that of the steps alone, of the same names. */
static inline void step_lab_compare_state(step_lab *t, double tolerance) {
    tn_named_tensor want[128];
    tn_scope *scope = tn_scope_open(t->l.c);
    for (int m = 0; m < LAB_MEMBERS; m++) {
        int n = tn_train_step_state(t->alone[m], want, 128);
        for (int i = 0; i < n; i++) {
            tn_tensor *have = step_lab_state(t, want[i].name);
            if (!have) fail_msg("there is no state '%s'", want[i].name);
            lab_same(want[i].name, m, lab_row(have, m), want[i].tensor, tolerance);
        }
    }
    tn_scope_close(scope);
}

#endif
