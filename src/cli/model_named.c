/* Built-in models by name, for verbs that only look: recorded without weights. See model.h. */
#include <stdlib.h>
#include <tenon/models.h>

#include "cli/model.h"
#include "nn/lazy.h"

enum { DEFAULT_LENGTH = 256 }; /* tokens, as in a training run */

/* --dim batch=N and --dim sequence=N */
static tn_status read_sizes(cli *c, tn_model_options *o, int64_t *rows, int64_t *length,
                            tn_error *err) {
    for (int i = 0; i < o->dim_count; i++) {
        bool batch = strcmp(o->dims[i].name, "batch") == 0;
        if (!batch && strcmp(o->dims[i].name, "sequence") != 0)
            return cli_usage(c, err, "--dim %s: a model by name has the sizes batch and sequence",
                             o->dims[i].name);
        if (o->dims[i].value < 1 || o->dims[i].value > 1 << 24)
            return cli_usage(c, err, "--dim %s: expected 1 to %d", o->dims[i].name, 1 << 24);
        *(batch ? rows : length) = o->dims[i].value;
    }
    o->dims = NULL;
    o->dim_count = 0;
    return TN_OK;
}

static tn_status record(cli *c, cli_model *m, tn_module *module, const tn_model_config *config,
                        const tn_buffer *input, tn_error *err) {
    tn_context *context = tn_module_context(module);
    tn_tensor *x;
    TN_CHECK(tn__tensor_abstract(context, input, m->data, &x, err));
    tn_tensor *y = tn_model_logits(module, config, x);
    TN_CHECK(tn_context_error(context, err));
    TN_CHECK(tn__graph_of(&y, 1, &c->arena, &m->graph, err));
    m->graph->outputs.data[0].name = "logits";
    m->parameters = (uint64_t)tn_module_parameter_elements(module);
    tn_module_item item;
    for (int i = 0; tn_module_entry(module, i, &item); i++) m->tensors += item.trainable;
    return TN_OK;
}

/* In evaluation: the forward pass, whose weights are inputs. */
static tn_status build(cli *c, cli_model *m, const tn_model_config *config, const tn_buffer *input,
                       tn_error *err) {
    tn_context_options context = TN_CONTEXT_OPTIONS_INIT;
    tn_module_options abstract = TN_MODULE_OPTIONS_INIT;
    tn_context *k;
    tn_module *module;
    abstract.abstract = true;
    context.compile.mode = TN_COMPILE_INTERPRET;
    context.compile.threads = 1;
    TN_CHECK(tn_context_create(&context, &k, err));
    tn_status status = tn_module_create(k, &abstract, &module, err);
    if (status == TN_OK) {
        tn_module_set_training(module, false);
        tn_scope *scope = tn_scope_open(k);
        status = record(c, m, module, config, input, err);
        tn_scope_close(scope);
    }
    tn_module_release(module);
    tn_context_release(k);
    return status;
}

/* Types of all inputs. They have an address, as binding wants, which nothing reads from. */
static tn_status describe_inputs(cli *c, cli_model *m, tn_error *err) {
    static char nowhere;
    m->input_count = tn_model_input_count(m->model);
    m->inputs = TN_NEW_N(&c->arena, tn_buffer, m->input_count);
    for (int i = 0; i < m->input_count; i++) {
        tn_port_info p;
        TN_CHECK(tn_model_input(m->model, i, &p));
        m->inputs[i] = (tn_buffer){.dtype = p.dtype, .rank = p.rank, .data = &nowhere};
        for (int a = 0; a < p.rank; a++) m->inputs[i].dim[a] = p.dim[a];
    }
    (void)err;
    return TN_OK;
}

tn_status cli_model_open_named(cli *c, const char *name, cli_model *m, tn_error *err) {
    tn_model_config config;
    tn_buffer batch[2];
    int64_t rows = 1, length = DEFAULT_LENGTH;
    *m = (cli_model){.path = name};
    TN_CHECK(cli_model_options(c, &m->options, &m->dump, err));
    m->options.mode = TN_COMPILE_INTERPRET; /* nothing is run */
    m->options.no_cache = true;
    TN_CHECK(read_sizes(c, &m->options, &rows, &length, err));
    TN_TRY(err, tn_model_config_find(name, &config, err), "%s: no such file", name);
    TN_TRY(err, tn_model_config_check(&config, err), "%s", name);
    tn_model_batch(&config, rows, length, batch);
    m->data = tn_dtype_is_float(batch[0].dtype) ? "images" : "tokens";
    TN_TRY(err, build(c, m, &config, &batch[0], err), "%s", name);
    TN_TRY(err, tn_model_from_graph(m->graph, &m->options, &m->model, err), "%s", name);
    return describe_inputs(c, m, err);
}
