/* Random contractions, indexing and sorting. See random_maker.h. */
#ifndef TENON_TESTS_RANDOM_PRODUCTS_H
#define TENON_TESTS_RANDOM_PRODUCTS_H

#include "ops/compose.h"
#include "unit/plan/random_elements.h"

/* ---- contractions --------------------------------------------------------------------------- */

static inline void keep_sum(random_maker *m, tn_value v, const random_value *x,
                            const random_value *y, double terms) {
    tn_dtype dtype = tn_b_type(&m->b, v).dtype;
    double size = terms * x->size * y->size, error = 0;
    if (!tn_b_ok(&m->b)) { /* keep() forgets it */
    } else if (!is_exact(x) || !is_exact(y)) {
        error = terms * (x->error * y->size + y->error * x->size) + 4 * rounding(dtype) * size;
    }
    keep(m, v, fmax(size, 1e-3), x->unit + y->unit, error);
}

/* An operand: axes in random order, sometimes seen through views. */
static inline random_value operand(random_maker *m, tn_dtype dtype, const tn_shape *s, int *at) {
    int perm[TN_MAX_RANK];
    tn_shape stored = *s;
    for (int i = 0; i < s->rank; i++) perm[i] = i;
    for (int i = s->rank - 1; i > 0 && chance(m, 60); i--) {
        int j = (int)pick(m, (uint32_t)i + 1), t = perm[i];
        perm[i] = perm[j];
        perm[j] = t;
    }
    for (int i = 0; i < s->rank; i++) {
        stored.dim[i] = s->dim[perm[i]];
        at[perm[i]] = i;
    }
    for (int i = 0; i < m->count && chance(m, 70); i++) { /* one that is there */
        random_value *x = &m->value[i];
        const tn_type *t = tn_graph_type(m->g, x->v);
        if (t->dtype == dtype && x->size < 100 && tn_shape_equal(&t->shape, &stored)) return *x;
    }
    random_value x = fresh(m, dtype, &stored);
    if (!tn_dtype_is_float(dtype) || !chance(m, 25)) return x;
    x.v = tn_b_tanh(&m->b, x.v);
    x.error = 2 * rounding(dtype);
    x.size = 1;
    return x;
}

/* Sometimes a softmax or a norm over the axes of an operand that a dot contracts. */
static inline random_value with_folds(random_maker *m, random_value x, const int *axes, int count,
                                      double n) {
    if (!tn_dtype_is_float(dtype_of(m, x.v)) || !count || n < 1 || x.size > 30) return x;
    if (chance(m, 25)) return softmax_of(m, &x, axes, count, n);
    return chance(m, 25) ? norm_of(m, &x, axes, count, n) : x;
}

/* A constant of narrow elements as f32, perhaps less zeros and times scales, for blocks along `axis`. */
static inline random_value stored_weights(random_maker *m, const tn_shape *s, int axis, int *at) {
    static const tn_dtype types[] = {TN_bf16, TN_f16, TN_i8, TN_u8, TN_i4, TN_u4, TN_i16};
    tn_dtype stored = types[pick(m, TN_COUNT(types))];
    tn_array a = tn_array_new(m->g->arena, stored, s->rank, s->dim);
    tn_shape ps = *s;
    int64_t block = 1;
    fill_small(&a, test_random(&m->seed));
    for (int i = 0; i < s->rank; i++) {
        at[i] = i;
        if (i != axis && chance(m, 50)) ps.dim[i] = 1;
    }
    while (block < 32 && s->dim[axis] % (2 * block) == 0 && chance(m, 80)) block *= 2;
    ps.dim[axis] = chance(m, 50) ? 1 : s->dim[axis] / block;
    random_value w = {tn_b_cast(&m->b, tn_b_constant(&m->b, &a), TN_f32), 8, 0, -2};
    for (int i = 0; i < 2; i++) {
        if (chance(m, 50)) continue;
        tn_array p = tn_array_new(m->g->arena, i ? TN_f32 : stored, s->rank, ps.dim);
        fill_small(&p, test_random(&m->seed));
        tn_value v = tn_b_cast(&m->b, tn_b_constant(&m->b, &p), TN_f32);
        if (ps.dim[axis] > 1) v = tn_b_repeat(&m->b, v, axis, block);
        w.v = i ? tn_b_mul(&m->b, w.v, v) : tn_b_sub(&m->b, w.v, v);
        w.size *= 2;
        w.unit -= i ? 2 : 0;
    }
    return w;
}

/* (bytes − zero) · scale as f32, as quantised models write it; exact. axis ≥ 0: a constant whose scale
 * varies along it, else an input. */
static inline random_value dequantised(random_maker *m, const tn_shape *s, int axis) {
    tn_dtype dtype = chance(m, 50) ? TN_u8 : TN_i8;
    tn_value q = TN_NO_VALUE, scale = tn_b_scalar(&m->b, TN_f32, ldexp(1, -6));
    if (axis >= 0) {
        tn_array a = tn_array_new(m->g->arena, dtype, s->rank, s->dim);
        tn_array f = tn_array_new(m->g->arena, TN_f32, 1, &s->dim[axis]);
        for (int64_t i = 0; i < tn_array_count(&a); i++)
            tn_array_set(&a, i,
                         tn_cell_of_int(dtype, (int64_t)pick(m, 256) - (dtype == TN_i8) * 128));
        for (int64_t i = 0; i < tn_array_count(&f); i++)
            tn_array_set(&f, i, tn_cell_of(TN_f32, ldexp(1, -6 - (int)pick(m, 2))));
        q = tn_b_constant(&m->b, &a);
        scale = tn_b_constant(&m->b, &f);
        tn_shape one = {.rank = s->rank - axis, .dim = {s->dim[axis]}};
        for (int i = 1; i < one.rank; i++) one.dim[i] = 1;
        scale = tn_b_reshape(&m->b, scale, &one);
    } else {
        q = fresh(m, dtype, s).v;
    }
    tn_value x = tn_b_cast(&m->b, q, TN_f32);
    int64_t middle = dtype == TN_u8 ? 128 : 0;
    int64_t zero = axis >= 0 && chance(m, 80) ? middle : middle + (int64_t)pick(m, 100) - 50;
    if (zero) x = tn_b_sub(&m->b, x, tn_b_scalar(&m->b, TN_f32, (double)zero));
    return (random_value){tn_b_mul(&m->b, x, scale), 4, 0, -7};
}

/* The operands as unsigned and signed bytes; the right one, of shape `s`, is sometimes a constant. */
static inline void as_bytes(random_maker *m, const tn_shape *s, int *at, random_value *x,
                            random_value *y) {
    *x = (random_value){tn_b_cast(&m->b, x->v, TN_u8), 255, 0, 0};
    *y = (random_value){tn_b_cast(&m->b, y->v, TN_i8), 128, 0, 0};
    if (!tn_shape_is_const(s) || chance(m, 40)) return;
    tn_array a = tn_array_new(m->g->arena, TN_i8, s->rank, s->dim);
    for (int64_t i = 0; i < tn_array_count(&a); i++)
        tn_array_set(&a, i, tn_cell_of_int(TN_i8, (int64_t)pick(m, 256) - 128));
    for (int i = 0; i < s->rank; i++) at[i] = i;
    y->v = tn_b_constant(&m->b, &a);
}

static inline void make_dot(random_maker *m) {
    static const tn_dtype types[] = {TN_f32, TN_f32, TN_f32, TN_f32, TN_f32,
                                     TN_f16, TN_f64, TN_i32, TN_i32};
    tn_dtype dtype = types[pick(m, TN_COUNT(types))];
    int nb = (int)pick(m, 3) * (int)pick(m, 2), nk = chance(m, 80) ? 1 : (int)pick(m, 3);
    int nm = chance(m, 70) ? 1 : (int)pick(m, 3), nn = chance(m, 70) ? 1 : (int)pick(m, 3);
    tn_dim b[2], k[2], r[2], c[2];
    tn_shape x = {0}, y = {0};
    for (int i = 0; i < nb; i++) x.dim[x.rank++] = y.dim[y.rank++] = b[i] = random_dim(m);
    for (int i = 0; i < nk; i++) x.dim[x.rank++] = y.dim[y.rank++] = k[i] = random_dim(m);
    bool pieces = nk > 0 && chance(m, 2); /* k is cut into some */
    if (pieces) x.dim[nb + nk - 1] = y.dim[nb + nk - 1] = k[nk - 1] = 1024 + pick(m, 600);
    for (int i = 0; i < nm; i++) x.dim[x.rank++] = r[i] = random_dim(m);
    for (int i = 0; i < nn; i++) y.dim[y.rank++] = c[i] = random_dim(m);
    bool quantised = dtype == TN_f32 && nk > 0 && nn > 0 && chance(m, 20);
    if (quantised) { /* not folded */
        x.dim[nb + nk - 1] = y.dim[nb + nk - 1] = k[nk - 1] = 12 + pick(m, 40);
        y.dim[y.rank - 1] = c[nn - 1] = 22 + pick(m, 20);
    }
    double terms = 1, points = 1;
    for (int i = 0; i < nk; i++) terms *= (double)dim_value(m, k[i]);
    for (int i = 0; i < nb; i++) points *= (double)dim_value(m, b[i]);
    for (int i = 0; i < nm; i++) points *= (double)dim_value(m, r[i]);
    for (int i = 0; i < nn; i++) points *= (double)dim_value(m, c[i]);
    if (points > 2 * (double)m->most ||
        points * terms > 2 * (double)m->most + (pieces ? 4 : 1) * (double)most_products(m))
        return;
    int at_x[TN_MAX_RANK], at_y[TN_MAX_RANK];
    bool weights = dtype == TN_f32 && nk > 0 && tn_shape_is_const(&y) && chance(m, 35);
    random_value p = operand(m, dtype, &x, at_x);
    random_value q = weights ? stored_weights(m, &y, nb, at_y) : operand(m, dtype, &y, at_y);
    p = with_folds(m, p, at_x + nb, nk, terms);
    if (quantised && tn_shape_is_const(&y)) {
        for (int i = 0; i < TN_MAX_RANK; i++) at_x[i] = at_y[i] = i;
        p = dequantised(m, &x, -1);
        q = dequantised(m, &y, y.rank - 1);
        weights = true;
    }
    if (!weights && chance(m, 20)) q = with_folds(m, q, at_y + nb, nk, terms);
    if (dtype == TN_i32 && chance(m, 70)) as_bytes(m, &y, at_y, &p, &q);
    tn_attrs_dot a = {.acc = dtype == TN_f16 && chance(m, 50) ? TN_f32 : dtype};
    a.lhs_batch.count = a.rhs_batch.count = nb;
    a.lhs_contract.count = a.rhs_contract.count = nk;
    for (int i = 0; i < nb; i++) {
        a.lhs_batch.at[i] = at_x[i];
        a.rhs_batch.at[i] = at_y[i];
    }
    for (int i = 0; i < nk; i++) {
        a.lhs_contract.at[i] = at_x[nb + i];
        a.rhs_contract.at[i] = at_y[nb + i];
    }
    tn_value in[] = {p.v, q.v};
    keep_sum(m, tn_b_node(&m->b, TN_OP_dot, in, 2, &a), &p, &q, terms);
}

static inline void make_ragged(random_maker *m) {
    tn_dim rows = random_dim(m), depth = random_dim(m), columns = random_dim(m),
           groups = 1 + pick(m, 4);
    tn_shape xs = {2, {rows, depth}}, ws = {3, {groups, depth, columns}};
    if (shape_size(m, &xs) * dim_value(m, columns) > most_products(m)) return;
    int at[TN_MAX_RANK];
    random_value x = operand(m, TN_f32, &xs, at), w = fresh(m, TN_f32, &ws);
    tn_shape px = shape_of(m, x.v);
    if (!tn_shape_equal(&px, &xs)) x = fresh(m, TN_f32, &xs);
    tn_array sizes = tn_array_new(m->g->arena, TN_i64, 1, &groups);
    for (int64_t i = 0; i < groups; i++)
        tn_array_set(&sizes, i, tn_cell_of_int(TN_i64, pick(m, 9)));
    tn_attrs_ragged_dot a = {.acc = TN_f32};
    tn_value in[] = {x.v, w.v, tn_b_constant(&m->b, &sizes)};
    keep_sum(m, tn_b_node(&m->b, TN_OP_ragged_dot, in, 3, &a), &x, &w, (double)dim_value(m, depth));
}

/* A new value of this shape, made as a permutation: its first axis lies innermost but one. */
static inline random_value channels_last(random_maker *m, const tn_shape *x) {
    tn_shape s = {.rank = x->rank};
    int perm[TN_MAX_RANK], last = x->rank - 2;
    for (int i = 0; i < last; i++) s.dim[i] = x->dim[i + 1];
    for (int i = 0; i < x->rank; i++) perm[i] = i == 0 ? last : i <= last ? i - 1 : i;
    s.dim[last] = x->dim[0];
    s.dim[last + 1] = x->dim[last + 1];
    random_value v = fresh(m, TN_f32, &s);
    v.v = tn_b_permute(&m->b, v.v, perm);
    return v;
}

static inline void make_conv(random_maker *m) {
    int spatial = 1 + (int)pick(m, 2), batch = (int)pick(m, 2);
    bool depthwise = batch && chance(m, 40);
    tn_attrs_conv a = {.batch = batch, .acc = TN_f32};
    tn_shape x = {0}, w = {0};
    if (batch) /* groups */
        x.dim[x.rank++] = w.dim[w.rank++] =
            depthwise || chance(m, 50) ? 8 + pick(m, 9) : 1 + pick(m, 4);
    x.dim[x.rank++] = m->symbols && chance(m, 40) ? random_dim(m) : 1 + pick(m, 3);
    a.stride.count = a.window_dilation.count = a.base_dilation.count = spatial;
    a.pad_lo.count = a.pad_hi.count = spatial;
    double terms = 1;
    for (int i = 0; i < spatial; i++) {
        int64_t window = 1 + pick(m, 4);
        int64_t most = depthwise && i == spatial - 1 ? 30 : 10;
        x.dim[x.rank++] = m->symbols && chance(m, 25) ? random_dim(m) : 3 + pick(m, (uint32_t)most);
        w.dim[w.rank++] = window;
        terms *= (double)window;
        a.stride.at[i] = chance(m, 60) ? 1 : 1 + pick(m, 3);
        a.window_dilation.at[i] = chance(m, 75) ? 1 : 1 + pick(m, 3);
        a.base_dilation.at[i] = depthwise || chance(m, 80) ? 1 : 1 + pick(m, 3);
        a.pad_lo.at[i] = (int64_t)pick(m, 4) - 1;
        a.pad_hi.at[i] = (int64_t)pick(m, 4) - 1;
        if (chance(m, 40)) a.pad_lo.at[i] = a.pad_hi.at[i] = window / 2;
    }
    int64_t c = depthwise || chance(m, 40) ? 1 : 1 + pick(m, 6);
    int64_t o = depthwise || chance(m, 30) ? 1 : 1 + pick(m, 20);
    bool quantised = !depthwise && chance(m, 30);
    if (quantised) o = (257 + (int64_t)terms * c - 1) / ((int64_t)terms * c); /* not folded */
    x.dim[x.rank++] = w.dim[w.rank++] = c;
    w.dim[w.rank++] = o;
    terms *= (double)c;
    if ((double)(shape_size(m, &x) * o) * terms > (double)most_products(m)) return;
    int at[TN_MAX_RANK];
    random_value p = operand(m, TN_f32, &x, at), q = operand(m, TN_f32, &w, at);
    if (tn_graph_type(m->g, p.v)->shape.rank != x.rank) return;
    tn_shape px = shape_of(m, p.v), qw = shape_of(m, q.v);
    if (!tn_shape_equal(&px, &x))
        p = batch && chance(m, 50) ? channels_last(m, &x) : fresh(m, TN_f32, &x);
    if (!tn_shape_equal(&qw, &w)) q = fresh(m, TN_f32, &w);
    if (quantised) {
        p = dequantised(m, &x, -1);
        q = dequantised(m, &w, w.rank - 1);
    }
    tn_value in[] = {p.v, q.v};
    keep_sum(m, tn_b_node(&m->b, TN_OP_conv, in, 2, &a), &p, &q, terms);
}

/* x·w over channels that lie before many columns, as a convolution with a window of 1 or as a dot, some
 * pointwise work, and back to that order. */
static inline void make_planes(random_maker *m) {
    int spatial = 1 + (int)pick(m, 2), lead = (int)pick(m, 2);
    tn_dim c = 1 + pick(m, 9), o = 1 + pick(m, m->most > RANDOM_ELEMENTS ? 9 : 2);
    tn_shape s = {0};
    if (lead) s.dim[s.rank++] = m->symbols && chance(m, 30) ? random_dim(m) : 1 + pick(m, 2);
    s.dim[s.rank++] = c;
    if (spatial > 1) s.dim[s.rank++] = 19 + pick(m, 3);
    s.dim[s.rank++] = spatial > 1 ? 27 + pick(m, 5) : 512 + pick(m, 60);
    if (shape_size(m, &s) * o > most_products(m)) return;
    random_value x = fresh(m, TN_f32, &s);
    tn_array weights = tn_array_new(m->g->arena, TN_f32, 2, (int64_t[]){o, c});
    fill_small(&weights, test_random(&m->seed));
    random_value w = {tn_b_constant(&m->b, &weights), 2, 0, -2};
    int last[TN_MAX_RANK], back[TN_MAX_RANK];
    for (int i = 0; i < s.rank; i++) {
        last[i] = i < lead ? i : i + 1 < s.rank ? i + 1 : lead;
        back[i] = i < lead ? i : i == lead ? s.rank - 1 : i - 1;
    }
    bool flat = chance(m, 50);
    tn_attrs_dot a = {.lhs_contract = {1, {flat ? lead : s.rank - 1}}, .rhs_contract = {1, {1}}};
    a.acc = TN_f32;
    tn_value in[] = {flat ? x.v : tn_b_permute(&m->b, x.v, last), w.v};
    tn_value y = tn_b_node(&m->b, TN_OP_dot, in, 2, &a);
    if (chance(m, 50)) y = tn_b_max(&m->b, y, tn_b_scalar(&m->b, TN_f32, 0));
    if (chance(m, 90)) y = tn_b_permute(&m->b, y, back);
    if (chance(m, 40) && o == c) y = tn_b_add(&m->b, y, x.v);
    keep_sum(m, y, &x, &w, (double)c + 1);
}

static inline void make_window(random_maker *m) {
    random_value x = any(m);
    tn_shape s = shape_of(m, x.v);
    tn_dtype dtype = dtype_of(m, x.v);
    if (dtype == TN_bool || !s.rank) return;
    tn_attrs_window_reduce a = {.acc = dtype, .kind = TN_REDUCE_sum};
    if (chance(m, 50)) a.kind = TN_REDUCE_max;
    if (is_exact(&x) && chance(m, 25)) a.kind = TN_REDUCE_argmax;
    double n = 1;
    a.window.count = a.stride.count = a.dilation.count = a.pad_lo.count = a.pad_hi.count = s.rank;
    for (int i = 0; i < s.rank; i++) {
        bool here = chance(m, 50);
        a.window.at[i] = here ? 1 + pick(m, 3) : 1;
        a.stride.at[i] = here ? 1 + pick(m, 2) : 1;
        a.dilation.at[i] = here && chance(m, 25) ? 2 : 1;
        int64_t room = (a.window.at[i] - 1) * a.dilation.at[i];
        a.pad_lo.at[i] = here && room ? pick(m, (uint32_t)room + 1) : 0;
        a.pad_hi.at[i] = here && room ? pick(m, (uint32_t)room + 1) : 0;
        n *= (double)a.window.at[i];
    }
    bool sum = a.kind == TN_REDUCE_sum;
    if (!sum && tn_dtype_is_float(dtype) && n > 1) /* no window of padding alone */
        for (int i = 0; i < s.rank; i++)
            if (a.dilation.at[i] > 1) a.pad_lo.at[i] = a.pad_hi.at[i] = 0;
    keep(m, tn_b_node(&m->b, TN_OP_window_reduce, &x.v, 1, &a),
         a.kind == TN_REDUCE_argmax ? (double)m->most
         : sum                      ? n * x.size
                                    : x.size,
         x.unit, is_exact(&x) || !sum ? x.error : n * x.error + 4 * n * rounding(dtype) * x.size);
}

/* ---- indexing, order ------------------------------------------------------------------------ */

static inline random_value random_index(random_maker *m, const tn_shape *s) {
    for (int i = 0; i < m->count && chance(m, 80); i++) {
        const tn_type *t = tn_graph_type(m->g, m->value[i].v);
        if ((t->dtype == TN_i32 || t->dtype == TN_i64) && tn_shape_equal(&t->shape, s))
            return m->value[i];
    }
    return fresh(m, chance(m, 50) ? TN_i64 : TN_i32, s);
}

static inline void make_gather(random_maker *m) {
    random_value x = any(m);
    tn_shape s = shape_of(m, x.v), index = {0};
    tn_attrs_gather a = {.mode = chance(m, 50) ? TN_INDEX_clamp : TN_INDEX_fill};
    if (!s.rank) return;
    if (s.rank > 1 && chance(m, 25)) a.batch = 1;
    for (int i = 0; i < a.batch; i++) index.dim[index.rank++] = s.dim[i];
    for (int n = (int)pick(m, 3); n > 0; n--) index.dim[index.rank++] = random_dim(m);
    for (int i = (int)a.batch; i < s.rank; i++)
        if (chance(m, 40)) a.axes.at[a.axes.count++] = i;
    if (!a.axes.count) a.axes.at[a.axes.count++] = s.rank - 1;
    index.dim[index.rank++] = a.axes.count;
    if (shape_size(m, &index) > 300) return;
    random_value at = random_index(m, &index);
    tn_value in[] = {x.v, at.v};
    if (chance(m, 50)) {
        keep(m, tn_b_node(&m->b, TN_OP_gather, in, 2, &a), x.size, x.unit, x.error);
        return;
    }
    tn_value shape = tn_b_node(&m->b, TN_OP_gather, in, 2, &a); /* for the updates' shape */
    if (!tn_b_ok(&m->b)) {
        keep(m, shape, 0, 0, 0);
        return;
    }
    tn_shape to = shape_of(m, shape);
    if (shape_size(m, &to) > m->most) return;
    random_value u = partner(m, dtype_of(m, x.v), &to);
    tn_attrs_scatter c = {a.batch, a.axes, a.mode, (tn_combine)pick(m, 5), 0};
    tn_value operands[] = {x.v, at.v, tn_b_expand(&m->b, u.v, &to)};
    if (c.combine == TN_COMBINE_mul) c.combine = TN_COMBINE_set;
    double n = c.combine == TN_COMBINE_add ? (double)shape_size(m, &to) : 1;
    double size = fmax(x.size, u.size) * (n + 1);
    bool exact = is_exact(&x) && is_exact(&u);
    keep(m, tn_b_node(&m->b, TN_OP_scatter, operands, 3, &c), size, TN_MIN(x.unit, u.unit),
         exact ? 0 : (n + 1) * (x.error + u.error) + 4 * rounding(dtype_of(m, x.v)) * size);
}

static inline void make_order(random_maker *m) {
    random_value x = any_exact(m);
    tn_shape s = shape_of(m, x.v);
    if (!s.rank) return;
    int axis = (int)pick(m, (uint32_t)s.rank);
    if (chance(m, 50)) {
        int64_t least = tn_dim_lo(m->g->dims, s.dim[axis]);
        tn_attrs_top_k a = {.axis = axis, .k = 1 + pick(m, 4), .smallest = chance(m, 40)};
        if (a.k > least) a.k = least;
        tn_value v = tn_b_node(&m->b, TN_OP_top_k, &x.v, 1, &a);
        bool ok = tn_b_ok(&m->b);
        keep(m, v, x.size, x.unit, 0);
        if (ok && chance(m, 60)) keep(m, v + 1, 100, 0, 0);
        return;
    }
    tn_attrs_sort a = {.axis = axis, .descending = chance(m, 40)};
    random_value y = partner(m, random_dtype(m), &s);
    tn_value in[] = {x.v, tn_b_expand(&m->b, y.v, &s)};
    uint32_t n = 1 + pick(m, 2);
    tn_value v = tn_b_node(&m->b, TN_OP_sort, in, n, &a);
    bool ok = tn_b_ok(&m->b);
    keep(m, v, x.size, x.unit, 0);
    if (ok && n == 2) keep(m, v + 1, y.size, y.unit, y.error);
}

static inline void make_dynamic(random_maker *m) {
    random_value x = any(m);
    tn_shape s = shape_of(m, x.v), block = s, starts = {1, {s.rank}};
    if (!s.rank) return;
    for (int i = 0; i < s.rank; i++) {
        int64_t least = tn_dim_lo(m->g->dims, s.dim[i]);
        if (least > 0 && chance(m, 60)) block.dim[i] = 1 + pick(m, (uint32_t)least);
    }
    random_value start = fresh(m, TN_i64, &starts);
    if (chance(m, 50)) {
        tn_attrs_dynamic_slice a = {.shape = block};
        tn_value in[] = {x.v, start.v};
        keep(m, tn_b_node(&m->b, TN_OP_dynamic_slice, in, 2, &a), x.size, x.unit, x.error);
        return;
    }
    random_value y = partner(m, dtype_of(m, x.v), &block);
    tn_value in[] = {x.v, tn_b_expand(&m->b, y.v, &block), start.v};
    keep(m, tn_b_node(&m->b, TN_OP_dynamic_update, in, 3, NULL), fmax(x.size, y.size),
         TN_MIN(x.unit, y.unit), fmax(x.error, y.error));
}

#endif
