/* Forming fusion groups. See group.h for what a group is.
 *
 * Three steps: find what is inlined (inlined.c), put each root into the best group in topological order, find
 * what must be stored. Read next: access.c (how inlining works), codegen/lower_rows.c. */
#include "schedule/group_inner.h"

static bool keeps_memory(tn_op op) {
    return op == TN_OP_reshape || op == TN_OP_barrier;
}

tn_value tn_group_storage(const tn_grouping *p, tn_value v) {
    if (!p->fuse) return v;
    for (;;) {
        const tn_node_info *n = tn_graph_producer(p->graph, v);
        if (!keeps_memory(n->op)) return v;
        v = n->in[0];
    }
}

bool tn_group_evaluates(const tn_grouping *p, uint32_t id, tn_node n) {
    if (p->inlined[n] || id == TN_NO_GROUP) return p->inlined[n];
    const tn_attention_gradient *y = p->groups.data[id].gradient;
    return y && y->place[n];
}

/* ---- dependencies between groups ------------------------------------------------------------ */

static uint32_t begin_walk(tn_grouping *p) {
    while (p->group_seen.len < p->groups.len) tn_vec_push(p->arena, &p->group_seen, 0);
    return ++p->group_mark;
}

static bool depends_on(const tn_grouping *p, uint32_t from, uint32_t to, uint32_t mark) {
    if (from == to) return true;
    if (p->group_seen.data[from] == mark) return false;
    p->group_seen.data[from] = mark;
    const tn_group *g = &p->groups.data[from];
    for (uint32_t i = 0; i < g->deps.len; i++)
        if (depends_on(p, g->deps.data[i], to, mark)) return true;
    return false;
}

bool tn__group_depends(tn_grouping *p, uint32_t from, uint32_t to) {
    return depends_on(p, from, to, begin_walk(p));
}

/* The groups that a root reads, looking through what is inlined, and those that bind its sizes. */
typedef tn__group_list group_list;

void tn__add_group(tn_arena *arena, group_list *list, uint32_t id) {
    for (uint32_t i = 0; i < list->len; i++)
        if (list->data[i] == id) return;
    tn_vec_push(arena, list, id);
}

static void read_groups(const tn_grouping *p, tn_node n, uint32_t mark, group_list *out) {
    const tn_node_info *info = tn_graph_node(p->graph, n);
    for (uint32_t i = 0; p->binders && i < p->binders[n].len; i++) {
        uint32_t id = p->group_of[p->binders[n].data[i]];
        if (id != TN_NO_GROUP) tn__add_group(p->arena, out, id);
    }
    for (uint32_t i = 0; i < info->in_count; i++) {
        tn_node from = p->graph->values.data[info->in[i]].node;
        if (!tn__first_visit(p, from, mark)) continue;
        if (p->group_of[from] != TN_NO_GROUP)
            tn__add_group(p->arena, out, p->group_of[from]);
        else
            read_groups(p, from, mark, out);
    }
}

static bool joining_makes_cycle(tn_grouping *p, uint32_t id, const group_list *reads) {
    uint32_t mark = begin_walk(p);
    for (uint32_t i = 0; i < reads->len; i++)
        if (reads->data[i] != id && depends_on(p, reads->data[i], id, mark)) return true;
    return false;
}

/* ---- joining -------------------------------------------------------------------------------- */

/* How many folds, one after another, a member waits for. */
static uint32_t level_of(const tn_grouping *p, const tn_group *group, uint32_t id, tn_node n,
                         uint32_t mark) {
    const tn_node_info *info = tn_graph_node(p->graph, n);
    uint32_t level = 0;
    for (uint32_t i = 0; i < info->in_count; i++) {
        tn_node from = p->graph->values.data[info->in[i]].node;
        if (!tn__first_visit(p, from, mark)) continue;
        uint32_t below;
        if (p->group_of[from] == id) {
            const tn_member *m = tn__find_member(group, from);
            bool fold = tn__lower_of(p->graph, from)->kind == TN_LOWER_FOLD ||
                        tn_group_has_anchor(group, from);
            below = m ? m->level + (fold ? 1 : 0) : 1; /* else the anchor, seen through views */
        } else if (p->group_of[from] == TN_NO_GROUP) {
            below = level_of(p, group, id, from, mark);
        } else {
            below = 0;
        }
        level = TN_MAX(level, below);
    }
    return level;
}

static void loaded_by(const tn_grouping *p, uint32_t id, tn_node n, uint32_t mark,
                      tn__value_list *out) {
    const tn_node_info *info = tn_graph_node(p->graph, n);
    for (uint32_t i = 0; i < tn__operands_read(info); i++) {
        tn_node from = tn_graph_value(p->graph, info->in[i])->node;
        if (p->group_of[from] == id && id != TN_NO_GROUP) continue;
        if (!tn__first_visit(p, from, mark)) continue;
        if (tn_group_evaluates(p, id, from))
            loaded_by(p, id, from, mark, out);
        else
            tn_vec_push(p->arena, out, tn_group_storage(p, info->in[i]));
    }
}

tn__value_list tn__loads_of(tn_grouping *p, uint32_t id, tn_node n) {
    tn__value_list loads = {0};
    loaded_by(p, id, n, ++p->seen_mark, &loads);
    return loads;
}

/* Remembers that group `id`, which `n` is now in, loads what `n` does. */
static void note_loads(tn_grouping *p, uint32_t id, tn_node n) {
    tn__value_list loads = tn__loads_of(p, id, n);
    for (uint32_t i = 0; i < loads.len; i++)
        tn__add_group(p->arena, &p->loaders[loads.data[i]], id);
}

static void join(tn_grouping *p, uint32_t id, tn_member m, const tn_space *space,
                 const group_list *reads) {
    tn_group *group = &p->groups.data[id];
    group->space = *space;
    m.level = level_of(p, group, id, m.node, ++p->seen_mark);
    tn_vec_push(p->arena, &group->members, m);
    p->group_of[m.node] = id;
    for (uint32_t i = 0; i < reads->len; i++)
        if (reads->data[i] != id) tn__add_group(p->arena, &group->deps, reads->data[i]);
    note_loads(p, id, m.node);
}

/* ---- new groups ----------------------------------------------------------------------------- */

/* Follows the views that are the only readers of the anchor's result; they are inlined, and the
 * group iterates over the shape that comes out. */
static tn_value domain_of(const tn_grouping *p, tn_value v) {
    const tn_graph *g = p->graph;
    if (!p->fuse) return v;
    for (;;) {
        if (p->use_count[v] != 1) return v;
        tn_value next = TN_NO_VALUE;
        for (tn_node n = tn_graph_value(g, v)->node + 1; n < g->nodes.len; n++) {
            const tn_node_info *info = tn_graph_node(g, n);
            for (uint32_t i = 0; i < tn__operands_read(info); i++)
                if (info->in[i] == v) next = info->out;
            if (next != TN_NO_VALUE) break;
        }
        if (next == TN_NO_VALUE) return v; /* the only use is as an output */
        tn_op op = tn_graph_producer(g, next)->op;
        if (op != TN_OP_permute && op != TN_OP_reshape) return v;
        v = next;
    }
}

/* Depthwise convolution and its like: a batch of products too thin for a register tile. They run as
 * a fold with vectors along the batch. */
static bool runs_as_fold(const tn_graph *g, const tn_node_info *info) {
    tn_contraction c;
    tn_op_rules_of(info->op)->lower.contraction->describe(g, info, &c);
    int64_t n = 1, b = 1;
    for (int i = 0; i < c.n; i++)
        n *= tn_dim_is_const(c.n_extent[i]) ? TN_MIN(c.n_extent[i], 64) : 64;
    for (int i = 0; i < c.b; i++) b = TN_MAX(b, tn_dim_is_const(c.b_extent[i]) ? c.b_extent[i] : 1);
    return n <= 2 && b >= 8;
}

/* What others read of a product: it, or the view that it is stored as. */
static void hold_domain(tn_grouping *p, uint32_t id, tn_node product, tn_value domain) {
    p->group_of[product] = id;
    if (domain == tn_graph_node(p->graph, product)->out) return;
    tn_node view = tn_graph_value(p->graph, domain)->node;
    p->group_of[view] = id;
    p->inlined[view] = false;
}

static void new_group(tn_grouping *p, tn_node n, const group_list *reads) {
    const tn_graph *g = p->graph;
    const tn_node_info *info = tn_graph_node(g, n);
    tn_lower_kind kind = tn__lower_of(g, n)->kind;
    tn_group group = {.kind = TN_GROUP_ROWS,
                      .anchor = TN_NO_NODE,
                      .domain_value = TN_NO_VALUE,
                      .prologue = TN_NO_GROUP,
                      .constant = p->constant[n]};
    tn_member m = {.node = n, .element = true};
    const tn_shape *shape = info->out_count ? &tn_graph_type(g, info->out)->shape : NULL;
    if (kind == TN_LOWER_NEST || kind == TN_LOWER_CONTROL) {
        group.kind = kind == TN_LOWER_NEST ? TN_GROUP_NEST : TN_GROUP_CONTROL;
        group.anchor = n;
    } else if (kind == TN_LOWER_CONTRACTION ||
               (kind == TN_LOWER_FOLD && info->op != TN_OP_reduce)) {
        group.attention = p->attention[n];
        if (group.attention)
            group.kind = TN_GROUP_ATTENTION;
        else if (kind == TN_LOWER_CONTRACTION && !runs_as_fold(g, info))
            group.kind = TN_GROUP_CONTRACTION;
        group.anchor = n;
        group.domain_value = domain_of(p, info->out);
        group.space.shape = tn_graph_type(g, group.domain_value)->shape;
    } else if (kind == TN_LOWER_FOLD) {
        const tn_attrs_reduce *a = info->attrs;
        group.space.shape = tn_node_type(g, info, 0)->shape;
        group.space.has_fold = true;
        for (int i = 0; i < a->axes.count; i++) group.space.folded[a->axes.at[i]] = true;
        for (int i = 0, to = 0; i < group.space.shape.rank; i++) {
            m.operand[i] = (int8_t)i;
            if (!group.space.folded[i]) m.axis[to++] = (int8_t)i;
        }
        m.element = false;
    } else {
        group.space.shape = *shape;
        for (int i = 0; i < shape->rank; i++) m.axis[i] = (int8_t)i;
    }
    uint32_t id = p->groups.len;
    tn_vec_push(p->arena, &group.members, m);
    for (uint32_t i = 0; group.attention && i < group.attention->inner.len; i++) {
        tn_node inner = group.attention->inner.data[i];
        tn_vec_push(p->arena, &group.members, ((tn_member){.node = inner}));
        p->group_of[inner] = id;
    }
    for (uint32_t i = 0; i < reads->len; i++) tn__add_group(p->arena, &group.deps, reads->data[i]);
    tn_vec_push(p->arena, &p->groups, group);
    p->group_of[n] = id;
    note_loads(p, id, n);
    if (group.domain_value != TN_NO_VALUE) hold_domain(p, id, n, group.domain_value);
}

static void new_gradient_group(tn_grouping *p, tn_attention_gradient *y) {
    const tn_graph *g = p->graph;
    uint32_t id = p->groups.len;
    tn_group group = {.kind = TN_GROUP_ATTENTION_GRADIENT,
                      .anchor = TN_NO_NODE,
                      .domain_value = TN_NO_VALUE,
                      .prologue = TN_NO_GROUP,
                      .gradient = y};
    group.space.shape = tn_graph_type(g, tn_graph_node(g, y->x->score)->out)->shape;
    group_list reads = {0};
    for (uint32_t i = 0; i < y->products.len; i++)
        tn_vec_push(p->arena, &group.members, ((tn_member){.node = y->products.data[i].node}));
    for (uint32_t i = 0; i < y->inner.len; i++)
        if (!y->inner.data[i].forward)
            tn_vec_push(p->arena, &group.members, ((tn_member){.node = y->inner.data[i].node}));
    for (uint32_t i = 0; i < group.members.len; i++)
        read_groups(p, group.members.data[i].node, ++p->seen_mark, &reads);
    for (uint32_t i = 0; i < reads.len; i++) tn__add_group(p->arena, &group.deps, reads.data[i]);
    tn_vec_push(p->arena, &p->groups, group);
    for (uint32_t i = 0; i < group.members.len; i++) p->group_of[group.members.data[i].node] = id;
    for (uint32_t i = 0; i < y->products.len; i++) {
        tn_score_product *x = &y->products.data[i];
        x->domain_value = domain_of(p, tn_graph_node(g, x->node)->out);
        hold_domain(p, id, x->node, x->domain_value);
    }
    for (uint32_t i = 0; i < group.members.len; i++) note_loads(p, id, group.members.data[i].node);
}

/* ---- the walk ------------------------------------------------------------------------------- */

static bool is_product(const tn_group *group) {
    return group->kind == TN_GROUP_CONTRACTION || group->kind == TN_GROUP_ATTENTION;
}

/* Candidates in order of preference: products (their result is in registers), then the group formed
 * last. */
static bool better(const tn_grouping *p, uint32_t a, uint32_t b) {
    bool pa = is_product(&p->groups.data[a]), pb = is_product(&p->groups.data[b]);
    return pa != pb ? pa : a > b;
}

static void sort_groups(const tn_grouping *p, group_list *list) { /* few entries */
    for (uint32_t i = 1; i < list->len; i++)
        for (uint32_t j = i; j > 0 && better(p, list->data[j], list->data[j - 1]); j--) {
            uint32_t t = list->data[j];
            list->data[j] = list->data[j - 1];
            list->data[j - 1] = t;
        }
}

static void enclose_gradient(tn_grouping *p, tn_attention_gradient *y) {
    p->gradient[y->last] = y;
    for (uint32_t i = 0; i < y->inner.len; i++) p->enclosed[y->inner.data[i].node] = true;
    for (uint32_t i = 0; i < y->products.len; i++) p->enclosed[y->products.data[i].node] = true;
}

static void find_attention(tn_grouping *p) {
    p->attention = TN_NEW_N(p->arena, const tn_attention_parts *, p->graph->nodes.len);
    p->gradient = TN_NEW_N(p->arena, tn_attention_gradient *, p->graph->nodes.len);
    p->enclosed = TN_NEW_N(p->arena, uint8_t, p->graph->nodes.len);
    for (tn_node n = 0; p->fuse && n < p->graph->nodes.len; n++) {
        const tn_attention_parts *x = p->attention[n] = tn_attention_find(p, n);
        for (uint32_t i = 0; x && i < x->inner.len; i++) p->enclosed[x->inner.data[i]] = true;
        if (x) tn_attention_inline_factors(p, x);
        if (x && x->gradient) enclose_gradient(p, x->gradient);
    }
    if (p->fuse) tn_attention_inline_masks(p);
}

static tn_dim count_of(tn_dims *dims, tn_dim count, const tn_dim *extent, int axes) {
    for (int i = 0; i < axes; i++) count = tn_dim_mul(dims, count, extent[i]);
    return count;
}

bool tn__reads_once(const tn_graph *g, const tn_node_info *n, uint32_t which) {
    tn_contraction c;
    tn_op_rules_of(n->op)->lower.contraction->describe(g, n, &c);
    tn_dim count = count_of(g->dims, count_of(g->dims, 1, c.b_extent, c.b), c.k_extent, c.k);
    count = which == 0 ? count_of(g->dims, count, c.m_extent, c.m)
                       : count_of(g->dims, count, c.n_extent, c.n);
    return count == tn_shape_count(g->dims, &tn_node_type(g, n, which)->shape);
}

/* Pointwise work that would need a kernel of its own, on its way into one contraction: done in that
 * one's mainloop, it is never stored. A permute that is not inlined is one to store. */
static bool goes_into_product(const tn_grouping *p, tn_node n) {
    const tn_graph *g = p->graph;
    const tn_node_info *info = tn_graph_node(g, n);
    const tn__reader *r = &p->readers[info->out];
    return p->fuse && tn__lower_of(g, n)->kind == TN_LOWER_EXPRESSION && r->count == 1 &&
           r->product && !r->repeated && !p->enclosed[r->node] && !p->attention[r->node] &&
           info->op != TN_OP_pad && info->op != TN_OP_concat && info->op != TN_OP_permute &&
           tn__reads_once(g, tn_graph_node(g, r->node), r->which);
}

/* ---- side by side --------------------------------------------------------------------------- */

bool tn__has_own_way(const tn_graph *g, tn_node n) {
    tn_op op = g->nodes.data[n].op;
    return op == TN_OP_pad || op == TN_OP_concat || op == TN_OP_gather;
}

/* Whether group `id` may take `n`, which reads nothing of it, beside its members: folds beside folds,
 * pointwise work beside pointwise work. */
static bool is_sibling(const tn_grouping *p, uint32_t id, tn_node n) {
    const tn_group *group = &p->groups.data[id];
    bool fold = tn__lower_of(p->graph, n)->kind == TN_LOWER_FOLD;
    if (group->kind != TN_GROUP_ROWS || group->anchor != TN_NO_NODE ||
        group->space.has_fold != fold)
        return false;
    for (uint32_t i = 0; i < group->members.len; i++) {
        tn_node member = group->members.data[i].node;
        if (tn__has_own_way(p->graph, member) ||
            (tn__lower_of(p->graph, member)->kind == TN_LOWER_FOLD) != fold)
            return false;
    }
    return !tn__has_own_way(p->graph, n);
}

/* The groups that load a whole tensor which `n` loads too. */
static void find_siblings(tn_grouping *p, tn_node n, group_list *out) {
    const tn_graph *g = p->graph;
    const tn_node_info *info = tn_graph_node(g, n);
    bool fold = tn__lower_of(g, n)->kind == TN_LOWER_FOLD;
    const tn_type *over = fold ? tn_node_type(g, info, 0) : tn_graph_type(g, info->out);
    tn_dim whole = tn_shape_count(g->dims, &over->shape);
    tn__value_list loads = tn__loads_of(p, TN_NO_GROUP, n);
    for (uint32_t i = 0; i < loads.len; i++) {
        tn_value v = loads.data[i];
        if (whole == 1 || tn_shape_count(g->dims, &tn_graph_type(g, v)->shape) != whole) continue;
        for (uint32_t j = 0; j < p->loaders[v].len; j++)
            if (is_sibling(p, p->loaders[v].data[j], n))
                tn__add_group(p->arena, out, p->loaders[v].data[j]);
    }
}

static bool try_groups(tn_grouping *p, tn_node n, const group_list *candidates,
                       const group_list *reads) {
    bool skip = tn__chosen(p, n, TN__SECOND_GROUP);
    for (uint32_t i = 0; i < candidates->len; i++) {
        tn_member m;
        tn_space space;
        uint32_t id = candidates->data[i];
        if (!tn__fits(p, id, n, &m, &space) || joining_makes_cycle(p, id, reads)) continue;
        if (skip) {
            skip = false;
            continue;
        }
        join(p, id, m, &space, reads);
        return true;
    }
    return false;
}

static void place_root(tn_grouping *p, tn_node n) {
    group_list reads = {0};
    read_groups(p, n, ++p->seen_mark, &reads);
    tn_lower_kind kind = tn__lower_of(p->graph, n)->kind;
    bool joins = p->fuse && (kind == TN_LOWER_EXPRESSION ||
                             (kind == TN_LOWER_FOLD && p->graph->nodes.data[n].op == TN_OP_reduce));
    if (joins) {
        sort_groups(p, &reads);
        if (tn__unite_products(p, n, &reads)) { /* there are fewer now */
            p->united[n] = true;
            reads.len = 0;
            read_groups(p, n, ++p->seen_mark, &reads);
            sort_groups(p, &reads);
        }
        if (try_groups(p, n, &reads, &reads)) return;
    }
    if (goes_into_product(p, n)) {
        p->inlined[n] = true;
        return;
    }
    if (joins) {
        group_list siblings = {0};
        find_siblings(p, n, &siblings);
        if (try_groups(p, n, &siblings, &reads)) return;
    }
    new_group(p, n, &reads);
}

static void store(tn_grouping *p, tn_value v) {
    v = tn_group_storage(p, v);
    tn_node node = tn_graph_value(p->graph, v)->node;
    if (p->stored[v] || tn__lower_of(p->graph, node)->kind == TN_LOWER_SOURCE) return;
    p->stored[v] = true;
    if (p->group_of[node] == TN_NO_GROUP) { /* an inlined view that must exist in memory */
        for (uint32_t i = 0; i < p->groups.len; i++) {
            tn_value domain = tn__domain_stored_in(p, &p->groups.data[i], v);
            if (domain == TN_NO_VALUE) continue;
            tn_vec_push(p->arena, &p->groups.data[i].stores, domain);
            return;
        }
        group_list reads = {0};
        read_groups(p, node, ++p->seen_mark, &reads);
        new_group(p, node, &reads);
        p->group_of[node] = TN_NO_GROUP; /* readers go on recomputing the view */
        tn_vec_push(p->arena, &p->groups.data[p->groups.len - 1].stores, v);
        return;
    }
    tn_group *group = &p->groups.data[p->group_of[node]];
    const tn_member *m = tn__find_member(group, node);
    tn_value domain = tn__domain_stored_in(p, group, v);
    if (m && m->scalar)
        tn_vec_push(p->arena, &group->scalars, v);
    else
        tn_vec_push(p->arena, &group->stores, domain == TN_NO_VALUE ? v : domain);
}

static void add_store_dep(tn_grouping *p, uint32_t id, tn_value v) {
    v = tn_group_storage(p, v);
    for (uint32_t i = 0; i < p->groups.len; i++)
        for (uint32_t j = 0; j < tn_group_results(&p->groups.data[i]); j++)
            if (tn_group_storage(p, tn_group_result(&p->groups.data[i], j)) == v && i != id)
                tn__add_group(p->arena, &p->groups.data[id].deps, i);
}

/* Values that group `id` reads from memory: leaves of its members that it does not hold itself. Storing
 * walks, too: a node may be visited again then, which does nothing. */
static void store_leaves(tn_grouping *p, uint32_t id, tn_node n, uint32_t mark) {
    const tn_node_info *info = tn_graph_node(p->graph, n);
    const tn_group *group = &p->groups.data[id];
    for (uint32_t i = 0; i < tn__operands_read(info); i++) {
        tn_value v = info->in[i];
        tn_node from = tn_graph_value(p->graph, v)->node;
        if (tn_group_is_domain(group, v) || p->group_of[from] == id) continue;
        if (!tn_group_evaluates(p, id, from))
            store(p, v);
        else if (tn__first_visit(p, from, mark))
            store_leaves(p, id, from, mark);
    }
}

static void find_stores(tn_grouping *p) {
    const tn_graph *g = p->graph;
    for (uint32_t i = 0; i < g->outputs.len; i++) store(p, g->outputs.data[i].value);
    for (uint32_t id = 0; id < p->groups.len; id++) { /* store() may add groups at the end */
        uint32_t mark = ++p->seen_mark;
        tn_group_kind kind = p->groups.data[id].kind;
        for (uint32_t m = 0; m < p->groups.data[id].members.len; m++) {
            tn_node n = p->groups.data[id].members.data[m].node;
            const tn_node_info *info = tn_graph_node(g, n);
            if (kind == TN_GROUP_CONTROL)
                for (uint32_t i = 0; i < info->in_count; i++) {
                    store(p, info->in[i]);
                    add_store_dep(p, id, info->in[i]);
                }
            else
                store_leaves(p, id, n, mark);
        }
        if (kind == TN_GROUP_NEST || kind == TN_GROUP_CONTROL) {
            const tn_node_info *info = tn_graph_node(g, p->groups.data[id].anchor);
            for (uint32_t i = 0; i < info->out_count; i++) store(p, info->out + i);
        }
    }
}

tn_arena *tn__probe_arena(const tn_grouping *p) {
    tn_arena_clear(p->probes);
    return p->probes;
}

static void find_binders(tn_grouping *p) {
    const tn_graph *g = p->graph;
    const uint32_t *bound = tn_graph_bound_sizes(g, p->arena);
    if (!bound) return;
    tn__node_list *list = TN_NEW_N(p->arena, tn__node_list, g->nodes.len);
    bool *used = TN_NEW_N(p->arena, bool, g->dims->symbols.len);
    for (tn_node n = 0; n < g->nodes.len; n++) {
        memset(used, 0, g->dims->symbols.len);
        tn_graph_mark_symbols(g, tn_graph_node(g, n), used);
        for (uint32_t s = 0; s < g->dims->symbols.len; s++)
            if (used[s] && bound[s] && bound[s] - 1 != n)
                tn_vec_push(p->arena, &list[n], bound[s] - 1);
    }
    p->binders = list;
}

static tn_status form_guarded(void *argument, tn_error *err) {
    tn_grouping *p = argument;
    const tn_graph *g = p->graph;
    (void)err;
    p->typical = tn__typical_sizes(g, p->arena);
    p->inlined = TN_NEW_N(p->arena, uint8_t, g->nodes.len);
    p->constant = TN_NEW_N(p->arena, uint8_t, g->nodes.len);
    p->steady = TN_NEW_N(p->arena, uint8_t, g->nodes.len);
    p->prepared = TN_NEW_N(p->arena, uint8_t, g->nodes.len);
    p->group_of = TN_NEW_N(p->arena, uint32_t, g->nodes.len);
    p->stored = TN_NEW_N(p->arena, uint8_t, g->values.len);
    p->united = TN_NEW_N(p->arena, uint8_t, g->nodes.len);
    p->use_count = tn_graph_use_counts(g, p->arena);
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        for (uint32_t i = tn__operands_read(info); i < info->in_count; i++)
            p->use_count[info->in[i]]--;
    }
    p->seen = TN_NEW_N(p->arena, uint32_t, g->nodes.len);
    p->loaders = TN_NEW_N(p->arena, tn__group_list, g->values.len);
    memset(p->group_of, 0xff, g->nodes.len * sizeof *p->group_of);
    find_binders(p);
    tn__find_inlined(p);
    find_attention(p);
    for (tn_node n = 0; n < g->nodes.len; n++)
        if (p->gradient[n])
            new_gradient_group(p, p->gradient[n]);
        else if (!p->inlined[n] && !p->enclosed[n] && p->group_of[n] == TN_NO_GROUP &&
                 tn__lower_of(g, n)->kind != TN_LOWER_SOURCE)
            place_root(p, n);
    if (p->fuse) tn__join_scalars(p);
    find_stores(p);
    if (p->fuse) tn__find_prologues(p);
    tn__order_groups(p);
    return TN_OK;
}

tn_grouping *tn__form_groups(const tn_graph *g, const tn_loop_inputs *loop, bool fuse,
                             const uint8_t *choices, const tn_costs *costs, tn_arena *arena) {
    tn_arena probes;
    tn_arena_init(&probes, arena->allocator);
    probes.limit = arena->limit;
    tn_grouping *p = TN_NEW(arena, tn_grouping);
    *p = (tn_grouping){.graph = g,
                       .arena = arena,
                       .probes = &probes,
                       .fuse = fuse,
                       .loop = loop,
                       .costs = *costs,
                       .choices = choices};
    tn_status status = tn_guard(form_guarded, p, NULL);
    tn_arena_deinit(&probes);
    p->probes = NULL;
    if (status != TN_OK) tn_out_of_memory();
    return p;
}
