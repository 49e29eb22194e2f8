/* A process that is killed while it saves, and one that the system refuses space: what was complete before
 * can be loaded, exactly.
 *
 *   TENON_KILLS=50 build/tests/test_unit_nn_checkpoint_crash      more moments than the usual few */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tenon/checkpoint.h"
#include "unit/nn/lazy_test.h"
#include "unit/test_folder.h"

enum { TENSORS = 4, COUNT = 20000, KILLS = 6 };

/* Element i of tensor t at a step. */
static float number_of(int64_t step, int t, int i) {
    return (float)((step * 31 + t * 7 + i) % 4096);
}

static void make_state(tn_context *c, int64_t step, tn_named_tensor out[TENSORS]) {
    static const char *const names[TENSORS] = {"a", "b", "c", "d"};
    static float numbers[COUNT];
    for (int t = 0; t < TENSORS; t++) {
        for (int i = 0; i < COUNT; i++) numbers[i] = number_of(step, t, i);
        out[t] = (tn_named_tensor){names[t], tn_tensor_from(c, TN_f32, TN_SHAPE(COUNT), numbers)};
    }
}

static tn_status save_state(tn_context *c, const char *run, int64_t step, tn_error *err) {
    tn_named_tensor x[TENSORS];
    tn_scope *scope = tn_scope_open(c);
    make_state(c, step, x);
    tn_checkpoint_part parts[] = {{"model", x, 2}, {"optimizer", x + 2, 2}};
    tn_named_blob blob = {"step", &step, sizeof step};
    tn_checkpoint_content content = {parts, 2, &blob, 1};
    tn_checkpoint_options options = TN_CHECKPOINT_OPTIONS_INIT;
    options.keep = 2;
    options.shard_bytes = COUNT * 4;
    tn_status status = tn_checkpoint_save(run, step, &content, &options, err);
    tn_scope_close(scope);
    return status;
}

/* Returns the step of the newest, whose content must be that of the step; −1: there is none. */
static int64_t check_newest(const char *run) {
    tn_error err = TN_ERROR_INIT;
    tn_checkpoint *k;
    tn_status status = tn_checkpoint_open(run, TN_CHECKPOINT_NEWEST, &k, &err);
    if (status == TN_NOT_FOUND) return -1;
    must(status, &err);
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_scope *scope = tn_scope_open(c);
    static float numbers[COUNT];
    tn_named_tensor x[TENSORS];
    const void *blob;
    size_t size;
    int64_t step = tn_checkpoint_step(k);
    make_state(c, -1, x);
    tn_checkpoint_part parts[] = {{"model", x, 2}, {"optimizer", x + 2, 2}};
    must(tn_checkpoint_load(k, parts, 2, 0, &err), &err);
    must(tn_checkpoint_blob(k, "step", &blob, &size, &err), &err);
    assert_true(size == sizeof step && memcmp(blob, &step, size) == 0);
    for (int t = 0; t < TENSORS; t++) {
        read_into(x[t].tensor, numbers, sizeof numbers);
        for (int i = 0; i < COUNT; i++)
            if (numbers[i] != number_of(step, t, i)) fail_msg("step %lld differs", (long long)step);
    }
    tn_checkpoint_release(k);
    tn_scope_close(scope);
    tn_context_release(c);
    return step;
}

/* Tells that it begins, and saves until it is killed. */
static _Noreturn void save_for_ever(const char *run, int64_t step, int ready) {
    tn_error err = TN_ERROR_INIT;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    if (write(ready, "", 1) != 1) _exit(1);
    for (;; step++)
        if (save_state(c, run, step, &err) != TN_OK) {
            fprintf(stderr, "%s\n", err.message);
            _exit(1);
        }
}

/* A saving process, from `step` on, that lives `wait` ns from its first save on. */
static void kill_after(long wait, const char *run, int64_t step) {
    int ends[2], status;
    char byte;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) save_for_ever(run, step, ends[1]);
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    nanosleep(&(struct timespec){.tv_nsec = wait}, NULL);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status)) fail_msg("the saving process ended by itself");
}

static void test_checkpoint__survives_kill_9(void **state) {
    const char *text = getenv("TENON_KILLS");
    int kills = text ? atoi(text) : KILLS;
    uint64_t random = 20261122;
    char run[512];
    int64_t newest = -1;
    (void)state;
    snprintf(run, sizeof run, "%s/run", folder);
    for (int i = 0; i < kills; i++) {
        long wait = (long)(test_random(&random) % 200000000); /* ns */
        kill_after(wait, run, newest + 1);
        int64_t step = check_newest(run);
        if (step < newest)
            fail_msg("after step %lld: step %lld", (long long)newest, (long long)step);
        newest = step;
    }
    print_message("%d kills, %lld checkpoints\n", kills, (long long)newest + 1);
}

/* In a process of its own: limits cannot be taken back. */
static int run_limited(const char *run) {
    struct rlimit limit = {30000, 30000}; /* bytes of a file; a shard has 80000 */
    tn_error err = TN_ERROR_INIT;
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_status status = save_state(c, run, 2, &err);
    tn_context_release(c);
    bool right = status == TN_IO && strstr(err.message, "step-2.tmp/model-00001-of-00002") &&
                 strstr(err.message, strerror(EFBIG));
    if (!right) fprintf(stderr, "%s\n", err.message);
    return right ? 0 : 3;
}

static void test_checkpoint__stays_when_there_is_no_space(void **state) {
    char run[512], path[600];
    tn_error err = TN_ERROR_INIT;
    int status;
    (void)state;
    empty_folder();
    snprintf(run, sizeof run, "%s/run", folder);
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    must(save_state(c, run, 1, &err), &err);
    tn_context_release(c);
    pid_t child = fork();
    if (child == 0) _exit(run_limited(run));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(check_newest(run), 1);
    snprintf(path, sizeof path, "%s/step-2.tmp", run);
    assert_int_not_equal(access(path, F_OK), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoint__survives_kill_9),
        cmocka_unit_test(test_checkpoint__stays_when_there_is_no_space),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
