/* One page about a model: page/inspect.html with the data put in. See inspect.h. */
#include "cli/inspect.h"
#include "cli/page.h"
#include "ir/rules.h"

/* The page, embedded by CMake. */
extern const char *const cli_inspect_page[];

enum { MOST_NODES = 3000 }; /* rows of the table of nodes */

static bool is_control(const tn_prog_step *s) {
    return s->kind == TN_STEP_IF || s->kind == TN_STEP_WHILE || s->kind == TN_STEP_SCAN;
}

static json_t *step_json(const cli_step *s) {
    static const tn_prog_group none = {0};
    const tn_prog_group *g = s->group ? s->group : &none;
    return json_pack("{s:s, s:b, s:b, s:i, s:f, s:f, s:f, s:I, s:o, s:o, s:o, s:o, s:o, s:s}",
                     "name", s->step->name ? s->step->name : "step", "group", s->group != NULL,
                     "control", (int)is_control(s->step), "depth", s->depth, "flops", s->flops,
                     "bytes", s->bytes, "seconds", s->seconds, "runs", (json_int_t)s->runs,
                     "anchors", cli_json_split(g->anchors), "mainloop", cli_json_split(g->mainloop),
                     "epilogue", cli_json_split(g->epilogue), "stores", cli_json_split(g->stores),
                     "recomputes", cli_json_split(g->recomputes), "schedule",
                     g->schedule ? g->schedule : "");
}

static json_t *steps_json(const cli_inspection *x) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < x->steps.len; i++)
        json_array_append_new(list, step_json(&x->steps.data[i]));
    return list;
}

static json_t *edges_json(cli *c, const cli_inspection *x) {
    cli_edges edges = cli_edges_of(c, x);
    json_t *list = json_array();
    for (uint32_t i = 0; i < edges.len; i++)
        json_array_append_new(list, json_pack("[i, i, f]", (int)edges.data[i].from,
                                              (int)edges.data[i].to, edges.data[i].bytes));
    return list;
}

/* Adds to each port the steps that read it, or write it. */
static void add_port_steps(const cli_inspection *x, json_t *ports, bool output) {
    const tn_program *p = x->program;
    for (size_t i = 0; i < json_array_size(ports); i++) {
        uint32_t buffer = output ? p->outputs.data[i].buffer : p->inputs.data[i].buffer;
        json_t *list = json_array();
        for (uint32_t s = 0; s < x->steps.len; s++) {
            const tn_prog_step *step = x->steps.data[s].step;
            for (uint32_t b = 0; b < step->buffer_count; b++)
                if (step->buffers[b] == buffer && cli_step_writes(p, step, b) == output)
                    json_array_append_new(list, json_integer((json_int_t)s));
        }
        json_object_set_new(json_array_get(ports, i), "steps", list);
    }
}

static json_t *node_json(const cli_inspection *x, const tn_node_info *n) {
    const tn_graph *g = x->simplified;
    tn_cost cost = {0};
    tn_op_rules_of(n->op)->cost(g, n, x->bindings, &cost);
    tn_str type;
    tn_str_init(&type);
    tn_type_print(g->dims, tn_graph_type(g, n->out), &type);
    json_t *out = json_pack("{s:s, s:s, s:s, s:f, s:f}", "op", tn_op_info_of(n->op)->name, "name",
                            n->name ? n->name : "", "type", tn_str_text(&type), "flops", cost.flops,
                            "bytes", cost.bytes_read + cost.bytes_written);
    tn_str_deinit(&type);
    return out;
}

static json_t *nodes_json(const cli_inspection *x) {
    json_t *list = json_array();
    const tn_graph *g = x->simplified;
    for (tn_node i = 0; g && i < g->nodes.len && json_array_size(list) < MOST_NODES; i++) {
        const tn_node_info *n = tn_graph_node(g, i);
        const tn_lower *lower = &tn_op_rules_of(n->op)->lower;
        if (lower->kind == TN_LOWER_SOURCE || lower->view || lower->kind == TN_LOWER_CONTROL)
            continue;
        json_array_append_new(list, node_json(x, n));
    }
    return list;
}

/* Bytes of temporaries and outputs alive at each step: a value lives from the step that writes it
 * to the last one that reads it. */
static json_t *memory_json(const cli_inspection *x) {
    const tn_program *p = x->program;
    json_t *live = json_array(), *names = json_array();
    for (uint32_t i = 0; i < x->steps.len; i++) {
        const tn_prog_step *s = x->steps.data[i].step;
        double bytes = 0;
        for (uint32_t b = 0; b < p->buffers.len; b++) {
            const tn_prog_buffer *buffer = &p->buffers.data[b];
            if (buffer->store == TN_STORE_TEMP && buffer->first <= s->position &&
                s->position <= buffer->last)
                bytes += cli_buffer_bytes(x, b);
        }
        json_array_append_new(live, json_real(bytes));
        json_array_append_new(names, json_string(s->name ? s->name : "step"));
    }
    return json_pack("{s:o, s:o, s:f}", "live", live, "names", names, "weights",
                     (double)x->weights);
}

tn_status cli_inspect_html(cli *c, const cli_inspection *x, const char *path, tn_error *err) {
    json_t *data = cli_inspect_json(c, x);
    if (!data) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    json_object_del(data, "groups");
    json_object_del(data, "memory");
    add_port_steps(x, json_object_get(data, "inputs"), false);
    add_port_steps(x, json_object_get(data, "outputs"), true);
    json_object_set_new(data, "steps", steps_json(x));
    json_object_set_new(data, "edges", edges_json(c, x));
    json_object_set_new(data, "nodes", nodes_json(x));
    json_object_set_new(data, "memory", memory_json(x));
    return cli_page_write(cli_inspect_page[0], data, path, err);
}
