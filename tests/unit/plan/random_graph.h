/* Random small graphs for the planner.
 *
 * A maker holds values with bounds on their size and on the difference that two right evaluations
 * of them may have; 0 means that the value is exact: a multiple of 2^unit that its type holds
 * whatever the order of the sums. Only exact values are rounded, compared, sorted or searched for
 * extremes, everything else is smooth: so a difference beyond the bound is a bug. What the builder
 * refuses is left out. */
#ifndef TENON_TESTS_RANDOM_GRAPH_H
#define TENON_TESTS_RANDOM_GRAPH_H

#include <math.h>

#include "unit/plan/check_plan.h"

enum {
    RANDOM_VALUES = 96,
    RANDOM_ELEMENTS = 1500, /* of a value; large graphs have fewer and larger ones */
    RANDOM_LARGE = 200000,
    RANDOM_PRODUCTS = 60000, /* of a contraction */
    RANDOM_RANK = 6,
    RANDOM_SYMBOLS = 2
};

typedef struct random_value {
    tn_value v;
    double size, error; /* the largest magnitude; 0: exact */
    int unit;
} random_value;

typedef struct random_maker {
    tn_builder b;
    tn_graph *g;
    tn_error err;
    uint64_t seed;
    random_value value[RANDOM_VALUES];
    int count;
    bool symbols;
    int64_t largest[RANDOM_SYMBOLS]; /* the greatest bindings, for limits */
    int depth;                       /* of sub-graphs */
    int64_t most;                    /* elements of a value */
    bool focus;                      /* on what fuses: fewer kinds of operations, longer chains */
    int inputs;
    double *bound; /* per value of the graph: the largest difference; for the outermost graph */
} random_maker;

static inline uint32_t pick(random_maker *m, uint32_t end) {
    return (uint32_t)(test_random(&m->seed) >> 33) % end;
}

static inline bool chance(random_maker *m, uint32_t percent) {
    return pick(m, 100) < percent;
}

/* ---- sizes ---------------------------------------------------------------------------------- */

static inline int64_t dim_value(const random_maker *m, tn_dim d) {
    return tn_dim_eval(m->g->dims, d, m->largest);
}

static inline int64_t shape_size(const random_maker *m, const tn_shape *s) {
    int64_t count = 1;
    for (int i = 0; i < s->rank; i++) count *= TN_MAX(1, dim_value(m, s->dim[i]));
    return count;
}

static inline tn_dim random_dim(random_maker *m) {
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 20, 33, 40, 70};
    static const int64_t large[] = {2, 7, 16, 40, 64, 100, 230, 1000, 5000, 40000, 150000};
    if (m->symbols && chance(m, 30)) return tn_dim_of_symbol(m->g->dims, chance(m, 50) ? "N" : "S");
    if (m->most > RANDOM_ELEMENTS && chance(m, 60)) return large[pick(m, TN_COUNT(large))];
    if (chance(m, 2)) return 0;
    if (chance(m, 12)) return 1;
    return sizes[pick(m, TN_COUNT(sizes))];
}

static inline tn_shape random_shape(random_maker *m) {
    tn_shape s = {.rank = (int)pick(m, 5)};
    if (chance(m, 10)) s.rank = (int)pick(m, RANDOM_RANK + 1);
    for (int i = 0; i < s.rank; i++) s.dim[i] = random_dim(m);
    if (m->most > RANDOM_ELEMENTS && chance(m, 40)) { /* long and thin */
        int64_t thin = 1 + pick(m, 12), length = 150000 / thin + pick(m, 100);
        bool turned = chance(m, 50);
        s = (tn_shape){2, {turned ? thin : length, turned ? length : thin}};
    }
    while (shape_size(m, &s) > m->most) s.dim[pick(m, (uint32_t)s.rank)] = 1 + pick(m, 3);
    return s;
}

/* ---- values --------------------------------------------------------------------------------- */

static inline tn_shape shape_of(const random_maker *m, tn_value v) {
    return tn_graph_type(m->g, v)->shape;
}

static inline tn_dtype dtype_of(const random_maker *m, tn_value v) {
    return tn_graph_type(m->g, v)->dtype;
}

static inline int digits_of(tn_dtype dtype) {
    return dtype == TN_f64 ? 53 : dtype == TN_f32 ? 24 : dtype == TN_f16 ? 11 : 8;
}

static inline double rounding(tn_dtype dtype) {
    return ldexp(1, 1 - digits_of(dtype));
}

/* Keeps a value if the builder made it and it is worth having. `error` < 0: exact if it fits. */
static inline void keep(random_maker *m, tn_value v, double size, int unit, double error) {
    if (!tn_b_ok(&m->b) || v == TN_NO_VALUE) { /* refused: forget it */
        m->b = tn_builder_of(m->g, &m->err);
        return;
    }
    tn_shape s = shape_of(m, v);
    tn_dtype dtype = dtype_of(m, v);
    if (!tn_dtype_is_float(dtype)) {
        error = 0;
        unit = 0;
        size = fmin(size, ldexp(1, tn_dtype_bits(dtype)));
    } else {
        bool exact = error <= 0 && size <= ldexp(1, digits_of(dtype) + unit) && size < 60000;
        error = exact ? 0 : fmax(error, 0) + 2 * rounding(dtype) * size;
    }
    if (m->bound && !m->depth) m->bound[v] = error;
    if (shape_size(m, &s) > m->most || size > 3e4 || error > 0.02 * (1 + size)) return;
    for (int i = 0; i < s.rank; i++)
        if (tn_dim_lo(m->g->dims, s.dim[i]) < 0) return;
    if (m->count == RANDOM_VALUES) return;
    m->value[m->count++] = (random_value){v, size, error, unit};
}

static inline bool is_exact(const random_value *x) {
    return x->error == 0;
}

static inline random_value any(random_maker *m) {
    int recent = TN_MIN(m->count, m->focus ? 2 : 6);
    int at = chance(m, 65) ? m->count - 1 - (int)pick(m, (uint32_t)recent)
                           : (int)pick(m, (uint32_t)m->count);
    return m->value[at];
}

static inline tn_dtype random_dtype(random_maker *m) {
    static const tn_dtype types[] = {TN_f32, TN_f32, TN_f32,  TN_f32,  TN_f32, TN_f32,
                                     TN_f32, TN_f16, TN_bf16, TN_f64,  TN_i32, TN_i32,
                                     TN_i64, TN_u8,  TN_i8,   TN_bool, TN_u32, TN_i16};
    return types[pick(m, TN_COUNT(types))];
}

/* An input or a constant of this type. */
static inline random_value fresh(random_maker *m, tn_dtype dtype, const tn_shape *shape) {
    tn_value v;
    if (m->depth || m->inputs > 12 || (chance(m, 45) && tn_shape_is_const(shape))) {
        if (tn_shape_is_const(shape)) {
            tn_array a = tn_array_new(m->g->arena, dtype, shape->rank, shape->dim);
            fill_small(&a, test_random(&m->seed));
            v = tn_b_constant(&m->b, &a);
        } else {
            v = tn_b_full(&m->b, dtype, shape, 1);
        }
    } else {
        m->inputs++;
        v = tn_b_input(&m->b, tn_arena_printf(m->g->arena, "x%d", m->inputs), dtype, shape);
    }
    bool is_float = tn_dtype_is_float(dtype);
    random_value x = {v, is_float ? 2 : 8, 0, is_float ? -2 : 0};
    if (m->bound && !m->depth) m->bound[v] = 0;
    if (m->count < RANDOM_VALUES) m->value[m->count++] = x;
    return x;
}

/* A float value; made when there is none. */
static inline random_value any_float(random_maker *m) {
    for (int tries = 0; tries < 8; tries++) {
        random_value x = any(m);
        if (tn_dtype_is_float(dtype_of(m, x.v))) return x;
    }
    tn_shape s = random_shape(m);
    return fresh(m, TN_f32, &s);
}

static inline random_value any_exact(random_maker *m) {
    for (int tries = 0; tries < 8; tries++) {
        random_value x = any(m);
        if (is_exact(&x)) return x;
    }
    tn_shape s = random_shape(m);
    return fresh(m, TN_f32, &s);
}

/* Something of type `dtype` that broadcasts to `shape`. */
static inline random_value partner(random_maker *m, tn_dtype dtype, const tn_shape *shape) {
    for (int tries = 0; tries < 12; tries++) {
        random_value y = any(m);
        const tn_type *t = tn_graph_type(m->g, y.v);
        if (t->dtype != dtype || t->shape.rank > shape->rank) continue;
        bool fits = true;
        for (int i = 1; i <= t->shape.rank; i++) {
            tn_dim d = t->shape.dim[t->shape.rank - i];
            fits &= d == 1 || d == shape->dim[shape->rank - i];
        }
        if (fits) return y;
    }
    tn_shape s = *shape;
    int drop = s.rank ? (int)pick(m, (uint32_t)s.rank + 1) * (int)pick(m, 2) : 0;
    memmove(s.dim, s.dim + drop, sizeof *s.dim * (size_t)(s.rank - drop));
    s.rank -= drop;
    for (int i = 0; i < s.rank; i++)
        if (chance(m, 15)) s.dim[i] = 1;
    return fresh(m, dtype, &s);
}

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

static inline void make_softmax(random_maker *m) {
    random_value x = any_float(m);
    tn_shape s = shape_of(m, x.v);
    int axes[TN_MAX_RANK], count = random_axes(m, s.rank, axes);
    double n = axes_size(m, &s, axes, count), unit = rounding(dtype_of(m, x.v));
    tn_builder *b = &m->b;
    if (!count || n < 1) return;
    tn_value top = tn_b_reduce(b, TN_REDUCE_max, x.v, axes, count, true);
    tn_value e = tn_b_exp(b, tn_b_sub(b, x.v, top)), total = tn_b_sum(b, e, axes, count, true);
    double error = 6 * (x.error + unit * (x.size + n + 4));
    if (chance(m, 50)) {
        keep(m, tn_b_div(b, e, total), 1, 0, error);
        keep(m, top, x.size, x.unit, x.error);
    } else { /* log softmax */
        tn_value y = tn_b_sub(b, tn_b_sub(b, x.v, top), tn_b_log(b, total));
        keep(m, y, 2 * x.size + 10, 0, error * 2);
    }
    if (chance(m, 30)) keep(m, total, n, 0, n * error);
}

static inline void make_norm(random_maker *m) {
    random_value x = any_float(m);
    tn_shape s = shape_of(m, x.v);
    int axes[TN_MAX_RANK], count = random_axes(m, s.rank, axes);
    double n = axes_size(m, &s, axes, count), unit = rounding(dtype_of(m, x.v));
    tn_builder *b = &m->b;
    if (!count || n < 1 || x.size > 30) return;
    tn_value d = tn_b_sub(b, x.v, tn_b_mean(b, x.v, axes, count, true));
    tn_value v = tn_b_mean(b, tn_b_mul(b, d, d), axes, count, true);
    tn_value y = tn_b_mul(b, d, tn_b_rsqrt(b, tn_b_add_scalar(b, v, 1)));
    double error = 16 * (x.error + unit * (n + 8)) * (1 + x.size) * (1 + x.size);
    random_value scale = partner(m, dtype_of(m, x.v), &s);
    keep(m, y, 2 * x.size, 0, error);
    if (tn_b_ok(b) && chance(m, 50) && scale.size <= 8)
        keep(m, tn_b_mul(b, y, scale.v), 2 * x.size * scale.size, 0,
             error * scale.size + 2 * x.size * scale.error);
}

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

static inline void make_dot(random_maker *m) {
    static const tn_dtype types[] = {TN_f32, TN_f32, TN_f32, TN_f32,
                                     TN_f32, TN_f16, TN_f64, TN_i32};
    tn_dtype dtype = types[pick(m, TN_COUNT(types))];
    int nb = (int)pick(m, 3) * (int)pick(m, 2), nk = chance(m, 80) ? 1 : (int)pick(m, 3);
    int nm = chance(m, 70) ? 1 : (int)pick(m, 3), nn = chance(m, 70) ? 1 : (int)pick(m, 3);
    tn_dim b[2], k[2], r[2], c[2];
    tn_shape x = {0}, y = {0};
    for (int i = 0; i < nb; i++) x.dim[x.rank++] = y.dim[y.rank++] = b[i] = random_dim(m);
    for (int i = 0; i < nk; i++) x.dim[x.rank++] = y.dim[y.rank++] = k[i] = random_dim(m);
    for (int i = 0; i < nm; i++) x.dim[x.rank++] = r[i] = random_dim(m);
    for (int i = 0; i < nn; i++) y.dim[y.rank++] = c[i] = random_dim(m);
    double terms = 1, points = 1;
    for (int i = 0; i < nk; i++) terms *= (double)dim_value(m, k[i]);
    for (int i = 0; i < nb; i++) points *= (double)dim_value(m, b[i]);
    for (int i = 0; i < nm; i++) points *= (double)dim_value(m, r[i]);
    for (int i = 0; i < nn; i++) points *= (double)dim_value(m, c[i]);
    if (points > 2 * (double)m->most || points * terms > 2 * (double)m->most + RANDOM_PRODUCTS)
        return;
    int at_x[TN_MAX_RANK], at_y[TN_MAX_RANK];
    random_value p = operand(m, dtype, &x, at_x), q = operand(m, dtype, &y, at_y);
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
    if (shape_size(m, &xs) * dim_value(m, columns) > RANDOM_PRODUCTS) return;
    int at[TN_MAX_RANK];
    random_value x = operand(m, TN_f32, &xs, at), w = fresh(m, TN_f32, &ws);
    tn_shape px = shape_of(m, x.v);
    if (!tn_shape_equal(&px, &xs)) x = fresh(m, TN_f32, &xs);
    tn_array sizes = tn_array_new(m->g->arena, TN_i64, 1, &groups);
    for (int64_t i = 0; i < groups; i++)
        tn_array_set(&sizes, i, tn_cell_of_int(TN_i64, pick(m, 9)));
    tn_attrs_ragged_dot a = {TN_f32, 0};
    tn_value in[] = {x.v, w.v, tn_b_constant(&m->b, &sizes)};
    keep_sum(m, tn_b_node(&m->b, TN_OP_ragged_dot, in, 3, &a), &x, &w, (double)dim_value(m, depth));
}

static inline void make_conv(random_maker *m) {
    int spatial = 1 + (int)pick(m, 2), batch = (int)pick(m, 2);
    tn_attrs_conv a = {.batch = batch, .acc = TN_f32};
    tn_shape x = {0}, w = {0};
    if (batch) /* groups */
        x.dim[x.rank++] = w.dim[w.rank++] = chance(m, 50) ? 8 + pick(m, 9) : 1 + pick(m, 4);
    x.dim[x.rank++] = m->symbols && chance(m, 40) ? random_dim(m) : 1 + pick(m, 3);
    a.stride.count = a.window_dilation.count = a.base_dilation.count = spatial;
    a.pad_lo.count = a.pad_hi.count = spatial;
    double terms = 1;
    for (int i = 0; i < spatial; i++) {
        int64_t window = 1 + pick(m, 4);
        x.dim[x.rank++] = m->symbols && chance(m, 25) ? random_dim(m) : 3 + pick(m, 10);
        w.dim[w.rank++] = window;
        terms *= (double)window;
        a.stride.at[i] = chance(m, 60) ? 1 : 1 + pick(m, 3);
        a.window_dilation.at[i] = chance(m, 75) ? 1 : 1 + pick(m, 3);
        a.base_dilation.at[i] = chance(m, 80) ? 1 : 1 + pick(m, 3);
        a.pad_lo.at[i] = (int64_t)pick(m, 4) - 1;
        a.pad_hi.at[i] = (int64_t)pick(m, 4) - 1;
        if (chance(m, 40)) a.pad_lo.at[i] = a.pad_hi.at[i] = window / 2;
    }
    int64_t c = chance(m, 40) ? 1 : 1 + pick(m, 6), o = chance(m, 30) ? 1 : 1 + pick(m, 20);
    x.dim[x.rank++] = w.dim[w.rank++] = c;
    w.dim[w.rank++] = o;
    terms *= (double)c;
    if ((double)(shape_size(m, &x) * o) * terms > RANDOM_PRODUCTS) return;
    int at[TN_MAX_RANK];
    random_value p = operand(m, TN_f32, &x, at), q = operand(m, TN_f32, &w, at);
    if (tn_graph_type(m->g, p.v)->shape.rank != x.rank) return;
    tn_shape px = shape_of(m, p.v), qw = shape_of(m, q.v);
    if (!tn_shape_equal(&px, &x)) p = fresh(m, TN_f32, &x);
    if (!tn_shape_equal(&qw, &w)) q = fresh(m, TN_f32, &w);
    tn_value in[] = {p.v, q.v};
    keep_sum(m, tn_b_node(&m->b, TN_OP_conv, in, 2, &a), &p, &q, terms);
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

/* ---- control -------------------------------------------------------------------------------- */

static inline void make_step(random_maker *m);

/* A maker for a sub-graph of m's graph. */
static inline random_maker *sub_maker(random_maker *m) {
    random_maker *s = TN_NEW(m->g->arena, random_maker);
    s->g = tn_graph_new_sub(m->g);
    s->b = tn_builder_of(s->g, &s->err);
    s->seed = test_random(&m->seed);
    s->symbols = m->symbols;
    memcpy(s->largest, m->largest, sizeof s->largest);
    s->depth = m->depth + 1;
    s->most = m->most;
    return s;
}

static inline random_value sub_input(random_maker *s, const tn_type *type, double size, int unit,
                                     double error) {
    random_value x = {tn_b_input(&s->b, NULL, type->dtype, &type->shape), size, error, unit};
    s->value[s->count++] = x;
    return x;
}

/* One float between -1 and 1 that depends on what was made last; `error` is its error. */
static inline tn_value sub_summary(random_maker *s, tn_dtype dtype, double *error) {
    for (int i = s->count; i-- > 0;) {
        const random_value *x = &s->value[i];
        tn_shape shape = shape_of(s, x->v);
        if (dtype_of(s, x->v) != dtype || shape_size(s, &shape) == 0) continue;
        int axes[TN_MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
        tn_value top = tn_b_reduce(&s->b, TN_REDUCE_max, x->v, axes, shape.rank, false);
        *error = x->error + rounding(dtype) * (1 + x->size);
        return tn_b_tanh(&s->b, top);
    }
    *error = 0;
    return tn_b_scalar(&s->b, dtype, 0.25);
}

static inline void sub_output(random_maker *s, tn_value v) {
    if (tn_b_ok(&s->b)) tn_graph_add_output(s->g, v, NULL);
}

/* y = x/2 + (something in [-1, 1]); or x itself, or a constant. */
static inline tn_value sub_result(random_maker *s, random_value x, double *error) {
    tn_type type = *tn_graph_type(s->g, x.v);
    *error = x.error;
    if (chance(s, 15)) return x.v;
    if (chance(s, 10)) {
        *error = 0;
        return tn_b_full(&s->b, type.dtype, &type.shape, 1);
    }
    double own;
    if (!tn_dtype_is_float(type.dtype))
        return type.dtype == TN_bool ? tn_b_not(&s->b, x.v) : tn_b_add(&s->b, x.v, x.v);
    tn_value r = sub_summary(s, type.dtype, &own);
    *error = 0.5 * x.error + own + rounding(type.dtype) * (x.size + 2);
    return tn_b_add(&s->b, tn_b_mul_scalar(&s->b, x.v, 0.5), r);
}

static inline void make_if(random_maker *m) {
    tn_shape scalar = {0};
    random_value x[3], flag = fresh(m, TN_bool, &scalar);
    int n = 1 + (int)pick(m, 2);
    for (int i = 0; i < n; i++) x[i] = any(m);
    if (chance(m, 50) && is_exact(&x[0]) && shape_of(m, x[0].v).rank == 0 &&
        dtype_of(m, x[0].v) != TN_bool)
        flag.v = tn_b_lt(&m->b, x[0].v, tn_b_scalar(&m->b, dtype_of(m, x[0].v), 1));
    tn_attrs_if a = {0};
    double error[4] = {0};
    for (int branch = 0; branch < 2; branch++) {
        random_maker *s = sub_maker(m);
        random_value in[3];
        for (int i = 0; i < n; i++)
            in[i] = sub_input(s, tn_graph_type(m->g, x[i].v), x[i].size, x[i].unit, x[i].error);
        for (int steps = (int)pick(m, 5); steps > 0; steps--) make_step(s);
        for (int i = 0; i < n; i++) {
            double e;
            sub_output(s, sub_result(s, in[i], &e));
            error[i] = fmax(error[i], e);
        }
        if (!tn_b_ok(&s->b)) return;
        *(branch ? &a.else_graph : &a.then_graph) = s->g;
    }
    tn_value in[] = {flag.v, x[0].v, x[1].v};
    tn_value v = tn_b_node(&m->b, TN_OP_if, in, (uint32_t)n + 1, &a);
    bool ok = tn_b_ok(&m->b);
    for (int i = 0; i < (ok ? n : 1); i++)
        keep(m, v + (tn_value)i, x[i].size + 2, x[i].unit - 60, fmax(error[i], 1e-9));
}

/* The errors of loop-carried values: steps of at most `error[i] / seed[i]` times the one before. */
static inline double carried(double seed, double after, double steps) {
    double growth = fmax(1, after / seed);
    return seed * pow(growth, steps);
}

static inline void make_loop(random_maker *m) {
    bool scan = chance(m, 60);
    random_value x[2], xs = any(m), inv = any(m);
    int n = 1 + (int)pick(m, 2);
    for (int i = 0; i < n; i++) x[i] = any_float(m);
    bool swap = n == 2 && dtype_of(m, x[0].v) == dtype_of(m, x[1].v) && chance(m, 60);
    tn_shape s0 = shape_of(m, x[0].v), s1 = n == 2 ? shape_of(m, x[1].v) : s0;
    swap &= tn_shape_equal(&s0, &s1);
    tn_type slice = *tn_graph_type(m->g, xs.v);
    if (scan && slice.shape.rank == 0) return;
    tn_dim length = scan ? slice.shape.dim[0] : 3;
    if (dim_value(m, length) > 8) return;
    if (scan)
        memmove(slice.shape.dim, slice.shape.dim + 1,
                sizeof *slice.shape.dim * (size_t)--slice.shape.rank);
    tn_type counter = {TN_i32, {0}};
    random_maker *s = sub_maker(m);
    random_value count = {0}, in[2];
    if (!scan) count = sub_input(s, &counter, 4, 0, 0);
    double seed[2];
    for (int i = 0; i < n; i++) {
        tn_dtype dtype = dtype_of(m, x[i].v);
        seed[i] = fmax(x[i].error, 4 * rounding(dtype) * (x[i].size + 2));
        in[i] = sub_input(s, tn_graph_type(m->g, x[i].v), fmax(x[i].size, 2) + 2, 0, seed[i]);
    }
    if (scan) sub_input(s, &slice, xs.size, xs.unit, xs.error);
    sub_input(s, tn_graph_type(m->g, inv.v), inv.size, inv.unit, inv.error);
    for (int steps = (int)pick(m, 6); steps > 0; steps--) make_step(s);
    double after[2] = {0};
    tn_value result[2];
    for (int i = 0; i < n; i++) result[i] = sub_result(s, in[i], &after[i]);
    if (!scan) sub_output(s, tn_b_add(&s->b, count.v, tn_b_scalar_int(&s->b, TN_i32, 1)));
    for (int i = 0; i < n; i++) sub_output(s, result[swap ? 1 - i : i]);
    if (swap) {
        after[0] = after[1] = fmax(after[0], after[1]);
        seed[0] = seed[1] = fmin(seed[0], seed[1]);
    }
    double steps = (double)dim_value(m, length);
    random_value y[2];
    int ys = 0;
    for (; scan && ys < 2 && chance(m, 70); ys++) {
        y[ys] = any(s);
        sub_output(s, y[ys].v);
    }
    if (!tn_b_ok(&s->b)) return;
    tn_value v;
    uint32_t first = 0;
    if (scan) {
        tn_attrs_scan a = {n, 1, length, chance(m, 40), s->g, 0};
        tn_value operands[] = {x[0].v, n == 2 ? x[1].v : xs.v, n == 2 ? xs.v : inv.v, inv.v};
        v = tn_b_node(&m->b, TN_OP_scan, operands, (uint32_t)n + 2, &a);
    } else {
        random_maker *c = sub_maker(m);
        random_value at = sub_input(c, &counter, 4, 0, 0);
        for (int i = 0; i < n; i++) sub_input(c, tn_graph_type(m->g, x[i].v), 4, 0, 1);
        sub_input(c, tn_graph_type(m->g, inv.v), inv.size, inv.unit, inv.error);
        sub_output(c, tn_b_lt(&c->b, at.v, tn_b_scalar_int(&c->b, TN_i32, (int64_t)pick(m, 4))));
        tn_attrs_while a = {n + 1, c->g, s->g, 0};
        tn_value zero = tn_b_scalar_int(&m->b, TN_i32, 0);
        tn_value operands[] = {zero, x[0].v, n == 2 ? x[1].v : inv.v, inv.v};
        v = tn_b_node(&m->b, TN_OP_while, operands, (uint32_t)n + 2, &a);
        first = 1;
    }
    bool ok = tn_b_ok(&m->b);
    if (!ok) {
        keep(m, v, 0, 0, 0);
        return;
    }
    double worst = 1;
    for (int i = 0; i < n; i++) {
        double e = carried(seed[i], after[i], steps);
        worst = fmax(worst, e / seed[i]);
        keep(m, v + first + (tn_value)i, fmax(x[i].size, 2) + 2, 0, e);
    }
    for (int i = 0; i < ys; i++)
        keep(m, v + (tn_value)(n + i), y[i].size, y[i].unit, y[i].error * worst * worst);
}

static inline void make_call(random_maker *m) {
    random_value x = any(m);
    random_maker *s = sub_maker(m);
    random_value in = sub_input(s, tn_graph_type(m->g, x.v), x.size, x.unit, x.error);
    for (int steps = (int)pick(m, 4); steps > 0; steps--) make_step(s);
    double e;
    tn_value y = sub_result(s, in, &e);
    sub_output(s, y);
    tn_attrs_call a = {.body = s->g};
    if (!tn_b_ok(&s->b)) return;
    keep(m, tn_b_node(&m->b, TN_OP_call, &x.v, 1, &a), x.size + 2, x.unit - 60, fmax(e, 1e-9));
}

static inline void make_control(random_maker *m) {
    if (m->depth > 1) return;
    switch (pick(m, 5)) {
    case 0:
    case 1:
        make_if(m);
        break;
    case 2:
        make_call(m);
        break;
    default:
        make_loop(m);
        break;
    }
}

/* ---- the graph ------------------------------------------------------------------------------ */

static inline void make_step(random_maker *m) {
    static const struct {
        void (*make)(random_maker *m);
        int weight, focused;
    } kinds[] = {{make_unary, 14, 14}, {make_binary, 18, 22},  {make_select, 3, 4},
                 {make_cast, 5, 2},    {make_bits, 1, 0},      {make_reshape, 6, 5},
                 {make_permute, 6, 4}, {make_broadcast, 4, 4}, {make_slice, 6, 2},
                 {make_pad, 5, 2},     {make_concat, 5, 1},    {make_source, 3, 0},
                 {make_barrier, 1, 1}, {make_reduce, 12, 16},  {make_cumulative, 2, 0},
                 {make_softmax, 4, 8}, {make_norm, 3, 6},      {make_dot, 9, 12},
                 {make_ragged, 1, 0},  {make_conv, 5, 5},      {make_window, 4, 3},
                 {make_gather, 4, 1},  {make_order, 3, 0},     {make_dynamic, 2, 0},
                 {make_control, 3, 0}};
    int total = 0;
    for (size_t i = 0; i < TN_COUNT(kinds); i++)
        total += m->focus ? kinds[i].focused : kinds[i].weight;
    int at = (int)pick(m, (uint32_t)total);
    size_t i = 0;
    while ((at -= m->focus ? kinds[i].focused : kinds[i].weight) >= 0) i++;
    if (m->count == 0) make_source(m);
    kinds[i].make(m);
    if (!tn_b_ok(&m->b)) m->b = tn_builder_of(m->g, &m->err);
}

static inline void random_output(random_maker *m, tn_value v) {
    tn_graph_add_output(m->g, v, tn_arena_printf(m->g->arena, "y%u", m->g->outputs.len));
}

/* A graph with `bound` per value, and how many symbols it has (then of sizes up to `largest`). */
static inline random_maker *random_graph(tn_arena *arena, uint64_t seed) {
    random_maker *m = TN_NEW(arena, random_maker);
    m->seed = seed; /* far from its neighbours' */
    m->seed = test_random(&m->seed);
    tn_dims *dims = TN_NEW(arena, tn_dims);
    tn_dims_init(dims, arena);
    m->g = tn_graph_new(arena, dims);
    m->b = tn_builder_of(m->g, &m->err);
    m->symbols = chance(m, 30);
    m->focus = chance(m, 45);
    m->most = chance(m, 3) ? RANDOM_LARGE : RANDOM_ELEMENTS;
    m->focus |= m->most > RANDOM_ELEMENTS;
    m->largest[0] = 9;
    m->largest[1] = 21;
    for (int i = 0; m->symbols && i < RANDOM_SYMBOLS; i++)
        tn_dims_set_bounds(dims, tn_dims_symbol(dims, i ? "S" : "N"), 2, 64, 1);
    m->bound = TN_NEW_N(arena, double, 4096);
    for (int sources = 1 + (int)pick(m, 3); sources > 0; sources--) {
        tn_shape s = random_shape(m);
        fresh(m, chance(m, 75) ? TN_f32 : random_dtype(m), &s);
    }
    int steps = 2 + (int)pick(m, m->most > RANDOM_ELEMENTS ? 4 : chance(m, 15) ? 50 : 14);
    while (steps-- > 0) make_step(m);
    uint32_t *uses = tn_graph_use_counts(m->g, arena);
    for (int i = 0; i < m->count; i++) {
        bool unused = uses[m->value[i].v] == 0 && i >= m->count - 8;
        if (chance(m, unused ? 75 : 8)) random_output(m, m->value[i].v);
        if (chance(m, 2)) random_output(m, m->value[i].v);
    }
    if (!m->g->outputs.len) random_output(m, m->value[m->count - 1].v);
    return m;
}

#endif
