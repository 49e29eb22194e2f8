/* Branches, loops and calls: steps with blocks of their own. See assemble_inner.h. */
#include "plan/assemble_inner.h"

static uint32_t new_block(tn__assembler *a) {
    tn_vec_push(a->arena, &a->p->blocks, (tn_prog_block){0});
    return a->p->blocks.len - 1;
}

static uint32_t alias_of(tn__scope *s, const tn_graph *body, tn_value v) {
    const tn_value_info *info = tn_graph_value(body, v);
    return tn__assemble_buffer(
        s->a, (tn_prog_buffer){.store = TN_STORE_ALIAS,
                               .dtype = info->type.dtype,
                               .elements = tn_shape_count(s->g->dims, &info->type.shape),
                               .in_place_of = UINT32_MAX,
                               .name = info->name});
}

static tn_status assemble_if(tn__scope *s, const tn_node_info *n, const uint32_t *operands,
                             const uint32_t *results, tn_prog_step *step, tn_error *err) {
    const tn_attrs_if *at = n->attrs;
    step->kind = TN_STEP_IF;
    step->buffers = TN_NEW_N(s->a->arena, uint32_t, 1);
    step->buffers[0] = operands[0];
    step->buffer_count = 1;
    for (int i = 0; i < 2; i++) {
        step->blocks[i] = new_block(s->a);
        TN_CHECK(tn__assemble_graph(s->a, i ? at->else_graph : at->then_graph, step->blocks[i],
                                    operands + 1, results, NULL, err));
    }
    return TN_OK;
}

static uint32_t *copy_ids(tn__assembler *a, const uint32_t *ids, uint32_t n) {
    return tn_arena_dup(a->arena, ids, n * sizeof *ids);
}

/* The slice that the body stores state `i` in anyway; NO_BUFFER: none. */
static uint32_t slice_of_state(const tn_graph *body, const tn_prog_loop *loop, uint32_t i) {
    for (uint32_t j = 0; j < loop->ys_count; j++)
        if (body->outputs.data[loop->states + j].value == body->outputs.data[i].value)
            return loop->slice_out[j];
    return NO_BUFFER;
}

/* Where states are from step to step; `outputs`: what the body stores them in (NULL: a while's). */
static void place_states(tn__scope *s, const tn_node_info *n, const tn_graph *body,
                         tn_prog_loop *loop, uint32_t *outputs) {
    loop->spare = TN_NEW_N(s->a->arena, uint32_t, 2 * loop->states);
    for (uint32_t i = 0; i < loop->states; i++) {
        uint32_t slice = slice_of_state(body, loop, i);
        for (uint32_t copy = 0; copy < 2; copy++)
            loop->spare[2 * i + copy] = slice != NO_BUFFER ? slice : tn__assemble_temp(s, n->in[i]);
        if (slice != NO_BUFFER) outputs[i] = slice;
    }
}

static uint32_t count_products(const tn_graph *body) {
    uint32_t count = 0;
    for (tn_node n = 0; n < body->nodes.len; n++)
        count += tn_op_rules_of(tn_graph_node(body, n)->op)->lower.kind == TN_LOWER_CONTRACTION;
    return count;
}

/* Keeps positions before a loop free for what its bodies may have packed. */
static tn__before before_loop(tn__scope *s, const tn_node_info *n) {
    tn__before before = {.block = s->block, .position = s->a->position};
    before.inputs.invariants = tn__steady_inputs(s->g, n);
    if (n->op == TN_OP_scan)
        s->a->position += count_products(((const tn_attrs_scan *)n->attrs)->body);
    if (n->op == TN_OP_while)
        s->a->position += count_products(((const tn_attrs_while *)n->attrs)->cond) +
                          count_products(((const tn_attrs_while *)n->attrs)->body);
    return before;
}

static tn_status assemble_while(tn__scope *s, const tn_node_info *n, const uint32_t *operands,
                                const uint32_t *results, tn_prog_step *step, tn__before *before,
                                tn_error *err) {
    tn__assembler *a = s->a;
    const tn_attrs_while *at = n->attrs;
    tn_prog_loop *loop = TN_NEW(a->arena, tn_prog_loop);
    step->kind = TN_STEP_WHILE;
    step->loop = loop;
    loop->states = (uint32_t)at->states;
    loop->initial = copy_ids(a, operands, loop->states);
    loop->result = copy_ids(a, results, loop->states);
    loop->in = TN_NEW_N(a->arena, uint32_t, loop->states);
    loop->out = TN_NEW_N(a->arena, uint32_t, loop->states);
    place_states(s, n, at->body, loop, NULL);
    uint32_t *inputs = copy_ids(a, operands, n->in_count);
    for (uint32_t i = 0; i < loop->states; i++) {
        inputs[i] = loop->in[i] = alias_of(s, at->body, at->body->inputs.data[i]);
        loop->out[i] = alias_of(s, at->body, at->body->outputs.data[i].value);
    }
    loop->flag = tn__assemble_buffer(a, (tn_prog_buffer){.store = TN_STORE_TEMP,
                                                         .dtype = TN_bool,
                                                         .elements = 1,
                                                         .in_place_of = UINT32_MAX,
                                                         .first = a->position,
                                                         .last = a->position});
    step->blocks[0] = new_block(a);
    TN_CHECK(tn__assemble_graph(a, at->cond, step->blocks[0], inputs, &loop->flag, before, err));
    step->blocks[1] = new_block(a);
    return tn__assemble_graph(a, at->body, step->blocks[1], inputs, loop->out, before, err);
}

/* Whether an operand of a loop is a slice that the loop around it goes through, or a view of one. */
static bool is_outer_slice(const tn__scope *s, const tn_node_info *n, uint32_t operand) {
    tn_node from = tn_graph_value(s->g, n->in[operand])->node;
    return s->before && s->before->slicer && s->groups->prepared[from] &&
           !s->groups->constant[from];
}

/* Notes which inputs of the body are slices of constants: invariants that are slices of the loop around this
 * one, else those that it goes through itself. */
static void find_constant_slices(const tn__scope *s, const tn_node_info *n,
                                 const tn_prog_loop *loop, tn__before *before) {
    tn__assembler *a = s->a;
    uint32_t invariants = loop->states + loop->xs_count;
    bool *slices = TN_NEW_N(a->arena, bool, n->in_count);
    before->length = loop->length;
    before->inputs.slices = slices;
    for (uint32_t i = invariants; i < n->in_count; i++) {
        slices[i] = is_outer_slice(s, n, i);
        if (slices[i]) before->slicer = s->before->slicer;
    }
    for (uint32_t i = 0; i < loop->xs_count && !before->slicer; i++) {
        tn__slice slice = {loop->xs[i], loop->slice_in[i]};
        tn_value v = n->in[loop->states + i];
        if (!s->groups->constant[tn_graph_value(s->g, v)->node]) continue;
        slices[loop->states + i] = true;
        tn_vec_push(a->arena, &before->constants, slice);
    }
    if (before->constants.len > 0) before->slicer = before;
}

static bool has_id(const uint32_t *ids, uint32_t count, uint32_t id) {
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

static bool block_reads(const tn_program *p, uint32_t block, uint32_t buffer) {
    for (uint32_t i = 0; i < p->blocks.data[block].steps.len; i++) {
        const tn_prog_step *s = &p->blocks.data[block].steps.data[i];
        if (has_id(s->buffers, s->buffer_count, buffer)) return true;
        if (s->loop && (has_id(s->loop->initial, s->loop->states, buffer) ||
                        has_id(s->loop->xs, s->loop->xs_count, buffer)))
            return true;
        int blocks = s->kind == TN_STEP_SCAN                             ? 1
                     : s->kind == TN_STEP_IF || s->kind == TN_STEP_WHILE ? 2
                                                                         : 0;
        for (int k = 0; k < blocks; k++)
            if (block_reads(p, s->blocks[k], buffer)) return true;
    }
    return false;
}

static void add_slice(tn_prog_loop *loop, tn__slice slice) {
    loop->xs[loop->xs_count] = slice.whole;
    loop->slice_in[loop->xs_count++] = slice.alias;
}

/* Adds what was packed of constants to what the loop goes through; slices that the body does not read any
 * more are left out. */
static void replace_slices(tn__assembler *a, uint32_t body, tn_prog_loop *loop,
                           const tn__before *before) {
    tn_prog_loop old = *loop;
    loop->xs = TN_NEW_N(a->arena, uint32_t, old.xs_count + before->prepared.len);
    loop->slice_in = TN_NEW_N(a->arena, uint32_t, old.xs_count + before->prepared.len);
    loop->xs_count = 0;
    for (uint32_t i = 0; i < old.xs_count; i++)
        if (block_reads(a->p, body, old.slice_in[i]))
            add_slice(loop, (tn__slice){old.xs[i], old.slice_in[i]});
    for (uint32_t i = 0; i < before->prepared.len; i++) add_slice(loop, before->prepared.data[i]);
}

static tn_status assemble_scan(tn__scope *s, const tn_node_info *n, const uint32_t *operands,
                               const uint32_t *results, tn_prog_step *step, tn__before *before,
                               tn_error *err) {
    tn__assembler *a = s->a;
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
    place_states(s, n, body, loop, outputs);
    find_constant_slices(s, n, loop, before);
    step->blocks[0] = new_block(a);
    TN_CHECK(tn__assemble_graph(a, body, step->blocks[0], inputs, outputs, before, err));
    replace_slices(a, step->blocks[0], loop, before);
    return TN_OK;
}

static void touch_loop(tn__assembler *a, const tn_prog_loop *loop, const tn__before *before) {
    for (uint32_t i = 0; i < before->packed.len; i++) tn__assemble_touch(a, before->packed.data[i]);
    for (uint32_t i = 0; i < loop->states; i++) {
        tn__assemble_touch(a, loop->initial[i]);
        tn__assemble_touch(a, loop->result[i]);
        tn__assemble_touch(a, loop->spare[2 * i]);
        tn__assemble_touch(a, loop->spare[2 * i + 1]);
    }
    for (uint32_t i = 0; i < loop->xs_count; i++) tn__assemble_touch(a, loop->xs[i]);
    for (uint32_t i = 0; i < loop->ys_count; i++) tn__assemble_touch(a, loop->ys[i]);
}

static void assemble_size(tn__scope *s, const tn_node_info *n, uint32_t from, uint32_t to,
                          tn_prog_step *step) {
    const tn_attrs_bind_size *at = n->attrs;
    step->kind = TN_STEP_SIZE;
    step->buffer_count = step->scalar_count = 2;
    step->buffers = TN_NEW_N(s->a->arena, uint32_t, 2);
    step->scalars = TN_NEW_N(s->a->arena, tn_dim, 2);
    step->buffers[0] = from;
    step->buffers[1] = to;
    step->scalars[0] = at->size;
    step->scalars[1] = at->bound;
}

tn_status tn__assemble_control(tn__scope *s, const tn_group *g, tn_error *err) {
    tn__assembler *a = s->a;
    const tn_node_info *n = tn_graph_node(s->g, g->anchor);
    uint32_t *operands = TN_NEW_N(a->arena, uint32_t, n->in_count);
    uint32_t *results = TN_NEW_N(a->arena, uint32_t, n->out_count);
    for (uint32_t i = 0; i < n->in_count; i++) operands[i] = tn__assemble_buffer_of(s, n->in[i]);
    for (uint32_t i = 0; i < n->out_count; i++) {
        if (s->buffer[n->out + i] == NO_BUFFER)
            s->buffer[n->out + i] = tn__assemble_temp(s, n->out + i);
        results[i] = s->buffer[n->out + i];
        tn__assemble_touch_result(a, results[i]);
    }
    tn__before before = before_loop(s, n);
    tn_prog_step step = {.position = a->position, .name = tn_op_info_of(n->op)->name};
    switch (n->op) {
    case TN_OP_if:
        TN_CHECK(assemble_if(s, n, operands, results, &step, err));
        break;
    case TN_OP_while:
        TN_CHECK(assemble_while(s, n, operands, results, &step, &before, err));
        break;
    case TN_OP_scan:
        TN_CHECK(assemble_scan(s, n, operands, results, &step, &before, err));
        break;
    case TN_OP_bind_size:
        assemble_size(s, n, operands[0], results[0], &step);
        break;
    default: {
        const tn_graph *body = n->op == TN_OP_custom ? ((const tn_attrs_custom *)n->attrs)->body
                                                     : ((const tn_attrs_call *)n->attrs)->body;
        TN_CHECK(tn__assemble_graph(a, body, s->block, operands, results, NULL, err));
        break;
    }
    }
    a->position++; /* the end of the construct: operands live until here */
    for (uint32_t i = 0; i < n->in_count; i++) tn__assemble_touch(a, operands[i]);
    for (uint32_t i = 0; i < n->out_count; i++) tn__assemble_touch(a, results[i]);
    if (step.loop) {
        touch_loop(a, step.loop, &before);
        if (n->op == TN_OP_while) tn__assemble_touch(a, step.loop->flag);
    }
    if (n->op != TN_OP_call && n->op != TN_OP_custom)
        tn_vec_push(a->arena, &a->p->blocks.data[s->block].steps, step);
    return TN_OK;
}
