/* Files and folders of checkpoints. See checkpoint_inner.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "nn/checkpoint_inner.h"

enum { CHUNK = 1 << 20 }; /* hashed and written while it is in the caches */

tn_status tn__path(char out[TN__PATH], const char *a, const char *b, tn_error *err) {
    int n = snprintf(out, TN__PATH, "%s/%s", a, b);
    if (n > 0 && n < TN__PATH) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%.200s…: the path is too long", a);
}

/* ---- files ---------------------------------------------------------------------------------- */

tn_status tn__out_open(tn__out *o, const char *path, tn_error *err) {
    *o = (tn__out){.fd = -1};
    if (snprintf(o->path, sizeof o->path, "%s", path) >= (int)sizeof o->path)
        return tn_error_set(err, TN_INVALID, "%.200s…: the path is too long", path);
    o->hash = XXH3_createState();
    if (!o->hash) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    XXH3_128bits_reset(o->hash);
    o->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (o->fd >= 0) return TN_OK;
    tn_status status = tn_error_set(err, TN_IO, "%s: cannot create: %s", path, strerror(errno));
    XXH3_freeState(o->hash);
    return status;
}

tn_status tn__out_write(void *out, const void *data, size_t size, tn_error *err) {
    tn__out *o = out;
    const char *at = data;
    while (size) {
        size_t n = TN_MIN(size, CHUNK), left = n;
        XXH3_128bits_update(o->hash, at, n);
        while (left) {
            ssize_t written = write(o->fd, at, left);
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0)
                return tn_error_set(err, TN_IO, "%s: cannot write: %s", o->path,
                                    written < 0 ? strerror(errno) : "nothing was written");
            at += written;
            left -= (size_t)written;
        }
        o->bytes += n;
        size -= n;
    }
    return TN_OK;
}

tn_status tn__out_close(tn__out *o, tn_status status, tn_hash128 *hash, tn_error *err) {
    XXH128_hash_t h = XXH3_128bits_digest(o->hash);
    if (hash) *hash = (tn_hash128){h.low64, h.high64};
    XXH3_freeState(o->hash);
    if (status == TN_OK && fsync(o->fd) != 0)
        status = tn_error_set(err, TN_IO, "%s: cannot sync: %s", o->path, strerror(errno));
    if (close(o->fd) != 0 && status == TN_OK)
        status = tn_error_set(err, TN_IO, "%s: cannot write: %s", o->path, strerror(errno));
    return status;
}

/* ---- folders -------------------------------------------------------------------------------- */

tn_status tn__sync_folder(const char *path, tn_error *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    int why = errno;
    if (fd >= 0) close(fd);
    return ok ? TN_OK : tn_error_set(err, TN_IO, "%s: cannot sync: %s", path, strerror(why));
}

void tn__remove_folder(const char *path) {
    DIR *folder = opendir(path);
    for (struct dirent *e; folder && (e = readdir(folder));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            (void)unlinkat(dirfd(folder), e->d_name, 0);
    if (folder) closedir(folder);
    (void)rmdir(path);
}
