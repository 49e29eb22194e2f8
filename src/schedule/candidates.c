/* Records beside the chosen one. See candidates.h.
 *
 * No record here changes the order of a sum, so that tuning keeps every bit, but for the side of
 * Winograd tiles, attention's blocks of columns and pieces of k, which change rounding. Folds in a contraction's
 * epilogue depend on its tile and blocks: such groups keep their record, as do products of few rows or
 * with weights in their stored type, whose lowerings rely on how their blocks are chosen. */
#include "schedule/candidates.h"

enum {
    MOST_ROWS = 16,       /* of a register tile */
    MOST_VECTORS = 8,     /* of its rows */
    MOST_TILES = 8,       /* register tiles that are tried beside one */
    GROWTH = 4,           /* of what takes memory … */
    GROWTH_AT_LEAST = 64, /* … in rows, columns or elements */
    MOST_UNROLL = 8,
    MOST_BLOCK = 16,
    MOST_NUMBER = 1 << 30, /* in a file */
};

/* Every field in which records that fit may differ. */
#define TUNED_FIELDS(X)                                                                            \
    X(mr)                                                                                          \
    X(nr)                                                                                          \
    X(m_block)                                                                                     \
    X(n_panels)                                                                                    \
    X(k_pieces)                                                                                    \
    X(k_block)                                                                                     \
    X(rhs)                                                                                         \
    X(winograd)                                                                                    \
    X(score_nr) X(kv_block) X(rows_per_task) X(unroll) X(chunk) X(block) X(pieces) X(follow_source)

bool tn_schedule_same(const tn_schedule *a, const tn_schedule *b) {
#define SAME(field) &&a->field == b->field
    return true TUNED_FIELDS(SAME);
#undef SAME
}

json_t *tn_schedule_json(const tn_schedule *s) {
    json_t *out = json_object();
    int failed = !out;
#define WRITE(field) failed |= json_object_set_new(out, #field, json_integer((json_int_t)s->field));
    TUNED_FIELDS(WRITE)
#undef WRITE
    if (!failed) return out;
    json_decref(out);
    return NULL;
}

static bool read_number(const json_t *json, const char *name, json_int_t *out) {
    const json_t *value = json_object_get(json, name);
    *out = json_integer_value(value);
    return json_is_integer(value) && *out >= 0 && *out <= MOST_NUMBER;
}

bool tn_schedule_read(tn_schedule *s, const json_t *json) {
    tn_schedule read = *s;
    json_int_t number;
#define READ(field)                                                                                \
    if (!read_number(json, #field, &number)) return false;                                         \
    read.field = (__typeof__(read.field))number;
    TUNED_FIELDS(READ)
#undef READ
    *s = read;
    return true;
}

/* ---- what fits ------------------------------------------------------------------------------ */

static bool within(int64_t value, int64_t chosen) {
    return value >= 1 && value <= GROWTH * chosen + GROWTH_AT_LEAST;
}

static bool whole(int64_t value, int64_t unit) {
    return value >= unit && value % unit == 0;
}

/* Only a chosen tile (of chosen_nr columns) may end in a narrower vector. */
static bool tile_fits(uint32_t mr, uint32_t nr, uint32_t chosen_nr, uint32_t lanes) {
    return mr >= 1 && mr <= MOST_ROWS && (nr == chosen_nr || whole(nr, lanes)) &&
           nr <= MOST_VECTORS * lanes;
}

static bool has_folds(const tn_group *g) {
    for (uint32_t i = 0; i < g->members.len; i++)
        if (g->members.data[i].along != TN_ALONG_SPACE) return true;
    return false;
}

/* Pieces are as they were chosen: the slots of decoding follow them. */
static bool attention_fits(const tn_schedule *c, const tn_schedule *s) {
    return tile_fits(s->mr, s->nr, c->nr, c->lanes) &&
           tile_fits(s->mr, s->score_nr, c->score_nr, c->lanes) && whole(s->m_block, s->mr) &&
           within(s->m_block, c->m_block) && whole(s->kv_block, s->score_nr) &&
           within(s->kv_block, c->kv_block) && s->kv_piece == c->kv_piece &&
           c->kv_piece % s->kv_block == 0;
}

/* Pieces are part of the sums, and those of a product that has none stay whole. */
static bool sums_fit(const tn_schedule *c, const tn_schedule *s) {
    bool pieces =
        s->k_pieces == c->k_pieces || (c->k_pieces > 1 && within(s->k_pieces, c->k_pieces));
    return pieces && s->k_cut == c->k_cut && s->k_block >= 0 && (c->k_cut || !s->k_block);
}

static bool contraction_fits(const tn_group *g, const tn_schedule *c, const tn_schedule *s) {
    if (has_folds(g) || c->sweep || c->rhs == TN_RHS_RAW || c->rhs == TN_RHS_UNPACKED) return false;
    bool side = c->winograd ? s->winograd == 2 || s->winograd == 4 : s->winograd == 0;
    bool rhs =
        s->rhs == c->rhs || (c->rhs_unit && (s->rhs == TN_RHS_DIRECT || s->rhs == TN_RHS_PACKED));
    return side && rhs && sums_fit(c, s) && s->lhs == c->lhs &&
           s->staged_epilogue == c->staged_epilogue && tile_fits(s->mr, s->nr, c->nr, c->lanes) &&
           whole(s->m_block, s->mr) && within(s->m_block, c->m_block) && s->n_panels >= 1 &&
           s->n_panels <= MOST_NUMBER;
}

/* Accumulators that are put together at the end: their number is part of the sum. */
static bool keeps_unroll(const tn_group *g, const tn_schedule *c) {
    return c->block > 0 || (c->fold_lanes && (g->space.has_fold || g->anchor != TN_NO_NODE));
}

static bool rows_fit(const tn_group *g, const tn_schedule *c, const tn_schedule *s) {
    if (s->unroll < 1 || s->unroll > MOST_UNROLL) return false;
    if (keeps_unroll(g, c) && s->unroll != c->unroll) return false;
    bool block = c->block ? s->block >= 1 && s->block <= MOST_BLOCK : s->block == 0;
    bool chunk =
        c->chunk ? s->chunk >= 1 && s->chunk % ((int64_t)s->lanes * s->unroll) == 0 : s->chunk == 0;
    return block && chunk && s->block_axis == c->block_axis && s->fold_lanes == c->fold_lanes &&
           s->rows_per_task >= 1;
}

bool tn_schedule_fits(const tn_group *g, const tn_schedule *c, const tn_schedule *s) {
    if (s->lanes != c->lanes || s->shape != c->shape) return false;
    if (g->kind == TN_GROUP_CONTRACTION) return contraction_fits(g, c, s);
    if (g->kind == TN_GROUP_ATTENTION) return attention_fits(c, s);
    if (g->kind != TN_GROUP_ROWS) return false;
    switch (c->shape) {
    case TN_SHAPE_ROWS:
        return rows_fit(g, c, s);
    case TN_SHAPE_PLACE:
        return s->unroll >= 1 && s->unroll <= MOST_UNROLL && s->pieces >= 1 &&
               s->rows_per_task >= 1;
    case TN_SHAPE_TRANSPOSE:
        return s->unroll == c->unroll && whole(s->chunk, s->lanes) &&
               whole(s->rows_per_task, s->lanes);
    default: /* pieces of a fold are part of its sums; depthwise tiles are not searched yet */
        return false;
    }
}

/* ---- what lies beside one ------------------------------------------------------------------- */

typedef struct search {
    const tn_grouping *p;
    const tn_group *g;
    const tn_schedule *chosen, *from;
    uint32_t registers;
    tn_arena *arena;
    tn_schedule_list *out;
} search;

static void add(search *x, tn_schedule s) {
    if (tn_schedule_same(&s, x->from) || !tn_schedule_fits(x->g, x->chosen, &s)) return;
    tn_vec_push(x->arena, x->out, s);
}

static int64_t round_up(int64_t value, int64_t unit) {
    return (TN_MAX(value, 1) + unit - 1) / unit * unit;
}

static int64_t extent(const search *x, const tn_dim *d, int count) {
    int64_t all = 1;
    for (int i = 0; i < count; i++)
        if (__builtin_mul_overflow(all, tn_dim_guess(x->p->graph->dims, d[i]), &all))
            return MOST_NUMBER;
    return TN_MIN(all, (int64_t)MOST_NUMBER);
}

/* Multiply-adds that a register tile makes, rows and columns past the end included, each with the loads
 * that it waits for. */
static double tile_cost(int64_t rows, int64_t columns, int64_t mr, int64_t vectors, int64_t lanes) {
    double m = (double)rows + (rows % mr ? 1.5 : 0);
    return m * (double)round_up(columns, vectors * lanes) *
           (1 + 0.1 / (double)vectors + 0.4 / (double)mr);
}

/* `from` with another tile: a task keeps about its rows and columns. */
static tn_schedule with_tile(const tn_schedule *from, uint32_t mr, uint32_t nr) {
    tn_schedule s = *from;
    s.mr = mr;
    s.nr = nr;
    s.m_block = round_up(from->m_block, mr);
    s.n_panels = TN_MAX(1, from->n_panels * from->nr / nr);
    return s;
}

/* The tile of the least cost among those that cost more than `above` (number `after` and up among
 * equals); false: none. */
static bool next_tile(const search *x, int64_t rows, int64_t columns, double *above, int *after,
                      uint32_t *mr, uint32_t *nr) {
    uint32_t lanes = x->from->lanes;
    int64_t wide = round_up(columns, lanes) / lanes;
    double best = 0;
    int number = 0, found = -1;
    for (uint32_t v = 1; v <= (x->registers >= 32 ? 4u : 3u) && v <= wide; v++)
        for (uint32_t r = 1; r <= MOST_ROWS && r * v + v + 1 <= x->registers; r++, number++) {
            double cost = tile_cost(rows, columns, r, v, lanes);
            if (r > rows || cost < *above || (cost == *above && number <= *after)) continue;
            if (found >= 0 && cost >= best) continue;
            found = number;
            best = cost;
            *mr = r;
            *nr = v * lanes;
        }
    *above = best;
    *after = found;
    return found >= 0;
}

static void add_tiles(search *x, int64_t rows, int64_t columns) {
    double cost = 0;
    int number = -1;
    uint32_t mr, nr;
    for (int i = 0; i < MOST_TILES && next_tile(x, rows, columns, &cost, &number, &mr, &nr); i++)
        add(x, with_tile(x->from, mr, nr));
    const tn_schedule *from = x->from;
    if (from->mr > 1) add(x, with_tile(from, from->mr - 1, from->nr));
    if (from->mr < rows) add(x, with_tile(from, from->mr + 1, from->nr));
    if (from->nr > from->lanes) add(x, with_tile(from, from->mr, from->nr - from->lanes));
    if (from->nr < columns) add(x, with_tile(from, from->mr, from->nr + from->lanes));
}

static void add_blocks(search *x, int64_t rows, int64_t columns) {
    const tn_schedule *from = x->from;
    int64_t panels = round_up(columns, from->nr) / from->nr, most = round_up(rows, from->mr);
    tn_schedule s = *from;
    for (int i = 0; i < 2; i++) {
        int64_t scaled = i ? from->m_block / 2 : from->m_block * 2;
        s.m_block = TN_MIN(round_up(scaled, from->mr), most);
        add(x, s);
    }
    s = *from;
    const int64_t counts[] = {from->n_panels * 2, from->n_panels / 2, panels};
    for (size_t i = 0; i < TN_COUNT(counts); i++) {
        s.n_panels = TN_MAX(1, TN_MIN(counts[i], panels));
        add(x, s);
    }
}

/* Blocks of k, from all of it by halves; and its pieces. */
static void add_sums(search *x, int64_t k) {
    tn_schedule s = *x->from;
    int64_t block = s.k_block ? s.k_block : k / TN_MAX(1, s.k_pieces);
    for (int i = 0; i < 2 && x->chosen->k_cut; i++) {
        int64_t scaled = i ? block * 2 : round_up(block / 2, 16);
        s.k_block = scaled < k ? scaled : 0;
        add(x, s);
    }
    s = *x->from;
    for (int i = 0; i < 2 && x->chosen->k_pieces > 1; i++) {
        s.k_pieces = i ? x->from->k_pieces * 2 : TN_MAX(1, x->from->k_pieces / 2);
        add(x, s);
    }
}

/* Tiles of the other side cover four times the points, or a quarter. */
static void add_side(search *x) {
    tn_schedule s = *x->from;
    s.winograd = x->from->winograd == 2 ? 4 : 2;
    int64_t tiles = s.winograd == 4 ? s.m_block / 4 : s.m_block * 2;
    s.m_block = round_up(tiles, s.mr);
    add(x, s);
}

static void contraction_neighbours(search *x) {
    const tn_node_info *n = tn_graph_node(x->p->graph, x->g->anchor);
    tn_contraction c;
    tn_op_rules_of(n->op)->lower.contraction->describe(x->p->graph, n, &c);
    int64_t rows = extent(x, c.m_extent, c.m), columns = extent(x, c.n_extent, c.n);
    int64_t side = x->from->winograd;
    if (side) rows = TN_MAX(1, rows / (side * side));
    tn_schedule s = *x->from;
    s.rhs = s.rhs == TN_RHS_DIRECT ? TN_RHS_PACKED : TN_RHS_DIRECT;
    if (x->chosen->rhs_unit) add(x, s);
    if (side) add_side(x);
    add_tiles(x, rows, columns);
    add_blocks(x, rows, columns);
    add_sums(x, extent(x, c.k_extent, c.k));
}

/* `from` with another tile: blocks keep about their rows and columns. */
static void add_attention_tile(search *x, uint32_t mr, uint32_t nr, uint32_t score_nr) {
    tn_schedule s = *x->from;
    uint32_t widest = TN_MAX(nr, score_nr) / s.lanes;
    if (!mr || !nr || !score_nr || widest * (mr + 1) + 1 > x->registers) return;
    s.mr = mr;
    s.nr = nr;
    s.score_nr = score_nr;
    s.m_block = round_up(s.m_block, mr);
    s.kv_block = round_up(s.kv_block, score_nr);
    add(x, s);
}

static void attention_neighbours(search *x) {
    const tn_schedule *from = x->from;
    uint32_t most = x->registers >= 32 ? 4 : 3, lanes = from->lanes;
    for (uint32_t v = 1; v <= most; v++) { /* the widest tiles of a width, and the same for both */
        uint32_t mr = (x->registers - 1) / v - 1;
        for (uint32_t rows = TN_MIN(mr, 8u); rows > 1 && rows + 3 > TN_MIN(mr, 8u); rows--)
            add_attention_tile(x, rows, v * lanes, v * lanes);
    }
    for (int i = -1; i <= 1; i += 2) {
        add_attention_tile(x, from->mr + (uint32_t)i, from->nr, from->score_nr);
        add_attention_tile(x, from->mr, from->nr + (uint32_t)i * lanes, from->score_nr);
        add_attention_tile(x, from->mr, from->nr, from->score_nr + (uint32_t)i * lanes);
        tn_schedule s = *from;
        s.m_block = round_up(i < 0 ? s.m_block / 2 : s.m_block * 2, s.mr);
        add(x, s);
        s = *from;
        s.kv_block = round_up(i < 0 ? s.kv_block / 2 : s.kv_block * 2, s.score_nr);
        add(x, s);
    }
}

static void rows_neighbours(search *x) {
    const tn_schedule *from = x->from;
    int64_t unit = from->shape == TN_SHAPE_TRANSPOSE ? from->lanes : 1;
    int64_t step = (int64_t)from->lanes * from->unroll;
    tn_schedule s = *from;
    s.follow_source = from->shape == TN_SHAPE_TRANSPOSE && !from->follow_source;
    add(x, s);
    for (int i = 0; i < 2; i++) {
        s = *from;
        s.unroll = i ? s.unroll / 2 : s.unroll * 2;
        s.chunk = s.chunk ? round_up(s.chunk, (int64_t)s.lanes * TN_MAX(s.unroll, 1)) : 0;
        add(x, s);
        s = *from;
        s.rows_per_task = round_up(i ? s.rows_per_task / 2 : s.rows_per_task * 2, unit);
        add(x, s);
        s = *from;
        s.chunk = s.chunk ? round_up(i ? s.chunk / 2 : s.chunk * 2, step) : 0;
        add(x, s);
        s = *from;
        s.block += s.block ? (i ? -1 : 1) : 0;
        add(x, s);
        s = *from;
        s.pieces = i ? s.pieces / 2 : s.pieces * 2;
        add(x, s);
    }
}

void tn_schedule_neighbours(const tn_grouping *p, const tn_group *g, const tn_schedule *chosen,
                            const tn_schedule *from, uint32_t registers, tn_arena *arena,
                            tn_schedule_list *out) {
    search x = {p, g, chosen, from, registers, arena, out};
    if (g->kind == TN_GROUP_CONTRACTION) contraction_neighbours(&x);
    if (g->kind == TN_GROUP_ATTENTION) attention_neighbours(&x);
    if (g->kind == TN_GROUP_ROWS) rows_neighbours(&x);
}
