/* Strategies of what populations record. See population.h, tenon/population.h. */
#include "wide/population_step.h"
#include "wide/strategy.h"

typedef struct tn__population_node {
    tn_wide_node_info info;
    int own_loops; /* of the member's graph, under the same name */
} tn__population_node;

void tn__population_report_make(tn__population_report *r, const tn_graph *g, uint32_t nodes,
                                const bool *behind, const bool *carries) {
    TN_VEC(tn__population_node) list = {0};
    tn__population_report_free(r);
    tn_arena_init(&r->arena, tn_allocator_system());
    r->made = true;
    for (tn_node p = 0; p < nodes; p++) {
        const tn_node_info *n = tn_graph_node(g, p);
        if (!behind[p] || !tn__wide_weight(n->op)) continue;
        const char *name = tn_arena_strdup(&r->arena, n->name ? n->name : "");
        tn__population_node node = {.info = {.node = name,
                                             .op = tn_op_info_of(n->op)->name,
                                             .strategy = tn__wide_strategy_of(n, carries)},
                                    .own_loops = n->name ? tn__wide_loops(g, name) : 0};
        tn_vec_push(&r->arena, &list, node);
        r->nodes = list.data;
        r->count = (int)list.len;
    }
}

void tn__population_report_free(tn__population_report *r) {
    if (r->made) tn_arena_deinit(&r->arena);
    *r = (tn__population_report){0};
}

tn_status tn__population_report_at(const tn__population_report *r, int i, int members,
                                   const tn_program *program, tn_wide_node_info *out) {
    *out = (tn_wide_node_info){0};
    if (i < 0 || i >= r->count) return TN_NOT_FOUND;
    const tn__population_node *n = &r->nodes[i];
    int64_t piece = 0;
    *out = n->info;
    if (program && *out->node && out->strategy != TN_WIDE_ONCE)
        piece = tn__wide_piece(program, out->node, members, n->own_loops);
    if (piece) out->strategy = TN_WIDE_LOOP;
    out->piece = piece ? piece : members;
    return TN_OK;
}

/* ---- for users ------------------------------------------------------------------------------ */

int tn_population_node_count(const tn_population *p) {
    return p->report.count;
}

tn_status tn_population_node(const tn_population *p, int i, tn_wide_node_info *out) {
    return tn__population_report_at(&p->report, i, p->count, NULL, out);
}

int tn_population_step_node_count(const tn_population_step *s) {
    return s->report.count;
}

tn_status tn_population_step_node(const tn_population_step *s, int i, tn_wide_node_info *out) {
    return tn__population_report_at(&s->report, i, s->members, tn__traces_program(&s->traces), out);
}
