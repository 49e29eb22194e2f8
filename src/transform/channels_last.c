/* Operands of depthwise convolutions. See channels_last.h. */
#include "transform/channels_last.h"

#include "transform/match.h"

/* x of the convolution, [batch…, channels, N, …], is permute(permute(y)), the first with the channels last. Of a single
 * image no permute need be there: a reshape makes x. */
static bool turn_operand(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    int channels = (int)((const tn_attrs_conv *)n->attrs)->batch - 1;
    if (!tn__is_depthwise(r->g, n) || tn__planes_of(r->g, n) != TN__PLANES_NONE ||
        tn__is_innermost(r->g, n->in[0], channels))
        return false;
    const tn_node_info *inner = tn__made_by(r->g, n->in[0], TN_OP_permute);
    tn_value y = inner ? inner->in[0] : n->in[0];
    if (inner && tn__made_by(r->g, y, TN_OP_permute)) return false;
    tn_ints perm = {.count = tn__shape_of(r->g, y)->rank}, last = perm;
    for (int i = 0; i < perm.count; i++) {
        perm.at[i] = inner ? ((const tn_attrs_permute *)inner->attrs)->perm.at[i] : i;
        last.at[i] = i < channels ? i : i + 1; /* the channels behind all else */
    }
    last.at[perm.count - 1] = channels;
    tn_attrs_permute first = {.perm = tn__permute_ints(&perm, &last)};
    tn_attrs_permute second = {.perm = tn__inverse(&last)};
    tn_value turned = tn_b_node(&r->b, TN_OP_permute, &y, 1, &first);
    tn_value in[] = {tn_b_node(&r->b, TN_OP_permute, &turned, 1, &second), n->in[1]};
    out[0] = tn_b_node(&r->b, TN_OP_conv, in, 2, n->attrs);
    return tn_b_ok(&r->b);
}

static const tn_rewrite rows[] = {{"turn_operand", TN_OP_conv, turn_operand, false}};
static const tn_rewrite_table table = {rows, TN_COUNT(rows)};

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err) {
    return tn__rewrite(in, out, &table, 1, 1, run, options, err);
}

const tn_pass tn_pass_channels_last = {"channels_last", run};
