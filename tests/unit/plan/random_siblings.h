/* Random products side by side: of one operand or several, whose results meet or go their own ways; and
 * columns of one product that do. See random_maker.h. */
#ifndef TENON_TESTS_RANDOM_SIBLINGS_H
#define TENON_TESTS_RANDOM_SIBLINGS_H

#include "unit/plan/random_products.h"

/* The last value made, if it was worth keeping. */
static inline bool kept(const random_maker *m, int before, random_value *out) {
    if (m->count == before) return false;
    *out = m->value[m->count - 1];
    return true;
}

static inline bool product_of(random_maker *m, const random_value *x, const random_value *w,
                              double terms, random_value *out) {
    int before = m->count;
    keep_sum(m, tn_b_matmul(&m->b, x->v, w->v, TN_f32), x, w, terms);
    return kept(m, before, out);
}

/* Pointwise work of one result, or a view. */
static inline void sibling_tail(random_maker *m, random_value *x) {
    int before = m->count;
    double e = x->error + rounding(TN_f32);
    switch (pick(m, 5)) {
    case 0:
        keep(m, tn_b_tanh(&m->b, x->v), 1, 0, e);
        break;
    case 1:
        keep(m, tn_b_mul_scalar(&m->b, x->v, 0.5), x->size / 2, x->unit - 1, x->error / 2);
        break;
    case 2:
        keep(m, tn_b_swap(&m->b, x->v, -1, -2), x->size, x->unit, x->error);
        break;
    default:
        return;
    }
    kept(m, before, x);
}

static inline void meet(random_maker *m, const random_value *x, const random_value *y) {
    tn_shape a = shape_of(m, x->v), b = shape_of(m, y->v);
    if (!tn_shape_equal(&a, &b)) return;
    if (chance(m, 50))
        keep(m, tn_b_add(&m->b, x->v, y->v), x->size + y->size, TN_MIN(x->unit, y->unit),
             x->error + y->error);
    else
        keep(m, tn_b_mul(&m->b, x->v, y->v), x->size * y->size, x->unit + y->unit,
             is_exact(x) && is_exact(y) ? 0 : x->error * y->size + y->error * x->size);
}

/* Columns of one product, apart and meeting again, mostly in a way that is taken apart. */
static inline void make_column_parts(random_maker *m) {
    int count = 2 + (int)pick(m, 3);
    int64_t depth = pick(m, 24), width = pick(m, 20);
    tn_dim rows = random_dim(m), gap = chance(m, 20) ? 3 : 0;
    tn_shape left = {2, {rows, depth}};
    if (shape_size(m, &left) * count * width > most_products(m)) return;
    tn_array a = tn_array_new(m->g->arena, TN_f32, 2, (int64_t[]){depth, count * width + gap});
    fill_small(&a, test_random(&m->seed));
    random_value x = fresh(m, TN_f32, &left), whole, part[4];
    random_value w = {tn_b_constant(&m->b, &a), 2, 0, -2};
    if (m->bound && !m->depth) m->bound[w.v] = 0;
    if (!product_of(m, &x, &w, (double)depth, &whole)) return;
    if (chance(m, 40)) sibling_tail(m, &whole);
    tn_shape s = shape_of(m, whole.v);
    if (s.dim[1] != count * width + gap) return;
    for (int i = 0; i < count; i++) {
        int before = m->count;
        int64_t step = chance(m, 5) && width < 2 ? 2 : 1, start = i * width + (i ? gap : 0);
        keep(m, tn_b_slice_axis(&m->b, whole.v, 1, start, width, step), whole.size, whole.unit,
             whole.error);
        if (!kept(m, before, &part[i])) return;
        if (chance(m, 50)) sibling_tail(m, &part[i]);
    }
    for (int i = 1; i < count; i++) {
        int before = m->count;
        meet(m, &part[i - 1], &part[i]);
        kept(m, before, &part[i]);
    }
}

static inline void make_siblings(random_maker *m) {
    if (chance(m, 30)) {
        make_column_parts(m);
        return;
    }
    tn_dim batch = random_dim(m), rows = random_dim(m), depth = random_dim(m),
           width = random_dim(m);
    bool batched = chance(m, 25), meeting = chance(m, 65);
    int count = 2 + (int)pick(m, 2);
    random_value x, made[3];
    for (int i = 0; i < count; i++) {
        if (i > 0 && chance(m, 25)) depth = random_dim(m); /* a sum of products */
        if (!meeting) width = random_dim(m);
        tn_shape left = {3, {batch, rows, depth}}, right = {3, {batch, depth, width}};
        if (!batched) {
            left = (tn_shape){2, {rows, depth}};
            right = (tn_shape){2, {depth, width}};
        }
        double terms = (double)dim_value(m, depth), all = (double)shape_size(m, &left);
        if (all * (double)dim_value(m, width) > (double)most_products(m)) return;
        int at[TN_MAX_RANK];
        tn_shape before = i ? shape_of(m, x.v) : left;
        if (i == 0 || !tn_shape_equal(&before, &left)) {
            x = fresh(m, TN_f32, &left);
            if (chance(m, 30)) x = with_folds(m, x, (int[]){left.rank - 1}, 1, terms);
        }
        random_value w = !batched && tn_shape_is_const(&right) && chance(m, 15)
                             ? stored_weights(m, &right, 0, at)
                             : fresh(m, TN_f32, &right);
        if (!product_of(m, &x, &w, terms, &made[i])) return;
    }
    for (int i = 0; i < count; i++)
        if (chance(m, 60)) sibling_tail(m, &made[i]);
    for (int i = 1; i < count && meeting; i++) {
        int before = m->count;
        meet(m, &made[i - 1], &made[i]);
        kept(m, before, &made[i]);
    }
}

#endif
