/* Kinds of nodes by colour refinement. See alike.h. */
#include "schedule/alike.h"

enum { ROUNDS = 3 };

static uint64_t mixed(uint64_t a, uint64_t b) {
    uint64_t both[2] = {a, b};
    return tn_hash64(both, sizeof both);
}

/* Sizes are hash-consed, so equal ones are equal numbers. */
static uint64_t first_colour(const tn_graph *g, const tn_node_info *n,
                             const tn_value *no_operands) {
    uint64_t colour = (uint64_t)n->op;
    if (n->op != TN_OP_constant) {
        size_t size;
        const void *key = tn_graph_node_key(g, n, no_operands, &size);
        colour = tn_hash64(key, size);
    }
    for (uint32_t i = 0; i < n->out_count; i++) {
        const tn_type *t = tn_graph_type(g, n->out + i);
        colour = mixed(colour, (uint64_t)t->dtype);
        for (int a = 0; a < t->shape.rank; a++) colour = mixed(colour, (uint64_t)t->shape.dim[a]);
    }
    return colour;
}

static void refine(const tn_graph *g, const uint64_t *colour, uint64_t *next) {
    memcpy(next, colour, g->nodes.len * sizeof *next);
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        for (uint32_t i = 0; i < info->in_count; i++) {
            tn_value v = info->in[i];
            tn_node from = tn_graph_value(g, v)->node;
            uint64_t place = mixed(i, v - tn_graph_node(g, from)->out);
            next[n] = mixed(next[n], mixed(colour[from], place));
            next[from] += mixed(colour[n], place) | 1; /* readers come in any order */
        }
    }
    for (uint32_t i = 0; i < g->outputs.len; i++)
        next[tn_graph_value(g, g->outputs.data[i].value)->node] += 1;
}

const uint32_t *tn__alike(const tn_graph *g, tn_arena *arena) {
    uint64_t *colour = TN_NEW_N(arena, uint64_t, g->nodes.len);
    uint64_t *next = TN_NEW_N(arena, uint64_t, g->nodes.len);
    uint32_t *first = TN_NEW_N(arena, uint32_t, g->nodes.len), most = 0;
    for (tn_node n = 0; n < g->nodes.len; n++) most = TN_MAX(most, tn_graph_node(g, n)->in_count);
    const tn_value *none = TN_NEW_N(arena, tn_value, most);
    for (tn_node n = 0; n < g->nodes.len; n++)
        colour[n] = first_colour(g, tn_graph_node(g, n), none);
    for (int round = 0; round < ROUNDS; round++) {
        refine(g, colour, next);
        memcpy(colour, next, g->nodes.len * sizeof *colour);
    }
    tn_map kinds;
    tn_map_init(&kinds, arena);
    for (tn_node n = 0; n < g->nodes.len; n++)
        if (!tn_map_get(&kinds, &colour[n], sizeof *colour, &first[n])) {
            first[n] = n;
            tn_map_put(&kinds, &colour[n], sizeof *colour, n);
        }
    return first;
}
