/* Recognising attention. See attention.h. */
#include "schedule/attention.h"

#include "schedule/attention_gradient.h"
#include "schedule/group_inner.h"

static tn_node node_of(const tn_graph *g, tn_value v) {
    return tn_graph_value(g, v)->node;
}

bool tn__is_plain_view(const tn_graph *g, tn_node n) {
    const tn_lower *l = tn__lower_of(g, n);
    return l->kind == TN_LOWER_EXPRESSION && l->view && g->nodes.data[n].in_count == 1;
}

/* What `v` shows through views. */
static tn_value behind_views(const tn_graph *g, tn_value v) {
    while (tn__is_plain_view(g, node_of(g, v))) v = tn_graph_producer(g, v)->in[0];
    return v;
}

/* ---- the pattern ---------------------------------------------------------------------------- */

/* Whether `v` is made by `op`, seen through views. */
static const tn_node_info *made_by(const tn_graph *g, tn_value v, tn_op op) {
    const tn_node_info *n = tn_graph_producer(g, behind_views(g, v));
    return n->op == op ? n : NULL;
}

static bool is_number(const tn_graph *g, tn_value v, double number) {
    tn_array array;
    return tn_graph_constant(g, behind_views(g, v), &array) && tn_array_count(&array) == 1 &&
           tn_dtype_is_float(array.dtype) && tn_array_get(&array, 0).f == number;
}

/* select(is_nan(y), 0, y): gives y. */
static tn_value without_nan(const tn_graph *g, tn_value v, tn_attention_parts *x) {
    const tn_node_info *select = made_by(g, v, TN_OP_select);
    const tn_node_info *test = select ? made_by(g, select->in[0], TN_OP_is_nan) : NULL;
    if (!test || behind_views(g, test->in[0]) != behind_views(g, select->in[2]) ||
        !is_number(g, select->in[1], 0))
        return v;
    x->zero_nan = true;
    return select->in[2];
}

/* e / s or e * (1 / s). */
static bool match_quotient(const tn_graph *g, tn_value v, tn_value *e, tn_value *s) {
    const tn_node_info *n = tn_graph_producer(g, behind_views(g, v));
    if (n->op == TN_OP_div) {
        *e = behind_views(g, n->in[0]);
        *s = behind_views(g, n->in[1]);
        return true;
    }
    for (int i = 0; n->op == TN_OP_mul && i < 2; i++) {
        const tn_node_info *inverse = made_by(g, n->in[1 - i], TN_OP_div);
        if (!inverse || !is_number(g, inverse->in[0], 1)) continue;
        *e = behind_views(g, n->in[i]);
        *s = behind_views(g, inverse->in[1]);
        return true;
    }
    return false;
}

/* Whether `v` folds `of` along one axis. */
static bool is_fold_of(const tn_graph *g, tn_value v, tn_reduce_kind kind, tn_value of) {
    const tn_node_info *n = tn_graph_producer(g, v);
    const tn_attrs_reduce *a = n->attrs;
    return n->op == TN_OP_reduce && a->kind == kind && a->axes.count == 1 &&
           a->acc == tn_graph_type(g, v)->dtype && behind_views(g, n->in[0]) == of;
}

static bool match_softmax(const tn_graph *g, tn_value v, tn_attention_parts *x) {
    tn_value sum;
    v = without_nan(g, v, x);
    if (!match_quotient(g, v, &x->weights, &sum)) return false;
    const tn_node_info *exp = tn_graph_producer(g, x->weights);
    const tn_node_info *sub = exp->op == TN_OP_exp ? made_by(g, exp->in[0], TN_OP_sub) : NULL;
    if (!sub || !is_fold_of(g, sum, TN_REDUCE_sum, x->weights)) return false;
    x->scores = behind_views(g, sub->in[0]);
    tn_value largest = behind_views(g, sub->in[1]);
    x->sum = node_of(g, sum);
    x->largest = node_of(g, largest);
    return is_fold_of(g, largest, TN_REDUCE_max, x->scores);
}

/* ---- what lies between the products --------------------------------------------------------- */

bool tn__is_score_work(const tn_graph *g, tn_node n) {
    const char *family = tn_op_info_of(g->nodes.data[n].op)->family;
    return tn__lower_of(g, n)->kind == TN_LOWER_EXPRESSION &&
           (tn__is_plain_view(g, n) || !strcmp(family, "unary") || !strcmp(family, "binary") ||
            !strcmp(family, "convert"));
}

/* Lists what depends on the first product; false when anything but the second reads it. */
static bool collect_inner(const tn_grouping *p, tn_attention_parts *x) {
    const tn_graph *g = p->graph;
    uint8_t *inside = TN_NEW_N(p->arena, uint8_t, g->nodes.len);
    for (uint32_t i = 0; i < g->outputs.len; i++)
        if (node_of(g, g->outputs.data[i].value) == x->score) return false;
    inside[x->score] = true;
    x->inner.len = 0;
    tn_vec_push(p->arena, &x->inner, x->score);
    for (tn_node n = x->score + 1; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        uint32_t reads = 0;
        for (uint32_t i = 0; i < info->in_count; i++) reads += inside[node_of(g, info->in[i])];
        if (!reads) continue;
        if (n == x->product) {
            if (reads != 1 || !inside[node_of(g, info->in[0])]) return false;
            continue;
        }
        if (n > x->product || !(tn__is_score_work(g, n) || n == x->largest || n == x->sum))
            return false;
        inside[n] = true;
        if (!tn__is_plain_view(g, n)) tn_vec_push(p->arena, &x->inner, n);
    }
    for (uint32_t i = 0; i < g->outputs.len; i++)
        if (inside[node_of(g, g->outputs.data[i].value)]) return false;
    return inside[x->largest] && inside[x->sum];
}

/* The same where the gradient is known: what it has in common with the first product. */
static bool take_inner(const tn_grouping *p, const tn_attention_gradient *y,
                       tn_attention_parts *x) {
    bool largest = false, sum = false;
    x->inner.len = 0;
    for (uint32_t i = 0; i < y->inner.len; i++) {
        const tn_score_node *s = &y->inner.data[i];
        if (!s->forward) continue;
        largest |= s->node == x->largest;
        sum |= s->node == x->sum;
        if (s->kind == TN_SCORE_FOLD && s->node != x->largest && s->node != x->sum) return false;
        if (s->kind == TN_SCORE_SOURCE && s->node != x->score) return false;
        tn_vec_push(p->arena, &x->inner, s->node);
    }
    return largest && sum;
}

/* ---- do the indices agree? ------------------------------------------------------------------ */

enum { WEIGHTS, SCORES, SCORE, LARGEST, SUM, PARTS };

typedef struct locator {
    tn_access access; /* first */
    const tn_grouping *grouping;
    const tn_attention_parts *x;
    tn_value part[PARTS];
    tn_lx *at[PARTS];
    bool seen[PARTS], ok;
} locator;

static tn_lx locator_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    locator *l = a->context;
    const tn_graph *g = l->grouping->graph;
    int rank = tn_graph_type(g, v)->shape.rank;
    bool found = false;
    for (int i = 0; i < PARTS; i++) {
        if (l->part[i] != v) continue;
        found = true;
        if (a->emit.guard != TN_LX_NONE) l->ok = false;
        for (int j = 0; j < rank; j++) {
            l->ok &= !l->seen[i] || l->at[i][j] == index[j];
            l->at[i][j] = index[j];
        }
        l->seen[i] = true;
    }
    const tn_node_info *n = tn_graph_producer(g, v);
    for (uint32_t i = 0; !found && i < l->x->inner.len; i++)
        if (node_of(g, v) == l->x->inner.data[i])
            return tn__lower_of(g, node_of(g, v))->expression(&a->emit, n, 0, index);
    return tn_l_number(a->emit.k, tn_graph_type(g, v)->dtype, 0); /* only indices matter */
}

/* Follows the operand of a fold at its row's index and column `kv`. */
static void follow_fold(locator *l, tn_node fold, const tn_lx *row, tn_lx kv) {
    const tn_node_info *n = tn_graph_node(l->grouping->graph, fold);
    const tn_attrs_reduce *a = n->attrs;
    int rank = tn_node_type(l->grouping->graph, n, 0)->shape.rank;
    tn_lx index[TN_MAX_RANK];
    for (int i = 0, kept = 0; i < rank; i++) index[i] = i == a->axes.at[0] ? kv : row[kept++];
    tn_access_value(&l->access, n->in[0], index);
}

static void follow_expression(locator *l, tn_value v, const tn_lx *index) {
    const tn_node_info *n = tn_graph_producer(l->grouping->graph, v);
    tn_op_rules_of(n->op)->lower.expression(&l->access.emit, n, 0, index);
}

bool tn_attention_locate(const tn_grouping *p, const tn_attention_parts *x, tn_loop *k,
                         const tn_lx *b, const tn_lx *m, tn_lx kv, tn_attention_point *out) {
    const tn_graph *g = p->graph;
    locator l = {.grouping = p,
                 .x = x,
                 .part = {x->weights, x->scores, tn_graph_node(g, x->score)->out,
                          tn_graph_node(g, x->largest)->out, tn_graph_node(g, x->sum)->out},
                 .at = {out->weights, out->scores, out->score, out->largest, out->sum},
                 .ok = true};
    tn_access_init(&l.access, k, p, p->arena);
    l.access.leaf = locator_leaf;
    l.access.context = &l;
    const tn_node_info *product = tn_graph_node(g, x->product);
    tn_lx index[TN_MAX_RANK], guard = TN_LX_NONE;
    tn__lower_of(g, x->product)
        ->contraction->lhs(&l.access.emit, product, b, m, &kv, index, &guard);
    tn_access_value(&l.access, product->in[0], index);
    if (!l.seen[WEIGHTS] || !l.seen[SUM]) return false;
    follow_fold(&l, x->sum, out->sum, kv);
    follow_expression(&l, x->weights, out->weights);
    if (!l.seen[SCORES] || !l.seen[LARGEST]) return false;
    follow_fold(&l, x->largest, out->largest, kv);
    if (!l.seen[SCORE]) follow_expression(&l, x->scores, out->scores);
    return l.ok && l.seen[SCORE];
}

static bool uses_any(const tn_loop *k, const tn_lx *e, int count, const tn_lx *var, int vars) {
    for (int i = 0; i < count; i++)
        for (int j = 0; j < vars; j++)
            if (tn_l_uses_var(k, e[i], tn_l_expr(k, var[j])->index)) return true;
    return false;
}

static void open_axes(tn_loop *k, const tn_dim *d, int count, tn_lx *var) {
    for (int i = 0; i < count; i++)
        var[i] = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), tn_l_dim(k, d[i]), "p");
}

static tn_dim folded_extent(const tn_graph *g, tn_node fold) {
    const tn_node_info *n = tn_graph_node(g, fold);
    return tn_node_type(g, n, 0)->shape.dim[((const tn_attrs_reduce *)n->attrs)->axes.at[0]];
}

/* Rows and columns of the two products and of the folds are the same, and stay apart. */
static bool indices_agree(const tn_grouping *p, const tn_attention_parts *x) {
    const tn_graph *g = p->graph;
    tn_contraction first, second;
    tn__lower_of(g, x->score)->contraction->describe(g, tn_graph_node(g, x->score), &first);
    tn__lower_of(g, x->product)->contraction->describe(g, tn_graph_node(g, x->product), &second);
    if (first.k != 1 || second.k != 1) return false;
    if (folded_extent(g, x->sum) != second.k_extent[0] ||
        folded_extent(g, x->largest) != second.k_extent[0])
        return false;
    tn_loop k;
    tn_lx b[TN_MAX_RANK], m[TN_MAX_RANK], kv;
    tn_attention_point at;
    tn_loop_init(&k, tn__probe_arena(p), g->dims, "attention");
    open_axes(&k, second.b_extent, second.b, b);
    open_axes(&k, second.m_extent, second.m, m);
    open_axes(&k, second.k_extent, 1, &kv);
    if (!tn_attention_locate(p, x, &k, b, m, kv, &at)) return false;
    int rows = tn_graph_type(g, tn_graph_node(g, x->sum)->out)->shape.rank;
    const tn_lx *batch = at.score, *row = batch + first.b, *column = row + first.m;
    return !uses_any(&k, at.sum, rows, &kv, 1) && !uses_any(&k, at.largest, rows, &kv, 1) &&
           !uses_any(&k, batch, first.b, m, second.m) && !uses_any(&k, batch, first.b, &kv, 1) &&
           !uses_any(&k, row, first.m, &kv, 1) && !uses_any(&k, column, first.n, m, second.m);
}

/* ---- finding -------------------------------------------------------------------------------- */

/* One floating type that whole vectors hold, from the scores to the result. */
static bool types_agree(const tn_graph *g, const tn_attention_parts *x) {
    const tn_node_info *score = tn_graph_node(g, x->score), *product = tn_graph_node(g, x->product);
    tn_dtype t = tn_graph_type(g, product->out)->dtype;
    tn_contraction first, second;
    tn__lower_of(g, x->score)->contraction->describe(g, score, &first);
    tn__lower_of(g, x->product)->contraction->describe(g, product, &second);
    return (t == TN_f32 || t == TN_f64) && first.acc == t && second.acc == t &&
           tn_graph_type(g, score->out)->dtype == t && tn_graph_type(g, x->scores)->dtype == t &&
           tn_graph_type(g, x->weights)->dtype == t;
}

/* The dots that `v` is made from by pointwise work. */
static void list_products(const tn_grouping *p, tn_value v, uint8_t *seen, tn_attention_parts *x) {
    tn_node n = node_of(p->graph, v);
    const tn_node_info *info = tn_graph_node(p->graph, n);
    if (seen[n]) return;
    seen[n] = true;
    if (info->op == TN_OP_dot) tn_vec_push(p->arena, &x->inner, n);
    if (!tn__is_score_work(p->graph, n)) return;
    for (uint32_t i = 0; i < info->in_count; i++) list_products(p, info->in[i], seen, x);
}

/* Measured: with a few columns the scores are in the cache anyway, and going over rows twice costs
 * more. Open sizes may be long. */
static bool is_worthwhile(const tn_graph *g, const tn_attention_parts *x) {
    enum { FEWEST_COLUMNS = 17 };
    tn_contraction c;
    tn__lower_of(g, x->product)->contraction->describe(g, tn_graph_node(g, x->product), &c);
    return !tn_dim_is_const(c.k_extent[0]) || c.k_extent[0] >= FEWEST_COLUMNS;
}

static bool fits(tn_grouping *p, tn_attention_parts *x) {
    tn_attention_gradient *y = tn_attention_gradient_find(p, x);
    if (!(y ? take_inner(p, y, x) : collect_inner(p, x)) || !types_agree(p->graph, x)) return false;
    uint8_t *before = tn_arena_dup(p->arena, p->inlined, p->graph->nodes.len);
    for (uint32_t i = 0; i < x->inner.len; i++) p->inlined[x->inner.data[i]] = false;
    for (uint32_t i = 0; y && i < y->inner.len; i++) p->inlined[y->inner.data[i].node] = false;
    x->gradient = y;
    if (indices_agree(p, x) && (!y || tn_attention_gradient_fits(p, y))) return true;
    memcpy(p->inlined, before, p->graph->nodes.len);
    return false;
}

const tn_attention_parts *tn_attention_find(tn_grouping *p, tn_node n) {
    const tn_node_info *info = tn_graph_node(p->graph, n);
    tn_attention_parts candidates = {0}, *x = TN_NEW(p->arena, tn_attention_parts);
    *x = (tn_attention_parts){.product = n};
    if (info->op != TN_OP_dot || p->constant[n] || !match_softmax(p->graph, info->in[0], x) ||
        !is_worthwhile(p->graph, x))
        return NULL;
    uint8_t *seen = TN_NEW_N(p->arena, uint8_t, p->graph->nodes.len);
    list_products(p, x->scores, seen, &candidates);
    for (uint32_t i = 0; i < candidates.inner.len; i++) {
        x->score = candidates.inner.data[i];
        if (!p->attention[x->score] && fits(p, x)) return x;
    }
    return NULL;
}

/* ---- factors of q and k --------------------------------------------------------------------- */

static bool is_scalar(const tn_graph *g, tn_value v) {
    tn_array array;
    return tn_graph_constant(g, behind_views(g, v), &array) && tn_array_count(&array) == 1;
}

/* The operand that `n` multiplies with a constant, or divides by one; NO_VALUE: it does not. */
static tn_value scaled_operand(const tn_graph *g, const tn_node_info *n) {
    if ((n->op != TN_OP_mul && n->op != TN_OP_div) ||
        !tn_dtype_is_float(tn_graph_type(g, n->out)->dtype))
        return TN_NO_VALUE;
    if (is_scalar(g, n->in[1])) return n->in[0];
    return n->op == TN_OP_mul && is_scalar(g, n->in[0]) ? n->in[1] : TN_NO_VALUE;
}

void tn_attention_inline_factors(tn_grouping *p, const tn_attention_parts *x) {
    const tn_graph *g = p->graph;
    for (uint32_t which = 0; which < 2; which++) {
        tn_value v = behind_views(g, tn_graph_node(g, x->score)->in[which]), operand;
        while ((operand = scaled_operand(g, tn_graph_producer(g, v))) != TN_NO_VALUE &&
               p->readers[v].count == 1) {
            p->inlined[node_of(g, v)] = true;
            v = behind_views(g, operand);
            if (tn__is_score_work(g, node_of(g, v))) p->inlined[node_of(g, v)] = false;
        }
    }
}

/* ---- masks ---------------------------------------------------------------------------------- */

enum { MOST_MASK_COST = 10 };

typedef struct mask_probe {
    tn_access access; /* first */
    const tn_grouping *grouping;
    tn_lx column; /* the last axis */
    int cost;
    bool in_order; /* loads are contiguous along columns, or the same for all */
} mask_probe;

static tn_lx mask_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    mask_probe *m = a->context;
    tn_loop *k = a->emit.k;
    const tn_shape *s = &tn_graph_type(m->grouping->graph, v)->shape;
    tn_lx offset = tn_l_int(k, 0), coefficient, rest;
    for (int i = 0; i < s->rank; i++)
        offset = tn_l_add(k, tn_l_mul(k, offset, tn_l_dim(k, s->dim[i])), index[i]);
    int64_t step;
    m->in_order &= tn_l_affine(k, offset, tn_l_expr(k, m->column)->index, &coefficient, &rest) &&
                   tn_l_is_const_int(k, coefficient, &step) && (step == 0 || step == 1);
    m->cost++;
    tn_dtype dtype = tn_graph_type(m->grouping->graph, v)->dtype;
    uint32_t buffer = tn_l_buffer(k, TN_LBUF_INPUT, dtype, "leaf");
    return tn_l_load(k, buffer, offset, TN_LX_NONE, TN_LX_NONE);
}

/* Operations of the expression that `n` is, as far as it is inlined. */
static int mask_cost(const tn_grouping *p, tn_node n, int depth) {
    const tn_node_info *info = tn_graph_node(p->graph, n);
    const char *family = tn_op_info_of(info->op)->family;
    int cost = !strcmp(family, "unary") ? 4 : tn__is_plain_view(p->graph, n) ? 0 : 1;
    for (uint32_t i = 0; i < info->in_count && cost <= MOST_MASK_COST; i++) {
        tn_node from = node_of(p->graph, info->in[i]);
        if (depth < MOST_MASK_COST && p->inlined[from]) cost += mask_cost(p, from, depth + 1);
    }
    return cost;
}

static bool is_cheap_mask(const tn_grouping *p, tn_node n) {
    const tn_graph *g = p->graph;
    const tn_node_info *info = tn_graph_node(g, n);
    const tn_shape *s = &tn_graph_type(g, info->out)->shape;
    if (s->rank < 1 || s->dim[s->rank - 1] == 1) return false;
    tn_loop k;
    mask_probe m = {.grouping = p, .in_order = true, .cost = mask_cost(p, n, 0)};
    tn_lx at[TN_MAX_RANK];
    tn_arena *arena = tn__probe_arena(p);
    tn_loop_init(&k, arena, g->dims, "mask");
    tn_access_init(&m.access, &k, p, arena);
    m.access.leaf = mask_leaf;
    m.access.context = &m;
    open_axes(&k, s->dim, s->rank, at);
    m.column = at[s->rank - 1];
    tn__lower_of(g, n)->expression(&m.access.emit, info, 0, at);
    return m.in_order && m.cost <= MOST_MASK_COST;
}

/* From the last node to the first: `read` by attention, or by what is recomputed there, alone. */
void tn_attention_inline_masks(tn_grouping *p) {
    enum { UNREAD, INSIDE, ELSEWHERE };
    const tn_graph *g = p->graph;
    uint8_t *read = TN_NEW_N(p->arena, uint8_t, g->values.len);
    for (uint32_t i = 0; i < g->outputs.len; i++) read[g->outputs.data[i].value] = ELSEWHERE;
    for (tn_node n = g->nodes.len; n-- > 0;) {
        const tn_node_info *info = tn_graph_node(g, n);
        bool inside = p->enclosed[n] && info->op != TN_OP_dot; /* q and k are not masks */
        if (!p->enclosed[n] && info->out_count == 1 && read[info->out] == INSIDE &&
            tn__is_score_work(g, n)) {
            if (!p->inlined[n]) p->inlined[n] = is_cheap_mask(p, n);
            inside = p->inlined[n];
        }
        for (uint32_t i = 0; i < info->in_count; i++)
            if (!inside || read[info->in[i]] == UNREAD)
                read[info->in[i]] = inside ? INSIDE : ELSEWHERE;
    }
}
