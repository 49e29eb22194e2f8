/* A range in vectors: several at a time, then single ones, then a masked one for the rest. */
#ifndef TENON_LOOP_STRIPS_H
#define TENON_LOOP_STRIPS_H

#include "loop/loop.h"

/* Emits the work on [base, base + width); lanes at `limit` and beyond (NONE: no such) do nothing. */
typedef void tn_strip_work(void *context, tn_lx base, uint32_t width, tn_lx limit);

void tn_strips(tn_loop *k, uint32_t lanes, uint32_t unroll, tn_lx lo, tn_lx hi, tn_strip_work *work,
               void *context);

/* Opens the VECTOR loop of a strip and gives the position of the lane; `close` with the same limit. */
tn_lx tn_strip_open(tn_loop *k, tn_lx base, uint32_t width, tn_lx limit, tn_lx *lane);
void tn_strip_close(tn_loop *k, tn_lx limit);

#endif
