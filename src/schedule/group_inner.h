/* Between the files that form groups: group.c, inlined.c, fit.c, prologue.c, group_cost.c, choose.c. */
#ifndef TENON_SCHEDULE_GROUP_INNER_H
#define TENON_SCHEDULE_GROUP_INNER_H

#include "schedule/record.h"

static inline const tn_lower *tn__lower_of(const tn_graph *g, tn_node n) {
    return &tn_op_rules_of(g->nodes.data[n].op)->lower;
}

static inline bool tn__chosen(const tn_grouping *p, tn_node n, tn__choice choice) {
    return p->choices && (p->choices[n] & choice);
}

/* Marks nodes of one walk; false when the walk was there already. A walk begins with ++p->seen_mark. */
static inline bool tn__first_visit(const tn_grouping *p, tn_node n, uint32_t mark) {
    bool first = p->seen[n] != mark;
    p->seen[n] = mark;
    return first;
}

/* ---- group_cost.c --------------------------------------------------------------------------- */

/* Of storing or loading a value. */
double tn__seconds_of(const tn_grouping *p, tn_value v);
double tn__group_seconds(tn_grouping *p, uint32_t id);
double tn__grouping_seconds(tn_grouping *p);
double tn__least_seconds(const tn_grouping *p);

/* ---- inlined.c ------------------------------------------------------------------------------ */

/* Fills in p->constant, p->readers and p->inlined. */
void tn__find_inlined(tn_grouping *p);

/* ---- fit.c ---------------------------------------------------------------------------------- */

/* NULL: none of its members. */
const tn_member *tn__find_member(const tn_group *group, tn_node n);
/* Whether root `n` may join group `id`, cycles aside; fills the member and the group's new space. */
bool tn__fits(tn_grouping *p, uint32_t id, tn_node n, tn_member *m, tn_space *space);

/* ---- prologue.c ----------------------------------------------------------------------------- */

/* Which groups of rows run inside products. */
void tn__find_prologues(tn_grouping *p);

#endif
