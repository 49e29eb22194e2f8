/* Random small graphs for the planner: the values they are made of. random_graph.h makes the graphs.
 *
 * A maker holds values with bounds on their size and on the difference that two right evaluations
 * of them may have; 0 means that the value is exact: a multiple of 2^unit that its type holds
 * whatever the order of the sums. Only exact values are rounded, compared, sorted or searched for
 * extremes, everything else is smooth: so a difference beyond the bound is a bug. What the builder
 * refuses is left out.
 *
 * Wild graphs have any operation on any value, of all types; their values count as exact here, and what
 * a result may differ by is found by evaluating (rounding_slack.h). */
#ifndef TENON_TESTS_RANDOM_MAKER_H
#define TENON_TESTS_RANDOM_MAKER_H

#include <math.h>

#include "unit/plan/check_plan.h"

enum {
    RANDOM_VALUES = 96,
    RANDOM_ELEMENTS = 1500, /* of a value; large graphs have fewer and larger ones */
    RANDOM_WILD = 150,      /* of most wild graphs: so many are checked that each is small */
    RANDOM_LARGE = 200000,
    RANDOM_PRODUCTS = 60000, /* of a contraction */
    RANDOM_RANK = 6,
    RANDOM_SYMBOLS = 2,
    RANDOM_XS = 3 /* with a gradient */
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
    bool apart;                      /* how often a loop runs may be data */
    bool precise;                    /* floats are f64 */
    bool wild;
    bool edge; /* inputs and constants hold the ends of their types (fill_edge); only wild graphs */
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

/* Products that a contraction may need. */
static inline int64_t most_products(const random_maker *m) {
    return m->most == RANDOM_WILD ? RANDOM_PRODUCTS / 12 : RANDOM_PRODUCTS;
}

static inline tn_dim random_dim(random_maker *m) {
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 20, 33, 40, 70};
    static const int64_t large[] = {2, 7, 16, 40, 64, 100, 230, 1000, 5000, 40000, 150000};
    if (m->symbols && chance(m, 30)) return tn_dim_of_symbol(m->g->dims, chance(m, 50) ? "N" : "S");
    if (m->most > RANDOM_ELEMENTS && chance(m, 60)) return large[pick(m, TN_COUNT(large))];
    if (chance(m, m->wild ? 4 : 2)) return 0;
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

static inline double rounding(tn_dtype dtype) {
    return last_place(dtype);
}

/* Keeps a value if the builder made it and it is worth having. `error` < 0: exact if it fits. */
static inline void keep(random_maker *m, tn_value v, double size, int unit, double error) {
    if (!tn_b_ok(&m->b) || v == TN_NO_VALUE) { /* refused: forget it */
        m->b = tn_builder_of(m->g, &m->err);
        return;
    }
    tn_shape s = shape_of(m, v);
    tn_dtype dtype = dtype_of(m, v);
    if (m->wild) {
        size = 1;
        error = unit = 0;
    } else if (!tn_dtype_is_float(dtype)) {
        error = 0;
        unit = 0;
        size = fmin(size, ldexp(1, tn_dtype_bits(dtype)));
    } else {
        bool exact = error <= 0 && size <= ldexp(1, significant_bits(dtype) + unit) && size < 60000;
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
    tn_dtype dtype = types[pick(m, TN_COUNT(types))];
    if (m->wild && chance(m, 25)) dtype = (tn_dtype)pick(m, TN_DTYPE_COUNT);
    return m->precise && tn_dtype_is_float(dtype) ? TN_f64 : dtype;
}

/* An input or a constant of this type. */
static inline random_value fresh(random_maker *m, tn_dtype dtype, const tn_shape *shape) {
    tn_value v;
    if (m->precise && dtype == TN_f32) dtype = TN_f64;
    if (m->depth || m->inputs > 12 || (chance(m, 45) && tn_shape_is_const(shape))) {
        if (tn_shape_is_const(shape)) {
            tn_array a = tn_array_new(m->g->arena, dtype, shape->rank, shape->dim);
            if (m->edge)
                fill_edge(&a, test_random(&m->seed));
            else
                fill_small(&a, test_random(&m->seed));
            v = tn_b_constant(&m->b, &a);
        } else {
            v = tn_b_full(&m->b, dtype, shape, 1);
        }
    } else {
        m->inputs++;
        const char *kind = m->edge ? FILL_EDGE : "";
        v = tn_b_input(&m->b, tn_arena_printf(m->g->arena, "x%d%s", m->inputs, kind), dtype, shape);
    }
    bool is_float = tn_dtype_is_float(dtype);
    random_value x = {v, m->wild ? 1 : is_float ? 2 : 8, 0, is_float ? -2 : 0};
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

#endif
