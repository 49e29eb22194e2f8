/* Sums in blocks: the serial loops of a fold, one of them cut so that no accumulator takes more than a few
 * steps in its own type. After each block what the accumulators hold is added to totals in tn_fold.total and
 * they begin anew (blocked summation; Higham, SIAM J. Sci. Comput. 14(4), 1993): a chain of n additions in f32
 * may be off by n/2 roundings of its result, in blocks by half their length. Folds without such a type, and
 * short chains, have no blocks. */
#ifndef TENON_CODEGEN_FOLD_BLOCKS_H
#define TENON_CODEGEN_FOLD_BLOCKS_H

#include "ir/rules.h"

/* Of a fold, outermost first. The last loop may be one of strips, which its owner opens. */
typedef struct tn_fold_loops {
    tn_lx lo[TN_MAX_RANK], hi[TN_MAX_RANK];
    int64_t most[TN_MAX_RANK]; /* elements that hi - lo may come to */
    int count;
    int64_t strip; /* elements of a step of the last loop, if it is one of strips; else 0 */
    int cut;       /* the loop that is cut, into blocks of so many elements; -1: none */
    int64_t block;
    int opened, outside; /* loops that are open; of these outside of the blocks */
} tn_fold_loops;

/* Finds out which loop is cut. */
void tn_fold_cut(tn_fold_loops *f);
/* Opens the loops; at[i]: their variables. Of strips only the range is made, in lo and hi. Without `blocks`
 * none is cut. */
void tn_fold_open(tn_loop *k, tn_fold_loops *f, bool blocks, tn_lx *at);
/* Closes them, with flush(context) at the end of each block. */
void tn_fold_close(tn_loop *k, tn_fold_loops *f, void (*flush)(void *), void *context);

/* A sum in blocks: its accumulators, a register, and in scratch what they held at the end of a block, and the
 * totals: one for each accumulator or, with `together`, for each lane of a vector. */
typedef struct tn_fold_sums {
    tn_fold fold;
    uint32_t accumulators, part, totals, lanes;
    bool together;
} tn_fold_sums;

tn_fold_sums tn_fold_make_sums(tn_loop *k, const tn_fold *f, uint32_t accumulators, uint32_t lanes,
                               bool together);
/* To begin with, and at the end of a block, of `width` accumulators, which begin anew. */
void tn_fold_clear_totals(tn_loop *k, const tn_fold_sums *s, uint32_t width);
void tn_fold_add_up(tn_loop *k, const tn_fold_sums *s, uint32_t width);
/* The total of a lane; of all lanes of a vector. */
tn_lx tn_fold_total(tn_loop *k, const tn_fold_sums *s, tn_lx lane);
tn_lx tn_fold_whole_total(tn_loop *k, const tn_fold_sums *s);

/* Whether the accumulators have another type than the totals. */
static inline bool tn_fold_widens(const tn_fold *f) {
    return f->simple && f->total != f->dtype[0];
}
/* What folding begins with. */
static inline tn_lx tn_fold_init(tn_loop *k, const tn_fold *f, int reg) {
    return tn_l_const(k, f->dtype[reg], f->init[reg]);
}

#endif
