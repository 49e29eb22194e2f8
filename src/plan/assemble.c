/* Building the program. See assemble.h. */
#include "plan/assemble.h"

#include "plan/assemble_inner.h"

/* Finds the values that steps outside of `prepare` may read: through nodes that are inlined, too. */
static void find_outside(tn__scope *s) {
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

static void note_reuse(tn__scope *s, const tn_group *g, const tn_lowered *l) {
    for (uint32_t i = 0; i < l->taken.len; i++)
        tn_vec_push(s->a->arena, &s->a->taken,
                    ((tn__reuse){s->buffer[l->taken.data[i].to],
                                 tn__assemble_buffer_of(s, l->taken.data[i].from)}));
    if (g->stores.len != 1 || g->scalars.len) return;
    uint32_t to = s->buffer[tn_group_storage(s->groups, g->stores.data[0])];
    for (uint32_t i = 0; i < l->in_place_count; i++)
        tn_vec_push(s->a->arena, &s->a->reuses,
                    ((tn__reuse){to, tn__assemble_buffer_of(s, l->in_place[i])}));
}

/* Lowers the group anew by the record that is known for its kernel; false: there is none that fits. */
static bool apply_record(tn__scope *s, tn_lower_context *context, uint32_t id, tn_lowered *l) {
    tn__assembler *a = s->a;
    const tn_group *g = &s->groups->groups.data[id];
    if (!a->records || g->constant) return false;
    tn_kernel_site site = {
        .name = tn__assemble_step_name(s, g), .context = context, .group = id, .lowered = l};
    site.position = a->position + l->pack_count * tn__assemble_pack_positions(s);
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

static tn_status assemble_group(tn__scope *s, uint32_t id, tn_error *err) {
    tn__assembler *a = s->a;
    const tn_group *g = &s->groups->groups.data[id];
    a->position++;
    if (g->kind == TN_GROUP_CONTROL) return tn__assemble_control(s, g, err);
    tn_lower_context context = {
        .grouping = s->groups, .target = a->target, .arena = a->arena, .error_base = s->error_base};
    tn_lowered l;
    TN_TRY(err, tn_lower_group(&context, id, &l, err), "while lowering %s",
           tn__assemble_step_name(s, g));
    bool tuned = apply_record(s, &context, id, &l);
    uint32_t packed[TN_MOST_PACKS];
    for (uint32_t i = 0; i < tn_group_results(g); i++) {
        tn_value v = tn_group_storage(s->groups, tn_group_result(g, i));
        if (s->buffer[v] != NO_BUFFER) continue; /* an output */
        s->buffer[v] = tn__assemble_temp(s, v);
        if (g->constant && s->outside[v])
            a->p->buffers.data[s->buffer[v]].store = TN_STORE_PREPARED;
    }
    if (!g->constant) note_reuse(s, g, &l);
    for (uint32_t i = 0; i < l.pack_count; i++, a->position += tn__assemble_pack_positions(s))
        packed[i] = tn__assemble_packed(s, g, &l.packs[i]);
    tn_prog_step step = tn__assemble_kernel_step(s, l.kernel, packed);
    step.name = tn__assemble_step_name(s, g);
    step.flops = tn__assemble_flops(s, g);
    if (!g->constant) tn__assemble_describe(s, g, &l.schedule, tuned, step.bytes);
    tn__assemble_push(s, step, g->constant);
    return TN_OK;
}

static void add_errors(tn__assembler *a, const tn_graph *g) {
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        const char *text = tn_op_info_of(info->op)->name;
        if (info->op == TN_OP_gather || info->op == TN_OP_scatter)
            text = tn_arena_printf(a->arena, "node '%s' (%s): an index is out of range",
                                   info->name ? info->name : "?", text);
        tn_vec_push(a->arena, &a->p->errors, text);
    }
}

static uint64_t nanoseconds(double seconds) {
    return (uint64_t)TN_MIN(seconds * 1e9, 1e18);
}

static void note_plan(tn__assembler *a, const tn_grouping *groups) {
    a->p->plan = (tn_prog_plan){.ns = nanoseconds(groups->seconds),
                                .least_ns = nanoseconds(groups->least_seconds),
                                .tried = groups->tried,
                                .all_tried = groups->all_tried};
}

tn_status tn__assemble_graph(tn__assembler *a, const tn_graph *g, uint32_t block,
                             const uint32_t *inputs, const uint32_t *outputs, tn__before *before,
                             tn_error *err) {
    tn__scope s = {.a = a, .g = g, .block = block, .before = before};
    const tn_loop_inputs *loop = before ? &before->inputs : NULL;
    s.groups = tn_group_body(g, loop, a->fuse, &a->costs, a->arena);
    if (a->groups_text) tn_grouping_print(s.groups, a->groups_text);
    if (block == TN_BLOCK_MAIN) note_plan(a, s.groups);
    tn__assemble_demands(a, g, block);
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
    tn__assemble_results(&s, direct, outputs);
    return TN_OK;
}

/* Once all live ranges are known; what is taken already stays with the first that took it. */
static void choose_reuses(tn__assembler *a) {
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

static tn_status place_prepared(tn__assembler *a, tn_error *err) {
    tn_program *p = a->p;
    for (uint32_t i = 0; i < p->buffers.len; i++) {
        tn_prog_buffer *b = &p->buffers.data[i];
        if (b->store != TN_STORE_PREPARED) continue;
        b->offset = p->prepared_bytes;
        size_t bytes, end;
        if (!tn_size_mul((size_t)b->elements, tn_dtype_size(b->dtype), &bytes) ||
            !tn_size_add(bytes, 63, &bytes) ||
            !tn_size_add(p->prepared_bytes, bytes & ~(size_t)63, &end) || end > INT64_MAX)
            return tn_error_set(err, TN_OUT_OF_MEMORY, "value '%s' is too large: %lld elements",
                                b->name ? b->name : "unnamed", (long long)b->elements);
        p->prepared_bytes = end;
    }
    return TN_OK;
}

/* Of input or output number `port`, outputs behind inputs. */
static tn_type port_type(const tn_graph *g, uint32_t port, tn_value v) {
    tn_type t = *tn_graph_type(g, v);
    if (g->unit_fronts && g->unit_fronts[port]) t.shape = tn_shape_with_front(&t.shape, 1);
    return t;
}

tn_status tn_assemble(const tn_graph *g, const tn_plan_options *options, tn_arena *arena,
                      tn_program *out, tn_str *groups_text, tn_error *err) {
    tn_program_init(out, arena, g->dims);
    out->target = options->target->name;
    tn__assembler a = {.p = out,
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
    tn__scope ports = {.a = &a, .g = g};
    uint32_t *inputs = TN_NEW_N(arena, uint32_t, g->inputs.len);
    uint32_t *outputs = TN_NEW_N(arena, uint32_t, g->outputs.len);
    for (uint32_t i = 0; i < g->inputs.len; i++) {
        tn_value v = g->inputs.data[i];
        tn_prog_buffer b = tn__assemble_buffer_of_type(&ports, v, TN_STORE_INPUT);
        b.index = i;
        inputs[i] = tn__assemble_buffer(&a, b);
        tn_prog_port port = {tn_graph_value(g, v)->name, port_type(g, i, v), inputs[i]};
        tn_vec_push(arena, &out->inputs, port);
    }
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        tn_value v = g->outputs.data[i].value;
        tn_prog_buffer b = tn__assemble_buffer_of_type(&ports, v, TN_STORE_OUTPUT);
        b.index = i;
        b.name = g->outputs.data[i].name;
        if (g->outputs.data[i].in_place) b.in_place_of = inputs[g->outputs.data[i].in_place - 1];
        outputs[i] = tn__assemble_buffer(&a, b);
        tn_prog_port port = {g->outputs.data[i].name, port_type(g, g->inputs.len + i, v),
                             outputs[i]};
        tn_vec_push(arena, &out->outputs, port);
    }
    TN_CHECK(tn__assemble_graph(&a, g, TN_BLOCK_MAIN, inputs, outputs, NULL, err));
    for (uint32_t i = 0; i < a.prepare.len; i++)
        tn_vec_push(arena, &out->blocks.data[TN_BLOCK_PREPARE].steps, a.prepare.data[i]);
    TN_CHECK(place_prepared(&a, err));
    choose_reuses(&a);
    return tn_program_verify(out, err);
}
