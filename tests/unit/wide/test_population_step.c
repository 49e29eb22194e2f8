/* Steps of populations: each member beside the same training alone. */
#include "unit/wide/step_lab.h"

static const double DROPOUT = 0.3;

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
        t.options.train.context = (void *)&DROPOUT;
        t.options.train.optimizer = kinds[i].optimizer;
        for (int m = 0; m < LAB_MEMBERS; m++) t.factor[m] = pow(2, -m);
        step_lab_compile(&t);
        step_lab_train(&t, 0, 12, kinds[i].rate);
        lab_compare_items(&t.l, 1e-5);
        step_lab_compare_state(&t, 1e-5);
        step_lab_close(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run__equals_separate_training),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
