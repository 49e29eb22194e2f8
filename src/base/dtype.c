/* The table of data types. */
#include "tenon/type.h"

#include <string.h>

static const struct {
    const char *name;
    char kind;
    unsigned char bits;
} dtypes[] = {
#define DTYPE(name, kind, bits) {#name, #kind[0], bits},
    TN_DTYPES(DTYPE)
#undef DTYPE
};

const char *tn_dtype_name(tn_dtype dtype) {
    return dtypes[dtype].name;
}

const char *tn_compound_kind_name(tn_compound_kind kind) {
    static const char *const names[] = {"a sequence", "an optional", "an optional sequence"};
    return names[kind];
}

bool tn_dtype_parse(const char *name, tn_dtype *out) {
    for (int i = 0; i < TN_DTYPE_COUNT; i++) {
        if (!strcmp(name, dtypes[i].name)) {
            *out = (tn_dtype)i;
            return true;
        }
    }
    return false;
}

size_t tn_dtype_size(tn_dtype dtype) {
    return (dtypes[dtype].bits + 7u) / 8u;
}
bool tn_dtype_is_float(tn_dtype dtype) {
    return dtypes[dtype].kind == 'f';
}
bool tn_dtype_is_signed(tn_dtype dtype) {
    return dtypes[dtype].kind == 'i';
}
bool tn_dtype_is_unsigned(tn_dtype dtype) {
    return dtypes[dtype].kind == 'u';
}
bool tn_dtype_is_integer(tn_dtype dtype) {
    return dtypes[dtype].kind == 'i' || dtypes[dtype].kind == 'u';
}
int tn_dtype_bits(tn_dtype dtype) {
    return dtypes[dtype].bits;
}
