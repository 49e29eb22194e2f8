/* Shapes and types: equality, element counts, printing. See dim.h. */
#include "base/dim.h"

bool tn_shape_equal(const tn_shape *a, const tn_shape *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

tn_dim tn_shape_count(tn_dims *t, const tn_shape *s) {
    tn_dim count = 1;
    for (int i = 0; i < s->rank; i++) count = tn_dim_mul(t, count, s->dim[i]);
    return count;
}

bool tn_shape_is_const(const tn_shape *s) {
    for (int i = 0; i < s->rank; i++)
        if (!tn_dim_is_const(s->dim[i])) return false;
    return true;
}

int64_t tn_shape_const_count(const tn_shape *s) {
    TN_ASSERT(tn_shape_is_const(s));
    int64_t count = 1;
    for (int i = 0; i < s->rank; i++)
        if (s->dim[i] == 0) return 0;
    for (int i = 0; i < s->rank; i++)
        if (__builtin_mul_overflow(count, s->dim[i], &count)) return INT64_MAX;
    return count;
}

static void print_dims(const tn_dims *t, const tn_shape *s, const char *separator, tn_str *out) {
    for (int i = 0; i < s->rank; i++) {
        if (i > 0) tn_str_append(out, separator);
        uint32_t symbol;
        bool sum = !tn_dim_is_const(s->dim[i]) && !tn_dim_is_symbol(t, s->dim[i], &symbol);
        if (sum && *separator == 'x') tn_str_append(out, "(");
        tn_dim_print(t, s->dim[i], out);
        if (sum && *separator == 'x') tn_str_append(out, ")");
    }
}

void tn_shape_print(const tn_dims *t, const tn_shape *s, tn_str *out) {
    if (s->rank == 0) tn_str_append(out, "scalar");
    print_dims(t, s, "x", out);
}

void tn_type_print(const tn_dims *t, const tn_type *type, tn_str *out) {
    tn_str_appendf(out, "%s[", tn_dtype_name(type->dtype));
    print_dims(t, &type->shape, ",", out);
    tn_str_append(out, "]");
}
