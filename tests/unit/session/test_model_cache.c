/* Models from files: the two caches on disk, program files, and what happens when they break. */
#include "unit/test_folder.h"

#include "session/session.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MODEL "examples/digits/digits.onnx"
enum {
    IMAGES = 3,
    BOOT_ID = 40, /* where a program file has it, see program/format.h */
};

typedef struct result {
    float value[256];
    size_t count;
    tn_artifact_stats stats;
} result;

/* Runs the model on made-up images and keeps its first output. */
static tn_status run_model(const char *path, const char *cache, result *r, tn_error *err) {
    tn_model *m;
    tn_session *s = NULL;
    tn_port_info info;
    static float image[IMAGES * 8 * 8];
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    o.cache = cache;
    o.threads = 2;
    *r = (result){0};
    TN_CHECK(tn_model_open(path, &o, &m, err));
    tn_status status = tn_session_create(m, &s, err);
    tn_buffer in = {0}, out[4] = {0};
    size_t count = 1;
    (void)tn_model_input(m, 0, &info);
    in.dtype = info.dtype;
    in.rank = info.rank;
    for (int a = 0; a < info.rank; a++) {
        in.dim[a] = info.dim[a] < 0 ? IMAGES : info.dim[a];
        count *= (size_t)in.dim[a];
    }
    for (size_t i = 0; i < count && i < TN_COUNT(image); i++) image[i] = (float)(i * 7 % 17);
    in.data = image;
    if (status == TN_OK) status = tn_session_run(s, &in, 1, out, tn_model_output_count(m), err);
    if (status == TN_OK) {
        r->count = 1;
        for (int a = 0; a < out[0].rank; a++) r->count *= (size_t)out[0].dim[a];
        memcpy(r->value, out[0].data, TN_MIN(r->count * 4, sizeof r->value));
        r->stats = tn_session_artifact(s)->stats;
    }
    tn_session_release(s);
    tn_model_release(m);
    return status;
}

static result run_ok(const char *path, const char *cache) {
    result r;
    tn_error err = TN_ERROR_INIT;
    check(run_model(path, cache, &r, &err), &err);
    return r;
}

static void same(const result *a, const result *b) {
    assert_true(a->count > 0);
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->value, b->value, TN_MIN(a->count * 4, sizeof a->value));
}

/* Calls `spoil` on the path of each entry whose name ends so. */
static int spoil_entries(const char *ending, void (*spoil)(const char *path)) {
    char path[600];
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *d; (d = readdir(dir));) {
        size_t len = strlen(d->d_name);
        if (len < strlen(ending) || strcmp(d->d_name + len - strlen(ending), ending) != 0) continue;
        snprintf(path, sizeof path, "%s/%s", folder, d->d_name);
        spoil(path);
        count++;
    }
    closedir(dir);
    return count;
}

static void cut(const char *path) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size / 2), 0);
}

static void flip_at(const char *path, off_t at) {
    char c;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &c, 1, at), 1);
    c = (char)~c;
    assert_int_equal(pwrite(fd, &c, 1, at), 1);
    close(fd);
}

/* In the structure of a program, in the code of an object. */
static void flip(const char *path) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    flip_at(path, TN_MIN(st.st_size / 2, 1000));
}

/* The prepared weights are the last section of a cached program. */
static void flip_weight(const char *path) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    flip_at(path, st.st_size - 3);
}

/* As if the machine had been started anew since the program was stored. */
static void age(const char *path) {
    flip_at(path, BOOT_ID);
}

static void test_cache__a_second_open_compiles_nothing(void **state) {
    (void)state;
    empty_folder();
    result cold = run_ok(MODEL, folder), warm = run_ok(MODEL, folder);
    same(&cold, &warm);
    assert_false(cold.stats.program_cached);
    assert_true(warm.stats.program_cached);
    assert_true(warm.stats.kernels_cached || warm.stats.interpreted);
    assert_true(warm.stats.plan == 0);
}

static void test_cache__damaged_entries_are_made_again(void **state) {
    (void)state;
    void (*const spoils[])(const char *) = {cut, flip};
    empty_folder();
    result first = run_ok(MODEL, folder);
    for (size_t i = 0; i < TN_COUNT(spoils); i++) {
        assert_true(spoil_entries(".tn", spoils[i]) > 0);
        result again = run_ok(MODEL, folder);
        same(&first, &again);
        assert_false(again.stats.program_cached);
        spoil_entries(".so", spoils[i]);
        spoil_entries(".cc", spoils[i]);
        again = run_ok(MODEL, folder);
        same(&first, &again);
        assert_false(again.stats.kernels_cached);
        again = run_ok(MODEL, folder);
        assert_true(again.stats.program_cached);
        assert_true(again.stats.kernels_cached);
    }
}

/* The system may have stopped before all that was written reached the disk. */
static void test_cache__weights_are_checked_after_a_boot(void **state) {
    (void)state;
    empty_folder();
    result first = run_ok(MODEL, folder);
    assert_int_equal(spoil_entries(".tn", age), 1);
    assert_true(run_ok(MODEL, folder).stats.program_cached);
    assert_int_equal(spoil_entries(".tn", age), 1);
    assert_int_equal(spoil_entries(".tn", flip_weight), 1);
    result again = run_ok(MODEL, folder);
    same(&first, &again);
    assert_false(again.stats.program_cached);
    assert_true(run_ok(MODEL, folder).stats.program_cached);
}

static void test_cache__that_is_not_usable_is_survived(void **state) {
    (void)state;
    empty_folder();
    result usual = run_ok(MODEL, folder), without = run_ok(MODEL, "/proc/nowhere");
    same(&usual, &without);
    assert_false(without.stats.program_cached);
}

static void test_cache__a_touched_model_is_compiled_again(void **state) {
    (void)state;
    char copy[300];
    tn_error err = TN_ERROR_INIT;
    tn_file_map map;
    empty_folder();
    snprintf(copy, sizeof copy, "%s/copy.onnx", folder);
    check(tn_file_map_open(&map, MODEL, &err), &err);
    check(tn_file_write(copy, map.data, map.size, false, &err), &err);
    result first = run_ok(copy, folder);
    assert_true(run_ok(copy, folder).stats.program_cached);
    check(tn_file_write(copy, map.data, map.size, false, &err), &err);
    result again = run_ok(copy, folder);
    same(&first, &again);
    assert_false(again.stats.program_cached);
    tn_file_map_close(&map);
}

static void test_cache__eight_processes_fill_an_empty_one(void **state) {
    (void)state;
    pid_t children[8];
    char path[300];
    empty_folder();
    for (int i = 0; i < 8; i++) {
        children[i] = fork();
        if (children[i] != 0) continue;
        result r;
        tn_error err = TN_ERROR_INIT;
        snprintf(path, sizeof path, "%s/result%d", folder, i);
        bool ok = run_model(MODEL, folder, &r, &err) == TN_OK &&
                  tn_file_write(path, r.value, sizeof r.value, false, &err) == TN_OK;
        _exit(ok ? 0 : 1);
    }
    for (int i = 0; i < 8; i++) {
        int exit_state;
        assert_int_equal(waitpid(children[i], &exit_state, 0), children[i]);
        assert_int_equal(exit_state, 0);
    }
    result expected = run_ok(MODEL, folder);
    assert_true(expected.stats.program_cached);
    for (int i = 0; i < 8; i++) {
        tn_file_map map;
        tn_error err = TN_ERROR_INIT;
        snprintf(path, sizeof path, "%s/result%d", folder, i);
        check(tn_file_map_open(&map, path, &err), &err);
        assert_memory_equal(map.data, expected.value, sizeof expected.value);
        tn_file_map_close(&map);
    }
}

/* ---- a program that cannot be written wholly ------------------------------------------------ */

static off_t entry_size;

static void take_size(const char *path) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    entry_size = st.st_size;
}

static void leave(const char *path) {
    (void)path;
}

/* Runs the model in a process that may not write files as long as its program. */
static int run_limited(void (*at_limit)(int)) {
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {(rlim_t)entry_size - 100, (rlim_t)entry_size - 100};
        result r;
        signal(SIGXFSZ, at_limit);
        bool ok =
            setrlimit(RLIMIT_FSIZE, &limit) == 0 && run_model(MODEL, folder, &r, NULL) == TN_OK;
        _exit(ok ? 0 : 1);
    }
    int state;
    assert_int_equal(waitpid(child, &state, 0), child);
    return state;
}

static int count_entries(const char *part) {
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *d; (d = readdir(dir));) count += strstr(d->d_name, part) != NULL;
    closedir(dir);
    return count;
}

static void test_cache__a_process_killed_while_writing_leaves_no_entry(void **state) {
    (void)state;
    empty_folder();
    result usual = run_ok(MODEL, folder);
    assert_int_equal(spoil_entries(".tn", take_size), 1);
    empty_folder();
    int end = run_limited(SIG_DFL);
    assert_true(WIFSIGNALED(end) && WTERMSIG(end) == SIGXFSZ);
    assert_int_equal(spoil_entries(".tn", leave), 0);
    assert_int_equal(count_entries(".tn.tmp."), 1);
    result again = run_ok(MODEL, folder);
    same(&usual, &again);
    assert_false(again.stats.program_cached);
    assert_true(run_ok(MODEL, folder).stats.program_cached);
}

static void test_cache__weights_that_do_not_fit_are_survived(void **state) {
    (void)state;
    empty_folder();
    run_ok(MODEL, folder);
    assert_int_equal(spoil_entries(".tn", take_size), 1);
    empty_folder();
    int end = run_limited(SIG_IGN);
    assert_true(WIFEXITED(end) && WEXITSTATUS(end) == 0);
    assert_int_equal(count_entries(".tn"), 0);
    assert_true(count_entries(".so") > 0);
}

/* Eight threads, each with a session of its own on one model. */
typedef struct thread_run {
    tn_model *model;
    float value[IMAGES * 10];
    tn_status status;
} thread_run;

static void *run_in_thread(void *argument) {
    thread_run *t = argument;
    tn_session *s;
    float image[IMAGES * 64];
    for (int i = 0; i < IMAGES * 64; i++) image[i] = (float)(i * 7 % 17);
    tn_buffer in = {.dtype = TN_f32, .rank = 4, .dim = {IMAGES, 1, 8, 8}, .data = image};
    t->status = tn_session_create(t->model, &s, NULL);
    for (int round = 0; t->status == TN_OK && round < 20; round++) {
        tn_buffer out = {.data = t->value, .size = sizeof t->value};
        t->status = tn_session_run(s, &in, 1, &out, 1, NULL);
    }
    tn_session_release(s);
    return NULL;
}

static void test_model__eight_threads_get_the_same_bits(void **state) {
    (void)state;
    pthread_t threads[8];
    thread_run runs[8];
    tn_error err = TN_ERROR_INIT;
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    tn_model *m;
    empty_folder();
    o.cache = folder;
    o.threads = 2;
    check(tn_model_open(MODEL, &o, &m, &err), &err);
    for (int i = 0; i < 8; i++) {
        runs[i] = (thread_run){.model = m};
        assert_int_equal(pthread_create(&threads[i], NULL, run_in_thread, &runs[i]), 0);
    }
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(runs[i].status, TN_OK);
        assert_memory_equal(runs[i].value, runs[0].value, sizeof runs[0].value);
    }
    tn_model_release(m);
}

/* A file system of 64 kB is full before the kernels are stored; read-only, it stores nothing. */
static void test_cache__on_a_full_or_read_only_disk_is_survived(void **state) {
    (void)state;
    char disk[300], path[600];
    empty_folder();
    snprintf(disk, sizeof disk, "%s/disk", folder);
    assert_int_equal(mkdir(disk, 0700), 0);
    result usual = run_ok(MODEL, folder);
    if (mount("tmpfs", disk, "tmpfs", 0, "size=64k,mode=0700") != 0) {
        print_message("skipped: a small file system cannot be mounted: %s\n", strerror(errno));
        rmdir(disk);
        return;
    }
    snprintf(path, sizeof path, "%s/fill", disk);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    static const char block[4096];
    while (write(fd, block, sizeof block) > 0) {
    }
    close(fd);
    result full = run_ok(MODEL, disk);
    result r = {0};
    tn_error err = TN_ERROR_INIT;
    bool remounted = mount("tmpfs", disk, "tmpfs", MS_REMOUNT | MS_RDONLY, "size=64k") == 0;
    tn_status status = remounted ? run_model(MODEL, disk, &r, &err) : TN_OK;
    assert_int_equal(umount(disk), 0);
    rmdir(disk);
    same(&usual, &full);
    assert_false(full.stats.program_cached);
    check(status, &err);
    if (remounted) same(&usual, &r);
}

static void test_file__holds_all_that_the_model_needs(void **state) {
    (void)state;
    char path[300];
    tn_error err = TN_ERROR_INIT;
    tn_model *m;
    tn_session *s;
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    empty_folder();
    o.cache = folder;
    snprintf(path, sizeof path, "%s/model.tn", folder);
    result usual = run_ok(MODEL, folder);
    check(tn_model_open(MODEL, &o, &m, &err), &err);
    check(tn_session_create(m, &s, &err), &err);
    check(tn_model_save(m, path, &err), &err);
    tn_session_release(s);
    tn_model_release(m);
    result loaded = run_ok(path, folder);
    same(&usual, &loaded);
    assert_true(loaded.stats.kernels_cached || loaded.stats.interpreted);
    cut(path);
    assert_int_equal(run_model(path, folder, &loaded, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "damaged program file"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache__a_second_open_compiles_nothing),
        cmocka_unit_test(test_cache__damaged_entries_are_made_again),
        cmocka_unit_test(test_cache__weights_are_checked_after_a_boot),
        cmocka_unit_test(test_cache__that_is_not_usable_is_survived),
        cmocka_unit_test(test_cache__a_touched_model_is_compiled_again),
        cmocka_unit_test(test_cache__eight_processes_fill_an_empty_one),
        cmocka_unit_test(test_cache__a_process_killed_while_writing_leaves_no_entry),
        cmocka_unit_test(test_cache__weights_that_do_not_fit_are_survived),
        cmocka_unit_test(test_model__eight_threads_get_the_same_bits),
        cmocka_unit_test(test_cache__on_a_full_or_read_only_disk_is_survived),
        cmocka_unit_test(test_file__holds_all_that_the_model_needs),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
