/* External data: files beneath the model's folder (tn_file_map_beneath), each mapped once. */
#include "import/onnx/files.h"

#include <errno.h>
#include <sys/mman.h>

void tn_onnx_folder_init(tn_onnx_folder *f, tn_import *import, tn_arena *arena, const char *path) {
    *f = (tn_onnx_folder){.import = import, .arena = arena, .path = path};
}

/* The folder part of a path with its last slash; "" when there is none. */
static char *folder_of(tn_arena *arena, const char *path) {
    const char *slash = strrchr(path, '/');
    return tn_arena_printf(arena, "%.*s", slash ? (int)(slash - path + 1) : 0, path);
}

tn_status tn_onnx_folder_find(void *folder, const char *location, tn_onnx_bytes *out,
                              tn_error *err) {
    tn_onnx_folder *f = folder;
    tn_import *import = f->import;
    char *base = folder_of(f->arena, f->path);
    size_t prefix = strlen(base);
    for (uint32_t i = 1; i < import->paths.len; i++)
        if (!strcmp(import->paths.data[i] + prefix, location)) {
            *out = (tn_onnx_bytes){import->maps.data[i].data, import->maps.data[i].size};
            return TN_OK;
        }
    /* Room first: nothing below may unwind while the file is mapped. */
    tn_vec_push(f->arena, &import->paths, tn_arena_printf(f->arena, "%s%s", base, location));
    tn_vec_push(f->arena, &import->maps, (tn_file_map){0});
    tn_file_map *m = &import->maps.data[import->maps.len - 1];
    tn_status status = tn_file_map_beneath(m, base, location, TN_BENEATH_HUB, err);
    *out = (tn_onnx_bytes){m->data, m->size};
    if (status == TN_OK) return TN_OK;
    import->paths.len--;
    import->maps.len--;
    tn_error_push(err, "external data");
    return status;
}

tn_status tn_onnx_folder_zeros(void *folder, size_t size, tn_onnx_bytes *out, tn_error *err) {
    static const size_t most_zeros = (size_t)1 << 36;
    tn_onnx_folder *f = folder;
    if (size > most_zeros)
        return tn_error_set(err, TN_UNSUPPORTED, "%zu bytes of data are not there", size);
    if (!f->import->zeros.data) {
        void *p =
            mmap(NULL, most_zeros, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            return tn_error_set(err, TN_OUT_OF_MEMORY, "%zu bytes: %s", size, strerror(errno));
        f->import->zeros = (tn_file_map){.data = p, .size = most_zeros};
    }
    *out = (tn_onnx_bytes){f->import->zeros.data, size};
    return TN_OK;
}
