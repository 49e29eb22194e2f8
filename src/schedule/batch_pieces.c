/* Choosing runs of groups in execution order. See batch_pieces.h. */
#include "schedule/batch_pieces.h"

#include "ops/control.h"
#include "schedule/group_inner.h"
#include "transform/inline_constants.h"
#include "transform/outline_constants.h"

enum {
    TYPICAL_BATCH = 8,    /* when it is open */
    MOST_GROUPS = 1000,   /* the search is quadratic */
    MOST_TRIED = 1 << 20, /* divisors that are looked for */
};
#define MAINLOOP   0.5  /* of the time to read operands is not hidden by the products */
#define WORTHWHILE 0.95 /* of the cost without loop */

typedef struct load {
    tn_value value;
    double share; /* of its time that is not hidden */
} load;

/* What a group moves for one image; weights and what else all images share, once. */
typedef struct traffic {
    bool split, cuttable; /* by images; the loop may begin before it */
    double mainloop;      /* bytes that a product reads while it multiplies, which hides them */
    double shared;        /* bytes that all images read */
    double arithmetic;    /* seconds of a product */
    double steps;         /* of a loop; 0: it is none */
    double weights;       /* bytes that each step of it reads anew, of one image */
    TN_VEC(load) loads;   /* the others, of the batch */
    TN_VEC(tn_value) stores;
} traffic;

typedef struct chooser {
    tn_grouping *p;
    tn_arena *arena;
    const tn_batch_axes *batch;
    tn_batch_loops *loops;
    int64_t images, forced; /* in the batch; per piece, or 0 */
    uint32_t count;
    uint32_t *order;      /* groups; those that no image enters come first */
    traffic *of;          /* per place in the order */
    uint32_t *made;       /* per value: the place that stores it */
    uint32_t *read;       /* per value: the last place that loads it; `count`: an output */
    tn_grouping **bodies; /* per node: of a scan's body */
} chooser;

/* ---- what groups do ------------------------------------------------------------------------- */

/* Bytes of one image, or of all where `v` is not split; below 0: not known. */
static double bytes_in(const tn_graph *g, const tn_batch_axes *batch, tn_value v) {
    const tn_type *type = tn_graph_type(g, v);
    double bytes = (double)tn_dtype_bits(type->dtype) / 8;
    for (int i = 0; i < type->shape.rank; i++) {
        if (i == batch->axis[v]) continue;
        if (!tn_dim_is_const(type->shape.dim[i])) return -1;
        bytes *= (double)type->shape.dim[i];
    }
    return bytes;
}

static double bytes_of(const chooser *c, tn_value v) {
    return bytes_in(c->p->graph, c->batch, v);
}

/* The least split of a group's results: an axis, FREE or WHOLE. */
static int placement_of(const chooser *c, const tn_group *g) {
    const tn_graph *graph = c->p->graph;
    int place = TN_MAX_RANK;
    bool control = g->kind == TN_GROUP_CONTROL, outside = true;
    if ((control && !c->batch->body[g->anchor]) || g->scalars.len > 0) return TN_BATCH_WHOLE;
    for (uint32_t m = 0; m < g->members.len; m++) {
        const tn_node_info *n = tn_graph_node(graph, g->members.data[m].node);
        outside = outside && c->batch->sliced[n->out];
        for (uint32_t o = 0; o < n->out_count; o++)
            place = TN_MIN(place, c->batch->axis[n->out + o]);
    }
    return outside ? TN_BATCH_FREE : place;
}

/* Groups that depend on no image go first; the order stays one of execution. */
static void find_order(chooser *c) {
    tn_grouping *p = c->p;
    c->order = TN_NEW_N(c->arena, uint32_t, p->order.len);
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < p->order.len; i++) {
            const tn_group *g = &p->groups.data[p->order.data[i]];
            bool free = g->constant || placement_of(c, g) == TN_BATCH_FREE;
            if (free == (pass == 0) && !g->constant) c->order[c->count++] = p->order.data[i];
        }
}

static bool is_shared(const chooser *c, tn_value v) {
    return c->batch->axis[v] < 0;
}

/* Whether `v` is a stack of weights, of which each image reads its own, perhaps by a view that is split: as often
 * in a loop as without. */
static bool is_stack(const chooser *c, tn_value v) {
    const tn_shape *s = &tn_graph_type(c->p->graph, v)->shape;
    return c->p->constant[tn_graph_value(c->p->graph, v)->node] && s->rank > 0 &&
           s->dim[0] == c->batch->size;
}

static void add_load(chooser *c, uint32_t at, tn_value v, double share) {
    traffic *t = &c->of[at];
    if (is_stack(c, v)) return;
    double bytes = bytes_of(c, v);
    c->read[v] = TN_MAX(c->read[v], at);
    if (bytes < 0)
        t->split = false;
    else if (is_shared(c, v))
        t->shared += bytes * share;
    else
        tn_vec_push(c->arena, &t->loads, ((load){v, share}));
}

static void add_loads(chooser *c, uint32_t at, uint32_t id) {
    tn_grouping *p = c->p;
    const tn_group *g = &p->groups.data[id];
    for (uint32_t m = 0; m < g->members.len; m++) {
        tn_node n = g->members.data[m].node;
        bool mainloop = tn__lower_of(p->graph, n)->kind == TN_LOWER_CONTRACTION;
        tn__value_list loads = tn__loads_of(p, id, n);
        for (uint32_t i = 0; i < loads.len; i++)
            add_load(c, at, loads.data[i], mainloop ? MAINLOOP : 1);
    }
    if (g->prologue != TN_NO_GROUP) add_loads(c, at, g->prologue);
}

static double flops_of(const tn_graph *g, const tn_batch_axes *batch, const tn_node_info *n) {
    tn_contraction k;
    tn_op_rules_of(n->op)->lower.contraction->describe(g, n, &k);
    double flops = 2 * bytes_in(g, batch, n->out) / (double)tn_dtype_size(k.acc);
    for (int i = 0; i < k.k; i++) flops *= (double)tn_dim_guess(g->dims, k.k_extent[i]);
    return flops;
}

static double seconds_of_flops(const chooser *c, double flops) {
    enum { FLOPS_OF_A_POINT = 4 }; /* in the same time, see costs.c */
    return flops / (c->p->costs.points * FLOPS_OF_A_POINT);
}

/* Of one image. */
static double product_seconds(const chooser *c, const tn_group *g) {
    const tn_graph *graph = c->p->graph;
    double flops = 0;
    if (g->kind != TN_GROUP_CONTRACTION) return 0;
    for (uint32_t i = 0; i < tn_group_anchors(g); i++) {
        tn_node n = tn_group_anchor(g, i).node;
        flops += flops_of(graph, c->batch, tn_graph_node(graph, n)) *
                 tn_schedule_winograd_share(c->p, n);
    }
    return seconds_of_flops(c, flops);
}

static bool is_product(const tn_graph *g, tn_node n) {
    return tn__lower_of(g, n)->kind == TN_LOWER_CONTRACTION;
}

/* What the steps of a loop do for one image. */
static void add_steps(const chooser *c, traffic *t, tn_node scan) {
    const tn_node_info *n = tn_graph_node(c->p->graph, scan);
    const tn_batch_axes *batch = c->batch->body[scan];
    const tn_attrs_scan *a = n->attrs;
    t->steps = (double)tn_dim_guess(a->body->dims, a->length);
    for (tn_node i = 0; i < a->body->nodes.len; i++) {
        const tn_node_info *step = tn_graph_node(a->body, i);
        if (!is_product(a->body, i)) continue;
        t->arithmetic += t->steps * seconds_of_flops(c, flops_of(a->body, batch, step));
        if (batch->axis[step->in[1]] >= 0) t->weights += bytes_in(a->body, batch, step->in[1]);
    }
}

static void add_stores(chooser *c, uint32_t at, const tn_group *g) {
    for (uint32_t s = 0; s < tn_group_results(g); s++) {
        tn_value v = tn_group_storage(c->p, tn_group_result(g, s));
        c->made[v] = at;
        if (bytes_of(c, v) < 0) c->of[at].split = false;
        tn_vec_push(c->arena, &c->of[at].stores, v);
    }
}

/* No loop begins or ends where a value passes that is not split along its first axis. */
static void find_cuts(chooser *c) {
    for (uint32_t at = 0; at <= c->count; at++) c->of[at].cuttable = true;
    for (tn_value v = 0; v < c->p->graph->values.len; v++) {
        if (c->made[v] == UINT32_MAX || c->batch->axis[v] == 0) continue;
        if (is_shared(c, v) && !c->of[c->made[v]].split) continue;
        for (uint32_t at = c->made[v] + 1; at <= c->read[v]; at++) c->of[at].cuttable = false;
    }
}

/* Attention and its gradient evaluate the same nodes: in different loops these would be stored. */
static bool spans_loops(const tn_group *g) {
    return g->gradient || (g->attention && g->attention->gradient);
}

static void find_traffic(chooser *c) {
    tn_grouping *p = c->p;
    const tn_graph *g = p->graph;
    c->of = TN_NEW_N(c->arena, traffic, c->count + 1);
    c->made = TN_NEW_N(c->arena, uint32_t, g->values.len);
    c->read = TN_NEW_N(c->arena, uint32_t, g->values.len);
    memset(c->made, 0xff, g->values.len * sizeof *c->made);
    for (uint32_t at = 0; at < c->count; at++) {
        const tn_group *group = &p->groups.data[c->order[at]];
        c->of[at].split = placement_of(c, group) >= 0 && !spans_loops(group);
        c->of[at].arithmetic = product_seconds(c, group);
        if (group->kind == TN_GROUP_CONTROL && c->of[at].split)
            add_steps(c, &c->of[at], group->anchor);
        add_loads(c, at, c->order[at]);
        add_stores(c, at, group);
    }
    for (uint32_t i = 0; i < g->outputs.len; i++)
        c->read[tn_group_storage(p, g->outputs.data[i].value)] = c->count;
    find_cuts(c);
}

/* ---- what a loop costs ---------------------------------------------------------------------- */

/* Bytes of one image that a group moves. */
static double moved(const chooser *c, const traffic *t) {
    double bytes = 0;
    for (uint32_t i = 0; i < t->loads.len; i++) bytes += bytes_of(c, t->loads.data[i].value);
    for (uint32_t i = 0; i < t->stores.len; i++) bytes += bytes_of(c, t->stores.data[i]);
    return bytes;
}

/* Seconds a byte, when as much as group `t` moves for `images` lies between its making and its use: the
 * caches keep all of what they hold, and nothing of twice as much. */
static double byte_seconds(const chooser *c, const traffic *t, int64_t images) {
    const tn_costs *costs = &c->p->costs;
    double kept = 2 - moved(c, t) * (double)images / costs->shared_bytes;
    kept = TN_MAX(0.0, TN_MIN(1.0, kept));
    return kept / costs->cache + (1 - kept) / costs->memory;
}

/* Seconds in which the steps of a loop read their weights, which stay where a core has them if they fit. */
static double steps_seconds(const chooser *c, const traffic *t, int64_t images) {
    const tn_costs *costs = &c->p->costs;
    double kept = 2 - t->weights * (double)images / costs->cached_bytes;
    kept = TN_MAX(0.0, TN_MIN(1.0, kept));
    return t->steps * t->weights * (kept / costs->cache + (1 - kept) / costs->memory);
}

static bool is_made_in(const chooser *c, tn_value v, uint32_t first) {
    return c->made[v] != UINT32_MAX && c->made[v] >= first;
}

/* What place `at` adds to the seconds of a loop over places from `first` on: what enters the loop or
 * leaves it is moved as without. A result counts as leaving until its last reader is in the loop. */
static double place_seconds(const chooser *c, uint32_t first, uint32_t at, int64_t piece) {
    const traffic *t = &c->of[at];
    double inside = byte_seconds(c, t, piece), outside = byte_seconds(c, t, c->images),
           seconds = t->arithmetic + steps_seconds(c, t, piece);
    for (uint32_t i = 0; i < t->stores.len; i++)
        seconds += bytes_of(c, t->stores.data[i]) * outside;
    for (uint32_t i = 0; i < t->loads.len; i++) {
        tn_value v = t->loads.data[i].value;
        bool local = is_made_in(c, v, first);
        seconds += bytes_of(c, v) * t->loads.data[i].share * (local ? inside : outside);
        if (!local || c->read[v] != at) continue;
        const traffic *maker = &c->of[c->made[v]];
        seconds +=
            bytes_of(c, v) * (byte_seconds(c, maker, piece) - byte_seconds(c, maker, c->images));
    }
    double launches = (double)(c->images / piece) * (1 + t->steps);
    return seconds * (double)c->images + c->p->costs.launch * launches;
}

static double whole_seconds(const chooser *c, uint32_t at) {
    return place_seconds(c, at, at, c->images);
}

/* Reading again, for every piece but the first, what all images share. */
static double again_seconds(const chooser *c, double shared, int64_t piece) {
    const tn_costs *costs = &c->p->costs;
    double rate = shared > costs->shared_bytes ? costs->memory : costs->cache;
    return shared / rate * (double)(c->images / piece - 1);
}

uint32_t tn_batch_piece_trials(const tn_graph *g, int64_t out[TN_PIECE_TRIALS]) {
    tn_dim size = tn_batch_size(g);
    uint32_t count = 0;
    if (size == 1) return 0;
    out[count++] = TN_PIECE_NEVER;
    out[count++] = 1;
    if (!tn_dim_is_const(size)) return count;
    for (int64_t piece = 2; piece <= TN_MIN(size / 2, MOST_TRIED); piece++)
        if (size % piece == 0 && piece >= 2 * out[count - 1]) out[count++] = piece;
    return count;
}

/* ---- the search ----------------------------------------------------------------------------- */

/* The cheapest way to the place before which a loop may begin. */
typedef struct step {
    double seconds;
    uint32_t from; /* the loop runs from this place to here; the one before: no loop */
    int64_t piece; /* 0: no loop */
} step;

static void take(step *to, double seconds, uint32_t from, int64_t piece) {
    if (seconds < to->seconds) *to = (step){seconds, from, piece};
}

/* Whether product `n` of `p` rounds in a piece as it does in the whole. */
static bool rounds_alike(const chooser *c, const tn_grouping *p, const tn_batch_axes *batch,
                         tn_node n, int64_t piece) {
    const tn_node_info *info = tn_graph_node(p->graph, n);
    tn_contraction k;
    tn_op_rules_of(info->op)->lower.contraction->describe(p->graph, info, &k);
    bool members = batch->axis[info->out] < k.b; /* each with a right operand of its own */
    if (!members && tn_schedule_winograd_side(p, n) != tn_schedule_winograd_side_for(p, n, piece))
        return false;
    return !tn_schedule_cuts_sums(p, n, c->images / piece, members);
}

static bool steps_round_alike(const chooser *c, tn_node scan, int64_t piece) {
    const tn_graph *body = ((const tn_attrs_scan *)tn_graph_node(c->p->graph, scan)->attrs)->body;
    const tn_grouping *p = c->bodies[scan];
    for (tn_node n = 0; n < body->nodes.len; n++)
        if (is_product(body, n) && !rounds_alike(c, p, c->batch->body[scan], n, piece))
            return false;
    return true;
}

/* Whether place `at` may be in a loop. */
static bool may_loop(const chooser *c, uint32_t at, int64_t piece) {
    const tn_group *g = &c->p->groups.data[c->order[at]];
    if (!c->of[at].split) return false;
    if (g->kind == TN_GROUP_CONTROL) return steps_round_alike(c, g->anchor, piece);
    for (uint32_t i = 0; g->kind == TN_GROUP_CONTRACTION && i < tn_group_anchors(g); i++)
        if (!rounds_alike(c, c->p, c->batch, tn_group_anchor(g, i).node, piece)) return false;
    return true;
}

/* All loops over pieces that begin before place `first`. */
static void try_loops(const chooser *c, step *steps, uint32_t first, int64_t piece) {
    double cut = 0, whole = 0, shared = 0;
    for (uint32_t at = first; at < c->count && may_loop(c, at, piece); at++) {
        cut += place_seconds(c, first, at, piece);
        whole += whole_seconds(c, at);
        shared += c->of[at].shared;
        if (!c->of[at + 1].cuttable) continue;
        double seconds = cut + again_seconds(c, shared, piece);
        if (c->forced) seconds = c->p->costs.launch; /* few loops are better than many */
        if (seconds <= whole * WORTHWHILE)
            take(&steps[at + 1], steps[first].seconds + seconds, first, piece);
    }
}

/* Pieces that loops may be of, in ascending order: divisors of a size that is known. Of sizes beyond
 * MOST_TRIED², some between that and its counterpart are left out. */
static int64_t *find_pieces(const chooser *c, uint32_t *count) {
    TN_VEC(int64_t) small = {0}, pieces = {0};
    int64_t n = c->images;
    bool known = tn_dim_is_const(c->batch->size);
    for (int64_t d = 1; d <= n / d && d <= (known ? MOST_TRIED : 1); d++)
        if (n % d == 0) tn_vec_push(c->arena, &small, d);
    for (uint32_t i = 0; i < small.len; i++) tn_vec_push(c->arena, &pieces, small.data[i]);
    for (uint32_t i = small.len; known && i-- > 1;)
        if (n / small.data[i] != small.data[i]) tn_vec_push(c->arena, &pieces, n / small.data[i]);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < pieces.len; i++)
        if (!c->forced || pieces.data[i] == c->forced) pieces.data[kept++] = pieces.data[i];
    *count = kept;
    return pieces.data;
}

static step *search(const chooser *c) {
    uint32_t pieces;
    const int64_t *piece = find_pieces(c, &pieces);
    step *steps = TN_NEW_N(c->arena, step, c->count + 1);
    for (uint32_t at = 0; at <= c->count; at++) steps[at].seconds = at ? 1e300 : 0;
    for (uint32_t at = 0; at < c->count; at++) {
        take(&steps[at + 1], steps[at].seconds + whole_seconds(c, at), at, 0);
        for (uint32_t i = 0; c->of[at].cuttable && i < pieces; i++)
            try_loops(c, steps, at, piece[i]);
    }
    return steps;
}

/* ---- the result ----------------------------------------------------------------------------- */

static void place_group(chooser *c, uint32_t id, uint8_t loop) {
    const tn_group *g = &c->p->groups.data[id];
    for (uint32_t m = 0; m < g->members.len; m++) {
        tn_node n = g->members.data[m].node;
        if (!c->batch->sliced[tn_graph_node(c->p->graph, n)->out]) c->loops->where[n] = loop;
    }
    if (g->domain_value == TN_NO_VALUE || g->anchor == TN_NO_NODE) return;
    for (uint32_t i = 0; i < tn_group_anchors(g); i++) {
        tn_anchor a = tn_group_anchor(g, i);
        for (tn_node n = tn_graph_value(c->p->graph, a.domain_value)->node; n != a.node;
             n = tn_graph_value(c->p->graph, tn_graph_node(c->p->graph, n)->in[0])->node)
            c->loops->where[n] = loop; /* views of the anchor's result */
    }
}

/* Loops in the order of execution; what is inlined, constant or a product's prologue is made where it is
 * read. */
static void place_nodes(chooser *c, const step *steps) {
    const tn_grouping *p = c->p;
    tn_batch_loops *l = c->loops;
    uint32_t starts[TN_BATCH_MOST_LOOPS], ends[TN_BATCH_MOST_LOOPS], at = c->count, found = 0;
    l->where = TN_NEW_N(c->arena, uint8_t, p->graph->nodes.len);
    for (tn_node n = 0; n < p->graph->nodes.len; n++) {
        uint32_t id = p->group_of[n];
        bool anywhere = id == TN_NO_GROUP || p->constant[n] || p->groups.data[id].nested;
        if (c->batch->sliced[tn_graph_node(p->graph, n)->out]) anywhere = false;
        l->where[n] = anywhere ? TN_BATCH_ANYWHERE : TN_BATCH_OUTSIDE;
    }
    for (; at > 0 && found < TN_BATCH_MOST_LOOPS; at = steps[at].from) {
        if (steps[at].piece == 0) continue;
        ends[found] = at;
        l->piece[found] = steps[at].piece;
        starts[found++] = steps[at].from;
    }
    l->count = found;
    for (uint32_t i = 0; i < found; i++) { /* found from the last to the first */
        for (at = starts[i]; at < ends[i]; at++)
            place_group(c, c->order[at], (uint8_t)(found - 1 - i));
        if (i >= found / 2) continue;
        int64_t piece = l->piece[i];
        l->piece[i] = l->piece[found - 1 - i];
        l->piece[found - 1 - i] = piece;
    }
}

static bool prepare(chooser *c) {
    const tn_graph *g = c->p->graph;
    tn_dim size = c->batch->size;
    int64_t lo = tn_dim_lo(g->dims, size), hi = tn_dim_hi(g->dims, size);
    c->images = tn_dim_is_const(size) ? size : TN_MAX(lo, TN_MIN(hi, (int64_t)TYPICAL_BATCH));
    find_order(c);
    return c->images > 1 && c->count <= MOST_GROUPS;
}

/* The groups of the bodies of scans that are split. */
static void group_bodies(chooser *c) {
    const tn_graph *g = c->p->graph;
    c->bodies = TN_NEW_N(c->arena, tn_grouping *, g->nodes.len);
    for (tn_node n = 0; n < g->nodes.len; n++) {
        if (!c->batch->body[n]) continue;
        const tn_graph *body = ((const tn_attrs_scan *)tn_graph_node(g, n)->attrs)->body;
        tn_loop_inputs inputs = {.invariants = tn__steady_inputs(g, tn_graph_node(g, n))};
        uint8_t *choices = TN_NEW_N(c->arena, uint8_t, body->nodes.len);
        c->bodies[n] = tn__form_groups(body, tn_arena_dup(c->arena, &inputs, sizeof inputs), true,
                                       choices, &c->p->costs, c->arena);
    }
}

tn_status tn_batch_in_pieces(const tn_graph *g, const tn_costs *costs, int64_t piece,
                             const tn_graph **out, tn_error *err) {
    const tn_graph *given = g;
    *out = g;
    if (piece == TN_PIECE_NEVER || tn_batch_size(g) == 1) return TN_OK;
    TN_CHECK(tn_outline_constants(g, tn_batch_size(g), &g, err));
    tn_batch_axes batch = tn_batch_axes_find(g);
    uint8_t *choices = TN_NEW_N(g->arena, uint8_t, g->nodes.len);
    tn_batch_loops loops = {0};
    chooser c = {.p = tn__form_groups(g, NULL, true, choices, costs, g->arena),
                 .arena = g->arena,
                 .batch = &batch,
                 .loops = &loops,
                 .forced = piece};
    if (!prepare(&c)) return TN_OK;
    group_bodies(&c);
    find_traffic(&c);
    place_nodes(&c, search(&c));
    const tn_graph *cut;
    TN_CHECK(tn_batch_loop(g, &batch, &loops, &cut, err));
    if (cut == g) return TN_OK;
    *out = cut;
    if (g == given) return TN_OK;
    const tn_pass *const inward[] = {&tn_pass_inline_constants};
    const tn_transform_options options = tn_transform_defaults();
    return tn_transform_run(cut, inward, TN_COUNT(inward), &options, out, err);
}
