/* Products of a model's graph and the layers that they belong to, told by reachability alone.
 *
 * A product is a projection (one operand is made of weights), or one of an attention's two. With attentions
 * numbered in the order of the graph, two facts say where a projection belongs:
 *   `next`    the first attention that its result reaches;
 *   `only`    that attention, if its result reaches the model's outputs through that attention alone.
 * What has `only` is an attention's projection. Everything else lies behind attention next − 1, be it sequential
 * (it reads the attention's result) or parallel (it reads the same input), since a residual carries it on. */
#ifndef TENON_EXPLORE_WORKLOAD_GRAPH_H
#define TENON_EXPLORE_WORKLOAD_GRAPH_H

#include <tenon/explore.h>

#include "transform/structure.h"

typedef enum tn_product_kind {
    TN_PRODUCT_PROJECTION,
    TN_PRODUCT_SCORES,
    TN_PRODUCT_VALUES,
} tn_product_kind;

typedef struct tn_layer_product {
    tn_node node;
    tn_product_kind kind;
    int64_t n, k;     /* of the weights, or of the attention */
    int64_t experts;  /* matrices that the weights are a stack of, and tokens choose from; 0: one */
    tn_value operand; /* what is no weight */
    int next, only;   /* see above; the number of attentions, −1 where there is none */
    bool read;        /* some other product reads it */
    int layer;        /* attention it belongs to; −1: to no layer */
} tn_layer_product;

typedef struct tn_layers {
    const tn_graph *g;
    tn_arena *arena;
    bool *weights; /* of each value: made of weights alone */
    tn_found_attentions attentions;
    TN_VEC(tn_layer_product) products; /* in the order of the graph */
    uint32_t *product_of;              /* of each node; UINT32_MAX: none */
    uint32_t *stamp, search;           /* of walks, by node */
} tn_layers;

/* All inputs of `g` from `first_weight` on are weights. In the graph's arena. */
void tn__layers_find(const tn_graph *g, uint32_t first_weight, tn_layers *out);
/* Numbers of the products, of attention layer `layer` or of any (−1), whose results `v` is computed from with no
 * other product between. Walks back no further than node `from`. */
typedef TN_VEC(uint32_t) tn_product_list;
void tn__layers_sources(tn_layers *l, tn_value v, int layer, tn_node from, tn_product_list *out);
/* The share of product p's result that `v` holds, 0..1: slices and concatenations in between are followed. */
double tn__layers_share(tn_layers *l, uint32_t p, tn_value v);
/* The choices that a router makes: k of the last top_k that is computed from product p alone; 0: none. */
int64_t tn__layers_choices(tn_layers *l, uint32_t p);
/* The operators of layer `layer`; TN_UNSUPPORTED says what is not like a transformer's. */
tn_status tn__layers_workload(tn_layers *l, int layer, tn_workload *out, tn_error *err);

/* From a Hugging Face config.json. */
tn_status tn__workload_from_config(const char *path, tn_workload *out, int capacity, int *count,
                                   tn_error *err);

#endif
