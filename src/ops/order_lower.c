/* The rows that kernels of sort and top_k work on, a task for each, and kernels of sort.
 *
 * An element becomes an item (order.h): its key is a number that ascends in the order wanted, so that
 * sorting compares integers, and payloads move only at the end, by position. Elements of 64 bits are
 * sorted twice, by the lower and then by the upper half of their keys. order_best.c continues with the
 * k best of a row. */
#include "ops/order.h"

enum { LANES = 16 };

/* Sizes of the axes that number the rows. */
static int row_space(const tn_shape *x, int axis, tn_dim *dim) {
    int count = 0;
    for (int p = 0; p < x->rank; p++)
        if (p != axis) dim[count++] = x->dim[p];
    return count;
}

tn_lx tn__row_tasks(tn_emit *e, const tn_node_info *n, int64_t axis) {
    tn_dim dim[TN_MAX_RANK];
    int count = row_space(&tn_node_type(e->graph, n, 0)->shape, (int)axis, dim);
    return tn_emit_count(e, dim, count);
}

tn__row tn__row_begin(tn_emit *e, const tn_node_info *n, int64_t axis, bool descending,
                      tn_lx task) {
    const tn_type *x = tn_node_type(e->graph, n, 0);
    tn__row r = {.e = e, .n = n, .dtype = x->dtype, .axis = (int)axis, .descending = descending};
    tn_dim dim[TN_MAX_RANK];
    tn_lx at[TN_MAX_RANK];
    tn_emit_delinear(e, task, dim, row_space(&x->shape, r.axis, dim), at);
    for (int p = 0, from = 0; p < x->shape.rank; p++)
        if (p != r.axis) r.index[p] = at[from++];
    r.length = tn_emit_dim(e, x->shape.dim[r.axis]);
    r.most = tn_dim_hi(e->graph->dims, x->shape.dim[r.axis]);
    return r;
}

tn_lx tn__row_operand(tn__row *r, uint32_t which, tn_lx at) {
    r->index[r->axis] = at;
    return r->e->operand(r->e, r->n, which, r->index);
}

void tn__row_store(tn__row *r, uint32_t result, tn_lx at, tn_lx value) {
    r->index[r->axis] = at;
    r->e->store(r->e, r->n, result, r->index, value);
}

/* ---- keys ----------------------------------------------------------------------------------- */

bool tn__order_is_wide(tn_dtype dtype) {
    return tn_dtype_bits(dtype) > 32;
}

/* Bits of floats as numbers: the negative ones are turned round, the others get the upper half. Zeros
 * are equal, and NaN is above all. */
static tn_lx float_key(tn_loop *k, tn_lx x, bool descending) {
    bool wide = tn__order_is_wide(tn_l_type(k, x));
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
    bool wide = tn__order_is_wide(dtype), is_signed = dtype != TN_bool && tn_dtype_is_signed(dtype);
    tn_dtype u = wide ? TN_u64 : TN_u32, i = wide ? TN_i64 : TN_i32;
    tn_lx top = tn_l_const(k, u, (tn_cell){.u = wide ? UINT64_C(1) << 63 : UINT64_C(1) << 31});
    tn_lx key =
        is_signed ? tn_l_bitcast(k, tn_l_cast(k, x, i, false), u) : tn_l_cast(k, x, u, false);
    if (is_signed) key = tn_l_op2(k, TN_S_xor, key, top);
    return descending ? tn_l_op1(k, TN_S_not, key) : key;
}

tn_lx tn__row_key(tn__row *r, tn_lx at) {
    tn_loop *k = r->e->k;
    tn_lx x = tn__row_operand(r, 0, at);
    return tn_dtype_is_float(r->dtype) ? float_key(k, x, r->descending)
                                       : integer_key(k, x, r->dtype, r->descending);
}

/* ---- whole rows ----------------------------------------------------------------------------- */

static tn_lx lower_half(tn_loop *k, tn_lx key) {
    if (tn_l_type(k, key) == TN_u32) return key;
    return tn_l_op2(k, TN_S_and, key, tn_l_const(k, TN_u64, (tn_cell){.u = UINT32_MAX}));
}

static void fill_lanes(tn__row *r, const tn__items *items, tn_lx base, bool whole) {
    tn_loop *k = r->e->k;
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, LANES), "l");
    tn_lx at = tn_l_add(k, base, lane);
    if (!whole) tn_l_if(k, tn_l_lt(k, at, r->length));
    tn__items_set(items, at, tn__item(k, lower_half(k, tn__row_key(r, at)), at));
    if (!whole) tn_l_end(k);
    tn_l_end(k);
}

static void fill_items(tn__row *r, const tn__items *items) {
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
static void raise_keys(tn__row *r, const tn__items *items) {
    tn_loop *k = r->e->k;
    tn_lx at = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), r->length, "i");
    tn_lx position = tn_l_let(k, tn__item_position(k, tn__items_get(items, at)));
    tn_lx key =
        tn_l_op2(k, TN_S_shr, tn__row_key(r, position), tn_l_const(k, TN_u64, (tn_cell){.u = 32}));
    tn__items_set(items, at, tn__item(k, key, position));
    tn_l_end(k);
}

tn__items tn__row_sorted(tn__row *r) {
    bool wide = tn__order_is_wide(r->dtype);
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
    return tn__row_tasks(e, n, ((const tn_attrs_sort *)n->attrs)->axis);
}

static void sort_body(tn_emit *e, const tn_node_info *n, tn_lx task) {
    const tn_attrs_sort *a = n->attrs;
    tn_loop *k = e->k;
    tn__row r = tn__row_begin(e, n, a->axis, a->descending, task);
    tn__items items = tn__row_sorted(&r);
    tn_lx at = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), r.length, "i");
    tn_lx from = tn_l_let(k, tn__item_position(k, tn__items_get(&items, at)));
    for (uint32_t o = 0; o < n->in_count; o++)
        tn__row_store(&r, o, at, tn__row_operand(&r, o, from));
    tn_l_end(k);
}

const tn_nest_rules tn__sort_nest = {sort_tasks, sort_body, true};
