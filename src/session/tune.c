/* Measuring for the tuner: a program per round, run beside the first one. See tune.h. */
#include "session/tune.h"

#include <math.h>
#include <stdlib.h>

#include "base/io.h"
#include "schedule/batch_pieces.h"
#include "session/model_inner.h"
#include "session/ports.h"

#define ROUND_SECONDS 0.4  /* of running, in one round */
#define CUT_GAIN      0.97 /* another cut of the batch takes at most so much of the time by cost */
#define CUT_SHARE     0.5  /* of the seconds, for the cuts */
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
    char graph[TN_TUNING_GRAPH];          /* "": not known yet */
    int64_t cuts[TN_PIECE_TRIALS], known; /* to try; remembered */
    uint32_t cut_count, tried;
    TN_VEC(tn_hash128) seen; /* programs that were compared */
    tn_tuned_piece best;
} tuning;

/* ---- programs ------------------------------------------------------------------------------- */

typedef struct look_args {
    tuning *t;
    const tn_graph *g;
} look_args;

/* While the graph is there. */
static tn_status look_guarded(void *argument, tn_error *err) {
    (void)err;
    look_args *x = argument;
    tn_tunings tunings;
    const tn_workshop *w = &x->t->m->workshop;
    x->t->cut_count = tn_batch_piece_trials(x->g, x->t->cuts);
    if (x->t->cut_count > 0 && !w->options.no_tuned && tn_tunings_open(&tunings, &w->compiler))
        x->t->known = tn_tunings_piece(&tunings, x->g);
    tn_tunings_graph(x->g, x->t->graph);
    return TN_OK;
}

static tn_status build(tuning *t, const tn_artifact_trial *trial, tn_artifact *a, tn_error *err) {
    const tn_graph *g = t->m->given;
    if (!g) TN_CHECK(tn__model_import(t->m, a, t->inputs, t->port_symbols, err));
    if (!g) g = a->import.graph;
    if (!g) return tn_error_set(err, TN_UNSUPPORTED, "%s: sizes are not known", t->m->path);
    look_args look = {t, g};
    if (!t->graph[0]) TN_CHECK(tn_guard(look_guarded, &look, err));
    return tn_artifact_build(a, &t->m->workshop, g, trial, err);
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
        tn_artifact_trial how = {
            .records = source, .batch_piece = t->best.piece, .like = t->first.artifact};
        status = player_open(t, &how, &p, err);
    }
    if (status == TN_OK) status = time_players(t, source ? &p : NULL, first, trial, scratch, err);
    player_close(&p);
    free(scratch);
    return status;
}

/* ---- cuts of the batch ---------------------------------------------------------------------- */

static tn_status time_runs(player *p, double *least, tn_error *err) {
    for (int run = 0; run < RUNS_IN_A_ROW; run++) {
        double began = tn_seconds();
        TN_CHECK(tn_instance_run(p->instance, 0, err));
        *least = fmin(*least, tn_seconds() - began);
    }
    return TN_OK;
}

/* What a run of `p` takes of the time of the first one's. */
static tn_status compare(tuning *t, player *p, tn_tuned_piece *out, tn_error *err) {
    out->before = out->after = INFINITY;
    double began = tn_seconds();
    for (int turn = 0; turn < MOST_TURNS; turn++) {
        TN_CHECK(time_runs(&t->first, &out->before, err));
        TN_CHECK(time_runs(p, &out->after, err));
        if (turn + 1 >= FEWEST_TURNS && tn_seconds() - began > ROUND_SECONDS) break;
    }
    tn_log_write(TN_LOG_DEBUG, "tried to cut the batch by %lld: %.3f of the time",
                 (long long)out->piece, out->after / out->before);
    return TN_OK;
}

typedef struct new_args {
    tuning *t;
    const tn_program *p;
    bool is;
} new_args;

/* Whether no program of these steps was there before. */
static tn_status new_guarded(void *argument, tn_error *err) {
    (void)err;
    new_args *x = argument;
    tuning *t = x->t;
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(&t->arena));
    tn_program_print(x->p, &text);
    tn_hash128 hash = tn_hash128_of(text.data, text.len);
    x->is = true;
    for (uint32_t i = 0; i < t->seen.len; i++)
        if (t->seen.data[i].lo == hash.lo && t->seen.data[i].hi == hash.hi) x->is = false;
    if (x->is) tn_vec_push(&t->arena, &t->seen, hash);
    return TN_OK;
}

static bool is_new(tuning *t, const player *p) {
    new_args x = {t, p->artifact->program, false};
    return tn_guard(new_guarded, &x, NULL) == TN_OK && x.is;
}

/* Twice: what was only lucky does not stay. */
static tn_status time_cut(tuning *t, player *p, int64_t piece, tn_error *err) {
    tn_tuned_piece once = {.piece = piece}, again = {.piece = piece};
    if (!is_new(t, p)) return TN_OK;
    t->tried++;
    TN_CHECK(compare(t, p, &once, err));
    if (once.after > CUT_GAIN * once.before) return TN_OK;
    TN_CHECK(compare(t, p, &again, err));
    const tn_tuned_piece *worse =
        once.after * again.before > again.after * once.before ? &once : &again;
    if (worse->after > CUT_GAIN * worse->before) return TN_OK;
    if (!t->best.piece || worse->after * t->best.before < t->best.after * worse->before)
        t->best = *worse;
    return TN_OK;
}

/* A cut that fails is as none. */
static void try_cut(tuning *t, int64_t piece) {
    player p;
    tn_artifact_trial how = {.batch_piece = piece, .like = t->first.artifact};
    tn_error why = TN_ERROR_INIT;
    tn_status status = player_open(t, &how, &p, &why);
    if (status == TN_OK) status = time_cut(t, &p, piece, &why);
    player_close(&p);
    if (status == TN_OK) return;
    char text[1024];
    tn_error_format(&why, text, sizeof text);
    tn_log_write(TN_LOG_DEBUG, "cutting the batch by %lld failed: %s", (long long)piece, text);
}

/* What was remembered goes first; at least one is measured. */
static void try_cuts(tuning *t, double seconds) {
    double began = tn_seconds(), took = 0;
    if (t->known) try_cut(t, t->known);
    for (uint32_t i = 0; i < t->cut_count; i++) {
        double now = tn_seconds();
        if (now - began + took > seconds && t->tried > 0) break;
        if (t->cuts[i] != t->known) try_cut(t, t->cuts[i]);
        took = TN_MAX(took, tn_seconds() - now);
    }
}

/* Which cut of the batch is best, if that by cost is not; remembered. */
static tn_status tune_cut(tuning *t, double seconds, tn_tune_result *r, tn_error *err) {
    tn_artifact_trial how = {.batch_piece = TN_PIECE_BY_COST};
    tn_status status = player_open(t, &how, &t->first, err);
    if (status == TN_OK && t->first.artifact->executable.functions && t->cut_count > 0) {
        (void)is_new(t, &t->first);
        try_cuts(t, seconds);
    }
    player_close(&t->first);
    TN_CHECK(status);
    if (t->best.piece != t->known)
        (void)tn_tunings_put_piece(&t->m->workshop.compiler, t->graph, &t->best);
    r->cuts = t->tried;
    r->cut = t->best;
    return TN_OK;
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
    double began = tn_seconds();
    TN_CHECK(specialise(t, err));
    TN_CHECK(tune_cut(t, options->seconds * CUT_SHARE, r, err));
    tn_tunings tunings;
    tn_record_source known = {0};
    bool any = !t->m->workshop.options.no_tuned && tn_tunings_open(&tunings, c);
    if (any) known = tn_tunings_source(&tunings);
    tn_tuner_init(&t->tuner, any ? &known : NULL, &t->arena);
    tn_record_source source = tn_tuner_source(&t->tuner);
    tn_artifact_trial how = {.records = &source, .batch_piece = t->best.piece};
    TN_CHECK(player_open(t, &how, &t->first, err));
    if (!t->first.artifact->executable.functions)
        return tn_error_set(err, TN_UNSUPPORTED,
                            "kernels are interpreted: there is no use in tuning");
    double left = options->seconds - (tn_seconds() - began);
    TN_CHECK(tn_tune(&t->tuner, left, measure, t, err));
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
