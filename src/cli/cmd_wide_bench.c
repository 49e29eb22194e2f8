/* tenon wide bench: N models as one beside a loop over N programs, for several N. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "cli/output.h"
#include "cli/tune.h"
#include "cli/wide_measure.h"

/* ---- JSON ----------------------------------------------------------------------------------- */

static json_t *strategies_json(const cli_wide_result *r) {
    json_t *out = json_object();
    for (int s = 0; s < CLI_STRATEGIES; s++)
        if (r->strategies[s])
            json_object_set_new(out, cli_strategy_name((tn_wide_strategy)s),
                                json_integer(r->strategies[s]));
    return out;
}

static json_t *line_of(const char *model, const cli_wide_result *r) {
    json_t *out =
        json_pack("{s:s, s:s, s:i}", "schema", "tenon.wide.bench/1", "model", model, "n", r->n);
    if (r->refused)
        return json_object_update_new(out,
                                      json_pack("{s:n, s:n, s:n, s:n, s:s}", "wide_ms", "loop_ms",
                                                "valid", "max_abs_diff", "refused", r->refused))
                   ? NULL
                   : out;
    json_t *more = json_pack(
        "{s:f, s:o, s:b, s:o, s:o, s:o, s:f, s:f, s:i, s:i, s:f}", "wide_ms", r->wide * 1e3,
        "loop_ms", cli_json_number(r->loop * 1e3), "valid", r->valid, "max_abs_diff",
        cli_json_number(r->max_abs_diff), "max_rel_diff", cli_json_number(r->max_rel_diff), "gain",
        cli_json_number(r->gain), "member_ms", r->wide * 1e3 / r->n, "members_per_s",
        r->n / r->wide, "pairs", r->pairs, "threads", r->threads, "compile_ms", r->compile * 1e3);
    json_object_update_new(out, more);
    more = json_pack("{s:i, s:o, s:I, s:I, s:I, s:o}", "groups", r->groups, "strategies",
                     strategies_json(r), "shared_weights", (json_int_t)r->shared_weights,
                     "own_weights", (json_int_t)r->own_weights, "wide_bytes",
                     (json_int_t)r->wide_bytes, "loop_bytes",
                     isnan(r->loop) ? json_null() : json_integer(r->loop_bytes));
    json_object_update_new(out, more);
    return out;
}

/* Standard output and the file of -o. */
static tn_status emit(cli *c, json_t *line, tn_str *file, tn_error *err) {
    if (line && c->options.out_file) {
        char *text = json_dumps(line, JSON_REAL_PRECISION(9));
        if (text) tn_str_appendf(file, "%s\n", text);
        free(text);
    }
    if (!c->options.json) {
        json_decref(line);
        return TN_OK;
    }
    TN_CHECK(cli_json_line(c, line, err));
    return cli_flush(err);
}

/* ---- the table ------------------------------------------------------------------------------ */

enum { COLUMNS = 7 };
static const int widths[COLUMNS] = {6, 10, 10, 8, 12, 10, 10};

/* Rows are printed as they are measured. */
static void print_row(cli *c, const char *const *cells, int count) {
    for (int i = 0; i < count; i++)
        printf("%*s%s", TN_MAX(1, widths[i] - cli_text_width(cells[i])), "", cells[i]);
    putchar('\n');
    fflush(stdout);
    (void)c;
}

static void print_heading(cli *c) {
    static const char *const names[COLUMNS] = {"N",         "wide",     "loop",  "gain",
                                               "µs/member", "max diff", "memory"};
    printf("%s", cli_style_on(c, CLI_BOLD));
    print_row(c, names, COLUMNS);
    printf("%s", CLI_OFF(c));
}

static void print_more(cli *c, const cli_wide_result *r) {
    printf(
        "%*s  %d pair%s, %d group%s, %s weights of each member, %s of all, loop %s, compile %s\n",
        widths[0], "", r->pairs, r->pairs > 1 ? "s" : "", r->groups, r->groups > 1 ? "s" : "",
        cli_si(c, (double)r->own_weights), cli_si(c, (double)r->shared_weights),
        isnan(r->loop) ? "does not fit" : cli_bytes(c, (double)r->loop_bytes),
        cli_time(c, r->compile));
    printf("%*s  operations:", widths[0], "");
    for (int s = 0; s < CLI_STRATEGIES; s++)
        if (r->strategies[s])
            printf(" %d %s", r->strategies[s], cli_strategy_name((tn_wide_strategy)s));
    putchar('\n');
}

static void print_result(cli *c, const cli_wide_result *r) {
    const char *n = tn_arena_printf(&c->arena, "%d", r->n);
    if (r->refused) {
        printf("%*s  does not fit: %s\n", widths[0], n, r->refused);
        return;
    }
    bool timed = !isnan(r->loop);
    const char *cells[COLUMNS] = {
        n,
        cli_time(c, r->wide),
        timed ? cli_time(c, r->loop) : "no memory",
        timed ? tn_arena_printf(&c->arena, "%.2f×", r->gain) : "",
        tn_arena_printf(&c->arena, "%.3g", r->wide * 1e6 / r->n),
        tn_arena_printf(&c->arena, r->valid ? "%.1e" : "WRONG %.1e", r->max_rel_diff),
        cli_bytes(c, (double)r->wide_bytes)};
    print_row(c, cells, COLUMNS);
    if (c->options.verbose) print_more(c, r);
}

/* ---- the action ----------------------------------------------------------------------------- */

static tn_status bench(cli *c, tn_str *file, tn_error *err) {
    cli_roster roster;
    int *n, count;
    bool tuned;
    TN_CHECK(cli_tune_wanted(c, &tuned, err));
    TN_CHECK(cli_roster_read(c, &roster, err));
    TN_CHECK(cli_roster_sizes(c, &roster, true, &n, &count, err));
    for (int i = 0; i < count; i++) {
        cli_wide_result r;
        TN_TRY(err, cli_wide_measure(c, &roster, n[i], &r, err), "N = %d", n[i]);
        if (!r.refused && !r.valid) c->failed = true;
        if (!c->options.json && i == 0) print_heading(c);
        if (!c->options.json) print_result(c, &r);
        TN_CHECK(emit(c, line_of(roster.models[0], &r), file, err));
        if (c->options.out_file) /* with what there is: an interrupted run keeps it */
            TN_CHECK(tn_file_write(c->options.out_file, file->data, file->len, false, err));
    }
    return TN_OK;
}

tn_status cmd_wide_bench(cli *c, tn_error *err) {
    tn_str file;
    tn_str_init(&file);
    tn_status status = bench(c, &file, err);
    tn_str_deinit(&file);
    return status;
}
