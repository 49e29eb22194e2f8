/* Folds cut into pieces: the work of one kernel. See lower_split.c.
 *
 * split_loops.c: loops over pieces and rows, slots; split_sweep.c: pieces that are swept;
 * split_combine.c: putting pieces together, results. */
#ifndef TENON_CODEGEN_SPLIT_H
#define TENON_CODEGEN_SPLIT_H

#include "codegen/fold_blocks.h"
#include "codegen/lower.h"
#include "codegen/merge.h"
#include "loop/strips.h"

typedef struct tn__split_fold {
    const tn_member *member;
    const tn_node_info *node;
    const tn_fold_rules *rules;
    tn_fold fold;
    uint32_t reg[TN_FOLD_REGISTERS];                               /* accumulators */
    uint32_t work[TN_FOLD_REGISTERS], combined[TN_FOLD_REGISTERS]; /* slots; what they come to */
    bool wide;                                                     /* slots hold totals: */
    tn_fold_sums sums; /* that make them where rows are folded one by one */
    uint32_t part;     /* a sweep's accumulators, in scratch */
    tn_lx result;      /* at the current point; NONE while folding */
} tn__split_fold;

typedef struct tn__split {
    tn_kernel_maker m; /* first */
    tn_schedule s;
    tn_lx at[TN_MAX_RANK], extent[TN_MAX_RANK];
    bool merged[TN_MAX_RANK];
    int vector_axis, cut_axis;
    int first;           /* of the row axes inside a task */
    tn_lx piece, lo, hi; /* of the cut axis */
    tn_lx size;          /* at most hi - lo */
    tn_fold_loops loops;
    tn_lx row, rows; /* number of the row (without the vector axis); of rows */
    TN_VEC(tn__split_fold) folds;
    tn_merge_probe *probe;
} tn__split;

/* ---- lower_split.c -------------------------------------------------------------------------- */

tn_lx tn__split_leaf(tn_access *a, tn_value v, const tn_lx *index);
const tn_member *tn__split_member(const tn__split *s, tn_value v);
/* The index of a member's result at the current point. */
void tn__split_result_point(const tn__split *s, const tn_member *m, tn_lx *index);
/* Folds in the element at the current point. */
void tn__split_fold_step(tn__split *s, tn__split_fold *f, const tn_lx *acc, tn_lx *next);

/* ---- split_loops.c -------------------------------------------------------------------------- */

/* Whether the axis needs no loop. */
bool tn__split_is_one(const tn__split *s, int axis);
/* Finds the loops over a piece, whose range is known. */
void tn__split_find_loops(tn__split *s);
/* Opens them, but that of vectors; their ranges. */
tn_fold_loops tn__split_open_folded(tn__split *s);
bool tn__split_any_wide(const tn__split *s);
/* Of row `row` of a piece; with vectors along rows, of the point x of the vector axis. */
tn_lx tn__split_slot(tn__split *s, tn_lx piece, tn_lx x);
/* Does the work for every row of a task, or in strips of them. */
void tn__split_over_points(tn__split *s, void (*row)(tn__split *s));
void tn__split_over_strips(tn__split *s, uint32_t lanes, tn_strip_work *strip);
/* Lanes where slots are combined: of numbers of 64 bits compilers make poor code with more. */
uint32_t tn__split_slot_lanes(const tn__split *s);

/* ---- split_sweep.c, split_combine.c --------------------------------------------------------- */

/* Folds a piece into its slots in the order of memory. */
void tn__split_sweep(tn__split *s);
/* Combines the slots of all rows in the order of the pieces and stores the results. */
void tn__split_combine(tn__split *s);

#endif
