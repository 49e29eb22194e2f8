/* softmax(f(q·kᵀ))·v in one pass over the columns: memory grows with the number of rows, not with
 * rows times columns (Dao et al. 2022, after Milakov & Gimelshein 2018).
 *
 *   task = (batch point, block of rows)
 *   copy the rows of q
 *   for each block of columns:  pack the block of k into panels [depth][width]
 *     for each tile of mr rows:
 *       s[row][column] = q·kᵀ on a register tile
 *       s = f(s) and the maximum of each row so far
 *       s = exp(s - maximum) and its sum; the sum so far shrinks by exp(old maximum - new maximum)
 *       o[row] = o[row] * shrink + s·v on a register tile
 *   result = o / sum, with the group's epilogue
 *
 * f is whatever the graph has between the product and the softmax, evaluated along columns at the
 * index of each element. A maximum of -inf counts as 0, so that columns masked so far weigh nothing;
 * a row that has nothing else ends as 0 / 0, which is what the softmax gives. Tiles that a mask is
 * seen to hide by index arithmetic (mask_range.h) are left out. */
#include <math.h>

#include "codegen/attention.h"
#include "loop/strips.h"

/* ---- elements ------------------------------------------------------------------------------- */

static tn_lx flash_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    tn__flash *f = a->context;
    tn_node node = tn_graph_value(f->t.m.graph, v)->node;
    if (node == f->x->score) return f->raw;
    if (f->t.m.grouping->group_of[node] == f->t.m.group_id)
        return tn_op_rules_of(tn_graph_node(f->t.m.graph, node)->op)
            ->lower.expression(&a->emit, tn_graph_node(f->t.m.graph, node), 0, index);
    return tn_maker_load(&f->t.m, v, index);
}

static void locate(tn__flash *f, tn_lx row, tn_lx column, tn_attention_point *at) {
    tn_lx m[TN_MAX_RANK];
    tn__split_plain(f->t.m.k, row, f->t.c.m_extent, f->t.c.m, m);
    tn_attention_locate(f->t.m.grouping, f->x, f->t.m.k, f->t.b_index, m, column, at);
}

/* What `e` multiplies with constants or divides by them; *factor takes these. */
static tn_lx without_factor(const tn__flash *f, tn_lx e, double *factor) {
    const tn_loop *k = f->t.m.k;
    for (;;) {
        const tn_lexpr *x = tn_l_expr(k, e);
        if (x->kind != TN_LX_OP || (x->op != TN_S_mul && x->op != TN_S_div)) return e;
        const tn_lexpr *a = tn_l_expr(k, x->a), *b = tn_l_expr(k, x->b);
        if (tn_l_type(k, e) != f->dtype) return e;
        if (b->kind == TN_LX_CONST)
            *factor = x->op == TN_S_mul ? *factor * b->value.f : *factor / b->value.f;
        else if (a->kind == TN_LX_CONST && x->op == TN_S_mul)
            *factor *= a->value.f;
        else
            return e;
        e = b->kind == TN_LX_CONST ? x->a : x->b;
    }
}

tn_lx tn__flash_operand(tn__flash *f, uint32_t which, tn_lx row, tn_lx column, tn_lx x,
                        tn_lx valid) {
    tn_loop *k = f->t.m.k;
    tn_emit *e = &f->t.m.access.emit;
    tn_attention_point at;
    tn_lx index[TN_MAX_RANK], guard = TN_LX_NONE;
    locate(f, row, column, &at);
    const tn_lx *b = at.score, *m = b + f->c.b, *n = m + f->c.m;
    if (which == 0)
        f->score_rules->lhs(e, f->score, b, m, &x, index, &guard);
    else
        f->score_rules->rhs(e, f->score, b, &x, n, index, &guard);
    tn_lx outer = e->guard;
    double factor = 1; /* a part of f->factor */
    e->guard = tn_l_and(k, outer, valid);
    tn_lx value = e->operand(e, f->score, which, index);
    e->guard = outer;
    if (which && f->bare_keys) value = without_factor(f, value, &factor);
    value = tn_l_cast(k, value, f->dtype, false);
    if (valid == TN_LX_NONE) return value;
    return tn_l_select(k, valid, value, tn_l_number(k, f->dtype, 0));
}

tn_lx tn__flash_score(tn__flash *f) {
    tn_attention_point at;
    if (f->plain) return f->raw;
    locate(f, f->row, f->column, &at);
    return tn_access_value(&f->t.m.access, f->x->scores, at.scores);
}

tn_lx tn__flash_weight(tn__flash *f, tn_lx score, tn_lx shift) {
    tn_loop *k = f->t.m.k;
    tn_lx power = tn_l_op2(k, TN_S_sub, score, shift);
    if (!f->plain) power = tn_l_op2(k, TN_S_mul, power, tn_l_number(k, f->dtype, M_LOG2E));
    return tn_l_op1(k, TN_S_exp2, power);
}

tn_lx tn__flash_larger(tn__flash *f, tn_lx score, tn_lx largest) {
    tn_loop *k = f->t.m.k;
    if (f->x->zero_nan) return tn_l_op2(k, TN_S_max, largest, score);
    return tn_l_select(k, tn_l_op2(k, TN_S_gt, score, largest), score, largest);
}

/* ---- the task ------------------------------------------------------------------------------- */

static void clear_row(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    tn__flash *f = context;
    tn_loop *k = f->t.m.k;
    tn_lx lane, x = tn_strip_open(k, base, width, limit, &lane);
    tn_l_store(k, f->o, x, tn_l_number(k, f->dtype, 0));
    tn_strip_close(k, limit);
}

static void clear(tn__flash *f) {
    tn_loop *k = f->t.m.k;
    tn_lx width = tn_l_mul(k, f->t.panels, tn__flash_int(f, f->t.s.nr)), zero = tn__flash_int(f, 0);
    tn_strips(k, f->t.s.lanes, 1, zero, tn_l_mul(k, f->rows, width), clear_row, f);
    tn_lx row = tn_l_for(k, TN_LOOP_SERIAL, zero, f->rows, "row");
    tn_l_store(k, f->largest, row, tn_l_number(k, f->dtype, -INFINITY));
    tn_l_store(k, f->sum, row, tn_l_number(k, f->dtype, 0));
    tn_l_end(k);
}

/* What a row of o is multiplied with: without columns the result is 0, and where quotients that are
 * NaN count as zero, o holds the zeros' products. */
static tn_lx row_scale(tn__flash *f, tn_lx row) {
    tn_loop *k = f->t.m.k;
    tn_lx one = tn_l_number(k, f->dtype, 1), zero = tn_l_number(k, f->dtype, 0);
    tn_lx sum = tn__flash_load(f, f->sum, row), inverse = tn_l_op2(k, TN_S_div, one, sum);
    if (f->x->zero_nan) inverse = tn_l_select(k, tn_l_op2(k, TN_S_lt, zero, sum), inverse, one);
    return tn_l_let(k, tn_l_select(k, tn_l_lt(k, tn__flash_int(f, 0), f->columns), inverse, zero));
}

void tn__flash_finish(tn__flash *f) {
    tn_loop *k = f->t.m.k;
    tn_lx m[TN_MAX_RANK], n[TN_MAX_RANK], zero = tn__flash_int(f, 0),
                                          nr = tn__flash_int(f, f->t.s.nr);
    tn_lx width = tn_l_mul(k, f->t.panels, nr);
    tn_lx row = tn_l_for(k, TN_LOOP_SERIAL, zero, f->rows, "row"), scale = row_scale(f, row);
    tn__split_plain(k, tn__flash_sum(f, f->first_row, row), f->t.c.m_extent, f->t.c.m, m);
    tn_lx p = tn_l_for(k, TN_LOOP_SERIAL, zero, f->t.panels, "panel");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j"), column = tn__flash_at(f, p, nr, j);
    bool masked = !tn__columns_exact(&f->t);
    if (masked) tn_l_if(k, tn_l_lt(k, column, f->t.n_total));
    tn_lx o = tn__flash_load(f, f->o, tn__flash_at(f, row, width, column));
    tn__split_plain(k, column, f->t.c.n_extent, f->t.c.n, n);
    tn__tile_point(&f->t, m, n);
    tn__epilogue_point(&f->t, tn_l_op2(k, TN_S_mul, o, scale), TN_LX_NONE, TN_LX_NONE);
    if (masked) tn_l_end(k);
    tn_l_end(k);
    tn_l_end(k);
    tn_l_end(k);
}

typedef struct row_copy {
    tn__flash *f;
    tn_lx row; /* within the task */
} row_copy;

static void copy_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    row_copy *c = context;
    tn__flash *f = c->f;
    tn_lx lane, x = tn_strip_open(f->t.m.k, base, width, limit, &lane);
    uint32_t mark = tn_access_mark(&f->t.m.access);
    tn_lx value = tn__flash_operand(f, 0, tn__flash_sum(f, f->first_row, c->row),
                                    tn__flash_int(f, 0), x, TN_LX_NONE);
    if (f->factor != 1)
        value = tn_l_op2(f->t.m.k, TN_S_mul, value, tn_l_number(f->t.m.k, f->dtype, f->factor));
    tn_l_store(f->t.m.k, f->q, tn__flash_at(f, c->row, f->depth, x), value);
    tn_access_release(&f->t.m.access, mark);
    tn_strip_close(f->t.m.k, limit);
}

static void copy_rows(tn__flash *f) {
    row_copy c = {.f = f};
    c.row = tn_l_for(f->t.m.k, TN_LOOP_SERIAL, tn__flash_int(f, 0), f->rows, "row");
    tn_strips(f->t.m.k, f->t.s.lanes, 1, tn__flash_int(f, 0), f->depth, copy_strip, &c);
    tn_l_end(f->t.m.k);
}

/* All rows in one block of columns. */
static void emit_block(tn__flash *f) {
    tn_loop *k = f->t.m.k;
    tn_lx zero = tn__flash_int(f, 0);
    if (f->few == TN__SOMETIMES) {
        /* Of all rows, not of the task's: what a record cuts differently has the same sums. */
        tn_l_if(k, tn_l_le(k, f->row_total, tn__flash_int(f, TN_FEW_ROWS)));
        f->by_rows = true;
        tn__flash_pack(f);
        tn_lx row = tn_l_for(k, TN_LOOP_SERIAL, zero, f->rows, "row");
        tn__flash_tile(f, 1, row);
        f->by_rows = false;
        tn_l_end(k);
        tn_l_else(k);
    }
    tn__flash_pack(f);
    tn__row_tiles(k, f->t.s.mr, zero, f->rows, f->row_total, tn__flash_tile, f);
    if (f->few == TN__SOMETIMES) tn_l_end(k);
}

static void emit_blocks(tn__flash *f) {
    tn_loop *k = f->t.m.k;
    tn_lx size = tn__flash_int(f, f->t.s.kv_block), zero = tn__flash_int(f, 0);
    tn_lx blocks = tn__ceil_div(k, tn_l_sub(k, f->end, f->begin), f->t.s.kv_block);
    tn_lx block = tn_l_for(k, TN_LOOP_SERIAL, zero, blocks, "block");
    int64_t known;
    bool exact = tn_l_is_const_int(k, f->columns, &known) && known % f->t.s.kv_block == 0;
    f->first_column = tn__flash_sum(f, f->begin, tn_l_mul(k, block, size));
    f->count = exact ? size : tn_l_min(k, size, tn_l_sub(k, f->end, f->first_column));
    tn_lx some = tn__flash_shows(f, f->first_row, f->rows);
    if (some != TN_LX_NONE) tn_l_if(k, some);
    emit_block(f);
    if (some != TN_LX_NONE) tn_l_end(k);
    tn_l_end(k);
}

/* Which rows and columns a task works on. */
static void cut_tasks(tn__flash *f) {
    tn_loop *k = f->t.m.k;
    tn_lx size = tn__flash_int(f, f->t.s.m_block);
    tn_lx blocks = tn__ceil_div(k, f->row_total, f->t.s.m_block);
    tn_lx batch = tn__tile_product(k, f->t.c.b_extent, f->t.c.b);
    tn__flash_cut(f);
    k->tasks = tn_l_mul(k, tn_l_mul(k, batch, f->pieces), blocks);
    tn_lx task = tn_l_task(k), line = tn_l_div(k, task, blocks);
    f->t.b_linear = tn_l_div(k, line, f->pieces);
    f->piece = tn_l_mod(k, line, f->pieces);
    tn__split_plain(k, f->t.b_linear, f->t.c.b_extent, f->t.c.b, f->t.b_index);
    f->first_row = tn_l_mul(k, tn_l_mod(k, task, blocks), size);
    f->rows = tn_l_min(k, size, tn_l_sub(k, f->row_total, f->first_row));
    tn__flash_take_piece(f);
}

static void emit_task(tn__flash *f) {
    tn_loop *k = f->t.m.k;
    cut_tasks(f);
    if (!f->single) clear(f);
    copy_rows(f);
    emit_blocks(f);
    tn_lx whole = tn_l_le(k, f->pieces, tn__flash_int(f, 1));
    if (f->t.s.kv_piece) tn_l_if(k, whole);
    tn__flash_finish(f);
    if (!f->t.s.kv_piece) return;
    tn_l_else(k);
    tn__flash_join_pieces(f);
    tn_l_end(k);
}

/* ---- preparation ---------------------------------------------------------------------------- */

static void flash_init(tn__flash *f, const tn_lower_context *c, uint32_t group) {
    memset(f, 0, sizeof *f);
    tn__tile *t = &f->t;
    tn__tile_init(t, c, group, "attention");
    t->m.access.leaf = flash_leaf;
    t->s =
        tn_schedule_choose_attention(t->m.grouping, t->m.group, (uint32_t)c->target->vector_bytes,
                                     (uint32_t)c->target->vector_registers);
    t->s = tn_lower_record(c, group, t->s);
    t->panels = tn__ceil_div(t->m.k, t->n_total, t->s.nr);
    f->x = t->m.group->attention;
    f->dtype = t->c.acc;
    f->score = tn_graph_node(t->m.graph, f->x->score);
    f->score_rules = tn_op_rules_of(f->score->op)->lower.contraction;
    f->score_rules->describe(t->m.graph, f->score, &f->c);
    f->depth = tn_l_dim(t->m.k, f->c.k_extent[0]);
    f->columns = tn_l_dim(t->m.k, t->c.k_extent[0]);
    f->row_total = tn__tile_product(t->m.k, t->c.m_extent, t->c.m);
    int64_t known;
    f->factor = 1;
    f->single = tn_l_is_const_int(t->m.k, f->columns, &known) && known <= t->s.kv_block;
}

static tn_lx probe_axis(tn_loop *k, tn_lx extent) {
    return tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), extent, "p");
}

static bool is_usual(double factor) {
    return fabs(factor) > 1e-20 && fabs(factor) < 1e20;
}

/* On the throw-away kernel: what constants k and the scores are multiplied with, and whether the scores
 * are nothing else. `key` is an element of k. */
static void find_factors(tn__flash *out, tn__flash *f, tn_lx key) {
    tn_loop *k = f->t.m.k;
    uint32_t product = tn_l_scratch(k, f->dtype, tn_l_int(k, 1), "product");
    double of_keys = 1, of_scores = 1;
    without_factor(f, key, &of_keys);
    f->bare_keys = out->bare_keys = of_keys != 1 && is_usual(of_keys);
    if (out->bare_keys) out->factor = of_keys;
    f->raw = tn__flash_load(f, product, tn_l_int(k, 0));
    if (without_factor(f, tn__flash_score(f), &of_scores) != f->raw) return;
    if (!is_usual(of_scores) || !is_usual(of_scores * out->factor)) return;
    out->plain = true;
    out->factor *= of_scores * M_LOG2E;
}

/* On a throw-away kernel: whether k lies contiguous along the contracted axis, v along rows, and what
 * the mask says of whole tiles. */
static void analyse(tn__flash *out, const tn_lower_context *c, uint32_t group) {
    tn__flash f;
    flash_init(&f, c, group);
    tn_loop *k = f.t.m.k;
    for (int i = 0; i < f.t.c.b; i++)
        f.t.b_index[i] = probe_axis(k, tn_l_dim(k, f.t.c.b_extent[i]));
    f.row = probe_axis(k, tn__tile_product(k, f.t.c.m_extent, f.t.c.m));
    f.column = probe_axis(k, f.columns);
    tn_lx x = probe_axis(k, f.depth), condition[TN_MOST_CONDITIONS];
    uint32_t buffer;
    tn_lx zero = tn_l_int(k, 0);
    find_factors(out, &f, tn__flash_operand(&f, 1, zero, f.column, x, TN_LX_NONE));
    tn_lx key = tn__flash_operand(&f, 1, zero, f.column, x, TN_LX_NONE);
    tn_lx address = tn__load_address(k, key, &buffer);
    out->turned = tn_dtype_size(f.dtype) >= 4 && tn__steps_by_one(k, address, x);
    tn_lx n[TN_MAX_RANK];
    int last = f.t.c.n - 1;
    for (int i = 0; i <= last; i++) n[i] = probe_axis(k, tn_l_dim(k, f.t.c.n_extent[i]));
    address =
        tn__load_address(k, tn__tile_rhs(&f.t, f.t.b_index, &f.column, n, TN_LX_NONE), &buffer);
    out->packs_values = last < 0 || !tn__steps_by_one(k, address, n[last]);
    f.raw = tn_l_number(k, f.dtype, 0);
    out->conditions = tn_mask_conditions(k, tn__flash_score(&f), condition);
    for (int i = 0; i < out->conditions; i++)
        out->usable[i] = tn_mask_find_corner(k, condition[i], f.row, f.column, &out->corner[i]);
    if (!out->turned) return;
    int64_t rows;
    bool fixed = tn_l_is_const_int(k, f.row_total, &rows);
    out->few = !fixed ? TN__SOMETIMES : rows <= TN_FEW_ROWS ? TN__ALWAYS : TN__NEVER;
    out->by_rows = out->few == TN__ALWAYS;
}

void tn_lower_attention(const tn_lower_context *c, uint32_t group, tn_lowered *out) {
    tn__flash f;
    flash_init(&f, c, group);
    analyse(&f, c, group);
    tn_loop *k = f.t.m.k;
    const tn_schedule *s = &f.t.s;
    tn_lx rows = tn_l_int(k, s->m_block), width = tn_l_mul(k, f.t.panels, tn_l_int(k, s->nr));
    f.q = tn_l_scratch(k, f.dtype, tn_l_mul(k, rows, f.depth), "q");
    if (f.few != TN__ALWAYS)
        f.k = tn_l_scratch(k, f.dtype, tn_l_mul(k, tn_l_int(k, s->kv_block), f.depth), "k");
    if (f.packs_values)
        f.v = tn_l_scratch(k, f.dtype, tn_l_mul(k, tn_l_int(k, s->kv_block), width), "v");
    f.s = tn_l_scratch(k, f.dtype, tn_l_int(k, s->mr * s->kv_block), "s");
    f.o = tn_l_scratch(k, f.dtype, tn_l_mul(k, rows, width), "o");
    if (!f.single) f.largest = tn_l_scratch(k, f.dtype, rows, "largest");
    f.sum = tn_l_scratch(k, f.dtype, rows, "sum");
    f.tile_fold = tn_l_scratch(k, f.dtype, tn_l_int(k, s->mr), "fold");
    f.shift = tn_l_scratch(k, f.dtype, tn_l_int(k, s->mr), "shift");
    if (!f.single) f.shrink = tn_l_scratch(k, f.dtype, tn_l_int(k, s->mr), "shrink");
    f.score_acc = tn_l_register(k, f.dtype, s->mr * s->score_nr, "score");
    f.t.acc = tn_l_register(k, f.dtype, s->mr * s->nr, "acc");
    for (uint32_t i = 0; f.plain && i < s->mr; i++)
        f.row_largest[i] = tn_l_register(k, f.dtype, s->lanes, "largest");
    f.lane_acc = tn_l_register(k, f.dtype, s->lanes * s->unroll, "lanes");
    if (f.few != TN__NEVER) f.part = tn_l_register(k, f.dtype, s->lanes * s->lanes, "part");
    if (s->kv_piece) f.total = tn_l_register(k, f.dtype, 1, "total");
    emit_task(&f);
    out->kernel = k;
    out->schedule = f.t.s;
}
