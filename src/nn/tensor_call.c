/* Calls with one result. See tensor_inner.h. */
#include <stdarg.h>
#include <stdio.h>

#include "nn/tensor_inner.h"

enum { MAX_SOME = 24 };

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

typedef struct some {
    tn__build_all *build;
    const void *args;
    int count;
    const tn_tensor *const *x; /* to see which are absent */
} some;

static void build_some(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    const some *s = args;
    tn_value *all = TN_NEW_N(b->graph->arena, tn_value, s->count);
    for (int i = 0, present = 0; i < s->count; i++) all[i] = s->x[i] ? in[present++] : TN_NO_VALUE;
    s->build(b, all, s->args, out);
}

void tn__call_results(const char *place, const tn_tensor *const *x, int count, int required,
                      tn__build_all *build, const void *args, tn_tensor **out, int results) {
    const tn_tensor *present[MAX_SOME];
    int n = 0;
    TN_ASSERT(count <= MAX_SOME);
    for (int i = 0; i < count; i++)
        if (x[i] || i < required) present[n++] = x[i];
    some s = {build, args, count, x};
    tn__call call = {place, NULL, present, n, results, build_some, &s};
    tn__record(&call, out);
}

tn_tensor *tn__call_some(const char *place, const tn_tensor *const *x, int count, int required,
                         tn__build *build, const void *args) {
    tn_tensor *out;
    tn__call_results(place, x, count, required, build_single, &(single){build, args}, &out, 1);
    return out;
}

tn_tensor *tn__failed(tn_context *c) {
    pthread_mutex_lock(&c->lock);
    tn_tensor *x = tn__tensor_failed(c);
    pthread_mutex_unlock(&c->lock);
    return x;
}

static void refuse(tn_context *c, const char *place, const char *format, va_list args) {
    char text[TN_ERROR_TEXT];
    tn_error err = TN_ERROR_INIT;
    if (!c) return;
    vsnprintf(text, sizeof text, format, args);
    tn_error_set(&err, TN_INVALID, "%s", text);
    pthread_mutex_lock(&c->lock);
    tn__context_fail(c, place, &err);
    pthread_mutex_unlock(&c->lock);
}

void tn__refuse(tn_context *c, const char *place, const char *format, ...) {
    va_list args;
    va_start(args, format);
    refuse(c, place, format, args);
    va_end(args);
}

tn_tensor *tn_fail_at(const char *place, tn_context *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    refuse(c, place, format, args);
    va_end(args);
    return c ? tn__failed(c) : NULL;
}

void tn__call_pair(const char *place, const tn_tensor *x,
                   void (*build)(tn_builder *b, const tn_value *in, const void *args,
                                 tn_value *out),
                   const void *args, tn_tensor *result[2]) {
    tn__call c = {place, NULL, &x, 1, 2, build, args};
    tn__record(&c, result);
}

bool tn__options(tn_context *c, const char *place, const void *from, void *to, size_t size) {
    size_t have = size;
    memset(to, 0, size);
    if (!from) return true;
    memcpy(&have, from, sizeof have);
    if (have < sizeof have || have > 4096) {
        tn__refuse(c, place, "the size of the options is not set");
        return false;
    }
    memcpy(to, from, TN_MIN(have, size));
    return true;
}

tn_value tn__float_operand(tn_builder *b, const char *what, tn_value x) {
    tn_dtype dtype = tn_b_type(b, x).dtype;
    if (tn_b_ok(b) && !tn_dtype_is_float(dtype))
        return tn_b_fail(b, TN_INVALID, "%s: x is of type %s; expected a float", what,
                         tn_dtype_name(dtype));
    return x;
}

tn_value tn__cast_like(tn_builder *b, tn_value x, tn_value like) {
    return x == TN_NO_VALUE ? x : tn_b_cast(b, x, tn_b_type(b, like).dtype);
}

tn_value tn__wide_like(tn_builder *b, tn_value x, tn_value like) {
    if (x == TN_NO_VALUE) return x;
    return tn_b_cast(b, x, tn_b_accumulator(tn_b_type(b, like).dtype));
}

tn_value tn__stopped(tn_builder *b, tn_value x) {
    return tn_b_node(b, TN_OP_barrier, &x, 1, &(tn_attrs_barrier){.stop = true});
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
