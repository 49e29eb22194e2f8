/* Files that other files name: opened beneath a folder, and nowhere else. See io.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"

/* Relative, and no step of it leads up. */
static bool leads_down(const char *name) {
    if (!*name || *name == '/') return false;
    for (const char *at = name; *at;) {
        size_t len = strcspn(at, "/");
        if (len == 2 && at[0] == '.' && at[1] == '.') return false;
        at += len;
        at += strspn(at, "/");
    }
    return true;
}

/* openat of one component, which must not be a symbolic link: that is ELOOP. */
static int open_step(int folder, const char *name, bool last) {
    int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int fd = openat(folder, name, flags | (last ? 0 : O_DIRECTORY));
    if (fd < 0 && errno == ENOTDIR) { /* a link that should be a folder says this too */
        struct stat st;
        bool link = fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
        errno = link ? ELOOP : ENOTDIR;
    }
    return fd;
}

int tn__open_by_steps(int folder, const char *name) {
    char step[256];
    int at = fcntl(folder, F_DUPFD_CLOEXEC, 0);
    while (at >= 0) {
        size_t len = strcspn(name, "/");
        int next = -1, why = ENAMETOOLONG;
        bool last = !name[len];
        if (len < sizeof step) {
            memcpy(step, name, len);
            step[len] = 0;
            next = open_step(at, len ? step : ".", last);
            why = errno;
        }
        close(at);
        errno = why;
        if (last || next < 0) return next;
        at = next;
        name += len + 1;
    }
    return -1;
}

/* `beneath`: RESOLVE_BENEATH, or 0 for a name that may lead up. No component is a link. */
static int open_without_links(int folder, const char *name, uint64_t beneath) {
    struct open_how how = {
        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
        .resolve = beneath | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int fd = (int)syscall(SYS_openat2, folder, name, &how, sizeof how);
    bool unknown = errno == ENOSYS || errno == EPERM || errno == E2BIG || errno == EINVAL;
    return fd < 0 && unknown ? tn__open_by_steps(folder, name) : fd;
}

/* Where the cache of the Hugging Face hub keeps what `name`, a file of the folder itself, is a link to: from
 * snapshots/REVISION, or a folder or two below, up to "blobs/" and the hash of its contents in hex. Or false. */
static bool is_hub_link(int folder, const char *name, char blob[256]) {
    static const char hex[] = "0123456789abcdef", blobs[] = "blobs/";
    ssize_t len = readlinkat(folder, name, blob, 255);
    if (len < 0 || len == 255) return false;
    blob[len] = 0;
    const char *at = blob;
    int up = 0;
    for (; !strncmp(at, "../", 3); at += 3) up++;
    if (up < 2 || up > 4 || strncmp(at, blobs, strlen(blobs))) return false;
    at += strlen(blobs);
    size_t digits = strspn(at, hex);
    return (digits == 40 || digits == 64) && !at[digits];
}

/* The absolute name of file `name` in `folder`, not of what it is a link to; NULL and errno. */
static char *name_in(const char *folder, const char *name) {
    char *full = realpath(folder, NULL);
    size_t len = full ? strlen(full) : 0;
    char *longer = full ? realloc(full, len + strlen(name) + 2) : NULL;
    if (!longer) {
        free(full);
        return NULL;
    }
    sprintf(longer + len, "%s%s", longer[len - 1] == '/' ? "" : "/", name);
    return longer;
}

tn_status tn_file_absolute(const char *path, char **out, tn_error *err) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char blob[256], *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int at = folder ? open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    bool hub = at >= 0 && is_hub_link(at, name, blob);
    *out = !folder ? NULL : hub ? name_in(folder, name) : realpath(path, NULL);
    int why = errno;
    if (at >= 0) close(at);
    free(folder);
    if (*out) return TN_OK;
    tn_status status = why == ENOMEM ? TN_OUT_OF_MEMORY : why == ENOENT ? TN_NOT_FOUND : TN_IO;
    return tn_error_set(err, status, "%s: %s", path, strerror(why));
}

/* What such a link in `folder` or beneath it leads to; -1 and errno: ELOOP where it is none. */
static int open_hub_link(int folder, const char *name) {
    char blob[256], parent[512] = ".";
    const char *slash = strrchr(name, '/');
    bool fits = !slash || (size_t)(slash - name) < sizeof parent;
    if (slash && fits) snprintf(parent, sizeof parent, "%.*s", (int)(slash - name), name);
    int at = fits ? open_without_links(folder, parent, RESOLVE_BENEATH) : -1;
    bool hub = at >= 0 && is_hub_link(at, slash ? slash + 1 : name, blob);
    int fd = hub ? open_without_links(at, blob, 0) : -1, why = hub ? errno : ELOOP;
    if (at >= 0) close(at);
    errno = why;
    return fd;
}

static tn_status refuse(const char *path, int why, tn_error *err) {
    if (why == EXDEV || why == ELOOP)
        return tn_error_set(
            err, TN_INVALID,
            "%s: a symbolic link on its way, or outside the folder of the file that "
            "names it; put the file itself there (cp -L)",
            path);
    bool absent = why == ENOENT || why == ENOTDIR;
    return tn_error_set(err, absent ? TN_NOT_FOUND : TN_IO, "%s: %s", path, strerror(why));
}

static tn_status map_single(tn_file_map *m, int fd, const char *path, unsigned flags,
                            tn_error *err) {
    struct stat st;
    bool shared = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink > 1;
    if (shared && !(flags & TN_BENEATH_SHARED))
        return tn_error_set(err, TN_INVALID,
                            "%s: the file has %lu names (hard links) and may be one of another "
                            "folder; put a copy in its place",
                            path, (unsigned long)st.st_nlink);
    return tn_file_map_descriptor(m, fd, path, err);
}

tn_status tn_file_map_beneath(tn_file_map *m, const char *folder, const char *name, unsigned flags,
                              tn_error *err) {
    char path[512]; /* for messages */
    size_t len = strlen(folder);
    *m = (tn_file_map){0};
    snprintf(path, sizeof path, "%s%s%.200s", folder, len && folder[len - 1] != '/' ? "/" : "",
             name);
    if (!leads_down(name))
        return tn_error_set(err, TN_INVALID,
                            "'%.200s': only files beneath the folder of the file that names them "
                            "are read",
                            name);
    int at = open(len ? folder : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = at < 0 ? -1 : open_without_links(at, name, RESOLVE_BENEATH), why = errno;
    if (fd < 0 && at >= 0 && why == ELOOP && flags & TN_BENEATH_HUB) {
        fd = open_hub_link(at, name);
        why = errno;
    }
    if (at >= 0) close(at);
    tn_status status = fd < 0 ? refuse(path, why, err) : map_single(m, fd, path, flags, err);
    if (fd >= 0) close(fd);
    return status;
}
