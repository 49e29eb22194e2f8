/* Between the files that form groups: group.c, scalars.c, order.c, inlined.c, fit.c, sibling.c, prologue.c,
 * group_cost.c, choose.c. */
#ifndef TENON_SCHEDULE_GROUP_INNER_H
#define TENON_SCHEDULE_GROUP_INNER_H

#include "schedule/record.h"

static inline const tn_lower *tn__lower_of(const tn_graph *g, tn_node n) {
    return &tn_op_rules_of(g->nodes.data[n].op)->lower;
}

/* The operands whose elements a node needs; a barrier only waits for its second one. */
static inline uint32_t tn__operands_read(const tn_node_info *n) {
    return n->op == TN_OP_barrier ? 1 : n->in_count;
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

/* ---- group.c -------------------------------------------------------------------------------- */

void tn__add_group(tn_arena *arena, tn__group_list *list, uint32_t id);
/* Whether group `from` waits for group `to`. */
bool tn__group_depends(tn_grouping *p, uint32_t from, uint32_t to);

/* Work that is placed or looked up, not computed: other work would be in its way. */
bool tn__has_own_way(const tn_graph *g, tn_node n);

/* ---- scalars.c ------------------------------------------------------------------------------ */

/* Work on one element joins the only group that reads it. */
void tn__join_scalars(tn_grouping *p);

/* ---- order.c -------------------------------------------------------------------------------- */

/* What is read is made before. */
void tn__order_groups(tn_grouping *p);
/* Besides, who reads an input comes before who makes what takes over its memory, where that is possible. */
void tn__order_readers_first(tn_grouping *p);

/* ---- group_cost.c --------------------------------------------------------------------------- */

/* Per symbol a size that it may have. */
const int64_t *tn__typical_sizes(const tn_graph *g, tn_arena *arena);
/* Of storing or loading a value. */
double tn__seconds_of(const tn_grouping *p, tn_value v);
double tn__group_seconds(tn_grouping *p, uint32_t id);
double tn__grouping_seconds(tn_grouping *p);
double tn__least_seconds(const tn_grouping *p);

/* ---- inlined.c ------------------------------------------------------------------------------ */

/* Fills in p->constant, p->readers and p->inlined. */
void tn__find_inlined(tn_grouping *p);
/* Constants that take more memory as `n` makes them than stored (codegen/contraction_weights.c). */
bool tn__is_stored_weight(const tn_grouping *p, tn_node n);

/* ---- fit.c ---------------------------------------------------------------------------------- */

/* NULL: none of its members. */
const tn_member *tn__find_member(const tn_group *group, tn_node n);
/* Whether root `n` may join group `id`, cycles aside; fills the member and the group's new space. */
/* Memory for a probe: a kernel made only to look at its indices. What the last one had is gone. */
tn_arena *tn__probe_arena(const tn_grouping *p);

bool tn__fits(tn_grouping *p, uint32_t id, tn_node n, tn_member *m, tn_space *space);

/* ---- record_conv.c -------------------------------------------------------------------------- */

/* Whether a product is of bytes, whose neighbours along k are put into words. */
bool tn__is_of_bytes(const tn_graph *g, const tn_node_info *n);

/* ---- sibling.c ------------------------------------------------------------------------------ */

/* What an anchor makes, seen through the views after it, where `v` is its memory; else NO_VALUE. */
tn_value tn__domain_stored_in(const tn_grouping *p, const tn_group *group, tn_value v);
/* Group `from` becomes part of `into` and is left without members: as if part of another's mainloop, it has
 * no kernel. */
void tn__move_group(tn_grouping *p, uint32_t into, uint32_t from);
/* Brings products that `n` could join, and that may share a group, into one; false: there are none. */
bool tn__unite_products(tn_grouping *p, tn_node n, const tn__group_list *reads);

/* ---- attention.c ---------------------------------------------------------------------------- */

bool tn__is_plain_view(const tn_graph *g, tn_node n);
/* Pointwise work and views, which attention evaluates on a tile of scores. */
bool tn__is_score_work(const tn_graph *g, tn_node n);

/* ---- prologue.c ----------------------------------------------------------------------------- */

/* Which groups of rows run inside products. */
void tn__find_prologues(tn_grouping *p);

#endif
