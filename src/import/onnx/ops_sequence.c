/* Sequences and optionals: they exist only while importing, so their lengths must be known then. */
#include "import/onnx/ops.h"
#include "import/onnx/scope.h"

static void out_number(tn_o *o, tn_dtype dtype, int64_t value) {
    tn_dim *at = TN_NEW(o->scratch, tn_dim);
    *at = tn_dim_const(o->dims, value);
    tn_known k = {.dtype = dtype, .count = 1, .at = at};
    tn_o_out_known(o, 0, &k);
}

/* Input i as a place among `count`, counted from the front. */
static int place(tn_o *o, int i, int count) {
    int64_t at = tn_o_need_int_value(o, i, "position");
    if (tn_o_ok(o) && (at < -count || at >= count))
        tn_o_fail(o, TN_INVALID, "position %lld of a sequence of %d", (long long)at, count);
    if (!tn_o_ok(o)) return 0;
    return (int)(at < 0 ? at + count : at);
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
    int at = place(o, 1, n);
    if (tn_o_ok(o)) tn_o_out_item(o, 0, items[at]);
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
    int at = tn_o_has(o, 1) ? place(o, 1, n) : n - 1, kept = 0;
    if (!tn_o_ok(o)) return;
    tn_onnx_item **rest = TN_NEW_N(o->scratch, tn_onnx_item *, n);
    for (int i = 0; i < n; i++)
        if (i != at) rest[kept++] = items[i];
    tn_o_out_sequence(o, 0, kept, rest);
}

static void import_insert(tn_o *o) {
    int n;
    tn_onnx_item *const *items;
    if (!tn_o_sequence(o, 0, &n, &items)) return;
    int64_t at = tn_o_has(o, 2) ? tn_o_need_int_value(o, 2, "position") : n;
    if (at < 0) at += n;
    if (tn_o_ok(o) && (at < 0 || at > n))
        tn_o_fail(o, TN_INVALID, "a position outside a sequence of %d", n);
    tn_onnx_item *added = tn_o_item(o, 1);
    if (tn_o_ok(o) && n >= TN_KNOWN_MAX)
        tn_o_fail(o, TN_UNSUPPORTED, "a sequence of more than %d elements", TN_KNOWN_MAX);
    if (!tn_o_ok(o)) return;
    tn_onnx_item **all = TN_NEW_N(o->scratch, tn_onnx_item *, n + 1);
    for (int i = 0; i <= n; i++) all[i] = i < at ? items[i] : i == at ? added : items[i - 1];
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
    int64_t n = listed ? tn_array_count(&split) : each > 0 ? (size + each - 1) / each : 0;
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
