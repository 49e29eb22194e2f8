/* Local algebra: a table of rewrites, applied until nothing changes (a bounded number of walks).
 *
 * Rewrites marked float_unsafe change rounding or special values of floats; they are off unless the
 * options allow them, and always on for integers. Two rows that are always on are exact up to a detail:
 * small powers become products (within the accuracy of pow), and a sum of one −0 stays −0. */
#ifndef TENON_TRANSFORM_SIMPLIFY_H
#define TENON_TRANSFORM_SIMPLIFY_H

#include "transform/pass.h"

extern const tn_pass tn_pass_simplify;

#endif
