/* The gradient of attention: its products, on register tiles. */
#include "codegen/attention_gradient.h"
#include "codegen/pack_turned.h"
#include "loop/strips.h"

/* ---- elements of operands ------------------------------------------------------------------- */

/* Element x of what a source has for a row, or for a column. */
static tn_lx source_element(tn__score_gradient *f, const tn__score_source *s, bool for_column,
                            tn_lx row, tn_lx column, tn_lx x, tn_lx valid) {
    tn_emit *e = &f->m.access.emit;
    tn_loop *k = f->m.k;
    tn_lx index[TN_MAX_RANK], guard = TN_LX_NONE, outer = e->guard;
    tn__score_locate(f, row, column);
    const tn_lx *b = f->at[s->place].at, *m = b + s->c.b, *n = m + s->c.m;
    uint32_t which = for_column != f->y->inner.data[s->place].turned;
    if (which == 0)
        s->rules->lhs(e, s->node, b, m, &x, index, &guard);
    else
        s->rules->rhs(e, s->node, b, &x, n, index, &guard);
    e->guard = tn_l_and(k, outer, valid);
    tn_lx value = tn_l_cast(k, e->operand(e, s->node, which, index), f->dtype, false);
    e->guard = outer;
    if (valid == TN_LX_NONE) return value;
    return tn_l_select(k, valid, value, tn_l_number(k, f->dtype, 0));
}

void tn__score_probe(tn__score_gradient *f, tn__score_source *out, uint32_t i, tn_lx column) {
    tn_loop *k = f->m.k;
    uint32_t buffer;
    tn_lx x = tn_l_for(k, TN_LOOP_SERIAL, tn__score_int(f, 0), f->source[i].depth, "x");
    tn_lx zero = tn__score_int(f, 0);
    tn_lx element = source_element(f, &f->source[i], true, zero, column, x, TN_LX_NONE);
    out->turned = tn_dtype_size(f->dtype) >= 4 &&
                  tn__steps_by_one(k, tn__load_address(k, element, &buffer), x);
}

static tn_lx score_row(tn__score_gradient *f, tn_lx row) {
    return tn_l_add(f->m.k, f->first_row, row);
}

/* Element j of what a result has for a row, or for a column, over which it sums. */
static tn_lx other_element(tn__score_gradient *f, const tn__score_result *r, tn_lx at, tn_lx j) {
    tn_emit *e = &f->m.access.emit;
    tn_loop *k = f->m.k;
    tn_lx index[TN_MAX_RANK], own[TN_MAX_RANK], folded[TN_MAX_RANK], guard = TN_LX_NONE;
    const tn_contraction *c = &r->c;
    tn__split_plain(k, at, c->k_extent, c->k, folded);
    tn__split_plain(k, j, r->x->which ? c->m_extent : c->n_extent, r->x->which ? c->m : c->n, own);
    if (r->x->which)
        r->rules->lhs(e, r->node, f->b_index, own, folded, index, &guard);
    else
        r->rules->rhs(e, r->node, f->b_index, folded, own, index, &guard);
    tn_lx outer = e->guard, valid = TN_LX_NONE;
    if (r->width % r->nr) valid = tn_l_lt(k, j, tn_l_int(k, r->width));
    e->guard = tn_l_and(k, outer, valid);
    tn_lx value = tn_l_cast(k, e->operand(e, r->node, 1 - r->x->which, index), f->dtype, false);
    e->guard = outer;
    if (valid == TN_LX_NONE) return value;
    return tn_l_select(k, valid, value, tn_l_number(k, f->dtype, 0));
}

static tn_lx line_of(tn__score_gradient *f, const tn__score_result *r) {
    return tn__score_int(f, (int64_t)r->panels * r->nr);
}

/* ---- copies --------------------------------------------------------------------------------- */

typedef struct column_panel {
    tn__score_gradient *f;
    const tn__score_source *s;
    tn_lx base;
} column_panel;

static tn_lx panel_element(void *context, tn_lx x, tn_lx j) {
    const column_panel *p = context;
    tn__score_gradient *f = p->f;
    tn_lx column = tn_l_add(f->m.k, p->base, j), valid = TN_LX_NONE;
    if (f->columns_total % f->s.score_nr) valid = tn_l_lt(f->m.k, column, f->columns);
    uint32_t mark = tn_access_mark(&f->m.access);
    tn_lx value = source_element(f, p->s, true, tn__score_int(f, 0), column, x, valid);
    tn_access_release(&f->m.access, mark);
    return value;
}

/* The columns' operand of a source as panels [x][score_nr]. */
static void pack_columns(tn__score_gradient *f, const tn__score_source *s) {
    tn_loop *k = f->m.k;
    tn_lx width = tn__score_int(f, f->s.score_nr), zero = tn__score_int(f, 0);
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_div(k, f->stride, width), "panel");
    column_panel p = {f, s, tn_l_mul(k, i, width)};
    tn_turned_pack pack = {.k = k,
                           .dtype = f->dtype,
                           .lanes = f->s.lanes,
                           .nr = f->s.score_nr,
                           .to = s->columns,
                           .base = tn_l_mul(k, p.base, s->depth),
                           .count = s->depth,
                           .element = panel_element,
                           .context = &p};
    if (s->turned) {
        tn_pack_turned(&pack);
    } else {
        tn_lx x = tn_l_for(k, TN_LOOP_SERIAL, zero, s->depth, "x");
        tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, width, "j");
        tn_l_store(k, s->columns, tn_l_add(k, pack.base, tn__score_at(f, x, width, j)),
                   panel_element(&p, x, j));
        tn_l_end(k);
        tn_l_end(k);
    }
    tn_l_end(k);
}

/* Rows or columns [first, first + count) of a result's other operand. */
static void copy_other(tn__score_gradient *f, const tn__score_result *r, tn_lx first, tn_lx count) {
    tn_loop *k = f->m.k;
    tn_lx zero = tn__score_int(f, 0), nr = tn__score_int(f, r->nr);
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, zero, count, "line");
    tn_lx p = tn_l_for(k, TN_LOOP_SERIAL, zero, tn__score_int(f, r->panels), "panel");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j"), at = tn__score_at(f, p, nr, j);
    uint32_t mark = tn_access_mark(&f->m.access);
    tn_lx value = other_element(f, r, tn_l_add(k, first, i), at);
    tn_l_store(k, r->other, tn__score_at(f, i, line_of(f, r), at), value);
    tn_access_release(&f->m.access, mark);
    tn_l_end(k);
    tn_l_end(k);
    tn_l_end(k);
}

static void clear_sums(tn__score_gradient *f, const tn__score_result *r) {
    tn_loop *k = f->m.k;
    tn_lx zero = tn__score_int(f, 0), nr = tn__score_int(f, r->nr);
    tn_lx lines = tn_l_mul(k, f->stride, tn__score_int(f, r->panels));
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, zero, lines, "line");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j");
    tn_l_store(k, r->sum, tn__score_at(f, i, nr, j), tn_l_number(k, f->dtype, 0));
    tn_l_end(k);
    tn_l_end(k);
}

void tn__score_begin(tn__score_gradient *f) {
    for (uint32_t i = 0; i < f->sources; i++) pack_columns(f, &f->source[i]);
    for (uint32_t i = 0; i < f->results; i++) {
        const tn__score_result *r = &f->result[i];
        if (r->x->over_rows)
            clear_sums(f, r);
        else
            copy_other(f, r, tn__score_int(f, 0), f->columns);
    }
}

/* ---- sources -------------------------------------------------------------------------------- */

typedef struct row_copy {
    tn__score_gradient *f;
    const tn__score_source *s;
    tn_lx row;
} row_copy;

static void copy_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    const row_copy *c = context;
    tn__score_gradient *f = c->f;
    tn_lx lane, x = tn_strip_open(f->m.k, base, width, limit, &lane);
    uint32_t mark = tn_access_mark(&f->m.access);
    tn_lx value =
        source_element(f, c->s, false, score_row(f, c->row), tn__score_int(f, 0), x, TN_LX_NONE);
    tn_l_store(f->m.k, c->s->rows, tn__score_at(f, c->row, c->s->depth, x), value);
    tn_access_release(&f->m.access, mark);
    tn_strip_close(f->m.k, limit);
}

static void copy_rows(tn__score_gradient *f, const tn__score_source *s) {
    row_copy c = {.f = f, .s = s};
    tn_loop *k = f->m.k;
    c.row = tn_l_for(k, TN_LOOP_SERIAL, tn__score_int(f, 0), f->rows, "row");
    tn_strips(k, f->s.lanes, 1, tn__score_int(f, 0), s->depth, copy_strip, &c);
    tn_l_end(k);
}

typedef struct source_tile {
    tn__score_gradient *f;
    const tn__score_source *s;
    tn_lx base; /* the first column */
} source_tile;

/* `height` rows of a panel of columns. */
static void multiply_source(void *context, uint32_t height, tn_lx row) {
    const source_tile *t = context;
    tn__score_gradient *f = t->f;
    const tn__score_source *s = t->s;
    tn_loop *k = f->m.k;
    tn_lx zero = tn__score_int(f, 0), width = tn__score_int(f, f->s.score_nr),
          rows = tn__score_int(f, height);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, rows, "i");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, width, "j");
    tn_l_set(k, f->score_acc, tn__score_at(f, i, width, j), tn_l_number(k, f->dtype, 0));
    tn_l_end(k);
    tn_l_end(k);
    tn_lx x = tn_l_for(k, TN_LOOP_SERIAL, zero, s->depth, "x");
    tn_lx line = tn_l_add(k, tn_l_mul(k, t->base, s->depth), tn_l_mul(k, x, width));
    i = tn_l_for(k, TN_LOOP_UNROLL, zero, rows, "i");
    tn_lx a = tn__score_load(f, s->rows, tn__score_at(f, tn_l_add(k, row, i), s->depth, x));
    j = tn_l_for(k, TN_LOOP_VECTOR, zero, width, "j");
    tn_lx at = tn__score_at(f, i, width, j),
          b = tn__score_load(f, s->columns, tn_l_add(k, line, j));
    tn_l_set(k, f->score_acc, at, tn_l_op3(k, TN_S_mad, a, b, tn_l_get(k, f->score_acc, at)));
    tn_l_end(k);
    tn_l_end(k);
    tn_l_end(k);
    i = tn_l_for(k, TN_LOOP_UNROLL, zero, rows, "i");
    j = tn_l_for(k, TN_LOOP_VECTOR, zero, width, "j");
    tn_lx to = tn__score_at(f, tn_l_add(k, row, i), f->stride, tn_l_add(k, t->base, j));
    tn_l_store(k, f->value[s->place].slot, to,
               tn_l_get(k, f->score_acc, tn__score_at(f, i, width, j)));
    tn_l_end(k);
    tn_l_end(k);
}

void tn__score_sources(tn__score_gradient *f) {
    tn_loop *k = f->m.k;
    tn_lx zero = tn__score_int(f, 0), width = tn__score_int(f, f->s.score_nr);
    for (uint32_t i = 0; i < f->sources; i++) {
        source_tile t = {.f = f, .s = &f->source[i]};
        copy_rows(f, t.s);
        tn_lx panels = tn__ceil_div(k, f->count, f->s.score_nr);
        t.base = tn_l_mul(k, tn_l_for(k, TN_LOOP_SERIAL, zero, panels, "panel"), width);
        tn__row_tiles(k, f->s.mr, zero, f->rows, tn__score_int(f, f->rows_total), multiply_source,
                      &t);
        tn_l_end(k);
    }
}

/* ---- results -------------------------------------------------------------------------------- */

/* Stores element j of the result's row or column `at`. */
static void store_result(tn__score_gradient *f, const tn__score_result *r, tn_lx at, tn_lx j,
                         tn_lx value) {
    tn_loop *k = f->m.k;
    const tn_contraction *c = &r->c;
    tn_lx index[TN_MAX_RANK], to[TN_MAX_RANK];
    int n = 0;
    for (int i = 0; i < c->b; i++) index[n++] = f->b_index[i];
    tn__split_plain(k, r->x->which ? j : at, c->m_extent, c->m, index + n);
    tn__split_plain(k, r->x->which ? at : j, c->n_extent, c->n, index + n + c->m);
    tn__through_views(&f->m, r->node->out, r->x->domain_value, index, to);
    bool masked = r->width % r->nr != 0;
    if (masked) tn_l_if(k, tn_l_lt(k, j, tn_l_int(k, r->width)));
    tn_maker_store(&f->m, r->x->domain_value, to, value);
    if (masked) tn_l_end(k);
}

typedef struct result_tile {
    tn__score_gradient *f;
    const tn__score_result *r;
    tn_lx panel;
} result_tile;

/* acc[i][j] += w(i, x) · other[x][j] for x up to `count`; w at first + i · down + x · along of its slot. */
static void add_products(const result_tile *t, uint32_t height, tn_lx first, tn_lx down,
                         tn_lx along, tn_lx count) {
    tn__score_gradient *f = t->f;
    const tn__score_result *r = t->r;
    tn_loop *k = f->m.k;
    tn_lx zero = tn__score_int(f, 0), nr = tn__score_int(f, r->nr);
    tn_lx x = tn_l_for(k, TN_LOOP_SERIAL, zero, count, "x");
    tn_lx from = tn_l_add(k, first, tn_l_mul(k, x, along));
    tn_lx line = tn__score_at(f, x, line_of(f, r), tn_l_mul(k, t->panel, nr));
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, tn__score_int(f, height), "i");
    tn_lx a = tn__score_load(f, f->value[r->operand].slot, tn_l_add(k, from, tn_l_mul(k, i, down)));
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j"), at = tn__score_at(f, i, nr, j);
    tn_lx b = tn__score_load(f, r->other, tn_l_add(k, line, j));
    tn_l_set(k, r->acc, at, tn_l_op3(k, TN_S_mad, a, b, tn_l_get(k, r->acc, at)));
    tn_l_end(k);
    tn_l_end(k);
    tn_l_end(k);
}

/* Rows of a result over columns: made at once. */
static void multiply_columns(void *context, uint32_t height, tn_lx row) {
    const result_tile *t = context;
    tn__score_gradient *f = t->f;
    const tn__score_result *r = t->r;
    tn_loop *k = f->m.k;
    tn_lx zero = tn__score_int(f, 0), nr = tn__score_int(f, r->nr), rows = tn__score_int(f, height);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, rows, "i");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j");
    tn_l_set(k, r->acc, tn__score_at(f, i, nr, j), tn_l_number(k, f->dtype, 0));
    tn_l_end(k);
    tn_l_end(k);
    add_products(t, height, tn_l_mul(k, row, f->stride), f->stride, tn__score_int(f, 1), f->count);
    i = tn_l_for(k, TN_LOOP_UNROLL, zero, rows, "i");
    j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j");
    store_result(f, r, score_row(f, tn_l_add(k, row, i)), tn__score_at(f, t->panel, nr, j),
                 tn_l_get(k, r->acc, tn__score_at(f, i, nr, j)));
    tn_l_end(k);
    tn_l_end(k);
}

/* Columns of a result over rows: what the block's rows add to them. */
static void multiply_rows(void *context, uint32_t height, tn_lx column) {
    const result_tile *t = context;
    tn__score_gradient *f = t->f;
    const tn__score_result *r = t->r;
    tn_loop *k = f->m.k;
    tn_lx zero = tn__score_int(f, 0), nr = tn__score_int(f, r->nr), rows = tn__score_int(f, height);
    for (int back = 0; back < 2; back++) {
        tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, rows, "i");
        tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j");
        tn_lx at = tn__score_at(f, tn_l_add(k, column, i), line_of(f, r),
                                tn__score_at(f, t->panel, nr, j));
        tn_lx here = tn__score_at(f, i, nr, j);
        if (back)
            tn_l_store(k, r->sum, at, tn_l_get(k, r->acc, here));
        else
            tn_l_set(k, r->acc, here, tn__score_load(f, r->sum, at));
        tn_l_end(k);
        tn_l_end(k);
        if (!back) add_products(t, height, column, tn__score_int(f, 1), f->stride, f->rows);
    }
}

void tn__score_results(tn__score_gradient *f) {
    tn_loop *k = f->m.k;
    tn_lx zero = tn__score_int(f, 0);
    for (uint32_t i = 0; i < f->results; i++) {
        const tn__score_result *r = &f->result[i];
        if (r->x->over_rows) copy_other(f, r, f->first_row, f->rows);
        result_tile t = {f, r, zero};
        t.panel = tn_l_for(k, TN_LOOP_SERIAL, zero, tn__score_int(f, r->panels), "panel");
        if (r->x->over_rows)
            tn__row_tiles(k, r->mr, zero, f->count, f->columns, multiply_rows, &t);
        else
            tn__row_tiles(k, r->mr, zero, f->rows, tn__score_int(f, f->rows_total),
                          multiply_columns, &t);
        tn_l_end(k);
    }
}

void tn__score_finish(tn__score_gradient *f) {
    tn_loop *k = f->m.k;
    tn_lx zero = tn__score_int(f, 0);
    for (uint32_t i = 0; i < f->results; i++) {
        const tn__score_result *r = &f->result[i];
        if (!r->x->over_rows) continue;
        tn_lx nr = tn__score_int(f, r->nr);
        tn_lx column = tn_l_for(k, TN_LOOP_SERIAL, zero, f->columns, "column");
        tn_lx p = tn_l_for(k, TN_LOOP_SERIAL, zero, tn__score_int(f, r->panels), "panel");
        tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j"), at = tn__score_at(f, p, nr, j);
        tn_lx sum = tn__score_load(f, r->sum, tn__score_at(f, column, line_of(f, r), at));
        store_result(f, r, column, at, sum);
        tn_l_end(k);
        tn_l_end(k);
        tn_l_end(k);
    }
}
