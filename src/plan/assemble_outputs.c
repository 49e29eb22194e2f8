/* Where results of a graph end up: written there by their kernels, or copied at the end. See assemble_inner.h.
 *
 * An output in place of an input is written directly only if nobody reads the input any more then: no
 * later step, no copy at the end, and not the kernel itself, unless it reads each element before it
 * stores it. Live ranges tell, so this is decided when all steps are there: the buffer that the kernels
 * write becomes a temporary then, and the output a new buffer. */
#include "plan/assemble_inner.h"

typedef struct result_copy {
    uint32_t from, to;
    bool done;
} result_copy;

typedef struct results {
    tn__scope *s;
    uint32_t *at; /* per output: its buffer */
    TN_VEC(result_copy) copies;
} results;

static tn_prog_buffer *buffer_of(const results *r, uint32_t id) {
    return &r->s->a->p->buffers.data[id];
}

/* Only there are all live ranges known. */
static bool is_outermost(const results *r) {
    return !r->s->g->parent;
}

/* The input whose memory output buffer `id` is; NO_BUFFER: it has its own, as have all results of a body,
 * whose operands live until its end. */
static uint32_t overwrites(const results *r, uint32_t id) {
    const tn_prog_buffer *b = buffer_of(r, id);
    return is_outermost(r) && b->store == TN_STORE_OUTPUT ? b->in_place_of : NO_BUFFER;
}

static bool is_taken(const results *r, uint32_t from, uint32_t to) {
    const tn__assembler *a = r->s->a;
    for (uint32_t i = 0; i < a->taken.len; i++)
        if (a->taken.data[i].from == from && a->taken.data[i].buffer == to) return true;
    return false;
}

static bool is_copied(const results *r, uint32_t from) {
    for (uint32_t i = 0; i < r->copies.len; i++)
        if (r->copies.data[i].from == from) return true;
    return false;
}

/* Whether output buffer `id`, which steps write, may be in place of its input. */
static bool may_stay(const results *r, uint32_t id) {
    uint32_t from = buffer_of(r, id)->in_place_of;
    if (from == NO_BUFFER) return true;
    uint32_t written = buffer_of(r, id)->first, read = buffer_of(r, from)->last;
    return !is_copied(r, from) && (read < written || (read == written && is_taken(r, from, id)));
}

static void add_copy(results *r, uint32_t from, uint32_t to) {
    tn_vec_push(r->s->a->arena, &r->copies, ((result_copy){.from = from, .to = to}));
}

/* What steps write as output `i` becomes a temporary. */
static void set_apart(results *r, uint32_t i) {
    tn__assembler *a = r->s->a;
    uint32_t id = r->at[i], fresh = tn__assemble_buffer(a, *buffer_of(r, id));
    tn_prog_buffer *b = buffer_of(r, id);
    b->store = TN_STORE_TEMP;
    b->index = 0;
    b->in_place_of = NO_BUFFER;
    a->p->outputs.data[i].buffer = r->at[i] = fresh;
    add_copy(r, id, fresh);
}

/* Whether some other copy still reads what this one overwrites. */
static bool is_awaited(const results *r, const result_copy *c) {
    uint32_t old = overwrites(r, c->to);
    for (uint32_t i = 0; old != NO_BUFFER && i < r->copies.len; i++) {
        const result_copy *other = &r->copies.data[i];
        if (other != c && !other->done && other->from == old) return true;
    }
    return false;
}

static bool copy_next(results *r) {
    for (uint32_t i = 0; i < r->copies.len; i++) {
        result_copy *c = &r->copies.data[i];
        if (c->done || is_awaited(r, c)) continue;
        if (overwrites(r, c->to) != c->from) tn__assemble_copy(r->s, c->from, c->to);
        return c->done = true;
    }
    return false;
}

/* Copies that overwrite what the next one reads, in a circle: what one of them reads goes elsewhere. */
static bool break_circle(results *r) {
    tn__assembler *a = r->s->a;
    for (uint32_t i = 0; i < r->copies.len; i++) {
        result_copy *c = &r->copies.data[i];
        if (c->done) continue;
        tn_prog_buffer b = *buffer_of(r, c->from);
        b.store = TN_STORE_TEMP;
        b.index = 0;
        b.in_place_of = NO_BUFFER;
        b.first = b.last = a->position + 1; /* of the copy */
        uint32_t temp = tn__assemble_buffer(a, b);
        tn__assemble_copy(r->s, c->from, temp);
        c->from = temp;
        return true;
    }
    return false;
}

void tn__assemble_results(tn__scope *s, const bool *direct, const uint32_t *outputs) {
    const tn_graph *g = s->g;
    results r = {.s = s};
    r.at = tn_arena_dup(s->a->arena, outputs, g->outputs.len * sizeof *outputs);
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        if (direct[i]) continue;
        uint32_t made = tn__assemble_buffer_of(s, g->outputs.data[i].value);
        if (made != outputs[i]) add_copy(&r, made, outputs[i]);
    }
    for (uint32_t i = 0; i < g->outputs.len; i++)
        if (direct[i] && is_outermost(&r) && !may_stay(&r, outputs[i])) set_apart(&r, i);
    while (copy_next(&r) || break_circle(&r)) {
    }
}
