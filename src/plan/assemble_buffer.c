/* Buffers of a program, the kernels that steps run, and packed weights. See assemble_inner.h. */
#include "plan/assemble_inner.h"

uint32_t tn__assemble_buffer(tn__assembler *a, tn_prog_buffer b) {
    tn_vec_push(a->arena, &a->p->buffers, b);
    return a->p->buffers.len - 1;
}

tn_prog_buffer tn__assemble_buffer_of_type(const tn__scope *s, tn_value v, tn_store store) {
    const tn_value_info *info = tn_graph_value(s->g, v);
    return (tn_prog_buffer){.store = store,
                            .dtype = info->type.dtype,
                            .elements = tn_shape_count(s->g->dims, &info->type.shape),
                            .in_place_of = UINT32_MAX,
                            .name = info->name};
}

uint32_t tn__assemble_temp(tn__scope *s, tn_value v) {
    tn_prog_buffer b = tn__assemble_buffer_of_type(s, v, TN_STORE_TEMP);
    b.first = b.last = s->a->position;
    return tn__assemble_buffer(s->a, b);
}

void tn__assemble_touch(tn__assembler *a, uint32_t buffer) {
    tn_prog_buffer *b = &a->p->buffers.data[buffer];
    b->last = TN_MAX(b->last, a->position);
}

void tn__assemble_touch_result(tn__assembler *a, uint32_t buffer) {
    tn_prog_buffer *b = &a->p->buffers.data[buffer];
    if (b->store == TN_STORE_OUTPUT && b->first == 0) b->first = a->position;
    tn__assemble_touch(a, buffer);
}

static uint32_t weight_buffer(tn__scope *s, tn_value v) {
    tn__assembler *a = s->a;
    const tn_attrs_constant *c = tn_graph_producer(s->g, v)->attrs;
    tn_prog_buffer b = tn__assemble_buffer_of_type(s, v, TN_STORE_WEIGHT);
    if (c->data.source) { /* a file of the graph: sources of graph and program run in parallel */
        b.index = c->data.source - 1;
        b.offset = c->data.offset;
    } else {
        tn_prog_source inline_bytes = {.size = c->data.size, .data = c->data.bytes};
        tn_vec_push(a->arena, &a->p->sources, inline_bytes);
        b.index = a->p->sources.len - 1;
    }
    return tn__assemble_buffer(a, b);
}

uint32_t tn__assemble_buffer_of(tn__scope *s, tn_value v) {
    v = tn_group_storage(s->groups, v);
    if (s->buffer[v] == NO_BUFFER) {
        TN_ASSERT(tn_graph_producer(s->g, v)->op == TN_OP_constant);
        s->buffer[v] = weight_buffer(s, v);
    }
    return s->buffer[v];
}

static uint32_t add_kernel(tn__assembler *a, tn_loop *k) {
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

static tn_dim buffer_bytes(const tn__assembler *a, uint32_t buffer) {
    const tn_prog_buffer *b = &a->p->buffers.data[buffer];
    tn_dims *dims = a->p->dims;
    return tn_dim_mul(dims, b->elements, tn_dim_const(dims, (int64_t)tn_dtype_size(b->dtype)));
}

/* A size expression over a kernel's parameters. */
static tn_dim size_of(const tn__assembler *a, const tn_loop *k, tn_lx e) {
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
static uint32_t work_buffer(tn__assembler *a, const tn_loop *k, const tn_lbuffer *b) {
    return tn__assemble_buffer(a, (tn_prog_buffer){.store = TN_STORE_TEMP,
                                                   .dtype = b->dtype,
                                                   .elements = size_of(a, k, b->size),
                                                   .in_place_of = UINT32_MAX,
                                                   .first = a->position,
                                                   .last = a->position,
                                                   .name = "partial results"});
}

tn_prog_step tn__assemble_kernel_step(tn__scope *s, tn_loop *k, const uint32_t *packed) {
    tn__assembler *a = s->a;
    tn_prog_step step = {.kind = TN_STEP_KERNEL, .kernel = add_kernel(a, k)};
    step.buffers = TN_NEW_N(a->arena, uint32_t, k->buffers.len);
    step.bytes = 0;
    for (uint32_t i = 0; i < k->buffers.len; i++) {
        const tn_lbuffer *b = &k->buffers.data[i];
        if (b->kind == TN_LBUF_SCRATCH) continue;
        uint32_t buffer = b->kind == TN_LBUF_WORK       ? work_buffer(a, k, b)
                          : (b->binding & TN_BIND_PACK) ? packed[b->binding & ~TN_BIND_PACK]
                                                        : tn__assemble_buffer_of(s, b->binding);
        step.buffers[step.buffer_count++] = buffer;
        step.bytes = tn_dim_add(a->p->dims, step.bytes, buffer_bytes(a, buffer));
    }
    step.scalar_count = k->scalars.len;
    step.scalars = TN_NEW_N(a->arena, tn_dim, k->scalars.len);
    for (uint32_t i = 0; i < k->scalars.len; i++) step.scalars[i] = k->scalars.data[i].dim;
    return step;
}

static void touch_results(tn__assembler *a, const tn_prog_step *step) {
    if (step->kind == TN_STEP_COPY) tn__assemble_touch_result(a, step->buffers[1]);
    if (step->kind != TN_STEP_KERNEL) return;
    const tn_loop *k = a->p->kernels.data[step->kernel];
    for (uint32_t i = 0, slot = 0; i < k->buffers.len; i++) {
        if (k->buffers.data[i].kind == TN_LBUF_SCRATCH) continue;
        if (k->buffers.data[i].kind == TN_LBUF_OUTPUT)
            tn__assemble_touch_result(a, step->buffers[slot]);
        slot++;
    }
}

void tn__assemble_push(tn__scope *s, tn_prog_step step, bool prepare) {
    tn__assembler *a = s->a;
    step.position = a->position;
    for (uint32_t i = 0; i < step.buffer_count; i++) tn__assemble_touch(a, step.buffers[i]);
    touch_results(a, &step);
    if (prepare)
        tn_vec_push(a->arena, &a->prepare, step);
    else
        tn_vec_push(a->arena, &a->p->blocks.data[s->block].steps, step);
}

void tn__assemble_copy(tn__scope *s, uint32_t from, uint32_t to) {
    tn_prog_step step = {.kind = TN_STEP_COPY, .buffer_count = 2, .name = "copy"};
    step.buffers = TN_NEW_N(s->a->arena, uint32_t, 2);
    step.buffers[0] = from;
    step.buffers[1] = to;
    step.bytes = tn_dim_mul(s->g->dims, buffer_bytes(s->a, from), 2);
    s->a->position++;
    tn__assemble_push(s, step, false);
}

/* When a pack is made. */
typedef enum pack_time {
    PACK_ONCE,   /* in `prepare`, which knows no sizes */
    PACK_SLICES, /* there, for all iterations of the loop */
    PACK_BEFORE, /* before the loop */
    PACK_HERE,   /* right before the step that reads it */
} pack_time;

/* When what is made of `from` can be packed, if the rest is ready at `time`. */
static pack_time later(const tn__scope *s, pack_time time, tn_node from) {
    const tn_grouping *p = s->groups;
    pack_time own = p->constant[from]   ? PACK_ONCE
                    : p->prepared[from] ? PACK_SLICES
                    : p->steady[from]   ? PACK_BEFORE
                                        : PACK_HERE;
    if (own == PACK_BEFORE && time == PACK_SLICES) return PACK_HERE;
    if (own == PACK_SLICES && time == PACK_BEFORE) return PACK_HERE;
    return TN_MAX(time, own);
}

static pack_time time_of(const tn__scope *s, const tn_group *g, const tn_loop *k) {
    pack_time time = PACK_ONCE;
    for (uint32_t i = 0; i < tn_group_anchors(g); i++) { /* steady, but perhaps of an open size */
        tn_node n = tn_group_anchor(g, i).node;
        tn_node rhs = tn_graph_value(s->g, tn_graph_node(s->g, n)->in[1])->node;
        if (tn_schedule_prepares_rhs(s->groups, g, n)) time = later(s, time, rhs);
    }
    for (uint32_t i = 0; i < k->buffers.len; i++) {
        const tn_lbuffer *b = &k->buffers.data[i];
        if (b->kind == TN_LBUF_INPUT && !(b->binding & TN_BIND_PACK))
            time = later(s, time, tn_graph_value(s->g, b->binding)->node);
    }
    bool before = s->before && s->before->inputs.invariants != TN_NO_INVARIANTS;
    return time != PACK_BEFORE || before ? time : PACK_HERE;
}

static void describe_pack(tn__assembler *a, const tn_prog_step *step) {
    tn_prog_group info = {.step_position = step->position, .bytes = step->bytes};
    info.anchors = info.mainloop = info.epilogue = info.recomputes = "";
    info.stores = "packed weights";
    info.schedule = "shape=pack";
    tn_vec_push(a->arena, &a->p->groups, info);
}

/* At the present position, or before the loop. */
static void push_pack(tn__scope *s, tn_prog_step step, uint32_t buffer, pack_time time) {
    tn__assembler *a = s->a;
    tn_prog_buffer *b = &a->p->buffers.data[buffer];
    step.position = time == PACK_BEFORE ? s->before->position++ : a->position;
    b->first = b->last = step.position;
    if (time != PACK_ONCE) describe_pack(a, &step);
    if (time == PACK_BEFORE)
        tn_vec_push(a->arena, &a->p->blocks.data[s->before->block].steps, step);
    else
        tn__assemble_push(s, step, time == PACK_ONCE);
}

uint32_t tn__assemble_pack_positions(const tn__scope *s) {
    return s->before && s->before->slicer ? 2 : 1; /* of a loop and its body */
}

static uint32_t new_alias(tn__assembler *a, uint32_t like) {
    tn_prog_buffer b = a->p->buffers.data[like];
    b.store = TN_STORE_ALIAS;
    return tn__assemble_buffer(a, b);
}

/* The constant that `alias` is a slice of; NO_BUFFER: it is none. */
static uint32_t sliced_constant(const tn__before *before, uint32_t alias) {
    for (uint32_t i = 0; i < before->constants.len; i++)
        if (before->constants.data[i].alias == alias) return before->constants.data[i].whole;
    return NO_BUFFER;
}

/* Adds a loop to `prepare` that runs `step`, by which one iteration's `pack` is made, for all of them; gives
 * what it fills, all packs one after the other. */
static uint32_t pack_slices(tn__scope *s, tn_prog_step step, uint32_t pack) {
    tn__assembler *a = s->a;
    const tn__before *slicer = s->before->slicer;
    tn_prog_buffer all = a->p->buffers.data[pack];
    all.elements = tn_dim_mul(a->p->dims, all.elements, slicer->length);
    tn_prog_loop *loop = TN_NEW(a->arena, tn_prog_loop);
    *loop = (tn_prog_loop){.ys_count = 1, .length = slicer->length};
    loop->ys = TN_NEW_N(a->arena, uint32_t, 2);
    loop->slice_out = loop->ys + 1;
    loop->xs = TN_NEW_N(a->arena, uint32_t, 2 * step.buffer_count);
    loop->slice_in = loop->xs + step.buffer_count;
    loop->ys[0] = tn__assemble_buffer(a, all);
    loop->slice_out[0] = new_alias(a, pack);
    for (uint32_t i = 0; i < step.buffer_count; i++) {
        uint32_t whole = sliced_constant(slicer, step.buffers[i]);
        if (step.buffers[i] == pack) step.buffers[i] = loop->slice_out[0];
        if (whole == NO_BUFFER) continue;
        loop->xs[loop->xs_count] = whole;
        step.buffers[i] = loop->slice_in[loop->xs_count++] = new_alias(a, step.buffers[i]);
    }
    tn_vec_push(a->arena, &a->p->blocks, (tn_prog_block){.prepares = true});
    tn_prog_step scan = {.kind = TN_STEP_SCAN, .position = a->position, .name = "pack"};
    scan.loop = loop;
    scan.blocks[0] = a->p->blocks.len - 1;
    step.position = a->position + 1;
    tn_vec_push(a->arena, &a->p->blocks.data[scan.blocks[0]].steps, step);
    tn_vec_push(a->arena, &a->prepare, scan);
    return loop->ys[0];
}

/* Makes `pack` one of the slices of what is packed for all iterations. */
static void push_slices(tn__scope *s, tn_prog_step step, uint32_t pack) {
    tn__assembler *a = s->a;
    tn__slice slice = {.whole = pack_slices(s, step, pack), .alias = pack};
    a->p->buffers.data[pack].store = TN_STORE_ALIAS;
    tn_vec_push(a->arena, &s->before->slicer->prepared, slice);
}

uint32_t tn__assemble_packed(tn__scope *s, const tn_group *g, const tn_pack *pack) {
    tn__assembler *a = s->a;
    pack_time time = time_of(s, g, pack->kernel);
    tn_prog_buffer b = {.store = time <= PACK_SLICES ? TN_STORE_PREPARED : TN_STORE_TEMP,
                        .dtype = pack->dtype,
                        .elements = pack->elements,
                        .in_place_of = UINT32_MAX,
                        .name = "packed weights"};
    uint32_t buffer = tn__assemble_buffer(a, b), known;
    tn_prog_step step = tn__assemble_kernel_step(s, pack->kernel, &buffer);
    step.name = "pack";
    uint32_t *key = TN_NEW_N(a->arena, uint32_t, step.buffer_count + 2);
    key[step.buffer_count] = step.kernel;
    key[step.buffer_count + 1] = time == PACK_BEFORE ? s->before->block : NO_BUFFER;
    for (uint32_t i = 0; i < step.buffer_count; i++)
        key[i] = step.buffers[i] == buffer ? NO_BUFFER : step.buffers[i];
    size_t key_size = sizeof *key * (step.buffer_count + 2);
    if (time != PACK_HERE && tn_map_get(&a->packs, key, key_size, &known)) {
        a->p->buffers.len--; /* the one just made */
        buffer = known;
    } else {
        if (time != PACK_HERE) tn_map_put(&a->packs, key, key_size, buffer);
        if (time == PACK_SLICES)
            push_slices(s, step, buffer);
        else
            push_pack(s, step, buffer, time);
    }
    if (time == PACK_BEFORE) tn_vec_push(a->arena, &s->before->packed, buffer);
    return buffer;
}
