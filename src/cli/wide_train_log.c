/* See wide_train_log.h. */
#include "cli/wide_train_log.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "cli/output.h"
#include "cli/wide.h"

/* ---- the best ------------------------------------------------------------------------------- */

/* Greater is better; NAN: not known. */
static double score(const wide_record *r, int i) {
    const member_record *m = &r->of[i];
    if (r->evaluated && isfinite(m->eval_loss) && isfinite(m->accuracy)) return m->accuracy;
    double loss = r->evaluated ? m->eval_loss : m->loss;
    return isfinite(loss) ? -loss : NAN;
}

/* Among equal accuracies the lower loss. */
int cli_wide_best(const wide_record *r) {
    int best = -1;
    for (int i = 0; i < r->members; i++) {
        double x = score(r, i), y = best < 0 ? NAN : score(r, best);
        bool lower = best >= 0 && x == y && r->of[i].eval_loss < r->of[best].eval_loss;
        if (!isnan(x) && (isnan(y) || x > y || lower)) best = i;
    }
    return best;
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void add_numbers(json_t *o, const char *key, const wide_record *r, size_t offset) {
    json_t *list = json_array();
    for (int i = 0; i < r->members; i++) {
        double x = *(const double *)(const void *)((const char *)&r->of[i] + offset);
        json_array_append_new(list, cli_json_number(x));
    }
    json_object_set_new(o, key, list);
}

static void add_flags(json_t *o, const char *key, const wide_record *r, size_t offset) {
    json_t *list = json_array();
    for (int i = 0; i < r->members; i++)
        json_array_append_new(list,
                              json_boolean(*(const bool *)((const char *)&r->of[i] + offset)));
    json_object_set_new(o, key, list);
}

static void add_nodes(json_t *o, const tn_population_step *step) {
    json_t *list = json_array();
    tn_wide_node_info n;
    for (int i = 0; tn_population_step_node(step, i, &n) == TN_OK; i++)
        json_array_append_new(list, cli_strategy_json(&n));
    json_object_set_new(o, "nodes", list);
}

static json_t *record_json(const wide_record *r) {
    int best = cli_wide_best(r);
    json_t *o = json_pack("{s:s, s:I, s:i, s:f, s:f}", "schema", "tenon.wide.train/1", "step",
                          (json_int_t)r->step, "members", r->members, "step_ms", r->step_ms,
                          "wait_ms", r->wait_ms);
    if (!o) return NULL;
    add_numbers(o, "loss", r, offsetof(member_record, loss));
    add_numbers(o, "grad_norm", r, offsetof(member_record, grad_norm));
    add_numbers(o, "lr", r, offsetof(member_record, lr));
    add_flags(o, "updated", r, offsetof(member_record, updated));
    add_flags(o, "active", r, offsetof(member_record, active));
    if (r->evaluated) {
        add_numbers(o, "eval_loss", r, offsetof(member_record, eval_loss));
        add_numbers(o, "eval_accuracy", r, offsetof(member_record, accuracy));
        json_object_set_new(o, "ensemble_accuracy", cli_json_number(r->ensemble));
    }
    json_object_set_new(o, "best", best < 0 ? json_null() : json_integer(best));
    if (r->how) add_nodes(o, r->how);
    return o;
}

static tn_status write_file(const train_log *log, const wide_record *r, tn_error *err) {
    json_t *o = record_json(r);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (!text) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    bool ok = fprintf(log->file, "%s\n", text) > 0 && fflush(log->file) == 0;
    free(text);
    if (ok) return TN_OK;
    return tn_error_set(err, TN_IO, "train.log: cannot write %s: %s", log->path, strerror(errno));
}

/* ---- for people ----------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* "0.12 … 0.34 … 2.3": the least, the median, the greatest of those that are finite; of one its loss. */
static const char *spread(cli *c, const wide_record *r) {
    double *x = TN_NEW_N(&c->arena, double, r->members);
    int n = 0;
    for (int i = 0; i < r->members; i++)
        if (isfinite(r->of[i].loss)) x[n++] = r->of[i].loss;
    if (n == 0) return "of no member finite";
    qsort(x, (size_t)n, sizeof *x, ascending);
    if (r->members == 1) return tn_arena_printf(&c->arena, "%.4f", x[0]);
    double median = (x[(n - 1) / 2] + x[n / 2]) / 2;
    return tn_arena_printf(&c->arena, "%.4f … %.4f … %.4f", x[0], median, x[n - 1]);
}

/* "members: 6 batched, 20 elements" */
static void print_strategies(const tn_population_step *step) {
    int each[TN_WIDE_ALONE + 1] = {0}, kinds = 0;
    tn_wide_node_info n;
    for (int i = 0; tn_population_step_node(step, i, &n) == TN_OK; i++) each[n.strategy]++;
    for (int s = 0; s <= TN_WIDE_ALONE; s++)
        if (each[s])
            printf("%s%d %s", kinds++ ? ", " : "operations: ", each[s],
                   cli_strategy_name((tn_wide_strategy)s));
    if (kinds) printf("\n");
}

static void print_line(const train_log *log, const wide_record *r) {
    cli *c = log->c;
    int best = cli_wide_best(r), stopped = 0;
    for (int i = 0; i < r->members; i++) stopped += !r->of[i].active;
    printf("step %lld  loss %s", (long long)r->step, spread(c, r));
    if (best >= 0) printf("  best: member %d, lr %.3g", best, r->of[best].lr);
    if (stopped) printf("  stopped %d", stopped);
    printf("  %s %s/s", cli_si(c, log->items * r->members / (r->step_ms * 1e-3)), log->unit);
    if (r->evaluated && best >= 0) {
        printf("  held out: loss %.4f", r->of[best].eval_loss);
        if (!isnan(r->of[best].accuracy))
            printf(", %.2f %% right, of the ensemble %.2f %%", 100 * r->of[best].accuracy,
                   100 * r->ensemble);
    }
    printf("\n");
    fflush(stdout);
}

tn_status cli_wide_log_step(train_log *log, const wide_record *r, tn_error *err) {
    bool line = r->evaluated || r->step == log->steps || r->step % log->every == 0;
    if (log->file) TN_CHECK(write_file(log, r, err));
    if (log->c->options.json) return cli_json_line(log->c, record_json(r), err);
    if (r->how && !log->c->options.quiet) print_strategies(r->how);
    if (line && !log->c->options.quiet) print_line(log, r);
    return TN_OK;
}

/* ---- the page ------------------------------------------------------------------------------- */

enum { POINTS = 1024, CURVES = 4 }; /* curves: kinds of them, each of every member */

static void thin(wide_report *report) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < report->at.len; i += 2) report->at.data[kept++] = report->at.data[i];
    report->at.len = kept;
    report->stride *= 2;
}

void cli_wide_report_add(cli *c, wide_report *report, const wide_record *r) {
    int n = r->members;
    report->stride = TN_MAX(1, report->stride);
    if (r->step % report->stride != 0 && !r->evaluated) return;
    if (report->at.len == POINTS) thin(report);
    double *row = TN_NEW_N(&c->arena, double, 1 + CURVES * n);
    row[0] = (double)r->step;
    for (int i = 0; i < n; i++) {
        const member_record *m = &r->of[i];
        const double y[CURVES] = {m->loss, r->evaluated ? m->eval_loss : NAN,
                                  r->evaluated ? m->accuracy : NAN, m->grad_norm};
        for (int k = 0; k < CURVES; k++) row[1 + k * n + i] = y[k];
    }
    tn_vec_push(&c->arena, &report->at, row);
}

static json_t *charts(const char *const *names, int members) {
    static const char *const titles[CURVES] = {
        "loss", "loss on what is held out", "right, of what is held out", "norm of the gradients"};
    json_t *list = json_array();
    for (int k = 0; k < CURVES; k++) {
        json_t *curves = json_array();
        for (int i = 0; i < members; i++)
            json_array_append_new(curves, json_pack("[s, i]", names[i], 1 + k * members + i));
        json_array_append_new(list, json_pack("[s, o]", titles[k], curves));
    }
    return list;
}

tn_status cli_wide_report_write(const wide_report *report, const char *title,
                                const char *const *names, int members, const char *path,
                                tn_error *err) {
    json_t *points = json_array();
    for (uint32_t i = 0; i < report->at.len; i++) {
        json_t *point = json_array();
        for (int k = 0; k < 1 + CURVES * members; k++)
            json_array_append_new(point, cli_json_number(report->at.data[i][k]));
        json_array_append_new(points, point);
    }
    json_t *data = json_pack("{s:s, s:o, s:o, s:n}", "title", title, "points", points, "charts",
                             charts(names, members), "samples");
    return cli_train_page_write(data, path, err);
}
