/* Operators whose results have as many elements as their data say: Unique, NonMaxSuppression. Compress and
 * NonZero are in ops_index.c. */
#include "import/onnx/dynamic.h"
#include "import/onnx/ops.h"

/* ---- Unique ----------------------------------------------------------------------------------- */

/* x as rows [M, K] of elements that sort. */
static tn_value rows_of(tn_o *o, tn_value x, bool flat, int axis) {
    tn_builder *b = o->b;
    tn_type type = tn_b_type(b, x);
    tn_dim all = tn_shape_count(o->dims, &type.shape), row[2] = {all, 1};
    if (type.dtype == TN_bool) x = tn_b_cast(b, x, TN_u8);
    if (!flat) {
        row[0] = type.shape.dim[axis];
        row[1] = 1;
        for (int a = 0; a < type.shape.rank; a++)
            if (a != axis) row[1] = tn_dim_mul(o->dims, row[1], type.shape.dim[a]);
        int perm[TN_MAX_RANK] = {axis};
        for (int a = 0, to = 1; a < type.shape.rank; a++)
            if (a != axis) perm[to++] = a;
        x = tn_b_permute(b, x, perm);
    }
    return tn_b_reshape_to(b, x, 2, row);
}

/* i64[M]: the rows in lexicographic order, equal ones as they came: sorted by one column after the other,
 * the first column last. */
static tn_value sorted_rows(tn_o *o, tn_value rows) {
    tn_builder *b = o->b;
    tn_type type = tn_b_type(b, rows);
    tn_shape line = {.rank = 1, .dim = {type.shape.dim[0]}};
    tn_value order = tn_b_iota(b, TN_i64, &line, 0);
    if (type.shape.dim[1] == 1) {
        tn_value results[2] = {TN_NO_VALUE, TN_NO_VALUE};
        tn_b_sort(b, tn_b_squeeze(b, rows, 1), 0, false, results);
        return results[1];
    }
    if (!tn_o_ok(o)) return TN_NO_VALUE;
    tn_builder inner = tn_builder_of(tn_graph_new_sub(b->graph), b->err);
    inner.name = b->name;
    tn_value before = tn_b_input(&inner, NULL, TN_i64, &line);
    tn_value column = tn_b_input(&inner, NULL, type.dtype, &line);
    tn_value in[] = {tn_b_gather_axis(&inner, column, before, 0, TN_INDEX_clamp), before};
    tn_value sorted = tn_b_node(&inner, TN_OP_sort, in, 2, &(tn_attrs_sort){0});
    if (tn_b_ok(&inner)) tn_graph_add_output(inner.graph, sorted + 1, NULL);
    b->status = inner.status;
    if (!tn_o_ok(o)) return TN_NO_VALUE;
    tn_attrs_scan a = {.carries = 1,
                       .slices = 1,
                       .length = type.shape.dim[1],
                       .reverse = true,
                       .body = inner.graph};
    return tn_b_node(b, TN_OP_scan, (tn_value[]){order, tn_b_swap(b, rows, 0, 1)}, 2, &a);
}

/* bool[M]: whether row i differs from the one before; NaN equals NaN. The first does. */
static tn_value begins(tn_o *o, tn_value rows) {
    tn_builder *b = o->b;
    tn_shape line = {.rank = 1, .dim = {tn_b_dim(b, rows, 0)}};
    tn_value at = tn_b_iota(b, TN_i64, &line, 0), zero = tn_b_scalar_int(b, TN_i64, 0);
    tn_value one = tn_b_scalar_int(b, TN_i64, 1);
    tn_value previous = tn_b_max(b, tn_b_sub(b, at, one), zero);
    tn_value last = tn_b_gather_axis(b, rows, previous, 0, TN_INDEX_clamp);
    tn_value differ = tn_b_ne(b, rows, last);
    if (tn_dtype_is_float(tn_b_type(b, rows).dtype)) {
        tn_value nan = tn_b_and(b, tn_b_is_nan(b, rows), tn_b_is_nan(b, last));
        differ = tn_b_and(b, differ, tn_b_not(b, nan));
    }
    differ = tn_b_reduce(b, TN_REDUCE_or, differ, (int[]){1}, 1, false);
    return tn_b_or(b, differ, tn_b_eq(b, at, zero));
}

/* y[index[i]] (combine) = updates[i] in zeros [count]. */
static tn_value spread(tn_o *o, tn_value index, tn_value updates, tn_dim count,
                       tn_combine combine) {
    tn_shape line = {.rank = 1, .dim = {count}};
    return tn_b_scatter_nd(o->b, tn_b_full(o->b, TN_i64, &line, 0), tn_b_unsqueeze(o->b, index, 1),
                           updates, TN_INDEX_clamp, combine);
}

/* Of each distinct row: where it comes first, how often it comes; and of each row which one it is. */
typedef struct distinct {
    tn_value first, counts, inverse;
} distinct;

static distinct find_distinct(tn_o *o, tn_value rows) {
    tn_builder *b = o->b;
    tn_dim count = tn_b_dim(b, rows, 0);
    tn_shape line = {.rank = 1, .dim = {count}};
    tn_value order = sorted_rows(o, rows);
    tn_value flags = begins(o, tn_b_gather_axis(b, rows, order, 0, TN_INDEX_clamp));
    tn_onnx_selection s = tn_o_select(o, flags, NULL, 0);
    tn_value number =
        tn_b_cumulative(b, TN_REDUCE_sum, tn_b_cast(b, flags, TN_i64), 0, false, false);
    number = tn_b_sub(b, number, tn_b_scalar_int(b, TN_i64, 1));
    tn_value counts = spread(o, number, tn_b_full(b, TN_i64, &line, 1), count, TN_COMBINE_add);
    return (distinct){tn_b_gather_axis(b, order, s.places, 0, TN_INDEX_clamp),
                      tn_b_prefix(b, counts, 0, s.count),
                      spread(o, order, number, count, TN_COMBINE_set)};
}

/* In the order in which they come first, not in that of their values. */
static distinct as_they_come(tn_o *o, const distinct *d) {
    tn_builder *b = o->b;
    tn_value sorted[2] = {TN_NO_VALUE, TN_NO_VALUE};
    tn_shape line = {.rank = 1, .dim = {tn_b_dim(b, d->first, 0)}};
    tn_b_sort(b, d->first, 0, false, sorted);
    tn_value number =
        spread(o, sorted[1], tn_b_iota(b, TN_i64, &line, 0), line.dim[0], TN_COMBINE_set);
    return (distinct){sorted[0], tn_b_gather_axis(b, d->counts, sorted[1], 0, TN_INDEX_clamp),
                      tn_b_gather_axis(b, number, d->inverse, 0, TN_INDEX_clamp)};
}

static void import_unique(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    tn_shape shape = tn_b_type(o->b, x).shape;
    bool flat = !tn_o_has_attr(o, "axis");
    int axis = flat ? 0 : tn_o_axis(o, tn_o_int(o, "axis", 0), shape.rank);
    bool sorted = tn_o_int(o, "sorted", 1) != 0;
    if (!tn_o_ok(o)) return;
    distinct d = find_distinct(o, rows_of(o, x, flat, axis));
    if (!sorted && tn_o_ok(o)) d = as_they_come(o, &d);
    if (flat) {
        tn_dim all = tn_shape_count(o->dims, &shape);
        x = tn_b_reshape_to(o->b, x, 1, &all);
    }
    tn_o_out(o, 0, tn_b_gather_axis(o->b, x, d.first, axis, TN_INDEX_clamp));
    tn_o_out(o, 1, d.first);
    tn_o_out(o, 2, d.inverse);
    tn_o_out(o, 3, d.counts);
}

/* ---- NonMaxSuppression ------------------------------------------------------------------------ */

/* Input i, of one element, as a scalar; `other` where it is absent. */
static tn_value scalar_input(tn_o *o, int i, tn_dtype dtype, double other, const char *what) {
    if (!tn_o_has(o, i)) return tn_b_scalar(o->b, dtype, other);
    tn_value v = tn_o_in(o, i);
    tn_shape shape = tn_b_type(o->b, v).shape;
    if (tn_o_ok(o) && tn_shape_count(o->dims, &shape) != 1)
        tn_o_fail(o, TN_INVALID, "its %s has more than one element", what);
    return tn_b_cast(o->b, tn_b_reshape_to(o->b, v, 0, NULL), dtype);
}

/* How many boxes of a class are kept at most, as far as the number is known. */
static tn_dim most_of_class(tn_o *o, tn_dim boxes) {
    tn_onnx_number *most;
    int64_t count, value;
    if (!tn_o_has(o, 2)) return 0;
    tn_known known;
    if (o->b->graph->parent && !tn_o_known(o, 2, &known)) return boxes;
    if (!tn_o_numbers(o, 2, "max_output_boxes_per_class", &count, &most) || count != 1)
        return boxes;
    tn_onnx_limits l = {.has_hi = true, .hi = most->size};
    if (most->value != TN_NO_VALUE) l = tn_onnx_value_limits(o->b->graph, most->value);
    if (!l.has_hi || (tn_dim_const_value(o->dims, l.hi, &value) && value > INT32_MAX)) return boxes;
    return tn_onnx_smaller(o->dims, boxes, tn_onnx_larger(o->dims, l.hi, 0));
}

static void import_non_max_suppression(tn_o *o) {
    tn_builder *b = o->b;
    tn_suppression s = {.boxes = tn_o_in(o, 0),
                        .scores = tn_o_in(o, 1),
                        .centers = tn_o_int(o, "center_point_box", 0) != 0,
                        .score = TN_NO_VALUE};
    tn_value order, kept, column[3];
    s.most = scalar_input(o, 2, TN_i64, 0, "max_output_boxes_per_class");
    s.overlap = scalar_input(o, 3, TN_f32, 0, "iou_threshold");
    if (tn_o_has(o, 4)) s.score = scalar_input(o, 4, TN_f32, 0, "score_threshold");
    tn_b_suppress_boxes(b, &s, &order, &kept);
    if (!tn_o_ok(o)) return;
    tn_shape all = tn_b_type(b, kept).shape;
    tn_dim count = tn_shape_count(o->dims, &all), most = most_of_class(o, all.dim[2]);
    most = tn_dim_mul(o->dims, tn_dim_mul(o->dims, all.dim[0], all.dim[1]), most);
    tn_value places = tn_o_select(o, kept, &most, 1).places;
    tn_value boxes = tn_b_dim_value(b, all.dim[2], TN_i64);
    tn_value classes = tn_b_dim_value(b, all.dim[1], TN_i64);
    tn_value pair = tn_b_div(b, places, boxes);
    column[0] = tn_b_div(b, pair, classes);
    column[1] = tn_b_rem(b, pair, classes);
    column[2] =
        tn_b_gather_axis(b, tn_b_reshape_to(b, order, 1, &count), places, 0, TN_INDEX_clamp);
    for (int i = 0; i < 3; i++) column[i] = tn_b_unsqueeze(b, column[i], 1);
    tn_o_out(o, 0, tn_b_concat(b, column, 3, 1));
}

static const tn_onnx_op rows[] = {
    {"NonMaxSuppression", 10, TN_ONNX_LATEST, import_non_max_suppression},
    {"Unique", 11, TN_ONNX_LATEST, import_unique},
};
TN_ONNX_TABLE(select, "")
