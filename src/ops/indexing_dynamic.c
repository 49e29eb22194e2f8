/* dynamic_slice and dynamic_update: a block of x at a position that is known at run time.
 *
 * start is i64[rank of x], each entry clamped so that the block lies inside x. */
#include "ops/parts.h"

/* ---- infer ---------------------------------------------------------------------------------- */

/* The block must fit into x and start must have one entry per axis. */
static tn_status dynamic_check(const tn_infer *i, const tn_shape *block, uint32_t start,
                               tn_error *err) {
    tn_dims *t = i->graph->dims;
    const tn_shape *x = &i->in[0]->shape, *s = &i->in[start]->shape;
    if (i->in[start]->dtype != TN_i64 || s->rank != 1 || s->dim[0] != x->rank)
        return tn_infer_refuse(i, start, err, "expected i64[%d], the start on each axis of x",
                               x->rank);
    if (block->rank != x->rank)
        return tn_infer_refuse(i, 0, err, "a block of rank %d does not fit", block->rank);
    for (int p = 0; p < x->rank; p++)
        if (tn_dim_hi(t, tn_dim_sub(t, x->dim[p], block->dim[p])) < 0)
            return tn_infer_refuse(i, 0, err, "axis %d cannot hold a block of size %s", p,
                                   tn_dim_text(t, block->dim[p]).at);
    return TN_OK;
}

static tn_status dynamic_slice_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_dynamic_slice *a = i->attrs;
    TN_CHECK(tn_infer_attr_shape(i, "shape", &a->shape, err));
    TN_CHECK(dynamic_check(i, &a->shape, 1, err));
    tn_infer_out(i, 0, i->in[0]->dtype, a->shape);
    return TN_OK;
}

static tn_status dynamic_update_infer(tn_infer *i, tn_error *err) {
    TN_CHECK(tn_infer_same_dtype(i, 1, 0, err));
    TN_CHECK(dynamic_check(i, &i->in[1]->shape, 2, err));
    i->out[0] = *i->in[0];
    return TN_OK;
}

/* ---- eval, cost ----------------------------------------------------------------------------- */

/* Copies the block between x (at `start`) and `block`. */
static void copy_block(const tn_array *start, tn_array *to, const tn_array *from, const tn_array *x,
                       const tn_array *block) {
    int64_t at[TN_MAX_RANK] = {0}, in_x[TN_MAX_RANK], count = tn_array_count(block);
    for (int64_t i = 0; i < count; i++, tn_index_next(at, block->rank, block->dim)) {
        for (int p = 0; p < x->rank; p++) {
            int64_t first = TN_MIN(tn_array_get(start, p).i, x->dim[p] - block->dim[p]);
            in_x[p] = at[p] + TN_MAX(first, 0);
        }
        int64_t place = tn_index_offset(in_x, x->rank, x->dim);
        if (from == x)
            tn_array_copy_element(to, i, from, place);
        else
            tn_array_copy_element(to, place, from, i);
    }
}

static tn_status dynamic_slice_eval(tn_eval_call *e, tn_error *err) {
    (void)err;
    copy_block(&e->in[1], &e->out[0], &e->in[0], &e->in[0], &e->out[0]);
    return TN_OK;
}

static tn_status dynamic_update_eval(tn_eval_call *e, tn_error *err) {
    (void)err;
    memcpy(e->out[0].data, e->in[0].data, tn_array_bytes(&e->out[0]));
    copy_block(&e->in[2], &e->out[0], &e->in[1], &e->out[0], &e->in[1]);
    return TN_OK;
}

/* ---- lower ---------------------------------------------------------------------------------- */

/* start[axis], clamped to [0, size − block]. */
static tn_lx emit_start(tn_emit *e, const tn_node_info *n, uint32_t operand, int axis, tn_dim size,
                        tn_dim block) {
    tn_lx at = tn_l_int(e->k, axis), zero = tn_l_int(e->k, 0);
    tn_lx room = tn_emit_dim(e, tn_dim_sub(e->graph->dims, size, block));
    if (size == block) return zero;
    return tn_l_max(e->k, zero, tn_l_min(e->k, e->operand(e, n, operand, &at), room));
}

static tn_lx dynamic_slice_expression(tn_emit *e, const tn_node_info *n, uint32_t result,
                                      const tn_lx *index) {
    (void)result;
    const tn_shape *x = &tn_node_type(e->graph, n, 0)->shape;
    const tn_shape *block = &tn_graph_type(e->graph, n->out)->shape;
    tn_lx at[TN_MAX_RANK];
    for (int p = 0; p < x->rank; p++)
        at[p] = tn_l_add(e->k, index[p], emit_start(e, n, 1, p, x->dim[p], block->dim[p]));
    return e->operand(e, n, 0, at);
}

static tn_lx dynamic_update_expression(tn_emit *e, const tn_node_info *n, uint32_t result,
                                       const tn_lx *index) {
    (void)result;
    tn_loop *k = e->k;
    const tn_shape *x = &tn_node_type(e->graph, n, 0)->shape;
    const tn_shape *block = &tn_node_type(e->graph, n, 1)->shape;
    tn_lx at[TN_MAX_RANK], inside = TN_LX_NONE;
    for (int p = 0; p < x->rank; p++) {
        at[p] = tn_l_sub(k, index[p], emit_start(e, n, 2, p, x->dim[p], block->dim[p]));
        if (x->dim[p] == block->dim[p]) continue;
        inside = tn_l_and(k, inside, tn_l_le(k, tn_l_int(k, 0), at[p]));
        inside = tn_l_and(k, inside, tn_l_lt(k, at[p], tn_emit_dim(e, block->dim[p])));
    }
    if (inside == TN_LX_NONE) return e->operand(e, n, 1, at);
    tn_lx old = tn_emit_or_zero(e, n, 0, index, tn_emit_not(k, inside));
    return tn_l_select(k, inside, tn_emit_or_zero(e, n, 1, at, inside), old);
}

/* ---- vjp ------------------------------------------------------------------------------------ */

static tn_value node_slice(tn_builder *b, tn_value x, tn_value start, const tn_shape *shape) {
    tn_attrs_dynamic_slice a = {.shape = *shape};
    return tn_b_node(b, TN_OP_dynamic_slice, (tn_value[]){x, start}, 2, &a);
}

static tn_value node_update(tn_builder *b, tn_value x, tn_value block, tn_value start) {
    return tn_b_node(b, TN_OP_dynamic_update, (tn_value[]){x, block, start}, 3, NULL);
}

static void dynamic_slice_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                              const tn_value *in, const tn_value *out, const tn_value *cotangents,
                              tn_value *grads) {
    (void)out;
    if (cotangents[0] == TN_NO_VALUE || !tn_dtype_is_float(tn_node_type(g, n, 0)->dtype)) return;
    grads[0] = node_update(b, tn_b_full_like(b, in[0], 0), cotangents[0], in[1]);
}

static void dynamic_update_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                               const tn_value *in, const tn_value *out, const tn_value *cotangents,
                               tn_value *grads) {
    (void)out;
    if (cotangents[0] == TN_NO_VALUE || !tn_dtype_is_float(tn_node_type(g, n, 0)->dtype)) return;
    const tn_shape *block = &tn_node_type(g, n, 1)->shape;
    grads[0] = node_update(b, cotangents[0], tn_b_full_like(b, in[1], 0), in[2]);
    grads[1] = node_slice(b, cotangents[0], in[2], block);
}

/* ---- batch ---------------------------------------------------------------------------------- */

/* Starts that are the same for all members: the new axis starts at 0. */
static tn_value start_with_front(tn_builder *b, tn_value start) {
    tn_shape one = {.rank = 1, .dim = {1}};
    return tn_b_concat(b, (tn_value[]){tn_b_full(b, TN_i64, &one, 0), start}, 2, 0);
}

/* The axes that a block with a start of its own moves along: those that it does not cover whole. */
static tn_ints moving_axes(const tn_shape *x, const tn_shape *block) {
    tn_ints axes = {0};
    for (int p = 0; p < x->rank; p++)
        if (x->dim[p] != block->dim[p]) tn_ints_push(&axes, p);
    return axes;
}

/* Starts that differ: positions [members, block along `axes`…, axes] of each member's block. */
static tn_value block_positions(tn_builder *b, tn_value start, const tn_shape *x,
                                const tn_shape *block, const tn_ints *axes, tn_dim members) {
    tn_dims *t = b->graph->dims;
    tn_shape full = {.rank = 1 + axes->count, .dim = {members}}, first = full;
    tn_value part[TN_MAX_RANK];
    for (int i = 0; i < axes->count; i++) {
        full.dim[i + 1] = block->dim[axes->at[i]];
        first.dim[i + 1] = 1;
    }
    for (int i = 0; i < axes->count; i++) {
        int p = (int)axes->at[i];
        tn_value at = tn_b_slice_axis(b, start, 1, p, 1, 1);
        tn_value room = tn_b_dim_value(b, tn_dim_sub(t, x->dim[p], block->dim[p]), TN_i64);
        at = tn_b_max(b, tn_b_min(b, at, room), tn_b_scalar_int(b, TN_i64, 0));
        at = tn_b_expand(b, tn_b_reshape(b, at, &first), &full);
        at = tn_b_add(b, at, tn_b_iota(b, TN_i64, &full, i + 1));
        part[i] = tn_b_unsqueeze(b, at, full.rank);
    }
    return tn_b_concat(b, part, axes->count, full.rank);
}

/* Axis p of a block is axis perm[p] of what is gathered: members, moving axes, the rest. */
static void gathered_axes(const tn_shape *x, const tn_ints *axes, int *perm) {
    int moving = 1, rest = 1 + axes->count;
    perm[0] = 0;
    for (int p = 0; p < x->rank; p++) perm[p + 1] = tn_ints_have(axes, p) ? moving++ : rest++;
}

/* Room for the new axis. */
static bool batch_has_room(tn_builder *b, const tn_shape *x) {
    if (x->rank == TN_MAX_RANK)
        tn_b_fail(b, TN_UNSUPPORTED, "a block of %d axes cannot take one more", x->rank);
    return tn_b_ok(b);
}

static void dynamic_slice_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                                const tn_batching *how, const tn_value *in, const bool *batched,
                                tn_value *out) {
    const tn_shape *x = &tn_node_type(g, n, 0)->shape;
    const tn_shape *block = &((const tn_attrs_dynamic_slice *)n->attrs)->shape;
    tn_ints axes = moving_axes(x, block);
    int perm[TN_MAX_RANK];
    if (!batch_has_room(b, x)) return;
    if (!batched[1]) {
        tn_shape shape = tn_shape_with_front(block, how->size);
        out[0] = node_slice(b, in[0], start_with_front(b, in[1]), &shape);
        return;
    }
    if (axes.count == 0) {
        out[0] = in[0];
        return;
    }
    tn_value positions = block_positions(b, in[1], x, block, &axes, how->size);
    tn_attrs_gather a = {.batch = batched[0], .axes = tn_ints_shifted(&axes, batched[0])};
    tn_value y = tn_b_node(b, TN_OP_gather, (tn_value[]){in[0], positions}, 2, &a);
    gathered_axes(x, &axes, perm);
    out[0] = tn_b_permute(b, y, perm);
}

static void dynamic_update_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                                 const tn_batching *how, const tn_value *in, const bool *batched,
                                 tn_value *out) {
    const tn_shape *x = &tn_node_type(g, n, 0)->shape, *block = &tn_node_type(g, n, 1)->shape;
    tn_ints axes = moving_axes(x, block);
    int perm[TN_MAX_RANK], back[TN_MAX_RANK];
    if (axes.count == 0) { /* the block is the result */
        out[0] = in[1];
        return;
    }
    if (!batch_has_room(b, x)) return;
    tn_value all = tn_batch_operand(b, in[0], batched[0], how->size);
    tn_value blocks = tn_batch_operand(b, in[1], batched[1], how->size);
    if (!batched[2]) {
        out[0] = node_update(b, all, blocks, start_with_front(b, in[2]));
        return;
    }
    tn_value positions = block_positions(b, in[2], x, block, &axes, how->size);
    gathered_axes(x, &axes, perm);
    for (int p = 0; p <= x->rank; p++) back[perm[p]] = p;
    blocks = tn_b_permute(b, blocks, back);
    tn_attrs_scatter a = {.batch = 1, .axes = tn_ints_shifted(&axes, 1)};
    out[0] = tn_b_node(b, TN_OP_scatter, (tn_value[]){all, positions, blocks}, 3, &a);
}

/* ---- shard ---------------------------------------------------------------------------------- */

/* Split on an axis that the block covers whole. */
static bool dynamic_slice_shard(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    const tn_shape *x = &tn_node_type(g, n, 0)->shape;
    const tn_shape *block = &tn_graph_type(g, n->out)->shape;
    int axis = s->out[0] = s->in[0];
    return s->in[1] == TN_PLACE_REPLICATED && (axis < 0 || x->dim[axis] == block->dim[axis]);
}

static bool dynamic_update_shard(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    const tn_shape *x = &tn_node_type(g, n, 0)->shape, *block = &tn_node_type(g, n, 1)->shape;
    int axis = s->out[0] = s->in[0];
    return s->in[2] == TN_PLACE_REPLICATED && s->in[1] == axis &&
           (axis < 0 || x->dim[axis] == block->dim[axis]);
}

const tn_op_rules tn_rules_dynamic_slice = {
    .infer = dynamic_slice_infer,
    .eval = dynamic_slice_eval,
    .cost = tn_cost_move,
    .lower = {.kind = TN_LOWER_EXPRESSION, .expression = dynamic_slice_expression, .view = true},
    .vjp = TN_RULE(dynamic_slice_vjp),
    .batch = TN_RULE(dynamic_slice_batch),
    .shard = TN_RULE(dynamic_slice_shard),
};

const tn_op_rules tn_rules_dynamic_update = {
    .infer = dynamic_update_infer,
    .eval = dynamic_update_eval,
    .cost = tn_cost_move,
    .lower = TN_LOWER_BY(dynamic_update_expression),
    .vjp = TN_RULE(dynamic_update_vjp),
    .batch = TN_RULE(dynamic_update_batch),
    .shard = TN_RULE(dynamic_update_shard),
};
