/* Resizing along one axis: ONNX Resize is one call per axis that changes.
 *
 * Sizes are constant, so sample positions and weights are too: y = Σ over taps of weight[tap] ·
 * x at position[tap]. */
#include <math.h>

#include "ops/compose.h"

typedef struct axis_map {
    const tn_resize_options *o;
    int64_t from, to;
    double scale, start, end;
} axis_map;

/* Which element is nearest may turn on the last bit of a quotient: there it is one of f32, as in the
 * references; blending is exact. */
static double quotient(const axis_map *m, double x, double y) {
    return m->o->mode == TN_RESIZE_NEAREST ? (double)((float)x / (float)y) : x / y;
}

/* The position in x of result element `at`. */
static double source_position(const axis_map *m, int64_t at) {
    double x = (double)at, last = (double)(m->from - 1),
           half = quotient(m, x + 0.5, m->scale) - 0.5;
    switch (m->o->grid) {
    case TN_GRID_HALF_PIXEL:
        return half;
    case TN_GRID_HALF_PIXEL_SYMMETRIC: {
        double adjustment = (double)m->to / (m->scale * (double)m->from);
        return (double)m->from / 2 * (1 - adjustment) + half;
    }
    case TN_GRID_PYTORCH_HALF_PIXEL:
        return m->to > 1 ? half : 0;
    case TN_GRID_ALIGN_CORNERS:
        return m->to > 1 ? quotient(m, x * last, (double)(m->to - 1)) : 0;
    case TN_GRID_ASYMMETRIC:
        return quotient(m, x, m->scale);
    case TN_GRID_TF_HALF_PIXEL:
        return quotient(m, x + 0.5, m->scale);
    case TN_GRID_CROP:
        if (m->to == 1) return 0.5 * (m->start + m->end) * last;
        return m->start * last + x * (m->end - m->start) * last / (double)(m->to - 1);
    }
    TN_BUG("unknown grid %d", m->o->grid);
}

static double round_position(tn_resize_round round, double x) {
    switch (round) {
    case TN_ROUND_PREFER_FLOOR:
        return ceil(x - 0.5);
    case TN_ROUND_PREFER_CEIL:
        return floor(x + 0.5);
    case TN_ROUND_FLOOR:
        return floor(x);
    case TN_ROUND_CEIL:
        return ceil(x);
    }
    TN_BUG("unknown rounding %d", round);
}

/* The interpolation kernel at distance d (Keys 1981 for cubic). */
static double kernel(const tn_resize_options *o, double d) {
    double a = o->cubic != 0 ? o->cubic : -0.75;
    d = fabs(d);
    if (o->mode == TN_RESIZE_LINEAR) return d < 1 ? 1 - d : 0;
    if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? a * (((d - 5) * d + 8) * d - 4) : 0;
}

/* Taps from floor(x) + *first on; the kernel is stretched when antialiasing a reduction. */
static int tap_count(const axis_map *m, double *stretch, int64_t *first) {
    double reach = m->o->mode == TN_RESIZE_CUBIC ? 2 : 1;
    *stretch = m->o->antialias && m->scale < 1 ? m->scale : 1;
    *first = (int64_t)floor(-reach / *stretch) + 1;
    return (int)(2 - 2 * *first);
}

enum { MOST_TAPS = 1 << 22 }; /* of an axis: they are constants of the graph */

typedef struct taps {
    int count;
    double *weight;    /* [count][to] */
    int64_t *position; /* [count][to], clamped into x */
} taps;

/* The element at or before position x; a crop may begin and end anywhere. */
static int64_t element_of(double x) {
    static const double far = 0x1p60;
    return (int64_t)fmax(-far, fmin(floor(x), far));
}

static void fill_taps(const axis_map *m, int64_t at, double stretch, int64_t first, taps *t) {
    double x = source_position(m, at), sum = 0;
    int64_t base = element_of(x);
    for (int k = 0; k < t->count; k++) {
        int64_t p = base + first + k;
        double w = kernel(m->o, ((double)p - x) * stretch);
        if (m->o->exclude_outside && (p < 0 || p >= m->from)) w = 0;
        sum += w;
        t->weight[k * m->to + at] = w;
        t->position[k * m->to + at] = TN_MAX(0, TN_MIN(p, m->from - 1));
    }
    for (int k = 0; k < t->count && sum != 0; k++) t->weight[k * m->to + at] /= sum;
}

static taps taps_of(tn_arena *arena, const axis_map *m) {
    double stretch = 1;
    int64_t first = 0;
    bool nearest = m->o->mode == TN_RESIZE_NEAREST;
    taps t = {.count = nearest ? 1 : tap_count(m, &stretch, &first)};
    t.weight = TN_NEW_N(arena, double, t.count * m->to);
    t.position = TN_NEW_N(arena, int64_t, t.count * m->to);
    for (int64_t at = 0; at < m->to; at++) {
        if (!nearest) {
            fill_taps(m, at, stretch, first, &t);
            continue;
        }
        double p = round_position(m->o->round, source_position(m, at));
        t.position[at] = (int64_t)fmax(0, fmin(p, (double)(m->from - 1)));
    }
    return t;
}

static tn_value index_constant(tn_builder *b, const int64_t *at, int64_t count) {
    tn_array a = {.dtype = TN_i64, .rank = 1, .dim = {count}, .data = (void *)(uintptr_t)at};
    return tn_b_constant(b, &a);
}

/* x at the positions `at` along one axis, all others in place. The axes before it are batch axes, so that no
 * permute moves the result's axes back. */
static tn_value sample(tn_builder *b, tn_value x, int axis, const int64_t *at, int64_t count) {
    tn_shape one = {.rank = axis + 2}, each = one;
    for (int i = 0; i < axis; i++) {
        one.dim[i] = 1;
        each.dim[i] = tn_b_dim(b, x, i);
    }
    one.dim[axis] = each.dim[axis] = count;
    one.dim[axis + 1] = each.dim[axis + 1] = 1;
    tn_value index = tn_b_reshape(b, index_constant(b, at, count), &one);
    tn_attrs_gather a = {.batch = axis, .axes = {1, {axis}}, .mode = TN_INDEX_clamp};
    return tn_b_node(b, TN_OP_gather, (tn_value[]){x, tn_b_expand(b, index, &each)}, 2, &a);
}

/* A vector of `dtype` along `axis` of a tensor of `rank` axes. */
static tn_value axis_constant(tn_builder *b, const double *value, int64_t count, tn_dtype dtype,
                              int axis, int rank) {
    tn_array a = tn_array_new(b->graph->arena, dtype, 1, &count);
    for (int64_t i = 0; i < count; i++)
        tn_array_set(&a, i, tn_cell_cast(TN_f64, dtype, (tn_cell){.f = value[i]}));
    tn_dim dim[TN_MAX_RANK];
    for (int i = 0; i < rank; i++) dim[i] = i == axis ? count : 1;
    return tn_b_reshape_to(b, tn_b_constant(b, &a), rank, dim);
}

/* Samples outside x get the extrapolation value. */
static tn_value extrapolate(tn_builder *b, const axis_map *m, tn_value y, int axis) {
    double *outside = TN_NEW_N(b->graph->arena, double, m->to);
    for (int64_t at = 0; at < m->to; at++) {
        double x = source_position(m, at);
        outside[at] = x < 0 || x > (double)(m->from - 1);
    }
    tn_dtype dtype = tn_b_type(b, y).dtype;
    tn_value flag = axis_constant(b, outside, m->to, TN_bool, axis, tn_b_rank(b, y));
    return tn_b_where(b, flag, tn_b_scalar(b, dtype, m->o->extrapolation), y);
}

tn_value tn_b_resize_axis(tn_builder *b, tn_value x, int axis, int64_t size, double scale,
                          const double crop[2], const tn_resize_options *o) {
    axis_map m = {.o = o, .to = size, .scale = scale};
    int rank = tn_b_rank(b, x);
    if (axis < 0) axis += rank;
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (axis < 0 || axis >= rank || size < 0)
        return tn_b_fail(b, TN_INVALID, "resize: axis %d of %d to size %lld", axis, rank,
                         (long long)size);
    if (!tn_dim_const_value(b->graph->dims, tn_b_dim(b, x, axis), &m.from))
        return tn_b_fail(b, TN_UNSUPPORTED, "resize: the size of axis %d must be constant; bind it",
                         axis);
    if (m.scale <= 0) m.scale = (double)m.to / (double)TN_MAX(m.from, 1);
    if (1 / m.scale > 4096 && o->antialias)
        return tn_b_fail(b, TN_UNSUPPORTED, "resize: a reduction by more than 4096");
    if (crop) m.start = crop[0], m.end = crop[1];
    tn_dtype dtype = tn_b_type(b, x).dtype;
    double stretch;
    int64_t first, taps_each = o->mode == TN_RESIZE_NEAREST ? 1 : tap_count(&m, &stretch, &first);
    if (size > MOST_TAPS / taps_each)
        return tn_b_fail(b, TN_UNSUPPORTED,
                         "resize: axis %d to size %lld with %lld weights each; at most %d weights "
                         "are tabulated",
                         axis, (long long)size, (long long)taps_each, MOST_TAPS);
    taps t = taps_of(b->graph->arena, &m);
    tn_value y = TN_NO_VALUE;
    if (o->mode == TN_RESIZE_NEAREST) {
        y = tn_b_gather_axis(b, x, index_constant(b, t.position, size), axis, TN_INDEX_clamp);
    } else {
        tn_dtype wide = tn_dtype_is_float(dtype) && tn_dtype_bits(dtype) >= 32 ? dtype : TN_f32;
        tn_value source = tn_b_cast(b, x, wide);
        for (int k = 0; k < t.count; k++) {
            tn_value part = sample(b, source, axis, t.position + k * size, size);
            part = tn_b_mul(b, part, axis_constant(b, t.weight + k * size, size, wide, axis, rank));
            y = k == 0 ? part : tn_b_add(b, y, part);
        }
        /* Integers are rounded to nearest, not cut off. */
        if (!tn_dtype_is_float(dtype)) y = tn_b_round(b, y);
        y = tn_b_cast(b, y, dtype);
    }
    return o->grid == TN_GRID_CROP ? extrapolate(b, &m, y, axis) : y;
}
