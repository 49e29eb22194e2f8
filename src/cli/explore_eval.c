/* tenon explore eval ROWS.json: the rows of a reference file with Tenon's figures in the place of theirs. What a
 * row asks for is told by its members. */
#include <math.h>
#include <stdio.h>

#include "base/io.h"
#include "base/json.h"
#include "cli/explore.h"
#include "explore/dataflow.h"

typedef struct evaluator {
    tn_cost_model *npu, *nmp;
    tn_error *err;
} evaluator;

/* ---- members of rows ------------------------------------------------------------------------ */

static tn_status number(const evaluator *v, const json_t *row, const char *key, double least,
                        double *out) {
    const json_t *x = json_object_get(row, key);
    *out = json_number_value(x);
    if (json_is_number(x) && isfinite(*out) && *out >= least && *out <= 1e15) return TN_OK;
    return tn_error_set(v->err, TN_INVALID, "'%s' is not a number of at least %g", key, least);
}

static tn_status integer(const evaluator *v, const json_t *row, const char *key, int64_t least,
                         int64_t *out) {
    double x;
    TN_CHECK(number(v, row, key, (double)least, &x));
    *out = (int64_t)x;
    if ((double)*out == x && *out <= 1 << 24) return TN_OK;
    return tn_error_set(v->err, TN_INVALID, "'%s' is %g, not a whole number up to 2^24", key, x);
}

static tn_status text(const evaluator *v, const json_t *row, const char *key, const char **out) {
    *out = json_string_value(json_object_get(row, key));
    return *out ? TN_OK : tn_error_set(v->err, TN_INVALID, "'%s' is no text", key);
}

static void put(json_t *row, const char *key, double value) {
    json_object_set_new(row, key, cli_json_number(value));
}

static tn_status workload_of(const evaluator *v, const json_t *row, tn_workload *out) {
    static const char *const names[][2] = {
        {"opt", "opt-6.7b"}, {"llama", "llama3-8b"}, {"palm", "palm-8b"}};
    const char *model;
    TN_CHECK(text(v, row, "model", &model));
    for (size_t i = 0; i < TN_COUNT(names); i++)
        if (strcmp(names[i][0], model) == 0) return tn_workload_named(names[i][1], out, v->err);
    return tn_workload_named(model, out, v->err);
}

/* "dataset" by the paper's names, or "prompt" and "gen". */
static tn_status scenario_of(const evaluator *v, const json_t *row, tn_scenario *out) {
    static const struct {
        const char *name;
        int64_t prompt, generate;
    } datasets[] = {{"he", 157, 67}, {"sg", 783, 209}, {"lb", 1886, 97}, {"lg", 1971, 17}};
    const char *dataset = json_string_value(json_object_get(row, "dataset"));
    int64_t batch, context = 2048;
    TN_CHECK(integer(v, row, "batch", 1, &batch));
    if (json_object_get(row, "context")) TN_CHECK(integer(v, row, "context", 1, &context));
    *out = (tn_scenario){.batch = (int)batch, .context_limit = context, .element_bytes = 2};
    for (size_t i = 0; dataset && i < TN_COUNT(datasets); i++) {
        if (strcmp(datasets[i].name, dataset) != 0) continue;
        out->prompt = datasets[i].prompt;
        out->generate = datasets[i].generate;
        return TN_OK;
    }
    TN_CHECK(integer(v, row, "prompt", 1, &out->prompt));
    return integer(v, row, "gen", 0, &out->generate);
}

/* The artifact's machine with the element and channels of a row, running `batch` sequences. */
static tn_status machine_of(const evaluator *v, const json_t *row, const char *channels_key,
                            const char *bandwidth_key, int batch, tn_machine *out) {
    static const char *const families[] = {"ID-NMP", "ID-NMP+"};
    int64_t channels, fpus;
    double mhz, gbs;
    tn_machine_space space;
    TN_CHECK(integer(v, row, channels_key, 0, &channels));
    TN_CHECK(integer(v, row, "fpu", 1, &fpus));
    TN_CHECK(number(v, row, "mhz", 1e-3, &mhz));
    TN_CHECK(number(v, row, bandwidth_key, 1e-6, &gbs));
    for (size_t i = 0; i < TN_COUNT(families); i++) {
        TN_CHECK(tn_machine_space_load(families[i], &space, v->err));
        *out = space.base;
        out->near_memory.channels = (int)channels;
        out->near_memory.fpus = (int)fpus;
        out->near_memory.clock = mhz * 1e6;
        out->near_memory.bandwidth = gbs * 1e9;
        tn_machine_for_batch(&space, batch, out);
        if (out->near_memory.utilization < 1) break;
    }
    return tn_machine_check(out, v->err);
}

/* ---- rows of cost models -------------------------------------------------------------------- */

static tn_status product_of(const evaluator *v, const json_t *row, tn_product *out) {
    TN_CHECK(integer(v, row, "B", 0, &out->batch));
    TN_CHECK(integer(v, row, "M", 0, &out->m));
    TN_CHECK(integer(v, row, "N", 0, &out->n));
    TN_CHECK(integer(v, row, "K", 0, &out->k));
    return number(v, row, "element_size", 1e-3, &out->element_bytes);
}

static tn_status put_cost(const evaluator *v, const tn_cost_model *model, const tn_cost_query *q,
                          json_t *row) {
    tn_cost cost;
    TN_CHECK(tn_cost_of(model, q, &cost, v->err));
    put(row, "latency_s", cost.latency);
    put(row, "energy", cost.energy);
    return TN_OK;
}

static tn_status eval_npu(const evaluator *v, json_t *row) {
    tn_machine_space space;
    tn_cost_query q = {.machine = &space.base};
    double tmacs;
    int64_t nmp, normal;
    TN_CHECK(tn_machine_space_load("CP", &space, v->err));
    TN_CHECK(product_of(v, row, &q.product));
    TN_CHECK(number(v, row, "npu_tmacs", 1e-9, &tmacs));
    TN_CHECK(integer(v, row, "nmp_channels", 0, &nmp));
    TN_CHECK(integer(v, row, "normal_channels", nmp ? 0 : 1, &normal));
    space.base.processor.macs = tmacs * 1e12;
    q.nmp_channels = (int)nmp;
    q.normal_channels = (int)normal;
    return put_cost(v, v->npu, &q, row);
}

static tn_status eval_nmp(const evaluator *v, json_t *row) {
    tn_machine m;
    tn_cost_query q = {.machine = &m, .unit = TN_UNIT_NEAR_MEMORY};
    TN_CHECK(product_of(v, row, &q.product));
    TN_CHECK(machine_of(v, row, "nmp_channels", "pe_bw", 0, &m));
    if (!m.near_memory.channels) return tn_error_set(v->err, TN_INVALID, "'nmp_channels' is 0");
    q.nmp_channels = m.near_memory.channels;
    return put_cost(v, v->nmp, &q, row);
}

static tn_status eval_utilization(const evaluator *v, json_t *row) {
    int64_t batch;
    tn_machine m;
    json_t *device = json_deep_copy(row);
    json_object_set_new(device, "nmp", json_integer(1));
    tn_status status = integer(v, row, "batch", 1, &batch);
    if (!status) status = machine_of(v, device, "nmp", "pe_bw", (int)batch, &m);
    json_decref(device);
    if (!status) put(row, "util", m.near_memory.utilization);
    return status;
}

/* ---- rows of dataflows ---------------------------------------------------------------------- */

static void put_evaluation(json_t *row, const tn_evaluation *e) {
    put(row, "prefill", e->prefill);
    if (json_object_get(row, "decode_step")) put(row, "decode_step", e->decode_step);
    put(row, "decode", e->decode);
    put(row, "total", e->total);
}

static tn_status problem_of(const evaluator *v, const json_t *row, tn_workload *w, tn_problem *p) {
    *p = (tn_problem){.workload = w, .processor = v->npu, .near_memory = v->nmp};
    TN_CHECK(workload_of(v, row, w));
    return scenario_of(v, row, &p->scenario);
}

static tn_status eval_fixed(const evaluator *v, json_t *row) {
    static const char *const names[] = {"npu_only", "2x_npu_only", "fc_offloading",
                                        "attention_offloading",
                                        "attention_offloading_with_ffn_splitting"};
    const char *name;
    int64_t channels;
    tn_workload w;
    tn_problem p;
    tn_machine_space space;
    tn_evaluation e;
    TN_CHECK(problem_of(v, row, &w, &p));
    TN_CHECK(text(v, row, "dataflow", &name));
    TN_CHECK(integer(v, row, "nmp_channels", 0, &channels));
    TN_CHECK(tn_machine_space_load("H2-LLM", &space, v->err));
    p.machine = space.base;
    p.machine.near_memory.channels = (int)channels;
    TN_CHECK(tn_machine_check(&p.machine, v->err));
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        if (strcmp(names[i], name) != 0) continue;
        TN_CHECK(tn_fixed_evaluate(&p, (tn_fixed_dataflow)i, &e, v->err));
        put_evaluation(row, &e);
        return TN_OK;
    }
    return tn_error_set(v->err, TN_INVALID, "'dataflow' is '%s', which is none", name);
}

static tn_status space_of(const evaluator *v, const json_t *row, tn_dataflow_space *out) {
    static const char *const names[] = {"compute-centric", "data-centric", "union"};
    const char *mode;
    TN_CHECK(text(v, row, "mode", &mode));
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        *out = (tn_dataflow_space)i;
        if (strcmp(names[i], mode) == 0) return TN_OK;
    }
    return tn_error_set(v->err, TN_INVALID,
                        "'mode' is '%s'; data-centric, compute-centric and union are known", mode);
}

static tn_status eval_dataflow(const evaluator *v, json_t *row) {
    const json_t *device = json_object_get(row, "device");
    tn_dataflow_space space;
    tn_workload w;
    tn_problem p;
    tn_dataflow d;
    tn_evaluation e;
    TN_CHECK(problem_of(v, row, &w, &p));
    TN_CHECK(space_of(v, row, &space));
    TN_CHECK(machine_of(v, device, "nmp_channels", "pe_bw", p.scenario.batch, &p.machine));
    TN_CHECK(tn__dataflow_read(json_object_get(row, "mags"), &w, &p.machine, &d, v->err));
    TN_CHECK(tn_dataflow_check(&p, space, &d, v->err));
    TN_CHECK(tn_dataflow_evaluate(&p, &d, &e, v->err));
    put_evaluation(row, &e);
    json_object_set_new(row, "capacity_ok", json_boolean(e.fits));
    return TN_OK;
}

/* ---- rows of optima ------------------------------------------------------------------------- */

static tn_status eval_exact(const evaluator *v, json_t *row) {
    const json_t *device = json_object_get(row, "device");
    tn_search_options options = TN_SEARCH_OPTIONS_INIT;
    tn_workload w;
    tn_problem p;
    tn_solution s;
    TN_CHECK(problem_of(v, row, &w, &p));
    TN_CHECK(space_of(v, device, &options.space));
    TN_CHECK(machine_of(v, device, "nmp", "pe_bw", p.scenario.batch, &p.machine));
    /* PaLM was published with a mutate ratio of 1: no crossover, whose ratios are other ones. */
    options.sampled_ratios = strcmp(w.name, "palm-8b") == 0;
    TN_CHECK(tn_search_dataflow(&p, &options, &s, v->err));
    put_evaluation(row, &s.evaluation);
    put(row, "lower_bound", s.lower_bound);
    json_object_set_new(row, "status", json_string(s.optimal ? "optimal" : "bounds"));
    json_object_set_new(row, "plan", tn__dataflow_plan_json(&s.dataflow, &w));
    return TN_OK;
}

/* The published channels and elements; buffers cost nothing in the rooflines. */
static tn_status published_devices(const evaluator *v, tn_machine_space *out) {
    TN_CHECK(tn_machine_space_load("H2-LLM space", out, v->err));
    out->input_buffer_count = out->weight_buffer_count = out->output_buffer_count = 0;
    return TN_OK;
}

static void put_device(json_t *row, const tn_machine_space *space, const tn_finding_machine *x) {
    tn_machine m;
    tn_machine_space_at(space, x->index, &m);
    json_object_set_new(row, "nmp", json_integer(m.near_memory.channels));
    json_object_set_new(row, "fpu", json_integer(m.near_memory.fpus));
    json_object_set_new(row, "mhz", json_integer((json_int_t)lround(m.near_memory.clock / 1e6)));
    put(row, "bw", m.near_memory.bandwidth / 1e9);
    put(row, "total", x->parts[0].evaluation.total);
    put(row, "prefill", x->parts[0].evaluation.prefill);
    put(row, "decode", x->parts[0].evaluation.decode);
    json_object_set_new(row, "feasible", json_boolean(x->feasible));
}

static tn_status explore_part(const evaluator *v, const tn_study_part *part,
                              const tn_machine_space *space, bool sampled, tn_finding **out) {
    tn_search_options options = TN_SEARCH_OPTIONS_INIT;
    options.sampled_ratios = sampled;
    tn_study study = {part, 1, space, v->npu, v->nmp};
    return tn_explore(&study, &options, out, v->err);
}

static tn_status eval_architecture(const evaluator *v, json_t *row) {
    tn_study_part part = {.weight = 1};
    tn_machine_space space;
    tn_finding *found = NULL;
    TN_CHECK(workload_of(v, row, &part.workload));
    TN_CHECK(scenario_of(v, row, &part.scenario));
    TN_CHECK(published_devices(v, &space));
    TN_CHECK(explore_part(v, &part, &space, false, &found));
    put_device(row, &space, found->machines);
    tn_finding_release(found);
    return TN_OK;
}

/* Rows without a model: the toy run, a device each, with the ratios that the artifact's samplers draw, as if
 * memory held everything; "feasible" says whether it does. */
static tn_status eval_toy(const evaluator *v, json_t *row) {
    tn_study_part part = {.weight = 1, .scenario = {16, 1024, 128, 2048, 2}};
    tn_machine_space space;
    tn_finding *found = NULL;
    int64_t nmp, fpu;
    double mhz, gbs;
    TN_CHECK(tn_workload_named("opt-6.7b", &part.workload, v->err));
    TN_CHECK(published_devices(v, &space));
    TN_CHECK(integer(v, row, "nmp", 0, &nmp));
    TN_CHECK(integer(v, row, "fpu", 1, &fpu));
    TN_CHECK(number(v, row, "mhz", 1e-3, &mhz));
    TN_CHECK(number(v, row, "bw", 1e-6, &gbs));
    space.channel_count = space.element_count = 1;
    space.channels[0] = (int)nmp;
    space.elements[0] = (tn_element_choice){(int)fpu, mhz * 1e6, gbs * 1e9};
    TN_CHECK(explore_part(v, &part, &space, true, &found));
    const tn_finding_machine *fitting = found->machines;
    double best = fitting->feasible ? fitting->latency : INFINITY;
    tn_finding_release(found);
    space.base.memory.bank_bytes = 1e15;
    TN_CHECK(explore_part(v, &part, &space, true, &found));
    put_device(row, &space, found->machines);
    json_object_set_new(row, "feasible",
                        json_boolean(best <= found->machines->latency * (1 + 1e-12)));
    tn_finding_release(found);
    return TN_OK;
}

/* ---- files ---------------------------------------------------------------------------------- */

/* The first member that a row has decides. */
static const struct {
    const char *member;
    tn_status (*eval)(const evaluator *v, json_t *row);
} kinds[] = {
    {"npu_tmacs", eval_npu},      {"util", eval_utilization}, {"mags", eval_dataflow},
    {"dataflow", eval_fixed},     {"device", eval_exact},     {"latency_s", eval_nmp},
    {"model", eval_architecture}, {"nmp", eval_toy},
};

static tn_status eval_row(const evaluator *v, json_t *row) {
    for (size_t i = 0; i < TN_COUNT(kinds); i++)
        if (json_object_get(row, kinds[i].member)) return kinds[i].eval(v, row);
    return tn_error_set(v->err, TN_INVALID, "no row of a known kind");
}

static tn_status eval_rows(const evaluator *v, json_t *rows) {
    json_t *row;
    size_t i;
    if (!json_is_array(rows))
        return tn_error_set(v->err, TN_INVALID, "neither a list of rows nor an object with 'rows'");
    json_array_foreach(rows, i, row) TN_TRY(v->err, eval_row(v, row), "row %zu", i);
    return TN_OK;
}

tn_status explore_eval(cli *c, const char *path, tn_error *err) {
    json_error_t at;
    evaluator v = {.err = err};
    json_t *file = tn_json_read(path, JSON_REJECT_DUPLICATES, &at);
    if (!file && at.line < 0) return tn_error_set(err, TN_NOT_FOUND, "cannot open '%s'", path);
    if (!file)
        return tn_error_set(err, TN_INVALID, "%s: line %d, column %d: %s", path, at.line, at.column,
                            at.text);
    tn_status status = tn_cost_model_open("npu_roofline", &v.npu, err);
    if (!status) status = tn_cost_model_open("nmp_roofline", &v.nmp, err);
    if (!status) status = eval_rows(&v, json_is_array(file) ? file : json_object_get(file, "rows"));
    if (status)
        tn_error_push(err, "%s", path);
    else
        status = cli_json_exact(c, json_incref(file), err);
    tn_cost_model_release(v.npu);
    tn_cost_model_release(v.nmp);
    json_decref(file);
    return status;
}
