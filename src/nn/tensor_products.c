/* Products and softmax of lazy tensors. See tenon/tensor_ops.h. */
#include "nn/tensor_inner.h"

static tn_value build_matmul(tn_builder *b, const tn_value *in, const void *args) {
    tn_value x = in[0], y = in[1];
    (void)args;
    tn__promote_pair(b, &x, &y);
    return tn_b_product(b, x, y);
}

tn_tensor *tn_matmul_at(const char *place, const tn_tensor *x, const tn_tensor *y) {
    return tn__call2(place, x, y, build_matmul, NULL);
}

typedef struct einsum_args {
    const char *equation;
    int count;
} einsum_args;

static tn_value build_einsum(tn_builder *b, const tn_value *in, const void *args) {
    const einsum_args *a = args;
    tn_value *x = tn__promote_all(b, in, a->count);
    return tn_b_einsum(b, a->equation, x, a->count);
}

tn_tensor *tn_einsum_at(const char *place, const char *equation, tn_tensor *const *x, int count) {
    return tn__call_n(place, x, count, build_einsum, &(einsum_args){equation, count});
}

static tn_value as_float(tn_builder *b, tn_value x) {
    return tn_b_cast(b, x, tn__float_for(tn_b_type(b, x).dtype));
}

static tn_value build_softmax(tn_builder *b, const tn_value *in, const void *args) {
    int axis = tn__axis(b, "softmax", *(const int *)args, tn_b_rank(b, in[0]));
    return tn_b_softmax(b, as_float(b, in[0]), axis);
}

tn_tensor *tn_softmax_at(const char *place, const tn_tensor *x, int axis) {
    return tn__call1(place, x, build_softmax, &axis);
}

static tn_value build_log_softmax(tn_builder *b, const tn_value *in, const void *args) {
    int axis = tn__axis(b, "log_softmax", *(const int *)args, tn_b_rank(b, in[0]));
    return tn_b_log_softmax(b, as_float(b, in[0]), axis);
}

tn_tensor *tn_log_softmax_at(const char *place, const tn_tensor *x, int axis) {
    return tn__call1(place, x, build_log_softmax, &axis);
}
