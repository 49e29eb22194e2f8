/* Rows: the values of members, folds, and what happens at one point. See rows.h. */
#include "codegen/rows.h"

static void member_point(const tn__rows *r, const int8_t *axis, int rank, tn_lx *index) {
    for (int i = 0; i < rank; i++) index[i] = axis[i] >= 0 ? r->at[axis[i]] : tn_l_int(r->m.k, 0);
}

void tn__rows_point(const tn__rows *r, const tn_member *m, tn_lx *index) {
    const tn_node_info *n = tn_graph_node(r->m.graph, m->node);
    member_point(r, m->axis, tn__rows_type(r, n->out)->shape.rank, index);
}

const tn_member *tn__rows_member(const tn__rows *r, tn_node n) {
    for (uint32_t i = 0; i < r->m.group->members.len; i++)
        if (r->m.group->members.data[i].node == n) return &r->m.group->members.data[i];
    return NULL;
}

tn__rows_fold *tn__rows_fold_of(tn__rows *r, tn_node n) {
    for (uint32_t i = 0; i < r->folds.len; i++)
        if (r->folds.data[i].member->node == n) return &r->folds.data[i];
    return NULL;
}

static tn__rows_kept *kept_of(tn__rows *r, tn_value v) {
    for (uint32_t i = 0; i < r->keeps.len; i++)
        if (r->keeps.data[i].value == v) return &r->keeps.data[i];
    return NULL;
}

/* ---- values of members ---------------------------------------------------------------------- */

static tn_lx fold_lane_result(tn__rows *r, tn__rows_fold *f, const tn_lx *index) {
    tn_lx acc[TN_FOLD_REGISTERS];
    for (int i = 0; i < f->fold.registers; i++)
        acc[i] = f->blocks ? tn_fold_total(r->m.k, &f->sums, r->lane)
                           : tn_l_get(r->m.k, f->reg[i], r->lane);
    return f->rules->finish(&r->m.access.emit, f->node, index, acc);
}

static tn_lx member_value(tn__rows *r, tn_value v, tn_node node, const tn_lx *index) {
    tn__rows_fold *f = tn__rows_fold_of(r, node);
    if (f && r->probe) { /* the value does not matter, what it reads is looked at elsewhere */
        uint32_t b = tn_l_buffer(r->m.k, TN_LBUF_INPUT, tn__rows_type(r, v)->dtype, "fold");
        return tn_l_load(r->m.k, b, tn_l_int(r->m.k, 0), TN_LX_NONE, TN_LX_NONE);
    }
    if (f) return fold_lane_result(r, f, index);
    tn__rows_kept *keep = r->probe ? NULL : kept_of(r, v);
    if (keep && r->stage > keep->first) {
        if (!keep->stored)
            return tn_l_load(r->m.k, keep->scratch, r->strip, TN_LX_NONE, TN_LX_NONE);
        TN_ASSERT(!r->staged.is);
        uint32_t buffer = tn_maker_buffer(&r->m, v, TN_LBUF_OUTPUT);
        return tn_l_load(r->m.k, buffer, tn_maker_offset(&r->m, v, index), TN_LX_NONE, TN_LX_NONE);
    }
    const tn_node_info *n = tn_graph_node(r->m.graph, node);
    return tn_op_rules_of(n->op)->lower.expression(&r->m.access.emit, n, 0, index);
}

tn_lx tn__rows_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    tn__rows *r = a->context;
    tn_node node = tn_graph_value(r->m.graph, v)->node;
    if (r->m.grouping->group_of[node] == r->m.group_id || tn__rows_member(r, node))
        return member_value(r, v, node, index);
    tn_lx value = tn_maker_load(&r->m, v, index);
    if (r->probe) {
        tn_vec_push(a->arena, &r->probe->offsets, tn_maker_offset(&r->m, v, index));
        tn_vec_push(a->arena, &r->probe->loads, value);
        if (a->emit.guard != TN_LX_NONE) tn_vec_push(a->arena, &r->probe->values, a->emit.guard);
    }
    return value;
}

tn_lx tn__rows_emit_member(tn__rows *r, const tn_member *m) {
    tn_lx index[TN_MAX_RANK];
    tn__rows_point(r, m, index);
    tn_value v = tn_graph_node(r->m.graph, m->node)->out;
    if (r->m.grouping->inlined[m->node]) return member_value(r, v, m->node, index);
    return tn_access_value(&r->m.access, v, index);
}

/* ---- folds ---------------------------------------------------------------------------------- */

/* Where the group's own window fold is evaluated: found by following the views after it. */
typedef struct capture {
    tn__rows *r;
    tn_lx index[TN_MAX_RANK];
} capture;

static tn_lx capture_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    capture *c = a->context;
    const tn_node_info *n = tn_graph_producer(c->r->m.graph, v);
    if (v != tn_graph_node(c->r->m.graph, c->r->m.group->anchor)->out) /* a view after it */
        return tn_op_rules_of(n->op)->lower.expression(&a->emit, n, 0, index);
    int rank = tn__rows_type(c->r, v)->shape.rank;
    memcpy(c->index, index, (size_t)rank * sizeof *index);
    return tn_l_number(a->emit.k, tn__rows_type(c->r, v)->dtype, 0);
}

static void anchor_point(tn__rows *r, tn_lx *index) {
    capture c = {.r = r};
    tn_access a;
    tn_access_init(&a, r->m.k, r->m.grouping, r->m.context->arena);
    a.leaf = capture_leaf;
    a.context = &c;
    tn_access_value(&a, r->m.group->domain_value, r->at);
    tn_value v = tn_graph_node(r->m.graph, r->m.group->anchor)->out;
    memcpy(index, c.index, (size_t)tn__rows_type(r, v)->shape.rank * sizeof *index);
}

void tn__rows_fold_points(tn__rows *r, const tn__rows_fold *f, const tn_lx *own, tn_lx *index,
                          tn_lx *at) {
    if (f->anchored) {
        anchor_point(r, index);
        for (int i = 0; i < f->fold.axes; i++) at[i] = own[i];
        return;
    }
    const tn_attrs_reduce *a = f->node->attrs;
    tn__rows_point(r, f->member, index);
    for (int i = 0; i < a->axes.count; i++) {
        int8_t axis = f->member->operand[a->axes.at[i]];
        at[i] = axis >= 0 ? r->at[axis] : tn_l_int(r->m.k, 0);
    }
}

static bool is_extreme(const tn_fold *f) {
    return f->simple && (f->op == TN_S_max || f->op == TN_S_min);
}

/* What an extreme of it and what folding begins with comes to: itself, also if it is no number. */
static tn_lx beside(const tn_loop *k, tn_lx extreme, tn_lx init) {
    const tn_lexpr *e = tn_l_expr(k, extreme);
    if (e->kind != TN_LX_OP || (e->op != TN_S_max && e->op != TN_S_min)) return extreme;
    return e->a == init ? e->b : e->b == init ? e->a : extreme;
}

void tn__rows_fold_step(tn__rows *r, tn__rows_fold *f, const tn_lx *own) {
    tn_lx index[TN_MAX_RANK], at[TN_MAX_RANK], acc[TN_FOLD_REGISTERS], next[TN_FOLD_REGISTERS];
    tn__rows_fold_points(r, f, own, index, at);
    bool first = r->single && is_extreme(&f->fold);
    for (int i = 0; i < f->fold.registers; i++)
        acc[i] = first ? tn_fold_init(r->m.k, &f->fold, i) : tn_l_get(r->m.k, f->reg[i], r->lane);
    f->rules->step(&r->m.access.emit, f->node, index, at, acc, next);
    if (first) next[0] = beside(r->m.k, next[0], acc[0]);
    for (int i = 0; i < f->fold.registers; i++) tn_l_set(r->m.k, f->reg[i], r->lane, next[i]);
}

void tn__rows_folds_init(tn__rows *r, uint32_t level, uint32_t width) {
    for (uint32_t j = 0; j < r->folds.len; j++) {
        tn__rows_fold *f = &r->folds.data[j];
        if (f->level != level) continue;
        tn_lx lane =
            tn_l_for(r->m.k, TN_LOOP_VECTOR, tn_l_int(r->m.k, 0), tn_l_int(r->m.k, width), "l");
        for (int i = 0; i < f->fold.registers; i++)
            tn_l_set(r->m.k, f->reg[i], lane, tn_fold_init(r->m.k, &f->fold, i));
        tn_l_end(r->m.k);
        if (f->blocks) tn_fold_clear_totals(r->m.k, &f->sums, width);
    }
}

void tn__rows_fold_close(tn__rows *r, tn__rows_fold *f, uint32_t width) {
    tn_loop *k = r->m.k;
    tn_lx acc[TN_FOLD_REGISTERS];
    if (f->fold.simple) {
        acc[0] = f->blocks ? tn_fold_whole_total(k, &f->sums) : tn_l_fold(k, f->fold.op, f->reg[0]);
    } else {
        tn_lx lane = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 1), tn_l_int(k, width), "lane");
        tn_lx a[TN_FOLD_REGISTERS], b[TN_FOLD_REGISTERS], c[TN_FOLD_REGISTERS];
        for (int i = 0; i < f->fold.registers; i++) {
            a[i] = tn_l_get(k, f->reg[i], tn_l_int(k, 0));
            b[i] = tn_l_get(k, f->reg[i], lane);
        }
        f->rules->combine(k, r->m.graph, f->node, a, b, c);
        for (int i = 0; i < f->fold.registers; i++) tn_l_set(k, f->reg[i], tn_l_int(k, 0), c[i]);
        tn_l_end(k);
        for (int i = 0; i < f->fold.registers; i++) acc[i] = tn_l_get(k, f->reg[i], tn_l_int(k, 0));
    }
    tn_lx index[TN_MAX_RANK];
    tn__rows_point(r, f->member, index);
    tn_access_define(&r->m.access, f->node->out, index,
                     f->rules->finish(&r->m.access.emit, f->node, index, acc));
}

/* ---- what happens at one point of the element space ----------------------------------------- */

static void store_element(tn__rows *r, tn_value v, const tn_lx *index, tn_lx value) {
    tn_loop *k = r->m.k;
    if (!r->staged.is) {
        tn_maker_store(&r->m, v, index, value);
        return;
    }
    tn_dtype dtype = k->buffers.data[r->staged.to].dtype;
    tn_l_store(k, r->staged.to, tn_l_add(k, r->staged.base, r->strip),
               tn_l_cast(k, value, dtype, false));
}

static void keep_values(tn__rows *r) {
    for (uint32_t i = 0; i < r->keeps.len; i++) {
        tn__rows_kept *keep = &r->keeps.data[i];
        if (keep->first != r->stage) continue;
        const tn_member *m = tn__rows_member(r, tn_graph_value(r->m.graph, keep->value)->node);
        tn_lx index[TN_MAX_RANK], value = tn__rows_emit_member(r, m);
        tn__rows_point(r, m, index);
        if (keep->stored)
            store_element(r, keep->value, index, value);
        else
            tn_l_store(r->m.k, keep->scratch, r->strip, value);
        tn_access_define(&r->m.access, keep->value, index, value);
    }
}

void tn__rows_element_work(tn__rows *r, const tn_lx *own) {
    uint32_t mark = tn_access_mark(&r->m.access);
    keep_values(r);
    for (uint32_t j = 0; j < r->folds.len; j++)
        if (r->folds.data[j].level == r->stage) tn__rows_fold_step(r, &r->folds.data[j], own);
    if (r->stage == r->levels) {
        for (uint32_t i = 0; i < r->m.group->stores.len; i++) {
            tn_value v = r->m.group->stores.data[i];
            const tn_member *m = tn__rows_member(r, tn_graph_value(r->m.graph, v)->node);
            if (!m || !m->element || tn__rows_fold_of(r, m->node) || kept_of(r, v)) continue;
            tn_lx index[TN_MAX_RANK], value = tn__rows_emit_member(r, m);
            tn__rows_point(r, m, index);
            store_element(r, v, index, value);
        }
    }
    tn_access_release(&r->m.access, mark);
}

void tn__rows_store_rows(tn__rows *r) {
    for (uint32_t i = 0; i < r->m.group->stores.len; i++) {
        tn_value v = r->m.group->stores.data[i];
        if (v == r->m.group->domain_value) {
            tn_maker_store(&r->m, v, r->at, tn_access_value(&r->m.access, v, r->at));
            continue;
        }
        const tn_member *m = tn__rows_member(r, tn_graph_value(r->m.graph, v)->node);
        TN_ASSERT(m != NULL);
        if (m->element && (r->m.group->space.has_fold || r->m.group->anchor == TN_NO_NODE))
            continue;
        tn_lx index[TN_MAX_RANK], value = tn__rows_emit_member(r, m);
        tn__rows_point(r, m, index);
        tn_maker_store(&r->m, v, index, value);
    }
}

bool tn__rows_has_row_stores(const tn__rows *r) {
    for (uint32_t i = 0; i < r->m.group->stores.len; i++) {
        tn_value v = r->m.group->stores.data[i];
        const tn_member *m = tn__rows_member(r, tn_graph_value(r->m.graph, v)->node);
        if (v == r->m.group->domain_value || (m && !m->element)) return true;
    }
    return r->m.group->anchor != TN_NO_NODE;
}

static bool has_element_stores(tn__rows *r) {
    if (r->m.group->anchor != TN_NO_NODE) return false;
    for (uint32_t i = 0; i < r->m.group->stores.len; i++) {
        tn_value v = r->m.group->stores.data[i];
        const tn_member *m = tn__rows_member(r, tn_graph_value(r->m.graph, v)->node);
        if (m && m->element && !kept_of(r, v)) return true;
    }
    return false;
}

bool tn__rows_has_element_work(tn__rows *r) {
    for (uint32_t j = 0; j < r->folds.len; j++)
        if (r->folds.data[j].level == r->stage) return true;
    for (uint32_t i = 0; i < r->keeps.len; i++)
        if (r->keeps.data[i].first == r->stage) return true;
    return r->stage == r->levels && has_element_stores(r);
}
