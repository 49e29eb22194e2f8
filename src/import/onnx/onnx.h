/* Import of ONNX models from memory, and of single tensors. See import/import.h for files. */
#ifndef TENON_IMPORT_ONNX_ONNX_H
#define TENON_IMPORT_ONNX_ONNX_H

#include "import/import.h"

/* As tn_import_onnx, without external data; `data` must outlive the graph. */
tn_status tn_import_onnx_bytes(const void *data, size_t size, const tn_import_options *options,
                               tn_arena *arena, tn_import *out, tn_error *err);

#endif
