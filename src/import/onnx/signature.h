/* What nodes of each operator may have, by the schemas of ONNX and ONNX Runtime: the rows of signatures.def. */
#ifndef TENON_IMPORT_ONNX_SIGNATURE_H
#define TENON_IMPORT_ONNX_SIGNATURE_H

#include "import/onnx/context.h"

typedef struct tn_onnx_signature {
    const char *domain, *name;
    int since; /* version of the operator set; holds until the operator's next row */
    int least; /* inputs */
    const char
        *inputs; /* "a3 a3 b5? -7*": type variable ('-': none), set of types; ? may be absent, * any
                           number */
    const char *attributes; /* "axis:i mode:s!": type; ! has to be there */
} tn_onnx_signature;

/* One word of `inputs`. */
typedef struct tn_onnx_slot {
    char variable;
    uint32_t types; /* bits by TensorProto.DataType; TN_ONNX_NO_TENSOR: sequences and optionals */
    bool optional, repeated;
} tn_onnx_slot;
enum { TN_ONNX_NO_TENSOR = 31 };

/* All rows, sorted by domain, name and version. */
const tn_onnx_signature *tn_onnx_signatures(size_t *count);
/* The row that holds in this version; NULL when there is none. */
const tn_onnx_signature *tn_onnx_signature_find(const char *domain, const char *name, int version);
/* The slot at *at, which moves on; *at is "" behind the last one. */
tn_onnx_slot tn_onnx_next_slot(const char **at);

/* An error when the node has inputs, types or attributes that its operator does not have in this version.
 * Operators without a row are not checked. */
void tn_onnx_check_signature(tn_o *o, const char *domain);

#endif
