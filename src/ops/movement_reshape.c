/* reshape: the same elements in row-major order under another shape.
 *
 * Both shapes are cut into the smallest groups of axes with equal element counts; axes of size 1
 * belong to no group. Within a group the index is linearised and split again; a group of one axis
 * on each side keeps its index, so untouched axes stay recognisable to whatever reads the index. */
#include "ops/ops_common.h"

/* ---- groups --------------------------------------------------------------------------------- */

typedef struct axis_list {
    int count, axis[TN_MAX_RANK];
    tn_dim dim[TN_MAX_RANK];
} axis_list;

static axis_list axes_without_ones(const tn_shape *shape) {
    axis_list list = {0};
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dim[i] == 1) continue;
        list.axis[list.count] = i;
        list.dim[list.count++] = shape->dim[i];
    }
    return list;
}

/* Operand axes [x, x_end) hold the same elements as result axes [y, y_end). */
typedef struct axis_group {
    int x, x_end, y, y_end;
} axis_group;

/* Moves to the next group; false at the end. Without a common cut, all the rest is one group. */
static bool next_group(tn_dims *t, const axis_list *x, const axis_list *y, axis_group *g) {
    g->x = g->x_end;
    g->y = g->y_end;
    if (g->x == x->count && g->y == y->count) return false;
    tn_dim x_size = 1;
    for (g->x_end = g->x; g->x_end < x->count;) {
        tn_dim y_size = 1;
        x_size = tn_dim_mul(t, x_size, x->dim[g->x_end++]);
        for (g->y_end = g->y; g->y_end < y->count;) {
            y_size = tn_dim_mul(t, y_size, y->dim[g->y_end++]);
            if (x_size == y_size) return true;
        }
    }
    g->x_end = x->count;
    g->y_end = y->count;
    return true;
}

/* ---- rules ---------------------------------------------------------------------------------- */

static tn_status infer_reshape(tn_infer *i, tn_error *err) {
    const tn_attrs_reshape *a = i->attrs;
    tn_dims *t = i->graph->dims;
    TN_CHECK(tn_infer_attr_shape(i, "shape", &a->shape, err));
    tn_dim have = tn_shape_count(t, &i->in[0]->shape), want = tn_shape_count(t, &a->shape);
    tn_infer_out(i, 0, i->in[0]->dtype, a->shape);
    if (have == want) return TN_OK;
    tn_dim difference = tn_dim_sub(t, have, want);
    tn_text shape = tn_shape_text(t, &a->shape), from = tn_dim_text(t, have);
    if (tn_dim_lo(t, difference) > 0 || tn_dim_hi(t, difference) < 0)
        return tn_infer_refuse(i, 0, err, "its %s elements do not fill the shape %s of %s", from.at,
                               shape.at, tn_dim_text(t, want).at);
    return tn_infer_undecided(i, err, "%s elements fill the shape %s of %s only for some sizes",
                              from.at, shape.at, tn_dim_text(t, want).at);
}

/* Sizes were equal as polynomials, so they are equal for every binding. */
static tn_status eval_reshape(tn_eval_call *e, tn_error *err) {
    (void)err;
    memcpy(e->out[0].data, e->in[0].data, tn_array_bytes(&e->in[0]));
    return TN_OK;
}

static void emit_group(tn_emit *e, const axis_list *x, const axis_list *y, const axis_group *g,
                       const tn_lx *index, tn_lx *from) {
    tn_lx part[TN_MAX_RANK];
    for (int i = g->y; i < g->y_end; i++) part[i - g->y] = index[y->axis[i]];
    tn_lx at = tn_emit_linear(e, part, y->dim + g->y, g->y_end - g->y);
    tn_emit_delinear(e, at, x->dim + g->x, g->x_end - g->x, part);
    for (int i = g->x; i < g->x_end; i++) from[x->axis[i]] = part[i - g->x];
}

static tn_lx lower_reshape(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index) {
    const tn_shape *from_shape = &tn_node_type(e->graph, n, 0)->shape;
    const tn_shape *to_shape = &tn_graph_type(e->graph, n->out)->shape;
    axis_list x = axes_without_ones(from_shape), y = axes_without_ones(to_shape);
    axis_group group = {0};
    tn_lx from[TN_MAX_RANK];
    (void)result;
    for (int i = 0; i < from_shape->rank; i++) from[i] = tn_l_int(e->k, 0);
    bool empty = tn_shape_count(e->graph->dims, to_shape) == 0;
    while (!empty && next_group(e->graph->dims, &x, &y, &group))
        emit_group(e, &x, &y, &group, index, from);
    return e->operand(e, n, 0, from);
}

static void vjp_reshape(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                        const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    tn_shape shape = tn_b_type(b, in[0]).shape;
    (void)g, (void)n, (void)out;
    grads[0] = cotangents[0] == TN_NO_VALUE ? TN_NO_VALUE : tn_b_reshape(b, cotangents[0], &shape);
}

static void batch_reshape(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                          const tn_batching *how, const tn_value *in, const bool *batched,
                          tn_value *out) {
    const tn_attrs_reshape *a = n->attrs;
    (void)g;
    tn_value x = tn_batch_operand(b, in[0], batched[0], how->size);
    if (a->shape.rank == TN_MAX_RANK) {
        out[0] =
            tn_b_fail(b, TN_UNSUPPORTED, "reshape to %d axes cannot take one more", TN_MAX_RANK);
        return;
    }
    tn_shape shape = tn_shape_with_front(&a->shape, how->size);
    out[0] = tn_b_reshape(b, x, &shape);
}

/* Legal along axes that stay as they are. */
static bool shard_reshape(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    axis_list x = axes_without_ones(&tn_node_type(g, n, 0)->shape);
    axis_list y = axes_without_ones(&tn_graph_type(g, n->out)->shape);
    axis_group group = {0};
    s->out[0] = s->in[0];
    if (s->in[0] < 0) return true;
    while (next_group(g->dims, &x, &y, &group)) {
        bool kept = group.x_end - group.x == 1 && group.y_end - group.y == 1;
        if (!kept || x.axis[group.x] != s->in[0]) continue;
        s->out[0] = y.axis[group.y];
        return true;
    }
    return false;
}

const tn_op_rules tn_rules_reshape = {
    .infer = infer_reshape,
    .eval = eval_reshape,
    .cost = tn_cost_move,
    .lower = TN_LOWER_VIEW(lower_reshape),
    .vjp = TN_RULE(vjp_reshape),
    .batch = TN_RULE(batch_reshape),
    .shard = TN_RULE(shard_reshape),
};
