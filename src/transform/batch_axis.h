/* Along which axis of each value the batch lies: found by the operations' `shard` rules.
 *
 * A value that is split along an axis holds at each index of it what one image (sample) makes, and is
 * computed from that image alone. */
#ifndef TENON_TRANSFORM_BATCH_AXIS_H
#define TENON_TRANSFORM_BATCH_AXIS_H

#include "ir/graph.h"

enum {
    TN_BATCH_FREE = -1,  /* the same for every image */
    TN_BATCH_WHOLE = -2, /* made from several images at once, or not known to be otherwise */
};

typedef struct tn_batch_axes {
    tn_dim
        size; /* of the axis: the first size of the first input that is not a scalar; 1: no batch */
    int8_t *axis; /* per value: the axis, or one of the above */
    bool *
        sliced; /* per value: a constant that is split as it lies; other split constants are views */
    const struct tn_batch_axes *
        *body; /* per node: of a scan that is split, the same of its body; else NULL */
} tn_batch_axes;

/* The size that a graph's batch has, if there is one. */
tn_dim tn_batch_size(const tn_graph *g);
/* In the graph's arena. */
tn_batch_axes tn_batch_axes_find(const tn_graph *g);

#endif
