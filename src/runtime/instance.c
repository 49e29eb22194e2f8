/* Binding a program to sizes. See instance.h. */
#include "runtime/instance.h"

#include <stdlib.h>

#include "runtime/instance_inner.h"
#include "runtime/memory.h"

/* One thread's rates, for deciding who works. Contractions reach the first; what else a step computes
 * is covered by the second. */
#define FLOPS_PER_SECOND 40e9
#define BYTES_PER_SECOND 10e9
/* Waking sleeping workers takes 15-25 us, a launch on waiting ones 0.3 us, and the rates above are a third of what
 * small runs reach. */
#define PARALLEL_STEP 2e-6
#define PARALLEL_RUN  100e-6
#define SMALL_RUN     10e-6 /* which may have the pool while it is awake */
#define GUESSED_WHILE 16    /* iterations of a while, for estimates */

tn_status tn_instance_create(const tn_executable *x, tn_instance **out, tn_error *err) {
    *out = calloc(1, sizeof **out);
    if (!*out) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    (*out)->x = x;
    tn_arena_init(&(*out)->arena, tn_allocator_system());
    return TN_OK;
}

void tn_instance_release(tn_instance *i) {
    if (!i) return;
    i->x->driver->release(i->memory);
    i->x->driver->release(i->scratch);
    tn_arena_deinit(&i->arena);
    free(i);
}

/* ---- sizes ---------------------------------------------------------------------------------- */

static tn_status check_symbols(const tn_program *p, const int64_t *symbols, tn_error *err) {
    for (uint32_t i = 0; i < p->dims->symbols.len; i++) {
        const tn_dim_symbol *s = &p->dims->symbols.data[i];
        if (symbols[i] < s->lo || symbols[i] > s->hi)
            return tn_error_set(err, TN_INVALID, "size %s is %lld, but must be in [%lld, %lld]",
                                s->name, (long long)symbols[i], (long long)s->lo, (long long)s->hi);
        if (s->divisor > 1 && symbols[i] % s->divisor != 0)
            return tn_error_set(err, TN_INVALID, "size %s is %lld, but must be a multiple of %lld",
                                s->name, (long long)symbols[i], (long long)s->divisor);
    }
    return TN_OK;
}

static tn_status evaluate_sizes(tn_instance *i, tn_error *err) {
    const tn_program *p = i->x->program;
    i->room = TN_NEW_N(&i->arena, uint64_t, p->buffers.len);
    i->bytes = TN_NEW_N(&i->arena, uint64_t, p->buffers.len);
    i->elements = TN_NEW_N(&i->arena, size_t, p->buffers.len);
    for (uint32_t b = 0; b < p->buffers.len; b++) {
        const tn_prog_buffer *buffer = &p->buffers.data[b];
        int64_t elements = tn__instance_most(i, buffer->elements);
        size_t bytes;
        if (elements < 0)
            return tn_error_set(err, TN_INVALID, "value '%s' has a negative size for these inputs",
                                buffer->name ? buffer->name : "(unnamed)");
        if (!tn_size_mul((size_t)elements, tn_dtype_size(buffer->dtype), &bytes) ||
            bytes > INT64_MAX / 2)
            return tn_error_set(err, TN_OUT_OF_MEMORY, "value '%s' is too large: %lld elements",
                                buffer->name ? buffer->name : "(unnamed)", (long long)elements);
        i->elements[b] = (size_t)elements;
        i->room[b] = i->bytes[b] = bytes;
    }
    return TN_OK;
}

/* ---- memory --------------------------------------------------------------------------------- */

static tn_status reserve(const tn_driver *d, uint8_t **memory, size_t *capacity, size_t size,
                         const char *what, tn_error *err) {
    if (*memory && size <= *capacity) return TN_OK;
    d->release(*memory);
    *capacity = 0;
    *memory = d->allocate(size);
    if (!*memory)
        return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory: %s take %zu bytes", what, size);
    *capacity = size;
    return TN_OK;
}

/* Outputs lie behind the temporaries. Returns the end. */
static uint64_t place_outputs(tn_instance *i, uint64_t *offset, uint64_t end) {
    const tn_program *p = i->x->program;
    for (uint32_t b = 0; b < p->buffers.len; b++) {
        if (p->buffers.data[b].store != TN_STORE_OUTPUT) continue;
        offset[b] = end;
        if (__builtin_add_overflow(end, (i->room[b] + 63) & ~(uint64_t)63, &end))
            tn_out_of_memory();
    }
    return end;
}

static void set_addresses(tn_instance *i, const uint64_t *offset) {
    const tn_program *p = i->x->program;
    for (uint32_t b = 0; b < p->buffers.len; b++) {
        const tn_prog_buffer *buffer = &p->buffers.data[b];
        switch (buffer->store) {
        case TN_STORE_WEIGHT:
            i->address[b] = (char *)(uintptr_t)i->x->sources[buffer->index] + buffer->offset;
            break;
        case TN_STORE_PREPARED:
            if (i->x->prepared) i->address[b] = i->x->prepared + buffer->offset;
            break;
        case TN_STORE_OUTPUT:
            i->own_output[buffer->index] = i->memory + offset[b];
            i->address[b] = i->memory + offset[b];
            break;
        case TN_STORE_TEMP:
            i->address[b] = i->memory + offset[b];
            break;
        case TN_STORE_INPUT:
        case TN_STORE_ALIAS:
            i->address[b] = NULL;
            break;
        }
    }
}

static tn_status place_memory(tn_instance *i, tn_error *err) {
    const tn_program *p = i->x->program;
    tn_memory_plan plan;
    tn_memory_place(p, i->room, &i->arena, &plan);
    uint64_t end = place_outputs(i, plan.offset, plan.total);
    i->use.temporaries = plan.total;
    i->use.outputs = end - plan.total;
    TN_CHECK(reserve(i->x->driver, &i->memory, &i->memory_capacity, end, "activations", err));
    i->address = TN_NEW_N(&i->arena, void *, p->buffers.len);
    i->own_output = TN_NEW_N(&i->arena, void *, p->outputs.len);
    i->given = TN_NEW_N(&i->arena, void *, p->inputs.len);
    set_addresses(i, plan.offset);
    return TN_OK;
}

/* ---- steps ---------------------------------------------------------------------------------- */

/* Work areas for the greatest sizes: they grow with each size. */
static size_t scratch_of(tn_instance *i, const tn_prog_step *s) {
    int64_t *scalars = TN_NEW_N(&i->arena, int64_t, s->scalar_count);
    for (uint32_t n = 0; n < s->scalar_count; n++) scalars[n] = tn__instance_most(i, s->scalars[n]);
    size_t bytes = tn_loop_scratch_bytes(i->x->program->kernels.data[s->kernel], scalars);
    return (bytes + 63) & ~(size_t)63;
}

static void bind_kernel(tn_instance *i, tn__bound_step *b) {
    const tn_prog_step *s = b->step;
    b->buffers = TN_NEW_N(&i->arena, void *, s->buffer_count);
    b->elements = TN_NEW_N(&i->arena, size_t, s->buffer_count);
    b->scalars = TN_NEW_N(&i->arena, int64_t, s->scalar_count);
    b->launch = (tn_launch){
        .kernel = i->x->program->kernels.data[s->kernel],
        .function = i->x->functions ? i->x->functions[s->kernel] : NULL,
        .buffers = b->buffers,
        .elements = b->elements,
        .scalars = b->scalars,
        .error = &i->error_slot,
    };
    i->scratch_stride = TN_MAX(i->scratch_stride, scratch_of(i, s));
}

static double max0(int64_t x) {
    return x > 0 ? (double)x : 0;
}

static double launch_cost(const tn_step_time *t) {
    return t->flops / FLOPS_PER_SECOND + t->bytes / BYTES_PER_SECOND;
}

static void bind_block(tn_instance *i, uint32_t block);

static void bind_control(tn_instance *i, tn__bound_step *b) {
    const tn_prog_step *s = b->step;
    double times = s->kind == TN_STEP_IF      ? 1
                   : s->kind == TN_STEP_WHILE ? GUESSED_WHILE
                                              : max0(b->length);
    for (int n = 0; n < (s->kind == TN_STEP_SCAN ? 1 : 2); n++) {
        bind_block(i, s->blocks[n]);
        b->cost += times * i->blocks[s->blocks[n]].cost;
        b->parallel |= i->blocks[s->blocks[n]].parallel;
    }
}

/* Steps of control flow keep their estimate: what is in their blocks is resized by itself. */
static void resize_kernel(tn_instance *i, tn__bound_step *b) {
    const tn_prog_step *s = b->step;
    tn_launch *l = &b->launch;
    for (uint32_t n = 0; n < s->scalar_count; n++)
        b->scalars[n] = tn__instance_size(i, s->scalars[n]);
    for (uint32_t n = 0; n < s->buffer_count; n++) b->elements[n] = i->elements[s->buffers[n]];
    l->tasks = tn_loop_task_count(l->kernel, l->scalars);
    b->cost = launch_cost(&i->times[b->index]);
    b->parallel = l->tasks > 1 && b->cost >= PARALLEL_STEP;
    /* An interpreted task takes far longer than the estimate; its counters are not atomic. */
    if (!l->function) b->parallel = l->tasks > 1 && l->kernel->counters == 0;
    i->times[b->index].parallel = b->parallel;
}

void tn__instance_resize_step(tn_instance *i, tn__bound_step *b) {
    const tn_prog_step *s = b->step;
    tn_step_time *t = &i->times[b->index];
    t->flops = max0(tn__instance_size(i, s->flops));
    t->bytes = max0(tn__instance_size(i, s->bytes));
    if (s->kind == TN_STEP_KERNEL) resize_kernel(i, b);
    if (s->kind == TN_STEP_COPY) b->cost = 2 * (double)i->bytes[s->buffers[0]] / BYTES_PER_SECOND;
    if (s->loop) b->length = tn__instance_size(i, s->loop->length);
}

static void bind_step(tn_instance *i, tn__bound_step *b, const tn_prog_step *s) {
    *b = (tn__bound_step){.step = s, .index = i->time_count++};
    i->times[b->index] = (tn_step_time){.step = s};
    if (s->kind == TN_STEP_KERNEL) bind_kernel(i, b);
    tn__instance_resize_step(i, b);
    if (s->kind == TN_STEP_IF || s->kind == TN_STEP_WHILE || s->kind == TN_STEP_SCAN)
        bind_control(i, b);
    i->times[b->index].parallel = b->parallel;
}

static void bind_block(tn_instance *i, uint32_t id) {
    const tn_prog_block *from = &i->x->program->blocks.data[id];
    tn__bound_block *to = &i->blocks[id];
    to->count = from->steps.len;
    to->steps = TN_NEW_N(&i->arena, tn__bound_step, to->count);
    for (uint32_t n = 0; n < to->count; n++) {
        bind_step(i, &to->steps[n], &from->steps.data[n]);
        to->cost += to->steps[n].cost;
        to->parallel |= to->steps[n].parallel;
    }
}

/* What each launch shares: scratch of all workers, ticket counters. */
static tn_status bind_scratch(tn_instance *i, tn_error *err) {
    const tn_program *p = i->x->program;
    uint32_t counters = 0;
    for (uint32_t n = 0; n < p->kernels.len; n++)
        counters = TN_MAX(counters, p->kernels.data[n]->counters);
    i->counters = TN_NEW_N(&i->arena, int32_t, counters);
    size_t total, workers = i->x->pool ? (size_t)tn_pool_threads(i->x->pool) : 1;
    if (!tn_size_mul(i->scratch_stride, workers, &total)) tn_out_of_memory();
    i->use.scratch = total;
    TN_CHECK(reserve(i->x->driver, &i->scratch, &i->scratch_capacity, total, "work areas", err));
    for (uint32_t b = 0; b < p->blocks.len; b++)
        for (uint32_t n = 0; n < i->blocks[b].count; n++) {
            tn_launch *l = &i->blocks[b].steps[n].launch;
            l->scratch = i->scratch;
            l->scratch_stride = i->scratch_stride;
            l->counters = i->counters;
        }
    return TN_OK;
}

static tn_status bind_steps(tn_instance *i, tn_error *err) {
    const tn_program *p = i->x->program;
    uint32_t steps = 0;
    for (uint32_t b = 0; b < p->blocks.len; b++) steps += p->blocks.data[b].steps.len;
    i->times = TN_NEW_N(&i->arena, tn_step_time, steps);
    i->time_count = 0;
    i->blocks = TN_NEW_N(&i->arena, tn__bound_block, p->blocks.len);
    i->scratch_stride = 0;
    if (i->symbols) bind_block(i, 0);
    bind_block(i, 1);
    if (i->most) tn__instance_find_dependents(i);
    return bind_scratch(i, err);
}

typedef struct bind_args {
    tn_instance *i;
    const int64_t *symbols;
} bind_args;

static void take_symbols(tn_instance *i, const int64_t *symbols) {
    size_t bytes = i->x->program->dims->symbols.len * sizeof *symbols;
    i->symbols = symbols ? tn_arena_dup(&i->arena, symbols, bytes) : NULL;
    i->given_for = symbols ? tn_arena_dup(&i->arena, symbols, bytes) : NULL;
    i->least = i->most = NULL;
    if (symbols) tn__instance_find_ranges(i);
}

static tn_status bind_guarded(void *argument, tn_error *err) {
    bind_args *a = argument;
    tn_instance *i = a->i;
    take_symbols(i, a->symbols);
    TN_CHECK(evaluate_sizes(i, err));
    TN_CHECK(tn__instance_check_demands(i, NULL, err));
    TN_CHECK(place_memory(i, err));
    return bind_steps(i, err);
}

static bool same_symbols(const tn_instance *i, const int64_t *symbols) {
    if (!i->symbols || !symbols) return !i->symbols && !symbols;
    size_t bytes = i->x->program->dims->symbols.len * sizeof *symbols;
    return bytes == 0 || memcmp(i->given_for, symbols, bytes) == 0;
}

tn_status tn_instance_bind(tn_instance *i, const int64_t *symbols, tn_error *err) {
    if (i->bound && same_symbols(i, symbols)) return TN_OK;
    if (symbols) TN_CHECK(check_symbols(i->x->program, symbols, err));
    i->bound = false;
    tn_arena_deinit(&i->arena);
    bind_args a = {i, symbols};
    TN_CHECK(tn_guard(bind_guarded, &a, err));
    i->bound = true;
    return TN_OK;
}

/* ---- measuring ------------------------------------------------------------------------------ */

static tn_status measure_guarded(void *argument, tn_error *err) {
    bind_args *a = argument;
    tn_instance *i = a->i;
    const tn_program *p = i->x->program;
    tn_memory_plan plan;
    take_symbols(i, a->symbols);
    TN_CHECK(evaluate_sizes(i, err));
    tn_memory_place(p, i->room, &i->arena, &plan);
    i->use.temporaries = plan.total;
    i->use.outputs = place_outputs(i, plan.offset, plan.total) - plan.total;
    for (uint32_t b = 0; b < p->blocks.len; b++)
        for (uint32_t n = 0; b != 1 && n < p->blocks.data[b].steps.len; n++) {
            const tn_prog_step *s = &p->blocks.data[b].steps.data[n];
            if (s->kind == TN_STEP_KERNEL)
                i->scratch_stride = TN_MAX(i->scratch_stride, scratch_of(i, s));
        }
    size_t total, workers = i->x->pool ? (size_t)tn_pool_threads(i->x->pool) : 1;
    if (!tn_size_mul(i->scratch_stride, workers, &total)) tn_out_of_memory();
    i->use.scratch = total;
    return TN_OK;
}

tn_status tn_instance_measure(const tn_executable *x, const int64_t *symbols, tn_memory_use *out,
                              tn_error *err) {
    tn_instance i = {.x = x};
    *out = (tn_memory_use){0};
    TN_CHECK(check_symbols(x->program, symbols, err));
    tn_arena_init(&i.arena, tn_allocator_system());
    bind_args a = {&i, symbols};
    tn_status status = tn_guard(measure_guarded, &a, err);
    tn_arena_deinit(&i.arena);
    *out = i.use;
    return status;
}

/* ---- runs ----------------------------------------------------------------------------------- */

void tn_instance_set_input(tn_instance *i, uint32_t input, const void *data) {
    uint32_t buffer = i->x->program->inputs.data[input].buffer;
    i->given[input] = i->address[buffer] = (void *)(uintptr_t)data;
}

void tn_instance_set_output(tn_instance *i, uint32_t output, void *data) {
    const tn_program *p = i->x->program;
    uint32_t id = p->outputs.data[output].buffer;
    const tn_prog_buffer *b = &p->buffers.data[id];
    if (b->store == TN_STORE_OUTPUT && b->index == output)
        i->address[id] = data ? data : i->own_output[output];
}

const int64_t *tn_instance_symbols(const tn_instance *i) {
    return i->symbols;
}

uint64_t tn_instance_output_room(const tn_instance *i, uint32_t output) {
    return i->room[i->x->program->outputs.data[output].buffer];
}

const void *tn_instance_output(const tn_instance *i, uint32_t output) {
    return i->address[i->x->program->outputs.data[output].buffer];
}

void tn_instance_reset(tn_instance *i) {
    i->poisoned = false;
}

tn_memory_use tn_instance_memory(const tn_instance *i) {
    return i->use;
}

void tn_instance_profile(tn_instance *i, bool on) {
    if (on && !i->profile)
        for (uint32_t n = 0; n < i->time_count; n++) i->times[n].seconds = 0, i->times[n].runs = 0;
    i->profile = on;
}

const tn_step_time *tn_instance_times(const tn_instance *i, uint32_t *count) {
    *count = i->bound ? i->time_count : 0;
    return i->times;
}

/* An input whose memory an output takes over is where the output is to be. */
static void place_taken(tn_instance *i) {
    const tn_program *p = i->x->program;
    for (uint32_t o = 0; o < p->outputs.len; o++) {
        uint32_t to = p->outputs.data[o].buffer, from = p->buffers.data[to].in_place_of;
        if (p->buffers.data[to].store != TN_STORE_OUTPUT || from == UINT32_MAX) continue;
        const void *given = i->given[p->buffers.data[from].index];
        if (given != i->address[to] && i->bytes[to]) memmove(i->address[to], given, i->bytes[to]);
        i->address[from] = i->address[to];
    }
}

static bool is_small(const tn_instance *i, const tn__bound_block *b) {
    return i->x->functions && i->x->pool && tn_pool_threads(i->x->pool) > 1 && b->parallel &&
           b->cost >= SMALL_RUN && b->cost < PARALLEL_RUN;
}

static tn_status run_small(tn_instance *i, uint32_t block, tn_error *err) {
    tn_pool *pool = i->x->pool;
    double began = tn_seconds();
    bool together = tn__small_run_begins(&i->small, began) && tn_pool_acquire(pool);
    if (together) tn_pool_stay_awake(pool, true);
    tn_status status = tn__instance_run_block(i, block, together ? pool : NULL, err);
    bool stay = tn__small_run_ends(&i->small, began, tn_seconds());
    if (!together) return status;
    tn_pool_stay_awake(pool, stay);
    tn_pool_leave(pool);
    return status;
}

static tn_status run_with_pool(tn_instance *i, uint32_t block, tn_error *err) {
    const tn__bound_block *b = &i->blocks[block];
    bool wants_pool = b->parallel && (b->cost >= PARALLEL_RUN || !i->x->functions);
    wants_pool |= block == 1 && i->x->supply;
    tn_pool *pool = wants_pool && i->x->pool && tn_pool_acquire(i->x->pool) ? i->x->pool : NULL;
    tn_status status = tn__instance_run_block(i, block, pool, err);
    if (pool) tn_pool_leave(pool);
    return status;
}

tn_status tn_instance_run(tn_instance *i, uint32_t block, tn_error *err) {
    TN_ASSERT(i->bound && block < 2 && (block == 1 || i->symbols));
    if (i->poisoned)
        return tn_error_set(err, TN_POISONED,
                            "an earlier run failed in the middle; load the state anew first");
    if (block == 0) place_taken(i);
    bool small = is_small(i, &i->blocks[block]);
    tn_status status = small ? run_small(i, block, err) : run_with_pool(i, block, err);
    i->poisoned = status != TN_OK;
    return status;
}
