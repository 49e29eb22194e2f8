/* Measuring for the tuner: a program per round, run beside the first one. See tune.h. */
#include "session/tune.h"

#include <math.h>
#include <stdlib.h>

#include "base/io.h"
#include "session/model_inner.h"
#include "session/ports.h"
#include "session/tunings.h"

#define ROUND_SECONDS 0.4 /* of running, in one round */
enum { RUNS_IN_A_ROW = 3, FEWEST_TURNS = 2, MOST_TURNS = 20 };

/* A program ready to run. */
typedef struct player {
    tn_artifact *artifact;
    tn_instance *instance;
    int64_t *symbols;
} player;

typedef struct tuning {
    tn_model *m;
    const tn_buffer *inputs;
    int count;
    int64_t *port_symbols;
    tn_arena arena;
    tn_tuner tuner;
    player first;
} tuning;

/* ---- programs ------------------------------------------------------------------------------- */

static tn_status build(tuning *t, const tn_artifact_trial *trial, tn_artifact *a, tn_error *err) {
    const tn_workshop *w = &t->m->workshop;
    if (t->m->given) return tn_artifact_build(a, w, t->m->given, trial, err);
    TN_CHECK(tn__model_import(t->m, a, t->inputs, t->port_symbols, err));
    if (!a->import.graph)
        return tn_error_set(err, TN_UNSUPPORTED, "%s: sizes are not known", t->m->path);
    return tn_artifact_build(a, w, a->import.graph, trial, err);
}

static tn_status make_artifact(tuning *t, const tn_artifact_trial *trial, tn_artifact **out,
                               tn_error *err) {
    *out = tn_artifact_new();
    if (!*out) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    pthread_mutex_lock(&t->m->lock);
    tn_status status = build(t, trial, *out, err);
    pthread_mutex_unlock(&t->m->lock);
    return status;
}

static void player_close(player *p) {
    tn_instance_release(p->instance);
    tn_artifact_release(p->artifact);
    free(p->symbols);
    *p = (player){0};
}

/* After a failure `p` is to be closed, too. */
static tn_status player_open(tuning *t, const tn_artifact_trial *trial, player *p, tn_error *err) {
    *p = (player){0};
    TN_CHECK(make_artifact(t, trial, &p->artifact, err));
    const tn_program *program = p->artifact->program;
    p->symbols = calloc(program->dims->symbols.len + 1, sizeof *p->symbols);
    if (!p->symbols) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    TN_CHECK(tn_ports_bind(program, t->inputs, t->count, p->symbols, err));
    TN_CHECK(tn_instance_create(&p->artifact->executable, &p->instance, err));
    TN_CHECK(tn_instance_bind(p->instance, p->symbols, err));
    for (uint32_t i = 0; i < program->inputs.len; i++)
        tn_instance_set_input(p->instance, i, t->inputs[i].data);
    tn_instance_profile(p->instance, true);
    return tn_instance_run(p->instance, 0, err); /* touches all memory */
}

/* ---- times ---------------------------------------------------------------------------------- */

/* Adds `sign` times the seconds spent so far to each site's. */
static void add_times(const tuning *t, const player *p, double sign, double *seconds) {
    uint32_t count;
    const tn_step_time *times = tn_instance_times(p->instance, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (!times[i].step || times[i].step->kind != TN_STEP_KERNEL) continue;
        uint32_t position = times[i].step->position;
        uint32_t site = position < t->tuner.site_of.len ? t->tuner.site_of.data[position] : 0;
        if (site > 0) seconds[site - 1] += sign * times[i].seconds;
    }
}

/* One run; `least` keeps each site's least time, `scratch` has room for as many. */
static tn_status time_run(const tuning *t, player *p, double *scratch, double *least,
                          tn_error *err) {
    uint32_t n = t->tuner.sites.len;
    memset(scratch, 0, n * sizeof *scratch);
    add_times(t, p, -1, scratch);
    TN_CHECK(tn_instance_run(p->instance, 0, err));
    add_times(t, p, 1, scratch);
    for (uint32_t i = 0; i < n; i++) least[i] = fmin(least[i], scratch[i]);
    return TN_OK;
}

/* Each runs a few times in a row, as a model does: the first of these finds the other's data in the
 * caches, the best of them does not. */
static tn_status time_turn(const tuning *t, player *p, double *scratch, double *least,
                           tn_error *err) {
    for (int run = 0; run < RUNS_IN_A_ROW; run++) TN_CHECK(time_run(t, p, scratch, least, err));
    return TN_OK;
}

static tn_status time_players(tuning *t, player *trial, double *first, double *second,
                              double *scratch, tn_error *err) {
    for (uint32_t i = 0; i < t->tuner.sites.len; i++) first[i] = second[i] = INFINITY;
    double began = tn_seconds();
    for (int turn = 0; turn < MOST_TURNS; turn++) {
        TN_CHECK(time_turn(t, &t->first, scratch, first, err));
        if (trial) TN_CHECK(time_turn(t, trial, scratch, second, err));
        if (turn + 1 >= FEWEST_TURNS && tn_seconds() - began > ROUND_SECONDS) break;
    }
    return TN_OK;
}

static tn_status measure(void *context, const tn_record_source *source, double *first,
                         double *trial, tn_error *err) {
    tuning *t = context;
    double *scratch = calloc(t->tuner.sites.len + 1, sizeof *scratch);
    if (!scratch) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    player p = {0};
    tn_status status = TN_OK;
    if (source) {
        tn_artifact_trial how = {.records = source, .like = t->first.artifact};
        status = player_open(t, &how, &p, err);
    }
    if (status == TN_OK) status = time_players(t, source ? &p : NULL, first, trial, scratch, err);
    player_close(&p);
    free(scratch);
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static tn_status check_possible(const tn_model *m, tn_error *err) {
    const tn_compiler *c = &m->workshop.compiler;
    if (!m->given && tn_program_is_file(m->path))
        return tn_error_set(err, TN_UNSUPPORTED,
                            "%s: a program file cannot be tuned; tune the model that it is "
                            "compiled from",
                            m->path);
    if (!c->has_cc)
        return tn_error_set(err, TN_UNSUPPORTED, "tuning measures kernels, which needs a compiler");
    if (!tn_cache_usable(&c->cache))
        return tn_error_set(err, TN_UNSUPPORTED,
                            "tuning keeps what it finds in the cache, and there is none");
    return TN_OK;
}

/* Learns what the model needs; a compile that sessions share. */
static tn_status specialise(tuning *t, tn_error *err) {
    tn_artifact *a;
    tn_hash128 bound;
    t->port_symbols = calloc(t->m->ports->dims->symbols.len + 1, sizeof *t->port_symbols);
    if (!t->port_symbols) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    TN_CHECK(tn__model_artifact(t->m, t->inputs, t->count, t->port_symbols, &bound, &a, err));
    tn_artifact_release(a);
    return TN_OK;
}

static void report(const tuning *t, const tn_tune_options *options, tn_tune_result *r) {
    const tn_tuner *tuner = &t->tuner;
    r->kernels = tuner->sites.len;
    r->rounds = tuner->rounds;
    r->tried = tuner->tried;
    for (uint32_t i = 0; i < tuner->sites.len; i++) {
        const tn_tune_site *s = &tuner->sites.data[i];
        if (!s->won) continue;
        r->before += s->before;
        r->after += s->after;
        if (options->improved) options->improved(options->context, s);
    }
}

static tn_status tune(tuning *t, const tn_tune_options *options, tn_tune_result *r, tn_error *err) {
    const tn_compiler *c = &t->m->workshop.compiler;
    TN_CHECK(specialise(t, err));
    tn_tunings tunings;
    tn_record_source known = {0};
    bool any = !t->m->workshop.options.no_tuned && tn_tunings_open(&tunings, c);
    if (any) known = tn_tunings_source(&tunings);
    tn_tuner_init(&t->tuner, any ? &known : NULL, &t->arena);
    tn_record_source source = tn_tuner_source(&t->tuner);
    tn_artifact_trial how = {.records = &source};
    TN_CHECK(player_open(t, &how, &t->first, err));
    if (!t->first.artifact->executable.functions)
        return tn_error_set(err, TN_UNSUPPORTED,
                            "kernels are interpreted: there is no use in tuning");
    TN_CHECK(tn_tune(&t->tuner, options->seconds, measure, t, err));
    report(t, options, r);
    r->kept = tn_tunings_put(c, &t->tuner);
    return TN_OK;
}

tn_status tn_model_tune(tn_model *m, const tn_buffer *inputs, int count,
                        const tn_tune_options *options, tn_tune_result *result, tn_error *err) {
    *result = (tn_tune_result){0};
    TN_CHECK(check_possible(m, err));
    tuning *t = calloc(1, sizeof *t);
    if (!t) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    t->m = m;
    t->inputs = inputs;
    t->count = count;
    tn_arena_init(&t->arena, tn_allocator_system());
    tn_status status = tune(t, options, result, err);
    player_close(&t->first);
    tn_arena_deinit(&t->arena);
    free(t->port_symbols);
    free(t);
    return status;
}
