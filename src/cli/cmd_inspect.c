/* tenon inspect: what a model is and what it was compiled to. */
#include <stdio.h>
#include <unistd.h>

#include "cli/inspect.h"
#include "program/program.h"
#include "transform/pass.h"

/* Folding makes constants and drops others: weights are counted as they came. */
static void count_weights(cli *c, const cli_model *m, cli_inspection *x) {
    cli_graph_cost imported;
    cli_graph_cost_of(x->graph, cli_graph_bindings(&c->arena, x->graph, x->session), &imported);
    x->cost.parameters = m->data ? m->parameters : imported.parameters;
    x->cost.parameter_bytes = m->data ? m->parameters * sizeof(float) : imported.parameter_bytes;
    x->cost.tensors = m->data ? m->tensors : imported.tensors;
}

static tn_status look_at_graph(cli *c, cli_model *m, cli_inspection *x, tn_error *err) {
    if (m->data)
        x->graph = m->graph;
    else if (tn_program_is_file(m->path))
        return TN_OK; /* a program has forgotten its graph */
    else
        TN_CHECK(tn_model_graph(m->model, m->inputs, m->input_count, &x->graph, err));
    tn_transform_options options = tn_transform_defaults();
    TN_TRY(err, tn_transform_standard(x->graph, &options, &x->simplified, err),
           "while simplifying");
    x->bindings = cli_graph_bindings(&c->arena, x->simplified, x->session);
    cli_graph_cost_of(x->simplified, x->bindings, &x->cost);
    count_weights(c, m, x);
    x->has_structure = tn_structure_find(x->simplified, m->data, &x->structure);
    return TN_OK;
}

static tn_status open_model(cli *c, cli_model *m, tn_error *err) {
    const char *path = c->options.positional.at[0];
    if (access(path, F_OK) != 0 && !strpbrk(path, "./")) {
        if (c->options.input.count)
            return cli_usage(c, err, "-i: a model by name is only looked at, without values");
        return cli_model_open_named(c, path, m, err);
    }
    TN_CHECK(cli_model_open(c, path, m, err));
    return cli_model_bind(c, m, CLI_MISSING_RANDOM, c->options.random, err);
}

tn_status cli_inspect_bound(cli *c, cli_model *m, tn_session *s, cli_inspection *x, tn_error *err) {
    *x = (cli_inspection){.model = m, .session = s};
    x->program = tn_session_artifact(s)->program;
    TN_CHECK(look_at_graph(c, m, x, err));
    x->steps = cli_steps_of(c, s);
    x->peak = cli_peak_bytes(m, s);
    x->weights = m->data ? x->cost.parameter_bytes : cli_weight_bytes(tn_session_artifact(s));
    x->memory = tn_instance_memory(tn_session_instance(s));
    return TN_OK;
}

tn_status cli_inspect_files(cli *c, cli_inspection *x, tn_session *s, tn_error *err) {
    const cli_model *m = x->model;
    if (c->options.html && !m->data) /* the page shows where the time goes */
        TN_CHECK(cli_steps_profile(&x->steps, s, m, 5, err));
    if (c->options.dot) TN_CHECK(cli_inspect_dot(c, x, c->options.dot, err));
    if (c->options.html) TN_CHECK(cli_inspect_html(c, x, c->options.html, err));
    return TN_OK;
}

static tn_status inspect(cli *c, cli_model *m, tn_session **s, tn_error *err) {
    cli_inspection x;
    TN_CHECK(open_model(c, m, err));
    TN_CHECK(tn_session_create(m->model, s, err));
    TN_CHECK(tn_session_bind(*s, m->inputs, m->input_count, err));
    TN_CHECK(cli_dump_check(c, &m->dump, err));
    TN_CHECK(cli_inspect_bound(c, m, *s, &x, err));
    TN_CHECK(cli_inspect_files(c, &x, *s, err));
    if (c->options.json) return cli_json(c, cli_inspect_json(c, &x), err);
    cli_inspect_text(c, &x);
    return TN_OK;
}

tn_status cmd_inspect(cli *c, tn_error *err) {
    cli_model m = {0};
    tn_session *s = NULL;
    tn_status status = inspect(c, &m, &s, err);
    tn_session_release(s);
    cli_model_close(&m);
    return status;
}
