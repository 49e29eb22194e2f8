/* Gradients and optimizer steps: operator set ai.onnx.preview.training.
 *
 * Inputs are rate, step, then all tensors, all gradients, and each kind of running value of all of
 * them; results are the new tensors and running values in this order. */
#include "import/onnx/ops.h"
#include "import/onnx/scope.h"
#include "ops/gradient.h"

static tn_update update_of(tn_o *o) {
    tn_update p = {.norm = {.number = tn_o_float(o, "norm_coefficient", 0)},
                   .epsilon = tn_o_float(o, "epsilon", 1e-6),
                   .alpha = tn_o_float(o, "alpha", 0.9),
                   .beta = tn_o_float(o, "beta", 0.999),
                   .decay = tn_o_float(o, "decay_factor", 0),
                   .norm_post = tn_o_float(o, "norm_coefficient_post", 0)};
    p.momentum.number = p.alpha;
    p.rate = tn_b_reshape(o->b, tn_o_in(o, 0), &(tn_shape){0});
    p.step = tn_b_reshape(o->b, tn_o_in(o, 1), &(tn_shape){0});
    return p;
}

/* How many tensors there are when each has `kinds` inputs; 0 after an error. */
static int tensor_count(tn_o *o, int kinds) {
    int count = tn_o_in_count(o) - 2;
    if (tn_o_ok(o) && (count < kinds || count % kinds))
        tn_o_fail(o, TN_INVALID, "it has %d inputs behind rate and step; expected %d per tensor",
                  count, kinds);
    return tn_o_ok(o) ? count / kinds : 0;
}

static void import_adagrad(tn_o *o) {
    tn_update p = update_of(o);
    int n = tensor_count(o, 3);
    for (int i = 0; i < n; i++) {
        tn_value square = tn_o_in(o, 2 + 2 * n + i);
        tn_o_out(o, i, tn_b_adagrad(o->b, tn_o_in(o, 2 + i), tn_o_in(o, 2 + n + i), &square, &p));
        tn_o_out(o, n + i, square);
    }
}

static void import_adam(tn_o *o) {
    tn_update p = update_of(o);
    int n = tensor_count(o, 4);
    for (int i = 0; i < n; i++) {
        tn_value x = tn_o_in(o, 2 + i), g = tn_o_in(o, 2 + n + i);
        tn_value momentum = tn_o_in(o, 2 + 2 * n + i), square = tn_o_in(o, 2 + 3 * n + i);
        tn_o_out(o, i, tn_b_adam_efficient(o->b, x, g, &momentum, &square, &p));
        tn_o_out(o, n + i, momentum);
        tn_o_out(o, 2 * n + i, square);
    }
}

static void import_momentum(tn_o *o) {
    static const char *const modes[] = {"standard", "nesterov", NULL};
    tn_update p = update_of(o);
    bool nesterov = tn_o_choice(o, "mode", "standard", modes);
    int n = tensor_count(o, 3);
    for (int i = 0; i < n; i++) {
        tn_value momentum = tn_o_in(o, 2 + 2 * n + i);
        tn_value x = tn_o_in(o, 2 + i), g = tn_o_in(o, 2 + n + i);
        tn_o_out(o, i, tn_b_momentum(o->b, x, g, &momentum, nesterov, &p));
        tn_o_out(o, n + i, momentum);
    }
}

/* ---- Gradient ----------------------------------------------------------------------------------- */

static tn_value named_value(tn_o *o, const char *attr, const char *name) {
    tn_onnx_item *item = tn_onnx_lookup(o->scope, name);
    if (item) return tn_o_item_value(o, item);
    return tn_o_refuse(o, TN_INVALID, "attribute '%s' names '%s', which is not computed before it",
                       attr, name);
}

/* Input i is the value of a tensor that an attribute names. At another value the function would
 * have to be computed anew. */
static tn_value named_input(tn_o *o, int i, const char *attr, const char *name) {
    tn_value named = named_value(o, attr, name), given = tn_o_in(o, i);
    if (tn_o_ok(o) && named != given)
        tn_o_refuse(o, TN_UNSUPPORTED,
                    "input %d is not '%s' of attribute '%s'; derivatives are taken where the model "
                    "computes its values",
                    i, name, attr);
    return named;
}

/* The derivatives of the sum of y with respect to xs, when xs and zs are held apart. */
static void import_gradient(tn_o *o) {
    int n, fixed;
    const char *const *xs, *const *zs;
    if (!tn_o_texts(o, "xs", &n, &xs) || n == 0) tn_o_refuse(o, TN_INVALID, "it has no xs");
    tn_o_texts(o, "zs", &fixed, &zs);
    tn_value y = named_value(o, "y", tn_o_need_text(o, "y"));
    if (!tn_o_ok(o)) return;
    tn_value *x = TN_NEW_N(o->scratch, tn_value, n + fixed);
    tn_value *gradient = TN_NEW_N(o->scratch, tn_value, n + fixed);
    int held = n;
    for (int i = 0; i < n; i++) x[i] = named_input(o, i, "xs", xs[i]);
    for (int i = 0; i < fixed; i++) {
        x[held] = named_input(o, n + i, "zs", zs[i]);
        if (tn_dtype_is_float(tn_b_type(o->b, x[held]).dtype)) held++;
    }
    tn_b_gradient(o->b, y, TN_NO_VALUE, x, held, gradient);
    for (int i = 0; i < n; i++) tn_o_out(o, i, gradient[i]);
}

static const tn_onnx_op rows[] = {
    {"Adagrad", 1, TN_ONNX_LATEST, import_adagrad},
    {"Adam", 1, TN_ONNX_LATEST, import_adam},
    {"Gradient", 1, TN_ONNX_LATEST, import_gradient},
    {"Momentum", 1, TN_ONNX_LATEST, import_momentum},
};
TN_ONNX_TABLE(training, "ai.onnx.preview.training")
