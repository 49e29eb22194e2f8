/* Contractions: folds of the epilogue's elements over the columns, the rows, or all.
 *
 * A task folds what it computes, lane by lane: over rows into a register that lives as long as a
 * panel, over everything into one that lives as long as the task, over columns into a row of scratch
 * per row of the task. Partial results go to numbered slots; the task that takes the last ticket
 * combines the slots of each result in the order of their numbers, so bits do not depend on who
 * computed what, and stores the folds and what follows from them. What is folded over each product
 * of a batch has a ticket for each, so that many members are not left to the last task.
 *
 *   over                              slots of one result          results
 *   columns (ROWS)                    ranges of panels             batch, row
 *   batch and rows (COLUMNS)          batch, block of rows         column
 *   all (NOTHING)                     tasks                        one
 *   rows (BATCH_COLUMNS)              blocks of rows               batch, column
 *   rows and columns (BATCH)          tasks of the product         batch */
#include "codegen/contraction.h"
#include "loop/strips.h"

/* ---- finding and making --------------------------------------------------------------------- */

void tn__tile_find_folds(tn__tile *t) {
    for (uint32_t i = 0; i < t->m.group->members.len; i++) {
        tn__tile_fold f = {.member = &t->m.group->members.data[i]};
        f.node = tn_graph_node(t->m.graph, f.member->node);
        const tn_lower *l = &tn_op_rules_of(f.node->op)->lower;
        /* Folds inside of an attention are not of its epilogue. */
        if (l->kind != TN_LOWER_FOLD || f.member->along == TN_ALONG_SPACE) continue;
        f.rules = l->fold;
        f.rules->describe(t->m.graph, f.node, &f.fold);
        tn_vec_push(t->m.context->arena, &t->folds, f);
    }
}

static bool in_batch(tn_along along) {
    return along == TN_ALONG_BATCH_COLUMNS || along == TN_ALONG_BATCH;
}

static bool over_columns(tn_along along) {
    return along == TN_ALONG_NOTHING || along == TN_ALONG_BATCH;
}

/* Results that the task with the last ticket puts together. */
static tn_lx results_of(const tn__tile *t, tn_along along) {
    tn_loop *k = t->m.k;
    if (over_columns(along)) return tn_l_int(k, 1);
    if (along != TN_ALONG_ROWS) return t->n_total;
    return tn_l_mul(k, t->tasks.batch, t->tasks.rows);
}

/* Slots of all results, one after another for each slot number. */
static tn_lx all_results_of(const tn__tile *t, tn_along along) {
    tn_lx results = results_of(t, along);
    return in_batch(along) ? tn_l_mul(t->m.k, t->tasks.batch, results) : results;
}

static tn_lx slots_of(const tn__tile *t, tn_along along) {
    if (along == TN_ALONG_NOTHING) return t->tasks.count;
    if (along == TN_ALONG_COLUMNS) return tn_l_mul(t->m.k, t->tasks.batch, t->tasks.blocks);
    if (along == TN_ALONG_BATCH_COLUMNS) return t->tasks.blocks;
    if (along == TN_ALONG_BATCH) return tn_l_mul(t->m.k, t->tasks.ranges, t->tasks.blocks);
    return t->tasks.ranges;
}

/* At least slots_of(), in terms that sizes of buffers may have. */
static tn_lx most_slots(const tn__tile *t, tn_along along) {
    tn_loop *k = t->m.k;
    if (!t->s.ranges[0] || along == TN_ALONG_COLUMNS || along == TN_ALONG_BATCH_COLUMNS)
        return slots_of(t, along);
    tn_lx ranges = tn_l_int(k, t->s.ranges[0]);
    if (along == TN_ALONG_ROWS) return ranges;
    tn_lx tasks = tn_l_mul(k, ranges, t->tasks.blocks);
    return along == TN_ALONG_BATCH ? tasks : tn_l_mul(k, tasks, t->tasks.batch);
}

static tn_lx slot_number(const tn__tile *t, tn_along along) {
    tn_loop *k = t->m.k;
    if (along == TN_ALONG_NOTHING) return t->tasks.number;
    if (along == TN_ALONG_ROWS) return t->tasks.range;
    if (along == TN_ALONG_BATCH_COLUMNS) return t->tasks.block;
    if (along == TN_ALONG_BATCH)
        return tn_l_add(k, tn_l_mul(k, t->tasks.range, t->tasks.blocks), t->tasks.block);
    return tn_l_add(k, tn_l_mul(k, t->b_linear, t->tasks.blocks), t->tasks.block);
}

static tn_lx slot(const tn__tile *t, tn_along along, tn_lx number, tn_lx result) {
    tn_loop *k = t->m.k;
    tn_lx first = tn_l_mul(k, number, all_results_of(t, along));
    if (in_batch(along)) first = tn_l_add(k, first, tn_l_mul(k, t->b_linear, results_of(t, along)));
    return tn_l_add(k, first, result);
}

void tn__tile_make_folds(tn__tile *t) {
    tn_loop *k = t->m.k;
    for (uint32_t j = 0; j < t->folds.len; j++) {
        tn__tile_fold *f = &t->folds.data[j];
        tn_along along = f->member->along;
        for (int i = 0; i < f->fold.registers; i++) {
            tn_dtype dtype = f->fold.dtype[i];
            f->reg[i] = tn_l_register(k, dtype, t->s.nr, "part");
            if (along == TN_ALONG_ROWS)
                f->rows[i] = tn_l_scratch(k, dtype, tn_l_int(k, t->s.m_block * t->s.nr), "parts");
            f->work[i] = tn_l_buffer(k, TN_LBUF_WORK, dtype, "slots");
            k->buffers.data[f->work[i]].size =
                tn_l_mul(k, most_slots(t, along), all_results_of(t, along));
        }
        k->counters = TN_MAX(k->counters, 1);
    }
    int64_t batch = 0;
    t->first_ticket = k->counters;
    for (uint32_t j = 0; j < t->folds.len && !batch; j++)
        if (in_batch(t->folds.data[j].member->along))
            TN_ASSERT(tn_l_is_const_int(k, t->tasks.batch, &batch)); /* tn__fits has seen to it */
    k->counters += (uint32_t)batch;
}

/* ---- folding -------------------------------------------------------------------------------- */

static tn_lx lane_place(const tn__tile *t, tn_lx row, tn_lx lane) {
    tn_loop *k = t->m.k;
    tn_lx local = tn_l_sub(k, row, t->first_row);
    return tn_l_add(k, tn_l_mul(k, local, tn_l_int(k, t->s.nr)), lane);
}

static void point_of(const tn__tile *t, const int8_t *axis, int rank, tn_lx *index) {
    for (int i = 0; i < rank; i++) index[i] = axis[i] >= 0 ? t->at[axis[i]] : tn_l_int(t->m.k, 0);
}

static void step(tn__tile *t, const tn__tile_fold *f, const tn_lx *acc, tn_lx *next) {
    const tn_attrs_reduce *a = f->node->attrs;
    tn_lx index[TN_MAX_RANK], at[TN_MAX_RANK];
    point_of(t, f->member->axis, tn_graph_type(t->m.graph, f->node->out)->shape.rank, index);
    for (int i = 0; i < a->axes.count; i++) {
        int8_t axis = f->member->operand[a->axes.at[i]];
        at[i] = axis >= 0 ? t->at[axis] : tn_l_int(t->m.k, 0);
    }
    f->rules->step(&t->m.access.emit, f->node, index, at, acc, next);
}

void tn__fold_point(tn__tile *t, tn_lx row, tn_lx lane) {
    tn_loop *k = t->m.k;
    for (uint32_t j = 0; j < t->folds.len; j++) {
        tn__tile_fold *f = &t->folds.data[j];
        bool rows = f->member->along == TN_ALONG_ROWS;
        tn_lx acc[TN_FOLD_REGISTERS], next[TN_FOLD_REGISTERS];
        for (int i = 0; i < f->fold.registers; i++)
            acc[i] =
                t->probe ? tn_l_const(k, f->fold.dtype[i], f->fold.init[i])
                : rows ? tn_l_load(k, f->rows[i], lane_place(t, row, lane), TN_LX_NONE, TN_LX_NONE)
                       : tn_l_get(k, f->reg[i], lane);
        step(t, f, acc, next);
        for (int i = 0; i < f->fold.registers; i++) {
            if (t->probe)
                tn_vec_push(t->probe->arena, &t->probe->values, next[i]);
            else if (rows)
                tn_l_store(k, f->rows[i], lane_place(t, row, lane), next[i]);
            else
                tn_l_set(k, f->reg[i], lane, next[i]);
        }
    }
}

static void clear(tn__tile *t, const tn__tile_fold *f, tn_lx row) {
    tn_loop *k = t->m.k;
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, t->s.nr), "l");
    for (int i = 0; i < f->fold.registers; i++) {
        tn_lx init = tn_l_const(k, f->fold.dtype[i], f->fold.init[i]);
        if (row == TN_LX_NONE)
            tn_l_set(k, f->reg[i], lane, init);
        else
            tn_l_store(k, f->rows[i], lane_place(t, row, lane), init);
    }
    tn_l_end(k);
}

void tn__folds_begin(tn__tile *t, tn_along along, tn_lx lo, tn_lx hi) {
    for (uint32_t j = 0; j < t->folds.len; j++) {
        const tn__tile_fold *f = &t->folds.data[j];
        if (f->member->along != along) continue;
        bool rows = along == TN_ALONG_ROWS;
        tn_lx row = rows ? tn_l_for(t->m.k, TN_LOOP_SERIAL, lo, hi, "row") : TN_LX_NONE;
        clear(t, f, row);
        if (rows) tn_l_end(t->m.k);
    }
}

/* ---- slots ---------------------------------------------------------------------------------- */

/* The lanes of f->reg, in order, as one value per register. */
static void fold_lanes(tn__tile *t, const tn__tile_fold *f, tn_lx *out) {
    tn_loop *k = t->m.k;
    tn_lx zero = tn_l_int(k, 0);
    if (f->fold.simple && (t->s.nr & (t->s.nr - 1)) == 0) {
        out[0] = tn_l_fold(k, f->fold.op, f->reg[0]);
        return;
    }
    tn_lx a[TN_FOLD_REGISTERS], b[TN_FOLD_REGISTERS], c[TN_FOLD_REGISTERS];
    tn_lx lane = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 1), tn_l_int(k, t->s.nr), "lane");
    for (int i = 0; i < f->fold.registers; i++) {
        a[i] = tn_l_get(k, f->reg[i], zero);
        b[i] = tn_l_get(k, f->reg[i], lane);
    }
    f->rules->combine(k, t->m.graph, f->node, a, b, c);
    for (int i = 0; i < f->fold.registers; i++) tn_l_set(k, f->reg[i], zero, c[i]);
    tn_l_end(k);
    for (int i = 0; i < f->fold.registers; i++) out[i] = tn_l_get(k, f->reg[i], zero);
}

static void keep_columns(tn__tile *t, const tn__tile_fold *f, tn_lx n0) {
    tn_loop *k = t->m.k;
    tn_along along = f->member->along;
    tn_lx lane, limit = tn__columns_exact(t) ? TN_LX_NONE : t->n_total;
    tn_lx column = tn_strip_open(k, n0, t->s.nr, limit, &lane);
    tn_lx at = slot(t, along, slot_number(t, along), column);
    for (int i = 0; i < f->fold.registers; i++)
        tn_l_store(k, f->work[i], at, tn_l_get(k, f->reg[i], lane));
    tn_strip_close(k, limit);
}

static void keep_rows(tn__tile *t, const tn__tile_fold *f, tn_lx lo, tn_lx hi) {
    tn_loop *k = t->m.k;
    tn_lx value[TN_FOLD_REGISTERS], row = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "row");
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, t->s.nr), "l");
    for (int i = 0; i < f->fold.registers; i++)
        tn_l_set(k, f->reg[i], lane,
                 tn_l_load(k, f->rows[i], lane_place(t, row, lane), TN_LX_NONE, TN_LX_NONE));
    tn_l_end(k);
    fold_lanes(t, f, value);
    tn_lx result = tn_l_add(k, tn_l_mul(k, t->b_linear, t->tasks.rows), row);
    tn_lx at = slot(t, TN_ALONG_ROWS, slot_number(t, TN_ALONG_ROWS), result);
    for (int i = 0; i < f->fold.registers; i++) tn_l_store(k, f->work[i], at, value[i]);
    tn_l_end(k);
}

static void keep_one(tn__tile *t, const tn__tile_fold *f) {
    tn_along along = f->member->along;
    tn_lx value[TN_FOLD_REGISTERS];
    fold_lanes(t, f, value);
    tn_lx at = slot(t, along, slot_number(t, along), tn_l_int(t->m.k, 0));
    for (int i = 0; i < f->fold.registers; i++) tn_l_store(t->m.k, f->work[i], at, value[i]);
}

void tn__folds_keep(tn__tile *t, tn_along along, tn_lx lo, tn_lx hi) {
    for (uint32_t j = 0; j < t->folds.len; j++) {
        const tn__tile_fold *f = &t->folds.data[j];
        if (f->member->along != along) continue;
        if (along == TN_ALONG_ROWS)
            keep_rows(t, f, lo, hi);
        else if (!over_columns(along))
            keep_columns(t, f, lo);
        else
            keep_one(t, f);
    }
}

/* ---- putting the slots together ------------------------------------------------------------- */

typedef struct finish {
    tn__tile *t;
    tn_along along;
} finish;

static void combine_slot(const finish *e, tn_lx number, tn_lx x, tn_lx lane, bool first) {
    tn__tile *t = e->t;
    tn_loop *k = t->m.k;
    for (uint32_t j = 0; j < t->folds.len; j++) {
        tn__tile_fold *f = &t->folds.data[j];
        if (f->member->along != e->along) continue;
        tn_lx a[TN_FOLD_REGISTERS], b[TN_FOLD_REGISTERS], c[TN_FOLD_REGISTERS];
        for (int i = 0; i < f->fold.registers; i++) {
            b[i] = tn_l_load(k, f->work[i], slot(t, e->along, number, x), TN_LX_NONE, TN_LX_NONE);
            if (!first) a[i] = tn_l_get(k, f->reg[i], lane);
        }
        if (!first) f->rules->combine(k, t->m.graph, f->node, a, b, c);
        for (int i = 0; i < f->fold.registers; i++)
            tn_l_set(k, f->reg[i], lane, first ? b[i] : c[i]);
    }
}

/* The point of the space that result x stands for; axes that are folded stay at 0. */
static void result_point(const finish *e, tn_lx x) {
    tn__tile *t = e->t;
    tn_loop *k = t->m.k;
    tn_lx rows = t->tasks.rows, index[TN_MAX_RANK];
    for (int i = 0; i < TN_MAX_RANK; i++) t->at[i] = tn_l_int(k, 0);
    if (in_batch(e->along)) memcpy(t->at, t->b_index, sizeof(tn_lx) * (size_t)t->c.b);
    if (e->along == TN_ALONG_COLUMNS || e->along == TN_ALONG_BATCH_COLUMNS) {
        tn__split_plain(k, x, t->c.n_extent, t->c.n, index);
        memcpy(t->at + t->c.b + t->c.m, index, sizeof(tn_lx) * (size_t)t->c.n);
    } else if (e->along == TN_ALONG_ROWS) {
        tn__split_plain(k, tn_l_div(k, x, rows), t->c.b_extent, t->c.b, index);
        memcpy(t->at, index, sizeof(tn_lx) * (size_t)t->c.b);
        tn__split_plain(k, tn_l_mod(k, x, rows), t->c.m_extent, t->c.m, index);
        memcpy(t->at + t->c.b, index, sizeof(tn_lx) * (size_t)t->c.m);
    }
}

static void store_results(const finish *e, tn_lx lane) {
    tn__tile *t = e->t;
    uint32_t mark = tn_access_mark(&t->m.access);
    for (uint32_t j = 0; j < t->folds.len; j++) {
        tn__tile_fold *f = &t->folds.data[j];
        if (f->member->along != e->along) continue;
        tn_lx acc[TN_FOLD_REGISTERS], index[TN_MAX_RANK];
        for (int i = 0; i < f->fold.registers; i++) acc[i] = tn_l_get(t->m.k, f->reg[i], lane);
        point_of(t, f->member->axis, tn_graph_type(t->m.graph, f->node->out)->shape.rank, index);
        tn_access_define(&t->m.access, f->node->out, index,
                         f->rules->finish(&t->m.access.emit, f->node, index, acc));
    }
    for (uint32_t i = 0; i < t->m.group->stores.len; i++) {
        tn_value v = t->m.group->stores.data[i];
        const tn_member *m = tn__tile_member(t, v);
        tn_lx index[TN_MAX_RANK];
        if (!m || m->along != e->along) continue;
        point_of(t, m->axis, tn_graph_type(t->m.graph, v)->shape.rank, index);
        tn_maker_store(&t->m, v, index, tn_access_value(&t->m.access, v, index));
    }
    tn_access_release(&t->m.access, mark);
}

static void finish_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    const finish *e = context;
    tn_loop *k = e->t->m.k;
    tn_lx lane, x = tn_strip_open(k, base, width, limit, &lane);
    combine_slot(e, tn_l_int(k, 0), x, lane, true);
    tn_strip_close(k, limit);
    tn_lx number = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 1), slots_of(e->t, e->along), "slot");
    x = tn_strip_open(k, base, width, limit, &lane);
    combine_slot(e, number, x, lane, false);
    tn_strip_close(k, limit);
    tn_l_end(k);
    x = tn_strip_open(k, base, width, limit, &lane);
    result_point(e, x);
    store_results(e, lane);
    tn_strip_close(k, limit);
}

/* The last task of `count` with this counter puts together what is folded along first … last. */
static void finish_with_ticket(tn__tile *t, tn_lx counter, tn_lx count, tn_along first,
                               tn_along last) {
    tn_loop *k = t->m.k;
    tn_lx ticket = tn_l_ticket(k, counter);
    tn_l_if(k, tn_l_le(k, tn_l_sub(k, count, tn_l_int(k, 1)), ticket));
    for (tn_along along = first; along <= last; along++) {
        finish e = {.t = t, .along = along};
        bool any = false;
        for (uint32_t j = 0; j < t->folds.len; j++) any |= t->folds.data[j].member->along == along;
        if (any)
            tn_strips(k, t->s.lanes, 1, tn_l_int(k, 0), results_of(t, along), finish_strip, &e);
    }
    tn_l_end(k);
}

void tn__folds_finish(tn__tile *t) {
    tn_loop *k = t->m.k;
    bool whole = false, batch = false;
    for (uint32_t j = 0; j < t->folds.len; j++) {
        bool own = in_batch(t->folds.data[j].member->along);
        batch |= own;
        whole |= !own;
    }
    if (batch) {
        tn_lx counter = tn_l_add(k, tn_l_int(k, t->first_ticket), t->b_linear);
        tn_lx count = tn_l_mul(k, t->tasks.ranges, t->tasks.blocks);
        finish_with_ticket(t, counter, count, TN_ALONG_BATCH_COLUMNS, TN_ALONG_BATCH);
    }
    if (whole)
        finish_with_ticket(t, tn_l_int(k, 0), t->tasks.count, TN_ALONG_ROWS, TN_ALONG_NOTHING);
}
