/* Loops and branches of lazy tensors, and their gradients. */
#include <tenon/nn.h>

#include "unit/nn/lazy_test.h"

/* ---- scan ----------------------------------------------------------------------------------- */

/* h = tanh(w h + x) with w from outside; collects h and 2 h */
static void step(tn_tensor *const *h, tn_tensor *const *x, tn_tensor **next, tn_tensor **y,
                 void *user) {
    tn_tensor *const *w = user;
    next[0] = tn_tanh(tn_add(tn_matmul(*w, h[0]), x[0]));
    y[0] = next[0];
    y[1] = tn_mul_scalar(y[0], 2);
}

/* One carry; the other counts are of x and y. */
static void scan_of(tn_scan_loop loop, tn_tensor *const *in, tn_tensor **out) {
    loop.size = sizeof loop;
    loop.carry = in;
    loop.carry_count = 1;
    loop.x = in + 1;
    tn_scan(&loop, out);
}

static void test_scan__is_the_loop_written_out(void **state) {
    (void)state;
    enum { STEPS = 5, SIZE = 3 };
    for (int reverse = 0; reverse < 2; reverse++) {
        tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
        tn_scope *scope = tn_scope_open(c);
        tn_tensor *w = some_numbers(c, TN_f64, TN_SHAPE(SIZE, SIZE), 1);
        tn_tensor *x[2] = {some_numbers(c, TN_f64, TN_SHAPE(SIZE), 2),
                           some_numbers(c, TN_f64, TN_SHAPE(STEPS, SIZE), 3)};
        tn_tensor *y[3], *h = x[0], *all[STEPS];
        scan_of(
            (tn_scan_loop){
                .step = step, .user = &w, .x_count = 1, .y_count = 2, .reverse = reverse},
            x, y);
        for (int i = 0; i < STEPS; i++) {
            int at = reverse ? STEPS - 1 - i : i;
            all[at] = h = tn_tanh(tn_add(tn_matmul(w, h), tn_select(x[1], 0, at)));
        }
        tn_tensor *vars[3] = {w, x[0], x[1]}, *grad[3], *want[3];
        tn_tensor *plain = tn_add(tn_sum(tn_square(tn_stack(all, STEPS, 0)), TN_ALL_AXES, false),
                                  tn_sum(h, TN_ALL_AXES, false));
        tn_tensor *sum = tn_add(tn_sum(tn_mul_scalar(tn_mul(y[1], y[2]), 0.5), TN_ALL_AXES, false),
                                tn_sum(y[0], TN_ALL_AXES, false));
        tn_grad(plain, NULL, vars, 3, want);
        tn_grad(sum, NULL, vars, 3, grad);
        assert_int_equal(tn_tensor_dim(y[2], 0), STEPS);
        for (int i = 0; i < 3; i++) {
            double *numbers = numbers_of(want[i]);
            expect_numbers(grad[i], numbers, tn_tensor_count(want[i]), 1e-12);
            free(numbers);
        }
        tn_scope_close(scope);
        tn_context_release(c);
    }
}

/* The inner loop uses what the outer one's step has. */
static void inner(tn_tensor *const *h, tn_tensor *const *x, tn_tensor **next, tn_tensor **y,
                  void *user) {
    tn_tensor *const *outer = user;
    (void)y;
    next[0] = tn_add(tn_mul(h[0], *outer), x[0]);
}

static void nested(tn_tensor *const *h, tn_tensor *const *x, tn_tensor **next, tn_tensor **y,
                   void *user) {
    tn_tensor *of_outer = x[0];
    (void)user;
    (void)y;
    tn_tensor *in[2] = {h[0], x[1]};
    scan_of((tn_scan_loop){.step = inner, .user = &of_outer, .x_count = 1}, in, next);
}

static void test_scan__nests(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x[3] = {tn_tensor_scalar(c, TN_f64, 1),
                       tn_tensor_from(c, TN_f64, TN_SHAPE(2), (double[]){2, 3}),
                       tn_tensor_from(c, TN_f64, TN_SHAPE(2, 2), (double[]){1, 2, 3, 4})};
    tn_tensor *y, *grad[3];
    scan_of((tn_scan_loop){.step = nested, .x_count = 2}, x, &y);
    tn_grad(y, NULL, x, 3, grad);
    /* ((1·2 + 1)·2 + 2 = 8; (8·3 + 3)·3 + 4 = 85 */
    EXPECT_NUMBERS(y, 85);
    EXPECT_NUMBERS(grad[0], 36);
    EXPECT_NUMBERS(grad[1], 45, 51);
    EXPECT_NUMBERS(grad[2], 18, 9, 3, 1);
    tn_scope_close(scope);
    tn_context_release(c);
}

/* ---- while, cond ---------------------------------------------------------------------------- */

static tn_tensor *below_hundred(tn_tensor *const *x, void *user) {
    (void)user;
    return tn_less(x[0], tn_full(tn_tensor_context(x[0]), TN_f64, TN_SCALAR_SHAPE, 100));
}

static void doubled(tn_tensor *const *x, tn_tensor **y, void *user) {
    tn_tensor *const *factor = user;
    y[0] = tn_mul(x[0], *factor);
    y[1] = tn_add_scalar(x[1], 1);
}

static void test_while__runs_as_long_as_it_holds(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_scope *scope = tn_scope_open(c);
    for (int i = 0; i < 2; i++) {
        tn_tensor *two = tn_tensor_scalar(c, TN_f64, 2), *y[2];
        tn_tensor *x[2] = {tn_tensor_scalar(c, TN_f64, i ? 200 : 3),
                           tn_tensor_scalar(c, TN_i64, 0)};
        tn_while(below_hundred, doubled, &two, x, y, 2);
        EXPECT_NUMBERS(y[0], i ? 200 : 192);
        EXPECT_NUMBERS(tn_cast(y[1], TN_f64), i ? 0 : 6);
    }
    tn_scope_close(scope);
    tn_context_release(c);
}

static void squared(tn_tensor *const *x, tn_tensor **y, void *user) {
    (void)user;
    y[0] = tn_square(x[0]);
}

static void scaled(tn_tensor *const *x, tn_tensor **y, void *user) {
    tn_tensor *const *factor = user;
    y[0] = tn_mul(x[0], *factor);
}

static void test_cond__takes_one_branch(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_tensor_from(c, TN_f64, TN_SHAPE(2), (double[]){3, -5});
    tn_tensor *factor = tn_tensor_scalar(c, TN_f64, 10), *y, *grad[2];
    tn_branches branches = {squared, scaled, &factor};
    for (int taken = 0; taken < 2; taken++) {
        tn_tensor *flag = tn_tensor_scalar(c, TN_bool, taken);
        tn_cond(flag, &branches, &x, 1, &y, 1);
        tn_tensor *vars[2] = {x, factor};
        tn_grad(y, NULL, vars, 2, grad);
        if (taken) {
            EXPECT_NUMBERS(y, 9, 25);
            EXPECT_NUMBERS(grad[0], 6, -10);
            EXPECT_NUMBERS(grad[1], 0);
        } else {
            EXPECT_NUMBERS(y, 30, -50);
            EXPECT_NUMBERS(grad[0], 10, 10);
            EXPECT_NUMBERS(grad[1], -2);
        }
    }
    tn_scope_close(scope);
    tn_context_release(c);
}

/* ---- errors --------------------------------------------------------------------------------- */

static void reads(tn_tensor *const *x, tn_tensor **y, void *user) {
    double value;
    tn_error err = TN_ERROR_INIT;
    (void)user;
    assert_int_equal(tn_item(x[0], &value, &err), TN_INVALID);
    y[0] = x[0];
    y[1] = NULL;
}

static void grows(tn_tensor *const *x, tn_tensor **y, void *user) {
    (void)user;
    y[0] = tn_stack((tn_tensor *[]){x[0], x[0]}, 2, 0);
}

static void trains(tn_tensor *const *x, tn_tensor **y, void *user) {
    y[0] = tn_batch_norm(user, "norm", x[0]);
}

static void test_control__wrong_calls(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_tensor_scalar(c, TN_f64, 1), *y[2];
    tn_tensor *yes = tn_tensor_scalar(c, TN_bool, 1);
    tn_cond(yes, &(tn_branches){reads, reads, NULL}, &x, 1, y, 2);
    assert_false(tn_tensor_ok(y[0]));
    refused(c, "result 1 empty");
    tn_while(below_hundred, grows, NULL, &x, y, 1);
    refused(c, "sub-graph 'body'");
    tn_cond(x, &(tn_branches){squared, squared, NULL}, &x, 1, y, 1);
    refused(c, "flag");
    tn_cond(yes, &(tn_branches){squared, grows, NULL}, &x, 1, y, 1);
    refused(c, "sub-graph 'else_graph'");
    tn_module *m;
    tn_error err = TN_ERROR_INIT;
    must(tn_module_create(c, NULL, &m, &err), &err);
    tn_tensor *rows = some_numbers(c, TN_f32, TN_SHAPE(4, 3), 1);
    tn_cond(yes, &(tn_branches){trains, trains, m}, &rows, 1, y, 1);
    refused(c, "nothing can be assigned");
    tn_module_release(m);
    tn_scope_close(scope);
    tn_context_release(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scan__is_the_loop_written_out),
        cmocka_unit_test(test_scan__nests),
        cmocka_unit_test(test_while__runs_as_long_as_it_holds),
        cmocka_unit_test(test_cond__takes_one_branch),
        cmocka_unit_test(test_control__wrong_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
