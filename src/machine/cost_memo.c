/* A hash table from questions to answers. See cost_memo.h. */
#include "machine/cost_memo.h"

#include <stdlib.h>

#include "machine/quantities.h"

struct tn_cost_memo_entry {
    tn_hash128 key; /* zero: free */
    tn_cost cost;
};

tn_hash128 tn_cost_query_hash(const tn_cost_query *q) {
    double all[TN_QUANTITY_COUNT + 10];
    int n = tn_machine_quantities(q->machine, all);
    all[n++] = q->unit;
    all[n++] = q->event;
    all[n++] = (double)q->product.batch;
    all[n++] = (double)q->product.m;
    all[n++] = (double)q->product.n;
    all[n++] = (double)q->product.k;
    all[n++] = q->product.element_bytes;
    all[n++] = q->nmp_channels;
    all[n++] = q->normal_channels;
    all[n++] = q->sequences;
    tn_hash128 key = tn_hash128_of(all, (size_t)n * sizeof *all);
    key.lo |= 1;
    return key;
}

static struct tn_cost_memo_entry *slot(const tn_cost_memo *m, tn_hash128 key) {
    for (size_t i = key.hi & (m->capacity - 1);; i = (i + 1) & (m->capacity - 1)) {
        struct tn_cost_memo_entry *e = &m->entries[i];
        if (!e->key.lo || (e->key.lo == key.lo && e->key.hi == key.hi)) return e;
    }
}

bool tn_cost_memo_find(const tn_cost_memo *m, tn_hash128 key, tn_cost *out) {
    if (!m->count) return false;
    const struct tn_cost_memo_entry *e = slot(m, key);
    if (e->key.lo) *out = e->cost;
    return e->key.lo != 0;
}

static bool grow(tn_cost_memo *m) {
    tn_cost_memo more = {.capacity = m->capacity ? 2 * m->capacity : 1024, .count = m->count};
    more.entries = calloc(more.capacity, sizeof *more.entries);
    if (!more.entries) return false;
    for (size_t i = 0; i < m->capacity; i++)
        if (m->entries[i].key.lo) *slot(&more, m->entries[i].key) = m->entries[i];
    free(m->entries);
    *m = more;
    return true;
}

void tn_cost_memo_add(tn_cost_memo *m, tn_hash128 key, const tn_cost *cost) {
    if (2 * (m->count + 1) > m->capacity && !grow(m)) return;
    struct tn_cost_memo_entry *e = slot(m, key);
    m->count += !e->key.lo;
    e->key = key;
    e->cost = *cost;
}

void tn_cost_memo_deinit(tn_cost_memo *m) {
    free(m->entries);
    *m = (tn_cost_memo){0};
}
