/* Schedule records: what one lowering of a group into loop IR does, as data.
 *
 * A record is chosen from shapes and the target alone (never from the number of threads, so the
 * task grid and the order of every sum are the same on every run), can be printed, and is all that
 * codegen/lower_*.c reads besides the group. */
#ifndef TENON_SCHEDULE_RECORD_H
#define TENON_SCHEDULE_RECORD_H

#include "schedule/group.h"

/* How the right operand of a contraction reaches the register tile. */
typedef enum tn_rhs_mode {
    TN_RHS_PREPARED, /* constant, or steady in a loop: packed once as panels [N/nr][K][nr], zero padded */
    TN_RHS_DIRECT, /* rows of n are contiguous: read in place */
    TN_RHS_PACKED, /* packed by the task, one panel at a time, into scratch */
    TN_RHS_RAW, /* constant made of narrow elements: these are packed, and converted where used */
    TN_RHS_UNPACKED, /* the same, converted by the task, one panel at a time, into scratch */
} tn_rhs_mode;

/* How the left operand does. */
typedef enum tn_lhs_mode {
    TN_LHS_DIRECT,  /* read in place: its address is a part of the row and a part of k */
    TN_LHS_ELEMENT, /* evaluated where it is used */
    TN_LHS_STAGED,  /* evaluated by the task, all its rows at once, into scratch */
} tn_lhs_mode;

/* Which lowering makes a ROWS group. */
typedef enum tn_rows_shape {
    TN_SHAPE_ROWS,      /* lower_rows.c: any */
    TN_SHAPE_PLACE,     /* lower_place.c: a concat or pad as a row of segments */
    TN_SHAPE_TRANSPOSE, /* lower_transpose.c: reads along one axis, writes along another */
    TN_SHAPE_SPLIT,     /* lower_split.c: folds cut into pieces that are combined at the end */
    TN_SHAPE_DEPTHWISE, /* lower_depthwise.c: a convolution with vectors along its groups */
    TN_SHAPE_PLANES,    /* lower_depthwise_planes.c: one with vectors along its columns */
    TN_SHAPE_NARROW, /* lower_depthwise_narrow.c: one of channels-first planes, turned in scratch */
    TN_SHAPE_WINDOWS, /* lower_windows.c: a fold over windows */
} tn_rows_shape;

enum { TN_RANGE_CLASSES = 3 };

typedef struct tn_schedule {
    uint32_t lanes; /* lanes of one vector */
    bool stream;    /* some result is stored past the caches */
    /* ROWS */
    tn_rows_shape shape;
    int64_t pieces;     /* PLACE: tasks that share a row; SPLIT: pieces of the folded space */
    bool follow_source; /* TRANSPOSE: tiles follow each other along the operand's rows */
    bool whole_lines;   /* TRANSPOSE: rows of the result begin within cache lines, tiles are stored
                           line by line by way of scratch */
    bool fold_lanes;    /* vectors run along a folded axis (else along the last row axis) */
    uint32_t unroll;    /* vectors per step where folds need several accumulators */
    int64_t rows_per_task;
    uint32_t
        together; /* short rows side by side, whose folds do not wait for each other; 0: one by one */
    int block_axis; /* window folds: the row axis that blocks of points run along */
    int64_t block;  /* points that share a strip's registers; 0: no blocks */
    int64_t chunk;  /* elements of the vector axis per task; 0: whole rows */
    bool
        separable; /* WINDOWS: columns are folded last, from a line in scratch that serves `block` of the
                       result, nr elements at a time; `unroll` vectors where it is made, mr lines
                       before the first is read */
    /* CONTRACTION */
    uint32_t mr, nr; /* register tile: mr rows of nr elements */
    bool flat_k;     /* its loop over k is unrolled */
    int64_t m_block; /* rows per task, a multiple of mr */
    bool
        rows_first; /* tasks with the same rows follow each other, else those with the same columns */
    int64_t n_panels; /* panels of nr columns per task, unless: */
    /* With a prologue: into how many ranges the columns are cut when there are 1, 2 or 3, 4 to 7 blocks
     * of rows; more: one. 0: no prologue. */
    uint32_t ranges[TN_RANGE_CLASSES];
    tn_lhs_mode lhs;
    tn_rhs_mode rhs;
    bool rhs_unit; /* the right operand is contiguous along n: DIRECT and PACKED are possible */
    bool k_cut;    /* k may be cut: */
    int64_t
        k_pieces; /* whose sums different tasks make, and the last one adds in order; up to 1: one */
    int64_t
        k_block; /* elements of k (of a piece) that all rows of a task pass before the next; 0: all */
    bool words;          /* bytes: four elements of k share a word of both operands */
    int64_t k_step;      /* RAW, UNPACKED: elements of k per step of the loop */
    bool group_sums;     /* RAW: sums over a group of k are multiplied by its factor */
    bool zero_sums;      /* and zeros are taken off there, times the sums over A */
    bool digits;         /* and A is cut into digits, so that bytes are multiplied */
    int64_t unpack_rows; /* RAW: tasks with more rows than this run as UNPACKED */
    bool
        sweep; /* DIRECT, mr rows in all: B passes once, sums in scratch; SPLIT: the operand does */
    bool staged_epilogue; /* the tile goes through scratch: for long epilogues */
    uint32_t winograd; /* conv by tiles of so many results squared; m_block counts tiles. 0: no */
    uint32_t store_nr; /* NARROW: lines of squares of the result */
    /* ATTENTION: mr and m_block as above, nr for the second product */
    uint32_t score_nr; /* columns of the first product's register tile */
    int64_t kv_block;  /* columns of the scores at a time, a multiple of score_nr */
    int64_t kv_piece;  /* few rows: columns per task, a multiple of kv_block; 0: all */
} tn_schedule;

enum { TN__SWEEP_ROWS = 4 }; /* most rows of a `sweep` */

/* Rows of attention up to which keys are read in place, and up to which tasks share the columns. */
enum { TN_FEW_ROWS = 6, TN_SHARING_ROWS = 16 };

/* `vector_bytes` is the target's vector size; merged[i]: axis i of the space runs inside axis i
 * + 1. */
tn_schedule tn_schedule_choose_rows(const tn_grouping *p, const tn_group *g, uint32_t vector_bytes,
                                    const bool *merged);
/* What codegen knows of the operands of a contraction. */
typedef struct tn_operand_facts {
    bool lhs_direct;  /* the left one can be read in place */
    bool lhs_turned;  /* or is contiguous along its rows at least */
    bool lhs_columns; /* both of these, and all rows of a column follow each other */
    bool rhs_unit;    /* the right one is contiguous along n */
    bool k_cut;       /* the sum can be made in parts */
} tn_operand_facts;

/* `registers`: vector registers of the target. */
tn_schedule tn_schedule_choose_contraction(const tn_grouping *p, const tn_group *g,
                                           uint32_t vector_bytes, uint32_t registers,
                                           const tn_operand_facts *facts);
/* For sibling `number` of such a group, whose anchor has this record: its own way to the operands. Cuts
 * the anchor's block of rows where the sibling's rows are evaluated into scratch. */
tn_schedule tn_schedule_choose_sibling(const tn_grouping *p, const tn_group *g, uint32_t number,
                                       bool lhs_direct, bool rhs_unit, tn_schedule *anchor);
/* Into how many pieces the sums of a product of these sizes are cut (turned: A's rows are columns in
 * memory), and rows per task then. */
int64_t tn__k_pieces(int64_t batch, int64_t rows, int64_t columns, int64_t k, bool turned);
int64_t tn__piece_rows(int64_t rows, int64_t columns);
/* The same for a sweep: sets k_pieces and n_panels. */
void tn__sweep_pieces(int64_t batch, int64_t rows, int64_t panels, int64_t k, tn_schedule *s);
/* Elements of k for `rows` of a task at a time (turned: as above); 0: all. */
int64_t tn__k_block(int64_t rows, int64_t k, bool turned, const tn_schedule *s);
/* Whether the right operand of a group's product is packed before the kernel runs for the first time: it is a
 * constant, or steady in a loop whose rows are too few to share a copy made for each iteration. */
bool tn_schedule_prepares_rhs(const tn_grouping *p, const tn_group *g, tn_node product);
/* Whether the sums of a product are cut, or would be if the result had one `parts`-th of its elements: of the
 * products of a batch, or of the rows of each. */
bool tn_schedule_cuts_sums(const tn_grouping *p, tn_node product, int64_t parts, bool batch);
/* Whether the product alone, with a right operand that is contiguous along n, would read it in one pass. */
bool tn_schedule_may_sweep(const tn_grouping *p, tn_node product);
/* How often the tasks of a product make each row of its prologue: once per range of columns. */
int64_t tn_schedule_prologue_repeats(const tn_grouping *p, const tn_group *g);
/* Weights in their stored type, as codegen finds them. */
typedef struct tn_weights_shape {
    int64_t group;  /* elements of k that share parameters */
    bool scaled;    /* they share a factor, too */
    int64_t shared; /* elements of k that share a byte or a word; else 1 */
    bool differs;   /* a constant of the group is taken off the narrow element */
    bool single_k;  /* k is one loop */
    bool dot4;      /* the target has an instruction for products of bytes */
} tn_weights_shape;

/* Changes the record of a contraction with a prepared operand: its weights stay as they are stored. */
void tn_schedule_choose_weights(const tn_grouping *p, const tn_group *g, uint32_t registers,
                                const tn_weights_shape *w, tn_schedule *s);
/* Changes the record of a product of bytes to one of words, of which k takes so many. */
void tn_schedule_choose_words(const tn_grouping *p, const tn_group *g, uint32_t registers,
                              int64_t words, tn_schedule *s);
/* The side of the tiles by which a 3×3 convolution is computed faster than in the general way: 2 or 4;
 * else 0. Decided from shapes alone, before groups are formed. */
uint32_t tn_schedule_winograd_side(const tn_grouping *p, tn_node conv);
/* The same with another number of images; 0: the graph's. */
uint32_t tn_schedule_winograd_side_for(const tn_grouping *p, tn_node conv, int64_t images);
/* The part of the general way's time that it takes; 1: it is computed so. */
double tn_schedule_winograd_share(const tn_grouping *p, tn_node conv);
/* For a group around such a convolution. */
tn_schedule tn_schedule_choose_winograd(const tn_grouping *p, const tn_group *g,
                                        uint32_t vector_bytes, uint32_t registers);
/* Whether a product is faster with the result of a permute in memory than with its operand: the permute
 * brings the axis of the sum to the end. */
bool tn_schedule_turns_lhs(const tn_grouping *p, tn_node permute, tn_node product);
/* For a group around a depthwise convolution: rows_per_task, `chunk` channels per task, `block` columns
 * of the register tile. */
tn_schedule tn_schedule_choose_depthwise(const tn_grouping *p, const tn_group *g,
                                         uint32_t vector_bytes);
/* The same for an operand with its columns innermost: tiles of mr rows and `unroll` vectors of columns,
 * `block` rows staged at a time, rows_per_task such blocks per task. */
tn_schedule tn_schedule_choose_planes(const tn_grouping *p, const tn_group *g,
                                      uint32_t vector_bytes);
/* The same where these are few: mr rows at a time of a vector of channels, in tiles of `block` columns; squares
 * of nr lines of x and of store_nr lines of the result are turned; rows_per_task such blocks per task. */
tn_schedule tn_schedule_choose_narrow(const tn_grouping *p, const tn_group *g,
                                      uint32_t vector_bytes);
/* The axes of a window fold: the last one that windows, strides or padding change, and the one that vectors
 * run along, which is that or lies behind it; -1: none. */
typedef struct tn__window_axes {
    int column, vector;
} tn__window_axes;

tn__window_axes tn__find_window_axes(const tn_graph *g, const tn_node_info *window_reduce);
/* Whether a window has several elements along an axis, or some in padding. */
bool tn__window_folds(const tn_attrs_window_reduce *a, int axis);
/* For a group around a window fold; false: left to the general lowering. */
bool tn_schedule_choose_windows(const tn_grouping *p, const tn_group *g, uint32_t vector_bytes,
                                tn_schedule *s);
tn_schedule tn_schedule_choose_attention(const tn_grouping *p, const tn_group *g,
                                         uint32_t vector_bytes, uint32_t registers);
/* Of its gradient. mr, score_nr and m_block (rows at a time) only: each product has columns of its own. */
tn_schedule tn_schedule_choose_attention_gradient(const tn_grouping *p, const tn_group *g,
                                                  uint32_t vector_bytes, uint32_t registers);
/* A row of the result holds segments along `axis` and is whole behind it. Shape ROWS: not worth it.
 */
tn_schedule tn_schedule_choose_place(const tn_grouping *p, const tn_group *g, uint32_t vector_bytes,
                                     int axis);
/* What is known of a group that reads along axis `cross` and writes along axis `last` of its space. */
typedef struct tn_turn_facts {
    const bool *merged;
    int cross, last;
    int64_t step; /* of the operand along `last`, in elements; -1: not known */
    uint32_t vector_bytes;
    uint32_t element_bytes; /* of the narrowest lanes: at least 4 where there is work to do */
    bool
        wide_source; /* rows of the operand lie further apart than those of the result, so that following
                         them is what saves cache and TLB misses */
    bool streams;   /* some result is stored past the caches */
    bool long_rows; /* in the operand, other axes lie between the crosswise and the last one */
} tn_turn_facts;
/* Sets the sides of a task's block, rows_per_task (of `cross`) and chunk (of `last`), and `unroll`: tiles
 * side by side that fill cache lines of the result. */
tn_schedule tn_schedule_choose_transpose(const tn_grouping *p, const tn_group *g,
                                         const tn_turn_facts *facts);
/* Cuts the folds along `cut_axis`; rows_per_task is the multiple that pieces are rounded to. */
tn_schedule tn_schedule_choose_split(const tn_grouping *p, const tn_group *g, uint32_t vector_bytes,
                                     const bool *merged, int *cut_axis);
/* Vectors side by side in which rows that lie behind each other are folded, `extent` elements each: the more,
 * the longer the runs that are read of each, as far as registers hold the sums. */
uint32_t tn__strip_vectors(const tn_grouping *p, const tn_group *g, uint32_t lanes, int64_t extent);
/* Whether `v` takes `least` bytes, so that storing it past the caches saves reading its memory first and
 * keeps what else they hold. */
bool tn_schedule_streams(const tn_grouping *p, tn_value v, int64_t least);
void tn_schedule_print(const tn_schedule *s, tn_group_kind kind, tn_str *out);

/* Sizes of one product; those that are not fixed are guesses. */
typedef struct tn__product_sizes {
    int64_t m, n, k;
    bool fixed_m, fixed_n, fixed_k;
    uint32_t least; /* lanes of a vector at the end of a row of the tile */
    bool turned;    /* A is read by columns */
    bool prepared;  /* B is packed before the first run */
} tn__product_sizes;

/* Sets mr, nr and flat_k; lanes are known. */
void tn__choose_tile(const tn__product_sizes *p, uint32_t registers, tn_schedule *s);
/* Columns of a tile, in vectors: with 32 registers up to 4 (6×4, 8×3), with 16 up to 3 (4×3, 6×2). The
 * most that divide n, else masked. */
uint32_t tn__tile_vectors(int64_t n, bool constant, uint32_t lanes, uint32_t registers);
/* Rows of a tile whose rows are `vectors` wide: accumulators, a row of the right operand and a broadcast
 * fit the file. */
uint32_t tn__tile_rows(uint32_t vectors, uint32_t registers);
/* Rows of a tile that leave no remainder of m, for a little less reuse; a small part of many rows does not
 * matter. */
uint32_t tn__whole_rows(uint32_t most, uint32_t vectors, int64_t m);
/* Of products with a prologue: rows per task (`packed`: which packs B), and `ranges` of the record. */
int64_t tn__prologue_rows(const tn_grouping *p, const tn_group *g, bool packed);
void tn__prologue_ranges(const tn_grouping *p, const tn_group *g, uint32_t *ranges);
/* Operations that need long vector code. */
bool tn__is_long_operation(tn_op op);

enum { TN_TYPICAL_SIZE = 64 }; /* of what is known at run time only */

/* A guess at a size for the purpose of cutting work: the constant, or a typical value within its
 * bounds. */
int64_t tn_dim_guess(const tn_dims *t, tn_dim d);

#endif
