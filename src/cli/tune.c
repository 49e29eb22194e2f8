/* Tuning for the verbs that compile. See tune.h. */
#include "cli/tune.h"

#include <math.h>
#include <stdio.h>

#include "base/io.h"
#include "cli/output.h"
#include "session/tune.h"

static const char *record_text(cli *c, const tn_schedule *s, tn_group_kind kind) {
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(&c->arena));
    tn_schedule_print(s, kind, &text);
    return tn_str_text(&text);
}

static void print_improved(void *context, const tn_tune_site *s) {
    cli *c = context;
    if (c->options.quiet) return;
    fprintf(stderr, "tuned %s: %s, was %s: %s -> %s\n", s->name, record_text(c, &s->best, s->kind),
            record_text(c, &s->start, s->kind), cli_time(c, s->before), cli_time(c, s->after));
}

const char *cli_piece_text(cli *c, int64_t piece) {
    if (piece < 0) return "as a whole";
    return tn_arena_printf(&c->arena, "in pieces of %lld", (long long)piece);
}

static void print_cut(cli *c, const tn_tune_result *r) {
    if (r->cut.piece == 0) return;
    fprintf(stderr, "tuned batch: %s, best of %u other ways: %s -> %s\n",
            cli_piece_text(c, r->cut.piece), r->cuts, cli_time(c, r->cut.before),
            cli_time(c, r->cut.after));
}

tn_status cli_tune_model(cli *c, tn_model *m, const char *name, const tn_buffer *inputs, int count,
                         tn_error *err) {
    tn_tune_options options = {c->options.tune, print_improved, c};
    tn_tune_result r;
    double start = tn_seconds();
    TN_TRY(err, tn_model_tune(m, inputs, count, &options, &r, err), "while tuning %s", name);
    if (c->options.quiet) return TN_OK;
    print_cut(c, &r);
    fprintf(stderr, "tuning: %u schedules of %u kernels in %u rounds, %s; %d kept: %s -> %s\n",
            r.tried, r.kernels, r.rounds, cli_time(c, tn_seconds() - start), r.kept,
            cli_time(c, r.before), cli_time(c, r.after));
    return TN_OK;
}

static tn_status tune(cli *c, cli_model *m, cli_missing missing, const char *seed, tn_error *err) {
    TN_CHECK(cli_model_options(c, &m->options, &m->dump, err));
    m->options.dump = NULL;
    TN_CHECK(cli_model_reopen(c, m, err));
    TN_CHECK(cli_model_bind(c, m, missing, seed, err));
    return cli_tune_model(c, m->model, m->path, m->inputs, m->input_count, err);
}

tn_status cli_tune_wanted(cli *c, bool *wanted, tn_error *err) {
    const cli_options *o = &c->options;
    *wanted = !isnan(o->tune);
    if (!*wanted) return TN_OK;
    if (o->tune > 86400) return cli_usage(c, err, "--tune: %g seconds are too many", o->tune);
    if (o->no_cache || o->no_tuned || o->no_opt || o->interpret)
        return cli_usage(c, err, "--tune does not go with --%s",
                         o->no_cache   ? "no-cache"
                         : o->no_tuned ? "no-tuned"
                         : o->no_opt   ? "no-opt"
                                       : "interpret");
    return TN_OK;
}

tn_status cli_tune_first(cli *c, cli_missing missing, const char *seed, tn_error *err) {
    bool wanted;
    TN_CHECK(cli_tune_wanted(c, &wanted, err));
    if (!wanted) return TN_OK;
    cli_model m = {.path = c->options.positional.at[0]};
    tn_status status = tune(c, &m, missing, seed, err);
    cli_model_close(&m);
    return status;
}
