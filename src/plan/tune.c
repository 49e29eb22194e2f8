/* The search: every kernel climbs from its record to better neighbours. See tune.h. */
#include "plan/tune.h"

#include "base/io.h"

#define LEAST_SHARE 0.005  /* of the time, for a kernel to be worth a trial */
#define GAIN        0.97   /* a record that stays takes at most so much of the time before */
#define BETTER      0.99   /* a step of the climb */
enum { LEAST_TASKS = 16 }; /* that every record leaves for threads, if the chosen one does */

/* ---- records for a compile ------------------------------------------------------------------ */

static void note_position(tn_tuner *t, uint32_t position, uint32_t site) {
    while (t->site_of.len <= position) tn_vec_push(t->arena, &t->site_of, 0);
    t->site_of.data[position] = site + 1;
}

/* Of sizes that are open, a typical value. */
static int64_t task_count(const tn_tuner *t, const tn_loop *k) {
    const tn_dims *dims = k->dims;
    int64_t *scalars = TN_NEW_N(t->arena, int64_t, k->scalars.len);
    for (uint32_t i = 0; i < k->scalars.len; i++)
        scalars[i] = tn_dim_guess(dims, k->scalars.data[i].dim);
    return tn_loop_task_count(k, scalars);
}

static tn_hash128 identity(const tn_tuner *t, const tn_loop *k) {
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(t->arena));
    tn_loop_print(k, true, &text);
    tn_hash128 hash = tn_hash128_of(text.data, text.len);
    tn_str_deinit(&text);
    return hash;
}

static void add_site(tn_tuner *t, const tn_kernel_site *from, const tn_schedule *start) {
    tn_tune_site s = {.name = from->name,
                      .context = *from->context,
                      .group = from->group,
                      .chosen = from->lowered->schedule,
                      .start = *start,
                      .best = *start,
                      .tasks = task_count(t, from->lowered->kernel),
                      .ratio = 1};
    memcpy(s.key, from->key, sizeof s.key);
    s.context.record = NULL;
    s.kind = s.context.grouping->groups.data[s.group].kind;
    tn_map_put_str(&t->by_key, tn_arena_strdup(t->arena, s.key), t->sites.len);
    tn_vec_push(t->arena, &t->sites, s);
}

static bool find_record(void *context, const tn_kernel_site *site, tn_schedule *record) {
    tn_tuner *t = context;
    uint32_t id;
    bool known = tn_map_get_str(&t->by_key, site->key, &id);
    if (!known && !t->collecting) return false;
    if (!known) {
        id = t->sites.len;
        if (t->known) t->known->find(t->known->context, site, record);
        add_site(t, site, record);
    }
    const tn_tune_site *s = &t->sites.data[id];
    if (t->collecting) note_position(t, site->position, id);
    *record = s->trying ? s->trial : s->start;
    return !tn_schedule_same(record, &s->chosen);
}

void tn_tuner_init(tn_tuner *t, const tn_record_source *known, tn_arena *arena) {
    *t = (tn_tuner){.arena = arena, .known = known, .collecting = true};
    tn_map_init(&t->by_key, arena);
}

tn_record_source tn_tuner_source(tn_tuner *t) {
    return (tn_record_source){t, find_record};
}

/* ---- one site ------------------------------------------------------------------------------- */

/* Puts the neighbours of `from` before all that waits. */
static void look_around(tn_tuner *t, tn_tune_site *s, const tn_schedule *from) {
    tn_schedule_list list = {0};
    const tn_grouping *p = s->context.grouping;
    tn_schedule_neighbours(p, &p->groups.data[s->group], &s->chosen, from,
                           (uint32_t)s->context.target->vector_registers, t->arena, &list);
    while (list.len > 0) tn_vec_push(t->arena, &s->waiting, list.data[--list.len]);
}

/* Lowers to a kernel that was not measured yet and keeps enough tasks. */
static bool is_new(tn_tuner *t, tn_tune_site *s, const tn_schedule *record) {
    tn_lowered l;
    tn_lower_context context = s->context;
    context.record = record;
    if (tn_lower_group(&context, s->group, &l, NULL) != TN_OK) return false;
    if (task_count(t, l.kernel) < TN_MIN(s->tasks, LEAST_TASKS)) return false;
    tn_hash128 hash = identity(t, l.kernel);
    for (uint32_t i = 0; i < s->seen.len; i++)
        if (s->seen.data[i].lo == hash.lo && s->seen.data[i].hi == hash.hi) return false;
    tn_vec_push(t->arena, &s->seen, hash);
    return true;
}

static void propose(tn_tuner *t, tn_tune_site *s) {
    s->trying = false;
    s->credit += s->weight;
    if (s->credit < 1) return;
    s->credit = 0;
    while (s->waiting.len > 0 && !s->trying) {
        s->trial = s->waiting.data[--s->waiting.len];
        s->trying = is_new(t, s, &s->trial);
    }
}

static void log_trial(const tn_tuner *t, const tn_tune_site *s, double ratio) {
    tn_str text;
    if (!tn_log_enabled(TN_LOG_DEBUG)) return;
    tn_str_init_with(&text, tn_arena_allocator(t->arena));
    tn_schedule_print(&s->trial, s->kind, &text);
    tn_log_write(TN_LOG_DEBUG, "tried %s: %s takes %.3f of the time", s->name, tn_str_text(&text),
                 ratio);
    tn_str_deinit(&text);
}

static void learn(tn_tuner *t, tn_tune_site *s, double first, double trial) {
    t->tried++;
    log_trial(t, s, trial / first);
    if (!(first > 0) || trial / first >= BETTER * s->ratio) return;
    s->ratio = trial / first;
    s->best = s->trial;
    look_around(t, s, &s->best);
}

/* ---- the search ----------------------------------------------------------------------------- */

typedef struct search {
    tn_tuner *t;
    tn_tune_measure *measure;
    void *context;
    double *first, *trial;
} search;

/* Sites that take a share of the time get their first candidates; the rest never has any. What takes less
 * than the mean takes part in fewer rounds. */
static void start(search *x) {
    double total = 0;
    tn_tuner *t = x->t;
    for (uint32_t i = 0; i < t->sites.len; i++) total += x->first[i];
    double mean = total / TN_MAX(t->sites.len, 1u);
    for (uint32_t i = 0; i < t->sites.len; i++) {
        tn_tune_site *s = &t->sites.data[i];
        if (!(x->first[i] > LEAST_SHARE * total)) continue;
        s->weight = x->first[i] / mean;
        (void)is_new(t, s, &s->start);
        look_around(t, s, &s->start);
    }
}

/* False: there is nothing left to try. */
static bool next_round(search *x) {
    bool waiting = true, any = false;
    while (waiting && !any) {
        waiting = false;
        for (uint32_t i = 0; i < x->t->sites.len; i++) {
            tn_tune_site *s = &x->t->sites.data[i];
            propose(x->t, s);
            any |= s->trying;
            waiting |= s->waiting.len > 0;
        }
    }
    return any;
}

static tn_status measure_trial(search *x, tn_error *err) {
    tn_record_source source = tn_tuner_source(x->t);
    return x->measure(x->context, &source, x->first, x->trial, err);
}

static void run_round(search *x) {
    tn_error why = TN_ERROR_INIT;
    x->t->rounds++;
    if (measure_trial(x, &why) != TN_OK) {
        char text[1024];
        tn_error_format(&why, text, sizeof text);
        tn_log_write(TN_LOG_DEBUG, "a round of tuning failed: %s", text);
        return;
    }
    for (uint32_t i = 0; i < x->t->sites.len; i++) {
        tn_tune_site *s = &x->t->sites.data[i];
        if (s->trying) learn(x->t, s, x->first[i], x->trial[i]);
    }
}

/* What was best by itself runs together, against the first program. */
static void settle(search *x) {
    bool any = false;
    for (uint32_t i = 0; i < x->t->sites.len; i++) {
        tn_tune_site *s = &x->t->sites.data[i];
        s->trying = s->ratio <= GAIN;
        s->trial = s->best;
        any |= s->trying;
    }
    if (!any || measure_trial(x, NULL) != TN_OK) return;
    for (uint32_t i = 0; i < x->t->sites.len; i++) {
        tn_tune_site *s = &x->t->sites.data[i];
        s->won = s->trying && x->trial[i] <= GAIN * x->first[i];
        s->before = x->first[i];
        s->after = x->trial[i];
    }
}

static tn_status climb(search *x, double seconds, tn_error *err) {
    double began = tn_seconds(), took = 0;
    TN_TRY(err, x->measure(x->context, NULL, x->first, x->trial, err), "while timing the kernels");
    start(x);
    while (next_round(x)) {
        double now = tn_seconds();
        run_round(x);
        took = TN_MAX(took, tn_seconds() - now);
        if (tn_seconds() - began + 2 * took > seconds) break;
    }
    settle(x);
    return TN_OK;
}

typedef struct tune_args {
    search x;
    double seconds;
} tune_args;

static tn_status tune_guarded(void *argument, tn_error *err) {
    tune_args *a = argument;
    tn_tuner *t = a->x.t;
    a->x.first = TN_NEW_N(t->arena, double, t->sites.len);
    a->x.trial = TN_NEW_N(t->arena, double, t->sites.len);
    return climb(&a->x, a->seconds, err);
}

tn_status tn_tune(tn_tuner *t, double seconds, tn_tune_measure *measure_with, void *context,
                  tn_error *err) {
    t->collecting = false;
    tune_args a = {{.t = t, .measure = measure_with, .context = context}, seconds};
    return tn_guard(tune_guarded, &a, err);
}
