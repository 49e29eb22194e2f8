/* Which groups run piece by piece of the batch, and how large the pieces are.
 *
 * One kernel after another over a whole batch passes on more than the caches hold; a few kernels over
 * one image after another do not, but read their weights anew for each piece and are launched more
 * often. */
#ifndef TENON_SCHEDULE_BATCH_PIECES_H
#define TENON_SCHEDULE_BATCH_PIECES_H

#include "machine/costs.h"
#include "transform/batch_loop.h"

enum {
    TN_PIECE_BY_COST = 0,
    TN_PIECE_NEVER = -1,
    TN_PIECE_TRIALS = 64, /* at most */
};

/* The graph with those loops over the batch that cost less, in *out; `g` itself when there are none.
 * `piece`: a number of images for every loop that is possible, or one of the above. */
tn_status tn_batch_in_pieces(const tn_graph *g, const tn_costs *costs, int64_t piece,
                             const tn_graph **out, tn_error *err);
/* What tuning compares with the choice by cost: TN_PIECE_NEVER, then each piece that divides the batch and is
 * at least twice the one before, from 1 on. Their number; none without a batch. */
uint32_t tn_batch_piece_trials(const tn_graph *g, int64_t out[TN_PIECE_TRIALS]);

#endif
