/* Rows of a ROWS group: pointwise work and folds at one point, along one row, level by level.
 *
 * Folds that wait for nothing run first (stage 0), then those that need their results (stage 1 …);
 * the last stage only stores. Element values that several stages need and that are costly, or are
 * stored anyway, are kept in scratch (or in the result itself) and read back. lower_rows.c makes
 * kernels of this, contraction_prologue.c the rows of a product's left operand. */
#ifndef TENON_CODEGEN_ROWS_H
#define TENON_CODEGEN_ROWS_H

#include "codegen/fold_blocks.h"
#include "codegen/lower.h"
#include "codegen/merge.h"

typedef struct tn__rows_fold {
    const tn_node_info *node;
    const tn_fold_rules *rules;
    tn_fold fold;
    uint32_t level;
    uint32_t reg[TN_FOLD_REGISTERS];
    bool blocks; /* chains are long, so that sums are made in blocks: */
    tn_fold_sums sums;
    bool anchored; /* its fold space is its own, not axes of the group's space */
    const tn_member *member;
} tn__rows_fold;

typedef struct tn__rows_kept {
    tn_value value;
    uint32_t first; /* the level that computes it */
    bool stored;    /* kept in the result's own memory */
    uint32_t scratch;
} tn__rows_kept;

typedef struct tn__rows {
    tn_kernel_maker m; /* first */
    tn_schedule s;
    tn_lx at[TN_MAX_RANK];     /* the current point of the space */
    tn_lx extent[TN_MAX_RANK]; /* after merging axes */
    bool merged[TN_MAX_RANK];  /* this axis runs inside the next one; its index stays 0 */
    int vector_axis;           /* -1: every axis is 1 */
    int digit_axis; /* vectors run along this axis and the last one together; -1: they do not */
    bool single;    /* a row is one step, each accumulator takes one element */
    TN_VEC(tn__rows_fold) folds;
    TN_VEC(tn__rows_kept) keeps;
    uint32_t levels; /* levels with folds; stage `levels` is the last, which only stores */
    uint32_t stage;
    tn_lx lane;        /* inside a VECTOR loop */
    tn_lx strip;       /* position within the strip scratch: fold position * strip width + lane */
    tn_lx outer_strip; /* folded rows: start of the strip scratch at the outer fold point */
    tn_merge_probe *probe; /* looking for axes to merge, on a throw-away kernel; else NULL */
    struct { /* of a product's left operand: the only result goes to buffer `to`, not to memory */
        bool is;
        uint32_t to;
        tn_lx base; /* of the row; an element is at its position along the folded axes */
    } staged;
} tn__rows;

static inline const tn_type *tn__rows_type(const tn__rows *r, tn_value v) {
    return tn_graph_type(r->m.graph, v);
}

/* ---- rows_setup.c --------------------------------------------------------------------------- */

/* A last axis that fills no vector (of 2, as in pixel shuffle) runs together with the one before it,
 * their indices the digits of the lane. Marks that one merged and gives its number, -1 if it is not
 * so. */
int tn__rows_digit_axis(const tn_lower_context *c, uint32_t group, bool *merged);
/* Of a kernel of its own (`outer` NULL), or inside the kernel that `outer` makes. merged: NULL, none. */
void tn__rows_init(tn__rows *r, const tn_lower_context *c, uint32_t group, tn_kernel_maker *outer,
                   const bool *merged);
/* Emits the group's work on a throw-away kernel with a variable per axis (merged ones aside). */
void tn__rows_probe(tn__rows *r, tn_merge_probe *probe);
/* Axes that run as one; with folded_only only folded ones. */
void tn__rows_find_merges(const tn_lower_context *c, uint32_t group, bool folded_only,
                          bool *merged);
/* Which element values are kept between stages; their scratch. */
void tn__rows_find_keeps(tn__rows *r);
/* Accumulators of `width` lanes, totals of sums in blocks. */
void tn__rows_make_registers(tn__rows *r, uint32_t width);

/* ---- rows_point.c --------------------------------------------------------------------------- */

tn_lx tn__rows_leaf(tn_access *a, tn_value v, const tn_lx *index);
/* NULL: none. */
const tn_member *tn__rows_member(const tn__rows *r, tn_node n);
tn__rows_fold *tn__rows_fold_of(tn__rows *r, tn_node n);
/* The index of a member's value at the current point. */
void tn__rows_point(const tn__rows *r, const tn_member *m, tn_lx *index);
/* The value of a member at the current point, computed by its rule even if a view of it is inlined
 * elsewhere. */
tn_lx tn__rows_emit_member(tn__rows *r, const tn_member *m);
/* The index of a fold's result and the place in its fold space; `own`: of a window fold. */
void tn__rows_fold_points(tn__rows *r, const tn__rows_fold *f, const tn_lx *own, tn_lx *index,
                          tn_lx *at);
void tn__rows_fold_step(tn__rows *r, tn__rows_fold *f, const tn_lx *own);
void tn__rows_folds_init(tn__rows *r, uint32_t level, uint32_t width);
/* Combines the lanes of a fold into scalars and makes the result known for the rest of the row. */
void tn__rows_fold_close(tn__rows *r, tn__rows_fold *f, uint32_t width);
/* At one point of the element space: what is kept, the folds of this stage, the stores of the last. */
bool tn__rows_has_element_work(tn__rows *r);
void tn__rows_element_work(tn__rows *r, const tn_lx *own);
/* Stores of values that do not run along the folded axes. */
bool tn__rows_has_row_stores(const tn__rows *r);
void tn__rows_store_rows(tn__rows *r);

/* ---- rows_ahead.c --------------------------------------------------------------------------- */

/* Short rows that are read where an index says, of more than the caches hold: no machine fetches these by
 * itself, but the indices of rows to come are known. */
typedef struct tn__rows_ahead {
    int64_t rows,
        lines; /* so many rows ahead, of each so many cache lines; rows 0: none is read so */
    uint32_t load, loads; /* its number among the loads of a point */
} tn__rows_ahead;
/* Of a kernel whose rows are `count`, in vectors along the vector axis. */
tn__rows_ahead tn__rows_find_ahead(const tn__rows *r, tn_lx count);
/* Asks for the lines of the row that r->at is at. */
void tn__rows_ask(tn__rows *r, const tn__rows_ahead *ahead);

/* ---- rows_loop.c ---------------------------------------------------------------------------- */

/* Runs `work` for [lo, hi) in vectors: full steps of `width` lanes, then masked single vectors. */
typedef void tn__rows_strip_work(tn__rows *r, tn_lx base, uint32_t width, tn_lx limit);
void tn__rows_strips(tn__rows *r, tn_lx lo, tn_lx hi, tn__rows_strip_work *work);
/* Opens the lanes of a strip; the vector axis is at base + lane. */
void tn__rows_lanes_open(tn__rows *r, tn_lx base, uint32_t width, tn_lx limit);
void tn__rows_lanes_close(tn__rows *r, tn_lx limit);
/* The loops of a fold; with vectors along a folded axis that is the last of them. */
tn_fold_loops tn__rows_fold_loops(const tn__rows *r);
/* Opens them for this stage. Gives the position in the fold space (without the vector axis), for scratch
 * addresses. */
tn_lx tn__rows_open_folds(tn__rows *r, tn_fold_loops *f);
/* Closes them; `width` accumulators of each sum are added up at the end of each block. */
void tn__rows_close_folds(tn__rows *r, tn_fold_loops *f, uint32_t width);
/* Whole rows whose fold results are scalars: vectors run along a folded axis. Each of `count` has its own point,
 * accumulators and scratch; they go level by level side by side. */
void tn__rows_run_folded(tn__rows *rows, uint32_t count);

#endif
