/* The thread pool. See pool.h. */
#include "runtime/pool.h"

#include <pthread.h>
#include <pthreadpool.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/cores.h"
#include "base/io.h"

/* Waking a worker takes some tens of microseconds, as long as a small run. Left awake, it gives up after
 * some milliseconds, which a single run shall not cost. */
#define DENSE_SECONDS 200e-6

struct tn_pool {
    atomic_int owners;
    pthread_mutex_t busy;
    pthreadpool_t threads; /* NULL until first needed */
    int count;
    bool awake;  /* workers wait actively for the next launch */
    bool dense;  /* runs follow each other closely: workers stay awake between them */
    double left; /* when the last run ended */
    /* The launch that runs. `turn` orders it before and behind the workers' part once more than
     * pthreadpool does, so that ThreadSanitizer sees the order too. */
    tn_pool_work *work;
    void *context;
    atomic_uint turn;
};

tn_pool *tn_pool_create(int threads) {
    tn_pool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    atomic_init(&pool->owners, 1);
    pool->count = threads > 0 ? threads : tn_cores();
    pthread_mutex_init(&pool->busy, NULL);
    return pool;
}

tn_pool *tn_pool_share(tn_pool *pool) {
    atomic_fetch_add(&pool->owners, 1);
    return pool;
}

void tn_pool_release(tn_pool *pool) {
    if (!pool || atomic_fetch_sub(&pool->owners, 1) != 1) return;
    if (pool->threads) pthreadpool_destroy(pool->threads);
    pthread_mutex_destroy(&pool->busy);
    free(pool);
}

int tn_pool_threads(const tn_pool *pool) {
    return pool->count;
}

bool tn_pool_acquire(tn_pool *pool) {
    if (pool->count < 2 || pthread_mutex_trylock(&pool->busy) != 0) return false;
    if (!pool->threads) pool->threads = pthreadpool_create((size_t)pool->count);
    pool->dense = tn_seconds() - pool->left < DENSE_SECONDS;
    if (pool->threads) return true;
    pthread_mutex_unlock(&pool->busy);
    return false;
}

static void take_part(void *argument, size_t worker) {
    tn_pool *pool = argument;
    (void)atomic_load_explicit(&pool->turn, memory_order_acquire);
    pool->work(pool->context, worker);
    atomic_fetch_add_explicit(&pool->turn, 1, memory_order_release);
}

void tn_pool_run(tn_pool *pool, tn_pool_work *work, void *context, bool last) {
    bool sleep = last && !pool->dense;
    pool->work = work;
    pool->context = context;
    atomic_fetch_add_explicit(&pool->turn, 1, memory_order_release);
    pthreadpool_parallelize_1d(pool->threads, take_part, pool, (size_t)pool->count,
                               sleep ? PTHREADPOOL_FLAG_YIELD_WORKERS : 0);
    (void)atomic_load_explicit(&pool->turn, memory_order_acquire);
    pool->awake = !sleep;
}

void tn_pool_stay_awake(tn_pool *pool, bool awake) {
    pool->dense = awake;
}

static void nothing(void *context, size_t worker) {
    (void)context;
    (void)worker;
}

void tn_pool_leave(tn_pool *pool) {
    if (pool->awake && !pool->dense) tn_pool_run(pool, nothing, NULL, true);
    pool->left = tn_seconds();
    pthread_mutex_unlock(&pool->busy);
}
