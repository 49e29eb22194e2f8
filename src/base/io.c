/* Files, clocks and log lines. See io.h. */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

tn_status tn_file_map_descriptor(tn_file_map *m, int fd, const char *path, tn_error *err) {
    struct stat st;
    *m = (tn_file_map){0};
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return tn_error_set(err, TN_IO, "%s: not a regular file", path);
    if (st.st_size) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            return tn_error_set(err, TN_IO, "%s: cannot map: %s", path, strerror(errno));
        m->data = p;
    }
    m->size = (size_t)st.st_size;
    m->device = (uint64_t)st.st_dev;
    m->inode = (uint64_t)st.st_ino;
    m->mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
    return TN_OK;
}

tn_status tn_file_map_open(tn_file_map *m, const char *path, tn_error *err) {
    *m = (tn_file_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return tn_error_set(err, errno == ENOENT ? TN_NOT_FOUND : TN_IO, "%s: %s", path,
                            strerror(errno));
    tn_status status = tn_file_map_descriptor(m, fd, path, err);
    close(fd);
    return status;
}

void tn_file_map_close(tn_file_map *m) {
    if (m->data) munmap((void *)(uintptr_t)m->data, m->size);
    *m = (tn_file_map){0};
}

void tn_file_map_drop(const tn_file_map *m) {
    if (m->data) (void)madvise((void *)(uintptr_t)m->data, m->size, MADV_DONTNEED);
}

static bool write_all(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        data += n;
        size -= (size_t)n;
    }
    return true;
}

static bool write_parts(int fd, const tn_file_part *part, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!write_all(fd, part[i].data, part[i].size)) return false;
    return true;
}

/* A device or a pipe is written to; a file in its place would take it from all others. */
static bool is_stream(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

static tn_status write_stream(const char *path, const tn_file_part *part, size_t count,
                              tn_error *err) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write_parts(fd, part, count);
    int why = errno;
    if (fd >= 0 && close(fd) != 0 && ok) {
        ok = false;
        why = errno;
    }
    return ok ? TN_OK : tn_error_set(err, TN_IO, "%s: cannot write: %s", path, strerror(why));
}

tn_status tn_file_write(const char *path, const void *data, size_t size, bool durable,
                        tn_error *err) {
    return tn_file_write_parts(path, &(tn_file_part){data, size}, 1, durable, err);
}

tn_status tn_file_write_parts(const char *path, const tn_file_part *part, size_t count,
                              bool durable, tn_error *err) {
    char name[4096];
    if (is_stream(path)) return write_stream(path, part, count, err);
    int len = snprintf(name, sizeof name, "%s.tmp.XXXXXX", path);
    if (len < 0 || (size_t)len >= sizeof name)
        return tn_error_set(err, TN_INVALID, "%s: the path is too long", path);
    int fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0) return tn_error_set(err, TN_IO, "%s: cannot create: %s", path, strerror(errno));
    bool ok = fchmod(fd, 0644) == 0 && write_parts(fd, part, count) && (!durable || fsync(fd) == 0);
    int why = errno;
    if (close(fd) != 0 && ok) {
        ok = false;
        why = errno;
    }
    if (ok && rename(name, path) != 0) {
        ok = false;
        why = errno;
    }
    if (ok) return TN_OK;
    unlink(name);
    return tn_error_set(err, TN_IO, "%s: cannot write: %s", path, strerror(why));
}

tn_status tn_make_dirs(const char *path, unsigned mode, tn_error *err) {
    char name[4096];
    size_t len = strlen(path);
    if (len >= sizeof name) return tn_error_set(err, TN_INVALID, "%s: the path is too long", path);
    memcpy(name, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (name[i] != '/' && name[i] != 0) continue;
        char c = name[i];
        name[i] = 0;
        if (mkdir(name, mode) != 0 && errno != EEXIST)
            return tn_error_set(err, TN_IO, "%s: cannot create: %s", name, strerror(errno));
        name[i] = c;
    }
    return TN_OK;
}

tn_hash128 tn_boot_id(void) {
    char text[64];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
    if (fd >= 0) close(fd);
    return n > 0 ? tn_hash128_of(text, (size_t)n) : (tn_hash128){0};
}

double tn_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static tn_log_level log_level = TN_LOG_WARN;

void tn_log_set_level(tn_log_level level) {
    log_level = level;
}
bool tn_log_enabled(tn_log_level level) {
    return level <= log_level;
}

void tn_log_write(tn_log_level level, const char *format, ...) {
    if (!tn_log_enabled(level)) return;
    char line[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    fprintf(stderr, "tenon: %s%s\n",
            level == TN_LOG_ERROR  ? "error: "
            : level == TN_LOG_WARN ? "warning: "
                                   : "",
            line);
}
