/* Attention over a cache of keys and values, and the rotation of positions: GroupQueryAttention and
 * RotaryEmbedding of com.microsoft.
 *
 * The cache [N, heads, C, D] holds what came before; new keys go behind it, in each sample where its
 * own past ends: at seqlens_k[n] + 1 − S, and at 0 for a first prompt that is padded at its end. Keys
 * behind a query's own, and those further back than the window, are hidden. */
#include <math.h>

#include "import/onnx/ops.h"

enum { QUERY, KEY, VALUE, PAST_K, PAST_V, LENGTHS, TOTAL, COS, SIN, POSITIONS, ADDED, SINK };
enum { K_SCALE = 12, V_SCALE, Q_NORM, K_NORM };

typedef struct grouped {
    tn_o *o;
    int64_t heads, k_heads, window;
    tn_value q, k, v; /* [N, heads, S, D] */
    tn_value past;    /* [N, 1] i64: how many came before; absent in a prompt */
    tn_dim n, s, total;
    tn_value scores; /* behind the mask, where a sink needs them */
} grouped;

/* ---- operands ------------------------------------------------------------------------------- */

static bool read_numbers(tn_o *o, grouped *g) {
    enum { MOST_HEADS = 1 << 20 };
    *g = (grouped){.o = o,
                   .heads = tn_o_need_int(o, "num_heads"),
                   .k_heads = tn_o_need_int(o, "kv_num_heads"),
                   .window = tn_o_int(o, "local_window_size", -1),
                   .scores = TN_NO_VALUE};
    if (tn_o_ok(o) && (g->heads < 1 || g->heads > MOST_HEADS || g->k_heads < 1 ||
                       g->k_heads > g->heads || g->heads % g->k_heads != 0))
        tn_o_refuse(o, TN_INVALID,
                    "num_heads is %lld and kv_num_heads %lld; one must divide the other",
                    (long long)g->heads, (long long)g->k_heads);
    if (tn_o_int(o, "sliding_window_cache", 0))
        tn_o_refuse(o, TN_UNSUPPORTED, "attribute sliding_window_cache");
    if (tn_o_has(o, K_SCALE) || tn_o_has(o, V_SCALE))
        tn_o_refuse(o, TN_UNSUPPORTED, "its cache is quantised");
    if (tn_o_ok(o) && tn_o_has(o, PAST_K) != tn_o_has(o, PAST_V))
        tn_o_fail(o, TN_INVALID, "past_key and past_value must be given together");
    return tn_o_ok(o);
}

/* Packed: all heads of q, k and v lie in the last axis of the query. */
static void read_operands(tn_o *o, grouped *g) {
    tn_builder *b = o->b;
    tn_value q = tn_o_in(o, QUERY);
    if (tn_o_ok(o) && tn_b_rank(b, q) != 3)
        tn_o_fail(o, TN_INVALID, "its query has %d axes; expected 3", tn_b_rank(b, q));
    if (tn_o_has(o, KEY)) {
        g->q = tn_o_split_heads(o, q, g->heads);
        g->k = tn_o_split_heads(o, tn_o_in(o, KEY), g->k_heads);
        g->v = tn_o_split_heads(o, tn_o_in(o, VALUE), g->k_heads);
    } else {
        tn_value all = tn_o_split_heads(o, q, g->heads + 2 * g->k_heads);
        g->q = tn_b_slice_axis(b, all, 1, 0, g->heads, 1);
        g->k = tn_b_slice_axis(b, all, 1, g->heads, g->k_heads, 1);
        g->v = tn_b_slice_axis(b, all, 1, g->heads + g->k_heads, g->k_heads, 1);
    }
    g->n = tn_b_dim(b, g->q, 0);
    g->s = tn_b_dim(b, g->q, 2);
}

static tn_value per_head_norm(tn_o *o, tn_value x, int weight) {
    double epsilon = tn_o_float(o, "qk_norm_epsilon", (double)1e-6f);
    return tn_o_has(o, weight) ? tn_b_rms_norm(o->b, x, 3, tn_o_in(o, weight), epsilon) : x;
}

static void read_lengths(tn_o *o, grouped *g) {
    tn_builder *b = o->b;
    tn_known total;
    if (!tn_o_need_known(o, TOTAL, "total_sequence_length", &total)) return;
    if (total.count != 1)
        tn_o_fail(o, TN_INVALID, "total_sequence_length has %lld elements; expected 1",
                  (long long)total.count);
    else
        g->total = total.at[0];
    tn_value lengths = tn_b_cast(b, tn_o_in(o, LENGTHS), TN_i64);
    lengths = tn_b_reshape_to(b, lengths, 2, (tn_dim[]){g->n, 1});
    g->past = TN_NO_VALUE;
    if (g->total == g->s) return;
    tn_value before = tn_b_sub(b, lengths, tn_b_dim_value(b, g->s, TN_i64));
    g->past = tn_b_max(b, tn_b_add_scalar(b, before, 1), tn_b_scalar(b, TN_i64, 0));
}

/* ---- rotation ------------------------------------------------------------------------------- */

/* x [N, heads, S, D] by the rows `positions` [N or 1, S] of two tables. */
static tn_value rotate(tn_o *o, tn_value x, tn_value positions, int tables, bool interleaved) {
    tn_builder *b = o->b;
    tn_value part[2];
    for (int i = 0; i < 2; i++) {
        tn_value table = tn_o_in(o, tables + i);
        if (tn_o_ok(o) && tn_b_rank(b, table) != 2)
            tn_o_fail(o, TN_INVALID, "its cos or sin cache has %d axes; expected 2",
                      tn_b_rank(b, table));
        table = tn_b_gather_axis(b, table, positions, 0, TN_INDEX_error);
        part[i] = tn_b_unsqueeze(b, table, 1);
    }
    return tn_b_rotary(b, x, part[0], part[1], interleaved);
}

static tn_value steps(tn_o *o, tn_dim count) {
    tn_shape shape = {.rank = 2, .dim = {1, count}};
    return tn_b_iota(o->b, TN_i64, &shape, 1);
}

/* Where the new keys and queries stand in their sample, [N or 1, S]. */
static tn_value own_places(tn_o *o, const grouped *g) {
    tn_value at = steps(o, g->s);
    return g->past == TN_NO_VALUE ? at : tn_b_add(o->b, g->past, at);
}

static void rotate_operands(tn_o *o, grouped *g) {
    if (!tn_o_int(o, "do_rotary", 0)) return;
    bool interleaved = tn_o_int(o, "rotary_interleaved", 0) != 0;
    tn_value at = tn_o_in_or_none(o, POSITIONS);
    if (at == TN_NO_VALUE) at = own_places(o, g);
    g->q = rotate(o, g->q, at, COS, interleaved);
    g->k = rotate(o, g->k, at, COS, interleaved);
}

/* ---- cache ---------------------------------------------------------------------------------- */

/* The cache at input `i` with x behind each sample's past, long enough for the longest. */
static tn_value with_cache(tn_o *o, const grouped *g, tn_value x, int i) {
    tn_builder *b = o->b;
    tn_value zero = tn_b_scalar(b, tn_b_type(b, x).dtype, 0), cache = tn_o_in_or_none(o, i);
    if (cache == TN_NO_VALUE && g->total == g->s) return x;
    if (cache == TN_NO_VALUE) {
        tn_shape shape = tn_b_type(b, x).shape;
        if (!tn_o_ok(o)) return TN_NO_VALUE;
        shape.dim[2] = g->total;
        cache = tn_b_expand(b, zero, &shape);
    } else {
        tn_dim have = tn_b_dim(b, cache, 2), size = tn_dim_max(o->dims, have, g->total);
        if (size != have)
            cache = tn_b_pad_axis(b, cache, 2, 0, tn_dim_sub(o->dims, size, have), zero);
    }
    tn_value start = g->past == TN_NO_VALUE ? g->past : tn_b_squeeze(b, g->past, 1);
    return tn_b_cache_update(b, cache, x, start, 2, false);
}

/* Which keys each query sees, [N or 1, 1, S, total]: those up to its own, or up to the last one. */
static tn_value visible_keys(tn_o *o, const grouped *g, bool causal) {
    tn_builder *b = o->b;
    tn_shape places = {.rank = 4, .dim = {1, 1, 1, g->total}};
    tn_value j = tn_b_iota(b, TN_i64, &places, 3), own = own_places(o, g);
    if (!causal) own = tn_b_slice_axis(b, own, 1, tn_dim_sub(o->dims, g->s, 1), 1, 1);
    tn_dim dim[] = {tn_b_dim(b, own, 0), 1, tn_b_dim(b, own, 1), 1};
    own = tn_b_reshape_to(b, own, 4, dim);
    tn_value visible = tn_b_le(b, j, own);
    if (g->window < 0) return visible;
    tn_value oldest = tn_b_sub(b, own, tn_b_scalar_int(b, TN_i64, g->window));
    return tn_b_and(b, visible, tn_b_gt(b, j, oldest));
}

/* A prompt without a window needs no more than the flag. */
static void hide_keys(tn_o *o, const grouped *g, tn_attention *a) {
    bool causal = tn_o_int(o, "causal", 1) != 0;
    bool plain = g->past == TN_NO_VALUE && g->window < 0;
    a->causal = causal && plain;
    a->mask = plain ? TN_NO_VALUE : visible_keys(o, g, causal);
    if (!tn_o_has(o, ADDED)) return;
    tn_value added = tn_b_cast(o->b, tn_o_in(o, ADDED), TN_f32);
    if (!plain) added = tn_b_where(o->b, a->mask, added, tn_b_scalar(o->b, TN_f32, -INFINITY));
    a->mask = added;
}

/* ---- attention ------------------------------------------------------------------------------ */

static tn_value keep_scores(void *context, tn_value scores) {
    grouped *g = context;
    return g->scores = scores;
}

/* A softmax whose sum has one term more, e^sink: softmax(s) · sigmoid(log Σ eˢ − sink). */
static tn_value with_sink(void *context, tn_value weights) {
    grouped *g = context;
    tn_builder *b = g->o->b;
    tn_value sum = tn_b_log_sum_exp(b, g->scores, (int[]){3}, 1, true);
    if (tn_o_has(g->o, SINK)) {
        tn_value sink = tn_b_cast(b, tn_o_in(g->o, SINK), tn_b_type(b, sum).dtype);
        sum = tn_b_sub(b, sum, tn_b_reshape_to(b, sink, 4, (tn_dim[]){1, g->heads, 1, 1}));
    }
    return tn_b_mul(b, weights, tn_b_sigmoid(b, sum));
}

static void import_grouped(tn_o *o) {
    tn_builder *b = o->b;
    grouped g;
    if (!read_numbers(o, &g)) return;
    read_operands(o, &g);
    read_lengths(o, &g);
    g.q = per_head_norm(o, g.q, Q_NORM);
    g.k = per_head_norm(o, g.k, K_NORM);
    if (!tn_o_ok(o)) return;
    rotate_operands(o, &g);
    tn_attention a = {.q = g.q,
                      .k = with_cache(o, &g, g.k, PAST_K),
                      .v = with_cache(o, &g, g.v, PAST_V),
                      .scale = tn_o_float(o, "scale", 0),
                      .softcap = tn_o_float(o, "softcap", 0),
                      .context = &g};
    tn_o_out(o, 1, a.k);
    tn_o_out(o, 2, a.v);
    a.k = tn_b_slice_axis(b, a.k, 2, 0, g.total, 1);
    a.v = tn_b_slice_axis(b, a.v, 2, 0, g.total, 1);
    hide_keys(o, &g, &a);
    if (tn_o_int(o, "smooth_softmax", -1) == 1 || tn_o_has(o, SINK)) {
        a.score_mod = keep_scores;
        a.weight_mod = with_sink;
    }
    tn_o_out(o, 0, tn_o_join_heads(o, tn_b_attention(b, &a)));
}

/* ---- RotaryEmbedding ------------------------------------------------------------------------ */

/* The heads of x [N, S, heads · D]: as many as attributes say, or as tables for whole heads leave. */
static int64_t rotated_heads(tn_o *o, tn_value x) {
    int64_t heads = tn_o_int(o, "num_heads", 0), half = 0, all = 0;
    if (heads > 0 || !tn_o_ok(o)) return heads;
    half = tn_o_const_dim(o, tn_b_dim(o->b, tn_o_in(o, 2), -1), "the width of the cos cache");
    all = tn_o_const_dim(o, tn_b_dim(o->b, x, -1), "the width of its input");
    return half > 0 ? all / (2 * half) : 0;
}

static void import_rotary(tn_o *o) {
    tn_builder *b = o->b;
    tn_value x = tn_o_in(o, 0), at = tn_b_cast(b, tn_o_in(o, 1), TN_i64);
    int rank = tn_b_rank(b, x);
    if (tn_o_ok(o) && rank != 3 && rank != 4)
        tn_o_fail(o, TN_INVALID, "its input has %d axes; expected 3 or 4", rank);
    if (!tn_o_ok(o)) return;
    if (rank == 3) x = tn_o_split_heads(o, x, rotated_heads(o, x));
    if (tn_b_rank(b, at) < 2) at = tn_b_add(b, at, steps(o, tn_b_dim(b, x, 2)));
    x = rotate(o, x, at, 2, tn_o_int(o, "interleaved", 0) != 0);
    tn_o_out(o, 0, rank == 3 ? tn_o_join_heads(o, x) : x);
}

static const tn_onnx_op rows[] = {
    {"GroupQueryAttention", 1, TN_ONNX_LATEST, import_grouped},
    {"RotaryEmbedding", 1, TN_ONNX_LATEST, import_rotary},
};
TN_ONNX_TABLE(contrib_cache, "com.microsoft")
