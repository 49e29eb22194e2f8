/* Summaries and files of outputs. See outputs.h. */
#include "cli/outputs.h"

#include <math.h>
#include <stdio.h>

#include "base/io.h"

double cli_number_at(const tn_array *a, int64_t i) {
    tn_cell cell = tn_array_get(a, i);
    if (tn_dtype_is_float(a->dtype)) return cell.f;
    return tn_dtype_is_signed(a->dtype) ? (double)cell.i : (double)cell.u;
}

cli_summary cli_summarise(const tn_array *a) {
    cli_summary s = {.min = INFINITY, .max = -INFINITY};
    int64_t count = tn_array_count(a);
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        double x = cli_number_at(a, i);
        if (i < CLI_SHOWN) s.first[s.shown++] = x;
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

/* ---- words and JSON -------------------------------------------------------------------------- */

const char *cli_numbers_text(cli *c, const double *x, int count, bool more) {
    const char *text = "";
    for (int i = 0; i < count; i++)
        text = tn_arena_printf(&c->arena, "%s%s%.6g", text, i ? ", " : "", x[i]);
    return more ? tn_arena_printf(&c->arena, "%s, …", text) : text;
}

json_t *cli_numbers_json(const double *x, int count) {
    json_t *list = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(list, cli_json_number(x[i]));
    return list;
}

void cli_output_print(cli *c, const char *name, const tn_array *a) {
    cli_summary s = cli_summarise(a);
    printf("%s%s%s %s", cli_style_on(c, CLI_BOLD), name, CLI_OFF(c),
           cli_type_text(c, a->dtype, a->rank, a->dim));
    if (s.shown == 0) {
        printf("  (empty)\n");
        return;
    }
    printf("  min %.6g  mean %.6g  max %.6g", s.min, s.mean, s.max);
    if (s.nans) printf("  %lld NaN", (long long)s.nans);
    printf("\n    %s\n", cli_numbers_text(c, s.first, s.shown, tn_array_count(a) > CLI_SHOWN));
}

json_t *cli_summary_json(const cli_summary *s) {
    return json_pack("{s:o, s:o, s:o, s:I, s:o}", "min", cli_json_number(s->min), "mean",
                     cli_json_number(s->mean), "max", cli_json_number(s->max), "nans",
                     (json_int_t)s->nans, "first", cli_numbers_json(s->first, s->shown));
}

json_t *cli_output_json(const char *name, const tn_array *a, const char *path) {
    cli_summary s = cli_summarise(a);
    json_t *shape = json_array();
    for (int i = 0; i < a->rank; i++) json_array_append_new(shape, json_integer(a->dim[i]));
    json_t *out = json_pack("{s:s, s:s, s:o}", "name", name, "dtype", tn_dtype_name(a->dtype),
                            "shape", shape);
    json_object_update_new(out, cli_summary_json(&s));
    if (path) json_object_set_new(out, "file", json_string(path));
    return out;
}

/* ---- files ---------------------------------------------------------------------------------- */

static const char *output_path(cli *c, const char *name) {
    char *file = tn_arena_strdup(&c->arena, name);
    for (char *p = file; *p; p++)
        if (*p == '/') *p = '_';
    return tn_arena_printf(&c->arena, "%s/%s.npy", c->options.out_dir, file);
}

tn_status cli_outputs_write(cli *c, const char *const *names, const tn_buffer *outputs, int count,
                            const char **paths, tn_error *err) {
    TN_CHECK(tn_make_dirs(c->options.out_dir, 0777, err));
    for (int i = 0; i < count; i++) {
        paths[i] = output_path(c, names[i]);
        for (int j = 0; j < i; j++)
            if (strcmp(paths[i], paths[j]) == 0)
                return tn_error_set(err, TN_INVALID, "two outputs would be written to %s",
                                    paths[i]);
        tn_array a = cli_array_of(&outputs[i]);
        TN_TRY(err, cli_npy_write(paths[i], &a, err), "while writing output '%s'", names[i]);
        tn_log_write(TN_LOG_INFO, "wrote %s", paths[i]);
    }
    return TN_OK;
}
