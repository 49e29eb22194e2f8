/* Building graphs in C without a check per line.
 *
 * A builder remembers its first error: later calls do nothing and return TN_NO_VALUE, and
 * tn_b_finish() gives the status. Binary operations broadcast by NumPy's rules (trailing axes
 * aligned); operand types must agree. Layers (softmax, layer norm, GELU …) are functions over this
 * interface in src/ops/compose_*.c. */
#ifndef TENON_IR_BUILDER_H
#define TENON_IR_BUILDER_H

#include "ir/graph.h"

typedef struct tn_builder {
    tn_graph *graph;
    const char *name; /* given to the nodes being built; may be NULL */
    tn_status status;
    tn_error *err;
} tn_builder;

tn_builder tn_builder_of(tn_graph *g, tn_error *err);
static inline bool tn_b_ok(const tn_builder *b) {
    return b->status == TN_OK;
}
static inline tn_status tn_b_finish(const tn_builder *b) {
    return b->status;
}
/* Records an error (the first one stays); returns TN_NO_VALUE. */
tn_value tn_b_fail(tn_builder *b, tn_status status, const char *format, ...) TN_PRINTF(3, 4);

tn_value tn_b_node(tn_builder *b, tn_op op, const tn_value *in, uint32_t n, const void *attrs);
/* A type that is safe to read even after an error (f32 scalar then). */
tn_type tn_b_type(const tn_builder *b, tn_value v);
int tn_b_rank(const tn_builder *b, tn_value v);
tn_dim tn_b_dim(const tn_builder *b, tn_value v, int axis); /* negative axes count from the end */

/* sources */
tn_value tn_b_input(tn_builder *b, const char *name, tn_dtype dtype, const tn_shape *shape);
tn_value tn_b_constant(tn_builder *b, const tn_array *array); /* copies the bytes */
tn_value tn_b_scalar(tn_builder *b, tn_dtype dtype, double value);
tn_value tn_b_scalar_int(tn_builder *b, tn_dtype dtype, int64_t value);
tn_value tn_b_full(tn_builder *b, tn_dtype dtype, const tn_shape *shape, double value);
tn_value tn_b_iota(tn_builder *b, tn_dtype dtype, const tn_shape *shape, int axis);

/* element-wise: tn_b_exp(b, x), tn_b_add(b, x, y), tn_b_lt(b, x, y) … one per row of ops.def */
/* clang-format off */
#define TN_B_UNARY(R)                                                                              \
    R(neg) R(abs) R(sign) R(exp) R(expm1) R(log) R(log1p) R(sqrt) R(rsqrt) R(sin) R(cos) R(tan)    \
    R(asin) R(acos) R(atan) R(sinh) R(cosh) R(asinh) R(acosh) R(atanh) R(tanh) R(erf) R(floor)     \
    R(ceil) R(round) R(not) R(is_nan) R(is_inf) R(popcount)
#define TN_B_BINARY(R)                                                                             \
    R(add) R(sub) R(mul) R(div) R(rem) R(pow) R(atan2) R(max) R(min) R(and) R(or) R(xor) R(shl)    \
    R(shr) R(eq) R(ne) R(lt) R(le) R(gt) R(ge)
/* clang-format on */
#define R(op) tn_value tn_b_##op(tn_builder *b, tn_value x);
TN_B_UNARY(R)
#undef R
#define R(op) tn_value tn_b_##op(tn_builder *b, tn_value x, tn_value y);
TN_B_BINARY(R)
#undef R
tn_value tn_b_select(tn_builder *b, tn_value flag, tn_value x, tn_value y);
tn_value tn_b_cast(tn_builder *b, tn_value x, tn_dtype dtype); /* no node when it is that already */

/* With a plain number of x's type: tn_b_add_scalar(b, x, 1.0) */
tn_value tn_b_add_scalar(tn_builder *b, tn_value x, double value);
tn_value tn_b_mul_scalar(tn_builder *b, tn_value x, double value);

/* movement; no node when nothing would change */
tn_value tn_b_reshape(tn_builder *b, tn_value x, const tn_shape *shape);
tn_value tn_b_reshape_to(tn_builder *b, tn_value x, int rank, const tn_dim *dim);
tn_value tn_b_permute(tn_builder *b, tn_value x, const int *perm); /* rank of x entries */
tn_value tn_b_swap(tn_builder *b, tn_value x, int axis, int other);
tn_value tn_b_expand(tn_builder *b, tn_value x, const tn_shape *shape); /* NumPy broadcast_to */
tn_value tn_b_unsqueeze(tn_builder *b, tn_value x, int axis);
tn_value tn_b_squeeze(tn_builder *b, tn_value x, int axis);
/* x[..., start : start + size*step : step, ...] along one axis */
tn_value tn_b_slice_axis(tn_builder *b, tn_value x, int axis, tn_dim start, tn_dim size,
                         int64_t step);
tn_value tn_b_pad_axis(tn_builder *b, tn_value x, int axis, tn_dim lo, tn_dim hi, tn_value fill);
tn_value tn_b_concat(tn_builder *b, const tn_value *in, int n, int axis);

/* A size that the i64 scalar `length` tells while the program runs: in 0 … bound, else the run fails.
 * A new symbol, called `name` if that is free; sizes that are equal should come from one call. In the
 * outermost graph only. */
tn_dim tn_b_bind_size(tn_builder *b, tn_value length, const char *name, tn_dim bound);
/* The first `size` elements of x along `axis`. */
tn_value tn_b_prefix(tn_builder *b, tn_value x, int axis, tn_dim size);

/* reductions; axes may be negative. keep: leave axes of size 1 */
tn_value tn_b_reduce(tn_builder *b, tn_reduce_kind kind, tn_value x, const int *axes, int n,
                     bool keep);
tn_value tn_b_sum(tn_builder *b, tn_value x, const int *axes, int n, bool keep);
tn_value tn_b_mean(tn_builder *b, tn_value x, const int *axes, int n, bool keep);
/* The number of elements along the axes, as a scalar of `dtype` (a constant or computed from sizes)
 */
tn_value tn_b_dim_value(tn_builder *b, tn_dim d, tn_dtype dtype);

/* NumPy matmul: stacks of matrices in the last two axes, batch axes broadcast, 1-D promoted */
tn_value tn_b_matmul(tn_builder *b, tn_value x, tn_value y, tn_dtype acc);
tn_value tn_b_gather_axis(tn_builder *b, tn_value x, tn_value index, int axis, tn_index_mode mode);

/* The shape that NumPy broadcasting gives; false (and an error) when there is none. */
bool tn_b_broadcast_shape(tn_builder *b, const tn_shape *x, const tn_shape *y, tn_shape *out);

#endif
