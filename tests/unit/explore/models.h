/* The artifact's two cost models, as a cmocka group's setup and teardown. */
#ifndef TENON_TESTS_EXPLORE_MODELS_H
#define TENON_TESTS_EXPLORE_MODELS_H

#include "unit/explore/rows.h"

static tn_cost_model *npu, *nmp;

static inline int open_models(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    assert_ok(tn_cost_model_open("npu_roofline", &npu, &err), &err);
    assert_ok(tn_cost_model_open("nmp_roofline", &nmp, &err), &err);
    return 0;
}

static inline int release_models(void **state) {
    (void)state;
    tn_cost_model_release(npu);
    tn_cost_model_release(nmp);
    return 0;
}

#endif
