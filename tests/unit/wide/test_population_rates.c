/* A search over learning rates, compiled: 32 members of an MLP with 32 rates, each beside its own training
 * after 50 steps. */
#include "base/base.h"
#include "unit/wide/compiled_lab.h"

enum { MEMBERS = 32, STEPS = 50, ROWS = 16, WIDTH = 12, CLASSES = 5, SEED = 40 };

static float images[ROWS][WIDTH];
static int32_t labels[ROWS];
static const tn_buffer batch[] = {
    {.dtype = TN_f32, .rank = 2, .dim = {ROWS, WIDTH}, .data = images},
    {.dtype = TN_i32, .rank = 1, .dim = {ROWS}, .data = labels},
};

static tn_tensor *loss(void *context, tn_module *m, tn_tensor *const *x) {
    (void)context;
    tn_tensor *h = tn_relu(tn_linear(m, "fc1", x[0], 24));
    return tn_cross_entropy(tn_linear(m, "fc2", h, CLASSES), x[1]);
}

static void draw(int step) {
    for (int i = 0; i < ROWS; i++) {
        labels[i] = (i + step) % CLASSES;
        for (int j = 0; j < WIDTH; j++)
            images[i][j] = (float)sin(0.7 * step + 1.7 * i + (labels[i] + 1.0) * j);
    }
}

/* Of member i, against the first one's. */
static double factor_of(int i) {
    return pow(2, -i / 8.0);
}

static tn_train_options options_of(tn_optimizer_options optimizer) {
    tn_train_options o = TN_TRAIN_OPTIONS_INIT;
    o.loss = loss, o.batch = batch, o.batch_count = 2;
    o.optimizer = optimizer;
    return o;
}

static void train_together(tn_context *c, tn_optimizer_options optimizer, double rate,
                           tn_population **p) {
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    tn_population_train_options t = TN_POPULATION_TRAIN_OPTIONS_INIT;
    tn_population_step *step;
    tn_error err = TN_ERROR_INIT;
    o.members = MEMBERS, o.seed = SEED;
    must(tn_population_create(c, &o, p, &err), &err);
    t.population = *p, t.train = options_of(optimizer);
    must(tn_population_step_compile(&t, &step, &err), &err);
    for (int i = 0; i < MEMBERS; i++)
        must(tn_population_step_set(step, TN_SETTING_RATE, i, factor_of(i), &err), &err);
    for (int s = 0; s < STEPS; s++) {
        draw(s);
        must(tn_population_step_run(step, batch, rate, NULL, &err), &err);
    }
    tn_population_step_release(step);
}

static tn_module *train_alone(tn_context *c, tn_optimizer_options optimizer, double rate,
                              int member) {
    tn_module *m = lab_module(c, SEED + (uint64_t)member);
    tn_train_options o = options_of(optimizer);
    tn_train_step *step;
    tn_train_metrics metrics;
    tn_error err = TN_ERROR_INIT;
    o.module = m;
    must(tn_train_step_compile(&o, &step, &err), &err);
    for (int s = 0; s < STEPS; s++) {
        draw(s);
        must(tn_train_step_run(step, batch, rate * factor_of(member), &metrics, &err), &err);
    }
    tn_train_step_release(step);
    return m;
}

static void check_rates(tn_compile_mode mode, const char *name, tn_optimizer_options optimizer,
                        double rate) {
    tn_context *c = lazy_context(mode, 1);
    tn_scope *scope = tn_scope_open(c);
    tn_population *p;
    tn_module_item item;
    lab_case = name;
    train_together(c, optimizer, rate, &p);
    for (int m = 0; m < MEMBERS; m++) {
        tn_module *alone = train_alone(c, optimizer, rate, m);
        assert_int_equal(tn_module_count(alone), 4);
        for (int i = 0; tn_module_entry(alone, i, &item); i++)
            lab_same(item.name, m, lab_row(tn_population_tensor(p, item.name), m), item.tensor,
                     1e-5);
        tn_module_release(alone);
    }
    tn_population_release(p);
    tn_scope_close(scope);
    tn_context_release(c);
}

static void test_rates__equal_separate_training(void **state) {
    (void)state;
    tn_compile_mode mode = lab_quick_compiler() ? TN_COMPILE_CC : TN_COMPILE_INTERPRET;
    check_rates(mode, "SGD", (tn_optimizer_options)TN_SGD_INIT, 0.5);
    check_rates(mode, "Adam", (tn_optimizer_options)TN_ADAM_INIT, 0.02);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rates__equal_separate_training)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
