/* For the files that define operations on lazy tensors. */
#ifndef TENON_NN_TENSOR_INNER_H
#define TENON_NN_TENSOR_INNER_H

#include "nn/lazy.h"
#include "ops/compose.h"

/* What builds an operation: one result from the operands' values. */
typedef tn_value tn__build(tn_builder *b, const tn_value *in, const void *args);

tn_tensor *tn__call0(const char *place, tn_context *c, tn__build *build, const void *args);
tn_tensor *tn__call1(const char *place, const tn_tensor *x, tn__build *build, const void *args);
tn_tensor *tn__call2(const char *place, const tn_tensor *x, const tn_tensor *y, tn__build *build,
                     const void *args);
tn_tensor *tn__call3(const char *place, const tn_tensor *x, const tn_tensor *y, const tn_tensor *z,
                     tn__build *build, const void *args);
tn_tensor *tn__call_n(const char *place, tn_tensor *const *x, int count, tn__build *build,
                      const void *args);
/* One tensor, two results. */
void tn__call_pair(const char *place, const tn_tensor *x,
                   void (*build)(tn_builder *b, const tn_value *in, const void *args,
                                 tn_value *out),
                   const void *args, tn_tensor *result[2]);

/* The float that functions of `dtype` compute in. */
tn_dtype tn__float_for(tn_dtype dtype);
/* x != 0 */
tn_value tn__truth(tn_builder *b, tn_value x);
/* Both in the type they promote to. */
void tn__promote_pair(tn_builder *b, tn_value *x, tn_value *y);
/* Copies of one or more, in the type they promote to; in the graph's arena. */
tn_value *tn__promote_all(tn_builder *b, const tn_value *in, int count);
/* From the end where negative; an error names `what`. */
int tn__axis(tn_builder *b, const char *what, int axis, int rank);

#endif
