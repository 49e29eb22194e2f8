/* Window functions and the discrete Fourier transform. See compose.h. */
#include <math.h>

#include "ops/compose.h"
#include "ops/parts.h"

static const double TWO_PI = 6.283185307179586476925;

static double window_value(tn_window_kind kind, double phase) {
    switch (kind) {
    case TN_WINDOW_HANN:
        return 0.5 - 0.5 * cos(phase);
    case TN_WINDOW_HAMMING:
        return 25.0 / 46 - 21.0 / 46 * cos(phase);
    case TN_WINDOW_BLACKMAN:
        return 0.42 - 0.5 * cos(phase) + 0.08 * cos(2 * phase);
    }
    TN_BUG("unknown window %d", kind);
}

static tn_value table(tn_builder *b, tn_dtype dtype, int rank, const int64_t *dim,
                      const double *value) {
    tn_array a = tn_array_new(b->graph->arena, dtype, rank, dim);
    for (int64_t i = 0; i < tn_array_count(&a); i++)
        tn_array_set(&a, i, tn_cell_cast(TN_f64, dtype, (tn_cell){.f = value[i]}));
    return tn_b_constant(b, &a);
}

tn_value tn_b_window(tn_builder *b, tn_window_kind kind, int64_t size, bool periodic,
                     tn_dtype dtype) {
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (size < 0 || size > INT32_MAX)
        return tn_b_fail(b, TN_INVALID, "a window of %lld elements", (long long)size);
    double *value = TN_NEW_N(b->graph->arena, double, size);
    double period = (double)(periodic ? size : size - 1);
    for (int64_t i = 0; i < size; i++)
        value[i] = period > 0 ? window_value(kind, TWO_PI * (double)i / period) : 1;
    return table(b, dtype, 1, &size, value);
}

/* ---- DFT ------------------------------------------------------------------------------------ */

enum { DFT_LONGEST = 2048 }; /* the table grows with the square */

/* What element n, part c of the input (0 real, 1 imaginary) adds to part p of element k. */
static double dft_weight(int64_t n, int c, int64_t k, int p, int64_t length, bool inverse) {
    double angle = TWO_PI * (double)(n * k % length) / (double)length;
    double sine = inverse ? sin(angle) : -sin(angle), scale = inverse ? 1 / (double)length : 1;
    if (c == p) return scale * cos(angle);
    return scale * (c == 0 ? sine : -sine);
}

static tn_value dft_table(tn_builder *b, const tn_dft *o, int64_t length, int64_t count,
                          int64_t parts, tn_dtype dtype) {
    int64_t dim[] = {length, parts, count, 2}, at = 0;
    double *value = TN_NEW_N(b->graph->arena, double, length *parts *count * 2);
    for (int64_t n = 0; n < length; n++)
        for (int c = 0; c < parts; c++)
            for (int64_t k = 0; k < count; k++)
                for (int p = 0; p < 2; p++)
                    value[at++] = dft_weight(n, c, k, p, length, o->inverse);
    return table(b, dtype, 4, dim, value);
}

/* x cut or padded with zeros to `length` along the axis. */
static tn_value fit(tn_builder *b, tn_value x, int axis, int64_t size, int64_t length) {
    tn_value zero = tn_b_scalar(b, tn_b_type(b, x).dtype, 0);
    if (length < size) return tn_b_slice_axis(b, x, axis, 0, length, 1);
    if (length > size) return tn_b_pad_axis(b, x, axis, 0, length - size, zero);
    return x;
}

tn_value tn_b_dft(tn_builder *b, tn_value x, const tn_dft *o) {
    int rank = tn_b_rank(b, x), axis = o->axis < 0 ? o->axis + rank : o->axis;
    int64_t size = 0, parts = 0;
    if (tn_b_ok(b) && (rank < 2 || axis < 0 || axis >= rank - 1))
        tn_b_fail(b, TN_INVALID, "dft: axis %d of x with %d axes; the last axis holds the parts",
                  o->axis, rank);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (!tn_dim_const_value(b->graph->dims, tn_b_dim(b, x, axis), &size) ||
        !tn_dim_const_value(b->graph->dims, tn_b_dim(b, x, -1), &parts))
        return tn_b_fail(b, TN_UNSUPPORTED, "dft: the size of axis %d must be constant", axis);
    int64_t length = o->length ? o->length : size;
    if (parts < 1 || parts > 2 || length < 1)
        return tn_b_fail(b, TN_INVALID,
                         "dft: %lld parts along the last axis, length %lld; expected "
                         "1 or 2 parts and at least one element",
                         (long long)parts, (long long)length);
    if (length > DFT_LONGEST)
        return tn_b_fail(b, TN_UNSUPPORTED, "dft: length %lld; at most %d by table",
                         (long long)length, DFT_LONGEST);
    int64_t count = o->onesided ? length / 2 + 1 : length;
    tn_dtype dtype = tn_b_type(b, x).dtype;
    tn_value tables = dft_table(b, o, length, count, parts, tn_b_accumulator(dtype));
    tn_attrs_dot a = {.lhs_contract = {2, {axis, rank - 1}},
                      .rhs_contract = {2, {0, 1}},
                      .acc = tn_b_accumulator(dtype)};
    x = tn_b_cast(b, fit(b, x, axis, size, length), a.acc);
    tn_value y = tn_b_node(b, TN_OP_dot, (tn_value[]){x, tables}, 2, &a);
    return tn_b_cast(b, tn_b_move(b, y, rank - 2, axis), dtype);
}
