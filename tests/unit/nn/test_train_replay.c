/* Steps of training that are done again without being recorded, against recording each. */
#include <tenon/train.h>

#include "lazy_test.h"

enum { ROWS = 6, WIDTH = 5, CLASSES = 3 };

typedef struct lab {
    tn_context *c;
    tn_module *m;
    tn_train_options o;
    tn_train_step *step;
    tn_buffer batch[2];
    float x[ROWS * WIDTH];
    int32_t y[ROWS];
    int calls;            /* of the loss */
    bool anew;            /* it is recorded at every step */
    tn_tensor *factor;    /* of the loss, where there is one */
    const double *number; /* the same from memory */
    bool narrow;          /* a layer less */
} lab;

static tn_tensor *loss_of(void *context, tn_module *m, tn_tensor *const *batch) {
    lab *t = context;
    t->calls++;
    tn_tensor *h = tn_relu(tn_batch_norm(m, "bn", tn_linear(m, "fc1", batch[0], 7)));
    h = tn_dropout(m, "drop", h, 0.25);
    if (!t->narrow) h = tn_tanh(tn_linear(m, "fc2", h, 7));
    tn_tensor *loss = tn_cross_entropy(tn_linear(m, "out", h, CLASSES), batch[1]);
    if (t->factor) loss = tn_mul(loss, t->factor);
    if (t->number) loss = tn_mul(loss, tn_tensor_scalar(t->c, TN_f32, *t->number));
    return loss;
}

static void draw(lab *t, int seed, int rows) {
    t->batch[0] = (tn_buffer){.dtype = TN_f32, .rank = 2, .dim = {rows, WIDTH}, .data = t->x};
    t->batch[1] = (tn_buffer){.dtype = TN_i32, .rank = 1, .dim = {rows}, .data = t->y};
    for (int i = 0; i < rows * WIDTH; i++) t->x[i] = (float)sin(seed * 3.1 + i * 0.7);
    for (int i = 0; i < rows; i++) t->y[i] = (seed + i) % CLASSES;
}

static void open_lab(lab *t, bool anew) {
    tn_error err = TN_ERROR_INIT;
    *t =
        (lab){.c = lazy_context(TN_COMPILE_INTERPRET, 1), .o = TN_TRAIN_OPTIONS_INIT, .anew = anew};
    must(tn_module_create(t->c, NULL, &t->m, &err), &err);
    draw(t, 0, ROWS);
    t->o.module = t->m, t->o.loss = loss_of, t->o.context = t;
    t->o.batch = t->batch, t->o.batch_count = 2;
}

static void compile(lab *t) {
    tn_error err = TN_ERROR_INIT;
    must(tn_train_step_compile(&t->o, &t->step, &err), &err);
    t->calls = 0;
}

static void close_lab(lab *t) {
    tn_train_step_release(t->step);
    tn_release(t->factor);
    tn_module_release(t->m);
    tn_context_release(t->c);
}

static tn_train_metrics run(lab *t, int seed, int rows) {
    tn_error err = TN_ERROR_INIT;
    tn_train_metrics m;
    draw(t, seed, rows);
    if (t->anew) tn_train_step_reset(t->step);
    must(tn_train_step_run(t->step, t->batch, 0.01 / (seed + 1), &m, &err), &err);
    return m;
}

/* All parameters, buffers and state of both have the same bits. */
static void assert_same(const lab *a, const lab *b) {
    tn_named_tensor x[128], y[128];
    tn_module_item item;
    int n = 0, m = 0;
    for (int i = 0; tn_module_entry(a->m, i, &item); i++)
        x[n++] = (tn_named_tensor){item.name, item.tensor};
    for (int i = 0; tn_module_entry(b->m, i, &item); i++)
        y[m++] = (tn_named_tensor){item.name, item.tensor};
    n += tn_train_step_state(a->step, x + n, 128 - n);
    m += tn_train_step_state(b->step, y + m, 128 - m);
    assert_int_equal(n, m);
    for (int i = 0; i < n; i++) {
        tn_error err = TN_ERROR_INIT;
        tn_buffer p, q;
        must(tn_view(x[i].tensor, &p, &err), &err);
        must(tn_view(y[i].tensor, &q, &err), &err);
        assert_string_equal(x[i].name, y[i].name);
        assert_memory_equal(p.data, q.data, p.size);
    }
}

static void assert_same_metrics(tn_train_metrics a, tn_train_metrics b) {
    assert_true(a.loss == b.loss);
    assert_true(a.grad_norm == b.grad_norm || (isnan(a.grad_norm) && isnan(b.grad_norm)));
    assert_true(a.updated == b.updated && a.updates == b.updates);
}

static void test_train_replay__equals_recording(void **state) {
    (void)state;
    for (int accumulate = 1; accumulate <= 2; accumulate++) {
        lab a, b;
        open_lab(&a, false);
        open_lab(&b, true);
        a.o.clip_norm = b.o.clip_norm = 0.5;
        a.o.average = b.o.average = 0.9;
        a.o.accumulate = b.o.accumulate = accumulate;
        compile(&a);
        compile(&b);
        for (int i = 0; i < 6; i++) {
            assert_same_metrics(run(&a, i, ROWS), run(&b, i, ROWS));
            assert_same(&a, &b);
        }
        assert_int_equal(a.calls, accumulate);
        assert_int_equal(b.calls, 6);
        assert_int_equal(statistics(a.c).compiles, statistics(b.c).compiles);
        /* what is recorded keeps its loss, whether it was applied, and the norm */
        assert_true(statistics(a.c).bytes <= statistics(b.c).bytes + 16);
        close_lab(&a);
        close_lab(&b);
    }
}

static void test_train_replay__records_each_type_of_batch_once(void **state) {
    (void)state;
    static const struct {
        int rows, calls;
    } runs[] = {{ROWS, 1}, {ROWS, 1}, {3, 2}, {ROWS, 2}, {3, 2}, {4, 3}, {ROWS, 3}};
    lab a, b;
    open_lab(&a, false);
    open_lab(&b, true);
    compile(&a);
    compile(&b);
    for (int i = 0; i < (int)(sizeof runs / sizeof *runs); i++) {
        assert_same_metrics(run(&a, i, runs[i].rows), run(&b, i, runs[i].rows));
        assert_int_equal(a.calls, runs[i].calls);
    }
    assert_same(&a, &b);
    a.narrow = b.narrow = true; /* the loss decides in C: only a reset tells */
    run(&a, 9, ROWS);
    assert_int_equal(a.calls, 3);
    tn_train_step_reset(a.step);
    run(&a, 9, ROWS);
    assert_int_equal(a.calls, 4);
    close_lab(&a);
    close_lab(&b);
}

/* What happens to tensors between two steps; `t->m` is in training afterwards. */
static void between(lab *t, int i) {
    tn_tensor *w = tn_module_find(t->m, "fc1.weight");
    tn_scope *scope = tn_scope_open(t->c);
    if (i == 1) tn_assign(w, tn_mul(w, tn_full(t->c, TN_f32, TN_SCALAR_SHAPE, 0.5))); /* pending */
    if (i == 2) tn_assign(w, tn_tensor_from(t->c, TN_f32, TN_SHAPE(7, WIDTH), NULL));
    if (i == 3) tn_assign(tn_module_find(t->m, "out.weight"), tn_module_find(t->m, "out.weight"));
    if (i == 4) tn_module_set_training(t->m, false);
    if (i == 5) tn_module_set_training(t->m, true);
    tn_scope_close(scope);
}

static void test_train_replay__sees_what_changes_between_steps(void **state) {
    (void)state;
    lab a, b;
    open_lab(&a, false);
    open_lab(&b, true);
    compile(&a);
    compile(&b);
    for (int i = 0; i < 8; i++) {
        between(&a, i);
        between(&b, i);
        assert_same_metrics(run(&a, i, ROWS), run(&b, i, ROWS));
        assert_same(&a, &b);
    }
    assert_true(a.calls < 6); /* at first, and for each mode */
    close_lab(&a);
    close_lab(&b);
}

/* Recorded before a step, read after it: what the parameter was. */
static void test_train_replay__leaves_what_others_need(void **state) {
    (void)state;
    lab t;
    float was[7 * WIDTH], twice[7 * WIDTH];
    open_lab(&t, false);
    compile(&t);
    for (int i = 0; i < 4; i++) {
        tn_tensor *w = tn_module_find(t.m, "fc1.weight"), *y;
        read_into(w, was, sizeof was);
        y = tn_add(w, w);
        run(&t, i, ROWS);
        read_into(y, twice, sizeof twice);
        for (int k = 0; k < 7 * WIDTH; k++) assert_true(twice[k] == 2 * was[k]);
        tn_release(y);
        run(&t, i, ROWS);
    }
    close_lab(&t);
}

static void test_train_replay__reads_tensors_that_live_on(void **state) {
    (void)state;
    lab t;
    open_lab(&t, false);
    t.factor = tn_keep(tn_tensor_scalar(t.c, TN_f32, 1));
    compile(&t);
    double one = run(&t, 0, ROWS).loss;
    assert_int_equal(t.calls, 1);
    for (int i = 1; i < 4; i++) {
        tn_tensor *next = tn_tensor_scalar(t.c, TN_f32, 1000 * i);
        tn_assign(t.factor, next);
        tn_release(next);
        double loss = run(&t, 0, ROWS).loss;
        assert_true(loss > 100 * i * one && loss < 2000 * i * one);
    }
    assert_int_equal(t.calls, 1);
    close_lab(&t);
}

static void test_train_replay__records_what_is_made_from_memory_each_time(void **state) {
    (void)state;
    lab t;
    double number = 1;
    open_lab(&t, false);
    t.number = &number;
    compile(&t);
    double one = run(&t, 0, ROWS).loss;
    number = 1000;
    assert_true(run(&t, 0, ROWS).loss > 100 * one);
    assert_int_equal(t.calls, 2);
    close_lab(&t);
}

/* The caller makes a tensor for each step, which the loss finds through its context. */
static void test_train_replay__records_when_a_tensor_is_replaced(void **state) {
    (void)state;
    lab t;
    double first = 0;
    open_lab(&t, false);
    t.factor = tn_keep(tn_tensor_scalar(t.c, TN_f32, 1));
    compile(&t);
    for (int i = 0; i < 4; i++) {
        tn_release(t.factor);
        t.factor = tn_keep(tn_tensor_scalar(t.c, TN_f32, i ? 1000 * i : 1));
        double loss = run(&t, 0, ROWS).loss;
        if (i == 0) first = loss;
        if (i) assert_true(loss > 100 * i * first && loss < 2000 * i * first);
        assert_int_equal(t.calls, i + 1);
    }
    run(&t, 0, ROWS);
    assert_int_equal(t.calls, 4); /* it lives on */
    close_lab(&t);
}

/* A tensor that shared its elements with a parameter when that was recorded. */
static void test_train_replay__is_captured_anew(void **state) {
    (void)state;
    lab t;
    tn_error err = TN_ERROR_INIT;
    open_lab(&t, false);
    compile(&t);
    tn_tensor *w = tn_module_find(t.m, "fc1.weight");
    tn_tensor *was = tn_keep(tn_tensor_from(t.c, TN_f32, TN_SHAPE(7, WIDTH), NULL));
    must(tn_eval(&was, 1, &err), &err);
    tn_assign(was, w);
    for (int i = 0; i < 4; i++) run(&t, i, ROWS);
    assert_int_equal(t.calls, 2);
    tn_release(was);
    close_lab(&t);
}

/* What is kept of a batch is read before the next step. */
static tn_tensor *loss_with_sum(void *context, tn_module *m, tn_tensor *const *batch) {
    lab *t = context;
    tn_tensor *sum = tn_sum(batch[0], TN_ALL_AXES, false);
    if (!t->factor) t->factor = tn_keep(sum);
    return loss_of(&(lab){.c = t->c}, m, batch);
}

static void test_train_replay__leaves_batches_that_others_read(void **state) {
    (void)state;
    lab t;
    tn_error err = TN_ERROR_INIT;
    float sum = 0, other[ROWS * WIDTH] = {0};
    double found = 0;
    open_lab(&t, false);
    t.o.loss = loss_with_sum;
    compile(&t);
    tn_release(t.factor); /* of the rehearsal */
    t.factor = NULL;
    run(&t, 0, ROWS);
    for (int i = 0; i < ROWS * WIDTH; i++) sum += t.x[i];
    t.batch[0].data = other;
    must(tn_train_step_run(t.step, t.batch, 0.01, NULL, &err), &err);
    must(tn_item(t.factor, &found, &err), &err);
    assert_float_equal(found, sum, 1e-5);
    close_lab(&t);
}

static void test_train_replay__refuses_a_batch_without_elements(void **state) {
    (void)state;
    lab t;
    open_lab(&t, false);
    compile(&t);
    for (int i = 0; i < 2; i++) { /* recorded, replayed */
        tn_error err = TN_ERROR_INIT;
        tn_buffer batch[2] = {t.batch[0], t.batch[1]};
        batch[0].data = NULL;
        must_fail(tn_train_step_run(t.step, batch, 0.01, NULL, &err), TN_INVALID, &err,
                  "data is NULL");
        run(&t, i, ROWS);
    }
    assert_int_equal(t.calls, 1);
    close_lab(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_train_replay__equals_recording),
        cmocka_unit_test(test_train_replay__records_each_type_of_batch_once),
        cmocka_unit_test(test_train_replay__sees_what_changes_between_steps),
        cmocka_unit_test(test_train_replay__leaves_what_others_need),
        cmocka_unit_test(test_train_replay__reads_tensors_that_live_on),
        cmocka_unit_test(test_train_replay__records_what_is_made_from_memory_each_time),
        cmocka_unit_test(test_train_replay__records_when_a_tensor_is_replaced),
        cmocka_unit_test(test_train_replay__is_captured_anew),
        cmocka_unit_test(test_train_replay__leaves_batches_that_others_read),
        cmocka_unit_test(test_train_replay__refuses_a_batch_without_elements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
