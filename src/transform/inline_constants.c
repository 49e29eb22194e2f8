/* Moving constants into bodies. See inline_constants.h. */
#include "transform/inline_constants.h"

#include "ops/control.h"

typedef struct mover {
    const tn_graph *in;
    tn_graph *out;
    const tn_transform_options *options;
    uint8_t *constant; /* per node of `in`: depends on constants only */
    tn_error *err;
} mover;

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err);

/* Operand i of the node is input i - shift of its bodies. */
static uint32_t input_shift(tn_op op) {
    return op == TN_OP_if ? 1 : 0;
}

/* Copies the nodes that make `v` into `body`; map holds what was copied. */
static tn_status copy_chain(const mover *m, tn_graph *body, tn_value v, tn_value *map) {
    if (map[v] != TN_NO_VALUE) return TN_OK;
    tn_node n = tn_graph_value(m->in, v)->node;
    const tn_node_info *info = tn_graph_node(m->in, n);
    for (uint32_t i = 0; i < info->in_count; i++) TN_CHECK(copy_chain(m, body, info->in[i], map));
    return tn_graph_copy_node(body, m->in, n, map, NULL, m->err);
}

/* A body in which the inputs of moved operands are those constants. */
static tn_status rebuild(const mover *m, const tn_node_info *n, const bool *moved,
                         const tn_graph *body, tn_graph **out) {
    tn_graph *fresh = tn_graph_new_sub(m->out);
    tn_value *map = TN_NEW_N(m->out->arena, tn_value, body->values.len);
    tn_value *chain = TN_NEW_N(m->out->arena, tn_value, m->in->values.len);
    memset(map, 0xff, body->values.len * sizeof *map);
    memset(chain, 0xff, m->in->values.len * sizeof *chain);
    for (uint32_t i = 0; i < body->inputs.len; i++) {
        uint32_t operand = i + input_shift(n->op);
        tn_value v = body->inputs.data[i];
        if (!moved[operand]) {
            TN_CHECK(
                tn_graph_copy_node(fresh, body, tn_graph_value(body, v)->node, map, NULL, m->err));
            continue;
        }
        TN_CHECK(copy_chain(m, fresh, n->in[operand], chain));
        map[v] = chain[n->in[operand]];
    }
    for (tn_node i = 0; i < body->nodes.len; i++)
        if (tn_graph_node(body, i)->op != TN_OP_input)
            TN_CHECK(tn__pass_copy_node(body, fresh, i, map, run, m->options, m->err));
    tn__pass_copy_outputs(body, fresh, map);
    *out = fresh;
    return TN_OK;
}

static tn_status move_into(const mover *m, tn_node node, tn_value *map) {
    const tn_node_info *n = tn_graph_node(m->in, node);
    bool *moved = TN_NEW_N(m->out->arena, bool, n->in_count);
    tn_value *operands = TN_NEW_N(m->out->arena, tn_value, n->in_count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->in_count; i++) {
        moved[i] =
            i >= tn__first_invariant(n) && m->constant[tn_graph_value(m->in, n->in[i])->node];
        if (!moved[i]) operands[count++] = map[n->in[i]];
    }
    if ((int)count < tn_op_info_of(n->op)->in_min) {
        moved[0] = false;
        operands[count++] = map[n->in[0]];
    }
    void *attrs = tn_arena_dup(m->out->arena, n->attrs, tn_op_info_of(n->op)->attrs_size);
    for (const tn_field *f = tn_op_info_of(n->op)->fields; f->kind != TN_FIELD_END; f++) {
        tn_graph **body = (tn_graph **)((char *)attrs + f->offset);
        if (f->kind == TN_FIELD_GRAPH) TN_CHECK(rebuild(m, n, moved, *body, body));
    }
    tn_value first;
    TN_CHECK(tn_graph_add(m->out, n->op, operands, count, attrs, n->name, &first, m->err));
    for (uint32_t i = 0; i < n->out_count; i++) {
        map[n->out + i] = first + i;
        tn__pass_keep_name(m->in, n->out + i, m->out, first + i);
    }
    return TN_OK;
}

static bool moves_any(const mover *m, const tn_node_info *n) {
    for (uint32_t i = tn__first_invariant(n); i < n->in_count; i++)
        if (m->constant[tn_graph_value(m->in, n->in[i])->node]) return true;
    return false;
}

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err) {
    mover m = {in, out, options, TN_NEW_N(out->arena, uint8_t, in->nodes.len), err};
    tn_value *map = TN_NEW_N(out->arena, tn_value, in->values.len);
    memset(map, 0xff, in->values.len * sizeof *map);
    for (tn_node n = 0; n < in->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(in, n);
        bool constant = info->op == TN_OP_constant || info->in_count > 0;
        for (uint32_t i = 0; i < info->in_count; i++)
            constant &= m.constant[tn_graph_value(in, info->in[i])->node] != 0;
        m.constant[n] = constant;
        if (moves_any(&m, info))
            TN_CHECK(move_into(&m, n, map));
        else
            TN_CHECK(tn__pass_copy_node(in, out, n, map, run, options, err));
    }
    tn__pass_copy_outputs(in, out, map);
    return TN_OK;
}

const tn_pass tn_pass_inline_constants = {"inline_constants", run};
