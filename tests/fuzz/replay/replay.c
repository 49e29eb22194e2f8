/* Runs a fuzz target on the files of folders without libFuzzer: each as it is, and with a few mutations that
 * are the same every time. `replay FOLDER…`; a crash ends it. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
    __attribute__((weak));

enum { ROOM = 4096, MUTATIONS = 50 };

static uint32_t below(size_t n) {
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % n);
}

/* libFuzzer's own mutation, for what calls it: a byte changes, comes or goes. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most) {
    if (size == most || (size && below(3))) {
        if (!size) return 0;
        size_t at = below(size);
        if (below(4)) {
            data[at] = (uint8_t)(below(2) ? data[at] ^ (1u << below(8)) : below(256));
            return size;
        }
        memmove(data + at, data + at + 1, size - at - 1);
        return size - 1;
    }
    size_t at = below(size + 1);
    memmove(data + at + 1, data + at, size - at);
    data[at] = (uint8_t)below(256);
    return size + 1;
}

/* A buffer of exactly that size, so that reads behind it are seen. */
static void run_once(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) abort();
    if (size) memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void run_mutated(const uint8_t *data, size_t size) {
    uint8_t *room = malloc(size + ROOM);
    if (!room) abort();
    for (unsigned i = 0; i < MUTATIONS; i++) {
        if (size) memcpy(room, data, size);
        size_t changed = LLVMFuzzerCustomMutator
                             ? LLVMFuzzerCustomMutator(room, size, size + ROOM, i + 1)
                             : LLVMFuzzerMutate(room, size, size + ROOM);
        run_once(room, changed);
    }
    free(room);
}

static int run_folder(const char *folder) {
    char path[4096];
    int count = 0;
    DIR *files = opendir(folder);
    for (struct dirent *e; files && (e = readdir(files));) {
        tn_file_map m;
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (tn_file_map_open(&m, path, NULL) != TN_OK) exit(1);
        fprintf(stderr, "%s\n", path);
        run_once(m.data, m.size);
        run_mutated(m.data, m.size);
        tn_file_map_close(&m);
        count++;
    }
    if (files) closedir(files);
    return count;
}

int main(int argc, char **argv) {
    int count = 0;
    for (int i = 1; i < argc; i++) count += run_folder(argv[i]);
    fprintf(stderr, "%d files\n", count);
    return count > 0 ? 0 : 1;
}
