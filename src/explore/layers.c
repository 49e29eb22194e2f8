/* The layers of the published shapes: operators with their sizes, and who reads whom. */
#include <stdio.h>

#include "base/base.h"
#include "explore/workload.h"

static const struct {
    const char *type;
    const char *edges; /* in a topological order of their readers */
    bool gated;        /* f3 beside f1 */
} layer_types[] = {
    {"opt", "q>qk k>qk qk>sv v>sv sv>o o>f1 f1>f2", false},
    {"llama", "q>qk k>qk qk>sv v>sv sv>o o>f1 o>f3 f1>f2 f3>f2", true},
    /* Attention and feed-forward read the same input: two components. */
    {"palm", "q>qk k>qk qk>sv v>sv sv>o f1>f2 f3>f2", true},
};

static void add_weights(tn_workload *w, const char *name, int64_t n, int64_t k) {
    tn_operator *o = &w->operators[w->count++];
    snprintf(o->name, sizeof o->name, "%s", name);
    o->kind = TN_OPERATOR_WEIGHTS;
    o->n = n;
    o->k = k;
}

static void add_attention(tn_workload *w, const char *name, tn_operator_kind kind) {
    tn_operator *o = &w->operators[w->count++];
    snprintf(o->name, sizeof o->name, "%s", name);
    o->kind = kind;
    o->heads = w->key_heads;
    o->group = w->query_heads / w->key_heads;
    *(kind == TN_OPERATOR_SCORES ? &o->k : &o->n) = w->head_dim;
}

static void add_edges(tn_workload *w, const char *edges) {
    char from[TN_OPERATOR_NAME], to[TN_OPERATOR_NAME];
    int length;
    while (sscanf(edges, " %23[^>]>%23s%n", from, to, &length) == 2) {
        w->before[tn__workload_find(w, to)] |= 1u << tn__workload_find(w, from);
        edges += length;
    }
}

tn_status tn__workload_layer(const char *type, tn_workload *w, tn_error *err) {
    for (size_t i = 0; i < TN_COUNT(layer_types); i++) {
        if (strcmp(layer_types[i].type, type) != 0) continue;
        int64_t keys = w->head_dim * w->key_heads, queries = w->head_dim * w->query_heads;
        add_weights(w, "q", queries, w->hidden);
        add_weights(w, "k", keys, w->hidden);
        add_weights(w, "v", keys, w->hidden);
        add_attention(w, "qk", TN_OPERATOR_SCORES);
        add_attention(w, "sv", TN_OPERATOR_VALUES);
        add_weights(w, "o", w->hidden, queries);
        add_weights(w, "f1", w->intermediate, w->hidden);
        if (layer_types[i].gated) add_weights(w, "f3", w->intermediate, w->hidden);
        add_weights(w, "f2", w->hidden, w->intermediate);
        add_edges(w, layer_types[i].edges);
        return TN_OK;
    }
    return tn_error_set(err, TN_INVALID, "'%s' is no type of layer: opt, llama and palm are", type);
}

static const struct {
    const char *name, *type;
    int layers;
    int64_t hidden, intermediate, query_heads, key_heads;
} named[] = {
    {"opt-6.7b", "opt", 32, 4096, 16384, 32, 32},
    {"llama3-8b", "llama", 32, 4096, 14336, 32, 8},
    {"palm-8b", "palm", 32, 4096, 16384, 16, 1},
};

tn_status tn_workload_named(const char *name, tn_workload *out, tn_error *err) {
    *out = (tn_workload){0};
    for (size_t i = 0; i < TN_COUNT(named); i++) {
        if (strcmp(named[i].name, name) != 0) continue;
        snprintf(out->name, sizeof out->name, "%s", name);
        out->layers = named[i].layers;
        out->hidden = named[i].hidden;
        out->intermediate = named[i].intermediate;
        out->query_heads = named[i].query_heads;
        out->key_heads = named[i].key_heads;
        out->head_dim = out->hidden / out->query_heads;
        return tn__workload_layer(named[i].type, out, err);
    }
    return tn_error_set(err, TN_NOT_FOUND,
                        "'%s' is no built-in workload: opt-6.7b, llama3-8b and palm-8b are", name);
}
