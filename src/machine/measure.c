/* Timing the measuring kernels on one and on many threads. See measure.h. */
#include "machine/measure.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/io.h"

enum {
    REPETITIONS = 6,
    FMA_SECONDS_PART = 50, /* a repetition of fma takes 1/50 s */
    HANDOFFS = 20000,      /* of a repetition; even */
    CACHE_PASSES = 64,
};

typedef enum work_kind {
    WORK_FMA,
    WORK_READ,
    WORK_COPY,
    WORK_CACHE,
    WORK_TOUCH,
    WORK_HANDOFF
} work_kind;

typedef struct worker worker;

typedef struct bench {
    const tn_measure_kernels *k;
    worker *workers; /* one per thread, for every measurement */
    work_kind kind;
    int threads;
    int64_t rounds; /* of fma */
    float *from, *to;
    int64_t count;                /* floats of each array */
    int64_t cached;               /* floats that a thread copies within its cache */
    _Alignas(64) atomic_int ball; /* handed off so many times */
    _Alignas(64) pthread_barrier_t barrier;
    pthread_mutex_t gate; /* held until all threads are there */
    bool abandoned;       /* some could not be started: go home */
    double best;          /* seconds of the fastest repetition */
} bench;

struct worker {
    bench *b;
    int index;
    pthread_t thread;
    float sink;
};

/* The part of the arrays that is thread `index`'s: a multiple of 256 floats. */
static int64_t part_size(int64_t count, int threads) {
    return count / threads / 256 * 256;
}

static int64_t part_begin(const bench *b, int index) {
    return part_size(b->count, b->threads) * index;
}

/* Two threads by turns. Waiting gives up the core after a while: there may be only one. */
static void hand_off(atomic_int *ball, int index) {
    for (int n = index; n < HANDOFFS; n += 2) {
        for (int spins = 0; atomic_load_explicit(ball, memory_order_acquire) != n; spins++)
            if (spins > 10000) sched_yield();
        atomic_store_explicit(ball, n + 1, memory_order_release);
    }
}

static void work(worker *w) {
    bench *b = w->b;
    int64_t begin = part_begin(b, w->index), count = part_begin(b, 1);
    switch (b->kind) {
    case WORK_FMA:
        b->k->fma(b->rounds, &w->sink);
        break;
    case WORK_READ:
        b->k->read(b->from + begin, count, &w->sink);
        break;
    case WORK_COPY:
        b->k->copy(b->to + begin, b->from + begin, count);
        break;
    case WORK_CACHE:
        for (int pass = 0; pass < CACHE_PASSES; pass++)
            b->k->copy(b->to + begin, b->from + begin, b->cached);
        break;
    case WORK_TOUCH: /* pages are placed near the thread that first writes them */
        for (int64_t i = 0; i < count; i++) b->from[begin + i] = b->to[begin + i] = 1;
        break;
    case WORK_HANDOFF:
        hand_off(&b->ball, w->index);
        break;
    }
}

static void *work_repeatedly(void *argument) {
    worker *w = argument;
    bench *b = w->b;
    pthread_mutex_lock(&b->gate);
    bool abandoned = b->abandoned;
    pthread_mutex_unlock(&b->gate);
    for (int r = 0; r < REPETITIONS && !abandoned; r++) {
        pthread_barrier_wait(&b->barrier);
        double start = tn_seconds();
        work(w);
        pthread_barrier_wait(&b->barrier);
        double seconds = tn_seconds() - start;
        if (w->index == 0 && (r == 0 || seconds < b->best)) b->best = seconds;
        if (w->index == 0) atomic_store(&b->ball, 0); /* before the next barrier */
        if (b->kind == WORK_TOUCH) break;
    }
    return NULL;
}

static void start_and_join(bench *b) {
    worker *workers = b->workers;
    int started = 1;
    pthread_mutex_lock(&b->gate);
    while (started < b->threads &&
           pthread_create(&workers[started].thread, NULL, work_repeatedly, &workers[started]) == 0)
        started++;
    b->abandoned = started < b->threads;
    pthread_mutex_unlock(&b->gate);
    work_repeatedly(&workers[0]);
    for (int i = 1; i < started; i++) pthread_join(workers[i].thread, NULL);
}

/* Seconds of the best repetition, in b->best. */
static tn_status run(bench *b, work_kind kind, int threads, tn_error *err) {
    b->kind = kind;
    b->threads = threads;
    for (int i = 0; i < threads; i++) b->workers[i] = (worker){.b = b, .index = i};
    pthread_barrier_init(&b->barrier, NULL, (unsigned)threads);
    pthread_mutex_init(&b->gate, NULL);
    start_and_join(b);
    pthread_mutex_destroy(&b->gate);
    pthread_barrier_destroy(&b->barrier);
    if (b->abandoned)
        return tn_error_set(err, TN_RUNTIME, "cannot start %d threads; ask for fewer (--threads)",
                            threads);
    return TN_OK;
}

static double fma_gflops(const bench *b) {
    return b->k->flops_per_round * (double)b->rounds * b->threads / b->best * 1e-9;
}

static double gbs(const bench *b, int arrays) {
    return (double)part_begin(b, 1) * b->threads * (double)sizeof(float) * arrays / b->best * 1e-9;
}

/* As many rounds as a repetition shall take. */
static void choose_rounds(bench *b) {
    float sink = 0;
    double seconds = 0;
    for (b->rounds = 1024; seconds < 0.004; b->rounds *= 2) {
        double start = tn_seconds();
        b->k->fma(b->rounds, &sink);
        seconds = tn_seconds() - start;
    }
    double a_round = seconds / (double)(b->rounds / 2);
    b->rounds = (int64_t)(1.0 / FMA_SECONDS_PART / a_round) + 1;
}

static tn_status measure_scale(bench *b, int threads, tn_roofs *out, tn_error *err) {
    TN_CHECK(run(b, WORK_FMA, threads, err));
    double gflops = fma_gflops(b);
    TN_CHECK(run(b, WORK_READ, threads, err));
    int at = out->scale_count++;
    out->scale[at].threads = threads;
    out->scale[at].gflops = gflops;
    out->scale[at].read_gbs = gbs(b, 1);
    return TN_OK;
}

static tn_status measure_all(bench *b, int threads, tn_roofs *out, tn_error *err) {
    TN_CHECK(run(b, WORK_TOUCH, threads, err));
    choose_rounds(b);
    for (int n = 1; n < threads && out->scale_count < TN_ROOF_SCALES - 1; n *= 2)
        TN_CHECK(measure_scale(b, n, out, err));
    TN_CHECK(measure_scale(b, threads, out, err));
    TN_CHECK(run(b, WORK_COPY, 1, err));
    out->copy_gbs_1 = gbs(b, 2);
    TN_CHECK(run(b, WORK_COPY, threads, err));
    out->copy_gbs = gbs(b, 2);
    TN_CHECK(run(b, WORK_CACHE, threads, err));
    out->cache_gbs =
        (double)b->cached * CACHE_PASSES * threads * (double)sizeof(float) * 2 / b->best * 1e-9;
    if (threads > 1) TN_CHECK(run(b, WORK_HANDOFF, 2, err));
    out->handoff_ns = threads > 1 ? b->best / HANDOFFS * 1e9 : 0;
    out->gflops_1 = out->scale[0].gflops;
    out->read_gbs_1 = out->scale[0].read_gbs;
    out->gflops = out->scale[out->scale_count - 1].gflops;
    out->read_gbs = out->scale[out->scale_count - 1].read_gbs;
    return TN_OK;
}

tn_status tn_measure(const tn_measure_kernels *k, int threads, uint64_t array_bytes,
                     uint64_t cache_bytes, tn_roofs *out, tn_error *err) {
    *out = (tn_roofs){.threads = threads, .cache_bytes = (double)cache_bytes};
    size_t size = (size_t)array_bytes & ~(size_t)4095;
    float *memory =
        mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory: measuring takes %zu bytes",
                            2 * size);
    (void)madvise(memory, 2 * size, MADV_HUGEPAGE); /* as the runtime's own memory is */
    int64_t count = (int64_t)(size / sizeof(float));
    bench b = {.k = k, .from = memory, .to = memory + count, .count = count};
    b.cached = TN_MIN(part_size(count, threads), (int64_t)(cache_bytes / 4 / sizeof(float)));
    b.cached = TN_MAX(256, b.cached / 256 * 256);
    b.workers = calloc((size_t)threads, sizeof *b.workers);
    tn_status status = b.workers ? measure_all(&b, threads, out, err)
                                 : tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    free(b.workers);
    munmap(memory, 2 * size);
    return status;
}
