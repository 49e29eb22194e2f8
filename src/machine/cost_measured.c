/* The roofline of a machine that exists, as `tenon doctor --measure` found it: all its threads, data beyond its
 * caches. It prices the processor's products; the description's own rates are not looked at. */
#include <stdlib.h>

#include "machine/cost_model.h"
#include "machine/profile.h"

static tn_status measured_cost(void *state, const tn_cost_query *q, tn_cost *out, tn_error *err) {
    const tn_roofs *r = state;
    const tn_product *p = &q->product;
    double m = (double)p->m, n = (double)p->n, k = (double)p->k, batch = (double)p->batch;
    if (q->unit != TN_UNIT_PROCESSOR)
        return tn_error_set(
            err, TN_UNSUPPORTED,
            "a measured machine has no units near memory; it serves as a processor");
    out->compute = 2 * batch * m * n * k / (r->gflops * 1e9);
    out->bytes = batch * p->element_bytes * (m * k + k * n + m * n);
    out->transfer = out->bytes / (r->read_gbs * 1e9);
    out->latency = TN_MAX(out->compute, out->transfer);
    return TN_OK;
}

tn_status tn__cost_measured(const char *path, tn_cost_model *m, tn_error *err) {
    tn_profile profile;
    tn_roofs *roofs = malloc(sizeof *roofs);
    if (!roofs) return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for a cost model");
    m->state = roofs;
    m->release = free;
    m->cost = measured_cost;
    m->separable = true;
    if (!tn_profile_read(&profile, path, NULL) || !(profile.roofs.gflops > 0) ||
        !(profile.roofs.read_gbs > 0))
        return tn_error_set(err, TN_INVALID,
                            "'%s' is no profile of a machine; tenon doctor --measure writes one",
                            path);
    *roofs = profile.roofs;
    return TN_OK;
}
