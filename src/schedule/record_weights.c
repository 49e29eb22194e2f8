/* Records of products with weights in their stored type.
 *
 * Few rows are a matter of reading the weights once, at the speed of memory: the tile has all rows, and
 * converts the elements it loads. More rows repeat that for every tile of rows, beside multiply-adds
 * that use other units: measured on Zen 4, a panel is sooner converted once from 64 rows on, from 16
 * where two elements share a byte. With an instruction for products of bytes few rows are cut into digits:
 * three of these products, one of them for four elements, are sooner done than a conversion and a product
 * for each element. */
#include "schedule/group_inner.h"

enum {
    MOST_TILE_ROWS = 6, /* rows of A a power of two apart share a set of the L1 cache */
    RAW_ROWS = 64,      /* more rows than this: convert a panel first */
    RAW_ROWS_NIBBLES = 16,
    UNPACKED_BLOCK = 512, /* rows that share a converted panel */
    TASK_BYTES = 1 << 20, /* of weights, that a task reads */
    STEP_PRODUCTS = 16,   /* vectors of products in a step of the loop over k, about */
    WORD = 8,             /* elements that share a word */
    ZERO_SUM_ROWS = 2, /* up to so many rows: elements are converted where they are in the word */
    DIGIT_ROWS = 8,    /* up to so many: A is cut into digits */
    DIGIT_TILE_ROWS = 4,
    DIGIT_GROUP =
        32, /* shorter groups: putting the digits' sums together takes as long as making them */
};

static int64_t product(const tn_dims *dims, const tn_dim *d, int count) {
    int64_t p = 1;
    for (int i = 0; i < count; i++)
        if (__builtin_mul_overflow(p, tn_dim_guess(dims, d[i]), &p)) return INT64_MAX / 4;
    return p;
}

static bool all_const(const tn_dim *d, int count) {
    for (int i = 0; i < count; i++)
        if (!tn_dim_is_const(d[i])) return false;
    return true;
}

/* Registers of a tile: sums (twice where a group has its own), a line of weights, a broadcast and room
 * for a conversion. */
static bool fits(uint32_t rows, uint32_t vectors, bool parts, uint32_t registers) {
    return rows * vectors * (parts ? 2 : 1) + vectors + 3 <= registers;
}

/* The same for digits: three sums each, a line of bytes; what they add up to over groups waits in memory. */
static bool digits_fit(uint32_t rows, uint32_t vectors, uint32_t registers) {
    return rows * vectors * 3 + vectors + 3 <= registers;
}

static void choose_digit_tile(tn_schedule *s, int64_t m, int64_t n, uint32_t registers) {
    int64_t tiles = (m + DIGIT_TILE_ROWS - 1) / DIGIT_TILE_ROWS;
    uint32_t most = 4;
    s->mr = (uint32_t)TN_MAX(1, (m + tiles - 1) / TN_MAX(1, tiles));
    while (most > 1 && (!digits_fit(s->mr, most, registers) || (most - 1) * (int64_t)s->lanes >= n))
        most--;
    uint32_t vectors = most;
    while (vectors > 1 && n % (vectors * s->lanes) != 0) vectors--;
    if (n % (vectors * s->lanes) != 0) vectors = most; /* masked at the end in any case */
    s->nr = vectors * s->lanes;
}

static bool worth_digits(const tn_weights_shape *w, bool fixed_m, int64_t m) {
    return w->dot4 && w->scaled && w->differs && w->shared == WORD && w->single_k && fixed_m &&
           m <= DIGIT_ROWS && w->group >= DIGIT_GROUP;
}

/* All of few rows in one tile, as wide as registers allow. */
static void choose_tile(tn_schedule *s, int64_t m, int64_t n, bool parts, uint32_t registers) {
    int64_t tiles = (m + MOST_TILE_ROWS - 1) / MOST_TILE_ROWS;
    uint32_t rows = (uint32_t)TN_MAX(1, (m + tiles - 1) / TN_MAX(1, tiles)); /* of like height */
    uint32_t vectors = 4;
    while (rows > 1 && n > s->lanes && !fits(rows, 2, parts, registers)) rows--;
    while (vectors > 1 && (!fits(rows, vectors, parts, registers) ||
                           (vectors - 1) * (int64_t)s->lanes >= n || n % (vectors * s->lanes) != 0))
        vectors--;
    if (n % (vectors * s->lanes) != 0) /* masked at the end in any case */
        for (vectors = 4; vectors > 1 && !fits(rows, vectors, parts, registers);) vectors--;
    while (rows > 1 && !fits(rows, vectors, parts, registers)) rows--;
    s->mr = rows;
    s->nr = vectors * s->lanes;
}

/* The most elements of k, a power of two up to the wish, that divide a group; at least `least`, which
 * does. */
static int64_t step_of(int64_t group, int64_t wish, int64_t least) {
    int64_t step = STEP_PRODUCTS;
    while (step > least && (step > wish || group % step != 0)) step /= 2;
    return step;
}

void tn_schedule_choose_weights(const tn_grouping *p, const tn_group *g, uint32_t registers,
                                const tn_weights_shape *w, tn_schedule *s) {
    const tn_dims *dims = p->graph->dims;
    const tn_node_info *node = tn_graph_node(p->graph, g->anchor);
    tn_contraction c;
    tn_op_rules_of(node->op)->lower.contraction->describe(p->graph, node, &c);
    int64_t b = product(dims, c.b_extent, c.b), m = product(dims, c.m_extent, c.m);
    int64_t n = product(dims, c.n_extent, c.n), k = product(dims, c.k_extent, c.k);
    int64_t most_raw = w->shared > 1 ? RAW_ROWS_NIBBLES : RAW_ROWS;
    bool fixed_m = all_const(c.m_extent, c.m), many = fixed_m && m > most_raw;
    bool grouped = w->scaled && w->group < k;
    s->nr = (s->nr + s->lanes - 1) / s->lanes * s->lanes;
    s->rhs = many ? TN_RHS_UNPACKED : TN_RHS_RAW;
    s->unpack_rows = fixed_m ? INT64_MAX : most_raw;
    s->group_sums = w->scaled && !many;
    if (!many) {
        s->digits = worth_digits(w, fixed_m, m);
        bool parts = grouped && fixed_m && (m <= 2 || s->digits);
        s->group_sums = w->scaled && (parts || !grouped);
        if (s->digits)
            choose_digit_tile(s, m, n, registers);
        else
            choose_tile(s, m, n, parts, registers);
        s->zero_sums = s->group_sums && w->shared == WORD && w->differs && fixed_m &&
                       (m <= ZERO_SUM_ROWS || s->digits);
    }
    int64_t vectors = (int64_t)s->mr * s->nr / s->lanes;
    s->k_step = w->single_k ? step_of(w->group, STEP_PRODUCTS / vectors, w->shared) : 1;
    int64_t rows = TN_MIN(m, (int64_t)(many || !fixed_m ? UNPACKED_BLOCK : RAW_ROWS));
    bool staged = s->lhs == TN_LHS_STAGED;
    if (staged) rows = TN_MIN(rows, s->m_block); /* its scratch has been bounded */
    s->m_block = (TN_MAX(1, rows) + s->mr - 1) / s->mr * s->mr;
    int64_t panels = (n + s->nr - 1) / s->nr, blocks = (m + s->m_block - 1) / s->m_block;
    int64_t per = TN_MAX(1, TASK_BYTES / TN_MAX(1, k * s->nr * (many ? 16 : 1)));
    if (s->digits) per *= 2; /* which each task makes anew */
    int64_t all = panels * TN_MAX(1, TN_MIN(b, 64)) * blocks;
    int64_t least_panels = staged ? TN_MAX(2, TN_MIN(8, panels / 4)) : 1; /* beside its rows */
    s->n_panels = TN_MIN(TN_MAX(1, panels), TN_MAX(least_panels, TN_MIN(per, all / 8)));
}
