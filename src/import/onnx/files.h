/* The files of a model: itself and its external data, mapped. See files.c. */
#ifndef TENON_IMPORT_ONNX_FILES_H
#define TENON_IMPORT_ONNX_FILES_H

#include "import/import.h"
#include "import/onnx/model.h"

typedef struct tn_onnx_folder {
    tn_import *import;
    tn_arena *arena;
    const char *path; /* of the model */
} tn_onnx_folder;

void tn_onnx_folder_init(tn_onnx_folder *f, tn_import *import, tn_arena *arena, const char *path);

/* tn_onnx_files.find with a tn_onnx_folder: maps a file beneath the folder, once. */
tn_status tn_onnx_folder_find(void *folder, const char *location, tn_onnx_bytes *out,
                              tn_error *err);
/* tn_onnx_files.zeros: one map for all, which is no memory before it is read. */
tn_status tn_onnx_folder_zeros(void *folder, size_t size, tn_onnx_bytes *out, tn_error *err);

#endif
