/* Rows in the mainloop: a group of rows that only the left operands of products read (a norm, a softmax)
 * is evaluated by the tasks of these products, each for its own rows, and has no kernel of its own.
 *
 * It must fold exactly what the products contract, so that a row of the operand is a row of the group.
 * As everywhere, that is found by emitting index arithmetic: with one variable per axis of the product,
 * the folded axes are read at the contracted variables, in order, and all others without them. */
#include "schedule/group_inner.h"

/* ---- is a row of the operand a row of the group? -------------------------------------------- */

typedef struct reading {
    const tn_grouping *p;
    tn_loop loop;
    tn_access access;
    tn_value v; /* what the rows make */
    tn_lx index[TN_MAX_RANK], result;
    bool seen;
} reading;

static tn_lx reading_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    reading *r = a->context;
    const tn_type *type = tn_graph_type(r->p->graph, v);
    uint32_t buffer = tn_l_buffer(&r->loop, TN_LBUF_INPUT, type->dtype, "leaf");
    tn_lx value = tn_l_load(&r->loop, buffer, tn_l_int(&r->loop, 0), TN_LX_NONE, TN_LX_NONE);
    if (tn_group_storage(r->p, v) != r->v) return value;
    r->seen = true;
    r->result = v == r->v ? value : TN_LX_NONE; /* a stored view of v is not what is wanted */
    if (v == r->v) memcpy(r->index, index, (size_t)type->shape.rank * sizeof *index);
    return value;
}

static void reading_init(reading *r, const tn_grouping *p, tn_value v) {
    *r = (reading){.p = p, .v = v};
    tn_arena *arena = tn__probe_arena(p);
    tn_loop_init(&r->loop, arena, p->graph->dims, "reading");
    tn_access_init(&r->access, &r->loop, p, arena);
    r->access.leaf = reading_leaf;
    r->access.context = r;
}

static void open_axes(reading *r, const tn_dim *extent, int count, tn_lx *var) {
    tn_lx zero = tn_l_int(&r->loop, 0);
    for (int i = 0; i < count; i++) {
        var[i] = zero;
        if (extent[i] != 1)
            var[i] = tn_l_for(&r->loop, TN_LOOP_SERIAL, zero, tn_l_dim(&r->loop, extent[i]), "i");
    }
}

static bool uses_any(reading *r, tn_lx e, const tn_lx *var, int count) {
    for (int i = 0; i < count; i++)
        if (tn_l_expr(&r->loop, var[i])->kind == TN_LX_VAR &&
            tn_l_uses_var(&r->loop, e, tn_l_expr(&r->loop, var[i])->index))
            return true;
    return false;
}

/* Whether the index of v has the folded axes at the contracted variables and the others free of them. */
static bool is_row(reading *r, const tn_group *rows, const tn_member *m, const tn_contraction *c,
                   const tn_lx *k) {
    const tn_shape *s = &tn_graph_type(r->p->graph, r->v)->shape;
    int next = 0;
    for (int i = 0; i < s->rank; i++) {
        if (s->dim[i] == 1) continue;
        while (next < c->k && c->k_extent[next] == 1) next++;
        if (!rows->space.folded[m->axis[i]]) {
            if (uses_any(r, r->index[i], k, c->k)) return false;
        } else if (next == c->k || r->index[i] != k[next++]) {
            return false;
        }
    }
    while (next < c->k && c->k_extent[next] == 1) next++;
    return next == c->k;
}

/* Whether product `n` reads v, made by member m of `rows`, as its left operand, row by row, and not as
 * the right one. */
static bool reads_rows(const tn_grouping *p, const tn_group *rows, const tn_member *m, tn_value v,
                       tn_node n) {
    const tn_node_info *info = tn_graph_node(p->graph, n);
    const tn_contraction_rules *rules = tn__lower_of(p->graph, n)->contraction;
    tn_contraction c;
    rules->describe(p->graph, info, &c);
    reading r;
    reading_init(&r, p, v);
    tn_emit *e = &r.access.emit;
    tn_lx b[TN_MAX_RANK], i[TN_MAX_RANK], j[TN_MAX_RANK], k[TN_MAX_RANK], index[TN_MAX_RANK];
    open_axes(&r, c.b_extent, c.b, b);
    open_axes(&r, c.m_extent, c.m, i);
    open_axes(&r, c.n_extent, c.n, j);
    open_axes(&r, c.k_extent, c.k, k);
    tn_lx guard = TN_LX_NONE;
    rules->rhs(e, info, b, k, j, index, &guard);
    e->operand(e, info, 1, index);
    if (r.seen || c.k == 0 || !tn__reads_once(p->graph, info, 0)) return false;
    guard = TN_LX_NONE;
    rules->lhs(e, info, b, i, k, index, &guard);
    tn_lx element = e->operand(e, info, 0, index);
    return guard == TN_LX_NONE && r.seen && element == r.result && is_row(&r, rows, m, &c, k);
}

/* ---- which groups --------------------------------------------------------------------------- */

static bool is_output(const tn_grouping *p, tn_value v) {
    for (uint32_t i = 0; i < p->graph->outputs.len; i++)
        if (tn_group_storage(p, p->graph->outputs.data[i].value) == v) return true;
    return false;
}

/* Folds along the last axis that make one value, which waits for all of them. */
static const tn_member *only_result(const tn_grouping *p, const tn_group *rows) {
    if (rows->kind != TN_GROUP_ROWS || rows->anchor != TN_NO_NODE || !rows->space.has_fold ||
        rows->constant || rows->stores.len != 1)
        return NULL;
    int last = rows->space.shape.rank - 1;
    while (last >= 0 && rows->space.shape.dim[last] == 1) last--;
    tn_node made = tn_graph_value(p->graph, rows->stores.data[0])->node;
    const tn_member *m = tn__find_member(rows, made);
    if (last < 0 || !rows->space.folded[last] || !m || !m->element) return NULL;
    for (uint32_t i = 0; i < rows->members.len; i++) {
        const tn_member *other = &rows->members.data[i];
        if (tn__lower_of(p->graph, other->node)->kind == TN_LOWER_FOLD && other->level >= m->level)
            return NULL;
    }
    return is_output(p, rows->stores.data[0]) ? NULL : m;
}

static bool group_reads_rows(tn_grouping *p, const tn_group *rows, const tn_member *m,
                             uint32_t id) {
    tn_value v = rows->stores.data[0];
    const tn_group *group = &p->groups.data[id];
    if (group->kind != TN_GROUP_CONTRACTION || group->constant || group->prologue != TN_NO_GROUP)
        return false;
    for (uint32_t i = 0; i < group->members.len; i++) {
        tn_node n = group->members.data[i].node;
        if (tn_group_has_anchor(group, n)) continue;
        tn__value_list loads = tn__loads_of(p, id, n);
        for (uint32_t j = 0; j < loads.len; j++)
            if (loads.data[j] == v) return false;
    }
    for (uint32_t i = 0; i < tn_group_anchors(group); i++)
        if (!reads_rows(p, rows, m, v, tn_group_anchor(group, i).node)) return false;
    return true;
}

/* ---- moving them ---------------------------------------------------------------------------- */

static void set_nested(tn_grouping *p, uint32_t rows, const tn__group_list *readers, bool nested) {
    p->groups.data[rows].nested = nested;
    for (uint32_t i = 0; i < readers->len; i++)
        p->groups.data[readers->data[i]].prologue = nested ? rows : TN_NO_GROUP;
}

static double seconds_with(tn_grouping *p, uint32_t rows, const tn__group_list *readers) {
    double seconds = tn__group_seconds(p, rows);
    for (uint32_t i = 0; i < readers->len; i++) seconds += tn__group_seconds(p, readers->data[i]);
    return seconds;
}

void tn__find_prologues(tn_grouping *p) {
    for (uint32_t id = 0; id < p->groups.len; id++) {
        const tn_group *rows = &p->groups.data[id];
        const tn_member *m = only_result(p, rows);
        if (!m) continue;
        tn_value v = rows->stores.data[0];
        const tn__group_list *readers = &p->loaders[v];
        bool all = readers->len > 0;
        for (uint32_t i = 0; all && i < readers->len; i++)
            all = group_reads_rows(p, rows, m, readers->data[i]);
        if (!all) continue;
        double apart = seconds_with(p, id, readers);
        set_nested(p, id, readers, true);
        bool cheaper = seconds_with(p, id, readers) < apart;
        if (!cheaper) set_nested(p, id, readers, false);
        p->stored[v] = !cheaper;
    }
}
