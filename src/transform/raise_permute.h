/* Permutes that only reorder rows of what is made of a product, and that outputs or control flow read: they
 * move up to the product, whose kernel then stores in that order; behind the pointwise work they would be
 * a copy. Loops read the inputs of all their steps so, where the product is over the batch first. */
#ifndef TENON_TRANSFORM_RAISE_PERMUTE_H
#define TENON_TRANSFORM_RAISE_PERMUTE_H

#include "transform/pass.h"

extern const tn_pass tn_pass_raise_permute;

#endif
