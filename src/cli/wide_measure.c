/* Validating and timing a wide model beside its members alone. See wide_measure.h. */
#include "cli/wide_measure.h"

#include <math.h>
#include <stdlib.h>

#include "base/io.h"
#include "cli/output.h"
#include "cli/outputs.h"
#include "cli/wide_alone.h"
#include "machine/detect.h"

#define TOLERANCE       1e-5
#define SAMPLE_SECONDS  2e-3 /* of a sample of short runs */
#define DEFAULT_SECONDS 1.0  /* of all samples */
enum { FEWEST_PAIRS = 5, MOST_PAIRS = 100, MOST_RUNS = 1000, DEFAULT_WARMUP = 3 };

/* ---- validating ----------------------------------------------------------------------------- */

/* Between two rounded results: a unit in the last place each. */
static double tolerance_of(tn_dtype dtype) {
    switch (dtype) {
    case TN_f16:
        return 0x1p-10;
    case TN_bf16:
        return 0x1p-7;
    default:
        return TOLERANCE;
    }
}

static void compare(const tn_array *alone, const tn_array *wide, cli_wide_result *r) {
    int64_t count = tn_array_count(alone);
    double difference = 0, magnitude = 0;
    for (int64_t i = 0; i < count; i++) {
        double x = cli_number_at(alone, i), y = cli_number_at(wide, i);
        if (isfinite(x)) magnitude = fmax(magnitude, fabs(x));
        if (x == y || (isnan(x) && isnan(y))) continue;
        difference = isfinite(x) && isfinite(y) ? fmax(difference, fabs(x - y)) : INFINITY;
    }
    double relative = difference > 0 ? difference / magnitude : 0;
    r->max_abs_diff = fmax(r->max_abs_diff, difference);
    r->max_rel_diff = fmax(r->max_rel_diff, relative);
    r->valid &= relative <= tolerance_of(alone->dtype);
}

typedef struct bench {
    cli *c;
    const cli_roster *roster;
    cli_wide wide;
    cli_alone alone;
    tn_buffer **part; /* part[k][i]: output k of member i */
    bool loop_fits;
    cli_wide_result *r;
} bench;

static void compare_member(bench *b, int i) {
    for (int k = 0; k < b->wide.out_count; k++) {
        tn_array alone = cli_array_of(cli_alone_output(&b->alone, i, k));
        tn_array wide = cli_array_of(&b->part[k][i]);
        compare(&alone, &wide, b->r);
    }
}

/* Programs of all members stay open for the loop, if the machine has the memory. */
static tn_status validate(bench *b, tn_error *err) {
    cli *c = b->c;
    tn_host machine;
    b->r->valid = b->loop_fits = true;
    b->part = TN_NEW_N(&c->arena, tn_buffer *, b->wide.out_count);
    for (int k = 0; k < b->wide.out_count; k++) {
        b->part[k] = TN_NEW_N(&c->arena, tn_buffer, b->wide.n);
        TN_CHECK(cli_wide_parts(c, &b->wide, &b->wide.outputs[k], b->part[k], err));
    }
    TN_CHECK(cli_alone_init(c, &b->wide, &b->alone, err));
    TN_CHECK(cli_alone_tune(c, &b->alone, 0, err));
    for (int i = 0; i < b->wide.n; i++) {
        TN_CHECK(cli_alone_open(&b->alone, i, err));
        compare_member(b, i);
        if (i == 0) {
            tn_host_detect(&machine);
            b->loop_fits = (double)b->alone.bytes * (b->wide.n - 1) < (double)machine.memory_free;
        }
        if (!b->loop_fits) cli_alone_close(&b->alone, i);
    }
    b->r->loop_bytes = b->alone.bytes;
    return TN_OK;
}

/* ---- timing --------------------------------------------------------------------------------- */

static tn_status run_wide(bench *b, tn_error *err) {
    return cli_wide_run(&b->wide, err);
}

static tn_status run_loop(bench *b, tn_error *err) {
    for (int i = 0; i < b->wide.n; i++) TN_CHECK(cli_alone_run(&b->alone, i, err));
    return TN_OK;
}

/* Mean of `runs` behind one that is not timed: the other side has just used the caches. */
static tn_status sample(bench *b, tn_status (*run)(bench *, tn_error *), int runs, double *seconds,
                        tn_error *err) {
    TN_CHECK(run(b, err));
    double start = tn_seconds();
    for (int i = 0; i < runs; i++) TN_CHECK(run(b, err));
    *seconds = (tn_seconds() - start) / runs;
    return TN_OK;
}

static int runs_of(double seconds) {
    double runs = ceil(SAMPLE_SECONDS / fmax(seconds, 1e-9));
    return runs > MOST_RUNS ? MOST_RUNS : (int)runs;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int count) {
    qsort(x, (size_t)count, sizeof *x, compare_doubles);
    return (x[(count - 1) / 2] + x[count / 2]) / 2;
}

static tn_status pairs_of(bench *b, double pair, int *out, tn_error *err) {
    int64_t pairs = b->c->options.runs;
    if (pairs > 1000000)
        return cli_usage(b->c, err, "-r: %lld pairs are too many", (long long)pairs);
    double fit = DEFAULT_SECONDS / pair;
    if (pairs == 0)
        pairs = fit < FEWEST_PAIRS ? FEWEST_PAIRS : fit > MOST_PAIRS ? MOST_PAIRS : (int)fit;
    *out = (int)pairs;
    return TN_OK;
}

/* In pairs, each side first in every other one, so that what slows the machine for a while slows both. */
static tn_status measure_pairs(bench *b, tn_error *err) {
    int warmup =
        b->c->options.warmup > 0 ? (int)TN_MIN(b->c->options.warmup, 1000) : DEFAULT_WARMUP;
    double one_wide = 0, one_loop = 0;
    TN_CHECK(sample(b, run_wide, warmup, &one_wide, err));
    if (b->loop_fits) TN_CHECK(sample(b, run_loop, 1, &one_loop, err));
    int wide_runs = runs_of(one_wide), loop_runs = runs_of(one_loop), pairs = 0;
    double pair = one_wide * (wide_runs + 1) + one_loop * (loop_runs + 1);
    TN_CHECK(pairs_of(b, pair, &pairs, err));
    double *wide = TN_NEW_N(&b->c->arena, double, pairs);
    double *loop = TN_NEW_N(&b->c->arena, double, pairs);
    double *gain = TN_NEW_N(&b->c->arena, double, pairs);
    for (int i = 0; i < pairs; i++) {
        if (i % 2 == 0) TN_CHECK(sample(b, run_wide, wide_runs, &wide[i], err));
        if (b->loop_fits) TN_CHECK(sample(b, run_loop, loop_runs, &loop[i], err));
        if (i % 2 == 1) TN_CHECK(sample(b, run_wide, wide_runs, &wide[i], err));
        gain[i] = loop[i] / wide[i];
    }
    b->r->pairs = pairs;
    b->r->wide = median(wide, pairs);
    b->r->loop = b->loop_fits ? median(loop, pairs) : NAN;
    b->r->gain = b->loop_fits ? median(gain, pairs) : NAN;
    return TN_OK;
}

/* ---- what the wide model is ----------------------------------------------------------------- */

static tn_status describe(bench *b, tn_error *err) {
    const tn_wide *w = b->wide.wide;
    cli_wide_result *r = b->r;
    r->groups = tn_wide_group_count(w);
    for (int g = 0; g < r->groups; g++) {
        tn_wide_group_info info;
        TN_CHECK(tn_wide_group(w, g, &info));
        r->threads = tn_model_threads(info.model);
        r->wide_bytes += info.bytes;
        r->shared_weights += info.shared_weights;
        r->own_weights += info.own_weights;
        for (int i = 0; i < tn_wide_node_count(w, g); i++) {
            tn_wide_node_info node;
            if (tn_wide_node(w, g, i, &node) == TN_OK) r->strategies[node.strategy]++;
        }
    }
    (void)err;
    return TN_OK;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static tn_status measure(void *argument, tn_error *err) {
    bench *b = argument;
    cli *c = b->c;
    double start = tn_seconds();
    const char *seed = c->options.seed;
    TN_CHECK(cli_wide_tune_first(c, b->roster, b->r->n, CLI_MISSING_RANDOM, seed, err));
    TN_CHECK(cli_wide_open(c, b->roster, 0, b->r->n, &b->wide, err));
    double opened = tn_seconds() - start;
    TN_CHECK(cli_wide_bind(c, &b->wide, CLI_MISSING_RANDOM, seed, err));
    start = tn_seconds();
    TN_CHECK(cli_wide_run(&b->wide, err));
    b->r->compile = opened + tn_seconds() - start;
    TN_CHECK(cli_dump_check(c, &b->wide.dump, err));
    TN_CHECK(validate(b, err));
    TN_CHECK(measure_pairs(b, err));
    return describe(b, err);
}

tn_status cli_wide_measure(cli *c, const cli_roster *r, int n, cli_wide_result *out,
                           tn_error *err) {
    cli inner = *c; /* its inputs are not those of the next number */
    tn_error why = TN_ERROR_INIT;
    *out = (cli_wide_result){.n = n};
    bench b = {.c = &inner, .roster = r, .r = out};
    tn_arena_init(&inner.arena, tn_allocator_system());
    tn_status status = tn_guard(measure, &b, &why);
    cli_alone_deinit(&b.alone);
    cli_wide_close(&b.wide);
    tn_arena_deinit(&inner.arena);
    c->usage = inner.usage;
    if (status == TN_OUT_OF_MEMORY) {
        char text[TN_ERROR_TEXT + TN_ERROR_FRAMES * TN_ERROR_FRAME_TEXT];
        tn_error_format(&why, text, sizeof text);
        *out = (cli_wide_result){.n = n, .refused = tn_arena_strdup(&c->arena, text)};
        return TN_OK;
    }
    if (status != TN_OK && err) *err = why;
    return status;
}
