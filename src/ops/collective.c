/* Collectives over one axis of the mesh with `ranks` members.
 *
 * With one member each is the identity, and so is collective_wait on what was not started on other
 * ranks. With more they need a communicator, which kernels do not have: the plan runs them; in a
 * kernel they give zeros and report the node's error. */
#include "ops/gradient.h"
#include "ops/parts.h"

/* ---- infer ---------------------------------------------------------------------------------- */

static tn_status check_ranks(const tn_infer *i, int64_t ranks, int64_t mesh_axis, tn_error *err) {
    if (ranks < 1 || mesh_axis < 0)
        return tn_infer_refuse_attr(i, err,
                                    "mesh axis %lld with %lld ranks; expected an axis >= 0 "
                                    "with at least one rank",
                                    (long long)mesh_axis, (long long)ranks);
    return TN_OK;
}

/* Divides axis `axis` of the result by the number of ranks. */
static tn_status split_axis(const tn_infer *i, int64_t axis, int64_t ranks, tn_type *out,
                            tn_error *err) {
    tn_dims *t = i->graph->dims;
    tn_dim *size = &out->shape.dim[axis], part;
    if (!tn_dim_divides(t, *size, ranks, &part))
        return tn_infer_refuse(i, 0, err, "axis %lld of size %s does not split among %lld ranks",
                               (long long)axis, tn_dim_text(t, *size).at, (long long)ranks);
    *size = part;
    return TN_OK;
}

static tn_status check_reduction(const tn_infer *i, tn_reduce_kind kind, tn_error *err) {
    if (kind == TN_REDUCE_argmax || kind == TN_REDUCE_argmin)
        return tn_infer_refuse_attr(i, err, "ranks cannot be combined by argmax or argmin");
    tn_scalar_op op = tn_reduce_op(kind);
    if (!tn_scalar_accepts(op, i->in[0]->dtype))
        return tn_infer_refuse(i, 0, err, "expected %s to combine", tn_scalar_domain(op));
    return TN_OK;
}

static tn_status all_reduce_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_all_reduce *a = i->attrs;
    TN_CHECK(check_ranks(i, a->ranks, a->mesh_axis, err));
    TN_CHECK(check_reduction(i, a->kind, err));
    return tn_infer_identity(i, err);
}

static tn_status all_gather_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_all_gather *a = i->attrs;
    TN_CHECK(check_ranks(i, a->ranks, a->mesh_axis, err));
    TN_CHECK(tn_infer_axis(i, "axis", a->axis, i->in[0]->shape.rank, err));
    TN_CHECK(tn_infer_identity(i, err));
    tn_dim *size = &i->out[0].shape.dim[a->axis];
    *size = tn_dim_mul(i->graph->dims, *size, a->ranks);
    return TN_OK;
}

static tn_status reduce_scatter_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_reduce_scatter *a = i->attrs;
    TN_CHECK(check_ranks(i, a->ranks, a->mesh_axis, err));
    TN_CHECK(check_reduction(i, a->kind, err));
    TN_CHECK(tn_infer_axis(i, "axis", a->axis, i->in[0]->shape.rank, err));
    TN_CHECK(tn_infer_identity(i, err));
    return split_axis(i, a->axis, a->ranks, &i->out[0], err);
}

static tn_status all_to_all_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_all_to_all *a = i->attrs;
    int rank = i->in[0]->shape.rank;
    TN_CHECK(check_ranks(i, a->ranks, a->mesh_axis, err));
    TN_CHECK(tn_infer_axis(i, "split_axis", a->split_axis, rank, err));
    TN_CHECK(tn_infer_axis(i, "concat_axis", a->concat_axis, rank, err));
    TN_CHECK(tn_infer_identity(i, err));
    TN_CHECK(split_axis(i, a->split_axis, a->ranks, &i->out[0], err));
    tn_dim *size = &i->out[0].shape.dim[a->concat_axis];
    *size = tn_dim_mul(i->graph->dims, *size, a->ranks);
    return TN_OK;
}

static tn_status collective_permute_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_collective_permute *a = i->attrs;
    TN_CHECK(check_ranks(i, a->ranks, a->mesh_axis, err));
    TN_CHECK(tn_infer_count(i, "target", a->target.count, (int)TN_MIN(a->ranks, INT32_MAX), err));
    for (int p = 0; p < a->target.count; p++) {
        int64_t to = a->target.at[p];
        if (to < -1 || to >= a->ranks)
            return tn_infer_refuse_attr(i, err, "rank %d sends to %lld; expected -1 to %lld", p,
                                        (long long)to, (long long)a->ranks - 1);
        for (int q = 0; q < p; q++)
            if (to >= 0 && a->target.at[q] == to)
                return tn_infer_refuse_attr(i, err, "ranks %d and %d both send to %lld", q, p,
                                            (long long)to);
    }
    return tn_infer_identity(i, err);
}

/* ---- eval, lower: one rank ------------------------------------------------------------------ */

static int64_t ranks_of(const tn_node_info *n) {
    switch (n->op) {
    case TN_OP_all_reduce:
        return ((const tn_attrs_all_reduce *)n->attrs)->ranks;
    case TN_OP_all_gather:
        return ((const tn_attrs_all_gather *)n->attrs)->ranks;
    case TN_OP_reduce_scatter:
        return ((const tn_attrs_reduce_scatter *)n->attrs)->ranks;
    case TN_OP_all_to_all:
        return ((const tn_attrs_all_to_all *)n->attrs)->ranks;
    case TN_OP_collective_permute:
        return ((const tn_attrs_collective_permute *)n->attrs)->ranks;
    default:
        return 1;
    }
}

/* Whether the only rank's value arrives: a permute may send it to nobody. */
static bool arrives(const tn_node_info *n) {
    if (n->op != TN_OP_collective_permute) return true;
    return ((const tn_attrs_collective_permute *)n->attrs)->target.at[0] == 0;
}

static tn_status collective_eval(tn_eval_call *e, tn_error *err) {
    int64_t ranks = ranks_of(e->node);
    if (ranks != 1)
        return tn_error_set(err, TN_UNSUPPORTED,
                            "a collective over %lld ranks cannot be evaluated on one",
                            (long long)ranks);
    if (arrives(e->node)) memcpy(e->out[0].data, e->in[0].data, tn_array_bytes(&e->out[0]));
    return TN_OK;
}

static tn_lx collective_expression(tn_emit *e, const tn_node_info *n, uint32_t result,
                                   const tn_lx *index) {
    (void)result;
    bool alone = ranks_of(n) == 1;
    if (alone && arrives(n)) return e->operand(e, n, 0, index);
    if (!alone) tn_l_error(e->k, e->error(e, n));
    return tn_l_number(e->k, tn_node_type(e->graph, n, 0)->dtype, 0);
}

/* ---- vjp, batch, shard ---------------------------------------------------------------------- */

static tn_value collective_node(tn_builder *b, tn_op op, tn_value x, const void *attrs) {
    return tn_b_node(b, op, &x, 1, attrs);
}

/* The elements of all ranks along a new first axis, combined there: the gradients of both steps are
 * known. */
static tn_value reduce_gathered(tn_builder *b, tn_reduce_kind kind, tn_value x, int64_t mesh_axis,
                                int64_t ranks) {
    tn_attrs_all_gather a = {.axis = 0, .mesh_axis = mesh_axis, .ranks = ranks};
    tn_value all = collective_node(b, TN_OP_all_gather, tn_b_unsqueeze(b, x, 0), &a);
    return tn_b_reduce(b, kind, all, (int[]){0}, 1, false);
}

/* A value that all ranks hold alike is counted once: the cotangents of the ranks are summed. */
static void all_reduce_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                           const tn_value *in, const tn_value *out, const tn_value *cotangents,
                           tn_value *grads) {
    (void)g, (void)out;
    tn_attrs_all_reduce a = *(const tn_attrs_all_reduce *)n->attrs;
    tn_value d = cotangents[0];
    a.start = false;
    if (d == TN_NO_VALUE) return;
    if (a.kind == TN_REDUCE_sum)
        grads[0] = collective_node(b, TN_OP_all_reduce, d, &a);
    else
        tn_b_gradient(b, reduce_gathered(b, a.kind, in[0], a.mesh_axis, a.ranks), d, in, 1, grads);
}

static void all_gather_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                           const tn_value *in, const tn_value *out, const tn_value *cotangents,
                           tn_value *grads) {
    (void)g, (void)in, (void)out;
    const tn_attrs_all_gather *a = n->attrs;
    tn_attrs_reduce_scatter d = {
        .kind = TN_REDUCE_sum, .axis = a->axis, .mesh_axis = a->mesh_axis, .ranks = a->ranks};
    if (cotangents[0] != TN_NO_VALUE)
        grads[0] = collective_node(b, TN_OP_reduce_scatter, cotangents[0], &d);
}

/* The same for a reduce_scatter: each rank gets its part from all ranks and combines them. */
static tn_value exchange_and_reduce(tn_builder *b, const tn_attrs_reduce_scatter *a, tn_value x) {
    int axis = (int)a->axis;
    tn_dim part = tn_dim_floordiv(b->graph->dims, tn_b_dim(b, x, axis), a->ranks);
    tn_attrs_all_to_all all = {
        .split_axis = axis, .concat_axis = axis, .mesh_axis = a->mesh_axis, .ranks = a->ranks};
    x = tn_b_regroup(b, x, axis, 1, 2, (tn_dim[]){a->ranks, part});
    x = collective_node(b, TN_OP_all_to_all, x, &all);
    return tn_b_reduce(b, a->kind, x, (int[]){axis}, 1, false);
}

static void reduce_scatter_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                               const tn_value *in, const tn_value *out, const tn_value *cotangents,
                               tn_value *grads) {
    (void)g, (void)out;
    const tn_attrs_reduce_scatter *a = n->attrs;
    tn_attrs_all_gather d = {.axis = a->axis, .mesh_axis = a->mesh_axis, .ranks = a->ranks};
    if (cotangents[0] == TN_NO_VALUE) return;
    if (a->kind == TN_REDUCE_sum)
        grads[0] = collective_node(b, TN_OP_all_gather, cotangents[0], &d);
    else
        tn_b_gradient(b, exchange_and_reduce(b, a, in[0]), cotangents[0], in, 1, grads);
}

static void all_to_all_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                           const tn_value *in, const tn_value *out, const tn_value *cotangents,
                           tn_value *grads) {
    (void)g, (void)in, (void)out;
    tn_attrs_all_to_all a = *(const tn_attrs_all_to_all *)n->attrs;
    int64_t split = a.split_axis;
    a.split_axis = a.concat_axis;
    a.concat_axis = split;
    a.start = false;
    if (cotangents[0] != TN_NO_VALUE)
        grads[0] = collective_node(b, TN_OP_all_to_all, cotangents[0], &a);
}

static void collective_permute_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                                   const tn_value *in, const tn_value *out,
                                   const tn_value *cotangents, tn_value *grads) {
    (void)g, (void)in, (void)out;
    const tn_attrs_collective_permute *a = n->attrs;
    tn_attrs_collective_permute back = {
        .target = a->target, .mesh_axis = a->mesh_axis, .ranks = a->ranks};
    for (int p = 0; p < a->target.count; p++) back.target.at[p] = -1;
    for (int p = 0; p < a->target.count; p++)
        if (a->target.at[p] >= 0) back.target.at[a->target.at[p]] = p;
    if (cotangents[0] != TN_NO_VALUE)
        grads[0] = collective_node(b, TN_OP_collective_permute, cotangents[0], &back);
}

/* The new axis is in front of the axes that the attributes name. */
static void collective_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                             const tn_batching *how, const tn_value *in, const bool *batched,
                             tn_value *out) {
    (void)g, (void)how, (void)batched;
    union {
        tn_attrs_all_reduce all_reduce;
        tn_attrs_all_gather all_gather;
        tn_attrs_reduce_scatter reduce_scatter;
        tn_attrs_all_to_all all_to_all;
        tn_attrs_collective_permute collective_permute;
        tn_attrs_collective_wait collective_wait;
    } a;
    memcpy(&a, n->attrs, tn_op_info_of(n->op)->attrs_size);
    if (n->op == TN_OP_all_gather) a.all_gather.axis++;
    if (n->op == TN_OP_reduce_scatter) a.reduce_scatter.axis++;
    if (n->op == TN_OP_all_to_all) {
        a.all_to_all.split_axis++;
        a.all_to_all.concat_axis++;
    }
    tn_batch_node(b, n, in, &a, out);
}

#define COLLECTIVE(name, infer_fn, vjp_fn)                                                         \
    const tn_op_rules tn_rules_##name = {                                                          \
        .infer = infer_fn,                                                                         \
        .eval = collective_eval,                                                                   \
        .cost = tn_cost_move,                                                                      \
        .lower = TN_LOWER_BY(collective_expression),                                               \
        .vjp = TN_RULE(vjp_fn),                                                                    \
        .batch = TN_RULE(collective_batch),                                                        \
        .shard = TN_RULE(tn_shard_replicated),                                                     \
    }

COLLECTIVE(all_reduce, all_reduce_infer, all_reduce_vjp);
COLLECTIVE(all_gather, all_gather_infer, all_gather_vjp);
COLLECTIVE(reduce_scatter, reduce_scatter_infer, reduce_scatter_vjp);
COLLECTIVE(all_to_all, all_to_all_infer, all_to_all_vjp);
COLLECTIVE(collective_permute, collective_permute_infer, collective_permute_vjp);
COLLECTIVE(collective_wait, tn_infer_identity, tn_vjp_identity);
