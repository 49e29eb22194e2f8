/* Arithmetic on values that are known while importing: the shapes that exporters compute with
 * ordinary operators. Elements are sizes, so a batch or a sequence length stays open on the way from
 * Shape to Reshape. A rule that cannot give an exact result gives none; the node is then imported
 * like any other. */
#include "import/onnx/scope.h"

enum { EXACT = 1 << 24 }; /* whole floats up to here are exact in f32 */

typedef bool rule(tn_o *o, tn_known *out);

static bool new_known(tn_o *o, tn_known *k, tn_dtype dtype, int rank, const int64_t *dim) {
    *k = (tn_known){.dtype = dtype, .rank = rank, .count = 1};
    for (int i = 0; i < rank; i++) {
        k->dim[i] = dim[i];
        k->count *= dim[i];
        if (k->count > TN_KNOWN_MAX || k->count < 0) return false;
    }
    o->scope->im->work -= 4 * (double)k->count;
    if (o->scope->im->work < 0) return false;
    k->at = TN_NEW_N(o->scratch, tn_dim, k->count);
    return true;
}

/* The same elements in another shape. */
static tn_known reshaped(const tn_known *k, int rank, const int64_t *dim) {
    tn_known r = *k;
    r.rank = rank;
    for (int i = 0; i < rank; i++) r.dim[i] = dim[i];
    return r;
}

static bool const_at(tn_o *o, const tn_known *k, int64_t i, int64_t *out) {
    return tn_dim_const_value(o->dims, k->at[i], out);
}

static bool all_const(tn_o *o, const tn_known *k) {
    int64_t unused;
    for (int64_t i = 0; i < k->count; i++)
        if (!const_at(o, k, i, &unused)) return false;
    return true;
}

/* Every constant fits the type, so that nothing would have wrapped or rounded. */
static bool in_range(tn_o *o, const tn_known *k) {
    int64_t v;
    for (int64_t i = 0; i < k->count; i++) {
        if (!const_at(o, k, i, &v)) continue;
        if (tn_dtype_is_float(k->dtype) ? v > EXACT || v < -EXACT
                                        : tn_cell_round(k->dtype, (tn_cell){.i = v}).i != v)
            return false;
    }
    return true;
}

/* ---- sources -------------------------------------------------------------------------------- */

static bool known_shape(tn_o *o, tn_known *out) {
    if (tn_o_item(o, 0)->kind != TN_ITEM_TENSOR) return false;
    tn_type type = tn_o_type(o, 0);
    int rank = type.shape.rank;
    int64_t start = tn_o_int(o, "start", 0), end = tn_o_int(o, "end", rank);
    start = TN_MIN(TN_MAX(start < 0 ? start + rank : start, 0), rank);
    end = TN_MIN(TN_MAX(end < 0 ? end + rank : end, 0), rank);
    int64_t count = TN_MAX(end - start, 0);
    if (!new_known(o, out, TN_i64, 1, &count)) return false;
    for (int64_t i = 0; i < count; i++) out->at[i] = type.shape.dim[start + i];
    return true;
}

static bool known_size(tn_o *o, tn_known *out) {
    if (tn_o_item(o, 0)->kind != TN_ITEM_TENSOR) return false;
    tn_type type = tn_o_type(o, 0);
    if (!new_known(o, out, TN_i64, 0, NULL)) return false;
    out->at[0] = tn_shape_count(o->dims, &type.shape);
    return true;
}

static bool known_constant_of_shape(tn_o *o, tn_known *out) {
    tn_known shape;
    tn_array value = {.dtype = TN_f32};
    int64_t dim[TN_MAX_RANK];
    if (!tn_o_known(o, 0, &shape) || shape.count > TN_MAX_RANK || !all_const(o, &shape))
        return false;
    if (!tn_o_has_attr(o, "value") || !tn_o_tensor(o, "value", &value)) return false;
    if (tn_array_count(&value) != 1 || tn_dtype_is_float(value.dtype)) return false;
    for (int64_t i = 0; i < shape.count; i++)
        if (!const_at(o, &shape, i, &dim[i]) || dim[i] < 0) return false;
    if (!new_known(o, out, value.dtype, (int)shape.count, dim)) return false;
    for (int64_t i = 0; i < out->count; i++)
        out->at[i] = tn_dim_const(o->dims, tn_array_get(&value, 0).i);
    return true;
}

static bool known_range(tn_o *o, tn_known *out) {
    tn_known in[3];
    int64_t v[3];
    for (int i = 0; i < 3; i++)
        if (!tn_o_known(o, i, &in[i]) || in[i].count != 1 || !const_at(o, &in[i], 0, &v[i]) ||
            tn_dtype_is_float(in[i].dtype) || v[i] > INT32_MAX || v[i] < INT32_MIN)
            return false;
    if (v[2] == 0) return false;
    int64_t span = v[1] - v[0];
    int64_t count = (span > 0) == (v[2] > 0) ? (span + v[2] - (v[2] > 0 ? 1 : -1)) / v[2] : 0;
    if (!new_known(o, out, in[0].dtype, 1, &count)) return false;
    for (int64_t i = 0; i < count; i++) out->at[i] = tn_dim_const(o->dims, v[0] + i * v[2]);
    return true;
}

/* ---- movement ------------------------------------------------------------------------------- */

static bool known_cast(tn_o *o, tn_known *out) {
    tn_known x;
    int64_t v;
    if (!tn_o_known(o, 0, &x)) return false;
    tn_dtype to = tn_o_dtype(o, "to", TN_f32);
    if (to == TN_bool || (tn_dtype_is_float(to) && to != TN_f32 && to != TN_f64)) return false;
    if (tn_dtype_is_float(to) && all_const(o, &x) && !tn_dtype_is_float(x.dtype)) return false;
    for (int64_t i = 0; i < x.count; i++)
        if (const_at(o, &x, i, &v) && tn_dtype_is_float(to) && (v > EXACT || v < -EXACT))
            return false;
    *out = x;
    out->dtype = to;
    return in_range(o, out);
}

static bool known_squeeze(tn_o *o, tn_known *out) {
    tn_known x;
    int axes[TN_MAX_RANK];
    if (!tn_o_known(o, 0, &x)) return false;
    int n = tn_o_axes(o, "axes", 13, 1, x.rank, axes), rank = 0;
    int64_t dim[TN_MAX_RANK];
    for (int i = 0, a = 0; i < x.rank; i++) {
        bool drop = n < 0 ? x.dim[i] == 1 : a < n && axes[a] == i;
        if (n >= 0 && drop) a++;
        if (drop && x.dim[i] != 1) return false;
        if (!drop) dim[rank++] = x.dim[i];
    }
    *out = reshaped(&x, rank, dim);
    return true;
}

static bool known_unsqueeze(tn_o *o, tn_known *out) {
    tn_known x;
    int count, axes[TN_MAX_RANK];
    const int64_t *unused;
    if (!tn_o_known(o, 0, &x)) return false;
    bool got = o->version < 13 ? tn_o_ints(o, "axes", &count, &unused)
                               : tn_o_need_ints(o, 1, "axes", &count, &unused);
    if (!got || x.rank + count > TN_MAX_RANK) return false;
    int rank = x.rank + count, n = tn_o_axes(o, "axes", 13, 1, rank, axes), a = 0, from = 0;
    int64_t dim[TN_MAX_RANK];
    for (int i = 0; i < rank; i++) {
        bool fresh = a < n && axes[a] == i;
        a += fresh;
        dim[i] = fresh ? 1 : x.dim[from++];
    }
    *out = reshaped(&x, rank, dim);
    return n == count;
}

static bool known_reshape(tn_o *o, tn_known *out) {
    tn_known x, shape;
    int64_t dim[TN_MAX_RANK], product = 1;
    int open = -1;
    if (!tn_o_known(o, 0, &x) || !tn_o_known(o, 1, &shape) || shape.count > TN_MAX_RANK)
        return false;
    for (int i = 0; i < (int)shape.count; i++) {
        if (!const_at(o, &shape, i, &dim[i])) return false;
        if (dim[i] == 0 && i < x.rank && !tn_o_int(o, "allowzero", 0)) dim[i] = x.dim[i];
        if (dim[i] == -1 && open < 0)
            open = i;
        else if (dim[i] <= 0 || dim[i] > TN_KNOWN_MAX)
            return false;
        else if ((product *= dim[i]) > TN_KNOWN_MAX)
            return false;
    }
    if (open >= 0) dim[open] = x.count / product;
    if (product * (open >= 0 ? dim[open] : 1) != x.count) return false;
    *out = reshaped(&x, (int)shape.count, dim);
    return true;
}

static bool known_concat(tn_o *o, tn_known *out) {
    int n = tn_o_in_count(o);
    int64_t total = 0, at = 0;
    tn_known x = {0};
    for (int i = 0; i < n; i++) {
        if (!tn_o_known(o, i, &x) || x.rank != 1) return false;
        total += x.count;
    }
    if (!n || !new_known(o, out, x.dtype, 1, &total)) return false;
    for (int i = 0; i < n; i++) {
        tn_o_known(o, i, &x);
        for (int64_t k = 0; k < x.count; k++) out->at[at++] = x.at[k];
    }
    return true;
}

static bool known_gather(tn_o *o, tn_known *out) {
    tn_known x, index;
    if (!tn_o_known(o, 0, &x) || x.rank != 1 || !tn_o_known(o, 1, &index)) return false;
    if (!new_known(o, out, x.dtype, index.rank, index.dim)) return false;
    for (int64_t i = 0; i < index.count; i++) {
        int64_t at;
        if (!const_at(o, &index, i, &at)) return false;
        if (at < 0) at += x.count;
        if (at < 0 || at >= x.count) return false;
        out->at[i] = x.at[at];
    }
    return true;
}

/* start, end, step of a one-dimensional Slice, clamped to its size. */
static bool slice_bounds(tn_o *o, int64_t size, int64_t *start, int64_t *step, int64_t *count) {
    const int64_t *at[3] = {0};
    int n[3];
    tn_array ignored;
    bool inputs = o->version >= 10;
    if (inputs && !(tn_o_array(o, 1, &ignored) && tn_o_array(o, 2, &ignored))) return false;
    if (inputs && tn_o_has(o, 4) && !tn_o_array(o, 4, &ignored)) return false;
    bool got = inputs
                   ? tn_o_need_ints(o, 1, "starts", &n[0], &at[0]) &&
                         tn_o_need_ints(o, 2, "ends", &n[1], &at[1])
                   : tn_o_ints(o, "starts", &n[0], &at[0]) && tn_o_ints(o, "ends", &n[1], &at[1]);
    if (!got || n[0] != 1 || n[1] != 1) return false;
    *step = 1;
    if (inputs && tn_o_has(o, 4)) {
        if (!tn_o_need_ints(o, 4, "steps", &n[2], &at[2]) || n[2] != 1) return false;
        *step = at[2][0];
    }
    if (*step == 0 || *step > INT32_MAX || *step < INT32_MIN) return false;
    int64_t lo = *step > 0 ? 0 : -1, hi = *step > 0 ? size : size - 1;
    int64_t first = at[0][0], last = at[1][0];
    first = TN_MIN(TN_MAX(first < 0 ? first + size : first, *step > 0 ? 0 : -1), hi);
    last = TN_MIN(TN_MAX(last < 0 ? last + size : last, lo), hi);
    int64_t span = last - first;
    *start = first;
    *count = (span > 0) == (*step > 0) ? (span + *step - (*step > 0 ? 1 : -1)) / *step : 0;
    return true;
}

static bool known_slice(tn_o *o, tn_known *out) {
    tn_known x;
    int64_t start, step, count;
    if (!tn_o_known(o, 0, &x) || x.rank != 1) return false;
    if (!slice_bounds(o, x.count, &start, &step, &count)) return false;
    if (!new_known(o, out, x.dtype, 1, &count)) return false;
    for (int64_t i = 0; i < count; i++) out->at[i] = x.at[start + i * step];
    return true;
}

static bool known_expand(tn_o *o, tn_known *out) {
    tn_known x, shape;
    int64_t dim[TN_MAX_RANK];
    if (!tn_o_known(o, 0, &x) || x.count != 1 || !tn_o_known(o, 1, &shape)) return false;
    if (shape.count > TN_MAX_RANK || x.rank > (int)shape.count) return false;
    for (int64_t i = 0; i < shape.count; i++)
        if (!const_at(o, &shape, i, &dim[i]) || dim[i] < 1) return false;
    if (!new_known(o, out, x.dtype, (int)shape.count, dim)) return false;
    for (int64_t i = 0; i < out->count; i++) out->at[i] = x.at[0];
    return true;
}

/* ---- arithmetic ----------------------------------------------------------------------------- */

typedef bool binary_fn(tn_o *o, tn_dtype dtype, tn_dim a, tn_dim b, tn_dim *out);

static bool both_const(tn_o *o, tn_dim a, tn_dim b, int64_t *x, int64_t *y) {
    return tn_dim_const_value(o->dims, a, x) && tn_dim_const_value(o->dims, b, y);
}

/* Sizes of reasonable magnitude, whose polynomials do not saturate. */
static bool tame(tn_o *o, tn_dim d) {
    int64_t v;
    return !tn_dim_const_value(o->dims, d, &v) || (v < (int64_t)1 << 40 && v > -((int64_t)1 << 40));
}

static bool do_add(tn_o *o, tn_dtype t, tn_dim a, tn_dim b, tn_dim *out) {
    (void)t;
    *out = tn_dim_add(o->dims, a, b);
    return true;
}
static bool do_sub(tn_o *o, tn_dtype t, tn_dim a, tn_dim b, tn_dim *out) {
    (void)t;
    *out = tn_dim_sub(o->dims, a, b);
    return true;
}
static bool do_mul(tn_o *o, tn_dtype t, tn_dim a, tn_dim b, tn_dim *out) {
    int64_t x, y, product;
    (void)t;
    if (both_const(o, a, b, &x, &y) && __builtin_mul_overflow(x, y, &product)) return false;
    *out = tn_dim_mul(o->dims, a, b);
    return true;
}
/* Integers truncate, as in C. */
static bool do_div(tn_o *o, tn_dtype t, tn_dim a, tn_dim b, tn_dim *out) {
    int64_t x, y;
    bool real = tn_dtype_is_float(t);
    if (both_const(o, a, b, &x, &y)) {
        if (y == 0 || (real && x % y)) return false;
        *out = tn_dim_const(o->dims, x / y);
        return true;
    }
    if (tn_dim_lo(o->dims, b) < 0) return false; /* at 0 the model has no meaning */
    if (real) return tn_dim_divides(o->dims, a, b, out);
    if (tn_dim_lo(o->dims, a) < 0) return false;
    *out = tn_dim_floordiv(o->dims, a, b);
    return true;
}
static bool do_mod(tn_o *o, tn_dtype t, tn_dim a, tn_dim b, tn_dim *out) {
    if (tn_dtype_is_float(t) || tn_dim_lo(o->dims, a) < 0 || tn_dim_lo(o->dims, b) < 0)
        return false;
    *out = tn_dim_mod(o->dims, a, b);
    return true;
}
static bool do_min(tn_o *o, tn_dtype t, tn_dim a, tn_dim b, tn_dim *out) {
    (void)t;
    *out = tn_dim_min(o->dims, a, b);
    return true;
}
static bool do_max(tn_o *o, tn_dtype t, tn_dim a, tn_dim b, tn_dim *out) {
    (void)t;
    *out = tn_dim_max(o->dims, a, b);
    return true;
}
/* 1 or 0 when it is so, or not so, for all values of the symbols. */
static bool decided(bool yes, bool no, tn_dim *out) {
    *out = yes ? 1 : 0;
    return yes || no;
}
static bool do_equal(tn_o *o, tn_dtype t, tn_dim a, tn_dim b, tn_dim *out) {
    bool apart = tn_dim_hi(o->dims, a) < tn_dim_lo(o->dims, b) ||
                 tn_dim_hi(o->dims, b) < tn_dim_lo(o->dims, a);
    (void)t;
    return decided(a == b, apart, out);
}
static bool do_less(tn_o *o, tn_dtype t, tn_dim a, tn_dim b, tn_dim *out) {
    (void)t;
    return decided(tn_dim_proves_le(o->dims, tn_dim_add(o->dims, a, 1), b),
                   tn_dim_proves_le(o->dims, b, a), out);
}
static bool do_greater(tn_o *o, tn_dtype t, tn_dim a, tn_dim b, tn_dim *out) {
    return do_less(o, t, b, a, out);
}
static bool do_less_equal(tn_o *o, tn_dtype t, tn_dim a, tn_dim b, tn_dim *out) {
    if (!do_less(o, t, b, a, out)) return false;
    *out = !*out;
    return true;
}
static bool do_greater_equal(tn_o *o, tn_dtype t, tn_dim a, tn_dim b, tn_dim *out) {
    return do_less_equal(o, t, b, a, out);
}
static bool do_and(tn_o *o, tn_dtype t, tn_dim a, tn_dim b, tn_dim *out) {
    (void)o, (void)t;
    return decided(a == 1 && b == 1, a == 0 || b == 0, out);
}
static bool do_or(tn_o *o, tn_dtype t, tn_dim a, tn_dim b, tn_dim *out) {
    (void)o, (void)t;
    return decided(a == 1 || b == 1, a == 0 && b == 0, out);
}

/* Element of `k` for index `at` of a broadcast shape of `rank` axes. */
static tn_dim element(const tn_known *k, const int64_t *at, int rank) {
    int64_t offset = 0;
    for (int i = 0; i < k->rank; i++)
        offset = offset * k->dim[i] + (k->dim[i] == 1 ? 0 : at[rank - k->rank + i]);
    return k->at[offset];
}

static bool broadcast(const tn_known *k, int n, int *rank, int64_t *dim) {
    *rank = 0;
    for (int i = 0; i < n; i++) *rank = TN_MAX(*rank, k[i].rank);
    for (int a = 0; a < *rank; a++) dim[a] = 1;
    for (int i = 0; i < n; i++)
        for (int a = 0; a < k[i].rank; a++) {
            int64_t *d = &dim[*rank - k[i].rank + a];
            if (k[i].dim[a] == 1) continue;
            if (*d != 1 && *d != k[i].dim[a]) return false;
            *d = k[i].dim[a];
        }
    return true;
}

static bool apply_binary(tn_o *o, binary_fn *fn, bool flag, tn_known *out) {
    tn_known in[2];
    int rank;
    int64_t dim[TN_MAX_RANK], at[TN_MAX_RANK] = {0}, i = 0;
    if (!tn_o_known(o, 0, &in[0]) || !tn_o_known(o, 1, &in[1])) return false;
    if (in[0].dtype != in[1].dtype || !broadcast(in, 2, &rank, dim)) return false;
    if (tn_dtype_is_float(in[0].dtype) && all_const(o, &in[0]) && all_const(o, &in[1]))
        return false;
    if (!new_known(o, out, flag ? TN_bool : in[0].dtype, rank, dim)) return false;
    if (!out->count) return true;
    do {
        tn_dim a = element(&in[0], at, rank), b = element(&in[1], at, rank);
        if (!tame(o, a) || !tame(o, b) || !fn(o, in[0].dtype, a, b, &out->at[i++])) return false;
    } while (tn_index_next(at, rank, dim));
    return in_range(o, out);
}

#define BINARY(name, flag)                                                                         \
    static bool known_##name(tn_o *o, tn_known *out) {                                             \
        return tn_o_in_count(o) == 2 && apply_binary(o, do_##name, flag, out);                     \
    }
BINARY(add, false)
BINARY(sub, false)
BINARY(mul, false)
BINARY(div, false)
BINARY(min, false)
BINARY(max, false)
BINARY(equal, true)
BINARY(less, true)
BINARY(greater, true)
BINARY(less_equal, true)
BINARY(greater_equal, true)
BINARY(and, true)
BINARY(or, true)

static bool known_mod(tn_o *o, tn_known *out) {
    return !tn_o_int(o, "fmod", 0) && apply_binary(o, do_mod, false, out);
}

static bool known_neg(tn_o *o, tn_known *out) {
    tn_known x;
    if (!tn_o_known(o, 0, &x) || tn_dtype_is_float(x.dtype)) return false;
    if (!new_known(o, out, x.dtype, x.rank, x.dim)) return false;
    for (int64_t i = 0; i < x.count; i++) {
        if (!tame(o, x.at[i])) return false;
        out->at[i] = tn_dim_sub(o->dims, 0, x.at[i]);
    }
    return in_range(o, out);
}

static bool known_not(tn_o *o, tn_known *out) {
    tn_known x;
    if (!tn_o_known(o, 0, &x) || x.dtype != TN_bool) return false;
    if (!new_known(o, out, x.dtype, x.rank, x.dim)) return false;
    for (int64_t i = 0; i < x.count; i++) out->at[i] = !x.at[i];
    return true;
}

/* Floor, Ceil, Round of whole numbers. */
static bool known_whole(tn_o *o, tn_known *out) {
    return tn_o_known(o, 0, out) && !all_const(o, out);
}

static bool known_where(tn_o *o, tn_known *out) {
    tn_known in[3];
    int rank;
    int64_t dim[TN_MAX_RANK], at[TN_MAX_RANK] = {0}, i = 0;
    for (int k = 0; k < 3; k++)
        if (!tn_o_known(o, k, &in[k])) return false;
    if (in[1].dtype != in[2].dtype || !broadcast(in, 3, &rank, dim)) return false;
    if (tn_dtype_is_float(in[1].dtype) || !new_known(o, out, in[1].dtype, rank, dim)) return false;
    if (!out->count) return true;
    do {
        bool yes = element(&in[0], at, rank) != 0;
        out->at[i++] = element(&in[yes ? 1 : 2], at, rank);
    } while (tn_index_next(at, rank, dim));
    return true;
}

/* Over all axes of a vector. */
static bool reduce_vector(tn_o *o, binary_fn *fn, tn_known *out) {
    tn_known x;
    int axes[TN_MAX_RANK], since = !strcmp(o->node->op, "ReduceSum") ? 13 : 18;
    if (!tn_o_known(o, 0, &x) || x.rank != 1 || x.count == 0 || tn_dtype_is_float(x.dtype))
        return false;
    int n = tn_o_axes(o, "axes", since, 1, 1, axes);
    if (n == 0 || (n < 0 && tn_o_int(o, "noop_with_empty_axes", 0))) return false;
    int64_t one = 1;
    if (!new_known(o, out, x.dtype, tn_o_int(o, "keepdims", 1) ? 1 : 0, &one)) return false;
    out->at[0] = x.at[0];
    for (int64_t i = 0; i < x.count; i++)
        if (!tame(o, x.at[i]) || !tame(o, out->at[0]) ||
            (i && !fn(o, x.dtype, out->at[0], x.at[i], &out->at[0])))
            return false;
    return in_range(o, out);
}

#define REDUCE(name)                                                                               \
    static bool known_reduce_##name(tn_o *o, tn_known *out) {                                      \
        return reduce_vector(o, do_##name, out);                                                   \
    }
REDUCE(add)
REDUCE(mul)
REDUCE(min)
REDUCE(max)

static const struct {
    const char *op;
    rule *fn;
} rules[] = {
    {"Add", known_add},
    {"And", known_and},
    {"Cast", known_cast},
    {"Ceil", known_whole},
    {"Concat", known_concat},
    {"ConstantOfShape", known_constant_of_shape},
    {"Div", known_div},
    {"Equal", known_equal},
    {"Expand", known_expand},
    {"Floor", known_whole},
    {"Gather", known_gather},
    {"Greater", known_greater},
    {"GreaterOrEqual", known_greater_equal},
    {"Less", known_less},
    {"LessOrEqual", known_less_equal},
    {"Max", known_max},
    {"Min", known_min},
    {"Mod", known_mod},
    {"Mul", known_mul},
    {"Neg", known_neg},
    {"Not", known_not},
    {"Or", known_or},
    {"Range", known_range},
    {"ReduceMax", known_reduce_max},
    {"ReduceMin", known_reduce_min},
    {"ReduceProd", known_reduce_mul},
    {"ReduceSum", known_reduce_add},
    {"Reshape", known_reshape},
    {"Round", known_whole},
    {"Shape", known_shape},
    {"Size", known_size},
    {"Slice", known_slice},
    {"Squeeze", known_squeeze},
    {"Sub", known_sub},
    {"Unsqueeze", known_unsqueeze},
    {"Where", known_where},
};

/* Old versions to which the rules do not apply: axis-aligned broadcasting, attributes for inputs. */
static bool is_old_form(tn_o *o) {
    if (o->version >= 7) return false;
    if (!strcmp(o->node->op, "Cast")) return o->version < 6;
    if (!strcmp(o->node->op, "Reshape")) return o->version < 5;
    return tn_o_has_attr(o, "broadcast") && tn_o_has_attr(o, "axis");
}

/* A float that a Gradient node may ask for must stay a result of nodes. */
static bool is_differentiated(const tn_o *o, tn_dtype dtype) {
    const tn_onnx_opsets *sets = &o->scope->im->model->opsets;
    if (!tn_dtype_is_float(dtype)) return false;
    for (uint32_t i = 0; i < sets->len; i++)
        if (!strcmp(sets->data[i].domain, "ai.onnx.preview.training")) return true;
    return false;
}

bool tn_onnx_import_known(tn_o *o) {
    for (size_t i = 0; i < TN_COUNT(rules); i++) {
        tn_known known;
        if (strcmp(rules[i].op, o->node->op)) continue;
        if (is_old_form(o) || !rules[i].fn(o, &known) || !tn_o_ok(o)) return false;
        if (is_differentiated(o, known.dtype)) return false;
        tn_o_out_known(o, 0, &known);
        return true;
    }
    return false;
}
