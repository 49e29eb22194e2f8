/* Random pointwise work, movement and reductions. See random_maker.h. */
#ifndef TENON_TESTS_RANDOM_ELEMENTS_H
#define TENON_TESTS_RANDOM_ELEMENTS_H

#include "unit/plan/random_maker.h"

/* ---- pointwise ------------------------------------------------------------------------------ */

static inline void make_unary(random_maker *m) {
    random_value x = any(m);
    tn_builder *b = &m->b;
    tn_dtype dtype = dtype_of(m, x.v);
    if (dtype == TN_bool || !tn_dtype_is_float(dtype)) {
        switch (pick(m, 4)) {
        case 0:
            keep(m, tn_b_not(b, x.v), 1e9, 0, 0);
            return;
        case 1:
            keep(m, tn_b_neg(b, x.v), tn_dtype_is_signed(dtype) ? x.size : 1e9, 0, 0);
            return;
        case 2:
            keep(m, tn_b_abs(b, x.v), x.size + 1, 0, 0);
            return;
        default:
            keep(m, tn_b_popcount(b, x.v), 64, 0, 0);
            return;
        }
    }
    if (is_exact(&x) && chance(m, 25)) {
        switch (pick(m, 4)) {
        case 0:
            keep(m, tn_b_floor(b, x.v), x.size + 1, 0, 0);
            return;
        case 1:
            keep(m, tn_b_sign(b, x.v), 1, 0, 0);
            return;
        case 2:
            keep(m, tn_b_round(b, x.v), x.size + 1, 0, 0);
            return;
        default:
            keep(m, tn_b_ceil(b, x.v), x.size + 1, 0, 0);
            return;
        }
    }
    double e = x.error + rounding(dtype);
    switch (pick(m, 11)) {
    case 0:
        keep(m, tn_b_neg(b, x.v), x.size, x.unit, x.error);
        break;
    case 1:
        keep(m, tn_b_abs(b, x.v), x.size, x.unit, x.error);
        break;
    case 2:
        keep(m, tn_b_tanh(b, x.v), 1, 0, e);
        break;
    case 3:
        keep(m, tn_b_erf(b, x.v), 1, 0, 1.2 * e);
        break;
    case 4:
        if (x.size <= 4) keep(m, tn_b_exp(b, x.v), exp(x.size), 0, exp(x.size) * e);
        break;
    case 5:
        if (x.size < 100) keep(m, tn_b_sin(b, x.v), 1, 0, 2 * e);
        break;
    case 6:
        keep(m, tn_b_atan(b, x.v), 1.6, 0, e);
        break;
    case 7:
        keep(m, tn_b_sqrt(b, tn_b_add_scalar(b, tn_b_abs(b, x.v), 1)), sqrt(x.size + 1), 0,
             e + x.size * rounding(dtype));
        break;
    case 8:
        keep(m, tn_b_log(b, tn_b_add_scalar(b, tn_b_abs(b, x.v), 1)), log(x.size + 2), 0,
             e + x.size * rounding(dtype));
        break;
    case 9:
        if (x.size < 100)
            keep(m, tn_b_rsqrt(b, tn_b_add_scalar(b, tn_b_mul(b, x.v, x.v), 1)), 1, 0,
                 e * (1 + x.size * x.size));
        break;
    default:
        keep(m, tn_b_mul_scalar(b, x.v, 0.5), x.size / 2, x.unit - 1, x.error / 2);
        break;
    }
}

static inline void make_integer(random_maker *m, random_value x, random_value y) {
    tn_builder *b = &m->b;
    bool is_bool = dtype_of(m, x.v) == TN_bool;
    switch (pick(m, is_bool ? 5 : 12)) {
    case 0:
        keep(m, tn_b_and(b, x.v, y.v), 1e9, 0, 0);
        break;
    case 1:
        keep(m, tn_b_or(b, x.v, y.v), 1e9, 0, 0);
        break;
    case 2:
        keep(m, tn_b_xor(b, x.v, y.v), 1e9, 0, 0);
        break;
    case 3:
        keep(m, tn_b_eq(b, x.v, y.v), 1, 0, 0);
        break;
    case 4:
        keep(m, tn_b_ne(b, x.v, y.v), 1, 0, 0);
        break;
    case 5:
        keep(m, tn_b_div(b, x.v, y.v), 1e9, 0, 0);
        break;
    case 6:
        keep(m, tn_b_rem(b, x.v, y.v), 1e9, 0, 0);
        break;
    case 7:
        keep(m, tn_b_shl(b, x.v, y.v), 1e9, 0, 0);
        break;
    case 8:
        keep(m, tn_b_shr(b, x.v, y.v), 1e9, 0, 0);
        break;
    case 9:
        keep(m, tn_b_add(b, x.v, y.v), 1e9, 0, 0);
        break;
    case 10:
        keep(m, tn_b_mul(b, x.v, y.v), 1e9, 0, 0);
        break;
    default:
        keep(m, tn_b_max(b, x.v, y.v), 1e9, 0, 0);
        break;
    }
}

static inline void make_binary(random_maker *m) {
    random_value x = any(m);
    tn_shape s = shape_of(m, x.v);
    tn_dtype dtype = dtype_of(m, x.v);
    random_value y = partner(m, dtype, &s);
    tn_builder *b = &m->b;
    if (chance(m, 30)) {
        random_value t = x;
        x = y;
        y = t;
    }
    if (!tn_dtype_is_float(dtype)) {
        make_integer(m, x, y);
        return;
    }
    double e = x.error + y.error;
    int unit = TN_MIN(x.unit, y.unit);
    bool exact = is_exact(&x) && is_exact(&y);
    switch (pick(m, 9)) {
    case 0:
    case 1:
        keep(m, tn_b_add(b, x.v, y.v), x.size + y.size, unit, e);
        break;
    case 2:
        keep(m, tn_b_sub(b, x.v, y.v), x.size + y.size, unit, e);
        break;
    case 3:
    case 4:
        keep(m, tn_b_mul(b, x.v, y.v), x.size * y.size, x.unit + y.unit,
             x.error * y.size + y.error * x.size);
        break;
    case 5:
        keep(m, tn_b_max(b, x.v, y.v), fmax(x.size, y.size), unit, e);
        break;
    case 6:
        keep(m, tn_b_min(b, x.v, y.v), fmax(x.size, y.size), unit, e);
        break;
    case 7:
        keep(m, tn_b_div(b, x.v, tn_b_add_scalar(b, tn_b_abs(b, y.v), 1)), x.size, 0,
             x.error + x.size * (y.error + rounding(dtype) * (1 + y.size)) + rounding(dtype));
        break;
    default:
        if (exact) keep(m, chance(m, 50) ? tn_b_lt(b, x.v, y.v) : tn_b_ge(b, x.v, y.v), 1, 0, 0);
        break;
    }
}

static inline void make_select(random_maker *m) {
    random_value x = any(m);
    tn_shape s = shape_of(m, x.v);
    random_value y = partner(m, dtype_of(m, x.v), &s), flag = partner(m, TN_bool, &s);
    keep(m, tn_b_select(&m->b, flag.v, x.v, y.v), fmax(x.size, y.size), TN_MIN(x.unit, y.unit),
         fmax(x.error, y.error));
}

static inline void make_cast(random_maker *m) {
    random_value x = any(m);
    tn_dtype from = dtype_of(m, x.v), to = random_dtype(m);
    if (from == to || (to == TN_bool && !is_exact(&x))) return;
    if (tn_dtype_is_float(from) && !tn_dtype_is_float(to) && !is_exact(&x)) return;
    if (tn_dtype_is_float(to) && x.size > 2000) return;
    double size = to == TN_bool ? 1 : tn_dtype_is_float(to) ? x.size : fmax(x.size, 300);
    if (tn_dtype_is_unsigned(to)) size = 1e9;
    keep(m, tn_b_cast(&m->b, x.v, to), size, x.unit, x.error);
}

static inline void make_bits(random_maker *m) {
    random_value x = any_exact(m);
    tn_dtype from = dtype_of(m, x.v);
    tn_attrs_bitcast a = {from == TN_f32 ? TN_i32 : from == TN_f64 ? TN_i64 : TN_u8, 0};
    if (from == TN_f16 || from == TN_bf16) a.dtype = TN_i16;
    if (chance(m, 60)) { /* -0 and 0 have other bits */
        tn_value v = tn_dtype_is_float(from) ? tn_b_add_scalar(&m->b, x.v, 64) : x.v;
        if (x.size < 64) keep(m, tn_b_node(&m->b, TN_OP_bitcast, &v, 1, &a), 4e9, 0, 0);
        return;
    }
    tn_attrs_random_bits r = {.dtype = chance(m, 70) ? TN_u32 : TN_u64, .shape = random_shape(m)};
    tn_shape scalar = {0};
    tn_value in[] = {fresh(m, TN_u64, &scalar).v, fresh(m, TN_u64, &scalar).v};
    tn_value v = tn_b_node(&m->b, TN_OP_random_bits, in, 2, &r);
    keep(m, tn_b_cast(&m->b, tn_b_and(&m->b, v, tn_b_scalar_int(&m->b, r.dtype, 7)), TN_i32), 8, 0,
         0);
}

/* ---- movement ------------------------------------------------------------------------------- */

static inline void make_reshape(random_maker *m) {
    random_value x = any(m);
    tn_shape s = shape_of(m, x.v), to = {0};
    for (int i = 0; i < s.rank; i++) {
        if (i + 1 < s.rank && chance(m, 45)) { /* merge with the next */
            s.dim[i + 1] = tn_dim_mul(m->g->dims, s.dim[i], s.dim[i + 1]);
            continue;
        }
        static const int64_t parts[] = {2, 3, 4, 8};
        int64_t part = parts[pick(m, 4)];
        if (tn_dim_is_const(s.dim[i]) && s.dim[i] % part == 0 && s.dim[i] > 0 && chance(m, 50)) {
            bool swap = chance(m, 50);
            to.dim[to.rank++] = swap ? s.dim[i] / part : part;
            to.dim[to.rank++] = swap ? part : s.dim[i] / part;
        } else {
            to.dim[to.rank++] = s.dim[i];
        }
        if (to.rank < RANDOM_RANK && chance(m, 10)) to.dim[to.rank++] = 1;
    }
    if (to.rank < RANDOM_RANK) keep(m, tn_b_reshape(&m->b, x.v, &to), x.size, x.unit, x.error);
}

static inline void make_permute(random_maker *m) {
    random_value x = any(m);
    int rank = shape_of(m, x.v).rank, perm[TN_MAX_RANK];
    for (int i = 0; i < rank; i++) perm[i] = i;
    for (int i = rank - 1; i > 0; i--) {
        int j = (int)pick(m, (uint32_t)i + 1), t = perm[i];
        perm[i] = perm[j];
        perm[j] = t;
    }
    keep(m, tn_b_permute(&m->b, x.v, perm), x.size, x.unit, x.error);
}

static inline void make_broadcast(random_maker *m) {
    random_value x = any(m);
    tn_shape s = shape_of(m, x.v);
    tn_attrs_broadcast a = {0};
    for (int i = 0; i <= s.rank; i++) {
        if (a.shape.rank < RANDOM_RANK - (s.rank - i) && chance(m, 25))
            a.shape.dim[a.shape.rank++] = random_dim(m);
        if (i == s.rank) break;
        a.axes.at[a.axes.count++] = a.shape.rank;
        a.shape.dim[a.shape.rank++] = s.dim[i] == 1 && chance(m, 60) ? random_dim(m) : s.dim[i];
    }
    if (shape_size(m, &a.shape) > m->most) return;
    keep(m, tn_b_node(&m->b, TN_OP_broadcast, &x.v, 1, &a), x.size, x.unit, x.error);
}

static inline void make_slice(random_maker *m) {
    static const int64_t steps[] = {1, 1, 1, 2, 3, -1, -2};
    random_value x = any(m);
    tn_dims *t = m->g->dims;
    tn_shape s = shape_of(m, x.v);
    tn_attrs_slice a = {.shape = s, .start = {.count = s.rank}, .step = {.count = s.rank}};
    for (int i = 0; i < s.rank; i++) {
        int64_t step = steps[pick(m, TN_COUNT(steps))];
        a.step.at[i] = 1;
        if (chance(m, 40)) continue;
        if (tn_dim_is_const(s.dim[i])) {
            int64_t n = s.dim[i], lo = n ? pick(m, (uint32_t)n) : 0;
            int64_t reach = (n - lo + llabs(step) - 1) / llabs(step);
            int64_t count = reach ? chance(m, 4) ? 0 : 1 + pick(m, (uint32_t)reach) : 0;
            a.step.at[i] = step;
            a.shape.dim[i] = count;
            a.start.at[i] = step > 0 ? lo : lo + TN_MAX(0, count - 1) * -step;
        } else if (step < 0) {
            a.step.at[i] = -1;
            a.start.at[i] = tn_dim_sub(t, s.dim[i], 1);
        } else if (chance(m, 50)) { /* all but one */
            a.start.at[i] = pick(m, 2);
            a.shape.dim[i] = tn_dim_sub(t, s.dim[i], 1);
        } else { /* the last */
            a.start.at[i] = tn_dim_sub(t, s.dim[i], 1);
            a.shape.dim[i] = 1;
        }
    }
    keep(m, tn_b_node(&m->b, TN_OP_slice, &x.v, 1, &a), x.size, x.unit, x.error);
}

static inline void make_pad(random_maker *m) {
    random_value x = any(m);
    tn_shape s = shape_of(m, x.v);
    tn_attrs_pad a = {.lo = {.count = s.rank}, .hi = {.count = s.rank}, .interior = {s.rank, {0}}};
    for (int i = 0; i < s.rank; i++) {
        if (chance(m, 40)) continue;
        bool open = !tn_dim_is_const(s.dim[i]);
        int64_t lo = (int64_t)pick(m, 5) - (open ? 0 : 2),
                hi = (int64_t)pick(m, 5) - (open ? 0 : 2);
        a.lo.at[i] = tn_dim_const(m->g->dims, lo);
        a.hi.at[i] = tn_dim_const(m->g->dims, hi);
        if (!open && s.dim[i] > 0 && chance(m, 25)) a.interior.at[i] = 1 + pick(m, 2);
    }
    tn_dtype dtype = dtype_of(m, x.v);
    tn_shape scalar = {0};
    tn_value in[] = {x.v,
                     chance(m, 70) ? tn_b_scalar(&m->b, dtype, 1) : fresh(m, dtype, &scalar).v};
    keep(m, tn_b_node(&m->b, TN_OP_pad, in, 2, &a), fmax(x.size, 8), x.unit, x.error);
}

static inline void make_concat(random_maker *m) {
    random_value x = any(m);
    tn_shape s = shape_of(m, x.v);
    if (!s.rank) return;
    int axis = (int)pick(m, (uint32_t)s.rank), n = 1;
    tn_value in[4] = {x.v};
    double size = x.size, error = x.error;
    int unit = x.unit;
    for (int i = 0; i < m->count && n < 4; i++) {
        const random_value *y = &m->value[i];
        tn_shape t = shape_of(m, y->v);
        bool fits = dtype_of(m, y->v) == dtype_of(m, x.v) && t.rank == s.rank;
        for (int j = 0; fits && j < s.rank; j++) fits = j == axis || t.dim[j] == s.dim[j];
        if (!fits || chance(m, 40)) continue;
        in[n++] = y->v;
        size = fmax(size, y->size);
        error = fmax(error, y->error);
        unit = TN_MIN(unit, y->unit);
    }
    keep(m, tn_b_concat(&m->b, in, n, axis), size, unit, error);
}

static inline void make_source(random_maker *m) {
    tn_shape s = random_shape(m);
    if (s.rank && chance(m, 30))
        keep(m,
             tn_b_iota(&m->b, chance(m, 50) ? TN_f32 : TN_i32, &s, (int)pick(m, (uint32_t)s.rank)),
             100, 0, 0);
    else
        fresh(m, random_dtype(m), &s);
}

static inline void make_barrier(random_maker *m) {
    random_value x = any(m);
    if (chance(m, 30))
        keep(m, tn_b_node(&m->b, TN_OP_barrier, &x.v, 1, NULL), x.size, x.unit, x.error);
}

/* ---- reductions ----------------------------------------------------------------------------- */

static inline int random_axes(random_maker *m, int rank, int *axes) {
    int n = 0;
    for (int i = 0; i < rank; i++)
        if (chance(m, 45)) axes[n++] = i;
    if (!n && rank) axes[n++] = (int)pick(m, (uint32_t)rank);
    return n;
}

static inline double axes_size(const random_maker *m, const tn_shape *s, const int *axes, int n) {
    double size = 1;
    for (int i = 0; i < n; i++) size *= (double)dim_value(m, s->dim[axes[i]]);
    return size;
}

static inline void make_reduce(random_maker *m) {
    random_value x = any(m);
    tn_shape s = shape_of(m, x.v);
    tn_dtype dtype = dtype_of(m, x.v);
    int axes[TN_MAX_RANK], count = random_axes(m, s.rank, axes);
    double n = axes_size(m, &s, axes, count);
    bool keeps = chance(m, 50);
    if (!count) return;
    tn_reduce_kind kind = dtype == TN_bool ? chance(m, 50) ? TN_REDUCE_and : TN_REDUCE_or
                                           : (tn_reduce_kind)pick(m, 8);
    double size = x.size, error = x.error;
    int unit = x.unit;
    switch (kind) {
    case TN_REDUCE_sum:
        size *= fmax(n, 1);
        if (!is_exact(&x)) error = n * x.error + 4 * n * rounding(dtype) * x.size;
        break;
    case TN_REDUCE_prod:
        if (tn_dtype_is_float(dtype) && (n > 4 || x.size > 8)) return;
        size = pow(fmax(x.size, 1), n);
        unit *= TN_MAX(1, (int)n);
        if (!is_exact(&x)) error = n * size * x.error + n * rounding(dtype) * size;
        break;
    case TN_REDUCE_argmax:
    case TN_REDUCE_argmin:
        if (!is_exact(&x)) return;
        size = n;
        break;
    case TN_REDUCE_max:
    case TN_REDUCE_min:
        if (n == 0) return;
        break;
    default:
        break;
    }
    if (!tn_dtype_is_float(dtype) && kind < TN_REDUCE_argmax) size = 1e9;
    keep(m, tn_b_reduce(&m->b, kind, x.v, axes, count, keeps), size, unit, error);
}

static inline void make_cumulative(random_maker *m) {
    random_value x = any(m);
    tn_shape s = shape_of(m, x.v);
    if (!s.rank) return;
    tn_attrs_cumulative a = {.axis = pick(m, (uint32_t)s.rank)};
    a.kind = chance(m, 60) ? TN_REDUCE_sum : TN_REDUCE_max;
    a.exclusive = a.kind == TN_REDUCE_sum && chance(m, 40);
    a.reverse = chance(m, 40);
    double n = fmax(1, (double)dim_value(m, s.dim[a.axis]));
    bool sum = a.kind == TN_REDUCE_sum;
    keep(m, tn_b_node(&m->b, TN_OP_cumulative, &x.v, 1, &a), sum ? n * x.size : x.size, x.unit,
         is_exact(&x) || !sum ? x.error
                              : n * x.error + 4 * n * rounding(dtype_of(m, x.v)) * x.size);
}

/* Over `count` axes with n elements together. */
static inline random_value softmax_of(random_maker *m, const random_value *x, const int *axes,
                                      int count, double n) {
    tn_builder *b = &m->b;
    tn_value top = tn_b_reduce(b, TN_REDUCE_max, x->v, axes, count, true);
    tn_value e = tn_b_exp(b, tn_b_sub(b, x->v, top)), total = tn_b_sum(b, e, axes, count, true);
    double unit = rounding(dtype_of(m, x->v));
    random_value y = {tn_b_div(b, e, total), 1, 6 * (x->error + unit * (x->size + n + 4)), 0};
    return y;
}

static inline void make_softmax(random_maker *m) {
    random_value x = any_float(m);
    tn_shape s = shape_of(m, x.v);
    int axes[TN_MAX_RANK], count = random_axes(m, s.rank, axes);
    double n = axes_size(m, &s, axes, count);
    tn_builder *b = &m->b;
    if (!count || n < 1) return;
    if (chance(m, 50)) {
        random_value y = softmax_of(m, &x, axes, count, n);
        keep(m, y.v, y.size, y.unit, y.error);
        return;
    }
    tn_value top = tn_b_reduce(b, TN_REDUCE_max, x.v, axes, count, true), d = tn_b_sub(b, x.v, top);
    tn_value total = tn_b_sum(b, tn_b_exp(b, d), axes, count, true);
    double error = 6 * (x.error + rounding(dtype_of(m, x.v)) * (x.size + n + 4));
    keep(m, tn_b_sub(b, d, tn_b_log(b, total)), 2 * x.size + 10, 0, error * 2);
    keep(m, top, x.size, x.unit, x.error);
    if (chance(m, 30)) keep(m, total, n, 0, n * error);
}

static inline random_value norm_of(random_maker *m, const random_value *x, const int *axes,
                                   int count, double n) {
    tn_builder *b = &m->b;
    tn_value d = tn_b_sub(b, x->v, tn_b_mean(b, x->v, axes, count, true));
    tn_value v = tn_b_mean(b, tn_b_mul(b, d, d), axes, count, true);
    tn_value y = tn_b_mul(b, d, tn_b_rsqrt(b, tn_b_add_scalar(b, v, 1)));
    double scale = (1 + x->size) * (1 + x->size), unit = rounding(dtype_of(m, x->v));
    return (random_value){y, 2 * x->size, 16 * (x->error + unit * (n + 8)) * scale, 0};
}

static inline void make_norm(random_maker *m) {
    random_value x = any_float(m);
    tn_shape s = shape_of(m, x.v);
    int axes[TN_MAX_RANK], count = random_axes(m, s.rank, axes);
    double n = axes_size(m, &s, axes, count);
    if (!count || n < 1 || x.size > 30) return;
    random_value y = norm_of(m, &x, axes, count, n);
    random_value scale = partner(m, dtype_of(m, x.v), &s);
    keep(m, y.v, y.size, y.unit, y.error);
    if (tn_b_ok(&m->b) && chance(m, 50) && scale.size <= 8)
        keep(m, tn_b_mul(&m->b, y.v, scale.v), y.size * scale.size, 0,
             y.error * scale.size + y.size * scale.error);
}

#endif
