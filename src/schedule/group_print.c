/* Groups as text. See group.h. */
#include "schedule/group.h"

static void print_members(const tn_grouping *p, const tn_group *g, tn_str *out) {
    if (g->prologue != TN_NO_GROUP) {
        tn_str_append(out, " (");
        print_members(p, &p->groups.data[g->prologue], out);
        tn_str_append(out, " )");
    }
    for (uint32_t m = 0; m < g->members.len; m++)
        tn_str_appendf(out, " %s",
                       tn_op_info_of(p->graph->nodes.data[g->members.data[m].node].op)->name);
}

void tn_grouping_print(const tn_grouping *p, tn_str *out) {
    static const char *const kinds[] = {"rows", "contraction", "attention", "attention gradient",
                                        "nest", "control"};
    for (uint32_t i = 0; i < p->order.len; i++) {
        const tn_group *g = &p->groups.data[p->order.data[i]];
        tn_str_appendf(out, "group %u %s%s ", i, kinds[g->kind], g->constant ? " (prepare)" : "");
        tn_shape_print(p->graph->dims, &g->space.shape, out);
        tn_str_append(out, ":");
        print_members(p, g, out);
        tn_str_append(out, " -> ");
        for (uint32_t s = 0; s < tn_group_results(g); s++)
            tn_str_appendf(out, "%s%%%u", s ? " " : "", tn_group_result(g, s));
        tn_str_append(out, "\n");
    }
}
