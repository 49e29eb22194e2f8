/* Finding products and where they belong. See workload_graph.h. */
#include "explore/workload_graph.h"

#include "transform/match.h"

enum { NOWHERE = -1, MIXED = -2, OUTSIDE = -3 }; /* of tn_layer_product.only while it is found */

static const tn_node_info *node(const tn_layers *l, tn_node n) {
    return tn_graph_node(l->g, n);
}

static tn_node node_of(const tn_layers *l, tn_value v) {
    return tn_graph_value(l->g, v)->node;
}

/* ---- weights -------------------------------------------------------------------------------- */

static void find_weights(tn_layers *l, uint32_t first_weight) {
    const tn_graph *g = l->g;
    l->weights = TN_NEW_N(l->arena, bool, g->values.len);
    for (uint32_t i = first_weight; i < g->inputs.len; i++) l->weights[g->inputs.data[i]] = true;
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *info = node(l, n);
        bool all = info->op != TN_OP_input;
        for (uint32_t o = 0; o < info->in_count; o++) all &= l->weights[info->in[o]];
        for (uint32_t o = 0; all && o < info->out_count; o++) l->weights[info->out + o] = true;
    }
}

/* Rows of a stack of matrices that something computed selects: the stack, or TN_NO_VALUE. */
static tn_value selected_from(const tn_layers *l, tn_value v) {
    for (;;) {
        const tn_node_info *n = node(l, node_of(l, v));
        bool selects = n->op == TN_OP_gather || n->op == TN_OP_dynamic_slice;
        if (selects && l->weights[n->in[0]] && tn_node_type(l->g, n, 0)->shape.rank >= 3)
            return n->in[0];
        bool view = n->op == TN_OP_reshape || n->op == TN_OP_permute || n->op == TN_OP_cast ||
                    n->op == TN_OP_slice || n->op == TN_OP_broadcast || selects;
        if (!view) return TN_NO_VALUE;
        v = n->in[0];
    }
}

/* ---- products ------------------------------------------------------------------------------- */

static int64_t extent(const tn_shape *s, const tn_ints *axes) {
    int64_t product = 1;
    for (int i = 0; i < axes->count; i++) {
        tn_dim d = s->dim[axes->at[i]];
        if (!tn_dim_is_const(d) || d <= 0 || d > INT32_MAX || product > INT32_MAX) return 0;
        product *= d;
    }
    return product;
}

/* Rows, columns and count of the matrices that operand `side` of a dot is. */
static void measure(const tn_layers *l, const tn_node_info *n, uint32_t side,
                    tn_layer_product *out) {
    const tn_attrs_dot *a = n->attrs;
    const tn_ints *batch = side ? &a->rhs_batch : &a->lhs_batch;
    const tn_ints *contract = side ? &a->rhs_contract : &a->lhs_contract;
    const tn_shape *s = &tn_node_type(l->g, n, side)->shape;
    tn_ints rest = {0};
    for (int i = 0; i < s->rank; i++)
        if (!tn__ints_have(batch, i) && !tn__ints_have(contract, i)) rest.at[rest.count++] = i;
    out->k = extent(s, contract);
    out->n = extent(s, &rest);
    out->experts = extent(s, batch);
    if (out->experts == 1) out->experts = 0;
}

static bool describe_dot(const tn_layers *l, const tn_node_info *n, tn_layer_product *out) {
    for (uint32_t side = 0; side < 2; side++) {
        if (!l->weights[n->in[side]] || l->weights[n->in[1 - side]]) continue;
        measure(l, n, side, out);
        out->operand = n->in[1 - side];
        return out->n && out->k > 1; /* an outer product is a broadcast */
    }
    for (uint32_t side = 0; side < 2; side++) {
        tn_value stack = selected_from(l, n->in[side]);
        if (stack == TN_NO_VALUE || l->weights[n->in[1 - side]]) continue;
        measure(l, n, side, out);
        const tn_shape *s = &tn_graph_type(l->g, stack)->shape;
        out->experts = tn_dim_is_const(s->dim[0]) ? s->dim[0] : 0;
        out->operand = n->in[1 - side];
        return out->n && out->k > 1;
    }
    return false;
}

static bool describe_ragged(const tn_layers *l, const tn_node_info *n, tn_layer_product *out) {
    const tn_shape *s = &tn_node_type(l->g, n, 1)->shape;
    if (((const tn_attrs_ragged_dot *)n->attrs)->rows || !l->weights[n->in[1]]) return false;
    for (int i = 0; i < 3; i++)
        if (!tn_dim_is_const(s->dim[i]) || s->dim[i] > INT32_MAX) return false;
    out->experts = s->dim[0];
    out->k = s->dim[1];
    out->n = s->dim[2];
    out->operand = n->in[0];
    return true;
}

static void add_product(tn_layers *l, tn_node n, tn_layer_product p) {
    p.node = n;
    l->product_of[n] = l->products.len;
    tn_vec_push(l->arena, &l->products, p);
}

static bool describe_attention(const tn_layers *l, tn_node n, tn_layer_product *out) {
    for (uint32_t i = 0; i < l->attentions.len; i++) {
        const tn_found_attention *a = &l->attentions.data[i];
        if (a->scores != n && a->out != n) continue;
        bool scores = a->scores == n;
        *out = (tn_layer_product){.kind = scores ? TN_PRODUCT_SCORES : TN_PRODUCT_VALUES,
                                  .n = scores ? 0 : a->value_dim,
                                  .k = scores ? a->head_dim : 0,
                                  .next = -1,
                                  .only = -1,
                                  .layer = (int)i};
        return true;
    }
    return false;
}

static void find_products(tn_layers *l) {
    l->product_of = TN_NEW_N(l->arena, uint32_t, l->g->nodes.len);
    memset(l->product_of, 0xff, l->g->nodes.len * sizeof *l->product_of);
    for (tn_node n = 0; n < l->g->nodes.len; n++) {
        const tn_node_info *info = node(l, n);
        tn_layer_product p = {.layer = -1};
        bool found = false;
        if (info->op == TN_OP_dot)
            found = describe_attention(l, n, &p) || describe_dot(l, info, &p);
        else if (info->op == TN_OP_ragged_dot)
            found = describe_ragged(l, info, &p);
        if (found) add_product(l, n, p);
    }
}

/* ---- where they belong ---------------------------------------------------------------------- */

typedef struct reach {
    int next, only; /* of a value, as of a product */
    bool read;
} reach;

static int merge_only(int a, int b) {
    if (a == NOWHERE || a == b) return b;
    return b == NOWHERE ? a : MIXED;
}

/* What an operand of node `n` reaches by it. */
static reach through(const tn_layers *l, tn_node n, const reach *of_result) {
    uint32_t p = l->product_of[n];
    if (p == UINT32_MAX) return *of_result;
    const tn_layer_product *x = &l->products.data[p];
    if (x->kind != TN_PRODUCT_PROJECTION) return (reach){x->layer, x->layer, true};
    int only = of_result->only == NOWHERE ? OUTSIDE : of_result->only;
    return (reach){of_result->next, only, true};
}

/* From the last node back; what only becomes an output (a cache of keys) reaches nothing. */
static void find_reach(tn_layers *l) {
    const tn_graph *g = l->g;
    reach *at = TN_NEW_N(l->arena, reach, g->values.len);
    int none = (int)l->attentions.len;
    for (uint32_t v = 0; v < g->values.len; v++) at[v] = (reach){none, NOWHERE, false};
    for (tn_node n = (tn_node)g->nodes.len; n-- > 0;) {
        const tn_node_info *info = node(l, n);
        reach all = {none, NOWHERE, false};
        for (uint32_t o = 0; o < info->out_count; o++) {
            const reach *r = &at[info->out + o];
            all = (reach){TN_MIN(all.next, r->next), merge_only(all.only, r->only),
                          all.read || r->read};
        }
        uint32_t p = l->product_of[n];
        if (p != UINT32_MAX && l->products.data[p].kind == TN_PRODUCT_PROJECTION) {
            tn_layer_product *x = &l->products.data[p];
            x->next = all.next;
            x->only = all.only >= 0 ? all.only : -1;
            x->read = all.read;
        }
        all = through(l, n, &all);
        for (uint32_t o = 0; o < info->in_count; o++) {
            reach *r = &at[info->in[o]];
            *r = (reach){TN_MIN(r->next, all.next), merge_only(r->only, all.only),
                         r->read || all.read};
        }
    }
}

static void place_products(tn_layers *l) {
    for (uint32_t i = 0; i < l->products.len; i++) {
        tn_layer_product *p = &l->products.data[i];
        if (p->kind == TN_PRODUCT_PROJECTION) p->layer = p->only >= 0 ? p->only : p->next - 1;
    }
    /* One projection of an attention and the feed-forward part beside it: both read a slice of it. */
    for (uint32_t i = 0; i < l->attentions.len; i++) {
        const tn_found_attention *a = &l->attentions.data[i];
        const tn_node_info *scores = node(l, a->scores);
        for (uint32_t o = 0; o < 2; o++) {
            tn_product_list list = {0};
            tn__layers_sources(l, scores->in[o], -1, 0, &list);
            if (list.len != 1) continue;
            tn_layer_product *p = &l->products.data[list.data[0]];
            if (p->only < 0 && tn__layers_share(l, list.data[0], scores->in[o]) < 0.999)
                p->layer = (int)i;
        }
    }
}

void tn__layers_find(const tn_graph *g, uint32_t first_weight, tn_layers *out) {
    *out = (tn_layers){.g = g, .arena = g->arena};
    out->stamp = TN_NEW_N(g->arena, uint32_t, g->nodes.len);
    find_weights(out, first_weight);
    tn_structure_attentions(g, out->weights, &out->attentions);
    find_products(out);
    find_reach(out);
    place_products(out);
}

/* ---- walks ---------------------------------------------------------------------------------- */

void tn__layers_sources(tn_layers *l, tn_value v, int layer, tn_node from, tn_product_list *out) {
    TN_VEC(tn_node) queue = {0};
    uint32_t mark = ++l->search;
    tn_vec_push(l->arena, &queue, node_of(l, v));
    for (uint32_t i = 0; i < queue.len; i++) {
        tn_node n = queue.data[i];
        if (l->stamp[n] == mark || n < from) continue;
        l->stamp[n] = mark;
        uint32_t p = l->product_of[n];
        if (p != UINT32_MAX) {
            if (layer < 0 || l->products.data[p].layer == layer) tn_vec_push(l->arena, out, p);
            continue;
        }
        const tn_node_info *info = node(l, n);
        for (uint32_t o = 0; o < info->in_count; o++)
            if (!l->weights[info->in[o]]) tn_vec_push(l->arena, &queue, node_of(l, info->in[o]));
    }
}

/* The share of operand 0 that a node keeps, by the sizes that are known. */
static double kept(const tn_layers *l, const tn_node_info *n) {
    const tn_shape *in = &tn_node_type(l->g, n, 0)->shape;
    const tn_shape *out = &tn_graph_type(l->g, n->out)->shape;
    double share = 1;
    if (n->op == TN_OP_slice || n->op == TN_OP_dynamic_slice) {
        for (int i = 0; i < in->rank; i++)
            if (tn_dim_is_const(in->dim[i]) && tn_dim_is_const(out->dim[i]) && in->dim[i] > 0)
                share *= (double)out->dim[i] / (double)in->dim[i];
    } else if (n->op == TN_OP_gather && l->weights[n->in[1]]) {
        const tn_attrs_gather *a = n->attrs;
        int64_t all = extent(in, &a->axes);
        const tn_shape *index = &tn_node_type(l->g, n, 1)->shape;
        tn_ints axes = {.count = index->rank - 1};
        for (int i = 0; i < axes.count; i++) axes.at[i] = i;
        int64_t some = extent(index, &axes);
        if (all && some) share = TN_MIN(1.0, (double)some / (double)all);
    }
    return share;
}

double tn__layers_share(tn_layers *l, uint32_t p, tn_value v) {
    tn_node first = l->products.data[p].node, last = node_of(l, v);
    if (last < first) return 0;
    double *share = TN_NEW_N(l->arena, double, last - first + 1);
    share[0] = 1;
    for (tn_node n = first + 1; n <= last; n++) {
        const tn_node_info *info = node(l, n);
        if (l->product_of[n] != UINT32_MAX) continue;
        double most = 0, sum = 0;
        for (uint32_t o = 0; o < info->in_count; o++) {
            tn_node from = node_of(l, info->in[o]);
            double x = from < first || from > n ? 0 : share[from - first];
            most = TN_MAX(most, x);
            sum += x;
        }
        share[n - first] = info->op == TN_OP_concat ? TN_MIN(sum, 1)
                           : most > 0               ? most * kept(l, info)
                                                    : 0;
    }
    return share[last - first];
}

int64_t tn__layers_choices(tn_layers *l, uint32_t p) {
    tn_node first = l->products.data[p].node;
    bool *reached = TN_NEW_N(l->arena, bool, l->g->nodes.len - first);
    int64_t choices = 0;
    reached[0] = true;
    for (tn_node n = first + 1; n < l->g->nodes.len; n++) {
        const tn_node_info *info = node(l, n);
        if (l->product_of[n] != UINT32_MAX) continue;
        bool any = false, all = info->in_count > 0;
        for (uint32_t o = 0; o < info->in_count; o++) {
            tn_node from = node_of(l, info->in[o]);
            bool r = from >= first && reached[from - first];
            any |= r;
            all &= r || l->weights[info->in[o]];
        }
        reached[n - first] = any && all;
        if (any && all && info->op == TN_OP_top_k) {
            tn_dim k = ((const tn_attrs_top_k *)info->attrs)->k;
            if (tn_dim_is_const(k)) choices = k;
        }
    }
    return choices;
}
