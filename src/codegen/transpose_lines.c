/* Transposes whose result has rows that begin within cache lines: every line is stored once and whole,
 * but those that rows, or tasks, share.
 *
 * The tiles of a block, x .. x + n by y .. y + wide, go to scratch, behind the last `line` elements of the
 * same rows from the block before, which are carried:
 *
 *   stage[i] = carry[x + i], tile 0 row i, tile 1 row i, ...      columns y - line .. y + wide
 *
 * Row i begins s elements behind a line of the result, so its lines begin at columns y - s, y - s + line,
 * ...: from there on `wide` elements are stored, the rest of the row is carried to the next block. */
#include "codegen/transpose.h"

typedef struct lines {
    tn__turn *t;
    tn_loop *k;
    const tn__turn_part *part;
    uint32_t stage, carry;
    int64_t n, line, wide, pitch; /* elements: of a tile, a line, a block, a row of the stage */
} lines;

static tn_lx constant(lines *w, int64_t value) {
    return tn_l_int(w->k, value);
}

/* Copies a line of row `i` of a tile: vectors from one scratch buffer to another. */
static void copy_line(lines *w, uint32_t to, tn_lx to_base, uint32_t from, tn_lx from_base) {
    tn_loop *k = w->k;
    for (int64_t at = 0; at < w->line; at += w->n) {
        tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, constant(w, 0), constant(w, w->n), "l");
        lane = tn_l_add(k, constant(w, at), lane);
        tn_lx element = tn_l_load(k, from, tn_l_add(k, from_base, lane), TN_LX_NONE, TN_LX_NONE);
        tn_l_store(k, to, tn_l_add(k, to_base, lane), element);
        tn_l_end(k);
    }
}

/* The lines of the tile's rows that are carried, from or to the block before or behind. */
static void carry_lines(lines *w, tn_lx x, bool in) {
    tn_loop *k = w->k;
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, constant(w, 0), constant(w, w->n), "i");
    tn_lx row = tn_l_add(k, tn_l_sub(k, x, w->part->x_lo), i);
    tn_lx carried = tn_l_mul(k, row, constant(w, w->line));
    tn_lx staged = tn_l_mul(k, i, constant(w, w->pitch));
    if (in)
        copy_line(w, w->stage, staged, w->carry, carried);
    else
        copy_line(w, w->carry, carried, w->stage, tn_l_add(k, staged, constant(w, w->wide)));
    tn_l_end(k);
}

/* All tiles of a block to the stage. */
static void stage_tiles(lines *w, tn_lx x, tn_lx y, bool whole) {
    tn_loop *k = w->k;
    tn__turn *t = w->t;
    tn_lx n = constant(w, w->n), zero = constant(w, 0);
    tn_lx tile = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_int(k, t->s.unroll), "part");
    tn_lx at = tn_l_mul(k, tile, n);
    tn__turn_load_tile(t, x, tn_l_add(k, y, at), whole);
    tn_l_transpose(k, t->reg);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, n, "i");
    tn_lx row = tn_l_add(k, tn_l_mul(k, i, constant(w, w->pitch)), constant(w, w->line));
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, zero, n, "l");
    tn_lx element = tn_l_get(k, t->reg, tn_l_add(k, tn_l_mul(k, i, n), lane));
    tn_l_store(k, w->stage, tn_l_add(k, tn_l_add(k, row, at), lane), element);
    tn_l_end(k);
    tn_l_end(k);
    tn_l_end(k);
}

/* The vector of row i of the tile at column y + from; unless it is `whole`, the part in [lo, hi). */
static void store_vector(lines *w, tn_lx i, tn_lx y, tn_lx from, bool whole, tn_lx lo, tn_lx hi) {
    tn_loop *k = w->k;
    tn__turn *t = w->t;
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, constant(w, 0), constant(w, w->n), "l");
    tn_lx at = tn_l_add(k, from, lane), last = tn_l_add(k, y, at);
    if (!whole) tn_l_if(k, tn_l_and(k, tn_l_le(k, lo, last), tn_l_lt(k, last, hi)));
    tn_lx row = tn_l_add(k, tn_l_mul(k, i, constant(w, w->pitch)), constant(w, w->line));
    t->at[t->c.last] = last;
    t->element = tn_l_load(k, w->stage, tn_l_add(k, row, at), TN_LX_NONE, TN_LX_NONE);
    tn__turn_store(t);
    if (!whole) tn_l_end(k);
    tn_l_end(k);
}

/* How far behind the begin of a line the row at the current point begins. */
static tn_lx shift_of(lines *w) {
    tn__turn *t = w->t;
    tn_lx index[TN_MAX_RANK];
    tn_value stored = t->m.group->stores.data[0];
    t->at[t->c.last] = constant(w, 0);
    tn__turn_stored_index(t, stored, index);
    tn_lx shift = tn_l_mod(w->k, tn_maker_offset(&t->m, stored, index), constant(w, w->line));
    return tn_l_let(w->k, shift);
}

/* A block with neighbours on both sides along the rows. */
static void store_inner(lines *w, tn_lx i, tn_lx y, tn_lx shift) {
    tn_loop *k = w->k;
    tn_lx count = constant(w, w->wide / w->n);
    tn_lx vector = tn_l_for(k, TN_LOOP_UNROLL, constant(w, 0), count, "v");
    tn_lx from = tn_l_sub(k, tn_l_mul(k, vector, constant(w, w->n)), shift);
    store_vector(w, i, y, from, true, TN_LX_NONE, TN_LX_NONE);
    tn_l_end(k);
}

/* The first or the last block of the task's part of a row, or both. */
static void store_edge(lines *w, tn_lx i, tn_lx y, tn_lx shift) {
    tn_loop *k = w->k;
    tn_lx n = constant(w, w->n), lo = w->part->y_lo, end = w->part->y_hi;
    tn_lx count = constant(w, (w->wide + w->line) / w->n),
          next = tn_l_add(k, y, constant(w, w->wide));
    tn_lx hi = tn_l_select(k, tn_l_le(k, end, next), end, tn_l_sub(k, next, shift));
    tn_lx vector = tn_l_for(k, TN_LOOP_SERIAL, constant(w, 0), count, "v");
    tn_lx from = tn_l_sub(k, tn_l_mul(k, vector, n), shift), first = tn_l_add(k, y, from);
    tn_lx inside = tn_l_le(k, tn_l_add(k, first, n), hi);
    tn_l_if(k, tn_l_and(k, tn_l_le(k, lo, first), inside));
    store_vector(w, i, y, from, true, lo, hi);
    tn_l_else(k);
    store_vector(w, i, y, from, false, lo, hi);
    tn_l_end(k);
    tn_l_end(k);
}

static void store_rows(lines *w, tn_lx x, tn_lx y, void (*store)(lines *, tn_lx, tn_lx, tn_lx)) {
    tn_loop *k = w->k;
    tn_lx rows = tn_l_min(k, constant(w, w->n), tn_l_sub(k, w->part->x_hi, x));
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, constant(w, 0), rows, "i");
    w->t->at[w->t->c.cross] = tn_l_add(k, x, i);
    store(w, i, y, shift_of(w));
    tn_l_end(k);
}

static void run_block(lines *w, tn_lx x, tn_lx y) {
    tn_loop *k = w->k;
    const tn__turn_part *p = w->part;
    tn_lx next = tn_l_add(k, y, constant(w, w->wide));
    tn_lx fits = tn_l_le(k, tn_l_add(k, x, constant(w, w->n)), p->x_hi);
    carry_lines(w, x, true);
    tn_l_if(k, tn_l_and(k, fits, tn_l_le(k, next, p->y_hi)));
    stage_tiles(w, x, y, true);
    tn_l_else(k);
    stage_tiles(w, x, y, false);
    tn_l_end(k);
    carry_lines(w, x, false);
    tn_l_if(k, tn_l_and(k, tn_l_lt(k, p->y_lo, y), tn_l_lt(k, next, p->y_hi)));
    store_rows(w, x, y, store_inner);
    tn_l_else(k);
    store_rows(w, x, y, store_edge);
    tn_l_end(k);
}

void tn__turn_lines(tn__turn *t, const tn__turn_part *part) {
    enum { LINE_BYTES = 64 };
    tn_loop *k = t->m.k;
    int64_t n = t->s.lanes, line = TN_MAX(n, LINE_BYTES / (int64_t)tn_dtype_size(t->dtype));
    lines w = {.t = t, .k = k, .part = part, .n = n, .line = line, .wide = n * t->s.unroll};
    w.pitch = w.wide + 2 * line;
    w.stage = tn_l_scratch(k, t->dtype, constant(&w, n * w.pitch), "stage");
    w.carry = tn_l_scratch(k, t->dtype, constant(&w, t->s.rows_per_task * line), "carry");
    tn_lx along = tn_l_add(k, tn_l_sub(k, part->y_hi, part->y_lo), constant(&w, w.wide - 1));
    tn_lx across = tn_l_add(k, tn_l_sub(k, part->x_hi, part->x_lo), constant(&w, n - 1));
    along = tn_l_div(k, along, constant(&w, w.wide));
    across = tn_l_div(k, across, constant(&w, n));
    tn_lx y = tn_l_for(k, TN_LOOP_SERIAL, constant(&w, 0), along, "block");
    tn_lx x = tn_l_for(k, TN_LOOP_SERIAL, constant(&w, 0), across, "tile");
    x = tn_l_add(k, part->x_lo, tn_l_mul(k, x, constant(&w, n)));
    y = tn_l_add(k, part->y_lo, tn_l_mul(k, y, constant(&w, w.wide)));
    run_block(&w, x, y);
    tn_l_end(k);
    tn_l_end(k);
}
