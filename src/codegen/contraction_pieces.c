/* Contractions whose sums are made in parts.
 *
 * Pieces: where the result is small and k is long, a task makes the sums over one piece of k, for all rows
 * and panels of its part of the result, in numbered slots. The task with the last ticket of that part adds
 * them up in the order of the pieces and has the epilogue. Pieces come from shapes, so bits do not depend
 * on who computed what. The mechanism is that of folds (lower_split.c, contraction_fold.c).
 *
 * Blocks: within a piece, or within all of k, the rows of the task pass one block of a panel before the
 * next, so that it stays in a cache near the core. Sums rest in the slots meanwhile and go on where they
 * were: the same chain over ascending k, however it is cut.
 *
 * Both cut the outermost loop over k, as the tiles have it. */
#include "codegen/contraction.h"

bool tn__sums_shared(const tn__tile *t) {
    return t->s.k_pieces > 1;
}

bool tn__sums_cut(const tn__tile *t) {
    return tn__sums_shared(t) || t->s.k_block > 0;
}

void tn__sums_init(tn__tile *t) {
    enum { UNIT = 16 }; /* so that squares of a turned operand are whole */
    tn_loop *k = t->m.k;
    tn_lx run = tn_l_int(k, 1), one = run;
    int i = 0;
    t->sums.outer = one;
    for (; i < t->c.k && t->sums.outer == one; i++) {
        run = tn_l_mul(k, run, tn_l_dim(k, t->c.k_extent[i]));
        if (t->merged_k[i]) continue;
        t->sums.outer = run;
        run = one;
    }
    t->sums.inner = tn__tile_product(k, t->c.k_extent + i, t->c.k - i);
    int64_t pieces = TN_MAX(1, t->s.k_pieces), block = t->s.k_block, outer;
    t->sums.size = t->sums.outer;
    if (tn__sums_shared(t)) {
        bool many = tn_l_is_const_int(k, t->sums.outer, &outer) && outer >= 4 * UNIT * pieces;
        int64_t unit = many ? UNIT : 1;
        tn_lx size = tn__ceil_div(k, t->sums.outer, pieces * unit);
        t->sums.size = tn_l_mul(k, size, tn_l_int(k, unit));
    }
    t->sums.block = t->sums.size;
    if (block > 0) {
        tn_lx trips = tn_l_div(k, tn_l_int(k, block), tn_l_max(k, one, t->sums.inner));
        t->sums.block = tn_l_max(k, one, tn_l_min(k, trips, t->sums.size));
    }
}

bool tn__sums_stage_blocks(const tn__tile *t) {
    return t->s.k_block > 0 && t->s.lhs == TN_LHS_STAGED && t->m.group->prologue == TN_NO_GROUP;
}

tn_lx tn__sums_staged(const tn__tile *t) {
    if (tn__sums_stage_blocks(t)) return tn_l_mul(t->m.k, t->sums.block, t->sums.inner);
    return tn__sums_shared(t) ? tn_l_mul(t->m.k, t->sums.size, t->sums.inner) : t->k_total;
}

tn_lx tn__sums_packed(const tn__tile *t) {
    return tn__sums_cut(t) ? tn_l_mul(t->m.k, t->sums.block, t->sums.inner) : t->k_total;
}

static tn__k_range range_of(const tn__tile *t, tn_lx lo, tn_lx hi) {
    tn_loop *k = t->m.k;
    return (tn__k_range){.cut = true,
                         .lo = lo,
                         .hi = hi,
                         .first = tn_l_mul(k, lo, t->sums.inner),
                         .count = tn_l_mul(k, tn_l_sub(k, hi, lo), t->sums.inner)};
}

/* From one row to the next. */
static tn_lx slot_stride(const tn__tile *t) {
    tn_loop *k = t->m.k;
    tn_lx nr = tn_l_int(k, t->s.nr);
    return tn__sums_shared(t)         ? tn_l_mul(k, t->panels, nr)
           : tn__sums_stage_blocks(t) ? tn_l_mul(k, t->tasks.panels, nr)
                                      : nr;
}

void tn__sums_begin(tn__tile *t) {
    tn_loop *k = t->m.k;
    if (!tn__sums_cut(t)) return;
    tn_lx nr = tn_l_int(k, t->s.nr);
    if (!tn__sums_shared(t)) {
        tn_lx size = tn_l_mul(k, tn_l_int(k, t->s.m_block), slot_stride(t));
        t->sums.slots = tn_l_scratch(k, t->c.acc, size, "sums");
        t->k = range_of(t, tn_l_int(k, 0), t->sums.outer);
        return;
    }
    int64_t parts = 0;
    TN_ASSERT(tn_l_is_const_int(k, t->tasks.count, &parts)); /* the record has seen to it */
    k->counters = (uint32_t)parts + 1;
    tn_lx rows = tn_l_mul(k, t->tasks.batch, t->tasks.rows);
    tn_lx size =
        tn_l_mul(k, tn_l_mul(k, rows, tn_l_int(k, t->s.k_pieces)), tn_l_mul(k, t->panels, nr));
    t->sums.slots = tn_l_buffer(k, TN_LBUF_WORK, t->c.acc, "sums");
    k->buffers.data[t->sums.slots].size = size;
    tn_lx lo = tn_l_min(k, tn_l_mul(k, t->sums.piece, t->sums.size), t->sums.outer);
    t->k = range_of(t, lo, tn_l_min(k, tn_l_add(k, lo, t->sums.size), t->sums.outer));
    t->staged_k = t->k;
}

tn_lx tn__sums_slot(const tn__tile *t, tn_lx piece, tn_lx row, tn_lx panel) {
    tn_loop *k = t->m.k;
    tn_lx nr = tn_l_int(k, t->s.nr);
    if (!tn__sums_shared(t)) {
        tn_lx slot = tn_l_mul(k, tn_l_sub(k, row, t->first_row), slot_stride(t));
        if (!tn__sums_stage_blocks(t)) return slot;
        tn_lx first = tn_l_mul(k, t->tasks.range, t->tasks.panels);
        return tn_l_add(k, slot, tn_l_mul(k, tn_l_sub(k, panel, first), nr));
    }
    tn_lx rows = tn_l_mul(k, t->tasks.batch, t->tasks.rows);
    tn_lx line = tn_l_add(k, tn_l_mul(k, t->b_linear, t->tasks.rows), row);
    line = tn_l_add(k, tn_l_mul(k, piece, rows), line);
    return tn_l_mul(k, tn_l_add(k, tn_l_mul(k, line, t->panels), panel), nr);
}

/* The tile's registers from the slots of a piece, or more by them. */
static void load_tile(tn__tile *t, uint32_t rows, tn_lx first, bool add) {
    tn_loop *k = t->m.k;
    tn_lx zero = tn_l_int(k, 0), nr = tn_l_int(k, t->s.nr);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, tn_l_int(k, rows), "i");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j");
    tn_lx at = tn_l_add(k, tn_l_mul(k, i, nr), j);
    tn_lx from = tn_l_add(k, first, tn_l_add(k, tn_l_mul(k, i, slot_stride(t)), j));
    tn_lx x = tn_l_load(k, t->sums.slots, from, TN_LX_NONE, TN_LX_NONE);
    tn_l_set(k, t->acc, at, add ? tn_l_op2(k, TN_S_add, tn_l_get(k, t->acc, at), x) : x);
    tn_l_end(k);
    tn_l_end(k);
}

typedef struct block_rows {
    tn__tile *t;
    tn_lx panel, number; /* of the block; NONE: the only one */
} block_rows;

static void run_block(void *context, uint32_t rows, tn_lx m0) {
    const block_rows *b = context;
    tn__tile *t = b->t;
    tn_loop *k = t->m.k;
    tn_lx first = tn__sums_slot(t, t->sums.piece, m0, b->panel);
    if (b->number != TN_LX_NONE) {
        tn_l_if(k, tn_l_lt(k, b->number, tn_l_int(k, 1)));
        tn__tile_clear(t, rows);
        tn_l_else(k);
        load_tile(t, rows, first, false);
        tn_l_end(k);
    } else {
        tn__tile_clear(t, rows);
    }
    tn__tile_add_products(t, rows, m0, b->panel);
    tn__tile_spill(t, rows, t->sums.slots, first, slot_stride(t));
}

void tn__sums_make(tn__tile *t, tn_lx lo, tn_lx hi, tn_lx first, tn_lx last) {
    tn_loop *k = t->m.k;
    const tn__k_range all = t->k;
    block_rows b = {.t = t, .number = TN_LX_NONE};
    tn_lx more_blocks = TN_LX_NONE;
    bool blocks = t->s.k_block > 0;
    if (blocks) { /* at least one, which clears the sums */
        tn_lx one = tn_l_int(k, 1), more = tn_l_sub(k, t->sums.block, one);
        tn_lx trips = tn_l_add(k, tn_l_sub(k, all.hi, all.lo), more);
        tn_lx count = tn_l_max(k, one, tn_l_div(k, trips, t->sums.block));
        b.number = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), count, "block");
        tn_lx from = tn_l_add(k, all.lo, tn_l_mul(k, b.number, t->sums.block));
        t->k = range_of(t, from, tn_l_min(k, all.hi, tn_l_add(k, from, t->sums.block)));
        more_blocks = tn_l_lt(k, tn_l_add(k, b.number, one), count);
    }
    bool stage = tn__sums_stage_blocks(t);
    if (stage) {
        t->staged_k = t->k;
        tn__stage_lhs(t, lo, hi);
    }
    b.panel = tn_l_for(k, TN_LOOP_SERIAL, first, last, "panel");
    if (t->s.rhs == TN_RHS_PACKED) {
        tn__pack_panel(t, b.panel, t->packed, tn_l_int(k, 0));
        if (blocks && !stage && !tn__sums_shared(t)) tn__prefetch_after(t, b.panel, more_blocks);
    }
    tn__row_tiles(k, t->s.mr, lo, hi, t->tasks.rows, run_block, &b);
    tn_l_end(k);
    if (blocks) tn_l_end(k);
    t->k = all;
}

void tn__sums_last(tn__tile *t) {
    tn_loop *k = t->m.k;
    if (!tn__sums_shared(t)) return;
    /* the first counter is that of the folds */
    tn_lx ticket = tn_l_ticket(k, tn_l_add(k, tn_l_int(k, 1), t->tasks.number));
    tn_l_if(k, tn_l_le(k, tn_l_int(k, t->s.k_pieces - 1), ticket));
}

void tn__sums_end(tn__tile *t) {
    if (tn__sums_shared(t)) tn_l_end(t->m.k);
}

void tn__sums_gather(tn__tile *t, uint32_t rows, tn_lx m0, tn_lx panel) {
    tn_loop *k = t->m.k;
    load_tile(t, rows, tn__sums_slot(t, tn_l_int(k, 0), m0, panel), false);
    if (!tn__sums_shared(t)) return;
    tn_lx pieces = tn_l_int(k, t->s.k_pieces);
    tn_lx piece = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 1), pieces, "piece");
    load_tile(t, rows, tn__sums_slot(t, piece, m0, panel), true);
    tn_l_end(k);
}
