/* What a device does for the executor: memory, and launches of kernels. */
#ifndef TENON_RUNTIME_DRIVER_H
#define TENON_RUNTIME_DRIVER_H

#include "loop/loop.h"
#include "runtime/pool.h"

typedef struct tn_launch {
    const tn_loop *kernel;
    tn_kernel_fn *function; /* NULL: interpret `kernel` */
    void *const *buffers;   /* INPUT, OUTPUT and WORK buffers, in order */
    const size_t *elements; /* their sizes */
    const int64_t *scalars;
    int64_t first, tasks;  /* [first, first + tasks) of the grid */
    uint8_t *scratch;      /* of worker 0; worker i's is i * scratch_stride bytes behind */
    size_t scratch_stride; /* a multiple of 64 */
    int32_t *error;        /* error slot of the run */
    int32_t *counters;
    tn_pool *pool; /* held by the run; NULL: the calling thread does all tasks */
} tn_launch;

typedef struct tn_driver {
    const char *name;
    /* 64-byte aligned, contents undefined; NULL on failure. */
    void *(*allocate)(size_t size);
    void (*release)(void *memory);
    /* Runs these tasks. Fails only when interpreting. */
    tn_status (*launch)(const tn_launch *l, tn_error *err);
} tn_driver;

extern const tn_driver tn_driver_cpu;

#endif
