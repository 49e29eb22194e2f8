/* Running `prepare` over windows of its weights. See supply.h. */
#include "runtime/supply.h"

#include "loop/reads.h"
#include "runtime/instance_inner.h"

/* A source that a step reads. */
typedef struct reading {
    uint32_t source;
    bool last;     /* no later step of `prepare` reads it */
    uint64_t size; /* bytes that are read of it */
    int times;     /* operands that it is */
    uint64_t *from,
        *to; /* per range of tasks; `from` is the least of this range and those behind */
} reading;

typedef struct supplying {
    tn_instance *i;
    tn_pool *pool;
    uint32_t *last;   /* per source: 1 + the last step of block 1 that reads it */
    tn_arena scratch; /* of a range */
} supplying;

/* ---- which sources a step reads ----------------------------------------------------------------- */

typedef void visit(void *context, uint32_t buffer);

static void visit_buffers(const tn_program *p, const tn_prog_step *s, visit *each, void *context) {
    for (uint32_t n = 0; n < s->buffer_count; n++) each(context, s->buffers[n]);
    const tn_prog_loop *l = s->loop;
    for (uint32_t n = 0; l && n < l->states; n++) each(context, l->initial[n]);
    for (uint32_t n = 0; l && n < l->xs_count; n++) each(context, l->xs[n]);
    int blocks = s->kind == TN_STEP_KERNEL || s->kind == TN_STEP_COPY ? 0
                 : s->kind == TN_STEP_SCAN                            ? 1
                                                                      : 2;
    for (int b = 0; b < blocks; b++) {
        const tn_prog_block *block = &p->blocks.data[s->blocks[b]];
        for (uint32_t n = 0; n < block->steps.len; n++)
            visit_buffers(p, &block->steps.data[n], each, context);
    }
}

static bool is_supplied(const tn_instance *i, uint32_t buffer) {
    const tn_prog_buffer *b = &i->x->program->buffers.data[buffer];
    return b->store == TN_STORE_WEIGHT && i->x->supply->has(i->x->supply->context, b->index);
}

typedef struct noting {
    supplying *s;
    uint32_t step;
    TN_VEC(reading) readings;
} noting;

static void note_last(void *context, uint32_t buffer) {
    noting *x = context;
    if (is_supplied(x->s->i, buffer))
        x->s->last[x->s->i->x->program->buffers.data[buffer].index] = x->step + 1;
}

static reading *reading_of(noting *x, uint32_t source) {
    for (uint32_t n = 0; n < x->readings.len; n++)
        if (x->readings.data[n].source == source) return &x->readings.data[n];
    return NULL;
}

static void note_reading(void *context, uint32_t buffer) {
    noting *x = context;
    tn_instance *i = x->s->i;
    if (!is_supplied(i, buffer)) return;
    const tn_prog_buffer *b = &i->x->program->buffers.data[buffer];
    reading *r = reading_of(x, b->index);
    if (!r) {
        bool last = x->s->last[b->index] == x->step + 1;
        tn_vec_push(&i->arena, &x->readings, (reading){.source = b->index, .last = last});
        r = &x->readings.data[x->readings.len - 1];
    }
    r->size = TN_MAX(r->size, b->offset + i->bytes[buffer]);
    r->times++;
}

/* ---- ranges ------------------------------------------------------------------------------------- */

/* Whether all that comes is cut into slices by this loop, which has no order. */
static bool is_sliced(const noting *x, const tn__bound_step *b) {
    const tn_prog_loop *l = b->step->loop;
    const tn_program *p = x->s->i->x->program;
    if (b->step->kind != TN_STEP_SCAN || l->states || l->reverse) return false;
    for (uint32_t n = 0; n < x->readings.len; n++) {
        bool is = false;
        for (uint32_t k = 0; k < l->xs_count; k++)
            is |= is_supplied(x->s->i, l->xs[k]) &&
                  p->buffers.data[l->xs[k]].index == x->readings.data[n].source;
        if (!is || x->readings.data[n].times > 1) return false;
    }
    return true;
}

/* The grid of a kernel, or the iterations of a loop; 1: neither can be done in parts. */
static int64_t extent_of(const noting *x, const tn__bound_step *b) {
    if (b->step->kind == TN_STEP_KERNEL) return b->launch.kernel->counters ? 1 : b->launch.tasks;
    return is_sliced(x, b) ? b->length : 1;
}

static int64_t count_ranges(const noting *x, int64_t extent) {
    uint64_t bytes = 0;
    for (uint32_t n = 0; n < x->readings.len; n++) bytes += x->readings.data[n].size;
    return TN_MAX(1, TN_MIN((int64_t)(bytes / TN_SUPPLY_WINDOW), extent));
}

static int64_t range_begin(int64_t extent, int64_t range, int64_t ranges) {
    int64_t each = extent / ranges, rest = extent % ranges;
    return range * each + TN_MIN(range, rest);
}

static void note_part(noting *x, uint32_t buffer, int64_t range, uint64_t begin, uint64_t end) {
    const tn_prog_buffer *p = &x->s->i->x->program->buffers.data[buffer];
    uint64_t all = x->s->i->bytes[buffer];
    reading *r = reading_of(x, p->index);
    r->from[range] = TN_MIN(r->from[range], p->offset + TN_MIN(begin, all));
    r->to[range] = TN_MAX(r->to[range], p->offset + TN_MIN(end, all));
}

/* What tasks read of the kernel's buffers. */
static void note_tasks(noting *x, const tn__bound_step *b, int64_t range, int64_t begin,
                       int64_t end) {
    const tn_instance *i = x->s->i;
    const tn_loop *k = b->launch.kernel;
    tn_arena *arena = &x->s->scratch;
    tn_arena_clear(arena);
    tn_loop_extent *reads = TN_NEW_N(arena, tn_loop_extent, k->buffers.len);
    tn_loop_reads(k, b->launch.scalars, begin, end, arena, reads);
    for (uint32_t n = 0, place = 0; n < k->buffers.len; n++) {
        if (k->buffers.data[n].kind == TN_LBUF_SCRATCH) continue;
        uint32_t buffer = b->step->buffers[place++];
        if (reads[n].begin >= reads[n].end || !is_supplied(i, buffer)) continue;
        uint64_t all = i->elements[buffer];
        uint64_t element = tn_dtype_size(i->x->program->buffers.data[buffer].dtype);
        note_part(x, buffer, range, TN_MIN((uint64_t)reads[n].begin, all) * element,
                  TN_MIN((uint64_t)reads[n].end, all) * element);
    }
}

static void note_iterations(noting *x, const tn__bound_step *b, int64_t range, int64_t begin,
                            int64_t end) {
    const tn_prog_loop *l = b->step->loop;
    for (uint32_t n = 0; n < l->xs_count; n++) {
        uint64_t bytes = x->s->i->bytes[l->slice_in[n]];
        if (is_supplied(x->s->i, l->xs[n]))
            note_part(x, l->xs[n], range, (uint64_t)begin * bytes, (uint64_t)end * bytes);
    }
}

static void note_range(noting *x, const tn__bound_step *b, int64_t range, int64_t begin,
                       int64_t end) {
    if (b->step->kind == TN_STEP_KERNEL)
        note_tasks(x, b, range, begin, end);
    else
        note_iterations(x, b, range, begin, end);
}

static void note_ranges(noting *x, const tn__bound_step *b, int64_t extent, int64_t ranges) {
    for (uint32_t n = 0; n < x->readings.len; n++) {
        reading *r = &x->readings.data[n];
        r->from = TN_NEW_N(&x->s->i->arena, uint64_t, ranges);
        r->to = TN_NEW_N(&x->s->i->arena, uint64_t, ranges);
        for (int64_t k = 0; k < ranges; k++) r->from[k] = ranges > 1 ? r->size : 0;
        if (ranges == 1) r->to[0] = r->size;
    }
    for (int64_t k = 0; k < ranges && ranges > 1; k++)
        note_range(x, b, k, range_begin(extent, k, ranges), range_begin(extent, k + 1, ranges));
    for (uint32_t n = 0; n < x->readings.len; n++)
        for (int64_t k = ranges - 1; k > 0; k--)
            x->readings.data[n].from[k - 1] =
                TN_MIN(x->readings.data[n].from[k - 1], x->readings.data[n].from[k]);
}

/* ---- running ------------------------------------------------------------------------------------ */

static tn_status run_range(supplying *s, tn__bound_step *b, int64_t begin, int64_t end,
                           tn_error *err) {
    tn__bound_step part = *b;
    if (b->step->kind == TN_STEP_KERNEL) {
        part.launch.first = begin;
        part.launch.tasks = end - begin;
    } else if (b->step->kind == TN_STEP_SCAN) {
        part.first = begin;
        part.length = end - begin;
    }
    return tn__instance_run_step(s->i, &part, s->pool, err);
}

static tn_status run_step(supplying *s, uint32_t step, tn_error *err) {
    tn__bound_step *b = &s->i->blocks[1].steps[step];
    const tn_supply *from = s->i->x->supply;
    noting x = {.s = s, .step = step};
    visit_buffers(s->i->x->program, b->step, note_reading, &x);
    int64_t extent = extent_of(&x, b), ranges = count_ranges(&x, extent);
    note_ranges(&x, b, extent, ranges);
    for (int64_t k = 0; k < ranges; k++) {
        for (uint32_t n = 0; n < x.readings.len; n++)
            from->need(from->context, x.readings.data[n].source, x.readings.data[n].to[k], s->pool);
        TN_CHECK(ranges == 1 ? tn__instance_run_step(s->i, b, s->pool, err)
                             : run_range(s, b, range_begin(extent, k, ranges),
                                         range_begin(extent, k + 1, ranges), err));
        for (uint32_t n = 0; n < x.readings.len; n++) {
            const reading *r = &x.readings.data[n];
            uint64_t end = k + 1 < ranges ? r->from[k + 1] : r->size;
            if (r->last) from->done(from->context, r->source, end);
        }
    }
    return TN_OK;
}

static tn_status run_guarded(void *argument, tn_error *err) {
    supplying *s = argument;
    const tn_program *p = s->i->x->program;
    s->last = TN_NEW_N(&s->i->arena, uint32_t, p->sources.len);
    for (uint32_t n = 0; n < s->i->blocks[1].count; n++) {
        noting x = {.s = s, .step = n};
        visit_buffers(p, s->i->blocks[1].steps[n].step, note_last, &x);
    }
    for (uint32_t n = 0; n < s->i->blocks[1].count; n++) TN_CHECK(run_step(s, n, err));
    return TN_OK;
}

tn_status tn__supply_prepare(tn_instance *i, tn_pool *pool, tn_error *err) {
    supplying s = {.i = i, .pool = pool};
    tn_arena_init(&s.scratch, tn_allocator_system());
    tn_status status = tn_guard(run_guarded, &s, err);
    tn_arena_deinit(&s.scratch);
    return status;
}
