/* Each call to the system that a save makes fails once: the save ends in an error, or has done its work; the
 * checkpoint before it stays, and the next save succeeds. The linker puts these functions in place
 * of the system's (tests/CMakeLists.txt). */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tenon/checkpoint.h"
#include "unit/nn/lazy_test.h"
#include "unit/test_folder.h"

static int calls, fails_at; /* 0: none fails */
static const char *failed;

static bool fails(const char *name, int error) {
    if (++calls != fails_at) return false;
    failed = name;
    errno = error;
    return true;
}

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size) {
    if (fd <= 2) return __real_write(fd, data, size);
    if (fails("write", ENOSPC)) return -1;
    return __real_write(fd, data, size > 1000 ? size / 2 : size); /* in parts, as it may */
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd) {
    return fails("fsync", EIO) ? -1 : __real_fsync(fd);
}

int __real_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode) {
    return fails("mkdir", ENOSPC) ? -1 : __real_mkdir(path, mode);
}

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to) {
    return fails("rename", EIO) ? -1 : __real_rename(from, to);
}

int __real_renameat2(int from_folder, const char *from, int folder_of_to, const char *to,
                     unsigned flags);
int __wrap_renameat2(int from_folder, const char *from, int folder_of_to, const char *to,
                     unsigned flags);
int __wrap_renameat2(int from_folder, const char *from, int folder_of_to, const char *to,
                     unsigned flags) {
    if (fails("renameat2", EINVAL)) return -1;
    return __real_renameat2(from_folder, from, folder_of_to, to, flags);
}

/* ---- the test ------------------------------------------------------------------------------- */

static tn_status save(tn_context *c, const char *run, int64_t step, float value, tn_error *err) {
    tn_scope *scope = tn_scope_open(c);
    tn_named_tensor x = {"x", tn_tensor_from(c, TN_f32, TN_SHAPE(2), (float[]){value, value})};
    tn_checkpoint_part part = {"model", &x, 1};
    tn_named_blob blob = {"loader", "position", 8};
    tn_checkpoint_content content = {&part, 1, &blob, 1};
    tn_checkpoint_options options = TN_CHECKPOINT_OPTIONS_INIT;
    options.keep = 1;
    tn_status status = tn_checkpoint_save(run, step, &content, &options, err);
    tn_scope_close(scope);
    return status;
}

/* The value of the newest. */
static float newest(tn_context *c, const char *run, int64_t *step) {
    tn_error err = TN_ERROR_INIT;
    tn_checkpoint *k;
    float value[2];
    tn_tensor *x;
    must(tn_checkpoint_open(run, TN_CHECKPOINT_NEWEST, &k, &err), &err);
    must(tn_tensor_file_get(tn_checkpoint_tensors(k, "model"), c, "x", &x, &err), &err);
    read_into(x, value, sizeof value);
    tn_release(x);
    *step = tn_checkpoint_step(k);
    tn_checkpoint_release(k);
    return value[0];
}

/* A save of `step` over one of step 1; returns false when nothing failed any more. */
static bool fail_once(tn_context *c, int n, int64_t step) {
    tn_error err = TN_ERROR_INIT;
    char run[512], temporary[600];
    int64_t found;
    empty_folder();
    snprintf(run, sizeof run, "%s/run", folder);
    must(save(c, run, 1, 10, &err), &err);
    calls = 0;
    fails_at = n;
    failed = NULL;
    tn_status status = save(c, run, step, 20, &err);
    fails_at = 0;
    float value = newest(c, run, &found);
    if (status == TN_OK && (value != 20 || found != step))
        fail_msg("%s fails, call %d: saved, but not there", failed, n);
    if (status != TN_OK && (!failed || !err.message[0])) fail_msg("call %d: no message", n);
    /* once it is renamed, it is there, though whether it is on disk is not known */
    if (status != TN_OK && value != 10 && strcmp(failed, "fsync") != 0)
        fail_msg("%s fails, call %d: the one before is gone", failed, n);
    snprintf(temporary, sizeof temporary, "%s/step-%d.tmp", run, (int)step);
    if (access(temporary, F_OK) == 0) fail_msg("%s fails, call %d: leftovers", failed, n);
    must(save(c, run, 3, 30, &err), &err);
    assert_true(newest(c, run, &found) == 30 && found == 3);
    return failed != NULL;
}

static void test_save__may_fail_anywhere(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    for (int64_t step = 1; step <= 2; step++) {
        int n = 1;
        while (fail_once(c, n, step)) n++;
        assert_true(n > 10);
    }
    tn_context_release(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_save__may_fail_anywhere)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
