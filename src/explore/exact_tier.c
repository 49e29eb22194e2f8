/* Pareto sets of tiers: operators that run side by side, each with one of its options; together they use the
 * tier's channels. */
#include <math.h>
#include <stdlib.h>

#include "explore/exact.h"

/* ---- options -------------------------------------------------------------------------------- */

static int by_near_memory(const void *a, const void *b) {
    const exact_point *x = a, *y = b;
    if (x->near_memory != y->near_memory) return x->near_memory < y->near_memory ? -1 : 1;
    if (x->processor != y->processor) return x->processor < y->processor ? -1 : 1;
    return x->choice < y->choice ? -1 : x->choice > y->choice;
}

/* Keeps the points from `first` on of which no other is better in both. */
static uint32_t keep_best_points(exact_options *o, uint32_t first) {
    uint32_t kept = first;
    for (uint32_t i = first; i + 1 < o->points.len; i++) {
        if (by_near_memory(&o->points.data[i], &o->points.data[i + 1]) < 0) continue;
        qsort(o->points.data + first, o->points.len - first, sizeof(exact_point), by_near_memory);
        break;
    }
    for (uint32_t i = first; i < o->points.len; i++)
        if (kept == first || o->points.data[i].processor < o->points.data[kept - 1].processor)
            o->points.data[kept++] = o->points.data[i];
    o->points.len = kept;
    return kept - first;
}

static double added(const exact_solver *s, const exact_shape *shape, const exact_choice *c) {
    const exact_weights *w = &s->weights;
    return w->latency * c->prefill + w->energy * (c->prefill_energy + s->generate * c->energy) +
           w->bytes * tn__exact_bytes(s, shape, c);
}

static void shape_options(exact_solver *s, int index) {
    const exact_shape *shape = &s->costs->shapes[index];
    exact_options *o = &s->options[index];
    *o = (exact_options){0};
    for (uint32_t i = 0, end; i < shape->choices.len; i = end) {
        const exact_choice *c = &shape->choices.data[i];
        exact_option option = {
            .add = added(s, shape, c), .nmp = c->nmp, .normal = c->normal, .first = o->points.len};
        for (end = i; end < shape->choices.len; end++) {
            const exact_choice *d = &shape->choices.data[end];
            if (d->nmp != c->nmp || d->normal != c->normal || added(s, shape, d) != option.add ||
                (s->track && d->ratio != c->ratio))
                break;
            tn_vec_push(s->arena, &o->points,
                        (exact_point){d->near_memory * s->step, d->processor * s->step, end});
        }
        option.count = keep_best_points(o, option.first);
        exact_option *last = o->list.len ? &o->list.data[o->list.len - 1] : NULL;
        bool again = last && last->nmp == option.nmp && last->normal == option.normal;
        if (!again || s->step > 0 || s->track)
            tn_vec_push(s->arena, &o->list, option);
        else if (option.add < last->add) /* what adds up is all that counts */
            *last = option;
    }
}

void tn__exact_options(exact_solver *s) {
    for (int i = 0; i < s->costs->shape_count; i++) shape_options(s, i);
}

/* ---- tiers ---------------------------------------------------------------------------------- */

typedef struct making {
    exact_solver *solver;
    exact_channels channels;
    uint32_t ops;
    int count;
    uint8_t op[TN_OPERATORS];
    const exact_option *option[TN_OPERATORS];
    const exact_point *points[TN_OPERATORS]; /* of the option */
} making;

/* The last point of operator `i` that takes no longer than `deadline` near memory. Its first one does not. */
static uint32_t point_within(const making *m, int i, double deadline) {
    uint32_t low = 0, high = m->option[i]->count; /* low is within, high is not */
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (m->points[i][middle].near_memory <= deadline)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static double processor_within(const making *m, double deadline) {
    double sum = 0;
    for (int i = 0; i < m->count; i++) sum += m->points[i][point_within(m, i, deadline)].processor;
    return sum;
}

/* The time units near memory may take so that they and the processor end earliest. With more of it the
 * processor's share falls, so on the points of each operator the later of both falls and then rises: its least
 * is where they cross. */
static double best_deadline(const making *m) {
    double least = 0, best, value;
    for (int i = 0; i < m->count; i++) least = TN_MAX(least, m->points[i][0].near_memory);
    best = least;
    value = TN_MAX(least, processor_within(m, least));
    for (int i = 0; i < m->count; i++) {
        uint32_t low = 0, high = m->option[i]->count; /* high: near memory ends last, or no point */
        while (low < high) {
            uint32_t middle = (low + high) / 2;
            double t = m->points[i][middle].near_memory;
            if (t >= processor_within(m, t))
                high = middle;
            else
                low = middle + 1;
        }
        for (uint32_t k = low > 0 ? low - 1 : 0; k <= low && k < m->option[i]->count; k++) {
            double t = m->points[i][k].near_memory;
            if (t < least) continue;
            double d = TN_MAX(t, processor_within(m, t));
            if (d < value) {
                value = d;
                best = t;
            }
        }
    }
    return best;
}

static double bytes_of(const exact_solver *s, int op, uint32_t choice) {
    const exact_shape *shape = &s->costs->shapes[s->costs->shape_of[op]];
    return tn__exact_bytes(s, shape, &shape->choices.data[choice]);
}

static void add_tier(making *m, int nmp) {
    exact_solver *s = m->solver;
    const exact_event *event = &s->costs->tier[nmp];
    exact_tier t = {.picks = s->picks.len, .ops = m->ops};
    double near_memory = 0, processor = 0, deadline = best_deadline(m);
    for (int i = 0; i < m->count; i++) {
        const exact_point *p = &m->points[i][point_within(m, i, deadline)];
        t.add += m->option[i]->add;
        near_memory = TN_MAX(near_memory, p->near_memory);
        processor += p->processor;
        t.bytes += bytes_of(s, m->op[i], p->choice);
        tn_vec_push(s->arena, &s->picks, (exact_pick){m->op[i], p->choice});
    }
    t.span = TN_MAX(near_memory, processor) + event->latency * s->step;
    t.add += event->energy * s->generate * s->weights.energy;
    tn_vec_push(s->arena, &s->tiers, t);
}

static void choose(making *m, int i, int nmp, bool normal) {
    bool loose = m->solver->space == TN_UNION;
    if (i == m->count) {
        if (loose || (nmp == m->channels.nmp && normal == m->channels.normal)) add_tier(m, nmp);
        return;
    }
    const exact_options *o = &m->solver->options[m->solver->costs->shape_of[m->op[i]]];
    for (uint32_t k = 0; k < o->list.len && !tn__exact_look(m->solver); k++) {
        const exact_option *option = &o->list.data[k];
        if (nmp + option->nmp > m->channels.nmp) break;
        if (option->normal && !m->channels.normal) continue;
        if (m->solver->balanced && option->nmp && option->nmp < m->solver->costs->channels)
            continue;
        if (i + 1 == m->count && !loose && nmp + option->nmp < m->channels.nmp) continue;
        m->option[i] = option;
        m->points[i] = &o->points.data[option->first];
        choose(m, i + 1, nmp + option->nmp, normal || option->normal);
    }
}

static int by_span(const void *a, const void *b) {
    const exact_tier *x = a, *y = b;
    if (x->span != y->span) return x->span < y->span ? -1 : 1;
    if (x->add != y->add) return x->add < y->add ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return x->picks < y->picks ? -1 : x->picks > y->picks;
}

/* Whether one of the tiers from `first` to `end`, none of which takes longer, is as good as `t`. */
static bool dominated(const exact_solver *s, uint32_t first, uint32_t end, const exact_tier *t) {
    if (!s->track) return end > first && s->tiers.data[end - 1].add <= t->add;
    for (uint32_t i = first; i < end; i++)
        if (s->tiers.data[i].add <= t->add && s->tiers.data[i].bytes <= t->bytes) return true;
    return false;
}

exact_list tn__exact_tiers(exact_solver *s, uint32_t ops, exact_channels channels) {
    uint32_t at = 0;
    if (!tn_map_get(&s->tier_sets, &ops, sizeof ops, &at)) {
        at = s->tier_lists.len;
        for (uint32_t i = 0; i < tn__exact_lists(s); i++)
            tn_vec_push(s->arena, &s->tier_lists, (exact_list){0});
        tn_map_put(&s->tier_sets, &ops, sizeof ops, at);
    }
    at += tn__exact_index(s, channels);
    if (s->tier_lists.data[at].known) return s->tier_lists.data[at];
    making m = {.solver = s, .channels = channels, .ops = ops};
    for (uint32_t rest = ops; rest; rest &= rest - 1) m.op[m.count++] = (uint8_t)tn__lowest(rest);
    uint32_t first = s->tiers.len, kept = first;
    choose(&m, 0, 0, false);
    qsort(s->tiers.data + first, s->tiers.len - first, sizeof(exact_tier), by_span);
    for (uint32_t i = first; i < s->tiers.len; i++)
        if (!dominated(s, first, kept, &s->tiers.data[i])) s->tiers.data[kept++] = s->tiers.data[i];
    s->tiers.len = kept;
    return s->tier_lists.data[at] = (exact_list){first, kept - first, true};
}
