/* Recognising transformers from the graph alone: no names are read.
 *
 * An attention is two products of computed values around a softmax:
 *     scores = dot(q, k);  p = exp(f(scores) − max) / sum;  out = dot(p, v)
 * where f is pointwise (scale, mask, bias). Everything else follows from sizes: the head size is
 * what `scores` contracts over; the projection that reads `out` tells how many heads there are and
 * how wide the model is; the projection that k comes from tells the key/value heads. */
#ifndef TENON_TRANSFORM_STRUCTURE_H
#define TENON_TRANSFORM_STRUCTURE_H

#include "ir/graph.h"

/* Zero where a figure cannot be told. */
typedef struct tn_structure {
    int64_t layers; /* self-attentions; if there are none, attentions */
    int64_t d_model, heads, kv_heads, head_dim;
    int64_t ffn;   /* the widest inner size of the layers' feed-forward parts */
    int64_t vocab; /* rows of the token table, else the width of the last projection */
} tn_structure;

#define TN_NO_NODE UINT32_MAX

/* One attention. */
typedef struct tn_found_attention {
    tn_node scores, out; /* its two products */
    tn_node projection;  /* the dot that reads the result; TN_NO_NODE */
    tn_node q, k;        /* the projections of queries and keys; TN_NO_NODE */
    int values;          /* which operand of `out` is no probability */
    int64_t head_dim, value_dim;
    bool self; /* queries and keys are projected from one value */
} tn_found_attention;
typedef TN_VEC(tn_found_attention) tn_found_attentions;

/* All attentions in the order of their softmax, in the graph's arena. weights[v] says of each value whether it is
 * made of weights alone. */
void tn_structure_attentions(const tn_graph *g, const bool *weights, tn_found_attentions *out);

/* False when the graph has no attention. Weights are constants; where `data` is given, all inputs but that of
 * this name are weights, too. Best after the standard passes. Scratch memory comes from the graph's
 * arena. */
bool tn_structure_find(const tn_graph *g, const char *data, tn_structure *out);

#endif
