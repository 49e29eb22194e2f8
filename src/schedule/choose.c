/* Choosing among groupings by cost.
 *
 * Greedy forming (group.c) stores what several groups read. Recomputing it in its readers may be
 * cheaper: then it is neither stored nor loaded, and what it is made of is often loaded or stored
 * anyway. Each stored value is tried in turn, from the last to the first, until nothing makes the
 * whole cheaper; then whether products that share a group are better apart, and the other product for
 * what two products apart could take as their epilogue. Nodes that look alike, as in equal layers, are
 * decided about at once. Where there are few choices all of their combinations are compared first. */
#include "schedule/alike.h"
#include "schedule/group_inner.h"

enum { MOST_TRIALS = 256, MOST_NODES_TRIED = 100000, MOST_OPTIONS = 6 };

/* What a choice about `n` must gain: a quarter of a pass over its result. */
static double worthwhile(const tn_grouping *p, tn_node n) {
    return tn__seconds_of(p, tn_graph_node(p->graph, n)->out) / 4;
}

/* ---- what may be recomputed ----------------------------------------------------------------- */

/* Only readers that evaluate their operands element by element, each element a fixed number of
 * times. */
static bool reader_allows(const tn_grouping *p, tn_node n, uint32_t which) {
    const tn_graph *g = p->graph;
    const tn_node_info *reader = tn_graph_node(g, n);
    uint32_t id = p->group_of[n];
    if (id != TN_NO_GROUP && (p->groups.data[id].attention || p->groups.data[id].gradient))
        return false;
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
    double gain = tn__seconds_of(p, v) * (1 + readers->len);
    for (uint32_t i = 0; i < made_of.len; i++) {
        tn_value from = made_of.data[i];
        tn_node node = tn_graph_value(g, from)->node;
        bool in_memory = p->stored[from] ||
                         tn_op_rules_of(g->nodes.data[node].op)->lower.kind == TN_LOWER_SOURCE;
        if (!in_memory) gain -= tn__seconds_of(p, from);
        for (uint32_t r = 0; r < readers->len; r++)
            if (!loads(p, readers->data[r], from)) gain -= tn__seconds_of(p, from);
    }
    return gain;
}

static bool is_candidate(tn_grouping *p, tn_node n) {
    const tn_graph *g = p->graph;
    const tn_node_info *info = tn_graph_node(g, n);
    const tn_lower *l = &tn_op_rules_of(info->op)->lower;
    if (p->inlined[n] || p->constant[n] || l->kind != TN_LOWER_EXPRESSION || l->view ||
        info->in_count == 0 || !p->stored[info->out] || info->op == TN_OP_pad ||
        info->op == TN_OP_concat || info->op == TN_OP_barrier || info->op == TN_OP_gather ||
        info->op == TN_OP_random_bits)
        return false;
    for (uint32_t i = 0; i < g->outputs.len; i++)
        if (tn_group_storage(p, g->outputs.data[i].value) == info->out) return false;
    return most_gain(p, n) > worthwhile(p, n) && readers_allow(p, info->out);
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

/* ---- the search ----------------------------------------------------------------------------- */

/* A choice about all nodes of a kind. */
typedef struct option {
    uint32_t kind;
    tn__choice choice;
} option;

typedef struct search {
    tn_arena *arena;
    const tn_graph *g;
    const tn_loop_inputs *loop;
    const tn_costs *costs;
    const uint32_t *kind; /* per node */
    tn_grouping *best;
    uint8_t *choices;
    double seconds;  /* of the best, with what its choices must gain */
    uint32_t trials; /* that are left */
} search;

static bool may_turn(search *s, tn_node n, tn__choice choice) {
    if (s->choices[n] & choice) return true;
    switch (choice) {
    case TN__RECOMPUTED:
        return is_candidate(s->best, n);
    case TN__SECOND_GROUP:
        return has_two_products(s->best, n);
    default:
        return s->best->united[n];
    }
}

/* Forms the groups anew. */
static void evaluate(search *s) {
    s->trials -= s->trials > 0;
    s->best = tn__form_groups(s->g, s->loop, true, s->choices, s->costs, s->arena);
    s->seconds = tn__grouping_seconds(s->best);
    for (tn_node n = 0; n < s->g->nodes.len; n++)
        if (s->choices[n]) s->seconds += worthwhile(s->best, n);
}

/* Turns choices wherever nodes of their kind allow it. */
static void turn(search *s, const option *options, int count) {
    uint8_t *choices = tn_arena_dup(s->arena, s->choices, s->g->nodes.len);
    for (int i = 0; i < count; i++)
        for (tn_node n = 0; n < s->g->nodes.len; n++)
            if (s->kind[n] == options[i].kind && may_turn(s, n, options[i].choice))
                choices[n] ^= (uint8_t)options[i].choice;
    s->choices = choices;
    evaluate(s);
}

/* Goes on from `other` if it is cheaper. */
static bool take_cheaper(search *s, const search *other) {
    bool cheaper = other->seconds < s->seconds;
    uint32_t trials = other->trials;
    if (cheaper) *s = *other;
    s->trials = trials;
    return cheaper;
}

/* Turns one kind after another, from the last to the first, until nothing makes the whole cheaper. */
static void improve(search *s) {
    uint32_t *tried = TN_NEW_N(s->arena, uint32_t, s->g->nodes.len), pass = 0;
    for (bool better = true; better;) {
        better = false;
        pass++;
        for (tn_node n = s->g->nodes.len; n-- > 0 && s->trials > 0;) {
            if (tried[s->kind[n]] == pass || !may_turn(s, n, TN__RECOMPUTED)) continue;
            tried[s->kind[n]] = pass;
            search other = *s;
            turn(&other, &(option){s->kind[n], TN__RECOMPUTED}, 1);
            better |= take_cheaper(s, &other);
        }
    }
}

/* Alone, another host for what several products could take often costs the same. */
static void improve_hosts(search *s, tn__choice choice) {
    uint8_t *tried = TN_NEW_N(s->arena, uint8_t, s->g->nodes.len);
    for (tn_node n = 0; n < s->g->nodes.len && s->trials > 0; n++) {
        if (tried[s->kind[n]] || !may_turn(s, n, choice)) continue;
        tried[s->kind[n]] = true;
        search other = *s;
        turn(&other, &(option){s->kind[n], choice}, 1);
        improve(&other);
        take_cheaper(s, &other);
    }
}

static int list_options(search *s, option *out, int most) {
    static const tn__choice choices[] = {TN__RECOMPUTED, TN__APART, TN__SECOND_GROUP};
    int count = 0;
    for (size_t c = 0; c < TN_COUNT(choices); c++) {
        uint8_t *listed = TN_NEW_N(s->arena, uint8_t, s->g->nodes.len);
        for (tn_node n = 0; n < s->g->nodes.len && count <= most; n++) {
            if (listed[s->kind[n]] || !may_turn(s, n, choices[c])) continue;
            listed[s->kind[n]] = true;
            if (count < most) out[count] = (option){s->kind[n], choices[c]};
            count++;
        }
    }
    return count;
}

/* Tries all combinations of few options; false: there are too many. */
static bool try_all(search *s) {
    option options[MOST_OPTIONS];
    int count = list_options(s, options, MOST_OPTIONS);
    if (count > MOST_OPTIONS || s->trials < 1u << count) return false;
    search start = *s;
    for (uint32_t set = 1; set < 1u << count; set++) {
        search other = start;
        option turned[MOST_OPTIONS];
        int many = 0;
        for (int i = 0; i < count; i++)
            if (set >> i & 1) turned[many++] = options[i];
        other.trials = s->trials;
        turn(&other, turned, many);
        take_cheaper(s, &other);
    }
    return true;
}

tn_grouping *tn_group_body(const tn_graph *g, const tn_loop_inputs *loop, bool fuse,
                           const tn_costs *costs, tn_arena *arena) {
    search s = {.arena = arena, .g = g, .loop = loop, .costs = costs};
    uint32_t trials = TN_MIN((uint32_t)MOST_TRIALS, MOST_NODES_TRIED / TN_MAX(g->nodes.len, 1));
    s.choices = TN_NEW_N(arena, uint8_t, g->nodes.len);
    s.best = tn__form_groups(g, loop, fuse, s.choices, costs, arena);
    s.seconds = tn__grouping_seconds(s.best);
    if (fuse) {
        s.kind = tn__alike(g, arena);
        s.trials = trials;
        s.best->all_tried = try_all(&s);
        improve(&s);
        improve_hosts(&s, TN__APART);
        improve_hosts(&s, TN__SECOND_GROUP);
    }
    tn__order_readers_first(s.best);
    s.best->seconds = tn__grouping_seconds(s.best);
    s.best->least_seconds = tn__least_seconds(s.best);
    s.best->tried = 1 + trials - s.trials;
    return s.best;
}

tn_grouping *tn_group_graph(const tn_graph *g, bool fuse, const tn_costs *costs, tn_arena *arena) {
    return tn_group_body(g, NULL, fuse, costs, arena);
}
