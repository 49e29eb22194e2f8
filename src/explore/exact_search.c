/* From prices to objectives. Latency and energy are one solve each. Their product is quasiconcave, so that its least
 * value lies on a vertex of the convex hull of what can be reached, and every vertex is the cheapest dataflow for
 * some weights. */
#include "explore/exact_search.h"

#include <math.h>

static const double same = 1e-12; /* relative: equal but for rounding */

/* Equal values are told apart by the other quantity. */
static bool is_better(tn_objective objective, const tn_evaluation *a, const tn_evaluation *b) {
    double x = tn__objective(objective, a), y = tn__objective(objective, b);
    if (fabs(x - y) > same * fabs(y)) return x < y;
    return objective == TN_ENERGY ? a->total < b->total * (1 - same)
                                  : a->energy < b->energy * (1 - same);
}

tn_status tn__exact_consider(exact_search *v, tn_evaluation *e) {
    tn__exact_place(v->solver, v->plan);
    TN_CHECK(tn_dataflow_evaluate(v->solver->problem, &v->plan->flow, e, v->err));
    const tn_evaluation *best = &v->out->evaluation;
    if (!e->fits || (best->fits && !is_better(v->options->objective, e, best))) return TN_OK;
    v->out->evaluation = *e;
    v->out->dataflow = v->plan->flow;
    return TN_OK;
}

double tn__exact_cost(const exact_search *v, const tn_evaluation *e) {
    return v->weights.latency * e->total + v->weights.energy * e->energy;
}

tn_status tn__exact_solve_at(exact_search *v, double price, exact_found *out) {
    exact_solver *s = v->solver;
    v->weights.bytes = price;
    double least = tn__exact_solve(s, v->weights);
    if (s->late) return TN_UNSUPPORTED; /* tn__exact_search answers with what is known */
    if (least == INFINITY)
        return tn_error_set(v->err, TN_NOT_FOUND, "%s has no dataflow of this space on %s%s",
                            s->workload->name, s->problem->machine.name,
                            s->space == TN_DATA_CENTRIC
                                ? ": some operator cannot be split among all channels, as the "
                                  "data-centric space wants; the union has other ways"
                                : "");
    tn__exact_write(s, v->plan);
    TN_CHECK(tn__exact_consider(v, &out->evaluation));
    out->cost = tn__exact_cost(v, &out->evaluation);
    return TN_OK;
}

/* ---- latency, energy ------------------------------------------------------------------------ */

/* The weights with a trace of the other quantity, so that it decides between equals. */
static exact_weights with_trace(exact_weights w, const tn_evaluation *e) {
    const double trace = 1e-13;
    if (w.energy == 0)
        w.energy = trace * e->total / e->energy;
    else
        w.latency = trace * e->energy / e->total;
    return w;
}

/* The union's ratios are alternatives of one option where latency alone counts, or energy alone; otherwise only
 * some of them are searched. */
static bool use_fewer_ratios(exact_solver *s) {
    if (s->space != TN_UNION) return false;
    s->costs = tn__exact_costs_thin(s->arena, s->problem, s->costs);
    return true;
}

static tn_status search_one(exact_search *v, double *bound) {
    exact_found first, again;
    TN_CHECK(tn__exact_solve_at(v, 0, &first));
    *bound = first.cost;
    exact_weights weights = v->weights;
    if (v->solver->space != TN_UNION && first.evaluation.energy > 0) {
        v->weights = with_trace(weights, &first.evaluation);
        TN_CHECK(tn__exact_solve_at(v, 0, &again));
        v->weights = weights;
    }
    if (v->out->evaluation.fits && tn__exact_cost(v, &v->out->evaluation) <= *bound * (1 + same))
        return TN_OK;
    double within = *bound;
    bool thinned = use_fewer_ratios(v->solver);
    TN_CHECK(tn__exact_solve_at(v, 0, &first));
    tn_status status = tn__exact_search_within(v, first, &within);
    if (!thinned) *bound = within;
    return status;
}

/* ---- energy · latency ----------------------------------------------------------------------- */

typedef struct vertex {
    double latency, energy;
} vertex;

static double product(vertex v) {
    return v.latency * v.energy;
}

static tn_status solve_for(exact_search *v, double latency, double energy, vertex *out) {
    exact_found f;
    v->weights = (exact_weights){.latency = latency, .energy = energy};
    TN_CHECK(tn__exact_solve_at(v, 0, &f));
    *out = (vertex){f.evaluation.total, f.evaluation.energy};
    return TN_OK;
}

/* Vertices of the hull between a (fast) and b (frugal), whatever fits or not: the least product. */
static tn_status search_between(exact_search *v, vertex a, vertex b, int depth, double *least) {
    double latency = a.energy - b.energy, energy = b.latency - a.latency;
    vertex c;
    if (depth == 0 || latency <= 0 || energy <= 0) return TN_OK;
    TN_CHECK(solve_for(v, latency, energy, &c));
    *least = TN_MIN(*least, product(c));
    double line = latency * a.latency + energy * a.energy;
    double found = latency * c.latency + energy * c.energy;
    if (found >= line * (1 - same)) return TN_OK;
    TN_CHECK(search_between(v, a, c, depth - 1, least));
    return search_between(v, c, b, depth - 1, least);
}

/* The fastest times the most frugal: nothing is less. */
static tn_status bound_product(exact_search *v, vertex *fast, vertex *frugal, double *bound) {
    *bound = 0;
    TN_CHECK(solve_for(v, 1, 0, fast));
    *frugal = *fast;
    if (fast->energy > 0) TN_CHECK(solve_for(v, 0, 1, frugal));
    *bound = fast->latency * frugal->energy;
    return TN_OK;
}

static tn_status search_product(exact_search *v, double *bound) {
    vertex fast, frugal;
    TN_CHECK(bound_product(v, &fast, &frugal, bound));
    bool thinned = use_fewer_ratios(v->solver);
    if (fast.energy > 0) {
        double least;
        TN_CHECK(solve_for(v, 1, 1e-13 * fast.latency / fast.energy, &fast));
        TN_CHECK(solve_for(v, 1e-13 * frugal.energy / frugal.latency, 1, &frugal));
        least = TN_MIN(product(fast), product(frugal));
        TN_CHECK(search_between(v, fast, frugal, 24, &least));
        if (!thinned) *bound = least;
    }
    const tn_evaluation *best = &v->out->evaluation;
    if (best->fits && best->energy * best->total <= *bound * (1 + same)) return TN_OK;
    if (best->fits && thinned) return TN_OK;
    /* Room is short: along the line that the product's contour touches. */
    double within;
    exact_found first;
    v->weights =
        (exact_weights){.latency = fast.energy > 0 ? fast.energy : 1, .energy = fast.latency};
    TN_CHECK(tn__exact_solve_at(v, 0, &first));
    return first.evaluation.fits ? TN_OK : tn__exact_search_within(v, first, &within);
}

static tn_status check_room(const exact_solver *s, tn_error *err) {
    double room = s->costs->channel_bytes * (s->costs->channels + s->costs->normal);
    if (s->costs->bytes <= room) return TN_OK;
    return tn_error_set(
        err, TN_NOT_FOUND,
        "%s keeps %.0f MB of weights, keys and values; the memory of %s has %.0f MB",
        s->workload->name, s->costs->bytes / 1048576, s->problem->machine.name, room / 1048576);
}

static const double LEAST_SECONDS = 0.25; /* for what is no proof but the answer */

tn_status tn__exact_search(exact_solver *s, const tn_search_options *options, tn_solution *out,
                           bool *late, tn_error *err) {
    exact_search v = {.solver = s,
                      .options = options,
                      .out = out,
                      .plan = TN_NEW(s->arena, exact_plan),
                      .weights = {.latency = options->objective != TN_ENERGY,
                                  .energy = options->objective == TN_ENERGY},
                      .deadline =
                          tn__exact_seconds() + (options->seconds > 0 ? options->seconds : 2),
                      .err = err};
    double bound = 0;
    TN_CHECK(check_room(s, err));
    tn__exact_limit(s, options->seconds > 0 ? TN_MAX(options->seconds, LEAST_SECONDS) : 2);
    tn_status status =
        options->objective == TN_EDP ? search_product(&v, &bound) : search_one(&v, &bound);
    *late = status && s->late;
    if (status && !*late) return status;
    if (!out->evaluation.fits && !*late)
        return tn_error_set(err, TN_NOT_FOUND, "no dataflow of %s was found that fits into %s",
                            s->workload->name, s->problem->machine.name);
    double value = tn__objective(options->objective, &out->evaluation);
    out->optimal = out->evaluation.fits && bound >= value * (1 - 1e-11);
    out->lower_bound = out->optimal ? value : bound;
    return TN_OK;
}
