/* Reference rows of tests/golden/explore: files, machines and workloads that they name. */
#ifndef TENON_TESTS_EXPLORE_ROWS_H
#define TENON_TESTS_EXPLORE_ROWS_H

#include "unit/test.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <tenon/explore.h>

static inline void assert_ok(tn_status status, const tn_error *err) {
    if (status) fail_msg("%s: %s", tn_status_name(status), err->message);
}

static inline json_t *rows_load(const char *name) {
    char path[256];
    json_error_t error;
    snprintf(path, sizeof path, "tests/golden/explore/%s.json", name);
    json_t *file = json_load_file(path, 0, &error);
    assert_non_null(file);
    return file;
}

static inline double rows_number(const json_t *row, const char *key) {
    json_t *v = json_object_get(row, key);
    if (!json_is_number(v)) fail_msg("a row has no number '%s'", key);
    return json_number_value(v);
}

static inline int64_t rows_integer(const json_t *row, const char *key) {
    return (int64_t)rows_number(row, key);
}

static inline const char *rows_text(const json_t *row, const char *key) {
    const char *s = json_string_value(json_object_get(row, key));
    if (!s) fail_msg("a row has no text '%s'", key);
    return s;
}

/* |got − want| <= tolerance · |want| */
static inline void rows_near(double got, double want, double tolerance, const char *what) {
    if (!(fabs(got - want) <= tolerance * fabs(want)))
        fail_msg("%s: %.17g instead of %.17g (relative %.3g)", what, got, want,
                 fabs(got - want) / fabs(want));
}

/* The artifact's machine with `channels` of eight near memory. */
static inline tn_machine rows_machine(int channels, int fpus, double mhz, double gbs) {
    return (tn_machine){
        .processor = {.macs = 128e12, .utilization = 0.7, .vector_units = 8},
        .memory = {.channels = 8, .banks = 16, .bank_bytes = 256 * 1048576.0, .bandwidth = 12.8e9},
        .near_memory = {.channels = channels,
                        .fpus = fpus,
                        .macs = 16,
                        .clock = mhz * 1e6,
                        .bandwidth = gbs * 1e9,
                        .utilization = 1},
    };
}

/* Of the element of `m` in rows of nmp_utilization; 1 where there is none. */
static inline double rows_utilization(const json_t *table, const tn_machine *m, int batch) {
    const json_t *row;
    size_t i;
    json_array_foreach((json_t *)table, i, row) {
        if ((int)rows_number(row, "fpu") == m->near_memory.fpus &&
            rows_number(row, "mhz") * 1e6 == m->near_memory.clock &&
            rows_number(row, "pe_bw") * 1e9 == m->near_memory.bandwidth &&
            (int)rows_number(row, "batch") == batch)
            return rows_number(row, "util");
    }
    return 1;
}

static inline void rows_workload(const char *model, tn_workload *out) {
    const char *name = strcmp(model, "opt") == 0     ? "opt-6.7b"
                       : strcmp(model, "llama") == 0 ? "llama3-8b"
                                                     : "palm-8b";
    tn_error err = TN_ERROR_INIT;
    assert_ok(tn_workload_named(name, out, &err), &err);
}

static inline tn_scenario rows_scenario(const char *dataset, int batch) {
    static const struct {
        const char *name;
        int64_t prompt, generate;
    } datasets[] = {{"he", 157, 67}, {"sg", 783, 209}, {"lb", 1886, 97}, {"lg", 1971, 17}};
    for (size_t i = 0; i < sizeof datasets / sizeof *datasets; i++)
        if (strcmp(datasets[i].name, dataset) == 0)
            return (tn_scenario){batch, datasets[i].prompt, datasets[i].generate, 2048, 2.0};
    fail_msg("no dataset '%s'", dataset);
    return (tn_scenario){0};
}

#endif
