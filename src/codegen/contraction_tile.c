/* Contractions: the register tile and its epilogue. */
#include "codegen/contraction.h"

/* ---- epilogue ------------------------------------------------------------------------------- */

const tn_member *tn__tile_member(const tn__tile *t, tn_value v) {
    tn_node node = tn_graph_value(t->m.graph, v)->node;
    for (uint32_t i = 0; i < t->m.group->members.len; i++)
        if (t->m.group->members.data[i].node == node && !tn_group_has_anchor(t->m.group, node))
            return &t->m.group->members.data[i];
    return NULL;
}

void tn__epilogue_point(tn__tile *t, tn_lx acc, tn_lx row, tn_lx lane) {
    uint32_t mark = tn_access_mark(&t->m.access);
    tn_access_define(&t->m.access, t->anchor.domain_value, t->at, acc);
    tn__siblings_define(t, row, lane);
    for (uint32_t i = 0; i < t->m.group->stores.len; i++) {
        tn_value v = t->m.group->stores.data[i];
        const tn_type *type = tn_graph_type(t->m.graph, v);
        tn_lx index[TN_MAX_RANK];
        const tn_member *m = tn__tile_member(t, v);
        if (m && m->along != TN_ALONG_SPACE) continue; /* stored by tn__folds_finish */
        for (int j = 0; j < type->shape.rank; j++)
            index[j] = !m ? t->at[j] : m->axis[j] >= 0 ? t->at[m->axis[j]] : tn_l_int(t->m.k, 0);
        tn_lx value = tn_access_value(&t->m.access, v, index);
        if (t->probe) {
            tn_vec_push(t->probe->arena, &t->probe->offsets, tn_maker_offset(&t->m, v, index));
            tn_vec_push(t->probe->arena, &t->probe->values, value);
        } else {
            tn_maker_store(&t->m, v, index, value);
        }
    }
    tn__fold_point(t, row, lane);
    tn_access_release(&t->m.access, mark);
}

bool tn__columns_exact(const tn__tile *t) {
    int64_t n;
    return tn_l_is_const_int(t->m.k, t->n_total, &n) && n % t->s.nr == 0;
}

void tn__tile_store_row(tn__tile *t, const tn_lx *m, tn_lx row, tn_lx first, tn_lx n0) {
    tn_loop *k = t->m.k;
    tn_lx n[TN_MAX_RANK];
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, t->s.nr), "j");
    tn_lx col = tn_l_add(k, n0, j), at = tn_l_add(k, first, j);
    bool masked = !tn__columns_exact(t);
    if (masked) tn_l_if(k, tn_l_lt(k, col, t->n_total));
    tn__split_plain(k, col, t->c.n_extent, t->c.n, n);
    tn__tile_point(t, m, n);
    tn__epilogue_point(t,
                       t->s.staged_epilogue ? tn_l_load(k, t->scratch, at, TN_LX_NONE, TN_LX_NONE)
                                            : tn_l_get(k, t->acc, at),
                       row, j);
    if (masked) tn_l_end(k);
    tn_l_end(k);
}

static void epilogue(tn__tile *t, uint32_t rows, tn_lx m0, tn_lx n0) {
    tn_loop *k = t->m.k;
    tn_lx zero = tn_l_int(k, 0), nr = tn_l_int(k, t->s.nr), m[TN_MAX_RANK];
    if (t->s.staged_epilogue) tn__tile_spill(t, rows, t->scratch, zero, nr);
    tn_loop_kind kind = t->s.staged_epilogue ? TN_LOOP_SERIAL : TN_LOOP_UNROLL;
    tn_lx i = tn_l_for(k, kind, zero, tn_l_int(k, rows), "i"), row = tn_l_add(k, m0, i);
    tn__split_axes(k, row, t->c.m_extent, t->c.m, t->merged_m, m);
    tn__tile_store_row(t, m, row, tn_l_mul(k, i, nr), n0);
    tn_l_end(k);
}

/* ---- the tile ------------------------------------------------------------------------------- */

void tn__tile_clear(tn__tile *t, uint32_t rows) {
    tn_loop *k = t->m.k;
    tn_lx zero = tn_l_int(k, 0), nr = tn_l_int(k, t->s.nr);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, tn_l_int(k, rows), "i");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j");
    tn_l_set(k, t->acc, tn_l_add(k, tn_l_mul(k, i, nr), j), tn_l_number(k, t->c.acc, 0));
    tn_l_end(k);
    tn_l_end(k);
}

void tn__tile_add(tn__tile *t, tn_lx i, tn_lx j, tn_lx a, tn_lx b) {
    tn_loop *k = t->m.k;
    tn_lx at = tn_l_add(k, tn_l_mul(k, i, tn_l_int(k, t->s.nr)), j);
    tn_scalar_op op = t->s.words ? TN_S_dot4 : TN_S_mad;
    tn_l_set(k, t->acc, at, tn_l_op3(k, op, a, b, tn_l_get(k, t->acc, at)));
}

void tn__tile_spill(tn__tile *t, uint32_t rows, uint32_t to, tn_lx first, tn_lx stride) {
    tn_loop *k = t->m.k;
    tn_lx zero = tn_l_int(k, 0), nr = tn_l_int(k, t->s.nr);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, tn_l_int(k, rows), "i");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j");
    tn_lx row = tn_l_add(k, first, tn_l_mul(k, i, stride));
    tn_l_store(k, to, tn_l_add(k, row, j), tn_l_get(k, t->acc, tn_l_add(k, tn_l_mul(k, i, nr), j)));
    tn_l_end(k);
    tn_l_end(k);
}

int tn__open_k(tn__tile *t, const bool *merged, tn_lx *index, tn_lx *linear) {
    tn_loop *k = t->m.k;
    tn_loop_kind kind = t->s.flat_k && !t->k.cut ? TN_LOOP_UNROLL : TN_LOOP_SERIAL;
    int opened = 0;
    tn_lx run = tn_l_int(k, 1);
    *linear = tn_l_int(k, 0);
    for (int i = 0; i < t->c.k; i++) {
        index[i] = tn_l_int(k, 0);
        run = tn_l_mul(k, run, tn_l_dim(k, t->c.k_extent[i]));
        if (merged[i]) continue;
        int64_t one;
        if (!tn_l_is_const_int(k, run, &one) || one != 1) {
            bool part = t->k.cut && opened == 0;
            index[i] =
                tn_l_for(k, kind, part ? t->k.lo : tn_l_int(k, 0), part ? t->k.hi : run, "k");
            opened++;
        }
        *linear = tn_l_add(k, tn_l_mul(k, *linear, run), index[i]);
        run = tn_l_int(k, 1);
    }
    return opened;
}

void tn__close_loops(tn_loop *k, int n) {
    for (int i = 0; i < n; i++) tn_l_end(k);
}

static void zeros(tn_loop *k, tn_lx *index) {
    for (int i = 0; i < TN_MAX_RANK; i++) index[i] = tn_l_int(k, 0);
}

/* The address part that depends on k: the address at (0, 0, k) less the address at the origin. */
static tn_lx k_address(tn__tile *t, const tn_lx *k_index) {
    tn_lx zero[TN_MAX_RANK];
    uint32_t buffer = 0;
    zeros(t->m.k, zero);
    tn_lx here = tn__load_address(t->m.k, tn__tile_lhs(t, zero, zero, k_index), &buffer);
    tn_lx origin = tn__load_address(t->m.k, tn__tile_lhs(t, zero, zero, zero), &buffer);
    TN_ASSERT(here != TN_LX_NONE && origin != TN_LX_NONE);
    return tn_l_sub(t->m.k, here, origin);
}

static tn_lx row_address(tn__tile *t, tn_lx row) {
    tn_loop *k = t->m.k;
    tn_lx m[TN_MAX_RANK], zero[TN_MAX_RANK];
    uint32_t buffer = 0;
    if (t->s.lhs == TN_LHS_STAGED) return tn__stage_row(t, tn_l_sub(k, row, t->first_row));
    zeros(k, zero);
    tn__split_axes(k, row, t->c.m_extent, t->c.m, t->merged_m, m);
    return tn__load_address(k, tn__tile_lhs(t, t->b_index, m, zero), &buffer);
}

void tn__row_addresses(tn__tile *t, uint32_t rows, tn_lx m0) {
    tn_loop *k = t->m.k;
    if (t->s.lhs == TN_LHS_ELEMENT) return;
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, tn_l_int(k, 0), tn_l_int(k, rows), "i");
    tn_l_set(k, t->row, i, row_address(t, tn_l_add(k, m0, i)));
    tn_l_end(k);
}

tn_lx tn__lhs_k_part(tn__tile *t, const tn_lx *k_index, tn_lx k_linear) {
    return t->s.lhs == TN_LHS_DIRECT   ? k_address(t, k_index)
           : t->s.lhs == TN_LHS_STAGED ? tn__stage_k(t, k_linear)
                                       : TN_LX_NONE;
}

tn_lx tn__lhs_element(tn__tile *t, tn_lx i, tn_lx m0, const tn_lx *k_index, tn_lx k_part) {
    tn_loop *k = t->m.k;
    if (t->s.lhs == TN_LHS_ELEMENT) {
        tn_lx m[TN_MAX_RANK];
        tn__split_axes(k, tn_l_add(k, m0, i), t->c.m_extent, t->c.m, t->merged_m, m);
        return tn_l_let(k, tn__tile_lhs(t, t->b_index, m, k_index));
    }
    return tn__lhs_at(t, tn_l_add(k, tn_l_get(k, t->row, i), k_part));
}

tn_lx tn__lhs_at(tn__tile *t, tn_lx address) {
    tn_loop *k = t->m.k;
    uint32_t buffer =
        t->s.lhs == TN_LHS_STAGED ? t->stage : tn_maker_buffer(&t->m, t->a_leaf, TN_LBUF_INPUT);
    return tn_l_cast(k, tn_l_load(k, buffer, address, TN_LX_NONE, TN_LX_NONE), t->c.acc, false);
}

tn_lx tn__rhs_element(tn__tile *t, const tn_lx *k_index, tn_lx k_linear, tn_lx panel, tn_lx j) {
    tn_loop *k = t->m.k;
    tn_lx nr = tn_l_int(k, t->s.nr);
    if (t->s.rhs == TN_RHS_PREPARED) {
        tn_lx line = tn_l_add(k, tn_l_mul(k, t->b_linear, t->panels), panel);
        tn_lx at = tn_l_add(k, tn_l_mul(k, line, t->prepared.line), t->prepared.before);
        return tn_l_load(k, t->packed, tn_l_add(k, at, tn_l_add(k, tn_l_mul(k, k_linear, nr), j)),
                         TN_LX_NONE, TN_LX_NONE);
    }
    if (t->k.cut && t->s.rhs == TN_RHS_PACKED) k_linear = tn_l_sub(k, k_linear, t->k.first);
    if (t->s.rhs == TN_RHS_PACKED || t->s.rhs == TN_RHS_UNPACKED)
        return tn_l_load(k, t->packed, tn_l_add(k, tn_l_mul(k, k_linear, nr), j), TN_LX_NONE,
                         TN_LX_NONE);
    tn_lx n[TN_MAX_RANK], col = tn_l_add(k, tn_l_mul(k, panel, nr), j);
    tn__split_plain(k, col, t->c.n_extent, t->c.n, n);
    return tn__tile_rhs(t, t->b_index, k_index, n,
                        tn__columns_exact(t) ? TN_LX_NONE : tn_l_lt(k, col, t->n_total));
}

void tn__tile_multiply(tn__tile *t, uint32_t rows, tn_lx m0, tn_lx panel) {
    tn__tile_clear(t, rows);
    tn__tile_add_products(t, rows, m0, panel);
}

void tn__tile_add_products(tn__tile *t, uint32_t rows, tn_lx m0, tn_lx panel) {
    tn_loop *k = t->m.k;
    tn_lx zero = tn_l_int(k, 0), nr = tn_l_int(k, t->s.nr);
    tn__row_addresses(t, rows, m0);
    tn_lx k_index[TN_MAX_RANK], k_linear;
    int opened = 1;
    if (t->s.words)
        k_linear = k_index[0] = tn_l_for(k, TN_LOOP_SERIAL, zero, t->k_total, "k");
    else
        opened = tn__open_k(t, t->merged_k, k_index, &k_linear);
    if (opened == 1) tn__prefetch_line(t, rows, m0, k_linear);
    if (opened == 1) tn__prefetch_prepared(t, panel, k_linear);
    uint32_t mark = tn_access_mark(&t->m.access);
    tn_lx k_part = tn__lhs_k_part(t, k_index, k_linear);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, tn_l_int(k, rows), "i");
    tn_lx a = tn__lhs_element(t, i, m0, k_index, k_part);
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j");
    tn__tile_add(t, i, j, a, tn__rhs_element(t, k_index, k_linear, panel, j));
    tn_l_end(k);
    tn_l_end(k);
    tn_access_release(&t->m.access, mark);
    tn__close_loops(k, opened);
}

typedef struct panel_rows {
    tn__tile *t;
    tn_lx panel;
} panel_rows;

static void run_tile(void *context, uint32_t rows, tn_lx m0) {
    const panel_rows *p = context;
    tn__tile *t = p->t;
    tn_lx n0 = tn_l_mul(t->m.k, p->panel, tn_l_int(t->m.k, t->s.nr));
    if (!tn__sums_cut(t)) tn__prefetch_epilogue(t, rows, m0, n0);
    if (tn__sums_cut(t))
        tn__sums_gather(t, rows, m0, p->panel);
    else if (t->s.rhs == TN_RHS_RAW)
        tn__weights_multiply(t, rows, m0, p->panel);
    else
        tn__tile_multiply(t, rows, m0, p->panel);
    epilogue(t, rows, m0, n0);
}

void tn__run_rows(tn__tile *t, tn_lx lo, tn_lx hi, tn_lx m_total, tn_lx panel) {
    panel_rows p = {t, panel};
    tn__row_tiles(t->m.k, t->s.mr, lo, hi, m_total, run_tile, &p);
}

/* The greatest power of two below mr; 0: there is none. */
static uint32_t rest_rows(uint32_t mr) {
    uint32_t rows = 1;
    while (2 * rows < mr) rows *= 2;
    return mr > 1 ? rows : 0;
}

/* Full tiles of `count` rows: one less where what is left then is two tiles of `half` rows, which pass
 * the panel no more often than the full one and its small rest, and are better filled. */
static tn_lx full_tiles(tn_loop *k, tn_lx count, uint32_t mr, uint32_t half) {
    tn_lx height = tn_l_int(k, mr), tiles = tn_l_div(k, count, height);
    if (2 * half <= mr) return tiles;
    tn_lx one = tn_l_int(k, 1), rest = tn_l_mod(k, count, height), two = tn_l_int(k, 2 * half - mr);
    tn_lx even = tn_l_and(k, tn_l_le(k, two, rest), tn_l_le(k, rest, two));
    return tn_l_select(k, tn_l_and(k, even, tn_l_le(k, one, tiles)), tn_l_sub(k, tiles, one),
                       tiles);
}

/* Rows [lo, hi), as many as the kernel is told. */
static void open_row_tiles(tn_loop *k, uint32_t mr, tn_lx lo, tn_lx hi, tn__row_tile_work *work,
                           void *context) {
    uint32_t half = rest_rows(mr);
    tn_lx count = tn_l_sub(k, hi, lo), height = tn_l_int(k, mr), zero = tn_l_int(k, 0);
    tn_lx tiles = full_tiles(k, count, mr, half);
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, zero, tiles, "tile");
    work(context, mr, tn_l_add(k, lo, tn_l_mul(k, i, height)));
    tn_l_end(k);
    if (!half) return;
    tn_lx first = tn_l_add(k, lo, tn_l_mul(k, tiles, height)), rest = tn_l_sub(k, hi, first);
    tn_lx step = tn_l_int(k, half);
    i = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_div(k, rest, step), "tile");
    work(context, half, tn_l_add(k, first, tn_l_mul(k, i, step)));
    tn_l_end(k);
    for (uint32_t rows = half / 2; rows > 0; rows /= 2) {
        tn_lx here = tn_l_mod(k, rest, tn_l_int(k, 2 * rows));
        tn_l_if(k, tn_l_le(k, tn_l_int(k, rows), here));
        work(context, rows, tn_l_sub(k, hi, here));
        tn_l_end(k);
    }
}

void tn__row_tiles(tn_loop *k, uint32_t mr, tn_lx lo, tn_lx hi, tn_lx m_total,
                   tn__row_tile_work *work, void *context) {
    int64_t known;
    if (!tn_l_is_const_int(k, m_total, &known)) {
        open_row_tiles(k, mr, lo, hi, work, context);
        return;
    }
    tn_lx count = tn_l_sub(k, hi, lo), height = tn_l_int(k, mr);
    if (known >= mr) {
        tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), tn_l_div(k, count, height), "tile");
        work(context, mr, tn_l_add(k, lo, tn_l_mul(k, i, height)));
        tn_l_end(k);
    }
    if (known % mr == 0) return;
    uint32_t rows = (uint32_t)(known % mr);
    tn_l_if(k, tn_l_lt(k, tn_l_int(k, 0), tn_l_mod(k, count, height)));
    work(context, rows, tn_l_sub(k, hi, tn_l_int(k, rows)));
    tn_l_end(k);
}
