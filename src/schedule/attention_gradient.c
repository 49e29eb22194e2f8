/* Recognising the gradient of attention. See attention_gradient.h. */
#include "schedule/attention_gradient.h"

#include "schedule/group_inner.h"

typedef struct collector {
    const tn_grouping *p;
    const tn_graph *g;
    tn_attention_gradient *y;
    uint8_t *inside; /* per node: depends on a source, views included */
    uint8_t *source; /* per node */
    uint8_t *live;   /* per node: an output depends on it */
} collector;

static tn_node node_of(const tn_graph *g, tn_value v) {
    return tn_graph_value(g, v)->node;
}

/* ---- what lies between ---------------------------------------------------------------------- */

static uint32_t inside_operands(const collector *c, const tn_node_info *n, uint32_t *which) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->in_count; i++) {
        if (!c->inside[node_of(c->g, n->in[i])]) continue;
        *which = i;
        count++;
    }
    return count;
}

static bool is_score_fold(const tn_graph *g, tn_node n) {
    const tn_node_info *info = tn_graph_node(g, n);
    const tn_attrs_reduce *a = info->attrs;
    return info->op == TN_OP_reduce && a->axes.count == 1 &&
           (a->kind == TN_REDUCE_max || a->kind == TN_REDUCE_sum) &&
           a->acc == tn_graph_type(g, info->out)->dtype;
}

/* What an output depends on: only that has memory. */
static uint8_t *find_live(const tn_graph *g, tn_arena *arena) {
    uint8_t *live = TN_NEW_N(arena, uint8_t, g->nodes.len);
    for (uint32_t i = 0; i < g->outputs.len; i++) live[node_of(g, g->outputs.data[i].value)] = true;
    for (tn_node n = g->nodes.len; n-- > 0;) {
        const tn_node_info *info = tn_graph_node(g, n);
        for (uint32_t i = 0; live[n] && i < info->in_count; i++)
            live[node_of(g, info->in[i])] = true;
    }
    return live;
}

/* Marks what depends on the sources, and lists the products that read it; false when anything else does, or
 * a product is not needed. */
static bool mark_inside(collector *c) {
    const tn_graph *g = c->g;
    c->y->products.len = 0;
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        uint32_t which = 0, reads = inside_operands(c, info, &which);
        c->inside[n] = c->source[n];
        if (!reads) continue;
        if (c->source[n]) return false;
        if (n == c->y->x->product) {
            if (reads != 1 || which != 0) return false;
        } else if (info->op == TN_OP_dot) {
            if (reads != 1 || !c->live[n]) return false;
            tn_score_product product = {n, which, false, TN_NO_VALUE};
            tn_vec_push(c->p->arena, &c->y->products, product);
        } else if (tn__is_score_work(g, n) || is_score_fold(g, n)) {
            c->inside[n] = true;
        } else {
            return false;
        }
    }
    for (uint32_t i = 0; i < g->outputs.len; i++)
        if (c->inside[node_of(g, g->outputs.data[i].value)]) return false;
    return true;
}

static tn_dim count_of(const tn_graph *g, tn_node n) {
    return tn_shape_count(g->dims, &tn_graph_type(g, tn_graph_node(g, n)->out)->shape);
}

/* Makes dots of the scores' size that `v` is made from by pointwise work sources. */
static bool add_sources(collector *c, tn_value v, int depth) {
    enum { DEEPEST = 8 };
    tn_node n = node_of(c->g, v);
    const tn_node_info *info = tn_graph_node(c->g, n);
    bool any = false;
    if (c->inside[n] || depth > DEEPEST) return false;
    if (info->op == TN_OP_dot && count_of(c->g, n) == count_of(c->g, c->y->x->score)) {
        c->source[n] = true;
        return true;
    }
    if (!tn__is_score_work(c->g, n)) return false;
    for (uint32_t i = 0; i < info->in_count; i++) any |= add_sources(c, info->in[i], depth + 1);
    return any;
}

static bool find_sources(collector *c) {
    bool any = false;
    for (tn_node n = 0; n < c->g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(c->g, n);
        if (!c->inside[n] || c->source[n]) continue;
        for (uint32_t i = 0; i < info->in_count; i++) any |= add_sources(c, info->in[i], 0);
    }
    return any;
}

/* ---- in order ------------------------------------------------------------------------------- */

/* Until the last product nothing but views depends on one: so all are made at once, there. */
static bool products_are_last(const collector *c) {
    const tn_graph *g = c->g;
    uint8_t *after = TN_NEW_N(c->p->arena, uint8_t, g->nodes.len);
    for (uint32_t i = 0; i < c->y->products.len; i++) after[c->y->products.data[i].node] = true;
    for (tn_node n = c->y->first + 1; n <= c->y->last; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        bool depends = false;
        for (uint32_t i = 0; i < info->in_count; i++) depends |= after[node_of(g, info->in[i])];
        if (!depends) continue;
        if (after[n] || !tn__is_plain_view(g, n)) return false;
        after[n] = true;
    }
    return true;
}

/* What `n` needs of the inside. */
static void mark_needed(const collector *c, tn_node n, uint8_t *needed) {
    const tn_node_info *info = tn_graph_node(c->g, n);
    for (uint32_t i = 0; i < info->in_count; i++) {
        tn_node from = node_of(c->g, info->in[i]);
        if (!c->inside[from] || needed[from]) continue;
        needed[from] = true;
        mark_needed(c, from, needed);
    }
}

static bool is_of_type(const tn_graph *g, const tn_node_info *n, tn_dtype dtype) {
    tn_dtype t = tn_graph_type(g, n->out)->dtype;
    if (t == TN_bool && n->op != TN_OP_dot && n->op != TN_OP_reduce) return true;
    if (n->op != TN_OP_dot) return t == dtype;
    tn_contraction c;
    tn__lower_of(g, (tn_node)(n - g->nodes.data))->contraction->describe(g, n, &c);
    return t == dtype && c.acc == dtype;
}

/* Lists `inner` with levels, without views. */
static bool list_inner(collector *c) {
    const tn_graph *g = c->g;
    tn_attention_gradient *y = c->y;
    uint8_t *forward = TN_NEW_N(c->p->arena, uint8_t, g->nodes.len);
    uint8_t *needed = TN_NEW_N(c->p->arena, uint8_t, g->nodes.len);
    uint32_t *level = TN_NEW_N(c->p->arena, uint32_t, g->nodes.len);
    tn_dtype dtype = tn_graph_type(g, tn_graph_node(g, y->x->product)->out)->dtype;
    mark_needed(c, y->x->product, forward);
    for (uint32_t i = 0; i < y->products.len; i++) mark_needed(c, y->products.data[i].node, needed);
    y->place = TN_NEW_N(c->p->arena, uint32_t, g->nodes.len);
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        if (!c->inside[n]) continue;
        for (uint32_t i = 0; i < info->in_count; i++)
            level[n] = TN_MAX(level[n], level[node_of(g, info->in[i])]);
        if (tn__is_plain_view(g, n)) continue;
        tn_score_node s = {.node = n, .forward = forward[n], .needed = needed[n]};
        s.kind = c->source[n]               ? TN_SCORE_SOURCE
                 : info->op == TN_OP_reduce ? TN_SCORE_FOLD
                                            : TN_SCORE_POINTWISE;
        if (s.kind == TN_SCORE_SOURCE) level[n] = 0;
        if (s.kind == TN_SCORE_FOLD) level[n]++;
        s.level = level[n];
        y->levels = TN_MAX(y->levels, s.level + 1);
        if (!is_of_type(g, info, dtype)) return false;
        tn_vec_push(c->p->arena, &y->inner, s);
        y->place[n] = y->inner.len;
    }
    for (uint32_t i = 0; i < y->products.len; i++)
        if (!is_of_type(g, tn_graph_node(g, y->products.data[i].node), dtype)) return false;
    return true;
}

tn_attention_gradient *tn_attention_gradient_find(const tn_grouping *p,
                                                  const tn_attention_parts *x) {
    enum { MOST_SOURCES = 4, MOST_PRODUCTS = 8 };
    collector c = {.p = p, .g = p->graph, .y = TN_NEW(p->arena, tn_attention_gradient)};
    c.inside = TN_NEW_N(p->arena, uint8_t, c.g->nodes.len);
    c.source = TN_NEW_N(p->arena, uint8_t, c.g->nodes.len);
    c.live = find_live(c.g, p->arena);
    *c.y = (tn_attention_gradient){.x = x};
    c.source[x->score] = true;
    for (uint32_t sources = 1; sources <= MOST_SOURCES; sources++) {
        if (!mark_inside(&c)) return NULL;
        if (find_sources(&c)) continue;
        uint32_t count = c.y->products.len;
        if (count == 0 || count > MOST_PRODUCTS) return NULL;
        c.y->first = c.y->products.data[0].node;
        c.y->last = c.y->products.data[count - 1].node;
        return products_are_last(&c) && list_inner(&c) ? c.y : NULL;
    }
    return NULL;
}

/* ---- do the indices agree? ------------------------------------------------------------------ */

typedef struct locator {
    tn_access access; /* first */
    const tn_attention_gradient *y;
    tn_score_place *place;
    tn_lx kv;
    bool ok;
} locator;

static void follow(locator *l, const tn_score_node *s, const tn_lx *index) {
    tn_emit *e = &l->access.emit;
    const tn_node_info *n = tn_graph_node(e->graph, s->node);
    if (s->kind == TN_SCORE_POINTWISE) tn_op_rules_of(n->op)->lower.expression(e, n, 0, index);
    if (s->kind != TN_SCORE_FOLD) return;
    const tn_attrs_reduce *a = n->attrs;
    int rank = tn_node_type(e->graph, n, 0)->shape.rank;
    tn_lx at[TN_MAX_RANK];
    for (int i = 0, kept = 0; i < rank; i++) at[i] = i == a->axes.at[0] ? l->kv : index[kept++];
    e->operand(e, n, 0, at);
}

static tn_lx locator_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    locator *l = (locator *)a;
    const tn_graph *g = a->emit.graph;
    uint32_t place = l->y->place[node_of(g, v)];
    if (place) {
        tn_score_place *at = &l->place[place - 1];
        int rank = tn_graph_type(g, v)->shape.rank;
        l->ok &= a->emit.guard == TN_LX_NONE;
        for (int i = 0; i < rank; i++) {
            l->ok &= !at->seen || at->at[i] == index[i];
            at->at[i] = index[i];
        }
        bool before = at->seen;
        at->seen = true;
        if (!before && l->ok) follow(l, &l->y->inner.data[place - 1], index);
    }
    return tn_l_number(a->emit.k, tn_graph_type(g, v)->dtype, 0); /* only indices matter */
}

/* Follows what a product reads. */
static void follow_product(locator *l, const tn_score_product *x, const tn_lx *b, const tn_lx *m) {
    tn_emit *e = &l->access.emit;
    const tn_node_info *n = tn_graph_node(e->graph, x->node);
    const tn_contraction_rules *rules = tn__lower_of(e->graph, x->node)->contraction;
    const tn_lx *own = x->over_rows ? &l->kv : m, *folded = x->over_rows ? m : &l->kv;
    tn_lx index[TN_MAX_RANK], guard = TN_LX_NONE;
    if (x->which == 0)
        rules->lhs(e, n, b, own, folded, index, &guard);
    else
        rules->rhs(e, n, b, folded, own, index, &guard);
    l->ok &= guard == TN_LX_NONE;
    l->access.memo.len = 0;
    tn_access_value(&l->access, n->in[x->which], index);
}

bool tn_attention_gradient_locate(const tn_grouping *p, const tn_attention_gradient *y, tn_loop *k,
                                  const tn_lx *b, const tn_lx *m, tn_lx kv, tn_score_place *out) {
    locator l = {.y = y, .place = out, .kv = kv, .ok = true};
    const tn_score_product forward = {y->x->product, 0, false, TN_NO_VALUE};
    tn_access_init(&l.access, k, p, p->arena);
    l.access.leaf = locator_leaf;
    memset(out, 0, y->inner.len * sizeof *out);
    follow_product(&l, &forward, b, m);
    for (uint32_t i = 0; i < y->products.len && l.ok; i++)
        follow_product(&l, &y->products.data[i], b, m);
    return l.ok;
}

static bool uses_any(const tn_loop *k, const tn_lx *e, int count, const tn_lx *var, int vars) {
    for (int i = 0; i < count; i++)
        for (int j = 0; j < vars; j++)
            if (tn_l_expr(k, var[j])->kind == TN_LX_VAR &&
                tn_l_uses_var(k, e[i], tn_l_expr(k, var[j])->index))
                return true;
    return false;
}

static bool same_extents(const tn_dim *x, int xs, const tn_dim *y, int ys) {
    return xs == ys && (xs == 0 || !memcmp(x, y, (size_t)xs * sizeof *x));
}

static bool all_const(const tn_dim *d, int count) {
    for (int i = 0; i < count; i++)
        if (!tn_dim_is_const(d[i])) return false;
    return true;
}

/* Whether a product's axes are those of rows and columns; sets what it contracts. */
static bool product_fits(const tn_grouping *p, const tn_contraction *base, tn_score_product *x,
                         bool over_rows) {
    tn_contraction c;
    tn__lower_of(p->graph, x->node)
        ->contraction->describe(p->graph, tn_graph_node(p->graph, x->node), &c);
    const tn_dim *own = x->which == 0 ? c.m_extent : c.n_extent;
    int owns = x->which == 0 ? c.m : c.n;
    const tn_dim *other = x->which == 0 ? c.n_extent : c.m_extent;
    x->over_rows = over_rows;
    if (!same_extents(c.b_extent, c.b, base->b_extent, base->b) ||
        !all_const(other, x->which == 0 ? c.n : c.m))
        return false;
    if (over_rows)
        return same_extents(c.k_extent, c.k, base->m_extent, base->m) &&
               same_extents(own, owns, base->k_extent, 1);
    return same_extents(c.k_extent, c.k, base->k_extent, 1) &&
           same_extents(own, owns, base->m_extent, base->m);
}

/* Each of a source's own axes runs along the batch, the rows or the columns alone. */
static bool source_fits(const tn_grouping *p, const tn_loop *k, tn_score_node *s,
                        const tn_score_place *at, const tn_lx *m, int rows, tn_lx kv) {
    tn_contraction c;
    tn__lower_of(p->graph, s->node)
        ->contraction->describe(p->graph, tn_graph_node(p->graph, s->node), &c);
    const tn_lx *left = at->at + c.b, *right = left + c.m;
    if (c.k != 1 || !tn_dim_is_const(c.k_extent[0])) return false;
    if (uses_any(k, at->at, c.b, m, rows) || uses_any(k, at->at, c.b, &kv, 1)) return false;
    bool left_rows = uses_any(k, left, c.m, m, rows), left_columns = uses_any(k, left, c.m, &kv, 1);
    bool right_rows = uses_any(k, right, c.n, m, rows),
         right_columns = uses_any(k, right, c.n, &kv, 1);
    s->turned = left_columns || right_rows;
    return s->turned ? !left_rows && !right_columns : true;
}

static void open_axes(tn_loop *k, const tn_dim *d, int count, tn_lx *var) {
    for (int i = 0; i < count; i++)
        var[i] = d[i] == 1 ? tn_l_int(k, 0)
                           : tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), tn_l_dim(k, d[i]), "p");
}

typedef struct probe_axes {
    tn_loop k;
    tn_lx b[TN_MAX_RANK], m[TN_MAX_RANK], kv;
    tn_score_place *at;
} probe_axes;

static void open_probe(const tn_grouping *p, const tn_attention_gradient *y,
                       const tn_contraction *base, probe_axes *a) {
    tn_arena *arena = tn__probe_arena(p);
    a->at = TN_NEW_N(arena, tn_score_place, y->inner.len);
    tn_loop_init(&a->k, arena, p->graph->dims, "gradient");
    open_axes(&a->k, base->b_extent, base->b, a->b);
    open_axes(&a->k, base->m_extent, base->m, a->m);
    open_axes(&a->k, base->k_extent, 1, &a->kv);
}

static bool fold_fits(const tn_graph *g, const tn_score_node *s, tn_dim columns) {
    const tn_node_info *n = tn_graph_node(g, s->node);
    const tn_attrs_reduce *a = n->attrs;
    return s->row && tn_node_type(g, n, 0)->shape.dim[a->axes.at[0]] == columns;
}

static bool is_row_value(const tn_graph *g, const tn_attention_gradient *y,
                         const tn_score_product *x) {
    tn_node n = node_of(g, tn_graph_node(g, x->node)->in[x->which]);
    while (!y->place[n]) n = node_of(g, tn_graph_node(g, n)->in[0]); /* views */
    return y->inner.data[y->place[n] - 1].row;
}

/* Finds out what runs along rows alone, and how sources lie. */
static bool indices_agree(const tn_grouping *p, tn_attention_gradient *y,
                          const tn_contraction *base) {
    const tn_graph *g = p->graph;
    probe_axes a;
    open_probe(p, y, base, &a);
    if (!tn_attention_gradient_locate(p, y, &a.k, a.b, a.m, a.kv, a.at)) return false;
    for (uint32_t i = 0; i < y->inner.len; i++) {
        tn_score_node *s = &y->inner.data[i];
        int rank = tn_graph_type(g, tn_graph_node(g, s->node)->out)->shape.rank;
        if (!a.at[i].seen) return false; /* nobody needs it */
        s->row = !uses_any(&a.k, a.at[i].at, rank, &a.kv, 1);
        if (s->kind == TN_SCORE_FOLD && !fold_fits(g, s, base->k_extent[0])) return false;
        if (s->kind == TN_SCORE_SOURCE &&
            (s->row || !source_fits(p, &a.k, s, &a.at[i], a.m, base->m, a.kv)))
            return false;
    }
    for (uint32_t i = 0; i < y->products.len; i++)
        if (is_row_value(g, y, &y->products.data[i])) return false;
    return true;
}

/* Products come in order: whether the first `count` of them read what lies at the same places. */
static bool places_agree(const tn_grouping *p, const tn_attention_gradient *y,
                         const tn_contraction *base, uint32_t count) {
    probe_axes a;
    tn_attention_gradient first = *y;
    first.products.len = count;
    open_probe(p, &first, base, &a);
    return tn_attention_gradient_locate(p, &first, &a.k, a.b, a.m, a.kv, a.at);
}

bool tn_attention_gradient_fits(const tn_grouping *p, tn_attention_gradient *y) {
    tn_contraction base;
    tn__lower_of(p->graph, y->x->product)
        ->contraction->describe(p->graph, tn_graph_node(p->graph, y->x->product), &base);
    if (!all_const(base.m_extent, base.m) || !all_const(base.k_extent, base.k)) return false;
    for (uint32_t i = 0; i < y->products.len; i++) {
        tn_score_product *x = &y->products.data[i];
        if (!(product_fits(p, &base, x, false) && places_agree(p, y, &base, i + 1)) &&
            !(product_fits(p, &base, x, true) && places_agree(p, y, &base, i + 1)))
            return false;
    }
    return indices_agree(p, y, &base);
}
