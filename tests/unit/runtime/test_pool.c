/* The thread pool: all work is done once, by whoever comes, and nobody is waited for who has not come. */
#include "unit/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "runtime/pool.h"

enum { TASKS = 64, ROUNDS = 3000 };

typedef struct tally {
    atomic_int next;
    int done[TASKS]; /* not atomic: the launch orders them */
    int tasks;
} tally;

static void count_tasks(void *context, size_t worker) {
    tally *t = context;
    (void)worker;
    for (int i; (i = atomic_fetch_add(&t->next, 1)) < t->tasks;) t->done[i]++;
}

static void rest(long microseconds) {
    struct timespec time = {0, microseconds * 1000};
    if (microseconds) nanosleep(&time, NULL);
}

/* One launch; whether each task was done once. */
static bool launch(tn_pool *pool, int tasks) {
    tally t = {.tasks = tasks};
    tn_pool_run(pool, count_tasks, &t);
    for (int i = 0; i < TASKS; i++)
        if (t.done[i] != (i < tasks)) return false;
    return true;
}

/* Pauses let workers be awake, falling asleep, and asleep. */
static bool launch_many(tn_pool *pool, int rounds) {
    bool ok = true;
    for (int r = 0; r < rounds; r++) {
        if (!tn_pool_acquire(pool)) continue;
        for (int i = 0; i < r % 4; i++) {
            ok &= launch(pool, r % (TASKS + 1));
            if (r % 64 == 1) rest(60);
        }
        tn_pool_leave(pool);
        if (r % 32 == 0) rest(r % 5 * 60);
    }
    return ok;
}

static void test_pool__each_task_is_done_once(void **state) {
    (void)state;
    for (int threads = 2; threads < 7; threads += 2) {
        tn_pool *pool = tn_pool_create(threads);
        assert_non_null(pool);
        assert_int_equal(tn_pool_threads(pool), threads);
        assert_true(launch_many(pool, ROUNDS));
        tn_pool_release(pool);
    }
}

static void *launch_beside(void *pool) {
    return launch_many(pool, ROUNDS) ? pool : NULL;
}

static void test_pool__runs_of_several_threads_take_turns(void **state) {
    (void)state;
    pthread_t threads[4];
    tn_pool *pool = tn_pool_create(3);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, launch_beside, tn_pool_share(pool)), 0);
    for (int i = 0; i < 4; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        assert_ptr_equal(result, pool);
        tn_pool_release(pool);
    }
    tn_pool_release(pool);
}

static void test_pool__a_run_within_a_run_has_no_pool(void **state) {
    (void)state;
    tn_pool *pool = tn_pool_create(2), *single = tn_pool_create(1);
    assert_true(tn_pool_acquire(pool));
    assert_false(tn_pool_acquire(pool));
    tn_pool_leave(pool);
    assert_true(tn_pool_acquire(pool));
    tn_pool_leave(pool);
    assert_false(tn_pool_acquire(single));
    tn_pool_release(pool);
    tn_pool_release(single);
    tn_pool_release(NULL);
}

typedef struct meeting {
    atomic_int came;
    int wanted;
    double until;
} meeting;

static void meet(void *context, size_t worker) {
    meeting *m = context;
    (void)worker;
    atomic_fetch_add(&m->came, 1);
    while (atomic_load(&m->came) < m->wanted && tn_seconds() < m->until) rest(10);
}

/* Of workers that had time to fall asleep, at any point of it, none misses the launch. */
static void test_pool__a_launch_wakes_all_workers(void **state) {
    (void)state;
    tn_pool *pool = tn_pool_create(3);
    for (int i = 0; i < 100; i++) {
        meeting m = {.wanted = 3, .until = tn_seconds() + 20};
        assert_true(tn_pool_acquire(pool));
        tn_pool_run(pool, meet, &m);
        tn_pool_leave(pool);
        assert_int_equal(atomic_load(&m.came), 3);
        rest(i * 5);
    }
    tn_pool_release(pool);
}

/* A worker may take long: the caller sleeps, and is woken. */
static void take_longer(void *context, size_t worker) {
    meet(context, worker);
    if (worker) rest(2000);
    atomic_fetch_add((atomic_int *)context, 1);
}

static void test_pool__the_caller_waits_for_those_who_came(void **state) {
    (void)state;
    tn_pool *pool = tn_pool_create(3);
    for (int i = 0; i < 20; i++) {
        meeting m = {.wanted = 3, .until = tn_seconds() + 20};
        assert_true(tn_pool_acquire(pool));
        tn_pool_run(pool, take_longer, &m);
        tn_pool_leave(pool);
        assert_int_equal(atomic_load(&m.came), 6);
    }
    tn_pool_release(pool);
}

/* The workers of a forked process do not exist in its child, so there none ever comes. */
static void test_pool__does_not_wait_for_who_does_not_come(void **state) {
    (void)state;
    tn_pool *pool = tn_pool_create(3);
    assert_true(launch_many(pool, 100));
    pid_t child = fork();
    if (child == 0) {
        bool ok = tn_pool_acquire(pool);
        for (int i = 0; ok && i < 100; i++) ok = launch(pool, TASKS);
        if (ok) tn_pool_leave(pool);
        tn_pool_release(pool);
        _exit(ok ? 0 : 1);
    }
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(launch_many(pool, 100));
    tn_pool_release(pool);
}

static void test_pool__ends_in_any_state(void **state) {
    (void)state;
    for (int i = 0; i < 200; i++) {
        tn_pool *pool = tn_pool_create(2 + i % 3);
        if (i % 10) assert_true(launch_many(pool, i % 5));
        rest(i % 7 * 20);
        tn_pool_release(pool);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool__each_task_is_done_once),
        cmocka_unit_test(test_pool__runs_of_several_threads_take_turns),
        cmocka_unit_test(test_pool__a_run_within_a_run_has_no_pool),
        cmocka_unit_test(test_pool__a_launch_wakes_all_workers),
        cmocka_unit_test(test_pool__the_caller_waits_for_those_who_came),
        cmocka_unit_test(test_pool__does_not_wait_for_who_does_not_come),
        cmocka_unit_test(test_pool__ends_in_any_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
