/* The inside of an instance, for instance.c (binding) and executor.c (running). */
#ifndef TENON_RUNTIME_INSTANCE_INNER_H
#define TENON_RUNTIME_INSTANCE_INNER_H

#include "runtime/instance.h"
#include "runtime/small_runs.h"

/* A step with everything evaluated. */
typedef struct tn__bound_step {
    const tn_prog_step *step;
    tn_launch launch;
    void **buffers;        /* the launch's; filled before each */
    int64_t first, length; /* SCAN: iterations [first, first + length) */
    double cost;           /* seconds on one thread, estimated */
    bool parallel;         /* worth the pool */
    uint32_t index;        /* into times */
} tn__bound_step;

typedef struct tn__bound_block {
    tn__bound_step *steps;
    uint32_t count;
    double cost;
    bool parallel; /* holds a parallel step, at any depth */
} tn__bound_block;

struct tn_instance {
    const tn_executable *x;
    tn_arena arena; /* of the binding */
    int64_t *symbols;
    bool bound, poisoned, profile;
    uint64_t *bytes;   /* per buffer */
    size_t *elements;  /* per buffer */
    void **address;    /* per buffer */
    void **own_output; /* per output: its place in `memory`, or NULL */
    void **given;      /* per input: where the caller has it */
    tn__bound_block *blocks;
    tn_step_time *times;
    uint32_t time_count;
    uint8_t *memory; /* temporaries, then outputs */
    uint8_t *scratch;
    size_t memory_capacity, scratch_capacity;
    size_t scratch_stride;
    int32_t *counters;
    tn_memory_use use;
    int32_t error_slot;
    tn__small_runs small;
};

tn_status tn__instance_run_block(tn_instance *i, uint32_t block, tn_pool *pool, tn_error *err);
/* One step of block 0 or 1. */
tn_status tn__instance_run_step(tn_instance *i, tn__bound_step *b, tn_pool *pool, tn_error *err);
/* Block 1 of an executable with a supply. */
tn_status tn__supply_prepare(tn_instance *i, tn_pool *pool, tn_error *err);

#endif
