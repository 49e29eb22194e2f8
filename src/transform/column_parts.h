/* Products whose columns are taken apart and meet again: each part becomes a product of its own.
 *
 * x·[W1 W2], of which silu(x·W1)∘(x·W2) is made by slices, or the four gates of an LSTM. An element of the
 * result needs elements that lie columns apart, which no one kernel over all columns has; as products side
 * by side they are anchors of one group (schedule/sibling.h), and nothing of the width of all parts is
 * stored. Pointwise work between the product and the slices is done to each part. */
#ifndef TENON_TRANSFORM_COLUMN_PARTS_H
#define TENON_TRANSFORM_COLUMN_PARTS_H

#include "transform/pass.h"

extern const tn_pass tn_pass_column_parts;

#endif
