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

static tn_dim batch_size(const tn_graph *g) {
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

static void place_results(finder *f, const tn_node_info *n) {
    int *in = TN_NEW_N(f->g->arena, int, n->in_count);
    int *out = TN_NEW_N(f->g->arena, int, n->out_count);
    bool whole = false, split = false, legal = false;
    for (uint32_t i = 0; i < n->in_count; i++) {
        in[i] = f->batch.axis[n->in[i]];
        whole |= in[i] == TN_BATCH_WHOLE;
        split |= in[i] >= 0;
    }
    if (split && !whole)
        legal = is_legal(f, n, in, out) || split_operands(f, n, in, out) ||
                split_constants(f, n, in, out);
    for (uint32_t i = 0; i < n->in_count; i++)
        f->read[n->in[i]] |= f->batch.axis[n->in[i]] == TN_BATCH_FREE;
    for (uint32_t i = 0; i < n->out_count; i++)
        f->batch.axis[n->out + i] = (int8_t)(legal            ? out[i]
                                             : whole || split ? TN_BATCH_WHOLE
                                                              : TN_BATCH_FREE);
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

tn_batch_axes tn_batch_axes_find(const tn_graph *g) {
    finder f = {.g = g, .batch = {.size = batch_size(g)}};
    f.batch.axis = TN_NEW_N(g->arena, int8_t, g->values.len);
    f.batch.sliced = TN_NEW_N(g->arena, bool, g->values.len);
    f.read = TN_NEW_N(g->arena, bool, g->values.len);
    f.uses = tn_graph_use_counts(g, g->arena);
    find_constants(&f);
    for (tn_node i = 0; i < g->nodes.len; i++) {
        const tn_node_info *n = tn_graph_node(g, i);
        if (n->op != TN_OP_input) {
            place_results(&f, n);
            continue;
        }
        const tn_shape *s = &tn_graph_type(g, n->out)->shape;
        bool carries = f.batch.size != 1 && s->rank > 0 && s->dim[0] == f.batch.size;
        f.batch.axis[n->out] = carries ? 0 : TN_BATCH_FREE;
    }
    return f.batch;
}
