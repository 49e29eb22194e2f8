/* What must be true of every grouping and every program, checked without running it. Each check
 * gives NULL, or what is wrong. */
#ifndef TENON_TESTS_CHECK_PROGRAM_H
#define TENON_TESTS_CHECK_PROGRAM_H

#include "program/program.h"
#include "runtime/memory.h"
#include "schedule/group.h"

/* ---- groups --------------------------------------------------------------------------------- */

typedef struct grouping_checker {
    const tn_grouping *p;
    tn_arena *arena;
    uint32_t *place;  /* of each group in the order; UINT32_MAX: not there */
    uint32_t *writer; /* per value: the group that stores it */
    uint32_t *seen;   /* per node: last group that looked */
    const char *wrong;
} grouping_checker;

static inline void grouping_order(grouping_checker *c) {
    const tn_grouping *p = c->p;
    memset(c->place, 0xff, p->groups.len * sizeof *c->place);
    for (uint32_t i = 0; i < p->order.len; i++) {
        if (c->place[p->order.data[i]] != UINT32_MAX) c->wrong = "a group is ordered twice";
        if (p->groups.data[p->order.data[i]].nested) c->wrong = "a nested group is a kernel, too";
        c->place[p->order.data[i]] = i;
    }
    for (uint32_t id = 0; id < p->groups.len; id++) { /* nested ones run with their first reader */
        uint32_t rows = p->groups.data[id].prologue;
        if (rows == TN_NO_GROUP) continue;
        c->place[rows] = TN_MIN(c->place[rows], c->place[id]);
    }
    for (uint32_t id = 0; id < p->groups.len; id++) {
        const tn_group *g = &p->groups.data[id];
        if (g->members.len == 0) continue; /* its products share another group */
        if (c->place[id] == UINT32_MAX) c->wrong = "a group is missing in the order";
        for (uint32_t i = 0; i < g->deps.len; i++)
            if (g->deps.data[i] != g->prologue && c->place[g->deps.data[i]] >= c->place[id])
                c->wrong = "groups depend on each other in a circle";
    }
}

static inline void grouping_writers(grouping_checker *c) {
    const tn_grouping *p = c->p;
    memset(c->writer, 0xff, p->graph->values.len * sizeof *c->writer);
    for (uint32_t id = 0; id < p->groups.len; id++)
        for (uint32_t i = 0; i < tn_group_results(&p->groups.data[id]); i++) {
            tn_value v = tn_group_storage(p, tn_group_result(&p->groups.data[id], i));
            if (c->writer[v] != UINT32_MAX)
                c->wrong = tn_arena_printf(c->arena, "value %%%u is stored twice", v);
            c->writer[v] = id;
        }
}

/* Everything that the node reads from memory must have been stored by a group before. */
static inline void grouping_reads(grouping_checker *c, uint32_t id, tn_node n) {
    const tn_grouping *p = c->p;
    const tn_node_info *info = tn_graph_node(p->graph, n);
    const tn_group *g = &p->groups.data[id];
    for (uint32_t i = 0; i < info->in_count; i++) {
        tn_value v = info->in[i];
        tn_node from = tn_graph_value(p->graph, v)->node;
        if (g->kind != TN_GROUP_CONTROL && (tn_group_is_domain(g, v) || p->group_of[from] == id))
            continue;
        if (g->kind != TN_GROUP_CONTROL && tn_group_evaluates(p, id, from)) {
            if (c->seen[from] != id + 1) {
                c->seen[from] = id + 1;
                grouping_reads(c, id, from);
            }
            continue;
        }
        v = tn_group_storage(p, v);
        tn_op op = tn_graph_producer(p->graph, v)->op;
        if (op == TN_OP_input || op == TN_OP_constant) continue;
        uint32_t writer = c->writer[v];
        if (writer != UINT32_MAX && writer == g->prologue) continue;
        if (writer == UINT32_MAX || p->groups.data[writer].nested)
            c->wrong = tn_arena_printf(c->arena, "value %%%u is read but not stored", v);
        else if (c->place[writer] >= c->place[id])
            c->wrong = tn_arena_printf(c->arena, "value %%%u is read before it is stored", v);
        else if (g->constant && !p->groups.data[writer].constant)
            c->wrong = tn_arena_printf(c->arena, "`prepare` reads %%%u, which it does not make", v);
    }
}

/* No grouping costs less than the bound. */
static inline void grouping_bound(grouping_checker *c, const tn_graph *g, const tn_costs *costs) {
    double least = c->p->least_seconds * (1 - 1e-9);
    double apart = tn_group_graph(g, false, costs, c->arena)->seconds;
    if (least <= c->p->seconds && least <= apart) return;
    c->wrong = tn_arena_printf(c->arena, "costs %g s, without fusion %g s, but at least %g s",
                               c->p->seconds, apart, c->p->least_seconds);
}

static inline const char *grouping_check(const tn_graph *g, tn_arena *arena) {
    tn_costs costs = tn_costs_default();
    grouping_checker c = {.p = tn_group_graph(g, true, &costs, arena), .arena = arena};
    grouping_bound(&c, g, &costs);
    c.place = TN_NEW_N(arena, uint32_t, c.p->groups.len);
    c.writer = TN_NEW_N(arena, uint32_t, g->values.len);
    c.seen = TN_NEW_N(arena, uint32_t, g->nodes.len);
    grouping_order(&c);
    grouping_writers(&c);
    for (uint32_t id = 0; id < c.p->groups.len; id++)
        for (uint32_t i = 0; i < c.p->groups.data[id].members.len; i++)
            grouping_reads(&c, id, c.p->groups.data[id].members.data[i].node);
    return c.wrong;
}

/* ---- memory --------------------------------------------------------------------------------- */

static inline bool program_in_place(const tn_program *p, uint32_t a, uint32_t b) {
    for (uint32_t i = b; i != UINT32_MAX; i = p->buffers.data[i].in_place_of)
        if (i == a) return true;
    return false;
}

/* Buffers that are alive at the same time lie apart. */
static inline const char *program_placement(const tn_program *p, const int64_t *symbols,
                                            tn_arena *arena) {
    uint32_t n = p->buffers.len;
    uint64_t *bytes = TN_NEW_N(arena, uint64_t, n);
    tn_memory_plan plan;
    for (uint32_t i = 0; i < n; i++) {
        const tn_prog_buffer *b = &p->buffers.data[i];
        int64_t count =
            tn_dim_is_const(b->elements) ? b->elements : tn_dim_eval(p->dims, b->elements, symbols);
        bytes[i] = (uint64_t)count * tn_dtype_size(b->dtype);
    }
    tn_memory_place(p, bytes, arena, &plan);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < i; j++) {
            const tn_prog_buffer *a = &p->buffers.data[i], *b = &p->buffers.data[j];
            if (a->store != TN_STORE_TEMP || b->store != TN_STORE_TEMP) continue;
            if (a->last < b->first || b->last < a->first) continue;
            if (plan.offset[i] + bytes[i] <= plan.offset[j] ||
                plan.offset[j] + bytes[j] <= plan.offset[i])
                continue;
            if (program_in_place(p, i, j) || program_in_place(p, j, i)) continue;
            return tn_arena_printf(arena, "buffers %u and %u share memory while both are alive", i,
                                   j);
        }
    return NULL;
}

/* ---- steps ---------------------------------------------------------------------------------- */

typedef struct program_checker {
    const tn_program *p;
    tn_arena *arena;
    uint8_t *written;
    uint32_t outer; /* last position of the outermost control step that is open, or 0 */
    const char *wrong;
} program_checker;

static inline void program_block(program_checker *c, uint32_t block);

static inline void program_use(program_checker *c, const tn_prog_step *s, uint32_t buffer,
                               bool write) {
    const tn_prog_buffer *b = &c->p->buffers.data[buffer];
    if (b->store == TN_STORE_TEMP && (s->position < b->first || s->position > b->last))
        c->wrong = tn_arena_printf(c->arena, "step %u uses buffer %u, which lives in [%u, %u]",
                                   s->position, buffer, b->first, b->last);
    if (write && (b->store == TN_STORE_INPUT || b->store == TN_STORE_WEIGHT))
        c->wrong = tn_arena_printf(c->arena, "step %u writes an input or a weight", s->position);
    for (uint32_t i = 0; !write && b->store == TN_STORE_INPUT && i < c->p->outputs.len; i++) {
        uint32_t out = c->p->outputs.data[i].buffer;
        if (c->written[out] && c->p->buffers.data[out].in_place_of == buffer)
            c->wrong = tn_arena_printf(c->arena, "step %u reads input %u, which was overwritten",
                                       s->position, b->index);
    }
    if (!write && !c->written[buffer] && b->elements != 0)
        c->wrong = tn_arena_printf(c->arena, "step %u reads buffer %u, which nothing wrote",
                                   s->position, buffer);
}

/* The kind of the buffer that argument `slot` of a kernel binds. */
static inline tn_lbuffer_kind program_slot(const tn_loop *k, uint32_t slot) {
    for (uint32_t i = 0;; i++)
        if (k->buffers.data[i].kind != TN_LBUF_SCRATCH && slot-- == 0)
            return k->buffers.data[i].kind;
}

static inline void program_kernel(program_checker *c, const tn_prog_step *s) {
    const tn_loop *k = c->p->kernels.data[s->kernel];
    for (int write = 0; write < 2; write++)
        for (uint32_t i = 0, slot = 0; i < k->buffers.len; i++) {
            tn_lbuffer_kind kind = k->buffers.data[i].kind;
            if (kind == TN_LBUF_SCRATCH) continue;
            uint32_t buffer = s->buffers[slot++];
            if ((kind != TN_LBUF_INPUT) != write) continue;
            program_use(c, s, buffer, write);
            if (write && c->written[buffer] == 1 &&
                c->p->buffers.data[buffer].store != TN_STORE_ALIAS)
                c->wrong = tn_arena_printf(c->arena, "buffer %u is written twice", buffer);
            if (write) c->written[buffer] = 1;
        }
    for (uint32_t i = 0, slot = 0; i < k->buffers.len; i++) { /* outputs alias nothing */
        if (k->buffers.data[i].kind == TN_LBUF_SCRATCH) continue;
        for (uint32_t j = 0; j < slot; j++)
            if (s->buffers[j] == s->buffers[slot] &&
                (k->buffers.data[i].kind != TN_LBUF_INPUT || program_slot(k, j) != TN_LBUF_INPUT))
                c->wrong = tn_arena_printf(c->arena, "step %u binds buffer %u twice", s->position,
                                           s->buffers[j]);
        slot++;
    }
}

/* Blocks of an `if` write the same results: each begins with what was written before. */
static inline void program_control(program_checker *c, const tn_prog_step *s) {
    uint32_t n = c->p->buffers.len;
    const tn_prog_loop *l = s->loop;
    uint8_t *before = tn_arena_dup(c->arena, c->written, n);
    if (s->kind == TN_STEP_IF) {
        program_use(c, s, s->buffers[0], false);
        program_block(c, s->blocks[0]);
        uint8_t *then = tn_arena_dup(c->arena, c->written, n);
        memcpy(c->written, before, n);
        program_block(c, s->blocks[1]);
        for (uint32_t i = 0; i < n; i++) c->written[i] |= then[i];
        return;
    }
    for (uint32_t i = 0; i < l->states; i++) {
        program_use(c, s, l->initial[i], false);
        program_use(c, s, l->result[i], true);
        c->written[l->in[i]] = 2;
    }
    for (uint32_t i = 0; i < l->xs_count; i++) {
        program_use(c, s, l->xs[i], false);
        c->written[l->slice_in[i]] = 2;
    }
    for (uint32_t i = 0; i < l->ys_count; i++) program_use(c, s, l->ys[i], true);
    program_block(c, s->blocks[0]);
    if (s->kind == TN_STEP_WHILE) program_block(c, s->blocks[1]);
    for (uint32_t i = 0; i < l->states; i++) c->written[l->result[i]] = 1;
    for (uint32_t i = 0; i < l->ys_count; i++) c->written[l->ys[i]] = 1;
}

static inline void program_block(program_checker *c, uint32_t block) {
    const tn_prog_block *b = &c->p->blocks.data[block];
    for (uint32_t i = 0; i < b->steps.len; i++) {
        const tn_prog_step *s = &b->steps.data[i];
        if (s->kind == TN_STEP_KERNEL) {
            program_kernel(c, s);
        } else if (s->kind == TN_STEP_COPY) {
            program_use(c, s, s->buffers[0], false);
            program_use(c, s, s->buffers[1], true);
            c->written[s->buffers[1]] = 1;
        } else {
            program_control(c, s);
        }
    }
}

static inline const char *program_check(const tn_program *p, const int64_t *symbols,
                                        tn_arena *arena) {
    program_checker c = {.p = p, .arena = arena};
    c.written = TN_NEW_N(arena, uint8_t, p->buffers.len);
    for (uint32_t i = 0; i < p->buffers.len; i++) {
        tn_store store = p->buffers.data[i].store;
        c.written[i] = store == TN_STORE_INPUT || store == TN_STORE_WEIGHT ? 2 : 0;
    }
    program_block(&c, 1);
    program_block(&c, 0);
    for (uint32_t i = 0; i < p->outputs.len; i++) /* an input in place of itself needs no step */
        if (!c.written[p->outputs.data[i].buffer] &&
            p->buffers.data[p->outputs.data[i].buffer].in_place_of == UINT32_MAX &&
            p->buffers.data[p->outputs.data[i].buffer].elements != 0)
            c.wrong = tn_arena_printf(arena, "nothing writes output %u", i);
    return c.wrong ? c.wrong : program_placement(p, symbols, arena);
}

#endif
