/* The threads of a model, or of several: one pool, whose workers start when first needed and end at its last
 * release.
 *
 * One run at a time holds the pool; a run that finds it busy, or begins within another, works on its own
 * thread. A launch never waits for a worker that has not begun to take part: the caller does what nobody
 * else takes. So a worker that sleeps, or whose core another process has, costs no more than its help. */
#ifndef TENON_RUNTIME_POOL_H
#define TENON_RUNTIME_POOL_H

#include "base/base.h"

typedef struct tn_pool tn_pool;
/* Does tasks until none is left that no other worker has taken. */
typedef void tn_pool_work(void *context, size_t worker);

/* `threads` 0: tn_cores(). NULL when memory runs out. */
tn_pool *tn_pool_create(int threads);
/* One more owner of it. */
tn_pool *tn_pool_share(tn_pool *pool);
void tn_pool_release(tn_pool *pool);
/* Threads that work on a run, the caller included. */
int tn_pool_threads(const tn_pool *pool);

/* Takes the pool for a run; false when another run has it, or there is only one thread. */
bool tn_pool_acquire(tn_pool *pool);
/* Calls work(context, 0) here and work(context, worker) on each worker (1 … threads-1) that comes before
 * that has returned; returns when all calls have. The caller holds the pool. */
void tn_pool_run(tn_pool *pool, tn_pool_work *work, void *context);
/* Whether workers wait for the next run when this one ends, whatever the time between runs was so far. */
void tn_pool_stay_awake(tn_pool *pool, bool awake);
/* Gives the pool back. Its workers go to sleep, unless one run follows the other at once. */
void tn_pool_leave(tn_pool *pool);

#endif
