/* Rule bodies of several families. See ops_common.h. */
#include "ops/ops_common.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- messages ------------------------------------------------------------------------------- */

static tn_text take_text(tn_str *s) {
    tn_text text;
    snprintf(text.at, sizeof text.at, "%s", tn_str_text(s));
    tn_str_deinit(s);
    return text;
}

tn_text tn_type_text(const tn_dims *t, const tn_type *type) {
    tn_str s;
    tn_str_init_with(&s, tn_arena_allocator(t->arena));
    tn_type_print(t, type, &s);
    return take_text(&s);
}

tn_text tn_shape_text(const tn_dims *t, const tn_shape *shape) {
    tn_str s;
    tn_str_init_with(&s, tn_arena_allocator(t->arena));
    tn_str_append_char(&s, '[');
    for (int i = 0; i < shape->rank; i++) {
        if (i) tn_str_append_char(&s, ',');
        tn_dim_print(t, shape->dim[i], &s);
    }
    tn_str_append_char(&s, ']');
    return take_text(&s);
}

tn_text tn_dim_text(const tn_dims *t, tn_dim d) {
    tn_str s;
    tn_str_init_with(&s, tn_arena_allocator(t->arena));
    tn_dim_print(t, d, &s);
    return take_text(&s);
}

/* ---- infer ---------------------------------------------------------------------------------- */

enum { MESSAGE = 700 };

tn_status tn_infer_refuse(const tn_infer *i, uint32_t which, tn_error *err, const char *format,
                          ...) {
    char message[MESSAGE];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return tn_error_set(err, TN_INVALID, "operand %u is %s: %s", which,
                        tn_type_text(i->graph->dims, i->in[which]).at, message);
}

tn_status tn_infer_refuse_attr(const tn_infer *i, tn_error *err, const char *format, ...) {
    char message[MESSAGE];
    va_list args;
    (void)i;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return tn_error_set(err, TN_INVALID, "%s", message);
}

tn_status tn_infer_undecided(const tn_infer *i, tn_error *err, const char *format, ...) {
    char message[MESSAGE];
    va_list args;
    (void)i;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return tn_error_set(err, TN_UNSUPPORTED,
                        "%s; that depends on sizes that are open: bind them (--dim NAME=N)",
                        message);
}

tn_status tn_infer_dtype(const tn_infer *i, uint32_t which, tn_dtype dtype, tn_error *err) {
    if (i->in[which]->dtype == dtype) return TN_OK;
    return tn_infer_refuse(i, which, err, "expected type %s", tn_dtype_name(dtype));
}

tn_status tn_infer_same_dtype(const tn_infer *i, uint32_t which, uint32_t other, tn_error *err) {
    if (i->in[which]->dtype == i->in[other]->dtype) return TN_OK;
    return tn_infer_refuse(i, which, err, "expected type %s as in operand %u; insert a cast",
                           tn_dtype_name(i->in[other]->dtype), other);
}

tn_status tn_infer_same_shape(const tn_infer *i, uint32_t which, uint32_t other, tn_error *err) {
    if (tn_shape_equal(&i->in[which]->shape, &i->in[other]->shape)) return TN_OK;
    return tn_infer_refuse(i, which, err, "expected shape %s as in operand %u; broadcast first",
                           tn_shape_text(i->graph->dims, &i->in[other]->shape).at, other);
}

tn_status tn_infer_same_type(const tn_infer *i, uint32_t which, uint32_t other, tn_error *err) {
    TN_CHECK(tn_infer_same_dtype(i, which, other, err));
    return tn_infer_same_shape(i, which, other, err);
}

tn_status tn_infer_scalar(const tn_infer *i, uint32_t which, tn_error *err) {
    if (i->in[which]->shape.rank == 0) return TN_OK;
    return tn_infer_refuse(i, which, err, "expected a scalar");
}

tn_status tn_infer_rank(const tn_infer *i, uint32_t which, int rank, tn_error *err) {
    if (i->in[which]->shape.rank == rank) return TN_OK;
    return tn_infer_refuse(i, which, err, "it has %d axes; expected %d", i->in[which]->shape.rank,
                           rank);
}

tn_status tn_infer_axis(const tn_infer *i, const char *field, int64_t axis, int rank,
                        tn_error *err) {
    if (axis >= 0 && axis < rank) return TN_OK;
    if (rank == 0)
        return tn_infer_refuse_attr(i, err, "%s is %lld, but a scalar has no axes", field,
                                    (long long)axis);
    return tn_infer_refuse_attr(i, err, "%s is %lld; expected 0 to %d", field, (long long)axis,
                                rank - 1);
}

tn_status tn_infer_axes(const tn_infer *i, const char *field, const tn_ints *axes, int rank,
                        tn_error *err) {
    for (int a = 0; a < axes->count; a++) {
        TN_CHECK(tn_infer_axis(i, field, axes->at[a], rank, err));
        for (int k = 0; k < a; k++)
            if (axes->at[k] == axes->at[a])
                return tn_infer_refuse_attr(i, err, "%s names axis %lld twice", field,
                                            (long long)axes->at[a]);
    }
    return TN_OK;
}

tn_status tn_infer_count(const tn_infer *i, const char *field, int have, int count, tn_error *err) {
    if (have == count) return TN_OK;
    return tn_infer_refuse_attr(i, err, "%s has %d entries; expected %d, one per axis", field, have,
                                count);
}

tn_status tn_infer_attr_dtype(const tn_infer *i, const char *field, tn_dtype dtype, tn_error *err) {
    if ((unsigned)dtype < TN_DTYPE_COUNT) return TN_OK;
    return tn_infer_refuse_attr(i, err, "%s is %d; expected a data type", field, (int)dtype);
}

tn_status tn_infer_attr_shape(const tn_infer *i, const char *field, const tn_shape *shape,
                              tn_error *err) {
    tn_dims *t = i->graph->dims;
    if (shape->rank < 0 || shape->rank > TN_MAX_RANK)
        return tn_infer_refuse_attr(i, err, "%s has %d axes; expected 0 to %d", field, shape->rank,
                                    TN_MAX_RANK);
    for (int a = 0; a < shape->rank; a++) {
        tn_dim d = shape->dim[a];
        if (tn_dim_proves_le(t, 0, d)) continue;
        if (tn_dim_hi(t, d) < 0)
            return tn_infer_refuse_attr(i, err, "axis %d of %s has the negative size %s", a, field,
                                        tn_dim_text(t, d).at);
        return tn_infer_undecided(i, err, "axis %d of %s has size %s, which may be negative", a,
                                  field, tn_dim_text(t, d).at);
    }
    return TN_OK;
}

tn_status tn_infer_identity(tn_infer *i, tn_error *err) {
    (void)err;
    i->out[0] = *i->in[0];
    return TN_OK;
}

tn_shape tn_shape_without(const tn_shape *shape, const tn_ints *axes) {
    tn_shape out = {0};
    for (int i = 0; i < shape->rank; i++)
        if (!tn_ints_have(axes, i)) out.dim[out.rank++] = shape->dim[i];
    return out;
}

tn_shape tn_shape_with_front(const tn_shape *shape, tn_dim size) {
    TN_ASSERT(shape->rank < TN_MAX_RANK);
    tn_shape out = {.rank = shape->rank + 1, .dim = {size}};
    for (int i = 0; i < shape->rank; i++) out.dim[i + 1] = shape->dim[i];
    return out;
}

/* ---- eval ----------------------------------------------------------------------------------- */

void tn_array_copy_element(tn_array *to, int64_t at, const tn_array *from, int64_t element) {
    size_t size = tn_dtype_size(to->dtype);
    memcpy((char *)to->data + (size_t)at * size, (const char *)from->data + (size_t)element * size,
           size);
}

/* ---- cost ----------------------------------------------------------------------------------- */

double tn_cost_elements(const tn_graph *g, const tn_shape *shape, const int64_t *bindings) {
    double count = 1;
    for (int i = 0; i < shape->rank; i++)
        count *= (double)tn_dim_eval(g->dims, shape->dim[i], bindings);
    return count;
}

double tn_cost_bytes(const tn_graph *g, const tn_type *type, const int64_t *bindings) {
    return tn_cost_elements(g, &type->shape, bindings) * (double)tn_dtype_size(type->dtype);
}

void tn_cost_traffic(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                     tn_cost *out) {
    out->bytes_read = out->bytes_written = 0;
    for (uint32_t i = 0; i < n->in_count; i++)
        out->bytes_read += tn_cost_bytes(g, tn_node_type(g, n, i), bindings);
    for (uint32_t i = 0; i < n->out_count; i++)
        out->bytes_written += tn_cost_bytes(g, tn_graph_type(g, n->out + i), bindings);
}

void tn_cost_elementwise(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                         tn_cost *out) {
    tn_cost_traffic(g, n, bindings, out);
    out->flops = tn_cost_elements(g, &tn_graph_type(g, n->out)->shape, bindings);
}

void tn_cost_move(const tn_graph *g, const tn_node_info *n, const int64_t *bindings, tn_cost *out) {
    *out = (tn_cost){0};
    tn_cost_traffic(g, n, bindings, out);
    out->bytes_read = out->bytes_written;
}

void tn_cost_nothing(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                     tn_cost *out) {
    (void)g, (void)n, (void)bindings;
    *out = (tn_cost){0};
}

/* ---- lower ---------------------------------------------------------------------------------- */

tn_lx tn_emit_guarded(tn_emit *e, const tn_node_info *n, uint32_t which, const tn_lx *index,
                      tn_lx guard, tn_lx other) {
    if (guard == TN_LX_NONE) return e->operand(e, n, which, index);
    const tn_lexpr *known = tn_l_expr(e->k, guard);
    if (known->kind == TN_LX_CONST) return known->value.u ? e->operand(e, n, which, index) : other;
    tn_lx outer = e->guard;
    e->guard = tn_l_and(e->k, outer, guard);
    tn_lx value = e->operand(e, n, which, index);
    e->guard = outer;
    return tn_l_select(e->k, guard, value, other);
}

tn_lx tn_lower_identity(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index) {
    (void)result;
    return e->operand(e, n, 0, index);
}

tn_lx tn_emit_linear(tn_emit *e, const tn_lx *index, const tn_dim *dim, int rank) {
    tn_lx linear = rank ? index[0] : tn_l_int(e->k, 0);
    for (int i = 1; i < rank; i++)
        linear = tn_l_add(e->k, tn_l_mul(e->k, linear, tn_emit_dim(e, dim[i])), index[i]);
    return linear;
}

void tn_emit_delinear(tn_emit *e, tn_lx linear, const tn_dim *dim, int rank, tn_lx *index) {
    for (int i = rank - 1; i > 0; i--) {
        tn_lx size = tn_emit_dim(e, dim[i]);
        index[i] = tn_l_mod(e->k, linear, size);
        linear = tn_l_div(e->k, linear, size);
    }
    if (rank) index[0] = linear;
}

tn_lx tn_emit_count(tn_emit *e, const tn_dim *dim, int rank) {
    tn_lx count = tn_l_int(e->k, 1);
    for (int i = 0; i < rank; i++) count = tn_l_mul(e->k, count, tn_emit_dim(e, dim[i]));
    return count;
}

/* ---- vjp ------------------------------------------------------------------------------------ */

void tn_vjp_none(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                 const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    (void)b, (void)g, (void)in, (void)out, (void)cotangents;
    for (uint32_t i = 0; i < n->in_count; i++) grads[i] = TN_NO_VALUE;
}

void tn_vjp_identity(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                     const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    tn_vjp_none(b, g, n, in, out, cotangents, grads);
    grads[0] = cotangents[0];
}

tn_value tn_b_full_like(tn_builder *b, tn_value like, double value) {
    tn_type type = tn_b_type(b, like);
    return tn_b_full(b, type.dtype, &type.shape, value);
}

/* ---- batch ---------------------------------------------------------------------------------- */

tn_value tn_batch_operand(tn_builder *b, tn_value v, bool batched, tn_dim size) {
    if (batched || !tn_b_ok(b)) return v;
    tn_type type = tn_b_type(b, v);
    if (type.shape.rank == TN_MAX_RANK)
        return tn_b_fail(b, TN_UNSUPPORTED, "a tensor of %d axes cannot take one more",
                         TN_MAX_RANK);
    tn_shape shape = tn_shape_with_front(&type.shape, size);
    return tn_b_expand(b, v, &shape);
}

tn_value tn_batch_select(tn_builder *b, tn_value flag, tn_value x, tn_value y) {
    tn_type type = tn_b_type(b, x);
    tn_shape flags = {.rank = type.shape.rank};
    for (int i = 0; i < flags.rank; i++) flags.dim[i] = i == 0 ? type.shape.dim[0] : 1;
    flag = tn_b_expand(b, tn_b_reshape(b, flag, &flags), &type.shape);
    return tn_b_select(b, flag, x, y);
}

void tn_batch_node(tn_builder *b, const tn_node_info *n, const tn_value *in, const void *attrs,
                   tn_value *out) {
    tn_value first = tn_b_node(b, n->op, in, n->in_count, attrs);
    for (uint32_t i = 0; i < n->out_count; i++)
        out[i] = first == TN_NO_VALUE ? TN_NO_VALUE : first + i;
}

void tn_batch_elementwise(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                          const tn_batching *how, const tn_value *in, const bool *batched,
                          tn_value *out) {
    tn_value *wide = TN_NEW_N(b->graph->arena, tn_value, n->in_count);
    (void)g;
    for (uint32_t i = 0; i < n->in_count; i++)
        wide[i] = tn_batch_operand(b, in[i], batched[i], how->size);
    tn_batch_node(b, n, wide, n->attrs, out);
}

void tn_batch_replicate(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                        const tn_batching *how, const tn_value *in, const bool *batched,
                        tn_value *out) {
    (void)g;
    for (uint32_t i = 0; i < n->in_count; i++)
        if (batched[i])
            tn_b_fail(b, TN_UNSUPPORTED, "operand %u of %s cannot differ between the members", i,
                      tn_op_info_of(n->op)->name);
    tn_batch_node(b, n, in, n->attrs, out);
    for (uint32_t i = 0; i < n->out_count; i++)
        out[i] = tn_batch_operand(b, out[i], false, how->size);
}

/* ---- shard ---------------------------------------------------------------------------------- */

static bool same_placement(const tn_node_info *n, tn_shard *s) {
    for (uint32_t i = 1; i < n->in_count; i++)
        if (s->in[i] != s->in[0]) return false;
    for (uint32_t i = 0; i < n->out_count; i++)
        s->out[i] = n->in_count ? s->in[0] : TN_PLACE_REPLICATED;
    return true;
}

bool tn_shard_linear(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    (void)g;
    return same_placement(n, s);
}

bool tn_shard_elementwise(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    (void)g;
    return same_placement(n, s) && (n->in_count == 0 || s->in[0] != TN_PLACE_PARTIAL);
}

bool tn_shard_replicated(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    (void)g;
    return same_placement(n, s) && (n->in_count == 0 || s->in[0] == TN_PLACE_REPLICATED);
}
