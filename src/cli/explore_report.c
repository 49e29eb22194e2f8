/* tenon explore --report: page/explore.html with what a search found. Machines are points by their number in the
 * space; the page knows the lists and tells from the number what a machine is. */
#include <math.h>
#include <stdlib.h>

#include "cli/explore.h"
#include "cli/page.h"
#include "explore/dataflow.h"

/* The page, embedded by CMake. */
extern const char *const cli_explore_page[];

enum { MOST_POINTS = 20000, LISTS = 5 };

typedef struct reporter {
    cli *c;
    const explore_job *job;
    const tn_finding *found;
    tn_error *err;
} reporter;

/* ---- the space ------------------------------------------------------------------------------ */

static json_t *integers_json(const int *list, int count, int base) {
    json_t *out = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(out, json_integer(list[i]));
    if (!count) json_array_append_new(out, json_integer(base));
    return out;
}

static json_t *sizes_json(const double *list, int count, double base) {
    json_t *out = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(out, json_real(list[i]));
    if (!count) json_array_append_new(out, json_real(base));
    return out;
}

static json_t *elements_json(const tn_machine_space *s) {
    const tn_near_memory *u = &s->base.near_memory;
    tn_element_choice own = {u->fpus, u->clock, u->bandwidth};
    json_t *out = json_array();
    for (int i = 0; i < TN_MAX(s->element_count, 1); i++) {
        const tn_element_choice *e = s->element_count ? &s->elements[i] : &own;
        json_array_append_new(out,
                              json_pack("[i, f, f]", e->fpus, e->clock / 1e9, e->bandwidth / 1e9));
    }
    return out;
}

/* The lists from the slowest digit of a machine's number to the fastest. */
static json_t *space_json(const tn_machine_space *s) {
    const tn_near_memory *u = &s->base.near_memory;
    return json_pack("[{s:s, s:o}, {s:s, s:o}, {s:s, s:o}, {s:s, s:o}, {s:s, s:o}]", "name",
                     "channels near memory", "values",
                     integers_json(s->channels, s->channel_count, u->channels), "name", "element",
                     "values", elements_json(s), "name", "input buffer", "values",
                     sizes_json(s->input_buffers, s->input_buffer_count, u->input_buffer), "name",
                     "weight buffer", "values",
                     sizes_json(s->weight_buffers, s->weight_buffer_count, u->weight_buffer),
                     "name", "output buffer", "values",
                     sizes_json(s->output_buffers, s->output_buffer_count, u->output_buffer));
}

/* ---- machines ------------------------------------------------------------------------------- */

static json_t *point_json(const tn_finding_machine *x) {
    return json_pack("[I, o, o, o, i]", (json_int_t)x->index, cli_json_number(x->latency),
                     cli_json_number(x->energy), cli_json_number(x->area),
                     (x->feasible ? 1 : 0) + (x->pareto ? 2 : 0) + (x->optimal ? 4 : 0));
}

/* All that fit the page: the front, and every so many of the others. */
static json_t *points_json(const tn_finding *f) {
    int64_t stride = (f->count + MOST_POINTS - 1) / MOST_POINTS;
    json_t *out = json_array();
    for (int64_t i = 0; i < f->count; i++)
        if (i % stride == 0 || f->machines[i].pareto)
            json_array_append_new(out, point_json(&f->machines[i]));
    return out;
}

/* What the best machine would be worth with each value of one list: its neighbours' objectives, null where
 * they hold no dataflow. */
static json_t *sensitivity_of(const int64_t *rank, const tn_finding *f, int64_t stride,
                              int64_t count) {
    int64_t best = f->machines[0].index, chosen = best / stride % count;
    json_t *out = json_array();
    for (int64_t i = 0; i < count; i++) {
        int64_t at = rank[best + (i - chosen) * stride];
        const tn_finding_machine *x = at ? &f->machines[at - 1] : NULL;
        json_array_append_new(out, x && x->feasible ? cli_json_number(x->value) : json_null());
    }
    return json_pack("{s:I, s:o}", "chosen", (json_int_t)chosen, "values", out);
}

/* One for each list of space_json. */
static json_t *sensitivity_json(const reporter *r) {
    const tn_machine_space *s = &r->job->space;
    const int counts[LISTS] = {s->channel_count, s->element_count, s->input_buffer_count,
                               s->weight_buffer_count, s->output_buffer_count};
    int64_t *rank = calloc((size_t)tn_machine_space_count(s), sizeof *rank), stride = 1;
    json_t *lists[LISTS], *out = json_array();
    if (!rank) return json_decref(out), NULL;
    for (int64_t i = 0; i < r->found->count; i++) rank[r->found->machines[i].index] = i + 1;
    for (int i = LISTS; i-- > 0;) {
        int64_t count = TN_MAX(counts[i], 1);
        lists[i] = sensitivity_of(rank, r->found, stride, count);
        stride *= count;
    }
    for (int i = 0; i < LISTS; i++) json_array_append_new(out, lists[i]);
    free(rank);
    return out;
}

/* ---- the best dataflow ---------------------------------------------------------------------- */

static tn_problem problem_of(const reporter *r, int part) {
    const tn_study_part *u = &r->job->parts[part];
    tn_problem p = {.workload = &u->workload,
                    .scenario = u->scenario,
                    .processor = r->job->processor,
                    .near_memory = r->job->near_memory};
    tn_machine_space_at(&r->job->space, r->found->machines[0].index, &p.machine);
    tn_machine_for_batch(&r->job->space, u->scenario.batch, &p.machine);
    return p;
}

static json_t *channels_json(uint64_t set) {
    json_t *list = json_array();
    for (int c = 0; c < TN_MACHINE_CHANNELS; c++)
        if (set >> c & 1) json_array_append_new(list, json_integer(c));
    return list;
}

static json_t *spans_json(const tn_timeline_span *spans, int count) {
    json_t *out = json_array();
    for (int i = 0; i < count; i++) {
        const tn_timeline_span *s = &spans[i];
        json_array_append_new(
            out, json_pack("{s:i, s:b, s:o, s:b, s:[i, i, i], s:f, s:f, s:f, s:f, s:f}", "op",
                           s->op, "near", s->unit == TN_UNIT_NEAR_MEMORY, "nmp",
                           channels_json(s->nmp), "normal", s->normal, "at", s->group, s->partition,
                           s->tier, "start", s->start, "end", s->end, "compute", s->compute,
                           "transfer", s->transfer, "sync", s->sync));
    }
    return out;
}

static json_t *operators_json(const tn_workload *w) {
    json_t *out = json_array();
    for (int i = 0; i < w->count; i++)
        json_array_append_new(out, json_string(w->operators[i].name));
    return out;
}

static tn_status part_page_json(const reporter *r, int part, json_t **out) {
    const tn_study_part *u = &r->job->parts[part];
    const tn_solution *s = &r->found->machines[0].parts[part];
    tn_problem p = problem_of(r, part);
    tn_timeline t;
    TN_CHECK(tn_dataflow_timeline(&p, &s->dataflow, &t, r->err));
    *out = explore_part_json(u, s);
    json_object_set_new(*out, "layers", json_integer(u->workload.layers));
    json_object_set_new(*out, "operators", operators_json(&u->workload));
    json_object_set_new(*out, "prefill", spans_json(t.prefill, t.prefill_count));
    json_object_set_new(*out, "step", spans_json(t.spans, t.count));
    return TN_OK;
}

static tn_status parts_json(const reporter *r, json_t **out) {
    *out = json_array();
    for (int i = 0; i < r->job->part_count; i++) {
        json_t *part = NULL;
        TN_CHECK(part_page_json(r, i, &part));
        json_array_append_new(*out, part);
    }
    return TN_OK;
}

/* ---- other designs -------------------------------------------------------------------------- */

typedef struct design {
    const char *name;
    bool fixed;
    tn_fixed_dataflow kind;
    tn_dataflow_space space;
} design;

static const design designs[] = {
    {"NPU only", true, TN_NPU_ONLY, 0},
    {"NPU of twice the rate", true, TN_NPU_ONLY_2X, 0},
    {"attention offloading", true, TN_ATTENTION_OFFLOADING, 0},
    {"… with FFN split", true, TN_ATTENTION_OFFLOADING_FFN_SPLIT, 0},
    {"FC offloading", true, TN_FC_OFFLOADING, 0},
    {"compute-centric", false, 0, TN_COMPUTE_CENTRIC},
    {"data-centric", false, 0, TN_DATA_CENTRIC},
    {"union", false, 0, TN_UNION},
};

static tn_status evaluate_design(const reporter *r, const design *d, int part, tn_evaluation *out,
                                 tn_error *err) {
    tn_problem p = problem_of(r, part);
    tn_search_options options = r->job->search;
    tn_solution solution;
    if (d->fixed) {
        if (d->kind == TN_NPU_ONLY || d->kind == TN_NPU_ONLY_2X) p.machine.near_memory.channels = 0;
        return tn_fixed_evaluate(&p, d->kind, out, err);
    }
    options.space = d->space;
    options.progress = NULL;
    TN_CHECK(tn_search_dataflow(&p, &options, &solution, err));
    *out = solution.evaluation;
    return TN_OK;
}

/* The weighted sums of a design on the best machine, or why it has none. */
static json_t *design_json(const reporter *r, const design *d) {
    double prefill = 0, decode = 0, energy = 0;
    for (int i = 0; i < r->job->part_count; i++) {
        tn_error err = TN_ERROR_INIT;
        tn_evaluation e;
        double weight = r->job->parts[i].weight;
        tn_status status = evaluate_design(r, d, i, &e, &err);
        if (status)
            return json_pack("{s:s, s:s}", "name", d->name, "why",
                             status == TN_NOT_FOUND ? "does not fit" : err.message);
        prefill += weight * e.prefill;
        decode += weight * e.decode;
        energy += weight * e.energy;
    }
    return json_pack("{s:s, s:f, s:f, s:f}", "name", d->name, "prefill", prefill, "decode", decode,
                     "energy", energy);
}

static json_t *designs_json(const reporter *r) {
    const tn_finding_machine *best = &r->found->machines[0];
    double prefill = 0;
    for (int i = 0; i < r->job->part_count; i++)
        prefill += r->job->parts[i].weight * best->parts[i].evaluation.prefill;
    json_t *out = json_array();
    for (size_t i = 0; i < TN_COUNT(designs); i++)
        json_array_append_new(out, design_json(r, &designs[i]));
    json_array_append_new(out, json_pack("{s:s, s:f, s:f, s:f, s:b}", "name", "best of this space",
                                         "prefill", prefill, "decode", best->latency - prefill,
                                         "energy", best->energy, "best", 1));
    return out;
}

/* ---- the page ------------------------------------------------------------------------------- */

tn_status explore_page_write(json_t *data, const char *path, tn_error *err) {
    return cli_page_write(cli_explore_page[0], data, path, err);
}

tn_status explore_report(cli *c, const explore_job *job, const tn_finding *f, const char *path,
                         tn_error *err) {
    static const char *const objectives[] = {"latency", "energy", "energy · latency"};
    reporter r = {c, job, f, err};
    json_t *parts;
    int64_t infeasible = 0;
    tn_machine m;
    tn_status status = parts_json(&r, &parts);
    if (status) return json_decref(parts), status;
    tn_machine_space_at(&job->space, f->machines[0].index, &m);
    for (int64_t i = 0; i < f->count; i++) infeasible += !f->machines[i].feasible;
    json_t *data = json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:f, s:o, s:o, s:o, s:o}", "kind",
                             "explore", "objective", objectives[job->search.objective], "machine",
                             explore_machine_json(&m), "space", space_json(&job->space), "count",
                             (json_int_t)f->count, "infeasible", (json_int_t)infeasible, "value",
                             f->machines[0].value, "points", points_json(f), "parts", parts,
                             "sensitivity", sensitivity_json(&r), "designs", designs_json(&r));
    return explore_page_write(data, path, err);
}
