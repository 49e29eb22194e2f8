/* The products of a transformer layer in its two phases, and what they keep in memory. */
#include <math.h>

#include "base/base.h"
#include "explore/workload.h"

tn_phase tn_phase_prefill(const tn_scenario *s) {
    return (tn_phase){s->prompt, s->prompt};
}

tn_phase tn_phase_decode(const tn_scenario *s) {
    return (tn_phase){1, TN_MIN(s->context_limit, s->prompt + s->generate)};
}

/* Distinct matrices that `tokens` tokens meet when each chooses `active` of `experts`, all being equally
 * likely. */
static int64_t experts_met(const tn_operator *o, int64_t tokens) {
    double missed = pow(1.0 - (double)o->active / o->experts, (double)tokens);
    return TN_MAX(1, (int64_t)ceil(o->experts * (1.0 - missed)));
}

tn_product tn_workload_product(const tn_workload *w, int op, const tn_scenario *s, tn_phase phase) {
    const tn_operator *o = &w->operators[op];
    int64_t tokens = s->batch * phase.tokens;
    int64_t context = o->window ? TN_MIN(o->window, phase.context) : phase.context;
    tn_product p = {.element_bytes = s->element_bytes, .n = o->n, .k = o->k};
    switch (o->kind) {
    case TN_OPERATOR_WEIGHTS:
        p.batch = 1;
        p.m = tokens;
        break;
    case TN_OPERATOR_EXPERTS:
        p.batch = experts_met(o, tokens);
        p.m = (tokens * o->active + p.batch - 1) / p.batch;
        break;
    case TN_OPERATOR_SCORES:
    case TN_OPERATOR_VALUES:
        p.batch = o->heads * s->batch;
        p.m = phase.tokens * o->group;
        if (o->kind == TN_OPERATOR_SCORES)
            p.n = context;
        else
            p.k = context;
        break;
    }
    return p;
}

double tn_workload_bytes(const tn_workload *w, int op, const tn_scenario *s) {
    const tn_operator *o = &w->operators[op];
    double layers = w->layers, context = (double)s->context_limit;
    if (o->window) context = TN_MIN(context, (double)o->window);
    switch (o->kind) {
    case TN_OPERATOR_WEIGHTS:
        return layers * (double)o->k * (double)o->n * s->element_bytes;
    case TN_OPERATOR_EXPERTS:
        return layers * o->experts * (double)o->k * (double)o->n * s->element_bytes;
    case TN_OPERATOR_SCORES:
        return layers * s->batch * (double)o->heads * context * (double)o->k * s->element_bytes;
    case TN_OPERATOR_VALUES:
        return layers * s->batch * (double)o->heads * context * (double)o->n * s->element_bytes;
    }
    return 0;
}

uint32_t tn__workload_all(const tn_workload *w) {
    return w->count == 32 ? UINT32_MAX : (1u << w->count) - 1;
}

int tn__workload_find(const tn_workload *w, const char *name) {
    for (int i = 0; i < w->count; i++)
        if (strcmp(w->operators[i].name, name) == 0) return i;
    return -1;
}

/* What operator `op` of `a` reads, as operators of `b`. */
static uint32_t reads_as(const tn_workload *a, int op, const tn_workload *b) {
    uint32_t bits = 0;
    for (int j = 0; j < a->count; j++) {
        int other = a->before[op] >> j & 1 ? tn__workload_find(b, a->operators[j].name) : -1;
        if (other >= 0) bits |= 1u << other;
    }
    return bits;
}

bool tn__workload_same(const tn_workload *a, const tn_workload *b) {
    if (a->count != b->count) return false;
    for (int i = 0; i < a->count; i++) {
        const tn_operator *x = &a->operators[i];
        int j = tn__workload_find(b, x->name);
        if (j < 0) return false;
        const tn_operator *y = &b->operators[j];
        if (x->kind != y->kind || x->n != y->n || x->k != y->k || x->heads != y->heads ||
            x->group != y->group || x->window != y->window || x->experts != y->experts ||
            x->active != y->active || reads_as(a, i, b) != b->before[j])
            return false;
    }
    return true;
}
