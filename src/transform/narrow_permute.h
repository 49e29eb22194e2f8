/* Permutes before outputs move to where the value is narrowest.
 *
 * A permute that ends a graph is a kernel of its own, as fast as memory is. Behind a product whose epilogue
 * makes bytes and widens them again (DequantizeLinear), permuting the bytes moves less, and the kernel widens
 * them on the way: permute(f(x)) = f(permute(barrier(x))), where x is what is stored. */
#ifndef TENON_TRANSFORM_NARROW_PERMUTE_H
#define TENON_TRANSFORM_NARROW_PERMUTE_H

#include "transform/pass.h"

extern const tn_pass tn_pass_narrow_permute;

#endif
