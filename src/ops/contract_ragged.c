/* ragged_dot: one matrix per group of consecutive rows (mixtures of experts).
 *
 * Group g has the rows from the sum of the sizes before it on, sizes below 0 counting as 0; rows
 * behind the last group belong to none. y[m,:] = x[m,:] · w[group of m], 0 without a group; with
 * `rows`, y[g] = Σ x[m]ᵀ·z[m] over the rows of the group. Each is the gradient of the other. */
#include "loop/strips.h"
#include "ops/parts.h"

static const tn_attrs_ragged_dot *attrs_of(const tn_node_info *n) {
    return n->attrs;
}

/* ---- infer ---------------------------------------------------------------------------------- */

static tn_status ragged_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_ragged_dot *a = i->attrs;
    const tn_dims *t = i->graph->dims;
    const tn_shape *x = &i->in[0]->shape, *w = &i->in[1]->shape, *sizes = &i->in[2]->shape;
    TN_CHECK(tn_infer_accumulator(i, 0, a->acc, err));
    TN_CHECK(tn_infer_accumulator(i, 1, a->acc, err));
    if (x->rank != 2) return tn_infer_refuse(i, 0, err, "expected shape MxK");
    if (a->rows && (w->rank != 2 || w->dim[0] != x->dim[0]))
        return tn_infer_refuse(i, 1, err, "expected shape %sxN, a row for each of x",
                               tn_dim_text(t, x->dim[0]).at);
    if (!a->rows && (w->rank != 3 || w->dim[1] != x->dim[1]))
        return tn_infer_refuse(i, 1, err, "expected shape Gx%sxN, one matrix per group",
                               tn_dim_text(t, x->dim[1]).at);
    if (i->in[2]->dtype != TN_i64 || sizes->rank != 1 || (!a->rows && sizes->dim[0] != w->dim[0]))
        return tn_infer_refuse(i, 2, err, "expected i64[%s], the rows of each group",
                               a->rows ? "G" : tn_dim_text(t, w->dim[0]).at);
    i->out[0] = (tn_type){a->acc, {.rank = 2, .dim = {x->dim[0], w->dim[w->rank - 1]}}};
    if (a->rows)
        i->out[0].shape = (tn_shape){.rank = 3, .dim = {sizes->dim[0], x->dim[1], w->dim[1]}};
    return TN_OK;
}

/* ---- eval, cost ----------------------------------------------------------------------------- */

/* sum += x·y; floats are summed in double, integers wrap. */
static void add_product(tn_dtype acc, tn_cell x, tn_cell y, tn_cell *sum) {
    if (tn_dtype_is_float(acc))
        sum->f += x.f * y.f;
    else
        sum->u += x.u * y.u;
}

static tn_status ragged_eval(tn_eval_call *e, tn_error *err) {
    const tn_attrs_ragged_dot *a = attrs_of(e->node);
    tn_array *y = &e->out[0];
    const tn_cell *x = tn_eval_cells(e, 0, a->acc), *w = tn_eval_cells(e, 1, a->acc);
    const tn_cell *sizes = tn_eval_cells(e, 2, TN_i64);
    int64_t rows = e->in[0].dim[0], depth = e->in[0].dim[1], m = 0;
    int64_t columns = e->in[1].dim[e->in[1].rank - 1], groups = e->in[2].dim[0];
    tn_cell *sum = TN_NEW_N(e->arena, tn_cell, tn_array_count(y));
    (void)err;
    for (int64_t g = 0; g < groups; g++)
        for (int64_t in_group = 0; in_group < sizes[g].i && m < rows; in_group++, m++)
            for (int64_t k = 0; k < depth; k++)
                for (int64_t n = 0; n < columns; n++) {
                    int64_t of_w = (a->rows ? m : g * depth + k) * columns + n;
                    int64_t of_y = (a->rows ? g * depth + k : m) * columns + n;
                    add_product(a->acc, x[m * depth + k], w[of_w], &sum[of_y]);
                }
    for (int64_t i = 0; i < tn_array_count(y); i++)
        tn_array_set(y, i, tn_cell_round(a->acc, sum[i]));
    return TN_OK;
}

/* Every row is in a group. */
static void ragged_cost(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                        tn_cost *out) {
    const tn_shape *x = &tn_node_type(g, n, 0)->shape, *w = &tn_node_type(g, n, 1)->shape;
    tn_cost_traffic(g, n, bindings, out);
    out->flops = 2 * tn_cost_elements(g, x, bindings) *
                 (double)tn_dim_eval(g->dims, w->dim[w->rank - 1], bindings);
}

/* ---- lower ---------------------------------------------------------------------------------- */

/* A task makes TILE rows of the result: y[m…, :] or y[g, k…, :]. Rows of one group share the reads of
 * w; those around a border between groups are done one by one. */
enum { TILE = 4 };

static tn_lx tiles_of(tn_emit *e, tn_dim rows) {
    tn_loop *k = e->k;
    tn_lx more = tn_l_add(k, tn_emit_dim(e, rows), tn_l_int(k, TILE - 1));
    return tn_l_div(k, more, tn_l_int(k, TILE));
}

static tn_lx ragged_tasks(tn_emit *e, const tn_node_info *n) {
    const tn_shape *y = &tn_graph_type(e->graph, n->out)->shape;
    tn_lx tiles = tiles_of(e, y->dim[y->rank - 2]);
    return attrs_of(n)->rows ? tn_l_mul(e->k, tn_emit_dim(e, y->dim[0]), tiles) : tiles;
}

/* The size of a group, at most the number of rows so that no sum overflows. */
static tn_lx group_size(tn_emit *e, const tn_node_info *n, tn_lx g) {
    tn_loop *k = e->k;
    tn_lx rows = tn_emit_dim(e, tn_node_type(e->graph, n, 0)->shape.dim[0]);
    return tn_l_min(k, tn_l_max(k, e->operand(e, n, 2, &g), tn_l_int(k, 0)), rows);
}

/* The group of row m: the number of groups that end at or before it. */
static tn_lx group_of_row(tn_emit *e, const tn_node_info *n, tn_lx m, tn_lx groups) {
    tn_loop *k = e->k;
    tn_lx zero = tn_l_int(k, 0);
    uint32_t end = tn_l_register(k, TN_i64, 1, "end"), group = tn_l_register(k, TN_i64, 1, "group");
    tn_l_set(k, end, zero, zero);
    tn_l_set(k, group, zero, zero);
    tn_lx g = tn_l_for(k, TN_LOOP_SERIAL, zero, groups, "g");
    tn_lx sum = tn_l_let(k, tn_l_add(k, tn_l_get(k, end, zero), group_size(e, n, g)));
    tn_l_set(k, end, zero, sum);
    tn_lx past = tn_l_cast(k, tn_l_le(k, sum, m), TN_i64, false);
    tn_l_set(k, group, zero, tn_l_add(k, tn_l_get(k, group, zero), past));
    tn_l_end(k);
    return tn_l_let(k, tn_l_get(k, group, zero));
}

/* The first row of `group`. */
static tn_lx first_of_group(tn_emit *e, const tn_node_info *n, tn_lx group) {
    tn_loop *k = e->k;
    tn_lx zero = tn_l_int(k, 0), rows = tn_emit_dim(e, tn_node_type(e->graph, n, 0)->shape.dim[0]);
    uint32_t at = tn_l_register(k, TN_i64, 1, "start");
    tn_l_set(k, at, zero, zero);
    tn_lx g = tn_l_for(k, TN_LOOP_SERIAL, zero, group, "g");
    tn_l_set(k, at, zero, tn_l_add(k, tn_l_get(k, at, zero), group_size(e, n, g)));
    tn_l_end(k);
    return tn_l_let(k, tn_l_min(k, tn_l_get(k, at, zero), rows));
}

/* Rows `first` … of the result; what is summed over goes from lo to hi. */
typedef struct tile {
    tn_emit *e;
    const tn_node_info *n;
    tn_dtype acc;
    int rows;
    tn_lx first, group, lo, hi;
    uint32_t sum; /* rows × columns */
} tile;

static tn_lx row_of(const tile *t, int r) {
    return tn_l_add(t->e->k, t->first, tn_l_int(t->e->k, r));
}

static tn_lx left_element(const tile *t, int r, tn_lx at) {
    bool rows = attrs_of(t->n)->rows;
    tn_lx row = row_of(t, r), index[] = {rows ? at : row, rows ? row : at};
    return tn_l_let(t->e->k,
                    tn_l_cast(t->e->k, t->e->operand(t->e, t->n, 0, index), t->acc, false));
}

static tn_lx right_element(const tile *t, tn_lx at, tn_lx column) {
    bool rows = attrs_of(t->n)->rows;
    tn_lx index[] = {rows ? at : t->group, rows ? column : at, column};
    return tn_l_let(t->e->k,
                    tn_l_cast(t->e->k, t->e->operand(t->e, t->n, 1, index), t->acc, false));
}

static void store_element(const tile *t, int r, tn_lx column, tn_lx value) {
    tn_lx row = row_of(t, r), matrix[] = {t->group, row, column}, vector[] = {row, column};
    t->e->store(t->e, t->n, 0, attrs_of(t->n)->rows ? matrix : vector, value);
}

/* The columns [base, base + width): their sums stay in registers. */
static void tile_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    const tile *t = context;
    tn_loop *k = t->e->k;
    tn_lx x[TILE], lane, column, place[TILE];
    lane = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, width), "l");
    for (int r = 0; r < t->rows; r++)
        tn_l_set(k, t->sum, tn_l_add(k, tn_l_int(k, r * (int64_t)width), lane),
                 tn_l_number(k, t->acc, 0));
    tn_l_end(k);
    tn_lx at = tn_l_for(k, TN_LOOP_SERIAL, t->lo, t->hi, "k");
    for (int r = 0; r < t->rows; r++) x[r] = left_element(t, r, at);
    column = tn_strip_open(k, base, width, limit, &lane);
    tn_lx y = right_element(t, at, column);
    for (int r = 0; r < t->rows; r++) {
        place[r] = tn_l_add(k, tn_l_int(k, r * (int64_t)width), lane);
        tn_lx sum = tn_l_get(k, t->sum, place[r]);
        tn_l_set(k, t->sum, place[r], tn_l_op3(k, TN_S_mad, x[r], y, sum));
    }
    tn_strip_close(k, limit);
    tn_l_end(k);
    column = tn_strip_open(k, base, width, limit, &lane);
    for (int r = 0; r < t->rows; r++) {
        place[r] = tn_l_add(k, tn_l_int(k, r * (int64_t)width), lane);
        store_element(t, r, column, tn_l_get(k, t->sum, place[r]));
    }
    tn_strip_close(k, limit);
}

/* Two vectors of columns at a time: with TILE rows that is 8 sums under way. */
static void emit_tile(tile *t, int rows) {
    tn_loop *k = t->e->k;
    const tn_shape *w = &tn_node_type(t->e->graph, t->n, 1)->shape;
    uint32_t bytes = t->e->vector_bytes ? t->e->vector_bytes : 32;
    uint32_t lanes = bytes / (uint32_t)tn_dtype_size(t->acc);
    t->rows = rows;
    t->sum = tn_l_register(k, t->acc, 2 * lanes * (uint32_t)rows, "sum");
    tn_strips(k, lanes, 2, tn_l_int(k, 0), tn_emit_dim(t->e, w->dim[w->rank - 1]), tile_strip, t);
}

/* y[first …]: whole tiles in one group together, else row by row. */
static void ragged_rows(tile *t, tn_lx task) {
    tn_emit *e = t->e;
    tn_loop *k = e->k;
    const tn_shape *w = &tn_node_type(e->graph, t->n, 1)->shape;
    tn_lx rows = tn_emit_dim(e, tn_node_type(e->graph, t->n, 0)->shape.dim[0]);
    tn_lx groups = tn_emit_dim(e, w->dim[0]), depth = tn_emit_dim(e, w->dim[1]);
    tn_lx first = tn_l_mul(k, task, tn_l_int(k, TILE)), zero = t->lo = tn_l_int(k, 0);
    tn_lx end = tn_l_min(k, tn_l_add(k, first, tn_l_int(k, TILE)), rows);
    tn_lx group = group_of_row(e, t->n, first, groups);
    tn_lx last = group_of_row(e, t->n, tn_l_add(k, first, tn_l_int(k, TILE - 1)), groups);
    tn_lx whole = tn_l_le(k, tn_l_add(k, first, tn_l_int(k, TILE)), rows);
    tn_l_if(k, tn_l_op2(k, TN_S_and, whole, tn_l_op2(k, TN_S_eq, group, last)));
    t->first = first;
    t->group = group;
    t->hi = tn_l_let(k, tn_l_select(k, tn_l_lt(k, group, groups), depth, zero));
    emit_tile(t, TILE);
    tn_l_else(k);
    t->first = tn_l_for(k, TN_LOOP_SERIAL, first, end, "m");
    t->group = group_of_row(e, t->n, t->first, groups);
    t->hi = tn_l_let(k, tn_l_select(k, tn_l_lt(k, t->group, groups), depth, zero));
    emit_tile(t, 1);
    tn_l_end(k);
    tn_l_end(k);
}

/* y[g, first …]: sums over the rows of group g. */
static void ragged_matrices(tile *t, tn_lx task) {
    tn_emit *e = t->e;
    tn_loop *k = e->k;
    const tn_shape *x = &tn_node_type(e->graph, t->n, 0)->shape;
    tn_lx rows = tn_emit_dim(e, x->dim[0]), depth = tn_emit_dim(e, x->dim[1]);
    tn_lx tiles = tiles_of(e, x->dim[1]);
    t->group = tn_l_div(k, task, tiles);
    t->lo = first_of_group(e, t->n, t->group);
    t->hi = tn_l_let(k, tn_l_min(k, tn_l_add(k, t->lo, group_size(e, t->n, t->group)), rows));
    tn_lx first = tn_l_mul(k, tn_l_mod(k, task, tiles), tn_l_int(k, TILE));
    tn_lx end = tn_l_min(k, tn_l_add(k, first, tn_l_int(k, TILE)), depth);
    tn_l_if(k, tn_l_le(k, tn_l_add(k, first, tn_l_int(k, TILE)), depth));
    t->first = first;
    emit_tile(t, TILE);
    tn_l_else(k);
    t->first = tn_l_for(k, TN_LOOP_SERIAL, first, end, "k");
    emit_tile(t, 1);
    tn_l_end(k);
    tn_l_end(k);
}

static void ragged_body(tn_emit *e, const tn_node_info *n, tn_lx task) {
    tile t = {.e = e, .n = n, .acc = attrs_of(n)->acc};
    if (attrs_of(n)->rows)
        ragged_matrices(&t, task);
    else
        ragged_rows(&t, task);
}

static const tn_nest_rules ragged_nest = {ragged_tasks, ragged_body, true};

/* ---- vjp ------------------------------------------------------------------------------------ */

static tn_value product(tn_builder *b, tn_dtype acc, bool rows, tn_value x, tn_value w,
                        tn_value sizes) {
    tn_attrs_ragged_dot a = {.acc = acc, .rows = rows};
    return tn_b_node(b, TN_OP_ragged_dot, (tn_value[]){x, w, sizes}, 3, &a);
}

static void ragged_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                       const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    const tn_attrs_ragged_dot *a = n->attrs;
    tn_type x = *tn_node_type(g, n, 0), w = *tn_node_type(g, n, 1);
    tn_value d = cotangents[0];
    (void)out;
    if (d == TN_NO_VALUE || !tn_dtype_is_float(x.dtype)) return;
    tn_value turned = tn_b_swap(b, a->rows ? d : in[1], 1, 2);
    tn_value dx = product(b, a->acc, false, a->rows ? in[1] : d, turned, in[2]);
    tn_value dw = product(b, a->acc, !a->rows, in[0], d, in[2]);
    grads[0] = tn_b_cast(b, dx, x.dtype);
    grads[1] = tn_b_cast(b, dw, w.dtype);
}

/* ---- batch ---------------------------------------------------------------------------------- */

/* The rows of the groups, between 0 and all there are: i64[members, G]. */
static tn_value clipped_sizes(tn_builder *b, tn_value sizes, tn_value rows) {
    return tn_b_min(b, tn_b_max(b, sizes, tn_b_scalar_int(b, TN_i64, 0)), rows);
}

/* Where the groups of each member end: i64[members, G]. */
static tn_value group_ends(tn_builder *b, tn_value sizes, tn_value rows) {
    tn_attrs_cumulative a = {.kind = TN_REDUCE_sum, .axis = 1};
    tn_value size = clipped_sizes(b, sizes, rows);
    return tn_b_min(b, tn_b_node(b, TN_OP_cumulative, &size, 1, &a), rows);
}

/* One more group for each member, with the rows that belong to none, so that the rows of all
 * members follow each other: i64[members · (G + 1)]. */
static tn_value all_groups(tn_builder *b, tn_value sizes, tn_dim rows, tn_dim members) {
    tn_shape one = {.rank = 2, .dim = {members, 1}};
    tn_value end = tn_b_dim_value(b, rows, TN_i64), ends = group_ends(b, sizes, end);
    tn_value first = tn_b_full(b, TN_i64, &one, 0), last = tn_b_expand(b, end, &one);
    tn_value from = tn_b_concat(b, (tn_value[]){first, ends}, 2, 1);
    tn_value to = tn_b_concat(b, (tn_value[]){ends, last}, 2, 1);
    tn_dim count = tn_dim_mul(b->graph->dims, members, tn_b_dim(b, to, 1));
    return tn_b_regroup(b, tn_b_sub(b, to, from), 0, 2, 1, &count);
}

/* y [members, M, N] with 0 in rows that belong to no group: times the zeros of their matrix an infinity
 * is none. */
static tn_value rows_of_groups(tn_builder *b, tn_value y, tn_value sizes, tn_dim rows) {
    tn_type type = tn_b_type(b, y);
    tn_shape first = {.rank = 3, .dim = {type.shape.dim[0], 1, 1}};
    tn_value end = tn_b_dim_value(b, rows, TN_i64);
    tn_value last = tn_b_sum(b, clipped_sizes(b, sizes, end), (int[]){1}, 1, false);
    last = tn_b_expand(b, tn_b_reshape(b, last, &first), &type.shape);
    tn_value row = tn_b_iota(b, TN_i64, &type.shape, 1);
    return tn_b_select(b, tn_b_lt(b, row, last), y, tn_b_full_like(b, y, 0));
}

static tn_value members_in_a_row(tn_builder *b, tn_value x) {
    tn_dim count = tn_dim_mul(b->graph->dims, tn_b_dim(b, x, 0), tn_b_dim(b, x, 1));
    return tn_b_regroup(b, x, 0, 2, 1, &count);
}

static void ragged_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                         const tn_batching *how, const tn_value *in, const bool *batched,
                         tn_value *out) {
    const tn_attrs_ragged_dot *a = n->attrs;
    tn_dims *t = b->graph->dims;
    tn_dim rows = tn_node_type(g, n, 0)->shape.dim[0];
    tn_dim groups = tn_node_type(g, n, 2)->shape.dim[0], more = tn_dim_add(t, groups, 1);
    tn_value all[3];
    for (int p = 0; p < 3; p++) all[p] = tn_batch_operand(b, in[p], batched[p], how->size);
    tn_value zero = tn_b_scalar(b, tn_b_type(b, all[1]).dtype, 0);
    if (!a->rows) all[1] = tn_b_pad_axis(b, all[1], 1, 0, 1, zero);
    for (int p = 0; p < 2; p++) all[p] = members_in_a_row(b, all[p]);
    tn_value sizes = all[2];
    all[2] = all_groups(b, sizes, rows, how->size);
    tn_value y = tn_b_node(b, TN_OP_ragged_dot, all, 3, a);
    out[0] = tn_b_regroup(b, y, 0, 1, 2, (tn_dim[]){how->size, a->rows ? more : rows});
    out[0] = a->rows ? tn_b_slice_axis(b, out[0], 1, 0, groups, 1)
                     : rows_of_groups(b, out[0], sizes, rows);
}

const tn_op_rules tn_rules_ragged_dot = {
    .infer = ragged_infer,
    .eval = ragged_eval,
    .cost = ragged_cost,
    .lower = {.kind = TN_LOWER_NEST, .nest = &ragged_nest},
    .vjp = TN_RULE(ragged_vjp),
    .batch = TN_RULE(ragged_batch),
    .shard = TN_REFUSE("group boundaries depend on values"),
};
