/* What the lowerings share: buffers, offsets, names. See lower.h. */
#include "codegen/lower.h"

#include "schedule/candidates.h"

tn_schedule tn_lower_record(const tn_lower_context *c, uint32_t group, tn_schedule chosen) {
    const tn_group *g = &c->grouping->groups.data[group];
    bool fits = c->record && tn_schedule_fits(g, &chosen, c->record);
    return fits ? *c->record : chosen;
}

static tn_kernel_error maker_error(tn_emit *e, const tn_node_info *n) {
    const tn_kernel_maker *m = (const tn_kernel_maker *)e;
    return m->context->error_base + tn_graph_value(e->graph, n->out)->node;
}

/* Whether `v`, of the group or inlined into it, is made by operations that put values elsewhere and do
 * nothing else. A one-element constant is a number in the kernel's text and not read from memory. */
static bool only_moves(const tn_kernel_maker *m, tn_value v, int depth) {
    enum { DEEPEST = 32 };
    tn_array constant;
    if (tn_graph_constant(m->graph, v, &constant) && tn_array_count(&constant) == 1) return false;
    tn_node node = tn_graph_value(m->graph, v)->node;
    if (m->grouping->group_of[node] != m->group_id && !m->grouping->inlined[node]) return true;
    const tn_node_info *n = tn_graph_node(m->graph, node);
    bool moves = n->op == TN_OP_permute || n->op == TN_OP_reshape || n->op == TN_OP_broadcast ||
                 n->op == TN_OP_slice || n->op == TN_OP_concat;
    if (!moves || depth == DEEPEST) return false;
    for (uint32_t i = 0; i < n->in_count; i++)
        if (!only_moves(m, n->in[i], depth + 1)) return false;
    return true;
}

static bool group_moves(const tn_kernel_maker *m) {
    const tn_group *g = m->group;
    if (g->kind != TN_GROUP_ROWS || g->anchor != TN_NO_NODE) return false;
    for (uint32_t i = 0; i < g->members.len; i++) /* some may not be stored */
        if (!only_moves(m, tn_graph_node(m->graph, g->members.data[i].node)->out, 0)) return false;
    for (uint32_t i = 0; i < g->stores.len; i++)
        if (!only_moves(m, g->stores.data[i], 0)) return false;
    return true;
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
    m->as_bits = group_moves(m);
}

tn_dtype tn_maker_dtype(const tn_kernel_maker *m, tn_value v) {
    tn_dtype dtype = tn_graph_type(m->graph, v)->dtype;
    bool narrow = tn_dtype_is_float(dtype) && tn_dtype_bits(dtype) >= 8 && tn_dtype_size(dtype) < 4;
    if (!m->as_bits || !(narrow || dtype == TN_bool)) return dtype;
    return tn_dtype_size(dtype) == 2 ? TN_u16 : TN_u8;
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

void tn_maker_init_behind(tn_kernel_maker *m, const tn_lower_context *c, uint32_t group,
                          tn_loop *lowered) {
    maker_of_group(m, c, group);
    m->bound = TN_NEW(c->arena, tn_kernel_bindings);
    m->k = lowered;
    maker_access(m);
    for (uint32_t i = 0; i < lowered->buffers.len; i++) {
        const tn_lbuffer *b = &lowered->buffers.data[i];
        if ((b->kind != TN_LBUF_INPUT && b->kind != TN_LBUF_OUTPUT) || (b->binding & TN_BIND_PACK))
            continue;
        tn_vec_push(c->arena, &m->bound->value, b->binding);
        tn_vec_push(c->arena, &m->bound->buffer, i);
    }
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
    v = tn_group_storage(m->context->grouping, v);
    const char *name = kind == TN_LBUF_INPUT ? "in" : "out";
    buffer = tn_l_buffer(m->k, kind, tn_maker_dtype(m, v), name);
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
    uint32_t to = tn_maker_buffer(m, v, TN_LBUF_OUTPUT);
    /* what is only moved may move as bytes, but the zero that stands for what nobody computes does not */
    value = tn_l_cast(m->k, value, m->k->buffers.data[to].dtype, false);
    tn_l_store(m->k, to, tn_maker_offset(m, v, index), value);
}

void tn_maker_split(tn_loop *k, tn_lx linear, const tn_lx *extent, int count, tn_lx *index) {
    for (int i = count - 1; i > 0; i--) {
        index[i] = tn_l_mod(k, linear, extent[i]);
        linear = tn_l_div(k, linear, extent[i]);
    }
    if (count > 0) index[0] = linear;
}

/* ---- results that are larger than the caches ------------------------------------------------ */

static void find_read_back(const tn_loop *k, tn_ls first, bool *read) {
    for (tn_ls id = first; id; id = k->stmts.data[id].next) {
        const tn_lstmt *s = &k->stmts.data[id];
        if (s->kind == TN_LS_LET && s->let == TN_LET_LOAD) read[s->target] = true;
        find_read_back(k, s->body, read);
        find_read_back(k, s->other, read);
    }
}

/* A kernel that reads its result back keeps it in the caches; a transpose has decided for itself. */
static void mark_streams(const tn_lower_context *c, tn_lowered *out) {
    tn_loop *k = out->kernel;
    if (out->schedule.shape == TN_SHAPE_TRANSPOSE && !out->schedule.stream) return;
    bool *read = TN_NEW_N(c->arena, bool, k->buffers.len);
    find_read_back(k, k->body, read);
    for (uint32_t i = 0; i < k->buffers.len; i++) {
        tn_lbuffer *b = &k->buffers.data[i];
        b->stream = b->kind == TN_LBUF_OUTPUT && !read[i] &&
                    tn_schedule_streams(c->grouping, b->binding, c->target->stream_bytes);
        out->schedule.stream |= b->stream;
    }
}

/* ---- outputs in place of inputs ------------------------------------------------------------- */

static uint32_t bound_buffer(const tn_loop *k, tn_lbuffer_kind kind, tn_value v) {
    for (uint32_t i = 0; i < k->buffers.len; i++)
        if (k->buffers.data[i].kind == kind && k->buffers.data[i].binding == v) return i;
    return UINT32_MAX;
}

/* Output `o`, where the kernel stores it in place of an input that it reads. */
static bool find_pair(const tn_lower_context *c, const tn_loop *k, const tn_graph_output *o,
                      tn_taken *pair, uint32_t *from, uint32_t *to) {
    if (!o->in_place) return false;
    pair->from = c->grouping->graph->inputs.data[o->in_place - 1];
    pair->to = tn_group_storage(c->grouping, o->value);
    *to = bound_buffer(k, TN_LBUF_OUTPUT, pair->to);
    *from = *to == UINT32_MAX ? UINT32_MAX : bound_buffer(k, TN_LBUF_INPUT, pair->from);
    return *from != UINT32_MAX;
}

static void find_taken(const tn_lower_context *c, const tn_group *g, tn_lowered *out) {
    const tn_graph *graph = c->grouping->graph;
    tn_loop *k = out->kernel;
    bool once = g->kind != TN_GROUP_NEST, named = false;
    for (uint32_t i = 0; i < graph->outputs.len; i++) {
        tn_taken pair;
        uint32_t from, to;
        if (!find_pair(c, k, &graph->outputs.data[i], &pair, &from, &to)) continue;
        if (!named) tn_loop_name_stores(k);
        named = true;
        if (!tn_may_take_over(k, from, to, once, c->arena)) continue;
        tn_vec_push(c->arena, &out->taken, pair);
        k->buffers.data[from].shared = k->buffers.data[to].shared = true;
        k->buffers.data[to].stream = false; /* its lines were just read */
    }
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

/* Whether no element is stored twice, so that whole vectors may go past the caches. */
static bool stores_once(const tn_grouping *p, const tn_group *g) {
    if (g->kind != TN_GROUP_NEST) return g->kind == TN_GROUP_ROWS;
    return tn_op_rules_of(p->graph->nodes.data[g->anchor].op)->lower.nest->stores_once;
}

tn_status tn_lower_group(const tn_lower_context *c, uint32_t group, tn_lowered *out,
                         tn_error *err) {
    const tn_group *g = &c->grouping->groups.data[group];
    *out = (tn_lowered){0};
    switch (g->kind) {
    case TN_GROUP_ROWS:
        if (!tn_lower_depthwise(c, group, out) && !tn_lower_windows(c, group, out) &&
            !tn_lower_place(c, group, out) && !tn_lower_transpose(c, group, out) &&
            !tn_lower_split(c, group, out))
            tn_lower_rows(c, group, out);
        tn_lower_scalars(c, group, out);
        break;
    case TN_GROUP_CONTRACTION:
        if (!tn_lower_winograd(c, group, out)) tn_lower_contraction(c, group, out);
        break;
    case TN_GROUP_ATTENTION:
        tn_lower_attention(c, group, out);
        break;
    case TN_GROUP_ATTENTION_GRADIENT:
        tn_lower_attention_gradient(c, group, out);
        break;
    case TN_GROUP_NEST:
        tn_lower_nest(c, group, out);
        break;
    case TN_GROUP_CONTROL:
        TN_BUG("a control group has no kernel");
    }
    if (stores_once(c->grouping, g)) mark_streams(c, out);
    find_taken(c, g, out);
    out->kernel->note = group_note(c, g, &out->schedule);
    TN_TRY(err, tn_loop_verify(out->kernel, err), "in the kernel '%s'", out->kernel->note);
    for (uint32_t i = 0; i < out->pack_count; i++) {
        out->packs[i].kernel->note = "packs an operand into panels";
        TN_TRY(err, tn_loop_verify(out->packs[i].kernel, err), "in a packing kernel");
    }
    out->in_place_count =
        tn_find_in_place(out->kernel, g->kind != TN_GROUP_NEST, c->arena, out->in_place);
    return TN_OK;
}
