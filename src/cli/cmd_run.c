/* tenon run: compile (cached), run once, write or summarise the outputs. */
#include "base/io.h"
#include "cli/model.h"
#include "cli/outputs.h"
#include "cli/tune.h"

static tn_status output_names(const tn_model *m, const char **names, int count, tn_error *err) {
    for (int i = 0; i < count; i++) {
        tn_port_info port;
        if (tn_model_output(m, i, &port) != TN_OK)
            return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
        names[i] = port.name;
    }
    return TN_OK;
}

static tn_status report(cli *c, const cli_model *m, const char *const *names,
                        const tn_buffer *outputs, int count, double seconds, tn_error *err) {
    const char **paths = TN_NEW_N(&c->arena, const char *, count);
    if (c->options.out_dir) TN_CHECK(cli_outputs_write(c, names, outputs, count, paths, err));
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        tn_array a = cli_array_of(&outputs[i]);
        if (c->options.json)
            json_array_append_new(list, cli_output_json(names[i], &a, paths[i]));
        else if (!paths[i])
            cli_output_print(c, names[i], &a);
    }
    if (!c->options.json) {
        json_decref(list);
        return TN_OK;
    }
    return cli_json(c,
                    json_pack("{s:s, s:s, s:f, s:o}", "schema", "tenon.run/1", "model", m->path,
                              "run_ms", seconds * 1e3, "outputs", list),
                    err);
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

    int count = tn_model_output_count(m->model);
    tn_buffer *outputs = TN_NEW_N(&c->arena, tn_buffer, count);
    const char **names = TN_NEW_N(&c->arena, const char *, count);
    TN_CHECK(output_names(m->model, names, count, err));
    double start = tn_seconds();
    TN_CHECK(tn_session_run(*s, m->inputs, m->input_count, outputs, count, err));
    double seconds = tn_seconds() - start;
    tn_log_write(TN_LOG_INFO, "ran in %s", cli_time(c, seconds));
    return report(c, m, names, outputs, count, seconds, err);
}

tn_status cmd_run(cli *c, tn_error *err) {
    cli_model m = {0};
    tn_session *s = NULL;
    tn_status status = run_model(c, &m, &s, err);
    tn_session_release(s);
    cli_model_close(&m);
    return status;
}
