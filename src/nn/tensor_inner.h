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
/* What builds several. */
typedef void tn__build_all(tn_builder *b, const tn_value *in, const void *args, tn_value *out);
/* Operands behind the first `required` may be NULL: `build` gets TN_NO_VALUE for them. */
tn_tensor *tn__call_some(const char *place, const tn_tensor *const *x, int count, int required,
                         tn__build *build, const void *args);
void tn__call_results(const char *place, const tn_tensor *const *x, int count, int required,
                      tn__build_all *build, const void *args, tn_tensor **out, int results);
tn_tensor *tn__failed(tn_context *c);
/* A sticky error. */
void tn__refuse(tn_context *c, const char *place, const char *format, ...) TN_PRINTF(3, 4);
/* Copies options of the caller's size, which they begin with; `from` NULL: all zero. False, and a
 * sticky error, when the size is not set. */
bool tn__options(tn_context *c, const char *place, const void *from, void *to, size_t size);
/* An error unless x is a float; gives x. */
tn_value tn__float_operand(tn_builder *b, const char *what, tn_value x);
/* x in the type of `like`; TN_NO_VALUE stays that. */
tn_value tn__cast_like(tn_builder *b, tn_value x, tn_value like);
/* x in the type in which sums over `like` are computed. */
tn_value tn__wide_like(tn_builder *b, tn_value x, tn_value like);
/* x, with no gradient to what it is computed from. */
tn_value tn__stopped(tn_builder *b, tn_value x);
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
