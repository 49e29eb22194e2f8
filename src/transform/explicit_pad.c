/* conv(x, w) with padding → conv(pad(x), w) without. See explicit_pad.h. */
#include "transform/explicit_pad.h"

#include "transform/match.h"

/* Base dilation inserts its zeros between the elements of x and would see the padding's too. */
static bool rewrite_conv(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_attrs_conv *a = n->attrs;
    const tn_type x = *tn_node_type(r->g, n, 0);
    tn_attrs_pad pad = {
        .lo.count = x.shape.rank, .hi.count = x.shape.rank, .interior.count = x.shape.rank};
    bool any = false;
    if (tn__is_depthwise(r->g, n)) return false;
    for (int i = 0; i < a->stride.count; i++) {
        if (a->base_dilation.at[i] != 1) return false;
        int axis = (int)a->batch + 1 + i;
        pad.lo.at[axis] = tn_dim_const(r->g->dims, a->pad_lo.at[i]);
        pad.hi.at[axis] = tn_dim_const(r->g->dims, a->pad_hi.at[i]);
        any |= a->pad_lo.at[i] != 0 || a->pad_hi.at[i] != 0;
    }
    if (!any) return false;
    tn_value operands[2] = {n->in[0], tn_b_scalar(&r->b, x.dtype, 0)};
    tn_attrs_conv plain = *a;
    memset(plain.pad_lo.at, 0, sizeof plain.pad_lo.at);
    memset(plain.pad_hi.at, 0, sizeof plain.pad_hi.at);
    tn_value in[2] = {tn_b_node(&r->b, TN_OP_pad, operands, 2, &pad), n->in[1]};
    out[0] = tn_b_node(&r->b, TN_OP_conv, in, 2, &plain);
    return tn_b_ok(&r->b);
}

static const tn_rewrite rows[] = {{"conv padding", TN_OP_conv, rewrite_conv, false}};
static const tn_rewrite_table table = {rows, TN_COUNT(rows)};

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err) {
    return tn__rewrite(in, out, &table, 1, 2, run, options, err);
}

const tn_pass tn_pass_explicit_pad = {"explicit_pad", run};
