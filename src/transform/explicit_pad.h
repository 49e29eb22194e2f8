/* Padding of convolutions made a pad operation of its own.
 *
 * A kernel that reads a padded copy needs no bounds checks in its inner loop; the copy costs a few
 * percent of the convolution at most. */
#ifndef TENON_TRANSFORM_EXPLICIT_PAD_H
#define TENON_TRANSFORM_EXPLICIT_PAD_H

#include "transform/pass.h"

extern const tn_pass tn_pass_explicit_pad;

#endif
