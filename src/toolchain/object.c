/* Loading shared objects from the cache or from memory. See object.h. */
#include "toolchain/object.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "toolchain/process.h"

static bool load(tn_object *o, const char *path) {
    o->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    return o->handle != NULL;
}

static tn_status load_error(tn_error *err) {
    const char *why = dlerror();
    return tn_error_set(err, TN_TOOLCHAIN, "cannot load the compiled kernels: %s",
                        why ? why : "unknown reason");
}

/* The file stays open while the object is loaded: the linker knows objects by their path, and this
 * one is the descriptor's number. */
static bool load_memory(tn_object *o, const void *data, size_t size) {
    char path[64];
    o->fd = memfd_create("tenon-kernels", MFD_CLOEXEC);
    if (o->fd < 0) return false;
    const char *p = data;
    while (size > 0) {
        ssize_t n = write(o->fd, p, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n;
        size -= (size_t)n;
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", o->fd);
    return load(o, path);
}

static bool load_file(tn_object *o, const void *data, size_t size) {
    char folder[4000], path[4096];
    if (tn_temp_folder(folder, sizeof folder, NULL, NULL) != TN_OK) return false;
    snprintf(path, sizeof path, "%s/kernels.so", folder);
    bool ok = tn_file_write(path, data, size, false, NULL) == TN_OK && load(o, path);
    tn_temp_folder_remove(folder);
    return ok;
}

tn_status tn_object_from_bytes(tn_object *o, const void *data, size_t size, tn_error *err) {
    *o = (tn_object)TN_OBJECT_NONE;
    if (load_memory(o, data, size)) return TN_OK;
    tn_object_close(o);
    if (load_file(o, data, size)) return TN_OK;
    return load_error(err);
}

tn_status tn_object_from_cache(tn_object *o, const tn_cache *c, const char *name, tn_error *err) {
    *o = (tn_object)TN_OBJECT_NONE;
    tn_cache_entry entry;
    char path[TN_CACHE_PATH];
    if (!tn_cache_get(c, name, &entry))
        return tn_error_set(err, TN_NOT_FOUND, "the kernels are not in the cache");
    tn_status status = TN_OK;
    /* A folder without execute permission (mount option noexec) still has the bytes. */
    if (!tn_cache_path(c, name, path) || !load(o, path))
        status = tn_object_from_bytes(o, entry.data, entry.size, err);
    tn_cache_entry_close(&entry);
    return status;
}

void *tn_object_symbol(const tn_object *o, const char *name) {
    return o->handle ? dlsym(o->handle, name) : NULL;
}

void tn_object_close(tn_object *o) {
    if (o->handle) dlclose(o->handle);
    if (o->fd >= 0) close(o->fd);
    *o = (tn_object)TN_OBJECT_NONE;
}
