/* GPT-2 (Radford et al. 2019), with the names of the published weights.
 *
 * Initial values: N(0, 0.02), of what joins the residual stream N(0, 0.02 / √(2 · layers)) (§2.3). */
#include <math.h>
#include <tenon/models.h>

/* A linear layer whose weight is stored [in, out]: what the layers of tenon/nn.h do not have is made of
 * parameters and operations. */
static tn_tensor *conv1d(tn_module *m, const tn_tensor *x, int64_t out, double deviation) {
    int64_t in = tn_tensor_dim(x, -1);
    const tn_tensor *narrow = tn_module_narrow(m, x);
    tn_dtype kept = tn_module_dtype(m), dtype = tn_tensor_dtype(narrow);
    tn_init init = tn_init_normal(0, deviation);
    tn_tensor *w = tn_module_parameter(m, "weight", kept, TN_SHAPE(in, out), init);
    tn_tensor *b = tn_module_parameter(m, "bias", kept, TN_SHAPE(out), tn_init_zeros());
    return tn_add(tn_matmul(narrow, tn_cast(w, dtype)), tn_cast(b, dtype));
}

/* [N, S, dim] → [N, heads, S, dim / heads] of one of q, k, v, which lie side by side */
static tn_tensor *heads_of(const tn_tensor *x, int64_t which, int64_t dim, int64_t heads) {
    int64_t n = tn_tensor_dim(x, 0), s = tn_tensor_dim(x, 1);
    tn_tensor *part = tn_slice(x, 2, which * dim, (which + 1) * dim, 1);
    part = tn_reshape(part, TN_SHAPE(n, s, heads, dim / heads));
    return tn_permute(part, TN_AXES(0, 2, 1, 3));
}

static tn_tensor *attention(tn_module *m, const tn_gpt2_options *o, const tn_tensor *x,
                            double late) {
    int64_t dim = o->dim, n = tn_tensor_dim(x, 0), s = tn_tensor_dim(x, 1);
    tn_tensor *all = conv1d(tn_module_child(m, "c_attn"), x, 3 * dim, 0.02);
    tn_tensor *y = tn_attention(heads_of(all, 0, dim, o->heads), heads_of(all, 1, dim, o->heads),
                                heads_of(all, 2, dim, o->heads), NULL, .causal = true);
    y = tn_reshape(tn_permute(y, TN_AXES(0, 2, 1, 3)), TN_SHAPE(n, s, dim));
    return conv1d(tn_module_child(m, "c_proj"), y, dim, late);
}

static tn_tensor *feed_forward(tn_module *m, const tn_gpt2_options *o, const tn_tensor *x,
                               double late) {
    x = tn_gelu_tanh(conv1d(tn_module_child(m, "c_fc"), x, 4 * o->dim, 0.02));
    return conv1d(tn_module_child(m, "c_proj"), x, o->dim, late);
}

static tn_tensor *dropout(tn_module *m, const char *name, const tn_gpt2_options *o, tn_tensor *x) {
    return o->dropout > 0 ? tn_dropout(m, name, x, o->dropout) : x;
}

static tn_tensor *block(tn_module *m, const tn_gpt2_options *o, tn_tensor *x) {
    double late = 0.02 / sqrt(2 * (double)o->layers);
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *h = tn_layer_norm(m, "ln_1", x, .epsilon = o->norm_epsilon);
    h = attention(tn_module_child(m, "attn"), o, h, late);
    x = tn_add(x, dropout(m, "attn.drop", o, h));
    h = tn_layer_norm(m, "ln_2", x, .epsilon = o->norm_epsilon);
    h = feed_forward(tn_module_child(m, "mlp"), o, h, late);
    return tn_scope_return(scope, tn_add(x, dropout(m, "mlp.drop", o, h)));
}

tn_tensor *tn_gpt2(tn_module *m, const tn_gpt2_options *o, const tn_tensor *tokens) {
    tn_context *c = tn_module_context(m);
    tn_init normal = tn_init_normal(0, 0.02);
    int64_t length = tn_tensor_dim(tokens, 1);
    if (length > o->context)
        return tn_fail(c, "%lld tokens in a row; this model has %lld positions", (long long)length,
                       (long long)o->context);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *positions = tn_arange(c, TN_i32, 0, (double)length, 1);
    tn_tensor *wte = tn_module_parameter(tn_module_child(m, "wte"), "weight", tn_module_dtype(m),
                                         TN_SHAPE(o->vocab, o->dim), normal);
    tn_tensor *x = tn_embedding_with(tokens, wte);
    x = tn_add(x, tn_embedding(m, "wpe", positions, o->context, o->dim, .weight = normal));
    x = dropout(m, "drop", o, x);
    for (int i = 0; i < o->layers; i++)
        x = tn_block_end(block(tn_module_child(m, "h.%d", i), o, x));
    x = tn_layer_norm(m, "ln_f", x, .epsilon = o->norm_epsilon);
    x = tn_module_narrow(m, x);
    return tn_scope_return(scope, tn_linear_with(x, tn_cast(wte, tn_tensor_dtype(x)), NULL));
}
