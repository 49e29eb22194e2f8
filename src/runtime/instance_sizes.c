/* Sizes that a run binds. See instance_inner.h.
 *
 * Each has a range in a binding: from 0 to its bound, evaluated with the greatest values of those before.
 * Memory is placed for the greatest value of every size, by interval arithmetic; a step that binds a size
 * evaluates what hangs on it again, in place. */
#include "runtime/instance_inner.h"

/* Without symbols only constants count; the rest belongs to block 0 and is not looked at. */
int64_t tn__instance_size(const tn_instance *i, tn_dim d) {
    int64_t value = 0;
    if (tn_dim_is_const(d)) return d;
    if (i->symbols) return tn_dim_eval(i->x->program->dims, d, i->symbols);
    return tn_dim_const_value(i->x->program->dims, d, &value) ? value : 0;
}

int64_t tn__instance_most(const tn_instance *i, tn_dim d) {
    if (!i->most) return tn__instance_size(i, d);
    return tn_dim_eval_most(i->x->program->dims, d, i->least, i->most);
}

static uint32_t symbol_of(const tn_program *p, const tn_prog_step *s) {
    uint32_t symbol = 0;
    bool known = tn_dim_is_symbol(p->dims, s->scalars[0], &symbol);
    TN_ASSERT(known);
    return symbol;
}

void tn__instance_find_ranges(tn_instance *i) {
    const tn_program *p = i->x->program;
    int64_t *least = NULL, *most = NULL;
    for (uint32_t n = 0; n < p->blocks.data[0].steps.len; n++) {
        const tn_prog_step *s = &p->blocks.data[0].steps.data[n];
        if (s->kind != TN_STEP_SIZE) continue;
        if (!least) {
            size_t bytes = p->dims->symbols.len * sizeof *least;
            least = tn_arena_dup(&i->arena, i->symbols, bytes);
            most = tn_arena_dup(&i->arena, i->symbols, bytes);
        }
        uint32_t symbol = symbol_of(p, s);
        int64_t bound = tn_dim_eval_most(p->dims, s->scalars[1], least, most);
        least[symbol] = 0;
        most[symbol] = TN_MAX(0, TN_MIN(bound, p->dims->symbols.data[symbol].hi));
        i->symbols[symbol] = most[symbol];
    }
    i->least = least;
    i->most = most;
}

/* ---- what hangs on a size ------------------------------------------------------------------- */

/* What hangs on several sizes waits for the last: before that it has no value. */
typedef struct dependents {
    tn_instance *i;
    tn__run_size **size; /* per symbol: that a run binds */
    uint32_t *order;     /* per symbol: when, from 1; 0: not by a run */
    uint32_t *wait;      /* per buffer: the symbol of its last size, by order */
} dependents;

static uint32_t later(const dependents *d, uint32_t a, uint32_t b) {
    if (a == UINT32_MAX || b == UINT32_MAX) return a == UINT32_MAX ? b : a;
    return d->order[a] < d->order[b] ? b : a;
}

/* The last of its symbols that the run binds; UINT32_MAX: none. */
static uint32_t last_of(const dependents *d, tn_dim dim) {
    const tn_dims *t = d->i->x->program->dims;
    uint32_t last = UINT32_MAX;
    for (uint32_t s = 0; s < t->symbols.len && !tn_dim_is_const(dim); s++)
        if (d->order[s] && tn_dim_uses_symbol(t, dim, s)) last = later(d, last, s);
    return last;
}

static uint32_t last_of_step(const dependents *d, const tn_prog_step *s) {
    uint32_t last = later(d, last_of(d, s->flops), last_of(d, s->bytes));
    for (uint32_t n = 0; n < s->scalar_count; n++) last = later(d, last, last_of(d, s->scalars[n]));
    for (uint32_t n = 0; n < s->buffer_count; n++) last = later(d, last, d->wait[s->buffers[n]]);
    return s->loop ? later(d, last, last_of(d, s->loop->length)) : last;
}

static void list_sizes(dependents *d) {
    tn_instance *i = d->i;
    for (uint32_t n = 0; n < i->blocks[0].count; n++) {
        tn__bound_step *b = &i->blocks[0].steps[n];
        if (b->step->kind != TN_STEP_SIZE) continue;
        b->size = TN_NEW(&i->arena, tn__run_size);
        b->size->symbol = symbol_of(i->x->program, b->step);
        d->size[b->size->symbol] = b->size;
        d->order[b->size->symbol] = n + 1;
    }
}

void tn__instance_find_dependents(tn_instance *i) {
    const tn_program *p = i->x->program;
    dependents d = {.i = i};
    d.size = TN_NEW_N(&i->arena, tn__run_size *, p->dims->symbols.len);
    d.order = TN_NEW_N(&i->arena, uint32_t, p->dims->symbols.len);
    d.wait = TN_NEW_N(&i->arena, uint32_t, p->buffers.len);
    list_sizes(&d);
    for (uint32_t b = 0; b < p->buffers.len; b++) {
        d.wait[b] = last_of(&d, p->buffers.data[b].elements);
        if (d.wait[b] != UINT32_MAX) tn_vec_push(&i->arena, &d.size[d.wait[b]]->buffers, b);
    }
    for (uint32_t b = 0; b < p->blocks.len; b++)
        for (uint32_t n = 0; n < i->blocks[b].count; n++) {
            tn__bound_step *s = &i->blocks[b].steps[n];
            uint32_t last = last_of_step(&d, s->step);
            if (last != UINT32_MAX && s->step->kind != TN_STEP_SIZE)
                tn_vec_push(&i->arena, &d.size[last]->steps, s);
        }
    for (uint32_t n = 0; n < p->demands.len; n++) {
        const tn_prog_demand *demand = &p->demands.data[n];
        uint32_t last = later(&d, last_of(&d, demand->size), last_of(&d, demand->room));
        if (last != UINT32_MAX && demand->block == 0)
            tn_vec_push(&i->arena, &d.size[last]->demands, demand);
    }
}

/* ---- demands -------------------------------------------------------------------------------- */

static tn_status check_demand(const tn_instance *i, const tn_prog_demand *d, tn_error *err) {
    if (tn__instance_size(i, d->size) <= 0 || tn__instance_size(i, d->room) >= 0) return TN_OK;
    uint64_t missing = 0 - (uint64_t)tn__instance_size(i, d->room);
    return tn_error_set(err, TN_INVALID,
                        "%s: for these sizes it takes %llu elements more than its input has",
                        d->node, (unsigned long long)missing);
}

tn_status tn__instance_enter_block(const tn_instance *i, uint32_t block, tn_error *err) {
    const tn_program *p = i->x->program;
    for (uint32_t n = 0; n < p->demands.len; n++)
        if (p->demands.data[n].block == block) TN_CHECK(check_demand(i, &p->demands.data[n], err));
    return TN_OK;
}

static bool run_binds(const tn_instance *i, tn_dim d) {
    const tn_dims *t = i->x->program->dims;
    if (!i->most || tn_dim_is_const(d)) return false;
    for (uint32_t s = 0; s < t->symbols.len; s++)
        if (i->least[s] != i->most[s] && tn_dim_uses_symbol(t, d, s)) return true;
    return false;
}

tn_status tn__instance_check_demands(const tn_instance *i, const tn__run_size *size,
                                     tn_error *err) {
    const tn_program *p = i->x->program;
    if (!i->symbols) return TN_OK;
    for (uint32_t n = 0; size && n < size->demands.len; n++)
        TN_CHECK(check_demand(i, size->demands.data[n], err));
    for (uint32_t n = 0; !size && n < p->demands.len; n++) {
        const tn_prog_demand *d = &p->demands.data[n];
        if (d->block || run_binds(i, d->size) || run_binds(i, d->room)) continue;
        TN_CHECK(check_demand(i, d, err));
    }
    return TN_OK;
}

/* ---- running -------------------------------------------------------------------------------- */

typedef struct resize_args {
    tn_instance *i;
    const tn__run_size *size;
} resize_args;

/* Takes no memory; sizes without reason end as if it did. */
static tn_status resize_guarded(void *argument, tn_error *err) {
    tn_instance *i = ((resize_args *)argument)->i;
    const tn__run_size *size = ((resize_args *)argument)->size;
    const tn_program *p = i->x->program;
    for (uint32_t n = 0; n < size->buffers.len; n++) {
        uint32_t b = size->buffers.data[n];
        int64_t elements = tn__instance_size(i, p->buffers.data[b].elements);
        uint64_t bytes = (uint64_t)elements * tn_dtype_size(p->buffers.data[b].dtype);
        if (elements < 0 || bytes > i->room[b])
            return tn_error_set(err, TN_RUNTIME, "value '%s' has a size that was not planned for",
                                p->buffers.data[b].name ? p->buffers.data[b].name : "(unnamed)");
        i->elements[b] = (size_t)elements;
        i->bytes[b] = bytes;
    }
    for (uint32_t n = 0; n < size->steps.len; n++) {
        tn__bound_step *s = size->steps.data[n];
        tn__instance_resize_step(i, s);
        if (s->step->kind == TN_STEP_KERNEL &&
            tn_loop_scratch_bytes(s->launch.kernel, s->launch.scalars) > i->scratch_stride)
            return tn_error_set(err, TN_RUNTIME, "kernel %s has a size that was not planned for",
                                s->step->name ? s->step->name : "");
    }
    return TN_OK;
}

tn_status tn__instance_run_size(tn_instance *i, const tn__bound_step *b, tn_error *err) {
    const tn_program *p = i->x->program;
    const tn_prog_step *s = b->step;
    const tn__run_size *size = b->size;
    const tn_dim_symbol *symbol = &p->dims->symbols.data[size->symbol];
    int64_t n = *(const int64_t *)i->address[s->buffers[0]];
    int64_t most = TN_MIN(tn__instance_size(i, s->scalars[1]), i->most[size->symbol]);
    int64_t least = TN_MAX(0, symbol->lo);
    if (n < least || n > most)
        return tn_error_set(err, TN_RUNTIME, "size %s is %lld, but must be in [%lld, %lld]",
                            symbol->name, (long long)n, (long long)least, (long long)most);
    *(int64_t *)i->address[s->buffers[1]] = n;
    i->symbols[size->symbol] = n;
    TN_CHECK(tn__instance_check_demands(i, size, err));
    resize_args a = {i, size};
    return tn_guard(resize_guarded, &a, err);
}
