/* Choosing schedule records. The thresholds come from measurements on AVX-512 and AVX2 machines
 * that bench/ repeats: register tiles of at most 8 rows read A in place without cache-set
 * conflicts, about 96 rows make a block, and a task should last some tens of
 * microseconds. */
#include "schedule/record.h"

enum {
    TASK_ELEMENTS = 16384,
    TASK_FLOPS = 4 << 20,
    STAGE_ELEMENTS = 1 << 20, /* read once per panel, so the last cache will do */
    STAGED_DEPTH = 256,       /* elements of k of an A that is read by columns */
    PACKED_ROWS = 32,         /* that a packed panel of B meets at least */
    PAGE_ELEMENTS = 1 << 10,
    PACKED_ELEMENTS = 128 << 10,
    FAR_ELEMENTS = 768 << 10,
    SWEEP_COLUMNS = 1024, /* of a task that reads B past a few rows */
    PACKED_BLOCK = 384,   /* rows that share a packed panel where there are so many */
    PACKED_TASKS = 64,
    STEADY_ROWS =
        512, /* more share a panel for long enough, though it is packed in each iteration */
    LEAST_BYTES = 16, /* of a vector */
    SHARED_TASKS = 16,
    KEPT_ELEMENTS =
        128 << 10, /* of a right operand that an L2 cache keeps while other rows read it */
    LEAST_FLOPS = 128 << 10, /* of a task */
};

int64_t tn_dim_guess(const tn_dims *t, tn_dim d) {
    int64_t value;
    if (tn_dim_const_value(t, d, &value)) return value;
    int64_t lo = tn_dim_lo(t, d), hi = tn_dim_hi(t, d);
    return TN_MAX(lo, TN_MIN(hi, (int64_t)TN_TYPICAL_SIZE));
}

static int64_t clamp_product(int64_t a, int64_t b) {
    int64_t p;
    return __builtin_mul_overflow(a, b, &p) ? INT64_MAX / 4 : p;
}

/* Elements that a window fold reads for one result. */
static int64_t window_work(const tn_grouping *p, tn_node anchor) {
    tn_fold fold;
    const tn_node_info *n = tn_graph_node(p->graph, anchor);
    tn_op_rules_of(n->op)->lower.fold->describe(p->graph, n, &fold);
    int64_t work = 1;
    for (int i = 0; i < fold.axes; i++)
        work = clamp_product(work, TN_MAX(1, tn_dim_guess(p->graph->dims, fold.extent[i])));
    return work;
}

/* A depthwise convolution keeps several neighbouring results in registers: they share their inputs
 * and weights, and are independent chains. Needs a window without bounds checks. */
static void choose_block(const tn_grouping *p, const tn_group *g, tn_schedule *s) {
    const tn_node_info *n = tn_graph_node(p->graph, g->anchor);
    const tn_shape *shape = &g->space.shape;
    int axis = shape->rank - 1;
    while (axis >= 0 && shape->dim[axis] == 1) axis--;
    for (axis--; axis >= 0 && shape->dim[axis] == 1;) axis--;
    if (tn_op_rules_of(n->op)->lower.kind != TN_LOWER_CONTRACTION || axis < 0 ||
        !tn_dim_is_const(shape->dim[axis]))
        return;
    s->unroll = 1;
    s->block_axis = axis;
    for (s->block = 8; s->block > 4 && shape->dim[axis] % s->block != 0;) s->block--;
    s->block = TN_MIN(s->block, shape->dim[axis]);
}

/* Folds of short rows wait for one lane after another, and what follows for them. A row of a few vectors is
 * over before the next one can help: several side by side keep the units busy. Measured for softmax of 64
 * elements: by 4 rows in 0.5 of the time. */
static uint32_t rows_together(const tn_grouping *p, const tn_group *g, int64_t extent, int64_t work,
                              int64_t rows, uint32_t lanes) {
    enum { MOST_VECTORS = 4, ROWS = 4, MANY = 64 };
    for (int i = 0; i < g->space.shape.rank; i++)
        if (g->space.folded[i] && !tn_dim_is_const(g->space.shape.dim[i])) return 0;
    bool nested = g->nested || p->constant[g->members.data[0].node];
    bool is_short = extent == work && extent <= (int64_t)MOST_VECTORS * lanes && rows >= MANY;
    return is_short && !nested ? ROWS : 0;
}

tn_schedule tn_schedule_choose_rows(const tn_grouping *p, const tn_group *g, uint32_t vector_bytes,
                                    const bool *merged) {
    tn_schedule s = {.lanes = TN_MAX(4, vector_bytes / 4)};
    const tn_space *space = &g->space;
    int64_t size[TN_MAX_RANK];
    int last = -1, last_row = -1;
    for (int i = 0; i < space->shape.rank; i++) {
        size[i] = tn_dim_guess(p->graph->dims, space->shape.dim[i]);
        if (i > 0 && merged[i - 1]) {
            size[i] = clamp_product(size[i], size[i - 1]);
            size[i - 1] = 1;
        }
        if (space->shape.dim[i] == 1) continue;
        last = i;
        if (!space->folded[i]) last_row = i;
    }
    s.fold_lanes = last >= 0 && space->folded[last];
    int axis = s.fold_lanes ? last : last_row;
    int64_t extent = axis >= 0 ? size[axis] : 1;
    bool folds = space->has_fold || g->anchor != TN_NO_NODE;
    s.unroll = !folds || extent < 2 * s.lanes ? 1 : extent < 4 * s.lanes ? 2 : 4;
    if (s.unroll == 4 && !s.fold_lanes && g->anchor == TN_NO_NODE)
        s.unroll = tn__strip_vectors(p, g, s.lanes, extent);
    if (g->anchor != TN_NO_NODE) choose_block(p, g, &s);
    int64_t work = g->anchor != TN_NO_NODE ? window_work(p, g->anchor) : 1, rows = 1;
    for (int i = 0; i < space->shape.rank; i++) {
        if (space->folded[i] || i == axis)
            work = clamp_product(work, size[i]);
        else
            rows = clamp_product(rows, size[i]);
    }
    s.rows_per_task = TN_MAX(1, TASK_ELEMENTS / TN_MAX(1, work));
    if (s.fold_lanes) s.together = rows_together(p, g, extent, work, rows, s.lanes);
    if (!s.fold_lanes && work > 2 * TASK_ELEMENTS && rows < 16 && extent > 0) {
        int64_t unit = (int64_t)s.lanes * s.unroll, per = TN_MAX(1, work / extent);
        s.chunk = TN_MAX(unit, TASK_ELEMENTS / per / unit * unit);
    }
    return s;
}

static bool all_const(const tn_dim *d, int count) {
    for (int i = 0; i < count; i++)
        if (!tn_dim_is_const(d[i])) return false;
    return true;
}

static int64_t product(const tn_dims *dims, const tn_dim *d, int count) {
    int64_t p = 1;
    for (int i = 0; i < count; i++) p = clamp_product(p, tn_dim_guess(dims, d[i]));
    return p;
}

bool tn__is_long_operation(tn_op op) {
    switch (tn_op_info_of(op)->family[0]) {
    case 'u':
        return op != TN_OP_neg && op != TN_OP_abs && op != TN_OP_not && op != TN_OP_sqrt;
    default:
        return op == TN_OP_pow || op == TN_OP_atan2 || op == TN_OP_rem || op == TN_OP_random_bits;
    }
}

/* Runs in a rolled loop over a stored tile. */
static bool long_epilogue(const tn_grouping *p, tn_node n, tn_value stop, int depth) {
    const tn_node_info *info = tn_graph_node(p->graph, n);
    if (tn__is_long_operation(info->op)) return true;
    for (uint32_t i = 0; depth < 32 && i < info->in_count; i++) {
        tn_node from = tn_graph_value(p->graph, info->in[i])->node;
        if (info->in[i] != stop && p->inlined[from] && long_epilogue(p, from, stop, depth + 1))
            return true;
    }
    return false;
}

/* Of a B [k][cols] with contiguous rows: in place a panel is spread over as many pages as B has rows,
 * or over a B that no cache near the core holds, which costs more than a copy that many rows of A share,
 * and that is fetched while they do. */
static bool worth_packing(int64_t m, int64_t k, int64_t cols) {
    int64_t elements = clamp_product(k, cols);
    return m >= PACKED_ROWS && elements > (cols >= PAGE_ELEMENTS ? PACKED_ELEMENTS : FAR_ELEMENTS);
}

static bool has_folds(const tn_group *g) {
    for (uint32_t i = 0; i < g->members.len; i++)
        if (g->members.data[i].along != TN_ALONG_SPACE) return true;
    return false;
}

/* So few rows that reading such a B is all there is to do. */
static bool is_large_for(int64_t m, int64_t k, int64_t cols) {
    return m <= TN__SWEEP_ROWS && cols >= PAGE_ELEMENTS && clamp_product(k, cols) > PACKED_ELEMENTS;
}

static bool worth_sweeping(const tn_group *g, int64_t m, int64_t k, int64_t cols) {
    return !has_folds(g) && g->siblings.len == 0 && g->prologue == TN_NO_GROUP &&
           is_large_for(m, k, cols);
}

/* Blocks of like height, as few as there are now. */
static int64_t even_rows(int64_t m, const tn_schedule *s) {
    int64_t tiles = (m + s->mr - 1) / s->mr, per = TN_MAX(1, s->m_block / s->mr);
    int64_t blocks = TN_MAX(1, (tiles + per - 1) / per);
    return TN_MAX(1, (tiles + blocks - 1) / blocks) * s->mr;
}

/* Panels per task where each product of a batch has a right operand of its own and there are few tasks: less, if
 * rows would be shared instead and more than an L2 cache keeps were read again for each part of them (eight models,
 * 8×512×512, one thread: 42 µs each by halves of the rows, 37 by halves of the columns). */
static int64_t own_panels(int64_t blocks, int64_t panels, int64_t k, int64_t flops,
                          const tn_schedule *s) {
    int64_t wanted = TN_MIN(SHARED_TASKS, flops / LEAST_FLOPS);
    int64_t ranges = (wanted + blocks - 1) / TN_MAX(1, blocks);
    bool kept = clamp_product(k, s->n_panels * s->nr) <= KEPT_ELEMENTS;
    return kept || ranges < 2 ? s->n_panels : TN_MIN(s->n_panels, TN_MAX(1, panels / ranges));
}

/* Rows per task where there are few tasks: less, as long as a task lasts a microsecond. */
static int64_t shared_rows(int64_t tasks, int64_t m, int64_t flops, const tn_schedule *s) {
    int64_t wanted = TN_MIN(SHARED_TASKS, flops / LEAST_FLOPS), tiles = (m + s->mr - 1) / s->mr;
    int64_t parts = TN_MIN(tiles, wanted / TN_MAX(1, tasks));
    return parts < 2 ? s->m_block : TN_MIN(s->m_block, (tiles + parts - 1) / parts * s->mr);
}

static void describe(const tn_grouping *p, tn_node product, tn_contraction *c) {
    const tn_node_info *n = tn_graph_node(p->graph, product);
    tn_op_rules_of(n->op)->lower.contraction->describe(p->graph, n, c);
}

static bool has_prepared_rhs(const tn_grouping *p, tn_node product_node) {
    const tn_node_info *n = tn_graph_node(p->graph, product_node);
    tn_node rhs = tn_graph_value(p->graph, n->in[1])->node;
    tn_contraction c;
    if (p->prepared[rhs] || !p->steady[rhs]) return p->prepared[rhs];
    describe(p, product_node, &c);
    return product(p->graph->dims, c.m_extent, c.m) <= STEADY_ROWS;
}

bool tn_schedule_prepares_rhs(const tn_grouping *p, const tn_group *g, tn_node product_node) {
    return !g->constant && has_prepared_rhs(p, product_node);
}

bool tn_schedule_cuts_sums(const tn_grouping *p, tn_node product_node, int64_t parts, bool batch) {
    const tn_dims *dims = p->graph->dims;
    tn_contraction c;
    describe(p, product_node, &c);
    int64_t b = product(dims, c.b_extent, c.b), m = product(dims, c.m_extent, c.m);
    int64_t n = product(dims, c.n_extent, c.n), k = product(dims, c.k_extent, c.k);
    int64_t rows = batch ? m : TN_MAX(1, m / TN_MAX(1, parts));
    int64_t products = batch ? TN_MAX(1, b / TN_MAX(1, parts)) : b;
    if (!has_prepared_rhs(p, product_node) && is_large_for(rows, k, n)) return true;
    return tn__k_pieces(b, m, n, k, true) > 1 || tn__k_pieces(products, rows, n, k, true) > 1;
}

bool tn_schedule_may_sweep(const tn_grouping *p, tn_node product_node) {
    const tn_dims *dims = p->graph->dims;
    tn_contraction c;
    describe(p, product_node, &c);
    return !has_prepared_rhs(p, product_node) && all_const(c.m_extent, c.m) &&
           is_large_for(product(dims, c.m_extent, c.m), product(dims, c.k_extent, c.k),
                        product(dims, c.n_extent, c.n));
}

/* All rows share a panel that the task packs, as long as there are tasks enough. */
static int64_t packed_rows(int64_t m, int64_t panels) {
    return TN_MAX(PACKED_BLOCK, clamp_product(m, panels) / PACKED_TASKS);
}

/* Threads take neighbouring tasks. The kernels before and behind a convolution are cut along rows, so a
 * thread that has all columns of its rows finds its operand, and the next its result, in its own caches;
 * against it stands that each thread reads all of B. Measured on MobileNet-V2: a depthwise convolution
 * behind such a product takes up to 1.4 times as long on two threads when half its operand is in the
 * other's cache. */
static bool keeps_rows_together(const tn_grouping *p, tn_node anchor, int64_t m, int64_t k,
                                int64_t cols) {
    return tn_graph_node(p->graph, anchor)->op == TN_OP_conv &&
           clamp_product(k, cols) <= clamp_product(m, k + cols);
}

static tn_rhs_mode rhs_mode(const tn_grouping *p, const tn_group *g, tn_node anchor,
                            const tn_contraction *c, bool rhs_unit) {
    const tn_dims *dims = p->graph->dims;
    int64_t m = product(dims, c->m_extent, c->m), k = product(dims, c->k_extent, c->k);
    if (tn_schedule_prepares_rhs(p, g, anchor)) return TN_RHS_PREPARED;
    bool in_place = rhs_unit && !worth_packing(m, k, product(dims, c->n_extent, c->n));
    return in_place ? TN_RHS_DIRECT : TN_RHS_PACKED;
}

static tn_lhs_mode lhs_mode(const tn_contraction *c, bool lhs_direct) {
    return lhs_direct ? TN_LHS_DIRECT : c->k > 0 ? TN_LHS_STAGED : TN_LHS_ELEMENT;
}

/* Of an A that is read by columns each element of k is part of a line, far from the one before. Where a task
 * has several panels it puts its rows in order first: xᵀ·dy of 3072×768 from 512 rows, which no cache
 * holds, takes 11 ms for 13. */
static bool worth_staging(const tn_grouping *p, tn_node anchor, int64_t k, int64_t panels) {
    return tn_graph_node(p->graph, anchor)->op == TN_OP_dot && k >= STAGED_DEPTH && panels > 1;
}

/* Rows whose evaluated operand fits the scratch. */
static int64_t staged_rows(int64_t block, int64_t k, uint32_t mr) {
    return TN_MAX((int64_t)mr, TN_MIN(block, STAGE_ELEMENTS / TN_MAX(1, k)));
}

tn_schedule tn_schedule_choose_sibling(const tn_grouping *p, const tn_group *g, uint32_t number,
                                       bool lhs_direct, bool rhs_unit, tn_schedule *anchor) {
    tn_node node = tn_group_anchor(g, number).node;
    tn_schedule s = *anchor;
    tn_contraction c;
    describe(p, node, &c);
    s.lhs = lhs_mode(&c, lhs_direct);
    s.rhs = rhs_mode(p, g, node, &c, rhs_unit);
    s.rhs_unit = rhs_unit && s.rhs != TN_RHS_PREPARED;
    s.staged_epilogue = false;
    if (s.lhs == TN_LHS_STAGED) {
        int64_t k = product(p->graph->dims, c.k_extent, c.k);
        int64_t rows = staged_rows(anchor->m_block, k, s.mr) / s.mr * s.mr;
        anchor->m_block = TN_MIN(anchor->m_block, rows);
    }
    return s;
}

/* Of all the sums that make an element of the group. */
typedef struct sum_terms {
    int64_t count;
    bool fixed;
} sum_terms;

static sum_terms all_terms(const tn_grouping *p, const tn_group *g) {
    sum_terms t = {.fixed = true};
    for (uint32_t i = 0; i < tn_group_anchors(g); i++) {
        tn_contraction c;
        describe(p, tn_group_anchor(g, i).node, &c);
        t.count += TN_MIN(product(p->graph->dims, c.k_extent, c.k), INT64_MAX / 16);
        t.fixed &= all_const(c.k_extent, c.k);
    }
    return t;
}

/* Whether each task may pack the right operand of a sibling. */
static bool may_pack_sibling(const tn_grouping *p, const tn_group *g) {
    for (uint32_t i = 1; i < tn_group_anchors(g); i++)
        if (!has_prepared_rhs(p, tn_group_anchor(g, i).node)) return true;
    return false;
}

/* Rows per task at most, where there are so many panels of all rows. */
static int64_t task_rows(const tn_grouping *p, const tn_group *g, const tn_schedule *s, int64_t m,
                         int64_t cols, int64_t panels) {
    bool packed = s->rhs == TN_RHS_PACKED;
    if (s->k_pieces > 1) return tn__piece_rows(m, cols);
    if (g->prologue != TN_NO_GROUP) return tn__prologue_rows(p, g, packed);
    if (packed) return packed_rows(m, panels);
    return m >= 192 ? 192 : 96;
}

tn_schedule tn_schedule_choose_contraction(const tn_grouping *p, const tn_group *g,
                                           uint32_t vector_bytes, uint32_t registers,
                                           const tn_operand_facts *facts) {
    tn_schedule schedule = {.lanes = TN_MAX(4, vector_bytes / 4), .unroll = 1, .rows_per_task = 1};
    tn_schedule *s = &schedule;
    const tn_dims *dims = p->graph->dims;
    tn_contraction c;
    describe(p, g->anchor, &c);
    int64_t b = product(dims, c.b_extent, c.b), m = product(dims, c.m_extent, c.m);
    int64_t cols = product(dims, c.n_extent, c.n), k = product(dims, c.k_extent, c.k);
    bool fixed_n = all_const(c.n_extent, c.n), fixed_m = all_const(c.m_extent, c.m);
    sum_terms terms = all_terms(p, g);
    if (tn_dtype_size(c.acc) == 8) s->lanes = TN_MAX(2, s->lanes / 2);
    tn__product_sizes sizes = {.m = m,
                               .n = cols,
                               .k = terms.count,
                               .fixed_m = fixed_m,
                               .fixed_n = fixed_n,
                               .fixed_k = terms.fixed,
                               .least = s->lanes,
                               .turned = facts->lhs_turned,
                               .prepared = tn_schedule_prepares_rhs(p, g, g->anchor)};
    if (!has_folds(g)) /* which are fast on whole vectors */
        sizes.least = TN_MIN(s->lanes, LEAST_BYTES / (uint32_t)tn_dtype_size(c.acc));
    if (g->prologue != TN_NO_GROUP) sizes.m = TN_MIN(m, tn__prologue_rows(p, g, false));
    tn__choose_tile(&sizes, registers, s);
    s->rhs = rhs_mode(p, g, g->anchor, &c, facts->rhs_unit);
    s->rhs_unit = facts->rhs_unit && s->rhs != TN_RHS_PREPARED;
    int64_t panels = (cols + s->nr - 1) / s->nr;
    s->k_cut = facts->k_cut;
    bool fixed = fixed_m && fixed_n && all_const(c.b_extent, c.b);
    bool may_split = s->k_cut && fixed && g->prologue == TN_NO_GROUP; /* which folds whole rows */
    if (may_split) s->k_pieces = tn__k_pieces(b, m, cols, k, facts->lhs_turned);
    bool pieces = s->k_pieces > 1, packed = s->rhs == TN_RHS_PACKED;
    bool stage = facts->lhs_columns && !pieces && worth_staging(p, g->anchor, k, panels);
    s->lhs = lhs_mode(&c, facts->lhs_direct && !stage);
    int64_t block = task_rows(p, g, s, m, cols, clamp_product(b, panels));
    if (s->lhs == TN_LHS_STAGED) block = staged_rows(block, k / TN_MAX(1, s->k_pieces), s->mr);
    s->m_block = (TN_MIN(block, TN_MAX(1, m)) + s->mr - 1) / s->mr * s->mr;
    if (fixed_m && g->prologue == TN_NO_GROUP) s->m_block = even_rows(m, s);
    int64_t blocks = clamp_product(b, (m + s->m_block - 1) / s->m_block);
    int64_t panel_flops =
        clamp_product(clamp_product(2 * TN_MIN(m, s->m_block), s->nr), terms.count);
    int64_t per = TN_MAX(1, TASK_FLOPS / TN_MAX(1, panel_flops));
    int64_t most_per = TN_MAX(1, clamp_product(panels, blocks) / 8); /* at least 8 tasks or so */
    s->n_panels = TN_MIN(panels, TN_MAX(1, TN_MIN(per, most_per)));
    if (pieces)
        s->n_panels = TN_MAX(1, panels);
    else if (g->prologue != TN_NO_GROUP)
        tn__prologue_ranges(p, g, s->ranges);
    else if (s->lhs == TN_LHS_STAGED) /* rows anew for each task: a few percent of 128 columns */
        s->n_panels = TN_MIN(panels, TN_MAX(s->n_panels, TN_MAX(2, TN_MIN(8, panels / 4))));
    else if (fixed_m && !packed && !may_pack_sibling(p, g)) {
        int64_t flops = clamp_product(clamp_product(2 * b, m), clamp_product(cols, terms.count));
        if (b > 1) s->n_panels = own_panels(blocks, panels, terms.count, flops, s);
        int64_t tasks = clamp_product(blocks, (panels + s->n_panels - 1) / TN_MAX(1, s->n_panels));
        s->m_block = shared_rows(tasks, m, flops, s);
    }
    s->rows_first = keeps_rows_together(p, g->anchor, m, k, cols);
    if (!pieces && s->rhs == TN_RHS_DIRECT && fixed_m && worth_sweeping(g, m, k, cols)) {
        s->sweep = s->staged_epilogue = true;
        s->n_panels = TN_MIN(panels, TN_MAX(1, SWEEP_COLUMNS / s->nr));
        if (may_split) tn__sweep_pieces(b, m, panels, k, s);
    }
    if (s->k_cut && !s->sweep)
        s->k_block =
            tn__k_block(TN_MIN(m, s->m_block), k, facts->lhs_turned && s->lhs == TN_LHS_DIRECT, s);
    for (uint32_t i = 0; i < g->members.len; i++)
        if (!tn_group_has_anchor(g, g->members.data[i].node))
            s->staged_epilogue |= long_epilogue(p, g->members.data[i].node, g->domain_value, 0);
    return schedule;
}

/* Columns of attention's register tiles, in vectors: tiles of 8 rows leave no remainder of most row
 * counts, and with many registers two vectors side by side are enough to keep the units busy. */
static uint32_t attention_vectors(int64_t n, bool constant, uint32_t lanes, uint32_t registers) {
    if (registers >= 32 && (!constant || n % (2 * (int64_t)lanes) == 0)) return 2;
    return tn__tile_vectors(n, constant, lanes, registers);
}

/* What a task loops over. Measured: a quarter of the L2 cache for a block of keys and values, and as
 * much or twice that for the rows, so that packing keys costs little beside the products. */
static void attention_blocks(tn_schedule *s, int64_t width, int64_t rows, int64_t batch) {
    enum { MOST_BLOCK = 256, BLOCK_ELEMENTS = 16384, ENOUGH_TASKS = 32 };
    int64_t most = TN_MAX(64, TN_MIN(MOST_BLOCK, BLOCK_ELEMENTS / TN_MAX(1, width)));
    s->m_block = s->kv_block = most;
    if (clamp_product(batch, rows / (2 * most)) >= ENOUGH_TASKS) s->m_block = 2 * most;
}

/* A few rows, as in decoding, read each key and value once: tasks share the columns. */
static void attention_pieces(tn_schedule *s, const tn_contraction *c, int64_t batch, bool fixed_b,
                             bool few) {
    enum { PIECE = 512, ENOUGH_TASKS = 64 };
    bool fixed_columns = tn_dim_is_const(c->k_extent[0]);
    if (few) s->kv_block = PIECE;
    if ((fixed_columns && c->k_extent[0] <= PIECE) || (fixed_b && batch >= ENOUGH_TASKS)) return;
    s->kv_piece = PIECE;
}

tn_schedule tn_schedule_choose_attention(const tn_grouping *p, const tn_group *g,
                                         uint32_t vector_bytes, uint32_t registers) {
    tn_schedule schedule = {.lanes = TN_MAX(4, vector_bytes / 4), .unroll = 2};
    tn_schedule *s = &schedule;
    const tn_dims *dims = p->graph->dims;
    const tn_node_info *n = tn_graph_node(p->graph, g->anchor);
    tn_contraction c;
    tn_op_rules_of(n->op)->lower.contraction->describe(p->graph, n, &c);
    int64_t m = product(dims, c.m_extent, c.m), width = product(dims, c.n_extent, c.n);
    int64_t columns = tn_dim_guess(dims, c.k_extent[0]);
    bool fixed_n = all_const(c.n_extent, c.n), fixed_m = all_const(c.m_extent, c.m);
    bool fixed_columns = tn_dim_is_const(c.k_extent[0]), few = fixed_m && m <= TN_FEW_ROWS;
    if (tn_dtype_size(c.acc) == 8) s->lanes = TN_MAX(2, s->lanes / 2);
    uint32_t across = tn__tile_vectors(width, fixed_n, s->lanes, registers), along = across;
    if (!few) {
        across = attention_vectors(width, fixed_n, s->lanes, registers);
        along = attention_vectors(columns, fixed_columns, s->lanes, registers);
    }
    s->nr = across * s->lanes;
    s->score_nr = along * s->lanes;
    s->mr = TN_MIN(tn__tile_rows(across, registers), tn__tile_rows(along, registers));
    if (fixed_m) {
        s->mr = (uint32_t)TN_MAX(1, TN_MIN((int64_t)s->mr, m));
        s->mr = tn__whole_rows(s->mr, across, m);
    }
    int64_t batch = product(dims, c.b_extent, c.b);
    bool fixed_b = all_const(c.b_extent, c.b);
    attention_blocks(s, width, fixed_m ? m : 0, fixed_b ? batch : 1);
    if (!fixed_m || m <= TN_SHARING_ROWS) attention_pieces(s, &c, batch, fixed_b, few);
    if (fixed_m) s->m_block = TN_MIN(m, s->m_block);
    s->m_block = (s->m_block + s->mr - 1) / s->mr * s->mr;
    if (fixed_columns) s->kv_block = TN_MIN(columns, s->kv_block);
    s->kv_block = (s->kv_block + s->score_nr - 1) / s->score_nr * s->score_nr;
    if (fixed_columns && columns <= s->kv_block) s->kv_piece = 0;
    if (s->kv_piece) s->kv_piece = (s->kv_piece + s->kv_block - 1) / s->kv_block * s->kv_block;
    return schedule;
}

/* Rows at a time: as many as keep what is made of their scores in a part of the L2 cache. */
static int64_t gradient_rows(int64_t rows, int64_t columns, int64_t mr) {
    enum { ELEMENTS = 32768, MOST = 64 };
    int64_t block = TN_MAX(mr, TN_MIN(MOST, ELEMENTS / TN_MAX(1, columns)) / mr * mr);
    return TN_MIN(block, (rows + mr - 1) / mr * mr);
}

tn_schedule tn_schedule_choose_attention_gradient(const tn_grouping *p, const tn_group *g,
                                                  uint32_t vector_bytes, uint32_t registers) {
    tn_schedule schedule = {.lanes = TN_MAX(4, vector_bytes / 4), .unroll = 2};
    tn_schedule *s = &schedule;
    tn_contraction c;
    describe(p, g->gradient->x->product, &c);
    int64_t rows = product(p->graph->dims, c.m_extent, c.m), columns = c.k_extent[0];
    if (tn_dtype_size(c.acc) == 8) s->lanes = TN_MAX(2, s->lanes / 2);
    uint32_t along = attention_vectors(columns, true, s->lanes, registers);
    s->score_nr = along * s->lanes;
    s->mr = (uint32_t)TN_MAX(1, TN_MIN((int64_t)tn__tile_rows(along, registers), rows));
    s->mr = tn__whole_rows(s->mr, along, rows);
    s->m_block = gradient_rows(rows, columns, s->mr);
    return schedule;
}

void tn_schedule_print(const tn_schedule *s, tn_group_kind kind, tn_str *out) {
    static const char *const shapes[] = {"rows",      "place",  "transpose", "split",
                                         "depthwise", "planes", "narrow",    "windows"};
    static const char *const lhs[] = {"", " lhs=element", " lhs=staged"};
    static const char *const rhs[] = {"prepared", "direct", "packed", "raw", "unpacked"};
    if (kind == TN_GROUP_CONTRACTION && s->winograd)
        tn_str_appendf(out, "winograd=%ux%u ", s->winograd, s->winograd);
    if (kind == TN_GROUP_CONTRACTION) {
        tn_str_appendf(out, "tile=%ux%u m_block=%lld ", s->mr, s->nr, (long long)s->m_block);
        if (s->ranges[0])
            tn_str_appendf(out, "ranges=%u,%u,%u", s->ranges[0], s->ranges[1], s->ranges[2]);
        else
            tn_str_appendf(out, "n_panels=%lld", (long long)s->n_panels);
        if (s->rows_first) tn_str_append(out, " rows_first");
        if (s->k_pieces > 1) tn_str_appendf(out, " k_pieces=%lld", (long long)s->k_pieces);
        if (s->k_block) tn_str_appendf(out, " k_block=%lld", (long long)s->k_block);
        tn_str_appendf(out, "%s rhs=%s%s", lhs[s->lhs], rhs[s->rhs],
                       s->digits            ? " zero_sums digits"
                       : s->zero_sums       ? " zero_sums"
                       : s->words           ? " words"
                       : s->sweep           ? " sweep"
                       : s->staged_epilogue ? " staged"
                                            : "");
    } else if (kind == TN_GROUP_ATTENTION)
        tn_str_appendf(out, "scores=%ux%u result=%ux%u m_block=%lld kv_block=%lld kv_piece=%lld",
                       s->mr, s->score_nr, s->mr, s->nr, (long long)s->m_block,
                       (long long)s->kv_block, (long long)s->kv_piece);
    else if (kind == TN_GROUP_ATTENTION_GRADIENT)
        tn_str_appendf(out, "scores=%ux%u m_block=%lld", s->mr, s->score_nr, (long long)s->m_block);
    else if (kind == TN_GROUP_ROWS && s->shape == TN_SHAPE_PLANES)
        tn_str_appendf(out, "shape=planes tile=%ux%u block=%lld rows=%lld", s->mr,
                       s->unroll * s->lanes, (long long)s->block, (long long)s->rows_per_task);
    else if (kind == TN_GROUP_ROWS && s->shape == TN_SHAPE_DEPTHWISE)
        tn_str_appendf(out, "shape=depthwise lanes=%u rows=%lld chunk=%lld block=%lld", s->lanes,
                       (long long)s->rows_per_task, (long long)s->chunk, (long long)s->block);
    else if (kind == TN_GROUP_ROWS && s->shape == TN_SHAPE_NARROW)
        tn_str_appendf(out, "shape=narrow lanes=%u squares=%u,%u block=%ux%lld rows=%lld", s->lanes,
                       s->nr, s->store_nr, s->mr, (long long)s->block, (long long)s->rows_per_task);
    else if (kind == TN_GROUP_ROWS && s->shape == TN_SHAPE_WINDOWS) {
        tn_str_appendf(out, "shape=windows lanes=%ux%u,%u rows=%lld block=%lld", s->lanes,
                       s->unroll, s->nr / s->lanes, (long long)s->rows_per_task,
                       (long long)s->block);
        if (s->mr > 1) tn_str_appendf(out, " lines=%u", s->mr);
    } else if (kind == TN_GROUP_ROWS && s->shape != TN_SHAPE_ROWS)
        tn_str_appendf(out, "shape=%s lanes=%ux%u rows=%lld pieces=%lld%s", shapes[s->shape],
                       s->lanes, s->unroll, (long long)s->rows_per_task, (long long)s->pieces,
                       s->sweep         ? " sweep"
                       : s->whole_lines ? " whole_lines"
                                        : "");
    else if (kind == TN_GROUP_ROWS)
        tn_str_appendf(out, "lanes=%ux%u along=%s rows=%lld chunk=%lld block=%lld", s->lanes,
                       s->unroll, s->fold_lanes ? "fold" : "row", (long long)s->rows_per_task,
                       (long long)s->chunk, (long long)s->block);
    if (kind == TN_GROUP_ROWS && s->together) tn_str_appendf(out, " together=%u", s->together);
    if (s->stream) tn_str_append(out, " stream");
}
