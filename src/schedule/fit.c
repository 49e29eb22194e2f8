/* Whether a root may join a group: do their spaces agree, and is every access to a member at the very
 * index being computed? See group.h. */
#include "schedule/group_inner.h"

/* ---- probing: at which index does a root read the members of a group? ----------------------- */

typedef struct probe {
    tn_access access;
    tn_loop loop;
    tn_lx var[TN_MAX_RANK]; /* one per space axis */
    const tn_group *group;
    uint32_t group_id;
    const tn_grouping *grouping;
    bool ok;
} probe;

const tn_member *tn__find_member(const tn_group *group, tn_node n) {
    for (uint32_t i = 0; i < group->members.len; i++)
        if (group->members.data[i].node == n) return &group->members.data[i];
    return NULL;
}

static tn_lx probe_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    probe *p = a->context;
    const tn_value_info *info = tn_graph_value(p->grouping->graph, v);
    if (p->grouping->group_of[info->node] == p->group_id) {
        int rank = info->type.shape.rank;
        const tn_member *m = tn__find_member(p->group, info->node);
        if (tn_group_has_anchor(p->group, info->node)) {
            p->ok = false; /* read past the views that follow it */
        } else if (!m || info->result != 0) {
            p->ok = false;
        } else {
            for (int i = 0; i < rank; i++) {
                int axis = m->axis[i];
                if (axis >= 0 && p->group->space.shape.dim[axis] != 1 && index[i] != p->var[axis])
                    p->ok = false;
            }
        }
    }
    uint32_t buffer = tn_l_buffer(&p->loop, TN_LBUF_INPUT, info->type.dtype, "leaf");
    return tn_l_load(&p->loop, buffer, tn_l_int(&p->loop, 0), TN_LX_NONE, TN_LX_NONE);
}

static void probe_init(probe *p, const tn_grouping *grouping, uint32_t group_id) {
    *p = (probe){.grouping = grouping,
                 .group = &grouping->groups.data[group_id],
                 .group_id = group_id,
                 .ok = true};
    tn_arena *arena = tn__probe_arena(grouping);
    tn_loop_init(&p->loop, arena, grouping->graph->dims, "probe");
    const tn_shape *s = &p->group->space.shape;
    for (int i = 0; i < s->rank; i++)
        p->var[i] = tn_l_for(&p->loop, TN_LOOP_SERIAL, tn_l_int(&p->loop, 0),
                             tn_l_dim(&p->loop, s->dim[i]), "i");
    tn_access_init(&p->access, &p->loop, grouping, arena);
    p->access.leaf = probe_leaf;
    p->access.context = p;
    for (uint32_t n = 0; n < tn_group_anchors(p->group); n++) { /* seen through their views */
        tn_value domain = tn_group_anchor(p->group, n).domain_value;
        if (domain == TN_NO_VALUE) continue;
        tn_lx at[TN_MAX_RANK];
        for (int i = 0; i < s->rank; i++)
            at[i] = s->dim[i] == 1 ? tn_l_int(&p->loop, 0) : p->var[i];
        tn_dtype dtype = tn_graph_type(grouping->graph, domain)->dtype;
        uint32_t buffer = tn_l_buffer(&p->loop, TN_LBUF_INPUT, dtype, "anchor");
        tn_access_define(
            &p->access, domain, at,
            tn_l_load(&p->loop, buffer, tn_l_int(&p->loop, 0), TN_LX_NONE, TN_LX_NONE));
    }
}

static void member_index(const probe *p, const int8_t *axis, const tn_shape *shape, tn_lx *index) {
    for (int i = 0; i < shape->rank; i++)
        index[i] = axis[i] >= 0 ? p->var[axis[i]] : tn_l_int(&((probe *)p)->loop, 0);
}

/* ---- joining a group ------------------------------------------------------------------------ */

/* Matches the axes of `shape` that are not 1, in order, with the space axes that are not 1 (all of
 * them, or only the row axes). */
static bool match_axes(const tn_shape *shape, const tn_space *space, bool rows_only, int8_t *axis) {
    int at = 0;
    for (int i = 0; i < shape->rank; i++) {
        axis[i] = -1;
        if (shape->dim[i] == 1) continue;
        while (at < space->shape.rank &&
               (space->shape.dim[at] == 1 || (rows_only && space->folded[at])))
            at++;
        if (at >= space->shape.rank || space->shape.dim[at] != shape->dim[i]) return false;
        axis[i] = (int8_t)at++;
    }
    for (; at < space->shape.rank; at++)
        if (space->shape.dim[at] != 1 && !(rows_only && space->folded[at])) return false;
    return true;
}

static tn_contraction contraction_of(const tn_grouping *p, const tn_group *group) {
    const tn_node_info *n = tn_graph_node(p->graph, group->anchor);
    tn_contraction c;
    tn_op_rules_of(n->op)->lower.contraction->describe(p->graph, n, &c);
    return c;
}

/* The axes of the space that a member of a CONTRACTION group is folded over. */
static void folded_along(const tn_grouping *p, const tn_group *group, tn_along along,
                         bool folded[TN_MAX_RANK]) {
    bool batch = along == TN_ALONG_COLUMNS || along == TN_ALONG_NOTHING;
    bool rows = along != TN_ALONG_ROWS;
    bool columns = along != TN_ALONG_COLUMNS && along != TN_ALONG_BATCH_COLUMNS;
    tn_contraction c = contraction_of(p, group);
    for (int i = 0; i < c.b + c.m + c.n; i++)
        folded[i] = i < c.b ? batch : i < c.b + c.m ? rows : columns;
}

/* Whether results of each product of a batch can have a ticket of their own. */
static bool has_tickets(const tn_grouping *p, const tn_group *group) {
    enum { MOST_TICKETS = 1 << 16 };
    tn_contraction c = contraction_of(p, group);
    int64_t batch = 1;
    for (int i = 0; i < c.b && batch <= MOST_TICKETS; i++) {
        if (!tn_dim_is_const(c.b_extent[i]) || c.b_extent[i] > MOST_TICKETS) return false;
        batch *= c.b_extent[i];
    }
    return batch <= MOST_TICKETS;
}

/* A fold over whole kinds of axes of the tile; with views behind the anchor they are not apart. A
 * filter by tiles has another tile. */
static bool tile_fold_fits(const tn_grouping *p, const tn_group *group, const bool *folded,
                           tn_member *m) {
    const tn_shape *s = &group->space.shape;
    if (group->constant || group->domain_value != tn_graph_node(p->graph, group->anchor)->out ||
        tn_schedule_winograd_side(p, group->anchor) != 0)
        return false;
    for (int i = 0; i < s->rank; i++) /* without elements there would be no task to finish it */
        if (tn_dim_lo(p->graph->dims, s->dim[i]) < 1) return false;
    for (tn_along along = TN_ALONG_ROWS; along < TN_ALONG_COUNT; along++) {
        bool wanted[TN_MAX_RANK] = {false}, same = true;
        folded_along(p, group, along, wanted);
        for (int i = 0; i < s->rank; i++) same &= s->dim[i] == 1 || wanted[i] == folded[i];
        m->along = along;
        if (same) return along <= TN_ALONG_NOTHING || has_tickets(p, group);
    }
    return false;
}

static bool reduce_fits(const tn_grouping *p, const tn_group *group, const tn_node_info *info,
                        tn_space *space, tn_member *m) {
    const tn_attrs_reduce *a = info->attrs;
    const tn_shape *x = &tn_node_type(p->graph, info, 0)->shape;
    if (group->kind != TN_GROUP_CONTRACTION &&
        (group->kind != TN_GROUP_ROWS || group->anchor != TN_NO_NODE))
        return false;
    if (!match_axes(x, space, false, m->operand)) return false;
    bool folded[TN_MAX_RANK] = {false};
    for (int i = 0; i < a->axes.count; i++)
        if (m->operand[a->axes.at[i]] >= 0) folded[m->operand[a->axes.at[i]]] = true;
    if (group->kind == TN_GROUP_CONTRACTION) {
        if (!tile_fold_fits(p, group, folded, m)) return false;
    } else if (space->has_fold) {
        for (int i = 0; i < space->shape.rank; i++)
            if (space->shape.dim[i] != 1 && space->folded[i] != folded[i]) return false;
    } else {
        memcpy(space->folded, folded, sizeof folded);
        space->has_fold = true;
    }
    int to = 0;
    for (int i = 0; i < x->rank; i++) {
        bool gone = false;
        for (int j = 0; j < a->axes.count; j++) gone |= a->axes.at[j] == i;
        if (!gone) m->axis[to++] = m->operand[i];
    }
    m->element = false;
    return true;
}

/* The kinds of members of a CONTRACTION group that `n` reads, as bits 1 << tn_along. */
static uint32_t kinds_read(const tn_grouping *p, uint32_t id, tn_node n, uint32_t mark) {
    const tn_node_info *info = tn_graph_node(p->graph, n);
    uint32_t kinds = 0;
    for (uint32_t i = 0; i < tn__operands_read(info); i++) {
        tn_node from = tn_graph_value(p->graph, info->in[i])->node;
        if (!tn__first_visit(p, from, mark)) continue;
        if (p->group_of[from] == id) {
            const tn_member *m = tn__find_member(&p->groups.data[id], from);
            kinds |= 1u << (m ? m->along : TN_ALONG_SPACE); /* else views of the anchor */
        } else if (p->group_of[from] == TN_NO_GROUP) {
            kinds |= kinds_read(p, id, from, mark);
        }
    }
    return kinds;
}

/* Whether something reads both the fold `n` and elements of group `id`, as softmax does: it needs the
 * elements in memory anyway, and folds them as well as the product could. */
static bool is_read_with_elements(const tn_grouping *p, uint32_t id, tn_node n) {
    enum { FOLD = 1, ELEMENT = 2 };
    const tn_graph *g = p->graph;
    const tn_group *group = &p->groups.data[id];
    uint8_t *of = TN_NEW_N(p->arena, uint8_t, g->nodes.len); /* what a node is made from */
    of[n] = FOLD;
    tn_node first = group->anchor;
    for (uint32_t i = 0; i < group->siblings.len; i++)
        first = TN_MIN(first, group->siblings.data[i].node);
    for (tn_node k = first; k < g->nodes.len; k++) {
        const tn_node_info *info = tn_graph_node(g, k);
        const tn_member *m = p->group_of[k] == id ? tn__find_member(group, k) : NULL;
        uint8_t reads = 0;
        for (uint32_t i = 0; i < tn__operands_read(info); i++)
            reads |= of[tn_graph_value(g, info->in[i])->node];
        if (reads == (FOLD | ELEMENT)) return true;
        if (p->group_of[k] == id)
            of[k] = !m || m->along == TN_ALONG_SPACE ? ELEMENT : 0;
        else if (k != n && tn__lower_of(g, k)->kind == TN_LOWER_EXPRESSION)
            of[k] = p->inlined[k] ? reads : reads & FOLD;
    }
    return false;
}

/* How `n` may run in a CONTRACTION group: at every element, as a fold of elements, or after folds of
 * one kind. */
static bool runs_in_tile(tn_grouping *p, uint32_t id, tn_node n, bool fold, tn_member *m) {
    const tn_group *group = &p->groups.data[id];
    uint32_t kinds = kinds_read(p, id, n, ++p->seen_mark);
    if ((kinds & ~(1u << TN_ALONG_SPACE)) == 0) return !fold || !is_read_with_elements(p, id, n);
    if (fold || (kinds & (kinds - 1))) return false;
    m->along = (tn_along)__builtin_ctz(kinds);
    tn_space rest = group->space;
    folded_along(p, group, m->along, rest.folded);
    tn_value out = tn_graph_node(p->graph, n)->out;
    return match_axes(&tn_graph_type(p->graph, out)->shape, &rest, true, m->axis);
}

/* Whether root `n` may join group `id`; fills the member and the group's new space. */
bool tn__fits(tn_grouping *p, uint32_t id, tn_node n, tn_member *m, tn_space *space) {
    const tn_group *group = &p->groups.data[id];
    const tn_node_info *info = tn_graph_node(p->graph, n);
    const tn_type *type = tn_graph_type(p->graph, info->out);
    *m = (tn_member){.node = n};
    *space = group->space;
    if (group->kind != TN_GROUP_ROWS && group->kind != TN_GROUP_CONTRACTION &&
        group->kind != TN_GROUP_ATTENTION)
        return false;
    if (group->constant != p->constant[n]) return false;
    bool fold = tn__lower_of(p->graph, n)->kind == TN_LOWER_FOLD;
    if (group->kind == TN_GROUP_CONTRACTION && !runs_in_tile(p, id, n, fold, m)) return false;
    if (fold) {
        if (info->op != TN_OP_reduce || !reduce_fits(p, group, info, space, m)) return false;
    } else if (m->along == TN_ALONG_SPACE) {
        m->element = match_axes(&type->shape, space, false, m->axis);
        if (!m->element && (!space->has_fold || !match_axes(&type->shape, space, true, m->axis)))
            return false;
    }
    probe t;
    probe_init(&t, p, id);
    tn_lx index[TN_MAX_RANK];
    if (fold) {
        member_index(&t, m->operand, &tn_node_type(p->graph, info, 0)->shape, index);
        tn_access_value(&t.access, info->in[0], index);
    } else {
        member_index(&t, m->axis, &type->shape, index);
        tn__lower_of(p->graph, n)->expression(&t.access.emit, info, 0, index);
    }
    return t.ok;
}
