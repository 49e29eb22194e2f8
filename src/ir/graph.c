/* Making graphs: values, nodes with inferred results, outputs. See graph.h. */
#include "ir/graph.h"

#include "ir/rules.h"
#include "ir/text.h"

tn_graph *tn_graph_new(tn_arena *arena, tn_dims *dims) {
    tn_graph *g = TN_NEW(arena, tn_graph);
    g->arena = arena;
    g->dims = dims;
    return g;
}

tn_graph *tn_graph_new_sub(tn_graph *parent) {
    tn_graph *g = tn_graph_new(parent->arena, parent->dims);
    g->parent = parent;
    return g;
}

tn_graph *tn_graph_new_like(const tn_graph *g) {
    tn_graph *made = tn_graph_new(g->arena, g->dims);
    for (uint32_t i = 0; i < g->sources.len; i++)
        tn_vec_push(g->arena, &made->sources, g->sources.data[i]);
    made->unit_fronts = g->unit_fronts;
    made->members = g->members;
    made->member_inputs = g->member_inputs;
    return made;
}

const tn_graph *tn_graph_root(const tn_graph *g) {
    while (g->parent) g = g->parent;
    return g;
}

/* ---- adding nodes --------------------------------------------------------------------------- */

static tn_status check_operands(const tn_graph *g, const tn_op_info *info, const tn_value *in,
                                uint32_t count, tn_error *err) {
    if (count < (uint32_t)info->in_min || (info->in_max >= 0 && count > (uint32_t)info->in_max))
        return tn_error_set(err, TN_INVALID, "takes %s%d operand%s, got %u",
                            info->in_max == info->in_min ? "" : "at least ", info->in_min,
                            info->in_min == 1 ? "" : "s", count);
    for (uint32_t i = 0; i < count; i++)
        if (in[i] >= g->values.len)
            return tn_error_set(err, TN_INVALID,
                                "operand %u does not exist (the graph has %u values)", i,
                                g->values.len);
    return TN_OK;
}

/* The most results a node can have: every variable-result operation gives at most one per operand
 * or one per output of a sub-graph. */
static uint32_t most_results(const tn_op_info *info, const void *attrs, uint32_t in_count) {
    if (info->outs >= 0) return (uint32_t)info->outs;
    uint32_t most = in_count;
    for (const tn_field *f = info->fields; f->kind != TN_FIELD_END; f++) {
        if (f->kind != TN_FIELD_GRAPH) continue;
        const tn_graph *sub = *(tn_graph *const *)((const char *)attrs + f->offset);
        if (sub && sub->outputs.len > most) most = sub->outputs.len;
    }
    return most;
}

static tn_status check_attrs(const tn_graph *g, const tn_op_info *info, const void *attrs,
                             tn_error *err) {
    for (const tn_field *f = info->fields; f->kind != TN_FIELD_END; f++) {
        if (f->kind != TN_FIELD_GRAPH) continue;
        const tn_graph *sub = *(tn_graph *const *)((const char *)attrs + f->offset);
        if (!sub) return tn_error_set(err, TN_INVALID, "has no sub-graph '%s'", f->name);
        if (sub->parent != g || sub->dims != g->dims)
            return tn_error_set(err, TN_INVALID, "sub-graph '%s' belongs to another graph",
                                f->name);
    }
    return TN_OK;
}

/* What is known of the sizes of the results can be multiplied in any order. */
static tn_status check_sizes(const tn_graph *g, const tn_type *types, uint32_t count,
                             tn_error *err) {
    for (uint32_t i = 0; i < count; i++) {
        const tn_shape *s = &types[i].shape;
        int64_t known[TN_MAX_RANK], elements;
        int n = 0;
        for (int axis = 0; axis < s->rank; axis++)
            if (tn_dim_is_const(s->dim[axis])) known[n++] = s->dim[axis];
        if (tn_sizes_count(n, known, &elements)) continue;
        tn_str text;
        tn__str_init_in(&text, g->arena);
        tn__print_type(g->dims, &types[i], &text);
        return tn_error_set(err, TN_INVALID, "a result %s has sizes whose product is beyond 2^59",
                            tn_str_text(&text));
    }
    return TN_OK;
}

tn_status tn__graph_infer(const tn_graph *g, tn_op op, const tn_value *in, uint32_t in_count,
                          const void *attrs, tn_type **types, uint32_t *count, tn_error *err) {
    const tn_op_info *info = tn_op_info_of(op);
    TN_CHECK(check_operands(g, info, in, in_count, err));
    TN_CHECK(check_attrs(g, info, attrs, err));
    const tn_type **operand = TN_NEW_N(g->arena, const tn_type *, in_count);
    for (uint32_t i = 0; i < in_count; i++) operand[i] = tn_graph_type(g, in[i]);
    uint32_t most = most_results(info, attrs, in_count);
    *types = TN_NEW_N(g->arena, tn_type, most);
    *count = info->outs >= 0 ? (uint32_t)info->outs : 0;
    tn_infer infer = {.graph = g,
                      .op = op,
                      .in_count = in_count,
                      .in = operand,
                      .attrs = attrs,
                      .out = *types,
                      .out_count = count,
                      .out_max = most};
    TN_CHECK(tn_op_rules_of(op)->infer(&infer, err));
    TN_ASSERT(*count <= most);
    return check_sizes(g, *types, *count, err);
}

/* "conv 'conv1' (f32[1,8,8,3], f32[3,3,4,8])": the frame of a failed inference. */
static void push_node_frame(const tn_graph *g, tn_op op, const char *name, const tn_value *in,
                            uint32_t in_count, tn_error *err) {
    enum { SHOWN = 4 };
    if (!err) return;
    tn_str text;
    tn__str_init_in(&text, g->arena);
    for (uint32_t i = 0; i < in_count && i < SHOWN; i++) {
        if (i) tn_str_append(&text, ", ");
        if (in[i] < g->values.len)
            tn__print_type(g->dims, tn_graph_type(g, in[i]), &text);
        else
            tn_str_append(&text, "?");
    }
    if (in_count > SHOWN) tn_str_appendf(&text, ", %u more", in_count - SHOWN);
    if (name)
        tn_error_push(err, "%s '%s' (%s)", tn_op_info_of(op)->name, name, tn_str_text(&text));
    else
        tn_error_push(err, "%s (%s)", tn_op_info_of(op)->name, tn_str_text(&text));
}

static tn_value append_node(tn_graph *g, tn_node_info info, const tn_type *types) {
    tn_node n = g->nodes.len;
    info.out = g->values.len;
    tn_vec_push(g->arena, &g->nodes, info);
    for (uint32_t i = 0; i < info.out_count; i++)
        tn_vec_push(g->arena, &g->values,
                    (tn_value_info){.type = types[i], .node = n, .result = i});
    if (info.op == TN_OP_input) tn_vec_push(g->arena, &g->inputs, info.out);
    return info.out;
}

tn_status tn_graph_add(tn_graph *g, tn_op op, const tn_value *in, uint32_t in_count,
                       const void *attrs, const char *name, tn_value *out, tn_error *err) {
    const tn_op_info *info = tn_op_info_of(op);
    if (out) *out = TN_NO_VALUE;
    void *kept = attrs ? tn_arena_dup(g->arena, attrs, info->attrs_size)
                       : tn_arena_alloc(g->arena, info->attrs_size);
    tn_type *types;
    uint32_t count;
    tn_status status = tn__graph_infer(g, op, in, in_count, kept, &types, &count, err);
    if (status != TN_OK) {
        push_node_frame(g, op, name, in, in_count, err);
        return status;
    }
    tn_node_info node = {.op = op, .in_count = in_count, .out_count = count, .attrs = kept};
    node.in = tn_arena_dup(g->arena, in, in_count * sizeof(*in));
    node.name = name ? tn_arena_strdup(g->arena, name) : NULL;
    tn_value made = append_node(g, node, types);
    if (out) *out = made;
    return TN_OK;
}

void tn_graph_add_output(tn_graph *g, tn_value value, const char *name) {
    TN_ASSERT(value < g->values.len);
    const char *kept = name ? tn_arena_strdup(g->arena, name) : NULL;
    tn_vec_push(g->arena, &g->outputs, (tn_graph_output){value, kept, 0});
}

void tn_graph_output_in_place(tn_graph *g, uint32_t input) {
    g->outputs.data[g->outputs.len - 1].in_place = input + 1;
}

/* ---- questions ------------------------------------------------------------------------------ */

bool tn_graph_constant(const tn_graph *g, tn_value v, tn_array *array) {
    const tn_node_info *n = tn_graph_producer(g, v);
    if (n->op != TN_OP_constant) return false;
    const tn_attrs_constant *a = n->attrs;
    if (!array) return true;
    *array = (tn_array){.dtype = a->dtype, .rank = a->shape.rank};
    for (int i = 0; i < a->shape.rank; i++) array->dim[i] = a->shape.dim[i];
    /* Borrowed and never written through: arrays of operands are read-only by contract. */
    memcpy(&array->data, &a->data.bytes, sizeof(array->data));
    return true;
}

uint32_t *tn_graph_use_counts(const tn_graph *g, tn_arena *arena) {
    uint32_t *uses = TN_NEW_N(arena, uint32_t, g->values.len);
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        for (uint32_t i = 0; i < info->in_count; i++) uses[info->in[i]]++;
    }
    for (uint32_t i = 0; i < g->outputs.len; i++) uses[g->outputs.data[i].value]++;
    return uses;
}
