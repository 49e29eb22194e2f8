/* Exploring a family of machines: every machine of the space with the best dataflow of each part of the study.
 * Machines whose cost tables are equal are solved once: what a cost model does not look at costs nothing.
 * Threads take machines in order and agree on nothing but who solves which table, so their number changes no
 * result. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/cores.h"
#include "explore/finding.h"
#include "explore/search.h"

enum { MOST_MACHINES = 1 << 22 };

/* The solution of one table of costs. */
typedef struct solved {
    tn_solution solution;
    bool fits;
} solved;

typedef struct slot {
    tn_hash128 key;
    int64_t table; /* index + 1; 0: free */
} slot;

typedef struct exploring {
    const tn_study *study;
    const tn_search_options *options;
    int64_t count;
    int64_t *table; /* [machine][part]: whose solution it is; −1: none */
    solved **tables;
    slot *slots;
    size_t slot_count;
    pthread_mutex_t lock; /* of all below, `slots`, `tables` */
    int64_t table_count, failed_at;
    tn_status status;
    tn_error err;
    double best;
    atomic_llong next, done;
    atomic_bool stop;
} exploring;

/* ---- machines and problems ------------------------------------------------------------------ */

static tn_problem problem_of(const exploring *e, int64_t machine, int part) {
    const tn_study_part *u = &e->study->parts[part];
    tn_problem p = {.workload = &u->workload,
                    .scenario = u->scenario,
                    .processor = e->study->processor,
                    .near_memory = e->study->near_memory};
    tn_machine_space_at(e->study->space, machine, &p.machine);
    tn_machine_for_batch(e->study->space, u->scenario.batch, &p.machine);
    return p;
}

static bool too_large(const exploring *e, const tn_machine *m) {
    double limit = e->options->area_limit > 0 ? e->options->area_limit : m->near_memory.area_limit;
    return limit > 0 && m->near_memory.area > limit;
}

/* ---- tables --------------------------------------------------------------------------------- */

/* The table of `key`; *fresh: nobody has begun to solve it. Under the lock. */
static int64_t table_of(exploring *e, tn_hash128 key, bool *fresh) {
    size_t at = (size_t)key.lo & (e->slot_count - 1);
    while (e->slots[at].table && (e->slots[at].key.lo != key.lo || e->slots[at].key.hi != key.hi))
        at = (at + 1) & (e->slot_count - 1);
    *fresh = !e->slots[at].table;
    if (*fresh) e->slots[at] = (slot){key, ++e->table_count};
    return e->slots[at].table - 1;
}

static void fail(exploring *e, int64_t machine, tn_status status, const tn_error *err) {
    pthread_mutex_lock(&e->lock);
    if (!e->status || machine < e->failed_at) {
        e->status = status;
        e->err = *err;
        e->failed_at = machine;
    }
    pthread_mutex_unlock(&e->lock);
    atomic_store(&e->stop, true);
}

static tn_status solve_table(exploring *e, int64_t table, const tn_problem *p,
                             tn__exact_problem *prepared, tn_error *err) {
    solved *s = calloc(1, sizeof *s);
    if (!s) return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for a solution");
    tn_status status = prepared ? tn__exact_run(prepared, e->options, &s->solution, err)
                                : tn_search_dataflow(p, e->options, &s->solution, err);
    if (status && status != TN_NOT_FOUND) {
        free(s);
        return status;
    }
    s->fits = !status;
    pthread_mutex_lock(&e->lock);
    e->tables[table] = s;
    pthread_mutex_unlock(&e->lock);
    return TN_OK;
}

static tn_status explore_part(exploring *e, int64_t machine, int part, tn_error *err) {
    tn_problem p = problem_of(e, machine, part);
    tn__exact_problem *prepared = NULL;
    tn_hash128 key = {(uint64_t)machine, (uint64_t)part};
    bool fresh;
    if (e->options->method == TN_EXACT) {
        TN_CHECK(tn__exact_prepare(&p, e->options, &prepared, err));
        key = tn__exact_hash(prepared);
    }
    key.hi ^= (uint64_t)part * UINT64_C(0x9E3779B97F4A7C15);
    pthread_mutex_lock(&e->lock);
    int64_t table = table_of(e, key, &fresh);
    pthread_mutex_unlock(&e->lock);
    e->table[machine * e->study->count + part] = table;
    tn_status status = fresh ? solve_table(e, table, &p, prepared, err) : TN_OK;
    tn__exact_release(prepared);
    return status;
}

static tn_status explore_machine(exploring *e, int64_t machine, tn_error *err) {
    tn_machine m;
    tn_machine_space_at(e->study->space, machine, &m);
    if (too_large(e, &m)) return TN_OK;
    for (int part = 0; part < e->study->count; part++)
        TN_TRY(err, explore_part(e, machine, part, err), "while exploring machine %lld of %s",
               (long long)machine, m.name);
    return TN_OK;
}

/* ---- threads -------------------------------------------------------------------------------- */

static bool report(exploring *e) {
    const tn_search_options *o = e->options;
    if (!o->progress) return true;
    pthread_mutex_lock(&e->lock);
    double best = e->best;
    pthread_mutex_unlock(&e->lock);
    return o->progress(o->context, (double)atomic_load(&e->done) / (double)e->count, best);
}

/* The weighted value of a machine that is done by this thread; infinite while a part is another's. */
static double value_so_far(exploring *e, int64_t machine) {
    double value = 0;
    pthread_mutex_lock(&e->lock);
    for (int part = 0; part < e->study->count; part++) {
        int64_t table = e->table[machine * e->study->count + part];
        const solved *s = table < 0 ? NULL : e->tables[table];
        value += s && s->fits ? e->study->parts[part].weight *
                                    tn__objective(e->options->objective, &s->solution.evaluation)
                              : INFINITY;
    }
    if (value < e->best) e->best = value;
    pthread_mutex_unlock(&e->lock);
    return value;
}

static void work(exploring *e, bool caller) {
    while (!atomic_load(&e->stop)) {
        int64_t machine = atomic_fetch_add(&e->next, 1);
        if (machine >= e->count) return;
        tn_error err = TN_ERROR_INIT;
        tn_status status = explore_machine(e, machine, &err);
        if (status) fail(e, machine, status, &err);
        atomic_fetch_add(&e->done, 1);
        if (status) continue;
        value_so_far(e, machine);
        if (caller && !report(e)) atomic_store(&e->stop, true);
    }
}

static void *run(void *argument) {
    work(argument, false);
    return NULL;
}

static void run_all(exploring *e) {
    pthread_t threads[256];
    int wanted = e->options->threads > 0 ? e->options->threads : tn_cores(), count = 0;
    wanted = (int)TN_MIN(TN_MIN((int64_t)wanted, e->count), (int64_t)TN_COUNT(threads));
    while (count + 1 < wanted && pthread_create(&threads[count], NULL, run, e) == 0) count++;
    work(e, true);
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
}

/* ---- the finding ---------------------------------------------------------------------------- */

static bool is_known(const exploring *e, int64_t machine) {
    for (int part = 0; part < e->study->count; part++) {
        int64_t table = e->table[machine * e->study->count + part];
        if (table >= 0 && !e->tables[table]) return false;
    }
    return true;
}

/* Solutions are of tables; what they are worth is asked again for each machine. */
static tn_status fill_machine(const exploring *e, int64_t machine, tn_finding_machine *out,
                              tn_error *err) {
    tn_machine m;
    tn_machine_space_at(e->study->space, machine, &m);
    out->index = machine;
    out->area = m.near_memory.area;
    out->feasible = out->optimal = true;
    for (int part = 0; part < e->study->count; part++) {
        int64_t table = e->table[machine * e->study->count + part];
        double weight = e->study->parts[part].weight;
        if (table < 0 || !e->tables[table]->fits) {
            out->feasible = out->optimal = false;
            out->value = out->lower_bound = out->latency = out->energy = INFINITY;
            return TN_OK;
        }
        tn_solution *s = &out->parts[part];
        *s = e->tables[table]->solution;
        tn_problem p = problem_of(e, machine, part);
        TN_CHECK(tn_dataflow_evaluate(&p, &s->dataflow, &s->evaluation, err));
        out->value += weight * tn__objective(e->options->objective, &s->evaluation);
        out->lower_bound += weight * s->lower_bound;
        out->latency += weight * s->evaluation.total;
        out->energy += weight * s->evaluation.energy;
        out->optimal &= s->optimal;
    }
    return TN_OK;
}

static tn_status fill(const exploring *e, tn_finding *f, tn_error *err) {
    for (int64_t i = 0; i < e->count; i++) {
        bool begun = i < atomic_load(&e->next) && is_known(e, i);
        if (!begun) continue; /* the caller has ended the search */
        tn_finding_machine *m = &f->machines[f->count];
        m->parts = tn__finding_parts(f, f->count++);
        TN_CHECK(fill_machine(e, i, m, err));
    }
    tn__finding_rank(f);
    return TN_OK;
}

/* ---- set-up --------------------------------------------------------------------------------- */

static tn_status check(const tn_study *s, int64_t count, tn_error *err) {
    if (s->count < 1)
        return tn_error_set(err, TN_INVALID, "a study has no part; it needs at least one workload");
    if (count > MOST_MACHINES / s->count)
        return tn_error_set(err, TN_UNSUPPORTED,
                            "the space has %lld machines, %d parts each; exploring takes up to %d "
                            "in all: shorten its lists",
                            (long long)count, s->count, MOST_MACHINES);
    for (int i = 0; i < s->count; i++)
        if (!(s->parts[i].weight >= 0) || !isfinite(s->parts[i].weight))
            return tn_error_set(err, TN_INVALID,
                                "part %d (%s) has weight %g; it must be at least 0", i,
                                s->parts[i].workload.name, s->parts[i].weight);
    return TN_OK;
}

static bool allocate(exploring *e) {
    size_t all = (size_t)e->count * (size_t)e->study->count;
    for (e->slot_count = 16; e->slot_count < 2 * all;) e->slot_count *= 2;
    e->table = calloc(all, sizeof *e->table);
    e->tables = calloc(all, sizeof *e->tables);
    e->slots = calloc(e->slot_count, sizeof *e->slots);
    for (size_t i = 0; e->table && i < all; i++) e->table[i] = -1;
    return e->table && e->tables && e->slots;
}

static void release(exploring *e) {
    for (int64_t i = 0; i < e->table_count; i++) free(e->tables[i]);
    free(e->table);
    free(e->tables);
    free(e->slots);
}

tn_status tn_explore(const tn_study *study, const tn_search_options *options, tn_finding **out,
                     tn_error *err) {
    *out = NULL;
    exploring e = {.study = study,
                   .options = options,
                   .count = tn_machine_space_count(study->space),
                   .lock = PTHREAD_MUTEX_INITIALIZER,
                   .best = INFINITY};
    TN_CHECK(check(study, e.count, err));
    if (options->method == TN_GENETIC) return tn__genetic_explore(study, options, out, err);
    tn_finding *f = allocate(&e) ? tn__finding_new(e.count, study->count) : NULL;
    tn_status status = f ? TN_OK : tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for a finding");
    if (!status) {
        run_all(&e);
        status = e.status;
        if (status)
            *err = e.err;
        else
            status = fill(&e, f, err);
    }
    release(&e);
    if (status)
        tn_finding_release(f);
    else
        *out = f;
    return status;
}
