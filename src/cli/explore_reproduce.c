/* tenon explore reproduce: the evaluation of the H²-LLM paper (ISCA '25) on its artifact's cost model. Three models,
 * four datasets and three batch sizes are 36 points; each design is evaluated at each. */
#include "cli/explore_reproduce.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"

static const char *const models[] = {"opt-6.7b", "llama3-8b", "palm-8b"};
static const int batches[] = {1, 4, 16};
/* The paper's section on workloads: mean lengths of prompt and answer. */
static const struct {
    const char *name;
    int64_t prompt, generate;
} datasets[] = {{"HE", 157, 67}, {"SG", 783, 209}, {"LB", 1886, 97}, {"LG", 1971, 17}};

static const struct {
    const char *name, *family; /* a built-in family of machines */
    bool fixed;
    tn_fixed_dataflow kind;
    tn_dataflow_space space;
} designs[REPRODUCE_DESIGNS] = {
    [REPRODUCE_CP] = {"CP", "CP", true, TN_NPU_ONLY_2X, 0},
    [REPRODUCE_ID_NMP] = {"ID-NMP", "ID-NMP", false, 0, TN_DATA_CENTRIC},
    [REPRODUCE_ID_NMP_PLUS] = {"ID-NMP+", "ID-NMP+", false, 0, TN_DATA_CENTRIC},
    [REPRODUCE_ATTN] = {"Attn-NMP", "H2-LLM", true, TN_ATTENTION_OFFLOADING, 0},
    [REPRODUCE_SPLIT] = {"Attn-NMP-Split", "H2-LLM", true, TN_ATTENTION_OFFLOADING_FFN_SPLIT, 0},
    [REPRODUCE_FC] = {"FC-NMP", "H2-LLM", true, TN_FC_OFFLOADING, 0},
    [REPRODUCE_CC] = {"CC-NMP", "H2-LLM", false, 0, TN_COMPUTE_CENTRIC},
    [REPRODUCE_H2] = {"H2-LLM", "H2-LLM", false, 0, TN_DATA_CENTRIC},
    [REPRODUCE_UNION] = {"H2-LLM union", "H2-LLM", false, 0, TN_UNION},
    [REPRODUCE_FULL] = {"H2-LLM-Full", "H2-LLM space", false, 0, TN_DATA_CENTRIC},
};

/* Geometric means of one design's speed-up over another: what the artifact's model gives when it is solved
 * exactly, and the paper's numbers, which are of a simulator that was not published. Sources: the paper's
 * sections on end-to-end results (figure 10), dataflows (figures 12 to 14) and architectures (figure 15). */
static const reproduce_mean means[] = {
    {"H2-LLM against ID-NMP+", REPRODUCE_H2, REPRODUCE_ID_NMP_PLUS, REPRODUCE_ALL, false, 2.842,
     2.71},
    {"… decode-heavy (HE, SG)", REPRODUCE_H2, REPRODUCE_ID_NMP_PLUS, REPRODUCE_DECODE_HEAVY, false,
     4.014, 3.81},
    {"… prefill-heavy (LB, LG)", REPRODUCE_H2, REPRODUCE_ID_NMP_PLUS, REPRODUCE_PREFILL_HEAVY,
     false, 2.012, 1.94},
    {"CP against ID-NMP+", REPRODUCE_CP, REPRODUCE_ID_NMP_PLUS, REPRODUCE_ALL, false, 0.283, 0.27},
    {"ID-NMP against CP, batch 1 and 4", REPRODUCE_ID_NMP, REPRODUCE_CP, REPRODUCE_SMALL_BATCH,
     false, 2.93, 3.03},
    {"ID-NMP against CP, batch 16", REPRODUCE_ID_NMP, REPRODUCE_CP, REPRODUCE_LARGE_BATCH, false,
     0.731, 0.71},
    {"FC-NMP against ID-NMP+", REPRODUCE_FC, REPRODUCE_ID_NMP_PLUS, REPRODUCE_ALL, false, 1.851,
     1.98},
    {"CC-NMP against ID-NMP+", REPRODUCE_CC, REPRODUCE_ID_NMP_PLUS, REPRODUCE_ALL, false, 2.325,
     2.45},
    {"Attn-NMP against ID-NMP+", REPRODUCE_ATTN, REPRODUCE_ID_NMP_PLUS, REPRODUCE_ALL, false, 0.301,
     0.28},
    {"Attn-NMP-Split against ID-NMP+", REPRODUCE_SPLIT, REPRODUCE_ID_NMP_PLUS, REPRODUCE_ALL, false,
     0.334, 0.31},
    {"Attn-NMP-Split against Attn-NMP", REPRODUCE_SPLIT, REPRODUCE_ATTN, REPRODUCE_ALL, false,
     1.109, 1.11},
    {"CC-NMP against FC-NMP", REPRODUCE_CC, REPRODUCE_FC, REPRODUCE_ALL, false, 1.256, 1.24},
    {"H2-LLM against FC-NMP", REPRODUCE_H2, REPRODUCE_FC, REPRODUCE_ALL, false, 1.535, 1.37},
    {"H2-LLM against CC-NMP", REPRODUCE_H2, REPRODUCE_CC, REPRODUCE_ALL, false, 1.222, 1.11},
    {"H2-LLM against CC-NMP, prefill", REPRODUCE_H2, REPRODUCE_CC, REPRODUCE_ALL, true, 1.266,
     1.27},
    {"H2-LLM-Full against H2-LLM", REPRODUCE_FULL, REPRODUCE_H2, REPRODUCE_ALL, false, 1.380, 1.38},
    {"H2-LLM union against H2-LLM", REPRODUCE_UNION, REPRODUCE_H2, REPRODUCE_ALL, false, 0, 0},
};

/* ---- points --------------------------------------------------------------------------------- */

const char *reproduce_design_name(int design) {
    return designs[design].name;
}

const char *reproduce_point_name(cli *c, int point) {
    static const char *const shorts[] = {"OPT", "LLaMA", "PaLM"};
    return tn_arena_printf(&c->arena, "%s %s %d", shorts[point / 12], datasets[point / 3 % 4].name,
                           batches[point % 3]);
}

static bool in_part(int point, reproduce_part part) {
    bool decode_heavy = point / 3 % 4 < 2;
    switch (part) {
    case REPRODUCE_DECODE_HEAVY:
        return decode_heavy;
    case REPRODUCE_PREFILL_HEAVY:
        return !decode_heavy;
    case REPRODUCE_SMALL_BATCH:
        return point % 3 < 2;
    case REPRODUCE_LARGE_BATCH:
        return point % 3 == 2;
    default:
        return true;
    }
}

double reproduce_speedup(const reproduction *r, int design, int base, reproduce_part part,
                         bool prefill) {
    double sum = 0;
    int count = 0;
    for (int i = 0; i < REPRODUCE_POINTS; i++) {
        const tn_evaluation *a = &r->at[design][i].evaluation, *b = &r->at[base][i].evaluation;
        if (!in_part(i, part)) continue;
        sum += log(prefill ? b->prefill / a->prefill : b->total / a->total);
        count++;
    }
    return exp(sum / count);
}

/* ---- evaluating ----------------------------------------------------------------------------- */

typedef struct runner {
    cli *c;
    tn_cost_model *npu, *nmp;
    reproduction *out;
    tn_error *err;
} runner;

static tn_status part_of(int point, tn_study_part *out, tn_error *err) {
    *out = (tn_study_part){.weight = 1,
                           .scenario = {batches[point % 3], datasets[point / 3 % 4].prompt,
                                        datasets[point / 3 % 4].generate, 2048, 2}};
    return tn_workload_named(models[point / 12], &out->workload, err);
}

static tn_status space_of(int design, tn_machine_space *out, tn_error *err) {
    TN_CHECK(tn_machine_space_load(designs[design].family, out, err));
    out->input_buffer_count = out->weight_buffer_count = out->output_buffer_count = 0;
    return TN_OK;
}

static tn_status run_fixed(const runner *r, int design, const tn_study_part *part,
                           const tn_machine_space *space, reproduce_result *out) {
    tn_problem p = {&part->workload, part->scenario, space->base, r->npu, r->nmp};
    out->machine = space->base;
    out->optimal = true;
    return tn_fixed_evaluate(&p, designs[design].kind, &out->evaluation, r->err);
}

static tn_status run_search(const runner *r, int design, const tn_study_part *part,
                            const tn_machine_space *space, reproduce_result *out) {
    tn_search_options options = TN_SEARCH_OPTIONS_INIT;
    tn_study study = {part, 1, space, r->npu, r->nmp};
    tn_finding *found;
    options.space = designs[design].space;
    options.threads = (int)TN_MIN(TN_MAX(r->c->options.threads, 0), 1024);
    if (!isnan(r->c->options.limit)) options.seconds = r->c->options.limit;
    /* The paper's search mutates PaLM's dataflows only, so it never meets crossover's ratios. */
    options.sampled_ratios =
        options.space == TN_DATA_CENTRIC && strcmp(part->workload.name, "palm-8b") == 0;
    TN_CHECK(tn_explore(&study, &options, &found, r->err));
    const tn_finding_machine *best = found->machines;
    bool feasible = found->count && best->feasible;
    if (feasible) {
        tn_machine_space_at(space, best->index, &out->machine);
        out->evaluation = best->parts[0].evaluation;
        out->lower_bound = best->parts[0].lower_bound;
        out->optimal = best->optimal;
    }
    tn_finding_release(found);
    return feasible ? TN_OK : tn_error_set(r->err, TN_NOT_FOUND, "no dataflow fits");
}

static void show(const runner *r, int done) {
    static const int all = REPRODUCE_DESIGNS * REPRODUCE_POINTS;
    if (r->c->options.quiet || !isatty(STDERR_FILENO)) return;
    if (done == all)
        fprintf(stderr, "\r\033[K");
    else
        fprintf(stderr, "\r[%-40.*s] %3d %%  %-16s", done * 40 / all,
                "########################################", done * 100 / all,
                designs[done / REPRODUCE_POINTS].name);
}

static tn_status run_all(const runner *r) {
    tn_machine_space space;
    tn_study_part part;
    for (int design = 0; design < REPRODUCE_DESIGNS; design++) {
        TN_CHECK(space_of(design, &space, r->err));
        for (int point = 0; point < REPRODUCE_POINTS; point++) {
            reproduce_result *out = &r->out->at[design][point];
            show(r, design * REPRODUCE_POINTS + point);
            TN_CHECK(part_of(point, &part, r->err));
            TN_TRY(r->err,
                   designs[design].fixed ? run_fixed(r, design, &part, &space, out)
                                         : run_search(r, design, &part, &space, out),
                   "design %s at %s", designs[design].name, reproduce_point_name(r->c, point));
        }
    }
    show(r, REPRODUCE_DESIGNS * REPRODUCE_POINTS);
    return TN_OK;
}

/* ---- what comes out ------------------------------------------------------------------------- */

static void print_unproven(cli *c, const reproduction *r) {
    for (int d = 0; d < REPRODUCE_DESIGNS; d++)
        for (int i = 0; i < REPRODUCE_POINTS; i++) {
            const reproduce_result *x = &r->at[d][i];
            if (x->optimal) continue;
            printf("not proven: %s at %s, %s s, at least %s s\n", designs[d].name,
                   reproduce_point_name(c, i), cli_shortest(c, x->evaluation.total),
                   cli_shortest(c, x->lower_bound));
        }
}

static void print_means(cli *c, const reproduction *r) {
    cli_table t = cli_table_of(c, "lrrr", true);
    cli_table_cell(&t, "geometric means over 36 points");
    cli_table_cell(&t, "here");
    cli_table_cell(&t, "exact");
    cli_table_cell(&t, "paper");
    for (size_t i = 0; i < TN_COUNT(means); i++) {
        cli_table_cell(&t, "%s", means[i].name);
        cli_table_cell(&t, "%.3f", r->means[i]);
        cli_table_cell(&t, means[i].exact > 0 ? "%.3f" : "–", means[i].exact);
        cli_table_cell(&t, means[i].paper > 0 ? "%.2f" : "–", means[i].paper);
    }
    cli_table_print(&t);
    printf(
        "exact: the published model solved exactly; paper: measured with a simulator of its own\n");
}

static json_t *result_json(const reproduce_result *x) {
    const tn_near_memory *u = &x->machine.near_memory;
    const tn_evaluation *e = &x->evaluation;
    return json_pack("{s:f, s:f, s:f, s:f, s:b, s:f, s:{s:i, s:i, s:f, s:f}}", "total", e->total,
                     "prefill", e->prefill, "decode", e->decode, "decode_step", e->decode_step,
                     "optimal", x->optimal, "lower_bound", x->lower_bound, "machine",
                     "nmp_channels", u->channels, "fpus", u->fpus, "clock_hz", u->clock,
                     "bandwidth", u->bandwidth);
}

static json_t *means_json(const reproduction *r) {
    json_t *out = json_array();
    for (size_t i = 0; i < TN_COUNT(means); i++)
        json_array_append_new(
            out, json_pack("{s:s, s:f, s:o, s:o}", "name", means[i].name, "value", r->means[i],
                           "exact", cli_json_number(means[i].exact > 0 ? means[i].exact : NAN),
                           "paper", cli_json_number(means[i].paper > 0 ? means[i].paper : NAN)));
    return out;
}

static json_t *results_json(const reproduction *r) {
    json_t *points = json_array();
    for (int i = 0; i < REPRODUCE_POINTS; i++) {
        json_t *all = json_object();
        for (int d = 0; d < REPRODUCE_DESIGNS; d++)
            json_object_set_new(all, designs[d].name, result_json(&r->at[d][i]));
        json_array_append_new(points, json_pack("{s:s, s:s, s:i, s:o}", "model", models[i / 12],
                                                "dataset", datasets[i / 3 % 4].name, "batch",
                                                batches[i % 3], "designs", all));
    }
    return json_pack("{s:s, s:o, s:o}", "schema", "tenon.explore.reproduce/1", "points", points,
                     "means", means_json(r));
}

static void append_csv(cli *c, const reproduction *r, tn_str *out) {
    tn_str_append(out, "model,dataset,batch,design,total_s,prefill_s,decode_s,optimal,"
                       "lower_bound_s,nmp_channels,fpus,clock_ghz,bandwidth_gbs\n");
    for (int i = 0; i < REPRODUCE_POINTS; i++)
        for (int d = 0; d < REPRODUCE_DESIGNS; d++) {
            const reproduce_result *x = &r->at[d][i];
            const tn_near_memory *u = &x->machine.near_memory;
            tn_str_appendf(
                out, "%s,%s,%d,%s,%s,%s,%s,%d,%s,%d,%d,%.10g,%.10g\n", models[i / 12],
                datasets[i / 3 % 4].name, batches[i % 3], designs[d].name,
                cli_shortest(c, x->evaluation.total), cli_shortest(c, x->evaluation.prefill),
                cli_shortest(c, x->evaluation.decode), x->optimal, cli_shortest(c, x->lower_bound),
                u->channels, u->fpus, u->clock / 1e9, u->bandwidth / 1e9);
        }
}

static const char *path_in(cli *c, const char *folder, const char *name) {
    return tn_arena_printf(&c->arena, "%s/%s", folder, name);
}

static tn_status write_files(cli *c, const reproduction *r, const char *folder, json_t *results,
                             tn_error *err) {
    tn_str text;
    TN_TRY(err, tn_make_dirs(folder, 0777, err), "the folder of the results");
    char *json = json_dumps(results, JSON_INDENT(1));
    if (!json) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_status status =
        tn_file_write(path_in(c, folder, "results.json"), json, strlen(json), false, err);
    free(json);
    tn_str_init(&text);
    append_csv(c, r, &text);
    if (!status)
        status = tn_file_write(path_in(c, folder, "results.csv"), text.data, text.len, false, err);
    tn_str_deinit(&text);
    if (status) return status;
    json_t *page = reproduce_page_json(c, r);
    if (page) json_object_set(page, "means", json_object_get(results, "means"));
    return explore_page_write(page, path_in(c, folder, "reproduce.html"), err);
}

static tn_status report(cli *c, reproduction *r, const char *folder, tn_error *err) {
    for (size_t i = 0; i < TN_COUNT(means); i++)
        r->means[i] =
            reproduce_speedup(r, means[i].design, means[i].base, means[i].part, means[i].prefill);
    json_t *results = results_json(r);
    tn_status status = folder ? write_files(c, r, folder, results, err) : TN_OK;
    if (status || !c->options.json) json_decref(results);
    if (status) return status;
    if (c->options.json) return cli_json_exact(c, results, err);
    print_means(c, r);
    print_unproven(c, r);
    return TN_OK;
}

tn_status explore_reproduce(cli *c, const char *folder, tn_error *err) {
    reproduction *r = TN_NEW(&c->arena, reproduction);
    runner run = {.c = c, .out = r, .err = err};
    _Static_assert(TN_COUNT(means) <= REPRODUCE_MEANS, "room for all means");
    tn_status status = tn_cost_model_open("npu_roofline", &run.npu, err);
    if (!status) status = tn_cost_model_open("nmp_roofline", &run.nmp, err);
    if (!status) status = run_all(&run);
    if (!status) status = report(c, r, folder, err);
    tn_cost_model_release(run.npu);
    tn_cost_model_release(run.nmp);
    return status;
}
