/* Kernels of cumulative.
 *
 * Across: when another axis lies behind the one that is run along, vectors run along the last one. A
 * task takes all that lies behind the axis and goes through it in the order of memory, or a range of it
 * and then a few steps at a time, since what it reads of each step begins a new stream; the running
 * values are in scratch.
 *
 * Along: when the axis is the last, a task takes a row. n*n elements that follow each other, n the lanes
 * of a vector, are n segments: turned, their running values are n - 1 operations on vectors; the totals
 * of the segments are run through one by one, and what came before a segment is added when its vector
 * is stored. So a result is (sum of the segments before) + (sum within). Products run one by one: the
 * product of a segment may overflow where that of all elements does not.
 *
 * A chain of f32 sums would be off by more than a few bits after thousands of them. So what came before a
 * square is summed in f64, and across, an axis that may have more than BLOCK elements is run through in
 * blocks: a result is (sum of the blocks before, kept in f64 and rounded once a block) + (sum within). */
#include "loop/strips.h"
#include "ops/cumulative.h"

enum {
    LANES = 16,
    WHOLE = 4096,  /* elements behind the axis that one task takes */
    RANGE = 1024,  /* else elements of the last axis */
    FEW_TASKS = 4, /* for which ranges are cut smaller */
    LEAST_RANGE = 64,
    STEPS = 8, /* along the axis at a time, where a task reads a part of each row */
    BLOCK = 512,
};

typedef struct cumulative {
    tn_emit *e;
    const tn_node_info *n;
    const tn_attrs_cumulative *a;
    const tn_shape *shape;
    tn_dtype dtype, acc;
    int last;      /* the last axis that is not 1 */
    bool whole;    /* across: a task takes all that lies behind the axis */
    int64_t range; /* else this much of the last axis */
    tn_lx from;    /* across: the next steps along the axis, and their number */
    int steps;
    void (*act)(struct cumulative *,
                tn_lx slot); /* across: what is done at each element behind it */
    tn_lx index[TN_MAX_RANK], size;
    uint32_t running; /* across: scratch; along: register */
    bool blocks;      /* across: the axis is cut into blocks; then scratch for those before: */
    uint32_t before, total;
} cumulative;

static int64_t size_of(const cumulative *c, int axis) {
    int64_t size;
    bool known = tn_dim_const_value(c->e->graph->dims, c->shape->dim[axis], &size);
    return known ? size : RANGE;
}

static bool is_across(const cumulative *c) {
    return c->last > c->a->axis;
}

/* How tasks are cut across. */
static void choose_range(cumulative *c) {
    int64_t behind = 1, tasks = 1;
    for (int i = 0; i < c->shape->rank; i++) {
        int64_t *of = i > c->a->axis ? &behind : &tasks;
        if (i != c->a->axis && __builtin_mul_overflow(*of, size_of(c, i), of)) *of = INT64_MAX / 2;
    }
    int64_t row = size_of(c, c->last);
    c->whole = behind <= WHOLE && (tasks >= FEW_TASKS || behind < 2 * LEAST_RANGE);
    for (int i = (int)c->a->axis + 1; i <= c->last; i++)
        c->whole &= tn_dim_is_const(c->shape->dim[i]);
    if (!c->whole && behind > row) tasks = TN_MAX(tasks, behind / TN_MAX(1, row));
    c->range = RANGE;
    while (c->range > LEAST_RANGE && tasks * ((row + c->range - 1) / c->range) < FEW_TASKS)
        c->range /= 2;
}

static bool sums_f32(const cumulative *c) {
    return c->a->kind == TN_REDUCE_sum && c->acc == TN_f32;
}

static cumulative cumulative_of(tn_emit *e, const tn_node_info *n) {
    const tn_type *x = tn_node_type(e->graph, n, 0);
    cumulative c = {.e = e, .n = n, .a = n->attrs, .shape = &x->shape, .dtype = x->dtype};
    bool narrow = tn_dtype_is_float(x->dtype) && tn_dtype_bits(x->dtype) < 32;
    c.acc = narrow ? TN_f32 : x->dtype;
    c.last = x->shape.rank - 1;
    while (c.last > c.a->axis && x->shape.dim[c.last] == 1) c.last--;
    c.size = tn_emit_dim(e, x->shape.dim[c.a->axis]);
    c.blocks = sums_f32(&c) && tn_dim_hi(e->graph->dims, x->shape.dim[c.a->axis]) > BLOCK;
    choose_range(&c);
    return c;
}

/* Whether tasks are numbered by axis i, too. */
static bool is_outer(const cumulative *c, int i) {
    if (i == c->a->axis) return false;
    return i < c->a->axis || !is_across(c) || (!c->whole && i != c->last);
}

static int outer_axes(const cumulative *c, int *axis, tn_dim *dim) {
    int count = 0;
    for (int i = 0; i < c->shape->rank; i++) {
        if (!is_outer(c, i)) continue;
        dim[count] = c->shape->dim[i];
        axis[count++] = i;
    }
    return count;
}

static tn_lx ranges(const cumulative *c) {
    tn_loop *k = c->e->k;
    if (!is_across(c) || c->whole) return tn_l_int(k, 1);
    tn_lx row = tn_emit_dim(c->e, c->shape->dim[c->last]);
    return tn_l_div(k, tn_l_add(k, row, tn_l_int(k, c->range - 1)), tn_l_int(k, c->range));
}

static tn_lx cumulative_tasks(tn_emit *e, const tn_node_info *n) {
    cumulative c = cumulative_of(e, n);
    int axis[TN_MAX_RANK];
    tn_dim dim[TN_MAX_RANK];
    int count = outer_axes(&c, axis, dim);
    return tn_l_mul(e->k, tn_emit_count(e, dim, count), ranges(&c));
}

/* ---- one element ---------------------------------------------------------------------------- */

static tn_lx combined(const cumulative *c, tn_lx before, tn_lx value) {
    return tn_l_op2(c->e->k, tn_reduce_op(c->a->kind), before, value);
}

static tn_lx identity(const cumulative *c) {
    return tn_l_const(c->e->k, c->acc, tn_reduce_identity(c->a->kind, c->acc));
}

/* Goes to the element that comes `at`-th. */
static void go_to(cumulative *c, tn_lx at) {
    tn_loop *k = c->e->k;
    tn_lx last = tn_l_sub(k, c->size, tn_l_int(k, 1));
    c->index[c->a->axis] = c->a->reverse ? tn_l_sub(k, last, at) : at;
}

static tn_lx element(cumulative *c) {
    return tn_l_cast(c->e->k, c->e->operand(c->e, c->n, 0, c->index), c->acc, false);
}

static void put(cumulative *c, tn_lx value) {
    c->e->store(c->e, c->n, 0, c->index, tn_l_cast(c->e->k, value, c->dtype, false));
}

/* ---- across --------------------------------------------------------------------------------- */

static tn_lx scratch_at(const cumulative *c, uint32_t scratch, tn_lx slot) {
    return tn_l_load(c->e->k, scratch, slot, TN_LX_NONE, TN_LX_NONE);
}

/* Takes what the last block came to, or before the first one nothing, to those before. */
static void begin_block(cumulative *c, tn_lx slot) {
    tn_loop *k = c->e->k;
    tn_lx last = tn_l_cast(k, scratch_at(c, c->running, slot), TN_f64, false);
    tn_lx total = tn_l_let(k, tn_l_op2(k, TN_S_add, scratch_at(c, c->total, slot), last));
    tn_l_store(k, c->total, slot, total);
    tn_l_store(k, c->before, slot, tn_l_cast(k, total, TN_f32, false));
    tn_l_store(k, c->running, slot, identity(c));
}

static void begin_run(cumulative *c, tn_lx slot) {
    tn_loop *k = c->e->k;
    tn_l_store(k, c->running, slot, identity(c));
    if (c->blocks) tn_l_store(k, c->total, slot, tn_l_number(k, TN_f64, 0));
}

static void run_steps(cumulative *c, tn_lx slot) {
    tn_loop *k = c->e->k;
    tn_lx value = scratch_at(c, c->running, slot), before = TN_LX_NONE;
    if (c->blocks) before = scratch_at(c, c->before, slot);
    for (int i = 0; i < c->steps; i++) {
        go_to(c, tn_l_add(k, c->from, tn_l_int(k, i)));
        tn_lx next = tn_l_let(k, combined(c, value, element(c)));
        tn_lx result = c->a->exclusive ? value : next;
        put(c, c->blocks ? combined(c, before, result) : result);
        value = next;
    }
    tn_l_store(k, c->running, slot, value);
}

typedef struct across_run {
    cumulative *c;
    tn_lx offset; /* of running values from where they are on the last axis */
} across_run;

static void across_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    const across_run *r = context;
    tn_loop *k = r->c->e->k;
    tn_lx lane, at = tn_strip_open(k, base, width, limit, &lane);
    r->c->index[r->c->last] = at;
    r->c->act(r->c, tn_l_add(k, at, r->offset));
    tn_strip_close(k, limit);
}

/* All of the last axis from `lo` to `hi`, whose running values begin at `slot`. */
static void across_row(cumulative *c, tn_lx lo, tn_lx hi, tn_lx slot) {
    tn_loop *k = c->e->k;
    tn_strips(k, LANES, 1, lo, hi, across_strip, &(across_run){c, tn_l_sub(k, slot, lo)});
}

/* Does `act` at all elements behind the axis that the task takes, [lo, hi) of the last axis. */
static void across_all(cumulative *c, tn_lx lo, tn_lx hi, void (*act)(cumulative *, tn_lx)) {
    tn_loop *k = c->e->k;
    tn_lx slot = tn_l_int(k, 0);
    int opened = 0;
    c->act = act;
    for (int i = (int)c->a->axis + 1; c->whole && i < c->last; i++, opened++) {
        tn_lx extent = tn_emit_dim(c->e, c->shape->dim[i]);
        c->index[i] = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), extent, "i");
        slot = tn_l_add(k, tn_l_mul(k, slot, extent), c->index[i]);
    }
    across_row(c, lo, hi, tn_l_mul(k, slot, tn_l_sub(k, hi, lo)));
    for (int i = 0; i < opened; i++) tn_l_end(k);
}

/* Steps [from, end) along the axis. */
static void across_steps(cumulative *c, tn_lx from, tn_lx end, tn_lx lo, tn_lx hi) {
    tn_loop *k = c->e->k;
    int64_t known;
    c->steps = c->whole ? 1 : STEPS;
    tn_lx steps = tn_l_int(k, c->steps), count = tn_l_sub(k, end, from);
    tn_lx full = tn_l_div(k, count, steps);
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), full, "i");
    c->from = tn_l_add(k, from, tn_l_mul(k, i, steps));
    across_all(c, lo, hi, run_steps);
    tn_l_end(k);
    if (c->steps == 1 || (tn_l_is_const_int(k, count, &known) && known % c->steps == 0)) return;
    tn_lx rest = tn_l_add(k, from, tn_l_mul(k, full, steps));
    c->steps = 1;
    c->from = tn_l_for(k, TN_LOOP_SERIAL, rest, end, "i");
    across_all(c, lo, hi, run_steps);
    tn_l_end(k);
}

static void make_running(cumulative *c) {
    tn_loop *k = c->e->k;
    int64_t slots = c->whole ? 1 : c->range;
    for (int i = (int)c->a->axis + 1; c->whole && i <= c->last; i++) slots *= size_of(c, i);
    c->running = tn_l_scratch(k, c->acc, tn_l_int(k, slots), "running");
    if (!c->blocks) return;
    c->before = tn_l_scratch(k, TN_f32, tn_l_int(k, slots), "before");
    c->total = tn_l_scratch(k, TN_f64, tn_l_int(k, slots), "total");
}

static void across(cumulative *c, tn_lx range) {
    tn_loop *k = c->e->k;
    tn_lx row = tn_emit_dim(c->e, c->shape->dim[c->last]), zero = tn_l_int(k, 0), lo = zero,
          hi = row, block = tn_l_int(k, BLOCK);
    if (!c->whole) {
        lo = tn_l_mul(k, range, tn_l_int(k, c->range));
        hi = tn_l_min(k, row, tn_l_add(k, lo, tn_l_int(k, c->range)));
    }
    make_running(c);
    across_all(c, lo, hi, begin_run);
    if (!c->blocks) {
        across_steps(c, zero, c->size, lo, hi);
        return;
    }
    tn_lx blocks = tn_l_div(k, tn_l_add(k, c->size, tn_l_int(k, BLOCK - 1)), block);
    tn_lx from = tn_l_mul(k, tn_l_for(k, TN_LOOP_SERIAL, zero, blocks, "block"), block);
    across_all(c, lo, hi, begin_block);
    across_steps(c, from, tn_l_min(k, c->size, tn_l_add(k, from, block)), lo, hi);
    tn_l_end(k);
}

/* ---- along ---------------------------------------------------------------------------------- */

static void one_by_one(cumulative *c) {
    tn_loop *k = c->e->k;
    tn_lx zero = tn_l_int(k, 0);
    go_to(c, tn_l_for(k, TN_LOOP_SERIAL, zero, c->size, "i"));
    tn_lx before = tn_l_get(k, c->running, zero);
    tn_lx next = tn_l_let(k, combined(c, before, element(c)));
    put(c, c->a->exclusive ? before : next);
    tn_l_set(k, c->running, zero, next);
    tn_l_end(k);
}

/* A square of elements from `base` on, in a register of n*n. */
typedef struct square {
    uint32_t reg, before; /* before: what comes before each segment */
    int64_t n;
    tn_lx base;
    bool whole; /* else some of it may lie behind the end of the row */
} square;

static tn_lx square_at(tn_loop *k, const square *s, int64_t i, tn_lx lane) {
    return tn_l_add(k, tn_l_int(k, i * s->n), lane);
}

static tn_lx open_lanes(tn_loop *k, const square *s) {
    return tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, s->n), "l");
}

static void load_square(cumulative *c, const square *s) {
    tn_loop *k = c->e->k;
    for (int64_t i = 0; i < s->n; i++) {
        tn_lx lane = open_lanes(k, s), at = square_at(k, s, i, lane);
        if (!s->whole) { /* nothing behind the end */
            tn_l_set(k, s->reg, at, identity(c));
            tn_l_if(k, tn_l_lt(k, tn_l_add(k, s->base, at), c->size));
        }
        go_to(c, tn_l_add(k, s->base, at));
        tn_l_set(k, s->reg, at, element(c));
        if (!s->whole) tn_l_end(k);
        tn_l_end(k);
    }
}

/* Row j of the turned square holds the j-th elements of the segments: afterwards, what each segment
 * comes to with them. */
static void run_segments(cumulative *c, const square *s) {
    tn_loop *k = c->e->k;
    for (int64_t j = 1; j < s->n; j++) {
        tn_lx lane = open_lanes(k, s), at = square_at(k, s, j, lane);
        tn_lx before = tn_l_get(k, s->reg, square_at(k, s, j - 1, lane));
        tn_lx value = tn_l_let(k, combined(c, before, tn_l_get(k, s->reg, at)));
        tn_l_set(k, s->reg, at, value);
        if (j + 1 == s->n) tn_l_set(k, s->before, lane, value);
        tn_l_end(k);
    }
}

/* From the totals of the segments, in `before`, what comes before each: what comes before the square and what
 * comes before it within the square. So squares wait for each other in one operation only. */
static void run_totals(cumulative *c, const square *s) {
    tn_loop *k = c->e->k;
    tn_lx zero = tn_l_int(k, 0), running = tn_l_get(k, c->running, zero), within = identity(c);
    tn_dtype dtype = tn_l_type(k, running);
    tn_lx before = tn_l_let(k, tn_l_cast(k, running, c->acc, false));
    for (int64_t i = 0; i < s->n; i++) {
        tn_lx total = tn_l_get(k, s->before, tn_l_int(k, i));
        tn_l_set(k, s->before, tn_l_int(k, i), combined(c, before, within));
        within = tn_l_let(k, combined(c, within, total));
    }
    tn_l_set(k, c->running, zero, combined(c, running, tn_l_cast(k, within, dtype, false)));
}

static void shift_segments(cumulative *c, const square *s) {
    tn_loop *k = c->e->k;
    for (int64_t j = s->n - 1; j >= 0; j--) {
        tn_lx lane = open_lanes(k, s);
        tn_lx value = j ? tn_l_get(k, s->reg, square_at(k, s, j - 1, lane)) : identity(c);
        tn_l_set(k, s->reg, square_at(k, s, j, lane), value);
        tn_l_end(k);
    }
}

static void store_square(cumulative *c, const square *s) {
    tn_loop *k = c->e->k;
    for (int64_t i = 0; i < s->n; i++) {
        tn_lx before = tn_l_get(k, s->before, tn_l_int(k, i));
        tn_lx lane = open_lanes(k, s), at = square_at(k, s, i, lane);
        if (!s->whole) tn_l_if(k, tn_l_lt(k, tn_l_add(k, s->base, at), c->size));
        go_to(c, tn_l_add(k, s->base, at));
        put(c, combined(c, before, tn_l_get(k, s->reg, at)));
        if (!s->whole) tn_l_end(k);
        tn_l_end(k);
    }
}

static void run_square(cumulative *c, const square *s) {
    load_square(c, s);
    tn_l_transpose(c->e->k, s->reg);
    run_segments(c, s);
    run_totals(c, s);
    if (c->a->exclusive) shift_segments(c, s);
    tn_l_transpose(c->e->k, s->reg);
    store_square(c, s);
}

static void by_squares(cumulative *c, int64_t n) {
    tn_loop *k = c->e->k;
    square s = {.n = n, .whole = true};
    s.reg = tn_l_register(k, c->acc, (uint32_t)(n * n), "square");
    s.before = tn_l_register(k, c->acc, (uint32_t)n, "before");
    tn_lx side = tn_l_int(k, n * n), full = tn_l_div(k, c->size, side);
    tn_lx which = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), full, "square");
    s.base = tn_l_mul(k, which, side);
    run_square(c, &s);
    tn_l_end(k);
    int64_t known;
    if (tn_l_is_const_int(k, c->size, &known) && known % (n * n) == 0) return;
    s.base = tn_l_mul(k, full, side);
    s.whole = false;
    tn_l_if(k, tn_l_lt(k, s.base, c->size));
    run_square(c, &s);
    tn_l_end(k);
}

static void along(cumulative *c) {
    tn_loop *k = c->e->k;
    int64_t bytes = TN_MAX(16, (int64_t)c->e->vector_bytes);
    int64_t n = bytes / TN_MAX(4, (int64_t)tn_dtype_size(c->acc));
    int64_t most = tn_dim_hi(c->e->graph->dims, c->shape->dim[c->a->axis]);
    bool squares = c->a->kind != TN_REDUCE_prod && most >= 2 * n;
    tn_dtype dtype = squares && sums_f32(c) ? TN_f64 : c->acc;
    c->running = tn_l_register(k, dtype, 1, "running");
    tn_l_set(k, c->running, tn_l_int(k, 0),
             tn_l_const(k, dtype, tn_reduce_identity(c->a->kind, dtype)));
    if (squares)
        by_squares(c, n);
    else
        one_by_one(c);
}

static void cumulative_body(tn_emit *e, const tn_node_info *n, tn_lx task) {
    cumulative c = cumulative_of(e, n);
    int axis[TN_MAX_RANK];
    tn_dim dim[TN_MAX_RANK];
    tn_lx outer[TN_MAX_RANK], count = ranges(&c), zero = tn_l_int(e->k, 0);
    for (int i = 0; i < c.shape->rank; i++) c.index[i] = zero;
    int outers = outer_axes(&c, axis, dim);
    tn_emit_delinear(e, tn_l_div(e->k, task, count), dim, outers, outer);
    for (int i = 0; i < outers; i++) c.index[axis[i]] = outer[i];
    if (is_across(&c))
        across(&c, tn_l_mod(e->k, task, count));
    else
        along(&c);
}

const tn_nest_rules tn__cumulative_nest = {cumulative_tasks, cumulative_body, true};
