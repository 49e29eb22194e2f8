/* sort and top_k: stable, NaN last in both directions.
 *
 * A kernel runs one task per row. The row's keys are copied to scratch once; bottom-up merges then
 * sort positions, so that payloads move only at the end. top_k with a small k keeps the best so far
 * in a sorted list instead. */
#include <math.h>

#include "ops/parts.h"

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
static int64_t *sorted_row(tn_eval *e, row r, bool descending) {
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

static tn_status sort_eval(tn_eval *e, tn_error *err) {
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

static tn_status top_k_eval(tn_eval *e, tn_error *err) {
    (void)err;
    const tn_attrs_top_k *a = e->node->attrs;
    int axis = (int)a->axis;
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

/* ---- lower: a row --------------------------------------------------------------------------- */

/* The row of x that a task sorts. */
typedef struct row_emit {
    tn_emit *e;
    const tn_node_info *n;
    tn_dtype dtype;
    int axis;
    bool descending;
    tn_lx index[TN_MAX_RANK]; /* of the row; the entry of the axis is free */
    tn_lx length;
    uint32_t keys; /* scratch: the row's keys */
} row_emit;

static tn_ints all_but(int rank, int axis) {
    tn_ints out = {0};
    for (int p = 0; p < rank; p++)
        if (p != axis) tn_ints_push(&out, p);
    return out;
}

/* Sizes of the axes that number the rows. */
static int row_space(const tn_shape *x, int axis, tn_dim *dim) {
    tn_ints axes = all_but(x->rank, axis);
    for (int p = 0; p < axes.count; p++) dim[p] = x->dim[axes.at[p]];
    return axes.count;
}

static tn_lx row_tasks(tn_emit *e, const tn_node_info *n, int64_t axis) {
    tn_dim dim[TN_MAX_RANK];
    int count = row_space(&tn_node_type(e->graph, n, 0)->shape, (int)axis, dim);
    return tn_emit_count(e, dim, count);
}

static row_emit row_begin(tn_emit *e, const tn_node_info *n, int64_t axis, bool descending,
                          tn_lx task) {
    const tn_type *x = tn_node_type(e->graph, n, 0);
    row_emit r = {.e = e, .n = n, .dtype = x->dtype, .axis = (int)axis, .descending = descending};
    tn_dim dim[TN_MAX_RANK];
    tn_lx at[TN_MAX_RANK];
    tn_emit_delinear(e, task, dim, row_space(&x->shape, r.axis, dim), at);
    for (int p = 0, from = 0; p < x->shape.rank; p++)
        if (p != r.axis) r.index[p] = at[from++];
    r.length = tn_emit_dim(e, x->shape.dim[r.axis]);
    return r;
}

static tn_lx row_operand(row_emit *r, uint32_t which, tn_lx at) {
    r->index[r->axis] = at;
    return r->e->operand(r->e, r->n, which, r->index);
}

static void row_store(row_emit *r, uint32_t result, tn_lx at, tn_lx value) {
    r->index[r->axis] = at;
    r->e->store(r->e, r->n, result, r->index, value);
}

/* a before b in the order of the sort; equal ones are not. */
static tn_lx emit_before(const row_emit *r, tn_lx a, tn_lx b) {
    tn_loop *k = r->e->k;
    tn_lx before = tn_l_op2(k, r->descending ? TN_S_gt : TN_S_lt, a, b);
    if (!tn_dtype_is_float(r->dtype)) return before;
    tn_lx b_nan = tn_l_op1(k, TN_S_is_nan, b), a_nan = tn_l_op1(k, TN_S_is_nan, a);
    return tn_l_op2(k, TN_S_or, before, tn_l_and(k, b_nan, tn_emit_not(k, a_nan)));
}

static void row_load_keys(row_emit *r) {
    tn_loop *k = r->e->k;
    r->keys = tn_l_scratch(k, r->dtype, r->length, "keys");
    tn_lx at = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), r->length, "i");
    tn_l_store(k, r->keys, at, row_operand(r, 0, at));
    tn_l_end(k);
}

/* ---- lower: merge sort ---------------------------------------------------------------------- */

/* Two lists of positions in one scratch buffer: one at `from` (0 or length), the other gets the
 * next pass. */
typedef struct merge_state {
    uint32_t order, from; /* scratch, register */
    uint32_t left, right; /* registers: next of either run */
} merge_state;

/* Merges the runs [lo, mid) and [mid, hi) of the list at `from` into the list at `to`. */
static void merge_runs(row_emit *r, const merge_state *m, tn_lx lo, tn_lx mid, tn_lx hi, tn_lx from,
                       tn_lx to) {
    tn_loop *k = r->e->k;
    tn_lx zero = tn_l_int(k, 0), one = tn_l_int(k, 1);
    tn_lx last = tn_l_sub(k, r->length, one);
    tn_l_set(k, m->left, zero, lo);
    tn_l_set(k, m->right, zero, mid);
    tn_lx at = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "at");
    tn_lx left = tn_l_get(k, m->left, zero), right = tn_l_get(k, m->right, zero);
    tn_lx left_open = tn_l_lt(k, left, mid), right_open = tn_l_lt(k, right, hi);
    tn_lx p =
        tn_l_load(k, m->order, tn_l_add(k, from, tn_l_min(k, left, last)), TN_LX_NONE, TN_LX_NONE);
    tn_lx q =
        tn_l_load(k, m->order, tn_l_add(k, from, tn_l_min(k, right, last)), TN_LX_NONE, TN_LX_NONE);
    tn_lx p_key = tn_l_load(k, r->keys, p, TN_LX_NONE, TN_LX_NONE);
    tn_lx q_key = tn_l_load(k, r->keys, q, TN_LX_NONE, TN_LX_NONE);
    tn_lx ahead = tn_l_and(k, right_open, emit_before(r, q_key, p_key));
    tn_lx take_right = tn_l_let(k, tn_l_op2(k, TN_S_or, tn_emit_not(k, left_open), ahead));
    tn_l_store(k, m->order, tn_l_add(k, to, at), tn_l_select(k, take_right, q, p));
    tn_lx step = tn_l_cast(k, take_right, TN_i64, false);
    tn_l_set(k, m->right, zero, tn_l_add(k, right, step));
    tn_l_set(k, m->left, zero, tn_l_add(k, left, tn_l_sub(k, one, step)));
    tn_l_end(k);
}

/* The number of passes that the longest row needs. */
static int merge_passes(const row_emit *r) {
    const tn_shape *x = &tn_node_type(r->e->graph, r->n, 0)->shape;
    int64_t hi = tn_dim_hi(r->e->graph->dims, x->dim[r->axis]);
    int passes = 0;
    while (passes < 40 && (INT64_C(1) << passes) < hi) passes++;
    return passes;
}

static void merge_pass(row_emit *r, const merge_state *m, tn_lx pass) {
    tn_loop *k = r->e->k;
    tn_lx zero = tn_l_int(k, 0), one = tn_l_int(k, 1);
    tn_lx width = tn_l_let(k, tn_l_op2(k, TN_S_shl, one, pass));
    tn_l_if(k, tn_l_lt(k, width, r->length));
    tn_lx from = tn_l_get(k, m->from, zero), to = tn_l_let(k, tn_l_sub(k, r->length, from));
    tn_lx pair = tn_l_let(k, tn_l_add(k, width, width));
    tn_lx pairs = tn_l_div(k, tn_l_sub(k, tn_l_add(k, r->length, pair), one), pair);
    tn_lx which = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_let(k, pairs), "pair");
    tn_lx lo = tn_l_let(k, tn_l_mul(k, which, pair));
    tn_lx mid = tn_l_let(k, tn_l_min(k, tn_l_add(k, lo, width), r->length));
    tn_lx hi = tn_l_let(k, tn_l_min(k, tn_l_add(k, lo, pair), r->length));
    merge_runs(r, m, lo, mid, hi, from, to);
    tn_l_end(k);
    tn_l_set(k, m->from, zero, to);
    tn_l_end(k);
}

/* Sorts the row's positions; gives the scratch buffer and where in it they begin. */
static uint32_t emit_sorted(row_emit *r, tn_lx *begin) {
    tn_loop *k = r->e->k;
    tn_lx zero = tn_l_int(k, 0);
    row_load_keys(r);
    merge_state m = {.order = tn_l_scratch(k, TN_i64, tn_l_add(k, r->length, r->length), "order")};
    m.from = tn_l_register(k, TN_i64, 1, "from");
    m.left = tn_l_register(k, TN_i64, 1, "left");
    m.right = tn_l_register(k, TN_i64, 1, "right");
    tn_l_set(k, m.from, zero, zero);
    tn_lx at = tn_l_for(k, TN_LOOP_SERIAL, zero, r->length, "i");
    tn_l_store(k, m.order, at, at);
    tn_l_end(k);
    tn_lx pass = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_int(k, merge_passes(r)), "pass");
    merge_pass(r, &m, pass);
    tn_l_end(k);
    *begin = tn_l_get(k, m.from, zero);
    return m.order;
}

static tn_lx sort_tasks(tn_emit *e, const tn_node_info *n) {
    return row_tasks(e, n, ((const tn_attrs_sort *)n->attrs)->axis);
}

static void sort_body(tn_emit *e, const tn_node_info *n, tn_lx task) {
    const tn_attrs_sort *a = n->attrs;
    tn_loop *k = e->k;
    row_emit r = row_begin(e, n, a->axis, a->descending, task);
    tn_lx begin;
    uint32_t order = emit_sorted(&r, &begin);
    tn_lx at = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), r.length, "i");
    tn_lx from = tn_l_load(k, order, tn_l_add(k, begin, at), TN_LX_NONE, TN_LX_NONE);
    row_store(&r, 0, at, tn_l_load(k, r.keys, from, TN_LX_NONE, TN_LX_NONE));
    for (uint32_t o = 1; o < n->in_count; o++) row_store(&r, o, at, row_operand(&r, o, from));
    tn_l_end(k);
}

/* ---- lower: the k best ---------------------------------------------------------------------- */

enum { TOP_K_LIST = 32 }; /* longer lists are taken from a full sort */

/* Puts the element at `at` into the sorted list of the best, of which there are `count`. */
static void top_k_insert(row_emit *r, uint32_t best, uint32_t places, uint32_t slot, tn_lx count,
                         tn_lx key, tn_lx at) {
    tn_loop *k = r->e->k;
    tn_lx zero = tn_l_int(k, 0), one = tn_l_int(k, 1);
    tn_l_set(k, slot, zero, count);
    tn_lx back = tn_l_for(k, TN_LOOP_SERIAL, zero, count, "back"); /* moves worse ones down */
    tn_lx here = tn_l_sub(k, tn_l_sub(k, count, one), back), below = tn_l_add(k, here, one);
    tn_lx other = tn_l_load(k, best, here, TN_LX_NONE, TN_LX_NONE);
    tn_l_if(k, emit_before(r, key, other));
    tn_l_store(k, best, below, other);
    tn_l_store(k, places, below, tn_l_load(k, places, here, TN_LX_NONE, TN_LX_NONE));
    tn_l_set(k, slot, zero, here);
    tn_l_end(k);
    tn_l_end(k);
    tn_lx free = tn_l_get(k, slot, zero);
    tn_l_store(k, best, free, key);
    tn_l_store(k, places, free, at);
}

/* The list has one place more than k: what is moved into it falls out. */
static void top_k_by_list(row_emit *r, int64_t size) {
    tn_loop *k = r->e->k;
    tn_lx zero = tn_l_int(k, 0), list = tn_l_int(k, size);
    uint32_t best = tn_l_scratch(k, r->dtype, tn_l_int(k, size + 1), "best");
    uint32_t places = tn_l_scratch(k, TN_i64, tn_l_int(k, size + 1), "places");
    uint32_t slot = tn_l_register(k, TN_i64, 1, "slot");
    tn_lx at = tn_l_for(k, TN_LOOP_SERIAL, zero, r->length, "i");
    tn_lx key = tn_l_let(k, row_operand(r, 0, at));
    tn_lx count = tn_l_let(k, tn_l_min(k, at, list));
    top_k_insert(r, best, places, slot, count, key, at);
    tn_l_end(k);
    at = tn_l_for(k, TN_LOOP_SERIAL, zero, list, "i");
    row_store(r, 0, at, tn_l_load(k, best, at, TN_LX_NONE, TN_LX_NONE));
    row_store(r, 1, at, tn_l_load(k, places, at, TN_LX_NONE, TN_LX_NONE));
    tn_l_end(k);
}

static void top_k_by_sort(row_emit *r, tn_lx size) {
    tn_loop *k = r->e->k;
    tn_lx begin;
    uint32_t order = emit_sorted(r, &begin);
    tn_lx at = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), size, "i");
    tn_lx from = tn_l_load(k, order, tn_l_add(k, begin, at), TN_LX_NONE, TN_LX_NONE);
    row_store(r, 0, at, tn_l_load(k, r->keys, from, TN_LX_NONE, TN_LX_NONE));
    row_store(r, 1, at, from);
    tn_l_end(k);
}

static tn_lx top_k_tasks(tn_emit *e, const tn_node_info *n) {
    return row_tasks(e, n, ((const tn_attrs_top_k *)n->attrs)->axis);
}

static void top_k_body(tn_emit *e, const tn_node_info *n, tn_lx task) {
    const tn_attrs_top_k *a = n->attrs;
    row_emit r = row_begin(e, n, a->axis, !a->smallest, task);
    int64_t size;
    if (tn_dim_const_value(e->graph->dims, a->k, &size) && size <= TOP_K_LIST)
        top_k_by_list(&r, size);
    else
        top_k_by_sort(&r, tn_emit_dim(e, a->k));
}

static const tn_nest_rules sort_nest = {sort_tasks, sort_body};
static const tn_nest_rules top_k_nest = {top_k_tasks, top_k_body};

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

static void sort_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n, tn_dim size,
                       const tn_value *in, const bool *batched, tn_value *out) {
    (void)g;
    tn_attrs_sort a = *(const tn_attrs_sort *)n->attrs;
    tn_value *all = TN_NEW_N(b->graph->arena, tn_value, n->in_count);
    for (uint32_t o = 0; o < n->in_count; o++)
        all[o] = tn_batch_operand(b, in[o], batched[o], size);
    a.axis++;
    tn_batch_node(b, n, all, &a, out);
}

static void top_k_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n, tn_dim size,
                        const tn_value *in, const bool *batched, tn_value *out) {
    (void)g, (void)size, (void)batched;
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
    .lower = {.kind = TN_LOWER_NEST, .nest = &sort_nest},
    .vjp = TN_RULE(sort_vjp),
    .batch = TN_RULE(sort_batch),
    .shard = TN_RULE(sort_shard),
};

const tn_op_rules tn_rules_top_k = {
    .infer = top_k_infer,
    .eval = top_k_eval,
    .cost = top_k_cost,
    .lower = {.kind = TN_LOWER_NEST, .nest = &top_k_nest},
    .vjp = TN_RULE(top_k_vjp),
    .batch = TN_RULE(top_k_batch),
    .shard = TN_RULE(top_k_shard),
};
