/* Results with as many elements as data say: a size that the run binds, at most that of a mask. */
#ifndef TENON_IMPORT_ONNX_DYNAMIC_H
#define TENON_IMPORT_ONNX_DYNAMIC_H

#include "import/onnx/scope.h"

/* The elements of a tensor that are not zero. */
typedef struct tn_onnx_selection {
    tn_dim count;
    tn_value places; /* i64[count]: their positions in row-major order, ascending */
} tn_onnx_selection;

/* What whole numbers do not leave, as far as their graph tells. */
typedef struct tn_onnx_limits {
    int64_t lo; /* INT64_MIN: none is known */
    bool has_hi;
    tn_dim hi;
} tn_onnx_limits;

/* One of the numbers that decide a shape: a size, or a value that the run computes. */
typedef struct tn_onnx_number {
    tn_dim size;    /* while `value` is TN_NO_VALUE */
    tn_value value; /* i64 scalar */
} tn_onnx_number;

/* A size in 0 … bound that the i64 scalar `length` tells when the model runs, the same of equal lengths; `from`
 * is what it is counted in, which is asked for where the size has to be known. */
tn_dim tn_o_bind_size(tn_o *o, tn_value length, tn_value from, const char *name, tn_dim bound);

/* The elements of input i, a scalar or vector of integers: each as a size where it is one. Asks for the
 * input's value where no size can be bound. `what` names its role ("shape"). */
bool tn_o_numbers(tn_o *o, int i, const char *what, int64_t *count, tn_onnx_number **at);
/* As tn_o_need_known, but what data decide becomes a size that the run binds, if a bound is known and, where
 * `negative` numbers have a meaning, it cannot be one. */
bool tn_o_need_sizes(tn_o *o, int i, const char *what, bool negative, tn_known *out);
/* Whether a program for each value of `v`, which small inputs decide, is better than memory for a large bound. */
bool tn_onnx_is_better_known(tn_o *o, tn_value v, tn_dim bound);
/* A number of input i as a size; it is asked for where it has no bound. In 0 … `most` by what the operator
 * demands (NULL: nothing does). */
tn_dim tn_o_number_size(tn_o *o, int i, const char *what, tn_onnx_number number,
                        const tn_dim *most);
/* The number as a value of the graph. */
tn_value tn_o_number_value(tn_o *o, tn_onnx_number number);
tn_onnx_limits tn_onnx_value_limits(const tn_graph *g, tn_value v);
/* min and max, without these where the order is proven. */
tn_dim tn_onnx_smaller(tn_dims *t, tn_dim a, tn_dim b);
tn_dim tn_onnx_larger(tn_dims *t, tn_dim a, tn_dim b);

/* At most `most` elements are marked (NULL: all may be). Of equal masks the same selection: so their sizes agree. A mask that is known gives constants. Where
 * no size can be bound, the value of the node's input `decider` is asked for. */
tn_onnx_selection tn_o_select(tn_o *o, tn_value mask, const tn_dim *most, int decider);

#endif
