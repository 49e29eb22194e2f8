/* Running the steps of a bound program, control flow included.
 *
 * Blocks run on the calling thread; kernels use the pool where it pays. Loop states alternate
 * between two spare copies; the bodies see them through aliases, whose addresses are set here. */
#include "base/io.h"
#include "runtime/instance_inner.h"

typedef struct runner {
    tn_instance *i;
    tn_pool *pool;
    tn_error *err;
} runner;

static tn_status run_block(runner *r, uint32_t block);

/* ---- kernels -------------------------------------------------------------------------------- */

static tn_status kernel_error(runner *r, const tn_prog_step *s) {
    const tn_program *p = r->i->x->program;
    uint32_t code = (uint32_t)r->i->error_slot;
    r->i->error_slot = 0;
    const char *text =
        code > 0 && code <= p->errors.len ? p->errors.data[code - 1] : "unknown error";
    return tn_error_set(r->err, TN_RUNTIME, "%s%s%s", text, s->name ? ", in kernel " : "",
                        s->name ? s->name : "");
}

static tn_status run_kernel(runner *r, tn__bound_step *b) {
    tn_instance *i = r->i;
    const tn_prog_step *s = b->step;
    for (uint32_t n = 0; n < s->buffer_count; n++) b->buffers[n] = i->address[s->buffers[n]];
    uint32_t counters = b->launch.kernel->counters;
    if (counters) memset(i->counters, 0, counters * sizeof *i->counters);
    b->launch.pool = b->parallel ? r->pool : NULL;
    TN_TRY(r->err, i->x->driver->launch(&b->launch, r->err), "kernel %s", s->name ? s->name : "");
    return i->error_slot ? kernel_error(r, s) : TN_OK;
}

static void copy_buffer(tn_instance *i, uint32_t to, uint32_t from) {
    if (i->address[to] != i->address[from] && i->bytes[from])
        memmove(i->address[to], i->address[from], i->bytes[from]);
}

/* ---- control flow --------------------------------------------------------------------------- */

static bool read_flag(const tn_instance *i, uint32_t id) {
    return *(const uint8_t *)i->address[id] != 0;
}

/* States enter iteration `t`: read where iteration t-1 wrote, write to the other copy. */
static void turn_states(tn_instance *i, const tn_prog_loop *l, int64_t t) {
    for (uint32_t n = 0; n < l->states; n++) {
        uint32_t from = t == 0 ? l->initial[n] : l->spare[2 * n + (uint32_t)((t - 1) & 1)];
        i->address[l->in[n]] = i->address[from];
        i->address[l->out[n]] = i->address[l->spare[2 * n + (uint32_t)(t & 1)]];
    }
}

/* After a turn `in` is the newest state. */
static void finish_states(tn_instance *i, const tn_prog_loop *l) {
    for (uint32_t n = 0; n < l->states; n++) copy_buffer(i, l->result[n], l->in[n]);
}

static tn_status run_while(runner *r, const tn__bound_step *b) {
    const tn_prog_loop *l = b->step->loop;
    for (int64_t t = 0;; t++) {
        turn_states(r->i, l, t);
        TN_CHECK(run_block(r, b->step->blocks[0]));
        if (!read_flag(r->i, l->flag)) break;
        TN_CHECK(run_block(r, b->step->blocks[1]));
    }
    finish_states(r->i, l);
    return TN_OK;
}

static void set_slices(tn_instance *i, const uint32_t *whole, const uint32_t *slice, uint32_t count,
                       int64_t at) {
    for (uint32_t n = 0; n < count; n++)
        i->address[slice[n]] = (uint8_t *)i->address[whole[n]] + (uint64_t)at * i->bytes[slice[n]];
}

static tn_status run_scan(runner *r, const tn__bound_step *b) {
    const tn_prog_loop *l = b->step->loop;
    for (int64_t t = b->first; t < b->first + b->length; t++) {
        int64_t at = l->reverse ? b->length - 1 - t : t;
        turn_states(r->i, l, t);
        set_slices(r->i, l->xs, l->slice_in, l->xs_count, at);
        set_slices(r->i, l->ys, l->slice_out, l->ys_count, at);
        TN_CHECK(run_block(r, b->step->blocks[0]));
    }
    turn_states(r->i, l, TN_MAX(b->length, 0));
    finish_states(r->i, l);
    return TN_OK;
}

static tn_status run_control(runner *r, const tn__bound_step *b) {
    const tn_prog_step *s = b->step;
    if (s->kind == TN_STEP_IF)
        return run_block(r, s->blocks[read_flag(r->i, s->buffers[0]) ? 0 : 1]);
    return s->kind == TN_STEP_WHILE ? run_while(r, b) : run_scan(r, b);
}

/* ---- steps ---------------------------------------------------------------------------------- */

static tn_status run_step(runner *r, tn__bound_step *b) {
    switch (b->step->kind) {
    case TN_STEP_KERNEL:
        return run_kernel(r, b);
    case TN_STEP_COPY:
        copy_buffer(r->i, b->step->buffers[1], b->step->buffers[0]);
        return TN_OK;
    case TN_STEP_SIZE:
        return tn__instance_run_size(r->i, b, r->err);
    default:
        return run_control(r, b);
    }
}

static tn_status run_timed(runner *r, tn__bound_step *b) {
    tn_step_time *t = &r->i->times[b->index];
    double start = tn_seconds();
    tn_status status = run_step(r, b);
    t->seconds += tn_seconds() - start;
    t->runs++;
    return status;
}

static tn_status run_block(runner *r, uint32_t block) {
    tn__bound_block *b = &r->i->blocks[block];
    if (block > 1) TN_CHECK(tn__instance_enter_block(r->i, block, r->err));
    for (uint32_t n = 0; n < b->count; n++)
        TN_CHECK(r->i->profile ? run_timed(r, &b->steps[n]) : run_step(r, &b->steps[n]));
    return TN_OK;
}

tn_status tn__instance_run_step(tn_instance *i, tn__bound_step *b, tn_pool *pool, tn_error *err) {
    runner r = {.i = i, .pool = pool, .err = err};
    return run_step(&r, b);
}

tn_status tn__instance_run_block(tn_instance *i, uint32_t block, tn_pool *pool, tn_error *err) {
    runner r = {.i = i, .pool = pool, .err = err};
    i->error_slot = 0;
    if (block == 1 && i->x->supply) return tn__supply_prepare(i, pool, err);
    return run_block(&r, block);
}
