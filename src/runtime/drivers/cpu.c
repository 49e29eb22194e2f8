/* The CPU: kernels as functions over task ranges, shared among the threads of a pool.
 *
 * Each worker first takes its own share of the grid, in pieces, so that consecutive kernels find
 * their data in its cache; then what is left of the others'. Who computes a task never changes its
 * result. */
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "runtime/driver.h"

enum {
    MAX_WORKERS = 256,
    PIECES = 8, /* per worker's share */
    HUGE_PAGE = 2 << 20,
};

/* ---- memory --------------------------------------------------------------------------------- */

static void *cpu_allocate(size_t size) {
    size_t align = size >= 2 * (size_t)HUGE_PAGE ? HUGE_PAGE : 64, rounded;
    if (!tn_size_add(TN_MAX(size, 1), align - 1, &rounded)) return NULL;
    rounded &= ~(align - 1);
    void *memory = aligned_alloc(align, rounded);
    if (memory && align == HUGE_PAGE) (void)madvise(memory, rounded, MADV_HUGEPAGE);
    return memory;
}

static void cpu_release(void *memory) {
    free(memory);
}

/* ---- launches ------------------------------------------------------------------------------- */

typedef struct share {
    _Alignas(64) atomic_llong next;
    int64_t end;
} share;

typedef struct grid {
    const tn_launch *l;
    int64_t piece;
    size_t workers;
    atomic_int failed; /* the first failure's status, while interpreting */
    tn_error *err;
    share shares[MAX_WORKERS];
} grid;

static tn_status run_tasks(const tn_launch *l, size_t worker, int64_t begin, int64_t end,
                           tn_error *err) {
    void *scratch = l->scratch + worker * l->scratch_stride;
    if (l->function) {
        tn_kernel_context context = {scratch, l->error, l->counters};
        l->function(l->buffers, l->scalars, &context, begin, end);
        return TN_OK;
    }
    tn_loop_args args = {.buffers = l->buffers,
                         .buffer_elements = l->elements,
                         .scalars = l->scalars,
                         .scratch = scratch,
                         .error = l->error,
                         .counters = l->counters};
    return tn_loop_interpret(l->kernel, &args, begin, end, err);
}

static void take_from(grid *g, share *s, size_t worker) {
    for (;;) {
        int64_t begin = atomic_fetch_add_explicit(&s->next, g->piece, memory_order_relaxed);
        if (begin >= s->end || atomic_load_explicit(&g->failed, memory_order_relaxed)) return;
        tn_error err = TN_ERROR_INIT;
        tn_status status = run_tasks(g->l, worker, begin, TN_MIN(begin + g->piece, s->end), &err);
        int none = 0;
        if (status != TN_OK && atomic_compare_exchange_strong(&g->failed, &none, (int)status) &&
            g->err)
            *g->err = err;
    }
}

static void work(void *context, size_t worker) {
    grid *g = context;
    for (size_t i = 0; i < g->workers; i++)
        take_from(g, &g->shares[(worker + i) % g->workers], worker);
}

static tn_status launch_parallel(const tn_launch *l, tn_error *err) {
    grid g;
    g.l = l;
    g.err = err;
    g.workers = (size_t)TN_MIN(tn_pool_threads(l->pool), MAX_WORKERS);
    g.piece = TN_MAX(l->tasks / (int64_t)(g.workers * PIECES), 1);
    atomic_init(&g.failed, 0);
    for (size_t i = 0; i < g.workers; i++) {
        int64_t workers = (int64_t)g.workers, at = (int64_t)i;
        int64_t whole = l->tasks / workers, rest = l->tasks % workers;
        atomic_init(&g.shares[i].next, l->first + whole * at + TN_MIN(rest, at));
        g.shares[i].end = l->first + whole * (at + 1) + TN_MIN(rest, at + 1);
    }
    tn_pool_run(l->pool, work, &g);
    return (tn_status)atomic_load(&g.failed);
}

static tn_status cpu_launch(const tn_launch *l, tn_error *err) {
    if (l->pool && l->tasks > 1) return launch_parallel(l, err);
    return run_tasks(l, 0, l->first, l->first + l->tasks, err);
}

const tn_driver tn_driver_cpu = {
    .name = "cpu", .allocate = cpu_allocate, .release = cpu_release, .launch = cpu_launch};
