/* Depthwise convolutions that lie channels-first, with too few columns for the kernels of planes (tn__planes_of),
 * read a channels-last copy.
 *
 * Their kernel has vectors along the channels, which it would gather element by element, once per row of
 * the window. The operand's permute becomes two, the first of which puts the channels last: it is what
 * grouping stores (tn_schedule_turns_lhs), so no rewrite may run later that would merge them again. */
#ifndef TENON_TRANSFORM_CHANNELS_LAST_H
#define TENON_TRANSFORM_CHANNELS_LAST_H

#include "transform/pass.h"

extern const tn_pass tn_pass_channels_last;

#endif
