/* Reading a node's inputs and attributes. See context.h. */
#include "import/onnx/context.h"

#include "import/onnx/scope.h"
#include "ops/ops_common.h"

#include <stdarg.h>
#include <stdio.h>

tn_value tn_o_fail(tn_o *o, tn_status status, const char *format, ...) {
    char text[TN_ERROR_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return tn_b_fail(o->b, status, "%s", text);
}

tn_value tn_o_refuse(tn_o *o, tn_status status, const char *format, ...) {
    char text[TN_ERROR_TEXT];
    va_list args;
    if (!tn_o_ok(o)) return TN_NO_VALUE;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    o->scope->im->refused = true;
    return tn_b_fail(o->b, status, "%s", text);
}

/* ---- inputs --------------------------------------------------------------------------------- */

int tn_o_in_count(const tn_o *o) {
    int n = (int)o->node->inputs.len;
    while (n > 0 && !o->node->inputs.data[n - 1][0]) n--;
    return n;
}

bool tn_o_has(const tn_o *o, int i) {
    if (i < 0 || (uint32_t)i >= o->node->inputs.len || !o->node->inputs.data[i][0]) return false;
    const tn_onnx_item *item = tn_onnx_lookup(o->scope, o->node->inputs.data[i]);
    return !item || item->kind != TN_ITEM_NONE;
}

tn_onnx_item *tn_o_item(tn_o *o, int i) {
    static tn_onnx_level nowhere = {.builder = {.status = TN_INVALID}};
    static tn_onnx_item nothing = {.level = &nowhere, .value = TN_NO_VALUE, .name = ""};
    if (!tn_o_ok(o)) return &nothing;
    if (i < 0 || (uint32_t)i >= o->node->inputs.len || !o->node->inputs.data[i][0]) {
        tn_o_refuse(o, TN_INVALID, "input %d is missing", i);
        return &nothing;
    }
    tn_onnx_item *item = tn_onnx_lookup(o->scope, o->node->inputs.data[i]);
    if (item) return item;
    tn_o_refuse(o, TN_INVALID, "input '%s' is not defined", o->node->inputs.data[i]);
    return &nothing;
}

tn_value tn_o_item_value(tn_o *o, tn_onnx_item *item) {
    return tn_o_ok(o) ? tn_onnx_item_build(o->scope, item) : TN_NO_VALUE;
}

tn_type tn_o_item_type(tn_o *o, const tn_onnx_item *item) {
    if (!tn_o_ok(o)) return (tn_type){.dtype = TN_f32};
    return tn_onnx_item_type(item);
}

tn_value tn_o_in(tn_o *o, int i) {
    return tn_o_item_value(o, tn_o_item(o, i));
}

tn_value tn_o_in_or_none(tn_o *o, int i) {
    return tn_o_has(o, i) ? tn_o_in(o, i) : TN_NO_VALUE;
}

tn_type tn_o_type(tn_o *o, int i) {
    return tn_o_item_type(o, tn_o_item(o, i));
}

int tn_o_rank(tn_o *o, int i) {
    return tn_o_type(o, i).shape.rank;
}

bool tn_o_expect(tn_o *o, int i, const char *what, int rank, const tn_dim *dims) {
    tn_shape wanted = {.rank = rank};
    if (!tn_o_ok(o) || !tn_o_has(o, i)) return tn_o_ok(o);
    tn_type type = tn_o_type(o, i);
    if (rank) memcpy(wanted.dim, dims, sizeof *dims * (size_t)rank);
    if (!tn_o_ok(o) || tn_shape_equal(&type.shape, &wanted)) return tn_o_ok(o);
    tn_type expected = {type.dtype, wanted};
    tn_o_fail(o, TN_INVALID, "its %s (input %d) is %s; expected %s", what, i,
              tn_type_text(o->dims, &type).at, tn_type_text(o->dims, &expected).at);
    return false;
}

tn_value tn_o_widen(tn_o *o, tn_value x) {
    tn_dtype dtype = tn_b_type(o->b, x).dtype;
    bool narrow = tn_dtype_is_float(dtype) && dtype != TN_f32 && dtype != TN_f64;
    return narrow ? tn_b_cast(o->b, x, TN_f32) : x;
}

tn_value tn_o_scalar(tn_o *o, tn_value x) {
    tn_shape shape = tn_b_type(o->b, x).shape;
    bool one = tn_o_ok(o) && tn_shape_count(o->dims, &shape) == 1;
    return one ? tn_b_reshape(o->b, x, &(tn_shape){0}) : x;
}

tn_value tn_o_like(tn_o *o, tn_value x, tn_value of) {
    return tn_b_cast(o->b, x, tn_b_type(o->b, of).dtype);
}

/* ---- results -------------------------------------------------------------------------------- */

int tn_o_out_count(const tn_o *o) {
    int n = (int)o->node->outputs.len;
    while (n > 0 && !o->node->outputs.data[n - 1][0]) n--;
    return n;
}

bool tn_o_wants(const tn_o *o, int i) {
    return (uint32_t)i < o->node->outputs.len && o->node->outputs.data[i][0];
}

void tn_o_out_item(tn_o *o, int i, tn_onnx_item *item) {
    if (tn_o_ok(o) && tn_o_wants(o, i)) tn_onnx_define(o->scope, o->node->outputs.data[i], item);
}

tn_onnx_item *tn_o_item_of(tn_o *o, tn_value v) {
    return tn_onnx_item_new(o->scope, v, "");
}

void tn_o_out(tn_o *o, int i, tn_value v) {
    if (!tn_o_ok(o) || !tn_o_wants(o, i)) return;
    tn_o_out_item(o, i, tn_onnx_item_new(o->scope, v, o->node->outputs.data[i]));
}

void tn_o_out_known(tn_o *o, int i, const tn_known *known) {
    if (!tn_o_ok(o) || !tn_o_wants(o, i)) return;
    tn_o_out_item(o, i, tn_onnx_item_known(o->scope, known, o->node->outputs.data[i]));
}

void tn_o_out_same(tn_o *o, int i, int input) {
    tn_onnx_item *item = tn_o_item(o, input);
    if (tn_o_ok(o)) tn_o_out_item(o, i, item);
}

/* ---- sequences ------------------------------------------------------------------------------ */

bool tn_o_sequence(tn_o *o, int i, int *count, tn_onnx_item *const **items) {
    tn_onnx_item *item = tn_o_item(o, i);
    *count = 0;
    *items = NULL;
    if (tn_o_ok(o) && item->kind != TN_ITEM_SEQUENCE)
        tn_o_refuse(o, TN_INVALID, "input '%s' is not a sequence", item->name);
    if (!tn_o_ok(o)) return false;
    *count = item->count;
    *items = item->items;
    return true;
}

void tn_o_out_sequence(tn_o *o, int i, int count, tn_onnx_item *const *items) {
    if (!tn_o_ok(o) || !tn_o_wants(o, i)) return;
    tn_onnx_item *item = tn_onnx_item_new(o->scope, TN_NO_VALUE, o->node->outputs.data[i]);
    item->kind = TN_ITEM_SEQUENCE;
    item->count = count;
    item->items = tn_arena_dup(o->scratch, items, sizeof *items * (size_t)count);
    tn_o_out_item(o, i, item);
}

/* ---- values --------------------------------------------------------------------------------- */

bool tn_o_known(tn_o *o, int i, tn_known *out) {
    *out = (tn_known){.dtype = TN_i64};
    if (!tn_o_ok(o) || !tn_o_has(o, i)) return false;
    return tn_onnx_item_get_known(o->scope, tn_o_item(o, i), out);
}

bool tn_o_need_known(tn_o *o, int i, const char *what, tn_known *out) {
    if (tn_o_known(o, i, out)) return true;
    const tn_onnx_item *item = tn_o_item(o, i);
    if (tn_o_ok(o)) tn_onnx_ask_value(o, item, what);
    return false;
}

bool tn_o_array(tn_o *o, int i, tn_array *out) {
    *out = (tn_array){.dtype = TN_f32};
    if (!tn_o_ok(o) || !tn_o_has(o, i)) return false;
    return tn_onnx_item_array(o->scope, tn_o_item(o, i), out);
}

bool tn_o_need_array(tn_o *o, int i, const char *what, tn_array *out) {
    if (tn_o_array(o, i, out)) return true;
    const tn_onnx_item *item = tn_o_item(o, i);
    if (tn_o_ok(o)) tn_onnx_ask_value(o, item, what);
    return false;
}

bool tn_o_need_ints(tn_o *o, int i, const char *what, int *count, const int64_t **at) {
    tn_array a;
    *count = 0;
    *at = NULL;
    if (!tn_o_need_array(o, i, what, &a)) return false;
    if (tn_dtype_is_float(a.dtype)) {
        tn_o_fail(o, TN_INVALID, "its %s has type %s; expected integers", what,
                  tn_dtype_name(a.dtype));
        return false;
    }
    int64_t n = tn_array_count(&a), *values = TN_NEW_N(o->scratch, int64_t, n);
    for (int64_t k = 0; k < n; k++) values[k] = tn_array_get(&a, k).i;
    *count = (int)n;
    *at = values;
    return true;
}

bool tn_o_need_floats(tn_o *o, int i, const char *what, int *count, const double **at) {
    tn_array a;
    *count = 0;
    *at = NULL;
    if (!tn_o_need_array(o, i, what, &a)) return false;
    int64_t n = tn_array_count(&a);
    double *values = TN_NEW_N(o->scratch, double, n);
    for (int64_t k = 0; k < n; k++)
        values[k] = tn_cell_cast(a.dtype, TN_f64, tn_array_get(&a, k)).f;
    *count = (int)n;
    *at = values;
    return true;
}

int64_t tn_o_need_int_value(tn_o *o, int i, const char *what) {
    int count;
    const int64_t *at;
    if (!tn_o_need_ints(o, i, what, &count, &at)) return 0;
    if (count == 1) return at[0];
    tn_o_fail(o, TN_INVALID, "its %s has %d elements; expected one", what, count);
    return 0;
}

int64_t tn_o_const_dim(tn_o *o, tn_dim d, const char *what) {
    int64_t value;
    if (!tn_o_ok(o)) return 1;
    if (tn_dim_const_value(o->dims, d, &value)) return value;
    tn_onnx_ask_dim(o, d, what);
    return 1;
}

bool tn_o_const_shape(tn_o *o, const tn_shape *shape, const char *what, int64_t *out) {
    for (int i = 0; i < shape->rank; i++) out[i] = tn_o_const_dim(o, shape->dim[i], what);
    return tn_o_ok(o);
}

int tn_o_axis(tn_o *o, int64_t axis, int rank) {
    if (tn_o_ok(o) && (axis < -rank || axis >= rank))
        tn_o_fail(o, TN_INVALID, "axis %lld is out of range for rank %d", (long long)axis, rank);
    if (!tn_o_ok(o)) return 0;
    return (int)(axis < 0 ? axis + rank : axis);
}

static int sorted_axes(tn_o *o, int count, const int64_t *at, int rank, int *out) {
    bool marked[TN_MAX_RANK] = {0};
    int n = 0;
    for (int i = 0; i < count; i++) {
        int axis = tn_o_axis(o, at[i], rank);
        if (!tn_o_ok(o)) return 0;
        if (marked[axis]) {
            tn_o_fail(o, TN_INVALID, "axis %d is given twice", axis);
            return 0;
        }
        marked[axis] = true;
    }
    for (int i = 0; i < rank; i++)
        if (marked[i]) out[n++] = i;
    return n;
}

int tn_o_axes(tn_o *o, const char *attr, int since_input, int i, int rank, int *out) {
    int count;
    const int64_t *at;
    if (o->version < since_input) {
        if (!tn_o_ints(o, attr, &count, &at)) return -1;
    } else {
        if (!tn_o_has(o, i)) return -1;
        if (!tn_o_need_ints(o, i, "axes", &count, &at)) return 0;
    }
    return sorted_axes(o, count, at, rank, out);
}
