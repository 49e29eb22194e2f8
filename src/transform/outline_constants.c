/* Moving constants out of bodies. See outline_constants.h. */
#include "transform/outline_constants.h"

#include "transform/pass.h"

static bool is_stack(const tn_graph *body, tn_node n, tn_dim size) {
    const tn_node_info *info = tn_graph_node(body, n);
    if (info->op != TN_OP_constant) return false;
    const tn_shape *s = &tn_graph_type(body, info->out)->shape;
    return s->rank > 0 && s->dim[0] == size;
}

static bool has_stacks(const tn_graph *g, tn_node n, tn_dim size) {
    const tn_node_info *info = tn_graph_node(g, n);
    if (info->op != TN_OP_scan) return false;
    const tn_graph *body = ((const tn_attrs_scan *)info->attrs)->body;
    for (tn_node i = 0; i < body->nodes.len; i++)
        if (is_stack(body, i, size)) return true;
    return false;
}

typedef struct mover {
    const tn_graph *in, *body;
    tn_graph *out, *fresh;
    tn_dim size;
    tn_value *map, *body_map, *moved;
    TN_VEC(tn_value) operands;
} mover;

/* The constant as an operand of the scan and an input of its body. */
static tn_status move_out(mover *m, tn_node n, tn_error *err) {
    tn_value v = tn_graph_node(m->body, n)->out;
    const tn_type *type = tn_graph_type(m->body, v);
    tn_attrs_input a = {.dtype = type->dtype, .shape = type->shape};
    TN_CHECK(tn_graph_copy_node(m->out, m->body, n, m->moved, NULL, err));
    tn_vec_push(m->out->arena, &m->operands, m->moved[v]);
    return tn_graph_add(m->fresh, TN_OP_input, NULL, 0, &a, NULL, &m->body_map[v], err);
}

static tn_status fill_body(mover *m, tn_error *err) {
    const tn_graph *body = m->body;
    for (uint32_t i = 0; i < body->inputs.len; i++)
        TN_CHECK(tn_graph_copy_node(m->fresh, body,
                                    tn_graph_value(body, body->inputs.data[i])->node, m->body_map,
                                    NULL, err));
    for (tn_node n = 0; n < body->nodes.len; n++)
        if (is_stack(body, n, m->size)) TN_CHECK(move_out(m, n, err));
    for (tn_node n = 0; n < body->nodes.len; n++)
        if (!is_stack(body, n, m->size) && tn_graph_node(body, n)->op != TN_OP_input)
            TN_CHECK(tn_graph_copy_node(m->fresh, body, n, m->body_map, NULL, err));
    tn__pass_copy_outputs(body, m->fresh, m->body_map);
    return TN_OK;
}

static tn_status copy_scan(mover *m, tn_node node, tn_error *err) {
    const tn_node_info *n = tn_graph_node(m->in, node);
    tn_attrs_scan a = *(const tn_attrs_scan *)n->attrs;
    m->body = a.body;
    m->fresh = a.body = tn_graph_new_sub(m->out);
    m->body_map = TN_NEW_N(m->out->arena, tn_value, m->body->values.len);
    m->moved = TN_NEW_N(m->out->arena, tn_value, m->body->values.len);
    m->operands.len = 0;
    for (uint32_t i = 0; i < n->in_count; i++)
        tn_vec_push(m->out->arena, &m->operands, m->map[n->in[i]]);
    TN_CHECK(fill_body(m, err));
    tn_value first;
    TN_CHECK(tn_graph_add(m->out, TN_OP_scan, m->operands.data, m->operands.len, &a, n->name,
                          &first, err));
    for (uint32_t i = 0; i < n->out_count; i++) {
        m->map[n->out + i] = first + i;
        tn__pass_keep_name(m->in, n->out + i, m->out, first + i);
    }
    return TN_OK;
}

tn_status tn_outline_constants(const tn_graph *g, tn_dim size, const tn_graph **out,
                               tn_error *err) {
    bool any = false;
    *out = g;
    for (tn_node n = 0; n < g->nodes.len; n++) any = any || has_stacks(g, n, size);
    if (!any) return TN_OK;
    mover m = {.in = g, .out = tn_graph_new_like(g), .size = size};
    m.map = TN_NEW_N(g->arena, tn_value, g->values.len);
    for (tn_node n = 0; n < g->nodes.len; n++)
        if (has_stacks(g, n, size))
            TN_CHECK(copy_scan(&m, n, err));
        else
            TN_CHECK(tn_graph_copy_node(m.out, g, n, m.map, NULL, err));
    tn__pass_copy_outputs(g, m.out, m.map);
    *out = m.out;
    return TN_OK;
}
