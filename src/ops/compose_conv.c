/* Convolution and pooling for channels-first layouts, and matrix products. See compose.h.
 *
 * The primitive conv wants channels last, so x and w are permuted on the way in and y on the way
 * out; a group is a batch axis. */
#include <math.h>

#include "ops/compose.h"
#include "ops/parts.h"

/* ---- matrix products ------------------------------------------------------------------------ */

tn_dtype tn_b_accumulator(tn_dtype dtype) {
    if (tn_dtype_is_float(dtype)) return tn_dtype_bits(dtype) < 32 ? TN_f32 : dtype;
    return tn_dtype_bits(dtype) < 32 ? TN_i32 : dtype;
}

/* Floats go back to the type of the layer, integers stay in the accumulator. */
static tn_value round_back(tn_builder *b, tn_value y, tn_dtype dtype) {
    return tn_dtype_is_float(dtype) ? tn_b_cast(b, y, dtype) : y;
}

tn_value tn_b_product(tn_builder *b, tn_value x, tn_value y) {
    tn_dtype dtype = tn_b_type(b, x).dtype;
    return round_back(b, tn_b_matmul(b, x, y, tn_b_accumulator(dtype)), dtype);
}

tn_value tn_b_linear(tn_builder *b, tn_value x, tn_value w, tn_value bias) {
    tn_dtype dtype = tn_b_type(b, x).dtype;
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_attrs_dot a = {.lhs_contract = {1, {tn_b_rank(b, x) - 1}},
                      .rhs_contract = {1, {1}},
                      .acc = tn_b_accumulator(dtype)};
    tn_value y = tn_b_node(b, TN_OP_dot, (tn_value[]){x, w}, 2, &a);
    if (bias != TN_NO_VALUE) y = tn_b_add(b, y, tn_b_cast(b, bias, a.acc));
    return round_back(b, y, dtype);
}

/* ---- convolution ---------------------------------------------------------------------------- */

static int64_t at_least_one(int64_t value) {
    return value ? value : 1;
}

/* Moves axis `from` to place `to`, the others keep their order. */
static tn_value move_axis(tn_builder *b, tn_value x, int from, int to) {
    int rank = tn_b_rank(b, x), perm[TN_MAX_RANK], at = 0;
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    for (int i = 0; i < rank; i++) {
        if (i == to)
            perm[i] = from;
        else
            perm[i] = at + (at >= from), at++;
    }
    return tn_b_permute(b, x, perm);
}

/* [N, G·C, …] → [G, N, …, C]; without groups there is no batch axis. Grouping is done on the
 * channels-last form, where the rewrites bring activations. */
static tn_value group_last(tn_builder *b, tn_value x, int64_t groups) {
    int rank = tn_b_rank(b, x);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_dim each;
    if (!tn_dim_divides(b->graph->dims, tn_b_dim(b, x, 1), groups, &each))
        return tn_b_fail(b, TN_INVALID, "%s channels do not split into %lld groups",
                         tn_dim_text(b->graph->dims, tn_b_dim(b, x, 1)).at, (long long)groups);
    x = move_axis(b, x, 1, rank - 1);
    if (groups == 1) return x;
    x = tn_b_regroup(b, x, rank - 1, 1, 2, (tn_dim[]){groups, each}); /* N, …, G, C */
    return move_axis(b, x, rank - 1, 0);
}

/* [G, N, …, O] → [N, G·O, …] */
static tn_value ungroup(tn_builder *b, tn_value y, int64_t groups) {
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (groups > 1) {
        int rank = tn_b_rank(b, y);
        tn_dim all = tn_dim_mul(b->graph->dims, groups, tn_b_dim(b, y, rank - 1));
        y = move_axis(b, y, 0, rank - 2); /* N, …, G, O */
        y = tn_b_regroup(b, y, rank - 2, 2, 1, &all);
    }
    return tn_b_ok(b) ? move_axis(b, y, tn_b_rank(b, y) - 1, 1) : TN_NO_VALUE;
}

/* w [G·first, second, …] → [G, …, C, O]; `first` is O for conv, C for its transpose. */
static tn_value group_kernel(tn_builder *b, tn_value w, int64_t groups, bool transposed) {
    int rank = tn_b_rank(b, w), perm[TN_MAX_RANK], batch = groups > 1, at = 0;
    tn_dim each;
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (!tn_dim_divides(b->graph->dims, tn_b_dim(b, w, 0), groups, &each))
        return tn_b_fail(b, TN_INVALID, "axis 0 of the weight does not split into %lld groups",
                         (long long)groups);
    if (batch) {
        w = tn_b_regroup(b, w, 0, 1, 2, (tn_dim[]){groups, each});
        perm[at++] = 0;
    }
    for (int s = 0; s < rank - 2; s++) perm[at++] = batch + 2 + s;
    perm[at++] = batch + (transposed ? 0 : 1);
    perm[at] = batch + (transposed ? 1 : 0);
    return tn_b_permute(b, w, perm);
}

static bool conv_ranks(tn_builder *b, tn_value x, tn_value w, int64_t groups, const char *what) {
    int rank = tn_b_rank(b, x);
    if (tn_b_ok(b) && (rank < 3 || rank > 2 + TN_MAX_SPATIAL || tn_b_rank(b, w) != rank))
        tn_b_fail(b, TN_INVALID,
                  "%s: x has %d axes and the weight %d; expected the same number, N and C and 1 to "
                  "%d spatial axes",
                  what, rank, tn_b_rank(b, w), TN_MAX_SPATIAL);
    if (tn_b_ok(b) && groups < 1)
        tn_b_fail(b, TN_INVALID, "%s: %lld groups", what, (long long)groups);
    return tn_b_ok(b);
}

/* The channels of x against those of the weight, in the words of a model's author. */
static bool conv_channels(tn_builder *b, tn_value x, tn_value w, int64_t groups) {
    tn_dims *t = b->graph->dims;
    tn_dim have = tn_b_dim(b, x, 1), per_group = tn_b_dim(b, w, 1);
    tn_type type = tn_b_type(b, x);
    if (tn_dim_mul(t, per_group, groups) != have)
        tn_b_fail(b, TN_INVALID,
                  "conv: weight has %s input channels, input has %s (%s); expected groups (%lld) × "
                  "those of the weight",
                  tn_dim_text(t, per_group).at, tn_dim_text(t, have).at, tn_type_text(t, &type).at,
                  (long long)groups);
    return tn_b_ok(b);
}

static tn_value finish_conv(tn_builder *b, tn_value y, tn_value bias, int64_t groups,
                            tn_dtype dtype) {
    y = ungroup(b, y, groups);
    if (bias != TN_NO_VALUE) {
        tn_value vector = tn_b_channel_vector(b, bias, tn_b_rank(b, y));
        y = tn_b_add(b, y, tn_b_cast(b, vector, tn_b_type(b, y).dtype));
    }
    return round_back(b, y, dtype);
}

static tn_dtype conv_accumulator(const tn_conv_options *o, tn_dtype dtype) {
    return o->has_acc ? o->acc : tn_b_accumulator(dtype);
}

tn_value tn_b_conv(tn_builder *b, tn_value x, tn_value w, tn_value bias, const tn_conv_options *o) {
    int64_t groups = at_least_one(o->groups);
    if (!conv_ranks(b, x, w, groups, "conv") || !conv_channels(b, x, w, groups)) return TN_NO_VALUE;
    tn_dtype dtype = tn_b_type(b, x).dtype;
    tn_attrs_conv a = {.batch = groups > 1, .acc = conv_accumulator(o, dtype)};
    for (int s = 0; s < tn_b_rank(b, x) - 2; s++) {
        tn_ints_push(&a.stride, at_least_one(o->stride[s]));
        tn_ints_push(&a.window_dilation, at_least_one(o->dilation[s]));
        tn_ints_push(&a.base_dilation, 1);
        tn_ints_push(&a.pad_lo, o->pad_lo[s]);
        tn_ints_push(&a.pad_hi, o->pad_hi[s]);
    }
    tn_value in[] = {group_last(b, x, groups), group_kernel(b, w, groups, false)};
    return finish_conv(b, tn_b_node(b, TN_OP_conv, in, 2, &a), bias, groups, dtype);
}

tn_value tn_b_conv_transpose(tn_builder *b, tn_value x, tn_value w, tn_value bias,
                             const tn_conv_options *o) {
    int64_t groups = at_least_one(o->groups), size;
    if (!conv_ranks(b, x, w, groups, "conv_transpose")) return TN_NO_VALUE;
    tn_dtype dtype = tn_b_type(b, x).dtype;
    tn_attrs_conv a = {.batch = groups > 1, .acc = conv_accumulator(o, dtype)};
    int spatial = tn_b_rank(b, x) - 2;
    for (int s = 0; s < spatial; s++) {
        if (!tn_dim_const_value(b->graph->dims, tn_b_dim(b, w, 2 + s), &size))
            return tn_b_fail(b, TN_UNSUPPORTED,
                             "conv_transpose: the window's size must be constant");
        int64_t reach = (size - 1) * at_least_one(o->dilation[s]);
        tn_ints_push(&a.stride, 1);
        tn_ints_push(&a.window_dilation, at_least_one(o->dilation[s]));
        tn_ints_push(&a.base_dilation, at_least_one(o->stride[s]));
        tn_ints_push(&a.pad_lo, reach - o->pad_lo[s]);
        tn_ints_push(&a.pad_hi, reach - o->pad_hi[s] + o->output_pad[s]);
        w = tn_b_reverse(b, w, 2 + s);
    }
    tn_value in[] = {group_last(b, x, groups), group_kernel(b, w, groups, true)};
    return finish_conv(b, tn_b_node(b, TN_OP_conv, in, 2, &a), bias, groups, dtype);
}

/* ---- pooling -------------------------------------------------------------------------------- */

/* A window_reduce over the spatial axes; extra[s]: padding that ceil_mode adds behind. */
typedef struct pool {
    tn_attrs_window_reduce attrs;
    int spatial;
    int64_t extra[TN_MAX_SPATIAL];
    bool has_extra, has_pad;
} pool;

/* What a last, cut-off window needs behind the padding. */
static bool pool_extra(tn_builder *b, tn_value x, const tn_pool_options *o, int s, int64_t *extra) {
    int64_t size, stride = at_least_one(o->stride[s]);
    int64_t window = (o->window[s] - 1) * at_least_one(o->dilation[s]) + 1;
    *extra = 0;
    if (!o->ceil_mode || stride == 1) return true;
    if (!tn_dim_const_value(b->graph->dims, tn_b_dim(b, x, 2 + s), &size)) {
        tn_b_fail(b, TN_UNSUPPORTED,
                  "pooling with ceil_mode needs a constant size of axis %d; bind "
                  "it",
                  2 + s);
        return false;
    }
    int64_t room = size + o->pad_lo[s] + o->pad_hi[s] - window;
    int64_t last = (room + stride - 1) / stride * stride; /* where the last window begins */
    if (room < 0 || last >= size + o->pad_lo[s]) return true;
    *extra = TN_MAX(0, last - room);
    return true;
}

static bool pool_of(tn_builder *b, tn_value x, const tn_pool_options *o, tn_reduce_kind kind,
                    pool *p) {
    int rank = tn_b_rank(b, x);
    *p = (pool){.spatial = rank - 2};
    if (tn_b_ok(b) && (rank < 3 || rank > 2 + TN_MAX_SPATIAL))
        tn_b_fail(b, TN_INVALID, "pooling: x has %d axes; expected N, C and 1 to %d spatial axes",
                  rank, TN_MAX_SPATIAL);
    if (!tn_b_ok(b)) return false;
    tn_attrs_window_reduce *a = &p->attrs;
    tn_dtype dtype = tn_b_type(b, x).dtype;
    a->kind = kind;
    a->acc = kind == TN_REDUCE_sum ? tn_b_accumulator(dtype) : dtype;
    for (int i = 0; i < rank; i++) {
        int s = i - 2;
        if (s >= 0 && !pool_extra(b, x, o, s, &p->extra[s])) return false;
        tn_ints_push(&a->window, s < 0 ? 1 : o->window[s]);
        tn_ints_push(&a->stride, s < 0 ? 1 : at_least_one(o->stride[s]));
        tn_ints_push(&a->dilation, s < 0 ? 1 : at_least_one(o->dilation[s]));
        tn_ints_push(&a->pad_lo, s < 0 ? 0 : o->pad_lo[s]);
        tn_ints_push(&a->pad_hi, s < 0 ? 0 : o->pad_hi[s] + p->extra[s]);
        p->has_extra = p->has_extra || (s >= 0 && p->extra[s] != 0);
        p->has_pad = p->has_pad || (s >= 0 && (o->pad_lo[s] != 0 || o->pad_hi[s] != 0));
    }
    return true;
}

static tn_value pool_reduce(tn_builder *b, const pool *p, tn_value x) {
    return tn_b_node(b, TN_OP_window_reduce, &x, 1, &p->attrs);
}

tn_value tn_b_max_pool(tn_builder *b, tn_value x, const tn_pool_options *o, tn_value *positions) {
    pool p;
    if (positions) *positions = TN_NO_VALUE;
    if (!pool_of(b, x, o, TN_REDUCE_max, &p)) return TN_NO_VALUE;
    tn_value y = pool_reduce(b, &p, x);
    if (positions) {
        p.attrs.kind = TN_REDUCE_argmax;
        *positions = pool_reduce(b, &p, x);
    }
    return y;
}

/* How many elements each window covers: a window sum over ones, of shape [1, 1, out…]. */
static tn_value pool_counts(tn_builder *b, const pool *p, tn_value x, const tn_pool_options *o) {
    tn_dims *t = b->graph->dims;
    tn_shape shape = {.rank = p->spatial + 2, .dim = {1, 1}};
    pool ones = *p;
    for (int s = 0; s < p->spatial; s++) {
        tn_dim size = tn_b_dim(b, x, 2 + s);
        if (o->count_include_pad) {
            size = tn_dim_add(t, size, tn_dim_const(t, o->pad_lo[s] + o->pad_hi[s]));
            ones.attrs.pad_lo.at[2 + s] = 0;
            ones.attrs.pad_hi.at[2 + s] = p->extra[s];
        }
        shape.dim[2 + s] = size;
    }
    return pool_reduce(b, &ones, tn_b_full(b, p->attrs.acc, &shape, 1));
}

tn_value tn_b_average_pool(tn_builder *b, tn_value x, const tn_pool_options *o) {
    pool p;
    if (!pool_of(b, x, o, TN_REDUCE_sum, &p)) return TN_NO_VALUE;
    tn_dtype dtype = tn_b_type(b, x).dtype;
    tn_value sum = pool_reduce(b, &p, x), count;
    if (p.has_extra || (p.has_pad && !o->count_include_pad)) {
        count = pool_counts(b, &p, x, o);
    } else {
        double size = 1;
        for (int s = 0; s < p.spatial; s++) size *= (double)o->window[s];
        count = tn_b_scalar(b, p.attrs.acc, size);
    }
    return tn_b_cast(b, tn_b_div(b, sum, count), dtype);
}

/* |x|^p summed by `sum`, then the p-th root. */
static tn_value lp_power(tn_builder *b, tn_value x, int p) {
    if (p == 1) return tn_b_abs(b, x);
    if (p == 2) return tn_b_square(b, x);
    return tn_b_pow(b, tn_b_abs(b, x), tn_b_scalar(b, tn_b_type(b, x).dtype, p));
}

static tn_value lp_root(tn_builder *b, tn_value sum, int p) {
    if (p == 1) return sum;
    if (p == 2) return tn_b_sqrt(b, sum);
    return tn_b_pow(b, sum, tn_b_scalar(b, tn_b_type(b, sum).dtype, 1.0 / p));
}

static tn_value lp_wide(tn_builder *b, tn_value x, int p) {
    if (p < 1) return tn_b_fail(b, TN_INVALID, "an Lp norm with p = %d; expected at least 1", p);
    return tn_b_cast(b, x, tn_b_accumulator(tn_b_type(b, x).dtype));
}

tn_value tn_b_lp_pool(tn_builder *b, tn_value x, const tn_pool_options *o, int p) {
    pool w;
    tn_dtype dtype = tn_b_type(b, x).dtype;
    x = lp_wide(b, x, p);
    if (!tn_b_ok(b) || !pool_of(b, x, o, TN_REDUCE_sum, &w)) return TN_NO_VALUE;
    return tn_b_cast(b, lp_root(b, pool_reduce(b, &w, lp_power(b, x, p)), p), dtype);
}

static int all_spatial(tn_builder *b, tn_value x, int *axes) {
    int rank = tn_b_rank(b, x);
    if (tn_b_ok(b) && rank < 2) tn_b_fail(b, TN_INVALID, "pooling: x has %d axes", rank);
    for (int i = 2; i < rank; i++) axes[i - 2] = i;
    return TN_MAX(rank - 2, 0);
}

tn_value tn_b_global_average_pool(tn_builder *b, tn_value x) {
    int axes[TN_MAX_RANK], n = all_spatial(b, x, axes);
    return tn_b_mean(b, x, axes, n, true);
}

tn_value tn_b_global_max_pool(tn_builder *b, tn_value x) {
    int axes[TN_MAX_RANK], n = all_spatial(b, x, axes);
    return tn_b_reduce(b, TN_REDUCE_max, x, axes, n, true);
}

tn_value tn_b_global_lp_pool(tn_builder *b, tn_value x, int p) {
    int axes[TN_MAX_RANK], n = all_spatial(b, x, axes);
    tn_dtype dtype = tn_b_type(b, x).dtype;
    tn_value sum = tn_b_sum(b, lp_power(b, lp_wide(b, x, p), p), axes, n, true);
    return tn_b_cast(b, lp_root(b, sum, p), dtype);
}
