/* conv with 3×3 windows and constant weights by minimal filtering (winograd.h), in one kernel.
 *
 *   task = (filter of the batch, block of its tiles of m×m outputs, range of column panels)
 *   V[point][tile][channel] = transform of each tile's input, vectors along the channels
 *   for each panel of nr columns:
 *     for each point:  M[tile][point][nr] = V (broadcast) * U[panel][point][channel][nr], on the
 *                      register tile
 *     for each tile:   inverse transform of M, vectors along the columns; epilogue, stores
 *
 * V and M are scratch of the task and stay in the L2 cache; U, the transformed weights, is made once
 * by a kernel of its own. Input elements outside of x, in padding or behind its end where m does not
 * divide the result, are zeros; results behind the end are not stored. */
#include "codegen/contraction.h"
#include "codegen/winograd.h"
#include "loop/strips.h"

enum { Y = 1, X = 2 }; /* spatial axes of x and of the result, both [batch…, N, Y, X, channels] */

typedef struct winograd {
    tn__tile t; /* first */
    tn_winograd f;
    uint32_t points;      /* f.n² */
    tn_lx tiles, side[3]; /* number of tiles of one filter: in all; images, rows, columns */
    tn_lx channels;
    tn_lx v_tile, v_point;     /* strides of V */
    uint32_t v, m;             /* scratch */
    tn_lx origin[TN_MAX_RANK]; /* first result of the current tile: image, y, x */
} winograd;

static tn_lx zero_of(winograd *w) {
    return tn_l_int(w->t.m.k, 0);
}

/* ---- the input ------------------------------------------------------------------------------ */

/* Position i, j of the current tile's n×n inputs. */
static tn_lx input_at(winograd *w, uint32_t i, uint32_t j, tn_lx channel) {
    tn__tile *t = &w->t;
    tn_loop *k = t->m.k;
    const tn_dim *size = tn_node_type(t->m.graph, t->node, 0)->shape.dim + t->c.b;
    tn_lx at[] = {tn_l_int(k, i), tn_l_int(k, j), channel}, index[TN_MAX_RANK];
    tn_lx guard = TN_LX_NONE;
    t->rules->lhs(&t->m.access.emit, t->node, t->b_index, w->origin, at, index, &guard);
    for (int axis = Y; axis <= X; axis++) {
        tn_lx place = index[t->c.b + axis];
        guard = tn_l_and(k, guard, tn_l_le(k, zero_of(w), place));
        guard = tn_l_and(k, guard, tn_l_lt(k, place, tn_l_dim(k, size[axis])));
    }
    return tn__tile_operand(t, 0, index, guard);
}

/* x is read in place, with vectors along its channels. */
static bool reads_channels(const tn_lower_context *c, uint32_t group) {
    winograd w = {0};
    tn__tile_init(&w.t, c, group, "analysis");
    tn_loop *k = w.t.m.k;
    for (int i = 0; i < w.t.c.m; i++) w.origin[i] = zero_of(&w);
    tn_lx channel = tn_l_for(k, TN_LOOP_SERIAL, zero_of(&w), tn_l_dim(k, w.t.c.k_extent[2]), "c");
    tn_lx one_in = tn_l_int(k, 1); /* past a padding that is read through */
    tn_lx index[TN_MAX_RANK], place[] = {zero_of(&w), one_in, one_in, channel};
    uint32_t buffer = 0;
    for (int i = 0; i < w.t.c.b; i++) index[i] = zero_of(&w);
    memcpy(index + w.t.c.b, place, sizeof place);
    tn_lx address = tn__load_address(k, tn__tile_operand(&w.t, 0, index, TN_LX_NONE), &buffer);
    return tn__steps_by_one(k, address, channel);
}

/* Makes tile `linear` the current one. */
static void set_tile(winograd *w, tn_lx linear) {
    tn_loop *k = w->t.m.k;
    tn_lx m = tn_l_int(k, w->f.m);
    tn_maker_split(k, linear, w->side, 3, w->origin);
    w->origin[Y] = tn_l_mul(k, w->origin[Y], m);
    w->origin[X] = tn_l_mul(k, w->origin[X], m);
}

typedef struct input_work {
    winograd *w;
    tn_lx tile;  /* within the block */
    bool inside; /* all of its inputs are elements of x */
} input_work;

/* The load behind the tests of an input, whose guard holds all of them; false: it is never read. */
static bool load_of(const tn_loop *k, tn_lx input, tn_lexpr *load) {
    *load = *tn_l_expr(k, input);
    while (load->kind == TN_LX_SELECT) *load = *tn_l_expr(k, load->b);
    return load->kind == TN_LX_LOAD;
}

/* Whether all inputs of the current tile can be elements of x, and the condition: NONE: they are. */
static bool may_be_inside(winograd *w, tn_lx *condition) {
    tn_loop *k = w->t.m.k;
    tn_lexpr first, last;
    uint32_t mark = tn_access_mark(&w->t.m.access), end = w->f.n - 1;
    bool may = load_of(k, input_at(w, 0, 0, zero_of(w)), &first) &&
               load_of(k, input_at(w, end, end, zero_of(w)), &last);
    tn_access_release(&w->t.m.access, mark);
    if (may) *condition = tn_l_and(k, first.b, last.b);
    return may;
}

static void input_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    input_work *work = context;
    winograd *w = work->w;
    tn_loop *k = w->t.m.k;
    tn_lx lane, d[TN_WINOGRAD_SIDE * TN_WINOGRAD_SIDE], v[TN_WINOGRAD_SIDE * TN_WINOGRAD_SIDE];
    tn_lx channel = tn_strip_open(k, base, width, limit, &lane);
    uint32_t mark = tn_access_mark(&w->t.m.access);
    for (uint32_t p = 0; p < w->points; p++) {
        tn_lexpr load;
        d[p] = input_at(w, p / w->f.n, p % w->f.n, channel);
        if (work->inside && load_of(k, d[p], &load))
            d[p] = tn_l_load(k, load.index, load.a, TN_LX_NONE, TN_LX_NONE);
        d[p] = tn_l_let(k, d[p]);
    }
    tn_winograd_input(k, &w->f, d, v);
    tn_lx to = tn_l_add(k, tn_l_mul(k, work->tile, w->v_tile), channel);
    for (uint32_t p = 0; p < w->points; p++)
        tn_l_store(k, w->v, tn_l_add(k, tn_l_mul(k, tn_l_int(k, p), w->v_point), to), v[p]);
    tn_access_release(&w->t.m.access, mark);
    tn_strip_close(k, limit);
}

static void transform_tile(input_work *work) {
    winograd *w = work->w;
    tn_strips(w->t.m.k, w->t.s.lanes, 1, zero_of(w), w->channels, input_strip, work);
}

/* The tiles [first, first + count). Those at the borders of x test each input. */
static void transform_input(winograd *w, tn_lx first, tn_lx count) {
    tn_loop *k = w->t.m.k;
    input_work work = {.w = w};
    work.tile = tn_l_for(k, TN_LOOP_SERIAL, zero_of(w), count, "tile");
    set_tile(w, tn_l_add(k, first, work.tile));
    tn_lx inside = TN_LX_NONE;
    bool may = may_be_inside(w, &inside);
    if (may && inside != TN_LX_NONE) {
        work.inside = true;
        tn_l_if(k, inside);
        transform_tile(&work);
        work.inside = false;
        tn_l_else(k);
    }
    transform_tile(&work);
    if (may && inside != TN_LX_NONE) tn_l_end(k);
    tn_l_end(k);
}

/* ---- the products --------------------------------------------------------------------------- */

/* Where the row of U at a panel of the present filter, point and channel begins. */
static tn_lx kernel_row(winograd *w, tn_lx panel, tn_lx point, tn_lx channel) {
    tn_loop *k = w->t.m.k;
    panel = tn_l_add(k, tn_l_mul(k, w->t.b_linear, w->t.panels), panel);
    tn_lx line = tn_l_add(k, tn_l_mul(k, panel, tn_l_int(k, w->points)), point);
    line = tn_l_add(k, tn_l_mul(k, line, w->channels), channel);
    return tn_l_mul(k, line, tn_l_int(k, w->t.s.nr));
}

static tn_lx product_row(winograd *w, tn_lx tile, tn_lx point) {
    tn_loop *k = w->t.m.k;
    tn_lx line = tn_l_add(k, tn_l_mul(k, tile, tn_l_int(k, w->points)), point);
    return tn_l_mul(k, line, tn_l_int(k, w->t.s.nr));
}

typedef struct product_run {
    winograd *w;
    tn_lx panel, point;
} product_run;

/* One point of the tiles [tile, tile + rows). */
static void register_tile(void *context, uint32_t rows, tn_lx tile) {
    product_run *run = context;
    winograd *w = run->w;
    tn__tile *t = &w->t;
    tn_loop *k = t->m.k;
    tn__tile_clear(t, rows);
    tn_lx channel = tn_l_for(k, TN_LOOP_SERIAL, zero_of(w), w->channels, "c");
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero_of(w), tn_l_int(k, rows), "i");
    tn_lx from = tn_l_add(k, tn_l_mul(k, run->point, w->v_point),
                          tn_l_mul(k, tn_l_add(k, tile, i), w->v_tile));
    tn_lx a = tn_l_load(k, w->v, tn_l_add(k, from, channel), TN_LX_NONE, TN_LX_NONE);
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero_of(w), tn_l_int(k, t->s.nr), "j");
    tn_lx row = kernel_row(w, run->panel, run->point, channel);
    tn_lx b = tn_l_load(k, t->packed, tn_l_add(k, row, j), TN_LX_NONE, TN_LX_NONE);
    tn__tile_add(t, i, j, a, b);
    tn_l_end(k);
    tn_l_end(k);
    tn_l_end(k);
    tn_lx stride = tn_l_int(k, (int64_t)w->points * t->s.nr);
    tn__tile_spill(t, rows, w->m, product_row(w, tile, run->point), stride);
}

/* ---- the output ----------------------------------------------------------------------------- */

/* The current tile's m×m results for the panel, from M to scratch. */
static void transform_output(winograd *w, tn_lx tile) {
    tn__tile *t = &w->t;
    tn_loop *k = t->m.k;
    tn_lx lanes = tn_l_int(k, t->s.lanes), nr = tn_l_int(k, t->s.nr);
    tn_lx x[TN_WINOGRAD_SIDE * TN_WINOGRAD_SIDE], y[TN_WINOGRAD_SIDE * TN_WINOGRAD_SIDE];
    tn_lx part = tn_l_for(k, TN_LOOP_SERIAL, zero_of(w), tn_l_div(k, nr, lanes), "part");
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, zero_of(w), lanes, "l");
    tn_lx column = tn_l_add(k, tn_l_mul(k, part, lanes), lane);
    for (uint32_t p = 0; p < w->points; p++)
        x[p] = tn_l_load(k, w->m, tn_l_add(k, product_row(w, tile, tn_l_int(k, p)), column),
                         TN_LX_NONE, TN_LX_NONE);
    tn_winograd_output(k, &w->f, x, y);
    for (uint32_t i = 0; i < w->f.m * w->f.m; i++)
        tn_l_store(k, t->scratch, tn_l_add(k, tn_l_int(k, (int64_t)i * t->s.nr), column), y[i]);
    tn_l_end(k);
    tn_l_end(k);
}

/* Opens a loop over the results of the current tile along an axis, which may end within it. */
static tn_lx open_results(winograd *w, int axis, const char *name) {
    tn_loop *k = w->t.m.k;
    tn_lx left = tn_l_sub(k, tn_l_dim(k, w->t.c.m_extent[axis]), w->origin[axis]);
    tn_lx count = tn_l_min(k, tn_l_int(k, w->f.m), left);
    return tn_l_for(k, TN_LOOP_SERIAL, zero_of(w), count, name);
}

static void store_tile(winograd *w, tn_lx panel) {
    tn__tile *t = &w->t;
    tn_loop *k = t->m.k;
    tn_lx nr = tn_l_int(k, t->s.nr);
    tn_lx dy = open_results(w, Y, "y"), dx = open_results(w, X, "x");
    tn_lx m[] = {w->origin[0], tn_l_add(k, w->origin[Y], dy), tn_l_add(k, w->origin[X], dx)};
    tn_lx line = tn_l_add(k, tn_l_mul(k, dy, tn_l_int(k, w->f.m)), dx);
    tn__tile_store_row(t, m, TN_LX_NONE, tn_l_mul(k, line, nr), tn_l_mul(k, panel, nr));
    tn_l_end(k);
    tn_l_end(k);
}

/* ---- the kernels ---------------------------------------------------------------------------- */

static void run_panel(winograd *w, tn_lx panel, tn_lx first, tn_lx count) {
    tn_loop *k = w->t.m.k;
    product_run run = {.w = w, .panel = panel};
    run.point = tn_l_for(k, TN_LOOP_SERIAL, zero_of(w), tn_l_int(k, w->points), "point");
    tn__row_tiles(k, w->t.s.mr, zero_of(w), count, w->tiles, register_tile, &run);
    tn_l_end(k);
    tn_lx tile = tn_l_for(k, TN_LOOP_SERIAL, zero_of(w), count, "tile");
    set_tile(w, tn_l_add(k, first, tile));
    transform_output(w, tile);
    store_tile(w, panel);
    tn_l_end(k);
}

/* `each` tasks for every filter; returns the number of the task among those of its own. */
static tn_lx open_batch(winograd *w, tn_lx each) {
    tn__tile *t = &w->t;
    tn_loop *k = t->m.k;
    k->tasks = tn_l_mul(k, tn__tile_product(k, t->c.b_extent, t->c.b), each);
    tn_lx task = tn_l_task(k); /* whose bound is known by now */
    t->b_linear = zero_of(w);
    if (t->c.b == 0) return task;
    t->b_linear = tn_l_div(k, task, each);
    tn__split_plain(k, t->b_linear, t->c.b_extent, t->c.b, t->b_index);
    return tn_l_mod(k, task, each);
}

static void emit_tasks(winograd *w) {
    tn__tile *t = &w->t;
    tn_loop *k = t->m.k;
    tn_lx block = tn_l_int(k, t->s.m_block), per = tn_l_int(k, t->s.n_panels);
    tn_lx blocks = tn__ceil_div(k, w->tiles, t->s.m_block);
    tn_lx each = tn_l_mul(k, blocks, tn__ceil_div(k, t->panels, t->s.n_panels));
    tn_lx task = open_batch(w, each);
    tn_lx first = tn_l_mul(k, tn_l_mod(k, task, blocks), block);
    tn_lx count = tn_l_min(k, block, tn_l_sub(k, w->tiles, first));
    transform_input(w, first, count);
    tn_lx lo = tn_l_mul(k, tn_l_div(k, task, blocks), per);
    tn_lx hi = tn_l_min(k, t->panels, tn_l_add(k, lo, per));
    tn_lx panel = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "panel");
    run_panel(w, panel, first, count);
    tn_l_end(k);
}

static void winograd_init(winograd *w, const tn_lower_context *c, uint32_t group, const char *name,
                          const tn_schedule *s) {
    *w = (winograd){.f = tn_winograd_of(s->winograd)};
    tn__tile *t = &w->t;
    tn__tile_init(t, c, group, name);
    tn_loop *k = t->m.k;
    t->s = *s;
    t->panels = tn__ceil_div(k, t->n_total, s->nr);
    w->points = w->f.n * w->f.n;
    w->channels = tn_l_dim(k, t->c.k_extent[2]);
    w->side[0] = tn_l_dim(k, t->c.m_extent[0]);
    for (int i = Y; i <= X; i++)
        w->side[i] = tn__ceil_div(k, tn_l_dim(k, t->c.m_extent[i]), w->f.m);
    w->tiles = tn_l_mul(k, tn_l_mul(k, w->side[0], w->side[Y]), w->side[X]);
}

/* The transformed weights of one channel and the columns of a vector, computed in f64 and rounded once. */
static void pack_vector(winograd *w, uint32_t to, tn_lx panel, tn_lx channel, tn_lx column) {
    tn__tile *t = &w->t;
    tn_loop *k = t->m.k;
    tn_lx g[9], u[TN_WINOGRAD_SIDE * TN_WINOGRAD_SIDE];
    tn_lx o = tn_l_add(k, tn_l_mul(k, panel, tn_l_int(k, t->s.nr)), column);
    tn_lx valid = tn__columns_exact(t) ? TN_LX_NONE : tn_l_lt(k, o, t->n_total);
    for (int i = 0; i < 9; i++) {
        tn_lx at[] = {tn_l_int(k, i / 3), tn_l_int(k, i % 3), channel};
        tn_lx x = tn__tile_rhs(t, t->b_index, at, &o, valid);
        g[i] = tn_l_let(k, tn_l_cast(k, x, TN_f64, false));
    }
    tn_winograd_kernel(k, &w->f, g, u);
    for (uint32_t p = 0; p < w->points; p++) {
        tn_lx row = kernel_row(w, panel, tn_l_int(k, p), channel);
        tn_l_store(k, to, tn_l_add(k, row, column), tn_l_cast(k, u[p], TN_f32, false));
    }
}

static tn_dim pack_elements(const winograd *w) {
    tn_dims *dims = w->t.m.graph->dims;
    tn_dim columns = tn_dim_const(dims, w->t.s.nr), points = tn_dim_const(dims, w->points);
    tn_dim panels = tn_dim_ceildiv(dims, w->t.c.n_extent[0], columns);
    tn_dim depth = tn_dim_mul(dims, points, w->t.c.k_extent[2]);
    for (int i = 0; i < w->t.c.b; i++) depth = tn_dim_mul(dims, depth, w->t.c.b_extent[i]);
    return tn_dim_mul(dims, tn_dim_mul(dims, panels, columns), depth);
}

static void lower_pack(const tn_lower_context *c, uint32_t group, const tn_schedule *s,
                       tn_lowered *out) {
    enum { PACK_CHANNELS = 16 }; /* a task */
    winograd w;
    winograd_init(&w, c, group, "pack", s);
    tn_loop *k = w.t.m.k;
    uint32_t to = tn_l_buffer(k, TN_LBUF_OUTPUT, TN_f32, "packed");
    k->buffers.data[to].binding = TN_BIND_PACK;
    tn_lx some = tn_l_int(k, PACK_CHANNELS), blocks = tn__ceil_div(k, w.channels, PACK_CHANNELS);
    tn_lx task = open_batch(&w, tn_l_mul(k, w.t.panels, blocks));
    tn_lx panel = tn_l_div(k, task, blocks), lanes = tn_l_int(k, s->lanes / 2); /* of f64 */
    tn_lx parts = tn_l_div(k, tn_l_int(k, s->nr), lanes);
    tn_lx first = tn_l_mul(k, tn_l_mod(k, task, blocks), some);
    tn_lx end = tn_l_min(k, w.channels, tn_l_add(k, first, some));
    tn_lx channel = tn_l_for(k, TN_LOOP_SERIAL, first, end, "c");
    tn_lx part = tn_l_for(k, TN_LOOP_SERIAL, zero_of(&w), parts, "part");
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, zero_of(&w), lanes, "l");
    pack_vector(&w, to, panel, channel, tn_l_add(k, tn_l_mul(k, part, lanes), lane));
    tn_l_end(k);
    tn_l_end(k);
    tn_l_end(k);
    out->packs[out->pack_count++] = (tn_pack){k, pack_elements(&w), TN_f32};
}

/* Rows of V are whole vectors. A line more after each point keeps the points of one tile out of each
 * other's cache sets. */
static void make_scratch(winograd *w) {
    tn__tile *t = &w->t;
    tn_loop *k = t->m.k;
    enum { LINE = 16 };
    tn_lx block = tn_l_int(k, t->s.m_block), points = tn_l_int(k, w->points);
    tn_lx nr = tn_l_int(k, t->s.nr);
    w->v_tile = tn_l_mul(k, tn__ceil_div(k, w->channels, t->s.lanes), tn_l_int(k, t->s.lanes));
    w->v_point = tn_l_add(k, tn_l_mul(k, block, w->v_tile), tn_l_int(k, LINE));
    w->v = tn_l_scratch(k, TN_f32, tn_l_mul(k, points, w->v_point), "v");
    w->m = tn_l_scratch(k, TN_f32, tn_l_mul(k, tn_l_mul(k, points, block), nr), "m");
    t->scratch = tn_l_scratch(k, TN_f32, tn_l_int(k, (int64_t)w->f.m * w->f.m * t->s.nr), "tile");
    t->acc = tn_l_register(k, TN_f32, t->s.mr * t->s.nr, "acc");
}

bool tn_lower_winograd(const tn_lower_context *c, uint32_t group, tn_lowered *out) {
    const tn_group *g = &c->grouping->groups.data[group];
    if (!tn_schedule_winograd_side(c->grouping, g->anchor) || !reads_channels(c, group))
        return false;
    tn_schedule s = tn_schedule_choose_winograd(c->grouping, g, (uint32_t)c->target->vector_bytes,
                                                (uint32_t)c->target->vector_registers);
    s = tn_lower_record(c, group, s);
    winograd w;
    winograd_init(&w, c, group, "winograd", &s);
    if (w.t.folds.len > 0) return false;
    tn_loop *k = w.t.m.k;
    make_scratch(&w);
    w.t.packed = tn_l_buffer(k, TN_LBUF_INPUT, TN_f32, "packed");
    k->buffers.data[w.t.packed].binding = TN_BIND_PACK;
    lower_pack(c, group, &s, out);
    emit_tasks(&w);
    out->kernel = k;
    out->schedule = s;
    return true;
}
