/* Contractions: rows of the left operand that a group of rows makes (a norm, a softmax). A task evaluates
 * the folds of each of its rows level by level and then the row, into scratch; see rows.h. */
#include "codegen/contraction.h"
#include "codegen/rows.h"

/* Where a product reads what the group makes. */
typedef struct read_point {
    tn_value v;
    tn_lx index[TN_MAX_RANK];
} read_point;

static tn_lx read_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    read_point *p = a->context;
    const tn_type *type = tn_graph_type(a->emit.graph, v);
    if (v == p->v) memcpy(p->index, index, (size_t)type->shape.rank * sizeof *index);
    return tn_l_number(a->emit.k, type->dtype, 0);
}

/* Sets the row axes of r's current point to where the product reads row m; folded ones stay at 0. */
static void point_of_row(tn__tile *t, tn__rows *r, tn_value v, const tn_lx *m) {
    read_point p = {.v = v};
    tn_access a;
    tn_access_init(&a, t->m.k, t->m.grouping, t->m.context->arena);
    a.leaf = read_leaf;
    a.context = &p;
    tn_lx zero[TN_MAX_RANK], index[TN_MAX_RANK], guard = TN_LX_NONE;
    for (int i = 0; i < TN_MAX_RANK; i++) zero[i] = tn_l_int(t->m.k, 0);
    t->rules->lhs(&a.emit, t->node, t->b_index, m, zero, index, &guard);
    a.emit.operand(&a.emit, t->node, 0, index);
    const tn_member *made = tn__rows_member(r, tn_graph_value(t->m.graph, v)->node);
    for (int i = 0; i < tn__rows_type(r, v)->shape.rank; i++)
        if (made->axis[i] >= 0 && !r->m.group->space.folded[made->axis[i]])
            r->at[made->axis[i]] = p.index[i];
}

void tn__stage_prologue(tn__tile *t, tn_lx lo, tn_lx hi) {
    tn_loop *k = t->m.k;
    bool merged[TN_MAX_RANK];
    tn__rows r;
    tn__rows_find_merges(t->m.context, t->m.group->prologue, true, merged);
    tn__rows_init(&r, t->m.context, t->m.group->prologue, &t->m, merged);
    tn__rows_find_keeps(&r);
    tn__rows_make_registers(&r, r.s.lanes * r.s.unroll);
    tn_lx row = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "row"), m[TN_MAX_RANK];
    tn__split_axes(k, row, t->c.m_extent, t->c.m, t->merged_m, m);
    point_of_row(t, &r, r.m.group->stores.data[0], m);
    r.staged.is = true;
    r.staged.to = t->stage;
    r.staged.base = tn__stage_row(t, tn_l_sub(k, row, t->first_row));
    tn__rows_run_folded(&r, 1);
    tn_l_end(k);
}
