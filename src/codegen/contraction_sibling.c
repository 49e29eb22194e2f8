/* Several products in one kernel whose results meet in its epilogue, as silu(x·W1)∘(x·W2) or a·b + c·d.
 *
 *   for each panel of nr columns:  for each anchor but the last:  sums[rows of the task][nr] = A·B
 *     for each tile of mr rows:    acc = A·B of the last one
 *                                  epilogue on the tile and the sums, stores
 *
 * Each product has all registers of the tile and its panel in the cache, as if alone; the sums, some tens
 * of kilobytes, are written and read once beside K products per element. */
#include "codegen/contraction.h"

/* Whether both read the same elements at the same (batch, row, k). */
static bool same_lhs(const tn__tile *t, uint32_t number) {
    tn__tile a, b;
    tn__tile_init(&a, t->m.context, t->m.group_id, "analysis");
    memset(&b, 0, sizeof b);
    tn_maker_init_inside(&b.m, &a.m, t->m.group_id);
    tn__tile_set_anchor(&b, number);
    bool same = a.node->in[0] == b.node->in[0] && a.c.k == b.c.k;
    for (int i = 0; same && i < a.c.k; i++) same = a.c.k_extent[i] == b.c.k_extent[i];
    if (!same) return false;
    const tn_dim *extent[] = {a.c.b_extent, a.c.m_extent, a.c.k_extent};
    int count[] = {a.c.b, a.c.m, a.c.k};
    tn_lx var[3][TN_MAX_RANK], at_a[TN_MAX_RANK], at_b[TN_MAX_RANK];
    tn_lx guard_a = TN_LX_NONE, guard_b = TN_LX_NONE, zero = tn_l_int(a.m.k, 0);
    for (int kind = 0; kind < 3; kind++)
        for (int i = 0; i < count[kind]; i++)
            var[kind][i] =
                tn_l_for(a.m.k, TN_LOOP_SERIAL, zero, tn_l_dim(a.m.k, extent[kind][i]), "p");
    a.rules->lhs(&a.m.access.emit, a.node, var[0], var[1], var[2], at_a, &guard_a);
    b.rules->lhs(&b.m.access.emit, b.node, var[0], var[1], var[2], at_b, &guard_b);
    for (int i = 0; i < tn_node_type(t->m.graph, a.node, 0)->shape.rank; i++)
        same &= at_a[i] == at_b[i];
    return same && guard_a == guard_b;
}

void tn__place_prepared(tn__tile *t) {
    tn_loop *k = t->m.k;
    tn_lx line = tn_l_int(k, 0);
    for (uint32_t i = 0; i <= t->siblings.len; i++) {
        tn__tile *own = i < t->siblings.len ? &t->siblings.data[i]->tile : t;
        own->prepared.before = line;
        if (own->s.rhs == TN_RHS_PREPARED)
            line = tn_l_add(k, line, tn_l_mul(k, own->k_total, tn_l_int(k, own->s.nr)));
    }
    for (uint32_t i = 0; i <= t->siblings.len; i++)
        (i ? &t->siblings.data[i - 1]->tile : t)->prepared.line = line;
}

tn__sibling *tn__sibling_open(tn__tile *t, uint32_t number) {
    tn__sibling *s = TN_NEW(t->m.context->arena, tn__sibling);
    tn_maker_init_inside(&s->tile.m, &t->m, t->m.group_id);
    tn__tile_set_anchor(&s->tile, number);
    tn_vec_push(t->m.context->arena, &t->siblings, s);
    return s;
}

void tn__sibling_declare(tn__tile *t, tn__sibling *s, uint32_t number) {
    tn_loop *k = t->m.k;
    tn__tile *own = &s->tile;
    tn_lx rows = tn_l_int(k, own->s.m_block);
    own->acc = t->acc;
    s->sums = tn_l_scratch(k, own->c.acc, tn_l_mul(k, rows, tn_l_int(k, own->s.nr)), "sums");
    if (own->s.lhs != TN_LHS_ELEMENT)
        own->row = t->s.lhs != TN_LHS_ELEMENT ? t->row : tn_l_register(k, TN_i64, own->s.mr, "row");
    if (own->s.lhs != TN_LHS_STAGED) return;
    s->same_rows =
        t->s.lhs == TN_LHS_STAGED && t->stage_turned == own->stage_turned && same_lhs(t, number);
    own->stage = s->same_rows
                     ? t->stage
                     : tn_l_scratch(k, own->c.acc, tn_l_mul(k, own->k_total, rows), "rows");
}

void tn__siblings_begin(tn__tile *t, tn_lx lo, tn_lx hi) {
    for (uint32_t i = 0; i < t->siblings.len; i++) {
        tn__sibling *s = t->siblings.data[i];
        s->tile.tasks.rows = t->tasks.rows;
        s->tile.first_row = t->first_row;
        s->tile.b_linear = t->b_linear;
        memcpy(s->tile.b_index, t->b_index, sizeof t->b_index);
        if (s->tile.s.lhs == TN_LHS_STAGED && !s->same_rows) tn__stage_lhs(&s->tile, lo, hi);
    }
}

/* ---- sums ----------------------------------------------------------------------------------- */

typedef struct sibling_panel {
    tn__sibling *s;
    tn_lx panel;
} sibling_panel;

static tn_lx sums_of_row(const tn__tile *t, tn_lx row) {
    tn_loop *k = t->m.k;
    return tn_l_mul(k, tn_l_sub(k, row, t->first_row), tn_l_int(k, t->s.nr));
}

static void run_tile(void *context, uint32_t rows, tn_lx m0) {
    const sibling_panel *p = context;
    tn__tile *t = &p->s->tile;
    tn__tile_multiply(t, rows, m0, p->panel);
    tn__tile_spill(t, rows, p->s->sums, sums_of_row(t, m0), tn_l_int(t->m.k, t->s.nr));
}

void tn__siblings_run(tn__tile *t, tn_lx lo, tn_lx hi, tn_lx panel) {
    for (uint32_t i = 0; i < t->siblings.len; i++) {
        sibling_panel p = {t->siblings.data[i], panel};
        tn__tile *own = &p.s->tile;
        if (own->s.rhs == TN_RHS_PACKED)
            tn__pack_panel(own, panel, own->packed, tn_l_int(t->m.k, 0));
        tn__row_tiles(t->m.k, own->s.mr, lo, hi, own->tasks.rows, run_tile, &p);
    }
}

void tn__siblings_define(tn__tile *t, tn_lx row, tn_lx lane) {
    tn_loop *k = t->m.k;
    for (uint32_t i = 1; i < tn_group_anchors(t->m.group); i++) {
        tn_lx value = tn_l_number(k, t->c.acc, 0);
        if (row != TN_LX_NONE)
            value = tn_l_load(k, t->siblings.data[i - 1]->sums,
                              tn_l_add(k, sums_of_row(t, row), lane), TN_LX_NONE, TN_LX_NONE);
        tn_access_define(&t->m.access, tn_group_anchor(t->m.group, i).domain_value, t->at, value);
    }
}
