/* Finding attentions and what surrounds them. See structure.h. */
#include "transform/structure.h"

#include "transform/match.h"

enum { MOST_HEADS = 1 << 16 };

#define NO_NODE TN_NO_NODE

typedef struct finder {
    const tn_graph *g;
    const char *data; /* the input that is no weight; NULL: none is one */
    tn_arena *arena;
    uint32_t *first_use, *next_use, *use_node; /* lists of users, by value */
    uint32_t *stamp;                           /* per node: the search that saw it last */
    uint32_t search;
    const tn_node_info *goal; /* of is_goal */
    const bool *weights;      /* of each value; NULL: by `data` */
    tn_found_attentions found;
} finder;

static const tn_node_info *node(const finder *f, tn_node n) {
    return tn_graph_node(f->g, n);
}

static tn_node node_of(const finder *f, tn_value v) {
    return tn_graph_value(f->g, v)->node;
}

static bool is_one_of(tn_op op, const tn_op *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (list[i] == op) return true;
    return false;
}

/* Operations that only move elements. */
static bool is_view(tn_op op) {
    static const tn_op list[] = {TN_OP_reshape, TN_OP_permute, TN_OP_broadcast, TN_OP_barrier,
                                 TN_OP_slice,   TN_OP_concat,  TN_OP_pad};
    return is_one_of(op, list, TN_COUNT(list));
}

/* What may lie between a projection and the product that uses it: views, scaling, rotary
 * embedding, norms' multiplication, masks. Not sin, cos, rsqrt: those make factors, not values. */
static bool carries_value(tn_op op) {
    static const tn_op list[] = {TN_OP_add,    TN_OP_sub,  TN_OP_mul,    TN_OP_div,
                                 TN_OP_neg,    TN_OP_max,  TN_OP_min,    TN_OP_cast,
                                 TN_OP_select, TN_OP_tanh, TN_OP_gather, TN_OP_dynamic_update};
    return is_view(op) || is_one_of(op, list, TN_COUNT(list));
}

/* ---- dots ----------------------------------------------------------------------------------- */

static bool is_weight(const finder *f, tn_value v) {
    if (f->weights) return f->weights[v];
    if (tn__is_constant(f->g, v)) return true;
    const tn_node_info *n = node(f, node_of(f, v));
    while (f->data && n->in_count == 1 && (is_view(n->op) || n->op == TN_OP_cast))
        n = node(f, node_of(f, n->in[0]));
    return f->data && n->op == TN_OP_input &&
           strcmp(tn_graph_value(f->g, n->out)->name, f->data) != 0;
}

static bool is_weighted(const finder *f, const tn_node_info *n) {
    return is_weight(f, n->in[0]) != is_weight(f, n->in[1]);
}

/* Both operands are computed. */
static bool is_product(const finder *f, const tn_node_info *n) {
    return n->op == TN_OP_dot && !is_weight(f, n->in[0]) && !is_weight(f, n->in[1]);
}

static bool is_projection(const finder *f, const tn_node_info *n) {
    return n->op == TN_OP_dot && is_weighted(f, n);
}

static int64_t sizes(const tn_shape *s, const tn_ints *axes) {
    int64_t product = 1;
    for (int i = 0; i < axes->count; i++) {
        tn_dim d = s->dim[axes->at[i]];
        if (!tn_dim_is_const(d) || d > INT32_MAX || product > INT32_MAX) return 0;
        product *= d;
    }
    return product;
}

/* The elements that a dot contracts over; 0: not a constant. */
static int64_t inner_size(const finder *f, const tn_node_info *n) {
    const tn_attrs_dot *a = n->attrs;
    return sizes(tn__shape_of(f->g, n->in[0]), &a->lhs_contract);
}

/* Sizes of the free axes of an operand. */
static int64_t free_size(const finder *f, const tn_node_info *n, int operand) {
    const tn_attrs_dot *a = n->attrs;
    const tn_ints *batch = operand ? &a->rhs_batch : &a->lhs_batch;
    const tn_ints *contract = operand ? &a->rhs_contract : &a->lhs_contract;
    const tn_shape *s = tn__shape_of(f->g, n->in[operand]);
    tn_ints rest = {0};
    for (int i = 0; i < s->rank; i++)
        if (!tn__ints_have(batch, i) && !tn__ints_have(contract, i)) rest.at[rest.count++] = i;
    return sizes(s, &rest);
}

/* The columns of a projection's weight. */
static int64_t width(const finder *f, const tn_node_info *n) {
    return free_size(f, n, is_weight(f, n->in[0]) ? 0 : 1);
}

static tn_value projected(const finder *f, tn_node n) {
    const tn_node_info *info = node(f, n);
    return info->in[is_weight(f, info->in[0]) ? 1 : 0];
}

/* ---- walks ---------------------------------------------------------------------------------- */

typedef bool wanted_fn(const finder *f, const tn_node_info *n);

static bool is_goal(const finder *f, const tn_node_info *n) {
    return n == f->goal;
}

/* The nearest wanted node that `v` is computed from through operations that carry values, breadth
 * first. */
static tn_node search_back(finder *f, tn_value v, wanted_fn *wanted) {
    TN_VEC(tn_node) queue = {0};
    uint32_t mark = ++f->search;
    tn_vec_push(f->arena, &queue, node_of(f, v));
    for (uint32_t i = 0; i < queue.len; i++) {
        tn_node n = queue.data[i];
        const tn_node_info *info = node(f, n);
        if (f->stamp[n] == mark) continue;
        f->stamp[n] = mark;
        if (wanted(f, info)) return n;
        if (!carries_value(info->op)) continue;
        uint32_t first = info->op == TN_OP_select ? 1 : 0; /* the flag carries nothing */
        for (uint32_t o = first; o < info->in_count; o++)
            tn_vec_push(f->arena, &queue, node_of(f, info->in[o]));
    }
    return NO_NODE;
}

/* The nearest wanted node that reads `v` through operations that carry values. */
static tn_node search_on(finder *f, tn_value v, wanted_fn *wanted) {
    TN_VEC(tn_value) queue = {0};
    uint32_t mark = ++f->search;
    tn_vec_push(f->arena, &queue, v);
    for (uint32_t i = 0; i < queue.len; i++)
        for (uint32_t u = f->first_use[queue.data[i]]; u != UINT32_MAX; u = f->next_use[u]) {
            tn_node n = f->use_node[u];
            if (f->stamp[n] == mark) continue;
            f->stamp[n] = mark;
            if (wanted(f, node(f, n))) return n;
            if (carries_value(node(f, n)->op)) tn_vec_push(f->arena, &queue, node(f, n)->out);
        }
    return NO_NODE;
}

static void list_uses(finder *f) {
    const tn_graph *g = f->g;
    uint32_t uses = 0;
    for (tn_node n = 0; n < g->nodes.len; n++) uses += node(f, n)->in_count;
    f->first_use = TN_NEW_N(f->arena, uint32_t, g->values.len);
    memset(f->first_use, 0xff, g->values.len * sizeof *f->first_use);
    f->next_use = TN_NEW_N(f->arena, uint32_t, uses);
    f->use_node = TN_NEW_N(f->arena, uint32_t, uses);
    f->stamp = TN_NEW_N(f->arena, uint32_t, g->nodes.len);
    for (tn_node n = (tn_node)g->nodes.len; n-- > 0;) /* the lists are in node order */
        for (uint32_t o = 0; o < node(f, n)->in_count; o++) {
            tn_value v = node(f, n)->in[o];
            f->use_node[--uses] = n;
            f->next_use[uses] = f->first_use[v];
            f->first_use[v] = uses;
        }
}

/* ---- softmax -------------------------------------------------------------------------------- */

/* `v` behind views that keep all elements where they are relative to each other. */
static tn_value through_views(const finder *f, tn_value v) {
    const tn_node_info *n = tn_graph_producer(f->g, v);
    while (n->op == TN_OP_broadcast || n->op == TN_OP_reshape || n->op == TN_OP_permute ||
           n->op == TN_OP_cast || n->op == TN_OP_barrier) {
        v = n->in[0];
        n = tn_graph_producer(f->g, v);
    }
    return v;
}

/* Whether `v` is the sum of exponentials `e`. */
static bool is_sum_of(const finder *f, tn_value v, tn_value e) {
    const tn_node_info *n = tn_graph_producer(f->g, through_views(f, v));
    if (n->op != TN_OP_reduce || ((const tn_attrs_reduce *)n->attrs)->kind != TN_REDUCE_sum)
        return false;
    return through_views(f, n->in[0]) == e;
}

/* e / sum(e) or e · (1 / sum(e)) with e = exp(…): the argument of exp, or TN_NO_VALUE. */
static tn_value softmax_argument(const finder *f, const tn_node_info *n) {
    if (n->op != TN_OP_div && n->op != TN_OP_mul) return TN_NO_VALUE;
    for (uint32_t o = 0; o < (n->op == TN_OP_div ? 1u : 2u); o++) {
        tn_value e = through_views(f, n->in[o]), other = n->in[1 - o];
        const tn_node_info *exp = tn_graph_producer(f->g, e);
        if (exp->op != TN_OP_exp) continue;
        if (n->op == TN_OP_mul) {
            const tn_node_info *inverse = tn_graph_producer(f->g, through_views(f, other));
            if (inverse->op != TN_OP_div) continue;
            other = inverse->in[1];
        }
        if (is_sum_of(f, other, e)) return exp->in[0];
    }
    return TN_NO_VALUE;
}

/* ---- attentions ----------------------------------------------------------------------------- */

static void add_attention(finder *f, const tn_node_info *softmax, tn_value argument) {
    tn_found_attention a = {.scores = search_back(f, argument, is_product)};
    if (a.scores == NO_NODE) return;
    a.out = search_on(f, softmax->out, is_product);
    if (a.out == NO_NODE || a.out == a.scores) return;
    for (uint32_t i = 0; i < f->found.len; i++)
        if (f->found.data[i].out == a.out) return;
    const tn_node_info *scores = node(f, a.scores), *out = node(f, a.out);
    a.q = search_back(f, scores->in[0], is_projection);
    a.k = search_back(f, scores->in[1], is_projection);
    a.projection = search_on(f, out->out, is_projection);
    a.head_dim = inner_size(f, scores);
    f->goal = softmax;
    a.values = search_back(f, out->in[0], is_goal) != NO_NODE ? 1 : 0;
    a.value_dim = free_size(f, out, a.values);
    if (a.value_dim == 0 || a.value_dim > MOST_HEADS) a.value_dim = a.head_dim;
    a.self = a.q == NO_NODE || a.k == NO_NODE || projected(f, a.q) == projected(f, a.k);
    tn_vec_push(f->arena, &f->found, a);
}

/* Heads by the projection that reads them all, else by the batch axes of the scores. */
static int64_t count_heads(const finder *f, const tn_found_attention *a) {
    if (a->projection != NO_NODE && a->value_dim > 0) {
        int64_t inner = inner_size(f, node(f, a->projection));
        if (inner > 0 && inner % a->value_dim == 0) return inner / a->value_dim;
    }
    const tn_node_info *scores = node(f, a->scores);
    const tn_attrs_dot *at = scores->attrs;
    const tn_shape *s = tn__shape_of(f->g, scores->in[0]);
    for (int i = at->lhs_batch.count - 1; i >= 0; i--) {
        tn_dim d = s->dim[at->lhs_batch.at[i]];
        if (tn_dim_is_const(d)) return d;
    }
    return 0;
}

/* One projection may make queries, keys and values, or keys and values, side by side. */
static int64_t count_kv_heads(const finder *f, const tn_found_attention *a, int64_t heads) {
    if (a->k == NO_NODE || a->head_dim <= 0) return heads;
    int64_t columns = width(f, node(f, a->k)), all = columns / a->head_dim;
    if (columns <= 0 || columns % a->head_dim) return heads;
    if (a->q == a->k && all > heads) return (all - heads) / 2;
    if (a->q != a->k && all == 2 * heads) return heads; /* keys and values together */
    return all <= heads ? all : heads;
}

/* ---- what surrounds them -------------------------------------------------------------------- */

static bool is_out_projection(const finder *f, tn_node n) {
    for (uint32_t i = 0; i < f->found.len; i++)
        if (f->found.data[i].projection == n) return true;
    return false;
}

/* A feed-forward part ends with a projection back to the model's width. */
static int64_t find_ffn(const finder *f, int64_t d_model) {
    int64_t ffn = 0;
    for (tn_node n = f->found.data[0].out + 1; n < f->g->nodes.len; n++) {
        if (!is_projection(f, node(f, n)) || is_out_projection(f, n)) continue;
        if (width(f, node(f, n)) == d_model) ffn = TN_MAX(ffn, inner_size(f, node(f, n)));
    }
    return ffn;
}

/* A table of rows of the model's width that integers computed from an input select from. */
static int64_t find_table(const finder *f, int64_t d_model, bool any_width) {
    int64_t rows = 0;
    for (tn_node n = 0; n < f->g->nodes.len; n++) {
        const tn_node_info *info = node(f, n);
        if (info->op != TN_OP_gather || !is_weight(f, info->in[0])) continue;
        const tn_type *table = tn_graph_type(f->g, info->in[0]);
        const tn_attrs_gather *a = info->attrs;
        if (table->shape.rank != 2 || !tn_dtype_is_float(table->dtype) || a->axes.count != 1 ||
            a->axes.at[0] != 0 || is_weight(f, info->in[1]))
            continue;
        if (!any_width && table->shape.dim[1] != d_model) continue;
        rows = TN_MAX(rows, table->shape.dim[0]);
    }
    return rows;
}

/* The width of a projection that makes an output with a row for each position. */
static int64_t find_last_projection(finder *f, int64_t d_model) {
    for (uint32_t i = 0; i < f->g->outputs.len; i++) {
        tn_value v = f->g->outputs.data[i].value;
        if (tn__shape_of(f->g, v)->rank < 3) continue;
        tn_node n = search_back(f, v, is_projection);
        if (n == NO_NODE || is_out_projection(f, n)) continue;
        if (inner_size(f, node(f, n)) == d_model && width(f, node(f, n)) > d_model)
            return width(f, node(f, n));
    }
    return 0;
}

static int64_t count_layers(const finder *f) {
    int64_t self = 0;
    for (uint32_t i = 0; i < f->found.len; i++) self += f->found.data[i].self;
    return self ? self : f->found.len;
}

static void find_attentions(finder *f) {
    list_uses(f);
    for (tn_node n = 0; n < f->g->nodes.len; n++) {
        tn_value argument = softmax_argument(f, node(f, n));
        if (argument != TN_NO_VALUE) add_attention(f, node(f, n), argument);
    }
}

void tn_structure_attentions(const tn_graph *g, const bool *weights, tn_found_attentions *out) {
    finder f = {.g = g, .arena = g->arena, .weights = weights};
    find_attentions(&f);
    *out = f.found;
}

bool tn_structure_find(const tn_graph *g, const char *data, tn_structure *out) {
    finder f = {.g = g, .data = data, .arena = g->arena};
    *out = (tn_structure){0};
    find_attentions(&f);
    if (f.found.len == 0) return false;
    const tn_found_attention *a = &f.found.data[0];
    out->layers = count_layers(&f);
    out->head_dim = a->head_dim;
    out->heads = count_heads(&f, a);
    out->kv_heads = count_kv_heads(&f, a, out->heads);
    out->d_model =
        a->projection != NO_NODE ? width(&f, node(&f, a->projection)) : out->heads * out->head_dim;
    out->ffn = find_ffn(&f, out->d_model);
    out->vocab = find_table(&f, out->d_model, false);
    if (!out->vocab) out->vocab = find_table(&f, out->d_model, true);
    if (!out->vocab) out->vocab = find_last_projection(&f, out->d_model);
    return true;
}
