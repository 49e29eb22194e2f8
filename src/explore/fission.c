/* Fission: one operator on both kinds of channels at once. */
#include <math.h>

#include "base/base.h"
#include "explore/dataflow.h"

void tn__fission(const tn_product *p, double ratio, tn_product *near_memory,
                 tn_product *processor) {
    *near_memory = *processor = *p;
    int64_t units = tn__fission_units(p), part = (int64_t)((double)units * ratio);
    int64_t *a = p->batch > 1 ? &near_memory->batch : &near_memory->n;
    int64_t *b = p->batch > 1 ? &processor->batch : &processor->n;
    *a = part;
    *b = units - part;
}

double tn__fission_share(int64_t part, int64_t units) {
    double share = (double)part / (double)units;
    return (int64_t)((double)units * share) < part ? nextafter(share, 1) : share;
}

/* The multiple i / units, 0 < i < units, that is nearest to `ratio`; the smaller one at a tie. */
static double snap(double ratio, int64_t units) {
    int64_t low = (int64_t)(ratio * (double)units), best = 1;
    double distance = INFINITY;
    for (int64_t i = TN_MAX(1, low - 1); i <= TN_MIN(units - 1, low + 2); i++) {
        double d = fabs((double)i / (double)units - ratio);
        if (d < distance) {
            distance = d;
            best = i;
        }
    }
    return (double)TN_MIN(best, units - 1) / (double)units;
}

static int insert(double *ratios, int count, double r) {
    int at = 0;
    while (at < count && ratios[at] < r) at++;
    if (at < count && ratios[at] == r) return count;
    for (int i = count; i > at; i--) ratios[i] = ratios[i - 1];
    ratios[at] = r;
    return count + 1;
}

int tn__fission_ratios(const tn_problem *p, int op, int nmp, double ratios[TN_FISSION_RATIOS]) {
    return tn__fission_ratios_at(p, op, nmp, TN_FISSION_RATES, ratios);
}

int tn__fission_ratios_at(const tn_problem *p, int op, int nmp, int rate_count,
                          double ratios[TN_FISSION_RATIOS]) {
    /* Of the bandwidth of a normal channel: what the processor reaches (the artifact's samplers), and the peak
     * (its crossover). */
    const double rates[TN_FISSION_RATES] = {0.7, 1.0};
    const tn_near_memory *u = &p->machine.near_memory;
    const tn_scenario *s = &p->scenario;
    tn_product prefill = tn_workload_product(p->workload, op, s, tn_phase_prefill(s));
    int64_t heads = p->workload->operators[op].heads;
    /* The artifact takes all of this from the shape of prefill, though the ratio is used while decoding. */
    int64_t units = prefill.batch > 1 && heads > 1 ? heads : tn__fission_units(&prefill);
    int count = 0;
    if (units < 2) return 0;
    for (int i = 0; i < rate_count; i++) {
        double near = u->bandwidth * p->machine.memory.banks * nmp;
        double normal =
            2 * p->machine.memory.bandwidth * rates[i] * tn__normal_channels(&p->machine);
        double rate = u->clock * u->fpus * u->macs * p->machine.memory.banks * nmp;
        count = insert(ratios, count, snap(near / (near + normal), units));
        count = insert(ratios, count, snap(rate / (rate + normal * (double)prefill.m), units));
    }
    return count;
}
