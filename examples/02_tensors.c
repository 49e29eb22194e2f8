/* Lazy tensors: operations record a graph; reading a value compiles it, runs it and keeps the program.
 *
 *   $ build/examples/02_tensors
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <tenon/tensor.h>

static int fail(tn_context *c, const tn_error *err) {
    char text[4096];
    tn_error_format(err, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    tn_context_release(c);
    return EXIT_FAILURE;
}

/* Softmax, and the gradient of its first element: one kernel each way. */
static tn_status softmax(tn_context *c, tn_error *err) {
    float y[3], slope[3];
    tn_scope *scope = tn_scope_open(c); /* what is made from here on goes at the scope's end */
    tn_tensor *x = tn_tensor_from(c, TN_f32, TN_SHAPE(3), ((float[]){1, 2, 3})), *dx;
    tn_tensor *p = tn_softmax(x, -1);
    tn_grad(tn_select(p, 0, 0), NULL, &x, 1, &dx);
    tn_status status = tn_read(p, y, sizeof y, err);
    if (status == TN_OK) status = tn_read(dx, slope, sizeof slope, err);
    if (status == TN_OK) {
        printf("softmax      %.4f %.4f %.4f\n", (double)y[0], (double)y[1], (double)y[2]);
        printf("d p[0]/d x   %.4f %.4f %.4f\n", (double)slope[0], (double)slope[1],
               (double)slope[2]);
    }
    tn_scope_close(scope);
    return status;
}

/* Finds the line that 64 noisy points lie on, by gradient descent. A step is one program: the loss, the
 * gradients and the new values. It is compiled once. */
static tn_status line(tn_context *c, tn_error *err) {
    tn_status status = TN_OK;
    double loss = NAN, slope, offset;
    tn_tensor *x = tn_random_uniform(c, TN_SHAPE(64));
    tn_tensor *noise = tn_mul_scalar(tn_random_normal(c, TN_SHAPE(64)), 0.05);
    tn_tensor *y = tn_add(tn_add_scalar(tn_mul_scalar(x, 3), -1), noise);
    tn_tensor *w[2] = {tn_variable(tn_tensor_scalar(c, TN_f32, 0)),
                       tn_variable(tn_tensor_scalar(c, TN_f32, 0))};
    for (int step = 0; step < 500 && status == TN_OK; step++) {
        tn_tensor *grad[2];
        tn_scope *scope = tn_scope_open(c);
        tn_tensor *error = tn_sub(tn_add(tn_mul(x, w[0]), w[1]), y);
        tn_tensor *mean = tn_mean(tn_square(error), TN_ALL_AXES, false);
        tn_grad(mean, NULL, w, 2, grad);
        for (int i = 0; i < 2; i++) tn_assign(w[i], tn_sub(w[i], tn_mul_scalar(grad[i], 0.3)));
        status = tn_item(mean, &loss, err);
        tn_scope_close(scope);
    }
    if (status == TN_OK) status = tn_item(w[0], &slope, err);
    if (status == TN_OK) status = tn_item(w[1], &offset, err);
    if (status == TN_OK) printf("y = %.2f x %+.2f, loss %.4f\n", slope, offset, loss);
    return status;
}

/* A mistake is told when something is read, with the line that made it. */
static void mistake(tn_context *c) {
    char text[4096];
    tn_error err = TN_ERROR_INIT;
    tn_tensor *x = tn_full(c, TN_f32, TN_SHAPE(2, 3), 1);
    tn_tensor *y = tn_exp(tn_matmul(x, x));
    if (tn_eval(&y, 1, &err) != TN_OK) {
        tn_error_format(&err, text, sizeof text);
        printf("as expected: %s\n", text);
    }
    tn_context_clear_error(c);
}

int main(void) {
    tn_error err = TN_ERROR_INIT;
    tn_context *c;
    if (tn_context_create(NULL, &c, &err) != TN_OK) return fail(NULL, &err);
    tn_scope *scope = tn_scope_open(c);
    if (softmax(c, &err) != TN_OK || line(c, &err) != TN_OK) return fail(c, &err);
    mistake(c);
    tn_context_stats s;
    tn_context_statistics(c, &s);
    printf("%llu programs compiled, %llu runs\n", (unsigned long long)s.compiles,
           (unsigned long long)s.runs);
    tn_scope_close(scope);
    tn_context_release(c);
    return EXIT_SUCCESS;
}
