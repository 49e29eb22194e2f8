/* Reductions of few rows over a large space: sums of whole tensors, column sums, statistics.
 *
 *   task = one piece of the folded space (a fixed part of its longest axis), all rows:
 *     fold the piece; partial results to the slots work[piece][row]
 *     take a ticket; the task that took the last one combines the slots of every row in the order of
 *     the pieces, and stores
 *
 * Pieces come from shapes, so the tree of every sum is the same whoever computes what. Vectors run
 * along the last axis: if it is folded, a partial result is a scalar, else a vector over rows.
 * Applies to groups with one level of folds that store row values only.
 *
 * A sweep (split_sweep.c) reads a piece in the order of memory, with the partial results of all rows in the
 * slots. With one piece (many rows, whose outer axes number the tasks) the slots are scratch.
 *
 * Sums are made in blocks, see fold_blocks.h; then slots hold totals. */
#include "codegen/split.h"

/* ---- values --------------------------------------------------------------------------------- */

static tn__split_fold *fold_of(tn__split *s, tn_node n) {
    for (uint32_t i = 0; i < s->folds.len; i++)
        if (s->folds.data[i].member->node == n) return &s->folds.data[i];
    return NULL;
}

const tn_member *tn__split_member(const tn__split *s, tn_value v) {
    tn_node node = tn_graph_value(s->m.graph, v)->node;
    const tn_member *m = s->m.group->members.data;
    while (m->node != node) m++;
    return m;
}

tn_lx tn__split_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    tn__split *s = a->context;
    tn_node node = tn_graph_value(s->m.graph, v)->node;
    const tn_node_info *n = tn_graph_node(s->m.graph, node);
    tn__split_fold *f = fold_of(s, node);
    if (f && s->probe) return tn_l_number(s->m.k, tn_graph_type(s->m.graph, v)->dtype, 0);
    if (f) return f->result;
    if (s->m.grouping->group_of[node] == s->m.group_id)
        return tn_op_rules_of(n->op)->lower.expression(&a->emit, n, 0, index);
    if (s->probe) {
        tn_vec_push(a->arena, &s->probe->offsets, tn_maker_offset(&s->m, v, index));
        if (a->emit.guard != TN_LX_NONE) tn_vec_push(a->arena, &s->probe->values, a->emit.guard);
    }
    return tn_maker_load(&s->m, v, index);
}

static void point(const tn__split *s, const int8_t *axis, int rank, tn_lx *index) {
    for (int i = 0; i < rank; i++) index[i] = axis[i] >= 0 ? s->at[axis[i]] : tn_l_int(s->m.k, 0);
}

void tn__split_result_point(const tn__split *s, const tn_member *m, tn_lx *index) {
    tn_value v = tn_graph_node(s->m.graph, m->node)->out;
    point(s, m->axis, tn_graph_type(s->m.graph, v)->shape.rank, index);
}

void tn__split_fold_step(tn__split *s, tn__split_fold *f, const tn_lx *acc, tn_lx *next) {
    const tn_attrs_reduce *a = f->node->attrs;
    tn_lx index[TN_MAX_RANK], at[TN_MAX_RANK];
    tn__split_result_point(s, f->member, index);
    for (int i = 0; i < a->axes.count; i++) {
        int8_t axis = f->member->operand[a->axes.at[i]];
        at[i] = axis >= 0 ? s->at[axis] : tn_l_int(s->m.k, 0);
    }
    f->rules->step(&s->m.access.emit, f->node, index, at, acc, next);
}

/* ---- one piece ------------------------------------------------------------------------------ */

static void clear_registers(tn__split *s, uint32_t width) {
    tn_loop *k = s->m.k;
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, width), "l");
    for (uint32_t j = 0; j < s->folds.len; j++) {
        tn__split_fold *f = &s->folds.data[j];
        for (int i = 0; i < f->fold.registers; i++)
            tn_l_set(k, f->reg[i], lane, tn_fold_init(k, &f->fold, i));
    }
    tn_l_end(k);
    for (uint32_t j = 0; j < s->folds.len; j++)
        if (s->folds.data[j].wide) tn_fold_clear_totals(k, &s->folds.data[j].sums, width);
}

static void step_lanes(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    tn__split *s = context;
    tn_loop *k = s->m.k;
    tn_lx lane, acc[TN_FOLD_REGISTERS], next[TN_FOLD_REGISTERS];
    s->at[s->vector_axis] = tn_strip_open(k, base, width, limit, &lane);
    uint32_t mark = tn_access_mark(&s->m.access);
    for (uint32_t j = 0; j < s->folds.len; j++) {
        tn__split_fold *f = &s->folds.data[j];
        for (int i = 0; i < f->fold.registers; i++) acc[i] = tn_l_get(k, f->reg[i], lane);
        tn__split_fold_step(s, f, acc, next);
        for (int i = 0; i < f->fold.registers; i++) tn_l_set(k, f->reg[i], lane, next[i]);
    }
    tn_access_release(&s->m.access, mark);
    tn_strip_close(k, limit);
}

static void combine_lanes(tn__split *s, tn__split_fold *f, uint32_t width) {
    tn_loop *k = s->m.k;
    tn_lx a[TN_FOLD_REGISTERS], b[TN_FOLD_REGISTERS], c[TN_FOLD_REGISTERS];
    tn_lx first = tn_l_int(k, 0);
    tn_lx lane = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 1), tn_l_int(k, width), "lane");
    for (int i = 0; i < f->fold.registers; i++) {
        a[i] = tn_l_get(k, f->reg[i], first);
        b[i] = tn_l_get(k, f->reg[i], lane);
    }
    f->rules->combine(k, s->m.graph, f->node, a, b, c);
    for (int i = 0; i < f->fold.registers; i++) tn_l_set(k, f->reg[i], first, c[i]);
    tn_l_end(k);
}

/* What was folded into lane `lane` of register i. */
static tn_lx folded(const tn__split *s, const tn__split_fold *f, int i, tn_lx lane) {
    return f->wide ? tn_fold_total(s->m.k, &f->sums, lane) : tn_l_get(s->m.k, f->reg[i], lane);
}

static tn_lx folded_lanes(const tn__split *s, const tn__split_fold *f, int i) {
    if (!f->fold.simple) return tn_l_get(s->m.k, f->reg[i], tn_l_int(s->m.k, 0));
    if (!f->wide) return tn_l_fold(s->m.k, f->fold.op, f->reg[i]);
    return tn_fold_whole_total(s->m.k, &f->sums);
}

typedef struct block {
    tn__split *s;
    uint32_t width;
} block;

static void add_up(void *context) {
    const block *b = context;
    for (uint32_t j = 0; j < b->s->folds.len; j++) {
        const tn__split_fold *f = &b->s->folds.data[j];
        if (f->wide) tn_fold_add_up(b->s->m.k, &f->sums, b->width);
    }
}

/* Closes the loops over a piece; then everything is in folded(). */
static void close_folded(tn__split *s, tn_fold_loops *f, uint32_t width) {
    block b = {s, width};
    tn_fold_close(s->m.k, f, add_up, &b);
    if (f->outside < 0) add_up(&b);
}

/* A row whose vectors run along the folded axis: one slot. */
static void folded_row(tn__split *s) {
    tn_loop *k = s->m.k;
    uint32_t width = s->s.lanes * s->s.unroll;
    clear_registers(s, width);
    tn_fold_loops loops = tn__split_open_folded(s);
    int last = loops.count - 1;
    tn_strips(k, s->s.lanes, s->s.unroll, loops.lo[last], loops.hi[last], step_lanes, s);
    close_folded(s, &loops, width);
    for (uint32_t j = 0; j < s->folds.len; j++) {
        tn__split_fold *f = &s->folds.data[j];
        if (!f->fold.simple) combine_lanes(s, f, width);
        for (int i = 0; i < f->fold.registers; i++)
            tn_l_store(k, f->work[i], tn__split_slot(s, s->piece, TN_LX_NONE),
                       folded_lanes(s, f, i));
    }
}

/* A strip of rows: one slot per lane. */
static void row_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    tn__split *s = context;
    tn_loop *k = s->m.k;
    tn_lx lane;
    clear_registers(s, width);
    tn_fold_loops loops = tn__split_open_folded(s);
    step_lanes(s, base, width, limit);
    close_folded(s, &loops, width);
    tn_lx x = tn_strip_open(k, base, width, limit, &lane);
    for (uint32_t j = 0; j < s->folds.len; j++) {
        tn__split_fold *f = &s->folds.data[j];
        for (int i = 0; i < f->fold.registers; i++)
            tn_l_store(k, f->work[i], tn__split_slot(s, s->piece, x), folded(s, f, i, lane));
    }
    tn_strip_close(k, limit);
}

/* ---- the kernel ----------------------------------------------------------------------------- */

static void split_init(tn__split *s, const tn_lower_context *c, uint32_t group,
                       const bool *merged) {
    memset(s, 0, sizeof *s);
    tn_maker_init(&s->m, c, group, "split");
    s->m.access.leaf = tn__split_leaf;
    s->m.access.context = s;
    if (merged) memcpy(s->merged, merged, sizeof s->merged);
    const tn_shape *shape = &s->m.group->space.shape;
    for (int i = 0; i < shape->rank; i++) {
        s->at[i] = tn_l_int(s->m.k, 0);
        s->extent[i] = tn_l_dim(s->m.k, shape->dim[i]);
        if (i > 0 && s->merged[i - 1])
            s->extent[i] = tn_l_mul(s->m.k, s->extent[i - 1], s->extent[i]);
        if (shape->dim[i] != 1) s->vector_axis = i;
    }
    for (uint32_t i = 0; i < s->m.group->members.len; i++) {
        tn__split_fold f = {.member = &s->m.group->members.data[i]};
        f.node = tn_graph_node(s->m.graph, f.member->node);
        const tn_lower *l = &tn_op_rules_of(f.node->op)->lower;
        if (l->kind != TN_LOWER_FOLD) continue;
        f.rules = l->fold;
        f.rules->describe(s->m.graph, f.node, &f.fold);
        tn_vec_push(c->arena, &s->folds, f);
    }
}

static void make_storage(tn__split *s) {
    tn_loop *k = s->m.k;
    uint32_t width = s->s.lanes * s->s.unroll;
    tn_lx slots = tn_l_mul(k, tn_l_int(k, s->s.pieces), s->rows);
    tn_lbuffer_kind kind = s->s.pieces > 1 ? TN_LBUF_WORK : TN_LBUF_SCRATCH;
    for (uint32_t j = 0; j < s->folds.len; j++) {
        tn__split_fold *f = &s->folds.data[j];
        f->wide = tn_fold_widens(&f->fold) && (s->s.pieces > 1 || s->loops.cut >= 0);
        for (int i = 0; i < f->fold.registers; i++) {
            tn_dtype dtype = f->wide ? f->fold.total : f->fold.dtype[i];
            f->reg[i] = tn_l_register(k, f->fold.dtype[i], width, "acc");
            f->combined[i] = tn_l_register(k, dtype, s->s.fold_lanes ? 1 : width, "sum");
            f->work[i] = tn_l_buffer(k, kind, dtype, "part");
            k->buffers.data[f->work[i]].size = slots;
        }
        if (!f->wide) continue;
        if (s->s.sweep)
            f->part = tn_l_scratch(k, f->fold.dtype[0], s->rows, "block");
        else
            f->sums = tn_fold_make_sums(k, &f->fold, f->reg[0], s->s.lanes, s->s.fold_lanes);
    }
}

/* The part of the cut axis that the task folds. */
static void cut_piece(tn__split *s) {
    tn_loop *k = s->m.k;
    tn_lx extent = s->extent[s->cut_axis];
    tn_lx unit = tn_l_int(k, s->s.pieces * s->s.rows_per_task);
    tn_lx size = tn_l_div(k, tn_l_add(k, extent, tn_l_sub(k, unit, tn_l_int(k, 1))), unit);
    size = s->size = tn_l_mul(k, size, tn_l_int(k, s->s.rows_per_task));
    s->lo = tn_l_min(k, tn_l_mul(k, s->piece, size), extent);
    s->hi = tn_l_min(k, tn_l_add(k, s->lo, size), extent);
}

/* Tasks are numbered by the axes before the first folded one. */
static void emit_whole(tn__split *s) {
    tn_loop *k = s->m.k;
    tn_lx extent[TN_MAX_RANK], at[TN_MAX_RANK];
    int axis[TN_MAX_RANK], n = 0;
    k->tasks = tn_l_int(k, 1);
    for (int i = 0; i < s->first; i++) {
        if (tn__split_is_one(s, i)) continue;
        extent[n] = s->extent[i];
        axis[n++] = i;
        k->tasks = tn_l_mul(k, k->tasks, s->extent[i]);
    }
    tn_maker_split(k, tn_l_task(k), extent, n, at);
    for (int i = 0; i < n; i++) s->at[axis[i]] = at[i];
    s->piece = s->lo = tn_l_int(k, 0);
    s->size = s->hi = s->extent[s->cut_axis];
    tn__split_find_loops(s);
    make_storage(s);
    tn__split_sweep(s);
    tn__split_combine(s);
}

static void emit_pieces(tn__split *s) {
    tn_loop *k = s->m.k;
    k->tasks = tn_l_int(k, s->s.pieces);
    k->counters = 1;
    s->piece = tn_l_task(k);
    cut_piece(s);
    tn__split_find_loops(s);
    make_storage(s);
    if (s->s.sweep)
        tn__split_sweep(s);
    else if (s->s.fold_lanes)
        tn__split_over_points(s, folded_row);
    else
        tn__split_over_strips(s, s->s.lanes, row_strip);
    tn_lx ticket = tn_l_ticket(k, tn_l_int(k, 0));
    tn_l_if(k, tn_l_le(k, tn_l_int(k, s->s.pieces - 1), ticket));
    tn__split_combine(s);
    tn_l_end(k);
}

static void emit_kernel(tn__split *s) {
    tn_loop *k = s->m.k;
    const tn_space *space = &s->m.group->space;
    while (s->s.pieces == 1 && !space->folded[s->first]) s->first++;
    s->rows = tn_l_int(k, 1);
    for (int i = s->first; i < space->shape.rank; i++)
        if (!space->folded[i] && !tn__split_is_one(s, i))
            s->rows = tn_l_mul(k, s->rows, s->extent[i]);
    if (s->s.pieces == 1)
        emit_whole(s);
    else
        emit_pieces(s);
}

/* ---- does it apply? ------------------------------------------------------------------------- */

static bool fits(const tn_grouping *p, const tn_group *g) {
    if (g->anchor != TN_NO_NODE || !g->space.has_fold || g->constant) return false;
    for (uint32_t i = 0; i < g->members.len; i++) {
        const tn_member *m = &g->members.data[i];
        tn_op op = tn_graph_node(p->graph, m->node)->op;
        if (tn_op_rules_of(op)->lower.kind == TN_LOWER_FOLD && m->level > 0) return false;
        for (uint32_t j = 0; j < g->stores.len; j++)
            if (tn_graph_value(p->graph, g->stores.data[j])->node == m->node && m->element)
                return false;
    }
    return true;
}

/* The group's work on a throw-away kernel with a variable per axis (merged ones aside). */
static void emit_probe(tn__split *s, tn_merge_probe *probe) {
    tn_arena *arena = s->m.context->arena;
    *probe = (tn_merge_probe){.k = s->m.k, .arena = arena};
    s->probe = probe;
    for (int i = 0; i < s->m.group->space.shape.rank; i++)
        if (!s->merged[i])
            s->at[i] = tn_l_for(s->m.k, TN_LOOP_SERIAL, tn_l_int(s->m.k, 0), s->extent[i], "p");
    for (uint32_t j = 0; j < s->folds.len; j++) {
        tn__split_fold *f = &s->folds.data[j];
        tn_lx acc[TN_FOLD_REGISTERS], next[TN_FOLD_REGISTERS];
        for (int i = 0; i < f->fold.registers; i++)
            acc[i] = tn_l_const(s->m.k, f->fold.dtype[i], f->fold.init[i]);
        tn__split_fold_step(s, f, acc, next);
        for (int i = 0; i < f->fold.registers; i++) tn_vec_push(arena, &probe->values, next[i]);
    }
    for (uint32_t i = 0; i < s->m.group->stores.len; i++) {
        tn_value v = s->m.group->stores.data[i];
        tn_lx index[TN_MAX_RANK];
        tn__split_result_point(s, tn__split_member(s, v), index);
        tn_vec_push(arena, &probe->values, tn__split_leaf(&s->m.access, v, index));
        tn_vec_push(arena, &probe->offsets, tn_maker_offset(&s->m, v, index));
    }
}

static void find_merges(const tn_lower_context *c, uint32_t group, bool *merged) {
    tn__split s;
    tn_merge_probe probe;
    bool allowed[TN_MAX_RANK];
    split_init(&s, c, group, NULL);
    const tn_space *space = &s.m.group->space;
    int rank = space->shape.rank;
    for (int i = 0; i < rank; i++)
        allowed[i] = i + 1 < rank && space->folded[i] == space->folded[i + 1];
    emit_probe(&s, &probe);
    memset(merged, 0, TN_MAX_RANK * sizeof *merged);
    tn_merge_find(&probe, s.at, s.extent, rank, allowed, merged);
    split_init(&s, c, group, merged);
    emit_probe(&s, &probe);
    if (!tn_merge_holds(&probe, s.at, rank, merged))
        memset(merged, 0, TN_MAX_RANK * sizeof *merged);
}

bool tn_lower_split(const tn_lower_context *c, uint32_t group, tn_lowered *out) {
    const tn_group *g = &c->grouping->groups.data[group];
    if (!fits(c->grouping, g)) return false;
    bool merged[TN_MAX_RANK];
    find_merges(c, group, merged);
    tn__split s;
    split_init(&s, c, group, merged);
    s.s = tn_schedule_choose_split(c->grouping, g, (uint32_t)c->target->vector_bytes, merged,
                                   &s.cut_axis);
    if (s.s.shape != TN_SHAPE_SPLIT) return false;
    emit_kernel(&s);
    out->kernel = s.m.k;
    out->schedule = s.s;
    return true;
}
