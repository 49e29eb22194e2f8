/* Contractions: what is needed soon is on its way while the tiles multiply.
 *
 * B that tasks pack: a panel takes a few lines of each row of B, which is too short for a prefetcher of the machine, so the
 * copy would wait for memory. The part of B that comes next (a panel, or its next block of k) is fetched
 * by the tiles, one line at most per element of k: tile i fetches line i mod `lines` of the i / lines'th
 * of `groups` parts of the rows.
 *
 * Prepared B that outgrows the caches and is passed once: the machine fetches ahead by itself, but not far, nor
 * across pages. A hundred stacks of four 512×512 that 8 rows pass take 67 us each for 97.
 *
 * What the epilogue reads by row and column (a residual, the inputs of a recurrent step) comes in runs as
 * short, and each would wait behind the products of its tile. */
#include "codegen/contraction.h"

enum { LINE_BYTES = 64 };

/* How the next part of B is shared among the tiles. */
typedef struct share {
    uint32_t buffer;
    int64_t step; /* elements of a line */
    int64_t lines, groups;
} share;

static tn_lx address_of(tn__tile *t, tn_lx k_linear, tn_lx column, uint32_t *buffer) {
    tn_lx k_index[TN_MAX_RANK], n[TN_MAX_RANK];
    tn__split_plain(t->m.k, k_linear, t->c.k_extent, t->c.k, k_index);
    tn__split_plain(t->m.k, column, t->c.n_extent, t->c.n, n);
    uint32_t mark = tn_access_mark(&t->m.access);
    tn_lx element = tn__tile_rhs(t, t->b_index, k_index, n, TN_LX_NONE);
    tn_access_release(&t->m.access, mark);
    return tn__load_address(t->m.k, element, buffer);
}

/* False where nothing can be fetched so: B is no plain rows, or the tiles are too few. */
static bool find_share(tn__tile *t, share *out) {
    tn_lx zero = tn_l_int(t->m.k, 0);
    int wide = 0;
    for (int i = 0; i < t->c.k; i++) wide += t->c.k_extent[i] != 1;
    if (wide != 1 || !t->s.rhs_unit || t->s.words) return false;
    if (address_of(t, zero, zero, &out->buffer) == TN_LX_NONE) return false;
    size_t size = tn_dtype_size(t->m.k->buffers.data[out->buffer].dtype);
    int64_t tiles = t->s.m_block / t->s.mr;
    out->step = LINE_BYTES / (int64_t)size;
    out->lines = (t->s.nr + out->step - 1) / out->step;
    for (out->groups = 1; 2 * out->groups * out->lines <= tiles;) out->groups *= 2;
    return tiles >= out->lines;
}

/* The panel that is packed after this one: the task's next one, else where the next task begins. */
static tn_lx panel_after(tn__tile *t, tn_lx panel) {
    tn_loop *k = t->m.k;
    tn_lx one = tn_l_int(k, 1), next = tn_l_add(k, panel, one);
    tn_lx first = tn_l_mul(k, t->tasks.range, t->tasks.panels);
    tn_lx end = tn_l_min(k, t->panels, tn_l_add(k, first, t->tasks.panels));
    tn_lx far = tn_l_min(k, next, tn_l_sub(k, t->panels, one));
    tn_lx more_rows = tn_l_lt(k, tn_l_add(k, t->tasks.block, one), t->tasks.blocks);
    tn_lx outside = t->s.rows_first ? far : tn_l_select(k, more_rows, first, far);
    return tn_l_select(k, tn_l_lt(k, next, end), next, outside);
}

void tn__prefetch_after(tn__tile *t, tn_lx panel, tn_lx more) {
    tn_loop *k = t->m.k;
    tn_lx next = panel_after(t, panel), zero = tn_l_int(k, 0);
    t->next.panel = next;
    t->next.first = zero;
    if (more == TN_LX_NONE) return;
    t->next.panel = tn_l_select(k, more, panel, next);
    t->next.first = tn_l_select(k, more, tn_l_add(k, t->k.first, tn__sums_packed(t)), zero);
}

void tn__prefetch_line(tn__tile *t, uint32_t rows, tn_lx m0, tn_lx k_linear) {
    tn_loop *k = t->m.k;
    share s;
    if (t->next.panel == TN_LX_NONE || rows != t->s.mr || !find_share(t, &s)) return;
    tn_lx one = tn_l_int(k, 1), step = t->k.cut ? tn_l_sub(k, k_linear, t->k.first) : k_linear;
    tn_lx part = tn__sums_packed(t), end = tn_l_add(k, t->next.first, part);
    tn_lx tile = tn_l_div(k, tn_l_sub(k, m0, t->first_row), tn_l_int(k, t->s.mr));
    tn_lx group = tn_l_div(k, tile, tn_l_int(k, s.lines));
    tn_lx line = tn_l_mod(k, tile, tn_l_int(k, s.lines));
    tn_lx row = tn_l_add(k, t->next.first, tn_l_mul(k, group, tn__ceil_div(k, part, s.groups)));
    row = tn_l_add(k, row, tn_l_div(k, step, tn_l_int(k, s.groups)));
    row = tn_l_min(k, row, tn_l_sub(k, tn_l_min(k, end, t->k_total), one));
    tn_lx column = tn_l_add(k, tn_l_mul(k, t->next.panel, tn_l_int(k, t->s.nr)),
                            tn_l_mul(k, line, tn_l_int(k, s.step)));
    column = tn_l_min(k, column, tn_l_sub(k, t->n_total, one));
    tn_l_prefetch(k, s.buffer, address_of(t, row, column, &s.buffer));
}

/* ---- prepared B ----------------------------------------------------------------------------- */

/* Where a cache still holds prepared B from the run before, asking ahead costs a few percent. */
static bool outgrows_caches(const tn__tile *t) {
    enum { CACHE_BYTES = 8 << 20 };
    int64_t panels, batch, line;
    const tn_loop *k = t->m.k;
    return tn_l_is_const_int(k, t->panels, &panels) &&
           tn_l_is_const_int(k, t->tasks.batch, &batch) &&
           tn_l_is_const_int(k, t->prepared.line, &line) &&
           (double)panels * (double)batch * (double)line * (double)tn_dtype_size(t->c.acc) >=
               CACHE_BYTES;
}

void tn__prefetch_prepared(tn__tile *t, tn_lx panel, tn_lx k_linear) {
    enum { AHEAD_BYTES = 16 << 10 };
    tn_loop *k = t->m.k;
    int64_t rows, size = (int64_t)tn_dtype_size(t->c.acc);
    if (t->s.rhs != TN_RHS_PREPARED || t->siblings.len || !outgrows_caches(t)) return;
    if (!tn_l_is_const_int(k, t->tasks.rows, &rows) || rows > t->s.mr) return;
    tn_lx line = tn_l_add(k, tn_l_mul(k, t->b_linear, t->panels), panel);
    tn_lx at = tn_l_add(k, tn_l_mul(k, line, t->prepared.line),
                        tn_l_mul(k, k_linear, tn_l_int(k, t->s.nr)));
    for (int64_t byte = AHEAD_BYTES; byte < AHEAD_BYTES + t->s.nr * size; byte += LINE_BYTES)
        tn_l_prefetch(k, t->packed, tn_l_add(k, at, tn_l_int(k, byte / size)));
}

/* ---- what the epilogue reads ---------------------------------------------------------------- */

typedef struct tn__reads {
    TN_VEC(tn_value) value;
    TN_VEC(tn_lx) offset;
} tn__reads;

tn_lx tn__note_read(tn__tile *t, tn_value v, const tn_lx *index) {
    tn_arena *arena = t->m.context->arena;
    tn_lx offset = tn_maker_offset(&t->m, v, index);
    bool known = false;
    for (uint32_t i = 0; i < t->reads->value.len && !known; i++)
        known = t->reads->value.data[i] == v && t->reads->offset.data[i] == offset;
    if (!known) {
        tn_vec_push(arena, &t->reads->value, v);
        tn_vec_push(arena, &t->reads->offset, offset);
    }
    return tn_l_number(t->m.k, tn_maker_dtype(&t->m, v), 0);
}

/* The elements that the epilogue reads at (row, column). */
static void find_reads(tn__tile *t, tn_lx row, tn_lx column, tn__reads *out) {
    tn_loop *k = t->m.k;
    tn_lx m[TN_MAX_RANK], n[TN_MAX_RANK];
    tn_merge_probe unused = {.k = k, .arena = t->m.context->arena};
    tn__split_axes(k, row, t->c.m_extent, t->c.m, t->merged_m, m);
    tn__split_plain(k, column, t->c.n_extent, t->c.n, n);
    tn__tile_point(t, m, n);
    t->probe = &unused;
    t->reads = out;
    tn__epilogue_point(t, tn_l_number(k, t->c.acc, 0), TN_LX_NONE, TN_LX_NONE);
    t->reads = NULL;
    t->probe = NULL;
}

/* Whether an address changes with an index; one that is constant counts as changing it. */
static bool follows(tn_loop *k, tn_lx offset, tn_lx index) {
    const tn_lexpr *x = tn_l_expr(k, index);
    return x->kind != TN_LX_VAR || tn_l_uses_var(k, offset, x->index);
}

bool tn__epilogue_reads(tn__tile *t) {
    enum { LEAST_K = 128 }; /* of products, beside which asking is nothing */
    tn_loop *k = t->m.k;
    int64_t total;
    if (tn_l_is_const_int(k, t->k_total, &total) && total < LEAST_K) return false;
    tn__reads reads = {0};
    tn_lx zero = tn_l_int(k, 0), rows = tn__tile_product(k, t->c.m_extent, t->c.m);
    for (int i = 0; i < t->c.b; i++) t->b_index[i] = zero;
    tn_lx row = tn_l_for(k, TN_LOOP_SERIAL, zero, rows, "row");
    tn_lx column = tn_l_for(k, TN_LOOP_SERIAL, zero, t->n_total, "column");
    find_reads(t, row, column, &reads);
    for (uint32_t i = 0; i < reads.value.len; i++)
        if (follows(k, reads.offset.data[i], row) && follows(k, reads.offset.data[i], column))
            return true;
    return false;
}

void tn__prefetch_epilogue(tn__tile *t, uint32_t rows, tn_lx m0, tn_lx n0) {
    tn_loop *k = t->m.k;
    if (!t->next.epilogue) return;
    int64_t step = LINE_BYTES / (int64_t)tn_dtype_size(t->c.acc);
    tn_lx zero = tn_l_int(k, 0), lines = tn_l_int(k, (t->s.nr + step - 1) / step);
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_int(k, rows), "i");
    tn_lx line = tn_l_for(k, TN_LOOP_UNROLL, zero, lines, "line");
    tn_lx column = tn_l_add(k, n0, tn_l_mul(k, line, tn_l_int(k, step)));
    if (!tn__columns_exact(t))
        column = tn_l_min(k, column, tn_l_sub(k, t->n_total, tn_l_int(k, 1)));
    tn__reads reads = {0};
    find_reads(t, tn_l_add(k, m0, i), column, &reads);
    for (uint32_t r = 0; r < reads.value.len; r++) {
        tn_lx at = reads.offset.data[r];
        if (follows(k, at, i) && follows(k, at, line))
            tn_l_prefetch(k, tn_maker_buffer(&t->m, reads.value.data[r], TN_LBUF_INPUT), at);
    }
    tn_l_end(k);
    tn_l_end(k);
}
