/* Steps of training: against the same thing written by hand, and what they refuse. */
#include <math.h>
#include <tenon/train.h>

#include "lazy_test.h"

enum { ROWS = 8, WIDTH = 6, CLASSES = 3 };

static tn_tensor *network(tn_module *m, const tn_tensor *x) {
    tn_tensor *h = tn_relu(tn_batch_norm(m, "bn", tn_linear(m, "fc1", x, 5)));
    return tn_linear(m, "out", h, CLASSES);
}

static tn_tensor *loss_of(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    return tn_cross_entropy(network(m, batch[0]), batch[1]);
}

typedef struct lab {
    tn_context *c;
    tn_module *m;
    tn_train_options options;
    tn_train_step *step;
    tn_buffer batch[2];
    float x[4 * ROWS * WIDTH];
    int32_t y[4 * ROWS];
} lab;

static void draw(lab *t, uint64_t seed, int rows) {
    t->batch[0] = (tn_buffer){.dtype = TN_f32, .rank = 2, .dim = {rows, WIDTH}, .data = t->x};
    t->batch[1] = (tn_buffer){.dtype = TN_i32, .rank = 1, .dim = {rows}, .data = t->y};
    for (int i = 0; i < rows; i++) {
        t->y[i] = (int)((seed + (uint64_t)i) % CLASSES);
        for (int j = 0; j < WIDTH; j++)
            t->x[i * WIDTH + j] = (float)sin((double)seed + i * 1.7 + j * (t->y[i] + 1.0));
    }
}

static void lab_init(lab *t, tn_compile_mode mode, int threads) {
    tn_error err = TN_ERROR_INIT;
    tn_module_options o = TN_MODULE_OPTIONS_INIT;
    *t = (lab){.c = lazy_context(mode, threads), .options = TN_TRAIN_OPTIONS_INIT};
    o.seed = 3;
    must(tn_module_create(t->c, &o, &t->m, &err), &err);
    draw(t, 1, ROWS);
    t->options.module = t->m;
    t->options.loss = loss_of;
    t->options.batch = t->batch;
    t->options.batch_count = 2;
}

static void lab_compile(lab *t) {
    tn_error err = TN_ERROR_INIT;
    must(tn_train_step_compile(&t->options, &t->step, &err), &err);
}

static void lab_deinit(lab *t) {
    tn_train_step_release(t->step);
    tn_module_release(t->m);
    tn_context_release(t->c);
}

static tn_train_metrics run(lab *t) {
    tn_error err = TN_ERROR_INIT;
    tn_train_metrics m;
    must(tn_train_step_run(t->step, t->batch, 0.05, &m, &err), &err);
    return m;
}

/* All parameters and buffers, one after another. */
static int read_all(lab *t, float out[256]) {
    tn_module_item item;
    int n = 0;
    for (int i = 0; tn_module_entry(t->m, i, &item); i++) {
        int count = (int)tn_tensor_count(item.tensor);
        assert_true(n + count <= 256);
        read_into(item.tensor, out + n, (size_t)count * sizeof *out);
        n += count;
    }
    return n;
}

static void assert_same(const float *x, const float *y, int n) {
    assert_memory_equal(x, y, (size_t)n * sizeof *x);
}

/* ---- values --------------------------------------------------------------------------------- */

/* The same, as somebody would write it without the step. */
static void by_hand(lab *t, tn_optimizer *o, tn_tensor **x, int count) {
    tn_tensor *grad[16], *loss;
    tn_scope *scope = tn_scope_open(t->c);
    tn_tensor *batch[2] = {tn_tensor_from(t->c, TN_f32, 2, t->batch[0].dim, t->x),
                           tn_tensor_from(t->c, TN_i32, 1, t->batch[1].dim, t->y)};
    loss = loss_of(NULL, t->m, batch);
    tn_grad(loss, NULL, x, count, grad);
    tn_clip_gradients_norm(grad, count, 0.7, grad);
    tn_optimizer_step(o, tn_tensor_scalar(t->c, TN_f64, 0.05), grad, NULL);
    tn_scope_close(scope);
}

static void test_train_step__equals_what_one_writes_by_hand(void **state) {
    (void)state;
    lab a, b;
    tn_error err = TN_ERROR_INIT;
    float p[256], q[256];
    lab_init(&a, TN_COMPILE_INTERPRET, 1);
    lab_init(&b, TN_COMPILE_INTERPRET, 1);
    a.options.clip_norm = 0.7;
    lab_compile(&a);
    lab_compile(&b); /* makes the parameters */
    tn_named_tensor list[16];
    tn_tensor *x[16];
    int count = 0;
    tn_module_item item;
    for (int i = 0; tn_module_entry(b.m, i, &item); i++) {
        if (!item.trainable) continue;
        list[count] = (tn_named_tensor){item.name, item.tensor};
        x[count++] = item.tensor;
    }
    tn_optimizer *o;
    tn_optimizer_options adamw = TN_ADAMW_INIT;
    must(tn_optimizer_create(&adamw, list, count, &o, &err), &err);
    for (uint64_t i = 0; i < 4; i++) {
        draw(&a, i, ROWS);
        draw(&b, i, ROWS);
        assert_true(run(&a).updated);
        by_hand(&b, o, x, count);
        int n = read_all(&a, p);
        assert_int_equal(read_all(&b, q), n);
        assert_same(p, q, n);
    }
    tn_optimizer_release(o);
    lab_deinit(&a);
    lab_deinit(&b);
}

static void test_train_step__learns_and_stays_of_one_size(void **state) {
    (void)state;
    lab t;
    double first = 0, last = 0;
    uint64_t bytes = 0, compiles;
    lab_init(&t, TN_COMPILE_INTERPRET, 1);
    t.options.clip_norm = 1;
    t.options.average = 0.9;
    lab_compile(&t);
    compiles = statistics(t.c).compiles; /* of the averages' beginning */
    for (uint64_t i = 0; i < 60; i++) {
        draw(&t, i % 4, ROWS);
        tn_train_metrics m = run(&t);
        assert_true(m.updated && isfinite(m.grad_norm));
        assert_int_equal(m.updates, i + 1);
        if (i == 0) first = m.loss;
        last = m.loss;
        if (i == 0) bytes = statistics(t.c).bytes;
    }
    assert_true(last < 0.3 * first);
    assert_int_equal(statistics(t.c).bytes, bytes);
    assert_int_equal(statistics(t.c).compiles, compiles + 1);
    assert_true(statistics(t.c).pending < 2000);
    lab_deinit(&t);
}

static void test_train_step__has_the_same_bits_for_any_number_of_threads(void **state) {
    (void)state;
    float p[2][256];
    int n = 0;
    for (int threads = 1; threads <= 2; threads++) {
        lab t;
        lab_init(&t, TN_COMPILE_AUTO, threads);
        t.options.clip_norm = 0.5;
        lab_compile(&t);
        for (uint64_t i = 0; i < 3; i++) {
            draw(&t, i, ROWS);
            run(&t);
        }
        n = read_all(&t, p[threads - 1]);
        lab_deinit(&t);
    }
    assert_same(p[0], p[1], n);
}

static tn_tensor *plain_loss(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    return tn_cross_entropy(tn_linear(m, "out", batch[0], CLASSES), batch[1]);
}

static void test_train_step__accumulates_batches(void **state) {
    (void)state;
    lab whole, parts;
    float p[256], q[256];
    lab_init(&whole, TN_COMPILE_INTERPRET, 1);
    lab_init(&parts, TN_COMPILE_INTERPRET, 1);
    whole.options.loss = parts.options.loss = plain_loss;
    parts.options.accumulate = 4;
    draw(&whole, 5, 4 * ROWS);
    draw(&parts, 5, 4 * ROWS);
    lab_compile(&whole);
    parts.batch[0].dim[0] = parts.batch[1].dim[0] = ROWS;
    lab_compile(&parts);
    for (int update = 0; update < 2; update++) {
        run(&whole);
        for (int i = 0; i < 4; i++) {
            parts.batch[0].data = parts.x + i * ROWS * WIDTH;
            parts.batch[1].data = parts.y + i * ROWS;
            assert_true(run(&parts).updated == (i == 3));
        }
        int n = read_all(&whole, p);
        read_all(&parts, q);
        for (int i = 0; i < n; i++) expect_near((double)q[i], (double)p[i], 2e-6);
    }
    lab_deinit(&whole);
    lab_deinit(&parts);
}

/* ---- what is not finite --------------------------------------------------------------------- */

static void test_train_step__changes_nothing_for_a_loss_that_is_not_finite(void **state) {
    (void)state;
    lab t;
    tn_error err = TN_ERROR_INIT;
    tn_train_metrics m;
    float p[256], q[256];
    for (int accumulate = 1; accumulate <= 2; accumulate++) {
        lab_init(&t, TN_COMPILE_INTERPRET, 1);
        t.options.accumulate = accumulate;
        lab_compile(&t);
        for (int i = 0; i < accumulate; i++) run(&t);
        int n = read_all(&t, p);
        t.x[3] = NAN;
        must_fail(tn_train_step_run(t.step, t.batch, 0.05, &m, &err), TN_INVALID, &err,
                  "the loss of update 2 is NaN: nothing was changed");
        assert_false(m.updated);
        read_all(&t, q);
        assert_same(p, q, n);
        draw(&t, 2, ROWS);
        err = (tn_error)TN_ERROR_INIT;
        for (int i = 0; i < accumulate; i++) m = run(&t);
        assert_true(m.updated && m.updates == 2);
        lab_deinit(&t);
    }
}

static void test_train_step__lowers_the_scale_when_gradients_overflow(void **state) {
    (void)state;
    lab t;
    float p[256], q[256], scale;
    tn_loss_scale_options o = TN_LOSS_SCALE_OPTIONS_INIT;
    tn_named_tensor list[64];
    o.initial = 0x1p127;
    lab_init(&t, TN_COMPILE_INTERPRET, 1);
    t.options.loss_scale = &o;
    lab_compile(&t);
    t.x[0] = 1e4f;
    int n = read_all(&t, p);
    tn_train_metrics m = run(&t);
    read_all(&t, q);
    if (!m.updated) assert_same(p, q, n > 30 ? 30 : n); /* parameters, not running statistics */
    int count = tn_train_step_state(t.step, list, 64);
    bool found = false;
    for (int i = 0; i < count; i++) {
        if (strcmp(list[i].name, "loss_scale") != 0) continue;
        read_into(list[i].tensor, &scale, sizeof scale);
        found = true;
        assert_true(scale == (m.updated ? 0x1p127f : 0x1p126f));
    }
    assert_true(found && !m.updated);
    for (int i = 0; i < 40 && !m.updated; i++) m = run(&t);
    assert_true(m.updated);
    lab_deinit(&t);
}

/* ---- mixed precision ------------------------------------------------------------------------ */

/* The network as autocast has it, written out: products in `narrow`, the rest in their operands' types. */
static tn_tensor *narrow_loss(void *context, tn_module *m, tn_tensor *const *batch) {
    const tn_dtype *narrow = context;
    tn_tensor *h = tn_linear(m, "fc1", tn_cast(batch[0], *narrow), 5);
    h = tn_linear(m, "out", tn_relu(tn_batch_norm(m, "bn", h)), CLASSES);
    assert_int_equal(tn_tensor_dtype(h), *narrow);
    return tn_cross_entropy(h, batch[1]);
}

static bool has_state(lab *t, const char *name) {
    tn_named_tensor list[64];
    int count = tn_train_step_state(t->step, list, (int)(sizeof list / sizeof *list));
    for (int i = 0; i < count; i++)
        if (strcmp(list[i].name, name) == 0) return true;
    return false;
}

static void test_train_step__computes_in_narrow_floats(void **state) {
    (void)state;
    static const tn_dtype narrow[] = {TN_bf16, TN_f16};
    tn_loss_scale_options usual = TN_LOSS_SCALE_OPTIONS_INIT;
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++) {
        lab a, b, wide;
        float p[256], q[256], f32[256];
        lab_init(&a, TN_COMPILE_INTERPRET, 1);
        lab_init(&b, TN_COMPILE_INTERPRET, 1);
        lab_init(&wide, TN_COMPILE_INTERPRET, 1);
        a.options.compute = narrow[i];
        b.options.loss = narrow_loss, b.options.context = (void *)(uintptr_t)&narrow[i];
        if (narrow[i] == TN_f16) b.options.loss_scale = &usual;
        lab_compile(&a);
        lab_compile(&b);
        lab_compile(&wide);
        assert_true(has_state(&a, "loss_scale") == (narrow[i] == TN_f16));
        double first = 0, last = 0;
        for (uint64_t step = 0; step < 60; step++) {
            draw(&a, step % 4, ROWS);
            last = run(&a).loss;
            if (step == 0) first = last;
            if (step >= 3) continue;
            draw(&b, step % 4, ROWS);
            draw(&wide, step % 4, ROWS);
            assert_true(run(&b).loss == last);
            assert_true(fabs(run(&wide).loss - last) < 0.02 * last);
            int n = read_all(&a, p);
            assert_int_equal(read_all(&b, q), n);
            assert_same(p, q, n);
            read_all(&wide, f32);
            assert_memory_not_equal(p, f32, (size_t)n * sizeof *p);
        }
        assert_true(last < 0.3 * first);
        assert_int_equal(tn_tensor_dtype(tn_module_find(a.m, "fc1.weight")), TN_f32);
        lab_deinit(&a);
        lab_deinit(&b);
        lab_deinit(&wide);
    }
}

static tn_tensor *told_loss(void *context, tn_module *m, tn_tensor *const *batch) {
    tn_dtype *seen = context;
    tn_module_set_compute(tn_module_child(m, "out"), TN_f32);
    tn_tensor *h = tn_linear(m, "fc1", batch[0], 5),
              *y = tn_linear(m, "out", tn_cast(h, TN_f32), 3);
    seen[0] = tn_tensor_dtype(h), seen[1] = tn_tensor_dtype(y);
    return tn_cross_entropy(y, batch[1]);
}

static void test_train_step__leaves_the_precision_of_modules_that_were_told_one(void **state) {
    (void)state;
    lab t;
    tn_dtype seen[2];
    lab_init(&t, TN_COMPILE_INTERPRET, 1);
    t.options.loss = told_loss, t.options.context = seen, t.options.compute = TN_bf16;
    lab_compile(&t);
    assert_int_equal(seen[0], TN_bf16);
    assert_int_equal(seen[1], TN_f32);
    tn_scope *scope = tn_scope_open(t.c);
    tn_tensor *x = tn_full(t.c, TN_f32, TN_SHAPE(2, WIDTH), 1);
    assert_int_equal(tn_tensor_dtype(tn_linear(t.m, "fc1", x, 5)), TN_f32); /* not in a step */
    tn_module_set_compute(t.m, TN_f16);
    assert_int_equal(tn_tensor_dtype(tn_linear(t.m, "fc1", x, 5)), TN_f16);
    assert_int_equal(tn_tensor_dtype(tn_conv1d(t.m, "c", tn_expand_dims(x, 0), 5, .kernel = 1)),
                     TN_f16);
    x = tn_full(t.c, TN_f32, TN_SHAPE(2, 3, 8), 1);
    assert_int_equal(tn_tensor_dtype(tn_multi_head_attention(t.m, "a", x, 2)), TN_f16);
    assert_int_equal(tn_tensor_dtype(tn_lstm(t.m, "l", x, 2)), TN_f16);
    assert_int_equal(tn_tensor_dtype(tn_moe(t.m, "e", x, 4, .hidden = 3, .shared_hidden = 2)),
                     TN_f16);
    assert_int_equal(tn_tensor_dtype(tn_layer_norm(t.m, "n", x)), TN_f32);
    tn_scope_close(scope);
    lab_deinit(&t);
}

/* ---- mistakes ------------------------------------------------------------------------------- */

static tn_tensor *no_loss(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context, (void)m, (void)batch;
    return NULL;
}

static tn_tensor *long_loss(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    return network(m, batch[0]);
}

static tn_tensor *bare_loss(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context, (void)m;
    return tn_mean(batch[0], TN_ALL_AXES, false);
}

static tn_tensor *wrong_loss(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    return tn_mean(tn_matmul(batch[0], tn_linear(m, "fc1", batch[0], 5)), TN_ALL_AXES, false);
}

static void test_train_step__says_what_is_wrong(void **state) {
    (void)state;
    static const struct {
        tn_loss_function *loss;
        const char *words;
    } rows[] = {{no_loss, "the loss function gave no tensor"},
                {long_loss, "the loss is of type f32 with 2 axes; expected a float without axes"},
                {bare_loss, "no trainable parameter"},
                {wrong_loss, "test_train_step.c"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lab t;
        tn_error err = TN_ERROR_INIT;
        lab_init(&t, TN_COMPILE_INTERPRET, 1);
        t.options.loss = rows[i].loss;
        tn_status status = tn_train_step_compile(&t.options, &t.step, &err);
        assert_null(t.step);
        must_fail(status, err.status, &err, rows[i].words);
        assert_int_not_equal(status, TN_OK);
        lab_deinit(&t);
    }
}

static void test_train_step__refuses_types_that_it_cannot_compute_in(void **state) {
    (void)state;
    lab t;
    tn_error err = TN_ERROR_INIT;
    lab_init(&t, TN_COMPILE_INTERPRET, 1);
    t.options.compute = TN_f8e4m3fn;
    must_fail(tn_train_step_compile(&t.options, &t.step, &err), TN_INVALID, &err,
              "computes in f32, bf16 or f16, not in f8e4m3fn");
    lab_deinit(&t);
}

static void test_train_step__leaves_buffers_alone_when_it_is_compiled(void **state) {
    (void)state;
    lab t;
    lab_init(&t, TN_COMPILE_INTERPRET, 1);
    lab_compile(&t);
    expect_f32(tn_module_find(t.m, "bn.running_mean"), (float[5]){0}, 5, 0);
    expect_f32(tn_module_find(t.m, "bn.running_var"), (float[5]){1, 1, 1, 1, 1}, 5, 0);
    run(&t);
    float mean[5];
    read_into(tn_module_find(t.m, "bn.running_mean"), mean, sizeof mean);
    assert_true(mean[0] != 0);
    lab_deinit(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_train_step__equals_what_one_writes_by_hand),
        cmocka_unit_test(test_train_step__learns_and_stays_of_one_size),
        cmocka_unit_test(test_train_step__has_the_same_bits_for_any_number_of_threads),
        cmocka_unit_test(test_train_step__accumulates_batches),
        cmocka_unit_test(test_train_step__changes_nothing_for_a_loss_that_is_not_finite),
        cmocka_unit_test(test_train_step__lowers_the_scale_when_gradients_overflow),
        cmocka_unit_test(test_train_step__computes_in_narrow_floats),
        cmocka_unit_test(test_train_step__leaves_the_precision_of_modules_that_were_told_one),
        cmocka_unit_test(test_train_step__refuses_types_that_it_cannot_compute_in),
        cmocka_unit_test(test_train_step__says_what_is_wrong),
        cmocka_unit_test(test_train_step__leaves_buffers_alone_when_it_is_compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
