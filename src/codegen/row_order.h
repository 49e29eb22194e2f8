/* The order in which a kernel walks over its rows. */
#ifndef TENON_CODEGEN_ROW_ORDER_H
#define TENON_CODEGEN_ROW_ORDER_H

#include "loop/loop.h"

/* Sorts the `count` axes so that a walk with the last axis fastest passes through memory at `offset` (an
 * expression over the axes' variables var[axis]) as evenly as it can: those that step farthest first. Axes
 * stay as they are where a step is not known. Which order is taken never changes a result. */
void tn_row_order(tn_loop *k, tn_lx offset, const tn_lx *var, int *axis, int count);

#endif
