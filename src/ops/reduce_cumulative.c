/* cumulative: running sum, product, maximum or minimum along one axis.
 *
 * y[j] combines x[i] for i <= j (i < j when `exclusive`; then y[0] is the identity: 0, 1, the least
 * or greatest value); `reverse` runs from the other end. Kernels (cumulative_lower.c) hold floats
 * narrower than f32 in f32 while they run; the reference runs in f64. */
#include "ops/cumulative.h"

static tn_status infer_cumulative(tn_infer *i, tn_error *err) {
    const tn_attrs_cumulative *a = i->attrs;
    if ((unsigned)a->kind > TN_REDUCE_min)
        return tn_infer_refuse_attr(i, err, "kind is none of sum, prod, max, min");
    if (!tn_scalar_accepts(tn_reduce_op(a->kind), i->in[0]->dtype))
        return tn_infer_refuse(i, 0, err, "expected %s", tn_scalar_domain(tn_reduce_op(a->kind)));
    TN_CHECK(tn_infer_axis(i, "axis", a->axis, i->in[0]->shape.rank, err));
    return tn_infer_identity(i, err);
}

/* ---- eval ----------------------------------------------------------------------------------- */

/* One run of `size` elements, `stride` apart, from `first`. */
static void eval_run(const tn_eval_call *e, int64_t first, int64_t stride, int64_t size) {
    const tn_attrs_cumulative *a = e->node->attrs;
    const tn_array *x = &e->in[0];
    tn_dtype work = tn_dtype_is_float(x->dtype) ? TN_f64 : x->dtype;
    tn_cell running = tn_reduce_identity(a->kind, work);
    for (int64_t i = 0; i < size; i++) {
        int64_t at = first + (a->reverse ? size - 1 - i : i) * stride;
        tn_cell value = tn_cell_cast(x->dtype, work, tn_array_get(x, at));
        tn_cell next = tn_scalar_apply(tn_reduce_op(a->kind), work, running, value, value);
        tn_array_set(&e->out[0], at, tn_cell_cast(work, x->dtype, a->exclusive ? running : next));
        running = next;
    }
}

static tn_status eval_cumulative(tn_eval_call *e, tn_error *err) {
    const tn_attrs_cumulative *a = e->node->attrs;
    const tn_array *x = &e->in[0];
    int64_t size = x->dim[a->axis], outer = 1, stride = 1;
    (void)err;
    for (int k = 0; k < a->axis; k++) outer *= x->dim[k];
    for (int k = (int)a->axis + 1; k < x->rank; k++) stride *= x->dim[k];
    for (int64_t i = 0; i < outer; i++)
        for (int64_t k = 0; k < stride; k++) eval_run(e, i * size * stride + k, stride, size);
    return TN_OK;
}

/* ---- vjp ------------------------------------------------------------------------------------ */

static tn_value run(tn_builder *b, tn_reduce_kind kind, tn_value x, int64_t axis, bool exclusive,
                    bool reverse) {
    tn_attrs_cumulative a = {
        .kind = kind, .axis = axis, .exclusive = exclusive, .reverse = reverse};
    return tn_b_node(b, TN_OP_cumulative, &x, 1, &a);
}

/* The sum of v over all results that an element takes part in. */
static tn_value sum_back(tn_builder *b, const tn_attrs_cumulative *a, tn_value v) {
    return run(b, TN_REDUCE_sum, v, a->axis, a->exclusive, !a->reverse);
}

static tn_value flipped(tn_builder *b, tn_value v, int64_t axis) {
    tn_dim size = tn_b_dim(b, v, (int)axis);
    return tn_b_slice_axis(b, v, (int)axis, tn_dim_sub(b->graph->dims, size, 1), size, -1);
}

/* v[i + by] along the axis, 0 behind the end. */
static tn_value ahead(tn_builder *b, tn_value v, int64_t axis, int64_t by) {
    int rank = tn_b_rank(b, v);
    tn_attrs_pad a = {.lo.count = rank, .hi.count = rank, .interior.count = rank};
    a.lo.at[axis] = tn_dim_const(b->graph->dims, -by);
    a.hi.at[axis] = tn_dim_const(b->graph->dims, by);
    tn_value in[] = {v, tn_b_scalar(b, tn_b_type(b, v).dtype, 0)};
    return tn_b_node(b, TN_OP_pad, in, 2, &a);
}

/* For a forward run: dx[i] = Π x[<i] · s[i] with s[i] = d[i] + x[i+1]·s[i+1], by doubling (Hillis,
 * Steele: Data parallel algorithms, CACM 1986): after a step s[i] holds twice as many terms. No
 * division, so zeros need no cases and any derivative of it is right. */
static tn_value doubled_cotangent(tn_builder *b, const tn_attrs_cumulative *a, tn_value x,
                                  tn_value d, int64_t size) {
    tn_value factor = ahead(b, x, a->axis, 1);
    tn_value sum = a->exclusive ? ahead(b, d, a->axis, 1) : d;
    for (int64_t span = 1; span < size; span *= 2) {
        sum = tn_b_add(b, sum, tn_b_mul(b, factor, ahead(b, sum, a->axis, span)));
        if (2 * span < size) factor = tn_b_mul(b, factor, ahead(b, factor, a->axis, span));
    }
    return tn_b_mul(b, run(b, TN_REDUCE_prod, x, a->axis, true, false), sum);
}

/* Where the size is open: dx[i] = Σ d[j]·y[j] / x[i]. At the first 0 of a run the quotient is replaced by the sum over
 * products that leave this 0 out; every product beyond holds it, so later 0s get nothing. The derivative of this formula is not that
 * of the gradient where a run has two 0s. */
static tn_value divided_cotangent(tn_builder *b, const tn_attrs_cumulative *a, tn_value x,
                                  tn_value y, tn_value d) {
    tn_value none = tn_b_full_like(b, x, 0), one = tn_b_full_like(b, x, 1);
    tn_value zero = tn_b_eq(b, x, none);
    tn_value seen = run(b, TN_REDUCE_sum, tn_b_cast(b, zero, TN_i64), a->axis, false, a->reverse);
    tn_value first = tn_b_and(b, zero, tn_b_eq(b, seen, tn_b_scalar_int(b, TN_i64, 1)));
    tn_value without =
        run(b, TN_REDUCE_prod, tn_b_select(b, first, one, x), a->axis, a->exclusive, a->reverse);
    tn_value sum = sum_back(b, a, tn_b_mul(b, d, y));
    tn_value quotient = tn_b_div(b, sum, tn_b_select(b, zero, one, x));
    tn_value at_zero = tn_b_select(b, first, sum_back(b, a, tn_b_mul(b, d, without)), none);
    return tn_b_select(b, zero, at_zero, quotient);
}

static tn_value product_cotangent(tn_builder *b, const tn_attrs_cumulative *a, tn_value x,
                                  tn_value y, tn_value d) {
    int64_t size = 0;
    if (!tn_dim_const_value(b->graph->dims, tn_b_dim(b, x, (int)a->axis), &size))
        return divided_cotangent(b, a, x, y, d);
    if (size == 0) return d;
    if (!a->reverse) return doubled_cotangent(b, a, x, d, size);
    x = flipped(b, x, a->axis);
    d = flipped(b, d, a->axis);
    return flipped(b, doubled_cotangent(b, a, x, d, size), a->axis);
}

/* For a forward run, the position of the element that each result is: the latest one that is as
 * extreme as all before it (as PyTorch does); below 0 where an exclusive run has seen nothing. */
static tn_value record_positions(tn_builder *b, const tn_attrs_cumulative *a, tn_value x) {
    tn_value before = run(b, a->kind, x, a->axis, true, false);
    bool max = a->kind == TN_REDUCE_max;
    tn_value reaches = max ? tn_b_ge(b, x, before) : tn_b_le(b, x, before);
    tn_shape shape = tn_b_type(b, x).shape;
    tn_value at = tn_b_iota(b, TN_i64, &shape, (int)a->axis);
    tn_value first = tn_b_eq(b, at, tn_b_scalar_int(b, TN_i64, 0));
    tn_value record = tn_b_or(b, tn_b_or(b, first, tn_b_is_nan(b, x)), reaches);
    tn_value mark = tn_b_select(b, record, at, tn_b_scalar_int(b, TN_i64, -1));
    return run(b, TN_REDUCE_max, mark, a->axis, a->exclusive, false);
}

/* Each result's cotangent is added to the element that it is. */
static tn_value extreme_cotangent(tn_builder *b, const tn_attrs_cumulative *a, tn_value x,
                                  tn_value d) {
    int rank = tn_b_rank(b, x), last = rank - 1;
    if (a->reverse) {
        x = flipped(b, x, a->axis);
        d = flipped(b, d, a->axis);
    }
    tn_value position = tn_b_swap(b, record_positions(b, a, x), (int)a->axis, last);
    d = tn_b_swap(b, d, (int)a->axis, last);
    tn_attrs_scatter add = {.batch = last,
                            .axes = {.count = 1, .at = {last}},
                            .mode = TN_INDEX_fill,
                            .combine = TN_COMBINE_add};
    tn_value zeros = tn_b_full_like(b, d, 0);
    tn_value in[] = {zeros, tn_b_unsqueeze(b, position, -1), d};
    tn_value sum = tn_b_swap(b, tn_b_node(b, TN_OP_scatter, in, 3, &add), (int)a->axis, last);
    return a->reverse ? flipped(b, sum, a->axis) : sum;
}

static void vjp_cumulative(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                           const tn_value *in, const tn_value *out, const tn_value *cotangents,
                           tn_value *grads) {
    const tn_attrs_cumulative *a = n->attrs;
    tn_value d = cotangents[0];
    (void)g;
    grads[0] = TN_NO_VALUE;
    if (d == TN_NO_VALUE || !tn_b_ok(b)) return;
    if (a->kind == TN_REDUCE_sum)
        grads[0] = sum_back(b, a, d);
    else if (a->kind == TN_REDUCE_prod)
        grads[0] = product_cotangent(b, a, in[0], out[0], d);
    else
        grads[0] = extreme_cotangent(b, a, in[0], d);
}

/* ---- batch, shard --------------------------------------------------------------------------- */

static void batch_cumulative(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                             const tn_batching *how, const tn_value *in, const bool *batched,
                             tn_value *out) {
    tn_attrs_cumulative a = *(const tn_attrs_cumulative *)n->attrs;
    (void)g;
    a.axis++;
    tn_value x = tn_batch_operand(b, in[0], batched[0], how->size);
    tn_batch_node(b, n, &x, &a, out);
}

/* Running sums are linear; the axis itself must stay whole. */
static bool shard_cumulative(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    const tn_attrs_cumulative *a = n->attrs;
    (void)g;
    s->out[0] = s->in[0];
    if (s->in[0] == TN_PLACE_PARTIAL) return a->kind == TN_REDUCE_sum;
    return s->in[0] != a->axis;
}

const tn_op_rules tn_rules_cumulative = {
    .infer = infer_cumulative,
    .eval = eval_cumulative,
    .cost = tn_cost_elementwise,
    .lower = {.kind = TN_LOWER_NEST, .nest = &tn__cumulative_nest},
    .vjp = TN_RULE(vjp_cumulative),
    .batch = TN_RULE(batch_cumulative),
    .shard = TN_RULE(shard_cumulative),
};
