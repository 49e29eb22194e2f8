/* Constants that enter sub-graphs move into them.
 *
 * An operand of if, while or scan that depends on constants only and does not change (an invariant)
 * becomes part of the bodies, so that a body's kernels can prepare it: the recurrent weights of an
 * LSTM are packed once instead of at every step. Bytes are shared, not copied. */
#ifndef TENON_TRANSFORM_INLINE_CONSTANTS_H
#define TENON_TRANSFORM_INLINE_CONSTANTS_H

#include "transform/pass.h"

extern const tn_pass tn_pass_inline_constants;

#endif
