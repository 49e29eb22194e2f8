/* tenon bench: steady latency, compile time, and how far from the machine's roofs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "cli/compounds.h"
#include "cli/report.h"
#include "cli/tune.h"

enum { DEFAULT_WARMUP = 3, MOST_RUNS = 1000, FEWEST_RUNS = 5 };
#define DEFAULT_SECONDS 1.0

typedef struct latency {
    double min, median, p95; /* seconds */
    int runs;
} latency;

typedef struct compile_times {
    double cold, warm; /* seconds from opening the file to a bound session; NaN: not measured */
} compile_times;

/* ---- compile time --------------------------------------------------------------------------- */

/* Opens, compiles and binds; *cold: nothing came from a cache. */
static tn_status open_and_bind(cli *c, cli_model *m, tn_session **s, double *seconds, bool *cold,
                               tn_error *err) {
    const tn_buffer *inputs = m->inputs;
    int count = m->input_count;
    double start = tn_seconds();
    tn_model *model = NULL;
    TN_CHECK(tn_model_open(m->path, &m->options, &model, err));
    double opened = tn_seconds() - start;
    m->model = model;
    if (!inputs && (cli_has_unbound(model) || c->options.tensors.count)) {
        start = tn_seconds();
        tn_model_release(model);
        m->model = NULL;
        TN_CHECK(cli_model_reopen(c, m, err));
        opened = tn_seconds() - start;
    }
    if (!inputs) { /* not measured: files of inputs are read, others made up */
        TN_CHECK(cli_model_bind(c, m, CLI_MISSING_RANDOM, c->options.seed, err));
        inputs = m->inputs;
        count = m->input_count;
    }
    start = tn_seconds();
    TN_CHECK(tn_session_create(m->model, s, err));
    TN_CHECK(tn_session_bind(*s, inputs, count, err));
    const tn_artifact_stats *t = &tn_session_artifact(*s)->stats;
    *seconds = opened + tn_seconds() - start;
    *cold = !t->program_cached && !t->kernels_cached;
    return TN_OK;
}

/* The same once more; only the time is kept. */
static tn_status time_compile(cli *c, const cli_model *like, bool no_cache, double *seconds,
                              tn_error *err) {
    cli_model m = *like;
    tn_session *s = NULL;
    bool cold;
    m.model = NULL;
    m.options.no_cache = no_cache;
    m.options.dump = NULL;
    tn_status status = open_and_bind(c, &m, &s, seconds, &cold, err);
    tn_session_release(s);
    tn_model_release(m.model);
    return status;
}

/* A .tn program was planned before: what is left of compiling is the same for both. */
static tn_status measure_compile(cli *c, const cli_model *m, double first, bool first_was_cold,
                                 compile_times *out, tn_error *err) {
    out->cold = first;
    if (!first_was_cold) TN_CHECK(time_compile(c, m, true, &out->cold, err));
    out->warm = out->cold;
    if (c->options.no_cache) return TN_OK;
    return time_compile(c, m, false, &out->warm, err);
}

/* ---- latency -------------------------------------------------------------------------------- */

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static tn_status run_once(tn_session *s, const cli_model *m, tn_buffer *outputs, double *seconds,
                          tn_error *err) {
    double start = tn_seconds();
    TN_CHECK(
        tn_session_run(s, m->inputs, m->input_count, outputs, tn_session_output_count(s), err));
    *seconds = tn_seconds() - start;
    return TN_OK;
}

static tn_status measure_latency(cli *c, const cli_model *m, tn_session *s, latency *out,
                                 tn_error *err) {
    tn_buffer *outputs = TN_NEW_N(&c->arena, tn_buffer, tn_session_output_count(s));
    int64_t warmup = c->options.warmup > 0 ? c->options.warmup : DEFAULT_WARMUP;
    double last = 0;
    for (int64_t i = 0; i < warmup; i++) TN_CHECK(run_once(s, m, outputs, &last, err));
    int64_t runs = c->options.runs;
    if (runs == 0) {
        double fit = DEFAULT_SECONDS / TN_MAX(last, 1e-9);
        runs = fit < FEWEST_RUNS ? FEWEST_RUNS : fit > MOST_RUNS ? MOST_RUNS : (int64_t)fit;
    }
    if (runs > 10000000) return cli_usage(c, err, "-r: %lld runs are too many", (long long)runs);
    double *seconds = TN_NEW_N(&c->arena, double, runs);
    for (int64_t i = 0; i < runs; i++) TN_CHECK(run_once(s, m, outputs, &seconds[i], err));
    qsort(seconds, (size_t)runs, sizeof *seconds, compare_doubles);
    out->runs = (int)runs;
    out->min = seconds[0];
    out->median = (seconds[(runs - 1) / 2] + seconds[runs / 2]) / 2;
    out->p95 = seconds[(runs - 1) * 95 / 100];
    return TN_OK;
}

/* ---- reports -------------------------------------------------------------------------------- */

typedef struct result {
    latency latency;
    compile_times compile;
    cli_steps steps;
    cli_roofs roofs;
    uint64_t peak, weights;
    int threads;
} result;

static json_t *steps_json(const cli_steps *steps) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < steps->len; i++) {
        const cli_step *s = &steps->data[i];
        json_array_append_new(list, json_pack("{s:s, s:f, s:I, s:o, s:o}", "kernel",
                                              s->step->name ? s->step->name : "", "ms",
                                              s->seconds * 1e3, "launches", (json_int_t)s->runs,
                                              "flops", cli_json_number(s->flops), "bytes",
                                              cli_json_number(s->bytes)));
    }
    return list;
}

static tn_status print_json(cli *c, const cli_model *m, const result *r, tn_error *err) {
    double seconds = r->latency.median;
    json_t *roofs = r->roofs.known
                        ? json_pack("{s:s, s:f, s:f, s:f, s:i}", "profile", r->roofs.id, "gflops",
                                    r->roofs.gflops, "read_gbs", r->roofs.read_gbs, "copy_gbs",
                                    r->roofs.copy_gbs, "threads", r->roofs.threads)
                        : json_null();
    json_t *out = json_pack(
        "{s:s, s:s, s:i, s:i, s:{s:f, s:f, s:f}, s:{s:o, s:o}, s:I, s:I, s:o, s:o, s:f, s:f, s:o}",
        "schema", "tenon.bench/1", "model", m->path, "threads", r->threads, "runs", r->latency.runs,
        "latency_ms", "min", r->latency.min * 1e3, "median", seconds * 1e3, "p95",
        r->latency.p95 * 1e3, "compile_ms", "cold", cli_json_number(r->compile.cold * 1e3), "warm",
        cli_json_number(r->compile.warm * 1e3), "peak_bytes", (json_int_t)r->peak, "weight_bytes",
        (json_int_t)r->weights, "flops", cli_json_number(cli_steps_flops(&r->steps)), "bytes",
        cli_json_number(cli_steps_bytes(&r->steps)), "gflops",
        cli_steps_flops(&r->steps) / seconds * 1e-9, "gbs",
        cli_steps_bytes(&r->steps) / seconds * 1e-9, "roofs", roofs);
    if (out && c->options.verbose) json_object_set_new(out, "steps", steps_json(&r->steps));
    return cli_json_line(c, out, err);
}

static void print_text(cli *c, const result *r) {
    double seconds = r->latency.median;
    double gflops = cli_steps_flops(&r->steps) / seconds * 1e-9;
    double gbs = cli_steps_bytes(&r->steps) / seconds * 1e-9;
    printf("latency   %s%s%s median, %s min, %s p95  (%d runs, %d thread%s)\n",
           cli_style_on(c, CLI_BOLD), cli_time(c, seconds), CLI_OFF(c), cli_time(c, r->latency.min),
           cli_time(c, r->latency.p95), r->latency.runs, r->threads, r->threads > 1 ? "s" : "");
    if (!isnan(r->compile.cold))
        printf("compile   %s cold, %s warm\n", cli_time(c, r->compile.cold),
               cli_time(c, r->compile.warm));
    printf("memory    %s, %s of it weights\n", cli_bytes(c, (double)r->peak),
           cli_bytes(c, (double)r->weights));
    if (r->roofs.known)
        printf("achieved  %.1f GFLOP/s (%.0f %% of %.1f), %.1f GB/s (%.0f %% of %.1f)\n", gflops,
               100 * gflops / r->roofs.gflops, r->roofs.gflops, gbs, 100 * gbs / r->roofs.read_gbs,
               r->roofs.read_gbs);
    else
        printf("achieved  %.1f GFLOP/s, %.1f GB/s  (tenon doctor --measure finds the roofs)\n",
               gflops, gbs);
    if (c->options.verbose) {
        putchar('\n');
        cli_steps_print(c, &r->steps, &r->roofs);
    }
}

static tn_status bench(cli *c, cli_model *m, tn_session **s, tn_error *err) {
    result r = {.compile = {NAN, NAN}};
    double first;
    bool cold;
    m->path = c->options.positional.at[0];
    TN_CHECK(cli_tune_first(c, CLI_MISSING_RANDOM, c->options.seed, err));
    TN_CHECK(cli_model_options(c, &m->options, &m->dump, err));
    TN_CHECK(open_and_bind(c, m, s, &first, &cold, err));
    TN_CHECK(cli_dump_check(c, &m->dump, err));
    r.threads = tn_model_threads(m->model);
    TN_CHECK(measure_latency(c, m, *s, &r.latency, err));
    r.steps = cli_steps_of(c, *s);
    TN_CHECK(cli_steps_profile(&r.steps, *s, m, TN_MIN(r.latency.runs, 10), err));
    r.peak = cli_peak_bytes(m, *s);
    r.weights = cli_weight_bytes(tn_session_artifact(*s));
    r.roofs = cli_roofs_read(c);
    tn_session_release(*s); /* its memory is not needed while compiling again */
    *s = NULL;
    if (!c->options.steady) TN_CHECK(measure_compile(c, m, first, cold, &r.compile, err));
    if (c->options.json) return print_json(c, m, &r, err);
    print_text(c, &r);
    return TN_OK;
}

tn_status cmd_bench(cli *c, tn_error *err) {
    cli_model m = {0};
    tn_session *s = NULL;
    tn_status status = bench(c, &m, &s, err);
    tn_session_release(s);
    cli_model_close(&m);
    return status;
}
