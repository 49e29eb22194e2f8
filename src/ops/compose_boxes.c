/* Non-maximum suppression of boxes. See compose.h.
 *
 * Boxes are sorted first. Then a loop takes from all classes at once the best box that is still alive, and
 * ends the life of what overlaps it: as many turns as boxes are kept of a class at most. */
#include "ops/compose.h"
#include "ops/parts.h"

/* In the order of the scores, each [N, C, B]. */
typedef struct box_edges {
    tn_value low[2], high[2], area;
} box_edges;

/* The loop's operands and what its sub-graphs see of them; states first. */
enum { ALIVE, KEPT, TURN, EDGES, MOST = EDGES + 5, OVERLAP, OPERANDS };

static tn_value column(tn_builder *b, tn_value boxes, int at) {
    return tn_b_squeeze(b, tn_b_slice_axis(b, boxes, 2, at, 1, 1), 2);
}

/* Of one axis of all boxes, [N, B] each. */
static void edges_of(tn_builder *b, const tn_suppression *o, int axis, tn_value *low,
                     tn_value *high) {
    tn_value p = column(b, o->boxes, axis), q = column(b, o->boxes, axis + 2);
    if (o->centers) {
        tn_value half = tn_b_mul_scalar(b, q, 0.5);
        *low = tn_b_sub(b, p, half);
        *high = tn_b_add(b, p, half);
    } else {
        *low = tn_b_min(b, p, q);
        *high = tn_b_max(b, p, q);
    }
}

/* An edge of all boxes in each class's order. */
static tn_value in_order(tn_builder *b, tn_value edge, tn_value order) {
    tn_type type = tn_b_type(b, order);
    edge = tn_b_expand(b, tn_b_unsqueeze(b, edge, 1), &type.shape);
    return tn_b_gather_elements(b, edge, order, 2, TN_INDEX_clamp);
}

static tn_value positive(tn_builder *b, tn_value x) {
    return tn_b_gt(b, x, tn_b_scalar(b, tn_b_type(b, x).dtype, 0));
}

/* The chosen box's part of `all`, [N, C, 1]: stored, not looked up again for each of the others. */
static tn_value chosen_of(tn_builder *b, tn_value all, tn_value at) {
    tn_value one = tn_b_gather_elements(b, all, at, 2, TN_INDEX_clamp);
    return tn_b_node(b, TN_OP_barrier, &one, 1, NULL);
}

/* Whether boxes overlap the chosen one of their class; `at`: its place, i64 [N, C, 1]. */
static tn_value overlaps(tn_builder *b, const box_edges *e, tn_value at, tn_value limit) {
    tn_value size[2];
    for (int i = 0; i < 2; i++) {
        tn_value low = chosen_of(b, e->low[i], at);
        tn_value high = chosen_of(b, e->high[i], at);
        size[i] = tn_b_sub(b, tn_b_min(b, high, e->high[i]), tn_b_max(b, low, e->low[i]));
    }
    tn_value area = chosen_of(b, e->area, at);
    tn_value common = tn_b_mul(b, size[0], size[1]);
    tn_value either = tn_b_sub(b, tn_b_add(b, area, e->area), common);
    tn_value meet = tn_b_and(b, positive(b, size[0]), positive(b, size[1]));
    meet = tn_b_and(b, meet, tn_b_and(b, positive(b, area), positive(b, e->area)));
    meet = tn_b_and(b, meet, tn_b_and(b, positive(b, common), positive(b, either)));
    return tn_b_and(b, meet, tn_b_gt(b, tn_b_div(b, common, either), limit));
}

/* A sub-graph with an input for each operand. */
static tn_builder begin_body(tn_builder *b, const tn_value *operand, tn_value *seen) {
    tn_builder inner = tn_builder_of(tn_graph_new_sub(b->graph), b->err);
    inner.name = b->name;
    for (int i = 0; i < OPERANDS; i++) {
        tn_type type = tn_b_type(b, operand[i]);
        seen[i] = tn_b_input(&inner, NULL, type.dtype, &type.shape);
    }
    return inner;
}

static tn_graph *condition(tn_builder *b, const tn_value *operand) {
    tn_value v[OPERANDS];
    tn_builder inner = begin_body(b, operand, v);
    tn_value any = tn_b_reduce(&inner, TN_REDUCE_or, v[ALIVE], (int[]){0, 1, 2}, 3, false);
    tn_graph_add_output(inner.graph, tn_b_and(&inner, any, tn_b_lt(&inner, v[TURN], v[MOST])),
                        NULL);
    if (tn_b_ok(b)) b->status = inner.status;
    return inner.graph;
}

static tn_graph *turn(tn_builder *b, const tn_value *operand) {
    tn_value v[OPERANDS];
    tn_builder inner = begin_body(b, operand, v), *i = &inner;
    tn_type type = tn_b_type(i, v[ALIVE]);
    box_edges e = {{v[EDGES], v[EDGES + 1]}, {v[EDGES + 2], v[EDGES + 3]}, v[EDGES + 4]};
    tn_value place = tn_b_iota(i, TN_i64, &type.shape, 2);
    tn_value behind = tn_b_dim_value(i, type.shape.dim[2], TN_i64);
    tn_value first =
        tn_b_reduce(i, TN_REDUCE_min, tn_b_where(i, v[ALIVE], place, behind), (int[]){2}, 1, true);
    tn_value chosen = tn_b_eq(i, place, first);
    tn_value ends = tn_b_or(i, chosen, overlaps(i, &e, first, v[OVERLAP]));
    tn_value one = tn_b_scalar_int(i, TN_i64, 1);
    tn_graph_add_output(i->graph, tn_b_and(i, v[ALIVE], tn_b_not(i, ends)), NULL);
    tn_graph_add_output(i->graph, tn_b_or(i, v[KEPT], chosen), NULL);
    tn_graph_add_output(i->graph, tn_b_add(i, v[TURN], one), NULL);
    if (tn_b_ok(b)) b->status = inner.status;
    return inner.graph;
}

static bool suppression_check(tn_builder *b, const tn_suppression *o) {
    tn_type x = tn_b_type(b, o->boxes), s = tn_b_type(b, o->scores);
    if (tn_b_ok(b) && (x.shape.rank != 3 || s.shape.rank != 3 || x.shape.dim[2] != 4 ||
                       x.shape.dim[0] != s.shape.dim[0] || x.shape.dim[1] != s.shape.dim[2]))
        tn_b_fail(b, TN_INVALID,
                  "suppression of boxes: boxes are %s, scores %s; expected [N, boxes, 4] and [N, "
                  "classes, boxes]",
                  tn_type_text(b->graph->dims, &x).at, tn_type_text(b->graph->dims, &s).at);
    return tn_b_ok(b);
}

void tn_b_suppress_boxes(tn_builder *b, const tn_suppression *o, tn_value *order, tn_value *kept) {
    tn_value sorted[2] = {TN_NO_VALUE, TN_NO_VALUE}, operand[OPERANDS], low, high;
    *order = *kept = TN_NO_VALUE;
    if (!suppression_check(b, o)) return;
    tn_shape all = tn_b_type(b, o->scores).shape;
    tn_b_sort(b, o->scores, 2, true, sorted);
    for (int i = 0; i < 2; i++) {
        edges_of(b, o, i, &low, &high);
        operand[EDGES + i] = in_order(b, low, sorted[1]);
        operand[EDGES + 2 + i] = in_order(b, high, sorted[1]);
    }
    tn_value height = tn_b_sub(b, operand[EDGES + 2], operand[EDGES]);
    tn_value width = tn_b_sub(b, operand[EDGES + 3], operand[EDGES + 1]);
    operand[EDGES + 4] = tn_b_mul(b, height, width);
    operand[ALIVE] =
        o->score == TN_NO_VALUE ? tn_b_full(b, TN_bool, &all, 1) : tn_b_gt(b, sorted[0], o->score);
    operand[KEPT] = tn_b_full(b, TN_bool, &all, 0);
    operand[TURN] = tn_b_scalar_int(b, TN_i64, 0);
    operand[MOST] = o->most;
    operand[OVERLAP] = o->overlap;
    if (!tn_b_ok(b)) return;
    tn_attrs_while a = {.states = EDGES, .cond = condition(b, operand), .body = turn(b, operand)};
    tn_value first = tn_b_node(b, TN_OP_while, operand, OPERANDS, &a);
    *order = sorted[1];
    if (tn_b_ok(b)) *kept = first + KEPT;
}
