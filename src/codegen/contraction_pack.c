/* Contractions: operands that are put in order before the tiles read them. */
#include "codegen/contraction.h"
#include "codegen/pack_turned.h"
#include "loop/strips.h"

/* ---- panels of B ---------------------------------------------------------------------------- */

typedef struct panel_element {
    tn__tile *t;
    tn_lx panel, k_index[TN_MAX_RANK];
    tn_lx first; /* of the last k */
} panel_element;

static tn_lx panel_at(void *context, tn_lx x, tn_lx j) {
    panel_element *e = context;
    tn__tile *t = e->t;
    tn_lx n[TN_MAX_RANK],
        col = tn_l_add(t->m.k, tn_l_mul(t->m.k, e->panel, tn_l_int(t->m.k, t->s.nr)), j);
    tn__split_plain(t->m.k, col, t->c.n_extent, t->c.n, n);
    e->k_index[t->c.k - 1] = tn_l_add(t->m.k, e->first, x);
    uint32_t mark = tn_access_mark(&t->m.access);
    tn_lx valid = tn__columns_exact(t) ? TN_LX_NONE : tn_l_lt(t->m.k, col, t->n_total);
    tn_lx value = tn__tile_rhs(t, t->b_index, e->k_index, n, valid);
    tn_access_release(&t->m.access, mark);
    return value;
}

/* Of squares that panels are made of. */
static uint32_t square_lanes(const tn__tile *t) {
    uint32_t lanes = t->s.lanes;
    while (t->s.nr % lanes != 0) lanes /= 2;
    return lanes;
}

/* The last k axis in tiles, loops over the others. */
static void pack_panel_turned(tn__tile *t, tn_lx panel, uint32_t to, tn_lx base) {
    tn_loop *k = t->m.k;
    panel_element e = {.t = t, .panel = panel, .first = tn_l_int(k, 0)};
    int last = t->c.k - 1, opened = 0;
    tn_lx linear = tn_l_int(k, 0);
    for (int i = 0; i < last; i++) {
        tn_lx extent = tn_l_dim(k, t->c.k_extent[i]);
        e.k_index[i] = tn_l_int(k, 0);
        if (t->c.k_extent[i] == 1) continue;
        e.k_index[i] = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), extent, "k");
        linear = tn_l_add(k, tn_l_mul(k, linear, extent), e.k_index[i]);
        opened++;
    }
    tn_turned_pack p = {.k = k,
                        .dtype = t->c.acc,
                        .lanes = square_lanes(t),
                        .nr = t->s.nr,
                        .to = to,
                        .count = tn_l_dim(k, t->c.k_extent[last]),
                        .element = panel_at,
                        .context = &e};
    if (t->k.cut) { /* the last is the only one */
        e.first = t->k.first;
        p.count = t->k.count;
    }
    tn_lx before = tn_l_mul(k, tn_l_mul(k, linear, p.count), tn_l_int(k, t->s.nr));
    p.base = tn_l_add(k, base, before);
    tn_pack_turned(&p);
    tn__close_loops(k, opened);
}

/* Opens the loops over k, or one over a part of it in packed order. */
static int open_packed(tn__tile *t, const tn__k_range *range, tn_lx *index, tn_lx *linear) {
    tn_loop *k = t->m.k;
    bool apart[TN_MAX_RANK] = {false}; /* B need not be linear where A is */
    if (!range->cut) return tn__open_k(t, apart, index, linear);
    *linear =
        tn_l_for(k, TN_LOOP_SERIAL, range->first, tn_l_add(k, range->first, range->count), "k");
    tn__split_plain(k, *linear, t->c.k_extent, t->c.k, index);
    return 1;
}

void tn__pack_panel(tn__tile *t, tn_lx panel, uint32_t to, tn_lx base) {
    tn_loop *k = t->m.k;
    if (t->s.words) {
        tn__pack_words(t, panel, to, base);
        return;
    }
    if (t->turned) {
        pack_panel_turned(t, panel, to, base);
        return;
    }
    tn_lx nr = tn_l_int(k, t->s.nr), k_index[TN_MAX_RANK], k_linear, n[TN_MAX_RANK];
    int opened = open_packed(t, &t->k, k_index, &k_linear);
    if (t->k.cut) k_linear = tn_l_sub(k, k_linear, t->k.first);
    uint32_t mark = tn_access_mark(&t->m.access);
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), nr, "j");
    tn_lx col = tn_l_add(k, tn_l_mul(k, panel, nr), j);
    tn__split_plain(k, col, t->c.n_extent, t->c.n, n);
    tn_lx valid = tn__columns_exact(t) ? TN_LX_NONE : tn_l_lt(k, col, t->n_total);
    tn_lx at = tn_l_add(k, base, tn_l_add(k, tn_l_mul(k, k_linear, nr), j));
    tn_l_store(k, to, at, tn__tile_rhs(t, t->b_index, k_index, n, valid));
    tn_l_end(k);
    tn_access_release(&t->m.access, mark);
    tn__close_loops(k, opened);
}

/* ---- rows of A ------------------------------------------------------------------------------ */

tn_lx tn__stage_row(const tn__tile *t, tn_lx row) {
    return t->stage_turned ? row : tn_l_mul(t->m.k, row, tn__sums_staged(t));
}

tn_lx tn__stage_k(const tn__tile *t, tn_lx k_linear) {
    if (t->staged_k.cut) k_linear = tn_l_sub(t->m.k, k_linear, t->staged_k.first);
    return t->stage_turned ? tn_l_mul(t->m.k, k_linear, tn_l_int(t->m.k, t->s.m_block)) : k_linear;
}

typedef struct stage_line {
    tn__tile *t;
    tn_lx row, k_index[TN_MAX_RANK];
    tn_lx k_before; /* position of the line along k; turned: of its only k */
} stage_line;

static void stage_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    stage_line *s = context;
    tn__tile *t = s->t;
    tn_loop *k = t->m.k;
    tn_lx lane, x = tn_strip_open(k, base, width, limit, &lane), m[TN_MAX_RANK];
    tn_lx row = t->stage_turned ? x : s->row;
    tn_lx k_linear = t->stage_turned ? s->k_before : tn_l_add(k, s->k_before, x);
    if (!t->stage_turned) s->k_index[t->c.k - 1] = x;
    tn__split_axes(k, row, t->c.m_extent, t->c.m, t->merged_m, m);
    uint32_t mark = tn_access_mark(&t->m.access);
    tn_lx at =
        tn_l_add(k, tn__stage_row(t, tn_l_sub(k, row, t->first_row)), tn__stage_k(t, k_linear));
    tn_l_store(k, t->stage, at, tn__tile_lhs(t, t->b_index, m, s->k_index));
    tn_access_release(&t->m.access, mark);
    tn_strip_close(k, limit);
}

/* The loops around a line: over all of k where lines run along the rows, else over all but the last axis. */
static int open_lines(stage_line *s) {
    tn__tile *t = s->t;
    tn_loop *k = t->m.k;
    int loops = t->stage_turned ? t->c.k : t->c.k - 1, opened = 0;
    if (t->stage_turned && t->staged_k.cut)
        return open_packed(t, &t->staged_k, s->k_index, &s->k_before);
    s->k_before = tn_l_int(k, 0);
    for (int i = 0; i < loops; i++) {
        tn_lx extent = tn_l_dim(k, t->c.k_extent[i]);
        s->k_index[i] = tn_l_int(k, 0);
        if (t->c.k_extent[i] != 1) {
            s->k_index[i] = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), extent, "k");
            opened++;
        }
        s->k_before = tn_l_add(k, tn_l_mul(k, s->k_before, extent), s->k_index[i]);
    }
    return opened;
}

/* Vectors run along the last k axis, or along the rows. */
static void stage_rows(tn__tile *t, tn_lx lo, tn_lx hi) {
    tn_loop *k = t->m.k;
    stage_line s = {.t = t};
    if (t->s.words) {
        tn__stage_words(t, lo, hi);
        return;
    }
    if (!t->stage_turned) s.row = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "row");
    int opened = open_lines(&s);
    if (t->stage_turned) {
        tn_strips(k, t->s.lanes, 1, lo, hi, stage_strip, &s);
    } else {
        const tn__k_range *part = &t->staged_k;
        tn_lx first = tn_l_int(k, 0), end = tn_l_dim(k, t->c.k_extent[t->c.k - 1]);
        s.k_before = tn_l_mul(k, s.k_before, end);
        if (part->cut) { /* the last axis is the only one */
            first = part->first;
            end = tn_l_add(k, first, part->count);
        }
        tn_strips(k, t->s.lanes, 1, first, end, stage_strip, &s);
        opened++;
    }
    tn__close_loops(k, opened);
}

void tn__stage_lhs(tn__tile *t, tn_lx lo, tn_lx hi) {
    if (t->m.group->prologue != TN_NO_GROUP)
        tn__stage_prologue(t, lo, hi);
    else
        stage_rows(t, lo, hi);
}
