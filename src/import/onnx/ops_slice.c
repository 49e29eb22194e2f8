/* Slice. Ends that are sizes make a view; what data decide is clamped as the run computes it, and the result
 * has a bound and a length (docs/design.md, "Sizes that depend on data"). */
#include "import/onnx/dynamic.h"
#include "import/onnx/ops.h"

/* A start or end of Slice as a position: from the end when negative, clamped into [lo, hi]. */
static tn_dim slice_position(tn_o *o, tn_dim at, tn_dim size, tn_dim lo, tn_dim hi) {
    int64_t value;
    bool number = tn_dim_const_value(o->dims, at, &value);
    bool negative = number ? value < 0 : tn_dim_hi(o->dims, at) < 0;
    if (!number && !negative && tn_dim_lo(o->dims, at) < 0) {
        tn_o_const_dim(o, at, "a bound of the slice");
        return 0;
    }
    if (number && value >= INT32_MAX) return hi;
    if (number && value <= INT32_MIN) return lo;
    if (negative) at = tn_dim_add(o->dims, at, size);
    return tn_onnx_larger(o->dims, tn_onnx_smaller(o->dims, at, hi), lo);
}

/* Both ends are sizes. */
static tn_value slice_of_sizes(tn_o *o, tn_value x, int axis, tn_dim from, tn_dim to,
                               int64_t step) {
    tn_dims *t = o->dims;
    tn_dim size = tn_b_dim(o->b, x, axis), start, end, count;
    if (step > 0) {
        start = slice_position(o, from, size, 0, size);
        end = slice_position(o, to, size, 0, size);
        count = tn_dim_sub(t, end, start);
    } else {
        tn_dim before = tn_dim_const(t, -1), last = tn_dim_sub(t, size, 1);
        start = slice_position(o, from, size, tn_dim_hi(t, from) < -1 ? 0 : before, last);
        end = slice_position(o, to, size, before, last);
        count = tn_onnx_smaller(t, tn_dim_sub(t, start, end), size);
    }
    if (!tn_o_ok(o)) return TN_NO_VALUE;
    count = tn_dim_ceildiv(t, tn_onnx_larger(t, count, 0), step > 0 ? step : -step);
    return tn_b_slice_axis(o->b, x, axis, count == 0 ? 0 : start, count, count == 0 ? 1 : step);
}

/* ---- ends from data ----------------------------------------------------------------------------- */

/* Ends that a run binds as sizes are positions like any other data, unless the slice is a prefix: where they
 * lie between each other is not to be proven. */
static bool is_value(tn_o *o, tn_onnx_number n) {
    return n.value != TN_NO_VALUE || tn_onnx_depends_on_data(o, n.size);
}

/* Where a slice begins or ends, as a value: backwards a start is an element, if there are any. */
static tn_value position_value(tn_o *o, tn_onnx_number at, tn_dim size, bool forward, bool start) {
    tn_builder *b = o->b;
    tn_value given = tn_o_number_value(o, at), zero = tn_b_scalar_int(b, TN_i64, 0);
    tn_value one = tn_b_scalar_int(b, TN_i64, 1), all = tn_b_dim_value(b, size, TN_i64);
    tn_value v = tn_b_where(b, tn_b_lt(b, given, zero), tn_b_add(b, given, all), given);
    if (forward) return tn_b_max(b, tn_b_min(b, v, all), zero);
    tn_value last = tn_b_sub(b, all, one);
    return tn_b_max(b, tn_b_min(b, v, last), start ? tn_b_min(b, last, zero) : tn_b_neg(b, one));
}

/* How many elements lie between two positions: a size that is at most `bound`. */
static tn_dim count_between(tn_o *o, tn_value start, tn_value end, int64_t step, tn_dim bound) {
    tn_builder *b = o->b;
    tn_value span = step > 0 ? tn_b_sub(b, end, start) : tn_b_sub(b, start, end);
    tn_value each = tn_b_scalar_int(b, TN_i64, step > 0 ? step : -step);
    tn_value zero = tn_b_scalar_int(b, TN_i64, 0), count = tn_b_max(b, span, zero);
    if (step != 1 && step != -1) {
        tn_value rest = tn_b_gt(b, tn_b_rem(b, count, each), zero);
        count = tn_b_add(b, tn_b_div(b, count, each), tn_b_cast(b, rest, TN_i64));
    }
    return tn_o_bind_size(o, count, span, "length", bound);
}

/* `count` elements from a place on that only the run knows. */
static tn_value take(tn_o *o, tn_value x, int axis, tn_value start, tn_dim count, int64_t step) {
    tn_builder *b = o->b;
    tn_shape shape = tn_b_type(b, x).shape, line = {.rank = 1, .dim = {count}};
    tn_value at[TN_MAX_RANK];
    if (!tn_o_ok(o)) return TN_NO_VALUE;
    if (step != 1) {
        tn_value by = tn_b_scalar_int(b, TN_i64, step);
        tn_value index = tn_b_add(b, start, tn_b_mul(b, tn_b_iota(b, TN_i64, &line, 0), by));
        return tn_b_gather_axis(b, x, index, axis, TN_INDEX_clamp);
    }
    for (int i = 0; i < shape.rank; i++)
        at[i] = tn_b_unsqueeze(b, i == axis ? start : tn_b_scalar_int(b, TN_i64, 0), 0);
    shape.dim[axis] = count;
    tn_value in[] = {x, tn_b_concat(b, at, shape.rank, 0)};
    return tn_b_node(b, TN_OP_dynamic_slice, in, 2, &(tn_attrs_dynamic_slice){.shape = shape});
}

/* What the slice would be with its end as far as can be, cut to the length that data decide. */
static tn_value slice_to_data(tn_o *o, tn_value x, int axis, tn_dim from, tn_onnx_number to,
                              int64_t step) {
    tn_dim size = tn_b_dim(o->b, x, axis);
    tn_value all = slice_of_sizes(o, x, axis, from,
                                  tn_dim_const(o->dims, step > 0 ? INT32_MAX : INT32_MIN), step);
    tn_value start = position_value(o, (tn_onnx_number){from, TN_NO_VALUE}, size, step > 0, true);
    tn_value end = position_value(o, to, size, step > 0, false);
    tn_dim count = count_between(o, start, end, step, tn_b_dim(o->b, all, axis));
    return tn_b_prefix(o->b, all, axis, count);
}

/* The end of a prefix as a size, if it can be one. */
static bool prefix_end(tn_o *o, tn_onnx_number *to) {
    if (to->value == TN_NO_VALUE) return tn_dim_lo(o->dims, to->size) >= 0;
    tn_onnx_limits l = tn_onnx_value_limits(o->b->graph, to->value);
    if (l.lo < 0 || !l.has_hi) return false;
    *to = (tn_onnx_number){tn_o_number_size(o, 2, "ends", *to, NULL), TN_NO_VALUE};
    return true;
}

static tn_value slice(tn_o *o, tn_value x, int axis, const tn_onnx_number *end, int64_t step) {
    tn_onnx_number from = end[0], to = end[1];
    tn_dim size = tn_b_dim(o->b, x, axis);
    int64_t first;
    if (from.value == TN_NO_VALUE && from.size == 0 && step == 1 && is_value(o, to) &&
        prefix_end(o, &to))
        return slice_of_sizes(o, x, axis, 0, to.size, 1);
    if (!is_value(o, from) && !is_value(o, to))
        return slice_of_sizes(o, x, axis, from.size, to.size, step);
    bool fixed = from.value == TN_NO_VALUE && tn_dim_const_value(o->dims, from.size, &first) &&
                 (tn_dim_is_const(size) || (first == 0 && step == 1));
    if (fixed) return slice_to_data(o, x, axis, from.size, to, step);
    tn_value start = position_value(o, from, size, step > 0, true);
    tn_value last = position_value(o, to, size, step > 0, false);
    tn_dim most = tn_dim_ceildiv(o->dims, size, tn_dim_const(o->dims, step > 0 ? step : -step));
    return take(o, x, axis, start, count_between(o, start, last, step, most), step);
}

/* ---- the operator ------------------------------------------------------------------------------- */

typedef struct slice_bounds {
    int64_t count;
    tn_onnx_number *starts, *ends;
    int axes_count, steps_count;
    const int64_t *axes, *steps;
} slice_bounds;

static tn_onnx_number *attr_numbers(tn_o *o, const char *name, int64_t *out) {
    int count;
    const int64_t *at;
    if (!tn_o_ints(o, name, &count, &at))
        tn_o_fail(o, TN_INVALID, "attribute '%s' is missing", name);
    tn_onnx_number *numbers = TN_NEW_N(o->scratch, tn_onnx_number, count);
    for (int i = 0; i < count; i++)
        numbers[i] = (tn_onnx_number){tn_dim_const(o->dims, at[i]), TN_NO_VALUE};
    *out = count;
    return numbers;
}

static bool read_slice(tn_o *o, slice_bounds *s) {
    int64_t ends = 0;
    *s = (slice_bounds){.axes_count = -1, .steps_count = -1};
    if (o->version < 10) {
        s->starts = attr_numbers(o, "starts", &s->count);
        s->ends = attr_numbers(o, "ends", &ends);
        if (!tn_o_ints(o, "axes", &s->axes_count, &s->axes)) s->axes_count = -1;
    } else {
        if (tn_o_has(o, 3)) tn_o_need_ints(o, 3, "axes", &s->axes_count, &s->axes);
        if (tn_o_has(o, 4)) tn_o_need_ints(o, 4, "steps", &s->steps_count, &s->steps);
        if (!tn_o_numbers(o, 1, "starts", &s->count, &s->starts) ||
            !tn_o_numbers(o, 2, "ends", &ends, &s->ends))
            return false;
    }
    int64_t n = s->count;
    if (tn_o_ok(o) && (ends != n || (s->axes_count >= 0 && s->axes_count != n) ||
                       (s->steps_count >= 0 && s->steps_count != n) || n > tn_o_rank(o, 0)))
        tn_o_fail(o, TN_INVALID, "starts, ends, axes and steps do not have the same length");
    return tn_o_ok(o);
}

static void import_slice(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    slice_bounds s;
    if (!read_slice(o, &s)) return;
    int rank = tn_b_rank(o->b, x);
    for (int i = 0; i < s.count && tn_o_ok(o); i++) {
        int axis = tn_o_axis(o, s.axes_count >= 0 ? s.axes[i] : i, rank);
        int64_t step = s.steps_count >= 0 ? s.steps[i] : 1;
        if (step == 0 || step < -INT32_MAX) {
            tn_o_fail(o, TN_INVALID, "a step of %lld", (long long)step);
            return;
        }
        tn_onnx_number ends[] = {s.starts[i], s.ends[i]};
        x = slice(o, x, axis, ends, TN_MIN(step, INT32_MAX));
    }
    tn_o_out(o, 0, x);
}

static const tn_onnx_op rows[] = {
    {"Slice", 1, TN_ONNX_LATEST, import_slice},
};
TN_ONNX_TABLE(slice, "")
