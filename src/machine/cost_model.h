/* The kinds of cost models behind <tenon/machine.h>. A model is a function over a state; the functions of
 * this room have none. */
#ifndef TENON_MACHINE_COST_MODEL_H
#define TENON_MACHINE_COST_MODEL_H

#include <tenon/machine.h>

#include "base/base.h"

struct tn_cost_model {
    char name[TN_MACHINE_NAME];
    bool separable;
    bool events; /* mode changes and synchronisation cost something */
    tn_status (*cost)(void *state, const tn_cost_query *q, tn_cost *out, tn_error *err);
    void (*release)(void *state);
    void *state;
};

/* Each fills `m` for what stands behind the colon of its SPEC ("" where there is none). */
tn_status tn__cost_npu_roofline(const char *rest, tn_cost_model *m, tn_error *err);
tn_status tn__cost_nmp_roofline(const char *rest, tn_cost_model *m, tn_error *err);
tn_status tn__cost_nmp_dataflow(const char *rest, tn_cost_model *m, tn_error *err);
tn_status tn__cost_measured(const char *path, tn_cost_model *m, tn_error *err);
tn_status tn__cost_library(const char *path, tn_cost_model *m, tn_error *err);
tn_status tn__cost_process(const char *command, tn_cost_model *m, tn_error *err);

/* How the channels of units near memory share a product: `products` of them after each other on groups of
 * `channels`, each cut into tiles[0] parts along k and tiles[1] along n. */
typedef struct tn_nmp_split {
    int channels;
    int64_t products;
    int64_t k_parts, n_parts;
} tn_nmp_split;
tn_nmp_split tn__nmp_split(const tn_product *p, int channels);

#endif
