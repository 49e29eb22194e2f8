/* Which neighbouring axes may run as one loop.
 *
 * Axes i and i+1 may when every address treats them as one (in each, the coefficient of i is that
 * of i+1 times its extent) and their indices enter nothing but addresses. The maker emits its work
 * once on a throw-away kernel with one variable per axis and lists the addresses and the values
 * computed. In the real kernel index i stays 0 and index i+1 runs over both. */
#ifndef TENON_CODEGEN_MERGE_H
#define TENON_CODEGEN_MERGE_H

#include "loop/loop.h"

typedef struct tn_merge_probe {
    tn_loop *k;
    tn_arena *arena;
    TN_VEC(tn_lx) offsets; /* addresses of loads and stores */
    TN_VEC(tn_lx) values;  /* everything else: stored values, guards */
    TN_VEC(tn_lx) loads;   /* in the order in which they are met */
} tn_merge_probe;

/* var[i]: the index of axis i (a VAR expression), extent[i] its size. merged[i] is set when axis i
 * may run inside axis i + 1; an entry is only considered where `allowed` is set. */
void tn_merge_find(const tn_merge_probe *p, const tn_lx *var, const tn_lx *extent, int count,
                   const bool *allowed, bool *merged);

/* Whether the merged axes still enter nothing but addresses, linearly, when the work is emitted anew
 * with them merged: var[i] of a merged axis is not looked at, that of the axis it runs inside has
 * the wider bounds. Comparisons that the narrow bounds decided come back then. */
bool tn_merge_holds(const tn_merge_probe *p, const tn_lx *var, int count, const bool *merged);

#endif
