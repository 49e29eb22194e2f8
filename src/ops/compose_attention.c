/* Attention and rotary embedding. See compose.h. */
#include <math.h>

#include "ops/compose.h"
#include "ops/parts.h"

/* ---- attention ------------------------------------------------------------------------------ */

/* Sizes of one call; group: query heads per key head. */
typedef struct heads {
    tn_dim n, q_heads, k_heads, group, s, t, d, dv;
} heads;

static bool heads_of(tn_builder *b, const tn_attention *o, heads *h) {
    if (tn_b_ok(b) &&
        (tn_b_rank(b, o->q) != 4 || tn_b_rank(b, o->k) != 4 || tn_b_rank(b, o->v) != 4))
        tn_b_fail(b, TN_INVALID,
                  "attention: q, k, v have %d, %d, %d axes; expected 4 each: N, "
                  "heads, length, size",
                  tn_b_rank(b, o->q), tn_b_rank(b, o->k), tn_b_rank(b, o->v));
    if (!tn_b_ok(b)) return false;
    tn_dims *t = b->graph->dims;
    *h = (heads){
        tn_b_dim(b, o->q, 0), tn_b_dim(b, o->q, 1), tn_b_dim(b, o->k, 1), 1,
        tn_b_dim(b, o->q, 2), tn_b_dim(b, o->k, 2), tn_b_dim(b, o->q, 3), tn_b_dim(b, o->v, 3)};
    if (!tn_dim_divides(t, h->q_heads, h->k_heads, &h->group))
        tn_b_fail(b, TN_INVALID, "attention: %s key heads do not divide %s query heads",
                  tn_dim_text(t, h->k_heads).at, tn_dim_text(t, h->q_heads).at);
    return tn_b_ok(b);
}

static tn_value batched_dot(tn_builder *b, tn_value x, tn_value y, int x_axis, int y_axis,
                            tn_dtype acc) {
    tn_attrs_dot a = {.lhs_batch = {2, {0, 1}},
                      .rhs_batch = {2, {0, 1}},
                      .lhs_contract = {1, {x_axis}},
                      .rhs_contract = {1, {y_axis}},
                      .acc = acc};
    return tn_b_node(b, TN_OP_dot, (tn_value[]){x, y}, 2, &a);
}

/* Scores [N, Hq, S, T] in the accumulator type. The queries of a group of heads lie behind each
 * other as rows of one product with their key head. */
static tn_value raw_scores(tn_builder *b, const tn_attention *o, const heads *h, tn_dtype acc) {
    tn_dims *t = b->graph->dims;
    double scale = o->scale;
    tn_dim rows = tn_dim_mul(t, h->group, h->s);
    tn_value q = tn_b_reshape_to(b, o->q, 4, (tn_dim[]){h->n, h->k_heads, rows, h->d});
    tn_value scores = batched_dot(b, q, o->k, 3, 3, acc);
    scores = tn_b_reshape_to(b, scores, 4, (tn_dim[]){h->n, h->q_heads, h->s, h->t});
    int64_t size;
    if (scale == 0 && tn_dim_const_value(t, h->d, &size)) scale = 1 / sqrt((double)size);
    if (scale == 0)
        return tn_b_fail(b, TN_UNSUPPORTED, "attention: the head size must be constant");
    return tn_b_mul_scalar(b, scores, scale);
}

static tn_value causal_mask(tn_builder *b, const tn_attention *o, const heads *h) {
    tn_shape rows = {.rank = 2, .dim = {h->s, 1}}, columns = {.rank = 2, .dim = {1, h->t}};
    tn_value i = tn_b_iota(b, TN_i64, &rows, 0), j = tn_b_iota(b, TN_i64, &columns, 1);
    i = tn_b_add(b, i, tn_b_dim_value(b, o->causal_offset, TN_i64));
    return tn_b_le(b, j, i);
}

static void show_scores(tn_builder *b, const tn_attention *o, tn_attention_stage stage,
                        tn_value scores) {
    if (o->scores && o->stage == stage) *o->scores = tn_b_cast(b, scores, tn_b_type(b, o->q).dtype);
}

static tn_value attention_weights(tn_builder *b, const tn_attention *o, tn_value scores) {
    if (o->has_softmax) scores = tn_b_cast(b, scores, o->softmax);
    if (o->score_mod && tn_b_ok(b)) scores = o->score_mod(o->context, scores);
    tn_value p = tn_b_softmax(b, scores, -1);
    return o->weight_mod && tn_b_ok(b) ? o->weight_mod(o->context, p) : p;
}

tn_value tn_b_attention_scores(tn_builder *b, const tn_attention *o) {
    heads h;
    if (!heads_of(b, o, &h)) return TN_NO_VALUE;
    tn_value scores = raw_scores(b, o, &h, tn_b_accumulator(tn_b_type(b, o->q).dtype));
    show_scores(b, o, TN_SCORES_RAW, scores);
    if (o->softcap != 0)
        scores = tn_b_mul_scalar(b, tn_b_tanh(b, tn_b_mul_scalar(b, scores, 1 / o->softcap)),
                                 o->softcap);
    show_scores(b, o, TN_SCORES_CAPPED, scores);
    return scores;
}

tn_value tn_b_attention_of_scores(tn_builder *b, const tn_attention *o, tn_value scores) {
    heads h;
    if (!heads_of(b, o, &h)) return TN_NO_VALUE;
    tn_dims *t = b->graph->dims;
    tn_dtype dtype = tn_b_type(b, o->q).dtype, acc = tn_b_accumulator(dtype);
    tn_value hidden = tn_b_scalar(b, acc, -INFINITY);
    if (o->causal) scores = tn_b_where(b, causal_mask(b, o, &h), scores, hidden);
    if (o->mask != TN_NO_VALUE && tn_b_type(b, o->mask).dtype == TN_bool)
        scores = tn_b_where(b, o->mask, scores, hidden);
    else if (o->mask != TN_NO_VALUE)
        scores = tn_b_add(b, scores, tn_b_cast(b, o->mask, acc));
    show_scores(b, o, TN_SCORES_MASKED, scores);
    tn_value p = tn_b_cast(b, attention_weights(b, o, scores), dtype);
    show_scores(b, o, TN_SCORES_SOFTMAX, p);
    tn_dim rows = tn_dim_mul(t, h.group, h.s);
    p = tn_b_reshape_to(b, p, 4, (tn_dim[]){h.n, h.k_heads, rows, h.t});
    tn_value y = tn_b_cast(b, batched_dot(b, p, o->v, 3, 2, acc), dtype);
    return tn_b_reshape_to(b, y, 4, (tn_dim[]){h.n, h.q_heads, h.s, h.dv});
}

tn_value tn_b_attention(tn_builder *b, const tn_attention *o) {
    return tn_b_attention_of_scores(b, o, tn_b_attention_scores(b, o));
}

/* ---- rotary embedding ----------------------------------------------------------------------- */

/* (x1, x2) cos + (x2, x1) (−sin, sin): pairs along an axis of their own, so all but products and sums
 * is views. */
static tn_value rotate(tn_builder *b, tn_value x, tn_value cos, tn_value sin, bool interleaved,
                       tn_dim half) {
    int last = tn_b_rank(b, x) - 1, pair = interleaved ? last + 1 : last;
    tn_dim covered = tn_dim_mul(b->graph->dims, half, 2);
    tn_dim split[] = {interleaved ? half : 2, interleaved ? 2 : half};
    tn_value pairs = tn_b_regroup(b, x, last, 1, 2, split);
    tn_dtype dtype = tn_b_type(b, sin).dtype;
    tn_shape two = {.rank = interleaved ? 1 : 2, .dim = {2, 1}};
    tn_value sign = tn_b_add_scalar(b, tn_b_mul_scalar(b, tn_b_iota(b, dtype, &two, 0), 2), -1);
    int from_end = interleaved ? 0 : 1;
    cos = tn_b_unsqueeze(b, cos, tn_b_rank(b, cos) - from_end);
    sin = tn_b_mul(b, tn_b_unsqueeze(b, sin, tn_b_rank(b, sin) - from_end), sign);
    tn_value turned = tn_b_mul(b, tn_b_reverse(b, pairs, pair), sin);
    tn_value y = tn_b_add(b, tn_b_mul(b, pairs, cos), turned);
    return tn_b_regroup(b, y, last, 2, 1, &covered);
}

tn_value tn_b_rotary(tn_builder *b, tn_value x, tn_value cos, tn_value sin, bool interleaved) {
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_dims *t = b->graph->dims;
    int last = tn_b_rank(b, x) - 1;
    tn_dim half = tn_b_dim(b, cos, -1), size = tn_b_dim(b, x, -1);
    tn_dim covered = tn_dim_mul(t, half, 2), rest = tn_dim_sub(t, size, covered);
    if (rest == 0) return rotate(b, x, cos, sin, interleaved, half);
    tn_value head =
        rotate(b, tn_b_slice_axis(b, x, last, 0, covered, 1), cos, sin, interleaved, half);
    tn_value tail = tn_b_slice_axis(b, x, last, covered, rest, 1);
    return tn_b_concat(b, (tn_value[]){head, tail}, 2, last);
}
