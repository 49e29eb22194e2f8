/* Importing bytes: what has to be bound is bound once, with small numbers, and imported again. */
#ifndef TENON_FUZZ_IMPORT_ONNX_H
#define TENON_FUZZ_IMPORT_ONNX_H

#include <stdlib.h>

#include "base/base.h"
#include "import/onnx/onnx.h"

enum { MOST = 16 };

typedef struct round {
    tn_import_dim dims[MOST];
    tn_import_value values[MOST];
    tn_import_options options;
} round_of;

static inline void check_import(const tn_import *import) {
    tn_error err = TN_ERROR_INIT;
    if (import->graph && tn_graph_verify(import->graph, NULL, &err) != TN_OK)
        TN_BUG("an imported graph is wrong: %s", err.message);
}

static inline tn_status import_once(const uint8_t *data, size_t size,
                                    const tn_import_options *options, tn_arena *arena,
                                    tn_import *out) {
    tn_error err = TN_ERROR_INIT;
    tn_arena_init(arena, tn_allocator_system());
    arena->limit = (size_t)256 << 20;
    return tn_import_onnx_bytes(data, size, options, arena, out, &err);
}

/* What the first round asked for: sizes are 3, the inputs' values 2. */
static inline void answer(const tn_import *import, tn_arena *arena, round_of *r) {
    r->options = (tn_import_options){.dims = r->dims, .values = r->values};
    for (uint32_t i = 0; i < import->need_dims.len && i < MOST; i++)
        r->dims[r->options.dim_count++] = (tn_import_dim){import->need_dims.data[i], 3};
    for (uint32_t i = 0; i < import->need_values.len && i < MOST; i++)
        for (uint32_t k = 0; k < import->inputs.len; k++) {
            const tn_import_port *p = &import->inputs.data[k];
            int64_t dim[TN_MAX_RANK];
            if (strcmp(p->name, import->need_values.data[i]) || r->options.value_count == MOST)
                continue;
            for (int d = 0; d < p->type.shape.rank; d++)
                dim[d] =
                    tn_dim_is_const(p->type.shape.dim[d]) ? TN_MIN(p->type.shape.dim[d], 4) : 2;
            tn_array a = tn_array_new(arena, p->type.dtype, p->type.shape.rank, dim);
            for (int64_t e = 0; e < tn_array_count(&a); e++)
                tn_array_set(&a, e, tn_cell_of(a.dtype, 2));
            r->values[r->options.value_count++] = (tn_import_value){p->name, a};
        }
}

#endif
