/* Models from memory: the bytes of an ONNX file as a maker. See tenon/session.h. */
#include <stdlib.h>

#include "import/onnx/onnx.h"
#include "session/session.h"

/* Constants of the graphs lie in `data`. */
typedef struct model_bytes {
    size_t size;
    uint8_t data[];
} model_bytes;

static tn_status import_bytes(void *context, const tn_import_options *options, tn_artifact *a,
                              tn_error *err) {
    const model_bytes *b = context;
    return tn_import_onnx_bytes(b->data, b->size, options, &a->arena, &a->import, err);
}

tn_status tn_model_open_bytes(const void *data, size_t size, const tn_model_options *options,
                              tn_model **out, tn_error *err) {
    *out = NULL;
    size_t all;
    model_bytes *b = tn_size_add(size, sizeof *b, &all) ? malloc(all) : NULL;
    if (!b)
        return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory: the model has %zu bytes", size);
    b->size = size;
    if (size) memcpy(b->data, data, size);
    tn_model_maker maker = {.context = b, .import = import_bytes, .release = free};
    return tn_model_from_maker(&maker, options, out, err);
}
