/* The cache on disk: one folder of entries, each one file, safe with many processes. An entry's
 * name is a SHA-256 in hex, a dot and its kind.
 *
 * The folder is made with mode 0700 and used only if it belongs to this user and nobody else may
 * write to it. Entries appear by rename and are removed when their bytes are not what was written,
 * or, beyond the size limit (TENON_CACHE_SIZE, default 2 GiB), least recently used first. A folder
 * that cannot be used or written is no error: a warning once, and the work is done without it. */
#ifndef TENON_TOOLCHAIN_CACHE_H
#define TENON_TOOLCHAIN_CACHE_H

#include "base/base.h"
#include "base/io.h"

enum { TN_CACHE_PATH = 4096 };

typedef struct tn_cache {
    char folder[TN_CACHE_PATH]; /* "": there is none */
    uint64_t limit;             /* bytes */
} tn_cache;

/* `folder` NULL: TENON_CACHE, else XDG_CACHE_HOME/tenon, else HOME/.cache/tenon. */
void tn_cache_open(tn_cache *c, const char *folder);
/* A cache that holds nothing. */
static inline void tn_cache_open_none(tn_cache *c) {
    *c = (tn_cache){0};
}
static inline bool tn_cache_usable(const tn_cache *c) {
    return c->folder[0] != 0;
}

/* The path of an entry, whether there is one or not; false when the cache is not usable. */
bool tn_cache_path(const tn_cache *c, const char *name, char out[TN_CACHE_PATH]);
/* Marks an entry as used now. */
void tn_cache_touch(const tn_cache *c, const char *name);
void tn_cache_remove(const tn_cache *c, const char *name);
/* Removes the least recently used entries until the limit is kept, and files that a killed process
 * left half-written. To be called after something was added. */
void tn_cache_trim(const tn_cache *c);

/* An entry with a content hash behind its bytes (which a dynamic linker ignores). */
typedef struct tn_cache_entry {
    tn_file_map map;
    const uint8_t *data;
    size_t size; /* without the hash */
} tn_cache_entry;

/* False when there is no such entry. A truncated or changed one is removed, with a warning. */
bool tn_cache_get(const tn_cache *c, const char *name, tn_cache_entry *out);
void tn_cache_entry_close(tn_cache_entry *e);
/* False when it could not be written (said once in a warning). */
bool tn_cache_put(const tn_cache *c, const char *name, const void *data, size_t size);
/* Tells once per process that the cache cannot be written, and why. */
void tn_cache_warn(const tn_cache *c, const tn_error *why);

#endif
