/* The cache folder and its entries. See cache.h. */
#include "toolchain/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_LIMIT ((uint64_t)2 << 30)
enum { STALE_SECONDS = 3600 };

/* Behind the bytes of an entry. */
typedef struct footer {
    char magic[8];
    uint64_t size;
    tn_hash128 hash;
} footer;
static const char footer_magic[8] = "TNENTRY1";

/* ---- the folder ----------------------------------------------------------------------------- */

static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* False when no place is known. */
static bool choose_folder(char out[TN_CACHE_PATH], const char *folder) {
    const char *base, *below = "";
    if (folder && *folder) {
        base = folder;
    } else if ((base = environment("TENON_CACHE"))) {
        below = "";
    } else if ((base = environment("XDG_CACHE_HOME"))) {
        below = "/tenon";
    } else if ((base = environment("HOME"))) {
        below = "/.cache/tenon";
    } else {
        return false;
    }
    int len = snprintf(out, TN_CACHE_PATH, "%s%s", base, below);
    return len > 0 && len < TN_CACHE_PATH - 128;
}

static uint64_t size_limit(void) {
    const char *text = environment("TENON_CACHE_SIZE");
    if (!text) return DEFAULT_LIMIT;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    int shift = 0;
    if (*end == 'k' || *end == 'K') shift = 10;
    if (*end == 'm' || *end == 'M') shift = 20;
    if (*end == 'g' || *end == 'G') shift = 30;
    if (errno || end == text || end[shift > 0] != 0 || *text == '-' ||
        value > UINT64_MAX >> shift) {
        tn_log_write(
            TN_LOG_WARN,
            "TENON_CACHE_SIZE is '%s', which is no size (bytes, or with K, M or G behind); "
            "using 2G",
            text);
        return DEFAULT_LIMIT;
    }
    return (uint64_t)value << shift;
}

static tn_status check_folder(const char *folder, tn_error *err) {
    struct stat st;
    if (stat(folder, &st) != 0) return tn_error_set(err, TN_IO, "%s: %s", folder, strerror(errno));
    if (!S_ISDIR(st.st_mode)) return tn_error_set(err, TN_IO, "%s: not a folder", folder);
    if (st.st_uid != geteuid())
        return tn_error_set(err, TN_IO, "%s: belongs to another user", folder);
    if (st.st_mode & 022)
        return tn_error_set(err, TN_IO, "%s: others may write to it (chmod 700 helps)", folder);
    return TN_OK;
}

void tn_cache_warn(const tn_cache *c, const tn_error *why) {
    static atomic_flag told = ATOMIC_FLAG_INIT;
    (void)c;
    if (atomic_flag_test_and_set(&told)) return;
    char text[1024];
    tn_error_format(why, text, sizeof text);
    tn_log_write(TN_LOG_WARN, "nothing is kept in the cache: %s", text);
}

void tn_cache_open(tn_cache *c, const char *folder) {
    *c = (tn_cache){.limit = size_limit()};
    tn_error err = TN_ERROR_INIT;
    if (!choose_folder(c->folder, folder)) {
        tn_error_set(&err, TN_NOT_FOUND, "neither TENON_CACHE, XDG_CACHE_HOME nor HOME is set");
    } else {
        struct stat st;
        if (stat(c->folder, &st) == 0 || tn_make_dirs(c->folder, 0700, &err) == TN_OK)
            check_folder(c->folder, &err);
    }
    if (err.status == TN_OK) return;
    tn_cache_warn(c, &err);
    c->folder[0] = 0;
}

/* ---- entries -------------------------------------------------------------------------------- */

bool tn_cache_path(const tn_cache *c, const char *name, char out[TN_CACHE_PATH]) {
    if (!tn_cache_usable(c)) return false;
    int len = snprintf(out, TN_CACHE_PATH, "%s/%s", c->folder, name);
    return len > 0 && len < TN_CACHE_PATH;
}

void tn_cache_touch(const tn_cache *c, const char *name) {
    char path[TN_CACHE_PATH];
    if (tn_cache_path(c, name, path)) (void)utimensat(AT_FDCWD, path, NULL, 0);
}

void tn_cache_remove(const tn_cache *c, const char *name) {
    char path[TN_CACHE_PATH];
    if (tn_cache_path(c, name, path)) (void)unlink(path);
}

static bool entry_is_whole(const tn_file_map *map, size_t *size) {
    footer end;
    if (map->size < sizeof end) return false;
    *size = map->size - sizeof end;
    memcpy(&end, map->data + *size, sizeof end);
    if (memcmp(end.magic, footer_magic, sizeof footer_magic) != 0 || end.size != *size)
        return false;
    tn_hash128 hash = tn_hash128_of(map->data, *size);
    return hash.lo == end.hash.lo && hash.hi == end.hash.hi;
}

bool tn_cache_get(const tn_cache *c, const char *name, tn_cache_entry *out) {
    *out = (tn_cache_entry){0};
    char path[TN_CACHE_PATH];
    if (!tn_cache_path(c, name, path)) return false;
    if (tn_file_map_open(&out->map, path, NULL) != TN_OK) return false;
    if (!entry_is_whole(&out->map, &out->size)) {
        tn_log_write(TN_LOG_WARN, "%s: damaged cache entry; it is made again", path);
        tn_cache_entry_close(out);
        (void)unlink(path);
        return false;
    }
    out->data = out->map.data;
    tn_cache_touch(c, name);
    return true;
}

void tn_cache_entry_close(tn_cache_entry *e) {
    tn_file_map_close(&e->map);
    *e = (tn_cache_entry){0};
}

bool tn_cache_put(const tn_cache *c, const char *name, const void *data, size_t size) {
    char path[TN_CACHE_PATH];
    size_t total;
    if (!tn_cache_path(c, name, path)) return false;
    if (!tn_size_add(size, sizeof(footer), &total) || total > c->limit) return false;
    char *bytes = malloc(total);
    if (!bytes) return false;
    footer end = {.size = size, .hash = tn_hash128_of(data, size)};
    memcpy(end.magic, footer_magic, sizeof footer_magic);
    if (size) memcpy(bytes, data, size);
    memcpy(bytes + size, &end, sizeof end);
    tn_error err = TN_ERROR_INIT;
    tn_status status = tn_file_write(path, bytes, total, false, &err);
    free(bytes);
    if (status != TN_OK) {
        tn_cache_warn(c, &err);
        return false;
    }
    tn_cache_trim(c);
    return true;
}

/* ---- the size limit ------------------------------------------------------------------------- */

typedef struct old_file {
    char *name;
    uint64_t size;
    int64_t used; /* ns */
} old_file;

typedef struct file_list {
    old_file *data;
    size_t len, cap;
    uint64_t bytes;
} file_list;

static int by_use(const void *a, const void *b) {
    const old_file *x = a, *y = b;
    if (x->used != y->used) return x->used < y->used ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void list_push(file_list *list, const char *name, const struct stat *st) {
    if (list->len == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 64;
        old_file *moved = realloc(list->data, cap * sizeof *moved);
        if (!moved) return;
        list->data = moved;
        list->cap = cap;
    }
    char *copy = strdup(name);
    if (!copy) return;
    int64_t used = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    list->data[list->len++] = (old_file){copy, (uint64_t)st->st_size, used};
    list->bytes += (uint64_t)st->st_size;
}

/* Entries are named by a SHA-256; whatever else lies in the folder is not ours to remove. */
static bool is_entry_name(const char *name) {
    return strspn(name, "0123456789abcdef") == 64 && name[64] == '.';
}

/* Marks that this user wrote a program: empty files that nothing could make anew. */
static bool is_kept(const char *name) {
    size_t len = strlen(name);
    return len > 4 && !strcmp(name + len - 4, ".own");
}

static void list_folder(file_list *list, DIR *dir) {
    time_t now = time(NULL);
    for (struct dirent *d; (d = readdir(dir));) {
        struct stat st;
        if (!is_entry_name(d->d_name)) continue;
        if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (!S_ISREG(st.st_mode)) continue;
        if (strstr(d->d_name, ".tmp.")) {
            if (now - st.st_mtim.tv_sec > STALE_SECONDS) (void)unlinkat(dirfd(dir), d->d_name, 0);
        } else if (!is_kept(d->d_name)) {
            list_push(list, d->d_name, &st);
        }
    }
}

void tn_cache_trim(const tn_cache *c) {
    DIR *dir = tn_cache_usable(c) ? opendir(c->folder) : NULL;
    if (!dir) return;
    file_list list = {0};
    list_folder(&list, dir);
    if (list.bytes > c->limit) {
        /* A tenth below the limit, so that not every addition has to remove something. */
        uint64_t goal = c->limit - c->limit / 10;
        qsort(list.data, list.len, sizeof *list.data, by_use);
        for (size_t i = 0; i < list.len && list.bytes > goal; i++) {
            (void)unlinkat(dirfd(dir), list.data[i].name, 0);
            list.bytes -= list.data[i].size;
        }
    }
    for (size_t i = 0; i < list.len; i++) free(list.data[i].name);
    free(list.data);
    closedir(dir);
}
