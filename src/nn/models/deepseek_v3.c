/* DeepSeek-V3 (DeepSeek-AI 2024): attention over a latent (MLA, §2.1.1), mixtures of experts balanced by
 * a bias (§2.1.2), both as in DeepSeek-V2 where queries have no low rank.
 *
 * Initial values are torchtitan's, as in llama3.c; the router's are those of what comes late. */
#include <math.h>
#include <tenon/models.h>

/* What each layer does alike. */
typedef struct layer {
    const tn_deepseek_v3_options *o;
    tn_init early, late;
    bool dense;
} layer;

static tn_tensor *linear(tn_module *m, const char *name, const tn_tensor *x, int64_t features,
                         tn_init weight) {
    return tn_linear(m, name, x, features, .no_bias = true, .weight = weight);
}

static tn_tensor *part(const tn_tensor *x, int64_t from, int64_t to) {
    return tn_slice(x, -1, from, to, 1);
}

/* [N, S, heads · F] → [N, heads, S, F] */
static tn_tensor *split(const tn_tensor *x, int64_t heads, int64_t features) {
    int64_t n = tn_tensor_dim(x, 0), s = tn_tensor_dim(x, 1);
    return tn_permute(tn_reshape(x, TN_SHAPE(n, s, heads, features)), TN_AXES(0, 2, 1, 3));
}

static tn_tensor *turn(const layer *l, const tn_tensor *x) {
    return tn_rotary(x, NULL, .theta = l->o->rope_theta, .interleaved = true);
}

/* Keys and values of all heads come from one latent of kv_rank numbers a token; the part of the keys with
 * rotary embedding is shared by the heads. So decoding has to keep kv_rank + rope_dim numbers a token. */
static tn_tensor *attention(tn_module *m, const layer *l, const tn_tensor *x) {
    const tn_deepseek_v3_options *o = l->o;
    int64_t n = tn_tensor_dim(x, 0), s = tn_tensor_dim(x, 1), heads = o->heads, nope = o->nope_dim;
    int64_t rope = o->rope_dim, key = nope + rope, rank = o->kv_rank;
    tn_tensor *q = split(linear(m, "wq", x, heads * key, l->early), heads, key);
    q = tn_concat((tn_tensor *[]){part(q, 0, nope), turn(l, part(q, nope, key))}, 2, -1);

    tn_tensor *latent = linear(m, "wkv_a", x, rank + rope, l->early);
    tn_tensor *shared = turn(l, split(part(latent, rank, rank + rope), 1, rope));
    latent = tn_rms_norm(m, "kv_norm", part(latent, 0, rank), .epsilon = o->norm_epsilon);
    tn_tensor *kv = linear(m, "wkv_b", latent, heads * (nope + o->v_dim), l->early);
    kv = split(kv, heads, nope + o->v_dim);
    shared = tn_broadcast_to(shared, TN_SHAPE(n, heads, s, rope));
    tn_tensor *k = tn_concat((tn_tensor *[]){part(kv, 0, nope), shared}, 2, -1);
    tn_tensor *v = part(kv, nope, nope + o->v_dim);

    tn_tensor *y = tn_attention(q, k, v, NULL, .causal = true);
    y = tn_reshape(tn_permute(y, TN_AXES(0, 2, 1, 3)), TN_SHAPE(n, s, heads * o->v_dim));
    return linear(m, "wo", y, o->dim, l->late);
}

/* One network, or those that the router chooses and the shared one. */
static tn_tensor *feed_forward(tn_module *m, const layer *l, const tn_tensor *x) {
    const tn_deepseek_v3_options *o = l->o;
    if (!l->dense)
        return tn_moe(m, "moe", x, o->experts, .hidden = o->expert_ffn, .top_k = o->top_k,
                      .shared_hidden = o->shared_ffn, .sigmoid = o->sigmoid,
                      .normalized = o->normalized, .scale = o->route_scale, .balance = o->balance,
                      .gate = l->late, .weight = l->early, .up_weight = l->late,
                      .out_weight = l->late);
    m = tn_module_child(m, "feed_forward");
    tn_tensor *gate = linear(m, "w1", x, o->ffn, l->early);
    tn_tensor *up = linear(m, "w3", x, o->ffn, l->late);
    return linear(m, "w2", tn_mul(tn_silu(gate), up), o->dim, l->late);
}

static tn_tensor *block(tn_module *m, const layer *l, tn_tensor *x) {
    double epsilon = l->o->norm_epsilon;
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *h = tn_rms_norm(m, "attention_norm", x, .epsilon = epsilon);
    x = tn_add(x, attention(tn_module_child(m, "attention"), l, h));
    h = tn_rms_norm(m, "ffn_norm", x, .epsilon = epsilon);
    return tn_scope_return(scope, tn_add(x, feed_forward(m, l, h)));
}

tn_tensor *tn_deepseek_v3(tn_module *m, const tn_deepseek_v3_options *o, const tn_tensor *tokens) {
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *x = tn_embedding(m, "tok_embeddings", tokens, o->vocab, o->dim);
    for (int i = 0; i < o->layers; i++) {
        layer l = {.o = o, .dense = i < o->dense_layers};
        l.early = tn_init_normal(0, 0.02);
        l.late = tn_init_normal(0, 0.02 / sqrt(2 * (i + 1)));
        x = tn_block_end(block(tn_module_child(m, "layers.%d", i), &l, x));
    }
    x = tn_rms_norm(m, "norm", x, .epsilon = o->norm_epsilon);
    tn_init last = tn_init_truncated_normal(0, 1 / sqrt((double)o->dim), -3, 3);
    return tn_scope_return(scope, linear(m, "output", x, o->vocab, last));
}
