#include "unit/test_folder.h"

#include "toolchain/cache.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Entry names: 64 hex digits and a kind. */
static const char *name_of(int i) {
    static char names[4][80];
    static int turn;
    char *name = names[turn++ % 4];
    snprintf(name, 80, "%064x.so", (unsigned)i);
    return name;
}

static void path_of(const tn_cache *c, int i, char out[TN_CACHE_PATH]) {
    assert_true(tn_cache_path(c, name_of(i), out));
}

static bool holds(const tn_cache *c, int i, const char *text) {
    tn_cache_entry e;
    if (!tn_cache_get(c, name_of(i), &e)) return false;
    bool same = e.size == strlen(text) && memcmp(e.data, text, e.size) == 0;
    tn_cache_entry_close(&e);
    return same;
}

static void test_entry__round_trip(void **state) {
    (void)state;
    tn_cache c;
    tn_cache_open(&c, folder);
    assert_true(tn_cache_usable(&c));
    assert_false(holds(&c, 1, "hello"));
    assert_true(tn_cache_put(&c, name_of(1), "hello", 5));
    assert_true(holds(&c, 1, "hello"));
    assert_true(tn_cache_put(&c, name_of(1), "", 0));
    assert_true(holds(&c, 1, ""));
    tn_cache_remove(&c, name_of(1));
    assert_false(holds(&c, 1, ""));
}

static void test_entry__damage_is_found_and_removed(void **state) {
    (void)state;
    tn_cache c;
    char path[TN_CACHE_PATH];
    tn_cache_open(&c, folder);
    path_of(&c, 2, path);
    for (int kind = 0; kind < 3; kind++) {
        assert_true(tn_cache_put(&c, name_of(2), "some bytes", 10));
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (kind == 0) assert_int_equal(pwrite(fd, "X", 1, 3), 1);
        if (kind == 1) assert_int_equal(ftruncate(fd, 20), 0);
        if (kind == 2) assert_int_equal(ftruncate(fd, 0), 0);
        close(fd);
        assert_false(holds(&c, 2, "some bytes"));
        assert_int_not_equal(access(path, F_OK), 0);
    }
}

static void test_folder__must_not_be_writable_by_others(void **state) {
    (void)state;
    tn_cache c;
    assert_int_equal(chmod(folder, 0777), 0);
    tn_cache_open(&c, folder);
    assert_false(tn_cache_usable(&c));
    assert_false(tn_cache_put(&c, name_of(3), "x", 1));
    assert_int_equal(chmod(folder, 0700), 0);
}

static void test_folder__is_made_private(void **state) {
    (void)state;
    tn_cache c;
    char path[300];
    struct stat st;
    snprintf(path, sizeof path, "%s/made", folder);
    tn_cache_open(&c, path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    rmdir(path);
}

static void test_folder__that_cannot_be_made_is_survived(void **state) {
    (void)state;
    tn_cache c;
    tn_cache_open(&c, "/proc/nowhere/tenon");
    assert_false(tn_cache_usable(&c));
    assert_false(holds(&c, 1, ""));
}

static void test_folder__comes_from_the_environment(void **state) {
    (void)state;
    tn_cache c;
    char expected[300];
    setenv("TENON_CACHE", folder, 1);
    tn_cache_open(&c, NULL);
    assert_string_equal(c.folder, folder);
    unsetenv("TENON_CACHE");
    char *before = getenv("XDG_CACHE_HOME") ? strdup(getenv("XDG_CACHE_HOME")) : NULL;
    setenv("XDG_CACHE_HOME", folder, 1);
    tn_cache_open(&c, NULL);
    snprintf(expected, sizeof expected, "%s/tenon", folder);
    assert_string_equal(c.folder, expected);
    rmdir(expected);
    if (before) setenv("XDG_CACHE_HOME", before, 1);
    free(before);
}

/* A file size limit stands for a full disk: the write fails in the middle. */
static void test_disk__that_is_full_is_survived(void **state) {
    (void)state;
    tn_cache c;
    char bytes[8192] = {0}, path[TN_CACHE_PATH];
    struct rlimit before, small = {1024, RLIM_INFINITY};
    tn_cache_open(&c, folder);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    bool stored = tn_cache_put(&c, name_of(4), bytes, sizeof bytes);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_DFL);
    assert_false(stored);
    path_of(&c, 4, path);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void set_age(const tn_cache *c, int i, int seconds) {
    char path[TN_CACHE_PATH];
    struct timespec times[2] = {{time(NULL) - seconds, 0}, {time(NULL) - seconds, 0}};
    path_of(c, i, path);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void test_trim__least_recently_used_go_first(void **state) {
    (void)state;
    tn_cache c;
    char bytes[1000] = {0}, other[300];
    setenv("TENON_CACHE_SIZE", "8k", 1);
    tn_cache_open(&c, folder);
    assert_int_equal(c.limit, 8192);
    snprintf(other, sizeof other, "%s/letter.txt", folder);
    FILE *f = fopen(other, "w");
    fputs("not ours", f);
    fclose(f);
    for (int i = 10; i < 17; i++) {
        assert_true(tn_cache_put(&c, name_of(i), bytes, sizeof bytes));
        set_age(&c, i, 100 - i);
    }
    tn_cache_touch(&c, name_of(10));
    assert_true(tn_cache_put(&c, name_of(17), bytes, sizeof bytes));
    tn_cache_entry e;
    assert_true(tn_cache_get(&c, name_of(10), &e));
    tn_cache_entry_close(&e);
    assert_false(tn_cache_get(&c, name_of(11), &e));
    assert_true(tn_cache_get(&c, name_of(17), &e));
    tn_cache_entry_close(&e);
    assert_int_equal(access(other, F_OK), 0);
    char large[9000] = {0};
    assert_false(tn_cache_put(&c, name_of(18), large, sizeof large));
    unsetenv("TENON_CACHE_SIZE");
}

/* Each process writes and reads the same entries, with others at it. */
static int fill(void) {
    tn_cache c;
    char text[64];
    tn_cache_open(&c, folder);
    for (int round = 0; round < 50; round++)
        for (int i = 20; i < 25; i++) {
            snprintf(text, sizeof text, "entry %d", i);
            tn_cache_entry e;
            if (!tn_cache_get(&c, name_of(i), &e)) {
                if (!tn_cache_put(&c, name_of(i), text, strlen(text))) return 2;
            } else {
                bool same = e.size == strlen(text) && memcmp(e.data, text, e.size) == 0;
                tn_cache_entry_close(&e);
                if (!same) return 3;
            }
            if (round % 10 == 9) tn_cache_remove(&c, name_of(i));
        }
    return 0;
}

static void test_cache__eight_processes_at_once(void **state) {
    (void)state;
    pid_t children[8];
    for (int i = 0; i < 8; i++) {
        children[i] = fork();
        if (children[i] == 0) _exit(fill());
    }
    for (int i = 0; i < 8; i++) {
        int result;
        assert_int_equal(waitpid(children[i], &result, 0), children[i]);
        assert_true(WIFEXITED(result));
        assert_int_equal(WEXITSTATUS(result), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entry__round_trip),
        cmocka_unit_test(test_entry__damage_is_found_and_removed),
        cmocka_unit_test(test_folder__must_not_be_writable_by_others),
        cmocka_unit_test(test_folder__is_made_private),
        cmocka_unit_test(test_folder__that_cannot_be_made_is_survived),
        cmocka_unit_test(test_folder__comes_from_the_environment),
        cmocka_unit_test(test_disk__that_is_full_is_survived),
        cmocka_unit_test(test_trim__least_recently_used_go_first),
        cmocka_unit_test(test_cache__eight_processes_at_once),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
