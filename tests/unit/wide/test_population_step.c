/* Steps of populations: each member beside the same training alone. */
#include "unit/wide/step_lab.h"

static double dropout = 0.3;

typedef struct kind {
    tn_optimizer_options optimizer;
    double rate;
} kind;

static void test_run__equals_separate_training(void **state) {
    (void)state;
    kind kinds[] = {{TN_SGD_INIT, 0.1},
                    {TN_SGD_INIT, 0.05},
                    {TN_ADAM_INIT, 0.01},
                    {TN_ADAMW_INIT, 0.01},
                    {TN_LION_INIT, 0.002}};
    kinds[1].optimizer.momentum = 0.9;
    kinds[1].optimizer.nesterov = true;
    kinds[1].optimizer.weight_decay = 0.01;
    kinds[4].optimizer.weight_decay = 0.1;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        step_lab t;
        step_lab_open(&t, TN_COMPILE_INTERPRET, i % 2);
        t.options.train.context = &dropout;
        t.options.train.optimizer = kinds[i].optimizer;
        for (int m = 0; m < LAB_MEMBERS; m++) t.factor[m] = pow(2, -m);
        step_lab_compile(&t);
        step_lab_train(&t, 0, 6, kinds[i].rate);
        lab_compare_items(&t.l, 1e-5);
        step_lab_compare_state(&t, 1e-5);
        step_lab_close(&t);
    }
}

static void test_run__accumulates_clips_and_averages(void **state) {
    (void)state;
    step_lab t;
    step_lab_open(&t, TN_COMPILE_INTERPRET, true);
    t.options.train.accumulate = 2;
    t.options.train.clip_norm = 0.3;
    t.options.train.average = 0.9;
    step_lab_compile(&t);
    step_lab_train(&t, 0, 8, 0.02);
    assert_int_equal(t.metrics[1].updates, 4);
    lab_compare_items(&t.l, 1e-5);
    step_lab_compare_state(&t, 1e-5);
    step_lab_close(&t);
}

static void test_run__is_one_program_of_as_many_kernels(void **state) {
    (void)state;
    step_lab t;
    step_lab_open(&t, TN_COMPILE_AUTO, false);
    t.options.train.optimizer = (tn_optimizer_options)TN_SGD_INIT;
    for (int m = 0; m < LAB_MEMBERS; m++) t.factor[m] = pow(3, -m);
    step_lab_compile(&t);
    step_lab_train(&t, 0, 2, 0.1);
    tn_error err = TN_ERROR_INIT;
    must(step_lab_run_alone(&t, 0, 0.1, &err), &err);
    uint64_t alone = statistics(t.l.c).kernels;
    step_lab_run(&t, 0.1);
    assert_true(statistics(t.l.c).kernels <= alone + 3);
    for (int m = 1; m < LAB_MEMBERS; m++) must(step_lab_run_alone(&t, m, 0.1, &err), &err);
    tn_context_stats before = statistics(t.l.c);
    must(tn_population_step_set(t.step, TN_SETTING_RATE, 1, t.factor[1] = 0.5, &err), &err);
    step_lab_train(&t, 3, 47, 0.1);
    tn_context_stats after = statistics(t.l.c);
    assert_int_equal(after.compiles, before.compiles);
    assert_int_equal(after.runs - before.runs, 47 * (1 + LAB_MEMBERS));
    lab_compare_items(&t.l, 1e-5);
    step_lab_close(&t);
}

/* The gradients of all parameters of a member. */
static void gradients_of(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    tn_tensor *parameter[8], *loss = step_lab_loss(context, m, x);
    tn_module_item item;
    int n = 0;
    for (int i = 0; tn_module_entry(m, i, &item); i++)
        if (item.trainable && n < 4) parameter[n++] = item.tensor;
    tn_grad(loss, NULL, parameter, n, y);
}

static void test_gradients__equal_those_of_each_member(void **state) {
    (void)state;
    step_lab t;
    step_lab_open(&t, TN_COMPILE_INTERPRET, true);
    tn_scope *scope = tn_scope_open(t.l.c);
    tn_tensor *x[] = {
        tn_tensor_from(t.l.c, TN_f32, TN_SHAPE(LAB_MEMBERS, ROWS, WIDTH), t.x),
        tn_tensor_from(t.l.c, TN_i32, TN_SHAPE(LAB_MEMBERS, ROWS), t.y),
    };
    tn_population_call call = TN_POPULATION_CALL_INIT;
    call.fn = gradients_of, call.x = x, call.x_count = 2, call.y_count = 4;
    lab_compare(&t.l, call, 1e-6);
    tn_scope_close(scope);
    step_lab_close(&t);
}

/* ---- precision ------------------------------------------------------------------------------ */

static void test_run__computes_in_narrow_floats(void **state) {
    (void)state;
    static const tn_dtype narrow[] = {TN_bf16, TN_f16};
    for (int i = 0; i < 2; i++) {
        step_lab t;
        step_lab_open(&t, TN_COMPILE_INTERPRET, false);
        t.options.train.compute = narrow[i];
        step_lab_compile(&t);
        step_lab_train(&t, 0, 4, 0.01);
        lab_compare_items(&t.l, 1e-5);
        step_lab_compare_state(&t, 1e-5);
        step_lab_close(&t);
    }
}

static void test_run__has_a_loss_scale_for_each_member(void **state) {
    (void)state;
    step_lab t;
    tn_error err = TN_ERROR_INIT;
    double scale;
    step_lab_open(&t, TN_COMPILE_INTERPRET, false);
    t.options.train.compute = TN_f16;
    step_lab_compile(&t);
    must(tn_population_step_set(t.step, TN_SETTING_LOSS_SCALE, 1, 1e30, &err), &err);
    step_lab_run(&t, 0.01);
    for (int m = 0; m < LAB_MEMBERS; m++) {
        assert_int_equal(t.metrics[m].updated, m != 1);
        assert_int_equal(t.metrics[m].updates, m != 1);
        must(tn_population_step_setting(t.step, TN_SETTING_LOSS_SCALE, m, &scale), &err);
        expect_near(scale, m == 1 ? (double)(1e30f / 2) : 65536, 0);
    }
    step_lab_close(&t);
}

/* ---- recomputation -------------------------------------------------------------------------- */

static tn_tensor *deep_loss(void *context, tn_module *m, tn_tensor *const *batch) {
    tn_tensor *x = batch[0];
    (void)context;
    for (int i = 0; i < 4; i++)
        x = tn_block_end(tn_gelu(tn_linear(tn_module_child(m, "block%d", i), "fc", x, 8)));
    return tn_cross_entropy(tn_linear(m, "out", x, CLASSES), batch[1]);
}

static void test_run__recomputes_as_it_is_told(void **state) {
    (void)state;
    const tn_recompute_options how[] = {
        {.mode = TN_RECOMPUTE_FULL},
        {.mode = TN_RECOMPUTE_SELECTIVE, .every = 2},
        {.mode = TN_RECOMPUTE_SELECTIVE, .keep = "dot"},
        {.mode = TN_RECOMPUTE_BUDGET, .budget = LAB_MEMBERS * 5 * ROWS * 8 * 4},
    };
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        step_lab t;
        step_lab_open(&t, TN_COMPILE_INTERPRET, false);
        t.options.train.loss = deep_loss;
        t.options.train.recompute = how[i];
        step_lab_compile(&t);
        step_lab_train(&t, 0, 2, 0.01);
        lab_compare_items(&t.l, 1e-5);
        step_lab_close(&t);
    }
}

/* ---- what is wrong -------------------------------------------------------------------------- */

static tn_tensor *bad_loss(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    return tn_linear(m, "fc", batch[0], 2);
}

static tn_tensor *reading_loss(void *context, tn_module *m, tn_tensor *const *batch) {
    tn_tensor *y = tn_mean(tn_linear(m, "fc", batch[0], 2), TN_ALL_AXES, false);
    tn_error err = TN_ERROR_INIT;
    double value;
    (void)context;
    must_fail(tn_item(y, &value, &err), TN_INVALID, &err, "nothing can be read");
    return NULL;
}

static void compile_refused(step_lab *t, const char *words) {
    tn_error err = TN_ERROR_INIT;
    must_fail(tn_population_step_compile(&t->options, &t->step, &err), TN_INVALID, &err, words);
    assert_null(t->step);
    tn_context_clear_error(t->l.c);
}

static void test_compile__says_what_is_wrong(void **state) {
    (void)state;
    step_lab t;
    step_lab_open(&t, TN_COMPILE_INTERPRET, true);
    tn_population_train_options good = t.options;
    t.options.size = 0;
    compile_refused(&t, "TN_POPULATION_TRAIN_OPTIONS_INIT");
    t.options = good, t.options.population = NULL;
    compile_refused(&t, "a step of a population needs one");
    t.options = good, t.options.train.loss = NULL;
    compile_refused(&t, "needs a module and a loss function");
    t.options = good, t.options.train.loss = bad_loss;
    compile_refused(&t, "with 2 axes; expected a float without axes");
    t.options = good, t.options.train.batch_count = 0;
    compile_refused(&t, "types of what makes a batch");
    t.options = good, t.options.train.optimizer.beta1 = 2;
    compile_refused(&t, "beta1 is 2");
    t.options = good, t.types[0].dim[0] = 2;
    compile_refused(&t, "tensor 0 of the batch has 2 members along axis 0; the population has 3");
    t.types[0].dim[0] = LAB_MEMBERS;
    t.options.train.loss = reading_loss;
    compile_refused(&t, "the loss function gave no tensor");
    step_lab_close(&t);
}

static void test_compile__refuses_members_that_share_their_parameters(void **state) {
    (void)state;
    step_lab t;
    tn_error err = TN_ERROR_INIT;
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    step_lab_open(&t, TN_COMPILE_INTERPRET, false);
    tn_population *p = t.options.population;
    o.members = 4;
    o.shared_parameters = true;
    must(tn_population_create(t.l.c, &o, &t.options.population, &err), &err);
    compile_refused(&t, "all 4 members share their parameters");
    tn_population_release(t.options.population);
    t.options.population = p;
    step_lab_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run__equals_separate_training),
        cmocka_unit_test(test_run__accumulates_clips_and_averages),
        cmocka_unit_test(test_run__is_one_program_of_as_many_kernels),
        cmocka_unit_test(test_gradients__equal_those_of_each_member),
        cmocka_unit_test(test_run__computes_in_narrow_floats),
        cmocka_unit_test(test_run__has_a_loss_scale_for_each_member),
        cmocka_unit_test(test_run__recomputes_as_it_is_told),
        cmocka_unit_test(test_compile__says_what_is_wrong),
        cmocka_unit_test(test_compile__refuses_members_that_share_their_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
