/* Modules and layers over lazy tensors.
 *
 *   static tn_tensor *mlp(tn_module *m, tn_tensor *x) {
 *       x = tn_relu(tn_linear(m, "fc1", x, 256));
 *       return tn_linear(m, "out", x, 10);
 *   }
 *
 * A module is a tree of named parameters and buffers. Layers make theirs when they are first called,
 * of the sizes that x needs, and find them again by name; so a model is one function of its module
 * and its inputs. Names are PyTorch's ("fc1.weight"), initial values too where nothing else is said.
 *
 * A layer's call ends with options by name: tn_conv2d(m, "c1", x, 64, .kernel = 3, .stride = 2). A
 * field that is left out, or 0, is the default. tn_conv2d_at(place, m, "c1", x, &options) is the same
 * for other languages; options.size has to be set there, NULL stands for the defaults.
 *
 * Layers compute in x's type: parameters of another one are cast on the way, so f32 parameters meet
 * bf16 activations as a mixed precision wants it (tn_module_set_compute makes them so). Errors stick to the context, as those of operations
 * do. A module is used by one thread at a time. */
#ifndef TENON_NN_H
#define TENON_NN_H

#include <tenon/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- initial values ------------------------------------------------------------------------- */

typedef enum tn_init_kind {
    TN_INIT_DEFAULT, /* what the layer says; zeros where there is no layer */
    TN_INIT_CONSTANT,
    TN_INIT_UNIFORM,
    TN_INIT_NORMAL,
    TN_INIT_TRUNCATED_NORMAL,
    TN_INIT_KAIMING_UNIFORM,
    TN_INIT_KAIMING_NORMAL,
    TN_INIT_XAVIER_UNIFORM,
    TN_INIT_XAVIER_NORMAL
} tn_init_kind;
/* Of a weight [out, in, window…]: in · Π window or out · Π window, as PyTorch counts. */
typedef enum tn_fan { TN_FAN_IN, TN_FAN_OUT } tn_fan;
typedef struct tn_init {
    tn_init_kind kind;
    tn_fan fan;
    double a, b, lo, hi;
} tn_init;

TN_API tn_init tn_init_zeros(void);
TN_API tn_init tn_init_ones(void);
TN_API tn_init tn_init_constant(double value);
TN_API tn_init tn_init_uniform(double lo, double hi);
TN_API tn_init tn_init_normal(double mean, double deviation);
/* A normal distribution given that it lies within mean + lo · deviation … mean + hi · deviation.
 * PyTorch's trunc_normal_(mean, std, a, b) has the same distribution with lo = (a − mean) / std and hi
 * = (b − mean) / std: its bounds are absolute. `deviation` is that before the truncation. */
TN_API tn_init tn_init_truncated_normal(double mean, double deviation, double lo, double hi);
/* Deviation √(2 / (1 + slope²) / fan), for layers behind a leaky ReLU of this slope (He et al. 2015);
 * uniform: in ±√3 times that. slope = √5 is PyTorch's default for linear and conv weights. */
TN_API tn_init tn_init_kaiming_uniform(double slope, tn_fan fan);
TN_API tn_init tn_init_kaiming_normal(double slope, tn_fan fan);
/* Deviation gain · √(2 / (fan_in + fan_out)) (Glorot, Bengio 2010) */
TN_API tn_init tn_init_xavier_uniform(double gain);
TN_API tn_init tn_init_xavier_normal(double gain);

/* ---- modules -------------------------------------------------------------------------------- */

typedef struct tn_module tn_module;

typedef struct tn_module_options {
    size_t size;    /* sizeof(tn_module_options) */
    uint64_t seed;  /* initial values depend on it and on the parameter's full name alone */
    tn_dtype dtype; /* of parameters that layers make */
    bool abstract;  /* parameters get a type and no memory: the model can be looked at, not run */
} tn_module_options;
#define TN_MODULE_OPTIONS_INIT                                                                     \
    { .size = sizeof(tn_module_options), .dtype = TN_f32 }

/* A root module, in training mode. `options` may be NULL. */
TN_API tn_status tn_module_create(tn_context *context, const tn_module_options *options,
                                  tn_module **out, tn_error *err) TN_MUST_USE;
/* The root with all below it, before its context. NULL: nothing. */
TN_API void tn_module_release(tn_module *root);
TN_API tn_context *tn_module_context(const tn_module *m);
TN_API tn_dtype tn_module_dtype(const tn_module *m); /* of parameters that layers make */
/* The module of this name below m: tn_module_child(m, "layers.%d", i). Borrowed, lives with the root;
 * made at the first call, in m's mode. */
TN_API tn_module *tn_module_child(tn_module *m, const char *format, ...) TN_PRINTF(2, 3);

/* The parameter (the buffer) of this name in m; the first call makes it. Borrowed, lives with the
 * root. Another type or shape than before is an error. Parameters are what gradients are taken for
 * and optimizers change; buffers are the rest of a model's state (tn_assign changes them). */
#define tn_module_parameter(...) tn_module_parameter_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_module_parameter_at(const char *place, tn_module *m, const char *name,
                                         tn_dtype dtype, int rank, const int64_t *dim,
                                         tn_init init);
#define tn_module_buffer(...) tn_module_buffer_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_module_buffer_at(const char *place, tn_module *m, const char *name,
                                      tn_dtype dtype, int rank, const int64_t *dim, tn_init init);
/* A buffer with the number of a stream of random numbers, u64, that this name alone has; whoever
 * draws from it assigns the next number. */
#define tn_module_random(...) tn_module_random_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_module_random_at(const char *place, tn_module *m, const char *name);

/* Of m and all below it: dropout draws and batch norm uses the batch's statistics in training. */
TN_API void tn_module_set_training(tn_module *m, bool training);
TN_API bool tn_module_training(const tn_module *m);
/* Layers of products in m and below it (linear, convolution, attention, recurrent, experts) narrow x to
 * this type first, if it is wider, and give it; norms, softmax and losses compute in f32 at least, all
 * else in the type of its operands: mixed precision as PyTorch's autocast. TN_f64, as at first: nothing is
 * narrowed, unless a step of training (tenon/train.h) says so for all modules that were told nothing. */
TN_API void tn_module_set_compute(tn_module *m, tn_dtype dtype);
/* x in the type that a layer of products in m computes in: for layers of one's own. */
#define tn_module_narrow(...) tn_module_narrow_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_module_narrow_at(const char *place, const tn_module *m, const tn_tensor *x);
/* Whether the parameters that exist in m and below it are trained. */
TN_API void tn_module_set_trainable(tn_module *m, bool trainable);
/* The same for those whose name below m fits a pattern, in which * stands for any text, ? for any
 * character and [abc] for one of these: "*.bias". Gives how many these are, buffers not counted. */
TN_API int tn_module_match_trainable(tn_module *m, const char *pattern, bool trainable);

typedef struct tn_module_item {
    const char *name; /* the full one, "layers.0.attention.wq.weight" */
    tn_tensor *tensor;
    bool trainable; /* false: a buffer, or a frozen parameter */
    bool buffer;
} tn_module_item;
/* Parameters and buffers of the root that m belongs to, in the order of their creation. */
TN_API int tn_module_count(const tn_module *m);
/* False when there is no such item. Borrowed. */
TN_API bool tn_module_entry(const tn_module *m, int index, tn_module_item *out);
/* By its full name; NULL: there is none. Borrowed. */
TN_API tn_tensor *tn_module_find(const tn_module *m, const char *full_name);
/* Elements of all parameters. */
TN_API int64_t tn_module_parameter_elements(const tn_module *m);

/* ---- linear, embedding, dropout ------------------------------------------------------------- */

/* x […, I] → […, features]: tn_linear(m, "fc1", x, 256). Parameters weight [features, I], bias
 * [features]; both uniform in ±1/√I. */
typedef struct tn_linear_layer {
    size_t size; /* sizeof(tn_linear_layer), as of all options below */
    int64_t features;
    bool no_bias;
    tn_init weight, bias;
} tn_linear_layer;
#define tn_linear(m, name, x, ...)                                                                 \
    tn_linear_at(TN_HERE, m, name, x,                                                              \
                 &(tn_linear_layer){TN_SIZE(tn_linear_layer), .features = __VA_ARGS__})
TN_API tn_tensor *tn_linear_at(const char *place, tn_module *m, const char *name,
                               const tn_tensor *x, const tn_linear_layer *options);

/* Rows of the parameter weight [rows, features], N(0, 1): index […] i32 or i64 → […, features];
 * tn_embedding(m, "tok", index, 50257, 768). An index out of range is an error of the evaluation. */
typedef struct tn_embedding_layer {
    size_t size;
    int64_t rows, features;
    tn_init weight;
} tn_embedding_layer;
#define tn_embedding(m, name, index, row_count, ...)                                               \
    tn_embedding_at(TN_HERE, m, name, index,                                                       \
                    &(tn_embedding_layer){TN_SIZE(tn_embedding_layer), .rows = row_count,          \
                                          .features = __VA_ARGS__})
TN_API tn_tensor *tn_embedding_at(const char *place, tn_module *m, const char *name,
                                  const tn_tensor *index, const tn_embedding_layer *options);

/* In training: zero with probability p, else x / (1 − p); else x. The buffer `random` counts the
 * draws, so it is saved and resumed with the model. */
#define tn_dropout(...) tn_dropout_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_dropout_at(const char *place, tn_module *m, const char *name,
                                const tn_tensor *x, double p);
/* The same with a probability that is data, a float scalar: a buffer that changes in training, or that the
 * members of a population have different values of. Outside of [0, 1] the result is NaN. No gradient
 * goes to p. */
#define tn_dropout_by(...) tn_dropout_by_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_dropout_by_at(const char *place, tn_module *m, const char *name,
                                   const tn_tensor *x, const tn_tensor *p);

/* ---- convolution ---------------------------------------------------------------------------- */

/* x [N, C, …] → [N, features, …]: tn_conv2d(m, "conv1", x, 64, .kernel = 3, .padding = 1). Parameters
 * weight [features, C / groups, kernel…] (transposed: [C, features / groups, kernel…]), bias
 * [features]; both uniform in ±1/√fan_in. */
typedef struct tn_conv_layer {
    size_t size;
    int64_t features;
    TN_WINDOW_FIELDS
    bool no_bias;
    tn_init weight, bias;
} tn_conv_layer;
#define TN_CONV_LAYER(fn, m, name, x, ...)                                                         \
    fn(TN_HERE, m, name, x, &(tn_conv_layer){TN_SIZE(tn_conv_layer), .features = __VA_ARGS__})
#define tn_conv1d(m, name, x, ...) TN_CONV_LAYER(tn_conv1d_at, m, name, x, __VA_ARGS__)
#define tn_conv2d(m, name, x, ...) TN_CONV_LAYER(tn_conv2d_at, m, name, x, __VA_ARGS__)
#define tn_conv3d(m, name, x, ...) TN_CONV_LAYER(tn_conv3d_at, m, name, x, __VA_ARGS__)
#define tn_conv_transpose1d(m, name, x, ...)                                                       \
    TN_CONV_LAYER(tn_conv_transpose1d_at, m, name, x, __VA_ARGS__)
#define tn_conv_transpose2d(m, name, x, ...)                                                       \
    TN_CONV_LAYER(tn_conv_transpose2d_at, m, name, x, __VA_ARGS__)
#define tn_conv_transpose3d(m, name, x, ...)                                                       \
    TN_CONV_LAYER(tn_conv_transpose3d_at, m, name, x, __VA_ARGS__)
#define TN_CONV_LAYERS(R)                                                                          \
    R(conv1d) R(conv2d) R(conv3d) R(conv_transpose1d) R(conv_transpose2d) R(conv_transpose3d)
#define R(op)                                                                                      \
    TN_API tn_tensor *tn_##op##_at(const char *place, tn_module *m, const char *name,              \
                                   const tn_tensor *x, const tn_conv_layer *options);
TN_CONV_LAYERS(R)
#undef R

/* ---- norms ---------------------------------------------------------------------------------- */

/* Parameters weight (ones) and bias (zeros). */
typedef struct tn_norm_layer {
    size_t size;
    int axes;                /* layer and RMS norm: the last ones; 0: 1 */
    int64_t groups;          /* group norm */
    double epsilon;          /* 0: 1e-5 */
    double momentum;         /* batch norm: the new statistics' part of the running ones; 0: 0.1 */
    bool no_bias, no_affine; /* no bias; neither weight nor bias */
    bool affine;             /* instance norm: it has weight and bias, which is not usual */
    tn_init weight, bias;
} tn_norm_layer;
#define TN_NORM_LAYER(fn, ...)                                                                     \
    TN_WITH_OPTIONS_3(fn, tn_norm_layer, __VA_ARGS__, TN_SIZE(tn_norm_layer))
#define tn_layer_norm(...)    TN_NORM_LAYER(tn_layer_norm_at, __VA_ARGS__)
#define tn_rms_norm(...)      TN_NORM_LAYER(tn_rms_norm_at, __VA_ARGS__)
#define tn_instance_norm(...) TN_NORM_LAYER(tn_instance_norm_at, __VA_ARGS__)
#define tn_batch_norm(...)    TN_NORM_LAYER(tn_batch_norm_at, __VA_ARGS__)
#define tn_group_norm(m, name, x, ...)                                                             \
    tn_group_norm_at(TN_HERE, m, name, x,                                                          \
                     &(tn_norm_layer){TN_SIZE(tn_norm_layer), .groups = __VA_ARGS__})
/* layer_norm(m, "ln", x) and rms_norm: over the last axes of x. The others: x [N, C, …]; group_norm(m,
 * "gn", x, 32). batch_norm has the buffers running_mean (zeros) and running_var (ones), which it
 * replaces in training, where it uses the batch's own statistics (Ioffe, Szegedy 2015). */
#define TN_NORM_LAYERS(R) R(layer_norm) R(rms_norm) R(instance_norm) R(batch_norm) R(group_norm)
#define R(op)                                                                                      \
    TN_API tn_tensor *tn_##op##_at(const char *place, tn_module *m, const char *name,              \
                                   const tn_tensor *x, const tn_norm_layer *options);
TN_NORM_LAYERS(R)
#undef R

/* ---- attention ------------------------------------------------------------------------------ */

/* Multi-head attention, x [N, S, I] → [N, S, features]: queries of `heads` heads, keys and values of
 * `kv_heads`, which divides them (Ainslie et al. 2023). The linear layers wq, wk, wv, wo below it have
 * PyTorch's initial values for linear layers. */
typedef struct tn_attention_layer {
    size_t size;
    int64_t heads, kv_heads;    /* 0: as many as heads */
    int64_t head_features;      /* 0: I / heads */
    int64_t features;           /* of the result; 0: I */
    bool no_bias;               /* of all four */
    bool causal;                /* position i sees j ≤ i */
    int64_t window;             /* not 0: only |i − j| < window */
    double scale, soft_cap;     /* as in tn_attention_options */
    tn_rotary_options rotary;   /* queries and keys are turned, if theta is not 0 */
    const tn_tensor *positions; /* for rotary, [S] or [N, 1, S]; NULL: 0 … S − 1 */
    const tn_tensor *source;    /* [N, T, J]: of keys and values; NULL: x */
    const tn_tensor *mask;      /* as in tn_attention; NULL: none */
    tn_mask_fn *mask_function;
    tn_score_fn *score_function;
    void *user;
    tn_init weight, out_weight; /* of wq, wk, wv; of wo */
} tn_attention_layer;
/* tn_multi_head_attention(m, "attention", x, 16, .kv_heads = 4, .causal = true) */
#define tn_multi_head_attention(m, name, x, ...)                                                   \
    tn_multi_head_attention_at(                                                                    \
        TN_HERE, m, name, x,                                                                       \
        &(tn_attention_layer){TN_SIZE(tn_attention_layer), .heads = __VA_ARGS__})
TN_API tn_tensor *tn_multi_head_attention_at(const char *place, tn_module *m, const char *name,
                                             const tn_tensor *x, const tn_attention_layer *options);

/* ---- recurrent layers ----------------------------------------------------------------------- */

/* x [T, N, I] → [T, N, D · hidden] with D = 2 when it is bidirectional, else 1: the last layer's state
 * after each step, forward and backward beside each other. Parameters of layer n as PyTorch has them:
 * weight_ih_l<n> [G · hidden, in], weight_hh_l<n> [G · hidden, hidden], bias_ih_l<n> and bias_hh_l<n>
 * [G · hidden], those of the way back end in _reverse; gates i f g o of an LSTM (G = 4; Hochreiter,
 * Schmidhuber 1997), r z n of a GRU (G = 3; Cho et al. 2014). All are uniform in ±1/√hidden. */
typedef struct tn_recurrent_layer {
    size_t size;
    int64_t hidden;
    int layers; /* each reads the one before; 0: 1 */
    bool bidirectional;
    bool batch_first; /* x [N, T, I] → [N, T, D · hidden] */
    bool no_bias;
    double dropout;         /* between layers, in training */
    const tn_tensor *h, *c; /* states before the first step, [layers · D, N, hidden]; NULL: zeros */
    tn_tensor **last_h, **last_c; /* not NULL: become the states after the last step */
} tn_recurrent_layer;
#define tn_lstm(m, name, x, ...)                                                                   \
    tn_lstm_at(TN_HERE, m, name, x,                                                                \
               &(tn_recurrent_layer){TN_SIZE(tn_recurrent_layer), .hidden = __VA_ARGS__})
TN_API tn_tensor *tn_lstm_at(const char *place, tn_module *m, const char *name, const tn_tensor *x,
                             const tn_recurrent_layer *options);
/* Without c and last_c. */
#define tn_gru(m, name, x, ...)                                                                    \
    tn_gru_at(TN_HERE, m, name, x,                                                                 \
              &(tn_recurrent_layer){TN_SIZE(tn_recurrent_layer), .hidden = __VA_ARGS__})
TN_API tn_tensor *tn_gru_at(const char *place, tn_module *m, const char *name, const tn_tensor *x,
                            const tn_recurrent_layer *options);

/* ---- mixtures of experts -------------------------------------------------------------------- */

/* x […, I] → […, I]: each token goes through the top_k of `experts` networks w2(silu(w1 x) ∘ w3 x) that
 * the router scores best, whose results are added with their scores as weights (Shazeer et al. 2017;
 * fine-grained and shared experts: Dai et al. 2024). Tokens are sorted by expert, so that each expert is
 * one product; none is dropped. Parameters router.gate.weight [experts, I], experts.w1 and experts.w3
 * [experts, I, hidden], experts.w2 [experts, hidden, I], and of the linear layers shared_experts.w1, w2,
 * w3. */
typedef struct tn_moe_layer {
    size_t size;
    int64_t experts, hidden;
    int64_t top_k;         /* 0: 1 */
    int64_t shared_hidden; /* not 0: one more network of this width that all tokens go through */
    bool sigmoid;          /* scores are σ of the router's logits, else their softmax; in f32 */
    bool normalized;       /* the weights of a token's experts are divided by their sum */
    double scale;          /* of the weights; 0: 1 */
    /* Not 0: the buffer expert_bias [experts] is added to the scores where experts are chosen. In
     * training it is replaced by itself + balance · sign(mean count − count) of the tokens that each
     * expert got, less the mean of that (Wang et al. 2024). */
    double balance;
    tn_tensor **counts; /* not NULL: becomes the tokens of each expert, i64 [experts] */
    tn_init gate, weight, out_weight; /* of the router; of w1 and w3; of w2 */
    tn_init up_weight;                /* of w3, if not as of w1 */
} tn_moe_layer;
/* tn_moe(m, "moe", x, 64, .hidden = 1408, .top_k = 6) */
#define tn_moe(m, name, x, ...)                                                                    \
    tn_moe_at(TN_HERE, m, name, x, &(tn_moe_layer){TN_SIZE(tn_moe_layer), .experts = __VA_ARGS__})
TN_API tn_tensor *tn_moe_at(const char *place, tn_module *m, const char *name, const tn_tensor *x,
                            const tn_moe_layer *options);

#ifdef __cplusplus
}
#endif
#endif
