/* dot and conv on a register tile.
 *
 *   task = (batch point, block of rows, range of column panels)
 *   for each panel of nr columns:  [pack the panel of B]
 *     for each tile of mr rows:    acc[mr][nr] += A[row i] (broadcast) * B[k][nr], over all of K
 *                                  epilogue on the tile, stores
 *
 * Measured choices (see schedule/record.c): A is read in place, row by row, so mr is at most 8; a constant
 * B is packed once into panels [N/nr][K][nr] by a kernel of its own, B with contiguous rows is read in
 * place, any other is packed by the task. When A's address is a function of the row plus a function of k,
 * the row part is computed once per tile; any other A, such as pointwise work on the way into the product,
 * is evaluated by the task for all its rows first, in vectors. Each element is one chain over ascending k,
 * so bits do not depend on the tiling, unless k is cut into pieces (contraction_pieces.c). The other
 * anchors of the group have run on the panel before (contraction_sibling.c). */
#include "codegen/contraction.h"

/* Elements along k from which on turning square tiles pays. */
enum { LEAST_TURNED = 16 };

/* ---- analysis on a throw-away kernel -------------------------------------------------------- */

static void open_axes(tn_loop *k, const tn_dim *d, int count, tn_lx *var, tn_lx *extent) {
    for (int i = 0; i < count; i++) {
        extent[i] = tn_l_dim(k, d[i]);
        var[i] = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), extent[i], "p");
    }
}

/* A's address splits when it is linear in every k with coefficients that know nothing of the row.
 */
static bool splits(tn__tile *t, tn_lx address, const tn_lx *var, const tn_lx *m_var) {
    for (int i = 0; i < t->c.k; i++) {
        tn_lx coefficient, rest;
        if (!tn_l_affine(t->m.k, address, tn_l_expr(t->m.k, var[i])->index, &coefficient, &rest))
            return false;
        for (int j = 0; j < t->c.m; j++)
            if (tn_l_uses_var(t->m.k, coefficient, tn_l_expr(t->m.k, m_var[j])->index))
                return false;
        for (int j = 0; j < t->c.b; j++)
            if (tn_l_uses_var(t->m.k, coefficient, tn_l_expr(t->m.k, t->b_index[j])->index))
                return false;
    }
    return true;
}

static bool unit_columns(tn__tile *t, const tn_lx *k_var, const tn_lx *n_var) {
    int wide = 0;
    for (int i = 0; i < t->c.n; i++) wide += t->c.n_extent[i] != 1;
    if (wide != 1 || t->c.n_extent[t->c.n - 1] == 1) return false;
    uint32_t buffer = 0;
    tn_lx address =
        tn__load_address(t->m.k, tn__tile_rhs(t, t->b_index, k_var, n_var, TN_LX_NONE), &buffer);
    return tn__steps_by_one(t->m.k, address, n_var[t->c.n - 1]);
}

/* B's rows run along the last k axis, which is long enough for whole vectors. */
static bool unit_rows(tn__tile *t, const tn_lx *k_var, const tn_lx *n_var) {
    if (t->c.k == 0 || tn_dtype_size(t->c.acc) < 4) return false;
    uint32_t buffer = 0;
    tn_lx address =
        tn__load_address(t->m.k, tn__tile_rhs(t, t->b_index, k_var, n_var, TN_LX_NONE), &buffer);
    return tn_dim_guess(t->m.graph->dims, t->c.k_extent[t->c.k - 1]) >= LEAST_TURNED &&
           tn__steps_by_one(t->m.k, address, k_var[t->c.k - 1]);
}

/* What is found out about an anchor of a group, and chosen for it. */
typedef struct analysis {
    bool direct, lhs_turned, rhs_unit, rhs_turned;
    bool epilogue_reads; /* values by row and column */
    bool merged_m[TN_MAX_RANK], merged_k[TN_MAX_RANK];
    tn_value a_leaf;
    tn__weights weights;
    tn__words words;
    tn_schedule s;
} analysis;

static void tile_of(tn__tile *t, const tn_lower_context *c, uint32_t group, uint32_t number,
                    const char *name) {
    tn__tile_init(t, c, group, name);
    if (number) tn__tile_set_anchor(t, number);
}

static void open_merged(tn_loop *k, const tn_dim *d, int count, const bool *merged, tn_lx *var) {
    tn_lx run = tn_l_int(k, 1);
    for (int i = 0; i < count; i++) {
        run = tn_l_mul(k, run, tn_l_dim(k, d[i]));
        var[i] = tn_l_int(k, 0);
        if (merged[i]) continue;
        var[i] = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), run, "p");
        run = tn_l_int(k, 1);
    }
}

/* The first anchor has the group's epilogue. */
static void probe_epilogue(tn__tile *t, uint32_t number, tn_merge_probe *probe, const tn_lx *m,
                           const tn_lx *n) {
    if (number) return;
    t->probe = probe;
    tn__tile_point(t, m, n);
    tn__epilogue_point(t, tn_l_number(t->m.k, t->c.acc, 0), TN_LX_NONE, TN_LX_NONE);
    t->probe = NULL;
}

/* Takes back merges that do not hold once the work is emitted with them (see tn_merge_holds). */
static void check_merges(const tn_lower_context *c, uint32_t group, uint32_t number, bool in_place,
                         analysis *a) {
    tn__tile t;
    tile_of(&t, c, group, number, "analysis");
    t.s.lhs = TN_LHS_DIRECT;
    tn_merge_probe probe = {.k = t.m.k, .arena = c->arena};
    tn_lx b_ext[TN_MAX_RANK], m[TN_MAX_RANK], n[TN_MAX_RANK], n_ext[TN_MAX_RANK], k[TN_MAX_RANK];
    open_axes(t.m.k, t.c.b_extent, t.c.b, t.b_index, b_ext);
    open_merged(t.m.k, t.c.m_extent, t.c.m, a->merged_m, m);
    open_axes(t.m.k, t.c.n_extent, t.c.n, n, n_ext);
    open_merged(t.m.k, t.c.k_extent, t.c.k, a->merged_k, k);
    uint32_t buffer = 0;
    tn_lx lhs = tn__load_address(t.m.k, tn__tile_lhs(&t, t.b_index, m, k), &buffer), rhs = lhs;
    if (in_place)
        rhs = tn__load_address(t.m.k, tn__tile_rhs(&t, t.b_index, k, n, TN_LX_NONE), &buffer);
    tn_vec_push(c->arena, &probe.offsets, lhs);
    tn_vec_push(c->arena, &probe.offsets, rhs);
    bool plain = lhs != TN_LX_NONE && rhs != TN_LX_NONE;
    if (!plain || !tn_merge_holds(&probe, k, t.c.k, a->merged_k))
        memset(a->merged_k, 0, sizeof a->merged_k);
    probe_epilogue(&t, number, &probe, m, n);
    if (!plain || !tn_merge_holds(&probe, m, t.c.m, a->merged_m))
        memset(a->merged_m, 0, sizeof a->merged_m);
}

/* Whether most loads of A's expression step by one along the rows, and not along k. */
static bool loads_along_rows(tn__tile *t, const tn_lx *k_var, const tn_lx *m_var) {
    tn_merge_probe probe = {.k = t->m.k, .arena = t->m.context->arena};
    int along_rows = 0;
    if (t->c.k == 0 || t->c.m == 0) return false;
    tn_access_release(&t->m.access, 0); /* so that all leaves are met again */
    t->probe = &probe;
    (void)tn__tile_lhs(t, t->b_index, m_var, k_var);
    t->probe = NULL;
    for (uint32_t i = 0; i < probe.offsets.len; i++) {
        along_rows += tn__steps_by_one(t->m.k, probe.offsets.data[i], m_var[t->c.m - 1]);
        along_rows -= tn__steps_by_one(t->m.k, probe.offsets.data[i], k_var[t->c.k - 1]);
    }
    return along_rows > 0;
}

static void find_operands(const tn_lower_context *c, uint32_t group, uint32_t number,
                          analysis *out) {
    tn__tile t;
    tile_of(&t, c, group, number, "analysis");
    memset(out, 0, sizeof *out);
    out->a_leaf = TN_NO_VALUE;
    tn_lx b_ext[TN_MAX_RANK], m[TN_MAX_RANK], m_ext[TN_MAX_RANK], n[TN_MAX_RANK],
        n_ext[TN_MAX_RANK], k[TN_MAX_RANK], k_ext[TN_MAX_RANK];
    open_axes(t.m.k, t.c.b_extent, t.c.b, t.b_index, b_ext);
    open_axes(t.m.k, t.c.m_extent, t.c.m, m, m_ext);
    open_axes(t.m.k, t.c.n_extent, t.c.n, n, n_ext);
    open_axes(t.m.k, t.c.k_extent, t.c.k, k, k_ext);
    bool all[TN_MAX_RANK];
    memset(all, true, sizeof all);
    uint32_t buffer = 0;
    out->rhs_unit = unit_columns(&t, k, n);
    out->rhs_turned = !out->rhs_unit && unit_rows(&t, k, n);
    tn_node rhs = tn_graph_value(t.m.graph, t.node->in[1])->node;
    tn_node anchor = tn_group_anchor(t.m.group, number).node;
    bool prepared = tn_schedule_prepares_rhs(t.m.grouping, t.m.group, anchor);
    bool in_place = out->rhs_unit && !prepared;
    bool whole = t.m.group->prologue != TN_NO_GROUP;
    tn_lx address = TN_LX_NONE;
    if (!whole) address = tn__load_address(t.m.k, tn__tile_lhs(&t, t.b_index, m, k), &buffer);
    out->lhs_turned = !whole && loads_along_rows(&t, k, m);
    out->weights.source = TN_NO_VALUE;
    if (prepared && t.m.grouping->constant[rhs] && tn_group_anchors(t.m.group) == 1)
        tn__weights_find(c, group, &out->weights);
    if (address != TN_LX_NONE && splits(&t, address, k, m)) {
        out->direct = true;
        out->a_leaf = t.m.k->buffers.data[buffer].binding;
        tn_merge_probe probe = {.k = t.m.k, .arena = c->arena};
        tn_vec_push(c->arena, &probe.offsets, address);
        if (in_place)
            tn_vec_push(
                c->arena, &probe.offsets,
                tn__load_address(t.m.k, tn__tile_rhs(&t, t.b_index, k, n, TN_LX_NONE), &buffer));
        tn_merge_find(&probe, k, k_ext, t.c.k, all, out->merged_k);
        probe_epilogue(&t, number, &probe, m, n);
        tn_merge_find(&probe, m, m_ext, t.c.m, all, out->merged_m);
        check_merges(c, group, number, in_place, out);
    } else {
        for (int i = 0; i + 1 < t.c.k && !in_place; i++)
            out->merged_k[i] = true; /* both are packed */
    }
    if (out->weights.source != TN_NO_VALUE && out->weights.k_axis < 0)
        memset(out->merged_k, 0, sizeof out->merged_k); /* parameters are read at each axis */
}

static void analyse(const tn_lower_context *c, uint32_t group, uint32_t number, analysis *out) {
    find_operands(c, group, number, out);
    tn__tile t;
    tile_of(&t, c, group, number, "analysis");
    uint32_t lanes = TN_MAX(4, (uint32_t)c->target->vector_bytes / 4);
    tn__words_find(&t, out->direct, out->merged_k, lanes, &out->words);
    if (number) return;
    tile_of(&t, c, group, number, "analysis");
    out->epilogue_reads = tn__epilogue_reads(&t);
}

/* Whether the sums can be made in parts: operands are put in order by parts of k where it is one axis, or
 * where no vectors run along it. */
static bool may_cut_k(const tn_grouping *p, const tn_group *g, const analysis *a) {
    tn_contraction c;
    const tn_node_info *n = tn_graph_node(p->graph, g->anchor);
    tn_op_rules_of(n->op)->lower.contraction->describe(p->graph, n, &c);
    if (tn_group_anchors(g) > 1 || a->words.lanes || c.k == 0 || a->weights.source != TN_NO_VALUE)
        return false;
    bool one = true;
    bool prepared = tn_schedule_prepares_rhs(p, g, g->anchor);
    for (int i = 0; i + 1 < c.k; i++) one &= c.k_extent[i] == 1;
    return one || ((a->direct || a->lhs_turned) && (prepared || !a->rhs_turned));
}

/* Whether the rows of A are one axis, that vectors of a column run along. */
static bool whole_columns(const tn_grouping *p, const tn_group *g, const analysis *a) {
    tn_contraction c;
    const tn_node_info *n = tn_graph_node(p->graph, g->anchor);
    tn_op_rules_of(n->op)->lower.contraction->describe(p->graph, n, &c);
    int axes = 0;
    for (int i = 0; i < c.m; i++) axes += c.m_extent[i] != 1 && !a->merged_m[i];
    return a->direct && a->lhs_turned && axes == 1;
}

/* Only groups of one anchor have words or weights in their stored type. */
static void choose_records(const tn_lower_context *c, uint32_t group, analysis *a) {
    const tn_grouping *p = c->grouping;
    const tn_group *g = &p->groups.data[group];
    uint32_t registers = (uint32_t)c->target->vector_registers;
    tn_operand_facts facts = {a->direct, a->lhs_turned, whole_columns(p, g, a), a->rhs_unit,
                              may_cut_k(p, g, a)};
    a->s =
        tn_schedule_choose_contraction(p, g, (uint32_t)c->target->vector_bytes, registers, &facts);
    if (a->words.lanes)
        tn_schedule_choose_words(p, g, registers, tn__words_total(&a->words), &a->s);
    a->s = tn_lower_record(c, group, a->s);
    if (a->weights.source != TN_NO_VALUE) {
        const tn__weights *found = &a->weights;
        tn_weights_shape w = {found->group,       found->scaled,
                              found->shared,      found->differs,
                              found->k_axis >= 0, c->target->isa == TN_ISA_AVX512_VNNI};
        tn_schedule_choose_weights(p, g, registers, &w, &a->s);
    }
    for (uint32_t i = 1; i < tn_group_anchors(g); i++)
        a[i].s = tn_schedule_choose_sibling(p, g, i, a[i].direct, a[i].rhs_unit, &a->s);
    for (uint32_t i = 1; i < tn_group_anchors(g); i++) a[i].s.m_block = a->s.m_block;
}

static void follow(tn__tile *t, const analysis *a) {
    t->s = a->s;
    t->words = a->words;
    if (t->words.lanes) t->k_total = tn_l_int(t->m.k, tn__words_total(&t->words));
    t->stage_turned = a->lhs_turned && !t->s.words;
    t->turned = a->rhs_turned;
    t->a_leaf = a->a_leaf;
    memcpy(t->merged_m, a->merged_m, sizeof t->merged_m);
    memcpy(t->merged_k, a->merged_k, sizeof t->merged_k);
    t->weights = a->weights;
    t->next.epilogue = a->epilogue_reads;
    t->panels = tn__ceil_div(t->m.k, t->n_total, t->s.nr);
    tn__sums_init(t);
}

/* The packs of weights in their stored type. */
static void pack_weights(const tn_lower_context *c, uint32_t group, const analysis *a,
                         tn_lowered *out) {
    for (uint32_t i = 0; i <= a->weights.params; i++) {
        tn__tile t;
        tile_of(&t, c, group, 0, "pack");
        follow(&t, a);
        out->packs[out->pack_count++] = tn__weights_pack(&t, i);
    }
}

static tn_dim packed_elements(const tn__tile *t) {
    tn_dims *dims = t->m.graph->dims;
    tn_dim n = 1, count = tn_dim_const(dims, t->s.nr);
    for (int i = 0; i < t->c.n; i++) n = tn_dim_mul(dims, n, t->c.n_extent[i]);
    count = tn_dim_mul(dims, count, tn_dim_ceildiv(dims, n, tn_dim_const(dims, t->s.nr)));
    for (int i = 0; i < t->c.b; i++) count = tn_dim_mul(dims, count, t->c.b_extent[i]);
    if (t->s.words) return tn_dim_mul(dims, count, tn_dim_const(dims, tn__words_total(&t->words)));
    for (int i = 0; i < t->c.k; i++) count = tn_dim_mul(dims, count, t->c.k_extent[i]);
    return count;
}

/* The panels of all anchors with a constant B. */
static void lower_pack(const tn_lower_context *c, uint32_t group, const analysis *a,
                       tn_lowered *out) {
    tn__tile t;
    tile_of(&t, c, group, 0, "pack");
    follow(&t, a);
    for (uint32_t i = 1; i < tn_group_anchors(t.m.group); i++)
        follow(&tn__sibling_open(&t, i)->tile, &a[i]);
    tn__place_prepared(&t);
    tn_loop *k = t.m.k;
    uint32_t to = tn_l_buffer(k, TN_LBUF_OUTPUT, t.c.acc, "packed");
    k->buffers.data[to].binding = TN_BIND_PACK;
    k->tasks = tn_l_mul(k, tn__tile_product(k, t.c.b_extent, t.c.b), t.panels);
    tn_lx task = tn_l_task(k), panel = tn_l_mod(k, task, t.panels);
    tn__split_plain(k, tn_l_div(k, task, t.panels), t.c.b_extent, t.c.b, t.b_index);
    tn_dim elements = 0;
    for (uint32_t i = 0; i < tn_group_anchors(t.m.group); i++) {
        tn__tile *own = i ? &t.siblings.data[i - 1]->tile : &t;
        if (own->s.rhs != TN_RHS_PREPARED) continue;
        memcpy(own->b_index, t.b_index, sizeof t.b_index);
        tn_lx at = tn_l_add(k, tn_l_mul(k, task, own->prepared.line), own->prepared.before);
        tn__pack_panel(own, panel, to, at);
        elements = tn_dim_add(t.m.graph->dims, elements, packed_elements(own));
    }
    out->packs[out->pack_count++] = (tn_pack){k, elements, t.c.acc};
}

/* ---- the kernel ----------------------------------------------------------------------------- */

/* Panels per task; with a prologue as many as leave so many ranges. */
static tn_lx panels_of_task(tn__tile *t) {
    tn_loop *k = t->m.k;
    if (!t->s.ranges[0]) return tn_l_int(k, t->s.n_panels);
    tn_lx blocks = tn_l_mul(k, t->tasks.batch, t->tasks.blocks), ranges = tn_l_int(k, 1);
    for (int i = TN_RANGE_CLASSES - 1; i >= 0; i--)
        ranges = tn_l_select(k, tn_l_lt(k, blocks, tn_l_int(k, (int64_t)2 << i)),
                             tn_l_int(k, t->s.ranges[i]), ranges);
    tn_lx more = tn_l_sub(k, ranges, tn_l_int(k, 1));
    return tn_l_max(k, tn_l_int(k, 1), tn_l_div(k, tn_l_add(k, t->panels, more), ranges));
}

/* Which part of the result a task makes. */
static void cut_tasks(tn__tile *t) {
    tn_loop *k = t->m.k;
    t->tasks.rows = tn__tile_product(k, t->c.m_extent, t->c.m);
    t->tasks.batch = tn__tile_product(k, t->c.b_extent, t->c.b);
    t->tasks.blocks = tn__ceil_div(k, t->tasks.rows, t->s.m_block);
    t->tasks.panels = panels_of_task(t);
    tn_lx more = tn_l_sub(k, t->tasks.panels, tn_l_int(k, 1));
    t->tasks.ranges = tn_l_div(k, tn_l_add(k, t->panels, more), t->tasks.panels);
    t->tasks.count = tn_l_mul(k, tn_l_mul(k, t->tasks.batch, t->tasks.ranges), t->tasks.blocks);
    k->tasks = t->tasks.count;
    if (tn__sums_shared(t)) k->tasks = tn_l_mul(k, k->tasks, tn_l_int(k, t->s.k_pieces));
    tn_lx task = tn_l_task(k); /* which lies below k->tasks */
    if (tn__sums_shared(t)) {
        t->sums.piece = tn_l_div(k, task, t->tasks.count);
        task = tn_l_mod(k, task, t->tasks.count);
    }
    t->tasks.number = task;
    tn_lx outer = t->s.rows_first ? t->tasks.blocks : t->tasks.ranges;
    tn_lx inner = t->s.rows_first ? t->tasks.ranges : t->tasks.blocks;
    tn_lx line = tn_l_div(k, task, inner);
    tn_lx first = tn_l_mod(k, line, outer), second = tn_l_mod(k, task, inner);
    t->b_linear = tn_l_div(k, line, outer);
    tn__split_plain(k, t->b_linear, t->c.b_extent, t->c.b, t->b_index);
    t->tasks.block = t->s.rows_first ? first : second;
    t->tasks.range = t->s.rows_first ? second : first;
    t->first_row = tn_l_mul(k, t->tasks.block, tn_l_int(k, t->s.m_block));
}

/* Weights in their stored type are converted by the tiles or, for many rows, once. */
static void run_panel(tn__tile *t, tn_lx lo, tn_lx hi, tn_lx panel) {
    tn_loop *k = t->m.k;
    bool open = t->s.rhs == TN_RHS_RAW && t->s.unpack_rows < INT64_MAX;
    if (open) {
        tn_l_if(k, tn_l_le(k, tn_l_sub(k, hi, lo), tn_l_int(k, t->s.unpack_rows)));
        tn__run_rows(t, lo, hi, t->tasks.rows, panel);
        tn_l_else(k);
        t->s.rhs = TN_RHS_UNPACKED;
    }
    if (t->s.rhs == TN_RHS_UNPACKED) tn__weights_unpack(t, panel);
    tn__run_rows(t, lo, hi, t->tasks.rows, panel);
    if (open) {
        t->s.rhs = TN_RHS_RAW;
        tn_l_end(k);
    }
}

static void emit_task(tn__tile *t) {
    tn_loop *k = t->m.k;
    tn_lx lo = t->first_row, nr = tn_l_int(k, t->s.nr);
    tn_lx hi = tn_l_min(k, t->tasks.rows, tn_l_add(k, lo, tn_l_int(k, t->s.m_block)));
    tn_lx first = tn_l_mul(k, t->tasks.range, t->tasks.panels);
    tn_lx last = tn_l_min(k, t->panels, tn_l_add(k, first, t->tasks.panels));
    if (t->s.lhs == TN_LHS_STAGED && !tn__sums_stage_blocks(t)) tn__stage_lhs(t, lo, hi);
    if (t->s.digits) tn__digits_make(t, lo, hi);
    tn__siblings_begin(t, lo, hi);
    if (t->s.sweep) {
        tn__sweep_panels(t, first, last);
        return;
    }
    if (tn__sums_shared(t) || tn__sums_stage_blocks(t)) tn__sums_make(t, lo, hi, first, last);
    tn__sums_last(t);
    tn__folds_begin(t, TN_ALONG_ROWS, lo, hi);
    tn__folds_begin(t, TN_ALONG_NOTHING, lo, hi);
    tn__folds_begin(t, TN_ALONG_BATCH, lo, hi);
    tn_lx panel = tn_l_for(k, TN_LOOP_SERIAL, first, last, "panel");
    tn__siblings_run(t, lo, hi, panel);
    if (!tn__sums_shared(t) && tn__sums_cut(t) && !tn__sums_stage_blocks(t))
        tn__sums_make(t, lo, hi, panel, tn_l_add(k, panel, tn_l_int(k, 1)));
    else if (t->s.rhs == TN_RHS_PACKED && !tn__sums_cut(t)) {
        tn__pack_panel(t, panel, t->packed, tn_l_int(k, 0));
        tn__prefetch_after(t, panel, TN_LX_NONE);
    }
    tn__folds_begin(t, TN_ALONG_COLUMNS, lo, hi);
    tn__folds_begin(t, TN_ALONG_BATCH_COLUMNS, lo, hi);
    run_panel(t, lo, hi, panel);
    tn__folds_keep(t, TN_ALONG_COLUMNS, tn_l_mul(k, panel, nr), TN_LX_NONE);
    tn__folds_keep(t, TN_ALONG_BATCH_COLUMNS, tn_l_mul(k, panel, nr), TN_LX_NONE);
    tn_l_end(k);
    tn__folds_keep(t, TN_ALONG_ROWS, lo, hi);
    tn__folds_keep(t, TN_ALONG_NOTHING, lo, hi);
    tn__folds_keep(t, TN_ALONG_BATCH, lo, hi);
    tn__folds_finish(t);
    tn__sums_end(t);
}

/* B as the tile reads it, where that is neither in place nor prepared. */
static void declare_rhs(tn__tile *t, const analysis *a, tn_lowered *out) {
    tn_loop *k = t->m.k;
    bool raw = t->s.rhs == TN_RHS_RAW || t->s.rhs == TN_RHS_UNPACKED;
    if (raw) {
        tn__weights_bind(t);
        pack_weights(t->m.context, t->m.group_id, a, out);
    }
    if (t->s.rhs == TN_RHS_PACKED || t->s.rhs == TN_RHS_UNPACKED ||
        (raw && t->s.unpack_rows < INT64_MAX)) {
        tn_lx size = tn_l_mul(k, tn__sums_packed(t), tn_l_int(k, t->s.nr));
        t->packed = tn_l_scratch(k, t->c.acc, size, "panel");
    }
}

static void add_siblings(tn__tile *t, const analysis *a, tn_lowered *out) {
    for (uint32_t i = 1; i < tn_group_anchors(t->m.group); i++) {
        tn__sibling *s = tn__sibling_open(t, i);
        follow(&s->tile, &a[i]);
        tn__sibling_declare(t, s, i);
        declare_rhs(&s->tile, &a[i], out);
    }
}

static void bind_prepared(tn__tile *t, const analysis *a, tn_lowered *out) {
    uint32_t buffer = TN_NO_GROUP;
    for (uint32_t i = 0; i < tn_group_anchors(t->m.group); i++) {
        tn__tile *own = i ? &t->siblings.data[i - 1]->tile : t;
        if (own->s.rhs != TN_RHS_PREPARED) continue;
        if (buffer == TN_NO_GROUP) {
            buffer = tn_l_buffer(t->m.k, TN_LBUF_INPUT, t->c.acc, "packed");
            t->m.k->buffers.data[buffer].binding = TN_BIND_PACK;
            lower_pack(t->m.context, t->m.group_id, a, out);
        }
        own->packed = buffer;
    }
    tn__place_prepared(t);
}

void tn_lower_contraction(const tn_lower_context *c, uint32_t group, tn_lowered *out) {
    analysis a[TN_MOST_ANCHORS];
    uint32_t anchors = tn_group_anchors(&c->grouping->groups.data[group]);
    for (uint32_t i = 0; i < anchors; i++) analyse(c, group, i, &a[i]);
    choose_records(c, group, a);
    tn__tile t;
    tile_of(&t, c, group, 0, "contract");
    follow(&t, a);
    tn_loop *k = t.m.k;
    uint32_t elements = t.s.mr * t.s.nr;
    t.acc = tn_l_register(k, t.c.acc, elements, "acc");
    if (t.s.lhs != TN_LHS_ELEMENT) t.row = tn_l_register(k, TN_i64, t.s.mr, "row");
    if (t.s.lhs == TN_LHS_STAGED)
        t.stage = tn_l_scratch(k, t.c.acc,
                               tn_l_mul(k, tn__sums_staged(&t), tn_l_int(k, t.s.m_block)), "rows");
    if (t.s.sweep && !tn__sums_shared(&t))
        t.scratch = tn_l_scratch(k, t.c.acc, tn__sweep_elements(&t), "sums");
    else if (t.s.staged_epilogue && !t.s.sweep)
        t.scratch = tn_l_scratch(k, t.c.acc, tn_l_int(k, elements), "tile");
    declare_rhs(&t, a, out);
    add_siblings(&t, a, out);
    bind_prepared(&t, a, out);
    cut_tasks(&t);
    tn__sums_begin(&t);
    if (t.s.sweep && tn__sums_shared(&t)) t.scratch = t.sums.slots;
    tn__tile_make_folds(&t);
    emit_task(&t);
    out->kernel = k;
    out->schedule = t.s;
}
