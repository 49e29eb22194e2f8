/* What a grouping costs: bytes moved, element-wise work, launches; and what every grouping of the graph
 * costs at least. The arithmetic of products is the same in all of them and left out. */
#include "schedule/group_inner.h"

enum { LONG_OPERATION = 12 }; /* simple operations that exp, tanh and the like are worth */

const int64_t *tn__typical_sizes(const tn_graph *g, tn_arena *arena) {
    int64_t *sizes = TN_NEW_N(arena, int64_t, g->dims->symbols.len);
    for (uint32_t i = 0; i < g->dims->symbols.len; i++) {
        const tn_dim_symbol *s = &g->dims->symbols.data[i];
        int64_t size = TN_MAX(s->lo, TN_MIN(s->hi, (int64_t)TN_TYPICAL_SIZE));
        sizes[i] = size - size % s->divisor;
        if (sizes[i] < s->lo) sizes[i] += s->divisor;
    }
    return sizes;
}

/* Elements, which views of one another have as many of: so sizes follow from those of the symbols. */
static double count_of(const tn_grouping *p, tn_value v) {
    const tn_shape *s = &tn_graph_type(p->graph, v)->shape;
    double count = 1;
    for (int i = 0; i < s->rank; i++)
        count *= (double)tn_dim_eval(p->graph->dims, s->dim[i], p->typical);
    return TN_MAX(count, 0);
}

static double bytes_of(const tn_grouping *p, tn_value v) {
    return count_of(p, v) * (double)tn_dtype_bits(tn_graph_type(p->graph, v)->dtype) / 8;
}

/* Bytes of what one member has of a value: members are grouped as one is. */
static double member_bytes(const tn_grouping *p, tn_value v) {
    const tn_graph *g = p->graph;
    int64_t members = tn_graph_root(g)->members;
    const tn_shape *s = &tn_graph_type(g, v)->shape;
    bool has = members > 1 && s->rank > 0 && s->dim[0] == tn_dim_const(g->dims, members);
    return bytes_of(p, v) / (has ? (double)members : 1);
}

/* Open sizes are mostly smaller at run time than the guess. */
static bool fits_cache(const tn_grouping *p, tn_value v) {
    return member_bytes(p, v) <= p->costs.cached_bytes ||
           !tn_shape_is_const(&tn_graph_type(p->graph, v)->shape);
}

double tn__seconds_of(const tn_grouping *p, tn_value v) {
    return bytes_of(p, v) / (fits_cache(p, v) ? p->costs.cache : p->costs.memory);
}

/* Of an operand that a contraction evaluates into scratch: a write, and a read, which a large operand
 * in memory would cost as well. */
static double scratch_seconds(const tn_grouping *p, tn_value v) {
    return bytes_of(p, v) * (fits_cache(p, v) ? 2 : 1) / p->costs.cache;
}

/* Element-wise operations of a node. */
static double points_of(const tn_grouping *p, tn_node n) {
    const tn_graph *g = p->graph;
    const tn_node_info *info = tn_graph_node(g, n);
    const tn_lower *l = tn__lower_of(g, n);
    if (l->kind != TN_LOWER_EXPRESSION || l->view) return 0;
    return count_of(p, info->out) * (tn__is_long_operation(info->op) ? LONG_OPERATION : 1);
}

/* ---- one grouping --------------------------------------------------------------------------- */

typedef struct walk {
    tn_grouping *p;
    uint32_t id, mark;
    double seconds, points; /* of loads; pointwise results */
} walk;

/* Made by the tasks of products, for themselves. */
static bool is_nested(const tn_grouping *p, tn_node n) {
    return p->group_of[n] != TN_NO_GROUP && p->groups.data[p->group_of[n]].nested;
}

/* Loads and pointwise work of one member and of what is inlined into it. */
static void add_node(walk *w, tn_node n) {
    tn_grouping *p = w->p;
    const tn_graph *g = p->graph;
    const tn_node_info *info = tn_graph_node(g, n);
    const tn_group *group = &p->groups.data[w->id];
    w->points += points_of(p, n);
    for (uint32_t i = 0; i < tn__operands_read(info); i++) {
        tn_value v = info->in[i];
        tn_node from = tn_graph_value(g, v)->node;
        if (tn_group_is_domain(group, v) || p->group_of[from] == w->id || is_nested(p, from) ||
            !tn__first_visit(p, from, w->mark))
            continue;
        if (tn_group_evaluates(p, w->id, from)) {
            double before = w->points;
            add_node(w, from);
            if (tn__lower_of(g, n)->kind == TN_LOWER_CONTRACTION && w->points > before)
                w->seconds += scratch_seconds(p, v);
        } else {
            w->seconds += tn__seconds_of(p, v);
        }
    }
}

static walk walk_members(tn_grouping *p, uint32_t id) {
    const tn_group *group = &p->groups.data[id];
    walk w = {.p = p, .id = id, .mark = ++p->seen_mark};
    for (uint32_t m = 0; m < group->members.len; m++) add_node(&w, group->members.data[m].node);
    return w;
}

/* Of the rows of a product's left operand that its tasks make, some of them several times. */
static double prologue_seconds(tn_grouping *p, const tn_group *group) {
    walk w = walk_members(p, group->prologue);
    return w.seconds + scratch_seconds(p, p->groups.data[group->prologue].stores.data[0]) +
           w.points / p->costs.points * (double)tn_schedule_prologue_repeats(p, group);
}

double tn__group_seconds(tn_grouping *p, uint32_t id) {
    const tn_group *group = &p->groups.data[id];
    if (group->constant || group->nested) return 0;
    walk w = walk_members(p, id);
    double seconds = p->costs.launch + w.seconds + w.points / p->costs.points;
    for (uint32_t s = 0; s < tn_group_results(group); s++)
        seconds += tn__seconds_of(p, tn_group_result(group, s));
    return group->prologue == TN_NO_GROUP ? seconds : seconds + prologue_seconds(p, group);
}

double tn__grouping_seconds(tn_grouping *p) {
    double seconds = 0;
    for (uint32_t id = 0; id < p->groups.len; id++) seconds += tn__group_seconds(p, id);
    return seconds;
}

/* ---- any grouping --------------------------------------------------------------------------- */

static bool has_kernel_of_its_own(const tn_grouping *p, tn_node n) {
    uint32_t id = p->group_of[n];
    return id != TN_NO_GROUP && p->groups.data[id].anchor == n;
}

/* Per value: seconds of the loads by which a kernel comes to have it at least, as far as it is made from
 * what other kernels must have made: the narrowest place on the way. */
static double *narrowest(const tn_grouping *p) {
    const tn_graph *g = p->graph;
    double *out = TN_NEW_N(p->arena, double, g->values.len);
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        double most = 0;
        for (uint32_t i = 0; i < info->in_count; i++) most = TN_MAX(most, out[info->in[i]]);
        for (uint32_t i = 0; i < info->out_count; i++) {
            double here = tn__seconds_of(p, info->out + i);
            bool anchor = has_kernel_of_its_own(p, n) && !p->constant[n];
            out[info->out + i] = anchor ? here : TN_MIN(most, here);
        }
    }
    return out;
}

/* An anchor's kernel loads at least the widest of what its operands need. */
static double least_loads(const tn_grouping *p, const tn_group *group, const double *need) {
    double most = 0;
    for (uint32_t m = 0; m < group->members.len; m++) {
        tn_node n = group->members.data[m].node;
        bool product = tn__lower_of(p->graph, n)->kind == TN_LOWER_CONTRACTION;
        const tn_node_info *info = tn_graph_node(p->graph, n);
        for (uint32_t i = 0; i < info->in_count && (n == group->anchor || product); i++) {
            tn_node from = tn_graph_value(p->graph, info->in[i])->node;
            if (p->group_of[from] != p->group_of[group->anchor])
                most = TN_MAX(most, need[info->in[i]]);
        }
    }
    return most;
}

/* Whether some kernel reads input `v`, past views and barriers that keep what is stored anyway. */
static void mark_read(const tn_grouping *p, bool *read) {
    const tn_graph *g = p->graph;
    for (tn_node n = g->nodes.len; n-- > 0;) {
        const tn_node_info *info = tn_graph_node(g, n);
        const tn_lower *l = tn__lower_of(g, n);
        bool passed = (l->kind == TN_LOWER_EXPRESSION && l->view) ||
                      (info->op == TN_OP_barrier && !has_kernel_of_its_own(p, n));
        bool work = !p->constant[n] && info->in_count > 0 && !passed;
        for (uint32_t i = 0; i < info->in_count; i++) read[info->in[i]] |= work || read[info->out];
    }
}

double tn__least_seconds(const tn_grouping *p) {
    const tn_graph *g = p->graph;
    double seconds = 0, *need = narrowest(p);
    bool *read = TN_NEW_N(p->arena, bool, g->values.len), *stored;
    stored = TN_NEW_N(p->arena, bool, g->values.len);
    mark_read(p, read);
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        bool computed = !p->constant[n] && (!p->inlined[n] || read[info->out]);
        if (computed) seconds += points_of(p, n) / p->costs.points;
        if (tn__lower_of(g, n)->kind == TN_LOWER_SOURCE && info->out_count && read[info->out])
            seconds += p->constant[n] ? 0 : tn__seconds_of(p, info->out);
        if (has_kernel_of_its_own(p, n) && !p->constant[n])
            seconds += p->costs.launch + least_loads(p, &p->groups.data[p->group_of[n]], need);
    }
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        tn_value v = tn_group_storage(p, g->outputs.data[i].value);
        tn_node n = tn_graph_value(g, v)->node;
        if (stored[v] || p->constant[n] || tn__lower_of(g, n)->kind == TN_LOWER_SOURCE) continue;
        stored[v] = true;
        seconds += tn__seconds_of(p, v);
    }
    return seconds;
}
