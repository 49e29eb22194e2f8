/* The builder's core: errors, nodes, sources, element-wise operations with broadcasting.
 * Movement is in builder_movement.c, reductions and products in builder_contract.c. */
#include "ir/builder.h"

#include "ir/text.h"

#include <stdarg.h>
#include <stdio.h>

tn_builder tn_builder_of(tn_graph *g, tn_error *err) {
    return (tn_builder){.graph = g, .status = TN_OK, .err = err};
}

tn_value tn_b_fail(tn_builder *b, tn_status status, const char *format, ...) {
    if (b->status != TN_OK) return TN_NO_VALUE;
    char message[TN_ERROR_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    b->status = tn_error_set(b->err, status, "%s", message);
    if (b->name) tn_error_push(b->err, "node '%s'", b->name);
    return TN_NO_VALUE;
}

tn_value tn_b_node(tn_builder *b, tn_op op, const tn_value *in, uint32_t n, const void *attrs) {
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_value out;
    b->status = tn_graph_add(b->graph, op, in, n, attrs, b->name, &out, b->err);
    return b->status == TN_OK ? out : TN_NO_VALUE;
}

tn_type tn_b_type(const tn_builder *b, tn_value v) {
    if (!tn_b_ok(b) || v >= b->graph->values.len) return (tn_type){.dtype = TN_f32};
    return *tn_graph_type(b->graph, v);
}

int tn_b_rank(const tn_builder *b, tn_value v) {
    return tn_b_type(b, v).shape.rank;
}

tn_dim tn_b_dim(const tn_builder *b, tn_value v, int axis) {
    tn_type t = tn_b_type(b, v);
    if (axis < 0) axis += t.shape.rank;
    if (axis < 0 || axis >= t.shape.rank) return 1;
    return t.shape.dim[axis];
}

/* ---- sources -------------------------------------------------------------------------------- */

tn_value tn_b_input(tn_builder *b, const char *name, tn_dtype dtype, const tn_shape *shape) {
    tn_attrs_input attrs = {.dtype = dtype, .shape = *shape};
    tn_value v = tn_b_node(b, TN_OP_input, NULL, 0, &attrs);
    if (v != TN_NO_VALUE && name)
        b->graph->values.data[v].name = tn_arena_strdup(b->graph->arena, name);
    return v;
}

tn_value tn_b_constant(tn_builder *b, const tn_array *array) {
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_attrs_constant attrs = {.dtype = array->dtype, .shape = {.rank = array->rank}};
    for (int i = 0; i < array->rank; i++) attrs.shape.dim[i] = array->dim[i];
    attrs.data.size = tn_array_bytes(array);
    attrs.data.bytes = tn_arena_dup(b->graph->arena, array->data, attrs.data.size);
    return tn_b_node(b, TN_OP_constant, NULL, 0, &attrs);
}

static tn_value scalar_of_cell(tn_builder *b, tn_dtype dtype, tn_cell cell) {
    uint64_t room = 0;
    tn_array array = {.dtype = dtype, .data = &room};
    tn_cell_store(dtype, &room, cell);
    return tn_b_constant(b, &array);
}

tn_value tn_b_scalar(tn_builder *b, tn_dtype dtype, double value) {
    return scalar_of_cell(b, dtype, tn_cell_of(dtype, value));
}

tn_value tn_b_scalar_int(tn_builder *b, tn_dtype dtype, int64_t value) {
    return scalar_of_cell(b, dtype, tn_cell_of_int(dtype, value));
}

tn_value tn_b_full(tn_builder *b, tn_dtype dtype, const tn_shape *shape, double value) {
    return tn_b_expand(b, tn_b_scalar(b, dtype, value), shape);
}

tn_value tn_b_iota(tn_builder *b, tn_dtype dtype, const tn_shape *shape, int axis) {
    tn_attrs_iota attrs = {.dtype = dtype, .shape = *shape, .axis = axis};
    return tn_b_node(b, TN_OP_iota, NULL, 0, &attrs);
}

/* ---- broadcasting --------------------------------------------------------------------------- */

static void fail_broadcast(tn_builder *b, const tn_shape *x, const tn_shape *y, int axis_from_end) {
    tn_str text;
    tn__str_init_in(&text, b->graph->arena);
    tn_shape_print(b->graph->dims, x, &text);
    tn_str_append(&text, " and ");
    tn_shape_print(b->graph->dims, y, &text);
    tn_b_fail(b, TN_INVALID,
              "shapes %s do not broadcast: axis %d has sizes that are neither equal nor 1",
              tn_str_text(&text), -axis_from_end);
}

bool tn_b_broadcast_shape(tn_builder *b, const tn_shape *x, const tn_shape *y, tn_shape *out) {
    if (!tn_b_ok(b)) return false;
    tn_shape shape = {.rank = TN_MAX(x->rank, y->rank)};
    for (int i = 1; i <= shape.rank; i++) {
        tn_dim p = i <= x->rank ? x->dim[x->rank - i] : 1;
        tn_dim q = i <= y->rank ? y->dim[y->rank - i] : 1;
        if (p != q && p != 1 && q != 1) {
            fail_broadcast(b, x, y, i);
            return false;
        }
        shape.dim[shape.rank - i] = p == 1 ? q : p;
    }
    *out = shape;
    return true;
}

/* ---- element-wise --------------------------------------------------------------------------- */

static tn_value unary(tn_builder *b, tn_op op, tn_value x) {
    return tn_b_node(b, op, &x, 1, NULL);
}

static tn_value binary(tn_builder *b, tn_op op, tn_value x, tn_value y) {
    tn_type p = tn_b_type(b, x), q = tn_b_type(b, y);
    tn_shape shape;
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (!tn_b_broadcast_shape(b, &p.shape, &q.shape, &shape)) {
        tn_error_push(b->err, "%s", tn_op_info_of(op)->name);
        return TN_NO_VALUE;
    }
    tn_value in[] = {tn_b_expand(b, x, &shape), tn_b_expand(b, y, &shape)};
    return tn_b_node(b, op, in, 2, NULL);
}

#define R(op)                                                                                      \
    tn_value tn_b_##op(tn_builder *b, tn_value x) {                                                \
        return unary(b, TN_OP_##op, x);                                                            \
    }
TN_B_UNARY(R)
#undef R
#define R(op)                                                                                      \
    tn_value tn_b_##op(tn_builder *b, tn_value x, tn_value y) {                                    \
        return binary(b, TN_OP_##op, x, y);                                                        \
    }
TN_B_BINARY(R)
#undef R

tn_value tn_b_select(tn_builder *b, tn_value flag, tn_value x, tn_value y) {
    tn_type f = tn_b_type(b, flag), p = tn_b_type(b, x), q = tn_b_type(b, y);
    tn_shape shape;
    if (!tn_b_broadcast_shape(b, &p.shape, &q.shape, &shape)) return TN_NO_VALUE;
    if (!tn_b_broadcast_shape(b, &shape, &f.shape, &shape)) return TN_NO_VALUE;
    tn_value in[] = {tn_b_expand(b, flag, &shape), tn_b_expand(b, x, &shape),
                     tn_b_expand(b, y, &shape)};
    return tn_b_node(b, TN_OP_select, in, 3, NULL);
}

tn_value tn_b_cast(tn_builder *b, tn_value x, tn_dtype dtype) {
    if (!tn_b_ok(b) || tn_b_type(b, x).dtype == dtype) return x;
    tn_attrs_cast attrs = {.dtype = dtype};
    return tn_b_node(b, TN_OP_cast, &x, 1, &attrs);
}

tn_value tn_b_add_scalar(tn_builder *b, tn_value x, double value) {
    return tn_b_add(b, x, tn_b_scalar(b, tn_b_type(b, x).dtype, value));
}

tn_value tn_b_mul_scalar(tn_builder *b, tn_value x, double value) {
    return tn_b_mul(b, x, tn_b_scalar(b, tn_b_type(b, x).dtype, value));
}
