/* What is kept under a budget: a minimum cut, as in PyTorch's partitioner of joint graphs.
 *
 * Each value v is two nodes, `made` and `had`. On the sink's side, `made` says that v is computed again, `had`
 * that it is needed in the backward pass. So what is read there has an edge had → sink, recomputing costs the
 * edge source → made, keeping the edge made → had, and a recomputed value needs its operands: had(operand) →
 * made(v) without limit. A byte has a price; its bisection finds the cheapest cut that fits the budget, and what
 * is left of the budget keeps more of what is slow to make again. The flow is Dinic's (1970). */
#include <math.h>

#include "transform/recompute.h"

#define NO_LIMIT (INT64_MAX / 4)

enum { BISECTIONS = 40 };

typedef struct edge {
    uint32_t to, next; /* next of the same node; UINT32_MAX: none. Its reverse has the number ^ 1 */
    int64_t room;
} edge;

typedef struct flow {
    tn_arena *arena;
    TN_VEC(edge) edges;
    uint32_t *first, *at, *level, *queue, *path;
    uint32_t nodes;
} flow;

/* ---- maximum flow --------------------------------------------------------------------------- */

static void add_half(flow *f, uint32_t from, uint32_t to, int64_t room) {
    tn_vec_push(f->arena, &f->edges, ((edge){to, f->first[from], room}));
    f->first[from] = f->edges.len - 1;
}

static void add_edge(flow *f, uint32_t from, uint32_t to, int64_t room) {
    add_half(f, from, to, room);
    add_half(f, to, from, 0);
}

/* Distances from the source through edges with room; false: the sink is cut off. */
static bool find_levels(flow *f, uint32_t source, uint32_t sink) {
    uint32_t head = 0, tail = 0;
    memset(f->level, 0xff, f->nodes * sizeof *f->level);
    f->level[source] = 0;
    f->queue[tail++] = source;
    while (head < tail) {
        uint32_t n = f->queue[head++];
        for (uint32_t e = f->first[n]; e != UINT32_MAX; e = f->edges.data[e].next) {
            const edge *x = &f->edges.data[e];
            if (x->room <= 0 || f->level[x->to] != UINT32_MAX) continue;
            f->level[x->to] = f->level[n] + 1;
            f->queue[tail++] = x->to;
        }
    }
    return f->level[sink] != UINT32_MAX;
}

static void push_path(flow *f, uint32_t length) {
    int64_t room = NO_LIMIT;
    for (uint32_t i = 0; i < length; i++) room = TN_MIN(room, f->edges.data[f->path[i]].room);
    for (uint32_t i = 0; i < length; i++) {
        f->edges.data[f->path[i]].room -= room;
        edge *back = &f->edges.data[f->path[i] ^ 1];
        back->room = TN_MIN(back->room + room, NO_LIMIT);
    }
}

/* The next edge of `n` that leads one level on, from where the last walk stopped. */
static uint32_t next_edge(flow *f, uint32_t n) {
    for (; f->at[n] != UINT32_MAX; f->at[n] = f->edges.data[f->at[n]].next) {
        const edge *x = &f->edges.data[f->at[n]];
        if (x->room > 0 && f->level[x->to] == f->level[n] + 1) return f->at[n];
    }
    return UINT32_MAX;
}

/* Fills all shortest ways: forward where an edge leads on, back where none does. */
static void block_flow(flow *f, uint32_t source, uint32_t sink) {
    uint32_t n = source, length = 0;
    memcpy(f->at, f->first, f->nodes * sizeof *f->at);
    for (;;) {
        if (n == sink) {
            push_path(f, length);
            n = source;
            length = 0;
            continue;
        }
        uint32_t e = next_edge(f, n);
        if (e != UINT32_MAX) {
            f->path[length++] = e;
            n = f->edges.data[e].to;
        } else if (n == source) {
            return;
        } else {
            uint32_t last = f->path[--length];
            n = f->edges.data[last ^ 1].to;
            f->at[n] = f->edges.data[f->at[n]].next;
        }
    }
}

/* Afterwards level[n] is UINT32_MAX on the sink's side. */
static void maximise(flow *f, uint32_t source, uint32_t sink) {
    while (find_levels(f, source, sink)) block_flow(f, source, sink);
}

/* ---- the cut -------------------------------------------------------------------------------- */

typedef struct cutting {
    const tn_graph *g;
    tn__forward *value;
    tn_node count; /* nodes of the forward pass */
    tn_value values;
    bool expensive_too; /* recomputes products as well */
    double budget;
    tn_arena arena; /* of one flow */
} cutting;

/* Seconds as whole numbers of 10⁻¹⁴ s: 10⁻⁹ of a kernel that takes 10 µs, and 10 hours in all. */
static int64_t ticks(double seconds) {
    return (int64_t)fmin(seconds * 1e14, (double)(NO_LIMIT / 1024));
}

static int64_t cost_to_make(const cutting *c, const tn__forward *v) {
    if (v->free || (v->expensive && !c->expensive_too)) return NO_LIMIT;
    return ticks(v->seconds);
}

static int64_t cost_to_keep(const tn__forward *v, double price) {
    if (v->free) return 0;
    return v->view ? NO_LIMIT : ticks(v->bytes * price) + 1;
}

static flow flow_of(cutting *c, double price) {
    tn_arena *arena = &c->arena;
    tn_arena_clear(arena);
    flow f = {.arena = arena, .nodes = 2 * c->values + 2};
    uint32_t source = 2 * c->values, sink = source + 1;
    f.first = TN_NEW_N(arena, uint32_t, f.nodes);
    f.at = TN_NEW_N(arena, uint32_t, f.nodes);
    f.level = TN_NEW_N(arena, uint32_t, f.nodes);
    f.queue = TN_NEW_N(arena, uint32_t, f.nodes);
    f.path = TN_NEW_N(arena, uint32_t, f.nodes);
    memset(f.first, 0xff, f.nodes * sizeof *f.first);
    for (tn_node n = 0; n < c->count; n++) {
        const tn_node_info *node = tn_graph_node(c->g, n);
        for (uint32_t r = 0; r < node->out_count; r++) {
            tn_value v = node->out + r;
            if (!c->value[v].ancestor) continue;
            add_edge(&f, source, 2 * v, cost_to_make(c, &c->value[v]));
            add_edge(&f, 2 * v, 2 * v + 1, cost_to_keep(&c->value[v], price));
            if (c->value[v].read) add_edge(&f, 2 * v + 1, sink, NO_LIMIT);
            for (uint32_t i = 0; i < node->in_count; i++)
                add_edge(&f, 2 * node->in[i] + 1, 2 * v, NO_LIMIT);
        }
    }
    return f;
}

/* Decides at this price of a byte, in seconds; bytes that are kept. */
static double decide(cutting *c, double price) {
    flow f = flow_of(c, price);
    double bytes = 0;
    maximise(&f, 2 * c->values, 2 * c->values + 1);
    for (tn_value v = 0; v < c->values; v++) {
        bool made = f.level[2 * v] == UINT32_MAX, had = f.level[2 * v + 1] == UINT32_MAX;
        c->value[v].kept = c->value[v].ancestor && had && !made;
        if (c->value[v].kept && !c->value[v].free) bytes += c->value[v].bytes;
    }
    return bytes;
}

/* The lowest price whose cut fits; the values are left decided so. Returns the bytes. */
static double bisect(cutting *c) {
    double lo = 1e-16, hi = 1e-3;
    for (int i = 0; i < BISECTIONS && hi / lo > 1.001; i++) {
        double middle = sqrt(lo * hi);
        if (decide(c, middle) <= c->budget)
            hi = middle;
        else
            lo = middle;
    }
    return decide(c, hi);
}

/* What is left of the budget keeps, of what is read behind or feeds what is, the slowest for its bytes. */
static void fill(const cutting *c, double left) {
    for (;;) {
        tn__forward *best = NULL;
        for (tn_value v = 0; v < c->values; v++) {
            tn__forward *f = &c->value[v];
            if (!f->ancestor || f->kept || f->free || f->view || f->bytes > left || !f->read)
                continue;
            if (!best || f->seconds * best->bytes > best->seconds * f->bytes) best = f;
        }
        if (!best) return;
        best->kept = true;
        left -= best->bytes;
    }
}

static tn_status cut_guarded(void *argument, tn_error *err) {
    cutting *c = argument;
    double bytes = bisect(c);
    if (bytes > c->budget) {
        c->expensive_too = true;
        bytes = bisect(c);
    }
    if (bytes > c->budget)
        return tn_error_set(err, TN_INVALID,
                            "a budget of %.0f bytes for what the backward pass keeps is too small: "
                            "it needs %.0f",
                            c->budget, bytes);
    fill(c, c->budget - bytes);
    return TN_OK;
}

tn_status tn__recompute_cut(const tn_graph *g, tn__forward *values, tn_node count, int64_t budget,
                            tn_error *err) {
    cutting c = {.g = g, .value = values, .count = count, .budget = (double)budget};
    const tn_node_info *last = tn_graph_node(g, count - 1);
    c.values = last->out + last->out_count;
    tn_arena_init(&c.arena, tn_allocator_system());
    tn_status status = tn_guard(cut_guarded, &c, err);
    tn_arena_deinit(&c.arena);
    return status;
}
