/* How often a while runs, where constants tell: see control.h. */
#include "ops/control.h"

/* A number that is the same in every iteration: a constant of the sub-graph, an invariant that is
 * a constant outside, or a state that starts as one and stays. */
static bool steady_number(const tn_graph *g, const tn_attrs_while *a, const tn_value *in,
                          const tn_graph *sub, tn_value v, tn_cell *out) {
    tn_array array;
    for (uint32_t p = 0; p < sub->inputs.len; p++) {
        if (sub->inputs.data[p] != v) continue;
        bool stays = p >= a->states || a->body->outputs.data[p].value == a->body->inputs.data[p];
        if (!stays || !tn_graph_constant(g, in[p], &array) || tn_array_count(&array) != 1)
            return false;
        *out = tn_array_get(&array, 0);
        return true;
    }
    if (!tn_graph_constant(sub, v, &array) || tn_array_count(&array) != 1) return false;
    *out = tn_array_get(&array, 0);
    return true;
}

/* The state that `v` of a sub-graph is; -1: none. */
static int64_t state_of(const tn_attrs_while *a, const tn_graph *sub, tn_value v) {
    for (uint32_t p = 0; p < a->states; p++)
        if (sub->inputs.data[p] == v) return p;
    return -1;
}

/* What an iteration adds to state `p`. */
static bool step_of_state(const tn_graph *g, const tn_attrs_while *a, const tn_value *in, int64_t p,
                          int64_t *step) {
    const tn_graph *body = a->body;
    const tn_node_info *n = tn_graph_producer(body, body->outputs.data[p].value);
    tn_cell by;
    if (n->op != TN_OP_add && n->op != TN_OP_sub) return false;
    bool left = state_of(a, body, n->in[0]) == p;
    if (!left && (n->op == TN_OP_sub || state_of(a, body, n->in[1]) != p)) return false;
    if (!steady_number(g, a, in, body, n->in[left], &by)) return false;
    if (by.i > INT32_MAX || by.i < -INT32_MAX) return false;
    *step = n->op == TN_OP_sub ? -by.i : by.i;
    return true;
}

/* The smallest t >= 0 for which `start + t·step  op  bound` fails. */
static bool first_failure(tn_op op, int64_t start, int64_t step, int64_t bound, int64_t *trips) {
    if (op == TN_OP_ne) {
        if (step == 0 || (bound - start) % step != 0) return false;
        *trips = (bound - start) / step;
        return *trips >= 0;
    }
    int64_t sign = op == TN_OP_lt || op == TN_OP_le ? 1 : -1;
    int64_t gap = sign * (bound - start) + (op == TN_OP_le || op == TN_OP_ge);
    step *= sign;
    *trips = gap <= 0 ? 0 : step > 0 ? (gap + step - 1) / step : -1;
    return *trips >= 0;
}

static tn_op mirrored(tn_op op) {
    switch (op) {
    case TN_OP_lt:
        return TN_OP_gt;
    case TN_OP_le:
        return TN_OP_ge;
    case TN_OP_gt:
        return TN_OP_lt;
    case TN_OP_ge:
        return TN_OP_le;
    default:
        return op;
    }
}

/* Iterations until the comparison `v` fails. */
static bool trips_of_comparison(const tn_graph *g, const tn_attrs_while *a, const tn_value *in,
                                tn_value v, int64_t *trips) {
    const tn_node_info *n = tn_graph_producer(a->cond, v);
    tn_cell bound, start;
    tn_array first;
    if (n->op != TN_OP_ne && (n->op < TN_OP_lt || n->op > TN_OP_ge)) return false;
    int side = steady_number(g, a, in, a->cond, n->in[1], &bound) ? 0 : 1;
    if (side == 1 && !steady_number(g, a, in, a->cond, n->in[0], &bound)) return false;
    int64_t counter = state_of(a, a->cond, n->in[side]), step;
    if (counter < 0 || !tn_dtype_is_signed(tn_graph_type(g, in[counter])->dtype)) return false;
    if (!tn_graph_constant(g, in[counter], &first) || !step_of_state(g, a, in, counter, &step))
        return false;
    start = tn_array_get(&first, 0);
    if (start.i != (int32_t)start.i || bound.i != (int32_t)bound.i) return false;
    return first_failure(side ? mirrored(n->op) : n->op, start.i, step, bound.i, trips);
}

/* The fewest iterations after which one of the comparisons that the condition joins by `and` fails;
 * *exact: it holds until then. */
static bool trips_of(const tn_graph *g, const tn_attrs_while *a, const tn_value *in, int64_t *trips,
                     bool *exact) {
    const tn_graph *cond = a->cond;
    bool *joined = TN_NEW_N(cond->arena, bool, cond->values.len);
    int64_t few = INT64_MAX, one;
    joined[cond->outputs.data[0].value] = true;
    *exact = true;
    for (tn_node p = cond->nodes.len; p-- > 0;) {
        const tn_node_info *n = tn_graph_node(cond, p);
        tn_cell flag;
        if (!joined[n->out]) continue;
        if (steady_number(g, a, in, cond, n->out, &flag) && flag.u) continue;
        if (n->op == TN_OP_and)
            joined[n->in[0]] = joined[n->in[1]] = true;
        else if (trips_of_comparison(g, a, in, n->out, &one))
            few = TN_MIN(few, one);
        else
            *exact = false;
    }
    *trips = few;
    return few != INT64_MAX;
}

bool tn__while_trips(const tn_graph *g, const tn_attrs_while *a, const tn_value *in,
                     int64_t *trips) {
    bool exact;
    return trips_of(g, a, in, trips, &exact) && exact;
}

bool tn__while_bound(const tn_graph *g, const tn_attrs_while *a, const tn_value *in,
                     int64_t *trips) {
    bool exact;
    return trips_of(g, a, in, trips, &exact);
}
