/* Common subexpressions: nodes that compute the same from the same operands become one.
 *
 * Inputs and barriers are never merged (a barrier keeps a recomputation apart). random_bits is a
 * function of its key and counter, so equal ones are one; control nodes are equal when their
 * sub-graphs are. */
#ifndef TENON_TRANSFORM_CSE_H
#define TENON_TRANSFORM_CSE_H

#include "transform/pass.h"

extern const tn_pass tn_pass_cse;

#endif
