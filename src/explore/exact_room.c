/* Room that is short: bytes on the side that has too many get a price that grows until the cheapest dataflow fits
 * (Lagrangian relaxation: at every price a bound from below), and the search with a limit on bytes closes the gap. */
#include <math.h>

#include "explore/exact_search.h"

static double bytes_on(const exact_solver *s, exact_side side, const tn_dataflow *d) {
    double bytes = 0;
    for (int i = 0; i < d->count; i++) {
        const exact_shape *shape = &s->costs->shapes[s->costs->shape_of[d->at[i].op]];
        bytes += shape->bytes * (side == EXACT_NEAR_MEMORY ? d->at[i].ratio : 1 - d->at[i].ratio);
    }
    return bytes;
}

/* ---- prices --------------------------------------------------------------------------------- */

/* The price at which the bound, cost + price · (bytes − limit) of the cheapest, is greatest: where the lines of a
 * dataflow that has too many bytes and of one that has not meet, until nothing lies below their meeting point.
 * `over` has too many. */
static tn_status find_price(exact_search *v, exact_found over, double limit, double *price,
                            double *bound) {
    exact_found under;
    *price = 0;
    *bound = over.cost;
    if (over.bytes <= limit) return TN_OK;
    TN_CHECK(tn__exact_solve_at(v, 1e3 * over.cost / over.bytes, &under));
    under.bytes = bytes_on(v->solver, v->solver->side, &v->plan->flow);
    if (under.bytes > limit)
        return tn_error_set(v->err, TN_NOT_FOUND,
                            "%s: no dataflow of this space keeps less than %.0f MB %s; %s has room "
                            "for %.0f MB there",
                            v->solver->workload->name, under.bytes / 1048576,
                            v->solver->side == EXACT_NORMAL ? "in normal channels" : "near memory",
                            v->solver->problem->machine.name, limit / 1048576);
    for (int i = 0; i < 60; i++) {
        exact_found f;
        *price = (under.cost - over.cost) / (over.bytes - under.bytes);
        double meeting = over.cost + *price * (over.bytes - limit);
        TN_CHECK(tn__exact_solve_at(v, *price, &f));
        f.bytes = bytes_on(v->solver, v->solver->side, &v->plan->flow);
        *bound = f.cost + *price * (f.bytes - limit);
        if (*bound >= meeting * (1 - 1e-12)) return TN_OK;
        *(f.bytes > limit ? &over : &under) = f;
    }
    return TN_OK;
}

/* ---- the gap -------------------------------------------------------------------------------- */

static tn_status close_gap(exact_search *v, double price, double limit, bool alone, double *bound) {
    exact_solver *s = v->solver;
    exact_solver *tracking = tn__exact_twin(s);
    exact_bounded b = {.relaxed = s,
                       .tracking = tracking,
                       .price = price,
                       .limit = limit,
                       .upper = INFINITY,
                       .alone = alone,
                       .deadline = v->deadline};
    if (v->out->evaluation.fits) b.upper = tn__exact_cost(v, &v->out->evaluation) * (1 - 1e-12);
    tracking->track = true;
    exact_weights weights = v->weights;
    weights.bytes = 0;
    tn__exact_reset(tracking, weights);
    if (!tn__exact_bounded_solve(&b)) return TN_OK;
    const bounded_labels *all = &b.chains[s->ideals.len - 1];
    double best = v->out->evaluation.fits ? tn__exact_cost(v, &v->out->evaluation) : INFINITY;
    if (!alone) *bound = all->len ? all->data[0].value : best;
    for (uint32_t i = 0; i < all->len; i++) {
        tn_evaluation e;
        tn__exact_bounded_write(&b, i, v->plan);
        TN_CHECK(tn__exact_consider(v, &e));
        if (e.fits) break;
    }
    return TN_OK;
}

tn_status tn__exact_search_within(exact_search *v, exact_found first, double *bound) {
    exact_solver *s = v->solver;
    const exact_costs *c = s->costs;
    double normal = bytes_on(s, EXACT_NORMAL, &v->plan->flow), price;
    s->side = normal > c->channel_bytes * c->normal ? EXACT_NORMAL : EXACT_NEAR_MEMORY;
    double limit = c->channel_bytes * (s->side == EXACT_NORMAL ? c->normal : c->channels);
    first.bytes = bytes_on(s, s->side, &v->plan->flow);
    TN_CHECK(find_price(v, first, limit, &price, bound));
    TN_CHECK(close_gap(v, price, limit, true, bound));
    return close_gap(v, price, limit, false, bound);
}
