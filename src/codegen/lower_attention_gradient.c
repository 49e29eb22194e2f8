/* The gradient of attention in one pass over its rows: memory grows with rows and columns, not with their
 * product (after Dao 2023, FlashAttention-2, whose statistics are made anew here).
 *
 *   task = batch point
 *   pack what sources have for columns; copy what results have for columns
 *   for each block of rows:
 *     s = q·kᵀ, dp = dO·vᵀ …                      each on a register tile, into a slot [row][column]
 *     level by level: maxima, p, sums, ds …       in vectors along each row (attention_gradient_levels.c)
 *     dq = ds·k                                   on a register tile, stored at once
 *     dk += dsᵀ·q, dv += pᵀ·dO                     on register tiles of the task's sums
 *   store dk, dv
 *
 * The operations between the products are whatever the graph has there, evaluated at the index of each
 * element. So the arithmetic is that of the graph, with sums in another order. Columns behind the last
 * that a row of the block sees, by index arithmetic (mask_range.h), are left out; a block with a row that
 * sees none takes all, since its NaN are the graph's. One task adds up rows in their order: bits do not
 * depend on threads. */
#include "codegen/attention_gradient.h"

static tn_lx gradient_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    tn__score_gradient *f = a->context;
    tn_node node = tn_graph_value(f->m.graph, v)->node;
    uint32_t place = f->y->place[node];
    if (!place) return tn_maker_load(&f->m, v, index);
    if (f->value[place - 1].now != TN_LX_NONE) return f->value[place - 1].now;
    return tn_op_rules_of(tn_graph_node(f->m.graph, node)->op)
        ->lower.expression(&a->emit, tn_graph_node(f->m.graph, node), 0, index);
}

void tn__score_locate(tn__score_gradient *f, tn_lx row, tn_lx column) {
    tn_lx m[TN_MAX_RANK];
    tn__split_plain(f->m.k, row, f->base.m_extent, f->base.m, m);
    tn_attention_gradient_locate(f->m.grouping, f->y, f->m.k, f->b_index, m, column, f->at);
}

/* ---- what a mask hides ---------------------------------------------------------------------- */

/* What the softmax is of, at a row and a column, where all sources are zero. */
static tn_lx score_expression(tn__score_gradient *f, tn_lx row, tn_lx column) {
    uint32_t mark = tn_access_mark(&f->m.access);
    uint32_t place = f->y->place[tn_graph_value(f->m.graph, f->y->x->scores)->node] - 1;
    tn__score_locate(f, row, column);
    for (uint32_t i = 0; i < f->sources; i++)
        f->value[f->source[i].place].now = tn_l_number(f->m.k, f->dtype, 0);
    tn_lx e = tn_access_value(&f->m.access, f->y->x->scores, f->at[place].at);
    for (uint32_t i = 0; i < f->sources; i++) f->value[f->source[i].place].now = TN_LX_NONE;
    tn_access_release(&f->m.access, mark);
    return e;
}

/* How many columns a row shows by condition `i`; NONE: folded away. */
static tn_lx shown_by(tn__score_gradient *f, int i, tn_lx row) {
    tn_lx found[TN_MOST_CONDITIONS], zero = tn__score_int(f, 0);
    bool same = tn_mask_conditions(f->m.k, score_expression(f, row, zero), found) == f->conditions;
    return same ? tn_mask_room(f->m.k, found[i]) : TN_LX_NONE;
}

/* The columns up to the last that a row of the block sees, in whole panels. */
static tn_lx shown_columns(tn__score_gradient *f) {
    tn_loop *k = f->m.k;
    tn_lx count = f->columns, zero = tn__score_int(f, 0);
    tn_lx last = tn_l_sub(k, tn_l_add(k, f->first_row, f->rows), tn__score_int(f, 1));
    for (int i = 0; i < f->conditions; i++) {
        if (!f->usable[i] || !f->corner[i].ends) continue;
        bool high = f->corner[i].high_row;
        tn_lx most = shown_by(f, i, high ? last : f->first_row);
        tn_lx least = shown_by(f, i, high ? f->first_row : last);
        if (most == TN_LX_NONE || least == TN_LX_NONE) continue;
        tn_lx up = tn_l_mul(k, tn__ceil_div(k, tn_l_max(k, most, zero), f->s.score_nr),
                            tn__score_int(f, f->s.score_nr));
        count = tn_l_select(k, tn_l_lt(k, zero, least), tn_l_min(k, count, up), count);
    }
    return count;
}

/* ---- the task ------------------------------------------------------------------------------- */

static void emit_task(tn__score_gradient *f) {
    tn_loop *k = f->m.k;
    tn_lx zero = tn__score_int(f, 0), block = tn__score_int(f, f->s.m_block);
    k->tasks = tn__tile_product(k, f->base.b_extent, f->base.b);
    tn__split_plain(k, tn_l_task(k), f->base.b_extent, f->base.b, f->b_index);
    tn__score_begin(f);
    tn_lx rows = tn__score_int(f, f->rows_total);
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, zero, tn__ceil_div(k, rows, f->s.m_block), "block");
    f->first_row = tn_l_mul(k, i, block);
    f->rows = tn_l_min(k, block, tn_l_sub(k, rows, f->first_row));
    f->count = shown_columns(f);
    tn__score_sources(f);
    tn__score_levels(f);
    tn__score_results(f);
    tn_l_end(k);
    tn__score_finish(f);
}

/* ---- preparation ---------------------------------------------------------------------------- */

static int64_t constant_product(const tn_dim *d, int count) {
    int64_t n = 1;
    for (int i = 0; i < count; i++) n *= d[i];
    return n;
}

static void find_source(tn__score_gradient *f, uint32_t place) {
    tn__score_source *s = &f->source[f->sources++];
    s->place = place;
    s->node = tn_graph_node(f->m.graph, f->y->inner.data[place].node);
    s->rules = tn_op_rules_of(s->node->op)->lower.contraction;
    s->rules->describe(f->m.graph, s->node, &s->c);
    s->depth = tn_l_dim(f->m.k, s->c.k_extent[0]);
}

static void find_result(tn__score_gradient *f, const tn_score_product *x, uint32_t registers) {
    tn__score_result *r = &f->result[f->results++];
    r->x = x;
    r->node = tn_graph_node(f->m.graph, x->node);
    r->rules = tn_op_rules_of(r->node->op)->lower.contraction;
    r->rules->describe(f->m.graph, r->node, &r->c);
    r->width = x->which ? constant_product(r->c.m_extent, r->c.m)
                        : constant_product(r->c.n_extent, r->c.n);
    uint32_t across = tn__tile_vectors(r->width, true, f->s.lanes, registers);
    r->nr = across * f->s.lanes;
    r->panels = (uint32_t)((r->width + r->nr - 1) / r->nr);
    r->mr = tn__tile_rows(across, registers);
    /* columns are cut behind whole panels of a source */
    int64_t whole = x->over_rows ? (int64_t)f->s.score_nr : f->s.m_block;
    while (whole % r->mr) r->mr--;
}

static void gradient_init(tn__score_gradient *f, const tn_lower_context *c, uint32_t group) {
    uint32_t registers = (uint32_t)c->target->vector_registers;
    memset(f, 0, sizeof *f);
    tn_maker_init(&f->m, c, group, "attention_gradient");
    f->m.access.leaf = gradient_leaf;
    f->m.access.context = f;
    f->y = f->m.group->gradient;
    const tn_node_info *product = tn_graph_node(f->m.graph, f->y->x->product);
    tn_op_rules_of(product->op)->lower.contraction->describe(f->m.graph, product, &f->base);
    f->dtype = f->base.acc;
    f->s = tn_schedule_choose_attention_gradient(f->m.grouping, f->m.group,
                                                 (uint32_t)c->target->vector_bytes, registers);
    f->s = tn_lower_record(c, group, f->s);
    f->rows_total = constant_product(f->base.m_extent, f->base.m);
    f->columns_total = f->base.k_extent[0];
    f->columns = tn_l_int(f->m.k, f->columns_total);
    int64_t panels = (f->columns_total + f->s.score_nr - 1) / f->s.score_nr;
    f->stride = tn_l_int(f->m.k, panels * f->s.score_nr);
    f->at = TN_NEW_N(c->arena, tn_score_place, f->y->inner.len);
    for (uint32_t i = 0; i < f->y->inner.len; i++)
        if (f->y->inner.data[i].kind == TN_SCORE_SOURCE) find_source(f, i);
    for (uint32_t i = 0; i < f->y->products.len; i++)
        find_result(f, &f->y->products.data[i], registers);
    tn__score_plan(f);
}

static tn_lx probe_axis(tn_loop *k, tn_lx extent) {
    return tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), extent, "p");
}

/* On a throw-away kernel: what the mask says of whole tiles. */
static void analyse(tn__score_gradient *out, const tn_lower_context *c, uint32_t group) {
    tn__score_gradient f;
    gradient_init(&f, c, group);
    tn_loop *k = f.m.k;
    tn_lx condition[TN_MOST_CONDITIONS];
    for (int i = 0; i < f.base.b; i++)
        f.b_index[i] = probe_axis(k, tn_l_dim(k, f.base.b_extent[i]));
    tn_lx row = probe_axis(k, tn_l_int(k, f.rows_total)), column = probe_axis(k, f.columns);
    out->conditions = tn_mask_conditions(k, score_expression(&f, row, column), condition);
    for (int i = 0; i < out->conditions; i++)
        out->usable[i] = tn_mask_find_corner(k, condition[i], row, column, &out->corner[i]);
    for (uint32_t i = 0; i < f.sources; i++) tn__score_probe(&f, &out->source[i], i, column);
}

static void declare(tn__score_gradient *f) {
    tn_loop *k = f->m.k;
    tn_lx rows = tn_l_int(k, f->s.m_block);
    tn__score_declare(f);
    f->score_acc = tn_l_register(k, f->dtype, f->s.mr * f->s.score_nr, "score");
    for (uint32_t i = 0; i < f->sources; i++) {
        tn__score_source *s = &f->source[i];
        s->rows = tn_l_scratch(k, f->dtype, tn_l_mul(k, rows, s->depth), "rows");
        s->columns = tn_l_scratch(k, f->dtype, tn_l_mul(k, f->stride, s->depth), "columns");
    }
    for (uint32_t i = 0; i < f->results; i++) {
        tn__score_result *r = &f->result[i];
        tn_lx line = tn_l_int(k, (int64_t)r->panels * r->nr);
        tn_lx lines = r->x->over_rows ? rows : f->stride;
        r->other = tn_l_scratch(k, f->dtype, tn_l_mul(k, lines, line), "other");
        if (r->x->over_rows)
            r->sum = tn_l_scratch(k, f->dtype, tn_l_mul(k, f->stride, line), "sum");
        r->acc = tn_l_register(k, f->dtype, r->mr * r->nr, "acc");
    }
}

void tn_lower_attention_gradient(const tn_lower_context *c, uint32_t group, tn_lowered *out) {
    tn__score_gradient f;
    gradient_init(&f, c, group);
    analyse(&f, c, group);
    declare(&f);
    emit_task(&f);
    out->kernel = f.m.k;
    out->schedule = f.s;
}
