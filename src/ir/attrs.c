/* The operation table, made from ops.def. See attrs.h. */
#include "ir/attrs.h"

#include <stddef.h>

#define R(name) #name,
static const char *const names_tn_index_mode[] = {TN_INDEX_MODES(R) NULL};
static const char *const names_tn_combine[] = {TN_COMBINES(R) NULL};
static const char *const names_tn_reduce_kind[] = {TN_REDUCE_KINDS(R) NULL};
#undef R

/* Each row becomes a block with its own `attrs_t`, so that the field macros need not know the row.
 */
#define FIELD(f, kind, names) {#f, kind, offsetof(attrs_t, f), names},
#define I64(f)                FIELD(f, TN_FIELD_I64, NULL)
#define BOOL(f)               FIELD(f, TN_FIELD_BOOL, NULL)
#define DTYPE(f)              FIELD(f, TN_FIELD_DTYPE, NULL)
#define ENUM(f, T)            FIELD(f, TN_FIELD_ENUM, names_##T)
#define INTS(f)               FIELD(f, TN_FIELD_INTS, NULL)
#define DIM(f)                FIELD(f, TN_FIELD_DIM, NULL)
#define DIMS(f)               FIELD(f, TN_FIELD_DIMS, NULL)
#define SHAPE(f)              FIELD(f, TN_FIELD_SHAPE, NULL)
#define GRAPH(f)              FIELD(f, TN_FIELD_GRAPH, NULL)
#define DATA(f)               FIELD(f, TN_FIELD_DATA, NULL)

const tn_op_info *tn_op_info_of(tn_op op) {
    switch (op) {
#define OP(name, family, lo, hi, outs, fields)                                                     \
    case TN_OP_##name: {                                                                           \
        typedef tn_attrs_##name attrs_t;                                                           \
        static const tn_field list[] = {fields{NULL, TN_FIELD_END, sizeof(attrs_t), NULL}};        \
        static const tn_op_info info = {#name, #family, lo, hi, outs, sizeof(attrs_t), list};      \
        return &info;                                                                              \
    }
#include "ir/ops.def"
#undef OP
    case TN_OP_COUNT:
        break;
    }
    TN_BUG("there is no operation %d", (int)op);
}

bool tn_op_parse(const char *name, tn_op *out) {
    for (tn_op op = 0; op < TN_OP_COUNT; op++) {
        if (strcmp(tn_op_info_of(op)->name, name) != 0) continue;
        *out = op;
        return true;
    }
    return false;
}
