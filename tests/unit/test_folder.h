/* A folder of the test program's own, as a cmocka group's setup and teardown. */
#ifndef TENON_TEST_FOLDER_H
#define TENON_TEST_FOLDER_H

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/io.h"
#include "toolchain/process.h"
#include "unit/test.h"

static char folder[256];

static inline int make_folder(void **state) {
    (void)state;
    tn_log_set_level(TN_LOG_ERROR);
    return tn_temp_folder(folder, sizeof folder, NULL, NULL) == TN_OK ? 0 : -1;
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static inline int remove_folder(void **state) {
    (void)state;
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void empty_folder(void) {
    remove_folder(NULL);
    assert_int_equal(mkdir(folder, 0700), 0);
}

static inline void check(tn_status status, const tn_error *err) {
    char text[2048];
    tn_error_format(err, text, sizeof text);
    if (status != TN_OK) print_error("%s\n", text);
    assert_int_equal(status, TN_OK);
}

#endif
