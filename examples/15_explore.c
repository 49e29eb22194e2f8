/* Looks for the best machine of a family, and for the best way to run a transformer's layer on it.
 *
 *   $ build/examples/15_explore [FAMILY [MODEL [BATCH]]]
 *
 * FAMILY is a file (docs/machines.md) or the name of a built-in one, MODEL the name of a built-in workload. Units near
 * the memory compute at the banks of some channels; the processor reads the others. */
#include <stdio.h>
#include <stdlib.h>
#include <tenon/explore.h>

static int channels(uint64_t set) {
    int count = 0;
    for (; set; set &= set - 1) count++;
    return count;
}

static void print_machine(const tn_machine_space *space, const tn_finding_machine *x) {
    tn_machine m;
    tn_machine_space_at(space, x->index, &m);
    const tn_near_memory *u = &m.near_memory;
    printf("  %8.3f ms  %.2f mm²  %d of %d channels near memory, %d FPUs @ %.1f GHz, %.1f GB/s%s\n",
           x->latency * 1e3, x->area, u->channels, m.memory.channels, u->fpus, u->clock / 1e9,
           u->bandwidth / 1e9, x->pareto ? " *" : "");
}

/* The machines that no other beats in latency, energy and area. */
static void print_front(const tn_machine_space *space, const tn_finding *f) {
    printf("machines of the front, latency of a layer and area of an element:\n");
    for (int64_t i = 0; i < f->count; i++)
        if (f->machines[i].pareto) print_machine(space, &f->machines[i]);
}

/* Each part of each operator, when it begins and how long it takes. */
static tn_status print_step(const tn_problem *p, const tn_dataflow *d, tn_error *err) {
    tn_timeline t;
    tn_status status = tn_dataflow_timeline(p, d, &t, err);
    for (int i = 0; !status && i < t.count; i++) {
        const tn_timeline_span *s = &t.spans[i];
        printf("  %7.1f µs + %6.1f  %-4s", s->start * 1e6, (s->end - s->start) * 1e6,
               s->op < 0 ? "meet" : p->workload->operators[s->op].name);
        if (s->unit == TN_UNIT_NEAR_MEMORY)
            printf(" on %d channels near memory\n", channels(s->nmp));
        else
            printf(" by the processor\n");
    }
    return status;
}

static tn_status print_best(const tn_study *study, const tn_finding *f, tn_error *err) {
    const tn_finding_machine *best = f->machines;
    const tn_study_part *part = study->parts;
    const tn_solution *s = best->parts;
    tn_problem p = {.workload = &part->workload,
                    .scenario = part->scenario,
                    .processor = study->processor,
                    .near_memory = study->near_memory};
    tn_machine_space_at(study->space, best->index, &p.machine);
    tn_machine_for_batch(study->space, part->scenario.batch, &p.machine);
    tn_serving v = tn_serving_of(&part->workload, &part->scenario, &s->evaluation);
    printf("the best one (%s):\n", s->optimal ? "proven" : "not proven");
    print_machine(study->space, best);
    printf("first token after %.3f s, %.1f ms for each other, %.0f tokens/s\n", v.first_token,
           v.per_token * 1e3, v.tokens_a_second);
    printf("one decode step of a layer, %.1f µs:\n", s->evaluation.decode_step * 1e6);
    return print_step(&p, &s->dataflow, err);
}

static tn_status explore(const char *family, tn_study_part *part, tn_error *err) {
    tn_machine_space space;
    tn_cost_model *npu = NULL, *nmp = NULL;
    tn_finding *found = NULL;
    tn_search_options options = TN_SEARCH_OPTIONS_INIT;
    options.space = TN_DATA_CENTRIC;
    tn_status status = tn_machine_space_load(family, &space, err);
    if (!status) status = tn_cost_model_open("npu_roofline", &npu, err);
    if (!status) status = tn_cost_model_open("nmp_roofline", &nmp, err);
    tn_study study = {part, 1, &space, npu, nmp};
    if (!status) status = tn_explore(&study, &options, &found, err);
    if (!status && !found->machines[0].feasible)
        printf("no machine of %s holds the workload\n", family);
    else if (!status) {
        print_front(&space, found);
        status = print_best(&study, found, err);
    }
    tn_finding_release(found);
    tn_cost_model_release(nmp);
    tn_cost_model_release(npu);
    return status;
}

int main(int argc, char **argv) {
    const char *family = argc > 1 ? argv[1] : "H2-LLM space";
    const char *model = argc > 2 ? argv[2] : "llama3-8b";
    tn_error err = TN_ERROR_INIT;
    tn_study_part part = {.weight = 1,
                          .scenario = {.batch = argc > 3 ? atoi(argv[3]) : 4,
                                       .prompt = 783,
                                       .generate = 209,
                                       .context_limit = 2048,
                                       .element_bytes = 2}};
    if (part.scenario.batch < 1) {
        fprintf(stderr, "BATCH is a number of at least 1\n");
        return 2;
    }
    tn_status status = tn_workload_named(model, &part.workload, &err);
    if (!status) status = explore(family, &part, &err);
    if (status) fprintf(stderr, "%s\n", err.message);
    return status ? 1 : 0;
}
