/* sort and top_k: stable, NaN last in both directions. Their kernels are in order_lower.c. */
#include <math.h>

#include "ops/order.h"

/* ---- infer ---------------------------------------------------------------------------------- */

static tn_status sort_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_sort *a = i->attrs;
    TN_CHECK(tn_infer_axis(i, "axis", a->axis, i->in[0]->shape.rank, err));
    if (i->in_count > i->out_max)
        return tn_infer_refuse_attr(i, err, "%u operands; at most %u are possible", i->in_count,
                                    i->out_max);
    for (uint32_t p = 0; p < i->in_count; p++) {
        TN_CHECK(tn_infer_same_shape(i, p, 0, err));
        i->out[p] = *i->in[p];
    }
    *i->out_count = i->in_count;
    return TN_OK;
}

static tn_status top_k_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_top_k *a = i->attrs;
    tn_dims *t = i->graph->dims;
    tn_shape shape = i->in[0]->shape;
    TN_CHECK(tn_infer_axis(i, "axis", a->axis, shape.rank, err));
    tn_dim room = tn_dim_sub(t, shape.dim[a->axis], a->k);
    if (tn_dim_hi(t, room) < 0 || tn_dim_hi(t, a->k) < 0)
        return tn_infer_refuse(i, 0, err, "k = %s; axis %d has %s elements",
                               tn_dim_text(t, a->k).at, (int)a->axis,
                               tn_dim_text(t, shape.dim[a->axis]).at);
    shape.dim[a->axis] = a->k;
    tn_infer_out(i, 0, i->in[0]->dtype, shape);
    tn_infer_out(i, 1, TN_i64, shape);
    return TN_OK;
}

/* ---- eval, cost ----------------------------------------------------------------------------- */

static bool comes_before(tn_dtype dtype, bool descending, tn_cell a, tn_cell b) {
    if (tn_dtype_is_float(dtype) && (isnan(a.f) || isnan(b.f))) return !isnan(a.f) && isnan(b.f);
    return tn_scalar_apply(descending ? TN_S_gt : TN_S_lt, dtype, a, b, (tn_cell){0}).u;
}

/* A line of elements along one axis. */
typedef struct row {
    int64_t start, step, count;
} row;

static int64_t row_count(const tn_array *a, int axis) {
    int64_t count = 1;
    for (int p = 0; p < a->rank; p++) count *= p == axis ? 1 : a->dim[p];
    return count;
}

static row row_of(const tn_array *a, int axis, int64_t which) {
    int64_t step = 1;
    for (int p = axis + 1; p < a->rank; p++) step *= a->dim[p];
    return (row){which / step * step * a->dim[axis] + which % step, step, a->dim[axis]};
}

/* Merge sort of positions [lo, hi); `spare` has room for as many. */
static void sort_positions(tn_dtype dtype, bool descending, const tn_cell *key, int64_t *order,
                           int64_t *spare, int64_t lo, int64_t hi) {
    if (hi - lo < 2) return;
    int64_t mid = lo + (hi - lo) / 2, left = lo, right = mid;
    sort_positions(dtype, descending, key, order, spare, lo, mid);
    sort_positions(dtype, descending, key, order, spare, mid, hi);
    for (int64_t at = lo; at < hi; at++) {
        bool take_right =
            left == mid ||
            (right < hi && comes_before(dtype, descending, key[order[right]], key[order[left]]));
        spare[at] = order[take_right ? right++ : left++];
    }
    memcpy(order + lo, spare + lo, sizeof(int64_t) * (size_t)(hi - lo));
}

/* The positions of a row's elements in sorted order. */
static int64_t *sorted_row(tn_eval_call *e, row r, bool descending) {
    const tn_array *x = &e->in[0];
    tn_cell *key = TN_NEW_N(e->arena, tn_cell, r.count);
    int64_t *order = TN_NEW_N(e->arena, int64_t, 2 * r.count);
    for (int64_t p = 0; p < r.count; p++) {
        key[p] = tn_array_get(x, r.start + p * r.step);
        order[p] = p;
    }
    sort_positions(x->dtype, descending, key, order, order + r.count, 0, r.count);
    return order;
}

static tn_status sort_eval(tn_eval_call *e, tn_error *err) {
    (void)err;
    const tn_attrs_sort *a = e->node->attrs;
    int axis = (int)a->axis;
    int64_t rows = tn_array_count(&e->in[0]) ? row_count(&e->in[0], axis) : 0;
    for (int64_t which = 0; which < rows; which++) {
        row r = row_of(&e->in[0], axis, which);
        const int64_t *order = sorted_row(e, r, a->descending);
        for (uint32_t o = 0; o < e->node->in_count; o++)
            for (int64_t p = 0; p < r.count; p++)
                tn_array_copy_element(&e->out[o], r.start + p * r.step, &e->in[o],
                                      r.start + order[p] * r.step);
    }
    return TN_OK;
}

static tn_status top_k_eval(tn_eval_call *e, tn_error *err) {
    const tn_attrs_top_k *a = e->node->attrs;
    int axis = (int)a->axis;
    int64_t missing = e->out[0].dim[axis] - e->in[0].dim[axis];
    if (missing > 0)
        return tn_error_set(err, TN_INVALID,
                            "for these sizes it takes %lld elements more than its input has",
                            (long long)missing);
    int64_t rows = tn_array_count(&e->out[0]) ? row_count(&e->in[0], axis) : 0;
    for (int64_t which = 0; which < rows; which++) {
        row r = row_of(&e->in[0], axis, which), best = row_of(&e->out[0], axis, which);
        const int64_t *order = sorted_row(e, r, !a->smallest);
        for (int64_t p = 0; p < best.count; p++) {
            int64_t to = best.start + p * best.step;
            tn_array_copy_element(&e->out[0], to, &e->in[0], r.start + order[p] * r.step);
            tn_array_set(&e->out[1], to, (tn_cell){.i = order[p]});
        }
    }
    return TN_OK;
}

/* n log₂ n comparisons. */
static void sort_cost_of(const tn_graph *g, const tn_node_info *n, int64_t axis,
                         const int64_t *bindings, tn_cost *out) {
    const tn_shape *x = &tn_node_type(g, n, 0)->shape;
    double length = (double)tn_dim_eval(g->dims, x->dim[axis], bindings);
    *out = (tn_cost){0};
    tn_cost_traffic(g, n, bindings, out);
    out->flops = tn_cost_elements(g, x, bindings) * (length > 2 ? log2(length) : 1);
}

static void sort_cost(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                      tn_cost *out) {
    sort_cost_of(g, n, ((const tn_attrs_sort *)n->attrs)->axis, bindings, out);
}

static void top_k_cost(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                       tn_cost *out) {
    sort_cost_of(g, n, ((const tn_attrs_top_k *)n->attrs)->axis, bindings, out);
}

/* ---- vjp ------------------------------------------------------------------------------------ */

/* Adds the cotangent back to where its elements came from along the axis. */
static tn_value scatter_back(tn_builder *b, const tn_type *x, int axis, tn_value position,
                             tn_value cotangent) {
    int last = x->shape.rank - 1;
    tn_shape shape = x->shape;
    for (int p = axis; p < last; p++) shape.dim[p] = x->shape.dim[p + 1];
    shape.dim[last] = x->shape.dim[axis];
    position = tn_b_unsqueeze(b, tn_b_move(b, position, axis, last), last + 1);
    tn_attrs_scatter add = {
        .batch = last, .axes = {1, {last}}, .mode = TN_INDEX_clamp, .combine = TN_COMBINE_add};
    tn_value zeros = tn_b_full(b, x->dtype, &shape, 0);
    cotangent = tn_b_move(b, cotangent, axis, last);
    tn_value dx = tn_b_node(b, TN_OP_scatter, (tn_value[]){zeros, position, cotangent}, 3, &add);
    return tn_b_move(b, dx, last, axis);
}

/* Sorts the key once more with the positions as payload. */
static void sort_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                     const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    (void)out;
    const tn_attrs_sort *a = n->attrs;
    int axis = (int)a->axis;
    tn_value key_and_position[2] = {in[0],
                                    tn_b_iota(b, TN_i64, &tn_node_type(g, n, 0)->shape, axis)};
    tn_value position = TN_NO_VALUE;
    for (uint32_t o = 0; o < n->in_count && tn_b_ok(b); o++) {
        const tn_type *x = tn_node_type(g, n, o);
        if (cotangents[o] == TN_NO_VALUE || !tn_dtype_is_float(x->dtype)) continue;
        if (position == TN_NO_VALUE)
            position = tn_b_node(b, TN_OP_sort, key_and_position, 2, a) + 1;
        grads[o] = scatter_back(b, x, axis, position, cotangents[o]);
    }
}

static void top_k_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                      const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    (void)in;
    const tn_type *x = tn_node_type(g, n, 0);
    if (cotangents[0] == TN_NO_VALUE || !tn_dtype_is_float(x->dtype)) return;
    int axis = (int)((const tn_attrs_top_k *)n->attrs)->axis;
    grads[0] = scatter_back(b, x, axis, out[1], cotangents[0]);
}

/* ---- batch, shard --------------------------------------------------------------------------- */

static void sort_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                       const tn_batching *how, const tn_value *in, const bool *batched,
                       tn_value *out) {
    (void)g;
    tn_attrs_sort a = *(const tn_attrs_sort *)n->attrs;
    tn_value *all = TN_NEW_N(b->graph->arena, tn_value, n->in_count);
    for (uint32_t o = 0; o < n->in_count; o++)
        all[o] = tn_batch_operand(b, in[o], batched[o], how->size);
    a.axis++;
    tn_batch_node(b, n, all, &a, out);
}

static void top_k_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                        const tn_batching *how, const tn_value *in, const bool *batched,
                        tn_value *out) {
    (void)g, (void)how, (void)batched;
    tn_attrs_top_k a = *(const tn_attrs_top_k *)n->attrs;
    a.axis++;
    tn_batch_node(b, n, in, &a, out);
}

/* Rows are independent: split alike on any other axis. */
static bool rows_shard(const tn_node_info *n, int64_t axis, tn_shard *s) {
    for (uint32_t o = 1; o < n->in_count; o++)
        if (s->in[o] != s->in[0]) return false;
    for (uint32_t o = 0; o < n->out_count; o++) s->out[o] = s->in[0];
    return s->in[0] != TN_PLACE_PARTIAL && s->in[0] != axis;
}

static bool sort_shard(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    (void)g;
    return rows_shard(n, ((const tn_attrs_sort *)n->attrs)->axis, s);
}

static bool top_k_shard(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    (void)g;
    return rows_shard(n, ((const tn_attrs_top_k *)n->attrs)->axis, s);
}

const tn_op_rules tn_rules_sort = {
    .infer = sort_infer,
    .eval = sort_eval,
    .cost = sort_cost,
    .lower = {.kind = TN_LOWER_NEST, .nest = &tn__sort_nest},
    .vjp = TN_RULE(sort_vjp),
    .batch = TN_RULE(sort_batch),
    .shard = TN_RULE(sort_shard),
};

const tn_op_rules tn_rules_top_k = {
    .infer = top_k_infer,
    .eval = top_k_eval,
    .cost = top_k_cost,
    .lower = {.kind = TN_LOWER_NEST, .nest = &tn__top_k_nest},
    .vjp = TN_RULE(top_k_vjp),
    .batch = TN_RULE(top_k_batch),
    .shard = TN_RULE(top_k_shard),
};
