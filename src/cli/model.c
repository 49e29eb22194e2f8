/* Opening models and binding their inputs. See model.h. */
#include "cli/model.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "cli/compounds.h"
#include "cli/values.h"

/* ---- options -------------------------------------------------------------------------------- */

static void take_dump(void *context, const char *stage, const char *text) {
    cli_dump *d = context;
    tn_str_appendf(&d->stages, "%s%s", d->stages.len ? ", " : "", stage);
    if (strcmp(d->stage, "all") != 0 && strcmp(d->stage, stage) != 0) return;
    d->found = true;
    fprintf(stderr, "---- after %s ----\n%s\n", stage, text);
}

tn_status cli_dump_check(cli *c, const cli_dump *dump, tn_error *err) {
    if (!dump->stage || dump->found || !dump->stages.len) return TN_OK;
    return cli_usage(c, err, "--dump-after: no stage '%s'; there are: all, %s", dump->stage,
                     tn_str_text(&dump->stages));
}

static tn_status parse_dims(cli *c, tn_model_options *o, tn_error *err) {
    const cli_list *list = &c->options.dim;
    tn_dim_binding *dims = TN_NEW_N(&c->arena, tn_dim_binding, list->count);
    for (int i = 0; i < list->count; i++) {
        const char *equals = strrchr(list->at[i], '=');
        char *end = NULL;
        long long value = equals ? strtoll(equals + 1, &end, 10) : -1;
        if (!equals || equals == list->at[i] || !equals[1] || *end || value < 0)
            return cli_usage(c, err, "--dim: '%s' is not NAME=N", list->at[i]);
        dims[i].name = tn_arena_printf(&c->arena, "%.*s", (int)(equals - list->at[i]), list->at[i]);
        dims[i].value = value;
    }
    o->dims = dims;
    o->dim_count = list->count;
    return TN_OK;
}

tn_status cli_model_options(cli *c, tn_model_options *out, cli_dump *dump, tn_error *err) {
    const cli_options *o = &c->options;
    *out = (tn_model_options)TN_MODEL_OPTIONS_INIT;
    if (o->device && strcmp(o->device, "cpu") != 0)
        return cli_usage(c, err, "--device: there is no device '%s'; this build has: cpu",
                         o->device);
    if (o->threads > 4096)
        return cli_usage(c, err, "--threads: %lld are too many", (long long)o->threads);
    out->threads = (int)o->threads;
    out->mode = o->interpret ? TN_COMPILE_INTERPRET : TN_COMPILE_AUTO;
    out->no_opt = o->no_opt;
    out->no_cache = o->no_cache;
    out->no_tuned = o->no_tuned;
    out->trust = o->trust;
    *dump = (cli_dump){.stage = o->dump_after};
    tn_str_init(&dump->stages);
    if (o->dump_after) {
        out->dump = take_dump;
        out->dump_context = dump;
    }
    return parse_dims(c, out, err);
}

tn_status cli_model_reopen(cli *c, cli_model *m, tn_error *err) {
    TN_CHECK(tn_model_open(m->path, &m->options, &m->model, err));
    if (!cli_has_unbound(m->model) && !c->options.tensors.count) return TN_OK;
    TN_CHECK(cli_compounds_choose(c, m->model, &m->options, err));
    if (!m->options.compound_count) return TN_OK;
    tn_model_release(m->model);
    m->model = NULL;
    return tn_model_open(m->path, &m->options, &m->model, err);
}

tn_status cli_model_open(cli *c, const char *path, cli_model *m, tn_error *err) {
    *m = (cli_model){.path = path};
    TN_CHECK(cli_model_options(c, &m->options, &m->dump, err));
    return cli_model_reopen(c, m, err);
}

void cli_model_close(cli_model *m) {
    tn_model_release(m->model);
    tn_str_deinit(&m->dump.stages);
    m->model = NULL;
}

/* ---- inputs --------------------------------------------------------------------------------- */

tn_status cli_model_bind(cli *c, cli_model *m, cli_missing missing, const char *seed,
                         tn_error *err) {
    cli_binding b = {.count = tn_model_input_count(m->model)};
    b.ports = TN_NEW_N(&c->arena, tn_port_info, b.count);
    for (int i = 0; i < b.count; i++)
        if (tn_model_input(m->model, i, &b.ports[i]) != TN_OK)
            return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    cli_bind_needs(c, &b, m->model);
    b.compounds = cli_input_compounds(&c->arena, m->model, &b.compound_count);
    TN_CHECK(cli_bind(c, &b, missing, seed, err));
    m->inputs = b.inputs;
    m->input_count = b.count;
    m->made_up = b.made_up;
    return TN_OK;
}

/* ---- memory --------------------------------------------------------------------------------- */

uint64_t cli_weight_bytes(const tn_artifact *a) {
    const tn_program *p = a->program;
    uint64_t bytes = p->prepared_bytes;
    uint8_t *read = calloc(p->buffers.len + 1, 1);
    if (!read) return bytes;
    for (uint32_t b = 0; b < p->blocks.len; b++)
        for (uint32_t s = 0; !p->blocks.data[b].prepares && s < p->blocks.data[b].steps.len; s++) {
            const tn_prog_step *step = &p->blocks.data[b].steps.data[s];
            for (uint32_t i = 0; i < step->buffer_count; i++) read[step->buffers[i]] = 1;
            for (uint32_t i = 0; step->loop && i < step->loop->xs_count; i++)
                read[step->loop->xs[i]] = 1;
        }
    for (uint32_t i = 0; i < p->buffers.len; i++) {
        const tn_prog_buffer *b = &p->buffers.data[i];
        if (read[i] && b->store == TN_STORE_WEIGHT && tn_dim_is_const(b->elements))
            bytes += (uint64_t)b->elements * tn_dtype_size(b->dtype);
    }
    free(read);
    return bytes;
}

uint64_t cli_peak_bytes(const cli_model *m, const tn_session *s) {
    tn_memory_use use = tn_instance_memory(tn_session_instance(s));
    uint64_t bytes = use.temporaries + use.outputs + use.scratch;
    for (int i = 0; i < m->input_count; i++) {
        tn_array a = cli_array_of(&m->inputs[i]);
        bytes += tn_array_bytes(&a);
    }
    return bytes + cli_weight_bytes(tn_session_artifact(s));
}
