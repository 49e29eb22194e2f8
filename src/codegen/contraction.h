/* What the parts of the contraction lowering share; lower_contraction.c says how it works. */
#ifndef TENON_CODEGEN_CONTRACTION_H
#define TENON_CODEGEN_CONTRACTION_H

#include "codegen/lower.h"
#include "codegen/merge.h"

/* A fold in the epilogue. */
typedef struct tn__tile_fold {
    const tn_member *member;
    const tn_node_info *node;
    const tn_fold_rules *rules;
    tn_fold fold;
    uint32_t reg[TN_FOLD_REGISTERS];  /* nr lanes */
    uint32_t rows[TN_FOLD_REGISTERS]; /* over columns: nr lanes per row of the task, in scratch */
    uint32_t work[TN_FOLD_REGISTERS]; /* slots for partial results */
} tn__tile_fold;

typedef struct tn__tile tn__tile;

/* A constant B whose elements are made of narrow ones: weights in their stored type. */
typedef struct tn__weights {
    tn_value
        source; /* the narrow elements, one per element of B; TN_NO_VALUE: B is not like this */
    tn_value param[TN_MOST_PACKS - 1]; /* constants that differ between columns: scales, zeros */
    uint32_t params;
    int64_t depth, group; /* elements of k in all; that share parameters */
    bool scaled;          /* B is a factor that a group shares times the rest */
    uint32_t bits;        /* of an element that shares a byte or a word with others; else 0 */
    uint32_t shared;      /* elements of k that share one packed element; else 1 */
    bool differs;         /* the rest, or B, is the narrow element less something of the group */
    int k_axis;           /* the only one that is not 1; -1: there are several */
    uint32_t raw, param_pack[TN_MOST_PACKS - 1]; /* the packs, as buffers */
    /* While an element of B is emitted: what stands for its leaves, and where it is. */
    tn_lx (*leaf)(tn__tile *t, tn_value v, const tn_lx *index);
    tn_lx line, k, at_group, column; /* batch and panel; k and its group; column of the panel */
    uint32_t position;               /* k % shared */
    tn_value wanted;                 /* packing: the leaf that is packed, and its element */
    tn_lx found;
    struct tn__leaf_uses *uses;
} tn__weights;

/* Products of bytes, four to a word; contraction_words.c. */
typedef struct tn__words {
    uint32_t lanes;     /* words side by side; 0: not so */
    int64_t run, lines; /* elements of k in a line; lines */
    int first;          /* axis of k that the line begins with */
    bool inside;        /* A is read where it is, without a condition */
} tn__words;

/* A part of k, where it is summed in parts; contraction_pieces.c. */
typedef struct tn__k_range {
    bool cut;           /* else all of it */
    tn_lx lo, hi;       /* of the outermost loop over k */
    tn_lx first, count; /* elements in packed order */
} tn__k_range;

struct tn__tile {
    tn_kernel_maker m; /* first */
    const tn_node_info *node;
    const tn_contraction_rules *rules;
    tn_contraction c;
    tn_schedule s;
    tn_anchor anchor;                      /* the product that it computes */
    TN_VEC(struct tn__sibling *) siblings; /* tiles of the other anchors, which run first */
    bool turned;       /* B is contiguous along its last k axis and not along n */
    bool stage_turned; /* A along m and not along k: scratch is [k][row], else [row][k] */
    bool merged_m[TN_MAX_RANK], merged_k[TN_MAX_RANK];
    tn_lx b_index[TN_MAX_RANK], b_linear, panels, n_total, k_total;
    uint32_t acc, row, scratch, packed, stage;
    tn__k_range k, staged_k; /* what is summed now; what of A is in t->stage */
    struct {
        tn_lx outer, inner; /* trips of the outermost loop over k; elements of each */
        tn_lx size, block;  /* trips per piece, at most; per block */
        tn_lx piece;        /* the task's */
        uint32_t slots;     /* sums of a panel, or of all panels of all pieces */
    } sums;
    struct {
        tn_lx line, before; /* elements from one panel to the next; to this anchor's part of it */
    } prepared;             /* PREPARED: the panels of all anchors lie side by side */
    struct {
        tn_lx panel, first; /* NONE: nothing; from which k on */
        bool epilogue;      /* what the epilogue reads of its own row */
    } next;                 /* part of B that is packed */
    tn_value a_leaf;        /* DIRECT: the value A is read from */
    tn_lx first_row;        /* of the task */
    struct {
        tn_lx rows, batch;   /* of the result */
        tn_lx blocks, block; /* of rows; the task's */
        tn_lx ranges, range; /* of panels; the task's */
        tn_lx panels;        /* per range */
        tn_lx count, number; /* of parts of the result; the task's */
    } tasks;
    TN_VEC(tn__tile_fold) folds;
    uint32_t first_ticket; /* of those along each product of a batch */
    tn_merge_probe *probe;
    struct tn__reads *reads; /* of the epilogue, while they are looked for */
    tn__words words;
    tn__weights weights;
    uint32_t part;    /* RAW: sums of a group, before its factor */
    uint32_t lhs_sum; /* and of A over the group, per row */
    struct {
        uint32_t words, steps;   /* scratch */
        uint32_t most, sum, acc; /* registers */
    } digits;                    /* RAW: of A, as contraction_digits.c says */
    tn_lx at[TN_MAX_RANK];       /* the current point of the group's space */
};

/* ---- contraction_point.c -------------------------------------------------------------------- */

/* Everything but the schedule; the fields that depend on it are left to the caller. */
void tn__tile_init(tn__tile *t, const tn_lower_context *c, uint32_t group, const char *name);
/* The same for another anchor of the group, by number: only the first has an epilogue. */
void tn__tile_set_anchor(tn__tile *t, uint32_t number);
tn_lx tn__tile_leaf(tn_access *a, tn_value v, const tn_lx *index);
/* Element `index` of operand `which` in the accumulator's type; zero where `guard` does not hold. */
tn_lx tn__tile_operand(tn__tile *t, uint32_t which, const tn_lx *index, tn_lx guard);
/* Elements of the operands, in the accumulator's type; B's is zero where not `valid`. */
tn_lx tn__tile_lhs(tn__tile *t, const tn_lx *b, const tn_lx *m, const tn_lx *k);
tn_lx tn__tile_rhs(tn__tile *t, const tn_lx *b, const tn_lx *k, const tn_lx *n, tn_lx valid);
/* The address of an element that is loaded and then at most converted to the accumulator's type; NONE: it is
 * made otherwise. */
tn_lx tn__load_address(const tn_loop *k, tn_lx e, uint32_t *buffer);
/* Whether an address (NONE: no) grows by one with a loop's variable. */
bool tn__steps_by_one(tn_loop *k, tn_lx address, tn_lx var);
tn_lx tn__ceil_div(tn_loop *k, tn_lx a, int64_t b);
tn_lx tn__tile_product(tn_loop *k, const tn_dim *d, int count);
/* Splits a linear number over axes of which some run inside the next one. */
void tn__split_axes(tn_loop *k, tn_lx linear, const tn_dim *d, int count, const bool *merged,
                    tn_lx *index);
void tn__split_plain(tn_loop *k, tn_lx linear, const tn_dim *d, int count, tn_lx *index);
/* The index in `view`, which shows value `from` through permutes and reshapes, of what is at `index` of
 * `from`. */
void tn__through_views(const tn_kernel_maker *m, tn_value from, tn_value view, const tn_lx *index,
                       tn_lx *out);
/* Sets t->at from a point of the result. */
void tn__tile_point(tn__tile *t, const tn_lx *m, const tn_lx *n);

/* ---- contraction_tile.c --------------------------------------------------------------------- */

bool tn__columns_exact(const tn__tile *t);
/* The member of the group that makes `v`; NULL: an anchor, or views of it. */
const tn_member *tn__tile_member(const tn__tile *t, tn_value v);
/* Stores, or lists for the probe, what the group makes of the accumulator at t->at, which is lane
 * `lane` of row `row`. */
void tn__epilogue_point(tn__tile *t, tn_lx acc, tn_lx row, tn_lx lane);
/* The register tile: acc = 0; acc[i][j] += a * b, inside a VECTOR loop over j; row i to `first` + i *
 * stride of buffer `to`. */
void tn__tile_clear(tn__tile *t, uint32_t rows);
void tn__tile_add(tn__tile *t, tn_lx i, tn_lx j, tn_lx a, tn_lx b);
void tn__tile_spill(tn__tile *t, uint32_t rows, uint32_t to, tn_lx first, tn_lx stride);
/* The epilogue for a row of the result, at m, whose columns from n0 on are at `first` of the register
 * tile, or of t->scratch when the epilogue is staged. */
void tn__tile_store_row(tn__tile *t, const tn_lx *m, tn_lx row, tn_lx first, tn_lx n0);
/* Opens the loops over k; `linear` is the position in packed order, the same however axes merge. */
int tn__open_k(tn__tile *t, const bool *merged, tn_lx *index, tn_lx *linear);
void tn__close_loops(tn_loop *k, int n);
/* A's element in row `i` of the tile: the part of its address that depends on k is the same for all
 * rows, the other is kept per row. */
void tn__row_addresses(tn__tile *t, uint32_t rows, tn_lx m0);
tn_lx tn__lhs_k_part(tn__tile *t, const tn_lx *k_index, tn_lx k_linear);
tn_lx tn__lhs_element(tn__tile *t, tn_lx i, tn_lx m0, const tn_lx *k_index, tn_lx k_part);
/* The same at the sum of the two parts, where A is not evaluated there. */
tn_lx tn__lhs_at(tn__tile *t, tn_lx address);
/* Element (k, j) of a panel of B as the tiles read it: packed, or in place. */
tn_lx tn__rhs_element(tn__tile *t, const tn_lx *k_index, tn_lx k_linear, tn_lx panel, tn_lx j);
/* The products of `rows` rows from m0 on with a panel; added to what the tile holds, over t->k. */
void tn__tile_multiply(tn__tile *t, uint32_t rows, tn_lx m0, tn_lx panel);
void tn__tile_add_products(tn__tile *t, uint32_t rows, tn_lx m0, tn_lx panel);
/* All rows [lo, hi) of one panel. */
void tn__run_rows(tn__tile *t, tn_lx lo, tn_lx hi, tn_lx m_total, tn_lx panel);
/* Emits the work on `height` rows from `row` on. */
typedef void tn__row_tile_work(void *context, uint32_t height, tn_lx row);
/* Rows [lo, hi), a block of m_total that starts at a multiple of mr: full tiles, then the remainder:
 * its one possible height when m_total is known, else by halves. */
void tn__row_tiles(tn_loop *k, uint32_t mr, tn_lx lo, tn_lx hi, tn_lx m_total,
                   tn__row_tile_work *work, void *context);

/* ---- contraction_prefetch.c ----------------------------------------------------------------- */

/* While `panel` is multiplied by, what is packed next is fetched: its next block of k where `more` (may
 * be NONE) holds, else the next panel. */
void tn__prefetch_after(tn__tile *t, tn_lx panel, tn_lx more);
/* A line of it, for the tile of `rows` rows from m0 on at this element of k. */
void tn__prefetch_line(tn__tile *t, uint32_t rows, tn_lx m0, tn_lx k_linear);
/* Where one tile has all rows, lines of prepared panels that follow some way behind: so memory brings more at
 * a time than by what the machine itself fetches ahead. */
void tn__prefetch_prepared(tn__tile *t, tn_lx panel, tn_lx k_linear);

/* Whether the epilogue reads values by row and column; `t` is fresh. */
bool tn__epilogue_reads(tn__tile *t);
/* Asks for their lines, before the products of a tile. */
void tn__prefetch_epilogue(tn__tile *t, uint32_t rows, tn_lx m0, tn_lx n0);
/* For tn__tile_leaf: an element that the epilogue reads. */
tn_lx tn__note_read(tn__tile *t, tn_value v, const tn_lx *index);

/* ---- contraction_fold.c --------------------------------------------------------------------- */

void tn__tile_find_folds(tn__tile *t);
/* Registers, scratch and slots; t->tasks is known. */
void tn__tile_make_folds(tn__tile *t);
/* Folds in the element at t->at: lane of the panel, row of the result. */
void tn__fold_point(tn__tile *t, tn_lx row, tn_lx lane);
/* Around what is folded: a task's rows [lo, hi), or a panel that begins at column lo, or a task. */
void tn__folds_begin(tn__tile *t, tn_along along, tn_lx lo, tn_lx hi);
void tn__folds_keep(tn__tile *t, tn_along along, tn_lx lo, tn_lx hi);
/* The last task puts all results together. */
void tn__folds_finish(tn__tile *t);

/* ---- weights_find.c, contraction_weights.c -------------------------------------------------- */

/* Looks whether B is made of narrow constants. */
void tn__weights_find(const tn_lower_context *c, uint32_t group, tn__weights *out);
/* element = factor * rest, where the loads from buffer `source` are in the rest; NONE: not so. */
tn_lx tn__weights_factor(const tn_loop *k, tn_lx element, uint32_t source, tn_lx *rest);
/* rest = source - zero, as floats of integers, where the loads from buffer `source` are in the first;
 * *zero is NONE where nothing is taken off. */
bool tn__weights_difference(tn_loop *k, tn_lx rest, uint32_t source, tn_lx *zero);
/* The kernel that packs the narrow elements (which: 0) or parameter which - 1; `t` is fresh. */
tn_pack tn__weights_pack(tn__tile *t, uint32_t which);
/* Declares the packs as buffers of the kernel, and registers. */
void tn__weights_bind(tn__tile *t);
/* The products of a register tile, with the elements converted where they are used. */
void tn__weights_multiply(tn__tile *t, uint32_t rows, tn_lx m0, tn_lx panel);
/* The element of the pack at line `line` of the panel and weights.column. */
tn_lx tn__weights_word(tn__tile *t, tn_lx line);
/* Asks for the lines of the pack that follow some way behind: prefetching by the machine stops at the end of
 * a page, and what is computed with a page by a few rows takes too short to hide its first line. */
void tn__weights_prefetch(tn__tile *t, tn_lx line);
/* Converts a panel into t->packed. */
void tn__weights_unpack(tn__tile *t, tn_lx panel);

/* ---- contraction_digits.c ------------------------------------------------------------------- */

/* The element of k that is at `position` of word `line` of the pack. */
tn_lx tn__digits_k(const tn__tile *t, tn_lx line, uint32_t position);
/* Scratch and registers. */
void tn__digits_declare(tn__tile *t);
/* Brings rows [lo, hi) of A to digits. */
void tn__digits_make(tn__tile *t, tn_lx lo, tn_lx hi);
/* Register `to` = the products of a group, and t->lhs_sum the sums over A. */
void tn__digits_multiply(tn__tile *t, uint32_t rows, tn_lx m0, tn_lx group, uint32_t to);

/* ---- contraction_words.c -------------------------------------------------------------------- */

/* Looks whether the product is one of bytes; `direct`, `merged_k`: what is known of A. */
void tn__words_find(const tn__tile *t, bool direct, const bool *merged_k, uint32_t lanes,
                    tn__words *out);
/* Along all of k, in place of its elements. */
int64_t tn__words_total(const tn__words *w);
/* As tn__stage_rows and tn__pack_panel. */
void tn__stage_words(tn__tile *t, tn_lx lo, tn_lx hi);
void tn__pack_words(tn__tile *t, tn_lx panel, uint32_t to, tn_lx base);

/* ---- contraction_pack.c --------------------------------------------------------------------- */

/* One panel of B, columns past the end as zero; element (k, j) goes to `base` + k*nr + j of `to`. */
void tn__pack_panel(tn__tile *t, tn_lx panel, uint32_t to, tn_lx base);
/* STAGED: evaluates the rows [lo, hi) of A, at most m_block, into t->stage. */
void tn__stage_lhs(tn__tile *t, tn_lx lo, tn_lx hi);
/* For rows that a group makes; contraction_prologue.c. */
void tn__stage_prologue(tn__tile *t, tn_lx lo, tn_lx hi);
/* The parts of an element's place in t->stage: of the row, counted from the task's first, and of k. */
tn_lx tn__stage_row(const tn__tile *t, tn_lx row);
tn_lx tn__stage_k(const tn__tile *t, tn_lx k_linear);

/* ---- contraction_sibling.c ------------------------------------------------------------------ */

/* The tile of another anchor of t's group, in the same kernel and with the same registers. */
typedef struct tn__sibling {
    tn__tile tile;
    bool same_rows; /* of A are in scratch, which t fills */
    uint32_t sums;  /* scratch: of the task's rows and a panel */
} tn__sibling;

/* The tile of anchor `number` in t's kernel; its record and operands are left to the caller. */
tn__sibling *tn__sibling_open(tn__tile *t, uint32_t number);
/* Where each anchor's panels are in the pack, once all have their records. Panel after panel, those of
 * the anchors side by side in the order in which they run: so memory streams one operand. */
void tn__place_prepared(tn__tile *t);
/* Once it has its record: registers and scratch, but for B. */
void tn__sibling_declare(tn__tile *t, tn__sibling *s, uint32_t number);
/* Once t->tasks is known: evaluates rows [lo, hi) of A where t has not. */
void tn__siblings_begin(tn__tile *t, tn_lx lo, tn_lx hi);
/* Leaves the sums for rows [lo, hi) of a panel in scratch. */
void tn__siblings_run(tn__tile *t, tn_lx lo, tn_lx hi, tn_lx panel);
/* Defines their elements at t->at; `row` NONE: for analysis. */
void tn__siblings_define(tn__tile *t, tn_lx row, tn_lx lane);

/* ---- contraction_pieces.c ------------------------------------------------------------------- */

/* Whether several tasks make the sums, a piece of k each; whether they are made in parts at all. */
bool tn__sums_shared(const tn__tile *t);
bool tn__sums_cut(const tn__tile *t);
/* How k is cut: once t->merged_k is known. */
void tn__sums_init(tn__tile *t);
/* Whether a task stages A block by block: a block of k then passes all panels of the task. */
bool tn__sums_stage_blocks(const tn__tile *t);
/* Elements of k of A that a task stages at a time; of a panel of B that it packs at a time. */
tn_lx tn__sums_staged(const tn__tile *t);
tn_lx tn__sums_packed(const tn__tile *t);
/* The slots, once t->tasks is known, and the task's part of k. */
void tn__sums_begin(tn__tile *t);
/* The first slot of a row, for a panel. */
tn_lx tn__sums_slot(const tn__tile *t, tn_lx piece, tn_lx row, tn_lx panel);
/* Makes the sums of rows [lo, hi) of panels [first, last), one only without pieces, in the slots: all of
 * them for one block of k before the next. */
void tn__sums_make(tn__tile *t, tn_lx lo, tn_lx hi, tn_lx first, tn_lx last);
/* Opens what the last task of a part of the result does, if there are pieces; and closes it. */
void tn__sums_last(tn__tile *t);
void tn__sums_end(tn__tile *t);
/* The tile as the sum of its slots, in order. */
void tn__sums_gather(tn__tile *t, uint32_t rows, tn_lx m0, tn_lx panel);

/* ---- contraction_sweep.c -------------------------------------------------------------------- */

/* Scratch elements that the sums take. */
tn_lx tn__sweep_elements(const tn__tile *t);
/* The rows of the task (t->s.mr, all there are), columns of panels [first, last). */
void tn__sweep_panels(tn__tile *t, tn_lx first, tn_lx last);

#endif
