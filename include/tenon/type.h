/* Data types and limits shared by every layer. */
#ifndef TENON_TYPE_H
#define TENON_TYPE_H

#include <stdbool.h>
#include <tenon/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* DTYPE(name, kind, bits): kind is f (float), i (signed), u (unsigned) or b (bool).
 * In memory every element takes at least one byte: i4, u4, i2, u2 and f4 are held one per byte,
 * value in the low bits (sign extended for i4, i2); only files pack them. */
#define TN_DTYPES(DTYPE)                                                                           \
    DTYPE(f64, f, 64)                                                                              \
    DTYPE(f32, f, 32)                                                                              \
    DTYPE(f16, f, 16)                                                                              \
    DTYPE(bf16, f, 16)                                                                             \
    DTYPE(f8e4m3fn, f, 8)                                                                          \
    DTYPE(f8e4m3fnuz, f, 8)                                                                        \
    DTYPE(f8e5m2, f, 8)                                                                            \
    DTYPE(f8e5m2fnuz, f, 8)                                                                        \
    DTYPE(f8e8m0, f, 8)                                                                            \
    DTYPE(f4e2m1, f, 4)                                                                            \
    DTYPE(i64, i, 64)                                                                              \
    DTYPE(i32, i, 32)                                                                              \
    DTYPE(i16, i, 16)                                                                              \
    DTYPE(i8, i, 8)                                                                                \
    DTYPE(i4, i, 4)                                                                                \
    DTYPE(i2, i, 2)                                                                                \
    DTYPE(u64, u, 64)                                                                              \
    DTYPE(u32, u, 32)                                                                              \
    DTYPE(u16, u, 16)                                                                              \
    DTYPE(u8, u, 8)                                                                                \
    DTYPE(u4, u, 4)                                                                                \
    DTYPE(u2, u, 2)                                                                                \
    DTYPE(bool, b, 1)

typedef enum tn_dtype {
#define DTYPE(name, kind, bits) TN_##name,
    TN_DTYPES(DTYPE)
#undef DTYPE
        TN_DTYPE_COUNT
} tn_dtype;

enum { TN_MAX_RANK = 12 };

TN_API const char *tn_dtype_name(tn_dtype dtype);
/* Finds a type by its name; returns false when there is none. */
TN_API bool tn_dtype_parse(const char *name, tn_dtype *out);
/* Bytes of one element in memory. */
TN_API size_t tn_dtype_size(tn_dtype dtype);
TN_API bool tn_dtype_is_float(tn_dtype dtype);
TN_API bool tn_dtype_is_signed(tn_dtype dtype);   /* i64 … i2 */
TN_API bool tn_dtype_is_unsigned(tn_dtype dtype); /* u64 … u2; not bool */
TN_API bool tn_dtype_is_integer(tn_dtype dtype);  /* signed or unsigned, not bool */
/* Significant bits of one element: 4 for i4, 1 for bool. */
TN_API int tn_dtype_bits(tn_dtype dtype);

/* An input or output of a model that is not one tensor. Its structure is known when the model is
 * compiled, so it is a run of inputs or outputs: NAME[0], NAME[1], …; NAME for an optional tensor. */
typedef enum tn_compound_kind {
    TN_COMPOUND_SEQUENCE,
    TN_COMPOUND_OPTIONAL,          /* of a tensor: 1 tensor, or absent */
    TN_COMPOUND_OPTIONAL_SEQUENCE, /* of a sequence */
    TN_COMPOUND_KIND_COUNT
} tn_compound_kind;

/* In place of a number of tensors: an optional without a value; not known yet. The most that there may be. */
enum { TN_COMPOUND_ABSENT = -1, TN_COMPOUND_UNKNOWN = -2, TN_COMPOUND_MOST = 2048 };

typedef struct tn_compound {
    const char *name; /* as the model spells it */
    tn_compound_kind kind;
    int first, count; /* the inputs or outputs [first, first + count) are its tensors */
} tn_compound;

/* What an input of the model is bound to that is a compound. */
typedef struct tn_compound_binding {
    const char *name;
    int count;        /* of its tensors, or TN_COMPOUND_ABSENT */
    const int *ranks; /* of each tensor, for a model that does not tell; NULL: it does */
} tn_compound_binding;

/* "a sequence", "an optional", "an optional sequence" */
TN_API const char *tn_compound_kind_name(tn_compound_kind kind);

#ifdef __cplusplus
}
#endif
#endif
