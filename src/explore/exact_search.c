/* From prices to objectives, and to what fits: where a side is short of room, bytes on it get a price that grows
 * until the cheapest dataflow fits (Lagrangian relaxation: at every price a bound from below), and the search
 * with a limit on bytes closes the gap. */
#include <math.h>

#include "explore/exact_bounded.h"
#include "explore/search.h"

typedef struct searching {
    exact_solver *solver;
    const tn_search_options *options;
    tn_solution *out; /* the best that fits; evaluation.fits: there is one */
    exact_plan *plan;
    exact_weights weights;
    double limit;    /* of the short side */
    double deadline; /* s */
    tn_error *err;
} searching;

/* A dataflow that was found for some price. */
typedef struct found {
    double cost, bytes; /* without the price; on the short side */
    tn_evaluation evaluation;
} found;

static double bytes_on(const exact_solver *s, exact_side side, const tn_dataflow *d) {
    double bytes = 0;
    for (int i = 0; i < d->count; i++) {
        const exact_shape *shape = &s->costs->shapes[s->costs->shape_of[d->at[i].op]];
        bytes += shape->bytes * (side == EXACT_NEAR_MEMORY ? d->at[i].ratio : 1 - d->at[i].ratio);
    }
    return bytes;
}

/* Evaluates the plan, and keeps it if it is the best that fits. */
static tn_status consider(searching *v, tn_evaluation *e) {
    tn__exact_place(v->solver, v->plan);
    TN_CHECK(tn_dataflow_evaluate(v->solver->problem, &v->plan->flow, e, v->err));
    tn_objective o = v->options->objective;
    if (!e->fits ||
        (v->out->evaluation.fits && tn__objective(o, e) >= tn__objective(o, &v->out->evaluation)))
        return TN_OK;
    v->out->evaluation = *e;
    v->out->dataflow = v->plan->flow;
    return TN_OK;
}

static double cost_of(const searching *v, const tn_evaluation *e) {
    return v->weights.latency * e->total + v->weights.energy * e->energy;
}

static tn_status solve_at(searching *v, double price, found *out) {
    exact_solver *s = v->solver;
    v->weights.bytes = price;
    if (tn__exact_solve(s, v->weights) == INFINITY)
        return tn_error_set(v->err, TN_NOT_FOUND, "%s has no dataflow of this space on %s",
                            s->workload->name, s->problem->machine.name);
    tn__exact_write(s, v->plan);
    TN_CHECK(consider(v, &out->evaluation));
    out->cost = cost_of(v, &out->evaluation);
    out->bytes = bytes_on(s, s->side, &v->plan->flow);
    return TN_OK;
}

/* ---- prices --------------------------------------------------------------------------------- */

/* The price at which the bound, cost + price · (bytes − limit) of the cheapest, is greatest: where the lines of a
 * dataflow that has too many bytes and of one that has not meet, until nothing lies below their meeting point.
 * `over` has too many. */
static tn_status find_price(searching *v, found over, double *price, double *bound) {
    found under;
    *price = 0;
    *bound = over.cost;
    if (over.bytes <= v->limit) return TN_OK;
    TN_CHECK(solve_at(v, 1e3 * over.cost / over.bytes, &under));
    if (under.bytes > v->limit)
        return tn_error_set(v->err, TN_NOT_FOUND,
                            "%s: no dataflow of this space keeps less than %.0f MB %s; %s has room "
                            "for %.0f MB there",
                            v->solver->workload->name, under.bytes / 1048576,
                            v->solver->side == EXACT_NORMAL ? "in normal channels" : "near memory",
                            v->solver->problem->machine.name, v->limit / 1048576);
    for (int i = 0; i < 60; i++) {
        found f;
        *price = (under.cost - over.cost) / (over.bytes - under.bytes);
        double meeting = over.cost + *price * (over.bytes - v->limit);
        TN_CHECK(solve_at(v, *price, &f));
        *bound = f.cost + *price * (f.bytes - v->limit);
        if (*bound >= meeting * (1 - 1e-12)) return TN_OK;
        *(f.bytes > v->limit ? &over : &under) = f;
    }
    return TN_OK;
}

/* ---- the gap -------------------------------------------------------------------------------- */

static tn_status close_gap(searching *v, double price, bool alone, double *bound) {
    exact_solver *s = v->solver;
    exact_solver *tracking = tn__exact_twin(s);
    exact_bounded b = {.relaxed = s,
                       .tracking = tracking,
                       .price = price,
                       .limit = v->limit,
                       .upper = INFINITY,
                       .alone = alone,
                       .deadline = v->deadline};
    if (v->out->evaluation.fits) b.upper = cost_of(v, &v->out->evaluation) * (1 - 1e-12);
    tracking->track = true;
    exact_weights weights = v->weights;
    weights.bytes = 0;
    tn__exact_reset(tracking, weights);
    if (!tn__exact_bounded_solve(&b)) return TN_OK;
    const bounded_labels *all = &b.chains[s->ideals.len - 1];
    double best = v->out->evaluation.fits ? cost_of(v, &v->out->evaluation) : INFINITY;
    if (!alone) *bound = all->len ? all->data[0].value : best;
    for (uint32_t i = 0; i < all->len; i++) {
        tn_evaluation e;
        tn__exact_bounded_write(&b, i, v->plan);
        TN_CHECK(consider(v, &e));
        if (e.fits) break;
    }
    return TN_OK;
}

static tn_status search_within(searching *v, found first, double *bound) {
    exact_solver *s = v->solver;
    const exact_costs *c = s->costs;
    double normal = bytes_on(s, EXACT_NORMAL, &v->plan->flow), price;
    s->side = normal > c->channel_bytes * c->normal ? EXACT_NORMAL : EXACT_NEAR_MEMORY;
    v->limit = c->channel_bytes * (s->side == EXACT_NORMAL ? c->normal : c->channels);
    first.bytes = bytes_on(s, s->side, &v->plan->flow);
    TN_CHECK(find_price(v, first, &price, bound));
    TN_CHECK(close_gap(v, price, true, bound));
    return close_gap(v, price, false, bound);
}

tn_status tn__exact_search(exact_solver *s, const tn_search_options *options, tn_solution *out,
                           tn_error *err) {
    double room = s->costs->channel_bytes * (s->costs->channels + s->costs->normal);
    searching v = {.solver = s,
                   .options = options,
                   .out = out,
                   .plan = TN_NEW(s->arena, exact_plan),
                   .weights = {.latency = 1},
                   .deadline = tn__exact_seconds() + (options->seconds > 0 ? options->seconds : 2),
                   .err = err};
    if (s->costs->bytes > room)
        return tn_error_set(err, TN_NOT_FOUND,
                            "%s keeps %.0f MB of weights, keys and values; the memory of %s has "
                            "%.0f MB",
                            s->workload->name, s->costs->bytes / 1048576, s->problem->machine.name,
                            room / 1048576);
    found first;
    TN_CHECK(solve_at(&v, 0, &first));
    double bound = first.cost;
    if (!first.evaluation.fits) TN_CHECK(search_within(&v, first, &bound));
    if (!out->evaluation.fits)
        return tn_error_set(err, TN_NOT_FOUND, "no dataflow of %s was found that fits into %s",
                            s->workload->name, s->problem->machine.name);
    double value = tn__objective(options->objective, &out->evaluation);
    out->optimal = bound >= value * (1 - 1e-11);
    out->lower_bound = out->optimal ? value : bound;
    return TN_OK;
}
