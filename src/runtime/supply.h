/* Weights that come while `prepare` runs, part by part, and go when they have been read.
 *
 * So that N members' weights are never there twice, as they are and packed: a step of block 1 is launched
 * in ranges of its tasks, each over a window of what it reads (tn_loop_reads tells which). */
#ifndef TENON_RUNTIME_SUPPLY_H
#define TENON_RUNTIME_SUPPLY_H

#include "program/program.h"
#include "runtime/pool.h"

enum { TN_SUPPLY_WINDOW = 8 << 20 }; /* bytes of weights that a range of tasks is to read */

/* Of an executable; all functions are called by the thread that runs `prepare`. */
typedef struct tn_supply {
    void *context;
    /* Whether a weight source comes that way; the others are whole from the start. */
    bool (*has)(void *context, uint32_t source);
    /* Makes all bytes below `end`. The run holds the pool; NULL: it works on its own thread. */
    void (*need)(void *context, uint32_t source, uint64_t end, tn_pool *pool);
    /* `prepare` does not read the bytes below `end` again. */
    void (*done)(void *context, uint32_t source, uint64_t end);
} tn_supply;

#endif
