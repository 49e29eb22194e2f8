/* What the parts of the contraction lowering share; lower_contraction.c says how it works. */
#ifndef TENON_CODEGEN_CONTRACTION_H
#define TENON_CODEGEN_CONTRACTION_H

#include "codegen/lower.h"
#include "codegen/merge.h"

typedef struct tn__tile {
    tn_kernel_maker m; /* first */
    const tn_node_info *node;
    const tn_contraction_rules *rules;
    tn_contraction c;
    tn_schedule s;
    bool direct; /* A's address splits into row and k parts */
    bool turned; /* B is contiguous along its last k axis and not along n */
    bool merged_m[TN_MAX_RANK], merged_k[TN_MAX_RANK];
    tn_lx b_index[TN_MAX_RANK], b_linear, panels, n_total, k_total;
    uint32_t acc, row, scratch, packed;
    tn_value a_leaf; /* direct: the value A is read from */
    tn_merge_probe *probe;
    tn_lx at[TN_MAX_RANK]; /* the current point of the group's space */
} tn__tile;

/* ---- contraction_point.c -------------------------------------------------------------------- */

tn_lx tn__tile_leaf(tn_access *a, tn_value v, const tn_lx *index);
/* Elements of the operands, in the accumulator's type; B's is zero where not `valid`. */
tn_lx tn__tile_lhs(tn__tile *t, const tn_lx *b, const tn_lx *m, const tn_lx *k);
tn_lx tn__tile_rhs(tn__tile *t, const tn_lx *b, const tn_lx *k, const tn_lx *n, tn_lx valid);
/* The address of a plain load (casts aside), or NONE. */
tn_lx tn__load_address(const tn_loop *k, tn_lx e, uint32_t *buffer);
tn_lx tn__tile_product(tn_loop *k, const tn_dim *d, int count);
/* Splits a linear number over axes of which some run inside the next one. */
void tn__split_axes(tn_loop *k, tn_lx linear, const tn_dim *d, int count, const bool *merged,
                    tn_lx *index);
void tn__split_plain(tn_loop *k, tn_lx linear, const tn_dim *d, int count, tn_lx *index);
/* Sets t->at from a point of the result. */
void tn__tile_point(tn__tile *t, const tn_lx *m, const tn_lx *n);

/* ---- contraction_tile.c --------------------------------------------------------------------- */

bool tn__columns_exact(const tn__tile *t);
/* Stores, or lists for the probe, what the group makes of the accumulator at t->at. */
void tn__epilogue_point(tn__tile *t, tn_lx acc);
/* Opens the loops over k; `linear` is the position in packed order, the same however axes merge. */
int tn__open_k(tn__tile *t, const bool *merged, tn_lx *index, tn_lx *linear);
void tn__close_loops(tn_loop *k, int n);
/* All rows [lo, hi) of one panel. */
void tn__run_rows(tn__tile *t, tn_lx lo, tn_lx hi, tn_lx m_total, tn_lx panel);

/* ---- contraction_pack.c --------------------------------------------------------------------- */

/* One panel of B, columns past the end as zero; element (k, j) goes to `base` + k*nr + j of `to`. */
void tn__pack_panel(tn__tile *t, tn_lx panel, uint32_t to, tn_lx base);

#endif
