/* tenon run: compile (cached), run once, write or summarise the outputs. */
#include <stdio.h>

#include "base/io.h"
#include "cli/compounds.h"
#include "cli/model.h"
#include "cli/outputs.h"
#include "cli/tune.h"

static tn_status output_names(const tn_session *s, const char **names, int count, tn_error *err) {
    for (int i = 0; i < count; i++) {
        tn_port_info port;
        if (tn_session_output(s, i, &port) != TN_OK)
            return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
        names[i] = port.name;
    }
    return TN_OK;
}

/* Compounds in front of their tensors. */
static void print_outputs(cli *c, const tn_session *s, const char *const *names,
                          const tn_array *arrays, const char *const *paths, int count) {
    int compounds;
    tn_compound *at = cli_output_compounds(&c->arena, s, &compounds);
    cli_units units = cli_units_of(&c->arena, at, compounds, count);
    for (uint32_t u = 0; u < units.len; u++) {
        const cli_unit *unit = &units.data[u];
        int first = unit->compound.first, n = unit->is_compound ? unit->compound.count : 1;
        if (unit->is_compound && !c->options.out_dir)
            printf("%s%s%s %s\n", cli_style_on(c, CLI_BOLD), unit->compound.name, CLI_OFF(c),
                   cli_compound_text(&c->arena, &unit->compound));
        for (int i = first; i < first + n; i++)
            if (!paths[i]) cli_output_print(c, names[i], &arrays[i]);
    }
}

static tn_status report(cli *c, const cli_model *m, const tn_session *s, const char *const *names,
                        const tn_buffer *outputs, double seconds, tn_error *err) {
    int count = tn_session_output_count(s), compounds;
    const char **paths = TN_NEW_N(&c->arena, const char *, count);
    tn_array *arrays = TN_NEW_N(&c->arena, tn_array, count);
    if (c->options.out_dir) TN_CHECK(cli_outputs_write(c, names, outputs, count, paths, err));
    for (int i = 0; i < count; i++) arrays[i] = cli_array_of(&outputs[i]);
    if (!c->options.json) {
        print_outputs(c, s, names, arrays, paths, count);
        return TN_OK;
    }
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, cli_output_json(names[i], &arrays[i], paths[i]));
    json_t *out = json_pack("{s:s, s:s, s:f, s:o}", "schema", "tenon.run/1", "model", m->path,
                            "run_ms", seconds * 1e3, "outputs", list);
    const tn_compound *at = cli_output_compounds(&c->arena, s, &compounds);
    if (compounds) json_object_set_new(out, "compounds", cli_compounds_json(at, compounds));
    return cli_json(c, out, err);
}

static void log_compile(cli *c, const tn_session *s) {
    const tn_artifact_stats *t = &tn_session_artifact(s)->stats;
    tn_log_write(TN_LOG_INFO,
                 "program %s: import %s, plan %s, kernels %s (%s), prepare %s, load %s",
                 t->program_cached ? "cached" : "new", cli_time(c, t->import), cli_time(c, t->plan),
                 cli_time(c, t->kernels),
                 t->interpreted      ? "interpreted"
                 : t->kernels_cached ? "cached"
                                     : "compiled",
                 cli_time(c, t->prepare), cli_time(c, t->load));
}

static tn_status run_model(cli *c, cli_model *m, tn_session **s, tn_error *err) {
    const char *random = c->options.random;
    cli_missing missing = random ? CLI_MISSING_RANDOM : CLI_MISSING_IS_ERROR;
    TN_CHECK(cli_tune_first(c, missing, random, err));
    TN_CHECK(cli_model_open(c, c->options.positional.at[0], m, err));
    TN_CHECK(cli_model_bind(c, m, missing, random, err));
    TN_CHECK(tn_session_create(m->model, s, err));
    TN_CHECK(tn_session_bind(*s, m->inputs, m->input_count, err));
    TN_CHECK(cli_dump_check(c, &m->dump, err));
    log_compile(c, *s);

    int count = tn_session_output_count(*s);
    tn_buffer *outputs = TN_NEW_N(&c->arena, tn_buffer, count);
    const char **names = TN_NEW_N(&c->arena, const char *, count);
    TN_CHECK(output_names(*s, names, count, err));
    double start = tn_seconds();
    TN_CHECK(tn_session_run(*s, m->inputs, m->input_count, outputs, count, err));
    double seconds = tn_seconds() - start;
    tn_log_write(TN_LOG_INFO, "ran in %s", cli_time(c, seconds));
    return report(c, m, *s, names, outputs, seconds, err);
}

tn_status cmd_run(cli *c, tn_error *err) {
    cli_model m = {0};
    tn_session *s = NULL;
    tn_status status = run_model(c, &m, &s, err);
    tn_session_release(s);
    cli_model_close(&m);
    return status;
}
