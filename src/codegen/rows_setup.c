/* Rows: which folds there are, what is kept between them, which axes run as one. See rows.h. */
#include "codegen/rows.h"

enum { MAX_LEVELS = 16, KEEP_COST = 6 };

/* ---- preparation ---------------------------------------------------------------------------- */

static void add_fold(tn__rows *r, const tn_member *m) {
    const tn_node_info *n = tn_graph_node(r->m.graph, m->node);
    const tn_lower *l = &tn_op_rules_of(n->op)->lower;
    if (l->kind != TN_LOWER_FOLD && l->kind != TN_LOWER_CONTRACTION) return;
    tn__rows_fold f = {.node = n,
                       .rules = l->fold,
                       .level = m->level,
                       .anchored = m->node == r->m.group->anchor,
                       .member = m};
    f.rules->describe(r->m.graph, n, &f.fold);
    tn_vec_push(r->m.context->arena, &r->folds, f);
    r->levels = TN_MAX(r->levels, m->level + 1);
}

/* Cost of computing a member again, and the stages that would. */
static int expression_cost(const tn__rows *r, tn_node n, int depth) {
    const tn_node_info *info = tn_graph_node(r->m.graph, n);
    const char *family = tn_op_info_of(info->op)->family;
    int cost = !strcmp(family, "unary") ? 4 : !strcmp(family, "binary") ? 1 : 0;
    for (uint32_t i = 0; depth < 24 && i < info->in_count; i++) {
        tn_node from = tn_graph_value(r->m.graph, info->in[i])->node;
        if (r->m.grouping->inlined[from])
            cost += expression_cost(r, from, depth + 1);
        else if (r->m.grouping->group_of[from] == r->m.group_id) {
            const tn_member *m = tn__rows_member(r, from);
            if (m && m->element) cost += expression_cost(r, from, depth + 1);
        } else
            cost += 1; /* a load */
        if (cost >= KEEP_COST) return cost;
    }
    return cost;
}

static void mark_stage(const tn__rows *r, tn_node n, uint32_t stage, uint32_t *stages,
                       uint32_t *seen) {
    const tn_node_info *info = tn_graph_node(r->m.graph, n);
    for (uint32_t i = 0; i < info->in_count; i++) {
        tn_node from = tn_graph_value(r->m.graph, info->in[i])->node;
        if (seen[from] == stage + 1) continue;
        seen[from] = stage + 1;
        if (r->m.grouping->group_of[from] == r->m.group_id) {
            const tn_member *m = tn__rows_member(r, from);
            tn_lower_kind kind = tn_op_rules_of(tn_graph_node(r->m.graph, from)->op)->lower.kind;
            if (kind == TN_LOWER_FOLD || kind == TN_LOWER_CONTRACTION) continue;
            if (m && m->element) stages[m - r->m.group->members.data] |= 1u << stage;
            mark_stage(r, from, stage, stages, seen);
        } else if (r->m.grouping->inlined[from]) {
            mark_stage(r, from, stage, stages, seen);
        }
    }
}

static bool is_stored(const tn__rows *r, tn_value v) {
    for (uint32_t i = 0; i < r->m.group->stores.len; i++)
        if (r->m.group->stores.data[i] == v) return true;
    return false;
}

/* Which element values are kept between stages. */
void tn__rows_find_keeps(tn__rows *r) {
    if (!r->m.group->space.has_fold || r->levels > MAX_LEVELS) return;
    tn_arena *arena = r->m.context->arena;
    uint32_t *stages = TN_NEW_N(arena, uint32_t, r->m.group->members.len);
    uint32_t *seen = TN_NEW_N(arena, uint32_t, r->m.graph->nodes.len);
    for (uint32_t stage = 0; stage <= r->levels; stage++)
        for (uint32_t i = 0; i < r->m.group->members.len; i++) {
            const tn_member *m = &r->m.group->members.data[i];
            const tn_node_info *n = tn_graph_node(r->m.graph, m->node);
            const tn__rows_fold *f = tn__rows_fold_of(r, m->node);
            if (f ? m->level == stage : stage == r->levels && is_stored(r, n->out)) {
                if (!f && m->element) stages[i] |= 1u << stage;
                mark_stage(r, m->node, stage, stages, seen);
            }
        }
    tn_lx size =
        r->s.fold_lanes ? tn_l_int(r->m.k, 1) : tn_l_int(r->m.k, (int64_t)r->s.lanes * r->s.unroll);
    for (int i = 0; i < r->m.group->space.shape.rank; i++)
        if (r->m.group->space.folded[i] && !r->merged[i])
            size = tn_l_mul(r->m.k, size, r->extent[i]);
    for (uint32_t i = 0; i < r->m.group->members.len; i++) {
        const tn_member *m = &r->m.group->members.data[i];
        tn_value v = tn_graph_node(r->m.graph, m->node)->out;
        if (!m->element || !(stages[i] & (stages[i] - 1))) continue; /* one stage only */
        if (!is_stored(r, v) && expression_cost(r, m->node, 0) < KEEP_COST) continue;
        tn__rows_kept keep = {.value = v, .first = m->level, .stored = is_stored(r, v)};
        if (!keep.stored)
            keep.scratch = tn_l_scratch(r->m.k, tn__rows_type(r, v)->dtype, size, "row");
        tn_vec_push(arena, &r->keeps, keep);
    }
}

static void set_extents(tn__rows *r) {
    const tn_space *s = &r->m.group->space;
    r->vector_axis = -1;
    for (int i = 0; i < s->shape.rank; i++) {
        r->extent[i] = tn_l_dim(r->m.k, s->shape.dim[i]);
        r->at[i] = tn_l_int(r->m.k, 0);
        if (i > 0 && r->merged[i - 1])
            r->extent[i] = tn_l_mul(r->m.k, r->extent[i - 1], r->extent[i]);
        if (s->shape.dim[i] != 1 && (r->s.fold_lanes || !s->folded[i])) r->vector_axis = i;
    }
}

int tn__rows_digit_axis(const tn_lower_context *c, uint32_t group, bool *merged) {
    const tn_group *g = &c->grouping->groups.data[group];
    const tn_shape *s = &g->space.shape;
    int64_t lanes = TN_MAX(4, c->target->vector_bytes / 4), size = 1;
    int last = s->rank - 1, axis;
    if (g->space.has_fold || g->anchor != TN_NO_NODE) return -1;
    while (last >= 0 && s->dim[last] == 1) last--;
    for (axis = last; axis >= 0; axis--) {
        bool joins = axis == last || merged[axis] || s->dim[axis] == 1;
        if (!joins) break;
        if (!tn_dim_is_const(s->dim[axis]) || __builtin_mul_overflow(size, s->dim[axis], &size))
            return -1;
    }
    if (axis < 0 || size < 2 || size > lanes / 2 || lanes % size != 0) return -1;
    for (int i = axis; i < last; i++) merged[i] = true;
    return axis;
}

void tn__rows_init(tn__rows *r, const tn_lower_context *c, uint32_t group, tn_kernel_maker *outer,
                   const bool *merged) {
    memset(r, 0, sizeof *r);
    if (outer)
        tn_maker_init_inside(&r->m, outer, group);
    else
        tn_maker_init(&r->m, c, group, "rows");
    r->digit_axis = -1;
    r->m.access.leaf = tn__rows_leaf;
    r->m.access.context = r;
    if (merged) memcpy(r->merged, merged, sizeof r->merged);
    r->s = tn_schedule_choose_rows(r->m.grouping, r->m.group, (uint32_t)c->target->vector_bytes,
                                   r->merged);
    if (!outer) r->s = tn_lower_record(c, group, r->s);
    set_extents(r);
    for (uint32_t i = 0; i < r->m.group->members.len; i++)
        add_fold(r, &r->m.group->members.data[i]);
}

void tn__rows_make_registers(tn__rows *r, uint32_t width) {
    bool anchored = r->m.group->anchor != TN_NO_NODE;
    bool cut = !anchored && r->m.group->space.has_fold && tn__rows_fold_loops(r).cut >= 0;
    for (uint32_t j = 0; j < r->folds.len; j++) {
        tn__rows_fold *f = &r->folds.data[j];
        for (int i = 0; i < f->fold.registers; i++)
            f->reg[i] = tn_l_register(r->m.k, f->fold.dtype[i], width, "acc");
        f->blocks = cut && tn_fold_widens(&f->fold);
        if (f->blocks)
            f->sums = tn_fold_make_sums(r->m.k, &f->fold, f->reg[0], r->s.lanes, r->s.fold_lanes);
    }
}

/* ---- merging axes --------------------------------------------------------------------------- */

static void probe_values(tn__rows *r, tn_merge_probe *probe) {
    for (uint32_t j = 0; j < r->folds.len; j++) {
        tn__rows_fold *f = &r->folds.data[j];
        tn_lx index[TN_MAX_RANK], at[TN_MAX_RANK], acc[TN_FOLD_REGISTERS], next[TN_FOLD_REGISTERS];
        tn__rows_fold_points(r, f, NULL, index, at);
        for (int i = 0; i < f->fold.registers; i++)
            acc[i] = tn_l_const(r->m.k, f->fold.dtype[i], f->fold.init[i]);
        f->rules->step(&r->m.access.emit, f->node, index, at, acc, next);
        for (int i = 0; i < f->fold.registers; i++)
            tn_vec_push(probe->arena, &probe->values, next[i]);
    }
    for (uint32_t i = 0; i < r->m.group->stores.len; i++) {
        tn_value v = r->m.group->stores.data[i];
        const tn_member *m = tn__rows_member(r, tn_graph_value(r->m.graph, v)->node);
        tn_lx index[TN_MAX_RANK], value = tn__rows_emit_member(r, m);
        tn__rows_point(r, m, index);
        tn_vec_push(probe->arena, &probe->values, value);
        tn_vec_push(probe->arena, &probe->offsets, tn_maker_offset(&r->m, v, index));
    }
}

void tn__rows_probe(tn__rows *r, tn_merge_probe *probe) {
    *probe = (tn_merge_probe){.k = r->m.k, .arena = r->m.context->arena};
    r->probe = probe;
    for (int i = 0; i < r->m.group->space.shape.rank; i++)
        if (!r->merged[i])
            r->at[i] = tn_l_for(r->m.k, TN_LOOP_SERIAL, tn_l_int(r->m.k, 0), r->extent[i], "p");
    probe_values(r, probe);
}

void tn__rows_find_merges(const tn_lower_context *c, uint32_t group, bool folded_only,
                          bool *merged) {
    tn__rows r;
    tn__rows_init(&r, c, group, NULL, NULL);
    memset(merged, 0, TN_MAX_RANK * sizeof *merged);
    if (r.m.group->anchor != TN_NO_NODE) return;
    const tn_space *s = &r.m.group->space;
    bool allowed[TN_MAX_RANK], any = false;
    for (int i = 0; i < s->shape.rank; i++)
        allowed[i] = i + 1 < s->shape.rank && s->folded[i] == s->folded[i + 1] &&
                     (s->folded[i] || !folded_only);
    tn_merge_probe probe;
    tn__rows_probe(&r, &probe);
    tn_merge_find(&probe, r.at, r.extent, s->shape.rank, allowed, merged);
    for (int i = 0; i < s->shape.rank; i++) any |= merged[i];
    if (!any) return;
    tn__rows_init(&r, c, group, NULL, merged);
    tn__rows_probe(&r, &probe);
    if (!tn_merge_holds(&probe, r.at, s->shape.rank, merged))
        memset(merged, 0, TN_MAX_RANK * sizeof *merged);
}
