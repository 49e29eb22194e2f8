/* Puts parts of a graph into loops (scans) over pieces of the batch.
 *
 * A part's body computes one piece: its operands are slices of the values that the part reads, which
 * the executor hands over in place, its results are stored in place. Each result element is computed by
 * the same operations as before. */
#ifndef TENON_TRANSFORM_BATCH_LOOP_H
#define TENON_TRANSFORM_BATCH_LOOP_H

#include "transform/batch_axis.h"

enum { TN_BATCH_MOST_LOOPS = 16, TN_BATCH_OUTSIDE = TN_BATCH_MOST_LOOPS, TN_BATCH_ANYWHERE };

typedef struct tn_batch_loops {
    uint32_t count;                     /* of loops, in their order of execution */
    int64_t piece[TN_BATCH_MOST_LOOPS]; /* images per iteration; divides the batch */
    uint8_t
        *where; /* per node: a loop, OUTSIDE, or ANYWHERE it is read (made anew in each place) */
} tn_batch_loops;

/* *out: a new graph, or `g` when no loop is left: one that would have to be handed something that is not
 * split along its first axis, or is not ready before it, is left out. Changes `loops`. */
tn_status tn_batch_loop(const tn_graph *g, const tn_batch_axes *batch, tn_batch_loops *loops,
                        const tn_graph **out, tn_error *err);

#endif
