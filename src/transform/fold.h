/* Constant folding by the rules' `eval`, for operands and results of at most 64 Ki elements and at
 * most 4 Mi operations; larger constants (weights) fold when a program is prepared.
 *
 * A view that makes more elements than it reads (a broadcast of a scalar) stays a view, but what is
 * computed from it folds. So does a conversion of narrow elements to wider ones (weights in a stored
 * type), on which kernels convert as they read. iota counts as constant when it is tiny. Control nodes and nodes whose
 * evaluation fails (an index out of range) stay, so that the error appears when the program runs.
 */
#ifndef TENON_TRANSFORM_FOLD_H
#define TENON_TRANSFORM_FOLD_H

#include "transform/pass.h"

enum {
    TN_FOLD_ELEMENTS = 64 << 10,
    TN_FOLD_IOTA = 64,
    TN_FOLD_FLOPS = 4 << 20,
    TN_FOLD_STORED = 1 << 10, /* bytes of a result that is not worth a thought about its size */
};

extern const tn_pass tn_pass_fold;

#endif
