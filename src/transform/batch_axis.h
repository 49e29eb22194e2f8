/* Along which axis of each value the batch lies: found by the operations' `shard` rules.
 *
 * A value that is split along an axis holds at each index of it what one image (sample) makes, and is
 * computed from that image alone. In a graph of many models (tn_graph.members) the members are the
 * images. */
#ifndef TENON_TRANSFORM_BATCH_AXIS_H
#define TENON_TRANSFORM_BATCH_AXIS_H

#include "ir/graph.h"

enum {
    TN_BATCH_FREE = -1,  /* the same for every image */
    TN_BATCH_WHOLE = -2, /* made from several images at once, or not known to be otherwise */
};

typedef struct tn_batch_axes {
    tn_dim size;  /* of the axis: see tn_batch_size */
    int8_t *axis; /* per value: the axis, or one of the above */
    bool *
        sliced; /* per value: split as it lies, as a stack of constants (other split constants are views)
                   * or members that a view puts in front; made outside of loops */
    const struct tn_batch_axes *
        *body; /* per node: of a scan that is split, the same of its body; else NULL */
} tn_batch_axes;

/* The size that a graph's batch has: its members; else the first size of the first input that is not a
 * scalar. 1: there is none. */
tn_dim tn_batch_size(const tn_graph *g);
/* In the graph's arena. */
tn_batch_axes tn_batch_axes_find(const tn_graph *g);

#endif
