/* How products are cut whose tasks make the rows of the left operand (a norm, a softmax).
 *
 * Such a row is made anew for every range of columns. A norm costs what 6 columns of the product cost,
 * a softmax what 20 do; with ranges of 1024 columns that is one or two percent. So blocks of rows are cut
 * first, small ones while a cache holds all of a B that is not packed by tasks: 128×4096×4096 takes 39.8 ms by 128 rows and 4 ranges,
 * 42.3 ms by 32 rows and 2. Ranges are cut only where the blocks are too few to keep threads busy, which
 * the kernel looks up when sizes are open. */
#include "schedule/record.h"

enum {
    TASKS = 8,       /* wanted where ranges are wide … */
    LEAST_TASKS = 4, /* … and at the price of narrow ones */
    WIDE = 1024,
    NARROW = 256,
    FEWEST_ROWS = 8, /* where B fits the second-level cache beside them */
    FEW_ROWS = 32,
    SOME_ROWS = 128,
    MOST_ROWS = 192,
    NEAR_ELEMENTS = 64 << 10,
    CACHED_ELEMENTS = 4 << 20,
};

static tn_contraction contraction_of(const tn_grouping *p, tn_node anchor) {
    const tn_node_info *n = tn_graph_node(p->graph, anchor);
    tn_contraction c;
    tn_op_rules_of(n->op)->lower.contraction->describe(p->graph, n, &c);
    return c;
}

static int64_t times(int64_t a, int64_t b) {
    int64_t p;
    return __builtin_mul_overflow(a, b, &p) ? INT64_MAX / 4 : p;
}

static int64_t guess(const tn_dims *dims, const tn_dim *d, int count) {
    int64_t p = 1;
    for (int i = 0; i < count; i++) p = times(p, TN_MAX(1, tn_dim_guess(dims, d[i])));
    return p;
}

/* Open sizes as small as they can be: more rows only make more blocks. */
static int64_t least(const tn_dims *dims, const tn_dim *d, int count) {
    int64_t p = 1;
    for (int i = 0; i < count; i++) p = times(p, TN_MAX(1, tn_dim_lo(dims, d[i])));
    return p;
}

/* Of the right operands of all anchors. */
static int64_t rhs_elements(const tn_grouping *p, const tn_group *g) {
    const tn_dims *dims = p->graph->dims;
    int64_t all = 0;
    for (uint32_t i = 0; i < tn_group_anchors(g); i++) {
        tn_contraction c = contraction_of(p, tn_group_anchor(g, i).node);
        int64_t one = times(guess(dims, c.n_extent, c.n), guess(dims, c.k_extent, c.k));
        all += TN_MIN(one, CACHED_ELEMENTS + 1); /* more does not matter */
    }
    return all;
}

int64_t tn__prologue_rows(const tn_grouping *p, const tn_group *g, bool packed) {
    const tn_dims *dims = p->graph->dims;
    tn_contraction c = contraction_of(p, g->anchor);
    int64_t elements = rhs_elements(p, g), m = least(dims, c.m_extent, c.m), few = SOME_ROWS;
    if (!packed && elements <= CACHED_ELEMENTS)
        few = elements <= NEAR_ELEMENTS ? FEWEST_ROWS : FEW_ROWS;
    int64_t blocks = 1;
    while (2 * blocks <= TN_MIN(TASKS, m / few)) blocks *= 2; /* which threads share evenly */
    return TN_MIN(TN_MAX((m + blocks - 1) / blocks, few), MOST_ROWS);
}

void tn__prologue_ranges(const tn_grouping *p, const tn_group *g, uint32_t *ranges) {
    tn_contraction c = contraction_of(p, g->anchor);
    int64_t columns = guess(p->graph->dims, c.n_extent, c.n);
    for (int i = 0; i < TN_RANGE_CLASSES; i++) {
        int64_t blocks = (int64_t)1 << i;
        int64_t wide = TN_MIN(columns / WIDE, TASKS / blocks);
        int64_t narrow = TN_MIN(columns / NARROW, LEAST_TASKS / blocks);
        ranges[i] = (uint32_t)TN_MAX(1, TN_MAX(wide, narrow));
    }
}

int64_t tn_schedule_prologue_repeats(const tn_grouping *p, const tn_group *g) {
    const tn_dims *dims = p->graph->dims;
    tn_contraction c = contraction_of(p, g->anchor);
    int64_t rows = tn__prologue_rows(p, g, false), m = guess(dims, c.m_extent, c.m);
    int64_t blocks = times(guess(dims, c.b_extent, c.b), (m + rows - 1) / rows);
    uint32_t ranges[TN_RANGE_CLASSES];
    tn__prologue_ranges(p, g, ranges);
    for (int i = 0; i < TN_RANGE_CLASSES; i++)
        if (blocks < (int64_t)2 << i) return ranges[i];
    return 1;
}
