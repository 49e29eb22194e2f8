/* reduce: combines the elements along some axes. cumulative is in reduce_cumulative.c.
 *
 * Operands are cast to `acc`, combined there, and the result is cast back to the operand's type;
 * argmax and argmin give the i64 row-major position within the reduced axes. Ties go to the lowest
 * position, and a NaN is more extreme than any number. The reference sums floats in f64. */
#include "ops/ops_common.h"
#include "ops/parts.h"

/* A position that no element has: that of an empty fold. */

static bool is_arg(tn_reduce_kind kind) {
    return kind == TN_REDUCE_argmax || kind == TN_REDUCE_argmin;
}

/* ---- infer ---------------------------------------------------------------------------------- */

static bool same_kind(tn_dtype a, tn_dtype b) {
    return tn_dtype_is_float(a) ? tn_dtype_is_float(b)
                                : tn_dtype_is_signed(a) == tn_dtype_is_signed(b) &&
                                      tn_dtype_is_unsigned(a) == tn_dtype_is_unsigned(b);
}

static tn_status check_accumulator(const tn_infer *i, tn_error *err) {
    const tn_attrs_reduce *a = i->attrs;
    tn_dtype x = i->in[0]->dtype;
    TN_CHECK(tn_infer_attr_dtype(i, "acc", a->acc, err));
    bool wider = same_kind(x, a->acc) && tn_dtype_bits(a->acc) > tn_dtype_bits(x);
    if (a->acc != x && !wider)
        return tn_infer_refuse(
            i, 0, err,
            "acc is %s, which cannot hold its elements; expected the type itself "
            "or a wider one of its kind",
            tn_dtype_name(a->acc));
    if (a->acc == TN_f8e8m0 && a->kind == TN_REDUCE_sum)
        return tn_infer_refuse(i, 0, err, "acc f8e8m0 has no zero to start a sum from; use f32");
    return TN_OK;
}

static tn_status infer_reduce(tn_infer *i, tn_error *err) {
    const tn_attrs_reduce *a = i->attrs;
    const tn_type *x = i->in[0];
    if ((unsigned)a->kind > TN_REDUCE_argmin)
        return tn_infer_refuse_attr(i, err, "kind is %d; expected a reduction", (int)a->kind);
    if (!tn_scalar_accepts(tn_reduce_op(a->kind), x->dtype))
        return tn_infer_refuse(i, 0, err, "expected %s", tn_scalar_domain(tn_reduce_op(a->kind)));
    TN_CHECK(check_accumulator(i, err));
    TN_CHECK(tn_infer_axes(i, "axes", &a->axes, x->shape.rank, err));
    for (int k = 1; k < a->axes.count; k++)
        if (a->axes.at[k] < a->axes.at[k - 1])
            return tn_infer_refuse_attr(i, err, "axes do not ascend; sort them");
    for (int k = 0; k < a->axes.count && is_arg(a->kind); k++)
        if (x->shape.dim[a->axes.at[k]] == 0)
            return tn_infer_refuse(i, 0, err, "axis %lld has no elements, so none is extreme",
                                   (long long)a->axes.at[k]);
    tn_infer_out(i, 0, is_arg(a->kind) ? TN_i64 : x->dtype, tn_shape_without(&x->shape, &a->axes));
    return TN_OK;
}

/* ---- eval ----------------------------------------------------------------------------------- */

static bool is_nan(tn_dtype dtype, tn_cell x) {
    return tn_dtype_is_float(dtype) && tn_scalar_apply(TN_S_is_nan, dtype, x, x, x).u;
}

/* The running result of one element: value, and its position for argmax and argmin. */
typedef struct running {
    tn_cell value;
    int64_t position, seen;
} running;

static void see(running *r, tn_reduce_kind kind, tn_dtype dtype, tn_cell x) {
    int64_t position = r->seen++;
    tn_cell combined = tn_scalar_apply(tn_reduce_op(kind), dtype, is_arg(kind) ? x : r->value,
                                       is_arg(kind) ? r->value : x, x);
    if (!is_arg(kind)) {
        r->value = combined;
    } else if (position == 0 || (!is_nan(dtype, r->value) && (combined.u || is_nan(dtype, x)))) {
        r->value = x;
        r->position = position;
    }
}

/* Row-major order visits the elements of each result in the order of their positions. */
static tn_status eval_reduce(tn_eval_call *e, tn_error *err) {
    const tn_attrs_reduce *a = e->node->attrs;
    const tn_array *x = &e->in[0];
    tn_array *y = &e->out[0];
    tn_dtype work = tn_dtype_is_float(x->dtype) ? TN_f64 : a->acc;
    int64_t results = tn_array_count(y), count = tn_array_count(x), index[TN_MAX_RANK] = {0};
    running *r = TN_NEW_N(e->arena, running, results);
    (void)err;
    for (int64_t i = 0; i < results; i++) r[i].value = tn_reduce_identity(a->kind, a->acc);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = 0;
        for (int k = 0; k < x->rank; k++)
            if (!tn_ints_have(&a->axes, k)) at = at * x->dim[k] + index[k];
        see(&r[at], a->kind, work, tn_cell_cast(x->dtype, work, tn_array_get(x, i)));
        tn_index_next(index, x->rank, x->dim);
    }
    for (int64_t i = 0; i < results; i++)
        tn_array_set(y, i,
                     is_arg(a->kind) ? (tn_cell){.i = r[i].position}
                                     : tn_cell_cast(work, y->dtype, r[i].value));
    return TN_OK;
}

static void cost_reduce(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                        tn_cost *out) {
    tn_cost_traffic(g, n, bindings, out);
    out->flops = tn_cost_elements(g, &tn_node_type(g, n, 0)->shape, bindings);
}

/* ---- lower ---------------------------------------------------------------------------------- */

/* Positions take as few bits as values where they fit, so that one vector holds as many. */
static tn_dtype position_type(const tn_graph *g, const tn_node_info *n) {
    const tn_attrs_reduce *a = n->attrs;
    int64_t most = 1;
    for (int k = 0; k < a->axes.count; k++) {
        int64_t size = tn_dim_hi(g->dims, tn_node_type(g, n, 0)->shape.dim[a->axes.at[k]]);
        if (__builtin_mul_overflow(most, size, &most)) return TN_i64;
    }
    return most < INT32_MAX && tn_dtype_size(a->acc) <= 4 ? TN_i32 : TN_i64;
}

/* Greater than every position. */
static int64_t no_position(tn_dtype dtype) {
    return dtype == TN_i32 ? INT32_MAX : INT64_MAX;
}

static void describe(const tn_graph *g, const tn_node_info *n, tn_fold *out) {
    const tn_attrs_reduce *a = n->attrs;
    const tn_shape *x = &tn_node_type(g, n, 0)->shape;
    bool arg = is_arg(a->kind);
    *out = (tn_fold){.registers = arg ? 2 : 1, .simple = !arg, .op = tn_reduce_op(a->kind)};
    out->dtype[0] = a->acc;
    out->total = tn_sum_total(out->op, a->acc);
    out->init[0] = tn_reduce_identity(a->kind, a->acc);
    out->dtype[1] = position_type(g, n);
    out->init[1] = (tn_cell){.i = no_position(out->dtype[1])};
    out->axes = a->axes.count;
    for (int k = 0; k < a->axes.count; k++) out->extent[k] = x->dim[a->axes.at[k]];
}

static tn_lx both(tn_loop *k, tn_lx a, tn_lx b) {
    return tn_l_op2(k, TN_S_and, a, b);
}
static tn_lx either(tn_loop *k, tn_lx a, tn_lx b) {
    return tn_l_op2(k, TN_S_or, a, b);
}

/* The more extreme of two (value, position) pairs, whichever order they come in. */
static void emit_extreme(tn_loop *k, tn_scalar_op more, const tn_lx *a, const tn_lx *b,
                         tn_lx *out) {
    tn_lx wins = tn_l_op2(k, more, b[0], a[0]), ties = tn_l_op2(k, TN_S_eq, b[0], a[0]);
    if (tn_dtype_is_float(tn_l_type(k, a[0]))) {
        tn_lx a_nan = tn_l_op1(k, TN_S_is_nan, a[0]), b_nan = tn_l_op1(k, TN_S_is_nan, b[0]);
        wins = either(k, wins, both(k, b_nan, tn_l_op1(k, TN_S_not, a_nan)));
        ties = either(k, ties, both(k, a_nan, b_nan));
    }
    wins = either(k, wins, both(k, ties, tn_l_op2(k, TN_S_lt, b[1], a[1])));
    for (int i = 0; i < 2; i++) out[i] = tn_l_select(k, wins, b[i], a[i]);
}

/* The same where b comes later than a, as when elements are folded in, so that a tie is a's; the worst
 * value without a position stays where nothing is better. */
static void emit_later(tn_loop *k, tn_scalar_op more, const tn_lx *a, const tn_lx *b, tn_lx *out) {
    tn_lx wins = tn_l_op2(k, more, b[0], a[0]);
    if (tn_dtype_is_float(tn_l_type(k, a[0]))) {
        tn_lx within = tn_l_op2(k, more == TN_S_gt ? TN_S_le : TN_S_ge, b[0], a[0]);
        wins = tn_l_op1(k, TN_S_not, either(k, within, tn_l_op1(k, TN_S_is_nan, a[0])));
    }
    for (int i = 0; i < 2; i++) out[i] = tn_l_select(k, wins, b[i], a[i]);
}

static void combine(tn_loop *k, const tn_graph *g, const tn_node_info *n, const tn_lx *a,
                    const tn_lx *b, tn_lx *out) {
    tn_reduce_kind kind = ((const tn_attrs_reduce *)n->attrs)->kind;
    (void)g;
    if (is_arg(kind))
        emit_extreme(k, tn_reduce_op(kind), a, b, out);
    else
        out[0] = tn_l_op2(k, tn_reduce_op(kind), a[0], b[0]);
}

static void step(tn_emit *e, const tn_node_info *n, const tn_lx *index, const tn_lx *at,
                 const tn_lx *acc, tn_lx *next) {
    const tn_attrs_reduce *a = n->attrs;
    const tn_shape *x = &tn_node_type(e->graph, n, 0)->shape;
    tn_lx from[TN_MAX_RANK], seen[2];
    tn_dim extent[TN_MAX_RANK];
    for (int k = 0, kept = 0, folded = 0; k < x->rank; k++) {
        bool fold = tn_ints_have(&a->axes, k);
        if (fold) extent[folded] = x->dim[k];
        from[k] = fold ? at[folded++] : index[kept++];
    }
    seen[0] = tn_l_cast(e->k, e->operand(e, n, 0, from), a->acc, false);
    if (!is_arg(a->kind)) {
        combine(e->k, e->graph, n, acc, seen, next);
        return;
    }
    seen[1] = tn_l_cast(e->k, tn_emit_linear(e, at, extent, a->axes.count), tn_l_type(e->k, acc[1]),
                        false);
    emit_later(e->k, tn_reduce_op(a->kind), acc, seen, next);
}

static tn_lx finish(tn_emit *e, const tn_node_info *n, const tn_lx *index, const tn_lx *acc) {
    const tn_attrs_reduce *a = n->attrs;
    (void)index;
    if (!is_arg(a->kind))
        return tn_l_cast(e->k, acc[0], tn_node_type(e->graph, n, 0)->dtype, false);
    tn_lx position = tn_l_cast(e->k, acc[1], TN_i64, false);
    tn_lx none = tn_l_int(e->k, no_position(tn_l_type(e->k, acc[1])));
    return tn_l_select(e->k, tn_l_op2(e->k, TN_S_eq, position, none), tn_l_int(e->k, 0), position);
}

static const tn_fold_rules fold = {describe, step, combine, finish};

/* ---- vjp ------------------------------------------------------------------------------------ */

/* A value of the result's shape, repeated along the reduced axes. */
static tn_value spread(tn_builder *b, tn_value v, const tn_shape *shape, const tn_ints *axes) {
    tn_attrs_broadcast a = {.shape = *shape};
    for (int k = 0; k < shape->rank; k++)
        if (!tn_ints_have(axes, k)) a.axes.at[a.axes.count++] = k;
    return axes->count ? tn_b_node(b, TN_OP_broadcast, &v, 1, &a) : v;
}

static tn_value cumulative(tn_builder *b, tn_value x, int axis, bool reverse) {
    tn_attrs_cumulative a = {
        .kind = TN_REDUCE_prod, .axis = axis, .exclusive = true, .reverse = reverse};
    return tn_b_node(b, TN_OP_cumulative, &x, 1, &a);
}

/* For each element the product of all others, without dividing (an element may be 0): what comes
 * before times what comes after, along the reduced axes put last and made one. */
static tn_value product_of_others(tn_builder *b, tn_value x, const tn_ints *axes) {
    tn_shape shape = tn_b_type(b, x).shape;
    int perm[TN_MAX_RANK], inverse[TN_MAX_RANK], kept = 0;
    for (int k = 0; k < shape.rank; k++)
        if (!tn_ints_have(axes, k)) perm[kept++] = k;
    for (int k = 0; k < axes->count; k++) perm[kept + k] = (int)axes->at[k];
    for (int k = 0; k < shape.rank; k++) inverse[perm[k]] = k;
    tn_value last = tn_b_permute(b, x, perm);
    tn_shape split = tn_b_type(b, last).shape, merged = {.rank = kept + 1};
    merged.dim[kept] = 1;
    for (int k = 0; k < split.rank; k++)
        if (k < kept)
            merged.dim[k] = split.dim[k];
        else
            merged.dim[kept] = tn_dim_mul(b->graph->dims, merged.dim[kept], split.dim[k]);
    tn_value flat = tn_b_reshape(b, last, &merged);
    tn_value before = cumulative(b, flat, kept, false);
    tn_value others = tn_b_mul(b, before, cumulative(b, flat, kept, true));
    return tn_b_permute(b, tn_b_reshape(b, others, &split), inverse);
}

/* The cotangent, shared evenly by all elements that are the extreme value. */
static tn_value extreme_share(tn_builder *b, const tn_attrs_reduce *a, tn_value x, tn_value y,
                              tn_value d) {
    tn_type type = tn_b_type(b, x);
    int axes[TN_MAX_RANK];
    for (int k = 0; k < a->axes.count; k++) axes[k] = (int)a->axes.at[k];
    tn_value hit = tn_b_eq(b, x, spread(b, y, &type.shape, &a->axes));
    tn_value ones = tn_b_cast(b, hit, type.dtype);
    tn_value hits = a->axes.count ? tn_b_sum(b, ones, axes, a->axes.count, false) : ones;
    tn_value share = spread(b, tn_b_div(b, d, hits), &type.shape, &a->axes);
    return tn_b_select(b, hit, share, tn_b_full_like(b, x, 0));
}

static void vjp_reduce(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                       const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    const tn_attrs_reduce *a = n->attrs;
    tn_value d = cotangents[0], x = in[0];
    (void)g;
    grads[0] = TN_NO_VALUE;
    if (d == TN_NO_VALUE || !tn_b_ok(b)) return;
    tn_shape shape = tn_b_type(b, x).shape;
    if (a->kind == TN_REDUCE_max || a->kind == TN_REDUCE_min)
        grads[0] = extreme_share(b, a, x, out[0], d);
    if (a->kind != TN_REDUCE_sum && a->kind != TN_REDUCE_prod) return;
    grads[0] = spread(b, d, &shape, &a->axes);
    if (a->kind == TN_REDUCE_prod)
        grads[0] = tn_b_mul(b, grads[0], product_of_others(b, x, &a->axes));
}

/* ---- batch, shard --------------------------------------------------------------------------- */

static void batch_reduce(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                         const tn_batching *how, const tn_value *in, const bool *batched,
                         tn_value *out) {
    tn_attrs_reduce a = *(const tn_attrs_reduce *)n->attrs;
    (void)g;
    for (int k = 0; k < a.axes.count; k++) a.axes.at[k]++;
    tn_value x = tn_batch_operand(b, in[0], batched[0], how->size);
    tn_batch_node(b, n, &x, &a, out);
}

/* A sum along a split axis leaves partial sums. */
static bool shard_reduce(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    const tn_attrs_reduce *a = n->attrs;
    int axis = s->out[0] = s->in[0];
    (void)g;
    if (axis == TN_PLACE_REPLICATED) return true;
    if (axis == TN_PLACE_PARTIAL || tn_ints_have(&a->axes, axis)) {
        s->out[0] = TN_PLACE_PARTIAL;
        return a->kind == TN_REDUCE_sum;
    }
    for (int k = 0; k < a->axes.count; k++) s->out[0] -= a->axes.at[k] < axis;
    return true;
}

const tn_op_rules tn_rules_reduce = {
    .infer = infer_reduce,
    .eval = eval_reduce,
    .cost = cost_reduce,
    .lower = {.kind = TN_LOWER_FOLD, .fold = &fold},
    .vjp = TN_RULE(vjp_reduce),
    .batch = TN_RULE(batch_reduce),
    .shard = TN_RULE(shard_reduce),
};
