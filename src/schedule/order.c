/* The order in which groups run: what a group reads is made before, and where an output takes over the
 * memory of an input, the groups that read the input come before the one that makes the output, if they do
 * not wait for it. See group.h. */
#include "schedule/group_inner.h"

typedef struct orderer {
    tn_grouping *p;
    tn__group_list
        *after;      /* per group: those that come before it, though it reads nothing of them */
    uint32_t *taker; /* per value: the group that makes what takes over its memory */
    uint32_t *seen, mark; /* per group: of walks */
} orderer;

static void visit(orderer *o, uint32_t id) {
    if (o->seen[id] == o->mark) return;
    o->seen[id] = o->mark;
    const tn_group *g = &o->p->groups.data[id];
    for (uint32_t i = 0; i < g->deps.len; i++) visit(o, g->deps.data[i]);
    for (uint32_t i = 0; i < o->after[id].len; i++) visit(o, o->after[id].data[i]);
    if (!g->nested) tn_vec_push(o->p->arena, &o->p->order, id);
}

static void visit_all(orderer *o) {
    o->p->order.len = 0;
    o->mark++;
    for (uint32_t id = 0; id < o->p->groups.len; id++) visit(o, id);
}

static bool waits(orderer *o, uint32_t from, uint32_t to) {
    if (from == to) return true;
    if (o->seen[from] == o->mark) return false;
    o->seen[from] = o->mark;
    const tn_group *g = &o->p->groups.data[from];
    for (uint32_t i = 0; i < g->deps.len; i++)
        if (waits(o, g->deps.data[i], to)) return true;
    for (uint32_t i = 0; i < o->after[from].len; i++)
        if (waits(o, o->after[from].data[i], to)) return true;
    return false;
}

/* Group `id`, or the products that it is part of, run before `taker` where that makes no circle. */
static void put_before(orderer *o, uint32_t id, uint32_t taker) {
    tn_grouping *p = o->p;
    for (uint32_t host = 0; host < p->groups.len; host++) {
        if (host != id && p->groups.data[host].prologue != id) continue;
        if (p->groups.data[host].nested) continue;
        o->mark++;
        if (!waits(o, host, taker)) tn__add_group(p->arena, &o->after[taker], host);
    }
}

/* False: no output takes over an input's memory. */
static bool find_takers(orderer *o) {
    const tn_grouping *p = o->p;
    const tn_graph *g = p->graph;
    bool any = false;
    memset(o->taker, 0xff, g->values.len * sizeof *o->taker);
    uint32_t *writer = TN_NEW_N(p->arena, uint32_t, g->values.len);
    memset(writer, 0xff, g->values.len * sizeof *writer);
    for (uint32_t id = 0; id < p->groups.len; id++)
        for (uint32_t i = 0; i < tn_group_results(&p->groups.data[id]); i++)
            writer[tn_group_storage(p, tn_group_result(&p->groups.data[id], i))] = id;
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        const tn_graph_output *out = &g->outputs.data[i];
        if (!out->in_place) continue;
        uint32_t id = writer[tn_group_storage(p, out->value)];
        o->taker[g->inputs.data[out->in_place - 1]] = id;
        any |= id != TN_NO_GROUP;
    }
    return any;
}

static void put_readers_before(orderer *o, uint32_t id) {
    const tn_group *g = &o->p->groups.data[id];
    for (uint32_t m = 0; m < g->members.len; m++) {
        tn__value_list loads = tn__loads_of(o->p, id, g->members.data[m].node);
        for (uint32_t i = 0; i < loads.len; i++)
            if (o->taker[loads.data[i]] != TN_NO_GROUP) put_before(o, id, o->taker[loads.data[i]]);
    }
}

static orderer orderer_of(tn_grouping *p) {
    uint32_t count = p->groups.len;
    return (orderer){.p = p,
                     .after = TN_NEW_N(p->arena, tn__group_list, count),
                     .taker = TN_NEW_N(p->arena, uint32_t, p->graph->values.len),
                     .seen = TN_NEW_N(p->arena, uint32_t, count)};
}

void tn__order_groups(tn_grouping *p) {
    orderer o = orderer_of(p);
    visit_all(&o);
}

void tn__order_readers_first(tn_grouping *p) {
    orderer o = orderer_of(p);
    if (!find_takers(&o)) return;
    for (uint32_t id = 0; id < p->groups.len; id++) put_readers_before(&o, id);
    visit_all(&o);
}
