/* Answers of models that are slow to ask, by what was asked. */
#ifndef TENON_MACHINE_COST_MEMO_H
#define TENON_MACHINE_COST_MEMO_H

#include <tenon/machine.h>

#include "base/base.h"

typedef struct tn_cost_memo {
    struct tn_cost_memo_entry *entries; /* open addressing */
    size_t capacity, count;
} tn_cost_memo;

tn_hash128 tn_cost_query_hash(const tn_cost_query *q); /* of all but `before` */
bool tn_cost_memo_find(const tn_cost_memo *m, tn_hash128 key, tn_cost *out);
/* Without memory the answer is not kept. */
void tn_cost_memo_add(tn_cost_memo *m, tn_hash128 key, const tn_cost *cost);
void tn_cost_memo_deinit(tn_cost_memo *m);

#endif
