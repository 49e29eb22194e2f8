/* The options of tenon explore as a job: the published framework's, and those that say more. */
#include "cli/explore.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- numbers and lists ---------------------------------------------------------------------- */

static tn_status read_count(cli *c, const char *name, const char *text, int64_t otherwise,
                            int64_t least, int64_t *out, tn_error *err) {
    char *end;
    *out = otherwise;
    if (!text) return TN_OK;
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (*text && !*end && !errno && *out >= least && *out <= 1 << 24) return TN_OK;
    return cli_usage(c, err, "--%s: '%s' is not a whole number from %lld to 2^24", name, text,
                     (long long)least);
}

tn_status explore_read_list(cli *c, const char *name, const char *text, double least, double *out,
                            int *count, tn_error *err) {
    const char *at = text;
    for (*count = 0;; at++) {
        char *end;
        if (*count == TN_SPACE_VALUES)
            return cli_usage(c, err, "--%s: more than %d values", name, TN_SPACE_VALUES);
        double v = strtod(at, &end);
        if (end == at || !isfinite(v) || v < least || (*end && *end != ','))
            return cli_usage(c, err, "--%s: '%s' is not a list of numbers of at least %g", name,
                             text, least);
        out[(*count)++] = v;
        at = end;
        if (!*at) return TN_OK;
    }
}

tn_status explore_read_elements(cli *c, const char *text, tn_machine_space *out, tn_error *err) {
    const char *at = text + (*text == '[');
    for (out->element_count = 0;; at++) {
        double fpus, mhz, gbs;
        int length = 0;
        if (out->element_count == TN_SPACE_VALUES)
            return cli_usage(c, err, "--fpu-pe-bw-space: more than %d elements", TN_SPACE_VALUES);
        if (sscanf(at, " ( %lf , %lf , %lf )%n", &fpus, &mhz, &gbs, &length) != 3 || !length ||
            !(fpus >= 1 && fpus <= 1e6 && fpus == floor(fpus)) || !(mhz > 0 && mhz < 1e9) ||
            !(gbs > 0 && gbs < 1e9))
            return cli_usage(
                c, err,
                "--fpu-pe-bw-space: '%s' is not a list such as [(8,400,6.4),(4,1000,12.8)] "
                "of FPUs, MHz and GB/s",
                text);
        out->elements[out->element_count++] = (tn_element_choice){(int)fpus, mhz * 1e6, gbs * 1e9};
        at += length;
        while (*at == ' ') at++;
        if (!*at || (*at == ']' && !at[1])) return TN_OK;
        if (*at != ',') at = "?";
    }
}

/* ---- the published machine ------------------------------------------------------------------ */

static const char published_elements[] =
    "[(8,400,6.4),(8,600,6.4),(8,800,6.4),(8,1000,6.4),(8,400,12.8),(8,600,12.8),(8,800,12.8),"
    "(4,1000,12.8),(8,400,25.6),(8,600,25.6),(4,800,25.6),(4,1000,25.6),(8,400,51.2),(4,600,51.2),"
    "(4,800,51.2),(2,1000,51.2)]";
static const char published_buffers[] = "4,8,16,32,64,128";

static const char *or_else(const char *text, const char *otherwise) {
    return text ? text : otherwise;
}

static tn_status read_buffers(cli *c, const char *name, const char *text, double unit, double *out,
                              int *count, tn_error *err) {
    TN_CHECK(explore_read_list(c, name, or_else(text, published_buffers), 1e-3, out, count, err));
    for (int i = 0; i < *count; i++) out[i] *= unit;
    return TN_OK;
}

static tn_status read_base(cli *c, tn_machine *m, tn_error *err) {
    const cli_options *o = &c->options;
    int64_t channels, banks, mb, simd;
    TN_CHECK(read_count(c, "total-channel-num", o->channels, 8, 1, &channels, err));
    TN_CHECK(read_count(c, "bank-num-per-channel", o->banks, 16, 1, &banks, err));
    TN_CHECK(read_count(c, "bank-memory-capacity", o->bank_mb, 256, 1, &mb, err));
    TN_CHECK(read_count(c, "fpu-simd-width", o->simd, 16, 1, &simd, err));
    if (channels > TN_MACHINE_CHANNELS)
        return cli_usage(c, err, "--total-channel-num: at most %d channels", TN_MACHINE_CHANNELS);
    m->memory.channels = (int)channels;
    m->memory.banks = (int)banks;
    m->memory.bank_bytes = (double)mb * 1048576.0;
    m->near_memory.macs = (int)simd;
    return TN_OK;
}

static tn_status read_channels(cli *c, tn_machine_space *s, tn_error *err) {
    double counts[TN_SPACE_VALUES];
    TN_CHECK(explore_read_list(c, "nmp-channel-num-space",
                               or_else(c->options.nmp_channels, "2,4,6,8"), 0, counts,
                               &s->channel_count, err));
    for (int i = 0; i < s->channel_count; i++) {
        s->channels[i] = (int)TN_MIN(counts[i], 1e6);
        if (counts[i] != floor(counts[i]) || s->channels[i] > s->base.memory.channels)
            return cli_usage(c, err,
                             "--nmp-channel-num-space: %g is not a whole number up to the memory's "
                             "%d channels",
                             counts[i], s->base.memory.channels);
    }
    return TN_OK;
}

static tn_status check_device_fixed(cli *c, const tn_machine_space *s, tn_error *err) {
    if (!c->options.device_fixed || tn_machine_space_count(s) == 1) return TN_OK;
    return cli_usage(
        c, err,
        "--is-device-fixed: each list of the space needs one value; there are %lld machines",
        (long long)tn_machine_space_count(s));
}

tn_status explore_published_space(cli *c, tn_machine_space *s, tn_error *err) {
    const cli_options *o = &c->options;
    TN_CHECK(tn_machine_space_load("H2-LLM", s, err));
    TN_CHECK(read_base(c, &s->base, err));
    TN_CHECK(read_channels(c, s, err));
    TN_CHECK(explore_read_elements(c, or_else(o->elements, published_elements), s, err));
    TN_CHECK(read_buffers(c, "input-buffer-size-space", o->input_buffers, 1024, s->input_buffers,
                          &s->input_buffer_count, err));
    TN_CHECK(read_buffers(c, "weight-buffer-size-space", o->weight_buffers, 1024, s->weight_buffers,
                          &s->weight_buffer_count, err));
    TN_CHECK(read_buffers(c, "output-buffer-total-size-space", o->output_buffers,
                          1024.0 / s->base.memory.banks, s->output_buffers, &s->output_buffer_count,
                          err));
    return check_device_fixed(c, s, err);
}

/* ---- workloads ------------------------------------------------------------------------------ */

static tn_status read_precision(cli *c, double *bytes, tn_error *err) {
    static const struct {
        const char *name;
        double bytes;
    } precisions[] = {{"fp16", 2}, {"int8", 1}, {"int4", 0.5}};
    const char *name = or_else(c->options.precision, "fp16");
    for (size_t i = 0; i < TN_COUNT(precisions); i++) {
        *bytes = precisions[i].bytes;
        if (strcmp(precisions[i].name, name) == 0) return TN_OK;
    }
    return cli_usage(c, err, "--precision: '%s' is not fp16, int8 or int4", name);
}

tn_status explore_published_scenario(cli *c, tn_scenario *s, tn_error *err) {
    const cli_options *o = &c->options;
    int64_t batch;
    TN_CHECK(read_count(c, "max-batch-size", o->batch, 16, 1, &batch, err));
    TN_CHECK(read_count(c, "input-seq-len", o->prompt, 1024, 1, &s->prompt, err));
    TN_CHECK(read_count(c, "max-gen-len", o->generate, 128, 0, &s->generate, err));
    TN_CHECK(read_count(c, "max-seq-len", o->context, 2048, 1, &s->context_limit, err));
    s->batch = (int)batch;
    if (s->prompt > s->context_limit)
        return cli_usage(c, err, "--input-seq-len %lld is longer than --max-seq-len %lld",
                         (long long)s->prompt, (long long)s->context_limit);
    return read_precision(c, &s->element_bytes, err);
}

static tn_status published_workload(cli *c, tn_workload *w, tn_error *err) {
    static const char *const types[][2] = {
        {"opt", "opt-6.7b"}, {"llama", "llama3-8b"}, {"palm", "palm-8b"}};
    const cli_options *o = &c->options;
    const char *type = or_else(o->model_type, "opt"), *graph = NULL;
    if (o->parser_dir) graph = tn_arena_printf(&c->arena, "%s/operator_graph.json", o->parser_dir);
    for (size_t i = 0; i < TN_COUNT(types); i++) {
        if (strcmp(types[i][0], type) != 0) continue;
        if (o->model_shape) return tn_workload_from_shape(o->model_shape, graph, w, err);
        TN_CHECK(tn_workload_named(types[i][1], w, err));
        return graph ? tn_workload_from_graph(graph, w, err) : TN_OK;
    }
    return cli_usage(c, err, "--model-type: '%s' is not opt, llama or palm", type);
}

/* One KEY=N of `text` up to a comma; *text moves behind it. */
static tn_status read_use(cli *c, const char **text, tn_study_part *part, tn_error *err) {
    char key[16], *end;
    int length = 0;
    double v = NAN;
    if (sscanf(*text, "%15[a-z]=%n", key, &length) == 1 && length) v = strtod(*text + length, &end);
    if (!length || end == *text + length || !(v > 0 && v <= 1 << 24) || (*end && *end != ','))
        return cli_usage(c, err, "--workload: '%s' is not KEY=N with N above 0", *text);
    *text = end + (*end == ',');
    tn_scenario *s = &part->scenario;
    if (strcmp(key, "weight") == 0) return part->weight = v, TN_OK;
    if (v != floor(v)) return cli_usage(c, err, "--workload: %s=%g is not a whole number", key, v);
    if (strcmp(key, "batch") == 0) return s->batch = (int)v, TN_OK;
    if (strcmp(key, "prompt") == 0) return s->prompt = (int64_t)v, TN_OK;
    if (strcmp(key, "generate") == 0) return s->generate = (int64_t)v, TN_OK;
    if (strcmp(key, "context") == 0) return s->context_limit = (int64_t)v, TN_OK;
    return cli_usage(c, err, "--workload: '%s' is not batch, prompt, generate, context or weight",
                     key);
}

static bool ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

/* The layers of one --workload; models with layers of several kinds are several parts. */
static tn_status read_workload(cli *c, const char *text, tn_study_part *parts, int room, int *count,
                               tn_error *err) {
    const char *colon = strrchr(text, ':'), *uses = colon && strchr(colon, '=') ? colon + 1 : "";
    const char *name = *uses ? tn_arena_printf(&c->arena, "%.*s", (int)(colon - text), text) : text;
    tn_study_part use = {.weight = 1};
    tn_workload layers[8];
    tn_error unknown = TN_ERROR_INIT;
    TN_CHECK(explore_published_scenario(c, &use.scenario, err));
    while (*uses) TN_CHECK(read_use(c, &uses, &use, err));
    if (use.scenario.prompt > use.scenario.context_limit)
        return cli_usage(c, err, "--workload: the prompt of '%s' is longer than its context", text);
    *count = 1;
    if (ends_with(name, "shape.json"))
        TN_CHECK(tn_workload_from_shape(name, NULL, &layers[0], err));
    else if (tn_workload_named(name, &layers[0], &unknown))
        TN_CHECK(tn_workload_from_model(name, layers, (int)TN_COUNT(layers), count, err));
    if (*count > room) return cli_usage(c, err, "--workload: more than %d kinds of layers", room);
    for (int i = 0; i < *count; i++) {
        parts[i] = use;
        parts[i].workload = layers[i];
        if (*count > 1) parts[i].weight *= layers[i].layers;
    }
    return TN_OK;
}

enum { MOST_PARTS = 64, MOST_LENGTHS = 16 };

/* Each part once for each scenario of the trace. */
static tn_status apply_trace(cli *c, explore_job *job, tn_error *err) {
    tn_study_part *parts = TN_NEW_N(&c->arena, tn_study_part, MOST_PARTS), lengths[MOST_LENGTHS];
    int room = TN_MIN(MOST_PARTS / job->part_count, MOST_LENGTHS), total = 0;
    for (int i = 0; i < job->part_count; i++) {
        int count;
        TN_CHECK(tn_study_from_trace(c->options.trace, &job->parts[i].scenario, lengths, room,
                                     &count, err));
        for (int k = 0; k < count; k++, total++) {
            parts[total] = job->parts[i];
            parts[total].scenario = lengths[k].scenario;
            parts[total].weight *= lengths[k].weight;
        }
    }
    job->parts = parts;
    job->part_count = total;
    return TN_OK;
}

static tn_status read_parts(cli *c, explore_job *job, tn_error *err) {
    const cli_list *list = &c->options.workload;
    job->parts = TN_NEW_N(&c->arena, tn_study_part, MOST_PARTS);
    if (!list->count) {
        job->part_count = 1;
        job->parts[0].weight = 1;
        TN_CHECK(explore_published_scenario(c, &job->parts[0].scenario, err));
        return published_workload(c, &job->parts[0].workload, err);
    }
    for (int i = 0; i < list->count; i++) {
        int count;
        TN_CHECK(read_workload(c, list->at[i], job->parts + job->part_count,
                               MOST_PARTS - job->part_count, &count, err));
        job->part_count += count;
    }
    return TN_OK;
}

/* ---- how to search -------------------------------------------------------------------------- */

/* The index of `name` among `names`, or the first one for NULL. */
static tn_status choose(cli *c, const char *option, const char *name, const char *const *names,
                        int count, int *out, tn_error *err) {
    for (*out = 0; *out < count; ++*out)
        if (!name || strcmp(names[*out], name) == 0) return TN_OK;
    tn_str known;
    tn_str_init(&known);
    for (int i = 0; i < count; i++)
        tn_str_appendf(&known, "%s%s", i == 0 ? "" : i + 1 < count ? ", " : " or ", names[i]);
    tn_status status = cli_usage(c, err, "--%s: '%s' is not %s", option, name, tn_str_text(&known));
    tn_str_deinit(&known);
    return status;
}

static tn_status read_dataflows(cli *c, explore_job *job, tn_error *err) {
    static const char *const spaces[] = {"data-centric", "compute-centric", "union"};
    static const tn_dataflow_space space_of[] = {TN_DATA_CENTRIC, TN_COMPUTE_CENTRIC, TN_UNION};
    static const char *const fixed[] = {"no",
                                        "specpim",
                                        "union",
                                        "npu_only",
                                        "2x_npu_only",
                                        "fc_offloading",
                                        "attention_offloading",
                                        "attention_offloading_with_ffn_splitting"};
    int space, kind;
    TN_CHECK(choose(c, "dataflows", c->options.dataflows, spaces, 3, &space, err));
    TN_CHECK(choose(c, "is-dataflow-fixed", c->options.dataflow_fixed, fixed, 8, &kind, err));
    if (c->options.dataflows && c->options.dataflow_fixed)
        return cli_usage(c, err, "--dataflows and --is-dataflow-fixed say the same; give one");
    job->search.space = c->options.dataflows ? space_of[space] : space_of[kind < 3 ? kind : 0];
    job->fixed = kind >= 3;
    if (job->fixed) job->fixed_dataflow = (tn_fixed_dataflow)(kind - 3);
    if (job->fixed && (tn_machine_space_count(&job->space) > 1 || job->part_count > 1))
        return cli_usage(
            c, err,
            "--is-dataflow-fixed %s needs one machine and one workload (--is-device-fixed); "
            "there are %lld and %d",
            fixed[kind], (long long)tn_machine_space_count(&job->space), job->part_count);
    return TN_OK;
}

static tn_status read_genetic(cli *c, explore_job *job, tn_error *err) {
    const cli_options *o = &c->options;
    int64_t population, generations, parents;
    char *end;
    TN_CHECK(
        read_count(c, "population-num-per-generation", o->population, 100, 2, &population, err));
    TN_CHECK(read_count(c, "num-generations", o->generations, 10, 1, &generations, err));
    TN_CHECK(read_count(c, "topk", o->topk, 50, 1, &parents, err));
    if (!isnan(o->mutate_ratio) && o->mutate_ratio > 1)
        return cli_usage(c, err, "--mutate-ratio: %g is above 1", o->mutate_ratio);
    job->search.population = (int)population;
    job->search.generations = (int)generations;
    job->search.parents = (int)parents;
    job->search.mutate_ratio = isnan(o->mutate_ratio) ? 1 : o->mutate_ratio;
    errno = 0;
    job->search.seed = o->ga_seed ? strtoull(o->ga_seed, &end, 10) : 114514;
    if (o->ga_seed && (!isdigit((unsigned char)*o->ga_seed) || *end || errno))
        return cli_usage(c, err, "--seed: '%s' is not a whole number from 0 to 2^64 - 1",
                         o->ga_seed);
    return TN_OK;
}

static tn_status read_search(cli *c, explore_job *job, tn_error *err) {
    static const char *const objectives[] = {"latency", "energy", "edp"};
    static const char *const methods[] = {"exact", "genetic"};
    const cli_options *o = &c->options;
    int objective, method;
    int64_t processes;
    TN_CHECK(choose(c, "objective", o->objective, objectives, 3, &objective, err));
    TN_CHECK(choose(c, "method", o->method, methods, 2, &method, err));
    TN_CHECK(read_count(c, "process-num", o->processes, 1, 1, &processes, err));
    job->search.objective = (tn_objective)objective;
    job->search.method = (tn_search_method)method;
    if (o->threads || o->processes)
        job->search.threads = (int)TN_MIN(o->threads ? o->threads : processes, 1024);
    if (!isnan(o->area_limit)) job->search.area_limit = o->area_limit;
    if (!isnan(o->limit)) job->search.seconds = o->limit;
    return read_genetic(c, job, err);
}

/* Options of which one would be ignored. */
static tn_status check_pairs(cli *c, tn_error *err) {
    const cli_options *o = &c->options;
    const struct {
        const char *name;
        bool given;
    } family[] = {{"total-channel-num", o->channels},
                  {"bank-num-per-channel", o->banks},
                  {"bank-memory-capacity", o->bank_mb},
                  {"fpu-simd-width", o->simd},
                  {"nmp-channel-num-space", o->nmp_channels},
                  {"input-buffer-size-space", o->input_buffers},
                  {"weight-buffer-size-space", o->weight_buffers},
                  {"output-buffer-total-size-space", o->output_buffers},
                  {"fpu-pe-bw-space", o->elements}},
      model[] = {{"model-type", o->model_type},
                 {"model-shape", o->model_shape},
                 {"parser-output-dir", o->parser_dir}};
    for (size_t i = 0; o->machines && i < TN_COUNT(family); i++)
        if (family[i].given)
            return cli_usage(c, err, "--machines and --%s both describe the family; give one",
                             family[i].name);
    for (size_t i = 0; o->workload.count && i < TN_COUNT(model); i++)
        if (model[i].given)
            return cli_usage(c, err, "--workload and --%s both say what runs; give one",
                             model[i].name);
    return TN_OK;
}

tn_status explore_job_read(cli *c, explore_job *job, tn_error *err) {
    const cli_options *o = &c->options;
    *job = (explore_job){.search = TN_SEARCH_OPTIONS_INIT};
    TN_CHECK(check_pairs(c, err));
    if (o->execution_type && strcmp(o->execution_type, "dse") != 0)
        return cli_usage(c, err, "--execution-type: '%s' is not dse", o->execution_type);
    TN_CHECK(o->machines ? tn_machine_space_load(o->machines, &job->space, err)
                         : explore_published_space(c, &job->space, err));
    TN_CHECK(read_parts(c, job, err));
    if (o->trace) TN_CHECK(apply_trace(c, job, err));
    TN_CHECK(read_dataflows(c, job, err));
    TN_CHECK(read_search(c, job, err));
    job->folder = or_else(o->dse_dir, "./kick_the_tires/");
    TN_CHECK(tn_cost_model_open(or_else(o->processor_model, "npu_roofline"), &job->processor, err));
    return tn_cost_model_open(or_else(o->near_model, "nmp_roofline"), &job->near_memory, err);
}

void explore_job_release(explore_job *job) {
    tn_cost_model_release(job->processor);
    tn_cost_model_release(job->near_memory);
}
