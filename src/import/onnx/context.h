/* What the function of an operator sees: one node being imported.
 *
 * An operator is a row of a table (ops.h) and a function `static void import_x(tn_o *o)`, which
 * reads inputs and attributes, builds primitives with o->b and gives results with tn_o_out. As in
 * builder.h, the first error stays: after it everything does nothing and reads give zero, so that
 * the functions are straight lines. Read next: ops_math.c for plain ones, known.c for values that
 * are known while importing. */
#ifndef TENON_IMPORT_ONNX_CONTEXT_H
#define TENON_IMPORT_ONNX_CONTEXT_H

#include "import/onnx/model.h"
#include "ops/compose.h"

typedef struct tn_onnx_scope tn_onnx_scope; /* import.h's inner side: scope.h */
typedef struct tn_onnx_item tn_onnx_item;

/* A tensor of integers or flags whose elements are known as sizes: constants or expressions over
 * symbols. A float type: the elements happen to be whole. */
typedef struct tn_known {
    tn_dtype dtype;
    int rank;
    int64_t dim[TN_MAX_RANK];
    int64_t count;
    tn_dim *at; /* row-major */
} tn_known;
enum { TN_KNOWN_MAX = 2048 }; /* elements */

typedef struct tn_o {
    tn_builder *b;
    tn_onnx_scope *scope;
    const tn_onnx_node *node;
    int version;       /* of the operator set of the node's domain */
    tn_dims *dims;     /* b->graph->dims */
    tn_arena *scratch; /* gone when the import is done */
} tn_o;
typedef void tn_o_import(tn_o *o);

static inline bool tn_o_ok(const tn_o *o) {
    return tn_b_ok(o->b);
}
/* Records an error about this node (the first one stays); gives TN_NO_VALUE. */
tn_value tn_o_fail(tn_o *o, tn_status status, const char *format, ...) TN_PRINTF(3, 4);
/* The same for what no size could mend: tn_o_fail with open sizes asks for them first. */
tn_value tn_o_refuse(tn_o *o, tn_status status, const char *format, ...) TN_PRINTF(3, 4);

/* ---- inputs and results --------------------------------------------------------------------- */

/* Number of inputs, without absent ones at the end. */
int tn_o_in_count(const tn_o *o);
bool tn_o_has(const tn_o *o, int i); /* input i is given */
tn_value tn_o_in(tn_o *o, int i);    /* an error when it is absent */
tn_value tn_o_in_or_none(tn_o *o, int i);
tn_type tn_o_type(tn_o *o, int i); /* of input i; does not build it */
int tn_o_rank(tn_o *o, int i);
/* An error when input i is given and has another shape: "its scale (input 1) is f32[2]; expected [3]". */
bool tn_o_expect(tn_o *o, int i, const char *what, int rank, const tn_dim *dims);

int tn_o_out_count(const tn_o *o);
bool tn_o_wants(const tn_o *o, int i); /* result i has a name */
void tn_o_out(tn_o *o, int i, tn_value v);
void tn_o_out_known(tn_o *o, int i, const tn_known *known);
/* Result i of type `dtype` is the node's input unchanged (identity, known values and sequences
 * included). */
void tn_o_out_same(tn_o *o, int i, int input);
/* The lowest whole accuracy: f32 for narrow floats, else x's type; and back. */
tn_value tn_o_widen(tn_o *o, tn_value x);
tn_value tn_o_like(tn_o *o, tn_value x, tn_value of);
/* x without axes where it has one element. */
tn_value tn_o_scalar(tn_o *o, tn_value x);

/* ---- attributes ----------------------------------------------------------------------------- */

bool tn_o_has_attr(tn_o *o, const char *name);
/* With a default; an attribute of another type is an error. */
int64_t tn_o_int(tn_o *o, const char *name, int64_t other);
double tn_o_float(tn_o *o, const char *name, double other);
const char *tn_o_text(tn_o *o, const char *name, const char *other);
/* An error when it is missing. */
int64_t tn_o_need_int(tn_o *o, const char *name);
const char *tn_o_need_text(tn_o *o, const char *name);
const tn_onnx_graph *tn_o_graph(tn_o *o, const char *name);
/* An error when it has another type, or is missing and `needed`. */
void tn_o_check_attr(tn_o *o, const char *name, tn_onnx_attr_type type, bool needed);
/* Lists; false (count 0) when absent. In scratch memory. */
bool tn_o_ints(tn_o *o, const char *name, int *count, const int64_t **at);
bool tn_o_floats(tn_o *o, const char *name, int *count, const double **at);
bool tn_o_texts(tn_o *o, const char *name, int *count, const char *const **at);
bool tn_o_tensor(tn_o *o, const char *name, tn_array *out);
const tn_onnx_content *tn_o_content(tn_o *o, const char *name); /* checked; an error when missing */
/* The position of attribute `name` in `names` (NULL-terminated), else an error that lists them. */
int tn_o_choice(tn_o *o, const char *name, const char *other, const char *const *names);
/* An element type given as a number. */
tn_dtype tn_o_dtype(tn_o *o, const char *name, tn_dtype other);
/* An axis attribute or value counted from the front. */
int tn_o_axis(tn_o *o, int64_t axis, int rank);

/* ---- values that are known while importing -------------------------------------------------- */

/* Input i when it is small, whole and known (computed from constants, sizes and bound inputs). */
bool tn_o_known(tn_o *o, int i, tn_known *out);
/* The same, but an error when it is not known: then the message says which input of the model
 * decides it. `what` names the input's role ("shape"). */
bool tn_o_need_known(tn_o *o, int i, const char *what, tn_known *out);
/* Known constants, in scratch memory. */
bool tn_o_need_ints(tn_o *o, int i, const char *what, int *count, const int64_t **at);
bool tn_o_need_floats(tn_o *o, int i, const char *what, int *count, const double **at);
int64_t tn_o_need_int_value(tn_o *o, int i, const char *what);
/* The value of input i as an array (scratch memory), however large. */
bool tn_o_need_array(tn_o *o, int i, const char *what, tn_array *out);
bool tn_o_array(tn_o *o, int i, tn_array *out); /* without the error */
/* A size as a number; if it is open, the import stops and asks for its symbols. */
int64_t tn_o_const_dim(tn_o *o, tn_dim d, const char *what);
/* All sizes of a shape as numbers. */
bool tn_o_const_shape(tn_o *o, const tn_shape *shape, const char *what, int64_t *out);

/* Axes from an attribute (before opset `since_input`) or from input i: counted from the front,
 * sorted, distinct. -1: none given. */
int tn_o_axes(tn_o *o, const char *attr, int since_input, int i, int rank, int *out);

/* ---- sequences ------------------------------------------------------------------------------ */

/* The elements when input i is a sequence; an error when it is not. */
bool tn_o_sequence(tn_o *o, int i, int *count, tn_onnx_item *const **items);
void tn_o_out_sequence(tn_o *o, int i, int count, tn_onnx_item *const *items);
tn_onnx_item *tn_o_item(tn_o *o, int i); /* input i, whatever it is */
tn_onnx_item *tn_o_item_of(tn_o *o, tn_value v);
void tn_o_out_item(tn_o *o, int i, tn_onnx_item *item);
tn_value tn_o_item_value(tn_o *o, tn_onnx_item *item); /* builds it */
tn_type tn_o_item_type(tn_o *o, const tn_onnx_item *item);

#endif
