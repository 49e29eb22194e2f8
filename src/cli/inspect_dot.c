/* The kernels of a program as a graph for graphviz. See inspect.h. */
#include <stdio.h>

#include "base/io.h"
#include "cli/inspect.h"

/* Text inside a quoted label. */
static void append_escaped(tn_str *s, const char *text) {
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') tn_str_append_char(s, '\\');
        tn_str_append_char(s, *text);
    }
}

static const char *color_of(const cli_step *s) {
    if (!s->group) return s->step->kind == TN_STEP_COPY ? "#eeeeee" : "#fde2c8";
    bool heavy = s->bytes > 0 && s->flops / s->bytes > 8;
    return heavy ? "#d3e3fd" : "#e3f1dd";
}

static void append_step(cli *c, tn_str *s, const cli_inspection *x, uint32_t i) {
    const cli_step *step = &x->steps.data[i];
    tn_str_appendf(s, "  s%u [fillcolor=\"%s\" label=\"", i, color_of(step));
    append_escaped(s, step->step->name ? step->step->name : "step");
    tn_str_appendf(s, "\\n%s FLOP, %s\"", cli_si(c, step->flops), cli_bytes(c, step->bytes));
    if (step->group && step->group->anchors) {
        tn_str_append(s, " tooltip=\"");
        append_escaped(s, step->group->anchors);
        tn_str_append(s, "\"");
    }
    tn_str_append(s, "];\n");
}

/* Inputs and outputs are ovals beside the kernels that read and write them. */
static void append_ports(tn_str *s, const cli_inspection *x, bool output) {
    const tn_program *p = x->program;
    uint32_t count = output ? p->outputs.len : p->inputs.len;
    for (uint32_t i = 0; i < count; i++) {
        const tn_prog_port *port = output ? &p->outputs.data[i] : &p->inputs.data[i];
        const char *prefix = output ? "o" : "i";
        tn_str_appendf(s, "  %s%u [shape=oval fillcolor=white label=\"", prefix, i);
        append_escaped(s, port->name);
        tn_str_append(s, "\"];\n");
        for (uint32_t j = 0; j < x->steps.len; j++) {
            const tn_prog_step *step = x->steps.data[j].step;
            for (uint32_t b = 0; b < step->buffer_count; b++) {
                if (step->buffers[b] != port->buffer || cli_step_writes(p, step, b) != output)
                    continue;
                if (output)
                    tn_str_appendf(s, "  s%u -> o%u;\n", j, i);
                else
                    tn_str_appendf(s, "  i%u -> s%u;\n", i, j);
            }
        }
    }
}

tn_status cli_inspect_dot(cli *c, const cli_inspection *x, const char *path, tn_error *err) {
    tn_str s;
    tn_str_init(&s);
    tn_str_append(&s, "digraph tenon {\n"
                      "  node [shape=box style=\"filled,rounded\" fontname=\"sans-serif\" "
                      "fontsize=10];\n  edge [fontname=\"sans-serif\" fontsize=8];\n");
    for (uint32_t i = 0; i < x->steps.len; i++) append_step(c, &s, x, i);
    append_ports(&s, x, false);
    append_ports(&s, x, true);
    cli_edges edges = cli_edges_of(c, x);
    for (uint32_t i = 0; i < edges.len; i++) {
        const cli_edge *e = &edges.data[i];
        tn_str_appendf(&s, "  s%u -> s%u [label=\"%s\"];\n", e->from, e->to,
                       cli_bytes(c, e->bytes));
    }
    tn_str_append(&s, "}\n");
    tn_status status = tn_file_write(path, s.data, s.len, false, err);
    tn_str_deinit(&s);
    return status;
}
