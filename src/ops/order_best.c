/* Kernels of top_k: a task for each row.
 *
 * With few wanted a list of candidates is kept, and the bound that the next one must be below. A block of
 * elements is compared with the bound in vectors, and hardly any passes; when the list is full it is sorted
 * and cut to the k best, whose last is the new bound.
 *
 * With very few wanted there is a bound from the start: the least key in each of some columns of the row
 * (every columns-th element) are keys of different elements, so that the k-th least of them is no better
 * than the k-th best of all. With 2.5 k columns about 1.3 k elements pass, wherever in the row they are.
 * Keys are kept for the second pass unless the row is long; then its beginning gives the bound. */
#include "ops/order.h"

enum {
    LANES = 16,
    BLOCK = 32, /* elements that are compared at once */
    SPARE = 4,  /* elements of a row per one wanted, for lists of candidates */
    LEAST_COLUMNS = 32,
    MOST_COLUMNS = 256,
    MOST_KEPT = 1 << 15, /* keys in scratch; they stay in the L2 cache */
};

typedef struct best {
    tn__row r;
    int64_t size; /* wanted */
    tn__items items;
    int64_t room;          /* of the list */
    uint32_t count, bound; /* registers: i64, and u64 that items must be below */
    bool kept;             /* keys, in scratch */
    uint32_t keys;
} best;

static tn_lx number(const best *c, int64_t value) {
    return tn_l_int(c->r.e->k, value);
}

static tn_lx get(const best *c, uint32_t reg) {
    return tn_l_get(c->r.e->k, reg, number(c, 0));
}

static void set(const best *c, uint32_t reg, tn_lx value) {
    tn_l_set(c->r.e->k, reg, number(c, 0), value);
}

static tn_lx key_at(best *c, tn_lx at) {
    if (!c->kept) return tn__row_key(&c->r, at);
    return tn_l_load(c->r.e->k, c->keys, at, TN_LX_NONE, TN_LX_NONE);
}

/* ---- the first bound ------------------------------------------------------------------------ */

/* Columns enough to find a bound in; 0: too many wanted, or too short a row. */
static int64_t columns_for(int64_t size, int64_t most) {
    int64_t columns = LEAST_COLUMNS;
    while (2 * columns < 5 * size) columns *= 2;
    return columns <= TN_MIN(MOST_COLUMNS, most / 2) ? columns : 0;
}

/* Keys of [from, end) go to scratch. */
static void keep_rest(best *c, tn_lx from, tn_lx end) {
    tn_loop *k = c->r.e->k;
    tn_lx lanes = number(c, LANES), rest = tn_l_sub(k, end, from), lane;
    tn_lx strips = tn_l_div(k, tn_l_add(k, rest, number(c, LANES - 1)), lanes);
    tn_lx strip = tn_l_for(k, TN_LOOP_SERIAL, number(c, 0), strips, "strip");
    lane = tn_l_for(k, TN_LOOP_VECTOR, number(c, 0), lanes, "l");
    tn_lx at = tn_l_add(k, tn_l_add(k, from, tn_l_mul(k, strip, lanes)), lane);
    tn_l_if(k, tn_l_lt(k, at, end));
    tn_l_store(k, c->keys, at, tn__row_key(&c->r, at));
    tn_l_end(k);
    tn_l_end(k);
    tn_l_end(k);
}

/* The least key of each column, in scratch; keeps keys. */
static uint32_t find_least(best *c, int64_t columns) {
    tn_loop *k = c->r.e->k;
    tn_lx zero = number(c, 0), width = number(c, columns), lane;
    uint32_t least = tn_l_register(k, TN_u32, (uint32_t)columns, "least");
    uint32_t found = tn_l_scratch(k, TN_u32, width, "found");
    lane = tn_l_for(k, TN_LOOP_VECTOR, zero, width, "l");
    tn_l_set(k, least, lane, tn_l_const(k, TN_u32, (tn_cell){.u = UINT32_MAX}));
    tn_l_end(k);
    tn_lx sample = tn_l_min(k, c->r.length, number(c, MOST_KEPT)),
          rows = tn_l_div(k, sample, width);
    tn_lx row = tn_l_for(k, TN_LOOP_SERIAL, zero, rows, "row");
    lane = tn_l_for(k, TN_LOOP_VECTOR, zero, width, "l");
    tn_lx at = tn_l_add(k, tn_l_mul(k, row, width), lane);
    tn_lx key = tn_l_let(k, tn__row_key(&c->r, at));
    if (c->kept) tn_l_store(k, c->keys, at, key);
    tn_l_set(k, least, lane, tn_l_op2(k, TN_S_min, tn_l_get(k, least, lane), key));
    tn_l_end(k);
    tn_l_end(k);
    lane = tn_l_for(k, TN_LOOP_VECTOR, zero, width, "l");
    tn_l_store(k, found, lane, tn_l_get(k, least, lane));
    tn_l_end(k);
    if (c->kept) keep_rest(c, tn_l_mul(k, rows, width), c->r.length);
    return found;
}

/* The k-th least key of those found becomes the bound: the least one that k of them do not exceed. */
static void bound_by_columns(best *c, int64_t columns) {
    tn_loop *k = c->r.e->k;
    uint32_t found = find_least(c, columns);
    tn_lx zero = number(c, 0), width = number(c, columns), lane;
    uint32_t mine = tn_l_register(k, TN_u32, (uint32_t)columns, "mine");
    uint32_t below = tn_l_register(k, TN_u32, (uint32_t)columns, "below");
    lane = tn_l_for(k, TN_LOOP_VECTOR, zero, width, "l");
    tn_l_set(k, mine, lane, tn_l_load(k, found, lane, TN_LX_NONE, TN_LX_NONE));
    tn_l_set(k, below, lane, tn_l_number(k, TN_u32, 0));
    tn_l_end(k);
    tn_lx other = tn_l_for(k, TN_LOOP_SERIAL, zero, width, "other");
    tn_lx key = tn_l_load(k, found, other, TN_LX_NONE, TN_LX_NONE);
    lane = tn_l_for(k, TN_LOOP_VECTOR, zero, width, "l");
    tn_lx more = tn_l_op2(k, TN_S_le, key, tn_l_get(k, mine, lane));
    tn_l_set(k, below, lane,
             tn_l_op2(k, TN_S_add, tn_l_get(k, below, lane), tn_l_cast(k, more, TN_u32, false)));
    tn_l_end(k);
    tn_l_end(k);
    lane = tn_l_for(k, TN_LOOP_VECTOR, zero, width, "l");
    tn_lx wanted = tn_l_number(k, TN_u32, (double)c->size);
    tn_lx enough = tn_l_op2(k, TN_S_le, wanted, tn_l_get(k, below, lane));
    tn_lx none = tn_l_const(k, TN_u32, (tn_cell){.u = UINT32_MAX});
    tn_l_set(k, mine, lane, tn_l_select(k, enough, tn_l_get(k, mine, lane), none));
    tn_l_end(k);
    tn_lx key_bound = tn_l_fold(k, TN_S_min, mine);
    set(c, c->bound, tn__item(k, key_bound, number(c, UINT32_MAX)));
}

/* ---- candidates ----------------------------------------------------------------------------- */

/* Sorts the candidates and keeps the best. */
static void cut(best *c) {
    tn__items_sort(&c->items, get(c, c->count));
    set(c, c->count, number(c, c->size));
    set(c, c->bound, tn__items_get(&c->items, number(c, c->size - 1)));
}

/* Elements [lo, hi) one by one. Each is put behind the list, which those that pass make longer. */
static void add_candidates(best *c, tn_lx lo, tn_lx hi) {
    tn_loop *k = c->r.e->k;
    tn_lx at = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "i"), count = get(c, c->count);
    tn_lx item = tn_l_let(k, tn__item(k, key_at(c, at), at));
    tn__items_set(&c->items, count, item);
    tn_lx passes = tn_l_op2(k, TN_S_lt, item, get(c, c->bound));
    set(c, c->count, tn_l_add(k, count, tn_l_cast(k, passes, TN_i64, false)));
    tn_l_end(k);
}

/* Whether an element of the block from `lo` on may be below the bound. */
static tn_lx block_passes(best *c, uint32_t keys, tn_lx lo) {
    tn_loop *k = c->r.e->k;
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, number(c, 0), number(c, BLOCK), "l");
    tn_l_set(k, keys, lane, key_at(c, tn_l_add(k, lo, lane)));
    tn_l_end(k);
    tn_lx least = tn__item(k, tn_l_fold(k, TN_S_min, keys), lo);
    return tn_l_op2(k, TN_S_lt, least, get(c, c->bound));
}

static void filter_row(best *c) {
    tn_loop *k = c->r.e->k;
    tn_lx block = number(c, BLOCK), blocks = tn_l_div(k, c->r.length, block);
    uint32_t keys = tn_l_register(k, TN_u32, BLOCK, "keys");
    tn_lx b = tn_l_for(k, TN_LOOP_SERIAL, number(c, 0), blocks, "block");
    tn_lx lo = tn_l_let(k, tn_l_mul(k, b, block));
    tn_l_if(k, block_passes(c, keys, lo));
    add_candidates(c, lo, tn_l_add(k, lo, block));
    tn_l_if(k, tn_l_lt(k, number(c, c->room - BLOCK), get(c, c->count)));
    cut(c);
    tn_l_end(k);
    tn_l_end(k);
    tn_l_end(k);
    add_candidates(c, tn_l_mul(k, blocks, block), c->r.length);
    cut(c);
}

/* ---- the kernel ----------------------------------------------------------------------------- */

static void store_best(tn__row *r, const tn__items *items, tn_lx size) {
    tn_loop *k = r->e->k;
    tn_lx at = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), size, "i");
    tn_lx from = tn_l_let(k, tn__item_position(k, tn__items_get(items, at)));
    tn__row_store(r, 0, at, tn__row_operand(r, 0, from));
    tn__row_store(r, 1, at, from);
    tn_l_end(k);
}

static void top_k_by_bound(const tn__row *r, int64_t size) {
    tn_loop *k = r->e->k;
    int64_t columns = columns_for(size, r->most), room = 2 * size + BLOCK;
    best c = {.r = *r, .size = size, .room = room, .kept = columns && r->most <= MOST_KEPT};
    c.items = tn__items_new(k, number(&c, room), columns ? size : room, false);
    c.count = tn_l_register(k, TN_i64, 1, "count");
    c.bound = tn_l_register(k, TN_u64, 1, "bound");
    if (c.kept) c.keys = tn_l_scratch(k, TN_u32, r->length, "keys");
    set(&c, c.count, number(&c, 0));
    if (columns)
        bound_by_columns(&c, columns);
    else
        set(&c, c.bound, tn_l_const(k, TN_u64, (tn_cell){.u = UINT64_MAX}));
    filter_row(&c);
    store_best(&c.r, &c.items, number(&c, size));
}

static tn_lx top_k_tasks(tn_emit *e, const tn_node_info *n) {
    return tn__row_tasks(e, n, ((const tn_attrs_top_k *)n->attrs)->axis);
}

static void top_k_body(tn_emit *e, const tn_node_info *n, tn_lx task) {
    const tn_attrs_top_k *a = n->attrs;
    tn__row r = tn__row_begin(e, n, a->axis, !a->smallest, task);
    int64_t size;
    bool few = tn_dim_const_value(e->graph->dims, a->k, &size) && size <= r.most / SPARE;
    if (few && size == 0) return;
    if (few && !tn__order_is_wide(r.dtype)) {
        top_k_by_bound(&r, size);
        return;
    }
    tn__items items = tn__row_sorted(&r);
    store_best(&r, &items, tn_emit_dim(e, a->k));
}

const tn_nest_rules tn__top_k_nest = {top_k_tasks, top_k_body, true};
