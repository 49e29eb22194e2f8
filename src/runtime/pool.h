/* The threads of a model, or of several: one pool, made when first needed, given back at its last release.
 *
 * One run at a time holds the pool; a run that finds it busy works on its own thread. */
#ifndef TENON_RUNTIME_POOL_H
#define TENON_RUNTIME_POOL_H

#include "base/base.h"

typedef struct tn_pool tn_pool;
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
/* Calls work(context, 0 … threads-1) side by side. `last`: the workers may sleep afterwards. The
 * caller holds the pool. */
void tn_pool_run(tn_pool *pool, tn_pool_work *work, void *context, bool last);
/* Whether workers wait for the next run when this one ends, whatever the time between runs was so far. */
void tn_pool_stay_awake(tn_pool *pool, bool awake);
/* Gives the pool back, and lets workers sleep that the run left waiting, unless one run follows the other
 * at once. */
void tn_pool_leave(tn_pool *pool);

#endif
