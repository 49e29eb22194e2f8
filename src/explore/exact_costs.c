/* Filling the tables of exact search. */
#include "explore/exact_costs.h"

#include <math.h>

#include "explore/dataflow.h"
#include "machine/cost_model.h"

enum { MOST_RATIOS = 1 << 21 };

typedef struct filling {
    tn_arena *arena;
    const tn_problem *problem;
    tn_dataflow_space space;
    bool sampled;
    int64_t ratios; /* of the union, so far */
    exact_costs *out;
    tn_error *err;
} filling;

static bool same_product(const tn_product *a, const tn_product *b) {
    return a->batch == b->batch && a->m == b->m && a->n == b->n && a->k == b->k;
}

/* The shape of operator `op`: an earlier one where nothing that costs depend on differs. */
static void find_shape(filling *f, int op) {
    const tn_workload *w = f->problem->workload;
    const tn_scenario *s = &f->problem->scenario;
    exact_shape shape = {
        .prefill = tn_workload_product(w, op, s, tn_phase_prefill(s)),
        .decode = tn_workload_product(w, op, s, tn_phase_decode(s)),
        .bytes = tn_workload_bytes(w, op, s),
        .op = op,
    };
    f->out->bytes += shape.bytes;
    for (int i = 0; i < f->out->shape_count; i++) {
        const exact_shape *o = &f->out->shapes[i];
        if (same_product(&o->prefill, &shape.prefill) && same_product(&o->decode, &shape.decode) &&
            o->bytes == shape.bytes && w->operators[o->op].heads == w->operators[op].heads) {
            f->out->shape_of[op] = i;
            return;
        }
    }
    f->out->shape_of[op] = f->out->shape_count;
    f->out->shapes[f->out->shape_count++] = shape;
}

static tn_status ask(const filling *f, const tn_cost_query *q, double *latency, double *energy) {
    const tn_problem *p = f->problem;
    tn_cost cost;
    TN_CHECK(
        tn_cost_of(q->unit == TN_UNIT_PROCESSOR ? p->processor : p->near_memory, q, &cost, f->err));
    *latency += cost.latency;
    *energy += cost.energy;
    return TN_OK;
}

static tn_cost_query query_of(const filling *f, tn_unit unit, int nmp, bool normal) {
    return (tn_cost_query){
        .machine = &f->problem->machine,
        .unit = unit,
        .nmp_channels = nmp,
        .normal_channels = normal ? f->out->normal : 0,
        .sequences = f->problem->scenario.batch,
    };
}

/* Prefill of `c`, which knows where it is. */
static tn_status price_prefill(const filling *f, const exact_shape *s, exact_choice *c) {
    tn_cost_query q = query_of(f, TN_UNIT_PROCESSOR, c->nmp, c->normal);
    q.product = s->prefill;
    return ask(f, &q, &c->prefill, &c->prefill_energy);
}

static tn_status price_decode(const filling *f, const exact_shape *s, exact_choice *c) {
    tn_product near_memory = s->decode, processor = s->decode;
    if (c->nmp && c->normal) tn__fission(&s->decode, c->ratio, &near_memory, &processor);
    if (c->nmp) {
        tn_cost_query q = query_of(f, TN_UNIT_NEAR_MEMORY, c->nmp, c->normal);
        q.product = near_memory;
        TN_CHECK(ask(f, &q, &c->near_memory, &c->energy));
    }
    if (c->normal) {
        tn_cost_query q = query_of(f, TN_UNIT_PROCESSOR, c->nmp, c->normal);
        q.product = processor;
        TN_CHECK(ask(f, &q, &c->processor, &c->energy));
    }
    return TN_OK;
}

static tn_status add_choice(const filling *f, exact_shape *s, exact_choice c) {
    if (!c.nmp || !c.normal || !s->choices.len || !s->choices.data[s->choices.len - 1].normal ||
        s->choices.data[s->choices.len - 1].nmp != c.nmp) {
        TN_CHECK(price_prefill(f, s, &c));
    } else { /* only the ratio differs */
        c.prefill = s->choices.data[s->choices.len - 1].prefill;
        c.prefill_energy = s->choices.data[s->choices.len - 1].prefill_energy;
    }
    TN_CHECK(price_decode(f, s, &c));
    if (c.nmp && c.normal && f->problem->near_memory->events) {
        tn_cost_query q = query_of(f, TN_UNIT_NEAR_MEMORY, c.nmp, false);
        q.event = TN_COST_SYNC;
        TN_CHECK(ask(f, &q, &c.near_memory, &c.energy));
    }
    tn_vec_push(f->arena, &s->choices, c);
    return TN_OK;
}

/* The last choice is needless once the next, with more near memory, takes no longer there and no more energy. */
static void drop_dominated(exact_shape *s) {
    const exact_choice *last = &s->choices.data[s->choices.len - 1], *before = last - 1;
    if (before->nmp != last->nmp || !before->normal || before->near_memory < last->near_memory ||
        before->processor < last->processor || before->energy < last->energy)
        return;
    s->choices.data[s->choices.len - 2] = *last;
    s->choices.len--;
}

/* The union's ratios: all that give the parts whole units, and the data-centric ones. */
static tn_status add_all_fissions(filling *f, exact_shape *s, int nmp) {
    int64_t units = tn__fission_units(&s->decode), part = 1;
    double few[TN_FISSION_RATIOS], last = 0;
    int count = tn__fission_ratios(f->problem, s->op, nmp, few), at = 0;
    bool published =
        true; /* the last one: those stay, so that the union holds all dataflows of both spaces */
    f->ratios += units;
    if (f->ratios > MOST_RATIOS)
        return tn_error_set(f->err, TN_UNSUPPORTED,
                            "operator %s can be divided in %lld ways on each count of %d channels; "
                            "exact search of the union takes up to %d in all, genetic search any",
                            f->problem->workload->operators[s->op].name, (long long)units,
                            f->out->channels, MOST_RATIOS);
    while (part < units || at < count) {
        double share = part < units ? tn__fission_share(part, units) : INFINITY;
        bool next_published = at < count && few[at] <= share, drop = !published;
        double ratio = next_published ? few[at] : share;
        next_published ? at++ : part++;
        if (ratio <= last) continue;
        last = ratio;
        published = next_published;
        TN_CHECK(add_choice(f, s, (exact_choice){.nmp = nmp, .normal = 1, .ratio = ratio}));
        if (drop) drop_dominated(s);
    }
    return TN_OK;
}

static tn_status add_fissions(const filling *f, exact_shape *s, int nmp) {
    double ratios[TN_FISSION_RATIOS];
    int count =
        tn__fission_ratios_at(f->problem, s->op, nmp, f->sampled ? 1 : TN_FISSION_RATES, ratios);
    for (int i = 0; i < count; i++)
        TN_CHECK(add_choice(f, s, (exact_choice){.nmp = nmp, .normal = 1, .ratio = ratios[i]}));
    return TN_OK;
}

static tn_status fill_shape(filling *f, exact_shape *s) {
    if (f->out->normal) TN_CHECK(add_choice(f, s, (exact_choice){.normal = 1}));
    for (int n = 1; n <= f->out->channels; n++) {
        TN_CHECK(add_choice(f, s, (exact_choice){.nmp = n, .ratio = 1}));
        if (!f->out->normal || f->space == TN_COMPUTE_CENTRIC) continue;
        TN_CHECK(f->space == TN_UNION ? add_all_fissions(f, s, n) : add_fissions(f, s, n));
    }
    return TN_OK;
}

static tn_status fill_events(const filling *f) {
    if (!f->problem->near_memory->events) return TN_OK;
    for (int n = 1; n <= f->out->channels; n++) {
        exact_event *tier = &f->out->tier[n], *group = &f->out->group[n];
        tn_cost_query q = query_of(f, TN_UNIT_NEAR_MEMORY, n, false);
        q.event = TN_COST_SYNC;
        TN_CHECK(ask(f, &q, &group->latency, &group->energy));
        *tier = *group;
        q.event = TN_COST_MODE_CHANGE;
        TN_CHECK(ask(f, &q, &tier->latency, &tier->energy));
    }
    return TN_OK;
}

tn_status tn__exact_costs(tn_arena *arena, const tn_problem *p, const tn_search_options *options,
                          exact_costs *out, tn_error *err) {
    const tn_memory *m = &p->machine.memory;
    filling f = {arena, p, options->space, options->sampled_ratios, 0, out, err};
    *out = (exact_costs){.channels = p->machine.near_memory.channels,
                         .normal = tn__normal_channels(&p->machine),
                         .channel_bytes = m->banks * m->bank_bytes};
    for (int op = 0; op < p->workload->count; op++) find_shape(&f, op);
    for (int i = 0; i < out->shape_count; i++) TN_CHECK(fill_shape(&f, &out->shapes[i]));
    return fill_events(&f);
}

/* ---- fewer of them -------------------------------------------------------------------------- */

enum { THIN_RATIOS = 12 };

/* Of the choices [from, to), which differ in their ratio: the ends, the one where near memory and processor end
 * together, some halfway and closer to it each time, and the data-centric ones. */
static void thin_run(tn_arena *arena, const tn_problem *p, const exact_shape *in, uint32_t from,
                     uint32_t to, exact_shape *out) {
    const exact_choice *all = in->choices.data;
    double published[TN_FISSION_RATIOS];
    int count = tn__fission_ratios(p, in->op, all[from].nmp, published);
    uint32_t middle = from;
    while (middle + 1 < to && all[middle].near_memory < all[middle].processor) middle++;
    for (uint32_t i = from; i < to; i++) {
        uint32_t distance = i < middle ? middle - i : i - middle;
        uint32_t side = i < middle ? middle - from : to - 1 - middle;
        bool keep = i == from || i + 1 == to || distance <= 1;
        for (int k = 1; k < THIN_RATIOS / 2 && !keep; k++) keep = distance == side >> k;
        for (int k = 0; k < count; k++) keep |= all[i].ratio == published[k];
        if (keep) tn_vec_push(arena, &out->choices, all[i]);
    }
}

const exact_costs *tn__exact_costs_thin(tn_arena *arena, const tn_problem *p,
                                        const exact_costs *c) {
    exact_costs *thin = tn_arena_dup(arena, c, sizeof *c);
    for (int s = 0; s < c->shape_count; s++) {
        const exact_shape *in = &c->shapes[s];
        const exact_choice *all = in->choices.data;
        memset(&thin->shapes[s].choices, 0, sizeof thin->shapes[s].choices);
        for (uint32_t i = 0, end; i < in->choices.len; i = end) {
            for (end = i + 1; end < in->choices.len && all[end].nmp == all[i].nmp &&
                              all[end].normal == all[i].normal;)
                end++;
            thin_run(arena, p, in, i, end, &thin->shapes[s]);
        }
    }
    return thin;
}

static void mix(tn_hash128 *h, const void *data, size_t size) {
    tn_hash128 part = tn_hash128_of(data, size), both[2] = {*h, part};
    *h = tn_hash128_of(both, sizeof both);
}

tn_hash128 tn__exact_costs_hash(const exact_costs *c) {
    tn_hash128 h = {0, 0};
    double sizes[] = {c->channels, c->normal, c->channel_bytes, c->bytes, c->shape_count};
    mix(&h, sizes, sizeof sizes);
    mix(&h, c->shape_of, sizeof c->shape_of);
    mix(&h, c->tier, sizeof c->tier);
    mix(&h, c->group, sizeof c->group);
    for (int i = 0; i < c->shape_count; i++) {
        mix(&h, &c->shapes[i].bytes, sizeof(double));
        mix(&h, c->shapes[i].choices.data, c->shapes[i].choices.len * sizeof(exact_choice));
    }
    return h;
}
