/* What the parts of the attention lowering share; lower_attention.c says how it works. */
#ifndef TENON_CODEGEN_ATTENTION_H
#define TENON_CODEGEN_ATTENTION_H

#include "codegen/contraction.h"
#include "codegen/mask_range.h"

typedef struct tn__flash {
    tn__tile t; /* first: the second product, with the views and the epilogue behind it */
    const tn_attention_parts *x;
    const tn_node_info *score;
    const tn_contraction_rules *score_rules;
    tn_contraction c;  /* of the first product */
    bool packs_values; /* rows of v are not contiguous: blocks of it are packed, too */
    tn_dtype dtype;
    bool single; /* all columns are one block: nothing is carried from block to block */
    bool turned; /* k is contiguous along what the first product contracts */
    /* Constant factors are moved to the rows of q, once: those of k, and where `plain`, that is where
     * scores are the product times a constant, this and log2 e, so that weights are powers of 2. */
    double factor;
    bool bare_keys, plain;
    enum { TN__NEVER, TN__SOMETIMES, TN__ALWAYS } few; /* rows, so that k is read in place */
    bool by_rows;                                      /* what is emitted is for few rows */
    tn_lx depth, columns; /* what the first product contracts; of the whole score matrix */
    tn_lx first_row, rows, row_total; /* of the task; of the whole score matrix */
    tn_lx begin, end;                 /* columns of the task */
    tn_lx first_column, count;        /* of the block */
    tn_lx pieces, piece;              /* that columns are cut into; the task's */
    tn_lx row, column, raw;           /* where the scores are evaluated, and the product there */
    uint32_t q, k, v, s, o, largest, sum;       /* scratch */
    uint32_t tile_fold, shift, shrink;          /* of the rows of a tile */
    uint32_t piece_o, piece_largest, piece_sum; /* slots: [piece][batch][row] */
    uint32_t score_acc, lane_acc, part, total;  /* registers */
    uint32_t row_largest[16];                   /* of the rows of a tile: registers of one vector */
    int conditions; /* comparisons that hide whole tiles: see mask_range.h */
    bool usable[TN_MOST_CONDITIONS];
    tn_mask_corner corner[TN_MOST_CONDITIONS];
} tn__flash;

static inline tn_lx tn__flash_sum(tn__flash *f, tn_lx a, tn_lx b) {
    return tn_l_add(f->t.m.k, a, b);
}
static inline tn_lx tn__flash_at(tn__flash *f, tn_lx row, tn_lx width, tn_lx column) {
    return tn_l_add(f->t.m.k, tn_l_mul(f->t.m.k, row, width), column);
}
static inline tn_lx tn__flash_int(tn__flash *f, int64_t n) {
    return tn_l_int(f->t.m.k, n);
}
static inline tn_lx tn__flash_load(tn__flash *f, uint32_t buffer, tn_lx at) {
    return tn_l_load(f->t.m.k, buffer, at, TN_LX_NONE, TN_LX_NONE);
}

/* ---- lower_attention.c ---------------------------------------------------------------------- */

/* An element of q (which = 0) or k; where not `valid`, zero. */
tn_lx tn__flash_operand(tn__flash *f, uint32_t which, tn_lx row, tn_lx column, tn_lx x,
                        tn_lx valid);
/* e^(score - shift), of scores and maxima as they are kept. */
tn_lx tn__flash_weight(tn__flash *f, tn_lx score, tn_lx shift);
/* The larger of a score and a maximum so far. A NaN need not show in a maximum: the weight itself is NaN
 * then; but where such weights count as zero, all of the row do. */
tn_lx tn__flash_larger(tn__flash *f, tn_lx score, tn_lx largest);
/* The weights without NaN, where the graph has it so. */
tn_lx tn__flash_not_nan(tn__flash *f, tn_lx value);
/* The result of the task's rows from o and sum. */
void tn__flash_finish(tn__flash *f);
/* What the softmax is of, at f->row and f->column, where the product is f->raw. */
tn_lx tn__flash_score(tn__flash *f);

/* ---- attention_tile.c ----------------------------------------------------------------------- */

/* Packs the block of k, unless it is read in place, into panels [depth][width], and v into panels [kv_block][nr] where needed. */
void tn__flash_pack(tn__flash *f);
/* All work of the block on the rows [row, row + height) of the task; a tn__row_tile_work. */
void tn__flash_tile(void *context, uint32_t height, tn_lx row);
/* Whether the mask lets anything of rows and block through; NONE when indices do not tell. */
tn_lx tn__flash_shows(tn__flash *f, tn_lx row, tn_lx rows);

/* ---- attention_few.c ------------------------------------------------------------------------ */

/* The scores of `height` rows of the task and the first `count` columns of the block, into s; k is
 * read in place. */
void tn__flash_score_rows(tn__flash *f, tn_lx row, uint32_t height, tn_lx count);
/* How columns are cut into pieces: sets pieces, before the task is known, and the slots. */
void tn__flash_cut(tn__flash *f);
/* Sets begin and end from the piece. */
void tn__flash_take_piece(tn__flash *f);
/* Keeps the task's largest, sum and o; the last task puts all pieces together. */
void tn__flash_join_pieces(tn__flash *f);

#endif
