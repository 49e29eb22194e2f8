/* Groups that read one operand along another axis than they write, by square tiles.
 *
 * lower_transpose.c finds them and makes the kernel, transpose_tiles.c moves tiles from the operand to
 * the result, transpose_lines.c by way of scratch, so that whole cache lines are stored. */
#ifndef TENON_CODEGEN_TRANSPOSE_H
#define TENON_CODEGEN_TRANSPOSE_H

#include "codegen/lower.h"
#include "codegen/merge.h"

typedef struct tn__crosswise {
    tn_value value; /* what is read crosswise */
    int cross, last;
    int64_t step;     /* of the operand along `last`; -1: not known */
    bool wide_source; /* the operand's rows lie further apart than the result's */
    bool only_moved;  /* the results hold its elements as they are */
    bool merged[TN_MAX_RANK];
    int outer[TN_MAX_RANK], outers; /* the other axes, in the order of the operand */
    int farther;                    /* of these, how many lie around `last` there */
} tn__crosswise;

/* A load that the group makes at one point. */
typedef struct tn__seen_load {
    tn_value value;
    tn_lx offset, loaded;
} tn__seen_load;

typedef struct tn__turn {
    tn_kernel_maker m; /* first */
    tn_schedule s;
    tn__crosswise c;
    tn_dtype dtype; /* of the register */
    tn_lx at[TN_MAX_RANK], extent[TN_MAX_RANK];
    uint32_t reg;
    tn_lx element, captured; /* of the register: what stands for the operand; NONE: look for it */
    tn_lx offset;            /* of what was captured */
    TN_VEC(tn__seen_load) loads; /* while probing */
    tn_merge_probe *probe;
} tn__turn;

/* A task's part: [x_lo, x_hi) along the crosswise axis, [y_lo, y_hi) along the last. */
typedef struct tn__turn_part {
    tn_lx x_lo, x_hi, y_lo, y_hi;
} tn__turn_part;

/* ---- transpose_tiles.c ---------------------------------------------------------------------- */

/* The index of stored value `v` at the current point, and its element there, by its rule even where it
 * is inlined. */
void tn__turn_stored_index(const tn__turn *t, tn_value v, tn_lx *index);
tn_lx tn__turn_stored_value(tn__turn *t, tn_value v, const tn_lx *index);
/* Stores all results at the current point, with t->element as the operand's. */
void tn__turn_store(tn__turn *t);
/* The tile with corner (x, y) into the register, turned; unless `whole` its edges may lie outside. */
void tn__turn_load_tile(tn__turn *t, tn_lx x, tn_lx y, bool whole);
/* All tiles of a task. */
void tn__turn_tiles(tn__turn *t, const tn__turn_part *part);

/* ---- transpose_lines.c ---------------------------------------------------------------------- */

/* The same, for results whose rows begin within cache lines. */
void tn__turn_lines(tn__turn *t, const tn__turn_part *part);

#endif
