/* Records of products of bytes, four to a word.
 *
 * A is staged, which costs as much as the products with a few columns, so tasks take all columns if rows
 * are enough for tasks: measured at 128×768×768, 3 % over tasks of a quarter of the columns. A B that no
 * cache near the core holds is read once per block of rows, so these are larger then. */
#include "schedule/group_inner.h"

enum {
    MOST_BLOCK = 96,      /* rows of a task */
    LEAST_BLOCK = 16,     /* where more of them leave too few tasks … */
    LEAST_FAR_BLOCK = 64, /* … of a B that takes more than this: */
    FAR_BYTES = 2 << 20,
    STAGE_WORDS = 64 << 10, /* of them: a quarter of an L2 cache */
    FEWEST_TASKS = 8,
    FEWEST_PANELS = 8,
    MANY_REGISTERS = 32,
    TALL = 8, /* rows of a tile three vectors wide */
};

static int64_t product(const tn_dims *dims, const tn_dim *d, int count) {
    int64_t p = 1;
    for (int i = 0; i < count; i++)
        if (__builtin_mul_overflow(p, tn_dim_guess(dims, d[i]), &p)) return INT64_MAX / 4;
    return p;
}

void tn_schedule_choose_words(const tn_grouping *p, const tn_group *g, uint32_t registers,
                              int64_t words, tn_schedule *s) {
    const tn_dims *dims = p->graph->dims;
    const tn_node_info *node = tn_graph_node(p->graph, g->anchor);
    tn_contraction c;
    tn_op_rules_of(node->op)->lower.contraction->describe(p->graph, node, &c);
    int64_t b = product(dims, c.b_extent, c.b), m = product(dims, c.m_extent, c.m);
    int64_t n = product(dims, c.n_extent, c.n);
    s->words = true;
    s->lhs = TN_LHS_STAGED;
    if (s->rhs != TN_RHS_PREPARED) s->rhs = TN_RHS_PACKED;
    s->rhs_unit = s->sweep = false;
    if (registers >= MANY_REGISTERS && m % TALL == 0 && n % (3 * s->lanes) == 0) {
        s->mr = TALL;
        s->nr = 3 * s->lanes;
    }
    int64_t rows = TN_MIN(TN_MIN(m, (int64_t)MOST_BLOCK), STAGE_WORDS / words);
    rows = TN_MAX(1, rows);
    int64_t panels = TN_MAX(1, (n + s->nr - 1) / s->nr), groups = TN_MAX(1, TN_MIN(b, 64));
    int64_t least = panels > FAR_BYTES / 4 / s->nr / words ? LEAST_FAR_BLOCK : LEAST_BLOCK;
    if (s->rhs == TN_RHS_PACKED) least = rows; /* each block packs B */
    while (rows >= 2 * least && groups * (m / rows) < FEWEST_TASKS) rows /= 2;
    s->m_block = (TN_MAX(1, rows) + s->mr - 1) / s->mr * s->mr;
    int64_t blocks = groups * ((TN_MAX(1, m) + s->m_block - 1) / s->m_block);
    int64_t ranges = (FEWEST_TASKS + blocks - 1) / blocks;
    s->n_panels = TN_MIN(panels, TN_MAX((panels + ranges - 1) / ranges, (int64_t)FEWEST_PANELS));
}
