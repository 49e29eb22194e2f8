/* A loss of one's own, and a gradient of one's own.
 *
 * A curve is learned from points of which every eighth is far off. The squared error bends towards those;
 * log cosh e grows like |e| and does not. Any operations make a loss: gradients follow from them. But
 * log(cosh(e)) taken literally overflows where e is large, and so does its gradient. tn_custom_vjp gives the
 * function both as they are safe: log cosh e = |e| + log1p(exp(−2|e|)) − log 2, and its derivative tanh e. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <tenon/train.h>

enum { POINTS = 256, HIDDEN = 32, STEPS = 500 };

/* ---- the loss ------------------------------------------------------------------------------- */

static tn_tensor *literal_log_cosh(tn_tensor *e) {
    return tn_log(tn_cosh(e));
}

/* y[0] from x[0]; what stood behind it in y would be saved for the other function. */
static void forward(tn_tensor *const *x, tn_tensor **y, void *user) {
    (void)user;
    tn_tensor *size = tn_abs(x[0]);
    tn_tensor *rest = tn_log1p(tn_exp(tn_mul_scalar(size, -2)));
    y[0] = tn_add_scalar(tn_add(size, rest), -log(2));
}

/* dx[0] = dy[0] · tanh e */
static void backward(tn_tensor *const *x, tn_tensor *const *y, tn_tensor *const *dy, tn_tensor **dx,
                     void *user) {
    (void)y, (void)user;
    dx[0] = tn_mul(dy[0], tn_tanh(x[0]));
}

static tn_tensor *log_cosh(tn_tensor *e) {
    tn_custom_rule rule = TN_CUSTOM_RULE_INIT;
    tn_tensor *y;
    rule.forward = forward;
    rule.backward = backward;
    tn_custom_vjp(&rule, &e, 1, &y, 1);
    return y;
}

/* Values and gradients of both at some errors. */
static tn_status compare(tn_context *c, tn_error *err) {
    static const float at[] = {0.01F, 1, 40, 200};
    enum { COUNT = sizeof at / sizeof *at };
    tn_tensor *(*const functions[])(tn_tensor *) = {literal_log_cosh, log_cosh};
    float numbers[4][COUNT];
    tn_status status = TN_OK;
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *e = tn_variable(tn_tensor_from(c, TN_f32, TN_SHAPE(COUNT), at));
    for (int i = 0; i < 2 && status == TN_OK; i++) {
        tn_tensor *y = functions[i](e), *gradient;
        tn_grad(y, NULL, &e, 1, &gradient);
        status = tn_read(y, numbers[2 * i], sizeof numbers[0], err);
        if (status == TN_OK) status = tn_read(gradient, numbers[2 * i + 1], sizeof numbers[0], err);
    }
    tn_scope_close(scope);
    if (status != TN_OK) return status;
    printf("          log(cosh(e))        with tn_custom_vjp\n");
    printf("     e    value  gradient       value  gradient\n");
    for (int i = 0; i < COUNT; i++)
        printf("%6g  %7.3g  %8.3g     %7.3g  %8.3g\n", (double)at[i], (double)numbers[0][i],
               (double)numbers[1][i], (double)numbers[2][i], (double)numbers[3][i]);
    return TN_OK;
}

/* ---- a curve, sin 2x ---------------------------------------------------------------------------- */

static void make_points(float x[POINTS], float y[POINTS]) {
    for (int i = 0; i < POINTS; i++) {
        x[i] = (float)(6.0 * i / (POINTS - 1) - 3);
        y[i] = (float)sin(2 * (double)x[i]) + (i % 8 == 3 ? 5 : 0);
    }
}

/* x [N, 1] → [N, 1] */
static tn_tensor *network(tn_module *m, tn_tensor *x) {
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    x = tn_tanh(tn_linear(m, "first", x, HIDDEN));
    x = tn_tanh(tn_linear(m, "second", x, HIDDEN));
    return tn_scope_return(scope, tn_linear(m, "out", x, 1));
}

/* Which loss it is comes with the context. */
static tn_tensor *loss(void *context, tn_module *m, tn_tensor *const *batch) {
    const int *own = context;
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *e = tn_sub(network(m, batch[0]), batch[1]);
    tn_tensor *each = *own ? log_cosh(e) : tn_square(e);
    return tn_scope_return(scope, tn_mean(each, TN_ALL_AXES, false));
}

static tn_status train(tn_module *m, int own, const tn_buffer batch[2], tn_error *err) {
    tn_train_options o = TN_TRAIN_OPTIONS_INIT;
    tn_train_step *step;
    o.module = m;
    o.loss = loss;
    o.context = &own;
    o.batch = batch;
    o.batch_count = 2;
    TN_TRY(err, tn_train_step_compile(&o, &step, err), "while making the step");
    tn_status status = TN_OK;
    for (int i = 0; i < STEPS && status == TN_OK; i++)
        status = tn_train_step_run(step, batch, 0.01 * (1 - (double)i / STEPS), NULL, err);
    tn_train_step_release(step);
    return status;
}

/* How far what was learned is from the curve without the points that are off, in the mean. */
static tn_status learn(tn_context *c, int own, tn_error *err) {
    float x[POINTS], y[POINTS];
    tn_module *m;
    make_points(x, y);
    tn_buffer batch[2] = {{.dtype = TN_f32, .rank = 2, .dim = {POINTS, 1}, .data = x},
                          {.dtype = TN_f32, .rank = 2, .dim = {POINTS, 1}, .data = y}};
    TN_TRY(err, tn_module_create(c, NULL, &m, err), "while making the network");
    tn_status status = train(m, own, batch, err);
    tn_scope *scope = tn_scope_open(c);
    if (status == TN_OK)
        status = tn_read(network(m, tn_tensor_from(c, TN_f32, TN_SHAPE(POINTS, 1), x)), y, sizeof y,
                         err);
    tn_scope_close(scope);
    tn_module_release(m);
    double off = 0;
    for (int i = 0; i < POINTS; i++) off += fabs((double)y[i] - sin(2 * (double)x[i])) / POINTS;
    if (status == TN_OK)
        printf("%-14s %.3f from the curve in the mean\n",
               own ? "log cosh:" : "squared error:", off);
    return status;
}

int main(void) {
    tn_error err = TN_ERROR_INIT;
    tn_context *c = NULL;
    tn_context_options o = TN_CONTEXT_OPTIONS_INIT;
    o.compile.threads = 1; /* steps of a model of this size are too short to share */
    tn_status status = tn_context_create(&o, &c, &err);
    if (status == TN_OK) status = compare(c, &err);
    for (int own = 0; own < 2 && status == TN_OK; own++) status = learn(c, own, &err);
    tn_context_release(c);
    if (status == TN_OK) return EXIT_SUCCESS;
    char text[4096];
    tn_error_format(&err, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    return EXIT_FAILURE;
}
