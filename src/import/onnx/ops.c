/* Finding a row of the table of operators. See ops.h. */
#include "import/onnx/ops.h"

static const tn_onnx_rows *const tables[] = {
#define T(topic) &tn__onnx_ops_##topic,
    TN_ONNX_TABLES(T)
#undef T
};

const tn_onnx_op *tn_onnx_op_find(const char *domain, const char *name, int64_t version,
                                  bool *known) {
    *known = false;
    for (size_t t = 0; t < TN_COUNT(tables); t++) {
        if (strcmp(tables[t]->domain, domain)) continue;
        for (size_t i = 0; i < tables[t]->count; i++) {
            const tn_onnx_op *op = &tables[t]->at[i];
            if (strcmp(op->name, name)) continue;
            *known = true;
            if (op->since <= version && version <= op->until) return op;
        }
    }
    return NULL;
}
