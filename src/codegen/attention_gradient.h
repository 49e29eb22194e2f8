/* What the parts of the lowering of attention's gradient share; lower_attention_gradient.c says how it
 * works. */
#ifndef TENON_CODEGEN_ATTENTION_GRADIENT_H
#define TENON_CODEGEN_ATTENTION_GRADIENT_H

#include "codegen/contraction.h"
#include "codegen/mask_range.h"

enum { TN_MOST_SCORE_SOURCES = 4, TN_MOST_SCORE_PRODUCTS = 8 };

/* A product of the scores' size: s[row][column] = Σ rows[row][x] * columns[column][x] */
typedef struct tn__score_source {
    uint32_t place; /* in `inner` */
    const tn_node_info *node;
    const tn_contraction_rules *rules;
    tn_contraction c;
    tn_lx depth;
    bool turned;            /* its columns' operand is contiguous along x */
    uint32_t rows, columns; /* scratch: [row][x]; panels [x][score_nr] */
} tn__score_source;

/* A result: out[column or row][j] += w[row][column] * other[row or column][j] */
typedef struct tn__score_result {
    const tn_score_product *x;
    const tn_node_info *node;
    const tn_contraction_rules *rules;
    tn_contraction c;
    uint32_t operand;         /* place of w in `inner` */
    int64_t width;            /* features of a row of the result */
    uint32_t mr, nr, panels;  /* of the register tile; panels of nr features */
    uint32_t other, sum, acc; /* scratch: [row or column][panels * nr], [column][…]; register */
} tn__score_result;

/* What becomes of one of `inner` in the kernel. */
typedef struct tn__score_value {
    uint32_t slot;  /* scratch [row of the block][column]; UINT32_MAX: evaluated where it is read */
    uint32_t from;  /* the level from which it is there */
    uint32_t until; /* the last level that reads it; UINT32_MAX: results do */
    uint32_t fold, acc; /* FOLD: scratch, one a row; register of the lanes */
    tn_lx now;          /* its value, while it is known; else NONE */
} tn__score_value;

typedef struct tn__score_gradient {
    tn_kernel_maker m; /* first */
    const tn_attention_gradient *y;
    tn_schedule s;
    tn_dtype dtype;
    tn_contraction base; /* the forward product, which numbers rows and columns */
    tn_score_place *at;  /* per `inner` */
    tn__score_value *value;
    tn__score_source source[TN_MOST_SCORE_SOURCES];
    tn__score_result result[TN_MOST_SCORE_PRODUCTS];
    uint32_t sources, results;
    TN_VEC(uint32_t) slots; /* buffers */
    tn_lx b_index[TN_MAX_RANK];
    int64_t rows_total, columns_total;
    tn_lx stride, columns;        /* of a row in a slot; of the scores */
    tn_lx first_row, rows, count; /* of the block; columns that it sees */
    uint32_t score_acc;           /* register */
    int conditions;               /* comparisons that hide the columns behind: see mask_range.h */
    bool usable[TN_MOST_CONDITIONS];
    tn_mask_corner corner[TN_MOST_CONDITIONS];
} tn__score_gradient;

static inline tn_lx tn__score_int(tn__score_gradient *f, int64_t n) {
    return tn_l_int(f->m.k, n);
}
static inline tn_lx tn__score_at(tn__score_gradient *f, tn_lx row, tn_lx width, tn_lx column) {
    return tn_l_add(f->m.k, tn_l_mul(f->m.k, row, width), column);
}
static inline tn_lx tn__score_load(tn__score_gradient *f, uint32_t buffer, tn_lx at) {
    return tn_l_load(f->m.k, buffer, at, TN_LX_NONE, TN_LX_NONE);
}
static inline tn_value tn__score_value_of(const tn__score_gradient *f, uint32_t place) {
    return tn_graph_node(f->m.graph, f->y->inner.data[place].node)->out;
}

/* ---- lower_attention_gradient.c ------------------------------------------------------------- */

/* Finds the parts at a row and a column of the scores. */
void tn__score_locate(tn__score_gradient *f, tn_lx row, tn_lx column);

/* ---- attention_gradient_levels.c ------------------------------------------------------------ */

/* Which values are kept in slots, and where. */
void tn__score_plan(tn__score_gradient *f);
/* Scratch and registers of the plan. */
void tn__score_declare(tn__score_gradient *f);
/* From the sources of the block's rows to the left operands of the results, level by level. */
void tn__score_levels(tn__score_gradient *f);

/* ---- attention_gradient_products.c ---------------------------------------------------------- */

/* On a throw-away kernel: how source `i` has its columns, into `out`. */
void tn__score_probe(tn__score_gradient *f, tn__score_source *out, uint32_t i, tn_lx column);
/* Once a task: what stands for columns, and zeros where results over rows are added up. */
void tn__score_begin(tn__score_gradient *f);
/* The sources of the block. */
void tn__score_sources(tn__score_gradient *f);
/* Adds what the block gives to results over rows; stores those over columns. */
void tn__score_results(tn__score_gradient *f);
/* Stores results over rows. */
void tn__score_finish(tn__score_gradient *f);

#endif
