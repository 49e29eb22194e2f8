/* Split folds: a piece is read in the order of memory, with the partial results of all rows in its slots, or in
 * scratch where these hold the sums of blocks. See split.h. */
#include "codegen/split.h"

/* Where a sweep accumulates: in the slots, or the row's element of `part`. */
static uint32_t swept(const tn__split_fold *f, int i) {
    return f->wide ? f->part : f->work[i];
}

static tn_lx swept_at(tn__split *s, const tn__split_fold *f, tn_lx x) {
    return tn__split_slot(s, f->wide ? tn_l_int(s->m.k, 0) : s->piece, x);
}

static tn_lx load(const tn__split *s, uint32_t buffer, tn_lx at) {
    return tn_l_load(s->m.k, buffer, at, TN_LX_NONE, TN_LX_NONE);
}

/* A strip of rows: what folding begins with. */
static void begin_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    tn__split *s = context;
    tn_loop *k = s->m.k;
    tn_lx lane, x = tn_strip_open(k, base, width, limit, &lane);
    for (uint32_t j = 0; j < s->folds.len; j++) {
        tn__split_fold *f = &s->folds.data[j];
        for (int i = 0; i < f->fold.registers; i++) {
            tn_lx init = tn_fold_init(k, &f->fold, i);
            tn_l_store(k, swept(f, i), swept_at(s, f, x), init);
            if (f->wide && s->loops.cut >= 0)
                tn_l_store(k, f->work[i], tn__split_slot(s, s->piece, x),
                           tn_l_cast(k, init, f->fold.total, false));
        }
    }
    tn_strip_close(k, limit);
}

/* One element more for each row. */
static void sweep_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    tn__split *s = context;
    tn_loop *k = s->m.k;
    tn_lx lane, acc[TN_FOLD_REGISTERS], next[TN_FOLD_REGISTERS];
    tn_lx x = s->at[s->vector_axis] = tn_strip_open(k, base, width, limit, &lane);
    uint32_t mark = tn_access_mark(&s->m.access);
    for (uint32_t j = 0; j < s->folds.len; j++) {
        tn__split_fold *f = &s->folds.data[j];
        tn_lx at = swept_at(s, f, x);
        for (int i = 0; i < f->fold.registers; i++) acc[i] = load(s, swept(f, i), at);
        tn__split_fold_step(s, f, acc, next);
        for (int i = 0; i < f->fold.registers; i++) tn_l_store(k, swept(f, i), at, next[i]);
    }
    tn_access_release(&s->m.access, mark);
    tn_strip_close(k, limit);
}

/* Adds a block to the slots; without blocks they become what was swept. */
static void block_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    tn__split *s = context;
    tn_loop *k = s->m.k;
    tn_lx lane, x = tn_strip_open(k, base, width, limit, &lane);
    for (uint32_t j = 0; j < s->folds.len; j++) {
        tn__split_fold *f = &s->folds.data[j];
        if (!f->wide) continue;
        tn_lx to = tn__split_slot(s, s->piece, x), from = swept_at(s, f, x);
        tn_lx part = tn_l_cast(k, load(s, f->part, from), f->fold.total, false);
        if (s->loops.cut >= 0) {
            part = tn_l_op2(k, f->fold.op, load(s, f->work[0], to), part);
            tn_l_store(k, f->part, from, tn_fold_init(k, &f->fold, 0));
        }
        tn_l_store(k, f->work[0], to, part);
    }
    tn_strip_close(k, limit);
}

static void sweep_block(void *context) {
    tn__split *s = context;
    tn__split_over_strips(s, tn__split_slot_lanes(s), block_strip);
}

void tn__split_sweep(tn__split *s) {
    tn__split_over_strips(s, s->s.lanes, begin_strip);
    tn_fold_loops loops = tn__split_open_folded(s);
    tn__split_over_strips(s, s->s.lanes, sweep_strip);
    tn_fold_close(s->m.k, &loops, sweep_block, s);
    if (tn__split_any_wide(s) && loops.outside < 0) sweep_block(s);
}
