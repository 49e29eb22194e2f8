/* The fields of each family's options, and how they have to fit each other. See family.h. */
#include <inttypes.h>
#include <tenon/models.h>

#include "base/base.h"
#include "nn/models/family.h"

/* So small that the elements of a parameter, a product of up to three sizes and heads, are far below
 * 2^63, and tables of positions and angles stay small. */
enum { SIZE_MOST = 1 << 24, WIDTH_MOST = 1 << 18, SMALL_MOST = 1 << 12 };
/* clang-format off */
#define FIELD(type, field, kind, least, most)                                                      \
    { #field, TN_MODEL_FIELD_##kind, offsetof(type, field), least, most }
#define COUNT(type, field)    FIELD(type, field, INT, 1, SIZE_MOST)
#define WIDTH(type, field)    FIELD(type, field, INT, 1, WIDTH_MOST)
#define SMALL(type, field)    FIELD(type, field, INT, 1, SMALL_MOST)
#define OPTIONAL(type, field, most) FIELD(type, field, INT, 0, most)
#define FLAG(type, field)     FIELD(type, field, BOOL, 0, 1)
#define LIST(type, field, most) FIELD(type, field, LIST, 0, most)
#define EPSILON(type, field)  FIELD(type, field, FLOAT, 1e-30, 1)
#define FAMILY(prefix)                                                                             \
    .size = sizeof(tn_##prefix##_options), .fields = prefix##_fields,                              \
    .field_count = TN_COUNT(prefix##_fields), .check = prefix##_check, .logits = prefix##_logits
/* clang-format on */

static tn_status divides(const char *what, int64_t part, int64_t whole, const char *of,
                         tn_error *err) {
    if (whole % part == 0) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%s = %" PRId64 " does not divide %s = %" PRId64, what,
                        part, of, whole);
}

/* Rotary embedding turns pairs. */
static tn_status even(const char *what, int64_t size, tn_error *err) {
    if (size % 2 == 0) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%s = %" PRId64 " is odd; rotary embedding turns pairs",
                        what, size);
}

static tn_buffer tokens_of(int64_t rows, int64_t length) {
    return (tn_buffer){.dtype = TN_i32, .rank = 2, .dim = {rows, length}};
}

static void tokens(const void *options, int64_t rows, int64_t length, tn_buffer *out) {
    (void)options;
    *out = tokens_of(rows, length);
}

/* ---- mlp ------------------------------------------------------------------------------------ */

#define T tn_mlp_options
static const tn_model_field mlp_fields[] = {COUNT(T, features), LIST(T, hidden, SIZE_MOST),
                                            COUNT(T, classes)};
#undef T

static tn_status mlp_check(const void *options, tn_error *err) {
    (void)options;
    (void)err;
    return TN_OK;
}

static tn_tensor *mlp_logits(tn_module *m, const void *options, const tn_tensor *x) {
    return tn_mlp(m, options, x);
}

static void mlp_input(const void *options, int64_t rows, int64_t length, tn_buffer *out) {
    const tn_mlp_options *o = options;
    (void)length;
    *out = (tn_buffer){.dtype = TN_f32, .rank = 2, .dim = {rows, o->features}};
}

const tn_model_family tn__mlp_family = {.name = "mlp", FAMILY(mlp), .input = mlp_input};

/* ---- resnet --------------------------------------------------------------------------------- */

#define T tn_resnet_options
static const tn_model_field resnet_fields[] = {
    SMALL(T, channels),          WIDTH(T, image),     COUNT(T, classes),      SMALL(T, width),
    LIST(T, blocks, SMALL_MOST), FLAG(T, bottleneck), FLAG(T, preactivation), FLAG(T, small_images),
};
#undef T

static tn_status resnet_check(const void *options, tn_error *err) {
    const tn_resnet_options *o = options;
    if (o->blocks[0] < 1) return tn_error_set(err, TN_INVALID, "blocks is empty; say 2,2,2,2");
    return TN_OK;
}

static tn_tensor *resnet_logits(tn_module *m, const void *options, const tn_tensor *x) {
    return tn_resnet(m, options, x);
}

static void resnet_input(const void *options, int64_t rows, int64_t length, tn_buffer *out) {
    const tn_resnet_options *o = options;
    (void)length;
    *out = (tn_buffer){.dtype = TN_f32, .rank = 4, .dim = {rows, o->channels, o->image, o->image}};
}

const tn_model_family tn__resnet_family = {.name = "resnet", FAMILY(resnet), .input = resnet_input};

/* ---- gpt2 ----------------------------------------------------------------------------------- */

#define T tn_gpt2_options
static const tn_model_field gpt2_fields[] = {
    WIDTH(T, dim),
    SMALL(T, layers),
    SMALL(T, heads),
    COUNT(T, context),
    WIDTH(T, vocab),
    EPSILON(T, norm_epsilon),
    FIELD(T, dropout, FLOAT, 0, 0.999),
};
#undef T

static tn_status gpt2_check(const void *options, tn_error *err) {
    const tn_gpt2_options *o = options;
    return divides("heads", o->heads, o->dim, "dim", err);
}

static tn_tensor *gpt2_logits(tn_module *m, const void *options, const tn_tensor *x) {
    return tn_gpt2(m, options, x);
}

const tn_model_family tn__gpt2_family = {
    .name = "gpt2", FAMILY(gpt2), .input = tokens, .tokens = true};

/* ---- llama3 --------------------------------------------------------------------------------- */

#define T tn_llama3_options
static const tn_model_field llama3_fields[] = {
    WIDTH(T, dim),
    SMALL(T, layers),
    SMALL(T, heads),
    OPTIONAL(T, kv_heads, SMALL_MOST),
    OPTIONAL(T, head_dim, SMALL_MOST),
    WIDTH(T, ffn),
    WIDTH(T, vocab),
    EPSILON(T, norm_epsilon),
    FIELD(T, rope_theta, FLOAT, 1, 1e12),
    FIELD(T, rope_factor, FLOAT, 1, 1e6),
    FIELD(T, rope_low, FLOAT, 1e-6, 1e6),
    FIELD(T, rope_high, FLOAT, 1e-6, 1e6),
    COUNT(T, rope_length),
};
#undef T

static tn_status llama3_check(const void *options, tn_error *err) {
    const tn_llama3_options *o = options;
    int64_t kv_heads = o->kv_heads ? o->kv_heads : o->heads;
    if (o->head_dim == 0) TN_CHECK(divides("heads", o->heads, o->dim, "dim", err));
    TN_CHECK(divides("kv_heads", kv_heads, o->heads, "heads", err));
    TN_CHECK(o->head_dim ? even("head_dim", o->head_dim, err)
                         : even("dim / heads", o->dim / o->heads, err));
    if (o->rope_high <= o->rope_low)
        return tn_error_set(err, TN_INVALID, "rope_high = %g is not above rope_low = %g",
                            o->rope_high, o->rope_low);
    return TN_OK;
}

static tn_tensor *llama3_logits(tn_module *m, const void *options, const tn_tensor *x) {
    return tn_llama3(m, options, x);
}

const tn_model_family tn__llama3_family = {
    .name = "llama3", FAMILY(llama3), .input = tokens, .tokens = true};

/* ---- deepseek_v3 ---------------------------------------------------------------------------- */

#define T tn_deepseek_v3_options
static const tn_model_field deepseek_v3_fields[] = {
    WIDTH(T, dim),
    SMALL(T, layers),
    OPTIONAL(T, dense_layers, SMALL_MOST),
    WIDTH(T, ffn),
    SMALL(T, heads),
    WIDTH(T, kv_rank),
    SMALL(T, nope_dim),
    SMALL(T, rope_dim),
    SMALL(T, v_dim),
    SMALL(T, experts),
    WIDTH(T, expert_ffn),
    SMALL(T, top_k),
    OPTIONAL(T, shared_ffn, WIDTH_MOST),
    FLAG(T, sigmoid),
    FLAG(T, normalized),
    FIELD(T, route_scale, FLOAT, 1e-6, 1e6),
    FIELD(T, balance, FLOAT, 0, 1),
    WIDTH(T, vocab),
    EPSILON(T, norm_epsilon),
    FIELD(T, rope_theta, FLOAT, 1, 1e12),
};
#undef T

static tn_status deepseek_v3_check(const void *options, tn_error *err) {
    const tn_deepseek_v3_options *o = options;
    if (o->top_k > o->experts)
        return tn_error_set(err, TN_INVALID, "top_k = %" PRId64 " of experts = %" PRId64, o->top_k,
                            o->experts);
    return even("rope_dim", o->rope_dim, err);
}

static tn_tensor *deepseek_v3_logits(tn_module *m, const void *options, const tn_tensor *x) {
    return tn_deepseek_v3(m, options, x);
}

const tn_model_family tn__deepseek_v3_family = {
    .name = "deepseek_v3", FAMILY(deepseek_v3), .input = tokens, .tokens = true};
