/* The whole compile: graph in, program out. pipeline.c is one readable function. */
#ifndef TENON_PLAN_PLAN_H
#define TENON_PLAN_PLAN_H

#include "codegen/target.h"
#include "ir/graph.h"
#include "machine/costs.h"
#include "plan/records.h"
#include "program/program.h"

typedef struct tn_plan_options {
    const tn_target *target;
    const tn_costs *costs;           /* of the machine; NULL: a common one */
    bool no_opt;                     /* no rewrites, no fusion: one kernel per node */
    bool unsafe_math;                /* allow rewrites that change rounding */
    int64_t batch_piece;             /* see tn_batch_in_pieces; 0: by cost */
    const tn_record_source *records; /* NULL: every kernel by the record that is chosen */
    /* Called after each stage with its name and the printed form, when not NULL. */
    void (*dump)(void *context, const char *stage, const char *text);
    const char *dump_after; /* only this stage; NULL: all */
    void *dump_context;
} tn_plan_options;

/* `g` is not changed; the program lives in `arena` and borrows the bytes of constants. Kernels are
 * loop IR: the caller compiles or interprets them, then runs block 1 once. */
tn_status tn_plan(const tn_graph *g, const tn_plan_options *options, tn_arena *arena,
                  tn_program *out, tn_error *err);

#endif
