/* Evaluating a value at an index inside a kernel, through every producer that is inlined.
 *
 * A tn_access is a tn_emit whose operands are resolved by the grouping: an inlined producer is
 * emitted in place (its rule's expression at the index asked for), anything else is a leaf and
 * handed to the kernel's maker. So a permute, a slice or a broadcast becomes index arithmetic and a
 * recomputed pointwise operation becomes part of the expression. Results are remembered per (value,
 * index, guard) while the block they were emitted in is open. */
#ifndef TENON_SCHEDULE_ACCESS_H
#define TENON_SCHEDULE_ACCESS_H

#include "ir/rules.h"

typedef struct tn_grouping tn_grouping;
typedef struct tn_access tn_access;

typedef struct tn_access_memo {
    tn_value value;
    tn_lx guard, result;
    const tn_lx *index;
} tn_access_memo;

struct tn_access {
    tn_emit emit; /* first: a tn_emit * of ours is a tn_access * */
    const tn_grouping *grouping;
    tn_arena *arena;
    /* An element of a value that is not inlined. `a->emit.guard` must hold for it to be read. */
    tn_lx (*leaf)(tn_access *a, tn_value v, const tn_lx *index);
    void *context;
    TN_VEC(tn_access_memo) memo;
};

void tn_access_init(tn_access *a, tn_loop *k, const tn_grouping *grouping, tn_arena *arena);
tn_lx tn_access_value(tn_access *a, tn_value v, const tn_lx *index);

/* Brackets a block of the kernel: what was remembered inside is forgotten at its end. */
static inline uint32_t tn_access_mark(const tn_access *a) {
    return a->memo.len;
}
static inline void tn_access_release(tn_access *a, uint32_t mark) {
    a->memo.len = mark;
}
/* Makes `result` the value at `index` from here on (a fold's result, an element kept in scratch).
 */
void tn_access_define(tn_access *a, tn_value v, const tn_lx *index, tn_lx result);

#endif
