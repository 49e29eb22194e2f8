/* When a 3×3 convolution runs by minimal filtering, and how. See record.h, codegen/lower_winograd.c.
 *
 * The two sizes of tiles and the general way are compared by a cost in multiply-adds. Measured within
 * ResNet-18 on an AVX-512 machine with 1 MB of L2 cache, one thread, ms, general way / F(2×2) / F(4×4):
 *   56×56×64 → 64    2.02 / 1.02 / 0.66      28×28×128 → 128   2.00 / 0.97 / 0.61
 *   14×14×256 → 256  2.02 / 0.99 / 0.78      7×7×512 → 512     2.14 / 1.38 / 1.30
 * Small images are bound by the weights, which F(4×4) makes four times as many: where it wins little the
 * smaller weights are preferred, because threads share the memory. Weights that are no constants are
 * transformed in every run: 256 → 256 channels take 0.8 to 1.4 ms for 36 points, two threads. */
#include "schedule/record.h"

enum {
    /* f32 of V and M that leave room in an L2 cache of 1 MB. The 162 Ki of all tiles of 14×14×256 should fit:
     * read once, its weights cost 330 µs instead of 380 (two threads). */
    CACHE_ELEMENTS = 168 << 10,
    LEAST_TASKS = 8,   /* wanted by cutting the tiles … */
    LEAST_RANGES = 4,  /* … and by cutting the columns, which repeats the input transform */
    WANTED_TASKS = 16, /* of several filters, where that costs little */
    WEIGHT_COST = 8,   /* multiply-adds in the time that a weight from memory adds */
    MADE_COST = 40,    /* and that one takes which is made in every run, stored and read back */
    /* The largest error of a result, over the largest result, grows with the square root of C: 1e-6 at
     * 64 and 3.5e-6 at 512 with F(4×4), of the 1e-5 that are allowed. The general way has 2.4e-6. */
    MOST_CHANNELS = 1024,
    LEAST_CHANNELS = 16, /* whole vectors, in and out */
};
#define SMALL_PART 0.03

typedef struct filter {
    int64_t batch; /* filters, each of images of its own */
    int64_t images, height, width, channels, columns;
    bool constant; /* the weights, which are transformed once */
} filter;

static int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* Tiles of m×m results, of one filter. */
static int64_t tile_count(const filter *f, int64_t m) {
    return f->images * ceil_div(f->height, m) * ceil_div(f->width, m);
}

static filter filter_of(const tn_graph *g, const tn_node_info *n) {
    tn_contraction c;
    tn_op_rules_of(n->op)->lower.contraction->describe(g, n, &c);
    int64_t batch = 1;
    for (int i = 0; i < c.b; i++)
        batch = TN_MIN(batch * TN_MIN(tn_dim_guess(g->dims, c.b_extent[i]), 1 << 20), 1 << 20);
    /* An open batch is taken as the smallest: one image has the least tiles to share the weights. */
    return (filter){.batch = TN_MAX(1, batch),
                    .images = TN_MAX(1, tn_dim_lo(g->dims, c.m_extent[0])),
                    .height = tn_dim_guess(g->dims, c.m_extent[1]),
                    .width = tn_dim_guess(g->dims, c.m_extent[2]),
                    .channels = tn_dim_guess(g->dims, c.k_extent[2]),
                    .columns = tn_dim_guess(g->dims, c.n_extent[0])};
}

/* ---- whether -------------------------------------------------------------------------------- */

/* A plain 3×3 correlation of f32 in the plane. */
static bool is_filter(const tn_graph *g, const tn_node_info *n) {
    if (n->op != TN_OP_conv) return false;
    const tn_attrs_conv *a = n->attrs;
    const tn_type *x = tn_node_type(g, n, 0), *w = tn_node_type(g, n, 1);
    const tn_dim *window = w->shape.dim + a->batch;
    return a->stride.count == 2 && window[0] == 3 && window[1] == 3 && tn_ints_are(&a->stride, 1) &&
           tn_ints_are(&a->window_dilation, 1) && tn_ints_are(&a->base_dilation, 1) &&
           x->dtype == TN_f32 && w->dtype == TN_f32 && a->acc == TN_f32;
}

static double points_of(int64_t m) {
    return (double)((m + 2) * (m + 2));
}

/* Operations, loads and stores per tile and channel, as measured. */
static double transform_cost(int64_t m) {
    return m == 2 ? 100 : 230;
}

static double tiled_cost(const filter *f, int64_t m) {
    double tiles = (double)tile_count(f, m), points = points_of(m);
    double channels = (double)f->channels, columns = (double)f->columns;
    double weight = f->constant ? WEIGHT_COST : WEIGHT_COST + MADE_COST;
    return points * channels * columns * (tiles + weight) +
           tiles * transform_cost(m) * (channels + columns);
}

static double general_cost(const filter *f) {
    double points = (double)(f->images * f->height * f->width);
    return 9.0 * (double)f->channels * (double)f->columns * (points + WEIGHT_COST);
}

typedef struct ways {
    double general, two, four; /* costs */
    bool tiled;                /* one of the latter is the least */
} ways;

static ways ways_of(const tn_grouping *p, tn_node node, int64_t images) {
    const tn_node_info *n = tn_graph_node(p->graph, node);
    if (!p->fuse || !is_filter(p->graph, n) || p->constant[node]) return (ways){0};
    filter f = filter_of(p->graph, n);
    f.constant = p->prepared[tn_graph_value(p->graph, n->in[1])->node];
    if (images > 0) f.images = images;
    if (f.channels > MOST_CHANNELS || f.channels < LEAST_CHANNELS || f.columns < LEAST_CHANNELS)
        return (ways){0};
    ways w = {general_cost(&f), tiled_cost(&f, 2), tiled_cost(&f, 4), false};
    w.tiled = TN_MIN(w.two, w.four) < w.general;
    return w;
}

uint32_t tn_schedule_winograd_side(const tn_grouping *p, tn_node node) {
    return tn_schedule_winograd_side_for(p, node, 0);
}

uint32_t tn_schedule_winograd_side_for(const tn_grouping *p, tn_node node, int64_t images) {
    ways w = ways_of(p, node, images);
    return !w.tiled ? 0 : w.two < w.four ? 2 : 4;
}

double tn_schedule_winograd_share(const tn_grouping *p, tn_node node) {
    ways w = ways_of(p, node, 0);
    return w.tiled ? TN_MIN(w.two, w.four) / w.general : 1;
}

/* ---- how ------------------------------------------------------------------------------------ */

/* Rows of register tiles as time: the remainder has a tile of its own, with less reuse. */
static double row_cost(int64_t tiles, int64_t mr) {
    int64_t rest = tiles % mr;
    return (double)tiles + (rest ? 1.5 : 0);
}

/* The register tile that loses least by its remainders and by columns past the end; the last factor is
 * the loads that its multiply-adds wait for. */
static void choose_tile(const filter *f, int64_t tiles, uint32_t registers, tn_schedule *s) {
    double best = 0;
    uint32_t spare = s->lanes < 16 ? 1 : 0; /* for the broadcast; AVX-512 takes it from memory */
    for (uint32_t v = registers >= 32 ? 4 : 3; v >= 1; v--) {
        uint32_t most = TN_MIN(8, (registers - v - spare) / v);
        for (uint32_t mr = (uint32_t)TN_MIN(most, tiles); mr >= 1; mr--) {
            int64_t wide = (int64_t)v * s->lanes;
            double columns = (double)(ceil_div(f->columns, wide) * wide);
            double cost = row_cost(tiles, mr) * columns * (1 + 0.1 / v + 0.4 / mr);
            if (best > 0 && cost >= best) continue;
            best = cost;
            s->mr = mr;
            s->nr = v * s->lanes;
        }
    }
}

/* Ranges of columns that each of `blocks` blocks of tiles, of all filters, is cut into: for tasks enough as far as
 * the input transforms that they repeat are a small part of the work. */
static int64_t choose_ranges(const filter *f, int64_t tiles, int64_t m, int64_t blocks) {
    double work = points_of(m) * (double)f->columns * (double)(tiles + WEIGHT_COST);
    double again = transform_cost(m) * (double)tiles;
    int64_t cheap = 1 + (int64_t)(SMALL_PART * work / again);
    int64_t needed = ceil_div(LEAST_TASKS, blocks), wanted = ceil_div(WANTED_TASKS, blocks);
    return TN_MIN(wanted, TN_MAX(cheap, needed));
}

/* The tasks of a single filter, which run at a time, share its weights in the last cache: two that work on filters
 * of their own hand on twice as much (14×14×256, four models: 446 µs each by blocks of 8 tiles, 345 by blocks of
 * all 16). */
static void choose_tasks(const filter *f, int64_t tiles, tn_schedule *s) {
    int64_t mr = s->mr, panels = ceil_div(f->columns, s->nr), wanted = LEAST_TASKS;
    int64_t fits = CACHE_ELEMENTS / ((int64_t)points_of(s->winograd) * (f->channels + s->nr));
    if (f->batch > 1) wanted = 1; /* every block reads all weights of its filter again */
    int64_t enough = TN_MAX(2 * mr, ceil_div(ceil_div(tiles, wanted), mr) * mr);
    int64_t most = TN_MAX(mr, TN_MIN(fits / mr * mr, enough));
    int64_t blocks = ceil_div(tiles, most), ranges = ceil_div(LEAST_RANGES, blocks);
    s->m_block = ceil_div(ceil_div(tiles, blocks), mr) * mr;
    if (f->batch > 1) ranges = choose_ranges(f, tiles, s->winograd, blocks * f->batch);
    s->n_panels = ceil_div(panels, TN_MIN(panels, ranges));
}

tn_schedule tn_schedule_choose_winograd(const tn_grouping *p, const tn_group *g,
                                        uint32_t vector_bytes, uint32_t registers) {
    filter f = filter_of(p->graph, tn_graph_node(p->graph, g->anchor));
    tn_schedule s = {.lanes = TN_MAX(4, vector_bytes / 4),
                     .unroll = 1,
                     .rows_per_task = 1,
                     .rhs = TN_RHS_PREPARED,
                     .staged_epilogue = true,
                     .winograd = tn_schedule_winograd_side(p, g->anchor)};
    int64_t tiles = tile_count(&f, s.winograd);
    choose_tile(&f, tiles, registers, &s);
    choose_tasks(&f, tiles, &s);
    return s;
}
