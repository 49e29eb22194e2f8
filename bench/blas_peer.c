/*
 * OpenBLAS and oneDNN on f32 matrix products: a process that takes one case after another.
 *
 *     blas_peer THREADS          (bench_kernels.py builds and starts it)
 *
 * It reads commands, one a line, and answers each with one JSON object, as kernel_peers.py:
 *
 *     open ENGINE M N K BATCH WEIGHT    {}; ENGINE: openblas, onednn; WEIGHT: 1 when B may be
 *                                       packed before (oneDNN picks its layout)
 *     measure ENGINE SECONDS            {"latency_ms": {min, median, p95}}
 *     close                             {}
 *
 * Built with HAVE_OPENBLAS, HAVE_DNNL for the libraries that are there.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef HAVE_OPENBLAS
#include <cblas.h>
#endif
#ifdef HAVE_DNNL
#include <dnnl.h>
#endif

enum { MOST_RUNS = 1 << 20, LEAST_RUNS = 3 };
static const double WARM_UP_SECONDS = 0.03;

typedef struct product {
    int64_t m, n, k, batch;
    bool weight; /* B is known beforehand */
    float *a, *b, *c;
} product;

typedef void run_fn(const product *);

/* ---- OpenBLAS ------------------------------------------------------------------------------- */

#ifdef HAVE_OPENBLAS
static void run_openblas(const product *p) {
    int m = (int)p->m, n = (int)p->n, k = (int)p->k;
    for (int64_t i = 0; i < p->batch; i++)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1, p->a + i * m * k, k,
                    p->b + i * k * n, n, 0, p->c + i * m * n, n);
}
#endif

/* ---- oneDNN --------------------------------------------------------------------------------- */

#ifdef HAVE_DNNL
static struct {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t matmul;
    dnnl_memory_t a, b, c;
} dnn;

static void check(dnnl_status_t status, const char *what) {
    if (status == dnnl_success) return;
    fprintf(stderr, "oneDNN: %s: status %d\n", what, (int)status);
    exit(1);
}

/* Row-major matrices, or any layout. */
static dnnl_memory_desc_t describe(const product *p, int64_t rows, int64_t columns, bool any) {
    dnnl_memory_desc_t d;
    bool batched = p->batch > 1;
    dnnl_dims_t dims = {p->batch, rows, columns};
    dnnl_format_tag_t tag = any ? dnnl_format_tag_any : batched ? dnnl_abc : dnnl_ab;
    if (!batched) dims[0] = rows, dims[1] = columns;
    check(dnnl_memory_desc_init_by_tag(&d, batched ? 3 : 2, dims, dnnl_f32, tag), "layout");
    return d;
}

static dnnl_memory_t memory(const dnnl_memory_desc_t *d, void *data) {
    dnnl_memory_t made;
    check(dnnl_memory_create(&made, d, dnn.engine, data), "memory");
    return made;
}

/* b in the layout that the primitive asked for. */
static dnnl_memory_t packed(const dnnl_memory_desc_t *plain, const dnnl_memory_desc_t *wanted,
                            float *b) {
    if (dnnl_memory_desc_equal(plain, wanted)) return memory(plain, b);
    dnnl_memory_t from = memory(plain, b), to = memory(wanted, DNNL_MEMORY_ALLOCATE);
    dnnl_primitive_desc_t d;
    dnnl_primitive_t reorder;
    check(dnnl_reorder_primitive_desc_create(&d, plain, dnn.engine, wanted, dnn.engine, NULL),
          "reorder");
    check(dnnl_primitive_create(&reorder, d), "reorder");
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    check(dnnl_primitive_execute(reorder, dnn.stream, 2, arguments), "reorder");
    check(dnnl_stream_wait(dnn.stream), "reorder");
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(d);
    dnnl_memory_destroy(from);
    return to;
}

static void open_onednn(const product *p) {
    if (!dnn.engine) {
        check(dnnl_engine_create(&dnn.engine, dnnl_cpu, 0), "engine");
        check(dnnl_stream_create(&dnn.stream, dnn.engine, dnnl_stream_default_flags), "stream");
    }
    dnnl_memory_desc_t a = describe(p, p->m, p->k, false), b = describe(p, p->k, p->n, false);
    dnnl_memory_desc_t wanted_b = describe(p, p->k, p->n, p->weight);
    dnnl_memory_desc_t c = describe(p, p->m, p->n, false);
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t d;
    check(dnnl_matmul_desc_init(&matmul, &a, &wanted_b, NULL, &c), "matmul");
    check(dnnl_primitive_desc_create(&d, &matmul, NULL, dnn.engine, NULL), "matmul");
    check(dnnl_primitive_create(&dnn.matmul, d), "matmul");
    dnn.a = memory(&a, p->a);
    dnn.b = packed(&b, dnnl_primitive_desc_query_md(d, dnnl_query_weights_md, 0), p->b);
    dnn.c = memory(&c, p->c);
    dnnl_primitive_desc_destroy(d);
}

static void close_onednn(void) {
    if (!dnn.matmul) return;
    dnnl_primitive_destroy(dnn.matmul);
    dnnl_memory_destroy(dnn.a);
    dnnl_memory_destroy(dnn.b);
    dnnl_memory_destroy(dnn.c);
    dnn.matmul = NULL;
}

static void run_onednn(const product *p) {
    (void)p;
    dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, dnn.a}, {DNNL_ARG_WEIGHTS, dnn.b}, {DNNL_ARG_DST, dnn.c}};
    check(dnnl_primitive_execute(dnn.matmul, dnn.stream, 3, arguments), "matmul");
    check(dnnl_stream_wait(dnn.stream), "matmul");
}
#endif

/* ---- operands ------------------------------------------------------------------------------- */

static float *matrix(int64_t count) {
    size_t bytes = ((size_t)count * sizeof(float) + 4095) & ~(size_t)4095;
    float *data = aligned_alloc(4096, bytes);
    if (!data) exit(1);
    uint32_t state = 1;
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = (float)(state >> 8) / (float)(1 << 23) - 1;
    }
    return data;
}

static void release(product *p) {
#ifdef HAVE_DNNL
    close_onednn();
#endif
    free(p->a);
    free(p->b);
    free(p->c);
    *p = (product){0};
}

static bool same_sizes(const product *p, const product *q) {
    return p->m == q->m && p->n == q->n && p->k == q->k && p->batch == q->batch &&
           p->weight == q->weight;
}

/* ---- measuring ------------------------------------------------------------------------------ */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const product *p, run_fn *run, double seconds) {
    static double times[MOST_RUNS];
    double end = now() + WARM_UP_SECONDS;
    do run(p);
    while (now() < end);
    int count = 0;
    end = now() + seconds;
    for (double last = 0; count < LEAST_RUNS || (last < end && count < MOST_RUNS); count++) {
        double start = now();
        run(p);
        last = now();
        times[count] = (last - start) * 1e3;
    }
    qsort(times, (size_t)count, sizeof *times, compare_doubles);
    printf("{\"latency_ms\": {\"min\": %.9g, \"median\": %.9g, \"p95\": %.9g, \"runs\": %d}}\n",
           times[0], (times[(count - 1) / 2] + times[count / 2]) / 2, times[(count - 1) * 95 / 100],
           count);
}

/* ---- commands ------------------------------------------------------------------------------- */

static run_fn *run_of(const char *engine) {
#ifdef HAVE_OPENBLAS
    if (strcmp(engine, "openblas") == 0) return run_openblas;
#endif
#ifdef HAVE_DNNL
    if (strcmp(engine, "onednn") == 0) return run_onednn;
#endif
    return NULL;
}

/* Both engines work on the same operands. */
static bool open_product(product *p, const char *engine, const product *wanted) {
    if (!run_of(engine)) return false;
    if (!same_sizes(p, wanted)) {
        release(p);
        *p = *wanted;
        p->a = matrix(p->batch * p->m * p->k);
        p->b = matrix(p->batch * p->k * p->n);
        p->c = matrix(p->batch * p->m * p->n);
    }
#ifdef HAVE_DNNL
    if (strcmp(engine, "onednn") == 0) {
        close_onednn();
        open_onednn(p);
    }
#endif
    return true;
}

static void obey(product *p, const char *line) {
    char engine[16];
    double seconds;
    long long m, n, k, batch;
    int weight;
    if (sscanf(line, "open %15s %lld %lld %lld %lld %d", engine, &m, &n, &k, &batch, &weight) ==
        6) {
        product wanted = {.m = m, .n = n, .k = k, .batch = batch, .weight = weight != 0};
        puts(open_product(p, engine, &wanted) ? "{}" : "{\"error\": \"not built in\"}");
    } else if (sscanf(line, "measure %15s %lf", engine, &seconds) == 2 && p->a && run_of(engine)) {
        measure(p, run_of(engine), seconds);
    } else {
        release(p);
        puts("{}");
    }
    fflush(stdout);
}

int main(int argc, char **argv) {
    char line[256];
    product p = {0};
    if (argc != 2) return 2;
#ifdef HAVE_OPENBLAS
    openblas_set_num_threads(atoi(argv[1])); /* oneDNN follows OMP_NUM_THREADS */
#endif
    while (fgets(line, sizeof line, stdin)) obey(&p, line);
    release(&p);
    return 0;
}
