/* Scan and SequenceMap: a body over the slices of tensors, or over the elements of sequences. */
#include "import/onnx/body.h"
#include "import/onnx/ops.h"

typedef struct scan {
    const tn_onnx_graph *source;
    uint32_t carries, slices, results;
    const int64_t *in_axes, *in_reversed, *out_axes, *out_reversed; /* NULL: zeros */
} scan;

static const int64_t *list_of(tn_o *o, const char *name, uint32_t expected) {
    int count;
    const int64_t *at;
    if (!tn_o_ints(o, name, &count, &at)) return NULL;
    if ((uint32_t)count == expected) return at;
    tn_o_fail(o, TN_INVALID, "attribute '%s' has %d entries; expected %u", name, count, expected);
    return NULL;
}

/* `skipped` inputs stand before the operands. */
static bool read_scan(tn_o *o, uint32_t skipped, scan *s) {
    *s = (scan){.source = tn_o_graph(o, "body")};
    int64_t slices = tn_o_need_int(o, "num_scan_inputs");
    uint32_t inputs = o->node->inputs.len;
    inputs -= TN_MIN(inputs, skipped);
    if (tn_o_ok(o) && (slices < 1 || slices > inputs))
        tn_o_fail(o, TN_INVALID, "num_scan_inputs is %lld of %u inputs", (long long)slices, inputs);
    if (!tn_o_ok(o)) return false;
    s->slices = (uint32_t)slices;
    s->carries = inputs - s->slices;
    s->results = s->source->outputs.len;
    if (s->source->inputs.len != inputs || s->results < s->carries) {
        tn_o_refuse(o, TN_INVALID,
                    "its body has %u inputs and %u outputs; expected %u and at least %u",
                    s->source->inputs.len, s->results, inputs, s->carries);
        return false;
    }
    s->in_axes = list_of(o, "scan_input_axes", s->slices);
    s->in_reversed = list_of(o, skipped ? "directions" : "scan_input_directions", s->slices);
    s->out_axes = list_of(o, "scan_output_axes", s->results - s->carries);
    s->out_reversed = list_of(o, "scan_output_directions", s->results - s->carries);
    return tn_o_ok(o);
}

/* Moves axis `from` to `to`, the others keep their order. */
static tn_value move_axis(tn_o *o, tn_value x, int from, int to) {
    int rank = tn_b_rank(o->b, x), perm[TN_MAX_RANK], n = 0;
    for (int i = 0; i < rank; i++) {
        if (i == from) continue;
        if (n == to) perm[n++] = from;
        perm[n++] = i;
    }
    if (n == to) perm[n] = from;
    return tn_b_permute(o->b, x, perm);
}

static tn_value scan_input(tn_o *o, const scan *s, uint32_t i) {
    tn_value x = tn_o_in(o, (int)(s->carries + i));
    int axis = tn_o_axis(o, s->in_axes ? s->in_axes[i] : 0, tn_b_rank(o->b, x));
    if (!tn_o_ok(o)) return TN_NO_VALUE;
    x = move_axis(o, x, axis, 0);
    return s->in_reversed && s->in_reversed[i] ? tn_b_reverse(o->b, x, 0) : x;
}

static void scan_output(tn_o *o, const scan *s, uint32_t i, tn_value y) {
    uint32_t k = i - s->carries;
    if (i >= s->carries && tn_o_ok(o)) {
        int axis = tn_o_axis(o, s->out_axes ? s->out_axes[k] : 0, tn_b_rank(o->b, y));
        if (s->out_reversed && s->out_reversed[k]) y = tn_b_reverse(o->b, y, 0);
        y = move_axis(o, y, 0, axis);
    }
    tn_o_out(o, (int)i, y);
}

/* Imports the body, with one more input that numbers the turns where `numbered`. */
static bool import_step(tn_o *o, const scan *s, const tn_value *first, bool numbered,
                        tn_onnx_body *b) {
    tn_type number = {.dtype = TN_i64};
    if (!tn_onnx_body_enter(o, b, s->source, false)) return false;
    for (uint32_t i = 0; i < s->carries + s->slices; i++) {
        tn_type type = tn_b_type(o->b, first[i]);
        if (i >= s->carries && tn_o_ok(o) && type.shape.rank == 0)
            tn_o_fail(o, TN_INVALID, "scan input %u is a scalar", i - s->carries);
        if (!tn_o_ok(o)) return false;
        if (i >= s->carries)
            memmove(type.shape.dim, type.shape.dim + 1, sizeof(tn_dim) * (size_t)--type.shape.rank);
        tn_onnx_body_define(o, b, i, tn_onnx_body_add_input(b, i, &type));
    }
    uint32_t unnamed = s->carries + s->slices;
    tn_onnx_body_repeat(b, numbered ? tn_onnx_body_add_input(b, unnamed, &number) : NULL);
    if (!tn_onnx_body_import(o, b)) return false;
    for (uint32_t i = 0; i < s->results; i++) tn_onnx_body_give(o, b, i);
    return tn_o_ok(o);
}

/* One scan over operands with the steps in front; gives its first result. Turns are numbered from `number` for
 * bodies that draw random numbers. `first` has room for one more. */
static tn_value run_scan(tn_o *o, const scan *s, tn_value *first, int64_t number) {
    tn_onnx_body b;
    uint32_t total, given = s->carries + s->slices;
    bool numbered = tn_onnx_draws(o->scope->im->model, s->source);
    if (!import_step(o, s, first, numbered, &b)) return TN_NO_VALUE;
    tn_shape steps = {.rank = 1, .dim = {tn_b_dim(o->b, first[s->carries], 0)}};
    if (numbered) first[given] = tn_b_iota(o->b, TN_i64, &steps, 0);
    if (numbered && number) first[given] = tn_b_add_scalar(o->b, first[given], (double)number);
    tn_attrs_scan attrs = {.carries = s->carries,
                           .slices = s->slices + numbered,
                           .length = steps.dim[0],
                           .body = b.graph};
    tn_value *in = tn_onnx_body_operands(o, &b, first, given + numbered, &total);
    return tn_b_node(o->b, TN_OP_scan, in, total, &attrs);
}

static void import_scan(tn_o *o) {
    scan s;
    if (!read_scan(o, 0, &s)) return;
    uint32_t given = s.carries + s.slices;
    tn_value *first = TN_NEW_N(o->scratch, tn_value, given + 1);
    for (uint32_t i = 0; i < given; i++)
        first[i] = i < s.carries ? tn_o_in(o, (int)i) : scan_input(o, &s, i - s.carries);
    tn_value y = run_scan(o, &s, first, 0);
    for (uint32_t i = 0; i < s.results && tn_o_ok(o); i++) scan_output(o, &s, i, y + i);
}

/* Version 8: lengths of the sequences first, then operands with a batch axis, each sample by itself.
 */
static void import_batched_scan(tn_o *o) {
    scan s;
    if (!read_scan(o, 1, &s)) return;
    uint32_t given = s.carries + s.slices;
    int64_t batch = tn_o_const_dim(o, tn_b_dim(o->b, tn_o_in(o, 1), 0), "the batch size");
    if (tn_o_ok(o) && (tn_o_has(o, 0) || batch < 1 || batch > TN_ONNX_UNROLLED))
        tn_o_fail(o, TN_UNSUPPORTED, "sequence lengths, or a batch of other than 1 to %d samples",
                  TN_ONNX_UNROLLED);
    if (!tn_o_ok(o)) return;
    tn_value *first = TN_NEW_N(o->scratch, tn_value, given + 1);
    tn_value *parts = TN_NEW_N(o->scratch, tn_value, s.results * (uint32_t)batch);
    for (int64_t n = 0; n < batch && tn_o_ok(o); n++) {
        for (uint32_t i = 0; i < given; i++) {
            tn_value one = tn_b_slice_axis(o->b, tn_o_in(o, (int)i + 1), 0, n, 1, 1);
            first[i] = tn_b_squeeze(o->b, one, 0);
            if (i >= s.carries && s.in_reversed && s.in_reversed[i - s.carries])
                first[i] = tn_b_reverse(o->b, first[i], 0);
        }
        tn_value y = run_scan(o, &s, first, n << 32);
        for (uint32_t i = 0; i < s.results && tn_o_ok(o); i++)
            parts[i * (uint32_t)batch + (uint32_t)n] = tn_b_unsqueeze(o->b, y + i, 0);
    }
    for (uint32_t i = 0; i < s.results; i++)
        tn_o_out(o, (int)i, tn_b_concat(o->b, parts + i * (uint32_t)batch, (int)batch, 0));
}

/* ---- SequenceMap ----------------------------------------------------------------------------------
 */

/* The body once for each element; tensors beside the sequences go to all. */
static void import_sequence_map(tn_o *o) {
    const tn_onnx_graph *source = tn_o_graph(o, "body");
    int count, inputs = tn_o_in_count(o), outputs = (int)o->node->outputs.len;
    tn_onnx_item *const *items;
    if (!tn_o_sequence(o, 0, &count, &items) || !source) return;
    tn_onnx_item **results = TN_NEW_N(o->scratch, tn_onnx_item *, (int64_t)outputs * count);
    for (int k = 0; k < count; k++) {
        tn_onnx_body b;
        if (!tn_onnx_body_enter(o, &b, source, true)) return;
        tn_onnx_body_repeat(&b, tn_onnx_number_item(o, &b.scope, TN_i64, k));
        for (int i = 0; i < inputs; i++) {
            tn_onnx_item *item = tn_o_item(o, i);
            bool whole = item->kind != TN_ITEM_SEQUENCE;
            if (!whole && item->count != count) {
                tn_o_fail(o, TN_INVALID, "its sequences have %d and %d elements", count,
                          item->count);
                return;
            }
            tn_onnx_body_define(o, &b, (uint32_t)i, whole ? item : item->items[k]);
        }
        if (!tn_onnx_body_import(o, &b)) return;
        for (int i = 0; i < outputs; i++)
            results[i * count + k] = tn_onnx_body_output(o, &b, (uint32_t)i);
    }
    for (int i = 0; i < outputs; i++)
        tn_o_out_sequence(o, i, count, results + (ptrdiff_t)i * count);
}

static const tn_onnx_op rows[] = {
    {"Scan", 8, 8, import_batched_scan},
    {"Scan", 9, TN_ONNX_LATEST, import_scan},
    {"SequenceMap", 17, TN_ONNX_LATEST, import_sequence_map},
};
TN_ONNX_TABLE(scan, "")
