/* Files and environment: whole-file reads, read-only maps, atomic writes, clocks, log lines. */
#ifndef TENON_BASE_IO_H
#define TENON_BASE_IO_H

#include "base/base.h"
#include "base/str.h"

/* A read-only mapping of a regular file (size 0 gives data NULL). */
typedef struct tn_file_map {
    const uint8_t *data;
    size_t size;
    uint64_t device, inode, mtime_ns; /* the identity used by caches */
} tn_file_map;

tn_status tn_file_map_open(tn_file_map *m, const char *path, tn_error *err);
/* Of a file that is open, which `path` names in messages; the descriptor may be closed behind it. */
tn_status tn_file_map_descriptor(tn_file_map *m, int fd, const char *path, tn_error *err);

enum {
    /* A file may be a link two to four folders up and to "blobs/HASH", as in the Hugging Face hub's cache. */
    TN_BENEATH_HUB = 1,
    /* A file may have further names (hard links), which package managers give what they install. */
    TN_BENEATH_SHARED = 2,
};
/* A file that another file names: `name`, relative, beneath `folder` ("": the current one) and nowhere else,
 * whoever made the folder. So no step of the name is "..", none is a symbolic link, the file is regular and
 * has no second name (hard links reach other folders), unless flags allow it. Nothing blocks. */
tn_status tn_file_map_beneath(tn_file_map *m, const char *folder, const char *name, unsigned flags,
                              tn_error *err);
/* The absolute path of an existing file, through all links but that of the hub's cache, whose neighbours lie
 * beside the link; the caller frees it. NULL after an error. */
tn_status tn_file_absolute(const char *path, char **out, tn_error *err);
/* What stands in for openat2 where the kernel lacks it: step by step. -1 and errno. */
int tn__open_by_steps(int folder, const char *name);

void tn_file_map_close(tn_file_map *m);
/* Its pages no longer count as this process's memory; what is read again is mapped again. */
void tn_file_map_drop(const tn_file_map *m);

/* Names the run of the operating system since it was started; zero where that is not known. What was
 * written wholly since then needs no check of its bytes: only a machine that stops loses them. */
tn_hash128 tn_boot_id(void);

/* Writes to a temporary name beside `path`, syncs when `durable`, renames. Nothing half-written. What is a
 * device or a pipe is written to as it is. */
tn_status tn_file_write(const char *path, const void *data, size_t size, bool durable,
                        tn_error *err);
/* The same from several places, one after the other. */
typedef struct tn_file_part {
    const void *data;
    size_t size;
} tn_file_part;
tn_status tn_file_write_parts(const char *path, const tn_file_part *part, size_t count,
                              bool durable, tn_error *err);
tn_status tn_make_dirs(const char *path, unsigned mode, tn_error *err);

double tn_seconds(void); /* monotonic */

typedef enum tn_log_level { TN_LOG_ERROR, TN_LOG_WARN, TN_LOG_INFO, TN_LOG_DEBUG } tn_log_level;
void tn_log_set_level(tn_log_level level);
bool tn_log_enabled(tn_log_level level);
/* One line on standard error, "tenon: …". */
void tn_log_write(tn_log_level level, const char *format, ...) TN_PRINTF(2, 3);

#endif
