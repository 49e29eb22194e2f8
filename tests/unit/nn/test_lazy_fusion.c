/* Training steps that are written with lazy tensors: how many kernels they become. */
#include "lazy_test.h"

enum { N = 512, MOST = 10 }; /* so large that products decide */

typedef struct lab {
    tn_context *c;
    tn_scope *scope;
} lab;

static tn_tensor *matrix(lab *t) {
    return tn_mul_scalar(tn_random_normal(t->c, TN_SHAPE(N, N)), 0.05);
}

static tn_tensor *row(lab *t) {
    return tn_random_normal(t->c, TN_SHAPE(N));
}

static void evaluate(tn_tensor *const *x, int count) {
    tn_error err = TN_ERROR_INIT;
    must(tn_eval(x, count, &err), &err);
}

static void lab_init(lab *t) {
    t->c = lazy_context(TN_COMPILE_AUTO, 1);
    t->scope = tn_scope_open(t->c);
}

static void lab_deinit(lab *t) {
    tn_scope_close(t->scope);
    tn_context_release(t->c);
}

static tn_tensor *squares(const tn_tensor *x, const tn_tensor *target) {
    return tn_div_scalar(tn_sum(tn_square(tn_sub(x, target)), TN_ALL_AXES, false), N);
}

/* Of the loss and its gradients alone: the scope is closed, so nothing else is live. */
static uint64_t kernels_of(lab *t, tn_scope *scope, tn_tensor *loss, tn_tensor **x, int count) {
    tn_tensor *out[MOST] = {tn_keep(loss)};
    tn_grad(loss, NULL, x, count, out + 1);
    for (int i = 1; i <= count; i++) tn_keep(out[i]);
    tn_scope_close(scope);
    evaluate(out, count + 1);
    for (int i = 0; i <= count; i++) tn_release(out[i]);
    return statistics(t->c).kernels;
}

typedef tn_tensor *activation(const tn_tensor *x);

static tn_tensor *relu(const tn_tensor *x) {
    return tn_relu(x);
}
static tn_tensor *hyperbolic(const tn_tensor *x) {
    return tn_tanh(x);
}

static uint64_t mlp_kernels(activation *f) {
    lab t;
    lab_init(&t);
    tn_tensor *w[4] = {matrix(&t), matrix(&t), row(&t), row(&t)};
    tn_tensor *x = matrix(&t), *target = matrix(&t);
    evaluate((tn_tensor *[]){w[0], w[1], w[2], w[3], x, target}, 6);
    tn_scope *scope = tn_scope_open(t.c);
    tn_tensor *hidden = f(tn_add(tn_matmul(x, w[0]), w[2]));
    tn_tensor *loss = squares(tn_add(tn_matmul(hidden, w[1]), w[3]), target);
    uint64_t kernels = kernels_of(&t, scope, loss, w, 4);
    lab_deinit(&t);
    return kernels;
}

static void test_lazy_fusion__makes_five_kernels_of_a_two_layer_network(void **state) {
    (void)state;
    assert_int_equal(mlp_kernels(relu), 5);
    assert_int_equal(mlp_kernels(hyperbolic), 5);
}

/* x·w + h·u + b */
static tn_tensor *gate(const tn_tensor *x, const tn_tensor *w, const tn_tensor *h,
                       const tn_tensor *u, const tn_tensor *b) {
    return tn_add(tn_add(tn_matmul(x, w), tn_matmul(h, u)), b);
}

static void test_lazy_fusion__makes_few_kernels_of_a_recurrent_cell(void **state) {
    (void)state;
    lab t;
    lab_init(&t);
    tn_tensor *h = matrix(&t), *x = matrix(&t), *target = matrix(&t), *p[9],
              *all[12] = {h, x, target};
    for (int i = 0; i < 9; i++) all[3 + i] = p[i] = i < 6 ? matrix(&t) : row(&t);
    evaluate(all, 12);
    tn_scope *scope = tn_scope_open(t.c);
    tn_tensor *z = tn_relu(gate(x, p[0], h, p[3], p[6]));
    tn_tensor *r = tn_relu(gate(x, p[1], h, p[4], p[7]));
    tn_tensor *c = tn_tanh(gate(x, p[2], tn_mul(r, h), p[5], p[8]));
    tn_tensor *one = tn_full(t.c, TN_f32, TN_SCALAR_SHAPE, 1);
    tn_tensor *next = tn_add(tn_mul(tn_sub(one, z), h), tn_mul(z, c));
    /* 13 contractions; products that meet are one kernel */
    assert_true(kernels_of(&t, scope, squares(next, target), p, 9) <= 13);
    lab_deinit(&t);
}

static void test_lazy_fusion__makes_few_kernels_of_losses(void **state) {
    (void)state;
    lab t;
    lab_init(&t);
    tn_tensor *x = matrix(&t), *class = tn_tensor_from(t.c, TN_i32, TN_SHAPE(N), NULL);
    evaluate(&x, 1);
    tn_tensor *y = tn_log_softmax(x, -1);
    evaluate(&y, 1);
    assert_int_equal(statistics(t.c).kernels, 1);
    tn_tensor *loss = tn_cross_entropy(x, class);
    evaluate(&loss, 1);
    assert_true(statistics(t.c).kernels <= 2);
    lab_deinit(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lazy_fusion__makes_five_kernels_of_a_two_layer_network),
        cmocka_unit_test(test_lazy_fusion__makes_few_kernels_of_a_recurrent_cell),
        cmocka_unit_test(test_lazy_fusion__makes_few_kernels_of_losses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
