/* Random attention: softmax of masked or biased scores between two products. See random_maker.h. */
#ifndef TENON_TESTS_RANDOM_ATTENTION_H
#define TENON_TESTS_RANDOM_ATTENTION_H

#include "unit/plan/random_products.h"

/* Few rows and many columns as in decoding, or any. */
static inline void attention_sizes(random_maker *m, tn_dim *rows, tn_dim *columns) {
    tn_dims *dims = m->g->dims;
    bool decode = chance(m, 50);
    *rows = decode ? tn_dim_const(dims, 1 + pick(m, 9)) : random_dim(m);
    *columns = decode && chance(m, 60) ? tn_dim_const(dims, 17 + pick(m, 1100)) : random_dim(m);
}

/* Hides columns beyond the row's number and an offset, or behind a bound: each row keeps the first. */
static inline tn_value hide_scores(random_maker *m, tn_value x, tn_dim rows, tn_dim columns) {
    tn_builder *b = &m->b;
    tn_shape down = {2, {rows, 1}}, across = {2, {1, columns}};
    tn_value row = tn_b_iota(b, TN_i64, &down, 0), column = tn_b_iota(b, TN_i64, &across, 1);
    row = tn_b_add(b, row, tn_b_scalar_int(b, TN_i64, pick(m, 2) * pick(m, 800)));
    tn_value flag = chance(m, 50) ? tn_b_ge(b, row, column) : tn_b_le(b, column, row);
    double hidden = chance(m, 70) ? -INFINITY : -1e4;
    return tn_b_select(b, flag, x, tn_b_scalar(b, tn_b_type(b, x).dtype, hidden));
}

static inline void make_attention(random_maker *m) {
    tn_builder *b = &m->b;
    tn_dtype dtype = chance(m, 90) ? TN_f32 : TN_f64;
    tn_dim batch = random_dim(m), depth = random_dim(m), rows, columns;
    attention_sizes(m, &rows, &columns);
    tn_shape q_shape = {3, {batch, rows, depth}}, k_shape = {3, {batch, columns, depth}},
             v_shape = {3, {batch, columns, random_dim(m)}};
    double terms = (double)dim_value(m, depth), unit = rounding(dtype);
    double points = (double)dim_value(m, batch) * (double)dim_value(m, columns);
    double work = points * (double)dim_value(m, rows);
    if (work * terms > (double)most_products(m) || points * terms > (double)most_products(m) ||
        work * (double)dim_value(m, v_shape.dim[2]) > (double)most_products(m) || terms < 1 ||
        dim_value(m, columns) < 1)
        return;
    random_value q = fresh(m, dtype, &q_shape), k = fresh(m, dtype, &k_shape),
                 v = fresh(m, dtype, &v_shape);
    double size = terms * q.size * k.size, scale = fmin(1, 6 / size), error = 4 * unit * 6;
    tn_value x = tn_b_matmul(b, q.v, tn_b_swap(b, k.v, 1, 2), dtype);
    x = tn_b_mul_scalar(b, x, scale);
    if (chance(m, 40)) x = hide_scores(m, x, rows, columns);
    int axis = -1;
    tn_value top = tn_b_reduce(b, TN_REDUCE_max, x, &axis, 1, true);
    tn_value e = tn_b_exp(b, tn_b_sub(b, x, top));
    tn_value p = tn_b_div(b, e, tn_b_sum(b, e, &axis, 1, true));
    double wrong = 6 * (error + unit * ((double)dim_value(m, columns) + 16));
    keep(m, tn_b_matmul(b, p, v.v, dtype), v.size, 0, wrong * v.size);
}

#endif
