/* Contractions of few rows with a B that is read in place, as x·W with a W that is computed: B passes once,
 * several of its rows side by side, over columns wide enough for memory to stream them. The sums of the
 * task's columns lie in scratch, each one chain over ascending k, as in a register tile; or, where tasks
 * share k, in the slots of contraction_pieces.c. */
#include "codegen/contraction.h"

enum { SIDE_BY_SIDE = 8 }; /* rows of B */

typedef struct sweep {
    tn__tile *t;
    uint32_t rows;
    tn_lx first, count; /* panels of the task */
    tn_lx width;        /* of a row of sums */
    tn_lx from;         /* where they begin */
} sweep;

static tn_lx sum_at(const sweep *s, tn_lx row, tn_lx panel, tn_lx j) {
    tn_loop *k = s->t->m.k;
    tn_lx column = tn_l_add(k, tn_l_mul(k, panel, tn_l_int(k, s->t->s.nr)), j);
    return tn_l_add(k, s->from, tn_l_add(k, tn_l_mul(k, row, s->width), column));
}

static void clear(const sweep *s) {
    tn__tile *t = s->t;
    tn_loop *k = t->m.k;
    tn_lx zero = tn_l_int(k, 0);
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_int(k, s->rows), "i");
    tn_lx x = tn_l_for(k, TN_LOOP_SERIAL, zero, s->count, "panel");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, tn_l_int(k, t->s.nr), "j");
    tn_l_store(k, t->scratch, sum_at(s, i, x, j), tn_l_number(k, t->c.acc, 0));
    for (int loops = 0; loops < 3; loops++) tn_l_end(k);
}

/* Adds the products of `many` elements of k from `from` on. */
static void add_rows(const sweep *s, tn_lx from, uint32_t many) {
    tn__tile *t = s->t;
    tn_loop *k = t->m.k;
    tn_lx zero = tn_l_int(k, 0), k_linear[SIDE_BY_SIDE], k_index[SIDE_BY_SIDE][TN_MAX_RANK];
    tn_lx a[TN__SWEEP_ROWS][SIDE_BY_SIDE];
    uint32_t mark = tn_access_mark(&t->m.access);
    for (uint32_t u = 0; u < many; u++) {
        k_linear[u] = tn_l_add(k, from, tn_l_int(k, u));
        tn__split_axes(k, k_linear[u], t->c.k_extent, t->c.k, t->merged_k, k_index[u]);
        tn_lx k_part = tn__lhs_k_part(t, k_index[u], k_linear[u]);
        for (uint32_t i = 0; i < s->rows; i++)
            a[i][u] =
                tn_l_let(k, tn__lhs_element(t, tn_l_int(k, i), t->first_row, k_index[u], k_part));
    }
    tn_lx panel = tn_l_for(k, TN_LOOP_SERIAL, zero, s->count, "panel");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, tn_l_int(k, t->s.nr), "j"), b[SIDE_BY_SIDE];
    for (uint32_t u = 0; u < many; u++)
        b[u] = tn__rhs_element(t, k_index[u], k_linear[u], tn_l_add(k, s->first, panel), j);
    for (uint32_t i = 0; i < s->rows; i++) {
        tn_lx at = sum_at(s, tn_l_int(k, i), panel, j);
        tn_lx sum = tn_l_load(k, t->scratch, at, TN_LX_NONE, TN_LX_NONE);
        for (uint32_t u = 0; u < many; u++) sum = tn_l_op3(k, TN_S_mad, a[i][u], b[u], sum);
        tn_l_store(k, t->scratch, at, sum);
    }
    tn_l_end(k);
    tn_l_end(k);
    tn_access_release(&t->m.access, mark);
}

/* Adds the sums of the other pieces to those of the first, in order. */
static void gather(const sweep *s, tn_lx i, tn_lx panel) {
    tn__tile *t = s->t;
    tn_loop *k = t->m.k;
    tn_lx one = tn_l_int(k, 1), row = tn_l_add(k, t->first_row, i);
    tn_lx piece = tn_l_for(k, TN_LOOP_SERIAL, one, tn_l_int(k, t->s.k_pieces), "piece");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, t->s.nr), "j");
    tn_lx to = sum_at(s, i, panel, j);
    tn_lx from = tn_l_add(k, tn__sums_slot(t, piece, row, tn_l_add(k, s->first, panel)), j);
    tn_lx sum = tn_l_load(k, t->scratch, to, TN_LX_NONE, TN_LX_NONE);
    tn_lx more = tn_l_load(k, t->scratch, from, TN_LX_NONE, TN_LX_NONE);
    tn_l_store(k, t->scratch, to, tn_l_op2(k, TN_S_add, sum, more));
    tn_l_end(k);
    tn_l_end(k);
}

static void finish(const sweep *s) {
    tn__tile *t = s->t;
    tn_loop *k = t->m.k;
    tn_lx m[TN_MAX_RANK], nr = tn_l_int(k, t->s.nr);
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), tn_l_int(k, s->rows), "i");
    tn_lx panel = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), s->count, "panel");
    if (tn__sums_shared(t)) gather(s, i, panel);
    tn_lx row = tn_l_add(k, t->first_row, i);
    tn__split_axes(k, row, t->c.m_extent, t->c.m, t->merged_m, m);
    tn__tile_store_row(t, m, row, sum_at(s, i, panel, tn_l_int(k, 0)),
                       tn_l_mul(k, tn_l_add(k, s->first, panel), nr));
    tn_l_end(k);
    tn_l_end(k);
}

tn_lx tn__sweep_elements(const tn__tile *t) {
    return tn_l_int(t->m.k, (int64_t)t->s.mr * t->s.n_panels * t->s.nr);
}

/* Where the sums lie: of the task's piece, or of the first one, when all are put together. */
static void place_sums(sweep *s, tn_lx piece) {
    tn__tile *t = s->t;
    tn_loop *k = t->m.k;
    bool pieces = tn__sums_shared(t);
    tn_lx nr = tn_l_int(k, t->s.nr);
    s->width = pieces ? tn_l_mul(k, t->panels, nr) : tn_l_int(k, t->s.n_panels * t->s.nr);
    s->from = pieces ? tn__sums_slot(t, piece, t->first_row, s->first) : tn_l_int(k, 0);
}

void tn__sweep_panels(tn__tile *t, tn_lx first, tn_lx last) {
    tn_loop *k = t->m.k;
    sweep s = {.t = t, .rows = t->s.mr, .first = first, .count = tn_l_sub(k, last, first)};
    place_sums(&s, t->sums.piece);
    tn__row_addresses(t, s.rows, t->first_row);
    clear(&s);
    tn_lx many = tn_l_int(k, SIDE_BY_SIDE), zero = tn_l_int(k, 0);
    tn_lx from = t->k.cut ? t->k.first : zero, count = t->k.cut ? t->k.count : t->k_total;
    tn_lx whole = tn_l_div(k, count, many);
    tn_lx step = tn_l_for(k, TN_LOOP_SERIAL, zero, whole, "k");
    add_rows(&s, tn_l_add(k, from, tn_l_mul(k, step, many)), SIDE_BY_SIDE);
    tn_l_end(k);
    tn_lx rest = tn_l_add(k, from, tn_l_mul(k, whole, many));
    tn_lx at = tn_l_for(k, TN_LOOP_SERIAL, rest, tn_l_add(k, from, count), "k");
    add_rows(&s, at, 1);
    tn_l_end(k);
    tn__sums_last(t);
    place_sums(&s, zero);
    finish(&s);
    tn__sums_end(t);
}
