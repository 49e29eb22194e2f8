/* Attention of com.microsoft, as ONNX Runtime's optimizer fuses it.
 *
 * Both operators mean: keys that the mask hides get mask_filter_value added to their scores, those
 * behind a causal query's own get −∞. Read next: ops_contrib_cache.c for GroupQueryAttention. */
#include "import/onnx/ops.h"
#include "ops/ops_common.h"

/* ---- masks ---------------------------------------------------------------------------------- */

/* The sizes of scores [N, heads, S, T], T with the past. */
typedef struct extent {
    tn_dim n, s, t;
} extent;

/* Part `which` of a vector of parts of N elements, as [N, 1, 1, 1]. */
static tn_value part_of(tn_o *o, tn_value v, int which, const extent *e) {
    tn_dim start = tn_dim_mul(o->dims, which, e->n);
    v = tn_b_slice_axis(o->b, v, 0, start, e->n, 1);
    return tn_b_reshape_to(o->b, v, 4, (tn_dim[]){e->n, 1, 1, 1});
}

/* True where key j is real: j < end, and from the starts on where there are some. The vector holds
 * ends [N]; ends and starts [2N]; or ends and two running sums [3N + 2]. */
static tn_value visible_by_length(tn_o *o, tn_value v, const extent *e) {
    tn_builder *b = o->b;
    tn_dims *t = o->dims;
    tn_dim size = tn_b_dim(b, v, 0), both = tn_dim_mul(t, 2, e->n);
    bool starts = size == both;
    if (tn_o_ok(o) && size != e->n && !starts &&
        size != tn_dim_add(t, tn_dim_add(t, both, e->n), 2))
        return tn_o_fail(o, TN_INVALID,
                         "its mask has %s elements; expected N, 2N or 3N + 2 for a batch of %s",
                         tn_dim_text(t, size).at, tn_dim_text(t, e->n).at);
    tn_shape places = {.rank = 4, .dim = {1, 1, 1, e->t}};
    tn_value j = tn_b_iota(b, tn_b_type(b, v).dtype, &places, 3);
    tn_value visible = tn_b_lt(b, j, part_of(o, v, 0, e));
    return starts ? tn_b_and(b, visible, tn_b_ge(b, j, part_of(o, v, 1, e))) : visible;
}

/* The rows and columns of a square mask [N, 1, M, M] for the last S of T positions. */
static tn_value cut_square(tn_o *o, tn_value mask, const extent *e) {
    mask = tn_b_slice_axis(o->b, mask, 2, tn_dim_sub(o->dims, e->t, e->s), e->s, 1);
    return tn_b_slice_axis(o->b, mask, 3, 0, e->t, 1);
}

/* What the mask at input `i` adds to the scores: 0 or `hidden`. Absent: none. */
static tn_value padding_mask(tn_o *o, int i, const extent *e, double hidden) {
    tn_builder *b = o->b;
    if (!tn_o_has(o, i)) return TN_NO_VALUE;
    tn_value mask = tn_o_in(o, i), visible;
    int rank = tn_b_rank(b, mask);
    if (tn_o_ok(o) && (rank < 1 || rank > 4))
        tn_o_fail(o, TN_INVALID, "its mask has %d axes; expected 1 to 4", rank);
    if (!tn_o_ok(o)) return TN_NO_VALUE;
    if (rank == 1) {
        visible = visible_by_length(o, mask, e);
    } else {
        if (rank == 4) mask = cut_square(o, mask, e);
        if (rank < 4) mask = tn_b_unsqueeze(b, mask, 1);
        if (rank < 3) mask = tn_b_unsqueeze(b, mask, 1);
        visible = tn_b_gt(b, mask, tn_b_scalar(b, tn_b_type(b, mask).dtype, 0));
    }
    return tn_b_where(b, visible, tn_b_scalar(b, TN_f32, 0), tn_b_scalar(b, TN_f32, hidden));
}

static tn_value sum_of_masks(tn_o *o, tn_value x, tn_value y) {
    if (x == TN_NO_VALUE) return y;
    return y == TN_NO_VALUE ? x : tn_b_add(o->b, x, tn_b_cast(o->b, y, TN_f32));
}

/* ---- what both do with q, k and v ----------------------------------------------------------- */

/* `a` has q, k and v; the past of the keys is `past` long. */
static tn_value attend(tn_o *o, tn_attention *a, int mask, int added, tn_dim past) {
    extent e = {tn_b_dim(o->b, a->q, 0), tn_b_dim(o->b, a->q, 2), tn_b_dim(o->b, a->k, 2)};
    double hidden = tn_o_float(o, "mask_filter_value", -10000);
    a->mask = sum_of_masks(o, padding_mask(o, mask, &e, hidden), tn_o_in_or_none(o, added));
    a->causal = tn_o_int(o, "unidirectional", 0) != 0;
    a->causal_offset = past;
    a->scale = tn_o_float(o, "scale", 0);
    return tn_o_join_heads(o, tn_b_attention(o->b, a));
}

/* ---- Attention ------------------------------------------------------------------------------ */

/* The sizes of q, k and v in a projection of `all`: by attribute, or thirds. */
static bool projected_sizes(tn_o *o, tn_dim all, tn_dim size[3]) {
    int count;
    const int64_t *at;
    bool given = tn_o_ints(o, "qkv_hidden_sizes", &count, &at) && count > 0;
    if (given && count != 3)
        tn_o_fail(o, TN_INVALID, "attribute 'qkv_hidden_sizes' has %d entries; expected 3", count);
    for (int i = 0; i < 3 && tn_o_ok(o); i++) {
        if (given && (at[i] < 1 || at[i] > INT32_MAX))
            tn_o_fail(o, TN_INVALID, "attribute 'qkv_hidden_sizes' holds %lld", (long long)at[i]);
        size[i] = given && tn_o_ok(o) ? tn_dim_const(o->dims, at[i]) : 0;
        if (!given && !tn_dim_divides(o->dims, all, 3, &size[i]))
            tn_o_fail(o, TN_INVALID, "its weights have %s columns, which are not three parts",
                      tn_dim_text(o->dims, all).at);
    }
    return tn_o_ok(o);
}

/* past [2, N, heads, P, D]: keys (0) or values (1) */
static tn_value past_part(tn_o *o, tn_value past, int which) {
    if (past == TN_NO_VALUE) return past;
    return tn_b_squeeze(o->b, tn_b_slice_axis(o->b, past, 0, which, 1, 1), 0);
}

void tn_o_self_attention(tn_o *o, tn_value x, int mask, int past, int added) {
    tn_builder *b = o->b;
    int64_t heads = tn_o_need_int(o, "num_heads");
    tn_value part[3], before = tn_o_in_or_none(o, past);
    tn_dim size[3], start = 0;
    if (tn_o_int(o, "do_rotary", 0))
        tn_o_refuse(o, TN_UNSUPPORTED, "attribute do_rotary; export RotaryEmbedding of its own");
    if (tn_o_int(o, "past_present_share_buffer", 0))
        tn_o_refuse(o, TN_UNSUPPORTED, "attribute past_present_share_buffer; export without it");
    if (tn_o_ok(o) && tn_b_rank(b, x) != 3)
        tn_o_fail(o, TN_INVALID, "its projected input has %d axes; expected 3", tn_b_rank(b, x));
    if (!tn_o_ok(o) || !projected_sizes(o, tn_b_dim(b, x, 2), size)) return;
    if (before != TN_NO_VALUE && tn_b_rank(b, before) != 5) {
        tn_o_fail(o, TN_INVALID, "its past has %d axes; expected 5", tn_b_rank(b, before));
        return;
    }
    for (int i = 0; i < 3; i++) {
        part[i] = tn_o_split_heads(o, tn_b_slice_axis(b, x, 2, start, size[i], 1), heads);
        start = tn_dim_add(o->dims, start, size[i]);
    }
    tn_attention a = {.q = part[0],
                      .k = tn_o_with_past(o, part[1], past_part(o, before, 0)),
                      .v = tn_o_with_past(o, part[2], past_part(o, before, 1))};
    tn_dim length = before == TN_NO_VALUE ? 0 : tn_b_dim(b, before, 3);
    tn_o_out(o, 0, attend(o, &a, mask, added, length));
    if (!tn_o_wants(o, 1)) return;
    tn_value both[] = {tn_b_unsqueeze(b, a.k, 0), tn_b_unsqueeze(b, a.v, 0)};
    tn_o_out(o, 1, tn_b_concat(b, both, 2, 0));
}

static void import_attention(tn_o *o) {
    enum { WEIGHTS = 1, BIAS, MASK, PAST, ADDED };
    tn_value x = tn_o_in(o, 0), bias = tn_o_in_or_none(o, BIAS);
    x = tn_o_like(o, tn_b_product(o->b, x, tn_o_in(o, WEIGHTS)), x);
    if (bias != TN_NO_VALUE) x = tn_b_add(o->b, x, bias);
    tn_o_self_attention(o, x, MASK, PAST, ADDED);
}

/* ---- MultiHeadAttention --------------------------------------------------------------------- */

enum { Q, K, V, BIAS, MASK, ADDED, PAST_K, PAST_V, PAST_LENGTH, INDIRECTION };

/* Part `which` of x [N, S, heads, parts, D], as [N, heads, S, D]. */
static tn_value unpack(tn_o *o, tn_value x, int which) {
    x = tn_b_squeeze(o->b, tn_b_slice_axis(o->b, x, 3, which, 1, 1), 3);
    return tn_b_swap(o->b, x, 1, 2);
}

/* q, k and v with four axes, in any of the layouts: apart; k and v packed; all packed. k and v that
 * have four axes already are those of another pass: `ready`. */
static bool read_operands(tn_o *o, int64_t heads, tn_value part[3], bool *ready) {
    tn_builder *b = o->b;
    tn_value q = tn_o_in(o, Q), k = tn_o_in_or_none(o, K);
    int rank = k == TN_NO_VALUE ? 0 : tn_b_rank(b, k);
    *ready = rank == 4;
    if (tn_b_rank(b, q) == 5) {
        for (int i = 0; i < 3; i++) part[i] = unpack(o, q, i);
        return tn_o_ok(o);
    }
    part[0] = tn_o_split_heads(o, q, heads);
    if (rank == 5) {
        part[1] = unpack(o, k, 0);
        part[2] = unpack(o, k, 1);
        return tn_o_ok(o);
    }
    part[1] = tn_o_split_heads(o, tn_o_in(o, K), heads);
    part[2] = tn_o_split_heads(o, tn_o_in(o, V), heads);
    return tn_o_ok(o);
}

/* The bias [Dq + Dk + Dv] of the projections, each part where it belongs. */
static void add_bias(tn_o *o, tn_value part[3], int parts) {
    tn_builder *b = o->b;
    tn_value bias = tn_o_in_or_none(o, BIAS);
    tn_dim start = 0;
    if (bias == TN_NO_VALUE) return;
    for (int i = 0; i < parts; i++) {
        tn_dim heads = tn_b_dim(b, part[i], 1), each = tn_b_dim(b, part[i], 3);
        tn_dim size = tn_dim_mul(o->dims, heads, each);
        tn_value at = tn_b_slice_axis(b, bias, 0, start, size, 1);
        at = tn_b_reshape_to(b, at, 3, (tn_dim[]){heads, 1, each});
        part[i] = tn_b_add(b, part[i], at);
        start = tn_dim_add(o->dims, start, size);
    }
}

static void import_multi_head(tn_o *o) {
    tn_builder *b = o->b;
    int64_t heads = tn_o_need_int(o, "num_heads");
    tn_value part[3], past_k = tn_o_in_or_none(o, PAST_K), past_v = tn_o_in_or_none(o, PAST_V);
    tn_value scores = TN_NO_VALUE;
    bool ready;
    if (tn_o_has(o, PAST_LENGTH) || tn_o_has(o, INDIRECTION))
        tn_o_refuse(o, TN_UNSUPPORTED,
                    "inputs past_sequence_length and cache_indirection; export it without a "
                    "shared buffer and beam search");
    if (tn_o_ok(o) && (past_k == TN_NO_VALUE) != (past_v == TN_NO_VALUE))
        tn_o_fail(o, TN_INVALID, "past_key and past_value must be given together");
    if (!tn_o_ok(o) || !read_operands(o, heads, part, &ready)) return;
    add_bias(o, part, ready ? 1 : 3);
    tn_attention a = {.q = part[0],
                      .k = tn_o_with_past(o, part[1], past_k),
                      .v = tn_o_with_past(o, part[2], past_v),
                      .stage = TN_SCORES_MASKED};
    if (tn_o_wants(o, 3)) a.scores = &scores;
    tn_dim past = past_k == TN_NO_VALUE ? 0 : tn_b_dim(b, past_k, 2);
    tn_o_out(o, 0, attend(o, &a, MASK, ADDED, past));
    if (tn_o_wants(o, 1)) tn_o_out(o, 1, a.k);
    if (tn_o_wants(o, 2)) tn_o_out(o, 2, a.v);
    if (tn_o_wants(o, 3)) tn_o_out(o, 3, scores);
}

static const tn_onnx_op rows[] = {
    {"Attention", 1, TN_ONNX_LATEST, import_attention},
    {"MultiHeadAttention", 1, TN_ONNX_LATEST, import_multi_head},
};
TN_ONNX_TABLE(contrib_attention, "com.microsoft")
