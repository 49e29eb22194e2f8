/* Choosing among groupings by cost.
 *
 * Greedy forming (group.c) stores what several groups read. Recomputing it in its readers may be
 * cheaper: then it is neither stored nor loaded, and what it is made of is often loaded or stored
 * anyway. Each stored value is tried in turn, from the last to the first, until nothing makes the
 * whole cheaper; then the other product for what two products could take as their epilogue. */
#include "schedule/group_inner.h"

/* A core of a common server. The choice depends on their ratios only. */
#define BYTES_PER_SECOND  10e9 /* memory */
#define CACHED_PER_SECOND 40e9 /* what fits a second-level cache */
#define POINTS_PER_SECOND 30e9 /* simple pointwise operations */
#define LAUNCH_SECONDS    2e-6
enum { CACHED_BYTES = 1 << 20, LONG_OPERATION = 12, MOST_TRIALS = 256, MOST_NODES_TRIED = 100000 };

static double count_of(const tn_graph *g, tn_value v) {
    const tn_shape *s = &tn_graph_type(g, v)->shape;
    double count = 1;
    for (int i = 0; i < s->rank; i++) count *= (double)tn_dim_guess(g->dims, s->dim[i]);
    return count;
}

static double bytes_of(const tn_graph *g, tn_value v) {
    return count_of(g, v) * (double)tn_dtype_bits(tn_graph_type(g, v)->dtype) / 8;
}

/* Open sizes are mostly smaller at run time than the guess. */
static bool fits_cache(const tn_graph *g, tn_value v) {
    return bytes_of(g, v) <= CACHED_BYTES || !tn_shape_is_const(&tn_graph_type(g, v)->shape);
}

/* Of storing or loading a value. */
static double seconds_of(const tn_graph *g, tn_value v) {
    return bytes_of(g, v) / (fits_cache(g, v) ? CACHED_PER_SECOND : BYTES_PER_SECOND);
}

/* Of an operand that a contraction evaluates into scratch: a write, and a read, which a large operand
 * in memory would cost as well. */
static double scratch_seconds(const tn_graph *g, tn_value v) {
    return bytes_of(g, v) * (fits_cache(g, v) ? 2 : 1) / CACHED_PER_SECOND;
}

/* ---- what a grouping costs ------------------------------------------------------------------ */

typedef struct walk {
    tn_grouping *p;
    uint32_t id, mark;
    double seconds, points; /* of loads; pointwise results */
} walk;

/* Loads and pointwise work of one member and of what is inlined into it. */
static void add_node(walk *w, tn_node n) {
    tn_grouping *p = w->p;
    const tn_graph *g = p->graph;
    const tn_node_info *info = tn_graph_node(g, n);
    const tn_group *group = &p->groups.data[w->id];
    const tn_lower *l = &tn_op_rules_of(info->op)->lower;
    if (l->kind == TN_LOWER_EXPRESSION && !l->view)
        w->points +=
            count_of(g, info->out) * (tn__is_long_operation(info->op) ? LONG_OPERATION : 1);
    for (uint32_t i = 0; i < info->in_count; i++) {
        tn_value v = info->in[i];
        tn_node from = tn_graph_value(g, v)->node;
        if (v == group->domain_value || p->group_of[from] == w->id ||
            !tn__first_visit(p, from, w->mark))
            continue;
        if (p->inlined[from]) {
            double before = w->points;
            add_node(w, from);
            if (l->kind == TN_LOWER_CONTRACTION && w->points > before)
                w->seconds += scratch_seconds(g, v);
        } else {
            w->seconds += seconds_of(g, v);
        }
    }
}

static double cost_of(tn_grouping *p) {
    double seconds = 0;
    for (uint32_t id = 0; id < p->groups.len; id++) {
        const tn_group *group = &p->groups.data[id];
        if (group->constant) continue;
        walk w = {.p = p, .id = id, .mark = ++p->seen_mark, .seconds = LAUNCH_SECONDS};
        for (uint32_t m = 0; m < group->members.len; m++) add_node(&w, group->members.data[m].node);
        for (uint32_t s = 0; s < group->stores.len; s++)
            w.seconds += seconds_of(p->graph, group->stores.data[s]);
        seconds += w.seconds + w.points / POINTS_PER_SECOND;
    }
    return seconds;
}

/* What a choice about `n` must gain: a quarter of a pass over its result. */
static double worthwhile(const tn_graph *g, tn_node n) {
    return seconds_of(g, tn_graph_node(g, n)->out) / 4;
}

/* ---- what may be recomputed ----------------------------------------------------------------- */

/* Only readers that evaluate their operands element by element, each element a fixed number of
 * times. */
static bool reader_allows(const tn_grouping *p, tn_node n, uint32_t which) {
    const tn_graph *g = p->graph;
    const tn_node_info *reader = tn_graph_node(g, n);
    uint32_t id = p->group_of[n];
    if (id != TN_NO_GROUP && p->groups.data[id].kind == TN_GROUP_ATTENTION) return false;
    switch (tn_op_rules_of(reader->op)->lower.kind) {
    case TN_LOWER_EXPRESSION:
        return !(reader->op == TN_OP_gather && which == 0);
    case TN_LOWER_FOLD:
        return reader->op == TN_OP_reduce;
    case TN_LOWER_CONTRACTION:
        return tn__reads_once(g, reader, which);
    default:
        return false;
    }
}

static bool readers_allow(const tn_grouping *p, tn_value v) {
    const tn_graph *g = p->graph;
    for (tn_node n = tn_graph_value(g, v)->node + 1; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        for (uint32_t i = 0; i < info->in_count; i++) {
            if (info->in[i] != v) continue;
            if (!reader_allows(p, n, i)) return false;
            if (tn_op_rules_of(info->op)->lower.view && !readers_allow(p, info->out)) return false;
        }
    }
    return true;
}

static bool loads(const tn_grouping *p, uint32_t id, tn_value v) {
    for (uint32_t i = 0; i < p->loaders[v].len; i++)
        if (p->loaders[v].data[i] == id) return true;
    return false;
}

/* Seconds that recomputing `n` saves at most: its store and its loads, less those of what it is made
 * of where they are new. Spares most trials. */
static double most_gain(tn_grouping *p, tn_node n) {
    const tn_graph *g = p->graph;
    tn_value v = tn_graph_node(g, n)->out;
    const tn__group_list *readers = &p->loaders[v];
    tn__value_list made_of = tn__loads_of(p, TN_NO_GROUP, n);
    double gain = seconds_of(g, v) * (1 + readers->len);
    for (uint32_t i = 0; i < made_of.len; i++) {
        tn_value from = made_of.data[i];
        tn_node node = tn_graph_value(g, from)->node;
        bool in_memory = p->stored[from] ||
                         tn_op_rules_of(g->nodes.data[node].op)->lower.kind == TN_LOWER_SOURCE;
        if (!in_memory) gain -= seconds_of(g, from);
        for (uint32_t r = 0; r < readers->len; r++)
            if (!loads(p, readers->data[r], from)) gain -= seconds_of(g, from);
    }
    return gain;
}

static bool is_candidate(tn_grouping *p, tn_node n) {
    const tn_graph *g = p->graph;
    const tn_node_info *info = tn_graph_node(g, n);
    const tn_lower *l = &tn_op_rules_of(info->op)->lower;
    if (p->inlined[n] || p->constant[n] || l->kind != TN_LOWER_EXPRESSION || l->view ||
        info->in_count == 0 || !p->stored[info->out] || info->op == TN_OP_pad ||
        info->op == TN_OP_concat || info->op == TN_OP_barrier || info->op == TN_OP_gather)
        return false;
    for (uint32_t i = 0; i < g->outputs.len; i++)
        if (tn_group_storage(p, g->outputs.data[i].value) == info->out) return false;
    return most_gain(p, n) > worthwhile(g, n) && readers_allow(p, info->out);
}

/* ---- the search ----------------------------------------------------------------------------- */

typedef struct search {
    tn_arena *arena;
    const tn_graph *g;
    tn_grouping *best;
    uint8_t *choices;
    double seconds;
    uint32_t trials; /* that are left */
} search;

/* Turns a choice about `n`, and forms the groups anew. */
static void turn(search *s, tn_node n, tn__choice choice) {
    s->trials -= s->trials > 0;
    s->choices = tn_arena_dup(s->arena, s->choices, s->g->nodes.len);
    s->choices[n] ^= (uint8_t)choice;
    s->best = tn__form_groups(s->g, true, s->choices, s->arena);
    s->seconds = cost_of(s->best);
}

/* Goes on from `other` if it is cheaper by enough for a choice about `n`. */
static bool take_cheaper(search *s, const search *other, tn_node n) {
    bool cheaper = other->seconds + worthwhile(s->g, n) < s->seconds;
    uint32_t trials = other->trials;
    if (cheaper) *s = *other;
    s->trials = trials;
    return cheaper;
}

static void improve(search *s) {
    for (bool better = true; better;) {
        better = false;
        for (tn_node n = s->g->nodes.len; n-- > 0 && s->trials > 0;)
            if ((s->choices[n] & TN__RECOMPUTED) || is_candidate(s->best, n)) {
                search other = *s;
                turn(&other, n, TN__RECOMPUTED);
                better |= take_cheaper(s, &other, n);
            }
    }
}

/* The first contraction group that `n` reads, looking through what is inlined; *several: there are
 * more. */
static uint32_t product_read(const tn_grouping *p, tn_node n, uint32_t first, bool *several) {
    const tn_node_info *info = tn_graph_node(p->graph, n);
    for (uint32_t i = 0; i < info->in_count && !*several; i++) {
        tn_node from = tn_graph_value(p->graph, info->in[i])->node;
        uint32_t id = p->group_of[from];
        if (id == TN_NO_GROUP) {
            if (p->inlined[from]) first = product_read(p, from, first, several);
        } else if (p->groups.data[id].kind == TN_GROUP_CONTRACTION) {
            *several |= first != TN_NO_GROUP && first != id;
            first = id;
        }
    }
    return first;
}

/* Whether two products could take `n`, as in a·b + c·d. */
static bool has_two_products(const tn_grouping *p, tn_node n) {
    uint32_t id = p->group_of[n];
    bool several = false;
    if (id == TN_NO_GROUP || p->groups.data[id].kind != TN_GROUP_CONTRACTION ||
        p->groups.data[id].anchor == n)
        return false;
    product_read(p, n, TN_NO_GROUP, &several);
    return several;
}

tn_grouping *tn_group_graph(const tn_graph *g, bool fuse, tn_arena *arena) {
    search s = {.arena = arena, .g = g, .best = tn__form_groups(g, fuse, NULL, arena)};
    if (!fuse) return s.best;
    s.choices = TN_NEW_N(arena, uint8_t, g->nodes.len);
    s.seconds = cost_of(s.best);
    s.trials = TN_MIN((uint32_t)MOST_TRIALS, MOST_NODES_TRIED / TN_MAX(g->nodes.len, 1));
    improve(&s);
    for (tn_node n = 0; n < g->nodes.len && s.trials > 0; n++)
        if (has_two_products(s.best, n)) { /* alone the change often costs the same */
            search other = s;
            turn(&other, n, TN__SECOND_GROUP);
            improve(&other);
            take_cheaper(&s, &other, n);
        }
    return s.best;
}
