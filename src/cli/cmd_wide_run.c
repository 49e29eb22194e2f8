/* tenon wide run: N models as one, once; the outputs of each member, and of the ensemble. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "cli/outputs.h"
#include "cli/wide.h"

enum { FEW_MEMBERS = 8 }; /* rows of a table without -v */

/* ---- the ensemble --------------------------------------------------------------------------- */

/* Element by element over all members: the mean and the standard deviation (that of a sample). */
typedef struct ensemble {
    double mean[CLI_SHOWN], deviation[CLI_SHOWN]; /* of the first elements */
    int shown;
    double mean_deviation,
        greatest_deviation; /* over all elements; NaN: no element has numbers only */
} ensemble;

/* Welford's method (Technometrics 4, 1962), at element i. */
static void moments(const tn_array *part, int n, int64_t i, double *mean, double *deviation) {
    double squares = 0;
    *mean = 0;
    for (int k = 0; k < n; k++) {
        double x = cli_number_at(&part[k], i), step = x - *mean;
        *mean += step / (k + 1);
        squares += step * (x - *mean);
    }
    *deviation = sqrt(squares / (n - 1));
}

static ensemble ensemble_of(const tn_array *part, int n) {
    ensemble e = {.mean_deviation = NAN, .greatest_deviation = NAN};
    int64_t count = tn_array_count(&part[0]), numbers = 0;
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        double mean, deviation;
        moments(part, n, i, &mean, &deviation);
        if (i < CLI_SHOWN) {
            e.mean[e.shown] = mean;
            e.deviation[e.shown++] = deviation;
        }
        if (!isfinite(deviation)) continue;
        sum += deviation;
        numbers++;
        e.greatest_deviation = fmax(e.greatest_deviation, deviation);
    }
    if (numbers) e.mean_deviation = sum / (double)numbers;
    return e;
}

/* ---- reports -------------------------------------------------------------------------------- */

static void print_members(cli *c, const tn_array *part, int n) {
    cli_table t = cli_table_of(c, "rrrrrl", true);
    int rows = n <= FEW_MEMBERS + 1 || c->options.verbose ? n : FEW_MEMBERS;
    const char *names[] = {"  member", "min", "mean", "max", "NaN", "first values"};
    for (int i = 0; i < t.columns; i++) cli_table_cell(&t, "%s", names[i]);
    for (int k = 0; k < rows; k++) {
        cli_summary s = cli_summarise(&part[k]);
        cli_table_cell(&t, "%d", k);
        cli_table_cell(&t, "%.6g", s.min);
        cli_table_cell(&t, "%.6g", s.mean);
        cli_table_cell(&t, "%.6g", s.max);
        cli_table_cell(&t, "%s",
                       s.nans ? tn_arena_printf(&c->arena, "%lld", (long long)s.nans) : "");
        cli_table_cell(&t, "%s",
                       cli_numbers_text(c, s.first, s.shown, tn_array_count(&part[k]) > CLI_SHOWN));
    }
    cli_table_print(&t);
    if (rows < n) printf("       …  %d more members; -v shows them\n", n - rows);
}

static void print_ensemble(cli *c, const ensemble *e, int64_t count) {
    const char *text = "";
    for (int i = 0; i < e->shown; i++)
        text = tn_arena_printf(&c->arena, "%s%s%.4g ± %.2g", text, i ? ", " : "", e->mean[i],
                               e->deviation[i]);
    printf("  ensemble   %s%s\n", text, count > CLI_SHOWN ? ", …" : "");
    printf("  deviation  mean %.4g, greatest %.4g\n", e->mean_deviation, e->greatest_deviation);
}

static json_t *members_json(const tn_array *part, int n) {
    json_t *list = json_array();
    for (int k = 0; k < n; k++) {
        cli_summary s = cli_summarise(&part[k]);
        json_array_append_new(list, cli_summary_json(&s));
    }
    return list;
}

static json_t *ensemble_json(const ensemble *e) {
    return json_pack("{s:o, s:o, s:o, s:o}", "mean", cli_numbers_json(e->mean, e->shown),
                     "deviation", cli_numbers_json(e->deviation, e->shown), "mean_deviation",
                     cli_json_number(e->mean_deviation), "greatest_deviation",
                     cli_json_number(e->greatest_deviation));
}

static tn_status report_output(cli *c, const cli_wide *w, int i, const char *path, json_t *list,
                               tn_error *err) {
    tn_array all = cli_array_of(&w->outputs[i]);
    tn_buffer *part = TN_NEW_N(&c->arena, tn_buffer, w->n);
    tn_array *member = TN_NEW_N(&c->arena, tn_array, w->n);
    TN_CHECK(cli_wide_parts(c, w, &w->outputs[i], part, err));
    for (int k = 0; k < w->n; k++) member[k] = cli_array_of(&part[k]);
    bool one = w->n == 1;
    ensemble e = {0};
    if (!one) e = ensemble_of(member, w->n);
    if (c->options.json) {
        json_t *out = cli_output_json(w->out[i].name, &all, path);
        json_object_set_new(out, "members", members_json(member, w->n));
        json_object_set_new(out, "ensemble", one ? json_null() : ensemble_json(&e));
        json_array_append_new(list, out);
        return TN_OK;
    }
    if (path) return TN_OK;
    printf("%s%s%s %s\n", cli_style_on(c, CLI_BOLD), w->out[i].name, CLI_OFF(c),
           cli_type_text(c, all.dtype, all.rank, all.dim));
    int64_t count = tn_array_count(&member[0]);
    if (count == 0) {
        printf("  no elements\n");
        return TN_OK;
    }
    print_members(c, member, w->n);
    if (!one) print_ensemble(c, &e, count);
    return TN_OK;
}

static tn_status report(cli *c, const cli_wide *w, double seconds, tn_error *err) {
    const char **names = TN_NEW_N(&c->arena, const char *, w->out_count);
    const char **paths = TN_NEW_N(&c->arena, const char *, w->out_count);
    for (int i = 0; i < w->out_count; i++) names[i] = w->out[i].name;
    if (c->options.out_dir)
        TN_CHECK(cli_outputs_write(c, names, w->outputs, w->out_count, paths, err));
    json_t *list = json_array();
    tn_status status = TN_OK;
    for (int i = 0; i < w->out_count && status == TN_OK; i++)
        status = report_output(c, w, i, paths[i], list, err);
    if (status != TN_OK || !c->options.json) {
        json_decref(list);
        return status;
    }
    return cli_json(c,
                    json_pack("{s:s, s:i, s:i, s:f, s:o}", "schema", "tenon.wide.run/1", "n", w->n,
                              "groups", tn_wide_group_count(w->wide), "run_ms", seconds * 1e3,
                              "outputs", list),
                    err);
}

/* ---- the action ----------------------------------------------------------------------------- */

static tn_status run(cli *c, cli_wide *w, tn_error *err) {
    cli_roster roster;
    int *n, count;
    const char *random = c->options.random;
    cli_missing missing = random ? CLI_MISSING_RANDOM : CLI_MISSING_IS_ERROR;
    TN_CHECK(cli_roster_read(c, &roster, err));
    TN_CHECK(cli_roster_sizes(c, &roster, false, &n, &count, err));
    TN_CHECK(cli_wide_tune_first(c, &roster, n[0], missing, random, err));
    TN_CHECK(cli_wide_open(c, &roster, 0, n[0], w, err));
    TN_CHECK(cli_wide_bind(c, w, missing, random, err));
    double start = tn_seconds();
    TN_CHECK(cli_wide_run(w, err));
    double seconds = tn_seconds() - start;
    TN_CHECK(cli_dump_check(c, &w->dump, err));
    tn_log_write(TN_LOG_INFO, "ran in %s, compiling included", cli_time(c, seconds));
    return report(c, w, seconds, err);
}

tn_status cmd_wide_run(cli *c, tn_error *err) {
    cli_wide w = {0};
    tn_status status = run(c, &w, err);
    cli_wide_close(&w);
    return status;
}
