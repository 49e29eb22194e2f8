/* Pareto sets of partitions: sequences of tiers over an interval of the operator graph, on the same channels. */
#include <stdlib.h>

#include "explore/exact.h"

static int by_span(const void *a, const void *b) {
    const exact_sequence *x = a, *y = b;
    if (x->span != y->span) return x->span < y->span ? -1 : 1;
    if (x->add != y->add) return x->add < y->add ? -1 : 1;
    if (x->tier != y->tier) return x->tier < y->tier ? -1 : 1;
    return x->before < y->before ? -1 : x->before > y->before;
}

bool tn__exact_alone(const exact_solver *s, exact_channels c) {
    return c.nmp == s->costs->channels && c.normal == (s->costs->normal > 0);
}

static uint32_t keep_pareto(exact_solver *s, uint32_t first, exact_channels channels) {
    exact_sequence *all = s->sequences.data;
    uint32_t kept = first;
    if (tn__exact_alone(s, channels)) {
        for (uint32_t i = first; i < s->sequences.len; i++)
            if (i == first || all[i].add + all[i].span < all[first].add + all[first].span)
                all[first] = all[i];
        return s->sequences.len = TN_MIN(first + 1, s->sequences.len);
    }
    qsort(all + first, s->sequences.len - first, sizeof *all, by_span);
    for (uint32_t i = first; i < s->sequences.len; i++)
        if (kept == first || all[i].add < all[kept - 1].add) all[kept++] = all[i];
    return s->sequences.len = kept;
}

/* Appends the sequences that end with a tier of `last` to the pool. */
static void append(exact_solver *s, exact_list before, exact_list last) {
    for (uint32_t t = 0; t < last.count && !tn__exact_look(s); t++) {
        exact_tier tier = s->tiers.data[last.first + t];
        for (uint32_t i = 0; i < before.count; i++) {
            exact_sequence q = s->sequences.data[before.first + i];
            tn_vec_push(s->arena, &s->sequences,
                        (exact_sequence){q.add + tier.add, q.span + tier.span, q.bytes + tier.bytes,
                                         (int32_t)(before.first + i), last.first + t});
        }
    }
}

static uint32_t slot_of(exact_solver *s, uint32_t ops, exact_channels channels) {
    uint32_t at = 0;
    if (!tn_map_get(&s->partitions, &ops, sizeof ops, &at)) {
        at = s->sequence_lists.len;
        for (uint32_t i = 0; i < tn__exact_lists(s); i++)
            tn_vec_push(s->arena, &s->sequence_lists, (exact_list){0});
        tn_map_put(&s->partitions, &ops, sizeof ops, at);
    }
    return at + tn__exact_index(s, channels);
}

uint32_t tn__exact_sinks(const exact_solver *s, uint32_t ops) {
    uint32_t set = 0;
    for (uint32_t rest = ops; rest; rest &= rest - 1)
        if (!(s->after[tn__lowest(rest)] & ops)) set |= rest & -rest;
    return set;
}

exact_list tn__exact_sequences(exact_solver *s, uint32_t ops, exact_channels channels) {
    if (!ops) return (exact_list){.first = 0, .count = 1, .known = true}; /* the empty one */
    uint32_t at = slot_of(s, ops, channels), last = tn__exact_sinks(s, ops);
    if (s->sequence_lists.data[at].known) return s->sequence_lists.data[at];
    /* What comes before is made first: a list is one piece of the pool. */
    for (uint32_t tier = last; tier; tier = (tier - 1) & last)
        tn__exact_sequences(s, ops & ~tier, channels);
    uint32_t first = s->sequences.len;
    for (uint32_t tier = last; tier; tier = (tier - 1) & last)
        append(s, tn__exact_sequences(s, ops & ~tier, channels),
               tn__exact_tiers(s, tier, channels));
    uint32_t end = keep_pareto(s, first, channels);
    return s->sequence_lists.data[at] = (exact_list){first, end - first, true};
}
