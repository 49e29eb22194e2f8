/* Individuals from their parents, as in the artifact of H²-LLM: new machines and dataflows, mappings drawn anew
 * from some level down, and crossover by groups from both ends. What does not fit is drawn again a few times;
 * then the least excess is kept, which selection works off. */
#include <math.h>

#include "base/base.h"
#include "explore/dataflow.h"
#include "explore/genetic.h"
#include "explore/search.h"
#include "explore/workload.h"

/* ---- parts of dataflows --------------------------------------------------------------------- */

int tn__genetic_run_end(const tn_dataflow *d, int from, int level) {
    const tn_placement *a = &d->at[from];
    int to = from + 1;
    while (to < d->count && d->at[to].group == a->group &&
           (level < 1 || d->at[to].partition == a->partition) &&
           (level < 2 || d->at[to].tier == a->tier))
        to++;
    return to;
}

uint32_t tn__genetic_ops(const tn_dataflow *d, int from, int to) {
    uint32_t ops = 0;
    for (int i = from; i < to; i++) ops |= 1u << d->at[i].op;
    return ops;
}

sample_channels tn__genetic_channels(const tn_dataflow *d, int from, int to) {
    sample_channels all = {0};
    for (int i = from; i < to; i++) {
        all.nmp |= d->at[i].nmp;
        all.normal |= d->at[i].normal;
    }
    return all;
}

double tn__genetic_over(const tn_problem *p, const tn_dataflow *d) {
    const tn_memory *m = &p->machine.memory;
    double nmp[TN_MACHINE_CHANNELS], normal, room = m->banks * m->bank_bytes;
    if (tn_dataflow_fits(p, d, nmp, &normal)) return 0;
    double over = fmax(0, normal - room * tn__normal_channels(&p->machine));
    for (int c = 0; c < p->machine.near_memory.channels; c++) over += fmax(0, nmp[c] - room);
    return fmax(over, 1);
}

/* ---- the artifact's mutations of one dataflow ----------------------------------------------- */

/* Operator 2: groups stay. */
static bool redraw_groups(const sampler *s, const tn_dataflow *from, tn_dataflow *to) {
    tn_placement place = {0};
    for (int i = 0, end; i < from->count; i = end) {
        end = tn__genetic_run_end(from, i, 0);
        if (!tn__sample_group(s, tn__genetic_ops(from, i, end), false, &place, to)) return false;
    }
    return true;
}

/* Operator 3: channels of partitions stay. */
static bool redraw_tiers(const sampler *s, const tn_dataflow *from, tn_dataflow *to) {
    for (int i = 0, end; i < from->count; i = end) {
        end = tn__genetic_run_end(from, i, 1);
        if (!tn__sample_partition(s, tn__genetic_ops(from, i, end),
                                  tn__genetic_channels(from, i, end), from->at[i], to))
            return false;
    }
    return true;
}

/* Operator 4: tiers stay. */
static bool redraw_operators(const sampler *s, const tn_dataflow *from, tn_dataflow *to) {
    sample_channels channels = {0};
    for (int i = 0, end, partition = 0; i < from->count; i = end) {
        end = tn__genetic_run_end(from, i, 2);
        if (i == partition) {
            partition = tn__genetic_run_end(from, i, 1);
            channels = tn__genetic_channels(from, i, partition);
        }
        if (!tn__sample_tier(s, tn__genetic_ops(from, i, end), channels, from->at[i], to))
            return false;
    }
    return true;
}

static bool redraw_all(const sampler *s, const tn_dataflow *from, tn_dataflow *to) {
    (void)from;
    return tn__sample_dataflow(s, to);
}

/* ---- crossover ------------------------------------------------------------------------------ */

/* Where the group that ends at `end` begins. */
static int group_begin(const tn_dataflow *d, int end) {
    int from = end - 1;
    while (from && d->at[from - 1].group == d->at[from].group) from--;
    return from;
}

/* Appends the groups [from, to) of `d`: as they are, or their operators alone. */
static bool inherit(const sampler *s, const tn_dataflow *d, int from, int to, bool whole,
                    tn_placement *place, tn_dataflow *out) {
    for (int i = from, end; i < to; i = end) {
        end = tn__genetic_run_end(d, i, 0);
        if (!whole) {
            if (!tn__sample_group(s, tn__genetic_ops(d, i, end), true, place, out)) return false;
            continue;
        }
        for (int k = i; k < end; k++) {
            out->at[out->count] = d->at[k];
            out->at[out->count++].group = place->group;
        }
        place->group++;
    }
    return true;
}

/* The front's first groups and the back's last ones in turn while they have no operator in common, and random
 * groups between them. `whole`: groups keep their mappings, which the artifact draws anew. */
static bool cross(const sampler *s, const tn_dataflow *front, const tn_dataflow *back, bool whole,
                  tn_dataflow *out) {
    uint32_t all = tn__workload_all(s->problem->workload), taken = 0;
    int first = 0, last = back->count;
    tn_placement place = {0};
    for (bool from_front = true;; from_front = !from_front) {
        if (taken == all) break;
        int end = from_front ? tn__genetic_run_end(front, first, 0) : group_begin(back, last);
        uint32_t ops =
            from_front ? tn__genetic_ops(front, first, end) : tn__genetic_ops(back, end, last);
        if (ops & taken) break;
        taken |= ops;
        *(from_front ? &first : &last) = end;
    }
    return inherit(s, front, 0, first, whole, &place, out) &&
           tn__sample_interval(s, all & ~taken, &place, out) &&
           inherit(s, back, last, back->count, whole, &place, out);
}

/* ---- children ------------------------------------------------------------------------------- */

enum { TRIES = 11, RANDOM_TRIES = 64 };

/* What is drawn from either of the spaces lies in their union, which is too large to be met by chance alone. */
static tn_dataflow_space draw_space(genetic_child *c) {
    tn_dataflow_space space = c->family->options->space;
    if (space != TN_UNION) return space;
    int way = tn__sample_below(&c->random, 8);
    return way < 5 ? TN_DATA_CENTRIC : way == 5 ? TN_COMPUTE_CENTRIC : TN_UNION;
}

typedef bool redraw(const sampler *s, const tn_dataflow *from, tn_dataflow *to);

static void take_part(genetic_child *c, int part) {
    c->problem = tn__genetic_problem(c->family, c->out->machine, part);
}

/* Keeps the draw `d` if it is the first or has less excess than those before; true: it fits. */
static bool keep(const tn_problem *p, const tn_dataflow *d, genetic_part *out, bool *any) {
    double over = tn__genetic_over(p, d);
    if (!*any || over < out->over) {
        out->flow = *d;
        out->over = over;
    }
    *any = true;
    out->known = false;
    return over == 0;
}

static bool change_part(genetic_child *c, int part, redraw *how, const tn_dataflow *from,
                        int tries) {
    bool any = false;
    bool small = how == tn__genetic_edit || how == tn__genetic_move;
    take_part(c, part);
    for (int i = 0; i < tries; i++) {
        tn_dataflow d = {0};
        sampler s = {&c->problem, small ? c->family->options->space : draw_space(c), &c->random};
        if (how(&s, from, &d) && keep(&c->problem, &d, &c->out->parts[part], &any)) break;
    }
    return any;
}

static bool change_all(genetic_child *c, redraw *how, const genetic_individual *from, int tries) {
    for (int part = 0; part < c->family->study->count; part++)
        if (!change_part(c, part, how, from ? &from->parts[part].flow : NULL, tries)) return false;
    return true;
}

static int64_t random_machine(genetic_child *c) {
    return c->family->machines[tn__sample_below(&c->random, c->family->machine_count)];
}

static void copy(genetic_child *c, const genetic_individual *from) {
    size_t count = (size_t)c->family->study->count;
    c->out->machine = from->machine;
    memcpy(c->out->parts, from->parts, count * sizeof *from->parts);
}

static const genetic_individual *random_parent(genetic_child *c) {
    return &c->parents[tn__sample_below(&c->random, c->parent_count)];
}

/* The artifact draws the first five alike; the others are small steps. */
static bool mutate(genetic_child *c) {
    static redraw *const changes[] = {redraw_all,
                                      redraw_groups,
                                      redraw_tiers,
                                      redraw_operators,
                                      tn__genetic_redraw_window,
                                      tn__genetic_redraw_window,
                                      tn__genetic_edit,
                                      tn__genetic_edit};
    const genetic_individual *parent = random_parent(c);
    int other_machines = c->family->machine_count > 1 ? 2 : 0;
    int way = tn__sample_below(&c->random, (int)TN_COUNT(changes) + other_machines);
    copy(c, parent);
    if (way >= (int)TN_COUNT(changes)) {
        c->out->machine = random_machine(c);
        return way == (int)TN_COUNT(changes) ? change_all(c, redraw_all, NULL, TRIES)
                                             : change_all(c, tn__genetic_move, parent, TRIES);
    }
    int part = tn__sample_below(&c->random, c->family->study->count);
    return change_part(c, part, changes[way], &parent->parts[part].flow, TRIES);
}

static bool better(const genetic_family *f, const genetic_part *a, const genetic_part *b) {
    if (a->over != b->over) return a->over < b->over;
    return tn__objective(f->options->objective, &a->evaluation) <
           tn__objective(f->options->objective, &b->evaluation);
}

/* One part is crossed; of the others the better ones are taken where both parents are the same machine. */
static bool crossover(genetic_child *c) {
    if (c->parent_count < 2) return false;
    int i = tn__sample_below(&c->random, c->parent_count),
        j = tn__sample_below(&c->random, c->parent_count - 1);
    const genetic_individual *a = &c->parents[i], *b = &c->parents[j + (j >= i)];
    int count = c->family->study->count, part = tn__sample_below(&c->random, count);
    bool same = a->machine == b->machine, any = false;
    copy(c, a);
    for (int k = 0; same && k < count; k++)
        if (better(c->family, &b->parts[k], &a->parts[k])) c->out->parts[k] = b->parts[k];
    take_part(c, part);
    for (int try = 0; try < TRIES; try++) {
        tn_dataflow d = {0};
        sampler s = {&c->problem, draw_space(c), &c->random};
        bool turned = tn__sample_below(&c->random, 2),
             whole = same && tn__sample_below(&c->random, 2);
        const tn_dataflow *x = &a->parts[part].flow, *y = &b->parts[part].flow;
        if (cross(&s, turned ? y : x, turned ? x : y, whole, &d) &&
            keep(&c->problem, &d, &c->out->parts[part], &any))
            break;
    }
    return any;
}

static bool random_individual(genetic_child *c) {
    for (int i = 0; i < TRIES; i++) {
        c->out->machine = random_machine(c);
        if (change_all(c, redraw_all, NULL, RANDOM_TRIES)) return true;
    }
    return false;
}

bool tn__genetic_breed(genetic_child *c) {
    if (!c->parent_count) return random_individual(c);
    bool mutates = tn__sample_unit(&c->random) < c->family->mutate_ratio;
    return (!mutates && crossover(c)) || mutate(c) || random_individual(c);
}
