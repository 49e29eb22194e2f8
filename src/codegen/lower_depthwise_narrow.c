/* Depthwise convolution of an operand whose columns follow each other in memory, but are too few for
 * vectors along them.
 *
 *   task = range of (image, vector of channels, block of rows)
 *   the rows of x that the block needs go to scratch as [line][column][channel], turned square by square,
 *     all as one where they follow each other in memory
 *   for each row: the sums, with vectors along the channels (lower_depthwise.c), go to scratch, too
 *   turned back square by square: epilogue, stores, with vectors along the columns */
#include "codegen/depthwise.h"
#include "loop/strips.h"
#include "transform/match.h"

typedef tn__depthwise depthwise;

static tn_lx number(depthwise *d, int64_t value) {
    return tn_l_int(d->t.m.k, value);
}

static tn_lx place(const depthwise *d, tn_lx line, tn_lx pitch, tn_lx column, tn_lx lane) {
    tn_loop *k = d->t.m.k;
    tn_lx point = tn_l_add(k, tn_l_mul(k, line, pitch), column);
    return tn_l_add(k, tn_l_mul(k, point, tn_l_int(k, d->t.s.lanes)), lane);
}

tn_lx tn__turned_x(const tn__depthwise *d, const tn_lx *index) {
    tn_loop *k = d->t.m.k;
    tn_lx line =
        d->last ? tn_l_sub(k, index[d->channel + 2], d->turned.first_line) : tn_l_int(k, 0);
    tn_lx lane = tn_l_sub(k, index[d->channel], d->from);
    return place(d, line, d->turned.x_pitch, index[d->channel + 2 + d->last], lane);
}

tn_lx tn__turned_y(const tn__depthwise *d, tn_lx channel) {
    tn_loop *k = d->t.m.k;
    tn_lx line = d->last ? tn_l_sub(k, d->m[1], d->turned.row) : tn_l_int(k, 0);
    return place(d, line, d->turned.y_pitch, d->m[1 + d->last], tn_l_sub(k, channel, d->from));
}

/* Extents of x and of the result along a spatial axis. */
static tn_lx x_extent(depthwise *d, int axis) {
    return tn_l_dim(d->t.m.k,
                    tn_node_type(d->t.m.graph, d->t.node, 0)->shape.dim[d->channel + 2 + axis]);
}

static tn_lx y_extent(depthwise *d, int axis) {
    return tn_l_dim(d->t.m.k, d->t.c.m_extent[1 + axis]);
}

/* ---- squares -------------------------------------------------------------------------------- */

typedef struct square {
    uint32_t n, tile;  /* lines; register */
    tn_lx line, first; /* in scratch; column */
    tn_lx limit;       /* columns from here on are none; NONE: all are */
    tn_lx lane;        /* the first one: channel - d->from */
} square;

/* Opens loops over the lines of a square and what is along them; gives the place in the register. */
static tn_lx open_square(depthwise *d, const square *s, tn_lx *i, tn_lx *l) {
    tn_loop *k = d->t.m.k;
    tn_lx zero = number(d, 0), n = number(d, s->n);
    *i = tn_l_for(k, TN_LOOP_UNROLL, zero, n, "i");
    *l = tn_l_for(k, TN_LOOP_VECTOR, zero, n, "l");
    return tn_l_add(k, tn_l_mul(k, *i, n), *l);
}

static tn_lx is_column(depthwise *d, const square *s, tn_lx column) {
    return s->limit == TN_LX_NONE ? TN_LX_NONE : tn_l_lt(d->t.m.k, column, s->limit);
}

typedef void square_work(depthwise *d, const square *s);

/* All squares of a line: groups of channels, then columns, the last of which may fill no square. */
static void for_squares(depthwise *d, square s, tn_lx columns, square_work *work) {
    tn_loop *k = d->t.m.k;
    tn_lx zero = number(d, 0), n = number(d, s.n), whole = tn_l_div(k, columns, n);
    tn_lx group = tn_l_for(k, TN_LOOP_SERIAL, zero, number(d, d->t.s.lanes / s.n), "group");
    int64_t known = 1;
    s.lane = tn_l_mul(k, group, n);
    s.limit = TN_LX_NONE;
    if (!tn_l_is_const_int(k, whole, &known) || known > 0) {
        s.first = tn_l_mul(k, tn_l_for(k, TN_LOOP_SERIAL, zero, whole, "part"), n);
        work(d, &s);
        tn_l_end(k);
    }
    s.first = tn_l_mul(k, whole, n);
    s.limit = columns;
    if (!tn_l_is_const_int(k, tn_l_sub(k, columns, s.first), &known) || known > 0) {
        tn_l_if(k, tn_l_lt(k, s.first, columns));
        work(d, &s);
        tn_l_end(k);
    }
    tn_l_end(k);
}

/* `count` lines of `columns`, those of a merged side as one. */
static void for_lines(depthwise *d, square s, bool merged, tn_lx count, tn_lx columns,
                      square_work *work) {
    tn_loop *k = d->t.m.k;
    tn_lx lines = merged ? number(d, 1) : count;
    s.line = tn_l_for(k, TN_LOOP_SERIAL, number(d, 0), lines, "line");
    for_squares(d, s, merged ? tn_l_mul(k, count, columns) : columns, work);
    tn_l_end(k);
}

/* ---- x -------------------------------------------------------------------------------------- */

/* Element of x, in column `column` of line `line` in scratch. */
static tn_lx element_of_x(depthwise *d, tn_lx channel, tn_lx line, tn_lx column, tn_lx guard) {
    tn_loop *k = d->t.m.k;
    tn_lx row = tn_l_add(k, d->turned.first_line, line), zero = number(d, 0);
    if (d->turned.x_merged) {
        column = tn_l_add(k, tn_l_mul(k, row, x_extent(d, d->last)), column);
        row = zero;
    }
    tn_lx index[TN_MAX_RANK], place[] = {channel, d->m[0], row, column, zero};
    if (!d->last) place[2] = column, place[3] = zero;
    memcpy(index, d->t.b_index, sizeof *index * (size_t)d->channel);
    memcpy(index + d->channel, place, sizeof place);
    return tn__tile_operand(&d->t, 0, index, guard);
}

/* Channels past the last one are that again: nothing reads their sums. */
static void stage_square(depthwise *d, const square *s) {
    tn_loop *k = d->t.m.k;
    tn_lx i, l, at = open_square(d, s, &i, &l), column = tn_l_add(k, s->first, l);
    tn_lx channel = tn_l_add(k, d->from, tn_l_add(k, s->lane, i));
    channel = tn_l_min(k, channel, tn_l_sub(k, d->channels, number(d, 1)));
    uint32_t mark = tn_access_mark(&d->t.m.access);
    tn_l_set(k, s->tile, at, element_of_x(d, channel, s->line, column, is_column(d, s, column)));
    tn_access_release(&d->t.m.access, mark);
    tn__close_loops(k, 2);
    tn_l_transpose(k, s->tile);
    at = open_square(d, s, &i, &l);
    tn_lx to =
        place(d, s->line, d->turned.x_pitch, tn_l_add(k, s->first, i), tn_l_add(k, s->lane, l));
    tn_l_store(k, d->turned.x, to, tn_l_get(k, s->tile, at));
    tn__close_loops(k, 2);
}

/* Lines of x under `count` rows of the result. */
static tn_lx reach(depthwise *d, tn_lx count) {
    tn_loop *k = d->t.m.k;
    tn_lx one = number(d, 1);
    if (!d->last) return one;
    tn_lx last = tn_l_mul(k, tn_l_sub(k, count, one), number(d, d->attrs->stride.at[0]));
    tn_lx taps = tn_l_mul(k, tn_l_sub(k, tn_l_dim(k, d->t.c.k_extent[0]), one),
                          number(d, d->attrs->window_dilation.at[0]));
    return tn_l_add(k, tn_l_add(k, last, taps), one);
}

/* The lines that lie on x. */
static void stage_lines(depthwise *d, uint32_t tile, tn_lx count) {
    tn_loop *k = d->t.m.k;
    tn_lx zero = number(d, 0), lo = zero, hi = number(d, 1);
    if (d->last) {
        tn_lx first = tn_l_sub(k, tn_l_mul(k, d->turned.row, number(d, d->attrs->stride.at[0])),
                               number(d, d->attrs->pad_lo.at[0]));
        lo = tn_l_max(k, zero, first);
        hi = tn_l_min(k, x_extent(d, 0), tn_l_add(k, first, reach(d, count)));
    }
    d->turned.first_line = lo;
    for_lines(d, (square){.n = d->t.s.nr, .tile = tile}, d->turned.x_merged,
              tn_l_max(k, zero, tn_l_sub(k, hi, lo)), x_extent(d, d->last), stage_square);
}

/* ---- the result ----------------------------------------------------------------------------- */

/* Stores the element of column `column` of line `line` in scratch. */
static void store_element(depthwise *d, tn_lx line, tn_lx column, tn_lx sum) {
    tn_loop *k = d->t.m.k;
    tn_lx row = tn_l_add(k, d->turned.row, line), zero = number(d, 0);
    if (d->turned.y_merged) {
        column = tn_l_add(k, tn_l_mul(k, row, y_extent(d, d->last)), column);
        row = zero;
    }
    if (d->last) d->m[1] = row;
    d->m[1 + d->last] = column;
    tn__tile_point(&d->t, d->m, &zero);
    tn__epilogue_point(&d->t, sum, TN_LX_NONE, TN_LX_NONE);
}

static void store_square(depthwise *d, const square *s) {
    tn_loop *k = d->t.m.k;
    tn_lx i, l, at = open_square(d, s, &i, &l), zero = number(d, 0), lane;
    tn_lx column = tn_l_add(k, s->first, i), other = tn_l_number(k, d->t.c.acc, 0);
    tn_lx from = place(d, s->line, d->turned.y_pitch, column, tn_l_add(k, s->lane, l));
    tn_lx guard = is_column(d, s, column);
    tn_l_set(k, s->tile, at,
             tn_l_load(k, d->turned.y, from, guard, guard == TN_LX_NONE ? TN_LX_NONE : other));
    tn__close_loops(k, 2);
    tn_l_transpose(k, s->tile);
    i = tn_l_for(k, TN_LOOP_UNROLL, zero, number(d, s->n), "i");
    d->t.b_index[d->channel] = tn_l_add(k, d->from, tn_l_add(k, s->lane, i));
    tn_l_if(k, tn_l_lt(k, d->t.b_index[d->channel], d->to));
    column = tn_strip_open(k, s->first, s->n, s->limit, &lane);
    at = tn_l_add(k, tn_l_mul(k, i, number(d, s->n)), lane);
    store_element(d, s->line, column, tn_l_get(k, s->tile, at));
    tn_strip_close(k, s->limit);
    tn__close_loops(k, 2);
}

/* ---- which rows follow each other ----------------------------------------------------------- */

/* Emits an element of x, or of the result, whose row and column are loops over these extents. */
static void probe_element(depthwise *d, bool result, tn_merge_probe *probe, const tn_lx *var) {
    tn_loop *k = d->t.m.k;
    tn_lx zero = number(d, 0), none = tn_l_number(k, d->t.c.acc, 0);
    tn_lx channel = tn_l_for(k, TN_LOOP_SERIAL, zero, d->channels, "p");
    d->m[0] = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_dim(k, d->t.c.m_extent[0]), "p");
    d->t.b_index[d->channel] = channel;
    d->t.probe = probe;
    d->turned.first_line = d->turned.row = zero;
    if (result)
        store_element(d, var[0], var[1], none);
    else
        tn_vec_push(probe->arena, &probe->values,
                    element_of_x(d, channel, var[0], var[1], TN_LX_NONE));
}

/* Whether the rows of x, or of the result, follow each other wherever they are read and stored. */
static bool rows_merge(const tn_lower_context *c, uint32_t group, const tn_schedule *s,
                       bool result) {
    bool merged[2] = {false}, allowed[2] = {true, true};
    for (int holds = 0; holds < 2; holds++) {
        depthwise d;
        tn__depthwise_init(&d, c, group, s, "analysis");
        if (!d.last) return false;
        tn_loop *k = d.t.m.k;
        tn_merge_probe probe = {.k = k, .arena = c->arena};
        tn_lx zero = number(&d, 0), var[2] = {zero}, extent[2];
        for (int i = 0; i < 2; i++) extent[i] = result ? y_extent(&d, i) : x_extent(&d, i);
        if (!holds) var[0] = tn_l_for(k, TN_LOOP_SERIAL, zero, extent[0], "p");
        tn_lx run = holds ? tn_l_mul(k, extent[0], extent[1]) : extent[1];
        var[1] = tn_l_for(k, TN_LOOP_SERIAL, zero, run, "p");
        probe_element(&d, result, &probe, var);
        if (holds) return tn_merge_holds(&probe, var, 2, merged);
        tn_merge_find(&probe, var, extent, 2, allowed, merged);
        if (!merged[0]) return false;
    }
    return false;
}

/* ---- the kernel ----------------------------------------------------------------------------- */

static void sum_lines(depthwise *d, tn_lx count) {
    tn_loop *k = d->t.m.k;
    tn_lx line = tn_l_for(k, TN_LOOP_SERIAL, number(d, 0), count, "row");
    if (d->last) d->m[1] = tn_l_add(k, d->turned.row, line);
    tn__depthwise_row(d);
    tn_l_end(k);
}

/* Elements of scratch for so many lines; *pitch: of one line. Squares are whole. */
static tn_lx turned_size(depthwise *d, bool merged, tn_lx lines, tn_lx columns, uint32_t n,
                         tn_lx *pitch) {
    tn_loop *k = d->t.m.k;
    tn_lx run = merged ? tn_l_mul(k, lines, columns) : columns;
    tn_lx whole = tn_l_mul(k, tn__ceil_div(k, run, n), number(d, n));
    *pitch = merged ? columns : whole;
    return tn_l_mul(k, merged ? whole : tn_l_mul(k, lines, whole), number(d, d->t.s.lanes));
}

static void make_scratch(depthwise *d) {
    tn_loop *k = d->t.m.k;
    tn_lx rows = number(d, d->t.s.mr), lines = reach(d, rows);
    if (d->last) lines = tn_l_min(k, lines, x_extent(d, 0));
    d->turned.used = true;
    tn_lx x = turned_size(d, d->turned.x_merged, lines, x_extent(d, d->last), d->t.s.nr,
                          &d->turned.x_pitch);
    tn_lx y = turned_size(d, d->turned.y_merged, rows, y_extent(d, d->last), d->t.s.store_nr,
                          &d->turned.y_pitch);
    d->turned.x = tn_l_scratch(k, d->t.c.acc, x, "turned");
    d->turned.y = tn_l_scratch(k, d->t.c.acc, y, "sums");
    d->t.acc = tn_l_register(k, d->t.c.acc, (uint32_t)d->t.s.block * d->t.s.lanes, "acc");
}

static void emit_tasks(depthwise *d) {
    tn_loop *k = d->t.m.k;
    tn_lx lanes = number(d, d->t.s.lanes), per = number(d, d->t.s.rows_per_task), at[3];
    tn_lx rows = d->last ? y_extent(d, 0) : number(d, 1), height = number(d, d->t.s.mr);
    tn_lx extent[] = {tn__depthwise_images(&d->t), tn__ceil_div(k, d->channels, d->t.s.lanes),
                      tn__ceil_div(k, rows, d->t.s.mr)};
    tn_lx all = tn_l_mul(k, tn_l_mul(k, extent[0], extent[1]), extent[2]);
    uint32_t x = tn_l_register(k, d->t.c.acc, d->t.s.nr * d->t.s.nr, "square");
    uint32_t y = tn_l_register(k, d->t.c.acc, d->t.s.store_nr * d->t.s.store_nr, "back");
    k->tasks = tn__ceil_div(k, all, d->t.s.rows_per_task);
    tn_lx lo = tn_l_mul(k, tn_l_task(k), per);
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, lo, tn_l_min(k, all, tn_l_add(k, lo, per)), "block");
    tn_maker_split(k, i, extent, 3, at);
    tn__depthwise_image(&d->t, at[0], &d->m[0]);
    d->from = tn_l_mul(k, at[1], lanes);
    d->to = tn_l_min(k, d->channels, tn_l_add(k, d->from, lanes));
    d->turned.row = tn_l_mul(k, at[2], height);
    tn_lx count = tn_l_min(k, height, tn_l_sub(k, rows, d->turned.row));
    tn__depthwise_make_weights(d);
    stage_lines(d, x, count);
    sum_lines(d, count);
    for_lines(d, (square){.n = d->t.s.store_nr, .tile = y}, d->turned.y_merged, count,
              y_extent(d, d->last), store_square);
    tn_l_end(k);
}

bool tn_lower_depthwise_narrow(const tn_lower_context *c, uint32_t group, tn_lowered *out) {
    const tn_group *g = &c->grouping->groups.data[group];
    const tn_node_info *n = tn_graph_node(c->grouping->graph, g->anchor);
    if (tn__planes_of(c->grouping->graph, n) != TN__PLANES_NARROW) return false;
    tn_schedule s = tn_schedule_choose_narrow(c->grouping, g, (uint32_t)c->target->vector_bytes);
    depthwise d;
    tn__depthwise_init(&d, c, group, &s, "depthwise");
    d.turned.x_merged = rows_merge(c, group, &s, false);
    d.turned.y_merged = rows_merge(c, group, &s, true);
    make_scratch(&d);
    tn__depthwise_bind_weights(&d, c, group, out);
    emit_tasks(&d);
    out->kernel = d.t.m.k;
    out->schedule = s;
    return true;
}
