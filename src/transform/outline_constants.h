/* Constants in the bodies of scans become invariants: the inverse of inline_constants, for what a loop over the
 * batch around the scan goes through. */
#ifndef TENON_TRANSFORM_OUTLINE_CONSTANTS_H
#define TENON_TRANSFORM_OUTLINE_CONSTANTS_H

#include "ir/graph.h"

/* Of the scans of `g` itself, those whose first axis has `size` elements. *out: `g` where there are none. */
tn_status tn_outline_constants(const tn_graph *g, tn_dim size, const tn_graph **out, tn_error *err);

#endif
