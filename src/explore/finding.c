/* Findings: one block of memory, ranked. */
#include "explore/finding.h"

#include <stdlib.h>

#include "base/base.h"

tn_finding *tn__finding_new(int64_t count, int part_count) {
    tn_finding *f = calloc(1, sizeof *f);
    size_t machines = TN_MAX((size_t)count, (size_t)1);
    size_t bytes = sizeof(tn_finding_machine) + (size_t)part_count * sizeof(tn_solution);
    if (!f || !(f->machines = calloc(machines, bytes))) {
        free(f);
        return NULL;
    }
    f->part_count = part_count;
    /* Solutions lie behind the machines. */
    tn_solution *solutions = (tn_solution *)(f->machines + machines);
    for (int64_t i = 0; i < count; i++) f->machines[i].parts = solutions + i * part_count;
    return f;
}

tn_solution *tn__finding_parts(tn_finding *f, int64_t i) {
    return f->machines[i].parts;
}

void tn_finding_release(tn_finding *f) {
    if (!f) return;
    free(f->machines);
    free(f);
}

static int compare(double a, double b) {
    return a < b ? -1 : a > b;
}

static int by_front(const void *a, const void *b) {
    const tn_finding_machine *x = a, *y = b;
    int order = (int)y->feasible - (int)x->feasible;
    if (!order) order = compare(x->latency, y->latency);
    if (!order) order = compare(x->energy, y->energy);
    if (!order) order = compare(x->area, y->area);
    return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

static int by_value(const void *a, const void *b) {
    const tn_finding_machine *x = a, *y = b;
    int order = (int)y->feasible - (int)x->feasible;
    if (!order) order = compare(x->value, y->value);
    return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

static bool equal(const tn_finding_machine *a, const tn_finding_machine *b) {
    return a->latency == b->latency && a->energy == b->energy && a->area == b->area;
}

/* Sorted by latency, what dominates a machine lies before it; `front` has one of each kind of equal ones. */
static void mark_front(tn_finding *f) {
    int64_t front = -1;
    for (int64_t i = 0; i < f->count && f->machines[i].feasible; i++) {
        tn_finding_machine *m = &f->machines[i];
        m->pareto = true;
        for (int64_t k = front; k >= 0 && m->pareto;) {
            const tn_finding_machine *o = &f->machines[k];
            if (o->energy <= m->energy && o->area <= m->area) m->pareto = equal(o, m);
            /* The next one of the front, going back. */
            do k--;
            while (k >= 0 && (!f->machines[k].pareto || equal(&f->machines[k], o)));
        }
        if (m->pareto) front = i;
    }
}

void tn__finding_rank(tn_finding *f) {
    size_t count = (size_t)f->count;
    qsort(f->machines, count, sizeof *f->machines, by_front);
    mark_front(f);
    qsort(f->machines, count, sizeof *f->machines, by_value);
}
