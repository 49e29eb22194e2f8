/* The named configurations. See family.h. */
#include "base/base.h"
#include "nn/models/family.h"

/* clang-format off */
#define MLP(...)                                                                                   \
    { &tn__mlp_family, {.mlp = {TN_SIZE(tn_mlp_options), __VA_ARGS__}} }
#define RESNET(...)                                                                                \
    { &tn__resnet_family, {.resnet = {TN_SIZE(tn_resnet_options), .channels = 3, __VA_ARGS__}} }
#define GPT2(...)                                                                                  \
    {                                                                                              \
        &tn__gpt2_family, {                                                                        \
            .gpt2 = {TN_SIZE(tn_gpt2_options), .norm_epsilon = 1e-5, __VA_ARGS__ }                 \
        }                                                                                          \
    }
/* Llama 3.1's rotary embedding */
#define LLAMA3(...)                                                                                \
    {                                                                                              \
        &tn__llama3_family, {                                                                      \
            .llama3 = {TN_SIZE(tn_llama3_options), .norm_epsilon = 1e-5, .rope_theta = 500000,     \
                       .rope_factor = 8, .rope_low = 1, .rope_high = 4, .rope_length = 8192,       \
                       __VA_ARGS__ }                                                               \
        }                                                                                          \
    }
/* The weights of 16B are DeepSeek-V2-Lite's (DeepSeek-AI 2024, appendix B), with a balancing bias in
 * place of its losses. */
#define DEEPSEEK_V3(...)                                                                           \
    {                                                                                              \
        &tn__deepseek_v3_family, {                                                                 \
            .deepseek_v3 = {TN_SIZE(tn_deepseek_v3_options), .norm_epsilon = 1e-5,                 \
                            .dense_layers = 1, .heads = 16, .kv_rank = 512, .nope_dim = 128,       \
                            .rope_dim = 64, .v_dim = 128, .route_scale = 1, .balance = 1e-3,       \
                            .rope_theta = 10000, __VA_ARGS__ }                                     \
        }                                                                                          \
    }

const tn__named_config tn__model_configs[] = {
    {"mlp", MLP(.features = 784, .hidden = {256, 128}, .classes = 10)},
    {"resnet18", RESNET(.image = 224, .classes = 1000, .width = 64, .blocks = {2, 2, 2, 2})},
    {"resnet34", RESNET(.image = 224, .classes = 1000, .width = 64, .blocks = {3, 4, 6, 3})},
    {"resnet50", RESNET(.image = 224, .classes = 1000, .width = 64, .blocks = {3, 4, 6, 3},
                        .bottleneck = true)},
    {"resnet20_v2", RESNET(.image = 32, .classes = 10, .width = 16, .blocks = {3, 3, 3},
                           .preactivation = true, .small_images = true)},
    {"gpt2_debugmodel", GPT2(.dim = 128, .layers = 4, .heads = 4, .context = 256, .vocab = 2048)},
    {"gpt2", GPT2(.dim = 768, .layers = 12, .heads = 12, .context = 1024, .vocab = 50257)},
    {"gpt2_medium", GPT2(.dim = 1024, .layers = 24, .heads = 16, .context = 1024, .vocab = 50257)},
    {"gpt2_large", GPT2(.dim = 1280, .layers = 36, .heads = 20, .context = 1024, .vocab = 50257)},
    {"gpt2_xl", GPT2(.dim = 1600, .layers = 48, .heads = 25, .context = 1024, .vocab = 50257)},
    {"llama3_debugmodel", LLAMA3(.dim = 256, .layers = 6, .heads = 16, .ffn = 768, .vocab = 2048)},
    {"llama3_8b", LLAMA3(.dim = 4096, .layers = 32, .heads = 32, .kv_heads = 8, .ffn = 14336,
                         .vocab = 128256)},
    {"llama3_70b", LLAMA3(.dim = 8192, .layers = 80, .heads = 64, .kv_heads = 8, .ffn = 28672,
                          .vocab = 128256)},
    {"deepseek_v3_debugmodel",
     DEEPSEEK_V3(.dim = 256, .layers = 6, .ffn = 1024, .experts = 8, .expert_ffn = 256, .top_k = 3,
                 .shared_ffn = 512, .vocab = 2048)},
    {"deepseek_v3_16b",
     DEEPSEEK_V3(.dim = 2048, .layers = 27, .ffn = 10944, .experts = 64, .expert_ffn = 1408,
                 .top_k = 6, .shared_ffn = 2816, .vocab = 102400)},
};
/* clang-format on */
const int tn__model_config_count = TN_COUNT(tn__model_configs);
