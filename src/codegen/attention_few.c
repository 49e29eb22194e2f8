/* Attention with few rows, as in decoding: k and v are read once, as a rule from where they are.
 *
 * A score is a product along the lanes of k's row; `lanes` of them are summed together by turning a
 * square register. The columns are cut into pieces of a fixed size, a task each: every task keeps the
 * maximum, sum and result of its piece in numbered slots, and the one that takes the last ticket puts
 * them together in the order of the pieces, so bits do not depend on who computed what.
 * When the number of rows is open, the pieces are cut only while it is small. */
#include <math.h>

#include "codegen/attention.h"
#include "loop/strips.h"

/* ---- scores --------------------------------------------------------------------------------- */

typedef struct score_strip {
    tn__flash *f;
    tn_lx row;    /* of the task */
    tn_lx column; /* of the block: the first of `lanes` */
} score_strip;

/* Columns past the end repeat the last one; their scores are not looked at. */
static tn_lx column_of(tn__flash *f, tn_lx column) {
    tn_loop *k = f->t.m.k;
    int64_t known;
    column = tn__flash_sum(f, f->first_column, column);
    if (tn_l_is_const_int(k, f->columns, &known) && known % f->t.s.lanes == 0) return column;
    return tn_l_min(k, column, tn_l_sub(k, f->columns, tn__flash_int(f, 1)));
}

/* part[i][lane] += q[x] * k[column i][x] */
static void add_products(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    const score_strip *s = context;
    tn__flash *f = s->f;
    tn_loop *k = f->t.m.k;
    tn_lx lanes = tn__flash_int(f, f->t.s.lanes), lane;
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, tn__flash_int(f, 0), lanes, "i");
    tn_lx column = column_of(f, tn__flash_sum(f, s->column, i));
    tn_lx x = tn_strip_open(k, base, width, limit, &lane), at = tn__flash_at(f, i, lanes, lane);
    uint32_t mark = tn_access_mark(&f->t.m.access);
    tn_lx a = tn__flash_load(f, f->q, tn__flash_at(f, s->row, f->depth, x));
    tn_lx b = tn__flash_operand(f, 1, tn__flash_int(f, 0), column, x, TN_LX_NONE);
    tn_l_set(k, f->part, at, tn_l_op3(k, TN_S_mad, a, b, tn_l_get(k, f->part, at)));
    tn_access_release(&f->t.m.access, mark);
    tn_strip_close(k, limit);
    tn_l_end(k);
}

static void clear_parts(tn__flash *f) {
    tn_loop *k = f->t.m.k;
    tn_lx zero = tn__flash_int(f, 0), lanes = tn__flash_int(f, f->t.s.lanes);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, lanes, "i");
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, zero, lanes, "l");
    tn_l_set(k, f->part, tn__flash_at(f, i, lanes, lane), tn_l_number(k, f->dtype, 0));
    tn_l_end(k);
    tn_l_end(k);
}

/* The sums of the rows of `part`, in a halving tree over its columns. */
static void store_sums(tn__flash *f, tn_lx to) {
    tn_loop *k = f->t.m.k;
    uint32_t n = f->t.s.lanes;
    tn_lx sum[64];
    TN_ASSERT(n <= TN_COUNT(sum));
    tn_l_transpose(k, f->part);
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, tn__flash_int(f, 0), tn__flash_int(f, n), "l");
    for (uint32_t i = 0; i < n; i++)
        sum[i] = tn_l_get(k, f->part, tn__flash_sum(f, tn__flash_int(f, i * n), lane));
    for (n /= 2; n > 0; n /= 2)
        for (uint32_t i = 0; i < n; i++) sum[i] = tn_l_op2(k, TN_S_add, sum[i], sum[i + n]);
    tn_l_store(k, f->s, tn__flash_sum(f, to, lane), sum[0]);
    tn_l_end(k);
}

void tn__flash_score_rows(tn__flash *f, tn_lx row, uint32_t height, tn_lx count) {
    tn_loop *k = f->t.m.k;
    tn_lx zero = tn__flash_int(f, 0), lanes = tn__flash_int(f, f->t.s.lanes);
    tn_lx panels = tn__ceil_div(k, count, f->t.s.lanes);
    tn_lx panel = tn_l_for(k, TN_LOOP_SERIAL, zero, panels, "panel");
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, zero, tn__flash_int(f, height), "i");
    score_strip s = {f, tn__flash_sum(f, row, i), tn_l_mul(k, panel, lanes)};
    clear_parts(f);
    tn_strips(k, f->t.s.lanes, 1, zero, f->depth, add_products, &s);
    store_sums(f, tn__flash_at(f, i, tn__flash_int(f, f->t.s.kv_block), s.column));
    tn_l_end(k);
    tn_l_end(k);
}

/* ---- pieces --------------------------------------------------------------------------------- */

static tn_lx slot_rows(tn__flash *f) {
    tn_loop *k = f->t.m.k;
    tn_lx few = tn_l_min(k, f->row_total, tn__flash_int(f, TN_SHARING_ROWS));
    return tn_l_mul(k, tn__tile_product(k, f->t.c.b_extent, f->t.c.b), few);
}

/* Of a row of the task, which then is the only one for its rows. */
static tn_lx slot_of(tn__flash *f, tn_lx piece, tn_lx row) {
    return tn__flash_at(f, piece, slot_rows(f), tn__flash_at(f, f->t.b_linear, f->row_total, row));
}

static tn_lx row_width(tn__flash *f) {
    return tn_l_mul(f->t.m.k, f->t.panels, tn__flash_int(f, f->t.s.nr));
}

static uint32_t make_slots(tn__flash *f, tn_lx size, const char *name) {
    uint32_t buffer = tn_l_buffer(f->t.m.k, TN_LBUF_WORK, f->dtype, name);
    f->t.m.k->buffers.data[buffer].size = size;
    return buffer;
}

void tn__flash_cut(tn__flash *f) {
    tn_loop *k = f->t.m.k;
    enum { MOST_PIECES = 1 << 24 };
    tn_lx one = tn__flash_int(f, 1);
    f->pieces = one;
    if (!f->t.s.kv_piece) return;
    tn_lx few = tn_l_div(k, tn__flash_int(f, TN_SHARING_ROWS), tn_l_max(k, one, f->row_total));
    tn_lx most = tn_l_mul(k, few, tn__flash_int(f, MOST_PIECES)); /* 0: too many rows */
    f->pieces = tn_l_min(k, most, tn__ceil_div(k, f->columns, f->t.s.kv_piece));
    f->pieces = tn_l_max(k, one, f->pieces);
    tn_lx slots = tn_l_mul(k, f->pieces, slot_rows(f));
    f->piece_largest = make_slots(f, slots, "maxima");
    f->piece_sum = make_slots(f, slots, "sums");
    f->piece_o = make_slots(f, tn_l_mul(k, slots, row_width(f)), "results");
    k->counters = 1;
}

void tn__flash_take_piece(tn__flash *f) {
    tn_loop *k = f->t.m.k;
    tn_lx size = tn__flash_int(f, f->t.s.kv_piece);
    f->begin = tn_l_mul(k, f->piece, size);
    f->end = f->columns;
    if (!f->t.s.kv_piece) return;
    tn_lx cut = tn_l_lt(k, tn__flash_int(f, 1), f->pieces);
    tn_lx stop = tn_l_min(k, f->columns, tn__flash_sum(f, f->begin, size));
    f->end = tn_l_select(k, cut, stop, f->columns);
}

typedef struct row_copy {
    tn__flash *f;
    tn_lx row, slot;
} row_copy;

static void keep_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    const row_copy *c = context;
    tn__flash *f = c->f;
    tn_loop *k = f->t.m.k;
    tn_lx lane, x = tn_strip_open(k, base, width, limit, &lane);
    tn_lx o = tn__flash_load(f, f->o, tn__flash_at(f, c->row, row_width(f), x));
    tn_l_store(k, f->piece_o, tn__flash_at(f, c->slot, row_width(f), x), o);
    tn_strip_close(k, limit);
}

static void keep(tn__flash *f) {
    tn_loop *k = f->t.m.k;
    row_copy c = {.f = f};
    c.row = tn_l_for(k, TN_LOOP_SERIAL, tn__flash_int(f, 0), f->rows, "row");
    c.slot = slot_of(f, f->piece, c.row);
    tn_l_store(k, f->piece_largest, c.slot, tn__flash_load(f, f->largest, c.row));
    tn_l_store(k, f->piece_sum, c.slot, tn__flash_load(f, f->sum, c.row));
    tn_strips(k, f->t.s.lanes, 1, tn__flash_int(f, 0), row_width(f), keep_strip, &c);
    tn_l_end(k);
}

/* The maximum over the pieces of a row, -inf as 0. */
static tn_lx common_shift(tn__flash *f, tn_lx row) {
    tn_loop *k = f->t.m.k;
    tn_lx zero = tn__flash_int(f, 0), none = tn_l_number(k, f->dtype, -INFINITY);
    tn_l_set(k, f->total, zero, none);
    tn_lx piece = tn_l_for(k, TN_LOOP_SERIAL, zero, f->pieces, "piece");
    tn_lx largest = tn__flash_load(f, f->piece_largest, slot_of(f, piece, row));
    tn_l_set(k, f->total, zero, tn_l_op2(k, TN_S_max, tn_l_get(k, f->total, zero), largest));
    tn_l_end(k);
    tn_lx all = tn_l_get(k, f->total, zero);
    return tn_l_let(
        k, tn_l_select(k, tn_l_op2(k, TN_S_eq, all, none), tn_l_number(k, f->dtype, 0), all));
}

/* A panel of a row: o and sum are the sums over all pieces. */
static void join_panel(tn__flash *f, tn_lx row, tn_lx shift, tn_lx panel) {
    tn_loop *k = f->t.m.k;
    tn_lx zero = tn__flash_int(f, 0), nr = tn__flash_int(f, f->t.s.nr);
    tn_lx first = tn_l_mul(k, panel, nr);
    tn__tile_clear(&f->t, 1);
    tn_l_set(k, f->total, zero, tn_l_number(k, f->dtype, 0));
    tn_lx piece = tn_l_for(k, TN_LOOP_SERIAL, zero, f->pieces, "piece");
    tn_lx slot = slot_of(f, piece, row), largest = tn__flash_load(f, f->piece_largest, slot);
    tn_lx shrink = tn_l_let(k, tn__flash_weight(f, largest, shift));
    tn_lx sum = tn_l_op2(k, TN_S_mul, tn__flash_load(f, f->piece_sum, slot), shrink);
    tn_l_set(k, f->total, zero, tn_l_op2(k, TN_S_add, tn_l_get(k, f->total, zero), sum));
    tn_lx weight = tn_l_let(k, tn__flash_not_nan(f, shrink));
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j");
    tn_lx at = tn__flash_at(f, slot, row_width(f), tn__flash_sum(f, first, j));
    tn__tile_add(&f->t, zero, j, weight, tn__flash_load(f, f->piece_o, at));
    tn_l_end(k);
    tn_l_end(k);
    tn_l_store(k, f->sum, row, tn_l_get(k, f->total, zero));
    tn__tile_spill(&f->t, 1, f->o, tn__flash_at(f, row, row_width(f), first), zero);
}

static void join(tn__flash *f) {
    tn_loop *k = f->t.m.k;
    tn_lx zero = tn__flash_int(f, 0);
    tn_lx batch = tn__tile_product(k, f->t.c.b_extent, f->t.c.b);
    f->t.b_linear = tn_l_for(k, TN_LOOP_SERIAL, zero, batch, "batch");
    tn__split_plain(k, f->t.b_linear, f->t.c.b_extent, f->t.c.b, f->t.b_index);
    tn_lx row = tn_l_for(k, TN_LOOP_SERIAL, zero, f->rows, "row"), shift = common_shift(f, row);
    tn_lx panel = tn_l_for(k, TN_LOOP_SERIAL, zero, f->t.panels, "panel");
    join_panel(f, row, shift, panel);
    tn_l_end(k);
    tn_l_end(k);
    tn__flash_finish(f);
    tn_l_end(k);
}

void tn__flash_join_pieces(tn__flash *f) {
    tn_loop *k = f->t.m.k;
    keep(f);
    tn_lx last = tn_l_sub(k, k->tasks, tn__flash_int(f, 1));
    tn_l_if(k, tn_l_le(k, last, tn_l_ticket(k, tn__flash_int(f, 0))));
    join(f);
    tn_l_end(k);
}
