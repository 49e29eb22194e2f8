/* tenon explore: the best machine of a family and its best dataflows. */
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/io.h"
#include "cli/explore.h"
#include "explore/dataflow.h"

/* ---- progress ------------------------------------------------------------------------------- */

typedef struct progress {
    cli *c;
    double last;
} progress;

static bool show_progress(void *context, double done, double best) {
    progress *p = context;
    double now = tn_seconds();
    if (now - p->last < 0.1) return true;
    p->last = now;
    fprintf(stderr, "\r[%-40.*s] %3.0f %%  best %s s ", (int)(done * 40),
            "########################################", done * 100, cli_time(p->c, best));
    return true;
}

/* ---- as text -------------------------------------------------------------------------------- */

static const char *describe_element(cli *c, const tn_machine *m) {
    const tn_near_memory *u = &m->near_memory;
    if (!u->channels) return "no channels near memory";
    return tn_arena_printf(
        &c->arena, "%d of %d channels near memory, %d FPUs @ %.10g GHz, %.10g GB/s an element",
        u->channels, m->memory.channels, u->fpus, u->clock / 1e9, u->bandwidth / 1e9);
}

static void print_placement(const tn_placement *a, const tn_operator *o) {
    if (a->nmp && a->normal)
        printf("%s on %d+n (%.1f %%)", o->name, tn__channel_count(a->nmp), a->ratio * 100);
    else if (a->nmp)
        printf("%s on %d", o->name, tn__channel_count(a->nmp));
    else
        printf("%s on n", o->name);
}

/* A line a group: partitions by " | ", tiers by " ; ", operators by ", ". */
static void print_dataflow(const tn_dataflow *d, const tn_workload *w) {
    for (int i = 0; i < d->count; i++) {
        const tn_placement *a = &d->at[i], *b = i ? a - 1 : NULL;
        if (!b || b->group != a->group)
            printf("%s  group %d: ", b ? "\n" : "", a->group + 1);
        else if (b->partition != a->partition)
            printf("  |  ");
        else
            printf(b->tier != a->tier ? " ; " : ", ");
        print_placement(a, &w->operators[a->op]);
    }
    printf("\n");
}

static void print_part(cli *c, const tn_study_part *part, const tn_evaluation *e) {
    const tn_scenario *s = &part->scenario;
    tn_serving v = tn_serving_of(&part->workload, s, e);
    printf("\n%s%s%s  batch %d, prompt %lld, generate %lld, context %lld, %g bytes an element\n",
           cli_style_on(c, CLI_BOLD), part->workload.name, CLI_OFF(c), s->batch,
           (long long)s->prompt, (long long)s->generate, (long long)s->context_limit,
           s->element_bytes);
    printf("  a layer: %s = prefill %s + decode %s\n", cli_time(c, e->total),
           cli_time(c, e->prefill), cli_time(c, e->decode));
    printf("  %d layers: first token %s, then %s a token; %s tokens/s", part->workload.layers,
           cli_time(c, v.first_token), cli_time(c, v.per_token), cli_si(c, v.tokens_a_second));
    if (e->energy > 0)
        printf(", %s tokens/J", cli_shortest(c, round(v.tokens_a_joule * 1e3) / 1e3));
    printf("\n");
}

static void print_bound(cli *c, const tn_solution *s) {
    if (s->optimal)
        printf("  proven optimal\n");
    else if (s->lower_bound > 0)
        printf("  not proven: at least %s\n", cli_shortest(c, s->lower_bound));
}

static void print_ranking(cli *c, const explore_job *job, const tn_finding *f) {
    cli_table t = cli_table_of(c, "rrrrrrl", true);
    static const char *const heading[] = {"latency", "energy", "area", "channels",
                                          "FPUs",    "GHz",    "GB/s"};
    int64_t count = TN_MIN(f->count, 10);
    if (f->count < 2) return;
    printf("\n%lld of %lld machines:\n", (long long)count, (long long)f->count);
    for (int i = 0; i < 7; i++) cli_table_cell(&t, "%s", heading[i]);
    for (int64_t i = 0; i < count; i++) {
        const tn_finding_machine *x = &f->machines[i];
        tn_machine m;
        tn_machine_space_at(&job->space, x->index, &m);
        if (x->feasible)
            cli_table_cell(&t, "%s", cli_time(c, x->latency));
        else
            cli_table_cell(&t, "does not fit");
        cli_table_cell(&t, x->energy > 0 ? "%.4g J" : "–", x->energy);
        cli_table_cell(&t, x->area > 0 ? "%.2f mm²" : "–", x->area);
        cli_table_cell(&t, "%d", m.near_memory.channels);
        cli_table_cell(&t, "%d", m.near_memory.fpus);
        cli_table_cell(&t, "%.10g", m.near_memory.clock / 1e9);
        cli_table_cell(&t, "%.10g%s", m.near_memory.bandwidth / 1e9, x->pareto ? "  *" : "");
    }
    cli_table_print(&t);
    printf("* no other machine has less latency, energy and area\n");
}

static void print_finding(cli *c, const explore_job *job, const tn_finding *f) {
    const tn_finding_machine *best = &f->machines[0];
    tn_machine m;
    tn_machine_space_at(&job->space, best->index, &m);
    printf("%s%s%s: %s\n", cli_style_on(c, CLI_BOLD), m.name, CLI_OFF(c), describe_element(c, &m));
    for (int i = 0; i < job->part_count; i++) {
        const tn_solution *s = &best->parts[i];
        print_part(c, &job->parts[i], &s->evaluation);
        print_dataflow(&s->dataflow, &job->parts[i].workload);
        print_bound(c, s);
    }
    print_ranking(c, job, f);
}

/* ---- as JSON -------------------------------------------------------------------------------- */

json_t *explore_machine_json(const tn_machine *m) {
    const tn_near_memory *u = &m->near_memory;
    return json_pack("{s:s, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f}", "name", m->name,
                     "channels", m->memory.channels, "nmp_channels", u->channels, "fpus", u->fpus,
                     "clock_hz", u->clock, "bandwidth", u->bandwidth, "input_buffer",
                     u->input_buffer, "weight_buffer", u->weight_buffer, "output_buffer",
                     u->output_buffer, "area_mm2", u->area);
}

static json_t *evaluation_json(const tn_evaluation *e) {
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:b}", "total", e->total, "prefill",
                     e->prefill, "decode", e->decode, "decode_step", e->decode_step, "energy",
                     e->energy, "compute", e->compute, "transfer", e->transfer, "sync", e->sync,
                     "fits", e->fits);
}

json_t *explore_part_json(const tn_study_part *part, const tn_solution *s) {
    tn_serving v = tn_serving_of(&part->workload, &part->scenario, &s->evaluation);
    return json_pack(
        "{s:s, s:{s:i, s:I, s:I, s:I, s:f}, s:f, s:o, s:{s:f, s:f, s:f, s:f}, s:o, s:b, s:f}",
        "workload", part->workload.name, "scenario", "batch", part->scenario.batch, "prompt",
        (json_int_t)part->scenario.prompt, "generate", (json_int_t)part->scenario.generate,
        "context", (json_int_t)part->scenario.context_limit, "element_bytes",
        part->scenario.element_bytes, "weight", part->weight, "evaluation",
        evaluation_json(&s->evaluation), "serving", "first_token", v.first_token, "per_token",
        v.per_token, "tokens_a_second", v.tokens_a_second, "tokens_a_joule", v.tokens_a_joule,
        "plan", tn__dataflow_plan_json(&s->dataflow, &part->workload), "optimal", s->optimal,
        "lower_bound", s->lower_bound);
}

static json_t *ranked_json(const explore_job *job, const tn_finding_machine *x, bool best) {
    tn_machine m;
    tn_machine_space_at(&job->space, x->index, &m);
    json_t *v = json_pack("{s:I, s:o, s:o, s:o, s:b, s:b, s:b}", "index", (json_int_t)x->index,
                          "machine", explore_machine_json(&m), "latency",
                          cli_json_number(x->latency), "energy", cli_json_number(x->energy),
                          "feasible", x->feasible, "optimal", x->optimal, "pareto", x->pareto);
    if (best) {
        json_t *parts = json_array();
        for (int i = 0; i < job->part_count; i++)
            json_array_append_new(parts, explore_part_json(&job->parts[i], &x->parts[i]));
        json_object_set_new(v, "parts", parts);
    }
    return v;
}

/* The best machine in full; of the others the Pareto front and the first hundred in short. */
static json_t *finding_json(const explore_job *job, const tn_finding *f) {
    json_t *machines = json_array();
    for (int64_t i = 0; i < f->count; i++)
        if (i < 100 || f->machines[i].pareto)
            json_array_append_new(machines, ranked_json(job, &f->machines[i], i == 0));
    return json_pack("{s:s, s:I, s:o}", "schema", "tenon.explore/1", "count", (json_int_t)f->count,
                     "machines", machines);
}

/* ---- running -------------------------------------------------------------------------------- */

static tn_status run_fixed(cli *c, const explore_job *job, tn_error *err) {
    tn_evaluation e;
    tn_problem p = {.workload = &job->parts[0].workload,
                    .scenario = job->parts[0].scenario,
                    .processor = job->processor,
                    .near_memory = job->near_memory};
    tn_machine_space_at(&job->space, 0, &p.machine);
    TN_CHECK(tn_fixed_evaluate(&p, job->fixed_dataflow, &e, err));
    TN_CHECK(explore_write_log(c, job->folder, &e, NULL, err));
    if (c->options.json)
        return cli_json_exact(c,
                              json_pack("{s:s, s:o, s:o}", "schema", "tenon.explore/1", "machine",
                                        explore_machine_json(&p.machine), "evaluation",
                                        evaluation_json(&e)),
                              err);
    printf("%s: %s\n", c->options.dataflow_fixed, describe_element(c, &p.machine));
    print_part(c, &job->parts[0], &e);
    return TN_OK;
}

static tn_status nothing_found(const explore_job *job, const tn_finding *f, tn_error *err) {
    double limit = job->search.area_limit, least = INFINITY;
    if (!(limit > 0)) limit = job->space.base.near_memory.area_limit;
    for (int64_t i = 0; i < f->count; i++) least = TN_MIN(least, f->machines[i].area);
    if (limit > 0 && f->count && least > limit)
        return tn_error_set(err, TN_NOT_FOUND,
                            "no element of the family has at most %g mm² (%s): the smallest has "
                            "%.4g",
                            limit,
                            job->search.area_limit > 0 ? "--area-limit"
                                                       : "near_memory.area_limit, which "
                                                         "--area-limit replaces",
                            least);
    for (int i = 0; f->count && i < job->part_count; i++) {
        tn_solution s;
        tn_problem p = {.workload = &job->parts[i].workload,
                        .scenario = job->parts[i].scenario,
                        .processor = job->processor,
                        .near_memory = job->near_memory};
        tn_machine_space_at(&job->space, f->machines[0].index, &p.machine);
        TN_TRY(err, tn_search_dataflow(&p, &job->search, &s, err),
               "no machine of the family holds the workload; the first of %lld",
               (long long)f->count);
    }
    return tn_error_set(err, TN_NOT_FOUND,
                        "no machine of the family holds the workload: more banks, larger banks, "
                        "fewer sequences or --dataflows union would help");
}

static tn_status report_finding(cli *c, const explore_job *job, const tn_finding *f,
                                tn_error *err) {
    const tn_finding_machine *best = f->machines;
    tn_machine m;
    if (!f->count || !best->feasible) return nothing_found(job, f, err);
    if (job->search.objective != TN_LATENCY && best->energy == 0)
        return tn_error_set(err, TN_INVALID,
                            "--objective %s needs energy, which cost models %s and %s do not know; "
                            "nmp_dataflow does, in --processor-model and --near-memory-model",
                            c->options.objective, tn_cost_model_name(job->processor),
                            tn_cost_model_name(job->near_memory));
    tn_machine_space_at(&job->space, best->index, &m);
    TN_CHECK(explore_write_log(c, job->folder, &best->parts[0].evaluation, &m, err));
    if (c->options.report) TN_CHECK(explore_report(c, job, f, c->options.report, err));
    if (c->options.json) return cli_json_exact(c, finding_json(job, f), err);
    print_finding(c, job, f);
    return TN_OK;
}

static tn_status run_search(cli *c, explore_job *job, tn_error *err) {
    progress bar = {c, 0};
    tn_finding *found = NULL;
    tn_study study = {job->parts, job->part_count, &job->space, job->processor, job->near_memory};
    if (isatty(STDERR_FILENO) && !c->options.quiet) {
        job->search.progress = show_progress;
        job->search.context = &bar;
    }
    tn_status status = tn_explore(&study, &job->search, &found, err);
    if (bar.last > 0) fprintf(stderr, "\r\033[K");
    if (!status) status = report_finding(c, job, found, err);
    tn_finding_release(found);
    return status;
}

tn_status cmd_explore(cli *c, tn_error *err) {
    const cli_list *words = &c->options.positional;
    explore_job job;
    if (words->count && strcmp(words->at[0], "eval") == 0) {
        if (words->count == 2) return explore_eval(c, words->at[1], err);
        return cli_usage(c, err, "explore eval needs ROWS.json");
    }
    if (words->count == 1 && strcmp(words->at[0], "reproduce") == 0)
        return explore_reproduce(c, c->options.out_dir, err);
    if (words->count)
        return cli_usage(c, err,
                         "unknown action '%s'; eval and reproduce are known, and none searches",
                         words->at[0]);
    if (c->options.out_dir)
        return cli_usage(c, err, "-o is of explore reproduce; --dse-output-dir takes result.log");
    tn_status status = explore_job_read(c, &job, err);
    if (!status && job.fixed && c->options.report)
        status = cli_usage(
            c, err, "--report draws what a search finds; --is-dataflow-fixed %s searches nothing",
            c->options.dataflow_fixed);
    if (!status) status = job.fixed ? run_fixed(c, &job, err) : run_search(c, &job, err);
    explore_job_release(&job);
    return status;
}
