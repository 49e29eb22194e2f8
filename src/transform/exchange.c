/* Exchanging the sides of products. See exchange.h. */
#include "transform/exchange.h"

#include "transform/match.h"

/* dot(x, w), or a convolution with a window of one element: x [lead…, channels, columns…], summed over
 * its channels, w with one free axis. */
typedef struct product {
    tn_value x, w;
    int lead, columns; /* numbers of axes of x before and behind the channels */
    int w_channels;    /* axis of w (of the two that are not of the window) */
    tn_dtype acc;
} product;

static bool find_dot(const tn_graph *g, const tn_node_info *n, product *p) {
    const tn_attrs_dot *a = n->attrs;
    int x_rank = tn__shape_of(g, n->in[0])->rank, w_rank = tn__shape_of(g, n->in[1])->rank;
    if (a->lhs_batch.count || a->lhs_contract.count != 1 || w_rank != 2) return false;
    int channels = (int)a->lhs_contract.at[0];
    *p = (product){n->in[0], n->in[1], channels, x_rank - channels - 1, (int)a->rhs_contract.at[0],
                   a->acc};
    return true;
}

/* The permute only brings axis `channels` to the end. */
static bool brings_to_end(const tn_ints *perm, int channels) {
    int last = perm->count - 1;
    for (int i = 0; i < last; i++)
        if (perm->at[i] != i + (i >= channels)) return false;
    return perm->at[last] == channels;
}

static bool find_conv(const tn_graph *g, const tn_node_info *n, product *p) {
    const tn_attrs_conv *a = n->attrs;
    const tn_node_info *inner = tn__made_by(g, n->in[0], TN_OP_permute);
    const tn_shape *w = tn__shape_of(g, n->in[1]);
    if (a->batch || !inner || !tn_ints_are(&a->pad_lo, 0) || !tn_ints_are(&a->pad_hi, 0) ||
        !tn_ints_are(&a->base_dilation, 1) || !tn_ints_are(&a->stride, 1))
        return false;
    for (int i = 0; i < w->rank - 2; i++)
        if (w->dim[i] != 1) return false;
    const tn_ints *perm = &((const tn_attrs_permute *)inner->attrs)->perm;
    int channels = (int)perm->at[perm->count - 1];
    *p = (product){inner->in[0], n->in[1], channels, perm->count - 1 - channels, 0, a->acc};
    return channels <= 1 && brings_to_end(perm, channels);
}

/* Worth it from so many columns on: fewer leave much of the last register tile unused, where the images
 * of a batch are rows one after another. */
static bool has_columns(const tn_graph *g, const product *p, tn_value result) {
    enum { LEAST_COLUMNS = 512 };
    const tn_shape *y = tn__shape_of(g, result);
    int64_t columns = 1, size;
    for (int i = 0; i < p->columns; i++)
        if (!tn_dim_const_value(g->dims, y->dim[p->lead + i], &size) ||
            __builtin_mul_overflow(columns, size, &columns))
            return false;
    return columns >= LEAST_COLUMNS;
}

/* Whether each value is in memory as it is read, in the type of the sums: narrow weights are read in
 * their stored type only as a right operand. */
static bool is_plain(const tn_graph *g, const product *p) {
    return tn_graph_type(g, p->x)->dtype == p->acc && tn_graph_type(g, p->w)->dtype == p->acc &&
           tn__is_constant(g, p->w);
}

/* ---- where the result goes ------------------------------------------------------------------ */

enum { APART, MADE_OF_IT }; /* of a value: what a walk behind a product knows about it */

/* Pointwise work on such values and on what has no layout of its own, which a permute passes. */
static bool passes_permute(const tn_graph *g, const tn_node_info *n, const uint8_t *kind) {
    if (!tn__is_elementwise(n->op)) return false;
    for (uint32_t i = 0; i < n->in_count; i++)
        if (kind[n->in[i]] == APART && !tn__is_layout_free(g, n->in[i])) return false;
    return true;
}

/* Whether all that follows from the result `v` of node `from` is pointwise work that ends in permutes
 * which bring the last axis to place `lead`. */
static bool ends_in_permutes(const tn_graph *g, tn_node from, tn_value v, int lead) {
    uint8_t *kind = TN_NEW_N(g->arena, uint8_t, g->values.len);
    kind[v] = MADE_OF_IT;
    for (tn_node k = from + 1; k < g->nodes.len; k++) {
        const tn_node_info *n = tn_graph_node(g, k);
        bool reads = false;
        for (uint32_t i = 0; i < n->in_count; i++) reads |= kind[n->in[i]] == MADE_OF_IT;
        if (!reads) continue;
        if (n->op == TN_OP_permute) {
            tn_ints back = tn__inverse(&((const tn_attrs_permute *)n->attrs)->perm);
            if (!brings_to_end(&back, lead)) return false;
        } else if (passes_permute(g, n, kind)) {
            kind[n->out] = MADE_OF_IT;
        } else {
            return false;
        }
    }
    for (uint32_t i = 0; i < g->outputs.len; i++)
        if (kind[g->outputs.data[i].value] == MADE_OF_IT) return false;
    return true;
}

/* ---- the exchange --------------------------------------------------------------------------- */

/* w [channels, O] or [O, channels] for each element of the leading axes. */
static tn_value repeated(tn_builder *b, const product *p, tn_value w, const tn_shape *result) {
    tn_shape shape = tn_b_type(b, w).shape;
    tn_shape all = {.rank = p->lead + 2};
    tn_ints axes = {.count = 2, .at = {p->lead, p->lead + 1}};
    tn_shape plain = {2, {shape.dim[shape.rank - 2], shape.dim[shape.rank - 1]}};
    memcpy(all.dim, result->dim, sizeof all.dim[0] * (size_t)p->lead);
    memcpy(all.dim + p->lead, plain.dim, 2 * sizeof plain.dim[0]);
    return tn__broadcast(b, tn_b_reshape(b, w, &plain), &all, &axes);
}

/* The leading axes as batch. */
static tn_value product_of_planes(tn_builder *b, const product *p, tn_value w, tn_value x) {
    tn_attrs_dot a = {.lhs_batch.count = p->lead,
                      .lhs_contract = {1, {p->lead + p->w_channels}},
                      .rhs_contract = {1, {p->lead}},
                      .acc = p->acc};
    for (int i = 0; i < p->lead; i++) a.lhs_batch.at[i] = i;
    a.rhs_batch = a.lhs_batch;
    return tn_b_node(b, TN_OP_dot, (tn_value[]){w, x}, 2, &a);
}

/* permute(reshape(dot(w, reshape(x)))): the columns are one axis of the product. */
static tn_value exchanged(tn_builder *b, const product *p, tn_value x, tn_value w,
                          const tn_shape *result) {
    int lead = p->lead, last = result->rank - 1;
    tn_shape flat = {.rank = lead + 2}, full = *result;
    tn_ints back = {.count = result->rank};
    tn_dim columns = 1;
    for (int i = 0; i < lead; i++) {
        flat.dim[i] = result->dim[i];
        back.at[i] = i;
    }
    for (int i = lead; i < last; i++) {
        columns = tn_dim_mul(b->graph->dims, columns, result->dim[i]);
        full.dim[i + 1] = result->dim[i];
        back.at[i] = i + 1;
    }
    flat.dim[lead] = tn_b_dim(b, x, lead);
    flat.dim[lead + 1] = columns;
    full.dim[lead] = result->dim[last];
    back.at[last] = lead;
    tn_value planes = tn_b_reshape(b, x, &flat);
    tn_value y = product_of_planes(b, p, repeated(b, p, w, result), planes);
    return tn__permuted(b, tn_b_reshape(b, y, &full), &back);
}

static bool find_product(const tn_graph *g, tn_node node, product *p) {
    const tn_node_info *n = tn_graph_node(g, node);
    bool found = n->op == TN_OP_dot    ? find_dot(g, n, p)
                 : n->op == TN_OP_conv ? find_conv(g, n, p)
                                       : false;
    return found && p->columns > 0 && has_columns(g, p, n->out) && is_plain(g, p) &&
           ends_in_permutes(g, node, n->out, p->lead);
}

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err) {
    tn_value *map = TN_NEW_N(in->arena, tn_value, in->values.len);
    for (tn_node node = 0; node < in->nodes.len; node++) {
        const tn_node_info *n = tn_graph_node(in, node);
        product p;
        if (!find_product(in, node, &p)) {
            TN_CHECK(tn__pass_copy_node(in, out, node, map, run, options, err));
            continue;
        }
        tn_builder b = tn_builder_of(out, err);
        b.name = n->name;
        map[n->out] = exchanged(&b, &p, map[p.x], map[p.w], tn__shape_of(in, n->out));
        TN_CHECK(tn_b_finish(&b));
        tn__pass_keep_name(in, n->out, out, map[n->out]);
    }
    tn__pass_copy_outputs(in, out, map);
    return TN_OK;
}

const tn_pass tn_pass_exchange = {"exchange", run};
