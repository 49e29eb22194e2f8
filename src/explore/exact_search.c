/* From prices to objectives. */
#include <math.h>

#include "explore/exact.h"
#include "explore/search.h"

static tn_status evaluate(exact_solver *s, exact_plan *plan, tn_evaluation *out, tn_error *err) {
    tn__exact_write(s, plan);
    tn__exact_place(s, plan);
    return tn_dataflow_evaluate(s->problem, &plan->flow, out, err);
}

tn_status tn__exact_search(exact_solver *s, const tn_search_options *options, tn_solution *out,
                           tn_error *err) {
    exact_plan *plan = TN_NEW(s->arena, exact_plan);
    exact_weights weights = {.latency = 1};
    double bound = tn__exact_solve(s, weights);
    if (bound == INFINITY)
        return tn_error_set(err, TN_NOT_FOUND, "%s has no dataflow of this space on %s",
                            s->workload->name, s->problem->machine.name);
    TN_CHECK(evaluate(s, plan, &out->evaluation, err));
    out->dataflow = plan->flow;
    out->lower_bound = bound;
    out->optimal = out->evaluation.fits;
    if (out->optimal) out->lower_bound = tn__objective(options->objective, &out->evaluation);
    return TN_OK;
}
