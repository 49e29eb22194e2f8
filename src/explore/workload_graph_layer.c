/* One layer's products as operators: attention first, then the feed-forward parts.
 *
 * A feed-forward part ends with a projection to the model's width ("down") that reads projections as wide as its
 * own rows ("up": one, or two whose results are multiplied). As many equal parts as a router has columns are
 * experts. What reads a finished part is behind the last layer: the table of words, a classifier. */
#include <math.h>
#include <stdio.h>

#include "explore/workload.h"
#include "explore/workload_graph.h"

typedef enum role { FREE, INPUT, OUT, UP, DOWN, ROUTER, BEHIND } role;

/* A product of the layer. One that makes several values side by side becomes several operators. */
typedef struct member {
    uint32_t product;
    role role;
    tn_product_list sources;
    uint32_t keys, values, others; /* operators: read by scores, by values, by anything else */
    int64_t rest;                  /* columns that attention does not read */
} member;

typedef struct part {
    uint32_t down, ups[4]; /* members */
    int up_count;
    bool done;
} part;

typedef struct layer {
    tn_layers *l;
    tn_workload *w;
    const tn_found_attention *attention;
    tn_node from; /* where walks back end */
    TN_VEC(member) members;
    uint32_t *member_of; /* of each product */
    TN_VEC(part) parts;
    uint32_t scores, values;
} layer;

static const tn_layer_product *product_of(const layer *y, uint32_t m) {
    return &y->l->products.data[y->members.data[m].product];
}

static tn_status add_operator(layer *y, const char *name, tn_operator o, uint32_t *mask,
                              tn_error *err) {
    tn_workload *w = y->w;
    if (w->count == TN_OPERATORS)
        return tn_error_set(err, TN_UNSUPPORTED, "more than %d operators in a layer", TN_OPERATORS);
    snprintf(o.name, sizeof o.name, "%s", name);
    *mask |= 1u << w->count;
    w->operators[w->count++] = o;
    return TN_OK;
}

static tn_operator weights_of(int64_t n, int64_t k) {
    return (tn_operator){.kind = TN_OPERATOR_WEIGHTS, .n = n, .k = k};
}

/* ---- members -------------------------------------------------------------------------------- */

static void add_sources(layer *y, member *m, tn_value v) {
    tn_product_list list = {0};
    tn__layers_sources(y->l, v, (int)(y->attention - y->l->attentions.data), y->from, &list);
    for (uint32_t i = 0; i < list.len; i++)
        tn_vec_push(y->l->arena, &m->sources, y->member_of[list.data[i]]);
}

static void find_members(layer *y, int index) {
    tn_layers *l = y->l;
    y->member_of = TN_NEW_N(l->arena, uint32_t, l->products.len);
    for (uint32_t i = 0; i < l->products.len; i++) {
        if (l->products.data[i].layer != index) continue;
        y->member_of[i] = y->members.len;
        if (l->products.data[i].kind == TN_PRODUCT_SCORES) y->scores = y->members.len;
        if (l->products.data[i].kind == TN_PRODUCT_VALUES) y->values = y->members.len;
        tn_vec_push(l->arena, &y->members, (member){.product = i});
    }
    for (uint32_t i = 0; i < y->members.len; i++) {
        const tn_node_info *n = tn_graph_node(l->g, product_of(y, i)->node);
        for (uint32_t o = 0; o < n->in_count; o++)
            if (!l->weights[n->in[o]]) add_sources(y, &y->members.data[i], n->in[o]);
    }
}

static bool reads(const layer *y, uint32_t reader, uint32_t source) {
    const member *m = &y->members.data[reader];
    for (uint32_t i = 0; i < m->sources.len; i++)
        if (m->sources.data[i] == source) return true;
    return false;
}

/* ---- attention ------------------------------------------------------------------------------ */

/* The projections of the layer that `v` is made of, and the width of the first's share. */
static tn_product_list inputs_of(layer *y, tn_value v, int64_t *width) {
    member made = {0};
    add_sources(y, &made, v);
    *width = 0;
    if (made.sources.len == 1) {
        uint32_t p = y->members.data[made.sources.data[0]].product;
        const tn_layer_product *x = &y->l->products.data[p];
        int64_t columns = x->n * TN_MAX(1, x->experts);
        *width = llround(tn__layers_share(y->l, p, v) * (double)columns);
    }
    return made.sources;
}

static tn_status add_input(layer *y, uint32_t m, const char *name, int64_t width, uint32_t *mask,
                           tn_error *err) {
    const tn_layer_product *x = product_of(y, m);
    y->members.data[m].role = INPUT;
    y->members.data[m].rest -= width;
    return add_operator(y, name, weights_of(width, x->k), mask, err);
}

/* Queries, keys and values are each made by one projection, not seldom the same one. */
static tn_status add_plain_inputs(layer *y, const uint32_t from[3], const int64_t width[3],
                                  tn_error *err) {
    static const char *const names[] = {"q", "k", "v"};
    for (int i = 0; i < 3; i++) {
        member *m = &y->members.data[from[i]];
        TN_CHECK(add_input(y, from[i], names[i], width[i], i < 2 ? &m->keys : &m->values, err));
    }
    return TN_OK;
}

static bool holds(const tn_product_list *list, uint32_t m) {
    for (uint32_t i = 0; i < list->len; i++)
        if (list->data[i] == m) return true;
    return false;
}

/* Latent attention: several projections make queries or keys, some of them one after the other. */
static tn_status add_latent_inputs(layer *y, const tn_product_list *queries, tn_error *err) {
    for (uint32_t i = 0; i < y->members.len; i++) {
        const tn_layer_product *x = product_of(y, i);
        member *m = &y->members.data[i];
        bool inner = false, query = holds(queries, i), second = false;
        if (x->kind != TN_PRODUCT_PROJECTION || x->only < 0) continue;
        for (uint32_t j = 0; j < y->members.len; j++) {
            bool input =
                product_of(y, j)->kind == TN_PRODUCT_PROJECTION && product_of(y, j)->only >= 0;
            if (input && reads(y, j, i)) {
                inner = true;
                query |= holds(queries, j);
            }
            if (input && reads(y, i, j)) second = true;
        }
        char name[TN_OPERATOR_NAME];
        snprintf(name, sizeof name, "%s%s", query ? "q" : "kv", inner ? "_a" : second ? "_b" : "");
        if (tn__workload_find(y->w, name) >= 0)
            snprintf(name, sizeof name, "%s%u", query ? "q" : "kv", i);
        TN_CHECK(add_input(y, i, name, x->n * TN_MAX(1, x->experts), &m->others, err));
        m->keys = m->values = m->others;
    }
    return TN_OK;
}

static void find_out(layer *y) {
    for (uint32_t i = 0; i < y->members.len; i++)
        if (y->members.data[i].role == FREE && product_of(y, i)->kind == TN_PRODUCT_PROJECTION &&
            reads(y, i, y->values)) {
            y->members.data[i].role = OUT;
            y->w->hidden = product_of(y, i)->n;
            y->w->query_heads = product_of(y, i)->k / y->attention->value_dim;
            return;
        }
}

static tn_status add_products(layer *y, tn_error *err) {
    tn_workload *w = y->w;
    const tn_found_attention *a = y->attention;
    tn_operator o = {.heads = w->key_heads, .group = w->query_heads / w->key_heads};
    o.kind = TN_OPERATOR_SCORES;
    o.k = a->head_dim;
    TN_CHECK(add_operator(y, "qk", o, &y->members.data[y->scores].others, err));
    o.kind = TN_OPERATOR_VALUES;
    o.k = 0;
    o.n = a->value_dim;
    return add_operator(y, "sv", o, &y->members.data[y->values].others, err);
}

static tn_status count_heads(layer *y, int64_t queries, int64_t keys, tn_error *err) {
    tn_workload *w = y->w;
    const tn_found_attention *a = y->attention;
    w->head_dim = a->head_dim;
    if (!w->query_heads && queries) w->query_heads = queries / a->head_dim;
    w->key_heads = keys ? keys / a->head_dim : w->query_heads;
    if (w->query_heads < 1 || w->key_heads < 1)
        return tn_error_set(err, TN_UNSUPPORTED,
                            "an attention over %lld elements a head: how many heads it has cannot "
                            "be told",
                            (long long)a->head_dim);
    if (w->query_heads % w->key_heads || (keys && keys % a->head_dim))
        return tn_error_set(err, TN_INVALID,
                            "%lld query heads of %lld elements do not divide among keys of %lld "
                            "columns",
                            (long long)w->query_heads, (long long)a->head_dim, (long long)keys);
    return TN_OK;
}

static tn_status add_attention(layer *y, tn_error *err) {
    const tn_graph *g = y->l->g;
    const tn_node_info *scores = tn_graph_node(g, y->attention->scores);
    const tn_node_info *out = tn_graph_node(g, y->attention->out);
    int64_t width[3];
    tn_product_list from[3] = {inputs_of(y, scores->in[0], &width[0]),
                               inputs_of(y, scores->in[1], &width[1]),
                               inputs_of(y, out->in[y->attention->values], &width[2])};
    bool plain = true, turned = width[0] < width[1];
    if (turned) { /* keys · queries */
        tn_product_list list = from[0];
        int64_t n = width[0];
        from[0] = from[1], width[0] = width[1];
        from[1] = list, width[1] = n;
    }
    for (int i = 0; i < 3; i++) plain &= from[i].len == 1 && width[i] > 0;
    for (uint32_t i = 0; i < y->members.len; i++)
        y->members.data[i].rest = product_of(y, i)->n * TN_MAX(1, product_of(y, i)->experts);
    for (uint32_t i = 0; i < y->members.len && plain; i++) /* one behind another is latent */
        plain = product_of(y, i)->only < 0 || i == from[0].data[0] || i == from[1].data[0] ||
                i == from[2].data[0];
    if (plain) {
        uint32_t single[3] = {from[0].data[0], from[1].data[0], from[2].data[0]};
        TN_CHECK(add_plain_inputs(y, single, width, err));
    } else {
        TN_CHECK(add_latent_inputs(y, &from[0], err));
    }
    find_out(y);
    if (!y->w->hidden) y->w->hidden = width[0];
    TN_CHECK(count_heads(y, plain ? width[0] : 0, plain ? width[1] : 0, err));
    TN_CHECK(add_products(y, err));
    for (uint32_t i = 0; i < y->members.len; i++)
        if (y->members.data[i].role == OUT)
            TN_CHECK(add_operator(y, "o", weights_of(product_of(y, i)->n, product_of(y, i)->k),
                                  &y->members.data[i].others, err));
    return TN_OK;
}

/* ---- feed-forward --------------------------------------------------------------------------- */

/* Whether member s may be an up projection of d. */
static bool is_up_of(const layer *y, uint32_t s, uint32_t d) {
    const member *m = &y->members.data[s];
    int64_t n = m->role == INPUT ? m->rest : product_of(y, s)->n, k = product_of(y, d)->k;
    if (m->role != FREE && m->role != UP && m->role != INPUT) return false;
    return product_of(y, s)->kind == TN_PRODUCT_PROJECTION && (n == k || n == 2 * k);
}

static void find_parts(layer *y) {
    for (uint32_t d = 0; d < y->members.len; d++) {
        member *m = &y->members.data[d];
        part p = {.down = d};
        if (m->role != FREE || product_of(y, d)->kind != TN_PRODUCT_PROJECTION ||
            product_of(y, d)->n != y->w->hidden)
            continue;
        for (uint32_t i = 0; i < m->sources.len && p.up_count < (int)TN_COUNT(p.ups); i++)
            if (is_up_of(y, m->sources.data[i], d)) p.ups[p.up_count++] = m->sources.data[i];
        if (!p.up_count) continue;
        m->role = DOWN;
        for (int i = 0; i < p.up_count; i++)
            if (y->members.data[p.ups[i]].role == FREE) y->members.data[p.ups[i]].role = UP;
        tn_vec_push(y->l->arena, &y->parts, p);
    }
}

static bool are_alike(const layer *y, const part *a, const part *b) {
    const tn_layer_product *x = product_of(y, a->down), *z = product_of(y, b->down);
    if (x->n != z->n || x->k != z->k || a->up_count != b->up_count) return false;
    for (int i = 0; i < a->up_count; i++)
        for (int j = 0; j < b->up_count; j++)
            if (product_of(y, a->ups[i])->n != product_of(y, b->ups[j])->n) return false;
    return true;
}

/* The matrices that part `first` and those like it stand for. */
static int64_t count_alike(const layer *y, const part *first) {
    int64_t stacked = product_of(y, first->down)->experts, count = 0;
    for (uint32_t i = 0; i < y->parts.len; i++) count += are_alike(y, first, &y->parts.data[i]);
    return stacked ? stacked : count;
}

/* The member that chooses among `experts`, and how many. */
static bool find_router(layer *y, int64_t experts, int64_t *active) {
    *active = experts;
    for (uint32_t i = 0; i < y->members.len; i++) {
        member *m = &y->members.data[i];
        const tn_layer_product *x = product_of(y, i);
        if ((m->role != FREE && m->role != ROUTER) || x->kind != TN_PRODUCT_PROJECTION ||
            x->n != experts || x->k != y->w->hidden)
            continue;
        int64_t choices = tn__layers_choices(y->l, m->product);
        if (choices > 0 && choices <= experts) *active = choices;
        m->role = ROUTER;
        return true;
    }
    return false;
}

static tn_operator expert_of(int64_t n, int64_t k, int64_t experts, int64_t active) {
    if (experts <= 1) return weights_of(n, k);
    return (tn_operator){.kind = TN_OPERATOR_EXPERTS,
                         .n = n,
                         .k = k,
                         .experts = (int)experts,
                         .active = (int)active};
}

/* The operators of the parts like `first`: two up projections are 1 and 3, down is 2. */
static tn_status add_part(layer *y, part *first, char letter, int64_t experts, int64_t active,
                          tn_error *err) {
    const tn_layer_product *down = product_of(y, first->down);
    char name[TN_OPERATOR_NAME];
    uint32_t ups[TN_COUNT(first->ups)] = {0}, downs = 0;
    for (int i = 0; i < first->up_count; i++) {
        const member *m = &y->members.data[first->ups[i]];
        int64_t columns = m->role == INPUT ? m->rest : product_of(y, first->ups[i])->n;
        int pieces = columns == 2 * down->k ? 2 : 1;
        for (int j = 0; j < pieces; j++) {
            int number = i + j == 0 ? 1 : 2 + i + j;
            snprintf(name, sizeof name, "%c%d", letter, number);
            tn_operator o = expert_of(down->k, product_of(y, first->ups[i])->k, experts, active);
            TN_CHECK(add_operator(y, name, o, &ups[i], err));
        }
    }
    snprintf(name, sizeof name, "%c2", letter);
    TN_CHECK(add_operator(y, name, expert_of(down->n, down->k, experts, active), &downs, err));
    for (uint32_t i = 0; i < y->parts.len; i++) {
        part *p = &y->parts.data[i];
        if (p->done || (p != first && (experts <= 1 || !are_alike(y, first, p)))) continue;
        for (int j = 0; j < p->up_count; j++) y->members.data[p->ups[j]].others |= ups[j];
        y->members.data[p->down].others |= downs;
        p->done = true;
    }
    return TN_OK;
}

static tn_status add_router(layer *y, tn_error *err) {
    for (uint32_t i = 0; i < y->members.len; i++) {
        member *m = &y->members.data[i];
        if (m->role != ROUTER || m->others) continue;
        TN_CHECK(add_operator(y, "router", weights_of(product_of(y, i)->n, product_of(y, i)->k),
                              &m->others, err));
    }
    return TN_OK;
}

/* Experts first, so that they have the letter f; then those that all tokens pass. */
static tn_status add_parts(layer *y, tn_error *err) {
    static const char letters[] = "fsuwxyz";
    int letter = 0;
    for (int round = 0; round < 2; round++)
        for (uint32_t i = 0; i < y->parts.len; i++) {
            part *p = &y->parts.data[i];
            int64_t experts = count_alike(y, p), active = 1;
            bool routed = experts > 1 && find_router(y, experts, &active);
            if (!routed && !product_of(y, p->down)->experts) experts = 1;
            if (p->done || (experts > 1) != (round == 0)) continue;
            if (!letters[letter])
                return tn_error_set(err, TN_UNSUPPORTED,
                                    "a layer of more than %d feed-forward parts",
                                    (int)sizeof letters - 1);
            TN_CHECK(add_router(y, err));
            if (!letter) y->w->intermediate = product_of(y, p->down)->k;
            TN_CHECK(add_part(y, p, letters[letter++], experts, active, err));
        }
    return TN_OK;
}

/* What is left: what reads a finished part lies behind the layers, the rest are gates. */
static tn_status add_rest(layer *y, tn_error *err) {
    int count = 0;
    for (uint32_t i = 0; i < y->members.len; i++) {
        member *m = &y->members.data[i];
        const tn_layer_product *x = product_of(y, i);
        if (m->role != FREE || x->kind != TN_PRODUCT_PROJECTION) continue;
        for (uint32_t j = 0; j < m->sources.len; j++) {
            role r = y->members.data[m->sources.data[j]].role;
            if (r == DOWN || r == BEHIND) m->role = BEHIND;
        }
        bool nothing = !y->parts.len && !x->read; /* attention alone, then a head */
        if (m->role == BEHIND || nothing) continue;
        char name[TN_OPERATOR_NAME];
        snprintf(name, sizeof name, "gate%d", ++count);
        TN_CHECK(add_operator(y, name, weights_of(x->n, x->k), &m->others, err));
    }
    return TN_OK;
}

/* ---- edges ---------------------------------------------------------------------------------- */

static uint32_t read_of(const layer *y, uint32_t source, uint32_t reader) {
    const member *s = &y->members.data[source];
    tn_product_kind kind = product_of(y, reader)->kind;
    if (s->role != INPUT) return s->others;
    if (kind == TN_PRODUCT_SCORES) return s->keys;
    return kind == TN_PRODUCT_VALUES ? s->values : s->others;
}

static void add_edges(layer *y) {
    for (uint32_t i = 0; i < y->members.len; i++) {
        const member *m = &y->members.data[i];
        uint32_t made = m->keys | m->values | m->others, before = 0;
        for (uint32_t j = 0; j < m->sources.len; j++) before |= read_of(y, m->sources.data[j], i);
        for (int o = 0; o < y->w->count; o++)
            if (made >> o & 1) y->w->before[o] |= before & ~made;
    }
}

/* ---- operations that are no products -------------------------------------------------------- */

static const char *family_of(const tn_node_info *n) {
    switch (n->op) {
    case TN_OP_rsqrt:
    case TN_OP_sqrt:
        return "norm";
    case TN_OP_exp:
        return "exp";
    case TN_OP_erf:
    case TN_OP_tanh:
    case TN_OP_max:
        return "activation";
    case TN_OP_add:
    case TN_OP_sub:
        return "add";
    case TN_OP_mul:
    case TN_OP_div:
        return "mul";
    case TN_OP_reduce:
        return "reduce";
    case TN_OP_permute:
    case TN_OP_concat:
    case TN_OP_slice:
        return "move";
    case TN_OP_gather:
    case TN_OP_scatter:
        return "index";
    case TN_OP_top_k:
        return "top_k";
    case TN_OP_select:
        return "select";
    default:
        return NULL;
    }
}

static void count_other(tn_workload *w, const char *name) {
    for (int i = 0; i < w->other_count; i++)
        if (strcmp(w->others[i].name, name) == 0) {
            w->others[i].count++;
            return;
        }
    if (w->other_count == TN_OPERATORS) return;
    snprintf(w->others[w->other_count].name, sizeof w->others[0].name, "%s", name);
    w->others[w->other_count++].count = 1;
}

static void count_others(layer *y) {
    const tn_layers *l = y->l;
    bool *seen = TN_NEW_N(l->arena, bool, l->g->nodes.len);
    TN_VEC(tn_node) queue = {0};
    for (uint32_t i = 0; i < y->members.len; i++)
        if (y->members.data[i].role != BEHIND)
            tn_vec_push(l->arena, &queue, product_of(y, i)->node);
    for (uint32_t i = 0; i < queue.len; i++) {
        const tn_node_info *n = tn_graph_node(l->g, queue.data[i]);
        for (uint32_t o = 0; o < n->in_count; o++) {
            tn_node from = tn_graph_value(l->g, n->in[o])->node;
            if (l->weights[n->in[o]] || from < y->from || seen[from] ||
                l->product_of[from] != UINT32_MAX)
                continue;
            seen[from] = true;
            tn_vec_push(l->arena, &queue, from);
            const char *family = family_of(tn_graph_node(l->g, from));
            if (family) count_other(y->w, family);
        }
    }
}

/* ---- all ------------------------------------------------------------------------------------ */

tn_status tn__layers_workload(tn_layers *l, int index, tn_workload *out, tn_error *err) {
    layer y = {.l = l, .w = out, .attention = &l->attentions.data[index]};
    *out = (tn_workload){.layers = 1};
    if (index > 0) y.from = l->attentions.data[index - 1].scores;
    if (y.attention->head_dim < 1 || y.attention->value_dim < 1)
        return tn_error_set(err, TN_UNSUPPORTED, "an attention whose head size is not known");
    find_members(&y, index);
    TN_CHECK(add_attention(&y, err));
    find_parts(&y);
    TN_CHECK(add_parts(&y, err));
    TN_CHECK(add_rest(&y, err));
    add_edges(&y);
    count_others(&y);
    return tn__workload_sort(out, err);
}
