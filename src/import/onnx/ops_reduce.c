/* Reductions, arg-reductions, and the softmax family. */
#include "import/onnx/ops.h"

/* The axes to reduce and the shape with or without them. */
typedef struct reduction {
    tn_value x;
    int axes[TN_MAX_RANK], count;
    bool keep;
} reduction;

static bool read_reduction(tn_o *o, int since_input, reduction *r) {
    r->x = tn_o_in(o, 0);
    int rank = tn_b_rank(o->b, r->x);
    r->count = tn_o_axes(o, "axes", since_input, 1, rank, r->axes);
    r->keep = tn_o_int(o, "keepdims", 1) != 0;
    bool nothing = tn_o_int(o, "noop_with_empty_axes", 0) != 0;
    if (r->count <= 0 && !nothing) {
        for (int i = 0; i < rank; i++) r->axes[i] = i;
        r->count = rank;
    }
    r->count = TN_MAX(r->count, 0);
    return tn_o_ok(o);
}

static void reduce_by(tn_o *o, int since_input, tn_reduce_kind kind, tn_reduce_kind of_flags) {
    reduction r;
    if (!read_reduction(o, since_input, &r)) return;
    if (tn_b_type(o->b, r.x).dtype == TN_bool) kind = of_flags;
    tn_o_out(o, 0, tn_b_reduce(o->b, kind, r.x, r.axes, r.count, r.keep));
}
static void import_sum(tn_o *o) {
    reduce_by(o, 13, TN_REDUCE_sum, TN_REDUCE_sum);
}
static void import_prod(tn_o *o) {
    reduce_by(o, 18, TN_REDUCE_prod, TN_REDUCE_prod);
}
static void import_max(tn_o *o) {
    reduce_by(o, 18, TN_REDUCE_max, TN_REDUCE_or);
}
static void import_min(tn_o *o) {
    reduce_by(o, 18, TN_REDUCE_min, TN_REDUCE_and);
}

static void import_mean(tn_o *o) {
    reduction r;
    if (read_reduction(o, 18, &r)) tn_o_out(o, 0, tn_b_mean(o->b, r.x, r.axes, r.count, r.keep));
}

static tn_value sum_of(tn_o *o, const reduction *r, tn_value x) {
    return tn_b_sum(o->b, x, r->axes, r->count, r->keep);
}
static void import_l1(tn_o *o) {
    reduction r;
    if (read_reduction(o, 18, &r)) tn_o_out(o, 0, sum_of(o, &r, tn_b_abs(o->b, r.x)));
}
static void import_sum_square(tn_o *o) {
    reduction r;
    if (read_reduction(o, 18, &r)) tn_o_out(o, 0, sum_of(o, &r, tn_b_square(o->b, r.x)));
}
/* Narrow floats and integers take the way over a wider type. */
static tn_value as_wide_float(tn_o *o, tn_value x) {
    bool whole = tn_dtype_is_integer(tn_b_type(o->b, x).dtype);
    return whole ? tn_b_cast(o->b, x, TN_f64) : tn_o_widen(o, x);
}
static void import_l2(tn_o *o) {
    reduction r;
    if (!read_reduction(o, 18, &r)) return;
    tn_value x = as_wide_float(o, r.x);
    tn_value norm = tn_b_sqrt(o->b, sum_of(o, &r, tn_b_square(o->b, x)));
    tn_o_out(o, 0, tn_o_like(o, norm, r.x));
}
static void import_log_sum(tn_o *o) {
    reduction r;
    if (!read_reduction(o, 18, &r)) return;
    tn_value sum = sum_of(o, &r, as_wide_float(o, r.x));
    tn_o_out(o, 0, tn_o_like(o, tn_b_log(o->b, sum), r.x));
}
static void import_log_sum_exp(tn_o *o) {
    reduction r;
    if (!read_reduction(o, 18, &r)) return;
    tn_value y = tn_b_log_sum_exp(o->b, as_wide_float(o, r.x), r.axes, r.count, r.keep);
    tn_o_out(o, 0, tn_o_like(o, y, r.x));
}

/* ---- positions -------------------------------------------------------------------------------- */

static void arg_reduce(tn_o *o, tn_reduce_kind kind) {
    tn_value x = tn_o_in(o, 0);
    int axis = tn_o_axis(o, tn_o_int(o, "axis", 0), tn_b_rank(o->b, x));
    bool keep = tn_o_int(o, "keepdims", 1) != 0, last = tn_o_int(o, "select_last_index", 0) != 0;
    if (!tn_o_ok(o)) return;
    if (!last) {
        tn_o_out(o, 0, tn_b_reduce(o->b, kind, x, &axis, 1, keep));
        return;
    }
    tn_value at = tn_b_reduce(o->b, kind, tn_b_reverse(o->b, x, axis), &axis, 1, keep);
    tn_dim end = tn_dim_sub(o->dims, tn_b_dim(o->b, x, axis), 1);
    tn_o_out(o, 0, tn_b_sub(o->b, tn_b_dim_value(o->b, end, TN_i64), at));
}
static void import_arg_max(tn_o *o) {
    arg_reduce(o, TN_REDUCE_argmax);
}
static void import_arg_min(tn_o *o) {
    arg_reduce(o, TN_REDUCE_argmin);
}

/* ---- softmax ----------------------------------------------------------------------------------- */

static tn_value hardmax(tn_builder *b, tn_value x, int axis) {
    tn_dtype dtype = tn_b_type(b, x).dtype;
    tn_value best = tn_b_reduce(b, TN_REDUCE_argmax, x, &axis, 1, false);
    return tn_b_one_hot(b, best, tn_b_dim(b, x, axis), axis, tn_b_scalar(b, dtype, 1),
                        tn_b_scalar(b, dtype, 0));
}

/* Before version 13 all axes from `axis` on are one. */
static void along_axis(tn_o *o, tn_value (*fn)(tn_builder *, tn_value, int)) {
    tn_value x = tn_o_in(o, 0);
    tn_shape s = tn_b_type(o->b, x).shape;
    bool flat = o->version < 13;
    int64_t given = tn_o_int(o, "axis", flat ? 1 : -1);
    int axis = flat && given == s.rank ? s.rank : tn_o_axis(o, given, s.rank);
    if (!tn_o_ok(o)) return;
    if (!flat || axis == s.rank - 1) {
        tn_o_out(o, 0, fn(o->b, x, axis));
        return;
    }
    tn_dim dim[] = {1, 1};
    for (int i = 0; i < s.rank; i++) dim[i >= axis] = tn_dim_mul(o->dims, dim[i >= axis], s.dim[i]);
    tn_value y = fn(o->b, tn_b_reshape_to(o->b, x, 2, dim), 1);
    tn_o_out(o, 0, tn_b_reshape(o->b, y, &s));
}
static void import_softmax(tn_o *o) {
    along_axis(o, tn_b_softmax);
}
static void import_log_softmax(tn_o *o) {
    along_axis(o, tn_b_log_softmax);
}
static void import_hardmax(tn_o *o) {
    along_axis(o, hardmax);
}

/* ---- running -------------------------------------------------------------------------------------
 */

static void cumulative(tn_o *o, tn_reduce_kind kind) {
    tn_value x = tn_o_in(o, 0);
    int axis = tn_o_axis(o, tn_o_need_int_value(o, 1, "axis"), tn_b_rank(o->b, x));
    bool exclusive = tn_o_int(o, "exclusive", 0) != 0, reverse = tn_o_int(o, "reverse", 0) != 0;
    tn_o_out(o, 0, tn_b_cumulative(o->b, kind, x, axis, exclusive, reverse));
}
static void import_cum_sum(tn_o *o) {
    cumulative(o, TN_REDUCE_sum);
}
static void import_cum_prod(tn_o *o) {
    cumulative(o, TN_REDUCE_prod);
}

static const tn_onnx_op rows[] = {
    {"ArgMax", 1, TN_ONNX_LATEST, import_arg_max},
    {"ArgMin", 1, TN_ONNX_LATEST, import_arg_min},
    {"CumProd", 26, TN_ONNX_LATEST, import_cum_prod},
    {"CumSum", 11, TN_ONNX_LATEST, import_cum_sum},
    {"Hardmax", 1, TN_ONNX_LATEST, import_hardmax},
    {"LogSoftmax", 1, TN_ONNX_LATEST, import_log_softmax},
    {"ReduceL1", 1, TN_ONNX_LATEST, import_l1},
    {"ReduceL2", 1, TN_ONNX_LATEST, import_l2},
    {"ReduceLogSum", 1, TN_ONNX_LATEST, import_log_sum},
    {"ReduceLogSumExp", 1, TN_ONNX_LATEST, import_log_sum_exp},
    {"ReduceMax", 1, TN_ONNX_LATEST, import_max},
    {"ReduceMean", 1, TN_ONNX_LATEST, import_mean},
    {"ReduceMin", 1, TN_ONNX_LATEST, import_min},
    {"ReduceProd", 1, TN_ONNX_LATEST, import_prod},
    {"ReduceSum", 1, TN_ONNX_LATEST, import_sum},
    {"ReduceSumSquare", 1, TN_ONNX_LATEST, import_sum_square},
    {"Softmax", 1, TN_ONNX_LATEST, import_softmax},
};
TN_ONNX_TABLE(reduce, "")
