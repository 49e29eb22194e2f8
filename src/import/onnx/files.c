/* External data: only regular files beneath the model's folder, reached without symbolic links and
 * with one name (a second name could lead to a file elsewhere). */
#include "import/onnx/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void tn_onnx_folder_init(tn_onnx_folder *f, tn_import *import, tn_arena *arena, const char *path) {
    *f = (tn_onnx_folder){.fd = -1, .import = import, .arena = arena, .path = path};
}

void tn_onnx_folder_deinit(tn_onnx_folder *f) {
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
}

/* The folder part of a path with its last slash; "" when there is none. */
static char *folder_of(tn_arena *arena, const char *path) {
    const char *slash = strrchr(path, '/');
    return tn_arena_printf(arena, "%.*s", slash ? (int)(slash - path + 1) : 0, path);
}

static bool is_beneath(const char *location) {
    if (location[0] == '/' || !location[0]) return false;
    for (const char *at = location; at; at = strchr(at, '/')) {
        at += *at == '/';
        if (at[0] == '.' && at[1] == '.' && (at[2] == '/' || !at[2])) return false;
        if (!strchr(at, '/')) break;
    }
    return true;
}

/* openat of one component, which must not be a symbolic link: that is ELOOP. */
static int open_step(int folder, const char *name, bool last) {
    int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (last ? 0 : O_DIRECTORY);
    int fd = openat(folder, name, flags);
    if (fd < 0 && errno == ENOTDIR) { /* a link that should be a folder says this too */
        struct stat st;
        bool link = fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
        errno = link ? ELOOP : ENOTDIR;
    }
    return fd;
}

/* Without openat2: one component after the other. */
static int open_by_steps(int folder, const char *location) {
    char name[256];
    int at = dup(folder);
    while (at >= 0) {
        size_t len = strcspn(location, "/");
        if (len >= sizeof name) {
            close(at);
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(name, location, len);
        name[len] = 0;
        bool last = !location[len];
        int next = open_step(at, len ? name : ".", last), why = errno;
        close(at);
        errno = why;
        if (last) return next;
        at = next;
        location += len + 1;
    }
    return -1;
}

static int open_beneath(int folder, const char *location) {
    struct open_how how = {
        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
    };
    int fd = (int)syscall(SYS_openat2, folder, location, &how, sizeof how);
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM && errno != E2BIG)) return fd;
    return open_by_steps(folder, location);
}

static tn_status map_file(int fd, const char *location, tn_file_map *m, tn_error *err) {
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return tn_error_set(err, TN_INVALID, "external data '%s': not a regular file", location);
    if (st.st_nlink != 1)
        return tn_error_set(err, TN_INVALID,
                            "external data '%s': the file has %lu names; copy it, so that it "
                            "cannot be a file of another folder",
                            location, (unsigned long)st.st_nlink);
    m->size = (size_t)st.st_size;
    m->device = (uint64_t)st.st_dev;
    m->inode = (uint64_t)st.st_ino;
    m->mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
    if (!m->size) return TN_OK;
    void *p = mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return tn_error_set(err, TN_IO, "external data '%s': cannot map: %s", location,
                            strerror(errno));
    m->data = p;
    return TN_OK;
}

tn_status tn_onnx_folder_find(void *folder, const char *location, tn_onnx_bytes *out,
                              tn_error *err) {
    tn_onnx_folder *f = folder;
    tn_import *import = f->import;
    if (!is_beneath(location))
        return tn_error_set(err, TN_INVALID,
                            "external data '%s': only files beneath the model's folder are read",
                            location);
    char *path = folder_of(f->arena, f->path);
    size_t prefix = strlen(path);
    for (uint32_t i = 1; i < import->paths.len; i++)
        if (!strcmp(import->paths.data[i] + prefix, location)) {
            *out = (tn_onnx_bytes){import->maps.data[i].data, import->maps.data[i].size};
            return TN_OK;
        }
    if (f->fd < 0) f->fd = open(*path ? path : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    /* Room first: nothing below may unwind while the file is open. */
    path = tn_arena_printf(f->arena, "%s%s", path, location);
    tn_vec_push(f->arena, &import->paths, path);
    tn_vec_push(f->arena, &import->maps, (tn_file_map){0});
    int fd = f->fd < 0 ? -1 : open_beneath(f->fd, location);
    if (fd < 0) {
        int why = errno;
        import->paths.len--;
        import->maps.len--;
        bool outside = why == EXDEV || why == ELOOP;
        return tn_error_set(
            err, outside ? TN_INVALID : TN_NOT_FOUND, "external data '%s': %s", location,
            outside ? "a symbolic link, or outside the model's folder" : strerror(why));
    }
    tn_file_map *m = &import->maps.data[import->maps.len - 1];
    tn_status status = map_file(fd, location, m, err);
    close(fd);
    *out = (tn_onnx_bytes){m->data, m->size};
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
