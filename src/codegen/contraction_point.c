/* Contractions: elements of the operands, and the way from a result to the group's space. */
#include "codegen/contraction.h"

/* ---- operand elements ----------------------------------------------------------------------- */

tn_lx tn__tile_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    tn__tile *t = a->context;
    if (t->weights.leaf) return t->weights.leaf(t, v, index);
    tn_node node = tn_graph_value(t->m.graph, v)->node;
    if (t->m.grouping->group_of[node] == t->m.group_id && !tn_group_has_anchor(t->m.group, node))
        return tn_op_rules_of(tn_graph_node(t->m.graph, node)->op)
            ->lower.expression(&a->emit, tn_graph_node(t->m.graph, node), 0, index);
    if (t->reads) return tn__note_read(t, v, index);
    if (t->probe) {
        tn_vec_push(a->arena, &t->probe->offsets, tn_maker_offset(&t->m, v, index));
        if (a->emit.guard != TN_LX_NONE) tn_vec_push(a->arena, &t->probe->values, a->emit.guard);
    }
    return tn_maker_load(&t->m, v, index);
}

tn_lx tn__tile_operand(tn__tile *t, uint32_t which, const tn_lx *index, tn_lx guard) {
    tn_emit *e = &t->m.access.emit;
    tn_dtype dtype = tn_node_type(t->m.graph, t->node, which)->dtype;
    tn_lx x = guard == TN_LX_NONE
                  ? e->operand(e, t->node, which, index)
                  : tn_emit_guarded(e, t->node, which, index, guard, tn_l_number(t->m.k, dtype, 0));
    return tn_l_cast(t->m.k, x, t->c.acc, false);
}

/* Where A is read in place, the analysis has shown that no element lies in padding; the bounds of a
 * tile's rows may be too wide to show it again. */
tn_lx tn__tile_lhs(tn__tile *t, const tn_lx *b, const tn_lx *m, const tn_lx *k) {
    tn_lx index[TN_MAX_RANK], guard = TN_LX_NONE;
    t->rules->lhs(&t->m.access.emit, t->node, b, m, k, index, &guard);
    return tn__tile_operand(t, 0, index, t->s.lhs == TN_LHS_DIRECT ? TN_LX_NONE : guard);
}

tn_lx tn__tile_rhs(tn__tile *t, const tn_lx *b, const tn_lx *k, const tn_lx *n, tn_lx valid) {
    tn_lx index[TN_MAX_RANK], guard = TN_LX_NONE;
    t->rules->rhs(&t->m.access.emit, t->node, b, k, n, index, &guard);
    return tn__tile_operand(t, 1, index, tn_l_and(t->m.k, guard, valid));
}

tn_lx tn__load_address(const tn_loop *k, tn_lx e, uint32_t *buffer) {
    const tn_lexpr *x = tn_l_expr(k, e);
    if (x->kind == TN_LX_CAST && !x->index)
        x = tn_l_expr(k, x->a); /* two may lose what one keeps */
    if (x->kind != TN_LX_LOAD || x->b != TN_LX_NONE) return TN_LX_NONE;
    *buffer = x->index;
    return x->a;
}

void tn__tile_init(tn__tile *t, const tn_lower_context *c, uint32_t group, const char *name) {
    memset(t, 0, sizeof *t);
    tn_maker_init(&t->m, c, group, name);
    tn__tile_set_anchor(t, 0);
    tn__tile_find_folds(t);
}

void tn__tile_set_anchor(tn__tile *t, uint32_t number) {
    t->m.access.leaf = tn__tile_leaf;
    t->m.access.context = t;
    t->anchor = tn_group_anchor(t->m.group, number);
    t->node = tn_graph_node(t->m.graph, t->anchor.node);
    t->rules = tn_op_rules_of(t->node->op)->lower.contraction;
    t->rules->describe(t->m.graph, t->node, &t->c);
    t->n_total = tn__tile_product(t->m.k, t->c.n_extent, t->c.n);
    t->k_total = tn__tile_product(t->m.k, t->c.k_extent, t->c.k);
    t->s.lhs = TN_LHS_ELEMENT; /* until chosen: with its guard */
    t->weights.source = TN_NO_VALUE;
}

bool tn__steps_by_one(tn_loop *k, tn_lx address, tn_lx var) {
    tn_lx coefficient, rest;
    int64_t one;
    return address != TN_LX_NONE && tn_l_expr(k, var)->kind == TN_LX_VAR &&
           tn_l_affine(k, address, tn_l_expr(k, var)->index, &coefficient, &rest) &&
           tn_l_is_const_int(k, coefficient, &one) && one == 1;
}

/* ---- sizes ---------------------------------------------------------------------------------- */

tn_lx tn__tile_product(tn_loop *k, const tn_dim *d, int count) {
    tn_lx p = tn_l_int(k, 1);
    for (int i = 0; i < count; i++) p = tn_l_mul(k, p, tn_l_dim(k, d[i]));
    return p;
}

tn_lx tn__ceil_div(tn_loop *k, tn_lx a, int64_t b) {
    return tn_l_div(k, tn_l_add(k, a, tn_l_int(k, b - 1)), tn_l_int(k, b));
}

void tn__split_axes(tn_loop *k, tn_lx linear, const tn_dim *d, int count, const bool *merged,
                    tn_lx *index) {
    tn_lx extent[TN_MAX_RANK], part[TN_MAX_RANK];
    int axis[TN_MAX_RANK], n = 0;
    tn_lx run = tn_l_int(k, 1);
    for (int i = 0; i < count; i++) {
        run = tn_l_mul(k, run, tn_l_dim(k, d[i]));
        index[i] = tn_l_int(k, 0);
        if (merged[i]) continue;
        axis[n] = i;
        extent[n++] = run;
        run = tn_l_int(k, 1);
    }
    tn_maker_split(k, linear, extent, n, part);
    for (int i = 0; i < n; i++) index[axis[i]] = part[i];
}

void tn__split_plain(tn_loop *k, tn_lx linear, const tn_dim *d, int count, tn_lx *index) {
    bool none[TN_MAX_RANK] = {false};
    tn__split_axes(k, linear, d, count, none, index);
}

/* ---- from a result point to the group's space: through the views after the anchor ----------- */

static void push_reshape(tn_loop *k, const tn_shape *from, const tn_shape *to, const tn_lx *in,
                         tn_lx *out) {
    int lo = 0, hi = 0;
    while (lo < from->rank && lo < to->rank && from->dim[lo] == to->dim[lo]) {
        out[lo] = in[lo];
        lo++;
    }
    while (hi < from->rank - lo && hi < to->rank - lo &&
           from->dim[from->rank - 1 - hi] == to->dim[to->rank - 1 - hi]) {
        out[to->rank - 1 - hi] = in[from->rank - 1 - hi];
        hi++;
    }
    tn_lx linear = tn_l_int(k, 0);
    for (int i = lo; i < from->rank - hi; i++)
        linear = tn_l_add(k, tn_l_mul(k, linear, tn_l_dim(k, from->dim[i])), in[i]);
    if (to->rank - hi > lo) tn__split_plain(k, linear, to->dim + lo, to->rank - hi - lo, out + lo);
}

void tn__through_views(const tn_kernel_maker *m, tn_value from, tn_value view, const tn_lx *index,
                       tn_lx *out) {
    const tn_node_info *n = tn_graph_producer(m->graph, view);
    if (view == from) {
        memcpy(out, index, sizeof(tn_lx) * TN_MAX_RANK);
        return;
    }
    tn_lx in[TN_MAX_RANK];
    tn__through_views(m, from, n->in[0], index, in);
    if (n->op == TN_OP_permute) {
        const tn_attrs_permute *a = n->attrs;
        for (int i = 0; i < a->perm.count; i++) out[i] = in[a->perm.at[i]];
    } else {
        push_reshape(m->k, &tn_node_type(m->graph, n, 0)->shape,
                     &tn_graph_type(m->graph, view)->shape, in, out);
    }
}

void tn__tile_point(tn__tile *t, const tn_lx *m, const tn_lx *n) {
    tn_lx result[TN_MAX_RANK];
    int at = 0;
    for (int i = 0; i < t->c.b; i++) result[at++] = t->b_index[i];
    for (int i = 0; i < t->c.m; i++) result[at++] = m[i];
    for (int i = 0; i < t->c.n; i++) result[at++] = n[i];
    tn__through_views(&t->m, t->node->out, t->anchor.domain_value, result, t->at);
    const tn_shape *s = &t->m.group->space.shape;
    for (int i = 0; i < s->rank; i++)
        if (s->dim[i] == 1) t->at[i] = tn_l_int(t->m.k, 0);
}
