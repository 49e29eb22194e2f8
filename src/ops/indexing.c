/* gather and scatter.
 *
 * x [batch…, X…], index [batch…, I…, K]: the last axis of index holds one position for each of the
 * K axes of x in `axes`. gather gives [batch…, I…, R…], R being the axes of x that are not in
 * `axes`; scatter's updates have that shape. Out-of-range positions: clamped; read as 0 and not
 * written (fill); or reported as a run-time error (error). The rules for dynamic slices are in
 * indexing_dynamic.c. */
#include "ops/indexing.h"

static index_view index_view_of(int64_t batch, const tn_ints *axes, tn_index_mode mode,
                                const tn_shape *x, const tn_shape *index) {
    index_view v = {(int)batch, axes, mode, index->rank - 1, {0}, x};
    for (int i = v.batch; i < x->rank; i++)
        if (!tn_ints_have(axes, i)) tn_ints_push(&v.rest, i);
    return v;
}

index_view tn__index_view(const tn_graph *g, const tn_node_info *n) {
    const tn_shape *x = &tn_node_type(g, n, 0)->shape, *index = &tn_node_type(g, n, 1)->shape;
    if (n->op == TN_OP_gather) {
        const tn_attrs_gather *a = n->attrs;
        return index_view_of(a->batch, &a->axes, a->mode, x, index);
    }
    const tn_attrs_scatter *a = n->attrs;
    return index_view_of(a->batch, &a->axes, a->mode, x, index);
}

/* ---- infer ---------------------------------------------------------------------------------- */

static tn_status index_check(const tn_infer *i, int64_t batch, const tn_ints *axes, tn_error *err) {
    const tn_shape *x = &i->in[0]->shape, *index = &i->in[1]->shape;
    if (i->in[1]->dtype != TN_i32 && i->in[1]->dtype != TN_i64)
        return tn_infer_refuse(i, 1, err, "expected an index of type i32 or i64");
    if (batch < 0 || batch > x->rank || index->rank < batch + 1)
        return tn_infer_refuse_attr(i, err,
                                    "batch = %lld; x of rank %d needs at most that many batch axes "
                                    "and the index, of rank %d, one axis more",
                                    (long long)batch, x->rank, index->rank);
    TN_CHECK(tn_infer_axes(i, "axes", axes, x->rank, err));
    for (int p = 0; p < axes->count; p++)
        if (axes->at[p] < batch)
            return tn_infer_refuse_attr(i, err, "axes names batch axis %lld",
                                        (long long)axes->at[p]);
    for (int p = 0; p < batch; p++)
        if (x->dim[p] != index->dim[p])
            return tn_infer_refuse(i, 1, err, "expected size %s on batch axis %d, as x",
                                   tn_dim_text(i->graph->dims, x->dim[p]).at, p);
    if (index->dim[index->rank - 1] != axes->count)
        return tn_infer_refuse(i, 1, err,
                               "expected size %d on the last axis, a position for each "
                               "of the indexed axes",
                               axes->count);
    return TN_OK;
}

/* The type of gather's result and of scatter's updates. */
static tn_status index_result(const tn_infer *i, int64_t batch, const tn_ints *axes, tn_type *out,
                              tn_error *err) {
    const tn_shape *x = &i->in[0]->shape, *index = &i->in[1]->shape;
    TN_CHECK(index_check(i, batch, axes, err));
    index_view v = index_view_of(batch, axes, TN_INDEX_clamp, x, index);
    if (v.index_rank + v.rest.count > TN_MAX_RANK)
        return tn_infer_refuse_attr(i, err,
                                    "the result would have %d axes; at most %d are possible",
                                    v.index_rank + v.rest.count, TN_MAX_RANK);
    *out = (tn_type){.dtype = i->in[0]->dtype};
    for (int p = 0; p < v.index_rank; p++) out->shape.dim[out->shape.rank++] = index->dim[p];
    for (int p = 0; p < v.rest.count; p++) out->shape.dim[out->shape.rank++] = x->dim[v.rest.at[p]];
    return TN_OK;
}

static tn_status gather_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_gather *a = i->attrs;
    return index_result(i, a->batch, &a->axes, &i->out[0], err);
}

tn_scalar_op tn__combine_op(tn_combine combine) {
    static const tn_scalar_op ops[] = {[TN_COMBINE_set] = TN_S_max,
                                       [TN_COMBINE_add] = TN_S_add,
                                       [TN_COMBINE_mul] = TN_S_mul,
                                       [TN_COMBINE_min] = TN_S_min,
                                       [TN_COMBINE_max] = TN_S_max};
    return ops[combine];
}

static tn_status scatter_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_scatter *a = i->attrs;
    tn_type updates;
    TN_CHECK(index_result(i, a->batch, &a->axes, &updates, err));
    TN_CHECK(tn_infer_same_dtype(i, 2, 0, err));
    if (!tn_shape_equal(&updates.shape, &i->in[2]->shape))
        return tn_infer_refuse(i, 2, err, "expected updates of shape %s",
                               tn_shape_text(i->graph->dims, &updates.shape).at);
    if (a->combine != TN_COMBINE_set &&
        !tn_scalar_accepts(tn__combine_op(a->combine), updates.dtype))
        return tn_infer_refuse(i, 0, err, "expected %s to combine",
                               tn_scalar_domain(tn__combine_op(a->combine)));
    i->out[0] = *i->in[0];
    return TN_OK;
}

/* ---- eval, cost ----------------------------------------------------------------------------- */

typedef enum index_found { INDEX_FOUND, INDEX_NOWHERE, INDEX_ERROR } index_found;

/* Finds the element of x that position `to` of the result (or of the updates) means. */
static index_found index_locate(const index_view *v, const tn_array *x, const tn_array *index,
                                const tn_cell *positions, const int64_t *to, int64_t *element) {
    int64_t at[TN_MAX_RANK] = {0}, row = tn_index_offset(to, v->index_rank, index->dim);
    for (int p = 0; p < v->batch; p++) at[p] = to[p];
    for (int p = 0; p < v->rest.count; p++) at[v->rest.at[p]] = to[v->index_rank + p];
    for (int p = 0; p < v->axes->count; p++) {
        int64_t position = positions[row * v->axes->count + p].i, size = x->dim[v->axes->at[p]];
        bool outside = position < 0 || position >= size;
        if (outside && v->mode == TN_INDEX_error) return INDEX_ERROR;
        if (outside && (v->mode == TN_INDEX_fill || size == 0)) return INDEX_NOWHERE;
        at[v->axes->at[p]] = TN_MAX(0, TN_MIN(position, size - 1));
    }
    *element = tn_index_offset(at, x->rank, x->dim);
    return INDEX_FOUND;
}

static tn_status index_out_of_range(const tn_eval_call *e, tn_error *err) {
    return tn_error_set(err, TN_RUNTIME, "%s%s%s: an index is out of range",
                        tn_op_info_of(e->node->op)->name, e->node->name ? " " : "",
                        e->node->name ? e->node->name : "");
}

static tn_status gather_eval(tn_eval_call *e, tn_error *err) {
    index_view v = tn__index_view(e->graph, e->node);
    const tn_cell *positions = tn_eval_cells(e, 1, TN_i64);
    int64_t to[TN_MAX_RANK] = {0}, count = tn_array_count(&e->out[0]), from = 0;
    for (int64_t i = 0; i < count; i++) {
        index_found found = index_locate(&v, &e->in[0], &e->in[1], positions, to, &from);
        if (found == INDEX_ERROR) return index_out_of_range(e, err);
        if (found == INDEX_FOUND)
            tn_array_copy_element(&e->out[0], i, &e->in[0], from);
        else
            tn_array_set(&e->out[0], i, (tn_cell){0});
        tn_index_next(to, e->out[0].rank, e->out[0].dim);
    }
    return TN_OK;
}

static tn_status scatter_eval(tn_eval_call *e, tn_error *err) {
    const tn_attrs_scatter *a = e->node->attrs;
    index_view v = tn__index_view(e->graph, e->node);
    const tn_cell *positions = tn_eval_cells(e, 1, TN_i64);
    tn_array *y = &e->out[0];
    const tn_array *updates = &e->in[2];
    memcpy(y->data, e->in[0].data, tn_array_bytes(y));
    int64_t to[TN_MAX_RANK] = {0}, count = tn_array_count(updates), place = 0;
    for (int64_t i = 0; i < count; i++, tn_index_next(to, updates->rank, updates->dim)) {
        index_found found = index_locate(&v, &e->in[0], &e->in[1], positions, to, &place);
        if (found == INDEX_ERROR) return index_out_of_range(e, err);
        if (found == INDEX_NOWHERE) continue;
        tn_cell update = tn_array_get(updates, i);
        if (a->combine != TN_COMBINE_set)
            update = tn_scalar_apply(tn__combine_op(a->combine), y->dtype, tn_array_get(y, place),
                                     update, (tn_cell){0});
        tn_array_set(y, place, update);
    }
    return TN_OK;
}

/* Reads what it gives, and the index. */
static void gather_cost(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                        tn_cost *out) {
    tn_cost_move(g, n, bindings, out);
    out->bytes_read += tn_cost_bytes(g, tn_node_type(g, n, 1), bindings);
}

static void scatter_cost(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                         tn_cost *out) {
    *out = (tn_cost){0};
    tn_cost_traffic(g, n, bindings, out);
    if (((const tn_attrs_scatter *)n->attrs)->combine != TN_COMBINE_set)
        out->flops = tn_cost_elements(g, &tn_node_type(g, n, 2)->shape, bindings);
}

/* ---- lower ---------------------------------------------------------------------------------- */

void tn__index_emit(tn_emit *e, const tn_node_info *n, const index_view *v, const tn_lx *to,
                    tn_lx *at, tn_lx *inside) {
    tn_loop *k = e->k;
    tn_lx zero = tn_l_int(k, 0), where[TN_MAX_RANK];
    *inside = TN_LX_NONE;
    for (int p = 0; p < v->batch; p++) at[p] = to[p];
    for (int p = 0; p < v->rest.count; p++) at[v->rest.at[p]] = to[v->index_rank + p];
    memcpy(where, to, sizeof(tn_lx) * (size_t)v->index_rank);
    for (int p = 0; p < v->axes->count; p++) {
        tn_dim dim = v->x->dim[v->axes->at[p]];
        tn_lx size = tn_emit_dim(e, dim);
        where[v->index_rank] = tn_l_int(k, p);
        tn_lx position = tn_l_cast(k, e->operand(e, n, 1, where), TN_i64, false);
        if (v->mode != TN_INDEX_clamp) {
            *inside = tn_l_and(k, *inside, tn_l_op2(k, TN_S_le, zero, position));
            *inside = tn_l_and(k, *inside, tn_l_op2(k, TN_S_lt, position, size));
        } else if (tn_dim_lo(e->graph->dims, dim) < 1) {
            *inside = tn_l_and(k, *inside, tn_l_lt(k, zero, size));
        }
        position = tn_l_min(k, position, tn_l_sub(k, size, tn_l_int(k, 1)));
        at[v->axes->at[p]] = tn_l_max(k, zero, position);
    }
}

void tn__index_report(tn_emit *e, const tn_node_info *n, const index_view *v, tn_lx inside) {
    if (v->mode != TN_INDEX_error || inside == TN_LX_NONE) return;
    tn_l_if(e->k, tn_l_and(e->k, e->guard, tn_emit_not(e->k, inside)));
    tn_l_error(e->k, e->error(e, n));
    tn_l_end(e->k);
}

static tn_lx gather_expression(tn_emit *e, const tn_node_info *n, uint32_t result,
                               const tn_lx *index) {
    (void)result;
    index_view v = tn__index_view(e->graph, n);
    tn_lx at[TN_MAX_RANK], inside;
    tn__index_emit(e, n, &v, index, at, &inside);
    tn__index_report(e, n, &v, inside);
    bool reported = v.mode == TN_INDEX_error; /* then the value does not matter */
    for (int p = 0; p < v.axes->count; p++)
        reported &= tn_dim_lo(e->graph->dims, v.x->dim[v.axes->at[p]]) > 0;
    return reported ? e->operand(e, n, 0, at) : tn_emit_or_zero(e, n, 0, at, inside);
}

/* ---- vjp ------------------------------------------------------------------------------------ */

static tn_value node_gather(tn_builder *b, const tn_attrs_scatter *a, tn_value x, tn_value index) {
    tn_attrs_gather d = {.batch = a->batch, .axes = a->axes, .mode = a->mode};
    return tn_b_node(b, TN_OP_gather, (tn_value[]){x, index}, 2, &d);
}

static tn_value node_scatter(tn_builder *b, const tn_attrs_scatter *a, tn_combine combine,
                             tn_value x, tn_value index, tn_value updates) {
    tn_attrs_scatter d = *a;
    d.combine = combine;
    return tn_b_node(b, TN_OP_scatter, (tn_value[]){x, index, updates}, 3, &d);
}

static void gather_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                       const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    (void)out;
    const tn_attrs_gather *a = n->attrs;
    if (cotangents[0] == TN_NO_VALUE || !tn_dtype_is_float(tn_node_type(g, n, 0)->dtype)) return;
    tn_attrs_scatter d = {.batch = a->batch, .axes = a->axes, .mode = a->mode};
    grads[0] =
        node_scatter(b, &d, TN_COMBINE_add, tn_b_full_like(b, in[0], 0), in[1], cotangents[0]);
}

/* The cotangent of the updates that were not overwritten by later ones, zero for the others. Each
 * update writes its number; those that find it again have won. */
static tn_value scatter_winners(tn_builder *b, const tn_attrs_scatter *a, tn_value x,
                                tn_value index, tn_value cotangent) {
    tn_type type = tn_b_type(b, x), updates = tn_b_type(b, cotangent);
    tn_dim count = tn_shape_count(b->graph->dims, &updates.shape);
    tn_shape flat = {.rank = 1, .dim = {count}};
    tn_value number = tn_b_reshape(b, tn_b_iota(b, TN_i64, &flat, 0), &updates.shape);
    tn_value nobody = tn_b_full(b, TN_i64, &type.shape, -1);
    tn_value last = node_scatter(b, a, TN_COMBINE_set, nobody, index, number);
    tn_value won = tn_b_eq(b, node_gather(b, a, last, index), number);
    return tn_b_select(b, won, cotangent, tn_b_full_like(b, cotangent, 0));
}

/* Everyone that is the extreme value of a place, x's element or an update, gets an even share. */
static void scatter_extreme_vjp(tn_builder *b, const tn_attrs_scatter *a, const tn_value *in,
                                tn_value y, tn_value d, tn_value *grads) {
    tn_dtype dtype = tn_b_type(b, d).dtype;
    tn_value of_x = tn_b_eq(b, in[0], y);
    tn_value of_u = tn_b_eq(b, in[2], node_gather(b, a, y, in[1]));
    tn_value mine = tn_b_cast(b, of_x, dtype);
    tn_value hits = node_scatter(b, a, TN_COMBINE_add, mine, in[1], tn_b_cast(b, of_u, dtype));
    tn_value share = tn_b_div(b, d, hits); /* not used where no one is, since y is NaN */
    tn_value taken = node_gather(b, a, share, in[1]);
    grads[0] = tn_b_select(b, of_x, share, tn_b_full_like(b, share, 0));
    grads[2] = tn_b_select(b, of_u, taken, tn_b_full_like(b, taken, 0));
}

static tn_value one_for_zero(tn_builder *b, tn_value x, tn_value *zero) {
    *zero = tn_b_eq(b, x, tn_b_full_like(b, x, 0));
    return tn_b_select(b, *zero, tn_b_full_like(b, x, 1), x);
}

/* d times the product of a place without the factor itself: the product of those that are not 0,
 * divided by the factor where it is one of them, and 0 where another factor is 0. */
static tn_value others_product(tn_builder *b, tn_value d, tn_value factor, tn_value product,
                               tn_value zeros) {
    tn_value zero, divisor = one_for_zero(b, factor, &zero);
    tn_value others = tn_b_sub(b, zeros, tn_b_cast(b, zero, TN_i64));
    tn_value none = tn_b_eq(b, others, tn_b_scalar_int(b, TN_i64, 0));
    tn_value slope = tn_b_mul(b, d, tn_b_div(b, product, divisor));
    return tn_b_select(b, none, slope, tn_b_full_like(b, slope, 0));
}

static void scatter_product_vjp(tn_builder *b, const tn_attrs_scatter *a, const tn_value *in,
                                tn_value d, tn_value *grads) {
    tn_value x_zero, u_zero, x = one_for_zero(b, in[0], &x_zero);
    tn_value u = one_for_zero(b, in[2], &u_zero);
    tn_value product = node_scatter(b, a, TN_COMBINE_mul, x, in[1], u);
    x_zero = tn_b_cast(b, x_zero, TN_i64);
    u_zero = tn_b_cast(b, u_zero, TN_i64);
    tn_value zeros = node_scatter(b, a, TN_COMBINE_add, x_zero, in[1], u_zero);
    grads[0] = others_product(b, d, in[0], product, zeros);
    tn_value taken = node_gather(b, a, d, in[1]), here = node_gather(b, a, product, in[1]);
    grads[2] = others_product(b, taken, in[2], here, node_gather(b, a, zeros, in[1]));
}

static void scatter_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                        const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    const tn_attrs_scatter *a = n->attrs;
    tn_value d = cotangents[0], taken;
    if (d == TN_NO_VALUE || !tn_dtype_is_float(tn_node_type(g, n, 0)->dtype)) return;
    switch (a->combine) {
    case TN_COMBINE_set:
        taken = node_gather(b, a, d, in[1]);
        grads[0] = node_scatter(b, a, TN_COMBINE_set, d, in[1], tn_b_full_like(b, taken, 0));
        grads[2] = scatter_winners(b, a, in[0], in[1], taken);
        break;
    case TN_COMBINE_add:
        grads[0] = d;
        grads[2] = node_gather(b, a, d, in[1]);
        break;
    case TN_COMBINE_mul:
        scatter_product_vjp(b, a, in, d, grads);
        break;
    case TN_COMBINE_min:
    case TN_COMBINE_max:
        scatter_extreme_vjp(b, a, in, out[0], d, grads);
        break;
    }
}

/* ---- batch ---------------------------------------------------------------------------------- */

/* The index, at 0 for members that are not live, so that it is no error there. */
static tn_value live_index(tn_builder *b, const tn_batching *how, tn_index_mode mode,
                           tn_value index, bool *batched) {
    if (mode != TN_INDEX_error || how->live == TN_NO_VALUE) return index;
    index = tn_batch_operand(b, index, *batched, how->size);
    *batched = true;
    return tn_batch_select(b, how->live, index, tn_b_full_like(b, index, 0));
}

/* Both carry the axis: one more batch axis. x alone: it is copied whole, as the first of the rest.
 * The index alone: one more axis of the index. */
static void gather_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                         const tn_batching *how, const tn_value *in, const bool *batched,
                         tn_value *out) {
    tn_attrs_gather a = *(const tn_attrs_gather *)n->attrs;
    int batch = (int)a.batch, index_rank = tn_node_type(g, n, 1)->shape.rank - 1, at = batch;
    bool own_index = batched[1];
    tn_value x = in[0], index = live_index(b, how, a.mode, in[1], &own_index);
    if (batched[0]) a.axes = tn_ints_shifted(&a.axes, 1);
    if (batched[0] && own_index) {
        a.batch++;
        at = 0;
    } else if (batched[0]) {
        x = tn_b_move(b, x, 0, batch);
        at = index_rank;
    } else {
        index = tn_b_move(b, index, 0, batch);
    }
    tn_value y = tn_b_node(b, TN_OP_gather, (tn_value[]){x, index}, 2, &a);
    out[0] = tn_b_move(b, y, at, 0);
}

static void scatter_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                          const tn_batching *how, const tn_value *in, const bool *batched,
                          tn_value *out) {
    (void)g;
    tn_attrs_scatter a = *(const tn_attrs_scatter *)n->attrs;
    tn_value all[3];
    bool own_index = batched[1];
    tn_value index = live_index(b, how, a.mode, in[1], &own_index);
    all[0] = tn_batch_operand(b, in[0], batched[0], how->size);
    all[1] = tn_batch_operand(b, index, own_index, how->size);
    all[2] = tn_batch_operand(b, in[2], batched[2], how->size);
    a.axes = tn_ints_shifted(&a.axes, 1);
    a.batch++;
    out[0] = tn_b_node(b, TN_OP_scatter, all, 3, &a);
}

/* ---- shard ---------------------------------------------------------------------------------- */

static bool gather_shard(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    index_view v = tn__index_view(g, n);
    int x = s->in[0], index = s->in[1];
    s->out[0] = x;
    if (index == TN_PLACE_PARTIAL) return false;
    if (x < 0 && index < 0) return true; /* linear in x */
    if (x >= 0 && index >= 0) return x == index && x < v.batch;
    if (x >= 0) {
        int rest = tn_ints_find(&v.rest, x);
        s->out[0] = v.index_rank + rest;
        return rest >= 0;
    }
    s->out[0] = index;
    return index >= v.batch && index < v.index_rank && x == TN_PLACE_REPLICATED;
}

/* All split alike on a batch axis; or x and the updates on an axis that is copied whole. */
static bool scatter_shard(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    index_view v = tn__index_view(g, n);
    int x = s->in[0], index = s->in[1], updates = s->in[2];
    s->out[0] = x;
    if (x == TN_PLACE_REPLICATED) return index == x && updates == x;
    if (x < 0) return false;
    if (x < v.batch) return index == x && updates == x;
    int rest = tn_ints_find(&v.rest, x);
    return rest >= 0 && index == TN_PLACE_REPLICATED && updates == v.index_rank + rest;
}

const tn_op_rules tn_rules_gather = {
    .infer = gather_infer,
    .eval = gather_eval,
    .cost = gather_cost,
    .lower = TN_LOWER_BY(gather_expression),
    .vjp = TN_RULE(gather_vjp),
    .batch = TN_RULE(gather_batch),
    .shard = TN_RULE(gather_shard),
};

const tn_op_rules tn_rules_scatter = {
    .infer = scatter_infer,
    .eval = scatter_eval,
    .cost = scatter_cost,
    .lower = {.kind = TN_LOWER_NEST, .nest = &tn__scatter_nest},
    .vjp = TN_RULE(scatter_vjp),
    .batch = TN_RULE(scatter_batch),
    .shard = TN_RULE(scatter_shard),
};
