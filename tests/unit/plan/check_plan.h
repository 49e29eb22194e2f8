/* Runs a graph three ways and compares: reference eval, the plan with fusion, the plan without. */
#ifndef TENON_TESTS_CHECK_PLAN_H
#define TENON_TESTS_CHECK_PLAN_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ir/builder.h"
#include "ops/eval.h"
#include "plan/plan.h"
#include "runtime/instance.h"
#include "unit/test.h"

typedef struct check_plan {
    tn_arena arena;
    const tn_graph *graph;
    tn_array inputs[16];
    const int64_t *symbols;
    uint32_t kernels; /* steps of the fused program, without prepare */
} check_plan;

static inline void fill_random(tn_array *a, uint64_t seed) {
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    for (int64_t i = 0; i < tn_array_count(a); i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        double u = (double)(state >> 33) / 2147483648.0;
        tn_array_set(a, i,
                     tn_dtype_is_float(a->dtype) ? tn_cell_of(a->dtype, 2 * u - 1)
                                                 : tn_cell_of_int(a->dtype, (int64_t)(u * 4)));
    }
}

static inline void compare_arrays(const tn_array *want, const tn_array *got, const char *label) {
    double largest = 0, worst = 0;
    int64_t at = -1;
    for (int64_t i = 0; i < tn_array_count(want); i++) {
        tn_cell a = tn_array_get(want, i), b = tn_array_get(got, i);
        if (!tn_dtype_is_float(want->dtype)) {
            if (a.i != b.i)
                fail_msg("%s: element %lld is %lld, expected %lld", label, (long long)i,
                         (long long)b.i, (long long)a.i);
            continue;
        }
        if (isfinite(a.f)) largest = fmax(largest, fabs(a.f));
        double d = a.f == b.f || (isnan(a.f) && isnan(b.f)) ? 0 : fabs(a.f - b.f);
        if (!(d <= worst)) {
            worst = d;
            at = i;
        }
    }
    double bound = want->dtype == TN_f64 ? 1e-12 : want->dtype == TN_f32 ? 1e-5 : 2e-2;
    if (!(worst <= bound * fmax(largest, 1e-30)))
        fail_msg("%s: element %lld is off by %g (largest %g)", label, (long long)at, worst,
                 largest);
}

static inline void run_plan(check_plan *c, bool no_opt, const tn_array *want, const char *label) {
    tn_error err = TN_ERROR_INIT;
    char text[2048];
    tn_program program;
    tn_plan_options options = {.target = tn_target_native(), .no_opt = no_opt};
    if (tn_plan(c->graph, &options, &c->arena, &program, &err) != TN_OK) {
        tn_error_format(&err, text, sizeof text);
        fail_msg("%s: plan: %s", label, text);
    }
    if (getenv("CHECK_PLAN_PRINT")) {
        tn_str out;
        tn_str_init(&out);
        tn_program_print(&program, &out);
        for (uint32_t i = 0; i < program.kernels.len; i++)
            tn_loop_print(program.kernels.data[i], false, &out);
        fprintf(stderr, "%s\n", tn_str_text(&out));
        tn_str_deinit(&out);
    }
    if (!no_opt) c->kernels = program.blocks.data[0].steps.len;
    const void *sources[64];
    for (uint32_t i = 0; i < program.sources.len; i++) sources[i] = program.sources.data[i].data;
    tn_kernel_fn **functions = TN_NEW_N(&c->arena, tn_kernel_fn *, program.kernels.len);
    void *prepared = NULL;
    assert_int_equal(posix_memalign(&prepared, 64, program.prepared_bytes + 64), 0);
    tn_executable x = {.program = &program,
                       .functions = functions,
                       .sources = sources,
                       .prepared = prepared,
                       .driver = &tn_driver_cpu};
    tn_instance *instance;
    tn_status status = tn_instance_create(&x, &instance, &err);
    static const int64_t none[1];
    if (status == TN_OK)
        status = tn_instance_bind(instance, c->symbols ? c->symbols : none, &err);
    if (status == TN_OK) status = tn_instance_run(instance, 1, &err);
    for (uint32_t i = 0; i < program.inputs.len; i++)
        tn_instance_set_input(instance, i, c->inputs[i].data);
    if (status == TN_OK) status = tn_instance_run(instance, 0, &err);
    if (status != TN_OK) {
        tn_error_format(&err, text, sizeof text);
        fail_msg("%s: run: %s", label, text);
    }
    for (uint32_t i = 0; i < program.outputs.len; i++) {
        tn_array got = want[i];
        got.data = (void *)(uintptr_t)tn_instance_output(instance, i);
        compare_arrays(&want[i], &got, label);
    }
    tn_instance_release(instance);
    free(prepared);
}

typedef void build_graph(tn_builder *b);

/* Builds, evaluates, plans and compares; returns the number of steps with fusion. */
static inline uint32_t check_graph(build_graph *build, const int64_t *symbols, const char *label) {
    check_plan c = {.symbols = symbols};
    tn_error err = TN_ERROR_INIT;
    tn_arena_init(&c.arena, tn_allocator_system());
    tn_dims *dims = TN_NEW(&c.arena, tn_dims);
    tn_dims_init(dims, &c.arena);
    tn_graph *g = tn_graph_new(&c.arena, dims);
    tn_builder b = tn_builder_of(g, &err);
    build(&b);
    if (tn_b_finish(&b) != TN_OK) fail_msg("%s: build: %s", label, err.message);
    c.graph = g;
    for (uint32_t i = 0; i < g->inputs.len; i++) {
        const tn_type *type = tn_graph_type(g, g->inputs.data[i]);
        int64_t dim[TN_MAX_RANK];
        for (int j = 0; j < type->shape.rank; j++)
            dim[j] = tn_dim_eval(dims, type->shape.dim[j], symbols);
        c.inputs[i] = tn_array_new(&c.arena, type->dtype, type->shape.rank, dim);
        fill_random(&c.inputs[i], i + 1);
    }
    tn_array want[16];
    if (tn_eval_graph(g, c.inputs, symbols, want, &c.arena, &err) != TN_OK)
        fail_msg("%s: eval: %s", label, err.message);
    char name[160];
    snprintf(name, sizeof name, "%s (no_opt)", label);
    run_plan(&c, true, want, name);
    snprintf(name, sizeof name, "%s (fused)", label);
    run_plan(&c, false, want, name);
    uint32_t kernels = c.kernels;
    tn_arena_deinit(&c.arena);
    return kernels;
}

#endif
