/* Machines as data: processors, memory channels, units near memory — existing ones or ones that are being
 * designed — and what an operation costs on them.
 *
 *   tn_machine_space_load("H2-LLM", &space, &err);
 *   tn_machine_space_at(&space, 0, &machine);
 *   tn_cost_model_open("npu_roofline", &model, &err);
 *   tn_cost_of(model, &(tn_cost_query){.machine = &machine, .unit = TN_UNIT_PROCESSOR, …}, &cost, &err);
 *
 * All quantities are in SI units (seconds, joules, bytes, hertz, bytes a second) except areas (mm²); files
 * name their units (docs/machines.md). */
#ifndef TENON_MACHINE_H
#define TENON_MACHINE_H

#include <stdbool.h>
#include <tenon/type.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- a machine ------------------------------------------------------------------------------ */

enum { TN_MACHINE_NAME = 64, TN_MACHINE_CHANNELS = 64 };

/* The centralized processor: an NPU, a CPU, a GPU. */
typedef struct tn_processor {
    double macs;        /* multiply-accumulates a second, peak */
    double utilization; /* share of that peak, and of the memory's bandwidth, that products reach */
    int vector_units;   /* that add up partial sums */
    double vector_rate; /* additions a second of one of them; 0: as fast as they come */
    double sram;        /* bytes on the chip */
    double mac_energy, sram_bit_energy;
} tn_processor;

/* Memory that processor and units near memory share. */
typedef struct tn_memory {
    int channels;
    int banks;               /* of a channel */
    double bank_bytes;       /* capacity of a bank */
    double bandwidth;        /* of a channel */
    double bit_energy;       /* to move one bit through a channel */
    double array_bit_energy; /* to read one bit within a bank, as units near memory do */
} tn_memory;

/* Processing elements, one at each bank of some channels ("NMP channels"; the others are "normal"). A channel's
 * input buffer is shared by its elements; weight and output buffers belong to one element. */
typedef struct tn_near_memory {
    int channels;               /* of memory.channels; 0: none */
    int fpus;                   /* of an element */
    int macs;                   /* multiply-accumulates of an FPU in a cycle */
    double clock;               /* of an element */
    double bandwidth;           /* from a bank to its element */
    double row_bytes, row_time; /* of a bank's row, and to open the next one; 0: hidden */
    double input_buffer, weight_buffer, output_buffer; /* bytes */
    double utilization;                                /* share of the roofline that is reached */
    double mac_energy, buffer_bit_energy, bank_bit_energy;
    double mode_change;     /* a channel's change between memory and computing, one way */
    double synchronization; /* one meeting of units */
    double area;            /* of an element; 0: not known */
    double area_limit;      /* what a bank leaves for its element; 0: no limit */
} tn_near_memory;

typedef struct tn_machine {
    char name[TN_MACHINE_NAME];
    tn_processor processor;
    tn_memory memory;
    tn_near_memory near_memory;
} tn_machine;

/* ---- families of machines ------------------------------------------------------------------- */

enum { TN_SPACE_VALUES = 64, TN_TECHNOLOGY_ROWS = 16 };

typedef struct tn_element_choice {
    int fpus;
    double clock, bandwidth;
} tn_element_choice;

/* Constants of a technology that depend on what is chosen. A clock between two rows is interpolated. */
typedef struct tn_technology {
    struct {
        double clock, fpu_area, mac_energy;
    } clocks[TN_TECHNOLOGY_ROWS]; /* ascending */
    int clock_count;
    struct {
        double bandwidth, area_share; /* of area_limit, for the pins of that bandwidth */
    } links[TN_TECHNOLOGY_ROWS];      /* ascending */
    int link_count;
    struct {
        int fpus;
        double clock, bandwidth; /* an element of exactly these … */
        int batch;               /* … with so many sequences reaches … */
        double utilization;
    } utilizations[TN_TECHNOLOGY_ROWS];
    int utilization_count;
    double sram_area; /* mm² a byte; 0: not known */
} tn_technology;

/* Every combination of the listed values in the place of `base`'s; a list that is empty keeps base's value.
 * Numbering: output buffers run fastest, then weight buffers, input buffers, elements, channels. */
typedef struct tn_machine_space {
    tn_machine base;
    tn_technology technology;
    int channels[TN_SPACE_VALUES], channel_count;
    tn_element_choice elements[TN_SPACE_VALUES];
    int element_count;
    double input_buffers[TN_SPACE_VALUES], weight_buffers[TN_SPACE_VALUES],
        output_buffers[TN_SPACE_VALUES];
    int input_buffer_count, weight_buffer_count, output_buffer_count;
} tn_machine_space;

/* A description in JSON (docs/machines.md), or the name of a built-in one: "H2-LLM", "H2-LLM space", "ID-NMP",
 * "ID-NMP+", "CP". Errors: TN_NOT_FOUND, TN_IO, TN_INVALID with the line, or the path
 * of the member, the value and what is expected. On failure `out` is all zero. */
TN_API tn_status tn_machine_space_load(const char *path, tn_machine_space *out,
                                       tn_error *err) TN_MUST_USE;
TN_API int64_t tn_machine_space_count(const tn_machine_space *s);
/* Machine i, with energies and areas of its clock and link; name = base's. 0 <= i < count. */
TN_API void tn_machine_space_at(const tn_machine_space *s, int64_t i, tn_machine *out);
/* `m` as it runs `batch` sequences: with the utilization of its element in the technology's table, 1.0 where
 * that has none. (The source framework kept the last device's value; here each device has its own.) */
TN_API void tn_machine_for_batch(const tn_machine_space *s, int batch, tn_machine *m);
/* Counts that are positive, channels near memory within the memory's, finite rates and so on: TN_INVALID names
 * the quantity. */
TN_API tn_status tn_machine_check(const tn_machine *m, tn_error *err) TN_MUST_USE;

/* ---- what an operation costs ---------------------------------------------------------------- */

typedef enum tn_unit { TN_UNIT_PROCESSOR, TN_UNIT_NEAR_MEMORY } tn_unit;

/* `batch` products [m, k] · [k, n]. The right operand lies in memory: weights, or keys and values. */
typedef struct tn_product {
    int64_t batch, m, n, k;
    double element_bytes; /* 2 for f16, 0.5 for int4 */
} tn_product;

typedef enum tn_cost_event {
    TN_COST_PRODUCT,     /* `product` on the given channels */
    TN_COST_MODE_CHANGE, /* channels go to computing and back */
    TN_COST_SYNC,        /* units meet: the end of a tier or group, the join of a fission */
} tn_cost_event;

typedef struct tn_cost_query {
    const tn_machine *machine;
    tn_unit unit;
    tn_cost_event event;
    tn_product product;
    int nmp_channels,
        normal_channels; /* that hold the right operand: the processor reads it from both kinds,
                                          units near memory compute on the first */
    int sequences;       /* the workload's batch */
    /* What the unit computed before in this partition, NULL at first. Only models that are not separable see
     * it. */
    const struct tn_cost_query *before;
} tn_cost_query;

typedef struct tn_cost {
    double
        latency; /* s; compute, transfer and sync are the parts that it has where they are known: they may
                       overlap */
    double energy; /* J; the parts below add up to it */
    double bytes;  /* moved through channels and links */
    double compute, transfer, sync;
    double mac_energy, sram_energy, dram_energy, link_energy;
} tn_cost;

typedef struct tn_cost_model tn_cost_model;

/* SPEC is one of
 *   "npu_roofline", "nmp_roofline"   the rooflines of the H²-LLM artifact (ISCA '25), exactly
 *   "nmp_dataflow"                   output-stationary tiles, buffers, mode changes, synchronisation, energy;
 *                                    for units near memory and for the processor (docs/exploring.md)
 *   "roofline:FILE"                  the machine at hand: FILE is the profile of `tenon doctor --measure`
 *   "library:FILE"                   a shared library (tn_cost_plugin below)
 *   "process:COMMAND"                a program that answers a JSON object a line (docs/machines.md)
 * A model that crashes, hangs (10 s), or answers what is negative or no number is an error of the query. */
TN_API tn_status tn_cost_model_open(const char *spec, tn_cost_model **out,
                                    tn_error *err) TN_MUST_USE;
TN_API void tn_cost_model_release(tn_cost_model *m); /* NULL: nothing */
TN_API const char *tn_cost_model_name(const tn_cost_model *m);
/* Whether a product's cost depends on the query without `before` alone, so that exact search applies. */
TN_API bool tn_cost_model_separable(const tn_cost_model *m);
/* Safe from any thread. */
TN_API tn_status tn_cost_of(const tn_cost_model *m, const tn_cost_query *q, tn_cost *out,
                            tn_error *err) TN_MUST_USE;

/* A shared library exports `const tn_cost_plugin tenon_cost_plugin`. It runs in a process of its own, one query
 * at a time. */
enum { TN_COST_PLUGIN_VERSION = 1 };
typedef struct tn_cost_plugin {
    int version; /* TN_COST_PLUGIN_VERSION */
    const char *name;
    bool separable;
    /* 0, or a number that the error reports. `out` comes zeroed. */
    int (*cost)(const tn_cost_query *query, tn_cost *out);
} tn_cost_plugin;

#ifdef __cplusplus
}
#endif

#endif
