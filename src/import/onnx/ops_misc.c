/* Determinants, and operators that are refused for a reason of their own. */
#include "import/onnx/ops.h"

static void import_det(tn_o *o) {
    tn_o_out(o, 0, tn_b_det(o->b, tn_o_in(o, 0)));
}

static void refuse_open_size(tn_o *o) {
    tn_o_fail(o, TN_UNSUPPORTED,
              "the size of its result depends on the elements of its inputs, which are not known "
              "before a run");
}

static const tn_onnx_op rows[] = {
    {"Det", 11, TN_ONNX_LATEST, import_det},
    {"NonMaxSuppression", 10, TN_ONNX_LATEST, refuse_open_size},
    {"Unique", 11, TN_ONNX_LATEST, refuse_open_size},
};
TN_ONNX_TABLE(misc, "")
