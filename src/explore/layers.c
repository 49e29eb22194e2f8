/* The operators of the published shapes with their sizes, the layers made of them, and built-in models. */
#include <stdio.h>

#include "base/base.h"
#include "explore/workload.h"

/* A size by name, of one layer. */
typedef enum extent { ABSENT, HIDDEN, INTERMEDIATE, QUERIES, KEYS, HEAD } extent;

static int64_t extent_of(const tn_workload *w, extent e) {
    switch (e) {
    case ABSENT:
        break;
    case HIDDEN:
        return w->hidden;
    case INTERMEDIATE:
        return w->intermediate;
    case QUERIES:
        return w->head_dim * w->query_heads;
    case KEYS:
        return w->head_dim * w->key_heads;
    case HEAD:
        return w->head_dim;
    }
    return 0;
}

static const struct {
    const char *name;
    tn_operator_kind kind;
    extent n, k;
} published[] = {
    {"q", TN_OPERATOR_WEIGHTS, QUERIES, HIDDEN},
    {"k", TN_OPERATOR_WEIGHTS, KEYS, HIDDEN},
    {"v", TN_OPERATOR_WEIGHTS, KEYS, HIDDEN},
    {"qk", TN_OPERATOR_SCORES, ABSENT, HEAD},
    {"sv", TN_OPERATOR_VALUES, HEAD, ABSENT},
    {"o", TN_OPERATOR_WEIGHTS, HIDDEN, QUERIES},
    {"f1", TN_OPERATOR_WEIGHTS, INTERMEDIATE, HIDDEN},
    {"f3", TN_OPERATOR_WEIGHTS, INTERMEDIATE, HIDDEN},
    {"f2", TN_OPERATOR_WEIGHTS, HIDDEN, INTERMEDIATE},
};

tn_operator *tn__workload_add(tn_workload *w, const char *name) {
    for (size_t i = 0; i < TN_COUNT(published) && w->count < TN_OPERATORS; i++) {
        if (strcmp(published[i].name, name) != 0) continue;
        tn_operator *o = &w->operators[w->count++];
        *o = (tn_operator){.kind = published[i].kind,
                           .n = extent_of(w, published[i].n),
                           .k = extent_of(w, published[i].k)};
        snprintf(o->name, sizeof o->name, "%s", name);
        if (o->kind == TN_OPERATOR_SCORES || o->kind == TN_OPERATOR_VALUES) {
            o->heads = w->key_heads;
            o->group = w->query_heads / w->key_heads;
        }
        return o;
    }
    return NULL;
}

/* Who reads whom, in a topological order. Attention and feed-forward of palm read the same input. */
static const struct {
    const char *type, *operators, *edges;
} layer_types[] = {
    {"opt", "q k v qk sv o f1 f2", "q>qk k>qk qk>sv v>sv sv>o o>f1 f1>f2"},
    {"llama", "q k v qk sv o f1 f3 f2", "q>qk k>qk qk>sv v>sv sv>o o>f1 o>f3 f1>f2 f3>f2"},
    {"palm", "q k v qk sv o f1 f3 f2", "q>qk k>qk qk>sv v>sv sv>o f1>f2 f3>f2"},
};

tn_status tn__workload_layer(const char *type, tn_workload *w, tn_error *err) {
    char from[TN_OPERATOR_NAME], to[TN_OPERATOR_NAME];
    int length;
    for (size_t i = 0; i < TN_COUNT(layer_types); i++) {
        const char *names = layer_types[i].operators, *edges = layer_types[i].edges;
        if (strcmp(layer_types[i].type, type) != 0) continue;
        for (; sscanf(names, "%23s%n", to, &length) == 1; names += length) tn__workload_add(w, to);
        for (; sscanf(edges, " %23[^>]>%23s%n", from, to, &length) == 2; edges += length)
            w->before[tn__workload_find(w, to)] |= 1u << tn__workload_find(w, from);
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
