/* How far each element of a result may be from the reference: what a graph makes of roundings.
 *
 * The reference is evaluated a few times more, with the results of operations moved by about what another
 * right evaluation may differ by: functions by some units in the last place (docs/math.md), sums by
 * 16 units of the sum of the terms' magnitudes, whatever their order. Runs come in pairs that move everything
 * in opposite directions; the last pair snaps to a grid instead, so that what is equal but for roundings is
 * equal in one of the two. An element may differ by twice the largest difference of these runs. Where
 * they differ in what is no matter of degree (an integer, NaN, an infinity) it is not compared. All that
 * is exact (arithmetic, moves, comparisons, integers) does not move, so what is made of that alone
 * must be equal.
 *
 * Undefined is what depends on the order of a sum: one that overflows on the way, the sign of one that is
 * zero, all in types of fewer than 8 digits, and those of 8 digits that may be off by 1/4 and more, as functions
 * with poles may be anything there; the sign of a zero that is the largest or the smallest beside one of the other
 * sign; 0 · ∞ or 0 · NaN in a product, which attention leaves out; products of numbers so large that their sum
 * overflows where it is scaled later; what lies beside infinities and NaN in convolutions, for minimal filtering; and
 * the bits of NaN. */
#ifndef TENON_TESTS_ROUNDING_SLACK_H
#define TENON_TESTS_ROUNDING_SLACK_H

#include <float.h>
#include <math.h>

#include "ops/eval.h"
#include "unit/test.h"

enum {
    SLACK_CHOICES = 8, /* of what is undefined */
    SLACK_SNAPPING = 8,
    SLACK_RUNS = SLACK_SNAPPING + 2,
    SLACK_TRIPS = 1000
};

typedef struct slack_run {
    const int64_t *bindings;
    tn_arena *arena;
    uint64_t seed;
    int number; /* odd ones move as the one before, in the opposite direction */
} slack_run;

static inline int significant_bits(tn_dtype dtype) {
    static const struct {
        tn_dtype dtype;
        int bits;
    } table[] = {{TN_f64, 53},     {TN_f32, 24},   {TN_f16, 11},       {TN_bf16, 8},
                 {TN_f8e4m3fn, 4}, {TN_f8e5m2, 3}, {TN_f8e4m3fnuz, 4}, {TN_f8e5m2fnuz, 3},
                 {TN_f8e8m0, 1},   {TN_f4e2m1, 2}};
    for (size_t i = 0; i < TN_COUNT(table); i++)
        if (table[i].dtype == dtype) return table[i].bits;
    return 0;
}

static inline double last_place(tn_dtype dtype) {
    return ldexp(1, 1 - significant_bits(dtype));
}

/* Less than the type's greatest number by a factor of 8 to 16, and its least normal number times 8. */
static inline double much(tn_dtype dtype) {
    if (dtype == TN_f64) return DBL_MAX / 8;
    if (dtype == TN_f32 || dtype == TN_bf16 || dtype == TN_f8e8m0) return FLT_MAX / 8;
    if (dtype == TN_f4e2m1) return 0.75;
    return dtype == TN_f16 || dtype == TN_f8e5m2 || dtype == TN_f8e5m2fnuz ? 6000 : 28;
}

static inline double little(tn_dtype dtype) {
    return dtype == TN_f64 ? DBL_MIN * 8 : much(dtype) > 1e30 ? FLT_MIN * 8 : 0x1p-5;
}

/* The least number above 0. */
static inline double least(tn_dtype dtype) {
    static const struct {
        tn_dtype dtype;
        int exponent;
    } table[] = {{TN_f64, -1074},      {TN_f32, -149},       {TN_f16, -24},
                 {TN_bf16, -133},      {TN_f8e4m3fn, -9},    {TN_f8e5m2, -16},
                 {TN_f8e4m3fnuz, -10}, {TN_f8e5m2fnuz, -17}, {TN_f4e2m1, -1}};
    for (size_t i = 0; i < TN_COUNT(table); i++)
        if (table[i].dtype == dtype) return ldexp(1, table[i].exponent);
    return 0;
}

/* ---- how much a result moves ---------------------------------------------------------------- */

typedef enum slack_kind {
    SLACK_EXACT,
    SLACK_EXTREME,
    SLACK_FUNCTION,
    SLACK_SUM,
    SLACK_PRODUCT
} slack_kind;

static inline slack_kind slack_of_reduction(tn_reduce_kind kind) {
    switch (kind) {
    case TN_REDUCE_sum:
        return SLACK_SUM;
    case TN_REDUCE_prod:
        return SLACK_PRODUCT;
    case TN_REDUCE_max:
    case TN_REDUCE_min:
        return SLACK_EXTREME;
    default:
        return SLACK_EXACT;
    }
}

/* Not correctly rounded. */
static inline bool slack_is_function(tn_op op) {
    static const tn_op functions[] = {
        TN_OP_exp,   TN_OP_expm1, TN_OP_log,  TN_OP_log1p, TN_OP_rsqrt, TN_OP_sin,  TN_OP_cos,
        TN_OP_tan,   TN_OP_asin,  TN_OP_acos, TN_OP_atan,  TN_OP_sinh,  TN_OP_cosh, TN_OP_asinh,
        TN_OP_acosh, TN_OP_atanh, TN_OP_tanh, TN_OP_erf,   TN_OP_pow,   TN_OP_atan2};
    for (size_t i = 0; i < TN_COUNT(functions); i++)
        if (functions[i] == op) return true;
    return false;
}

static inline slack_kind slack_kind_of(const tn_node_info *n) {
    switch (n->op) {
    case TN_OP_reduce:
        return slack_of_reduction(((const tn_attrs_reduce *)n->attrs)->kind);
    case TN_OP_cumulative:
        return slack_of_reduction(((const tn_attrs_cumulative *)n->attrs)->kind);
    case TN_OP_window_reduce:
        return slack_of_reduction(((const tn_attrs_window_reduce *)n->attrs)->kind);
    case TN_OP_scatter: {
        tn_combine combine = ((const tn_attrs_scatter *)n->attrs)->combine;
        return combine == TN_COMBINE_add                                ? SLACK_SUM
               : combine == TN_COMBINE_mul                              ? SLACK_PRODUCT
               : combine == TN_COMBINE_max || combine == TN_COMBINE_min ? SLACK_EXTREME
                                                                        : SLACK_EXACT;
    }
    case TN_OP_max:
    case TN_OP_min:
        return SLACK_EXTREME;
    case TN_OP_dot:
    case TN_OP_ragged_dot:
    case TN_OP_conv:
        return SLACK_SUM;
    default:
        return slack_is_function(n->op) ? SLACK_FUNCTION : SLACK_EXACT;
    }
}

/* Of those that give an extreme. */
static inline bool slack_takes_largest(const tn_node_info *n) {
    switch (n->op) {
    case TN_OP_reduce:
        return ((const tn_attrs_reduce *)n->attrs)->kind == TN_REDUCE_max;
    case TN_OP_cumulative:
        return ((const tn_attrs_cumulative *)n->attrs)->kind == TN_REDUCE_max;
    case TN_OP_window_reduce:
        return ((const tn_attrs_window_reduce *)n->attrs)->kind == TN_REDUCE_max;
    case TN_OP_scatter:
        return ((const tn_attrs_scatter *)n->attrs)->combine == TN_COMBINE_max;
    default:
        return n->op == TN_OP_max;
    }
}

static inline tn_dtype slack_accumulator(const tn_node_info *n, tn_dtype result) {
    if (n->op == TN_OP_reduce) return ((const tn_attrs_reduce *)n->attrs)->acc;
    if (n->op == TN_OP_window_reduce) return ((const tn_attrs_window_reduce *)n->attrs)->acc;
    return result;
}

/* The operands with each float x as f(x), and the node's first result of them. */
static inline tn_array slack_again(slack_run *r, const tn_graph *g, tn_node node,
                                   const tn_array *in, double (*f)(double x, uint32_t operand)) {
    const tn_node_info *n = tn_graph_node(g, node);
    tn_array *other = TN_NEW_N(r->arena, tn_array, n->in_count);
    tn_array *out = TN_NEW_N(r->arena, tn_array, n->out_count);
    tn_error err = TN_ERROR_INIT;
    for (uint32_t i = 0; i < n->in_count; i++) {
        other[i] = in[i];
        if (!tn_dtype_is_float(in[i].dtype)) continue;
        other[i] = tn_array_new(r->arena, in[i].dtype, in[i].rank, in[i].dim);
        for (int64_t k = 0; k < tn_array_count(&in[i]); k++)
            tn_array_set(&other[i], k, tn_cell_of(in[i].dtype, f(tn_array_get(&in[i], k).f, i)));
    }
    if (tn_eval_node(g, node, other, out, r->bindings, r->arena, &err) != TN_OK)
        out[0] = (tn_array){.data = NULL};
    return out[0];
}

static inline double slack_magnitude(double x, uint32_t operand) {
    (void)operand;
    return isfinite(x) ? fabs(x) : 0;
}

static inline double slack_large(double x, uint32_t operand) {
    (void)operand;
    return isfinite(x) ? fmax(fabs(x), 1) : 1;
}

static inline double slack_small(double x, uint32_t operand) {
    (void)operand;
    return isfinite(x) && x != 0 ? fmin(fabs(x), 1) : 1;
}

static inline double slack_zero_left(double x, uint32_t operand) {
    return operand == 0 ? x == 0 : !isfinite(x);
}

static inline double slack_zero_right(double x, uint32_t operand) {
    return operand == 1 ? x == 0 : !isfinite(x);
}

/* 1 where the operand may overflow in a sum that is scaled behind it. */
static inline double slack_huge_left(double x, uint32_t operand) {
    return operand > 0 || (isfinite(x) && fabs(x) > 1e30);
}

static inline double slack_huge_right(double x, uint32_t operand) {
    return operand != 1 || (isfinite(x) && fabs(x) > 1e30);
}

/* Zeros of one sign moved to where they are neither the largest nor the smallest. */
static inline double slack_minus_low(double x, uint32_t operand) {
    (void)operand;
    return x == 0 && signbit(x) ? -1 : x;
}

static inline double slack_minus_high(double x, uint32_t operand) {
    (void)operand;
    return x == 0 && signbit(x) ? 1 : x;
}

static inline double slack_plus_low(double x, uint32_t operand) {
    (void)operand;
    return x == 0 && !signbit(x) ? -1 : x;
}

static inline double slack_plus_high(double x, uint32_t operand) {
    (void)operand;
    return x == 0 && !signbit(x) ? 1 : x;
}

static inline bool slack_is_finite(const tn_array *a) {
    for (int64_t i = 0; tn_dtype_is_float(a->dtype) && i < tn_array_count(a); i++)
        if (!isfinite(tn_array_get(a, i).f)) return false;
    return true;
}

/* Which of SLACK_CHOICES is an element's in this run: the same for all in the first ones, in the others
 * one of its own, as what is sorted by such has any order. */
static inline uint32_t slack_turn(const slack_run *r, int64_t element) {
    uint64_t turn = (uint64_t)r->number;
    if (r->number >= SLACK_CHOICES / 2) turn += tn_hash64(&element, sizeof element);
    return (uint32_t)(turn % SLACK_CHOICES);
}

static inline double slack_anything(const slack_run *r, int64_t element) {
    static const double anything[SLACK_CHOICES] = {NAN, INFINITY, -INFINITY, 0, 1, -1, 1e30, -1e30};
    return anything[slack_turn(r, element)];
}

static inline tn_cell slack_any_integer(slack_run *r, tn_dtype dtype, int64_t element) {
    uint32_t turn = slack_turn(r, element);
    if (turn < 2) return turn ? tn_cell_lowest(dtype) : tn_cell_highest(dtype);
    return tn_cell_of_int(dtype, (int64_t)test_random(&r->seed));
}

/* By at most `by`, to the middle of its cell of a grid; the two grids lie half a cell apart. */
static inline void slack_snap(const slack_run *r, tn_array *y, int64_t i, double by) {
    double cell = exp2(floor(log2(by))), shift = r->number & 1 ? 0.5 : 0;
    double snapped = cell * (floor(tn_array_get(y, i).f / cell + shift) + 0.5 - shift);
    if (isfinite(snapped)) tn_array_set(y, i, tn_cell_of(y->dtype, snapped));
}

static inline void slack_move(slack_run *r, tn_array *y, int64_t i, double by) {
    if (r->number >= SLACK_SNAPPING && by > 0) {
        slack_snap(r, y, i, by);
        return;
    }
    double part = 0.5 + 0.5 * (double)(test_random(&r->seed) >> 11) * 0x1p-53;
    double sign = (test_random(&r->seed) >> 40 & 1) == (unsigned)(r->number & 1) ? 1 : -1;
    double value = tn_array_get(y, i).f;
    if (by > fabs(value) && r->number % 4 == 3) /* it may be nothing at all */
        tn_array_set(y, i, tn_cell_of(y->dtype, 0));
    else if (isfinite(value) && by > 0)
        tn_array_set(y, i, tn_cell_of(y->dtype, value + sign * part * by));
}

static inline void slack_function(slack_run *r, const tn_node_info *n, const tn_array *in,
                                  tn_array *y) {
    bool grows = n->op == TN_OP_exp; /* attention scales its argument */
    for (int64_t i = 0; i < tn_array_count(y); i++) {
        double value = fabs(tn_array_get(y, i).f), x = fabs(tn_array_get(&in[0], i).f);
        if (value == 0 && !grows && n->op != TN_OP_pow) continue;
        double places = 4 + (grows && isfinite(x) ? x : 0);
        slack_move(r, y, i, places * last_place(y->dtype) * value + 4 * least(y->dtype));
    }
}

/* Of the result to its type. */
static inline double slack_rounding(const tn_array *y, int64_t i) {
    double value = fabs(tn_array_get(y, i).f);
    return value > 0 ? last_place(y->dtype) * value + least(y->dtype) : 0;
}

static inline void slack_sum(slack_run *r, const tn_graph *g, tn_node node, const tn_array *in,
                             tn_array *y) {
    const tn_node_info *n = tn_graph_node(g, node);
    tn_dtype acc = slack_accumulator(n, y->dtype);
    bool product = n->op == TN_OP_dot || n->op == TN_OP_ragged_dot || n->op == TN_OP_conv;
    bool finite = slack_is_finite(&in[0]) && (!product || slack_is_finite(&in[1]));
    tn_array size = slack_again(r, g, node, in, slack_magnitude), reorders[4] = {{.data = NULL}};
    if (product && !finite) {
        reorders[0] = slack_again(r, g, node, in, slack_zero_left);
        reorders[1] = slack_again(r, g, node, in, slack_zero_right);
    }
    if (product && acc == TN_f32) {
        reorders[2] = slack_again(r, g, node, in, slack_huge_left);
        reorders[3] = slack_again(r, g, node, in, slack_huge_right);
    }
    for (int64_t i = 0; i < tn_array_count(y); i++) {
        double terms = size.data ? tn_array_get(&size, i).f : INFINITY;
        double off = 16 * last_place(acc) * terms;
        bool vague = significant_bits(acc) < 8 || (significant_bits(acc) == 8 && off > 0.25);
        bool undefined = !(terms < much(acc)) || vague || (n->op == TN_OP_conv && !finite);
        for (size_t k = 0; k < TN_COUNT(reorders); k++)
            undefined |= reorders[k].data && !(tn_array_get(&reorders[k], i).f == 0);
        if (undefined)
            tn_array_set(y, i, tn_cell_of(y->dtype, slack_anything(r, i)));
        else if (terms == 0 && tn_array_get(y, i).f == 0)
            tn_array_set(y, i, tn_cell_of(y->dtype, r->number & 1 ? 0.0 : -0.0));
        else
            slack_move(r, y, i, off + slack_rounding(y, i) + (terms > 0 ? 16 * least(acc) : 0));
    }
}

static inline void slack_product(slack_run *r, const tn_graph *g, tn_node node, const tn_array *in,
                                 tn_array *y) {
    tn_dtype acc = slack_accumulator(tn_graph_node(g, node), y->dtype);
    tn_array high = slack_again(r, g, node, in, slack_large);
    tn_array low = slack_again(r, g, node, in, slack_small);
    double terms = 4 + (double)tn_array_count(&in[0]) / fmax(1, (double)tn_array_count(y));
    for (int64_t i = 0; i < tn_array_count(y); i++) {
        if (!high.data || !low.data || !(tn_array_get(&high, i).f < much(acc)) ||
            !(tn_array_get(&low, i).f > little(acc)))
            tn_array_set(y, i, tn_cell_of(y->dtype, slack_anything(r, i)));
        else
            slack_move(r, y, i,
                       terms * last_place(acc) * fabs(tn_array_get(y, i).f) + slack_rounding(y, i));
    }
}

/* The largest or smallest is a zero with any sign where zeros of both signs are: where it is 0 still when those of
 * either sign are out of the way. */
static inline void slack_extreme(slack_run *r, const tn_graph *g, tn_node node, const tn_array *in,
                                 tn_array *y) {
    bool largest = slack_takes_largest(tn_graph_node(g, node)), zero = false;
    for (int64_t i = 0; i < tn_array_count(y); i++) zero |= tn_array_get(y, i).f == 0;
    if (!zero) return;
    tn_array plus = slack_again(r, g, node, in, largest ? slack_minus_low : slack_minus_high);
    tn_array minus = slack_again(r, g, node, in, largest ? slack_plus_low : slack_plus_high);
    for (int64_t i = 0; plus.data && minus.data && i < tn_array_count(y); i++)
        if (tn_array_get(&plus, i).f == 0 && tn_array_get(&minus, i).f == 0)
            tn_array_set(y, i, tn_cell_of(y->dtype, r->number & 1 ? 0.0 : -0.0));
}

/* The bits of what is not a number. */
static inline void slack_bits(slack_run *r, const tn_array *in, tn_array *y) {
    if (!tn_dtype_is_float(in->dtype)) return;
    bool is_float = tn_dtype_is_float(y->dtype);
    for (int64_t i = 0; i < tn_array_count(y); i++)
        if (isnan(tn_array_get(in, i).f))
            tn_array_set(y, i,
                         is_float ? tn_cell_of(y->dtype, slack_anything(r, i))
                                  : slack_any_integer(r, y->dtype, i));
}

/* ---- graphs --------------------------------------------------------------------------------- */

static inline tn_status slack_graph(slack_run *r, const tn_graph *g, const tn_array *inputs,
                                    tn_array *outputs, tn_error *err);

static inline tn_status slack_while(slack_run *r, const tn_node_info *n, const tn_array *in,
                                    tn_array *out, tn_error *err) {
    const tn_attrs_while *a = n->attrs;
    uint32_t states = (uint32_t)a->states;
    tn_array *now = TN_NEW_N(r->arena, tn_array, n->in_count), flag;
    memcpy(now, in, sizeof(tn_array) * n->in_count);
    for (int trips = 0; trips < SLACK_TRIPS; trips++) {
        TN_CHECK(slack_graph(r, a->cond, now, &flag, err));
        if (!tn_array_get(&flag, 0).u) break;
        tn_array *next = TN_NEW_N(r->arena, tn_array, states);
        TN_CHECK(slack_graph(r, a->body, now, next, err));
        memcpy(now, next, sizeof(tn_array) * states);
    }
    memcpy(out, now, sizeof(tn_array) * states);
    return TN_OK;
}

static inline tn_array slack_step(const tn_array *a, int64_t at) {
    tn_array step = *a;
    memmove(step.dim, step.dim + 1, sizeof(int64_t) * (size_t)--step.rank);
    step.data = (char *)a->data + (size_t)at * tn_array_bytes(&step);
    return step;
}

static inline tn_status slack_scan(slack_run *r, const tn_graph *g, const tn_node_info *n,
                                   const tn_array *in, tn_array *out, tn_error *err) {
    const tn_attrs_scan *a = n->attrs;
    uint32_t carries = (uint32_t)a->carries;
    tn_array *now = TN_NEW_N(r->arena, tn_array, n->in_count);
    memcpy(now, in, sizeof(tn_array) * n->in_count);
    int64_t length = tn_dim_eval(g->dims, a->length, r->bindings);
    for (int64_t done = 0; done < length; done++) {
        int64_t at = a->reverse ? length - 1 - done : done;
        tn_array *next = TN_NEW_N(r->arena, tn_array, n->out_count);
        for (uint32_t p = carries; p < carries + (uint32_t)a->slices; p++)
            now[p] = slack_step(&in[p], at);
        TN_CHECK(slack_graph(r, a->body, now, next, err));
        memcpy(now, next, sizeof(tn_array) * carries);
        for (uint32_t p = carries; p < n->out_count; p++) {
            tn_array to = slack_step(&out[p], at);
            memcpy(to.data, next[p].data, tn_array_bytes(&to));
        }
    }
    memcpy(out, now, sizeof(tn_array) * carries);
    return TN_OK;
}

static inline tn_status slack_node(slack_run *r, const tn_graph *g, tn_node node,
                                   const tn_array *in, tn_array *out, tn_error *err) {
    const tn_node_info *n = tn_graph_node(g, node);
    TN_CHECK(tn_eval_node(g, node, in, out, r->bindings, r->arena, err));
    if (n->op == TN_OP_if) {
        const tn_attrs_if *a = n->attrs;
        bool flag = tn_array_get(&in[0], 0).u != 0;
        return slack_graph(r, flag ? a->then_graph : a->else_graph, in + 1, out, err);
    }
    if (n->op == TN_OP_call)
        return slack_graph(r, ((const tn_attrs_call *)n->attrs)->body, in, out, err);
    if (n->op == TN_OP_custom)
        return slack_graph(r, ((const tn_attrs_custom *)n->attrs)->body, in, out, err);
    if (n->op == TN_OP_while) return slack_while(r, n, in, out, err);
    if (n->op == TN_OP_scan) return slack_scan(r, g, n, in, out, err);
    if (n->op == TN_OP_bitcast) slack_bits(r, &in[0], &out[0]);
    if (!tn_dtype_is_float(out[0].dtype)) return TN_OK;
    slack_kind kind = slack_kind_of(n);
    if (kind == SLACK_EXTREME) slack_extreme(r, g, node, in, &out[0]);
    if (kind == SLACK_FUNCTION) slack_function(r, n, in, &out[0]);
    if (kind == SLACK_SUM) slack_sum(r, g, node, in, &out[0]);
    if (kind == SLACK_PRODUCT) slack_product(r, g, node, in, &out[0]);
    return TN_OK;
}

static inline tn_status slack_graph(slack_run *r, const tn_graph *g, const tn_array *inputs,
                                    tn_array *outputs, tn_error *err) {
    tn_array *value = TN_NEW_N(r->arena, tn_array, g->values.len);
    uint32_t next = 0, most = 0;
    for (tn_node i = 0; i < g->nodes.len; i++) most = TN_MAX(most, tn_graph_node(g, i)->in_count);
    tn_array *in = TN_NEW_N(r->arena, tn_array, most);
    for (tn_node i = 0; i < g->nodes.len; i++) {
        const tn_node_info *n = tn_graph_node(g, i);
        if (n->op == TN_OP_input) {
            value[n->out] = inputs[next++];
            continue;
        }
        for (uint32_t k = 0; k < n->in_count; k++) in[k] = value[n->in[k]];
        TN_CHECK(slack_node(r, g, i, in, &value[n->out], err));
    }
    for (uint32_t i = 0; i < g->outputs.len; i++) outputs[i] = value[g->outputs.data[i].value];
    return TN_OK;
}

/* ---- what is allowed ------------------------------------------------------------------------ */

/* Widens slack[i] (NaN: not compared) by what the moved result `got` is from `want`. */
static inline void slack_widen(double *slack, const tn_array *want, const tn_array *got) {
    bool is_float = tn_dtype_is_float(want->dtype);
    for (int64_t i = 0; i < tn_array_count(want); i++) {
        tn_cell a = tn_array_get(want, i), b = tn_array_get(got, i);
        if (!is_float) {
            if (a.u != b.u) slack[i] = NAN;
        } else if (a.f != b.f && !(isnan(a.f) && isnan(b.f)) && !isnan(slack[i])) {
            double by = 2 * fabs(a.f - b.f);
            slack[i] = isfinite(by) ? fmax(slack[i], by) : NAN;
        }
    }
}

/* Per output and element, in the arena; NaN: undefined. NULL when a size is none under these bindings. */
static inline double **rounding_slack(const tn_graph *g, const tn_array *inputs,
                                      const tn_array *want, const int64_t *bindings,
                                      tn_arena *arena) {
    double **slack = TN_NEW_N(arena, double *, g->outputs.len);
    for (uint32_t i = 0; i < g->outputs.len; i++)
        slack[i] = TN_NEW_N(arena, double, (size_t)tn_array_count(&want[i]));
    for (int run = 0; run < SLACK_RUNS; run++) {
        tn_arena own;
        tn_error err = TN_ERROR_INIT;
        tn_arena_init(&own, tn_allocator_system());
        slack_run r = {bindings, &own, (uint64_t)(run / 2) * 7919 + 1, run};
        tn_array *got = TN_NEW_N(&own, tn_array, g->outputs.len);
        bool ok = slack_graph(&r, g, inputs, got, &err) == TN_OK;
        for (uint32_t i = 0; ok && i < g->outputs.len; i++)
            slack_widen(slack[i], &want[i], &got[i]);
        tn_arena_deinit(&own);
        if (!ok) return NULL;
    }
    return slack;
}

#endif
