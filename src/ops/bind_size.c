/* bind_size: a size that is known once a value is. Run by the executor; see docs/design.md, "Sizes that
 * depend on data". */
#include "ops/ops_common.h"

static tn_status infer(tn_infer *i, tn_error *err) {
    const tn_attrs_bind_size *a = i->attrs;
    tn_dims *t = i->graph->dims;
    uint32_t symbol;
    TN_CHECK(tn_infer_scalar(i, 0, err));
    TN_CHECK(tn_infer_dtype(i, 0, TN_i64, err));
    if (!tn_dim_is_symbol(t, a->size, &symbol))
        return tn_infer_refuse_attr(i, err, "size is %s; expected a symbol",
                                    tn_dim_text(t, a->size).at);
    if (tn_dim_lo(t, a->bound) < 0 || tn_dim_uses_symbol(t, a->bound, symbol))
        return tn_infer_refuse_attr(i, err, "bound is %s; expected a size known before",
                                    tn_dim_text(t, a->bound).at);
    tn_infer_out(i, 0, TN_i64, (tn_shape){0});
    return TN_OK;
}

/* Whoever evaluates a graph takes the binding from the result. */
static tn_status eval(tn_eval_call *e, tn_error *err) {
    const tn_attrs_bind_size *a = e->node->attrs;
    int64_t n = tn_array_get(&e->in[0], 0).i, least = TN_MAX(0, tn_dim_lo(e->graph->dims, a->size));
    int64_t most = tn_dim_eval(e->graph->dims, a->bound, e->bindings);
    tn_array_set(&e->out[0], 0, (tn_cell){.i = n});
    if (n >= least && n <= most) return TN_OK;
    return tn_error_set(err, TN_RUNTIME, "size %s is %lld, but must be in [%lld, %lld]",
                        tn_dim_text(e->graph->dims, a->size).at, (long long)n, (long long)least,
                        (long long)most);
}

const tn_op_rules tn_rules_bind_size = {
    .infer = infer,
    .eval = eval,
    .cost = tn_cost_nothing,
    .lower = {.kind = TN_LOWER_CONTROL},
    .vjp = TN_RULE(tn_vjp_none),
    .batch = TN_REFUSE("members may have sizes of their own"),
    .shard = TN_REFUSE("ranks may have sizes of their own"),
};
