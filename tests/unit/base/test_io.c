#include "unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

static char folder[512];

static int setup(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/tenon-test-XXXXXX", base ? base : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state) {
    (void)state;
    return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *path_of(const char *name) {
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int count_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)path;
    (void)st;
    (void)ftw;
    static int files;
    if (type == FTW_D) files = 0;
    files += type == FTW_F;
    return files > 1;
}

static void test_file__what_is_written_is_mapped(void **state) {
    (void)state;
    tn_file_map m, again;
    assert_int_equal(tn_file_write(path_of("data"), "hello", 5, true, NULL), TN_OK);
    assert_int_equal(tn_file_map_open(&m, path_of("data"), NULL), TN_OK);
    assert_int_equal(m.size, 5);
    assert_memory_equal(m.data, "hello", 5);
    assert_int_equal(tn_file_write(path_of("data"), "other", 5, false, NULL), TN_OK);
    assert_int_equal(tn_file_map_open(&again, path_of("data"), NULL), TN_OK);
    assert_memory_equal(m.data, "hello", 5); /* a rename leaves the old file's readers alone */
    assert_memory_equal(again.data, "other", 5);
    assert_true(m.inode != again.inode);
    tn_file_map_close(&m);
    tn_file_map_close(&again);
    assert_null(m.data);
    assert_int_equal(nftw(folder, count_entry, 8, FTW_PHYS), 0); /* no temporary file is left */
}

static void test_file__empty_is_a_file_too(void **state) {
    (void)state;
    tn_file_map m;
    assert_int_equal(tn_file_write(path_of("empty"), NULL, 0, false, NULL), TN_OK);
    assert_int_equal(tn_file_map_open(&m, path_of("empty"), NULL), TN_OK);
    assert_true(m.size == 0 && m.data == NULL);
    tn_file_map_close(&m);
}

static void test_file__pipes_and_devices_stay_what_they_are(void **state) {
    (void)state;
    struct stat st;
    char got[6] = "";
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    int fd = open(path_of("fifo"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(tn_file_write(path_of("fifo"), "hello", 5, true, NULL), TN_OK);
    assert_int_equal(read(fd, got, 5), 5);
    assert_string_equal(got, "hello");
    assert_int_equal(close(fd), 0);
    assert_int_equal(stat(path_of("fifo"), &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    /* By a link of the test's own: a wrong build replaces that, not the device. */
    tn_error err = TN_ERROR_INIT;
    assert_int_equal(symlink("/dev/full", path_of("device")), 0);
    assert_int_equal(tn_file_write(path_of("device"), "x", 1, false, &err), TN_IO);
    assert_non_null(strstr(err.message, "device: cannot write: No space left"));
}

static void test_file__refusals_name_the_path(void **state) {
    (void)state;
    tn_file_map m;
    tn_error err = TN_ERROR_INIT;
    assert_int_equal(tn_file_map_open(&m, path_of("missing"), &err), TN_NOT_FOUND);
    assert_non_null(strstr(err.message, "missing: No such file"));
    assert_int_equal(tn_file_map_open(&m, folder, &err), TN_IO);
    assert_non_null(strstr(err.message, "not a regular file"));
    assert_int_equal(mkfifo(path_of("pipe"), 0600), 0);
    assert_int_equal(tn_file_map_open(&m, path_of("pipe"), &err), TN_IO);
    assert_int_equal(tn_file_write(path_of("no/such/folder"), "x", 1, false, &err), TN_IO);
    assert_non_null(strstr(err.message, "cannot create"));
    char name[5000];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_int_equal(tn_file_write(name, "x", 1, false, &err), TN_INVALID);
    assert_int_equal(tn_make_dirs(name, 0700, &err), TN_INVALID);
}

static void test_folder__is_made_with_its_parents(void **state) {
    (void)state;
    struct stat st;
    tn_error err = TN_ERROR_INIT;
    assert_int_equal(tn_make_dirs(path_of("a/b/c"), 0700, &err), TN_OK);
    assert_int_equal(tn_make_dirs(path_of("a/b/c"), 0700, &err), TN_OK);
    assert_int_equal(stat(path_of("a/b/c"), &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(tn_file_write(path_of("file"), "x", 1, false, NULL), TN_OK);
    assert_int_equal(tn_make_dirs(path_of("file/sub"), 0700, &err), TN_IO);
}

static void test_clock__never_goes_back(void **state) {
    (void)state;
    double last = tn_seconds();
    for (int i = 0; i < 1000; i++) {
        double now = tn_seconds();
        assert_true(now >= last);
        last = now;
    }
}

static void test_log__level_decides(void **state) {
    (void)state;
    assert_true(tn_log_enabled(TN_LOG_WARN) && !tn_log_enabled(TN_LOG_INFO));
    tn_log_set_level(TN_LOG_DEBUG);
    assert_true(tn_log_enabled(TN_LOG_DEBUG));
    tn_log_set_level(TN_LOG_ERROR);
    assert_false(tn_log_enabled(TN_LOG_WARN));
    tn_log_write(TN_LOG_WARN, "not shown");
    tn_log_set_level(TN_LOG_WARN);
}

/* ---- files that files name ------------------------------------------------------------------- */

static void lay_out(void) {
    char outside[1100];
    snprintf(outside, sizeof outside, "%s/outside", folder);
    assert_int_equal(tn_make_dirs(path_of("m/sub"), 0700, NULL), TN_OK);
    assert_int_equal(tn_make_dirs(path_of("blobs"), 0700, NULL), TN_OK);
    assert_int_equal(tn_file_write(outside, "secret", 6, false, NULL), TN_OK);
    assert_int_equal(tn_file_write(path_of("m/a"), "a", 1, false, NULL), TN_OK);
    assert_int_equal(tn_file_write(path_of("m/sub/b"), "b", 1, false, NULL), TN_OK);
    assert_int_equal(symlink("../outside", path_of("m/link")), 0);
    assert_int_equal(symlink("a", path_of("m/inner")), 0);
    assert_int_equal(symlink("..", path_of("m/up")), 0);
    assert_int_equal(symlink("sub", path_of("m/folder")), 0);
    assert_int_equal(symlink("loop", path_of("m/loop")), 0);
    assert_int_equal(link(outside, path_of("m/hard")), 0);
    assert_int_equal(mkfifo(path_of("m/fifo"), 0600), 0);
}

static const struct {
    const char *name, *words; /* words NULL: it is read */
} beneath_rows[] = {
    {"a", NULL},
    {"./a", NULL},
    {"sub//b", NULL},
    {"sub/./b", NULL},
    {"", "only files beneath"},
    {"..", "only files beneath"},
    {"../outside", "only files beneath"},
    {"junk/../../outside", "only files beneath"},
    {"sub/..//a", "only files beneath"},
    {"sub/..", "only files beneath"},
    {"/etc/passwd", "only files beneath"},
    {"link", "a symbolic link on its way"},
    {"inner", "a symbolic link on its way"},
    {"up/outside", "a symbolic link on its way"},
    {"folder/b", "a symbolic link on its way"},
    {"loop", "a symbolic link on its way"},
    {"hard", "has 2 names (hard links)"},
    {"fifo", "not a regular file"},
    {"sub", "not a regular file"},
    {".", "not a regular file"},
    {"a/", "Not a directory"},
    {"a/b", "Not a directory"},
    {"none", "No such file"},
    {"none/a", "No such file"},
};

static void test_beneath__leads_nowhere_else(void **state) {
    (void)state;
    lay_out();
    for (size_t i = 0; i < TN_COUNT(beneath_rows); i++) {
        tn_file_map m;
        tn_error err = TN_ERROR_INIT;
        tn_status status = tn_file_map_beneath(&m, path_of("m"), beneath_rows[i].name, 0, &err);
        if (status == TN_OK && beneath_rows[i].words) fail_msg("read: %s", beneath_rows[i].name);
        if (beneath_rows[i].words && !strstr(err.message, beneath_rows[i].words))
            fail_msg("'%s': %s; expected: %s", beneath_rows[i].name, err.message,
                     beneath_rows[i].words);
        if (!beneath_rows[i].words && status != TN_OK) fail_msg("%s", err.message);
        assert_int_equal(m.data != NULL, status == TN_OK);
        tn_file_map_close(&m);
    }
}

/* The walk that stands in for openat2 opens and refuses the same. */
static void test_beneath__steps_agree_with_the_kernel(void **state) {
    (void)state;
    lay_out();
    int at = open(path_of("m"), O_PATH | O_DIRECTORY);
    assert_true(at >= 0);
    for (size_t i = 0; i < TN_COUNT(beneath_rows); i++) {
        const char *name = beneath_rows[i].name, *words = beneath_rows[i].words;
        if (!*name || strstr(name, "..") || *name == '/') continue; /* are not asked for */
        errno = 0;
        int fd = tn__open_by_steps(at, name);
        if (words && strstr(words, "symbolic")) {
            assert_int_equal(fd, -1);
            assert_int_equal(errno, ELOOP);
        } else if (words && strstr(words, "o such file")) {
            assert_int_equal(errno, ENOENT);
        } else if (words && strstr(words, "irectory")) {
            assert_int_equal(errno, ENOTDIR);
        } else {
            assert_true(fd >= 0);
        }
        if (fd >= 0) close(fd);
    }
    close(at);
}

/* In the hub's cache files are links to files that are named by the hash of their contents. */
static void test_beneath__links_of_the_hub_are_followed_where_asked(void **state) {
    (void)state;
    static const char hash[] = "0123456789abcdef0123456789abcdef01234567";
    tn_file_map m;
    tn_error err = TN_ERROR_INIT;
    char target[128];
    lay_out();
    snprintf(target, sizeof target, "../../blobs/%s", hash);
    assert_int_equal(symlink(target, path_of("m/sub/shard")), 0);
    assert_int_equal(symlink("../../blobs/../outside", path_of("m/sub/false")), 0);
    snprintf(target, sizeof target, "blobs/%s", hash);
    assert_int_equal(tn_file_write(path_of(target), "w", 1, false, NULL), TN_OK);
    assert_int_equal(tn_file_map_beneath(&m, path_of("m/sub"), "shard", TN_BENEATH_HUB, &err),
                     TN_OK);
    tn_file_map_close(&m);
    assert_int_equal(tn_file_map_beneath(&m, path_of("m/sub"), "shard", 0, &err), TN_INVALID);
    assert_int_equal(tn_file_map_beneath(&m, path_of("m/sub"), "false", TN_BENEATH_HUB, &err),
                     TN_INVALID);
    assert_int_equal(tn_file_map_beneath(&m, path_of("m"), "sub/shard", TN_BENEATH_HUB, &err),
                     TN_OK);
    tn_file_map_close(&m);
    assert_int_equal(tn_file_map_beneath(&m, path_of("m"), "sub/shard", 0, &err), TN_INVALID);
    assert_int_equal(tn_make_dirs(path_of("m/sub/onnx"), 0700, NULL), TN_OK);
    snprintf(target, sizeof target, "../../../blobs/%s", hash);
    assert_int_equal(symlink(target, path_of("m/sub/onnx/model")), 0);
    assert_int_equal(tn_file_map_beneath(&m, path_of("m/sub/onnx"), "model", TN_BENEATH_HUB, &err),
                     TN_OK);
    tn_file_map_close(&m);
    snprintf(target, sizeof target, "../../../../../blobs/%s", hash);
    assert_int_equal(symlink(target, path_of("m/sub/onnx/high")), 0);
    assert_int_equal(tn_file_map_beneath(&m, path_of("m/sub/onnx"), "high", TN_BENEATH_HUB, &err),
                     TN_INVALID);
    assert_int_equal(tn_file_map_beneath(&m, path_of("m"), "link", TN_BENEATH_HUB, &err),
                     TN_INVALID);
}

static void expect_absolute(const char *path, const char *expected) {
    tn_error err = TN_ERROR_INIT;
    char *full;
    if (tn_file_absolute(path, &full, &err) != TN_OK) fail_msg("%s", err.message);
    assert_string_equal(full, expected);
    free(full);
}

/* What lies beside a file is looked for where its name is, in the hub's cache; else where the file is. */
static void test_absolute__keeps_links_of_the_hub(void **state) {
    (void)state;
    static const char blob[] = "../../blobs/0123456789abcdef0123456789abcdef01234567";
    char *root, *full, expected[512];
    tn_error err = TN_ERROR_INIT;
    lay_out();
    assert_int_equal(tn_file_absolute(path_of("m"), &root, &err), TN_OK);
    assert_int_equal(symlink(blob, path_of("m/sub/model")), 0);
    assert_int_equal(symlink("sub/w.bin", path_of("m/other")), 0);
    assert_int_equal(tn_file_write(path_of("m/sub/w.bin"), "w", 1, false, NULL), TN_OK);
    snprintf(expected, sizeof expected, "%s/sub/model", root);
    expect_absolute(path_of("m/../m/sub/model"), expected);
    snprintf(expected, sizeof expected, "%s/sub/w.bin", root);
    expect_absolute(path_of("m/other"), expected);
    assert_int_equal(tn_file_absolute(path_of("m/absent"), &full, &err), TN_NOT_FOUND);
    assert_null(full);
    free(root);
}

/* What package managers install has further names; symbolic links stay refused. */
static void test_beneath__further_names_are_allowed_where_asked(void **state) {
    (void)state;
    tn_file_map m;
    tn_error err = TN_ERROR_INIT;
    lay_out();
    assert_int_equal(tn_file_map_beneath(&m, path_of("m"), "hard", 0, &err), TN_INVALID);
    assert_int_equal(tn_file_map_beneath(&m, path_of("m"), "hard", TN_BENEATH_SHARED, &err), TN_OK);
    tn_file_map_close(&m);
    assert_int_equal(tn_file_map_beneath(&m, path_of("m"), "link", TN_BENEATH_SHARED, &err),
                     TN_INVALID);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_file__what_is_written_is_mapped),
        TEST(test_file__empty_is_a_file_too),
        TEST(test_file__pipes_and_devices_stay_what_they_are),
        TEST(test_file__refusals_name_the_path),
        TEST(test_folder__is_made_with_its_parents),
        TEST(test_beneath__leads_nowhere_else),
        TEST(test_beneath__steps_agree_with_the_kernel),
        TEST(test_beneath__links_of_the_hub_are_followed_where_asked),
        TEST(test_absolute__keeps_links_of_the_hub),
        TEST(test_beneath__further_names_are_allowed_where_asked),
        cmocka_unit_test(test_clock__never_goes_back),
        cmocka_unit_test(test_log__level_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
