/* The register tile of a contraction: mr rows of nr columns. See record.h.
 *
 * nr is some vectors, of which the last may be narrower where that leaves less unused: half a vector takes
 * half the time on units of half the width, and no more than a whole one elsewhere. */
#include "schedule/record.h"

/* Of another tile beside those of like height: 32×64×128 takes 4.65 us with rows 6, …, 6, 2 and 4.55 with
 * 4, …, 4, where the sums of tile_cost are 2 % apart the other way. */
#define REST_COST 0.04

enum {
    WAYS = 8, /* of an L1 cache: more rows a power of two apart evict each other */
    MANY_TILES = 32,
    /* Of columns that tiles of one vector may be for, where A is read by columns: as many panels as may be
     * pass all of it. 256×784×1024 takes 1.45 times as long as with two vectors. */
    NARROW_VECTORS = 4,
    SMALL_ROWS = 16,          /* of a tile whose rows lie so close that this does not happen: */
    SMALL_ELEMENTS = 4 << 10, /* the left operand has no more */
    FLAT_PRODUCTS = 128,      /* vectors of products of a tile that is written without a loop */
    NEAR_ELEMENTS =
        8 << 10, /* of a panel that stays in an L1 cache, where passing it again costs little */
};

uint32_t tn__tile_vectors(int64_t n, bool constant, uint32_t lanes, uint32_t registers) {
    uint32_t most = registers >= 32 ? 4 : 3, least = registers >= 32 ? 1 : 2;
    for (uint32_t v = most; constant && v >= least; v--)
        if (n % (int64_t)(v * lanes) == 0) return v;
    uint32_t wide = registers >= 32 ? 4 : 2;
    return (uint32_t)TN_MAX(1, TN_MIN((int64_t)wide, (n + lanes - 1) / lanes));
}

uint32_t tn__whole_rows(uint32_t most, uint32_t vectors, int64_t m) {
    if (m > MANY_TILES * most) return most;
    for (uint32_t mr = most; mr + 2 >= most && mr >= 4 && mr * vectors >= 10; mr--)
        if (m % mr == 0) return mr;
    return most;
}

uint32_t tn__tile_rows(uint32_t vectors, uint32_t registers) {
    return TN_MAX(1, TN_MIN(WAYS, (registers - vectors - 2) / vectors));
}

/* ---- columns that whole vectors do not divide ----------------------------------------------- */

/* `n` columns rounded up to vectors, the last of which has at least `least` lanes. */
static uint32_t rounded(int64_t n, uint32_t lanes, uint32_t least) {
    uint32_t rest = (uint32_t)(n % lanes), last = rest ? least : 0;
    while (last < rest) last *= 2;
    return (uint32_t)(n - rest) + last;
}

/* Time of a row of the tile, in that of a vector. */
static double row_cost(uint32_t nr, uint32_t lanes) {
    uint32_t rest = nr % lanes;
    return nr / lanes + (rest ? 0.5 + 0.5 * rest / lanes : 0);
}

static uint32_t tile_columns(int64_t n, uint32_t lanes, uint32_t registers, uint32_t least) {
    uint32_t most = registers >= 32 ? 4 : 3, nr = 0;
    int64_t fewest = (n + most * lanes - 1) / (most * lanes);
    double best = 0;
    for (int64_t panels = fewest; panels <= 2 * fewest; panels++) {
        uint32_t width = rounded((n + panels - 1) / panels, lanes, least);
        uint32_t vectors = (width + lanes - 1) / lanes;
        double rows = tn__tile_rows(vectors, registers);
        double cost = (double)panels * row_cost(width, lanes) * (1 + 0.1 / vectors + 0.4 / rows);
        if (nr && cost >= best) continue;
        nr = width;
        best = cost;
    }
    return nr;
}

/* ---- rows of small products ----------------------------------------------------------------- */

/* Time of a tile per element of k, in that of a vector: multiply-adds wait for the ones before, and there
 * are loads of B. */
static double tile_cost(int64_t rows, double row) {
    enum { LATENCY = 4 };
    return rows ? TN_MAX((double)rows * row, LATENCY) + 0.4 * row : 0;
}

/* Tiles of like height rather than a rest, which waits for few rows; and which leaves parts of unlike size
 * to threads that share the rows. */
static uint32_t small_rows(int64_t m, uint32_t most, double row) {
    uint32_t mr = 1;
    double best = 0;
    for (uint32_t rows = 1; rows <= most && rows <= m; rows++) {
        double cost = (double)(m / rows) * tile_cost(rows, row) + tile_cost(m % rows, row);
        if (m % rows) cost *= 1 + REST_COST;
        if (rows > 1 && cost > best) continue;
        mr = rows;
        best = cost;
    }
    return mr;
}

/* Fewer vectors for a tile that has all rows, where one of `vectors` has not: so a panel of prepared weights that
 * no L1 cache holds is passed once, as one stream. 8×512×512 takes 40 us by tiles of 8×32 and 43 of 4×64; where
 * memory brings the weights 63 and 76. */
static uint32_t vectors_for_all_rows(const tn__product_sizes *p, uint32_t vectors, uint32_t lanes,
                                     uint32_t registers) {
    enum { LEAST_VECTORS = 2 };
    int64_t nr = (int64_t)vectors * lanes;
    bool fixed = p->fixed_m && p->fixed_n && p->fixed_k;
    bool near = p->n <= nr || p->k * nr <= NEAR_ELEMENTS;
    if (!p->prepared || !fixed || near || tn__tile_rows(vectors, registers) >= p->m) return vectors;
    for (uint32_t v = vectors - 1; v >= LEAST_VECTORS; v--)
        if (tn__tile_rows(v, registers) >= p->m && p->n % (int64_t)(v * lanes) == 0) return v;
    return vectors;
}

/* ---- entry ---------------------------------------------------------------------------------- */

void tn__choose_tile(const tn__product_sizes *p, uint32_t registers, tn_schedule *s) {
    uint32_t vectors = tn__tile_vectors(p->n, p->fixed_n, s->lanes, registers);
    vectors = vectors_for_all_rows(p, vectors, s->lanes, registers);
    s->nr = vectors * s->lanes;
    bool narrow = p->turned && vectors == 1 && p->n > NARROW_VECTORS * s->lanes;
    if (p->fixed_n && p->n > 0 && (p->n % s->nr != 0 || narrow))
        s->nr = tile_columns(p->n, s->lanes, registers, narrow ? s->lanes : p->least);
    vectors = (s->nr + s->lanes - 1) / s->lanes;
    s->mr = tn__tile_rows(vectors, registers);
    if (!p->fixed_m) return;
    bool small = p->fixed_n && p->fixed_k && p->n <= s->nr && p->m * p->k <= SMALL_ELEMENTS;
    if (small)
        s->mr = small_rows(p->m, TN_MIN(SMALL_ROWS, (registers - vectors - 1) / vectors),
                           row_cost(s->nr, s->lanes));
    else
        s->mr = tn__whole_rows((uint32_t)TN_MAX(1, TN_MIN(p->m, (int64_t)s->mr)), vectors, p->m);
    s->flat_k = small && p->k * s->mr * vectors <= FLAT_PRODUCTS;
}
