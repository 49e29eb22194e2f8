/* What inspect prints as text and as JSON. See inspect.h. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/compounds.h"
#include "cli/inspect.h"
#include "cli/tune.h"

/* ---- sizes ---------------------------------------------------------------------------------- */

/* "f32[batch,3,224,224]", open sizes by name */
static const char *port_text(cli *c, const tn_port_info *p) {
    const char *text = tn_arena_printf(&c->arena, "%s[", tn_dtype_name(p->dtype));
    for (int i = 0; i < p->rank; i++) {
        const char *comma = i ? "," : "";
        text = p->dim[i] < 0
                   ? tn_arena_printf(&c->arena, "%s%s%s", text, comma, p->symbol[i])
                   : tn_arena_printf(&c->arena, "%s%s%lld", text, comma, (long long)p->dim[i]);
    }
    return p->rank < 0 ? tn_dtype_name(p->dtype) : tn_arena_printf(&c->arena, "%s]", text);
}

/* Weights of a model by name are no ports to people. */
static bool port_at(const cli_inspection *x, bool output, int i, tn_port_info *out) {
    const cli_model *m = x->model;
    tn_status status =
        output ? tn_session_output(x->session, i, out) : tn_model_input(m->model, i, out);
    return status == TN_OK && (output || !m->data || strcmp(out->name, m->data) == 0);
}

static int port_count(const cli_inspection *x, bool output) {
    return output ? tn_session_output_count(x->session) : tn_model_input_count(x->model->model);
}

/* ---- edges ---------------------------------------------------------------------------------- */

bool cli_step_writes(const tn_program *p, const tn_prog_step *s, uint32_t at) {
    if (s->kind == TN_STEP_COPY) return at == 1;
    if (s->kind != TN_STEP_KERNEL) return false;
    const tn_loop *k = p->kernels.data[s->kernel];
    uint32_t n = 0;
    for (uint32_t i = 0; i < k->buffers.len; i++) {
        if (k->buffers.data[i].kind == TN_LBUF_SCRATCH) continue;
        if (n++ == at) return k->buffers.data[i].kind == TN_LBUF_OUTPUT;
    }
    return false;
}

double cli_buffer_bytes(const cli_inspection *x, uint32_t buffer) {
    const tn_prog_buffer *b = &x->program->buffers.data[buffer];
    tn_dim n = b->elements;
    if (!tn_dim_is_const(n)) n = tn_dim_eval(x->program->dims, n, tn_session_symbols(x->session));
    return (double)n * (double)tn_dtype_size(b->dtype);
}

/* Loops of control flow read and write through their own lists; they appear as one box. */
static void add_loop_edges(cli *c, const cli_inspection *x, const tn_prog_loop *l, uint32_t step,
                           uint32_t *writer, cli_edges *out) {
    for (uint32_t i = 0; i < l->states + l->xs_count; i++) {
        uint32_t b = i < l->states ? l->initial[i] : l->xs[i - l->states];
        if (writer[b] != UINT32_MAX)
            tn_vec_push(&c->arena, out, (cli_edge){writer[b], step, b, cli_buffer_bytes(x, b)});
    }
    for (uint32_t i = 0; i < l->states; i++) writer[l->result[i]] = step;
    for (uint32_t i = 0; i < l->ys_count; i++) writer[l->ys[i]] = step;
}

cli_edges cli_edges_of(cli *c, const cli_inspection *x) {
    const tn_program *p = x->program;
    cli_edges edges = {0};
    uint32_t *writer = TN_NEW_N(&c->arena, uint32_t, p->buffers.len);
    memset(writer, 0xff, p->buffers.len * sizeof *writer);
    for (uint32_t i = 0; i < x->steps.len; i++) {
        const tn_prog_step *s = x->steps.data[i].step;
        for (uint32_t b = 0; b < s->buffer_count; b++) {
            uint32_t id = s->buffers[b];
            if (cli_step_writes(p, s, b) || writer[id] == UINT32_MAX) continue;
            tn_vec_push(&c->arena, &edges, (cli_edge){writer[id], i, id, cli_buffer_bytes(x, id)});
        }
        for (uint32_t b = 0; b < s->buffer_count; b++)
            if (cli_step_writes(p, s, b)) writer[s->buffers[b]] = i;
        if (s->loop) add_loop_edges(c, x, s->loop, i, writer, &edges);
    }
    return edges;
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static json_t *ports_json(cli *c, const cli_inspection *x, bool output) {
    json_t *list = json_array();
    for (int i = 0, count = port_count(x, output); i < count; i++) {
        tn_port_info p;
        if (!port_at(x, output, i, &p)) continue;
        json_t *shape = p.rank < 0 ? json_null() : json_array();
        for (int a = 0; a < p.rank; a++)
            json_array_append_new(shape,
                                  p.dim[a] < 0 ? json_string(p.symbol[a]) : json_integer(p.dim[a]));
        json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:s}", "name", p.name, "dtype",
                                              tn_dtype_name(p.dtype), "shape", shape, "text",
                                              port_text(c, &p)));
    }
    return list;
}

/* A figure that could not be told is null. */
static json_t *figure(int64_t value) {
    return value ? json_integer(value) : json_null();
}

static json_t *structure_json(const cli_inspection *x) {
    const tn_structure *s = &x->structure;
    if (!x->has_structure) return json_null();
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "layers", figure(s->layers), "d_model",
                     figure(s->d_model), "heads", figure(s->heads), "kv_heads", figure(s->kv_heads),
                     "head_dim", figure(s->head_dim), "ffn", figure(s->ffn), "vocab",
                     figure(s->vocab));
}

/* `gap`: by how much of the bound the plan's seconds exceed it, at most. */
static json_t *plan_json(const cli_inspection *x) {
    const tn_prog_plan *plan = &x->program->plan;
    if (!plan->tried) return json_null();
    double seconds = (double)plan->ns * 1e-9, least = (double)plan->least_ns * 1e-9;
    double gap = plan->all_tried || least <= 0 ? 0 : TN_MAX(0.0, seconds / least - 1);
    return json_pack("{s:f, s:f, s:f, s:i, s:b}", "seconds", seconds, "least_seconds", least, "gap",
                     gap, "compared", (int)plan->tried, "exhaustive", (int)plan->all_tried);
}

/* FLOPs by the graph's operations; a program that has no graph any more tells those of its
 * kernels. */
static double flops_of(const cli_inspection *x) {
    return x->graph ? x->cost.flops : cli_steps_flops(&x->steps);
}

json_t *cli_inspect_json(cli *c, const cli_inspection *x) {
    json_t *groups = json_array(), *symbols = json_object();
    for (uint32_t i = 0; i < x->steps.len; i++)
        if (x->steps.data[i].group)
            json_array_append_new(groups, cli_group_json(&x->steps.data[i]));
    const tn_dims *dims = x->program->dims;
    for (uint32_t i = 0; i < dims->symbols.len; i++)
        json_object_set_new(symbols, dims->symbols.data[i].name,
                            json_integer(tn_session_symbols(x->session)[i]));
    json_t *parameters = x->graph ? json_integer((json_int_t)x->cost.parameters) : json_null();
    json_t *tensors = x->graph ? json_integer((json_int_t)x->cost.tensors) : json_null();
    json_t *out = json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:{s:I, s:I, s:I, s:I}, s:o, s:o, s:o, "
        "s:o}",
        "schema", "tenon.inspect/1", "model", x->model->path, "inputs", ports_json(c, x, false),
        "outputs", ports_json(c, x, true), "sizes", symbols, "parameters", parameters, "tensors",
        tensors, "flops", cli_json_number(flops_of(x)), "bytes",
        cli_json_number(cli_steps_bytes(&x->steps)), "peak_bytes", (json_int_t)x->peak, "memory",
        "weights", (json_int_t)x->weights, "temporaries", (json_int_t)x->memory.temporaries,
        "outputs", (json_int_t)x->memory.outputs, "scratch", (json_int_t)x->memory.scratch,
        "structure", structure_json(x), "plan", plan_json(x), "tuned_piece",
        x->program->plan.tuned_piece ? json_integer(x->program->plan.tuned_piece) : json_null(),
        "groups", groups);
    const tn_program *p = x->program;
    if (p->input_compounds.len)
        json_object_set_new(
            out, "input_compounds",
            cli_compounds_json(p->input_compounds.data, (int)p->input_compounds.len));
    if (p->output_compounds.len)
        json_object_set_new(
            out, "output_compounds",
            cli_compounds_json(p->output_compounds.data, (int)p->output_compounds.len));
    return out;
}

/* ---- text ----------------------------------------------------------------------------------- */

/* The sequences and optionals whose tensors are listed below. */
static int print_compounds(cli *c, const tn_compound *at, uint32_t count, bool output) {
    for (uint32_t i = 0; i < count; i++)
        printf("%-11s %s%s%s %s\n",
               i        ? ""
               : output ? "outputs"
                        : "inputs",
               cli_style_on(c, CLI_BOLD), at[i].name, CLI_OFF(c),
               cli_compound_text(&c->arena, &at[i]));
    return (int)count;
}

static void print_ports(cli *c, const cli_inspection *x, bool output) {
    const tn_program *program = x->program;
    int printed = output ? print_compounds(c, program->output_compounds.data,
                                           program->output_compounds.len, true)
                         : print_compounds(c, program->input_compounds.data,
                                           program->input_compounds.len, false);
    for (int i = 0, count = port_count(x, output); i < count; i++) {
        tn_port_info p;
        if (!port_at(x, output, i, &p)) continue;
        printf("%-11s %s%s%s %s\n",
               printed++ ? ""
               : output  ? "outputs"
                         : "inputs",
               cli_style_on(c, CLI_BOLD), p.name, CLI_OFF(c), port_text(c, &p));
    }
}

static void print_sizes(const cli_inspection *x) {
    const tn_dims *dims = x->program->dims;
    bool *of_run = calloc(dims->symbols.len + 1, sizeof *of_run);
    if (of_run) tn_program_run_sizes(x->program, of_run);
    for (uint32_t i = 0; i < dims->symbols.len; i++)
        printf("%-11s %s %s %lld%s\n", i ? "" : "sizes", dims->symbols.data[i].name,
               of_run && of_run[i] ? "<=" : "=", (long long)tn_session_symbols(x->session)[i],
               of_run && of_run[i] ? ", depends on data" : "");
    free(of_run);
}

static void print_figure(const char *name, int64_t value) {
    if (value) printf(", %s %lld", name, (long long)value);
}

static void print_structure(const cli_inspection *x) {
    const tn_structure *s = &x->structure;
    if (!x->graph) return;
    printf("structure   ");
    if (!x->has_structure) {
        printf("no attention: not a transformer\n");
        return;
    }
    printf("transformer: %lld layers", (long long)s->layers);
    print_figure("d_model", s->d_model);
    print_figure("heads", s->heads);
    print_figure("kv_heads", s->kv_heads);
    print_figure("head_dim", s->head_dim);
    print_figure("ffn", s->ffn);
    print_figure("vocab", s->vocab);
    putchar('\n');
}

static uint32_t count_groups(const cli_inspection *x) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < x->steps.len; i++) n += x->steps.data[i].group != NULL;
    return n;
}

static void print_list(cli *c, const char *name, const char *list) {
    if (list && *list)
        printf("      %s%-10s%s %s\n", cli_style_on(c, CLI_DIM), name, CLI_OFF(c), list);
}

static void print_groups(cli *c, const cli_inspection *x) {
    int number = 0;
    for (uint32_t i = 0; i < x->steps.len; i++) {
        const cli_step *s = &x->steps.data[i];
        const tn_prog_group *g = s->group;
        if (!g) continue;
        printf("\n%4d  %s%s%s  %s FLOP, %s", ++number, cli_style_on(c, CLI_BOLD),
               s->step->name ? s->step->name : "", CLI_OFF(c), cli_si(c, s->flops),
               cli_bytes(c, s->bytes));
        if (s->runs > 1) printf(", %llu times in a loop", (unsigned long long)s->runs);
        putchar('\n');
        print_list(c, "anchors", g->anchors);
        print_list(c, "mainloop", g->mainloop);
        print_list(c, "epilogue", g->epilogue);
        print_list(c, "stores", g->stores);
        print_list(c, "recomputes", g->recomputes);
        print_list(c, "schedule", g->schedule);
    }
}

/* How good the grouping is. */
static void print_plan(const cli_inspection *x) {
    const tn_prog_plan *plan = &x->program->plan;
    if (!plan->tried) return;
    if (plan->all_tried && plan->tried == 1)
        printf("plan        there is nothing to choose");
    else if (plan->all_tried)
        printf("plan        the best of all %u groupings", plan->tried);
    else
        printf("plan        at most %.2f times the time of any grouping (%u compared)",
               (double)plan->ns / (double)TN_MAX(plan->least_ns, 1), plan->tried);
    printf(", for data moved, element-wise work and launches at typical sizes\n");
}

void cli_inspect_text(cli *c, const cli_inspection *x) {
    print_ports(c, x, false);
    print_ports(c, x, true);
    print_sizes(x);
    if (x->graph)
        printf("parameters  %s in %u tensors (%llu, %s)\n", cli_si(c, (double)x->cost.parameters),
               x->cost.tensors, (unsigned long long)x->cost.parameters,
               cli_bytes(c, (double)x->cost.parameter_bytes));
    printf("work        %s FLOP, %s moved by kernels\n", cli_si(c, flops_of(x)),
           cli_bytes(c, cli_steps_bytes(&x->steps)));
    printf("memory      %s: weights %s, temporaries %s, outputs %s, scratch %s\n",
           cli_bytes(c, (double)x->peak), cli_bytes(c, (double)x->weights),
           cli_bytes(c, (double)x->memory.temporaries), cli_bytes(c, (double)x->memory.outputs),
           cli_bytes(c, (double)x->memory.scratch));
    if (x->model->data)
        printf("training    %s at least: weights, gradients and two moments, all f32\n",
               cli_bytes(c, 4 * (double)x->weights));
    print_structure(x);
    if (x->graph)
        printf("graph       %u operations in %u kernels\n", x->cost.nodes, count_groups(x));
    else
        printf("program     %u kernels\n", count_groups(x));
    print_plan(x);
    if (x->program->plan.tuned_piece)
        printf("batch       %s, as tuning chose\n",
               cli_piece_text(c, x->program->plan.tuned_piece));
    if (c->options.groups)
        print_groups(c, x);
    else
        printf("            --groups lists the kernels, --html FILE draws them\n");
}
