/* Quantised numbers: conversion to and from them, products of them. */
#include "import/onnx/ops.h"

/* Scale and zero as inputs `scale` and `scale` + 1. */
static tn_quant quant_of(tn_o *o, int scale) {
    tn_quant q = {.scale = tn_o_in(o, scale), .zero = tn_o_in_or_none(o, scale + 1)};
    return q;
}

/* One number, one per element of the axis, or one per block of it; the zero as the scale. */
static void check_scale(tn_o *o, const tn_quant *q) {
    tn_shape x = tn_o_type(o, 0).shape, scale = tn_o_type(o, 1).shape;
    int axis = q->axis < 0 ? q->axis + x.rank : q->axis;
    if (!tn_o_ok(o) || scale.rank == 0 || axis < 0 || axis >= x.rank) return;
    if (q->block) {
        x.dim[axis] = tn_dim_ceildiv(o->dims, x.dim[axis], q->block);
        tn_o_expect(o, 1, "scale", x.rank, x.dim);
    } else if (scale.rank != 1 || scale.dim[0] != 1) {
        tn_o_expect(o, 1, "scale", 1, &x.dim[axis]);
    }
    tn_o_expect(o, 2, "zero point", scale.rank, scale.dim);
}

/* The same with a place along an axis; blocks came with opset 21. */
static tn_quant quant_along(tn_o *o) {
    tn_quant q = quant_of(o, 1);
    int64_t axis = tn_o_int(o, "axis", 1);
    q.block = o->version >= 21 ? tn_o_int(o, "block_size", 0) : 0;
    if (tn_o_ok(o) &&
        (axis < -TN_MAX_RANK || axis >= TN_MAX_RANK || q.block < 0 || q.block > INT32_MAX))
        tn_o_fail(o, TN_INVALID, "its axis is %lld and its block_size %lld", (long long)axis,
                  (long long)q.block);
    q.axis = (int)axis;
    check_scale(o, &q);
    return q;
}

/* ---- conversion ----------------------------------------------------------------------------- */

static void import_quantize(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    tn_quant q = quant_along(o);
    tn_dtype stored = TN_u8, scale = tn_b_type(o->b, q.scale).dtype;
    if (o->version >= 21 && tn_o_int(o, "output_dtype", 0) != 0)
        stored = tn_o_dtype(o, "output_dtype", TN_u8);
    if (q.zero != TN_NO_VALUE) stored = tn_b_type(o->b, q.zero).dtype;
    bool plain = tn_dtype_is_float(scale) && tn_dtype_bits(scale) >= 16;
    tn_dtype work = plain ? scale : TN_f32;
    if (o->version >= 23 && tn_o_int(o, "precision", 0) != 0)
        work = tn_o_dtype(o, "precision", TN_f32);
    if (tn_o_ok(o) && !(tn_dtype_is_float(work) && tn_dtype_bits(work) >= 16))
        tn_o_fail(o, TN_INVALID, "its precision is %s; expected a float type of 16 bits or more",
                  tn_dtype_name(work));
    bool saturate = o->version < 19 || tn_o_int(o, "saturate", 1) != 0;
    tn_o_out(o, 0, tn_b_quantize(o->b, x, &q, stored, work, saturate));
}

static void import_dequantize(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    tn_quant q = quant_along(o);
    tn_dtype to = tn_b_type(o->b, q.scale).dtype;
    if (o->version >= 23 && tn_o_int(o, "output_dtype", 0) != 0)
        to = tn_o_dtype(o, "output_dtype", to);
    tn_o_out(o, 0, tn_b_dequantize(o->b, x, &q, to));
}

static void import_dynamic_quantize(tn_o *o) {
    tn_value scale = TN_NO_VALUE, zero = TN_NO_VALUE;
    tn_o_out(o, 0, tn_b_dynamic_quantize(o->b, tn_o_in(o, 0), &scale, &zero));
    tn_o_out(o, 1, scale);
    tn_o_out(o, 2, zero);
}

/* ---- products ------------------------------------------------------------------------------- */

static void import_matmul_integer(tn_o *o) {
    tn_value x = tn_o_in(o, 0), y = tn_o_in(o, 1);
    tn_value x_zero = tn_o_in_or_none(o, 2), y_zero = tn_o_in_or_none(o, 3);
    tn_o_out(o, 0, tn_b_integer_matmul(o->b, x, y, x_zero, y_zero));
}

static void import_conv_integer(tn_o *o) {
    tn_value x = tn_o_in(o, 0), w = tn_o_in(o, 1);
    tn_value x_zero = tn_o_in_or_none(o, 2), w_zero = tn_o_in_or_none(o, 3);
    tn_conv_options c;
    if (!tn_o_conv_options(o, x, w, &c)) return;
    tn_o_out(o, 0, tn_b_integer_conv(o->b, x, w, x_zero, w_zero, TN_NO_VALUE, &c));
}

/* The type of the result: that of its zero. */
static tn_dtype stored_type(tn_o *o, const tn_quant *y, tn_value x) {
    return tn_b_type(o->b, y->zero == TN_NO_VALUE ? x : y->zero).dtype;
}

static void import_qlinear_matmul(tn_o *o) {
    tn_value x = tn_o_in(o, 0), w = tn_o_in(o, 3);
    tn_quant qx = quant_of(o, 1), qw = quant_of(o, 4), qy = quant_of(o, 6);
    tn_dtype dtype = stored_type(o, &qy, x);
    tn_o_out(o, 0, tn_b_quantized_matmul(o->b, x, &qx, w, &qw, &qy, dtype));
}

static void import_qlinear_conv(tn_o *o) {
    tn_value x = tn_o_in(o, 0), w = tn_o_in(o, 3), bias = tn_o_in_or_none(o, 8);
    tn_quant qx = quant_of(o, 1), qw = quant_of(o, 4), qy = quant_of(o, 6);
    tn_dtype dtype = stored_type(o, &qy, x);
    tn_conv_options c;
    if (!tn_o_conv_options(o, x, w, &c)) return;
    tn_o_out(o, 0, tn_b_quantized_conv(o->b, x, &qx, w, &qw, bias, &qy, dtype, &c));
}

static const tn_onnx_op rows[] = {
    {"ConvInteger", 10, TN_ONNX_LATEST, import_conv_integer},
    {"DequantizeLinear", 10, TN_ONNX_LATEST, import_dequantize},
    {"DynamicQuantizeLinear", 11, TN_ONNX_LATEST, import_dynamic_quantize},
    {"MatMulInteger", 10, TN_ONNX_LATEST, import_matmul_integer},
    {"QLinearConv", 10, TN_ONNX_LATEST, import_qlinear_conv},
    {"QLinearMatMul", 10, TN_ONNX_LATEST, import_qlinear_matmul},
    {"QuantizeLinear", 10, TN_ONNX_LATEST, import_quantize},
};
TN_ONNX_TABLE(quant, "")
