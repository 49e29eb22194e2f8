/* Depthwise convolution of an operand whose columns follow each other in memory (channels first), with
 * vectors along the columns.
 *
 *   task = range of (image, channel, block of rows)
 *   the rows of x that the block needs go to scratch, with their padding
 *   for each tile of mr rows and a strip of columns:
 *     acc[row][column] += x * w[tap] for all taps: x from scratch without a test, w in registers
 *     epilogue, stores */
#include "codegen/depthwise.h"
#include "loop/strips.h"
#include "transform/match.h"

enum { MOST_TAPS = 32 }; /* in the text */

/* One spatial axis; convolutions along one axis have a row axis of size 1. */
typedef struct span {
    int64_t stride, dilation, before; /* before: padding, may be negative */
    tn_lx window, x, y;               /* extents: of the window, of x, of the result */
    int axis;                         /* spatial axis, or -1 */
} span;

typedef struct planes {
    tn__tile t; /* first */
    span row, column;
    tn_lx images, channels, blocks; /* blocks of rows per plane */
    tn_lx pitch, size;              /* of a row in scratch; of all */
    uint32_t rows;                  /* scratch */
    tn_lx m[TN_MAX_RANK], k[TN_MAX_RANK];
    tn_lx first_row; /* of the result in the block */
    uint32_t height; /* of the current tile */
    tn_lx tile_row;
} planes;

static tn_lx number(planes *d, int64_t value) {
    return tn_l_int(d->t.m.k, value);
}

static span span_of(planes *d, int axis) {
    tn_loop *k = d->t.m.k;
    const tn_attrs_conv *a = d->t.node->attrs;
    tn_lx one = number(d, 1);
    if (axis < 0) return (span){1, 1, 0, one, one, one, -1};
    const tn_shape *x = &tn_node_type(d->t.m.graph, d->t.node, 0)->shape;
    return (span){.stride = a->stride.at[axis],
                  .dilation = a->window_dilation.at[axis],
                  .before = a->pad_lo.at[axis],
                  .window = tn_l_dim(k, d->t.c.k_extent[axis]),
                  .x = tn_l_dim(k, x->dim[d->t.c.b + 1 + axis]),
                  .y = tn_l_dim(k, d->t.c.m_extent[1 + axis]),
                  .axis = axis};
}

/* Positions of padded x under `count` results. */
static tn_lx reach(planes *d, const span *s, tn_lx count) {
    tn_loop *k = d->t.m.k;
    tn_lx one = number(d, 1);
    tn_lx last = tn_l_mul(k, tn_l_sub(k, count, one), number(d, s->stride));
    tn_lx taps = tn_l_mul(k, tn_l_sub(k, s->window, one), number(d, s->dilation));
    return tn_l_add(k, tn_l_add(k, last, taps), one);
}

/* ---- staging -------------------------------------------------------------------------------- */

typedef struct stage_line {
    planes *d;
    tn_lx to;    /* where the row of x begins in scratch, behind the padding before it */
    tn_lx index; /* of the row of x; NONE: zeros */
} stage_line;

static void stage_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    stage_line *line = context;
    planes *d = line->d;
    tn__tile *t = &d->t;
    tn_loop *k = t->m.k;
    tn_lx lane, x = tn_strip_open(k, base, width, limit, &lane), zero = number(d, 0);
    tn_lx value = tn_l_number(k, t->c.acc, 0);
    uint32_t mark = tn_access_mark(&t->m.access);
    if (line->index != TN_LX_NONE) {
        tn_lx index[TN_MAX_RANK], place[] = {d->m[0], line->index, x, zero};
        if (d->row.axis < 0) place[1] = x, place[2] = zero;
        memcpy(index, t->b_index, sizeof *index * (size_t)t->c.b);
        memcpy(index + t->c.b, place, sizeof place);
        value = tn__tile_operand(t, 0, index, TN_LX_NONE);
    }
    tn_l_store(k, d->rows, tn_l_add(k, line->to, x), value);
    tn_access_release(&t->m.access, mark);
    tn_strip_close(k, limit);
}

/* The columns [lo, hi) of x that windows reach; negative padding leaves some out. */
static void stage_row(planes *d, tn_lx to, tn_lx row) {
    tn_loop *k = d->t.m.k;
    tn_lx zero = number(d, 0), before = number(d, d->column.before);
    tn_lx end = tn_l_sub(k, reach(d, &d->column, d->column.y), before);
    tn_lx lo = tn_l_max(k, zero, tn_l_sub(k, zero, before));
    tn_lx hi = tn_l_max(k, lo, tn_l_min(k, d->column.x, end));
    stage_line line = {d, tn_l_add(k, to, before), row};
    tn_strips(k, d->t.s.lanes, 1, lo, hi, stage_strip, &line);
}

/* All rows under the block's `count` rows of the result. What stays padding in every block is zero
 * since the task began. */
static void stage_rows(planes *d, tn_lx count) {
    tn_loop *k = d->t.m.k;
    int64_t blocks;
    bool changes = !tn_l_is_const_int(k, d->blocks, &blocks) || blocks > 1;
    tn_lx first =
        tn_l_sub(k, tn_l_mul(k, d->first_row, number(d, d->row.stride)), number(d, d->row.before));
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, number(d, 0), reach(d, &d->row, count), "line");
    tn_lx row = tn_l_add(k, first, i), to = tn_l_mul(k, i, d->pitch);
    tn_l_if(k, tn_l_and(k, tn_l_le(k, number(d, 0), row), tn_l_lt(k, row, d->row.x)));
    stage_row(d, to, row);
    if (changes) {
        tn_l_else(k);
        stage_row(d, to, TN_LX_NONE);
    }
    tn_l_end(k);
    tn_l_end(k);
}

static void clear_rows(planes *d) {
    stage_line zeros = {d, number(d, 0), TN_LX_NONE};
    tn_strips(d->t.m.k, d->t.s.lanes, 1, number(d, 0), d->size, stage_strip, &zeros);
}

/* ---- products ------------------------------------------------------------------------------- */

static tn_lx weight(planes *d, tn_lx ky, tn_lx kx) {
    tn_lx zero = number(d, 0), index[] = {ky, kx, zero};
    if (d->row.axis < 0) index[0] = kx, index[1] = zero;
    return tn__tile_rhs(&d->t, d->t.b_index, index, &zero, TN_LX_NONE);
}

typedef struct strip_work {
    planes *d;
    tn_lx base, limit;
    uint32_t vectors;
} strip_work;

/* Opens the loops over rows, vectors and lanes of a tile; gives the row, the column and the place in the
 * accumulators. `limit`: see strips.h. */
static void open_tile(const strip_work *w, tn_lx limit, tn_lx *row, tn_lx *column, tn_lx *at) {
    planes *d = w->d;
    tn_loop *k = d->t.m.k;
    tn_lx lanes = number(d, d->t.s.lanes), zero = number(d, 0), lane;
    *row = tn_l_for(k, TN_LOOP_UNROLL, zero, number(d, d->height), "i");
    tn_lx v = tn_l_for(k, TN_LOOP_UNROLL, zero, number(d, w->vectors), "v");
    tn_lx first = tn_l_add(k, w->base, tn_l_mul(k, v, lanes));
    *column = tn_strip_open(k, first, d->t.s.lanes, limit, &lane);
    tn_lx line = tn_l_add(k, tn_l_mul(k, *row, number(d, w->vectors)), v);
    *at = tn_l_add(k, tn_l_mul(k, line, lanes), lane);
}

static void close_tile(const strip_work *w, tn_lx limit) {
    tn_loop *k = w->d->t.m.k;
    tn_strip_close(k, limit);
    tn__close_loops(k, 2);
}

static void clear_tile(const strip_work *w) {
    tn_lx row, column, at;
    tn_loop *k = w->d->t.m.k;
    open_tile(w, TN_LX_NONE, &row, &column, &at);
    tn_l_set(k, w->d->t.acc, at, tn_l_number(k, w->d->t.c.acc, 0));
    close_tile(w, TN_LX_NONE);
}

static void add_tap(const strip_work *w, tn_lx ky, tn_lx kx) {
    planes *d = w->d;
    tn_loop *k = d->t.m.k;
    tn_lx row, column, at, scalar = tn_l_let(k, weight(d, ky, kx));
    open_tile(w, TN_LX_NONE, &row, &column, &at);
    tn_lx y = tn_l_add(k, tn_l_sub(k, d->tile_row, d->first_row), row);
    tn_lx line = tn_l_add(k, tn_l_mul(k, y, number(d, d->row.stride)),
                          tn_l_mul(k, ky, number(d, d->row.dilation)));
    tn_lx position = tn_l_add(k, tn_l_mul(k, column, number(d, d->column.stride)),
                              tn_l_mul(k, kx, number(d, d->column.dilation)));
    tn_lx x = tn_l_load(k, d->rows, tn_l_add(k, tn_l_mul(k, line, d->pitch), position), TN_LX_NONE,
                        TN_LX_NONE);
    tn_l_set(k, d->t.acc, at, tn_l_op3(k, TN_S_mad, x, scalar, tn_l_get(k, d->t.acc, at)));
    close_tile(w, TN_LX_NONE);
}

static void add_taps(const strip_work *w) {
    planes *d = w->d;
    tn_loop *k = d->t.m.k;
    int64_t rows = 0, columns = 0;
    bool few = tn_l_is_const_int(k, d->row.window, &rows) &&
               tn_l_is_const_int(k, d->column.window, &columns) && columns <= MOST_TAPS &&
               rows <= MOST_TAPS;
    bool both = few && rows * columns <= MOST_TAPS;
    tn_lx zero = number(d, 0);
    tn_lx ky = tn_l_for(k, both ? TN_LOOP_UNROLL : TN_LOOP_SERIAL, zero, d->row.window, "w");
    tn_lx kx = tn_l_for(k, few ? TN_LOOP_UNROLL : TN_LOOP_SERIAL, zero, d->column.window, "w");
    uint32_t mark = tn_access_mark(&d->t.m.access);
    add_tap(w, ky, kx);
    tn_access_release(&d->t.m.access, mark);
    tn__close_loops(k, 2);
}

static void store_tile(const strip_work *w) {
    planes *d = w->d;
    tn_lx row, column, at, zero = number(d, 0), m[TN_MAX_RANK] = {d->m[0]};
    open_tile(w, w->limit, &row, &column, &at);
    if (d->row.axis >= 0) m[1 + d->row.axis] = tn_l_add(d->t.m.k, d->tile_row, row);
    m[1 + d->column.axis] = column;
    tn__tile_point(&d->t, m, &zero);
    tn__epilogue_point(&d->t, tn_l_get(d->t.m.k, d->t.acc, at), TN_LX_NONE, TN_LX_NONE);
    close_tile(w, w->limit);
}

static void column_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    planes *d = context;
    strip_work w = {d, base, limit, width / d->t.s.lanes};
    clear_tile(&w);
    add_taps(&w);
    store_tile(&w);
}

static void row_tile(void *context, uint32_t height, tn_lx row) {
    planes *d = context;
    d->height = height;
    d->tile_row = row;
    tn_strips(d->t.m.k, d->t.s.lanes, d->t.s.unroll, number(d, 0), d->column.y, column_strip, d);
}

/* ---- the kernel ----------------------------------------------------------------------------- */

static void emit_tasks(planes *d) {
    tn_loop *k = d->t.m.k;
    tn_lx block = number(d, d->t.s.block), per = number(d, d->t.s.rows_per_task);
    d->blocks = tn__ceil_div(k, d->row.y, d->t.s.block);
    tn_lx extent[] = {d->images, d->channels, d->blocks}, at[3];
    tn_lx all = tn_l_mul(k, tn_l_mul(k, d->images, d->channels), d->blocks);
    k->tasks = tn__ceil_div(k, all, d->t.s.rows_per_task);
    tn_lx lo = tn_l_mul(k, tn_l_task(k), per);
    clear_rows(d);
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, lo, tn_l_min(k, all, tn_l_add(k, lo, per)), "block");
    tn_maker_split(k, i, extent, 3, at);
    tn__depthwise_image(&d->t, at[0], &d->m[0]);
    d->t.b_index[d->t.c.b - 1] = at[1];
    d->first_row = tn_l_mul(k, at[2], block);
    tn_lx end = tn_l_min(k, d->row.y, tn_l_add(k, d->first_row, block));
    stage_rows(d, tn_l_sub(k, end, d->first_row));
    tn__row_tiles(k, d->t.s.mr, d->first_row, end, d->row.y, row_tile, d);
    tn_l_end(k);
}

static void planes_init(planes *d, const tn_lower_context *c, uint32_t group) {
    *d = (planes){0};
    tn__tile_init(&d->t, c, group, "depthwise");
    tn_loop *k = d->t.m.k;
    int last = ((const tn_attrs_conv *)d->t.node->attrs)->stride.count - 1;
    d->column = span_of(d, last);
    d->row = span_of(d, last - 1);
    d->images = tn__depthwise_images(&d->t);
    d->channels = tn_l_dim(k, d->t.c.b_extent[d->t.c.b - 1]);
}

/* A vector past the last column is read as a whole. */
static void make_scratch(planes *d) {
    tn_loop *k = d->t.m.k;
    int64_t width = (int64_t)d->t.s.lanes, block = TN_MAX(1, d->t.s.block);
    tn_lx whole = tn_l_mul(k, tn__ceil_div(k, d->column.y, width), number(d, width));
    d->pitch = reach(d, &d->column, whole);
    tn_lx lines = reach(d, &d->row, tn_l_min(k, number(d, block), d->row.y));
    d->size = tn_l_mul(k, lines, d->pitch);
    d->rows = tn_l_scratch(k, d->t.c.acc, d->size, "rows");
    uint32_t elements = d->t.s.mr * d->t.s.unroll * d->t.s.lanes;
    d->t.acc = tn_l_register(k, d->t.c.acc, elements, "acc");
}

/* x steps by one along its columns, and not along the channels. */
static bool reads_columns(const tn_lower_context *c, uint32_t group) {
    planes d;
    planes_init(&d, c, group);
    tn_loop *k = d.t.m.k;
    const tn_shape *x = &tn_node_type(d.t.m.graph, d.t.node, 0)->shape;
    tn_lx index[TN_MAX_RANK];
    for (int i = 0; i < x->rank; i++)
        index[i] = tn_l_for(k, TN_LOOP_SERIAL, number(&d, 0), tn_l_dim(k, x->dim[i]), "p");
    uint32_t buffer = 0;
    tn_lx address = tn__load_address(k, tn__tile_operand(&d.t, 0, index, TN_LX_NONE), &buffer);
    return tn__steps_by_one(k, address, index[x->rank - 2]) &&
           !tn__steps_by_one(k, address, index[d.t.c.b - 1]);
}

bool tn_lower_depthwise_planes(const tn_lower_context *c, uint32_t group, tn_lowered *out) {
    const tn_group *g = &c->grouping->groups.data[group];
    const tn_node_info *n = tn_graph_node(c->grouping->graph, g->anchor);
    if (((const tn_attrs_conv *)n->attrs)->stride.count > 2 ||
        tn__planes_of(c->grouping->graph, n) != TN__PLANES_WIDE || !reads_columns(c, group))
        return false;
    planes d;
    planes_init(&d, c, group);
    d.t.s = tn_schedule_choose_planes(c->grouping, g, (uint32_t)c->target->vector_bytes);
    make_scratch(&d);
    emit_tasks(&d);
    out->kernel = d.t.m.k;
    out->schedule = d.t.s;
    return true;
}
