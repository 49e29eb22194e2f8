/* tenon run: compile (cached), run once, write or summarise the outputs. */
#include <math.h>
#include <stdio.h>

#include "base/io.h"
#include "cli/model.h"
#include "cli/output.h"
#include "cli/tune.h"
#include "cli/values.h"

enum { SHOWN = 6 }; /* first values of an output in the summary */

typedef struct summary {
    double min, mean, max; /* of the elements that are numbers */
    int64_t nans;
    double first[SHOWN];
    int shown;
} summary;

static double plain(tn_dtype dtype, tn_cell cell) {
    if (tn_dtype_is_float(dtype)) return cell.f;
    return tn_dtype_is_signed(dtype) ? (double)cell.i : (double)cell.u;
}

static summary summarise(const tn_array *a) {
    summary s = {.min = INFINITY, .max = -INFINITY};
    int64_t count = tn_array_count(a);
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        double x = plain(a->dtype, tn_array_get(a, i));
        if (i < SHOWN) s.first[s.shown++] = x;
        if (isnan(x)) {
            s.nans++;
            continue;
        }
        s.min = fmin(s.min, x);
        s.max = fmax(s.max, x);
        sum += x;
    }
    s.mean = count > s.nans ? sum / (double)(count - s.nans) : NAN;
    if (count == s.nans) s.min = s.max = NAN;
    return s;
}

/* ---- files ---------------------------------------------------------------------------------- */

/* DIR/<name>.npy with / as _ */
static const char *output_path(cli *c, const char *name) {
    char *file = tn_arena_strdup(&c->arena, name);
    for (char *p = file; *p; p++)
        if (*p == '/') *p = '_';
    return tn_arena_printf(&c->arena, "%s/%s.npy", c->options.out_dir, file);
}

static tn_status write_outputs(cli *c, const tn_model *m, const tn_buffer *outputs, int count,
                               const char **paths, tn_error *err) {
    TN_CHECK(tn_make_dirs(c->options.out_dir, 0777, err));
    for (int i = 0; i < count; i++) {
        tn_port_info port;
        if (tn_model_output(m, i, &port) != TN_OK)
            return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
        paths[i] = output_path(c, port.name);
        for (int j = 0; j < i; j++)
            if (strcmp(paths[i], paths[j]) == 0)
                return tn_error_set(err, TN_INVALID, "two outputs would be written to %s",
                                    paths[i]);
        tn_array a = cli_array_of(&outputs[i]);
        TN_TRY(err, cli_npy_write(paths[i], &a, err), "while writing output '%s'", port.name);
    }
    return TN_OK;
}

/* ---- reports -------------------------------------------------------------------------------- */

static void print_output(cli *c, const char *name, const tn_array *a) {
    summary s = summarise(a);
    printf("%s%s%s %s", cli_style_on(c, CLI_BOLD), name, CLI_OFF(c),
           cli_type_text(c, a->dtype, a->rank, a->dim));
    if (s.shown == 0) {
        printf("  (empty)\n");
        return;
    }
    printf("  min %.6g  mean %.6g  max %.6g", s.min, s.mean, s.max);
    if (s.nans) printf("  %lld NaN", (long long)s.nans);
    printf("\n    ");
    for (int i = 0; i < s.shown; i++) printf("%s%.6g", i ? ", " : "", s.first[i]);
    printf("%s\n", tn_array_count(a) > SHOWN ? ", …" : "");
}

static json_t *output_json(const char *name, const tn_array *a, const char *path) {
    summary s = summarise(a);
    json_t *shape = json_array(), *first = json_array();
    for (int i = 0; i < a->rank; i++) json_array_append_new(shape, json_integer(a->dim[i]));
    for (int i = 0; i < s.shown; i++) json_array_append_new(first, cli_json_number(s.first[i]));
    json_t *out = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:I, s:o}", "name", name, "dtype",
                            tn_dtype_name(a->dtype), "shape", shape, "min", cli_json_number(s.min),
                            "mean", cli_json_number(s.mean), "max", cli_json_number(s.max), "nans",
                            (json_int_t)s.nans, "first", first);
    if (path) json_object_set_new(out, "file", json_string(path));
    return out;
}

static tn_status report(cli *c, const cli_model *m, const tn_buffer *outputs, int count,
                        const char *const *paths, double seconds, tn_error *err) {
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        tn_port_info port;
        if (tn_model_output(m->model, i, &port) != TN_OK)
            return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
        tn_array a = cli_array_of(&outputs[i]);
        if (c->options.json)
            json_array_append_new(list, output_json(port.name, &a, paths[i]));
        else if (!paths[i])
            print_output(c, port.name, &a);
        else
            tn_log_write(TN_LOG_INFO, "wrote %s", paths[i]);
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
    const char **paths = TN_NEW_N(&c->arena, const char *, count);
    double start = tn_seconds();
    TN_CHECK(tn_session_run(*s, m->inputs, m->input_count, outputs, count, err));
    double seconds = tn_seconds() - start;
    tn_log_write(TN_LOG_INFO, "ran in %s", cli_time(c, seconds));
    if (c->options.out_dir) TN_CHECK(write_outputs(c, m->model, outputs, count, paths, err));
    return report(c, m, outputs, count, paths, seconds, err);
}

tn_status cmd_run(cli *c, tn_error *err) {
    cli_model m = {0};
    tn_session *s = NULL;
    tn_status status = run_model(c, &m, &s, err);
    tn_session_release(s);
    cli_model_close(&m);
    return status;
}
