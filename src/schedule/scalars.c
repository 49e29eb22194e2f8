/* Work on one element, as the count of an optimizer's steps and what follows from it alone, joins the only
 * group that reads it, if that is pointwise work: each task evaluates it for itself, once. What of it is
 * read elsewhere is stored by one task (tn_group.scalars). See group.h. */
#include "schedule/group_inner.h"

static bool is_pointwise(const tn_grouping *p, const tn_group *g) {
    if (g->kind != TN_GROUP_ROWS || g->anchor != TN_NO_NODE || g->space.has_fold || g->constant ||
        g->nested)
        return false;
    for (uint32_t i = 0; i < g->members.len; i++)
        if (tn__has_own_way(p->graph, g->members.data[i].node)) return false;
    return true;
}

static bool is_scalar(const tn_group *g) {
    for (int i = 0; i < g->space.shape.rank; i++)
        if (g->space.shape.dim[i] != 1) return false;
    return true;
}

/* Without elements there would be no task to store what is stored. */
static bool is_never_empty(const tn_grouping *p, const tn_group *g) {
    for (int i = 0; i < g->space.shape.rank; i++)
        if (tn_dim_lo(p->graph->dims, g->space.shape.dim[i]) < 1) return false;
    return true;
}

static bool reads(const tn_group *g, uint32_t id) {
    for (uint32_t i = 0; i < g->deps.len; i++)
        if (g->deps.data[i] == id) return true;
    return false;
}

/* TN_NO_GROUP: there is none, or more than one. */
static uint32_t only_reader(const tn_grouping *p, uint32_t id) {
    uint32_t reader = TN_NO_GROUP;
    for (uint32_t i = 0; i < p->groups.len; i++) {
        if (i == id || !reads(&p->groups.data[i], id)) continue;
        if (reader != TN_NO_GROUP) return TN_NO_GROUP;
        reader = i;
    }
    return reader;
}

void tn__join_scalars(tn_grouping *p) {
    for (uint32_t id = p->groups.len; id-- > 0;) {
        tn_group *g = &p->groups.data[id];
        if (!is_pointwise(p, g) || !is_scalar(g)) continue;
        uint32_t into = only_reader(p, id);
        if (into == TN_NO_GROUP) continue;
        tn_group *reader = &p->groups.data[into];
        if (!is_pointwise(p, reader) || is_scalar(reader) || !is_never_empty(p, reader)) continue;
        for (uint32_t i = 0; i < g->members.len; i++) {
            tn_member *m = &g->members.data[i];
            memset(m->axis, -1, sizeof m->axis);
            m->element = false;
            m->scalar = true;
        }
        tn__move_group(p, into, id);
    }
}
