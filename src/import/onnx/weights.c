/* Which initializers are weights. See tn_import_weight, scope.h. */
#include "import/onnx/scope.h"

/* What nodes take an initializer for. */
enum { AS_WEIGHT = 1, AS_STATISTICS = 2 };

/* Operands that set what an operator does: from this one on, up to (not with) that one. */
static const struct {
    const char *op;
    uint32_t from, to;
} settings[] = {
    {"CastLike", 1, 2},    {"Clip", 1, 3},          {"DequantizeLinear", 1, 3},
    {"Dropout", 1, 3},     {"MatMulNBits", 2, 4},   {"MelWeightMatrix", 0, 5},
    {"OneHot", 1, 3},      {"Pad", 1, 4},           {"Pow", 1, 2},
    {"QLinearConv", 0, 8}, {"QLinearMatMul", 0, 8}, {"QuantizeLinear", 1, 3},
    {"Range", 0, 3},       {"Resize", 1, 4},        {"STFT", 1, 4},
    {"Upsample", 1, 2},
};

static uint32_t role_of(const tn_onnx_node *n, uint32_t input) {
    if (!strcmp(n->op, "BatchNormalization") && input >= 3) return AS_STATISTICS;
    for (size_t i = 0; i < TN_COUNT(settings); i++)
        if (!strcmp(n->op, settings[i].op) && input >= settings[i].from && input < settings[i].to)
            return 0;
    return AS_WEIGHT;
}

/* Adds the roles of names in the nodes of `g` and its sub-graphs; a name of a sub-graph that hides an
 * outer one counts as a use of that, which costs a weight that nothing reads. */
static void note_uses(const tn_onnx_graph *g, tn_map *ids, uint32_t *roles) {
    for (uint32_t i = 0; i < g->nodes.len; i++) {
        const tn_onnx_node *n = &g->nodes.data[i];
        uint32_t id;
        for (uint32_t k = 0; k < n->inputs.len; k++)
            if (tn_map_get_str(ids, n->inputs.data[k], &id)) roles[id] |= role_of(n, k);
        for (uint32_t k = 0; k < n->attrs.len; k++)
            if (n->attrs.data[k].g) note_uses(n->attrs.data[k].g, ids, roles);
    }
}

static bool may_be_weight(const tn_array *type) {
    bool narrow = type->dtype == TN_f16 || type->dtype == TN_bf16;
    return type->rank > 0 && (narrow || type->dtype == TN_f32 || type->dtype == TN_f64);
}

static tn_status elements_of(tn_onnx_scope *s, const tn_onnx_content *c, tn_array *out,
                             tn_error *err) {
    if (!c->as_is) return tn_onnx_tensor_decode(c, s->im->arena, out, err);
    *out = c->type;
    out->data = (void *)(uintptr_t)c->bytes.at;
    return TN_OK;
}

void tn_onnx_find_weights(tn_onnx_scope *s, const tn_onnx_graph *g) {
    tn_builder *b = &s->level->builder;
    tn_map ids;
    tn_map_init(&ids, s->im->scratch);
    uint32_t *roles = TN_NEW_N(s->im->scratch, uint32_t, g->initializers.len);
    for (uint32_t i = 0; i < g->initializers.len; i++)
        tn_map_put_str(&ids, g->initializers.data[i]->name, i);
    note_uses(g, &ids, roles);
    for (uint32_t i = 0; i < g->initializers.len && tn_b_ok(b); i++) {
        const char *name = g->initializers.data[i]->name;
        const tn_onnx_item *item = tn_onnx_lookup(s, name);
        if (!item || !roles[i] || !may_be_weight(&item->initializer->type)) continue;
        tn_import_weight w = {.name = tn_arena_strdup(s->im->arena, name),
                              .statistics = roles[i] == AS_STATISTICS};
        b->status = elements_of(s, item->initializer, &w.array, b->err);
        tn_vec_push(s->im->arena, &s->im->result->weights, w);
    }
}
