/* Quantised operators of com.microsoft, which ONNX Runtime's quantiser writes.
 *
 * QLinear… ones mean: take numbers from how they are stored, compute in f32, store the result; products
 * stay products of bytes. Inputs come as value, scale, zero. */
#include "import/onnx/ops.h"

static tn_quant quant_at(tn_o *o, int scale) {
    return (tn_quant){.scale = tn_o_in(o, scale), .zero = tn_o_in_or_none(o, scale + 1)};
}

/* A scale and a zero for the whole tensor. */
static tn_quant one_quant_at(tn_o *o, int scale) {
    for (int i = scale; i < scale + 2 && tn_o_ok(o) && tn_o_has(o, i); i++) {
        tn_shape shape = tn_o_type(o, i).shape;
        tn_dim count = tn_shape_count(o->dims, &shape);
        if (tn_o_ok(o) && tn_dim_is_const(count) && count != 1)
            tn_o_fail(o, TN_INVALID, "input %d ('%s') has %lld elements; expected one", i,
                      o->node->inputs.data[i], (long long)count);
    }
    return quant_at(o, scale);
}

/* The stored value at input `i`, whose scale and zero follow it, as f32. */
static tn_value number_at(tn_o *o, int i) {
    tn_quant q = one_quant_at(o, i + 1);
    return tn_b_dequantize(o->b, tn_o_in(o, i), &q, TN_f32);
}

/* Result 0: y stored by the scale and zero from input `scale` on; without a zero as input `like` is. */
static void store(tn_o *o, tn_value y, int scale, int like) {
    tn_quant q = one_quant_at(o, scale);
    tn_dtype dtype = tn_o_type(o, q.zero == TN_NO_VALUE ? like : scale + 1).dtype;
    tn_o_out(o, 0, tn_b_quantize(o->b, y, &q, dtype, TN_f32, true));
}

/* ---- element-wise --------------------------------------------------------------------------- */

static void import_add(tn_o *o) {
    store(o, tn_b_add(o->b, number_at(o, 0), number_at(o, 3)), 6, 0);
}

static void import_mul(tn_o *o) {
    store(o, tn_b_mul(o->b, number_at(o, 0), number_at(o, 3)), 6, 0);
}

static void import_leaky_relu(tn_o *o) {
    double alpha = tn_o_float(o, "alpha", (double)0.01f);
    store(o, tn_b_leaky_relu(o->b, number_at(o, 0), alpha), 3, 0);
}

static void import_sigmoid(tn_o *o) {
    store(o, tn_b_sigmoid(o->b, number_at(o, 0)), 3, 0);
}

static void import_where(tn_o *o) {
    store(o, tn_b_where(o->b, tn_o_in(o, 0), number_at(o, 1), number_at(o, 4)), 7, 1);
}

/* Below opset 13 of attribute `opset`, all axes from `axis` on are one. */
static void import_softmax(tn_o *o) {
    tn_builder *b = o->b;
    tn_value x = number_at(o, 0);
    tn_shape shape = tn_b_type(b, x).shape, flat = shape;
    int axis = tn_o_axis(o, tn_o_int(o, "axis", -1), shape.rank);
    if (!tn_o_ok(o)) return;
    for (int i = axis + 1; i < shape.rank && tn_o_int(o, "opset", 13) < 13; i++) {
        flat.dim[axis] = tn_dim_mul(o->dims, flat.dim[axis], shape.dim[i]);
        flat.rank = axis + 1;
    }
    x = tn_b_softmax(b, tn_b_reshape(b, x, &flat), axis);
    store(o, tn_b_reshape(b, x, &shape), 3, 0);
}

/* ---- reductions and pooling ----------------------------------------------------------------- */

static void import_reduce_mean(tn_o *o) {
    tn_value x = number_at(o, 0);
    int axes[TN_MAX_RANK], rank = tn_b_rank(o->b, x);
    int n = tn_o_axes(o, "axes", TN_ONNX_LATEST, -1, rank, axes);
    for (; n < 0; n = rank)
        for (int i = 0; i < rank; i++) axes[i] = i;
    store(o, tn_b_mean(o->b, x, axes, n, tn_o_int(o, "keepdims", 1) != 0), 3, 0);
}

static void import_average_pool(tn_o *o) {
    bool last = tn_o_int(o, "channels_last", 0) != 0;
    tn_value x = number_at(o, 0);
    tn_pool_options p;
    if (last) x = tn_o_channels_first(o, x);
    if (!tn_o_pool_options(o, x, &p)) return;
    x = tn_b_average_pool(o->b, x, &p);
    store(o, last ? tn_o_channels_last(o, x) : x, 3, 0);
}

static void import_global_average_pool(tn_o *o) {
    bool last = tn_o_int(o, "channels_last", 0) != 0;
    tn_value x = number_at(o, 0);
    if (last) x = tn_o_channels_first(o, x);
    x = tn_b_global_average_pool(o->b, x);
    store(o, last ? tn_o_channels_last(o, x) : x, 3, 0);
}

/* The result's scale and zero, then triples. */
static void import_concat(tn_o *o) {
    enum { FIRST = 2 };
    int n = (tn_o_in_count(o) - FIRST + 2) / 3;
    if (tn_o_in_count(o) < FIRST + 3) tn_o_refuse(o, TN_INVALID, "it has nothing to join");
    if (!tn_o_ok(o)) return;
    tn_value *part = TN_NEW_N(o->scratch, tn_value, n);
    for (int i = 0; i < n; i++) part[i] = number_at(o, FIRST + 3 * i);
    int axis = tn_o_axis(o, tn_o_need_int(o, "axis"), tn_b_rank(o->b, part[0]));
    store(o, tn_b_concat(o->b, part, n, axis), 0, FIRST);
}

/* ---- products ------------------------------------------------------------------------------- */

/* (x − x_zero)(w − w_zero) · x_scale · w_scale + bias; the scales: one, or per row or column */
static tn_value float_product(tn_o *o, tn_value x, const tn_quant *qx, tn_value w,
                              const tn_quant *qw, tn_value bias) {
    tn_builder *b = o->b;
    tn_value y = tn_b_integer_matmul(b, x, w, qx->zero, qw->zero);
    tn_value scale = tn_b_mul(b, tn_o_scalar(o, qx->scale), tn_o_scalar(o, qw->scale));
    y = tn_b_mul(b, tn_b_cast(b, y, TN_f32), tn_b_cast(b, scale, TN_f32));
    if (bias != TN_NO_VALUE) y = tn_b_add(b, y, tn_b_cast(b, bias, TN_f32));
    return y;
}

static void import_dynamic_product(tn_o *o) {
    tn_quant qx = {0}, qw = quant_at(o, 2);
    tn_value bias = tn_o_in_or_none(o, 4);
    tn_value x = tn_b_dynamic_quantize(o->b, tn_o_in(o, 0), &qx.scale, &qx.zero);
    tn_o_out(o, 0, float_product(o, x, &qx, tn_o_in(o, 1), &qw, bias));
}

static void import_product_to_float(tn_o *o) {
    tn_quant qx = {.scale = tn_o_in(o, 2), .zero = tn_o_in_or_none(o, 4)};
    tn_quant qw = {.scale = tn_o_in(o, 3), .zero = tn_o_in_or_none(o, 5)};
    tn_value y = float_product(o, tn_o_in(o, 0), &qx, tn_o_in(o, 1), &qw, tn_o_in_or_none(o, 6));
    tn_o_out(o, 0, tn_o_like(o, y, qx.scale));
}

/* alpha · A' B' + C, with C in units of a_scale · b_scale · alpha; a float without y's scale */
static void import_gemm(tn_o *o) {
    enum { A, B = 3, C = 6, Y };
    tn_builder *b = o->b;
    tn_value x = tn_o_in(o, A), w = tn_o_in(o, B), c = tn_o_in_or_none(o, C);
    tn_quant qx = quant_at(o, A + 1), qw = quant_at(o, B + 1);
    if (tn_o_ok(o) && (tn_b_rank(b, x) != 2 || tn_b_rank(b, w) != 2))
        tn_o_fail(o, TN_INVALID, "its factors have %d and %d axes; expected matrices",
                  tn_b_rank(b, x), tn_b_rank(b, w));
    if (tn_o_int(o, "transA", 0)) x = tn_b_swap(b, x, 0, 1);
    if (tn_o_int(o, "transB", 0)) w = tn_b_swap(b, w, 0, 1);
    tn_value y = tn_b_integer_matmul(b, x, w, qx.zero, qw.zero);
    if (c != TN_NO_VALUE) y = tn_b_add(b, y, c);
    tn_value scale = tn_b_mul(b, tn_o_scalar(o, qx.scale), tn_o_scalar(o, qw.scale));
    scale = tn_b_mul_scalar(b, scale, tn_o_float(o, "alpha", 1));
    y = tn_b_mul(b, tn_b_cast(b, y, TN_f32), scale);
    if (tn_o_has(o, Y))
        store(o, y, Y, A);
    else
        tn_o_out(o, 0, y);
}

static void import_attention(tn_o *o) {
    enum { BIAS = 2, X_SCALE, W_SCALE, MASK, X_ZERO, W_ZERO, PAST, NONE = -1 };
    tn_quant qx = {.scale = tn_o_in(o, X_SCALE), .zero = tn_o_in_or_none(o, X_ZERO)};
    tn_quant qw = {.scale = tn_o_in(o, W_SCALE), .zero = tn_o_in_or_none(o, W_ZERO)};
    tn_value x = float_product(o, tn_o_in(o, 0), &qx, tn_o_in(o, 1), &qw, tn_o_in_or_none(o, BIAS));
    tn_o_self_attention(o, tn_o_like(o, x, qx.scale), MASK, PAST, NONE);
}

/* QLinearConv with channels last: weights as ever [O, C / groups, …]. */
static void import_conv(tn_o *o) {
    enum { X, W = 3, Y = 6, BIAS = 8 };
    bool last = tn_o_int(o, "channels_last", 0) != 0;
    tn_value x = tn_o_in(o, X), w = tn_o_in(o, W), bias = tn_o_in_or_none(o, BIAS);
    tn_quant qx = quant_at(o, X + 1), qw = quant_at(o, W + 1), qy = quant_at(o, Y);
    tn_dtype dtype = tn_o_type(o, qy.zero == TN_NO_VALUE ? X : Y + 1).dtype;
    tn_conv_options c;
    if (last) x = tn_o_channels_first(o, x);
    if (!tn_o_conv_options(o, x, w, &c)) return;
    tn_value y = tn_b_quantized_conv(o->b, x, &qx, w, &qw, bias, &qy, dtype, &c);
    tn_o_out(o, 0, last ? tn_o_channels_last(o, y) : y);
}

/* ---- embeddings ----------------------------------------------------------------------------- */

/* Rows of a table of bytes, as f32. */
static tn_value rows_at(tn_o *o, int table, int scale, int zero, tn_value index) {
    tn_quant q = {.scale = tn_o_in(o, scale), .zero = tn_o_in_or_none(o, zero)};
    tn_value rows = tn_o_in(o, table);
    if (index != TN_NO_VALUE) rows = tn_b_gather_axis(o->b, rows, index, 0, TN_INDEX_error);
    return tn_b_dequantize(o->b, rows, &q, TN_f32);
}

static void import_embed_norm(tn_o *o) {
    enum { IDS, SEGMENT_IDS, WORDS, PLACES, SEGMENTS, GAMMA, BETA, MASK, SCALES, ZEROS = 13 };
    tn_builder *b = o->b;
    tn_value ids = tn_o_in(o, IDS), part[5];
    tn_shape line = {.rank = 1, .dim = {tn_b_dim(b, ids, 1)}};
    for (int i = 0; i < 5; i++) {
        tn_value index = i == 0   ? ids
                         : i == 1 ? tn_b_iota(b, TN_i64, &line, 0)
                         : i == 2 ? tn_o_in_or_none(o, SEGMENT_IDS)
                                  : TN_NO_VALUE;
        bool absent = i == 2 && index == TN_NO_VALUE;
        part[i] = absent ? index : rows_at(o, WORDS + i, SCALES + i, ZEROS + i, index);
    }
    tn_value sum = tn_b_add(b, part[0], part[1]);
    if (part[2] != TN_NO_VALUE) sum = tn_b_add(b, sum, part[2]);
    double epsilon = tn_o_float(o, "epsilon", (double)1e-12f);
    tn_o_out(o, 0, tn_b_layer_norm(b, sum, 2, part[3], part[4], epsilon, NULL));
    if (tn_o_wants(o, 1)) tn_o_out(o, 1, tn_o_word_counts(o, MASK, ids));
}

static const tn_onnx_op rows[] = {
    {"DynamicQuantizeMatMul", 1, TN_ONNX_LATEST, import_dynamic_product},
    {"MatMulIntegerToFloat", 1, TN_ONNX_LATEST, import_product_to_float},
    {"QAttention", 1, TN_ONNX_LATEST, import_attention},
    {"QEmbedLayerNormalization", 1, TN_ONNX_LATEST, import_embed_norm},
    {"QGemm", 1, TN_ONNX_LATEST, import_gemm},
    {"QLinearAdd", 1, TN_ONNX_LATEST, import_add},
    {"QLinearAveragePool", 1, TN_ONNX_LATEST, import_average_pool},
    {"QLinearConcat", 1, TN_ONNX_LATEST, import_concat},
    {"QLinearConv", 1, TN_ONNX_LATEST, import_conv},
    {"QLinearGlobalAveragePool", 1, TN_ONNX_LATEST, import_global_average_pool},
    {"QLinearLeakyRelu", 1, TN_ONNX_LATEST, import_leaky_relu},
    {"QLinearMul", 1, TN_ONNX_LATEST, import_mul},
    {"QLinearReduceMean", 1, TN_ONNX_LATEST, import_reduce_mean},
    {"QLinearSigmoid", 1, TN_ONNX_LATEST, import_sigmoid},
    {"QLinearSoftmax", 1, TN_ONNX_LATEST, import_softmax},
    {"QLinearWhere", 1, TN_ONNX_LATEST, import_where},
};
TN_ONNX_TABLE(contrib_quant, "com.microsoft")
