/* Attribute structures, made from the fields in ops.def, and their description for the printer, the
 * parser, the hash and substitution. An attribute structure is plain data; unset fields are 0. */
#ifndef TENON_IR_ATTRS_H
#define TENON_IR_ATTRS_H

#include "base/dim.h"

typedef struct tn_graph tn_graph;

typedef enum tn_op {
#define OP(name, family, lo, hi, outs, fields) TN_OP_##name,
#include "ir/ops.def"
#undef OP
    TN_OP_COUNT
} tn_op;

/* ENUM_ROWS(value name) per enum; the text form is the name. */
/* fill: out-of-range reads 0, writes nothing */
#define TN_INDEX_MODES(R)  R(clamp) R(fill) R(error)
#define TN_COMBINES(R)     R(set) R(add) R(mul) R(min) R(max)
#define TN_REDUCE_KINDS(R) R(sum) R(prod) R(max) R(min) R(and) R(or) R(argmax) R(argmin)
typedef enum tn_index_mode {
#define R(name) TN_INDEX_##name,
    TN_INDEX_MODES(R)
#undef R
} tn_index_mode;
typedef enum tn_combine {
#define R(name) TN_COMBINE_##name,
    TN_COMBINES(R)
#undef R
} tn_combine;
typedef enum tn_reduce_kind {
#define R(name) TN_REDUCE_##name,
    TN_REDUCE_KINDS(R)
#undef R
} tn_reduce_kind;

typedef struct tn_ints {
    int count;
    int64_t at[TN_MAX_RANK];
} tn_ints;
static inline bool tn_ints_are(const tn_ints *list, int64_t value) {
    for (int i = 0; i < list->count; i++)
        if (list->at[i] != value) return false;
    return true;
}

typedef struct tn_dim_list {
    int count;
    tn_dim at[TN_MAX_RANK];
} tn_dim_list;

/* The bytes of a constant: borrowed (from a mapped file the graph keeps open) or in the arena.
 * `source` 0: plain bytes, identity is their content; otherwise graph source `source`-1, identity
 * is (that file's identity, offset). */
typedef struct tn_data {
    const void *bytes;
    size_t size;
    uint32_t source;
    uint64_t offset;
} tn_data;

#define I64(f)     int64_t f;
#define BOOL(f)    bool f;
#define DTYPE(f)   tn_dtype f;
#define ENUM(f, T) T f;
#define INTS(f)    tn_ints f;
#define DIM(f)     tn_dim f;
#define DIMS(f)    tn_dim_list f;
#define SHAPE(f)   tn_shape f;
#define GRAPH(f)   tn_graph *f;
#define DATA(f)    tn_data f;
#define OP(name, family, lo, hi, outs, fields)                                                     \
    typedef struct tn_attrs_##name {                                                               \
        fields char end_; /* so that no structure is empty */                                      \
    } tn_attrs_##name;
#include "ir/ops.def"
#undef OP
#undef I64
#undef BOOL
#undef DTYPE
#undef ENUM
#undef INTS
#undef DIM
#undef DIMS
#undef SHAPE
#undef GRAPH
#undef DATA

typedef enum tn_field_kind {
    TN_FIELD_END,
    TN_FIELD_I64,
    TN_FIELD_BOOL,
    TN_FIELD_DTYPE,
    TN_FIELD_ENUM,
    TN_FIELD_INTS,
    TN_FIELD_DIM,
    TN_FIELD_DIMS,
    TN_FIELD_SHAPE,
    TN_FIELD_GRAPH,
    TN_FIELD_DATA,
} tn_field_kind;

typedef struct tn_field {
    const char *name;
    tn_field_kind kind;
    size_t offset;
    const char *const *enum_names; /* TN_FIELD_ENUM; NULL-terminated */
} tn_field;

typedef struct tn_op_info {
    const char *name, *family;
    int in_min, in_max, outs; /* -1: variable */
    size_t attrs_size;
    const tn_field *fields; /* ends with TN_FIELD_END */
} tn_op_info;

const tn_op_info *tn_op_info_of(tn_op op);
bool tn_op_parse(const char *name, tn_op *out);

#endif
