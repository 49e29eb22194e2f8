/* Products side by side: which may share a group as its anchors, and bringing them there.
 *
 * They make elements of the same space: equal batch, rows and columns, and the same views behind. So an
 * element of one and the element of the other at the same index lie at the same place of the same
 * register tile, whatever their operands are (codegen/contraction_sibling.c). */
#include "schedule/group_inner.h"

bool tn_group_has_anchor(const tn_group *g, tn_node n) {
    for (uint32_t i = 0; i < tn_group_anchors(g); i++)
        if (tn_group_anchor(g, i).node == n) return true;
    return false;
}

bool tn_group_is_domain(const tn_group *g, tn_value v) {
    for (uint32_t i = 0; i < tn_group_anchors(g); i++)
        if (tn_group_anchor(g, i).domain_value == v) return true;
    return false;
}

tn_value tn__domain_stored_in(const tn_grouping *p, const tn_group *group, tn_value v) {
    const tn_attention_gradient *y = group->gradient;
    for (uint32_t i = 0; y && i < y->products.len; i++)
        if (tn_group_storage(p, y->products.data[i].domain_value) == v)
            return y->products.data[i].domain_value;
    for (uint32_t i = 0; i < tn_group_anchors(group); i++) {
        tn_value domain = tn_group_anchor(group, i).domain_value;
        if (domain != TN_NO_VALUE && tn_group_storage(p, domain) == v) return domain;
    }
    return TN_NO_VALUE;
}

/* ---- may they? ------------------------------------------------------------------------------ */

static bool same_extents(const tn_dim *x, const tn_dim *y, int count) {
    return count == 0 || !memcmp(x, y, (size_t)count * sizeof *x);
}

static bool same_results(const tn_graph *g, tn_node x, tn_node y) {
    tn_contraction c, d;
    tn__lower_of(g, x)->contraction->describe(g, tn_graph_node(g, x), &c);
    tn__lower_of(g, y)->contraction->describe(g, tn_graph_node(g, y), &d);
    return c.b == d.b && c.m == d.m && c.n == d.n && c.acc == d.acc &&
           same_extents(c.b_extent, d.b_extent, c.b) && same_extents(c.m_extent, d.m_extent, c.m) &&
           same_extents(c.n_extent, d.n_extent, c.n);
}

static bool same_view(const tn_graph *g, tn_value x, tn_value y) {
    const tn_node_info *n = tn_graph_producer(g, x), *o = tn_graph_producer(g, y);
    if (n->op != o->op || !tn_shape_equal(&tn_graph_type(g, x)->shape, &tn_graph_type(g, y)->shape))
        return false;
    if (n->op != TN_OP_permute) return true;
    const tn_attrs_permute *a = n->attrs, *b = o->attrs;
    return !memcmp(a->perm.at, b->perm.at, (size_t)a->perm.count * sizeof *a->perm.at);
}

/* Permutes and reshapes, step by step. */
static bool same_views(const tn_graph *g, tn_anchor a, tn_anchor b) {
    tn_value x = a.domain_value, y = b.domain_value;
    tn_value x_end = tn_graph_node(g, a.node)->out, y_end = tn_graph_node(g, b.node)->out;
    for (; x != x_end && y != y_end;
         x = tn_graph_producer(g, x)->in[0], y = tn_graph_producer(g, y)->in[0])
        if (!same_view(g, x, y)) return false;
    return x == x_end && y == y_end;
}

/* Weights that the kernel reads in their stored type: their tiles are cut in another way. */
static bool has_stored_weights(const tn_grouping *p, tn_node n) {
    const tn_node_info *info = tn_graph_node(p->graph, n);
    if (!p->constant[n] || !p->inlined[n]) return false;
    bool stored = tn__is_stored_weight(p, n);
    for (uint32_t i = 0; i < info->in_count && !stored; i++)
        stored = has_stored_weights(p, tn_graph_value(p->graph, info->in[i])->node);
    return stored;
}

/* Products of the general lowering whose tiles are cut like those of others. */
static bool takes_siblings(const tn_grouping *p, const tn_group *group) {
    if (group->kind != TN_GROUP_CONTRACTION || group->constant) return false;
    for (uint32_t i = 0; i < tn_group_anchors(group); i++) {
        tn_node n = tn_group_anchor(group, i).node;
        const tn_node_info *info = tn_graph_node(p->graph, n);
        tn_node weights = tn_graph_value(p->graph, info->in[1])->node;
        if (tn_schedule_winograd_side(p, n) != 0 || has_stored_weights(p, weights) ||
            tn__is_of_bytes(p->graph, info) || tn_schedule_may_sweep(p, n))
            return false;
    }
    return true;
}

static bool may_unite(tn_grouping *p, uint32_t into, uint32_t from) {
    const tn_group *a = &p->groups.data[into], *b = &p->groups.data[from];
    return takes_siblings(p, a) && takes_siblings(p, b) &&
           tn_group_anchors(a) + tn_group_anchors(b) <= TN_MOST_ANCHORS &&
           same_results(p->graph, a->anchor, b->anchor) &&
           same_views(p->graph, tn_group_anchor(a, 0), tn_group_anchor(b, 0)) &&
           !tn__group_depends(p, into, from) && !tn__group_depends(p, from, into);
}

/* ---- bringing them together ----------------------------------------------------------------- */

/* Whether it was there. */
static bool drop_group(tn__group_list *list, uint32_t id) {
    uint32_t kept = 0, count = list->len;
    for (uint32_t i = 0; i < count; i++)
        if (list->data[i] != id) list->data[kept++] = list->data[i];
    list->len = kept;
    return kept < count;
}

static void rename_group(const tn_grouping *p, tn__group_list *list, uint32_t from, uint32_t to) {
    if (drop_group(list, from)) tn__add_group(p->arena, list, to);
}

void tn__move_group(tn_grouping *p, uint32_t into, uint32_t from) {
    tn_group *to = &p->groups.data[into], *old = &p->groups.data[from];
    for (uint32_t i = 0; i < old->members.len; i++)
        tn_vec_push(p->arena, &to->members, old->members.data[i]);
    for (uint32_t i = 0; i < old->deps.len; i++)
        tn__add_group(p->arena, &to->deps, old->deps.data[i]);
    for (tn_node n = 0; n < p->graph->nodes.len; n++)
        if (p->group_of[n] == from) p->group_of[n] = into;
    for (uint32_t i = 0; i < p->groups.len; i++)
        if (i != into) rename_group(p, &p->groups.data[i].deps, from, into);
    drop_group(&to->deps, from);
    for (tn_value v = 0; v < p->graph->values.len; v++) rename_group(p, &p->loaders[v], from, into);
    *old = (tn_group){.kind = TN_GROUP_ROWS,
                      .anchor = TN_NO_NODE,
                      .domain_value = TN_NO_VALUE,
                      .prologue = TN_NO_GROUP,
                      .nested = true};
}

static void unite(tn_grouping *p, uint32_t into, uint32_t from) {
    tn_group *to = &p->groups.data[into];
    const tn_group *old = &p->groups.data[from];
    for (uint32_t i = 0; i < tn_group_anchors(old); i++)
        tn_vec_push(p->arena, &to->siblings, tn_group_anchor(old, i));
    tn__move_group(p, into, from);
}

bool tn__unite_products(tn_grouping *p, tn_node n, const tn__group_list *reads) {
    uint32_t into = TN_NO_GROUP;
    bool united = false;
    tn_along along = TN_ALONG_SPACE;
    if (tn__chosen(p, n, TN__APART)) return false;
    for (uint32_t i = 0; i < reads->len; i++) {
        tn_member m;
        tn_space space;
        uint32_t id = reads->data[i];
        if (p->groups.data[id].kind != TN_GROUP_CONTRACTION || !tn__fits(p, id, n, &m, &space))
            continue;
        if (into == TN_NO_GROUP) {
            into = id;
            along = m.along;
        } else if (m.along == along && may_unite(p, into, id)) {
            unite(p, into, id);
            united = true;
        }
    }
    return united;
}
