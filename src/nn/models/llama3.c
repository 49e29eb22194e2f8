/* Llama 3 (Dubey et al. 2024): RMS norm, rotary attention with shared key heads, SwiGLU.
 *
 * Initial values are torchtitan's: embeddings N(0, 1), linear layers σ = 0.02, those that come late in
 * layer l 0.02 / √(2(l + 1)); the output σ = 1/√dim, truncated at 3 σ. torchtitan truncates the others,
 * too, but at ±2, which is 100 σ and more: plain normal here. */
#include <math.h>
#include <tenon/models.h>

/* What each layer does alike. */
typedef struct layer {
    const tn_llama3_options *o;
    tn_init early, late;
} layer;

static tn_tensor *attention(tn_module *m, const layer *l, const tn_tensor *x) {
    const tn_llama3_options *o = l->o;
    return tn_multi_head_attention(m, "attention", x, o->heads, .kv_heads = o->kv_heads,
                                   .head_features = o->head_dim, .no_bias = true, .causal = true,
                                   .rotary = {.theta = o->rope_theta,
                                              .factor = o->rope_factor,
                                              .low = o->rope_low,
                                              .high = o->rope_high,
                                              .length = (double)o->rope_length,
                                              .interleaved = true},
                                   .weight = l->early, .out_weight = l->late);
}

static tn_tensor *feed_forward(tn_module *m, const layer *l, const tn_tensor *x) {
    int64_t dim = l->o->dim, ffn = l->o->ffn;
    tn_tensor *gate = tn_linear(m, "w1", x, ffn, .no_bias = true, .weight = l->early);
    tn_tensor *up = tn_linear(m, "w3", x, ffn, .no_bias = true, .weight = l->late);
    tn_tensor *hidden = tn_mul(tn_silu(gate), up);
    return tn_linear(m, "w2", hidden, dim, .no_bias = true, .weight = l->late);
}

static tn_tensor *block(tn_module *m, const layer *l, tn_tensor *x) {
    double epsilon = l->o->norm_epsilon;
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *h = tn_rms_norm(m, "attention_norm", x, .epsilon = epsilon);
    x = tn_add(x, attention(m, l, h));
    h = tn_rms_norm(m, "ffn_norm", x, .epsilon = epsilon);
    x = tn_add(x, feed_forward(tn_module_child(m, "feed_forward"), l, h));
    return tn_scope_return(scope, x);
}

tn_tensor *tn_llama3(tn_module *m, const tn_llama3_options *o, const tn_tensor *tokens) {
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *x = tn_embedding(m, "tok_embeddings", tokens, o->vocab, o->dim);
    for (int i = 0; i < o->layers; i++) {
        layer l = {o, tn_init_normal(0, 0.02), tn_init_normal(0, 0.02 / sqrt(2 * (i + 1)))};
        x = tn_block_end(block(tn_module_child(m, "layers.%d", i), &l, x));
    }
    x = tn_rms_norm(m, "norm", x, .epsilon = o->norm_epsilon);
    x = tn_linear(m, "output", x, o->vocab, .no_bias = true,
                  .weight = tn_init_truncated_normal(0, 1 / sqrt((double)o->dim), -3, 3));
    return tn_scope_return(scope, x);
}
