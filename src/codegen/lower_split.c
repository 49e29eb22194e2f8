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
 * A sweep reads a piece in the order of memory, with the partial results of all rows in the slots. With
 * one piece (many rows, whose outer axes number the tasks) the slots are scratch. */
#include "codegen/lower.h"
#include "codegen/merge.h"
#include "loop/strips.h"

typedef struct split_fold {
    const tn_member *member;
    const tn_node_info *node;
    const tn_fold_rules *rules;
    tn_fold fold;
    uint32_t reg[TN_FOLD_REGISTERS], work[TN_FOLD_REGISTERS];
    tn_lx result; /* at the current point; NONE while folding */
} split_fold;

typedef struct split {
    tn_kernel_maker m; /* first */
    tn_schedule s;
    tn_lx at[TN_MAX_RANK], extent[TN_MAX_RANK];
    bool merged[TN_MAX_RANK];
    int vector_axis, cut_axis;
    int first;           /* of the row axes inside a task */
    bool begin;          /* a sweep: before the first element */
    tn_lx piece, lo, hi; /* of the cut axis */
    tn_lx row, rows;     /* number of the row (without the vector axis); of rows */
    TN_VEC(split_fold) folds;
    tn_merge_probe *probe;
} split;

/* ---- values --------------------------------------------------------------------------------- */

static split_fold *fold_of(split *s, tn_node n) {
    for (uint32_t i = 0; i < s->folds.len; i++)
        if (s->folds.data[i].member->node == n) return &s->folds.data[i];
    return NULL;
}

static const tn_member *member_of(const split *s, tn_value v) {
    tn_node node = tn_graph_value(s->m.graph, v)->node;
    const tn_member *m = s->m.group->members.data;
    while (m->node != node) m++;
    return m;
}

static tn_lx split_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    split *s = a->context;
    tn_node node = tn_graph_value(s->m.graph, v)->node;
    const tn_node_info *n = tn_graph_node(s->m.graph, node);
    split_fold *f = fold_of(s, node);
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

static void point(const split *s, const int8_t *axis, int rank, tn_lx *index) {
    for (int i = 0; i < rank; i++) index[i] = axis[i] >= 0 ? s->at[axis[i]] : tn_l_int(s->m.k, 0);
}

static void result_point(const split *s, const tn_member *m, tn_lx *index) {
    tn_value v = tn_graph_node(s->m.graph, m->node)->out;
    point(s, m->axis, tn_graph_type(s->m.graph, v)->shape.rank, index);
}

static void fold_step(split *s, split_fold *f, const tn_lx *acc, tn_lx *next) {
    const tn_attrs_reduce *a = f->node->attrs;
    tn_lx index[TN_MAX_RANK], at[TN_MAX_RANK];
    result_point(s, f->member, index);
    for (int i = 0; i < a->axes.count; i++) {
        int8_t axis = f->member->operand[a->axes.at[i]];
        at[i] = axis >= 0 ? s->at[axis] : tn_l_int(s->m.k, 0);
    }
    f->rules->step(&s->m.access.emit, f->node, index, at, acc, next);
}

/* ---- one piece ------------------------------------------------------------------------------ */

static void clear_registers(split *s, uint32_t width) {
    tn_loop *k = s->m.k;
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, width), "l");
    for (uint32_t j = 0; j < s->folds.len; j++) {
        split_fold *f = &s->folds.data[j];
        for (int i = 0; i < f->fold.registers; i++)
            tn_l_set(k, f->reg[i], lane, tn_l_const(k, f->fold.dtype[i], f->fold.init[i]));
    }
    tn_l_end(k);
}

static void step_lanes(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    split *s = context;
    tn_loop *k = s->m.k;
    tn_lx lane, acc[TN_FOLD_REGISTERS], next[TN_FOLD_REGISTERS];
    s->at[s->vector_axis] = tn_strip_open(k, base, width, limit, &lane);
    uint32_t mark = tn_access_mark(&s->m.access);
    for (uint32_t j = 0; j < s->folds.len; j++) {
        split_fold *f = &s->folds.data[j];
        for (int i = 0; i < f->fold.registers; i++) acc[i] = tn_l_get(k, f->reg[i], lane);
        fold_step(s, f, acc, next);
        for (int i = 0; i < f->fold.registers; i++) tn_l_set(k, f->reg[i], lane, next[i]);
    }
    tn_access_release(&s->m.access, mark);
    tn_strip_close(k, limit);
}

static bool is_one(const split *s, int axis) {
    return s->merged[axis] || s->m.group->space.shape.dim[axis] == 1;
}

/* The loops over the folded axes, but the vector axis. */
static int open_folded(split *s) {
    int opened = 0;
    for (int i = 0; i < s->m.group->space.shape.rank; i++) {
        if (!s->m.group->space.folded[i] || i == s->vector_axis || is_one(s, i)) continue;
        bool cut = i == s->cut_axis;
        s->at[i] = tn_l_for(s->m.k, TN_LOOP_SERIAL, cut ? s->lo : tn_l_int(s->m.k, 0),
                            cut ? s->hi : s->extent[i], "f");
        opened++;
    }
    return opened;
}

/* The same over the row axes; numbers the rows. */
static int open_rows(split *s) {
    int opened = 0;
    s->row = tn_l_int(s->m.k, 0);
    for (int i = 0; i < s->m.group->space.shape.rank; i++) {
        if (s->m.group->space.folded[i] || i == s->vector_axis || is_one(s, i)) continue;
        if (i < s->first) continue;
        s->at[i] = tn_l_for(s->m.k, TN_LOOP_SERIAL, tn_l_int(s->m.k, 0), s->extent[i], "row");
        s->row = tn_l_add(s->m.k, tn_l_mul(s->m.k, s->row, s->extent[i]), s->at[i]);
        opened++;
    }
    return opened;
}

static void close_loops(split *s, int n) {
    while (n-- > 0) tn_l_end(s->m.k);
}

/* Of row `row` of a piece; with vectors along rows, of the point x of the vector axis. */
static tn_lx slot(split *s, tn_lx piece, tn_lx x) {
    tn_lx row = s->row;
    if (x != TN_LX_NONE)
        row = tn_l_add(s->m.k, tn_l_mul(s->m.k, row, s->extent[s->vector_axis]), x);
    return tn_l_add(s->m.k, tn_l_mul(s->m.k, piece, s->rows), row);
}

static void combine_lanes(split *s, split_fold *f, uint32_t width) {
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

/* A row whose vectors run along the folded axis: one slot. */
static void folded_row(split *s) {
    tn_loop *k = s->m.k;
    uint32_t width = s->s.lanes * s->s.unroll;
    clear_registers(s, width);
    bool cut = s->cut_axis == s->vector_axis;
    int opened = open_folded(s);
    tn_strips(k, s->s.lanes, s->s.unroll, cut ? s->lo : tn_l_int(k, 0),
              cut ? s->hi : s->extent[s->vector_axis], step_lanes, s);
    close_loops(s, opened);
    for (uint32_t j = 0; j < s->folds.len; j++) {
        split_fold *f = &s->folds.data[j];
        if (!f->fold.simple) combine_lanes(s, f, width);
        for (int i = 0; i < f->fold.registers; i++) {
            tn_lx value = f->fold.simple ? tn_l_fold(k, f->fold.op, f->reg[i])
                                         : tn_l_get(k, f->reg[i], tn_l_int(k, 0));
            tn_l_store(k, f->work[i], slot(s, s->piece, TN_LX_NONE), value);
        }
    }
}

/* A strip of rows: one slot per lane. */
static void row_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    split *s = context;
    tn_loop *k = s->m.k;
    tn_lx lane;
    clear_registers(s, width);
    int opened = open_folded(s);
    step_lanes(s, base, width, limit);
    close_loops(s, opened);
    tn_lx x = tn_strip_open(k, base, width, limit, &lane);
    for (uint32_t j = 0; j < s->folds.len; j++) {
        split_fold *f = &s->folds.data[j];
        for (int i = 0; i < f->fold.registers; i++)
            tn_l_store(k, f->work[i], slot(s, s->piece, x), tn_l_get(k, f->reg[i], lane));
    }
    tn_strip_close(k, limit);
}

/* The slots of a strip of rows: at first what folding begins with, then one element more. */
static void sweep_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    split *s = context;
    tn_loop *k = s->m.k;
    tn_lx lane, acc[TN_FOLD_REGISTERS], next[TN_FOLD_REGISTERS];
    tn_lx x = s->at[s->vector_axis] = tn_strip_open(k, base, width, limit, &lane);
    uint32_t mark = tn_access_mark(&s->m.access);
    for (uint32_t j = 0; j < s->folds.len; j++) {
        split_fold *f = &s->folds.data[j];
        tn_lx at = slot(s, s->piece, x);
        for (int i = 0; i < f->fold.registers; i++) {
            if (s->begin)
                next[i] = tn_l_const(k, f->fold.dtype[i], f->fold.init[i]);
            else
                acc[i] = tn_l_load(k, f->work[i], at, TN_LX_NONE, TN_LX_NONE);
        }
        if (!s->begin) fold_step(s, f, acc, next);
        for (int i = 0; i < f->fold.registers; i++) tn_l_store(k, f->work[i], at, next[i]);
    }
    tn_access_release(&s->m.access, mark);
    tn_strip_close(k, limit);
}

static void over_rows(split *s, void (*row)(split *s), tn_strip_work *strip) {
    int opened = open_rows(s);
    if (s->s.fold_lanes)
        row(s);
    else
        tn_strips(s->m.k, s->s.lanes, s->s.unroll, tn_l_int(s->m.k, 0), s->extent[s->vector_axis],
                  strip, s);
    close_loops(s, opened);
}

static void sweep(split *s) {
    s->begin = true;
    over_rows(s, NULL, sweep_strip);
    s->begin = false;
    int opened = open_folded(s);
    over_rows(s, NULL, sweep_strip);
    close_loops(s, opened);
}

/* ---- putting the pieces together ------------------------------------------------------------ */

static void store_results(split *s) {
    uint32_t mark = tn_access_mark(&s->m.access);
    for (uint32_t i = 0; i < s->m.group->stores.len; i++) {
        tn_value v = s->m.group->stores.data[i];
        tn_lx index[TN_MAX_RANK];
        result_point(s, member_of(s, v), index);
        tn_maker_store(&s->m, v, index, split_leaf(&s->m.access, v, index));
    }
    tn_access_release(&s->m.access, mark);
}

/* The accumulators at `at` (a lane or 0) begin with the first piece's slot x. */
static void fetch(split *s, split_fold *f, tn_lx piece, tn_lx x, tn_lx *out) {
    for (int i = 0; i < f->fold.registers; i++)
        out[i] = tn_l_load(s->m.k, f->work[i], slot(s, piece, x), TN_LX_NONE, TN_LX_NONE);
}

static void combine_slots(split *s, tn_lx piece, tn_lx x, tn_lx at, bool first) {
    for (uint32_t j = 0; j < s->folds.len; j++) {
        split_fold *f = &s->folds.data[j];
        tn_lx a[TN_FOLD_REGISTERS], b[TN_FOLD_REGISTERS], c[TN_FOLD_REGISTERS];
        fetch(s, f, piece, x, b);
        for (int i = 0; i < f->fold.registers && !first; i++)
            a[i] = tn_l_get(s->m.k, f->reg[i], at);
        if (!first) f->rules->combine(s->m.k, s->m.graph, f->node, a, b, c);
        for (int i = 0; i < f->fold.registers; i++)
            tn_l_set(s->m.k, f->reg[i], at, first ? b[i] : c[i]);
    }
}

static void finish_folds(split *s, tn_lx at) {
    for (uint32_t j = 0; j < s->folds.len; j++) {
        split_fold *f = &s->folds.data[j];
        tn_lx acc[TN_FOLD_REGISTERS], index[TN_MAX_RANK];
        for (int i = 0; i < f->fold.registers; i++) acc[i] = tn_l_get(s->m.k, f->reg[i], at);
        result_point(s, f->member, index);
        f->result = f->rules->finish(&s->m.access.emit, f->node, index, acc);
    }
}

static void combined_row(split *s) {
    tn_loop *k = s->m.k;
    tn_lx zero = tn_l_int(k, 0);
    combine_slots(s, zero, TN_LX_NONE, zero, true);
    tn_lx p = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 1), tn_l_int(k, s->s.pieces), "piece");
    combine_slots(s, p, TN_LX_NONE, zero, false);
    tn_l_end(k);
    finish_folds(s, zero);
    store_results(s);
}

static void combined_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    split *s = context;
    tn_loop *k = s->m.k;
    tn_lx lane, x = tn_strip_open(k, base, width, limit, &lane);
    combine_slots(s, tn_l_int(k, 0), x, lane, true);
    tn_strip_close(k, limit);
    tn_lx p = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 1), tn_l_int(k, s->s.pieces), "piece");
    x = tn_strip_open(k, base, width, limit, &lane);
    combine_slots(s, p, x, lane, false);
    tn_strip_close(k, limit);
    tn_l_end(k);
    s->at[s->vector_axis] = tn_strip_open(k, base, width, limit, &lane);
    finish_folds(s, lane);
    store_results(s);
    tn_strip_close(k, limit);
}

/* ---- the kernel ----------------------------------------------------------------------------- */

static void split_init(split *s, const tn_lower_context *c, uint32_t group, const bool *merged) {
    memset(s, 0, sizeof *s);
    tn_maker_init(&s->m, c, group, "split");
    s->m.access.leaf = split_leaf;
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
        split_fold f = {.member = &s->m.group->members.data[i]};
        f.node = tn_graph_node(s->m.graph, f.member->node);
        const tn_lower *l = &tn_op_rules_of(f.node->op)->lower;
        if (l->kind != TN_LOWER_FOLD) continue;
        f.rules = l->fold;
        f.rules->describe(s->m.graph, f.node, &f.fold);
        tn_vec_push(c->arena, &s->folds, f);
    }
}

static void make_storage(split *s) {
    tn_loop *k = s->m.k;
    tn_lx slots = tn_l_mul(k, tn_l_int(k, s->s.pieces), s->rows);
    for (uint32_t j = 0; j < s->folds.len; j++) {
        split_fold *f = &s->folds.data[j];
        for (int i = 0; i < f->fold.registers; i++) {
            f->reg[i] = tn_l_register(k, f->fold.dtype[i], s->s.lanes * s->s.unroll, "acc");
            f->work[i] = tn_l_buffer(k, s->s.pieces > 1 ? TN_LBUF_WORK : TN_LBUF_SCRATCH,
                                     f->fold.dtype[i], "part");
            k->buffers.data[f->work[i]].size = slots;
        }
    }
}

/* The part of the cut axis that the task folds. */
static void cut_piece(split *s) {
    tn_loop *k = s->m.k;
    tn_lx extent = s->extent[s->cut_axis];
    tn_lx unit = tn_l_int(k, s->s.pieces * s->s.rows_per_task);
    tn_lx size = tn_l_div(k, tn_l_add(k, extent, tn_l_sub(k, unit, tn_l_int(k, 1))), unit);
    size = tn_l_mul(k, size, tn_l_int(k, s->s.rows_per_task));
    s->lo = tn_l_min(k, tn_l_mul(k, s->piece, size), extent);
    s->hi = tn_l_min(k, tn_l_add(k, s->lo, size), extent);
}

/* Tasks are numbered by the axes before the first folded one. */
static void emit_whole(split *s) {
    tn_loop *k = s->m.k;
    tn_lx extent[TN_MAX_RANK], at[TN_MAX_RANK];
    int axis[TN_MAX_RANK], n = 0;
    k->tasks = tn_l_int(k, 1);
    for (int i = 0; i < s->first; i++) {
        if (is_one(s, i)) continue;
        extent[n] = s->extent[i];
        axis[n++] = i;
        k->tasks = tn_l_mul(k, k->tasks, s->extent[i]);
    }
    tn_maker_split(k, tn_l_task(k), extent, n, at);
    for (int i = 0; i < n; i++) s->at[axis[i]] = at[i];
    s->piece = s->lo = tn_l_int(k, 0);
    s->hi = s->extent[s->cut_axis];
    sweep(s);
    over_rows(s, combined_row, combined_strip);
}

static void emit_pieces(split *s) {
    tn_loop *k = s->m.k;
    k->tasks = tn_l_int(k, s->s.pieces);
    k->counters = 1;
    s->piece = tn_l_task(k);
    cut_piece(s);
    if (s->s.sweep)
        sweep(s);
    else
        over_rows(s, folded_row, row_strip);
    tn_lx ticket = tn_l_ticket(k, tn_l_int(k, 0));
    tn_l_if(k, tn_l_le(k, tn_l_int(k, s->s.pieces - 1), ticket));
    over_rows(s, combined_row, combined_strip);
    tn_l_end(k);
}

static void emit_kernel(split *s) {
    tn_loop *k = s->m.k;
    const tn_space *space = &s->m.group->space;
    while (s->s.pieces == 1 && !space->folded[s->first]) s->first++;
    s->rows = tn_l_int(k, 1);
    for (int i = s->first; i < space->shape.rank; i++)
        if (!space->folded[i] && !is_one(s, i)) s->rows = tn_l_mul(k, s->rows, s->extent[i]);
    make_storage(s);
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
static void emit_probe(split *s, tn_merge_probe *probe) {
    tn_arena *arena = s->m.context->arena;
    *probe = (tn_merge_probe){.k = s->m.k, .arena = arena};
    s->probe = probe;
    for (int i = 0; i < s->m.group->space.shape.rank; i++)
        if (!s->merged[i])
            s->at[i] = tn_l_for(s->m.k, TN_LOOP_SERIAL, tn_l_int(s->m.k, 0), s->extent[i], "p");
    for (uint32_t j = 0; j < s->folds.len; j++) {
        split_fold *f = &s->folds.data[j];
        tn_lx acc[TN_FOLD_REGISTERS], next[TN_FOLD_REGISTERS];
        for (int i = 0; i < f->fold.registers; i++)
            acc[i] = tn_l_const(s->m.k, f->fold.dtype[i], f->fold.init[i]);
        fold_step(s, f, acc, next);
        for (int i = 0; i < f->fold.registers; i++) tn_vec_push(arena, &probe->values, next[i]);
    }
    for (uint32_t i = 0; i < s->m.group->stores.len; i++) {
        tn_value v = s->m.group->stores.data[i];
        tn_lx index[TN_MAX_RANK];
        result_point(s, member_of(s, v), index);
        tn_vec_push(arena, &probe->values, split_leaf(&s->m.access, v, index));
        tn_vec_push(arena, &probe->offsets, tn_maker_offset(&s->m, v, index));
    }
}

static void find_merges(const tn_lower_context *c, uint32_t group, bool *merged) {
    split s;
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
    split s;
    split_init(&s, c, group, merged);
    s.s = tn_schedule_choose_split(c->grouping, g, (uint32_t)c->target->vector_bytes, merged,
                                   &s.cut_axis);
    if (s.s.shape != TN_SHAPE_SPLIT) return false;
    emit_kernel(&s);
    out->kernel = s.m.k;
    out->schedule = s.s;
    return true;
}
