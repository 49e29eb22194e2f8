/* What a dataflow costs: prefill operator by operator on the processor; a decode step as the sum over memory
 * access groups of their longest partition, a partition as the sum of its tiers, a tier as the longer of its
 * units near memory (side by side) and of the processor (operator by operator). */
#include "base/base.h"
#include "explore/dataflow.h"
#include "machine/cost_model.h"

typedef struct evaluation {
    const tn_problem *problem;
    const tn_cost_model *models[2]; /* by tn_unit */
    tn_evaluation *out;
    tn_error *err;
    tn_cost_query last[2]; /* by tn_unit: what the partition computed before */
    bool has_last[2];
    tn_timeline *timeline;          /* NULL: not asked for */
    double group_start, tier_start; /* of the step; of the partition */
} evaluation;

static tn_status ask(evaluation *e, tn_cost_query *q, tn_cost *out) {
    const tn_cost_model *m = e->models[q->unit];
    if (m->separable) return tn_cost_of(m, q, out, e->err);
    q->before = e->has_last[q->unit] ? &e->last[q->unit] : NULL;
    TN_CHECK(tn_cost_of(m, q, out, e->err));
    e->last[q->unit] = *q;
    e->last[q->unit].before = NULL;
    e->has_last[q->unit] = true;
    return TN_OK;
}

static tn_cost_query query_of(const evaluation *e, const tn_placement *a, tn_unit unit) {
    const tn_problem *p = e->problem;
    return (tn_cost_query){
        .machine = &p->machine,
        .unit = unit,
        .nmp_channels = tn__channel_count(a->nmp),
        .normal_channels = a->normal ? tn__normal_channels(&p->machine) : 0,
        .sequences = p->scenario.batch,
    };
}

/* Seconds of a tier, or more of them, in all and by what they are spent for. */
typedef struct span {
    double latency, compute, transfer, sync, energy;
} span;

static tn_timeline_span span_of(const tn_placement *a, tn_unit unit, const tn_cost *cost) {
    return (tn_timeline_span){
        .op = a->op,
        .unit = unit,
        .nmp = a->nmp,
        .normal = a->normal,
        .group = a->group,
        .partition = a->partition,
        .tier = a->tier,
        .compute = cost->compute,
        .transfer = cost->transfer,
        .sync = cost->sync,
    };
}

/* Adds `s` from `before` to `after` the start of its tier. Sums are made in the order of the evaluation's, for the
 * same bits. */
static void record(const evaluation *e, tn_timeline_span s, double before, double after) {
    tn_timeline *t = e->timeline;
    if (!t || t->count == TN_TIMELINE_SPANS) return;
    s.start = e->group_start + (e->tier_start + before);
    s.end = e->group_start + (e->tier_start + after);
    t->spans[t->count++] = s;
}

static tn_status evaluate_prefill(evaluation *e, const tn_dataflow *d) {
    const tn_scenario *s = &e->problem->scenario;
    for (int i = 0; i < d->count; i++) {
        tn_cost cost;
        tn_cost_query q = query_of(e, &d->at[i], TN_UNIT_PROCESSOR);
        double start = e->out->prefill;
        q.product = tn_workload_product(e->problem->workload, d->at[i].op, s, tn_phase_prefill(s));
        TN_CHECK(ask(e, &q, &cost));
        e->out->prefill += cost.latency;
        e->out->prefill_energy += cost.energy;
        if (!e->timeline || i >= TN_OPERATORS) continue;
        tn_timeline_span *to = &e->timeline->prefill[e->timeline->prefill_count++];
        *to = span_of(&d->at[i], TN_UNIT_PROCESSOR, &cost);
        to->start = start;
        to->end = e->out->prefill;
    }
    return TN_OK;
}

static void add_cost(span *to, const tn_cost *c) {
    to->latency += c->latency;
    to->compute += c->compute;
    to->transfer += c->transfer;
    to->sync += c->sync;
    to->energy += c->energy;
}

static void add_span(span *to, const span *s) {
    to->latency += s->latency;
    to->compute += s->compute;
    to->transfer += s->transfer;
    to->sync += s->sync;
    to->energy += s->energy;
}

/* Keeps the longer of two that run side by side; energy is spent in both. */
static void keep_longer(span *to, const span *s) {
    double energy = to->energy + s->energy;
    if (s->latency > to->latency) *to = *s;
    to->energy = energy;
}

static tn_status add_event(evaluation *e, tn_cost_event event, int channels, span *to) {
    tn_cost cost;
    tn_cost_query q = {
        .machine = &e->problem->machine,
        .unit = TN_UNIT_NEAR_MEMORY,
        .event = event,
        .nmp_channels = channels,
        .sequences = e->problem->scenario.batch,
    };
    if (!e->models[q.unit]->events) return TN_OK;
    TN_CHECK(tn_cost_of(e->models[q.unit], &q, &cost, e->err));
    add_cost(to, &cost);
    return TN_OK;
}

/* What channels do from `before` on that is no operator's. */
static void record_events(const evaluation *e, const tn_placement *a, uint64_t channels,
                          double before, double after) {
    tn_timeline_span s = span_of(a, TN_UNIT_NEAR_MEMORY, &(tn_cost){.sync = after - before});
    s.op = -1;
    s.nmp = channels;
    s.normal = false;
    if (after > before) record(e, s, before, after);
}

/* The two parts of one placed operator; either may be nothing. */
static tn_status evaluate_operator(evaluation *e, const tn_placement *a, span *near_memory,
                                   span *processor) {
    const tn_scenario *s = &e->problem->scenario;
    tn_product parts[2],
        whole = tn_workload_product(e->problem->workload, a->op, s, tn_phase_decode(s));
    parts[TN_UNIT_PROCESSOR] = parts[TN_UNIT_NEAR_MEMORY] = whole;
    if (a->nmp && a->normal)
        tn__fission(&whole, a->ratio, &parts[TN_UNIT_NEAR_MEMORY], &parts[TN_UNIT_PROCESSOR]);
    for (int unit = 0; unit < 2; unit++) {
        if (unit == TN_UNIT_PROCESSOR ? !a->normal : !a->nmp) continue;
        tn_cost cost;
        tn_cost_query q = query_of(e, a, (tn_unit)unit);
        q.product = parts[unit];
        span *to = unit == TN_UNIT_PROCESSOR ? processor : near_memory;
        double start = to->latency;
        TN_CHECK(ask(e, &q, &cost));
        add_cost(to, &cost);
        record(e, span_of(a, (tn_unit)unit, &cost), start, to->latency);
    }
    if (!a->nmp || !a->normal) return TN_OK;
    double before = near_memory->latency;
    TN_CHECK(add_event(e, TN_COST_SYNC, tn__channel_count(a->nmp), near_memory));
    record_events(e, a, a->nmp, before, near_memory->latency);
    return TN_OK;
}

/* The operators [from, to) of `d` are one tier. */
static tn_status evaluate_tier(evaluation *e, const tn_dataflow *d, int from, int to, span *out) {
    span processor = {0}, longest = {0};
    uint64_t channels = 0;
    for (int i = from; i < to; i++) {
        span near_memory = {0};
        TN_CHECK(evaluate_operator(e, &d->at[i], &near_memory, &processor));
        keep_longer(&longest, &near_memory);
        channels |= d->at[i].nmp;
    }
    keep_longer(&longest, &processor);
    *out = longest;
    if (!channels) return TN_OK;
    TN_CHECK(add_event(e, TN_COST_MODE_CHANGE, tn__channel_count(channels), out));
    TN_CHECK(add_event(e, TN_COST_SYNC, tn__channel_count(channels), out));
    record_events(e, &d->at[from], channels, longest.latency, out->latency);
    return TN_OK;
}

typedef int level_of(const tn_placement *a);
static int level_group(const tn_placement *a) {
    return a->group;
}
static int level_partition(const tn_placement *a) {
    return a->partition;
}
static int level_tier(const tn_placement *a) {
    return a->tier;
}

/* The end of the run from `from` on (before `limit`) with one value of `level`. */
static int run_end(const tn_dataflow *d, int from, int limit, level_of *level) {
    int to = from + 1;
    while (to < limit && level(&d->at[to]) == level(&d->at[from])) to++;
    return to;
}

static tn_status evaluate_partition(evaluation *e, const tn_dataflow *d, int from, int to,
                                    span *out) {
    *out = (span){0};
    e->has_last[0] = e->has_last[1] = false;
    for (int end; from < to; from = end) {
        span tier;
        end = run_end(d, from, to, level_tier);
        e->tier_start = out->latency;
        TN_CHECK(evaluate_tier(e, d, from, end, &tier));
        add_span(out, &tier);
    }
    return TN_OK;
}

static tn_status evaluate_group(evaluation *e, const tn_dataflow *d, int from, int to, span *out) {
    *out = (span){0};
    uint64_t channels = 0;
    int partitions = 0, first = from;
    for (int end; from < to; from = end, partitions++) {
        span partition;
        end = run_end(d, from, to, level_partition);
        TN_CHECK(evaluate_partition(e, d, from, end, &partition));
        keep_longer(out, &partition);
        for (int i = from; i < end; i++) channels |= d->at[i].nmp;
    }
    if (partitions < 2) return TN_OK;
    e->tier_start = 0;
    double before = out->latency;
    TN_CHECK(add_event(e, TN_COST_SYNC, tn__channel_count(channels), out));
    record_events(e, &d->at[first], channels, before, out->latency);
    return TN_OK;
}

static tn_status evaluate(const tn_problem *p, const tn_dataflow *d, tn_timeline *timeline,
                          tn_evaluation *out, tn_error *err) {
    evaluation e = {.problem = p,
                    .models = {p->processor, p->near_memory},
                    .out = out,
                    .err = err,
                    .timeline = timeline};
    span step = {0};
    double generate = (double)p->scenario.generate;
    *out = (tn_evaluation){0};
    TN_CHECK(evaluate_prefill(&e, d));
    for (int from = 0, end; from < d->count; from = end) {
        span group;
        end = run_end(d, from, d->count, level_group);
        e.group_start = step.latency;
        TN_CHECK(evaluate_group(&e, d, from, end, &group));
        add_span(&step, &group);
    }
    out->decode_step = step.latency;
    out->compute = step.compute;
    out->transfer = step.transfer;
    out->sync = step.sync;
    out->decode = generate * step.latency;
    out->decode_energy = generate * step.energy;
    out->total = out->prefill + out->decode;
    out->energy = out->prefill_energy + out->decode_energy;
    out->fits = tn_dataflow_fits(p, d, NULL, NULL);
    return TN_OK;
}

tn_status tn_dataflow_evaluate(const tn_problem *p, const tn_dataflow *d, tn_evaluation *out,
                               tn_error *err) {
    return evaluate(p, d, NULL, out, err);
}

tn_status tn_dataflow_timeline(const tn_problem *p, const tn_dataflow *d, tn_timeline *out,
                               tn_error *err) {
    tn_evaluation e;
    *out = (tn_timeline){0};
    return evaluate(p, d, out, &e, err);
}
