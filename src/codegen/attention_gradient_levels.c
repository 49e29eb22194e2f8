/* The gradient of attention: what happens between its sources and its results.
 *
 * Rows of the scores go through levels: a level ends with folds over the columns that the next one needs
 * (the maximum, then sums). A value that a later level or a result reads is kept in a slot, a matrix of
 * the block's rows by all columns; slots whose value nobody reads any more are used again, also by what is
 * made of it element by element. All else is evaluated where it is read. */
#include <math.h>

#include "codegen/attention_gradient.h"
#include "loop/strips.h"

/* ---- what a level reads --------------------------------------------------------------------- */

static uint32_t place_of(const tn__score_gradient *f, tn_value v) {
    const tn_graph *g = f->m.graph;
    const tn_node_info *n = tn_graph_producer(g, v);
    while (!f->y->place[tn_graph_value(g, v)->node]) { /* views of it, or from outside */
        const tn_lower *l = &tn_op_rules_of(n->op)->lower;
        if (l->kind != TN_LOWER_EXPRESSION || !l->view || n->in_count != 1) return UINT32_MAX;
        v = n->in[0];
        n = tn_graph_producer(g, v);
    }
    return f->y->place[tn_graph_value(g, v)->node] - 1;
}

static bool is_source(const tn__score_gradient *f, uint32_t place) {
    return f->y->inner.data[place].kind == TN_SCORE_SOURCE;
}

static bool is_kept(const tn__score_gradient *f, uint32_t place) {
    return f->value[place].slot != UINT32_MAX;
}

/* Marks what `place`, evaluated at `level`, reads from slots and of its row; what the same level keeps is
 * evaluated before. */
static void mark_reads(const tn__score_gradient *f, uint32_t place, uint32_t level, bool *reads) {
    const tn_node_info *n = tn_graph_node(f->m.graph, f->y->inner.data[place].node);
    for (uint32_t i = 0; i < n->in_count; i++) {
        uint32_t from = place_of(f, n->in[i]);
        if (from == UINT32_MAX || reads[from]) continue;
        bool there = is_kept(f, from) && (f->value[from].from < level || is_source(f, from));
        if (there || f->y->inner.data[from].row)
            reads[from] = true;
        else if (!is_kept(f, from))
            mark_reads(f, from, level, reads);
    }
}

/* What a level does: whether it keeps `place`, or folds it away. */
static bool keeps_at(const tn__score_gradient *f, uint32_t place, uint32_t level) {
    return is_kept(f, place) && !is_source(f, place) && f->value[place].from == level;
}
static bool folds_at(const tn__score_gradient *f, uint32_t place, uint32_t level) {
    const tn_score_node *s = &f->y->inner.data[place];
    return s->kind == TN_SCORE_FOLD && s->needed && s->level == level + 1;
}

static bool *reads_of(const tn__score_gradient *f, uint32_t level) {
    bool *reads = TN_NEW_N(f->m.context->arena, bool, f->y->inner.len);
    for (uint32_t i = 0; i < f->y->inner.len; i++)
        if (keeps_at(f, i, level) || folds_at(f, i, level)) mark_reads(f, i, level, reads);
    return reads;
}

/* ---- slots ---------------------------------------------------------------------------------- */

enum { ANY_SLOT = UINT32_MAX - 1 };

static void keep(tn__score_gradient *f, uint32_t place) {
    if (is_kept(f, place)) return;
    f->value[place].slot = ANY_SLOT;
    f->value[place].from = f->y->inner.data[place].level;
}

/* Elements that a later level reads; flags are evaluated again. */
static void keep_what_is_read_later(tn__score_gradient *f) {
    const tn_graph *g = f->m.graph;
    for (uint32_t i = 0; i < f->y->inner.len; i++) {
        const tn_score_node *s = &f->y->inner.data[i];
        const tn_node_info *n = tn_graph_node(g, s->node);
        uint32_t level = s->kind == TN_SCORE_FOLD ? s->level - 1 : s->level;
        bool elements = s->kind == TN_SCORE_FOLD || !s->row;
        for (uint32_t j = 0; s->needed && elements && j < n->in_count; j++) {
            uint32_t from = place_of(f, n->in[j]);
            if (from == UINT32_MAX || f->y->inner.data[from].row) continue;
            bool flag = tn_graph_type(g, tn__score_value_of(f, from))->dtype == TN_bool;
            if (f->y->inner.data[from].level < level && !flag) keep(f, from);
        }
    }
}

static void find_last_reads(tn__score_gradient *f) {
    for (uint32_t level = 0; level < f->y->levels; level++) {
        const bool *reads = reads_of(f, level);
        for (uint32_t i = 0; i < f->y->inner.len; i++)
            if (reads[i]) f->value[i].until = level;
    }
    for (uint32_t i = 0; i < f->results; i++) f->value[f->result[i].operand].until = UINT32_MAX;
}

/* What is made at a level may lie where something lies that this level reads last. */
static void place_in_slots(tn__score_gradient *f) {
    uint32_t *until = TN_NEW_N(f->m.context->arena, uint32_t, f->y->inner.len);
    bool *used = TN_NEW_N(f->m.context->arena, bool, f->y->inner.len);
    uint32_t count = 0;
    for (uint32_t step = 0; step <= f->y->levels; step++) /* sources first */
        for (uint32_t i = 0; i < f->y->inner.len; i++) {
            uint32_t level = step ? step - 1 : 0, to = 0;
            bool now = is_source(f, i) ? step == 0 : step && keeps_at(f, i, level);
            if (!is_kept(f, i) || !now) continue;
            while (to < count && (until[to] > level || is_source(f, i) || !used[to])) to++;
            count = TN_MAX(count, to + 1);
            used[to] = true;
            until[to] = f->value[i].until;
            f->value[i].slot = to;
        }
    for (uint32_t i = 0; i < count; i++) tn_vec_push(f->m.context->arena, &f->slots, 0);
}

void tn__score_plan(tn__score_gradient *f) {
    uint32_t count = f->y->inner.len;
    f->value = TN_NEW_N(f->m.context->arena, tn__score_value, count);
    for (uint32_t i = 0; i < count; i++) {
        f->value[i].slot = UINT32_MAX;
        if (is_source(f, i)) keep(f, i);
    }
    for (uint32_t i = 0; i < f->results; i++) {
        tn__score_result *r = &f->result[i];
        r->operand = place_of(f, r->node->in[r->x->which]);
        keep(f, r->operand);
    }
    keep_what_is_read_later(f);
    find_last_reads(f);
    place_in_slots(f);
}

void tn__score_declare(tn__score_gradient *f) {
    tn_loop *k = f->m.k;
    tn_lx rows = tn__score_int(f, f->s.m_block);
    for (uint32_t i = 0; i < f->slots.len; i++)
        f->slots.data[i] = tn_l_scratch(k, f->dtype, tn_l_mul(k, rows, f->stride), "s");
    for (uint32_t i = 0; i < f->y->inner.len; i++) {
        tn__score_value *v = &f->value[i];
        if (is_kept(f, i)) v->slot = f->slots.data[v->slot];
        if (f->y->inner.data[i].kind != TN_SCORE_FOLD || !f->y->inner.data[i].needed) continue;
        v->fold = tn_l_scratch(k, f->dtype, rows, "fold");
        v->acc = tn_l_register(k, f->dtype, f->s.lanes * f->s.unroll, "lanes");
    }
}

/* ---- a row ---------------------------------------------------------------------------------- */

typedef struct row_pass {
    tn__score_gradient *f;
    uint32_t level;
    tn_lx row; /* of the block */
    const bool *reads;
} row_pass;

static tn_lx evaluate(tn__score_gradient *f, uint32_t place) {
    const tn_node_info *n = tn_graph_node(f->m.graph, f->y->inner.data[place].node);
    tn_emit *e = &f->m.access.emit;
    if (f->y->inner.data[place].kind == TN_SCORE_POINTWISE)
        return tn_op_rules_of(n->op)->lower.expression(e, n, 0, f->at[place].at);
    /* the operand of a fold: views of one of the others */
    uint32_t from = place_of(f, n->in[0]);
    return tn_access_value(&f->m.access, tn__score_value_of(f, from), f->at[from].at);
}

/* NaN need not show in the softmax's maximum: its weights are NaN themselves. */
static tn_lx combine(tn__score_gradient *f, uint32_t place, tn_lx value, tn_lx acc) {
    tn_loop *k = f->m.k;
    const tn_node_info *n = tn_graph_node(f->m.graph, f->y->inner.data[place].node);
    const tn_attrs_reduce *a = n->attrs;
    if (a->kind == TN_REDUCE_sum) return tn_l_op2(k, TN_S_add, acc, value);
    if (f->y->inner.data[place].node != f->y->x->largest || f->y->x->zero_nan)
        return tn_l_op2(k, TN_S_max, acc, value);
    return tn_l_select(k, tn_l_op2(k, TN_S_gt, value, acc), value, acc);
}

static tn_scalar_op fold_op(const tn__score_gradient *f, uint32_t place) {
    const tn_node_info *n = tn_graph_node(f->m.graph, f->y->inner.data[place].node);
    return ((const tn_attrs_reduce *)n->attrs)->kind == TN_REDUCE_sum ? TN_S_add : TN_S_max;
}

/* The elements of a strip: all that is read first, then what is made, then what is kept of it. */
static void level_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    const row_pass *r = context;
    tn__score_gradient *f = r->f;
    tn_loop *k = f->m.k;
    tn_lx lane, x = tn_strip_open(k, base, width, limit, &lane);
    tn_lx to = tn__score_at(f, r->row, f->stride, x);
    uint32_t mark = tn_access_mark(&f->m.access);
    tn__score_locate(f, tn_l_add(k, f->first_row, r->row), x);
    for (uint32_t i = 0; i < f->y->inner.len; i++)
        if (r->reads[i] && !f->y->inner.data[i].row)
            f->value[i].now = tn__score_load(f, f->value[i].slot, to);
    for (uint32_t i = 0; i < f->y->inner.len; i++) {
        if (keeps_at(f, i, r->level)) f->value[i].now = tn_l_let(k, evaluate(f, i));
        if (!folds_at(f, i, r->level)) continue;
        tn_lx acc = tn_l_get(k, f->value[i].acc, lane);
        tn_l_set(k, f->value[i].acc, lane, combine(f, i, evaluate(f, i), acc));
    }
    for (uint32_t i = 0; i < f->y->inner.len; i++) {
        if (keeps_at(f, i, r->level)) tn_l_store(k, f->value[i].slot, to, f->value[i].now);
        if (!f->y->inner.data[i].row) f->value[i].now = TN_LX_NONE;
    }
    tn_access_release(&f->m.access, mark);
    tn_strip_close(k, limit);
}

static void fill_lanes(tn__score_gradient *f, uint32_t place) {
    tn_loop *k = f->m.k;
    tn_lx width = tn__score_int(f, f->s.lanes * f->s.unroll);
    double start = fold_op(f, place) == TN_S_add ? 0 : -INFINITY;
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, tn__score_int(f, 0), width, "l");
    tn_l_set(k, f->value[place].acc, lane, tn_l_number(k, f->dtype, start));
    tn_l_end(k);
}

/* Values of the row that the level reads: folds, and what is made of them. */
static void load_row(tn__score_gradient *f, const row_pass *r) {
    tn_loop *k = f->m.k;
    tn__score_locate(f, tn_l_add(k, f->first_row, r->row), tn__score_int(f, 0));
    for (uint32_t i = 0; i < f->y->inner.len; i++) {
        const tn_score_node *s = &f->y->inner.data[i];
        if (!s->row || !s->needed || s->level > r->level) continue;
        f->value[i].now = s->kind == TN_SCORE_FOLD ? tn__score_load(f, f->value[i].fold, r->row)
                          : r->reads[i]            ? tn_l_let(k, evaluate(f, i))
                                                   : TN_LX_NONE;
    }
}

static void run_level(tn__score_gradient *f, uint32_t level) {
    tn_loop *k = f->m.k;
    row_pass r = {.f = f, .level = level, .reads = reads_of(f, level)};
    r.row = tn_l_for(k, TN_LOOP_SERIAL, tn__score_int(f, 0), f->rows, "row");
    uint32_t mark = tn_access_mark(&f->m.access);
    load_row(f, &r);
    for (uint32_t i = 0; i < f->y->inner.len; i++)
        if (folds_at(f, i, level)) fill_lanes(f, i);
    tn_strips(k, f->s.lanes, f->s.unroll, tn__score_int(f, 0), f->count, level_strip, &r);
    for (uint32_t i = 0; i < f->y->inner.len; i++) {
        f->value[i].now = TN_LX_NONE;
        if (folds_at(f, i, level))
            tn_l_store(k, f->value[i].fold, r.row, tn_l_fold(k, fold_op(f, i), f->value[i].acc));
    }
    tn_access_release(&f->m.access, mark);
    tn_l_end(k);
}

void tn__score_levels(tn__score_gradient *f) {
    for (uint32_t level = 0; level < f->y->levels; level++) {
        bool any = false;
        for (uint32_t i = 0; i < f->y->inner.len; i++)
            any |= keeps_at(f, i, level) || folds_at(f, i, level);
        if (any) run_level(f, level);
    }
}
