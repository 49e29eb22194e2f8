/* Members that share one model's parameters (Monte Carlo dropout): one model, N masks. */
#include "unit/wide/population_lab.h"

enum { ROWS = 6, WIDTH = 24, HIDDEN = 40, CLASSES = 3, MEMBERS = 7 };

static void net(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)context;
    tn_tensor *h = tn_relu(tn_linear(m, "fc1", x[0], HIDDEN));
    h = tn_tanh(tn_linear(m, "fc2", tn_dropout(m, "drop", h, 0.4), HIDDEN));
    y[0] = tn_linear(m, "out", h, CLASSES);
}

static tn_population *shared_population(tn_context *c, bool of_module, tn_module **m) {
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    tn_population *p;
    tn_error err = TN_ERROR_INIT;
    o.members = MEMBERS, o.seed = 40, o.shared_parameters = true;
    *m = lab_module(c, 40);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = some_numbers(c, TN_f32, TN_SHAPE(1, WIDTH), 1), *y;
    net(NULL, *m, &x, &y); /* makes the parameters */
    tn_scope_close(scope);
    if (of_module)
        must(tn_population_from(m, 1, &o, &p, &err), &err);
    else
        must(tn_population_create(c, &o, &p, &err), &err);
    return p;
}

static tn_population_call call_of(tn_member_function *fn, tn_tensor *const *x, const bool *shared) {
    return (tn_population_call){.size = sizeof(tn_population_call),
                                .fn = fn,
                                .x = x,
                                .shared = shared,
                                .x_count = 1,
                                .y_count = 1};
}

/* Member i is a module with the shared parameters and the random streams of seed 40 + i. */
static void check_members(bool of_module) {
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 2);
    tn_module *m, *alone[MEMBERS];
    tn_population *p = shared_population(c, of_module, &m);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = some_numbers(c, TN_f32, TN_SHAPE(ROWS, WIDTH), 1), *y, *one;
    tn_error err = TN_ERROR_INIT;
    tn_module_item item;
    tn_population_call call = call_of(net, &x, (bool[]){true});
    for (int i = 0; i < MEMBERS; i++) {
        alone[i] = lab_module(c, 40 + (uint64_t)i);
        net(NULL, alone[i], &x, &y);
        for (int k = 0; tn_module_entry(m, k, &item); k++)
            if (!item.buffer) tn_assign(tn_module_find(alone[i], item.name), item.tensor);
    }
    tn_population_apply(p, &call, &y); /* one draw, as theirs */
    for (int turn = 0; turn < 2; turn++) {
        tn_population_apply(p, &call, &y);
        must(tn_eval(&y, 1, &err), &err);
        for (int i = 0; i < MEMBERS; i++) {
            net(NULL, alone[i], &x, &one);
            lab_same("logits", i, lab_row(y, i), one, 1e-6);
        }
    }
    assert_int_equal(tn_tensor_rank(tn_population_tensor(p, "fc1.weight")), 2);
    assert_int_equal(tn_tensor_rank(tn_population_tensor(p, "drop.random")), 1);
    must_fail(tn_population_set(p, 0, m, &err), TN_INVALID, &err, "share one module's parameters");
    must_fail(tn_population_insert(p, 0, m, &err), TN_INVALID, &err, "share one module's");
    tn_module *copy = lab_module(c, 1);
    must(tn_population_get(p, 3, copy, &err), &err);
    lab_same("fc1.weight", 3, tn_module_find(copy, "fc1.weight"), tn_module_find(m, "fc1.weight"),
             0);
    lab_same("drop.random", 3, tn_module_find(copy, "drop.random"),
             tn_module_find(alone[3], "drop.random"), 0);
    must(tn_population_remove(p, 0, &err), &err);
    tn_population_apply(p, &call, &y);
    net(NULL, alone[1], &x, &one);
    must(tn_eval(&y, 1, &err), &err);
    lab_same("logits", 1, lab_row(y, 0), one, 1e-6);
    tn_scope_close(scope);
    tn_module_release(copy);
    for (int i = 0; i < MEMBERS; i++) tn_module_release(alone[i]);
    tn_population_release(p);
    tn_module_release(m);
    tn_context_release(c);
}

static void test_shared__members_differ_in_their_masks(void **state) {
    (void)state;
    check_members(false);
    check_members(true);
}

/* FLOPs of the kernels with products. */
static double product_flops(tn_context *c, int *launches) {
    static tn_kernel_time time[64];
    int n = tn_context_kernel_times(c, time, 64);
    double sum = 0;
    *launches = 0;
    for (int i = 0; i < n && i < 64; i++) {
        if (!strstr(time[i].name, "dot")) continue;
        sum += time[i].flops;
        *launches += (int)time[i].runs;
    }
    return sum;
}

/* What comes before the first mask is computed once; behind it the members are rows of one product. */
static void test_shared__computes_the_part_before_the_masks_once(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m;
    tn_population *p = shared_population(c, true, &m);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = some_numbers(c, TN_f32, TN_SHAPE(ROWS, WIDTH), 1), *y;
    tn_population_call call = call_of(net, &x, (bool[]){true});
    tn_error err = TN_ERROR_INIT;
    tn_context_profile(c, true);
    tn_population_apply(p, &call, &y);
    must(tn_eval(&y, 1, &err), &err);
    int launches;
    double once = 2.0 * ROWS * WIDTH * HIDDEN;
    double each = 2.0 * ROWS * (HIDDEN * HIDDEN + HIDDEN * CLASSES);
    double flops = product_flops(c, &launches);
    assert_int_equal(launches, 3);
    /* epilogues are counted with the products */
    if (flops < once + MEMBERS * each || flops > 1.1 * (once + MEMBERS * each))
        fail_msg("%.0f FLOPs; expected %.0f", flops, once + MEMBERS * each);
    tn_scope_close(scope);
    tn_population_release(p);
    tn_module_release(m);
    tn_context_release(c);
}

static void with_norm(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)context;
    y[0] = tn_batch_norm(m, "bn", tn_dropout(m, "drop", x[0], 0.4));
}

/* Statistics of all members cannot be what each of them makes; those that do not differ can. */
static void test_shared__statistics_must_not_differ(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    tn_population *p;
    tn_error err = TN_ERROR_INIT;
    o.members = 3, o.shared_parameters = true;
    must(tn_population_create(c, &o, &p, &err), &err);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = some_numbers(c, TN_f32, TN_SHAPE(ROWS, 2), 1), *y;
    tn_population_call call = call_of(with_norm, &x, (bool[]){true});
    tn_population_apply(p, &call, &y);
    refused(c, "'bn.running_mean' of a member is shared by all members, and what the function "
               "assigns to it differs between them");
    tn_module_set_training(tn_module_child(tn_population_module(p), "bn"), false);
    tn_population_apply(p, &call, &y);
    must(tn_eval(&y, 1, &err), &err);
    tn_module_set_training(tn_population_module(p), true);
    tn_module_set_training(tn_module_child(tn_population_module(p), "drop"), false);
    tn_population_apply(p, &call, &y);
    must(tn_eval(&y, 1, &err), &err);
    double *mean = numbers_of(tn_population_tensor(p, "bn.running_mean"));
    assert_true(mean[0] != 0 && mean[1] != 0);
    free(mean);
    tn_scope_close(scope);
    tn_population_release(p);
    tn_context_release(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared__members_differ_in_their_masks),
        cmocka_unit_test(test_shared__computes_the_part_before_the_masks_once),
        cmocka_unit_test(test_shared__statistics_must_not_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
