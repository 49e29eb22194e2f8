/* A walk over the graph in order: placements of operands give those of results. See batch_axis.h. */
#include "transform/batch_axis.h"

#include "ir/rules.h"

typedef struct finder {
    const tn_graph *g;
    tn_batch_axes batch;
    bool *read;     /* per value: read as it is by something, and so not to be split any more */
    bool *constant; /* per value: depends on constants only */
    const uint32_t *uses; /* per value */
} finder;

tn_dim tn_batch_size(const tn_graph *g) {
    if (g->members > 1) return tn_dim_const(g->dims, g->members);
    for (uint32_t i = 0; i < g->inputs.len; i++) {
        const tn_shape *s = &tn_graph_type(g, g->inputs.data[i])->shape;
        if (s->rank > 0) return s->dim[0];
    }
    return 1;
}

/* Whether the elements of a repeated value or of a count do not depend on their place along `axis`, so
 * that a part of it is made like the whole. */
static bool is_uniform(const finder *f, tn_value v, int axis) {
    const tn_node_info *n = tn_graph_producer(f->g, v);
    const tn_shape *shape = &tn_graph_type(f->g, v)->shape;
    if (axis >= shape->rank || shape->dim[axis] != f->batch.size || f->read[v]) return false;
    if (n->op == TN_OP_iota) return ((const tn_attrs_iota *)n->attrs)->axis != axis;
    if (n->op != TN_OP_broadcast) return false;
    const tn_ints *axes = &((const tn_attrs_broadcast *)n->attrs)->axes;
    for (int i = 0; i < axes->count; i++)
        if (axes->at[i] == axis) return tn_node_type(f->g, n, 0)->shape.dim[i] == 1;
    return true;
}

static int operand_axis(const tn_attrs_broadcast *a, int axis) {
    for (int i = 0; i < a->axes.count; i++)
        if (a->axes.at[i] == axis) return i;
    return -1;
}

/* Splits constant `v` along an axis that is as long as the batch: at the constant that it is a view of, or right
 * here if that is its first axis. What others read, too, is not split. */
static bool split_constant(finder *f, tn_value v, int axis) {
    const tn_node_info *n = tn_graph_producer(f->g, v);
    const tn_shape *shape = &tn_graph_type(f->g, v)->shape;
    bool done = false;
    if (!f->constant[v] || axis < 0 || axis >= shape->rank || f->uses[v] > 1 ||
        shape->dim[axis] != f->batch.size)
        return false;
    if (n->op == TN_OP_permute) {
        int64_t from = ((const tn_attrs_permute *)n->attrs)->perm.at[axis];
        done = split_constant(f, n->in[0], (int)from);
    } else if (n->op == TN_OP_broadcast) {
        int from = operand_axis(n->attrs, axis);
        done = from < 0 || tn_node_type(f->g, n, 0)->shape.dim[from] == 1 ||
               split_constant(f, n->in[0], from);
    } else if (n->op == TN_OP_reshape && axis == 0) {
        done = split_constant(f, n->in[0], 0);
    }
    if (!done && axis != 0) return false;
    f->batch.axis[v] = (int8_t)axis;
    f->batch.sliced[v] = !done;
    return true;
}

/* Whether the rule lets each image be computed alone; fills out[]. */
static bool is_legal(const finder *f, const tn_node_info *n, const int *in, int *out) {
    tn_shard s = {in, out};
    const tn_op_rules *rules = tn_op_rules_of(n->op);
    if (!rules->shard.rule || !rules->shard.rule(f->g, n, &s)) return false;
    for (uint32_t i = 0; i < n->out_count; i++)
        if (out[i] < 0) return false;
    return true;
}

static int first_axis(const int *in, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (in[i] >= 0) return in[i];
    return TN_BATCH_FREE;
}

/* Uniform operands are split like the others where that makes the node legal. */
static bool split_operands(finder *f, const tn_node_info *n, int *in, int *out) {
    int axis = first_axis(in, n->in_count);
    for (uint32_t i = 0; i < n->in_count; i++)
        if (in[i] == TN_BATCH_FREE && is_uniform(f, n->in[i], axis)) in[i] = axis;
    if (!is_legal(f, n, in, out)) return false;
    for (uint32_t i = 0; i < n->in_count; i++) f->batch.axis[n->in[i]] = (int8_t)in[i];
    return true;
}

/* So are constants: the weights of many models, one after the other. `in` has uniform operands split. */
static bool split_constants(finder *f, const tn_node_info *n, int *in, int *out) {
    int axis = first_axis(in, n->in_count);
    bool *split = TN_NEW_N(f->g->arena, bool, n->in_count), all = true;
    for (uint32_t i = 0; i < n->in_count; i++) {
        const tn_shape *s = &tn_graph_type(f->g, n->in[i])->shape;
        split[i] = in[i] == TN_BATCH_FREE && f->constant[n->in[i]] && axis < s->rank &&
                   s->dim[axis] == f->batch.size;
        if (split[i]) in[i] = axis;
    }
    if (!is_legal(f, n, in, out)) return false;
    for (uint32_t i = 0; i < n->in_count; i++)
        if (split[i])
            all = all && split_constant(f, n->in[i], axis);
        else
            f->batch.axis[n->in[i]] = (int8_t)in[i];
    return all;
}

static void find_constants(finder *f) {
    f->constant = TN_NEW_N(f->g->arena, bool, f->g->values.len);
    for (tn_node i = 0; i < f->g->nodes.len; i++) {
        const tn_node_info *n = tn_graph_node(f->g, i);
        bool constant = n->op == TN_OP_constant ||
                        (n->in_count > 0 && tn_op_rules_of(n->op)->lower.kind != TN_LOWER_CONTROL);
        for (uint32_t o = 0; o < n->in_count; o++) constant &= f->constant[n->in[o]];
        for (uint32_t o = 0; o < n->out_count; o++) f->constant[n->out + o] = constant;
    }
}

static finder finder_of(const tn_graph *g, tn_dim size) {
    finder f = {.g = g, .batch = {.size = size}};
    f.batch.axis = TN_NEW_N(g->arena, int8_t, g->values.len);
    f.batch.sliced = TN_NEW_N(g->arena, bool, g->values.len);
    f.batch.body = TN_NEW_N(g->arena, const tn_batch_axes *, g->nodes.len);
    f.read = TN_NEW_N(g->arena, bool, g->values.len);
    f.uses = tn_graph_use_counts(g, g->arena);
    find_constants(&f);
    return f;
}

/* ---- scans ---------------------------------------------------------------------------------- */

static void walk(finder *f);

static bool is_slice(const tn_attrs_scan *a, uint32_t operand) {
    return operand >= (uint32_t)a->carries && operand < (uint32_t)(a->carries + a->slices);
}

/* Whether an operand that no input enters can be split at its first axis: a stack of weights, or a state
 * that begins the same for all. */
static bool may_split(const finder *f, const tn_attrs_scan *a, uint32_t i, tn_value v) {
    const tn_shape *s = &tn_graph_type(f->g, v)->shape;
    return !is_slice(a, i) && s->rank > 0 && s->dim[0] == f->batch.size &&
           (f->constant[v] || is_uniform(f, v, 0));
}

/* Where the batch lies in a body whose operands are split so; false: its results are not. */
static bool split_body(finder *b, const tn_attrs_scan *a, const int *in, int *out) {
    const tn_graph *g = a->body;
    for (uint32_t i = 0; i < g->inputs.len; i++) {
        if (is_slice(a, i) && in[i] == 0) return false; /* images would be steps */
        b->batch.axis[g->inputs.data[i]] =
            (int8_t)(is_slice(a, i) && in[i] > 0 ? in[i] - 1 : in[i]);
    }
    walk(b);
    for (tn_value v = 0; v < g->values.len; v++)
        if (b->batch.sliced[v]) return false; /* tn_outline_constants has left none */
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        int axis = b->batch.axis[g->outputs.data[i].value];
        bool carry = i < (uint32_t)a->carries;
        if (axis < 0 || (carry && axis != in[i])) return false;
        out[i] = carry ? axis : axis + 1;
    }
    return true;
}

/* Splits a scan if its body computes each image alone. */
static bool split_scan(finder *f, tn_node node, int *in, int *out) {
    const tn_node_info *n = tn_graph_node(f->g, node);
    const tn_attrs_scan *a = n->attrs;
    for (uint32_t i = 0; i < n->in_count; i++)
        if (in[i] == TN_BATCH_FREE && may_split(f, a, i, n->in[i])) in[i] = 0;
    finder b = finder_of(a->body, f->batch.size);
    if (!split_body(&b, a, in, out)) return false;
    for (uint32_t i = 0; i < n->in_count; i++) {
        tn_value v = n->in[i];
        if (in[i] != 0 || f->batch.axis[v] != TN_BATCH_FREE) continue;
        if (is_uniform(f, v, 0))
            f->batch.axis[v] = 0;
        else if (!split_constant(f, v, 0))
            return false;
    }
    f->batch.body[node] = tn_arena_dup(f->g->arena, &b.batch, sizeof b.batch);
    return true;
}

/* ---- the walk ------------------------------------------------------------------------------- */

/* Members that lie somewhere in an input, as side by side, come in front by views: what these give is
 * where the axis begins. */
static bool brings_members(finder *f, const tn_node_info *n) {
    const tn_shape *s = &tn_graph_type(f->g, n->out)->shape;
    if (f->g->members <= 1 || (n->op != TN_OP_permute && n->op != TN_OP_reshape)) return false;
    if (s->rank == 0 || s->dim[0] != f->batch.size || f->constant[n->out]) return false;
    while (n->op == TN_OP_permute || n->op == TN_OP_reshape) n = tn_graph_producer(f->g, n->in[0]);
    return n->op == TN_OP_input;
}

static void place_results(finder *f, tn_node node) {
    const tn_node_info *n = tn_graph_node(f->g, node);
    int *in = TN_NEW_N(f->g->arena, int, n->in_count);
    int *out = TN_NEW_N(f->g->arena, int, n->out_count);
    bool whole = false, split = false, legal = false;
    for (uint32_t i = 0; i < n->in_count; i++) {
        in[i] = f->batch.axis[n->in[i]];
        whole |= in[i] == TN_BATCH_WHOLE;
        split |= in[i] >= 0;
    }
    if (split && !whole)
        legal = n->op == TN_OP_scan ? split_scan(f, node, in, out)
                                    : is_legal(f, n, in, out) || split_operands(f, n, in, out) ||
                                          split_constants(f, n, in, out);
    if (!split && !whole && brings_members(f, n)) {
        legal = f->batch.sliced[n->out] = true;
        out[0] = 0;
    }
    for (uint32_t i = 0; i < n->in_count; i++)
        f->read[n->in[i]] |= f->batch.axis[n->in[i]] == TN_BATCH_FREE;
    for (uint32_t i = 0; i < n->out_count; i++)
        f->batch.axis[n->out + i] = (int8_t)(legal            ? out[i]
                                             : whole || split ? TN_BATCH_WHOLE
                                                              : TN_BATCH_FREE);
}

static void walk(finder *f) {
    for (tn_node i = 0; i < f->g->nodes.len; i++)
        if (tn_graph_node(f->g, i)->op != TN_OP_input) place_results(f, i);
}

tn_batch_axes tn_batch_axes_find(const tn_graph *g) {
    finder f = finder_of(g, tn_batch_size(g));
    for (uint32_t i = 0; i < g->inputs.len; i++) {
        tn_value v = g->inputs.data[i];
        const tn_shape *s = &tn_graph_type(g, v)->shape;
        bool carries = f.batch.size != 1 && s->rank > 0 && s->dim[0] == f.batch.size;
        if (g->members > 1 && g->member_inputs) carries = carries && g->member_inputs[i];
        f.batch.axis[v] = carries ? 0 : TN_BATCH_FREE;
    }
    walk(&f);
    return f.batch;
}
