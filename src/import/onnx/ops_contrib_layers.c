/* Operator set com.microsoft: what ONNX Runtime's optimizer fuses into one node, apart from attention and
 * quantised operators: activations, norms of sums, products with something behind them.
 *
 * Each is built as what it was fused from, so that the fusion is ours to make. */
#include "import/onnx/ops.h"

/* ---- activations ---------------------------------------------------------------------------- */

static tn_value sum_of_inputs(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    for (int i = 1; i < tn_o_in_count(o); i++)
        if (tn_o_has(o, i)) x = tn_b_add(o->b, x, tn_o_in(o, i));
    return x;
}

/* Gelu and BiasGelu */
static void import_gelu(tn_o *o) {
    tn_o_out(o, 0, tn_b_gelu(o->b, sum_of_inputs(o)));
}

static void import_fast_gelu(tn_o *o) {
    tn_o_out(o, 0, tn_b_gelu_tanh(o->b, sum_of_inputs(o)));
}

static void import_quick_gelu(tn_o *o) {
    double alpha = tn_o_float(o, "alpha", (double)1.702f);
    tn_o_out(o, 0, tn_b_quick_gelu(o->b, tn_o_in(o, 0), alpha));
}

/* x · gelu(y) with the halves x, y of the last axis */
static void import_bias_split_gelu(tn_o *o) {
    tn_builder *b = o->b;
    tn_value x = sum_of_inputs(o);
    tn_dim half = 0;
    if (tn_o_ok(o) &&
        (tn_b_rank(b, x) < 1 || !tn_dim_divides(o->dims, tn_b_dim(b, x, -1), 2, &half)))
        tn_o_fail(o, TN_INVALID, "the last axis of its input has no two halves");
    tn_value gate = tn_b_slice_axis(b, x, -1, half, half, 1);
    tn_o_out(o, 0, tn_b_mul(b, tn_b_slice_axis(b, x, -1, 0, half, 1), tn_b_gelu(b, gate)));
}

static void import_bias_add(tn_o *o) {
    tn_o_out(o, 0, sum_of_inputs(o));
}

/* softmax(data + bias) over all axes from `axis` on */
static void import_bias_softmax(tn_o *o) {
    tn_builder *b = o->b;
    tn_value x = sum_of_inputs(o);
    int axis = tn_o_axis(o, tn_o_int(o, "axis", 1), tn_b_rank(b, x));
    if (!tn_o_ok(o)) return;
    tn_shape shape = tn_b_type(b, x).shape, flat = shape;
    flat.rank = axis + 1;
    for (int i = axis + 1; i < shape.rank; i++)
        flat.dim[axis] = tn_dim_mul(o->dims, flat.dim[axis], shape.dim[i]);
    x = tn_b_softmax(b, tn_b_reshape(b, x, &flat), axis);
    tn_o_out(o, 0, tn_b_reshape(b, x, &shape));
}

/* data + bias + residual: what is left of it outside of training */
static void import_bias_dropout(tn_o *o) {
    enum { TRAINING = 4 };
    tn_array training;
    tn_value x = tn_b_add(o->b, tn_o_in(o, 0), tn_o_in(o, 1)), residual = tn_o_in_or_none(o, 2);
    bool trains = tn_o_has(o, TRAINING) &&
                  tn_o_need_array(o, TRAINING, "training_mode", &training) &&
                  tn_array_count(&training) > 0 && tn_array_get(&training, 0).u;
    if (trains) tn_o_refuse(o, TN_UNSUPPORTED, "it is in training mode");
    if (residual != TN_NO_VALUE) x = tn_b_add(o->b, x, residual);
    tn_o_out(o, 0, x);
    tn_shape shape = tn_b_type(o->b, x).shape;
    if (tn_o_wants(o, 1)) tn_o_out(o, 1, tn_b_full(o->b, TN_bool, &shape, 1));
}

/* ---- norms ---------------------------------------------------------------------------------- */

/* 1 / √(mean(x²) + ε) over the axes from `axis` on, in f32 */
static tn_value inverse_rms(tn_o *o, tn_value x, int axis, double epsilon) {
    tn_builder *b = o->b;
    int axes[TN_MAX_RANK], n = 0;
    for (int i = axis; i < tn_b_rank(b, x); i++) axes[n++] = i;
    tn_value mean = tn_b_mean(b, tn_b_square(b, tn_o_widen(o, x)), axes, n, true);
    return tn_b_rsqrt(b, tn_b_add_scalar(b, mean, epsilon));
}

static void import_simplified_norm(tn_o *o) {
    tn_value x = tn_o_in(o, 0), scale = tn_o_in(o, 1);
    int axis = tn_o_axis(o, tn_o_int(o, "axis", -1), tn_b_rank(o->b, x));
    double epsilon = tn_o_float(o, "epsilon", (double)1e-5f);
    if (!tn_o_ok(o)) return;
    tn_o_out(o, 0, tn_o_like(o, tn_b_rms_norm(o->b, x, axis, scale, epsilon), scale));
    if (tn_o_wants(o, 1)) tn_o_out(o, 1, inverse_rms(o, x, axis, epsilon));
}

/* norm(input + skip + bias) · gamma + beta; skip broadcasts */
static void skip_norm(tn_o *o, bool simplified) {
    enum { SKIP = 1, GAMMA, BETA };
    tn_builder *b = o->b;
    tn_value gamma = tn_o_in(o, GAMMA), beta = simplified ? TN_NO_VALUE : tn_o_in_or_none(o, BETA);
    tn_value bias = tn_o_in_or_none(o, simplified ? BETA : BETA + 1), stats[2];
    tn_value x = tn_b_add(b, tn_o_in(o, 0), tn_o_in(o, SKIP));
    if (bias != TN_NO_VALUE) x = tn_b_add(b, x, bias);
    int axis = tn_b_rank(b, x) - 1;
    double epsilon = tn_o_float(o, "epsilon", (double)1e-12f);
    if (simplified) {
        tn_o_out(o, 0, tn_b_rms_norm(b, x, axis, gamma, epsilon));
        if (tn_o_wants(o, 2)) tn_o_out(o, 2, inverse_rms(o, x, axis, epsilon));
    } else {
        tn_o_out(o, 0, tn_b_layer_norm(b, x, axis, gamma, beta, epsilon, stats));
        if (tn_o_wants(o, 1)) tn_o_out(o, 1, stats[0]);
        if (tn_o_wants(o, 2)) tn_o_out(o, 2, stats[1]);
    }
    if (tn_o_wants(o, 3)) tn_o_out(o, 3, x);
}

static void import_skip_norm(tn_o *o) {
    skip_norm(o, false);
}

static void import_skip_simplified_norm(tn_o *o) {
    skip_norm(o, true);
}

/* ---- embeddings ----------------------------------------------------------------------------- */

static tn_value rows_of(tn_o *o, tn_value table, tn_value index) {
    return tn_b_gather_axis(o->b, table, index, 0, TN_INDEX_error);
}

tn_value tn_o_word_counts(tn_o *o, int mask_input, tn_value ids) {
    tn_shape shape = {.rank = 1, .dim = {tn_b_dim(o->b, ids, 0)}};
    tn_value mask = tn_o_in_or_none(o, mask_input);
    if (mask == TN_NO_VALUE) return tn_b_full(o->b, TN_i32, &shape, 0);
    tn_value one = tn_b_eq(o->b, mask, tn_b_scalar(o->b, tn_b_type(o->b, mask).dtype, 1));
    return tn_b_sum(o->b, tn_b_cast(o->b, one, TN_i32), (int[]){1}, 1, false);
}

/* norm(words[ids] + positions[0 … S − 1] + segments[ids]) */
static void import_embed_norm(tn_o *o) {
    enum { IDS, SEGMENT_IDS, WORDS, POSITIONS, SEGMENTS, GAMMA, BETA, MASK, POSITION_IDS };
    tn_builder *b = o->b;
    tn_value ids = tn_o_in(o, IDS), table = tn_o_in(o, POSITIONS), place;
    tn_value sum = rows_of(o, tn_o_in(o, WORDS), ids);
    if (tn_o_has(o, POSITION_IDS))
        place = rows_of(o, table, tn_o_in(o, POSITION_IDS));
    else
        place = tn_b_slice_axis(b, table, 0, 0, tn_b_dim(b, ids, 1), 1);
    sum = tn_b_add(b, sum, place);
    if (tn_o_has(o, SEGMENT_IDS) && tn_o_has(o, SEGMENTS))
        sum = tn_b_add(b, sum, rows_of(o, tn_o_in(o, SEGMENTS), tn_o_in(o, SEGMENT_IDS)));
    double epsilon = tn_o_float(o, "epsilon", (double)1e-12f);
    tn_value gamma = tn_o_in(o, GAMMA), beta = tn_o_in_or_none(o, BETA);
    tn_o_out(o, 0, tn_b_layer_norm(b, sum, 2, gamma, beta, epsilon, NULL));
    if (tn_o_wants(o, 1)) tn_o_out(o, 1, tn_o_word_counts(o, MASK, ids));
    if (tn_o_wants(o, 2)) tn_o_out(o, 2, sum);
}

/* ---- products ------------------------------------------------------------------------------- */

/* By name, with the numbers at `alpha` and `beta` where they are given; none: x itself. */
static tn_value activate(tn_o *o, tn_value x, const double *alpha, const double *beta) {
    tn_activation a;
    const char *name = tn_o_text(o, "activation", "");
    if (!tn_o_ok(o) || !*name) return x;
    if (!strcmp(name, "Clip")) {
        tn_dtype dtype = tn_b_type(o->b, x).dtype;
        return tn_b_clip(o->b, x, alpha ? tn_b_scalar(o->b, dtype, *alpha) : TN_NO_VALUE,
                         beta ? tn_b_scalar(o->b, dtype, *beta) : TN_NO_VALUE);
    }
    if (!strcmp(name, "HardSwish")) return tn_b_hard_swish(o->b, x);
    if (!tn_activation_parse(name, &a))
        return tn_o_refuse(o, TN_UNSUPPORTED, "its activation '%s' is not known", name);
    if (alpha) a.alpha = *alpha;
    if (beta) a.beta = *beta;
    return tn_b_activation(o->b, x, &a);
}

static tn_value activate_by_numbers(tn_o *o, tn_value x) {
    double alpha = tn_o_float(o, "activation_alpha", 0), beta = tn_o_float(o, "activation_beta", 0);
    return activate(o, x, tn_o_has_attr(o, "activation_alpha") ? &alpha : NULL,
                    tn_o_has_attr(o, "activation_beta") ? &beta : NULL);
}

/* The first axis becomes that of the rows, behind the others of the batch. */
static tn_value batch_to_rows(tn_o *o, tn_value x) {
    int rank = tn_b_rank(o->b, x), perm[TN_MAX_RANK];
    if (!tn_o_ok(o) || rank < 3) return x;
    for (int i = 0; i < rank - 2; i++) perm[i] = i + 1;
    perm[rank - 2] = 0;
    perm[rank - 1] = rank - 1;
    return tn_b_permute(o->b, x, perm);
}

static tn_value factor(tn_o *o, int i, const char *batch, const char *swap) {
    tn_value x = tn_o_in(o, i);
    if (tn_o_int(o, batch, 0)) x = batch_to_rows(o, x);
    int rank = tn_b_rank(o->b, x);
    if (tn_o_int(o, swap, 0) && rank > 1) x = tn_b_swap(o->b, x, rank - 2, rank - 1);
    return x;
}

/* alpha · A' B', then an activation */
static void import_fused_matmul(tn_o *o) {
    tn_value x = factor(o, 0, "transBatchA", "transA"), y = factor(o, 1, "transBatchB", "transB");
    double alpha = tn_o_float(o, "alpha", 1);
    tn_value z = tn_b_product(o->b, x, y);
    if (alpha != 1) z = tn_b_mul_scalar(o->b, z, alpha);
    tn_o_out(o, 0, activate_by_numbers(o, tn_o_like(o, z, x)));
}

static void import_fused_gemm(tn_o *o) {
    tn_o_out(o, 0, activate_by_numbers(o, tn_o_gemm(o)));
}

/* activation(conv(x, w) + bias + z); without channels first in NhwcFusedConv */
static void fused_conv(tn_o *o, bool channels_last) {
    tn_value x = tn_o_in(o, 0), w = tn_o_in(o, 1), bias = tn_o_in_or_none(o, 2);
    tn_value added = tn_o_in_or_none(o, 3);
    tn_conv_options c;
    int count;
    const double *numbers;
    if (channels_last) x = tn_o_channels_first(o, x);
    if (!tn_o_conv_options(o, x, w, &c)) return;
    tn_o_floats(o, "activation_params", &count, &numbers);
    tn_value y = tn_b_conv(o->b, x, w, bias, &c);
    if (channels_last) y = tn_o_channels_last(o, y);
    if (added != TN_NO_VALUE) y = tn_b_add(o->b, y, added);
    tn_o_out(o, 0, activate(o, y, count > 0 ? numbers : NULL, count > 1 ? numbers + 1 : NULL));
}

static void import_fused_conv(tn_o *o) {
    fused_conv(o, false);
}

static void import_nhwc_conv(tn_o *o) {
    fused_conv(o, true);
}

static void import_nhwc_max_pool(tn_o *o) {
    tn_value x = tn_o_channels_first(o, tn_o_in(o, 0));
    tn_pool_options p;
    if (!tn_o_pool_options(o, x, &p)) return;
    tn_o_out(o, 0, tn_o_channels_last(o, tn_b_max_pool(o->b, x, &p, NULL)));
}

/* ---- others --------------------------------------------------------------------------------- */

static void import_inverse(tn_o *o) {
    tn_o_out(o, 0, tn_b_inverse(o->b, tn_o_in(o, 0)));
}

/* Distances between all rows of two matrices: Σ (x − y)², or its root. */
static void import_distances(tn_o *o) {
    static const char *const metrics[] = {"sqeuclidean", "euclidean", NULL};
    tn_builder *b = o->b;
    bool root = tn_o_choice(o, "metric", "sqeuclidean", metrics) == 1;
    tn_value x = tn_b_unsqueeze(b, tn_o_in(o, 0), 1), y = tn_b_unsqueeze(b, tn_o_in(o, 1), 0);
    tn_value sum = tn_b_sum(b, tn_b_square(b, tn_b_sub(b, x, y)), (int[]){2}, 1, false);
    tn_o_out(o, 0, root ? tn_b_sqrt(b, sum) : sum);
}

static void import_expand_dims(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    int rank = tn_b_rank(o->b, x) + 1;
    int axis = tn_o_axis(o, tn_o_need_int_value(o, 1, "axis"), rank);
    tn_o_out(o, 0, tn_b_unsqueeze(o->b, x, axis));
}

static const tn_onnx_op rows[] = {
    {"BiasAdd", 1, TN_ONNX_LATEST, import_bias_add},
    {"BiasDropout", 1, TN_ONNX_LATEST, import_bias_dropout},
    {"BiasGelu", 1, TN_ONNX_LATEST, import_gelu},
    {"BiasSoftmax", 1, TN_ONNX_LATEST, import_bias_softmax},
    {"BiasSplitGelu", 1, TN_ONNX_LATEST, import_bias_split_gelu},
    {"CDist", 1, TN_ONNX_LATEST, import_distances},
    {"EmbedLayerNormalization", 1, TN_ONNX_LATEST, import_embed_norm},
    {"ExpandDims", 1, TN_ONNX_LATEST, import_expand_dims},
    {"FastGelu", 1, TN_ONNX_LATEST, import_fast_gelu},
    {"FusedConv", 1, TN_ONNX_LATEST, import_fused_conv},
    {"FusedGemm", 1, TN_ONNX_LATEST, import_fused_gemm},
    {"FusedMatMul", 1, TN_ONNX_LATEST, import_fused_matmul},
    {"FusedMatMulActivation", 1, TN_ONNX_LATEST, import_fused_matmul},
    {"Gelu", 1, TN_ONNX_LATEST, import_gelu},
    {"Inverse", 1, TN_ONNX_LATEST, import_inverse},
    {"NhwcConv", 1, TN_ONNX_LATEST, import_nhwc_conv},
    {"NhwcFusedConv", 1, TN_ONNX_LATEST, import_nhwc_conv},
    {"NhwcMaxPool", 1, TN_ONNX_LATEST, import_nhwc_max_pool},
    {"QuickGelu", 1, TN_ONNX_LATEST, import_quick_gelu},
    {"SimplifiedLayerNormalization", 1, TN_ONNX_LATEST, import_simplified_norm},
    {"SkipLayerNormalization", 1, TN_ONNX_LATEST, import_skip_norm},
    {"SkipSimplifiedLayerNormalization", 1, TN_ONNX_LATEST, import_skip_simplified_norm},
};
TN_ONNX_TABLE(contrib_layers, "com.microsoft")

/* ONNX Runtime writes it without a domain. */
static const tn_onnx_op plain_rows[] = {
    {"SimplifiedLayerNormalization", 1, TN_ONNX_LATEST, import_simplified_norm},
};
const tn_onnx_rows tn__onnx_ops_contrib_plain = {"", plain_rows, TN_COUNT(plain_rows)};
