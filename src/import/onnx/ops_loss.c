/* Classification losses. */
#include "import/onnx/ops.h"

/* x [N, C, …]: a target [N, …], weights [C] */
static void check_shapes(tn_o *o) {
    tn_shape x = tn_o_type(o, 0).shape, target = x;
    if (tn_o_ok(o) && x.rank < 2)
        tn_o_fail(o, TN_INVALID, "its scores have %d axes; expected [N, C, …]", x.rank);
    if (!tn_o_ok(o)) return;
    target.rank--;
    for (int i = 1; i < target.rank; i++) target.dim[i] = x.dim[i + 1];
    tn_o_expect(o, 1, "target", target.rank, target.dim);
    tn_o_expect(o, 2, "weight", 1, &x.dim[1]);
}

static tn_class_loss loss_of(tn_o *o) {
    static const char *const reductions[] = {"mean", "sum", "none", NULL};
    check_shapes(o);
    tn_class_loss l = {.target = tn_o_in(o, 1), .weight = tn_o_in_or_none(o, 2)};
    l.has_ignore = tn_o_has_attr(o, "ignore_index");
    l.ignore = tn_o_int(o, "ignore_index", 0);
    l.reduction = (tn_reduction)tn_o_choice(o, "reduction", "mean", reductions);
    return l;
}

static void import_nll_loss(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    tn_class_loss l = loss_of(o);
    tn_o_out(o, 0, tn_b_nll_loss(o->b, x, &l));
}

static void import_cross_entropy(tn_o *o) {
    tn_value x = tn_o_in(o, 0), log_probability = TN_NO_VALUE;
    tn_class_loss l = loss_of(o);
    tn_o_out(o, 0, tn_b_cross_entropy(o->b, x, &l, &log_probability));
    tn_o_out(o, 1, log_probability);
}

static const tn_onnx_op rows[] = {
    {"NegativeLogLikelihoodLoss", 12, TN_ONNX_LATEST, import_nll_loss},
    {"SoftmaxCrossEntropyLoss", 12, TN_ONNX_LATEST, import_cross_entropy},
};
TN_ONNX_TABLE(loss, "")
