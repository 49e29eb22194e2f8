/* Sequences and optionals: they exist only while importing, so their lengths must be known then. */
#include "import/onnx/ops.h"
#include "import/onnx/scope.h"

static void out_number(tn_o *o, tn_dtype dtype, int64_t value) {
    tn_dim *at = TN_NEW(o->scratch, tn_dim);
    *at = tn_dim_const(o->dims, value);
    tn_known k = {.dtype = dtype, .count = 1, .at = at};
    tn_o_out_known(o, 0, &k);
}

/* A position in a sequence: a place counted from the front, or a value of the run. */
typedef struct position {
    int at;
    tn_value value; /* i64 scalar, from the front and checked; TN_NO_VALUE: it is known */
} position;

static bool of_one_type(tn_o *o, int n, tn_onnx_item *const *items) {
    for (int i = 0; i < n; i++) {
        if (items[i]->kind != TN_ITEM_TENSOR) return false;
        tn_type x = tn_o_item_type(o, items[i]), y = tn_o_item_type(o, items[0]);
        if (x.dtype != y.dtype || !tn_shape_equal(&x.shape, &y.shape)) return false;
    }
    return true;
}

/* Looked up among 0 … places - 1, which is an error of the run where the position is none of them. */
static tn_value checked_value(tn_o *o, int i, int count, int places) {
    tn_builder *b = o->b;
    tn_shape line = {.rank = 1, .dim = {places}};
    tn_value at = tn_b_cast(b, tn_b_reshape_to(b, tn_o_in(o, i), 0, NULL), TN_i64);
    at = tn_b_wrap_index(b, at, count);
    return tn_b_gather_axis(b, tn_b_iota(b, TN_i64, &line, 0), at, 0, TN_INDEX_error);
}

/* Input i as one of `places` positions in a sequence of `count`; data may decide between `n` items of one
 * type. */
static position place(tn_o *o, int i, int count, int places, int n, tn_onnx_item *const *items) {
    tn_known known;
    bool decided = tn_o_known(o, i, &known);
    if (tn_o_ok(o) && !decided && count > 0 && of_one_type(o, n, items))
        return (position){0, checked_value(o, i, count, places)};
    int64_t at = tn_o_need_int_value(o, i, "position");
    if (tn_o_ok(o) && (at < -count || at >= places))
        tn_o_fail(o, TN_INVALID, "position %lld of a sequence of %d", (long long)at, count);
    if (!tn_o_ok(o)) return (position){0, TN_NO_VALUE};
    return (position){(int)(at < 0 ? at + count : at), TN_NO_VALUE};
}

/* Which of two elements it is before the position, and which from there on. */
static tn_onnx_item *choose(tn_o *o, tn_value at, int i, tn_onnx_item *before,
                            tn_onnx_item *behind) {
    tn_value is_before = tn_b_lt(o->b, tn_b_scalar_int(o->b, TN_i64, i), at);
    tn_value x = tn_o_item_value(o, before), y = tn_o_item_value(o, behind);
    return tn_o_item_of(o, tn_b_where(o->b, is_before, x, y));
}

static void import_construct(tn_o *o) {
    int n = tn_o_in_count(o);
    tn_onnx_item **items = TN_NEW_N(o->scratch, tn_onnx_item *, n);
    for (int i = 0; i < n; i++) items[i] = tn_o_item(o, i);
    tn_o_out_sequence(o, 0, n, items);
}

static void import_empty(tn_o *o) {
    tn_o_out_sequence(o, 0, 0, NULL);
}

static void import_at(tn_o *o) {
    int n;
    tn_onnx_item *const *items;
    if (!tn_o_sequence(o, 0, &n, &items)) return;
    position p = place(o, 1, n, n, n, items);
    if (!tn_o_ok(o)) return;
    if (p.value == TN_NO_VALUE) {
        tn_o_out_item(o, 0, items[p.at]);
        return;
    }
    tn_value *all = TN_NEW_N(o->scratch, tn_value, n);
    for (int i = 0; i < n; i++) all[i] = tn_b_unsqueeze(o->b, tn_o_item_value(o, items[i]), 0);
    tn_value stack = tn_b_concat(o->b, all, n, 0);
    tn_o_out(o, 0, tn_b_gather_axis(o->b, stack, p.value, 0, TN_INDEX_clamp));
}

static void import_length(tn_o *o) {
    int n;
    tn_onnx_item *const *items;
    if (tn_o_sequence(o, 0, &n, &items)) out_number(o, TN_i64, n);
}

static void import_erase(tn_o *o) {
    int n;
    tn_onnx_item *const *items;
    if (!tn_o_sequence(o, 0, &n, &items)) return;
    if (n == 0) tn_o_fail(o, TN_INVALID, "the sequence is empty");
    position p = {n - 1, TN_NO_VALUE};
    if (tn_o_has(o, 1)) p = place(o, 1, n, n, n, items);
    if (!tn_o_ok(o)) return;
    tn_onnx_item **rest = TN_NEW_N(o->scratch, tn_onnx_item *, n);
    for (int i = 0; i + 1 < n && tn_o_ok(o); i++)
        rest[i] = p.value == TN_NO_VALUE ? items[i + (i >= p.at)]
                                         : choose(o, p.value, i, items[i], items[i + 1]);
    tn_o_out_sequence(o, 0, n - 1, rest);
}

/* Element i of n + 1 where the added one stands at a position that the run tells. */
static tn_onnx_item *shifted(tn_o *o, tn_value at, int i, int n, tn_onnx_item *const *items,
                             tn_onnx_item *added) {
    tn_value here = tn_b_eq(o->b, tn_b_scalar_int(o->b, TN_i64, i), at);
    tn_onnx_item *other = i == 0 ? items[0] : items[i - 1];
    if (i > 0 && i < n) other = choose(o, at, i, items[i], items[i - 1]);
    tn_value x = tn_o_item_value(o, added), y = tn_o_item_value(o, other);
    return tn_o_item_of(o, tn_b_where(o->b, here, x, y));
}

static void import_insert(tn_o *o) {
    int n;
    tn_onnx_item *const *items;
    if (!tn_o_sequence(o, 0, &n, &items)) return;
    tn_onnx_item *added = tn_o_item(o, 1);
    if (tn_o_ok(o) && n >= TN_KNOWN_MAX)
        tn_o_fail(o, TN_UNSUPPORTED, "a sequence of more than %d elements", TN_KNOWN_MAX);
    if (!tn_o_ok(o)) return;
    tn_onnx_item **all = TN_NEW_N(o->scratch, tn_onnx_item *, n + 1);
    for (int i = 0; i < n; i++) all[i] = items[i];
    all[n] = added;
    position p = {n, TN_NO_VALUE};
    if (tn_o_has(o, 2)) p = place(o, 2, n, n + 1, n + 1, all);
    if (!tn_o_ok(o)) return;
    for (int i = 0; i <= n && tn_o_ok(o); i++)
        all[i] = p.value != TN_NO_VALUE ? shifted(o, p.value, i, n, items, added)
                 : i < p.at             ? items[i]
                 : i == p.at            ? added
                                        : items[i - 1];
    tn_o_out_sequence(o, 0, n + 1, all);
}

static void import_concat(tn_o *o) {
    int n;
    tn_onnx_item *const *items;
    bool fresh = tn_o_int(o, "new_axis", 0) != 0;
    if (!tn_o_sequence(o, 0, &n, &items)) return;
    if (n == 0) {
        tn_o_fail(o, TN_INVALID, "the sequence is empty");
        return;
    }
    tn_value *v = TN_NEW_N(o->scratch, tn_value, n);
    for (int i = 0; i < n; i++) v[i] = tn_o_item_value(o, items[i]);
    int rank = tn_b_rank(o->b, v[0]) + fresh;
    int axis = tn_o_axis(o, tn_o_need_int(o, "axis"), rank);
    for (int i = 0; i < n && fresh; i++) v[i] = tn_b_unsqueeze(o->b, v[i], axis);
    tn_o_out(o, 0, tn_b_concat(o->b, v, n, axis));
}

/* ---- SplitToSequence ------------------------------------------------------------------------ */

/* The lengths of the pieces of `size`: given each, or one for all, the last may be shorter. */
static bool piece_lengths(tn_o *o, int64_t size, int *count, int64_t **length) {
    tn_array split = {.dtype = TN_i64};
    bool given = tn_o_has(o, 1);
    if (given && !tn_o_need_array(o, 1, "split", &split)) return false;
    bool listed = given && split.rank == 1;
    if (given && !listed && tn_array_count(&split) != 1) {
        tn_o_fail(o, TN_INVALID, "its split has %d axes; expected a scalar or a vector",
                  split.rank);
        return false;
    }
    int64_t each = given && !listed ? tn_array_get(&split, 0).i : 1;
    int64_t n = listed ? tn_array_count(&split) : each > 0 ? size / each + (size % each > 0) : 0;
    if ((!listed && each < 1) || n > TN_KNOWN_MAX) {
        tn_o_fail(o, TN_UNSUPPORTED, "%lld elements in pieces of %lld", (long long)size,
                  (long long)each);
        return false;
    }
    *length = TN_NEW_N(o->scratch, int64_t, n);
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t one = listed ? tn_array_get(&split, i).i : TN_MIN(each, size - i * each);
        if (one < 0 || one > size - sum)
            tn_o_fail(o, TN_INVALID, "pieces that do not add up to %lld", (long long)size);
        if (!tn_o_ok(o)) return false;
        (*length)[i] = one;
        sum += one;
    }
    if (sum != size) tn_o_fail(o, TN_INVALID, "pieces that do not add up to %lld", (long long)size);
    *count = (int)n;
    return tn_o_ok(o);
}

/* Without given lengths each piece is one element and may lose its axis. */
static void import_split(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    int axis = tn_o_axis(o, tn_o_int(o, "axis", 0), tn_b_rank(o->b, x)), n;
    int64_t size = tn_o_const_dim(o, tn_b_dim(o->b, x, axis), "the size of the axis it splits");
    bool keep = tn_o_has(o, 1) || tn_o_int(o, "keepdims", 1) != 0;
    int64_t *length, start = 0;
    if (!tn_o_ok(o) || !piece_lengths(o, size, &n, &length)) return;
    tn_onnx_item **items = TN_NEW_N(o->scratch, tn_onnx_item *, n);
    for (int i = 0; i < n; i++) {
        tn_value piece = tn_b_slice_axis(o->b, x, axis, start, length[i], 1);
        if (!keep) piece = tn_b_squeeze(o->b, piece, axis);
        if (!tn_o_ok(o)) return;
        items[i] = tn_o_item_of(o, piece);
        start += length[i];
    }
    tn_o_out_sequence(o, 0, n, items);
}

/* ---- optionals ------------------------------------------------------------------------------ */

static void import_optional(tn_o *o) {
    if (tn_o_in_count(o) > 0) {
        tn_o_out_same(o, 0, 0);
        return;
    }
    tn_onnx_item *none = tn_o_item_of(o, TN_NO_VALUE);
    none->kind = TN_ITEM_NONE;
    tn_o_out_item(o, 0, none);
}

static void import_has_element(tn_o *o) {
    out_number(o, TN_bool, tn_o_in_count(o) > 0 && tn_o_has(o, 0));
}

static void import_get_element(tn_o *o) {
    const tn_onnx_item *item = tn_o_item(o, 0);
    if (tn_o_ok(o) && item->kind == TN_ITEM_NONE)
        tn_o_fail(o, TN_INVALID, "the optional '%s' has no element", item->name);
    tn_o_out_same(o, 0, 0);
}

static const tn_onnx_op rows[] = {
    {"ConcatFromSequence", 11, TN_ONNX_LATEST, import_concat},
    {"Optional", 15, TN_ONNX_LATEST, import_optional},
    {"OptionalGetElement", 15, TN_ONNX_LATEST, import_get_element},
    {"OptionalHasElement", 15, TN_ONNX_LATEST, import_has_element},
    {"SequenceAt", 11, TN_ONNX_LATEST, import_at},
    {"SequenceConstruct", 11, TN_ONNX_LATEST, import_construct},
    {"SequenceEmpty", 11, TN_ONNX_LATEST, import_empty},
    {"SequenceErase", 11, TN_ONNX_LATEST, import_erase},
    {"SequenceInsert", 11, TN_ONNX_LATEST, import_insert},
    {"SequenceLength", 11, TN_ONNX_LATEST, import_length},
    {"SplitToSequence", 11, TN_ONNX_LATEST, import_split},
};
TN_ONNX_TABLE(sequence, "")
