/* Operators of com.microsoft that mean what a version of ONNX's own operator of the same name means. */
#include "import/onnx/ops.h"

static void import_as(tn_o *o, int version) {
    bool known;
    const tn_onnx_op *op = tn_onnx_op_find("", o->node->op, version, &known);
    o->version = version;
    if (op)
        op->import(o);
    else
        tn_o_refuse(o, TN_UNSUPPORTED, "operator %s of operator set 'com.microsoft'", o->node->op);
}

static void import_as_11(tn_o *o) {
    import_as(o, 11);
}

static void import_as_16(tn_o *o) {
    import_as(o, 16);
}

static void import_as_20(tn_o *o) {
    import_as(o, 20);
}

static const tn_onnx_op rows[] = {
    {"DequantizeLinear", 1, TN_ONNX_LATEST, import_as_20},
    {"GatherND", 1, TN_ONNX_LATEST, import_as_11},
    {"GridSample", 1, TN_ONNX_LATEST, import_as_16},
    {"Pad", 1, TN_ONNX_LATEST, import_as_11},
    {"QuantizeLinear", 1, TN_ONNX_LATEST, import_as_20},
    {"Range", 1, TN_ONNX_LATEST, import_as_11},
    {"Trilu", 1, TN_ONNX_LATEST, import_as_16},
};
TN_ONNX_TABLE(contrib_alias, "com.microsoft")
