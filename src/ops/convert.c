/* select, cast, bitcast: choosing and converting elements. */
#include "ops/ops_common.h"

static tn_status eval_each(tn_eval_call *e, tn_cell (*of)(const tn_eval_call *e, int64_t i)) {
    int64_t count = tn_array_count(&e->out[0]);
    for (int64_t i = 0; i < count; i++) tn_array_set(&e->out[0], i, of(e, i));
    return TN_OK;
}

/* ---- select: y[i] = flag[i] ? a[i] : b[i] --------------------------------------------------- */

static tn_status infer_select(tn_infer *i, tn_error *err) {
    TN_CHECK(tn_infer_dtype(i, 0, TN_bool, err));
    TN_CHECK(tn_infer_same_type(i, 2, 1, err));
    TN_CHECK(tn_infer_same_shape(i, 0, 1, err));
    i->out[0] = *i->in[1];
    return TN_OK;
}

static tn_status eval_select(tn_eval_call *e, tn_error *err) {
    int64_t count = tn_array_count(&e->out[0]);
    (void)err;
    for (int64_t i = 0; i < count; i++) {
        const tn_array *from = tn_array_get(&e->in[0], i).u ? &e->in[1] : &e->in[2];
        tn_array_copy_element(&e->out[0], i, from, i);
    }
    return TN_OK;
}

static tn_lx lower_select(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index) {
    (void)result;
    tn_lx flag = e->operand(e, n, 0, index), x = e->operand(e, n, 1, index);
    return tn_l_select(e->k, flag, x, e->operand(e, n, 2, index));
}

static void vjp_select(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                       const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    tn_value d = cotangents[0];
    tn_vjp_none(b, g, n, in, out, cotangents, grads);
    if (d == TN_NO_VALUE) return;
    tn_value zero = tn_b_full_like(b, d, 0);
    grads[1] = tn_b_select(b, in[0], d, zero);
    grads[2] = tn_b_select(b, in[0], zero, d);
}

/* Both sides may be partial sums where the flag is replicated. */
static bool shard_select(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    bool partial = s->in[1] == TN_PLACE_PARTIAL && s->in[2] == TN_PLACE_PARTIAL &&
                   s->in[0] == TN_PLACE_REPLICATED;
    if (!partial) return tn_shard_elementwise(g, n, s);
    s->out[0] = TN_PLACE_PARTIAL;
    return true;
}

const tn_op_rules tn_rules_select = {
    .infer = infer_select,
    .eval = eval_select,
    .cost = tn_cost_elementwise,
    .lower = TN_LOWER_BY(lower_select),
    .vjp = TN_RULE(vjp_select),
    .batch = TN_RULE(tn_batch_elementwise),
    .shard = TN_RULE(shard_select),
};

/* ---- cast ----------------------------------------------------------------------------------- */

static tn_status infer_cast(tn_infer *i, tn_error *err) {
    const tn_attrs_cast *a = i->attrs;
    TN_CHECK(tn_infer_attr_dtype(i, "dtype", a->dtype, err));
    tn_infer_out(i, 0, a->dtype, i->in[0]->shape);
    return TN_OK;
}

static tn_cell cast_element(const tn_eval_call *e, int64_t i) {
    const tn_attrs_cast *a = e->node->attrs;
    tn_dtype from = e->in[0].dtype;
    tn_cell x = tn_array_get(&e->in[0], i);
    return a->saturate ? tn_cell_cast_saturate(from, a->dtype, x) : tn_cell_cast(from, a->dtype, x);
}

static tn_status eval_cast(tn_eval_call *e, tn_error *err) {
    (void)err;
    return eval_each(e, cast_element);
}

static tn_lx lower_cast(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index) {
    const tn_attrs_cast *a = n->attrs;
    (void)result;
    return tn_l_cast(e->k, e->operand(e, n, 0, index), a->dtype, a->saturate);
}

/* Between float types the derivative is 1; saturation counts as rounding. */
static void vjp_cast(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                     const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    const tn_attrs_cast *a = n->attrs;
    tn_dtype from = tn_b_type(b, in[0]).dtype;
    (void)g, (void)out;
    grads[0] = TN_NO_VALUE;
    if (cotangents[0] == TN_NO_VALUE || !tn_dtype_is_float(from) || !tn_dtype_is_float(a->dtype))
        return;
    grads[0] = tn_b_cast(b, cotangents[0], from);
}

const tn_op_rules tn_rules_cast = {
    .infer = infer_cast,
    .eval = eval_cast,
    .cost = tn_cost_elementwise,
    .lower = TN_LOWER_BY(lower_cast),
    .vjp = TN_RULE(vjp_cast),
    .batch = TN_RULE(tn_batch_elementwise),
    .shard = TN_RULE(tn_shard_elementwise),
};

/* ---- bitcast -------------------------------------------------------------------------------- */

static tn_status infer_bitcast(tn_infer *i, tn_error *err) {
    const tn_attrs_bitcast *a = i->attrs;
    tn_dtype from = i->in[0]->dtype;
    TN_CHECK(tn_infer_attr_dtype(i, "dtype", a->dtype, err));
    if (tn_dtype_bits(from) != tn_dtype_bits(a->dtype))
        return tn_infer_refuse(i, 0, err, "its elements have %d bits, those of %s have %d",
                               tn_dtype_bits(from), tn_dtype_name(a->dtype),
                               tn_dtype_bits(a->dtype));
    tn_infer_out(i, 0, a->dtype, i->in[0]->shape);
    return TN_OK;
}

/* The bits of one element in memory. Narrow integers are sign extended there, other narrow types
 * are not, so the store goes through the integer type. */
static tn_cell bitcast_element(const tn_eval_call *e, int64_t i) {
    const tn_array *x = &e->in[0];
    size_t size = tn_dtype_size(x->dtype);
    uint64_t bits = 0;
    memcpy(&bits, (const char *)x->data + (size_t)i * size, size);
    return tn_cell_load(e->out[0].dtype, &bits);
}

static tn_status eval_bitcast(tn_eval_call *e, tn_error *err) {
    (void)err;
    if (tn_dtype_bits(e->out[0].dtype) < 8) return eval_each(e, bitcast_element);
    memcpy(e->out[0].data, e->in[0].data, tn_array_bytes(&e->in[0])); /* NaN payloads stay */
    return TN_OK;
}

static tn_lx lower_bitcast(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index) {
    const tn_attrs_bitcast *a = n->attrs;
    (void)result;
    return tn_l_bitcast(e->k, e->operand(e, n, 0, index), a->dtype);
}

static void vjp_bitcast(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                        const tn_value *out, const tn_value *cotangents, tn_value *grads) {
    tn_vjp_none(b, g, n, in, out, cotangents, grads);
    if (cotangents[0] != TN_NO_VALUE && tn_dtype_is_float(tn_b_type(b, in[0]).dtype))
        tn_b_fail(b, TN_UNSUPPORTED, "bitcast of a float has no derivative; use cast");
}

const tn_op_rules tn_rules_bitcast = {
    .infer = infer_bitcast,
    .eval = eval_bitcast,
    .cost = tn_cost_elementwise,
    .lower = TN_LOWER_BY(lower_bitcast),
    .vjp = TN_RULE(vjp_bitcast),
    .batch = TN_RULE(tn_batch_elementwise),
    .shard = TN_RULE(tn_shard_elementwise),
};
