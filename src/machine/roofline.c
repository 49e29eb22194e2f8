/* The two rooflines of the H²-LLM artifact (ISCA '25): a processor behind memory channels, and processing
 * elements at the banks of channels. Bytes of rooflines are counted in 10⁹, those of transfers in 2³⁰, as
 * published; energy is not modelled. */
#include <math.h>

#include "machine/cost_model.h"

static const double giga = 1e9, gibi = 1073741824.0;

static int64_t divide_up(int64_t a, int64_t b) {
    return a / b + (a % b != 0);
}

/* Attainable rate at `intensity` multiply-accumulates a byte. Rates are in 10⁹ a second, so that results have the
 * published bits. */
static double roof(double compute, double bandwidth, double intensity) {
    return compute / bandwidth < intensity ? compute : bandwidth * intensity;
}

/* Only operands are traffic, and those of one product: results and reuse between the products of a batch are
 * ignored, as published. */
static double intensity(double m, double n, double k, double element_bytes) {
    return m * k * n / (element_bytes * (m * k + k * n));
}

static tn_status npu_cost(void *state, const tn_cost_query *q, tn_cost *out, tn_error *err) {
    (void)state, (void)err;
    if (q->event != TN_COST_PRODUCT) return TN_OK;
    const tn_processor *c = &q->machine->processor;
    const tn_product *p = &q->product;
    double m = (double)p->m, n = (double)p->n, k = (double)p->k, batch = (double)p->batch;
    double work = batch * m * n * k;
    if (work == 0) return TN_OK;
    double bandwidth = q->machine->memory.bandwidth / giga * (q->nmp_channels + q->normal_channels);
    double rate = roof(c->macs / giga * c->utilization, bandwidth * c->utilization,
                       intensity(m, n, k, p->element_bytes));
    out->latency = out->compute = work / giga / rate;
    out->bytes = batch * p->element_bytes * (m * k + k * n);
    return TN_OK;
}

static int64_t greatest_common_divisor(int64_t a, int64_t b) {
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The divisor of `channels` that is nearest to √(k · channels / n), at a tie the smaller one. */
static int64_t parts_along_k(int64_t k, int64_t n, int channels) {
    double ideal = n > 0 ? sqrt((double)k * channels / (double)n) : channels;
    int64_t best = 1;
    for (int d = 1; d <= channels; d++)
        if (channels % d == 0 && fabs(d - ideal) < fabs((double)best - ideal)) best = d;
    return best;
}

tn_nmp_split tn__nmp_split(const tn_product *p, int channels) {
    tn_nmp_split s = {.channels = channels, .products = 1};
    if (p->batch > channels) {
        s.channels = 1;
        s.products = divide_up(p->batch, channels);
    } else if (p->batch > 1) {
        int64_t groups = greatest_common_divisor(p->batch, channels);
        s.channels = (int)(channels / groups);
        s.products = p->batch / groups;
    }
    s.k_parts = parts_along_k(p->k, p->n, s.channels);
    s.n_parts = s.channels / s.k_parts;
    return s;
}

static tn_status nmp_cost(void *state, const tn_cost_query *q, tn_cost *out, tn_error *err) {
    (void)state, (void)err;
    if (q->event != TN_COST_PRODUCT) return TN_OK;
    const tn_near_memory *u = &q->machine->near_memory;
    const tn_product *p = &q->product;
    int elements = q->machine->memory.banks;
    double link = q->machine->memory.bandwidth / giga;
    tn_nmp_split s = tn__nmp_split(p, q->nmp_channels);
    double m = (double)p->m, k = (double)divide_up(p->k, s.k_parts),
           n = (double)divide_up(p->n, s.n_parts), products = (double)s.products;
    double in = p->element_bytes * m * k / gibi / link,
           result = p->element_bytes * m * n / gibi / link;
    double work = m * k * n, compute = 0;
    if (work > 0)
        compute = work / giga /
                  roof(u->clock * u->fpus * u->macs * elements / giga,
                       u->bandwidth / giga * elements, intensity(m, n, k, p->element_bytes));
    out->compute = compute * products / u->utilization;
    out->transfer = (in + result) * products / u->utilization;
    out->latency = (in + compute + result) * products / u->utilization;
    out->bytes = p->element_bytes * (m * k + m * n) * products * s.channels;
    return TN_OK;
}

tn_status tn__cost_npu_roofline(const char *rest, tn_cost_model *m, tn_error *err) {
    (void)rest, (void)err;
    m->cost = npu_cost;
    m->separable = true;
    return TN_OK;
}

tn_status tn__cost_nmp_roofline(const char *rest, tn_cost_model *m, tn_error *err) {
    (void)rest, (void)err;
    m->cost = nmp_cost;
    m->separable = true;
    return TN_OK;
}
