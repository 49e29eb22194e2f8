/* What the files about sort and top_k share. */
#ifndef TENON_OPS_ORDER_H
#define TENON_OPS_ORDER_H

#include "ops/parts.h"

/* order_lower.c */
extern const tn_nest_rules tn__sort_nest, tn__top_k_nest;

/* Items are u64 numbers with a 32-bit key above a 32-bit position. A list of them lies in one half of
 * a scratch buffer; sorting may leave it in the other half. */
typedef struct tn__items {
    tn_loop *k;
    uint32_t buffer;
    tn_lx room;       /* elements of a half */
    uint32_t from;    /* register: where the half in use begins */
    bool ranked;      /* sorted by ranks, else by radix */
    uint32_t buckets; /* scratch of the radix sort */
} tn__items;

/* order_items.c */
/* At most `most` items; those of equal keys stay in order when `stable`, else they are put in the order of
 * their positions, which comes to the same if they were. */
tn__items tn__items_new(tn_loop *k, tn_lx room, int64_t most, bool stable);
tn_lx tn__item(tn_loop *k, tn_lx key, tn_lx position);
tn_lx tn__item_key(tn_loop *k, tn_lx item);
tn_lx tn__item_position(tn_loop *k, tn_lx item);
tn_lx tn__items_get(const tn__items *s, tn_lx at);
void tn__items_set(const tn__items *s, tn_lx at, tn_lx item);
/* Sorts the first `count` by their keys. */
void tn__items_sort(const tn__items *s, tn_lx count);

#endif
