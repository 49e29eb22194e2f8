/* Calls with one result. See tensor_inner.h. */
#include "nn/tensor_inner.h"

typedef struct single {
    tn__build *build;
    const void *args;
} single;

static void build_single(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    const single *s = args;
    out[0] = s->build(b, in, s->args);
}

static tn_tensor *call(const char *place, tn_context *c, const tn_tensor *const *in, int count,
                       tn__build *build, const void *args) {
    single s = {build, args};
    tn__call x = {place, c, in, count, 1, build_single, &s};
    tn_tensor *out;
    tn__record(&x, &out);
    return out;
}

tn_tensor *tn__call0(const char *place, tn_context *c, tn__build *build, const void *args) {
    return call(place, c, NULL, 0, build, args);
}

tn_tensor *tn__call1(const char *place, const tn_tensor *x, tn__build *build, const void *args) {
    return call(place, NULL, &x, 1, build, args);
}

tn_tensor *tn__call2(const char *place, const tn_tensor *x, const tn_tensor *y, tn__build *build,
                     const void *args) {
    return call(place, NULL, (const tn_tensor *const[]){x, y}, 2, build, args);
}

tn_tensor *tn__call3(const char *place, const tn_tensor *x, const tn_tensor *y, const tn_tensor *z,
                     tn__build *build, const void *args) {
    return call(place, NULL, (const tn_tensor *const[]){x, y, z}, 3, build, args);
}

tn_tensor *tn__call_n(const char *place, tn_tensor *const *x, int count, tn__build *build,
                      const void *args) {
    return call(place, NULL, (const tn_tensor *const *)x, count, build, args);
}

void tn__call_pair(const char *place, const tn_tensor *x,
                   void (*build)(tn_builder *b, const tn_value *in, const void *args,
                                 tn_value *out),
                   const void *args, tn_tensor *result[2]) {
    tn__call c = {place, NULL, &x, 1, 2, build, args};
    tn__record(&c, result);
}

tn_value tn__truth(tn_builder *b, tn_value x) {
    tn_dtype dtype = tn_b_type(b, x).dtype;
    return dtype == TN_bool ? x : tn_b_ne(b, x, tn_b_scalar(b, dtype, 0));
}

void tn__promote_pair(tn_builder *b, tn_value *x, tn_value *y) {
    tn_dtype dtype = tn_promote(tn_b_type(b, *x).dtype, tn_b_type(b, *y).dtype);
    *x = tn_b_cast(b, *x, dtype);
    *y = tn_b_cast(b, *y, dtype);
}

tn_value *tn__promote_all(tn_builder *b, const tn_value *in, int count) {
    tn_value *out = TN_NEW_N(b->graph->arena, tn_value, count);
    tn_dtype dtype = tn_b_type(b, in[0]).dtype;
    for (int i = 1; i < count; i++) dtype = tn_promote(dtype, tn_b_type(b, in[i]).dtype);
    for (int i = 0; i < count; i++) out[i] = tn_b_cast(b, in[i], dtype);
    return out;
}

int tn__axis(tn_builder *b, const char *what, int axis, int rank) {
    if (axis >= -rank && axis < rank) return axis < 0 ? axis + rank : axis;
    tn_b_fail(b, TN_INVALID, "%s: axis %d of a tensor with %d axes", what, axis, rank);
    return 0;
}
