/* Attention: what happens to a tile of rows in one block of columns. */
#include <math.h>

#include "codegen/attention.h"
#include "codegen/pack_turned.h"
#include "loop/strips.h"

/* ---- panels of the first product ------------------------------------------------------------ */

typedef struct panel {
    tn__flash *f;
    tn_lx base; /* its first column within the block */
    uint32_t width;
    bool whole; /* ends within the columns */
} panel;

typedef void panel_work(tn__flash *f, const panel *p, void *context);

/* The first `count` columns of the block: panels of score_nr, then of one vector. */
static void over_panels(tn__flash *f, tn_lx count, panel_work *work, void *context) {
    tn_loop *k = f->t.m.k;
    tn_lx lo = tn__flash_int(f, 0);
    for (int tail = 0; tail < 2; tail++) {
        panel p = {.f = f, .width = tail ? f->t.s.lanes : f->t.s.score_nr, .whole = !tail};
        tn_lx left = tn_l_sub(k, count, lo), width = tn__flash_int(f, p.width);
        tn_lx up = tail ? tn__flash_sum(f, left, tn__flash_int(f, p.width - 1)) : left;
        tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, tn__flash_int(f, 0), tn_l_div(k, up, width), "panel");
        p.base = tn__flash_sum(f, lo, tn_l_mul(k, i, width));
        work(f, &p, context);
        tn_l_end(k);
        int64_t known;
        if (tn_l_is_const_int(k, f->columns, &known) && known % p.width == 0) break;
        lo = tn_l_mul(k, tn_l_div(k, left, width), width);
    }
}

/* Whether all of a panel lies within the columns. */
static bool is_exact(const panel *p) {
    const tn__flash *f = p->f;
    int64_t known;
    return p->whole || (tn_l_is_const_int(f->t.m.k, f->columns, &known) && known % p->width == 0);
}

static tn_lx panel_element(void *context, tn_lx x, tn_lx j) {
    const panel *p = context;
    tn__flash *f = p->f;
    tn_lx column = tn__flash_sum(f, f->first_column, tn__flash_sum(f, p->base, j));
    uint32_t mark = tn_access_mark(&f->t.m.access);
    tn_lx value =
        tn__flash_operand(f, 1, tn__flash_int(f, 0), column, x,
                          is_exact(p) ? TN_LX_NONE : tn_l_lt(f->t.m.k, column, f->columns));
    tn_access_release(&f->t.m.access, mark);
    return value;
}

/* [depth][width] from base * depth on, columns past the end as zero. */
static void pack_panel(tn__flash *f, const panel *p, void *context) {
    tn_loop *k = f->t.m.k;
    (void)context;
    panel own = *p;
    tn_lx width = tn__flash_int(f, p->width);
    tn_turned_pack pack = {.k = k,
                           .dtype = f->dtype,
                           .lanes = f->t.s.lanes,
                           .nr = p->width,
                           .to = f->k,
                           .base = tn_l_mul(k, p->base, f->depth),
                           .count = f->depth,
                           .element = panel_element,
                           .context = &own};
    if (f->turned) {
        tn_pack_turned(&pack);
        return;
    }
    tn_lx x = tn_l_for(k, TN_LOOP_SERIAL, tn__flash_int(f, 0), f->depth, "k");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, tn__flash_int(f, 0), width, "j");
    tn_l_store(k, f->k, tn__flash_sum(f, pack.base, tn__flash_at(f, x, width, j)),
               panel_element(&own, x, j));
    tn_l_end(k);
    tn_l_end(k);
}

/* An element of v: column `x` of the block, `across` of the result. */
static tn_lx value_element(tn__flash *f, tn_lx x, tn_lx across) {
    tn_loop *k = f->t.m.k;
    tn_lx n[TN_MAX_RANK], column = tn__flash_sum(f, f->first_column, x);
    tn__split_plain(k, across, f->t.c.n_extent, f->t.c.n, n);
    return tn__tile_rhs(&f->t, f->t.b_index, &column, n,
                        tn__columns_exact(&f->t) ? TN_LX_NONE : tn_l_lt(k, across, f->t.n_total));
}

static tn_lx value_to_pack(void *context, tn_lx x, tn_lx j) {
    const panel *p = context;
    uint32_t mark = tn_access_mark(&p->f->t.m.access);
    tn_lx value = value_element(p->f, x, tn__flash_sum(p->f, p->base, j));
    tn_access_release(&p->f->t.m.access, mark);
    return value;
}

static void pack_values(tn__flash *f) {
    tn_loop *k = f->t.m.k;
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, tn__flash_int(f, 0), f->t.panels, "panel");
    panel p = {.f = f, .base = tn_l_mul(k, i, tn__flash_int(f, f->t.s.nr)), .width = f->t.s.nr};
    tn_turned_pack pack = {.k = k,
                           .dtype = f->dtype,
                           .lanes = f->t.s.lanes,
                           .nr = f->t.s.nr,
                           .to = f->v,
                           .base = tn_l_mul(k, p.base, tn__flash_int(f, f->t.s.kv_block)),
                           .count = f->count,
                           .element = value_to_pack,
                           .context = &p};
    tn_pack_turned(&pack);
    tn_l_end(k);
}

void tn__flash_pack(tn__flash *f) {
    if (!f->by_rows) over_panels(f, f->count, pack_panel, NULL);
    if (f->packs_values) pack_values(f);
}

/* ---- a tile of rows ------------------------------------------------------------------------- */

typedef struct tile {
    tn__flash *f;
    uint32_t height;
    tn_lx row;   /* of the task */
    tn_lx count; /* columns of the block that its rows may see */
} tile;

/* Whether the first product keeps the maxima of the scores: they need no work, so the pass over them that
 * looks for the maximum is left out. */
static bool keeps_maxima(const tn__flash *f) {
    return f->plain && !f->by_rows;
}

static void start_maxima(const tile *t) {
    tn__flash *f = t->f;
    tn_loop *k = f->t.m.k;
    for (uint32_t i = 0; i < t->height; i++) {
        tn_lx lane =
            tn_l_for(k, TN_LOOP_VECTOR, tn__flash_int(f, 0), tn__flash_int(f, f->t.s.lanes), "l");
        tn_l_set(k, f->row_largest[i], lane, tn_l_number(k, f->dtype, -INFINITY));
        tn_l_end(k);
    }
}

/* The maxima of a panel's scores: a vector of each row at a time. */
static void keep_maxima(const tile *t, const panel *p) {
    tn__flash *f = t->f;
    tn_loop *k = f->t.m.k;
    uint32_t lanes = f->t.s.lanes;
    for (uint32_t i = 0; i < t->height * (p->width / lanes); i++) {
        uint32_t row = i / (p->width / lanes), first = i % (p->width / lanes) * lanes;
        tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, tn__flash_int(f, 0), tn__flash_int(f, lanes), "l");
        tn_lx j = tn__flash_sum(f, tn__flash_int(f, first), lane);
        tn_lx score =
            tn_l_get(k, f->score_acc, tn__flash_sum(f, tn__flash_int(f, row * p->width), j));
        if (!is_exact(p))
            score = tn_l_select(k, tn_l_lt(k, tn__flash_sum(f, p->base, j), t->count), score,
                                tn_l_number(k, f->dtype, -INFINITY));
        tn_lx largest = tn_l_get(k, f->row_largest[row], lane);
        tn_l_set(k, f->row_largest[row], lane, tn__flash_larger(f, score, largest));
        tn_l_end(k);
    }
}

/* q·kᵀ of a tile and a panel, into s. */
static void multiply_panel(tn__flash *f, const panel *p, void *context) {
    const tile *t = context;
    tn_loop *k = f->t.m.k;
    tn_lx zero = tn__flash_int(f, 0), width = tn__flash_int(f, p->width),
          rows = tn__flash_int(f, t->height);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, rows, "i");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, width, "j");
    tn_l_set(k, f->score_acc, tn__flash_at(f, i, width, j), tn_l_number(k, f->dtype, 0));
    tn_l_end(k);
    tn_l_end(k);
    tn_lx x = tn_l_for(k, TN_LOOP_SERIAL, zero, f->depth, "k");
    tn_lx line = tn__flash_sum(f, tn_l_mul(k, p->base, f->depth), tn_l_mul(k, x, width));
    i = tn_l_for(k, TN_LOOP_UNROLL, zero, rows, "i");
    tn_lx a = tn__flash_load(f, f->q, tn__flash_at(f, tn__flash_sum(f, t->row, i), f->depth, x));
    j = tn_l_for(k, TN_LOOP_VECTOR, zero, width, "j");
    tn_lx at = tn__flash_at(f, i, width, j), b = tn__flash_load(f, f->k, tn__flash_sum(f, line, j));
    tn_l_set(k, f->score_acc, at, tn_l_op3(k, TN_S_mad, a, b, tn_l_get(k, f->score_acc, at)));
    tn_l_end(k);
    tn_l_end(k);
    tn_l_end(k);
    if (keeps_maxima(f)) keep_maxima(t, p);
    i = tn_l_for(k, TN_LOOP_UNROLL, zero, rows, "i");
    j = tn_l_for(k, TN_LOOP_VECTOR, zero, width, "j");
    tn_lx to = tn__flash_at(f, i, tn__flash_int(f, f->t.s.kv_block), tn__flash_sum(f, p->base, j));
    tn_l_store(k, f->s, to, tn_l_get(k, f->score_acc, tn__flash_at(f, i, width, j)));
    tn_l_end(k);
    tn_l_end(k);
}

static void fill_lanes(tn__flash *f, double value) {
    tn_loop *k = f->t.m.k;
    tn_lx width = tn__flash_int(f, f->t.s.lanes * f->t.s.unroll);
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, tn__flash_int(f, 0), width, "l");
    tn_l_set(k, f->lane_acc, lane, tn_l_number(k, f->dtype, value));
    tn_l_end(k);
}

typedef struct row_pass {
    tn__flash *f;
    tn_lx i;     /* of the tile */
    tn_lx shift; /* to subtract */
} row_pass;

/* s = f(s) and its maximum. */
static void modify_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    row_pass *r = context;
    tn__flash *f = r->f;
    tn_loop *k = f->t.m.k;
    tn_lx lane, x = tn_strip_open(k, base, width, limit, &lane);
    tn_lx at = tn__flash_at(f, r->i, tn__flash_int(f, f->t.s.kv_block), x);
    uint32_t mark = tn_access_mark(&f->t.m.access);
    f->raw = tn__flash_load(f, f->s, at);
    f->column = tn__flash_sum(f, f->first_column, x);
    tn_lx value = tn__flash_score(f);
    if (value != f->raw) tn_l_store(k, f->s, at, value);
    tn_lx largest = tn_l_get(k, f->lane_acc, lane);
    tn_l_set(k, f->lane_acc, lane, tn__flash_larger(f, value, largest));
    tn_access_release(&f->t.m.access, mark);
    tn_strip_close(k, limit);
}

tn_lx tn__flash_not_nan(tn__flash *f, tn_lx value) {
    tn_loop *k = f->t.m.k;
    if (!f->x->zero_nan) return value;
    return tn_l_select(k, tn_l_op1(k, TN_S_is_nan, value), tn_l_number(k, f->dtype, 0), value);
}

/* s = exp(s - shift) and its sum. */
static void weigh_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    row_pass *r = context;
    tn__flash *f = r->f;
    tn_loop *k = f->t.m.k;
    tn_lx lane, x = tn_strip_open(k, base, width, limit, &lane);
    tn_lx at = tn__flash_at(f, r->i, tn__flash_int(f, f->t.s.kv_block), x);
    tn_lx value = tn__flash_weight(f, tn__flash_load(f, f->s, at), r->shift);
    tn_l_store(k, f->s, at, tn__flash_not_nan(f, value));
    tn_l_set(k, f->lane_acc, lane, tn_l_op2(k, TN_S_add, tn_l_get(k, f->lane_acc, lane), value));
    tn_strip_close(k, limit);
}

/* The maximum so far, and what it takes to go on from there: lanes are rows of the tile. */
static void raise_maxima(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    const tile *t = context;
    tn__flash *f = t->f;
    tn_loop *k = f->t.m.k;
    tn_lx lane, i = tn_strip_open(k, base, width, limit, &lane), row = tn__flash_sum(f, t->row, i);
    tn_lx now = tn__flash_load(f, f->tile_fold, i), zero = tn_l_number(k, f->dtype, 0);
    tn_lx before = f->single ? TN_LX_NONE : tn__flash_load(f, f->largest, row);
    if (!f->single) now = tn__flash_larger(f, now, before);
    tn_lx none = tn_l_op2(k, TN_S_eq, now, tn_l_number(k, f->dtype, -INFINITY));
    tn_lx shift = tn_l_select(k, none, zero, now);
    tn_l_store(k, f->shift, i, shift);
    if (!f->single) {
        tn_lx shrink = tn__flash_weight(f, before, shift);
        tn_l_store(k, f->largest, row, now);
        tn_l_store(k, f->shrink, i, tn__flash_not_nan(f, shrink));
        tn_l_store(k, f->sum, row, tn_l_op2(k, TN_S_mul, tn__flash_load(f, f->sum, row), shrink));
    }
    tn_strip_close(k, limit);
}

static void add_sums(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    const tile *t = context;
    tn__flash *f = t->f;
    tn_loop *k = f->t.m.k;
    tn_lx lane, i = tn_strip_open(k, base, width, limit, &lane), row = tn__flash_sum(f, t->row, i);
    tn_lx sum = tn__flash_load(f, f->tile_fold, i);
    if (!f->single) sum = tn_l_op2(k, TN_S_add, tn__flash_load(f, f->sum, row), sum);
    tn_l_store(k, f->sum, row, sum);
    tn_strip_close(k, limit);
}

/* One pass over the rows of a tile: what `strip` folds with `op` goes to tile_fold. */
static void pass_over_rows(tile *t, tn_scalar_op op, double start, tn_strip_work *strip) {
    tn__flash *f = t->f;
    tn_loop *k = f->t.m.k;
    row_pass r = {.f = f};
    r.i = tn_l_for(k, TN_LOOP_SERIAL, tn__flash_int(f, 0), tn__flash_int(f, t->height), "i");
    f->row = tn__flash_sum(f, f->first_row, tn__flash_sum(f, t->row, r.i));
    r.shift = op == TN_S_add ? tn__flash_load(f, f->shift, r.i) : TN_LX_NONE;
    fill_lanes(f, start);
    tn_strips(k, f->t.s.lanes, f->t.s.unroll, tn__flash_int(f, 0), t->count, strip, &r);
    tn_l_store(k, f->tile_fold, r.i, tn_l_fold(k, op, f->lane_acc));
    tn_l_end(k);
}

/* The scores of a tile become weights. */
static void weigh(tile *t) {
    tn__flash *f = t->f;
    tn_lx zero = tn__flash_int(f, 0), rows = tn__flash_int(f, t->height);
    if (keeps_maxima(f))
        for (uint32_t i = 0; i < t->height; i++)
            tn_l_store(f->t.m.k, f->tile_fold, tn__flash_int(f, i),
                       tn_l_fold(f->t.m.k, TN_S_max, f->row_largest[i]));
    else
        pass_over_rows(t, TN_S_max, -INFINITY, modify_strip);
    tn_strips(f->t.m.k, f->t.s.lanes, 1, zero, rows, raise_maxima, t);
    pass_over_rows(t, TN_S_add, 0, weigh_strip);
    tn_strips(f->t.m.k, f->t.s.lanes, 1, zero, rows, add_sums, t);
}

/* o = o * shrink + s·v */
static void multiply_values(const tile *t) {
    tn__flash *f = t->f;
    tn_loop *k = f->t.m.k;
    tn_lx zero = tn__flash_int(f, 0), nr = tn__flash_int(f, f->t.s.nr),
          rows = tn__flash_int(f, t->height), row = t->row;
    tn_lx p = tn_l_for(k, TN_LOOP_SERIAL, zero, f->t.panels, "panel");
    tn_lx size = tn__flash_int(f, f->t.s.kv_block);
    tn_lx width = tn_l_mul(k, f->t.panels, nr), before = tn_l_mul(k, p, nr);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, rows, "i");
    tn_lx shrink = f->single ? TN_LX_NONE : tn__flash_load(f, f->shrink, i);
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j"), start = tn_l_number(k, f->dtype, 0);
    tn_lx place = tn__flash_at(f, tn__flash_sum(f, row, i), width, tn__flash_sum(f, before, j));
    if (!f->single) start = tn_l_op2(k, TN_S_mul, tn__flash_load(f, f->o, place), shrink);
    tn_l_set(k, f->t.acc, tn__flash_at(f, i, nr, j), start);
    tn_l_end(k);
    tn_l_end(k);
    tn_lx x = tn_l_for(k, TN_LOOP_SERIAL, zero, t->count, "column");
    tn_lx line = tn_l_mul(k, tn__flash_sum(f, x, tn_l_mul(k, p, size)), nr);
    uint32_t mark = tn_access_mark(&f->t.m.access);
    i = tn_l_for(k, TN_LOOP_UNROLL, zero, rows, "i");
    tn_lx a = tn__flash_load(f, f->s, tn__flash_at(f, i, size, x));
    j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j");
    tn_lx at = tn__flash_at(f, i, nr, j);
    tn_lx b = f->packs_values ? tn__flash_load(f, f->v, tn__flash_sum(f, line, j))
                              : value_element(f, x, tn__flash_sum(f, before, j));
    tn_l_set(k, f->t.acc, at, tn_l_op3(k, TN_S_mad, a, b, tn_l_get(k, f->t.acc, at)));
    tn_l_end(k);
    tn_l_end(k);
    tn_access_release(&f->t.m.access, mark);
    tn_l_end(k);
    i = tn_l_for(k, TN_LOOP_UNROLL, zero, rows, "i");
    j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j");
    tn_l_store(k, f->o,
               tn__flash_at(f, tn__flash_sum(f, row, i), width, tn__flash_sum(f, before, j)),
               tn_l_get(k, f->t.acc, tn__flash_at(f, i, nr, j)));
    tn_l_end(k);
    tn_l_end(k);
    tn_l_end(k);
}

/* ---- what a mask hides ----------------------------------------------------------------------- */

/* Condition `i` where it is nearest to being true for the rows, at `column`; NONE: folded away. */
static tn_lx condition_at(tn__flash *f, int i, tn_lx row, tn_lx rows, tn_lx column) {
    tn_loop *k = f->t.m.k;
    tn_lx found[TN_MOST_CONDITIONS],
        last = tn_l_sub(k, tn__flash_sum(f, row, rows), tn__flash_int(f, 1));
    uint32_t mark = tn_access_mark(&f->t.m.access);
    f->raw = tn_l_number(k, f->dtype, 0);
    f->row = f->corner[i].high_row ? last : row;
    f->column = column;
    bool same = tn_mask_conditions(k, tn__flash_score(f), found) == f->conditions;
    tn_access_release(&f->t.m.access, mark);
    return same ? found[i] : TN_LX_NONE;
}

static tn_lx last_column(tn__flash *f) {
    return tn_l_sub(f->t.m.k, tn__flash_sum(f, f->first_column, f->count), tn__flash_int(f, 1));
}

tn_lx tn__flash_shows(tn__flash *f, tn_lx row, tn_lx rows) {
    tn_lx result = TN_LX_NONE;
    for (int i = 0; i < f->conditions && !f->single; i++) {
        if (!f->usable[i]) continue;
        tn_lx column = f->corner[i].high_column ? last_column(f) : f->first_column;
        result = tn_l_and(f->t.m.k, result, condition_at(f, i, row, rows, column));
    }
    return result;
}

/* The columns of the block up to the last that a row of the tile sees, in whole panels. */
static tn_lx shown_columns(const tile *t) {
    tn__flash *f = t->f;
    tn_loop *k = f->t.m.k;
    tn_lx row = tn__flash_sum(f, f->first_row, t->row), rows = tn__flash_int(f, t->height);
    tn_lx width = tn__flash_int(f, f->t.s.score_nr), panels = TN_LX_NONE;
    for (int i = 0; i < f->conditions; i++) {
        if (!f->usable[i] || !f->corner[i].ends) continue;
        tn_lx end = condition_at(f, i, row, rows, last_column(f));
        if (end == TN_LX_NONE) continue;
        tn_lx shown =
            tn__flash_sum(f, tn_mask_room(k, end), tn_l_sub(k, f->count, tn__flash_int(f, 1)));
        tn_lx up = tn__ceil_div(k, tn_l_max(k, shown, tn__flash_int(f, 0)), f->t.s.score_nr);
        panels = panels == TN_LX_NONE ? up : tn_l_min(k, panels, up);
    }
    int64_t known;
    if (panels == TN_LX_NONE) return f->count;
    if (tn_l_is_const_int(k, f->count, &known) && known % f->t.s.score_nr == 0)
        return tn_l_mul(k, tn_l_min(k, panels, tn_l_div(k, f->count, width)), width);
    return tn_l_min(k, f->count, tn_l_mul(k, panels, width));
}

void tn__flash_tile(void *context, uint32_t height, tn_lx row) {
    tn__flash *f = context;
    tile t = {f, height, row, TN_LX_NONE};
    tn_loop *k = f->t.m.k;
    tn_lx some = tn__flash_shows(f, tn__flash_sum(f, f->first_row, row), tn__flash_int(f, height));
    if (some != TN_LX_NONE) tn_l_if(k, some);
    t.count = shown_columns(&t);
    if (keeps_maxima(f)) start_maxima(&t);
    if (f->by_rows)
        tn__flash_score_rows(f, row, height, t.count);
    else
        over_panels(f, t.count, multiply_panel, &t);
    weigh(&t);
    multiply_values(&t);
    if (some != TN_LX_NONE) tn_l_end(k);
}
