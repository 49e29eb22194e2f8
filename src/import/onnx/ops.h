/* The table of operators: one row per operator and range of operator-set versions.
 *
 * To add one: a function in an ops_<topic>.c and its row at the end of that file; a new file gets a
 * line in TN_ONNX_TABLES. */
#ifndef TENON_IMPORT_ONNX_OPS_H
#define TENON_IMPORT_ONNX_OPS_H

#include "import/onnx/context.h"

#define TN_ONNX_LATEST 1000

typedef struct tn_onnx_op {
    const char *name;
    int since, until; /* versions of the operator set */
    tn_o_import *import;
} tn_onnx_op;

#define TN_ONNX_TABLES(T)                                                                          \
    T(math)                                                                                        \
    T(shape)                                                                                       \
    T(slice)                                                                                       \
    T(nn)                                                                                          \
    T(reduce)                                                                                      \
    T(index)                                                                                       \
    T(select)                                                                                      \
    T(control)                                                                                     \
    T(loop)                                                                                        \
    T(scan)                                                                                        \
    T(sequence)                                                                                    \
    T(rnn)                                                                                         \
    T(quant)                                                                                       \
    T(image)                                                                                       \
    T(signal)                                                                                      \
    T(loss)                                                                                        \
    T(attention)                                                                                   \
    T(random)                                                                                      \
    T(training)                                                                                    \
    T(misc)                                                                                        \
    T(ml)                                                                                          \
    T(text)                                                                                        \
    T(preview)                                                                                     \
    T(pad)                                                                                         \
    T(legacy)                                                                                      \
    T(contrib)                                                                                     \
    T(contrib_alias)                                                                               \
    T(contrib_attention)                                                                           \
    T(contrib_cache)                                                                               \
    T(contrib_layers)                                                                              \
    T(contrib_plain)                                                                               \
    T(contrib_quant)

typedef struct tn_onnx_rows {
    const char *domain; /* "" is ONNX's own */
    const tn_onnx_op *at;
    size_t count;
} tn_onnx_rows;
#define T(topic) extern const tn_onnx_rows tn__onnx_ops_##topic;
TN_ONNX_TABLES(T)
#undef T
/* At the end of ops_<topic>.c, after `static const tn_onnx_op rows[]`. */
#define TN_ONNX_TABLE(topic, domain)                                                               \
    const tn_onnx_rows tn__onnx_ops_##topic = {domain, rows, TN_COUNT(rows)};

/* The attributes of a convolution of x with this weight (ops_nn.c). */
bool tn_o_conv_options(tn_o *o, tn_value x, tn_value weight, tn_conv_options *out);

/* The attributes of pooling x. */
bool tn_o_pool_options(tn_o *o, tn_value x, tn_pool_options *out);
/* alpha · A' B' + beta · C by Gemm's inputs and attributes. */
tn_value tn_o_gemm(tn_o *o);
/* [N, …, C] → [N, C, …] and back. */
tn_value tn_o_channels_first(tn_o *o, tn_value x);
tn_value tn_o_channels_last(tn_o *o, tn_value x);

/* [N, S, heads · D] → [N, heads, S, D], what has four axes stays; and back (ops_attention.c). */
tn_value tn_o_split_heads(tn_o *o, tn_value x, int64_t heads);
tn_value tn_o_join_heads(tn_o *o, tn_value x);
/* Keys or values [N, heads, T, D] with those of the past in front, which may be absent. */
tn_value tn_o_with_past(tn_o *o, tn_value present, tn_value past);
/* Attention of com.microsoft behind its projection x [N, S, Dq + Dk + Dv] with the mask at input
 * `mask`, the past at `past` and what is added to scores at `added`; -1: there is no such input. */
void tn_o_self_attention(tn_o *o, tn_value x, int mask, int past, int added);

/* The number of words of each sentence ids [N, S]: of ones in the mask at input `mask`; without one
 * zeros (ops_contrib_layers.c). */
tn_value tn_o_word_counts(tn_o *o, int mask, tn_value ids);

/* A sub-graph of one input and one output applied to x, as part of the graph (ops_control.c). */
tn_value tn_o_inline(tn_o *o, const tn_onnx_graph *g, tn_value x);

/* NULL when there is no row. *known: some version of the operator is there. */
const tn_onnx_op *tn_onnx_op_find(const char *domain, const char *name, int64_t version,
                                  bool *known);

#endif
