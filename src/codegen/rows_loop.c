/* Rows: loops over folded axes and lanes. See rows.h. */
#include "codegen/rows.h"

/* ---- loops ---------------------------------------------------------------------------------- */

/* Rows that folds pass several times, short enough for half of the registers: with all strips in the text what
 * one pass has loaded is there for the next. */
static bool stays_in_registers(const tn__rows *r, int64_t length) {
    int64_t most = r->m.context->target->vector_registers / 2 * (int64_t)r->s.lanes;
    return r->s.fold_lanes && r->levels > 0 && !r->keeps.len && length <= most;
}

void tn__rows_strips(tn__rows *r, tn_lx lo, tn_lx hi, tn__rows_strip_work *work) {
    tn_loop *k = r->m.k;
    uint32_t wide = r->s.lanes * r->s.unroll;
    tn_lx total = tn_l_sub(k, hi, lo), zero = tn_l_int(k, 0);
    tn_lx full = tn_l_div(k, total, tn_l_int(k, wide));
    int64_t known;
    bool fixed = tn_l_is_const_int(k, total, &known);
    if (!fixed || known >= wide) {
        tn_loop_kind kind = fixed && stays_in_registers(r, known) ? TN_LOOP_UNROLL : TN_LOOP_SERIAL;
        tn_lx i = tn_l_for(k, kind, zero, full, "strip");
        work(r, tn_l_add(k, lo, tn_l_mul(k, i, tn_l_int(k, wide))), wide, TN_LX_NONE);
        tn_l_end(k);
    }
    if (fixed && known % wide == 0) return;
    tn_lx start = tn_l_add(k, lo, tn_l_mul(k, full, tn_l_int(k, wide)));
    tn_lx rest = tn_l_sub(k, hi, start);
    tn_lx steps =
        tn_l_div(k, tn_l_add(k, rest, tn_l_int(k, r->s.lanes - 1)), tn_l_int(k, r->s.lanes));
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, zero, steps, "tail");
    bool exact = fixed && known % r->s.lanes == 0;
    work(r, tn_l_add(k, start, tn_l_mul(k, i, tn_l_int(k, r->s.lanes))), r->s.lanes,
         exact ? TN_LX_NONE : hi);
    tn_l_end(k);
}

void tn__rows_lanes_open(tn__rows *r, tn_lx base, uint32_t width, tn_lx limit) {
    tn_loop *k = r->m.k;
    r->lane = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, width), "l");
    tn_lx x = tn_l_add(k, base, r->lane);
    if (r->vector_axis >= 0) r->at[r->vector_axis] = x;
    if (r->digit_axis >= 0) {
        int64_t last = 1;
        for (int i = r->digit_axis + 1; i <= r->vector_axis; i++)
            last *= r->m.group->space.shape.dim[i];
        r->at[r->digit_axis] = tn_l_div(k, x, tn_l_int(k, last));
        r->at[r->vector_axis] = tn_l_mod(k, x, tn_l_int(k, last));
    }
    if (limit != TN_LX_NONE) tn_l_if(k, tn_l_lt(k, x, limit));
}

void tn__rows_lanes_close(tn__rows *r, tn_lx limit) {
    if (limit != TN_LX_NONE) tn_l_end(r->m.k);
    tn_l_end(r->m.k);
    r->lane = TN_LX_NONE;
}

/* The axes that serial fold loops run over, outermost first: all folded axes but the vector one. */
static int fold_axes(const tn__rows *r, int *axis) {
    int n = 0;
    for (int i = 0; i < r->m.group->space.shape.rank; i++)
        if (r->m.group->space.folded[i] && i != r->vector_axis && !r->merged[i] &&
            r->m.group->space.shape.dim[i] != 1)
            axis[n++] = i;
    return n;
}

tn_fold_loops tn__rows_fold_loops(const tn__rows *r) {
    tn_loop *k = r->m.k;
    int axis[TN_MAX_RANK], n = fold_axes(r, axis);
    tn_fold_loops f = {.count = n};
    if (r->s.fold_lanes) {
        axis[f.count++] = r->vector_axis;
        f.strip = (int64_t)r->s.lanes * r->s.unroll;
    }
    for (int i = 0; i < f.count; i++) {
        int64_t least;
        f.lo[i] = tn_l_int(k, 0);
        f.hi[i] = r->extent[axis[i]];
        tn_l_bounds(k, f.hi[i], &least, &f.most[i]);
    }
    tn_fold_cut(&f);
    return f;
}

/* Whether some fold of this stage is made in blocks. */
static bool has_blocks(const tn__rows *r) {
    for (uint32_t j = 0; j < r->folds.len; j++)
        if (r->folds.data[j].blocks && r->folds.data[j].level == r->stage) return true;
    return false;
}

tn_lx tn__rows_open_folds(tn__rows *r, tn_fold_loops *f) {
    tn_loop *k = r->m.k;
    int axis[TN_MAX_RANK], n = fold_axes(r, axis);
    tn_lx linear = tn_l_int(k, 0), at[TN_MAX_RANK];
    *f = tn__rows_fold_loops(r);
    tn_fold_open(k, f, has_blocks(r), at);
    for (int i = 0; i < n; i++) {
        r->at[axis[i]] = at[i];
        linear = tn_l_add(k, tn_l_mul(k, linear, r->extent[axis[i]]), at[i]);
    }
    return linear;
}

typedef struct block_sums {
    const tn__rows *r;
    uint32_t width;
} block_sums;

static void add_up(void *context) {
    const block_sums *b = context;
    for (uint32_t j = 0; j < b->r->folds.len; j++) {
        const tn__rows_fold *f = &b->r->folds.data[j];
        if (f->blocks && f->level == b->r->stage) tn_fold_add_up(b->r->m.k, &f->sums, b->width);
    }
}

void tn__rows_close_folds(tn__rows *r, tn_fold_loops *f, uint32_t width) {
    tn_fold_close(r->m.k, f, add_up, &(block_sums){r, width});
}

/* ---- a row whose fold results are scalars (vectors along a folded axis) --------------------- */

static void folded_strip(tn__rows *r, tn_lx base, uint32_t width, tn_lx limit) {
    tn__rows_lanes_open(r, base, width, limit);
    r->strip = tn_l_add(r->m.k, r->outer_strip, r->at[r->vector_axis]);
    tn__rows_element_work(r, NULL);
    tn__rows_lanes_close(r, limit);
}

static void folded_stage(tn__rows *r) {
    tn_loop *k = r->m.k;
    uint32_t wide = r->s.lanes * r->s.unroll;
    if (!tn__rows_has_element_work(r)) return;
    tn__rows_folds_init(r, r->stage, wide);
    tn_fold_loops f;
    tn_lx outer = tn__rows_open_folds(r, &f);
    r->outer_strip = tn_l_mul(k, outer, r->extent[r->vector_axis]);
    tn__rows_strips(r, f.lo[f.count - 1], f.hi[f.count - 1], folded_strip);
    tn__rows_close_folds(r, &f, wide);
    for (uint32_t j = 0; j < r->folds.len; j++)
        if (r->folds.data[j].level == r->stage) tn__rows_fold_close(r, &r->folds.data[j], wide);
}

void tn__rows_run_folded(tn__rows *rows, uint32_t count) {
    uint32_t levels = rows[0].levels;
    for (uint32_t stage = 0; stage <= levels; stage++)
        for (uint32_t i = 0; i < count; i++) {
            rows[i].stage = stage;
            folded_stage(&rows[i]);
        }
    for (uint32_t i = 0; i < count; i++)
        if (tn__rows_has_row_stores(&rows[i])) tn__rows_store_rows(&rows[i]);
}
