/* Building the program. See assemble.h. */
#include "plan/assemble.h"

#include "schedule/candidates.h"

#define NO_BUFFER UINT32_MAX

/* `buffer` may take the memory of `from` if that dies in the step that makes it. */
typedef struct reuse {
    uint32_t buffer, from;
} reuse;

typedef struct assembler {
    tn_program *p;
    tn_arena *arena;
    const tn_target *target;
    tn_costs costs;
    bool fuse;
    const tn_record_source *records;
    tn_map kernels; /* canonical text → kernel */
    tn_map packs;   /* operand buffers, kernel → packed buffer */
    uint32_t position;
    TN_VEC(tn_prog_step) prepare; /* appended to block 1 at the end */
    TN_VEC(reuse) reuses;
    tn_str *groups_text;
} assembler;

/* One graph being assembled: the main one or a body. */
typedef struct scope {
    assembler *a;
    const tn_graph *g;
    tn_grouping *groups;
    uint32_t block;
    uint32_t error_base;
    uint32_t *buffer; /* per value: where it lives, or NO_BUFFER */
    bool *outside;    /* per value: read outside of `prepare` */
} scope;

/* ---- buffers -------------------------------------------------------------------------------- */

static uint32_t add_buffer(assembler *a, tn_prog_buffer b) {
    tn_vec_push(a->arena, &a->p->buffers, b);
    return a->p->buffers.len - 1;
}

static tn_prog_buffer buffer_of_type(const scope *s, tn_value v, tn_store store) {
    const tn_value_info *info = tn_graph_value(s->g, v);
    return (tn_prog_buffer){.store = store,
                            .dtype = info->type.dtype,
                            .elements = tn_shape_count(s->g->dims, &info->type.shape),
                            .in_place_of = UINT32_MAX,
                            .name = info->name};
}

static uint32_t add_temp(scope *s, tn_value v) {
    tn_prog_buffer b = buffer_of_type(s, v, TN_STORE_TEMP);
    b.first = b.last = s->a->position;
    return add_buffer(s->a, b);
}

static void touch(assembler *a, uint32_t buffer) {
    tn_prog_buffer *b = &a->p->buffers.data[buffer];
    b->last = TN_MAX(b->last, a->position);
}

static uint32_t weight_buffer(scope *s, tn_value v) {
    assembler *a = s->a;
    const tn_attrs_constant *c = tn_graph_producer(s->g, v)->attrs;
    tn_prog_buffer b = buffer_of_type(s, v, TN_STORE_WEIGHT);
    if (c->data.source) { /* a file of the graph: sources of graph and program run in parallel */
        b.index = c->data.source - 1;
        b.offset = c->data.offset;
    } else {
        tn_prog_source inline_bytes = {.size = c->data.size, .data = c->data.bytes};
        tn_vec_push(a->arena, &a->p->sources, inline_bytes);
        b.index = a->p->sources.len - 1;
    }
    return add_buffer(a, b);
}

/* The buffer that holds `v`; constants get theirs on first use. */
static uint32_t buffer_of(scope *s, tn_value v) {
    v = tn_group_storage(s->groups, v);
    if (s->buffer[v] == NO_BUFFER) {
        TN_ASSERT(tn_graph_producer(s->g, v)->op == TN_OP_constant);
        s->buffer[v] = weight_buffer(s, v);
    }
    return s->buffer[v];
}

/* ---- kernels and steps ---------------------------------------------------------------------- */

static uint32_t add_kernel(assembler *a, tn_loop *k) {
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(a->arena));
    tn_loop_print(k, true, &text);
    uint32_t id;
    if (!tn_map_get(&a->kernels, text.data, text.len, &id)) {
        id = a->p->kernels.len;
        k->name = tn_arena_printf(a->arena, "%s_%u", k->name, id);
        tn_vec_push(a->arena, &a->p->kernels, k);
        tn_map_put(&a->kernels, text.data, text.len, id);
    }
    tn_str_deinit(&text);
    return id;
}

static tn_dim buffer_bytes(const assembler *a, uint32_t buffer) {
    const tn_prog_buffer *b = &a->p->buffers.data[buffer];
    tn_dims *dims = a->p->dims;
    return tn_dim_mul(dims, b->elements, tn_dim_const(dims, (int64_t)tn_dtype_size(b->dtype)));
}

/* A size expression over a kernel's parameters. */
static tn_dim size_of(const assembler *a, const tn_loop *k, tn_lx e) {
    const tn_lexpr *x = tn_l_expr(k, e);
    tn_dims *dims = a->p->dims;
    if (x->kind == TN_LX_CONST) return tn_dim_const(dims, x->value.i);
    if (x->kind == TN_LX_SCALAR) return k->scalars.data[x->index].dim;
    TN_ASSERT(x->kind == TN_LX_OP);
    tn_dim p = size_of(a, k, x->a), q = size_of(a, k, x->b);
    if (x->op == TN_S_mul) return tn_dim_mul(dims, p, q);
    if (x->op == TN_S_add) return tn_dim_add(dims, p, q);
    if (x->op == TN_S_min) return tn_dim_min(dims, p, q);
    if (x->op == TN_S_max) return tn_dim_max(dims, p, q);
    TN_ASSERT(x->op == TN_S_div);
    return tn_dim_floordiv(dims, p, q);
}

/* Slots that the tasks of one launch share. */
static uint32_t work_buffer(assembler *a, const tn_loop *k, const tn_lbuffer *b) {
    return add_buffer(a, (tn_prog_buffer){.store = TN_STORE_TEMP,
                                          .dtype = b->dtype,
                                          .elements = size_of(a, k, b->size),
                                          .in_place_of = UINT32_MAX,
                                          .first = a->position,
                                          .last = a->position,
                                          .name = "partial results"});
}

/* Binds a kernel's buffers; packed[i] stands for TN_BIND_PACK + i. */
static tn_prog_step kernel_step(scope *s, tn_loop *k, const uint32_t *packed) {
    assembler *a = s->a;
    tn_prog_step step = {.kind = TN_STEP_KERNEL, .kernel = add_kernel(a, k)};
    step.buffers = TN_NEW_N(a->arena, uint32_t, k->buffers.len);
    step.bytes = 0;
    for (uint32_t i = 0; i < k->buffers.len; i++) {
        const tn_lbuffer *b = &k->buffers.data[i];
        if (b->kind == TN_LBUF_SCRATCH) continue;
        uint32_t buffer = b->kind == TN_LBUF_WORK       ? work_buffer(a, k, b)
                          : (b->binding & TN_BIND_PACK) ? packed[b->binding & ~TN_BIND_PACK]
                                                        : buffer_of(s, b->binding);
        step.buffers[step.buffer_count++] = buffer;
        step.bytes = tn_dim_add(a->p->dims, step.bytes, buffer_bytes(a, buffer));
    }
    step.scalar_count = k->scalars.len;
    step.scalars = TN_NEW_N(a->arena, tn_dim, k->scalars.len);
    for (uint32_t i = 0; i < k->scalars.len; i++) step.scalars[i] = k->scalars.data[i].dim;
    return step;
}

static void push_step(scope *s, tn_prog_step step, bool prepare) {
    assembler *a = s->a;
    step.position = a->position;
    for (uint32_t i = 0; i < step.buffer_count; i++) touch(a, step.buffers[i]);
    if (prepare)
        tn_vec_push(a->arena, &a->prepare, step);
    else
        tn_vec_push(a->arena, &a->p->blocks.data[s->block].steps, step);
}

static void copy_step(scope *s, uint32_t from, uint32_t to) {
    tn_prog_step step = {.kind = TN_STEP_COPY, .buffer_count = 2, .name = "copy"};
    step.buffers = TN_NEW_N(s->a->arena, uint32_t, 2);
    step.buffers[0] = from;
    step.buffers[1] = to;
    step.bytes = tn_dim_mul(s->g->dims, buffer_bytes(s->a, from), 2);
    s->a->position++;
    push_step(s, step, false);
}

/* The packed form of a constant operand, shared by all kernels that want the same. */
static uint32_t packed_buffer(scope *s, const tn_pack *pack) {
    assembler *a = s->a;
    tn_prog_buffer b = {.store = TN_STORE_PREPARED,
                        .dtype = pack->dtype,
                        .elements = pack->elements,
                        .in_place_of = UINT32_MAX,
                        .name = "packed weights"};
    uint32_t buffer = add_buffer(a, b), known;
    tn_prog_step step = kernel_step(s, pack->kernel, &buffer);
    step.name = "pack";
    uint32_t *key = TN_NEW_N(a->arena, uint32_t, step.buffer_count + 1);
    key[step.buffer_count] = step.kernel;
    for (uint32_t i = 0; i < step.buffer_count; i++)
        key[i] = step.buffers[i] == buffer ? NO_BUFFER : step.buffers[i];
    size_t key_size = sizeof *key * (step.buffer_count + 1);
    if (tn_map_get(&a->packs, key, key_size, &known)) {
        a->p->buffers.len--; /* the one just made */
        return known;
    }
    tn_map_put(&a->packs, key, key_size, buffer);
    push_step(s, step, true);
    return buffer;
}

/* ---- words for people ----------------------------------------------------------------------- */

static const char *node_label(const scope *s, tn_node n) {
    const tn_node_info *info = tn_graph_node(s->g, n);
    const char *op = tn_op_info_of(info->op)->name;
    return info->name ? tn_arena_printf(s->a->arena, "%s (%s)", op, info->name) : op;
}

static const char *step_name(const scope *s, const tn_group *g) {
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(s->a->arena));
    uint32_t first = g->attention ? 1 + g->attention->inner.len : 0; /* the epilogue */
    if (g->attention) tn_str_append(&text, first < g->members.len ? "attention+" : "attention");
    for (uint32_t i = first; i < g->members.len; i++) {
        if (i == first + 4) {
            tn_str_appendf(&text, "+%u more", g->members.len - i);
            break;
        }
        tn_op op = tn_graph_node(s->g, g->members.data[i].node)->op;
        tn_str_appendf(&text, "%s%s", i > first ? "+" : "", tn_op_info_of(op)->name);
    }
    const char *name = tn_arena_strdup(s->a->arena, tn_str_text(&text));
    tn_str_deinit(&text);
    return name;
}

static void list_inlined(const scope *s, const tn_group *g, tn_node n, uint8_t *seen, tn_str *out,
                         tn_str *again) {
    const tn_node_info *info = tn_graph_node(s->g, n);
    for (uint32_t i = 0; i < info->in_count; i++) {
        tn_node from = tn_graph_value(s->g, info->in[i])->node;
        if (!s->groups->inlined[from] || seen[from] || tn_group_is_domain(g, info->in[i])) continue;
        seen[from] = true;
        list_inlined(s, g, from, seen, out, again);
        tn_str_appendf(out, "%s%s", out->len ? ", " : "", node_label(s, from));
        if (s->groups->use_count[info->in[i]] > 1)
            tn_str_appendf(again, "%s%s", again->len ? ", " : "", node_label(s, from));
    }
}

static void list_prologue(scope *s, const tn_group *g, uint8_t *seen, tn_str *out, tn_str *again) {
    const tn_group *rows = &s->groups->groups.data[g->prologue];
    for (uint32_t i = 0; i < rows->members.len; i++) {
        tn_node n = rows->members.data[i].node;
        list_inlined(s, rows, n, seen, out, again);
        tn_str_appendf(out, "%s%s", out->len ? ", " : "", node_label(s, n));
    }
}

static const char *take_text(assembler *a, tn_str *text) {
    const char *kept = tn_arena_strdup(a->arena, tn_str_text(text));
    tn_str_deinit(text);
    return kept;
}

static void describe_group(scope *s, const tn_group *g, const tn_schedule *schedule, bool tuned,
                           tn_dim bytes) {
    assembler *a = s->a;
    tn_str anchors, mainloop, epilogue, stores, again, record;
    tn_str_init_with(&anchors, tn_arena_allocator(a->arena));
    tn_str_init_with(&mainloop, tn_arena_allocator(a->arena));
    tn_str_init_with(&epilogue, tn_arena_allocator(a->arena));
    tn_str_init_with(&stores, tn_arena_allocator(a->arena));
    tn_str_init_with(&again, tn_arena_allocator(a->arena));
    tn_str_init_with(&record, tn_arena_allocator(a->arena));
    uint8_t *seen = TN_NEW_N(a->arena, uint8_t, s->g->nodes.len);
    if (g->prologue != TN_NO_GROUP) list_prologue(s, g, seen, &mainloop, &again);
    for (uint32_t i = 0; i < g->members.len; i++) {
        tn_node n = g->members.data[i].node;
        tn_lower_kind kind = tn_op_rules_of(tn_graph_node(s->g, n)->op)->lower.kind;
        bool anchor = kind != TN_LOWER_EXPRESSION;
        tn_str *to = anchor ? &anchors : &epilogue;
        list_inlined(s, g, n, seen, anchor ? &mainloop : &epilogue, &again);
        tn_str_appendf(to, "%s%s", to->len ? ", " : "", node_label(s, n));
    }
    for (uint32_t i = 0; i < g->stores.len; i++) {
        tn_str_appendf(&stores, "%s%%%u ", stores.len ? ", " : "", g->stores.data[i]);
        tn_type_print(s->g->dims, tn_graph_type(s->g, g->stores.data[i]), &stores);
    }
    tn_schedule_print(schedule, g->kind, &record);
    if (tuned) tn_str_append(&record, " tuned");
    tn_prog_group info = {.step_position = a->position, .bytes = bytes};
    info.anchors = take_text(a, &anchors);
    info.mainloop = take_text(a, &mainloop);
    info.epilogue = take_text(a, &epilogue);
    info.stores = take_text(a, &stores);
    info.recomputes = take_text(a, &again);
    info.schedule = take_text(a, &record);
    tn_vec_push(a->arena, &a->p->groups, info);
}

/* ---- groups --------------------------------------------------------------------------------- */

/* Of a contraction or window fold. */
static tn_dim anchor_flops(const scope *s, tn_node anchor) {
    tn_dims *dims = s->g->dims;
    const tn_node_info *n = tn_graph_node(s->g, anchor);
    const tn_lower *l = &tn_op_rules_of(n->op)->lower;
    tn_dim work = tn_dim_const(dims, 2);
    if (l->kind == TN_LOWER_CONTRACTION) {
        tn_contraction c;
        l->contraction->describe(s->g, n, &c);
        for (int i = 0; i < c.k; i++) work = tn_dim_mul(dims, work, c.k_extent[i]);
    } else if (l->kind == TN_LOWER_FOLD) {
        tn_fold f;
        l->fold->describe(s->g, n, &f);
        for (int i = 0; i < f.axes; i++) work = tn_dim_mul(dims, work, f.extent[i]);
    }
    const tn_shape *result = &tn_graph_type(s->g, n->out)->shape;
    return tn_dim_mul(dims, work, tn_shape_count(dims, result));
}

static tn_dim group_flops(const scope *s, const tn_group *g) {
    tn_dims *dims = s->g->dims;
    const tn_attention_parts *x = g->attention;
    uint32_t inner = x ? x->inner.len : 0;
    tn_dim flops = tn_dim_mul(dims, tn_shape_count(dims, &g->space.shape),
                              tn_dim_const(dims, (int64_t)(g->members.len - inner)));
    for (uint32_t i = 0; g->anchor != TN_NO_NODE && i < tn_group_anchors(g); i++)
        flops = tn_dim_add(dims, flops, anchor_flops(s, tn_group_anchor(g, i).node));
    if (g->prologue != TN_NO_GROUP)
        flops = tn_dim_add(dims, flops, group_flops(s, &s->groups->groups.data[g->prologue]));
    if (!x) return flops;
    flops = tn_dim_add(dims, flops, anchor_flops(s, x->score));
    const tn_shape *scores = &tn_graph_type(s->g, x->scores)->shape;
    return tn_dim_add(
        dims, flops,
        tn_dim_mul(dims, tn_shape_count(dims, scores), tn_dim_const(dims, (int64_t)inner)));
}

/* Finds the values that steps outside of `prepare` may read: through nodes that are inlined, too. */
static void find_outside(scope *s) {
    const tn_graph *g = s->g;
    s->outside = TN_NEW_N(s->a->arena, bool, g->values.len);
    for (uint32_t i = 0; i < g->outputs.len; i++) s->outside[g->outputs.data[i].value] = true;
    for (tn_node n = g->nodes.len; n-- > 0;) {
        const tn_node_info *info = tn_graph_node(g, n);
        bool reads = !s->groups->constant[n];
        for (uint32_t i = 0; i < info->out_count; i++) {
            tn_value v = info->out + i, storage = tn_group_storage(s->groups, v);
            reads |= s->groups->inlined[n] && s->outside[v];
            s->outside[storage] |= s->outside[v];
        }
        for (uint32_t i = 0; i < info->in_count; i++) s->outside[info->in[i]] |= reads;
    }
}

static tn_status assemble_control(scope *s, const tn_group *g, tn_error *err);

static void note_reuse(scope *s, const tn_group *g, const tn_lowered *l) {
    if (g->stores.len != 1) return;
    uint32_t to = s->buffer[tn_group_storage(s->groups, g->stores.data[0])];
    for (uint32_t i = 0; i < l->in_place_count; i++)
        tn_vec_push(s->a->arena, &s->a->reuses, ((reuse){to, buffer_of(s, l->in_place[i])}));
}

/* Lowers the group anew by the record that is known for its kernel; false: there is none that fits. */
static bool apply_record(scope *s, tn_lower_context *context, uint32_t id, tn_lowered *l) {
    assembler *a = s->a;
    const tn_group *g = &s->groups->groups.data[id];
    if (!a->records || g->constant) return false;
    tn_kernel_site site = {.name = step_name(s, g), .context = context, .group = id, .lowered = l};
    site.position = a->position + l->pack_count;
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(a->arena));
    tn_loop_print(l->kernel, true, &text);
    tn_sha256_hex(text.data, text.len, site.key);
    tn_str_deinit(&text);
    tn_schedule record = l->schedule;
    if (!a->records->find(a->records->context, &site, &record)) return false;
    tn_lowered other;
    context->record = &record;
    if (tn_lower_group(context, id, &other, NULL) != TN_OK ||
        tn_schedule_same(&other.schedule, &l->schedule))
        return false;
    *l = other;
    return true;
}

static tn_status assemble_group(scope *s, uint32_t id, tn_error *err) {
    assembler *a = s->a;
    const tn_group *g = &s->groups->groups.data[id];
    a->position++;
    if (g->kind == TN_GROUP_CONTROL) return assemble_control(s, g, err);
    tn_lower_context context = {
        .grouping = s->groups, .target = a->target, .arena = a->arena, .error_base = s->error_base};
    tn_lowered l;
    TN_TRY(err, tn_lower_group(&context, id, &l, err), "while lowering %s", step_name(s, g));
    bool tuned = apply_record(s, &context, id, &l);
    uint32_t packed[TN_MOST_PACKS];
    for (uint32_t i = 0; i < g->stores.len; i++) {
        tn_value v = tn_group_storage(s->groups, g->stores.data[i]);
        if (s->buffer[v] != NO_BUFFER) continue; /* an output */
        s->buffer[v] = add_temp(s, v);
        if (g->constant && s->outside[v])
            a->p->buffers.data[s->buffer[v]].store = TN_STORE_PREPARED;
    }
    if (!g->constant) note_reuse(s, g, &l);
    for (uint32_t i = 0; i < l.pack_count; i++, a->position++)
        packed[i] = packed_buffer(s, &l.packs[i]);
    tn_prog_step step = kernel_step(s, l.kernel, packed);
    step.name = step_name(s, g);
    step.flops = group_flops(s, g);
    if (!g->constant) describe_group(s, g, &l.schedule, tuned, step.bytes);
    push_step(s, step, g->constant);
    return TN_OK;
}

/* ---- graphs --------------------------------------------------------------------------------- */

static uint32_t new_block(assembler *a) {
    tn_vec_push(a->arena, &a->p->blocks, (tn_prog_block){0});
    return a->p->blocks.len - 1;
}

static void add_errors(assembler *a, const tn_graph *g) {
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        const char *text = tn_op_info_of(info->op)->name;
        if (info->op == TN_OP_gather || info->op == TN_OP_scatter)
            text = tn_arena_printf(a->arena, "node '%s' (%s): an index is out of range",
                                   info->name ? info->name : "?", text);
        tn_vec_push(a->arena, &a->p->errors, text);
    }
}

static void note_plan(assembler *a, const tn_grouping *groups) {
    a->p->plan = (tn_prog_plan){.ns = (uint64_t)(groups->seconds * 1e9),
                                .least_ns = (uint64_t)(groups->least_seconds * 1e9),
                                .tried = groups->tried,
                                .all_tried = groups->all_tried};
}

/* Assembles `g` into `block`. inputs[i]: the buffer of input i; outputs[i]: the buffer that output
 * i must end up in. */
static tn_status assemble_graph(assembler *a, const tn_graph *g, uint32_t block,
                                const uint32_t *inputs, const uint32_t *outputs, tn_error *err) {
    scope s = {.a = a, .g = g, .block = block};
    s.groups = tn_group_graph(g, a->fuse, &a->costs, a->arena);
    if (a->groups_text) tn_grouping_print(s.groups, a->groups_text);
    if (block == TN_BLOCK_MAIN) note_plan(a, s.groups);
    find_outside(&s);
    s.error_base = 1 + a->p->errors.len;
    add_errors(a, g);
    s.buffer = TN_NEW_N(a->arena, uint32_t, g->values.len);
    memset(s.buffer, 0xff, g->values.len * sizeof *s.buffer);
    for (uint32_t i = 0; i < g->inputs.len; i++) s.buffer[g->inputs.data[i]] = inputs[i];
    bool *direct = TN_NEW_N(a->arena, bool, g->outputs.len);
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        tn_value v = tn_group_storage(s.groups, g->outputs.data[i].value);
        tn_node n = tn_graph_value(g, v)->node;
        bool made_here = tn_op_rules_of(g->nodes.data[n].op)->lower.kind != TN_LOWER_SOURCE;
        if (!made_here || s.groups->constant[n] || s.buffer[v] != NO_BUFFER) continue;
        s.buffer[v] = outputs[i];
        direct[i] = true;
    }
    for (uint32_t i = 0; i < s.groups->order.len; i++)
        TN_CHECK(assemble_group(&s, s.groups->order.data[i], err));
    for (uint32_t i = 0; i < g->outputs.len; i++)
        if (!direct[i]) copy_step(&s, buffer_of(&s, g->outputs.data[i].value), outputs[i]);
    return TN_OK;
}

/* ---- control -------------------------------------------------------------------------------- */

static uint32_t alias_of(scope *s, const tn_graph *body, tn_value v) {
    const tn_value_info *info = tn_graph_value(body, v);
    return add_buffer(s->a,
                      (tn_prog_buffer){.store = TN_STORE_ALIAS,
                                       .dtype = info->type.dtype,
                                       .elements = tn_shape_count(s->g->dims, &info->type.shape),
                                       .in_place_of = UINT32_MAX,
                                       .name = info->name});
}

static tn_status assemble_if(scope *s, const tn_node_info *n, const uint32_t *operands,
                             const uint32_t *results, tn_prog_step *step, tn_error *err) {
    const tn_attrs_if *at = n->attrs;
    step->kind = TN_STEP_IF;
    step->buffers = TN_NEW_N(s->a->arena, uint32_t, 1);
    step->buffers[0] = operands[0];
    step->buffer_count = 1;
    for (int i = 0; i < 2; i++) {
        step->blocks[i] = new_block(s->a);
        TN_CHECK(assemble_graph(s->a, i ? at->else_graph : at->then_graph, step->blocks[i],
                                operands + 1, results, err));
    }
    return TN_OK;
}

static uint32_t *copy_ids(assembler *a, const uint32_t *ids, uint32_t n) {
    return tn_arena_dup(a->arena, ids, n * sizeof *ids);
}

static void add_spares(scope *s, const tn_node_info *n, tn_prog_loop *loop) {
    loop->spare = TN_NEW_N(s->a->arena, uint32_t, 2 * loop->states);
    for (uint32_t i = 0; i < 2 * loop->states; i++) loop->spare[i] = add_temp(s, n->in[i / 2]);
}

static tn_status assemble_while(scope *s, const tn_node_info *n, const uint32_t *operands,
                                const uint32_t *results, tn_prog_step *step, tn_error *err) {
    assembler *a = s->a;
    const tn_attrs_while *at = n->attrs;
    tn_prog_loop *loop = TN_NEW(a->arena, tn_prog_loop);
    step->kind = TN_STEP_WHILE;
    step->loop = loop;
    loop->states = (uint32_t)at->states;
    loop->initial = copy_ids(a, operands, loop->states);
    loop->result = copy_ids(a, results, loop->states);
    loop->in = TN_NEW_N(a->arena, uint32_t, loop->states);
    loop->out = TN_NEW_N(a->arena, uint32_t, loop->states);
    add_spares(s, n, loop);
    uint32_t *inputs = copy_ids(a, operands, n->in_count);
    for (uint32_t i = 0; i < loop->states; i++) {
        inputs[i] = loop->in[i] = alias_of(s, at->body, at->body->inputs.data[i]);
        loop->out[i] = alias_of(s, at->body, at->body->outputs.data[i].value);
    }
    loop->flag = add_buffer(a, (tn_prog_buffer){.store = TN_STORE_TEMP,
                                                .dtype = TN_bool,
                                                .elements = 1,
                                                .in_place_of = UINT32_MAX,
                                                .first = a->position,
                                                .last = a->position});
    step->blocks[0] = new_block(a);
    TN_CHECK(assemble_graph(a, at->cond, step->blocks[0], inputs, &loop->flag, err));
    step->blocks[1] = new_block(a);
    return assemble_graph(a, at->body, step->blocks[1], inputs, loop->out, err);
}

static tn_status assemble_scan(scope *s, const tn_node_info *n, const uint32_t *operands,
                               const uint32_t *results, tn_prog_step *step, tn_error *err) {
    assembler *a = s->a;
    const tn_attrs_scan *at = n->attrs;
    tn_prog_loop *loop = TN_NEW(a->arena, tn_prog_loop);
    step->kind = TN_STEP_SCAN;
    step->loop = loop;
    loop->states = (uint32_t)at->carries;
    loop->xs_count = (uint32_t)at->slices;
    loop->ys_count = n->out_count - loop->states;
    loop->length = at->length;
    loop->reverse = at->reverse;
    loop->initial = copy_ids(a, operands, loop->states);
    loop->result = copy_ids(a, results, loop->states);
    loop->xs = copy_ids(a, operands + loop->states, loop->xs_count);
    loop->ys = copy_ids(a, results + loop->states, loop->ys_count);
    loop->in = TN_NEW_N(a->arena, uint32_t, loop->states);
    loop->out = TN_NEW_N(a->arena, uint32_t, loop->states);
    loop->slice_in = TN_NEW_N(a->arena, uint32_t, loop->xs_count);
    loop->slice_out = TN_NEW_N(a->arena, uint32_t, loop->ys_count);
    add_spares(s, n, loop);
    uint32_t *inputs = copy_ids(a, operands, n->in_count);
    uint32_t *outputs = TN_NEW_N(a->arena, uint32_t, n->out_count);
    const tn_graph *body = at->body;
    for (uint32_t i = 0; i < loop->states; i++) {
        inputs[i] = loop->in[i] = alias_of(s, body, body->inputs.data[i]);
        outputs[i] = loop->out[i] = alias_of(s, body, body->outputs.data[i].value);
    }
    for (uint32_t i = 0; i < loop->xs_count; i++)
        inputs[loop->states + i] = loop->slice_in[i] =
            alias_of(s, body, body->inputs.data[loop->states + i]);
    for (uint32_t i = 0; i < loop->ys_count; i++)
        outputs[loop->states + i] = loop->slice_out[i] =
            alias_of(s, body, body->outputs.data[loop->states + i].value);
    step->blocks[0] = new_block(a);
    return assemble_graph(a, body, step->blocks[0], inputs, outputs, err);
}

static void touch_loop(assembler *a, const tn_prog_loop *loop) {
    for (uint32_t i = 0; i < loop->states; i++) {
        touch(a, loop->initial[i]);
        touch(a, loop->result[i]);
        touch(a, loop->spare[2 * i]);
        touch(a, loop->spare[2 * i + 1]);
    }
    for (uint32_t i = 0; i < loop->xs_count; i++) touch(a, loop->xs[i]);
    for (uint32_t i = 0; i < loop->ys_count; i++) touch(a, loop->ys[i]);
}

static tn_status assemble_control(scope *s, const tn_group *g, tn_error *err) {
    assembler *a = s->a;
    const tn_node_info *n = tn_graph_node(s->g, g->anchor);
    uint32_t *operands = TN_NEW_N(a->arena, uint32_t, n->in_count);
    uint32_t *results = TN_NEW_N(a->arena, uint32_t, n->out_count);
    for (uint32_t i = 0; i < n->in_count; i++) operands[i] = buffer_of(s, n->in[i]);
    for (uint32_t i = 0; i < n->out_count; i++) {
        if (s->buffer[n->out + i] == NO_BUFFER) s->buffer[n->out + i] = add_temp(s, n->out + i);
        results[i] = s->buffer[n->out + i];
    }
    tn_prog_step step = {.position = a->position, .name = tn_op_info_of(n->op)->name};
    switch (n->op) {
    case TN_OP_if:
        TN_CHECK(assemble_if(s, n, operands, results, &step, err));
        break;
    case TN_OP_while:
        TN_CHECK(assemble_while(s, n, operands, results, &step, err));
        break;
    case TN_OP_scan:
        TN_CHECK(assemble_scan(s, n, operands, results, &step, err));
        break;
    default: {
        const tn_attrs_call *at = n->attrs;
        TN_CHECK(assemble_graph(a, at->body, s->block, operands, results, err));
        break;
    }
    }
    a->position++; /* the end of the construct: operands live until here */
    for (uint32_t i = 0; i < n->in_count; i++) touch(a, operands[i]);
    for (uint32_t i = 0; i < n->out_count; i++) touch(a, results[i]);
    if (step.loop) {
        touch_loop(a, step.loop);
        if (n->op == TN_OP_while) touch(a, step.loop->flag);
    }
    if (n->op != TN_OP_call) tn_vec_push(a->arena, &a->p->blocks.data[s->block].steps, step);
    return TN_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* Once all live ranges are known; what is taken already stays with the first that took it. */
static void choose_reuses(assembler *a) {
    bool *taken = TN_NEW_N(a->arena, bool, a->p->buffers.len);
    for (uint32_t i = 0; i < a->reuses.len; i++) {
        uint32_t from = a->reuses.data[i].from;
        tn_prog_buffer *to = &a->p->buffers.data[a->reuses.data[i].buffer];
        const tn_prog_buffer *f = &a->p->buffers.data[from];
        if (to->store != TN_STORE_TEMP || f->store != TN_STORE_TEMP) continue;
        if (taken[from] || to->in_place_of != UINT32_MAX || f->last != to->first) continue;
        to->in_place_of = from;
        taken[from] = true;
    }
}

static void place_prepared(assembler *a) {
    tn_program *p = a->p;
    for (uint32_t i = 0; i < p->buffers.len; i++) {
        tn_prog_buffer *b = &p->buffers.data[i];
        if (b->store != TN_STORE_PREPARED) continue;
        b->offset = p->prepared_bytes;
        uint64_t bytes = (uint64_t)b->elements * tn_dtype_size(b->dtype);
        p->prepared_bytes += (bytes + 63) / 64 * 64;
    }
}

tn_status tn_assemble(const tn_graph *g, const tn_plan_options *options, tn_arena *arena,
                      tn_program *out, tn_str *groups_text, tn_error *err) {
    tn_program_init(out, arena, g->dims);
    out->target = options->target->name;
    assembler a = {.p = out,
                   .arena = arena,
                   .target = options->target,
                   .costs = options->costs ? *options->costs : tn_costs_default(),
                   .fuse = !options->no_opt,
                   .records = options->records,
                   .groups_text = groups_text};
    tn_map_init(&a.kernels, arena);
    tn_map_init(&a.packs, arena);
    for (uint32_t i = 0; i < g->sources.len; i++) {
        const tn_graph_source *s = &g->sources.data[i];
        tn_vec_push(arena, &out->sources,
                    (tn_prog_source){.path = s->path,
                                     .device = s->device,
                                     .inode = s->inode,
                                     .size = s->size,
                                     .mtime_ns = s->mtime_ns});
    }
    scope ports = {.a = &a, .g = g};
    uint32_t *inputs = TN_NEW_N(arena, uint32_t, g->inputs.len);
    uint32_t *outputs = TN_NEW_N(arena, uint32_t, g->outputs.len);
    for (uint32_t i = 0; i < g->inputs.len; i++) {
        tn_value v = g->inputs.data[i];
        tn_prog_buffer b = buffer_of_type(&ports, v, TN_STORE_INPUT);
        b.index = i;
        inputs[i] = add_buffer(&a, b);
        tn_prog_port port = {tn_graph_value(g, v)->name, *tn_graph_type(g, v), inputs[i]};
        tn_vec_push(arena, &out->inputs, port);
    }
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        tn_value v = g->outputs.data[i].value;
        tn_prog_buffer b = buffer_of_type(&ports, v, TN_STORE_OUTPUT);
        b.index = i;
        b.name = g->outputs.data[i].name;
        outputs[i] = add_buffer(&a, b);
        tn_prog_port port = {g->outputs.data[i].name, *tn_graph_type(g, v), outputs[i]};
        tn_vec_push(arena, &out->outputs, port);
    }
    TN_CHECK(assemble_graph(&a, g, TN_BLOCK_MAIN, inputs, outputs, err));
    for (uint32_t i = 0; i < a.prepare.len; i++)
        tn_vec_push(arena, &out->blocks.data[TN_BLOCK_PREPARE].steps, a.prepare.data[i]);
    place_prepared(&a);
    choose_reuses(&a);
    return tn_program_verify(out, err);
}
