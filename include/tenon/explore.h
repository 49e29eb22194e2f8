/* Exploring hardware: the best machine of a family, and the best dataflow on it, for the inference of
 * transformers on a processor with near-memory units.
 *
 *   tn_workload_load("opt-6.7b", &workload, &err);
 *   tn_machine_space_load("H2-LLM space", &space, &err);
 *   tn_explore(&(tn_study){…}, &options, &finding, &err);
 *
 * The problem is that of H²-LLM (ISCA '25) and SpecPIM (ASPLOS '24): one transformer layer is a graph of
 * products; prefill runs them one after the other on the processor; decoding places each on channels with
 * units near memory, on the normal ones through the processor, or splits it between both (fission). Latencies
 * are seconds FOR ONE LAYER, of the whole prompt or of all generated tokens, unless said otherwise. */
#ifndef TENON_EXPLORE_H
#define TENON_EXPLORE_H

#include <tenon/machine.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- workloads ------------------------------------------------------------------------------ */

enum { TN_OPERATORS = 32, TN_OPERATOR_NAME = 24 };

typedef enum tn_operator_kind {
    TN_OPERATOR_WEIGHTS, /* [tokens, k] · [k, n] */
    TN_OPERATOR_EXPERTS, /* the same with `active` of `experts` matrices for each token */
    TN_OPERATOR_SCORES, /* queries · keysᵀ: for each of `heads` key heads [tokens · group, k] · [k, context] */
    TN_OPERATOR_VALUES, /* scores · values: [tokens · group, context] · [context, n] */
} tn_operator_kind;

typedef struct tn_operator {
    char name[TN_OPERATOR_NAME]; /* q k v qk sv o f1 f2 f3, or what the model calls it */
    tn_operator_kind kind;
    int64_t n, k;
    int64_t heads, group; /* key heads, query heads of each; SCORES and VALUES */
    int64_t window;       /* context is at most that; 0: no limit */
    int experts, active;  /* EXPERTS */
} tn_operator;

/* One layer; models whose layers are of several kinds are several workloads. */
typedef struct tn_workload {
    char name[TN_MACHINE_NAME];
    int layers; /* of this kind */
    int64_t hidden, intermediate, query_heads, key_heads, head_dim;
    tn_operator operators[TN_OPERATORS]; /* in a topological order */
    int count;
    uint32_t before[TN_OPERATORS]; /* bit j: operator j's result is an operand, directly */
    /* Operations that are no products (norms, softmax, activations …), counted for the report. */
    struct {
        char name[TN_OPERATOR_NAME];
        int count;
    } others[TN_OPERATORS];
    int other_count;
} tn_workload;

/* How a workload is used. */
typedef struct tn_scenario {
    int batch; /* sequences */
    int64_t prompt, generate;
    int64_t context_limit; /* of prompt + generate; the cache of keys and values has that length */
    double element_bytes;  /* 2: f16 */
} tn_scenario;

/* From shape.json and operator_graph.json (the artifact's formats). The graph may be NULL: it follows from the
 * shape's type ("opt", "llama", "palm"). Errors name the file and the member: heads that do not divide, a graph
 * without qk, sv, k or v, a cycle, an operator whose shape is not known. */
TN_API tn_status tn_workload_from_shape(const char *shape_path, const char *graph_path,
                                        tn_workload *out, tn_error *err) TN_MUST_USE;
/* Other operators for `w`, who keeps its numbers: those of an operator_graph.json. */
TN_API tn_status tn_workload_from_graph(const char *graph_path, tn_workload *w,
                                        tn_error *err) TN_MUST_USE;
/* From a model's graph alone: an ONNX file, or a Hugging Face folder or config.json. One workload for each kind
 * of layer; at most `capacity`, *count says how many there are. */
TN_API tn_status tn_workload_from_model(const char *path, tn_workload *out, int capacity,
                                        int *count, tn_error *err) TN_MUST_USE;
/* "opt-6.7b", "llama3-8b", "palm-8b", and what `tenon explore --list` prints. */
TN_API tn_status tn_workload_named(const char *name, tn_workload *out, tn_error *err) TN_MUST_USE;

typedef struct tn_phase {
    int64_t tokens;  /* of each sequence in one pass */
    int64_t context; /* keys that they see */
} tn_phase;
TN_API tn_phase tn_phase_prefill(const tn_scenario *s);
TN_API tn_phase tn_phase_decode(const tn_scenario *s); /* at the final context */
/* The product of operator `op`. EXPERTS: as many matrices as `tokens` random choices are expected to meet. */
TN_API tn_product tn_workload_product(const tn_workload *w, int op, const tn_scenario *s,
                                      tn_phase phase);
/* Bytes that operator `op` keeps in memory over all layers: weights, or the cache of keys or values. */
TN_API double tn_workload_bytes(const tn_workload *w, int op, const tn_scenario *s);

/* ---- dataflows ------------------------------------------------------------------------------ */

/* Where one operator's right operand lies and when it runs while decoding. The operators of a dataflow are
 * sorted by (group, partition, tier): memory access groups run one after the other, the partitions of a group
 * side by side, each on channels of its own, the tiers of a partition one after the other. Within a tier each
 * channel near memory serves one operator, the normal channels all that use them, through the processor. */
typedef struct tn_placement {
    uint8_t op, group, partition, tier;
    bool normal;  /* on the normal channels, all of them */
    uint64_t nmp; /* bit c: on channel c near memory */
    double
        ratio; /* share that the channels near memory hold: 1 without `normal`, 0 without `nmp` */
} tn_placement;

typedef struct tn_dataflow {
    int count;
    tn_placement at[TN_OPERATORS];
} tn_dataflow;

/* Which dataflows are searched. */
typedef enum tn_dataflow_space {
    TN_COMPUTE_CENTRIC, /* SpecPIM: an operator is on one kind of channels; partitions have one kind */
    TN_DATA_CENTRIC, /* H²-LLM: fission with the artifact's four ratios; partitions share all channels */
    TN_UNION,        /* either, with any ratio */
} tn_dataflow_space;

/* Dataflows of published systems: all operators in sequence (the artifact's fixed ones). */
typedef enum tn_fixed_dataflow {
    TN_NPU_ONLY,
    TN_NPU_ONLY_2X, /* with a processor of twice the rate */
    TN_FC_OFFLOADING,
    TN_ATTENTION_OFFLOADING,
    TN_ATTENTION_OFFLOADING_FFN_SPLIT,
} tn_fixed_dataflow;

typedef struct tn_problem {
    const tn_workload *workload;
    tn_scenario scenario;
    tn_machine machine;
    const tn_cost_model *processor, *near_memory;
} tn_problem;

typedef struct tn_evaluation {
    double prefill, decode_step, decode, total;   /* s a layer; decode = generate · decode_step */
    double prefill_energy, decode_energy, energy; /* J a layer */
    double compute, transfer, sync; /* s of a decode step, where the model knows them */
    bool fits;                      /* every channel holds what lies on it */
} tn_evaluation;

/* Whether `d` is a dataflow of the space for this problem: TN_INVALID says what is not. */
TN_API tn_status tn_dataflow_check(const tn_problem *p, tn_dataflow_space space,
                                   const tn_dataflow *d, tn_error *err) TN_MUST_USE;
/* Errors: of the cost models only. */
TN_API tn_status tn_dataflow_evaluate(const tn_problem *p, const tn_dataflow *d, tn_evaluation *out,
                                      tn_error *err) TN_MUST_USE;
/* Bytes over all layers on each channel near memory (`nmp` of machine.near_memory.channels values) and on the
 * normal channels together; returns whether all fit. */
TN_API bool tn_dataflow_fits(const tn_problem *p, const tn_dataflow *d, double *nmp,
                             double *normal);
TN_API tn_status tn_fixed_evaluate(const tn_problem *p, tn_fixed_dataflow kind, tn_evaluation *out,
                                   tn_error *err) TN_MUST_USE;

/* What one unit does for one operator, or channels near memory for none: change their mode and meet. */
typedef struct tn_timeline_span {
    int op; /* −1: modes and meetings of the channels */
    tn_unit unit;
    uint64_t nmp; /* whose channels near memory; of the processor: those that it reads */
    bool normal;  /* the processor reads the normal channels */
    uint8_t group, partition, tier;
    double start, end; /* s */
    double compute, transfer, sync;
} tn_timeline_span;

enum { TN_TIMELINE_SPANS = 5 * TN_OPERATORS };

/* One decode step, and prefill, which has a span of the processor for each operator. Spans of a phase are in the
 * order of the dataflow; the last to end ends exactly with the evaluation's decode_step, or prefill. */
typedef struct tn_timeline {
    int count, prefill_count;
    tn_timeline_span spans[TN_TIMELINE_SPANS], prefill[TN_OPERATORS];
} tn_timeline;
TN_API tn_status tn_dataflow_timeline(const tn_problem *p, const tn_dataflow *d, tn_timeline *out,
                                      tn_error *err) TN_MUST_USE;

/* ---- search --------------------------------------------------------------------------------- */

typedef enum tn_objective {
    TN_LATENCY, /* of the layer: prefill + decode; ties by energy */
    TN_ENERGY,
    TN_EDP, /* energy · latency */
} tn_objective;

typedef enum tn_search_method {
    TN_EXACT, /* dynamic programming over order ideals, Pareto sets, branch and bound on capacity */
    TN_GENETIC, /* the artifact's operators, with elitism; for models that are not separable */
} tn_search_method;

typedef struct tn_search_options {
    size_t size; /* sizeof(tn_search_options) */
    tn_dataflow_space space;
    tn_objective objective;
    tn_search_method method;
    double area_limit; /* mm² of a processing element; 0: the machine's own; INFINITY: none */
    double
        seconds; /* an exact search that needs longer for one machine answers with a bound; 0: 2 */
    int threads; /* 0: the cores; results do not depend on it */
    uint64_t seed;                        /* genetic */
    int population, generations, parents; /* genetic; 0: 100, 10, 50 */
    double mutate_ratio;                  /* genetic, 0..1 */
    /* Of the data-centric space's ratios those two alone that the artifact's samplers draw: what its genetic
     * search reaches where no crossover happens (mutate_ratio 1, as published for PaLM). Exact search. */
    bool sampled_ratios;
    /* Called now and then by the calling thread; false ends the search with what is known. May be NULL. */
    bool (*progress)(void *context, double done, double best);
    void *context;
} tn_search_options;
#define TN_SEARCH_OPTIONS_INIT                                                                     \
    { .size = sizeof(tn_search_options), .space = TN_DATA_CENTRIC, .mutate_ratio = 1.0 }

typedef struct tn_solution {
    tn_dataflow dataflow;
    tn_evaluation evaluation;
    /* Of the objective; equals the found value when that is proven optimal; 0: genetic search knows none. */
    double lower_bound;
    bool optimal;
} tn_solution;

/* The best dataflow of one problem. TN_NOT_FOUND: no dataflow of the space fits into the machine's memory. */
TN_API tn_status tn_search_dataflow(const tn_problem *p, const tn_search_options *options,
                                    tn_solution *out, tn_error *err) TN_MUST_USE;

/* One use of one workload, weighted: the objective of a machine is the weighted sum of the objectives, and each
 * use has a dataflow of its own. */
typedef struct tn_study_part {
    tn_workload workload;
    tn_scenario scenario;
    double weight;
} tn_study_part;

/* Scenarios from the requests of a trace: JSON lines {"prompt": tokens, "generate": tokens, "arrival": s,
 * "batch": sequences that ran with it}, or lines with commas in that order or under a heading with these names.
 * Arrivals may be missing, else they do not decrease; the batch may be missing or 0, which is that of `use`.
 * Requests of like lengths and batch are one scenario of their means, with the context and elements of `use`;
 * its weight is their share, so weighted sums are means over requests. Fills scenario and
 * weight of at most `capacity` parts, by length; *count says how many. Errors: TN_NOT_FOUND, TN_IO; TN_INVALID
 * names file and line. */
TN_API tn_status tn_study_from_trace(const char *path, const tn_scenario *use, tn_study_part *out,
                                     int capacity, int *count, tn_error *err) TN_MUST_USE;

typedef struct tn_study {
    const tn_study_part *parts;
    int count;
    const tn_machine_space *space;
    const tn_cost_model *processor, *near_memory;
} tn_study;

typedef struct tn_finding_machine {
    int64_t index;                  /* in the space */
    double value, lower_bound;      /* of the objective */
    double latency, energy;         /* weighted sums */
    double area;                    /* mm² of an element; 0: not known */
    bool feasible, optimal, pareto; /* pareto: no other has less latency, energy and area */
    tn_solution *parts;             /* one for each part */
} tn_finding_machine;

/* All machines of the space, best first; equal ones in the order of the space. Those that nothing fits into, or
 * whose elements are too large, come last: not feasible, of infinite value. Genetic search lists the feasible ones
 * that it has come by. */
typedef struct tn_finding {
    tn_finding_machine *machines;
    int64_t count;
    int part_count;
} tn_finding;

TN_API tn_status tn_explore(const tn_study *study, const tn_search_options *options,
                            tn_finding **out, tn_error *err) TN_MUST_USE;
TN_API void tn_finding_release(tn_finding *f); /* NULL: nothing */

/* ---- serving -------------------------------------------------------------------------------- */

typedef struct tn_serving {
    double first_token;     /* s from prompt to first token, all layers */
    double per_token;       /* s for each token after it */
    double tokens_a_second; /* generated, of the whole batch */
    double tokens_a_joule;  /* 0: the cost model has no energy */
} tn_serving;
TN_API tn_serving tn_serving_of(const tn_workload *w, const tn_scenario *s, const tn_evaluation *e);

#ifdef __cplusplus
}
#endif

#endif
