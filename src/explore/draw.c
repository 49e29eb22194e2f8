/* Workloads for graphviz. See draw.h. */
#include "explore/draw.h"

#include <stdio.h>

#include "base/base.h"

void tn__operator_size(const tn_operator *o, const char *times, char *out, size_t size) {
    switch (o->kind) {
    case TN_OPERATOR_WEIGHTS:
        snprintf(out, size, "%lld %s %lld", (long long)o->n, times, (long long)o->k);
        break;
    case TN_OPERATOR_EXPERTS:
        snprintf(out, size, "%d of %d: %lld %s %lld", o->active, o->experts, (long long)o->n, times,
                 (long long)o->k);
        break;
    case TN_OPERATOR_SCORES:
    case TN_OPERATOR_VALUES:
        snprintf(out, size, "%lld heads %s %lld %s %lld", (long long)o->heads, times,
                 (long long)o->group, times,
                 (long long)(o->kind == TN_OPERATOR_SCORES ? o->k : o->n));
        break;
    }
}

bool tn__draws_edge(const tn_workload *w, int from, int to) {
    uint32_t behind = 0; /* computed from `from` through others */
    if (!(w->before[to] >> from & 1)) return false;
    for (int i = from + 1; i < to; i++)
        if ((w->before[i] >> from & 1) || (w->before[i] & behind)) behind |= 1u << i;
    return !(w->before[to] & behind);
}

static const char *colour_of(tn_operator_kind kind) {
    static const char *const colours[] = {"#dbe9f6", "#fde5cd", "#dff0d8", "#dff0d8"};
    return colours[kind];
}

void tn__draw_gv(const tn_workload *w, tn_str *out) {
    char size[96];
    tn_str_appendf(out,
                   "digraph layer {\n    node [shape=box, style=filled, fontname=\"sans\"];\n");
    for (int i = 0; i < w->count; i++) {
        const tn_operator *o = &w->operators[i];
        tn__operator_size(o, "×", size, sizeof size);
        tn_str_appendf(out, "    \"%s\" [label=\"%s\\n%s\", fillcolor=\"%s\"];\n", o->name, o->name,
                       size, colour_of(o->kind));
    }
    for (int i = 0; i < w->count; i++)
        for (int j = 0; j < i; j++)
            if (tn__draws_edge(w, j, i))
                tn_str_appendf(out, "    \"%s\" -> \"%s\";\n", w->operators[j].name,
                               w->operators[i].name);
    tn_str_appendf(out, "}\n");
}
