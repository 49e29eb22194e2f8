/* Reverse-mode differentiation. See gradient.h. */
#include "ops/gradient.h"

#include "ir/rules.h"

static void add_cotangent(tn_builder *b, tn_value *sum, tn_value more) {
    if (more == TN_NO_VALUE) return;
    *sum = *sum == TN_NO_VALUE ? more : tn_b_add(b, *sum, more);
}

/* ---- sums of slices' cotangents ------------------------------------------------------------- */

/* Something in zeros along one axis: what the cotangent of a slice is. */
typedef struct piece {
    tn_value value;
    int64_t lo, size;
} piece;

enum { PIECES = 32 };
typedef struct pieces {
    int count, adds, axis; /* axis -1: not known yet */
    int64_t whole;         /* size of the axis */
    piece at[PIECES];
} pieces;

static bool is_zero(const tn_graph *g, tn_value v) {
    tn_array a;
    return tn_graph_constant(g, v, &a) && tn_array_count(&a) == 1 && tn_array_get(&a, 0).u == 0;
}

/* Adds v, a pad with zeros along one axis and nothing else. */
static bool add_piece(const tn_graph *g, tn_value v, pieces *p) {
    const tn_node_info *n = tn_graph_producer(g, v);
    const tn_attrs_pad *a = n->attrs;
    if (n->op != TN_OP_pad || p->count == PIECES || !is_zero(g, n->in[1])) return false;
    int axis = -1;
    for (int k = 0; k < a->lo.count; k++) {
        if (a->interior.at[k]) return false;
        if (a->lo.at[k] == 0 && a->hi.at[k] == 0) continue;
        if (axis >= 0) return false;
        axis = k;
    }
    if (axis < 0 || (p->axis >= 0 && p->axis != axis)) return false;
    tn_dim size = tn_node_type(g, n, 0)->shape.dim[axis];
    tn_dim whole = tn_graph_type(g, v)->shape.dim[axis];
    if (!tn_dim_is_const(size) || !tn_dim_is_const(whole)) return false;
    int64_t lo = 0;
    if (!tn_dim_const_value(g->dims, a->lo.at[axis], &lo) || lo < 0 || lo + size > whole)
        return false;
    p->axis = axis;
    p->whole = whole;
    int at = p->count++;
    for (; at > 0 && p->at[at - 1].lo > lo; at--) p->at[at] = p->at[at - 1];
    p->at[at] = (piece){n->in[0], lo, size};
    return true;
}

static bool add_pieces(const tn_graph *g, tn_value v, pieces *p) {
    const tn_node_info *n = tn_graph_producer(g, v);
    if (n->op != TN_OP_add) return add_piece(g, v, p);
    return ++p->adds < PIECES && add_pieces(g, n->in[1], p) && add_pieces(g, n->in[0], p);
}

static tn_value zeros_along(tn_builder *b, tn_value like, int axis, int64_t size) {
    tn_type type = tn_b_type(b, like);
    type.shape.dim[axis] = size;
    return tn_b_full(b, type.dtype, &type.shape, 0);
}

/* A sum of cotangents as the rules see it. Where it is made of slices that do not overlap (the
 * parts that a product was split into), it is their concat: each element is one of them, and not a
 * sum of one and zeros. */
static tn_value tidy_sum(tn_builder *b, tn_value v) {
    pieces p = {.axis = -1};
    tn_value part[2 * PIECES + 1];
    int n = 0;
    int64_t end = 0;
    if (v == TN_NO_VALUE || !tn_b_ok(b) || tn_graph_producer(b->graph, v)->op != TN_OP_add ||
        !add_pieces(b->graph, v, &p))
        return v;
    for (int i = 0; i < p.count; i++) {
        if (p.at[i].lo < end) return v;
        end = p.at[i].lo + p.at[i].size;
    }
    end = 0;
    for (int i = 0; i < p.count; i++) {
        if (p.at[i].lo > end) part[n++] = zeros_along(b, v, p.axis, p.at[i].lo - end);
        part[n++] = p.at[i].value;
        end = p.at[i].lo + p.at[i].size;
    }
    if (p.whole > end) part[n++] = zeros_along(b, v, p.axis, p.whole - end);
    return tn_b_concat(b, part, n, p.axis);
}

/* ---- the walk ------------------------------------------------------------------------------- */

static bool is_wanted(const tn_grad_role *role, tn_value v) {
    return !role || role[v] != TN_GRAD_CONSTANT;
}

/* The cotangents that go on from the results of `n`; false when there are none, or no operand
 * wants one. */
static bool cotangents_of(const tn_node_info *n, const tn_grad_role *role,
                          const tn_value *cotangent, tn_value *out) {
    bool reached = false, wanted = false;
    for (uint32_t r = 0; r < n->out_count; r++) {
        bool kept = role && role[n->out + r] == TN_GRAD_LEAF;
        out[r] = kept ? TN_NO_VALUE : cotangent[n->out + r];
        reached = reached || out[r] != TN_NO_VALUE;
    }
    for (uint32_t i = 0; i < n->in_count; i++) wanted = wanted || is_wanted(role, n->in[i]);
    return reached && wanted;
}

static void apply_rule(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *map,
                       const tn_value *cotangents, tn_value *grads) {
    const tn_op_rules *rules = tn_op_rules_of(n->op);
    if (!rules->vjp.rule) {
        tn_b_fail(b, TN_UNSUPPORTED, "%s has no gradient: %s", tn_op_info_of(n->op)->name,
                  rules->vjp.refusal);
        return;
    }
    tn_value *in = TN_NEW_N(b->graph->arena, tn_value, n->in_count);
    tn_value *out = TN_NEW_N(b->graph->arena, tn_value, n->out_count);
    for (uint32_t i = 0; i < n->in_count; i++) in[i] = map ? map[n->in[i]] : n->in[i];
    for (uint32_t r = 0; r < n->out_count; r++) out[r] = map ? map[n->out + r] : n->out + r;
    rules->vjp.rule(b, g, n, in, out, cotangents, grads);
}

/* Passes the cotangents of one node's results on to its operands. */
static void backward_node(tn_builder *b, const tn_graph *g, tn_node p, const tn_value *map,
                          const tn_grad_role *role, tn_value *cotangent) {
    const tn_node_info n = *tn_graph_node(g, p); /* a copy: the graph may grow under the rule */
    tn_value *cotangents = TN_NEW_N(b->graph->arena, tn_value, n.out_count);
    if (!cotangents_of(&n, role, cotangent, cotangents)) return;
    tn_value *grads = TN_NEW_N(b->graph->arena, tn_value, n.in_count);
    for (uint32_t i = 0; i < n.in_count; i++) grads[i] = TN_NO_VALUE;
    for (uint32_t r = 0; r < n.out_count; r++) cotangents[r] = tidy_sum(b, cotangents[r]);
    apply_rule(b, g, &n, map, cotangents, grads);
    if (!tn_b_ok(b) && b->err && n.name)
        tn_error_push(b->err, "gradient of '%s' (%s)", n.name, tn_op_info_of(n.op)->name);
    for (uint32_t i = 0; i < n.in_count; i++)
        if (is_wanted(role, n.in[i])) add_cotangent(b, &cotangent[n.in[i]], grads[i]);
}

void tn_b_backward(tn_builder *b, const tn_graph *g, const tn_value *map, const tn_grad_role *role,
                   tn_value *cotangent) {
    for (tn_node p = g->nodes.len; p-- > 0 && tn_b_ok(b);)
        backward_node(b, g, p, map, role, cotangent);
    for (uint32_t i = 0; i < g->inputs.len; i++)
        cotangent[g->inputs.data[i]] = tidy_sum(b, cotangent[g->inputs.data[i]]);
}

/* ---- the gradient with respect to some values ----------------------------------------------- */

tn_grad_role *tn_grad_roles(const tn_graph *g, const tn_value *xs, int n, tn_arena *arena) {
    tn_grad_role *role = TN_NEW_N(arena, tn_grad_role, g->values.len);
    for (uint32_t v = 0; v < g->values.len; v++) role[v] = TN_GRAD_CONSTANT;
    for (int i = 0; i < n; i++) role[xs[i]] = TN_GRAD_LEAF;
    for (tn_node p = 0; p < g->nodes.len; p++) {
        const tn_node_info *node = tn_graph_node(g, p);
        bool varies = false;
        for (uint32_t i = 0; i < node->in_count; i++)
            varies = varies || role[node->in[i]] != TN_GRAD_CONSTANT;
        for (uint32_t r = 0; varies && r < node->out_count; r++)
            if (role[node->out + r] == TN_GRAD_CONSTANT) role[node->out + r] = TN_GRAD_VARIABLE;
    }
    return role;
}

static void check_float(tn_builder *b, const char *what, tn_value v) {
    tn_dtype dtype = tn_b_type(b, v).dtype;
    if (tn_b_ok(b) && !tn_dtype_is_float(dtype))
        tn_b_fail(b, TN_INVALID, "gradient: %s is of type %s; only floats have derivatives", what,
                  tn_dtype_name(dtype));
}

/* Ones where none is given. */
static tn_value first_cotangent(tn_builder *b, tn_value y, tn_value given) {
    tn_type want = tn_b_type(b, y), have = tn_b_type(b, given);
    if (given == TN_NO_VALUE) return tn_b_full(b, want.dtype, &want.shape, 1);
    if (tn_b_ok(b) && (have.dtype != want.dtype || !tn_shape_equal(&have.shape, &want.shape)))
        tn_b_fail(b, TN_INVALID, "gradient: the cotangent is not of the type of y");
    return given;
}

void tn_b_gradient(tn_builder *b, tn_value y, tn_value cotangent, const tn_value *xs, int n,
                   tn_value *grads) {
    for (int i = 0; i < n; i++) grads[i] = TN_NO_VALUE;
    check_float(b, "y", y);
    for (int i = 0; i < n; i++) check_float(b, "x", xs[i]);
    if (!tn_b_ok(b)) return;
    uint32_t count = b->graph->values.len;
    tn_grad_role *role = tn_grad_roles(b->graph, xs, n, b->graph->arena);
    tn_value *sum = TN_NEW_N(b->graph->arena, tn_value, count);
    for (uint32_t v = 0; v < count; v++) sum[v] = TN_NO_VALUE;
    tn_node last = b->graph->values.data[y].node;
    sum[y] = first_cotangent(b, y, cotangent);
    for (tn_node p = last + 1; p-- > 0 && tn_b_ok(b);)
        backward_node(b, b->graph, p, NULL, role, sum);
    for (int i = 0; i < n && tn_b_ok(b); i++) {
        tn_type type = tn_b_type(b, xs[i]);
        grads[i] = tidy_sum(b, sum[xs[i]]);
        if (grads[i] == TN_NO_VALUE) grads[i] = tn_b_full(b, type.dtype, &type.shape, 0);
    }
}
