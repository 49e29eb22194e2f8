/* The thread pool. See pool.h.
 *
 * `turn` counts launches and their ends: it is odd while a launch is open. A worker that sees an odd turn
 * writes it to its own `at`, and takes part if the launch is still open then. The caller works, closes the
 * launch, and waits for the workers whose `at` is that turn. Both sides write one word and then read the
 * other's, in one order for all (sequentially consistent), so either the caller sees the worker or the worker
 * sees the launch closed. What a launch is about (`work`, `context`) is written while none is open and read
 * only by those who take part. A worker that misses turns, even 2^32 of them, misses nothing else.
 *
 * A worker without work waits actively for `patience`, then sleeps until a launch wakes it. */
#include "runtime/pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cores.h"
#include "base/io.h"
#include "base/park.h"
#include "runtime/placement.h"

/* Runs this close to each other are not worth the sleep between them: waking takes some tens of
 * microseconds. Between launches of a run a worker waits as long as a few wakings take. */
#define DENSE_SECONDS  200e-6
#define DENSE_PATIENCE 200e-6
#define RUN_PATIENCE   50e-6
/* A worker that takes longer than this to end its part has probably lost its core, for milliseconds. */
#define CALLER_PATIENCE 200e-6
enum { LOOKS = 32 /* between readings of the clock, while waiting */ };

typedef struct worker {
    _Alignas(64) atomic_uint at; /* the turn it takes part in; even: none */
    tn_pool *pool;
    size_t index;    /* 1 … */
    unsigned seen;   /* the turn when it was made */
    atomic_int core; /* where it last took part; -1: nowhere yet */
    pthread_t thread;
} worker;

struct tn_pool {
    /* Written for each launch, read by all. */
    _Alignas(64) atomic_uint turn;
    tn_pool_work *work;
    void *context;
    /* Read by all, written seldom. */
    _Alignas(64) atomic_uint sleepers;
    atomic_uint patience; /* of workers, in nanoseconds */
    atomic_int core;      /* the caller's */
    atomic_bool caller_sleeps, stop;
    /* The holder's, and the owners'. */
    _Alignas(64) atomic_bool busy;
    atomic_int owners;
    int count, started; /* threads; workers that exist */
    bool dense;         /* runs follow each other closely */
    double left;        /* when the last run ended */
    pid_t process;      /* which has the workers */
    tn_placement place; /* of the workers */
    worker *workers;
};

static inline void relax(void) {
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#elif defined __aarch64__ || defined __arm__
    __asm__ volatile("yield");
#endif
}

/* Turn `n` of a waiting loop, n > 0: seconds since the loop first looked at the clock; below 0 in most turns,
 * which do not look. */
static double waited(double *began, unsigned n) {
    if (n % LOOKS) return -1;
    double now = tn_seconds();
    if (*began == 0) *began = now;
    return now - *began;
}

/* ---- workers -------------------------------------------------------------------------------- */

static void sleep_until_woken(tn_pool *p, unsigned seen) {
    atomic_fetch_add(&p->sleepers, 1);
    if (!atomic_load(&p->stop)) tn_park(&p->turn, seen);
    atomic_fetch_sub(&p->sleepers, 1);
}

static unsigned await_turn(tn_pool *p, unsigned seen) {
    double began = 0;
    for (unsigned n = 1;; n++) {
        unsigned turn = atomic_load_explicit(&p->turn, memory_order_acquire);
        if (turn != seen) return turn;
        relax();
        double patience = 1e-9 * atomic_load_explicit(&p->patience, memory_order_relaxed);
        if (waited(&began, n) >= patience) sleep_until_woken(p, seen);
    }
}

static void take_part(worker *w, unsigned turn) {
    tn_pool *p = w->pool;
    int core = tn_placement_core();
    if (core == atomic_load_explicit(&p->core, memory_order_relaxed))
        tn_placement_avoid(&p->place, pthread_self(), core);
    else if (core != atomic_load_explicit(&w->core, memory_order_relaxed))
        atomic_store_explicit(&w->core, core, memory_order_relaxed);
    atomic_store(&w->at, turn);
    if (atomic_load(&p->turn) == turn) p->work(p->context, w->index);
    atomic_store(&w->at, 0);
    if (atomic_load(&p->caller_sleeps)) tn_unpark(&w->at);
}

static void *serve(void *argument) {
    worker *w = argument;
    unsigned seen = w->seen;
    while (!atomic_load(&w->pool->stop)) {
        seen = await_turn(w->pool, seen);
        if (seen % 2) take_part(w, seen);
    }
    return NULL;
}

/* Without memory or threads for them there are fewer. */
static void start_workers(tn_pool *p) {
    p->workers = aligned_alloc(_Alignof(worker), (size_t)(p->count - 1) * sizeof *p->workers);
    p->process = getpid();
    tn_placement_init(&p->place);
    int core = tn_placement_core();
    for (int i = 0; p->workers && i < p->count - 1; i++) {
        worker *w = &p->workers[i];
        *w = (worker){.pool = p, .index = (size_t)i + 1, .seen = atomic_load(&p->turn), .core = -1};
        if (pthread_create(&w->thread, NULL, serve, w) != 0) return;
        tn_placement_avoid(&p->place, w->thread, core);
        p->started++;
    }
}

/* A child of the process that has the workers has none. */
static void end_workers(tn_pool *p) {
    atomic_store(&p->stop, true);
    atomic_fetch_add(&p->turn, 2);
    tn_unpark(&p->turn);
    for (int i = 0; i < p->started && p->process == getpid(); i++)
        pthread_join(p->workers[i].thread, NULL);
    free(p->workers);
}

/* ---- owners --------------------------------------------------------------------------------- */

tn_pool *tn_pool_create(int threads) {
    tn_pool *p = aligned_alloc(_Alignof(tn_pool), sizeof *p);
    if (!p) return NULL;
    *p = (tn_pool){.count = threads > 0 ? threads : tn_cores()};
    atomic_init(&p->owners, 1);
    return p;
}

tn_pool *tn_pool_share(tn_pool *p) {
    atomic_fetch_add(&p->owners, 1);
    return p;
}

void tn_pool_release(tn_pool *p) {
    if (!p || atomic_fetch_sub(&p->owners, 1) != 1) return;
    if (p->workers) end_workers(p);
    free(p);
}

int tn_pool_threads(const tn_pool *p) {
    return p->count;
}

/* ---- runs ----------------------------------------------------------------------------------- */

static void set_patience(tn_pool *p, double seconds) {
    atomic_store_explicit(&p->patience, (unsigned)(seconds * 1e9), memory_order_relaxed);
}

bool tn_pool_acquire(tn_pool *p) {
    if (p->count < 2 || atomic_exchange(&p->busy, true)) return false;
    if (!p->workers) start_workers(p);
    p->dense = tn_seconds() - p->left < DENSE_SECONDS;
    set_patience(p, RUN_PATIENCE);
    return true;
}

static void avoid_core(tn_pool *p, int core) {
    atomic_store_explicit(&p->core, core, memory_order_relaxed);
    for (int i = 0; i < p->started; i++) {
        worker *w = &p->workers[i];
        if (atomic_load_explicit(&w->core, memory_order_relaxed) == core)
            tn_placement_avoid(&p->place, w->thread, core);
    }
}

/* A worker that has lost its core gets the caller's, which sleeps meanwhile. */
static void await_worker(tn_pool *p, worker *w, unsigned turn, double *began) {
    for (unsigned n = 1; atomic_load(&w->at) == turn; n++) {
        relax();
        if (waited(began, n) < CALLER_PATIENCE) continue;
        tn_placement_bring(&p->place, w->thread, tn_placement_core());
        atomic_store(&p->caller_sleeps, true);
        tn_park(&w->at, turn);
        atomic_store(&p->caller_sleeps, false);
        tn_placement_avoid(&p->place, w->thread, tn_placement_core());
    }
}

void tn_pool_run(tn_pool *p, tn_pool_work *work, void *context) {
    unsigned turn = atomic_load_explicit(&p->turn, memory_order_relaxed) + 1;
    double began = 0;
    int core = tn_placement_core();
    if (core != atomic_load_explicit(&p->core, memory_order_relaxed)) avoid_core(p, core);
    p->work = work;
    p->context = context;
    atomic_store(&p->turn, turn);
    if (atomic_load(&p->sleepers) > 0) tn_unpark(&p->turn);
    work(context, 0);
    atomic_store(&p->turn, turn + 1);
    for (int i = 0; i < p->started; i++) await_worker(p, &p->workers[i], turn, &began);
}

void tn_pool_stay_awake(tn_pool *p, bool awake) {
    p->dense = awake;
}

void tn_pool_leave(tn_pool *p) {
    set_patience(p, p->dense ? DENSE_PATIENCE : 0);
    p->left = tn_seconds();
    atomic_store(&p->busy, false);
}
