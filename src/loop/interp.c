/* The loop-IR interpreter: runs a kernel's tree as written, on tn_scalar_apply.
 *
 * A value is cached until the innermost block that it depends on starts anew (a loop's next
 * iteration, a branch entered again), so invariant and shared expressions are evaluated once. Lanes
 * of a VECTOR loop are independent, so they run one after the other. */
#include "loop/loop.h"

#include <inttypes.h>

enum { MOST_WATCHED = 1 << 22 }; /* elements of a result whose writers are noted */

typedef struct machine {
    const tn_loop *k;
    const tn_loop_args *args;
    tn_error *err;
    tn_status status;
    tn_ls at;              /* the statement that runs */
    uint64_t clock;        /* counts block starts */
    uint64_t *block_start; /* clock when a block was last started */
    uint32_t *block_depth, *branch_block, *stmt_block;
    uint32_t *home;        /* expression → the innermost block that it depends on */
    uint64_t *known_since; /* expression → block_start of its home when evaluated */
    tn_cell *value;        /* expression → its value */
    tn_cell *var, *let;    /* loop variable, LET statement → its value */
    tn_cell **reg;
    tn_cell *part;     /* room for the fold of a register */
    void **data;       /* buffer → memory */
    int64_t *elements; /* buffer → size, or -1 when it is not known */
    int64_t **writer;  /* OUTPUT that is watched → per element, 1 + the task that stored it */
} machine;

/* ---- preparation ---------------------------------------------------------------------------- */

/* Numbers the blocks: 0 is the task, then each loop body and branch (else is the number after). */
static uint32_t number_blocks(machine *m, tn_ls first, uint32_t block, uint32_t next) {
    for (tn_ls s = first; s; s = m->k->stmts.data[s].next) {
        const tn_lstmt *x = &m->k->stmts.data[s];
        m->stmt_block[s] = block;
        if (x->kind != TN_LS_FOR && x->kind != TN_LS_IF) continue;
        uint32_t own = next;
        m->branch_block[s] = own;
        m->block_depth[own] = m->block_depth[own + 1] = m->block_depth[block] + 1;
        next = number_blocks(m, x->body, own, own + 2);
        next = number_blocks(m, x->other, own + 1, next);
    }
    return next;
}

static void find_homes(machine *m, tn_arena *arena) {
    const tn_loop *k = m->k;
    uint32_t *var_block = TN_NEW_N(arena, uint32_t, k->vars.len);
    for (tn_ls s = 1; s < k->stmts.len; s++)
        if (k->stmts.data[s].kind == TN_LS_FOR)
            var_block[k->stmts.data[s].var] = m->branch_block[s];
    for (tn_lx e = 1; e < k->exprs.len; e++) {
        const tn_lexpr *x = &k->exprs.data[e];
        uint32_t home = 0, operand[] = {x->a, x->b, x->c};
        if (x->kind == TN_LX_VAR) home = var_block[x->index];
        if (x->kind == TN_LX_LET) home = m->stmt_block[x->index];
        for (int i = 0; i < 3; i++) {
            uint32_t other = m->home[operand[i]];
            if (operand[i] && m->block_depth[other] > m->block_depth[home]) home = other;
        }
        m->home[e] = home;
    }
}

static void bind_buffers(machine *m) {
    const tn_loop *k = m->k;
    uint32_t slot = 0;
    for (uint32_t i = 0; i < k->buffers.len; i++) {
        if (k->buffers.data[i].kind == TN_LBUF_SCRATCH) {
            m->data[i] = (char *)m->args->scratch + tn_loop_scratch_offset(k, i, m->args->scalars);
            m->elements[i] = tn_loop_buffer_elements(k, i, m->args->scalars);
            continue;
        }
        m->data[i] = m->args->buffers[slot];
        m->elements[i] = m->args->buffer_elements ? (int64_t)m->args->buffer_elements[slot] : -1;
        slot++;
    }
}

static void machine_init(machine *m, tn_arena *arena) {
    const tn_loop *k = m->k;
    uint32_t stmts = k->stmts.len, exprs = k->exprs.len, blocks = 2 * stmts + 2;
    m->block_start = TN_NEW_N(arena, uint64_t, blocks);
    m->block_depth = TN_NEW_N(arena, uint32_t, blocks);
    m->branch_block = TN_NEW_N(arena, uint32_t, stmts);
    m->stmt_block = TN_NEW_N(arena, uint32_t, stmts);
    m->home = TN_NEW_N(arena, uint32_t, exprs);
    m->known_since = TN_NEW_N(arena, uint64_t, exprs);
    m->value = TN_NEW_N(arena, tn_cell, exprs);
    m->var = TN_NEW_N(arena, tn_cell, k->vars.len);
    m->let = TN_NEW_N(arena, tn_cell, stmts);
    m->reg = TN_NEW_N(arena, tn_cell *, k->registers.len);
    for (uint32_t i = 0; i < k->registers.len; i++)
        m->reg[i] = TN_NEW_N(arena, tn_cell, k->registers.data[i].count);
    m->part = TN_NEW_N(arena, tn_cell, TN_L_MAX_REGISTER);
    m->data = TN_NEW_N(arena, void *, k->buffers.len);
    m->elements = TN_NEW_N(arena, int64_t, k->buffers.len);
    m->writer = TN_NEW_N(arena, int64_t *, k->buffers.len);
    number_blocks(m, k->body, 0, 1);
    find_homes(m, arena);
    bind_buffers(m);
    for (uint32_t i = 0; i < k->buffers.len; i++)
        if (k->buffers.data[i].kind == TN_LBUF_OUTPUT && m->elements[i] >= 0 &&
            m->elements[i] <= MOST_WATCHED)
            m->writer[i] = TN_NEW_N(arena, int64_t, m->elements[i]);
}

/* ---- accesses ------------------------------------------------------------------------------- */

static void fail(machine *m, const char *what, const char *name, int64_t at, int64_t size) {
    if (m->status != TN_OK) return;
    m->status = tn_error_set(m->err, TN_RUNTIME,
                             "kernel '%s', statement %" PRIu32 ": %s '%s' at %" PRId64
                             " is out of bounds (it has %" PRId64 ")",
                             m->k->name, m->at, what, name, at, size);
}

/* The address of an element, or NULL after reporting that it is out of bounds. */
static void *element(machine *m, const char *what, uint32_t buffer, int64_t at) {
    const tn_lbuffer *b = &m->k->buffers.data[buffer];
    if (m->elements[buffer] >= 0 && (at < 0 || at >= m->elements[buffer])) {
        fail(m, what, b->name, at, m->elements[buffer]);
        return NULL;
    }
    return (char *)m->data[buffer] + at * (int64_t)tn_dtype_size(b->dtype);
}

static tn_cell load(machine *m, uint32_t buffer, int64_t at) {
    const void *p = element(m, "the element loaded from", buffer, at);
    return p ? tn_cell_load(m->k->buffers.data[buffer].dtype, p) : (tn_cell){0};
}

static tn_cell *register_cell(machine *m, uint32_t reg, int64_t at) {
    const tn_lregister *r = &m->k->registers.data[reg];
    if (at >= 0 && at < r->count) return &m->reg[reg][at];
    fail(m, "the element of register", r->name, at, r->count);
    return NULL;
}

/* ---- expressions ---------------------------------------------------------------------------- */

static tn_cell eval(machine *m, tn_lx e);

static tn_cell eval_bits(machine *m, const tn_lexpr *x) {
    uint64_t bits = 0;
    tn_cell_store(tn_l_type(m->k, x->a), &bits, eval(m, x->a));
    return tn_cell_load(x->dtype, &bits);
}

static tn_cell eval_op(machine *m, const tn_lexpr *x) {
    tn_cell none = {0}, a = eval(m, x->a);
    tn_cell b = x->b ? eval(m, x->b) : none, c = x->c ? eval(m, x->c) : none;
    return tn_scalar_apply(x->op, tn_l_type(m->k, x->a), a, b, c);
}

/* Both sides of a select are evaluated, as generated code does; only a guard keeps from a load. */
static tn_cell eval_fresh(machine *m, const tn_lexpr *x) {
    tn_cell a, b;
    switch (x->kind) {
    case TN_LX_CONST:
        return x->value;
    case TN_LX_VAR:
        return m->var[x->index];
    case TN_LX_SCALAR:
        return (tn_cell){.i = m->args->scalars[x->index]};
    case TN_LX_LET:
        return m->let[x->index];
    case TN_LX_OP:
        return eval_op(m, x);
    case TN_LX_SELECT:
        a = eval(m, x->b);
        b = eval(m, x->c);
        return eval(m, x->a).u ? a : b;
    case TN_LX_CAST: {
        tn_dtype from = tn_l_type(m->k, x->a);
        return x->index ? tn_cell_cast_saturate(from, x->dtype, eval(m, x->a))
                        : tn_cell_cast(from, x->dtype, eval(m, x->a));
    }
    case TN_LX_BITCAST:
        return eval_bits(m, x);
    case TN_LX_LOAD:
        if (x->b && !eval(m, x->b).u) return eval(m, x->c);
        return load(m, x->index, eval(m, x->a).i);
    case TN_LX_INVALID:
        break;
    }
    TN_BUG("kernel '%s' has an invalid expression", m->k->name);
}

static tn_cell eval(machine *m, tn_lx e) {
    uint64_t since = m->block_start[m->home[e]];
    if (m->known_since[e] != since) {
        m->value[e] = eval_fresh(m, &m->k->exprs.data[e]);
        m->known_since[e] = since;
    }
    return m->value[e];
}

/* ---- statements ----------------------------------------------------------------------------- */

static tn_cell fold(machine *m, const tn_lstmt *s) {
    tn_cell *part = m->part, none = {0};
    uint32_t n = m->k->registers.data[s->target].count;
    memcpy(part, m->reg[s->target], n * sizeof *part);
    for (uint32_t h = n / 2; h >= 1; h /= 2)
        for (uint32_t i = 0; i < h; i++)
            part[i] = tn_scalar_apply(s->op, s->dtype, part[i], part[i + h], none);
    return part[0];
}

static tn_cell ticket(machine *m, const tn_lstmt *s) {
    int64_t counter = eval(m, s->a).i;
    if (counter >= 0 && counter < m->k->counters)
        return (tn_cell){.i = __atomic_fetch_add(&m->args->counters[counter], 1, __ATOMIC_ACQ_REL)};
    fail(m, "the counter of", "tickets", counter, m->k->counters);
    return (tn_cell){0};
}

static tn_cell let(machine *m, const tn_lstmt *s) {
    switch (s->let) {
    case TN_LET_VALUE:
        return eval(m, s->a);
    case TN_LET_LOAD:
        if (s->b && !eval(m, s->b).u) return eval(m, s->c);
        return load(m, s->target, eval(m, s->a).i);
    case TN_LET_REGISTER: {
        const tn_cell *cell = register_cell(m, s->target, eval(m, s->a).i);
        return cell ? *cell : (tn_cell){0};
    }
    case TN_LET_FOLD:
        return fold(m, s);
    case TN_LET_TICKET:
        return ticket(m, s);
    }
    TN_BUG("kernel '%s' has an invalid LET", m->k->name);
}

/* Tasks run in any order and at once: no two of them may store the same element of a result. */
static void note_writer(machine *m, uint32_t buffer, int64_t at) {
    int64_t *writer = m->writer[buffer], task = m->var[0].i;
    if (!writer) return;
    if (writer[at] && writer[at] != task + 1)
        m->status = tn_error_set(m->err, TN_RUNTIME,
                                 "kernel '%s', statement %" PRIu32 ": tasks %" PRId64
                                 " and %" PRId64 " both store element %" PRId64 " of '%s'",
                                 m->k->name, m->at, writer[at] - 1, task, at,
                                 m->k->buffers.data[buffer].name);
    writer[at] = task + 1;
}

static void store(machine *m, const tn_lstmt *s) {
    tn_cell value = eval(m, s->b);
    int64_t at = eval(m, s->a).i;
    void *p = element(m, "the element stored to", s->target, at);
    if (!p) return;
    note_writer(m, s->target, at);
    tn_cell_store(m->k->buffers.data[s->target].dtype, p, value);
}

static void set(machine *m, const tn_lstmt *s) {
    tn_cell value = eval(m, s->b);
    tn_cell *cell = register_cell(m, s->target, eval(m, s->a).i);
    if (cell) *cell = value;
}

static void report(machine *m, const tn_lstmt *s) {
    int32_t none = 0;
    __atomic_compare_exchange_n(m->args->error, &none, (int32_t)s->target, false, __ATOMIC_RELAXED,
                                __ATOMIC_RELAXED);
}

static void transpose(machine *m, const tn_lstmt *s) {
    uint32_t n = tn_l_square(m->k, s->target);
    tn_cell *r = m->reg[s->target];
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < i; j++) {
            tn_cell t = r[i * n + j];
            r[i * n + j] = r[j * n + i];
            r[j * n + i] = t;
        }
}

static void run_block(machine *m, tn_ls first);

static void start_block(machine *m, uint32_t block, tn_ls first) {
    m->block_start[block] = ++m->clock;
    run_block(m, first);
}

static void run_loop(machine *m, tn_ls id, const tn_lstmt *s) {
    int64_t lo = eval(m, s->a).i, hi = eval(m, s->b).i;
    for (int64_t i = lo; i < hi && m->status == TN_OK; i++) {
        m->var[s->var].i = i;
        start_block(m, m->branch_block[id], s->body);
    }
}

static void run_block(machine *m, tn_ls first) {
    for (tn_ls id = first; id && m->status == TN_OK; id = m->k->stmts.data[id].next) {
        const tn_lstmt *s = &m->k->stmts.data[id];
        m->at = id;
        switch (s->kind) {
        case TN_LS_FOR:
            run_loop(m, id, s);
            break;
        case TN_LS_IF: {
            bool taken = eval(m, s->a).u;
            start_block(m, m->branch_block[id] + !taken, taken ? s->body : s->other);
            break;
        }
        case TN_LS_LET:
            m->let[id] = let(m, s);
            break;
        case TN_LS_STORE:
            store(m, s);
            break;
        case TN_LS_SET:
            set(m, s);
            break;
        case TN_LS_TRANSPOSE:
            transpose(m, s);
            break;
        case TN_LS_PREFETCH:
            break;
        case TN_LS_ERROR:
            report(m, s);
            break;
        case TN_LS_INVALID:
            TN_BUG("kernel '%s' has an invalid statement", m->k->name);
        }
    }
}

/* ---- entry ---------------------------------------------------------------------------------- */

typedef struct job {
    machine m;
    tn_arena arena;
    int64_t begin, end;
} job;

static tn_status run(void *argument, tn_error *err) {
    job *j = argument;
    j->m.err = err;
    machine_init(&j->m, &j->arena);
    for (int64_t task = j->begin; task < j->end && j->m.status == TN_OK; task++) {
        j->m.var[0].i = task;
        start_block(&j->m, 0, j->m.k->body);
    }
    return j->m.status;
}

tn_status tn_loop_interpret(const tn_loop *k, const tn_loop_args *args, int64_t begin, int64_t end,
                            tn_error *err) {
    job j = {.m = {.k = k, .args = args}, .begin = begin, .end = end};
    tn_arena_init(&j.arena, tn_allocator_system());
    tn_status status = tn_guard(run, &j, err);
    tn_arena_deinit(&j.arena);
    return status;
}
