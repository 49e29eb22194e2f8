/* The dataflows of published systems as the artifact prices them: operators in sequence, weights where each
 * phase likes them best, near-memory units at their full rate. */
#include <math.h>

#include "base/base.h"
#include "explore/workload.h"

/* Channels from which the processor reads an operator, and whether units near memory decode it. */
typedef struct route {
    int prefill, decode;
    bool offloaded;
    bool split; /* near memory decodes a seventh of the columns */
} route;

static route route_of(const tn_machine *m, tn_fixed_dataflow kind, const tn_operator *o) {
    bool attention = o->kind == TN_OPERATOR_SCORES || o->kind == TN_OPERATOR_VALUES;
    bool feed_forward = o->name[0] == 'f' || o->kind == TN_OPERATOR_EXPERTS;
    int all = m->memory.channels, near = m->near_memory.channels;
    switch (kind) {
    case TN_NPU_ONLY:
    case TN_NPU_ONLY_2X:
        return (route){all, all, false, false};
    case TN_FC_OFFLOADING:
        return (route){attention ? all : near, all, !attention, false};
    case TN_ATTENTION_OFFLOADING:
        return (route){attention ? near : all, all, attention, false};
    case TN_ATTENTION_OFFLOADING_FFN_SPLIT:
        break;
    }
    return (route){attention ? near : all, all, attention, feed_forward};
}

typedef struct pricing {
    const tn_problem *problem;
    tn_machine machine;
    tn_error *err;
} pricing;

static tn_status price(pricing *c, tn_unit unit, const tn_product *p, int channels, tn_cost *out) {
    tn_cost_query q = {.machine = &c->machine,
                       .unit = unit,
                       .product = *p,
                       .nmp_channels = channels,
                       .sequences = c->problem->scenario.batch};
    return tn_cost_of(unit == TN_UNIT_PROCESSOR ? c->problem->processor : c->problem->near_memory,
                      &q, out, c->err);
}

static tn_product columns(const tn_product *p, double share) {
    tn_product part = *p;
    part.n = (int64_t)ceil((double)p->n * share);
    return part;
}

static tn_status price_decode(pricing *c, const route *r, const tn_product *p, double *latency,
                              double *energy) {
    tn_product near = *p, processor = *p;
    tn_cost a = {0}, b = {0};
    if (r->split) {
        near = columns(p, 1.0 / 7);
        processor = columns(p, 6.0 / 7);
    }
    if (r->offloaded || r->split)
        TN_CHECK(price(c, TN_UNIT_NEAR_MEMORY, &near, c->machine.near_memory.channels, &a));
    if (!r->offloaded) TN_CHECK(price(c, TN_UNIT_PROCESSOR, &processor, r->decode, &b));
    *latency = TN_MAX(a.latency, b.latency);
    *energy = a.energy + b.energy;
    return TN_OK;
}

tn_status tn_fixed_evaluate(const tn_problem *p, tn_fixed_dataflow kind, tn_evaluation *out,
                            tn_error *err) {
    pricing c = {.problem = p, .machine = p->machine, .err = err};
    const tn_scenario *s = &p->scenario;
    bool needs_units = kind != TN_NPU_ONLY && kind != TN_NPU_ONLY_2X;
    *out = (tn_evaluation){0};
    if (needs_units != (p->machine.near_memory.channels > 0))
        return tn_error_set(err, TN_INVALID,
                            "the dataflow needs %s channels near memory; the machine has %d of %d",
                            needs_units ? "some" : "no", p->machine.near_memory.channels,
                            p->machine.memory.channels);
    c.machine.near_memory.utilization = 1;
    if (kind == TN_NPU_ONLY_2X) c.machine.processor.macs *= 2;
    for (int op = 0; op < p->workload->count; op++) {
        route r = route_of(&c.machine, kind, &p->workload->operators[op]);
        tn_product prefill = tn_workload_product(p->workload, op, s, tn_phase_prefill(s));
        tn_product decode = tn_workload_product(p->workload, op, s, tn_phase_decode(s));
        tn_cost cost;
        double latency, energy;
        TN_CHECK(price(&c, TN_UNIT_PROCESSOR, &prefill, r.prefill, &cost));
        TN_CHECK(price_decode(&c, &r, &decode, &latency, &energy));
        out->prefill += cost.latency;
        out->prefill_energy += cost.energy;
        out->decode_step += latency;
        out->decode_energy += energy * (double)s->generate;
    }
    out->decode = out->decode_step * (double)s->generate;
    out->total = out->prefill + out->decode;
    out->energy = out->prefill_energy + out->decode_energy;
    out->fits = true;
    return TN_OK;
}
