/* Random numbers of members: streams of their own, shared ones, a rate of dropout for each member. */
#include "unit/wide/population_lab.h"

static tn_population_call call_of(tn_member_function *fn, tn_tensor *const *x, int count) {
    return (tn_population_call){
        .size = sizeof(tn_population_call), .fn = fn, .x = x, .x_count = count, .y_count = 1};
}

static tn_population *population(tn_context *c, tn_population_options o) {
    tn_error err = TN_ERROR_INIT;
    tn_population *p;
    o.size = sizeof o;
    o.dtype = TN_f32;
    must(tn_population_create(c, &o, &p, &err), &err);
    return p;
}

/* ---- random numbers ------------------------------------------------------------------------- */

static void drop(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    y[0] = tn_dropout(m, "drop", x[0], *(const double *)context);
}

enum { ELEMENTS = 20000 };

static tn_tensor *ones(tn_context *c) {
    return tn_full(c, TN_f32, TN_SHAPE(ELEMENTS), 1);
}

static double zeros_of(const float *y) {
    int zeros = 0;
    for (int i = 0; i < ELEMENTS; i++) zeros += y[i] == 0;
    return (double)zeros / ELEMENTS;
}

static int differences(const float *x, const float *y) {
    int n = 0;
    for (int i = 0; i < ELEMENTS; i++) n += x[i] != y[i];
    return n;
}

/* 3σ of the fraction of zeros; two independent masks differ in 2p(1 − p) of the places. */
static void test_dropout__has_streams_of_its_own(void **state) {
    (void)state;
    double p = 0.3, sigma = sqrt(p * (1 - p) / ELEMENTS);
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_scope *scope = tn_scope_open(l.c);
    tn_tensor *x = ones(l.c), *y;
    tn_population_call call = call_of(drop, &x, 1);
    static float mask[LAB_MEMBERS][ELEMENTS];
    call.context = &p;
    call.shared = (bool[]){true};
    tn_population_apply(l.p, &call, &y);
    read_into(y, mask, sizeof mask);
    for (int k = 0; k < LAB_MEMBERS; k++) {
        expect_near(zeros_of(mask[k]), p, 3 * sigma);
        for (int i = 0; i < ELEMENTS; i++)
            if (mask[k][i] != 0) expect_near((double)mask[k][i], 1 / (1 - p), 1e-6);
        double other = (double)differences(mask[k], mask[(k + 1) % LAB_MEMBERS]) / ELEMENTS;
        expect_near(other, 2 * p * (1 - p), 0.02);
    }
    tn_module_set_training(tn_population_module(l.p), false);
    tn_population_apply(l.p, &call, &y);
    read_into(y, mask, sizeof mask);
    for (int k = 0; k < LAB_MEMBERS; k++)
        for (int i = 0; i < ELEMENTS; i++) assert_true(mask[k][i] == 1);
    tn_scope_close(scope);
    lab_close(&l);
}

static void test_same_randoms__are_those_of_the_first_seed(void **state) {
    (void)state;
    double p = 0.5;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_population *same = population(
        c, (tn_population_options){.members = 3, .seed = LAB_SEED, .same_randoms = true});
    tn_module *alone = lab_module(c, LAB_SEED);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = ones(c), *y, *one;
    static float mask[3][ELEMENTS], want[ELEMENTS];
    tn_population_call call = call_of(drop, &x, 1);
    call.context = &p;
    call.shared = (bool[]){true};
    for (int i = 0; i < 2; i++) {
        tn_population_apply(same, &call, &y);
        drop(&p, alone, &x, &one);
        read_into(y, mask, sizeof mask);
        read_into(one, want, sizeof want);
        for (int k = 0; k < 3; k++) assert_int_equal(differences(mask[k], want), 0);
    }
    assert_int_equal(tn_tensor_rank(tn_population_tensor(same, "drop.random")), 0);
    tn_scope_close(scope);
    tn_module_release(alone);
    tn_population_release(same);
    tn_context_release(c);
}

/* ---- a rate of dropout for each member ------------------------------------------------------ */

/* y and the gradient of Σ sin(y); the rate is the buffer, or the number of the context. */
static void drop_by(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    tn_tensor *p = tn_module_buffer(m, "rate", TN_f64, TN_SCALAR_SHAPE, tn_init_zeros());
    const double *number = context;
    y[0] = number ? tn_dropout(m, "drop", x[0], *number) : tn_dropout_by(m, "drop", x[0], p);
    tn_tensor *to[] = {x[0], p};
    tn_grad(tn_sum(tn_sin(y[0]), TN_ALL_AXES, false), NULL, to, 2, y + 1);
}

static void test_dropout_by__is_dropout_with_each_members_rate(void **state) {
    (void)state;
    static const double rate[LAB_MEMBERS] = {0.3, 1, 0.75};
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_scope *scope = tn_scope_open(l.c);
    tn_tensor *x = some_numbers(l.c, TN_f32, TN_SHAPE(LAB_MEMBERS, 50, 4), 1), *y[3], *one[3];
    tn_population_call call = call_of(drop_by, &x, 1);
    call.y_count = 3;
    tn_population_apply(l.p, &call, y); /* makes the buffer; with the rate 0 */
    for (int k = 0; k < LAB_MEMBERS; k++) lab_same("x", k, lab_row(y[0], k), lab_row(x, k), 0);
    tn_assign(tn_population_tensor(l.p, "rate"),
              tn_tensor_from(l.c, TN_f64, TN_SHAPE(LAB_MEMBERS), rate));
    for (int k = 0; k < LAB_MEMBERS; k++) {
        tn_tensor *in = lab_row(x, k);
        drop_by((void *)(uintptr_t)&rate[k], l.alone[k], &in, one); /* as many draws */
    }
    for (int turn = 0; turn < 2; turn++) {
        tn_population_apply(l.p, &call, y);
        tn_error err = TN_ERROR_INIT;
        must(tn_eval(y, 3, &err), &err);
        for (int k = 0; k < LAB_MEMBERS; k++) {
            tn_tensor *in = lab_row(x, k);
            drop_by((void *)(uintptr_t)&rate[k], l.alone[k], &in, one);
            for (int i = 0; i < 3; i++) lab_same("dropout", k, lab_row(y[i], k), one[i], 0);
        }
    }
    EXPECT_NUMBERS(y[2], 0, 0, 0);
    tn_module_set_training(tn_population_module(l.p), false);
    tn_population_apply(l.p, &call, y);
    for (int k = 0; k < LAB_MEMBERS; k++) lab_same("x", k, lab_row(y[0], k), lab_row(x, k), 0);
    tn_scope_close(scope);
    lab_close(&l);
}

static void test_dropout_by__tells_wrong_rates(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = lab_module(c, 1);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = some_numbers(c, TN_f32, TN_SHAPE(4), 1);
    static const double wrong[] = {-0.1, 1.1, (double)NAN};
    for (int i = 0; i < 3; i++) {
        tn_tensor *y = tn_dropout_by(m, "d", x, tn_tensor_scalar(c, TN_f32, wrong[i]));
        double *got = numbers_of(y);
        for (int k = 0; k < 4; k++) assert_true(isnan(got[k]));
        free(got);
    }
    tn_dropout_by(m, "d", x, x);
    refused(c, "'d': the probability is of type f32 with 1 axes; expected a float scalar");
    tn_dropout_by(m, "d", x, tn_tensor_scalar(c, TN_i32, 1));
    refused(c, "type i32 with 0 axes");
    tn_scope_close(scope);
    tn_module_release(m);
    tn_context_release(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dropout__has_streams_of_its_own),
        cmocka_unit_test(test_same_randoms__are_those_of_the_first_seed),
        cmocka_unit_test(test_dropout_by__is_dropout_with_each_members_rate),
        cmocka_unit_test(test_dropout_by__tells_wrong_rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
