/* What the files about sort and top_k share. */
#ifndef TENON_OPS_ORDER_H
#define TENON_OPS_ORDER_H

#include "ops/parts.h"

extern const tn_nest_rules tn__sort_nest;  /* order_lower.c */
extern const tn_nest_rules tn__top_k_nest; /* order_best.c */

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
/* Some `most` items, which decides how they are sorted; those of equal keys stay in order when `stable`,
 * else they are put in the order of their positions, which comes to the same if they were. */
tn__items tn__items_new(tn_loop *k, tn_lx room, int64_t most, bool stable);
tn_lx tn__item(tn_loop *k, tn_lx key, tn_lx position);
tn_lx tn__item_key(tn_loop *k, tn_lx item);
tn_lx tn__item_position(tn_loop *k, tn_lx item);
tn_lx tn__items_get(const tn__items *s, tn_lx at);
void tn__items_set(const tn__items *s, tn_lx at, tn_lx item);
/* Sorts the first `count` by their keys. */
void tn__items_sort(const tn__items *s, tn_lx count);

/* The row that a task works on. */
typedef struct tn__row {
    tn_emit *e;
    const tn_node_info *n;
    tn_dtype dtype;
    int axis;
    bool descending;
    tn_lx index[TN_MAX_RANK]; /* of the row; the entry of the axis is free */
    tn_lx length;
    int64_t most; /* of length */
} tn__row;

/* order_lower.c */
tn_lx tn__row_tasks(tn_emit *e, const tn_node_info *n, int64_t axis);
tn__row tn__row_begin(tn_emit *e, const tn_node_info *n, int64_t axis, bool descending, tn_lx task);
tn_lx tn__row_operand(tn__row *r, uint32_t which, tn_lx at);
void tn__row_store(tn__row *r, uint32_t result, tn_lx at, tn_lx value);
/* The number by which the row's element is sorted, ascending: u32, or u64 for elements of 64 bits. */
tn_lx tn__row_key(tn__row *r, tn_lx at);
bool tn__order_is_wide(tn_dtype dtype);
/* All items of the row, sorted. */
tn__items tn__row_sorted(tn__row *r);

#endif
