/* Sums in blocks. See fold_blocks.h. */
#include "codegen/fold_blocks.h"

enum { BLOCK_STEPS = 64 };

static int64_t times(int64_t a, int64_t b) {
    return __builtin_mul_overflow(a, b, &a) ? INT64_MAX : a;
}

static int64_t most_steps(const tn_fold_loops *f, int i) {
    if (!f->strip || i < f->count - 1) return f->most[i];
    return f->most[i] / f->strip + (f->most[i] % f->strip != 0);
}

void tn_fold_cut(tn_fold_loops *f) {
    int64_t inner = 1;
    f->cut = -1;
    for (int i = f->count - 1; i >= 0 && f->cut < 0; i--) {
        int64_t steps = most_steps(f, i);
        if (times(inner, steps) > BLOCK_STEPS) {
            f->cut = i;
            f->block = BLOCK_STEPS / inner;
            if (f->strip && i == f->count - 1) f->block *= f->strip;
        }
        inner = TN_MAX(1, times(inner, steps));
    }
}

/* The end of the block at `lo`; where blocks divide the range its length is known. */
static tn_lx block_end(tn_loop *k, tn_lx lo, tn_lx total, tn_lx hi, int64_t block) {
    int64_t known;
    tn_lx end = tn_l_add(k, lo, tn_l_int(k, block));
    bool whole = tn_l_is_const_int(k, total, &known) && known % block == 0;
    return whole ? end : tn_l_min(k, hi, end);
}

static void open_block(tn_loop *k, tn_fold_loops *f, tn_lx *lo, tn_lx *hi) {
    tn_lx size = tn_l_int(k, f->block), total = tn_l_sub(k, *hi, *lo);
    tn_lx up = tn_l_add(k, total, tn_l_int(k, f->block - 1));
    f->outside = f->opened++;
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), tn_l_div(k, up, size), "block");
    *lo = tn_l_add(k, *lo, tn_l_mul(k, i, size));
    *hi = block_end(k, *lo, total, *hi, f->block);
}

void tn_fold_open(tn_loop *k, tn_fold_loops *f, bool blocks, tn_lx *at) {
    f->opened = 0;
    f->outside = -1;
    for (int i = 0; i < f->count; i++) {
        if (blocks && i == f->cut) open_block(k, f, &f->lo[i], &f->hi[i]);
        if (f->strip && i == f->count - 1) break;
        at[i] = tn_l_for(k, TN_LOOP_SERIAL, f->lo[i], f->hi[i], "f");
        f->opened++;
    }
}

void tn_fold_close(tn_loop *k, tn_fold_loops *f, void (*flush)(void *), void *context) {
    while (f->opened-- > 0) {
        if (f->opened == f->outside) flush(context);
        tn_l_end(k);
    }
}

/* ---- totals --------------------------------------------------------------------------------- */

tn_fold_sums tn_fold_make_sums(tn_loop *k, const tn_fold *f, uint32_t accumulators, uint32_t lanes,
                               bool together) {
    tn_fold_sums s = {*f, accumulators, .lanes = lanes, .together = together};
    tn_lx count = tn_l_int(k, together ? lanes : k->registers.data[accumulators].count);
    s.part = tn_l_scratch(k, f->dtype[0], count, "block");
    s.totals = tn_l_scratch(k, f->total, count, "total");
    return s;
}

/* Opens loops over `count` totals, in vectors of as many lanes as hold such numbers: of longer ones compilers
 * make poor code. */
static tn_lx open_totals(tn_loop *k, const tn_fold_sums *s, uint32_t count) {
    tn_lx lanes = tn_l_int(k, s->lanes / 2), zero = tn_l_int(k, 0);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, tn_l_int(k, 2 * (count / s->lanes)), "i");
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, zero, lanes, "l");
    return tn_l_add(k, tn_l_mul(k, i, lanes), lane);
}

static void close_totals(tn_loop *k) {
    tn_l_end(k);
    tn_l_end(k);
}

static uint32_t count_of(const tn_fold_sums *s, uint32_t width) {
    return s->together ? s->lanes : width;
}

tn_lx tn_fold_total(tn_loop *k, const tn_fold_sums *s, tn_lx lane) {
    return tn_l_load(k, s->totals, lane, TN_LX_NONE, TN_LX_NONE);
}

void tn_fold_clear_totals(tn_loop *k, const tn_fold_sums *s, uint32_t width) {
    tn_lx at = open_totals(k, s, count_of(s, width)), init = tn_fold_init(k, &s->fold, 0);
    tn_l_store(k, s->totals, at, tn_l_cast(k, init, s->fold.total, false));
    close_totals(k);
}

/* Accumulator `at` of each of `count` runs of `stride`, in a halving tree. */
static tn_lx sum_of(tn_loop *k, const tn_fold_sums *s, tn_lx at, uint32_t stride, uint32_t count) {
    if (count == 1) return tn_l_get(k, s->accumulators, at);
    uint32_t half = count / 2;
    tn_lx middle = tn_l_add(k, at, tn_l_int(k, (int64_t)half * stride));
    return tn_l_op2(k, s->fold.op, sum_of(k, s, at, stride, half),
                    sum_of(k, s, middle, stride, count - half));
}

void tn_fold_add_up(tn_loop *k, const tn_fold_sums *s, uint32_t width) {
    uint32_t count = count_of(s, width);
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, count), "l");
    tn_l_store(k, s->part, lane, sum_of(k, s, lane, count, width / count));
    for (uint32_t i = 0; i < width; i += count)
        tn_l_set(k, s->accumulators, tn_l_add(k, lane, tn_l_int(k, i)),
                 tn_fold_init(k, &s->fold, 0));
    tn_l_end(k);
    tn_lx at = open_totals(k, s, count);
    tn_lx part = tn_l_load(k, s->part, at, TN_LX_NONE, TN_LX_NONE);
    part = tn_l_cast(k, part, s->fold.total, false);
    tn_l_store(k, s->totals, at, tn_l_op2(k, s->fold.op, tn_fold_total(k, s, at), part));
    close_totals(k);
}

tn_lx tn_fold_whole_total(tn_loop *k, const tn_fold_sums *s) {
    uint32_t all = tn_l_register(k, s->fold.total, s->lanes, "total");
    tn_lx at = open_totals(k, s, s->lanes);
    tn_l_set(k, all, at, tn_fold_total(k, s, at));
    close_totals(k);
    return tn_l_fold(k, s->fold.op, all);
}
