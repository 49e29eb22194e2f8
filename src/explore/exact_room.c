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

/* A dataflow with few bytes, by prices that rise until they are all that counts. */
static tn_status find_least(exact_search *v, const exact_found *over, double limit,
                            exact_found *out) {
    double price = (over->cost > 0 ? over->cost : 1) / over->bytes;
    for (int i = 0; i < 4; i++) {
        price *= 1e3;
        TN_CHECK(tn__exact_solve_at(v, price, out));
        out->bytes = bytes_on(v->solver, v->solver->side, &v->plan->flow);
        if (out->bytes <= limit) break;
    }
    return TN_OK;
}

/* The price at which the bound, cost + price · (bytes − limit) of the cheapest, is greatest: where the lines of a
 * dataflow that has too many bytes and of one that has not meet, until nothing lies below their meeting point.
 * `over` has too many. */
static tn_status find_price(exact_search *v, exact_found over, double limit, double *price,
                            double *bound) {
    exact_found under;
    *price = 0;
    *bound = over.cost;
    if (over.bytes <= limit) return TN_OK;
    TN_CHECK(find_least(v, &over, limit, &under));
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
        if (tn__exact_is_late(v->solver)) break;
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

/* ---- when nothing was found ----------------------------------------------------------------- */

/* Whether an operator alone in its group may be placed so. */
static bool is_alone(const exact_solver *s, const exact_choice *c) {
    bool mixed = c->nmp && c->normal;
    if (s->space == TN_DATA_CENTRIC && s->costs->normal && s->costs->channels)
        return mixed && c->nmp == s->costs->channels;
    return !c->nmp || c->nmp == s->costs->channels;
}

/* Operator after operator, the largest first, each in a group of its own and with the share near memory that
 * brings the sum of all closest to the share of the channels there. */
static void spread(const exact_solver *s, exact_plan *out) {
    const exact_costs *c = s->costs;
    double share = (double)c->channels / (c->channels + c->normal), near_memory = 0, all = 0;
    uint32_t left = s->ideals.data[s->ideals.len - 1].ops;
    double ratio[TN_OPERATORS];
    const exact_choice *best[TN_OPERATORS] = {NULL};
    while (left) {
        int op = tn__lowest(left);
        for (uint32_t rest = left; rest; rest &= rest - 1)
            if (c->shapes[c->shape_of[tn__lowest(rest)]].bytes > c->shapes[c->shape_of[op]].bytes)
                op = tn__lowest(rest);
        const exact_shape *shape = &c->shapes[c->shape_of[op]];
        all += shape->bytes;
        for (uint32_t i = 0; i < shape->choices.len; i++) {
            const exact_choice *x = &shape->choices.data[i];
            double off = fabs(near_memory + x->ratio * shape->bytes - share * all);
            if (!is_alone(s, x) || (best[op] && off >= ratio[op])) continue;
            best[op] = x;
            ratio[op] = off;
        }
        if (best[op]) near_memory += best[op]->ratio * shape->bytes;
        left &= ~(1u << op);
    }
    *out = (exact_plan){0};
    for (int op = 0; op < s->workload->count && best[op]; op++) {
        out->nmp[op] = best[op]->nmp;
        out->flow.at[op] = (tn_placement){.op = (uint8_t)op,
                                          .group = (uint8_t)op,
                                          .normal = best[op]->normal,
                                          .ratio = best[op]->ratio};
        out->flow.count++;
    }
}

static tn_status consider_spread(exact_search *v) {
    tn_evaluation e;
    spread(v->solver, v->plan);
    return v->plan->flow.count == v->solver->workload->count ? tn__exact_consider(v, &e) : TN_OK;
}

/* The best of the dataflows whose channels near memory hold equal parts, if it is the best that fits. */
static tn_status search_balanced(exact_search *v, double limit, double *bound) {
    exact_found first;
    double price;
    TN_CHECK(tn__exact_solve_at(v, 0, &first));
    first.bytes = bytes_on(v->solver, v->solver->side, &v->plan->flow);
    TN_CHECK(find_price(v, first, limit, &price, bound));
    return close_gap(v, price, limit, false, bound);
}

tn_status tn__exact_search_within(exact_search *v, exact_found first, double *bound) {
    exact_solver *s = v->solver;
    const exact_costs *c = s->costs;
    double normal = bytes_on(s, EXACT_NORMAL, &v->plan->flow), price;
    s->side = normal > c->channel_bytes * c->normal ? EXACT_NORMAL : EXACT_NEAR_MEMORY;
    double limit = c->channel_bytes * (s->side == EXACT_NORMAL ? c->normal : c->channels);
    first.bytes = bytes_on(s, s->side, &v->plan->flow);
    TN_CHECK(consider_spread(v));
    TN_CHECK(find_price(v, first, limit, &price, bound));
    TN_CHECK(close_gap(v, price, limit, true, bound));
    TN_CHECK(close_gap(v, price, limit, false, bound));
    const tn_solution *out = v->out;
    if (out->evaluation.fits && *bound >= tn__exact_cost(v, &out->evaluation) * (1 - 1e-11))
        return TN_OK;
    /* What costs least puts too much on one channel. */
    double unused;
    tn_error none = TN_ERROR_INIT, *err = v->err;
    s->balanced = true;
    v->err = &none;
    tn_status status = search_balanced(v, limit, &unused);
    v->err = err;
    s->balanced = false;
    if (status && status != TN_NOT_FOUND) *err = none;
    return status == TN_NOT_FOUND ? TN_OK : status;
}
