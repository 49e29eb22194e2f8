/* Folds over windows: pooling, window sums, positions of the best elements.
 *
 * Padding is never read: loops over the taps of a window have bounds that follow the result's index. Let
 * the columns be the last axis along which windows reach.
 *
 *   task = range of (every other axis of the result but that of the vectors, block of columns)
 *   separable:
 *     for the columns of x under the block: fold over all window axes but the columns into a line of
 *       scratch, whose padding holds the identity since the task began
 *     for each column of the result: fold over the taps in the line, without a test; epilogue, stores
 *     With vectors along the columns, what is read lies across what was stored, which a core must have
 *       written to its cache before: so the lines of a few rows are made, then their results.
 *   else, for each column of the result: fold over all axes; epilogue, stores
 *
 * Vectors run along the last axis. Where that is the columns, x is read as it lies and only the line is read
 * with the stride of the windows; else a line is made for a strip of that axis at a time. A separable sum
 * adds the rows of its window first. */
#include "codegen/contraction.h"
#include "codegen/rows.h"
#include "loop/strips.h"

enum { MOST_TAPS = 32 }; /* in the text */

typedef struct windows {
    tn__rows r; /* first */
    const tn_node_info *node;
    const tn_attrs_window_reduce *a;
    const tn_shape *x, *y;
    tn__rows_fold *fold;
    tn_schedule s;
    int column, vector;
    int8_t space
        [TN_MAX_RANK]; /* the axis of the group's space along which axis i of the result runs; -1:
                                  its size is 1 */
    tn_lx at[TN_MAX_RANK];            /* the point of the result */
    tn_lx first, end;                 /* the block's columns of the result */
    tn_lx line_size, line_at;         /* of one line; where the row's begins */
    uint32_t line[TN_FOLD_REGISTERS]; /* scratch: [column of padded x][element of the strip] */
    int64_t pitch;                    /* elements of a column in the line */
} windows;

static tn_lx number(windows *d, int64_t value) {
    return tn_l_int(d->r.m.k, value);
}

static tn_lx times(windows *d, tn_lx a, int64_t b) {
    return tn_l_mul(d->r.m.k, a, number(d, b));
}

/* ---- elements and partial results ----------------------------------------------------------- */

/* Where the window at result index `to` begins in x; negative in padding. */
static tn_lx begin_of(windows *d, int axis, tn_lx to) {
    tn_lx start = times(d, to, d->a->stride.at[axis]);
    return tn_l_sub(d->r.m.k, start, number(d, d->a->pad_lo.at[axis]));
}

/* The taps of a window that lie within x. */
static void clip_taps(windows *d, int axis, tn_lx *lo, tn_lx *hi) {
    tn_loop *k = d->r.m.k;
    int64_t step = d->a->dilation.at[axis];
    tn_lx begin = begin_of(d, axis, d->at[axis]), zero = number(d, 0), round = number(d, step - 1);
    *lo = zero;
    *hi = number(d, d->a->window.at[axis]);
    if (d->a->pad_lo.at[axis] > 0) {
        tn_lx before = tn_l_max(k, zero, tn_l_sub(k, zero, begin));
        *lo = tn_l_div(k, tn_l_add(k, before, round), number(d, step));
    }
    if (d->a->pad_hi.at[axis] > 0) {
        tn_lx left = tn_l_max(k, zero, tn_l_sub(k, tn_l_dim(k, d->x->dim[axis]), begin));
        *hi = tn_l_min(k, *hi, tn_l_div(k, tn_l_add(k, left, round), number(d, step)));
    }
}

/* Opens loops over the taps of axes [0, end) and gives the place in x along all axes; their number. */
static int open_taps(windows *d, int end, tn_lx *place) {
    tn_loop *k = d->r.m.k;
    int opened = 0;
    for (int i = 0; i < d->x->rank; i++) {
        place[i] = begin_of(d, i, d->at[i]);
        if (i >= end || !tn__window_folds(d->a, i)) continue;
        tn_lx lo, hi;
        clip_taps(d, i, &lo, &hi);
        tn_lx tap = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "w");
        place[i] = tn_l_add(k, place[i], times(d, tap, d->a->dilation.at[i]));
        opened++;
    }
    return opened;
}

/* The partial result that an element of x makes: itself and, for positions, where it is. */
static void read_element(windows *d, const tn_lx *place, tn_lx *value) {
    tn_loop *k = d->r.m.k;
    tn_emit *e = &d->r.m.access.emit;
    value[0] = tn_l_cast(k, e->operand(e, d->node, 0, place), d->fold->fold.dtype[0], false);
    if (d->fold->fold.registers == 1) return;
    value[1] = number(d, 0);
    for (int i = 0; i < d->x->rank; i++) {
        tn_lx row = tn_l_mul(k, value[1], tn_l_dim(k, d->x->dim[i]));
        value[1] = tn_l_add(k, row, place[i]);
    }
}

/* Combines the registers with `value`, or makes them that. */
static void take(windows *d, bool first, const tn_lx *value, tn_lx lane) {
    tn_loop *k = d->r.m.k;
    tn_lx acc[TN_FOLD_REGISTERS], next[TN_FOLD_REGISTERS];
    int count = d->fold->fold.registers;
    memcpy(next, value, sizeof next);
    for (int i = 0; i < count && !first; i++) acc[i] = tn_l_get(k, d->fold->reg[i], lane);
    if (!first) d->fold->rules->combine(k, d->r.m.graph, d->node, acc, value, next);
    for (int i = 0; i < count; i++) tn_l_set(k, d->fold->reg[i], lane, next[i]);
}

/* Elements of x in vectors: at column `column`, or where that is NONE at those that the taps or the lanes
 * give. The vector axis is at base + lane. */
typedef struct strip {
    tn_lx column, base, limit;
    uint32_t width;
} strip;

/* Folds the taps of axes [0, end) into the registers. */
static void fold_taps(windows *d, int end, const strip *s) {
    tn_loop *k = d->r.m.k;
    tn_lx place[TN_MAX_RANK], value[TN_FOLD_REGISTERS] = {0}, lane;
    tn__rows_folds_init(&d->r, 0, s->width);
    int opened = open_taps(d, end, place);
    place[d->vector] = tn_strip_open(k, s->base, s->width, s->limit, &lane);
    if (s->column != TN_LX_NONE) place[d->column] = s->column;
    uint32_t mark = tn_access_mark(&d->r.m.access);
    read_element(d, place, value);
    take(d, false, value, lane);
    tn_access_release(&d->r.m.access, mark);
    tn_strip_close(k, s->limit);
    tn__close_loops(k, opened);
}

/* The epilogue and the stores, on what the registers hold. */
static void store_results(windows *d, tn_lx base, uint32_t width, tn_lx limit) {
    tn__rows *r = &d->r;
    d->at[d->vector] = tn_strip_open(r->m.k, base, width, limit, &r->lane);
    for (int i = 0; i < d->y->rank; i++)
        if (d->space[i] >= 0) r->at[d->space[i]] = d->at[i];
    r->stage = r->levels;
    uint32_t mark = tn_access_mark(&r->m.access);
    tn__rows_store_rows(r);
    tn_access_release(&r->m.access, mark);
    tn_strip_close(r->m.k, limit);
}

/* ---- the line in scratch -------------------------------------------------------------------- */

/* Columns of padded x under `count` columns of the result. */
static tn_lx reach(windows *d, tn_lx count) {
    tn_loop *k = d->r.m.k;
    int64_t taps = (d->a->window.at[d->column] - 1) * d->a->dilation.at[d->column] + 1;
    tn_lx last = times(d, tn_l_sub(k, count, number(d, 1)), d->a->stride.at[d->column]);
    return tn_l_add(k, last, number(d, taps));
}

/* The block's columns that lie within x. */
static void line_range(windows *d, tn_lx *lo, tn_lx *hi) {
    tn_loop *k = d->r.m.k;
    tn_lx begin = begin_of(d, d->column, d->first);
    tn_lx end = tn_l_add(k, begin, reach(d, tn_l_sub(k, d->end, d->first)));
    *lo = tn_l_max(k, number(d, 0), begin);
    *hi = tn_l_max(k, *lo, tn_l_min(k, end, tn_l_dim(k, d->x->dim[d->column])));
}

static tn_lx line_place(windows *d, tn_lx column, tn_lx lane) {
    tn_loop *k = d->r.m.k;
    return tn_l_add(k, d->line_at, tn_l_add(k, times(d, column, d->pitch), lane));
}

static void clear_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    windows *d = context;
    tn_loop *k = d->r.m.k;
    const tn_fold *f = &d->fold->fold;
    tn_lx lane, at = tn_strip_open(k, base, width, limit, &lane);
    for (int i = 0; i < f->registers; i++)
        tn_l_store(k, d->line[i], at, tn_l_const(k, f->dtype[i], f->init[i]));
    tn_strip_close(k, limit);
}

/* So many lines from the row's on. */
static void clear_lines(windows *d, int64_t count) {
    tn_lx end = tn_l_add(d->r.m.k, d->line_at, times(d, d->line_size, count));
    tn_strips(d->r.m.k, d->s.lanes, 1, d->line_at, end, clear_strip, d);
}

/* Stores the registers: lane l at `at` + l. */
static void store_line(windows *d, tn_lx at, uint32_t width, tn_lx valid) {
    tn_loop *k = d->r.m.k;
    tn_lx lane;
    tn_strip_open(k, number(d, 0), width, valid, &lane);
    for (int i = 0; i < d->fold->fold.registers; i++)
        tn_l_store(k, d->line[i], tn_l_add(k, at, lane), tn_l_get(k, d->fold->reg[i], lane));
    tn_strip_close(k, valid);
}

/* Folds in one tap of the line, for the result's column `column`, or for the columns from there on along the
 * lanes; what lies past the end of the result is the line's, too. */
static void take_line(windows *d, tn_lx column, uint32_t width, bool first, tn_lx tap) {
    tn_loop *k = d->r.m.k;
    bool along = d->column == d->vector;
    tn_lx value[TN_FOLD_REGISTERS] = {0}, lane, zero = number(d, 0);
    tn_lx at = tn_strip_open(k, tn_l_sub(k, column, d->first), width, TN_LX_NONE, &lane);
    if (!along) at = tn_l_sub(k, column, d->first);
    at = tn_l_add(k, times(d, at, d->a->stride.at[d->column]),
                  times(d, tap, d->a->dilation.at[d->column]));
    tn_lx place = line_place(d, at, along ? zero : lane);
    for (int i = 0; i < d->fold->fold.registers; i++)
        value[i] = tn_l_load(k, d->line[i], place, TN_LX_NONE, TN_LX_NONE);
    take(d, first, value, lane);
    tn_strip_close(k, TN_LX_NONE);
}

static void fold_line(windows *d, tn_lx column, uint32_t width) {
    tn_loop *k = d->r.m.k;
    int64_t taps = d->a->window.at[d->column];
    take_line(d, column, width, true, number(d, 0));
    tn_lx tap = tn_l_for(k, taps <= MOST_TAPS ? TN_LOOP_UNROLL : TN_LOOP_SERIAL, number(d, 1),
                         number(d, taps), "w");
    take_line(d, column, width, false, tap);
    tn_l_end(k);
}

/* ---- vectors along the columns -------------------------------------------------------------- */

static void line_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    windows *d = context;
    tn_loop *k = d->r.m.k;
    fold_taps(d, d->column, &(strip){TN_LX_NONE, base, limit, width});
    tn_lx valid = limit == TN_LX_NONE ? TN_LX_NONE : tn_l_sub(k, limit, base);
    tn_lx place = tn_l_sub(k, base, begin_of(d, d->column, d->first));
    store_line(d, line_place(d, place, number(d, 0)), width, valid);
}

static void result_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    windows *d = context;
    fold_line(d, base, width);
    store_results(d, base, width, limit);
}

static void make_line(windows *d) {
    tn_lx lo, hi;
    line_range(d, &lo, &hi);
    tn_strips(d->r.m.k, d->s.lanes, d->s.unroll, lo, hi, line_strip, d);
}

static void make_results(windows *d) {
    tn_strips(d->r.m.k, d->s.lanes, d->s.nr / d->s.lanes, d->first, d->end, result_strip, d);
}

/* ---- vectors behind the columns ------------------------------------------------------------- */

static void separable_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    windows *d = context;
    tn_loop *k = d->r.m.k;
    tn_lx lo, hi;
    line_range(d, &lo, &hi);
    tn_lx column = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "column");
    fold_taps(d, d->column, &(strip){column, base, limit, width});
    tn_lx place = tn_l_sub(k, column, begin_of(d, d->column, d->first));
    store_line(d, line_place(d, place, number(d, 0)), width, TN_LX_NONE);
    tn_l_end(k);
    d->at[d->column] = tn_l_for(k, TN_LOOP_SERIAL, d->first, d->end, "column");
    fold_line(d, d->at[d->column], width);
    store_results(d, base, width, limit);
    tn_l_end(k);
}

static void direct_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    windows *d = context;
    fold_taps(d, d->column + 1, &(strip){TN_LX_NONE, base, limit, width});
    store_results(d, base, width, limit);
}

static void strips_block(windows *d) {
    tn_loop *k = d->r.m.k;
    tn_lx zero = number(d, 0), extent = tn_l_dim(k, d->y->dim[d->vector]);
    uint32_t unroll = d->s.nr / d->s.lanes;
    if (d->s.separable) {
        tn_strips(k, d->s.lanes, unroll, zero, extent, separable_strip, d);
        return;
    }
    d->at[d->column] = tn_l_for(k, TN_LOOP_SERIAL, d->first, d->end, "column");
    tn_strips(k, d->s.lanes, unroll, zero, extent, direct_strip, d);
    tn_l_end(k);
}

/* ---- the kernel ----------------------------------------------------------------------------- */

/* What a task takes rows of: every other axis of the result, and blocks of columns. */
typedef struct row_space {
    tn_lx extent[TN_MAX_RANK];
    int axis[TN_MAX_RANK], axes;
    bool whole; /* the columns are one block */
} row_space;

static row_space find_rows(windows *d) {
    tn_loop *k = d->r.m.k;
    row_space s = {.axes = 0};
    int64_t block = d->s.block, blocks = 1;
    tn_lx columns = tn_l_dim(k, d->y->dim[d->column]);
    for (int i = 0; i < d->y->rank; i++) {
        if (i == d->vector || i == d->column) continue;
        s.axis[s.axes] = i;
        s.extent[s.axes++] = tn_l_dim(k, d->y->dim[i]);
    }
    s.extent[s.axes] = block ? tn__ceil_div(k, columns, block) : number(d, 1);
    s.whole = tn_l_is_const_int(k, s.extent[s.axes], &blocks) && blocks <= 1;
    return s;
}

/* Opens a loop over rows [lo, hi), whose lines follow each other. */
static void open_rows(windows *d, const row_space *s, tn_lx lo, tn_lx hi) {
    tn_loop *k = d->r.m.k;
    tn_lx index[TN_MAX_RANK], columns = tn_l_dim(k, d->y->dim[d->column]);
    tn_lx row = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "row");
    int64_t block = d->s.block;
    tn_maker_split(k, row, s->extent, s->axes + 1, index);
    for (int i = 0; i < s->axes; i++) d->at[s->axis[i]] = index[i];
    d->first = s->whole ? number(d, 0) : times(d, index[s->axes], block);
    d->end = s->whole ? columns : tn_l_min(k, columns, tn_l_add(k, d->first, number(d, block)));
    if (d->s.mr > 1) d->line_at = tn_l_mul(k, tn_l_sub(k, row, lo), d->line_size);
}

/* The lines of up to mr rows, then their results. */
static void columns_rows(windows *d, const row_space *s, tn_lx lo, tn_lx hi) {
    tn_loop *k = d->r.m.k;
    int64_t lines = TN_MAX(1, d->s.mr);
    tn_lx groups = tn__ceil_div(k, tn_l_sub(k, hi, lo), lines);
    tn_lx group = tn_l_for(k, TN_LOOP_SERIAL, number(d, 0), groups, "group");
    tn_lx from = tn_l_add(k, lo, times(d, group, lines));
    tn_lx to = tn_l_min(k, hi, tn_l_add(k, from, number(d, lines)));
    open_rows(d, s, from, to);
    if (!s->whole) clear_lines(d, 1);
    make_line(d);
    tn_l_end(k);
    open_rows(d, s, from, to);
    make_results(d);
    tn_l_end(k);
    tn_l_end(k);
}

static void emit_tasks(windows *d) {
    tn_loop *k = d->r.m.k;
    row_space s = find_rows(d);
    tn_lx count = number(d, 1), per = number(d, d->s.rows_per_task);
    for (int i = 0; i <= s.axes; i++) count = tn_l_mul(k, count, s.extent[i]);
    k->tasks = tn__ceil_div(k, count, d->s.rows_per_task);
    tn_lx lo = tn_l_mul(k, tn_l_task(k), per), hi = tn_l_min(k, count, tn_l_add(k, lo, per));
    d->line_at = number(d, 0);
    if (d->s.separable && s.whole) clear_lines(d, TN_MAX(1, d->s.mr));
    if (d->column == d->vector) {
        columns_rows(d, &s, lo, hi);
        return;
    }
    open_rows(d, &s, lo, hi);
    if (d->s.separable && !s.whole) clear_lines(d, 1);
    strips_block(d);
    tn_l_end(k);
}

/* Vectors past the last column of the result are read as a whole. */
static void make_scratch(windows *d) {
    tn_loop *k = d->r.m.k;
    const tn_fold *f = &d->fold->fold;
    tn__rows_make_registers(&d->r, TN_MAX(d->s.unroll * d->s.lanes, d->s.nr));
    if (!d->s.separable) return;
    tn_lx columns = tn_l_min(k, number(d, d->s.block), tn_l_dim(k, d->y->dim[d->column]));
    d->pitch = d->column == d->vector ? 1 : d->s.nr;
    if (d->pitch == 1) columns = times(d, tn__ceil_div(k, columns, d->s.lanes), d->s.lanes);
    d->line_size = times(d, reach(d, tn_l_max(k, columns, number(d, 1))), d->pitch);
    for (int i = 0; i < f->registers; i++)
        d->line[i] =
            tn_l_scratch(k, f->dtype[i], times(d, d->line_size, TN_MAX(1, d->s.mr)), "line");
}

static void windows_init(windows *d, const tn_lower_context *c, uint32_t group) {
    *d = (windows){0};
    tn__rows_init(&d->r, c, group, NULL, NULL);
    const tn_graph *g = c->grouping->graph;
    d->fold = &d->r.folds.data[0];
    d->node = d->fold->node;
    d->a = d->node->attrs;
    d->x = &tn_node_type(g, d->node, 0)->shape;
    d->y = &tn_graph_type(g, d->node->out)->shape;
    tn__window_axes axes = tn__find_window_axes(g, d->node);
    d->column = axes.column;
    d->vector = axes.vector;
    for (int i = 0; i < d->y->rank; i++) d->at[i] = number(d, 0);
}

/* The axes of the space along which the result's axes run; false: views behind it split or join axes. */
static bool find_space(const tn_lower_context *c, uint32_t group, int8_t *space) {
    windows d;
    windows_init(&d, c, group);
    tn__rows *r = &d.r;
    const tn_shape *s = &r->m.group->space.shape;
    tn_lx index[TN_MAX_RANK], taps[TN_MAX_RANK], own[TN_MAX_RANK];
    for (int i = 0; i < TN_MAX_RANK; i++) own[i] = number(&d, 0);
    for (int i = 0; i < s->rank; i++)
        if (s->dim[i] != 1)
            r->at[i] = tn_l_for(r->m.k, TN_LOOP_SERIAL, number(&d, 0), r->extent[i], "p");
    tn__rows_fold_points(r, d.fold, own, index, taps);
    for (int i = 0; i < d.y->rank; i++) {
        space[i] = -1;
        for (int j = 0; j < s->rank && d.y->dim[i] != 1; j++)
            if (s->dim[j] != 1 && index[i] == r->at[j]) space[i] = (int8_t)j;
        if (d.y->dim[i] != 1 && space[i] < 0) return false;
    }
    return true;
}

bool tn_lower_windows(const tn_lower_context *c, uint32_t group, tn_lowered *out) {
    const tn_group *g = &c->grouping->groups.data[group];
    int8_t space[TN_MAX_RANK];
    tn_schedule s;
    if (g->anchor == TN_NO_NODE ||
        tn_graph_node(c->grouping->graph, g->anchor)->op != TN_OP_window_reduce ||
        !tn_schedule_choose_windows(c->grouping, g, (uint32_t)c->target->vector_bytes, &s) ||
        !find_space(c, group, space))
        return false;
    windows d;
    windows_init(&d, c, group);
    memcpy(d.space, space, sizeof space);
    d.s = tn_lower_record(c, group, s);
    make_scratch(&d);
    emit_tasks(&d);
    out->kernel = d.r.m.k;
    out->schedule = d.s;
    return true;
}
