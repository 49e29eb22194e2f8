/* Random small graphs for the planner, control flow included. See random_maker.h. */
#ifndef TENON_TESTS_RANDOM_GRAPH_H
#define TENON_TESTS_RANDOM_GRAPH_H

#include "ops/gradient.h"
#include "unit/plan/random_attention.h"
#include "unit/plan/random_elements.h"
#include "unit/plan/random_siblings.h"
#include "unit/plan/random_table.h"

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
    s->apart = m->apart;
    s->precise = m->precise;
    s->wild = m->wild;
    s->edge = m->edge;
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

/* How often a loop of at most 3 steps runs, tested inside it: a constant, or data. */
static inline tn_value loop_limit(random_maker *c, tn_value at, int64_t most,
                                  const random_value *inv) {
    tn_type type = *tn_graph_type(c->g, inv->v);
    tn_value few = tn_b_lt(&c->b, at, tn_b_scalar_int(&c->b, TN_i32, most));
    if (!c->apart || type.shape.rank > 0 || !is_exact(inv) || type.dtype == TN_bool) return few;
    return tn_b_and(&c->b, tn_b_lt(&c->b, tn_b_cast(&c->b, at, type.dtype), inv->v), few);
}

static inline void make_loop(random_maker *m) {
    bool scan = chance(m, 60);
    tn_shape scalar = {0};
    random_value x[2], xs = any(m), inv = any(m);
    if (!scan && m->apart && chance(m, 70))
        inv = fresh(m, chance(m, 50) ? TN_i32 : TN_f32, &scalar);
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
        random_value last = sub_input(c, tn_graph_type(m->g, inv.v), inv.size, inv.unit, inv.error);
        sub_output(c, loop_limit(c, at.v, (int64_t)pick(m, 4), &last));
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

typedef struct random_kind {
    void (*make)(random_maker *m);
    int weight, focused, wild;
} random_kind;

static inline const random_kind *random_kind_of(random_maker *m) {
    static const random_kind kinds[] = {{make_unary, 14, 14, 6},
                                        {make_binary, 18, 22, 8},
                                        {make_select, 3, 4, 3},
                                        {make_cast, 5, 2, 2},
                                        {make_bits, 1, 0, 1},
                                        {make_reshape, 6, 5, 5},
                                        {make_permute, 6, 4, 5},
                                        {make_broadcast, 4, 4, 4},
                                        {make_slice, 6, 2, 6},
                                        {make_pad, 5, 2, 5},
                                        {make_concat, 5, 1, 5},
                                        {make_source, 3, 0, 2},
                                        {make_barrier, 1, 1, 1},
                                        {make_reduce, 12, 16, 5},
                                        {make_cumulative, 2, 0, 1},
                                        {make_softmax, 4, 8, 3},
                                        {make_norm, 3, 6, 2},
                                        {make_attention, 2, 4, 2},
                                        {make_dot, 9, 12, 4},
                                        {make_siblings, 4, 8, 2},
                                        {make_ragged, 1, 0, 1},
                                        {make_conv, 5, 5, 4},
                                        {make_window, 4, 3, 1},
                                        {make_gather, 4, 1, 4},
                                        {make_order, 3, 0, 1},
                                        {make_dynamic, 2, 0, 3},
                                        {make_control, 3, 0, 4},
                                        {make_planes, 2, 3, 1},
                                        {make_table_unary, 0, 0, 14},
                                        {make_table_binary, 0, 0, 18},
                                        {make_table_cast, 0, 0, 7},
                                        {make_table_bitcast, 0, 0, 2},
                                        {make_table_reduce, 0, 0, 7},
                                        {make_table_dot, 0, 0, 4},
                                        {make_table_scatter, 0, 0, 2},
                                        {make_table_window, 0, 0, 3},
                                        {make_table_order, 0, 0, 4},
                                        {make_table_sources, 0, 0, 3},
                                        {make_table_cumulative, 0, 0, 3}};
    int weights[TN_COUNT(kinds)], total = 0;
    for (size_t i = 0; i < TN_COUNT(kinds); i++) {
        const random_kind *k = &kinds[i];
        weights[i] = m->wild    ? k->wild + (m->focus ? k->focused : 0)
                     : m->focus ? k->focused
                                : k->weight;
        total += weights[i];
    }
    int at = (int)pick(m, (uint32_t)total);
    size_t i = 0;
    while ((at -= weights[i]) >= 0) i++;
    return &kinds[i];
}

static inline void make_step(random_maker *m) {
    const random_kind *kind = random_kind_of(m);
    if (m->count == 0) make_source(m);
    kind->make(m);
    if (!tn_b_ok(&m->b)) m->b = tn_builder_of(m->g, &m->err);
}

static inline void random_output(random_maker *m, tn_value v) {
    tn_graph_add_output(m->g, v, tn_arena_printf(m->g->arena, "y%u", m->g->outputs.len));
}

/* Some outputs take over the memory of inputs of their type and size. */
static inline void random_in_place(random_maker *m) {
    tn_graph *g = m->g;
    uint8_t *taken = TN_NEW_N(g->arena, uint8_t, g->inputs.len);
    for (uint32_t o = 0; o < g->outputs.len; o++)
        for (uint32_t i = 0; i < g->inputs.len && !g->outputs.data[o].in_place; i++) {
            const tn_type *x = tn_graph_type(g, g->inputs.data[i]);
            const tn_type *y = tn_graph_type(g, g->outputs.data[o].value);
            if (taken[i] || x->dtype != y->dtype || chance(m, 40) ||
                tn_shape_count(g->dims, &x->shape) != tn_shape_count(g->dims, &y->shape))
                continue;
            g->outputs.data[o].in_place = i + 1;
            taken[i] = true;
        }
}

/* Of one float result with respect to some of the float inputs, as further outputs. What has no gradient
 * leaves the graph as it was. */
static inline void random_gradient(random_maker *m) {
    tn_graph *g = m->g;
    tn_value y = any_float(m).v, xs[RANDOM_XS], grads[RANDOM_XS];
    int count = 0;
    for (uint32_t i = 0; i < g->inputs.len && count < RANDOM_XS; i++)
        if (tn_dtype_is_float(tn_graph_type(g, g->inputs.data[i])->dtype) && chance(m, 60))
            xs[count++] = g->inputs.data[i];
    if (!count) return;
    tn_b_gradient(&m->b, y, TN_NO_VALUE, xs, count, grads);
    for (int i = 0; tn_b_ok(&m->b) && i < count; i++) random_output(m, grads[i]);
    if (!tn_b_ok(&m->b)) m->b = tn_builder_of(g, &m->err);
}

/* Fills a graph with `bound` per value; it may have symbols (then of sizes up to `largest`). */
static inline void random_fill(random_maker *m, tn_arena *arena, uint64_t seed) {
    m->seed = seed; /* far from its neighbours' */
    m->seed = test_random(&m->seed);
    tn_dims *dims = TN_NEW(arena, tn_dims);
    tn_dims_init(dims, arena);
    m->g = tn_graph_new(arena, dims);
    m->b = tn_builder_of(m->g, &m->err);
    m->symbols = chance(m, 30);
    m->focus = chance(m, 45);
    m->most = chance(m, 3) ? RANDOM_LARGE : RANDOM_ELEMENTS;
    if (m->wild) m->most = chance(m, 80) ? RANDOM_WILD : RANDOM_ELEMENTS;
    m->focus |= m->most > RANDOM_ELEMENTS;
    m->largest[0] = 9;
    m->largest[1] = 21;
    for (int i = 0; m->symbols && i < RANDOM_SYMBOLS; i++)
        tn_dims_set_bounds(dims, tn_dims_symbol(dims, i ? "S" : "N"), m->wild ? 1 : 2, 64, 1);
    m->bound = m->wild ? NULL : TN_NEW_N(arena, double, 4096);
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
    if (chance(m, 60)) random_in_place(m);
    if (m->wild && chance(m, 25)) random_gradient(m);
}

/* The other half of them has the ends of types in its inputs. */
static inline random_maker *random_wild_graph(tn_arena *arena, uint64_t seed) {
    random_maker *m = TN_NEW(arena, random_maker);
    m->wild = true;
    m->edge = seed % 2;
    m->apart = seed / 2 % 2;
    random_fill(m, arena, seed);
    return m;
}

static inline random_maker *random_graph(tn_arena *arena, uint64_t seed) {
    random_maker *m = TN_NEW(arena, random_maker);
    random_fill(m, arena, seed);
    return m;
}

#endif
