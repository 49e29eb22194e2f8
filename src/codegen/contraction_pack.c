/* Contractions: operands that are put in order before the tiles read them. */
#include "codegen/contraction.h"
#include "codegen/pack_turned.h"

typedef struct panel_element {
    tn__tile *t;
    tn_lx panel, k_index[TN_MAX_RANK];
} panel_element;

static tn_lx panel_at(void *context, tn_lx x, tn_lx j) {
    panel_element *e = context;
    tn__tile *t = e->t;
    tn_lx n[TN_MAX_RANK],
        col = tn_l_add(t->m.k, tn_l_mul(t->m.k, e->panel, tn_l_int(t->m.k, t->s.nr)), j);
    tn__split_plain(t->m.k, col, t->c.n_extent, t->c.n, n);
    e->k_index[t->c.k - 1] = x;
    uint32_t mark = tn_access_mark(&t->m.access);
    tn_lx valid = tn__columns_exact(t) ? TN_LX_NONE : tn_l_lt(t->m.k, col, t->n_total);
    tn_lx value = tn__tile_rhs(t, t->b_index, e->k_index, n, valid);
    tn_access_release(&t->m.access, mark);
    return value;
}

/* The last k axis in tiles, loops over the others. */
static void pack_panel_turned(tn__tile *t, tn_lx panel, uint32_t to, tn_lx base) {
    tn_loop *k = t->m.k;
    panel_element e = {.t = t, .panel = panel};
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
                        .lanes = t->s.lanes,
                        .nr = t->s.nr,
                        .to = to,
                        .count = tn_l_dim(k, t->c.k_extent[last]),
                        .element = panel_at,
                        .context = &e};
    tn_lx before = tn_l_mul(k, tn_l_mul(k, linear, p.count), tn_l_int(k, t->s.nr));
    p.base = tn_l_add(k, base, before);
    tn_pack_turned(&p);
    tn__close_loops(k, opened);
}

/* One panel of B, columns past the end as zero; element (k, j) goes to `base` + k*nr + j of `to`.
 */
void tn__pack_panel(tn__tile *t, tn_lx panel, uint32_t to, tn_lx base) {
    tn_loop *k = t->m.k;
    if (t->turned) {
        pack_panel_turned(t, panel, to, base);
        return;
    }
    tn_lx nr = tn_l_int(k, t->s.nr), k_index[TN_MAX_RANK], k_linear, n[TN_MAX_RANK];
    bool apart[TN_MAX_RANK] = {false}; /* B need not be linear where A is */
    int opened = tn__open_k(t, apart, k_index, &k_linear);
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
