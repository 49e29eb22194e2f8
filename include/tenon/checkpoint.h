/* Tensors in files: safetensors, and checkpoints of a training run.
 *
 *   tn_checkpoint_part parts[] = {{"model", parameters, n}, {"optimizer", state, m}};
 *   tn_named_blob blobs[] = {{"loader", &position, sizeof position}};
 *   tn_checkpoint_content content = {parts, 2, blobs, 1};
 *   tn_checkpoint_save("run", step, &content, NULL, &err);
 *   …
 *   tn_checkpoint_open("run", TN_CHECKPOINT_NEWEST, &c, &err);
 *   tn_checkpoint_load(c, parts, 2, 0, &err);
 *
 * A checkpoint is a folder run/step-N: safetensors files for each part (as Hugging Face's, with an index
 * where there are several), a file for each blob, and manifest.json with the length and the XXH3-128
 * checksum of all of them. It appears whole, by rename, after everything is on disk: whatever stops a
 * save leaves the checkpoints before it as they were. One process at a time saves into a folder. */
#ifndef TENON_CHECKPOINT_H
#define TENON_CHECKPOINT_H

#include <tenon/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- files of tensors ----------------------------------------------------------------------- */

/* Evaluates the tensors and writes one safetensors file, which replaces `path` when it is whole. Names
 * are UTF-8 and differ. Types that the format lacks (i4, u4, i2, u2) are an error. */
TN_API tn_status tn_tensors_save(const char *path, const tn_named_tensor *tensors, int count,
                                 tn_error *err) TN_MUST_USE;

typedef struct tn_tensor_file tn_tensor_file;

/* PATH is a safetensors file, an index of several (….safetensors.index.json), or a folder with
 * model.safetensors or its index. Files are mapped: they must not change while it is open. */
TN_API tn_status tn_tensor_file_open(const char *path, tn_tensor_file **out,
                                     tn_error *err) TN_MUST_USE;
TN_API void tn_tensor_file_release(tn_tensor_file *file);

typedef struct tn_tensor_info {
    const char *name; /* borrowed from the file */
    tn_dtype dtype;
    int rank;
    int64_t dim[TN_MAX_RANK];
} tn_tensor_info;
TN_API int tn_tensor_file_count(const tn_tensor_file *file);
/* In the order of the data in the file. */
TN_API tn_status tn_tensor_file_info(const tn_tensor_file *file, int i, tn_tensor_info *out);
/* A new tensor, copied from the file. */
TN_API tn_status tn_tensor_file_get(const tn_tensor_file *file, tn_context *context,
                                    const char *name, tn_tensor **out, tn_error *err) TN_MUST_USE;

/* What loading does not insist on. */
enum {
    TN_LOAD_ALLOW_MISSING = 1, /* tensors that the file lacks stay as they are */
    TN_LOAD_ALLOW_UNUSED = 2,  /* tensors of the file that are not asked for */
};
/* Assigns each tensor the one of its name, which must have its shape and type. All are found and read
 * first: when something is wrong, none is changed. */
TN_API tn_status tn_tensor_file_load(const tn_tensor_file *file, const tn_named_tensor *tensors,
                                     int count, int flags, tn_error *err) TN_MUST_USE;

/* ---- checkpoints ---------------------------------------------------------------------------- */

/* Names of parts and blobs: letters, digits, '_', '-' and '.', not first; up to 64. */
typedef struct tn_checkpoint_part {
    const char *name;
    const tn_named_tensor *tensors;
    int count;
} tn_checkpoint_part;

typedef struct tn_named_blob {
    const char *name;
    const void *data;
    size_t size;
} tn_named_blob;

typedef struct tn_checkpoint_content {
    const tn_checkpoint_part *parts;
    int part_count;
    const tn_named_blob *blobs;
    int blob_count;
} tn_checkpoint_content;

typedef struct tn_checkpoint_options {
    size_t size;          /* sizeof(tn_checkpoint_options) */
    int keep;             /* how many complete checkpoints stay; older ones are removed after the
                             new one is complete. 0: all */
    uint64_t shard_bytes; /* a part is cut into files of at most this much; 0: 5·10⁹ */
} tn_checkpoint_options;
#define TN_CHECKPOINT_OPTIONS_INIT                                                                 \
    { .size = sizeof(tn_checkpoint_options) }

/* Evaluates all tensors and writes folder/step-<step>, which may exist already. Makes the folder, and
 * removes what an interrupted save has left there. `options` may be NULL. */
TN_API tn_status tn_checkpoint_save(const char *folder, int64_t step,
                                    const tn_checkpoint_content *content,
                                    const tn_checkpoint_options *options,
                                    tn_error *err) TN_MUST_USE;

typedef struct tn_checkpoint tn_checkpoint;

#define TN_CHECKPOINT_NEWEST (-1)
/* Opens a checkpoint, all files checked against the manifest. The newest is the newest that is complete:
 * damaged ones are passed over with a warning. TN_NOT_FOUND: there is none. */
TN_API tn_status tn_checkpoint_open(const char *folder, int64_t step, tn_checkpoint **out,
                                    tn_error *err) TN_MUST_USE;
TN_API void tn_checkpoint_release(tn_checkpoint *checkpoint);
TN_API int64_t tn_checkpoint_step(const tn_checkpoint *checkpoint);
/* The tensors of a part, borrowed; NULL: there is no such part. */
TN_API const tn_tensor_file *tn_checkpoint_tensors(const tn_checkpoint *checkpoint,
                                                   const char *part);
/* As tn_tensor_file_load, for several parts: when something is wrong with one, none is changed. */
TN_API tn_status tn_checkpoint_load(const tn_checkpoint *checkpoint,
                                    const tn_checkpoint_part *parts, int part_count, int flags,
                                    tn_error *err) TN_MUST_USE;
/* The bytes live as long as the checkpoint is open. */
TN_API tn_status tn_checkpoint_blob(const tn_checkpoint *checkpoint, const char *name,
                                    const void **data, size_t *size, tn_error *err) TN_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
