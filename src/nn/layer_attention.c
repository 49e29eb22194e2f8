/* Multi-head attention. See tenon/nn.h. */
#include <inttypes.h>

#include "nn/module.h"

/* A linear layer of the attention's module. */
static tn_tensor *project(const tn__layer *l, const char *name, const tn_tensor *x,
                          int64_t features, bool no_bias, tn_init weight) {
    tn_linear_layer o = {
        .size = sizeof o, .features = features, .no_bias = no_bias, .weight = weight};
    return tn_linear_at(l->place, l->module, name, x, &o);
}

/* [N, S, heads · F] → [N, heads, S, F], turned where there is rotary embedding */
static tn_tensor *split(const tn__layer *l, const tn_attention_layer *o, const tn_tensor *x,
                        int64_t heads, bool turns) {
    int64_t shape[] = {tn_tensor_dim(x, 0), tn_tensor_dim(x, 1), heads, o->head_features};
    tn_tensor *y = tn_reshape_at(l->place, x, 4, shape);
    y = tn_permute_at(l->place, y, TN_AXES(0, 2, 1, 3));
    if (!turns || o->rotary.theta == 0) return y;
    tn_rotary_options rotary = o->rotary;
    rotary.size = sizeof rotary;
    return tn_rotary_at(l->place, y, o->positions, &rotary);
}

/* [N, heads, S, F] → [N, S, heads · F] */
static tn_tensor *merge(const tn__layer *l, const tn_tensor *x) {
    tn_tensor *y = tn_permute_at(l->place, x, TN_AXES(0, 2, 1, 3));
    int64_t shape[] = {tn_tensor_dim(y, 0), tn_tensor_dim(y, 1), -1};
    return tn_reshape_at(l->place, y, 3, shape);
}

static void resolve(tn__layer *l, tn_attention_layer *o, const tn_tensor *x) {
    int64_t in = tn_tensor_dim(x, -1);
    if (l->ok && tn_tensor_rank(x) != 3)
        tn__layer_refuse(l, "x has %d axes; expected N, length, features", tn_tensor_rank(x));
    if (l->ok && o->source && tn_tensor_rank(o->source) != 3)
        tn__layer_refuse(l, "the source has %d axes; expected N, length, features",
                         tn_tensor_rank(o->source));
    if (o->heads < 1) tn__layer_refuse(l, "%" PRId64 " heads", o->heads);
    if (!l->ok) return;
    if (o->head_features == 0 && in % o->heads != 0)
        tn__layer_refuse(
            l, "%" PRId64 " features do not split into %" PRId64 " heads; say .head_features = …",
            in, o->heads);
    if (o->kv_heads == 0) o->kv_heads = o->heads;
    if (o->head_features == 0) o->head_features = in / o->heads;
    if (o->features == 0) o->features = in;
    if (o->kv_heads < 1 || o->heads % o->kv_heads != 0)
        tn__layer_refuse(l, "%" PRId64 " key heads do not divide %" PRId64 " query heads",
                         o->kv_heads, o->heads);
    int64_t wide;
    if (o->head_features < 1 || o->features < 1 ||
        __builtin_mul_overflow(o->heads, o->head_features, &wide))
        tn__layer_refuse(l, "%" PRId64 " heads of %" PRId64 " features, a result of %" PRId64,
                         o->heads, o->head_features, o->features);
}

tn_tensor *tn_multi_head_attention_at(const char *place, tn_module *m, const char *name,
                                      const tn_tensor *x, const tn_attention_layer *options) {
    tn_attention_layer o;
    tn__layer l = tn__layer_begin(place, m, name, x);
    tn__layer_options(&l, options, &o, sizeof o);
    resolve(&l, &o, x);
    if (!l.ok) return tn__layer_failed(&l);
    int64_t wide = o.heads * o.head_features, narrow = o.kv_heads * o.head_features;
    tn_scope *scope = tn_scope_open(l.context);
    const tn_tensor *source = o.source ? tn__layer_operand(&l, o.source) : NULL;
    x = tn__layer_operand(&l, x);
    if (!source) source = x;
    tn_tensor *q = project(&l, "wq", x, wide, o.no_bias, o.weight);
    tn_tensor *k = project(&l, "wk", source, narrow, o.no_bias, o.weight);
    tn_tensor *v = project(&l, "wv", source, narrow, o.no_bias, o.weight);
    q = split(&l, &o, q, o.heads, true);
    k = split(&l, &o, k, o.kv_heads, true);
    v = split(&l, &o, v, o.kv_heads, false);
    tn_attention_options a = {.size = sizeof a,
                              .causal = o.causal,
                              .window = o.window,
                              .scale = o.scale,
                              .soft_cap = o.soft_cap,
                              .mask_function = o.mask_function,
                              .score_function = o.score_function,
                              .user = o.user};
    tn_tensor *y = merge(&l, tn_attention_at(place, q, k, v, o.mask, &a));
    return tn_scope_return(scope, project(&l, "wo", y, o.features, o.no_bias, o.out_weight));
}
