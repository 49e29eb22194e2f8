/* A program ready to run for one set of sizes: addresses, evaluated sizes, memory.
 *
 * An executable is shared by any number of threads and is not changed by runs; an instance serves
 * one thread at a time. A run after a bind allocates nothing. */
#ifndef TENON_RUNTIME_INSTANCE_H
#define TENON_RUNTIME_INSTANCE_H

#include "program/program.h"
#include "runtime/driver.h"
#include "runtime/supply.h"

/* What instances of a program have in common; plain data, whoever made it keeps it alive. */
typedef struct tn_executable {
    const tn_program *program;
    tn_kernel_fn *const *functions; /* one per kernel; NULL: interpret */
    const void *const *sources;     /* bytes of each weight source */
    uint8_t *prepared;              /* the prepared weights; written by block 1 only */
    const tn_supply *supply;        /* of sources that come while block 1 runs; NULL: none do */
    tn_pool *pool;                  /* NULL: one thread */
    const tn_driver *driver;
} tn_executable;

typedef struct tn_instance tn_instance;

tn_status tn_instance_create(const tn_executable *x, tn_instance **out, tn_error *err) TN_MUST_USE;
void tn_instance_release(tn_instance *i);

/* Evaluates all sizes for `symbols` (one value per symbol of the program's table; of those that a run
 * binds it is not looked at), places the memory and looks up everything a run needs. A bind to the values of the last one does nothing.
 * With `symbols` NULL only block 1 is bound: it depends on constants alone. */
tn_status tn_instance_bind(tn_instance *i, const int64_t *symbols, tn_error *err) TN_MUST_USE;

/* Bytes of temporaries, outputs and scratch. */
typedef struct tn_memory_use {
    uint64_t temporaries, outputs, scratch;
} tn_memory_use;
/* What a bind to these symbols would take, which is not taken. */
tn_status tn_instance_measure(const tn_executable *x, const int64_t *symbols, tn_memory_use *out,
                              tn_error *err) TN_MUST_USE;

/* Addresses for the next run: input i must be set; output i defaults to memory of the instance. Of an output
 * in place of an input, memory other than the input's is filled with the input first, which stays as it is;
 * with the input's own memory the run overwrites it. */
void tn_instance_set_input(tn_instance *i, uint32_t input, const void *data);
void tn_instance_set_output(tn_instance *i, uint32_t output, void *data); /* NULL: the default */
/* Bytes of output i at most: sizes that a run binds are taken as great as they may be. */
uint64_t tn_instance_output_room(const tn_instance *i, uint32_t output);
/* Values of the program's symbols: of those that a run binds, in the last one. */
const int64_t *tn_instance_symbols(const tn_instance *i);
/* Where the value of output i lies after a run. */
const void *tn_instance_output(const tn_instance *i, uint32_t output);

/* Runs block 0, or block 1 (`prepare`). A failure poisons the instance: further runs give
 * TN_POISONED until tn_instance_reset. */
tn_status tn_instance_run(tn_instance *i, uint32_t block, tn_error *err) TN_MUST_USE;
/* The state is loaded anew (a program without states has none to load). */
void tn_instance_reset(tn_instance *i);

/* Of the current binding. */
tn_memory_use tn_instance_memory(const tn_instance *i);

/* Times of each step, collected while switched on; a bind and switching on forget them. Steps of control
 * flow hold the time of their blocks too. */
typedef struct tn_step_time {
    const tn_prog_step *step;
    uint64_t runs;
    double seconds;      /* of all runs */
    double flops, bytes; /* of one run, for the bound sizes */
    bool parallel;       /* the pool takes part */
} tn_step_time;
void tn_instance_profile(tn_instance *i, bool on);
const tn_step_time *tn_instance_times(const tn_instance *i, uint32_t *count);

#endif
