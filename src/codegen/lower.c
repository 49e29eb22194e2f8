/* What the lowerings share: buffers, offsets, names. See lower.h. */
#include "codegen/lower.h"

static tn_kernel_error maker_error(tn_emit *e, const tn_node_info *n) {
    const tn_kernel_maker *m = (const tn_kernel_maker *)e;
    return m->context->error_base + tn_graph_value(e->graph, n->out)->node;
}

static void maker_of_group(tn_kernel_maker *m, const tn_lower_context *c, uint32_t group) {
    *m = (tn_kernel_maker){.context = c, .group_id = group};
    m->grouping = c->grouping;
    m->graph = c->grouping->graph;
    m->group = &c->grouping->groups.data[group];
}

static void maker_access(tn_kernel_maker *m) {
    tn_access_init(&m->access, m->k, m->grouping, m->context->arena);
    m->access.emit.error = maker_error;
    m->access.context = m;
}

void tn_maker_init(tn_kernel_maker *m, const tn_lower_context *c, uint32_t group,
                   const char *name) {
    maker_of_group(m, c, group);
    m->bound = TN_NEW(c->arena, tn_kernel_bindings);
    m->k = TN_NEW(c->arena, tn_loop);
    tn_loop_init(m->k, c->arena, c->grouping->graph->dims, name);
    maker_access(m);
}

void tn_maker_init_inside(tn_kernel_maker *m, const tn_kernel_maker *outer, uint32_t group) {
    maker_of_group(m, outer->context, group);
    m->bound = outer->bound;
    m->k = outer->k;
    maker_access(m);
}

bool tn_maker_has_buffer(const tn_kernel_maker *m, tn_value v, uint32_t *buffer) {
    v = tn_group_storage(m->context->grouping, v);
    for (uint32_t i = 0; i < m->bound->value.len; i++) {
        if (m->bound->value.data[i] != v) continue;
        *buffer = m->bound->buffer.data[i];
        return true;
    }
    return false;
}

uint32_t tn_maker_buffer(tn_kernel_maker *m, tn_value v, tn_lbuffer_kind kind) {
    uint32_t buffer;
    if (tn_maker_has_buffer(m, v, &buffer)) return buffer;
    const tn_graph *g = m->access.emit.graph;
    v = tn_group_storage(m->context->grouping, v);
    const char *name = kind == TN_LBUF_INPUT ? "in" : "out";
    buffer = tn_l_buffer(m->k, kind, tn_graph_type(g, v)->dtype, name);
    m->k->buffers.data[buffer].binding = v;
    tn_vec_push(m->context->arena, &m->bound->value, v);
    tn_vec_push(m->context->arena, &m->bound->buffer, buffer);
    return buffer;
}

tn_lx tn_maker_offset(tn_kernel_maker *m, tn_value v, const tn_lx *index) {
    const tn_shape *s = &tn_graph_type(m->access.emit.graph, v)->shape;
    tn_lx offset = tn_l_int(m->k, 0), stride = tn_l_int(m->k, 1);
    for (int i = s->rank - 1; i >= 0; i--) {
        if (s->dim[i] != 1) offset = tn_l_add(m->k, tn_l_mul(m->k, index[i], stride), offset);
        stride = tn_l_mul(m->k, stride, tn_l_dim(m->k, s->dim[i]));
    }
    return offset;
}

tn_lx tn_maker_load(tn_kernel_maker *m, tn_value v, const tn_lx *index) {
    uint32_t buffer = tn_maker_buffer(m, v, TN_LBUF_INPUT);
    return tn_l_load(m->k, buffer, tn_maker_offset(m, v, index), m->access.emit.guard, TN_LX_NONE);
}

void tn_maker_store(tn_kernel_maker *m, tn_value v, const tn_lx *index, tn_lx value) {
    tn_l_store(m->k, tn_maker_buffer(m, v, TN_LBUF_OUTPUT), tn_maker_offset(m, v, index), value);
}

void tn_maker_split(tn_loop *k, tn_lx linear, const tn_lx *extent, int count, tn_lx *index) {
    for (int i = count - 1; i > 0; i--) {
        index[i] = tn_l_mod(k, linear, extent[i]);
        linear = tn_l_div(k, linear, extent[i]);
    }
    if (count > 0) index[0] = linear;
}

/* ---- naming: the operations in a group, for people and for the comment above the kernel ----- */

static const char *group_note(const tn_lower_context *c, const tn_group *g, const tn_schedule *s) {
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(c->arena));
    for (uint32_t i = 0; i < g->members.len; i++)
        tn_str_appendf(
            &text, "%s%s", i ? " + " : "",
            tn_op_info_of(c->grouping->graph->nodes.data[g->members.data[i].node].op)->name);
    tn_str_append(&text, " over ");
    tn_shape_print(c->grouping->graph->dims, &g->space.shape, &text);
    tn_str_append(&text, "; ");
    tn_schedule_print(s, g->kind, &text);
    const char *note = tn_arena_strdup(c->arena, tn_str_text(&text));
    tn_str_deinit(&text);
    return note;
}

tn_status tn_lower_group(const tn_lower_context *c, uint32_t group, tn_lowered *out,
                         tn_error *err) {
    const tn_group *g = &c->grouping->groups.data[group];
    *out = (tn_lowered){0};
    switch (g->kind) {
    case TN_GROUP_ROWS:
        if (!tn_lower_depthwise(c, group, out) && !tn_lower_place(c, group, out) &&
            !tn_lower_transpose(c, group, out) && !tn_lower_split(c, group, out))
            tn_lower_rows(c, group, out);
        break;
    case TN_GROUP_CONTRACTION:
        if (!tn_lower_winograd(c, group, out)) tn_lower_contraction(c, group, out);
        break;
    case TN_GROUP_ATTENTION:
        tn_lower_attention(c, group, out);
        break;
    case TN_GROUP_NEST:
        tn_lower_nest(c, group, out);
        break;
    case TN_GROUP_CONTROL:
        TN_BUG("a control group has no kernel");
    }
    out->kernel->note = group_note(c, g, &out->schedule);
    if (out->pack) out->pack->note = "packs a constant operand into panels";
    TN_TRY(err, tn_loop_verify(out->kernel, err), "in the kernel '%s'", out->kernel->note);
    if (out->pack) TN_TRY(err, tn_loop_verify(out->pack, err), "in a packing kernel");
    out->in_place_count =
        tn_find_in_place(out->kernel, g->kind != TN_GROUP_NEST, c->arena, out->in_place);
    return TN_OK;
}
