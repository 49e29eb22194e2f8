/* Determinants. */
#include "import/onnx/ops.h"

static void import_det(tn_o *o) {
    tn_o_out(o, 0, tn_b_det(o->b, tn_o_in(o, 0)));
}

static const tn_onnx_op rows[] = {
    {"Det", 11, TN_ONNX_LATEST, import_det},
};
TN_ONNX_TABLE(misc, "")
