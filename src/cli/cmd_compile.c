/* tenon compile: a program file, or C source. */
#include <stdio.h>

#include "base/io.h"
#include "cli/emit_c.h"
#include "cli/model.h"
#include "cli/output.h"
#include "cli/tune.h"

/* Input values are needed only by a model whose shapes they decide; nothing is run. */
static tn_status bind(cli *c, cli_model *m, tn_session **s, tn_error *err) {
    const char *random = c->options.random;
    TN_CHECK(cli_model_bind(c, m, CLI_MISSING_RANDOM, random, err));
    TN_CHECK(tn_session_create(m->model, s, err));
    return tn_session_bind(*s, m->inputs, m->input_count, err);
}

static tn_status report(cli *c, const cli_model *m, const char *const *files, int count,
                        tn_error *err) {
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        if (c->options.json)
            json_array_append_new(list, json_string(files[i]));
        else
            tn_log_write(TN_LOG_INFO, "wrote %s", files[i]);
    }
    if (!c->options.json) {
        json_decref(list);
        return TN_OK;
    }
    return cli_json(
        c,
        json_pack("{s:s, s:s, s:o}", "schema", "tenon.compile/1", "model", m->path, "files", list),
        err);
}

static tn_status compile(cli *c, cli_model *m, tn_session **s, tn_error *err) {
    const char *kind = c->options.emit ? c->options.emit : "program";
    bool source = strcmp(kind, "c") == 0;
    const char *file = c->options.out_file;
    if (!file) return cli_usage(c, err, "-o FILE is missing");
    if (!source && strcmp(kind, "program") != 0)
        return cli_usage(c, err, "--emit: '%s' is not program or c", kind);
    TN_CHECK(cli_tune_first(c, CLI_MISSING_RANDOM, c->options.random, err));
    TN_CHECK(cli_model_open(c, c->options.positional.at[0], m, err));
    TN_CHECK(bind(c, m, s, err));
    TN_CHECK(cli_dump_check(c, &m->dump, err));
    if (!source) {
        TN_CHECK(tn_session_save(*s, file, err));
        return report(c, m, &file, 1, err);
    }
    if (tn_session_artifact(*s)->stats.foreign)
        return tn_error_set(err, TN_INVALID,
                            "%s was not compiled by this user here, and its kernels are code; "
                            "--trust writes them as C",
                            c->options.positional.at[0]);
    cli_emitted files;
    const tn_target *target = tn_model_compiler(m->model)->target;
    TN_CHECK(cli_emit_c(c, *s, target, file, &files, err));
    return report(c, m, files.path, files.count, err);
}

tn_status cmd_compile(cli *c, tn_error *err) {
    cli_model m = {0};
    tn_session *s = NULL;
    tn_status status = compile(c, &m, &s, err);
    tn_session_release(s);
    cli_model_close(&m);
    return status;
}
