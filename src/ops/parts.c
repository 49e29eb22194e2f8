/* Small parts of rules. See parts.h. */
#include "ops/parts.h"

/* ---- infer ---------------------------------------------------------------------------------- */

tn_status tn_infer_accumulator(const tn_infer *i, uint32_t which, tn_dtype acc, tn_error *err) {
    tn_dtype dtype = i->in[which]->dtype;
    bool kind = (tn_dtype_is_float(dtype) && tn_dtype_is_float(acc)) ||
                (tn_dtype_is_integer(dtype) && tn_dtype_is_integer(acc));
    if (kind && (acc == dtype || tn_dtype_bits(acc) > tn_dtype_bits(dtype))) return TN_OK;
    return tn_infer_refuse(i, which, err,
                           "acc = %s cannot accumulate its elements; expected that type or a wider "
                           "float or integer type",
                           tn_dtype_name(acc));
}

static tn_dim dilate(tn_dims *t, tn_dim size, int64_t by) {
    if (by == 1 || size == 0) return size;
    return tn_dim_add(t, tn_dim_mul(t, tn_dim_sub(t, size, 1), by), 1);
}

/* Keeps the arithmetic on window attributes within 64 bits. */
static const int64_t WINDOW_REACH = INT64_C(1) << 31;

static bool in_reach(int64_t value, int64_t lo) {
    return value >= lo && value <= WINDOW_REACH;
}

tn_status tn_infer_window(const tn_infer *i, int axis, tn_dim size, tn_dim window, tn_window w,
                          tn_dim *out, tn_error *err) {
    tn_dims *t = i->graph->dims;
    if (!in_reach(w.stride, 1) || !in_reach(w.dilation, 1) || !in_reach(w.base, 1))
        return tn_infer_refuse_attr(i, err, "axis %d: strides and dilations are 1 to 2^31", axis);
    if (!in_reach(w.lo, -WINDOW_REACH) || !in_reach(w.hi, -WINDOW_REACH))
        return tn_infer_refuse_attr(i, err, "axis %d: padding is limited to 2^31", axis);
    if (tn_dim_is_const(window) && window > WINDOW_REACH)
        return tn_infer_refuse_attr(i, err, "axis %d: windows are limited to 2^31", axis);
    tn_dim padded = tn_dim_add(t, dilate(t, size, w.base), tn_dim_const(t, w.lo));
    padded = tn_dim_add(t, padded, tn_dim_const(t, w.hi));
    tn_dim room = tn_dim_sub(t, padded, dilate(t, window, w.dilation));
    bool passes = window == tn_dim_const(t, 1) && w.lo == 0 && w.hi == 0; /* also no elements */
    if (tn_dim_hi(t, window) < 1 || (tn_dim_hi(t, room) < 0 && !passes))
        return tn_infer_refuse(i, 0, err,
                               "a window of %s with dilation %lld does not fit into axis %d of "
                               "size %s with padding %lld and %lld",
                               tn_dim_text(t, window).at, (long long)w.dilation, axis,
                               tn_dim_text(t, size).at, (long long)w.lo, (long long)w.hi);
    *out = tn_dim_add(t, w.stride == 1 ? room : tn_dim_floordiv(t, room, w.stride), 1);
    return TN_OK;
}

/* ---- reductions ------------------------------------------------------------------------------ */

tn_scalar_op tn_reduce_op(tn_reduce_kind kind) {
    switch (kind) {
    case TN_REDUCE_sum:
        return TN_S_add;
    case TN_REDUCE_prod:
        return TN_S_mul;
    case TN_REDUCE_max:
        return TN_S_max;
    case TN_REDUCE_min:
        return TN_S_min;
    case TN_REDUCE_and:
        return TN_S_and;
    case TN_REDUCE_or:
        return TN_S_or;
    case TN_REDUCE_argmax:
        return TN_S_gt;
    case TN_REDUCE_argmin:
        return TN_S_lt;
    }
    TN_BUG("unknown reduction %d", kind);
}

tn_cell tn_reduce_identity(tn_reduce_kind kind, tn_dtype dtype) {
    switch (kind) {
    case TN_REDUCE_prod:
        return tn_cell_of(dtype, 1);
    case TN_REDUCE_max:
    case TN_REDUCE_argmax:
        return tn_cell_lowest(dtype);
    case TN_REDUCE_min:
    case TN_REDUCE_argmin:
        return tn_cell_highest(dtype);
    case TN_REDUCE_and:
        return tn_cell_round(dtype, (tn_cell){.u = UINT64_MAX});
    default:
        return tn_cell_of(dtype, 0);
    }
}

/* ---- axis lists ----------------------------------------------------------------------------- */

int tn_ints_find(const tn_ints *list, int64_t value) {
    for (int i = 0; i < list->count; i++)
        if (list->at[i] == value) return i;
    return -1;
}

tn_ints tn_ints_range(int lo, int hi) {
    tn_ints list = {0};
    for (int i = lo; i < hi; i++) tn_ints_push(&list, i);
    return list;
}

tn_ints tn_ints_shifted(const tn_ints *list, int64_t by) {
    tn_ints out = *list;
    for (int i = 0; i < out.count; i++) out.at[i] += by;
    return out;
}

/* ---- eval ----------------------------------------------------------------------------------- */

tn_cell *tn_eval_cells(tn_eval_call *e, uint32_t which, tn_dtype to) {
    const tn_array *a = &e->in[which];
    int64_t count = tn_array_count(a);
    tn_cell *cells = TN_NEW_N(e->arena, tn_cell, count);
    for (int64_t i = 0; i < count; i++) cells[i] = tn_cell_cast(a->dtype, to, tn_array_get(a, i));
    return cells;
}

static void strides_of(const tn_array *a, int64_t *stride) {
    int64_t step = 1;
    for (int i = a->rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= a->dim[i];
    }
}

int64_t *tn_eval_offsets(tn_arena *arena, const tn_array *a, const tn_ints *axes, int64_t *count) {
    int64_t stride[TN_MAX_RANK], dim[TN_MAX_RANK], index[TN_MAX_RANK] = {0};
    strides_of(a, stride);
    *count = 1;
    for (int i = 0; i < axes->count; i++) *count *= dim[i] = a->dim[axes->at[i]];
    int64_t *offsets = TN_NEW_N(arena, int64_t, *count);
    for (int64_t p = 0; p < *count; p++) {
        for (int i = 0; i < axes->count; i++) offsets[p] += index[i] * stride[axes->at[i]];
        tn_index_next(index, axes->count, dim);
    }
    return offsets;
}

/* ---- cost ----------------------------------------------------------------------------------- */

void tn_cost_per_element(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                         double flops, tn_cost *out) {
    tn_cost_traffic(g, n, bindings, out);
    out->flops = flops * tn_cost_elements(g, &tn_graph_type(g, n->out)->shape, bindings);
}

/* ---- lower ---------------------------------------------------------------------------------- */

tn_lx tn_emit_or_zero(tn_emit *e, const tn_node_info *n, uint32_t which, const tn_lx *index,
                      tn_lx guard) {
    if (guard == TN_LX_NONE) return e->operand(e, n, which, index);
    tn_lx zero = tn_l_number(e->k, tn_node_type(e->graph, n, which)->dtype, 0);
    return tn_emit_guarded(e, n, which, index, guard, zero);
}

tn_dtype tn_sum_total(tn_scalar_op op, tn_dtype acc) {
    return op == TN_S_add && acc == TN_f32 ? TN_f64 : acc;
}

void tn_contraction_fold(const tn_contraction *c, tn_fold *out) {
    *out = (tn_fold){.registers = 1, .simple = true, .op = TN_S_add, .axes = c->k};
    out->dtype[0] = out->total = c->acc;
    out->init[0] = tn_cell_of(c->acc, 0);
    memcpy(out->extent, c->k_extent, sizeof out->extent);
}

void tn_contraction_step(tn_emit *e, const tn_node_info *n, const tn_contraction_rules *rules,
                         const tn_lx *index, const tn_lx *at, const tn_lx *acc, tn_lx *next) {
    tn_contraction c;
    rules->describe(e->graph, n, &c);
    tn_lx x_at[TN_MAX_RANK], y_at[TN_MAX_RANK], x_guard = TN_LX_NONE, y_guard = TN_LX_NONE;
    rules->lhs(e, n, index, index + c.b, at, x_at, &x_guard);
    rules->rhs(e, n, index, at, index + c.b + c.m, y_at, &y_guard);
    tn_lx x = tn_l_cast(e->k, tn_emit_or_zero(e, n, 0, x_at, x_guard), c.acc, false);
    tn_lx y = tn_l_cast(e->k, tn_emit_or_zero(e, n, 1, y_at, y_guard), c.acc, false);
    next[0] = tn_l_op3(e->k, TN_S_mad, x, y, acc[0]);
}

void tn_fold_add(tn_loop *k, const tn_graph *g, const tn_node_info *n, const tn_lx *a,
                 const tn_lx *b, tn_lx *out) {
    (void)g, (void)n;
    out[0] = tn_l_op2(k, TN_S_add, a[0], b[0]);
}

tn_lx tn_fold_first(tn_emit *e, const tn_node_info *n, const tn_lx *index, const tn_lx *acc) {
    (void)e, (void)n, (void)index;
    return acc[0];
}

tn_lx tn_emit_not(tn_loop *k, tn_lx flag) {
    return tn_l_op1(k, TN_S_not, flag);
}

tn_lx tn_emit_window(tn_emit *e, tn_window w, tn_dim size, tn_lx to, tn_lx at, tn_lx *guard) {
    tn_loop *k = e->k;
    tn_lx zero = tn_l_int(k, 0);
    tn_lx position = tn_l_add(k, tn_l_mul(k, to, tn_l_int(k, w.stride)),
                              tn_l_mul(k, at, tn_l_int(k, w.dilation)));
    position = tn_l_sub(k, position, tn_l_int(k, w.lo));
    if (w.lo > 0) *guard = tn_l_and(k, *guard, tn_l_le(k, zero, position));
    if (w.base > 1) {
        tn_lx base = tn_l_int(k, w.base);
        position = tn_l_max(k, position, zero);
        tn_lx hit = tn_l_op2(k, TN_S_eq, tn_l_mod(k, position, base), zero);
        *guard = tn_l_and(k, *guard, hit);
        position = tn_l_div(k, position, base);
    }
    /* Without padding behind, the last window ends within x. */
    if (w.hi > 0) *guard = tn_l_and(k, *guard, tn_l_lt(k, position, tn_emit_dim(e, size)));
    return position;
}

/* ---- vjp, batch ----------------------------------------------------------------------------- */

tn_value tn_b_move(tn_builder *b, tn_value x, int from, int to) {
    int rank = tn_b_rank(b, x), perm[TN_MAX_RANK], at = 0;
    if (!tn_b_ok(b) || from == to) return x;
    for (int i = 0; i < rank; i++) {
        if (i == to) {
            perm[i] = from;
            continue;
        }
        if (at == from) at++;
        perm[i] = at++;
    }
    return tn_b_permute(b, x, perm);
}

tn_value tn_b_regroup(tn_builder *b, tn_value x, int axis, int n, int count, const tn_dim *dim) {
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_type type = tn_b_type(b, x);
    if (type.shape.rank - n + count > TN_MAX_RANK)
        return tn_b_fail(b, TN_UNSUPPORTED, "more than %d axes", TN_MAX_RANK);
    tn_shape shape = {0};
    for (int i = 0; i < axis; i++) shape.dim[shape.rank++] = type.shape.dim[i];
    for (int i = 0; i < count; i++) shape.dim[shape.rank++] = dim[i];
    for (int i = axis + n; i < type.shape.rank; i++) shape.dim[shape.rank++] = type.shape.dim[i];
    return tn_b_reshape(b, x, &shape);
}
