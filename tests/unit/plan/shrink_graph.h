/* Makes a failing graph smaller while it goes on failing: fewer outputs, nodes replaced by inputs
 * or by one of their operands. Each attempt runs in a process of its own, as it may crash. */
#ifndef TENON_TESTS_SHRINK_GRAPH_H
#define TENON_TESTS_SHRINK_GRAPH_H

#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ir/graph.h"

typedef struct shrink_graph {
    tn_arena *arena;
    const tn_graph *graph;
    const double *bound; /* per value of `graph`; or NULL */
    const char *kind;    /* ends the names of inputs that nodes become; or NULL */
    /* True when the graph fails (called in a child process); may crash. */
    bool (*fails)(void *context, const tn_graph *g, const double *bound);
    void *context;
} shrink_graph;

/* Ends the process when it has computed for so long, or waited for much longer. */
static inline void shrink_limit_time(int seconds) {
    struct itimerval limit = {.it_value = {.tv_sec = seconds}};
    setitimer(ITIMER_PROF, &limit, NULL);
    alarm((unsigned)seconds * 20);
}

/* Runs `fails` in a child; a crash or a hang of a minute counts as failing. */
static inline bool shrink_fails(const shrink_graph *s, const tn_graph *g, const double *bound) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        shrink_limit_time(60);
        _exit(s->fails(s->context, g, bound) ? 1 : 0);
    }
    int status;
    waitpid(child, &status, 0);
    return status != 0;
}

enum { SHRINK_COPY = -1, SHRINK_INPUT = -2 };

/* Keeps the input that output `i` is in place of, if that is left. */
static inline void shrink_in_place(const tn_graph *g, uint32_t i, const uint8_t *needed,
                                   const tn_value *map, tn_graph *to) {
    if (!g->outputs.data[i].in_place) return;
    tn_value v = g->inputs.data[g->outputs.data[i].in_place - 1];
    for (uint32_t n = 0; needed[tn_graph_value(g, v)->node] && n < to->inputs.len; n++)
        if (to->inputs.data[n] == map[v]) tn_graph_output_in_place(to, n);
}

/* A copy with node `change` replaced: by an input, or by its operand `how`; only `output` is kept
 * (UINT32_MAX: all), or all but it when `without`. NULL when there is no such copy. */
static inline tn_graph *shrink_copy(const shrink_graph *s, tn_node change, int how, uint32_t output,
                                    bool without, double **bound) {
    const tn_graph *g = s->graph;
    tn_graph *to = tn_graph_new_like(g);
    tn_error err = TN_ERROR_INIT;
    uint8_t *needed = TN_NEW_N(s->arena, uint8_t, g->nodes.len);
    tn_value *map = TN_NEW_N(s->arena, tn_value, g->values.len);
    *bound = s->bound ? TN_NEW_N(s->arena, double, g->values.len + 8) : NULL;
    for (uint32_t i = 0; i < g->outputs.len; i++)
        if (output == UINT32_MAX || (i == output) != without)
            needed[tn_graph_value(g, g->outputs.data[i].value)->node] = 1;
    for (tn_node n = g->nodes.len; n-- > 0;) {
        const tn_node_info *info = tn_graph_node(g, n);
        for (uint32_t i = 0; needed[n] && i < info->in_count; i++)
            if (n != change || how == (int)i) needed[tn_graph_value(g, info->in[i])->node] = 1;
    }
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *info = tn_graph_node(g, n);
        if (!needed[n]) continue;
        if (n == change && how >= 0) {
            map[info->out] = map[info->in[how]];
        } else if (n == change && how == SHRINK_INPUT) {
            for (uint32_t r = 0; r < info->out_count; r++) {
                const tn_type *type = tn_graph_type(g, info->out + r);
                tn_attrs_input a = {type->dtype, type->shape, 0};
                const char *name =
                    tn_arena_printf(s->arena, "s%u%s", info->out + r, s->kind ? s->kind : "");
                if (tn_graph_add(to, TN_OP_input, NULL, 0, &a, name, &map[info->out + r], &err))
                    return NULL;
                to->values.data[map[info->out + r]].name = name;
            }
        } else if (tn_graph_copy_node(to, g, n, map, NULL, &err) != TN_OK) {
            return NULL;
        }
        for (uint32_t r = 0; s->bound && r < info->out_count; r++)
            (*bound)[map[info->out + r]] = s->bound[info->out + r];
    }
    for (uint32_t i = 0; i < g->outputs.len; i++)
        if (output == UINT32_MAX || (i == output) != without) {
            tn_graph_add_output(to, map[g->outputs.data[i].value], g->outputs.data[i].name);
            shrink_in_place(g, i, needed, map, to);
        }
    return to->outputs.len ? to : NULL;
}

static inline bool shrink_try(shrink_graph *s, tn_node change, int how, uint32_t output,
                              bool without) {
    double *bound;
    tn_graph *g = shrink_copy(s, change, how, output, without, &bound);
    if (!g || (g->nodes.len >= s->graph->nodes.len && how != SHRINK_INPUT && output == UINT32_MAX))
        return false;
    if (!shrink_fails(s, g, bound)) return false;
    s->graph = g;
    s->bound = bound;
    return true;
}

/* An output that is an operand of the node that made it. */
static inline bool shrink_output(shrink_graph *s) {
    for (uint32_t i = 0; s->graph->outputs.len > 1 && i < s->graph->outputs.len; i++)
        if (shrink_try(s, UINT32_MAX, SHRINK_COPY, i, false) ||
            shrink_try(s, UINT32_MAX, SHRINK_COPY, i, true))
            return true;
    return false;
}

static inline bool shrink_node(shrink_graph *s) {
    for (tn_node n = s->graph->nodes.len; n-- > 0;) {
        const tn_node_info *info = tn_graph_node(s->graph, n);
        if (info->op == TN_OP_input) continue;
        for (uint32_t i = 0; info->out_count == 1 && i < info->in_count; i++) {
            const tn_type *a = tn_graph_type(s->graph, info->out);
            const tn_type *b = tn_graph_type(s->graph, info->in[i]);
            if (a->dtype == b->dtype && tn_shape_equal(&a->shape, &b->shape) &&
                shrink_try(s, n, (int)i, UINT32_MAX, false))
                return true;
        }
        if (shrink_try(s, n, SHRINK_INPUT, UINT32_MAX, false)) return true;
    }
    return false;
}

static inline void shrink(shrink_graph *s) {
    while (shrink_output(s) || shrink_node(s)) {
    }
}

#endif
