/* Building and printing programs. See program.h. */
#include "program/program.h"

void tn_program_init(tn_program *p, tn_arena *arena, tn_dims *dims) {
    *p = (tn_program){.arena = arena, .dims = dims};
    tn_vec_push(arena, &p->blocks, (tn_prog_block){0});
    tn_vec_push(arena, &p->blocks, (tn_prog_block){.prepares = true});
}

const tn_compound *tn_program_unbound(const tn_program *p) {
    for (uint32_t i = 0; i < p->input_compounds.len; i++)
        if (p->input_compounds.data[i].count == TN_COMPOUND_UNKNOWN)
            return &p->input_compounds.data[i];
    return NULL;
}

bool tn_program_has_needs(const tn_program *p) {
    return p->need_values.len > 0 || p->need_dims.len > 0 || tn_program_unbound(p);
}

static const char *const step_names[] = {"kernel", "copy", "if", "while", "scan", "size"};
static const char *const store_names[] = {"input", "output", "weight", "prepared", "temp", "alias"};

uint32_t tn_program_last_position(const tn_program *p, const tn_prog_step *s) {
    uint32_t last = s->position;
    bool nested = s->kind == TN_STEP_IF || s->kind == TN_STEP_WHILE || s->kind == TN_STEP_SCAN;
    int count = s->kind == TN_STEP_SCAN ? 1 : 2;
    for (int i = 0; nested && i < count; i++) {
        const tn_prog_block *b = &p->blocks.data[s->blocks[i]];
        if (b->steps.len == 0) continue;
        last = TN_MAX(last, tn_program_last_position(p, &b->steps.data[b->steps.len - 1]));
    }
    return last;
}

void tn_program_run_sizes(const tn_program *p, bool *bound) {
    uint32_t symbol;
    memset(bound, 0, p->dims->symbols.len * sizeof *bound);
    for (uint32_t i = 0; i < p->blocks.data[0].steps.len; i++) {
        const tn_prog_step *s = &p->blocks.data[0].steps.data[i];
        if (s->kind == TN_STEP_SIZE && tn_dim_is_symbol(p->dims, s->scalars[0], &symbol))
            bound[symbol] = true;
    }
}

/* ---- kernels -------------------------------------------------------------------------------- */

void tn_program_kernel_uses(const tn_program *p, uint8_t *uses) {
    memset(uses, 0, p->kernels.len);
    for (uint32_t b = 0; b < p->blocks.len; b++) {
        const tn_prog_block *block = &p->blocks.data[b];
        for (uint32_t i = 0; i < block->steps.len; i++)
            if (block->steps.data[i].kind == TN_STEP_KERNEL)
                uses[block->steps.data[i].kernel] |=
                    block->prepares ? TN_USED_BY_PREPARE : TN_USED_BY_RUN;
    }
}

static void use_block(const tn_prog_block *b, uint8_t *used) {
    for (uint32_t i = 0; i < b->steps.len; i++) {
        const tn_prog_step *s = &b->steps.data[i];
        for (uint32_t k = 0; k < s->buffer_count; k++) used[s->buffers[k]] = 1;
        if (!s->loop) continue;
        for (uint32_t k = 0; k < s->loop->states; k++) used[s->loop->initial[k]] = 1;
        for (uint32_t k = 0; k < s->loop->xs_count; k++) used[s->loop->xs[k]] = 1;
    }
}

void tn_program_buffer_uses(const tn_program *p, uint8_t *used) {
    memset(used, 0, p->buffers.len);
    for (uint32_t b = 0; b < p->blocks.len; b++)
        if (!p->blocks.data[b].prepares) use_block(&p->blocks.data[b], used);
    bool has_needs = tn_program_has_needs(p);
    for (uint32_t i = 0; i < p->outputs.len && !has_needs; i++) used[p->outputs.data[i].buffer] = 1;
}

/* ---- print ---------------------------------------------------------------------------------- */

static void print_buffer(const tn_program *p, uint32_t id, tn_str *out) {
    const tn_prog_buffer *b = &p->buffers.data[id];
    tn_str_appendf(out, "  %%%u %s %s[", id, store_names[b->store], tn_dtype_name(b->dtype));
    tn_dim_print(p->dims, b->elements, out);
    tn_str_append_char(out, ']');
    if (b->store == TN_STORE_TEMP) {
        tn_str_appendf(out, " alive %u..%u", b->first, b->last);
        if (b->in_place_of != UINT32_MAX) tn_str_appendf(out, " in place of %%%u", b->in_place_of);
    } else if (b->store == TN_STORE_WEIGHT) {
        tn_str_appendf(out, " source %u at %llu", b->index, (unsigned long long)b->offset);
    } else if (b->store == TN_STORE_PREPARED) {
        tn_str_appendf(out, " at %llu", (unsigned long long)b->offset);
    } else if (b->store != TN_STORE_ALIAS) {
        tn_str_appendf(out, " #%u", b->index);
        if (b->store == TN_STORE_OUTPUT && b->in_place_of != UINT32_MAX)
            tn_str_appendf(out, " in place of %%%u", b->in_place_of);
    }
    if (b->name) tn_str_appendf(out, " '%s'", b->name);
    tn_str_append_char(out, '\n');
}

static void print_ids(const char *what, const uint32_t *ids, uint32_t count, tn_str *out) {
    if (count == 0) return;
    tn_str_appendf(out, " %s(", what);
    for (uint32_t i = 0; i < count; i++) tn_str_appendf(out, i ? ", %%%u" : "%%%u", ids[i]);
    tn_str_append_char(out, ')');
}

static void print_loop(const tn_program *p, const tn_prog_loop *l, tn_str *out) {
    print_ids("initial", l->initial, l->states, out);
    print_ids("in", l->in, l->states, out);
    print_ids("out", l->out, l->states, out);
    print_ids("result", l->result, l->states, out);
    print_ids("spare", l->spare, 2 * l->states, out);
    print_ids("xs", l->xs, l->xs_count, out);
    print_ids("slice_in", l->slice_in, l->xs_count, out);
    print_ids("ys", l->ys, l->ys_count, out);
    print_ids("slice_out", l->slice_out, l->ys_count, out);
    tn_str_append(out, " length ");
    tn_dim_print(p->dims, l->length, out);
    if (l->reverse) tn_str_append(out, " reversed");
}

static void print_step(const tn_program *p, const tn_prog_step *s, tn_str *out) {
    tn_str_appendf(out, "  %u: %s", s->position, step_names[s->kind]);
    if (s->kind == TN_STEP_KERNEL)
        tn_str_appendf(out, " k%u %s", s->kernel, p->kernels.data[s->kernel]->name);
    print_ids("", s->buffers, s->buffer_count, out);
    for (uint32_t i = 0; i < s->scalar_count; i++) {
        tn_str_append(out, i ? ", " : " scalars ");
        tn_dim_print(p->dims, s->scalars[i], out);
    }
    if (s->kind == TN_STEP_IF || s->kind == TN_STEP_WHILE)
        tn_str_appendf(out, " blocks %u, %u", s->blocks[0], s->blocks[1]);
    if (s->kind == TN_STEP_WHILE) tn_str_appendf(out, " flag %%%u", s->loop->flag);
    if (s->kind == TN_STEP_SCAN) tn_str_appendf(out, " block %u", s->blocks[0]);
    if (s->loop) print_loop(p, s->loop, out);
    if (s->name) tn_str_appendf(out, "  ; %s", s->name);
    tn_str_append_char(out, '\n');
}

static void print_port(const tn_program *p, const char *what, const tn_prog_port *port,
                       tn_str *out) {
    tn_str_appendf(out, "  %s '%s' ", what, port->name);
    tn_type_print(p->dims, &port->type, out);
    tn_str_appendf(out, " %%%u\n", port->buffer);
}

static void print_compounds(const char *what, const tn_compound *at, uint32_t count, tn_str *out) {
    for (uint32_t i = 0; i < count; i++)
        tn_str_appendf(out, "  %s '%s' is %s: %d from %d\n", what, at[i].name,
                       tn_compound_kind_name(at[i].kind), at[i].count, at[i].first);
}

void tn_program_print(const tn_program *p, tn_str *out) {
    tn_str_appendf(out, "program %s for %s\n", p->name ? p->name : "",
                   p->target ? p->target : "any target");
    for (uint32_t i = 0; i < p->inputs.len; i++) print_port(p, "input", &p->inputs.data[i], out);
    for (uint32_t i = 0; i < p->outputs.len; i++) print_port(p, "output", &p->outputs.data[i], out);
    print_compounds("input", p->input_compounds.data, p->input_compounds.len, out);
    print_compounds("output", p->output_compounds.data, p->output_compounds.len, out);
    tn_str_append(out, "buffers\n");
    for (uint32_t i = 0; i < p->buffers.len; i++) print_buffer(p, i, out);
    for (uint32_t i = 0; i < p->blocks.len; i++) {
        const tn_prog_block *b = &p->blocks.data[i];
        if (i == 1 && b->steps.len == 0) continue;
        tn_str_appendf(out, "block %u%s\n", i, i == 1 ? " (prepare)" : "");
        for (uint32_t j = 0; j < b->steps.len; j++) print_step(p, &b->steps.data[j], out);
    }
    for (uint32_t i = 0; i < p->kernels.len; i++) {
        tn_str_appendf(out, "kernel k%u\n", i);
        tn_loop_print(p->kernels.data[i], false, out);
    }
}
