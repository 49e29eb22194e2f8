/* Views behind grouped convolutions move up to them.
 *
 * A grouped or depthwise convolution computes with the group as its first axis; permutes and reshapes
 * bring the result to channels-last. Where pointwise work lies between (it sinks past views), the
 * views move back above it, so that the convolution's kernel stores channels-last at once. */
#ifndef TENON_TRANSFORM_RAISE_H
#define TENON_TRANSFORM_RAISE_H

#include "transform/pass.h"

extern const tn_pass tn_pass_raise;

#endif
