/* How convolutions read their operand, how depthwise ones run. See record.h, codegen/lower_depthwise.c. */
#include "schedule/group_inner.h"
#include "transform/match.h"

enum {
    TASK_PRODUCTS = 512 << 10, /* multiply-adds: some 10 microseconds */
    LEAST_PRODUCTS = 32 << 10,
    ENOUGH_TASKS = 16,
    MOST_COLUMNS = 8,          /* accumulators that hide the latency of one another */
    STAGED_ELEMENTS = 4 << 10, /* rows of x in half of an L1 cache */
};

static int64_t product(const tn_dims *dims, const tn_dim *d, int count) {
    int64_t p = 1;
    for (int i = 0; i < count; i++)
        if (__builtin_mul_overflow(p, TN_MAX(1, tn_dim_guess(dims, d[i])), &p))
            return INT64_MAX / 4;
    return p;
}

/* Whether the sum of a product without batch axes runs along the last axis of its left operand. */
static bool sums_last_axis(const tn_graph *g, const tn_node_info *n) {
    if (n->op == TN_OP_conv) return ((const tn_attrs_conv *)n->attrs)->batch == 0;
    if (n->op != TN_OP_dot) return false;
    const tn_attrs_dot *a = n->attrs;
    return a->lhs_batch.count == 0 && a->lhs_contract.count == 1 &&
           a->lhs_contract.at[0] == tn_node_type(g, n, 0)->shape.rank - 1;
}

bool tn__is_of_bytes(const tn_graph *g, const tn_node_info *n) {
    return tn_node_type(g, n, 0)->dtype == TN_u8 && tn_node_type(g, n, 1)->dtype == TN_i8;
}

/* A filter by tiles reads vectors of channels, a product of bytes vectors along k. Other products read
 * the operand in place, 8 rows at a time: where its rows are the innermost axis and it is too large for
 * the cache, half of what each panel of columns brings in is left unused. Measured: 1024 → 512 channels,
 * 8 images of 14×14, 26 and 17 ms; below 4 MB or with one panel the copy costs more than it saves. */
bool tn_schedule_turns_lhs(const tn_grouping *p, tn_node permute, tn_node product_node) {
    enum { LARGE = 1 << 20, LEAST_COLUMNS = 128 };
    const tn_graph *g = p->graph;
    const tn_ints *perm = &((const tn_attrs_permute *)tn_graph_node(g, permute)->attrs)->perm;
    const tn_node_info *n = tn_graph_node(g, product_node);
    if (perm->at[perm->count - 1] == perm->count - 1) return false;
    if (tn_schedule_winograd_side(p, product_node)) return true;
    const tn_shape *turned = tn__shape_of(g, tn_graph_node(g, permute)->out);
    if (tn__is_depthwise(g,
                         n)) /* whose operand is made by two permutes (transform/channels_last.c) */
        return p->fuse && turned->dim[turned->rank - 1] != 1 &&
               tn__planes_of(g, n) == TN__PLANES_NONE;
    if (!p->fuse || !sums_last_axis(g, n)) return false;
    if (tn__is_of_bytes(g, n)) return true;
    tn_contraction c;
    tn_op_rules_of(n->op)->lower.contraction->describe(g, n, &c);
    const tn_shape *x = &tn_node_type(g, n, 0)->shape;
    return product(g->dims, x->dim, x->rank) >= LARGE &&
           product(g->dims, c.n_extent, c.n) >= LEAST_COLUMNS;
}

/* Rows per task, each of so many multiply-adds: many tasks of like length, whose data is near in the order in
 * which kernels before and after divide it among threads. */
static int64_t task_rows(int64_t rows, int64_t work) {
    int64_t most = TASK_PRODUCTS / work, least = LEAST_PRODUCTS / work;
    return TN_MAX(1, TN_MIN(most, TN_MAX(least, rows / ENOUGH_TASKS)));
}

/* Columns of a register tile: the most that leave no remainder, else the most. */
static int64_t tile_columns(int64_t columns, bool known) {
    for (int64_t n = MOST_COLUMNS; known && n >= MOST_COLUMNS / 2; n--)
        if (columns % n == 0) return n;
    return known ? TN_MAX(1, TN_MIN((int64_t)MOST_COLUMNS, columns)) : MOST_COLUMNS;
}

/* What kernels whose lanes are channels begin with; *c: the convolution. */
static tn_schedule channels_record(const tn_grouping *p, const tn_group *g, uint32_t vector_bytes,
                                   tn_rows_shape shape, tn_contraction *c) {
    tn_schedule s = {
        .lanes = TN_MAX(4, vector_bytes / 4), .unroll = 1, .shape = shape, .rhs = TN_RHS_PREPARED};
    const tn_node_info *n = tn_graph_node(p->graph, g->anchor);
    tn_op_rules_of(n->op)->lower.contraction->describe(p->graph, n, c);
    if (tn_dtype_size(c->acc) == 8) s.lanes = TN_MAX(2, s.lanes / 2);
    return s;
}

tn_schedule tn_schedule_choose_depthwise(const tn_grouping *p, const tn_group *g,
                                         uint32_t vector_bytes) {
    const tn_dims *dims = p->graph->dims;
    tn_contraction c;
    tn_schedule s = channels_record(p, g, vector_bytes, TN_SHAPE_DEPTHWISE, &c);
    tn_dim last = c.m_extent[c.m - 1];
    int64_t columns = tn_dim_guess(dims, last), channels = tn_dim_guess(dims, c.b_extent[c.b - 1]);
    int64_t filters = TN_MIN(product(dims, c.b_extent, c.b - 1), 1 << 20);
    int64_t rows = product(dims, c.m_extent, c.m - 1), taps = product(dims, c.k_extent, c.k);
    s.block = tile_columns(columns, tn_dim_is_const(last));
    if (channels >= 2 * (int64_t)s.lanes) s.unroll = 2;
    s.chunk = TN_MAX(1, channels);
    int64_t work =
        TN_MAX(1, TN_MIN(columns, 1 << 20) * TN_MIN(channels, 1 << 20) * TN_MIN(taps, 1 << 10));
    s.rows_per_task = TN_MIN(rows, task_rows(TN_MIN(rows, INT64_MAX >> 20) * filters, work));
    return s;
}

tn_schedule tn_schedule_choose_planes(const tn_grouping *p, const tn_group *g,
                                      uint32_t vector_bytes) {
    tn_schedule s = {.lanes = TN_MAX(4, vector_bytes / 4), .shape = TN_SHAPE_PLANES};
    const tn_dims *dims = p->graph->dims;
    tn_contraction c;
    const tn_node_info *n = tn_graph_node(p->graph, g->anchor);
    tn_op_rules_of(n->op)->lower.contraction->describe(p->graph, n, &c);
    if (tn_dtype_size(c.acc) == 8) s.lanes = TN_MAX(2, s.lanes / 2);
    int64_t columns = tn_dim_guess(dims, c.m_extent[c.m - 1]),
            taps = product(dims, c.k_extent, c.k);
    int64_t rows = c.m > 2 ? tn_dim_guess(dims, c.m_extent[1]) : 1;
    int64_t planes = product(dims, c.m_extent, 1) * TN_MIN(product(dims, c.b_extent, c.b), 1 << 20);
    s.unroll = columns > (int64_t)s.lanes ? 2 : 1;
    s.mr = (uint32_t)TN_MIN(TN_MAX(1, rows), (int64_t)(MOST_COLUMNS / s.unroll));
    const tn_attrs_conv *a = n->attrs;
    int last = a->stride.count - 1;
    int64_t width = TN_MAX(1, TN_MIN(columns, 1 << 20) * TN_MIN(a->stride.at[last], 1 << 10));
    int64_t lines = TN_MAX(1, STAGED_ELEMENTS / width / (last > 0 ? a->stride.at[last - 1] : 1));
    s.block = TN_MAX(s.mr, TN_MIN(rows, lines) / s.mr * s.mr);
    if (s.block + s.mr > rows) s.block = TN_MAX(1, rows);
    int64_t work = TN_MAX(1, TN_MIN(columns, 1 << 20) * s.block * TN_MIN(taps, 1 << 10));
    int64_t blocks = TN_MAX(1, planes) * ((rows + s.block - 1) / s.block);
    s.rows_per_task = task_rows(blocks, work);
    return s;
}

/* Lines of a square that is turned: as many as a row has columns, which are padded to whole squares. */
static uint32_t square_of(int64_t columns, uint32_t least, uint32_t most) {
    uint32_t n = least;
    while (n < most && (int64_t)n < columns) n *= 2;
    return n;
}

tn_schedule tn_schedule_choose_narrow(const tn_grouping *p, const tn_group *g,
                                      uint32_t vector_bytes) {
    enum { STAGED_POINTS = 512, LEAST_SQUARE = 4, MOST_STORED = 8 };
    const tn_dims *dims = p->graph->dims;
    tn_contraction c;
    tn_schedule s = channels_record(p, g, vector_bytes, TN_SHAPE_NARROW, &c);
    const tn_node_info *n = tn_graph_node(p->graph, g->anchor);
    const tn_attrs_conv *a = n->attrs;
    const tn_shape *x = &tn_node_type(p->graph, n, 0)->shape;
    int64_t columns = c.m_extent[c.m - 1], width = x->dim[x->rank - 2];
    uint32_t least = TN_MIN((uint32_t)LEAST_SQUARE, s.lanes);
    s.nr = square_of(width, least, s.lanes);
    s.store_nr = square_of(columns, least, TN_MIN((uint32_t)MOST_STORED, s.lanes));
    s.block = tile_columns(columns, true);
    int64_t rows = c.m > 2 ? tn_dim_guess(dims, c.m_extent[1]) : 1;
    int64_t stride = c.m > 2 ? a->stride.at[0] : 1;
    int64_t lines = TN_MAX(1, STAGED_POINTS / TN_MAX(1, width) / stride);
    s.mr = (uint32_t)TN_MAX(1, TN_MIN(lines, rows));
    int64_t blocks = (TN_MAX(1, rows) + s.mr - 1) / s.mr;
    int64_t channels = TN_MIN(product(dims, c.b_extent, c.b), 1 << 20);
    int64_t units = product(dims, c.m_extent, 1) * ((channels + s.lanes - 1) / s.lanes) * blocks;
    int64_t taps = TN_MIN(product(dims, c.k_extent, c.k), 1 << 10);
    s.rows_per_task = task_rows(units, TN_MAX(1, columns * s.mr * taps * (int64_t)s.lanes));
    return s;
}
