/* Attention, its caches and position embeddings. */
#include <math.h>

#include "import/onnx/ops.h"

/* ---- heads ---------------------------------------------------------------------------------- */

tn_value tn_o_split_heads(tn_o *o, tn_value x, int64_t heads) {
    tn_builder *b = o->b;
    tn_dim each;
    if (tn_b_rank(b, x) != 3 || !tn_o_ok(o)) return x;
    if (heads < 1 || !tn_dim_divides(o->dims, tn_b_dim(b, x, 2), heads, &each))
        return tn_o_fail(o, TN_INVALID,
                         "the last axis of its input does not split into %lld heads; the numbers "
                         "of heads must be given for inputs with three axes",
                         (long long)heads);
    tn_dim dim[] = {tn_b_dim(b, x, 0), tn_b_dim(b, x, 1), heads, each};
    return tn_b_swap(b, tn_b_reshape_to(b, x, 4, dim), 1, 2);
}

tn_value tn_o_join_heads(tn_o *o, tn_value x) {
    tn_builder *b = o->b;
    tn_dim all = tn_dim_mul(o->dims, tn_b_dim(b, x, 1), tn_b_dim(b, x, 3));
    tn_dim dim[] = {tn_b_dim(b, x, 0), tn_b_dim(b, x, 2), all};
    return tn_b_reshape_to(b, tn_b_swap(b, x, 1, 2), 3, dim);
}

/* ---- Attention ------------------------------------------------------------------------------ */

/* A mask for fewer keys hides the rest (opset 24). */
static tn_value widen_mask(tn_o *o, tn_value mask, tn_dim keys) {
    tn_builder *b = o->b;
    tn_dtype dtype = tn_b_type(b, mask).dtype;
    tn_dim have = tn_b_dim(b, mask, -1);
    if (!tn_o_ok(o) || o->version < 24 || have == keys || have == 1) return mask;
    tn_value hide = tn_b_scalar(b, dtype, dtype == TN_bool ? 0 : -INFINITY);
    return tn_b_pad_axis(b, mask, -1, 0, tn_dim_sub(o->dims, keys, have), hide);
}

/* Only the first length[n] keys of each sample count. */
static tn_value hide_padding(tn_o *o, tn_value mask, tn_value length, tn_dim keys) {
    tn_builder *b = o->b;
    tn_shape places = {.rank = 4, .dim = {1, 1, 1, keys}};
    tn_value at = tn_b_iota(b, TN_i64, &places, 3);
    length = tn_b_reshape_to(b, tn_b_cast(b, length, TN_i64), 4,
                             (tn_dim[]){tn_b_dim(b, length, 0), 1, 1, 1});
    tn_value real = tn_b_lt(b, at, length);
    if (mask == TN_NO_VALUE) return real;
    tn_dtype dtype = tn_b_type(b, mask).dtype;
    if (dtype == TN_bool) return tn_b_and(b, mask, real);
    return tn_b_where(b, real, mask, tn_b_scalar(b, dtype, -INFINITY));
}

tn_value tn_o_with_past(tn_o *o, tn_value present, tn_value past) {
    if (past == TN_NO_VALUE) return present;
    return tn_b_concat(o->b, (tn_value[]){past, present}, 2, 2);
}

static void read_softmax_type(tn_o *o, tn_attention *a) {
    a->has_softmax = tn_o_int(o, "softmax_precision", 0) != 0;
    if (a->has_softmax) a->softmax = tn_o_dtype(o, "softmax_precision", TN_f32);
    if (tn_o_ok(o) && a->has_softmax && !tn_dtype_is_float(a->softmax))
        tn_o_fail(o, TN_INVALID, "its softmax_precision is %s; expected a float type",
                  tn_dtype_name(a->softmax));
}

static void import_attention(tn_o *o) {
    tn_builder *b = o->b;
    tn_value q = tn_o_in(o, 0), k = tn_o_in(o, 1), v = tn_o_in(o, 2);
    tn_value past_k = tn_o_in_or_none(o, 4), past_v = tn_o_in_or_none(o, 5);
    bool packed = tn_b_rank(b, q) == 3;
    int64_t q_heads = tn_o_int(o, "q_num_heads", 0), k_heads = tn_o_int(o, "kv_num_heads", 0);
    tn_attention a = {.scale = tn_o_float(o, "scale", 0),
                      .softcap = tn_o_float(o, "softcap", 0),
                      .causal = tn_o_int(o, "is_causal", 0) != 0};
    int64_t stage = tn_o_int(o, "qk_matmul_output_mode", 0);
    if (tn_o_ok(o) && (stage < TN_SCORES_RAW || stage > TN_SCORES_SOFTMAX))
        tn_o_fail(o, TN_INVALID, "qk_matmul_output_mode is %lld; expected 0 to 3",
                  (long long)stage);
    if (tn_o_ok(o) && (past_k == TN_NO_VALUE) != (past_v == TN_NO_VALUE))
        tn_o_fail(o, TN_INVALID, "past_key and past_value must be given together");
    a.q = tn_o_split_heads(o, q, q_heads);
    a.k = tn_o_with_past(o, tn_o_split_heads(o, k, k_heads), past_k);
    a.v = tn_o_with_past(o, tn_o_split_heads(o, v, k_heads), past_v);
    a.causal_offset = past_k == TN_NO_VALUE ? 0 : tn_b_dim(b, past_k, 2);
    tn_dim keys = tn_b_dim(b, a.k, 2);
    a.mask = tn_o_has(o, 3) ? widen_mask(o, tn_o_in(o, 3), keys) : TN_NO_VALUE;
    if (o->version >= 24 && tn_o_has(o, 6)) a.mask = hide_padding(o, a.mask, tn_o_in(o, 6), keys);
    read_softmax_type(o, &a);
    tn_value scores = TN_NO_VALUE;
    a.stage = (tn_attention_stage)stage;
    if (tn_o_wants(o, 3)) a.scores = &scores;
    tn_value y = tn_b_attention(b, &a);
    tn_o_out(o, 0, packed ? tn_o_join_heads(o, y) : y);
    tn_o_out(o, 1, a.k);
    tn_o_out(o, 2, a.v);
    tn_o_out(o, 3, scores);
}

/* ---- FlexAttention (ai.onnx.preview) -------------------------------------------------------- */

typedef struct flex {
    tn_o *o;
    const tn_onnx_graph *on_scores, *on_weights;
} flex;

static tn_value change_scores(void *context, tn_value scores) {
    const flex *f = context;
    return tn_o_inline(f->o, f->on_scores, scores);
}

static tn_value change_weights(void *context, tn_value weights) {
    const flex *f = context;
    return tn_o_inline(f->o, f->on_weights, weights);
}

static void import_flex_attention(tn_o *o) {
    flex f = {.o = o};
    tn_attention a = {.q = tn_o_in(o, 0),
                      .k = tn_o_in(o, 1),
                      .v = tn_o_in(o, 2),
                      .mask = TN_NO_VALUE,
                      .scale = tn_o_float(o, "scale", 0),
                      .context = &f};
    read_softmax_type(o, &a);
    if (tn_o_has_attr(o, "score_mod")) {
        f.on_scores = tn_o_graph(o, "score_mod");
        a.score_mod = change_scores;
    }
    if (tn_o_has_attr(o, "prob_mod")) {
        f.on_weights = tn_o_graph(o, "prob_mod");
        a.weight_mod = change_weights;
    }
    tn_o_out(o, 0, tn_b_attention(o->b, &a));
}

/* ---- RotaryEmbedding ------------------------------------------------------------------------ */

/* A table of [positions, half] by position, or one that has a row per token already, so that it
 * broadcasts along the axis of the heads. */
static tn_value rotary_table(tn_o *o, int i, tn_value positions, int heads_axis) {
    tn_value t = tn_o_in(o, i);
    if (positions != TN_NO_VALUE) t = tn_b_gather_axis(o->b, t, positions, 0, TN_INDEX_error);
    if (tn_o_ok(o) && tn_b_rank(o->b, t) != 3)
        return tn_o_fail(o, TN_INVALID, "its cos or sin cache has %d axes; expected %d",
                         tn_o_rank(o, i), positions == TN_NO_VALUE ? 3 : 2);
    return tn_b_unsqueeze(o->b, t, heads_axis);
}

static void import_rotary(tn_o *o) {
    tn_builder *b = o->b;
    tn_value x = tn_o_in(o, 0), positions = tn_o_in_or_none(o, 3);
    tn_type type = tn_b_type(b, x);
    bool packed = type.shape.rank == 3, interleaved = tn_o_int(o, "interleaved", 0) != 0;
    int64_t heads = tn_o_int(o, "num_heads", 0), rotated = tn_o_int(o, "rotary_embedding_dim", 0);
    tn_dim each = tn_b_dim(b, x, -1);
    if (tn_o_ok(o) && packed && (heads < 1 || !tn_dim_divides(o->dims, each, heads, &each)))
        tn_o_fail(o, TN_INVALID, "its input does not split into %lld heads (attribute num_heads)",
                  (long long)heads);
    if (tn_o_ok(o) && !packed && type.shape.rank != 4)
        tn_o_fail(o, TN_INVALID, "its input has %d axes; expected 3 or 4", type.shape.rank);
    if (packed && tn_o_ok(o))
        x = tn_b_reshape_to(b, x, 4, (tn_dim[]){type.shape.dim[0], type.shape.dim[1], heads, each});
    int heads_axis = packed ? 2 : 1;
    tn_value cos = rotary_table(o, 1, positions, heads_axis);
    tn_value sin = rotary_table(o, 2, positions, heads_axis);
    tn_dim covered = tn_dim_mul(o->dims, tn_b_dim(b, cos, -1), 2);
    if (tn_o_ok(o) && covered != (rotated ? rotated : each))
        tn_o_fail(o, TN_INVALID,
                  "its cos cache does not have half as many columns as a head has elements to "
                  "rotate");
    tn_o_out(o, 0, tn_b_reshape(b, tn_b_rotary(b, x, cos, sin, interleaved), &type.shape));
}

/* ---- caches and state ----------------------------------------------------------------------- */

static void import_tensor_scatter(tn_o *o) {
    static const char *const modes[] = {"linear", "circular", NULL};
    int axis = tn_o_axis(o, tn_o_int(o, "axis", -2), tn_o_rank(o, 0));
    bool circular = tn_o_choice(o, "mode", "linear", modes);
    tn_value cache = tn_o_in(o, 0), update = tn_o_in(o, 1), start = tn_o_in_or_none(o, 2);
    tn_o_out(o, 0, tn_b_cache_update(o->b, cache, update, start, axis, circular));
}

/* A convolution of each channel that looks back only; what it will look back at comes out. */
static void import_causal_conv(tn_o *o) {
    static const char *const activations[] = {"none", "silu", "swish", NULL};
    tn_builder *b = o->b;
    tn_value x = tn_o_in(o, 0), w = tn_o_in(o, 1), bias = tn_o_in_or_none(o, 2);
    tn_value past = tn_o_in_or_none(o, 3);
    int activation = tn_o_choice(o, "activation", "none", activations);
    tn_dtype dtype = tn_b_type(b, x).dtype;
    int64_t window = tn_o_const_dim(o, tn_b_dim(b, w, 2), "the kernel's size");
    int64_t channels = tn_o_const_dim(o, tn_b_dim(b, w, 0), "the number of channels");
    if (tn_o_ok(o) && (tn_b_rank(b, x) != 3 || tn_b_rank(b, w) != 3 || window < 1))
        tn_o_fail(o, TN_INVALID, "its input has %d axes and its weight %d; expected 3",
                  tn_b_rank(b, x), tn_b_rank(b, w));
    if (!tn_o_ok(o)) return;
    if (past != TN_NO_VALUE)
        x = tn_b_concat(b, (tn_value[]){past, x}, 2, 2);
    else
        x = tn_b_pad_axis(b, x, 2, window - 1, 0, tn_b_scalar(b, dtype, 0));
    tn_value y = tn_b_conv(b, x, w, bias, &(tn_conv_options){.groups = channels});
    if (activation) y = tn_o_like(o, tn_b_silu(b, tn_o_widen(o, y)), x);
    tn_dim start = tn_dim_sub(o->dims, tn_b_dim(b, x, 2), window - 1);
    tn_o_out(o, 0, y);
    tn_o_out(o, 1, tn_b_slice_axis(b, x, 2, start, window - 1, 1));
}

static tn_value widened_heads(tn_o *o, int i, int64_t heads) {
    if (!tn_o_has(o, i)) return TN_NO_VALUE;
    tn_value x = tn_o_in(o, i);
    if (tn_o_ok(o) && tn_b_rank(o->b, x) != 3)
        tn_o_fail(o, TN_INVALID, "its input %d has %d axes; expected 3", i, tn_b_rank(o->b, x));
    return tn_o_split_heads(o, tn_b_cast(o->b, x, TN_f32), heads);
}

/* decay and beta are needed by the rules that use them and forbidden with the others. */
static void check_rule(tn_o *o, const char *rule, const char *what, bool used, bool given) {
    if (tn_o_ok(o) && used != given)
        tn_o_fail(o, TN_INVALID, "update_rule '%s' %s the input %s", rule,
                  used ? "needs" : "does not have", what);
}

static void import_linear_attention(tn_o *o) {
    static const char *const rules[] = {"linear", "gated", "delta", "gated_delta", NULL};
    tn_builder *b = o->b;
    int rule = tn_o_choice(o, "update_rule", "gated_delta", rules);
    check_rule(o, rules[rule], "decay", rule & 1, tn_o_has(o, 4));
    check_rule(o, rules[rule], "beta", rule & 2, tn_o_has(o, 5));
    int64_t q_heads = tn_o_need_int(o, "q_num_heads"), heads = tn_o_need_int(o, "kv_num_heads");
    tn_linear_attention a = {.q = widened_heads(o, 0, q_heads),
                             .k = widened_heads(o, 1, heads),
                             .v = widened_heads(o, 2, heads),
                             .decay = widened_heads(o, 4, heads),
                             .state = tn_o_in_or_none(o, 3),
                             .beta = TN_NO_VALUE,
                             .scale = tn_o_float(o, "scale", 0)};
    if (tn_o_has(o, 5))
        a.beta = widened_heads(o, 5, tn_o_const_dim(o, tn_b_dim(b, tn_o_in(o, 5), -1), "beta"));
    tn_dtype dtype = tn_o_type(o, 0).dtype, kept = dtype;
    if (a.state != TN_NO_VALUE) {
        kept = tn_b_type(b, a.state).dtype;
        a.state = tn_b_cast(b, a.state, TN_f32);
    }
    tn_value state = TN_NO_VALUE, y = tn_b_linear_attention(b, &a, &state);
    if (!tn_o_ok(o)) return;
    tn_o_out(o, 0, tn_b_cast(b, tn_o_join_heads(o, y), dtype));
    tn_o_out(o, 1, tn_b_cast(b, state, kept));
}

static const tn_onnx_op rows[] = {
    {"Attention", 23, TN_ONNX_LATEST, import_attention},
    {"CausalConvWithState", 27, TN_ONNX_LATEST, import_causal_conv},
    {"LinearAttention", 27, TN_ONNX_LATEST, import_linear_attention},
    {"RotaryEmbedding", 23, TN_ONNX_LATEST, import_rotary},
    {"TensorScatter", 24, TN_ONNX_LATEST, import_tensor_scatter},
};
TN_ONNX_TABLE(attention, "")

static const tn_onnx_op preview_rows[] = {
    {"FlexAttention", 1, TN_ONNX_LATEST, import_flex_attention},
};
const tn_onnx_rows tn__onnx_ops_preview = {"ai.onnx.preview", preview_rows, TN_COUNT(preview_rows)};
