/* Operators with positions as data: gather, scatter, sorting. */
#include "import/onnx/dynamic.h"
#include "import/onnx/ops.h"

/* Positions known to be in front of the end need no wrapping. */
static tn_value positions(tn_o *o, int i, tn_dim size) {
    tn_known k;
    tn_value index = tn_o_in(o, i);
    bool plain = tn_o_known(o, i, &k);
    for (int64_t e = 0; plain && e < k.count; e++) plain = tn_dim_lo(o->dims, k.at[e]) >= 0;
    return plain ? index : tn_b_wrap_index(o->b, index, size);
}

/* ---- gather ----------------------------------------------------------------------------------- */

static void import_gather(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    tn_known k;
    int axis = tn_o_axis(o, tn_o_int(o, "axis", 0), tn_b_rank(o->b, x));
    tn_dim size = tn_b_dim(o->b, x, axis);
    int64_t at;
    if (tn_o_known(o, 1, &k) && k.count == 1 && k.rank <= 1 && tn_dim_is_const(size) &&
        tn_dim_const_value(o->dims, k.at[0], &at)) {
        if (at < 0) at += size;
        if (at >= 0 && at < size) {
            tn_value one = tn_b_slice_axis(o->b, x, axis, at, 1, 1);
            tn_o_out(o, 0, k.rank ? one : tn_b_squeeze(o->b, one, axis));
            return;
        }
    }
    tn_value index = positions(o, 1, size);
    tn_o_out(o, 0, tn_b_gather_axis(o->b, x, index, axis, TN_INDEX_error));
}

static void import_gather_elements(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    int axis = tn_o_axis(o, tn_o_int(o, "axis", 0), tn_b_rank(o->b, x));
    tn_value index = positions(o, 1, tn_b_dim(o->b, x, axis));
    tn_o_out(o, 0, tn_b_gather_elements(o->b, x, index, axis, TN_INDEX_error));
}

/* Positions on the axes of x from `batch` on; each wraps at its own axis' size. */
static tn_value positions_nd(tn_o *o, tn_value index, tn_value x, int64_t batch) {
    tn_builder *b = o->b;
    tn_dtype dtype = tn_b_type(b, index).dtype;
    tn_value size[TN_MAX_RANK];
    int64_t count = tn_o_const_dim(o, tn_b_dim(b, index, -1), "the last axis of its indices");
    if (tn_o_ok(o) && (batch < 0 || count < 1 || count > tn_b_rank(b, x) - batch))
        tn_o_fail(o, TN_INVALID,
                  "its indices have %lld positions each; the data have %d axes, %lld of them batch "
                  "axes",
                  (long long)count, tn_b_rank(b, x), (long long)batch);
    if (!tn_o_ok(o)) return TN_NO_VALUE;
    for (int i = 0; i < (int)count; i++) {
        tn_value one = tn_b_dim_value(b, tn_b_dim(b, x, (int)batch + i), dtype);
        size[i] = tn_b_unsqueeze(b, one, 0);
    }
    tn_value from_end = tn_b_add(b, index, tn_b_concat(b, size, (int)count, 0));
    tn_value negative = tn_b_lt(b, index, tn_b_scalar_int(b, dtype, 0));
    return tn_b_where(b, negative, from_end, index);
}

static void import_gather_nd(tn_o *o) {
    tn_value x = tn_o_in(o, 0), index = tn_o_in(o, 1);
    int64_t batch = tn_o_int(o, "batch_dims", 0);
    index = positions_nd(o, index, x, batch);
    tn_o_out(o, 0, tn_b_gather_nd(o->b, x, index, (int)batch, TN_INDEX_error));
}

/* ---- scatter ---------------------------------------------------------------------------------- */

static tn_combine combine_of(tn_o *o) {
    static const char *const names[] = {"none", "add", "mul", "min", "max", NULL};
    return (tn_combine)tn_o_choice(o, "reduction", "none", names);
}

static void import_scatter_elements(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    int axis = tn_o_axis(o, tn_o_int(o, "axis", 0), tn_b_rank(o->b, x));
    tn_value index = positions(o, 1, tn_b_dim(o->b, x, axis)), updates = tn_o_in(o, 2);
    tn_combine combine = combine_of(o);
    tn_o_out(o, 0, tn_b_scatter_elements(o->b, x, index, updates, axis, TN_INDEX_error, combine));
}

static void import_scatter_nd(tn_o *o) {
    tn_value x = tn_o_in(o, 0), index = tn_o_in(o, 1), updates = tn_o_in(o, 2);
    tn_combine combine = combine_of(o);
    index = positions_nd(o, index, x, 0);
    tn_o_out(o, 0, tn_b_scatter_nd(o->b, x, index, updates, TN_INDEX_error, combine));
}

/* ---- others ----------------------------------------------------------------------------------- */

static void import_one_hot(tn_o *o) {
    tn_value index = tn_o_in(o, 0), values = tn_o_in(o, 2);
    tn_known depth;
    int64_t axis = tn_o_int(o, "axis", -1);
    if (!tn_o_need_sizes(o, 1, "depth", false, &depth)) return;
    int64_t classes;
    if (depth.count != 1) tn_o_fail(o, TN_INVALID, "its depth is not a scalar");
    if (tn_o_ok(o) && tn_dim_const_value(o->dims, depth.at[0], &classes) && classes < 0)
        tn_o_fail(o, TN_INVALID, "its depth is %lld", (long long)classes);
    tn_o_expect(o, 2, "values", 1, (tn_dim[]){2});
    int at = tn_o_axis(o, axis, tn_b_rank(o->b, index) + 1);
    if (!tn_o_ok(o)) return;
    tn_value off = tn_b_squeeze(o->b, tn_b_slice_axis(o->b, values, 0, 0, 1, 1), 0);
    tn_value on = tn_b_squeeze(o->b, tn_b_slice_axis(o->b, values, 0, 1, 1, 1), 0);
    index = tn_b_cast(o->b, index, TN_i64);
    tn_o_out(o, 0, tn_b_one_hot(o->b, index, depth.at[0], at, on, off));
}

/* k of a TopK along an axis of `size` elements. */
static tn_dim elements_to_take(tn_o *o, tn_dim size) {
    int64_t count;
    tn_onnx_number *k;
    if (o->version < 10) return tn_dim_const(o->dims, tn_o_need_int(o, "k"));
    if (!tn_o_numbers(o, 1, "k", &count, &k)) return 0;
    if (count != 1) tn_o_fail(o, TN_INVALID, "k is not a scalar");
    if (!tn_o_ok(o)) return 0;
    if (k->value != TN_NO_VALUE && tn_onnx_is_choice(o, k->value)) {
        tn_onnx_ask_value(o, tn_o_item(o, 1), "k"); /* few of many: far faster with a constant */
        return 0;
    }
    return tn_o_number_size(o, 1, "k", *k, &size);
}

static void import_top_k(tn_o *o) {
    tn_value x = tn_o_in(o, 0), results[2] = {0};
    int axis = tn_o_axis(o, tn_o_int(o, "axis", -1), tn_b_rank(o->b, x));
    tn_dim k = tn_o_ok(o) ? elements_to_take(o, tn_b_dim(o->b, x, axis)) : 0;
    bool smallest = !tn_o_int(o, "largest", 1);
    if (!tn_o_ok(o)) return;
    tn_b_top_k(o->b, x, axis, k, smallest, results);
    tn_o_out(o, 0, results[0]);
    tn_o_out(o, 1, results[1]);
}

static void import_reverse_sequence(tn_o *o) {
    tn_value x = tn_o_in(o, 0), lengths = tn_o_in(o, 1);
    int rank = tn_b_rank(o->b, x);
    int batch = tn_o_axis(o, tn_o_int(o, "batch_axis", 1), rank);
    int time = tn_o_axis(o, tn_o_int(o, "time_axis", 0), rank);
    if (tn_o_ok(o)) tn_o_expect(o, 1, "lengths", 1, (tn_dim[]){tn_b_dim(o->b, x, batch)});
    tn_o_out(o, 0, tn_b_reverse_sequence(o->b, x, lengths, batch, time));
}

/* ---- sizes that depend on values ---------------------------------------------------------------- */

/* [rank, count]: of each place its position along every axis. */
static tn_value coordinates(tn_o *o, const tn_onnx_selection *s, const tn_shape *of) {
    tn_builder *b = o->b;
    tn_value rows[TN_MAX_RANK], rest = s->places;
    tn_shape none = {.rank = 2, .dim = {0, s->count}};
    if (of->rank == 0) return tn_b_full(b, TN_i64, &none, 0);
    for (int a = of->rank - 1; a >= 0; a--) {
        tn_value size = tn_b_dim_value(b, of->dim[a], TN_i64);
        rows[a] = tn_b_unsqueeze(b, a > 0 ? tn_b_rem(b, rest, size) : rest, 0);
        if (a > 0) rest = tn_b_div(b, rest, size);
    }
    return tn_b_concat(b, rows, of->rank, 0);
}

/* The positions of all elements, still computed from them. */
static void import_all_positions(tn_o *o) {
    tn_value x = tn_o_in(o, 0), rows[TN_MAX_RANK];
    tn_shape s = tn_b_type(o->b, x).shape;
    tn_dim row[2] = {1, tn_shape_count(o->dims, &s)};
    tn_value flags = tn_b_cast(o->b, x, TN_i64);
    for (int a = 0; a < s.rank; a++) {
        tn_value at = tn_b_iota(o->b, TN_i64, &s, a);
        rows[a] = tn_b_reshape_to(o->b, tn_b_min(o->b, at, tn_b_add(o->b, at, flags)), 2, row);
    }
    tn_o_out(o, 0, tn_b_concat(o->b, rows, s.rank, 0));
}

static void import_non_zero(tn_o *o) {
    tn_array known;
    if (o->scope->im->options->absent_data && !tn_o_array(o, 0, &known) && tn_o_ok(o) &&
        tn_b_rank(o->b, tn_o_in(o, 0)) > 0) {
        import_all_positions(o);
        return;
    }
    tn_value x = tn_o_in(o, 0);
    tn_shape shape = tn_b_type(o->b, x).shape;
    tn_onnx_selection s = tn_o_select(o, x, NULL, 0);
    if (tn_o_ok(o)) tn_o_out(o, 0, coordinates(o, &s, &shape));
}

static void import_compress(tn_o *o) {
    tn_value x = tn_o_in(o, 0), flags = tn_o_in(o, 1);
    tn_shape s = tn_b_type(o->b, x).shape;
    bool flat = !tn_o_has_attr(o, "axis");
    int axis = flat ? 0 : tn_o_axis(o, tn_o_int(o, "axis", 0), s.rank);
    if (tn_o_ok(o) && tn_b_rank(o->b, flags) != 1)
        tn_o_fail(o, TN_INVALID, "its condition has %d axes; expected one", tn_b_rank(o->b, flags));
    if (flat) {
        tn_dim all = tn_shape_count(o->dims, &s);
        x = tn_b_reshape_to(o->b, x, 1, &all);
    }
    tn_value places = tn_o_select(o, flags, NULL, 1).places;
    tn_o_out(o, 0, tn_b_gather_axis(o->b, x, places, axis, TN_INDEX_error));
}

static const tn_onnx_op rows[] = {
    {"Compress", 9, TN_ONNX_LATEST, import_compress},
    {"Gather", 1, TN_ONNX_LATEST, import_gather},
    {"GatherElements", 11, TN_ONNX_LATEST, import_gather_elements},
    {"GatherND", 11, TN_ONNX_LATEST, import_gather_nd},
    {"NonZero", 9, TN_ONNX_LATEST, import_non_zero},
    {"OneHot", 9, TN_ONNX_LATEST, import_one_hot},
    {"ReverseSequence", 10, TN_ONNX_LATEST, import_reverse_sequence},
    {"Scatter", 9, 10, import_scatter_elements},
    {"ScatterElements", 11, TN_ONNX_LATEST, import_scatter_elements},
    {"ScatterND", 11, TN_ONNX_LATEST, import_scatter_nd},
    {"TopK", 1, TN_ONNX_LATEST, import_top_k},
};
TN_ONNX_TABLE(index, "")
