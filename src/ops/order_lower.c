/* Kernels of sort and top_k: a task for each row.
 *
 * An element becomes an item (order.h): its key is a number that ascends in the order wanted, so that
 * sorting compares integers, and payloads move only at the end, by position. Elements of 64 bits are
 * sorted twice, by the lower and then by the upper half of their keys.
 *
 * top_k with few wanted keeps a list of candidates and the bound that the next one must be below. A
 * block of elements is compared with the bound in vectors, and hardly any passes; when the list is full
 * it is sorted and cut to the k best, whose last is the new bound. */
#include "ops/order.h"

enum { LANES = 16, BLOCK = 64, SPARE = 4 };

/* The row that a task sorts. */
typedef struct row_emit {
    tn_emit *e;
    const tn_node_info *n;
    tn_dtype dtype;
    int axis;
    bool descending;
    tn_lx index[TN_MAX_RANK]; /* of the row; the entry of the axis is free */
    tn_lx length;
    int64_t most; /* of length */
} row_emit;

/* Sizes of the axes that number the rows. */
static int row_space(const tn_shape *x, int axis, tn_dim *dim) {
    int count = 0;
    for (int p = 0; p < x->rank; p++)
        if (p != axis) dim[count++] = x->dim[p];
    return count;
}

static tn_lx row_tasks(tn_emit *e, const tn_node_info *n, int64_t axis) {
    tn_dim dim[TN_MAX_RANK];
    int count = row_space(&tn_node_type(e->graph, n, 0)->shape, (int)axis, dim);
    return tn_emit_count(e, dim, count);
}

static row_emit row_begin(tn_emit *e, const tn_node_info *n, int64_t axis, bool descending,
                          tn_lx task) {
    const tn_type *x = tn_node_type(e->graph, n, 0);
    row_emit r = {.e = e, .n = n, .dtype = x->dtype, .axis = (int)axis, .descending = descending};
    tn_dim dim[TN_MAX_RANK];
    tn_lx at[TN_MAX_RANK];
    tn_emit_delinear(e, task, dim, row_space(&x->shape, r.axis, dim), at);
    for (int p = 0, from = 0; p < x->shape.rank; p++)
        if (p != r.axis) r.index[p] = at[from++];
    r.length = tn_emit_dim(e, x->shape.dim[r.axis]);
    r.most = tn_dim_hi(e->graph->dims, x->shape.dim[r.axis]);
    return r;
}

static tn_lx row_operand(row_emit *r, uint32_t which, tn_lx at) {
    r->index[r->axis] = at;
    return r->e->operand(r->e, r->n, which, r->index);
}

static void row_store(row_emit *r, uint32_t result, tn_lx at, tn_lx value) {
    r->index[r->axis] = at;
    r->e->store(r->e, r->n, result, r->index, value);
}

/* ---- keys ----------------------------------------------------------------------------------- */

static bool is_wide(tn_dtype dtype) {
    return tn_dtype_bits(dtype) > 32;
}

/* Bits of floats as numbers: the negative ones are turned round, the others get the upper half. Zeros
 * are equal, and NaN is above all. */
static tn_lx float_key(tn_loop *k, tn_lx x, bool descending) {
    bool wide = is_wide(tn_l_type(k, x));
    tn_dtype same = wide ? TN_f64 : TN_f32, sign = wide ? TN_i64 : TN_i32,
             u = wide ? TN_u64 : TN_u32;
    tn_lx value = tn_l_cast(k, x, same, false), zero = tn_l_number(k, same, 0);
    tn_lx number = tn_l_select(k, tn_l_op2(k, TN_S_eq, value, zero), zero, value);
    tn_lx bits = tn_l_bitcast(k, number, u), places = tn_l_number(k, sign, wide ? 63 : 31);
    tn_lx turn = tn_l_op2(k, TN_S_shr, tn_l_bitcast(k, number, sign), places);
    tn_lx top = tn_l_const(k, u, (tn_cell){.u = wide ? UINT64_C(1) << 63 : UINT64_C(1) << 31});
    turn = tn_l_op2(k, TN_S_or, tn_l_bitcast(k, turn, u), top);
    tn_lx key = tn_l_op2(k, TN_S_xor, bits, turn);
    if (descending) key = tn_l_op1(k, TN_S_not, key);
    tn_lx last = tn_l_const(k, u, (tn_cell){.u = wide ? UINT64_MAX : UINT32_MAX});
    return tn_l_select(k, tn_l_op1(k, TN_S_is_nan, value), last, key);
}

static tn_lx integer_key(tn_loop *k, tn_lx x, tn_dtype dtype, bool descending) {
    bool wide = is_wide(dtype), is_signed = dtype != TN_bool && tn_dtype_is_signed(dtype);
    tn_dtype u = wide ? TN_u64 : TN_u32, i = wide ? TN_i64 : TN_i32;
    tn_lx top = tn_l_const(k, u, (tn_cell){.u = wide ? UINT64_C(1) << 63 : UINT64_C(1) << 31});
    tn_lx key =
        is_signed ? tn_l_bitcast(k, tn_l_cast(k, x, i, false), u) : tn_l_cast(k, x, u, false);
    if (is_signed) key = tn_l_op2(k, TN_S_xor, key, top);
    return descending ? tn_l_op1(k, TN_S_not, key) : key;
}

/* u32, or u64 for elements of 64 bits. */
static tn_lx row_key(row_emit *r, tn_lx at) {
    tn_loop *k = r->e->k;
    tn_lx x = row_operand(r, 0, at);
    return tn_dtype_is_float(r->dtype) ? float_key(k, x, r->descending)
                                       : integer_key(k, x, r->dtype, r->descending);
}

/* ---- whole rows ----------------------------------------------------------------------------- */

static tn_lx lower_half(tn_loop *k, tn_lx key) {
    if (tn_l_type(k, key) == TN_u32) return key;
    return tn_l_op2(k, TN_S_and, key, tn_l_const(k, TN_u64, (tn_cell){.u = UINT32_MAX}));
}

static void fill_lanes(row_emit *r, const tn__items *items, tn_lx base, bool whole) {
    tn_loop *k = r->e->k;
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, LANES), "l");
    tn_lx at = tn_l_add(k, base, lane);
    if (!whole) tn_l_if(k, tn_l_lt(k, at, r->length));
    tn__items_set(items, at, tn__item(k, lower_half(k, row_key(r, at)), at));
    if (!whole) tn_l_end(k);
    tn_l_end(k);
}

static void fill_items(row_emit *r, const tn__items *items) {
    tn_loop *k = r->e->k;
    tn_lx lanes = tn_l_int(k, LANES), full = tn_l_div(k, r->length, lanes);
    tn_lx strip = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), full, "strip");
    fill_lanes(r, items, tn_l_mul(k, strip, lanes), true);
    tn_l_end(k);
    tn_lx rest = tn_l_mul(k, full, lanes);
    tn_l_if(k, tn_l_lt(k, rest, r->length));
    fill_lanes(r, items, rest, false);
    tn_l_end(k);
}

/* Items that are in the order of the lower halves of their keys get the upper halves. */
static void raise_keys(row_emit *r, const tn__items *items) {
    tn_loop *k = r->e->k;
    tn_lx at = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), r->length, "i");
    tn_lx position = tn_l_let(k, tn__item_position(k, tn__items_get(items, at)));
    tn_lx key =
        tn_l_op2(k, TN_S_shr, row_key(r, position), tn_l_const(k, TN_u64, (tn_cell){.u = 32}));
    tn__items_set(items, at, tn__item(k, key, position));
    tn_l_end(k);
}

static tn__items sorted_row(row_emit *r) {
    bool wide = is_wide(r->dtype);
    tn__items items = tn__items_new(r->e->k, r->length, r->most, wide);
    fill_items(r, &items);
    tn__items_sort(&items, r->length);
    if (wide) {
        raise_keys(r, &items);
        tn__items_sort(&items, r->length);
    }
    return items;
}

static tn_lx sort_tasks(tn_emit *e, const tn_node_info *n) {
    return row_tasks(e, n, ((const tn_attrs_sort *)n->attrs)->axis);
}

static void sort_body(tn_emit *e, const tn_node_info *n, tn_lx task) {
    const tn_attrs_sort *a = n->attrs;
    tn_loop *k = e->k;
    row_emit r = row_begin(e, n, a->axis, a->descending, task);
    tn__items items = sorted_row(&r);
    tn_lx at = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), r.length, "i");
    tn_lx from = tn_l_let(k, tn__item_position(k, tn__items_get(&items, at)));
    for (uint32_t o = 0; o < n->in_count; o++) row_store(&r, o, at, row_operand(&r, o, from));
    tn_l_end(k);
}

/* ---- the k best ----------------------------------------------------------------------------- */

static void store_best(row_emit *r, const tn__items *items, tn_lx size) {
    tn_loop *k = r->e->k;
    tn_lx at = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), size, "i");
    tn_lx from = tn_l_let(k, tn__item_position(k, tn__items_get(items, at)));
    row_store(r, 0, at, row_operand(r, 0, from));
    row_store(r, 1, at, from);
    tn_l_end(k);
}

typedef struct candidates {
    tn__items items;
    uint32_t count, bound; /* registers: i64, u64 */
    int64_t size;          /* wanted */
} candidates;

/* Sorts the candidates and keeps the best. */
static void cut(tn_loop *k, const candidates *c) {
    tn_lx zero = tn_l_int(k, 0), size = tn_l_int(k, c->size);
    tn__items_sort(&c->items, tn_l_get(k, c->count, zero));
    tn_l_set(k, c->count, zero, size);
    tn_l_set(k, c->bound, zero, tn__items_get(&c->items, tn_l_int(k, c->size - 1)));
}

/* Elements [lo, hi) one by one. */
static void add_candidates(row_emit *r, const candidates *c, tn_lx lo, tn_lx hi) {
    tn_loop *k = r->e->k;
    tn_lx zero = tn_l_int(k, 0), at = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "i");
    tn_lx item = tn_l_let(k, tn__item(k, row_key(r, at), at));
    tn_l_if(k, tn_l_op2(k, TN_S_lt, item, tn_l_get(k, c->bound, zero)));
    tn_lx count = tn_l_get(k, c->count, zero);
    tn__items_set(&c->items, count, item);
    tn_l_set(k, c->count, zero, tn_l_add(k, count, tn_l_int(k, 1)));
    tn_l_end(k);
    tn_l_end(k);
}

/* Whether an element of the block from `lo` on may be below the bound. What comes later is not below it
 * with an equal key, so keys must be less; without a bound yet all pass. */
static tn_lx block_passes(row_emit *r, const candidates *c, uint32_t keys, tn_lx lo) {
    tn_loop *k = r->e->k;
    tn_lx zero = tn_l_int(k, 0);
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, zero, tn_l_int(k, BLOCK), "l");
    tn_l_set(k, keys, lane, row_key(r, tn_l_add(k, lo, lane)));
    tn_l_end(k);
    tn_lx least = tn_l_fold(k, TN_S_min, keys);
    tn_lx bound = tn_l_let(k, tn__item_key(k, tn_l_get(k, c->bound, zero)));
    tn_lx none = tn_l_const(k, TN_u32, (tn_cell){.u = UINT32_MAX});
    return tn_l_op2(k, TN_S_or, tn_l_op2(k, TN_S_lt, least, bound),
                    tn_l_op2(k, TN_S_eq, bound, none));
}

static void top_k_by_bound(row_emit *r, int64_t size) {
    tn_loop *k = r->e->k;
    int64_t room = 2 * size + BLOCK;
    tn_lx zero = tn_l_int(k, 0), block = tn_l_int(k, BLOCK);
    candidates c = {.items = tn__items_new(k, tn_l_int(k, room), room, false), .size = size};
    c.count = tn_l_register(k, TN_i64, 1, "count");
    c.bound = tn_l_register(k, TN_u64, 1, "bound");
    uint32_t keys = tn_l_register(k, TN_u32, BLOCK, "keys");
    tn_l_set(k, c.count, zero, zero);
    tn_l_set(k, c.bound, zero, tn_l_const(k, TN_u64, (tn_cell){.u = UINT64_MAX}));
    tn_lx blocks = tn_l_div(k, r->length, block);
    tn_lx b = tn_l_for(k, TN_LOOP_SERIAL, zero, blocks, "block");
    tn_lx lo = tn_l_let(k, tn_l_mul(k, b, block));
    tn_l_if(k, block_passes(r, &c, keys, lo));
    add_candidates(r, &c, lo, tn_l_add(k, lo, block));
    tn_l_if(k, tn_l_lt(k, tn_l_int(k, room - BLOCK), tn_l_get(k, c.count, zero)));
    cut(k, &c);
    tn_l_end(k);
    tn_l_end(k);
    tn_l_end(k);
    add_candidates(r, &c, tn_l_mul(k, blocks, block), r->length);
    cut(k, &c);
    store_best(r, &c.items, tn_l_int(k, size));
}

static tn_lx top_k_tasks(tn_emit *e, const tn_node_info *n) {
    return row_tasks(e, n, ((const tn_attrs_top_k *)n->attrs)->axis);
}

static void top_k_body(tn_emit *e, const tn_node_info *n, tn_lx task) {
    const tn_attrs_top_k *a = n->attrs;
    row_emit r = row_begin(e, n, a->axis, !a->smallest, task);
    int64_t size;
    bool few = tn_dim_const_value(e->graph->dims, a->k, &size) && size <= r.most / SPARE;
    if (few && size == 0) return;
    if (few && !is_wide(r.dtype)) {
        top_k_by_bound(&r, size);
        return;
    }
    tn__items items = sorted_row(&r);
    store_best(&r, &items, tn_emit_dim(e, a->k));
}

const tn_nest_rules tn__sort_nest = {sort_tasks, sort_body, true};
const tn_nest_rules tn__top_k_nest = {top_k_tasks, top_k_body, true};
