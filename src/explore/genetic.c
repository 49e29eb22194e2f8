/* The genetic search: generations of individuals, of which the best ones are the next one's parents, together
 * with the parents before them. Threads take individuals in order; who is made and who is kept depends on their
 * numbers alone. */
#include "explore/genetic.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/base.h"
#include "base/cores.h"
#include "explore/finding.h"
#include "explore/genetic_memo.h"
#include "explore/search.h"

enum { POPULATION = 100, GENERATIONS = 10, PARENTS = 50, MOST_THREADS = 256 };

typedef struct crowd {
    genetic_individual *at;
    genetic_part *parts; /* theirs */
    int count;
} crowd;

typedef struct ranked {
    const genetic_individual *individual;
    int order;
} ranked;

/* A thread. */
typedef struct worker {
    struct genetic *search;
    genetic_memo *memo;
} worker;

typedef struct genetic {
    genetic_family family;
    const tn_search_options *options;
    int population, generations, most_parents;
    crowd children, parents, next_parents;
    bool *made; /* by child */
    ranked *ranking;
    genetic_individual **best; /* by machine; NULL: none yet */
    int64_t machine_count;
    int generation;
    worker workers[MOST_THREADS]; /* the first one is the caller */
    int worker_count;
    atomic_int next, done;
    atomic_bool stop;
    pthread_mutex_t lock; /* of what follows */
    tn_status status;
    tn_error err;
    int failed_at;
} genetic;

tn_problem tn__genetic_problem(const genetic_family *f, int64_t machine, int part) {
    const tn_study_part *u = &f->study->parts[part];
    tn_problem p = {.workload = &u->workload,
                    .scenario = u->scenario,
                    .processor = f->study->processor,
                    .near_memory = f->study->near_memory};
    if (f->machine) {
        p.machine = *f->machine;
        return p;
    }
    tn_machine_space_at(f->study->space, machine, &p.machine);
    tn_machine_for_batch(f->study->space, u->scenario.batch, &p.machine);
    return p;
}

/* ---- one child ------------------------------------------------------------------------------ */

static tn_status evaluate(const genetic *g, genetic_memo *memo, genetic_individual *x,
                          tn_error *err) {
    const genetic_family *f = &g->family;
    x->over = x->value = x->energy = x->latency = 0;
    for (int part = 0; part < f->study->count; part++) {
        genetic_part *p = &x->parts[part];
        double weight = f->study->parts[part].weight;
        if (!p->known) {
            tn_problem problem = tn__genetic_problem(f, x->machine, part);
            tn__genetic_memo_use(memo, x->machine, &problem);
            TN_TRY(err, tn_dataflow_evaluate(&problem, &p->flow, &p->evaluation, err),
                   "while evaluating machine %lld of %s", (long long)x->machine,
                   problem.machine.name);
            p->known = true;
        }
        x->over += p->over;
        x->value += weight * tn__objective(f->options->objective, &p->evaluation);
        x->energy += weight * p->evaluation.energy;
        x->latency += weight * p->evaluation.total;
    }
    return TN_OK;
}

static tn_status make_child(genetic *g, genetic_memo *memo, int i, tn_error *err) {
    genetic_child c = {
        .family = &g->family,
        .parents = g->parents.at,
        .parent_count = g->parents.count,
        .random = tn__sample_stream(g->options->seed, (uint32_t)g->generation, (uint32_t)i),
        .out = &g->children.at[i]};
    if (!tn__genetic_breed(&c)) return TN_OK;
    TN_CHECK(evaluate(g, memo, c.out, err));
    g->made[i] = true;
    return TN_OK;
}

/* ---- threads -------------------------------------------------------------------------------- */

static double best_value(const genetic *g) {
    return g->parents.count && g->parents.at[0].over == 0 ? g->parents.at[0].value : INFINITY;
}

static bool report(genetic *g) {
    const tn_search_options *o = g->options;
    if (!o->progress) return true;
    double generations = g->generation + (double)atomic_load(&g->done) / g->population;
    return o->progress(o->context, generations / g->generations, best_value(g));
}

static void fail(genetic *g, int i, tn_status status, const tn_error *err) {
    pthread_mutex_lock(&g->lock);
    if (!g->status || i < g->failed_at) {
        g->status = status;
        g->err = *err;
        g->failed_at = i;
    }
    pthread_mutex_unlock(&g->lock);
    atomic_store(&g->stop, true);
}

static void work(const worker *w) {
    genetic *g = w->search;
    while (!atomic_load(&g->stop)) {
        int i = atomic_fetch_add(&g->next, 1);
        if (i >= g->population) return;
        tn_error err = TN_ERROR_INIT;
        tn_status status = make_child(g, w->memo, i, &err);
        if (status) fail(g, i, status, &err);
        atomic_fetch_add(&g->done, 1);
        if (w == g->workers && !report(g)) atomic_store(&g->stop, true);
    }
}

static void *run(void *argument) {
    work(argument);
    return NULL;
}

static void make_generation(genetic *g) {
    pthread_t threads[MOST_THREADS];
    int count = 0;
    atomic_store(&g->next, 0);
    atomic_store(&g->done, 0);
    memset(g->made, 0, (size_t)g->population * sizeof *g->made);
    while (count + 1 < g->worker_count &&
           pthread_create(&threads[count], NULL, run, &g->workers[count + 1]) == 0)
        count++;
    work(&g->workers[0]);
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
}

/* ---- selection ------------------------------------------------------------------------------ */

static int compare_values(const genetic_individual *a, const genetic_individual *b) {
    if (a->over != b->over) return a->over < b->over ? -1 : 1;
    if (a->value != b->value) return a->value < b->value ? -1 : 1;
    if (a->energy != b->energy) return a->energy < b->energy ? -1 : 1;
    if (a->latency != b->latency) return a->latency < b->latency ? -1 : 1;
    return 0;
}

static int compare(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    int order = compare_values(x->individual, y->individual);
    return order ? order : x->order < y->order ? -1 : x->order > y->order;
}

static void copy_individual(const genetic *g, genetic_individual *to,
                            const genetic_individual *from) {
    genetic_part *parts = to->parts;
    memcpy(parts, from->parts, (size_t)g->family.study->count * sizeof *parts);
    *to = *from;
    to->parts = parts;
}

/* Parents and children together, each value once: copies of one individual would leave no room for others. */
static void select_parents(genetic *g) {
    int count = 0;
    for (int i = 0; i < g->parents.count; i++, count++)
        g->ranking[count] = (ranked){&g->parents.at[i], count};
    for (int i = 0; i < g->population; i++)
        if (g->made[i]) {
            g->ranking[count] = (ranked){&g->children.at[i], count};
            count++;
        }
    qsort(g->ranking, (size_t)count, sizeof *g->ranking, compare);
    crowd *next = &g->next_parents;
    next->count = 0;
    for (int i = 0; i < count && next->count < g->most_parents; i++) {
        const genetic_individual *x = g->ranking[i].individual;
        if (i && compare_values(g->ranking[i - 1].individual, x) == 0) continue;
        copy_individual(g, &next->at[next->count++], x);
    }
    crowd parents = g->parents;
    g->parents = *next;
    *next = parents;
}

static genetic_individual *new_individual(int parts) {
    genetic_individual *x = calloc(1, sizeof *x + (size_t)parts * sizeof(genetic_part));
    if (x) x->parts = (genetic_part *)(x + 1);
    return x;
}

/* The best of each machine that the search has come by. */
static tn_status remember(genetic *g, tn_error *err) {
    for (int i = 0; i < g->population; i++) {
        const genetic_individual *x = &g->children.at[i];
        if (!g->made[i] || x->over > 0) continue;
        genetic_individual **best = &g->best[x->machine];
        if (*best && compare_values(x, *best) >= 0) continue;
        if (!*best) *best = new_individual(g->family.study->count);
        if (!*best) return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for an individual");
        copy_individual(g, *best, x);
    }
    return TN_OK;
}

static tn_status search(genetic *g, tn_error *err) {
    for (; g->generation < g->generations && !atomic_load(&g->stop); g->generation++) {
        make_generation(g);
        if (g->status) {
            *err = g->err;
            return g->status;
        }
        /* A generation that the caller has cut short counts if there is nothing else. */
        if (atomic_load(&g->stop) && g->parents.count) break;
        TN_CHECK(remember(g, err));
        select_parents(g);
        if (!g->parents.count) break; /* nothing is legal */
    }
    return TN_OK;
}

/* ---- set-up --------------------------------------------------------------------------------- */

static bool new_crowd(crowd *c, int count, int parts) {
    c->at = calloc((size_t)count, sizeof *c->at);
    c->parts = calloc((size_t)count, (size_t)parts * sizeof *c->parts);
    if (!c->at || !c->parts) return false;
    for (int i = 0; i < count; i++) c->at[i].parts = c->parts + (size_t)i * (size_t)parts;
    return true;
}

static void release_crowd(crowd *c) {
    free(c->at);
    free(c->parts);
}

static bool new_workers(genetic *g) {
    int wanted = g->options->threads > 0 ? g->options->threads : tn_cores();
    g->worker_count = TN_MIN(TN_MIN(wanted, g->population), MOST_THREADS);
    for (int i = 0; i < g->worker_count; i++) {
        const tn_study *s = g->family.study;
        worker *w = &g->workers[i];
        *w = (worker){g, tn__genetic_memo_new(s->processor, s->near_memory)};
        if (!w->memo) return false;
    }
    return true;
}

static tn_status allocate(genetic *g, tn_error *err) {
    int parts = g->family.study->count;
    size_t machines = (size_t)g->machine_count;
    bool ok = new_crowd(&g->children, g->population, parts) &&
              new_crowd(&g->parents, g->most_parents, parts) &&
              new_crowd(&g->next_parents, g->most_parents, parts) && new_workers(g);
    g->made = calloc((size_t)g->population, sizeof *g->made);
    g->ranking = calloc((size_t)g->population + (size_t)g->most_parents, sizeof *g->ranking);
    g->best = calloc(machines, sizeof *g->best);
    g->family.machines = calloc(machines, sizeof *g->family.machines);
    if (ok && g->made && g->ranking && g->best && g->family.machines) return TN_OK;
    return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for %d individuals of %d parts",
                        g->population, parts);
}

static void release(genetic *g) {
    release_crowd(&g->children);
    release_crowd(&g->parents);
    release_crowd(&g->next_parents);
    for (int64_t i = 0; g->best && i < g->machine_count; i++) free(g->best[i]);
    for (int i = 0; i < g->worker_count; i++) tn__genetic_memo_release(g->workers[i].memo);
    free(g->best);
    free(g->made);
    free(g->ranking);
    free(g->family.machines);
}

/* The machines that may be drawn: sound ones whose elements are small enough. */
static tn_status find_machines(genetic *g, tn_error *err) {
    genetic_family *f = &g->family;
    for (int64_t i = 0; i < g->machine_count; i++) {
        tn_machine m = tn__genetic_problem(f, i, 0).machine;
        const tn_near_memory *u = &m.near_memory;
        double limit = g->options->area_limit > 0 ? g->options->area_limit : u->area_limit;
        TN_TRY(err, tn_machine_check(&m, err), "machine %lld of the family", (long long)i);
        if (f->machine || limit <= 0 || u->area <= limit) f->machines[f->machine_count++] = i;
    }
    return TN_OK;
}

static int or_else(int value, int otherwise) {
    return value > 0 ? value : otherwise;
}

static tn_status check_options(const tn_search_options *o, tn_error *err) {
    enum { MOST = 1 << 24 };
    if (o->population > MOST || o->parents > MOST)
        return tn_error_set(err, TN_UNSUPPORTED,
                            "a population of %d and %d parents; genetic search takes up to %d each",
                            o->population, o->parents, MOST);
    if (!(o->mutate_ratio >= 0 && o->mutate_ratio <= 1))
        return tn_error_set(err, TN_INVALID,
                            "the share of children by mutation is %g; it must lie in 0 … 1",
                            o->mutate_ratio);
    return TN_OK;
}

/* Runs the search of `family`; `g` is released by the caller, also after an error. */
static tn_status genetic_run(genetic *g, const genetic_family *family, int64_t machine_count,
                             tn_error *err) {
    const tn_search_options *o = family->options;
    *g = (genetic){.family = *family,
                   .options = o,
                   .population = or_else(o->population, POPULATION),
                   .generations = or_else(o->generations, GENERATIONS),
                   .most_parents = or_else(o->parents, PARENTS),
                   .machine_count = machine_count,
                   .lock = PTHREAD_MUTEX_INITIALIZER};
    g->family.mutate_ratio = o->mutate_ratio;
    TN_CHECK(check_options(o, err));
    TN_CHECK(allocate(g, err));
    TN_CHECK(find_machines(g, err));
    return g->family.machine_count ? search(g, err) : TN_OK;
}

/* ---- one machine, or all -------------------------------------------------------------------- */

static tn_solution solution_of(const genetic_part *p) {
    return (tn_solution){.dataflow = p->flow, .evaluation = p->evaluation};
}

tn_status tn__genetic_search(const tn_problem *p, const tn_search_options *options,
                             tn_solution *out, tn_error *err) {
    genetic g;
    tn_study_part part = {.workload = *p->workload, .scenario = p->scenario, .weight = 1};
    tn_study study = {
        .parts = &part, .count = 1, .processor = p->processor, .near_memory = p->near_memory};
    genetic_family family = {.study = &study, .machine = &p->machine, .options = options};
    tn_status status = genetic_run(&g, &family, 1, err);
    if (!status && !g.best[0])
        status = tn_error_set(err, TN_NOT_FOUND,
                              "no dataflow of %s was found that fits into %s: more banks, larger "
                              "banks or fewer sequences would help, or a larger population",
                              p->workload->name, p->machine.name);
    if (!status) *out = solution_of(&g.best[0]->parts[0]);
    release(&g);
    return status;
}

static void fill(const genetic *g, tn_finding *f) {
    for (int64_t i = 0; i < g->machine_count; i++) {
        const genetic_individual *x = g->best[i];
        if (!x) continue;
        tn_finding_machine *m = &f->machines[f->count];
        m->parts = tn__finding_parts(f, f->count++);
        m->index = i;
        m->area = tn__genetic_problem(&g->family, i, 0).machine.near_memory.area;
        m->feasible = true;
        m->value = x->value;
        m->energy = x->energy;
        m->latency = x->latency;
        for (int part = 0; part < f->part_count; part++)
            m->parts[part] = solution_of(&x->parts[part]);
    }
    tn__finding_rank(f);
}

static int64_t count_found(const genetic *g) {
    int64_t count = 0;
    for (int64_t i = 0; i < g->machine_count; i++) count += g->best[i] != NULL;
    return count;
}

tn_status tn__genetic_explore(const tn_study *study, const tn_search_options *options,
                              tn_finding **out, tn_error *err) {
    genetic g;
    genetic_family family = {.study = study, .options = options};
    tn_status status = genetic_run(&g, &family, tn_machine_space_count(study->space), err);
    if (!status) {
        *out = tn__finding_new(count_found(&g), study->count);
        if (*out)
            fill(&g, *out);
        else
            status = tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for a finding");
    }
    release(&g);
    return status;
}
