/* For the files of tenon/checkpoint.h.
 *
 * tensor_file.c reads tensors, tensor_save.c writes them; checkpoint_file.c is files and folders,
 * checkpoint_manifest.c what a checkpoint consists of, checkpoint_save.c and checkpoint.c the rest. */
#ifndef TENON_NN_CHECKPOINT_INNER_H
#define TENON_NN_CHECKPOINT_INNER_H

#include <tenon/checkpoint.h>

#include "import/safetensors.h"
#include "nn/lazy.h"

/* ---- checkpoint_file.c: files that are hashed while they are written, folders -------------------- */

enum { TN__PATH = 4096 };
/* "a/b" */
tn_status tn__path(char out[TN__PATH], const char *a, const char *b, tn_error *err);

typedef struct tn__out {
    int fd;
    char path[TN__PATH];
    uint64_t bytes;
    struct XXH3_state_s *hash;
} tn__out;
/* A new file; what was there goes. */
tn_status tn__out_open(tn__out *o, const char *path, tn_error *err);
/* A tn_safetensors_sink. */
tn_status tn__out_write(void *out, const void *data, size_t size, tn_error *err);
/* Syncs and closes; when `status` is an error, only closes. Returns the first error. */
tn_status tn__out_close(tn__out *o, tn_status status, tn_hash128 *hash, tn_error *err);

tn_status tn__sync_folder(const char *path, tn_error *err);
/* The folder and the files in it, as far as that can be done. */
void tn__remove_folder(const char *path);

/* ---- tensor_save.c --------------------------------------------------------------------------- */

/* Evaluated tensors, held while they are written: other threads may assign them meanwhile. */
typedef struct tn__snapshot {
    tn_context *context;
    int count;
    tn_import_entry *entry; /* names are borrowed */
    tn__storage **storage;
} tn__snapshot;
tn_status tn__snapshot_take(tn__snapshot *s, const tn_named_tensor *tensors, int count,
                            tn_error *err);
void tn__snapshot_release(tn__snapshot *s);
tn_status tn__snapshot_write(const tn__snapshot *s, int first, int count, const char *path,
                             uint64_t *bytes, tn_hash128 *hash, tn_error *err);

/* ---- tensor_file.c --------------------------------------------------------------------------- */

/* Several files as one; `folder` is before each name. */
tn_status tn__tensor_file_open(const char *folder, const char *const *names, int count,
                               tn_tensor_file **out, tn_error *err);

/* Tensors that are read, and not assigned yet. */
typedef struct tn__loading {
    int count, room;
    tn_tensor **to, **from;
} tn__loading;
tn_status tn__loading_add(tn__loading *l, const tn_tensor_file *file,
                          const tn_named_tensor *tensors, int count, int flags, tn_error *err);
/* Assigns all when `status` is TN_OK; in any case nothing is left. */
void tn__loading_end(tn__loading *l, tn_status status);

/* ---- checkpoint_manifest.c ------------------------------------------------------------------- */

#define TN__MANIFEST "manifest.json"

typedef struct tn__manifest_file {
    const char *name;
    uint64_t bytes;
    tn_hash128 hash;
    const char *part, *blob; /* whose it is; NULL: nobody's */
} tn__manifest_file;

/* Files of a part are in their order. */
typedef struct tn__manifest {
    tn_arena arena;
    int64_t step;
    TN_VEC(tn__manifest_file) files;
} tn__manifest;

void tn__manifest_init(tn__manifest *m, int64_t step);
void tn__manifest_deinit(tn__manifest *m);
/* Copies the texts. */
tn_status tn__manifest_add(tn__manifest *m, const tn__manifest_file *file, tn_error *err);
tn_status tn__manifest_write(const tn__manifest *m, const char *folder, tn_error *err);
/* Reads it and looks at each file: its length, and its bytes when `bytes`. */
tn_status tn__manifest_read(tn__manifest *m, const char *folder, int64_t step, bool bytes,
                            tn_error *err);
bool tn__checkpoint_name_ok(const char *name);

/* ---- checkpoint.c ---------------------------------------------------------------------------- */

/* "folder/step-N" */
tn_status tn__step_path(char out[TN__PATH], const char *folder, int64_t step, tn_error *err);
/* The step in "step-N"; −1: another name. */
int64_t tn__step_of(const char *name);
/* Steps that have a folder, newest first; to be freed. A folder that is not there has none. */
tn_status tn__steps_in(const char *folder, int64_t **out, int *count, tn_error *err);

#endif
