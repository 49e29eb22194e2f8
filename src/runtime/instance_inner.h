/* The inside of an instance, for instance.c (binding) and executor.c (running). */
#ifndef TENON_RUNTIME_INSTANCE_INNER_H
#define TENON_RUNTIME_INSTANCE_INNER_H

#include "runtime/instance.h"
#include "runtime/small_runs.h"

/* A step with everything evaluated. */
typedef struct tn__bound_step {
    const tn_prog_step *step;
    tn_launch launch;
    void **buffers;            /* the launch's; filled before each */
    size_t *elements;          /* the launch's */
    int64_t *scalars;          /* the launch's */
    int64_t first, length;     /* SCAN: iterations [first, first + length) */
    double cost;               /* seconds on one thread, estimated */
    bool parallel;             /* worth the pool */
    uint32_t index;            /* into times */
    struct tn__run_size *size; /* SIZE */
} tn__bound_step;

/* A size that a step binds, and what depends on it. */
typedef struct tn__run_size {
    uint32_t symbol;
    TN_VEC(uint32_t) buffers;
    TN_VEC(tn__bound_step *) steps; /* of all blocks */
    TN_VEC(const tn_prog_demand *) demands;
} tn__run_size;

typedef struct tn__bound_block {
    tn__bound_step *steps;
    uint32_t count;
    double cost;
    bool parallel; /* holds a parallel step, at any depth */
} tn__bound_block;

struct tn_instance {
    const tn_executable *x;
    tn_arena arena;              /* of the binding */
    int64_t *symbols;            /* a run changes those that its steps bind; NULL: block 1 only */
    const int64_t *given_for;    /* what was bound, unchanged */
    const int64_t *least, *most; /* of each symbol in this binding; NULL: no step binds one */
    bool bound, poisoned, profile;
    uint64_t *room;    /* per buffer: bytes of its memory */
    uint64_t *bytes;   /* per buffer; what a run binds changes it, within `room` */
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

/* ---- instance_sizes.c ----------------------------------------------------------------------- */

/* The value of a size under the binding; its greatest while a run's own sizes are open. */
int64_t tn__instance_size(const tn_instance *i, tn_dim d);
int64_t tn__instance_most(const tn_instance *i, tn_dim d);
/* Finds the range of each symbol; sizes that a run binds get their greatest value. */
void tn__instance_find_ranges(tn_instance *i);
/* Lists what hangs on each size that a run binds, once all steps are bound. */
void tn__instance_find_dependents(tn_instance *i);
/* An error when a demand is not met: of those that no run changes (size NULL), or of those that wait for
 * this size. */
tn_status tn__instance_check_demands(const tn_instance *i, const tn__run_size *size, tn_error *err);
/* An error when a demand of this block is not met, as the sizes are now. */
tn_status tn__instance_enter_block(const tn_instance *i, uint32_t block, tn_error *err);
/* Runs a step of kind SIZE. */
tn_status tn__instance_run_size(tn_instance *i, const tn__bound_step *b, tn_error *err);
/* ---- instance.c ----------------------------------------------------------------------------- */

/* Evaluates the sizes of a step again. */
void tn__instance_resize_step(tn_instance *i, tn__bound_step *b);

/* ---- executor.c ----------------------------------------------------------------------------- */

tn_status tn__instance_run_block(tn_instance *i, uint32_t block, tn_pool *pool, tn_error *err);
/* One step of block 0 or 1. */
tn_status tn__instance_run_step(tn_instance *i, tn__bound_step *b, tn_pool *pool, tn_error *err);
/* Block 1 of an executable with a supply. */
tn_status tn__supply_prepare(tn_instance *i, tn_pool *pool, tn_error *err);

#endif
