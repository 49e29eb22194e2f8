/* Models by name: multi-layer perceptrons, ResNet, GPT-2, Llama 3, DeepSeek-V3.
 *
 *   tn_model_config config;
 *   TN_TRY(err, tn_model_config_find("llama3_debugmodel", &config, err), "…");
 *   TN_TRY(err, tn_model_config_set(&config, "layers", "4", err), "…");
 *   tn_tensor *logits = tn_model_logits(m, &config, tokens);
 *
 * A model is a function of a module (tenon/nn.h), its options and a batch; src/nn/models has one short
 * file for each, which uses public functions alone, so a model of one's own is written the same way. A
 * configuration is such options under a name, whose fields can be looked at and set by theirs. Names of
 * parameters are those of the weights that are published for the model. */
#ifndef TENON_MODELS_H
#define TENON_MODELS_H

#include <tenon/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the families --------------------------------------------------------------------------- */

/* Options begin with their size; those of a named configuration are a good start. Functions check what
 * they are given: an error sticks to the context. */

enum { TN_MODEL_LIST = 8 }; /* numbers in a list, which ends with a 0 if there are fewer */

/* x [N, …] → relu(fc1 x), relu(fc2 …), … → logits [N, classes] */
typedef struct tn_mlp_options {
    size_t size;
    int64_t features;              /* of x: channels · height · width … */
    int64_t hidden[TN_MODEL_LIST]; /* widths of the layers between */
    int64_t classes;
} tn_mlp_options;
TN_API tn_tensor *tn_mlp(tn_module *m, const tn_mlp_options *options, const tn_tensor *x);

/* Images [N, channels, H, W] → logits [N, classes] (He et al. 2015). A bottleneck's stride is that of its
 * 3×3 convolution, as in torchvision (v1.5), whose names these are. With `preactivation` norm and ReLU
 * come before the convolutions (He et al. 2016, v2). */
typedef struct tn_resnet_options {
    size_t size;
    int64_t channels, image; /* image: height and width, only for tn_model_batch */
    int64_t classes;
    int64_t width; /* of the first stage; each other one doubles it and halves the image */
    int64_t blocks[TN_MODEL_LIST]; /* of each stage */
    bool bottleneck;               /* blocks of 1×1, 3×3, 1×1 with 4 times the width behind */
    bool preactivation;
    bool small_images; /* begins with a 3×3 convolution, else with 7×7 of stride 2 and pooling */
} tn_resnet_options;
TN_API tn_tensor *tn_resnet(tn_module *m, const tn_resnet_options *options, const tn_tensor *x);

/* Tokens [N, S] i32 or i64 → logits [N, S, vocab] (Radford et al. 2019). Names are those of the published
 * weights ("h.0.attn.c_attn.weight", [in, out]); the last product is with wte. */
typedef struct tn_gpt2_options {
    size_t size;
    int64_t dim, layers, heads;
    int64_t context; /* the most positions */
    int64_t vocab;
    double norm_epsilon;
    double dropout; /* in training, of the embeddings and of what joins the residual stream */
} tn_gpt2_options;
TN_API tn_tensor *tn_gpt2(tn_module *m, const tn_gpt2_options *options, const tn_tensor *tokens);

/* Tokens [N, S] → logits [N, S, vocab] (Dubey et al. 2024). Names and initial values are torchtitan's;
 * rotary pairs are neighbours, as in the weights that Meta publishes. */
typedef struct tn_llama3_options {
    size_t size;
    int64_t dim, layers, heads;
    int64_t kv_heads; /* 0: as many as heads */
    int64_t head_dim; /* 0: dim / heads */
    int64_t ffn;      /* hidden width of w2(silu(w1 x) ∘ w3 x) */
    int64_t vocab;
    double norm_epsilon;
    double rope_theta;
    double rope_factor, rope_low, rope_high; /* as in tn_rotary_options; factor 1: not scaled */
    int64_t rope_length;
} tn_llama3_options;
TN_API tn_tensor *tn_llama3(tn_module *m, const tn_llama3_options *options,
                            const tn_tensor *tokens);

/* Tokens [N, S] → logits [N, S, vocab] (DeepSeek-AI 2024): latent attention without a low rank for
 * queries, mixtures of experts in all layers but the first. Names and initial values are torchtitan's. */
typedef struct tn_deepseek_v3_options {
    size_t size;
    int64_t dim, layers;
    int64_t dense_layers; /* so many have one feed-forward network of width ffn */
    int64_t ffn;
    int64_t heads;
    int64_t kv_rank;                   /* of the latent that keys and values are made from */
    int64_t nope_dim, rope_dim, v_dim; /* of a head: without and with rotary embedding; of values */
    int64_t experts, expert_ffn, top_k;
    int64_t shared_ffn;          /* width of the network that all tokens go through; 0: none */
    bool sigmoid, normalized;    /* see tn_moe_layer */
    double route_scale, balance; /* see tn_moe_layer */
    int64_t vocab;
    double norm_epsilon;
    double rope_theta;
} tn_deepseek_v3_options;
TN_API tn_tensor *tn_deepseek_v3(tn_module *m, const tn_deepseek_v3_options *options,
                                 const tn_tensor *tokens);

/* ---- configurations ------------------------------------------------------------------------- */

typedef struct tn_model_family tn_model_family;

/* Plain data, which may be copied. */
typedef struct tn_model_config {
    const tn_model_family *family;
    union {
        size_t size;
        tn_mlp_options mlp;
        tn_resnet_options resnet;
        tn_gpt2_options gpt2;
        tn_llama3_options llama3;
        tn_deepseek_v3_options deepseek_v3;
        unsigned char reserved[512];
    } options;
} tn_model_config;

/* The names, by number from 0; NULL: there is none. */
TN_API const char *tn_model_name(int index);
TN_API const char *tn_model_family_name(const tn_model_config *config);
/* The options of this name. TN_NOT_FOUND: the error says which names there are. */
TN_API tn_status tn_model_config_find(const char *name, tn_model_config *out,
                                      tn_error *err) TN_MUST_USE;

typedef enum tn_model_field_kind {
    TN_MODEL_FIELD_INT,   /* int64_t */
    TN_MODEL_FIELD_FLOAT, /* double */
    TN_MODEL_FIELD_BOOL,  /* bool: true, false */
    TN_MODEL_FIELD_LIST   /* int64_t[TN_MODEL_LIST]: 256,128 */
} tn_model_field_kind;
typedef struct tn_model_field {
    const char *name;
    tn_model_field_kind kind;
    size_t offset;      /* in the options */
    double least, most; /* what it may be */
} tn_model_field;
/* By number from 0; NULL: there is none. */
TN_API const tn_model_field *tn_model_config_field(const tn_model_config *config, int index);
/* Reads a field from text; a name that the model does not have, or a wrong value, is an error that says
 * what there is, and config stays as it was. */
TN_API tn_status tn_model_config_set(tn_model_config *config, const char *field, const char *text,
                                     tn_error *err) TN_MUST_USE;
/* Writes a field as `set` reads it; false, and empty text, when there is no such field. Numbers are
 * written so that they read back the same. */
TN_API bool tn_model_config_get(const tn_model_config *config, const char *field, char *out,
                                size_t size);
/* Whether fields are in their ranges and fit each other: heads that divide, and so on. */
TN_API tn_status tn_model_config_check(const tn_model_config *config, tn_error *err) TN_MUST_USE;

/* ---- use ------------------------------------------------------------------------------------ */

/* What the model's function gives, after the check. */
TN_API tn_tensor *tn_model_logits(tn_module *m, const tn_model_config *config, const tn_tensor *x);
/* The mean cross entropy of batch[0]'s logits with the classes batch[1] i32 or i64, [N] or for tokens
 * [N, S]: a tn_loss_function (tenon/train.h) whose context is the configuration. */
TN_API tn_tensor *tn_model_loss(void *config, tn_module *m, tn_tensor *const *batch);
/* Types of the two arrays of a batch, as data loading makes them, without data: f32 [rows, …] and i32
 * [rows], or i32 [rows, length] twice. */
TN_API void tn_model_batch(const tn_model_config *config, int64_t rows, int64_t length,
                           tn_buffer out[2]);
/* Makes the parameters and buffers in m, which may be abstract, and computes nothing. */
TN_API tn_status tn_model_declare(tn_module *m, const tn_model_config *config,
                                  tn_error *err) TN_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
