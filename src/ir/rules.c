/* The table of rules: one object of src/ops per operation. See rules.h. */
#include "ir/rules.h"

const tn_op_rules *tn_op_rules_of(tn_op op) {
    static const tn_op_rules *const table[TN_OP_COUNT] = {
#define OP(name, family, lo, hi, outs, fields) &tn_rules_##name,
#include "ir/ops.def"
#undef OP
    };
    TN_ASSERT((unsigned)op < TN_OP_COUNT);
    return table[op];
}
