/* Operations that move elements: permute, broadcast, slice, pad, concat, barrier; reshape has its
 * own file.
 *
 * The reference is one loop over the result (eval_moved) that asks each operation which operand
 * element comes here; lowering says the same with loop expressions. */
#include "ops/ops_common.h"

/* Gives the operand and, in `from`, the index of the element that moves to `index`. */
typedef uint32_t source_fn(const tn_eval_call *e, const int64_t *index, int64_t *from);

static tn_status eval_moved(tn_eval_call *e, source_fn *source) {
    tn_array *y = &e->out[0];
    int64_t index[TN_MAX_RANK] = {0}, from[TN_MAX_RANK], count = tn_array_count(y);
    for (int64_t i = 0; i < count; i++) {
        const tn_array *x = &e->in[source(e, index, from)];
        tn_array_copy_element(y, i, x, tn_index_offset(from, x->rank, x->dim));
        tn_index_next(index, y->rank, y->dim);
    }
    return TN_OK;
}

static int64_t bound(const tn_eval_call *e, tn_dim d) {
    return tn_dim_is_const(d) ? d : tn_dim_eval(e->graph->dims, d, e->bindings);
}

static tn_value no_room(tn_builder *b, const tn_node_info *n) {
    return tn_b_fail(b, TN_UNSUPPORTED, "%s of a tensor with %d axes cannot take one more",
                     tn_op_info_of(n->op)->name, TN_MAX_RANK);
}

/* ---- permute: y[i…] = x[…], result axis i is operand axis perm[i] --------------------------- */

static tn_status infer_permute(tn_infer *i, tn_error *err) {
    const tn_attrs_permute *a = i->attrs;
    const tn_type *x = i->in[0];
    TN_CHECK(tn_infer_count(i, "perm", a->perm.count, x->shape.rank, err));
    TN_CHECK(tn_infer_axes(i, "perm", &a->perm, x->shape.rank, err));
    tn_shape shape = {.rank = x->shape.rank};
    for (int k = 0; k < shape.rank; k++) shape.dim[k] = x->shape.dim[a->perm.at[k]];
    tn_infer_out(i, 0, x->dtype, shape);
    return TN_OK;
}

static uint32_t permute_source(const tn_eval_call *e, const int64_t *index, int64_t *from) {
    const tn_attrs_permute *a = e->node->attrs;
    for (int k = 0; k < a->perm.count; k++) from[a->perm.at[k]] = index[k];
    return 0;
}

static tn_status eval_permute(tn_eval_call *e, tn_error *err) {
    (void)err;
    return eval_moved(e, permute_source);
}

static tn_lx lower_permute(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index) {
    const tn_attrs_permute *a = n->attrs;
    tn_lx from[TN_MAX_RANK];
    (void)result;
    for (int k = 0; k < a->perm.count; k++) from[a->perm.at[k]] = index[k];
    return e->operand(e, n, 0, from);
}

static void vjp_permute(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                        const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    const tn_attrs_permute *a = n->attrs;
    int inverse[TN_MAX_RANK];
    (void)g, (void)in, (void)out;
    for (int k = 0; k < a->perm.count; k++) inverse[a->perm.at[k]] = k;
    grads[0] = cotangents[0] == TN_NO_VALUE ? TN_NO_VALUE : tn_b_permute(b, cotangents[0], inverse);
}

static void batch_permute(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                          const tn_batching *how, const tn_value *in, const bool *batched,
                          tn_value *out) {
    const tn_attrs_permute *a = n->attrs;
    int perm[TN_MAX_RANK] = {0};
    (void)g;
    tn_value x = tn_batch_operand(b, in[0], batched[0], how->size);
    for (int k = 0; k < a->perm.count && k + 1 < TN_MAX_RANK; k++)
        perm[k + 1] = (int)a->perm.at[k] + 1;
    out[0] = tn_b_permute(b, x, perm);
}

static bool shard_permute(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    const tn_attrs_permute *a = n->attrs;
    (void)g;
    s->out[0] = s->in[0];
    for (int k = 0; s->in[0] >= 0 && k < a->perm.count; k++)
        if (a->perm.at[k] == s->in[0]) s->out[0] = k;
    return true;
}

const tn_op_rules tn_rules_permute = {
    .infer = infer_permute,
    .eval = eval_permute,
    .cost = tn_cost_move,
    .lower = TN_LOWER_VIEW(lower_permute),
    .vjp = TN_RULE(vjp_permute),
    .batch = TN_RULE(batch_permute),
    .shard = TN_RULE(shard_permute),
};

/* ---- broadcast: operand axis i becomes result axis axes[i]; size 1 is repeated -------------- */

static tn_status infer_broadcast(tn_infer *i, tn_error *err) {
    const tn_attrs_broadcast *a = i->attrs;
    const tn_shape *x = &i->in[0]->shape;
    TN_CHECK(tn_infer_attr_shape(i, "shape", &a->shape, err));
    TN_CHECK(tn_infer_count(i, "axes", a->axes.count, x->rank, err));
    TN_CHECK(tn_infer_axes(i, "axes", &a->axes, a->shape.rank, err));
    for (int k = 0; k < x->rank; k++) {
        if (k && a->axes.at[k] < a->axes.at[k - 1])
            return tn_infer_refuse_attr(i, err, "axes do not ascend; permute first");
        if (x->dim[k] != 1 && x->dim[k] != a->shape.dim[a->axes.at[k]])
            return tn_infer_refuse(
                i, 0, err, "axis %d must be 1 or equal axis %lld of the result %s", k,
                (long long)a->axes.at[k], tn_shape_text(i->graph->dims, &a->shape).at);
    }
    tn_infer_out(i, 0, i->in[0]->dtype, a->shape);
    return TN_OK;
}

static uint32_t broadcast_source(const tn_eval_call *e, const int64_t *index, int64_t *from) {
    const tn_attrs_broadcast *a = e->node->attrs;
    for (int k = 0; k < a->axes.count; k++)
        from[k] = e->in[0].dim[k] == 1 ? 0 : index[a->axes.at[k]];
    return 0;
}

static tn_status eval_broadcast(tn_eval_call *e, tn_error *err) {
    (void)err;
    return eval_moved(e, broadcast_source);
}

static tn_lx lower_broadcast(tn_emit *e, const tn_node_info *n, uint32_t result,
                             const tn_lx *index) {
    const tn_attrs_broadcast *a = n->attrs;
    const tn_shape *x = &tn_node_type(e->graph, n, 0)->shape;
    tn_lx from[TN_MAX_RANK];
    (void)result;
    for (int k = 0; k < x->rank; k++)
        from[k] = x->dim[k] == 1 ? tn_l_int(e->k, 0) : index[a->axes.at[k]];
    return e->operand(e, n, 0, from);
}

/* Sums over the axes along which the operand was repeated. */
static void vjp_broadcast(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                          const tn_value *in, const tn_value *out, const tn_value *cotangents,
                          tn_value *grads) {
    const tn_attrs_broadcast *a = n->attrs;
    tn_type x = tn_b_type(b, in[0]);
    int axes[TN_MAX_RANK], count = 0;
    bool repeated[TN_MAX_RANK];
    (void)g, (void)out;
    grads[0] = TN_NO_VALUE;
    if (cotangents[0] == TN_NO_VALUE || !tn_b_ok(b)) return;
    for (int k = 0; k < a->shape.rank; k++) repeated[k] = true;
    for (int k = 0; k < x.shape.rank; k++)
        repeated[a->axes.at[k]] = x.shape.dim[k] != a->shape.dim[a->axes.at[k]];
    for (int k = 0; k < a->shape.rank; k++)
        if (repeated[k]) axes[count++] = k;
    tn_value sum = count ? tn_b_sum(b, cotangents[0], axes, count, false) : cotangents[0];
    grads[0] = tn_b_reshape(b, sum, &x.shape);
}

static void batch_broadcast(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                            const tn_batching *how, const tn_value *in, const bool *batched,
                            tn_value *out) {
    tn_attrs_broadcast a = *(const tn_attrs_broadcast *)n->attrs, wide = {0};
    (void)g;
    if (a.shape.rank == TN_MAX_RANK) {
        out[0] = no_room(b, n);
        return;
    }
    tn_value x = tn_batch_operand(b, in[0], batched[0], how->size);
    wide.shape = tn_shape_with_front(&a.shape, how->size);
    wide.axes.count = a.axes.count + 1;
    for (int k = 0; k < a.axes.count; k++) wide.axes.at[k + 1] = a.axes.at[k] + 1;
    tn_batch_node(b, n, &x, &wide, out);
}

static bool shard_broadcast(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    const tn_attrs_broadcast *a = n->attrs;
    s->out[0] = s->in[0];
    if (s->in[0] < 0) return true;
    s->out[0] = (int)a->axes.at[s->in[0]];
    return tn_node_type(g, n, 0)->shape.dim[s->in[0]] == a->shape.dim[s->out[0]];
}

const tn_op_rules tn_rules_broadcast = {
    .infer = infer_broadcast,
    .eval = eval_broadcast,
    .cost = tn_cost_move,
    .lower = TN_LOWER_VIEW(lower_broadcast),
    .vjp = TN_RULE(vjp_broadcast),
    .batch = TN_RULE(batch_broadcast),
    .shard = TN_RULE(shard_broadcast),
};

/* ---- slice: y[i] = x[start + i * step] ------------------------------------------------------- */

/* Position of element `at` along an axis. */
static tn_dim slice_at(tn_dims *t, const tn_attrs_slice *a, int axis, tn_dim at) {
    tn_dim step = tn_dim_const(t, a->step.at[axis]);
    return tn_dim_add(t, a->start.at[axis], tn_dim_mul(t, at, step));
}

/* Both ends must lie in the operand; an empty result reads nothing. */
static tn_status check_slice_axis(const tn_infer *i, int axis, tn_error *err) {
    const tn_attrs_slice *a = i->attrs;
    tn_dims *t = i->graph->dims;
    tn_dim size = i->in[0]->shape.dim[axis], count = a->shape.dim[axis];
    if (a->step.at[axis] == 0 || a->step.at[axis] == INT64_MIN)
        return tn_infer_refuse_attr(i, err, "axis %d has step %lld; expected another number", axis,
                                    (long long)a->step.at[axis]);
    if (count == 0) return TN_OK;
    tn_dim first = a->start.at[axis], last = slice_at(t, a, axis, tn_dim_sub(t, count, 1));
    bool forward = a->step.at[axis] > 0;
    tn_dim low = forward ? first : last, high = tn_dim_add(t, forward ? last : first, 1);
    if (tn_dim_proves_le(t, 0, low) && tn_dim_proves_le(t, high, size)) return TN_OK;
    tn_text from = tn_dim_text(t, first), to = tn_dim_text(t, last);
    if (tn_dim_hi(t, low) < 0 || tn_dim_hi(t, tn_dim_sub(t, size, high)) < 0)
        return tn_infer_refuse(i, 0, err,
                               "axis %d has %s elements; the slice takes positions %s to %s", axis,
                               tn_dim_text(t, size).at, from.at, to.at);
    return tn_infer_undecided(i, err,
                              "positions %s to %s of axis %d may lie outside of its %s elements",
                              from.at, to.at, axis, tn_dim_text(t, size).at);
}

static tn_status infer_slice(tn_infer *i, tn_error *err) {
    const tn_attrs_slice *a = i->attrs;
    int rank = i->in[0]->shape.rank;
    TN_CHECK(tn_infer_count(i, "start", a->start.count, rank, err));
    TN_CHECK(tn_infer_count(i, "shape", a->shape.rank, rank, err));
    TN_CHECK(tn_infer_count(i, "step", a->step.count, rank, err));
    TN_CHECK(tn_infer_attr_shape(i, "shape", &a->shape, err));
    for (int k = 0; k < rank; k++) TN_CHECK(check_slice_axis(i, k, err));
    tn_infer_out(i, 0, i->in[0]->dtype, a->shape);
    return TN_OK;
}

static uint32_t slice_source(const tn_eval_call *e, const int64_t *index, int64_t *from) {
    const tn_attrs_slice *a = e->node->attrs;
    for (int k = 0; k < a->step.count; k++)
        from[k] = bound(e, a->start.at[k]) + index[k] * a->step.at[k];
    return 0;
}

static tn_status eval_slice(tn_eval_call *e, tn_error *err) {
    (void)err;
    return eval_moved(e, slice_source);
}

static tn_lx lower_slice(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index) {
    const tn_attrs_slice *a = n->attrs;
    tn_lx from[TN_MAX_RANK];
    (void)result;
    for (int k = 0; k < a->step.count; k++) {
        tn_lx moved = tn_l_mul(e->k, index[k], tn_l_int(e->k, a->step.at[k]));
        from[k] = tn_l_add(e->k, tn_emit_dim(e, a->start.at[k]), moved);
    }
    return e->operand(e, n, 0, from);
}

/* y with the order of the elements along `axis` reversed. */
static tn_value reversed(tn_builder *b, tn_value y, int axis) {
    tn_dim size = tn_b_dim(b, y, axis);
    return tn_b_slice_axis(b, y, axis, tn_dim_sub(b->graph->dims, size, 1), size, -1);
}

/* Puts the cotangent back into zeros: reversed where the step is negative, then padded. */
static void vjp_slice(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                      const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    const tn_attrs_slice *a = n->attrs;
    tn_type x = tn_b_type(b, in[0]);
    tn_dims *t = b->graph->dims;
    tn_value d = cotangents[0];
    int rank = x.shape.rank;
    tn_attrs_pad pad = {.lo.count = rank, .hi.count = rank, .interior.count = rank};
    (void)g, (void)out;
    grads[0] = TN_NO_VALUE;
    if (d == TN_NO_VALUE || !tn_b_ok(b)) return;
    for (int k = 0; k < rank; k++) {
        int64_t step = a->step.at[k];
        tn_dim count = a->shape.dim[k];
        tn_dim last = slice_at(t, a, k, count == 0 ? 0 : tn_dim_sub(t, count, 1));
        pad.lo.at[k] = step > 0 ? a->start.at[k] : last;
        tn_dim end = tn_dim_add(t, step > 0 ? last : a->start.at[k], count == 0 ? 0 : 1);
        pad.hi.at[k] = tn_dim_sub(t, x.shape.dim[k], end);
        pad.interior.at[k] = (step > 0 ? step : -step) - 1;
        if (step < 0 && count != 0) d = reversed(b, d, k);
    }
    tn_value operands[] = {d, tn_b_scalar(b, x.dtype, 0)};
    grads[0] = tn_b_node(b, TN_OP_pad, operands, 2, &pad);
}

static void batch_slice(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                        const tn_batching *how, const tn_value *in, const bool *batched,
                        tn_value *out) {
    const tn_attrs_slice *a = n->attrs;
    (void)g;
    tn_value x = tn_batch_operand(b, in[0], batched[0], how->size);
    if (!tn_b_ok(b)) return;
    int rank = a->shape.rank + 1;
    tn_attrs_slice wide = {.shape = tn_shape_with_front(&a->shape, how->size),
                           .start.count = rank,
                           .step = {.count = rank, .at = {1}}};
    for (int k = 1; k < rank; k++) {
        wide.start.at[k] = a->start.at[k - 1];
        wide.step.at[k] = a->step.at[k - 1];
    }
    tn_batch_node(b, n, &x, &wide, out);
}

/* Legal along axes that are taken whole. */
static bool shard_slice(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    const tn_attrs_slice *a = n->attrs;
    int axis = s->out[0] = s->in[0];
    return axis < 0 || (a->start.at[axis] == 0 && a->step.at[axis] == 1 &&
                        a->shape.dim[axis] == tn_node_type(g, n, 0)->shape.dim[axis]);
}

const tn_op_rules tn_rules_slice = {
    .infer = infer_slice,
    .eval = eval_slice,
    .cost = tn_cost_move,
    .lower = TN_LOWER_VIEW(lower_slice),
    .vjp = TN_RULE(vjp_slice),
    .batch = TN_RULE(batch_slice),
    .shard = TN_RULE(shard_slice),
};

/* ---- pad: elements spread by `interior`, then `lo` and `hi` more (or fewer) at the ends ----- */

/* Elements along an axis after interior padding. */
static tn_dim pad_spread(tn_dims *t, tn_dim size, int64_t interior) {
    if (size == 0 || interior == 0) return size;
    tn_dim gaps = tn_dim_sub(t, size, 1);
    if (tn_dim_lo(t, size) < 1) gaps = tn_dim_max(t, gaps, 0);
    return tn_dim_add(t, size, tn_dim_mul(t, gaps, interior));
}

/* A position in the result less `lo` is one that can be computed. */
static tn_status check_ends(const tn_infer *i, int axis, tn_error *err) {
    static const int64_t most = TN_MOST_ELEMENTS;
    const tn_attrs_pad *a = i->attrs;
    const tn_dim end[] = {a->lo.at[axis], a->hi.at[axis]};
    for (int k = 0; k < 2; k++) {
        int64_t value;
        if (tn_dim_const_value(i->graph->dims, end[k], &value) && (value > most || value < -most))
            return tn_infer_refuse_attr(
                i, err, "axis %d is padded by %lld elements; expected at most %lld either way",
                axis, (long long)value, (long long)most);
    }
    return TN_OK;
}

static tn_status infer_pad(tn_infer *i, tn_error *err) {
    const tn_attrs_pad *a = i->attrs;
    tn_dims *t = i->graph->dims;
    tn_shape shape = i->in[0]->shape;
    TN_CHECK(tn_infer_same_dtype(i, 1, 0, err));
    TN_CHECK(tn_infer_scalar(i, 1, err));
    TN_CHECK(tn_infer_count(i, "lo", a->lo.count, shape.rank, err));
    TN_CHECK(tn_infer_count(i, "hi", a->hi.count, shape.rank, err));
    TN_CHECK(tn_infer_count(i, "interior", a->interior.count, shape.rank, err));
    for (int k = 0; k < shape.rank; k++) {
        TN_CHECK(check_ends(i, k, err));
        if (a->interior.at[k] < 0 || a->interior.at[k] > INT32_MAX)
            return tn_infer_refuse_attr(i, err,
                                        "interior padding %lld of axis %d; expected 0 to %d",
                                        (long long)a->interior.at[k], k, INT32_MAX);
        tn_dim ends = tn_dim_add(t, a->lo.at[k], a->hi.at[k]);
        shape.dim[k] = tn_dim_add(t, pad_spread(t, shape.dim[k], a->interior.at[k]), ends);
    }
    TN_CHECK(tn_infer_attr_shape(i, "the padded shape", &shape, err));
    tn_infer_out(i, 0, i->in[0]->dtype, shape);
    return TN_OK;
}

static uint32_t pad_source(const tn_eval_call *e, const int64_t *index, int64_t *from) {
    const tn_attrs_pad *a = e->node->attrs;
    for (int k = 0; k < a->lo.count; k++) {
        int64_t at = index[k] - bound(e, a->lo.at[k]), step = a->interior.at[k] + 1;
        from[k] = at / step;
        if (at < 0 || at % step || from[k] >= e->in[0].dim[k]) return 1;
    }
    return 0;
}

static tn_status eval_pad(tn_eval_call *e, tn_error *err) {
    (void)err;
    return eval_moved(e, pad_source);
}

static bool never_positive(const tn_dims *t, tn_dim d) {
    return tn_dim_hi(t, d) <= 0;
}

/* The operand position along one axis; *guard gets what must hold for it to be one. */
static tn_lx emit_pad_axis(tn_emit *e, const tn_node_info *n, int axis, tn_lx index, tn_lx *guard) {
    const tn_attrs_pad *a = n->attrs;
    tn_loop *k = e->k;
    tn_dims *t = e->graph->dims;
    tn_dim size = tn_node_type(e->graph, n, 0)->shape.dim[axis];
    int64_t step = a->interior.at[axis] + 1;
    tn_lx at = tn_l_sub(k, index, tn_emit_dim(e, a->lo.at[axis])), zero = tn_l_int(k, 0);
    if (!never_positive(t, a->lo.at[axis])) *guard = tn_l_and(k, *guard, tn_l_le(k, zero, at));
    if (!never_positive(t, a->hi.at[axis])) {
        tn_lx end = tn_emit_dim(e, pad_spread(t, size, a->interior.at[axis]));
        *guard = tn_l_and(k, *guard, tn_l_lt(k, at, end));
    }
    if (step == 1) return at;
    at = tn_l_max(k, at, zero);
    tn_lx gap = tn_l_mod(k, at, tn_l_int(k, step));
    *guard = tn_l_and(k, *guard, tn_l_op2(k, TN_S_eq, gap, zero));
    return tn_l_div(k, at, tn_l_int(k, step));
}

static tn_lx lower_pad(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index) {
    const tn_attrs_pad *a = n->attrs;
    tn_lx from[TN_MAX_RANK], guard = TN_LX_NONE;
    (void)result;
    for (int k = 0; k < a->lo.count; k++) from[k] = emit_pad_axis(e, n, k, index[k], &guard);
    if (guard == TN_LX_NONE) return e->operand(e, n, 0, from);
    return tn_emit_guarded(e, n, 0, from, guard, e->operand(e, n, 1, NULL));
}

/* The cotangent cropped and thinned to the operand's elements: pad by -lo and -hi, then a slice. */
static tn_value pad_taken_back(tn_builder *b, const tn_attrs_pad *a, const tn_shape *shape,
                               tn_value d) {
    tn_dims *t = b->graph->dims;
    int rank = shape->rank;
    tn_attrs_pad crop = {.lo.count = rank, .hi.count = rank, .interior.count = rank};
    tn_attrs_slice thin = {.start.count = rank, .shape = *shape, .step.count = rank};
    for (int k = 0; k < rank; k++) {
        crop.lo.at[k] = tn_dim_sub(t, 0, a->lo.at[k]);
        crop.hi.at[k] = tn_dim_sub(t, 0, a->hi.at[k]);
        thin.step.at[k] = a->interior.at[k] + 1;
    }
    tn_value operands[] = {d, tn_b_scalar(b, tn_b_type(b, d).dtype, 0)};
    tn_value cropped = tn_b_node(b, TN_OP_pad, operands, 2, &crop);
    return tn_b_node(b, TN_OP_slice, &cropped, 1, &thin);
}

/* True where the result holds the fill value. */
static tn_value pad_mask(tn_builder *b, const tn_attrs_pad *a, const tn_shape *shape) {
    tn_value inside = tn_b_full(b, TN_bool, shape, 0);
    tn_value operands[] = {inside, tn_b_scalar(b, TN_bool, 1)};
    return tn_b_node(b, TN_OP_pad, operands, 2, a);
}

static void vjp_pad(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                    const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    const tn_attrs_pad *a = n->attrs;
    tn_value d = cotangents[0];
    tn_vjp_none(b, g, n, in, out, cotangents, grads);
    if (d == TN_NO_VALUE || !tn_b_ok(b)) return;
    tn_shape shape = tn_b_type(b, in[0]).shape;
    grads[0] = pad_taken_back(b, a, &shape, d);
    if (tn_graph_constant(b->graph, in[1], NULL)) return;
    tn_value mask = pad_mask(b, a, &shape);
    tn_value filled = tn_b_select(b, mask, d, tn_b_full_like(b, d, 0));
    int axes[TN_MAX_RANK];
    for (int k = 0; k < shape.rank; k++) axes[k] = k;
    grads[1] = shape.rank ? tn_b_sum(b, filled, axes, shape.rank, false) : filled;
}

/* A fill value per member is put in afterwards, where a mask says so. */
static void batch_pad(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                      const tn_batching *how, const tn_value *in, const bool *batched,
                      tn_value *out) {
    const tn_attrs_pad *a = n->attrs;
    (void)g;
    tn_shape inner = tn_b_type(b, in[0]).shape;
    if (batched[0]) memmove(inner.dim, inner.dim + 1, (size_t)--inner.rank * sizeof(tn_dim));
    tn_value x = tn_batch_operand(b, in[0], batched[0], how->size), fill = in[1];
    if (!tn_b_ok(b)) return;
    int rank = inner.rank + 1;
    tn_attrs_pad wide = {.lo.count = rank, .hi.count = rank, .interior.count = rank};
    for (int k = 1; k < rank; k++) {
        wide.lo.at[k] = a->lo.at[k - 1];
        wide.hi.at[k] = a->hi.at[k - 1];
        wide.interior.at[k] = a->interior.at[k - 1];
    }
    if (batched[1]) fill = tn_b_scalar(b, tn_b_type(b, x).dtype, 0);
    tn_value operands[] = {x, fill};
    tn_batch_node(b, n, operands, &wide, out);
    if (!batched[1] || !tn_b_ok(b)) return;
    tn_type type = tn_b_type(b, out[0]);
    tn_attrs_broadcast repeat = {.shape = type.shape, .axes = {.count = 1}};
    tn_value spread = tn_b_node(b, TN_OP_broadcast, &in[1], 1, &repeat);
    out[0] = tn_b_select(b, pad_mask(b, a, &inner), spread, out[0]);
}

/* Legal along axes without padding; a partial sum would count the fill value many times. */
static bool shard_pad(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    const tn_attrs_pad *a = n->attrs;
    int axis = s->out[0] = s->in[0];
    (void)g;
    if (s->in[1] != TN_PLACE_REPLICATED || axis == TN_PLACE_PARTIAL) return false;
    return axis < 0 || (a->lo.at[axis] == 0 && a->hi.at[axis] == 0 && a->interior.at[axis] == 0);
}

const tn_op_rules tn_rules_pad = {
    .infer = infer_pad,
    .eval = eval_pad,
    .cost = tn_cost_move,
    .lower = TN_LOWER_VIEW(lower_pad),
    .vjp = TN_RULE(vjp_pad),
    .batch = TN_RULE(batch_pad),
    .shard = TN_RULE(shard_pad),
};

/* ---- concat --------------------------------------------------------------------------------- */

static tn_status infer_concat(tn_infer *i, tn_error *err) {
    const tn_attrs_concat *a = i->attrs;
    tn_shape shape = i->in[0]->shape;
    TN_CHECK(tn_infer_axis(i, "axis", a->axis, shape.rank, err));
    for (uint32_t k = 1; k < i->in_count; k++) {
        const tn_shape *x = &i->in[k]->shape;
        TN_CHECK(tn_infer_same_dtype(i, k, 0, err));
        TN_CHECK(tn_infer_rank(i, k, shape.rank, err));
        for (int axis = 0; axis < shape.rank; axis++)
            if (axis != a->axis && x->dim[axis] != shape.dim[axis])
                return tn_infer_refuse(i, k, err, "axis %d must be %s as in operand 0", axis,
                                       tn_dim_text(i->graph->dims, shape.dim[axis]).at);
        shape.dim[a->axis] = tn_dim_add(i->graph->dims, shape.dim[a->axis], x->dim[a->axis]);
    }
    tn_infer_out(i, 0, i->in[0]->dtype, shape);
    return TN_OK;
}

static uint32_t concat_source(const tn_eval_call *e, const int64_t *index, int64_t *from) {
    const tn_attrs_concat *a = e->node->attrs;
    uint32_t k = 0;
    for (int axis = 0; axis < e->out[0].rank; axis++) from[axis] = index[axis];
    while (from[a->axis] >= e->in[k].dim[a->axis]) from[a->axis] -= e->in[k++].dim[a->axis];
    return k;
}

static tn_status eval_concat(tn_eval_call *e, tn_error *err) {
    (void)err;
    return eval_moved(e, concat_source);
}

/* From the last operand to the first: at < end of this one ? this one : what was built so far. */
static tn_lx lower_concat(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index) {
    const tn_attrs_concat *a = n->attrs;
    const tn_type *y = tn_graph_type(e->graph, n->out);
    tn_lx from[TN_MAX_RANK], outer = e->guard, value = TN_LX_NONE, at = index[a->axis];
    tn_dim start = y->shape.dim[a->axis];
    (void)result;
    memcpy(from, index, (size_t)y->shape.rank * sizeof *from);
    for (uint32_t i = n->in_count; i-- > 0;) {
        tn_dim size = tn_node_type(e->graph, n, i)->shape.dim[a->axis];
        tn_lx before_end = tn_l_lt(e->k, at, tn_emit_dim(e, start));
        if (size == 0) continue;
        start = tn_dim_sub(e->graph->dims, start, size);
        tn_lx begin = tn_emit_dim(e, start), guard = tn_l_le(e->k, begin, at);
        if (value != TN_LX_NONE) guard = tn_l_and(e->k, guard, before_end);
        from[a->axis] = tn_l_sub(e->k, at, begin);
        e->guard = tn_l_and(e->k, outer, guard);
        tn_lx piece = e->operand(e, n, i, from);
        e->guard = outer;
        value = value == TN_LX_NONE ? piece : tn_l_select(e->k, before_end, piece, value);
    }
    return value == TN_LX_NONE ? tn_l_number(e->k, y->dtype, 0) : value;
}

static void vjp_concat(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                       const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    int axis = (int)((const tn_attrs_concat *)n->attrs)->axis;
    tn_dim start = 0;
    tn_vjp_none(b, g, n, in, out, cotangents, grads);
    if (cotangents[0] == TN_NO_VALUE) return;
    for (uint32_t i = 0; i < n->in_count; i++) {
        tn_dim size = tn_b_dim(b, in[i], axis);
        grads[i] = tn_b_slice_axis(b, cotangents[0], axis, start, size, 1);
        start = tn_dim_add(b->graph->dims, start, size);
    }
}

static void batch_concat(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                         const tn_batching *how, const tn_value *in, const bool *batched,
                         tn_value *out) {
    const tn_attrs_concat *a = n->attrs;
    tn_attrs_concat wide = {.axis = a->axis + 1};
    tn_value *x = TN_NEW_N(b->graph->arena, tn_value, n->in_count);
    (void)g;
    for (uint32_t i = 0; i < n->in_count; i++)
        x[i] = tn_batch_operand(b, in[i], batched[i], how->size);
    tn_batch_node(b, n, x, &wide, out);
}

static bool shard_concat(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    const tn_attrs_concat *a = n->attrs;
    return tn_shard_linear(g, n, s) && s->in[0] != a->axis;
}

const tn_op_rules tn_rules_concat = {
    .infer = infer_concat,
    .eval = eval_concat,
    .cost = tn_cost_move,
    .lower = TN_LOWER_VIEW(lower_concat),
    .vjp = TN_RULE(vjp_concat),
    .batch = TN_RULE(batch_concat),
    .shard = TN_RULE(shard_concat),
};

/* ---- barrier -------------------------------------------------------------------------------- */

static tn_status eval_barrier(tn_eval_call *e, tn_error *err) {
    (void)err;
    memcpy(e->out[0].data, e->in[0].data, tn_array_bytes(&e->in[0]));
    return TN_OK;
}

static void vjp_barrier(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                        const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    const tn_attrs_barrier *a = n->attrs;
    if (!a->stop) tn_vjp_identity(b, g, n, in, out, cotangents, grads);
}

/* What must come before is not read, so its members do not matter. */
static void batch_barrier(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                          const tn_batching *how, const tn_value *in, const bool *batched,
                          tn_value *out) {
    (void)g, (void)how, (void)batched;
    tn_batch_node(b, n, in, n->attrs, out);
}

/* What must come before is whole: it belongs to no part of the result. */
static bool shard_barrier(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    return n->in_count == 1 ? tn_shard_linear(g, n, s) : tn_shard_replicated(g, n, s);
}

const tn_op_rules tn_rules_barrier = {
    .infer = tn_infer_identity,
    .eval = eval_barrier,
    .cost = tn_cost_move,
    .lower = TN_LOWER_BY(tn_lower_identity),
    .vjp = TN_RULE(vjp_barrier),
    .batch = TN_RULE(batch_barrier),
    .shard = TN_RULE(shard_barrier),
};
