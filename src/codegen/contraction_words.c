/* Contractions of bytes with i32 sums: four elements of k share a 32-bit word, and one `dot4` of two
 * words adds four products.
 *
 *   A  t->stage [row][line][word], evaluated by the task; unsigned bytes
 *   B  panels   [panel][line][word][nr], packed once or by the task; signed bytes
 *
 * A line is the last axes of k, those along which A is contiguous; the others are loops. Word l of a
 * chunk of 4·lanes elements holds the elements l, lanes + l, 2·lanes + l and 3·lanes + l, the first
 * lowest: so a vector of words is four loads of neighbours. Behind the end of a line words are zero. */
#include "codegen/contraction.h"

enum { BYTES = 4, LEAST_DEPTH = 8 };

static tn_lx times(tn_loop *k, tn_lx a, int64_t b) {
    return tn_l_mul(k, a, tn_l_int(k, b));
}

static int64_t rounded_up(int64_t x, int64_t unit) {
    return (x + unit - 1) / unit * unit;
}

static int64_t words_per_line(const tn__words *w) {
    return rounded_up(w->run, BYTES * (int64_t)w->lanes) / BYTES;
}

int64_t tn__words_total(const tn__words *w) {
    return w->lines * words_per_line(w);
}

void tn__words_find(const tn__tile *t, bool direct, const bool *merged_k, uint32_t lanes,
                    tn__words *out) {
    enum { LEAST_LANES = 4 };
    const tn_contraction *c = &t->c;
    tn__words w = {.run = 1, .lines = 1, .inside = direct, .first = c->k - 1, .lanes = lanes};
    *out = (tn__words){0};
    if (!t->m.grouping->fuse || c->acc != TN_i32 || t->m.group->prologue != TN_NO_GROUP) return;
    if (tn_node_type(t->m.graph, t->node, 0)->dtype != TN_u8 ||
        tn_node_type(t->m.graph, t->node, 1)->dtype != TN_i8)
        return;
    while (direct && w.first > 0 && merged_k[w.first - 1]) w.first--;
    for (int i = 0; i < c->k; i++) {
        int64_t *part = i < w.first ? &w.lines : &w.run;
        if (!tn_dim_is_const(c->k_extent[i]) ||
            __builtin_mul_overflow(*part, c->k_extent[i], part) || *part > INT32_MAX)
            return;
    }
    if (w.run * w.lines < LEAST_DEPTH || w.run * w.lines > INT32_MAX) return;
    for (uint32_t fewer = w.lanes / 2; fewer >= LEAST_LANES; fewer /= 2)
        if (rounded_up(w.run, BYTES * (int64_t)fewer) < rounded_up(w.run, BYTES * (int64_t)w.lanes))
            w.lanes = fewer;
    *out = w;
}

/* ---- loops over words ------------------------------------------------------------------------ */

typedef struct word_loop {
    tn__tile *t;
    tn_lx k_index[TN_MAX_RANK], line; /* of axes before the line's; the line */
    tn_lx row;                        /* of A */
    tn_lx panel, base;                /* of B */
    uint32_t to;
} word_loop;

/* Emits the words of the chunk at element `start` of a line; `tail`: it has fewer elements. */
typedef void chunk_work(word_loop *l, tn_lx start, bool tail);

static void each_chunk(word_loop *l, chunk_work *work) {
    tn__tile *t = l->t;
    tn_loop *k = t->m.k;
    const tn__words *w = &t->words;
    int64_t size = BYTES * (int64_t)w->lanes;
    tn_lx zero = tn_l_int(k, 0);
    int opened = 0;
    l->line = zero;
    for (int i = 0; i < TN_MAX_RANK; i++) l->k_index[i] = zero;
    for (int i = 0; i < w->first; i++) {
        if (t->c.k_extent[i] == 1) continue;
        l->k_index[i] = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_dim(k, t->c.k_extent[i]), "k");
        l->line = tn_l_add(k, times(k, l->line, t->c.k_extent[i]), l->k_index[i]);
        opened++;
    }
    if (w->run >= size) {
        tn_lx chunk = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_int(k, w->run / size), "chunk");
        work(l, times(k, chunk, size), false);
        tn_l_end(k);
    }
    if (w->run % size != 0) work(l, tn_l_int(k, w->run / size * size), true);
    tn__close_loops(k, opened);
}

/* The number of the word at `lane` of the chunk at `start`. */
static tn_lx word_at(const word_loop *l, tn_lx start, tn_lx lane) {
    tn_loop *k = l->t->m.k;
    tn_lx in_line = tn_l_add(k, tn_l_div(k, start, tn_l_int(k, BYTES)), lane);
    return tn_l_add(k, times(k, l->line, words_per_line(&l->t->words)), in_line);
}

/* Byte `i` of a word, an i32, joins those before it. */
static tn_lx with_byte(tn_loop *k, tn_lx word, tn_lx byte, int i) {
    byte = tn_l_op2(k, TN_S_and, byte, tn_l_number(k, TN_i32, 255));
    if (i == 0) return byte;
    return tn_l_op2(k, TN_S_or, word, tn_l_op2(k, TN_S_shl, byte, tn_l_number(k, TN_i32, 8 * i)));
}

/* Element x of the line, and whether it is one. */
static tn_lx line_element(const word_loop *l, tn_lx start, tn_lx lane, int i, bool tail,
                          tn_lx *valid) {
    tn_loop *k = l->t->m.k;
    const tn__words *w = &l->t->words;
    tn_lx x = tn_l_add(k, start, tn_l_add(k, lane, tn_l_int(k, i * (int64_t)w->lanes)));
    *valid = tail ? tn_l_lt(k, x, tn_l_int(k, w->run)) : TN_LX_NONE;
    return x;
}

/* ---- A --------------------------------------------------------------------------------------- */

static void stage_chunk(word_loop *l, tn_lx start, bool tail) {
    tn__tile *t = l->t;
    tn_loop *k = t->m.k;
    tn_lx m[TN_MAX_RANK], word = TN_LX_NONE, valid, zero = tn_l_int(k, 0);
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, zero, tn_l_int(k, t->words.lanes), "word");
    tn__split_axes(k, l->row, t->c.m_extent, t->c.m, t->merged_m, m);
    for (int i = 0; i < BYTES; i++) {
        tn_lx index[TN_MAX_RANK], guard = TN_LX_NONE;
        l->k_index[t->c.k - 1] = line_element(l, start, lane, i, tail, &valid);
        uint32_t mark = tn_access_mark(&t->m.access);
        t->rules->lhs(&t->m.access.emit, t->node, t->b_index, m, l->k_index, index, &guard);
        guard = tn_l_and(k, t->words.inside ? TN_LX_NONE : guard, valid);
        word = with_byte(k, word, tn__tile_operand(t, 0, index, guard), i);
        tn_access_release(&t->m.access, mark);
    }
    tn_lx row = tn__stage_row(t, tn_l_sub(k, l->row, t->first_row));
    tn_l_store(k, t->stage, tn_l_add(k, row, word_at(l, start, lane)), word);
    tn_l_end(k);
}

void tn__stage_words(tn__tile *t, tn_lx lo, tn_lx hi) {
    word_loop l = {.t = t};
    l.row = tn_l_for(t->m.k, TN_LOOP_SERIAL, lo, hi, "row");
    each_chunk(&l, stage_chunk);
    tn_l_end(t->m.k);
}

/* ---- B --------------------------------------------------------------------------------------- */

/* Splits element x of a line over the axes of the line. */
static void split_line(word_loop *l, tn_lx x) {
    const tn__tile *t = l->t;
    int first = t->words.first;
    tn__split_plain(t->m.k, x, t->c.k_extent + first, t->c.k - first, l->k_index + first);
}

static void pack_chunk(word_loop *l, tn_lx start, bool tail) {
    tn__tile *t = l->t;
    tn_loop *k = t->m.k;
    tn_lx n[TN_MAX_RANK], word = TN_LX_NONE, zero = tn_l_int(k, 0), valid;
    tn_lx lane = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_int(k, t->words.lanes), "word");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, tn_l_int(k, t->s.nr), "j");
    tn_lx column = tn_l_add(k, times(k, l->panel, t->s.nr), j);
    tn_lx inside = tn__columns_exact(t) ? TN_LX_NONE : tn_l_lt(k, column, t->n_total);
    tn__split_plain(k, column, t->c.n_extent, t->c.n, n);
    for (int i = 0; i < BYTES; i++) {
        split_line(l, line_element(l, start, lane, i, tail, &valid));
        uint32_t mark = tn_access_mark(&t->m.access);
        tn_lx byte = tn__tile_rhs(t, t->b_index, l->k_index, n, tn_l_and(k, inside, valid));
        word = with_byte(k, word, byte, i);
        tn_access_release(&t->m.access, mark);
    }
    tn_lx at = tn_l_add(k, times(k, word_at(l, start, lane), t->s.nr), j);
    tn_l_store(k, l->to, tn_l_add(k, l->base, at), word);
    tn_l_end(k);
    tn_l_end(k);
}

void tn__pack_words(tn__tile *t, tn_lx panel, uint32_t to, tn_lx base) {
    word_loop l = {.t = t, .panel = panel, .base = base, .to = to};
    each_chunk(&l, pack_chunk);
}
