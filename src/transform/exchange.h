/* Products between values that both lie with their channels before their columns: x·w becomes w·x.
 *
 * A 1×1 convolution of an image [C, H·W] is w[O, C] · x[C, H·W]. As x·w it reads its left operand across
 * the rows, and its result is turned on the way to memory; with the sides exchanged both are read and
 * written as they lie. It is done only where the permute that it leaves behind the result meets its
 * inverse behind pointwise work, so that the sink pass, which runs next, makes both vanish. */
#ifndef TENON_TRANSFORM_EXCHANGE_H
#define TENON_TRANSFORM_EXCHANGE_H

#include "transform/pass.h"

extern const tn_pass tn_pass_exchange;

#endif
