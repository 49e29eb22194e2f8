/* Placing the temporary buffers of a program in one block of memory. */
#ifndef TENON_RUNTIME_MEMORY_H
#define TENON_RUNTIME_MEMORY_H

#include "program/program.h"

enum { TN_MEMORY_ALIGN = 64 };

typedef struct tn_memory_plan {
    uint64_t *offset; /* per buffer of the program; set for TEMP ones */
    uint64_t total;
} tn_memory_plan;

/* `bytes[i]`: size of buffer i. Two buffers that are alive at one position overlap only where one
 * is in place of the other. Largest first, each into the tightest gap. `*out` lives in the arena;
 * unwinds when sizes overflow. */
void tn_memory_place(const tn_program *p, const uint64_t *bytes, tn_arena *arena,
                     tn_memory_plan *out);

#endif
