/* Opening a cost model by its SPEC, and asking it. */
#include "machine/cost_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef tn_status open_model(const char *rest, tn_cost_model *m, tn_error *err);

static const struct {
    const char *kind;
    bool takes_rest; /* "kind:rest" */
    open_model *open;
} kinds[] = {
    {"npu_roofline", false, tn__cost_npu_roofline},
    {"nmp_roofline", false, tn__cost_nmp_roofline},
    {"nmp_dataflow", false, tn__cost_nmp_dataflow},
    {"roofline", true, tn__cost_measured},
    {"library", true, tn__cost_library},
    {"process", true, tn__cost_process},
};

tn_status tn_cost_model_open(const char *spec, tn_cost_model **out, tn_error *err) {
    *out = NULL;
    const char *colon = strchr(spec, ':');
    size_t length = colon ? (size_t)(colon - spec) : strlen(spec);
    for (size_t i = 0; i < TN_COUNT(kinds); i++) {
        if (strlen(kinds[i].kind) != length || memcmp(kinds[i].kind, spec, length) != 0) continue;
        if (kinds[i].takes_rest != (colon != NULL)) break;
        tn_cost_model *m = calloc(1, sizeof *m);
        if (!m) return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for a cost model");
        snprintf(m->name, sizeof m->name, "%s", spec);
        tn_status status = kinds[i].open(colon ? colon + 1 : "", m, err);
        if (status)
            tn_cost_model_release(m);
        else
            *out = m;
        return status;
    }
    return tn_error_set(err, TN_INVALID,
                        "'%s' is no cost model: npu_roofline, nmp_roofline, nmp_dataflow, "
                        "roofline:FILE, library:FILE and process:COMMAND are",
                        spec);
}

void tn_cost_model_release(tn_cost_model *m) {
    if (!m) return;
    if (m->release) m->release(m->state);
    free(m);
}

const char *tn_cost_model_name(const tn_cost_model *m) {
    return m->name;
}

bool tn_cost_model_separable(const tn_cost_model *m) {
    return m->separable;
}

tn_status tn_cost_of(const tn_cost_model *m, const tn_cost_query *q, tn_cost *out, tn_error *err) {
    *out = (tn_cost){0};
    if (q->event != TN_COST_PRODUCT && !m->events) return TN_OK;
    TN_TRY(err, m->cost(m->state, q, out, err), "cost model %s", m->name);
    if (isfinite(out->latency) && out->latency >= 0 && isfinite(out->energy) && out->energy >= 0)
        return TN_OK;
    return tn_error_set(
        err, TN_INVALID,
        "cost model %s answers latency %g s and energy %g J for a product of %lld × "
        "[%lld, %lld] · [%lld, %lld] on %d + %d channels; both must be finite and not "
        "negative",
        m->name, out->latency, out->energy, (long long)q->product.batch, (long long)q->product.m,
        (long long)q->product.k, (long long)q->product.k, (long long)q->product.n, q->nmp_channels,
        q->normal_channels);
}
