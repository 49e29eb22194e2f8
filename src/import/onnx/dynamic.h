/* Results with as many elements as data say: a size that the run binds, at most that of a mask. */
#ifndef TENON_IMPORT_ONNX_DYNAMIC_H
#define TENON_IMPORT_ONNX_DYNAMIC_H

#include "import/onnx/scope.h"

/* The elements of a tensor that are not zero. */
typedef struct tn_onnx_selection {
    tn_dim count;
    tn_value places; /* i64[count]: their positions in row-major order, ascending */
} tn_onnx_selection;

/* A size in 0 … bound that the i64 scalar `length` tells when the model runs; `from` is what it is
 * counted in, which is asked for where the size has to be known. */
tn_dim tn_o_bind_size(tn_o *o, tn_value length, tn_value from, const char *name, tn_dim bound);
/* Of equal masks the same selection: so their sizes agree. A mask that is known gives constants. Where
 * no size can be bound, the value of the node's input `decider` is asked for. */
tn_onnx_selection tn_o_select(tn_o *o, tn_value mask, int decider);

#endif
