/* A folder in memory for readers that look at more than one file; it goes when the process ends. */
#ifndef TENON_FUZZ_FOLDER_H
#define TENON_FUZZ_FOLDER_H

#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char fuzz_folder[32];

/* The path of a file in it, until the next call. */
static inline const char *fuzz_path(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder, name);
    return path;
}

static inline int fuzz_remove_one(const char *path, const struct stat *st, int type,
                                  struct FTW *at) {
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static inline void fuzz_folder_remove(void) {
    (void)!nftw(fuzz_folder, fuzz_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* False: it is there already. */
static inline bool fuzz_folder_make(void) {
    if (fuzz_folder[0]) return false;
    snprintf(fuzz_folder, sizeof fuzz_folder, "%s/tenon-fuzz-XXXXXX",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (!mkdtemp(fuzz_folder)) abort();
    atexit(fuzz_folder_remove);
    return true;
}

static inline void fuzz_write(const char *name, const void *data, size_t size) {
    int fd = open(fuzz_path(name), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    close(fd);
}

#endif
