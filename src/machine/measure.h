/* The roofs of this machine, measured: arithmetic, bandwidth out of cache, how threads scale, how
 * long data take between two of them (30 ns within one last cache, several times that beyond).
 *
 * The kernels are compiled for the machine by whoever measures (this room knows no compiler). Each
 * figure is the best of several repetitions. */
#ifndef TENON_MACHINE_MEASURE_H
#define TENON_MACHINE_MEASURE_H

#include "base/base.h"

/* All arrays are 64-byte aligned, counts are multiples of 256 floats. */
typedef struct tn_measure_kernels {
    /* `rounds` times flops_per_round operations in registers; *sink keeps them alive. */
    void (*fma)(int64_t rounds, float *sink);
    double flops_per_round;
    void (*read)(const float *x, int64_t count, float *sink);
    void (*copy)(float *to, const float *from, int64_t count);
} tn_measure_kernels;

enum { TN_ROOF_SCALES = 16 };

typedef struct tn_roofs {
    int threads;
    double gflops_1, gflops; /* f32 multiply-adds, two operations each: one thread, all threads */
    double read_gbs_1, read_gbs; /* 10⁹ bytes read a second */
    double copy_gbs_1, copy_gbs; /* 10⁹ bytes read plus written a second */
    double cache_gbs;            /* the same within the cores' own caches, all threads */
    double cache_bytes;          /* of each of these */
    double handoff_ns;           /* a cache line from one thread to another; 0 with one thread */
    int scale_count;
    struct {
        int threads;
        double gflops, read_gbs;
    } scale[TN_ROOF_SCALES]; /* 1, 2, 4 … threads, and all */
} tn_roofs;

/* `array_bytes`: size of each array per measurement, all threads together; several times the last
 * cache. `cache_bytes`: of a core's own (second-level) cache. Takes about two seconds. */
tn_status tn_measure(const tn_measure_kernels *k, int threads, uint64_t array_bytes,
                     uint64_t cache_bytes, tn_roofs *out, tn_error *err);

#endif
