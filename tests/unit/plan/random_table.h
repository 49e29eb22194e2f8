/* Random nodes of whatever the table of operations has, of every type and with every attribute that the
 * builder accepts, whatever becomes of roundings: for wild graphs. See random_maker.h. */
#ifndef TENON_TESTS_RANDOM_TABLE_H
#define TENON_TESTS_RANDOM_TABLE_H

#include "unit/plan/random_products.h"

/* Of the operations with this family in ops.def. */
static inline tn_op random_op(random_maker *m, const char *family) {
    for (;;) {
        tn_op op = (tn_op)pick(m, TN_OP_COUNT);
        if (strcmp(tn_op_info_of(op)->family, family) == 0) return op;
    }
}

static inline void keep_wild(random_maker *m, tn_value v) {
    keep(m, v, 1, 0, 0);
}

static inline void keep_results(random_maker *m, tn_value first, uint32_t count) {
    bool ok = tn_b_ok(&m->b);
    for (uint32_t i = 0; i < (ok ? count : 1); i++) keep_wild(m, first + i);
}

static inline void make_table_unary(random_maker *m) {
    tn_value x = chance(m, 60) ? any_float(m).v : any(m).v;
    keep_wild(m, tn_b_node(&m->b, random_op(m, "unary"), &x, 1, NULL));
}

static inline void make_table_binary(random_maker *m) {
    random_value x = any(m);
    tn_shape s = shape_of(m, x.v);
    random_value y = partner(m, dtype_of(m, x.v), &s);
    tn_value in[] = {x.v, tn_b_expand(&m->b, y.v, &s)};
    if (chance(m, 40)) in[0] = in[1], in[1] = x.v;
    if (!tn_b_ok(&m->b)) return;
    keep_wild(m, tn_b_node(&m->b, random_op(m, "binary"), in, 2, NULL));
}

static inline void make_table_cast(random_maker *m) {
    tn_value x = any(m).v;
    tn_attrs_cast a = {.dtype = (tn_dtype)pick(m, TN_DTYPE_COUNT), .saturate = chance(m, 40)};
    if (chance(m, 60)) a.dtype = random_dtype(m);
    keep_wild(m, tn_b_node(&m->b, TN_OP_cast, &x, 1, &a));
}

static inline void make_table_bitcast(random_maker *m) {
    tn_value x = any(m).v;
    tn_attrs_bitcast a = {.dtype = (tn_dtype)pick(m, TN_DTYPE_COUNT)};
    for (int tries = 0; tries < 20; tries++) {
        if (tn_dtype_bits(a.dtype) == tn_dtype_bits(dtype_of(m, x)) && a.dtype != dtype_of(m, x))
            break;
        a.dtype = (tn_dtype)pick(m, TN_DTYPE_COUNT);
    }
    keep_wild(m, tn_b_node(&m->b, TN_OP_bitcast, &x, 1, &a));
}

/* The type itself, or a wider one of its kind. */
static inline tn_dtype random_accumulator(random_maker *m, tn_dtype dtype) {
    if (chance(m, tn_dtype_bits(dtype) < 16 ? 15 : 60)) return dtype;
    if (tn_dtype_is_float(dtype)) return chance(m, 75) ? TN_f32 : TN_f64;
    bool is_signed = tn_dtype_is_signed(dtype);
    if (chance(m, 60)) return is_signed ? TN_i32 : TN_u32;
    return is_signed ? TN_i64 : TN_u64;
}

static inline void make_table_reduce(random_maker *m) {
    tn_value x = any(m).v;
    tn_shape s = shape_of(m, x);
    int axes[TN_MAX_RANK], count = random_axes(m, s.rank, axes);
    tn_attrs_reduce a = {.kind = (tn_reduce_kind)pick(m, TN_REDUCE_argmin + 1),
                         .axes = {.count = count}};
    a.acc = random_accumulator(m, dtype_of(m, x));
    for (int i = 0; i < count; i++) a.axes.at[i] = axes[i];
    keep_wild(m, tn_b_node(&m->b, TN_OP_reduce, &x, 1, &a));
}

static inline void make_table_cumulative(random_maker *m) {
    static const tn_reduce_kind kinds[] = {TN_REDUCE_sum, TN_REDUCE_prod, TN_REDUCE_max,
                                           TN_REDUCE_min};
    tn_value x = any(m).v;
    tn_shape s = shape_of(m, x);
    if (!s.rank) return;
    tn_attrs_cumulative a = {.kind = kinds[pick(m, TN_COUNT(kinds))],
                             .axis = pick(m, (uint32_t)s.rank),
                             .exclusive = chance(m, 40),
                             .reverse = chance(m, 40)};
    keep_wild(m, tn_b_node(&m->b, TN_OP_cumulative, &x, 1, &a));
}

/* x·y of two types, in a third; sometimes of one that is compared, scaled or converted behind it. */
static inline void make_table_dot(random_maker *m) {
    static const tn_dtype floats[] = {TN_f32, TN_f32,      TN_f16,    TN_bf16,
                                      TN_f64, TN_f8e4m3fn, TN_f8e5m2, TN_f4e2m1};
    static const tn_dtype whole[] = {TN_i8, TN_u8, TN_i32, TN_i16, TN_i64, TN_i4};
    bool is_float = chance(m, 75);
    tn_dtype left = is_float ? floats[pick(m, TN_COUNT(floats))] : whole[pick(m, TN_COUNT(whole))];
    tn_dtype right = left, acc = random_accumulator(m, left);
    if (is_float && chance(m, 30)) right = floats[pick(m, TN_COUNT(floats))], acc = TN_f32;
    if (!is_float && chance(m, 50)) left = TN_u8, right = TN_i8, acc = TN_i32;
    tn_dim b = random_dim(m), k = random_dim(m), rows = random_dim(m), columns = random_dim(m);
    bool batched = chance(m, 30);
    tn_shape xs = {2, {rows, k}}, ys = {2, {k, columns}};
    if (batched) xs = (tn_shape){3, {b, rows, k}}, ys = (tn_shape){3, {b, k, columns}};
    if (shape_size(m, &xs) * dim_value(m, columns) > most_products(m) / 4) return;
    int at_x[TN_MAX_RANK], at_y[TN_MAX_RANK];
    random_value x = operand(m, left, &xs, at_x), y = operand(m, right, &ys, at_y);
    tn_attrs_dot a = {.acc = acc};
    if (batched) {
        a.lhs_batch = (tn_ints){1, {at_x[0]}};
        a.rhs_batch = (tn_ints){1, {at_y[0]}};
    }
    a.lhs_contract = (tn_ints){1, {at_x[1 + batched]}};
    a.rhs_contract = (tn_ints){1, {at_y[batched]}};
    tn_value in[] = {x.v, y.v};
    keep_wild(m, tn_b_node(&m->b, TN_OP_dot, in, 2, &a));
}

static inline void make_table_scatter(random_maker *m) {
    tn_value x = any(m).v;
    tn_shape s = shape_of(m, x), index = {0};
    if (!s.rank) return;
    tn_attrs_scatter a = {.mode = chance(m, 50) ? TN_INDEX_clamp : TN_INDEX_fill,
                          .combine = (tn_combine)pick(m, TN_COMBINE_max + 1)};
    a.axes = (tn_ints){1, {pick(m, (uint32_t)s.rank)}};
    tn_dim count = random_dim(m);
    index = (tn_shape){2, {count, 1}};
    if (shape_size(m, &index) > 100) return;
    tn_shape to = {.rank = 1, .dim = {count}};
    for (int i = 0; i < s.rank; i++)
        if (i != a.axes.at[0]) to.dim[to.rank++] = s.dim[i];
    if (shape_size(m, &to) > m->most) return;
    random_value at = random_index(m, &index), u = partner(m, dtype_of(m, x), &to);
    tn_value in[] = {x, at.v, tn_b_expand(&m->b, u.v, &to)};
    if (tn_b_ok(&m->b)) keep_wild(m, tn_b_node(&m->b, TN_OP_scatter, in, 3, &a));
}

static inline void make_table_window(random_maker *m) {
    tn_value x = any(m).v;
    tn_shape s = shape_of(m, x);
    tn_attrs_window_reduce a = {.kind = (tn_reduce_kind)pick(m, TN_REDUCE_argmin + 1),
                                .acc = dtype_of(m, x)};
    a.window.count = a.stride.count = a.dilation.count = a.pad_lo.count = a.pad_hi.count = s.rank;
    for (int i = 0; i < s.rank; i++) {
        a.window.at[i] = 1 + pick(m, 2) * pick(m, 4);
        a.stride.at[i] = 1 + pick(m, 2) * pick(m, 3);
        a.dilation.at[i] = 1 + pick(m, 2) * pick(m, 2);
        a.pad_lo.at[i] = pick(m, 2) * pick(m, 3);
        a.pad_hi.at[i] = pick(m, 2) * pick(m, 3);
    }
    keep_wild(m, tn_b_node(&m->b, TN_OP_window_reduce, &x, 1, &a));
}

static inline void make_table_order(random_maker *m) {
    tn_value x = any(m).v;
    tn_shape s = shape_of(m, x);
    if (!s.rank) return;
    int axis = (int)pick(m, (uint32_t)s.rank);
    if (chance(m, 50)) {
        tn_attrs_top_k a = {.axis = axis, .k = s.dim[axis], .smallest = chance(m, 50)};
        if (tn_dim_is_const(a.k)) a.k = pick(m, (uint32_t)a.k + 1);
        keep_results(m, tn_b_node(&m->b, TN_OP_top_k, &x, 1, &a), 2);
        return;
    }
    tn_attrs_sort a = {.axis = axis, .descending = chance(m, 50)};
    tn_value in[3] = {x};
    uint32_t n = 1 + pick(m, 3);
    for (uint32_t i = 1; i < n; i++)
        in[i] = tn_b_expand(&m->b, partner(m, random_dtype(m), &s).v, &s);
    if (tn_b_ok(&m->b)) keep_results(m, tn_b_node(&m->b, TN_OP_sort, in, n, &a), n);
}

static inline void make_table_sources(random_maker *m) {
    tn_shape s = random_shape(m), scalar = {0};
    if (chance(m, 40)) {
        tn_attrs_iota a = {.dtype = random_dtype(m), .shape = s};
        if (s.rank) a.axis = pick(m, (uint32_t)s.rank);
        keep_wild(m, tn_b_node(&m->b, TN_OP_iota, NULL, 0, &a));
        return;
    }
    if (chance(m, 40)) {
        tn_attrs_random_bits a = {.dtype = chance(m, 50) ? TN_u32 : TN_u64, .shape = s};
        tn_value in[] = {fresh(m, TN_u64, &scalar).v, fresh(m, TN_u64, &scalar).v};
        keep_wild(m, tn_b_node(&m->b, TN_OP_random_bits, in, 2, &a));
        return;
    }
    fresh(m, (tn_dtype)pick(m, TN_DTYPE_COUNT), &s);
}

#endif
