/* Searching for the best dataflow of a machine. */
#include "explore/search.h"

double tn__objective(tn_objective objective, const tn_evaluation *e) {
    switch (objective) {
    case TN_ENERGY:
        return e->energy;
    case TN_EDP:
        return e->energy * e->total;
    default:
        return e->total;
    }
}

tn_status tn_search_dataflow(const tn_problem *p, const tn_search_options *options,
                             tn_solution *out, tn_error *err) {
    *out = (tn_solution){0};
    TN_TRY(err, tn_machine_check(&p->machine, err), "while searching dataflows");
    if (options->method == TN_GENETIC) return tn__genetic_search(p, options, out, err);
    tn__exact_problem *prepared;
    TN_CHECK(tn__exact_prepare(p, options, &prepared, err));
    tn_status status = tn__exact_run(prepared, options, out, err);
    tn__exact_release(prepared);
    return status;
}
