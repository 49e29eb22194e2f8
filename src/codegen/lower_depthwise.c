/* Depthwise convolution (one channel in and out per group) with vectors along the channels.
 *
 *   task = (block of rows of the result, chunk of channels)
 *   for each row, each block of neighbouring columns, each strip of channels:
 *     acc[column] = 0
 *     for each row of the window that lies on x:           a loop whose bounds follow the row
 *       for each tap of it and each column:                in the text
 *         acc[column] += x * w[tap]
 *     epilogue, stores
 *
 * Padding is never read: the loop over window rows ends at the borders of x, and blocks at the left and
 * right borders leave out the taps that fall outside, which is known while the text is made. Where it
 * is not (open sizes, very wide windows), the columns at the borders are done one by one with a loop
 * over their taps. The weights are packed as [tap][channel]: prepared when constant, else by the task. */
#include "codegen/depthwise.h"
#include "loop/strips.h"
#include "transform/match.h"

enum {
    MOST_TAPS = 16,  /* of a window's row in the text */
    MOST_BLOCKS = 4, /* of columns at the borders in the text */
    LARGE = 4 << 20, /* bytes of x */
};

typedef tn__depthwise depthwise;

/* Columns known while the text is made: of x and of the result. */
typedef struct columns {
    bool known;
    int64_t x, y;
} columns;

static tn_lx number(depthwise *d, int64_t value) {
    return tn_l_int(d->t.m.k, value);
}

/* ---- which taps lie on x -------------------------------------------------------------------- */

static tn_lx extent_of_x(depthwise *d, int axis) {
    return tn_l_dim(d->t.m.k,
                    tn_node_type(d->t.m.graph, d->t.node, 0)->shape.dim[d->channel + 2 + axis]);
}

/* The first tap at result position `to` that lies at or behind position `from` of x. */
static tn_lx first_tap(depthwise *d, int axis, tn_lx to, tn_lx from) {
    tn_loop *k = d->t.m.k;
    const tn_attrs_conv *a = d->attrs;
    tn_lx start =
        tn_l_sub(k, tn_l_mul(k, to, number(d, a->stride.at[axis])), number(d, a->pad_lo.at[axis]));
    tn_lx before = tn_l_max(k, number(d, 0), tn_l_sub(k, from, start));
    return tn_l_min(k, tn_l_dim(k, d->t.c.k_extent[axis]),
                    tn__ceil_div(k, before, a->window_dilation.at[axis]));
}

static tn_lx open_taps(depthwise *d, int axis, tn_lx to) {
    tn_lx lo = first_tap(d, axis, to, number(d, 0));
    tn_lx hi = first_tap(d, axis, to, extent_of_x(d, axis));
    return tn_l_for(d->t.m.k, TN_LOOP_SERIAL, lo, hi, "w");
}

static int64_t window_of(const depthwise *d) {
    int64_t taps = 0;
    bool known = tn_dim_const_value(d->t.m.graph->dims, d->t.c.k_extent[d->last], &taps);
    TN_ASSERT(known);
    return taps;
}

/* Whether tap q of result column `to` lies on x. */
static bool on_x(const depthwise *d, const columns *c, int64_t to, int64_t q) {
    const tn_attrs_conv *a = d->attrs;
    int64_t at = to * a->stride.at[d->last] + q * a->window_dilation.at[d->last];
    at -= a->pad_lo.at[d->last];
    return at >= 0 && at < c->x;
}

static bool inside(const depthwise *d, const columns *c, int64_t to) {
    return on_x(d, c, to, 0) && on_x(d, c, to, window_of(d) - 1);
}

/* ---- the work on a block of columns --------------------------------------------------------- */

static tn_lx weight_at(depthwise *d, tn_lx channel) {
    tn_loop *k = d->t.m.k;
    tn_lx tap = d->filter;
    for (int i = 0; i <= d->last; i++)
        tap = tn_l_add(k, tn_l_mul(k, tap, tn_l_dim(k, d->t.c.k_extent[i])), d->k[i]);
    return tn_l_add(k, tn_l_mul(k, tap, d->width), channel);
}

/* Opens the loops over the vectors of channels, for column `p` of the tile; gives the place in the
 * accumulators. */
static tn_lx open_channels(depthwise *d, tn_lx p) {
    tn_loop *k = d->t.m.k;
    tn_lx lanes = number(d, d->t.s.lanes), vectors = number(d, d->vectors), lane;
    tn_lx v = tn_l_for(k, TN_LOOP_UNROLL, number(d, 0), vectors, "v");
    tn_lx base = tn_l_add(k, d->strip, tn_l_mul(k, v, lanes));
    d->t.b_index[d->channel] = tn_strip_open(k, base, d->t.s.lanes, d->limit, &lane);
    tn_lx line = tn_l_add(k, tn_l_mul(k, p, vectors), v);
    return tn_l_add(k, tn_l_mul(k, line, lanes), lane);
}

static void close_channels(depthwise *d) {
    tn_strip_close(d->t.m.k, d->limit);
    tn_l_end(d->t.m.k);
}

static void clear_columns(depthwise *d, int64_t count) {
    tn_loop *k = d->t.m.k;
    tn_lx p = tn_l_for(k, TN_LOOP_UNROLL, number(d, 0), number(d, count), "p");
    tn_l_set(k, d->t.acc, open_channels(d, p), tn_l_number(k, d->t.c.acc, 0));
    close_channels(d);
    tn_l_end(k);
}

static tn_lx element_of_x(depthwise *d, const tn_lx *index) {
    if (!d->turned.used) /* the loops have made the guard hold */
        return tn__tile_operand(&d->t, 0, index, TN_LX_NONE);
    return tn_l_load(d->t.m.k, d->turned.x, tn__turned_x(d, index), TN_LX_NONE, TN_LX_NONE);
}

/* acc[p] += x * w at the current window position, for the result's column first + p. */
static void add_tap(depthwise *d, tn_lx first, tn_lx p) {
    tn__tile *t = &d->t;
    tn_loop *k = t->m.k;
    tn_lx index[TN_MAX_RANK], guard = TN_LX_NONE, at = open_channels(d, p);
    d->m[1 + d->last] = tn_l_add(k, first, p);
    uint32_t mark = tn_access_mark(&t->m.access);
    t->rules->lhs(&t->m.access.emit, t->node, t->b_index, d->m, d->k, index, &guard);
    tn_lx x = element_of_x(d, index);
    tn_lx w = tn_l_load(k, t->packed, weight_at(d, t->b_index[d->channel]), TN_LX_NONE, TN_LX_NONE);
    tn_l_set(k, t->acc, at, tn_l_op3(k, TN_S_mad, x, w, tn_l_get(k, t->acc, at)));
    tn_access_release(&t->m.access, mark);
    close_channels(d);
}

static void store_column(depthwise *d, tn_lx first, tn_lx p) {
    tn__tile *t = &d->t;
    tn_lx zero = number(d, 0), at = open_channels(d, p);
    tn_lx sum = tn_l_get(t->m.k, t->acc, at);
    d->m[1 + d->last] = tn_l_add(t->m.k, first, p);
    if (d->turned.used) {
        tn_l_store(t->m.k, d->turned.y, tn__turned_y(d, t->b_index[d->channel]), sum);
    } else {
        tn__tile_point(t, d->m, &zero);
        tn__epilogue_point(t, sum, TN_LX_NONE, TN_LX_NONE);
    }
    close_channels(d);
}

static void store_columns(depthwise *d, tn_lx first, int64_t count) {
    tn_loop *k = d->t.m.k;
    tn_lx p = tn_l_for(k, TN_LOOP_UNROLL, number(d, 0), number(d, count), "p");
    store_column(d, first, p);
    tn_l_end(k);
}

/* A block of neighbouring columns of the current row. */
typedef struct block {
    depthwise *d;
    const columns *known; /* it is at a border, from a known column on: else NULL */
    int64_t from;         /* that column */
    tn_lx first;
    int64_t count;
    bool open; /* one column, some of whose taps may fall outside */
} block;

/* Taps that fall outside are left out. */
static void border_taps(const block *b) {
    depthwise *d = b->d;
    for (int64_t q = 0; q < window_of(d); q++)
        for (int64_t p = 0; p < b->count; p++) {
            if (!on_x(d, b->known, b->from + p, q)) continue;
            d->k[d->last] = number(d, q);
            add_tap(d, b->first, number(d, p));
        }
}

static void other_taps(const block *b) {
    depthwise *d = b->d;
    tn_loop *k = d->t.m.k;
    tn_loop_kind kind = window_of(d) <= MOST_TAPS ? TN_LOOP_UNROLL : TN_LOOP_SERIAL;
    tn_lx zero = number(d, 0);
    d->k[d->last] = b->open ? open_taps(d, d->last, b->first)
                            : tn_l_for(k, kind, zero, number(d, window_of(d)), "w");
    tn_lx p = tn_l_for(k, TN_LOOP_UNROLL, zero, number(d, b->count), "p");
    add_tap(d, b->first, p);
    tn__close_loops(k, 2);
}

/* The line of x that tap (row, column) of the block's column `p` has, for vector `v`. */
static void prefetch_line(const block *b, int64_t p, int64_t v, int64_t row, int64_t column) {
    depthwise *d = b->d;
    tn__tile *t = &d->t;
    tn_loop *k = t->m.k;
    tn_lx index[TN_MAX_RANK], guard = TN_LX_NONE;
    uint32_t mark = tn_access_mark(&t->m.access), buffer = 0;
    t->b_index[d->channel] = tn_l_add(k, d->strip, number(d, v * t->s.lanes));
    d->m[1 + d->last] = tn_l_add(k, b->first, number(d, p));
    for (int i = 0; i < d->last; i++) d->k[i] = number(d, i == d->last - 1 ? row : 0);
    d->k[d->last] = number(d, column);
    t->rules->lhs(&t->m.access.emit, t->node, t->b_index, d->m, d->k, index, &guard);
    tn_lx at = tn__load_address(k, tn__tile_operand(t, 0, index, TN_LX_NONE), &buffer);
    if (at) tn_l_prefetch(k, buffer, at);
    tn_access_release(&t->m.access, mark);
}

/* The rows of x that the next row of the result adds to the window: blocks read a few lines of each of its
 * rows, too short a run for the machine to see ahead. */
static void prefetch_rows(const block *b) {
    enum { MOST = 64 };
    depthwise *d = b->d;
    const tn_attrs_conv *a = d->attrs;
    int64_t taps = 0, across = a->stride.at[d->last];
    int64_t rows = d->last ? a->stride.at[d->last - 1] : 0;
    if (!rows || !tn_dim_const_value(d->t.m.graph->dims, d->t.c.k_extent[d->last - 1], &taps) ||
        a->window_dilation.at[d->last - 1] > 1 || a->window_dilation.at[d->last] > 1 ||
        rows * across * b->count * d->vectors > MOST)
        return;
    for (int64_t i = 0; i < rows * b->count * across; i++)
        for (int64_t v = 0; v < d->vectors; v++)
            prefetch_line(b, i / across % b->count, v, taps + i / across / b->count, i % across);
}

static void channel_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    const block *b = context;
    depthwise *d = b->d;
    d->vectors = width / d->t.s.lanes;
    d->strip = base;
    d->limit = limit;
    if (d->ahead) prefetch_rows(b);
    clear_columns(d, b->count);
    for (int i = 0; i < d->last; i++) d->k[i] = open_taps(d, i, d->m[1 + i]);
    if (b->known)
        border_taps(b);
    else
        other_taps(b);
    tn__close_loops(d->t.m.k, d->last);
    store_columns(d, b->first, b->count);
}

static void run_block(block b) {
    depthwise *d = b.d;
    tn_strips(d->t.m.k, d->t.s.lanes, d->t.s.unroll, d->from, d->to, channel_strip, &b);
}

/* ---- a row ---------------------------------------------------------------------------------- */

/* Blocks [*lo, *hi) lie inside; the others, at the borders, go into the text. */
static bool inner_blocks(const depthwise *d, const columns *c, int64_t *lo, int64_t *hi) {
    int64_t size = d->t.s.block, count = (c->y + size - 1) / size;
    if (!c->known || window_of(d) > MOST_TAPS) return false;
    for (*lo = 0; *lo < count && *lo <= MOST_BLOCKS; (*lo)++)
        if (inside(d, c, *lo * size) && (*lo + 1) * size <= c->y &&
            inside(d, c, (*lo + 1) * size - 1))
            break;
    for (*hi = count; *hi > *lo && count - *hi <= MOST_BLOCKS; (*hi)--)
        if (*hi * size <= c->y && inside(d, c, *hi * size - 1)) break;
    return *lo + count - *hi <= MOST_BLOCKS;
}

static void border_blocks(depthwise *d, const columns *c, int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; i++) {
        int64_t from = i * d->t.s.block, count = TN_MIN(d->t.s.block, c->y - from);
        run_block((block){d, c, from, number(d, from), count, false});
    }
}

static void inner_run(depthwise *d, tn_lx first, tn_lx lo, tn_lx hi) {
    tn_loop *k = d->t.m.k;
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "block");
    first = tn_l_add(k, first, tn_l_mul(k, i, number(d, d->t.s.block)));
    run_block((block){.d = d, .first = first, .count = d->t.s.block});
    tn_l_end(k);
}

/* Columns [lo, hi) one by one. */
static void single_columns(depthwise *d, tn_lx lo, tn_lx hi) {
    tn_loop *k = d->t.m.k;
    tn_lx column = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "column");
    run_block((block){.d = d, .first = column, .count = 1, .open = true});
    tn_l_end(k);
}

/* The columns whose first tap, and whose last one, lies on x are a range: [lo, hi). */
static void open_row(depthwise *d) {
    tn_loop *k = d->t.m.k;
    const tn_attrs_conv *a = d->attrs;
    int64_t stride = a->stride.at[d->last], before = TN_MAX(0, a->pad_lo.at[d->last]);
    int64_t reach = (window_of(d) - 1) * a->window_dilation.at[d->last] - a->pad_lo.at[d->last];
    tn_lx all = tn_l_dim(k, d->t.c.m_extent[1 + d->last]), size = number(d, d->t.s.block);
    tn_lx lo = tn_l_min(k, all, number(d, (before + stride - 1) / stride));
    tn_lx room = tn_l_max(k, number(d, 0), tn_l_sub(k, extent_of_x(d, d->last), number(d, reach)));
    tn_lx hi = tn_l_max(k, lo, tn_l_min(k, all, tn__ceil_div(k, room, stride)));
    tn_lx blocks = tn_l_div(k, tn_l_sub(k, hi, lo), size);
    single_columns(d, number(d, 0), lo);
    inner_run(d, lo, number(d, 0), blocks);
    single_columns(d, tn_l_add(k, lo, tn_l_mul(k, blocks, size)), all);
}

void tn__depthwise_row(tn__depthwise *d) {
    columns c = {0};
    int64_t lo = 0, hi = 0;
    tn_lx y = tn_l_dim(d->t.m.k, d->t.c.m_extent[1 + d->last]);
    c.known = tn_l_is_const_int(d->t.m.k, extent_of_x(d, d->last), &c.x) &&
              tn_l_is_const_int(d->t.m.k, y, &c.y);
    if (!inner_blocks(d, &c, &lo, &hi)) {
        open_row(d);
        return;
    }
    border_blocks(d, &c, 0, lo);
    if (lo < hi) inner_run(d, number(d, 0), number(d, lo), number(d, hi));
    border_blocks(d, &c, hi, (c.y + d->t.s.block - 1) / d->t.s.block);
}

/* ---- weights -------------------------------------------------------------------------------- */

typedef struct weight_row {
    depthwise *d;
    uint32_t to;
} weight_row;

static void weight_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    weight_row *r = context;
    depthwise *d = r->d;
    tn_lx lane, zero = number(d, 0);
    d->t.b_index[d->channel] = tn_strip_open(d->t.m.k, base, width, limit, &lane);
    uint32_t mark = tn_access_mark(&d->t.m.access);
    tn_lx w = tn__tile_rhs(&d->t, d->t.b_index, d->k, &zero, TN_LX_NONE);
    tn_l_store(d->t.m.k, r->to, weight_at(d, d->t.b_index[d->channel]), w);
    tn_access_release(&d->t.m.access, mark);
    tn_strip_close(d->t.m.k, limit);
}

/* All taps of the channels [lo, hi). */
static void pack_weights(depthwise *d, uint32_t to, tn_lx lo, tn_lx hi) {
    tn_loop *k = d->t.m.k;
    weight_row r = {d, to};
    for (int i = 0; i <= d->last; i++)
        d->k[i] = tn_l_for(k, TN_LOOP_SERIAL, number(d, 0), tn_l_dim(k, d->t.c.k_extent[i]), "w");
    tn_strips(k, d->t.s.lanes, 1, lo, hi, weight_strip, &r);
    tn__close_loops(k, d->last + 1);
}

static tn_lx weight_count(depthwise *d) {
    return tn_l_mul(d->t.m.k, tn__tile_product(d->t.m.k, d->t.c.k_extent, d->t.c.k), d->width);
}

/* ---- the kernels ---------------------------------------------------------------------------- */

void tn__depthwise_init(tn__depthwise *d, const tn_lower_context *c, uint32_t group,
                        const tn_schedule *s, const char *name) {
    *d = (tn__depthwise){0};
    tn__tile_init(&d->t, c, group, name);
    d->t.s = *s;
    d->attrs = d->t.node->attrs;
    d->last = d->attrs->stride.count - 1;
    d->channel = d->t.c.b - 1;
    d->channels = d->width = tn_l_dim(d->t.m.k, d->t.c.b_extent[d->channel]);
    d->filter = d->t.b_linear = number(d, 0);
    for (int i = 0; i < d->channel; i++) d->t.b_index[i] = number(d, 0);
    for (int i = 0; i < TN_MAX_RANK; i++) d->k[i] = number(d, 0);
}

static void lower_pack(const tn_lower_context *c, uint32_t group, const tn_schedule *s,
                       tn_lowered *out) {
    depthwise d;
    tn__depthwise_init(&d, c, group, s, "pack");
    tn_loop *k = d.t.m.k;
    uint32_t to = tn_l_buffer(k, TN_LBUF_OUTPUT, d.t.c.acc, "packed");
    k->buffers.data[to].binding = TN_BIND_PACK;
    k->tasks = tn__tile_product(k, d.t.c.b_extent, d.channel);
    if (d.channel > 0) d.filter = tn_l_task(k);
    tn__split_plain(k, d.filter, d.t.c.b_extent, d.channel, d.t.b_index);
    pack_weights(&d, to, number(&d, 0), d.channels);
    tn_dim elements = 1;
    for (int i = 0; i < d.t.c.b; i++)
        elements = tn_dim_mul(d.t.m.graph->dims, elements, d.t.c.b_extent[i]);
    for (int i = 0; i < d.t.c.k; i++)
        elements = tn_dim_mul(d.t.m.graph->dims, elements, d.t.c.k_extent[i]);
    out->packs[out->pack_count++] = (tn_pack){k, elements, d.t.c.acc};
}

void tn__depthwise_bind_weights(tn__depthwise *d, const tn_lower_context *c, uint32_t group,
                                tn_lowered *out) {
    tn_loop *k = d->t.m.k;
    tn_node w = tn_graph_value(d->t.m.graph, d->t.node->in[1])->node;
    if (c->grouping->prepared[w] && !d->t.m.group->constant) {
        d->t.packed = tn_l_buffer(k, TN_LBUF_INPUT, d->t.c.acc, "packed");
        k->buffers.data[d->t.packed].binding = TN_BIND_PACK;
        lower_pack(c, group, &d->t.s, out);
    } else {
        d->t.packed = tn_l_scratch(k, d->t.c.acc, weight_count(d), "weights");
    }
}

void tn__depthwise_make_weights(tn__depthwise *d) {
    if (d->t.m.k->buffers.data[d->t.packed].kind == TN_LBUF_SCRATCH)
        pack_weights(d, d->t.packed, d->from, d->to);
    else
        d->filter = d->t.b_linear;
}

tn_lx tn__depthwise_images(tn__tile *t) {
    tn_loop *k = t->m.k;
    return tn_l_mul(k, tn__tile_product(k, t->c.b_extent, t->c.b - 1),
                    tn_l_dim(k, t->c.m_extent[0]));
}

void tn__depthwise_image(tn__tile *t, tn_lx at, tn_lx *image) {
    tn_loop *k = t->m.k;
    tn_lx each = tn_l_dim(k, t->c.m_extent[0]);
    *image = at;
    t->b_linear = tn_l_int(k, 0);
    if (t->c.b == 1) return;
    *image = tn_l_mod(k, at, each);
    t->b_linear = tn_l_div(k, at, each);
    tn__split_plain(k, t->b_linear, t->c.b_extent, t->c.b - 1, t->b_index);
}

/* `each` tasks for every filter; returns the number of the task among those of its own. */
static tn_lx open_filter(depthwise *d, tn_lx each) {
    tn_loop *k = d->t.m.k;
    k->tasks = tn_l_mul(k, tn__tile_product(k, d->t.c.b_extent, d->channel), each);
    tn_lx task = tn_l_task(k); /* whose bound is known by now */
    if (d->channel == 0) return task;
    d->t.b_linear = tn_l_div(k, task, each);
    tn__split_plain(k, d->t.b_linear, d->t.c.b_extent, d->channel, d->t.b_index);
    return tn_l_mod(k, task, each);
}

static void emit_tasks(depthwise *d) {
    tn_loop *k = d->t.m.k;
    tn_lx extent[TN_MAX_RANK], rows = tn__tile_product(k, d->t.c.m_extent, d->last + 1);
    tn_lx per = number(d, d->t.s.rows_per_task), chunk = number(d, d->t.s.chunk);
    tn_lx chunks = tn__ceil_div(k, d->channels, d->t.s.chunk);
    tn_lx each = tn_l_mul(k, tn__ceil_div(k, rows, d->t.s.rows_per_task), chunks);
    tn_lx task = open_filter(d, each), lo = tn_l_mul(k, tn_l_div(k, task, chunks), per);
    d->from = tn_l_mul(k, tn_l_mod(k, task, chunks), chunk);
    d->to = tn_l_min(k, d->channels, tn_l_add(k, d->from, chunk));
    tn__depthwise_make_weights(d);
    for (int i = 0; i <= d->last; i++) extent[i] = tn_l_dim(k, d->t.c.m_extent[i]);
    tn_lx row = tn_l_for(k, TN_LOOP_SERIAL, lo, tn_l_min(k, rows, tn_l_add(k, lo, per)), "row");
    tn_maker_split(k, row, extent, d->last + 1, d->m);
    tn__depthwise_row(d);
    tn_l_end(k);
}

bool tn_lower_depthwise(const tn_lower_context *c, uint32_t group, tn_lowered *out) {
    const tn_group *g = &c->grouping->groups.data[group];
    if (!c->grouping->fuse || g->anchor == TN_NO_NODE) return false;
    const tn_node_info *n = tn_graph_node(c->grouping->graph, g->anchor);
    if (!tn__is_depthwise(c->grouping->graph, n)) return false;
    if (tn_lower_depthwise_planes(c, group, out) || tn_lower_depthwise_narrow(c, group, out))
        return true;
    depthwise d;
    tn_schedule s = tn_schedule_choose_depthwise(c->grouping, g, (uint32_t)c->target->vector_bytes);
    tn__depthwise_init(&d, c, group, &s, "depthwise");
    d.ahead =
        s.chunk > (int64_t)s.unroll * s.lanes && tn_schedule_streams(c->grouping, n->in[0], LARGE);
    d.t.acc = tn_l_register(d.t.m.k, d.t.c.acc, (uint32_t)s.block * s.unroll * s.lanes, "acc");
    tn__depthwise_bind_weights(&d, c, group, out);
    emit_tasks(&d);
    out->kernel = d.t.m.k;
    out->schedule = s;
    return true;
}
