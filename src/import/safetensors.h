/* The safetensors format, as files are read and written. https://github.com/huggingface/safetensors
 *
 * Eight bytes: the header's length, little-endian. The header: a JSON object of
 * "name": {"dtype", "shape", "data_offsets": [begin, end]} and perhaps "__metadata__", texts by name,
 * padded with spaces to a multiple of 8. Then the elements, row-major, little-endian, without gaps;
 * four-bit floats are packed, the first in the low bits. */
#ifndef TENON_IMPORT_SAFETENSORS_H
#define TENON_IMPORT_SAFETENSORS_H

#include "import/import.h"

typedef struct tn_safetensor {
    const char *name;
    tn_dtype dtype;
    int rank;
    int64_t dim[TN_MAX_RANK];
    const uint8_t *data; /* in the map, not aligned */
    size_t size;         /* bytes in the file */
} tn_safetensor;

typedef struct tn_safetensors_text {
    const char *key, *value;
} tn_safetensors_text;

typedef struct tn_safetensors {
    tn_file_map map;
    TN_VEC(tn_safetensor) tensors; /* in the order of their data */
    TN_VEC(tn_safetensors_text) metadata;
} tn_safetensors;

/* Maps the file; what is not the map lives in `arena`. On failure the map is closed already. The file may
 * be hostile: nothing is believed before it is checked. */
tn_status tn_safetensors_open(const char *path, tn_arena *arena, tn_safetensors *out,
                              tn_error *err);
/* The same of a file that is mapped and now belongs to `out`; `path` is for messages. */
tn_status tn_safetensors_of_map(tn_file_map map, const char *path, tn_arena *arena,
                                tn_safetensors *out, tn_error *err);
void tn_safetensors_close(tn_safetensors *s);
/* The elements as they are in memory; `out` has room for all of them. */
void tn_safetensor_copy(const tn_safetensor *t, void *out);

/* The format's name of a type; NULL: it has none. */
const char *tn_safetensors_dtype(tn_dtype dtype);
/* Where it stands among the types, by alignment, in the order in which files hold them reversed. */
int tn_safetensors_order(tn_dtype dtype);
/* Bytes in the file; false for types that the format lacks and for an odd count of four-bit floats. */
bool tn_safetensors_size(tn_dtype dtype, int64_t count, size_t *out);

typedef tn_status tn_safetensors_sink(void *context, const void *data, size_t size, tn_error *err);
/* Writes a file's bytes from first to last: tensors by alignment and name, as the reference does. */
tn_status tn_safetensors_write(const tn_import_entry *tensors, uint32_t count,
                               const tn_safetensors_text *metadata, uint32_t metadata_count,
                               tn_safetensors_sink *sink, void *context, tn_error *err);

#endif
