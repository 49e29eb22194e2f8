/* The inside of ONNX models as functions. See tenon/onnx.h.
 *
 * The importer gives a graph whose weights are inputs; applying the model copies that graph into the
 * recording, with the module's tensors in their place. A graph is for constant sizes: there is one for
 * each combination of the inputs' sizes, the last few are kept. */
#ifndef TENON_NN_ONNX_H
#define TENON_NN_ONNX_H

#include <tenon/onnx.h>

#include "import/import.h"
#include "nn/tensor_inner.h"

/* The graph for inputs of these sizes. */
typedef struct tn__onnx_graph {
    struct tn__onnx_graph *next;
    tn_arena arena;
    tn_import import;
    int64_t *sizes;                /* of all inputs, one after the other */
    bool *needed;                  /* nodes that outputs depend on and that are no operands */
    TN_VEC(tn_value) operands;     /* inputs, weights that are read, large constants */
    TN_VEC(uint32_t) weights;      /* numbers of those weights */
    TN_VEC(tn_tensor *) constants; /* kept */
} tn__onnx_graph;

struct tn_onnx {
    tn_context *context;
    tn_arena arena;
    const char *path;    /* absolute */
    tn_import opened;    /* nothing but the values is bound; the weights of the file, its ports */
    tn_tensor **weights; /* as many, kept */
    tn_port_info *inputs, *outputs;
    tn_import_value *values;
    uint32_t value_count;
    tn_tensor **given;      /* per input: kept, its value when it was given; else NULL */
    tn__onnx_graph *graphs; /* the last used first */
    int sizes;              /* how many numbers are the sizes of all inputs */
};

/* The graph for these inputs, none of which is NULL or failed; owned by x. */
tn_status tn__onnx_graph_for(tn_onnx *x, const tn_tensor *const *in, tn__onnx_graph **out,
                             tn_error *err);
void tn__onnx_graphs_release(tn_onnx *x);

#endif
