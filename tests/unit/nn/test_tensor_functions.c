/* tn_vmap, tn_custom_vjp and tn_scan: functions that are recorded once. */
#include "unit/nn/lazy_test.h"

enum { SAMPLES = 4, IN = 3, HIDDEN = 5 };

static int setup(void **state) {
    *state = lazy_context(TN_COMPILE_INTERPRET, 1);
    return 0;
}

static int teardown(void **state) {
    tn_context_release(*state);
    return 0;
}

/* ---- tn_vmap -------------------------------------------------------------------------------- */

static void softmax_times(tn_tensor *const *x, tn_tensor **y, void *user) {
    y[0] = tn_mul(tn_softmax(x[0], -1), x[1]);
    y[1] = tn_sum(y[0], TN_ALL_AXES, false);
    y[2] = user; /* what no member changes */
}

static void test_vmap__is_the_function_for_each_member(void **state) {
    tn_context *c = *state;
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = some_numbers(c, TN_f64, TN_SHAPE(SAMPLES, 3), 1);
    tn_tensor *s = some_numbers(c, TN_f64, TN_SHAPE(SAMPLES), 2), *y[3];
    tn_tensor *same = some_numbers(c, TN_f64, TN_SHAPE(2), 3);
    tn_vmap(softmax_times, same, (tn_tensor *[]){x, s}, 2, y, 3);
    assert_int_equal(tn_tensor_rank(y[0]), 2);
    assert_int_equal(tn_tensor_rank(y[1]), 1);
    tn_tensor *want = tn_mul(tn_softmax(x, -1), tn_reshape(s, TN_SHAPE(SAMPLES, 1)));
    double *a = numbers_of(want), *b = numbers_of(tn_sum(want, TN_AXES(1), false));
    expect_numbers(y[0], a, SAMPLES * 3, 1e-12);
    expect_numbers(y[1], b, SAMPLES, 1e-12);
    double *one = numbers_of(same), *all = numbers_of(y[2]);
    for (int i = 0; i < 2 * SAMPLES; i++) assert_true(all[i] == one[i % 2]);
    free(a), free(b), free(one), free(all);
    tn_scope_close(scope);
}

typedef struct layer {
    tn_tensor *w, *v; /* [IN, HIDDEN], [HIDDEN] */
} layer;

static tn_tensor *loss_of(const layer *l, tn_tensor *x, tn_tensor *t) {
    tn_tensor *h = tn_tanh(tn_matmul(x, l->w));
    tn_tensor *d = tn_sub(tn_matmul(h, l->v), t);
    return tn_sum(tn_mul(d, d), TN_ALL_AXES, false);
}

static void sample_gradient(tn_tensor *const *x, tn_tensor **y, void *user) {
    layer *l = user;
    tn_grad(loss_of(l, x[0], x[1]), NULL, (tn_tensor *[]){l->w, l->v}, 2, y);
}

static void test_vmap__of_gradients_gives_those_of_each_sample(void **state) {
    tn_context *c = *state;
    tn_scope *scope = tn_scope_open(c);
    layer l = {tn_variable(some_numbers(c, TN_f64, TN_SHAPE(IN, HIDDEN), 1)),
               tn_variable(some_numbers(c, TN_f64, TN_SHAPE(HIDDEN), 2))};
    tn_tensor *x = some_numbers(c, TN_f64, TN_SHAPE(SAMPLES, IN), 3);
    tn_tensor *t = some_numbers(c, TN_f64, TN_SHAPE(SAMPLES), 4), *all[2], *one[2];
    tn_vmap(sample_gradient, &l, (tn_tensor *[]){x, t}, 2, all, 2);
    for (int i = 0; i < SAMPLES; i++) {
        tn_tensor *at[] = {tn_select(x, 0, i), tn_select(t, 0, i)};
        sample_gradient(at, one, &l);
        for (int k = 0; k < 2; k++) {
            double *want = numbers_of(one[k]);
            expect_numbers(tn_select(all[k], 0, i), want, tn_tensor_count(one[k]), 1e-12);
            free(want);
        }
    }
    tn_scope_close(scope);
}

static void test_vmap__is_differentiable(void **state) {
    tn_context *c = *state;
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_variable(some_numbers(c, TN_f64, TN_SHAPE(SAMPLES, 3), 1)), *y[3], *dx, *want;
    tn_tensor *s = some_numbers(c, TN_f64, TN_SHAPE(SAMPLES), 2);
    tn_vmap(softmax_times, s, (tn_tensor *[]){x, s}, 2, y, 3);
    tn_grad(tn_sum(tn_mul(y[0], y[0]), TN_ALL_AXES, false), NULL, &x, 1, &dx);
    tn_tensor *z = tn_mul(tn_softmax(x, -1), tn_reshape(s, TN_SHAPE(SAMPLES, 1)));
    tn_grad(tn_sum(tn_mul(z, z), TN_ALL_AXES, false), NULL, &x, 1, &want);
    double *numbers = numbers_of(want);
    expect_numbers(dx, numbers, SAMPLES * 3, 1e-12);
    free(numbers);
    tn_scope_close(scope);
}

static void outer_product(tn_tensor *const *x, tn_tensor **y, void *user) {
    y[0] = tn_mul(x[0], user);
}

static void each_with_all(tn_tensor *const *x, tn_tensor **y, void *user) {
    tn_vmap(outer_product, x[0], (tn_tensor *[]){user}, 1, y, 1);
}

static void test_vmap__nests(void **state) {
    tn_context *c = *state;
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_tensor_from(c, TN_f64, TN_SHAPE(2), (double[]){2, 3}), *y;
    tn_tensor *z = tn_tensor_from(c, TN_f64, TN_SHAPE(3), (double[]){1, 10, 100});
    tn_vmap(each_with_all, z, &x, 1, &y, 1);
    EXPECT_NUMBERS(y, 2, 20, 200, 3, 30, 300);
    tn_scope_close(scope);
}

static void test_vmap__of_no_members(void **state) {
    tn_context *c = *state;
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = some_numbers(c, TN_f64, TN_SHAPE(0, 3), 1),
              *s = some_numbers(c, TN_f64, TN_SHAPE(0), 1);
    tn_tensor *y[3];
    tn_vmap(softmax_times, s, (tn_tensor *[]){x, s}, 2, y, 3);
    assert_true(tn_tensor_ok(y[0]));
    assert_int_equal(tn_tensor_dim(y[0], 0), 0);
    assert_int_equal(tn_tensor_dim(y[0], 1), 3);
    tn_scope_close(scope);
}

static void reads(tn_tensor *const *x, tn_tensor **y, void *user) {
    double value;
    tn_error err = TN_ERROR_INIT;
    y[0] = tn_exp(x[0]);
    *(tn_status *)user = tn_item(y[0], &value, &err);
}

static void assigns(tn_tensor *const *x, tn_tensor **y, void *user) {
    y[0] = tn_exp(x[0]);
    tn_assign(user, y[0]);
}

static void forgets(tn_tensor *const *x, tn_tensor **y, void *user) {
    (void)x, (void)y, (void)user;
}

static void test_vmap__refuses_what_cannot_be(void **state) {
    tn_context *c = *state;
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = some_numbers(c, TN_f64, TN_SHAPE(3), 1), *y,
              *scalar = some_numbers(c, TN_f64, 0, NULL, 1);
    tn_tensor *other = some_numbers(c, TN_f64, TN_SHAPE(4), 1);
    tn_status status = TN_OK;
    tn_vmap(reads, &status, &x, 1, &y, 1);
    assert_int_equal(status, TN_INVALID);
    tn_context_clear_error(c);
    tn_vmap(assigns, scalar, &x, 1, &y, 1);
    refused(c, "inside a function given to tn_vmap nothing can be assigned");
    tn_vmap(forgets, NULL, &x, 1, &y, 1);
    refused(c, "tn_vmap: the function left result 0 empty");
    assert_false(tn_tensor_ok(y));
    scalar = some_numbers(c, TN_f64, 0, NULL, 1);
    tn_vmap(forgets, NULL, &scalar, 1, &y, 1);
    refused(c, "input 0 is a scalar");
    tn_vmap(outer_product, x, (tn_tensor *[]){x, other}, 2, &y, 1);
    refused(c, "input 1 has 4 members, input 0 has 3");
    tn_scope_close(scope);
}

/* ---- tn_custom_vjp -------------------------------------------------------------------------- */

/* y = min(x, limit) whose gradient goes through everywhere: a straight-through estimate. */
static void clip(tn_tensor *const *x, tn_tensor **y, void *user) {
    y[0] = tn_minimum(x[0], user);
}

static void through(tn_tensor *const *x, tn_tensor *const *y, tn_tensor *const *dy, tn_tensor **dx,
                    void *user) {
    (void)x, (void)y, (void)user;
    dx[0] = dy[0];
}

static void test_custom__replaces_the_gradient(void **state) {
    tn_context *c = *state;
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_variable(tn_tensor_from(c, TN_f64, TN_SHAPE(3), (double[]){1, 5, 9}));
    tn_tensor *limit = tn_tensor_scalar(c, TN_f64, 4), *y, *dx;
    tn_custom_rule rule = TN_CUSTOM_RULE_INIT;
    rule.forward = clip;
    rule.backward = through;
    rule.user = limit;
    tn_custom_vjp(&rule, &x, 1, &y, 1);
    tn_grad(tn_sum(tn_mul(y, y), TN_ALL_AXES, false), NULL, &x, 1, &dx);
    EXPECT_NUMBERS(y, 1, 4, 4);
    EXPECT_NUMBERS(dx, 2, 8, 8);
    tn_scope_close(scope);
}

/* log(1 + e^x) with what the gradient needs kept, and a second operand that has none. */
static void log_sum(tn_tensor *const *x, tn_tensor **y, void *user) {
    (void)user;
    tn_tensor *e = tn_exp(x[0]);
    y[0] = tn_log1p(e);
    y[1] = e;
}

static void log_sum_back(tn_tensor *const *x, tn_tensor *const *y, tn_tensor *const *dy,
                         tn_tensor **dx, void *user) {
    int *calls = user;
    (void)x;
    ++*calls;
    dx[0] = tn_mul(dy[0], tn_div(y[1], tn_add_scalar(y[1], 1)));
}

static void test_custom__keeps_what_it_saved(void **state) {
    tn_context *c = *state;
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_variable(tn_tensor_from(c, TN_f64, TN_SHAPE(2), (double[]){0, 1.5}));
    tn_tensor *k = tn_variable(tn_tensor_from(c, TN_f64, TN_SHAPE(2), (double[]){3, 3}));
    tn_tensor *y, *dx[2], *again;
    int calls = 0;
    tn_custom_rule rule = TN_CUSTOM_RULE_INIT;
    rule.forward = log_sum;
    rule.backward = log_sum_back;
    rule.user = &calls;
    rule.saved_count = 1;
    tn_custom_vjp(&rule, (tn_tensor *[]){x, k}, 2, &y, 1);
    tn_grad(y, NULL, (tn_tensor *[]){x, k}, 2, dx);
    double s = 1 / (1 + exp(-1.5));
    EXPECT_NUMBERS(dx[0], .5, s);
    EXPECT_NUMBERS(dx[1], 0, 0);
    tn_custom_vjp(&rule, (tn_tensor *[]){x, k}, 2, &y, 1);
    tn_grad(y, NULL, &x, 1, dx);
    assert_int_equal(calls, 2);          /* once for each tn_custom_vjp */
    tn_grad(dx[0], NULL, &x, 1, &again); /* what was saved depends on x as forward says */
    EXPECT_NUMBERS(again, .25, s * (1 - s));
    tn_scope_close(scope);
}

/* The gradient of a gradient is that of backward's operations. */
static void cube(tn_tensor *const *x, tn_tensor **y, void *user) {
    (void)user;
    y[0] = tn_mul(x[0], tn_mul(x[0], x[0]));
}

static void cube_back(tn_tensor *const *x, tn_tensor *const *y, tn_tensor *const *dy,
                      tn_tensor **dx, void *user) {
    (void)y, (void)user;
    dx[0] = tn_mul(dy[0], tn_mul_scalar(tn_mul(x[0], x[0]), 3));
}

static void custom_cube(tn_tensor *const *x, tn_tensor **y, void *user) {
    tn_custom_vjp(user, x, 1, y, 1);
}

static void test_custom__has_higher_derivatives_and_members(void **state) {
    tn_context *c = *state;
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_variable(tn_tensor_from(c, TN_f64, TN_SHAPE(2), (double[]){2, 3}));
    tn_custom_rule rule = TN_CUSTOM_RULE_INIT;
    rule.forward = cube;
    rule.backward = cube_back;
    tn_tensor *y, *first, *second, *all;
    tn_custom_vjp(&rule, &x, 1, &y, 1);
    tn_grad(y, NULL, &x, 1, &first);
    tn_grad(first, NULL, &x, 1, &second);
    EXPECT_NUMBERS(first, 12, 27);
    EXPECT_NUMBERS(second, 12, 18);
    tn_vmap(custom_cube, &rule, &x, 1, &all, 1);
    tn_grad(all, NULL, &x, 1, &first);
    EXPECT_NUMBERS(all, 8, 27);
    EXPECT_NUMBERS(first, 12, 27);
    tn_scope_close(scope);
}

static void wrong_shape(tn_tensor *const *x, tn_tensor *const *y, tn_tensor *const *dy,
                        tn_tensor **dx, void *user) {
    (void)x, (void)y, (void)user;
    dx[0] = tn_sum(dy[0], TN_ALL_AXES, false);
}

static void test_custom__refuses_what_would_be_wrong(void **state) {
    tn_context *c = *state;
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = some_numbers(c, TN_f64, TN_SHAPE(3), 1), *y;
    tn_custom_rule rule = TN_CUSTOM_RULE_INIT;
    rule.forward = clip;
    rule.backward = wrong_shape;
    rule.user = some_numbers(c, TN_f64, 0, NULL, 1);
    tn_custom_vjp(&rule, &x, 1, &y, 1);
    refused(c, "result 0 of sub-graph 'vjp' is f64[]; expected f64[3]");
    rule.backward = through;
    rule.user = tn_variable(some_numbers(c, TN_f64, 0, NULL, 1));
    tn_custom_vjp(&rule, &x, 1, &y, 1);
    refused(c, "use a tensor that depends on a variable and is not among x");
    rule.user = tn_stop_gradient(rule.user);
    tn_custom_vjp(&rule, &x, 1, &y, 1);
    assert_true(tn_tensor_ok(y));
    tn_scope_close(scope);
}

/* ---- tn_scan -------------------------------------------------------------------------------- */

/* h' = tanh(h · w + x), y = h'², and a counter that is no float */
static void cell(tn_tensor *const *carry, tn_tensor *const *x, tn_tensor **next, tn_tensor **y,
                 void *user) {
    next[0] = tn_tanh(tn_add(tn_matmul(carry[0], user), x[0]));
    next[1] = tn_add_scalar(carry[1], 1);
    y[0] = tn_mul(next[0], next[0]);
}

static tn_tensor *loop_loss(tn_context *c, bool as_loop, tn_tensor *h, tn_tensor *x, tn_tensor *w) {
    enum { STEPS = 4 };
    tn_tensor *carry[2] = {h, tn_tensor_from(c, TN_i64, TN_SCALAR_SHAPE, (int64_t[]){5})};
    tn_tensor *made[3], *sum = NULL;
    tn_scan_loop loop = TN_SCAN_LOOP_INIT;
    loop.step = cell;
    loop.user = w;
    loop.carry = carry;
    loop.x = &x;
    loop.carry_count = 2;
    loop.x_count = loop.y_count = 1;
    loop.reverse = true;
    if (as_loop) {
        tn_scan(&loop, made);
        return tn_add(tn_sum(made[2], TN_ALL_AXES, false),
                      tn_mul(tn_sum(made[0], TN_ALL_AXES, false), tn_cast(made[1], TN_f64)));
    }
    for (int i = STEPS; i-- > 0;) {
        tn_tensor *step = tn_select(x, 0, i), *y;
        cell(carry, &step, made, &y, w);
        carry[0] = made[0];
        carry[1] = made[1];
        y = tn_sum(y, TN_ALL_AXES, false);
        sum = sum ? tn_add(sum, y) : y;
    }
    return tn_add(sum, tn_mul(tn_sum(carry[0], TN_ALL_AXES, false), tn_cast(carry[1], TN_f64)));
}

static void test_scan__is_its_steps_one_by_one(void **state) {
    tn_context *c = *state;
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x[] = {some_numbers(c, TN_f64, TN_SHAPE(2, 3), 1),
                      some_numbers(c, TN_f64, TN_SHAPE(4, 2, 3), 2),
                      some_numbers(c, TN_f64, TN_SHAPE(3, 3), 3)};
    tn_tensor *have[3], *want[3], *loss[2];
    for (int i = 0; i < 3; i++) tn_variable(x[i]);
    for (int i = 0; i < 2; i++) loss[i] = loop_loss(c, i == 0, x[0], x[1], x[2]);
    tn_grad(loss[0], NULL, x, 3, have);
    tn_grad(loss[1], NULL, x, 3, want);
    double *value = numbers_of(loss[1]);
    expect_numbers(loss[0], value, 1, 1e-12);
    free(value);
    for (int i = 0; i < 3; i++) {
        double *numbers = numbers_of(want[i]);
        expect_numbers(have[i], numbers, tn_tensor_count(want[i]), 1e-12);
        free(numbers);
    }
    tn_scope_close(scope);
}

static void grows(tn_tensor *const *carry, tn_tensor *const *x, tn_tensor **next, tn_tensor **y,
                  void *user) {
    (void)x, (void)y, (void)user;
    next[0] = tn_concat((tn_tensor *[]){carry[0], carry[0]}, 2, 0);
}

static void doubles(tn_tensor *const *carry, tn_tensor *const *x, tn_tensor **next, tn_tensor **y,
                    void *user) {
    (void)x, (void)y, (void)user;
    next[0] = tn_add(carry[0], carry[0]);
}

static void test_scan__without_x_and_with_other_carries(void **state) {
    tn_context *c = *state;
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_tensor_from(c, TN_f64, TN_SHAPE(2), (double[]){1, 3}), *y;
    tn_scan_loop loop = TN_SCAN_LOOP_INIT;
    loop.step = doubles;
    loop.carry = &x;
    loop.carry_count = 1;
    loop.length = 5;
    tn_scan(&loop, &y);
    EXPECT_NUMBERS(y, 32, 96);
    loop.length = 0;
    tn_scan(&loop, &y);
    EXPECT_NUMBERS(y, 1, 3);
    loop.length = -1;
    tn_scan(&loop, &y);
    refused(c, "a length of -1 steps");
    loop.length = 3;
    loop.step = grows;
    tn_scan(&loop, &y);
    refused(c, "result 0 of sub-graph 'body' is f64[4]; expected f64[2]");
    tn_scope_close(scope);
}

/* ---- what gradients are taken of ------------------------------------------------------------ */

static void test_gradient__of_what_is_not_reached_or_stopped(void **state) {
    tn_context *c = *state;
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_variable(tn_tensor_from(c, TN_f64, TN_SHAPE(2), (double[]){2, 3}));
    tn_tensor *z = tn_variable(some_numbers(c, TN_f32, TN_SHAPE(4), 1)), *dx[2];
    tn_tensor *y = tn_mul(x, tn_stop_gradient(tn_mul(x, x)));
    tn_grad(y, NULL, (tn_tensor *[]){x, z}, 2, dx);
    EXPECT_NUMBERS(dx[0], 4, 9);
    EXPECT_NUMBERS(dx[1], 0, 0, 0, 0);
    tn_tensor *n = tn_tensor_from(c, TN_i64, TN_SHAPE(2), (int64_t[]){1, 2});
    tn_grad(tn_exp(x), NULL, &n, 1, dx);
    refused(c, "x is of type i64; only floats have derivatives");
    tn_scope_close(scope);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_vmap__is_the_function_for_each_member),
        TEST(test_vmap__of_gradients_gives_those_of_each_sample),
        TEST(test_vmap__is_differentiable),
        TEST(test_vmap__nests),
        TEST(test_vmap__of_no_members),
        TEST(test_vmap__refuses_what_cannot_be),
        TEST(test_custom__replaces_the_gradient),
        TEST(test_custom__keeps_what_it_saved),
        TEST(test_custom__has_higher_derivatives_and_members),
        TEST(test_custom__refuses_what_would_be_wrong),
        TEST(test_scan__is_its_steps_one_by_one),
        TEST(test_scan__without_x_and_with_other_carries),
        TEST(test_gradient__of_what_is_not_reached_or_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
