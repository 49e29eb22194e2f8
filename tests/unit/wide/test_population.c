/* Populations: what members begin with, functions of a member, members taken out and put back. */
#include "unit/wide/population_lab.h"

static void mlp(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)context;
    tn_tensor *h = tn_relu(tn_linear(m, "fc1", x[0], 8));
    y[0] = tn_linear(m, "fc2", tn_dropout(m, "drop", h, 0.4), 3);
}

static void test_apply__equals_modules_of_the_same_seeds(void **state) {
    (void)state;
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_scope *scope = tn_scope_open(l.c);
    tn_tensor *x = some_numbers(l.c, TN_f32, TN_SHAPE(LAB_MEMBERS, 5, 4), 1);
    for (int i = 0; i < 3; i++)
        lab_compare(
            &l,
            (tn_population_call){
                .size = sizeof(tn_population_call), .fn = mlp, .x = &x, .x_count = 1, .y_count = 1},
            0);
    tn_scope_close(scope);
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apply__equals_modules_of_the_same_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
