/* Operators that make, move and reshape: sizes may be open. Slice is in ops_slice.c. */
#include "import/onnx/dynamic.h"
#include "import/onnx/ops.h"
#include "import/onnx/scope.h"

/* ---- sources -------------------------------------------------------------------------------- */

/* Shape and Size of a tensor are known values (known.c), unless there are too many. */
static void import_known_only(tn_o *o) {
    if (tn_o_item(o, 0)->kind == TN_ITEM_TENSOR)
        tn_o_fail(o, TN_UNSUPPORTED, "too many computed sizes");
    else
        tn_o_fail(o, TN_INVALID, "its input is not a tensor");
}

static void import_identity(tn_o *o) {
    tn_o_out_same(o, 0, 0);
}

static void out_vector(tn_o *o, tn_dtype dtype, int count, const double *floats,
                       const int64_t *ints, bool scalar) {
    int64_t n = count;
    tn_array a = tn_array_new(o->scratch, dtype, scalar ? 0 : 1, &n);
    for (int i = 0; i < count; i++)
        tn_array_set(&a, i, floats ? tn_cell_of(dtype, floats[i]) : tn_cell_of_int(dtype, ints[i]));
    tn_o_out(o, 0, tn_b_constant(o->b, &a));
}

static void import_constant(tn_o *o) {
    int n;
    const double *floats;
    const int64_t *ints;
    if (tn_o_has_attr(o, "value")) {
        tn_onnx_item *item = tn_o_item_of(o, TN_NO_VALUE);
        item->initializer = tn_o_content(o, "value");
        item->name = o->node->outputs.len ? o->node->outputs.data[0] : "";
        tn_o_out_item(o, 0, item);
    } else if (tn_o_has_attr(o, "value_float")) {
        double value = tn_o_float(o, "value_float", 0);
        out_vector(o, TN_f32, 1, &value, NULL, true);
    } else if (tn_o_has_attr(o, "value_int")) {
        int64_t value = tn_o_int(o, "value_int", 0);
        out_vector(o, TN_i64, 1, NULL, &value, true);
    } else if (tn_o_floats(o, "value_floats", &n, &floats)) {
        out_vector(o, TN_f32, n, floats, NULL, false);
    } else if (tn_o_ints(o, "value_ints", &n, &ints)) {
        out_vector(o, TN_i64, n, NULL, ints, false);
    } else {
        tn_o_fail(o, TN_UNSUPPORTED,
                  "it has none of the attributes value, value_float, value_floats, value_int and "
                  "value_ints; texts and sparse tensors are not supported");
    }
}

/* A shape given by a vector, in which -1 may stand for what is left. */
static bool shape_of(tn_o *o, int i, bool left, tn_shape *out) {
    tn_known k;
    if (!tn_o_need_sizes(o, i, "shape", left, &k)) return false;
    if (k.rank != 1 || k.count > TN_MAX_RANK) {
        tn_o_fail(o, TN_UNSUPPORTED, "its shape has %lld elements in %d axes; at most %d in one",
                  (long long)k.count, k.rank, TN_MAX_RANK);
        return false;
    }
    *out = (tn_shape){.rank = (int)k.count};
    for (int a = 0; a < out->rank; a++) out->dim[a] = k.at[a];
    return true;
}

static bool check_sizes(tn_o *o, const tn_shape *shape) {
    int64_t value;
    for (int a = 0; a < shape->rank; a++)
        if (tn_dim_const_value(o->dims, shape->dim[a], &value) && value < 0) {
            tn_o_fail(o, TN_INVALID, "its shape has size %lld at axis %d", (long long)value, a);
            return false;
        }
    return true;
}

static void import_constant_of_shape(tn_o *o) {
    tn_array value = {.dtype = TN_f32};
    tn_shape shape;
    float zero = 0;
    if (!shape_of(o, 0, false, &shape) || !check_sizes(o, &shape)) return;
    value.data = &zero;
    if (tn_o_has_attr(o, "value") && !tn_o_tensor(o, "value", &value)) return;
    if (tn_array_count(&value) != 1) {
        tn_o_fail(o, TN_INVALID, "its value has %lld elements; expected one",
                  (long long)tn_array_count(&value));
        return;
    }
    value.rank = 0;
    tn_o_out(o, 0, tn_b_expand(o->b, tn_b_constant(o->b, &value), &shape));
}

/* Floats that are not whole: start + i * delta. */
static void import_range_of_floats(tn_o *o) {
    tn_array in[3];
    double v[3];
    static const char *const names[] = {"start", "limit", "delta"};
    for (int i = 0; i < 3; i++) {
        if (!tn_o_need_array(o, i, names[i], &in[i])) return;
        if (tn_array_count(&in[i]) != 1)
            tn_o_fail(o, TN_INVALID, "its %s is not a scalar", names[i]);
        if (!tn_o_ok(o)) return;
        v[i] = tn_cell_cast(in[i].dtype, TN_f64, tn_array_get(&in[i], 0)).f;
    }
    double count = v[2] == 0 ? 0 : (v[1] - v[0]) / v[2];
    if (v[2] == 0 || !(count < 1 << 24)) {
        tn_o_fail(o, TN_INVALID, "a range from %g to %g in steps of %g", v[0], v[1], v[2]);
        return;
    }
    int64_t n = count > 0 ? (int64_t)count + (count > (double)(int64_t)count) : 0;
    tn_shape shape = {.rank = 1, .dim = {n}};
    tn_value steps = tn_b_mul_scalar(o->b, tn_b_iota(o->b, in[0].dtype, &shape, 0), v[2]);
    tn_o_out(o, 0, tn_b_add_scalar(o->b, steps, v[0]));
}

/* start + i * step for `count` of them. */
static void out_range(tn_o *o, tn_onnx_number start, int64_t delta, tn_dim count) {
    tn_dtype dtype = tn_o_type(o, 0).dtype;
    tn_shape shape = {.rank = 1, .dim = {count}};
    tn_value v = tn_b_iota(o->b, dtype, &shape, 0);
    if (delta != 1) v = tn_b_mul(o->b, v, tn_b_scalar_int(o->b, dtype, delta));
    if (start.value != TN_NO_VALUE || start.size != 0)
        v = tn_b_add(o->b, v, tn_b_cast(o->b, tn_o_number_value(o, start), dtype));
    tn_o_out(o, 0, v);
}

/* Its ends as sizes: none where data decide. */
static tn_dim range_of_sizes(tn_o *o, tn_dim from, tn_dim to, int64_t delta) {
    tn_dim span = delta > 0 ? tn_dim_sub(o->dims, to, from) : tn_dim_sub(o->dims, from, to);
    if (!tn_dim_proves_le(o->dims, 0, span)) span = tn_dim_max(o->dims, span, 0);
    return tn_dim_ceildiv(o->dims, span, delta > 0 ? delta : -delta);
}

/* As many as the run counts, at most as many as the limits of its ends allow. */
static tn_dim range_of_data(tn_o *o, const tn_onnx_number *end, int64_t delta) {
    tn_builder *b = o->b;
    int64_t step = delta > 0 ? delta : -delta;
    tn_value from = tn_o_number_value(o, end[delta > 0 ? 0 : 1]);
    tn_value to = tn_o_number_value(o, end[delta > 0 ? 1 : 0]);
    bool plain = delta == 1 && end[0].value == TN_NO_VALUE && end[0].size == 0;
    tn_value span = plain ? to : tn_b_sub(b, to, from), length = span;
    if (!tn_o_ok(o)) return 0;
    tn_onnx_limits l = tn_onnx_value_limits(b->graph, span);
    tn_dim bound = !l.has_hi ? 0 : tn_dim_ceildiv(o->dims, tn_onnx_larger(o->dims, l.hi, 0), step);
    if (!l.has_hi || tn_onnx_is_better_known(o, span, bound)) {
        int asked = end[1].value != TN_NO_VALUE ? 1 : 0;
        tn_onnx_ask_value(o, tn_o_item(o, asked), asked ? "limit" : "start");
        return 0;
    }
    if (step > 1) {
        tn_value each = tn_b_scalar_int(b, TN_i64, step);
        tn_value rest = tn_b_gt(b, tn_b_rem(b, span, each), tn_b_scalar_int(b, TN_i64, 0));
        length = tn_b_add(b, tn_b_div(b, span, each), tn_b_cast(b, rest, TN_i64));
    }
    if (l.lo < 0) length = tn_b_max(b, length, tn_b_scalar_int(b, TN_i64, 0));
    return tn_o_bind_size(o, length, span, "count", bound);
}

static void import_range(tn_o *o) {
    tn_onnx_number end[2], *at;
    tn_known k;
    int64_t delta, count;
    static const char *const names[] = {"start", "limit", "delta"};
    bool floats = tn_dtype_is_float(tn_o_type(o, 0).dtype), known = true;
    for (int i = 0; i < 3; i++) known = known && tn_o_known(o, i, &k);
    if (floats && !known) {
        import_range_of_floats(o);
        return;
    }
    for (int i = 0; i < 2; i++) {
        if (!tn_o_numbers(o, i, names[i], &count, &at)) return;
        if (count != 1) tn_o_fail(o, TN_INVALID, "its %s is not a scalar", names[i]);
        if (!tn_o_ok(o)) return;
        end[i] = *at;
    }
    if (!tn_o_need_known(o, 2, "delta", &k)) return;
    if (k.count != 1) tn_o_fail(o, TN_INVALID, "its delta is not a scalar");
    if (!tn_o_ok(o)) return;
    delta = tn_o_const_dim(o, k.at[0], "delta");
    if (tn_o_ok(o) && delta == 0) tn_o_fail(o, TN_INVALID, "its delta is 0");
    if (tn_o_ok(o) && delta == INT64_MIN) tn_o_fail(o, TN_INVALID, "its delta is too small");
    if (!tn_o_ok(o)) return;
    bool data = end[0].value != TN_NO_VALUE || end[1].value != TN_NO_VALUE;
    tn_dim elements =
        data ? range_of_data(o, end, delta) : range_of_sizes(o, end[0].size, end[1].size, delta);
    if (tn_o_ok(o)) out_range(o, end[0], delta, elements);
}

static void import_eye_like(tn_o *o) {
    tn_type x = tn_o_type(o, 0);
    if (tn_o_ok(o) && x.shape.rank != 2) tn_o_fail(o, TN_INVALID, "its input is not a matrix");
    tn_dtype dtype = tn_o_dtype(o, "dtype", x.dtype);
    int64_t k = tn_o_int(o, "k", 0);
    tn_o_out(o, 0, tn_b_eye(o->b, dtype, x.shape.dim[0], x.shape.dim[1], k));
}

/* ---- reshaping ------------------------------------------------------------------------------- */

static tn_dim product(tn_o *o, const tn_dim *dim, int from, int to) {
    tn_dim p = 1;
    for (int i = from; i < to; i++) p = tn_dim_mul(o->dims, p, dim[i]);
    return p;
}

/* An attribute before version 5. */
static bool target_shape(tn_o *o, tn_shape *shape) {
    int count;
    const int64_t *at;
    if (o->version >= 5) return shape_of(o, 1, true, shape);
    tn_o_ints(o, "shape", &count, &at);
    if (tn_o_ok(o) && count > TN_MAX_RANK)
        tn_o_fail(o, TN_UNSUPPORTED, "a shape of %d axes; at most %d", count, TN_MAX_RANK);
    if (!tn_o_ok(o)) return false;
    *shape = (tn_shape){.rank = count};
    for (int i = 0; i < count; i++) shape->dim[i] = tn_dim_const(o->dims, at[i]);
    return true;
}

static void import_reshape(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    tn_type from = tn_b_type(o->b, x);
    tn_shape shape;
    int open = -1;
    bool zero = tn_o_int(o, "allowzero", 0) != 0;
    if (!target_shape(o, &shape)) return;
    tn_dim rest = 1;
    for (int i = 0; i < shape.rank; i++) {
        int64_t value;
        bool number = tn_dim_const_value(o->dims, shape.dim[i], &value);
        if (number && value == 0 && !zero) {
            if (i >= from.shape.rank) {
                tn_o_fail(o, TN_INVALID, "0 at axis %d copies an axis that the input does not have",
                          i);
                return;
            }
            shape.dim[i] = from.shape.dim[i];
        }
        if (number && value == -1 && open >= 0) {
            tn_o_fail(o, TN_INVALID, "-1 stands at axes %d and %d of its shape", open, i);
            return;
        }
        if (number && value == -1)
            open = i;
        else
            rest = tn_dim_mul(o->dims, rest, shape.dim[i]);
    }
    tn_dim all = tn_shape_count(o->dims, &from.shape);
    if (open >= 0) {
        if (rest == 0) {
            tn_o_fail(o, TN_INVALID, "-1 beside an axis of size 0 stands for any size");
            return;
        }
        shape.dim[open] = tn_dim_floordiv(o->dims, all, rest);
    }
    if (check_sizes(o, &shape)) tn_o_out(o, 0, tn_b_reshape(o->b, x, &shape));
}

static void import_flatten(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    tn_shape s = tn_b_type(o->b, x).shape;
    int64_t axis = tn_o_int(o, "axis", 1);
    if (tn_o_ok(o) && (axis < -s.rank || axis > s.rank))
        tn_o_fail(o, TN_INVALID, "axis %lld is out of range for rank %d", (long long)axis, s.rank);
    if (!tn_o_ok(o)) return;
    int at = (int)(axis < 0 ? axis + s.rank : axis);
    tn_dim dim[] = {product(o, s.dim, 0, at), product(o, s.dim, at, s.rank)};
    tn_o_out(o, 0, tn_b_reshape_to(o->b, x, 2, dim));
}

static void import_squeeze(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    tn_shape s = tn_b_type(o->b, x).shape;
    int axes[TN_MAX_RANK], n = tn_o_axes(o, "axes", 13, 1, s.rank, axes);
    if (n < 0) {
        n = 0;
        for (int i = 0; i < s.rank; i++)
            if (s.dim[i] == 1) axes[n++] = i;
    }
    for (int i = n - 1; i >= 0; i--) x = tn_b_squeeze(o->b, x, axes[i]);
    tn_o_out(o, 0, x);
}

static void import_unsqueeze(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    int count, axes[TN_MAX_RANK];
    const int64_t *unused;
    if (o->version < 13)
        tn_o_ints(o, "axes", &count, &unused);
    else
        tn_o_need_ints(o, 1, "axes", &count, &unused);
    if (tn_o_ok(o) && tn_b_rank(o->b, x) + count > TN_MAX_RANK)
        tn_o_fail(o, TN_UNSUPPORTED, "the result has more than %d axes", TN_MAX_RANK);
    if (!tn_o_ok(o)) return;
    int n = tn_o_axes(o, "axes", 13, 1, tn_b_rank(o->b, x) + count, axes);
    for (int i = 0; i < n; i++) x = tn_b_unsqueeze(o->b, x, axes[i]);
    tn_o_out(o, 0, x);
}

static void import_transpose(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    int rank = tn_b_rank(o->b, x), count, perm[TN_MAX_RANK];
    const int64_t *at;
    bool given = tn_o_ints(o, "perm", &count, &at);
    if (tn_o_ok(o) && given && count != rank)
        tn_o_fail(o, TN_INVALID, "perm has %d entries; its input has %d axes", count, rank);
    if (!tn_o_ok(o)) return;
    for (int i = 0; i < rank; i++) perm[i] = given ? tn_o_axis(o, at[i], rank) : rank - 1 - i;
    tn_o_out(o, 0, tn_b_permute(o->b, x, perm));
}

static void import_expand(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    tn_shape from = tn_b_type(o->b, x).shape, shape, all;
    if (!shape_of(o, 1, false, &shape) || !check_sizes(o, &shape)) return;
    if (!tn_b_broadcast_shape(o->b, &from, &shape, &all)) return;
    tn_o_out(o, 0, tn_b_expand(o->b, x, &all));
}

/* [a, b] tiled [r, s]: [1, a, 1, b] broadcast to [r, a, s, b]; axes that are not repeated stay. */
static tn_value tile(tn_o *o, tn_value x, const tn_dim *repeat) {
    tn_shape s = tn_b_type(o->b, x).shape, split = {0}, wide = {0}, merged = s;
    for (int i = 0; i < s.rank; i++) {
        int64_t times;
        if (tn_dim_const_value(o->dims, repeat[i], &times) && times < 0)
            return tn_o_fail(o, TN_INVALID, "axis %d repeated %lld times", i, (long long)times);
        if (repeat[i] != 1 && split.rank + 2 + s.rank - i - 1 > TN_MAX_RANK)
            return tn_o_fail(o, TN_UNSUPPORTED, "too many repeated axes");
        if (repeat[i] != 1) {
            split.dim[split.rank++] = 1;
            wide.dim[wide.rank++] = repeat[i];
        }
        split.dim[split.rank++] = s.dim[i];
        wide.dim[wide.rank++] = s.dim[i];
        merged.dim[i] = tn_dim_mul(o->dims, s.dim[i], repeat[i]);
    }
    x = tn_b_expand(o->b, tn_b_reshape(o->b, x, &split), &wide);
    return tn_b_reshape(o->b, x, &merged);
}

/* Version 1 repeats one axis. */
static void import_tile_axis(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    tn_dim repeat[TN_MAX_RANK];
    tn_known times, at; /* floats when x has floats */
    int64_t axis = 0;
    if (!tn_o_need_known(o, 1, "tiles", &times) || !tn_o_need_known(o, 2, "axis", &at)) return;
    if (times.count != 1 || at.count != 1 || !tn_dim_const_value(o->dims, at.at[0], &axis))
        tn_o_fail(o, TN_INVALID, "its inputs 'tiles' and 'axis' are not single numbers");
    axis = tn_o_axis(o, axis, tn_b_rank(o->b, x));
    if (!tn_o_ok(o)) return;
    for (int i = 0; i < TN_MAX_RANK; i++) repeat[i] = i == axis ? times.at[0] : 1;
    tn_o_out(o, 0, tile(o, x, repeat));
}

static void import_tile(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    tn_known repeats;
    if (!tn_o_need_sizes(o, 1, "repeats", false, &repeats)) return;
    if (repeats.count != tn_b_rank(o->b, x)) {
        tn_o_fail(o, TN_INVALID, "%lld repeats for %d axes", (long long)repeats.count,
                  tn_b_rank(o->b, x));
        return;
    }
    tn_o_out(o, 0, tile(o, x, repeats.at));
}

/* ---- concatenating and splitting -------------------------------------------------------------- */

static void import_concat(tn_o *o) {
    int n = tn_o_in_count(o);
    tn_value *in = TN_NEW_N(o->scratch, tn_value, n);
    for (int i = 0; i < n; i++) in[i] = tn_o_in(o, i);
    int64_t axis = tn_o_need_int(o, "axis");
    if (tn_o_ok(o) && n) axis = tn_o_axis(o, axis, tn_b_rank(o->b, in[0]));
    tn_o_out(o, 0, tn_b_concat(o->b, in, n, (int)axis));
}

/* Sizes of the parts: given, or equal with a smaller last one. */
static bool split_sizes(tn_o *o, tn_dim size, int parts, tn_dim *out) {
    int count = 0;
    const int64_t *at = NULL;
    tn_known given;
    bool by_input = (o->version >= 13 || o->version < 2) && tn_o_has(o, 1);
    if (by_input && !tn_o_need_known(o, 1, "split", &given)) return false;
    if (!by_input && o->version < 13 && tn_o_ints(o, "split", &count, &at)) {
        given = (tn_known){.count = count, .at = TN_NEW_N(o->scratch, tn_dim, count)};
        for (int i = 0; i < count; i++) given.at[i] = tn_dim_const(o->dims, at[i]);
        by_input = true;
    }
    if (by_input && given.count != parts) {
        tn_o_fail(o, TN_INVALID, "%lld sizes for %d outputs", (long long)given.count, parts);
        return false;
    }
    tn_dim each, left = size;
    if (!tn_dim_divides(o->dims, size, parts, &each)) {
        if (!by_input) tn_o_const_dim(o, size, "the size of the axis to split");
        each = tn_dim_ceildiv(o->dims, size, parts);
    }
    for (int i = 0; i < parts; i++) {
        out[i] = by_input ? given.at[i] : i + 1 < parts ? each : left;
        left = tn_dim_sub(o->dims, left, out[i]);
    }
    bool bound = o->scope->im->options->absent_data && tn_dim_is_const(left) && left > 0;
    if (left == 0 || bound || !tn_o_ok(o)) return tn_o_ok(o);
    tn_o_fail(o, TN_INVALID, "the sizes of its parts do not add up to the axis's size");
    return false;
}

static void import_split(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    int axis = tn_o_axis(o, tn_o_int(o, "axis", 0), tn_b_rank(o->b, x));
    int parts = (int)o->node->outputs.len;
    if (tn_o_has_attr(o, "num_outputs")) {
        int64_t n = tn_o_int(o, "num_outputs", parts);
        if (n != parts)
            tn_o_fail(o, TN_INVALID, "num_outputs is %lld; it has %d", (long long)n, parts);
    }
    if (!tn_o_ok(o) || parts == 0) return;
    tn_dim *size = TN_NEW_N(o->scratch, tn_dim, parts), at = 0;
    if (!split_sizes(o, tn_b_dim(o->b, x, axis), parts, size)) return;
    for (int i = 0; i < parts; i++) {
        tn_o_out(o, i, tn_b_slice_axis(o->b, x, axis, at, size[i], 1));
        at = tn_dim_add(o->dims, at, size[i]);
    }
}

/* ---- rearranging ------------------------------------------------------------------------------ */

static void import_depth_to_space(tn_o *o) {
    static const char *const modes[] = {"DCR", "CRD", NULL};
    tn_value x = tn_o_in(o, 0);
    int64_t block = tn_o_need_int(o, "blocksize");
    bool crd = tn_o_choice(o, "mode", "DCR", modes) == 1;
    tn_o_out(o, 0, tn_b_depth_to_space(o->b, x, block, crd));
}

static void import_space_to_depth(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    tn_o_out(o, 0, tn_b_space_to_depth(o->b, x, tn_o_need_int(o, "blocksize")));
}

static void import_trilu(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    bool lower = !tn_o_int(o, "upper", 1);
    tn_value k = tn_o_has(o, 1) ? tn_o_in(o, 1) : tn_b_scalar_int(o->b, TN_i64, 0);
    if (tn_b_rank(o->b, k) == 1 && tn_o_expect(o, 1, "k", 1, (tn_dim[]){1}))
        k = tn_b_squeeze(o->b, k, 0);
    tn_o_out(o, 0, tn_b_triangle(o->b, x, lower, k));
}

static const tn_onnx_op rows[] = {
    {"Concat", 4, TN_ONNX_LATEST, import_concat},
    {"Constant", 1, TN_ONNX_LATEST, import_constant},
    {"ConstantOfShape", 9, TN_ONNX_LATEST, import_constant_of_shape},
    {"DepthToSpace", 1, TN_ONNX_LATEST, import_depth_to_space},
    {"Expand", 8, TN_ONNX_LATEST, import_expand},
    {"EyeLike", 9, TN_ONNX_LATEST, import_eye_like},
    {"Flatten", 1, TN_ONNX_LATEST, import_flatten},
    {"Identity", 1, TN_ONNX_LATEST, import_identity},
    {"Range", 11, TN_ONNX_LATEST, import_range},
    {"Reshape", 1, TN_ONNX_LATEST, import_reshape},
    {"Shape", 1, TN_ONNX_LATEST, import_known_only},
    {"Size", 1, TN_ONNX_LATEST, import_known_only},
    {"SpaceToDepth", 1, TN_ONNX_LATEST, import_space_to_depth},
    {"Split", 1, TN_ONNX_LATEST, import_split},
    {"Squeeze", 1, TN_ONNX_LATEST, import_squeeze},
    {"Tile", 1, 5, import_tile_axis},
    {"Tile", 6, TN_ONNX_LATEST, import_tile},
    {"Transpose", 1, TN_ONNX_LATEST, import_transpose},
    {"Trilu", 14, TN_ONNX_LATEST, import_trilu},
    {"Unsqueeze", 1, TN_ONNX_LATEST, import_unsqueeze},
};
TN_ONNX_TABLE(shape, "")
