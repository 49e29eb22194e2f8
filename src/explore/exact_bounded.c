/* Exact search with a limit on bytes: budgets from above, sets from below, then chains. */
#include "explore/exact_bounded.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_LABELS = 200000 };

static bool is_late(exact_bounded *b) {
    if (!b->late)
        b->late = tn__exact_seconds() > b->deadline || tn__exact_is_late(b->relaxed) ||
                  tn__exact_is_late(b->tracking);
    return b->late;
}

/* Price of the best dataflow that is wanted, its bytes included. */
static double ceiling(const exact_bounded *b) {
    return b->upper + b->price * b->limit;
}

/* ---- least prices --------------------------------------------------------------------------- */

static double least_add(const exact_solver *s, const exact_list *l) {
    return s->sequences.data[l->first + l->count - 1].add;
}

static double least_sequence(const exact_solver *s, exact_list l) {
    double least = INFINITY;
    for (uint32_t i = l.first; i < l.first + l.count; i++)
        least = TN_MIN(least, s->sequences.data[i].add + s->sequences.data[i].span);
    return least;
}

static double least_tier(const exact_solver *s, exact_list l) {
    double least = INFINITY;
    for (uint32_t i = l.first; i < l.first + l.count; i++)
        least = TN_MIN(least, s->tiers.data[i].add + s->tiers.data[i].span);
    return least;
}

static void find_ends(exact_bounded *b) {
    exact_solver *r = b->relaxed;
    uint32_t count = r->ideals.len;
    b->forward = TN_NEW_N(r->arena, double, count);
    b->backward = TN_NEW_N(r->arena, double, count);
    for (uint32_t i = 0; i < count; i++) b->forward[i] = r->ideals.data[i].best;
    for (uint32_t i = count - 1; i-- > 0;) {
        b->backward[i] = INFINITY;
        for (uint32_t k = i + 1; k < count; k++) {
            uint32_t from = r->ideals.data[i].ops, to = r->ideals.data[k].ops;
            if (from & ~to) continue;
            double v = tn__exact_group(r, to & ~from).value + b->backward[k];
            b->backward[i] = TN_MIN(b->backward[i], v);
        }
    }
}

/* ---- budgets -------------------------------------------------------------------------------- */

static bounded_node *node_of(exact_bounded *b, uint32_t ops) {
    tn_arena *arena = b->relaxed->arena;
    uint32_t at;
    if (!tn_map_get(&b->nodes, &ops, sizeof ops, &at)) {
        uint32_t lists = tn__exact_lists(b->relaxed);
        bounded_node n = {ops, TN_NEW_N(arena, double, lists), TN_NEW_N(arena, exact_list, lists)};
        for (uint32_t i = 0; i < lists; i++) n.budgets[i] = -1;
        at = b->node_list.len;
        tn_map_put(&b->nodes, &ops, sizeof ops, at);
        tn_vec_push(arena, &b->node_list, n);
    }
    return &b->node_list.data[at];
}

static void need(exact_bounded *b, uint32_t ops, exact_channels c, double budget) {
    double *at = &node_of(b, ops)->budgets[tn__exact_index(b->relaxed, c)];
    *at = TN_MAX(*at, budget);
}

typedef struct needing {
    exact_bounded *bounded;
    double most; /* price of the group */
} needing;

/* The other partitions cost at least what adds up of them; the longest may be this one. */
static void need_split(void *context, const exact_split *g) {
    const needing *n = context;
    const exact_solver *r = n->bounded->relaxed;
    if (n->bounded->alone && g->count > 1) return;
    double adds = tn__exact_meeting(r, g);
    for (int i = 0; i < g->count; i++) adds += least_add(r, &g->lists[i]);
    for (int i = 0; i < g->count; i++) {
        double others = adds - least_add(r, &g->lists[i]);
        if (others + least_sequence(r, g->lists[i]) > n->most) return;
    }
    for (int i = 0; i < g->count; i++) {
        double others = adds - least_add(r, &g->lists[i]);
        need(n->bounded, g->ops[i], g->channels[i],
             n->most - others - least_sequence(r, g->lists[i]));
    }
}

/* What a group between two ideals may cost. */
static double most_between(const exact_bounded *b, uint32_t from, uint32_t to) {
    return ceiling(b) - b->forward[from] - b->backward[to];
}

static void need_groups(exact_bounded *b) {
    exact_solver *r = b->relaxed;
    for (uint32_t k = 1; k < r->ideals.len; k++) {
        for (uint32_t i = 0; i < k; i++) {
            uint32_t from = r->ideals.data[i].ops, to = r->ideals.data[k].ops;
            if (from & ~to) continue;
            needing n = {b, most_between(b, i, k)};
            if (tn__exact_group(r, to & ~from).value <= n.most)
                tn__exact_splits(r, to & ~from, need_split, &n);
        }
    }
}

static exact_channels channels_at(uint32_t index) {
    return (exact_channels){(int)(index / 2), index % 2 == 1};
}

/* What comes before the last tier may be dearer by as much, less what tier and rest cost together. */
static void need_before(exact_bounded *b, uint32_t node, uint32_t index) {
    exact_solver *r = b->relaxed;
    uint32_t ops = b->node_list.data[node].ops, last = tn__exact_sinks(r, ops);
    double budget = b->node_list.data[node].budgets[index];
    exact_channels c = channels_at(index);
    if (budget < 0) return;
    double least = least_sequence(r, tn__exact_sequences(r, ops, c));
    for (uint32_t tier = last; tier; tier = (tier - 1) & last) {
        uint32_t rest = ops & ~tier;
        if (!rest) continue;
        double both = least_sequence(r, tn__exact_sequences(r, rest, c)) +
                      least_tier(r, tn__exact_tiers(r, tier, c));
        if (both - least <= budget) need(b, rest, c, budget - (both - least));
    }
}

/* Calls `f` for the nodes with `size` operators, also those that it adds. */
static void for_size(exact_bounded *b, int size,
                     void (*f)(exact_bounded *b, uint32_t node, uint32_t index)) {
    for (uint32_t n = 0; n < b->node_list.len; n++)
        if (__builtin_popcount(b->node_list.data[n].ops) == size)
            for (uint32_t i = 0; i < tn__exact_lists(b->relaxed); i++) f(b, n, i);
}

/* ---- sequences ------------------------------------------------------------------------------ */

static int by_cost(const void *a, const void *b) {
    const exact_sequence *x = a, *y = b;
    if (x->span != y->span) return x->span < y->span ? -1 : 1;
    if (x->add != y->add) return x->add < y->add ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    if (x->tier != y->tier) return x->tier < y->tier ? -1 : 1;
    return x->before < y->before ? -1 : x->before > y->before;
}

/* Sorted by span: whether an earlier one is as good. */
static bool is_dominated(const exact_sequence *all, uint32_t count, const exact_sequence *q) {
    for (uint32_t i = count; i-- > 0;)
        if (all[i].add <= q->add && all[i].bytes <= q->bytes) return true;
    return false;
}

static void append(exact_bounded *b, exact_list before, exact_list last, double most) {
    exact_solver *x = b->tracking;
    for (uint32_t t = last.first; t < last.first + last.count && !is_late(b); t++) {
        exact_tier tier = x->tiers.data[t];
        for (uint32_t i = before.first; i < before.first + before.count; i++) {
            exact_sequence q = x->sequences.data[i];
            q = (exact_sequence){q.add + tier.add, q.span + tier.span, q.bytes + tier.bytes,
                                 (int32_t)i, t};
            if (q.bytes <= b->limit && q.add + q.span + b->price * q.bytes <= most)
                tn_vec_push(x->arena, &x->sequences, q);
        }
    }
}

static void make_list(exact_bounded *b, uint32_t node, uint32_t index) {
    const bounded_node *n = &b->node_list.data[node];
    exact_solver *x = b->tracking;
    exact_channels c = channels_at(index);
    if (n->budgets[index] < 0 || is_late(b)) return;
    double least = least_sequence(b->relaxed, tn__exact_sequences(b->relaxed, n->ops, c));
    double most = least + n->budgets[index] + 1e-12 * fabs(least);
    uint32_t last = tn__exact_sinks(x, n->ops), first = x->sequences.len;
    for (uint32_t tier = last; tier; tier = (tier - 1) & last) {
        exact_list before = {.first = 0, .count = 1};
        uint32_t rest = n->ops & ~tier, at;
        if (rest) {
            if (!tn_map_get(&b->nodes, &rest, sizeof rest, &at)) continue;
            before = b->node_list.data[at].lists[index];
        }
        append(b, before, tn__exact_tiers(x, tier, c), most);
    }
    exact_sequence *all = x->sequences.data + first;
    uint32_t count = x->sequences.len - first, kept = 0;
    if (tn__exact_alone(x, c))
        for (uint32_t i = 0; i < count; i++) all[i].span += all[i].add, all[i].add = 0;
    qsort(all, count, sizeof *all, by_cost);
    for (uint32_t i = 0; i < count && kept < MOST_LABELS && !is_late(b); i++)
        if (!is_dominated(all, kept, &all[i])) all[kept++] = all[i];
    b->late |= kept == MOST_LABELS;
    x->sequences.len = first + kept;
    n->lists[index] = (exact_list){first, kept, true};
}

/* ---- chains --------------------------------------------------------------------------------- */

/* Where `value` belongs: values ascend, bytes descend. */
static uint32_t place_of(const bounded_labels *l, double value) {
    uint32_t low = 0, high = l->len;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (l->data[middle].value <= value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_wanted(const bounded_labels *l, double value, double bytes) {
    uint32_t at = place_of(l, value);
    return !at || l->data[at - 1].bytes > bytes;
}

/* Puts a wanted label in the place of those that it makes needless. */
static void insert(tn_arena *arena, bounded_labels *l, bounded_label label) {
    uint32_t at = place_of(l, label.value), end = at;
    if (at && l->data[at - 1].value == label.value) at--;
    while (end < l->len && l->data[end].bytes >= label.bytes) end++;
    if (at == end) tn_vec_push(arena, l, label);
    memmove(l->data + at + 1, l->data + end, (l->len - end - (at == end)) * sizeof label);
    if (at != end) l->len -= end - at - 1;
    l->data[at] = label;
}

typedef struct combining {
    exact_bounded *bounded;
    double most;
    bounded_labels labels;
    exact_split split; /* with the lists of the tracking solver */
    uint32_t sequences[TN_OPERATORS];
} combining;

static void add_label(combining *m, double value, double bytes) {
    exact_bounded *b = m->bounded;
    const exact_split *g = &m->split;
    if (!is_wanted(&m->labels, value, bytes)) return;
    insert(b->tracking->arena, &m->labels,
           (bounded_label){value, bytes, b->parts.len, (uint32_t)g->count, 0});
    for (int i = 0; i < g->count; i++)
        tn_vec_push(b->tracking->arena, &b->parts,
                    (exact_part){g->ops[i], g->channels[i], m->sequences[i]});
}

/* A partition alone in its group that ends with a connected tier after connected ones is as good as two groups. */
static bool is_two_groups(const exact_bounded *b, const exact_split *g, const exact_sequence *q) {
    uint32_t last = b->tracking->tiers.data[q->tier].ops, rest = g->ops[0] & ~last;
    return g->count == 1 && rest && tn__exact_component(b->tracking, last, last & -last) == last &&
           tn__exact_component(b->tracking, rest, rest & -rest) == rest;
}

/* Adds partition `i` and those after it. */
static void combine(combining *m, int i, double add, double span, double bytes) {
    const exact_bounded *b = m->bounded;
    if (add + span + b->price * bytes > m->most || bytes > b->limit || b->late) return;
    if (i == m->split.count) {
        add_label(m, add + span, bytes);
        return;
    }
    exact_list l = m->split.lists[i];
    for (uint32_t k = l.first; k < l.first + l.count; k++) {
        const exact_sequence *q = &b->tracking->sequences.data[k];
        if (is_two_groups(b, &m->split, q)) continue;
        m->sequences[i] = k;
        combine(m, i + 1, add + q->add, TN_MAX(span, q->span), bytes + q->bytes);
    }
}

static void combine_split(void *context, const exact_split *g) {
    combining *m = context;
    exact_bounded *b = m->bounded;
    if (b->alone && g->count > 1) return;
    m->split = *g;
    for (int i = 0; i < g->count; i++) {
        uint32_t at;
        if (!tn_map_get(&b->nodes, &g->ops[i], sizeof g->ops[i], &at)) return;
        const bounded_node *n = &b->node_list.data[at];
        m->split.lists[i] = n->lists[tn__exact_index(b->tracking, g->channels[i])];
        if (!m->split.lists[i].count) return;
    }
    combine(m, 0, tn__exact_meeting(b->relaxed, g), 0, 0);
    (void)is_late(b);
}

/* The first label that leaves room for `bytes` more: bytes descend. */
static uint32_t first_within(const exact_bounded *b, const bounded_labels *l, double bytes) {
    uint32_t low = 0, high = l->len;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (l->data[middle].bytes + bytes <= b->limit)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Adds groups `g`, of which none costs less than `least`, bytes priced. */
static void extend_chains(exact_bounded *b, uint32_t from, uint32_t to, const bounded_labels *g,
                          double least) {
    const bounded_labels *chains = &b->chains[from];
    double most = ceiling(b) - b->backward[to];
    for (uint32_t i = 0; i < chains->len; i++) {
        const bounded_label *before = &chains->data[i];
        double left = most - before->value - b->price * before->bytes;
        if (least > left) continue;
        const bounded_labels *known = &b->chains[to];
        uint32_t at = 0; /* values ascend in both */
        for (uint32_t k = first_within(b, g, before->bytes); k < g->len; k++) {
            const bounded_label *x = &g->data[k];
            if (x->value > left) break;
            double value = before->value + x->value, bytes = before->bytes + x->bytes;
            if (x->value + b->price * x->bytes > left) continue;
            while (at < known->len && known->data[at].value <= value) at++;
            if (at && known->data[at - 1].bytes <= bytes) continue;
            insert(b->tracking->arena, &b->chains[to],
                   (bounded_label){value, bytes, x->parts, x->count, i});
        }
    }
}

static void make_chains(exact_bounded *b) {
    exact_solver *x = b->tracking;
    uint32_t count = x->ideals.len;
    b->chains = TN_NEW_N(x->arena, bounded_labels, count);
    tn_vec_push(x->arena, &b->chains[0], (bounded_label){0});
    for (uint32_t to = 1; to < count; to++) {
        for (uint32_t from = 0; from < to && !is_late(b); from++) {
            uint32_t ops = x->ideals.data[to].ops & ~x->ideals.data[from].ops;
            if ((x->ideals.data[from].ops & ~x->ideals.data[to].ops) || !b->chains[from].len)
                continue;
            combining m = {.bounded = b, .most = most_between(b, from, to)};
            double least = tn__exact_group(b->relaxed, ops).value;
            if (least > m.most) continue;
            tn__exact_splits(b->relaxed, ops, combine_split, &m);
            extend_chains(b, from, to, &m.labels, least);
        }
    }
}

bool tn__exact_bounded_solve(exact_bounded *b) {
    int count = b->relaxed->workload->count;
    tn_map_init(&b->nodes, b->relaxed->arena);
    find_ends(b);
    need_groups(b);
    if (is_late(b)) return false;
    for (int size = count; size > 0; size--) for_size(b, size, need_before);
    for (int size = 1; size <= count; size++) for_size(b, size, make_list);
    if (!b->late) make_chains(b);
    return !is_late(b);
}

/* ---- the dataflow --------------------------------------------------------------------------- */

void tn__exact_bounded_write(const exact_bounded *b, uint32_t i, exact_plan *out) {
    const exact_solver *x = b->tracking;
    const bounded_label *groups[TN_OPERATORS];
    int count = 0;
    for (uint32_t left = x->ideals.data[x->ideals.len - 1].ops; left;) {
        uint32_t ideal = x->ideals.len - 1;
        while (x->ideals.data[ideal].ops != left) ideal--;
        const bounded_label *l = groups[count++] = &b->chains[ideal].data[i];
        for (uint32_t k = 0; k < l->count; k++) left &= ~b->parts.data[l->parts + k].ops;
        i = l->before;
    }
    *out = (exact_plan){0};
    for (tn_placement place = {0}; count; place.group++) {
        const bounded_label *l = groups[--count];
        for (uint32_t k = 0; k < l->count; k++) {
            place.partition = (uint8_t)k;
            tn__exact_write_partition(x, b->parts.data[l->parts + k].sequence, place, out);
        }
    }
}
