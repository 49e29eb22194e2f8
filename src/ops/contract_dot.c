/* dot: result[b…, m…, n…] = sum over k… of lhs(b, m, k) * rhs(b, k, n), each element converted to
 * the accumulator type first.
 *
 * m are the axes of lhs that are neither batch nor contracting, n those of rhs, in their order; k
 * is in the order of lhs_contract. */
#include "ops/parts.h"

/* ---- the roles of axes ---------------------------------------------------------------------- */

typedef struct dot_axes {
    const tn_attrs_dot *attrs;
    tn_ints lhs_free, rhs_free;
} dot_axes;

static tn_ints free_axes(int rank, const tn_ints *batch, const tn_ints *contract) {
    tn_ints out = {0};
    for (int i = 0; i < rank; i++)
        if (!tn_ints_have(batch, i) && !tn_ints_have(contract, i)) tn_ints_push(&out, i);
    return out;
}

static dot_axes dot_axes_of(const tn_attrs_dot *a, int lhs_rank, int rhs_rank) {
    return (dot_axes){a, free_axes(lhs_rank, &a->lhs_batch, &a->lhs_contract),
                      free_axes(rhs_rank, &a->rhs_batch, &a->rhs_contract)};
}

static dot_axes dot_axes_of_node(const tn_graph *g, const tn_node_info *n) {
    return dot_axes_of(n->attrs, tn_node_type(g, n, 0)->shape.rank,
                       tn_node_type(g, n, 1)->shape.rank);
}

/* ---- infer ---------------------------------------------------------------------------------- */

static tn_status dot_check_pairs(const tn_infer *i, tn_error *err, const char *role,
                                 const tn_ints *lhs, const tn_ints *rhs) {
    if (lhs->count != rhs->count)
        return tn_infer_refuse_attr(i, err, "%d %s axes of lhs but %d of rhs; expected pairs",
                                    lhs->count, role, rhs->count);
    for (int p = 0; p < lhs->count; p++) {
        tn_dim l = i->in[0]->shape.dim[lhs->at[p]], r = i->in[1]->shape.dim[rhs->at[p]];
        if (l == r) continue;
        return tn_infer_refuse(i, 1, err,
                               "expected size %s on %s axis %lld, as axis %lld of "
                               "lhs %s",
                               tn_dim_text(i->graph->dims, l).at, role, (long long)rhs->at[p],
                               (long long)lhs->at[p], tn_type_text(i->graph->dims, i->in[0]).at);
    }
    return TN_OK;
}

static tn_status dot_check_axes(const tn_infer *i, uint32_t operand, const tn_ints *batch,
                                const tn_ints *contract, tn_error *err) {
    const char *side = operand == 0 ? "lhs" : "rhs";
    int rank = i->in[operand]->shape.rank;
    TN_CHECK(tn_infer_axes(i, operand == 0 ? "lhs_batch" : "rhs_batch", batch, rank, err));
    TN_CHECK(tn_infer_axes(i, operand == 0 ? "lhs_contract" : "rhs_contract", contract, rank, err));
    for (int p = 0; p < batch->count; p++)
        if (tn_ints_have(contract, batch->at[p]))
            return tn_infer_refuse_attr(i, err, "axis %lld is both in %s_batch and %s_contract",
                                        (long long)batch->at[p], side, side);
    return TN_OK;
}

static tn_status dot_infer(tn_infer *i, tn_error *err) {
    const tn_attrs_dot *a = i->attrs;
    TN_CHECK(tn_infer_accumulator(i, 0, a->acc, err));
    TN_CHECK(tn_infer_accumulator(i, 1, a->acc, err));
    TN_CHECK(dot_check_axes(i, 0, &a->lhs_batch, &a->lhs_contract, err));
    TN_CHECK(dot_check_axes(i, 1, &a->rhs_batch, &a->rhs_contract, err));
    TN_CHECK(dot_check_pairs(i, err, "batch", &a->lhs_batch, &a->rhs_batch));
    TN_CHECK(dot_check_pairs(i, err, "contracting", &a->lhs_contract, &a->rhs_contract));
    dot_axes x = dot_axes_of(a, i->in[0]->shape.rank, i->in[1]->shape.rank);
    int rank = a->lhs_batch.count + x.lhs_free.count + x.rhs_free.count;
    if (rank > TN_MAX_RANK)
        return tn_error_set(err, TN_UNSUPPORTED,
                            "the result would have %d axes; at most %d are "
                            "possible",
                            rank, TN_MAX_RANK);
    tn_type *out = &i->out[0];
    *out = (tn_type){.dtype = a->acc};
    tn_shape *s = &out->shape;
    const tn_dim *lhs = i->in[0]->shape.dim, *rhs = i->in[1]->shape.dim;
    for (int p = 0; p < a->lhs_batch.count; p++) s->dim[s->rank++] = lhs[a->lhs_batch.at[p]];
    for (int p = 0; p < x.lhs_free.count; p++) s->dim[s->rank++] = lhs[x.lhs_free.at[p]];
    for (int p = 0; p < x.rhs_free.count; p++) s->dim[s->rank++] = rhs[x.rhs_free.at[p]];
    return TN_OK;
}

/* ---- eval, cost ----------------------------------------------------------------------------- */

/* Floats are summed in double, integers wrap. */
static tn_cell sum_of_products(tn_dtype acc, const tn_cell *x, const int64_t *x_at,
                               const tn_cell *y, const int64_t *y_at, int64_t count) {
    tn_cell sum = {0};
    if (tn_dtype_is_float(acc))
        for (int64_t k = 0; k < count; k++) sum.f += x[x_at[k]].f * y[y_at[k]].f;
    else
        for (int64_t k = 0; k < count; k++) sum.u += x[x_at[k]].u * y[y_at[k]].u;
    return tn_cell_round(acc, sum);
}

static tn_status dot_eval(tn_eval_call *e, tn_error *err) {
    (void)err;
    const tn_attrs_dot *a = e->node->attrs;
    const tn_array *l = &e->in[0], *r = &e->in[1];
    dot_axes x = dot_axes_of(a, l->rank, r->rank);
    const tn_cell *lhs = tn_eval_cells(e, 0, a->acc), *rhs = tn_eval_cells(e, 1, a->acc);
    int64_t batches, rows, columns, depth;
    const int64_t *lb = tn_eval_offsets(e->arena, l, &a->lhs_batch, &batches);
    const int64_t *rb = tn_eval_offsets(e->arena, r, &a->rhs_batch, &batches);
    const int64_t *lm = tn_eval_offsets(e->arena, l, &x.lhs_free, &rows);
    const int64_t *rn = tn_eval_offsets(e->arena, r, &x.rhs_free, &columns);
    const int64_t *lk = tn_eval_offsets(e->arena, l, &a->lhs_contract, &depth);
    const int64_t *rk = tn_eval_offsets(e->arena, r, &a->rhs_contract, &depth);
    int64_t at = 0;
    for (int64_t b = 0; b < batches; b++)
        for (int64_t m = 0; m < rows; m++)
            for (int64_t n = 0; n < columns; n++)
                tn_array_set(&e->out[0], at++,
                             sum_of_products(a->acc, lhs + lb[b] + lm[m], lk, rhs + rb[b] + rn[n],
                                             rk, depth));
    return TN_OK;
}

static void dot_cost(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                     tn_cost *out) {
    const tn_attrs_dot *a = n->attrs;
    const tn_shape *lhs = &tn_node_type(g, n, 0)->shape;
    double depth = 1;
    for (int p = 0; p < a->lhs_contract.count; p++)
        depth *= (double)tn_dim_eval(g->dims, lhs->dim[a->lhs_contract.at[p]], bindings);
    tn_cost_per_element(g, n, bindings, 2 * depth, out);
}

/* ---- lower ---------------------------------------------------------------------------------- */

static int extents(const tn_shape *s, const tn_ints *axes, tn_dim *out) {
    for (int p = 0; p < axes->count; p++) out[p] = s->dim[axes->at[p]];
    return axes->count;
}

static void dot_describe(const tn_graph *g, const tn_node_info *n, tn_contraction *out) {
    dot_axes x = dot_axes_of_node(g, n);
    const tn_shape *lhs = &tn_node_type(g, n, 0)->shape, *rhs = &tn_node_type(g, n, 1)->shape;
    *out = (tn_contraction){.acc = x.attrs->acc};
    out->b = extents(lhs, &x.attrs->lhs_batch, out->b_extent);
    out->m = extents(lhs, &x.lhs_free, out->m_extent);
    out->n = extents(rhs, &x.rhs_free, out->n_extent);
    out->k = extents(lhs, &x.attrs->lhs_contract, out->k_extent);
}

static void place(const tn_ints *axes, const tn_lx *from, tn_lx *index) {
    for (int p = 0; p < axes->count; p++) index[axes->at[p]] = from[p];
}

static void dot_lhs(tn_emit *e, const tn_node_info *n, const tn_lx *b, const tn_lx *m,
                    const tn_lx *k, tn_lx *index, tn_lx *guard) {
    dot_axes x = dot_axes_of_node(e->graph, n);
    place(&x.attrs->lhs_batch, b, index);
    place(&x.lhs_free, m, index);
    place(&x.attrs->lhs_contract, k, index);
    *guard = TN_LX_NONE;
}

static void dot_rhs(tn_emit *e, const tn_node_info *n, const tn_lx *b, const tn_lx *k,
                    const tn_lx *x, tn_lx *index, tn_lx *guard) {
    dot_axes axes = dot_axes_of_node(e->graph, n);
    place(&axes.attrs->rhs_batch, b, index);
    place(&axes.rhs_free, x, index);
    place(&axes.attrs->rhs_contract, k, index);
    *guard = TN_LX_NONE;
}

static const tn_contraction_rules dot_contraction = {dot_describe, dot_lhs, dot_rhs};

static void dot_fold_describe(const tn_graph *g, const tn_node_info *n, tn_fold *out) {
    tn_contraction c;
    dot_describe(g, n, &c);
    tn_contraction_fold(&c, out);
}

static void dot_step(tn_emit *e, const tn_node_info *n, const tn_lx *index, const tn_lx *at,
                     const tn_lx *acc, tn_lx *next) {
    tn_contraction_step(e, n, &dot_contraction, index, at, acc, next);
}

static const tn_fold_rules dot_fold = {dot_fold_describe, dot_step, tn_fold_add, tn_fold_first};

/* ---- vjp ------------------------------------------------------------------------------------ */

/* The gradient of one side: the product of the cotangent (over the other side's free axes) and the other
 * operand. Its result has the axes batch, then free ones of the first factor, then of the second; the
 * factor whose axes come first in `own` is the first, so that mostly nothing is left to permute. */
static tn_value dot_grad(tn_builder *b, tn_value cotangent, tn_value other, const tn_type *own,
                         const dot_axes *x, bool of_lhs) {
    const tn_attrs_dot *a = x->attrs;
    const tn_ints *own_batch = of_lhs ? &a->lhs_batch : &a->rhs_batch;
    const tn_ints *own_free = of_lhs ? &x->lhs_free : &x->rhs_free;
    const tn_ints *own_contract = of_lhs ? &a->lhs_contract : &a->rhs_contract;
    const tn_ints *other_free = of_lhs ? &x->rhs_free : &x->lhs_free;
    const tn_ints *other_contract = of_lhs ? &a->rhs_contract : &a->lhs_contract;
    int batch = own_batch->count, other_at = of_lhs ? batch + own_free->count : batch, first = 0;
    tn_ints range = tn_ints_range(0, batch),
            free = tn_ints_range(other_at, other_at + other_free->count);
    while (tn_ints_find(own_batch, first) >= 0) first++;
    bool turned = tn_ints_find(own_contract, first) >= 0;
    const tn_ints *other_batch = of_lhs ? &a->rhs_batch : &a->lhs_batch;
    tn_attrs_dot d = {.acc = a->acc,
                      .lhs_batch = turned ? *other_batch : range,
                      .rhs_batch = turned ? range : *other_batch,
                      .lhs_contract = turned ? *other_free : free,
                      .rhs_contract = turned ? free : *other_free};
    tn_value in[] = {turned ? other : cotangent, turned ? cotangent : other};
    tn_value y = tn_b_node(b, TN_OP_dot, in, 2, &d);
    int perm[TN_MAX_RANK], at = turned ? batch + own_contract->count : batch;
    for (int p = 0; p < batch; p++) perm[own_batch->at[p]] = p;
    for (int p = 0; p < own_free->count; p++) perm[own_free->at[p]] = at++;
    if (turned) at = batch;
    for (int axis = 0; axis < tn_b_rank(b, other); axis++) { /* ascending in the other operand */
        int pair = tn_ints_find(other_contract, axis);
        if (pair >= 0) perm[own_contract->at[pair]] = at++;
    }
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    return tn_b_cast(b, tn_b_permute(b, y, perm), own->dtype);
}

static void dot_vjp(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                    const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    (void)out;
    if (cotangents[0] == TN_NO_VALUE || !tn_dtype_is_float(tn_node_type(g, n, 0)->dtype)) return;
    dot_axes x = dot_axes_of_node(g, n);
    grads[0] = dot_grad(b, cotangents[0], in[1], tn_node_type(g, n, 0), &x, true);
    grads[1] = dot_grad(b, cotangents[0], in[0], tn_node_type(g, n, 1), &x, false);
}

/* ---- batch ---------------------------------------------------------------------------------- */

/* Carried by both operands the new axis is one more batch axis; carried by one it is one more free
 * axis, which the result then holds in front of that operand's other free axes. */
static void dot_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                      const tn_batching *how, const tn_value *in, const bool *batched,
                      tn_value *out) {
    (void)how;
    tn_attrs_dot a = *(const tn_attrs_dot *)n->attrs;
    dot_axes x = dot_axes_of_node(g, n);
    int at = 0;
    if (!batched[0])
        at = a.lhs_batch.count + x.lhs_free.count;
    else if (!batched[1])
        at = a.lhs_batch.count;
    if (batched[0]) {
        a.lhs_batch = tn_ints_shifted(&a.lhs_batch, 1);
        a.lhs_contract = tn_ints_shifted(&a.lhs_contract, 1);
    }
    if (batched[1]) {
        a.rhs_batch = tn_ints_shifted(&a.rhs_batch, 1);
        a.rhs_contract = tn_ints_shifted(&a.rhs_contract, 1);
    }
    if (batched[0] && batched[1]) {
        tn_ints_push(&a.lhs_batch, 0);
        tn_ints_push(&a.rhs_batch, 0);
        at = a.lhs_batch.count - 1;
    }
    out[0] = tn_b_move(b, tn_b_node(b, TN_OP_dot, in, 2, &a), at, 0);
}

/* ---- shard ---------------------------------------------------------------------------------- */

/* Split alike on a batch axis or on one side's free axis the result is split there; split alike on
 * a contracting axis it is a partial sum. A partial operand stays partial, the product is linear.
 */
static bool dot_shard(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    dot_axes x = dot_axes_of_node(g, n);
    int l = s->in[0], r = s->in[1], batch = x.attrs->lhs_batch.count;
    if (l < 0 && r < 0) {
        s->out[0] = l == TN_PLACE_REPLICATED ? r : l;
        return l == TN_PLACE_REPLICATED || r == TN_PLACE_REPLICATED;
    }
    if (l >= 0 && r >= 0) {
        int pair = tn_ints_find(&x.attrs->lhs_batch, l);
        s->out[0] = pair;
        if (pair >= 0) return x.attrs->rhs_batch.at[pair] == r;
        s->out[0] = TN_PLACE_PARTIAL;
        pair = tn_ints_find(&x.attrs->lhs_contract, l);
        return pair >= 0 && x.attrs->rhs_contract.at[pair] == r;
    }
    int free = l >= 0 ? tn_ints_find(&x.lhs_free, l) : tn_ints_find(&x.rhs_free, r);
    s->out[0] = batch + (l >= 0 ? 0 : x.lhs_free.count) + free;
    return free >= 0 && (l >= 0 ? r : l) == TN_PLACE_REPLICATED;
}

const tn_op_rules tn_rules_dot = {
    .infer = dot_infer,
    .eval = dot_eval,
    .cost = dot_cost,
    .lower = {.kind = TN_LOWER_CONTRACTION, .fold = &dot_fold, .contraction = &dot_contraction},
    .vjp = TN_RULE(dot_vjp),
    .batch = TN_RULE(dot_batch),
    .shard = TN_RULE(dot_shard),
};
