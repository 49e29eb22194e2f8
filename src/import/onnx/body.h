/* Sub-graphs of the model: branches of If, bodies of Loop, Scan and SequenceMap. A body is imported into the
 * graph around (inlined) or into a graph of its own, which gets outer values as inputs. */
#ifndef TENON_IMPORT_ONNX_BODY_H
#define TENON_IMPORT_ONNX_BODY_H

#include "import/onnx/scope.h"

enum { TN_ONNX_UNROLLED = 64 }; /* turns of a loop of tensors at most */

typedef struct tn_onnx_body {
    const tn_onnx_graph *source;
    tn_onnx_scope scope;
    tn_graph *graph; /* NULL: inlined */
} tn_onnx_body;

bool tn_onnx_body_enter(tn_o *o, tn_onnx_body *b, const tn_onnx_graph *source, bool inlined);
/* Its input i is the item. */
void tn_onnx_body_define(tn_o *o, tn_onnx_body *b, uint32_t i, tn_onnx_item *item);
/* Whether nodes of the graph may draw random numbers (ops_random.c); a call does where any function does. */
bool tn_onnx_draws(const tn_onnx_model *model, const tn_onnx_graph *g);
/* The body is repeated, its turns are numbered by the item. */
void tn_onnx_body_repeat(tn_onnx_body *b, tn_onnx_item *turn);
/* A new input of the body's graph, called as the model's input i. */
tn_onnx_item *tn_onnx_body_add_input(tn_onnx_body *b, uint32_t i, const tn_type *type);
/* The nodes; then there are outputs. */
bool tn_onnx_body_import(tn_o *o, tn_onnx_body *b);
tn_onnx_item *tn_onnx_body_output(tn_o *o, tn_onnx_body *b, uint32_t i);
/* Makes an item, or output i, an output of the body's graph. */
void tn_onnx_body_give_item(tn_o *o, tn_onnx_body *b, tn_onnx_item *item);
void tn_onnx_body_give(tn_o *o, tn_onnx_body *b, uint32_t i);
/* Operands: the given ones, then what the body captured. */
tn_value *tn_onnx_body_operands(tn_o *o, const tn_onnx_body *b, const tn_value *first,
                                uint32_t count, uint32_t *total);

/* Results first + skip … of a node become the outputs of the model's. */
void tn_onnx_give_results(tn_o *o, tn_value first, uint32_t skip, uint32_t count);
bool tn_onnx_known_number(tn_o *o, tn_onnx_item *item, int64_t *out);
tn_onnx_item *tn_onnx_number_item(tn_o *o, tn_onnx_scope *s, tn_dtype dtype, int64_t value);
/* A tensor of one element without axes. */
tn_value tn_onnx_scalar(tn_o *o, tn_value v);

#endif
