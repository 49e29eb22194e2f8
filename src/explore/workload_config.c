/* Workloads from a Hugging Face config.json: which fields an architecture's numbers are in. */
#include <errno.h>
#include <stdio.h>

#include "base/json.h"
#include "explore/workload.h"
#include "explore/workload_graph.h"

typedef enum traits {
    GATED = 1,     /* two up projections, multiplied */
    PARALLEL = 2,  /* attention and feed-forward part read the same input */
    ONE_KEY = 4,   /* multi_query: one key head unless the file says otherwise */
    LATENT = 8,    /* keys and values through a latent */
    ROUTED = 16,   /* every layer has experts, from the first one that is not dense */
    FALCON = 32,   /* parallel and one key head by flags of their own */
    WINDOWED = 64, /* a sliding window counts unless use_sliding_window is false */
} traits;

/* "a|b": the first that the file has. NULL: no such number. */
typedef struct architecture {
    const char *type;
    unsigned traits;
    const char *hidden, *layers, *heads, *key_heads, *intermediate;
    const char *experts, *active, *expert_width, *shared_width;
} architecture;

#define USUAL                                                                                      \
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",              \
        "intermediate_size"

static const architecture architectures[] = {
    {"llama", GATED, USUAL, NULL, NULL, NULL, NULL},
    {"mistral", GATED | WINDOWED, USUAL, NULL, NULL, NULL, NULL},
    {"mixtral", GATED | ROUTED | WINDOWED, USUAL, "num_local_experts", "num_experts_per_tok",
     "intermediate_size", NULL},
    {"qwen2", GATED | WINDOWED, USUAL, NULL, NULL, NULL, NULL},
    {"qwen2_moe", GATED | ROUTED | WINDOWED, USUAL, "num_experts", "num_experts_per_tok",
     "moe_intermediate_size", "shared_expert_intermediate_size"},
    {"qwen3", GATED | WINDOWED, USUAL, NULL, NULL, NULL, NULL},
    {"qwen3_moe", GATED | ROUTED | WINDOWED, USUAL, "num_experts", "num_experts_per_tok",
     "moe_intermediate_size", NULL},
    {"opt", 0, "hidden_size", "num_hidden_layers", "num_attention_heads", NULL, "ffn_dim", NULL,
     NULL, NULL, NULL},
    {"gpt2", 0, "n_embd", "n_layer", "n_head", NULL, "n_inner", NULL, NULL, NULL, NULL},
    {"gpt_neox", 0, "hidden_size", "num_hidden_layers", "num_attention_heads", NULL,
     "intermediate_size", NULL, NULL, NULL, NULL},
    {"falcon", FALCON, "hidden_size", "num_hidden_layers|n_layer", "num_attention_heads|n_head",
     NULL, "ffn_hidden_size", NULL, NULL, NULL, NULL},
    {"phi", PARALLEL, USUAL, NULL, NULL, NULL, NULL},
    {"phi3", GATED | WINDOWED, USUAL, NULL, NULL, NULL, NULL},
    {"gemma", GATED, USUAL, NULL, NULL, NULL, NULL},
    {"gemma2", GATED, USUAL, NULL, NULL, NULL, NULL},
    {"deepseek_v2", GATED | ROUTED | LATENT, USUAL, "n_routed_experts", "num_experts_per_tok",
     "moe_intermediate_size", NULL},
    {"deepseek_v3", GATED | ROUTED | LATENT, USUAL, "n_routed_experts", "num_experts_per_tok",
     "moe_intermediate_size", NULL},
};

typedef struct config {
    const char *path;
    const json_t *root;
    const architecture *a;
    tn_workload *w;
    int64_t window;
} config;

/* ---- members of the file -------------------------------------------------------------------- */

/* A count by one of its names; `otherwise` below 0: it has to be there. */
static tn_status read_count(const config *c, const char *names, int64_t otherwise, int64_t *out,
                            tn_error *err) {
    char name[64];
    for (const char *at = names; at && *at;) {
        int length = (int)strcspn(at, "|");
        snprintf(name, sizeof name, "%.*s", length, at);
        const json_t *v = json_object_get(c->root, name);
        if (v && !json_is_null(v)) {
            *out = json_integer_value(v);
            if (json_is_integer(v) && *out >= 0 && *out <= 1 << 24) return TN_OK;
            return tn_error_set(err, TN_INVALID, "%s: '%s' is no integer from 0 to 2^24", c->path,
                                name);
        }
        at += length + (at[length] == '|');
    }
    *out = otherwise;
    if (otherwise >= 0) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%s: '%s' is missing, which a model of type '%s' has",
                        c->path, names, c->a->type);
}

static tn_status read_size(const config *c, const char *names, int64_t otherwise, int64_t *out,
                           tn_error *err) {
    TN_CHECK(read_count(c, names, otherwise, out, err));
    if (*out > 0) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%s: '%s' is 0", c->path, names);
}

static bool flag(const config *c, const char *name, bool otherwise) {
    const json_t *v = json_object_get(c->root, name);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

static tn_status read_sizes(config *c, tn_error *err) {
    const architecture *a = c->a;
    tn_workload *w = c->w;
    int64_t layers, keys;
    TN_CHECK(read_size(c, a->hidden, -1, &w->hidden, err));
    TN_CHECK(read_size(c, a->layers, -1, &layers, err));
    TN_CHECK(read_size(c, a->heads, -1, &w->query_heads, err));
    bool usual = strcmp(a->intermediate, "intermediate_size") == 0;
    TN_CHECK(read_size(c, a->intermediate, usual ? -1 : 4 * w->hidden, &w->intermediate, err));
    keys = w->query_heads;
    if ((a->traits & FALCON) && flag(c, "new_decoder_architecture", false))
        TN_CHECK(read_size(c, "num_kv_heads", w->query_heads, &keys, err));
    else if ((a->traits & FALCON) && flag(c, "multi_query", true))
        keys = 1;
    if (a->key_heads) TN_CHECK(read_size(c, a->key_heads, w->query_heads, &keys, err));
    w->layers = (int)layers;
    w->key_heads = keys;
    if (w->query_heads % keys)
        return tn_error_set(err, TN_INVALID,
                            "%s: %lld query heads do not divide among %lld key heads", c->path,
                            (long long)w->query_heads, (long long)keys);
    TN_CHECK(read_count(c, "head_dim", 0, &w->head_dim, err));
    if (w->head_dim || (a->traits & LATENT)) return TN_OK;
    if (w->hidden % w->query_heads)
        return tn_error_set(err, TN_INVALID, "%s: %s %lld does not divide among %lld heads",
                            c->path, a->hidden, (long long)w->hidden, (long long)w->query_heads);
    w->head_dim = w->hidden / w->query_heads;
    return TN_OK;
}

/* ---- a layer -------------------------------------------------------------------------------- */

/* Appends an operator that reads those in `before`; returns its bit, 0 without room (no layer is that big). */
static uint32_t add(tn_workload *w, const char *name, tn_operator o, uint32_t before) {
    if (w->count == TN_OPERATORS) return 0;
    snprintf(o.name, sizeof o.name, "%s", name);
    w->before[w->count] = before;
    w->operators[w->count] = o;
    return 1u << w->count++;
}

static tn_operator weights_of(int64_t n, int64_t k) {
    return (tn_operator){.kind = TN_OPERATOR_WEIGHTS, .n = n, .k = k};
}

static uint32_t add_products(const config *c, int64_t value_dim, uint32_t queries, uint32_t keys,
                             uint32_t values) {
    tn_workload *w = c->w;
    tn_operator o = {.kind = TN_OPERATOR_SCORES,
                     .k = w->head_dim,
                     .heads = w->key_heads,
                     .group = w->query_heads / w->key_heads,
                     .window = c->window};
    uint32_t scores = add(w, "qk", o, queries | keys);
    o.kind = TN_OPERATOR_VALUES;
    o.k = 0;
    o.n = value_dim;
    uint32_t out = add(w, "sv", o, scores | values);
    return add(w, "o", weights_of(w->hidden, w->query_heads * value_dim), out);
}

/* DeepSeek-V2 (arXiv 2405.04434), section 2.1: keys and values come from one latent, the rotary part of the
 * keys from its projection directly. */
static tn_status add_latent(const config *c, uint32_t *out, tn_error *err) {
    tn_workload *w = c->w;
    int64_t query_rank, rank, nope, rope, value;
    TN_CHECK(read_count(c, "q_lora_rank", 0, &query_rank, err));
    TN_CHECK(read_size(c, "kv_lora_rank", -1, &rank, err));
    TN_CHECK(read_size(c, "qk_nope_head_dim", -1, &nope, err));
    TN_CHECK(read_size(c, "qk_rope_head_dim", -1, &rope, err));
    TN_CHECK(read_size(c, "v_head_dim", -1, &value, err));
    w->head_dim = nope + rope;
    w->key_heads = w->query_heads;
    int64_t queries = w->query_heads * w->head_dim;
    uint32_t q = 0;
    if (query_rank) {
        q = add(w, "q_a", weights_of(query_rank, w->hidden), 0);
        q = add(w, "q_b", weights_of(queries, query_rank), q);
    } else {
        q = add(w, "q", weights_of(queries, w->hidden), 0);
    }
    uint32_t latent = add(w, "kv_a", weights_of(rank + rope, w->hidden), 0);
    uint32_t both = add(w, "kv_b", weights_of(w->query_heads * (nope + value), rank), latent);
    *out = add_products(c, value, q, latent | both, both);
    return TN_OK;
}

static uint32_t add_attention(const config *c) {
    tn_workload *w = c->w;
    uint32_t q = add(w, "q", weights_of(w->head_dim * w->query_heads, w->hidden), 0);
    uint32_t k = add(w, "k", weights_of(w->head_dim * w->key_heads, w->hidden), 0);
    uint32_t v = add(w, "v", weights_of(w->head_dim * w->key_heads, w->hidden), 0);
    return add_products(c, w->head_dim, q, k, v);
}

static void add_part(const config *c, char letter, tn_operator o, uint32_t before) {
    tn_workload *w = c->w;
    char name[3] = {letter, '1'};
    uint32_t up = add(w, name, o, before);
    name[1] = '3';
    if (c->a->traits & GATED) up |= add(w, name, o, before);
    name[1] = '2';
    int64_t n = o.n;
    o.n = o.k;
    o.k = n;
    add(w, name, o, up);
}

static tn_status add_experts(const config *c, uint32_t before, tn_error *err) {
    tn_workload *w = c->w;
    int64_t experts, active, width, shared = 0, shared_count = 0;
    TN_CHECK(read_size(c, c->a->experts, -1, &experts, err));
    TN_CHECK(read_size(c, c->a->active, -1, &active, err));
    TN_CHECK(read_size(c, c->a->expert_width, -1, &width, err));
    if (c->a->shared_width) TN_CHECK(read_count(c, c->a->shared_width, 0, &shared, err));
    TN_CHECK(read_count(c, "n_shared_experts", 0, &shared_count, err));
    if (active > experts)
        return tn_error_set(err, TN_INVALID, "%s: %lld of %lld experts", c->path, (long long)active,
                            (long long)experts);
    w->intermediate = width;
    uint32_t router = add(w, "router", weights_of(experts, w->hidden), before);
    add_part(c, 'f',
             (tn_operator){.kind = TN_OPERATOR_EXPERTS,
                           .n = width,
                           .k = w->hidden,
                           .experts = (int)experts,
                           .active = (int)active},
             before | router);
    shared += shared_count * width;
    if (shared) add_part(c, 's', weights_of(shared, w->hidden), before);
    if (c->a->shared_width && shared) add(w, "gate1", weights_of(1, w->hidden), before);
    return TN_OK;
}

/* One kind of layer, dense or with experts. */
static tn_status make_layer(config *c, bool experts, tn_workload *out, tn_error *err) {
    const tn_workload sizes = *c->w;
    uint32_t before = 0;
    if (c->a->traits & LATENT)
        TN_CHECK(add_latent(c, &before, err));
    else
        before = add_attention(c);
    bool parallel = c->a->traits & PARALLEL;
    if (strcmp(c->a->type, "gpt_neox") == 0) parallel = flag(c, "use_parallel_residual", true);
    if (c->a->traits & FALCON)
        parallel = flag(c, "parallel_attn", true) || flag(c, "new_decoder_architecture", false);
    if (parallel) before = 0;
    if (experts)
        TN_CHECK(add_experts(c, before, err));
    else
        add_part(c, 'f', weights_of(c->w->intermediate, c->w->hidden), before);
    *out = *c->w;
    *c->w = sizes;
    return TN_OK;
}

/* ---- kinds of layers ------------------------------------------------------------------------ */

/* Whether layer `i` has experts. */
static tn_status has_experts(const config *c, int i, bool *out, tn_error *err) {
    int64_t dense, step, experts;
    *out = false;
    if (!(c->a->traits & ROUTED)) return TN_OK;
    TN_CHECK(read_count(c, c->a->experts, -1, &experts, err));
    TN_CHECK(read_count(c, "first_k_dense_replace", 0, &dense, err));
    TN_CHECK(read_size(c, "moe_layer_freq|decoder_sparse_step", 1, &step, err));
    const json_t *only = json_object_get(c->root, "mlp_only_layers");
    for (size_t k = 0; k < json_array_size(only); k++)
        if (json_integer_value(json_array_get(only, k)) == i) return TN_OK;
    bool counts_from_one = json_object_get(c->root, "decoder_sparse_step") != NULL;
    *out = experts > 0 && i >= dense && (i + counts_from_one) % step == 0;
    return TN_OK;
}

/* The window of layer `i`: of all that layer_types names, or of all. */
static tn_status window_of(const config *c, int i, int64_t *out, tn_error *err) {
    const json_t *types = json_object_get(c->root, "layer_types");
    const char *type = json_string_value(json_array_get(types, (size_t)i));
    *out = 0;
    bool alternating = strcmp(c->a->type, "gemma2") == 0;
    if (!(c->a->traits & WINDOWED) && !alternating) return TN_OK;
    if (type ? strcmp(type, "sliding_attention") != 0 : alternating && i % 2) return TN_OK;
    bool qwen = strncmp(c->a->type, "qwen", 4) == 0;
    if (!flag(c, "use_sliding_window", !qwen)) return TN_OK;
    if (qwen && !type) {
        int64_t full;
        TN_CHECK(read_count(c, "max_window_layers", 0, &full, err));
        if (i < full) return TN_OK;
    }
    return read_count(c, "sliding_window", 0, out, err);
}

static tn_status add_kinds(config *c, tn_workload *out, int capacity, int *count, tn_error *err) {
    bool experts_of[16];
    int64_t window_at[16];
    int layers = c->w->layers;
    c->w->layers = 1;
    for (int i = 0; i < layers; i++) {
        bool experts;
        TN_CHECK(has_experts(c, i, &experts, err));
        TN_CHECK(window_of(c, i, &c->window, err));
        int kind = 0;
        while (kind < *count && (experts_of[kind] != experts || window_at[kind] != c->window))
            kind++;
        if (kind < *count) {
            out[kind].layers++;
            continue;
        }
        if (*count == capacity || *count == (int)TN_COUNT(window_at))
            return tn_error_set(err, TN_UNSUPPORTED, "%s: more than %d kinds of layers", c->path,
                                capacity);
        experts_of[kind] = experts;
        window_at[kind] = c->window;
        TN_CHECK(make_layer(c, experts, &out[kind], err));
        TN_TRY(err, tn__workload_sort(&out[kind], err), "%s", c->path);
        ++*count;
    }
    return TN_OK;
}

/* ---- the file ------------------------------------------------------------------------------- */

static tn_status find_architecture(config *c, tn_error *err) {
    const char *type = json_string_value(json_object_get(c->root, "model_type"));
    char known[256] = "";
    size_t used = 0;
    if (!type)
        return tn_error_set(err, TN_INVALID,
                            "%s: 'model_type' is missing; a Hugging Face config.json has it",
                            c->path);
    for (size_t i = 0; i < TN_COUNT(architectures); i++) {
        if (strcmp(architectures[i].type, type) == 0) {
            c->a = &architectures[i];
            return TN_OK;
        }
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
                                 architectures[i].type);
        if (used >= sizeof known) used = sizeof known - 1;
    }
    return tn_error_set(err, TN_UNSUPPORTED,
                        "%s: model_type '%.40s' is not known; these are: %s. An ONNX file of the "
                        "model is read by its graph, whatever its type",
                        c->path, type, known);
}

static tn_status read_config(config *c, tn_workload *out, int capacity, int *count, tn_error *err) {
    if (!json_is_object(c->root))
        return tn_error_set(err, TN_INVALID, "%s: the file holds no object", c->path);
    TN_CHECK(find_architecture(c, err));
    TN_CHECK(read_sizes(c, err));
    if (c->w->layers > 4096)
        return tn_error_set(err, TN_INVALID, "%s: %d layers", c->path, c->w->layers);
    return add_kinds(c, out, capacity, count, err);
}

tn_status tn__workload_from_config(const char *path, tn_workload *out, int capacity, int *count,
                                   tn_error *err) {
    json_error_t at;
    tn_workload sizes = {0};
    *count = 0;
    json_t *root = tn_json_read(path, JSON_REJECT_DUPLICATES, &at);
    if (!root && at.line < 0) return tn_error_set(err, TN_NOT_FOUND, "%s", at.text);
    if (!root)
        return tn_error_set(err, TN_INVALID, "%s: line %d, column %d: %s", path, at.line, at.column,
                            at.text);
    config c = {.path = path, .root = root, .w = &sizes};
    tn_status status = read_config(&c, out, capacity, count, err);
    json_decref(root);
    return status;
}
